"""Offers of a run whose report nobody reads: the same tables and answers, and no charts are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from subsight import Insight, pipeline
from subsight.results import Results
from subsight.simulate import SimulatedOffers

__all__ = ["DAY", "ingested", "recommend_all", "train_offers"]

DAY = "2026-06-01"
"""The day after the purchases of a simulated market end."""


def ingested(path: Path, market: SimulatedOffers, **settings: Any) -> Insight:
    """A workspace with a market's usage, offers and purchases."""
    insight = Insight.open(path, as_of=DAY, **settings)
    for kind in ("usage", "offers", "purchases"):
        insight.ingest(getattr(market, kind), kind=kind)
    return insight


def _undrawn(_spec: str) -> str:
    return "<svg/>"


def recommend_all(insight: Insight) -> Results:
    """As `Insight.recommend_all`."""
    return Results(pipeline.recommend(insight.workspace, insight.settings, draw=_undrawn))


def train_offers(insight: Insight) -> Results:
    """As `Insight.train_offers`."""
    return Results(pipeline.train_offers(insight.workspace, insight.settings, draw=_undrawn))
