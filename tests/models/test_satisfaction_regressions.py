from __future__ import annotations

import json

import numpy as np
import pytest

from subsight.errors import ConfigurationError
from subsight.models.satisfaction import behaviour, identity, refuse_leaks

ROWS = 2000


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def planted(rng, slope=2.0, noise=1.0):
    """Satisfaction rises by `slope` for one standard deviation of night use; the rest is noise."""
    night = rng.uniform(0, 1, ROWS)
    web = rng.uniform(0, 1, ROWS)
    makers = rng.choice(["Alder", "Birch", "Cedar", "Durian", "Elm", "Fir", "Gum"], ROWS).tolist()
    target = 10 + slope * (night - night.mean()) / night.std() + rng.normal(0, noise, ROWS)
    return {"night_share": night, "app_web_share": web, "handset_manufacturer": makers}, target


def test_identity_is_exact_and_says_that_it_is_circular(rng):
    engagement, experience = rng.exponential(2, ROWS), rng.exponential(3, ROWS)
    record = identity(engagement, experience, (engagement + experience) / 2, seed=7)
    coefficients = record["parameters"]["coefficients"]
    # To the last digit, so that scores of 0.8 and 0.7 are answered with 0.75.
    assert coefficients == {"engagement_score": 0.5, "experience_score": 0.5}
    assert record["parameters"]["intercept"] == 0
    assert record["fit"]["r2"] == pytest.approx(1)
    assert record["fit"]["mae"] == pytest.approx(0, abs=1e-12)
    assert record["card"]["circular"] is True
    assert "by definition" in record["card"]["reason"]


def test_identity_of_a_target_that_is_not_the_mean_is_not_exact(rng):
    engagement, experience = rng.exponential(2, ROWS), rng.exponential(3, ROWS)
    record = identity(engagement, experience, engagement * experience, seed=7)
    assert record["fit"]["r2"] < 0.99


def test_behaviour_finds_what_was_planted(rng):
    columns, target = planted(rng, slope=2.0, noise=1.0)
    record = behaviour(columns, target, seed=7)
    # The explained share of variance is 4 / (4 + 1).
    assert record["fit"]["r2"] == pytest.approx(0.8, abs=0.04)
    # The mean absolute value of a standard normal is sqrt(2 / pi).
    assert record["fit"]["mae"] == pytest.approx(np.sqrt(2 / np.pi), abs=0.06)
    assert record["fit"]["baseline_mae"] > 1.5
    coefficients = record["parameters"]["coefficients"]
    assert coefficients["night_share"] == pytest.approx(2, abs=0.1)
    assert abs(coefficients["app_web_share"]) < 0.1
    assert (record["fit"]["rows_train"], record["fit"]["rows_test"]) == (1500, 500)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_reversed_effect_turns_the_coefficient(rng, sign):
    columns, target = planted(rng, slope=sign * 2.0)
    assert behaviour(columns, target, seed=7)["parameters"]["coefficients"]["night_share"] * sign > 1.8


def test_without_an_effect_the_mean_is_as_good(rng):
    columns, target = planted(rng, slope=0.0)
    fit = behaviour(columns, target, seed=7)["fit"]
    assert fit["r2"] < 0.02
    assert fit["mae"] == pytest.approx(fit["baseline_mae"], rel=0.02)


def test_ridge_agrees_with_scikit_learn(rng):
    from sklearn.linear_model import Ridge
    from sklearn.metrics import mean_absolute_error, r2_score

    columns, target = planted(rng)
    columns["app_video_share"] = 1 - columns["app_web_share"]  # collinear: only the penalty decides
    record = behaviour(columns, target, seed=7)
    makers = columns.pop("handset_manufacturer")
    levels = [f.partition("=")[2] for f in record["features"] if "=" in f]
    numeric = [f for f in record["features"] if "=" not in f]
    x = np.column_stack(
        [columns[f] for f in numeric] + [[float(m == level) for m in makers] for level in levels]
    )
    order = np.random.default_rng(7).permutation(ROWS)
    test, train = np.sort(order[:500]), np.sort(order[500:])
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    model = Ridge(alpha=1.0).fit((x[train] - mean) / deviation, target[train])
    names = [*numeric, *(f"handset_manufacturer={level}" for level in levels)]
    assert [record["parameters"]["coefficients"][n] for n in names] == pytest.approx(list(model.coef_))
    predicted = model.predict((x[test] - mean) / deviation)
    assert record["fit"]["r2"] == pytest.approx(r2_score(target[test], predicted))
    assert record["fit"]["mae"] == pytest.approx(mean_absolute_error(target[test], predicted))
    assert record["fit"]["residual_deciles"] == pytest.approx(
        list(np.percentile(target[test] - predicted, range(0, 101, 10)))
    )


