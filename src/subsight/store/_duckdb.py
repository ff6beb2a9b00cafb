"""The store on DuckDB: in process, spilling to disk past its memory."""

from __future__ import annotations

import io
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import narwhals as nw

# DuckDB loads it anyway, at the first Arrow result; loaded that late it leaves type references behind
# and the interpreter prints a page about leaks at exit.
import pyarrow.dataset

from subsight.errors import InputError, StorageError
from subsight.privacy import PSEUDONYM_LENGTH, hmac_pads
from subsight.store import (
    EPOCHS,
    LATEST_EPOCH,
    MISSING_WORDS,
    SWALLOWED,
    Address,
    CsvFormat,
    Digits,
    Frame,
    HourStart,
    Instant,
    ListLength,
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
    Texts,
)
from subsight.store._duckdb_addresses import address
from subsight.store._duckdb_lists import listed

if TYPE_CHECKING:
    import pyarrow as pa


_WHOLE_NUMBERS = ("INTEGER", "BIGINT", "UINTEGER", "UBIGINT", "HUGEINT")
_DATE = r"[1-9]\d{3}[-/]\d{1,2}[-/]\d{1,2}"
_TIME = r"(?:[01]?\d|2[0-3]):\d{1,2}(?::\d{1,2}(?:\.\d+)?)?"
_OFFSET = r"(?: ?UTC|Z|[+-]\d{2}(?::?\d{2})?)"
# A wider reading would take "infinity" for an instant and ignore the zone in "5:03 America/Lima".
_ISO = rf"^\s*{_DATE}(?:(?:T| +){_TIME}{_OFFSET}?)?\s*$"
_MOST_BREAKS = 5
_REJECTING = "store_rejects = true, rejects_limit = 0"
_BAD_INPUT = re.compile(r"gzip|zstd|frame|magic|csv|encod|no files found", re.IGNORECASE)


_FREE = b"\x81\x8d\x8f\x90\x9d"
_WINDOWS = {byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0) if byte not in _FREE}


