"""A file is recognised for what it is, or refused with words that help."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.errors import InputError
from subsight.settings import Settings
from subsight.sources import files, inspection, xdr
from subsight.store import CsvFormat, Store

TEXT = "MSISDN,Start,Cell\n33610000001,2024-05-01 10:00:00,Zürich\n33610000002,2024-05-01 11:00:00,Bern\n"
HEADER = ("MSISDN", "Start", "Cell")


def write(folder: Path, content: bytes | str, name: str = "input.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("latin-1", "cp1252"), ("utf-16", "utf-16")],
)
def test_encodings(tmp_path: Path, encoding: str, expected: str) -> None:
    file = files.recognise(write(tmp_path, TEXT, encoding=encoding))
    assert file.csv == CsvFormat(",", expected)  # type: ignore[arg-type]
    assert file.header == HEADER
    assert file.kind == "csv"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_encodings_are_read_as_recognised(duck: Store, tmp_path: Path, encoding: str) -> None:
    file = files.recognise(write(tmp_path, TEXT, encoding=encoding))
    rows = duck.rows(xdr.records(duck, file).sort("record"))
    assert [tuple(row.values()) for row in rows] == [
        (1, "33610000001", "2024-05-01 10:00:00", "Zürich"),
        (2, "33610000002", "2024-05-01 11:00:00", "Bern"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_a_first_line_may_declare_the_delimiter(duck: Store, tmp_path: Path, encoding: str) -> None:
    text = "sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n") + "1;2\r\n"
    file = files.recognise(write(tmp_path, text, encoding=encoding))
    assert file.header == HEADER
    rows = duck.rows(xdr.records(duck, file).sort("record"))
    assert [row["c2"] for row in rows] == ["Zürich", "Bern"]
    # And no line is taken for one that a quote swallowed.
    duck.keep(xdr.records(duck, file))
    assert len(duck.ragged_lines()) == 1


def test_a_stray_control_character_is_one_of_a_record(duck: Store, tmp_path: Path) -> None:
    text = TEXT.replace("Bern", "Be\0rn") + "33610000003,2024-05-01 12:00:00,Chur\n" * 40
    file = files.recognise(write(tmp_path, text))
    rows = duck.rows(xdr.records(duck, file).sort("record"))
    assert [row["c2"] for row in rows] == ["Zürich", "Be\0rn", *["Chur"] * 40]


def test_a_carriage_return_inside_a_line_is_named(duck: Store, tmp_path: Path) -> None:
    file = files.recognise(write(tmp_path, TEXT.replace("Bern", "Be\rrn") + "1,2,3\n" * 9))
    with pytest.raises(InputError, match="a carriage return inside line 3"):
        duck.keep(xdr.records(duck, file))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    file = files.recognise(write(tmp_path, TEXT.replace(",", delimiter)))
    assert file.csv == CsvFormat(delimiter, "utf-8")
    assert file.header == HEADER


def test_a_header_may_quote_its_delimiter(tmp_path: Path) -> None:
    file = files.recognise(write(tmp_path, '"Volume, DL";"Volume, UL";Start\n1;2;3\n4;5;6\n'))
    assert file.csv == CsvFormat(";", "utf-8")
    assert file.header == ("Volume, DL", "Volume, UL", "Start")


@pytest.mark.parametrize("name", ["input.csv.gz", "input.csv.zst"])
def test_compressed(duck: Store, tmp_path: Path, name: str) -> None:
    packed = gzip.compress(TEXT.encode()) if name.endswith("gz") else zstd(TEXT.encode())
    file = files.recognise(write(tmp_path, packed, name))
    assert file.header == HEADER
    assert len(duck.rows(xdr.records(duck, file))) == 2


@pytest.mark.parametrize("name", ["input.csv.gz", "input.csv.zst"])
def test_cut_short(tmp_path: Path, name: str) -> None:
    text = TEXT + "".join(
        f"3361{i * 7919 % 10_000_000:07d},2024-05-01 12:00:00,Chur\n" for i in range(200_000)
    )
    packed = gzip.compress(text.encode()) if name.endswith("gz") else zstd(text.encode())
    with pytest.raises(InputError, match=r"input\.csv\.(gz|zst) cannot be read(.|\n)*arrived complete"):
        files.recognise(write(tmp_path, packed[: len(packed) * 9 // 10], name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"input\.csv is empty"),
        (b"\n\n  \n", r"input\.csv is empty"),
        (b"MSISDN,Start,Cell\n", "found: a header only"),
        (b"just some words\nand some more\n", "no delimited table"),
        (bytes(range(256)) * 40, "not text"),
        (b"\x7fELF\x02\x01\x01\0\0\0\xff\xfe" * 99, "not text"),
        (b"MSISDN,Start,Cell\n" + b"1;2;3\n" * 5, "does not have one table's shape"),
        (b"PAR1 and no Parquet", "damaged Parquet"),
        (b'{"all": [' + b"1 " * 150_000 + b"]}", "no delimited table"),
    ],
    ids=["empty", "blank", "header", "prose", "bytes", "binary", "delimiter", "parquet", "one long line"],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        files.recognise(write(tmp_path, content))
    assert caught.value.exit_code == 3


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read(.|\n)*no such file(.|\n)*check the path"):
        files.recognise(tmp_path / "absent.csv")
    with pytest.raises(InputError, match=r"a folder(.|\n)*name one of its files"):
        files.recognise(tmp_path)
    with pytest.raises(InputError, match="there is no input at"):
        files.expand([tmp_path / "absent.csv"])


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "input.parquet"
    pq.write_table(pa.table({"MSISDN": ["1"], "Start": ["2"]}), path)
    file = files.recognise(path)
    assert (file.kind, file.header, file.csv) == ("parquet", ("MSISDN", "Start"), None)
    pq.write_table(pa.table({"MSISDN": pa.array([], pa.string())}), path)
    with pytest.raises(InputError, match="columns but no records"):
        files.recognise(path)


def test_folders_and_globs_name_each_file_once(tmp_path: Path) -> None:
    first, second = write(tmp_path, TEXT, "b.csv"), write(tmp_path, TEXT, "a.csv.gz")
    write(tmp_path, TEXT, "readme.md")
    assert files.expand([tmp_path]) == [second, first]
    assert files.expand([tmp_path / "*.csv", tmp_path]) == [first, second]
    assert files.expand([str(first), str(first)]) == [first]
    with pytest.raises(InputError, match="expected: a file, a folder or a glob"):
        files.expand([tmp_path / "*.parquet"])


def test_a_folder_without_tables_is_no_input(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "readme.md")
    with pytest.raises(InputError, match="there is no input at"):
        files.expand([tmp_path])


def test_columns_that_nobody_can_map_are_named(duck: Store, tmp_path: Path) -> None:
    file = files.recognise(write(tmp_path, "colour,weight\nred,1\nblue,2\n"))
    with pytest.raises(
        inspection.MappingError, match=r"subscriber_id(.|\n)*colour, weight(.|\n)*--mapping"
    ) as caught:
        inspection.choose(duck, file, Settings())
    assert caught.value.exit_code == 4
    found = inspection.inspect(duck, file, Settings())
    assert str(found.lacking) == str(caught.value)
    assert [(c.source, c.column) for c in found.columns] == [("colour", None), ("weight", None)]
    assert found.file["records"] == 2
