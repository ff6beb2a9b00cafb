"""What filters by time and place read: sessions and flows summed by hour and place at publish."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from subsight.contracts import Contract
from subsight.store import Frame, Store

__all__ = ["of_flows", "tables"]

_HOUR: Final = ("local_date", "local_hour")
_CELL: Final = (*_HOUR, "cell_id")
_PERSON: Final = "subscriber_hash"
_FLOW: Final = (*_HOUR, "hour_at", "category", "service", "protocol", "exporter")


def tables(store: Store, sessions: Frame, contract: Contract) -> dict[str, Frame]:
    """`usage_hours` and `usage_cells`: one row per local date and hour, and per cell in it.

    Each has `session_count, subscriber_count, dl_bytes, ul_bytes`, and per application `app_{slug}_dl_bytes`
    and `app_{slug}_subscriber_count`: those with any downlink, which is what capacity is planned by. Sessions
    whose start is unknown are left out; `cell_id` is null where it is. Subscribers are counted once in a row,
    so several rows' counts do not add up.
    """
    slugs = [app.slug for app in contract.applications]
    volumes = ["dl_bytes", "ul_bytes", *(f"app_{slug}_dl_bytes" for slug in slugs)]
    timed = sessions.filter(~nw.col("local_date").is_null(), ~nw.col("local_hour").is_null())
    # By subscriber first: counts of several columns' distinct subscribers would take one pass each.
    own = timed.group_by(*_CELL, _PERSON).agg(session_count=nw.len(), **_sums(volumes))
    own = store.keep(own)
    whole = own.group_by(*_HOUR, _PERSON).agg(**_sums(["session_count", *volumes]))
    return {
        "usage_hours": _counted(whole, _HOUR, slugs, volumes),
        "usage_cells": _counted(own, _CELL, slugs, volumes),
    }


def _sums(names: list[str]) -> dict[str, Any]:
    return {name: nw.col(name).cast(nw.Float64).fill_null(0.0).sum() for name in names}


def _counted(own: Frame, by: tuple[str, ...], slugs: list[str], volumes: list[str]) -> Frame:
    downlink = {slug: nw.col(f"app_{slug}_dl_bytes") for slug in slugs}
    users = {
        f"app_{slug}_subscriber_count": nw.when(volume > 0).then(1.0).otherwise(0.0).sum()
        for slug, volume in downlink.items()
    }
    counted = own.group_by(*by).agg(subscriber_count=nw.len(), **users, **_sums(["session_count", *volumes]))
    numbers = ("session_count", "subscriber_count", *volumes, *users)
    return counted.select(*by, **{name: nw.col(name).cast(nw.Int64) for name in numbers})


def of_flows(usage: Frame) -> Frame:
    """`usage_flows`: one row per local date and hour, `hour_at`, category, service, protocol and exporter.

    Each has `flow_count, subscriber_count, dl_bytes, ul_bytes`; `exporter` is null where it is. An hour that
    the clock repeats has two `hour_at`. Subscribers are those who are named: 0 where nobody is.
    """
    volumes = ["flow_count", "dl_bytes", "ul_bytes"]
    nobody = nw.col(_PERSON).is_null().cast(nw.Float64).max()
    counted = usage.group_by(*_FLOW).agg(nobody=nobody, people=nw.col(_PERSON).n_unique(), **_sums(volumes))
    # Engines count null among the unique values.
    counted = counted.with_columns(subscriber_count=nw.col("people") - nw.col("nobody"))
    numbers = ("flow_count", "subscriber_count", "dl_bytes", "ul_bytes")
    return counted.select(*_FLOW, **{name: nw.col(name).cast(nw.Int64) for name in numbers})
