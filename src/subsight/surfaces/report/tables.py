"""An answer's rows as cells to print: words, units, abbreviated pseudonyms, links to other answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from subsight.surfaces.report.words import (
    cell_text,
    column_unit,
    dated,
    is_name,
    named,
    phrase,
    sentence,
    unit_label,
    unit_text,
)
from subsight.units import FACTORS

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["Cell", "Head", "Table", "alike", "breakable", "link", "note", "said", "table"]

_PARTS: Final = re.compile(
    r"(?P<id>\b[a-z][a-z0-9_]*\.[a-z0-9_]+\b)"
    r"|`(?P<code>[^`]+)`"
    r"|(?P<name>\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b)"
    r"|\b\d{4}-\d\d-\d\d\b"
    r"|\b[\d,]+(?:\.\d+)? (?:%|(?:[kMGTP]?B|[kMG]?bps|ms|s|min|h)\b)"
)
_PSEUDONYM: Final = re.compile(r"[0-9a-f]{32}")
_BREAKS: Final = re.compile(r"(?<=[._])")
_NAMES_A_COLUMN: Final = ("variable", "metric", "column", "measure", "feature")
_IN_ROW_UNIT: Final = frozenset({
    "value", "threshold", "mean", "median", "mode", "minimum", "maximum", "range", "total",
    "standard_deviation", "deviation", "iqr", "first_quartile", "third_quartile", "lower", "upper", "fill",
    "raw", "treated", "min", "max", "centroid", "level", "bin_low", "bin_high", "above", "up_to",
})  # fmt: skip
_PROSE: Final = 36
_WIDE: Final = 8
_WIDEST: Final = 12
"""More columns than that, or prose among many, are printed on a page laid across."""


@dataclass(frozen=True)
class Head:
    """A column's header: its words, its unit, its name in the data, how its cells stand, how it is sorted."""

    words: Markup | str
    unit: str | None
    name: str
    kind: str
    order: str | None = None


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the exact or full value where that is shorter than the truth."""

    shown: Markup | str
    exact: str | None
    head: Head


@dataclass(frozen=True)
class Table:
    """A table ready to print; `kind` says whether it is wide, how wide, and whether it holds prose."""

    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    suppressed: Collection[int]
    kind: str


def table(
    rows: Sequence[Mapping[str, Any]], known: Collection[str], *, group_size: str | None = None
) -> Table | None:
    """The rows as a table, or None where there are none; `known` are the answers that can be linked to."""
    if not rows:
        return None
    names = [name for name in rows[0] if name != "unit" or not all(map(_says_unit, rows))]
    heads = [_head(name, [row.get(name) for row in rows]) for name in names]
    told = alike(rows)
    prose = any(head.kind == "prose" for head in heads)
    hidden = {i for i, row in enumerate(rows) if group_size and row.get(group_size) is None}
    body = []
    for i, row in enumerate(rows):
        unit = _row_unit(row)
        shown = {**row, "unit": ""} if _says_unit(row) else row
        cells = [_cell(shown.get(head.name), head, unit, known, told) for head in heads]
        if i in hidden:
            said = [Cell("suppressed", None, head) if head.name == group_size else None for head in heads]
            cells = [word or cell for word, cell in zip(said, cells, strict=True)]
        body.append(cells)
    wide, widest = len(heads) > _WIDE, len(heads) > (_WIDE if prose else _WIDEST)
    kinds = ["prose"] * prose + ["wide"] * wide + ["widest"] * widest
    return Table(heads, body, hidden, " ".join(kinds) or "plain")


def link(text: str, known: Collection[str], names: Collection[str] = ()) -> Markup:
    """A text with answers' ids as links, dates and quantities kept on one line, and all else escaped.

    `known` are answers of this page, or addresses by the answer. Those of `names` that it mentions are said
    as the table beside it says them.
    """
    from markupsafe import Markup, escape

    parts: list[str] = []
    end = 0
    for match in _PARTS.finditer(text):
        shown = _part(match, known, names)
        if shown is not None:
            parts += [escape(text[end : match.start()]), shown]
            end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def breakable(name: str) -> Markup:
    """An id or a column's name that a line may break between its words, never inside one."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(map(escape, _BREAKS.split(name)))


