"""Offers that a market was shown by chance that is known tell what the policy behind them is worth."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from subsight.models.offers.evaluation import top
from subsight.models.offers.nodes import by_allowance, by_purchases
from subsight.models.offers.value import snipw, uplift
from subsight.simulate import OfferMarket, SimulatedOffers, simulate_offers, simulate_responses

MARKET = OfferMarket(subscribers=2_000, seed=11)
AFTER = datetime(2026, 6, 1, tzinfo=UTC)
EPSILON, SLOTS = 0.3, 2


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedOffers:
    return simulate_offers(MARKET, tmp_path_factory.mktemp("market"))


class Known:
    """What a recommender knows of the market, and what was planted."""

    def __init__(self, simulated: SimulatedOffers) -> None:
        truths = json.loads(simulated.truths.read_text())
        types = pq.read_table(simulated.types)
        self.numbers = types["subscriber_id"].to_pylist()
        self.offers = list(truths["popularity"])
        kinds = list(truths["probability"])
        self.kinds = np.array([kinds.index(kind) for kind in types["type"].to_pylist()])
        planted = np.array([[truths["probability"][k][o] for o in self.offers] for k in kinds])
        self.planted = planted[self.kinds]
        self.usable = np.ones(self.planted.shape, bool)
        for offer in (*truths["expired"], *truths["upcoming"]):
            self.usable[:, self.offers.index(offer)] = False
        (restricted,) = truths["eligibility"]
        volumes = pq.read_table(simulated.usage)["bytesFromServer"].to_numpy()
        self.usable[:, self.offers.index(restricted)] = volumes >= 2e9
        self.favourites = self._favourites(simulated)

    def _favourites(self, simulated: SimulatedOffers) -> NDArray[np.intp]:
        """The best offers of each subscriber by what those of their type bought, as a map would have it."""
        rows = {number: i for i, number in enumerate(self.numbers)}
        buyers = np.zeros((5, len(self.offers)), np.int64)
        for row in pq.read_table(simulated.purchases).to_pylist():
            buyers[self.kinds[rows[row["subscriber_id"]]], self.offers.index(row["offer_id"])] += 1
        rule = by_allowance(self.offers, np.full(len(self.offers), 1e8), np.full(5, 1e8))
        sizes = np.bincount(self.kinds, minlength=5)
        scores = by_purchases(self.offers, sizes, buyers, np.zeros((5, 5), bool), rule).scores
        return top(scores[self.kinds], self.usable, SLOTS)


@pytest.fixture(scope="module")
def known(simulated: SimulatedOffers) -> Known:
    return Known(simulated)


def explored(known: Known, seed: int, shown: int) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """Epsilon-greedy by slot, each on its own: the favourite of that rank, or any usable offer alike.

    The log, with the probability of each offer in its slot, and for each row whether it is the favourite.
    """
    rng = np.random.default_rng([seed, 77])
    who = np.repeat(np.arange(shown), SLOTS)
    rank = np.tile(np.arange(SLOTS), shown)
    favourite, usable = known.favourites[who, rank], known.usable[who]
    explores = rng.random(len(who)) < EPSILON
    offer = np.where(explores, np.where(usable, rng.random(usable.shape), -1).argmax(axis=1), favourite)
    is_favourite = offer == favourite
    probability = EPSILON / usable.sum(axis=1) + (1 - EPSILON) * is_favourite
    return {"who": who, "rank": rank, "offer": offer, "probability": probability}, is_favourite


def responded(
    known: Known, simulated: SimulatedOffers, log: dict[str, Any], folder: Path, seed: int
) -> set[tuple[str, str]]:
    table = pa.table({
        "subscriber_id": [known.numbers[i] for i in log["who"]],
        "offer_id": [known.offers[i] for i in log["offer"]],
        "rank": log["rank"] + 1,
        "probability": log["probability"],
    })  # fmt: skip
    # Five days: the offer that begins on the seventh is not to be had.
    made = simulate_responses(MARKET, simulated, table, folder, starts_at=AFTER, days=5, seed=seed)
    return {(r["subscriber_id"], r["offer_id"]) for r in pq.read_table(made.purchases).to_pylist()}


def rewards(known: Known, log: dict[str, Any], bought: set[tuple[str, str]]) -> NDArray[np.bool_]:
    pairs = zip(log["who"], log["offer"], strict=True)
    return np.array([(known.numbers[i], known.offers[j]) in bought for i, j in pairs])


def test_the_greedy_policys_interval_covers_what_was_planted(
    known: Known, simulated: SimulatedOffers, tmp_path: Path
) -> None:
    everybody = np.arange(len(known.numbers))[:, None]
    truth = float(known.planted[everybody, known.favourites].mean())
    at_random = float(
        np.mean([row[may].mean() for row, may in zip(known.planted, known.usable, strict=True)])
    )
    assert truth > 1.5 * at_random
    covered = {"greedy": 0, "random": 0, "unweighted": 0}
    for seed in range(20):
        log, is_favourite = explored(known, seed, len(known.numbers))
        bought = responded(known, simulated, log, tmp_path, seed)
        reward, logged = rewards(known, log, bought), log["probability"]
        alike = 1 / known.usable[log["who"]].sum(axis=1)
        for name, target, planted in (
            ("greedy", is_favourite, truth),
            ("random", alike, at_random),
            ("unweighted", logged, truth),
        ):
            found = snipw(logged, target, reward, log["who"])
            assert found.low is not None
            assert found.high is not None
            covered[name] += found.low <= planted <= found.high
    assert covered["greedy"] >= 18, covered
    assert covered["random"] >= 18, covered
    # What the log earned is not what the greedy policy does.
    assert covered["unweighted"] <= 5, covered


def test_being_shown_offers_sells_what_was_planted(
    known: Known, simulated: SimulatedOffers, tmp_path: Path
) -> None:
    # The last quarter, in no order of anything, is held out; buyers are those who bought their favourite.
    shown, covered = 1_500, 0
    log = {
        "who": np.arange(shown), "rank": np.zeros(shown, int), "offer": known.favourites[:shown, 0],
        "probability": np.ones(shown),
    }  # fmt: skip
    best = known.planted[np.arange(len(known.numbers)), known.favourites[:, 0]]
    truth = best[:shown].mean() - 0.3 * best[shown:].mean()
    for seed in range(20):
        bought = responded(known, simulated, log, tmp_path, seed)
        everybody = {**log, "who": np.arange(len(known.numbers)), "offer": known.favourites[:, 0]}
        buys = rewards(known, everybody, bought)
        found = uplift(int(buys[:shown].sum()), shown, int(buys[shown:].sum()), len(buys) - shown)
        assert found.low is not None
        assert found.high is not None
        assert found.low > 0
        covered += found.low <= truth <= found.high
    assert covered >= 18
