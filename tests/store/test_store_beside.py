"""Tables of the same keys, side by side, on every engine."""

from __future__ import annotations

from pathlib import Path

import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.store import Store

COUNT = 300_000


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of more than one row group each, of other sizes; a key says what stands beside it."""
    folder = tmp_path_factory.mktemp("it's")
    keys = [f"{i:08x}" for i in range(COUNT)]
    files = {"one": {"key": keys, "a b": range(COUNT)}, "two": {"key": keys, "twice": range(0, 2 * COUNT, 2)}}
    for size, (name, columns) in zip((70_000, 110_000), files.items(), strict=True):
        pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), folder / name, row_group_size=size)
    return [folder / name for name in files]


def test_rows_of_one_key_stand_side_by_side(store: Store, paths: list[Path]) -> None:
    frame = store.beside(dict.fromkeys(paths, ()), "key", "place")
    assert sorted(frame.collect_schema().names()) == ["a b", "key", "place", "twice"]
    right = (nw.col("twice") == nw.col("a b") * 2) & (nw.col("place") == nw.col("a b") + 1)
    held = nw.when(right).then(1.0).otherwise(0.0).sum()
    assert store.row(frame.select(count=nw.len(), right=held)) == {"count": COUNT, "right": COUNT}
    (last,) = store.rows(frame.filter(nw.col("key") == f"{COUNT - 1:08x}"))
    assert last == {"key": f"{COUNT - 1:08x}", "a b": COUNT - 1, "twice": 2 * COUNT - 2, "place": COUNT}


def test_one_file_alone_is_numbered(store: Store, paths: list[Path]) -> None:
    rows = store.rows(store.beside({paths[0]: ()}, "key", "place").sort("key").head(2))
    assert [(row["a b"], row["place"]) for row in rows] == [(0, 1), (1, 2)]


def test_files_of_other_keys_are_not_beside_each_other(
    store: Store, paths: list[Path], tmp_path: Path
) -> None:
    def keyed(name: str, keys: list[str]) -> Path:
        pq.write_table(pa.table({"key": keys}), tmp_path / name)
        return tmp_path / name

    three = keyed("three", ["a", "b", "c"])
    assert store.are_beside(paths[0], paths[1], "key")
    assert store.are_beside(three, keyed("same", ["a", "b", "c"]), "key")
    for others in (["a", "b"], ["a", "b", "c", "d"], ["a", "b", "d"], ["b", "c", "d"], []):
        assert not store.are_beside(three, keyed("other", others), "key")
        assert not store.are_beside(tmp_path / "other", three, "key")


def test_an_engine_puts_beside_what_a_join_would(duck: Store, paths: list[Path]) -> None:
    found, joined = (
        duck.rows(
            beside({paths[0]: (), paths[1]: ["twice"]}, "key", "place")
            .sort("key")
            .head(1000)
            .select("key", "a b", "twice", "place")
        )
        for beside in (duck.beside, lambda *given: Store.beside(duck, *given))
    )
    assert found == joined
