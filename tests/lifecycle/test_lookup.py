"""Rows of few subscribers out of a file of many row groups: as a filter over the whole file finds them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.errors import StorageError
from subsight.lifecycle.lookup import Lookup

NAMES = [f"{n:04}" for n in range(0, 2000, 2)]
# Every fifth subscriber has three rows, so some lie across the border of two row groups.
ROWS = [
    {"subscriber_id": name, "offer_id": f"{name}-{n}", "more": 1.0}
    for place, name in enumerate(NAMES)
    for n in range(3 if place % 5 == 0 else 1)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet", row_group_size=64)
    return tmp_path / "rows.parquet"


def expected(*names: str) -> list[dict[str, Any]]:
    return [
        {n: row[n] for n in ("subscriber_id", "offer_id")} for row in ROWS if row["subscriber_id"] in names
    ]


def test_every_name_is_found_and_no_other(path: Path) -> None:
    lookup = Lookup(path, ("offer_id", "unheard_of"))
    assert lookup.schema.names == ["subscriber_id", "offer_id"]
    for name in [*NAMES, "", "0001", "1999", "a"]:
        assert lookup.rows([name]).to_pylist() == expected(name)


@pytest.mark.parametrize("count", [0, 2, 32, 33, 900])
def test_many_are_found_at_once_in_the_order_of_the_file(path: Path, count: int) -> None:
    names = [*NAMES[::-1][:count], *NAMES[:1], "none"] if count else []
    assert Lookup(path, ("offer_id",)).rows(names).to_pylist() == expected(*names)


@pytest.mark.parametrize("kept_bytes", [0, 10_000])
def test_what_is_forgotten_is_read_again(path: Path, kept_bytes: int) -> None:
    lookup = Lookup(path, ("offer_id",), kept_bytes)
    for name in [*NAMES[::100], *NAMES[::-100]]:
        assert lookup.rows([name]).to_pylist() == expected(name)


def test_threads_get_their_own(path: Path) -> None:
    lookup = Lookup(path, ("offer_id",), 3_000)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda name: lookup.rows([name]).to_pylist(), NAMES * 2))
    assert found == [expected(name) for name in NAMES] * 2


def test_a_file_without_bounds_or_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=64, write_statistics=False)
    assert Lookup(file, ("offer_id",)).rows(["0010"]).to_pylist() == expected("0010")
    pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), file)
    assert Lookup(file).rows(["0010"]).to_pylist() == []


def test_a_file_that_went_is_said(path: Path) -> None:
    lookup = Lookup(path)
    path.unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        lookup.rows(["0010"])
