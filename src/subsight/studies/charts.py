"""The few chart forms that every study uses, as Vega-Lite specs without data.

The data are the answer's rows; colours, fonts and sizes belong to the surface that renders.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

from subsight.units import unit_of

__all__ = [
    "bars",
    "below",
    "facet",
    "flows",
    "grid",
    "heat",
    "histogram",
    "intervals",
    "layers",
    "lines",
    "points",
]

Spec = dict[str, Any]
_TITLES = {"bytes": "bytes", "ms": "ms", "s": "seconds", "kbps": "kbps", "bps": "bps", "share": "share"}


def _title(name: str) -> str:
    unit = unit_of(name)
    words = name.replace("_", " ")
    if unit in _TITLES:
        words = words.removesuffix(f" {unit}")
        return f"{words} ({_TITLES[unit]})" if unit != "share" else f"{words} (share)"
    return words


def _axis(name: str) -> Spec:
    unit = unit_of(name)
    if unit == "share":
        return {"format": ".0%"}
    return {"format": "~s"}


def _quantity(name: str, *, scale: Literal["linear", "log", "symlog"] = "linear", zero: bool = True) -> Spec:
    spec: Spec = {"field": name, "type": "quantitative", "title": _title(name), "axis": _axis(name)}
    spec["scale"] = {"type": scale} if scale != "linear" else {"zero": zero}
    return spec


def _category(name: str, order: Sequence[str] | Literal["rows", "value"]) -> Spec:
    sort: Any = None if order == "rows" else list(order)
    return {"field": name, "type": "nominal", "title": _title(name), "sort": sort}


def bars(
    category: str,
    value: str,
    *,
    colour: str | None = None,
    order: Sequence[str] | Literal["rows"] = "rows",
    vertical: bool = False,
    stacked: bool = False,
    scale: Literal["linear", "log", "symlog"] = "linear",
) -> Spec:
    """Bars of one quantity per category, in the order of the rows; `colour` splits each category.

    A category without a value, such as a small group, has no place.
    """
    quantity, names = _quantity(value, scale=scale), _category(category, order)
    names["axis"] = {"labelLimit": 220}
    across, along = ("y", "x") if not vertical else ("x", "y")
    encoding: Spec = {across: names, along: quantity}
    if colour:
        encoding["color"] = {"field": colour, "type": "nominal", "title": _title(colour), "sort": None}
        if not stacked:
            encoding[f"{across}Offset"] = {"field": colour, "sort": None}
    known = {"filter": f"isValid(datum.{value})"}
    return {"transform": [known], "mark": {"type": "bar"}, "encoding": encoding}


def lines(
    x: str,
    y: str,
    *,
    colour: str | None = None,
    kind: Literal["quantitative", "temporal", "ordinal"] = "quantitative",
    zero: bool = True,
) -> Spec:
    """A line with its points, for a quantity over a number, a date or an hour."""
    across: Spec = {"field": x, "type": kind, "title": _title(x)}
    if kind == "quantitative":
        across |= {"axis": {"format": "~s", "tickMinStep": 1}, "scale": {"zero": False}}
    encoding: Spec = {"x": across, "y": _quantity(y, zero=zero)}
    if colour:
        encoding["color"] = {"field": colour, "type": "nominal", "title": _title(colour), "sort": None}
    return {"mark": {"type": "line", "point": True}, "encoding": encoding}


def points(x: str, y: str, *, colour: str | None = None, size: str | None = None) -> Spec:
    """A scatter of two quantities."""
    encoding: Spec = {"x": _quantity(x, zero=False), "y": _quantity(y, zero=False)}
    if colour:
        encoding["color"] = {"field": colour, "type": "nominal", "title": _title(colour), "sort": None}
    if size:
        encoding["size"] = {"field": size, "type": "quantitative", "title": _title(size)}
    return {"mark": {"type": "point", "filled": True}, "encoding": encoding}


def heat(
    x: str, y: str, value: str, *, diverging: bool = False, reach: float = 1, text: str | None = ".2f"
) -> Spec:
    """A grid of cells coloured by a quantity; a `diverging` one from -`reach` over 0 to `reach`."""
    colour: Spec = {"field": value, "type": "quantitative", "title": _title(value)}
    colour["scale"] = (
        {"scheme": "blueorange", "domain": [-reach, reach], "domainMid": 0, "clamp": True}
        if diverging
        else {"scheme": "blues"}
    )
    encoding: Spec = {
        "x": {"field": x, "type": "nominal", "sort": None, "title": None},
        "y": {"field": y, "type": "nominal", "sort": None, "title": None},
    }
    cells: Spec = {"mark": {"type": "rect"}, "encoding": {"color": colour}}
    if text is None:
        return {"mark": cells["mark"], "encoding": encoding | cells["encoding"]}
    label: Spec = {
        "mark": {"type": "text", "fontSize": 10},
        "encoding": {
            "text": {"field": value, "type": "quantitative", "format": text},
            "color": {"value": "#1a1a1a"},
        },
    }
    return {"encoding": encoding, "layer": [cells, label]}


def facet(spec: Spec, by: str, *, columns: int = 3, free: Literal["none", "x", "y", "both"] = "none") -> Spec:
    """Small multiples of a chart, one per value of `by`; `free` lets axes differ."""
    resolve = {axis: "independent" for axis in ("x", "y") if free in (axis, "both")}
    return {
        "facet": {"field": by, "type": "nominal", "title": None, "sort": None},
        "columns": columns,
        "spec": spec,
        "resolve": {"scale": resolve, "axis": resolve},
    }


def histogram(low: str, high: str, value: str, *, log: bool = False, share: bool = False) -> Spec:
    """Bars over bins that the rows already hold, from `low` to `high`, on a scale that fits the bins."""
    across: Spec = {"field": low, "type": "quantitative", "bin": "binned", "title": None}
    across["axis"] = {"tickCount": 3, "grid": False, "labelSeparation": 6} | (
        {"format": ".0%"} if share else {}
    )
    across["scale"] = {"type": "log"} if log else {"zero": False, "nice": False}
    return {
        "mark": {"type": "bar"},
        "encoding": {"x": across, "x2": {"field": high}, "y": _quantity(value) | {"stack": None}},
    }


_GAP: Final = 0.035
"""The space between two groups of one side, as a share of all that flows."""
_STEPS: Final = 40
_WIDE: Final = 420
"""Pixels across for which room is left for names: surfaces that are wider only give them more."""


def flows(source: str, source_rank: str, target: str, target_rank: str, names: Sequence[str]) -> Spec:
    """Bands from groups on the left to groups on the right, as wide as the subscribers who took that way.

    Rows hold a way each: both groups, their ranks (from the top) and `subscriber_count`; null is left out.
    A name of `names` has one colour on both sides.
    """
    beside = min(7.5 * max(map(len, names), default=0) + 46, _WIDE / 3)
    room = beside / (_WIDE - 2 * beside)
    x: Spec = {"type": "quantitative", "axis": None, "scale": {"domain": [-room, 1 + room], "nice": False}}
    y: Spec = {"type": "quantitative", "axis": None, "scale": {"reverse": True, "zero": False, "nice": False}}
    colour: Spec = {"type": "nominal", "legend": None, "scale": {"domain": list(dict.fromkeys(names))}}
    bands: Spec = {
        "transform": [
            {"calculate": f"sequence(0, {_STEPS + 1})", "as": "step"},
            {"flatten": ["step"]},
            {"calculate": f"datum.step / {_STEPS}", "as": "along"},
            # Level at both ends, so that bands meet their groups at a right angle.
            {"calculate": "datum.along * datum.along * (3 - 2 * datum.along)", "as": "bent"},
            *(
                {"calculate": f"datum.left_{e} + (datum.right_{e} - datum.left_{e}) * datum.bent", "as": e}
                for e in ("top", "foot")
            ),
        ],
        "mark": {"type": "area", "opacity": 0.5},
        "encoding": {
            "x": x | {"field": "along"},
            "y": y | {"field": "top"},
            "y2": {"field": "foot"},
            "color": colour | {"field": source},
            "detail": [{"field": source}, {"field": target}],
        },
    }
    sides = [*_side("left", source, x, y, colour), *_side("right", target, x, y, colour)]
    return {"transform": _places(source_rank, target_rank), "layer": [bands, *sides]}


def _places(source_rank: str, target_rank: str) -> list[Spec]:
    """Where each band begins and ends: stacked on either side, with gaps between groups, centred."""
    value = "subscriber_count"
    steps: list[Spec] = [
        {"filter": f"isValid(datum.{value})"},
        {"joinaggregate": [{"op": "sum", "field": value, "as": "all"}]},
    ]
    for side, ranks in (("left", (source_rank, target_rank)), ("right", (target_rank, source_rank))):
        by = [{"field": rank} for rank in ranks]
        lift = f"(datum.{side}_place - (datum.{side}_groups + 1) / 2) * {_GAP} * datum.all"
        steps += [
            {"window": [{"op": "sum", "field": value, "as": f"{side}_sum"}], "sort": by, "frame": [None, 0]},
            {"window": [{"op": "dense_rank", "as": f"{side}_place"}], "sort": by[:1]},
            {"joinaggregate": [{"op": "max", "field": f"{side}_place", "as": f"{side}_groups"}]},
            {"calculate": f"datum.{side}_sum + {lift}", "as": f"{side}_foot"},
            {"calculate": f"datum.{side}_foot - datum.{value}", "as": f"{side}_top"},
        ]
    return steps


def _side(side: Literal["left", "right"], name: str, x: Spec, y: Spec, colour: Spec) -> list[Spec]:
    """The groups of one side: a bar as high as all their bands, their name and their share beside it."""
    is_left = side == "left"
    edges = ("-0.03", "0", "-0.05") if is_left else ("1", "1.03", "1.05")
    share = "datum.size / datum.all"
    said = f"replace(format({share}, {share} < 0.0095 ? '.1~%' : '.0%'), '%', '\u00a0%')"
    steps: list[Spec] = [
        {
            "aggregate": [
                {"op": "min", "field": f"{side}_top", "as": "top"},
                {"op": "max", "field": f"{side}_foot", "as": "foot"},
                {"op": "sum", "field": "subscriber_count", "as": "size"},
                {"op": "max", "field": "all", "as": "all"},
            ],
            "groupby": [name],
        },
        {"calculate": "(datum.top + datum.foot) / 2", "as": "middle"},
        {"calculate": f"datum.{name} + ' ' + {said}", "as": "words"},
        *(
            {"calculate": edge, "as": of}
            for of, edge in zip(("inner", "outer", "beside"), edges, strict=True)
        ),
    ]
    bar: Spec = {
        "x": x | {"field": "inner"},
        "x2": {"field": "outer"},
        "y": y | {"field": "top"},
        "y2": {"field": "foot"},
        "color": colour | {"field": name},
    }
    text: Spec = {"x": x | {"field": "beside"}, "y": y | {"field": "middle"}, "text": {"field": "words"}}
    mark = {"type": "text", "align": "right" if is_left else "left", "baseline": "middle"}
    return [
        {"transform": steps, "mark": {"type": "rect"}, "encoding": bar},
        {"transform": list(steps), "mark": mark, "encoding": text},
    ]


def intervals(category: str, value: str, low: str, high: str) -> Spec:
    """A point per category with a line over its interval, in the order of the rows."""
    names = _category(category, "rows") | {"axis": {"labelLimit": 220}, "title": None}
    # One title for both layers, without a unit, as labels have it: it would otherwise name the ends too.
    across = _quantity(value)
    across["title"] = value.replace("_", " ").removesuffix(" bytes")
    ends: Spec = {"x": across | {"field": low}, "x2": {"field": high}, "y": names}
    point = {"type": "point", "filled": True, "size": 90, "opacity": 1}
    return {
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 3, "strokeDash": [1, 0]}, "encoding": ends},
            {"mark": point, "encoding": {"x": across, "y": names}},
        ]
    }


_TALLEST: Final = 0.72
"""Height of a map over its width: a narrow one gets room on both sides instead."""
_CORNERS: Final = {"hexagonal": (6, math.sqrt(1 / 3), 0.0), "rectangular": (4, math.sqrt(0.5), math.pi / 4)}
"""Corners of a cell, their distance from its centre in steps, and the first one's angle from the top."""
_SQUARES: Final = {"symbolType": "square", "symbolSize": 110}
_KINDS: Final = 7
"""Names that have a colour of their own on a map."""


