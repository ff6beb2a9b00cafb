"""When flows were, by whichever elements tell it."""

from __future__ import annotations

import struct

import pytest
from export_made import (
    SECONDS,
    after,
    data,
    decode,
    five,
    ip,
    ipfix,
    message,
    nine,
    options_template,
    record_five,
    rows,
    template,
)  # fmt: skip

ENDS = ip("10.0.0.1") + ip("10.0.0.2") + bytes([0, 0, 1, 0])
PLAIN = ((8, 4), (12, 4), (1, 4))
BOTH = pytest.mark.parametrize("version", [9, 10])
NO_TIME = "time of the export, as the record has none, or an uptime far ahead of its header's"
DAY = 86_400_000
INIT = (SECONDS - 1000) * 1000
"""An exporter that started a thousand seconds before the export, in milliseconds."""


def times(version: int, told: tuple[tuple[int, int], ...], body: bytes, **header: int) -> list[object]:
    sets = template(version, 256, *PLAIN, *told), data(256, ENDS + body)
    (row,) = rows(message(version, *sets, **header))
    return [row["first_seen_at"], row["last_seen_at"]]


def ntp(milliseconds: float) -> bytes:
    """An instant so long after the export, as NTP counts: seconds since 1900 and 1/2^32 of them."""
    whole, part = divmod(SECONDS * 1000 + milliseconds, 1000)
    return struct.pack(">II", int(whole) + 2_208_988_800, round(part / 1000 * 2**32))


@BOTH
@pytest.mark.parametrize(
    ("told", "body", "expected"),
    [
        (((150, 4), (151, 4)), struct.pack(">II", SECONDS - 60, SECONDS - 1), (-60_000, -1_000)),
        (((152, 8), (153, 8)), struct.pack(">QQ", SECONDS * 1000 - 1_501, SECONDS * 1000 - 3), (-1_501, -3)),
        (((154, 8), (155, 8)), ntp(-2_500) + ntp(-250), (-2_500, -250)),
        (((156, 8), (157, 8)), ntp(-62.5) + ntp(125), (-62.5, 125)),
        (((158, 4), (159, 4)), struct.pack(">II", 1_500_000, 250), (-1_500, -0.25)),
        (((152, 8), (161, 4)), struct.pack(">QI", SECONDS * 1000 - 9_000, 4_000), (-9_000, -5_000)),
        (((153, 8), (161, 4)), struct.pack(">QI", SECONDS * 1000 - 9_000, 4_000), (-13_000, -9_000)),
        (((153, 8),), struct.pack(">Q", SECONDS * 1000 - 9_000), (-9_000, -9_000)),
        (((152, 8),), struct.pack(">Q", SECONDS * 1000 - 9_000), (-9_000, None)),
        (((323, 8),), struct.pack(">Q", SECONDS * 1000 - 40), (-40, -40)),
        (((322, 4),), struct.pack(">I", SECONDS - 40), (-40_000, -40_000)),
        (((160, 8), (22, 4), (21, 4)), struct.pack(">QII", INIT, 400_000, 999_500), (-600_000, -500)),
    ],
)
def test_elements_tell_the_time(
    version: int, told: tuple[tuple[int, int], ...], body: bytes, expected: tuple[float, float | None]
) -> None:
    if version == 9 and (160, 8) in told:  # its header tells the uptime itself
        found = times(version, told, body, uptime=1_000_000)
    else:
        found = times(version, told, body)
    assert found == [None if one is None else after(one) for one in expected]


def test_the_header_of_version_9_tells_the_uptime() -> None:
    told = (22, 4), (21, 4)
    assert times(9, told, struct.pack(">II", 40_000, 99_000), uptime=100_000) == [
        after(-60_000),
        after(-1_000),
    ]
    wrapped = struct.pack(">II", 2**32 - 4_000, 500)
    assert times(9, told, wrapped, uptime=1_000) == [after(-5_000), after(-500)]


