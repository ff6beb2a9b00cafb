"""The one way to a filtered answer: the study's own function over the part of a run that is looked at.

Filters of subscribers choose rows of the published profiles, which are scored by the run's fit records;
filters by time, place and application choose rows of the hours summed at publish. Nothing is fitted anew,
and sessions, which are no part of a run, are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from subsight.answers import Answer
from subsight.errors import FilterError
from subsight.pipeline import parts, sessions
from subsight.pipeline.filters import Choice, Filters, choices
from subsight.results import Results, respectful
from subsight.store import Store, open_store
from subsight.studies import KINDS, SUBSCRIBERS, Inputs, Question, answer_all, peaks, segments, traffic
from subsight.studies.peaks import PeaksQuestion
from subsight.studies.segments import SegmentQuestion
from subsight.studies.traffic import TrafficQuestion

__all__ = ["Choice", "Filters", "answer", "answers", "choices", "filterable", "why_not"]

Told = Callable[[str, Answer | FilterError], None]
_Way = Callable[[Store, Results, Filters], tuple[Any, str]]
_FIRST: Final = frozenset({"overview.times", "engagement.capacity_hours"})
"""What sums by hour answer as they were at first, such as those of a run that was published long ago."""
_Question = Question | SegmentQuestion | TrafficQuestion | PeaksQuestion


def filterable(question: str) -> frozenset[str]:
    """The kinds of filter under which a question can be answered again; none where it cannot be."""
    known = _questions().get(question)
    return known.filters if known else frozenset()


def why_not(question: str, kinds: Iterable[str]) -> str:
    """Why a question cannot be answered under these kinds of filter, as a clause; empty where it can."""
    chosen, allowed = frozenset(kinds), filterable(question)
    refused = chosen - allowed
    if not refused:
        both = chosen & SUBSCRIBERS and chosen - SUBSCRIBERS
        return "sums by hour do not say whose they are, and profiles do not say when or where" if both else ""
    if not allowed:
        return (
            "it is read from records or from a fit, and a filter neither reads the one nor repeats the other"
        )
    if refused & SUBSCRIBERS and not allowed & SUBSCRIBERS:
        return "it is told from sums by hour, which do not say whose they are"
    if allowed <= SUBSCRIBERS:
        return "it is told from profiles, which do not say when or where"
    return "it can be filtered by " + ", ".join(kind.replace("_", " ") for kind in KINDS if kind in allowed)


def answer(
    run: Path, question: str, filters: Filters, *, engine: str = "duckdb", memory: str = "1GB"
) -> Answer:
    """A run's answer to a question, for the part that the filters leave; small groups are suppressed.

    Without filters it is the published one.

    Raises:
        NotFoundError: the run has no such answer.
        FilterError: the question cannot be filtered so, a value is unknown, or too few subscribers are left.
    """
    found = answers(run, [question], filters, engine=engine, memory=memory)[question]
    if isinstance(found, FilterError):
        raise found
    return found


def answers(
    run: Path,
    questions: Iterable[str],
    filters: Filters,
    told: Told | None = None,
    *,
    engine: str = "duckdb",
    memory: str = "1GB",
) -> dict[str, Answer | FilterError]:
    """As `answer`, to several questions by id: which part is looked at is found out once for all of them.

    In the place of an answer that cannot be given is the error that says why. `told` hears the id and the
    answer, or the error, of each question as soon as it is there, in one of two threads.

    Raises:
        NotFoundError: the run has no such answer.
    """
    results, kinds = Results(run), filters.kinds()
    found: dict[str, Answer | FilterError] = {}
    asked: dict[_Way, list[Any]] = {}

    def tell(id: str, one: Answer | FilterError) -> None:
        found[id] = one
        if told:
            told(id, one)

    published = _published(results, questions)
    for id, own in published.items():
        if not kinds:
            tell(id, own)
        elif refused := _refusal(id, kinds):
            tell(id, refused)
        else:
            known = _questions()[id]
            asked.setdefault(_way(known, kinds), []).append(known)
    if asked:
        with open_store(engine, memory=memory) as store:
            for way, some in asked.items():
                _ask(store, results, filters, way, some, tell)
    return {id: found[id] for id in published}


def _published(results: Results, questions: Iterable[str]) -> dict[str, Answer]:
    """The published answers by id; a study is read once."""
    wanted = tuple(dict.fromkeys(questions))
    held = {
        study: {one.id: one for one in results.answers(study)}
        for study in dict.fromkeys(id.partition(".")[0] for id in wanted)
        if study in results.studies()
    }
    # What is not there is said as the run says it.
    return {id: held.get(id.partition(".")[0], {}).get(id) or results.answer(id) for id in wanted}


def _way(question: _Question, kinds: tuple[str, ...]) -> _Way:
    """What finds the part of the run that a question looks at."""
    if isinstance(question, SegmentQuestion):
        return parts.of_segments
    if isinstance(question, TrafficQuestion):
        return parts.of_traffic
    if isinstance(question, PeaksQuestion):
        return parts.of_flow_peaks if question.source == "flows" else parts.of_session_peaks
    if set(kinds) <= SUBSCRIBERS:
        return parts.of_people
    return parts.of_hours if question.id in _FIRST else parts.of_sums


def _ask(
    store: Store, results: Results, filters: Filters, way: _Way, questions: Sequence[Any], tell: Told
) -> None:
    """Answers questions that look at the same part."""
    try:
        inputs, scope = way(store, results, filters)
    except FilterError as error:
        for question in questions:
            tell(question.id, error)
        return

    def finish(found: Answer) -> None:
        found = Answer.from_json(found.to_json())  # as the published ones: dates are texts, no number is NaN
        scoped = replace(found, reading=(scope, *found.reading))
        tell(found.id, respectful(scoped, results.minimum_group))

    # A second thread has nothing to do for one question, and little for small tables.
    if len(questions) > 1 and isinstance(inputs, Inputs):
        answer_all(questions, inputs, finish)
    else:
        for question in questions:
            finish(question.answer(inputs))


@cache
def _questions() -> Mapping[str, _Question]:
    """Every question that may be filtered, by id."""
    studies = [import_module(f"subsight.studies.{study}") for study in sessions.STUDIES]
    studies += [segments, traffic, peaks]
    return {one.id: one for study in studies for one in study.QUESTIONS}


def _refusal(question: str, kinds: tuple[str, ...]) -> FilterError | None:
    """Why a question cannot be filtered by these kinds; None where it can."""
    allowed = filterable(question)
    if not (refused := [kind for kind in kinds if kind not in allowed]):
        return _refusal_of_both(question, kinds)
    by = ", ".join(kind.replace("_", " ") for kind in KINDS if kind in allowed)
    return FilterError(
        f"{question} cannot be filtered by {' or '.join(kind.replace('_', ' ') for kind in refused)}",
        expected=f"by {by}" if allowed else None,
        found=why_not(question, kinds),
        do="look at it without that filter",
    )


def _refusal_of_both(question: str, kinds: tuple[str, ...]) -> FilterError | None:
    """Why a question cannot be filtered by subscribers and by hours at once; None where it is not."""
    people = [kind for kind in kinds if kind in SUBSCRIBERS]
    hours = [kind for kind in kinds if kind not in SUBSCRIBERS]
    if not people or not hours:
        return None
    said = [" and ".join(kind.replace("_", " ") for kind in some) for some in (hours, people)]
    return FilterError(
        f"{question} cannot be filtered by {said[0]} and by {said[1]} at once",
        found=why_not(question, kinds),
        do="leave one of them out",
    )
