"""Addresses and local hours on every engine, against Python's standard library."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsight.store import Address, HourStart, Scalar, Store, open_store

GOOD = [
    "10.0.0.1", "255.255.255.255", "0.0.0.0", " 192.168.1.20 ", "::", "::1", "1::", "2001:db8::1",
    "2001:DB8:0:0:1:0:0:1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "::ffff:1.2.3.4",
    "64:ff9b::192.0.2.33", "1:2:3:4:5:6:77.77.88.88", "fe80::1%eth0", "::8.8.8.8", "1:2:3:4:5::77.77.88.88",
]  # fmt: skip
BAD = [
    "", "10.0.0", "10.0.0.0.1", "256.1.1.1", "1.2.3.04", "1.2.3.-4", "+1.2.3.4", "a.b.c.d", "10.0.0.1/24",
    ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::1", "::1.2.3", "1.2.3.4::",
    "::1.2.3.256", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:1.2.3.4", "0a00000001", "10",
    "1:2:3:4:5:6:7:8:", ":1:2:3:4:5:6:7",
]  # fmt: skip


def mapped(text: str) -> str:
    """The standard library's own 128 bits."""
    address = ipaddress.ip_address(text.strip().partition("%")[0])
    if address.version == 4:
        address = ipaddress.ip_address(f"::ffff:{address}")
    return f"{int(address):032x}"


def derived(store: Store, scalar: Scalar, values: Any) -> list[Any]:
    frame = store.from_arrow(pa.table({"c": values, "i": range(len(values))}))
    found = store.derive(frame, {"answer": scalar}).select("i", "answer").sort("i")
    return [row["answer"] for row in store.rows(found)]


def test_addresses_of_both_versions_are_the_same_128_bits(store: Store) -> None:
    assert derived(store, Address("c"), GOOD) == [mapped(text) for text in GOOD]


def test_what_is_no_address_is_null(store: Store) -> None:
    for text in BAD:  # nor does the standard library take any of them
        with pytest.raises(ValueError, match=r".*"):
            ipaddress.ip_address(text)
    assert derived(store, Address("c"), [*BAD, None]) == [None] * (len(BAD) + 1)


def test_what_is_in_hex_already_stays(store: Store) -> None:
    digits = "20010DB8000000000000000000000001"
    assert derived(store, Address("c"), [digits]) == [digits.lower()]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), min_size=1, max_size=20))
def test_any_address_reads_as_the_standard_library_reads_it(addresses: list[Any]) -> None:
    texts = [str(address) for address in addresses]
    with open_store() as store:
        assert derived(store, Address("c"), texts) == [mapped(text) for text in texts]


@pytest.mark.parametrize(
    ("zone", "instant", "hour"),
    [
        # Madrid sets its clock back at 01:00 UTC on 29 October 2023: 02:00 to 03:00 is there twice.
        ("Europe/Madrid", datetime(2023, 10, 29, 0, 30, tzinfo=UTC), datetime(2023, 10, 29, 0, tzinfo=UTC)),
        ("Europe/Madrid", datetime(2023, 10, 29, 1, 30, tzinfo=UTC), datetime(2023, 10, 29, 1, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2024, 5, 1, 9, 59, tzinfo=UTC), datetime(2024, 5, 1, 9, 30, tzinfo=UTC)),
        ("Asia/Kathmandu", datetime(2024, 5, 1, 0, 20, tzinfo=UTC), datetime(2024, 5, 1, 0, 15, tzinfo=UTC)),
        ("UTC", datetime(2024, 5, 1, 23, 59, 59, 999999, tzinfo=UTC), datetime(2024, 5, 1, 23, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_local_hour_begins_where_the_wall_clock_says(
    store: Store, zone: str, instant: datetime, hour: datetime
) -> None:
    values = pa.array([instant], pa.timestamp("us", "UTC"))
    assert derived(store, HourStart("c", zone), values) == [hour]


def test_every_quarter_of_a_year_falls_into_its_hour() -> None:
    zone = "Australia/Lord_Howe"  # which moves its clock by half an hour
    instants = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(366 * 96)]
    with open_store() as store:
        found = derived(store, HourStart("c", zone), pa.array(instants, pa.timestamp("us", "UTC")))
    for instant, hour in zip(instants, found, strict=True):
        local = instant.astimezone(ZoneInfo(zone))
        assert instant - hour == timedelta(minutes=local.minute)
