"""Monitoring in words: the registry and the last look as answers, which surfaces show like a study's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.answers import Answer
from subsight.errors import WorkspaceError
from subsight.lifecycle.registry import Registry, Version
from subsight.lifecycle.watching import last_look
from subsight.studies.words import listing, named
from subsight.workspace import Workspace

__all__ = ["answers"]

_WHICH: Final = "Which models answer, and how good were they on people held out of training?"
_PREDICTED: Final = {"field": "predicted_share", "type": "quantitative"}
_CALIBRATION_CHART: Final = {
    "layer": [
        {
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {**_PREDICTED, "title": "predicted, share of the scale"},
                "y": {"field": "observed_share", "type": "quantitative", "title": "answered"},
            },
        },
        {
            "mark": {"type": "line", "strokeDash": [4, 4]},
            "encoding": {
                "x": _PREDICTED,
                "y": _PREDICTED,
            },
        },
    ]
}


def answers(workspace: Workspace) -> list[Answer]:
    """What is known of the champions: how good they were, how they age, what to do. None without models.

    A model that cannot be read is said, and keeps nobody from a report.
    """
    registry = Registry(workspace)
    try:
        champions = [registry.get(name) for name in registry.names() if "champion" in registry.aliases(name)]
    except WorkspaceError as error:
        said = f"The models cannot be read: {error.what}."
        return [Answer("monitoring.champions", _WHICH, [], (said,))]
    if not champions:
        return []
    found = [_champions(champions)]
    found += [_calibration(one) for one in champions if one.name == "feedback"]
    if seen := last_look(workspace):
        found += [_drift(seen), _performance(seen)]
    return found


def _champions(champions: Sequence[Version]) -> Answer:
    rows = [
        {
            "model": one.name,
            "version": one.number,
            "r2": one.entry["metrics"]["r2"],
            "mae": one.entry["metrics"]["mae"],
            "baseline_mae": one.entry["metrics"]["baseline_mae"],
            "held_out_count": one.entry["metrics"]["rows_test"],
            "trained_on_run": one.entry["source"]["run"],
            "registered_at": one.entry["registered_at"],
        }
        for one in champions
    ]
    return Answer(
        "monitoring.champions",
        _WHICH,
        rows,
        tuple(_judged(one) for one in champions),
        notes=(
            "R² is 1 for a perfect model and 0 for one that knows no more than the mean.",
            "A registered model is fitted and judged apart from its run, on a draw of its own: its numbers "
            "are near those of satisfaction.behaviour, not the same.",
        ),
    )


def _judged(one: Version) -> str:
    r2, mae, baseline = (one.entry["metrics"][name] for name in ("r2", "mae", "baseline_mae"))
    said = f"{one.name.capitalize()} {one.number}: "
    if one.record["card"]["circular"]:
        return f"{said}exact by construction, so its R² says nothing about subscribers."
    if r2 is None or mae >= baseline:
        return f"{said}no better than the mean of all: its error is {mae:.3g}, the mean's {baseline:.3g}."
    return (
        f"{said}explains {100 * r2:.1f} % of the differences; its error is {mae:.3g}, "
        f"{100 * (1 - mae / baseline):.0f} % below the mean's {baseline:.3g}."
    )


def _calibration(version: Version) -> Answer:
    fit = version.record["fit"]
    rows = [
        {
            "tenth": number,
            "answer_count": row["answer_count"],
            "predicted_share": row["predicted"],
            "observed_share": row["observed"],
        }
        for number, row in enumerate(fit["calibration"], 1)
    ]
    widest = max(rows, key=lambda row: abs(row["predicted_share"] - row["observed_share"]))
    gap = widest["observed_share"] - widest["predicted_share"]
    reading = [
        f"The widest gap is in tenth {widest['tenth']}: {100 * widest['predicted_share']:.0f} % of the scale "
        f"predicted, {100 * widest['observed_share']:.0f} % answered ({100 * gap:+.0f} points)."
    ]
    if beside := fit.get("beside_index"):
        reading.append(_beside(beside))
    return Answer(
        "monitoring.calibration",
        "Do subscribers answer as the feedback model expects?",
        rows,
        tuple(reading),
        _CALIBRATION_CHART,
        group_size="answer_count",
        notes=("Tenths of the held-out answers by prediction, the lowest first. "
               "CSAT 1 to 5 and NPS 0 to 10 are shares of their scale.",),
    )  # fmt: skip


def _beside(found: Mapping[str, Any]) -> str:
    said = (
        f"Rank correlation with {found['answers']:,} answers: model {found['model']:.2f}, satisfaction "
        f"index {found['index']:.2f} (difference {found['gain_low']:+.2f} to {found['gain_high']:+.2f}, "
        "95 % interval): "
    )
    if found["gain_low"] > 0:
        return f"{said}the model orders answers better than the index."
    if found["gain_high"] < 0:
        return f"{said}the index orders answers better than the model."
    return f"{said}no clear difference."


def _drift(seen: Mapping[str, Any]) -> Answer:
    rows = [
        {
            "model": name,
            "feature": row["feature"],
            "measure": row["measure"],
            "distance": row["distance"],
            "limit": row["threshold"],
            "drifted": row["has_drifted"],
            "compared": row["what"],
            "before": row["before"],
            "now": row["now"],
        }
        for name, model in seen["models"].items()
        for row in model["drift"]
    ]
    reading = [_moved(name, model, seen["run"]) for name, model in seen["models"].items()]
    return Answer(
        "monitoring.drift",
        "Do the models still know whom they are asked about?",
        rows,
        tuple(reading),
        notes=(
            f"Run {seen['run']} against the runs that the models were trained on, "
            f"looked at {seen['at'][:16].replace('T', ' ')} UTC.",
            "KS: Kolmogorov-Smirnov distance of a number, its medians beside it. PSI: population stability "
            "index of a text, the share of the level that moved most beside it. The limit is the larger of "
            "what matters and of what chance alone would reach with so many subscribers.",
        ),
    )  # fmt: skip


def _moved(name: str, model: Mapping[str, Any], run: str | None) -> str:
    said = f"{name.capitalize()} {model['version']}: "
    if not model["drift"]:
        return f"{said}not known: there is no run, or it came without a sample of its training."
    moved = [named(row["feature"]) for row in model["drift"] if row["has_drifted"]]
    same = " It was trained on this very run." if model["trained_on"] == run else ""
    alarms = f"{model['false_alarms']} of {model['looks']} looks at unchanged data would alarm."
    if not moved:
        return f"{said}none of {len(model['drift'])} features and predictions has drifted.{same} {alarms}"
    which = listing([*moved[:5], f"{len(moved) - 5} more"] if len(moved) > 5 else moved)
    have = "has" if len(moved) == 1 else "have"
    return f"{said}{len(moved)} of {len(model['drift'])} {have} drifted: {which}. {alarms}"


def _performance(seen: Mapping[str, Any]) -> Answer:
    rows, reading = [], []
    for name, model in seen["models"].items():
        found = model["performance"] or {}
        rows.append({
            "model": name,
            "version": model["version"],
            "age_days": model["age_days"],
            "mae": found.get("mae"),
            "mae_when_trained": found.get("mae_before"),
            "judged_count": found.get("rows"),
            "has_dropped": found.get("has_dropped"),
        })  # fmt: skip
        why = "; ".join(f"{reason['trigger']}: {reason['why']}" for reason in model["reasons"])
        known = _aged(found, model["is_exact"]) if found else "its error is not known yet"
        reading.append(
            f"{name.capitalize()} {model['version']}: {known}; "
            + (f"training is due, {why}." if why else "nothing is to be done.")
        )
    return Answer(
        "monitoring.performance",
        "Do the models err as little as when they were trained, and what is to be done?",
        rows,
        tuple(reading),
    )


def _aged(found: Mapping[str, Any], is_exact: bool) -> str:
    if is_exact and not found["has_dropped"]:
        return "exact to rounding, as it must be"
    said = f"its error is {found['mae']:.3g}, {found['mae_before']:.3g} when it was trained"
    if found["has_dropped"]:
        return f"{said}, clearly more"
    return f"{said}, {'clearly less' if found['change_high'] < 0 else 'no clear drop'}"
