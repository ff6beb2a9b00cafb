"""Exports: another client finds in the target the values that were sent, or what was there before."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import math
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.errors import ExportError, InputError
from subsight.privacy import pseudonym, reveal
from subsight.surfaces.export import export
from subsight.surfaces.export.address import Address
from subsight.surfaces.export.evidence import Total
from subsight.surfaces.export.rows import Rows, Totals

MYSQL = "mysql://root@127.0.0.1:3306/test"
POSTGRESQL = "postgresql://postgres@127.0.0.1:5432/test"

AWKWARD = [
    "plain",
    "tab\tquote\"apostrophe'back\\slash",
    "line\nfeed\r\nand \\N and \\t",
    "",
    None,
    "émoji 📶 漢字",
    "NULL",
    "a,b;c` -- %s {c}",
    " padded ",
]
INTEGERS = [0, -1, 2**63 - 1, -(2**63), None, 2**53 + 1, 7, 8, 9]
FLOATS = [0.1, -1e-300, 1e300, 1 / 3, None, -2.5, 123456789.125, math.nan, -math.inf]
STORED_FLOATS = [*FLOATS[:7], None, None]
BOOLEANS = [True, False, None, True, True, False, False, True, None]
DATES = [dt.date(1970, 1, 1), dt.date(1969, 12, 31), dt.date(2026, 2, 28), None, *[dt.date(2024, 2, 29)] * 5]
INSTANTS = [
    dt.datetime(2024, 1, 2, 3, 4, 5, 678901, dt.UTC),
    dt.datetime(1969, 12, 31, 23, 59, 59, 1, dt.UTC),
    None,
    *[dt.datetime(2024, 6, 1, tzinfo=dt.UTC)] * 6,
]


def awkward() -> pa.Table:
    return pa.table(
        {
            "subscriber_id": pa.array([f"s{i}" for i in range(9)]),
            "note": pa.array(AWKWARD).dictionary_encode(),
            "session_count": pa.array(INTEGERS, pa.int64()),
            'odd "name`, %s {c}': pa.array(FLOATS, pa.float64()),
            "is_new": pa.array(BOOLEANS, pa.bool_()),
            "first_date": pa.array(DATES, pa.date32()),
            "first_at": pa.array(INSTANTS, pa.timestamp("ns", "UTC")),
        }
    )


def small(*scores: float) -> pa.Table:
    return pa.table({"subscriber_id": [f"s{i}" for i in range(len(scores))], "score": list(scores)})


@dataclass
class Target:
    """One target, and how to look into it without the code under test."""

    url: str
    name: str
    look: Callable[[str], list[tuple[Any, ...]]]
    tables: Callable[[], list[str]]

    def scores(self) -> list[tuple[Any, ...]]:
        return self.look(f"SELECT subscriber_id, score FROM {self.name} ORDER BY subscriber_id")


def _mysql() -> Any:
    import pymysql

    try:
        return pymysql.connect(host="127.0.0.1", user="root", database="test", autocommit=True)
    except pymysql.err.OperationalError as error:
        pytest.skip(f"no MariaDB or MySQL on loopback: {error}")


def _postgresql() -> Any:
    import adbc_driver_postgresql.dbapi as driver

    try:
        return driver.connect(POSTGRESQL, autocommit=True)
    except driver.Error as error:
        pytest.skip(f"no PostgreSQL on loopback: {error}")


def _target(kind: str, folder: Path) -> Iterator[Target]:
    name = f"subsight_test_{uuid.uuid4().hex[:12]}"
    if kind == "sqlite":
        path = folder / "target.db"

        def look(statement: str) -> list[tuple[Any, ...]]:
            with closing(sqlite3.connect(path)) as connection:
                return connection.execute(statement).fetchall()

        yield Target(str(path), name, look, lambda: [r[0] for r in look("SELECT name FROM sqlite_master")])
        return
    with closing(_mysql() if kind == "mysql" else _postgresql()) as connection, connection.cursor() as cursor:

        def look(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

        listing = "SELECT table_name FROM information_schema.tables"
        yield Target(
            MYSQL if kind == "mysql" else POSTGRESQL, name, look, lambda: [str(r[0]) for r in look(listing)]
        )
        cursor.execute(f"DROP TABLE IF EXISTS {name}")


DATABASES = [
    "sqlite",
    pytest.param("mysql", marks=pytest.mark.database),
    pytest.param("postgresql", marks=pytest.mark.database),
]


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    yield from _target(request.param, tmp_path)


@pytest.fixture
def mysql(tmp_path: Path) -> Iterator[Target]:
    yield from _target("mysql", tmp_path)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[Target]:
    yield from _target("postgresql", tmp_path)


def expected_rows(kind: str) -> list[tuple[Any, ...]]:
    """What a plain client should find of `awkward()`, in that database's own terms."""
    booleans: list[Any] = BOOLEANS
    dates: list[Any] = DATES
    instants: list[Any] = INSTANTS
    if kind == "sqlite":
        dates = [d and d.isoformat() for d in DATES]
        instants = [i and f"{i:%Y-%m-%d %H:%M:%S.%f}" for i in INSTANTS]
    if kind == "mysql":
        instants = [i and i.replace(tzinfo=None) for i in INSTANTS]
    ids = [f"s{i}" for i in range(9)]
    return list(zip(ids, AWKWARD, INTEGERS, STORED_FLOATS, booleans, dates, instants, strict=True))


