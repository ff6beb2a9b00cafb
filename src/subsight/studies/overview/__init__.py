"""Overview: who and what the records hold, before any model.

Handsets, what subscribers use in all, every variable's centre, spread and shape, how applications
relate, and what the extract covers. Statistics stand raw and treated side by side; totals, deciles,
correlation and components are on raw sums per subscriber.
"""

from __future__ import annotations

from typing import Final

from subsight.studies import Question
from subsight.studies.overview.applications import QUESTIONS as _APPLICATIONS
from subsight.studies.overview.coverage import QUESTIONS as _COVERAGE
from subsight.studies.overview.handsets import QUESTIONS as _HANDSETS
from subsight.studies.overview.shapes import QUESTIONS as _SHAPES
from subsight.studies.overview.subscribers import QUESTIONS as _SUBSCRIBERS
from subsight.studies.overview.variables import QUESTIONS as _VARIABLES

__all__ = ["QUESTIONS"]

QUESTIONS: Final[tuple[Question, ...]] = (
    *_COVERAGE, *_HANDSETS, *_SUBSCRIBERS, *_VARIABLES, *_SHAPES, *_APPLICATIONS,
)  # fmt: skip
"""Every question of the study, in the order in which a report asks them."""
