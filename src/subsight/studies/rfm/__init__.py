"""Subscribers scored by recency, frequency and usage, and the target groups that the scores make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies.rfm import answers
from subsight.studies.rfm.scores import COLUMNS, Cuts, RfmInputs, prepare, scored
from subsight.studies.usage import UsageInputs, UsageQuestion

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
    for question in answers.QUESTIONS:
        found.append(question.answer(made))
        if told:
            told(found[-1])
    return found, made.people.select(*COLUMNS)


def _alone(answer: Callable[[RfmInputs], Answer]) -> Callable[[UsageInputs], Answer]:
    return lambda inputs: answer(prepare(inputs))


QUESTIONS: Final = tuple(UsageQuestion(one.id, one.text, _alone(one.answer)) for one in answers.QUESTIONS)
"""Each reads the usage anew: of several, `answer_all`."""
