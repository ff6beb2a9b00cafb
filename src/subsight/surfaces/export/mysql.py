"""MySQL and MariaDB through PyMySQL: LOAD DATA LOCAL INFILE, or INSERTs where the server forbids it.

DDL commits by itself there, so the new table is loaded and verified under a name of its own, and one
RENAME TABLE statement puts it in the old one's place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from subsight.contracts import Kind
from subsight.errors import ExportError
from subsight.surfaces.export.address import Address
from subsight.surfaces.export.evidence import Evidence, compare
from subsight.surfaces.export.rows import Rows, Totals, kinds_of
from subsight.surfaces.export.sql import KEY, Dialect, refuse_existing, scratch_name

__all__ = ["write"]

_SQL: Final = Dialect(
    mark="`",
    types={
        "text": "TEXT",
        "integer": "BIGINT",
        "float": "DOUBLE",
        "boolean": "TINYINT(1)",
        "date": "DATE",
        "instant": "DATETIME(6)",
    },
    totals={
        "text": ("SUM(CAST(CONV(LEFT(MD5({c}), 8), 16, 10) AS UNSIGNED))",),
        "integer": ("SUM({c})",),
        "float": ("SUM({c})", "SUM(ABS({c}))"),
        "boolean": ("SUM({c})",),
        "date": ("SUM(TO_DAYS({c}) - TO_DAYS('1970-01-01'))",),
        "instant": ("SUM(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {c}))",),
    },
)
_LOAD_REFUSED: Final = frozenset({1148, 2068, 3948, 3950, 4166})
_ESCAPES: Final = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0"))
_ROW_BYTES: Final = 60_000


def write(address: Address, rows: Rows, name: str, if_exists: str) -> Evidence:
    """Load, verify and swap. A killed export leaves a staging table, which the next one drops."""
    kinds, names = kinds_of(rows.schema), rows.schema.names
    scratch = scratch_name("new", name)
    table, staging, old = (_SQL.quote(n) for n in (name, scratch, scratch_name("old", name)))
    with _explained(address), closing(_connect(address)) as connection, connection.cursor() as cursor:
        _begin(cursor, address, name)
        appended = refuse_existing(address.shown, name, _existing(cursor, name), if_exists)
        types = _text_types(rows.longest())
        cursor.execute(f"DROP TABLE IF EXISTS {staging}, {old}")
        try:
            create = _SQL.create(staging, kinds, types)
            cursor.execute(f"{create} ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4")
            totals = Totals(rows.schema)
            _load(connection, cursor, staging, totals.through(rows.batches()))
            connection.commit()
            cursor.execute(_SQL.totals_of(staging, kinds))
            held = _SQL.read_totals(cursor.fetchone(), kinds)
            checks = compare(address.shown, kinds, totals.result, held)
            if appended:
                cursor.execute(_SQL.append(table, staging, names))
            else:
                _index(cursor, staging, kinds, types)
                _swap(
                    cursor,
                    table,
                    staging,
                    old,
                    exists=_existing(cursor, name) is not None,
                    if_exists=if_exists,
                )
            connection.commit()
        finally:
            with suppress(Exception):  # the connection may be what failed
                connection.rollback()
                cursor.execute(f"DROP TABLE IF EXISTS {staging}")
        select = _SQL.first_rows(table, names)
        cursor.execute(select)
        first = tuple(dict(zip(names, row, strict=True)) for row in cursor.fetchall())
        cursor.execute(f"SELECT COUNT(*) FROM {table}")
        count = int(cursor.fetchone()[0])
    return Evidence(address.shown, name, count, checks, select, first, totals.count, rows.notes)


def _connect(address: Address) -> Any:
    from pymysql.connections import Connection

    class Guarded(Connection):  # type: ignore[misc]
        """Gives the server no file but the one being loaded, whichever it asks for."""

        sending: str | None = None

        def _read_packet(self, *args: Any, **kwargs: Any) -> Any:
            packet = super()._read_packet(*args, **kwargs)
            if self.sending is not None and packet.is_load_local_packet():
                asked = packet.get_all_data()[1:]
                if asked != self.sending.encode():
                    raise RuntimeError("the server asked for a file that was not being loaded")
            return packet

    unknown = sorted(set(address.options) - {"unix_socket", "ssl_ca"})
    if unknown:
        raise ExportError(
            f"{address.shown} has an option that is not known",
            found=", ".join(unknown),
            expected="unix_socket or ssl_ca",
            do="leave the option out",
        )
    connection = Guarded(
        host=address.host,
        port=address.port or 3306,
        user=address.user,
        password=address.password or os.environ.get("MYSQL_PWD", ""),
        database=address.database,
        charset="utf8mb4",
        local_infile=True,
        connect_timeout=10,
        **address.options,
    )
    connection._local_infile = False  # agreed with the server, allowed only while loading
    return connection


def _begin(cursor: Any, address: Address, name: str) -> None:
    # Known rules for quotes and for values that do not fit, whatever the server's default.
    cursor.execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES', lock_wait_timeout = 60")
    lock = scratch_name("lock", f"{address.database}.{name}")
    cursor.execute("SELECT GET_LOCK(%s, 60)", (lock,))
    if cursor.fetchone()[0] != 1:
        raise ExportError(
            f"{name} in {address.shown} is being written by another export",
            expected="one export of a table at a time",
            do="wait for the other to end",
        )


def _existing(cursor: Any, name: str) -> str | None:
    cursor.execute(
        "SELECT table_type FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name = %s",
        (name,),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    return "table" if row[0] == "BASE TABLE" else str(row[0]).lower()


def _text_types(longest: Mapping[str, int]) -> dict[str, str]:
    """VARCHAR where the longest value and the row allow it, with room to grow; TEXT where not."""
    types, row_bytes = {}, 0
    for name, length in sorted(longest.items(), key=lambda item: item[0] != KEY):
        width = 64 if length <= 64 else 255
        if length > 65_535:
            types[name] = "LONGTEXT"
        elif length > 255 or row_bytes + 4 * width > _ROW_BYTES:
            types[name] = "TEXT"
        else:
            types[name] = f"VARCHAR({width})"
            row_bytes += 4 * width
    return types


def _index(cursor: Any, staging: str, kinds: Mapping[str, Kind], types: Mapping[str, str]) -> None:
    if KEY in kinds:
        prefix = "(64)" if types.get(KEY, "").endswith("TEXT") else ""
        cursor.execute(f"ALTER TABLE {staging} ADD INDEX ({_SQL.quote(KEY)}{prefix})")


def _swap(cursor: Any, table: str, staging: str, old: str, *, exists: bool, if_exists: str) -> None:
    if not exists or if_exists == "fail":
        cursor.execute(f"RENAME TABLE {staging} TO {table}")
        return
    cursor.execute(f"RENAME TABLE {table} TO {old}, {staging} TO {table}")
    try:
        cursor.execute(f"DROP TABLE {old}")
    except Exception:
        # Something still needs the old table, such as a foreign key: it keeps its place.
        cursor.execute(f"RENAME TABLE {table} TO {staging}, {old} TO {table}")
        raise


def _load(connection: Any, cursor: Any, staging: str, batches: Iterable[pa.RecordBatch]) -> None:
    """Batches by file; where the server refuses the first, that one and all others by INSERT."""
    from pymysql.err import MySQLError

    iterator = iter(batches)
    for batch in iterator:
        try:
            _load_file(connection, cursor, staging, batch)
        except MySQLError as error:
            if error.args[0] not in _LOAD_REFUSED:
                raise
            _insert(cursor, staging, chain([batch], iterator))


def _load_file(connection: Any, cursor: Any, staging: str, batch: pa.RecordBatch) -> None:
    with tempfile.NamedTemporaryFile(prefix="subsight-", suffix=".tsv") as file:
        file.write(_lines(batch))
        file.flush()
        connection.sending, connection._local_infile = file.name, True
        try:
            cursor.execute(
                f"LOAD DATA LOCAL INFILE %s INTO TABLE {staging} CHARACTER SET utf8mb4 "
                r"FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n'",
                (file.name,),
            )
        finally:
            connection.sending, connection._local_infile = None, False


def _lines(batch: pa.RecordBatch) -> memoryview:
    """A batch in LOAD DATA's own format: tabs between, backslash escapes, null as \\N."""
    columns = []
    for values in batch.columns:
        if pa.types.is_string(values.type):
            for raw, escaped in _ESCAPES:
                values = pc.replace_substring(values, raw, escaped)
        elif pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        elif pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp("us"))
        columns.append(pc.fill_null(values.cast(pa.string()), "\\N"))
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*columns, "\t"), "", "\n")
    offsets = memoryview(lines.buffers()[1]).cast("i")
    return memoryview(lines.buffers()[2])[offsets[lines.offset] : offsets[lines.offset + len(lines)]]


