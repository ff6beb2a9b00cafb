"""What may be told: which nodes, counts and steps have too few behind them, and how effects read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final, Literal

from subsight.answers import Rows
from subsight.privacy import suppress

__all__ = ["Side", "covered", "day", "few", "points", "side", "steady", "told"]

Side = Literal["higher", "lower", "no clear difference"]
_SIZE: Final = "subscriber_count"


def few(count: float | None, minimum: int) -> bool:
    """Whether that many subscribers are some, but fewer than may be told."""
    return count is not None and 0 < count < minimum


def told(rows: Rows, minimum: int, size: str = _SIZE) -> list[Any]:
    """The rows whose numbers every surface will show: neither small, nor blanked to hide a small one."""
    kept, _ = suppress(rows, size, minimum)
    return [row for row, seen in zip(rows, kept, strict=True) if seen[size] is not None]


def covered(counts: Iterable[float | None], minimum: int) -> list[Any]:
    """Counts of parts of one whole, None for those that are small or would give a small one away.

    >>> covered([40, 3, 20, 0], 15)
    [40, None, None, 0]
    """
    kept, _ = suppress([{_SIZE: count} for count in counts], _SIZE, minimum)
    return [row[_SIZE] for row in kept]


def steady(counts: Sequence[int], minimum: int) -> list[int | None]:
    """Counts that go down step by step, None where a step would tell of a few who fell out of it.

    >>> steady([100, 97, 97, 60, 5, 0], 15)
    [100, None, None, 60, None, 0]
    """
    found: list[int | None] = []
    last: int | None = None
    for count in counts:
        is_close = last is not None and few(abs(last - count), minimum)
        found.append(None if few(count, minimum) or is_close else count)
        last = count if found[-1] is not None else last
    return found


def side(low: float | None, high: float | None) -> Side:
    """What an interval of a difference says: clear is where it does not hold zero.

    >>> side(0.01, 0.05), side(-0.02, 0.05), side(-0.05, -0.01)
    ('higher', 'no clear difference', 'lower')
    """
    if low is None or high is None or low <= 0 <= high:
        return "no clear difference"
    return "higher" if low > 0 else "lower"


def points(difference: float, low: float | None, high: float | None) -> str:
    """A difference of shares with its interval.

    >>> points(0.052, 0.031, 0.07)
    '5.2 points, 95 % interval 3.1 to 7.0'
    """
    said = f"{100 * difference:.1f} points"
    if low is None or high is None:
        return said
    return f"{said}, 95 % interval {100 * low:.1f} to {100 * high:.1f}"


def day(when: date) -> str:
    """A date as a person says it.

    >>> day(date(2024, 3, 2))
    '2 March 2024'
    """
    return f"{when.day} {when:%B %Y}"
