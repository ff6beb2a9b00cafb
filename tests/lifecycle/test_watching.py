"""Watching champions: planted drift, drops and age are seen, and what is unchanged is left alone."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_run import publish
from typer.testing import CliRunner

from subsight.errors import NotFoundError
from subsight.lifecycle import bundle, training, watching
from subsight.lifecycle.audit import AuditLog
from subsight.lifecycle.registry import Registry
from subsight.settings import Settings, load
from subsight.surfaces import cli
from subsight.workspace import Workspace


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Champions trained on a run with an effect of 1."""
    monkeypatch.setattr(watching, "_LOOKS", 10)
    workspace = Workspace.create(tmp_path / "ws")
    publish(workspace, effect=1.0)
    training.train(workspace, load())
    return workspace


def _triggers(found: dict[str, Any]) -> dict[str, list[str]]:
    return {name: [r["trigger"] for r in model["reasons"]] for name, model in found["models"].items()}


def test_people_of_the_same_kind_are_no_drift(watched: Workspace) -> None:
    for seed in range(2, 7):
        publish(watched, effect=1.0, seed=seed)
        found = watching.look(watched, load())
        assert _triggers(found) == {"identity": [], "behaviour": []}
        assert not found["is_due"]
    behaviour = found["models"]["behaviour"]
    # Every field of the model and its prediction were compared, on all subscribers.
    assert {row["rows_now"] for row in behaviour["drift"]} == {4000}
    assert {"night_share", "handset_manufacturer", "prediction"} <= {r["feature"] for r in behaviour["drift"]}
    assert (behaviour["false_alarms"], behaviour["looks"]) == (0, 10)
    assert behaviour["performance"]["change_low"] < 0 < behaviour["performance"]["change_high"]


def test_planted_drift_is_found_and_named(watched: Workspace) -> None:
    publish(watched, effect=1.0, seed=2, nights=(0.4, 1.0))
    found = watching.look(watched, load())
    model = found["models"]["behaviour"]
    assert {row["feature"] for row in model["drift"] if row["has_drifted"]} == {"night_share", "prediction"}
    (row,) = [row for row in model["drift"] if row["feature"] == "night_share"]
    # Uniform on 0 to 1 against 0.4 to 1: the distance is 0.4 at 0.4, the medians 0.5 and 0.7.
    assert row["distance"] == pytest.approx(0.4, abs=0.03)
    assert (row["before"], row["now"]) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.7, abs=0.03))
    assert _triggers(found)["behaviour"] == ["drift"]
    assert "night_share (KS 0.4" in model["reasons"][0]["why"]


def test_what_is_true_by_construction_is_shown_to_drift_and_needs_no_training(watched: Workspace) -> None:
    publish(watched, effect=-1.0, seed=2)
    model = watching.look(watched, load())["models"]["identity"]
    assert {row["feature"] for row in model["drift"] if row["has_drifted"]} == {
        "engagement_score", "experience_score", "prediction",
    }  # fmt: skip
    assert model["reasons"] == []


def test_a_relation_that_turned_is_a_drop_and_no_drift_of_features(watched: Workspace) -> None:
    publish(watched, effect=-1.0, seed=2)
    model = watching.look(watched, load())["models"]["behaviour"]
    assert [reason["trigger"] for reason in model["reasons"]] == ["drop"]
    assert not any(row["has_drifted"] for row in model["drift"])
    assert model["performance"]["change_low"] > 0


def test_age_calls_for_training_when_it_is_set(watched: Workspace) -> None:
    later = datetime.now(UTC) + timedelta(days=40)
    assert _triggers(watching.look(watched, load(), later)) == {
        "identity": [], "behaviour": ["schedule"],
    }  # fmt: skip
    assert _triggers(watching.look(watched, load(retrain_days=0), later)) == {"identity": [], "behaviour": []}


def _serve(workspace: Workspace, nights: list[float], **more: Any) -> None:
    """What a service would have written of predictions of the behaviour model."""
    with AuditLog(workspace.path / "audit") as log:
        for number, night in enumerate(nights):
            inputs = {"night_share": night, **more}
            log.predicted(id=f"{number:024x}", caller="local", subscriber_id=None, inputs=inputs,
                          output=2.5, model="behaviour", version="1", latency_ms=0.1)  # fmt: skip


