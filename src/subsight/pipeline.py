"""The data's whole path: files are ingested, sessions become profiles, profiles are scored, studied
and published. This is the only place that composes a run.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from subsight import answers as answers_format
from subsight import ingestion, versions
from subsight import results as published
from subsight.answers import Answer
from subsight.contracts import Application, Contract
from subsight.enrich import coverage, treatment
from subsight.errors import ConfigurationError, InputError, NotFoundError
from subsight.ingestion import Ingested, ingest
from subsight.metrics import profile
from subsight.models import distance_scores, fitting, shown
from subsight.settings import Settings
from subsight.sources import files, findings, inspection, mapping
from subsight.store import Frame, Store, open_store
from subsight.studies import Inputs, answer_all
from subsight.tables import SESSIONS
from subsight.workspace import Batch, Workspace

__all__ = ["STUDIES", "Ingested", "ingest", "inspect", "run", "score"]

STUDIES: Final = ("overview", "engagement", "experience", "satisfaction", "memo")
"""Every study, in the order in which later ones may build on earlier ones' answers."""

_KEPT_SESSIONS: Final = 2_000_000
"""Up to this many sessions are treated once and kept; more are treated again by each question."""

Progress = Callable[[str], None]
Finisher = Callable[[Path], None]


@dataclass
class _Clock:
    """Seconds per stage of a run, in order, and a word to whoever watches."""

    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Any:
        if self.progress:
            self.progress(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0) + time.perf_counter() - began, 3)


@dataclass(frozen=True)
class _Drawing:
    """Who is told each answer to draw its chart, and who draws what fits are looked at by."""

    on_answer: Callable[[Answer], None] | None
    draw: shown.Draw


def inspect(path: Path, settings: Settings, mapping_file: str | None = None) -> inspection.Inspection:
    """What a file is, without a workspace (see `sources.inspection`)."""
    with _store(settings) as store:
        chosen = mapping.read(mapping_file) if mapping_file else None
        return inspection.inspect(store, files.recognise(path), settings, chosen)


def _store(settings: Settings, scratch: Path | None = None) -> Store:
    return open_store(settings.engine, memory=settings.memory, scratch=scratch)


# Run


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
    warm = threading.Thread(target=_import_learning, daemon=True)
    clock = _Clock(progress)
    with workspace.writing() as scratch, _store(settings, scratch) as store:
        if not parameters_from:
            warm.start()
        known: list[Ingested] = []
        if inputs:
            with clock.stage("ingest"):
                known = ingestion.into(
                    store, workspace, inputs, settings, mapping_file=mapping_file, progress=progress
                )
        batches = workspace.batches("sessions")
        if not batches:
            raise InputError(
                f"{workspace.path} holds no sessions",
                expected="at least one ingested input",
                do=f"subsight run INPUT --workspace {workspace.path}",
            )
        if not any(b.manifest["accepted"] > b.manifest["without_subscriber_count"] for b in batches):
            raise InputError(
                f"no session in {workspace.path} has a subscriber",
                found=f"{sum(b.manifest['accepted'] for b in batches):,} sessions without an identifier",
                expected="the MSISDN, or what identifies a subscriber, in the column of subscriber_id",
                do="map the right column, and run it in a new workspace",
            )
        # Local days and hours are those of the zone that the records were read in, whatever is set now.
        zones = sorted({batch.manifest["time_zone"] for batch in batches})
        settings = settings.model_copy(update={"time_zone": " and ".join(zones)})
        given = _given_parameters(workspace, parameters_from)
        with workspace.staged_run() as folder:
            drawing = _Drawing(on_answer, draw)
            _compute(store, workspace, batches, known, settings, wanted, given, folder, clock, drawing)
            for finish in finishers:
                with clock.stage("report"):
                    finish(folder)
            _stamp(folder, clock)
    return workspace.run()


def _wanted(studies: Iterable[str] | None) -> tuple[str, ...]:
    if studies is None:
        return STUDIES
    chosen = set(studies)
    if unknown := sorted(chosen - set(STUDIES)):
        raise ConfigurationError(
            "a study is unknown", found=", ".join(unknown), expected=", ".join(STUDIES), do="name one of them"
        )
    return tuple(study for study in STUDIES if study in chosen)


def _import_learning() -> None:
    """Importing scikit-learn takes about two seconds, which pass while the engine ingests."""
    import_module("sklearn.cluster")
    import_module("sklearn.metrics")


