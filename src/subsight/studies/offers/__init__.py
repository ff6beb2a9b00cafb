"""Next-best offers: the map of usage, what it offers, whether that is worth it, and who gets which."""

from __future__ import annotations

from typing import Final

from subsight.studies.offers import choices, evaluation, fitting, maps, recommending, returns
from subsight.studies.offers.inputs import (
    OfferInputs,
    OfferQuestion,
    RecommendationInputs,
    RecommendationQuestion,
)

__all__ = [
    "QUESTIONS",
    "RECOMMENDATION_QUESTIONS",
    "OfferInputs",
    "OfferQuestion",
    "RecommendationInputs",
    "RecommendationQuestion",
]

QUESTIONS: Final[tuple[OfferQuestion, ...]] = (
    *maps.QUESTIONS, *fitting.QUESTIONS, *choices.QUESTIONS, *evaluation.QUESTIONS,
)  # fmt: skip
RECOMMENDATION_QUESTIONS: Final[tuple[RecommendationQuestion, ...]] = (
    *recommending.QUESTIONS, *returns.QUESTIONS,
)  # fmt: skip
