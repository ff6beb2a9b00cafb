"""The highest rows of each column, on every engine, against sorting by hand."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from subsight.store import Store
from subsight.studies.groups import first_of_each

ROWS = 3_000


def _by_hand(rows: list[dict[str, float | None]], column: str, count: int) -> list[dict[str, float | None]]:
    known = [row for row in rows if row[column] is not None]
    return sorted(known, key=lambda row: (-(row[column] or 0), row["tie"]))[:count]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, float | None]]:
    """`apart` has no two equal values, `few` has four, `rare` is null but for three rows, `none` always."""
    draw = random.Random(4)
    ties = draw.sample(range(10 * ROWS), ROWS)
    return [
        {
            "tie": tie,
            "apart": tie * 0.5 - ROWS,
            "few": draw.randrange(4),
            "rare": i if i in (7, 1_500, 2_999) else None,
            "none": None,
        }
        for i, tie in enumerate(ties)
    ]


@pytest.mark.parametrize("columns", [["apart", "rare"], ["apart", "few", "rare", "none"], ["none"], []])
def test_the_highest_rows_of_each_column_are_found(
    store: Store, rows: list[dict[str, float | None]], columns: list[str]
) -> None:
    types = {"tie": pa.int64(), "apart": pa.float64(), "few": pa.int64(), "rare": pa.int64()}
    table = pa.Table.from_pylist(rows, pa.schema([*types.items(), ("none", pa.int64())]))
    found = first_of_each(store, store.from_arrow(table), columns, 5, tie="tie")
    # Of `few` some 750 rows are as high as the fifth: the lowest ties are the first.
    assert found == {column: _by_hand(rows, column, 5) for column in columns}


def test_the_highest_values_keep_equal_ones_and_leave_out_nulls(store: Store) -> None:
    frame = store.from_arrow(pa.table({"a": [3, 1, None, 3, 2], "b": pa.nulls(5, pa.int64())}))
    assert store.highest(frame, ["a", "b"], 3) == {"a": [3, 3, 2], "b": []}
