"""People written by hand, with metrics computed by hand, on each engine."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from subsight.contracts import Application
from subsight.enrich import treatment
from subsight.metrics import catalogue, profile
from subsight.store import Store
from subsight.tables import SESSIONS
from subsight.units import unit_of

APPS = (Application("web", "Web"), Application("video", "Video"))
CONTRACT = SESSIONS.expand(APPS)
TYPES = {
    "text": pa.string(), "float": pa.float64(), "integer": pa.int64(), "date": pa.date32(),
    "boolean": pa.bool_(), "instant": pa.timestamp("us", "UTC"),
}  # fmt: skip
SCHEMA = pa.schema([(column.name, TYPES[column.kind]) for column in CONTRACT])


def sessions(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in rows], SCHEMA)


# Ana has three sessions, Ben one; one session has no subscriber and must not count anywhere.
ANA = {"subscriber_id": "ana", "subscriber_hash": 2}
PEOPLE = sessions(
    {**ANA, "duration_s": 100.0, "dl_bytes": 1000, "ul_bytes": 10, "app_web_dl_bytes": 400,
     "app_web_ul_bytes": 4, "app_video_dl_bytes": 600, "app_video_ul_bytes": 6, "rtt_dl_ms": 30.0,
     "rtt_ul_ms": 10.0, "throughput_dl_kbps": 100.0, "throughput_ul_kbps": 20.0,
     "tcp_retransmission_dl_bytes": 50, "tcp_retransmission_ul_bytes": 5, "handset": "One",
     "handset_manufacturer": "Acme", "local_date": date(2026, 3, 2), "local_hour": 5,
     "dl_below_50_kbps_share": 1.0, "activity_dl_ms": 10.0},
    {**ANA, "duration_s": 50.0, "dl_bytes": 500, "ul_bytes": 5, "app_web_dl_bytes": 500,
     "app_web_ul_bytes": 5, "app_video_dl_bytes": 0, "app_video_ul_bytes": 0, "rtt_dl_ms": 50.0,
     "throughput_dl_kbps": 300.0, "throughput_ul_kbps": 40.0, "handset": "Two",
     "handset_manufacturer": "Brand", "local_date": date(2026, 3, 2), "local_hour": 18,
     "dl_below_50_kbps_share": 0.5, "activity_dl_ms": 30.0},
    {**ANA, "duration_s": 25.0, "dl_bytes": 100, "ul_bytes": 1, "app_web_dl_bytes": 100,
     "app_web_ul_bytes": 1, "app_video_dl_bytes": 0, "app_video_ul_bytes": 0,
     "throughput_dl_kbps": 200.0, "throughput_ul_kbps": 30.0, "handset": "Two",
     "handset_manufacturer": "Brand", "local_date": date(2026, 3, 4), "local_hour": 23},
    {"subscriber_id": "ben", "subscriber_hash": 1, "duration_s": 7.0, "dl_bytes": 9, "ul_bytes": 1,
     "app_web_dl_bytes": 9, "app_web_ul_bytes": 1, "app_video_dl_bytes": 0, "app_video_ul_bytes": 0,
     "rtt_dl_ms": 20.0, "rtt_ul_ms": 10.0, "throughput_dl_kbps": 10.0, "throughput_ul_kbps": 1.0,
     "tcp_retransmission_dl_bytes": 70, "tcp_retransmission_ul_bytes": 15,
     "local_date": date(2026, 3, 3), "local_hour": 12},
    {"duration_s": 9999.0, "dl_bytes": 9999, "ul_bytes": 9999, "app_web_dl_bytes": 1,
     "local_date": date(2026, 3, 3), "local_hour": 12},
)  # fmt: skip

# Fills: rtt_dl 33, rtt_ul 10, retransmission dl 60 and ul 10. No value is outside the fences given.
TREATMENT = {
    name: {"lower": -1e9, "upper": 1e9, "fill": fill, "policy": "mean"}
    for name, fill in {
        "rtt_dl_ms": 33.0, "rtt_ul_ms": 10.0, "throughput_dl_kbps": 0.0, "throughput_ul_kbps": 0.0,
        "tcp_retransmission_dl_bytes": 60.0, "tcp_retransmission_ul_bytes": 10.0,
    }.items()
}  # fmt: skip

EXPECTED_ANA = {
    "session_count": 3, "duration_s": 175.0, "dl_bytes": 1600, "ul_bytes": 16, "total_bytes": 1616,
    "app_web_dl_bytes": 1000, "app_web_ul_bytes": 10, "app_web_bytes": 1010, "app_video_bytes": 606,
    # (30+10 + 50+10 + 33+10) / 3 treated; only the first session has both directions
    "rtt_ms": 143 / 3, "rtt_ms_raw": 40.0, "rtt_filled_share": 2 / 3,
    "tcp_retransmission_bytes": (55 + 70 + 70) / 3, "tcp_retransmission_bytes_raw": 55.0,
    "tcp_retransmission_filled_share": 2 / 3,
    "throughput_kbps": (120 + 340 + 230) / 3, "throughput_kbps_raw": 230.0, "throughput_filled_share": 0.0,
    "activity_dl_ms": 20.0, "dl_below_50_kbps_share": 0.75, "dl_above_1000_kbps_share": None,
    "night_share": 1 / 3, "morning_share": 0.0, "afternoon_share": 0.0, "evening_share": 2 / 3,
    "active_day_count": 2, "first_date": date(2026, 3, 2), "last_date": date(2026, 3, 4),
    "handset": "Two", "handset_manufacturer": "Brand",
}  # fmt: skip
EXPECTED_BEN = {
    "session_count": 1, "duration_s": 7.0, "total_bytes": 10, "rtt_ms": 30.0, "rtt_ms_raw": 30.0,
    "tcp_retransmission_bytes_raw": 85.0, "rtt_filled_share": 0.0, "afternoon_share": 1.0,
    "handset": None, "handset_manufacturer": None, "activity_dl_ms": None,
}  # fmt: skip


def same(found: Any, expected: Any) -> bool:
    """Equal, floats within 1e-12."""
    if isinstance(expected, float):
        return isinstance(found, float) and found == pytest.approx(expected, rel=1e-12)
    return bool(found == expected)


def test_hand_made_people(store: Store) -> None:
    frame = treatment.apply(store.from_arrow(PEOPLE), CONTRACT, TREATMENT)
    people = {row["subscriber_id"]: row for row in store.rows(profile(store, frame, CONTRACT))}
    assert set(people) == {"ana", "ben"}
    for name, expected in (("ana", EXPECTED_ANA), ("ben", EXPECTED_BEN)):
        for key, value in expected.items():
            assert same(people[name][key], value), (name, key, people[name][key])


def test_counts_are_whole_numbers(store: Store) -> None:
    frame = treatment.apply(store.from_arrow(PEOPLE), CONTRACT, TREATMENT)
    schema = store.arrow(profile(store, frame, CONTRACT)).schema
    whole = [m.name for m in catalogue(APPS) if m.is_count]
    assert "total_bytes" in whole
    assert {name: str(schema.field(name).type) for name in whole} == dict.fromkeys(whole, "int64")


def test_splitting_the_sessions_over_tables_changes_nothing(store: Store, tmp_path: Any) -> None:
    paths = [tmp_path / f"{i}.parquet" for i in range(2)]
    for path, part in zip(paths, (PEOPLE.slice(3), PEOPLE.slice(0, 3)), strict=True):
        store.write(store.from_arrow(part), path)
    whole = treatment.apply(store.from_arrow(PEOPLE), CONTRACT, TREATMENT)
    parts = treatment.apply(store.read(paths), CONTRACT, TREATMENT)
    columns = catalogue(APPS)
    one, other = (
        {row["subscriber_id"]: row for row in store.rows(profile(store, frame, CONTRACT))}
        for frame in (whole, parts)
    )
    for who in one:
        for metric in columns:
            assert same(other[who][metric.name], one[who][metric.name]), metric.name


def test_commonest_handset_ties_go_to_the_smallest_name(store: Store) -> None:
    rows = [
        {"subscriber_id": "a", "handset": h, "handset_manufacturer": f"maker of {h}"}
        for h in ("Z", "B", "B", "Z", "C")
    ]
    rows += [{"subscriber_id": "b"}, {"subscriber_id": "c", "handset": "Q"}]
    found = store.rows(
        profile(store, treatment.apply(store.from_arrow(sessions(*rows)), CONTRACT, {}), CONTRACT)
    )
    assert {row["subscriber_id"]: (row["handset"], row["handset_manufacturer"]) for row in found} == {
        "a": ("B", "maker of B"), "b": (None, None), "c": ("Q", None),
    }  # fmt: skip


def test_every_metric_has_a_definition_and_its_unit_in_its_name() -> None:
    metrics = catalogue(APPS)
    assert len({m.name for m in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.definition.endswith("."), metric.name
        assert unit_of(metric.name) is not None, metric.name
