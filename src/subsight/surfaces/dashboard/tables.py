"""Tables of pages: the report's, sorted and paged by the address, with cells that lead on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from markupsafe import Markup

from subsight.errors import NotFoundError
from subsight.results import Answer
from subsight.surfaces.dashboard.addresses import View
from subsight.surfaces.dashboard.marks import Targets, value_of
from subsight.surfaces.report.tables import Cell, Head, Table, table

__all__ = ["FIRST_ROWS", "PAGE_ROWS", "Paged", "led", "paged"]

PAGE_ROWS: Final = 50
FIRST_ROWS: Final = 12
"""Rows that stand on a page of many answers."""
_PSEUDONYM: Final = 32


@dataclass(frozen=True)
class Paged:
    """One page of an answer's table: which it is, of how many, and where the others are."""

    table: Table | None
    page: int
    pages: int
    first: int
    last: int
    count: int


def paged(answer: Answer, view: View, path: str, known: Mapping[str, str], targets: Targets) -> Paged:
    """The page of the answer's table that the view asks for, its heads sorting and its cells leading on.

    Raises:
        NotFoundError: the table has no such page or column.
    """
    rows = _sorted(answer, view)
    pages = max(1, math.ceil(len(rows) / PAGE_ROWS))
    if view.page > pages:
        raise NotFoundError(
            f"the table of {answer.id} has no page {view.page}", expected=f"1 to {pages}", do="go to page 1"
        )
    start = (view.page - 1) * PAGE_ROWS
    part = rows[start : start + PAGE_ROWS]
    made = table(part, known, group_size=answer.group_size)
    if made:
        made = led(made, part, view, path, targets)
        heads = [_sorting(head, view, path) for head in made.heads]
        made = replace(made, heads=heads)
    return Paged(made, view.page, pages, start + 1, start + len(part), len(rows))


def _sorted(answer: Answer, view: View) -> Sequence[Mapping[str, Any]]:
    if view.sort is None:
        return answer.rows
    name = view.sort
    if name not in answer.columns:
        raise NotFoundError(
            f"the table of {answer.id} has no column {name[:40]!r}",
            expected=", ".join(answer.columns),
            do="sort by one of these",
        )
    present = [row for row in answer.rows if row[name] is not None]
    numbers = all(isinstance(row[name], int | float) for row in present)
    present.sort(key=lambda row: row[name] if numbers else str(row[name]).casefold(), reverse=view.falling)
    # What is not known, or not shown, stands last in either order.
    return [*present, *(row for row in answer.rows if row[name] is None)]


def _sorting(head: Head, view: View, path: str) -> Head:
    order = None
    if view.sort == head.name:
        order = "descending" if view.falling else "ascending"
    sign: Markup | str = ""
    if order:
        arrow = "▼" if view.falling else "▲"
        sign = Markup('<span class="order" aria-hidden="true">{}</span>').format(arrow)
    link = Markup('<a href="{}">{}{}</a>').format(path + view.sorted_by(head.name).query(), head.words, sign)
    return replace(head, words=link, order=order)


def led(made: Table, rows: Sequence[Mapping[str, Any]], view: View, path: str, targets: Targets) -> Table:
    """The table with cells that lead to their subscriber, or to the page filtered by what they say."""
    body = [
        [_leading(cell, row.get(cell.head.name), view, path, targets) for cell in cells]
        for cells, row in zip(made.rows, rows, strict=True)
    ]
    return replace(made, rows=body)


def _leading(cell: Cell, value: Any, view: View, path: str, targets: Targets) -> Cell:
    name = cell.head.name
    if name == "subscriber_id" and isinstance(value, str) and len(value) == _PSEUDONYM:
        link = Markup('<a href="/people/{}">{}</a>').format(value, cell.shown)
        return replace(cell, shown=link)
    found = value_of(name, value, targets)
    if found is None:
        return cell
    chosen = view.filters().with_value(*found)
    if chosen.filter_pairs() == view.filter_pairs():
        return cell
    link = Markup('<a href="{}" title="Filter by it">{}</a>').format(path + chosen.query(), cell.shown)
    return replace(cell, shown=link, exact=None)
