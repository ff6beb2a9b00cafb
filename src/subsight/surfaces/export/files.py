"""CSV and Parquet: written beside the target, read back, then renamed over it."""

from __future__ import annotations

import csv
import gzip
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from subsight.errors import ExportError
from subsight.surfaces.export.address import Address
from subsight.surfaces.export.evidence import Evidence, compare
from subsight.surfaces.export.rows import BATCH_ROWS, Rows, Totals, kinds_of

__all__ = ["write"]

# A spreadsheet runs a cell that begins so as a formula, full-width forms included.
_FORMULA: Final = "^[=+\\-@\t\r＝＋－＠]"
_BLOCK_BYTES: Final = 4 * 2**20


def write(address: Address, rows: Rows, name: str, if_exists: str) -> Evidence:
    """Write a new file, compare what it reads back as with what was sent, then put it in place.

    Appending copies the file that is there, so a failure leaves that one too. In CSV a null is an
    empty cell and an empty text is `""`; text that would be a formula gets a leading apostrophe.
    """
    assert address.path is not None
    path = Path(os.path.realpath(address.path))  # a link stays a link
    notes: list[str] = []
    with _explained(address), _scratch(path) as new, _scratch(path) as whole:
        existing = path.exists()
        if existing and if_exists == "fail":
            raise ExportError(
                f"{address.shown} is there already",
                expected="no file of that name",
                do="name another file, or allow it to be replaced or appended to",
            )
        appended = existing and if_exists == "append"
        if appended:
            _check_columns(address, path, rows.schema)
        totals = Totals(rows.schema)
        batches = totals.through(_guarded(rows, notes) if address.kind == "csv" else rows.batches())
        _write(address, new, rows.schema, batches, header=not appended)
        read = Totals(rows.schema)
        for batch in _read(address, new, rows.schema, header=not appended):
            read.add(batch)
        checks = compare(address.shown, kinds_of(rows.schema), totals.result, read.result)
        if appended:
            _join(address, path, new, whole, rows.schema)
        _put(whole if appended else new, path)
        first, count = _look(address, path, rows.schema)
    said = f"the first rows of {address.shown}, read back from the file"
    return Evidence(address.shown, name, count, checks, said, first, totals.count, (*rows.notes, *notes))


def _guarded(rows: Rows, notes: list[str]) -> Iterator[pa.RecordBatch]:
    """The batches with formulas made text; `notes` gets the counts at the end."""
    counts: dict[str, int] = {}
    for batch in rows.batches():
        columns = []
        for values, field in zip(batch.columns, rows.schema, strict=True):
            if pa.types.is_string(field.type):
                formula = pc.match_substring_regex(values, _FORMULA)
                found = pc.sum(formula).as_py() or 0
                if found:
                    values = pc.if_else(formula, pc.binary_join_element_wise("'", values, ""), values)
                    counts[field.name] = counts.get(field.name, 0) + found
            columns.append(values)
        yield pa.record_batch(columns, schema=rows.schema)
    notes += [
        f"{name}: {count:,} values that a spreadsheet would run as a formula got a leading apostrophe"
        for name, count in counts.items()
    ]


def _write(
    address: Address, path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, header: bool
) -> None:
    with path.open("wb") as file:
        if address.kind == "parquet":
            with pq.ParquetWriter(file, schema, compression="zstd") as parquet:
                for batch in batches:
                    parquet.write_batch(batch)
        else:
            options = pa_csv.WriteOptions(include_header=header)
            packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if _is_gzip(address) else None
            with (
                packed or nullcontext(file) as sink,  # closing the packer leaves the file open
                pa_csv.CSVWriter(sink, schema, write_options=options) as writer,
            ):
                for batch in batches:
                    writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())


def _unpacked(address: Address, path: Path) -> Any:
    return pa.input_stream(str(path), compression="gzip" if _is_gzip(address) else None)


def _read(
    address: Address, path: Path, schema: pa.Schema, *, header: bool = True
) -> Iterator[pa.RecordBatch]:
    if address.kind == "parquet":
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS)
        return
    if not path.stat().st_size:
        return
    with _unpacked(address, path) as source:
        if not header and not source.read(1):
            return
    with _unpacked(address, path) as source:
        reader = pa_csv.open_csv(
            source,
            read_options=pa_csv.ReadOptions(
                block_size=_BLOCK_BYTES, column_names=None if header else schema.names
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=schema,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        with closing(reader):
            yield from reader


def _join(address: Address, path: Path, new: Path, whole: Path, schema: pa.Schema) -> None:
    """The old file and the new rows in one."""
    if address.kind == "parquet":

        def both() -> Iterator[pa.RecordBatch]:
            yield from _read(address, path, schema)
            yield from _read(address, new, schema)

        _write(address, whole, schema, both(), header=True)
        return
    with path.open("rb") as old, new.open("rb") as added, whole.open("wb") as file:
        shutil.copyfileobj(old, file)
        if not _is_gzip(address) and path.stat().st_size:
            old.seek(-1, os.SEEK_END)
            if old.read(1) != b"\n":
                file.write(b"\n")
        shutil.copyfileobj(added, file)
        file.flush()
        os.fsync(file.fileno())


def _check_columns(address: Address, path: Path, schema: pa.Schema) -> None:
    if address.kind == "parquet":
        found = [f"{field.name} {field.type}" for field in pq.read_schema(path)]
        expected = [f"{field.name} {field.type}" for field in schema]
    else:
        with _unpacked(address, path) as source, io.TextIOWrapper(source, "utf-8-sig", newline="") as lines:
            found = next(csv.reader(lines), [])
        expected = schema.names
    if found != expected:
        raise ExportError(
            f"{address.shown} has other columns than the table",
            found=", ".join(found) or "none",
            expected=", ".join(expected),
            do="replace the file or name another",
        )


def _look(address: Address, path: Path, schema: pa.Schema) -> tuple[tuple[dict[str, Any], ...], int]:
    """The first rows as the file has them, and how many there are."""
    first: list[dict[str, Any]] = []
    count = 0
    for batch in _read(address, path, schema):
        if len(first) < 5:
            first += batch.slice(0, 5 - len(first)).to_pylist()
        count += batch.num_rows
    return tuple(first), count


def _put(part: Path, path: Path) -> None:
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A free name beside the target, on the same disk, gone afterwards whatever happens."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _is_gzip(address: Address) -> bool:
    return address.shown.lower().endswith(".gz")


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{address.shown} cannot be written",
            found=getattr(error, "strerror", None) or str(error),
            expected="a directory that exists, may be written and has room",
            do="make room or name another file; one that was there stands as it was",
        ) from error
