"""Charts: a Vega-Lite spec and its rows as an SVG that scales, follows the page's colours and runs nothing.

The renderer draws in stand-in colours; afterwards each becomes a CSS variable of the page, so that one
drawing serves light, dark and paper.
"""

from __future__ import annotations

import copy
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from subsight.results import Answer
from subsight.surfaces.report.palette import on_paper
from subsight.surfaces.report.words import column_unit, is_name, named, phrase, spelled

__all__ = [
    "DIVERGING",
    "SEQUENTIAL",
    "WIDTH",
    "axis_title",
    "coloured",
    "dress",
    "dressed",
    "follow_page",
    "is_drawn",
    "painted",
    "resolved",
    "spec",
    "views",
]

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

WIDTH: Final = 420
"""Pixels across a chart as it is drawn: on a phone of 390 its text of 13 pixels is still one of 11."""
_SHOWN: Final = 1.12
"""How much larger a chart is where there is room, the same for all: texts of two charts are alike."""

_INK, _MUTED, _LINE, _GRID, _PAPER = "#01f0a1", "#01f0a2", "#01f0a3", "#01f0a4", "#01f0a5"
_SERIES: Final = tuple(f"#01f0{i:02d}" for i in range(1, 9))
_VARIABLES: Final = {
    _INK: "ink", _MUTED: "muted", _LINE: "line", _GRID: "grid", _PAPER: "paper",
    **{colour: f"c{i}" for i, colour in enumerate(_SERIES, 1)},
}  # fmt: skip

# Cells keep their dark labels in both colour schemes, so neither end of a scale is dark.
SEQUENTIAL: Final = ["#eaf2fb", "#a9cdf0", "#63a6e0"]
DIVERGING: Final = ["#e8934a", "#f6f4ef", "#63a6e0"]

_PADDING: Final = 18
_FONT: Final = "Arial, Liberation Sans, sans-serif"
_TEXT: Final = 13
_LONG: Final = 24
# Measuring texts takes half of a chart's time: limits are set only where labels are long.
_CONFIG: Final[Spec] = {
    "aria": False,
    "background": None,
    "font": _FONT,
    # On the left there is room for labels in a font that is wider than the one measured.
    "padding": {"left": 14, "top": 4, "right": 4, "bottom": 4},
    "view": {"stroke": None},
    "range": {"category": list(_SERIES), "ordinal": list(_SERIES)},
    "mark": {"color": _SERIES[0]},
    "bar": {"cornerRadiusEnd": 2},
    "rect": {"stroke": _PAPER, "strokeWidth": 0.5},
    "line": {"strokeWidth": 2.25},
    "point": {"size": 44, "opacity": 0.8},
    "text": {"color": _INK, "fontSize": 12},
    "rule": {"color": _MUTED, "strokeDash": [4, 3]},
    "style": {"node": {"stroke": _LINE, "color": _LINE}},
    "axis": {
        "labelColor": _MUTED, "titleColor": _INK,
        "domainColor": _LINE, "tickColor": _LINE, "gridColor": _GRID,
        "labelFontSize": _TEXT, "titleFontSize": _TEXT, "titleFontWeight": 600, "titlePadding": 12,
        "labelPadding": 4, "labelLimit": 0, "titleLimit": 0,
    },
    "axisQuantitative": {
        "tickCount": 5, "labelOverlap": "greedy", "labelSeparation": 8, "labelFlush": False,
        "domain": False, "ticks": False,
    },
    "legend": {
        "orient": "top", "direction": "horizontal", "columns": 3, "columnPadding": 20, "offset": 8,
        "labelLimit": 0, "titleLimit": 0,
        "labelColor": _MUTED, "titleColor": _INK,
        "labelFontSize": _TEXT, "titleFontSize": _TEXT, "titleFontWeight": 600,
        "symbolBaseFillColor": _MUTED, "gradientLength": 200, "gradientThickness": 10,
        # From the left edge of the chart on, not of its axis: long labels need the whole width.
        "layout": {"top": {"anchor": "start", "bounds": "full", "direction": "vertical"}},
    },
    "header": {
        "labelColor": _INK, "labelFontSize": _TEXT, "labelFontWeight": 600,
        "labelAnchor": "start",
        "labelLimit": 0,
    },
}  # fmt: skip

