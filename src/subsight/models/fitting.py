"""Every model of a run that profiles alone can fit, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import narwhals as nw

from subsight.contracts import Contract
from subsight.models import clusters, components, distance_scores, in_engine
from subsight.settings import Settings
from subsight.store import Frame, Store

__all__ = ["fit", "matrix", "score"]


def matrix(store: Store, profiles: Frame, names: Sequence[str], limit: int) -> Any:
    """Features as an array, in hash order, without rows that lack one; at most `limit` subscribers."""
    import numpy as np

    known = profiles.filter(*(~nw.col(name).is_null() for name in names))
    chosen = known.select("subscriber_hash", *names).sort("subscriber_hash").head(limit).select(*names)
    table = store.arrow(chosen)
    columns = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names]
    return np.column_stack(columns)


def fit(
    store: Store, profiles: Frame, contract: Contract, settings: Settings, background: ThreadPoolExecutor
) -> tuple[dict[str, Any], Future[dict[str, Any]] | None]:
    """The models that need only profiles; the elbow goes on in the background."""
    knobs: dict[str, Any] = {"seed": settings.seed, "starts": settings.starts}
    models: dict[str, Any] = {}
    use = matrix(store, profiles, distance_scores.ENGAGEMENT, settings.fit_limit)
    if len(use) < 10:
        return models, None
    elbow = background.submit(clusters.elbow, use, **knobs)
    models["engagement"] = distance_scores.fit_engagement(use, **knobs)
    service = matrix(store, profiles, distance_scores.EXPERIENCE, settings.fit_limit)
    if len(service) >= 10:
        models["experience"] = distance_scores.fit_experience(service, **knobs)
        observed = profiles.filter(*(~nw.col(f"{n}_raw").is_null() for n in distance_scores.EXPERIENCE))
        seen = matrix(store, observed, distance_scores.EXPERIENCE, settings.fit_limit)
        if 10 <= len(seen) < len(service):
            record = distance_scores.fit_experience(seen, **knobs, name="experience_observed")
            record["fit"]["comparison"] = distance_scores.compare_observed(models["experience"], record, seen)
            models["experience_observed"] = record
    volumes = [f"app_{app.slug}_bytes" for app in contract.applications]
    if len(volumes) > 1:
        models["components"] = components.fit(volumes, matrix(store, profiles, volumes, settings.fit_limit))
    if "experience" in models:
        both = matrix(store, score(profiles, models), distance_scores.SATISFACTION, settings.fit_limit)
        models["satisfaction"] = distance_scores.fit_satisfaction(both, **knobs)
    return models, elbow


def score(profiles: Frame, models: Mapping[str, Any]) -> Frame:
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
