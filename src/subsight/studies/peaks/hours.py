"""Volumes by clock hour, of sessions as of flows: small tables that every question about peaks is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import narwhals as nw

from subsight.contracts import Contract
from subsight.store import Frame, HourStart, Store
from subsight.studies.groups import total

__all__ = ["ALL", "Hours", "of_flows", "of_sessions"]

ALL: Final = "all"
"""The part under which the volume of everything stands beside that of the categories."""

Source = Literal["flows", "sessions"]
_SUMS: Final[dict[str, Any]] = {"dl_bytes": total(nw.col("dl_bytes")), "ul_bytes": total(nw.col("ul_bytes"))}


@dataclass(frozen=True)
class Hours:
    """What was carried in each clock hour.

    Attributes:
        source: what the records are.
        volumes: rows of `part` (`all`, or a category), `hour_at`, `dl_bytes`, `ul_bytes`.
        people: subscribers by part.
        cells: subscribers by weekday (0 is Monday) and local hour.
        segments: as `volumes`, with a segment as the part; empty where nobody was divided.
        members: subscribers by segment.
        zone: the operator's time zone.
    """

    source: Source
    volumes: Sequence[dict[str, Any]]
    people: dict[str, int]
    cells: dict[tuple[int, int], int]
    segments: Sequence[dict[str, Any]]
    members: dict[str, int]
    zone: ZoneInfo

    @cached_property
    def clock(self) -> Counter[tuple[int, int]]:
        """How often the local clock showed each hour of the week, from the first to the last record.

        By weekday (0 is Monday) and hour. An hour that a clock set back repeats counts twice, one that it
        skips does not.
        """
        at, last = (pick(row["hour_at"] for row in self.volumes) for pick in (min, max))
        found: Counter[tuple[int, int]] = Counter()
        while at <= last:
            local = at.astimezone(self.zone)
            if local.minute:  # the zone moved by less than an hour: on to where its hours begin now
                at += timedelta(minutes=60 - local.minute)
                continue
            found[local.weekday(), local.hour] += 1
            at += timedelta(hours=1)
        return found


def of_flows(store: Store, usage: Frame, segments: Frame | None, zone: str) -> Hours:
    """The hours of usage (rows of `tables.USAGE`), by category."""
    parted = usage.with_columns(part=nw.col("category"))
    by_part = store.rows(parted.group_by("part", "hour_at").agg(**_SUMS))
    whole: dict[datetime, dict[str, Any]] = {}
    for row in by_part:
        none = {"part": ALL, "hour_at": row["hour_at"], "dl_bytes": 0.0, "ul_bytes": 0.0}
        both = whole.setdefault(row["hour_at"], none)
        both["dl_bytes"] += row["dl_bytes"]
        both["ul_bytes"] += row["ul_bytes"]
    named = parted.filter(~nw.col("subscriber_id").is_null())
    people = _counted(store, named, "part")
    return _hours("flows", store, [*whole.values(), *by_part], people, named, segments, zone)


def of_sessions(
    store: Store, sessions: Frame, contract: Contract, segments: Frame | None, zone: str
) -> Hours:
    """The hours of sessions (rows of `tables.SESSIONS`) in which they began, by application."""
    named = sessions.filter(~nw.col("subscriber_id").is_null())
    named = store.derive(named, {"hour_at": HourStart("start_at", zone)})
    sums: dict[str, Any] = {f"{ALL}:{name}": expression for name, expression in _SUMS.items()}
    moved: dict[str, Any] = {}
    for app in contract.applications:
        names = [f"app_{app.slug}_{direction}" for direction in ("dl_bytes", "ul_bytes")]
        for name in names:
            sums[f"{app.name}:{name[-8:]}"] = total(nw.col(name))
        used = nw.any_horizontal(*(nw.col(name) > 0 for name in names), ignore_nulls=True)
        moved[app.name] = used
    rows = store.rows(named.group_by("hour_at").agg(**sums))
    volumes = [
        {
            "part": part,
            "hour_at": row["hour_at"],
            **{name: row[f"{part}:{name}"] or 0.0 for name in ("dl_bytes", "ul_bytes")},
        }
        for row in rows
        for part in (ALL, *moved)
    ]
    people = {
        part: int(store.row(named.filter(used).select(n=nw.col("subscriber_id").n_unique()))["n"] or 0)
        for part, used in moved.items()
    }
    return _hours("sessions", store, volumes, people, named, segments, zone)


def _hours(
    source: Source,
    store: Store,
    volumes: Sequence[dict[str, Any]],
    people: dict[str, int],
    named: Frame,
    segments: Frame | None,
    zone: str,
) -> Hours:
    people = {ALL: int(store.row(named.select(n=nw.col("subscriber_id").n_unique()))["n"] or 0), **people}
    # Engines number Sunday 0 or 7.
    placed = named.with_columns(weekday=(nw.col("local_date").dt.weekday() + 6) % 7)
    grouped = placed.group_by("weekday", "local_hour").agg(n=nw.col("subscriber_id").n_unique())
    cells = {(int(row["weekday"]), int(row["local_hour"])): int(row["n"]) for row in store.rows(grouped)}
    divided, members = [], {}
    if segments is not None:
        placed = named.select("subscriber_id", "hour_at", "dl_bytes", "ul_bytes").join(
            segments.select("subscriber_id", part=nw.col("segment_name")), on="subscriber_id", how="inner"
        )
        placed = placed.filter(~nw.col("part").is_null())
        divided = store.rows(placed.group_by("part", "hour_at").agg(**_SUMS))
        members = _counted(store, placed, "part")
    return Hours(source, volumes, people, cells, divided, members, ZoneInfo(zone))


def _counted(store: Store, frame: Frame, name: str) -> dict[str, int]:
    grouped = frame.group_by(name).agg(n=nw.col("subscriber_id").n_unique())
    return {row[name]: int(row["n"]) for row in store.rows(grouped)}