def grid(
    x: str,
    y: str,
    value: str,
    *,
    topology: str,
    columns: int,
    rows: int,
    names: Sequence[str] | None = None,
    reach: float | None = None,
) -> Spec:
    """The nodes of a map in their places, as hexagons or squares that touch, coloured by a quantity.

    `names` colours by texts instead, those beyond the seventh as one; `reach` by a quantity from
    -`reach` over 0 to `reach`. x goes right and y down, in steps; the rows of hexagons are sqrt(3) / 2
    apart and every other one is half a step to the right. A node without a value is an outline.
    """
    count, radius, turn = _CORNERS[topology]
    angle = f"(2 * PI * datum.corner / {count} + {turn:.6f})"
    steps: list[Spec] = [
        {"calculate": f"sequence(0, {count})", "as": "corner"},
        {"flatten": ["corner"]},
        {"calculate": f"datum.{x} + {radius:.6f} * sin{angle}", "as": "across"},
        {"calculate": f"datum.{y} - {radius:.6f} * cos{angle}", "as": "down"},
    ]
    spans = _map_spans(topology, columns, rows, radius)
    encoding: Spec = {
        channel: {"field": field, "type": "quantitative", "axis": None, "scale": scale}
        for channel, field, scale in (
            ("x", "across", {"domain": spans[0], "nice": False, "zero": False}),
            ("y", "down", {"domain": spans[1], "nice": False, "zero": False, "reverse": True}),
        )
    }
    encoding |= {
        "detail": [{"field": x}, {"field": y}],
        "order": {"field": "corner", "type": "quantitative"},
    }
    mark: Spec = {"type": "line", "interpolate": "linear-closed", "strokeWidth": 0.5, "style": "node"}
    inside: Spec = {
        "transform": [{"filter": f"isValid(datum[{json.dumps(value)}])"}],
        "mark": mark | {"filled": True},
        "encoding": {"color": _node_colour(value, names, reach)},
    }
    if names is not None and len(names) > _KINDS:
        held, said = json.dumps(list(names[:_KINDS])), f"datum[{json.dumps(value)}]"
        inside["transform"].append(
            {"calculate": f"indexof({held}, {said}) < 0 ? 'others' : {said}", "as": value}
        )
    return {"transform": steps, "encoding": encoding, "layer": [{"mark": mark}, inside]}


