"""Marks of a chart that say what they show, and lead to the same page filtered by what they stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape, unescape
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from subsight.results import Answer
from subsight.surfaces.dashboard.addresses import KINDS, PARAMETERS, View
from subsight.surfaces.report.rendering import dress, is_drawn, views
from subsight.surfaces.report.tables import said
from subsight.surfaces.report.words import phrase, sentence

__all__ = ["FIELDS", "Targets", "lead", "spec", "value_of"]

Spec = dict[str, Any]
Targets = Mapping[str, Mapping[str, str]]
"""By the kind of filter, the value to filter by for what a cell says; any day is one of `period`."""

FIELDS: Final = {
    "segment_name": "segment", "handset_manufacturer": "manufacturer", "handset": "handset",
    "engagement_cluster": "engagement_cluster", "experience_cluster": "experience_cluster",
    "application": "application", "cell_id": "cell", "local_date": "period",
    "category": "category", "exporter": "site",
}  # fmt: skip
"""The kind of filter that a column's values are of."""

_HERE: Final = "https://here.invalid/?"
"""What links begin with in a drawing that is kept: which page it will stand on is not known then."""
_LABEL, _LINK, _SAID = "_label", "_href", "_said"
_NAMED: Final = frozenset({"bar", "point", "rect", "circle", "square", "tick", "arc", "area"})
_ANCHOR: Final = re.compile(
    rf'<a xlink:href="{re.escape(_HERE)}([^"]*)"><(\w+)(?: aria-label="([^"]*)")?', re.ASCII
)
_NOWHERE: Final = re.compile(r'<a xlink:href="[^"]*">(<[^>]*/>)</a>')
_MARK: Final = re.compile(r'<(path|line|text|g) aria-label="')
_UNSAID: Final = re.compile(r' aria-label="(?:Title|Subtitle) text [^"]*"')


def value_of(column: str, value: Any, targets: Targets) -> tuple[str, str] | None:
    """The kind and the value to filter by for a cell; None where there is no such filter."""
    kind = FIELDS.get(column)
    if kind is None or kind not in targets or value is None:
        return None
    if kind == "period":
        is_day = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value)
        return (kind, value[:10]) if is_day else None
    found = targets[kind].get(str(value))
    return None if found is None else (kind, found)


def spec(answer: Answer, targets: Targets) -> str | None:
    """What the renderer is to draw: the report's chart, its marks named and linked; None without a chart."""
    if not is_drawn(answer) or answer.chart is None:
        return None
    dressed = dress(answer.chart, answer.rows)
    parts = list(
        zip(dressed.get("vconcat", [dressed]), answer.chart.get("vconcat", [answer.chart]), strict=True)
    )
    encoded = {field: kind for part, _ in parts for field, kind in _fields(part).items()}
    rows = [_told(row, encoded, targets) for row in answer.rows]
    is_linked = any(row[_LINK] for row in rows)
    for part, original in parts:
        _say_folded(part, original, rows)
        for view in list(views(part)):
            _name(view, is_linked)
    config = json.loads(json.dumps(dressed["config"]))
    # Of all that a chart holds its marks alone are named: axes and legends are read as text.
    del config["aria"]
    for part_of_chart in ("axis", "legend", "title", "header"):
        config.setdefault(part_of_chart, {})["aria"] = False
    return json.dumps({**dressed, "data": {"values": rows}, "config": config}, allow_nan=False, default=str)


def _fields(part: Spec) -> dict[str, str]:
    """The columns that a chart shows and whether each is a quantity."""
    found: dict[str, str] = {}
    encodings = [("facet", part.get("facet", {}))]
    encodings += [pair for view in views(part) for pair in view.get("encoding", {}).items()]
    for channel, one in encodings:
        if isinstance(one, dict) and "field" in one and channel not in ("detail", "order", "text"):
            found.setdefault(one["field"], "quantitative" if channel in ("x2", "y2") else one.get("type", ""))
    return found


