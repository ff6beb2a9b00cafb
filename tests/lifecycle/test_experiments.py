"""Champion against challenger: the test that may be looked at daily, and the comparison from real records."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import integrate, stats
from typer.testing import CliRunner

from subsight.errors import ConfigurationError, NotFoundError
from subsight.lifecycle import audit
from subsight.lifecycle.audit import AuditLog
from subsight.lifecycle.experiments import Comparison, compare, interval, is_challenged, weighted
from subsight.lifecycle.feedback import Inbox
from subsight.lifecycle.registry import Registry
from subsight.surfaces import cli
from subsight.workspace import Workspace

ALPHA = 0.05


def who(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


# The interval


def test_an_interval_by_hand() -> None:
    # Mean 2, population deviation 1; the width for n = 2 by bc, to 30 digits.
    assert interval(np.array([1.0, 3.0])) == pytest.approx(
        (2, 2 - 14.265337380927322503, 2 + 14.265337380927322503), rel=1e-12
    )
    mean, low, high = interval(np.tile([-1.0, 1.0], 250))
    assert (mean, low, high) == pytest.approx((0, -0.138306070123569636, 0.138306070123569636), rel=1e-12)


def test_the_bound_is_where_the_mixture_of_likelihood_ratios_reaches_1_over_alpha() -> None:
    # Robbins 1970: the integral of exp(m S - n m²/2) over m ~ N(0, r) is a martingale without a
    # difference, so that it ever reaches 1 / alpha with a chance of at most alpha (Ville).
    spread = (-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / (200 * math.log(200))
    for n in (200, 1000, 20_000):
        total = n * interval(np.tile([-1.0, 1.0], n // 2))[2]
        peak = total * spread / (n * spread + 1)

        def ratio(m: float, n: int = n, total: float = total) -> float:
            return math.exp(m * total - n * m * m / 2) * float(stats.norm.pdf(m, 0, math.sqrt(spread)))

        found, _ = integrate.quad(ratio, peak - 0.5, peak + 0.5, points=[peak], limit=200)
        assert found == pytest.approx(1 / ALPHA, rel=1e-6)


def alarms(days: Sequence[np.ndarray]) -> tuple[bool, bool]:
    """Whether the interval, and a t-test at 5 %, ever claim a difference when looked at every day."""
    rows = np.concatenate(days)
    ours = theirs = False
    for end in np.cumsum([len(day) for day in days]):
        if end >= 200:
            _, low, high = interval(rows[:end], ALPHA)
            ours = ours or low > 0 or high < 0
            mean, error = rows[:end].mean(), rows[:end].std(ddof=1) / math.sqrt(end)
            theirs = theirs or abs(mean) / error > stats.t.ppf(1 - ALPHA / 2, end - 1)
    return ours, theirs


def shadow_day(rng: np.random.Generator, rows: int, worse: float = 0.0) -> np.ndarray:
    """Differences of absolute errors of two models on the same skewed outcomes; equally good at 0."""
    actual = rng.gamma(2.0, 1.0, rows)
    champion = np.abs(rng.normal(0, 1, rows) + 2 - actual)
    challenger = np.abs(rng.normal(0, 1, rows) + 2 - actual)
    return challenger - champion + worse


def ab(rng: np.random.Generator, rows: int, share: float, worse: float = 0.0) -> np.ndarray:
    losses = np.abs(rng.gamma(2.0, 1.0, rows) - 2)
    chosen = rng.uniform(size=rows) < share
    return weighted(losses + worse * chosen, chosen, np.full(rows, share))


@pytest.mark.parametrize("kind", ["shadow", "ab"])
def test_looking_every_day_raises_few_false_alarms_where_a_t_test_raises_many(kind: str) -> None:
    rng, experiments, days = np.random.default_rng(5), 500, 60
    found = np.zeros(2)
    for _ in range(experiments):
        if kind == "shadow":
            found += alarms([shadow_day(rng, 100) for _ in range(days)])
        else:
            # The centring learns from all rows before, so a day is a part of one sequence.
            found += alarms(np.split(ab(rng, 100 * days, 0.3), days))
    ours, theirs = found / experiments
    print(f"{kind}: ever an alarm in 60 daily looks: interval {ours:.1%}, t-test {theirs:.1%}")
    # Three standard errors of a share of 5 % in 500 experiments.
    assert ours <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / experiments)
    assert theirs > 3 * ALPHA


@pytest.mark.parametrize("worse", [0.3, -0.3])
def test_a_planted_difference_is_found_with_its_sign(worse: float) -> None:
    rng = np.random.default_rng(6)
    for rows in (shadow_day(rng, 3000, worse), ab(rng, 3000, 0.5, worse), ab(rng, 6000, 0.2, worse)):
        mean, low, high = interval(rows)
        assert low < worse < high
        assert (low > 0, high < 0) == (worse > 0, worse < 0)
        assert low < mean < high


def test_weighting_has_the_difference_of_the_arms_as_its_expectation() -> None:
    champion, challenger = np.array([1.0, 0.5, 2.0, 7.0, 0.1]), np.array([0.5, 0.0, 3.0, 9.0, 4.0])
    shares = np.array([0.5, 0.5, 0.2, 0.2, 0.9])
    expected = np.zeros(5)
    # All 32 ways in which five subscribers can be divided, each with its chance.
    for arms in itertools.product([False, True], repeat=5):
        chosen = np.array(arms)
        chance = np.prod(np.where(chosen, shares, 1 - shares))
        expected += chance * weighted(np.where(chosen, challenger, champion), chosen, shares)
    assert expected == pytest.approx(challenger - champion)


def test_weighting_by_hand() -> None:
    # Row 1 has nothing before it: 3 / 0.25. Row 2: the champion has no row yet, so the centre is
    # 0.75 * 3 + 0.25 * 3; -(1 - 3) / 0.75. Row 3: 0.75 * 3 + 0.25 * 1 = 2.5; (4 - 2.5) / 0.25.
    # Row 4: the challenger's mean is 3.5 now: 0.75 * 3.5 + 0.25 * 1 = 2.875; -(2 - 2.875) / 0.75.
    found = weighted(np.array([3.0, 1, 4, 2]), np.array([True, False, True, False]), np.full(4, 0.25))
    assert found == pytest.approx([12, 8 / 3, 6, 0.875 / 0.75])


# The arms


def test_an_arm_by_hand_sticks_and_arms_of_two_challengers_are_independent() -> None:
    # printf 'behaviour 8 6b86b273ff34fce19d6b804eff5a3f57' | sha256sum: 16 hex digits as a fraction.
    fraction = 0xDD07B2AB13CFBA78 / 16**16
    assert not is_challenged("behaviour", 8, who(1), fraction)
    assert is_challenged("behaviour", 8, who(1), math.nextafter(fraction, 1))
    people = [who(i) for i in range(20_000)]
    first = np.array([is_challenged("behaviour", 8, one, 0.3) for one in people])
    assert first.tolist() == [is_challenged("behaviour", 8, one, 0.3) for one in people]
    # Four standard errors of 0.3 in 20,000.
    assert first.mean() == pytest.approx(0.3, abs=0.013)
    # Who has a larger share keeps whom it had.
    assert all(is_challenged("behaviour", 8, one, 0.5) for one, had in zip(people, first, strict=True) if had)
    for model, version in (("behaviour", 9), ("feedback", 8)):
        other = np.array([is_challenged(model, version, one, 0.3) for one in people])
        assert (first & other).mean() == pytest.approx(0.09, abs=0.009)


# From records


class Story:
    """A workspace with champion 1 and challenger 2 of behaviour, and what happens on the days after."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspace = Workspace.create(path / "ws")
        self.registry = Registry(self.workspace)
        for _ in range(3):
            self.registry.register("behaviour", {}, {"is_promotable": True, "reasons": []})
        self.registry.promote("behaviour", 1)
        self.registry.challenge("behaviour", 2)
        self.begin = datetime.now(UTC) + timedelta(seconds=1)
        self._patch = monkeypatch

    def at(self, day: float) -> datetime:
        return self.begin + timedelta(days=day)

    def log(self, day: float, *records: dict[str, Any]) -> None:
        self._patch.setattr(audit, "now", lambda: self.at(day).isoformat(timespec="microseconds"))
        common = {"id": "p", "caller": "crm", "model": "behaviour", "version": "1", "latency_ms": 0.1}
        with AuditLog(self.workspace.path / "audit") as log:
            for record in records:
                if "columns" in record:
                    log.batch(**{**common, **record})
                else:
                    log.predicted(**{**common, "inputs": {}, **record})

    def shadow(
        self, number: int | None, output: float, shadow: float | None, **changed: Any
    ) -> dict[str, Any]:
        return {
            "subscriber_id": None if number is None else who(number),
            "output": output,
            "experiment": {"shadow": {"version": "2", "output": shadow}},
            **changed,
        }

    def arm(self, number: int, arm: str, output: float, share: float = 0.5, **changed: Any) -> dict[str, Any]:
        return {
            "subscriber_id": who(number),
            "output": output,
            "version": {"champion": "1", "challenger": "2"}[arm],
            "experiment": {"ab": {"challenger": "2", "arm": arm, "share": share}},
            **changed,
        }

    def publish(self, day: float, scores: dict[int, float | None], content: str | None = None) -> None:
        name = f"{self.at(day):%Y%m%dT%H%M%S%fZ}-0000"
        folder = self.workspace.path / "runs" / name
        (folder / "tables").mkdir(parents=True)
        table = {"subscriber_id": [who(i) for i in scores], "satisfaction_score": list(scores.values())}
        pq.write_table(pa.table(table), folder / "tables" / "satisfaction.parquet")
        manifest = {
            "run": name,
            "inputs": [{"content": content or name}],
            "tables": {"satisfaction": {"file": "tables/satisfaction.parquet"}},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def found(self, **how: Any) -> Comparison:
        return compare(self.workspace, "behaviour", **how)

    def said(self, *more: str) -> str:
        done = CliRunner().invoke(cli.app, ["models", "compare", str(self.workspace.path), *more])
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    return Story(tmp_path, monkeypatch)


def test_the_first_prediction_meets_the_first_outcome_after_it(story: Story) -> None:
    story.publish(0, {1: 50.0, 2: 50.0}, "before")
    story.log(
        1,
        story.shadow(1, 1.0, 2.0),
        story.shadow(1, 9.0, 9.0),  # the same subscriber again: does not count
        story.shadow(2, 3.0, None),  # the challenger failed: her next prediction counts
        story.shadow(None, 4.0, 4.5),
        story.shadow(3, 7.0, 7.0, version="3"),  # of another champion
        story.shadow(3, 7.0, 7.0, model="identity"),
        {"subscriber_id": who(3), "output": 7.0},  # nobody challenged
    )
    # A run over the inputs of the one before it brings no outcome.
    story.publish(1.5, {1: 60.0, 2: 60.0}, "before")
    columns = {
        "subscriber_id": [who(2), None, who(4)],
        "satisfaction_score": [3.0, 0.0, 5.0],
        "shadow_satisfaction_score": [3.5, 0.25, None],
    }
    story.log(2, {"columns": columns, "experiment": {"shadow": {"version": "2"}}})
    failed = {"subscriber_id": [who(5)], "satisfaction_score": [1.0]}
    story.log(2, {"columns": failed, "experiment": {"shadow": {"version": "2"}}})
    # 1 has an outcome here, 2 was predicted later than this run began.
    story.publish(1.9, {1: 1.5, 2: 70.0, 4: None})
    story.publish(3, {1: 80.0, 2: 2.0, 4: 1.0, 5: 1.0})
    found = story.found(tolerance=0.4)
    assert (found.kind, found.champion, found.challenger) == ("shadow", 1, 2)
    # Four single rows and four of batches; of 2, 4 and 5 a row each without the challenger's.
    assert (found.predictions, found.failures) == (8, 3)
    # 1: |1 - 1.5| and |2 - 1.5|; 2: |3 - 2| and |3.5 - 2|.
    assert found.arms == {
        "champion": {"rows": 2, "mae": pytest.approx(0.75)},
        "challenger": {"rows": 2, "mae": pytest.approx(1.0)},
    }
    assert (found.rows, found.verdict, found.difference) == (2, "too early", None)
    # Differences 1, 0, 0.5, 0.5, 0.25 of the five rows that both predicted.
    assert found.agreement == {
        "rows": 5,
        "mean_absolute_difference": pytest.approx(0.45),
        "beyond_share": pytest.approx(0.6),
        "tolerance": 0.4,
    }


def test_answers_can_be_the_outcomes(story: Story) -> None:
    story.log(1, story.shadow(1, 0.5, 0.25), story.shadow(2, 0.5, 0.5))
    answers = pa.table({
        "subscriber_id": [who(1), who(1), who(1), who(2), None],
        "answered_at": [story.at(day) for day in (0.5, 3, 2, 0.5, 2)],
        "rating_share": [0.0, 0.0, 1.0, 0.0, 0.0],
        "prediction_id": [None] * 5,
    })  # fmt: skip
    found = story.found(answers=answers)
    assert (found.rows, found.arms["champion"]["mae"], found.arms["challenger"]["mae"]) == (1, 0.5, 0.75)


def test_the_feedback_model_is_compared_on_what_people_answered(story: Story) -> None:
    for _ in range(2):
        story.registry.register("feedback", {}, {"is_promotable": True, "reasons": []})
    story.registry.promote("feedback", 1)
    story.registry.challenge("feedback", 2)
    story.log(1, *[story.shadow(i, 0.5, 0.75, model="feedback") for i in (1, 2)])
    # The scores of a run are no answers.
    story.publish(2, {1: 0.5, 2: 0.5})
    inbox = Inbox(story.workspace)
    for person, day, csat in ((1, 0.5, 1), (1, 3, 5), (1, 4, 1)):
        inbox.put({"subscriber_id": who(person), "answered_at": story.at(day).isoformat(), "csat": csat})
    found = json.loads(story.said("--model", "feedback", "--format", "json"))
    # CSAT 5 of 1 to 5 is 1: |0.5 - 1| and |0.75 - 1|.
    assert found["arms"] == {"champion": {"rows": 1, "mae": 0.5}, "challenger": {"rows": 1, "mae": 0.25}}
    assert "next: bring answers" in story.said("--model", "feedback")
    assert compare(story.workspace, "feedback").rows == 0


def test_no_order_of_answers_changes_an_ab(story: Story) -> None:
    rng = np.random.default_rng(10)
    outputs = rng.normal(size=400).tolist()
    story.log(1, *[story.arm(i, ("champion", "challenger")[i % 2], outputs[i]) for i in range(400)])
    table = pa.table({
        "subscriber_id": [who(i) for i in range(400)],
        "answered_at": [story.at(2 + i % 3) for i in range(400)],
        "rating_share": rng.uniform(size=400),
    })  # fmt: skip
    found = story.found(answers=table)
    assert found.low is not None
    assert story.found(answers=table.take(rng.permutation(400))) == found


def test_in_an_ab_each_arm_bears_what_it_answered(story: Story) -> None:
    story.log(0.5, story.shadow(1, 9.0, 9.0))
    story.log(
        1,
        story.arm(1, "champion", 1.0),
        story.arm(2, "challenger", 2.0),
        story.arm(2, "challenger", 8.0),
        story.arm(3, "challenger", 3.0, version="1"),  # the challenger failed, the champion answered
        story.arm(4, "champion", 4.0, version="3"),  # before the champion changed
    )
    story.publish(2, {1: 1.5, 2: 4.0, 3: 3.0, 4: 0.0})
    found = story.found()
    assert (found.kind, found.predictions, found.failures, found.agreement) == ("ab", 4, 1, None)
    assert found.arms == {"champion": {"rows": 1, "mae": 0.5}, "challenger": {"rows": 2, "mae": 1.0}}


def test_a_new_champion_begins_the_comparison_anew(story: Story) -> None:
    story.log(-1 / 86_400, story.shadow(1, 1.0, 2.0))
    story.registry.promote("behaviour", 3)
    story.registry.rollback("behaviour")
    assert story.found().predictions == 0
    assert "serve it: subsight serve ws" in story.said()


def test_a_clear_verdict_and_what_to_do(story: Story) -> None:
    rng = np.random.default_rng(7)
    assert "(nothing is recorded yet)" in story.said()
    actual = rng.normal(5, 1, 400)
    good, bad = actual + rng.normal(0, 0.2, 400), actual + rng.normal(0, 1.0, 400)
    columns = {
        "subscriber_id": [who(i) for i in range(400)],
        "satisfaction_score": bad.tolist(),
        "shadow_satisfaction_score": good.tolist(),
    }
    story.log(1, {"columns": columns, "experiment": {"shadow": {"version": "2"}}})
    text = story.said()
    assert "too early to tell: 0 subscribers with an outcome" in text
    assert "next: bring a run over newer sessions: 200 subscribers" in text
    assert f"differ by {np.abs(good - bad).mean():.4g} on average over 400 rows" in text
    story.publish(2, dict(enumerate(actual[:199].tolist())))
    assert "too early to tell: 199" in story.said()
    story.publish(3, dict(enumerate(actual.tolist())))
    text = story.said()
    assert "next: promote it: subsight models promote ws 2 --model behaviour" in text
    found = json.loads(story.said("--format", "json"))
    error = np.abs(good - actual) - np.abs(bad - actual)
    assert (found["verdict"], found["rows"]) == ("better", 400)
    assert found["difference"] == pytest.approx(error.mean())
    assert found["low"] < found["difference"] < found["high"] < 0
    # The other way round.
    story.registry.promote("behaviour", 2)
    story.registry.challenge("behaviour", 1)
    story.begin += timedelta(days=10)
    turned = {**columns, "satisfaction_score": good.tolist(), "shadow_satisfaction_score": bad.tolist()}
    story.log(1, {"columns": turned, "version": "2", "experiment": {"shadow": {"version": "1"}}})
    story.publish(2, dict(enumerate(actual.tolist())))
    assert "next: end the challenge: subsight models challenge ws 0 --model behaviour" in story.said()


@pytest.mark.parametrize("worse", [0.0, 0.5])
def test_an_ab_in_records_claims_a_difference_only_where_one_was_planted(story: Story, worse: float) -> None:
    rng, records = np.random.default_rng(8), []
    for i in range(2000):
        arm = "challenger" if is_challenged("behaviour", 2, who(i), 0.25) else "champion"
        error = abs(rng.normal(0, 1)) + (worse if arm == "challenger" else 0)
        records.append(story.arm(i, arm, 5 + error, 0.25))
    story.log(1, *records)
    story.publish(2, dict.fromkeys(range(2000), 5.0))
    found = story.found()
    assert found.rows == 2000
    assert found.arms["challenger"]["rows"] == pytest.approx(500, abs=80)
    assert found.difference is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < worse < found.high
    assert found.verdict == ("worse" if worse else "no clear difference")


def test_a_few_of_an_arm_are_too_few(story: Story) -> None:
    story.log(1, *[story.arm(i, "champion" if i else "challenger", 1.0, 0.01) for i in range(300)])
    story.publish(2, dict.fromkeys(range(300), 1.0))
    assert story.found().verdict == "too early"
    assert "50 of each arm" in story.said()


def test_equal_models_show_no_difference(story: Story) -> None:
    values = np.random.default_rng(9).normal(size=300)
    columns = {
        "subscriber_id": [who(i) for i in range(300)],
        "satisfaction_score": values.tolist(),
        "shadow_satisfaction_score": (values + 1e-15).tolist(),
    }
    story.log(1, {"columns": columns, "experiment": {"shadow": {"version": "2"}}})
    story.publish(2, dict.fromkeys(range(300), 1.0))
    assert story.found().verdict == "no clear difference"


def test_without_a_challenger_there_is_nothing_to_compare(story: Story) -> None:
    story.registry.challenge("behaviour", None)
    with pytest.raises(NotFoundError, match="has no challenger"):
        story.found()
    for arguments, what in (((), "subsight models challenge WS VERSION"), (("1",), "compared, or none")):
        done = CliRunner().invoke(cli.app, ["models", "compare", str(story.workspace.path), *arguments])
        assert what in str(done.exception)


def test_who_is_promoted_challenges_no_longer(story: Story) -> None:
    story.registry.promote("behaviour", 2, why="better")
    assert story.registry.aliases("behaviour") == {"champion": 2}
    last, ended = story.registry.changes()[-2:]
    assert (last["alias"], last["from"], last["to"], last["why"]) == ("champion", 1, 2, "better")
    assert (ended["alias"], ended["from"], ended["to"]) == ("challenger", 2, None)
    story.registry.challenge("behaviour", 1)
    story.registry.promote("behaviour", 3)
    assert story.registry.aliases("behaviour") == {"champion": 3, "challenger": 1}
    # A rollback makes a champion too.
    story.registry.challenge("behaviour", 2)
    story.registry.rollback("behaviour")
    assert story.registry.aliases("behaviour") == {"champion": 2}
    with pytest.raises(ConfigurationError, match="is the champion"):
        story.registry.challenge("behaviour", 2)
