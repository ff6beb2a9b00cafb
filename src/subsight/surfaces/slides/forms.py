"""A chart's spec and rows as a form that presentation programs draw themselves, with the rows' own numbers.

What has no such form is None: whoever asks shows the report's drawing, or the rows as a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final, Literal

from subsight.results import Answer
from subsight.surfaces.report.rendering import axis_title
from subsight.surfaces.report.words import cell_text, column_unit, is_name, named, phrase, sentence
from subsight.surfaces.slides.sentences import label
from subsight.surfaces.slides.steps import FOLDED, Rows, UnreadError, taken

__all__ = ["Form", "Panel", "form", "said"]

Kind = Literal["bar", "column", "histogram", "line", "curve", "scatter"]

_CATEGORIES: Final = 15
"""Names beside bars that are still read, of 12 points."""
_HOURS: Final = 400
"""Points along a line."""
_PANELS: Final = 6
_SERIES: Final = 8


@dataclass(frozen=True)
class Panel:
    """One chart: categories and a value of each series for each, or points where categories are none.

    `unit` is the values' unit; `left_out` counts the categories that there was no room for.
    """

    kind: Kind
    title: str
    categories: Sequence[str]
    series: Mapping[str, Sequence[Any]]
    unit: str | None
    value_title: str
    is_stacked: bool = False
    is_from_zero: bool = False
    across_title: str = ""
    across_unit: str | None = None
    left_out: int = 0


@dataclass(frozen=True)
class Form:
    """The charts of an answer, and how many more there would be."""

    panels: Sequence[Panel]
    left_out: int = field(default=0)


def form(answer: Answer) -> Form | None:
    """The answer's chart in native form, or None where it has no chart, no rows or no native form.

    It has no panels where there is nothing to draw, or more series than eyes tell apart.
    """
    spec = answer.chart
    if spec is None or not answer.rows:
        return None
    try:
        rows = taken(spec, [dict(row) for row in answer.rows])
        if "facet" not in spec:
            panel = _panel(spec, rows, "")
            return Form([panel] if panel else [])
        by = spec["facet"]["field"]
        names = list(dict.fromkeys(row.get(by) for row in rows))
        panels = [
            _panel(spec["spec"], [row for row in rows if row.get(by) == name], _heading(name))
            for name in names
        ]
        drawn = [panel for panel in panels if panel]
        return Form(drawn[:_PANELS], max(0, len(drawn) - _PANELS))
    except UnreadError:
        return None


def _panel(spec: Mapping[str, Any], rows: Rows, title: str) -> Panel | None:
    if "layer" in spec or "vconcat" in spec or "facet" in spec:
        raise UnreadError
    if title:  # the answer's own steps were taken before its rows were parted
        rows = taken(spec, rows)
    mark = spec["mark"] if isinstance(spec["mark"], str) else spec["mark"]["type"]
    encoding = spec["encoding"]
    if mark == "bar":
        return _bars(encoding, rows, title)
    if mark == "line":
        return _line(encoding, rows, title)
    if mark == "point":
        return _points(encoding, rows, title, "scatter")
    raise UnreadError


def _bars(encoding: Mapping[str, Any], rows: Rows, title: str) -> Panel | None:
    x, y = encoding["x"], encoding["y"]
    binned = x.get("bin") == "binned"
    lies = not binned and x["type"] == "quantitative"
    names, values = (y, x) if lies else (x, y)
    if values["type"] != "quantitative" or (names["type"] == "quantitative" and not binned):
        raise UnreadError
    if binned:
        rows = [{**row, _BIN: _bin(row, names["field"])} for row in rows]
        names = {**names, "field": _BIN}
    offset = "yOffset" if lies else "xOffset"
    colour = encoding.get("color", {}).get("field")
    # A colour that repeats the category, or says a trait of it, splits nothing.
    stacked = bool(colour) and offset not in encoding
    kind: Kind = "bar" if lies else "histogram" if binned else "column"
    if values.get("scale", {}).get("type") in ("log", "symlog"):
        raise UnreadError
    return _made(kind, title, names, values, colour, rows, is_stacked=stacked)


_BIN: Final = "bin from"


def _line(encoding: Mapping[str, Any], rows: Rows, title: str) -> Panel | None:
    x, y = encoding["x"], encoding["y"]
    if x["type"] == "quantitative" and not _counts(x["field"], rows):
        return _points(encoding, rows, title, "curve")
    made = _made("line", title, x, y, encoding.get("color", {}).get("field"), rows)
    return made and replace(made, is_from_zero=bool(y.get("scale", {}).get("zero")))


def _counts(name: str, rows: Rows) -> bool:
    """Whether a quantity only counts on, such as hours, so that its values are as good as names."""
    found = {row[name] for row in rows if row.get(name) is not None}
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in found)
    return bool(found) and whole and max(found) - min(found) == len(found) - 1


def _points(encoding: Mapping[str, Any], rows: Rows, title: str, kind: Kind) -> Panel | None:
    x, y = encoding["x"]["field"], encoding["y"]["field"]
    colour = encoding.get("color", {}).get("field")
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get(x) is not None and row.get(y) is not None:
            name = _grouped(row[colour], colour) if colour else _titled(y)
            series.setdefault(label(name), []).append((row[x], row[y]))
    if not series:
        return None
    return Panel(
        kind, title, (), series, _unit(y, rows), _titled(y), across_title=_titled(x),
        across_unit=column_unit(x),
    )  # fmt: skip


def _made(
    kind: Kind, title: str, names: Mapping[str, Any], values: Mapping[str, Any], colour: str | None,
    rows: Rows, *, is_stacked: bool = False,
) -> Panel | None:  # fmt: skip
    key, value = names["field"], values["field"]
    order = list(dict.fromkeys(row[key] for row in rows if row.get(key) is not None))
    if isinstance(names.get("sort"), list):
        order.sort(key=lambda name: names["sort"].index(name) if name in names["sort"] else len(order))
    most = _CATEGORIES if kind == "bar" else _HOURS
    groups = list(dict.fromkeys(row.get(colour) for row in rows)) if colour else [None]
    if len(groups) > _SERIES:
        return None
    if kind == "bar" and not is_stacked and len(groups) > 1:
        most = max(4, 30 // len(groups))
    shown = order[:most]
    cells: dict[tuple[Any, Any], Any] = {}
    for row in rows:
        cell = (row.get(key), row.get(colour) if colour else None)
        if row.get(value) is not None:
            cells[cell] = cells.get(cell, 0) + row[value]
    if not any(cell[0] in shown for cell in cells):
        return None
    series = {
        label(_grouped(group, colour) if colour else _titled(value)): [
            cells.get((name, group)) for name in shown
        ]
        for group in groups
    }
    is_day = names.get("type") == "temporal"
    return Panel(
        kind, title, [label(_day(name) if is_day else said(name, key)) for name in shown], series,
        _unit(value, rows), _titled(value), is_stacked and len(groups) > 1,
        across_title="" if kind == "bar" or is_day else _titled(key),
        left_out=len(order) - len(shown),
    )  # fmt: skip


def _heading(name: Any) -> str:
    """What stands over one of several charts; a unit that the numbers say is not said there too."""
    if isinstance(name, str) and is_name(name) and column_unit(name) in ("bytes", "s", "share"):
        return sentence(phrase(name))
    return sentence(said(name))


def _grouped(group: Any, name: str) -> str:
    """A series in words; a number, yes or no says nothing without what it is of."""
    words = said(group)
    return f"{_titled(name)}: {words}" if words in ("yes", "no") or words.isdigit() else words


def _titled(name: str) -> str:
    return "" if name in ("value", "r", _BIN) else sentence(axis_title(name, name.replace("_", " ")) or "")


def _unit(name: str, rows: Rows) -> str | None:
    unit = column_unit(name)
    units = {row.get("unit") for row in rows} - {None}
    if unit is None and len(units) == 1 and name in ("mean", "median", "value", "total"):
        return next(iter(units))
    folded = {row.get(FOLDED) for row in rows}
    if unit is None and len(folded) == 1 and (column := next(iter(folded))):
        return column_unit(str(column))
    return unit


def said(value: Any, name: str = "") -> str:
    """A category in words; `name` is its column, whose unit a number is in."""
    if isinstance(value, str):
        return named(value) if is_name(value) else value or "–"
    return cell_text(value, column_unit(name))


def _day(value: Any) -> str:
    try:
        day = date.fromisoformat(str(value)[:10])
    except ValueError:
        return str(value)
    return f"{day.day} {day:%b}"


def _bin(row: Mapping[str, Any], low: str) -> str:
    """Where a bar of a histogram begins; the next one begins where it ends."""
    return cell_text(row.get(low), row.get("unit") or column_unit(low))
