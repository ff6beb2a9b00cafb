"""The library: a workspace opened in Python, with the same verbs as the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subsight import pipeline
from subsight.errors import NotFoundError, StorageError
from subsight.results import Results, Study
from subsight.settings import Settings, load
from subsight.surfaces import notebook
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from subsight.answers import Answer
    from subsight.surfaces.export import Evidence

__all__ = ["Insight"]


class Insight:
    """An operator's workspace: ingest records, publish runs, read tables and answers.

    Nothing is kept open: every call reads what is published at that moment.
    """

    def __init__(self, workspace: Workspace, settings: Settings) -> None:
        self.workspace = workspace
        self.settings = settings

    @classmethod
    def open(cls, path: Path | str, *, create: bool = True, **settings: Any) -> Insight:
        """The workspace at a path, made there if there is none; `settings` override its file.

        Raises:
            WorkspaceError: something else stands there, or (without `create`) there is none.
            ConfigurationError: a setting is unknown or out of range.
        """
        loaded = load(Path(path) / "subsight.toml", **settings)
        return cls(Workspace.create(path) if create else Workspace.open(path), loaded)

    def _repr_html_(self) -> str:
        """The workspace as a notebook shows it: its inputs, runs and models, and what to do next."""
        return notebook.workspace_html(self.workspace)

    @property
    def results(self) -> Results:
        """The current run.

        Raises:
            NotFoundError: no run was published yet.
        """
        return Results(self.workspace.run())

    def ingest(
        self,
        *inputs: Path | str,
        kind: str = "xdr",
        mapping: str | None = None,
        progress: pipeline.Progress | None = None,
    ) -> list[pipeline.Ingested]:
        """Reads files, folders or globs of one kind; the same content counts once (see `pipeline.ingest`)."""
        return pipeline.ingest(
            self.workspace, inputs, self.settings, kind=kind, mapping_file=mapping, progress=progress
        )

    def run(
        self,
        *inputs: Path | str,
        mapping: str | None = None,
        studies: Iterable[str] | None = None,
        parameters_from: str | None = None,
        progress: pipeline.Progress | None = None,
    ) -> Results:
        """Ingests the inputs, computes over everything ingested, and publishes a run with its report."""
        with self._drawing() as shown:
            folder = pipeline.run(
                self.workspace,
                inputs,
                self.settings,
                mapping_file=mapping,
                studies=studies,
                parameters_from=parameters_from,
                progress=progress,
                **shown,
            )
        return Results(folder)

    def segment(self, *, afresh: bool = False, progress: pipeline.Progress | None = None) -> Results:
        """Divides subscribers into named segments and publishes a run with its report.

        All else is carried over from the current run (see `pipeline.segment`); the settings `segment_*`
        say by what, and into how many.
        """
        with self._drawing() as shown:
            folder = pipeline.segment(
                self.workspace, self.settings, afresh=afresh, progress=progress, **shown
            )
        return Results(folder)

    def train_offers(self, *, progress: pipeline.Progress | None = None) -> Results:
        """Trains the map of next-best offers and publishes a run with its report (settings `offer_*`)."""
        with self._drawing() as shown:
            folder = pipeline.train_offers(self.workspace, self.settings, progress=progress, **shown)
        return Results(folder)

    def recommend_all(
        self,
        *,
        progress: pipeline.Progress | None = None,
        on_part: Callable[[int, int], None] | None = None,
    ) -> Results:
        """Recommends offers to every subscriber and publishes a run with the table `recommendations`.

        What an interrupted call did is not done again (see `pipeline.recommend`).
        """
        with self._drawing() as shown:
            folder = pipeline.recommend(
                self.workspace, self.settings, progress=progress, on_part=on_part, **shown
            )
        return Results(folder)

    def recommend(self, identifier: str) -> dict[str, Any]:
        """One subscriber's offers with reasons, by clear number or pseudonym, as `recommend_all` gives them.

        `subscriber_id, outcome, node, offers` (ranked, each with `score, reason, is_fallback,
        probability`), `filtered` (by filter the offers that it took away), `as_of, model, version`.

        Raises:
            NotFoundError: no map was trained, or nobody is called so.
        """
        from subsight.lifecycle.recommending import current

        found = current(self.workspace, self.settings)
        if found is None:
            raise NotFoundError(
                f"{self.workspace.path} has no map of offers",
                expected="one that was trained",
                do=f"subsight offers train {self.workspace.path}",
            )
        return found.of([identifier])[0]

    @contextmanager
    def _drawing(self) -> Iterator[dict[str, Any]]:
        """What a run needs to have its charts drawn while it computes, and its report written."""
        from subsight.surfaces import report

        with report.Drawing(self.settings.minimum_group) as drawing:
            yield {
                "on_answer": drawing.add,
                "draw": drawing.svg,
                "finishers": [lambda staged: report.write(staged, staged / "report.html", drawing)],
            }

    def table(self, name: str) -> pa.Table:
        """A table of the current run, such as `profiles` or `satisfaction`, or an answer's by its id."""
        return self.results.table(name)

    def study(self, name: str) -> Study:
        """A study of the current run, such as `engagement`: a sequence of its answers."""
        return self.results.study(name)

    def answer(self, question: str) -> Answer:
        """The current run's answer to a question, such as `engagement.clusters`."""
        return self.results.answer(question)

    def subscriber(self, identifier: str) -> dict[str, Any]:
        """One subscriber's profile and scores, by clear MSISDN or pseudonym (see `Results.subscriber`)."""
        return self.results.subscriber(identifier, self.workspace.key())

    def score(self, profiles: pa.Table | list[dict[str, Any]]) -> pa.Table:
        """Profiles scored by the current run's models (see `pipeline.score`)."""
        return pipeline.score(self.workspace, profiles, self.settings)

    def report(
        self,
        output: Path | str,
        *,
        studies: Iterable[str] | None = None,
        template: Path | str | None = None,
        all_answers: bool = False,
    ) -> Path:
        """Writes the current run's report to a file: HTML, or by its suffix slides (.pptx) or PDF (.pdf).

        `studies` limits it to some. Slides show each study's key answers or `all_answers`, and use the
        layouts and colours of a `template` (.pptx).

        Raises:
            NotFoundError: the run has no study of that name.
            ConfigurationError: an extra that the format needs is not installed, or the template cannot
                be used.
            StorageError: it cannot be written there.
        """
        from subsight.surfaces import report, slides

        target = Path(output)
        if target.is_dir() or not target.parent.is_dir():
            # Said before seconds of drawing.
            raise StorageError(
                f"{target} cannot be written",
                found="a directory" if target.is_dir() else f"no directory {target.parent}",
                expected="the name of a file in a directory that exists",
                do="name another place",
            )
        chosen = None if studies is None else list(studies)
        if target.suffix == ".pptx":
            pattern = None if template is None else Path(template)
            slides.write(self.workspace.run(), target, chosen, pattern, all_answers=all_answers)
        else:
            report.write(self.workspace.run(), target, studies=chosen)
        return target

    def export(
        self,
        target: str,
        *,
        table: str = "satisfaction",
        name: str | None = None,
        if_exists: Any = "replace",
        reveal: Path | str | None = None,
    ) -> Evidence:
        """Writes a table of the current run to a file or database and reads it back as evidence.

        `reveal` names a CSV of clear MSISDNs; those that are in the table get them in a column `msisdn`.
        """
        from subsight.surfaces.export import export

        chosen = self.results.table(table)
        if reveal is not None:
            chosen = self.results.reveal(chosen, Path(reveal), self.workspace.key())
        return export(chosen, target, name=name or table.replace(".", "_"), if_exists=if_exists)
