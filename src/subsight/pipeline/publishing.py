"""What every run is made of, whatever was computed: areas, which are written anew or carried forward.

An area is what one kind of records becomes: its tables, models, answers and quality. A run that computes
some areas keeps the others of the run before it, as hard links, with the run that they came from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from subsight import answers as answers_format
from subsight import results, versions
from subsight.answers import Answer
from subsight.errors import NotFoundError, WorkspaceError
from subsight.models import shown
from subsight.pipeline.filters import keep_choices
from subsight.settings import Settings
from subsight.sources import findings
from subsight.store import Frame, Store
from subsight.workspace import Batch, Workspace

__all__ = [
    "Area",
    "Clock",
    "Context",
    "Progress",
    "carried_answers",
    "earlier_run",
    "publish",
    "quality_of",
    "write_json",
]

Progress = Callable[[str], None]

_ORDER: Final = (
    "subscriber_id", "rank", "offer_id", "local_date", "local_hour", "cell_id", "hour_at", "category",
    "service", "protocol", "exporter", "handset_manufacturer", "handset",
)  # fmt: skip
"""What tables are written in the order of: most have a row a subscriber, some a row an hour."""
_COUNTS: Final = ("records", "accepted", "rejected", "without_subscriber_count")
_LOST: Final[Mapping[str, Any]] = {
    "findings": [
        {"column": "", "check": "carried", "severity": "warning", "count": 0,
         "text": "the run before cannot be read: nothing of it was carried forward"}
    ],
}  # fmt: skip
_INPUT: Final = ("name", "content", "mapping", "records", "accepted", "rejected", "units", "identifiers")


@dataclass
class Clock:
    """Seconds per stage of a run, in order, and a word to whoever watches."""

    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what happens in the block as a stage of that name."""
        if self.progress:
            self.progress(name)
        began = perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0) + perf_counter() - began, 3)


@dataclass(frozen=True)
class Context:
    """What every area computes with; `on_answer` hears each answer at once, `draw` draws plots of fits."""

    store: Store
    workspace: Workspace
    settings: Settings
    clock: Clock
    on_answer: Callable[[Answer], None] | None
    draw: shown.Draw


@dataclass(frozen=True)
class Area:
    """What one kind of records became.

    Attributes:
        name: `sessions`, `segments`, ...: under it a later run knows what it replaces.
        batches: what it was computed from.
        tables: by name, the rows to publish, which are written in the order of `_ORDER`.
        models: fit records by name.
        answers: by study, those computed now.
        studies: every study that the area may have, in order; those not computed now are carried over.
        quality: counts, `findings` and `rejects` of what was read, and more.
        facts: what else the manifest is to say.
        watched: kinds of records of which any new one makes it stale, where that are not those of `batches`.
        builds_on: areas that make it stale when they are computed anew without it.
    """

    name: str
    batches: Sequence[Batch]
    tables: Mapping[str, Frame]
    models: Mapping[str, Any]
    answers: Mapping[str, Sequence[Answer]]
    studies: Sequence[str]
    quality: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    watched: Sequence[str] = ()
    builds_on: Sequence[str] = ()


def earlier_run(workspace: Workspace) -> results.Results | None:
    """The current run, or None before there is one."""
    try:
        return results.Results(workspace.run())
    except NotFoundError:
        return None


def quality_of(batches: Sequence[Batch]) -> dict[str, Any]:
    """What ingest counted, found and rejected in the batches, together."""
    manifests = [batch.manifest for batch in batches]
    rejects: dict[tuple[str, str], int] = {}
    for reject in (r for m in manifests for r in m["rejects"]):
        key = reject["column"], reject["reason"]
        rejects[key] = rejects.get(key, 0) + reject["count"]
    return {
        **{key: sum(m[key] for m in manifests) for key in _COUNTS},
        "findings": findings.merged(m["findings"] for m in manifests),
        "rejects": [{"column": c, "reason": r, "count": n} for (c, r), n in sorted(rejects.items())],
    }