class DuckDBStore(Store):
    """Tables in one in-process DuckDB connection."""

    name = "duckdb"

    def __init__(self, *, memory: str = "3GB", scratch: Path | None = None) -> None:
        connection = duckdb.connect(":memory:")
        connection.execute("SET memory_limit = ?", [memory])
        if scratch is not None:
            connection.execute("SET temp_directory = ?", [str(scratch)])
        self._begin(connection, itertools.count(1), scratch)

    def _begin(
        self, connection: duckdb.DuckDBPyConnection, numbers: Iterator[int], scratch: Path | None
    ) -> None:
        connection.execute("SET TimeZone = 'UTC'")
        # In a notebook without ipywidgets there is no bar, and asking for none is refused.
        if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(True,)]:
            connection.execute("SET enable_progress_bar = false")
        self._connection = connection
        self._numbers = numbers  # shared by twins, so that no two keep under one name
        self._keys: list[bytes] = []
        self._csv: tuple[Path, str, int, CsvFormat] | None = None  # the file read last, and how
        self._scratch = scratch
        self._copies: list[Path] = []  # folders of texts that the engine cannot read as they are

    def forget(self) -> None:
        kept = self._connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 'kept_')"
        ).fetchall()
        for (name,) in kept:
            self._connection.execute(f"DROP TABLE {_quote(name)}")
        while self._copies:
            shutil.rmtree(self._copies.pop(), ignore_errors=True)

    def twin(self) -> DuckDBStore:
        twin = DuckDBStore.__new__(DuckDBStore)
        twin._begin(self._connection.cursor(), self._numbers, self._scratch)
        return twin

    def adopt(self, frame: Frame) -> Frame:
        return nw.from_native(self._connection.sql(frame.to_native().sql_query()))

    def read(self, paths: Sequence[Path]) -> Frame:
        names = [_pattern(path) for path in paths]
        relation = self._connection.read_parquet(names, union_by_name=True, hive_partitioning=False)
        return nw.from_native(relation)

    def beside(self, files: Mapping[Path, Sequence[str]], by: str, place: str) -> Frame:
        # By position, a tenth of the time of a join: rows that follow one another in each file need no table.
        sources = []
        for i, (path, columns) in enumerate(files.items()):
            without = "" if i == 0 else f" EXCLUDE ({_quote(by)})"
            taken = [*([by, "file_row_number"] if i == 0 else []), *columns]
            names = ", ".join(map(_quote, taken)) if columns else f"*{without}"
            numbered = ", file_row_number = true" if i == 0 else ""
            source = f"read_parquet({_literal(_pattern(path))}, hive_partitioning = false{numbered})"
            sources.append(f"(SELECT {names} FROM {source}) AS beside_{i}")
        names = f"* EXCLUDE (file_row_number), file_row_number + 1 AS {_quote(place)}"
        return nw.from_native(
            self._connection.sql(f"SELECT {names} FROM {' POSITIONAL JOIN '.join(sources)}")
        )

    def are_beside(self, one: Path, other: Path, by: str) -> bool:
        first, second = (
            f"(SELECT {_quote(by)} AS key FROM read_parquet({_literal(_pattern(path))}))"
            for path in (one, other)
        )
        # Where one is shorter, its keys are null beside the last of the other.
        found = self._connection.execute(
            f"SELECT count(*) FROM {first} AS one POSITIONAL JOIN {second} AS other "
            "WHERE one.key IS DISTINCT FROM other.key"
        )
        return int(found.fetchall()[0][0]) == 0

    def read_csv(self, path: Path, columns: int, csv: CsvFormat) -> Frame:
        names = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(columns))
        self.ragged_lines()
        _check_whole(path)
        is_foreign = csv.encoding == "cp1252"
        source = (
            f"{_literal(_pattern(self._in_utf8(path) if is_foreign else path))}, header = true, "
            f"auto_detect = false, columns = {{{names}}}, skip = {csv.skip}, "
            f"delim = {_literal(csv.delimiter)}, quote = '\"', escape = '\"', "
            f"encoding = {_literal('utf-8' if is_foreign else csv.encoding)}"
        )
        self._csv = path, source, columns, csv
        query = f"SELECT row_number() OVER () AS record, * FROM read_csv({source}, {_REJECTING})"
        try:
            relation = self._connection.sql(query)
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise _unreadable(path, error) from error
        return nw.from_native(relation)

    def _in_utf8(self, path: Path) -> Path:
        """A copy of a Windows-1252 text in UTF-8; gone with what was kept, or with the store."""
        import pyarrow as pa

        folder = Path(tempfile.mkdtemp(prefix="text-", dir=self._scratch))
        self._copies.append(folder)
        copy = folder / "copy.csv"
        try:
            with pa.input_stream(str(path), compression="detect") as stream, copy.open("wb") as target:
                while block := stream.read(1 << 22):
                    # The five bytes that Windows left free stay what they are in Latin-1.
                    target.write(block.decode("latin-1").translate(_WINDOWS).encode())
        except OSError as error:
            raise (_failed(error) if path.exists() else _unreadable(path, error)) from error
        return copy

    def ragged_lines(self) -> list[tuple[int, str]]:
        tables = self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        if ("reject_errors",) not in tables:
            return []
        errors = self._connection.execute(
            "SELECT line, min(error_message) FROM reject_errors GROUP BY line ORDER BY line"
        ).fetchall()
        self._connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
        ragged = [(line, message.splitlines()[0]) for line, message in errors]
        return ragged + [(ragged[0][0], SWALLOWED)] * self._swallowed(len(ragged)) if ragged else ragged

    def _swallowed(self, ragged: int) -> int:
        """Lines that stand in no record of the CSV file read last: a quote before them was never closed."""
        if self._csv is None:
            return 0
        path, source, columns, csv = self._csv
        breaks = [f"length(c{i}) - length(replace(c{i}, chr(10), ''))" for i in range(columns)]
        # A field of a few lines is one; of many, a quote that another one closed by chance.
        meant = " + ".join(f"CASE WHEN {n} <= {_MOST_BREAKS} THEN {n} ELSE 0 END" for n in breaks)
        # Read in the same way as before: which records are left out depends on it.
        counted = f"SELECT count(*) + coalesce(sum({meant}), 0) FROM read_csv({source}, {_REJECTING})"
        read = int(self._connection.execute(counted).fetchall()[0][0])
        self._connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
        return max(0, _lines(path, csv.encoding) - csv.skip - 1 - read - ragged)

    def numbered(self, path: Path) -> Frame:
        try:
            # A column of the reader's own: row_number() would keep all that follows on one core.
            relation = self._connection.read_parquet(
                _pattern(path), hive_partitioning=False, file_row_number=True
            )
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise _unreadable(path, error) from error
        *names, number = relation.columns
        columns = ", ".join(f"{_quote(name)} AS c{i}" for i, name in enumerate(names))
        return nw.from_native(relation.project(f"{_quote(number)} + 1 AS record, {columns}"))

    def keep(self, frame: Frame) -> Frame:
        name = f"kept_{next(self._numbers)}"
        try:
            frame.to_native().create(name)
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.OutOfMemoryException) as error:
            raise _failed(error, self._csv[0] if self._csv else None) from error
        return nw.from_native(self._connection.table(name))

    def keep_records(self, frame: Frame) -> Frame:
        # row_number() would keep a scan on one core; a new table's rowid is the same number for nothing.
        names = [name for name in frame.collect_schema().names() if name != "record"]
        kept = self.keep(frame.select(*names)).to_native()
        return nw.from_native(kept.project(f"rowid + 1 AS record, {', '.join(map(_quote, names))}"))

    def write(self, frame: Frame, path: Path, order_by: Sequence[str] = ()) -> int:
        order = f" ORDER BY {', '.join(_quote(name) for name in order_by)}" if order_by else ""
        partial = path.with_name(f".{path.name}.partial")
        try:
            frame.to_native().create_view("written", replace=True)
            # Delta encodings (format version 2) at the lowest level: smaller and twice as fast as version 1.
            self._connection.execute(
                f"COPY (FROM written{order}) TO {_literal(str(partial))} "
                "(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
            )
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

    def quantiles(
        self, frame: Frame, columns: Sequence[str], levels: Sequence[float]
    ) -> dict[str, list[float | None]]:
        # One list of levels sorts a column once; one aggregate per level would sort it once each.
        wanted = ", ".join(
            f"quantile_cont(CAST({_quote(name)} AS DOUBLE), {list(levels)}) AS {_quote(name)}"
            for name in columns
        )
        row = self.row(nw.from_native(frame.to_native().aggregate(wanted)))
        return {name: row[name] or [None] * len(levels) for name in columns}

    def highest(self, frame: Frame, columns: Sequence[str], count: int) -> dict[str, list[Any]]:
        if not columns:
            return {}
        # One scan, in which each column keeps a heap; sorting reads the rows once a column.
        wanted = ", ".join(f"max({_quote(name)}, {int(count)}) AS {_quote(name)}" for name in columns)
        row = self.row(nw.from_native(frame.to_native().aggregate(wanted)))
        return {name: row[name] or [] for name in columns}

    def united(self, frame: Frame, by: str, lists: Sequence[str], sums: Sequence[str], same: str) -> Frame:
        relation = frame.to_native()
        types = dict(zip(relation.columns, (str(t) for t in relation.types), strict=True))
        found = [_quote(by), f"min({_quote(same)}) AS {_quote(same)}"]
        for name in map(_quote, lists):
            texts = f"flatten(list({name}) FILTER ({name} IS NOT NULL))"
            found.append(f"list_sort(list_distinct({texts})) AS {name}")
        for name in sums:
            found.append(f"CAST(sum(CAST({_quote(name)} AS DOUBLE)) AS {types[name]}) AS {_quote(name)}")
        return self.keep(nw.from_native(relation.aggregate(", ".join(found), _quote(by))))

    def map_batches(
        self, frame: Frame, function: Callable[[pa.Table], pa.Table], schema: pa.Schema, rows: int = 50_000
    ) -> Frame:
        name = f"kept_{next(self._numbers)}"
        # Another cursor, as the rows are still being read on the first.
        beside = self._connection.cursor()
        try:
            beside.from_arrow(schema.empty_table()).create(name)
            for batch in frame.to_native().to_arrow_reader(rows):
                made = function(pyarrow.Table.from_batches([batch])).cast(schema)
                beside.from_arrow(made).insert_into(name)
        except duckdb.Error as error:
            raise _failed(error) from error
        finally:
            beside.close()
        return nw.from_native(self._connection.table(name))

    def from_arrow(self, table: pa.Table) -> Frame:
        return self.keep(nw.from_native(self._connection.from_arrow(table)))

    def derive(self, frame: Frame, columns: Mapping[str, Scalar]) -> Frame:
        relation = frame.to_native()
        types = dict(zip(relation.columns, (str(t) for t in relation.types), strict=True))
        added = ", ".join(f"{self._sql(scalar, types)} AS {_quote(name)}" for name, scalar in columns.items())
        return nw.from_native(relation.project(f"*, {added}"))

    def close(self) -> None:
        self._connection.close()
        while self._copies:
            shutil.rmtree(self._copies.pop(), ignore_errors=True)

    @singledispatchmethod
    def _sql(self, scalar: Any, types: Mapping[str, str]) -> str:
        raise TypeError(f"no such scalar: {scalar!r}")

    @_sql.register
    def _(self, scalar: Text, types: Mapping[str, str]) -> str:
        if types[scalar.column] != "VARCHAR":
            return _quote(scalar.column)
        return _text(_quote(scalar.column), scalar.missing)

    @_sql.register
    def _(self, scalar: Texts, types: Mapping[str, str]) -> str:
        elements = listed(_quote(scalar.column), types[scalar.column])
        texts = f"list_transform({elements}, lambda e: {_text('e', scalar.missing)})"
        return f"list_filter({texts}, lambda e: e IS NOT NULL)"

    @_sql.register
    def _(self, scalar: ListLength, types: Mapping[str, str]) -> str:
        return f"len({listed(_quote(scalar.column), types[scalar.column])})"

    @_sql.register
    def _(self, scalar: Number, types: Mapping[str, str]) -> str:
        number = f"try_cast({_quote(scalar.column)} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"

    @_sql.register
    def _(self, scalar: Instant, types: Mapping[str, str]) -> str:
        value = _quote(scalar.column)
        if types[scalar.column] in _WHOLE_NUMBERS:
            value = f"CAST({value} AS VARCHAR)"  # such as 20240501103000
        zone = _literal(scalar.zone)
        if types[scalar.column].startswith(("TIMESTAMP WITH", "TIMESTAMPTZ")):
            instant = f"{value}::TIMESTAMPTZ"
        elif types[scalar.column].startswith(("TIMESTAMP", "DATE")):
            instant = f"timezone({zone}, {value}::TIMESTAMP)"
        elif scalar.pattern in EPOCHS:
            number = f"try_cast({value} AS DOUBLE) * {EPOCHS[scalar.pattern]!r}"
            whole = (
                f"CASE WHEN {number} BETWEEN 0 AND {LATEST_EPOCH!r} THEN CAST(round({number}) AS BIGINT) END"
            )
            instant = f"timezone('UTC', make_timestamp({whole}))"
        elif scalar.pattern == "iso":
            # An explicit offset wins; without one the text is wall-clock time in the zone.
            instant = (
                f"CASE WHEN NOT regexp_matches({value}, '{_ISO}') THEN NULL "
                f"WHEN regexp_matches({value}, ':.*{_OFFSET}\\s*$') THEN try_cast({value} AS TIMESTAMPTZ) "
                f"ELSE timezone({zone}, try_cast({value} AS TIMESTAMP)) END"
            )
        else:
            parsed = f"try_strptime({value}, {_literal(scalar.pattern)})"
            # Two digits under %Y are a wrong pattern, not the year 19.
            parsed = f"CASE WHEN year({parsed}) > 999 THEN {parsed} END"
            instant = parsed if "%z" in scalar.pattern else f"timezone({zone}, {parsed})"
        if scalar.milliseconds is None:
            return instant
        # Milliseconds that are missing, no number or decades leave the instant at its own resolution.
        extra = f"try_cast({_quote(scalar.milliseconds)} AS DOUBLE)"
        whole = f"CASE WHEN abs({extra}) < 1e12 THEN CAST({extra} AS BIGINT) ELSE 0 END"
        return f"({instant} + to_milliseconds({whole}))"

    @_sql.register
    def _(self, scalar: Digits, types: Mapping[str, str]) -> str:
        value = _quote(scalar.column)
        value = f"regexp_replace(trim(CAST({value} AS VARCHAR)), '^([^.]*)\\.0+\\s*$', '\\1')"
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
        # Frames are lazy: each key keeps its own variables.
        if scalar.key not in self._keys:
            self._keys.append(scalar.key)
        n = self._keys.index(scalar.key)
        self._connection.execute(f"SET VARIABLE hmac_inner_{n} = ?", [inner])
        self._connection.execute(f"SET VARIABLE hmac_outer_{n} = ?", [outer])
        text = f"encode({_quote(scalar.column)})"
        inside = f"unhex(sha256(getvariable('hmac_inner_{n}')::BLOB || {text}))"
        return f"left(sha256(getvariable('hmac_outer_{n}')::BLOB || {inside}), {PSEUDONYM_LENGTH})"

    @_sql.register
    def _(self, scalar: OrderHash, types: Mapping[str, str]) -> str:
        return f"CAST('0x' || left(sha256({_quote(scalar.column)}), 13) AS BIGINT)"

    @_sql.register
    def _(self, scalar: RecordHash, types: Mapping[str, str]) -> str:
        parts = []
        for name in scalar.columns:
            value = f"to_json({_quote(name)})" if types[name].endswith("]") else _quote(name)
            parts.append(f"coalesce(CAST({value} AS VARCHAR), chr(30))")
        return f"md5(concat_ws(chr(31), {', '.join(parts)}))"

    @_sql.register
    def _(self, scalar: LocalDate, types: Mapping[str, str]) -> str:
        return f"CAST(timezone({_literal(scalar.zone)}, {_quote(scalar.column)}) AS DATE)"

    @_sql.register
    def _(self, scalar: LocalHour, types: Mapping[str, str]) -> str:
        return f"CAST(hour(timezone({_literal(scalar.zone)}, {_quote(scalar.column)})) AS BIGINT)"

    @_sql.register
    def _(self, scalar: HourStart, types: Mapping[str, str]) -> str:
        value = _quote(scalar.column)
        local = f"timezone({_literal(scalar.zone)}, {value})"
        return f"{value} - ({local} - date_trunc('hour', {local}))"

    @_sql.register
    def _(self, scalar: Address, types: Mapping[str, str]) -> str:
        return address(_quote(scalar.column))

    @_sql.register
    def _(self, scalar: Seconds, types: Mapping[str, str]) -> str:
        return f"(epoch_us({_quote(scalar.end)}) - epoch_us({_quote(scalar.start)})) / 1e6"


