"""Traffic: what the network carries, by whom it is used, and how much of it has a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies.traffic import classified, rates, volumes
from subsight.studies.traffic.totals import TrafficInputs, TrafficQuestion, prepare
from subsight.studies.usage import UsageInputs

__all__ = ["QUESTIONS", "TrafficInputs", "TrafficQuestion", "answer_all", "prepare"]

QUESTIONS: Final[tuple[TrafficQuestion, ...]] = (
    *volumes.QUESTIONS, *rates.QUESTIONS, *classified.QUESTIONS,
)  # fmt: skip


def answer_all(inputs: UsageInputs, told: Callable[[Answer], None] | None = None) -> tuple[list[Answer], Any]:
    """The study's answers in order, `told` of each; it publishes no table of its own."""
    made, answers = prepare(inputs), []
    for question in QUESTIONS:
        answers.append(question.answer(made))
        if told:
            told(answers[-1])
    return answers, None
