"""The sums by hour that a run publishes, of few sessions and flows counted by hand, on each engine."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from subsight.contracts import Application
from subsight.pipeline import hours
from subsight.store import Frame, Store
from subsight.studies import peaks
from subsight.tables import SESSIONS

WEB = SESSIONS.expand((Application("web", "Web"),))
SUNDAY, MONDAY = date(2023, 10, 29), date(2023, 10, 30)
# Madrid's clock showed 02:00 twice: at 00:00 and at 01:00 UTC.
FIRST, AGAIN = datetime(2023, 10, 29, 0, tzinfo=UTC), datetime(2023, 10, 29, 1, tzinfo=UTC)
NEXT = datetime(2023, 10, 30, 9, tzinfo=UTC)


def table(store: Store, rows: list[tuple[Any, ...]]) -> Frame:
    names = ("subscriber_hash", "start_at", "local_date", "local_hour", "cell_id", "dl_bytes", "ul_bytes",
             "app_web_dl_bytes", "app_web_ul_bytes")  # fmt: skip
    makers = {2: ("Acme", "Phone"), 3: ("Acme", None), 5: (None, None), 7: (None, None)}
    types = {"start_at": pa.timestamp("us", "UTC"), "local_date": pa.date32(), "cell_id": pa.string()}
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    made = {n: pa.array(list(v), types.get(n, pa.int64())) for n, v in columns.items()}
    for place, name in enumerate(("handset_manufacturer", "handset")):
        made[name] = pa.array([makers[row[0]][place] for row in rows], pa.string())
    return store.from_arrow(pa.table(made))


def found(store: Store, frame: Frame, *keys: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Rows by key, of the other columns the values in the order of their names."""
    rows = store.rows(frame)
    others = sorted(set(rows[0]) - set(keys))
    told = {tuple(row[key] for key in keys): tuple(row[name] for name in others) for row in rows}
    assert len(told) == len(rows)
    return told


SESSIONS_OF_FEW = [
    (2, FIRST.replace(minute=5), SUNDAY, 2, "A", 10, 1, 7, 1),
    (2, FIRST.replace(minute=9), SUNDAY, 2, "A", 20, 2, None, 2),
    (3, FIRST.replace(minute=9), SUNDAY, 2, "A", 30, 3, 5, None),
    (3, FIRST.replace(minute=10), SUNDAY, 2, "A", 30, 3, 4, 0),
    (3, FIRST.replace(minute=20), SUNDAY, 2, None, 1, 1, 0, 1),
    (2, AGAIN.replace(minute=59), SUNDAY, 2, "A", 40, 4, 0, 9),
    (5, NEXT.replace(minute=30), MONDAY, 10, "A", 50, 5, 50, 0),
    (5, NEXT.replace(minute=30), MONDAY, 10, "B", 60, 6, 60, 0),
]


def test_sessions_are_summed_by_hour_cell_and_day(store: Store) -> None:
    made = hours.tables(store, table(store, SESSIONS_OF_FEW), WEB, "Europe/Madrid", 2)
    # Of each: Web's downlink, subscribers with any and uplink, downlink, sessions, subscribers, uplink.
    assert found(store, made["usage_hours"], "local_date", "local_hour", "hour_at") == {
        (SUNDAY, 2, FIRST): (16, 2, 4, 91, 5, 2, 10),
        (SUNDAY, 2, AGAIN): (0, 0, 9, 40, 1, 1, 4),
        (MONDAY, 10, NEXT): (110, 1, 0, 110, 2, 1, 11),
    }
    assert found(store, made["usage_cells"], "hour_at", "cell_id", "local_date", "local_hour") == {
        (FIRST, "A", SUNDAY, 2): (16, 2, 3, 90, 4, 2, 9),
        (FIRST, None, SUNDAY, 2): (0, 0, 1, 1, 1, 1, 1),
        (AGAIN, "A", SUNDAY, 2): (0, 0, 9, 40, 1, 1, 4),
        (NEXT, "A", MONDAY, 10): (50, 1, 0, 50, 1, 1, 5),
        (NEXT, "B", MONDAY, 10): (60, 1, 0, 60, 1, 1, 6),
    }
    # Cell B never had two subscribers on one day. Of each day: Web's downlink, that of even hashes, the
    # squares of the sessions of odd ones and subscribers with any; downlink, sessions, subscribers.
    assert found(store, made["usage_cell_days"], "local_date", "cell_id") == {
        (SUNDAY, "A"): (16, 7, 5.0**2 + 4.0**2, 2, 130, 5, 2),
        (MONDAY, "A"): (50, 0, 50.0**2, 1, 50, 1, 1),
    }


