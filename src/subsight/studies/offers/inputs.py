"""What the questions about offers look at: plain records of the map, of the catalogue and of those served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from subsight.answers import Answer, Rows
from subsight.settings import Settings

__all__ = ["OfferInputs", "OfferQuestion", "RecommendationInputs", "RecommendationQuestion"]


@dataclass(frozen=True)
class OfferInputs:
    """What the study of offers may look at.

    Attributes:
        nodes: a row a node: `node, row, column, x, y` (steps of the grid, y downwards), `subscriber_count`,
            `neighbour_distance` (z units), `typical_bytes` (null: nobody), `traits` (text, may be empty).
        topology: `hexagonal` or `rectangular`.
        planes: by feature a value per node, in the order of `nodes`, in z units.
        history: a row an epoch: `epoch, radius, quantisation_error, movement`.
        errors: `quantisation_error, topographic_error, explained_share, row_count, population_count`.
        encoding: a row a column of the usage: `column, feature_count, scale, unseen_count, filled_count`.
        offers: a row an offer: `offer_id, price, data_bytes, margin, state, eligibility, evidence,
            buyer_count, bought_share, node_count, highest_lift`.
        choices: a row a node and rank: `node, rank, offer_id, score, lift, buyer_count, evidence,
            subscriber_count`.
        evaluation: `rows` (`policy, metric, value, low, high`), `differences` (the map less a policy:
            `policy, metric, difference, low, high`), `cut_at, held_out_count, k, left_out_count`; None
            where nothing could be held out.
        why_not_evaluated: the reason then.
        source: `usage` or `profiles`.
    """

    nodes: Rows
    topology: str
    planes: Mapping[str, Sequence[float]]
    history: Rows
    errors: Mapping[str, float]
    encoding: Rows
    offers: Rows
    choices: Rows
    evaluation: Mapping[str, Any] | None
    why_not_evaluated: str | None
    source: str
    settings: Settings


@dataclass(frozen=True)
class RecommendationInputs:
    """What the study of recommendations may look at.

    Attributes:
        funnel: the rules in order: `step, removed_pair_count` (offers taken from subscribers),
            `subscriber_count` (who still have an offer), `said`.
        outcomes: `outcome, subscriber_count`.
        offers: `offer_id, subscriber_count` (at any rank), `first_count, fallback_count, mean_score`.
        examples: rows of single subscribers: `subscriber_id, rank, offer_id, score, reason, is_fallback,
            probability`.
        value: `rows` (`policy, value, low, high, effective_count`), `response_days, shown_count,
            subscriber_count`; None until responses return.
        uplift: `rows` (`group, subscriber_count, buyer_count, buyer_share`), `difference, low, high`; None
            until responses return.
        as_of: the day for which offers were chosen.
        k: offers a subscriber may get.
    """

    funnel: Rows
    outcomes: Rows
    offers: Rows
    examples: Rows
    value: Mapping[str, Any] | None
    uplift: Mapping[str, Any] | None
    as_of: date
    k: int
    settings: Settings


@dataclass(frozen=True)
class OfferQuestion:
    """A question about the map and its offers: its id (`offers.name`), its words, and who answers it."""

    id: str
    text: str
    answer: Callable[[OfferInputs], Answer]
    filters: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RecommendationQuestion:
    """A question about who gets which offer: its id (`recommendations.name`), its words, who answers it."""

    id: str
    text: str
    answer: Callable[[RecommendationInputs], Answer]
    filters: frozenset[str] = frozenset()
