"""The data's whole path: files are ingested, records become tables, scores and answers, and are published.

This is the only place that composes a run: of areas (`sessions`, `segments`), which do not see each other.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from subsight import ingestion, results
from subsight.answers import Answer
from subsight.errors import ConfigurationError, InputError, MappingError, WorkspaceError
from subsight.ingestion import Ingested, ingest
from subsight.models import distance_scores, fitting, shown
from subsight.pipeline import flows, offers, peaks, segments, sessions
from subsight.pipeline.answering import Choice, Filters, answer, answers, choices, filterable, why_not
from subsight.pipeline.publishing import Area, Clock, Context, Progress, earlier_run, publish, write_json
from subsight.settings import Settings, beginning
from subsight.sources import files, inspection, mapping, subscriber_columns
from subsight.store import Frame, Store, open_store
from subsight.workspace import Batch, Workspace

__all__ = [
    "STUDIES",
    "Choice",
    "Filters",
    "Ingested",
    "Progress",
    "answer",
    "answers",
    "choices",
    "filterable",
    "ingest",
    "inspect",
    "recommend",
    "run",
    "score",
    "segment",
    "train_offers",
    "why_not",
]

STUDIES: Final = (*sessions.STUDIES, *segments.STUDIES, *flows.STUDIES, *peaks.STUDIES)
"""Every study, in the order in which later ones may build on earlier ones' answers."""

Finisher = Callable[[Path], None]


def inspect(path: Path, settings: Settings, mapping_file: str | None = None) -> inspection.Inspection:
    """What a file of sessions is, without a workspace (see `sources.inspection`).

    Of one that is none and reads as a table of subscribers, `lacking` says so.
    """
    file = files.recognise(path)
    with _store(settings) as store:
        chosen = mapping.read(mapping_file) if mapping_file else None
        found = inspection.inspect(store, file, settings, chosen)
    if found.lacking and (known := _known_table(file)):
        lacking = MappingError(
            f"{path.name} is no file of sessions",
            found=f"a table of subscribers, by the mapping {known}",
            do=f"subsight ingest subscribers {path} --workspace WS",
        )
        return replace(found, lacking=lacking)
    return found


def _known_table(file: files.InputFile) -> str | None:
    """The mapping by which a file is a table of subscribers; a proposed one is no proof of that."""
    with suppress(MappingError):
        known = subscriber_columns.choose(file).mapping
        return known.name if known.name != "proposed" and known["tenure_days"] else None
    return None


def _store(settings: Settings, scratch: Path | None = None) -> Store:
    return open_store(settings.engine, memory=settings.memory, scratch=scratch)


def run(
    workspace: Workspace,
    inputs: Sequence[str | Path] = (),
    settings: Settings | None = None,
    *,
    mapping_file: str | None = None,
    studies: Iterable[str] | None = None,
    parameters_from: str | None = None,
    on_answer: Callable[[Answer], None] | None = None,
    draw: shown.Draw = shown.draw,
    finishers: Sequence[Finisher] = (),
    progress: Progress | None = None,
) -> Path:
    """Ingests the inputs, computes over everything ingested, and publishes a run; returns its folder.

    Args:
        studies: compute only these; the others' answers are carried over from the current run.
        parameters_from: take treatment and model parameters from that run (its name, `current`, or
            the folder of another workspace's run) and fit nothing.
        on_answer: told each answer as soon as it is there, such as a report that draws its chart.
        draw: draws the plots of the fits, such as a report's renderer that is warm already.
        finishers: called with the staged folder before it is published, such as the report's writer.

    Raises:
        InputError: nothing could be published. The previous run stays as it was.
    """
    from subsight.settings import load

    settings = settings or load(workspace.settings_file)
    wanted = _wanted(studies)
    warm = threading.Thread(target=sessions.warm, daemon=True)
    clock = Clock(progress)
    with workspace.writing() as scratch, _store(settings, scratch) as store:
        if not parameters_from:
            warm.start()
        known: list[Ingested] = []
        if inputs:
            with clock.stage("ingest"):
                known = ingestion.into(
                    store, workspace, inputs, settings, mapping_file=mapping_file, progress=progress
                )
        given = _given_parameters(workspace, parameters_from)
        batches = workspace.batches("sessions")
        context = Context(store, workspace, _in_zone(settings, batches), clock, on_answer, draw)
        source = segments.source_of(workspace, settings) if "segments" in wanted else None
        asked = [study for study in sessions.STUDIES if study in wanted]
        has_flows = bool(workspace.batches("flows"))
        _refuse_nothing(workspace, source, wanted if studies is not None else ())
        with workspace.staged_run() as folder:
            areas: list[Area] = []
            flowing = [study for study in (*flows.STUDIES, *peaks.STUDIES) if study in wanted]
            hourly = replace(context, settings=_one_zone(context, settings))
            # First, as it lets go of what the store holds after each batch.
            usage = flows.usage(hourly) if has_flows and flowing else None
            if batches and asked:
                zone = hourly.settings.time_zone
                areas.append(sessions.compute(context, batches, known, asked, given, zone))
            if source:
                parameters = given["models"].get("segments") if given else None
                tables = _tables(context, areas)
                areas.append(segments.compute(context, source, tables, parameters))
            if flowing and (usage or batches):
                areas += _of_hours(hourly, batches, usage, areas, flowing)
            with clock.stage("publish"):
                publish(context, areas, folder)
            _finish(folder, finishers, clock)
    return workspace.run()


