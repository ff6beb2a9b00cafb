"""The store: the only thing that knows an engine.

A store opens tables as Narwhals lazy frames, keeps intermediates, and writes Parquet. What Narwhals
lacks on a lazy engine is a `Scalar`: a small description that each engine turns into its own words.
Rows leave it twice only: a bounded sample (`arrow`) and small answers (`rows`); `map_batches` lets a
function see them in passing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import narwhals as nw

from subsight.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Address",
    "CsvFormat",
    "Digits",
    "Frame",
    "HourStart",
    "Instant",
    "ListLength",
    "LocalDate",
    "LocalHour",
    "Number",
    "OrderHash",
    "Pseudonym",
    "RecordHash",
    "Scalar",
    "Seconds",
    "Store",
    "Text",
    "Texts",
    "open_store",
]

Frame = Any
"""A Narwhals LazyFrame; `Any` because its native type differs by engine."""


class Scalar(Protocol):
    """One value per row that an engine computes from text or instants, null where it cannot."""


@dataclass(frozen=True)
class Text(Scalar):
    """Trimmed text; empty, a word for missing (`NA`, `null`, ...), and any of `missing` are null."""

    column: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Texts(Scalar):
    """A list of texts, each as `Text` has it; those that are null there are dropped.

    Reads a list column of texts or whole numbers, or text that holds a JSON list (RFC 8259) of those and
    of nulls; null where it is none. An empty list stays one.
    """

    column: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListLength(Scalar):
    """How many elements stand in a list that `Texts` reads, with those that it drops."""

    column: str


@dataclass(frozen=True)
class Number(Scalar):
    """A finite float parsed from text; null where the text is no number."""

    column: str


@dataclass(frozen=True)
class Instant(Scalar):
    """A UTC instant parsed from text by a strptime pattern, `iso`, or a name of `EPOCHS`.

    Text without an offset is read in `zone`. `milliseconds` names a text column to add.
    """

    column: str
    pattern: str = "iso"
    zone: str = "UTC"
    milliseconds: str | None = None


@dataclass(frozen=True)
class Digits(Scalar):
    """An identifier reduced to digits (see `privacy.normalise`); null where it lost some."""

    column: str


@dataclass(frozen=True)
class Address(Scalar):
    """An IP address as 32 lower-case hex digits, IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2).

    Reads dotted IPv4, IPv6 in any text form (RFC 4291, 2.2; a zone is cut off) and the 32 digits
    themselves; null where the text is none of them.
    """

    column: str


@dataclass(frozen=True)
class Pseudonym(Scalar):
    """HMAC-SHA256 of a text column under `key`, first 32 hex digits."""

    column: str
    key: bytes


@dataclass(frozen=True)
class OrderHash(Scalar):
    """An unkeyed 52-bit integer hash of a text column: the same on every engine, breaks every tie."""

    column: str


@dataclass(frozen=True)
class RecordHash(Scalar):
    """MD5 over several columns as text, lists as JSON; equal for rows that are identical in all of them."""

    columns: tuple[str, ...]


@dataclass(frozen=True)
class LocalDate(Scalar):
    """Calendar date of an instant in an IANA time zone."""

    column: str
    zone: str


@dataclass(frozen=True)
class LocalHour(Scalar):
    """Hour (0 to 23) of an instant in an IANA time zone."""

    column: str
    zone: str


@dataclass(frozen=True)
class HourStart(Scalar):
    """The instant at which the local hour of an instant began, in an IANA time zone.

    An hour that a clock set back repeats is two, and offsets of half an hour are kept.
    """

    column: str
    zone: str


@dataclass(frozen=True)
class Seconds(Scalar):
    """Seconds from one instant to another."""

    start: str
    end: str


@dataclass(frozen=True)
class CsvFormat:
    """How a delimited text file is written; `skip` lines stand above its header."""

    delimiter: str = ","
    encoding: Literal["utf-8", "utf-16", "latin-1", "cp1252"] = "utf-8"
    skip: int = 0


EPOCHS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0}
"""Patterns of times that are numbers since 1970 (UTC), with the microseconds in one."""

LATEST_EPOCH = 253_402_300_799e6
"""The end of the year 9999 in microseconds: engines differ beyond it."""

MAPPED = "00000000000000000000ffff"
"""What stands before an IPv4 address in an IPv6 one."""

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
DOTTED = rf"{_OCTET}(?:[.]{_OCTET}){{3}}"
"""A dotted IPv4 address."""

_GROUP = "[0-9a-f]{1,4}"
GROUPS = (
    rf"(?:(?:{_GROUP}:){{7}}{_GROUP}|(?:{_GROUP}:){{6}}{DOTTED}"
    rf"|(?:{_GROUP}(?::{_GROUP}){{0,6}})?::(?:(?:{_GROUP}:){{0,6}}(?:{_GROUP}|{DOTTED}))?)"
)
"""An IPv6 address by its shape: groups are counted apart."""

SWALLOWED = "behind a quote that is not closed"
"""What `ragged_lines` says of a line that stands in no record."""

MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", "nil", "-", "\\n", "#n/a")
"""Texts that every source may use for a missing value, in lower case."""


class Store(ABC):
    """Tables on one engine, as Narwhals lazy frames."""

    name: str

    @abstractmethod
    def read(self, paths: Sequence[Path]) -> Frame:
        """The rows of Parquet files that share a schema; columns that some lack are null there."""

    def beside(self, files: Mapping[Path, Sequence[str]], by: str, place: str) -> Frame:
        """The rows of Parquet files, side by side, that hold the same keys `by` in rising order, each once.

        Of each file the columns that are named, beside the key, or all where none are. `place` is a column
        that numbers the rows from 1, in that order.
        """
        first, *others = (
            self.read([path]).select(by, *columns) if columns else self.read([path])
            for path, columns in files.items()
        )
        for other in others:
            first = first.join(other, on=by, how="left")
        placed = first.with_columns(**{place: nw.lit(1.0)})
        placed = placed.with_columns(nw.col(place).cum_sum().over(order_by=by))
        return placed.with_columns(nw.col(place).cast(nw.Int64))

    def are_beside(self, one: Path, other: Path, by: str) -> bool:
        """Whether two Parquet files in rising order of `by`, each value once, hold the same values of it."""
        frames = [self.read([path]).select(by) for path in (one, other)]
        both = frames[0].join(frames[1], on=by, how="inner")
        counts = {self.row(frame.select(count=nw.len()))["count"] for frame in (*frames, both)}
        return len(counts) == 1

    @abstractmethod
    def read_csv(self, path: Path, columns: int, csv: CsvFormat) -> Frame:
        """A delimited text file with a header, all columns text named `c0`, `c1`, ... by position.

        `record` numbers the rows from 1 in file order. Lines with another count of fields are left
        out; `ragged_lines` tells which, once the frame was kept.
        """

    @abstractmethod
    def ragged_lines(self) -> list[tuple[int, str]]:
        """Line number and fault of each line that the last kept `read_csv` left out; forgets them."""

    @abstractmethod
    def numbered(self, path: Path) -> Frame:
        """A Parquet file's rows with columns renamed by position as in `read_csv`, and numbered."""

    @abstractmethod
    def keep(self, frame: Frame) -> Frame:
        """The same rows, computed now and once."""

    def keep_records(self, frame: Frame) -> Frame:
        """As `keep`, for a frame with one row for each of `read_csv` or `numbered`, in their order.

        An engine that numbers rows at a cost may leave that until they are kept.
        """
        return self.keep(frame)

    @abstractmethod
    def write(self, frame: Frame, path: Path, order_by: Sequence[str] = ()) -> int:
        """Writes one Parquet file, all there or not there; how many rows.

        Raises:
            StorageError: the disk is full or not writable.
        """

    @abstractmethod
    def arrow(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table: for bounded samples and small answers only."""

    @abstractmethod
    def derive(self, frame: Frame, columns: Mapping[str, Scalar]) -> Frame:
        """The frame with one added column per scalar."""

    @abstractmethod
    def forget(self) -> None:
        """Frees all that was kept so far; frames of it cannot be used any more."""

    @abstractmethod
    def twin(self) -> Store:
        """A store over the same tables for another thread; it closes with this one."""

    @abstractmethod
    def adopt(self, frame: Frame) -> Frame:
        """A frame of this store's twin, or the store that this one is a twin of, as one of its own."""

    @abstractmethod
    def quantiles(
        self, frame: Frame, columns: Sequence[str], levels: Sequence[float]
    ) -> dict[str, list[float | None]]:
        """Exact quantiles of several columns in one pass, by linear interpolation of the observed values.

        Per column one number a level, all null where nothing was observed.
        """

    def highest(self, frame: Frame, columns: Sequence[str], count: int) -> dict[str, list[Any]]:
        """The highest values of each column, in falling order, of equal ones each; nulls are left out.

        Whole numbers may come as floats: exact below 2^53.
        """
        # All columns in one query.
        heads = [
            frame.select(name)
            .filter(~nw.col(name).is_null())
            .sort(name, descending=True)
            .head(count)
            .select(name=nw.lit(name), value=nw.col(name).cast(nw.Float64))
            for name in columns
        ]
        rows = self.rows(nw.concat(heads)) if heads else []
        return {
            name: sorted((row["value"] for row in rows if row["name"] == name), reverse=True)
            for name in columns
        }

    @abstractmethod
    def united(self, frame: Frame, by: str, lists: Sequence[str], sums: Sequence[str], same: str) -> Frame:
        """One row a value of `by`: lists with each text of its rows once, sorted; `sums` added up.

        What is null in all rows stays null. Of `same`, which does not differ within a value, one is kept.
        """

    @abstractmethod
    def map_batches(
        self, frame: Frame, function: Callable[[pa.Table], pa.Table], schema: pa.Schema, rows: int = 50_000
    ) -> Frame:
        """What a function of Arrow tables makes of the rows, at most `rows` of them at once, computed now.

        For what no expression can say. Which rows come together, and in which process, is the engine's
        choice: the function must make the same of a row whatever stands beside it. Its tables have `schema`.
        """

    @abstractmethod
    def from_arrow(self, table: pa.Table) -> Frame:
        """A small Arrow table as a frame of this engine."""

    def rows(self, frame: Frame) -> list[dict[str, Any]]:
        """A small answer as records."""
        rows: list[dict[str, Any]] = self.arrow(frame).to_pylist()
        return rows

    def row(self, frame: Frame) -> dict[str, Any]:
        """The only row of a frame, such as a global aggregate."""
        (row,) = self.rows(frame)
        return row

    @abstractmethod
    def close(self) -> None:
        """Frees what the engine holds."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(engine: str = "duckdb", *, memory: str = "3GB", scratch: Path | None = None) -> Store:
    """A store on an engine.

    Args:
        engine: `duckdb`, or `spark` (extra `spark`; needs Java).
        memory: what the engine may hold before it spills to `scratch`.
        scratch: a directory for spilled intermediates.

    Raises:
        ConfigurationError: no such engine, or its extra is not installed.
    """
    if engine == "duckdb":
        from subsight.store._duckdb import DuckDBStore

        return DuckDBStore(memory=memory, scratch=scratch)
    if engine == "spark":
        from subsight.store._spark import SparkStore

        return SparkStore(memory=memory, scratch=scratch)
    raise ConfigurationError(
        "the engine is unknown", found=engine, expected="duckdb or spark", do="set engine to one of them"
    )