def _part(match: re.Match[str], known: Collection[str], names: Collection[str]) -> Markup | None:
    from markupsafe import Markup

    if id := match["id"]:
        if id not in known:
            return None
        address = known[id] if isinstance(known, Mapping) else f"#{id}"
        return Markup('<a class="id" href="{}">{}</a>').format(address, breakable(id))
    if code := match["code"]:
        return Markup("<code>{}</code>").format(code)
    if name := match["name"]:
        words = sentence(phrase(name)) if match.start() == 0 else phrase(name)
        return Markup('<abbr title="{}">{}</abbr>').format(name, words) if name in names else None
    return Markup('<span class="whole">{}</span>').format(dated(match[0]))


def note(text: str, known: Collection[str], names: Collection[str]) -> Markup:
    """A note as a sentence of the page: see `link`."""
    return link(text if is_name(text.partition(":")[0].partition(" ")[0]) else sentence(text), known, names)


def _head(name: str, values: Sequence[Any]) -> Head:
    present = [value for value in values if value is not None]
    numeric = bool(present) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in present
    )
    kind = "number" if numeric else "text"
    if not numeric and any(len(str(value)) > _PROSE for value in present if not _is_pseudonym(value)):
        kind = "prose"
    # Cells say their own unit, which may be another of the same kind: hours in a column of seconds.
    unit = None if column_unit(name) in FACTORS else unit_label(name)
    return Head(sentence(phrase(name)), unit, name, kind)


def _says_unit(row: Mapping[str, Any]) -> bool:
    """Whether every number of a row says its unit, so that a column of units would only repeat it."""
    numbers = [
        name for name, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    in_unit = [name for name in numbers if column_unit(name) is None]
    known = row.get("unit") in FACTORS or row.get("unit") == "share points"
    return known and bool(in_unit) and all(_stem(name) in _IN_ROW_UNIT for name in in_unit)


def _stem(name: str) -> str:
    return name.removesuffix("_raw").removesuffix("_treated")


def _row_unit(row: Mapping[str, Any]) -> str | None:
    """The unit of a row that has one: its own `unit`, or the one its variable's name ends in."""
    if row.get("unit") in FACTORS or row.get("unit") == "share points":
        return str(row["unit"])
    for name in _NAMES_A_COLUMN:
        if isinstance(row.get(name), str):
            return column_unit(row[name])
    return None


def said(name: str, row: Mapping[str, Any], told: Collection[str] = ()) -> str:
    """A row's value in a column as plain text: in words, in the unit of its column or of its row.

    Columns of `told` are named with their unit (see `alike`).
    """
    value = row.get(name)
    if isinstance(value, str):
        if _is_pseudonym(value):
            return f"{value[:8]}…"
        if value in told:
            return named(value)
        if name == "unit":
            return "" if _says_unit(row) else unit_text(value)
    return cell_text(value, _unit(name, _row_unit(row)))


def _unit(name: str, row_unit: str | None) -> str | None:
    unit = column_unit(name)
    return row_unit if unit is None and _stem(name) in _IN_ROW_UNIT else unit


def alike(rows: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Columns that rows are of and that only their units tell apart: a duration in s and one in ms."""
    names = {row[name] for row in rows for name in _NAMES_A_COLUMN if is_name(str(row.get(name)))}
    called = Counter(map(phrase, names))
    return frozenset(name for name in names if called[phrase(name)] > 1)


def _cell(
    value: Any, head: Head, row_unit: str | None, known: Collection[str], told: Collection[str] = ()
) -> Cell:
    unit = _unit(head.name, row_unit)
    if isinstance(value, str):
        if _is_pseudonym(value):
            return Cell(f"{value[:8]}…", value, head)
        if head.name == "unit":
            return Cell(unit_text(value), None, head)
        if is_name(value):
            return Cell(named(value) if value in told else cell_text(value, unit), value, head)
        if value in known or " " in value or "," in value:
            return Cell(link(value, known), None, head)
        return Cell(cell_text(value, unit), None, head)
    shown = cell_text(value, unit)
    is_scaled = isinstance(value, float) or (isinstance(value, int) and unit not in (None, "count"))
    return Cell(shown, f"{value!r}" if is_scaled else None, head)


def _is_pseudonym(value: Any) -> bool:
    return isinstance(value, str) and _PSEUDONYM.fullmatch(value) is not None