def _given_parameters(workspace: Workspace, name: str | None) -> dict[str, Any] | None:
    if name is None:
        return None
    elsewhere = Path(name)
    is_path = (elsewhere / "manifest.json").exists()
    earlier = published.Results(elsewhere if is_path else workspace.run(None if name == "current" else name))
    return {"treatment": earlier.manifest["treatment"], "models": earlier.models()}


def _compute(
    store: Store,
    workspace: Workspace,
    batches: Sequence[Batch],
    ingested: Sequence[Ingested],
    settings: Settings,
    wanted: tuple[str, ...],
    given: Mapping[str, Any] | None,
    folder: Path,
    clock: _Clock,
    drawing: _Drawing,
) -> None:
    contract = _contract(batches)
    with clock.stage("profile"):
        everything = store.read([batch.rows for batch in batches])
        sessions = everything.filter(~nw.col("subscriber_id").is_null())
        if given:
            treated = treatment.reuse(store, sessions, contract, given["treatment"])
        else:
            treated = treatment.fit(store, sessions, contract, settings.treatment)
        sessions = treatment.apply(sessions, contract, treated)
        if sum(batch.manifest["accepted"] for batch in batches) <= _KEPT_SESSIONS:
            sessions = store.keep(sessions)
        profiles = profile(store, sessions, contract)
        quality = _quality(store, batches, ingested, everything, settings)
    base = Inputs(
        store, sessions, profiles, contract, settings, treated, {}, quality, _carried(workspace, wanted)
    )
    with ThreadPoolExecutor(1) as background:
        models: dict[str, Any] = dict(given["models"]) if given else {}
        if not given:
            columns = fitting.features(store, profiles, contract, settings.fit_limit)
            elbow = background.submit(fitting.fit_elbow, columns, settings)
            models = fitting.fit_components(columns, contract) | fitting.fit_scores(columns, settings)
        # What needs no scores is answered while models are fitted, what needs no elbow while that goes on.
        inputs = replace(base, models=models)
        inputs, found = _answer(inputs, wanted, ("overview",), clock, drawing.on_answer)
        with clock.stage("models"):
            scored = store.keep(fitting.score(profiles, models))
            if not given:
                models |= _fit_regressions(store, sessions, scored, models, contract, quality, settings)
        inputs = replace(inputs, profiles=scored, models=models)
        inputs, more = _answer(inputs, wanted, ("experience", "satisfaction"), clock, drawing.on_answer)
        with clock.stage("models"):
            if not given and "engagement" in models:
                models["engagement"]["fit"]["elbow"] = elbow.result()
    inputs, last = _answer(inputs, wanted, ("engagement", "memo"), clock, drawing.on_answer)
    found |= more | last
    with clock.stage("publish"):
        tables = _write_tables(store, scored, models, folder)
        studies = _write_answers(workspace, batches, found, wanted, folder)
        for name, record in models.items():
            _write_json(folder / "models" / f"{name}.json", record)
            (folder / "models" / name).mkdir()
            for file, text in shown.files(record, drawing.draw).items():
                (folder / "models" / name / file).write_text(text, encoding="utf-8")
        _write_json(folder / "quality.json", quality)
        manifest = _manifest(batches, settings, treated, tables, studies, contract, store)
        _write_json(
            folder / "manifest.json",
            {"run": folder.name.removeprefix(".staged-"), **manifest, "timings": clock.seconds},
        )


def _contract(batches: Sequence[Batch]) -> Contract:
    apps = {app["slug"]: app["name"] for batch in batches for app in batch.manifest["applications"]}
    return SESSIONS.expand(tuple(Application(slug, name) for slug, name in apps.items()))


def _quality(
    store: Store,
    batches: Sequence[Batch],
    ingested: Sequence[Ingested],
    sessions: Frame,
    settings: Settings,
) -> dict[str, Any]:
    manifests = [batch.manifest for batch in batches]
    ignored = [
        {"column": one.name, "check": "options", "severity": "warning",
         "count": one.batch.manifest["accepted"], "text": one.ignored}
        for one in ingested if one.ignored
    ]  # fmt: skip
    rejects: dict[tuple[str, str], int] = {}
    for reject in (r for m in manifests for r in m["rejects"]):
        key = reject["column"], reject["reason"]
        rejects[key] = rejects.get(key, 0) + reject["count"]
    known_sessions = sessions.filter(~nw.col("subscriber_id").is_null())
    days = coverage.by_day(store, known_sessions)
    return {
        **{key: sum(m[key] for m in manifests)
           for key in ("records", "accepted", "rejected", "without_subscriber_count")},
        "findings": [*findings.merged(m["findings"] for m in manifests), *ignored],
        "rejects": [{"column": c, "reason": r, "count": n} for (c, r), n in sorted(rejects.items())],
        "coverage": [{**row, "local_date": row["local_date"].isoformat()} for row in days],
        "periods": coverage.periods(store, known_sessions, days, settings),
    }  # fmt: skip


