"""Survey answers: what is read, what is refused and why, on each engine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.errors import MappingError
from subsight.privacy import pseudonym
from subsight.settings import load
from subsight.sources import feedback, files, xdr
from subsight.store import Store, open_store

KEY = b"k" * 32
ANSWERS = """MSISDN_note,Subscriber_ID,answered_at,csat,nps
x,+33 6 64 96 22 39,2026-03-30T10:00:00Z,5,
x,0033664962239,2026-03-31 10:00:00,NA,0
x,{pseudonym},2026-03-31T12:00:00+02:00,1,10
x,33664962239,2026-03-31 10:00:00,,0
x,,2026-03-31 10:00:00,3,
x,33664962240,yesterday,3,
x,33664962240,,3,
x,33664962240,2026-03-31,6,
x,33664962240,2026-03-31,0,
x,33664962240,2026-03-31,3.5,
x,33664962240,2026-03-31,good,
x,33664962240,2026-03-31,,11
x,33664962240,2026-03-31,,
x,3.3664E+10,2026-03-31,4,
"""


def test_answers_are_read_and_every_refusal_has_a_reason(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text(ANSWERS.format(pseudonym="0A" * 16))
    reading = feedback.read(store, files.recognise(file), load(), KEY)
    him = pseudonym("33664962239", KEY)
    found = sorted(store.rows(reading.rows), key=lambda row: row["answered_at"])
    assert [(r["subscriber_id"], r["answered_at"].astimezone(UTC), r["csat"], r["nps"]) for r in found] == [
        (him, datetime(2026, 3, 30, 10, tzinfo=UTC), 5, None),
        # The zone's offset counts, and the time without one is UTC: at the same instant, two people.
        *sorted([
            (him, datetime(2026, 3, 31, 10, tzinfo=UTC), None, 0),
            ("0a" * 16, datetime(2026, 3, 31, 10, tzinfo=UTC), 1, 10),
        ], key=lambda row: [r["subscriber_id"] for r in found].index(row[0], 1)),
    ]  # fmt: skip
    assert {row["prediction_id"] for row in found} == {None}
    reasons = {(r["column"], r["reason"]): r["count"] for r in xdr.reject_reasons(store, reading.rejects, [])}
    assert reasons == {
        ("subscriber_id", "missing or no identifier"): 2,
        ("answered_at", "not readable"): 1,
        ("answered_at", "missing"): 1,
        ("csat", "above 5"): 1,
        ("csat", "below 1"): 1,
        ("csat", "not a whole number"): 1,
        ("csat", "not readable"): 1,
        ("nps", "above 10"): 1,
        ("", "no answer"): 1,
        ("", "identical to an earlier record"): 1,
    }


def test_a_typed_file_is_read_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "answers.parquet"
    at = datetime(2026, 3, 31, 10, tzinfo=UTC)
    table = pa.table({
        "subscriber_id": pa.array([33664962239, 33664962240], pa.int64()),
        "answered_at": pa.array([at, at], pa.timestamp("us", "UTC")),
        "nps": pa.array([7, 12], pa.int64()),
        "prediction_id": ["abc", None],
    })  # fmt: skip
    pq.write_table(table, file)
    with open_store() as store:
        reading = feedback.read(store, files.recognise(file), load(), KEY)
        (row,) = store.rows(reading.rows)
    assert (row["subscriber_id"], row["answered_at"], row["csat"], row["nps"], row["prediction_id"]) == (
        pseudonym("33664962239", KEY), at, None, 7, "abc"
    )  # fmt: skip


def test_what_is_no_file_of_answers_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("subscriber_id,when\n1,2\n")
    with open_store() as store, pytest.raises(MappingError, match="answered_at, csat or nps"):
        feedback.read(store, files.recognise(file), load(), KEY)
