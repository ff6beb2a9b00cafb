"""What came of earlier recommendations: what another policy would have earned, and the uplift."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import narwhals as nw
import numpy as np

from subsight.models.offers.value import snipw, uplift
from subsight.pipeline.offers.members import recommended
from subsight.pipeline.publishing import Context
from subsight.results import Results
from subsight.store import Frame, OrderHash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["returns"]

Told = Mapping[str, Any] | None

_OFFERED: Final = (
    "recommended", "default: too little usage", "default: nothing else may be given", "nothing may be given",
)  # fmt: skip
_MOST: Final = 3_000_000
"""Shown offers that are weighed at most."""


def returns(context: Context) -> tuple[Told, Told]:
    """Off-policy value and uplift of one earlier run of recommendations; None before any purchase after it.

    It is the last of which every purchase that may answer is known; else the last with any.
    """
    batches = context.workspace.batches("purchases")
    lasts = [batch.manifest["last_at"] for batch in batches if batch.manifest["last_at"]]
    runs = [run for run in recommended(context) if lasts and _began(run) < _instant(max(lasts))]
    if not runs:
        return None, None
    window = timedelta(days=context.settings.offer_response_days)
    whole = [run for run in runs if _began(run) + window <= _instant(max(lasts))]
    run = (whole or runs)[-1]
    bought = context.store.read([batch.rows for batch in batches])
    begin, end = nw.lit(_began(run)), nw.lit(_began(run) + window)
    bought = bought.filter(nw.col("purchased_at") >= begin, nw.col("purchased_at") < end)
    return _value(context, run, bought), _uplift(context, run, bought)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _began(run: Results) -> datetime:
    return _instant(run.manifest["recommended_at"])


def _value(context: Context, run: Results, bought: Frame) -> Told:
    """What the policies would have earned by shown offer, of those that were chosen from several."""
    store = context.store
    shown = store.read([run.path("recommendations")]).filter(~nw.col("is_fallback"))
    each = bought.group_by("subscriber_id", "offer_id").agg(count=nw.len())
    rows = shown.join(each, on=["subscriber_id", "offer_id"], how="left")
    rows = rows.select("subscriber_id", "rank", "probability", reward=(~nw.col("count").is_null()))
    # Of more than are weighed a random part: clear numbers in their order are no such.
    rows = store.derive(rows, {"place": OrderHash("subscriber_id")})
    table = store.arrow(rows.sort("place", "subscriber_id", "rank").head(_MOST))
    if not table.num_rows:
        return None
    logged = table["probability"].to_numpy()
    reward = table["reward"].to_numpy(zero_copy_only=False).astype(np.float64)
    people = table["subscriber_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    told = run.models()["offers"]["nodes"]["policy"]
    found = []
    for policy, target in _targets(logged, told["exploration_share"]).items():
        value = snipw(logged, target, reward, people)
        found.append({
            "policy": policy, "value": value.value, "low": value.low, "high": value.high,
            "effective_count": value.effective_count,
        })  # fmt: skip
    return {
        "rows": found,
        "response_days": context.settings.offer_response_days,
        "shown_count": table.num_rows,
        "subscriber_count": int(people.max()) + 1,
    }


def _targets(logged: Floats, share: float) -> dict[str, Floats]:
    """The probability of each shown offer under other policies.

    With an exploration share e (at most a half), the best of m offers was shown with 1 - e + e / m, another
    with e / m: a half tells them apart, and m follows.
    """
    is_best = logged >= 0.5
    found = {"as recommended": logged, "best offers only": is_best.astype(np.float64)}
    if share > 0:
        found["random"] = np.clip((logged - (1 - share) * is_best) / share, 0.0, 1.0)
    return found


def _uplift(context: Context, run: Results, bought: Frame) -> Told:
    """Buyers of any offer among those who were offered something, and among those held out by chance."""
    store = context.store
    buyers = bought.group_by("subscriber_id").agg(count=nw.len())
    outcomes = store.read([run.path("offer_outcomes")]).join(buyers, on="subscriber_id", how="left")
    is_buyer = (~nw.col("count").is_null()).cast(nw.Float64)
    rows = store.rows(outcomes.group_by("outcome").agg(all=nw.len(), buyers=is_buyer.sum()))
    groups = {
        "recommended": [row for row in rows if row["outcome"] in _OFFERED],
        "held out": [row for row in rows if row["outcome"] == "held out"],
    }
    sums = {
        name: [int(sum(row[n] for row in some)) for n in ("buyers", "all")] for name, some in groups.items()
    }
    if not all(count for _, count in sums.values()):
        return None
    found = uplift(*sums["recommended"], *sums["held out"])
    return {
        "rows": [
            {"group": name, "subscriber_count": count, "buyer_count": buyers, "buyer_share": buyers / count}
            for name, (buyers, count) in sums.items()
        ],
        "difference": found.value,
        "low": found.low,
        "high": found.high,
    }
