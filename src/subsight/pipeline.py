"""The data's whole path: files are ingested, sessions become profiles, profiles are scored, studied
and published. This is the only place that composes a run.
"""

from __future__ import annotations

import json
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from subsight import answers as answers_format
from subsight import results as published
from subsight.answers import Answer
from subsight.contracts import Contract
from subsight.enrich import treatment
from subsight.errors import ConfigurationError, InputError, NotFoundError
from subsight.metrics import profile
from subsight.models import components, distance_scores, in_engine
from subsight.settings import Settings
from subsight.sources import files, inspection, mapping, xdr
from subsight.store import Frame, Store, open_store
from subsight.studies import Inputs, Question
from subsight.workspace import Batch, Workspace, content_hash

__all__ = ["STUDIES", "Ingested", "ingest", "inspect", "run", "score"]

STUDIES: Final = ("overview", "engagement", "experience", "satisfaction", "memo")
"""Every study, in the order in which later ones may build on earlier ones' answers."""

Progress = Callable[[str], None]
Finisher = Callable[[Path], None]


@dataclass(frozen=True)
class Ingested:
    """What one input became; `is_new` is false where the same content was there already."""

    name: str
    batch: Batch
    is_new: bool


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


# Ingest


def inspect(path: Path, settings: Settings, mapping_file: str | None = None) -> inspection.Inspection:
    """What a file is, without a workspace (see `sources.inspection`)."""
    with open_store(settings.engine, memory=settings.memory) as store:
        chosen = mapping.read(mapping_file) if mapping_file else None
        return inspection.inspect(store, files.recognise(path), settings, chosen)


def ingest(
    workspace: Workspace,
    inputs: Sequence[str | Path],
    settings: Settings,
    *,
    mapping_file: str | None = None,
    progress: Progress | None = None,
) -> list[Ingested]:
    """Reads files, folders or globs into the workspace; the same content counts once.

    Raises:
        InputError: an input is missing, unreadable or mostly rejected; earlier ones stay ingested.
        MappingError: the columns cannot be matched.
        WorkspaceBusyError: another process is writing.
    """
    with workspace.writing() as scratch, _store(settings, scratch) as store:
        return _ingest(store, workspace, inputs, settings, mapping_file, _Clock(progress))


def _store(settings: Settings, scratch: Path) -> Store:
    return open_store(settings.engine, memory=settings.memory, scratch=scratch)


def _ingest(
    store: Store,
    workspace: Workspace,
    inputs: Sequence[str | Path],
    settings: Settings,
    mapping_file: str | None,
    clock: _Clock,
) -> list[Ingested]:
    chosen = mapping.read(mapping_file) if mapping_file else None
    found = []
    for path in files.expand(inputs):
        with clock.stage("ingest"):
            found.append(_ingest_file(store, workspace, path, settings, chosen))
    return found


def _ingest_file(
    store: Store, workspace: Workspace, path: Path, settings: Settings, chosen: mapping.Mapping | None
) -> Ingested:
    file = files.recognise(path)
    content = content_hash(path)
    existing = workspace.batch("sessions", content)
    if existing:
        return Ingested(path.name, existing, is_new=False)
    vendor = chosen or inspection.choose(store, file, settings)
    parsed = xdr.parse(store, file, vendor, settings)
    earlier = [batch.rows for batch in workspace.batches("sessions")]
    reading = xdr.read(store, parsed, vendor, settings, workspace.key(), earlier)
    batch = workspace.new_batch("sessions", content)
    accepted = store.write(reading.sessions, batch.rows)
    rejected = store.write(reading.rejects, batch.rejects, order_by=["record"]) + len(parsed.ragged)
    reasons = _reject_reasons(store, reading.rejects, parsed.ragged)
    _refuse_if_mostly_rejected(path, accepted, rejected, reasons, settings, batch)
    without = reading.sessions.filter(nw.col("subscriber_id").is_null()).select(count=nw.len())
    manifest = {
        "name": path.name,
        "content": content,
        "ingested_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "mapping": vendor.name,
        "applications": [{"slug": app.slug, "name": app.name} for app in vendor.applications],
        "units": parsed.decisions.units,
        "certainty": parsed.decisions.certainty,
        "records": accepted + rejected,
        "accepted": accepted,
        "rejected": rejected,
        "without_subscriber_count": int(store.row(without)["count"]),
        "identifiers": settings.identifiers,
        "time_zone": settings.time_zone,
        "findings": [finding.to_json() for finding in parsed.decisions.findings],
        "rejects": reasons,
        "ragged": [{"line": line, "reason": reason} for line, reason in parsed.ragged[:1000]],
    }
    return Ingested(path.name, workspace.add(batch, manifest), is_new=True)


