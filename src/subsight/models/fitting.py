"""Every model of a run that profiles alone can fit, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Contract
from subsight.models import clusters, components, distance_scores, in_engine
from subsight.models.distance_scores import ENGAGEMENT, EXPERIENCE
from subsight.settings import Settings
from subsight.store import Frame, Store

__all__ = ["fit", "sample", "score", "whole"]

_LEAST_ROWS: Final = 10


def sample(store: Store, profiles: Frame, names: Sequence[str], limit: int) -> dict[str, Any]:
    """Columns as arrays (NaN where null), in hash order: whoever has the smallest, at most `limit`."""
    import numpy as np

    chosen = profiles.select("subscriber_hash", *names).sort("subscriber_hash").head(limit).select(*names)
    table = store.arrow(chosen)
    return {name: table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names}


def whole(columns: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Some of the columns as a matrix, without the rows that lack one."""
    import numpy as np

    values = np.column_stack([columns[name] for name in names])
    return values[np.isfinite(values).all(axis=1)]


def fit(
    store: Store, profiles: Frame, contract: Contract, settings: Settings, background: ThreadPoolExecutor
) -> tuple[dict[str, Any], Future[dict[str, Any]] | None]:
    """The models that need only profiles, from one bounded sample; the elbow goes on in the background."""
    knobs: dict[str, Any] = {"seed": settings.seed, "starts": settings.starts}
    volumes = [f"app_{app.slug}_bytes" for app in contract.applications]
    raw = [f"{name}_raw" for name in EXPERIENCE]
    columns = sample(store, profiles, [*ENGAGEMENT, *EXPERIENCE, *raw, *volumes], settings.fit_limit)
    models: dict[str, Any] = {}
    use, service = whole(columns, ENGAGEMENT), whole(columns, EXPERIENCE)
    if len(use) < _LEAST_ROWS:
        return models, None
    elbow = background.submit(clusters.elbow, use, **knobs)
    models["engagement"] = distance_scores.fit_engagement(use, **knobs)
    if len(volumes) > 1:
        models["components"] = components.fit(volumes, whole(columns, volumes))
    if len(service) < _LEAST_ROWS:
        return models, elbow
    models["experience"] = distance_scores.fit_experience(service, **knobs)
    seen = whole(columns, [*EXPERIENCE, *raw])[:, : len(EXPERIENCE)]
    if _LEAST_ROWS <= len(seen) < len(service):
        record = distance_scores.fit_experience(seen, **knobs, name="experience_observed")
        record["fit"]["comparison"] = distance_scores.compare_observed(models["experience"], record, seen)
        models["experience_observed"] = record
    both = whole(columns, [*ENGAGEMENT, *EXPERIENCE])
    scores = [
        distance_scores.scores(both[:, part], models[name]["parameters"])[0]
        for name, part in (("engagement", slice(0, 3)), ("experience", slice(3, 6)))
    ]
    together = whole({"0": scores[0], "1": scores[1]}, ["0", "1"])
    models["satisfaction"] = distance_scores.fit_satisfaction(together, **knobs)
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
