"""The one way from an address to an answer: unfiltered as published, filtered by `pipeline.answers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subsight.errors import InputError
from subsight.results import Answer, Results
from subsight.surfaces.dashboard.addresses import View

__all__ = ["Shown", "as_published", "choices", "filterable", "show"]


@dataclass(frozen=True)
class Shown:
    """An answer as it is shown for a view.

    Attributes:
        answer: filtered where `said` is set, else as the run published it.
        said: the filters that it was made with, in words.
        ignored: kinds of filter that are chosen and that the question cannot be asked with, or several that
            it cannot be asked with at once.
        why: why it cannot, as a clause.
        refused: why the filters have no answer.
    """

    answer: Answer
    said: str = ""
    ignored: Sequence[str] = ()
    why: str = ""
    refused: InputError | None = None


def _pipeline() -> Any:
    # Late: engines take long to import, and pages without filters need none.
    from subsight import pipeline

    return pipeline


def _filters(view: View) -> Any:
    of = view.chosen
    return _pipeline().Filters(
        first_date=view.first,
        last_date=view.last,
        segments=of.get("segment", ()),
        manufacturers=of.get("manufacturer", ()),
        handsets=of.get("handset", ()),
        engagement_clusters=tuple(map(int, of.get("engagement_cluster", ()))),
        experience_clusters=tuple(map(int, of.get("experience_cluster", ()))),
        applications=of.get("application", ()),
        cells=of.get("cell", ()),
        categories=of.get("category", ()),
        sites=of.get("site", ()),
    )


def filterable(question: str) -> frozenset[str]:
    """The kinds of filter that a question can be asked with."""
    return frozenset(_pipeline().filterable(question))


def choices(run: Path) -> Mapping[str, Sequence[Any]]:
    """What can be chosen in a run by the kind of filter: each has `value, label, subscriber_count`."""
    found: Mapping[str, Sequence[Any]] = _pipeline().choices(run)
    return found


def as_published(answer: Answer, view: View) -> Shown | None:
    """The answer as the run published it, where the view's filters cannot change it; says why they cannot."""
    if not (kinds := view.kinds()):
        return Shown(answer)
    if not (why := str(_pipeline().why_not(answer.id, kinds))):
        return None
    takes = filterable(answer.id)
    at_once = f"{' and '.join(kind.replace('_', ' ') for kind in kinds)} at once"
    return Shown(answer, ignored=tuple(kind for kind in kinds if kind not in takes) or (at_once,), why=why)


def show(results: Results, answers: Sequence[Answer], view: View, told: Callable[[str, Shown], None]) -> None:
    """Tells each answer of the run, by id, as the view asks for it, as soon as it is there.

    They are answers that the view's filters can change.
    """
    filters, asked = _filters(view), {answer.id: answer for answer in answers}
    said = str(filters.said())

    def tell(id: str, found: Any) -> None:
        refused = isinstance(found, InputError)
        told(id, Shown(asked[id], refused=found) if refused else Shown(found, said=said))

    try:
        _pipeline().answers(results.folder, list(asked), filters, tell)
    except InputError as error:
        for id in asked:
            tell(id, error)
