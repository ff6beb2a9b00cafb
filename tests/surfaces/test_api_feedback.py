"""Survey answers and monitoring through a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_api import BEHAVIOUR, CLEAR, KEY, PSEUDONYM, Service, linear, promote, running

from subsight.lifecycle import feedback
from subsight.surfaces.api.keys import ApiKeys
from subsight.workspace import Workspace

ANSWER = {"subscriber_id": CLEAR, "answered_at": "2026-04-01T12:00:00Z", "csat": 4}
# Its prediction is 1 / (1 + exp(-(0 - 1 * (rtt - 100) / 100))).
FEEDBACK = linear({"rtt_ms": -1.0, "session_count": 0.0}, mean=100.0, deviation=100.0)
FEEDBACK["parameters"]["link"] = "logit"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    return Workspace.create(tmp_path / "operator")


@pytest.fixture
def service(workspace: Workspace) -> Iterator[Service]:
    with running(workspace) as service:
        yield service


def test_an_answer_is_kept_by_pseudonym_and_counts_once(service: Service, workspace: Workspace) -> None:
    for body in (ANSWER, {**ANSWER, "subscriber_id": PSEUDONYM, "nps": None},
                 {**ANSWER, "answered_at": "2026-04-01T14:00:00+02:00", "csat": 4.0}):  # fmt: skip
        status, said, _ = service.ask("POST", "/feedback", body)
        assert (status, said) == (201, {"status": "kept"})
    assert feedback.answers(workspace).to_pylist() == [
        {"subscriber_id": PSEUDONYM, "answered_at": datetime(2026, 4, 1, 12, tzinfo=UTC),
         "rating_share": 0.75, "prediction_id": None},
    ]  # fmt: skip
    (file,) = (workspace.path / "feedback").iterdir()
    assert "33664962239" not in file.read_text()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"csat": 6}, "csat"),
        ({"csat": 0}, "csat"),
        ({"csat": 3.5}, "csat"),
        ({"csat": True}, "csat"),
        ({"csat": "4"}, "csat"),
        ({"csat": float("nan")}, "csat"),
        ({"csat": float("inf")}, "csat"),
        ({"csat": None}, "csat"),
        ({"nps": 9}, "csat"),
        ({"csat": None, "nps": 11}, "nps"),
        ({"subscriber_id": None}, "subscriber_id"),
        ({"subscriber_id": "somebody"}, "subscriber_id"),
        ({"answered_at": None}, "answered_at"),
        ({"answered_at": "2026-04-01T12:00:00"}, "answered_at"),
        ({"answered_at": "2026-13-01T12:00:00Z"}, "answered_at"),
        ({"answered_at": "0001-01-01T00:00:00+14:00"}, "answered_at"),
        ({"answered_at": 1775044800}, "answered_at"),
        ({"answered_at": (datetime.now(UTC) + timedelta(days=3)).isoformat()}, "answered_at"),
        ({"prediction_id": "no id"}, "prediction_id"),
        ({"comment": "good"}, "comment"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused_by_its_field(
    service: Service, workspace: Workspace, change: dict[str, Any], field: str
) -> None:
    status, said, _ = service.ask("POST", "/feedback", {**ANSWER, **change})
    assert (status, said["error"]["field"]) == (422, field)
    assert said["error"]["expected"]
    assert feedback.answers(workspace).num_rows == 0


def test_only_the_role_feedback_leaves_answers(workspace: Workspace) -> None:
    keys = ApiKeys(workspace)
    may, may_not = keys.create("feedback"), keys.create("predict")
    with running(workspace) as service:
        json_type = {"Content-Type": "application/json"}
        for headers, status in (({"X-API-Key": may}, 201), ({"X-API-Key": may_not}, 403), ({}, 401)):
            assert service.ask("POST", "/feedback", ANSWER, {**json_type, **headers})[0] == status
        assert service.ask("GET", "/monitoring", headers={"X-API-Key": may})[0] == 403


def test_answers_sent_at_the_same_time_are_all_kept(service: Service, workspace: Workspace) -> None:
    def send(sender: int) -> None:
        for number in range(20):
            at = f"2026-04-01T12:{sender:02}:{number:02}Z"
            assert service.ask("POST", "/feedback", {**ANSWER, "answered_at": at})[0] == 201

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert feedback.answers(workspace).num_rows == 100


def test_the_document_describes_an_answer_and_the_page_shows_it(service: Service) -> None:
    _, document, _ = service.ask("GET", "/openapi.json")
    described = document["paths"]["/feedback"]["post"]
    assert min(described["responses"]) == "201"
    assert described["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Answer")
    status, page, _ = service.ask("GET", "/docs")
    assert status == 200
    assert "/feedback" in page


def test_monitoring_shows_the_last_look(service: Service, workspace: Workspace) -> None:
    assert service.ask("GET", "/monitoring")[0] == 404
    (workspace.path / "models").mkdir()
    look = {"at": "2026-04-01T12:00:00+00:00", "is_due": False, "models": {}}
    (workspace.path / "models" / "watch.jsonl").write_text(json.dumps(look) + "\n")
    assert service.ask("GET", "/monitoring")[:2] == (200, look)


@pytest.mark.parametrize(
    ("row", "field", "expected"),
    [
        ({"night_share": 82}, "night_share", "a number from 0 to 1 or null"),
        ({"night_share": -0.1}, "night_share", "a number from 0 to 1 or null"),
        ({"rtt_ms": -180.0}, "rtt_ms", "a number from 0 to 1e+18 or null"),
    ],
)
def test_values_that_no_profile_has_are_refused(
    workspace: Workspace, row: dict[str, float], field: str, expected: str
) -> None:
    promote(workspace, "behaviour", linear({"night_share": 1.0, "rtt_ms": 1.0}))
    with running(workspace) as service:
        status, said = service.predict(row)
        assert (status, said["error"]["field"], said["error"]["expected"]) == (422, field, expected)
        status, said, _ = service.ask("POST", "/predict/batch", [dict.fromkeys(row, 0.5), row])
        assert (status, said["error"]["field"], said["error"]["row"]) == (422, field, 2)
        assert service.predict({"night_share": 1, "rtt_ms": 0})[0] == 200


def test_fields_that_only_the_feedback_model_knows_choose_it(service: Service, workspace: Workspace) -> None:
    promote(workspace, "feedback", FEEDBACK)
    for _ in range(100):
        status, answer = service.predict({"rtt_ms": 100.0})
        if status == 200:
            break
        threading.Event().wait(0.02)
    assert (answer["model"], answer["satisfaction_score"]) == ("feedback", 0.5)
    promote(workspace, "behaviour", BEHAVIOUR)
    for _ in range(100):
        _, answer = service.predict({"session_count": 10})
        if answer["model"] == "behaviour":
            break
        threading.Event().wait(0.02)
    # Both know it: the model of what is always known answers.
    assert answer["model"] == "behaviour"
    assert service.predict({"session_count": 10, "rtt_ms": 100.0})[1]["model"] == "feedback"
    status, said = service.predict({"rtt_ms": 100.0, "duration_s": 1.0})
    assert (status, said["error"]["field"]) == (422, "rtt_ms")
