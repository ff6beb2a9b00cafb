"""The one way to a filtered answer: the study's own function over the part of a run that is looked at.

Filters of subscribers choose rows of the published profiles, which are scored by the run's fit records;
filters by time, place and application choose rows of the hours summed at publish. Nothing is fitted anew,
and sessions, which are no part of a run, are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.contracts import Application, Contract
from subsight.errors import FilterError
from subsight.pipeline import sessions
from subsight.pipeline.filters import Choice, Filters, check, choices, people
from subsight.results import Results, respectful
from subsight.settings import Settings
from subsight.store import Frame, Store, open_store
from subsight.studies import SUBSCRIBERS, Inputs, Question, answer_all
from subsight.studies.segments import QUESTIONS as SEGMENTS
from subsight.studies.segments import SegmentInputs, SegmentQuestion
from subsight.tables import SESSIONS

__all__ = ["Choice", "Filters", "answer", "answers", "choices", "filterable"]

Told = Callable[[str, Answer | FilterError], None]
_Way = Callable[[Store, Results, Filters], tuple[Any, str]]
_KEPT: Final = "Groups, scores and models are those of the whole run."


def filterable(question: str) -> frozenset[str]:
    """The kinds of filter under which a question can be answered again; none where it cannot be."""
    known = _questions().get(question)
    return known.filters if known else frozenset()


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


def _way(question: Question | SegmentQuestion, kinds: tuple[str, ...]) -> _Way:
    """What finds the part of the run that a question looks at."""
    if isinstance(question, SegmentQuestion):
        return _of_segments
    return _of_people if set(kinds) <= SUBSCRIBERS else _of_hours


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

    if len(questions) == 1:  # a second thread would have nothing to do
        finish(questions[0].answer(inputs))
    else:
        answer_all(questions, inputs, finish)


@cache
def _questions() -> Mapping[str, Question | SegmentQuestion]:
    """Every question that may be filtered, by id."""
    studies = [import_module(f"subsight.studies.{study}") for study in sessions.STUDIES]
    asked: list[Question | SegmentQuestion] = [one for study in studies for one in study.QUESTIONS]
    return {one.id: one for one in (*asked, *SEGMENTS)}


def _refusal(question: str, kinds: tuple[str, ...]) -> FilterError | None:
    """Why a question cannot be filtered by these kinds; None where it can."""
    allowed = filterable(question)
    if not (refused := [kind for kind in kinds if kind not in allowed]):
        return None
    why = "it is read from sessions or from a fit, and a filter neither reads the one nor repeats the other"
    if allowed:
        why = "by " + ", ".join(kind.replace("_", " ") for kind in sorted(allowed))
    return FilterError(
        f"{question} cannot be filtered by {' or '.join(kind.replace('_', ' ') for kind in refused)}",
        expected=why if allowed else None,
        found=None if allowed else why,
        do="look at it without that filter",
    )


# Subscribers


def _of_people(store: Store, results: Results, filters: Filters) -> tuple[Inputs, str]:
    chosen = people(store, results, filters)
    return _inputs(store, results, profiles=chosen), _scope(store, results, chosen, filters)


def _of_segments(store: Store, results: Results, filters: Filters) -> tuple[SegmentInputs, str]:
    members = store.read([results.path("segments")])
    others = replace(filters, segments=())
    if filters.segments:
        check(store, filters, "segment", members)
        members = members.filter(nw.col("segment_name").is_in(list(filters.segments)))
    if others.kinds():
        chosen = people(store, results, others).select("subscriber_id")
        members = store.keep(members.join(chosen, on="subscriber_id", how="inner"))
    scope = _scope(store, results, members, filters)
    record = results.models()["segments"]
    return SegmentInputs(store, members, record, _settings(results)), scope


def _scope(store: Store, results: Results, chosen: Frame, filters: Filters) -> str:
    """The sentence that says who is looked at.

    Raises:
        FilterError: they are too few to be looked at; how many they are is not said.
    """
    count = store.row(chosen.select(count=nw.len()))["count"]
    if count < results.minimum_group:
        raise _too_few(results)
    one = "subscriber is" if count == 1 else "subscribers are"
    return f"Only {count:,} {one} looked at: {filters.said()}. {_KEPT}"


def _too_few(results: Results) -> FilterError:
    return FilterError(f"fewer than {results.minimum_group} subscribers are left", do="choose a larger part")


# Hours, cells and applications


def _of_hours(store: Store, results: Results, filters: Filters) -> tuple[Inputs, str]:
    table = "usage_cells" if filters.cells else "usage_hours"
    if table not in results.tables():
        raise FilterError(
            "the run has no sums by hour to filter",
            expected="a run that was published since there are filters",
            do="subsight run --workspace WS",
        )
    contract = _contract(results, filters)
    rows = store.read([results.path(table)])
    if filters.cells:
        check(store, filters, "cell", rows, "cell_id")
        rows = rows.filter(nw.col("cell_id").is_in(list(filters.cells)))
    rows = _within(rows, filters.first_date, filters.last_date)

    most = store.row(rows.select(most=nw.col("subscriber_count").max()))["most"]
    if (most or 0) < results.minimum_group:
        raise _too_few(results)
    inputs = replace(_inputs(store, results, hours=rows), contract=contract)
    return inputs, f"Only a part of the sessions is looked at: {filters.said()}."


def _within(rows: Frame, first: date | None, last: date | None) -> Frame:
    if first and last and first > last:
        raise FilterError(
            "the period ends before it begins", found=f"{first} to {last}", do="name the earlier day first"
        )
    if first:
        rows = rows.filter(nw.col("local_date") >= nw.lit(first))
    return rows.filter(nw.col("local_date") <= nw.lit(last)) if last else rows


def _contract(results: Results, filters: Filters) -> Contract:
    """The sessions' contract with the applications that are looked at."""
    apps = {app["slug"]: Application(app["slug"], app["name"]) for app in results.manifest["applications"]}
    if unknown := [slug for slug in filters.applications if slug not in apps]:
        raise FilterError(
            "the run has no such application",
            found=", ".join(map(repr, unknown)),
            expected=", ".join(apps) or "none",
            do="choose one that it has",
        )
    chosen = filters.applications or tuple(apps)
    return SESSIONS.expand(tuple(app for slug, app in apps.items() if slug in chosen))


# What a study may look at


class _Unread:
    """In the place of what a run does not hold: a study that looks at it was declared wrongly."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(
            f"a filtered answer cannot look at {self._name}: the question's `filters` are wrong"
        )


def _inputs(
    store: Store, results: Results, profiles: Frame | None = None, hours: Frame | None = None
) -> Inputs:
    return Inputs(
        store=store,
        sessions=_Unread("sessions"),
        profiles=_Unread("profiles") if profiles is None else profiles,
        contract=_contract(results, Filters()),
        settings=_settings(results),
        treatment=results.manifest["treatment"],
        models=results.models(),
        quality=results.quality,
        hours=hours,
    )


def _settings(results: Results) -> Settings:
    """The settings that the run was made with; those that it does not know are as they are by default."""
    said = results.manifest["settings"]
    # Not read anew, as a zone may be said of several records, and the environment is of another time.
    return Settings.model_construct(**{name: said[name] for name in Settings.model_fields if name in said})
