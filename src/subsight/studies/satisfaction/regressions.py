"""The two regressions of satisfaction as answers: the one true by construction, and the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import Inputs, Question, charts, words

__all__ = ["QUESTIONS", "explains"]

SMALL_R2: Final = 0.02
"""Below this, behaviour explains nothing worth naming (Cohen 1988: 0.02 small, 0.13 medium, 0.26 large)."""
_NAMED: Final = 3


def explains(fit: Mapping[str, Any]) -> str | None:
    """How large a part of the target a fit explains, in words, or None where nothing worth naming.

    >>> explains({"r2": 0.3, "mae": 1.0, "baseline_mae": 1.3})
    'a large'
    """
    r2 = fit["r2"]
    if r2 is None or r2 < SMALL_R2 or fit["mae"] >= fit["baseline_mae"]:
        return None
    return "a large" if r2 >= 0.26 else "a medium" if r2 >= 0.13 else "a small"


def _regression(name: str, text: str, says: Callable[[Mapping[str, Any]], tuple[str, ...]]) -> Question:
    id = f"satisfaction.{name}"

    def answer(inputs: Inputs) -> Answer:
        model = inputs.models.get(name)
        if model is None:
            return _absent(id, text, name)
        fit = model["fit"]
        told = ("r2", "mae", "baseline_mae", "rows_train", "rows_test")
        rows: list[dict[str, Any]] = [{"statistic": k, "decile": None, "value": fit[k]} for k in told]
        rows += [
            {"statistic": "residual", "decile": 10 * i, "value": value}
            for i, value in enumerate(fit["residual_deciles"])
        ]
        facts = {k: fit[k] for k in (*told, "period")}
        refused = ", ".join(map(words.named, fit.get("refused", ())))
        named = [words.named(n, inputs.contract.applications) for n in model["features"]]
        features = ", ".join(named) if len(named) <= _NAMED else f"the {len(named)} of satisfaction.drivers"
        chart = None if _is_exact(fit) else _residual_chart()
        charted = "" if chart is None else "; not charted: deciles 0, 100"
        notes = (
            f"features: {features}.",
            f"refused because they define the score: {refused or 'none'}.",
            f"residual: score minus prediction, on held-out subscribers{charted}.",
            f"baseline: the training mean; limits: {model['card'].get('limits', 'none stated')}.",
        )
        return Answer(id, text, rows, says(model), chart, facts, notes=notes)

    return Question(id, text, answer)


def _residual_chart() -> dict[str, Any]:
    chart = charts.lines("decile", "value", zero=False)
    chart["encoding"]["x"]["title"] = "subscribers with a smaller residual (%)"
    chart["encoding"]["y"]["title"] = "residual"
    # Without the extremes, which would flatten everything between them.
    inner = "datum.statistic === 'residual' && datum.decile > 0 && datum.decile < 100"
    chart["transform"] = [{"filter": inner}]
    return chart


def _is_exact(fit: Mapping[str, Any]) -> bool:
    """Whether nothing but rounding is left between score and prediction."""
    return all(_amount(value) == "0" for value in fit["residual_deciles"])


def _absent(id: str, text: str, name: str) -> Answer:
    why = f"There is no {name} model: too few subscribers have a satisfaction score."
    return Answer(id, text, [], (why,), notes=(why,))


def _errors(fit: Mapping[str, Any]) -> str:
    r2 = "undefined (the score does not vary)" if fit["r2"] is None else f"{fit['r2']:.3f}"
    deciles = fit["residual_deciles"]
    left = f"eight in ten residuals lie between {_amount(deciles[1])} and {_amount(deciles[9])}"
    if _is_exact(fit):
        left = "no residual differs from 0"
    return (
        f"On {words.plural(fit['rows_test'], 'held-out subscriber')} R2 is {r2}, the mean absolute error "
        f"{_amount(fit['mae'])} against {_amount(fit['baseline_mae'])} for always saying the mean; {left}."
    )


def _amount(value: float) -> str:
    """A number on the scale of a score; what rounding leaves of none is none."""
    return f"{value:.3g}" if abs(value) > 1e-9 else "0"


def _identity(model: Mapping[str, Any]) -> tuple[str, ...]:
    p, fit = model["parameters"], model["fit"]
    weights = words.listing(
        [f"{value:.3g} x {words.named(name)}" for name, value in p["coefficients"].items()]
    )
    exact = fit["r2"] is not None and fit["r2"] > 1 - 1e-9
    return (
        "An identity, not a finding: the score is computed from both features, and the fit returns "
        f"{weights}, intercept {_amount(p['intercept'])}.",
        _errors(fit),
        "The fit is exact, as the definition says." if exact else
        "The fit is not exact, so the scores do not follow the definition.",
    )  # fmt: skip


def _behaviour(model: Mapping[str, Any]) -> tuple[str, ...]:
    fit = model["fit"]
    size = explains(fit)
    if size is None:
        verdict = "The R2 is low: behaviour tells nothing clear about satisfaction; no feature is named."
    else:
        gain = words.say(1 - fit["mae"] / fit["baseline_mae"], "gain_share")
        verdict = f"Behaviour explains {size} part of satisfaction; the error falls by {gain}."
        if size == "a small":
            verdict += " The R2 is low: it predicts no single subscriber."
    when = (
        "The second period's satisfaction is predicted from the first period's profile; its sums count as "
        "if the period were as long as both."
        if fit["period"] == "second from first"
        else "Features and score are of the same period: this describes and does not forecast."
    )
    return (_errors(fit), verdict, when)


def _drivers(inputs: Inputs) -> Answer:
    id, text, model = "satisfaction.drivers", _DRIVERS, inputs.models.get("behaviour")
    if model is None:
        return _absent(id, text, "behaviour")
    coefficients = model["parameters"]["coefficients"]
    ranked = sorted(coefficients, key=lambda name: (-abs(coefficients[name]), name))
    rows = [{"feature": name, "coefficient": coefficients[name]} for name in ranked]
    facts: dict[str, float | str | None] = {}
    reading = "No feature is named: the model does not clearly beat the mean."
    if explains(model["fit"]) is not None:
        apps = inputs.contract.applications
        parts = [f"{words.named(name, apps)} ({coefficients[name]:+.3g})" for name in ranked[:_NAMED]]
        reading = (
            f"The largest coefficients belong to {words.listing(parts)}: the change of the score that goes "
            "with one standard deviation of the feature, the others held fixed; an association, not a cause."
        )
        facts = {"strongest": ranked[0], "coefficient": coefficients[ranked[0]]}
    return Answer(id, text, rows, (reading,), charts.bars("feature", "coefficient"), facts)


_DRIVERS: Final = "Which behaviour goes with satisfaction?"
QUESTIONS: Final = (
    _regression("identity", "What does a linear model on the two scores say?", _identity),
    _regression("behaviour", "How well does behaviour predict satisfaction?", _behaviour),
    Question("satisfaction.drivers", _DRIVERS, _drivers),
)
