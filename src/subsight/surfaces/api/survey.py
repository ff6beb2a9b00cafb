"""Survey answers over HTTP: the fields of one, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from subsight.results import FEEDBACK
from subsight.surfaces.api.fields import SUBSCRIBER, called
from subsight.surfaces.api.refusals import RefusedError, shown

__all__ = ["INSTANT", "PREDICTION", "SCALES", "answer_of"]

PREDICTION: Final = "[0-9a-f]{24}"
# RFC 3339, as `date-time` of a schema means it: a time without its offset could be any of a day's.
INSTANT: Final = r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})"
_INSTANT: Final = re.compile(INSTANT, re.ASCII)
_PREDICTION: Final = re.compile(PREDICTION)
_AHEAD: Final = timedelta(days=1)
SCALES: Final = {c.name: (int(c.low or 0), int(c.high or 0)) for c in FEEDBACK if c.kind == "integer"}


def answer_of(row: Mapping[str, Any], key: bytes, now: datetime | None = None) -> dict[str, Any]:
    """A body's answer by the columns of the `feedback` contract, its subscriber by pseudonym.

    Raises:
        RefusedError: 422, a field is missing, unknown, of the wrong type or out of range.
    """
    known = [column.name for column in FEEDBACK]
    if unknown := [name for name in row if name not in known]:
        raise _unusable(unknown[0], "an answer has no such field", ", ".join(known))
    if row.get(SUBSCRIBER) is None:
        raise _unusable(SUBSCRIBER, "missing", "a pseudonym, or a clear MSISDN")
    given = [name for name in SCALES if row.get(name) is not None]
    if len(given) != 1:
        raise _unusable("csat", f"{len(given)} answers", "one of csat (1 to 5) and nps (0 to 10)")
    return {
        SUBSCRIBER: called(row[SUBSCRIBER], key),
        "answered_at": _instant(row.get("answered_at"), now or datetime.now(UTC)),
        given[0]: _whole(given[0], row[given[0]]),
        "prediction_id": _prediction(row.get("prediction_id")),
    }


def _unusable(field: str, found: str, expected: str) -> RefusedError:
    what = f"the field {shown(field)} cannot be used"
    return RefusedError(422, what, found=found, expected=expected, field=field[:100])


def _instant(value: Any, now: datetime) -> str:
    expected = "a time that has passed, with its offset, such as 2026-04-01T12:00:00Z"
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            at = datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise _unusable("answered_at", shown(value), expected) from None
        if at <= now + _AHEAD:
            return at.isoformat()
    raise _unusable("answered_at", "missing" if value is None else shown(value), expected)


def _whole(name: str, value: Any) -> int:
    low, high = SCALES[name]
    # JSON does not tell 4 from 4.0; true and false are no numbers.
    if type(value) in (int, float) and low <= value <= high and value == int(value):
        return int(value)
    raise _unusable(name, shown(value), f"a whole number from {low} to {high}")


def _prediction(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and _PREDICTION.fullmatch(value)):
        return value
    raise _unusable("prediction_id", shown(value), "the id that a prediction was answered with, or null")