def kind_of(target: Target) -> str:
    return target.url.partition("://")[0] if "://" in target.url else "sqlite"


# --- what arrives -----------------------------------------------------------------------------------


def test_a_database_holds_every_awkward_value(database: Target) -> None:
    evidence = export(awkward(), database.url, name=database.name)
    found = database.look(f"SELECT * FROM {database.name} ORDER BY subscriber_id")
    assert [tuple(row) for row in found] == expected_rows(kind_of(database))
    assert (evidence.row_count, evidence.sent_count, len(evidence.rows)) == (9, 9, 5)
    assert evidence.rows[1]["note"] == AWKWARD[1]
    assert evidence.select.startswith("SELECT ")
    assert database.look(evidence.select)[1][1] == AWKWARD[1]
    assert any(": 2 values that are no finite number" in note for note in evidence.notes)
    checks = {check.column: check for check in evidence.checksum}
    # 2^63-1 - 2^63 = -1, and -1 + 2^53+1 + 7+8+9 = 2^53 + 24; then the two -1: 2^53 + 23.
    assert (checks["session_count"].non_null, checks["session_count"].held) == (8, 2**53 + 23)
    assert (checks["is_new"].non_null, checks["is_new"].held) == (7, 4)


@pytest.mark.database
def test_mysql_without_local_infile_gets_the_same_by_insert(
    mysql: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subsight.surfaces.export.mysql as module

    inserts: list[str] = []
    insert = module._insert
    monkeypatch.setattr(module, "_insert", lambda *given: (inserts.append(given[1]), insert(*given)))
    before = mysql.look("SELECT @@GLOBAL.local_infile")[0][0]
    try:
        mysql.look("SET GLOBAL local_infile = 1")
        export(awkward(), mysql.url, name=mysql.name)
        assert inserts == []
        mysql.look("SET GLOBAL local_infile = 0")
        export(awkward(), mysql.url, name=mysql.name)
        assert len(inserts) == 1
    finally:
        mysql.look(f"SET GLOBAL local_infile = {before}")
    assert mysql.look(f"SELECT * FROM {mysql.name} ORDER BY subscriber_id") == expected_rows("mysql")


@pytest.mark.database
def test_mysql_gets_no_other_file_than_the_one_being_loaded(mysql: Target, tmp_path: Path) -> None:
    import subsight.surfaces.export.mysql as module

    private = tmp_path / "private.tsv"
    private.write_text("secret\n")
    export(pa.table({"note": ["x"]}), mysql.url, name=mysql.name)
    statement = f"LOAD DATA LOCAL INFILE '{private}' INTO TABLE {mysql.name}"
    for sending, allowed in (("/another.tsv", True), (None, False)):
        with closing(module._connect(Address.parse(mysql.url))) as connection, connection.cursor() as cursor:
            connection.sending, connection._local_infile = sending, allowed
            with pytest.raises(RuntimeError):
                cursor.execute(statement)
    assert mysql.look(f"SELECT note FROM {mysql.name}") == [("x",)]


@pytest.mark.database
def test_mysql_types_and_index(mysql: Target) -> None:
    export(
        awkward()
        .append_column("long", pa.array(["x" * 300] * 9))
        .append_column("b", pa.array(["x" * 70_000] * 9)),
        mysql.url,
        name=mysql.name,
    )
    types = [
        str(row[0])
        for row in mysql.look(
            "SELECT column_type FROM information_schema.columns "
            f"WHERE table_name = '{mysql.name}' ORDER BY ordinal_position"
        )
    ]
    assert types[:2] == ["varchar(64)", "varchar(64)"]
    assert types[2].startswith("bigint")
    assert types[3:] == ["double", "tinyint(1)", "date", "datetime(6)", "text", "longtext"]
    assert [row[4] for row in mysql.look(f"SHOW INDEX FROM {mysql.name}")] == ["subscriber_id"]


@pytest.mark.database
def test_postgresql_types_and_index(postgresql: Target) -> None:
    export(awkward(), postgresql.url, name=postgresql.name)
    types = postgresql.look(
        "SELECT data_type::text FROM information_schema.columns "
        f"WHERE table_name = '{postgresql.name}' ORDER BY ordinal_position"
    )
    assert [row[0] for row in types] == [
        "text",
        "text",
        "bigint",
        "double precision",
        "boolean",
        "date",
        "timestamp with time zone",
    ]
    (index,) = postgresql.look(f"SELECT indexdef::text FROM pg_indexes WHERE tablename = '{postgresql.name}'")
    assert index[0].endswith("(subscriber_id)")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv_reads_the_same_elsewhere_and_holds_no_formula(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    notes = ["=1+1", "+33", "-x", "@a", "\t=1", "'=1", "a=1", None, 'two\nlines, "quoted"']
    table = pa.table(
        {"note": notes, "score": FLOATS, "first_at": pa.array(INSTANTS, pa.timestamp("us", "UTC"))}
    )
    evidence = export(table, str(path), name="satisfaction")
    content = gzip.decompress(path.read_bytes()) if suffix == ".csv.gz" else path.read_bytes()
    header, *rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert header == ["note", "score", "first_at"]
    assert [row[0] for row in rows] == ["'=1+1", "'+33", "'-x", "'@a", "'\t=1", "'=1", "a=1", "", notes[8]]
    assert [float(row[1]) if row[1] else None for row in rows] == STORED_FLOATS
    assert rows[0][2] == "2024-01-02 03:04:05.678901Z"
    assert (
        "note: 5 values that a spreadsheet would run as a formula got a leading apostrophe" in evidence.notes
    )
    assert evidence.rows[0]["note"] == "'=1+1"
    assert evidence.row_count == 9


def test_parquet_holds_every_awkward_value(tmp_path: Path) -> None:
    evidence = export(awkward(), str(tmp_path / "out.parquet"), name="satisfaction")
    found = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert [tuple(row) for row in zip(*found.values(), strict=True)] == expected_rows("parquet")
    assert evidence.row_count == 9


@pytest.mark.parametrize("source", ["table", "path"])
def test_more_rows_than_a_batch_are_streamed(database: Target, tmp_path: Path, source: str) -> None:
    count = 70_000
    table: Any = pa.table(
        {"subscriber_id": [f"{i:06d}" for i in range(count)], "score": pa.array(range(count))}
    )
    if source == "path":
        pq.write_table(table, tmp_path / "source.parquet", row_group_size=30_000)
        table = tmp_path / "source.parquet"
    seen: list[tuple[int, int]] = []
    evidence = export(table, database.url, name=database.name, progress=lambda *given: seen.append(given))
    assert evidence.row_count == count
    assert database.look(f"SELECT MIN(score), MAX(score), COUNT(*) FROM {database.name}") == [
        (0, 69_999, count)
    ]
    assert evidence.checksum[1].held == count * (count - 1) // 2
    assert seen[-1] == (count, count)
    assert all(done - before <= 65_536 for (before, _), (done, _) in zip([(0, 0), *seen], seen, strict=False))


def test_an_empty_table_arrives_empty(database: Target, tmp_path: Path) -> None:
    nothing = awkward().slice(0, 0)
    assert export(nothing, database.url, name=database.name).row_count == 0
    assert database.look(f"SELECT COUNT(*) FROM {database.name}") == [(0,)]
    for suffix in (".csv", ".csv.gz", ".parquet"):
        for if_exists in ("replace", "append"):
            evidence = export(nothing, str(tmp_path / f"out{suffix}"), name="t", if_exists=if_exists)  # type: ignore[arg-type]
            assert (evidence.row_count, evidence.rows) == (0, ())


def test_one_column_of_nulls_arrives(database: Target, tmp_path: Path) -> None:
    nulls = pa.table({"note": pa.array([None, None, None])})
    for target in (database.url, *(str(tmp_path / f"out{s}") for s in (".csv", ".csv.gz", ".parquet"))):
        evidence = export(nulls, target, name=database.name)
        assert [row["note"] for row in evidence.rows] == [None, None, None]


# --- what was there before ----------------------------------------------------------------------------


def test_replace_append_and_fail(database: Target) -> None:
    export(small(9.0), database.url, name=database.name)
    export(small(1.0, 2.0), database.url, name=database.name)
    assert database.scores() == [("s0", 1.0), ("s1", 2.0)]
    evidence = export(small(4.0), database.url, name=database.name, if_exists="append")
    assert sorted(database.scores()) == [("s0", 1.0), ("s0", 4.0), ("s1", 2.0)]
    assert (evidence.sent_count, evidence.row_count) == (1, 3)
    with pytest.raises(ExportError, match="is there already"):
        export(small(5.0), database.url, name=database.name, if_exists="fail")
    with pytest.raises(ExportError, match="refused the table"):
        export(pa.table({"other": [1]}), database.url, name=database.name, if_exists="append")
    assert len(database.scores()) == 3
    assert not [name for name in database.tables() if name.startswith(("subsight_new", "subsight_old"))]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_files_replace_append_and_fail(tmp_path: Path, suffix: str) -> None:
    path = str(tmp_path / f"out{suffix}")
    export(small(9.0), path, name="t")
    export(small(1.0, 2.0), path, name="t", if_exists="replace")
    evidence = export(small(4.0), path, name="t", if_exists="append")
    assert [row["score"] for row in evidence.rows] == [1.0, 2.0, 4.0]
    assert (evidence.sent_count, evidence.row_count) == (1, 3)
    before = Path(path).read_bytes()
    with pytest.raises(ExportError, match="is there already"):
        export(small(5.0), path, name="t", if_exists="fail")
    with pytest.raises(ExportError, match="other columns"):
        export(pa.table({"other": [1]}), path, name="t", if_exists="append")
    assert Path(path).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [f"out{suffix}"]


def test_appending_to_a_csv_without_a_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("subscriber_id,score\na,1.5")
    export(small(4.0), str(path), name="t", if_exists="append")
    with path.open(newline="") as lines:
        assert list(csv.reader(lines)) == [["subscriber_id", "score"], ["a", "1.5"], ["s0", "4"]]


def test_a_failed_verification_leaves_what_was_there(
    database: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(small(1.0), database.url, name=database.name)

    def lose_a_row(self: Totals) -> Any:
        self.count += 1
        return original(self)

    original = Totals.result.fget
    assert original is not None
    monkeypatch.setattr(Totals, "result", property(lose_a_row))
    with pytest.raises(ExportError, match="does not hold what was sent"):
        export(small(2.0, 3.0), database.url, name=database.name)
    assert database.scores() == [("s0", 1.0)]
    assert not [name for name in database.tables() if name.startswith(("subsight_new", "subsight_old"))]


def test_a_file_that_reads_back_otherwise_is_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subsight.surfaces.export.files as module

    path = tmp_path / "out.csv"
    export(small(1.0), str(path), name="t")
    before, read = path.read_bytes(), module._read
    other = pa.record_batch({"subscriber_id": ["s0", "s1"], "score": [2.0, 3.5]})
    monkeypatch.setattr(module, "_read", lambda *given, **more: iter([other]))
    with pytest.raises(ExportError) as caught:
        export(small(2.0, 3.0), str(path), name="t")
    assert caught.value.found == "2 values, total 5.5"
    assert caught.value.expected == "2 values, total 5.0"
    monkeypatch.setattr(module, "_read", read)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


_KILLED = """
import os, signal, sys
import pyarrow as pa
from subsight.surfaces.export import export
table = pa.table({"subscriber_id": [f"n{i}" for i in range(140_000)], "score": pa.array([0.5] * 140_000)})
def progress(done, total):
    if done > 65_536:
        os.kill(os.getpid(), signal.SIGKILL)
export(table, sys.argv[1], name=sys.argv[2], progress=progress)
"""


def kill_an_export(url: str, name: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, url, name], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def test_a_killed_export_leaves_what_was_there(database: Target) -> None:
    export(small(1.0), database.url, name=database.name)
    kill_an_export(database.url, database.name)
    assert database.scores() == [("s0", 1.0)]
    export(small(2.0), database.url, name=database.name)
    assert database.scores() == [("s0", 2.0)]
    assert not [name for name in database.tables() if name.startswith(("subsight_new", "subsight_old"))]


def test_what_stops_an_export_is_told_as_it_is(database: Target) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    export(small(1.0), database.url, name=database.name)
    with pytest.raises(KeyboardInterrupt):
        export(small(2.0), database.url, name=database.name, progress=stop)
    assert database.scores() == [("s0", 1.0)]
    assert not [name for name in database.tables() if name.startswith(("subsight_new", "subsight_old"))]


def test_a_killed_export_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    export(small(1.0), str(path), name="t")
    kill_an_export(str(path), "t")
    assert pq.read_table(path)["score"].to_pylist() == [1.0]


def test_a_view_is_neither_replaced_nor_in_the_way(database: Target) -> None:
    export(small(1.0), database.url, name=database.name)
    view = f"{database.name}_view"
    database.look(f"CREATE VIEW {view} AS SELECT * FROM {database.name}")
    try:
        with pytest.raises(ExportError, match="a view of that name"):
            export(small(2.0), database.url, name=view)
        if kind_of(database) == "postgresql":
            with pytest.raises(ExportError, match="nothing that depends on it"):
                export(small(2.0), database.url, name=database.name)
        else:
            export(small(2.0), database.url, name=database.name)
            assert database.look(f"SELECT score FROM {view}") == [(2.0,)]
    finally:
        database.look(f"DROP VIEW {view}")


@pytest.mark.database
def test_mysql_puts_the_old_table_back_where_it_cannot_be_dropped(mysql: Target) -> None:
    child = f"{mysql.name}_child"
    mysql.look(f"CREATE TABLE {mysql.name} (subscriber_id VARCHAR(64) PRIMARY KEY, score DOUBLE)")
    mysql.look(f"INSERT INTO {mysql.name} VALUES ('a', 1.5)")
    mysql.look(
        f"CREATE TABLE {child} (id VARCHAR(64), FOREIGN KEY (id) REFERENCES {mysql.name} (subscriber_id))"
    )
    try:
        with pytest.raises(ExportError):
            export(small(2.0), mysql.url, name=mysql.name)
        assert mysql.scores() == [("a", 1.5)]
        assert not [name for name in mysql.tables() if name.startswith(("subsight_new", "subsight_old"))]
    finally:
        mysql.look(f"DROP TABLE {child}")


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "a b", "x;DROP TABLE y", 'a"b', "a`b", "1a", "a.b", "x" * 64, "naïve", "a\n"]
)
def test_a_name_that_needs_trust_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="cannot be a table's name"):
        export(small(1.0), str(tmp_path / "t.db"), name=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "target", ["out.xlsx", "out", "oracle://a/b", "sqlite://", "mysql://root@127.0.0.1/"]
)
def test_a_target_that_cannot_be_is_refused(target: str) -> None:
    with pytest.raises(ExportError) as caught:
        export(small(1.0), target, name="t")
    assert caught.value.expected


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root:hunter2@127.0.0.1/nowhere_at_all",
        "mysql://root:hunter2@127.0.0.1:1/test",
        "mysql://root:hunter2@127.0.0.1/test",
        "mysql://root:hunter2@127.0.0.1/test?password=hunter2&unix_socket=hunter2",
        "mysql://root:hun#ter2@127.0.0.1/test",
        "mysql://root:hunter2/x@127.0.0.1/test",
        "mysql://root:hunter2?x@127.0.0.1/test",
        "mysql://root:hunter2:x@127.0.0.1:port/test",
        "postgresql://nobody_at_all:hunter2@127.0.0.1/test",
        "postgresql://postgres:hunter2@127.0.0.1/nowhere_at_all",
        "postgresql://postgres:hunter2@127.0.0.1:1/test",
        "postgresql://postgres:hunter2%zz@127.0.0.1/test",
        "postgresql://postgres@127.0.0.1/nowhere_at_all?password=hunter2",
        "postgresql://postgres:hunter2@127.0.0.1/test?nonsense=hunter2",
    ],
)
@pytest.mark.database
def test_a_refused_connection_is_explained_without_the_password(
    url: str, mysql: Target, postgresql: Target, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        export(small(1.0), url, name="t")
    error = caught.value
    shown = f"{error} {error!r} {error.__cause__!r}"
    assert "hunter2" not in shown
    assert error.expected
    assert error.do
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_an_address_shows_no_password() -> None:
    address = Address.parse(
        "postgresql://ann:p%40ss%20word@db.example:5433/op?sslmode=require&password=hidden"
    )
    assert address.shown == "postgresql://ann@db.example:5433/op"
    assert address.password == "p@ss word"
    assert "word" not in repr(address)
    assert address.conceal("p@ss word p%40ss%20word p%40ss+word hidden") == "*** *** *** ***"


@pytest.mark.database
def test_missing_permissions_are_explained(mysql: Target, postgresql: Target) -> None:
    user = f"subsight_{uuid.uuid4().hex[:8]}"
    mysql.look(f"CREATE USER {user}@'%' IDENTIFIED BY 'hunter2'")
    mysql.look(f"CREATE USER {user}@localhost IDENTIFIED BY 'hunter2'")
    postgresql.look(f"CREATE ROLE {user} LOGIN")
    try:
        for url in (f"mysql://{user}:hunter2@127.0.0.1/mysql", f"postgresql://{user}:hunter2@127.0.0.1/test"):
            with pytest.raises(ExportError, match="not let this user") as caught:
                export(small(1.0), url, name="t")
            assert "hunter2" not in str(caught.value)
    finally:
        mysql.look(f"DROP USER {user}@'%', {user}@localhost")
        postgresql.look(f"DROP ROLE {user}")


def test_bad_files_are_explained(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database at all, sorry " * 50)
    with pytest.raises(ExportError, match="an SQLite database, or no file"):
        export(small(1.0), str(tmp_path / "text.db"), name="t")
    with pytest.raises(ExportError, match="a directory that exists"):
        export(small(1.0), f"sqlite:///{tmp_path}/no/such/t.db", name="t")
    with pytest.raises(ExportError, match="No such file or directory"):
        export(small(1.0), str(tmp_path / "no" / "t.csv"), name="t")
    with pytest.raises(ExportError, match="cannot be read"):
        export(tmp_path / "missing.parquet", str(tmp_path / "t.csv"), name="t")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subsight.surfaces.export.files as module

    path = tmp_path / "out.csv"
    export(small(1.0), str(path), name="t")
    before = path.read_bytes()
    monkeypatch.setattr(Path, "with_name", lambda self, name: tmp_path / "part")
    (tmp_path / "part").symlink_to("/dev/full")
    with pytest.raises(ExportError, match="No space left on device"):
        module.write(Address.parse(str(path)), Rows(small(2.0)), "t", "replace")
    assert path.read_bytes() == before


def test_a_locked_sqlite_database_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import adbc_driver_sqlite.dbapi as driver

    path = tmp_path / "t.db"
    export(small(1.0), str(path), name="t")
    # The same library on both sides: within one process, two builds of SQLite do not see each other's locks.
    with driver.connect(str(path)) as other, other.cursor() as cursor:
        cursor.execute("CREATE TABLE held (a)")
        monkeypatch.setattr("subsight.surfaces.export.sqlite._BUSY_MS", 50)
        with pytest.raises(ExportError, match="no other program that writes to it"):
            export(small(2.0), str(path), name="t")


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": [[1]]}),
        pa.table({"a": [1], "A": [2]}),
        pa.table({"a": [b"x"]}),
        pa.table({"x" * 64: [1]}),
        pa.table({"": [1]}),
        pa.table({"a": pa.array([2**64 - 1], pa.uint64())}),
    ],
)
def test_a_table_that_no_target_holds_is_refused(table: pa.Table, tmp_path: Path) -> None:
    for suffix in (".csv", ".db"):
        with pytest.raises(ExportError):
            export(table, str(tmp_path / f"t{suffix}"), name="t")


