from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from subsight.answers import Answer
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies import Inputs
from subsight.studies.satisfaction import QUESTIONS
from subsight.tables import SESSIONS

BY_NAME = {question.id.partition(".")[2]: question for question in QUESTIONS}
ROWS = 400


@pytest.fixture(scope="module")
def engine() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def profiles(**columns: Any) -> dict[str, Any]:
    """Hand-made subscribers: what is not given is the same for everyone."""
    count = len(next(iter(columns.values()))) if columns else ROWS
    defaults: dict[str, Any] = {
        "subscriber_id": [f"s{i:04d}" for i in range(count)],
        "subscriber_hash": list(range(count)),
        "session_count": [2] * count,
        "total_bytes": [1000] * count,
        "engagement_cluster": [0] * count,
        "experience_cluster": [0] * count,
        "satisfaction_cluster": [0] * count,
        "engagement_score": [1.0] * count,
        "experience_score": [1.0] * count,
        "engagement_index": [50.0] * count,
        "experience_index": [50.0] * count,
        "rtt_ms": [50.0] * count,
        "throughput_kbps": [5000.0] * count,
        "tcp_retransmission_bytes": [10.0] * count,
        "rtt_ms_raw": [50.0] * count,
        "throughput_kbps_raw": [5000.0] * count,
        "tcp_retransmission_bytes_raw": [10.0] * count,
    }
    made = defaults | {name: list(values) for name, values in columns.items()}
    for kind in ("score", "index"):
        mean = [
            (a + b) / 2 for a, b in zip(made[f"engagement_{kind}"], made[f"experience_{kind}"], strict=True)
        ]
        made.setdefault(f"satisfaction_{kind}", mean)
    return made


def ask(
    engine: Store, name: str, columns: dict[str, Any], models: dict[str, Any] | None = None, **settings: Any
) -> Answer:
    frame = engine.from_arrow(pa.table(columns))
    contract = SESSIONS.expand(())
    answer = BY_NAME[name].answer(
        Inputs(engine, frame, frame, contract, Settings(**settings), {}, models or {}, {})
    )
    assert answer.id == BY_NAME[name].id
    assert Answer.from_json(json.loads(json.dumps(answer.to_json(), allow_nan=False))).id == answer.id
    assert len({tuple(row) for row in answer.rows}) <= 1
    return answer


def text(answer: Answer) -> str:
    return " ".join(answer.reading)


MODELS = {
    name: {
        "name": name,
        "features": features,
        "parameters": {
            "mean": [10.0, 20.0, 30.0],
            "deviation": [1.0, 2.0, 3.0],
            "centroids": [[-1.0, -1.0, -1.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]],
            "worst": 0,
            "best": 2,
        },
    }
    for name, features in (
        ("engagement", ["session_count", "duration_s", "total_bytes"]),
        ("experience", ["tcp_retransmission_bytes", "rtt_ms", "throughput_kbps"]),
    )
}


# Definition


def test_definition_shows_the_centroids_in_z_and_in_units(engine):
    answer = ask(engine, "definition", profiles(), MODELS)
    (row,) = [
        r for r in answer.rows if (r["model"], r["role"], r["feature"]) == ("experience", "worst", "rtt_ms")
    ]
    assert (row["centroid_z"], row["centroid"], row["cluster"]) == (-1.0, 18.0, 0)  # 20 - 1 x 2
    assert len(answer.rows) == 12
    assert "is the mean of the two, over 400 subscribers" in text(answer)
    assert answer.facts["largest_departure"] == 0


def test_definition_notices_scores_that_do_not_follow_it(engine):
    answer = ask(engine, "definition", profiles(satisfaction_score=[1.5] + [1.0] * 99), MODELS)
    assert "departs by up to 0.5 from the mean of the two" in text(answer)


