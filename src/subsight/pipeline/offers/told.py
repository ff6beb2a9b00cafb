"""What the studies of offers are told: the map and its offers as plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subsight.models.offers.recommender import Recommender
from subsight.models.som import records
from subsight.pipeline.offers.holdout import Judged
from subsight.pipeline.offers.members import Usage
from subsight.pipeline.offers.remapping import Counted
from subsight.settings import Settings
from subsight.studies.offers import OfferInputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["offer_inputs"]

_RANKS: Final = 3


def offer_inputs(
    recommender: Recommender,
    usage: Usage,
    count: Counted,
    totals: Mapping[str, int],
    judged: Judged,
    settings: Settings,
) -> OfferInputs:
    """The map, its offers and how they were judged, for the questions about them.

    Args:
        totals: over everybody on the map, `unseen_` and `filled_` by column of the usage.
    """
    record, fit = recommender.record, recommender.record["fit"]
    return OfferInputs(
        nodes=_nodes(recommender, count),
        topology=record["parameters"]["map"]["topology"],
        planes=dict(
            zip(record["features"], np.asarray(record["parameters"]["weights"]).T.tolist(), strict=True)
        ),
        history=fit["history"],
        errors={
            "quantisation_error": fit["quantisation_error"],
            "topographic_error": fit["topographic_error"],
            "explained_share": fit["explained"],
            "row_count": fit["rows"],
            "population_count": int(count.sizes.sum()),
        },
        encoding=_encoding(record["encoding"], totals),
        offers=_offers(recommender, count),
        choices=_choices(recommender),
        evaluation=judged.evaluation,
        why_not_evaluated=judged.why_not,
        source=usage.source,
        settings=settings,
    )


def _nodes(recommender: Recommender, count: Counted) -> list[dict[str, Any]]:
    table = records.nodes(recommender.record)
    names = ("node", "row", "column", "x", "y", "neighbour_distance")
    rows = [
        dict(zip(names, values, strict=True))
        for values in zip(*(table[n].tolist() for n in names), strict=True)
    ]
    volumes = recommender.volumes
    for row, size, volume, words in zip(rows, count.sizes, volumes, recommender.traits.words, strict=True):
        row["subscriber_count"] = int(size)
        row["typical_bytes"] = None if np.isnan(volume) else float(volume)
        row["traits"] = ", ".join(words)
    return rows


def _encoding(learned: Mapping[str, Any], totals: Mapping[str, int]) -> list[dict[str, Any]]:
    lists, numbers = learned["lists"], learned["numbers"]
    return [
        {
            "column": name,
            "feature_count": len(lists[name]) if name in lists else 1,
            "scale": "0 or 1" if name in lists else "log" if numbers[name]["is_log"] else "as it is",
            "unseen_count": totals.get(f"unseen_{name}", 0),
            "filled_count": totals.get(f"filled_{name}", 0),
        }
        for name in (*lists, *numbers)
    ]


def _offers(recommender: Recommender, count: Counted) -> list[dict[str, Any]]:
    catalogue, offered = recommender.catalogue, recommender.offered
    states = catalogue.states(recommender.at)
    firsts = _firsts(recommender)
    everybody = max(int(count.sizes.sum()), 1)
    on_map = count.buyers.sum(axis=0)
    return [
        {
            **{name: row[name] for name in ("offer_id", "price", "data_bytes", "margin")},
            "state": states[i],
            "eligibility": row["eligibility"],
            "evidence": offered.evidence[i],
            "buyer_count": int(count.bought[i]),
            "bought_share": float(on_map[i] / everybody),
            "node_count": int((firsts == i).sum()),
            "highest_lift": _highest(offered.lift[:, i]),
        }
        for i, row in enumerate(catalogue.rows)
    ]


def _highest(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmax(values))


def _usable(recommender: Recommender) -> NDArray[np.bool_]:
    """Offers that may be given to anybody at all: what depends on the subscriber is left aside."""
    states = recommender.catalogue.states(recommender.at)
    is_valid = np.array([state == "valid" for state in states], np.bool_)
    return is_valid & ~(recommender.catalogue.numbers("margin") < recommender.policy.margin_floor)


def _ranked(recommender: Recommender) -> list[list[int]]:
    usable, scores = _usable(recommender), recommender.offered.scores
    return [
        [offer for offer in order if usable[offer] and not np.isnan(scores[node, offer])]
        for node, order in enumerate(recommender.order.tolist())
    ]


def _firsts(recommender: Recommender) -> NDArray[np.int64]:
    return np.array([found[0] if found else -1 for found in _ranked(recommender)], np.int64)


def _choices(recommender: Recommender) -> list[dict[str, Any]]:
    offered, sizes = recommender.offered, recommender.sizes
    return [
        {
            "node": node,
            "rank": rank,
            "offer_id": offered.offers[offer],
            "score": float(offered.scores[node, offer]),
            "lift": None if np.isnan(offered.lift[node, offer]) else float(offered.lift[node, offer]),
            "buyer_count": int(offered.buyers[node, offer]),
            "evidence": offered.evidence[offer],
            "subscriber_count": int(sizes[node]),
        }
        for node, found in enumerate(_ranked(recommender))
        for rank, offer in enumerate(found[:_RANKS], 1)
    ]


def totals_of(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Sums as whole numbers: of no rows they are null."""
    return {name: int(row[name] or 0) for name in names}
