"""The notebook: a workspace, a run, a study and an answer as HTML, and an answer's chart for Altair.

Each output stands alone: its style comes with it, nothing is fetched, nothing is executed. It follows the
notebook's colours where they are known, else the reader's choice of light or dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from subsight.answers import Answer
from subsight.errors import ConfigurationError, NotFoundError, SubsightError
from subsight.results import Results, Study
from subsight.showing import shows
from subsight.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from altair import TopLevelMixin

__all__ = ["chart", "workspace_html"]


@shows(Answer)
def answer_html(answer: Answer) -> str:
    """An answer: question, reading, chart, table, notes."""
    from subsight.surfaces.notebook import page

    return page.answer(answer)


@shows(Study)
def study_html(study: Study) -> str:
    """A study: its answers in turn."""
    from subsight.surfaces.notebook import page

    return page.study(study)


@shows(Results)
def run_html(results: Results) -> str:
    """A run: headline numbers, studies, tables, data quality; where it cannot be read, why."""
    from subsight.surfaces.notebook import page

    return _or_why(lambda: page.run(results))


def workspace_html(workspace: Workspace) -> str:
    """A workspace: its inputs, runs and models, and what to do next."""
    from subsight.surfaces.notebook import page

    return _or_why(lambda: page.workspace(workspace))


def _or_why(show: Callable[[], str]) -> str:
    # A notebook would print a traceback where a person needs the sentence.
    from subsight.surfaces.notebook import page

    try:
        return show()
    except SubsightError as error:
        return page.refusal(error)


def chart(answer: Answer) -> TopLevelMixin:
    """An answer's chart as an Altair chart that can be changed: the report's, over the answer's rows.

    The rows are those of the answer: read from a run, their small groups are suppressed.

    Raises:
        ConfigurationError: Altair is not installed.
        NotFoundError: the answer has no chart, or no rows to draw.
    """
    try:
        import altair
    except ImportError as error:
        raise ConfigurationError(
            "Altair is not installed", found=str(error), do="install the extra: subsight[notebook]"
        ) from error
    if answer.chart is None or not answer.rows:
        raise NotFoundError(
            f"{answer.id} has no chart",
            found="no rows" if not answer.rows else "an answer that is told by its table",
            do="show the answer itself",
        )
    from subsight.surfaces.report.palette import on_paper
    from subsight.surfaces.report.rendering import coloured, dress

    return altair.Chart.from_dict(coloured(dress(answer.chart, answer.rows), on_paper()))