def test_without_scores_every_answer_says_so(engine):
    columns = {"subscriber_id": ["a"], "subscriber_hash": [1]}
    for name in ("distribution", "top", "score_and_index", "clusters", "served", "retention"):
        answer = ask(engine, name, columns)
        assert answer.rows == []
        assert "no satisfaction scores" in text(answer)
    for name in ("identity", "behaviour", "drivers"):
        assert "too few subscribers" in text(ask(engine, name, columns))
    assert "missing from the data" in text(ask(engine, "service_levels", columns))
    assert "no engagement model" in text(ask(engine, "definition", columns))


# Distribution


def test_distribution_counts_every_subscriber_once(engine):
    index = [0.0] * 40 + [55.0] * 40 + [100.0] * 20
    answer = ask(
        engine, "distribution", profiles(experience_index=index, experience_score=[0.3] * 99 + [80.0])
    )
    bins = [row for row in answer.rows if row["measure"] == "experience_index"]
    assert [row["subscriber_count"] for row in bins] == [40, 0, 0, 0, 0, 40, 0, 0, 0, 20]
    assert (bins[-1]["lower"], bins[-1]["upper"]) == (90.0, 100.0)
    scores = [row for row in answer.rows if row["measure"] == "experience_score"]
    assert (scores[1]["subscriber_count"], scores[1]["lower"]) == (99, 0.25)
    assert (scores[-1]["subscriber_count"], scores[-1]["upper"]) == (1, None)
    assert answer.facts["experience_index_at_0_share"] == 0.4
    assert answer.facts["experience_index_mean"] == pytest.approx(0.4 * 55 + 20)
    assert "40.0 % of subscribers lie at 0 and 20.0 % at 100" in text(answer)


def test_distribution_does_not_tell_of_a_small_group(engine):
    answer = ask(engine, "distribution", profiles(experience_index=[0.0] * 3 + [55.0] * 97))
    assert answer.facts["experience_index_at_0_share"] is None
    assert "too few to report of subscribers lie at 0" in text(answer)
    assert answer.group_size == "subscriber_count"


# Top


def test_top_breaks_ties_by_hash_and_counts_those_who_are_far_for_being_bad(engine):
    count = 40
    score = [100.0 - i for i in range(10)] + [1.0] * 30
    score[9] = score[8]  # a tie: the smaller hash comes first
    hashes = list(range(count))
    hashes[8], hashes[9] = 9, 8
    index = [0.0, 0.0, 0.0, 20.0] + [90.0] * 6 + [50.0] * 30
    answer = ask(
        engine,
        "top",
        profiles(experience_score=score, engagement_score=score, experience_index=index,
                 engagement_index=index, subscriber_hash=hashes),
    )  # fmt: skip
    assert answer.ranks_subscribers
    assert [row["subscriber_id"] for row in answer.rows[-2:]] == ["s0009", "s0008"]
    assert [row["rank"] for row in answer.rows] == list(range(1, 11))
    assert answer.facts["experience_index_0_count"] == 3
    assert answer.facts["below_median_index_count"] == 4
    assert answer.rows[4]["lower_index_share"] == pytest.approx(34 / 40)
    assert "worse than the worst centroid" in text(answer)


# Score and index


def test_score_against_index_is_the_correlation_and_the_misleading_share(engine):
    rng = np.random.default_rng(1)
    score = rng.exponential(1, ROWS)
    index = np.clip(40 * score + rng.normal(0, 15, ROWS), 0, 100)
    answer = ask(engine, "score_and_index", profiles(experience_score=score, experience_index=index))
    assert answer.facts["experience_correlation"] == pytest.approx(np.corrcoef(score, index)[0, 1])
    expected = ((score > score.mean()) & (index <= index.mean())).mean()
    assert answer.facts["experience_high_score_low_index_share"] == pytest.approx(expected)
    counts = [row["subscriber_count"] for row in answer.rows if row["measure"] == "experience"]
    assert sum(counts) == ROWS
    assert answer.facts["engagement_correlation"] is None  # constant
    assert "Experience: a strong positive correlation" in text(answer) or "near-exact" in text(answer)


