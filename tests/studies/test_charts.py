"""Chart forms draw what the rows hold: marks of the right number and of a size that can be seen."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import vl_convert

from subsight.studies import charts

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
