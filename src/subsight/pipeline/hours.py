"""What filters by time and place read: sessions and flows summed by hour and place at publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Contract
from subsight.store import Frame, HourStart, Store

__all__ = ["of_flows", "tables"]

_HOUR: Final = ("local_date", "local_hour", "hour_at")
_CELL: Final = (*_HOUR, "cell_id")
_DAY: Final = ("local_date", "cell_id")
_HANDSET: Final = ("local_date", "handset_manufacturer", "handset")
_PERSON: Final = "subscriber_hash"
_FLOW: Final = (*_HOUR, "category", "service", "protocol", "exporter")


def tables(store: Store, sessions: Frame, contract: Contract, zone: str, minimum: int) -> dict[str, Frame]:
    """Sessions by hour (`usage_hours`), hour and cell, day and cell, day and handset (`usage_handset_days`).

    An hour is a local date and hour, and the instant `hour_at` at which it began in the zone: one that the
    clock repeats is two. Each row has `session_count, subscriber_count, dl_bytes, ul_bytes`, and per
    application `app_{slug}_dl_bytes`, `app_{slug}_ul_bytes` and `app_{slug}_subscriber_count`: those with any
    downlink, which is what capacity is planned by. Sessions whose start is unknown are left out; `cell_id` is
    null where it is. Subscribers are counted once in a row, so several rows' counts do not add up.

    `usage_cell_days` is of known cells which at least `minimum` subscribers used on one day. It has no
    uplink, and what tells whether a cell is heavy by chance: `app_{slug}_even_dl_bytes` of the half of the
    subscribers whose hash is even, and `app_{slug}_odd_dl_square`, the squares of the others' sessions.

    `usage_handset_days` has `session_count, subscriber_count` by `handset_manufacturer` and `handset`, which
    are null where unknown.
    """
    slugs = [app.slug for app in contract.applications]
    volumes = ["dl_bytes", "ul_bytes", *(f"app_{s}_{way}_bytes" for s in slugs for way in ("dl", "ul"))]
    timed = sessions.filter(~nw.col("local_date").is_null(), ~nw.col("local_hour").is_null())
    timed = store.derive(timed, {"hour_at": HourStart("start_at", zone)})
    # By subscriber, as counts of several columns' distinct subscribers would take one pass each.
    used = {f"app_{slug}": (nw.col(f"app_{slug}_dl_bytes") > 0).any() for slug in slugs}
    own = store.keep(timed.group_by(*_CELL, _PERSON).agg(nw.len().alias("times"), **used))
    sums = timed.group_by(*_CELL).agg(session_count=nw.len(), **_sums(volumes), **_halves(slugs))
    sums = store.keep(sums)
    known = ~nw.col("cell_id").is_null()
    daily = [
        "session_count", "dl_bytes", *(f"app_{s}_{way}_bytes" for s in slugs for way in ("dl", "even_dl")),
    ]  # fmt: skip
    squares = [f"app_{slug}_odd_dl_square" for slug in slugs]
    days = _table(sums.filter(known), own.filter(known), _DAY, slugs, daily, squares)
    return {
        "usage_hours": _table(sums, own, _HOUR, slugs, ["session_count", *volumes]),
        "usage_cells": _table(sums, own, _CELL, slugs, ["session_count", *volumes]),
        "usage_cell_days": _large(days, minimum),
        "usage_handset_days": _handsets(timed),
    }


def _sums(names: Sequence[str]) -> dict[str, Any]:
    return {name: nw.col(name).cast(nw.Float64).fill_null(0.0).sum() for name in names}


def _halves(slugs: Sequence[str]) -> dict[str, Any]:
    """Downlink of those whose hash is even, and the squares of the downlink of the others' sessions."""
    even, nothing, found = nw.col(_PERSON) % 2 == 0, nw.lit(0.0), {}
    for slug in slugs:
        volume = nw.col(f"app_{slug}_dl_bytes").cast(nw.Float64).fill_null(0.0)
        odd = nw.when(even).then(nothing).otherwise(volume)
        found[f"app_{slug}_even_dl_bytes"] = nw.when(even).then(volume).otherwise(nothing).sum()
        found[f"app_{slug}_odd_dl_square"] = (odd * odd).sum()
    return found


def _table(
    sums: Frame,
    own: Frame,
    by: tuple[str, ...],
    slugs: Sequence[str],
    numbers: Sequence[str],
    squares: Sequence[str] = (),
) -> Frame:
    """Sums, and beside them how many subscribers there are, and how many of them used each application."""
    flags = {slug: nw.col(f"app_{slug}") for slug in slugs}
    if by != _CELL:
        used = {f"app_{slug}": flag.any() for slug, flag in flags.items()}
        own = own.group_by(*by, _PERSON).agg(nw.len().alias("times"), **used)
    users = {
        f"app_{slug}_subscriber_count": nw.when(flag).then(1.0).otherwise(0.0).sum()
        for slug, flag in flags.items()
    }
    counts = own.group_by(*by).agg(subscriber_count=nw.len(), **users)
    held, people = [*numbers, *squares], ["subscriber_count", *users]
    # Not joined: a cell that is not known is one too.
    parts = [
        part.select(
            *by,
            *(nw.col(name).cast(nw.Float64) if name in own_names else nw.lit(0.0).alias(name)
              for name in (*held, *people)),
        )
        for part, own_names in ((sums, held), (counts, people))
    ]  # fmt: skip
    summed = nw.concat(parts).group_by(*by).agg(**{name: nw.col(name).sum() for name in (*held, *people)})
    whole = {name: nw.col(name).cast(nw.Int64) for name in (*numbers, *people)}
    return summed.select(*by, **whole, **{name: nw.col(name) for name in squares})


def _large(days: Frame, minimum: int) -> Frame:
    """Days of cells that had enough subscribers on one of them: the others could never be told of."""
    names = days.collect_schema().names()
    days = days.with_columns(most=nw.col("subscriber_count").max().over("cell_id"))
    return days.filter(nw.col("most") >= minimum).select(*names)


def _handsets(sessions: Frame) -> Frame:
    counted = sessions.group_by(*_HANDSET).agg(
        session_count=nw.len(), subscriber_count=nw.col(_PERSON).n_unique()
    )
    numbers = ("session_count", "subscriber_count")
    return counted.select(*_HANDSET, **{name: nw.col(name).cast(nw.Int64) for name in numbers})


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