# Models


def _fit_regressions(
    store: Store,
    sessions: Frame,
    scored: Frame,
    models: Mapping[str, Any],
    contract: Contract,
    quality: Mapping[str, Any],
    settings: Settings,
) -> dict[str, Any]:
    """The identity, and the real model: from behaviour, across periods where they can be compared."""
    from subsight.models import design, satisfaction

    if "satisfaction" not in models:
        return {}
    knobs: dict[str, Any] = {"seed": settings.seed}
    given = (*distance_scores.SATISFACTION, "satisfaction_score")
    values = fitting.whole(fitting.sample(store, scored, given, settings.fit_limit), given)
    if len(values) < design.LEAST_ROWS:
        return {}
    names = satisfaction.habits(contract)
    frame, target = _with_mix(scored, contract), "satisfaction_score"
    period: satisfaction.Period = "same"
    if quality["periods"]["comparable"]:
        middle = datetime.fromisoformat(quality["periods"]["second"][0]).date()
        before = profile(store, sessions.filter(nw.col("local_date") < nw.lit(middle)), contract)
        after = profile(store, sessions.filter(nw.col("local_date") >= nw.lit(middle)), contract)
        after = coverage.second_as_whole(after, quality["periods"], distance_scores.ENGAGEMENT)
        later = fitting.score(after, models).select("subscriber_id", later_score=nw.col("satisfaction_score"))
        # What came before may use every measure: it precedes the target and cannot define it.
        names = [*names, *distance_scores.ENGAGEMENT, *distance_scores.EXPERIENCE]
        frame = _with_mix(before, contract).with_columns(**{f"first_{name}": nw.col(name) for name in names})
        frame = frame.join(later, on="subscriber_id", how="inner")
        names, target = [f"first_{name}" for name in names], "later_score"
        period = "second from first"
    chosen = frame.filter(~nw.col(target).is_null()).sort("subscriber_hash").head(settings.fit_limit)
    table = store.arrow(chosen.select(*names, target))
    columns = {
        name: table[name].to_pylist()
        if name.endswith("handset_manufacturer")
        else table[name].to_numpy(zero_copy_only=False)
        for name in names
    }
    wanted = table[target].to_numpy(zero_copy_only=False)
    found = {"identity": satisfaction.identity(*values.T, **knobs)}
    # Too few subscribers seen in both periods, or no feature that varies: the study says so.
    with suppress(ConfigurationError):
        found["behaviour"] = satisfaction.behaviour(columns, wanted, **knobs, period=period)
    return found


def _with_mix(profiles: Frame, contract: Contract) -> Frame:
    """Profiles with each application's share of the subscriber's volume."""
    total = nw.col("total_bytes").cast(nw.Float64)
    whole = nw.when(total > 0).then(total)
    if not contract.applications:
        return profiles
    return profiles.with_columns(
        **{f"app_{app.slug}_share": nw.col(f"app_{app.slug}_bytes") / whole for app in contract.applications}
    )


def score(workspace: Workspace, rows: Any, settings: Settings | None = None) -> Any:
    """Profiles (an Arrow table or records with the six features) scored by the current run's models.

    Returns an Arrow table: the given columns and the scores, indices and cluster numbers.
    """
    import pyarrow as pa

    from subsight.settings import load

    settings = settings or load(workspace.settings_file)
    models = published.Results(workspace.run()).models()
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
    needed = [*distance_scores.ENGAGEMENT, *distance_scores.EXPERIENCE]
    if missing := [name for name in needed if name not in table.column_names]:
        raise InputError(
            "profiles to score lack columns", found=", ".join(missing), expected=", ".join(needed)
        )
    with _store(settings) as store:
        return store.arrow(fitting.score(store.from_arrow(table), models))


# Answers


