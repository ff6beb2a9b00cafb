"""Treatment of missing values and outliers: one named policy, fitted once, every replacement counted.

Values outside the 1.5 IQR fences (Tukey 1977; quartiles by linear interpolation of the observed
values) and missing values are replaced as the policy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import narwhals as nw

from subsight.contracts import Contract
from subsight.errors import InputError
from subsight.store import Frame, Store

__all__ = ["Policy", "apply", "fit", "measures", "reuse"]

Policy = Literal["mean", "median", "winsorise", "none"]
_FENCE: Final = 1.5


def measures(contract: Contract) -> list[str]:
    """The columns that are treated: every mapped number that measures something of a session."""
    return [
        column.name
        for column in contract
        if column.kind in ("float", "integer") and not column.internal and column.name != "local_hour"
    ]


def fit(store: Store, sessions: Frame, contract: Contract, policy: Policy) -> dict[str, dict[str, Any]]:
    """Fences, fill values and counts per column, over the sessions given.

    Columns that were never observed are left out. The keys are those of `studies.Inputs.treatment`.
    """
    names = measures(contract)
    first: dict[str, Any] = {"records": nw.len()}
    for name in names:
        value = nw.col(name).cast(nw.Float64)
        first[f"{name}:count"] = value.count()
        first[f"{name}:sum"] = value.sum()
    seen = store.row(sessions.select(**first))
    quartiles = store.quantiles(sessions, names, (0.25, 0.5, 0.75))
    fitted: dict[str, dict[str, Any]] = {}
    for name in names:
        count = int(seen[f"{name}:count"])
        if count == 0:
            continue
        q1, median, q3 = (float(value or 0.0) for value in quartiles[name])
        mean = float(seen[f"{name}:sum"]) / count
        fitted[name] = {
            "observed_count": count,
            "missing_count": int(seen["records"]) - count,
            "lower": q1 - _FENCE * (q3 - q1),
            "upper": q3 + _FENCE * (q3 - q1),
            "first_quartile": q1,
            "third_quartile": q3,
            "mean": mean,
            "median": median,
            "fill": {"mean": mean, "median": median, "winsorise": median, "none": None}[policy],
            "policy": policy,
        }
    outliers = {
        name: ((nw.col(name) < t["lower"]) | (nw.col(name) > t["upper"])).cast(nw.Float64).sum()
        for name, t in fitted.items()
    }
    for name, count in store.row(sessions.select(**outliers)).items():
        fitted[name]["outlier_count"] = int(count or 0)
    return fitted


def reuse(
    store: Store, sessions: Frame, contract: Contract, fitted: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What an earlier run fitted, for sessions that observe the same columns.

    Raises:
        InputError: a column that was fitted was never observed here: all of it would be fill-in.
    """
    known = [name for name in measures(contract) if name in fitted]
    seen = store.row(sessions.select(records=nw.len(), **{name: nw.col(name).count() for name in known}))
    if missing := [name for name in fitted if not seen.get(name)]:
        raise InputError(
            "the given parameters treat columns that these data never observe",
            found=", ".join(missing),
            expected="data with the same columns as the run that the parameters come from",
            do="fit these data on their own: run without --parameters-from",
        )
    return dict(fitted)


def apply(sessions: Frame, contract: Contract, fitted: Mapping[str, Mapping[str, Any]]) -> Frame:
    """The sessions with a `_treated` twin beside every measure; null where never observed."""
    twins = []
    for name in measures(contract):
        value = nw.col(name).cast(nw.Float64)
        twins.append((_treated(value, fitted[name]) if name in fitted else value).alias(f"{name}_treated"))
    return sessions.with_columns(*twins)


def _treated(value: Any, treatment: Mapping[str, Any]) -> Any:
    if treatment["policy"] == "none":
        return value
    lower, upper, fill = treatment["lower"], treatment["upper"], treatment["fill"]
    if treatment["policy"] == "winsorise":
        held = nw.when(value < lower).then(nw.lit(lower)).otherwise(value)
        held = nw.when(value > upper).then(nw.lit(upper)).otherwise(held)
        return nw.when(value.is_null()).then(nw.lit(fill)).otherwise(held)
    return nw.when((value >= lower) & (value <= upper)).then(value).otherwise(nw.lit(fill))
