"""The store on DuckDB: in process, spilling to disk past its memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import narwhals as nw

from subsight.errors import InputError, StorageError
from subsight.privacy import PSEUDONYM_LENGTH, hmac_pads
from subsight.store import (
    MISSING_WORDS,
    CsvFormat,
    Digits,
    Frame,
    Instant,
    LocalDate,
    LocalHour,
    Number,
    OrderHash,
    Pseudonym,
    RecordHash,
    Scalar,
    Seconds,
    Store,
    Text,
    Unparsed,
)

if TYPE_CHECKING:
    import pyarrow as pa


class DuckDBStore(Store):
    """Tables in one in-process DuckDB connection."""

    name = "duckdb"

    def __init__(self, *, memory: str = "3GB", scratch: Path | None = None) -> None:
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute("SET memory_limit = ?", [memory])
        if scratch is not None:
            self._connection.execute("SET temp_directory = ?", [str(scratch)])
        self._kept = 0

    def read(self, paths: Sequence[Path]) -> Frame:
        relation = self._connection.read_parquet([str(path) for path in paths], union_by_name=True)
        return nw.from_native(relation)

    def read_csv(self, path: Path, columns: int, csv: CsvFormat) -> Frame:
        names = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(columns))
        self.ragged_lines()
        relation = self._connection.sql(
            f"SELECT row_number() OVER () AS record, * FROM read_csv({_literal(str(path))}, header = true, "
            f"auto_detect = false, columns = {{{names}}}, delim = {_literal(csv.delimiter)}, quote = '\"', "
            f"escape = '\"', encoding = {_literal(csv.encoding)}, store_rejects = true, rejects_limit = 0)"
        )
        return nw.from_native(relation)

    def ragged_lines(self) -> list[tuple[int, str]]:
        tables = self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        if ("reject_errors",) not in tables:
            return []
        errors = self._connection.execute(
            "SELECT line, min(error_message) FROM reject_errors GROUP BY line ORDER BY line"
        ).fetchall()
        self._connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
        return [(line, message.splitlines()[0]) for line, message in errors]

    def numbered(self, path: Path) -> Frame:
        try:
            relation = self._connection.read_parquet(str(path))
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise _unreadable(path, error) from error
        columns = ", ".join(f"{_quote(name)} AS c{i}" for i, name in enumerate(relation.columns))
        return nw.from_native(relation.project(f"row_number() OVER () AS record, {columns}"))

    def keep(self, frame: Frame) -> Frame:
        self._kept += 1
        name = f"kept_{self._kept}"
        try:
            frame.to_native().create(name)
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.OutOfMemoryException) as error:
            raise _failed(error) from error
        return nw.from_native(self._connection.table(name))

    def write(self, frame: Frame, path: Path, order_by: Sequence[str] = ()) -> int:
        relation = frame.to_native()
        if order_by:
            relation = relation.order(", ".join(_quote(name) for name in order_by))
        partial = path.with_name(f".{path.name}.partial")
        try:
            relation.write_parquet(str(partial), compression="zstd")
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
        except (duckdb.Error, OSError) as error:
            partial.unlink(missing_ok=True)
            raise _failed(error) from error
        count = self._connection.execute("SELECT sum(num_rows) FROM parquet_file_metadata(?)", [str(path)])
        return int(count.fetchall()[0][0])

    def arrow(self, frame: Frame) -> pa.Table:
        try:
            return frame.to_native().to_arrow_table()
        except duckdb.Error as error:
            if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
                raise _failed(error) from error
            raise

    def from_arrow(self, table: pa.Table) -> Frame:
        return self.keep(nw.from_native(self._connection.from_arrow(table)))

    def derive(self, frame: Frame, columns: Mapping[str, Scalar]) -> Frame:
        relation = frame.to_native()
        types = dict(zip(relation.columns, (str(t) for t in relation.types), strict=True))
        added = ", ".join(f"{self._sql(scalar, types)} AS {_quote(name)}" for name, scalar in columns.items())
        return nw.from_native(relation.project(f"*, {added}"))

    def close(self) -> None:
        self._connection.close()

    @singledispatchmethod
    def _sql(self, scalar: Any, types: Mapping[str, str]) -> str:
        raise TypeError(f"no such scalar: {scalar!r}")

    @_sql.register
    def _(self, scalar: Text, types: Mapping[str, str]) -> str:
        return _text(scalar.column, types, scalar.missing)

    @_sql.register
    def _(self, scalar: Number, types: Mapping[str, str]) -> str:
        number = f"try_cast({_quote(scalar.column)} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"

    @_sql.register
    def _(self, scalar: Unparsed, types: Mapping[str, str]) -> str:
        cases = []
        for label, parsed in scalar.columns:
            if types[parsed.column] != "VARCHAR":
                continue
            raw, words = _quote(parsed.column), ", ".join(map(_literal, MISSING_WORDS))
            cases.append(
                f"WHEN {raw} IS NOT NULL AND ({self._sql(parsed, types)}) IS NULL "
                f"AND lower(trim({raw})) NOT IN ({words}) THEN {_literal(label + ': ')} || left({raw}, 40)"
            )
        return f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"

    @_sql.register
    def _(self, scalar: Instant, types: Mapping[str, str]) -> str:
        value = _quote(scalar.column)
        zone = _literal(scalar.zone)
        if types[scalar.column].startswith("TIMESTAMP WITH"):
            instant = value
        elif types[scalar.column].startswith(("TIMESTAMP", "DATE")):
            instant = f"timezone({zone}, {value}::TIMESTAMP)"
        elif scalar.pattern == "iso":
            # An explicit offset wins; without one the text is wall-clock time in the zone.
            offset = r"([Zz]|[+-]\d{2}:?\d{2}|[+-]\d{2})$"
            instant = (
                f"CASE WHEN regexp_matches({value}, '\\d[T ].*{offset}') "
                f"THEN try_cast({value} AS TIMESTAMPTZ) "
                f"ELSE timezone({zone}, try_cast({value} AS TIMESTAMP)) END"
            )
        else:
            instant = f"timezone({zone}, try_strptime({value}, {_literal(scalar.pattern)}))"
        if scalar.milliseconds is None:
            return instant
        # Milliseconds that are missing or no number leave the instant at its own resolution.
        extra = f"coalesce(try_cast({_quote(scalar.milliseconds)} AS DOUBLE), 0)"
        return f"({instant} + to_milliseconds(CAST({extra} AS BIGINT)))"

    @_sql.register
    def _(self, scalar: Digits, types: Mapping[str, str]) -> str:
        value = f"regexp_replace(trim(CAST({_quote(scalar.column)} AS VARCHAR)), '\\.0+$', '')"
        if types[scalar.column] in ("DOUBLE", "FLOAT"):
            # Past 2^53 a double no longer holds every digit.
            number = _quote(scalar.column)
            whole = f"CAST(CAST({number} AS BIGINT) AS VARCHAR)"
            value = f"CASE WHEN abs({number}) < 9007199254740992 THEN {whole} END"
        digits = f"nullif(regexp_replace({value}, '[^0-9]', '', 'g'), '')"
        return f"CASE WHEN NOT contains(lower({value}), 'e') THEN {digits} END"

    @_sql.register
    def _(self, scalar: Pseudonym, types: Mapping[str, str]) -> str:
        # The padded keys are variables, so that no query text or plan shows them.
        inner, outer = hmac_pads(scalar.key)
        self._connection.execute("SET VARIABLE hmac_inner = ?", [inner])
        self._connection.execute("SET VARIABLE hmac_outer = ?", [outer])
        text = f"encode({_quote(scalar.column)})"
        inside = f"unhex(sha256(getvariable('hmac_inner')::BLOB || {text}))"
        return f"left(sha256(getvariable('hmac_outer')::BLOB || {inside}), {PSEUDONYM_LENGTH})"

    @_sql.register
    def _(self, scalar: OrderHash, types: Mapping[str, str]) -> str:
        return f"CAST('0x' || left(sha256({_quote(scalar.column)}), 13) AS BIGINT)"

    @_sql.register
    def _(self, scalar: RecordHash, types: Mapping[str, str]) -> str:
        parts = ", ".join(f"coalesce(CAST({_quote(c)} AS VARCHAR), chr(30))" for c in scalar.columns)
        return f"md5(concat_ws(chr(31), {parts}))"

    @_sql.register
    def _(self, scalar: LocalDate, types: Mapping[str, str]) -> str:
        return f"CAST(timezone({_literal(scalar.zone)}, {_quote(scalar.column)}) AS DATE)"

    @_sql.register
    def _(self, scalar: LocalHour, types: Mapping[str, str]) -> str:
        return f"CAST(hour(timezone({_literal(scalar.zone)}, {_quote(scalar.column)})) AS BIGINT)"

    @_sql.register
    def _(self, scalar: Seconds, types: Mapping[str, str]) -> str:
        return f"(epoch_us({_quote(scalar.end)}) - epoch_us({_quote(scalar.start)})) / 1e6"


def _text(column: str, types: Mapping[str, str], missing: Sequence[str] = ()) -> str:
    if types[column] != "VARCHAR":
        return _quote(column)
    words = ", ".join(_literal(word.lower()) for word in (*MISSING_WORDS, *missing))
    trimmed = f"trim({_quote(column)})"
    return f"CASE WHEN lower({trimmed}) NOT IN ({words}) THEN {trimmed} END"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path.name} cannot be read",
        found=str(error).splitlines()[0][:300],
        expected="a whole CSV (plain, gz or zst) or Parquet file",
        do="check that the file arrived complete, then run the command again",
    )


def _failed(error: Exception) -> StorageError:
    return StorageError(
        "intermediate or published data could not be written",
        found=str(error).splitlines()[0][:300],
        do="free disk space or point the workspace at another disk; the previous run is intact",
    )
