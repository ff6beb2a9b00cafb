"""The store on Spark: the same definitions on a cluster, for data that outgrew one machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw

from subsight.errors import ConfigurationError, InputError
from subsight.privacy import pseudonym
from subsight.store import (
    EPOCHS,
    LATEST_EPOCH,
    MISSING_WORDS,
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
from subsight.store._duckdb import DuckDBStore, _failed, _unreadable

try:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException, PySparkRuntimeError
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql import functions as F  # noqa: N812 (Spark's own convention)
except ImportError as error:
    raise ConfigurationError(
        "the Spark engine is not installed", found=str(error), do="install the extra: subsight[spark]"
    ) from error

from subsight.store._spark_addresses import address
from subsight.store._spark_instants import in_zone, parsed
from subsight.store._spark_lists import listed

if TYPE_CHECKING:
    import pyarrow as pa

MASTER = "SUBSIGHT_SPARK_MASTER"
RESULT_LIMIT = "64m"
_READER_MEMORY = "1GB"
_WHOLE_FILE = 0
# What DuckDB's trim takes for a space; tabs and line breaks are none.
_SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_DIGITS = r"\d+(?:_\d+)*"
# DuckDB lets underscores stand between digits.
_GROUPED = rf"^\s*[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?\s*$"


class SparkStore(Store):
    """Tables in one Spark session, on this machine or on a cluster.

    The environment variable `SUBSIGHT_SPARK_MASTER` names the master (default `local[*]`) and, after
    it, any other Spark settings as `name=value` words, quoted as in a shell:

        SUBSIGHT_SPARK_MASTER="spark://head:7077 spark.executor.memory=8g spark.sql.shuffle.partitions=400"

    The driver never takes in more than 64 MB of results, whatever the settings. Intermediates are
    Parquet under `scratch`, which (as the workspace and the inputs) every executor must reach by
    the same path, with this package installed there. A CSV file is parsed by one task, since only
    from its start can one tell a quoted line break from the end of a record.

    Raises:
        ConfigurationError: no Java, a malformed setting, or a session with another result limit.
    """

    name = "spark"

    def __init__(self, *, memory: str = "3GB", scratch: Path | None = None) -> None:
        settings = _settings(memory)
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix="spark-", dir=scratch)).resolve()
        self._owned = SparkSession.getActiveSession() is None
        try:
            self._spark = _session({"spark.local.dir": str(self._scratch), **settings})
        except ConfigurationError:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        self._files = 0
        self._ragged: list[tuple[int, str]] = []

    def read(self, paths: Sequence[Path]) -> Frame:
        names = [self._address(path) for path in paths]
        return nw.from_native(self._spark.read.option("mergeSchema", "true").parquet(*names))

    def read_csv(self, path: Path, columns: int, csv: CsvFormat) -> Frame:
        # The file becomes Parquet at once: text is split among tasks only where no quote is open.
        target = self._new_file()
        stage = _staging(path.resolve(), columns, csv, target)
        try:
            lines = self._spark.sparkContext.parallelize([0], 1).flatMap(stage).collect()
        except (PySparkException, Py4JError) as error:
            raise _failed(_reason(error)) from error
        if lines[:1] and lines[0][0] == _WHOLE_FILE:
            raise _unreadable(path, Exception(lines[0][1]))
        self._ragged = lines
        return self._read_own(target)

    def ragged_lines(self) -> list[tuple[int, str]]:
        ragged, self._ragged = self._ragged, []
        return ragged

    def numbered(self, path: Path) -> Frame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            schema = pq.read_schema(path)
            native = self._spark.read.parquet(self._address(path))
        except (pa.ArrowException, OSError, PySparkException, Py4JError) as error:
            raise _unreadable(path, _reason(error)) from error
        columns = [_instants(_column(f.name), f.type).alias(f"c{i}") for i, f in enumerate(schema)]
        return nw.from_native(native.select((F.col("_metadata.row_index") + 1).alias("record"), *columns))

    def keep(self, frame: Frame) -> Frame:
        native = frame.to_native()
        path = self._new_file()
        try:
            _typed(native).write.parquet(f"file:{path}")
        except (PySparkException, Py4JError) as error:
            raise _failed(_reason(error)) from error
        return self._read_own(path)

    def write(self, frame: Frame, path: Path, order_by: Sequence[str] = ()) -> int:
        import pyarrow.parquet as pq

        # Coalescing instead would run the whole computation in one task.
        native = _typed(frame.to_native()).repartition(1)
        if order_by:
            native = native.sortWithinPartitions(*[_column(name).asc_nulls_last() for name in order_by])
        parts, partial = self._new_file(), path.with_name(f".{path.name}.partial")
        try:
            native.write.option("compression", "zstd").parquet(f"file:{parts}")
            (part,) = parts.glob("part-*.parquet")
            shutil.move(part, partial)
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
        except (PySparkException, Py4JError, OSError) as error:
            partial.unlink(missing_ok=True)
            raise _failed(_reason(error)) from error
        finally:
            shutil.rmtree(parts, ignore_errors=True)
        return int(pq.read_metadata(path).num_rows)

    def arrow(self, frame: Frame) -> pa.Table:
        try:
            return frame.to_native().toArrow()
        except (PySparkException, Py4JError) as error:
            if "No space left" in str(error):
                raise _failed(_reason(error)) from error
            raise

    def forget(self) -> None:
        for path in self._scratch.glob("*.parquet"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def twin(self) -> SparkStore:
        return self  # a Spark session takes queries from any thread

    def adopt(self, frame: Frame) -> Frame:
        return frame

    def quantiles(
        self, frame: Frame, columns: Sequence[str], levels: Sequence[float]
    ) -> dict[str, list[float | None]]:
        given = ", ".join(map(repr, map(float, levels)))
        wanted = [f"percentile(CAST(`{name}` AS DOUBLE), array({given})) AS `{name}`" for name in columns]
        row = self.row(nw.from_native(frame.to_native().selectExpr(*wanted)))
        return {name: row[name] or [None] * len(levels) for name in columns}

    def united(self, frame: Frame, by: str, lists: Sequence[str], sums: Sequence[str], same: str) -> Frame:
        native = frame.to_native()
        types = {field.name: field.dataType.simpleString() for field in native.schema}
        found = [F.min(_column(same)).alias(same)]
        for name in lists:
            texts = F.array_sort(F.array_distinct(F.flatten(F.collect_list(_column(name)))))
            found.append(F.when(F.count(_column(name)) > 0, texts).alias(name))
        for name in sums:
            found.append(F.sum(_column(name).cast("double")).cast(types[name]).alias(name))
        return self.keep(nw.from_native(native.groupBy(_column(by)).agg(*found)))

    def map_batches(
        self, frame: Frame, function: Callable[[pa.Table], pa.Table], schema: pa.Schema, rows: int = 50_000
    ) -> Frame:
        source, target = self._new_file(), self._new_file()
        target.mkdir()
        task = _mapping(function, schema, rows, target)
        try:
            _typed(frame.to_native()).write.parquet(f"file:{source}")
            parts = [str(path) for path in sorted(source.glob("part-*.parquet"))]
            self._spark.sparkContext.parallelize(parts, max(len(parts), 1)).foreach(task)
        except (PySparkException, Py4JError) as error:
            raise _failed(_reason(error)) from error
        finally:
            shutil.rmtree(source, ignore_errors=True)
        return self._read_own(target)

    def from_arrow(self, table: pa.Table) -> Frame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Spark cannot read Arrow's null type, nor nanoseconds.
        for i, field in enumerate(table.schema):
            if pa.types.is_null(field.type):
                table = table.set_column(i, field.name, table.column(i).cast(pa.int32()))
        path = self._new_file()
        pq.write_table(table, path, coerce_timestamps="us", allow_truncated_timestamps=True)
        return self._read_own(path)

    def derive(self, frame: Frame, columns: Mapping[str, Scalar]) -> Frame:
        native = frame.to_native()
        types = {field.name: field.dataType.simpleString() for field in native.schema}
        added = [self._sql(scalar, types).alias(name) for name, scalar in columns.items()]
        return nw.from_native(native.select("*", *added))

    def close(self) -> None:
        if self._owned:
            self._spark.stop()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _new_file(self) -> Path:
        self._files += 1
        return self._scratch / f"{self._files}.parquet"

    def _read_own(self, path: Path) -> Frame:
        return nw.from_native(self._spark.read.parquet(_escaped(path)))

    def _address(self, path: Path) -> str:
        path = path.resolve()
        if not path.name.startswith(("_", ".")):
            return _escaped(path)
        # Spark passes over such names in silence.
        link = self._new_file()
        link.symlink_to(path)
        return _escaped(link)

    @singledispatchmethod
    def _sql(self, scalar: Any, types: Mapping[str, str]) -> Column:
        raise TypeError(f"no such scalar: {scalar!r}")

    @_sql.register
    def _(self, scalar: Text, types: Mapping[str, str]) -> Column:
        value = _column(scalar.column)
        return _text(value, scalar.missing) if types[scalar.column] == "string" else value

    @_sql.register
    def _(self, scalar: Texts, types: Mapping[str, str]) -> Column:
        elements = listed(_column(scalar.column), types[scalar.column])
        return F.filter(F.transform(elements, lambda e: _text(e, scalar.missing)), lambda e: e.isNotNull())

    @_sql.register
    def _(self, scalar: ListLength, types: Mapping[str, str]) -> Column:
        return F.array_size(listed(_column(scalar.column), types[scalar.column])).cast("bigint")

    @_sql.register
    def _(self, scalar: Number, types: Mapping[str, str]) -> Column:
        number = _number(scalar.column, types)
        return F.when(F.abs(number) < float("inf"), number)

    @_sql.register
    def _(self, scalar: Instant, types: Mapping[str, str]) -> Column:
        value, kind = _column(scalar.column), types[scalar.column]
        if kind == "timestamp":
            instant = value
        elif kind in ("timestamp_ntz", "date"):
            instant = in_zone(value.cast("timestamp"), scalar.zone)
        elif scalar.pattern in EPOCHS:
            number = _number(scalar.column, types) * EPOCHS[scalar.pattern]
            whole = F.when(number.between(0, LATEST_EPOCH), F.round(number)).cast("bigint")
            instant = F.timestamp_micros(whole)
        elif kind in ("int", "bigint"):  # such as 20240501103000
            instant = parsed(value.cast("string"), scalar.pattern, scalar.zone)
        elif kind != "string":
            instant = F.lit(None).cast("timestamp")
        else:
            instant = parsed(value, scalar.pattern, scalar.zone)
        if scalar.milliseconds is None:
            return instant
        # Milliseconds that are missing, no number or decades leave the instant at its own resolution.
        extra = _number(scalar.milliseconds, types)
        whole = F.when(F.abs(extra) < 1e12, F.rint(extra)).otherwise(0.0).try_cast("bigint")
        return F.timestamp_micros(F.unix_micros(instant) + whole * 1000)

    @_sql.register
    def _(self, scalar: Digits, types: Mapping[str, str]) -> Column:
        value = _column(scalar.column)
        if types[scalar.column] in ("double", "float"):
            # Past 2^53 a double no longer holds every digit.
            whole = F.rint(value).try_cast("bigint").cast("string")
            text = F.when(F.abs(value) < float(2**53), whole)
        else:
            trimmed = _trimmed(value.cast("string"))
            text = F.regexp_replace(trimmed, r"^([^.]*)\.0+\s*$", "$1")
        digits = F.nullif(F.regexp_replace(text, "[^0-9]", ""), F.lit(""))
        return F.when(~F.contains(F.lower(text), F.lit("e")), digits)

    @_sql.register
    def _(self, scalar: Pseudonym, types: Mapping[str, str]) -> Column:
        # In Python, because a plan shows the literals of an expression, and the key is one.
        key = scalar.key

        def keyed(identifier: str | None) -> str | None:
            return None if identifier is None else pseudonym(identifier, key)

        return F.udf(keyed, "string", useArrow=False)(_column(scalar.column))

    @_sql.register
    def _(self, scalar: OrderHash, types: Mapping[str, str]) -> Column:
        return F.conv(F.substring(F.sha2(_column(scalar.column), 256), 1, 13), 16, 10).cast("bigint")

    @_sql.register
    def _(self, scalar: RecordHash, types: Mapping[str, str]) -> Column:
        values = {name: _column(name) for name in scalar.columns}
        texts = [
            F.to_json(v) if types[n].startswith("array") else v.cast("string") for n, v in values.items()
        ]
        parts = [F.coalesce(text, F.lit(chr(30))) for text in texts]
        return F.md5(F.concat_ws(chr(31), *parts))

    @_sql.register
    def _(self, scalar: LocalDate, types: Mapping[str, str]) -> Column:
        return F.to_date(F.from_utc_timestamp(_column(scalar.column), scalar.zone))

    @_sql.register
    def _(self, scalar: LocalHour, types: Mapping[str, str]) -> Column:
        return F.hour(F.from_utc_timestamp(_column(scalar.column), scalar.zone)).cast("bigint")

    @_sql.register
    def _(self, scalar: HourStart, types: Mapping[str, str]) -> Column:
        value = _column(scalar.column)
        local = F.from_utc_timestamp(value, scalar.zone)
        past = F.unix_micros(local) - F.unix_micros(F.date_trunc("hour", local))
        return F.timestamp_micros(F.unix_micros(value) - past)

    @_sql.register
    def _(self, scalar: Address, types: Mapping[str, str]) -> Column:
        return address(_trimmed(_column(scalar.column).cast("string")))

    @_sql.register
    def _(self, scalar: Seconds, types: Mapping[str, str]) -> Column:
        return (F.unix_micros(_column(scalar.end)) - F.unix_micros(_column(scalar.start))) / 1e6


_Settings = dict[str, bool | float | int | str | None]


def _settings(memory: str) -> _Settings:
    master, *words = shlex.split(os.environ.get(MASTER, "")) or ["local[*]"]
    settings: _Settings = {
        "spark.master": master,
        "spark.app.name": "subsight",
        "spark.driver.memory": _java_size(memory),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "OFF",
    }
    if master.startswith("local"):
        settings["spark.driver.host"] = "localhost"
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.startswith("spark."):
            raise ConfigurationError(
                f"{MASTER} is malformed",
                found=word,
                expected="a master, then words such as spark.name=value",
                do=f"correct {MASTER}",
            )
        settings[name] = value
    # What equal results on both engines, and a bounded driver, rest on.
    return settings | {
        "spark.driver.maxResultSize": RESULT_LIMIT,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
        "spark.sql.legacy.parquet.nanosAsLong": "true",
    }


def _session(settings: _Settings) -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.config(map=settings)
    try:
        session = builder.getOrCreate()
    except (PySparkRuntimeError, Py4JError) as error:
        raise ConfigurationError(
            "Spark does not start",
            found=str(_reason(error)),
            expected="Java 17 or later, and a master that answers",
            do=f"install Java, or see {MASTER}",
        ) from error
    limit = session.sparkContext.getConf().get("spark.driver.maxResultSize")
    if limit != RESULT_LIMIT:
        raise ConfigurationError(
            "a Spark session with another spark.driver.maxResultSize is running",
            found=limit or "none",
            expected=RESULT_LIMIT,
            do="stop it, or start it with that limit",
        )
    return session


def _java_size(memory: str) -> str:
    found = re.fullmatch(r"(\d+)\s*([KMGT])(?:i?B)?", memory.strip(), re.IGNORECASE)
    if found is None:
        raise ConfigurationError("the memory is no size", found=memory, expected="a size such as 3GB")
    return found[1] + found[2].lower()


def _staging(
    path: Path, columns: int, csv: CsvFormat, target: Path
) -> Callable[[object], list[tuple[int, str]]]:
    """What one executor does to a CSV file: writes it as Parquet, and tells the ragged lines.

    It reads as the DuckDB store does, so that both engines agree on quotes, encodings, compression and
    on which line is ragged.
    """

    def stage(_: object) -> list[tuple[int, str]]:
        with DuckDBStore(memory=_READER_MEMORY) as store:
            try:
                store.write(store.read_csv(path, columns, csv), target)
            except InputError as error:
                # Raised, it would only make Spark try again.
                return [(_WHOLE_FILE, str(error.found))]
            return store.ragged_lines()

    return stage


def _mapping(
    function: Callable[[pa.Table], pa.Table], schema: pa.Schema, rows: int, target: Path
) -> Callable[[str], None]:
    """A task that maps one part of a frame into a file of its own: Spark's own way would want pandas."""

    def map_part(part: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = target / Path(part).name
        with pq.ParquetFile(part) as source, pq.ParquetWriter(path, schema) as writer:
            for batch in source.iter_batches(rows):
                writer.write_table(function(pa.Table.from_batches([batch])).cast(schema))

    return map_part


def _column(name: str) -> Column:
    return F.col("`" + name.replace("`", "``") + "`")


def _escaped(path: Path) -> str:
    return "file:" + re.sub(r"([\\{}\[\]*?])", r"\\\1", str(path))


def _trimmed(value: Column) -> Column:
    # Trimming more than the plain space is slow, and only other alphabets need it.
    ascii_only = F.octet_length(value) == F.length(value)
    return F.when(ascii_only, F.trim(value)).otherwise(F.btrim(value, F.lit(_SPACES)))


def _text(value: Column, missing: Sequence[str]) -> Column:
    words = [word.lower() for word in (*MISSING_WORDS, *missing)]
    trimmed = _trimmed(value)
    return F.when(~F.lower(trimmed).isin(words), trimmed)


def _typed(native: DataFrame) -> DataFrame:
    """A column of nothing but nulls has no type in Spark, and Parquet wants one."""
    void = {field.name for field in native.schema if field.dataType.simpleString() == "void"}
    if not void:
        return native
    typed = [_column(c).cast("int").alias(c) if c in void else _column(c) for c in native.columns]
    return native.select(typed)


def _instants(value: Column, kind: Any) -> Column:
    import pyarrow as pa

    if not pa.types.is_timestamp(kind) or kind.unit != "ns":
        return value
    instant = F.timestamp_micros(F.floor(value / 1000).cast("bigint"))
    return instant if kind.tz else instant.cast("timestamp_ntz")


def _number(column: str, types: Mapping[str, str]) -> Column:
    value = _column(column)
    if types[column] != "string":
        return value.cast("double")
    # Java would also take "1d", "1f", "nan" and hexadecimal.
    plain = F.when(value.rlike(r"^[-+.\deE\s]+$"), value.try_cast("double"))
    grouped = F.when(value.rlike(_GROUPED), F.replace(value, F.lit("_")).try_cast("double"))
    return F.when(F.contains(value, F.lit("_")), grouped).otherwise(plain)


def _reason(error: BaseException) -> Exception:
    """The one line of a Java stack trace that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    causes = [line for line in lines if line.startswith((": ", "Caused by: "))]
    return Exception((causes[0] if causes else lines[0]).removeprefix(": "))