def _text(value: str, missing: Sequence[str]) -> str:
    # A list of words after IN becomes a join, which costs twice as much and loses the rows' order.
    words = "".join(f"\x1f{word.lower()}" for word in (*MISSING_WORDS, *missing)) + "\x1f"
    # Looking a text up in one text costs a third of matching it with a pattern of all words.
    is_missing = f"contains({_literal(words)}, chr(31) || lower(trim({value})) || chr(31))"
    return f"CASE WHEN NOT {is_missing} THEN trim({value}) END"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _pattern(path: Path) -> str:
    """A path as a glob pattern that matches it alone."""
    return re.sub(r"([*?[])", r"[\1]", str(path))


def _check_whole(path: Path) -> None:
    """Raises where a .zst file is cut short: DuckDB would read what there is and say nothing."""
    if path.suffix != ".zst":
        return
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression="zstd") as stream:
            while stream.read(1 << 20):
                pass
    except OSError as error:
        raise _unreadable(path, error) from error


def _lines(path: Path, encoding: str) -> int:
    """How many lines a text file has that are not empty."""
    import pyarrow as pa

    with pa.input_stream(str(path), compression="detect") as stream:
        return sum(1 for line in io.TextIOWrapper(stream, encoding, "replace", "\n") if line.strip())


