"""Segments as a run publishes them: planted ones found, names kept, all else carried forward."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import adjusted_rand_score

from subsight import Insight
from subsight.errors import ConfigurationError, InputError
from subsight.lifecycle.segmentation import current, subscriber
from subsight.pipeline import inspect
from subsight.privacy import pseudonym
from subsight.results import Results
from subsight.settings import load
from subsight.simulate import Operator, SubscriberTable, simulate, simulate_subscribers

NAMES = ["Platinum", "Gold", "Silver", "Diamond"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> SubscriberTable:
    return simulate_subscribers(3_000, tmp_path_factory.mktemp("planted"), seed=4, missing=0.01)


@pytest.fixture(scope="module")
def base(planted: SubscriberTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "ws"
    insight = Insight.open(path)
    insight.ingest(planted.table, kind="subscribers")
    insight.segment()
    return path


@pytest.fixture
def insight(base: Path, tmp_path: Path) -> Insight:
    shutil.copytree(base, tmp_path / "ws", symlinks=True)
    return Insight.open(tmp_path / "ws", create=False)


def _truth(planted: SubscriberTable, key: bytes) -> dict[str, int]:
    """The planted segment of each subscriber, by pseudonym."""
    rows = pq.read_table(planted.segments).to_pylist()
    return {pseudonym(str(row["subscriber_id"]), key): row["segment"] for row in rows}


def test_planted_segments_are_found_and_named_in_order(insight: Insight, planted: SubscriberTable) -> None:
    results = insight.results
    assert results.models()["segments"]["names"] == NAMES
    truth = _truth(planted, insight.workspace.key())
    rows = [row for row in results.table("segments").to_pylist() if row["segment"] is not None]
    assert len(rows) > 2_800
    found = [(truth[row["subscriber_id"]], row["segment_name"]) for row in rows]
    assert adjusted_rand_score(*zip(*found, strict=True)) > 0.9
    # 0 is planted with the longest tenure and the largest volume together, 3 with the least.
    for planted_number, name in enumerate(NAMES):
        of_name = [number for number, called in found if called == name]
        assert of_name.count(planted_number) > 0.95 * len(of_name)


def test_who_lacks_an_input_has_no_segment_and_is_counted(insight: Insight) -> None:
    rows = insight.results.table("segments").to_pylist()
    without = [row for row in rows if row["segment"] is None]
    inputs = [entry["name"] for entry in insight.results.models()["segments"]["inputs"]]
    assert without
    for row in rows:
        lacking = [name for name in inputs if row[name] is None]
        assert (row["segment"] is None) is bool(lacking)
        assert (row["lacking"] or "") == ", ".join(lacking)
    assert insight.results.answer("segments.overview").facts["unplaced_count"] == len(without)


def test_names_survive_retrains_on_resampled_data(
    insight: Insight, planted: SubscriberTable, tmp_path: Path
) -> None:
    with planted.table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    truth = _truth(planted, insight.workspace.key())
    first = {
        row["subscriber_id"]: row["segment_name"] for row in insight.results.table("segments").to_pylist()
    }
    for turn in range(3):  # ten of the fit itself are in models/test_segments.py
        drawn = random.Random(turn).sample(rows, 2_000)
        snapshot = tmp_path / f"snapshot{turn}.csv"
        with snapshot.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *drawn])
        other = Insight.open(tmp_path / f"ws{turn}")
        shutil.copytree(insight.workspace.path, tmp_path / f"ws{turn}", symlinks=True, dirs_exist_ok=True)
        # Only the resampled ones are there to be fitted, and the run before is the whole table's.
        shutil.rmtree(tmp_path / f"ws{turn}" / "batches")
        (tmp_path / f"ws{turn}" / "batches").mkdir()
        other = Insight.open(tmp_path / f"ws{turn}", seed=100 + turn)
        other.ingest(snapshot, kind="subscribers")
        results = other.segment()
        record = results.models()["segments"]
        assert record["names"] == NAMES
        assert record["matched"]["from_run"] == insight.results.manifest["run"]
        found = results.table("segments").to_pylist()
        same = [
            row["segment_name"] == first[row["subscriber_id"]] for row in found if row["segment"] is not None
        ]
        assert sum(same) / len(same) > 0.97
        assert len({truth[row["subscriber_id"]] for row in found}) == 4


def test_one_subscriber_is_explained_as_the_table_says(insight: Insight, planted: SubscriberTable) -> None:
    with planted.table.open(encoding="utf-8", newline="") as file:
        clear = next(csv.DictReader(file))["Subscriber"]
    found = subscriber(insight.workspace, clear)
    assert found["subscriber_id"] == pseudonym(clear, insight.workspace.key())
    (row,) = [
        r
        for r in insight.results.table("segments").to_pylist()
        if r["subscriber_id"] == found["subscriber_id"]
    ]
    assert (found["segment"], found["segment_name"]) == (row["segment"], row["segment_name"])
    assert found["distances"][row["segment_name"]] == pytest.approx(row["distance"])
    ordered = sorted(found["distances"].values())
    assert ordered[:2] == pytest.approx([row["distance"], row["runner_up_distance"]])
    parts = sum(one["part"] for one in found["deciding"])
    assert parts == pytest.approx(ordered[1] ** 2 - ordered[0] ** 2)


def test_the_service_places_as_the_batch_does(insight: Insight) -> None:
    segmenter = current(insight.workspace)
    assert segmenter is not None
    rows = [row for row in insight.results.table("segments").to_pylist() if row["segment"] is not None]
    columns = {one.name: [row[one.name] for row in rows] for one in segmenter.inputs}
    labels = segmenter.many(columns, len(rows), standardised=False)
    assert labels.tolist() == [row["segment"] for row in rows]


def test_a_changed_table_shows_who_moved(insight: Insight, planted: SubscriberTable, tmp_path: Path) -> None:
    assert insight.results.answer("segments.migration").rows == []
    with planted.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    before = {r["subscriber_id"]: r["segment_name"] for r in insight.results.table("segments").to_pylist()}
    key = insight.workspace.key()
    # Sixty of the last segment take over the values of somebody in the first.
    by_name = {name: [r for r in rows if before[pseudonym(r["Subscriber"], key)] == name] for name in NAMES}
    model = by_name["Platinum"][0]
    for row in by_name["Diamond"][:60]:
        row |= {
            name: model[name] for name in ("Region", "TENURE_Days", "l4_ul_throughput", "l4_dl_throughput")
        }
    with (tmp_path / "next.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    insight.ingest(tmp_path / "next.csv", kind="subscribers")
    found = insight.segment().answer("segments.migration").rows
    moves = {(row["previous_segment_name"], row["segment_name"]): row["subscriber_count"] for row in found}
    assert moves["Diamond", "Platinum"] == pytest.approx(60, abs=3)


def test_afresh_forgets_what_was_before(insight: Insight) -> None:
    again = Insight.open(insight.workspace.path, segment_count=3, segment_names=["A", "B", "C"])
    record = again.segment(afresh=True).models()["segments"]
    assert (record["names"], record["matched"]) == (["A", "B", "C"], None)


def test_sessions_and_segments_are_kept_beside_each_other(planted: SubscriberTable, tmp_path: Path) -> None:
    made = simulate(Operator(subscribers=400, sessions=3_000, seed=3), tmp_path / "made")
    insight = Insight.open(tmp_path / "ws")
    first = insight.run(made.sessions)
    sessions = set(first.studies())
    profiles = first.table("profiles")
    # Without a table of subscribers the profiles are divided, and nothing that was published goes.
    second = insight.segment()
    assert set(second.studies()) == sessions | {"segments"}
    assert second.models()["segments"]["source"] == "profiles"
    assert second.table("profiles").equals(profiles)
    assert second.quality["records"] == first.quality["records"]
    assert second.artifacts("engagement") == first.artifacts("engagement")
    about = second.manifest["areas"]["sessions"]
    assert about["from_run"] == first.manifest["run"]
    assert second.manifest["studies"]["engagement"] == {
        "answers": first.manifest["studies"]["engagement"]["answers"],
        "stale": False,
        "from_run": first.manifest["run"],
    }
    # Satisfaction is known of whom the run scored.
    assert any("less satisfied" in line for line in second.answer("segments.retention").reading)
    # A run over the sessions divides anew what was divided, and keeps the names.
    third = insight.run()
    assert set(third.studies()) == sessions | {"segments"}
    assert third.models()["segments"]["matched"]["from_run"] == second.manifest["run"]
    assert third.manifest["areas"]["sessions"]["from_run"] is None
    # The subscriber table is another source, once somebody says so.
    insight.ingest(planted.table, kind="subscribers")
    fourth = Insight.open(tmp_path / "ws", segment_source="subscribers").segment()
    assert fourth.models()["segments"]["source"] == "subscribers"
    assert {entry["table"] for entry in fourth.manifest["inputs"]} == {"sessions", "subscribers"}
    manifest = json.loads((fourth.folder / "manifest.json").read_text())
    assert manifest["applications"] == first.manifest["applications"]


def test_chosen_inputs_and_what_cannot_be_one(insight: Insight) -> None:
    path = insight.workspace.path
    chosen = Insight.open(path, segment_inputs=["tenure_days", "plan"]).segment()
    assert [entry["name"] for entry in chosen.models()["segments"]["inputs"]] == ["tenure_days", "plan"]
    # They are kept, until somebody names others.
    again = Insight.open(path).segment()
    assert [entry["name"] for entry in again.models()["segments"]["inputs"]] == ["tenure_days", "plan"]
    with pytest.raises(ConfigurationError, match=r"(?s)what is not there.*income.*tenure_days"):
        Insight.open(path, segment_inputs=["income"]).segment()
    assert Results(Insight.open(path).workspace.run()).manifest["run"] == again.manifest["run"]


def test_inspect_says_that_it_is_a_table_of_subscribers(planted: SubscriberTable) -> None:
    found = inspect(planted.table, load())
    assert found.lacking is not None
    assert "a table of subscribers, by the mapping acumos" in str(found.lacking)
    assert "subsight ingest subscribers" in str(found.lacking)


def test_nobody_to_divide(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)no profiles to divide.*table of subscribers"):
        Insight.open(tmp_path / "ws").segment()
