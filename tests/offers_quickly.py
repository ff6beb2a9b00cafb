"""Offers of a run whose report nobody reads: the same tables and answers, and no charts are drawn."""

from __future__ import annotations

from subsight import Insight, pipeline
from subsight.results import Results

__all__ = ["recommend_all", "train_offers"]


def _undrawn(_spec: str) -> str:
    return "<svg/>"


def recommend_all(insight: Insight) -> Results:
    """As `Insight.recommend_all`."""
    return Results(pipeline.recommend(insight.workspace, insight.settings, draw=_undrawn))


def train_offers(insight: Insight) -> Results:
    """As `Insight.train_offers`."""
    return Results(pipeline.train_offers(insight.workspace, insight.settings, draw=_undrawn))