_SCALES: Final = {
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
    "s": ((3600, "h"), (60, "min")), "ms": ((1000, "s"),), "kbps": ((1000, "Mbps"),),
    "bps": ((1e9, "Gbps"), (1e6, "Mbps"), (1e3, "kbps")),
}  # fmt: skip
_SHARE: Final = "replace(format(datum.value, '.2~%'), '%', '\u00a0%')"
_NUMBER: Final = "abs(datum.value) < 1 ? format(datum.value, '~g') : format(datum.value, '~s')"
_BYTES: Final = "replace(format(datum.value, '~s'), /([a-zA-Z]?)$/, ' $1B')"
_RATE: Final = "replace(format(datum.value, '~s'), /([a-zA-Z]?)$/, ' $1bps')"
_THOUSANDS: Final = _RATE.replace("datum.value", "1000 * datum.value")
_DAYS: Final[Spec] = {
    "format": "%-d %b", "labelOverlap": "greedy", "labelFlush": False, "tickCount": 6,
}  # fmt: skip
_LETTER: Final = 6.6
_BOLD: Final = 7.1
"""Pixels of a letter of a label and of a heading."""
_SLANTED: Final = 20
"""Pixels from one slanted label to the next."""
_LABELS: Final = 220
"""Pixels for the labels of a discrete y axis; the longest names of handsets need that much."""
_VALUES: Final = 44
_CELL: Final = 50
"""Pixels across a cell that holds a share with its decimal."""
_EXTENT: Final = 32
"""Pixels that the labels of a panel's y axis take at least."""
_TICK: Final = 60
"""Pixels from one number below an x axis to the next."""
_TITLE: Final = 22
"""Pixels for the labels of a y axis with numbers, and for its title."""
_BETWEEN: Final = 16
"""Pixels between small multiples."""
_TITLES: Final = {
    "session_count": "sessions", "subscriber_count": "subscribers",
    "session_share": "share of sessions", "subscriber_share": "share of subscribers",
    "is_fill": "fill value", "node_count": "nodes", "first_offer_id": "first choice",
    "difference_z": "z units from the mean", "first_user_count": "first users",
}  # fmt: skip
# What a fold of columns calls its halves; the facet's header or the legend's labels say more.
_SAYS_NOTHING: Final = frozenset({"value", "values", "kind", "lower"})
_NEEDED: Final = re.compile(r"isValid\(datum\.(\w+)\)|datum\.(\w+) > 0")
_DISCRETE: Final = frozenset({"nominal", "ordinal"})


def spec(answer: Answer) -> str | None:
    """What the renderer is to draw for an answer, on one line; None where there is nothing to draw."""
    if not is_drawn(answer) or answer.chart is None:
        return None
    return json.dumps(dress(answer.chart, answer.rows), allow_nan=False, default=str)


def is_drawn(answer: Answer) -> bool:
    """Whether an answer has a chart and anything to show in it: small groups may have been all there was."""
    parts = () if answer.chart is None else answer.chart.get("vconcat", [answer.chart])
    return any(_shown(part, answer.rows) for part in parts)


def dressed(answer: Answer, svg: str) -> str:
    """The renderer's drawing of an answer as a part of the page."""
    return follow_page(svg, answer.id, answer.reading[0] if answer.reading else answer.question)


