"""Which offers a subscriber gets, by hand: every filter, defaults, chance and what is held back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from subsight.models.offers.choice import OUTCOMES, Asked, Choices, Policy, choose

OFFERS = ("A", "B", "C", "D")
SCORES = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, np.nan, 0.3, np.nan]])
ORDER = np.array([[0, 1, 2, 3], [2, 0, 1, 3]])
CERTAIN = Policy(count=2, defaults=("B", "Z"), exploration_share=0, holdout_share=0)


def asked(rows: int, **given: Any) -> Asked:
    every = {
        "hashes": np.arange(rows),
        "nodes": np.zeros(rows, np.int64),
        "experience": np.full(rows, np.nan),
        "contacts": np.zeros(rows, np.int64),
        "eligible": np.ones((rows, 4), bool),
        "held": np.zeros((rows, 4), bool),
    }
    made = {name: np.asarray(value, every[name].dtype) for name, value in given.items()}
    return Asked(**{**every, **made})


def chosen(policy: Policy, who: Asked, **given: Any) -> Choices:
    every = {"is_valid": np.ones(4, bool), "margins": np.full(4, np.nan), "scores": SCORES, "order": ORDER}
    return choose(policy, OFFERS, asked=who, **{**every, **given})


def given_to(found: Choices, row: int) -> list[str]:
    names = (*OFFERS, *found.outside)
    return [names[offer] for at, offer in zip(found.rows, found.offers, strict=True) if at == row]


def outcomes(found: Choices) -> list[str]:
    return [OUTCOMES[one] for one in found.outcomes]


def test_the_best_of_each_node_in_its_order() -> None:
    found = chosen(CERTAIN, asked(3, nodes=[0, 1, 0]))
    assert [given_to(found, row) for row in range(3)] == [["A", "B"], ["C", "A"], ["A", "B"]]
    assert found.ranks.tolist() == [1, 2, 1, 2, 1, 2]
    assert found.probability.tolist() == [1.0] * 6
    assert found.usable.tolist() == [4, 4, 2, 2, 4, 4]
    assert outcomes(found) == ["recommended"] * 3


def test_filters_take_in_order_and_count_what_they_take() -> None:
    who = asked(
        5,
        nodes=[0, 0, 0, 0, 1],
        eligible=[[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
        held=[[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        contacts=[0, 0, 2, 0, 1],
        experience=[np.nan, 25.0, 80.0, 24.9, 60.0],
    )
    policy = replace(CERTAIN, contact_cap=2, margin_floor=0.0)
    found = chosen(
        policy, who, is_valid=np.array([False, True, True, True]), margins=np.array([5, np.nan, 0, -1])
    )
    # A is over, D loses money; row 0 may not have B, row 1 has it, row 2 was contacted twice, row 3 is poor.
    assert [given_to(found, row) for row in range(5)] == [["C"], ["C"], [], [], ["C"]]
    assert outcomes(found) == ["recommended", "recommended", "contact cap", "poor experience", "recommended"]
    assert found.removed == {
        "catalogue": 0, "validity": 5, "eligibility": 1, "already has it": 1, "contact cap": 3,
        "margin floor": 4, "experience": 2, "hold-out": 0, "suits the node": 1,
    }  # fmt: skip
    # What took which offer: 1 validity, 2 eligibility, 3 has it, 4 cap, 5 margin, 6 experience, 8 the node.
    assert found.taken.tolist() == [
        [1, 2, 0, 5], [1, 3, 0, 5], [1, 4, 4, 4], [1, 6, 6, 5], [1, 8, 0, 5],
    ]  # fmt: skip
    assert found.left == {
        "catalogue": 5, "validity": 5, "eligibility": 5, "already has it": 5, "contact cap": 4,
        "margin floor": 4, "experience": 3, "hold-out": 3, "suits the node": 3,
    }  # fmt: skip


def test_defaults_where_too_little_is_known_or_nothing_else_may_be_given() -> None:
    who = asked(3, nodes=[-1, 1, -1], held=[[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0]])
    found = chosen(CERTAIN, who)
    # B, of the catalogue, has to pass the filters; Z, of which nothing is known, is given.
    assert [given_to(found, row) for row in range(3)] == [["B", "Z"], ["B", "Z"], ["Z"]]
    assert found.probability.tolist() == [1.0] * 5
    assert outcomes(found) == [
        "default: too little usage", "default: nothing else may be given", "default: too little usage",
    ]  # fmt: skip


def test_where_all_is_over_nothing_is_given_but_defaults_of_no_catalogue() -> None:
    over = np.zeros(4, bool)
    assert given_to(chosen(CERTAIN, asked(1), is_valid=over), 0) == ["Z"]
    found = chosen(replace(CERTAIN, defaults=("B",)), asked(1), is_valid=over)
    assert given_to(found, 0) == []
    assert outcomes(found) == ["nothing may be given"]


def test_without_a_catalogue_there_are_the_defaults() -> None:
    none = np.zeros((2, 0))
    who = asked(2, eligible=none.astype(bool), held=none.astype(bool))
    found = choose(CERTAIN, (), np.zeros(0, bool), np.zeros(0), none, none.astype(np.intp), who)
    assert found.outside == ("B", "Z")
    assert found.offers.tolist() == [0, 1, 0, 1]
    assert found.left["catalogue"] == 0


def test_one_alone_gets_what_a_batch_gives() -> None:
    policy = replace(CERTAIN, exploration_share=0.5, holdout_share=0.2)
    rng = np.random.default_rng(3)
    hashes, nodes = rng.integers(0, 2**52, 300), rng.integers(0, 2, 300)
    together = chosen(policy, asked(300, hashes=hashes, nodes=nodes))
    for row in range(300):
        alone = chosen(policy, asked(1, hashes=hashes[[row]], nodes=nodes[[row]]))
        mine = together.rows == row
        assert alone.offers.tolist() == together.offers[mine].tolist()
        assert alone.probability.tolist() == together.probability[mine].tolist()
        assert alone.outcomes[0] == together.outcomes[row]


def test_the_logged_probability_is_how_often_an_offer_is_given_at_a_rank() -> None:
    policy = replace(CERTAIN, exploration_share=0.4)
    days = 4_000
    seen: dict[tuple[int, int], int] = {}
    told: dict[tuple[int, int], float] = {}
    for day in range(days):
        found = chosen(replace(policy, day=day), asked(1, hashes=[987_654_321]))
        for rank, offer, chance in zip(found.ranks, found.offers, found.probability, strict=True):
            seen[rank, offer] = seen.get((rank, offer), 0) + 1
            told[rank, offer] = chance
    assert told[1, 0] == pytest.approx(0.6 + 0.4 / 4)
    assert told[2, 0] == pytest.approx(0.4 / 4)
    assert len(told) == 8
    for key, chance in told.items():
        error = 4 * np.sqrt(chance * (1 - chance) / days)
        assert seen[key] / days == pytest.approx(chance, abs=error)


def test_who_is_held_out_stays_so_and_is_the_share_asked_for() -> None:
    policy = replace(CERTAIN, holdout_share=0.1)
    who = asked(20_000, hashes=np.random.default_rng(1).integers(0, 2**52, 20_000))
    one, other = (chosen(replace(policy, day=day), who).outcomes for day in (1, 2))
    assert (one == other).all()
    assert np.mean(one == OUTCOMES.index("held out")) == pytest.approx(0.1, abs=0.01)
    another = chosen(replace(policy, seed=8), who).outcomes
    both = np.mean((one == 6) & (another == 6))
    assert both == pytest.approx(0.01, abs=0.004)  # of another seed, others


@pytest.mark.parametrize("seed", [1 << 31, 2_000_000_000, 1 << 40])
def test_any_seed_draws(seed: int) -> None:
    policy = replace(CERTAIN, seed=seed, holdout_share=0.5, exploration_share=0.5)
    found = chosen(policy, asked(2_000))
    assert np.mean(found.outcomes == OUTCOMES.index("held out")) == pytest.approx(0.5, abs=0.05)