def segment(
    workspace: Workspace,
    settings: Settings | None = None,
    *,
    afresh: bool = False,
    on_answer: Callable[[Answer], None] | None = None,
    draw: shown.Draw = shown.draw,
    finishers: Sequence[Finisher] = (),
    progress: Progress | None = None,
) -> Path:
    """Divides subscribers into named segments and publishes a run with all else of the one before.

    Of a workspace without subscriber tables, the profiles of its run are divided.

    Args:
        afresh: whether inputs, number and names are chosen anew, instead of as before.

    Raises:
        InputError: there is nobody to divide.
        ConfigurationError: a setting of the segments cannot be used with these subscribers.
    """
    with _working(workspace, settings, progress, on_answer, draw) as context:
        zoned = _in_zone(context.settings, workspace.batches("sessions"))
        context = replace(context, settings=zoned)
        source = segments.source_of(workspace, zoned, afresh=afresh) or "profiles"
        area = segments.compute(context, source, _tables(context, ()), None, afresh=afresh)
        return _published(context, [area], finishers)


def train_offers(
    workspace: Workspace,
    settings: Settings | None = None,
    *,
    on_answer: Callable[[Answer], None] | None = None,
    draw: shown.Draw = shown.draw,
    finishers: Sequence[Finisher] = (),
    progress: Progress | None = None,
) -> Path:
    """Trains the map of offers, gives its nodes offers, and publishes a run with all else of the one before.

    Raises:
        InputError: there is no usage to go by, or nothing in it differs.
    """
    with _working(workspace, settings, progress, on_answer, draw) as context:
        prepared = offers.prepare(context, beginning(context.settings))
        return _published(context, [offers.area(prepared)], finishers)


def recommend(
    workspace: Workspace,
    settings: Settings | None = None,
    *,
    on_answer: Callable[[Answer], None] | None = None,
    draw: shown.Draw = shown.draw,
    finishers: Sequence[Finisher] = (),
    progress: Progress | None = None,
    on_part: Callable[[int, int], None] | None = None,
) -> Path:
    """Recommends offers to every subscriber by the map that was trained, and publishes them in a new run.

    What was done before an interruption is kept in a folder `jobs/` and not done again.

    Args:
        on_part: told how many of how many parts are done.

    Raises:
        NotFoundError: no map was trained yet.
        InputError: no offer may be given to anybody.
    """
    with (
        _working(workspace, settings, progress, on_answer, draw) as context,
        offers.Job(context, beginning(context.settings)) as job,
    ):
        return _published(context, job.done(on_part), finishers)


@contextmanager
def _working(
    workspace: Workspace,
    settings: Settings | None,
    progress: Progress | None,
    on_answer: Callable[[Answer], None] | None,
    draw: shown.Draw,
) -> Iterator[Context]:
    """Sole right to write, and what computes; settings are the workspace's where none are given."""
    from subsight.settings import load

    settings = settings or load(workspace.settings_file)
    with workspace.writing() as scratch, _store(settings, scratch) as store:
        yield Context(store, workspace, settings, Clock(progress), on_answer, draw)


def _published(context: Context, areas: Sequence[Area], finishers: Sequence[Finisher]) -> Path:
    """A run of these areas and of all else that the one before has: its folder."""
    with context.workspace.staged_run() as folder:
        with context.clock.stage("publish"):
            publish(context, areas, folder)
        _finish(folder, finishers, context.clock)
    return context.workspace.run()


def _of_hours(
    context: Context,
    batches: Sequence[Batch],
    usage: flows.Usage | None,
    areas: Sequence[Area],
    wanted: Sequence[str],
) -> list[Area]:
    """Studies of usage by hour: of flows, where there are any, and the peaks of sessions too."""
    found = []
    divided = _segments(context, areas)
    asked = [study for study in flows.STUDIES if study in wanted]
    if usage and asked:
        found.append(flows.answer(context, usage, asked, divided))
    if "peaks" in wanted:
        found.append(peaks.compute(context, batches, usage, divided))
    return found


