"""Micro-trends: what changed for whom since the period before, and the offer that follows."""

from __future__ import annotations

from subsight.studies.trends.table import changes

__all__ = ["changes"]
