"""Every scalar on every engine, against values worked out by hand or by Python's standard library."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from subsight.privacy import normalise, pseudonym
from subsight.store import (
    Digits,
    LocalDate,
    LocalHour,
    Number,
    OrderHash,
    Pseudonym,
    RecordHash,
    Scalar,
    Seconds,
    Store,
    Text,
)

NBSP = "\u00a0"


def derived(store: Store, scalar: Scalar, **columns: list[Any] | pa.Array) -> list[Any]:
    """One scalar's values, in the order of the rows given."""
    table = pa.table({**columns, "i": range(len(next(iter(columns.values()))))})
    frame = store.derive(store.from_arrow(table), {"answer": scalar})
    return [row["answer"] for row in store.rows(frame.select("i", "answer").sort("i"))]


def test_text_is_trimmed_and_words_for_missing_are_null(store: Store) -> None:
    given = [" a b ", "", "  ", "NA", "n/a", "NaN", "NULL", "None", "nil", "-", "\\N", "#N/A", "undefined"]
    given += ["Undefined", f"{NBSP}x{NBSP}", "naan", None, "É"]
    expected = ["a b", *[None] * 11, None, None, "x", "naan", None, "É"]
    assert derived(store, Text("c", missing=("Undefined",)), c=given) == expected


def test_text_leaves_other_types_alone(store: Store) -> None:
    assert derived(store, Text("c"), c=pa.array([1.5, None, 0.0])) == [1.5, None, 0.0]


NUMBERS = {
    "1": 1.0,
    " 1 ": 1.0,
    "-2.5": -2.5,
    "+3": 3.0,
    ".5": 0.5,
    "5.": 5.0,
    "1e3": 1000.0,
    "1.31144834608449E+019": 1.31144834608449e19,
    "1795613.96": 1795613.96,
    "1e-400": 0.0,
    "1_000": 1000.0,
    "\t7": 7.0,
    "000012": 12.0,
    "": None,
    "abc": None,
    "1,5": None,
    "1 000": None,
    "1d": None,
    "1f": None,
    "0x10": None,
    "nan": None,
    "inf": None,
    "-Infinity": None,
    "1e400": None,
    "--1": None,
    "1e": None,
    "1__0": None,
}


def test_number(store: Store) -> None:
    assert derived(store, Number("c"), c=[*NUMBERS, None]) == [*NUMBERS.values(), None]


def test_number_of_a_number_is_itself_where_finite(store: Store) -> None:
    given = pa.array([1.5, float("inf"), float("nan"), None])
    assert derived(store, Number("c"), c=given) == [1.5, None, None, None]
    assert derived(store, Number("c"), c=pa.array([3, None], pa.int64())) == [3.0, None]


IDENTIFIERS = {
    "33664962239": "33664962239",
    " +33 6 64 96 22 39 ": "33664962239",
    "33664962239.0": "33664962239",
    "33664962239.00\t": "33664962239",
    "3.3664E+10": None,
    "1.31144834608449e+019": None,
    "33664962239.5": "336649622395",
    "1.2.0": "120",
    "abcd": "",
    "e": None,
    "0041-79": "004179",
    "": "",
    f"{NBSP}12{NBSP}": "12",
}


def test_digits_agree_with_normalise(store: Store) -> None:
    expected = [value or None for value in IDENTIFIERS.values()]
    assert [normalise(text) for text in IDENTIFIERS] == expected
    assert derived(store, Digits("c"), c=[*IDENTIFIERS, None]) == [*expected, None]


def test_digits_of_numbers(store: Store) -> None:
    doubles = pa.array([33664962239.0, 2.0**53 - 1, 2.0**53, 1.31144834608449e19, float("nan"), None])
    expected = ["33664962239", "9007199254740991", None, None, None, None]
    assert derived(store, Digits("c"), c=doubles) == expected
    assert derived(store, Digits("c"), c=pa.array([33664962239, None], pa.int64())) == ["33664962239", None]


