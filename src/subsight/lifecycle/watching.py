"""Watching: whether the champions still know whom they are asked about, still err as little, and what to do.

A look compares the current run with what each champion was trained on, measures its error where the truth
is known by now, and says which triggers call for training: age, drift, or a drop. Looks are kept in
`models/watch.jsonl`, a line each; the report and the service show the last one.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import NotFoundError
from subsight.lifecycle import drift, examples, training
from subsight.lifecycle.predictions import asked
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry, Version
from subsight.lifecycle.training import PREDICTION, Trained
from subsight.results import Results
from subsight.workspace import Workspace

if TYPE_CHECKING:
    from subsight.lifecycle.examples import Examples
    from subsight.settings import Settings

__all__ = ["last_look", "look", "notify", "retrain"]

_LOOKS: Final = 100
_ASKED: Final = timedelta(days=30)
_LEAST_ASKED: Final = 100
_WEBHOOK_S: Final = 5
_NORMAL: Final = 1.96
_DROP: Final = 0.1
"""An error that grew by less than this share of what it was is no drop, however sure it is."""
_LEAST_ERRORS: Final = 30
_log = logging.getLogger("subsight.models")


def look(workspace: Workspace, settings: Settings, now: datetime | None = None) -> dict[str, Any]:
    """Looks at every champion and keeps what was seen.

    The keys: `at`, `run` (null without one), `is_due` (whether training is called for), and `models`, by
    name: `version`, `age_days`, `trained_on` (its run), `is_exact` (by construction), `drift` (rows of
    `drift.Drift`),
    `asked_count` and `asked_drift` (what the service was asked in the last 30 days, as far as fields were
    sent), `false_alarms` of `looks` at halves of the training sample, `performance` (see `_performance`),
    and `reasons` to train.

    Raises:
        NotFoundError: there is no champion yet.
    """
    registry = Registry(workspace)
    names = [name for name in registry.names() if "champion" in registry.aliases(name)]
    if not names:
        raise NotFoundError(
            f"{workspace.path} has no champion to watch", do="train one with: subsight models train WS"
        )
    at = now or datetime.now(UTC)
    models = {name: _look_at(workspace, settings, registry, registry.get(name), at) for name in names}
    found = {
        "at": at.isoformat(timespec="seconds"),
        "run": Results(workspace.run()).manifest["run"] if workspace.runs() else None,
        "is_due": any(model["reasons"] for model in models.values()),
        "models": models,
    }
    with (workspace.path / "models" / "watch.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(found, allow_nan=False) + "\n")
    return found


def last_look(workspace: Workspace) -> dict[str, Any] | None:
    """What the last look saw; None before the first."""
    try:
        lines = (workspace.path / "models" / "watch.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        # A look that was cut short is none.
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        return found
    return None


def _look_at(
    workspace: Workspace, settings: Settings, registry: Registry, version: Version, at: datetime
) -> dict[str, Any]:
    predictor = Predictor(version)
    limits = drift.Thresholds(settings.drift_ks, settings.drift_psi, settings.drift_alarm_rate)
    before = drift.from_bytes(content) if (content := registry.sample(version)) else {}
    found, rows = _run_drift(workspace, settings, before, predictor, limits)
    asked_count, sent = asked(workspace.path / "audit", version, at - _ASKED, settings.fit_limit)
    asked_drift = drift.compare(drift.known(before), sent, limits) if asked_count >= _LEAST_ASKED else []
    performance = _performance(workspace, settings, version, predictor)
    age = (at - datetime.fromisoformat(version.entry["registered_at"])) / timedelta(days=1)
    is_known = bool(found or asked_drift)
    return {
        "version": version.number,
        "age_days": round(age, 2),
        "trained_on": version.entry["source"]["run"],
        "is_exact": version.record["card"]["circular"],
        "drift": [one.to_json() for one in found],
        "asked_count": asked_count,
        "asked_drift": [one.to_json() for one in asked_drift],
        "looks": _LOOKS if is_known else 0,
        "false_alarms": drift.false_alarms(before, max(rows, asked_count), _LOOKS, settings.seed, limits)
        if is_known
        else 0,
        "performance": performance,
        "reasons": _reasons(
            settings, version, age, {"the run": found, "the service": asked_drift}, performance
        ),
    }


def _run_drift(
    workspace: Workspace,
    settings: Settings,
    before: drift.Sample,
    predictor: Predictor,
    limits: drift.Thresholds,
) -> tuple[list[drift.Drift], int]:
    """The current run against a version's training, and how many subscribers it has; nothing without one."""
    if not before or not workspace.runs():
        return [], 0
    everybody = examples.population(workspace, settings, predictor.version.name)
    known = {name: column for name, column in everybody.items() if name in predictor.fields}
    rows = len(next(iter(known.values())))
    return drift.compare(before, {**known, PREDICTION: predictor.many(known, rows)}, limits), rows


