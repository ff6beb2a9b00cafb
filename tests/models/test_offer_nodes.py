"""Offers per node: shares, loans from neighbours and ranks, computed by hand on a line of three nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from subsight.errors import ConfigurationError, InputError
from subsight.models.offers.nodes import NO_EVIDENCE, by_allowance, by_mapping, by_purchases

OFFERS = ("A", "B", "C")
LINE = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
RULE = by_allowance(OFFERS, np.array([100.0, 200.0, np.nan]), np.array([100.0, 150.0, np.nan]))


def test_small_counts_are_held_back_by_what_everybody_buys() -> None:
    # Of 400 subscribers 50 buy A: 0.125. At node 0 it is 40 of 200, at node 2 10 of 200.
    sizes, buyers = np.array([200, 0, 200]), np.array([[40, 2, 0], [0, 0, 0], [10, 2, 0]])
    found = by_purchases(OFFERS, sizes, buyers, np.zeros((3, 3), bool), RULE, prior=50, enough=200)
    assert found.scores[0, 0] == pytest.approx((40 + 50 * 0.125) / 250)
    assert found.lift[0, 0] == pytest.approx((40 + 50 * 0.125) / 250 / 0.125)
    assert found.scores[1, 0] == pytest.approx(0.125)  # nobody there: as everybody
    assert found.lift[1, 0] == pytest.approx(1)
    assert found.lift[2, 1] == pytest.approx(1)  # 2 of 200, as all
    assert found.buyers[0].tolist() == [40, 2, 0]


def test_a_thin_node_borrows_as_much_as_it_needs() -> None:
    # Node 1 has 100 of the 200 that are enough and neighbours with 400 together: a quarter of each is lent.
    sizes, buyers = np.array([200, 100, 200]), np.array([[40, 0, 0], [0, 0, 0], [0, 20, 0]])
    found = by_purchases(OFFERS, sizes, buyers, LINE, RULE, prior=50, enough=200)
    assert found.scores[1, 0] == pytest.approx((0 + 0.25 * 40 + 50 * 40 / 500) / (200 + 50))
    assert found.scores[1, 1] == pytest.approx((0 + 0.25 * 20 + 50 * 20 / 500) / (200 + 50))
    # Those with enough borrow nothing.
    assert found.scores[0, 1] == pytest.approx((50 * 20 / 500) / 250)
    # Neighbours with fewer than are missing are taken whole.
    small = by_purchases(OFFERS, np.array([10, 10, 10]), buyers // 10, LINE, RULE, prior=50, enough=200)
    assert small.scores[0, 0] == pytest.approx((4 + 50 * 4 / 30) / (20 + 50))


def test_what_nobody_bought_has_no_evidence_and_comes_last() -> None:
    sizes, buyers = np.array([200, 200, 200]), np.array([[5, 0, 0], [5, 0, 0], [5, 0, 0]])
    found = by_purchases(OFFERS, sizes, buyers, LINE, RULE)
    assert found.evidence == ("purchases", NO_EVIDENCE, NO_EVIDENCE)
    assert np.isnan(found.lift[0, 1])
    assert found.scores[0, 1] == RULE.scores[0, 1] == 0.5  # far above 0.025 of A, and yet behind it
    assert found.ranked().tolist() == [[0, 1, 2]] * 3


def test_an_allowance_that_covers_is_better_the_closer_it_is() -> None:
    # Node 0 uses 100: A covers it exactly, B is twice as much. Node 1 uses 150: A is short, B covers it.
    assert RULE.scores[0].tolist()[:2] == [1.0, 0.5]
    assert RULE.scores[1].tolist()[:2] == pytest.approx([0.5 * 100 / 150, 0.75])
    assert np.isnan(RULE.scores[:, 2]).all()
    assert np.isnan(RULE.scores[2]).all()
    assert RULE.ranked()[1].tolist() == [1, 0, 2]
    assert set(RULE.evidence) == {NO_EVIDENCE}


def test_a_given_mapping_is_taken_as_it_is() -> None:
    found = by_mapping(OFFERS, 3, {0: ["B", "A", "B"], 2: ["C"]})
    assert found.scores[0].tolist()[:2] == [0.5, 1.0]
    assert np.isnan(found.scores[1]).all()
    assert found.ranked()[0].tolist() == [1, 0, 2]
    assert set(found.evidence) == {"mapping"}
    with pytest.raises(ConfigurationError, match="does not fit") as refused:
        by_mapping(OFFERS, 3, {7: ["A"], 0: ["Z"]})
    assert "node 7, Z" in str(refused.value.found)


def test_a_map_without_subscribers_tells_nothing() -> None:
    with pytest.raises(InputError):
        by_purchases(OFFERS, np.zeros(3, int), np.zeros((3, 3), int), LINE, RULE)


def test_planted_preferences_are_recovered() -> None:
    """Each node prefers its own offer: with enough buyers the first offer is that one."""
    rng = np.random.default_rng(7)
    truth = np.full((30, 5), 0.02)
    truth[np.arange(30), np.arange(30) % 5] = 0.12
    rule = by_allowance([f"O{i}" for i in range(5)], np.full(5, np.nan), np.full(30, np.nan))

    def told(size: int) -> tuple[Any, Any]:
        buyers = rng.binomial(size, truth)
        found = by_purchases(rule.offers, np.full(30, size), buyers, np.zeros((30, 30), bool), rule)
        return found, buyers / size

    found, _ = told(300)
    assert (found.ranked()[:, 0] == np.arange(30) % 5).all()
    # Of few subscribers smoothed shares are nearer to the truth than raw ones.
    found, raw = told(50)
    assert ((found.scores - truth) ** 2).mean() < 0.7 * ((raw - truth) ** 2).mean()
