"""Subscribers scored by recency, frequency and usage, and the target groups that the scores make."""

from __future__ import annotations

from collections.abc import Callable

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies.rfm.answers import QUESTIONS
from subsight.studies.rfm.scores import COLUMNS, Cuts, RfmInputs, prepare, scored
from subsight.studies.usage import UsageInputs

__all__ = ["COLUMNS", "QUESTIONS", "Cuts", "RfmInputs", "answer_all", "scored"]


def answer_all(
    inputs: UsageInputs, told: Callable[[Answer], None] | None = None
) -> tuple[list[Answer], Frame]:
    """The answers in order, and the table `rfm` (see `scored`); usage is read once, `told` hears each.

    Raises:
        ConfigurationError: as `scored`.
    """
    made = prepare(inputs)
    found = []
    for question in QUESTIONS:
        found.append(question.answer(made))
        if told:
            told(found[-1])
    return found, made.people.select(*COLUMNS)
