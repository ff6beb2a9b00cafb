"""PostgreSQL through ADBC: binary COPY into a staging table, swapped in by the same transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import pyarrow as pa

from subsight.errors import ExportError
from subsight.surfaces.export.address import Address
from subsight.surfaces.export.evidence import Evidence, compare
from subsight.surfaces.export.rows import Rows, Totals, kinds_of
from subsight.surfaces.export.sql import KEY, Dialect, ingest, refuse_existing, scratch_name

__all__ = ["write"]

_SQL: Final = Dialect(
    mark='"',
    types={
        "text": "TEXT",
        "integer": "BIGINT",
        "float": "DOUBLE PRECISION",
        "boolean": "BOOLEAN",
        "date": "DATE",
        "instant": "TIMESTAMP",
    },
    totals={
        "text": ("SUM(('x' || LEFT(MD5(CONVERT_TO({c}, 'UTF8')), 8))::bit(32)::bigint)::text",),
        "integer": ("SUM({c})::text",),
        "float": ("SUM({c})", "SUM(ABS({c}))"),
        "boolean": ("COUNT(*) FILTER (WHERE {c})",),
        "date": ("SUM({c} - DATE '1970-01-01')::text",),
        "instant": ("SUM((EXTRACT(EPOCH FROM {c}) * 1000000)::bigint)::text",),
    },
)
_RELATIONS: Final = {"r": "table", "p": "table", "v": "view", "m": "materialised view", "f": "foreign table"}


def write(address: Address, rows: Rows, name: str, if_exists: str) -> Evidence:
    """Load, verify and swap in one transaction: a crash at any point leaves the previous table.

    A replaced table is a new one: grants on the old do not carry over, and a view on it refuses the
    swap. Appending keeps both.
    """
    kinds, names = kinds_of(rows.schema), rows.schema.names
    with (
        _explained(address),
        closing(_connect(address)) as connection,
        closing(connection.cursor()) as cursor,
    ):
        # A reader that holds the table must not hold the export for ever, nor two exports each other.
        cursor.execute("SET LOCAL lock_timeout = '60s'")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext($1))", (f"subsight.{name}",))
        schema = _one(cursor, "SELECT current_schema()")
        if schema is None:
            raise ExportError(f"{address.shown} has no schema to write to", do="set the user's search_path")
        appended = refuse_existing(address.shown, name, _existing(cursor, schema, name), if_exists)
        scratch = scratch_name("new", name)
        table, staging = _SQL.quote(schema, name), _SQL.quote(schema, scratch)
        zoned = {column.name: "TIMESTAMPTZ" for column in rows.schema if _has_zone(column.type)}
        cursor.execute(_SQL.create(staging, kinds, zoned))
        totals = Totals(rows.schema)
        ingest(cursor, scratch, rows.schema, totals.through(rows.batches()), db_schema_name=schema)
        cursor.execute(_SQL.totals_of(staging, kinds))
        held = _SQL.read_totals(cursor.fetchone(), kinds)
        checks = compare(address.shown, kinds, totals.result, held)
        if appended:
            _append(cursor, table, staging, names)
        else:
            _swap(cursor, table, staging, name, names)
        select = _SQL.first_rows(table, names)
        cursor.execute(select)
        first = tuple(dict(zip(names, row, strict=True)) for row in cursor.fetchall())
        count = int(_one(cursor, f"SELECT COUNT(*) FROM {table}"))
        connection.commit()
    return Evidence(address.shown, name, count, checks, select, first, totals.count, rows.notes)


def _connect(address: Address) -> Any:
    import adbc_driver_postgresql.dbapi as driver

    url = address.url
    if "connect_timeout" not in address.options:
        url += f"{'&' if '?' in url else '?'}connect_timeout=10"
    return driver.connect(url)


def _append(cursor: Any, table: str, staging: str, names: list[str]) -> None:
    cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
    cursor.execute(_SQL.append(table, staging, names))
    cursor.execute(f"DROP TABLE {staging}")


def _swap(cursor: Any, table: str, staging: str, name: str, names: list[str]) -> None:
    cursor.execute(f"DROP TABLE IF EXISTS {table}")
    cursor.execute(f"ALTER TABLE {staging} RENAME TO {_SQL.quote(name)}")
    if KEY in names:
        cursor.execute(f"CREATE INDEX ON {table} ({_SQL.quote(KEY)})")
    cursor.execute(f"ANALYZE {table}")


def _existing(cursor: Any, schema: str, name: str) -> str | None:
    cursor.execute(
        "SELECT c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname = $2",
        (schema, name),
    )
    row = cursor.fetchone()
    return _RELATIONS.get(row[0], "relation") if row else None


def _one(cursor: Any, statement: str) -> Any:
    cursor.execute(statement)
    return cursor.fetchone()[0]


def _has_zone(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """A driver's error as ours; not chained, for a traceback would print what `conceal` removes."""
    from adbc_driver_manager.dbapi import Error

    try:
        yield
    except (Error, pa.ArrowException) as error:
        text = address.conceal(str(error))
        state = getattr(error, "sqlstate", None) or ""
        if "Failed to connect" in text:
            what = f"cannot connect to {address.shown}"
            expected = "a PostgreSQL server that accepts this user for this database"
            do = "check host, port, user, password and database; `psql` with the same URL tells more"
        elif state == "42501":
            what, expected = (
                f"{address.shown} does not let this user write",
                "CREATE on the schema, or its owner",
            )
            do = "ask for the permission or name another database"
        elif state == "2BP01":
            what, expected = f"the table in {address.shown} cannot be replaced", "nothing that depends on it"
            do = "drop what depends on it, append, or name another table"
        else:
            what, expected = f"{address.shown} refused the table", "that it stores every row"
            do = "the previous table stands; remove the cause and export again"
        raise ExportError(what, found=text, expected=expected, do=do) from None
