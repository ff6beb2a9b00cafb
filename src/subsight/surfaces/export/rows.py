"""A table as bounded batches in the six kinds of value that every target holds, and their totals."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from subsight.contracts import Kind
from subsight.errors import ExportError
from subsight.surfaces.export.evidence import Total

__all__ = ["BATCH_ROWS", "Rows", "Totals", "kinds_of"]

BATCH_ROWS: Final = 65_536


class Rows:
    """The rows of an export. Reading them once adds up `totals` and counts what was changed."""

    def __init__(self, table: pa.Table | Path, progress: Callable[[int, int], None] | None = None) -> None:
        self._table, self._progress = table, progress
        source = _open(table)
        self._source_schema = source.schema if isinstance(table, pa.Table) else source.schema_arrow
        self.count: int = source.num_rows if isinstance(table, pa.Table) else source.metadata.num_rows
        self.schema = pa.schema([_canonical(column) for column in self._source_schema])
        _check_names(self.schema.names)
        self._not_finite: dict[str, int] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs from the source table, known once the batches were read."""
        decimals = [column.name for column in self._source_schema if pa.types.is_decimal(column.type)]
        changed = [
            f"{column}: {count:,} values that are no finite number were written as null"
            for column, count in self._not_finite.items()
        ]
        return (*changed, *(f"{column}: decimals were written as floats" for column in decimals))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most 65,536 at a time; progress is told of each batch taken."""
        done = 0
        for batch in self._raw():
            yield pa.record_batch([self._column(batch, field) for field in self.schema], schema=self.schema)
            done += batch.num_rows
            if self._progress is not None:
                self._progress(done, self.count)

    def longest(self) -> dict[str, int]:
        """The greatest length in bytes of each text column: a first pass over those columns alone."""
        texts = [column.name for column in self.schema if pa.types.is_string(column.type)]
        longest = dict.fromkeys(texts, 0)
        for batch in self._raw(texts) if texts else ():
            for name in texts:
                length = pc.max(pc.binary_length(_cast(batch.column(name), self.schema.field(name)))).as_py()
                longest[name] = max(longest[name], length or 0)
        return longest

    def _raw(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        if isinstance(self._table, pa.Table):
            yield from self._table.to_batches(max_chunksize=BATCH_ROWS)
            return
        try:
            yield from _open(self._table).iter_batches(batch_size=BATCH_ROWS, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise ExportError(f"{self._table} cannot be read to its end", found=str(error)) from error

    def _column(self, batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
        values = _cast(batch.column(field.name), field)
        if not pa.types.is_floating(field.type):
            return values
        finite = pc.is_finite(values)
        strange = len(values) - values.null_count - (pc.sum(finite).as_py() or 0)
        if not strange:
            return values
        self._not_finite[field.name] = self._not_finite.get(field.name, 0) + strange
        return pc.if_else(finite, values, pa.scalar(None, field.type))


class Totals:
    """Adds up columns batch by batch: the same numbers in whatever order the rows come."""

    def __init__(self, schema: pa.Schema) -> None:
        self._kinds = kinds_of(schema)
        self._non_null = dict.fromkeys(schema.names, 0)
        self._integers: dict[str, int] = dict.fromkeys(schema.names, 0)
        self._floats: dict[str, list[float]] = {name: [] for name in schema.names}
        self._magnitudes: dict[str, list[float]] = {name: [] for name in schema.names}
        self.count = 0

    def through(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches as they come, each added up on its way."""
        for batch in batches:
            self.add(batch)
            yield batch

    def add(self, batch: pa.RecordBatch) -> None:
        """Count one batch in."""
        self.count += batch.num_rows
        for name, kind in self._kinds.items():
            values = batch.column(name)
            self._non_null[name] += len(values) - values.null_count
            if kind == "float":
                self._floats[name].append(pc.sum(values).as_py() or 0.0)
                self._magnitudes[name].append(pc.sum(pc.abs(values)).as_py() or 0.0)
            elif kind == "text":
                self._integers[name] += _hash_sum(values)
            else:
                self._integers[name] += _integer_sum(values, kind)

    @property
    def result(self) -> tuple[int, Mapping[str, Total]]:
        """The row count and each column's total."""
        totals = {
            name: Total(
                self._non_null[name], math.fsum(self._floats[name]), math.fsum(self._magnitudes[name])
            )
            if kind == "float"
            else Total(self._non_null[name], self._integers[name])
            for name, kind in self._kinds.items()
        }
        return self.count, totals


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """The kind of each column of a canonical schema, in order."""
    return {column.name: _kind(column) for column in schema}


def _kind(column: pa.Field) -> Kind:
    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests: tuple[tuple[Kind, bool], ...] = (
        ("text", types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)),
        ("text", types.is_null(kind)),
        ("integer", types.is_integer(kind)),
        ("float", types.is_floating(kind) or types.is_decimal(kind)),
        ("boolean", types.is_boolean(kind)),
        ("date", types.is_date(kind)),
        ("instant", types.is_timestamp(kind)),
    )
    for name, holds in tests:
        if holds:
            return name
    raise ExportError(
        f"column {column.name} cannot be exported",
        found=f"values of type {kind}",
        expected="text, numbers, booleans, dates or instants",
        do="leave the column out",
    )


def _canonical(column: pa.Field) -> pa.Field:
    kind = _kind(column)
    zone = "UTC" if kind == "instant" and column.type.tz is not None else None
    types: Mapping[Kind, Any] = {
        "text": pa.string(),
        "integer": pa.int64(),
        "float": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "instant": pa.timestamp("us", zone),
    }
    return pa.field(column.name, types[kind])


def _cast(values: pa.Array, field: pa.Field) -> pa.Array:
    if values.type == field.type:
        return values
    # Only an instant may lose digits: no target holds nanoseconds.
    return values.cast(field.type, safe=not pa.types.is_timestamp(field.type))


def _hash_sum(values: pa.Array) -> int:
    """Sum of the first 32 bits of the MD5 of each text: every database can compute it too."""
    counted = values.drop_null().value_counts()
    total = 0
    for text, count in zip(
        counted.field("values").cast(pa.binary()).to_pylist(),
        counted.field("counts").to_pylist(),
        strict=True,
    ):
        total += int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[:4]) * count
    return total


def _integer_sum(values: pa.Array, kind: Kind) -> int:
    """Exact: the halves of each number are added apart, so that nothing overflows."""
    if kind == "boolean":
        return int(pc.sum(values).as_py() or 0)
    if kind == "date":
        values = values.cast(pa.int32())
    values = values.cast(pa.int64())
    high = pc.sum(pc.shift_right(values, 32)).as_py() or 0
    low = pc.sum(pc.bit_wise_and(values, 0xFFFFFFFF)).as_py() or 0
    return int(high) * 2**32 + int(low)


def _open(table: pa.Table | Path) -> Any:
    if isinstance(table, pa.Table):
        return table
    try:
        return pq.ParquetFile(table, pre_buffer=False, buffer_size=2**20)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{table} cannot be read",
            found=str(error),
            expected="a Parquet file of a published run",
            do="run again to publish the table anew",
        ) from error


def _check_names(names: list[str]) -> None:
    folded = [name.casefold() for name in names]
    bad = [n for n in names if not n or "\0" in n or len(n.encode()) > 63 or folded.count(n.casefold()) > 1]
    if bad or not names:
        raise ExportError(
            "the table's columns cannot be exported",
            found=f"column {bad[0]!r}" if bad else "no columns",
            expected="names of 1 to 63 bytes that differ by more than case",
            do="rename the column",
        )
