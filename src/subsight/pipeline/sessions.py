"""From sessions to profiles, scores and what is said of them: user analytics as an area of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.contracts import Application, Contract
from subsight.enrich import coverage, treatment
from subsight.errors import ConfigurationError, InputError
from subsight.ingestion import Ingested
from subsight.metrics import profile
from subsight.models import distance_scores, fitting
from subsight.pipeline import hours
from subsight.pipeline.publishing import Area, Context, carried_answers, earlier_run, quality_of
from subsight.settings import Settings
from subsight.store import Frame, Store
from subsight.studies import Inputs, answer_all
from subsight.tables import SESSIONS
from subsight.workspace import Batch, Workspace

__all__ = ["STUDIES", "compute", "contract_of", "warm"]

STUDIES: Final = ("overview", "engagement", "experience", "satisfaction", "memo")
"""Every study, in the order in which later ones may build on earlier ones' answers."""

_MODELS: Final = (
    "components", "engagement", "experience", "experience_observed", "satisfaction", "identity", "behaviour",
)  # fmt: skip
_KEPT_SESSIONS: Final = 2_000_000
"""Up to this many sessions are treated once and kept; more are treated again by each question."""


def compute(
    context: Context,
    batches: Sequence[Batch],
    ingested: Sequence[Ingested],
    wanted: Sequence[str],
    given: Mapping[str, Any] | None,
    zone: str,
) -> Area:
    """Profiles, scores and answers of the sessions in the batches.

    Args:
        ingested: what this command ingested, of which some may not have been read as asked.
        wanted: the studies to compute.
        given: another run's treatment and models, to use instead of fitting.
        zone: the one whose clock hours are summed by, where sessions were read in several.
    """
    _check(context.workspace, batches)
    store, clock, settings = context.store, context.clock, context.settings
    contract = contract_of(batches)
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
    with clock.stage("hours"):
        summed = hours.tables(store, sessions, contract, zone, settings.minimum_group)
    earlier = carried_answers(earlier_run(context.workspace), wanted)
    base = Inputs(store, sessions, profiles, contract, settings, treated, {}, quality, earlier)
    with ThreadPoolExecutor(1) as background:
        models: dict[str, Any] = (
            {name: record for name, record in given["models"].items() if name in _MODELS} if given else {}
        )
        if not given:
            columns = fitting.features(store, profiles, contract, settings.fit_limit)
            elbow = background.submit(fitting.fit_elbow, columns, settings)
            models = fitting.fit_components(columns, contract) | fitting.fit_scores(columns, settings)
        # What needs no scores is answered while models are fitted, what needs no elbow while that goes on.
        inputs = replace(base, models=models)
        inputs, found = _answer(inputs, wanted, ("overview",), context)
        with clock.stage("models"):
            scored = store.keep(fitting.score(profiles, models))
            if not given:
                models |= _fit_regressions(store, sessions, scored, models, contract, quality, settings)
        inputs = replace(inputs, profiles=scored, models=models)
        inputs, more = _answer(inputs, wanted, ("experience", "satisfaction"), context)
        with clock.stage("models"):
            if not given and "engagement" in models:
                models["engagement"]["fit"]["elbow"] = elbow.result()
    inputs, last = _answer(inputs, wanted, ("engagement", "memo"), context)
    facts = {
        "applications": [{"slug": app.slug, "name": app.name} for app in contract.applications],
        "treatment": treated,
        "session_zone": zone,
    }
    answers = found | more | last
    return Area(
        "sessions", batches, _tables(scored, models) | summed, models, answers, STUDIES, quality, facts
    )


def _check(workspace: Workspace, batches: Sequence[Batch]) -> None:
    if any(b.manifest["accepted"] > b.manifest["without_subscriber_count"] for b in batches):
        return
    raise InputError(
        f"no session in {workspace.path} has a subscriber",
        found=f"{sum(b.manifest['accepted'] for b in batches):,} sessions without an identifier",
        expected="the MSISDN, or what identifies a subscriber, in the column of subscriber_id",
        do="map the right column, and run it in a new workspace",
    )


def warm() -> None:
    """Importing scikit-learn takes about two seconds, which pass while the engine ingests."""
    import_module("sklearn.cluster")
    import_module("sklearn.metrics")


def contract_of(batches: Sequence[Batch]) -> Contract:
    """The sessions' contract with the applications of every batch."""
    apps = {app["slug"]: app["name"] for batch in batches for app in batch.manifest["applications"]}
    return SESSIONS.expand(tuple(Application(slug, name) for slug, name in apps.items()))


def _quality(
    store: Store,
    batches: Sequence[Batch],
    ingested: Sequence[Ingested],
    sessions: Frame,
    settings: Settings,
) -> dict[str, Any]:
    read = quality_of(batches)
    ignored = [
        {"column": one.name, "check": "options", "severity": "warning",
         "count": one.batch.manifest["accepted"], "text": one.ignored}
        for one in ingested if one.ignored
    ]  # fmt: skip
    known_sessions = sessions.filter(~nw.col("subscriber_id").is_null())
    days = coverage.by_day(store, known_sessions)
    return {
        **read,
        "findings": [*read["findings"], *ignored],
        "coverage": [{**row, "local_date": row["local_date"].isoformat()} for row in days],
        "periods": coverage.periods(store, known_sessions, days, settings),
    }


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


# Answers


def _answer(
    inputs: Inputs, wanted: Sequence[str], studies: Sequence[str], context: Context
) -> tuple[Inputs, dict[str, list[Answer]]]:
    """The answers of those studies that are wanted, and the inputs with them for later studies."""
    found: dict[str, list[Answer]] = {}
    for study in [study for study in studies if study in wanted]:
        with context.clock.stage(f"study {study}"):
            questions = import_module(f"subsight.studies.{study}").QUESTIONS
            found[study] = answer_all(questions, inputs, context.on_answer)
            known = {answer.id: answer for answer in found[study]}
            inputs = replace(inputs, answers={**inputs.answers, **known})
    return inputs, found


_SATISFACTION: Final = (
    "subscriber_id", "engagement_score", "experience_score", "satisfaction_score", "engagement_index",
    "experience_index", "satisfaction_index", "engagement_cluster", "experience_cluster",
    "satisfaction_cluster",
)  # fmt: skip


def _tables(scored: Frame, models: Mapping[str, Any]) -> dict[str, Frame]:
    derived = set(_SATISFACTION) - {"subscriber_id"} | {"subscriber_hash"}
    names = [name for name in scored.collect_schema().names() if name not in derived]
    satisfaction = {"satisfaction": scored.select(*_SATISFACTION)} if "satisfaction" in models else {}
    return {"profiles": scored.select(*names), **satisfaction}
