"""What days the sessions really cover, and whether two periods of them can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import narwhals as nw

from subsight.settings import Settings
from subsight.store import Frame, Store

__all__ = ["by_day", "periods", "second_as_whole"]


def by_day(store: Store, sessions: Frame) -> list[dict[str, Any]]:
    """Sessions and subscribers per local date, in order."""
    return store.rows(
        sessions.group_by("local_date")
        .agg(session_count=nw.len(), subscriber_count=nw.col("subscriber_id").n_unique())
        .sort("local_date")
    )


def periods(
    store: Store, sessions: Frame, coverage: list[dict[str, Any]], settings: Settings
) -> dict[str, Any]:
    """The days seen, in two halves, and whether enough subscribers are in both to compare them.

    `comparable` asks for the setting `minimum_overlap_share` of all subscribers in both halves.
    """
    first_day, last_day = coverage[0]["local_date"], coverage[-1]["local_date"]
    days = (last_day - first_day).days + 1
    if days < 2:
        return {"comparable": False, "first": None, "second": None}
    middle = first_day + timedelta(days=days // 2)
    halves = sessions.group_by("subscriber_id").agg(
        first=nw.col("local_date").min(), last=nw.col("local_date").max()
    )
    in_first, in_second = nw.col("first") < nw.lit(middle), nw.col("last") >= nw.lit(middle)
    counts = store.row(
        halves.select(
            first_subscriber_count=in_first.cast(nw.Float64).sum(),
            second_subscriber_count=in_second.cast(nw.Float64).sum(),
            both_subscriber_count=(in_first & in_second).cast(nw.Float64).sum(),
        )
    )
    whole = {name: int(value) for name, value in counts.items()}
    total = (
        whole["first_subscriber_count"] + whole["second_subscriber_count"] - whole["both_subscriber_count"]
    )
    return {
        "first": [first_day.isoformat(), (middle - timedelta(days=1)).isoformat()],
        "second": [middle.isoformat(), last_day.isoformat()],
        **whole,
        "comparable": whole["both_subscriber_count"] >= settings.minimum_overlap_share * total,
    }


def second_as_whole(profiles: Frame, periods: Mapping[str, Any], sums: Sequence[str]) -> Frame:
    """Profiles of the second period with their sums as if it were as long as both periods.

    A model fitted on sums over all days would take half as many days for half as much use.
    """
    days = [
        (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
        for first, last in (periods["first"], periods["second"])
    ]
    scale = sum(days) / days[1]
    return profiles.with_columns(**{name: nw.col(name).cast(nw.Float64) * scale for name in sums})
