"""The few chart forms that every study uses, as Vega-Lite specs without data.

The data are the answer's rows; colours, fonts and sizes belong to the surface that renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from subsight.units import unit_of

__all__ = ["bars", "below", "facet", "flows", "heat", "histogram", "layers", "lines", "points"]

Spec = dict[str, Any]
_TITLES = {"bytes": "bytes", "ms": "ms", "s": "seconds", "kbps": "kbps", "share": "share"}


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
    """Bars of one quantity per category, in the order of the rows; `colour` splits each category."""
    quantity, names = _quantity(value, scale=scale), _category(category, order)
    names["axis"] = {"labelLimit": 220}
    across, along = ("y", "x") if not vertical else ("x", "y")
    encoding: Spec = {across: names, along: quantity}
    if colour:
        encoding["color"] = {"field": colour, "type": "nominal", "title": _title(colour), "sort": None}
        if not stacked:
            encoding[f"{across}Offset"] = {"field": colour, "sort": None}
    return {"mark": {"type": "bar"}, "encoding": encoding}


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
    """A grid of cells coloured by a quantity; a `diverging` one runs over 0 from -`reach` to `reach`."""
    colour: Spec = {"field": value, "type": "quantitative", "title": _title(value)}
    colour["scale"] = (
        {"scheme": "blueorange", "domain": [-reach, reach], "domainMid": 0}
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


def flows(source: str, source_rank: str, target: str, target_rank: str) -> Spec:
    """Bands from groups on the left to groups on the right, as wide as the subscribers who took that way.

    Rows hold a way each: both groups, their ranks (from the top) and `subscriber_count`; null is left out.
    """
    value = "subscriber_count"

    def stacked(name: str, *order: str) -> list[Spec]:
        end = {"op": "sum", "field": value, "as": f"{name}_end"}
        sort = [{"field": rank} for rank in order]
        begin = {"calculate": f"datum.{name}_end - datum.{value}", "as": f"{name}_begin"}
        return [{"window": [end], "sort": sort, "frame": [None, 0]}, begin]

    def along(edge: str) -> Spec:
        bend = "datum.t * datum.t * (3 - 2 * datum.t)"
        way = f"datum.left_{edge} + (datum.right_{edge} - datum.left_{edge}) * {bend}"
        return {"calculate": way, "as": edge}

    def labels(group: str, rank: str, side: Literal["left", "right"]) -> Spec:
        total = {"aggregate": [{"op": "sum", "field": value, "as": value}], "groupby": [group, rank]}
        middle = {"calculate": f"datum.{side}_end - datum.{value} / 2", "as": "middle"}
        at, align, gap = (0, "right", -6) if side == "left" else (1, "left", 6)
        return {
            "transform": [total, *stacked(side, rank), middle],
            "mark": {"type": "text", "align": align, "dx": gap, "fontSize": 12},
            "encoding": {
                "x": {"datum": at, "type": "quantitative"},
                "y": {"field": "middle", "type": "quantitative"},
                "text": {"field": group},
            },
        }

    bands: Spec = {
        "transform": [
            *stacked("left", source_rank, target_rank),
            *stacked("right", target_rank, source_rank),
            {"calculate": "sequence(0, 1.001, 0.04)", "as": "t"},
            {"flatten": ["t"]},
            along("begin"),
            along("end"),
        ],
        "mark": {"type": "area", "opacity": 0.7},
        "encoding": {
            "x": {"field": "t", "type": "quantitative", "axis": None},
            "y": {"field": "begin", "type": "quantitative", "axis": None, "scale": {"reverse": True}},
            "y2": {"field": "end"},
            "detail": [{"field": source}, {"field": target}],
            "color": {"field": source, "type": "nominal", "legend": None, "sort": None},
        },
    }
    return {
        "transform": [{"filter": f"isValid(datum.{value})"}],
        "layer": [bands, labels(source, source_rank, "left"), labels(target, target_rank, "right")],
    }


def below(*specs: Spec) -> Spec:
    """Charts one below the other, with scales of their own; a single one stands alone."""
    return specs[0] if len(specs) == 1 else {"vconcat": list(specs)}


def layers(*specs: Spec) -> Spec:
    """Charts drawn over one another on shared axes."""
    return {"layer": list(specs)}
