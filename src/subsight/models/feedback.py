"""The model of real answers: what people said of the service, from what the network saw of them before.

A fractional logit (Papke and Wooldridge 1996): the expected answer as a share of the scale, between 0 and 1.
Solved by Newton's method with a ridge penalty; its parameters are those of the other linear models with
`link = "logit"`: `prediction = 1 / (1 + exp(-(intercept + sum(coefficient * (x - mean) / deviation))))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from subsight.contracts import Contract
from subsight.errors import ConfigurationError
from subsight.models.design import check_lengths, design_of, floats, judged, split
from subsight.models.satisfaction import habits

if TYPE_CHECKING:
    from subsight.models.design import Column, Floats, Mask

__all__ = ["calibration", "drivers", "fit"]

PENALTY: Final = 1.0
"""Ridge penalty on standardised features, as in the behaviour model."""
_BINS: Final = 10
_MOST_STEPS: Final = 50
_SETTLED: Final = 1e-10


def drivers(contract: Contract) -> list[str]:
    """The features: habits and means of quality. Totals are left out, as they grow with the time observed."""
    return [*habits(contract), "rtt_ms", "tcp_retransmission_bytes", "throughput_kbps"]


def fit(
    columns: Mapping[str, Column], rating_share: Floats, seed: int, held_out: Mask | None = None
) -> dict[str, Any]:
    """The expected answer from the profile before it, judged and calibrated on held-out subscribers.

    `columns` are per answer: numbers (NaN where unknown) or texts (None where unknown). `rating_share`
    is the answer as a share of its scale, 0 to 1. `fit.convergence` is the penalised loss (mean negative
    log likelihood) at each Newton step; `fit.calibration` see `calibration`.

    Raises:
        ConfigurationError: no feature varies, lengths differ, or there are under 40 answers.
    """
    import numpy as np

    y = floats(rating_share)
    check_lengths(columns, len(y))
    known = np.isfinite(y)
    y = y[known]
    train, test = split(len(y), seed, None if held_out is None else held_out[known])
    design = design_of(columns, known, train)
    if not design.columns:
        raise ConfigurationError(
            "answers cannot be predicted: no feature varies",
            found=f"constant: {', '.join(design.constant) or 'none'}",
            expected="subscribers whose use or quality differs",
        )
    x = np.column_stack(list(design.columns.values()))
    parameters, losses = _newton(x[train], y[train])
    predicted = _expected(x[test], parameters)
    parameters["coefficients"] = dict(zip(design.columns, parameters["coefficients"], strict=True))
    return {
        "name": "feedback",
        "features": list(design.columns),
        "parameters": parameters,
        "fit": {
            **judged(y[train], y[test], predicted),
            "convergence": losses,
            "calibration": calibration(y[test], predicted),
            "filled": design.filled,
            "constant": design.constant,
        },
        "card": {
            "purpose": "what subscribers would answer, from what the network saw of them before they did",
            "target": "answer as a share of its scale, 0 to 1 (CSAT 1 to 5, NPS 0 to 10)",
            "features": list(design.columns),
            "limits": "association, not cause; those who answer may differ from those who do not",
            "circular": False,
            "reason": "the target is what people said; only sessions that ended before the answer count",
        },
    }


def _newton(x: Floats, y: Floats) -> tuple[dict[str, Any], list[float]]:
    """Parameters and the loss after each step, from the mean answer on. The loss is convex: steps that
    would raise it are halved."""
    import numpy as np

    mean, deviation = x.mean(axis=0), x.std(axis=0)
    z = np.column_stack([np.ones(len(x)), (x - mean) / deviation])
    ridge = np.full(z.shape[1], PENALTY)
    ridge[0] = 0.0
    start = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    weights = np.zeros(z.shape[1])
    weights[0] = np.log(start / (1 - start))

    def loss(w: Floats) -> float:
        t = z @ w
        return float((np.logaddexp(0, t) - y * t).mean() + (ridge * w * w).sum() / (2 * len(y)))

    losses = [loss(weights)]
    for _ in range(_MOST_STEPS):
        p = 1 / (1 + np.exp(-(z @ weights)))
        gradient = z.T @ (p - y) + ridge * weights
        hessian = (z * (p * (1 - p))[:, None]).T @ z + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        while loss(weights - step) > losses[-1] and np.abs(step).max() > _SETTLED:
            step = step / 2
        weights = weights - step
        losses.append(loss(weights))
        if losses[-2] - losses[-1] < _SETTLED:
            break
    return {
        "coefficients": weights[1:].tolist(),
        "intercept": float(weights[0]),
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "penalty": PENALTY,
        "link": "logit",
    }, losses


def _expected(x: Floats, parameters: Mapping[str, Any]) -> Floats:
    import numpy as np

    z = (x - parameters["mean"]) / parameters["deviation"]
    expected: Floats = 1 / (1 + np.exp(-(parameters["intercept"] + z @ list(parameters["coefficients"]))))
    return expected


def calibration(actual: Floats, predicted: Floats) -> list[dict[str, float]]:
    """Tenths of the answers by prediction, lowest first: `answer_count`, mean `predicted` and `observed`.

    A calibrated model's means agree in each. Ties are split in the order given; under ten answers make
    as many rows as there are answers.

    >>> [row["observed"] for row in calibration([0.0, 1.0], [0.2, 0.7])]
    [0.0, 1.0]
    """
    import numpy as np

    actual, predicted = floats(actual), floats(predicted)
    order = np.argsort(predicted, kind="stable")
    return [
        {
            "answer_count": len(rows),
            "predicted": float(predicted[rows].mean()),
            "observed": float(actual[rows].mean()),
        }
        for rows in np.array_split(order, _BINS)
        if len(rows)
    ]
