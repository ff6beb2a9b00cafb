"""Subscribers scored by recency, frequency and usage, and the target groups that the scores make."""

from __future__ import annotations

from subsight.studies.rfm.scores import Cuts, scored

__all__ = ["Cuts", "scored"]