def coloured(spec: Mapping[str, Any], colours: Mapping[str, str]) -> Spec:
    """A dressed spec for another place than the report: in these colours, by variable, on their `paper`.

    It is valid by Vega-Lite's schema, which does not know all that the renderer does.
    """
    text = _COLOUR.sub(lambda match: colours[_VARIABLES[match[0]]], json.dumps(spec, default=str))
    found: Spec = json.loads(text)
    for part in found.get("vconcat", ()):
        part.pop("autosize", None)
    legend = {name: value for name, value in found["config"]["legend"].items() if name != "layout"}
    return {**found, "config": {**found["config"], "legend": legend, "background": colours["paper"]}}


def dress(spec: Mapping[str, Any], rows: Rows) -> Spec:
    """A study's spec with its data, sizes, words on the axes, and the report's look."""
    dressed = copy.deepcopy(dict(spec))
    for part in dressed.get("vconcat", [dressed]):
        _dress_view(part, rows)
        if part is not dressed and "width" in part:
            part["width"] -= _PADDING  # what stands below another is not fitted
    return {**dressed, "data": {"values": [dict(row) for row in rows]}, "config": _CONFIG}


def _dress_view(dressed: Spec, rows: Rows) -> None:
    _rescale(dressed, rows)
    seen = [*_shown(dressed, rows), *_folded(dressed)]
    room = _room(_encodings(dressed), seen)
    for view in views(dressed):
        for channel, encoding in view.get("encoding", {}).items():
            _dress_encoding(channel, encoding, seen, room)
        _dress_labels(view, room / max(1, len(_distinct(_encodings(dressed).get("x"), seen))))
        _untitle_categories(view)
    if "facet" in dressed:
        _order(dressed["facet"], seen)
        _size_facets(dressed, seen)
        dressed["facet"].setdefault("header", _headings(dressed, seen))
    else:
        _size(dressed, seen)


def _shown(spec: Spec, rows: Rows) -> Rows:
    """The rows that a chart does not leave out for want of a value in one of their own columns."""
    steps = [str(step.get("filter", "")) for step in spec.get("transform", [])]
    needed = [found for step in steps if (found := _NEEDED.fullmatch(step))]

    def lacks(row: Mapping[str, Any], found: re.Match[str]) -> bool:
        value = row.get(found[1] or found[2], 1)
        return value is None or (found[1] is None and not value > 0)

    return [row for row in rows if not any(lacks(row, found) for found in needed)]


def _dress_labels(view: Spec, room: float) -> None:
    """Numbers on cells that have so much room each: shares get a space, and keep a decimal where it fits."""
    mark = view.get("mark")
    text = view.get("encoding", {}).get("text", {})
    if not isinstance(mark, dict) or mark.get("type") != "text" or "field" not in text:
        return
    mark["fontSize"] = _TEXT
    datum = f"datum[{json.dumps(text['field'])}]"
    steps = [*view.get("transform", []), {"filter": f"isValid({datum})"}]
    if (form := text.get("format", "")).endswith("%"):
        form = form if room >= _CELL else form.replace(".1", ".0")
        said = f"replace(format({datum}, '{form}'), '%', '\u00a0%')"
        steps.append({"calculate": f"{datum} == 0 ? '0\u00a0%' : {said}", "as": "_written"})
        view["encoding"]["text"] = {"field": "_written", "type": "nominal"}
    view["transform"] = steps


def _rescale(spec: Spec, rows: Rows) -> None:
    """Folds columns of several units on scales that people read: hours for 600k seconds, GB for 4G bytes.

    One axis expression serves all panels, so that a unit can only stand in a panel's heading.
    """
    steps: list[Spec] = []
    for step in spec.get("transform", []):
        fold = list(step.get("fold", []))
        for i, column in enumerate(fold):
            scale = _scale(column, [row.get(column) for row in rows])
            if scale is not None:
                factor, unit = scale
                fold[i] = f"{phrase(column)} ({unit})"
                steps.append({"calculate": f"datum[{json.dumps(column)}] / {factor:g}", "as": fold[i]})
        steps.append({**step, "fold": fold} if fold else step)
    if steps:
        spec["transform"] = steps


