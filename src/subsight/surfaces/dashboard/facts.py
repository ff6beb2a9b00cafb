"""What the pages about runs, changes, models and definitions say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from subsight.errors import SubsightError
from subsight.results import Results
from subsight.surfaces.dashboard.state import Current
from subsight.surfaces.report.definitions import Defined, definitions
from subsight.surfaces.report.page import counted, headlines, read
from subsight.surfaces.report.words import phrase, sentence, spelled
from subsight.units import format_value
from subsight.workspace import Workspace

__all__ = ["Change", "Changes", "changes", "counted", "glossary", "read", "runs", "timings"]

_MOST_CHANGES: Final = 12


@dataclass(frozen=True)
class Change:
    """A headline number or an answer as it was in the run before, and as it is now."""

    words: str
    before: str
    now: str
    id: str | None = None


Changes = tuple[str | None, Sequence[Change], Sequence[Change], int]


def changes(workspace: Workspace, run: Current) -> Changes:
    """The run before, headline numbers and answers that changed since, and how many more did.

    An answer changed where its first sentence did; one that was carried forward did not.
    """
    names = workspace.runs()
    earlier = [name for name in names if name < run.results.folder.name]
    if not earlier:
        return None, [], [], 0
    try:
        before = Results(workspace.run(earlier[-1]))
        was = {words: value for words, value, _ in headlines(before)}
        numbers = [
            Change(words, was.get(words, "–"), value)
            for words, value, _ in headlines(run.results)
            if was.get(words) != value
        ]
        known = {a.id: a for s in before.studies() if s in run.studies for a in before.answers(s)}
    except SubsightError:
        return earlier[-1], [], [], 0  # an old run that cannot be read keeps nobody from this one
    said = [
        Change(answer.question, old.reading[0] if old.reading else "–", answer.reading[0], id)
        for id, answer in run.answers.items()
        if (old := known.get(id)) and answer.reading and old.reading[:1] != answer.reading[:1]
    ]
    return earlier[-1], numbers, said[:_MOST_CHANGES], max(0, len(said) - _MOST_CHANGES)


def runs(workspace: Workspace) -> list[Mapping[str, Any]]:
    """Every run, the newest first: name, when, records, studies that it computed, whether it is current."""
    current = workspace.run().name if workspace.runs() else None
    found: list[Mapping[str, Any]] = []
    for name in reversed(workspace.runs()):
        try:
            manifest = Results(workspace.run(name)).manifest
        except SubsightError as error:
            found.append({"name": name, "trouble": error.what, "is_current": name == current})
            continue
        studies = manifest.get("studies", {})
        found.append({
            "name": name,
            "created_at": manifest.get("created_at", ""),
            "inputs": len(read(manifest)),
            "records": f"{sum(one.get('records') or 0 for one in read(manifest)):,}",
            "computed": [s for s, about in studies.items() if not about.get("from_run")],
            "carried": sum(1 for about in studies.values() if about.get("from_run")),
            "seconds": format_value(sum(_seconds(manifest).values()), "s"),
            "is_current": name == current,
            "trouble": None,
        })  # fmt: skip
    return found


def _seconds(manifest: Mapping[str, Any]) -> Mapping[str, float]:
    timings = manifest.get("timings") or {}
    return {name: float(value) for name, value in timings.items() if isinstance(value, int | float)}


def timings(results: Results) -> list[tuple[str, str, float]]:
    """How long each step of a run took: words, time, and share of all."""
    seconds = _seconds(results.manifest)
    total = sum(seconds.values()) or 1.0
    return [
        (sentence(phrase(name)), format_value(value, "s"), value / total) for name, value in seconds.items()
    ]


def glossary(results: Results | None) -> list[Defined]:
    """Every table and metric with its columns: name, words, unit, meaning."""
    from subsight.pipeline.definitions import metrics

    rows = [
        (
            name,
            sentence(phrase(name.replace("{slug}", "each_application"))),
            unit or "",
            sentence(spelled(meaning)),
        )
        for name, unit, meaning in metrics()
    ]
    profiles = Defined("profiles", "a subscriber, with these metrics of all of their sessions", rows)
    return [profiles, *(definitions(results) if results else ())]