def of_uptimes(init: int | None, first: int, last: int) -> tuple[list[object], dict[str, int]]:
    """Times of an IPFIX record of uptimes, whose exporter's start options tell, and what is noted."""
    options = options_template(10, 257, ((149, 4),), ((160, 8),))
    sets = [] if init is None else [options, data(257, struct.pack(">IQ", 0, init))]
    records = template(10, 256, *PLAIN, (22, 4), (21, 4)), data(256, ENDS + struct.pack(">II", first, last))
    decoded = decode(ipfix(*sets, *records))
    (row,) = decoded.table.to_pylist()
    return [row["first_seen_at"], row["last_seen_at"]], decoded.noted


def test_options_of_ipfix_tell_when_the_exporter_started() -> None:
    found, noted = of_uptimes(INIT, 400_000, 999_500)
    assert found == [after(-600_000), after(-500)]
    assert noted == {"options record": 1}


def test_uptimes_of_an_exporter_that_started_long_ago_have_wrapped() -> None:
    wrap = 2**32
    uptime = 3 * wrap + 2_000  # at the export
    found, _ = of_uptimes(SECONDS * 1000 - uptime, wrap - 3_000, 1_500)
    assert found == [after(-5_000), after(-500)]


@pytest.mark.parametrize("init", [None, 0])
def test_uptimes_of_which_nobody_says_when_they_began_are_a_duration_before_the_export(
    init: int | None,
) -> None:
    found, noted = of_uptimes(init, 400_000, 407_500)
    assert found == [after(-7_500), after(0)]
    assert noted[NO_TIME] == 1


@BOTH
def test_a_record_without_times_is_of_its_export_and_noted(version: int) -> None:
    decoded = decode(message(version, template(version, 256, *PLAIN), data(256, ENDS)))
    (row,) = decoded.table.to_pylist()
    assert [row["first_seen_at"], row["last_seen_at"]] == [after(0), None]
    assert decoded.noted == {NO_TIME: 1}


@BOTH
def test_a_time_of_zero_is_none(version: int) -> None:
    assert times(version, ((152, 8), (153, 8)), bytes(16)) == [after(0), None]


@BOTH
def test_impossible_times_are_kept_where_a_calendar_can_tell_them_and_null_where_none_can(
    version: int,
) -> None:
    in_1970 = times(version, ((150, 4), (151, 4)), struct.pack(">II", 1, 2))
    assert in_1970 == [after(-SECONDS * 1000 + 1000), after(-SECONDS * 1000 + 2000)]
    assert times(version, ((152, 8), (153, 8)), b"\xff" * 16) == [None, None]
    assert times(version, ((158, 8), (159, 8)), b"\xff" * 16) == [None, None]


@pytest.mark.parametrize("days", [1.5, 7, 24])
def test_an_uptime_far_ahead_of_its_header_is_of_another_clock_and_tells_a_duration(days: float) -> None:
    """As of FortiOS 5.2.1, whose records are a week ahead (netflow9_test_fortigate_fortios_521_data257)."""
    begin = 100_000 + int(days * DAY)
    of_nine = nine(
        template(9, 256, *PLAIN, (22, 4), (21, 4)),
        data(256, ENDS + struct.pack(">II", begin, begin + 9_000)),
    )
    for payload in (five(record_five(first=begin, last=begin + 9_000)), of_nine):
        decoded = decode(payload)
        (row,) = decoded.table.to_pylist()
        assert [row["first_seen_at"], row["last_seen_at"]] == [after(-9_000), after(0)]
        assert decoded.noted == {NO_TIME: 1}


@pytest.mark.parametrize("days", [1, 20, 24])
def test_flows_that_began_days_before_the_uptime_wrapped_began_then(days: int) -> None:
    (row,) = rows(five(record_five(first=2**32 - days * DAY, last=500), uptime=1_000))
    assert [row["first_seen_at"], row["last_seen_at"]] == [after(-days * DAY - 1_000), after(-500)]