@pytest.mark.parametrize(
    ("slope", "words"),
    [(1, "strong positive correlation"), (-1, "strong negative correlation"), (0, "no clear correlation")],
)
def test_score_against_index_turns_with_the_effect(engine, slope, words):
    rng = np.random.default_rng(2)
    score, noise = rng.normal(5, 1, ROWS), rng.normal(0, 1, ROWS)
    noise -= np.polyval(np.polyfit(score, noise, 1), score)  # exactly uncorrelated
    columns = profiles(experience_score=score, experience_index=50 + 5 * slope * score + 5 * noise)
    (sentence,) = [s for s in ask(engine, "score_and_index", columns).reading if s.startswith("Experience")]
    assert words in sentence


# Clusters


@pytest.mark.parametrize(
    ("shift", "words"),
    [(10, "clearly higher in cluster 1"), (-10, "clearly lower in cluster 1"), (0, "no clear difference")],
)
def test_clusters_compare_experience_as_it_is(engine, shift, words):
    wave = [float(i % 5) for i in range(200)]
    columns = profiles(
        satisfaction_cluster=[0] * 100 + [1] * 100,
        experience_index=[40 + w + (shift if i >= 100 else 0) for i, w in enumerate(wave)],
    )
    answer = ask(engine, "clusters", columns)
    (sentence,) = [s for s in answer.reading if s.startswith("Experience index")]
    assert words in sentence
    assert [row["subscriber_count"] for row in answer.rows] == [100, 100]
    assert answer.rows[1]["mean_experience_index"] == pytest.approx(42 + shift)
    assert answer.facts["experience_index_gap"] == pytest.approx(shift)
    disagree = any("disagree" in s for s in answer.reading)
    assert disagree == (shift != 0)  # the score is the same in both


def test_a_cluster_too_small_is_not_compared(engine):
    answer = ask(engine, "clusters", profiles(satisfaction_cluster=[0] * 100 + [1] * 5))
    assert answer.reading == ("One cluster is too small or missing, so the clusters are not compared.",)


# Regressions


def fitted(r2: float | None, mae: float, **more: Any) -> dict[str, Any]:
    return {
        "features": ["night_share", "app_web_share"],
        "parameters": {"coefficients": {"night_share": -0.1, "app_web_share": 0.4}, "intercept": 1.0},
        "fit": {
            "rows_train": 300, "rows_test": 100, "r2": r2, "mae": mae, "baseline_mae": 1.0, "period": "same",
            "residual_deciles": [float(i - 5) for i in range(11)], "refused": ["rtt_ms"], **more,
        },
        "card": {"limits": "association"},
    }  # fmt: skip


def test_identity_is_called_one(engine):
    rounded = fitted(1.0, 1e-15, residual_deciles=[1e-16] * 11)
    exact = ask(engine, "identity", profiles(), {"identity": rounded})
    assert exact.chart is None
    assert "no residual differs from 0" in exact.reading[1]
    answer = ask(engine, "identity", profiles(), {"identity": fitted(1.0, 1e-15)})
    assert answer.chart
    assert "eight in ten residuals lie between -4 and 4" in answer.reading[1]
    assert answer.reading[0].startswith("An identity, not a finding")
    assert "exact, as the definition says" in answer.reading[-1]
    assert "not exact" in ask(engine, "identity", profiles(), {"identity": fitted(0.9, 0.2)}).reading[-1]
    assert [row["value"] for row in answer.rows if row["statistic"] == "residual"] == list(range(-5, 6))
    assert any("round-trip time" in note for note in answer.notes)


