"""Champion and challenger in service, through a real server; and an audit log that cannot keep up."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_api import JSON, KEY, Service, linear, listens, promote, running

from subsight.lifecycle import audit
from subsight.lifecycle.audit import AuditLog, verify
from subsight.lifecycle.chains import Chain
from subsight.lifecycle.experiments import compare, is_challenged
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry
from subsight.surfaces.api.live import Experiment
from subsight.workspace import Workspace

PEOPLE = [f"{i:032x}" for i in range(1, 61)]
ROW = {"session_count": 3.0}


def doubled(factor: float) -> dict[str, Any]:
    """A behaviour model that multiplies its one field."""
    return linear({"session_count": factor})


def challenge(workspace: Workspace, record: dict[str, Any]) -> int:
    registry = Registry(workspace)
    number = registry.register("behaviour", record, {"is_promotable": True, "reasons": []}).number
    registry.challenge("behaviour", number)
    return number


def columns(record: dict[str, Any]) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(record["columns"])))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    workspace = Workspace.create(tmp_path / "operator")
    promote(workspace, "behaviour", doubled(1.0))
    return workspace


def test_in_shadow_both_predict_and_the_champion_answers(workspace: Workspace) -> None:
    with running(workspace) as service:
        service.predict(ROW)
        challenge(workspace, doubled(2.0))
        time.sleep(0.11)
        status, answer = service.predict({**ROW, "subscriber_id": PEOPLE[0]})
        assert (status, answer["satisfaction_score"], answer["version"]) == (200, 3.0, 1)
        status, answer, _ = service.ask("POST", "/predict/batch", {"session_count": [1, None, 4]})
        assert (status, answer["satisfaction_score"], answer["version"]) == (200, [1.0, 0.0, 4.0], 1)
        assert service.ask("GET", "/model")[1]["models"]["behaviour"]["challenger"] == 2
        alone, both = service.records("prediction")
        assert "shadow" not in alone
        assert (both["output"], both["version"]) == (3.0, "1")
        assert both["shadow"] == {"version": "2", "output": 6.0}
        (batch,) = service.records("batch")
        assert (batch["version"], batch["shadow"]) == ("1", {"version": "2"})
        assert columns(batch)["shadow_satisfaction_score"] == [2.0, 0.0, 8.0]
        found = compare(workspace, "behaviour")
        # |6 - 3|, |2 - 1|, |0 - 0|, |8 - 4|
        assert (found.predictions, found.agreement and found.agreement["mean_absolute_difference"]) == (
            4,
            2.0,
        )
        Registry(workspace).challenge("behaviour", None)
        time.sleep(0.11)
        service.predict(ROW)
        assert "shadow" not in service.records("prediction")[-1]
        assert service.ask("GET", "/model")[1]["models"]["behaviour"]["challenger"] is None


@pytest.mark.parametrize("kind", ["shadow", "ab"])
def test_a_challenger_that_fails_harms_nobody(
    workspace: Workspace, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, many = Predictor.one, Predictor.many

    def failing(original: Any) -> Any:
        def predict(self: Predictor, given: Any, *more: Any) -> Any:
            # Once loaded, version 2 breaks at its first row.
            if self.version.number == 2 and given:
                raise RuntimeError("inside")
            return original(self, given, *more)

        return predict

    monkeypatch.setattr(Predictor, "one", failing(one))
    monkeypatch.setattr(Predictor, "many", failing(many))
    for record, number in ((doubled(2.0), 2), (doubled(1.5e308), 3)):
        assert challenge(workspace, record) == number
        with running(workspace, experiment=Experiment(kind, 0.999_999)) as service:
            status, answer = service.predict({**ROW, "subscriber_id": PEOPLE[0]})
            assert (status, answer["satisfaction_score"], answer["version"]) == (200, 3.0, 1)
            status, answer, _ = service.ask("POST", "/predict/batch", [ROW, ROW])
            assert (status, answer["satisfaction_score"]) == (200, [3.0, 3.0])
            assert service.ask("GET", "/metrics")[1].count('version="1"} 3') == 1
            record_, batch = service.records("prediction")[-1], service.records("batch")[-1]
        if kind == "shadow":
            assert record_["shadow"] == {"version": str(number), "output": None}
            assert columns(batch).get("shadow_satisfaction_score", [None, None]) == [None, None]
        else:
            told = {"challenger": str(number), "arm": "challenger", "share": 0.999_999}
            assert (record_["ab"], record_["version"]) == (told, "1")
        found = compare(workspace, "behaviour")
        assert found.failures == found.predictions == (3 if kind == "shadow" else 1)


def test_in_an_ab_each_subscriber_has_one_answerer(workspace: Workspace) -> None:
    assert challenge(workspace, doubled(2.0)) == 2
    with running(workspace, experiment=Experiment("ab", 0.3)) as service:
        for _ in range(2):
            for person in PEOPLE:
                _, answer = service.predict({**ROW, "subscriber_id": person})
                expected = (6.0, 2) if is_challenged("behaviour", 2, person, 0.3) else (3.0, 1)
                assert (answer["satisfaction_score"], answer["version"]) == expected
        records = service.records("prediction")
        arms = Counter((record["ab"]["arm"], record["version"]) for record in records)
        assert set(arms) == {("champion", "1"), ("challenger", "2")}
        # Four standard errors of 0.3 among 60 people, each asked twice.
        assert arms["challenger", "2"] == pytest.approx(2 * 18, abs=2 * 15)
        assert {(r["ab"]["challenger"], r["ab"]["share"]) for r in records} == {("2", 0.3)}
        text = service.ask("GET", "/metrics")[1]
        assert f'{{model="behaviour",version="2"}} {arms["challenger", "2"]}' in text
        # Who is not named, and a batch, are answered by the champion and count for neither.
        assert service.predict(ROW)[1]["version"] == 1
        body = {"session_count": [3] * 60, "subscriber_id": PEOPLE}
        answer = service.ask("POST", "/predict/batch", body)[1]
        assert (set(answer["satisfaction_score"]), answer["version"]) == ({3.0}, 1)
        assert "ab" not in service.records("prediction")[-1]
        (batch,) = service.records("batch")
        assert not {"ab", "shadow"} & set(batch)
        assert set(columns(batch)) == {*body, "satisfaction_score"}
        assert compare(workspace, "behaviour").predictions == 120


def test_an_experiment_that_is_off_asks_no_challenger(workspace: Workspace) -> None:
    challenge(workspace, doubled(2.0))
    with running(workspace, experiment=Experiment("off")) as service:
        service.predict({**ROW, "subscriber_id": PEOPLE[0]})
        assert not {"ab", "shadow"} & set(service.records("prediction")[0])


def test_a_challenger_that_cannot_be_loaded_is_said_and_harms_nobody(workspace: Workspace) -> None:
    with running(workspace) as service:
        number = challenge(workspace, doubled(2.0))
        (workspace.path / "models" / "behaviour" / f"{number}.json").write_text("{}")
        time.sleep(0.11)
        assert service.predict(ROW)[1]["version"] == 1
        status, answer, _ = service.ask("GET", "/ready")
        assert (status, answer["models"]) == (200, {"behaviour": 1})
        assert "the challenger of behaviour" in answer["troubles"][0]
        assert "the champion answers alone" in answer["troubles"][0]
        # One that wants a field which no request may have: it predicts from the mean, and that is said.
        challenge(workspace, linear({"session_count": 2.0, "total_bytes": 1.0}))
        time.sleep(0.11)
        service.predict(ROW)
        assert service.records("prediction")[-1]["shadow"] == {"version": "3", "output": 6.0}
        (trouble,) = service.ask("GET", "/ready")[1]["troubles"]
        assert trouble.endswith("takes what the champion does not: total_bytes")


@pytest.mark.parametrize("kind", ["shadow", "ab"])
def test_a_challenge_its_promotion_and_a_rollback_lose_no_request(workspace: Workspace, kind: Any) -> None:
    with running(workspace, experiment=Experiment(kind, 0.5)) as service:
        stop, seen, counts = threading.Event(), set(), []

        def load(offset: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            count = 0
            while not stop.is_set():
                body = {**ROW, "subscriber_id": PEOPLE[(offset + count) % len(PEOPLE)]}
                connection.request("POST", "/predict", json.dumps(body), JSON)
                answer = connection.getresponse()
                found = json.loads(answer.read())
                assert answer.status == 200, found
                seen.add((found["satisfaction_score"], found["version"]))
                count += 1
            connection.close()
            counts.append(count)

        threads = [threading.Thread(target=load, args=(15 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        registry = Registry(workspace)
        time.sleep(0.25)
        number = challenge(workspace, doubled(2.0))
        time.sleep(0.25)
        registry.promote("behaviour", number)
        time.sleep(0.25)
        registry.rollback("behaviour")
        time.sleep(0.25)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert (len(counts), seen) == (4, {(3.0, 1), (6.0, 2)})
        records = service.records("prediction")
        assert len(records) == sum(counts)
        by_told = Counter((r["version"], "shadow" in r, "ab" in r) for r in records)
        told = {("1", True, False)} if kind == "shadow" else {("1", False, True), ("2", False, True)}
        # Alone, challenged, promoted (its challenge over), rolled back.
        assert set(by_told) == {("1", False, False), *told, ("2", False, False)}
    assert [chain.status for chain in verify(workspace.path / "audit").chains] == ["whole"]


# A log that cannot keep up


@pytest.mark.parametrize("full", [("_BACKLOG_RECORDS", 3), ("_BACKLOG_BYTES", 700)])
def test_a_log_that_is_behind_is_a_503_and_blocks_nobody(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, full: tuple[str, int]
) -> None:
    gate, write = threading.Event(), Chain.write

    def stuck(self: Chain, bodies: Any) -> None:
        assert gate.wait(30)
        write(self, bodies)

    def ask_until_full(service: Service) -> list[str]:
        answered = []
        for _ in range(50):
            status, answer, headers = service.ask("POST", "/predict", ROW)
            if status != 200:
                assert (status, headers["Retry-After"]) == (503, "1")
                assert "wait for the disk" in answer["error"]["what"]
                return answered
            answered.append(answer["id"])
            time.sleep(0.06)
        raise AssertionError("the log takes whatever comes")

    monkeypatch.setattr(audit, *full)
    with running(workspace) as service:
        monkeypatch.setattr(Chain, "write", stuck)
        began = time.monotonic()
        answered = ask_until_full(service)
        status, answer, headers = service.ask("POST", "/predict/batch", [ROW])
        assert (status, headers["Retry-After"]) == (503, "1")
        assert str(workspace.path) not in json.dumps(answer)
        assert service.ask("GET", "/health")[0] == service.ask("GET", "/ready")[0] == 200
        # The writer stands still all the while: who waited for it would have waited 30 s.
        assert time.monotonic() - began < 20
        gate.set()
        deadline = time.monotonic() + 10
        while (again := service.predict(ROW))[0] != 200:
            assert time.monotonic() < deadline
        # What was answered stands in the log, what was refused does not.
        assert [r["id"] for r in service.records("prediction")] == [*answered, again[1]["id"]]


def test_a_library_call_waits_where_the_service_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_BACKLOG_RECORDS", 3)
    with AuditLog(tmp_path) as log:
        for number in range(20):
            log.event("note", number=number)
    assert verify(tmp_path).records == 22


def test_the_settings_reach_the_served_log_and_the_experiment(workspace: Workspace) -> None:
    challenge(workspace, doubled(2.0))
    with AuditLog(workspace.path / "audit") as old:
        old.event("note")
    (workspace.path / "subsight.toml").write_text(
        'audit_rotate_bytes = 1000\naudit_keep_days = 0\nexperiment = "ab"\nchallenger_share = 0.999999\n'
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "subsight", "serve", os.fspath(workspace.path), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(3):
            for _ in range(5):
                body = json.dumps({**ROW, "subscriber_id": PEOPLE[0]})
                connection.request("POST", "/predict", body, JSON)
                assert json.loads(connection.getresponse().read())["version"] == 2
            time.sleep(0.2)
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    # The chain of before is gone by rule, the present one's older files too: each file held 1,000 bytes.
    proved = verify(workspace.path / "audit")
    assert (proved.status, old.chain in [c.chain for c in proved.chains if c.records]) == ("whole", False)
    retired = [
        json.loads(line)
        for line in (workspace.path / "audit" / "chains.jsonl").read_text().splitlines()
        if json.loads(line)["kind"] == "retired"
    ]
    assert [entry["chain"] == old.chain for entry in retired][:2] == [True, False]
