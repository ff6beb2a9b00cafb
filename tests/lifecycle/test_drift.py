"""Drift: distances by hand, thresholds that hold at every size, planted shifts found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from subsight.lifecycle import drift
from subsight.lifecycle.drift import Thresholds, compare


def test_distances_by_hand() -> None:
    before = {"a": np.array([1.0, 2.0, 3.0, 4.0]), "maker": np.array(["x"] * 50 + ["y"] * 50)}
    now = {"a": np.array([3.0, 4.0, 5.0, 6.0]), "maker": np.array(["x"] * 80 + ["y"] * 20)}
    found = {one.feature: one for one in compare(before, now)}
    # At 2 half of the old values are past and none of the new ones.
    assert (found["a"].distance, found["a"].before, found["a"].now) == (0.5, 2.5, 4.5)
    # Shares with half a row each in x, y and the empty rest: 50.5, 50.5, 0.5 and 80.5, 20.5, 0.5 of 101.5.
    old, new = np.array([50.5, 50.5, 0.5]) / 101.5, np.array([80.5, 20.5, 0.5]) / 101.5
    assert found["maker"].distance == pytest.approx(float(((new - old) * np.log(new / old)).sum()))
    assert found["maker"].has_drifted
    # Four values against four prove nothing.
    assert not found["a"].has_drifted


def test_unknown_values_are_compared_as_such() -> None:
    before = {"a": np.array([1.0] * 900 + [np.nan] * 100), "t": np.array(["x", ""] * 500)}
    now = {"a": np.array([1.0] * 400 + [np.nan] * 600), "t": ["x", None] * 500}
    found = {one.feature: one for one in compare(before, now)}
    assert set(found) == {"a", "a is unknown", "t"}
    assert found["a"].distance == 0.0
    assert found["a is unknown"].has_drifted
    assert found["a is unknown"].now == pytest.approx(0.6, abs=0.01)
    assert found["t"].distance == pytest.approx(0.0, abs=1e-9)


def test_a_feature_that_is_gone_is_left_out() -> None:
    assert compare({"a": np.array([1.0])}, {}) == []
    assert compare({"a": np.array([np.nan])}, {"a": np.array([np.nan])})[0].feature == "a is unknown"


FEATURES = 20


def _people(random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Shapes as telecom measures have: heavy tails, shares with many zeros, whole numbers, makers."""
    made: dict[str, np.ndarray] = {}
    for number in range(FEATURES // 4):
        made[f"volume_{number}"] = random.lognormal(10, 2, rows)
        made[f"share_{number}"] = np.where(random.random(rows) < 0.6, 0.0, random.random(rows))
        made[f"count_{number}"] = random.poisson(2, rows).astype(float)
        made[f"maker_{number}"] = random.choice(["a", "b", "c", "d"], rows, p=[0.5, 0.3, 0.15, 0.05])
    return made


@pytest.mark.parametrize("rows", [100, 1000, 20_000])
def test_what_did_not_change_rarely_alarms_at_any_size(rows: int) -> None:
    random = np.random.default_rng(rows)
    looks = 200 if rows < 10_000 else 60
    alarms = 0
    for _ in range(looks):
        before, now = _people(random, min(rows, drift.KEPT)), _people(random, rows)
        alarms += any(one.has_drifted for one in compare(before, now))
    # At most one look in a hundred, and the 1 in 10,000 quantile of so many looks.
    assert alarms <= stats.binom.ppf(0.9999, looks, Thresholds().alarm_rate)


def test_without_floors_and_correction_the_same_looks_would_cry_wolf() -> None:
    """The check above can fail: a test of each feature at 5 % alarms at most looks."""
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(50):
        before, now = _people(random, 1000), _people(random, 1000)
        pairs = [(before[name], now[name]) for name in before if before[name].dtype.kind == "f"]
        alarms += any(stats.ks_2samp(*pair).pvalue < 0.05 for pair in pairs)
    assert alarms > 10


def test_a_shift_too_small_to_matter_does_not_alarm_with_millions_of_rows() -> None:
    random = np.random.default_rng(3)
    before = {"rtt_ms": random.normal(0, 1, drift.KEPT)}
    now = {"rtt_ms": random.normal(0.05, 1, 2_000_000)}
    (found,) = compare(before, now)
    # It is there for any test of significance, and too small to act on.
    assert stats.ks_2samp(random.normal(0, 1, 1_000_000), now["rtt_ms"][:1_000_000]).pvalue < 1e-6
    assert not found.has_drifted


@pytest.mark.parametrize("rows", [300, 20_000])
def test_a_planted_shift_is_found_and_nothing_else(rows: int) -> None:
    random = np.random.default_rng(4)
    before, now = _people(random, drift.KEPT), _people(random, rows)
    now["volume_0"] *= np.exp(1.5)
    now["maker_1"] = random.choice(["a", "b", "c", "d"], rows, p=[0.2, 0.3, 0.3, 0.2])
    found = compare(before, now)
    assert {one.feature for one in found if one.has_drifted} == {"volume_0", "maker_1"}
    assert {one.feature for one in found[:2]} == {"volume_0", "maker_1"}


def test_a_sample_survives_its_bytes_and_keeps_no_rows_together() -> None:
    columns = {"a": np.arange(10_000.0), "b": np.arange(10_000.0), "maker": ["x", None] * 5000}
    kept = drift.sample(columns, seed=1)
    again = drift.from_bytes(drift.to_bytes(kept))
    assert {name: len(values) for name, values in again.items()} == dict.fromkeys(columns, drift.KEPT)
    assert again["a"].tolist() == kept["a"].tolist()
    assert set(again["maker"]) == {"x", ""}
    # Two columns that were equal row by row are not any more.
    assert abs(np.corrcoef(again["a"], again["b"])[0, 1]) < 0.1
    assert drift.to_bytes(drift.sample(columns, seed=1)) == drift.to_bytes(kept)


def test_a_text_of_few_is_not_kept() -> None:
    kept = drift.sample({"maker": ["a"] * 100 + ["b"] * 15 + ["c"] * 14 + [None] * 20}, seed=1)
    values = kept["maker"].tolist()
    assert {text: values.count(text) for text in set(values)} == {"a": 100, "b": 15, "(other)": 14, "": 20}


def test_false_alarms_are_counted_on_halves_of_the_training() -> None:
    kept = drift.sample(_people(np.random.default_rng(6), 5000), seed=1)
    assert drift.false_alarms(kept, rows=500, looks=50, seed=1) <= 3
    # With no floor, and every second look allowed to alarm, about every second one does.
    eager = Thresholds(ks=0.0, psi=0.0, alarm_rate=0.7)
    assert drift.false_alarms(kept, rows=500, looks=50, seed=1, thresholds=eager) > 10