def _scale(column: str, values: Sequence[Any]) -> tuple[float, str] | None:
    """The largest unit of which the largest value has two or more, and how many of the column's it holds."""
    most = max((abs(v) for v in values if isinstance(v, int | float)), default=0)
    scales = _SCALES.get(column_unit(column) or "", ())
    return next((scale for scale in scales if most >= 2 * scale[0]), None)


def _folded(spec: Spec) -> Iterator[Spec]:
    """The categories that a chart makes of column names, as rows."""
    for step in spec.get("transform", []):
        for column in step.get("fold", []):
            yield {step.get("as", ["key"])[0]: column}


def views(spec: Spec) -> Iterator[Spec]:
    """A spec and the views inside it: its layers, or what its small multiples repeat."""
    yield spec
    for inner in [*spec.get("layer", []), *([spec["spec"]] if "spec" in spec else [])]:
        yield from views(inner)


def _room(encodings: Spec, rows: Rows) -> float:
    """Pixels across that the labels of the y axis leave."""
    y = encodings.get("y", {})
    return WIDTH - (min(_LABELS, _LETTER * _longest(y, rows)) if y.get("type") in _DISCRETE else _VALUES) - 44


def _dress_encoding(channel: str, encoding: Any, rows: Rows, room: float) -> None:
    if not isinstance(encoding, dict) or "field" not in encoding:
        return
    kind = encoding.get("type")
    given = encoding.get("title")
    if isinstance(given, str):
        encoding["title"] = axis_title(encoding["field"], given)
    positional = channel in ("x", "y")
    if kind == "temporal":
        # Dates are UTC midnights: drawn in local time they would move to the day before.
        encoding["scale"] = {**encoding.get("scale", {}), "type": "utc"}
        encoding["axis"] = {**_DAYS, **(encoding.get("axis") or {})}
        days = len({row.get(encoding["field"]) for row in rows})
        if days <= 8:
            encoding["axis"]["tickCount"] = {"interval": "day", "step": 1}
    elif channel == "size":
        encoding.setdefault("legend", {"tickCount": 3, "labelExpr": _number(encoding["field"])})
    elif kind == "quantitative" and positional:
        _dress_quantity(encoding, given, rows)
        if channel == "x" and encoding.get("axis"):
            encoding["axis"].setdefault("tickCount", max(3, min(5, int(room / _TICK))))
    elif kind in _DISCRETE and (positional or channel in ("color", "shape")):
        _order(encoding, rows)
        part = "axis" if positional else "legend"
        if not positional and len(_distinct(encoding, rows)) == 1:
            encoding.setdefault("legend", None)  # one colour tells nothing apart
        if encoding.get(part, {}) is not None:
            given = {k: v for k, v in encoding.get(part, {}).items() if k != "labelLimit"}
            longest = _longest(encoding, rows)
            limit = {"labelLimit": _LABELS} if longest > _LONG and positional else {}
            if part == "legend":
                limit["columns"] = max(1, min(3, int(room / (_LETTER * longest + 42))))
            encoding[part] = {**given, **_words(encoding["field"], rows), **limit}
    if channel == "color" and "scheme" in encoding.get("scale", {}):
        scale = encoding["scale"]
        del scale["scheme"]
        scale |= {"range": DIVERGING if "domainMid" in scale else SEQUENTIAL, "interpolate": "rgb"}
        encoding.setdefault("legend", {"labelExpr": _number(encoding["field"])})


def axis_title(field: str, given: str) -> str | None:
    """The title of an axis or a legend: in words, and without the unit where each label has it."""
    stem, _, unit = given.partition(" (")
    said = spelled(given)
    if field.replace("_", " ").startswith(stem):  # the column's own name, not a title of the study's
        said = _TITLES.get(field) or f"{phrase(field)}{f' ({unit}' if unit else ''}"
    return None if said in _SAYS_NOTHING else re.sub(r" \((?:bytes|k?bps|share)\)$", "", said)


