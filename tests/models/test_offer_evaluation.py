"""Rankings of offers judged: gains by hand and by scikit-learn, intervals against planted truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from subsight.errors import ConfigurationError, InputError
from subsight.models.offers import evaluation
from subsight.models.offers.evaluation import differences, is_judged, judge, neighbour_scores, top


def flags(*rows: str) -> NDArray[np.bool_]:
    return np.array([[letter == "x" for letter in row] for row in rows])


def found(rows: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
    (row,) = (row for row in rows if all(row[name] == value for name, value in wanted.items()))
    return row


# The best offers


def test_the_best_usable_offers_ties_to_the_lower_column_and_none_where_there_is_none() -> None:
    scores = np.array([[0.1, 0.3, 0.3, 0.2], [np.nan, -np.inf, 0.5, 0.1], [1.0, 1.0, 1.0, 1.0]])
    usable = flags("xxxx", "xx.x", "....")
    assert top(scores, usable, 3).tolist() == [[1, 2, 3], [3, 1, -1], [-1, -1, -1]]
    # One row of scores is for everybody.
    assert top(np.array([3.0, 2.0, 4.0, 1.0]), usable, 2).tolist() == [[2, 0], [0, 1], [-1, -1]]
    with pytest.raises(ConfigurationError, match="k of 0"):
        top(scores, usable, 0)


def test_more_than_there_are_and_rows_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.array([[0.1, 0.3, 0.3, 0.2]] * 5)
    usable = np.ones((5, 4), bool)
    monkeypatch.setattr(evaluation, "_STEP_ROWS", 2)
    assert top(scores, usable, 6).tolist() == [[1, 2, 3, 0, -1, -1]] * 5


# Neighbours


def test_neighbours_by_hand() -> None:
    values = np.array([[0.0], [1.0], [3.0], [10.0]])
    bought = flags("x.", "xx", ".x", "..")
    # Of 0 the nearest are 1 and 3, of 10 they are 3 and 1; a row is not its own.
    assert neighbour_scores(values, bought, np.array([0, 3]), 2).tolist() == [[0.5, 1.0], [0.5, 1.0]]
    # Somebody else at 0.2 has 0 and 1.
    assert neighbour_scores(values, bought, np.array([[0.2]]), 2).tolist() == [[1.0, 0.5]]
    # More than there are: all others.
    assert neighbour_scores(values, bought, np.array([1]), 50)[0].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert np.isnan(neighbour_scores(values[:1], bought[:1], np.array([0]), 2)).all()


def test_neighbours_are_those_of_double_precision_however_much_is_held_at_once() -> None:
    rng = np.random.default_rng(3)
    # Clusters far from the origin, many rows alike: single precision cannot tell them apart.
    values = 1_000 + rng.integers(0, 3, (600, 4)) + 1e-4 * rng.integers(0, 2, (600, 4))
    bought = rng.random((600, 5)) < 0.3
    asked = rng.choice(600, 40, replace=False)
    expected = []
    for row in asked:
        distances = ((values - values[row]) ** 2).sum(axis=1)
        distances[row] = np.inf
        expected.append(bought[distances.argsort(kind="stable")[:20]].mean(axis=0))
    for memory_bytes in (1, 1 << 16, 1 << 27):
        scores = neighbour_scores(values, bought, asked, 20, memory_bytes=memory_bytes)
        assert np.array_equal(scores, expected)


# Gains


def test_gains_by_hand() -> None:
    rankings = {"map": np.array([[0, 1], [2, -1], [1, 2], [0, 1]])}
    bought = flags(".x.", "..x", "x..", ".x.")
    # The third bought what is not usable for them, so they are left out.
    usable = flags("xxx", "xxx", ".xx", "xx.")
    rows = judge(rankings, bought, usable, np.array([0.5, 0.3, 0.1]), resamples=200, seed=1)
    assert is_judged(bought, usable).tolist() == [True, True, False, True]
    assert [row["metric"] for row in rows] == ["hit_rate", "ndcg", "coverage", "popularity_bias"]
    assert {(row["subscriber_count"], row["left_out_count"]) for row in rows} == {(3, 1)}
    values = {row["metric"]: row["value"] for row in rows}
    assert values["hit_rate"] == 1
    # At rank 2 a single purchase gains 1 / log2(3), at rank 1 all of it.
    assert values["ndcg"] == pytest.approx((2 / np.log2(3) + 1) / 3)
    assert values["coverage"] == 1
    shown, could = (0.4 + 0.1 + 0.4) / 3, (0.3 + 0.3 + 0.4) / 3
    assert values["popularity_bias"] == pytest.approx(shown / could)


def test_the_ideal_ranking_is_as_long_as_the_ranking() -> None:
    # Three bought and two places: both right is all there is to gain.
    rows = judge({"a": np.array([[2, 1]])}, flags("xxx."), flags("xxxx"), np.ones(4), seed=1)
    assert found(rows, metric="ndcg")["value"] == pytest.approx(1)
    assert found(rows, metric="coverage")["value"] == 0.5
    # Two bought and three places, right at 1 and 3.
    rows = judge({"a": np.array([[0, 2, 1]])}, flags("xx.."), flags("xxxx"), np.ones(4), seed=1)
    assert found(rows, metric="ndcg")["value"] == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3)))


def test_what_was_bought_but_could_not_be_recommended_is_no_gain_that_was_missed() -> None:
    # Offers 0 and 1 were bought, 0 was not usable: 1 first is all there is to gain, 0 first is nothing.
    rankings = {"a": np.array([[1, 2]]), "b": np.array([[0, 2]])}
    rows = judge(rankings, flags("xx."), flags(".xx"), np.ones(3), seed=1)
    assert found(rows, policy="a", metric="ndcg")["value"] == 1
    assert found(rows, policy="b", metric="ndcg")["value"] == 0
    assert found(rows, policy="b", metric="hit_rate")["value"] == 0
    paired = differences(rankings, flags("xx."), flags(".xx"), policy="a", seed=1)
    assert [row["value"] for row in paired] == [1, 1]


@pytest.mark.parametrize("k", [1, 3, 5, 8])
def test_gains_are_those_of_another_implementation(k: int) -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(5)
    scores, bought = rng.random((300, 8)), rng.random((300, 8)) < 0.2
    usable = np.ones((300, 8), bool)
    kept = bought.any(axis=1)
    assert 0 < (~kept).sum() < 150
    rows = judge({"a": top(scores, usable, k)}, bought, usable, np.ones(8), resamples=10, seed=1)
    assert found(rows, metric="ndcg")["value"] == pytest.approx(ndcg_score(bought[kept], scores[kept], k=k))
    order = np.argsort(-scores, axis=1)[:, :k]
    hits = [set(order[i]) & set(np.flatnonzero(bought[i])) for i in np.flatnonzero(kept)]
    assert found(rows, metric="hit_rate")["value"] == pytest.approx(np.mean([bool(hit) for hit in hits]))


def test_a_random_ranking_has_no_popularity_bias_and_the_popular_one_has() -> None:
    rng = np.random.default_rng(8)
    usable = rng.random((20_000, 10)) < np.linspace(0.9, 0.2, 10)
    popularity = np.linspace(0.3, 0.01, 10)
    usable[:, 0] = True
    rankings = {"random": top(rng.random((20_000, 10)), usable, 2), "popular": top(popularity, usable, 2)}
    rows = judge(rankings, usable, usable, popularity, resamples=300, seed=2)
    row = found(rows, policy="random", metric="popularity_bias")
    assert row["value"] == pytest.approx(1, abs=0.02)
    assert row["low"] < 1 < row["high"]
    assert found(rows, policy="popular", metric="popularity_bias")["low"] > 1.2


def test_planted_preferences_are_found_by_the_ranking_that_knows_them() -> None:
    rng = np.random.default_rng(4)
    kinds = rng.integers(0, 4, 2_000)
    probability = np.full((4, 8), 0.05)
    probability[:, 0] = 0.15
    probability[np.arange(4), np.arange(4) + 2] = 0.4
    bought, usable = rng.random((2_000, 8)) < probability[kinds], np.ones((2_000, 8), bool)
    popularity = bought.mean(axis=0)
    rankings = {
        "map": top(probability[kinds], usable, 2),
        "popularity": top(popularity, usable, 2),
        "same": top(probability[kinds], usable, 2),
    }
    rows = judge(rankings, bought, usable, popularity, resamples=300, seed=9)
    paired = differences(rankings, bought, usable, resamples=300, seed=9)
    assert [(row["other"], row["metric"]) for row in paired] == [
        ("popularity", "hit_rate"), ("popularity", "ndcg"), ("same", "hit_rate"), ("same", "ndcg"),
    ]  # fmt: skip
    for metric in ("hit_rate", "ndcg"):
        ours, theirs = (found(rows, policy=p, metric=metric) for p in ("map", "popularity"))
        row = found(paired, other="popularity", metric=metric)
        assert row["value"] == pytest.approx(ours["value"] - theirs["value"])
        assert row["low"] > 0.1
        # The same ranking under another name differs by nothing on every resample, and has the same interval.
        row = found(paired, other="same", metric=metric)
        assert (row["value"], row["low"], row["high"]) == (0, 0, 0)
        same = found(rows, policy="same", metric=metric)
        assert (same["low"], same["high"]) == (ours["low"], ours["high"])
    reverse = differences(rankings, bought, usable, policy="popularity", resamples=300, seed=9)
    assert found(reverse, other="map", metric="ndcg")["high"] < -0.1
    assert found(rows, policy="map", metric="coverage")["value"] == 5 / 8
    assert found(rows, policy="popularity", metric="coverage")["value"] == 2 / 8


def test_rankings_without_a_difference_show_none_more_often_than_one_time_in_twenty() -> None:
    rng = np.random.default_rng(12)
    clear = 0
    for seed in range(200):
        bought, usable = rng.random((150, 6)) < 0.3, np.ones((150, 6), bool)
        rankings = {
            "map": top(rng.random((150, 6)), usable, 2),
            "other": top(rng.random((150, 6)), usable, 2),
        }
        row = found(differences(rankings, bought, usable, resamples=200, seed=seed), metric="ndcg")
        clear += row["low"] > 0 or row["high"] < 0
    # 10 of 200 expected, and four standard deviations.
    assert clear <= 22


# Intervals


def test_intervals_cover_what_was_planted_about_nineteen_times_of_twenty() -> None:
    rng = np.random.default_rng(6)
    preference = np.array([0.5, 0.3, 0.2])
    covered = {"hit_rate": 0, "ndcg": 0}
    # One purchase each: rank 1, 2 or not in the ranking of two.
    truth = {"hit_rate": 0.8, "ndcg": 0.5 + 0.3 / np.log2(3)}
    for seed in range(200):
        bought = np.eye(3, dtype=bool)[rng.choice(3, 200, p=preference)]
        ranking = np.tile([0, 1], (200, 1))
        rows = judge({"a": ranking}, bought, np.ones((200, 3), bool), preference, resamples=300, seed=seed)
        for metric, value in truth.items():
            row = found(rows, metric=metric)
            covered[metric] += row["low"] <= value <= row["high"]
    assert all(178 <= count <= 200 for count in covered.values()), covered


def test_the_interval_of_a_mean_is_that_of_another_bootstrap() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(2)
    bought = rng.random((400, 5)) < 0.4
    usable, ranking = np.ones((400, 5), bool), np.tile([0, 1], (400, 1))
    hits = bought[bought.any(axis=1), :2].any(axis=1).astype(float)
    other = bootstrap((hits,), np.mean, n_resamples=4_000, method="percentile", rng=1).confidence_interval
    row = found(judge({"a": ranking}, bought, usable, np.ones(5), resamples=4_000, seed=7), metric="hit_rate")
    assert (row["low"], row["high"]) == pytest.approx((other.low, other.high), abs=0.006)


def test_an_offer_that_one_subscriber_is_recommended_covers_in_some_resamples_only() -> None:
    # Offer 1 is recommended to one of 50: 1 - (1 - 1 / 50)**50 = 0.64 of the resamples have it.
    ranking = np.zeros((50, 1), np.intp)
    ranking[7] = 1
    rows = judge({"a": ranking}, np.ones((50, 2), bool), np.ones((50, 2), bool), np.ones(2), seed=3)
    row = found(rows, metric="coverage")
    assert (row["value"], row["low"], row["high"]) == (1, 0.5, 1)


def test_resamples_follow_from_the_seed_not_from_how_many_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    bought, usable = rng.random((100, 6)) < 0.4, rng.random((100, 6)) < 0.8
    rankings = {"map": top(rng.random((100, 6)), usable, 2), "b": top(rng.random((100, 6)), usable, 2)}

    def all_rows(seed: int) -> list[dict[str, Any]]:
        judged = judge(rankings, bought, usable, np.linspace(0.1, 1, 6), resamples=50, seed=seed)
        return [*judged, *differences(rankings, bought, usable, resamples=50, seed=seed)]

    first, other = all_rows(1), all_rows(2)
    monkeypatch.setattr(evaluation, "_STEP_DRAWS", 700)
    for row, again, another in zip(first, all_rows(1), other, strict=True):
        assert row == pytest.approx(again, nan_ok=True)
        assert row["value"] == another["value"]
    assert [row["low"] for row in first] != [row["low"] for row in other]


# Nothing to judge, and what does not fit


def test_without_purchases_or_recommendations_there_is_no_value() -> None:
    usable, nobody = np.ones((3, 2), bool), np.zeros((3, 2), bool)
    rankings = {"map": np.zeros((3, 1), np.intp), "b": np.zeros((3, 1), np.intp)}
    for row in (*judge(rankings, nobody, usable, np.ones(2), seed=1),
                *differences(rankings, nobody, usable, seed=1)):  # fmt: skip
        assert (row["value"], row["low"], row["high"]) == (None, None, None)
        assert (row["subscriber_count"], row["left_out_count"]) == (0, 3)
    rows = judge({"none": np.full((3, 2), -1)}, usable, usable, np.ones(2), seed=1)
    assert [row["value"] for row in rows] == [0, 0, 0, None]
    assert differences({"map": rankings["map"]}, usable, usable, seed=1) == []


def test_rankings_that_do_not_fit_are_refused() -> None:
    usable = np.ones((3, 2), bool)
    for ranking in (np.zeros((2, 1), np.intp), np.full((3, 1), 2), np.full((3, 1), -2)):
        with pytest.raises(InputError, match="ranking map"):
            judge({"map": ranking}, usable, usable, np.ones(2), seed=1)
    with pytest.raises(InputError, match="not of the same"):
        judge({}, usable[:2], usable, np.ones(2), seed=1)
    with pytest.raises(ConfigurationError, match="map"):
        differences({"b": np.zeros((3, 1), np.intp)}, usable, usable, seed=1)
