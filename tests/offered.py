"""Hand-made inputs of the studies of offers and recommendations: a small map, a catalogue, who gets what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from subsight.settings import Settings
from subsight.studies.offers import OfferInputs, RecommendationInputs

__all__ = ["evaluation", "node_rows", "offer_inputs", "recommendation_inputs"]

CATALOGUE = ("popular", "video", "games")


def node_rows(counts: Sequence[int], columns: int, topology: str = "hexagonal") -> list[dict[str, Any]]:
    """Nodes in rows of `columns`, each with so many subscribers."""
    found = []
    for node, count in enumerate(counts):
        row, column = divmod(node, columns)
        is_hexagonal = topology == "hexagonal"
        found.append(
            {
                "node": node, "row": row, "column": column,
                "x": column + 0.5 * (row % 2) * is_hexagonal,
                "y": row * (math.sqrt(0.75) if is_hexagonal else 1.0),
                "subscriber_count": count, "neighbour_distance": 1.0 + 0.1 * node,
                "typical_bytes": 1e9 if count else None, "traits": f"trait {node}" if count else "",
            }
        )  # fmt: skip
    return found


def offer(offer_id: str, buyers: int = 100, nodes: int = 1, **more: Any) -> dict[str, Any]:
    """A valid offer of the catalogue."""
    return {
        "offer_id": offer_id, "price": 1000.0, "data_bytes": 1e9, "margin": 0.2, "state": "valid",
        "eligibility": None, "evidence": "purchases" if buyers else "rule, no evidence",
        "buyer_count": buyers, "bought_share": buyers / 1000, "node_count": nodes, "highest_lift": 2.0,
        **more,
    }  # fmt: skip


def choice(node: Mapping[str, Any], rank: int, offer_id: str, **more: Any) -> dict[str, Any]:
    """A node's offer at a rank."""
    return {
        "node": node["node"], "rank": rank, "offer_id": offer_id, "score": 0.2 / rank, "lift": 3.0 / rank,
        "buyer_count": 20, "evidence": "purchases", "subscriber_count": node["subscriber_count"], **more,
    }  # fmt: skip


def evaluation(low: float, high: float, held_out: int = 500, k: int = 3) -> dict[str, Any]:
    """An evaluation in which the map's hit rate less popularity's has that interval, and beats the rest."""
    middle = (low + high) / 2
    rates = {"map": 0.2 + middle, "popularity": 0.2, "nearest neighbours": 0.1, "random": 0.05}
    others = {"ndcg": 0.1, "coverage": 0.5, "popularity_bias": 0.3}
    rows = [
        {"policy": policy, "metric": metric, "value": value, "low": value - 0.02, "high": value + 0.02}
        for metric, values in {
            "hit_rate": rates,
            **{metric: dict.fromkeys(rates, value) for metric, value in others.items()},
        }.items()
        for policy, value in values.items()
    ]
    gaps = [
        {"policy": "popularity", "metric": "hit_rate", "difference": middle, "low": low, "high": high},
        {"policy": "nearest neighbours", "metric": "hit_rate", "difference": 0.1, "low": 0.05, "high": 0.15},
        {"policy": "random", "metric": "hit_rate", "difference": 0.15, "low": 0.1, "high": 0.2},
        {"policy": "popularity", "metric": "ndcg", "difference": -0.05, "low": -0.1, "high": -0.01},
        {"policy": "random", "metric": "ndcg", "difference": 0.05, "low": 0.01, "high": 0.1},
    ]
    return {
        "rows": rows, "differences": gaps, "cut_at": datetime(2024, 3, 2, tzinfo=UTC),
        "held_out_count": held_out, "k": k, "left_out_count": 7,
    }  # fmt: skip


def offer_inputs(counts: Sequence[int] = (100, 50, 0, 30), columns: int = 2, **more: Any) -> OfferInputs:
    """The study's inputs on a map of those counts; `video` comes first in the first node, else `popular`."""
    topology = more.get("topology", "hexagonal")
    nodes = node_rows(counts, columns, topology)
    count = len(nodes)
    given: dict[str, Any] = {
        "nodes": nodes,
        "topology": topology,
        "planes": {
            "applications=YouTube": [float(i) for i in range(count)],
            "dl_bytes": [0.5 * i for i in range(count)],
            "ul_bytes": [1.0] * count,
        },
        "history": [
            {"epoch": i, "radius": 3.0 - i, "quantisation_error": error, "movement": 0.5 / (i + 1)}
            for i, error in enumerate((4.0, 2.0, 1.995))
        ],
        "errors": {
            "quantisation_error": 1.5, "topographic_error": 0.03, "explained_share": 0.62,
            "row_count": float(sum(counts)), "population_count": float(sum(counts)),
        },
        "encoding": [
            {"column": "applications", "feature_count": 24, "scale": "0 or 1", "unseen_count": 12,
             "filled_count": 0},
            {"column": "dl_bytes", "feature_count": 1, "scale": "log", "unseen_count": 0, "filled_count": 3},
        ],
        "offers": [offer("popular", 300, 2), offer("video", 100, 1), offer("games", 0, 0)],
        "choices": [
            row
            for node in nodes
            for row in (
                choice(node, 1, "popular" if node["node"] else "video"),
                choice(node, 2, "video" if node["node"] else "popular"),
                choice(node, 3, "games", lift=None, buyer_count=0, evidence="rule, no evidence"),
            )
        ],
        "evaluation": evaluation(0.02, 0.08),
        "why_not_evaluated": None,
        "source": "usage",
        "settings": Settings(),
    }  # fmt: skip
    return OfferInputs(**{**given, **more})


def recommendation_inputs(**more: Any) -> RecommendationInputs:
    """The study's inputs of 1000 subscribers."""
    given: dict[str, Any] = {
        "funnel": [
            {"step": step, "removed_pair_count": removed, "subscriber_count": left, "said": said}
            for step, removed, left, said in (
                ("catalogue", 0, 1000, ""),
                ("validity", 2000, 1000, "on 2 March 2024"),
                ("eligibility", 500, 990, "as the catalogue says"),
                ("already has it", 300, 950, "bought before"),
                ("contact cap", 0, 950, "at most 2 in 30 days"),
                ("experience", 700, 800, "experience index below 25; 120 not measured pass"),
                ("hold-out", 400, 700, "a tenth gets nothing"),
            )
        ],
        "outcomes": [
            {"outcome": outcome, "subscriber_count": count}
            for outcome, count in (
                ("recommended", 600), ("defaults: too little usage", 100), ("held out", 100),
                ("poor experience", 150), ("nothing may be offered", 50),
            )
        ],
        "offers": [
            {"offer_id": "popular", "subscriber_count": 500, "first_count": 200, "fallback_count": 100,
             "mean_score": 0.1},
            {"offer_id": "video", "subscriber_count": 600, "first_count": 300, "fallback_count": 0,
             "mean_score": 0.2},
            {"offer_id": "games", "subscriber_count": 400, "first_count": 200, "fallback_count": 50,
             "mean_score": 0.3},
        ],
        "examples": [
            {"subscriber_id": f"{i:032x}", "rank": 1, "offer_id": "video", "score": 0.2,
             "reason": "more Netflix than others; bought 3 times as often there", "is_fallback": i == 0,
             "probability": 0.9}
            for i in range(4)
        ],
        "value": None,
        "uplift": None,
        "as_of": date(2024, 3, 2),
        "k": 3,
        "settings": Settings(),
    }  # fmt: skip
    return RecommendationInputs(**{**given, **more})
