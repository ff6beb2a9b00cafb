"""One answer as an article of a page: its chart, its table, what it is filtered by, and why not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from markupsafe import Markup

from subsight.errors import InputError
from subsight.results import Answer
from subsight.surfaces.dashboard import marks
from subsight.surfaces.dashboard.addresses import View, question_path
from subsight.surfaces.dashboard.drawing import Charts, there
from subsight.surfaces.dashboard.filtering import Shown
from subsight.surfaces.dashboard.state import Current
from subsight.surfaces.dashboard.tables import FIRST_ROWS, Paged, led, paged
from subsight.surfaces.report import Renderer
from subsight.surfaces.report.rendering import dressed, is_drawn
from subsight.surfaces.report.tables import Table, table
from subsight.surfaces.report.words import phrase

_log = logging.getLogger("subsight.dashboard")

__all__ = ["Article", "articles", "chart_of", "kind_words", "one"]

PATIENCE_S = 0.25
"""Seconds that a page waits for charts, which are drawn ahead, before it is sent without them."""
FILTERED_PATIENCE_S = 0.95
"""Seconds that it waits for filtered answers and their charts."""
_FAILED: Final = InputError(
    "finding this answer for the filters failed", do="load the page again; the service's log says why"
)


def kind_words(kind: str) -> str:
    """A kind of filter in words, as answers that are filtered say it."""
    return phrase(kind)


@dataclass(frozen=True)
class Article:
    """What a page shows of an answer.

    Attributes:
        ignored: in words, the kinds of filter that it cannot be asked with.
        more: how many rows are on the answer's own page alone.
        path: the answer's own page; `query` the filters that go with it and with its downloads.
        page: the part of the table that is shown, on the answer's own page.
        is_waiting: the answer for these filters is not there yet; is_drawing: its chart is not.
    """

    shown: Shown
    chart: Markup | None
    table: Table | None
    more: int
    path: str
    query: str
    ignored: Sequence[str] = ()
    page: Paged | None = None
    is_waiting: bool = False
    is_drawing: bool = False

    @property
    def answer(self) -> Answer:
        """The answer that is shown."""
        return self.shown.answer


def chart_of(charts: Charts, run: Current, shown: Shown, view: View) -> Future[Any]:
    """The answer's chart as a part of a page, its links not yet led anywhere."""
    answer, targets = shown.answer, run.targets(shown.answer.id)
    if not is_drawn(answer):
        return there(None)

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
    """Answers as articles of one page at `path`, or leading each to its own, with `most` rows of each.

    The page is sent without what is not there in time: whoever looks sees that it comes.
    """
    asked = run.ask(answers, view)

    def begin(done: Future[Shown]) -> None:
        # While one question is asked again, the chart of another is drawn.
        with suppress(Exception):  # whoever waits for the answer hears it
            chart_of(charts, run, done.result(), view)

    for one_asked in asked.values():
        one_asked.add_done_callback(begin)
    until, known = _until(view), run.addresses(view)
    made = []
    for answer in answers:
        try:
            shown = asked[answer.id].result(_left(until))
        except TimeoutError:
            made.append(_article(Shown(answer), None, None, 0, view, is_waiting=True))
            continue
        except Exception as error:  # one that fails keeps nobody from the others
            _log.error("%s could not be filtered: %s", answer.id, error)
            shown = Shown(answer, refused=_FAILED)
        chart = chart_of(charts, run, shown, view)
        wait([chart], _left(until))
        own = question_path(answer.id)
        rows = shown.answer.rows[:most]
        first = table(rows, known, group_size=shown.answer.group_size)
        if first:
            first = led(first, rows, view, path or own, run.targets(answer.id))
        more = max(0, len(shown.answer.rows) - most)
        made.append(_article(shown, _led(chart, path or own, view), first, more, view))
    return made


def _until(view: View) -> float:
    return monotonic() + (FILTERED_PATIENCE_S if view.is_filtered else PATIENCE_S)


def _left(until: float) -> float:
    return max(0.0, until - monotonic())


def _article(
    shown: Shown, chart: Markup | Future[Any] | None, table: Table | None, more: int, view: View, **also: Any
) -> Article:
    drawn, is_drawing = (None, True) if isinstance(chart, Future) else (chart, False)
    own, query = question_path(shown.answer.id), view.filters().query()
    return Article(shown, drawn, table, more, own, query, _ignored(shown), is_drawing=is_drawing, **also)


def one(charts: Charts, run: Current, answer: Answer, view: View) -> Article:
    """An answer on its own page, its whole table sorted and paged by the view.

    Raises:
        FilterError: the filters have no answer.
        NotFoundError: the table has no such page or column.
    """
    until = _until(view)
    shown = run.show(answer, view)
    if shown.refused:
        raise shown.refused
    path = question_path(answer.id)
    chart = chart_of(charts, run, shown, view)
    wait([chart], _left(until))
    part = paged(shown.answer, view, path, run.addresses(view), run.targets(answer.id))
    return _article(shown, _led(chart, path, view), part.table, 0, view, page=part)


def _led(chart: Future[Any], path: str, view: View) -> Markup | Future[Any] | None:
    """The chart with its links; itself, where it is not drawn yet."""
    if not chart.done():
        return chart
    try:
        svg = chart.result()
    except ValueError:
        return None  # a chart that cannot be drawn keeps nobody from its table
    return Markup(marks.lead(svg, lambda chosen: path + chosen.query(), view)) if svg else None


def _ignored(shown: Shown) -> list[str]:
    return [kind_words(kind) for kind in shown.ignored]
