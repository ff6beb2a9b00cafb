"""Files in and out of every engine."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.errors import InputError, StorageError
from subsight.store import SWALLOWED, CsvFormat, Instant, Number, Store, open_store


def rows(store: Store, frame: Any, by: str = "record") -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in store.rows(frame.sort(by))]


def csv_file(folder: Path, content: bytes | str, name: str = "input.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def test_csv_is_text_numbered_by_position(store: Store, tmp_path: Path) -> None:
    text = 'Dur. (ms),Dur. (ms)\n1.10, x \n"",\nNA,007\n"a ""b""",1e5\n'
    frame = store.keep(store.read_csv(csv_file(tmp_path, text), 2, CsvFormat()))
    assert frame.collect_schema().names() == ["record", "c0", "c1"]
    expected = [(1, "1.10", " x "), (2, None, None), (3, "NA", "007"), (4, 'a "b"', "1e5")]
    assert rows(store, frame) == expected
    assert store.ragged_lines() == []


def test_csv_quoted_line_breaks_and_ragged_lines(store: Store, tmp_path: Path) -> None:
    text = 'a,b\n1,"x\ny"\n2\n3,"p,q"\n4,5,6\n\n7,"""\r\n"\n8\n'
    frame = store.keep(store.read_csv(csv_file(tmp_path, text), 2, CsvFormat()))
    assert rows(store, frame) == [(1, "1", "x\ny"), (2, "3", "p,q"), (3, "7", '"\r\n')]
    ragged = store.ragged_lines()
    # A quoted line break does not count, an empty line does.
    assert [line for line, _ in ragged] == RAGGED_LINES
    assert all("Columns: 2" in fault for _, fault in ragged)
    assert store.ragged_lines() == []


RAGGED_LINES = [3, 5, 8]


def test_ragged_lines_are_those_of_the_last_file(store: Store, tmp_path: Path) -> None:
    store.keep(store.read_csv(csv_file(tmp_path, "a,b\n1\n", "one.csv"), 2, CsvFormat()))
    store.keep(store.read_csv(csv_file(tmp_path, "a,b\n1,2\n3,4,5\n", "two.csv"), 2, CsvFormat()))
    assert [line for line, _ in store.ragged_lines()] == [3]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_lines_behind_a_quote_that_is_not_closed_are_counted(store: Store, tmp_path: Path, name: str) -> None:
    lines = [f"{i},x" for i in range(1, 101)]
    lines[39] = '40,"x'  # 41 to 100 stand in a field that never ends
    text = "\n".join(["a,b", *lines, ""]).encode()
    path = csv_file(tmp_path, gzip.compress(text) if name.endswith("gz") else text, name)
    frame = store.keep(store.read_csv(path, 2, CsvFormat()))
    read = len(rows(store, frame))
    ragged = store.ragged_lines()
    assert read == 39
    assert [fault for _, fault in ragged].count(SWALLOWED) == 60
    assert read + len(ragged) == 100


def test_csv_bytes_that_are_no_text_are_a_fault(store: Store, tmp_path: Path) -> None:
    path = csv_file(tmp_path, b"a,b\n1,\xff\n3,4\n")
    assert rows(store, store.keep(store.read_csv(path, 2, CsvFormat()))) == [(1, "3", "4")]
    assert [line for line, _ in store.ragged_lines()] == [2]


@pytest.mark.parametrize(
    ("csv", "content"),
    [
        (CsvFormat(), "a,b\r\né,1;5\r\n,2\r\n".encode()),
        (CsvFormat(), "\ufeffa,b\né,1;5\n,2".encode()),
        (CsvFormat(";"), 'a;b\né;"1;5"\n;2\n'.encode()),
        (CsvFormat("\t"), "a\tb\né\t1;5\n\t2\n".encode()),
        (CsvFormat("|"), "a|b\né|1;5\n|2\n".encode()),
        (CsvFormat(",", "latin-1"), "a,b\né,1;5\n,2\n".encode("latin-1")),
        (CsvFormat(",", "cp1252"), "a,b\né,1;5\n,2\n".encode("cp1252")),
        (CsvFormat(";", skip=1), "sep=;\na;b\né;1;5\n".replace("1;5", '"1;5"').encode() + b";2\n"),
        (CsvFormat(",", "utf-16"), "a,b\né,1;5\n,2\n".encode("utf-16")),
    ],
    ids=["crlf", "bom", "semicolon", "tab", "bar", "latin-1", "cp1252", "skip", "utf-16"],
)
def test_csv_formats(store: Store, tmp_path: Path, csv: CsvFormat, content: bytes) -> None:
    frame = store.read_csv(csv_file(tmp_path, content), 2, csv)
    assert rows(store, frame) == [(1, "é", "1;5"), (2, None, "2")]