def _untitle_categories(view: Spec) -> None:
    """Bars beside their names need no word on its side that says what the names are of."""
    mark, y = view.get("mark"), view.get("encoding", {}).get("y", {})
    if isinstance(mark, dict) and mark.get("type") in ("bar", "tick") and y.get("type") in _DISCRETE:
        y["title"] = None


def _order(encoding: Spec, rows: Rows) -> None:
    """Spells out the order of the rows: layers leave out different rows, and facets would be sorted."""
    values = [row[encoding["field"]] for row in rows if row.get(encoding["field"]) is not None]
    if encoding.get("sort", ()) is None and values:
        encoding["sort"] = list(dict.fromkeys(values))


def _words(field: str, rows: Rows) -> Spec:
    """Labels that put words in the place of column names: among the values, or among the columns folded."""
    found = [row[field] for row in rows if row.get(field) is not None]
    if found and all(isinstance(value, bool) for value in found):
        return {"labelExpr": "datum.label == 'true' ? 'yes' : 'no'"}
    values = [str(value) for value in found]
    names = {value: named(value) for value in values if is_name(value)}
    if names:
        # The label stands in brackets because a facet's header puts an expression in its place.
        return {"labelExpr": f"{json.dumps(names)}[datum.label] || (datum.label)"}
    return {"labelExpr": _number(field)} if any(isinstance(value, float) for value in found) else {}


def _headings(spec: Spec, rows: Rows) -> Spec:
    """Headings over small multiples, in words and on as many lines as their width asks for."""
    field, width = spec["facet"]["field"], spec["spec"]["width"]
    say = phrase if _all_bytes(rows) else named  # the labels of the axis say bytes
    words = {text: say(text) if is_name(text) else text for text in _distinct(spec["facet"], rows)}
    room = max(8, int(width / _BOLD))
    lines = {text: textwrap.wrap(said, room) for text, said in words.items()}
    if all(said == [text] for text, said in lines.items()):
        return _words(field, rows)
    most = max(map(len, lines.values()))
    # Headings stand on their charts, so that the shorter ones begin lower.
    padded = {text: [*[""] * (most - len(said)), *said] for text, said in lines.items()}
    return {"labelExpr": f"{json.dumps(padded)}[datum.label] || (datum.label)"}


def _all_bytes(rows: Rows) -> bool:
    return {row["unit"] for row in rows if row.get("unit")} == {"bytes"}


def _dress_quantity(encoding: Spec, given: Any, rows: Rows) -> None:
    axis = encoding.get("axis")
    if axis is None and "axis" in encoding:
        return
    axis = encoding["axis"] = dict(axis or {})
    binned = encoding.get("bin") == "binned"
    if encoding.get("scale", {}).get("type") != "log":
        axis["labelOverlap"] = "parity"  # every second label, so that those that stay are evenly apart
    if axis.get("format") == ".0%":
        del axis["format"]
        axis["labelExpr"] = _SHARE
    elif axis.get("format", "~s") in ("~s", "~g"):
        axis.pop("format", None)
        in_bytes = str(given).endswith("(bytes)") or (binned and _all_bytes(rows))
        axis["labelExpr"] = _BYTES if in_bytes else _number(encoding["field"])


def _number(field: str) -> str:
    labels = {"bytes": _BYTES, "bps": _RATE, "kbps": _THOUSANDS, "share": _SHARE}
    return labels.get(column_unit(field) or "", _NUMBER)


def _encodings(spec: Spec) -> Spec:
    """The positions of a view or of its layers, the first that says so winning."""
    merged: Spec = {}
    for view in views(spec):
        for channel, encoding in view.get("encoding", {}).items():
            merged.setdefault(channel, encoding)
    return merged


