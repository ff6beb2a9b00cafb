"""Chart forms draw what the rows hold: marks of the right number and of a size that can be seen."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import pytest
import vl_convert

from subsight.studies import charts
from subsight.surfaces.report.rendering import dress

ROWS = [{"low": 10.0**i, "high": 10.0 ** (i + 1), "session_count": 5 * i + 1, "of": "a"} for i in range(4)]


def _bars(spec: dict[str, Any]) -> list[tuple[float, float]]:
    """Width and height of each bar drawn."""
    svg = vl_convert.vegalite_to_svg(json.dumps({**spec, "data": {"values": ROWS}}), allowed_base_urls=[])
    paths = re.findall(r'aria-roledescription="bar"[^>]*? d="M[-\d.,]+h([\d.]+)v([\d.]+)', svg)
    return [(float(width), float(height)) for width, height in paths]


@pytest.mark.parametrize("log", [False, True])
def test_a_histogram_has_a_visible_bar_per_bin(log: bool) -> None:
    bars = _bars(charts.histogram("low", "high", "session_count", log=log))
    assert len(bars) == 4
    heights = [height for _, height in bars]
    assert heights == pytest.approx([heights[0] * (5 * i + 1) for i in range(4)], rel=1e-3)
    widths = [width for width, _ in bars]
    if log:  # the bins are equally wide in the logarithm
        assert widths == pytest.approx([widths[0]] * 4, abs=1.5)
    else:
        assert widths == sorted(widths)
    assert widths[-1] > 10


def test_charts_below_one_another_are_all_drawn() -> None:
    one = charts.histogram("low", "high", "session_count", log=True)
    parts = [charts.facet(one, "of", free="both"), charts.facet(one, "of", free="both")]
    assert len(_bars(charts.below(*parts))) == 8
    assert charts.below(one) == one


@pytest.mark.parametrize(("values", "blue"), [((0.6, 0.9), False), ((-0.9, -0.6), True)])
def test_each_side_of_zero_has_its_colour_whatever_the_values(
    values: tuple[float, float], blue: bool
) -> None:
    rows = [{"a": "xy"[i], "b": "z", "r": value} for i, value in enumerate(values)]
    spec = {**charts.heat("a", "b", "r", diverging=True, text=None), "data": {"values": rows}}
    svg = vl_convert.vegalite_to_svg(json.dumps(spec), allowed_base_urls=[])
    fills = re.findall(r'aria-roledescription="rect mark"[^>]*fill="rgb\((\d+), \d+, (\d+)\)"', svg)
    assert [int(of_blue) > int(of_red) for of_red, of_blue in fills] == [blue, blue]


def _cells(topology: str, values: list[float | None], columns: int, **more: Any) -> list[tuple[str, Any]]:
    """Fill and corners of each cell of a map, as the report draws it."""
    rows = []
    for node, value in enumerate(values):
        row, column = divmod(node, columns)
        is_hexagonal = topology == "hexagonal"
        x = column + 0.5 * (row % 2) * is_hexagonal
        rows.append({"x": x, "y": row * (math.sqrt(0.75) if is_hexagonal else 1.0), "mean": value})
    spec = charts.grid(
        "x", "y", "mean", topology=topology, columns=columns, rows=len(values) // columns, **more
    )
    svg = vl_convert.vegalite_to_svg(json.dumps(dress(spec, rows)), allowed_base_urls=[])
    paths = re.findall(r'<path[^>]*? d="(M[L\d.,-]+)Z"([^>]*)>', svg)
    found = []
    for path, style in paths:
        corners = [tuple(map(float, point.split(","))) for point in path[1:].split("L")]
        fill = re.search(r'fill="([^"]+)"', style)
        found.append((fill[1] if fill else "none", corners))
    return found


@pytest.mark.parametrize(("topology", "corners"), [("hexagonal", 6), ("rectangular", 4)])
def test_the_cells_of_a_map_are_regular_and_touch(topology: str, corners: int) -> None:
    cells = [held for fill, held in _cells(topology, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3) if fill != "none"]
    assert [len(held) for held in cells] == [corners] * 6
    sides = [math.dist(a, b) for held in cells for a, b in zip(held, held[1:] + held[:1], strict=True)]
    assert max(sides) / min(sides) < 1.03
    places = Counter((round(x), round(y)) for held in cells for x, y in held)
    # By hand: 2 x 3 squares meet in 3 x 4 corners. Hexagons: 4 corners of 3 cells, 6 of 2, 12 of 1.
    assert len(places) == {4: 12, 6: 22}[corners]


def test_a_node_without_a_value_is_an_outline() -> None:
    fills = [fill for fill, _ in _cells("hexagonal", [1.0, None, 3.0, 4.0], 2)]
    assert fills.count("none") == 4
    assert len(fills) == 7


def test_names_beyond_the_seventh_share_a_colour() -> None:
    names = [f"offer {i}" for i in range(9)]
    cells = _cells("rectangular", names, 3, names=names)  # type: ignore[arg-type]
    fills = [fill for fill, _ in cells if fill != "none"]
    assert len(fills) == 9
    assert len(set(fills)) == 8
    assert fills[7] == fills[8]
