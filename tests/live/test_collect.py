"""Collecting: every datagram in the spool counts once, whatever is killed, and live equals batch."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from exports import Flow, five, flows, told

from subsight import ingestion, pipeline
from subsight.live import status as live
from subsight.live.collector import drain
from subsight.live.spool import Record, Spool, closed, recover
from subsight.live.status import spool_of
from subsight.results import Results
from subsight.settings import Settings
from subsight.sources.netflow import Datagram
from subsight.workspace import Workspace

CLEAR = Settings(identifiers="clear")
STUDIES = ("traffic", "rfm", "trends", "peaks")


def spooled(workspace: Workspace, datagrams: list[Datagram], per_segment: int = 7) -> None:
    spool = Spool(spool_of(workspace), 0, 1 << 30)
    for i, one in enumerate(datagrams):
        spool.append(Record(one.exporter, 1_714_557_600_000_000 + i, i, one.payload))
        if i % per_segment == per_segment - 1:
            spool.close()
    spool.close()


def rows_of(workspace: Workspace) -> Counter[tuple[Any, ...]]:
    names = ["src_address", "src_port", "dst_port", "protocol", "src_to_dst_bytes", "src_to_dst_packets"]
    found: Counter[tuple[Any, ...]] = Counter()
    for batch in workspace.batches("flows"):
        for row in pq.read_table(batch.rows, columns=[*names, "first_seen_at"]).to_pylist():
            found[(*(row[name] for name in names), int(row["first_seen_at"].timestamp()))] += 1
    return found


def expected_of(every: list[Flow]) -> Counter[tuple[Any, ...]]:
    import ipaddress

    return Counter(
        (
            f"{'0' * 20}ffff{int(ipaddress.IPv4Address(f.src)):08x}", f.src_port, f.dst_port, f.protocol,
            f.volume, f.packets, 1_714_557_600 + f.first_s,
        )
        for f in every
    )  # fmt: skip


def test_a_segment_cut_short_keeps_what_was_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 60, 1 << 20)
    for i in range(5):
        spool.append(Record("192.0.2.1", 17 + i, i, bytes([i]) * (10 + i)))
    (path,) = tmp_path.glob("*.open")
    path.write_bytes(path.read_bytes()[:-3])
    recover(tmp_path)
    (segment,) = closed(tmp_path)
    assert [r.payload for r in segment.records()] == [bytes([i]) * (10 + i) for i in range(4)]
    assert segment.damaged_bytes() == 0
    damaged = bytearray(segment.path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    segment.path.write_bytes(damaged)
    assert len(list(segment.records())) == 2
    assert segment.damaged_bytes() > 0


def test_segments_close_by_age_and_by_size(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 0.0, 100)
    spool.append(Record("a", 1, 1, bytes(10)))
    assert closed(tmp_path) == []
    spool.tick()
    assert len(closed(tmp_path)) == 1
    spool.append(Record("a", 1, 1, bytes(200)))
    assert len(closed(tmp_path)) == 2


def test_each_flow_counts_once_over_segments_late_templates_and_duplicates(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    datagrams, every = told(400)
    spooled(workspace, [*datagrams, *datagrams[:9]])
    assert drain(workspace, CLEAR, print)
    assert rows_of(workspace) == expected_of(every)
    spooled(workspace, datagrams)  # all of it delivered again
    drain(workspace, CLEAR, print)
    assert rows_of(workspace) == expected_of(every)
    state = live.status(workspace)["collect"]
    assert state["flows"] == state["accepted"] == 400
    assert state["duplicates"] == len(datagrams) + 9
    assert state["dropped"] == {}
    assert state["backlog"] == {"segments": 0, "bytes": 0}


@pytest.mark.parametrize("stage", ["batch", "memory", "removal"])
def test_a_death_between_two_writes_changes_nothing(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from subsight.live import collector

    class Death(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Death

    workspace = Workspace.create(tmp_path / "ws")
    datagrams, every = told(200)
    spooled(workspace, datagrams)
    place, name = {
        "batch": (ingestion, "add"), "memory": (collector._Memory, "write"), "removal": (Path, "unlink"),
    }[stage]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(place, name, die)
        with pytest.raises(Death):
            drain(workspace, CLEAR, print)
    drain(workspace, CLEAR, print)
    assert rows_of(workspace) == expected_of(every)
    assert live.status(workspace)["collect"]["accepted"] == 200
    assert live.status(workspace)["collect"]["duplicates"] == 0


def test_what_cannot_be_decoded_is_kept_apart_with_its_reason(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    good = five("192.0.2.9", 0, flows(3))
    spooled(
        workspace,
        [Datagram("192.0.2.9", 0, b"\x00\x63junk"), good, Datagram("192.0.2.8", 0, good.payload[:30])],
    )
    drain(workspace, CLEAR, print)
    state = live.status(workspace)["collect"]
    assert state["accepted"] == 3
    reasons = {"version 99 is none that is known": 1, "fewer records than the header says": 3}
    assert state["dropped"] == reasons
    (kept,) = (spool_of(workspace) / "quarantine").glob("*.jsonl")
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    begun = {line["exporter"]: line["example"][:4] for line in lines}
    assert begun == {"192.0.2.9": "0063", "192.0.2.8": "0005"}


def test_live_and_batch_give_the_same_answers(tmp_path: Path) -> None:
    datagrams, every = told(600)
    fed = Workspace.create(tmp_path / "fed")
    spooled(fed, datagrams)
    drain(fed, CLEAR, print)
    read = Workspace.create(tmp_path / "read")
    lines = ["first_seen_at,last_seen_at,src_address,dst_address,src_port,dst_port,protocol,"
             "src_to_dst_bytes,src_to_dst_packets,exporter"]  # fmt: skip
    for i, f in enumerate(every):
        first, last = (1_714_557_600 + s for s in (f.first_s, f.last_s))
        at = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(s)) for s in (first, last)]
        lines.append(
            f"{at[0]},{at[1]},{f.src},{f.dst},{f.src_port},{f.dst_port},{f.protocol},{f.volume},{f.packets},"
            f"127.0.0.{i // 20 % 3 + 1}"
        )
    (tmp_path / "flows.csv").write_text("\n".join(lines) + "\n")
    ingestion.ingest(read, [tmp_path / "flows.csv"], CLEAR, kind="flows")
    live_run, batch_run = (Results(pipeline.run(ws, settings=CLEAR, studies=STUDIES)) for ws in (fed, read))
    for study in STUDIES:
        assert live_run.answers(study) == batch_run.answers(study)
    assert live_run.table("rfm").equals(batch_run.table("rfm"))
    # What was summed once is not read again: a run more touches no batch.
    for batch in fed.batches("flows"):
        batch.rows.unlink()
    again = Results(pipeline.run(fed, settings=CLEAR, studies=STUDIES))
    assert again.table("rfm").equals(live_run.table("rfm"))


# By UDP, with a process that is killed


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Collector:
    """`subsight collect` as a process, and what is sent to it."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        environment = {**os.environ, "SUBSIGHT_IDENTIFIERS": "clear"}
        command = [sys.executable, "-m", "subsight", "collect", "--workspace", str(folder), "--port"]
        command += [str(port), "--host", "127.0.0.1", "--batch", "0.3", "--publish", "0"]
        before = self.told().get("pid")
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while self.told().get("pid") == before:  # the receiver of one that was killed may tell once more
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

    def send(self, datagrams: list[Datagram]) -> None:
        for one in datagrams:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((one.exporter, 0))
                sender.sendto(one.payload, ("127.0.0.1", self._port))

    def told(self) -> dict[str, int]:
        path = self._folder / "spool" / "receiver.json"
        found: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


def test_killing_and_repeating_change_nothing_in_the_totals(tmp_path: Path) -> None:
    folder, port = tmp_path / "ws", _free_port()
    datagrams, every = told(1_200)
    chance = random.Random(5)
    for _ in range(int(os.environ.get("SUBSIGHT_COLLECTOR_KILLS", "3"))):
        collector = Collector(folder, port)
        some = chance.randrange(len(datagrams))
        collector.send(datagrams[:some])
        time.sleep(chance.random() * 1.5)
        collector.end(signal.SIGKILL)
    collector = Collector(folder, port)
    collector.send(datagrams)
    until = time.monotonic() + 30
    while collector.told()["datagrams"] < len(datagrams):
        assert time.monotonic() < until
        time.sleep(0.1)
    collector.end(signal.SIGTERM)
    workspace = Workspace.open(folder)
    assert rows_of(workspace) == expected_of(every)
    state = live.status(workspace)["collect"]
    assert state["accepted"] == 1_200
    assert state["backlog"] == {"segments": 0, "bytes": 0}
    assert state["kernel_dropped"] == 0
    assert state["listening"] == f"127.0.0.1:{port}"
