"""Training: a published run's tables become versions of the models, each judged before it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from subsight import versions
from subsight.lifecycle import drift, examples
from subsight.lifecycle.examples import SCORES, Examples
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry, Version
from subsight.models import feedback, satisfaction
from subsight.models.design import LEAST_ROWS
from subsight.results import Results
from subsight.settings import Settings
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["PREDICTION", "Trained", "compare", "train"]

PREDICTION: Final = "prediction"
_RESAMPLES: Final = 1000
_PROBES: Final = 20


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
    data, registry = examples.of_run(workspace, settings), Registry(workspace)
    began = datetime.now(UTC)
    engagement, experience = (data.columns[score] for score in SCORES)
    identity = satisfaction.identity(engagement, experience, data.target, settings.seed, data.held_out)
    trained = [_register(registry, identity, data, data.columns, settings, began)]
    began = datetime.now(UTC)
    habits = {name: column for name, column in data.columns.items() if name not in SCORES}
    behaviour = satisfaction.behaviour(habits, data.target, settings.seed, held_out=data.held_out)
    trained.append(_register(registry, behaviour, data, data.columns, settings, began))
    began = datetime.now(UTC)
    answered = examples.answered(workspace, settings)
    if answered is None:
        return trained
    record = feedback.fit(answered.columns, answered.target, settings.seed, answered.held_out)
    record["fit"]["beside_index"] = _beside_index(workspace, record, answered, settings.seed)
    everybody = examples.population(workspace, settings, "feedback")
    return [*trained, _register(registry, record, answered, everybody, settings, began)]


def _beside_index(
    workspace: Workspace, record: dict[str, Any], data: Examples, seed: int
) -> dict[str, Any] | None:
    """How well the model and the satisfaction index order the held-out answers: Spearman's rank correlations.

    `gain` is the model's less the index's, with a 95 % percentile bootstrap over answers. The index is of
    the whole run, the answer's future included. None where too few of them have an index.
    """
    import numpy as np
    from scipy.stats import spearmanr

    scores = Results(workspace.run()).table("satisfaction", ["subscriber_id", "satisfaction_index"])
    known = dict(
        zip(scores["subscriber_id"].to_pylist(), scores["satisfaction_index"].to_pylist(), strict=True)
    )
    rows = data.tested
    predicted = _held_out(Predictor(Version("feedback", 0, record, {})), data)
    index = np.array([known.get(data.ids[row]) for row in rows], dtype=np.float64)
    values = np.column_stack([data.target[rows], predicted, index])[np.isfinite(index)]
    if len(values) < LEAST_ROWS or (values.min(axis=0) == values.max(axis=0)).any():
        return None
    random = np.random.default_rng(seed)
    draws = [values[random.integers(len(values), size=len(values))] for _ in range(_RESAMPLES)]
    # A draw without two different answers has no correlation.
    gains = [float(np.subtract(*spearmanr(one).statistic[0, 1:])) for one in draws if np.ptp(one[:, 0])]
    low, high = (float(value) for value in np.quantile(gains, [0.025, 0.975]))
    model, of_index = (float(value) for value in spearmanr(values).statistic[0, 1:])
    return {"answers": len(values), "model": model, "index": of_index, "gain": model - of_index,
            "gain_low": low, "gain_high": high}  # fmt: skip


def _register(
    registry: Registry,
    record: dict[str, Any],
    data: Examples,
    population: Mapping[str, Any],
    settings: Settings,
    began: datetime,
) -> Trained:
    name = record["name"]
    champion = registry.get(name) if "champion" in registry.aliases(name) else None
    candidate = Predictor(Version(name, 0, record, {}))
    predicted = _held_out(candidate, data)
    against = _against(champion, predicted, data, settings.seed) if champion else None
    reasons = _reasons(record, data, settings, against)
    record = {**record, "probes": _probes(candidate, data)}
    record.pop("sample", None)  # the probes are its sample, and can be checked
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
    version = registry.register(name, record, facts, _sample(candidate, population, settings.seed))
    if champion is None and not reasons:
        registry.promote(name, version.number, why="the first that passed validation")
    return Trained(version, is_champion=champion is None and not reasons)


def compare(workspace: Workspace, settings: Settings, name: str, first: int, second: int) -> dict[str, Any]:
    """Two versions on the current run's held-out subscribers; see `_against` for the keys.

    Raises:
        NotFoundError: there is no such version or run.
    """
    data, registry = examples.of_model(workspace, settings, name), Registry(workspace)
    predicted = _held_out(Predictor(registry.get(name, second)), data)
    return {
        "model": name,
        "version": second,
        **_against(registry.get(name, first), predicted, data, settings.seed),
    }


def _held_out(predictor: Predictor, data: Examples) -> Floats:
    """Predictions for the held-out subscribers who have a score."""
    import numpy as np

    rows = data.tested
    chosen = data.rows(predictor.fields, rows)
    predicted: Floats = np.asarray(predictor.many(chosen, len(rows)))
    return predicted


def _against(champion: Version, predicted: Floats, data: Examples, seed: int) -> dict[str, Any]:
    """How much larger the absolute error is than the champion's on the same subscribers.

    `mae_change` is negative where the candidate is better; its 95 % interval is a percentile
    bootstrap over subscribers (Efron 1979) with a fixed seed. `is_worse` where all of it is above 0.
    """
    import numpy as np

    actual = data.target[data.tested]
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
    record: Mapping[str, Any], data: Examples, settings: Settings, against: Mapping[str, Any] | None
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


def _sample(predictor: Predictor, population: Mapping[str, Any], seed: int) -> bytes:
    """What the population looks like to a version: its features, and what it predicts."""
    chosen = {name: population[name] for name in predictor.fields}
    rows = len(next(iter(chosen.values())))
    return drift.to_bytes(drift.sample({**chosen, PREDICTION: predictor.many(chosen, rows)}, seed))


def _probes(predictor: Predictor, data: Examples) -> list[dict[str, Any]]:
    """Some held-out inputs and what the version predicts for them: whoever serves it can check itself."""
    probes = []
    for row in data.tested[:_PROBES]:
        inputs = {
            name: _plain(column[row]) for name, column in data.columns.items() if name in predictor.fields
        }
        probes.append({"inputs": inputs, "satisfaction_score": predictor.one(inputs)})
    return probes


def _plain(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    return None if value != value else float(value)