def test_what_the_service_is_asked_is_compared_as_far_as_it_was_sent(watched: Workspace) -> None:
    random = np.random.default_rng(3)
    _serve(watched, random.uniform(0, 1, 500).tolist())
    model = watching.look(watched, load())["models"]["behaviour"]
    assert model["asked_count"] == 500
    # The other fields were never sent: nothing is said of them, nor of predictions that means stand in for.
    assert [row["feature"] for row in model["asked_drift"]] == ["night_share"]
    assert model["reasons"] == []
    _serve(watched, random.uniform(0.6, 1, 1500).tolist(), handset_manufacturer="Apple")
    model = watching.look(watched, load())["models"]["behaviour"]
    assert model["asked_count"] == 2000
    assert {row["feature"]: row["has_drifted"] for row in model["asked_drift"]} == {
        "night_share": True, "handset_manufacturer": True,
    }  # fmt: skip
    (reason,) = model["reasons"]
    assert reason["why"].startswith("in the service: ")
    assert model["drift"][0]["has_drifted"] is False


def test_a_service_without_a_run_is_watched_by_what_it_is_asked(watched: Workspace, tmp_path: Path) -> None:
    bundle.pack(watched, tmp_path / "bundle")
    serving, *_ = bundle.begin(tmp_path / "serving", tmp_path / "bundle")
    found = watching.look(serving, load())
    assert (found["run"], found["is_due"]) == (None, False)
    _serve(serving, [0.9] * 200)
    found = watching.look(serving, load())
    assert [r["trigger"] for r in found["models"]["behaviour"]["reasons"]] == ["drift"]
    code, output = _watch(serving)
    assert code == 20
    assert "the service was asked 200 times in 30 days: 1 of 1 fields and predictions drifted" in output


def test_the_last_look_is_kept_and_one_cut_short_is_none(watched: Workspace) -> None:
    assert watching.last_look(watched) is None
    found = watching.look(watched, load())
    with (watched.path / "models" / "watch.jsonl").open("a") as file:
        file.write('{"at": "20')
    assert watching.last_look(watched) == found


def test_without_a_champion_there_is_nothing_to_watch(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no champion"):
        watching.look(Workspace.create(tmp_path / "ws"), load())


def test_a_damaged_sample_says_nothing_about_drift(watched: Workspace) -> None:
    for file in (watched.path / "models" / "samples").glob("*.npz"):
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    model = watching.look(watched, load())["models"]["behaviour"]
    assert (model["drift"], model["looks"]) == ([], 0)


# From the command line


def _watch(workspace: Workspace, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["models", "watch", str(workspace.path), *options])
    return result.exit_code, result.output


def test_the_exit_code_says_whether_something_is_left_to_do(watched: Workspace) -> None:
    code, output = _watch(watched)
    assert code == 0
    assert output.count("nothing to do") == 2
    publish(watched, effect=-1.0, seed=2, nights=(0.4, 1.0))
    code, output = _watch(watched)
    assert code == 20
    assert "training is due, drift: " in output
    assert "training is due, drop: its error is" in output
    code, output = _watch(watched, "--retrain")
    assert code == 20
    assert "behaviour 2: trained; promote it with" in output
    assert Registry(watched).aliases("behaviour")["champion"] == 1
    code, output = _watch(watched, "--promote")
    assert code == 0
    assert "behaviour 3: trained; now the champion" in output
    assert Registry(watched).aliases("behaviour")["champion"] == 3
    assert Registry(watched).changes()[-1]["why"].startswith("retrained for drift")
    code, output = _watch(watched, "--format", "json")
    assert code == 0
    assert json.loads(output)["models"]["behaviour"]["reasons"] == []


class _Hook(BaseHTTPRequestHandler):
    got: list[dict[str, Any]]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.got.append(json.loads(self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_webhook_hears_of_what_is_due_and_of_nothing_else(watched: Workspace) -> None:
    _Hook.got = []
    server = HTTPServer(("127.0.0.1", 0), _Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        settings: Settings = load(webhook_url=f"http://127.0.0.1:{server.server_port}/hook")
        assert watching.notify(settings, watching.look(watched, settings)) is None
        assert _Hook.got == []
        publish(watched, effect=-1.0, seed=2)
        assert watching.notify(settings, watching.look(watched, settings)) is None
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    (message,) = _Hook.got
    assert message["text"].startswith("behaviour 1: drop: its error is")
    said = watching.notify(settings, watching.look(watched, settings))
    assert said is not None
    assert said.startswith("the webhook was not reached")
