"""What is copied into MLflow, asked of MLflow itself."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from planted_run import publish

from subsight.errors import ConfigurationError
from subsight.lifecycle import tracking, training
from subsight.lifecycle.registry import Registry
from subsight.models import feedback
from subsight.settings import load
from subsight.workspace import Workspace


@pytest.fixture
def trained(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "ws")
    publish(workspace, effect=3.0)
    folder = workspace.run()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {
        "created_at": "2026-03-01T12:00:00+00:00",
        "settings": {"seed": 7, "starts": 10, "treatment": "mean"},
        "code": {"package": "0.1.0", "commit": "c0ffee", "is_dirty": False},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "models").mkdir()
    fit = {
        "rows": 4000,
        "inertia": 25.5,
        "starts": 10,
        "convergence": [40.0, 30.0, 25.5],
        "began_at": "2026-03-01T11:59:58+00:00",
    }
    (folder / "models" / "engagement.json").write_text(json.dumps({"name": "engagement", "fit": fit}))
    (folder / "models" / "engagement").mkdir()
    for name in ("card.json", "convergence.svg", "predictions.csv"):
        (folder / "models" / "engagement" / name).write_text(f"the run's {name}")
    training.train(workspace, load())
    training.train(workspace, load())
    return workspace


def test_fits_versions_and_aliases_stand_in_mlflow_once(trained: Workspace) -> None:
    assert tracking.sync(trained, load()) == 5  # the run's fit, and two versions of two models
    assert tracking.sync(trained, load()) == 0
    uri = tracking.default_uri(trained)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = {e.name: e.experiment_id for e in client.search_experiments() if e.name != "Default"}
    assert set(found) == {"subsight engagement", "subsight identity", "subsight behaviour"}
    (fit,) = client.search_runs([found["subsight engagement"]])
    assert fit.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert fit.data.metrics["inertia"] == 25.5
    files = {file.path for file in client.list_artifacts(fit.info.run_id)}
    assert files == {"record.json", "card.json", "convergence.svg", "predictions.csv"}
    sample = Path(client.download_artifacts(fit.info.run_id, "predictions.csv")).read_text()
    assert sample == "the run's predictions.csv"
    # A setting is a parameter and no metric, wherever the fit tells it.
    assert (fit.data.params["starts"], "starts" in fit.data.metrics) == ("10", False)
    assert fit.info.run_name == f"run {trained.run().name}"
    assert (fit.info.end_time - fit.info.start_time) == 2000
    steps = client.get_metric_history(fit.info.run_id, "inertia_by_iteration")
    assert [(one.step, one.value) for one in steps] == [(0, 40.0), (1, 30.0), (2, 25.5)]
    versions = client.search_runs([found["subsight behaviour"]], order_by=["attributes.start_time"])
    assert [run.data.tags["version"] for run in versions] == ["1", "2"]
    entry = Registry(trained).entries("behaviour")[0]
    assert versions[0].data.metrics["r2"] == entry["metrics"]["r2"]
    assert versions[0].data.tags["source.inputs"] == "0123456789abcdef"
    names = {file.path for file in client.list_artifacts(versions[0].info.run_id)}
    assert names == {"record.json", "card.json", "predictions.csv", "residuals.svg"}
    with Path(client.download_artifacts(versions[0].info.run_id, "predictions.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    probes = Registry(trained).get("behaviour", 1).record["probes"]
    assert [float(row["satisfaction_score"]) for row in rows] == [
        probe["satisfaction_score"] for probe in probes
    ]


def test_a_model_that_learns_by_steps_shows_its_loss_and_calibration(trained: Workspace) -> None:
    random, registry = np.random.default_rng(1), Registry(trained)
    rtt_ms = random.uniform(20, 200, 400)
    rating = np.clip(np.rint(5 - rtt_ms / 50 + random.normal(size=400)), 1, 5) / 4 - 0.25
    record = feedback.fit({"rtt_ms": rtt_ms}, rating, seed=7) | {"probes": []}
    known = registry.entries("behaviour")[0]
    facts = {key: known[key] for key in ("began_at", "ended_at", "code", "source", "parameters")}
    facts |= {"metrics": {"r2": record["fit"]["r2"]}, "against_champion": None, "is_promotable": False}
    registry.register("feedback", record, facts | {"reasons": ["R2 is too low", "it is worse"]})
    tracking.sync(trained, load())
    uri = tracking.default_uri(trained)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version("subsight-feedback", "1")
    assert version.description == "not promotable: R2 is too low; it is worse"
    losses = [one.value for one in client.get_metric_history(version.run_id, "loss_by_step")]
    assert losses == record["fit"]["convergence"]
    # Newton's method from the mean answer on: the loss falls at every step until it is settled.
    assert len(losses) > 2
    assert losses == sorted(losses, reverse=True)
    for side in ("predicted", "observed"):
        steps = client.get_metric_history(version.run_id, f"calibration_{side}")
        assert [one.value for one in steps] == [row[side] for row in record["fit"]["calibration"]]
    drawn = Path(client.download_artifacts(version.run_id, "calibration.svg")).read_text()
    assert "mean answer, share of its scale" in drawn


def test_a_fit_that_a_run_carried_forward_is_copied_once(trained: Workspace) -> None:
    first = trained.run()
    tracking.sync(trained, load())
    with trained.staged_run() as folder:
        shutil.copytree(first, folder, dirs_exist_ok=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        area = {"from_run": first.name, "models": ["engagement"]}
        manifest |= {"run": folder.name.removeprefix(".staged-"), "areas": {"sessions": area}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert tracking.sync(trained, load()) == 0


def test_promotion_and_rollback_move_the_alias(trained: Workspace) -> None:
    uri = tracking.default_uri(trained)
    registry = Registry(trained)

    def aliases() -> dict[str, int]:
        tracking.sync(trained, load())
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = client.get_registered_model("subsight-behaviour").aliases
        return {alias: int(version) for alias, version in found.items()}

    assert aliases() == {"champion": 1}
    registry.promote("behaviour", 2)
    registry.challenge("behaviour", 1)
    assert aliases() == {"champion": 2, "challenger": 1}
    registry.rollback("behaviour")
    registry.challenge("behaviour", None)
    assert aliases() == {"champion": 1}


def test_a_store_that_cannot_be_used_is_named(trained: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="tracking store"):
        tracking.sync(trained, load(tracking_uri=f"sqlite:///{tmp_path}/file/none.db"))
