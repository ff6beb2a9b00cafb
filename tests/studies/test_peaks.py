"""Peaks over hours written by hand, in a week in which the clock of Madrid changed, and by whole records."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from subsight.contracts import Application
from subsight.store import Store
from subsight.studies import peaks
from subsight.studies.peaks.hours import ALL, Hours
from subsight.tables import SESSIONS

MADRID = ZoneInfo("Europe/Madrid")
GB = 10**9


def hours(volumes: dict[datetime, float], zone: ZoneInfo = MADRID, **more: Any) -> Hours:
    rows = [{"part": ALL, "hour_at": at, "dl_bytes": v, "ul_bytes": 0.0} for at, v in volumes.items()]
    cells = {(day, hour): 99 for day in range(7) for hour in range(24)}
    return Hours("flows", rows, {ALL: 99}, cells, more.get("segments", []), more.get("members", {}), zone, 15)


def test_an_hour_that_the_clock_repeats_counts_twice() -> None:
    # On Sunday 29 October 2023 Madrid's clock went from 03:00 back to 02:00 at 01:00 UTC. Two Sundays:
    # 22 October has one hour 02 (00:00 UTC), 29 October two (00:00 and 01:00 UTC).
    begin, end = datetime(2023, 10, 21, 22, tzinfo=UTC), datetime(2023, 10, 29, 22, tzinfo=UTC)
    volumes = {
        begin: 0.0,
        datetime(2023, 10, 22, 0, tzinfo=UTC): 30.0,
        datetime(2023, 10, 29, 0, tzinfo=UTC): 60.0,
        datetime(2023, 10, 29, 1, tzinfo=UTC): 90.0,
        datetime(2023, 10, 29, 2, tzinfo=UTC): 8.0,  # 03:00 on the clock, once on each Sunday
        end: 0.0,
    }
    found = peaks.heat(hours(volumes))
    assert found[6, 2] == ((30 + 60 + 90) / 3, 3)
    assert found[6, 3] == (8 / 2, 2)
    # 8 days and the last hour of Sunday 29 at 23:00, with the hour that was there twice.
    assert sum(count for _, count in found.values()) == 8 * 24 + 1


def test_an_hour_that_the_clock_skips_was_not_there() -> None:
    # On Sunday 26 March 2023 Madrid's clock went from 02:00 to 03:00 at 01:00 UTC.
    volumes = {
        datetime(2023, 3, 25, 23, tzinfo=UTC): 0.0,  # Sunday 00:00
        datetime(2023, 3, 26, 0, tzinfo=UTC): 10.0,  # 01:00
        datetime(2023, 3, 26, 1, tzinfo=UTC): 20.0,  # 03:00
        datetime(2023, 3, 26, 21, tzinfo=UTC): 0.0,  # 23:00
    }
    found = peaks.heat(hours(volumes))
    assert (6, 2) not in found
    assert found[6, 1] == (10.0, 1)
    assert found[6, 3] == (20.0, 1)
    assert len(found) == 23


def test_hours_of_a_zone_of_a_half_hour_and_of_one_that_moves_by_it() -> None:
    kolkata = ZoneInfo("Asia/Kolkata")
    at = datetime(2024, 5, 1, 9, 30, tzinfo=UTC)  # 15:00 on a Wednesday
    found = peaks.heat(hours({at: 5.0, at + timedelta(hours=2): 7.0}, kolkata))
    assert found == {(2, 15): (5.0, 1), (2, 16): (0.0, 1), (2, 17): (7.0, 1)}
    howe = ZoneInfo("Australia/Lord_Howe")  # 02:00 became 01:30 at 15:00 UTC on 6 April 2024
    begin = datetime(2024, 4, 6, 13, tzinfo=UTC)  # 00:00 on Sunday
    shown = hours({begin: 1.0, begin + timedelta(hours=24): 1.0}, howe).clock
    assert shown[6, 0] == 1
    assert shown[6, 2] == 1
    assert shown[6, 23] == 1


def test_the_busy_hour_is_the_same_hour_of_every_day() -> None:
    # Day 1 peaks at 20 with 100, day 2 at 9 with 90; over both 20 has (100 + 40) / 2 = 70, 9 has 45.
    day = datetime(2024, 5, 1, tzinfo=UTC)
    at = {0: 0.0, 20: 100.0, 24 + 9: 90.0, 24 + 20: 40.0, 47: 10.0}
    found = peaks.busy(
        [
            {"hour_at": day + timedelta(hours=h), "dl_bytes": v * 0.75, "ul_bytes": v * 0.25}
            for h, v in at.items()
        ],
        hours({day + timedelta(hours=h): v for h, v in at.items()}, ZoneInfo("UTC")),
    )
    assert (found.hour, found.mean_bytes, found.top_bytes) == (20, 70.0, 100.0)
    assert found.all_bytes == 240 / 48
    assert found.ratio == 14.0
    assert found.dl_share == 0.75
    assert found.top_at == day + timedelta(hours=20)


def test_words_turn_with_the_numbers_and_small_groups_are_not_told() -> None:
    day = datetime(2024, 5, 6, tzinfo=UTC)
    volumes = {day + timedelta(hours=h): GB * (3.0 if h == 21 else 1.0) for h in range(24)}
    base = hours(volumes, ZoneInfo("UTC"))
    heat, busy, segments = peaks.answer_all([base])
    assert heat.reading[0].startswith("The busiest hour of the week is Monday 21:00 to 22:00, with 3.00 GB")
    assert "144 hours of the week were not seen." in heat.reading
    # The mean hour is (23 + 3) / 24 GB; 3 over that is 2.77.
    assert "the busy hour is 21:00 to 22:00" in busy.reading[0]
    assert "2.77 times the mean hour." in busy.reading[0]
    assert busy.facts == {"busy_hour": 21}
    assert segments.reading == ("No subscriber here is in a segment.",)
    flat = peaks.answer_all([hours(dict.fromkeys(volumes, GB), ZoneInfo("UTC"))])[1]
    assert flat.reading[0].endswith("1.00 times the mean hour: traffic hardly peaks.")
    base.cells[0, 21] = 14
    assert "of those with at least 15 subscribers is Monday 00:00" in peaks.answer_all([base])[0].reading[0]


def usage(rows: list[tuple[Any, ...]]) -> pa.Table:
    names = ("subscriber_id", "hour_at", "local_date", "local_hour", "category", "dl_bytes", "ul_bytes")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    types = {"hour_at": pa.timestamp("us", "UTC"), "local_date": pa.date32()}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})


@pytest.mark.parametrize("divided", [True, False])
def test_hours_of_flows_hold_all_and_each_category(store: Store, divided: bool) -> None:
    noon, sunday = datetime(2024, 5, 5, 12, tzinfo=UTC), date(2024, 5, 5)
    later = noon + timedelta(hours=1)
    frame = store.from_arrow(
        usage([
            ("anna", noon, sunday, 12, "Web", 10, 1),
            ("anna", noon, sunday, 12, "Video", 20, 2),
            ("bert", noon, sunday, 12, "Web", 30, 3),
            (None, later, sunday, 13, "Web", 40, 4),
        ])
    )  # fmt: skip
    segments = store.from_arrow(pa.table({"subscriber_id": ["anna"], "segment_name": ["Gold"]}))
    found = peaks.of_flows(store, frame, segments if divided else None, "UTC", 15)
    told = {(r["part"], r["hour_at"]): (r["dl_bytes"], r["ul_bytes"]) for r in found.volumes}
    assert told == {
        ("all", noon): (60, 6), ("all", later): (40, 4),
        ("Web", noon): (40, 4), ("Web", later): (40, 4), ("Video", noon): (20, 2),
    }  # fmt: skip
    assert found.people == {"all": 2, "Web": 2, "Video": 1}
    assert found.cells == {(6, 12): 2}
    assert [(r["part"], r["dl_bytes"]) for r in found.segments] == ([("Gold", 30)] if divided else [])
    assert found.members == ({"Gold": 1} if divided else {})


def test_hours_of_sessions_are_those_of_their_beginning(store: Store) -> None:
    contract = SESSIONS.expand((Application("web", "Web"), Application("video", "Video")))
    at = pa.array([datetime(2023, 10, 29, 0, 30, tzinfo=UTC), datetime(2023, 10, 29, 1, 30, tzinfo=UTC)],
                  pa.timestamp("us", "UTC"))  # fmt: skip
    frame = store.from_arrow(
        pa.table({
            "subscriber_id": ["anna", "bert"], "start_at": at,
            "local_date": pa.array([date(2023, 10, 29)] * 2), "local_hour": [2, 2],
            "dl_bytes": [100, 200], "ul_bytes": [10, 20],
            "app_web_dl_bytes": [100, 0], "app_web_ul_bytes": [10, 0],
            "app_video_dl_bytes": pa.array([None, 200], pa.int64()),
            "app_video_ul_bytes": pa.array([None, 20], pa.int64()),
        })
    )  # fmt: skip
    found = peaks.of_sessions(store, frame, contract, None, "Europe/Madrid", 15)
    told = {(r["part"], r["hour_at"].hour): (r["dl_bytes"], r["ul_bytes"]) for r in found.volumes}
    assert told == {
        ("all", 0): (100, 10), ("all", 1): (200, 20), ("Web", 0): (100, 10), ("Web", 1): (0, 0),
        ("Video", 0): (0, 0), ("Video", 1): (200, 20),
    }  # fmt: skip
    assert found.people == {"all": 2, "Web": 1, "Video": 1}
    assert peaks.heat(found) == {(6, 2): (165.0, 2)}


def sums(rows: list[tuple[Any, ...]]) -> pa.Table:
    names = ("category", "hour_at", "local_date", "local_hour", "subscriber_count", "dl_bytes", "ul_bytes")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    types = {"hour_at": pa.timestamp("us", "UTC"), "local_date": pa.date32()}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})


def test_of_sums_by_hour_the_most_subscribers_are_known_and_the_clock_is_that_of_all(store: Store) -> None:
    # Of Sunday 5 and Monday 6 May 2024 from 12:00 to 12:00: noon was twice, on a Sunday and on a Monday.
    noon, sunday = datetime(2024, 5, 5, 12, tzinfo=UTC), date(2024, 5, 5)
    later = noon + timedelta(hours=1)
    frame = store.from_arrow(
        sums([
            ("Web", noon, sunday, 12, 20, 10, 1),
            ("Web", noon, sunday, 12, 16, 20, 2),
            ("Video", noon, sunday, 12, 30, 40, 4),
            ("Video", later, sunday, 13, 15, 80, 8),
        ])
    )  # fmt: skip
    found = peaks.of_flow_sums(store, frame, (noon, noon + timedelta(days=1)), "UTC", 15)
    told = {(r["part"], r["hour_at"]): (r["dl_bytes"], r["ul_bytes"]) for r in found.volumes}
    assert told == {
        ("all", noon): (70, 7), ("all", later): (80, 8),
        ("Web", noon): (30, 3), ("Video", noon): (40, 4), ("Video", later): (80, 8),
    }  # fmt: skip
    assert found.people == {"all": 30, "Web": 20, "Video": 30}
    assert found.cells == {(6, 12): 30, (6, 13): 15}
    heat, busy, segments = peaks.answer_all([found])
    assert found.clock[6, 12] == found.clock[0, 12] == 1
    # 13:00 was once and carried 88; noon was twice and carried 77.
    assert busy.facts == {"busy_hour": 13}
    web = next(row for row in busy.rows if row["category"] == "Web")
    assert web == {
        "category": "Web", "busy_hour": "12:00", "busy_bytes": 33 / 2, "mean_bytes": 33 / 25,
        "peak_to_mean": 12.5, "dl_share": 30 / 33, "top_hour": "2024-05-05 12:00", "top_bytes": 33,
        "least_subscriber_count": 20,
    }  # fmt: skip
    assert busy.reading[0].startswith("All that is looked at: the busy hour is 13:00 to 14:00")
    assert (heat.group_size, busy.group_size, segments.rows) == ("least_subscriber_count",) * 2 + ([],)
