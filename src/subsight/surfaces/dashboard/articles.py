"""One answer as an article of a page: its chart, its table, what it is filtered by, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from subsight.results import Answer
from subsight.surfaces.dashboard import marks
from subsight.surfaces.dashboard.addresses import View, question_path
from subsight.surfaces.dashboard.drawing import Charts
from subsight.surfaces.dashboard.filtering import Shown
from subsight.surfaces.dashboard.state import Current
from subsight.surfaces.dashboard.tables import FIRST_ROWS, Paged, led, paged
from subsight.surfaces.report import Renderer
from subsight.surfaces.report.rendering import dressed
from subsight.surfaces.report.tables import Table, table
from subsight.surfaces.report.words import phrase

__all__ = ["Article", "articles", "chart_of", "kind_words", "one"]

_WORDS: Final = {"manufacturer": "handset manufacturer"}


def kind_words(kind: str) -> str:
    """A kind of filter in words."""
    return _WORDS.get(kind, phrase(kind))


@dataclass(frozen=True)
class Article:
    """What a page shows of an answer.

    Attributes:
        ignored: in words, the kinds of filter that it cannot be asked with.
        more: how many rows are on the answer's own page alone.
        path: the answer's own page; `query` the filters that go with it and with its downloads.
        page: the part of the table that is shown, on the answer's own page.
    """

    shown: Shown
    chart: Markup | None
    table: Table | None
    more: int
    path: str
    query: str
    ignored: Sequence[str] = ()
    page: Paged | None = None

    @property
    def answer(self) -> Answer:
        """The answer that is shown."""
        return self.shown.answer


def chart_of(charts: Charts, run: Current, shown: Shown, view: View) -> Future[Any]:
    """The answer's chart as a part of a page, its links not yet led anywhere."""
    answer, targets = shown.answer, run.targets(shown.answer.id)

    def draw(renderer: Renderer) -> str | None:
        spec = marks.spec(answer, targets)
        return None if spec is None else dressed(answer, renderer.svg(spec))

    pairs = tuple(view.filter_pairs()) if shown.said else ()
    return charts.begin((run.name, answer.id, pairs), draw)


def articles(
    charts: Charts,
    run: Current,
    answers: Sequence[Answer],
    view: View,
    path: str | None = None,
    most: int = FIRST_ROWS,
) -> list[Article]:
    """Answers as articles of one page at `path`, or leading each to its own, with `most` rows of each."""
    drawn: dict[str, Future[Any]] = {}

    def begin(id: str, shown: Shown) -> None:
        # While one question is asked again, the chart of another is drawn.
        drawn[id] = chart_of(charts, run, shown, view)

    shown = run.show_all(answers, view, begin)
    known = run.addresses(view)
    made = []
    for one_shown, chart in ((shown[one.id], drawn[one.id]) for one in answers):
        answer = one_shown.answer
        own = question_path(answer.id)
        rows = answer.rows[:most]
        first = table(rows, known, group_size=answer.group_size)
        if first:
            first = led(first, rows, view, path or own, run.targets(answer.id))
        made.append(
            Article(
                one_shown, _led(chart, path or own, view), first, max(0, len(answer.rows) - most), own,
                view.filters().query(), _ignored(one_shown),
            )
        )  # fmt: skip
    return made


def one(charts: Charts, run: Current, answer: Answer, view: View) -> Article:
    """An answer on its own page, its whole table sorted and paged by the view.

    Raises:
        FilterError: the filters have no answer.
        NotFoundError: the table has no such page or column.
    """
    shown = run.show(answer, view)
    if shown.refused:
        raise shown.refused
    path = question_path(answer.id)
    chart = chart_of(charts, run, shown, view)
    part = paged(shown.answer, view, path, run.addresses(view), run.targets(answer.id))
    return Article(
        shown, _led(chart, path, view), part.table, 0, path, view.filters().query(), _ignored(shown), part
    )


def _led(chart: Future[Any], path: str, view: View) -> Markup | None:
    try:
        svg = chart.result()
    except ValueError:
        return None  # a chart that cannot be drawn keeps nobody from its table
    return Markup(marks.lead(svg, lambda chosen: path + chosen.query(), view)) if svg else None


def _ignored(shown: Shown) -> list[str]:
    return [kind_words(kind) for kind in shown.ignored]