@pytest.mark.parametrize(
    ("r2", "mae", "words", "named"),
    [
        (0.4, 0.7, "explains a large part of satisfaction; the error falls by 30.0 %", True),
        (0.2, 0.9, "a medium part", True),
        (0.05, 0.98, "The R2 is low: it predicts no single subscriber", True),
        (0.05, 1.0, "tells nothing clear", False),  # no better than the mean
        (0.01, 0.99, "tells nothing clear", False),
        (-0.3, 1.2, "tells nothing clear", False),
        (None, 1.0, "undefined", False),
    ],
)
def test_behaviour_is_read_plainly_and_names_features_only_if_it_explains(engine, r2, mae, words, named):
    models = {"behaviour": fitted(r2, mae)}
    assert words in text(ask(engine, "behaviour", profiles(), models))
    drivers = ask(engine, "drivers", profiles(), models)
    assert ("web (share of the volume) (+0.4)" in text(drivers)) == named
    assert ("No feature is named" in text(drivers)) != named
    assert [row["feature"] for row in drivers.rows] == ["app_web_share", "night_share"]


def test_a_forecast_is_told_from_a_description(engine):
    later = {"behaviour": fitted(0.4, 0.7, period="second from first")}
    assert "second period's satisfaction is predicted" in text(ask(engine, "behaviour", profiles(), later))
    assert "does not forecast" in text(ask(engine, "behaviour", profiles(), {"behaviour": fitted(0.4, 0.7)}))


# Service


@pytest.mark.parametrize(
    ("shift", "words"), [(10, "a clearly higher"), (-10, "a clearly lower"), (0, "no clear difference")]
)
def test_served_turns_with_the_effect(engine, shift, words):
    columns = profiles(
        engagement_cluster=[0] * 100 + [2] * 100,
        experience_cluster=[0] * 50 + [2] * 150,
        experience_index=[50 + i % 5 + (shift if i >= 100 else 0) for i in range(200)],
    )
    answer = ask(engine, "served", columns, MODELS)
    assert words in answer.reading[-1]
    assert answer.facts["engaged_gap"] == pytest.approx(shift)
    assert (answer.facts["best_experience_share"], answer.facts["balance"]) == (0.75, 0.5)
    assert (abs(shift) >= answer.facts["engaged_gap_band"]) == (shift != 0)


def test_service_levels_count_measured_subscribers_only(engine):
    # 1000 bytes in 2 sessions: 500 a session, so 20 bytes sent again are 4 %.
    answer = ask(
        engine,
        "service_levels",
        profiles(
            rtt_ms_raw=[400.0] * 30 + [300.0] * 20 + [None] * 50,
            throughput_kbps_raw=[999.0] * 5 + [1000.0] * 95,
            tcp_retransmission_bytes_raw=[20.0] * 25 + [10.0] * 75,
        ),
    )
    assert [row["subscriber_count"] for row in answer.rows] == [30, 5, 25]
    assert answer.facts["rtt_ms_short_share"] == 0.6
    assert answer.facts["retransmission_share_short_share"] == 0.25
    assert answer.facts["throughput_kbps_short_share"] is None  # five subscribers are too few to tell of
    assert "Round-trip time: 60.0 % of the 50 measured subscribers lie above 300 ms." in answer.reading
    assert "Throughput: fewer than 15 of the" in text(answer)


def test_service_levels_tell_nothing_of_a_few(engine):
    # Fourteen were measured; of sixteen all but one are short.
    answer = ask(
        engine,
        "service_levels",
        profiles(
            rtt_ms_raw=[400.0] * 14 + [None] * 86,
            throughput_kbps_raw=[999.0] * 15 + [1000.0] + [None] * 84,
            tcp_retransmission_bytes_raw=[20.0] * 25 + [10.0] * 75,
        ),
    )
    few, but_one, many = answer.rows
    assert [few[n] for n in ("measured_subscriber_count", "subscriber_count", "subscriber_share")] == [
        None
    ] * 3
    assert (but_one["measured_subscriber_count"], but_one["subscriber_count"]) == (16, None)
    assert but_one["subscriber_share"] is None
    assert (many["measured_subscriber_count"], many["subscriber_count"]) == (100, 25)
    hidden = ("rtt_ms_short_share", "rtt_ms_measured_count", "throughput_kbps_short_count")
    assert [answer.facts[name] for name in hidden] == [None] * 3
    assert "Round-trip time: measured of fewer than 15 subscribers" in text(answer)
    assert "Throughput: all but fewer than 15 of the 16 measured subscribers lie below" in text(answer)


