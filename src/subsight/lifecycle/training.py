"""Training: a published run's tables become versions of the models, each judged before it is registered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from subsight import versions
from subsight.contracts import Application
from subsight.errors import NotFoundError
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry, Version
from subsight.models import satisfaction
from subsight.results import Results
from subsight.settings import Settings
from subsight.tables import SESSIONS
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Trained", "compare", "train"]

_TARGET: Final = "satisfaction_score"
_SCORES: Final = ("engagement_score", "experience_score")
_RESAMPLES: Final = 1000
_PROBES: Final = 20


@dataclass(frozen=True)
class _Data:
    """A run's subscribers: features and target by column, and who is held out of every training."""

    columns: Mapping[str, Any]
    target: Floats
    held_out: Any
    source: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """A version that was trained, and whether it became the champion at once: only the first does."""

    version: Version
    is_champion: bool


def train(workspace: Workspace, settings: Settings) -> list[Trained]:
    """Fits, judges and registers a version of each model that the current run can feed.

    A quarter of the subscribers is held out, by a hash of who they are: the same people in every
    training, so that no version is ever judged on whom it or its champion has seen.

    Raises:
        NotFoundError: no run was published, or it has no satisfaction scores.
        ConfigurationError: too few subscribers have a score.
    """
    data, registry = _read(workspace, settings), Registry(workspace)
    began = datetime.now(UTC)
    engagement, experience = (data.columns[score] for score in _SCORES)
    identity = satisfaction.identity(engagement, experience, data.target, settings.seed, data.held_out)
    trained = [_register(registry, identity, data, settings, began)]
    began = datetime.now(UTC)
    habits = {name: column for name, column in data.columns.items() if name not in _SCORES}
    behaviour = satisfaction.behaviour(habits, data.target, settings.seed, held_out=data.held_out)
    return [*trained, _register(registry, behaviour, data, settings, began)]


def _register(
    registry: Registry, record: dict[str, Any], data: _Data, settings: Settings, began: datetime
) -> Trained:
    name = record["name"]
    champion = registry.get(name) if "champion" in registry.aliases(name) else None
    candidate = Predictor(Version(name, 0, record, {}))
    predicted = _held_out(candidate, data)
    against = _against(champion, predicted, data, settings.seed) if champion else None
    reasons = _reasons(record, data, settings, against)
    record = {**record, "probes": _probes(candidate, data)}
    facts = {
        "began_at": began.isoformat(timespec="milliseconds"),
        "ended_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "code": versions.code(),
        "source": dict(data.source),
        "parameters": {"seed": settings.seed, "fit_limit": settings.fit_limit,
                       "penalty": record["parameters"].get("penalty")},
        "metrics": {key: record["fit"][key]
                    for key in ("r2", "mae", "baseline_mae", "rows_train", "rows_test")},
        "against_champion": against,
        "is_promotable": not reasons,
        "reasons": reasons,
    }  # fmt: skip
    version = registry.register(name, record, facts)
    if champion is None and not reasons:
        registry.promote(name, version.number, why="the first that passed validation")
    return Trained(version, is_champion=champion is None and not reasons)


def compare(workspace: Workspace, settings: Settings, name: str, first: int, second: int) -> dict[str, Any]:
    """Two versions on the current run's held-out subscribers; see `_against` for the keys.

    Raises:
        NotFoundError: there is no such version or run.
    """
    data, registry = _read(workspace, settings), Registry(workspace)
    predicted = _held_out(Predictor(registry.get(name, second)), data)
    return {
        "model": name,
        "version": second,
        **_against(registry.get(name, first), predicted, data, settings.seed),
    }


def _read(workspace: Workspace, settings: Settings) -> _Data:
    import numpy as np

    results = Results(workspace.run())
    if "satisfaction" not in results.tables():
        raise NotFoundError(
            f"the run {results.manifest['run']} has no satisfaction scores",
            expected="a run with enough subscribers to divide into groups",
            do="ingest more sessions and run again",
        )
    apps = [Application(app["slug"], app["name"]) for app in results.manifest["applications"]]
    wanted = satisfaction.habits(SESSIONS.expand(tuple(apps)))
    mix = {f"app_{app.slug}_share": f"app_{app.slug}_bytes" for app in apps}
    stored = [mix.get(name, name) for name in wanted]
    profiles = results.table("profiles", ["subscriber_id", "total_bytes", *stored]).slice(
        0, settings.fit_limit
    )
    scores = results.table("satisfaction", ["subscriber_id", *_SCORES, _TARGET]).slice(0, settings.fit_limit)
    total = _floats(profiles["total_bytes"])
    columns: dict[str, Any] = {}
    for name in wanted:
        if name == "handset_manufacturer":
            columns[name] = profiles[name].to_pylist()
        elif name in mix:
            volume = _floats(profiles[mix[name]])
            columns[name] = np.divide(volume, total, out=np.full(len(total), np.nan), where=total > 0)
        else:
            columns[name] = _floats(profiles[name])
    columns |= {score: _floats(scores[score]) for score in _SCORES}
    target = _floats(scores[_TARGET])
    ids = profiles["subscriber_id"].to_pylist()
    if ids != scores["subscriber_id"].to_pylist():
        raise NotFoundError("the run's tables do not hold the same subscribers", do="publish the run again")
    held_out = np.array([hashlib.sha256(one.encode()).digest()[0] % 4 == 0 for one in ids])
    known = np.isfinite(target)
    source = {"run": results.manifest["run"], "inputs": [e["content"] for e in results.manifest["inputs"]],
              "subscribers": int(known.sum())}  # fmt: skip
    return _Data(columns, target, held_out, source)


