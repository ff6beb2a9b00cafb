"""An answer's rows cut to a table that is read from the back of a room: few rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from subsight.results import Answer
from subsight.surfaces.report.tables import alike, said, table
from subsight.surfaces.slides.drawing import LEAST
from subsight.surfaces.slides.sentences import clean, shortened
from subsight.surfaces.slides.theme import Area

__all__ = ["LINE", "LISTED", "Cut", "cut", "fitted"]

_LETTER: Final = int(LEAST * 12700 * 0.54)
_LINE: Final = int(LEAST * 12700 * 1.2)
_EDGES: Final = 62000
LINE: Final = _LINE + _EDGES
"""Height of a row of one line."""
_SIZES: Final = (16, 14, LEAST)
_ROWS: Final = 10
LISTED: Final = 17
"""Rows of a slide at most, and of one that continues a list."""
_NARROWEST: Final = 22
"""Letters of a column of prose, at least."""
_WIDEST: Final = 60
_CELL: Final = 180


@dataclass(frozen=True)
class Cut:
    """What a table shows of an answer, and how many rows and columns it leaves out."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[bool]
    widths: Sequence[int]
    size: int
    rows_out: int = 0
    columns_out: int = 0


def cut(
    answer: Answer, wanted: Sequence[str], area: Area, *, start: int = 0, is_list: bool = False
) -> Cut | None:
    """The answer's table from a row on, as far as it fits into the area; None where it has no rows."""
    made = table(answer.rows, (), group_size=answer.group_size)
    if made is None:
        return None
    known = {head.name: head for head in made.heads}
    heads = [known[name] for name in wanted if name in known]
    told = alike(answer.rows)
    cells = []
    for i, row in enumerate(answer.rows):
        hidden = i in made.suppressed
        cells.append([
            "suppressed" if hidden and head.name == answer.group_size else said(head.name, row, told)
            for head in heads
        ])  # fmt: skip
    titles = [f"{head.words} ({head.unit})" if head.unit else head.words for head in heads]
    numbers = [head.kind == "number" for head in heads]
    found = fitted(titles, cells[start:], numbers, area, LISTED if is_list else _ROWS)
    return Cut(
        found.heads, found.rows, found.numbers, found.widths, found.size, found.rows_out,
        len(made.heads) - len(found.heads),
    )  # fmt: skip


def fitted(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    area: Area,
    most: int = _ROWS,
) -> Cut:
    """As many columns as stand beside one another, then as many rows as stand below one another.

    In larger type than the smallest where that leaves out no more; a list has one size on all its slides.
    """
    rows = [[shortened(clean(cell), _CELL) for cell in row] for row in rows]
    cuts = [
        _in_type(heads, rows, numbers, area, most, size)
        for size in (_SIZES if most == _ROWS else _SIZES[-1:])
    ]
    least = cuts[-1]
    return next(cut for cut in cuts if (cut.rows_out, cut.columns_out) == (least.rows_out, least.columns_out))


def _in_type(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    area: Area,
    most: int,
    size: int,
) -> Cut:
    room = area.width * LEAST // (_LETTER * size)
    natural = [
        min(_WIDEST, max([_word(head), *(len(row[j]) for row in rows)])) + 3 for j, head in enumerate(heads)
    ]
    count, used = 0, 0
    while count < len(heads) and used + min(natural[count], _NARROWEST) <= room:
        used += min(natural[count], _NARROWEST)
        count += 1
    widths = _shared(natural[:count], room)
    height, kept = _height(heads[:count], widths, size), 0
    for row in rows[:most]:
        height += _height(row[:count], widths, size)
        if height > area.height and kept:
            break
        kept += 1
    return Cut(
        heads[:count], [row[:count] for row in rows[:kept]], numbers[:count], widths, size, len(rows) - kept,
        len(heads) - count,
    )  # fmt: skip


def _word(head: str) -> int:
    """A head breaks into lines, but no word of it."""
    return max(map(len, head.split()), default=1) + 2


def _shared(natural: Sequence[int], room: int) -> list[int]:
    """The widths of columns: what they need, and what is lacking taken from those of prose."""
    widths = list(natural)
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    spare = room - sum(widths)
    # A narrow table is not drawn out over the whole slide, but never looks cramped either.
    return [width + max(0, min(8, spare // max(1, len(widths)))) for width in widths]


def _height(cells: Sequence[str], widths: Sequence[int], size: int) -> int:
    lines = max(-(-len(cell) // max(1, width - 2)) for cell, width in zip(cells, widths, strict=True))
    return max(1, lines) * _LINE * size // LEAST + _EDGES