# --- totals ----------------------------------------------------------------------------------------------


def test_totals_are_exact_and_do_not_depend_on_the_order() -> None:
    table = awkward()
    sums = []
    for order in (list(range(9)), [8, 3, 5, 1, 0, 2, 7, 6, 4]):
        rows = Rows(table.take(pa.array(order)))
        totals = Totals(rows.schema)
        for batch in rows.batches():
            totals.add(batch)
        sums.append(totals.result)
    (_, first), (_, second) = sums
    assert all(first[name].equals(second[name]) for name in first)
    assert first["session_count"] == Total(8, 2**53 + 23)
    assert first["first_date"].value == 0 - 1 + 20512 + 5 * 19782
    md5 = subprocess.run(["md5sum"], input=b"s0", capture_output=True, check=True).stdout[:8]
    alone = Totals(pa.schema([("a", pa.string())]))
    alone.add(pa.record_batch({"a": ["s0", "s0", None]}))
    assert alone.result == (3, {"a": Total(2, 2 * int(md5, 16))})


def test_floats_agree_within_a_billionth_of_their_magnitude() -> None:
    assert Total(2, 1e-7, 1000.0).equals(Total(2, -1e-7, 1000.0))
    assert not Total(2, 1e-5, 1000.0).equals(Total(2, -1e-5, 1000.0))
    assert not Total(2, 0.0, 1000.0).equals(Total(2, 0.0, 1001.0))
    assert not Total(2, 1.0, 1.0).equals(Total(3, 1.0, 1.0))