def _carried(workspace: Workspace, wanted: tuple[str, ...]) -> dict[str, Answer]:
    """The current run's answers of studies that this run leaves out: the memo may build on them."""
    try:
        earlier = workspace.run()
    except NotFoundError:
        return {}
    texts = [path.read_text(encoding="utf-8") for path in sorted((earlier / "answers").glob("*.json"))
             if path.stem not in wanted]  # fmt: skip
    answers = [Answer.from_json(value) for text in texts for value in json.loads(text)]
    return {answer.id: answer for answer in answers}


def _answer(
    inputs: Inputs,
    wanted: Sequence[str],
    studies: Sequence[str],
    clock: _Clock,
    on_answer: Callable[[Answer], None] | None,
) -> tuple[Inputs, dict[str, list[Answer]]]:
    """The answers of those studies that are wanted, and the inputs with them for later studies."""
    found: dict[str, list[Answer]] = {}
    for study in [study for study in studies if study in wanted]:
        with clock.stage(f"study {study}"):
            questions = import_module(f"subsight.studies.{study}").QUESTIONS
            found[study] = answer_all(questions, inputs, on_answer)
            known = {answer.id: answer for answer in found[study]}
            inputs = replace(inputs, answers={**inputs.answers, **known})
    return inputs, found


# Publishing


_SATISFACTION: Final = (
    "subscriber_id", "engagement_score", "experience_score", "satisfaction_score", "engagement_index",
    "experience_index", "satisfaction_index", "engagement_cluster", "experience_cluster",
    "satisfaction_cluster",
)  # fmt: skip


def _write_tables(store: Store, scored: Frame, models: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "tables").mkdir()
    derived = set(_SATISFACTION) - {"subscriber_id"} | {"subscriber_hash"}
    names = [name for name in scored.collect_schema().names() if name not in derived]
    frames = {"profiles": scored.select(*names)}
    if "satisfaction" in models:
        frames["satisfaction"] = scored.select(*_SATISFACTION)
    return {
        name: {
            "rows": store.write(frame, folder / "tables" / f"{name}.parquet", ["subscriber_id"]),
            "file": f"tables/{name}.parquet",
        }
        for name, frame in frames.items()
    }


def _write_answers(
    workspace: Workspace,
    batches: Sequence[Batch],
    found: Mapping[str, list[Answer]],
    wanted: tuple[str, ...],
    folder: Path,
) -> dict[str, Any]:
    (folder / "answers").mkdir()
    studies: dict[str, Any] = {}
    for study, given in sorted(found.items(), key=lambda item: STUDIES.index(item[0])):
        (folder / "answers" / f"{study}.json").write_text(answers_format.dumps(given), encoding="utf-8")
        studies[study] = {"answers": len(given), "stale": False, "from_run": None}
    if wanted == STUDIES:
        return studies
    try:
        earlier = workspace.run()
    except NotFoundError:
        return studies
    manifest = published.Results(earlier).manifest
    contents = sorted(batch.content for batch in batches)
    changed = sorted(entry["content"] for entry in manifest["inputs"]) != contents
    for study, entry in manifest["studies"].items():
        if study not in wanted:
            # A hard link: the carried answers are the same bytes, and outlive the run they came from.
            (folder / "answers" / f"{study}.json").hardlink_to(earlier / "answers" / f"{study}.json")
            studies[study] = {
                "answers": entry["answers"],
                "stale": entry["stale"] or changed,
                "from_run": entry["from_run"] or manifest["run"],
            }
    return studies


def _manifest(
    batches: Sequence[Batch],
    settings: Settings,
    treated: Mapping[str, Any],
    tables: Mapping[str, Any],
    studies: Mapping[str, Any],
    contract: Contract,
    store: Store,
) -> dict[str, Any]:
    keys = ("name", "content", "mapping", "records", "accepted", "rejected", "units", "identifiers")
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": store.name,
        "identifiers": sorted({batch.manifest["identifiers"] for batch in batches}),
        "versions": versions.packages(),
        "code": versions.code(),
        "settings": settings.model_dump(),
        "inputs": [{key: batch.manifest[key] for key in keys} for batch in batches],
        "applications": [{"slug": app.slug, "name": app.name} for app in contract.applications],
        "treatment": treated,
        "tables": tables,
        "studies": studies,
    }


def _stamp(folder: Path, clock: _Clock) -> None:
    """Adds the seconds of the stages that came after the manifest was written."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    _write_json(path, {**manifest, "timings": clock.seconds})


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