def _reject_reasons(store: Store, rejects: Frame, ragged: Sequence[Any]) -> list[dict[str, Any]]:
    counted = store.rows(rejects.group_by("fault").agg(count=nw.len()).sort("fault"))
    reasons = []
    for row in counted:
        column, _, reason = row["fault"].partition("|")
        reasons.append({"column": column, "reason": reason, "count": row["count"]})
    if ragged:
        reasons.append({"column": "", "reason": "another number of fields", "count": len(ragged)})
    return reasons


def _refuse_if_mostly_rejected(
    path: Path, accepted: int, rejected: int, reasons: list[dict[str, Any]], settings: Settings, batch: Batch
) -> None:
    if accepted and rejected <= settings.reject_limit_share * (accepted + rejected):
        return
    batch.rows.unlink(missing_ok=True)
    batch.rejects.unlink(missing_ok=True)
    worst = sorted(reasons, key=lambda r: -r["count"])[:3]
    raise InputError(
        f"{path.name} was not ingested: {rejected:,} of {accepted + rejected:,} records are rejected",
        found="; ".join(f"{r['column']} {r['reason']} ({r['count']:,})".strip() for r in worst),
        expected=f"at most {settings.reject_limit_share:.0%} (setting reject_limit_share)",
        do="check the delimiter, the units and the mapping with `subsight inspect`",
    )


# Run


def run(
    workspace: Workspace,
    inputs: Sequence[str | Path] = (),
    settings: Settings | None = None,
    *,
    mapping_file: str | None = None,
    studies: Iterable[str] | None = None,
    parameters_from: str | None = None,
    finishers: Sequence[Finisher] = (),
    progress: Progress | None = None,
) -> Path:
    """Ingests the inputs, computes over everything ingested, and publishes a run; returns its folder.

    Args:
        studies: compute only these; the others' answers are carried over from the current run.
        parameters_from: take treatment and model parameters from that run (or `current`) and fit nothing.
        finishers: called with the staged folder before it is published, such as the report's writer.

    Raises:
        InputError: nothing could be published. The previous run stays as it was.
    """
    from subsight.settings import load

    settings = settings or load(workspace.settings_file)
    wanted = _wanted(studies)
    warm = threading.Thread(target=_import_learning, daemon=True)
    if not parameters_from:
        warm.start()
    clock = _Clock(progress)
    with workspace.writing() as scratch, _store(settings, scratch) as store:
        if inputs:
            _ingest(store, workspace, inputs, settings, mapping_file, clock)
        batches = workspace.batches("sessions")
        if not batches:
            raise InputError(
                f"{workspace.path} holds no sessions",
                expected="at least one ingested input",
                do=f"subsight run INPUT --workspace {workspace.path}",
            )
        given = _given_parameters(workspace, parameters_from)
        with workspace.staged_run() as folder:
            _compute(store, workspace, batches, settings, wanted, given, folder, clock)
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
    earlier = published.Results(workspace.run(None if name == "current" else name))
    return {"treatment": earlier.manifest["treatment"], "models": earlier.models()}


