"""What an export can show for itself: totals of what was sent beside totals of what the target holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from subsight.contracts import Kind
from subsight.errors import ExportError

__all__ = ["ColumnCheck", "Evidence", "Total", "compare"]

_TOLERANCE: Final = 1e-9
_MEASURES: Final[Mapping[Kind, str]] = {
    "integer": "exact sum",
    "float": "sum, within 1e-9 of the sum of absolute values",
    "text": "sum of the first 32 bits of each value's MD5",
    "boolean": "count of true",
    "date": "sum of days since 1970-01-01",
    "instant": "sum of microseconds since 1970-01-01",
}


@dataclass(frozen=True)
class Total:
    """One column added up, whatever the order of its rows. `magnitude` is the sum of absolute floats."""

    non_null: int
    value: int | float
    magnitude: float = 0.0

    def equals(self, other: Total) -> bool:
        """Whether two totals are of the same values, as far as a total can tell."""
        if self.non_null != other.non_null:
            return False
        if isinstance(self.value, int) and isinstance(other.value, int):
            return self.value == other.value
        allowed = _TOLERANCE * max(self.magnitude, other.magnitude)
        near = math.isclose(self.magnitude, other.magnitude, rel_tol=_TOLERANCE)
        return near and abs(self.value - other.value) <= allowed


@dataclass(frozen=True)
class ColumnCheck:
    """One column's totals, computed from the rows sent and again from the target; they agreed."""

    column: str
    measure: str
    non_null: int
    sent: int | float
    held: int | float


@dataclass(frozen=True)
class Evidence:
    """What stands in the target after an export.

    `row_count` is all rows that the target now holds, `sent_count` those of this export. `select`
    is the statement that was sent and `rows` its answer, five rows at most; a file is read back
    instead, and `select` says so. `notes` tell what was changed on the way, with counts.
    """

    target: str
    table: str
    row_count: int
    checksum: tuple[ColumnCheck, ...]
    select: str
    rows: tuple[Mapping[str, Any], ...]
    sent_count: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def compared(self) -> str:
        """What was verified, in a sentence."""
        measures = [check.measure for check in self.checksum]
        counted = "; ".join(f"{measures.count(m)} by {m}" for m in dict.fromkeys(measures))
        return (
            f"{self.sent_count:,} rows and, for each of {len(self.checksum)} columns, the non-null count "
            f"and a total agree between what was sent and what the target holds ({counted})"
        )


def compare(
    shown: str,
    kinds: Mapping[str, Kind],
    sent: tuple[int, Mapping[str, Total]],
    held: tuple[int, Mapping[str, Total]],
) -> tuple[ColumnCheck, ...]:
    """The checks of all columns, where the target holds what was sent.

    Raises:
        ExportError: it does not; the first difference is named.
    """
    if sent[0] != held[0]:
        raise _differs(shown, "rows", str(held[0]), str(sent[0]))
    checks = []
    for column, kind in kinds.items():
        ours, theirs = sent[1][column], held[1][column]
        if not ours.equals(theirs):
            raise _differs(
                shown,
                f"column {column} ({_MEASURES[kind]})",
                f"{theirs.non_null} values, total {theirs.value}",
                f"{ours.non_null} values, total {ours.value}",
            )
        checks.append(ColumnCheck(column, _MEASURES[kind], ours.non_null, ours.value, theirs.value))
    return tuple(checks)


def _differs(shown: str, what: str, found: str, expected: str) -> ExportError:
    return ExportError(
        f"{shown} does not hold what was sent: {what}",
        found=found,
        expected=expected,
        do="nothing was replaced; check that the target can store these values, then export again",
    )
