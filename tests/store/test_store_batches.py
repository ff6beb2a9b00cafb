"""Rows that a function sees in batches, and rows of one key made one, alike on every engine."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from subsight.store import Store

WIDE = pa.schema([("i", pa.int64()), ("double", pa.float64()), ("texts", pa.list_(pa.string()))])


def doubling() -> Callable[[pa.Table], pa.Table]:
    """A function that another process can be sent: it could not import this module."""

    def doubled(table: pa.Table) -> pa.Table:
        double = pc.multiply(table["i"].cast(pa.float64()), 2)
        return pa.table({"i": table["i"], "double": double, "texts": table["texts"]})

    return doubled


def test_a_function_sees_every_row_once_whatever_the_batches(store: Store) -> None:
    count = 1_234
    given = pa.table({"i": range(count), "texts": [["a"] if i % 2 else None for i in range(count)]})
    frame = store.from_arrow(given)
    sizes: list[int] = []
    for rows in (100, 10_000):
        found = store.rows(store.map_batches(frame, doubling(), WIDE, rows=rows).sort("i"))
        assert [row["i"] for row in found] == list(range(count))
        assert all(row["double"] == 2 * row["i"] for row in found)
        assert [row["texts"] for row in found[:2]] == [None, ["a"]]
        sizes.append(len(found))
    assert sizes == [count, count]


def test_batches_are_no_larger_than_asked(store: Store) -> None:
    frame = store.from_arrow(pa.table({"i": range(500)}))
    size = pa.schema([("size", pa.int64())])
    found = store.map_batches(frame, lambda t: pa.table({"size": [t.num_rows]}), size, rows=120)
    sizes = [row["size"] for row in store.rows(found)]
    assert sum(sizes) == 500
    assert max(sizes) <= 120


def test_a_frame_without_rows_keeps_the_schema(store: Store) -> None:
    empty = WIDE.empty_table().select(["i", "texts"])
    found = store.arrow(store.map_batches(store.from_arrow(empty), doubling(), WIDE))
    assert found.num_rows == 0
    assert found.column_names == ["i", "double", "texts"]


def test_rows_of_one_key_become_one(store: Store) -> None:
    given = pa.table({
        "who": ["a", "b", "a", "c", "b"],
        "hash": [1, 2, 1, 3, 2],
        "texts": pa.array([["z", "x"], None, ["é", "x"], None, []], pa.list_(pa.string())),
        "bytes": pa.array([2**52, None, 2**52, None, 5], pa.int64()),
        "seconds": [0.5, None, 1.0, None, None],
    })  # fmt: skip
    found = store.united(store.from_arrow(given), "who", ["texts"], ["bytes", "seconds"], "hash")
    assert store.rows(found.sort("who").select("who", "hash", "texts", "bytes", "seconds")) == [
        {"who": "a", "hash": 1, "texts": ["x", "z", "é"], "bytes": 2**53, "seconds": 1.5},
        {"who": "b", "hash": 2, "texts": [], "bytes": 5, "seconds": None},
        {"who": "c", "hash": 3, "texts": None, "bytes": None, "seconds": None},
    ]