def _compute(
    store: Store,
    workspace: Workspace,
    batches: Sequence[Batch],
    settings: Settings,
    wanted: tuple[str, ...],
    given: Mapping[str, Any] | None,
    folder: Path,
    clock: _Clock,
) -> None:
    contract = _contract(batches)
    with clock.stage("profile"):
        everything = store.read([batch.rows for batch in batches])
        sessions = everything.filter(~nw.col("subscriber_id").is_null())
        treated = (
            given["treatment"] if given else treatment.fit(store, sessions, contract, settings.treatment)
        )
        sessions = treatment.apply(sessions, contract, treated)
        profiles = store.keep(profile(sessions, contract))
        quality = _quality(store, batches, everything, settings)
    with ThreadPoolExecutor(1) as background:
        with clock.stage("models"):
            if given:
                models, elbow = dict(given["models"]), None
            else:
                models, elbow = _fit(store, profiles, contract, settings, background)
            scored = store.keep(_score(profiles, models))
            if not given:
                models |= _fit_regressions(store, sessions, scored, models, contract, quality, settings)
        inputs = Inputs(store, sessions, scored, contract, settings, treated, models, quality)
        found = _answer(inputs, wanted, elbow, clock)
    with clock.stage("publish"):
        tables = _write_tables(store, scored, models, folder)
        studies = _write_answers(workspace, batches, found, wanted, folder)
        for name, record in models.items():
            _write_json(folder / "models" / f"{name}.json", record)
        _write_json(folder / "quality.json", quality)
        manifest = _manifest(batches, settings, treated, tables, studies, contract, store)
        _write_json(folder / "manifest.json", manifest)


def _contract(batches: Sequence[Batch]) -> Contract:
    from subsight.contracts import Application
    from subsight.tables import SESSIONS

    apps = {app["slug"]: app["name"] for batch in batches for app in batch.manifest["applications"]}
    return SESSIONS.expand(tuple(Application(slug, name) for slug, name in apps.items()))


def _quality(store: Store, batches: Sequence[Batch], sessions: Frame, settings: Settings) -> dict[str, Any]:
    manifests = [batch.manifest for batch in batches]
    findings: dict[tuple[str, str, str], dict[str, Any]] = {}
    for finding in (f for m in manifests for f in m["findings"]):
        key = finding["column"], finding["check"], finding["severity"]
        known = findings.get(key)
        count = finding["count"] + (known["count"] if known else 0)
        findings[key] = {**(known or finding), "count": count}
    rejects: dict[tuple[str, str], int] = {}
    for reject in (r for m in manifests for r in m["rejects"]):
        key2 = reject["column"], reject["reason"]
        rejects[key2] = rejects.get(key2, 0) + reject["count"]
    known_sessions = sessions.filter(~nw.col("subscriber_id").is_null())
    coverage = store.rows(
        known_sessions.group_by("local_date")
        .agg(session_count=nw.len(), subscriber_count=nw.col("subscriber_id").n_unique())
        .sort("local_date")
    )
    return {
        **{key: sum(m[key] for m in manifests)
           for key in ("records", "accepted", "rejected", "without_subscriber_count")},
        "findings": list(findings.values()),
        "rejects": [{"column": c, "reason": r, "count": n} for (c, r), n in sorted(rejects.items())],
        "coverage": [{**row, "local_date": row["local_date"].isoformat()} for row in coverage],
        "periods": _periods(store, known_sessions, coverage, settings),
    }  # fmt: skip


