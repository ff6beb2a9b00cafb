"""Tables in the terminal: answers, inspections and export evidence as people read them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from subsight.surfaces.report.tables import said
from subsight.surfaces.report.words import phrase

if TYPE_CHECKING:
    from subsight.answers import Answer
    from subsight.sources.inspection import Inspection
    from subsight.surfaces.export import Evidence

__all__ = [
    "print_answer", "print_evidence", "print_inspection", "print_quality", "print_rows", "print_subscriber",
]  # fmt: skip

_WIDE = 400
Say = Callable[[str, Mapping[str, Any]], str]


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width: nothing may be cut off.
        console = Console(highlight=False, width=max(_WIDE, shutil.get_terminal_size().columns))
    return console


def _named(name: str, row: Mapping[str, Any]) -> str:
    """As `said`, but names of columns stay as a mapping or a query writes them."""
    value = row[name]
    return value if isinstance(value, str) and name != "subscriber_id" else said(name, row)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_GAP: Final = 2
_PROSE: Final = 28
"""A text longer than that may be broken into lines; a number or a name never is."""


def _tables(rows: Sequence[Mapping[str, Any]], say: Say, width: int) -> list[Table]:
    """The rows as one table, or as several side by side in turn where the columns are too many.

    Each repeats the first column, so that no number is ever cut in two.
    """
    cells = {name: [say(name, row) for row in rows] for name in rows[0]}
    names = [name for name in rows[0] if any(cells[name])]
    least = {name: min(_PROSE, _width(cells[name], phrase(name).split(" "))) for name in names}
    first, *others = names
    blocks: list[list[str]] = [[first]]
    for name in others:
        if sum(least[n] + _GAP for n in [*blocks[-1], name]) > width and len(blocks[-1]) > 1:
            blocks.append([first])
        blocks[-1].append(name)
    return [_block(block, cells, rows[0], least, width) for block in blocks]


def _width(*texts: Sequence[str]) -> int:
    return max(len(text) for part in texts for text in part)


def _block(
    names: Sequence[str], cells: Mapping[str, Sequence[str]], row: Mapping[str, Any],
    least: Mapping[str, int], width: int,
) -> Table:  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="bold")
    spare = width - sum(least[name] + _GAP for name in names)
    for name in names:
        # Rich would share a lack of room among all columns: widths are laid out here, so that none is cut.
        more = min(max(spare, 0), _width(cells[name], [phrase(name)]) - least[name])
        spare -= more
        justify: Literal["left", "right"] = "right" if _is_number(row[name]) else "left"
        table.add_column(phrase(name), justify=justify, overflow="fold", width=least[name] + more)
    for line in zip(*(cells[name] for name in names), strict=True):
        table.add_row(*map(Text, line))
    return table


def _print_rows(console: Console, rows: Sequence[Mapping[str, Any]], say: Say = _named) -> None:
    for i, table in enumerate(_tables(rows, say, console.width)):
        if i:
            console.print()
        console.print(table)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows with the same keys as a table."""
    _print_rows(_console(), rows)


def print_answer(answer: Answer, limit: int) -> None:
    """One answer: its question, table, reading and notes."""
    console = _console()
    console.print(Text(f"\n{answer.question}", style="bold"), Text(f"[{answer.id}]", style="dim"))
    if answer.rows:
        _print_rows(console, answer.rows[:limit], said)
        if len(answer.rows) > limit:
            console.print(Text(f"... {len(answer.rows) - limit} more rows (--rows)", style="dim"))
    for sentence in answer.reading:
        console.print(Padding(Text(sentence), (0, 0, 0, 2), expand=False))
    for note in answer.notes:
        console.print(
            Padding(Text(f"note: {_in_words(note, answer.columns)}", style="dim"), (0, 0, 0, 2), expand=False)
        )


def print_quality(quality: Mapping[str, Any]) -> None:
    """What was found wrong, and what was rejected; notes are left to the report."""
    for finding in quality["findings"]:
        if finding["severity"] != "note":
            count = f" ({finding['count']:,})" if finding["count"] else ""
            print(f"  {finding['severity']:9} {finding['column']}: {finding['text']}{count}")
    for reject in quality["rejects"]:
        why = f"{reject['column']} {reject['reason']}".strip()
        print(f"  rejected  {reject['count']:,}: {why}")


def _in_words(text: str, names: Sequence[str]) -> str:
    """A note with the columns that it mentions said as the table above says them."""
    for name in sorted(names, key=len, reverse=True):
        if "_" in name:
            text = re.sub(rf"\b{name}\b", phrase(name), text)
    return text


def print_subscriber(found: Mapping[str, Any]) -> None:
    """One subscriber: scores first, then the profile; what was never observed is left out."""
    console = _console()
    console.print(Text(f"subscriber {found['subscriber_id']}\n", style="bold"))
    scores = {name for name in found if name.startswith(("engagement_", "experience_", "satisfaction_"))}
    lists = [name for name in found if isinstance(found[name], list)]
    names = [name for name in found if name not in ("subscriber_id", *lists) and found[name] is not None]
    rows = [
        {"": phrase(name), " ": said(name, found)}
        for name in sorted(names, key=lambda name: name not in scores)
    ]
    _print_rows(console, rows)
    for name in lists:
        console.print(Text(f"\n{phrase(name)}", style="bold"))
        _print_rows(console, found[name])


def print_inspection(found: Inspection) -> None:
    """What a file is, column by column, then what the data say about it."""
    console = _console()
    value = found.to_json()
    facts = value["file"]
    console.print(Text(", ".join(f"{k} {v}" for k, v in facts.items() if v not in (None, ""))))
    console.print(Text(f"mapping {value['mapping']}\n"))
    _print_rows(console, value["columns"])
    if value["findings"]:
        console.print(Text("\nWhat the data say", style="bold"))
        _print_rows(console, value["findings"])
    if value["rejects"]:
        console.print(Text("\nRecords that would be rejected", style="bold"))
        _print_rows(console, value["rejects"][:20])


def print_evidence(evidence: Evidence) -> None:
    """What a target holds after an export, as it answered itself."""
    console = _console()
    console.print(Text(f"{evidence.target}: {evidence.row_count:,} rows in {evidence.table}, verified"))
    checks = [
        {
            "column": c.column,
            "compared": c.measure,
            "values": c.non_null,
            "sent": str(c.sent),
            "held": str(c.held),
        }
        for c in evidence.checksum
    ]
    _print_rows(console, checks)
    for note in evidence.notes:
        console.print(Text(f"note: {note}", style="dim"))
    console.print(Text(f"\n{evidence.select}", style="bold"))
    if evidence.rows:
        _print_rows(console, evidence.rows[:5])
