"""What the three databases say alike: one table's statements in a dialect's words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from subsight.contracts import Kind
from subsight.errors import ExportError
from subsight.surfaces.export.evidence import Total

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KEY", "Dialect", "ingest", "refuse_existing", "scratch_name"]

KEY: Final = "subscriber_id"


@dataclass(frozen=True)
class Dialect:
    """A database's quotes, types, and totals.

    `totals` has each kind's aggregates over the quoted column `{c}`. A float has its sum and the sum
    of absolutes; any other kind has digits of base 2^32, the lowest first. A kind without is read back.
    """

    mark: str
    types: Mapping[Kind, str]
    totals: Mapping[Kind, tuple[str, ...]]

    def quote(self, *names: str) -> str:
        """Names as one identifier; the quote mark is doubled, so no name can end its quotes."""
        return ".".join(f"{self.mark}{name.replace(self.mark, self.mark * 2)}{self.mark}" for name in names)

    def columns(self, names: Sequence[str]) -> str:
        """A column list."""
        return ", ".join(self.quote(name) for name in names)

    def create(self, table: str, kinds: Mapping[str, Kind], special: Mapping[str, str] | None = None) -> str:
        """CREATE TABLE, with the types of `special` columns given."""
        types = {name: (special or {}).get(name, self.types[kind]) for name, kind in kinds.items()}
        return f"CREATE TABLE {table} ({', '.join(f'{self.quote(n)} {t}' for n, t in types.items())})"

    def append(self, table: str, staging: str, names: Sequence[str]) -> str:
        """INSERT of all staged rows into a table with at least these columns."""
        return f"INSERT INTO {table} ({self.columns(names)}) SELECT {self.columns(names)} FROM {staging}"

    def first_rows(self, table: str, names: Sequence[str]) -> str:
        """The SELECT that is shown as evidence."""
        order = f" ORDER BY {self.quote(KEY)}" if KEY in names else ""
        return f"SELECT {self.columns(names)} FROM {table}{order} LIMIT 5"

    def totals_of(self, table: str, kinds: Mapping[str, Kind]) -> str:
        """One SELECT of the row count and every column's count and totals."""
        parts = ["COUNT(*)"]
        for name, kind in kinds.items():
            column = self.quote(name)
            parts.append(f"COUNT({column})")
            parts += [expression.format(c=column) for expression in self.totals.get(kind, ())]
        return f"SELECT {', '.join(parts)} FROM {table}"

    def read_totals(self, row: Sequence[Any], kinds: Mapping[str, Kind]) -> tuple[int, dict[str, Total]]:
        """The answer of `totals_of`. A kind that is read back has a total of nought here."""
        values = iter(row)
        count, totals = int(next(values)), {}
        for name, kind in kinds.items():
            non_null = int(next(values))
            parts = [next(values) or 0 for _ in self.totals.get(kind, ())]
            if kind == "float":
                totals[name] = Total(non_null, float(parts[0]), float(parts[1]))
            else:
                totals[name] = Total(non_null, sum(int(part) << (32 * i) for i, part in enumerate(parts)))
        return count, totals


def scratch_name(purpose: str, name: str) -> str:
    """A staging table's name: the same for each export of a table, so that leftovers are found."""
    return f"subsight_{purpose}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def ingest(
    cursor: Any, scratch: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch], **where: str
) -> None:
    """ADBC's bulk load into a table that is there, as one stream."""
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Error

    failures: list[BaseException] = []

    def kept() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except (Exception, KeyboardInterrupt) as failure:
            failures.append(failure)
            raise

    reader = pa.RecordBatchReader.from_batches(schema, kept())
    try:
        cursor.adbc_ingest(scratch, reader, mode="append", **where)
    except Error:
        if failures:
            # The driver only has our traceback's text: the failure itself says what to do.
            raise failures[0] from None
        raise


def refuse_existing(shown: str, name: str, found: str | None, if_exists: str) -> bool:
    """Whether rows are appended to a table that is there; `found` is what bears the name, if anything.

    Raises:
        ExportError: the name is taken, by a view or while `if_exists` is fail.
    """
    if found is None:
        return False
    if found != "table":
        raise ExportError(
            f"{name} in {shown} cannot be replaced",
            found=f"a {found} of that name",
            expected="a table, or nothing",
            do=f"drop the {found} or name another table",
        )
    if if_exists == "fail":
        raise ExportError(
            f"{name} in {shown} is there already",
            expected="no table of that name",
            do="name another table, or allow it to be replaced or appended to",
        )
    return if_exists == "append"