def _told(row: Mapping[str, Any], encoded: Mapping[str, str], targets: Targets) -> Spec:
    """A row with what its mark says and where it leads."""
    fields = [field for field in encoded if field in row]
    names = [_called(f, row) for f in fields if encoded[f] != "quantitative" and row[f] is not None]
    numbers = [f"{phrase(f)} {said(f, row)}" for f in fields if encoded[f] == "quantitative"]
    values = [found for f in fields if (found := value_of(f, row[f], targets))]
    label = ": ".join(filter(None, (", ".join(names), ", ".join(numbers))))
    link = _HERE + urlencode([("day" if kind == "period" else KINDS[kind], value) for kind, value in values])
    return {**row, _LABEL: label if names else sentence(label), _LINK: link if values else ""}


def _called(field: str, row: Mapping[str, Any]) -> str:
    """A category; one that is a number, such as a cluster's, with what it is a number of."""
    is_number = isinstance(row[field], int | float) and not isinstance(row[field], bool)
    return f"{phrase(field)} {said(field, row)}" if is_number else said(field, row)


def _say_folded(part: Spec, original: Mapping[str, Any], rows: Sequence[Spec]) -> None:
    """Lets a mark that shows one of several columns say the name and value of that one."""
    steps: list[Spec] = []
    folds = [step["fold"] for step in original.get("transform", []) if "fold" in step]
    for step in part.get("transform", []):
        steps.append(step)
        if "fold" not in step:
            continue
        columns = folds.pop(0)
        for column in columns:
            for row in rows:
                row[f"{_SAID} {column}"] = f"{phrase(column)} {said(column, row)}" if column in row else ""
        names = dict(zip(step["fold"], (f"{_SAID} {column}" for column in columns), strict=True))
        key = step.get("as", ["key"])[0]
        column = f"{json.dumps(names)}[datum[{json.dumps(key)}]]"
        told = f"(datum.{_LABEL} ? datum.{_LABEL} + ': ' : '') + datum[{column}]"
        steps.append({"calculate": told, "as": _LABEL})
    if steps:
        part["transform"] = steps


def _name(view: Spec, is_linked: bool) -> None:
    """Gives the marks of a view their names and links; what runs through many rows has none."""
    mark = view.get("mark")
    if mark is None:
        return
    mark = {"type": mark} if isinstance(mark, str) else dict(mark)
    names: Spec = {"description": {"field": _LABEL, "type": "nominal"}}
    if is_linked:
        names["href"] = {"field": _LINK, "type": "nominal"}
    if mark["type"] == "line" and mark.pop("point", None):
        # Each row of a line has a point of its own.
        dots: Spec = {"mark": {"type": "point", "filled": True, "opacity": 1}, "encoding": names}
        view["layer"] = [{"mark": {**mark, "aria": False}}, dots]
        del view["mark"]
        return
    if mark["type"] in _NAMED or mark.get("style") == "node":
        view["encoding"] = {**view.get("encoding", {}), **names}
    else:
        mark["aria"] = False
    view["mark"] = mark


def lead(svg: str, to: Callable[[View], str], view: View) -> str:
    """A drawing whose marks lead to a page: `to` is its address with a view."""

    def anchor(match: re.Match[str]) -> str:
        chosen = view.filters()
        for name, value in parse_qsl(unescape(match[1])):
            kind = "period" if name == "day" else PARAMETERS[name]
            chosen = chosen.with_value(kind, value)
        name = f' aria-label="{match[3]}"' if match[3] else ""
        return f'<a href="{escape(to(chosen))}"{name}><{match[2]}'

    led = _NOWHERE.sub(r"\1", _UNSAID.sub("", _ANCHOR.sub(anchor, svg)))
    led = _MARK.sub(r'<\1 role="img" aria-label="', led)
    # What holds links is no picture: a reader goes into it.
    return led.replace(' role="img"', ' role="group"', 1) if "<a href" in led else led
