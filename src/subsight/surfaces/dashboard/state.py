"""The run that pages show, read once, and what was found out about it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import Any, Final

from subsight.errors import NotFoundError
from subsight.results import Answer, Results
from subsight.surfaces.dashboard import filtering
from subsight.surfaces.dashboard.addresses import View, question_path
from subsight.surfaces.dashboard.filtering import Shown
from subsight.surfaces.report.page import Section, monitoring, ordered, section
from subsight.workspace import Workspace

__all__ = ["Current", "State"]

_MOST: Final = 400
"""Filtered answers that are kept."""


class Current:
    """A run with its studies and their answers; what is asked of it twice is found out once."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.name = str(results.manifest["run"])
        self._shown: OrderedDict[Hashable, Shown] = OrderedDict()
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
        return self.show_all([answer], view)[answer.id]

    def show_all(
        self, answers: Sequence[Answer], view: View, told: Callable[[str, Shown], None] | None = None
    ) -> dict[str, Shown]:
        """Answers for a view by id; filtered ones are kept, and those that are not are asked for together.

        `told` hears each as soon as it is there, in whichever thread found it.
        """
        found: dict[str, Shown] = {}
        pairs = tuple(view.filter_pairs())

        def tell(id: str, shown: Shown) -> None:
            found[id] = shown
            if view.is_filtered:
                self._keep((id, pairs), shown)
            if told:
                told(id, shown)

        waiting = []
        for answer in answers:
            known = self._known((answer.id, pairs)) if view.is_filtered else Shown(answer)
            if known:
                tell(answer.id, known)
            else:
                waiting.append(answer)
        if waiting:
            filtering.show(self.results, waiting, view, tell)
        return found

    def _known(self, key: Hashable) -> Shown | None:
        with self._lock:
            return self._shown.get(key)

    def _keep(self, key: Hashable, shown: Shown) -> None:
        with self._lock:
            self._shown[key] = shown
            self._shown.move_to_end(key)
            while len(self._shown) > _MOST:
                self._shown.popitem(last=False)


class State:
    """A workspace's current run; `on_new` hears of each run that is seen for the first time."""

    def __init__(self, workspace: Workspace, on_new: Callable[[Current], None]) -> None:
        self.workspace = workspace
        self._on_new = on_new
        self._current: Current | None = None
        self._lock = Lock()

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
                known = self._current = Current(Results(folder))
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
