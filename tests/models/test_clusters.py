from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from subsight.models import clusters, components, distance_scores, in_engine
from subsight.store import Store


def _groups(seed: int = 3) -> np.ndarray[Any, Any]:
    """Three clear groups: 200 light, 60 regular, 20 heavy."""
    rng = np.random.default_rng(seed)
    centres = np.repeat([[1.0, 10.0, 5.0], [4.0, 40.0, 25.0], [10.0, 90.0, 80.0]], [200, 60, 20], axis=0)
    return centres + rng.normal(scale=0.3, size=centres.shape)


def test_planted_groups_are_found_and_numbered_by_engagement() -> None:
    values = _groups()
    record = distance_scores.fit_engagement(values, seed=1, starts=10)
    labels = clusters.nearest(values, record["parameters"])
    assert labels.tolist() == [0] * 200 + [1] * 60 + [2] * 20
    assert (record["parameters"]["worst"], record["parameters"]["best"]) == (0, 2)


def test_worst_experience_is_high_retransmission_and_rtt_and_low_throughput() -> None:
    rng = np.random.default_rng(5)
    good = np.column_stack([rng.normal(1, 0.1, 50), rng.normal(20, 1, 50), rng.normal(900, 9, 50)])
    middle = np.column_stack([rng.normal(5, 0.1, 50), rng.normal(60, 1, 50), rng.normal(500, 9, 50)])
    bad = np.column_stack([rng.normal(9, 0.1, 50), rng.normal(99, 1, 50), rng.normal(50, 9, 50)])
    values = np.vstack([middle, good, bad])
    record = distance_scores.fit_experience(values, seed=1, starts=10)
    assert clusters.nearest(values, record["parameters"]).tolist() == [1] * 50 + [2] * 50 + [0] * 50


def test_scores_by_hand() -> None:
    # z = (x - 10) / 2; worst at (0, 0), best at (3, 4): |b - w| = 5.
    parameters = {
        "mean": [10.0, 10.0], "deviation": [2.0, 2.0], "centroids": [[0.0, 0.0], [3.0, 4.0]],
        "worst": 0, "best": 1,
    }  # fmt: skip
    values = np.array([[10.0, 10.0], [16.0, 18.0], [13.0, 14.0], [4.0, 2.0], [22.0, 26.0]])
    distance, index = distance_scores.scores(values, parameters)
    assert distance.tolist() == pytest.approx([0, 5, 2.5, 5, 10])
    # The fourth is as far from the worst as the best is, in the wrong direction: its index is 0.
    assert index.tolist() == pytest.approx([0, 100, 50, 0, 100])


def test_engine_scores_equal_local_scores(store: Store) -> None:
    values = _groups()
    record = distance_scores.fit_engagement(values, seed=1, starts=5)
    names = distance_scores.ENGAGEMENT
    table = pa.table({"row": range(len(values)), **{n: values[:, i] for i, n in enumerate(names)}})
    frame = in_engine.with_clusters(store.from_arrow(table), record, "cluster")
    frame = in_engine.with_scores(frame, record, "score", "index")
    rows = sorted(store.rows(frame), key=lambda row: row["row"])
    distance, index = distance_scores.scores(values, record["parameters"])
    assert [row["cluster"] for row in rows] == clusters.nearest(values, record["parameters"]).tolist()
    assert [row["score"] for row in rows] == pytest.approx(distance.tolist(), rel=1e-9)
    assert [row["index"] for row in rows] == pytest.approx(index.tolist(), rel=1e-9, abs=1e-9)
    assert set(rows[0]) == {"row", *names, "cluster", "score", "index"}


def test_a_tie_goes_to_the_lower_cluster_and_a_missing_feature_to_none(store: Store) -> None:
    record = {
        "features": ["a"],
        "parameters": {"mean": [0.0], "deviation": [1.0], "centroids": [[5.0], [0.0], [2.0]]},
    }
    frame = store.from_arrow(pa.table({"a": [1.0, 3.5, None]}))
    rows = store.rows(in_engine.with_clusters(frame, record, "cluster"))
    assert {row["a"]: row["cluster"] for row in rows} == {1.0: 1, 3.5: 0, None: None}


def test_the_fit_record_tells_how_inertia_fell() -> None:
    fit = distance_scores.fit_engagement(np.exp(_groups()), seed=1, starts=5)["fit"]
    told = fit["convergence"]
    assert len(told) == fit["iterations"] + 1
    assert told == sorted(told, reverse=True)
    assert told[-1] == pytest.approx(fit["inertia"], rel=1e-4)
    assert told[0] > told[-1]


def test_silhouettes_equal_scikit_learns() -> None:
    rng = np.random.default_rng(11)
    sample = np.exp(rng.normal(size=(1500, 3)))
    labellings = [(sample[:, 0] * k / 2).astype(int) % k for k in (2, 3, 7)]
    labellings.append(np.where(np.arange(1500) == 4, 1, 0))  # one subscriber alone
    expected = [silhouette_score(sample, labels) for labels in labellings]
    assert clusters.silhouettes(sample, labellings) == pytest.approx(expected, abs=1e-8)


def test_the_elbow_of_three_clear_groups_is_three() -> None:
    found = clusters.elbow(_groups(), seed=1, starts=5)
    assert found["elbow_k"] == 3
    assert found["silhouette_best_k"] == 3
    assert found["inertia"] == sorted(found["inertia"], reverse=True)
    assert found["inertia"][0] == pytest.approx(3 * 280)  # z-scores: one unit per feature and row


def test_each_k_of_the_elbow_comes_near_ten_starts_of_its_own() -> None:
    values = np.exp(np.random.default_rng(5).normal(size=(3000, 3)))  # no clear groups, a long tail
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    found = clusters.elbow(values, seed=1, starts=10)["inertia"]
    for k, inertia in zip(clusters.ELBOW_K, found, strict=True):
        alone = KMeans(k, n_init=10, random_state=1).fit(scaled).inertia_
        assert inertia == pytest.approx(alone, rel=0.05), k
    assert found == sorted(found, reverse=True)


def test_components_by_hand() -> None:
    # Two features with correlation r: components share (1 + r) / 2 and (1 - r) / 2.
    x = np.array([1.0, 2.0, 3.0, 4.0])
    y = np.array([1.0, 3.0, 2.0, 4.0])
    record = components.fit(["x", "y", "flat"], np.column_stack([x, y, np.ones(4)]))
    assert record["features"] == ["x", "y"]
    assert record["fit"]["explained_share"] == pytest.approx([0.9, 0.1])
    root = 0.5**0.5
    assert record["parameters"]["components"][0] == pytest.approx([root, root])


def test_leaving_out_the_unobserved_is_compared_on_the_observed() -> None:
    values = _groups()
    first = distance_scores.fit_experience(values, seed=1, starts=5)
    same = distance_scores.compare_observed(first, first, values[:100])
    assert same["rand_index"] == pytest.approx(1)
    assert same["same_cluster_share"] == 1
    assert same["score_correlation"] == pytest.approx(1)
