"""Segments: what they are, what sets them apart, how sure they are, who may leave, and who moved."""

from __future__ import annotations

from typing import Final

from subsight.studies.segments import comparison, decisions, description, movement
from subsight.studies.segments.members import SegmentInputs, SegmentQuestion

__all__ = ["QUESTIONS", "SegmentInputs", "SegmentQuestion"]

QUESTIONS: Final = (
    *description.QUESTIONS, *comparison.QUESTIONS, *decisions.QUESTIONS, *movement.QUESTIONS,
)  # fmt: skip
