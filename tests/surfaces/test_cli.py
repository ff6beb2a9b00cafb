"""The command line as a user meets it: what it prints, what it refuses and why, what stays intact.

The expected values come from the simulated extract itself, read with the standard library.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from subsight import pipeline
from subsight.pipeline.sessions import STUDIES
from subsight.privacy import pseudonym
from subsight.surfaces import cli
from subsight.workspace import Workspace

KEY = "a key of thirty-two characters.."
COMMANDS = ("demo", "simulate", "inspect", "ingest", "run", "show", "subscriber", "export",
            "report", "runs")  # fmt: skip
SUBSCRIBERS, SESSIONS = 300, 1500
Records = list[list[str]]


@dataclass(frozen=True)
class Said:
    """What a command left on the screen."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


def _main(capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["subsight", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return Said(int(ended.value.code or 0), out, err)


@pytest.fixture
def subsight(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in this process."""
    return lambda *arguments: _main(capsys, *arguments)


@pytest.fixture(scope="module", autouse=True)
def key() -> Any:
    """One key for all workspaces, so that their pseudonyms compare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operator")
    arguments = ["simulate", str(folder), "--subscribers", str(SUBSCRIBERS), "--sessions", str(SESSIONS)]
    done = CliRunner().invoke(cli.app, [*arguments, "--file-format", "csv"])
    assert done.exit_code == 0, done.output
    assert f"sessions  {folder / 'sessions.csv'}" in done.output
    return folder / "sessions.csv"


@pytest.fixture(scope="module")
def table(extract: Path) -> tuple[list[str], Records]:
    with extract.open(newline="") as file:
        header, *records = csv.reader(file)
    return header, records


@pytest.fixture(scope="module")
def base(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one published run; tests that write take a copy."""
    path = tmp_path_factory.mktemp("base") / "ws"
    done = CliRunner().invoke(cli.app, ["run", str(extract), "--workspace", str(path)])
    assert done.exit_code == 0, done.output
    assert "1,500 records, 1,500 accepted, 0 rejected" in done.output
    assert f"{SUBSCRIBERS} subscribers" in done.output
    assert f"report  {path / 'current' / 'report.html'}" in done.output
    return path


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "ws", symlinks=True)
    return tmp_path / "ws"


def _write(path: Path, header: Sequence[str], records: Records, **options: Any) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, **options).writerows([header, *records])
    return path


def _changed(table: tuple[list[str], Records], column: str, value: str, every: int = 1) -> Records:
    """The records with one column's value replaced in every n-th of them."""
    place = table[0].index(column)
    return [
        [*row[:place], value, *row[place + 1 :]] if i % every == 0 else row for i, row in enumerate(table[1])
    ]


def _without(table: tuple[list[str], Records], pattern: str) -> tuple[list[str], Records]:
    """The table without the columns whose names match."""
    kept = [i for i, name in enumerate(table[0]) if not re.fullmatch(pattern, name)]
    return [table[0][i] for i in kept], [[row[i] for i in kept] for row in table[1]]


def _state(workspace: Path) -> tuple[list[str], str, list[str]]:
    """Published runs, the current one, and batches."""
    opened = Workspace.open(workspace)
    return opened.runs(), opened.run().name, [batch.content for batch in opened.batches("sessions")]


def _batch(workspace: Path) -> tuple[pa.Table, dict[str, Any]]:
    (batch,) = Workspace.open(workspace).batches("sessions")
    return pq.read_table(batch.rows), dict(batch.manifest)


def _explained(said: Said, code: int, *words: str) -> None:
    """A failure names the thing, then what was found, expected, or to do; stdout stays clean."""
    assert (said.code, said.out) == (code, ""), said
    first, *more = said.err.splitlines()
    assert first.startswith("error: "), said.err
    assert more, said.err
    assert all(line.startswith(("  found: ", "  expected: ", "  do: ")) for line in more), said.err
    for word in words:
        assert word in said.err


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_helps_with_an_example(command: str) -> None:
    done = CliRunner().invoke(cli.app, [command, "--help"])
    assert done.exit_code == 0
    assert f"Example: subsight {command}" in done.output


def test_help_lists_every_command_and_exit_code(subsight: Command) -> None:
    said = subsight("--help")
    assert said.code == 0
    assert set(COMMANDS) <= set(re.findall(r"[a-z]+", said.out))
    assert "130 interrupted" in re.sub(r"\s+", " ", said.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["run", "--frobnicate"],
        ["show"],
        ["show", "ws", "memo", "--rows", "0"],
        ["show", "ws", "memo", "--format", "yaml"],
        ["simulate", "x", "--subscribers", "many"],
    ],
)
def test_misuse_is_exit_2_with_a_way_to_help(subsight: Command, arguments: list[str]) -> None:
    said = subsight(*arguments)
    assert said.code == 2
    assert "--help" in said.err or "-h" in said.err


# Reading what is published


@pytest.mark.parametrize("study", STUDIES)
def test_show_prints_a_study_for_people_and_for_scripts(subsight: Command, base: Path, study: str) -> None:
    answers = json.loads(subsight("show", base, study, "--format", "json").out)
    assert len(answers) >= 5
    text = subsight("show", base, study).out
    for answer in answers:
        assert {"id", "question", "table", "reading"} <= set(answer)
        assert answer["id"].startswith(f"{study}.")
        assert f"[{answer['id']}]" in text


def test_show_prints_one_answer_whole_in_a_pipe(subsight: Command, base: Path) -> None:
    said = subsight("show", base, "engagement.clusters")
    assert said.out.count("[engagement.clusters]") == 1
    assert "engagement cluster" in said.out
    (answer,) = json.loads(subsight("show", base, "engagement.clusters", "--format", "json").out)
    assert answer["id"] == "engagement.clusters"


@pytest.mark.parametrize("name", ["astrology", "engagement.stars", "../../etc", ""])
def test_show_of_an_unknown_name_lists_the_known(subsight: Command, base: Path, name: str) -> None:
    _explained(subsight("show", base, name), 9, "engagement", "do: ")


def test_runs_lists_and_marks_the_current(subsight: Command, base: Path) -> None:
    (name,), current, _ = _state(base)
    assert name == current
    assert subsight("runs", base).out == f"{name}  current\n"
    assert json.loads(subsight("runs", base, "--format", "json").out) == [{"run": name, "is_current": True}]


def test_report_is_one_file(subsight: Command, base: Path, tmp_path: Path) -> None:
    said = subsight("report", base, "--output", tmp_path / "r.html")
    assert (said.code, said.out.strip()) == (0, str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    _explained(subsight("report", base, "--output", tmp_path), 7)
    _explained(subsight("report", base, "--output", tmp_path / "none" / "r.html"), 7, "none")


def test_export_to_files_and_a_database(subsight: Command, base: Path, tmp_path: Path) -> None:
    for name in ("s.csv", "s.parquet", "s.db"):
        said = subsight("export", base, tmp_path / name)
        assert said.code == 0, said.err
        assert f"{SUBSCRIBERS} rows in satisfaction, verified" in said.out
        assert ("SELECT" in said.out) == name.endswith(".db")
    with (tmp_path / "s.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == SUBSCRIBERS
    assert pq.read_table(tmp_path / "s.parquet").num_rows == SUBSCRIBERS
    connection = sqlite3.connect(tmp_path / "s.db")
    assert connection.execute("SELECT count(*) FROM satisfaction").fetchone() == (SUBSCRIBERS,)
    connection.close()
    evidence = json.loads(subsight("export", base, tmp_path / "s.csv", "--format", "json").out)
    assert evidence["row_count"] == SUBSCRIBERS


def test_export_reveals_only_what_the_caller_knows(
    subsight: Command, base: Path, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    place = table[0].index("msisdn")
    known = sorted({row[place] for row in table[1]})[:5]
    (tmp_path / "ids.csv").write_text("\n".join(["msisdn", *known, "999000000000"]) + "\n")
    said = subsight("export", base, tmp_path / "r.csv", "--reveal", tmp_path / "ids.csv")
    assert said.code == 0, said.err
    with (tmp_path / "r.csv").open(newline="") as file:
        found = {row["subscriber_id"]: row["msisdn"] for row in csv.DictReader(file)}
    assert len(found) == SUBSCRIBERS
    assert {who: number for who, number in found.items() if number} == {
        pseudonym(number, KEY.encode()): number for number in known
    }


def test_a_subscriber_is_found_by_clear_number_or_pseudonym(
    subsight: Command, base: Path, table: tuple[list[str], Records]
) -> None:
    number = table[1][7][table[0].index("msisdn")]
    known = pseudonym(number, KEY.encode())
    mine = [row for row in table[1] if row[table[0].index("msisdn")] == number]
    spellings = (
        number,
        f"+{number[:2]} {number[2:]}",
        known,
        known.upper(),
        f"{known[:8]}…",
        f"{known[:9]}...",
    )
    for name in spellings:
        said = subsight("subscriber", base, name, "--format", "json")
        assert said.code == 0, said.err
        found = json.loads(said.out)
        assert found["subscriber_id"] == known
        assert found["session_count"] == len(mine)
        assert 0 <= found["satisfaction_index"] <= 100
        assert number not in said.out
    assert "satisfaction index" in subsight("subscriber", base, number).out
    for name in ("34600000000", known[:8], known[:31] + "…" + "0", "", "…", "*"):
        _explained(subsight("subscriber", base, name), 9, "no such subscriber")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["o.csv", "--table", "nothing"], 9, "profiles, satisfaction"),
        (["o.csv", "--table", "engagement.stars"], 9, "engagement.clusters"),
        (["o.xlsx"], 8, ".parquet"),
        (["none/o.csv"], 8, "directory"),
        (["oracle://host/name"], 8, "mysql://"),
        (["mysql://root@127.0.0.1:1/test"], 8, "127.0.0.1:1"),
        (["o.csv", "--name", "a; b"], 8, "letter"),
        (["o.csv", "--if-exists", "perhaps"], 2, "replace, append or fail"),
        (["o.csv", "--reveal", "ids.csv"], 3, "ids.csv"),
        (["o.csv", "--table", "overview.handsets", "--reveal", "known.csv"], 3, "subscriber_id"),
    ],
)
def test_an_export_that_cannot_be(
    subsight: Command,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    word: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("known.csv").write_text("msisdn\n999000000000\n")
    _explained(subsight("export", base, *arguments), code, word)
    assert [path.name for path in tmp_path.iterdir()] == ["known.csv"]


# Bad input


def _utf(encoding: str) -> Callable[[bytes], bytes]:
    return lambda raw: raw.decode().encode(encoding)


def _delimited(by: str) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(b",", by.encode())


def _decimal_commas(raw: bytes) -> bytes:
    """Semicolons between fields and commas in decimals, as a spreadsheet in Europe writes them."""
    return re.sub(rb"(?<=;)(\d+)\.(\d+)(?=[;\r\n])", rb"\1,\2", raw.replace(b",", b";"))


def _zst(raw: bytes) -> bytes:
    packed: bytes = pa.compress(raw, codec="zstd", asbytes=True)
    return packed


BAD: dict[str, tuple[Callable[[bytes], bytes | None], int, str]] = {
    "missing.csv": (lambda _: None, 3, "there is no input"),
    "empty.csv": (lambda _: b"", 3, "is empty"),
    "blank.csv": (lambda _: b"\n\n\n", 3, "is empty"),
    "header.csv": (lambda raw: raw.splitlines()[0] + b"\n", 3, "a header only"),
    "colons.csv": (_delimited("#"), 3, "without any of the delimiters"),
    "commas.csv": (_decimal_commas, 3, "decimal points instead of commas"),
    "ebcdic.csv": (_utf("cp037"), 3, "no delimited table"),
    "utf16.csv": (_utf("utf-16-le"), 3, "is not text"),
    "utf32.csv": (_utf("utf-32"), 3, "is not text"),
    "noise.csv": (lambda _: bytes(range(256)) * 50, 3, "is not text"),
    "sheet.xlsx": (lambda _: b"PK\x03\x04" + bytes(range(256)) * 20, 3, "is not text"),
    "cut.csv.zst": (lambda raw: _zst(raw)[: len(_zst(raw)) // 2], 3, "arrived complete"),
    "cut.csv.gz": (lambda raw: gzip.compress(raw)[:5000], 3, "arrived complete"),
    "plain.csv.gz": (lambda raw: raw, 3, "Not a gzipped file"),
    "cut.parquet": (lambda _: b"PAR1 and then nothing PAR1", 3, "damaged Parquet"),
    "colours.csv": (lambda _: b"colour,size\nred,1\nblue,2\n", 4, "--mapping"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_explained_and_publishes_nothing(
    subsight: Command, base: Path, extract: Path, tmp_path: Path, name: str
) -> None:
    make, code, word = BAD[name]
    content = make(extract.read_bytes())
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = _state(base)
    _explained(subsight("run", tmp_path / name, "--workspace", base), code, word)
    assert _state(base) == before
    if name != "commas.csv":  # which inspect reads, to show what would be rejected
        assert subsight("inspect", tmp_path / name).code == code


def test_a_first_run_that_fails_publishes_nothing(subsight: Command, tmp_path: Path) -> None:
    (tmp_path / "colours.csv").write_text("colour,size\nred,1\nblue,2\n")
    assert subsight("run", tmp_path / "colours.csv", "--workspace", tmp_path / "new").code == 4
    assert subsight("runs", tmp_path / "new").out == "no run yet\n"
    _explained(subsight("show", tmp_path / "new", "memo"), 9, "subsight run")


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("rtt_dl_ms", "fast", ("rtt_dl_ms", "not readable")),
        ("start_at", "soon", ("start_at", "not readable")),
        ("http_dl_bytes", "-5", ("http_dl_bytes", "below 0")),
        ("end_at", "2020-01-01T00:00:00Z", ("end_at", "before start_at")),
    ],
)
def test_faulty_records_are_counted_and_most_of_them_refused(
    subsight: Command,
    table: tuple[list[str], Records],
    tmp_path: Path,
    column: str,
    value: str,
    reason: tuple[str, str],
) -> None:
    some = _write(tmp_path / "some.csv", table[0], _changed(table, column, value, every=10))
    said = subsight("ingest", "xdr", some, "--workspace", tmp_path / "ws", "--format", "json")
    (entry,) = json.loads(said.out)
    assert (entry["records"], entry["accepted"], entry["rejected"]) == (1500, 1350, 150)
    assert [(r["column"], r["reason"], r["count"]) for r in entry["rejects"]] == [(*reason, 150)]
    every = _write(tmp_path / "every.csv", table[0], _changed(table, column, value))
    said = subsight("ingest", "xdr", every, "--workspace", tmp_path / "ws")
    assert said.code in (3, 4)
    _explained(said, said.code)
    assert len(Workspace.open(tmp_path / "ws").batches("sessions")) == 1


def test_broken_lines_are_counted_by_what_is_wrong(subsight: Command, extract: Path, tmp_path: Path) -> None:
    header, *lines = extract.read_bytes().splitlines()
    lines[1400] = lines[1400].replace(b"-", b"\xe9-", 1)
    lines[1401] = lines[1401].rpartition(b",")[0]
    (tmp_path / "broken.csv").write_bytes(b"\n".join([header, *lines]) + b"\n")
    said = subsight("ingest", "xdr", tmp_path / "broken.csv", "--workspace", tmp_path / "ws", "-f", "json")
    (entry,) = json.loads(said.out)
    assert {(r["reason"], r["count"]) for r in entry["rejects"]} == {
        ("another number of fields", 1),
        ("not in the file's encoding", 1),
    }


def test_a_file_whose_times_are_not_recognised_still_gets_a_table_and_a_mapping(
    subsight: Command, tmp_path: Path
) -> None:
    records = [[f"4477009{i:05}", f"moment {i}", str(1000 + i), str(10 + i)] for i in range(50)]
    path = _write(tmp_path / "odd.csv", ["msisdn", "when", "dl_bytes", "ul_bytes"], records)
    said = subsight("inspect", path, "--write-mapping", tmp_path / "odd.toml")
    assert said.code == 4
    assert "no column that is surely or likely start_at" in said.err
    assert re.search(r"msisdn +subscriber_id", said.out)
    assert re.search(r"when +– ", said.out)
    assert "[columns.subscriber_id]" in (tmp_path / "odd.toml").read_text()


def test_a_file_without_a_header_is_called_so_and_nobody_is_named(subsight: Command, tmp_path: Path) -> None:
    records = [["2024-03-11 01:36:56", f"4477009{i:05}", str(1000 + i), "iPhone"] for i in range(50)]
    path = _write(tmp_path / "bare.csv", records[0], records[1:])
    said = subsight("inspect", path)
    _explained(said, 4, "no header", "add a header line")
    assert "4477009" not in said.out + said.err


def test_a_run_says_why_records_were_rejected(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    twice = _write(tmp_path / "twice.csv", table[0], [*table[1], *table[1][:100]])
    said = subsight("run", twice, "--workspace", tmp_path / "ws", "--studies", "memo")
    assert "rejected  100: identical to an earlier record" in said.out


def test_a_run_names_the_zone_and_the_identifiers_that_its_records_were_read_with(
    subsight: Command, extract: Path, tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    subsight(
        "ingest", "xdr", extract, "--workspace", ws, "--time-zone", "Asia/Tokyo", "--identifiers", "clear"
    )
    said = subsight("run", "--workspace", ws, "--studies", "overview")
    assert said.code == 0, said.err
    html = (ws / "current" / "report.html").read_text()
    assert "zone Asia/Tokyo" in html
    assert "Identifiers are in clear" in html


@pytest.mark.parametrize(("words", "code"), [("Query interrupted", 130), ("the query was interrupted", 1)])
def test_an_interrupt_of_the_engine_is_no_fault(
    words: str, code: int, subsight: Command, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(cli, "_insight", interrupted)
    said = subsight("show", base, "memo")
    assert said.code == code
    assert said.err.startswith("interrupted: " if code == 130 else "error: ")


def test_options_that_come_too_late_for_a_file_are_said_to_have_no_effect(
    subsight: Command, extract: Path, workspace: Path
) -> None:
    late = ("--workspace", workspace, "--identifiers", "clear", "--time-zone", "Asia/Tokyo")
    said = subsight("ingest", "xdr", extract, *late)
    assert said.code == 0, said.err
    assert "with identifiers pseudonymous, not clear; time_zone UTC, not Asia/Tokyo" in said.out
    said = subsight("run", extract, *late, "--studies", "memo")
    assert f"warning   {extract.name}: known already and kept as it was read" in said.out
    said = subsight("run", extract, "--workspace", workspace, "--studies", "memo")
    assert "known already" not in said.out


def test_a_mapping_edited_after_its_file_was_read_is_said_to_have_no_effect(
    subsight: Command, extract: Path, tmp_path: Path
) -> None:
    vendor, ws = tmp_path / "vendor.toml", tmp_path / "ws"
    assert subsight("inspect", extract, "--write-mapping", vendor).code == 0
    read = ("ingest", "xdr", extract, "--workspace", ws, "--mapping", vendor)
    assert subsight(*read).code == 0
    assert "known already," in subsight(*read).out
    vendor.write_text(vendor.read_text().replace("description = ", "# ", 1))
    assert "with the mapping as it was before it was edited: a new workspace" in subsight(*read).out
    other = vendor.read_text().replace('name = "', 'name = "other_', 1)
    vendor.write_text(other)
    said = subsight(*read).out
    assert "not other_" in said
    assert "edited" not in said


def test_duplicates_and_the_same_file_count_once(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    twice = _write(tmp_path / "twice.csv", table[0], [*table[1], *table[1][:100]])
    shutil.copy(twice, tmp_path / "again.csv")
    files = (twice, tmp_path / "again.csv")
    said = subsight("ingest", "xdr", *files, "--workspace", tmp_path / "ws")
    assert said.out.splitlines() == [
        "twice.csv: read, 1,500 accepted, 100 rejected",
        "  rejected  100: identical to an earlier record",
        "again.csv: known already, 1,500 accepted, 100 rejected",
    ]
    _, manifest = _batch(tmp_path / "ws")
    assert [(r["reason"], r["count"]) for r in manifest["rejects"]] == [
        ("identical to an earlier record", 100)
    ]
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(twice.read_bytes()))
    said = subsight("ingest", "xdr", tmp_path / "packed.csv.gz", "--workspace", tmp_path / "ws")
    assert (said.code, said.out.splitlines()[0]) == (0, "packed.csv.gz: read, 0 accepted, 1,600 rejected")


def test_flows_and_leases_are_simulated_ingested_run_and_exported(subsight: Command, tmp_path: Path) -> None:
    folder, workspace = tmp_path / "op", tmp_path / "ws"
    said = subsight("simulate", folder, "--subscribers", "60", "--sessions", "120", "--flows", "900")
    assert said.out.splitlines()[2:] == [
        f"flows     {folder / 'flows.parquet'}", f"leases    {folder / 'leases.csv'}",
        f"habits    {folder / 'flow_truths.json'}",
    ]  # fmt: skip
    for kind, file in (("leases", "leases.csv"), ("flows", "flows.parquet")):
        said = subsight("ingest", kind, folder / file, "--workspace", workspace)
        count = {"leases": 60 * 28, "flows": 900}[kind]
        assert said.out.splitlines()[0] == f"{file}: read, {count:,} accepted, 0 rejected"
    assert subsight("run", "--workspace", workspace).code == 0
    asked = " ".join(subsight("export", "--help").out.replace("│", " ").split())
    assert "rfm and trends of flows" in asked
    rows = {}
    for table in ("rfm", "trends"):
        target = tmp_path / f"{table}.csv"
        assert subsight("export", workspace, target, "--table", table).code == 0
        with target.open(newline="") as file:
            rows[table] = list(csv.DictReader(file))
    assert len(rows["rfm"]) == len(_seen(folder / "flows.parquet", folder / "leases.csv"))
    assert sum(int(row["flow_count"]) for row in rows["rfm"]) == 900
    assert {row["recommendation"] for row in rows["trends"]} >= {"none"}
    _explained(subsight("simulate", folder, "--flows", "3"), 2, "flows", "28 (one a day) or more")


def test_usage_offers_and_purchases_are_simulated_and_ingested(subsight: Command, tmp_path: Path) -> None:
    folder, workspace = tmp_path / "op", tmp_path / "ws"
    said = subsight("simulate", folder, "--subscribers", "300", "--sessions", "300", "--offers", "14")
    files = {"usage": "dpi_usage.parquet", "offers": "offers.csv", "purchases": "purchases.parquet"}
    assert said.out.splitlines()[2:] == [f"{kind:9} {folder / name}" for kind, name in files.items()]
    bought = pq.read_table(folder / "purchases.parquet").num_rows
    counts = {"usage": 300, "offers": 14, "purchases": bought}
    for kind, name in files.items():
        said = subsight("ingest", kind, folder / name, "--workspace", workspace)
        assert said.out.splitlines()[0] == f"{name}: read, {counts[kind]} accepted, 0 rejected"
    # Those who bought are those whose sessions, usage and purchases there are.
    numbers = set(pq.read_table(folder / "truth" / "subscribers.parquet")["msisdn"].to_pylist())
    assert set(pq.read_table(folder / "dpi_usage.parquet")["SubscriberID"].to_pylist()) == numbers
    assert set(pq.read_table(folder / "purchases.parquet")["subscriber_id"].to_pylist()) <= numbers
    said = subsight("simulate", tmp_path / "none", "--subscribers", "60", "--sessions", "60", "--offers", "0")
    assert (said.code, len(said.out.splitlines())) == (0, 2)
    assert not (tmp_path / "none" / "offers.csv").exists()
    _explained(subsight("simulate", tmp_path / "few", "--offers", "3"), 2, "offers", "12 to 100")
    assert not (tmp_path / "few").exists()


def _seen(flows: Path, leases: Path) -> set[str]:
    """Numbers of those who had the customer's address of a flow on its day."""
    with leases.open(newline="") as file:
        owners = {(row["address"], row["from_at"][:10]): row["subscriber_id"] for row in csv.DictReader(file)}
    rows = pq.read_table(flows, columns=["src_address", "dst_address", "first_seen_at"]).to_pylist()
    found = set()
    for row in rows:
        mine = next(row[f"{s}_address"] for s in ("src", "dst") if row[f"{s}_address"].startswith("10."))
        found.add(owners[mine, f"{row['first_seen_at']:%F}"])
    return found


def test_a_table_of_subscribers_is_simulated_and_ingested(subsight: Command, tmp_path: Path) -> None:
    said = subsight(
        "simulate", tmp_path / "op", "--subscribers", "400", "--sessions", "800", "--subscriber-table"
    )
    table = tmp_path / "op" / "customers.csv"
    assert f"customers {table}" in said.out.splitlines()
    with table.open(newline="") as file:
        header, *records = csv.reader(file)
    assert len(records) == 400
    assert "subscribers:" in subsight("ingest", "--help").out
    records[0][header.index("TENURE_Days")] = "-1"
    records[1][header.index("Region")] = ""
    other = _write(tmp_path / "crm.csv", ["MSISDN", "Region", "Tenure (days)", *header[3:5]], [
        record[:5] for record in records
    ])  # fmt: skip
    _explained(
        subsight("ingest", "subscribers", table, "--workspace", tmp_path / "ws", "--mapping", "tellco"),
        4, "tellco describes other records",
    )  # fmt: skip
    changed = _write(tmp_path / "changed.csv", header, records)
    said = subsight("ingest", "subscribers", changed, "--workspace", tmp_path / "ws")
    assert said.out.splitlines() == [
        "changed.csv: read, 399 accepted, 1 rejected",
        "  warning   region: subscribers without a value: it stays unknown (1)",
        "  rejected  1: tenure_days below 0",
    ]
    said = subsight("ingest", "subscribers", other, "--workspace", tmp_path / "ws")
    assert said.code == 4
    assert "'l4_ul_throughput' as ul_kilobytes: a throughput is a rate" in said.err
    (batch,) = Workspace.open(tmp_path / "ws").batches("subscribers")
    facts = batch.manifest
    assert (facts["mapping"], facts["units"]["ul_kilobytes"], len(facts["mapping_digest"])) == (
        "acumos", "kB", 8
    )  # fmt: skip


def test_sessions_of_nobody_are_no_run(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    path = _write(tmp_path / "nobody.csv", table[0], _changed(table, "msisdn", ""))
    _explained(subsight("run", path, "--workspace", tmp_path / "ws"), 3, "no session", "subscriber", "1,500")
    assert subsight("runs", tmp_path / "ws").out == "no run yet\n"
    headless = _write(tmp_path / "headless.csv", *_without(table, "msisdn"))
    _explained(subsight("run", headless, "--workspace", tmp_path / "ws"), 4, "subscriber_id")


# Settings and workspaces


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("tretment = 'mean'\n", "tretment"),
        ("seed = 'x'\n", "seed"),
        ("seed =\n", "not TOML"),
        ("memory = 'lots'\n", "memory"),
    ],
)
def test_a_wrong_settings_file_is_said(subsight: Command, workspace: Path, text: str, word: str) -> None:
    before = _state(workspace)
    (workspace / "subsight.toml").write_text(text)
    _explained(subsight("run", "--workspace", workspace), 2, word)
    assert _state(workspace) == before


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--engine", "abacus"], 2, "duckdb"),
        (["--time-zone", "Mars/Olympus"], 2, "time zone"),
        (["--treatment", "magic"], 2, "winsorise"),
        (["--identifiers", "secret"], 2, "pseudonymous"),
        (["--studies", "engagement,astrology"], 2, "astrology"),
        (["--studies", ""], 2, "overview, engagement"),
        (["--parameters-from", "never"], 9, "never"),
        (["--mapping", "none.toml", "EXTRACT"], 4, "none.toml"),
    ],
)
def test_a_wrong_option_is_said(
    subsight: Command, base: Path, extract: Path, arguments: list[str], code: int, word: str
) -> None:
    before = _state(base)
    given = [str(extract) if argument == "EXTRACT" else argument for argument in arguments]
    _explained(subsight("run", "--workspace", base, *given), code, word)
    assert _state(base) == before


def test_a_workspace_that_is_none(subsight: Command, extract: Path, tmp_path: Path) -> None:
    _explained(subsight("run", extract, "--workspace", extract), 5, "a file")
    _explained(subsight("run", extract, "--workspace", extract.parent), 5, "other files")
    _explained(subsight("run", extract, "--workspace", extract / "below"), 7, "cannot be made")
    _explained(subsight("run", "--workspace", tmp_path / "none"), 5, "not a workspace")
    for command in (["show", tmp_path, "memo"], ["runs", tmp_path], ["report", tmp_path]):
        _explained(subsight(*command), 5, "not a workspace")


def test_a_damaged_run_is_said_and_the_next_one_mends_it(subsight: Command, workspace: Path) -> None:
    (workspace / "current" / "manifest.json").write_text("{")
    _explained(subsight("show", workspace, "memo"), 5, "manifest.json")
    _explained(subsight("run", "--workspace", workspace, "--studies", "engagement"), 5, "manifest.json")
    pipeline.run(Workspace.open(workspace))
    assert subsight("show", workspace, "memo").code == 0


def test_one_writer_at_a_time(subsight: Command, workspace: Path, extract: Path) -> None:
    with Workspace.open(workspace).writing():
        _explained(subsight("run", extract, "--workspace", workspace), 6, "another process")
        assert subsight("show", workspace, "memo").code == 0


def test_an_interrupted_run_leaves_the_previous_one(workspace: Path, tmp_path: Path, extract: Path) -> None:
    before = _state(workspace)
    more = tmp_path / "more.csv"
    more.write_text(extract.read_text().replace(".1", ".2"))
    command = [sys.executable, "-m", "subsight", "run", str(more), "--workspace", str(workspace)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not any((workspace / "runs").glob(".staged-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err == "interrupted: the previous run is intact\n"
    assert _state(workspace)[:2] == before[:2]
    assert not any((workspace / "runs").glob(".*"))


@pytest.mark.parametrize(("fault", "code"), [(ValueError("a bug"), 1), (PermissionError(13, "no"), 7)])
def test_what_nobody_foresaw_is_no_traceback(
    subsight: Command, extract: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: int
) -> None:
    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(pipeline, "inspect", broken)
    _explained(subsight("inspect", extract), code, "found: ", "do: ")


def test_a_simulator_asked_for_nothing(subsight: Command, extract: Path, tmp_path: Path) -> None:
    for option in (["--subscribers", "0"], ["--sessions", "5"], ["--seed", "-1"], ["--file-format", "xml"]):
        _explained(subsight("simulate", tmp_path / "x", *option), 2, "expected: ")
    _explained(subsight("simulate", extract), 7, "cannot be written")
    assert not (tmp_path / "x").exists()


# Inspect, and other vendors


def test_inspect_writes_a_mapping_that_reads_the_file(
    subsight: Command, extract: Path, tmp_path: Path
) -> None:
    said = subsight("inspect", extract, "--write-mapping", tmp_path / "m.toml")
    assert said.code == 0, said.err
    assert "records 1500" in said.out
    found = json.loads(subsight("inspect", extract, "--mapping", tmp_path / "m.toml", "-f", "json").out)
    assert (found["file"]["records"], found["rejects"]) == (SESSIONS, [])
    missing = subsight("inspect", extract, "--write-mapping", tmp_path / "none" / "m.toml")
    _explained(missing, 7, "none/m.toml")
    _explained(subsight("inspect", extract, "--mapping", "tellco"), 4, "MSISDN/Number")


def _seconds(table: tuple[list[str], Records]) -> float:
    start, end = table[0].index("start_at"), table[0].index("end_at")
    spans = (datetime.fromisoformat(row[end]) - datetime.fromisoformat(row[start]) for row in table[1])
    return sum(spans, timedelta()).total_seconds()


def test_a_missing_duration_is_end_minus_start(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    path = _write(tmp_path / "open.csv", *_without(table, "duration_.*"))
    assert subsight("ingest", "xdr", path, "--workspace", tmp_path / "ws").code == 0
    rows, manifest = _batch(tmp_path / "ws")
    assert sum(rows["duration_s"].to_pylist()) == pytest.approx(_seconds(table), rel=1e-9)
    (said,) = [f for f in manifest["findings"] if f["check"] == "source"]
    assert (said["column"], said["severity"], said["count"]) == ("duration_s", "warning", SESSIONS)
    assert "end - start" in said["text"]


def test_a_duration_in_milliseconds_alone_serves(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    path = _write(tmp_path / "ms.csv", *_without(table, "duration_s|end_at"))
    assert subsight("ingest", "xdr", path, "--workspace", tmp_path / "ws").code == 0
    rows, _ = _batch(tmp_path / "ws")
    assert sum(rows["duration_s"].to_pylist()) == pytest.approx(_seconds(table), rel=1e-9)


def test_no_duration_at_all_is_said(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    path = _write(tmp_path / "timeless.csv", *_without(table, "duration_.*|end_at"))
    assert subsight("ingest", "xdr", path, "--workspace", tmp_path / "ws").code == 0
    _, manifest = _batch(tmp_path / "ws")
    assert ["neither a duration nor an end" in f["text"] for f in manifest["findings"]].count(True) == 1


def test_times_are_read_in_the_operators_zone(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    start, end = table[0].index("start_at"), table[0].index("end_at")
    rows = [row.copy() for row in table[1][:200]]
    for row in rows:
        row[start], row[end] = (row[i].removesuffix("Z").replace("T", " ") for i in (start, end))
    path = _write(tmp_path / "local.csv", table[0], rows)
    said = subsight("ingest", "xdr", path, "--workspace", tmp_path / "ws", "--time-zone", "Europe/Paris")
    assert said.code == 0, said.err
    zone = ZoneInfo("Europe/Paris")
    clocks = [datetime.fromisoformat(row[start]).replace(tzinfo=zone) for row in rows]
    found, _ = _batch(tmp_path / "ws")
    assert sorted(found["start_at"].to_pylist()) == sorted(clock.astimezone(UTC) for clock in clocks)
    assert sorted(found["local_hour"].to_pylist()) == sorted(clock.hour for clock in clocks)


def test_a_typed_parquet_reads_as_the_csv(
    subsight: Command, extract: Path, base: Path, tmp_path: Path
) -> None:
    typed = pa.csv.read_csv(extract)
    assert pa.types.is_timestamp(typed.schema.field("start_at").type)
    assert pa.types.is_integer(typed.schema.field("bearer_id").type)
    pq.write_table(typed, tmp_path / "typed.parquet")
    assert subsight("ingest", "xdr", tmp_path / "typed.parquet", "--workspace", tmp_path / "ws").code == 0
    one, other = (
        _batch(ws)[0].sort_by([("subscriber_id", "ascending"), ("start_at", "ascending")])
        for ws in (base, tmp_path / "ws")
    )
    for name in ("subscriber_id", "bearer_id", "cell_id", "start_at", "duration_s", "dl_bytes", "rtt_dl_ms"):
        assert other[name].to_pylist() == one[name].to_pylist(), name


# Whole runs on data that cannot answer everything


def test_a_vendor_without_experience_still_gets_the_rest(
    subsight: Command, base: Path, table: tuple[list[str], Records], tmp_path: Path
) -> None:
    path = _write(tmp_path / "bare.csv", *_without(table, "(rtt|tcp|throughput)_.*"))
    said = subsight("run", path, "--workspace", tmp_path / "ws")
    assert said.code == 0, said.err
    found = {
        study: json.loads(subsight("show", tmp_path / "ws", study, "-f", "json").out) for study in STUDIES
    }
    assert all(answer["table"]["rows"] for answer in found["engagement"])
    empty = [a for answers in found.values() for a in answers if not a["table"]["rows"]]
    assert {a["id"] for a in empty} >= {"experience.clusters", "satisfaction.top", "satisfaction.clusters"}
    assert all(a["reading"] for a in empty)
    _explained(subsight("export", tmp_path / "ws", tmp_path / "o.csv"), 9, "satisfaction")
    elsewhere = subsight("run", "--workspace", tmp_path / "ws", "--parameters-from", base / "current")
    _explained(elsewhere, 3, "rtt_dl_ms", "tcp_retransmission_ul_bytes")


def _first(table: tuple[list[str], Records], count: int) -> Records:
    place = table[0].index("msisdn")
    some = sorted({row[place] for row in table[1]})[:count]
    return [row for row in table[1] if row[place] in some]


def _all_equal(table: tuple[list[str], Records]) -> Records:
    """Everybody has five sessions that differ in nothing but the bearer."""
    who, bearer = table[0].index("msisdn"), table[0].index("bearer_id")
    records = []
    for i in range(100):
        row = table[1][0].copy()
        row[who], row[bearer] = f"9990000000{i % 20:02}", f"{10**17 + 7 * i}"
        records.append(row)
    return records


SMALL: dict[str, tuple[int, Callable[[tuple[list[str], Records]], tuple[list[str], Records]]]] = {
    "one subscriber": (1, lambda t: (t[0], _first(t, 1))),
    "five subscribers": (5, lambda t: (t[0], _first(t, 5))),
    "all equal": (20, lambda t: (t[0], _all_equal(t))),
    "no applications": (40, lambda t: _without((t[0], _first(t, 40)), "app_.*")),
    "bare sessions": (
        40,
        lambda t: _without((t[0], _first(t, 40)), "(?!(msisdn|start_at|end_at|dl_bytes|ul_bytes)$).*"),
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_little_data_still_makes_a_run(
    subsight: Command, table: tuple[list[str], Records], tmp_path: Path, name: str
) -> None:
    subscribers, make = SMALL[name]
    path = _write(tmp_path / "little.csv", *make(table))
    workspace = Workspace.create(tmp_path / "ws")
    run = pipeline.run(workspace, [path])
    assert pq.read_table(run / "tables" / "profiles.parquet").num_rows == subscribers
    for study in STUDIES:
        assert subsight("show", workspace.path, study).code == 0


def test_the_demo_runs_everything(subsight: Command, tmp_path: Path) -> None:
    said = subsight("demo", "--workspace", tmp_path / "demo", "--subscribers", "20")
    assert said.code == 0, said.err
    assert "20 subscribers" in said.out
    report = tmp_path / "demo" / "current" / "report.html"
    assert f"report  {report}" in said.out
    assert report.read_text(encoding="utf-8").rstrip().endswith("</html>")
