"""What days the sessions really cover, and whether two periods of them can be compared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import narwhals as nw

from subsight.settings import Settings
from subsight.store import Frame, Store

__all__ = ["by_day", "periods"]


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
