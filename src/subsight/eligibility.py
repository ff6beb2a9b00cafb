"""Who may have an offer: conditions on what is known of a subscriber, as a catalogue writes them.

`segment=Gold,Platinum; min_dl_bytes=5e9` asks for one of two segments and a downlink volume of at least
5 GB. Nothing is everybody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from subsight.errors import InputError

__all__ = ["Condition", "conditions"]

_COLUMN: Final = re.compile(r"[a-z][a-z0-9_]*")
_BOUNDS: Final = ("min_", "max_")
_FORMS: Final = "column=value,value or min_column=number or max_column=number, joined by ;"


@dataclass(frozen=True)
class Condition:
    """What a column must be: one of `values`, or from `low` to `high`, both part of it.

    Values are compared as text, whatever their case.
    """

    column: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def admits(self, value: str | float | Sequence[str] | None) -> bool:
        """Whether a subscriber with that value meets the condition; of a list any text may be the one.

        One whose value is unknown, or no number where a bound asks for one, does not.
        """
        if value is None:
            return False
        if self.values:
            known = [value] if isinstance(value, str | float | int) else value
            return not {_folded(text) for text in known}.isdisjoint(map(_folded, self.values))
        if not isinstance(value, float | int):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def conditions(text: str | None) -> tuple[Condition, ...]:
    """The conditions of a text, all of which must hold; none are everybody.

    Raises:
        InputError: the text cannot be read, says something twice, or admits nobody.

    >>> conditions("segment=Gold,Platinum; min_dl_bytes=5e9")[1]
    Condition(column='dl_bytes', values=(), low=5000000000.0, high=None)
    """
    found: dict[str, Condition] = {}
    for clause in (clause.strip() for clause in (text or "").split(";")):
        if not clause:
            continue
        name, sign, said = clause.partition("=")
        name = name.strip().lower()
        if not sign or not _COLUMN.fullmatch(name):
            raise _refused(clause, _FORMS)
        if name in found:
            raise _refused(clause, f"{name} once: all conditions must hold")
        found[name] = _bound(clause, name, said) if name.startswith(_BOUNDS) else _one_of(clause, name, said)
    for name, condition in found.items():
        highest = found.get(f"max_{condition.column}")
        if name.startswith("min_") and highest and (condition.low or 0) > (highest.high or 0):
            raise _refused(str(text), f"a {name} of at most {highest.high:g}, or nobody is left")
    return tuple(found.values())


def _one_of(clause: str, name: str, said: str) -> Condition:
    values = tuple(value.strip() for value in said.split(","))
    if not all(values) or values[0].startswith("="):
        raise _refused(clause, f"{name}=value,value, and no value empty")
    return Condition(name, values)


def _bound(clause: str, name: str, said: str) -> Condition:
    column = name[4:]
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not _COLUMN.fullmatch(column):
        raise _refused(clause, f"{name}=number, with a decimal point if any")
    return Condition(column, low=number) if name.startswith("min_") else Condition(column, high=number)


def _folded(value: str | float) -> str:
    """A value as it is compared: 3.0 is 3."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).casefold()


def _refused(clause: str, expected: str) -> InputError:
    return InputError(
        "who may have an offer cannot be read",
        found=clause,
        expected=expected,
        do="correct the column eligibility of the catalogue (see docs/mappings.md)",
    )