def _floats(column: Any) -> Floats:
    import numpy as np

    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _held_out(predictor: Predictor, data: _Data) -> Floats:
    """Predictions for the held-out subscribers who have a score."""
    import numpy as np

    rows = _tested(data)
    chosen = {
        name: column[rows] if hasattr(column, "dtype") else [column[i] for i in rows]
        for name, column in data.columns.items()
        if name in predictor.fields
    }
    predicted: Floats = np.asarray(predictor.many(chosen, len(rows)))
    return predicted


def _tested(data: _Data) -> Any:
    import numpy as np

    return np.flatnonzero(data.held_out & np.isfinite(data.target))


def _against(champion: Version, predicted: Floats, data: _Data, seed: int) -> dict[str, Any]:
    """How much larger the absolute error is than the champion's on the same subscribers.

    `mae_change` is negative where the candidate is better; its 95 % interval is a percentile
    bootstrap over subscribers (Efron 1979) with a fixed seed. `is_worse` where all of it is above 0.
    """
    import numpy as np

    actual = data.target[_tested(data)]
    theirs = np.abs(_held_out(Predictor(champion), data) - actual)
    change = np.abs(predicted - actual) - theirs
    random = np.random.default_rng(seed)
    means = [change[random.integers(len(change), size=len(change))].mean() for _ in range(_RESAMPLES)]
    low, high = (float(value) for value in np.quantile(means, [0.025, 0.975]))
    # Rounding alone makes errors of an exact model differ in their last digits.
    margin = 1e-9 * max(float(np.abs(actual).mean()), 1e-300)
    return {
        "champion": champion.number,
        "champion_mae": float(theirs.mean()),
        "mae_change": float(change.mean()),
        "mae_change_low": low,
        "mae_change_high": high,
        "rows": len(change),
        "is_worse": low > margin,
        "is_better": high < -margin,
    }


def _reasons(
    record: Mapping[str, Any], data: _Data, settings: Settings, against: Mapping[str, Any] | None
) -> list[str]:
    """Why a version may not be promoted; none where it may."""
    import numpy as np

    reasons = []
    for name, column in data.columns.items():
        if name.endswith("_share") and hasattr(column, "dtype"):
            outside = int((np.abs(column[np.isfinite(column)] - 0.5) > 0.5 + 1e-6).sum())
            if outside:
                reasons.append(f"{name} lies outside 0 to 1 for {outside:,} subscribers")
    r2, fit = record["fit"]["r2"], record["fit"]
    if r2 is None or r2 < settings.minimum_r2:
        said = "undefined, as the target does not vary" if r2 is None else f"{r2:.4f}"
        reasons.append(f"R2 on held-out subscribers is {said}, below {settings.minimum_r2:g}")
    if fit["mae"] > fit["baseline_mae"]:
        reasons.append(f"its error {fit['mae']:.4g} exceeds that of the mean, {fit['baseline_mae']:.4g}")
    if against and against["is_worse"]:
        reasons.append(
            f"its error exceeds that of version {against['champion']} by {against['mae_change']:.4g} "
            f"(95 % interval {against['mae_change_low']:.4g} to {against['mae_change_high']:.4g})"
        )
    return reasons


def _probes(predictor: Predictor, data: _Data) -> list[dict[str, Any]]:
    """Some held-out inputs and what the version predicts for them: whoever serves it can check itself."""
    probes = []
    for row in _tested(data)[:_PROBES]:
        inputs = {
            name: _plain(column[row]) for name, column in data.columns.items() if name in predictor.fields
        }
        probes.append({"inputs": inputs, "satisfaction_score": predictor.one(inputs)})
    return probes


def _plain(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    return None if value != value else float(value)