def _periods(
    store: Store, sessions: Frame, coverage: list[dict[str, Any]], settings: Settings
) -> dict[str, Any]:
    """The days seen, in two halves, and whether enough subscribers are in both to compare them."""
    first_day, last_day = coverage[0]["local_date"], coverage[-1]["local_date"]
    days = (last_day - first_day).days + 1
    if days < 2:
        return {"comparable": False, "first": None, "second": None}
    middle = first_day + timedelta(days=days // 2)
    halves = sessions.group_by("subscriber_id").agg(
        first=nw.col("local_date").min(), last=nw.col("local_date").max()
    )
    in_first, in_second = nw.col("first") < nw.lit(middle), nw.col("last") >= nw.lit(middle)
    counts = store.row(
        halves.select(
            first_subscriber_count=in_first.cast(nw.Float64).sum(),
            second_subscriber_count=in_second.cast(nw.Float64).sum(),
            both_subscriber_count=(in_first & in_second).cast(nw.Float64).sum(),
        )
    )
    whole = {name: int(value) for name, value in counts.items()}
    total = (
        whole["first_subscriber_count"] + whole["second_subscriber_count"] - whole["both_subscriber_count"]
    )
    return {
        "first": [first_day.isoformat(), (middle - timedelta(days=1)).isoformat()],
        "second": [middle.isoformat(), last_day.isoformat()],
        **whole,
        "comparable": whole["both_subscriber_count"] >= settings.minimum_overlap_share * total,
    }


# Models


def _matrix(store: Store, profiles: Frame, names: Sequence[str], limit: int) -> Any:
    """Features as an array, in hash order, without rows that lack one; at most `limit` subscribers."""
    import numpy as np

    known = profiles.filter(*(~nw.col(name).is_null() for name in names))
    chosen = known.select("subscriber_hash", *names).sort("subscriber_hash").head(limit).select(*names)
    table = store.arrow(chosen)
    columns = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names]
    return np.column_stack(columns)


def _fit(
    store: Store, profiles: Frame, contract: Contract, settings: Settings, background: ThreadPoolExecutor
) -> tuple[dict[str, Any], Future[dict[str, Any]] | None]:
    """The models that need only profiles; the elbow goes on in the background."""
    from subsight.models import clusters

    knobs: dict[str, Any] = {"seed": settings.seed, "starts": settings.starts}
    models: dict[str, Any] = {}
    use = _matrix(store, profiles, distance_scores.ENGAGEMENT, settings.fit_limit)
    if len(use) < 10:
        return models, None
    elbow = background.submit(clusters.elbow, use, **knobs)
    models["engagement"] = distance_scores.fit_engagement(use, **knobs)
    service = _matrix(store, profiles, distance_scores.EXPERIENCE, settings.fit_limit)
    if len(service) >= 10:
        models["experience"] = distance_scores.fit_experience(service, **knobs)
        observed = profiles.filter(*(~nw.col(f"{n}_raw").is_null() for n in distance_scores.EXPERIENCE))
        seen = _matrix(store, observed, distance_scores.EXPERIENCE, settings.fit_limit)
        if 10 <= len(seen) < len(service):
            record = distance_scores.fit_experience(seen, **knobs, name="experience_observed")
            record["fit"]["comparison"] = distance_scores.compare_observed(models["experience"], record, seen)
            models["experience_observed"] = record
    volumes = [f"app_{app.slug}_bytes" for app in contract.applications]
    if len(volumes) > 1:
        models["components"] = components.fit(volumes, _matrix(store, profiles, volumes, settings.fit_limit))
    if "experience" in models:
        both = _matrix(store, _score(profiles, models), distance_scores.SATISFACTION, settings.fit_limit)
        models["satisfaction"] = distance_scores.fit_satisfaction(both, **knobs)
    return models, elbow


