"""Loads of the service as a process: a promotion and a rollback lose nothing, a kill no more than is stated.

5,000 requests by default; `SUBSIGHT_REQUESTS=100000` for the long version.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loaded import Answer, Load
from served import SCORES, ask, serving

from subsight.lifecycle.registry import Registry
from subsight.workspace import Workspace

REQUESTS = int(os.environ.get("SUBSIGHT_REQUESTS", "5000"))
LOOK_S = 0.1
"""How often a service looks for a change of its champions."""
WRITTEN_S = 0.05
"""After how long a grouped log has written a record."""
SLOW_S = 0.25
"""What a busy machine may add to a time that holds on a free one."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two versions of `identity`: one always answers 1 and is the champion, the other always answers 2."""
    workspace = Workspace.create(tmp_path / "ws")
    names = list(SCORES)
    for score in (1.0, 2.0):
        parameters = {"coefficients": dict.fromkeys(names, 0.0), "intercept": score,
                      "mean": [0.0, 0.0], "deviation": [1.0, 1.0]}  # fmt: skip
        record = {"features": names, "parameters": parameters, "card": {}}
        Registry(workspace).register("identity", record, {"is_promotable": True, "reasons": []})
    Registry(workspace).promote("identity", 1)
    return workspace


def records(workspace: Workspace) -> list[dict[str, Any]]:
    """Every prediction in the log, but for a line that a kill cut short."""
    content = b"".join(path.read_bytes() for path in sorted((workspace.path / "audit").glob("audit-*.jsonl")))
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    return [record for record in map(json.loads, lines) if record["kind"] == "prediction"]


def verified(workspace: Workspace) -> str:
    """What `subsight audit verify` says last, having found nothing wrong."""
    command = [sys.executable, "-m", "subsight", "audit", "verify", str(workspace.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_a_promotion_and_a_rollback_in_the_middle_lose_nothing(workspace: Workspace) -> None:
    registry, moments = Registry(workspace), []

    def timed(change: Any) -> Any:
        def call() -> None:
            began = time.monotonic()
            change()
            moments.append((began, time.monotonic()))

        return call

    at = {
        REQUESTS // 3: timed(lambda: registry.promote("identity", 2)),
        2 * REQUESTS // 3: timed(lambda: registry.rollback("identity")),
    }
    with serving(workspace.path) as service:
        load = Load(service.port, REQUESTS, at=at)
        answers = load.run()
        service.stop()
    assert (len(answers), load.broken) == (REQUESTS, 0)
    assert {answer.status for answer in answers} == {200}
    # Every answer is wholly of one version, and that one was the champion when it was asked.
    assert all(answer.body["satisfaction_score"] == answer.body["version"] for answer in answers)
    (promoted, rolled_back) = moments
    assert [answer for answer in answers if not _was_champion(answer, promoted, rolled_back)] == []
    assert [answer.body["version"] for answer in (answers[0], answers[-1])] == [1, 1]
    assert sum(answer.body["version"] == 2 for answer in answers) > REQUESTS // 10
    # Each stands in the log once, with its own version, and the log is whole.
    told = sorted((record["id"], int(record["version"])) for record in records(workspace))
    assert told == sorted((answer.body["id"], answer.body["version"]) for answer in answers)
    assert len({id for id, _ in told}) == REQUESTS
    assert verified(workspace).startswith("whole: ")


def _was_champion(answer: Answer, promoted: tuple[float, float], rolled_back: tuple[float, float]) -> bool:
    """Whether its version was the champion at a moment of the request, or until a look before it."""
    if answer.body["version"] == 2:
        return answer.received_s > promoted[0] and answer.sent_s < rolled_back[1] + LOOK_S
    return answer.sent_s < promoted[1] + LOOK_S or answer.received_s > rolled_back[0]


@pytest.mark.parametrize("mode", ["strict", "grouped"])
def test_a_kill_under_load_leaves_what_was_promised(workspace: Workspace, mode: str) -> None:
    promised: set[str] = set()
    for number, after_s in enumerate((0.6, 1.1), 1):
        killed = []
        with serving(workspace.path, "--audit", mode) as service:

            def kill(
                process: Any = service.process, after: float = after_s, at: list[float] = killed
            ) -> None:
                time.sleep(after)
                at.append(time.monotonic())
                process.send_signal(signal.SIGKILL)

            load = Load(service.port, 1_000_000, at={1: kill})
            answers = load.run()
            assert service.process.wait(30) == -signal.SIGKILL
        # It died at work: every connection was cut.
        assert load.broken == load.connections
        assert {answer.status for answer in answers} == {200}
        window_s = 0.0 if mode == "strict" else WRITTEN_S + SLOW_S
        early = [answer for answer in answers if not window_s or answer.received_s < killed[0] - window_s]
        assert len(early) > 50
        promised |= {answer.body["id"] for answer in early}
        there = [record["id"] for record in records(workspace)]
        assert len(set(there)) == len(there)
        assert promised <= set(there)
        # A last line cut short is no damage, and a chain that nobody closed is said to be open.
        said = verified(workspace)
        assert (said.split(":")[0], said.split(" in ")[1]) == ("open", f"{number} chains")
    # It goes on where it died, with a chain of its own.
    with serving(workspace.path, "--audit", mode) as service:
        status, answer = ask(service.port, "POST", "/predict", SCORES)
        service.stop()
    assert status == 200
    assert records(workspace)[-1]["id"] == answer["id"] or answer["id"] in {
        r["id"] for r in records(workspace)
    }
    assert verified(workspace).endswith(" in 3 chains")