def carried_answers(earlier: results.Results | None, without: Sequence[str]) -> dict[str, Answer]:
    """The current run's answers, as they are kept, of all studies but some: others may build on them."""
    if earlier is None:
        return {}
    files = sorted((earlier.folder / "answers").glob("*.json"))
    texts = [path.read_text(encoding="utf-8") for path in files if path.stem not in without]
    found = [Answer.from_json(value) for text in texts for value in json.loads(text)]
    return {answer.id: answer for answer in found}


def publish(context: Context, areas: Sequence[Area], folder: Path) -> None:
    """Writes the areas into a staged run's folder, and beside them what only the run before has."""
    for name in ("tables", "answers", "models"):
        (folder / name).mkdir()
    earlier = earlier_run(context.workspace)
    manifest: dict[str, Any] = {
        "run": folder.name.removeprefix(".staged-"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": context.store.name,
        "versions": versions.packages(),
        "code": versions.code(),
        "settings": context.settings.model_dump(),
        "inputs": [],
        "applications": [],
        "treatment": {},
        "tables": {},
        "studies": {},
        "areas": {},
    }
    qualities: dict[str, Any] = {}
    # A whole run mends a damaged one; what stood in that is lost, and said to be.
    is_whole = all(set(area.answers) >= set(area.studies) for area in areas)
    is_lost = is_whole and earlier is not None and not _is_readable(earlier)
    earlier = None if is_lost else earlier
    for area in areas:
        _write(context, area, folder, manifest, earlier)
        qualities[area.name] = area.quality
    if is_lost:
        qualities["before"] = _LOST
    if earlier:
        _carry(context.workspace, earlier, {area.name for area in areas}, folder, manifest, qualities)
    manifest["identifiers"] = sorted({entry["identifiers"] for entry in manifest["inputs"]})
    write_json(folder / "quality.json", _merged(qualities))
    write_json(folder / "manifest.json", {**manifest, "timings": context.clock.seconds})
    keep_choices(folder)


def _is_readable(earlier: results.Results) -> bool:
    try:
        return bool(earlier.manifest)
    except WorkspaceError:
        return False


def _write(
    context: Context, area: Area, folder: Path, manifest: dict[str, Any], earlier: results.Results | None
) -> None:
    for name, frame in area.tables.items():
        order = [key for key in _ORDER if key in frame.collect_schema().names()]
        rows = context.store.write(frame, folder / "tables" / f"{name}.parquet", order)
        manifest["tables"][name] = {"rows": rows, "file": f"tables/{name}.parquet"}
    for name, record in area.models.items():
        write_json(folder / "models" / f"{name}.json", record)
        (folder / "models" / name).mkdir()
        for file, text in shown.files(record, context.draw).items():
            (folder / "models" / name / file).write_text(text, encoding="utf-8")
    carried = []
    for study in area.studies:
        if study in area.answers:
            text = answers_format.dumps(area.answers[study])
            (folder / "answers" / f"{study}.json").write_text(text, encoding="utf-8")
            manifest["studies"][study] = {
                "answers": len(area.answers[study]), "stale": False, "from_run": None,
            }  # fmt: skip
        elif earlier and study in earlier.manifest["studies"]:
            changed = _contents(earlier, area.name) != sorted(batch.content for batch in area.batches)
            _carry_study(earlier, study, changed, folder, manifest)
            # A study's own table goes with it.
            if study in earlier.manifest["tables"] and study not in area.tables:
                _link(earlier.folder, folder, earlier.manifest["tables"][study]["file"])
                manifest["tables"][study] = earlier.manifest["tables"][study]
                carried.append(study)
    known = {(entry["table"], entry["content"]) for entry in manifest["inputs"]}
    manifest["inputs"] += [
        {"table": batch.table, **{key: batch.manifest.get(key) for key in _INPUT}}
        for batch in area.batches
        if (batch.table, batch.content) not in known
    ]
    manifest["areas"][area.name] = {
        "from_run": None,
        "of": sorted({batch.table for batch in area.batches}),
        "contents": sorted(batch.content for batch in area.batches),
        "tables": [*area.tables, *carried],
        "models": list(area.models),
        "studies": list(area.studies),
        "facts": sorted(area.facts),
        "watched": {table: _held(context.workspace, [table]) for table in area.watched},
        "builds_on": list(area.builds_on),
    }
    manifest |= area.facts


def _contents(earlier: results.Results, area: str) -> list[str]:
    contents: list[str] = earlier.manifest.get("areas", {}).get(area, {}).get("contents", [])
    return contents


# What is carried forward: hard links, so that the same bytes outlive the run that they came from.


def _carry(
    workspace: Workspace,
    earlier: results.Results,
    computed: set[str],
    folder: Path,
    manifest: dict[str, Any],
    qualities: dict[str, Any],
) -> None:
    before = earlier.manifest
    kept = json.loads((earlier.folder / "quality.json").read_text(encoding="utf-8"))["areas"]
    known = {(entry["table"], entry["content"]) for entry in manifest["inputs"]}
    for name, about in before.get("areas", {}).items():
        if name in computed:
            continue
        is_stale = _is_outdated(workspace, about) or bool(computed & set(about.get("builds_on", ())))
        for table in about["tables"]:
            _link(earlier.folder, folder, before["tables"][table]["file"])
            manifest["tables"][table] = before["tables"][table]
        for model in about["models"]:
            _link(earlier.folder, folder, f"models/{model}.json")
            for path in sorted((earlier.folder / "models" / model).glob("*")):
                _link(earlier.folder, folder, f"models/{model}/{path.name}")
        for study in about["studies"]:
            if study in before["studies"]:
                _carry_study(earlier, study, is_stale, folder, manifest)
        for entry in before["inputs"]:
            key = entry["table"], entry["content"]
            if entry["content"] in about["contents"] and key not in known:
                known.add(key)
                manifest["inputs"].append(entry)
        manifest["areas"][name] = {**about, "from_run": about["from_run"] or before["run"]}
        manifest |= {fact: before[fact] for fact in about["facts"]}
        qualities[name] = kept[name]


def _held(workspace: Workspace, tables: Sequence[str]) -> list[str]:
    return sorted(batch.content for table in tables for batch in workspace.batches(table))


def _is_outdated(workspace: Workspace, about: Mapping[str, Any]) -> bool:
    """Whether there are other records now than those that an area was computed from."""
    if watched := about.get("watched"):
        return any(_held(workspace, [table]) != held for table, held in watched.items())
    return bool(_held(workspace, about["of"]) != about["contents"])


def _carry_study(
    earlier: results.Results, study: str, changed: bool, folder: Path, manifest: dict[str, Any]
) -> None:
    entry = earlier.manifest["studies"][study]
    _link(earlier.folder, folder, f"answers/{study}.json")
    manifest["studies"][study] = {
        "answers": entry["answers"],
        "stale": entry["stale"] or changed,
        "from_run": entry["from_run"] or earlier.manifest["run"],
    }


def _link(source: Path, target: Path, file: str) -> None:
    (target / file).parent.mkdir(exist_ok=True)
    (target / file).hardlink_to(source / file)


def _merged(qualities: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What was found in all that was read; beside it, area by area."""
    found: dict[str, Any] = {}
    for quality in qualities.values():
        found |= {key: value for key, value in quality.items() if key not in found}
    several = len([quality for quality in qualities.values() if quality]) > 1
    if several:
        found |= {key: sum(q.get(key) or 0 for q in qualities.values()) for key in _COUNTS}
        for key in ("findings", "rejects"):
            found[key] = [{"area": name, **row} for name, q in qualities.items() for row in q.get(key) or ()]
    return {**found, "areas": dict(qualities)}


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