def test_windows_text_is_read_and_its_copy_is_gone_after(tmp_path: Path) -> None:
    """0x80 and 0x93 are a euro and a quotation mark; 0x81 is nothing, and a control in Latin-1."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    path = csv_file(tmp_path, gzip.compress(b"a,b\n\x80 \x93,\x81\xe9\n"), "a.csv.gz")
    with open_store("duckdb", memory="1GB", scratch=scratch) as store:
        for _ in range(2):
            assert rows(store, store.read_csv(path, 2, CsvFormat(",", "cp1252"))) == [(1, "€ “", "\x81é")]
        assert len(list(scratch.glob("text-*"))) == 2
        store.forget()
        assert not list(scratch.glob("text-*"))
        store.keep(store.read_csv(path, 2, CsvFormat(",", "cp1252")))
    assert not list(scratch.glob("text-*"))


def many_lines(count: int) -> bytes:
    return b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1000003) for i in range(1, count + 1))


def compressed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    return bytes(pa.compress(content, codec="zstd", asbytes=True)) if name.endswith(".zst") else content


@pytest.mark.parametrize(
    "name", ["many.csv", "many.csv.gz", "many.csv.zst", "many [1] *{2}?.csv", "_many.csv"]
)
def test_csv_compression_and_file_order(store: Store, tmp_path: Path, name: str) -> None:
    path = csv_file(tmp_path, compressed(name, many_lines(150_000)), name)
    csv_file(tmp_path, "a,b\n0,0\n", "many [1] beside {2}x.csv")
    frame = store.keep(store.read_csv(path, 2, CsvFormat()))
    c0 = nw.col("c0").cast(nw.Int64)
    answer = store.row(
        frame.select(
            rows=nw.len(),
            wrong=(c0 != nw.col("record")).cast(nw.Int64).sum(),
            total=nw.col("record").sum(),
        )
    )
    assert answer == {"rows": 150_000, "wrong": 0, "total": 150_000 * 150_001 // 2}


@pytest.mark.parametrize("name", ["cut.csv.gz", "cut.csv.zst"])
@pytest.mark.parametrize("fault", ["cut", "not compressed"])
def test_csv_that_is_not_whole(store: Store, tmp_path: Path, name: str, fault: str) -> None:
    whole = compressed(name, many_lines(50_000))
    path = csv_file(tmp_path, whole[: len(whole) // 2] if fault == "cut" else many_lines(9), name)
    with pytest.raises(InputError, match="cannot be read"):
        store.keep(store.read_csv(path, 2, CsvFormat()))


def test_csv_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read"):
        store.read_csv(tmp_path / "none.csv", 2, CsvFormat())


def test_empty_csv(store: Store, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b\n")
    frame = store.keep(store.read_csv(path, 2, CsvFormat()))
    assert rows(store, frame) == []
    assert frame.collect_schema().names() == ["record", "c0", "c1"]


def test_numbered_parquet(store: Store, tmp_path: Path) -> None:
    count = 20_000
    table = pa.table(
        {
            "Dur. (ms)": range(1, count + 1),
            "a `b`": [str(i) for i in range(count)],
            "wall": pa.array([datetime(2024, 7, 1, 12)] * count, pa.timestamp("us")),
            "exact": pa.array([datetime(2024, 7, 1, 12, tzinfo=UTC)] * count, pa.timestamp("us", tz="UTC")),
            "fine": pa.array([datetime(2024, 7, 1, 12)] * count, pa.timestamp("ns")),
        }
    )
    path = tmp_path / "x [1].parquet"
    pq.write_table(table, path, row_group_size=3_000)
    frame = store.numbered(path)
    assert frame.collect_schema().names() == ["record", "c0", "c1", "c2", "c3", "c4"]
    assert store.row(frame.select(wrong=(nw.col("record") != nw.col("c0")).cast(nw.Int64).sum())) == {
        "wrong": 0
    }
    scalars = {f"at{i}": Instant(f"c{i}", zone="Europe/Paris") for i in (2, 3, 4)}
    frame = store.derive(frame, {**scalars, "number": Number("c1")}).filter(nw.col("record") == count)
    early, late = datetime(2024, 7, 1, 10, tzinfo=UTC), datetime(2024, 7, 1, 12, tzinfo=UTC)
    row = store.row(frame.select("c0", "c1", "number", "at2", "at3", "at4"))
    assert list(row.values()) == [count, "19999", 19999.0, early, late, early]


@pytest.mark.parametrize(
    "content", [b"", b"PAR1 not a Parquet file PAR1", None], ids=["empty", "junk", "none"]
)
def test_numbered_parquet_that_cannot_be_read(store: Store, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.parquet cannot be read"):
        store.numbered(path)


def test_read_fills_columns_that_some_files_lack(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "operator=a [1]"
    folder.mkdir()
    paths = [folder / "one.parquet", folder / "two.parquet", folder / "_three.parquet"]
    pq.write_table(pa.table({"i": [1, 2], "a": ["x", None]}), paths[0])
    pq.write_table(pa.table({"i": [3], "b": [2.5]}), paths[1])
    pq.write_table(pa.table({"b": [3.5], "i": [4]}), paths[2])
    frame = store.read(paths)
    assert sorted(frame.collect_schema().names()) == ["a", "b", "i"]
    expected = [(1, "x", None), (2, None, None), (3, None, 2.5), (4, None, 3.5)]
    assert rows(store, frame.select("i", "a", "b"), by="i") == expected


def test_keep_computes_once(store: Store, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b\n1,2\n3,4\n")
    kept = store.keep(store.read_csv(path, 2, CsvFormat()))
    nothing = store.keep(kept.with_columns(none=nw.lit(None)).filter(nw.col("record") > 2))
    path.unlink()
    assert rows(store, kept) == [(1, "1", "2"), (2, "3", "4")]
    assert rows(store, nothing.select("record", "none")) == []


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_keep_records_numbers_in_file_order(store: Store, tmp_path: Path, kind: str) -> None:
    count = 150_000
    if kind == "csv":
        path = csv_file(tmp_path, many_lines(count).replace(b"\n7,", b"\n7,7,"))
        frame, expected = store.read_csv(path, 2, CsvFormat()), [*range(1, 7), *range(8, count + 1)]
    else:
        path, expected = tmp_path / "t.parquet", list(range(1, count + 1))
        pq.write_table(pa.table({"a": expected}), path, row_group_size=20_000)
        frame = store.numbered(path)
    kept = store.keep_records(store.derive(frame, {"number": Number("c0")}).select("record", "number"))
    answer = store.arrow(kept.select("record", "number").sort("record")).to_pydict()
    assert answer == {"record": list(range(1, len(expected) + 1)), "number": expected}


TABLE = pa.table(
    {
        "key": ["b", "a", None, "c"],
        "at": pa.array(
            [
                datetime(2024, 3, 31, 1, 0, 0, 1, tzinfo=UTC),
                None,
                datetime(1969, 7, 20, 20, 17, tzinfo=UTC),
                datetime(2024, 10, 27, 0, 59, tzinfo=UTC),
            ],
            pa.timestamp("us", tz="UTC"),
        ),
        "day": pa.array([date(2024, 2, 29), None, date(1969, 7, 20), date(2024, 1, 1)]),
        "count": pa.array([1, 2**53 + 1, None, -1], pa.int64()),
        "share": [0.1, None, float("inf"), 1e-300],
        "flag": [True, False, None, True],
    }
)


def test_arrow_gives_back_what_from_arrow_took(store: Store) -> None:
    table = store.arrow(store.from_arrow(TABLE).sort("key", nulls_last=True))
    assert table.schema.types == TABLE.schema.types
    assert table.to_pylist() == sorted(TABLE.to_pylist(), key=lambda row: row["key"] or "z")
    empty = store.from_arrow(TABLE.slice(0, 0))
    assert store.arrow(empty).schema.names == TABLE.schema.names
    assert store.rows(empty) == []


def test_row_wants_one_row(store: Store) -> None:
    frame = store.from_arrow(pa.table({"i": [1, 2]}))
    assert store.row(frame.select(total=nw.col("i").sum())) == {"total": 3}
    with pytest.raises(ValueError, match="unpack"):
        store.row(frame)


def test_write_one_ordered_file_that_others_read_alike(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "table [1].parquet"
    assert store.write(store.from_arrow(TABLE), path, ["key"]) == 4
    assert list(tmp_path.iterdir()) == [path]
    expected = sorted(TABLE.to_pylist(), key=lambda row: row["key"] or "z")
    written = pq.read_table(path)
    assert written.to_pylist() == expected
    assert written.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert written.schema.types == TABLE.schema.types
    with duckdb.connect() as other:
        other.execute("SET TimeZone = 'UTC'")
        relation = other.read_parquet(str(path).replace("[", "[[]"))
        kinds = ["VARCHAR", "TIMESTAMP WITH TIME ZONE", "DATE", "BIGINT", "DOUBLE", "BOOLEAN"]
        assert [str(kind) for kind in relation.types] == kinds
        assert relation.to_arrow_table().to_pylist() == expected


def test_write_orders_by_several_columns_in_one_file(store: Store, tmp_path: Path) -> None:
    count = 30_000
    frame = store.from_arrow(pa.table({"a": [i % 7 for i in range(count)], "b": [-i for i in range(count)]}))
    assert store.write(frame, tmp_path / "t.parquet", ["a", "b"]) == count
    written = pq.read_table(tmp_path / "t.parquet").to_pydict()
    pairs = list(zip(written["a"], written["b"], strict=True))
    assert pairs == sorted((i % 7, -i) for i in range(count))


def test_write_replaces_and_may_be_empty(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    store.write(store.from_arrow(TABLE), path)
    empty = store.from_arrow(TABLE.slice(0, 0)).with_columns(none=nw.lit(None))
    assert store.write(empty, path, ["key"]) == 0
    assert pq.read_schema(path).names == [*TABLE.schema.names, "none"]
    assert list(tmp_path.iterdir()) == [path]


def failing(store: Store) -> Any:
    """A frame that breaks while it is computed."""
    count = 50_000
    table = pa.table({"text": [*["1"] * count, "no number"], "i": range(count + 1)})
    return store.from_arrow(table).with_columns(number=nw.col("text").cast(nw.Int64))


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    store.write(store.from_arrow(TABLE), path)
    before = path.read_bytes()
    with pytest.raises(StorageError):
        store.write(failing(store), path, ["i"])
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_write_to_a_folder_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        store.write(store.from_arrow(TABLE), tmp_path / "none" / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_write_to_a_path_that_is_a_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(StorageError):
        store.write(store.from_arrow(TABLE), tmp_path / "t.parquet")
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]


def test_quantiles_interpolate_between_the_observed_values(store: Store) -> None:
    # 1, 2, 4, 10: the quartiles lie at positions 0.75, 1.5 and 2.25.
    table = pa.table({"a": [4, None, 1, 10, 2], "b": pa.array([None] * 5, pa.float64())})
    found = store.quantiles(store.from_arrow(table), ["a", "b"], (0.25, 0.5, 0.75))
    assert found == {"a": [1.75, 3.0, 5.5], "b": [None, None, None]}


def test_what_was_kept_is_forgotten_and_the_store_goes_on(store: Store) -> None:
    kept = store.keep(store.from_arrow(pa.table({"a": [1, 2]})))
    assert len(store.rows(kept)) == 2
    store.forget()
    with pytest.raises(Exception, match=r"(?i)kept_|exist|not found|no such"):
        store.rows(kept)
    assert store.rows(store.from_arrow(pa.table({"a": [3]}))) == [{"a": 3}]