def _distinct(encoding: Mapping[str, Any] | None, rows: Rows) -> list[str]:
    field = (encoding or {}).get("field", "")
    return list(dict.fromkeys(str(row.get(field)) for row in rows if row.get(field) is not None))


def _longest(encoding: Mapping[str, Any] | None, rows: Rows) -> int:
    """Letters of the longest label, said in words."""
    labels = (named(text) if is_name(text) else text for text in _distinct(encoding, rows))
    return max(map(len, labels), default=0)


def _size(spec: Spec, rows: Rows) -> None:
    encodings = _encodings(spec)
    spec["width"] = WIDTH
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["height"] = _height(encodings, rows, step=24, plain=250)
    if (aspect := _aspect(encodings)) is not None:
        spec["height"] = round(aspect * (WIDTH - _PADDING))
    _turn_labels(encodings, rows, _room(encodings, rows))


def _aspect(encodings: Spec) -> float | None:
    """Height over width of a map, of which a step is as long down as across; None of any other chart."""
    ends = [encodings.get(channel, {}).get("scale", {}).get("domain") for channel in ("x", "y")]
    has_axes = any(encodings.get(channel, {}).get("axis", {}) is not None for channel in ("x", "y"))
    if has_axes or None in ends:
        return None
    (left, right), (top, bottom) = ends
    return float((bottom - top) / (right - left))


def _height(encodings: Spec, rows: Rows, *, step: int, plain: int) -> Any:
    if encodings.get("y", {}).get("type") not in _DISCRETE:
        return plain
    offsets = len(_distinct(encodings.get("yOffset"), rows))
    return {"step": max(step, 11 * offsets + 8), "for": "position"}


def _turn_labels(encodings: Spec, rows: Rows, width: float) -> None:
    """Lays the labels of a discrete x axis flat where they fit, and slants them where they do not."""
    x = encodings.get("x", {})
    if x.get("type") not in _DISCRETE or ("axis" in x and x["axis"] is None):
        return
    labels, longest = _distinct(x, rows), _longest(x, rows)
    if all(isinstance(row.get(x["field"]), int | float | None) for row in rows) or (
        longest <= 2 and all(map(str.isdigit, labels))
    ):
        # Numbers are read without every label.
        x["axis"] = {**x.get("axis", {}), "labelAngle": 0, "labelOverlap": "parity", "labelSeparation": 3}
        return
    fits = len(labels) * (longest + 1) * _LETTER <= width
    if not fits and (lines := _wrapped(labels, int(width / len(labels) / _LETTER) - 1)):
        fits, x["axis"] = True, {**x.get("axis", {}), "labelExpr": f"{json.dumps(lines)}[datum.label]"}
    x["axis"] = {**x.get("axis", {}), "labelAngle": 0 if fits else -40}
    if not fits:
        # None is left out as long as there is room for each: a category without its name says nothing.
        has_room = _SLANTED * len(labels) <= width
        x["axis"] |= {"labelAlign": "right", "labelOverlap": False if has_room else "greedy"}
        x["axis"] |= {"labelLimit": _LABELS} if longest > _LONG else {}


def _wrapped(labels: Sequence[str], letters: int) -> dict[str, list[str]] | None:
    """Labels on two lines of so many letters each; None where one of them needs more."""
    said = {label: named(label) if is_name(label) else label for label in labels}
    lines = {
        label: textwrap.wrap(text, max(1, letters), break_long_words=False) for label, text in said.items()
    }
    fit = all(len(of) <= 2 and max(map(len, of)) <= letters for of in lines.values() if of)
    return lines if fit else None


