"""What the data say about a file, and how its records are therefore to be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Map
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from subsight.errors import MappingError

__all__ = ["AGREE", "Decisions", "Finding", "UnitCertainty", "merged"]

UnitCertainty = Literal["checked", "declared", "assumed"]

AGREE: Final = 0.95
"""Share of records that must agree for a reading to be certain."""


@dataclass(frozen=True)
class Finding:
    """One thing that the data say about a column, and what was done about it.

    `refused` stands for a contradiction for which ingest refuses the file.
    """

    column: str
    check: str
    severity: Literal["note", "corrected", "warning", "refused"]
    count: int
    text: str

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return asdict(self)


def merged(inputs: Iterable[Sequence[Map[str, Any]]]) -> list[dict[str, Any]]:
    """The findings of several inputs as one list: alike ones once, counts added up.

    Figures in a text are the first input's; where others say it with other figures, that is added.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    texts: dict[tuple[str, str, str], list[str]] = {}
    for finding in (finding for findings in inputs for finding in findings):
        key = finding["column"], finding["check"], finding["severity"]
        if key in found:
            found[key]["count"] += finding["count"]
        found.setdefault(key, dict(finding))
        texts.setdefault(key, []).append(finding["text"])
    for key, said in texts.items():
        if others := sum(text != said[0] for text in said):
            found[key]["text"] += f" (figures of the first input; {others} others differ)"
    return list(found.values())


@dataclass
class Decisions:
    """How the records are to be read: a unit per column, totals, identifiers that lost digits."""

    units: dict[str, str] = field(default_factory=dict)
    certainty: dict[str, UnitCertainty] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # direction -> application its total leaves out
    swapped: bool = False  # duration_s and duration_ms stand in each other's column
    lossy: set[str] = field(default_factory=set)
    garbled: set[str] = field(default_factory=set)  # texts with control characters
    unusual_lengths: tuple[int, ...] = ()
    resolution_s: float = 1.0
    findings: list[Finding] = field(default_factory=list)
    refusals: list[MappingError] = field(default_factory=list)

    def refuse(self, what: str, *, found: str, expected: str, do: str) -> None:
        """Adds a contradiction that the data cannot resolve."""
        self.refusals.append(MappingError(what, found=found, expected=expected, do=do))

    def note(self, column: str, check: str, severity: Any, count: float, text: str) -> None:
        """Adds a finding."""
        self.findings.append(Finding(column, check, severity, int(count), text))

    def settle(self, column: str, unit: str, count: float, why: str) -> None:
        """The data prove a unit, whatever was said of it."""
        declared, certainty = self.units[column], self.certainty[column]
        self.units[column], self.certainty[column] = unit, "checked"
        if unit == declared:
            self.note(column, "unit", "note", count, f"{unit}, checked: {why}")
        else:
            said = "declared" if certainty == "declared" else "assumed"
            self.note(column, "unit", "corrected", count, f"{said} {declared}, read as {unit}: {why}")