def _map_spans(topology: str, columns: int, rows: int, radius: float) -> tuple[list[float], list[float]]:
    """From where to where a map reaches, across and down."""
    is_shifted = topology == "hexagonal" and rows > 1
    down = (rows - 1) * (math.sqrt(0.75) if topology == "hexagonal" else 1.0)
    margin = radius if topology == "hexagonal" else 0.5
    left, right, height = -0.5, columns - 0.5 + 0.5 * is_shifted, down + 2 * margin
    spare = max(0.0, height / _TALLEST - (right - left)) / 2
    return [left - spare, right + spare], [-margin, down + margin]


def _node_colour(value: str, names: Sequence[str] | None, reach: float | None) -> Spec:
    colour: Spec = {"field": value, "type": "quantitative", "title": _title(value)}
    if names is not None:
        shown = list(names) if len(names) <= _KINDS else [*names[:_KINDS], "others"]
        return colour | {"type": "nominal", "sort": shown, "scale": {"domain": shown}, "legend": _SQUARES}
    if reach is None:
        return colour | {"scale": {"scheme": "blues"}}
    ends: Spec = {"scheme": "blueorange", "domain": [-reach, reach], "domainMid": 0, "clamp": True}
    return colour | {"scale": ends}


def below(*specs: Spec) -> Spec:
    """Charts one below the other, with scales of their own; a single one stands alone."""
    return specs[0] if len(specs) == 1 else {"vconcat": list(specs)}


def layers(*specs: Spec) -> Spec:
    """Charts drawn over one another on shared axes."""
    return {"layer": list(specs)}
