"""The registry, the predictor and training, on runs and models made by hand."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted_run import publish
from typer.testing import CliRunner

from subsight.errors import ConfigurationError, NotFoundError, WorkspaceError
from subsight.lifecycle import training
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry, Version
from subsight.settings import load
from subsight.surfaces import cli
from subsight.workspace import Workspace

RECORD = {
    "name": "behaviour",
    "features": ["night_share", "activity_dl_ms", "handset_manufacturer=Apple", "handset_manufacturer=Nokia"],
    "parameters": {
        "coefficients": {
            "night_share": 0.5,
            "activity_dl_ms": -2.0,
            "handset_manufacturer=Apple": 0.1,
            "handset_manufacturer=Nokia": -0.4,
        },
        "intercept": 3.0,
        "mean": [0.25, 1000.0, 0.5, 0.25],
        "deviation": [0.125, 500.0, 0.5, 0.5],
    },
    "fit": {},
    "card": {},
}
FACTS = {"is_promotable": True, "reasons": []}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "ws")


# The predictor


def test_a_prediction_by_hand() -> None:
    predictor = Predictor(Version("behaviour", 1, RECORD, {}))
    assert predictor.fields == ("night_share", "activity_dl_ms", "handset_manufacturer")
    # z-scores: (0.5 - 0.25) / 0.125 = 2; (500 - 1000) / 500 = -1; Apple (1 - 0.5) / 0.5 = 1; Nokia -0.5.
    row = {"night_share": 0.5, "activity_dl_ms": 500.0, "handset_manufacturer": "Apple"}
    assert predictor.one(row) == pytest.approx(3 + 0.5 * 2 + 2 + 0.1 * 1 + 0.4 * 0.5)
    # Unknown numbers count as the mean; an unknown manufacturer is neither: -1 and -0.5 deviations.
    assert predictor.one({}) == pytest.approx(3 - 0.1 + 0.4 * 0.5)
    assert predictor.one({"handset_manufacturer": "Sony"}) == predictor.one({"night_share": None})


def test_a_batch_predicts_what_its_rows_predict() -> None:
    predictor = Predictor(Version("behaviour", 1, RECORD, {}))
    rows: list[dict[str, Any]] = [
        {"night_share": 0.5, "activity_dl_ms": 500.0, "handset_manufacturer": "Apple"},
        {"night_share": 0.0, "activity_dl_ms": None, "handset_manufacturer": None},
        {"night_share": 1.0, "activity_dl_ms": 2000.0, "handset_manufacturer": "Nokia"},
    ]
    columns = {name: [row[name] for row in rows] for name in predictor.fields}
    assert predictor.many(columns, 3).tolist() == pytest.approx([predictor.one(row) for row in rows])
    del columns["night_share"]
    without = [{k: v for k, v in row.items() if k != "night_share"} for row in rows]
    assert predictor.many(columns, 3).tolist() == pytest.approx([predictor.one(row) for row in without])


def test_what_is_no_linear_model_is_refused() -> None:
    with pytest.raises(WorkspaceError, match="no linear model"):
        Predictor(Version("behaviour", 1, {"features": [], "parameters": {"centroids": []}}, {}))


# The registry


def test_versions_count_up_and_aliases_choose(workspace: Workspace) -> None:
    registry = Registry(workspace)
    assert (registry.names(), registry.stamp()) == ([], (0, 0))
    for number in (1, 2, 3):
        assert registry.register("behaviour", {**RECORD, "note": number}, FACTS).number == number
    with pytest.raises(NotFoundError, match="no version champion"):
        registry.get("behaviour")
    stamp = registry.stamp()
    for number in (1, 2, 3):
        registry.promote("behaviour", number)
    assert registry.stamp() != stamp
    assert registry.get("behaviour").record["note"] == 3
    assert registry.rollback("behaviour").number == 2
    assert registry.rollback("behaviour").number == 1
    with pytest.raises(NotFoundError, match="no champion to go back to"):
        registry.rollback("behaviour")
    registry.promote("behaviour", 1)  # already: nothing changes, and a rollback is not led in a circle
    with pytest.raises(ConfigurationError, match="is the champion"):
        registry.challenge("behaviour", 1)
    with pytest.raises(ConfigurationError, match="unknown"):
        registry.get("churn")
    registry.challenge("behaviour", 3)
    registry.challenge("behaviour", 3)
    assert registry.aliases("behaviour") == {"champion": 1, "challenger": 3}
    registry.challenge("behaviour", None)
    assert registry.aliases("behaviour") == {"champion": 1}
    moves = [(c["alias"], c["from"], c["to"], c["is_rollback"]) for c in registry.changes()]
    assert moves == [
        ("champion", None, 1, False),
        ("champion", 1, 2, False),
        ("champion", 2, 3, False),
        ("champion", 3, 2, True),
        ("champion", 2, 1, True),
        ("challenger", None, 3, False),
        ("challenger", 3, None, False),
    ]


def test_a_tampered_record_is_refused(workspace: Workspace) -> None:
    registry = Registry(workspace)
    registry.register("behaviour", RECORD, FACTS)
    registry.promote("behaviour", 1)
    path = workspace.path / "models" / "behaviour" / "1.json"
    path.write_text(path.read_text().replace("-2.0", "-3.0"))
    with pytest.raises(WorkspaceError, match="not what was registered"):
        registry.get("behaviour")
    path.unlink()
    with pytest.raises(WorkspaceError, match="cannot be read"):
        registry.get("behaviour")


def test_what_failed_validation_is_promoted_by_force_only_and_that_is_recorded(workspace: Workspace) -> None:
    registry = Registry(workspace)
    registry.register("behaviour", RECORD, {"is_promotable": False, "reasons": ["R2 is -1"]})
    with pytest.raises(ConfigurationError, match="R2 is -1"):
        registry.promote("behaviour", 1)
    assert registry.aliases("behaviour") == {}
    registry.promote("behaviour", 1, force=True, why="a drill")
    (change,) = registry.changes()
    assert (change["forced"], change["why"]) == (True, "a drill")
    with pytest.raises(ConfigurationError, match="identity, behaviour, feedback"):
        registry.register("churn", RECORD, FACTS)


# Training


def test_the_planted_effect_is_found_and_the_first_that_passes_is_champion(workspace: Workspace) -> None:
    publish(workspace, effect=3.0)
    identity, behaviour = training.train(workspace, load())
    assert identity.is_champion
    assert behaviour.is_champion
    parameters = identity.version.record["parameters"]
    assert parameters["coefficients"] == pytest.approx({"engagement_score": 0.5, "experience_score": 0.5})
    # Var(3 u) = 9 / 12 = 0.75 of a variance of 0.75 + 0.25.
    assert behaviour.version.entry["metrics"]["r2"] == pytest.approx(0.75, abs=0.05)
    coefficients = behaviour.version.record["parameters"]["coefficients"]
    assert coefficients["night_share"] == pytest.approx(3 / 12**0.5, rel=0.05)
    assert max(abs(v) for k, v in coefficients.items() if k != "night_share") < 0.05
    predictor = Predictor(behaviour.version)
    for probe in behaviour.version.record["probes"]:
        assert predictor.one(probe["inputs"]) == probe["satisfaction_score"]


def test_nobody_held_out_is_ever_trained_on(workspace: Workspace) -> None:
    publish(workspace, effect=3.0, rows=1000)
    first = training.train(workspace, load(seed=1))[1].version.entry["metrics"]
    publish(workspace, effect=3.0, rows=1000)
    second = training.train(workspace, load(seed=2))[1].version.entry["metrics"]
    ids = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(1000)]
    tested = sum(
        hashlib.sha256(one.encode()).digest()[0] < 256 and hashlib.sha256(one.encode()).digest()[0] % 4 == 0
        for one in ids
    )
    assert (first["rows_test"], first["rows_train"]) == (tested, 1000 - tested)
    assert second == first


def test_without_an_effect_there_is_nothing_to_promote(workspace: Workspace) -> None:
    publish(workspace, effect=0.0)
    behaviour = training.train(workspace, load())[1]
    assert not behaviour.is_champion
    assert not behaviour.version.entry["is_promotable"]
    assert "below 0" in " ".join(behaviour.version.entry["reasons"])
    assert Registry(workspace).aliases("behaviour") == {}


def test_a_worse_version_is_registered_but_not_promotable_and_a_better_one_is(workspace: Workspace) -> None:
    publish(workspace, effect=3.0)
    training.train(workspace, load())
    publish(workspace, effect=-3.0, seed=2)  # the world turns: the old champion is wrong now
    better = training.train(workspace, load())[1].version.entry
    assert better["against_champion"]["is_better"]
    assert better["is_promotable"]
    Registry(workspace).promote("behaviour", 2)
    found = training.compare(workspace, load(), "behaviour", 2, 1)
    assert found["is_worse"]
    assert found["mae_change_low"] > 0
    same = training.compare(workspace, load(), "behaviour", 2, 2)
    assert not same["is_worse"]
    assert not same["is_better"]
    publish(workspace, effect=-3.0, noise=3.0, rows=100, seed=3)  # forty times less to learn from
    worse = training.train(workspace, load(minimum_r2=-100))[1].version.entry
    assert not worse["is_promotable"]


def test_an_input_out_of_range_bars_promotion(workspace: Workspace) -> None:
    publish(workspace, effect=3.0)
    path = workspace.run() / "tables" / "profiles.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("night_share")
    wrong = pa.array([30.0, *table["night_share"].to_pylist()[1:]])
    pq.write_table(table.set_column(place, "night_share", wrong), path)
    reasons = training.train(workspace, load())[1].version.entry["reasons"]
    assert "night_share lies outside 0 to 1 for 1 subscribers" in reasons


def test_the_commands_tell_the_story(workspace: Workspace, tmp_path: Path) -> None:
    def said(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.app, ["models", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    ws = str(workspace.path)
    assert "no version yet" in said("history", ws)
    publish(workspace, effect=3.0)
    assert "now the champion" in said("train", ws)
    assert "no clear difference to the champion 1" in said("train", ws)
    assert "champion of behaviour: 1 -> 2" in said("promote", ws, "2")
    assert "champion of behaviour: 2 -> 1 (rollback)" in said("rollback", ws)
    assert "no clear difference to version 1" in said("compare", ws, "1", "2")
    assert "challenger of behaviour: 2" in said("challenge", ws, "2")
    said("history", ws, "--csv", str(tmp_path / "runs.csv"))
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = {(row["model"], row["version"]): row for row in csv.DictReader(file)}
    assert rows["behaviour", "1"]["aliases"] == "champion"
    assert rows["behaviour", "2"]["aliases"] == "challenger"
    for row in rows.values():
        assert Path(row["artifact"]).exists()
        assert row["began_at"] <= row["ended_at"] <= row["registered_at"]
        assert row["inputs"] == "0123456789abcdef"
    entries = json.loads(said("history", ws, "--format", "json"))["versions"]
    assert len(entries) == 4
