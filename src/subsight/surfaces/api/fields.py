"""The fields of a request: which model they ask for, and whether their values can be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from subsight.results import pseudonym_of
from subsight.surfaces.api.bodies import SUBSCRIBER
from subsight.surfaces.api.live import IDENTITY, Champion, Champions
from subsight.surfaces.api.refusals import RefusedError, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "IDENTIFIER",
    "LARGEST",
    "LONGEST",
    "PROFILE_MODELS",
    "SUBSCRIBER",
    "called",
    "checked",
    "checked_columns",
    "choose",
    "largest",
    "spelled",
    "unusable",
]

# Numbers beyond it are no measurement; within it no prediction overflows.
LARGEST: Final = 1e18
LONGEST: Final = 200
# A pseudonym, or 4 to 19 digits as people write them.
IDENTIFIER: Final = r"\s*([0-9a-fA-F]{32}|\+?[0-9]([ ()./-]{0,3}[0-9]){3,18})\s*"
_IDENTIFIER: Final = re.compile(IDENTIFIER)
_IDENTITY: Final = frozenset(IDENTITY)
_NUMBERS: Final = {int, float}
PROFILE_MODELS: Final = ("behaviour", "feedback")
"""The models that take fields of a profile: of two that know all that were sent, the first answers."""


def choose(names: Mapping[str, int | None], champions: Champions) -> Champion:
    """The model that takes fields of these names; each comes with the first row of a batch that has it.

    Raises:
        RefusedError: 422 where no model takes them together, 503 where the model has no champion.
    """
    sent = [name for name in names if name != SUBSCRIBER]
    by_model = champions.by_model
    if _IDENTITY.intersection(sent):
        if other := [name for name in sent if name not in _IDENTITY]:
            takes = "the model identity takes no other field"
            raise _unknown(other[0], names[other[0]], IDENTITY, takes)
        if missing := [name for name in IDENTITY if name not in names]:
            raise RefusedError(
                422,
                f"the field {missing[0]} is missing",
                expected=f"{' and '.join(IDENTITY)} together",
                field=missing[0],
            )
        return by_model.get("identity") or _nobody(champions, "identity")
    if not by_model:
        return _nobody(champions)
    candidates = [by_model[name] for name in PROFILE_MODELS if name in by_model]
    known = tuple(dict.fromkeys(name for one in candidates for name in one.predictor.fields))
    if not sent:
        raise RefusedError(422, "no field to predict from was sent", expected=_either(known))
    if unknown := [name for name in sent if name not in known]:
        raise _unknown(unknown[0], names[unknown[0]], known, "no model takes it")
    for champion in candidates:
        if all(name in champion.predictor.fields for name in sent):
            return champion
    first = candidates[0].predictor.fields
    odd = next(name for name in sent if name not in first)
    raise _unknown(odd, names[odd], first, "no model takes it with the others")


def _either(known: Collection[str]) -> str:
    identity = " and ".join(IDENTITY)
    return f"{identity}, or some of {', '.join(known)}" if known else identity


def _unknown(name: str, row: int | None, known: Collection[str], why: str) -> RefusedError:
    at = f" of row {row}" if row else ""
    expected = ", ".join(known) if known == IDENTITY else _either(known)
    return RefusedError(
        422,
        f"the field {shown(name)}{at} cannot be used: {why}",
        expected=expected,
        field=name[:100],
        row=row,
    )


def _nobody(champions: Champions, model: str | None = None) -> Champion:
    what = f"the model {model} has no champion" if model else "there is no model yet"
    raise RefusedError(
        503,
        what,
        found="; ".join(champions.troubles) or None,
        expected="a champion that answers",
        do="train and promote one: subsight models train WS, then subsight models promote WS VERSION",
    )


def checked(row: Mapping[str, Any], champion: Champion) -> dict[str, Any]:
    """A row's values as the predictor takes them.

    Raises:
        RefusedError: 422, a value is of the wrong type or out of range.
    """
    is_identity = champion.name == "identity"
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name in champion.numbers:
            found[name] = _number(name, value, not is_identity)
        elif name in champion.texts:
            found[name] = _text(name, value)
    return found


def largest(name: str) -> float:
    """The largest value of a field: a share is a part of one whole. None of a profile is below 0."""
    return 1.0 if name.endswith("_share") else LARGEST


def _number(name: str, value: Any, nullable: bool, row: int | None = None) -> float | None:
    # Neither NaN nor an infinity passes the comparison; true and false are no numbers.
    if type(value) in _NUMBERS and 0 <= value <= largest(name):
        return float(value)
    if value is None and nullable:
        return None
    expected = f"a number from 0 to {largest(name):g}" + (" or null" if nullable else "")
    raise unusable(name, value, expected, row)


def _text(name: str, value: Any, row: int | None = None) -> str | None:
    if value is None or (type(value) is str and len(value) <= LONGEST):
        return value
    raise unusable(name, value, f"a text of at most {LONGEST} characters or null", row)


def unusable(name: str, value: Any, expected: str, row: int | None) -> RefusedError:
    """The refusal of a value that a field cannot have."""
    at = f" of row {row}" if row else ""
    return RefusedError(
        422,
        f"the field {name}{at} cannot be used",
        found=shown(value),
        expected=expected,
        field=name,
        row=row,
    )


def checked_columns(
    columns: Mapping[str, Sequence[Any]], champion: Champion, *, as_text: bool
) -> dict[str, Any]:
    """A batch's columns as the predictor takes them: arrays of numbers, lists of texts.

    `as_text` says that numbers are spelled out and nothing stands for null, as in CSV.

    Raises:
        RefusedError: 422, a value is of the wrong type or out of range.
    """
    nullable = champion.name != "identity"
    found: dict[str, Any] = {}
    for name, column in columns.items():
        values = [cell or None for cell in column] if as_text else column
        if name in champion.numbers:
            numbers = spelled(name, values) if as_text else values
            found[name] = _array(name, numbers, nullable)
        elif name in champion.texts:
            found[name] = _each(_text, name, values)
    return found


def _array(name: str, column: Sequence[Any], nullable: bool) -> NDArray[np.float64]:
    import numpy as np

    kinds = set(map(type, column))
    if kinds <= (_NUMBERS | {type(None)} if nullable else _NUMBERS):
        try:
            array = np.array(column, dtype=np.float64)
        except OverflowError:
            array = np.array([np.nan])
        # A null became NaN, and is the only one that may be.
        usable = int(np.count_nonzero((array >= 0) & (array <= largest(name))))
        if usable + (column.count(None) if nullable else 0) == len(column):
            return array
    values = [_number(name, value, nullable, row) for row, value in enumerate(column, 1)]
    return np.array(values, dtype=np.float64)


def _each(check: Callable[[str, Any, int], Any], name: str, column: Sequence[Any]) -> list[Any]:
    return [check(name, value, row) for row, value in enumerate(column, 1)]


def spelled(name: str, cells: Sequence[str | None]) -> list[Any]:
    """The numbers of a column of a CSV, null where there is none.

    Raises:
        RefusedError: 422, a cell is no number.
    """
    try:
        together = "".join(cells)  # type: ignore[arg-type]
        if together.isascii() and "_" not in together:
            return list(map(float, cells))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        pass  # one by one, which takes five times as long, finds the cell or its null
    return _each(_spelled, name, cells)


def _spelled(name: str, cell: str | None, row: int) -> float | None:
    if cell is None:
        return None
    try:
        # Python reads 1_000 and other scripts' digits as numbers: a file that holds such is no CSV of ours.
        return float(cell) if cell.isascii() and "_" not in cell else float("")
    except ValueError:
        raise unusable(name, cell, "a number such as 0.75", row) from None


def called(identifier: Any, key: bytes, row: int | None = None) -> str | None:
    """The pseudonym of a subscriber who was named by it or by a clear MSISDN; None stays None.

    Raises:
        RefusedError: 422, it is neither. The message does not repeat it: it may be a person's number.
    """
    if identifier is None:
        return None
    text = identifier if type(identifier) is str else ""
    if _IDENTIFIER.fullmatch(text) and (found := pseudonym_of(text.strip(), key)):
        return found
    at = f" of row {row}" if row else ""
    raise RefusedError(
        422,
        f"the field {SUBSCRIBER}{at} names no subscriber",
        found=f"{type(identifier).__name__} of another form",
        expected="a pseudonym (32 hex digits) or an MSISDN with its country code, as a text",
        field=SUBSCRIBER,
        row=row,
    )
