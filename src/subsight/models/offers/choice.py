"""Which offers a subscriber gets: what may be given is filtered step by step, and the best of it is taken.

All draws follow from the seed and a subscriber's own number, so one subscriber alone gets what a batch gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

__all__ = ["OUTCOMES", "STEPS", "Asked", "Choices", "Policy", "choose"]

Outcome = Literal[
    "recommended", "default: too little usage", "default: nothing else may be given", "nothing may be given",
    "contact cap", "poor experience", "held out",
]  # fmt: skip
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "recommended", "default: too little usage", "default: nothing else may be given", "nothing may be given",
    "contact cap", "poor experience", "held out",
)  # fmt: skip
"""What becomes of a subscriber; the last three get nothing, whatever suits them."""

STEPS: Final = (
    "catalogue", "validity", "eligibility", "already has it", "contact cap", "margin floor", "experience",
    "hold-out", "suits the node",
)  # fmt: skip
"""The filters in their order; the first is what they begin with."""

_EXPLORES, _HOLDS_OUT, _ORDERS = 1, 2, 3
"""What a draw is for: draws for different purposes have nothing to do with each other."""
_NO_OFFER: Final = 0xFFFF_FFFF


@dataclass(frozen=True)
class Policy:
    """How offers are given.

    Attributes:
        count: offers a subscriber gets at most.
        defaults: offers of who cannot be told anything better.
        margin_floor: what an offer has to earn at least; one whose margin is unknown passes.
        least_experience: experience index (0 to 100) below which nobody is sold anything.
        contact_cap: contacts within the period from which on nobody is contacted again; 0 is no cap.
        exploration_share: of subscribers, whose offers are drawn at random to learn from.
        holdout_share: of subscribers who are offered nothing, to compare with.
        day: ordinal of the day: whose offers are drawn changes with it; who is held out does not.
    """

    count: int = 3
    defaults: tuple[str, ...] = ("F3000G100M", "F1200G50M", "F3000G200M")
    margin_floor: float = 0.0
    least_experience: float = 25.0
    contact_cap: int = 0
    exploration_share: float = 0.05
    holdout_share: float = 0.05
    seed: int = 7
    day: int = 0


@dataclass(frozen=True)
class Asked:
    """For whom offers are sought, a row each.

    Attributes:
        hashes: whole numbers that subscribers are drawn by.
        nodes: the node of each on the map, -1 where too little is known.
        experience: experience index, NaN where none was measured.
        contacts: contacts within the period of the cap.
        eligible: rows x offers, who may have what.
        held: rows x offers, who has what already.
    """

    hashes: NDArray[np.int64]
    nodes: NDArray[np.int64]
    experience: Floats
    contacts: NDArray[np.int64]
    eligible: Flags
    held: Flags


@dataclass(frozen=True)
class Choices:
    """What subscribers get: the first five have an element an offer given, in order of rows and ranks.

    Attributes:
        offers: place in the catalogue, or, from its length on, place among `outside`.
        probability: chance that the policy gives the offer at that rank.
        usable: how many offers each offer was chosen from.
        is_drawn: whether the offer was drawn at random.
        outcomes: of each row, its place in `OUTCOMES`.
        removed: offers that each of `STEPS` took from subscribers.
        left: subscribers who had at least one offer after each of `STEPS`.
        taken: rows x offers: the place in `STEPS` of what took the offer from the subscriber; 0: nothing did.
        outside: defaults that no catalogue holds.
    """

    rows: Places
    ranks: NDArray[np.int64]
    offers: Places
    probability: Floats
    usable: NDArray[np.int64]
    is_drawn: Flags
    outcomes: NDArray[np.int8]
    removed: Mapping[str, int]
    left: Mapping[str, int]
    taken: NDArray[np.int8]
    outside: tuple[str, ...]


def choose(
    policy: Policy,
    offers: Sequence[str],
    is_valid: Flags,
    margins: Floats,
    scores: Floats,
    order: Places,
    asked: Asked,
) -> Choices:
    """The offers of each row.

    Args:
        scores: nodes x offers, NaN where an offer does not suit.
        order: nodes x offers: places of the offers, best first.
    """
    capped = (asked.contacts >= policy.contact_cap) & (policy.contact_cap > 0)
    is_poor = asked.experience < policy.least_experience  # not where none was measured
    is_out = _uniform(policy.seed, asked.hashes, _HOLDS_OUT) < policy.holdout_share
    suits = np.zeros(asked.eligible.shape, np.bool_)
    suits[asked.nodes >= 0] = ~np.isnan(scores[asked.nodes[asked.nodes >= 0]])
    usable = np.ones(asked.eligible.shape, np.bool_)
    funnel = _Funnel(usable)
    for step, kept in (
        ("validity", is_valid[None, :]),
        ("eligibility", asked.eligible),
        ("already has it", ~asked.held),
        ("contact cap", ~capped[:, None]),
        ("margin floor", ~(margins < policy.margin_floor)[None, :]),
        ("experience", ~is_poor[:, None]),
        ("hold-out", ~is_out[:, None]),
    ):
        usable &= kept
        funnel.after(step, usable)
    allowed = usable.copy()  # also those that do not suit the node, for defaults
    usable &= suits
    funnel.after("suits the node", usable)
    picked = _picked(policy, order, asked, usable)
    withheld = np.select([capped, is_poor, is_out], [4, 5, 6], 0)
    outside = tuple(offer for offer in policy.defaults if offer not in offers)
    has_none = ~usable.any(axis=1) & (withheld == 0)
    fallback = _defaults(policy, offers, outside, allowed, np.flatnonzero(has_none))
    outcomes = np.where(withheld > 0, withheld, np.where(has_none, np.where(asked.nodes < 0, 1, 2), 0))
    lacks_all = np.setdiff1d(np.flatnonzero(has_none), fallback[0])
    outcomes[lacks_all] = 3
    rows, ranks, places, probability, counts, is_drawn = (
        np.concatenate(pair) for pair in zip(picked, fallback, strict=True)
    )
    by = np.lexsort((ranks, rows))
    return Choices(
        rows[by], ranks[by], places[by], probability[by], counts[by], is_drawn[by], outcomes.astype(np.int8),
        funnel.removed, funnel.left, funnel.taken, outside,
    )  # fmt: skip


class _Funnel:
    """What each filter took away, and who had something left."""

    def __init__(self, usable: Flags) -> None:
        self.removed: dict[str, int] = {}
        self.left: dict[str, int] = {}
        self.taken = np.zeros(usable.shape, np.int8)
        self.after("catalogue", usable)

    def after(self, step: str, usable: Flags) -> None:
        now = ~usable & (self.taken == 0)
        self.taken[now] = STEPS.index(step)
        self.removed[step] = int(now.sum())
        self.left[step] = int(usable.any(axis=1).sum()) if usable.shape[1] else 0


def _picked(policy: Policy, order: Places, asked: Asked, usable: Flags) -> tuple[Any, ...]:
    """Rows, ranks, places, probabilities, numbers of usable offers, and whether drawn."""
    some = np.flatnonzero(usable.any(axis=1))
    if not len(some):
        return _nothing()
    ordered = order[asked.nodes[some]]
    rows, ranks, best = _first(np.take_along_axis(usable[some], ordered, 1), ordered, policy.count)
    counts = usable[some].sum(axis=1)
    chance = _uniform(policy.seed, asked.hashes[some], _EXPLORES + 16 * policy.day)
    explores = chance < policy.exploration_share
    given, share = best.copy(), policy.exploration_share
    if explores.any():
        who = np.flatnonzero(explores)
        keys = _keys(policy, asked.hashes[some[who]], usable.shape[1])
        drawn = np.argsort(keys, axis=1, kind="stable")
        _, _, places = _first(np.take_along_axis(usable[some[who]], drawn, 1), drawn, policy.count)
        given[explores[rows]] = places
    probability = np.where(given == best, 1 - share, 0.0) + share / counts[rows]
    return some[rows], ranks, given, probability, counts[rows], explores[rows]


def _first(flags: Flags, places: Places, count: int) -> tuple[Places, NDArray[np.int64], Places]:
    """The first places whose flag is set, at most `count` a row: rows, ranks from 1, places."""
    nth = flags.cumsum(axis=1)
    rows, columns = np.nonzero(flags & (nth <= count))
    return rows, nth[rows, columns], places[rows, columns]


def _defaults(
    policy: Policy, offers: Sequence[str], outside: Sequence[str], allowed: Flags, some: Places
) -> tuple[Any, ...]:
    """The defaults of those rows, in their order: what the catalogue holds must pass the filters."""
    if not len(some) or not policy.defaults:
        return _nothing()
    known = {offer: place for place, offer in enumerate((*offers, *outside))}
    places = np.array([known[offer] for offer in policy.defaults])
    flags = np.ones((len(some), len(places)), np.bool_)
    inside = places < len(offers)
    flags[:, inside] = allowed[np.ix_(some, places[inside])]
    rows, ranks, given = _first(flags, np.broadcast_to(places, flags.shape), policy.count)
    counts = flags.sum(axis=1)[rows]
    return some[rows], ranks, given, np.ones(len(rows)), counts, np.zeros(len(rows), np.bool_)


def _nothing() -> tuple[Any, ...]:
    none = np.zeros(0, np.int64)
    return none.astype(np.intp), none, none.astype(np.intp), np.zeros(0), none, np.zeros(0, np.bool_)


# Draws: SplitMix64 (Steele, Lea and Flood 2014) of a subscriber's hash, a purpose and the seed.


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return found


def _draws(seed: int, hashes: NDArray[np.int64], purpose: int, offer: Any = _NO_OFFER) -> NDArray[np.uint64]:
    start = _mixed(np.array([((seed << 32) + purpose + 0x9E3779B97F4A7C15) % 2**64], np.uint64))
    return _mixed(_mixed(hashes.astype(np.uint64) ^ start) + np.asarray(offer, np.uint64))


def _uniform(seed: int, hashes: NDArray[np.int64], purpose: int) -> Floats:
    """A number from 0 to 1, no longer part of it, of each hash."""
    found: Floats = (_draws(seed, hashes, purpose) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


def _keys(policy: Policy, hashes: NDArray[np.int64], offers: int) -> NDArray[np.uint64]:
    """What puts the offers of each row into an order by chance."""
    purpose = _ORDERS + 16 * policy.day
    return _draws(policy.seed, hashes[:, None], purpose, np.arange(1, offers + 1)[None, :])