def _reasons(
    settings: Settings,
    version: Version,
    age_days: float,
    found: Mapping[str, list[drift.Drift]],
    performance: Mapping[str, Any] | None,
) -> list[dict[str, str]]:
    """Which triggers fire, each with why in words. What is true by construction ages and drifts in vain."""
    reasons = []
    is_exact = version.record["card"]["circular"]
    if not is_exact and settings.retrain_days and age_days > settings.retrain_days:
        why = f"trained {age_days:.0f} days ago, more than {settings.retrain_days:g}"
        reasons.append({"trigger": "schedule", "why": why})
    for place, rows in found.items() if not is_exact else ():
        moved = [one for one in rows if one.has_drifted]
        said = ", ".join(
            f"{one.feature} ({one.measure} {one.distance:.2f}, limit {one.threshold:.2f})"
            for one in moved[:5]
        )
        more = f" and {len(moved) - 5} more" if len(moved) > 5 else ""
        if moved:
            reasons.append({"trigger": "drift", "why": f"in {place}: {said}{more}"})
    if performance and performance["has_dropped"]:
        why = (
            f"its error is {performance['mae']:.4g}, {performance['mae_before']:.4g} when it was trained "
            f"(change {performance['change_low']:+.4g} to {performance['change_high']:+.4g}, 95 % interval)"
        )
        reasons.append({"trigger": "drop", "why": why})
    return reasons


def _performance(
    workspace: Workspace, settings: Settings, version: Version, predictor: Predictor
) -> dict[str, Any] | None:
    """The champion's error where the truth came to be known, beside its error when it was trained.

    Of the feedback model: answers given after it was trained. Of the others: the current run's held-out
    subscribers. `mae` over `rows`, `mae_before`, their difference with a 95 % interval (normal, unequal
    variances), `has_dropped` where all of it is above zero and above a tenth of `mae_before`, and
    `by_week` for answers. None where the truth is not known yet, or of fewer than 30.
    """
    import numpy as np

    fit = version.record["fit"]
    try:
        known = examples.of_model(workspace, settings, version.name)
    except NotFoundError:
        return None
    rows = known.tested
    if known.answered_at is not None:
        trained = datetime.fromisoformat(version.entry["began_at"])
        late = [at > trained for at in known.answered_at]
        rows = np.flatnonzero(np.array(late) & np.isfinite(known.target))
    if len(rows) < _LEAST_ERRORS or "mae_deviation" not in fit:
        return None
    predicted = np.asarray(predictor.many(known.rows(predictor.fields, rows), len(rows)))
    errors = np.abs(predicted - known.target[rows])
    mae, before = float(errors.mean()), float(fit["mae"])
    spread = float(errors.var()) / len(errors) + fit["mae_deviation"] ** 2 / fit["rows_test"]
    margin = _NORMAL * math.sqrt(spread)
    # An exact model's errors are rounding: they matter once they are some part of what chance would do.
    least = max(_DROP * before, 1e-6 * float(fit["baseline_mae"]))
    return {
        "rows": len(rows),
        "mae": mae,
        "mae_before": before,
        "change_low": mae - before - margin,
        "change_high": mae - before + margin,
        "has_dropped": mae - before > max(least, margin),
        "by_week": [] if known.answered_at is None else _by_week(known, rows, predicted),
    }


def _by_week(known: Examples, rows: Any, predicted: Any) -> list[dict[str, Any]]:
    """Mean answer, mean prediction and error by week of the answer; weeks begin on Mondays (UTC)."""
    import numpy as np

    assert known.answered_at is not None
    days = [known.answered_at[row].astimezone(UTC).date() for row in rows]
    mondays = np.array([(day - timedelta(days=day.weekday())).isoformat() for day in days])
    found = []
    for monday in sorted(set(mondays)):
        chosen = mondays == monday
        actual = known.target[rows][chosen]
        found.append({
            "week_date": str(monday),
            "answer_count": int(chosen.sum()),
            "observed": float(actual.mean()),
            "predicted": float(predicted[chosen].mean()),
            "mae": float(np.abs(predicted[chosen] - actual).mean()),
        })  # fmt: skip
    return found


def retrain(
    workspace: Workspace, settings: Settings, found: Mapping[str, Any], *, promote: bool
) -> list[Trained]:
    """Trains where a look calls for it, through the same validation as any training.

    With `promote` a new version of a model that called for it becomes champion, unless validation is
    against it. Returns what was trained of those models.
    """
    why = {name: model["reasons"] for name, model in found["models"].items() if model["reasons"]}
    if not why:
        return []
    registry, trained = Registry(workspace), []
    for one in training.train(workspace, settings):
        version = one.version
        if version.name not in why:
            continue
        is_champion = one.is_champion
        if promote and not is_champion and version.entry["is_promotable"]:
            said = "; ".join(f"{reason['trigger']}: {reason['why']}" for reason in why[version.name])
            registry.promote(version.name, version.number, why=f"retrained for {said}")
            is_champion = True
        trained.append(replace(one, is_champion=is_champion))
    return trained


def notify(settings: Settings, found: Mapping[str, Any]) -> str | None:
    """Says a look that calls for training to the log and to the webhook, if there is one.

    Returns what went wrong with the webhook, or None: an alarm that nobody heard is not lost, as the
    look is kept, but it has to be said.
    """
    if not found["is_due"]:
        return None
    said = [
        f"{name} {model['version']}: {reason['trigger']}: {reason['why']}"
        for name, model in found["models"].items()
        for reason in model["reasons"]
    ]
    for line in said:
        _log.warning("training is due: %s", line)
    if not settings.webhook_url:
        return None
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    body = json.dumps({"text": "\n".join(said), "at": found["at"], "run": found["run"], "reasons": said})
    headers = {"Content-Type": "application/json"}
    try:
        # The operator names the address in the settings, which admit no other scheme.
        request = Request(settings.webhook_url, body.encode(), headers, method="POST")
        with urlopen(request, timeout=_WEBHOOK_S) as answer:
            answer.read()
    except (URLError, OSError, ValueError) as error:
        _log.error("the webhook was not reached: %s", error)
        return f"the webhook was not reached: {error}"
    return None