# --- clear identifiers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{}", "msisdn\n{}", "\ufeffMSISDN\r\n{}"])
def test_reveal_joins_the_caller_s_clear_identifiers(tmp_path: Path, text: str) -> None:
    key = b"k" * 32
    ids = [pseudonym(number, key) for number in ("33664962239", "33600000001", "33600000002")]
    clear = tmp_path / "ids.csv"
    clear.write_text(text.format("+33 6 64 96 22 39\n33600000002.0\n33699999999\n33600000002\n3.36E+10\n\n"))
    table = pa.table({"subscriber_id": ids, "score": [1.0, 2.0, 3.0]})
    joined, matched = reveal(table, clear, key)
    assert joined.column_names == ["subscriber_id", "msisdn", "score"]
    assert joined["msisdn"].to_pylist() == ["33664962239", None, "33600000002"]
    assert joined["score"].to_pylist() == [1.0, 2.0, 3.0]
    assert matched == 2
    assert reveal(table, clear, b"another key")[1] == 0


@pytest.mark.parametrize("text", ["", "msisdn\n", "3.36E+10\n", "336,1\n", "336;1\n"])
def test_reveal_refuses_what_is_no_list_of_identifiers(tmp_path: Path, text: str) -> None:
    clear = tmp_path / "ids.csv"
    clear.write_text(text)
    with pytest.raises(InputError):
        reveal(pa.table({"subscriber_id": ["a"]}), clear, b"k")


def test_reveal_refuses_a_missing_file_and_a_table_without_subscribers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        reveal(pa.table({"subscriber_id": ["a"]}), tmp_path / "none.csv", b"k")
    with pytest.raises(InputError, match="a column subscriber_id"):
        reveal(pa.table({"handset": ["a"]}), tmp_path / "none.csv", b"k")
