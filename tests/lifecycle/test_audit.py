"""The audit log as a regulator would try it: nothing lost, and nothing changed that is not found.

Hashes are computed again here with hashlib; damage is done to the files by hand.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from subsight.errors import ConfigurationError, InputError, NotFoundError, StorageError, WorkspaceError
from subsight.lifecycle import audit
from subsight.lifecycle.audit import AuditLog, ChainVerification, verify
from subsight.surfaces import cli
from subsight.workspace import Workspace

SOMEBODY = "c655c9ef" * 4


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: what a killed process leaves is the same, and fsync costs nothing."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=place) as folder:
        (Path(folder) / "audit").mkdir()
        yield Path(folder) / "audit"


def predict(log: AuditLog, id: str, **changed: Any) -> Future[None]:
    record: dict[str, Any] = {
        "caller": "crm",
        "subscriber_id": SOMEBODY,
        "inputs": {"sessions_count": 3, "downlink_bytes": 1.5},
        "output": {"cluster": 2},
        "model": "engagement",
        "version": "7",
        "latency_ms": 0.25,
    }
    return log.predicted(id=id, **(record | changed))


def write(folder: Path, records: int = 6, **settings: Any) -> str:
    with AuditLog(folder, **settings) as log:
        for i in range(records):
            predict(log, f"p{i}")
            if settings.get("rotate_bytes"):
                log.durable().result(5)
    return log.chain


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit-*.jsonl"))


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in files(folder) for line in path.read_bytes().splitlines()]


def only(folder: Path) -> ChainVerification:
    (chain,) = verify(folder).chains
    return chain


def damage(path: Path, change: Callable[[list[bytes]], Any]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


# What is written


def test_a_chain_by_hand(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as log:
        predict(log, "p1")
        predict(log, "p2", subscriber_id=None, output=float("nan"))
        log.event("promotion", model="engagement", version="8", reason="better on the holdout")
    (path,) = files(tmp_path)
    assert path.name == f"audit-{log.chain}-000001.jsonl"
    content = path.read_bytes()
    assert content.endswith(b"\n")
    lines = content.split(b"\n")[:-1]
    prev = "0" * 64
    for seq, line in enumerate(lines):
        assert (json.loads(line)["seq"], json.loads(line)["prev"]) == (seq, prev)
        prev = hashlib.sha256(line).hexdigest()
    genesis, first, second, event, closed = map(json.loads, lines)
    assert (genesis["kind"], genesis["chain"]) == ("genesis", log.chain)
    at = first.pop("at")
    assert len(at) == len("2025-01-01T00:00:00.000000+00:00")
    assert at.endswith("+00:00")
    assert first == {
        "seq": 1,
        "prev": hashlib.sha256(lines[0]).hexdigest(),
        "kind": "prediction",
        "id": "p1",
        "caller": "crm",
        "subscriber_id": SOMEBODY,
        "inputs": {"sessions_count": 3, "downlink_bytes": 1.5},
        "output": {"cluster": 2},
        "model": "engagement",
        "version": "7",
        "latency_ms": 0.25,
    }
    assert (second["id"], second["subscriber_id"], second["output"]) == ("p2", None, None)
    assert (event["kind"], event["version"]) == ("promotion", "8")
    assert closed["kind"] == "closed"
    head = json.loads((tmp_path / f"audit-{log.chain}.head").read_bytes())
    assert head == {"seq": 4, "hash": prev}
    (entry,) = map(json.loads, (tmp_path / "chains.jsonl").read_bytes().splitlines())
    assert (entry["chain"], entry["genesis"]) == (log.chain, hashlib.sha256(lines[0]).hexdigest())
    chain = only(tmp_path)
    assert (chain.status, chain.records, chain.files, chain.running) == ("whole", 5, 1, False)
    assert (chain.first_at, chain.last_at) == (genesis["at"], closed["at"])


def test_a_batch_is_one_record(tmp_path: Path) -> None:
    columns = {"subscriber_id": [SOMEBODY] * 3, "score": np.array([0.5, 1.0, 2.0]), "cluster": [1, None, 2]}
    with AuditLog(tmp_path) as log:
        log.batch(id="b1", caller="nightly", columns=columns, model="m", version="1", latency_ms=9)
    record = records(tmp_path)[1]
    content = zlib.decompress(base64.b64decode(record["columns"]))
    assert json.loads(content) == {
        "subscriber_id": [SOMEBODY] * 3,
        "score": [0.5, 1.0, 2.0],
        "cluster": [1, None, 2],
    }
    assert record["digest"] == hashlib.sha256(content).hexdigest()
    assert (record["kind"], record["rows"], len(records(tmp_path))) == ("batch", 3, 3)


def test_a_record_is_what_it_was_at_the_call(tmp_path: Path) -> None:
    inputs = {"sessions_count": 3}
    with AuditLog(tmp_path) as log:
        predict(log, "p1", inputs=inputs)
        inputs["sessions_count"] = 4
    assert records(tmp_path)[1]["inputs"] == {"sessions_count": 3}


def test_clear_identifiers_are_refused_and_not_repeated(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "a") as log:
        for found in ("33664962239", "c655c9ef" * 4 + "0", "g" * 32, ""):
            with pytest.raises(ConfigurationError) as refused:
                predict(log, "p1", subscriber_id=found)
            assert "33664962239" not in str(refused.value)
        with pytest.raises(ConfigurationError):
            predict(log, "p1", inputs={"subscriber_id": "33664962239"})
        with pytest.raises(ConfigurationError):
            log.event("forced", subscriber_id="33664962239")
        columns = {"subscriber_id": [SOMEBODY, "33664962239"]}
        with pytest.raises(ConfigurationError):
            log.batch(id="b", caller="c", columns=columns, model="m", version="1", latency_ms=1)
    assert [r["kind"] for r in records(tmp_path / "a")] == ["genesis", "closed"]
    with AuditLog(tmp_path / "b", identifiers="clear") as log:
        predict(log, "p1", subscriber_id="33664962239")
    assert records(tmp_path / "b")[1]["subscriber_id"] == "33664962239"


def test_what_the_log_cannot_record_is_refused_at_the_call(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as log:
        for value in (object(), {1, object()}, 1j, "\ud800"):
            with pytest.raises(InputError):
                predict(log, "p1", output=value)
        with pytest.raises(InputError, match="a 2, b 1"):
            log.batch(
                id="b", caller="c", columns={"a": [1, 2], "b": [1]}, model="m", version="1", latency_ms=1
            )
        for kind in ("closed", "genesis", "retired", "prediction", "batch"):
            with pytest.raises(ConfigurationError):
                log.event(kind)
        with pytest.raises(ConfigurationError):
            log.event("promotion", seq=1)
        with pytest.raises(ConfigurationError):
            log.event(7)  # type: ignore[arg-type]
        predict(log, "p2")
    assert [r["kind"] for r in records(tmp_path)] == ["genesis", "prediction", "closed"]
    assert verify(tmp_path).status == "whole"


@pytest.mark.parametrize(
    "wrong", [{"mode": "off"}, {"rotate_bytes": 0}, {"keep_days": -1}, {"identifiers": "x"}]
)
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        AuditLog(tmp_path / "audit", **wrong).start()
    assert not (tmp_path / "audit").exists()


def test_a_log_that_is_not_open_takes_nothing(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    with pytest.raises(StorageError, match="not open in this process"):
        predict(log, "p1")
    with log:
        with pytest.raises(ConfigurationError, match="started once"):
            log.start()
        child = os.fork()
        if child == 0:
            try:
                predict(log, "from a fork")
            except StorageError:
                log.close()
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        predict(log, "p1")
    for call in (lambda: predict(log, "p2"), lambda: log.event("forced"), log.durable):
        with pytest.raises(StorageError, match="closed"):
            call()
    log.close()
    assert [r["kind"] for r in records(tmp_path)] == ["genesis", "prediction", "closed"]


# Threads, futures, durability


@pytest.mark.parametrize("mode", ["grouped", "strict"])
def test_eight_threads_lose_nothing(tmp_path: Path, mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A small backlog, so that callers meet it and wait.
    monkeypatch.setattr(audit, "_BACKLOG_RECORDS", 600)
    each = 2500 if mode == "grouped" else 100
    with AuditLog(tmp_path, mode=mode, rotate_bytes=100_000) as log:

        def work(thread: int) -> None:
            for i in range(each):
                future = predict(log, f"{thread}-{i}")
                if mode == "strict":
                    future.result(10)

        threads = [threading.Thread(target=work, args=(t,)) for t in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    written = records(tmp_path)
    assert [r["seq"] for r in written] == list(range(8 * each + 2))
    ids = [r["id"] for r in written if r["kind"] == "prediction"]
    for thread in range(8):
        # Each thread's records, in the order of its calls.
        assert [i for i in ids if i.startswith(f"{thread}-")] == [f"{thread}-{i}" for i in range(each)]
    chain = only(tmp_path)
    assert (chain.status, chain.records, chain.files) == ("whole", 8 * each + 2, len(files(tmp_path)))
    assert chain.files > 1


def test_grouped_mode_writes_soon_and_syncs_within_about_a_second(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as log:
        assert predict(log, "p1").done()
        deadline = time.monotonic() + 5
        while len(records(tmp_path)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        head = tmp_path / f"audit-{log.chain}.head"
        while json.loads(head.read_bytes())["seq"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        chain = only(tmp_path)
        assert (chain.status, chain.running, chain.records) == ("open", True, 2)


def test_strict_futures_await_the_sync_and_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, gate, syncs = os.fsync, threading.Event(), []

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".jsonl":
            syncs.append(gate.wait(10))
        real(descriptor)

    with AuditLog(tmp_path, mode="strict") as log:
        monkeypatch.setattr(os, "fsync", fsync)
        first = predict(log, "p0")
        while len(records(tmp_path)) < 2:
            time.sleep(0.001)
        later = [predict(log, f"p{i}") for i in range(1, 50)]
        # Written, but not on disk: not done.
        assert not first.done()
        assert not any(future.done() for future in later)
        gate.set()
        for future in (first, *later):
            future.result(10)
        assert syncs == [True, True]
        assert len(records(tmp_path)) == 51
    assert verify(tmp_path).status == "whole"


def test_an_event_loop_awaits_and_one_who_gives_up_takes_nothing_from_others(tmp_path: Path) -> None:
    async def serve(log: AuditLog) -> int:
        async def answer(i: int) -> None:
            await asyncio.wrap_future(predict(log, f"p{i}"))

        tasks = [asyncio.create_task(answer(i)) for i in range(20)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[3], asyncio.CancelledError)
        return done.count(None)

    for mode in ("strict", "grouped"):
        with AuditLog(tmp_path / mode, mode=mode) as log:
            assert asyncio.run(serve(log)) == 19
        assert sum(r["kind"] == "prediction" for r in records(tmp_path / mode)) == 20


def test_durable_in_grouped_mode(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as log:
        for i in range(10):
            predict(log, f"p{i}")
            log.durable().result(5)
            head = json.loads((tmp_path / f"audit-{log.chain}.head").read_bytes())
            # The head follows the future at once; it may still be one behind.
            assert head["seq"] in (i, i + 1)
            assert records(tmp_path)[-1]["id"] == f"p{i}"


# A disk that fails


@pytest.mark.parametrize("mode", ["grouped", "strict"])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_nothing_is_served_after_the_disk_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = AuditLog(tmp_path, mode=mode).start()
    predict(log, "p0")
    log.durable().result(5)
    assert log.failure is None
    with monkeypatch.context() as patch:
        if call == "replace":
            patch.setattr(Path, "replace", full)
        else:
            patch.setattr(os, call, full)
        waiting = predict(log, "p1")
        if call != "replace":
            with pytest.raises(StorageError, match="No space left"):
                (waiting if mode == "strict" else log.durable()).result(5)
        else:
            with suppress(StorageError):
                log.durable()
        deadline = time.monotonic() + 5
        while log.failure is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    # The disk is well again; the log is not: what it lost stays lost.
    for again in (lambda: predict(log, "p2"), lambda: log.event("forced"), log.durable, log.close):
        with pytest.raises(StorageError, match="No space left"):
            again()
    assert "No space left" in str(log.failure)
    assert all(r.get("id") != "p2" for r in records(tmp_path))
    chain = only(tmp_path)
    assert (chain.status, chain.running) == ("open", False)
    write(tmp_path)
    assert [c.status for c in verify(tmp_path).chains] == ["open", "whole"]


def test_a_full_device(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, mode="strict").start()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._chain._file)
    os.close(full)
    with pytest.raises(StorageError, match="No space left"):
        predict(log, "p1").result(5)
    with pytest.raises(StorageError):
        predict(log, "p2")
    with pytest.raises(StorageError):
        log.close()


def test_callers_that_wait_for_room_learn_of_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_BACKLOG_RECORDS", 3)
    real, gate = os.write, threading.Event()

    def slow(descriptor: int, data: bytes) -> int:
        if gate.wait(10):
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, data)

    log = AuditLog(tmp_path).start()
    monkeypatch.setattr(os, "write", slow)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            for i in range(100):
                predict(log, f"p{i}")
        except StorageError as error:
            raised.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert all(thread.is_alive() for thread in threads)
    gate.set()
    for thread in threads:
        thread.join(5)
    assert len(raised) == 4
    with pytest.raises(StorageError, match="Input/output"):
        log.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("in the way")
    with pytest.raises(StorageError):
        AuditLog(tmp_path / "audit").start()


# Damage by hand


def test_every_single_byte_counts(tmp_path: Path) -> None:
    write(tmp_path, records=2)
    (path,) = files(tmp_path)
    (head,) = tmp_path.glob("*.head")
    assert verify(tmp_path).status == "whole"
    for target in (path, head, tmp_path / "chains.jsonl"):
        content = target.read_bytes()
        assert len(content) > 70
        for i in range(len(content)):
            target.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
            assert verify(tmp_path).status == "broken", (target.name, i, content[i : i + 20])
        target.write_bytes(content)
    assert verify(tmp_path).status == "whole"


def swap(lines: list[bytes]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def edit(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b'"cluster":2', b'"cluster":3')


def forge(lines: list[bytes]) -> None:
    """A record that fits what stands before it, though not what follows."""
    record = json.loads(lines[3]) | {"prev": hashlib.sha256(lines[2][:-1]).hexdigest(), "id": "forged"}
    lines.insert(3, json.dumps(record).encode() + b"\n")


@pytest.mark.parametrize(
    ("change", "line", "reason"),
    [
        (edit, 4, "edited: its SHA-256"),
        (lambda lines: lines.__setitem__(3, b"not JSON\n"), 4, "this is no record"),
        (lambda lines: lines.__setitem__(3, b'{"seq":3}\n'), 4, "this is no record"),
        (lambda lines: lines.__setitem__(3, b"\xff\xfe\n"), 4, "this is no record"),
        (lambda lines: lines.pop(3), 4, r"records 3\.\.3 are missing"),
        (lambda lines: lines.__delitem__(slice(2, 5)), 3, r"records 2\.\.4 are missing"),
        (lambda lines: lines.pop(0), 1, r"records 0\.\.0 are missing"),
        (swap, 4, "out of order"),
        (lambda lines: lines.insert(3, lines[5]), 4, "missing or out of order"),
        (lambda lines: lines.insert(3, lines[2]), 4, "foreign: record 2"),
        (forge, 5, "foreign: record 3, or one before it"),
        (lambda lines: lines.pop(), 8, r"records 7\.\.7 are missing at the end"),
        (lambda lines: lines.__delitem__(slice(4, 9)), 5, r"records 4\.\.7 are missing at the end"),
        (lambda lines: lines.clear(), 1, r"records 0\.\.7 are missing at the end"),
        (lambda lines: lines.append(lines[-1]), 9, "after the end"),
        (lambda lines: lines.append(b'{"seq":8'), 9, "after the end"),
    ],
)
def test_damage_is_found_where_it_is(
    tmp_path: Path, change: Callable[[list[bytes]], Any], line: int, reason: str
) -> None:
    write(tmp_path)
    (path,) = files(tmp_path)
    damage(path, change)
    chain = only(tmp_path)
    assert chain.status == verify(tmp_path).status == "broken"
    assert re.search(reason, str(chain.reason))
    assert (chain.file, chain.line) == (path.name, line)


def test_files_that_go_are_missed(tmp_path: Path) -> None:
    write(tmp_path / "a", records=12, rotate_bytes=1000)
    names = [path.name for path in files(tmp_path / "a")]
    assert len(names) >= 4
    for gone in (0, 1, 2, len(names) - 1):
        shutil.copytree(tmp_path / "a", tmp_path / str(gone))
        (tmp_path / str(gone) / names[gone]).unlink()
        chain = only(tmp_path / str(gone))
        assert chain.status == "broken"
        assert chain.file == (names[gone] if gone < len(names) - 1 else names[gone - 1])
        assert chain.reason is not None
        assert "missing" in chain.reason
    shutil.copytree(tmp_path / "a", tmp_path / "renamed")
    for number in range(1, len(names)):
        (tmp_path / "renamed" / names[number]).replace(tmp_path / "renamed" / names[number - 1])
    assert only(tmp_path / "renamed").status == "broken"


def test_chains_and_entries_that_go_are_missed(tmp_path: Path) -> None:
    base = tmp_path / "base"
    chains = [write(base) for _ in range(3)]
    assert [c.chain for c in verify(base).chains] == chains
    assert (verify(base).status, verify(base).records) == ("whole", 24)

    def without(name: str, *patterns: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(base, folder)
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()
        return folder

    for i, chain in enumerate(chains):
        found = verify(without(f"chain{i}", f"audit-{chain}*"))
        assert [c.status for c in found.chains] == ["broken" if c == chain else "whole" for c in chains]
        found = verify(without(f"head{i}", f"audit-{chain}.head"))
        assert [c.reason for c in found.chains if c.chain == chain] == ["the head is missing"]
    found = verify(without("register", "chains.jsonl"))
    assert found.reason == "chains.jsonl is missing"
    assert {c.status for c in found.chains} == {"broken"}
    # A chain and its entry: the register does not continue, or a later genesis knows better.
    folder = without("both", f"audit-{chains[1]}*")
    damage(folder / "chains.jsonl", lambda lines: lines.pop(1))
    assert verify(folder).reason is not None
    entries = [json.loads(line) for line in (folder / "chains.jsonl").read_bytes().splitlines()]
    entries[1]["prev"] = hashlib.sha256((folder / "chains.jsonl").read_bytes().splitlines()[0]).hexdigest()
    text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
    (folder / "chains.jsonl").write_text(text)
    found = verify(folder)
    assert (found.reason, found.chains[0].status) == (None, "whole")
    assert "genesis" in str(found.chains[1].reason)


def test_a_foreign_chain_is_found(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    for path in (tmp_path / "b").glob("audit-*"):
        shutil.copy(path, tmp_path / "a")
    assert sorted(c.status for c in verify(tmp_path / "a").chains) == ["broken", "whole"]


def test_no_log_is_no_whole_log(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFoundError):
            verify(folder)


# Rotation and retention


def test_files_continue_one_another(tmp_path: Path) -> None:
    chain = write(tmp_path, records=12, rotate_bytes=1000)
    names = [path.name for path in files(tmp_path)]
    assert names == [f"audit-{chain}-{n:06d}.jsonl" for n in range(1, len(names) + 1)]
    last = b""
    for i, path in enumerate(files(tmp_path)):
        lines = path.read_bytes().splitlines()
        if i:
            assert json.loads(lines[0])["prev"] == hashlib.sha256(last).hexdigest()
        if i < len(names) - 1:
            assert sum(map(len, lines)) + len(lines) >= 1000
            assert sum(map(len, lines[:-1])) + len(lines) - 1 < 1000
        last = lines[-1]
    assert only(tmp_path).status == "whole"


def test_a_file_is_on_disk_before_the_next_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open, real_fsync, calls = os.open, os.fsync, []

    def opened(path: Any, *rest: Any) -> int:
        calls.append(("open", Path(path).name))
        return real_open(path, *rest)

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        calls.append((f"fsync at {os.fstat(descriptor).st_size}", name))
        real_fsync(descriptor)

    with AuditLog(tmp_path, rotate_bytes=100) as log:
        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(os, "fsync", fsync)
        for count in (2, 3, 4, 5):
            predict(log, "p")
            while len(files(tmp_path)) < count:
                time.sleep(0.001)
    paths = files(tmp_path)
    assert len(paths) >= 5
    for path, following in pairwise(paths[1:]):
        synced = calls.index((f"fsync at {path.stat().st_size}", path.name))
        assert synced < calls.index(("open", following.name))


def test_old_files_go_by_rule_and_only_so(tmp_path: Path) -> None:
    old = write(tmp_path, records=12, rotate_bytes=1000)
    gone = files(tmp_path)
    edges = [(json.loads(p.read_bytes().splitlines()[0])["seq"],
              json.loads(p.read_bytes().splitlines()[-1])["seq"],
              hashlib.sha256(p.read_bytes().splitlines()[-1]).hexdigest()) for p in gone]  # fmt: skip
    write(tmp_path, records=0, keep_days=1)
    assert set(gone) <= set(files(tmp_path))
    shutil.copytree(tmp_path, tmp_path.with_name("before"))
    young = write(tmp_path, records=1, keep_days=0)
    assert [path.name for path in files(tmp_path)] == [f"audit-{young}-000001.jsonl"]
    retired = [r for r in records(tmp_path) if r["kind"] == "retired" and old in r["file"]]
    assert [r["file"] for r in retired] == [path.name for path in gone]
    assert [(r["first"], r["last"], r["hash"]) for r in retired] == edges
    found = verify(tmp_path)
    assert (found.status, found.reason) == ("whole", None)
    assert [(c.status, c.files) for c in found.chains] == [("whole", 0), ("whole", 0), ("whole", 1)]
    # The records of removals are removed by rule in their turn; the register remembers.
    write(tmp_path, records=1, keep_days=0)
    assert verify(tmp_path).status == "whole"
    # The same removal without the rule.
    for path in gone:
        (tmp_path.with_name("before") / path.name).unlink()
    assert [c.status for c in verify(tmp_path.with_name("before")).chains] == ["broken", "whole"]


def test_a_process_retires_its_own_full_files_and_spares_what_another_writes(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as other:
        predict(other, "o1")
        other.durable().result(5)
        with AuditLog(tmp_path, rotate_bytes=600, keep_days=0) as log:
            for i in range(20):
                predict(log, f"p{i}")
                log.durable().result(5)
            running = verify(tmp_path)
            assert [(c.status, c.running) for c in running.chains] == [("open", True), ("open", True)]
        predict(other, "o2")
    mine = [path for path in files(tmp_path) if log.chain in path.name]
    assert len(mine) < 5
    assert not mine[0].name.endswith("-000001.jsonl")
    found = verify(tmp_path)
    assert (found.status, found.reason) == ("whole", None)
    # The first file that remains, removed by hand after those removed by rule.
    mine[0].unlink()
    assert [c.status for c in verify(tmp_path).chains] == ["whole", "broken"]


def test_a_retirement_in_the_register_alone_is_found(tmp_path: Path) -> None:
    chain = write(tmp_path)
    (path,) = files(tmp_path)
    by = write(tmp_path)
    last = path.read_bytes().splitlines()[-1]
    entry = {"prev": hashlib.sha256((tmp_path / "chains.jsonl").read_bytes().splitlines()[-1]).hexdigest(),
             "kind": "retired", "chain": chain, "file": path.name, "first": 0, "last": 7,
             "hash": hashlib.sha256(last).hexdigest(), "whole": True, "by": by, "seq": 2}  # fmt: skip
    with (tmp_path / "chains.jsonl").open("a") as register:
        register.write(json.dumps(entry) + "\n")
    path.unlink()
    assert "does not" in str(verify(tmp_path).reason)


# Kills


def test_a_torn_tail_is_told_and_is_no_error(tmp_path: Path) -> None:
    write(tmp_path)
    (path,) = files(tmp_path)
    (head,) = tmp_path.glob("*.head")
    lines = path.read_bytes().splitlines(keepends=True)
    head.write_text(json.dumps({"seq": 4, "hash": hashlib.sha256(lines[4][:-1]).hexdigest()}))
    path.write_bytes(b"".join(lines[:6]) + lines[6][:50])
    chain = only(tmp_path)
    assert (chain.status, chain.torn_bytes, chain.records, chain.running) == ("open", 50, 6, False)
    # A tail that the head has seen is no such thing.
    path.write_bytes(b"".join(lines[:4]) + lines[4][:50])
    assert only(tmp_path).reason == "records 4..4 are missing at the end"


SERVICE = """
import os, sys, threading
from pathlib import Path
from subsight.lifecycle.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), mode=sys.argv[2], rotate_bytes=20_000).start()
def serve(thread):
    i = 0
    while True:
        id = f"{os.getpid()}-{thread}-{i}"
        log.predicted(id=id, caller="crm", subscriber_id=None, inputs={"a": i}, output=1.0, model="m",
                      version="1", latency_ms=0.5).result()
        if sys.argv[2] == "strict" or i == 0:
            os.write(1, id.encode() + b"\\n")
        i += 1
