"""Studies: the questions of one area, each answered with a table, a chart and a reading in words.

A study sees tables and plain fit records, never a model class. Every number of a reading is computed
from the rows, and every claim turns when the effect turns (see `words`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.contracts import Contract
from subsight.settings import Settings
from subsight.store import Frame, Store

__all__ = ["FLOWS", "HOURS", "KINDS", "SUBSCRIBERS", "Inputs", "Question", "answer_all"]

SUBSCRIBERS: Final = frozenset(
    {"segment", "manufacturer", "handset", "engagement_cluster", "experience_cluster"}
)
"""Kinds of filter that choose subscribers: what profiles alone answer can be answered for some of them."""
HOURS: Final = frozenset({"period", "cell"})
"""Kinds of filter that choose hours and cells: for what sums of sessions by hour answer."""
FLOWS: Final = frozenset({"period", "category", "site"})
"""Kinds of filter that choose hours, categories and exporters: for what sums of flows by hour answer."""
KINDS: Final = (
    "period", "segment", "manufacturer", "handset", "engagement_cluster", "experience_cluster", "application",
    "cell", "category", "site",
)  # fmt: skip
"""Every kind of filter."""


@dataclass(frozen=True)
class Inputs:
    """What a study may look at.

    Attributes:
        sessions: canonical sessions that have a subscriber; each treated column has a `_treated` twin.
        profiles: one row per subscriber: metrics, scores and cluster numbers.
        contract: the sessions' contract with the vendor's applications.
        treatment: per treated column: `observed_count, missing_count, outlier_count, lower, upper,
            first_quartile, third_quartile, mean, median, fill` (fill is null under policies without one).
        models: fit records by name (`engagement`, `experience`, `satisfaction`, ...), as JSON values.
        quality: what ingest found: `records, accepted, rejected, without_subscriber_count, findings,
            rejects, coverage` (rows of `local_date, session_count, subscriber_count`).
        answers: answers given so far in this run, by id: the memo builds on them.
        hours: instead of sessions, where an answer is filtered by time or place: one row per local date, hour
            and maybe cell, with `session_count, subscriber_count` and per application `app_{slug}_dl_bytes`,
            `app_{slug}_ul_bytes` and `app_{slug}_subscriber_count` (those with any downlink).
        cells: beside `hours`, one row per local date and large cell, as `hours` but for uplink, and with
            `app_{slug}_even_dl_bytes` and `app_{slug}_odd_dl_square` (see `engagement.capacity_cells`).
        handsets: beside `hours`, one row per local date, `handset_manufacturer` and `handset`, which may be
            null, with `session_count, subscriber_count`.
    """

    store: Store
    sessions: Frame
    profiles: Frame
    contract: Contract
    settings: Settings
    treatment: Mapping[str, Mapping[str, Any]]
    models: Mapping[str, Mapping[str, Any]]
    quality: Mapping[str, Any]
    answers: Mapping[str, Answer] = field(default_factory=dict)
    hours: Frame | None = None
    cells: Frame | None = None
    handsets: Frame | None = None


@dataclass(frozen=True)
class Question:
    """A question of a study: its id (`study.name`), its words, and the function that answers it.

    `filters` names the kinds of filter (`KINDS`) under which the answer can be given again without refitting:
    its words must be as true of the part that is looked at.
    """

    id: str
    text: str
    answer: Callable[[Inputs], Answer]
    filters: frozenset[str] = frozenset()


def answer_all(
    questions: Sequence[Question], inputs: Inputs, told: Callable[[Answer], None] | None = None
) -> list[Answer]:
    """The answers to questions that do not build on each other, in order; `told` hears each at once.

    Two threads take turns, each with a store of its own: while one builds a query, the other's runs.
    """
    waiting = deque(enumerate(questions))
    found: dict[int, Answer] = {}

    def work(context: Inputs) -> None:
        while waiting:
            try:
                place, question = waiting.popleft()
            except IndexError:  # the other thread took the last one
                return
            found[place] = question.answer(context)
            if told:
                told(found[place])

    twin = inputs.store.twin()
    frames = {
        name: twin.adopt(frame)
        for name in ("sessions", "profiles", "hours", "cells", "handsets")
        if isinstance(frame := getattr(inputs, name), nw.LazyFrame)  # of a part of a run not all are there
    }
    with ThreadPoolExecutor(1) as other:
        second = other.submit(work, replace(inputs, store=twin, **frames))
        work(inputs)
        second.result()
    return [found[place] for place in range(len(questions))]