def _lone_return(path: Path) -> int | None:
    """The first line with a carriage return inside it."""
    import pyarrow as pa

    with pa.input_stream(str(path), compression="detect") as stream:
        lines = enumerate(io.BufferedReader(stream), 1)
        return next((number for number, line in lines if b"\r" in line.rstrip(b"\r\n")), None)


def _unreadable(path: Path, error: Exception) -> InputError:
    if "state machine" in str(error) and path.exists() and (line := _lone_return(path)):
        return InputError(
            f"{path.name} cannot be read",
            found=f"a carriage return inside line {line}",
            expected="lines that end in one way, and fields with line breaks in quotes",
            do="remove it, or export the file again",
        )
    return InputError(
        f"{path.name} cannot be read",
        found=str(error).splitlines()[0][:300],
        expected="a whole CSV (plain, gz or zst) or Parquet file",
        do="check that the file arrived complete, then run the command again",
    )


def _failed(error: Exception, reading: Path | None = None) -> InputError | StorageError:
    message = str(error).splitlines()[0]
    if isinstance(error, duckdb.Error) and _BAD_INPUT.search(message):
        return _unreadable(reading or Path("an input"), error)
    return StorageError(
        "intermediate or published data could not be written",
        found=str(error).splitlines()[0][:300],
        do="free disk space or point the workspace at another disk; the previous run is intact",
    )
