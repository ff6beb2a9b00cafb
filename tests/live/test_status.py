"""What live inputs say of themselves: to people, to scripts and to Prometheus."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from exports import five, flows
from typer.testing import CliRunner

from subsight.live import status as live_status
from subsight.live.collector import Collecting, collect, drain
from subsight.live.inbox import watch
from subsight.live.spool import Record, Spool
from subsight.live.status import spool_of, status
from subsight.settings import Settings
from subsight.surfaces.api import collected
from subsight.surfaces.cli import app
from subsight.workspace import Workspace

CLEAR = Settings(identifiers="clear")
HEADER = "first_seen_at,last_seen_at,src_address,dst_address,src_port,dst_port,protocol,src_to_dst_bytes"
LINE = "2024-05-01T10:00:00Z,2024-05-01T10:00:05Z,10.0.0.{},192.0.2.1,50000,443,6,1000"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """After 40 flows of one exporter, of which 100 between them never came, and a datagram that is none."""
    made = Workspace.create(tmp_path / "ws")
    spool = Spool(spool_of(made), 0, 1 << 30)
    every = flows(40)
    first, second = five("192.0.2.9", 0, every[:20]), five("192.0.2.9", 120, every[20:])
    for i, payload in enumerate((first.payload, second.payload, b"\x00\x63junk")):
        spool.append(Record("192.0.2.9", 1_714_557_600_000_000 + i, i, payload))
    spool.close()
    drain(made, CLEAR, print)
    return made


def values(text: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    }


def test_what_gaps_of_sequence_numbers_tell_is_in_the_status(workspace: Workspace) -> None:
    told = status(workspace)["collect"]
    assert told["lost_estimate"] == {"192.0.2.9": {"flows": 100}}
    assert told["accepted"] == 40


def test_backlog_lag_drops_and_rejects_are_measures(workspace: Workspace) -> None:
    found = values(collected.lines(status(workspace)))
    assert found["subsight_collect_running"] == 1
    assert found["subsight_collect_accepted_total"] == 40
    assert found["subsight_collect_rejected_total"] == 0
    assert found["subsight_collect_backlog_segments"] == found["subsight_collect_lag_seconds"] == 0
    assert found['subsight_collect_lost_estimate{exporter="192.0.2.9",unit="flows"}'] == 100
    dropped = {name: value for name, value in found.items() if "dropped_total{" in name}
    assert list(dropped.values()) == [1]
    assert "subsight_collect_kernel_dropped_total" not in found  # nothing listened: not known
    spool = Spool(spool_of(workspace), 0, 1 << 30)
    spool.append(Record("192.0.2.9", 0, 7, bytes(100)))
    spool.close()
    found = values(collected.lines(status(workspace)))
    assert found["subsight_collect_backlog_segments"] == 1
    assert found["subsight_collect_backlog_bytes"] > 100
    assert found["subsight_collect_lag_seconds"] > 0


def test_labels_are_escaped_and_nothing_is_said_where_nothing_ran() -> None:
    assert collected.lines({}) == ""
    told = {
        "is_running": False,
        "files": 1,
        "accepted": 2,
        "rejected": 0,
        "waiting": 3,
        "refused": {"a": "b"},
    }
    found = values(collected.lines({"watch": told}))
    assert found["subsight_watch_files_total"] == found["subsight_watch_refused_files"] == 1
    assert found["subsight_watch_waiting_files"] == 3
    assert collected._escaped('a"b\\c\nd') == r"a\"b\\c\nd"


def test_files_are_taken_when_they_rest_and_count_once(tmp_path: Path) -> None:
    workspace, inbox = Workspace.create(tmp_path / "ws"), tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "first.csv").write_text("\n".join([HEADER, LINE.format(1), LINE.format(2)]) + "\n")
    (inbox / "late.csv.part").write_text(HEADER + "\n")
    (inbox / "wrong.csv").write_text("a,b\n1,2\n")
    looks, published, said = iter((False, True)), [], []
    watch(
        workspace, inbox, CLEAR, publish=lambda: published.append("run") or "run", poll_s=0.01,
        publish_s=60, say=said.append, ended=lambda: next(looks),
    )  # fmt: skip
    told = status(workspace)["watch"]
    assert (told["files"], told["accepted"], told["rejected"], told["waiting"]) == (1, 2, 0, 0)
    assert list(told["refused"]) == ["wrong.csv"]
    assert published == ["run"]
    assert any(text.startswith("first.csv: 2 accepted") for text in said)
    looks = iter((False, True))
    watch(
        workspace, inbox, CLEAR, publish=lambda: published.append("again") or "again", poll_s=0.01,
        publish_s=60, say=said.append, ended=lambda: next(looks),
    )  # fmt: skip
    assert status(workspace)["watch"]["known"] == 1
    assert published == ["run"]
    text = CliRunner().invoke(app, ["status", str(workspace.path)]).output
    assert "watch: running" in text
    assert "wrong.csv" in text


@pytest.mark.parametrize("command", ["collect", "watch"])
def test_a_command_that_publishes_for_long_runs_and_one_that_ended_does_not(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_status, "_STALE_S", 2.0)
    monkeypatch.setattr(live_status, "_BEAT_S", 0.1)
    workspace, inbox = Workspace.create(tmp_path / "ws"), tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "first.csv").write_text(f"{HEADER}\n{LINE.format(1)}\n")
    spool = Spool(spool_of(workspace), 0, 1 << 30)
    spool.append(Record("192.0.2.9", 1_714_557_600_000_000, 0, five("192.0.2.9", 0, flows(3)).payload))
    spool.close()
    seen: list[bool] = []

    def publish() -> str:
        for _ in range(10):
            time.sleep(0.4)
            seen.append(status(workspace)[command]["is_running"])
        return "run"

    looks = iter((False, True))
    if command == "watch":
        watch(workspace, inbox, CLEAR, publish=publish, poll_s=0.01, ended=lambda: next(looks))
    else:
        how = Collecting("127.0.0.1", 0, batch_s=0.1, publish_s=60)
        collect(workspace, CLEAR, how, publish=publish, ended=lambda: next(looks))
    assert seen == [True] * 10
    time.sleep(2.1)
    assert not status(workspace)[command]["is_running"]


def test_the_command_says_it_in_words_and_as_json(workspace: Workspace) -> None:
    text = CliRunner().invoke(app, ["status", str(workspace.path)]).output
    assert "collect: running" in text
    assert "192.0.2.9: flows: 100" in text
    text = CliRunner().invoke(app, ["status", str(workspace.path), "--format", "json"]).output
    assert json.loads(text)["collect"]["accepted"] == 40
