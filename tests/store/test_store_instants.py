"""Text that becomes an instant, on every engine, against datetime and zoneinfo."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from subsight.store import Instant, Store


def instants(store: Store, given: list[Any] | pa.Array, pattern: str = "iso", zone: str = "UTC") -> list[Any]:
    table = pa.table({"c": given, "i": range(len(given))})
    frame = store.derive(store.from_arrow(table), {"at": Instant("c", pattern, zone)})
    answer = store.arrow(frame.select("i", "at").sort("i"))
    assert answer.schema.field("at").type == pa.timestamp("us", tz="UTC")
    return [at and at.astimezone(UTC) for at in answer["at"].to_pylist()]


def later_reading(wall: datetime, zone: str) -> datetime:
    """What a wall clock showed: of two readings the later (after a change back, and in a gap too)."""
    readings = [wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)]
    return max(readings)


PATTERNS = [
    ("%m/%d/%Y %H:%M", "4/5/2019 5:03", datetime(2019, 4, 5, 5, 3)),
    ("%m/%d/%Y %H:%M", "04/05/2019 05:03", datetime(2019, 4, 5, 5, 3)),
    ("%m/%d/%Y %H:%M", " 12/31/2019  23:59 ", datetime(2019, 12, 31, 23, 59)),
    ("%m/%d/%Y %H:%M", "2/29/2020 0:00", datetime(2020, 2, 29)),
    ("%d.%m.%Y %H:%M:%S", "5.4.2019 5:03:09", datetime(2019, 4, 5, 5, 3, 9)),
    ("%d/%m/%y %H:%M", "5/4/19 5:03", datetime(2019, 4, 5, 5, 3)),
    ("%d/%m/%y", "29/2/00", datetime(2000, 2, 29)),
    ("%d/%m/%y", "1/1/69", datetime(1969, 1, 1)),
    ("%d/%m/%y", "1/1/68", datetime(2068, 1, 1)),
    ("%Y%m%d%H%M%S", "20190405050301", datetime(2019, 4, 5, 5, 3, 1)),
    ("%Y-%m-%d %H:%M:%S.%f", "2019-04-05 05:03:01.5", datetime(2019, 4, 5, 5, 3, 1, 500000)),
    ("%Y-%m-%d %H:%M:%S.%f", "2019-04-05 05:03:01.000123", datetime(2019, 4, 5, 5, 3, 1, 123)),
    ("%m/%d/%Y %I:%M %p", "4/5/2019 5:03 PM", datetime(2019, 4, 5, 17, 3)),
    ("%m/%d/%Y %I:%M %p", "4/5/2019 12:03 am", datetime(2019, 4, 5, 0, 3)),
    ("%m/%d/%Y %I:%M%p", "4/5/2019 12:03pm", datetime(2019, 4, 5, 12, 3)),
    ("%d %b %Y", "5 APR 2019", datetime(2019, 4, 5)),
    ("%d-%b-%y %H:%M", "5-dec-19 17:45", datetime(2019, 12, 5, 17, 45)),
    ("%B %d, %Y", "april 5, 2019", datetime(2019, 4, 5)),
    ("%B %d, %Y", "May 31, 2019", datetime(2019, 5, 31)),
    ("%Y-%m-%dT%H:%M:%S%z", "2019-04-05T05:03:01+02:00", datetime(2019, 4, 5, 3, 3, 1)),
    ("%Y-%m-%d %H:%M:%S %z", "2019-04-05 05:03:01 -0530", datetime(2019, 4, 5, 10, 33, 1)),
    ("%Y%%%m", "2019%04", datetime(2019, 4, 1)),
]


@pytest.mark.parametrize("pattern", dict.fromkeys(pattern for pattern, _, _ in PATTERNS))
def test_strptime_patterns(store: Store, pattern: str) -> None:
    cases = {text: at.replace(tzinfo=UTC) for p, text, at in PATTERNS if p == pattern}
    assert instants(store, list(cases), pattern) == list(cases.values())


REFUSED = [
    (
        "%m/%d/%Y %H:%M",
        ["4/31/2019 5:03", "2/29/2019 5:03", "13/1/2019 5:03", "4/5/2019 24:03", "4/5/2019 5:60"],
    ),
    (
        "%m/%d/%Y %H:%M",
        ["4/5/19 5:03", "4/5/2019", "4/5/2019 5:03:01", "4-5-2019 5:03", "2019-04-05", "", "NA"],
    ),
    ("%m/%d/%Y %I:%M %p", ["4/5/2019 13:03 PM", "4/5/2019 0:03 PM", "4/5/2019 5:03", "4/5/2019 5:03 XM"]),
    ("%d %b %Y", ["5 April 2019", "5 Avr 2019", "31 Apr 2019", "5 4 2019"]),
    ("%Y-%m-%d %H:%M:%S.%f", ["2019-04-05 05:03:01", "2019-04-05 05:03:01.1234567"]),
    ("%Y%m%d", ["201904", "201904051", "20190432"]),
]


@pytest.mark.parametrize(("pattern", "texts"), REFUSED)
def test_text_that_does_not_fit_its_pattern_is_null(store: Store, pattern: str, texts: list[str]) -> None:
    assert instants(store, [*texts, None], pattern) == [None] * (len(texts) + 1)


ISO = {
    "2019-04-05 05:03:01": datetime(2019, 4, 5, 5, 3, 1),
    "2019-04-05T05:03:01": datetime(2019, 4, 5, 5, 3, 1),
    "2019-04-05T05:03": datetime(2019, 4, 5, 5, 3),
    "2019-4-5 5:03": datetime(2019, 4, 5, 5, 3),
    "2019/04/05 05:03": datetime(2019, 4, 5, 5, 3),
    "2019-04-05": datetime(2019, 4, 5),
    " 2019-04-05 05:03:01.5 ": datetime(2019, 4, 5, 5, 3, 1, 500000),
    "2019-04-05 05:03:01.123456789": datetime(2019, 4, 5, 5, 3, 1, 123456),
}
ISO_WITH_OFFSET = {
    "2019-04-05T05:03:01Z": datetime(2019, 4, 5, 5, 3, 1),
    "2019-04-05 05:03:01.25 UTC": datetime(2019, 4, 5, 5, 3, 1, 250000),
    "2019-04-05T05:03:01+02:00": datetime(2019, 4, 5, 3, 3, 1),
    "2019-04-05T05:03:01+0200": datetime(2019, 4, 5, 3, 3, 1),
    "2019-04-05T05:03-02 ": datetime(2019, 4, 5, 7, 3),
    "2019-04-05 05:03:01.000001+05:45": datetime(2019, 4, 4, 23, 18, 1, 1),
}
NOT_ISO = ["", "NA", "2019-02-29", "2019-13-01", "2019-04-05 24:00", "2019-04-05 05:60", "infinity", "epoch"]
NOT_ISO += ["4/5/2019", "20190405", "19-04-05", "2019-04-05 05:03 America/Lima", "2019-04", "05:03"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_iso(store: Store, zone: str) -> None:
    local = [wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for wall in ISO.values()]
    exact = [at.replace(tzinfo=UTC) for at in ISO_WITH_OFFSET.values()]
    given = [*ISO, *ISO_WITH_OFFSET, *NOT_ISO, None]
    assert instants(store, given, "iso", zone) == [*local, *exact, *[None] * (len(NOT_ISO) + 1)]


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("pattern", ["iso", "%d/%m/%Y %H:%M"])
def test_wall_clock_across_changes_of_the_clock(store: Store, zone: str, pattern: str) -> None:
    # Every half hour of the days on which the three zones change, and of the days beside them.
    days = [date(2024, 3, 10), date(2024, 3, 31), date(2024, 4, 7), date(2024, 10, 6), date(2024, 10, 27)]
    days += [date(2024, 11, 3)]
    walls = [
        datetime(day.year, day.month, day.day) + timedelta(minutes=15 + 30 * half_hour)
        for day in days
        for half_hour in range(-6, 54)
    ]
    shape = "%Y-%m-%d %H:%M" if pattern == "iso" else pattern
    answers = instants(store, [wall.strftime(shape) for wall in walls], pattern, zone)
    assert answers == [later_reading(wall, zone) for wall in walls]


def test_half_past_two_in_paris(store: Store) -> None:
    """The rule of the test above in numbers: in the gap an hour later, twice shown the later one."""
    answers = instants(store, ["2024-03-31 02:30", "2024-10-27 02:30"], "iso", "Europe/Paris")
    assert answers == [datetime(2024, 3, 31, 1, 30, tzinfo=UTC), datetime(2024, 10, 27, 1, 30, tzinfo=UTC)]


def test_milliseconds_are_added(store: Store) -> None:
    texts = ["770", "0", "999.5", "1000.5", "-1", None, "NA", "inf", "1e30", "2.5"]
    added = [770, 0, 1000, 1000, -1, 0, 0, 0, 0, 2]
    given = pa.table({"c": ["4/5/2019 5:03"] * len(texts) + [None], "ms": [*texts, "1"], "i": range(11)})
    scalar = Instant("c", "%m/%d/%Y %H:%M", "Europe/Paris", milliseconds="ms")
    frame = store.derive(store.from_arrow(given), {"at": scalar}).select("i", "at").sort("i")
    first = datetime(2019, 4, 5, 3, 3, tzinfo=UTC)
    answers = [row["at"] for row in store.rows(frame)]
    assert answers == [*[first + timedelta(milliseconds=ms) for ms in added], None]


def test_typed_columns_need_no_pattern(store: Store) -> None:
    wall, instant = datetime(2024, 7, 1, 12, 30, 0, 5), datetime(2024, 7, 1, 10, 30, 0, 5, tzinfo=UTC)
    zone = "Europe/Paris"
    assert instants(store, pa.array([wall, None], pa.timestamp("us")), "iso", zone) == [instant, None]
    with_zone = pa.array([instant, None], pa.timestamp("us", tz="UTC"))
    assert instants(store, with_zone, "%Y", zone) == [instant, None]
    assert instants(store, pa.array([date(2024, 7, 1)]), "iso", zone) == [
        datetime(2024, 6, 30, 22, tzinfo=UTC)
    ]


def test_numbers_since_1970(store: Store) -> None:
    """1710970514 is 2024-03-20 21:35:14 UTC, wherever the operator is."""
    at = datetime(2024, 3, 20, 21, 35, 14, tzinfo=UTC)
    quarter = at.replace(microsecond=250_000)
    wrong = ["soon", "-5", "1e30", "", "2024-03-20 21:35:14"]
    for pattern, texts in {
        "epoch_s": [" 1710970514 ", "1710970514.25"],
        "epoch_ms": ["1710970514000", "1710970514250"],
        "epoch_us": ["1710970514000000", "1710970514250000"],
    }.items():
        expected = [at, quarter, *[None] * len(wrong)]
        assert instants(store, [*texts, *wrong], pattern, "Asia/Karachi") == expected
        numbers = pa.array([float(text) for text in texts] + [None])
        assert instants(store, numbers, pattern) == [at, quarter, None]
    assert instants(store, pa.array([1710970514, None, -1]), "epoch_s") == [at, None, None]


def test_whole_numbers_are_read_as_their_digits(store: Store) -> None:
    given = pa.array([20240320213514, 5, None])
    expected = [datetime(2024, 3, 20, 21, 35, 14, tzinfo=UTC), None, None]
    assert instants(store, given, "%Y%m%d%H%M%S") == expected
    assert instants(store, given) == [None] * 3
