"""Monitoring in words: the words follow the numbers, and turn with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted_run import publish

import subsight
from subsight.lifecycle import monitoring, training, watching
from subsight.lifecycle.registry import Registry
from subsight.settings import load
from subsight.simulate import Operator, simulate
from subsight.workspace import Workspace


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(watching, "_LOOKS", 10)
    workspace = Workspace.create(tmp_path / "ws")
    publish(workspace, effect=1.0)
    training.train(workspace, load())
    return workspace


def _reading(workspace: Workspace, id: str) -> list[str]:
    return [text for answer in monitoring.answers(workspace) if answer.id == id for text in answer.reading]


def test_without_models_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert monitoring.answers(Workspace.create(tmp_path / "ws")) == []


def test_words_follow_what_a_look_saw(watched: Workspace) -> None:
    identity, behaviour = _reading(watched, "monitoring.champions")
    assert identity.startswith("Identity 1: exact by construction")
    metrics = Registry(watched).get("behaviour").entry["metrics"]
    assert f"explains {100 * metrics['r2']:.1f} % of the differences" in behaviour
    assert [answer.id for answer in monitoring.answers(watched)] == ["monitoring.champions"]

    publish(watched, effect=1.0, seed=2)
    watching.look(watched, load())
    # An application, four parts of the day, two activities, eight bands, the manufacturer, the prediction.
    assert "none of 17 features and predictions has drifted" in _reading(watched, "monitoring.drift")[1]
    assert "no clear drop; nothing is to be done." in _reading(watched, "monitoring.performance")[1]

    publish(watched, effect=-1.0, seed=2, nights=(0.4, 1.0))
    watching.look(watched, load())
    assert "2 of 17 have drifted: " in _reading(watched, "monitoring.drift")[1]
    due = _reading(watched, "monitoring.performance")[1]
    assert "clearly more; training is due, drift: " in due
    assert "drop: its error is" in due


def test_a_model_no_better_than_the_mean_is_called_so(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    publish(workspace, effect=0.0)
    training.train(workspace, load(minimum_r2=-1))
    registry = Registry(workspace)
    if "champion" not in registry.aliases("behaviour"):
        registry.promote("behaviour", 1, force=True)
    metrics = registry.get("behaviour").entry["metrics"]
    said = _reading(workspace, "monitoring.champions")[1]
    is_better = metrics["mae"] < metrics["baseline_mae"]
    assert ("explains" in said) == is_better
    assert ("no better than the mean" in said) != is_better


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "the model orders answers better than the index"),
        (-0.3, -0.1, "the index orders answers better than the model"),
        (-0.1, 0.1, "no clear difference"),
    ],
)
def test_the_model_beside_the_index(low: float, high: float, said: str) -> None:
    found = {"answers": 240, "model": 0.5, "index": 0.3, "gain": 0.2, "gain_low": low, "gain_high": high}
    assert monitoring._beside(found).endswith(f"{said}.")


def test_the_report_has_the_models_in_service_and_survives_a_damaged_one(tmp_path: Path) -> None:
    made = simulate(Operator(subscribers=1500, sessions=12_000, seed=5), tmp_path / "operator")
    insight = subsight.open(tmp_path / "ws")
    insight.run(made.sessions, studies=["satisfaction"])
    assert 'id="monitoring"' not in insight.report(tmp_path / "before.html").read_text()
    insight.ingest(made.feedback, kind="feedback")
    training.train(insight.workspace, insight.settings)
    watching.look(insight.workspace, insight.settings)
    page = insight.report(tmp_path / "after.html").read_text()
    ids = ("champions", "calibration", "drift", "performance")
    assert all(f'<article id="monitoring.{id}"' in page for id in ids)
    answers = {answer.id: answer for answer in monitoring.answers(insight.workspace)}
    tenths: list[dict[str, Any]] = [dict(row) for row in answers["monitoring.calibration"].rows]
    assert sum(row["answer_count"] for row in tenths) == Registry(insight.workspace).get("feedback").record[
        "fit"]["rows_test"]  # fmt: skip
    record = insight.workspace.path / "models" / "feedback" / "1.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "name": "other"}))
    page = insight.report(tmp_path / "damaged.html").read_text()
    assert "The models cannot be read: version 1 of feedback is not what was registered" in page
