"""Offers per node of a map: from what its subscribers bought, from a list that is given, or from allowances.

Nothing here depends on how the map was trained: a catalogue or a history that changed needs no other map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from subsight.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Counts = NDArray[np.int64]

__all__ = ["NO_EVIDENCE", "Evidence", "NodeOffers", "by_allowance", "by_mapping", "by_purchases"]

Evidence = Literal["purchases", "mapping", "rule, no evidence"]
NO_EVIDENCE: Final[Evidence] = "rule, no evidence"

PRIOR: Final = 50.0
"""Subscribers with everybody's habits that stand beside a node's own: they hold small counts back."""
ENOUGH: Final = 200
"""Subscribers up to which a node borrows from its neighbours."""
_SHORT: Final = 0.5
"""What an allowance is worth that does not cover the typical volume, against one that covers it as nearly."""


@dataclass(frozen=True)
class NodeOffers:
    """How well each offer suits each node.

    Attributes:
        offers: offer ids, in the order of the columns.
        scores: nodes x offers; higher suits better, NaN does not suit. Of purchases the expected share of
            a node's subscribers who buy the offer; else a rank that is no probability.
        lift: nodes x offers: the share over that of everybody; NaN where nobody bought it anywhere.
        buyers: nodes x offers: subscribers of the node itself who bought it.
        evidence: by offer, what the scores rest on.
    """

    offers: tuple[str, ...]
    scores: Matrix
    lift: Matrix
    buyers: Counts
    evidence: tuple[Evidence, ...]

    def ranked(self) -> NDArray[np.intp]:
        """Offers of each node, best first: those with evidence before those without, ties in their order."""
        has_none = np.array([found == NO_EVIDENCE for found in self.evidence])
        worth = np.where(np.isnan(self.scores), -np.inf, self.scores)
        found: NDArray[np.intp] = np.lexsort((-worth, np.broadcast_to(has_none, worth.shape)), axis=1)
        return found


def by_purchases(
    offers: Sequence[str],
    sizes: Counts,
    buyers: Counts,
    neighbours: NDArray[np.bool_],
    allowances: NodeOffers,
    *,
    prior: float = PRIOR,
    enough: int = ENOUGH,
) -> NodeOffers:
    """Shares of buyers, smoothed towards everybody's and, where a node is thin, towards its neighbours'.

    A node with fewer than `enough` subscribers takes as much of its neighbours as it needs to have so many.
    `prior` subscribers who buy as everybody does are added to each node (empirical Bayes; Efron and Morris
    1975). An offer that nobody bought yet keeps what `allowances` says, without evidence.

    Args:
        sizes: subscribers by node, those who bought nothing included.
        buyers: nodes x offers: distinct subscribers who bought the offer.
        neighbours: nodes x nodes, true beside each other.
        allowances: the same offers by `by_allowance`.

    Raises:
        InputError: no node has any subscriber.
    """
    if not sizes.sum():
        raise InputError("offers cannot be told from purchases", found="a map without subscribers")
    everybody = buyers.sum(axis=0) / sizes.sum()
    beside = neighbours.astype(np.float64)
    room = beside @ sizes
    lent = np.divide(np.clip(enough - sizes, 0, None), room, out=np.zeros(len(sizes)), where=room > 0)
    lent = np.minimum(lent, 1.0)
    bought = buyers + lent[:, None] * (beside @ buyers)
    among = (sizes + lent * room)[:, None]
    share = (bought + prior * everybody) / (among + prior)
    is_known = everybody > 0
    lift = np.divide(share, everybody, out=np.full(share.shape, np.nan), where=is_known)
    evidence: tuple[Evidence, ...] = tuple("purchases" if known else NO_EVIDENCE for known in is_known)
    scores = np.where(is_known, share, allowances.scores)
    return NodeOffers(tuple(offers), scores, lift, buyers, evidence)


def by_mapping(offers: Sequence[str], nodes: int, given: Mapping[int, Sequence[str]]) -> NodeOffers:
    """What a file says of nodes, best first: scores are 1, 1/2, 1/3, ...; other offers do not suit.

    Raises:
        ConfigurationError: a node that is not on the map, or an offer that is not in the catalogue.
    """
    places = {offer: i for i, offer in enumerate(offers)}
    unknown_nodes = [node for node in given if not 0 <= node < nodes]
    unknown = sorted({offer for listed in given.values() for offer in listed} - places.keys())
    if unknown_nodes or unknown:
        raise ConfigurationError(
            "the mapping of nodes to offers does not fit",
            found=", ".join([*(f"node {node}" for node in unknown_nodes[:5]), *unknown[:5]]),
            expected=f"nodes 0 to {nodes - 1} and offers of the catalogue",
            do="name nodes as the table of offers.map does, or ingest the offers",
        )
    scores = np.full((nodes, len(offers)), np.nan)
    for node, listed in given.items():
        for rank, offer in enumerate(dict.fromkeys(listed), 1):
            scores[node, places[offer]] = 1 / rank
    return _untold(offers, scores, "mapping")


def by_allowance(offers: Sequence[str], allowances: Matrix, volumes: Matrix) -> NodeOffers:
    """How nearly an offer's allowance covers a node's typical volume: a rule, which nothing has proved.

    An allowance that covers the volume scores volume / allowance, one that does not half of allowance /
    volume; an offer without an allowance, or a node without volume, does not suit.

    Args:
        allowances: `data_bytes` by offer, NaN where there is none.
        volumes: typical bytes by node in the period that an allowance is for, NaN where unknown.
    """
    allowed, used = np.broadcast_arrays(allowances[None, :], volumes[:, None])
    is_usable = (allowed > 0) & (used > 0)
    ratio: Any = np.divide(used, allowed, out=np.full(allowed.shape, np.nan), where=is_usable)
    scores = np.where(ratio <= 1, ratio, _SHORT / ratio)
    return _untold(offers, scores, NO_EVIDENCE)


def _untold(offers: Sequence[str], scores: Matrix, evidence: Evidence) -> NodeOffers:
    """Scores of which no purchase tells anything."""
    nobody = np.zeros(scores.shape, np.int64)
    lift = np.full(scores.shape, np.nan)
    return NodeOffers(tuple(offers), scores, lift, nobody, tuple(evidence for _ in offers))
