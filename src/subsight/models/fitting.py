"""Every model of a run that profiles alone can fit, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Contract
from subsight.models import clusters, components, distance_scores, in_engine
from subsight.models.distance_scores import ENGAGEMENT, EXPERIENCE
from subsight.settings import Settings
from subsight.store import Frame, Store

__all__ = ["features", "fit_components", "fit_elbow", "fit_scores", "sample", "score", "whole"]

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


def _divides(values: Any, k: int) -> bool:
    """Whether there are enough subscribers, and enough that differ, for k groups of them."""
    import numpy as np

    if len(values) < _LEAST_ROWS:
        return False
    return any(len(np.unique(some, axis=0)) >= k for some in (values[:1000], values))


def features(store: Store, profiles: Frame, contract: Contract, limit: int) -> dict[str, Any]:
    """The one bounded sample that every model is fitted on (see `sample`)."""
    raw = [f"{name}_raw" for name in EXPERIENCE]
    return sample(store, profiles, [*ENGAGEMENT, *EXPERIENCE, *raw, *_volumes(contract)], limit)


def _volumes(contract: Contract) -> list[str]:
    return [f"app_{app.slug}_bytes" for app in contract.applications]


def fit_components(columns: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """The principal components of the application volumes, where several vary: ready at once."""
    volumes = _volumes(contract)
    if len(volumes) < 2:
        return {}
    values = whole(columns, volumes)
    if len(values) < _LEAST_ROWS or sum(values.std(axis=0) > 0) < 2:
        return {}
    return {"components": components.fit(volumes, values)}


def fit_scores(columns: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Engagement, experience (again without the never observed) and satisfaction, as far as they go."""
    import numpy as np

    knobs: dict[str, Any] = {"seed": settings.seed, "starts": settings.starts}
    models: dict[str, Any] = {}
    use, service = whole(columns, ENGAGEMENT), whole(columns, EXPERIENCE)
    if not _divides(use, 3):
        return models
    models["engagement"] = distance_scores.fit_engagement(use, **knobs)
    if not _divides(service, 3):
        return models
    models["experience"] = distance_scores.fit_experience(service, **knobs)
    raw = [f"{name}_raw" for name in EXPERIENCE]
    seen = whole(columns, [*EXPERIENCE, *raw])[:, : len(EXPERIENCE)]
    if len(seen) < len(service) and _divides(seen, 3):
        record = distance_scores.fit_experience(seen, **knobs, name="experience_observed")
        record["fit"]["comparison"] = distance_scores.compare_observed(models["experience"], record, seen)
        models["experience_observed"] = record
    both = whole(columns, [*ENGAGEMENT, *EXPERIENCE])
    scores = [
        distance_scores.scores(both[:, part], models[name]["parameters"])[0]
        for name, part in (("engagement", slice(0, 3)), ("experience", slice(3, 6)))
    ]
    together = np.column_stack(scores)
    if _divides(together, 2):
        models["satisfaction"] = distance_scores.fit_satisfaction(together, **knobs)
    return models


def fit_elbow(columns: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    """The elbow of the engagement groups; None where there are too few subscribers to divide."""
    use = whole(columns, ENGAGEMENT)
    return clusters.elbow(use, seed=settings.seed, starts=settings.starts) if _divides(use, 3) else None


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
