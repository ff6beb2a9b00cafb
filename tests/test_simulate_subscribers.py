"""A simulated subscriber table: its segments can be found again, and what is planted is what is there."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from subsight.errors import ConfigurationError
from subsight.ingestion import ingest
from subsight.settings import load
from subsight.simulate import TABLE_FAULTS, SubscriberTable, simulate_subscribers
from subsight.workspace import Workspace

PUBLISHED = ("Subscriber", "Region", "TENURE_Days", "l4_ul_throughput", "l4_dl_throughput")


def _rows(made: SubscriberTable) -> list[dict[str, str]]:
    with made.table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _recovery(made: SubscriberTable, region: str) -> float:
    """How well k-means on standardised inputs finds the truth, as an adjusted Rand index."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    rows = _rows(made)
    table = np.array([[float(row[name]) for name in PUBLISHED[2:]] for row in rows])
    places = np.array([float(row["Region"]) for row in rows])
    if region == "numeric":
        extra = _z(places[:, None])
    else:
        levels = (places[:, None] == np.unique(places)).astype(float)
        share = levels.mean(axis=0)
        extra = (levels - share) / np.sqrt((share * (1 - share)).sum())
    segments = len(set(pq.read_table(made.segments)["segment"].to_pylist()))
    found = KMeans(segments, n_init=10, random_state=0).fit_predict(np.hstack([_z(table), extra]))
    return float(adjusted_rand_score(pq.read_table(made.segments)["segment"].to_numpy(), found))


@pytest.mark.parametrize("region", ["numeric", "one-hot"])
@pytest.mark.parametrize("seed", [1, 7])
def test_planted_segments_are_recovered(tmp_path: Path, region: str, seed: int) -> None:
    assert _recovery(simulate_subscribers(3000, tmp_path, seed), region) > 0.9


def test_without_separation_there_is_nothing_to_recover(tmp_path: Path) -> None:
    assert abs(_recovery(simulate_subscribers(3000, tmp_path, 1, separation=0.0), "numeric")) < 0.05


def test_the_table_is_what_its_truth_says(tmp_path: Path) -> None:
    made = simulate_subscribers(8000, tmp_path, 3)
    rows, truth = _rows(made), pq.read_table(made.segments).to_pydict()
    assert [row["Subscriber"] for row in rows] == truth["subscriber_id"]
    assert len(set(truth["subscriber_id"])) == 8000
    assert tuple(rows[0])[:5] == PUBLISHED
    segment = np.array(truth["segment"])
    tenure, up, down = (np.array([float(row[name]) for row in rows]) for name in PUBLISHED[2:])
    rank = _z(tenure) + _z(up + down)
    means = [rank[segment == i].mean() for i in range(4)]
    assert means == sorted(means, reverse=True)
    assert min(a - b for a, b in pairwise(means)) > 0.5
    churned = np.array([row["is_churned"] == "1" for row in rows])
    rates = [churned[segment == i].mean() for i in range(4)]
    assert rates == pytest.approx([0.05, 0.15, 0.25, 0.35], abs=0.03)
    plans = [Counter(np.array([row["plan"] for row in rows])[segment == i]) for i in range(4)]
    assert [counted.most_common(1)[0][0] for counted in plans] == ["Max", "Plus", "Basic", "Prepaid"]
    # 70 % keep to their plan, and of the others one in four has it too.
    assert plans[0]["Max"] / plans[0].total() == pytest.approx(0.775, abs=0.03)
    browsers = np.array([row["browser"] for row in rows])
    assert all((browsers[segment == i] == "Opera").mean() == pytest.approx(0.25, abs=0.03) for i in range(4))


def test_knobs_change_what_they_say(tmp_path: Path) -> None:
    made = simulate_subscribers(4000, tmp_path / "a", 3, churn_effect=-1, missing=0.2)
    rows, truth = _rows(made), pq.read_table(made.segments).to_pydict()
    first = np.array([row["is_churned"] == "1" for row in rows])[np.array(truth["segment"]) == 0]
    assert first.mean() == pytest.approx(0.35, abs=0.05)
    for name in (*PUBLISHED[1:], "plan"):
        assert np.mean([row[name] == "" for row in rows]) == pytest.approx(0.2, abs=0.03)
    assert all(row["browser"] for row in rows)
    again = simulate_subscribers(4000, tmp_path / "b", 3, churn_effect=-1, missing=0.2)
    assert again.table.read_bytes() == made.table.read_bytes()
    other = simulate_subscribers(4000, tmp_path / "b", 4, churn_effect=-1, missing=0.2)
    assert other.table.read_bytes() != made.table.read_bytes()


def test_planted_faults_are_what_ingest_rejects(tmp_path: Path) -> None:
    made = simulate_subscribers(2000, tmp_path / "made", 5, missing=0.05, faults=True)
    facts = json.loads(made.facts.read_text())
    assert facts["fault_counts"] == dict.fromkeys(TABLE_FAULTS, 2)
    assert (facts["row_count"], facts["seed"]) == (2004, 5)
    (entry,) = ingest(Workspace.create(tmp_path / "ws"), [made.table], load(), kind="subscribers")
    manifest: dict[str, Any] = dict(entry.batch.manifest)
    assert {(r["column"], r["reason"]): r["count"] for r in manifest["rejects"]} == {
        ("subscriber_id", "missing"): 2,
        ("subscriber_id", "lost digits to a spreadsheet"): 2,
        ("tenure_days", "below 0"): 2,
        ("ul_kilobytes", "not readable"): 2,
        ("dl_kilobytes", "not readable"): 2,
        ("is_churned", "neither yes nor no"): 2,
        ("", "identical to an earlier record"): 2,
        ("subscriber_id", "another row of the subscriber differs"): 4,
    }
    assert (manifest["mapping"], manifest["accepted"], manifest["records"]) == ("acumos", 1986, 2004)


@pytest.mark.parametrize("knobs", [
    {"rows": 9}, {"seed": -1}, {"segments": 0}, {"segments": 9}, {"separation": -1.0},
    {"churn_effect": 2.0}, {"missing": 1.5},
])  # fmt: skip
def test_knobs_out_of_range_are_refused(tmp_path: Path, knobs: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(knobs)).replace("rows", "subscribers")):
        simulate_subscribers(**({"rows": 100, "output": tmp_path} | knobs))
    assert list(tmp_path.iterdir()) == []