def test_the_five_commonest_manufacturers_get_a_column_and_unknown_none():
    names = ["Alder"] * 30 + ["Birch"] * 25 + ["Cedar"] * 20 + ["Dill"] * 15 + ["Elm"] * 12 + ["Fir"] * 8
    makers = (names + [None] * 10) * 4
    target = np.arange(len(makers)) % 17.0
    record = behaviour({"handset_manufacturer": makers}, target, seed=3)
    assert record["features"] == [
        f"handset_manufacturer={m}" for m in ("Alder", "Birch", "Cedar", "Dill", "Elm")
    ]


def test_unknown_numbers_are_filled_and_counted(rng):
    columns, target = planted(rng)
    columns["app_web_share"][:100] = np.nan
    columns["evening_share"] = np.full(ROWS, 0.25)
    fit = behaviour(columns, target, seed=7)["fit"]
    assert fit["filled"] == {"app_web_share": 100}
    assert fit["constant"] == ["evening_share"]


@pytest.mark.parametrize(
    "feature",
    ["session_count", "active_day_count", "duration_s", "total_bytes", "dl_bytes", "ul_bytes",
     "app_gaming_bytes", "app_gaming_dl_bytes", "http_ul_bytes", "rtt_ms", "rtt_ms_raw", "rtt_filled_share",
     "tcp_retransmission_bytes", "tcp_retransmission_bytes_raw", "tcp_retransmission_filled_share",
     "throughput_kbps", "throughput_kbps_raw", "throughput_filled_share", "engagement_score",
     "experience_index", "satisfaction_cluster", "satisfaction_index", "first_engagement_score"],
)  # fmt: skip
def test_what_defines_the_target_is_refused_by_name(rng, feature):
    assert list(refuse_leaks([feature])) == [feature]
    columns, target = planted(rng)
    record = behaviour({**columns, feature: rng.normal(size=ROWS)}, target, seed=7)
    assert record["fit"]["refused"] == [feature]
    assert feature not in record["features"]


@pytest.mark.parametrize(
    "feature",
    ["app_gaming_share", "night_share", "activity_dl_ms", "dl_below_50_kbps_share", "handset_manufacturer",
     "ul_above_300_kbps_share"],
)  # fmt: skip
def test_behaviour_is_not_refused(feature):
    assert refuse_leaks([feature]) == {}


def test_measures_of_the_first_period_may_predict_the_second_and_scores_may_not():
    features = ["first_session_count", "first_rtt_ms", "first_engagement_score", "session_count"]
    assert list(refuse_leaks(features)) == features
    assert list(refuse_leaks(features, "second from first")) == ["first_engagement_score", "session_count"]


def test_a_disguised_target_is_refused_by_its_correlation(rng):
    columns, target = planted(rng)
    columns["mood_share"] = -3 * target + rng.normal(0, 0.05, ROWS)
    record = behaviour(columns, target, seed=7)
    assert record["fit"]["refused"] == ["mood_share"]
    assert "0.98" in record["fit"]["refused_because"]["mood_share"]


def test_nothing_but_leaks_is_an_error(rng):
    with pytest.raises(ConfigurationError, match="rtt_ms"):
        behaviour({"rtt_ms": rng.normal(size=ROWS)}, rng.normal(size=ROWS), seed=7)


def test_lengths_that_differ_and_few_rows_are_errors(rng):
    with pytest.raises(ConfigurationError, match="night_share"):
        behaviour({"night_share": np.ones(3)}, np.ones(50), seed=7)
    with pytest.raises(ConfigurationError, match="39"):
        identity(np.ones(39), np.ones(39), np.ones(39), seed=7)


def test_a_constant_target_has_no_r2(rng):
    columns, _ = planted(rng)
    fit = behaviour(columns, np.full(ROWS, 4.0), seed=7)["fit"]
    assert fit["r2"] is None
    assert fit["mae"] == pytest.approx(0)


def test_records_are_json_values_and_the_same_for_the_same_seed(rng):
    columns, target = planted(rng)
    first, second = (json.dumps(behaviour(columns, target, seed=5), allow_nan=False) for _ in range(2))
    assert first == second
    assert first != json.dumps(behaviour(columns, target, seed=6))
