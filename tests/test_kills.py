"""Kills spread over every stage of a run leave a workspace whose every published table reads whole.

20 kills of runs of one study by default; `SUBSIGHT_KILLS=200` for the long version, of whole runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from subsight import Insight
from subsight.simulate import Operator, simulate
from subsight.workspace import Workspace

KILLS = int(os.environ.get("SUBSIGHT_KILLS", "20"))
# Each further study only repeats the stage of the studies.
STUDIES = None if "SUBSIGHT_KILLS" in os.environ else ["satisfaction"]


def _start(workspace: Path, source: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "subsight", "run", str(source), "--workspace", str(workspace)]
    command += [] if STUDIES is None else ["--studies", ",".join(STUDIES)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _read_whole(workspace: Workspace) -> str:
    """Reads everything that is published; the current run's name."""
    for batch in workspace.batches("sessions"):
        assert pq.read_table(batch.rows).num_rows == batch.manifest["accepted"]
        assert pq.read_table(batch.rejects).num_rows <= batch.manifest["rejected"]
    for name in workspace.runs():
        run = workspace.run(name)
        manifest = json.loads((run / "manifest.json").read_text())
        assert manifest["run"] == name
        for table in manifest["tables"].values():
            assert pq.read_table(run / table["file"]).num_rows == table["rows"]
        for study, entry in manifest["studies"].items():
            assert len(json.loads((run / "answers" / f"{study}.json").read_text())) == entry["answers"]
        assert (run / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    return workspace.run().name


def _length(base: Path, scratch: Path, source: Path) -> float:
    """Seconds of a run that nobody kills."""
    shutil.copytree(base, scratch, symlinks=True)
    began = time.monotonic()
    assert _start(scratch, source).wait() == 0
    length = time.monotonic() - began
    shutil.rmtree(scratch)
    return length


def test_kills_at_any_moment(tmp_path: Path) -> None:
    first = simulate(Operator(subscribers=300, sessions=1500, seed=1), tmp_path / "first").sessions
    second = simulate(Operator(subscribers=300, sessions=1500, seed=2), tmp_path / "second").sessions
    base = tmp_path / "base"
    Insight.open(base).run(first, studies=STUDIES)
    length, outcomes = 0.0, []
    for i in range(KILLS):
        if i % 20 == 0:  # a machine's speed drifts, and a kill after the end would prove nothing
            length = _length(base, tmp_path / "whole", second)
        path = tmp_path / f"ws{i}"
        shutil.copytree(base, path, symlinks=True)
        before = Workspace.open(path).run().name
        process = _start(path, second)
        time.sleep(length * (i + 0.5) / KILLS)
        process.send_signal(signal.SIGKILL)
        process.wait()
        workspace = Workspace.open(path)
        current = _read_whole(workspace)
        outcomes.append((len(workspace.batches("sessions")), current != before))
        if i % 5 == 0:  # what is left must also be good to go on with
            assert _start(path, second).wait() == 0
            assert len(workspace.batches("sessions")) == 2
            _read_whole(workspace)
        shutil.rmtree(path)
    # The kills met different stages: before the batch was accepted, and after.
    assert {batches for batches, _ in outcomes} == {1, 2}, outcomes


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        first = simulate(Operator(subscribers=100, sessions=400, seed=1), tmp_path / "first").sessions
        large = simulate(Operator(subscribers=20_000, sessions=60_000, seed=2), tmp_path / "large").sessions
        Insight.open(small / "ws").run(first)
        before = Workspace.open(small / "ws").run().name
        command = [sys.executable, "-m", "subsight", "run", str(large), "--workspace", str(small / "ws")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 7, done.stderr
        assert "disk" in done.stderr
        assert _read_whole(Workspace.open(small / "ws")) == before
    finally:
        subprocess.run(["umount", str(small)], check=True)