def _score(profiles: Frame, models: Mapping[str, Any]) -> Frame:
    """Profiles with the scores, indices and cluster numbers of whichever models there are."""
    frame = profiles
    for name in ("engagement", "experience"):
        if name in models:
            frame = in_engine.with_clusters(frame, models[name], f"{name}_cluster")
            frame = in_engine.with_scores(frame, models[name], f"{name}_score", f"{name}_index")
    if "engagement" in models and "experience" in models:
        frame = frame.with_columns(
            satisfaction_score=(nw.col("engagement_score") + nw.col("experience_score")) / 2,
            satisfaction_index=(nw.col("engagement_index") + nw.col("experience_index")) / 2,
        )
    if "satisfaction" in models:
        frame = in_engine.with_clusters(frame, models["satisfaction"], "satisfaction_cluster")
    return frame


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
    from subsight.models import satisfaction

    if "satisfaction" not in models:
        return {}
    limit = settings.fit_limit
    names = (*distance_scores.SATISFACTION, "satisfaction_score")
    values = _matrix(store, scored, names, limit)
    found = {"identity": satisfaction.identity(*values.T, seed=settings.seed)}
    behaviour, target, period = scored, "satisfaction_score", "same"
    if quality["periods"]["comparable"]:
        middle = datetime.fromisoformat(quality["periods"]["second"][0]).date()
        behaviour = profile(sessions.filter(nw.col("local_date") < nw.lit(middle)), contract)
        later = profile(sessions.filter(nw.col("local_date") >= nw.lit(middle)), contract)
        later = _score(later, models).select("subscriber_id", later_score=nw.col("satisfaction_score"))
        behaviour = behaviour.join(later, on="subscriber_id", how="inner")
        target, period = "later_score", "second from first"
    features = satisfaction.features(contract.applications)
    frame = behaviour.filter(~nw.col(target).is_null()).with_columns(
        **{name: nw.col(source) / nw.when(nw.col(whole) > 0).then(nw.col(whole).cast(nw.Float64))
           for name, (source, whole) in satisfaction.ratios(contract.applications).items()}
    )  # fmt: skip
    table = store.arrow(frame.sort("subscriber_hash").head(limit).select(*features, target))
    columns = {name: table[name].to_pylist() if name == "handset_manufacturer" else
               table[name].to_numpy(zero_copy_only=False) for name in features}  # fmt: skip
    found["behaviour"] = satisfaction.behaviour(
        columns, table[target].to_numpy(zero_copy_only=False), seed=settings.seed, period=period
    )
    return found


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
    with open_store(settings.engine, memory=settings.memory) as store:
        return store.arrow(_score(store.from_arrow(table), models))


# Answers


def _questions(study: str) -> tuple[Question, ...]:
    questions: tuple[Question, ...] = import_module(f"subsight.studies.{study}").QUESTIONS
    return questions


def _answer(
    inputs: Inputs, wanted: tuple[str, ...], elbow: Future[dict[str, Any]] | None, clock: _Clock
) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    given: dict[str, Answer] = {}
    for study in wanted:
        with clock.stage(f"study {study}"):
            if (
                study != "overview"
                and elbow is not None
                and "elbow" not in inputs.models["engagement"]["fit"]
            ):
                inputs.models["engagement"]["fit"]["elbow"] = elbow.result()
            context = Inputs(**{**vars(inputs), "answers": given})
            found[study] = [question.answer(context) for question in _questions(study)]
            given |= {answer.id: answer for answer in found[study]}
    if elbow is not None:
        inputs.models["engagement"]["fit"].setdefault("elbow", elbow.result())
    return found


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
    for study, given in found.items():
        (folder / "answers" / f"{study}.json").write_text(answers_format.dumps(given), encoding="utf-8")
        studies[study] = {"answers": len(given), "stale": False, "from_run": None}
    try:
        earlier = workspace.run()
    except NotFoundError:
        return studies
    manifest = json.loads((earlier / "manifest.json").read_text(encoding="utf-8"))
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
    packages = ("subsight", "duckdb", "narwhals", "scikit-learn", "numpy", "pyarrow")
    keys = ("name", "content", "mapping", "records", "accepted", "rejected", "units", "identifiers")
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": store.name,
        "identifiers": sorted({batch.manifest["identifiers"] for batch in batches}),
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}},
        "settings": settings.model_dump(),
        "inputs": [{key: batch.manifest[key] for key in keys} for batch in batches],
        "applications": [{"slug": app.slug, "name": app.name} for app in contract.applications],
        "treatment": treated,
        "tables": tables,
        "studies": studies,
    }


def _stamp(folder: Path, clock: _Clock) -> None:
    """Adds what is only known at the end: the run's name and the seconds of each stage."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    name = folder.name.removeprefix(".staged-")
    _write_json(path, {"run": name, **manifest, "timings": clock.seconds})


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
