"""The form of filters at the head of a page, and what is active as something that can be taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from subsight.results import Answer
from subsight.surfaces.dashboard import filtering
from subsight.surfaces.dashboard.addresses import KINDS, View
from subsight.surfaces.dashboard.articles import kind_words
from subsight.surfaces.dashboard.state import Current
from subsight.surfaces.report.words import sentence

__all__ = ["Chip", "Form", "form"]

_MOST_OPTIONS: Final = 300


@dataclass(frozen=True)
class Chip:
    """An active filter: what it says, and the page without it."""

    kind: str
    value: str
    without: str


@dataclass(frozen=True)
class Field:
    """A kind of filter that can be added: parameter, words, and options not yet chosen."""

    name: str
    words: str
    options: Sequence[tuple[str, str]]
    is_long: bool


@dataclass(frozen=True)
class Form:
    """What can be chosen on a page.

    Attributes:
        kept: active filters as parameters, so that a further one adds to them.
        days: the first and the last day that can be chosen; None where no question takes a period.
        clear: the page without any filter.
        cannot: whether no question of the page can be filtered at all.
    """

    path: str
    fields: Sequence[Field]
    chips: Sequence[Chip]
    kept: Sequence[tuple[str, str]]
    days: tuple[str, str] | None
    first: str
    last: str
    clear: str
    cannot: bool


def form(run: Current, answers: Sequence[Answer], view: View, path: str) -> Form:
    """The form for a page with these answers."""
    takes = frozenset[str]().union(*(filtering.filterable(answer.id) for answer in answers))
    fields = [
        _field(kind, run.choices[kind], view) for kind in KINDS if kind in takes and run.choices.get(kind)
    ]
    kept = [pair for pair in view.filter_pairs() if pair[0] not in ("from", "to")]
    return Form(
        path, fields, _chips(run.choices, view, path), kept, _days(run) if "period" in takes else None,
        _iso(view.first), _iso(view.last), path, not takes,
    )  # fmt: skip


def _iso(day: date | None) -> str:
    return day.isoformat() if day else ""


def _field(kind: str, choices: Sequence[Any], view: View) -> Field:
    active = view.chosen.get(kind, ())
    options = [
        (choice.value, choice.label if choice.subscriber_count is None
         else f"{choice.label} ({choice.subscriber_count:,})")
        for choice in choices
        if choice.value not in active
    ]  # fmt: skip
    return Field(
        KINDS[kind], sentence(kind_words(kind)), options[:_MOST_OPTIONS], len(options) > _MOST_OPTIONS
    )


def _chips(choices: Mapping[str, Sequence[Any]], view: View, path: str) -> list[Chip]:
    found = []
    for kind, values in view.chosen.items():
        # The kind says cluster already.
        labels = {c.value: c.label.removeprefix("cluster ") for c in choices.get(kind, ())}
        found += [
            Chip(
                sentence(kind_words(kind)), labels.get(value, value), path + view.without(kind, value).query()
            )
            for value in values
        ]
    if view.first or view.last:
        parts = [f"from {view.first}"] * bool(view.first) + [f"to {view.last}"] * bool(view.last)
        found.append(Chip("Period", " ".join(parts), path + view.without("period").query()))
    return found


def _days(run: Current) -> tuple[str, str]:
    """The days that the data cover, as bounds for whoever picks a day."""
    days = sorted(
        {str(row["local_date"]) for row in run.results.quality.get("coverage") or () if row.get("local_date")}
        | {str(choice.value) for choice in run.choices.get("period", ())}
    )
    return (days[0], days[-1]) if days else ("", "")
