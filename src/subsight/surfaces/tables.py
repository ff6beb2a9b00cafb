"""Tables in the terminal: answers, inspections and export evidence as people read them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from subsight.surfaces.report.words import phrase
from subsight.units import format_value, unit_of

if TYPE_CHECKING:
    from subsight.answers import Answer
    from subsight.sources.inspection import Inspection
    from subsight.surfaces.export import Evidence

__all__ = ["print_answer", "print_evidence", "print_inspection", "print_subscriber"]

_WIDE = 400


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width: nothing may be cut off.
        console = Console(highlight=False, width=max(_WIDE, shutil.get_terminal_size().columns))
    return console


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_value(value, unit_of(name))
    if name.endswith("_id") and len(str(value)) == 32:
        return f"{str(value)[:8]}…"
    return str(value)


def _table(rows: Sequence[Mapping[str, Any]], limit: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, value in rows[0].items():
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows[:limit]:
        table.add_row(*(Text(_cell(name, value)) for name, value in row.items()))
    return table


def print_answer(answer: Answer, limit: int) -> None:
    """One answer: its question, table, reading and notes."""
    console = _console()
    console.print(Text(f"\n{answer.question}", style="bold"), Text(f"[{answer.id}]", style="dim"))
    if answer.rows:
        console.print(_table(answer.rows, limit))
        if len(answer.rows) > limit:
            console.print(Text(f"... {len(answer.rows) - limit} more rows (--rows)", style="dim"))
    for sentence in answer.reading:
        console.print(Text(f"  {sentence}"))
    for note in answer.notes:
        console.print(Text(f"  note: {note}", style="dim"))


def print_subscriber(found: Mapping[str, Any]) -> None:
    """One subscriber: scores first, then the profile; what was never observed is left out."""
    console = _console()
    console.print(Text(f"subscriber {found['subscriber_id']}\n", style="bold"))
    scores = {name for name in found if name.startswith(("engagement_", "experience_", "satisfaction_"))}
    names = [name for name in found if name != "subscriber_id" and found[name] is not None]
    rows = [
        {"": phrase(name), " ": _cell(name, found[name])}
        for name in sorted(names, key=lambda name: name not in scores)
    ]
    console.print(_table(rows, len(rows)))


def print_inspection(found: Inspection) -> None:
    """What a file is, column by column, then what the data say about it."""
    console = _console()
    value = found.to_json()
    facts = value["file"]
    console.print(Text(", ".join(f"{k} {v}" for k, v in facts.items() if v not in (None, ""))))
    console.print(Text(f"mapping {value['mapping']}\n"))
    console.print(_table(value["columns"], len(value["columns"])))
    if value["findings"]:
        console.print(Text("\nWhat the data say", style="bold"))
        console.print(_table(value["findings"], len(value["findings"])))
    if value["rejects"]:
        console.print(Text("\nRecords that would be rejected", style="bold"))
        console.print(_table(value["rejects"], 20))


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
    console.print(_table(checks, len(checks)))
    for note in evidence.notes:
        console.print(Text(f"note: {note}", style="dim"))
    console.print(Text(f"\n{evidence.select}", style="bold"))
    if evidence.rows:
        console.print(_table(evidence.rows, 5))
