"""Two regressions of the satisfaction score: one true by construction, one that has to earn its R2.

Both are linear and solved in closed form. Their records hold parameters with which
`prediction = intercept + sum(coefficient * (x - mean) / deviation)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from subsight.contracts import Contract
from subsight.errors import ConfigurationError
from subsight.models import shown
from subsight.models.design import check_lengths, design_of, floats, judged, split
from subsight.tables import THROUGHPUT_SHARES
from subsight.units import unit_of

if TYPE_CHECKING:
    from subsight.models.design import Column, Floats, Mask

__all__ = ["behaviour", "habits", "identity", "refuse_leaks"]

Period = Literal["same", "second from first"]

LARGEST_CORRELATION: Final = 0.98
"""A single feature this close to the target is the target in another form, not a cause of it."""
PENALTY: Final = 1.0
"""Ridge penalty on standardised features: shares that add up to one have no unpenalised solution."""

_UNITS: Final = {
    "bytes": "an absolute volume adds to the total volume that the engagement score is made of",
    "s": "a length of time adds to the duration that the engagement score is made of",
    "count": "a count of sessions or days is what the engagement score is made of",
    "kbps": "a mean throughput is what the experience score is made of",
}
_PREFIXES: Final = {
    "rtt": "round-trip time is what the experience score is made of",
    "tcp": "retransmission is what the experience score is made of",
    "throughput": "mean throughput is what the experience score is made of",
}
_WORDS: Final = ("score", "index", "cluster", "satisfaction")


def habits(contract: Contract) -> list[str]:
    """The features of `behaviour`: what a subscriber does, apart from how much. None defines a score."""
    hours = ["night_share", "morning_share", "afternoon_share", "evening_share"]
    bands = [name for names in THROUGHPUT_SHARES for name in names]
    mix = [f"app_{app.slug}_share" for app in contract.applications]
    return [*mix, *hours, "activity_dl_ms", "activity_ul_ms", *bands, "handset_manufacturer"]


def refuse_leaks(features: Iterable[str], period: Period = "same") -> dict[str, str]:
    """Features that define the satisfaction score, each with the reason; empty where none does.

    Names carry their units, so volumes, lengths of time, counts and mean throughputs are recognised by
    suffix, the experience metrics (and their filled shares) by prefix, derived scores by word. A
    `first_` prefix marks a measure of the first period: under `second from first` it precedes the
    target and passes, unless it is a score itself.

    >>> sorted(refuse_leaks(["rtt_ms", "night_share", "app_web_bytes", "dl_below_50_kbps_share"]))
    ['app_web_bytes', 'rtt_ms']
    """
    refused: dict[str, str] = {}
    for feature in features:
        earlier = feature.startswith("first_")
        name = feature.removeprefix("first_")
        if earlier and period == "second from first" and not _is_derived(name):
            continue
        reason = _reason(name)
        if reason:
            refused[feature] = reason
    return refused


def _is_derived(name: str) -> bool:
    return any(word in _WORDS for word in name.split("_"))


def _reason(name: str) -> str | None:
    if _is_derived(name):
        return "a score, index or cluster is derived from what the target is derived from"
    for prefix, reason in _PREFIXES.items():
        if name.split("_")[0] == prefix:
            return reason
    return _UNITS.get(unit_of(name) or "")


def identity(
    engagement_score: Floats,
    experience_score: Floats,
    satisfaction_score: Floats,
    seed: int,
    held_out: Mask | None = None,
) -> dict[str, Any]:
    """The linear model of satisfaction on the two scores that it is the mean of: exact, and circular.

    Coefficients are per unit of a score (`mean` 0, `deviation` 1). Its R2 of 1 checks the arithmetic and
    says nothing about what makes subscribers satisfied.

    Raises:
        ConfigurationError: fewer than 40 subscribers have all three scores.
    """
    import numpy as np

    x = np.column_stack([floats(engagement_score), floats(experience_score)])
    y = floats(satisfaction_score)
    known = np.isfinite(y) & np.isfinite(x).all(axis=1)
    x, y = x[known], y[known]
    train, test = split(len(y), seed, None if held_out is None else held_out[known])
    solution, *_ = np.linalg.lstsq(np.column_stack([np.ones(len(train)), x[train]]), y[train], rcond=None)
    # What lies beyond is the rounding of sums: the mean of 0.8 and 0.7 is to be 0.75.
    solution = np.round(solution, 10)
    names = ["engagement_score", "experience_score"]
    predicted = solution[0] + x[test] @ solution[1:]
    return {
        "name": "identity",
        "features": names,
        "parameters": {
            "coefficients": dict(zip(names, map(float, solution[1:]), strict=True)),
            "intercept": float(solution[0]),
            "mean": [0.0, 0.0],
            "deviation": [1.0, 1.0],
        },
        "sample": shown.sample(names, x[test], satisfaction_score=y[test], predicted=predicted),
        "fit": {**judged(y[train], y[test], predicted), "period": "same", "refused": []},
        "card": {
            "purpose": "checks that the satisfaction score is the mean of the two scores",
            "target": "satisfaction_score",
            "features": names,
            "limits": "explains nothing: the target is computed from both features",
            "circular": True,
            "reason": "the satisfaction score is the mean of engagement and experience score by definition",
        },
    }


def behaviour(
    columns: Mapping[str, Column],
    target: Floats,
    seed: int,
    period: Period = "same",
    held_out: Mask | None = None,
) -> dict[str, Any]:
    """Ridge regression of satisfaction on behaviour that does not define it, judged on held-out subscribers.

    `columns` are per subscriber in key order: numbers (NaN where unknown, replaced by the training mean
    and counted) or texts (None where unknown; the five commonest become 0/1 columns `name=value`).
    Features that leak are left out and listed in `fit.refused`; see `refuse_leaks`. Beyond names, a
    feature whose correlation with the target exceeds 0.98 is refused. A coefficient is the change of
    the score for one standard deviation of its feature. R2 is None where the target does not vary.

    Raises:
        ConfigurationError: no usable feature is left, lengths differ, or under 40 subscribers have a target.
    """
    import numpy as np

    y = floats(target)
    check_lengths(columns, len(y))
    known = np.isfinite(y)
    y = y[known]
    train, test = split(len(y), seed, None if held_out is None else held_out[known])
    refused = refuse_leaks(columns, period)
    design = design_of({k: v for k, v in columns.items() if k not in refused}, known, train)
    twins = [n for n, v in design.columns.items() if abs(_correlation(v, y)) > LARGEST_CORRELATION]
    refused |= dict.fromkeys(twins, f"its correlation with the target exceeds {LARGEST_CORRELATION}")
    features = [name for name in design.columns if name not in refused]
    if not features:
        raise _nothing_left(refused, design.constant)
    x = np.column_stack([design.columns[name] for name in features])
    parameters = _ridge(x[train], y[train])
    z = (x[test] - parameters["mean"]) / parameters["deviation"]
    predicted = parameters["intercept"] + z @ list(parameters["coefficients"])
    parameters["coefficients"] = dict(zip(features, parameters["coefficients"], strict=True))
    fit: dict[str, Any] = {"period": period, "refused": list(refused), "refused_because": refused}
    fit |= {"filled": design.filled, "constant": design.constant}
    return {
        "name": "behaviour",
        "features": features,
        "parameters": parameters,
        "sample": shown.sample(features, x[test], satisfaction_score=y[test], predicted=predicted),
        "fit": judged(y[train], y[test], predicted) | fit,
        "card": {
            "purpose": "how much of satisfaction follows from behaviour that does not define it",
            "target": "satisfaction_score",
            "features": features,
            "limits": "association, not cause; shares of one whole share their coefficients",
            "circular": False,
            "reason": "features that define the score are refused by name, unit and correlation",
        },
    }


def _nothing_left(refused: Iterable[str], constant: Iterable[str]) -> ConfigurationError:
    return ConfigurationError(
        "satisfaction cannot be predicted: no feature is left",
        found=f"refused: {', '.join(refused) or 'none'}; constant: {', '.join(constant) or 'none'}",
        expected="application shares, hours of use, activity, throughput-time shares or a manufacturer",
        do="give features that describe behaviour and do not define the scores",
    )


def _ridge(x: Floats, y: Floats) -> dict[str, Any]:
    import numpy as np

    mean, deviation, intercept = x.mean(axis=0), x.std(axis=0), float(y.mean())
    z = (x - mean) / deviation
    gram = z.T @ z + PENALTY * np.eye(x.shape[1])
    coefficients = np.linalg.solve(gram, z.T @ (y - intercept))
    return {
        "coefficients": coefficients.tolist(),
        "intercept": intercept,
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "penalty": PENALTY,
    }


def _correlation(x: Floats, y: Floats) -> float:
    import numpy as np

    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0