for thread in range(4):
    threading.Thread(target=serve, args=(thread,)).start()
"""


@pytest.mark.parametrize("mode", ["strict", "grouped"])
def test_kills_under_load(tmp_path: Path, mode: str) -> None:
    chance = random.Random(1)
    for killed in range(1, 5):
        command = [sys.executable, "-c", SERVICE, str(tmp_path), mode]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read()
        found = verify(tmp_path)
        assert (found.reason, [c.reason for c in found.chains]) == (None, [None] * killed)
        assert [c.status for c in found.chains] == ["open"] * killed
        if mode == "strict":
            # What a future had promised is there.
            promised = set(said.decode().split("\n")[:-1])
            assert promised
            lines = [line for p in files(tmp_path) for line in p.read_bytes().splitlines(keepends=True)]
            there = {json.loads(line).get("id") for line in lines if line.endswith(b"\n")}
            assert promised <= there
    write(tmp_path)
    assert [c.status for c in verify(tmp_path).chains] == ["open"] * 4 + ["whole"]


# Each child is killed at its n-th call to the disk, halfway through it where it is a write.
SYSCALLS = """
import os, signal, sys
from pathlib import Path
from subsight.lifecycle.audit import AuditLog
def work(folder, n):
    left = [n]
    def counted(real, name):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for module, name in ((os, "write"), (os, "fsync"), (os, "open"), (Path, "replace"), (Path, "unlink")):
        setattr(module, name, counted(getattr(module, name), name))
    for keep_days in (None, 0):
        with AuditLog(folder, rotate_bytes=300, keep_days=keep_days) as log:
            for i in range(3):
                log.event("tick", i=i)
                log.durable().result()
    os._exit(0)