def _insert(cursor: Any, staging: str, batches: Iterable[pa.RecordBatch]) -> None:
    """Multi-row INSERTs of about a megabyte each."""
    for batch in batches:
        columns = [
            values.cast(pa.timestamp("us")) if pa.types.is_timestamp(values.type) else values
            for values in batch.columns
        ]
        marks = ", ".join(["%s"] * len(columns))
        tuples = list(zip(*(values.to_pylist() for values in columns), strict=True))
        cursor.executemany(f"INSERT INTO {staging} VALUES ({marks})", tuples)


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """A driver's error as ours; not chained, for a traceback would print what `conceal` removes."""
    from pymysql.err import MySQLError

    try:
        yield
    except (MySQLError, RuntimeError, pa.ArrowException) as error:
        code = error.args[0] if error.args else None
        text = address.conceal(str(error.args[1] if len(error.args) > 1 else error))
        if code == 2003:
            what, expected = (
                f"cannot connect to {address.shown}",
                "a MySQL or MariaDB server that answers there",
            )
            do = "check host and port, and that the server runs"
        elif code == 1049:
            what, expected = f"{address.shown} is not there", "a database that exists"
            do = "name another database, or have it created"
        elif code in (1044, 1045, 1142, 1227, 1370, 1698):
            what = f"{address.shown} does not let this user in, or not write"
            expected = "CREATE, DROP, ALTER, INSERT and SELECT on the database"
            do = "check user and password, or ask for the permission"
        else:
            what, expected = f"{address.shown} refused the table", "that it stores every row"
            do = "the previous table stands; remove the cause and export again"
        raise ExportError(what, found=text, expected=expected, do=do) from None