def test_nothing_measured_is_not_judged(engine):
    nothing = pa.nulls(50, pa.float64()).to_pylist()
    columns = profiles(rtt_ms_raw=nothing)
    frame = pa.table(columns).set_column(
        list(columns).index("rtt_ms_raw"), "rtt_ms_raw", pa.nulls(50, pa.float64())
    )
    answer = ask(engine, "service_levels", {name: frame[name] for name in frame.column_names})
    assert answer.facts["rtt_ms_short_share"] is None
    assert "Round-trip" not in text(answer)


# Retention


def split(shift: float, experience: float) -> dict[str, Any]:
    wave = [float(i % 5) for i in range(200)]
    return profiles(
        satisfaction_cluster=[0] * 100 + [1] * 100,
        total_bytes=[100] * 100 + [300] * 100,
        session_count=[1] * 50 + [3] * 150,
        satisfaction_score=[10 + w + (shift if i >= 100 else 0) for i, w in enumerate(wave)],
        satisfaction_index=[40 + w + (shift if i >= 100 else 0) for i, w in enumerate(wave)],
        experience_index=[40 + w + (experience if i >= 100 else 0) for i, w in enumerate(wave)],
    )


@pytest.mark.parametrize(
    ("shift", "experience", "risk"),
    [
        (10, 10, "higher risk"),
        (10, 0, "higher risk"),
        (-10, -10, "lower risk"),
        (0, 0, "no clear difference in risk"),
        (10, -10, "risk undecided, the measures disagree"),
    ],
)
def test_retention_risk_turns_with_the_effect_and_is_a_hypothesis(engine, shift, experience, risk):
    answer = ask(engine, "retention", split(shift, experience), MODELS)
    low, high, heavy = answer.rows
    assert low["risk_hypothesis"] == risk
    assert (low["subscriber_count"], low["total_bytes"], low["volume_share"]) == (100, 10_000, 0.25)
    assert (low["single_session_share"], high["single_session_share"]) == (0.5, 0)
    assert heavy["subscriber_count"] == 0
    assert answer.reading[0].startswith("Hypothesis, not a finding: the data hold neither churn nor feedback")
    assert answer.facts["single_session_share"] == 0.25
    assert answer.facts["cluster_0_risk_hypothesis"] == risk
    assert not any(name.startswith("heavy_badly_served") for name in answer.facts)


def test_retention_names_a_churn_column_and_the_badly_served(engine):
    columns = split(10, 10) | {"has_churned": [False] * 200, "engagement_cluster": [2] * 20 + [0] * 180}
    columns["churn"] = columns.pop("has_churned")
    answer = ask(engine, "retention", columns, MODELS)
    assert "was not checked against churn" in answer.reading[0]
    assert answer.facts["heavy_badly_served_subscriber_count"] == 20
    assert answer.facts["heavy_badly_served_total_bytes"] == 2000


def test_answers_are_the_same_on_each_engine(store):
    rng = np.random.default_rng(3)
    columns = profiles(
        experience_score=rng.exponential(1, 60), experience_index=rng.uniform(0, 100, 60),
        satisfaction_cluster=[0, 1] * 30, engagement_cluster=[0, 1, 2] * 20, experience_cluster=[2, 0] * 30,
        satisfaction_score=rng.exponential(1, 60),
    )  # fmt: skip
    with open_store("duckdb", memory="500MB") as reference:
        for name in ("top", "score_and_index", "served", "retention"):
            expected, found = (ask(one, name, columns, MODELS) for one in (reference, store))
            assert found.reading == expected.reading
            for one, other in zip(found.rows, expected.rows, strict=True):
                assert one == pytest.approx(other)
