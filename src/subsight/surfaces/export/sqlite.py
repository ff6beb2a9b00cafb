"""SQLite through ADBC: one transaction. Dates and instants are ISO text, booleans 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from subsight.errors import ExportError
from subsight.surfaces.export.address import Address
from subsight.surfaces.export.evidence import Evidence, Total, compare
from subsight.surfaces.export.rows import BATCH_ROWS, Rows, Totals, kinds_of
from subsight.surfaces.export.sql import KEY, Dialect, ingest, refuse_existing, scratch_name

__all__ = ["write"]

_SQL: Final = Dialect(
    mark='"',
    types={"text": "TEXT", "integer": "INTEGER", "float": "REAL"},
    # SQLite has no hash: text is read back. Its integer sums overflow, so halves are added apart.
    totals={
        "integer": ("SUM({c} % 4294967296)", "SUM({c} / 4294967296)"),
        "float": ("SUM({c})", "SUM(ABS({c}))"),
    },
)

_BUSY_MS: Final = 10_000


def write(address: Address, rows: Rows, name: str, if_exists: str) -> Evidence:
    """Load, verify and swap in one transaction of the database file, which is made where there is none."""
    assert address.path is not None
    path, schema = address.path, _stored(rows.schema)
    kinds, names, fresh = kinds_of(schema), schema.names, not path.exists()
    try:
        with (
            _explained(address),
            closing(_connect(address)) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            # Otherwise a view on the table would forbid the swap.
            cursor.execute("PRAGMA legacy_alter_table = ON")
            scratch = scratch_name("new", name)
            table, staging = _SQL.quote(name), _SQL.quote(scratch)
            cursor.execute(_SQL.create(staging, kinds))  # takes the write lock before anything is looked at
            appended = refuse_existing(address.shown, name, _existing(cursor, name), if_exists)
            totals = Totals(schema)
            batches = (_store(batch, schema) for batch in rows.batches())
            ingest(cursor, scratch, schema, totals.through(batches))
            checks = compare(address.shown, kinds, totals.result, _held(cursor, staging, schema))
            if appended:
                cursor.execute(_SQL.append(table, staging, names))
                cursor.execute(f"DROP TABLE {staging}")
            else:
                _swap(cursor, table, staging, name, names)
            select = _SQL.first_rows(table, names)
            cursor.execute(select)
            first = tuple(dict(zip(names, row, strict=True)) for row in cursor.fetchall())
            cursor.execute(f"SELECT COUNT(*) FROM {table}")
            count = int(cursor.fetchone()[0])
            connection.commit()
    except BaseException:
        if fresh and path.exists() and not path.stat().st_size:
            path.unlink()
        raise
    return Evidence(address.shown, name, count, checks, select, first, totals.count, rows.notes)


def _connect(address: Address) -> Any:
    import adbc_driver_sqlite.dbapi as driver

    return driver.connect(str(address.path))


def _stored(schema: pa.Schema) -> pa.Schema:
    """The schema as SQLite stores it, which has no type for dates, instants or booleans."""
    special = {"date": pa.string(), "instant": pa.string(), "boolean": pa.int64()}
    return pa.schema([pa.field(n, special.get(k, schema.field(n).type)) for n, k in kinds_of(schema).items()])


def _store(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for values, field in zip(batch.columns, schema, strict=True):
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp("us"))  # in UTC; its text then ends without a zone
        columns.append(values.cast(field.type))
    return pa.record_batch(columns, schema=schema)


def _held(cursor: Any, table: str, schema: pa.Schema) -> tuple[int, dict[str, Total]]:
    kinds = kinds_of(schema)
    cursor.execute(_SQL.totals_of(table, kinds))
    count, totals = _SQL.read_totals(cursor.fetchone(), kinds)
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": BATCH_ROWS})
    for name, kind in kinds.items():
        if kind != "text":
            continue
        only = Totals(pa.schema([schema.field(name)]))
        # Only values: a batch of nulls alone would come back as numbers.
        cursor.execute(f"SELECT {_SQL.quote(name)} FROM {table} WHERE {_SQL.quote(name)} IS NOT NULL")
        for batch in cursor.fetch_record_batch():
            only.add(batch.cast(pa.schema([schema.field(name)])))
        totals[name] = replace(totals[name], value=only.result[1][name].value)
    return count, totals


def _swap(cursor: Any, table: str, staging: str, name: str, names: list[str]) -> None:
    cursor.execute(f"DROP TABLE IF EXISTS {table}")
    cursor.execute(f"ALTER TABLE {staging} RENAME TO {table}")
    if KEY in names:
        index = _SQL.quote(f"{name}_{KEY}")
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} ({_SQL.quote(KEY)})")


def _existing(cursor: Any, name: str) -> str | None:
    cursor.execute(
        "SELECT type FROM sqlite_master WHERE lower(name) = lower(?) AND type IN ('table', 'view')", (name,)
    )
    row = cursor.fetchone()
    return str(row[0]) if row else None


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    from adbc_driver_manager.dbapi import Error

    try:
        yield
    except (Error, pa.ArrowException) as error:
        text = " ".join(str(error).split())
        if "failed to open" in text:
            expected, do = "a directory that exists and can be written", "make the directory, or name another"
        elif "not a database" in text:
            expected, do = "an SQLite database, or no file", "name another file"
        elif "locked" in text:
            expected, do = "no other program that writes to it", "close the other program and export again"
        else:
            expected, do = (
                "that it stores every row",
                "the previous table stands; remove the cause, export again",
            )
        raise ExportError(
            f"{address.shown} refused the table", found=text, expected=expected, do=do
        ) from error
