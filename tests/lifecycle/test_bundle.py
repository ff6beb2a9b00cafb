"""Models that leave their workspace: what goes along, what stays, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from planted_run import publish
from typer.testing import CliRunner

from subsight.errors import NotFoundError, WorkspaceError
from subsight.lifecycle import bundle
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry
from subsight.surfaces import cli
from subsight.workspace import Workspace


def record(weight: float) -> dict[str, Any]:
    """A model by hand: weight times the sum of the two scores."""
    names = ["engagement_score", "experience_score"]
    return {
        "features": names,
        "parameters": {
            "coefficients": dict.fromkeys(names, weight),
            "intercept": 0.0,
            "mean": [0.0, 0.0],
            "deviation": [1.0, 1.0],
        },
    }


FACTS = {"is_promotable": True, "reasons": [], "against_champion": {"champion": 1}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A run, a key, settings with a secret, an MLflow store, and two versions of which the second answers."""
    made = Workspace.create(tmp_path / "operator")
    publish(made, effect=1.0, rows=200)
    made.key()
    made.settings_file.write_text('tracking_uri = "postgresql://tracker:secret@db/mlflow"\n')
    registry = Registry(made)
    for weight in (0.5, 0.25):
        registry.register("identity", record(weight), FACTS, sample=f"sample of {weight}".encode())
    registry.promote("identity", 1)
    registry.promote("identity", 2)
    registry.challenge("identity", 1)
    (made.path / "models" / "mlflow.db").write_bytes(b"runs with predictions of subscribers")
    (made.path / "models" / "artifacts").mkdir()
    (made.path / "models" / "artifacts" / "predictions.csv").write_text("subscriber_id\n1\n")
    return made


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_the_registry_and_nothing_else(workspace: Workspace, tmp_path: Path) -> None:
    packed = bundle.pack(workspace, tmp_path / "bundle")
    assert [(version.name, version.number) for version in packed] == [("identity", 2)]
    digests = [hashlib.sha256(f"sample of {weight}".encode()).hexdigest() for weight in (0.5, 0.25)]
    models = {
        "models/registry.json", "models/identity/1.json", "models/identity/2.json",
        *(f"models/samples/{digest}.npz" for digest in digests),
    }  # fmt: skip
    assert files(tmp_path / "bundle") == {"subsight.toml", *models}
    for name in models:
        assert (tmp_path / "bundle" / name).read_bytes() == (workspace.path / name).read_bytes()
    assert "secret" not in (tmp_path / "bundle" / "subsight.toml").read_text()


def test_an_empty_volume_takes_the_bundle_once(workspace: Workspace, tmp_path: Path) -> None:
    bundle.pack(workspace, tmp_path / "bundle")
    volume = tmp_path / "volume"
    (volume / "lost+found").mkdir(parents=True)
    begun, taken, _ = bundle.begin(volume, tmp_path / "bundle")
    assert [(version.name, version.number) for version in taken] == [("identity", 2)]
    assert Predictor(taken[0]).one({"engagement_score": 4.0, "experience_score": 2.0}) == 1.5
    # It can be rolled back there, and what the volume decides stands at the next start.
    assert Registry(begun).rollback("identity").number == 1
    again, taken, _ = bundle.begin(volume, tmp_path / "bundle")
    assert (taken, Registry(again).aliases("identity")["champion"]) == ([], 1)


def test_a_workspace_with_a_run_is_left_as_it_is(workspace: Workspace, tmp_path: Path) -> None:
    bundle.pack(workspace, tmp_path / "bundle")
    other = Workspace.create(tmp_path / "other")
    publish(other, effect=1.0, rows=200)
    before = files(other.path)
    assert bundle.begin(other.path, tmp_path / "bundle")[1] == []
    assert files(other.path) == before


def test_without_a_bundle_the_volume_becomes_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "LICENSE").write_text("words")
    begun, taken, _ = bundle.begin(tmp_path / "volume", tmp_path / "bundle")
    assert (taken, Registry(Workspace.open(begun.path)).names()) == ([], [])


@pytest.mark.parametrize("version", [1, 2])
def test_a_tampered_record_is_refused(workspace: Workspace, tmp_path: Path, version: int) -> None:
    bundle.pack(workspace, tmp_path / "bundle")
    file = tmp_path / "bundle" / "models" / "identity" / f"{version}.json"
    file.write_text(file.read_text().replace("0.0", "9.0", 1))
    with pytest.raises(WorkspaceError, match=f"version {version} of identity is not what was registered"):
        bundle.begin(tmp_path / "volume", tmp_path / "bundle")
    # Nothing answers there, and the next start with a sound bundle is a first start.
    assert Registry(Workspace(tmp_path / "volume")).names() == []
    file.write_text((workspace.path / "models" / "identity" / f"{version}.json").read_text())
    assert bundle.begin(tmp_path / "volume", tmp_path / "bundle")[1][0].number == 2


def test_what_cannot_be_bundled(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is not free"):
        bundle.pack(workspace, workspace.path)
    with pytest.raises(NotFoundError, match="has no champion"):
        bundle.pack(Workspace.create(tmp_path / "untrained"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_is_adopted_beside_what_answers(workspace: Workspace, tmp_path: Path) -> None:
    bundle.pack(workspace, tmp_path / "bundle")
    production = Workspace.create(tmp_path / "production")
    registry = Registry(production)
    registry.register("identity", record(3.0), FACTS)
    registry.promote("identity", 1)
    ((version, is_new),) = bundle.adopt(production, tmp_path / "bundle")
    assert (version.number, is_new, registry.aliases("identity")) == (2, True, {"champion": 1})
    content = (workspace.path / "models" / "identity" / "2.json").read_bytes()
    assert version.digest == hashlib.sha256(content).hexdigest()
    assert version.entry["against_champion"] is None
    assert registry.sample(version) == b"sample of 0.25"
    # The same model again is the same version.
    ((version, is_new),) = bundle.adopt(production, tmp_path / "bundle")
    assert (version.number, is_new, len(registry.entries("identity"))) == (2, False, 2)
    assert registry.promote("identity", 2).number == 2


def test_bundle_and_adopt_on_the_command_line(tmp_path: Path) -> None:
    runner = CliRunner()
    made = Workspace.create(tmp_path / "operator")
    publish(made, effect=3.0)
    folder = str(tmp_path / "bundle")
    assert runner.invoke(cli.app, ["models", "train", str(made.path)]).exit_code == 0
    said = runner.invoke(cli.app, ["models", "bundle", str(made.path), folder]).output.splitlines()
    ledger = json.loads((made.path / "models" / "registry.json").read_text())["models"]
    assert said == [
        f"{name} 1  SHA-256 {ledger[name][0]['digest']}" for name in ("identity", "behaviour")
    ]  # fmt: skip
    other = Workspace.create(tmp_path / "production")
    publish(other, effect=-3.0)
    runner.invoke(cli.app, ["models", "train", str(other.path)])
    adopted = runner.invoke(cli.app, ["models", "adopt", str(other.path), folder])
    assert "behaviour 2: registered; promote 2 --model behaviour to use it" in adopted.output
    # What was adopted stands in the history and is judged on the runs of its new home: there it is worse.
    assert runner.invoke(cli.app, ["models", "history", str(other.path)]).exit_code == 0
    compared = runner.invoke(cli.app, ["models", "compare", str(other.path), "1", "2"])
    assert "behaviour 2: worse than version 1" in compared.output