def _size_facets(spec: Spec, rows: Rows) -> None:
    inner = spec["spec"]
    encodings = _encodings(inner)
    if (aspect := _aspect(encodings)) is not None:
        inner["width"] = WIDTH // spec["columns"] - _BETWEEN
        inner["height"] = round(aspect * inner["width"])
        spec["spacing"] = _BETWEEN
        return
    discrete = encodings.get("y", {}).get("type") in _DISCRETE
    count = len(_distinct(spec["facet"], rows))
    columns = 1 if discrete else min(2, spec.get("columns", 2), max(1, count))
    if count % 2 and columns > 1:
        # Shared axes would be drawn below the empty place too.
        spec["resolve"] = {**spec.get("resolve", {}), "axis": {"x": "independent", "y": "independent"}}
    resolved = spec.get("resolve", {})
    apart = "independent" in {*resolved.get("scale", {}).values(), *resolved.get("axis", {}).values()}
    spec["columns"] = columns
    if discrete:
        inner["width"] = int(_room(encodings, rows))
    else:
        beside = _VALUES + (_TITLE if encodings.get("y", {}).get("title") else 0)
        inner["width"] = (WIDTH - _BETWEEN * columns) // columns - beside // (1 if apart else columns)
        if apart and columns > 1 and encodings["y"].get("axis"):
            encodings["y"]["axis"]["minExtent"] = _EXTENT  # so that panels stand below one another
    inner["height"] = _height(encodings, rows, step=20, plain=130 if columns > 1 else 180)
    spec["spacing"] = _BETWEEN
    _turn_labels(encodings, rows, inner["width"])


_COLOUR: Final = re.compile("|".join(_VARIABLES))
_VARIABLE: Final = re.compile(r"var\(--([a-z0-9-]+)\)")
_DECLARED: Final = re.compile(r"--([a-z0-9-]+): (#[0-9a-f]{6})\b")
_FONTS: Final = re.compile(r' font-family="[^"]*"')
_DECIMALS: Final = re.compile(r"(\.\d\d)\d+(?=[^<>]*>)")
_NAMES: Final = re.compile(r'(?<= id=")[^"]+')
_OPENING: Final = re.compile(r"<svg[^>]*?\bwidth=\"([\d.]+)\"[^>]*?(\bviewBox=\"[^\"]+\")[^>]*>")
_NOISE: Final = re.compile(
    r' (?:class|role|aria-roledescription|aria-hidden|pointer-events)="[^"]*"| (?:stroke-)?opacity="1"'
    r'|<path aria-hidden="true" d="(?:M0,0h0v0h0Z)?"(?: pointer-events="none")?(?: display="none")?/>'
)


def painted(svg: str, colours: Mapping[str, str]) -> str:
    """The renderer's SVG in colours of its own, by the names of the page's variables."""
    return _COLOUR.sub(lambda match: colours[_VARIABLES[match[0]]], svg)


def follow_page(svg: str, id: str, label: str) -> str:
    """The renderer's SVG with the page's colours and font, and with names that no other chart has."""
    names = {name: f"{id}-{i}" for i, name in enumerate(dict.fromkeys(_NAMES.findall(svg)))}
    for name, unique in names.items():
        svg = svg.replace(f'"{name}"', f'"{unique}"').replace(f"#{name})", f"#{unique})")
    svg = _COLOUR.sub(lambda match: f"var(--{_VARIABLES[match[0]]})", _FONTS.sub("", svg))
    svg = _DECIMALS.sub(r"\1", _NOISE.sub("", svg))
    opening = _OPENING.search(svg)
    if opening is None:
        return svg
    width = round(_SHOWN * float(opening[1]))
    start = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" {opening[2]}'
    return f'{start} role="img" aria-label="{escape(label)}">' + svg[opening.end() :]


def resolved(svg: str) -> str:
    """A drawing with the colours of paper in the place of stand-ins and of the page's variables.

    For whoever reads no style sheet: a picture, or a renderer that knows no variable in an attribute.
    """
    colours = on_paper()
    svg = _COLOUR.sub(lambda match: colours[_VARIABLES[match[0]]], svg)
    return _VARIABLE.sub(lambda match: colours.get(match[1], match[0]), svg)
