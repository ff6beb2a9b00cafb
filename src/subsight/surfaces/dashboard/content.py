"""What each page shows: a template's name and what it is filled with."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from typing import Any, Final

from subsight.errors import NotFoundError, SubsightError
from subsight.lifecycle.audit import AuditLog
from subsight.surfaces.api.gate import Asked
from subsight.surfaces.dashboard import downloads, facts, filters
from subsight.surfaces.dashboard.addresses import View
from subsight.surfaces.dashboard.articles import articles, chart_of, one
from subsight.surfaces.dashboard.drawing import Charts
from subsight.surfaces.dashboard.filtering import Shown
from subsight.surfaces.dashboard.lookups import Lookups, check_sight, may_see
from subsight.surfaces.dashboard.state import Current, State
from subsight.surfaces.report.page import data_quality, headlines, model_of
from subsight.workspace import Workspace

__all__ = ["Content"]

Page = tuple[str, dict[str, Any]]
_ALL_ROWS: Final = 500
"""Rows of an answer that has no page of its own."""
_LOOK_EVERY_S: Final = 2.0


class Content:
    """The pages' contents over one workspace."""

    def __init__(self, workspace: Workspace, audit: AuditLog) -> None:
        self._workspace = workspace
        self._charts = Charts()
        self._closing = Event()
        self._changed: tuple[str, facts.Changes] | None = None
        self._state = State(workspace, self._draw_ahead)
        self.lookups = Lookups(workspace, self._state, audit)

    def close(self) -> None:
        """Ends the process that draws."""
        self._closing.set()
        self._state.close()
        self._charts.close()

    def prepare(self) -> None:
        """Begins to look for new runs, so that their charts are drawn before anybody asks for them."""

        def watch() -> None:
            while True:
                with suppress(SubsightError, OSError):
                    self._state.current()
                if self._closing.wait(_LOOK_EVERY_S):
                    return

        Thread(target=watch, daemon=True, name="runs").start()

    def _draw_ahead(self, run: Current) -> None:
        def draw() -> None:
            # One after the other: a reader's own chart waits for one of these at most.
            for answer in list(run.answers.values()):
                if self._closing.is_set():
                    return
                chart_of(self._charts, run, Shown(answer), View()).result()

        def drawn() -> None:
            with suppress(Exception):  # whoever opens the page hears what is wrong
                draw()

        Thread(target=drawn, daemon=True, name="charts-ahead").start()

    def frame(self, path: str, roles: frozenset[str]) -> dict[str, Any]:
        """What stands around every page."""
        run, studies, known = None, [], dict[str, str]()
        with suppress(Exception):  # what a run lacks is said by the page that needs it
            if found := self._state.current() if roles & {"read", "admin"} else None:
                studies = [(f"/studies/{id}", study.title) for id, study in found.studies.items()]
                run, known = found, dict(found.addresses(View()))
        return {
            "path": path, "run": run, "studies": studies, "operator": self._workspace.path.resolve().name,
            "may_read": bool(roles & {"read", "admin"}), "filter_query": "", "known": known,
        }  # fmt: skip

    # Pages

    def overview(self, view: View, _asked: Asked) -> Page:
        """The headline numbers, quality, what changed, and where to go on."""
        run = self._state.current()
        if run is None:
            return "empty.jinja", {}
        before, numbers, said, more = self._changes(run)
        inputs = data_quality(run.results)
        studies = [
            (f"/studies/{id}{view.filters().query()}", study.title, _summary(study.answers), study.stale)
            for id, study in run.studies.items()
        ]
        return "overview.jinja", {
            "run": run,
            "headlines": headlines(run.results), "inputs": inputs, "before": before, "numbers": numbers,
            "said": said, "more": more, "summaries": studies,
            "links": {"quality": "/runs", "inputs.rejects": "/runs#inputs.rejects", "run": "/runs",
                      "inputs.coverage": "/runs#inputs.coverage", "segments": "/studies/segments"},
        }  # fmt: skip

    def _changes(self, run: Current) -> facts.Changes:
        """What changed since the run before, read once a run."""
        if self._changed is None or self._changed[0] != run.name:
            self._changed = run.name, facts.changes(self._workspace, run)
        return self._changed[1]

    def study(self, view: View, asked: Asked, study: str) -> Page:
        """All answers of a study."""
        run = self._state.run()
        if study not in run.studies:
            raise NotFoundError(
                f"the run has no study {study[:40]!r}",
                expected=", ".join(run.studies),
                do="choose one of these",
            )
        found = run.studies[study]
        answers = [answer for answer in found.answers if may_see(run, answer, asked)]
        path = f"/studies/{study}"
        return "study.jinja", {
            "run": run, "study": found,
            "articles": articles(self._charts, run, answers, view, path),
            "form": filters.form(run, answers, view, path),
            "filter_query": view.filters().query(), "known": run.addresses(view),
        }  # fmt: skip

    def question(self, view: View, asked: Asked, study: str, question: str) -> Page:
        """One answer, its whole table."""
        run = self._state.run()
        answer = run.answers.get(f"{study}.{question}")
        if answer is None:
            raise NotFoundError(
                f"the run has no answer {f'{study}.{question}'[:80]!r}", do="choose one from its study's page"
            )
        check_sight(run, answer, asked)
        article = one(self._charts, run, answer, view)
        return "question.jinja", {
            "run": run, "study": run.studies[study], "article": article, "view": view,
            "form": filters.form(run, [answer], view, article.path), "filter_query": view.filters().query(),
            "known": run.addresses(view),
        }  # fmt: skip

    def download(self, view: View, asked: Asked, study: str, question: str, kind: str) -> tuple[bytes, str]:
        """An answer as a file, and its media type.

        Raises:
            NotFoundError: there is no such answer, or not in that form.
        """
        run = self._state.run()
        answer = run.answers.get(f"{study}.{question}")
        if answer is None or kind not in downloads.KINDS:
            raise NotFoundError("there is no such download", expected=".csv, .svg or .png of an answer")
        check_sight(run, answer, asked)
        content = downloads.download(self._charts, run, run.show(answer, view), view, kind)
        return content, downloads.KINDS[kind]

    def models(self, _view: View, _asked: Asked) -> Page:
        """The models in service, the run's, and its maps."""
        run = self._state.current()
        if run is None:
            return "empty.jinja", {}
        watched = [answer for section in self._state.monitoring(run) for answer in section.answers]
        maps = [run.answers[id] for id in ("offers.map", "segments.profile") if id in run.answers]
        return "models.jinja", {
            "run": run,
            "watched": articles(self._charts, run, watched, View(), most=_ALL_ROWS),
            "maps": articles(self._charts, run, maps, View()),
            "models": [model_of(name, record) for name, record in run.results.models().items()],
        }

    def runs(self, _view: View, _asked: Asked) -> Page:
        """Every run; the current one's inputs, data quality and timings."""
        run = self._state.current()
        if run is None:
            return "empty.jinja", {}
        inputs, read = data_quality(run.results), facts.read(run.results.manifest)
        return "runs.jinja", {
            "run": run, "runs": facts.runs(self._workspace), "timings": facts.timings(run.results),
            "read": read, "counted": facts.counted(read),
            "articles": articles(self._charts, run, inputs.answers, View(), most=_ALL_ROWS),
        }  # fmt: skip

    def glossary(self, _view: View, _asked: Asked) -> Page:
        """Every metric and column."""
        run = self._state.current()
        return "glossary.jinja", {"tables": facts.glossary(run.results if run else None)}


def _summary(answers: Any) -> str:
    """A study in a sentence: the first that one of its answers says."""
    return next((answer.reading[0] for answer in answers if answer.reading), "")
