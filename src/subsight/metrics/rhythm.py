"""When a subscriber is active: hours of the day, days seen. Times are local."""

from __future__ import annotations

import narwhals as nw

from subsight.metrics import Expression, metric, share


def _hours(first: int, last: int) -> Expression:
    hour = nw.col("local_hour")
    return share((hour >= first) & (hour <= last))


@metric("night_share")
def night_share() -> Expression:
    """Share of sessions that start from 0:00 to 5:59."""
    return _hours(0, 5)


@metric("morning_share")
def morning_share() -> Expression:
    """Share of sessions that start from 6:00 to 11:59."""
    return _hours(6, 11)


@metric("afternoon_share")
def afternoon_share() -> Expression:
    """Share of sessions that start from 12:00 to 17:59."""
    return _hours(12, 17)


@metric("evening_share")
def evening_share() -> Expression:
    """Share of sessions that start from 18:00 to 23:59."""
    return _hours(18, 23)


@metric("active_day_count", whole=True)
def active_day_count() -> Expression:
    """Calendar days on which a session started."""
    return nw.col("local_date").n_unique()


@metric("first_date")
def first_date() -> Expression:
    """Day of the first session."""
    return nw.col("local_date").min()


@metric("last_date")
def last_date() -> Expression:
    """Day of the last session."""
    return nw.col("local_date").max()