@pytest.mark.parametrize(
    "key", [b"k" * 32, b"\x00\xff'\"\\" * 9, b"long" * 40], ids=["plain", "bytes", "long"]
)
def test_pseudonym_is_the_hmac(store: Store, key: bytes) -> None:
    given = ["33664962239", "", "é" * 40, "x" * 200, None]
    expected = [hmac.new(key, t.encode(), hashlib.sha256).hexdigest()[:32] for t in given[:4]]
    assert expected[0] == pseudonym(given[0], key)
    assert derived(store, Pseudonym("c", key), c=given) == [*expected, None]


def test_pseudonyms_under_two_keys_in_one_frame(store: Store) -> None:
    frame = store.from_arrow(pa.table({"c": ["33664962239"]}))
    frame = store.derive(frame, {"first": Pseudonym("c", b"one" * 11)})
    frame = store.derive(frame, {"second": Pseudonym("c", b"two" * 11)})
    row = store.row(frame)
    assert row["first"] == pseudonym("33664962239", b"one" * 11)
    assert row["second"] == pseudonym("33664962239", b"two" * 11)


def test_order_hash(store: Store) -> None:
    given = ["33664962239", "", "é"]
    expected = [int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) for text in given]
    assert derived(store, OrderHash("c"), c=[*given, None]) == [*expected, None]


def test_record_hash(store: Store) -> None:
    rows = [("a", "b"), ("a", None), (None, "a"), ("", "é"), ("ab", ""), ("a", "b")]
    expected = [
        hashlib.md5("\x1f".join("\x1e" if v is None else v for v in row).encode()).hexdigest() for row in rows
    ]
    answers = derived(store, RecordHash(("x", "y")), x=[r[0] for r in rows], y=[r[1] for r in rows])
    assert answers == expected
    assert len(set(answers)) == 5


PARIS = ZoneInfo("Europe/Paris")
# The hours around both changes of the clock, the turn of a year, and a leap day.
INSTANTS = [
    *[datetime(2024, 3, 30, 22, 30, tzinfo=UTC) + timedelta(hours=h) for h in range(5)],
    *[datetime(2024, 10, 26, 21, 59, 59, 999999, tzinfo=UTC) + timedelta(hours=h) for h in range(5)],
    datetime(2023, 12, 31, 23, 0, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
]


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Asia/Kolkata", "UTC"])
def test_local_date_and_hour(store: Store, zone: str) -> None:
    column = pa.array([*INSTANTS, None], pa.timestamp("us", tz="UTC"))
    local = [instant.astimezone(ZoneInfo(zone)) for instant in INSTANTS]
    assert derived(store, LocalDate("at", zone), at=column) == [*[t.date() for t in local], None]
    assert derived(store, LocalHour("at", zone), at=column) == [*[t.hour for t in local], None]


def test_local_date_is_a_date_and_hour_an_integer(store: Store) -> None:
    at = pa.array([datetime(2024, 3, 31, 22, 30, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
    frame = store.derive(
        store.from_arrow(pa.table({"at": at})),
        {"d": LocalDate("at", "Europe/Paris"), "h": LocalHour("at", "UTC")},
    )
    table = store.arrow(frame.select("d", "h"))
    assert [str(t) for t in table.schema.types] == ["date32[day]", "int64"]
    assert table.to_pylist() == [{"d": date(2024, 4, 1), "h": 22}]


def test_seconds(store: Store) -> None:
    kind = pa.timestamp("us", tz="UTC")
    first = datetime(2019, 4, 4, 12, 1, tzinfo=UTC)
    spans = [timedelta(0), timedelta(days=21, microseconds=1), timedelta(seconds=-90, milliseconds=-5)]
    answers = derived(
        store,
        Seconds("s", "e"),
        s=pa.array([*[first] * 3, None, first], kind),
        e=pa.array([*[first + span for span in spans], first, None], kind),
    )
    assert answers == [0.0, 1814400.000001, -90.005, None, None]
