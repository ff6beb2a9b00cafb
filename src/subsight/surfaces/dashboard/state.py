"""The run that pages show, read once, and what was found out about it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import Any, Final

from subsight.errors import NotFoundError
from subsight.results import Answer, Results
from subsight.surfaces.dashboard import filtering
from subsight.surfaces.dashboard.addresses import View, question_path
from subsight.surfaces.dashboard.drawing import there
from subsight.surfaces.dashboard.filtering import Shown
from subsight.surfaces.report.page import Section, monitoring, ordered, section
from subsight.workspace import Workspace

__all__ = ["Current", "State"]

_MOST: Final = 400
"""Filtered answers that are kept."""
_AT_ONCE: Final = 4
"""Views that are asked for at once; each takes two threads."""


class Current:
    """A run with its studies and their answers; what is asked of it twice is found out once."""

    def __init__(self, results: Results, pool: Executor) -> None:
        self.results = results
        self._pool = pool
        self.name = results.folder.name
        self._shown: OrderedDict[Hashable, Future[Shown]] = OrderedDict()
        self._targets: dict[str, Mapping[str, Mapping[str, str]]] = {}
        self._lock = Lock()

    @property
    def is_clear(self) -> bool:
        """Whether subscribers stand in the run by their clear identifiers."""
        return "clear" in (self.results.manifest.get("identifiers") or ())

    @cached_property
    def studies(self) -> Mapping[str, Section]:
        """The studies by id, in the order in which they are read."""
        return {id: section(self.results, id) for id in ordered(self.results.studies())}

    @cached_property
    def answers(self) -> Mapping[str, Answer]:
        """Every answer by id."""
        return {answer.id: answer for study in self.studies.values() for answer in study.answers}

    @cached_property
    def choices(self) -> Mapping[str, Sequence[Any]]:
        """What can be filtered by, by kind."""
        return filtering.choices(self.results.folder)

    def addresses(self, view: View) -> Mapping[str, str]:
        """Where each answer stands, with the filters of a view."""
        query = view.filters().query()
        return {id: f"{question_path(id)}{query}" for id in self.answers}

    def targets(self, question: str) -> Mapping[str, Mapping[str, str]]:
        """What a question can be filtered by: kind, what a cell says, the value to filter by."""
        known = self._targets.get(question)
        if known is None:
            known = self._targets[question] = {
                kind: {text: c.value for c in self.choices.get(kind, ()) for text in (c.label, c.value)}
                for kind in filtering.filterable(question)
            }
        return known

    def show(self, answer: Answer, view: View) -> Shown:
        """An answer for a view; a filtered one is kept."""
        return self.ask([answer], view)[answer.id].result()

    def ask(self, answers: Sequence[Answer], view: View) -> dict[str, Future[Shown]]:
        """Answers for a view by id, each there in its time; filtered ones are kept.

        Those that nobody asked for yet are asked for together; what the filters cannot change is there.
        """
        published = {answer.id: filtering.as_published(answer, view) for answer in answers}
        found = {id: there(shown) for id, shown in published.items() if shown}
        changed = [answer for answer in answers if answer.id not in found]
        pairs, asked = tuple(view.filter_pairs()), []
        with self._lock:
            for answer in changed:
                key = answer.id, pairs
                if key not in self._shown:
                    self._shown[key] = Future()
                    asked.append(answer)
                self._shown.move_to_end(key)
                found[answer.id] = self._shown[key]
            # What is still being found is kept: forgotten, it would be asked for again by who waits for it.
            over = len(self._shown) - _MOST
            for kept in [kept for kept, one in self._shown.items() if one.done()][: max(0, over)]:
                del self._shown[kept]
        if asked:
            self._begin(asked, view, {one.id: found[one.id] for one in asked})
        return found

    def _begin(self, answers: Sequence[Answer], view: View, waiting: Mapping[str, Future[Shown]]) -> None:
        pairs = tuple(view.filter_pairs())

        def fail(error: BaseException) -> None:
            # Whoever waits hears of it, and the next one asks again.
            for id, one in waiting.items():
                if not one.done():
                    with self._lock:
                        self._shown.pop((id, pairs), None)
                    one.set_exception(error)

        def ended(begun: Future[None]) -> None:
            # One that never began, as the service ends, would be waited for without end.
            fail(CancelledError() if begun.cancelled() else begun.exception() or RuntimeError("not answered"))

        def answer() -> None:
            filtering.show(self.results, answers, view, lambda id, shown: waiting[id].set_result(shown))

        try:
            self._pool.submit(answer).add_done_callback(ended)
        except RuntimeError as error:  # nothing more may be asked
            fail(error)


class State:
    """A workspace's current run; `on_new` hears of each run that is seen for the first time."""

    def __init__(self, workspace: Workspace, on_new: Callable[[Current], None]) -> None:
        self.workspace = workspace
        self._on_new = on_new
        self._current: Current | None = None
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="answers")

    def close(self) -> None:
        """Lets nothing more be asked."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def current(self) -> Current | None:
        """The current run; None before the first one.

        Raises:
            WorkspaceError: its manifest cannot be read.
        """
        if not (self.workspace.path / "current" / "manifest.json").exists():
            return None
        folder = self.workspace.run()
        with self._lock:
            known = self._current
            if known is None or known.results.folder != folder:
                known = self._current = Current(Results(folder), self._pool)
                self._on_new(known)
        return known

    def run(self) -> Current:
        """The current run.

        Raises:
            NotFoundError: there is none yet.
        """
        run = self.current()
        if run is None:
            raise NotFoundError(
                "there is no run yet",
                expected="a run that was published",
                do=f"publish one with: subsight run INPUT --workspace {self.workspace.path.name}",
            )
        return run

    def monitoring(self, run: Current) -> list[Section]:
        """The models in service, as they were last looked at."""
        return monitoring(run.results)
