"""Usage as numbers: five rows written by hand, their features counted by hand."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.errors import InputError
from subsight.models.offers import encoding

ROWS: list[dict[str, Any]] = [
    {"policies": ["Encrypted"], "contents": ["Web", "Video"], "protocols": ["TCP"], "applications": ["TLS"],
     "ul_bytes": 10, "dl_bytes": 100, "session_count": 1, "duration_s": 5.0},
    {"policies": ["Encrypted"], "contents": ["Video"], "protocols": ["TCP", "UDP"],
     "applications": ["QUIC", "TLS"], "ul_bytes": 20, "dl_bytes": 200, "session_count": 1, "duration_s": 5.0},
    {"policies": ["ClearText", "ClearText"], "contents": [], "protocols": ["UDP"], "applications": ["DNS"],
     "ul_bytes": 30, "dl_bytes": 300, "session_count": 1, "duration_s": None},
    {"policies": ["ClearText", None], "contents": None, "protocols": ["UDP"], "applications": ["DNS"],
     "ul_bytes": None, "dl_bytes": 400, "session_count": 1, "duration_s": 6.0},
    {"policies": ["Encrypted"], "contents": ["Web"], "protocols": ["UDP"], "applications": ["QUIC"],
     "ul_bytes": 40, "dl_bytes": 1_000_000, "session_count": 1, "duration_s": 7.0},
]  # fmt: skip
TEXTS = pa.list_(pa.string())
NUMBERS = ("ul_bytes", "dl_bytes", "session_count", "duration_s")
SCHEMA = pa.schema([(name, TEXTS) for name in encoding.LISTS] + [(name, pa.float64()) for name in NUMBERS])


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


def test_what_tells_rows_apart_is_a_feature() -> None:
    record = encoding.fit(table(ROWS))
    # TCP is in 2 of 5 rows, UDP in 4; every row has one session; each text is in two rows at least.
    assert record["lists"] == {
        "policies": ["ClearText", "Encrypted"],
        "contents": ["Video", "Web"],
        "protocols": ["TCP", "UDP"],
        "applications": ["DNS", "QUIC", "TLS"],
    }
    assert record["numbers"] == {
        "ul_bytes": {"median": 25.0, "is_log": False},
        "dl_bytes": {"median": 300.0, "is_log": True},
        "duration_s": {"median": 5.5, "is_log": False},
    }
    assert json.loads(json.dumps(record)) == record


def test_rows_become_numbers_and_what_is_missing_is_counted() -> None:
    record = encoding.fit(table(ROWS))
    found = encoding.encode(record, table(ROWS))
    assert encoding.features(record)[:3] == ["policies=ClearText", "policies=Encrypted", "contents=Video"]
    assert found.values[0].tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 1, 10, math.log1p(100), 5]
    assert found.values[2].tolist() == [1, 0, 0, 0, 0, 1, 1, 0, 0, 30, math.log1p(300), 5.5]
    assert found.values[3].tolist() == [1, 0, 0, 0, 0, 1, 1, 0, 0, 25, math.log1p(400), 6]
    assert {name: rows.nonzero()[0].tolist() for name, rows in found.filled.items()} == {
        "ul_bytes": [3], "dl_bytes": [], "duration_s": [2],
    }  # fmt: skip
    assert not any(counts.any() for counts in found.unseen.values())
    assert found.is_known.all()


def test_what_the_fit_did_not_know_is_ignored_and_counted() -> None:
    record = encoding.fit(table(ROWS))
    row = {**ROWS[0], "applications": ["TLS", "Zoom", "Zoom"], "policies": ["Blocked"], "ul_bytes": -5}
    found = encoding.encode(record, table([row]))
    assert found.values[0].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 1, 25, math.log1p(100), 5]
    counts = {name: rows.sum() for name, rows in found.unseen.items()}
    assert counts == {"policies": 1, "contents": 0, "protocols": 0, "applications": 2}
    assert found.filled["ul_bytes"].sum() == 1


def test_a_row_is_encoded_alike_whatever_stands_beside_it() -> None:
    record = encoding.fit(table(ROWS))
    whole = encoding.encode(record, table(ROWS)).values
    chunked = pa.concat_tables([table(ROWS[:2]), table(ROWS[2:])])
    assert np.array_equal(encoding.encode(record, chunked).values, whole)
    assert np.array_equal(encoding.encode(record, chunked.slice(3)).values, whole[3:])


def test_vocabularies_are_capped_at_the_commonest() -> None:
    record = encoding.fit(table(ROWS), {"applications": 1, "policies": 1})
    assert record["lists"]["policies"] == ["Encrypted"]  # three rows against two
    assert record["lists"]["applications"] == ["DNS"]  # of three in two rows each the first by name


def test_bitmaps_hold_the_lists() -> None:
    record = encoding.fit(table(ROWS))
    # 0 1 | 1 1 | 1 0 | 0 0 1 and seven bits of padding: 01111000 1000 0000
    assert encoding.bitmaps(record, table(ROWS[:1])) == ["7880"]


def test_each_list_varies_as_one_number_does() -> None:
    record = encoding.fit(table(ROWS))
    values = encoding.encode(record, table(ROWS)).values
    spread = (values / encoding.deviations(record, values)).var(axis=0)
    ends = [0, 2, 4, 6, 9, 10, 11, 12]
    assert [spread[a:b].sum() for a, b in pairwise(ends)] == pytest.approx([1.0] * 7)
    doubled = (values / encoding.deviations(record, values, 2.0)).var(axis=0)
    assert doubled[:2].sum() == pytest.approx(2.0)
    assert doubled[9] == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [[], [ROWS[0]], [ROWS[0], ROWS[0]]])
def test_rows_that_cannot_be_told_apart_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError):
        encoding.fit(table(rows))


def test_real_usage_is_encoded(dpi_usage: Path) -> None:
    names = {"policies": "DpiPolicy", "contents": "contentType", "protocols": "IpProtocol",
             "applications": "appName", "ul_bytes": "bytesFromClient", "dl_bytes": "bytesFromServer",
             "session_count": "sessions_count", "duration_s": "transationDuration"}  # fmt: skip
    read = pq.read_table(dpi_usage)
    given = pa.table({name: read[header] for name, header in names.items()})
    record = encoding.fit(given)
    found = encoding.encode(record, given)
    places = {name: i for i, name in enumerate(encoding.features(record))}
    by_hand = sum("DNS" in row for row in read["appName"].to_pylist())
    assert found.values[:, places["applications=DNS"]].sum() == by_hand > 1
    assert np.isfinite(found.values).all()


def test_a_row_of_which_nothing_is_known_is_told_apart() -> None:
    record = encoding.fit(table(ROWS))
    nothing = {"applications": ["nobody's"], "ul_bytes": 0, "dl_bytes": None, "session_count": 3}
    found = encoding.encode(record, table([ROWS[0], nothing, {"protocols": ["UDP"]}, {"ul_bytes": 1}]))
    # Sessions are no feature here: all of the fit had one.
    assert found.is_known.tolist() == [True, False, True, True]
    assert found.unseen["applications"].tolist() == [0, 1, 0, 0]


def test_columns_are_what_the_table_has() -> None:
    given = table(ROWS).select(["applications", "dl_bytes"])
    record = encoding.fit(given)
    assert encoding.features(record) == [
        "applications=DNS", "applications=QUIC", "applications=TLS", "dl_bytes",
    ]  # fmt: skip
    # One that is not there is as unknown as one that is null.
    lacking = encoding.encode(record, given.select(["applications"]))
    assert lacking.filled["dl_bytes"].all()
    assert (lacking.values[:, -1] == np.log1p(300.0)).all()
