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
from subsight.studies import hours as by_hour
from subsight.studies.groups import total

__all__ = ["ALL", "Hours", "of_flow_sums", "of_flows", "of_session_sums", "of_sessions"]

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
        minimum: groups of fewer subscribers are not told of.
        observed: the first and the last hour that were looked at, where others than those of the volumes.
        size: the column that says how many subscribers a number is of; of a part of a run, of how many at
            least.
    """

    source: Source
    volumes: Sequence[dict[str, Any]]
    people: dict[str, int]
    cells: dict[tuple[int, int], int]
    segments: Sequence[dict[str, Any]]
    members: dict[str, int]
    zone: ZoneInfo
    minimum: int
    observed: tuple[datetime, datetime] | None = None
    size: str = "subscriber_count"

    @property
    def is_part(self) -> bool:
        """Whether a part of a run is looked at."""
        return self.size == by_hour.LEAST

    @cached_property
    def clock(self) -> Counter[tuple[int, int]]:
        """How often the local clock showed each hour of the week, from the first to the last record.

        By weekday (0 is Monday) and hour. An hour that a clock set back repeats counts twice, one that it
        skips does not.
        """
        times = self.observed or [row["hour_at"] for row in self.volumes]
        at, last = min(times), max(times)
        found: Counter[tuple[int, int]] = Counter()
        while at <= last:
            local = at.astimezone(self.zone)
            if local.minute:  # the zone moved by less than an hour: on to where its hours begin now
                at += timedelta(minutes=60 - local.minute)
                continue
            found[local.weekday(), local.hour] += 1
            at += timedelta(hours=1)
        return found


def of_flows(store: Store, usage: Frame, segments: Frame | None, zone: str, minimum: int) -> Hours:
    """The hours of usage (rows of `tables.USAGE`), by category."""
    named = usage.filter(~nw.col("subscriber_id").is_null())
    people = _counted(store, named, "category")
    return _hours("flows", store, _by_category(store, usage), people, named, segments, zone, minimum)


def of_flow_sums(
    store: Store, sums: Frame, observed: tuple[datetime, datetime], zone: str, minimum: int
) -> Hours:
    """As `of_flows`, of a part of the sums by hour that a run publishes (`usage_flows`)."""
    largest = sums.group_by("category").agg(n=by_hour.least_of())
    people = {row["category"]: int(row["n"]) for row in store.rows(largest)}
    return _part("flows", store, _by_category(store, sums), people, sums, observed, zone, minimum)


def _by_category(store: Store, usage: Frame) -> list[dict[str, Any]]:
    """The volumes of everything and of each category by hour."""
    parted = usage.with_columns(part=nw.col("category"))
    by_part = store.rows(parted.group_by("part", "hour_at").agg(**_SUMS))
    whole: dict[datetime, dict[str, Any]] = {}
    for row in by_part:
        none = {"part": ALL, "hour_at": row["hour_at"], "dl_bytes": 0.0, "ul_bytes": 0.0}
        both = whole.setdefault(row["hour_at"], none)
        both["dl_bytes"] += row["dl_bytes"]
        both["ul_bytes"] += row["ul_bytes"]
    return [*whole.values(), *by_part]


def of_sessions(
    store: Store, sessions: Frame, contract: Contract, segments: Frame | None, zone: str, minimum: int
) -> Hours:
    """The hours of sessions (rows of `tables.SESSIONS`) in which they began, by application."""
    named = sessions.filter(~nw.col("subscriber_id").is_null())
    named = store.derive(named, {"hour_at": HourStart("start_at", zone)})
    moved = {
        app.name: nw.any_horizontal(*(nw.col(name) > 0 for name in _volumes(app.slug)), ignore_nulls=True)
        for app in contract.applications
    }
    people = {
        part: int(store.row(named.filter(used).select(n=nw.col("subscriber_id").n_unique()))["n"] or 0)
        for part, used in moved.items()
    }
    volumes = _by_application(store, named, contract)
    return _hours("sessions", store, volumes, people, named, segments, zone, minimum)


def of_session_sums(
    store: Store,
    sums: Frame,
    contract: Contract,
    observed: tuple[datetime, datetime],
    zone: str,
    minimum: int,
) -> Hours:
    """As `of_sessions`, of a part of the sums by hour that a run publishes (`usage_hours`, `usage_cells`)."""
    apps = contract.applications
    largest = {app.slug: by_hour.least_of(f"app_{app.slug}_subscriber_count") for app in apps}
    found = store.row(sums.select(**largest)) if apps else {}
    people = {app.name: int(found[app.slug] or 0) for app in apps}
    volumes = _by_application(store, sums, contract)
    return _part("sessions", store, volumes, people, sums, observed, zone, minimum)


def _volumes(slug: str) -> list[str]:
    return [f"app_{slug}_{direction}" for direction in ("dl_bytes", "ul_bytes")]


def _by_application(store: Store, sessions: Frame, contract: Contract) -> list[dict[str, Any]]:
    """The volumes of everything and of each application by hour."""
    sums: dict[str, Any] = {f"{ALL}:{name}": expression for name, expression in _SUMS.items()}
    for app in contract.applications:
        sums |= {f"{app.name}:{name[-8:]}": total(nw.col(name)) for name in _volumes(app.slug)}
    return [
        {
            "part": part,
            "hour_at": row["hour_at"],
            **{name: row[f"{part}:{name}"] or 0.0 for name in ("dl_bytes", "ul_bytes")},
        }
        for row in store.rows(sessions.group_by("hour_at").agg(**sums))
        for part in (ALL, *(app.name for app in contract.applications))
    ]


def _hours(
    source: Source,
    store: Store,
    volumes: Sequence[dict[str, Any]],
    people: dict[str, int],
    named: Frame,
    segments: Frame | None,
    zone: str,
    minimum: int,
) -> Hours:
    people = {ALL: int(store.row(named.select(n=nw.col("subscriber_id").n_unique()))["n"] or 0), **people}
    cells = _cells(store, named, nw.col("subscriber_id").n_unique())
    divided, members = [], {}
    if segments is not None:
        placed = named.select("subscriber_id", "hour_at", "dl_bytes", "ul_bytes").join(
            segments.select("subscriber_id", part=nw.col("segment_name")), on="subscriber_id", how="inner"
        )
        placed = placed.filter(~nw.col("part").is_null())
        divided = store.rows(placed.group_by("part", "hour_at").agg(**_SUMS))
        members = _counted(store, placed, "part")
    return Hours(source, volumes, people, cells, divided, members, ZoneInfo(zone), minimum)


def _part(
    source: Source,
    store: Store,
    volumes: Sequence[dict[str, Any]],
    people: dict[str, int],
    sums: Frame,
    observed: tuple[datetime, datetime],
    zone: str,
    minimum: int,
) -> Hours:
    people = {ALL: int(store.row(sums.select(n=by_hour.least_of()))["n"] or 0), **people}
    cells, size = _cells(store, sums, by_hour.least_of()), by_hour.LEAST
    return Hours(source, volumes, people, cells, [], {}, ZoneInfo(zone), minimum, observed, size)


def _cells(store: Store, frame: Frame, people: Any) -> dict[tuple[int, int], int]:
    """How many subscribers there are by weekday and local hour."""
    # Engines number Sunday 0 or 7.
    placed = frame.with_columns(weekday=(nw.col("local_date").dt.weekday() + 6) % 7)
    grouped = placed.group_by("weekday", "local_hour").agg(n=people)
    return {(int(row["weekday"]), int(row["local_hour"])): int(row["n"]) for row in store.rows(grouped)}


def _counted(store: Store, frame: Frame, name: str) -> dict[str, int]:
    grouped = frame.group_by(name).agg(n=nw.col("subscriber_id").n_unique())
    return {row[name]: int(row["n"]) for row in store.rows(grouped)}