for n in range(1, 10_000):
    child = os.fork()
    if child == 0:
        work(Path(sys.argv[1]) / str(n), n)
    if os.waitpid(child, 0)[1] == 0:
        print(n)
        break
"""


def test_a_kill_at_every_call_to_the_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SYSCALLS, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    calls = int(done.stdout)
    assert calls > 60
    met = set()
    for n in range(1, calls + 1):
        folder = tmp_path / str(n)
        if any(folder.glob("audit-*.jsonl")) or (folder / "chains.jsonl").exists():
            found = verify(folder)
            assert found.status != "broken", (n, found)
            met.add(found.status)
        write(folder, records=1)
        after = verify(folder)
        assert after.status != "broken", (n, after)
        assert after.chains[-1].status == "whole"
        write(folder, records=1, keep_days=0)
        assert verify(folder).status != "broken", (n, verify(folder))
    assert met == {"open", "whole"}


def test_the_command_verifies_and_its_exit_code_tells(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    folder = workspace.path / "audit"
    with AuditLog(folder) as log:
        log.event("promotion", model="behaviour", version=2)
    done = CliRunner().invoke(cli.app, ["audit", "verify", str(workspace.path)])
    assert done.exit_code == 0, done.output
    assert "whole: 3 records in 1 chains" in done.output  # genesis, promotion, closed
    (file,) = folder.glob("audit-*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"version":2', b'"version":3'))
    done = CliRunner().invoke(cli.app, ["audit", "verify", str(workspace.path), "--format", "json"])
    assert isinstance(done.exception, WorkspaceError)
    assert json.loads(done.stdout)["status"] == "broken"
