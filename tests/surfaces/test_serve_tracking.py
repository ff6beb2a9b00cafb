"""What a running service leaves beside its answers: fits in MLflow, and a chain of its own a process."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from served import SCORES, ask, serving

from subsight import Insight
from subsight.lifecycle import tracking
from subsight.lifecycle.audit import verify
from subsight.lifecycle.copier import Copier
from subsight.lifecycle.registry import Registry
from subsight.lifecycle.training import train
from subsight.settings import load
from subsight.simulate import Operator, simulate
from subsight.workspace import Workspace


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run and models from it, and nothing copied anywhere yet."""
    folder = tmp_path_factory.mktemp("operator")
    made = simulate(Operator(subscribers=600, sessions=5_000, seed=5), folder / "made")
    Insight.open(folder / "ws").run(made.sessions, studies=["satisfaction"])
    workspace = Workspace.open(folder / "ws")
    train(workspace, load())
    return workspace


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(trained.path, tmp_path / "ws", symlinks=True)
    return Workspace.open(tmp_path / "ws")


def _aliases(workspace: Workspace) -> dict[str, int]:
    """As MLflow's own tables hold them: its client would make them, at the same time as the copy does."""
    database = workspace.path / "models" / "mlflow.db"
    if not database.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            asked = "SELECT alias, version FROM registered_model_aliases WHERE name = 'subsight-behaviour'"
            return dict(connection.execute(asked).fetchall())
    except sqlite3.OperationalError:
        return {}


def _until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 120
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.2)
    return is_so()


def test_a_running_service_copies_what_is_new(workspace: Workspace) -> None:
    database = workspace.path / "models" / "mlflow.db"
    with serving(workspace.path) as service:
        # The service answers at once, and MLflow comes later.
        assert not database.exists()
        assert ask(service.port, "POST", "/predict", SCORES)[0] == 200
        assert _until(database.exists)
        assert _until(lambda: _aliases(workspace) == {"champion": 1})
        train(workspace, load())
        Registry(workspace).promote("behaviour", 2)
        assert _until(lambda: _aliases(workspace).get("champion") == 2)
        assert "MLflow" not in service.stop()


def test_what_cannot_be_copied_is_logged_and_stops_nothing(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSIGHT_TRACKING_URI", f"sqlite:///{workspace.path}/subsight.toml/none.db")
    with Copier(workspace, look_every_s=0.05):
        assert _until(lambda: "not copied to MLflow yet" in caplog.text)
    assert "the tracking store cannot be used" in caplog.text
    assert "Traceback" not in caplog.text
    # Not again and again: once for each change.
    assert caplog.text.count("not copied") == 1


def test_two_services_over_one_workspace_write_a_chain_each(workspace: Workspace) -> None:
    with (
        serving(workspace.path, environment={"SUBSIGHT_TRACKING_URI": "off"}) as one,
        serving(workspace.path, environment={"SUBSIGHT_TRACKING_URI": "off"}) as other,
    ):
        ids = [ask(service.port, "POST", "/predict", SCORES)[1]["id"] for service in (one, other)]
        one.stop()
        other.stop()
    found = verify(workspace.path / "audit")
    assert [chain.status for chain in found.chains] == ["whole", "whole"]
    files = sorted((workspace.path / "audit").glob("audit-*.jsonl"))
    kept = [[r.get("id") for r in map(json.loads, f.read_text().splitlines())] for f in files]
    assert sorted(id in lines for id in ids for lines in kept) == [False, False, True, True]


def test_off_copies_nothing(workspace: Workspace, tmp_path: Path) -> None:
    assert tracking.sync(workspace, load(tracking_uri="off")) == 0
    assert not (workspace.path / "models" / "mlflow.db").exists()
