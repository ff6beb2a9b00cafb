"""Micro-trends: what changed for whom since the period before, and the offer that follows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies.trends import market, offers
from subsight.studies.trends.market import TrendQuestion
from subsight.studies.trends.table import COLUMNS, Trends, changes, prepare
from subsight.studies.usage import Period, UsageInputs

__all__ = ["COLUMNS", "QUESTIONS", "Trends", "answer_all", "changes"]

QUESTIONS: Final[tuple[TrendQuestion, ...]] = (*market.QUESTIONS, *offers.QUESTIONS)


def answer_all(
    inputs: UsageInputs, told: Callable[[Answer], None] | None = None, *, rfm: Frame | None = None
) -> tuple[list[Answer], Frame | None]:
    """The answers in order, and the table `trends` (see `changes`); usage is read once, `told` hears each.

    Groups are the segments and, with the table `rfm` (`subscriber_id, rfm_group`), its target groups.
    Where the period before was not seen, every answer says which days are missing.
    """
    made = prepare(inputs, rfm)
    found = []
    for question in QUESTIONS:
        found.append(_answered(question, inputs, made))
        if told:
            told(found[-1])
    return found, None if made is None else made.people.select(*COLUMNS)


def _answered(question: TrendQuestion, inputs: UsageInputs, made: Trends | None) -> Answer:
    if made is not None:
        return question.answer(made)
    return Answer(question.id, question.text, [], (_missing(inputs),))


def _missing(inputs: UsageInputs) -> str:
    """Which days two periods would need that were not seen."""
    length = inputs.settings.period_days
    last = min(inputs.as_of, inputs.covered.last)
    first = last - timedelta(days=2 * length - 1)
    gap = Period(first, min(inputs.covered.first - timedelta(days=1), last))
    days = str(gap) if gap.days > 1 else str(gap.first)
    return (
        f"Nothing is compared: two periods of {length} days up to {last} begin on {first}, and {days} "
        f"{'were' if gap.days > 1 else 'was'} not seen."
    )