def _segments(context: Context, areas: Sequence[Area]) -> Frame | None:
    """Who is in which segment, as just computed, else as the current run holds it."""
    table = next((area.tables["segments"] for area in areas if area.name == "segments"), None)
    earlier = earlier_run(context.workspace)
    with suppress(WorkspaceError):  # of a damaged run nothing is known; a whole one mends it
        if table is None and earlier and "segments" in earlier.tables():
            table = context.store.read([earlier.path("segments")])
    return None if table is None else table.select("subscriber_id", "segment_name")


_NEEDS: Final = {
    **dict.fromkeys(sessions.STUDIES, "sessions"),
    **dict.fromkeys(flows.STUDIES, "flows"),
    "segments": "subscribers",
    "peaks": "sessions or flows",
}
_KINDS: Final = {
    "sessions": "xdr",
    "flows": "flows",
    "subscribers": "subscribers",
    "sessions or flows": "flows",
}
"""What a study is made of, and the kind of records to ingest for it."""


def _refuse_nothing(workspace: Workspace, source: str | None, asked: Sequence[str]) -> None:
    """Raises where nothing can be computed, or a study is asked for by name and has no records."""
    held = {table for table in ("sessions", "flows") if workspace.batches(table)}
    held |= {"subscribers"} if source else set()
    lacking = {s: _NEEDS[s] for s in asked if not held & set(_NEEDS[s].split(" or "))}
    if held and not lacking:
        return
    what = " and no ".join(dict.fromkeys(lacking.values())) or "no sessions, flows or table of subscribers"
    kind = _KINDS[next(iter(lacking.values()))] if lacking else "xdr"
    raise InputError(
        f"{workspace.path} holds {'no ' if lacking else ''}{what}",
        expected="at least one ingested input" + (f" for {', '.join(lacking)}" if lacking else ""),
        do=f"subsight ingest {kind} FILE --workspace {workspace.path}",
    )


def _tables(context: Context, areas: Sequence[Area]) -> segments.Tables:
    """Profiles and satisfaction as just computed, else as the current run holds them."""
    found = dict(areas[0].tables) if areas else {}
    earlier = None if areas else earlier_run(context.workspace)
    if earlier:
        names = [name for name in ("profiles", "satisfaction") if name in earlier.tables()]
        found = {name: context.store.read([earlier.path(name)]) for name in names}
    return segments.Tables(found.get("profiles"), found.get("satisfaction"))


def _in_zone(settings: Settings, batches: Sequence[Batch]) -> Settings:
    """Local days and hours are those of the zone that the records were read in, whatever is set now."""
    zones = sorted({batch.manifest["time_zone"] for batch in batches})
    return settings.model_copy(update={"time_zone": " and ".join(zones)}) if zones else settings


def _one_zone(context: Context, settings: Settings) -> Settings:
    """The zone that sessions were read in, where they were all read in one; else as set."""
    zone = context.settings.time_zone
    return settings if " and " in zone else context.settings


def _finish(folder: Path, finishers: Sequence[Finisher], clock: Clock) -> None:
    """What is written from the run as it stands, and then the seconds of all stages."""
    for finish in finishers:
        with clock.stage("report"):
            finish(folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**manifest, "timings": clock.seconds})


def _wanted(studies: Iterable[str] | None) -> tuple[str, ...]:
    if studies is None:
        return STUDIES
    chosen = set(studies)
    if unknown := sorted(chosen - set(STUDIES)):
        raise ConfigurationError(
            "a study is unknown", found=", ".join(unknown), expected=", ".join(STUDIES), do="name one of them"
        )
    return tuple(study for study in STUDIES if study in chosen)


def _given_parameters(workspace: Workspace, name: str | None) -> Mapping[str, Any] | None:
    if name is None:
        return None
    elsewhere = Path(name)
    is_path = (elsewhere / "manifest.json").exists()
    earlier = results.Results(elsewhere if is_path else workspace.run(None if name == "current" else name))
    return {"treatment": earlier.manifest["treatment"], "models": earlier.models()}


def score(workspace: Workspace, rows: Any, settings: Settings | None = None) -> Any:
    """Profiles (an Arrow table or records with the six features) scored by the current run's models.

    Returns an Arrow table: the given columns and the scores, indices and cluster numbers.
    """
    import pyarrow as pa

    from subsight.settings import load

    settings = settings or load(workspace.settings_file)
    models = results.Results(workspace.run()).models()
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
    needed = [*distance_scores.ENGAGEMENT, *distance_scores.EXPERIENCE]
    if missing := [name for name in needed if name not in table.column_names]:
        raise InputError(
            "profiles to score lack columns", found=", ".join(missing), expected=", ".join(needed)
        )
    with _store(settings) as store:
        return store.arrow(fitting.score(store.from_arrow(table), models))