def test_handsets_are_counted_by_day(store: Store) -> None:
    made = hours.tables(store, table(store, SESSIONS_OF_FEW), WEB, "Europe/Madrid", 2)
    # Sessions and subscribers.
    assert found(store, made["usage_handset_days"], "local_date", "handset_manufacturer", "handset") == {
        (SUNDAY, "Acme", "Phone"): (3, 1),
        (SUNDAY, "Acme", None): (3, 1),
        (MONDAY, None, None): (2, 1),
    }


def test_sessions_of_no_application_and_of_no_time_are_summed_too(store: Store) -> None:
    frame = table(store, [*SESSIONS_OF_FEW, (7, None, None, None, "A", 1, 1, 1, 1)])
    frame = frame.drop("app_web_dl_bytes", "app_web_ul_bytes")
    made = hours.tables(store, frame, SESSIONS.expand(()), "Europe/Madrid", 2)
    assert found(store, made["usage_cell_days"], "local_date", "cell_id") == {
        (SUNDAY, "A"): (130, 5, 2),
        (MONDAY, "A"): (50, 1, 1),
    }


def test_peaks_are_those_of_the_sums(store: Store) -> None:
    sums = hours.tables(store, table(store, SESSIONS_OF_FEW), WEB, "Europe/Madrid", 2)["usage_hours"]
    seen = peaks.of_session_sums(store, sums, WEB, (FIRST, NEXT), "Europe/Madrid", 2)
    told = {(r["part"], r["hour_at"]): (r["dl_bytes"], r["ul_bytes"]) for r in seen.volumes}
    assert told == {
        ("all", FIRST): (91, 10), ("all", AGAIN): (40, 4), ("all", NEXT): (110, 11),
        ("Web", FIRST): (16, 4), ("Web", AGAIN): (0, 9), ("Web", NEXT): (110, 0),
    }  # fmt: skip
    assert seen.people == {"all": 2, "Web": 2}
    assert seen.cells == {(6, 2): 2, (0, 10): 1}
    assert peaks.heat(seen)[6, 2] == ((91 + 10 + 40 + 4) / 2, 2)


def test_flows_are_summed_by_hour_service_and_exporter(store: Store) -> None:
    rows = [
        (1, "https", 6, "bras-1", 1, 10, 1), (1, "https", 6, "bras-1", 2, 20, 2),
        (2, "https", 6, "bras-1", 3, 30, 3), (None, "https", 6, "bras-1", 4, 40, 4),
        (None, "https", 6, None, 5, 50, 5), (2, "quic", 17, "bras-1", 6, 60, 6),
    ]  # fmt: skip
    names = ("subscriber_hash", "service", "protocol", "exporter", "flow_count", "dl_bytes", "ul_bytes")
    columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    columns |= {"local_date": [SUNDAY] * 6, "local_hour": [2] * 6, "category": ["Web"] * 6}
    at = pa.array([FIRST] * 5 + [AGAIN], pa.timestamp("us", "UTC"))
    usage = store.from_arrow(pa.table({**columns, "hour_at": at}))
    keys = ("hour_at", "service", "protocol", "exporter", "category", "local_date", "local_hour")
    # Downlink, flows, subscribers who are named, uplink.
    assert found(store, hours.of_flows(usage), *keys) == {
        (FIRST, "https", 6, "bras-1", "Web", SUNDAY, 2): (100, 10, 2, 10),
        (FIRST, "https", 6, None, "Web", SUNDAY, 2): (50, 5, 0, 5),
        (AGAIN, "quic", 17, "bras-1", "Web", SUNDAY, 2): (60, 6, 1, 6),
    }
