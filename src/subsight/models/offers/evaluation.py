"""Rankings of offers judged by what was bought later, before anyone is contacted.

Subscribers are held out in time: what they bought up to a moment makes a ranking, what they bought after
it tells how good that was. Who would have bought what they were never shown stays unknown, so this compares
rankings and promises no sales (for these see `value`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subsight.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Places = NDArray[np.intp]

__all__ = ["RESAMPLES", "differences", "is_judged", "judge", "neighbour_scores", "top"]

RESAMPLES: Final = 1_000
"""Resamples of the subscribers that an interval rests on."""
_ENDS: Final = (0.025, 0.975)
_STEP_ROWS: Final = 1 << 16
_STEP_DRAWS: Final = 1 << 22
"""Resampled rows that are counted at a time: 32 MB."""
_ROUNDING: Final = 2.0**-24


def top(scores: Matrix, usable: Flags, k: int) -> Places:
    """The best `k` offers of each row that are usable there, best first: rows x k, -1 where there is none.

    Equal scores go by column, the lower first. A score of NaN is never recommended.

    Args:
        scores: rows x offers, or one row of scores for everybody.
        usable: rows x offers.

    Raises:
        ConfigurationError: `k` is below 1.
    """
    if k < 1:
        raise ConfigurationError("no offer is asked for", found=f"k of {k}", expected="1 or more")
    rows, offers = usable.shape
    scores = np.broadcast_to(scores, usable.shape)
    found = np.full((rows, k), -1, np.intp)
    kept = min(k, offers)
    for begin in range(0, rows, _STEP_ROWS):
        part = slice(begin, begin + _STEP_ROWS)
        # NaN sorts behind every number.
        worth = np.where(usable[part], -scores[part], np.nan)
        best = worth.argsort(axis=1, kind="stable")[:, :kept]
        is_offer = ~np.isnan(np.take_along_axis(worth, best, axis=1))
        found[part, :kept] = np.where(is_offer, best, -1)
    return found


def neighbour_scores(
    values: Matrix,
    bought: Flags,
    asked: Places | Matrix,
    neighbours: int = 50,
    *,
    memory_bytes: int = 1 << 27,
) -> Matrix:
    """What the nearest rows bought: the share of them that bought each offer, for each row asked.

    The baseline that keeps everybody instead of a map. Nearness is Euclidean in double precision, of equally
    near rows the first counts, whatever `memory_bytes` (of distances held at once) is.

    Args:
        values: rows x features, scaled.
        bought: rows x offers, purchases before the cut.
        asked: numbers of rows of `values`, none of which is its own neighbour; or rows x features of others.

    Returns:
        Asked x offers, NaN where there is no other row.
    """
    own: Any = asked if asked.ndim == 1 else None
    rows: Any = values if own is not None else asked
    count = min(neighbours, len(values) - (own is not None))
    scores = np.full((len(asked), bought.shape[1]), np.nan)
    if count < 1:
        return scores
    centre = values.mean(axis=0)
    half = ((values - centre) ** 2).sum(axis=1) / 2
    table = np.vstack([-(values - centre).T, half]).astype(np.float32)
    step = max(1, memory_bytes // (16 * len(values)))
    for begin in range(0, len(asked), step):
        part = slice(begin, begin + step)
        here = rows[own[part]] if own is not None else rows[part]
        near = _screened(here - centre, table, float(half.max()))
        if own is not None:
            near[0][np.arange(len(here)), own[part]] = np.inf
        found = _nearest(*near, here, values, count)
        scores[part] = bought[found].mean(axis=1)
    return scores


def _screened(rows: Matrix, table: NDArray[np.float32], longest: float) -> tuple[NDArray[np.float32], Matrix]:
    """Scores in the order of the distances but for rounding, and by how much that may mislead.

    Of rows w, |w|**2 / 2 - x . w orders the distances to x; the bound of rounding is that of Higham (2002,
    section 3.1).
    """
    with_one = np.hstack([rows, np.ones((len(rows), 1))]).astype(np.float32)
    lengths = np.sqrt((with_one.astype(np.float64) ** 2).sum(axis=1))
    slack = 2 * (rows.shape[1] + 8) * _ROUNDING * (lengths * np.sqrt(2 * longest) + longest)
    return with_one @ table, slack


def _nearest(near: NDArray[np.float32], slack: Matrix, rows: Matrix, values: Matrix, count: int) -> Places:
    """The numbers of the nearest values: those that may be among them are measured again."""
    last = np.partition(near, count - 1, axis=1)[:, count - 1]
    asked, candidates = np.nonzero(near <= (last + slack)[:, None])
    distances = np.empty(len(asked))
    step = max(1, _STEP_DRAWS // values.shape[1])
    for begin in range(0, len(asked), step):
        part = slice(begin, begin + step)
        distances[part] = ((values[candidates[part]] - rows[asked[part]]) ** 2).sum(axis=1)
    order = np.lexsort((candidates, distances, asked))
    first = np.searchsorted(asked, np.arange(len(rows)))
    found: Places = candidates[order][first[:, None] + np.arange(count)]
    return found


def is_judged(bought: Flags, usable: Flags) -> Flags:
    """Whose purchases after the cut judge a ranking: those who bought something that was usable for them."""
    return np.asarray((bought & usable).any(axis=1))


def judge(
    rankings: Mapping[str, Places],
    bought: Flags,
    usable: Flags,
    popularity: Matrix,
    *,
    resamples: int = RESAMPLES,
    seed: int,
) -> list[dict[str, Any]]:
    """How well each policy's rankings foresee what was bought: one row a policy and metric.

    `hit_rate` is the share of subscribers who bought an offer of their ranking. `ndcg` (Järvelin and
    Kekäläinen 2002) counts a purchase 1 / log2(rank + 1), over what the best ranking of that length
    would have: 1 where all bought offers stand first. `coverage` is the share of the offers that are usable
    for anybody which anybody is recommended. `popularity_bias` is the mean popularity of what is
    recommended over that of what is usable, each the mean over subscribers of their own mean, for
    those who are recommended anything: 1 is none, above it the popular are favoured.

    `low` and `high` are the ends of a 95 % percentile bootstrap interval over subscribers (Efron 1979), of
    the same resamples for every policy. A resample holds fewer distinct subscribers than there are:
    the interval of `coverage` lies at or below its value where few are recommended an offer. Who bought
    nothing usable is left out, and counted. Without anybody left, values are None.

    Args:
        rankings: by policy rows x k columns of offers, -1 where there is none (see `top`).
        bought: rows x offers, bought after the cut by each held-out subscriber.
        usable: rows x offers, what could have been recommended to them at the cut.
        popularity: by offer, such as the share of all subscribers who bought it before the cut.

    Returns:
        `policy, metric, value, low, high, subscriber_count, left_out_count`.

    Raises:
        InputError: a ranking has other rows, or offers that do not exist.
    """
    kept = _checked(rankings, bought, usable)
    counts = {"subscriber_count": int(kept.sum()), "left_out_count": int((~kept).sum())}
    bought, usable = bought[kept] & usable[kept], usable[kept]
    found = []
    for policy, ranking in rankings.items():
        # The draws depend on the seed and the number of rows alone: every policy has the same.
        draws = _draws(len(bought), resamples, seed)
        measured = _measured(ranking[kept], bought, usable, popularity, draws)
        for metric, (value, resampled) in measured.items():
            found.append({"policy": policy, "metric": metric, **_interval(value, resampled), **counts})
    return found


def differences(
    rankings: Mapping[str, Places],
    bought: Flags,
    usable: Flags,
    *,
    policy: str = "map",
    resamples: int = RESAMPLES,
    seed: int,
) -> list[dict[str, Any]]:
    """By how much a policy foresees purchases better than each other: paired, on the same resamples.

    `value` is the mean over subscribers of the policy's `hit_rate` or `ndcg` less the other's, `low` and
    `high` are the ends of its 95 % interval. Only where `low` is above 0 the policy is better, where
    `high` is below 0 worse; else no difference is clear.

    Returns:
        `policy, other, metric, value, low, high, subscriber_count, left_out_count`.

    Raises:
        ConfigurationError: there is no such policy.
        InputError: as of `judge`.
    """
    if policy not in rankings:
        raise ConfigurationError(
            "no such policy was judged", found=policy, expected=", ".join(rankings) or "a policy"
        )
    kept = _checked(rankings, bought, usable)
    counts = {"subscriber_count": int(kept.sum()), "left_out_count": int((~kept).sum())}
    bought = bought[kept] & usable[kept]
    gains = {name: _gains(ranking[kept], bought) for name, ranking in rankings.items()}
    pairs = [(name, metric) for name in rankings if name != policy for metric in ("hit_rate", "ndcg")]
    if not pairs:
        return []
    each = np.column_stack([gains[policy][metric] - gains[name][metric] for name, metric in pairs])
    resampled = np.vstack([drawn @ each for drawn in _draws(len(each), resamples, seed)]) / max(len(each), 1)
    return [
        {"policy": policy, "other": name, "metric": metric,
         **_interval(_mean(each[:, i]), resampled[:, i]), **counts}
        for i, (name, metric) in enumerate(pairs)
    ]  # fmt: skip


def _checked(rankings: Mapping[str, Places], bought: Flags, usable: Flags) -> Flags:
    """Which rows are judged, where rankings, purchases and usable offers are of the same ones."""
    rows, offers = usable.shape
    for policy, ranking in rankings.items():
        if len(ranking) != rows or (ranking.size and not -1 <= ranking.min() <= ranking.max() < offers):
            raise InputError(
                f"the ranking {policy} does not fit what was bought",
                found=f"{len(ranking):,} rows, offers {ranking.min(initial=0)} to {ranking.max(initial=0)}",
                expected=f"{rows:,} rows, offers 0 to {offers - 1} or -1 for none",
            )
    if bought.shape != usable.shape:
        raise InputError(
            "purchases and usable offers are not of the same subscribers and offers",
            found=f"{bought.shape} and {usable.shape}",
        )
    return is_judged(bought, usable)


def _gains(ranking: Places, bought: Flags) -> dict[str, Matrix]:
    """Of each row whether a bought offer is in its ranking, and the normalised discounted gain."""
    is_offer = ranking >= 0
    is_hit = np.take_along_axis(bought, np.where(is_offer, ranking, 0), axis=1) & is_offer
    worth = 1 / np.log2(np.arange(ranking.shape[1]) + 2)
    ideal = np.concatenate([[0.0], np.cumsum(worth)])
    best = ideal[np.minimum(bought.sum(axis=1), ranking.shape[1])]
    ndcg = np.divide(is_hit @ worth, best, out=np.zeros(len(best)), where=best > 0)
    return {"hit_rate": is_hit.any(axis=1).astype(np.float64), "ndcg": ndcg}


def _measured(
    ranking: Places, bought: Flags, usable: Flags, popularity: Matrix, draws: Iterator[Matrix]
) -> dict[str, tuple[float | None, Matrix]]:
    """Every metric of a policy, and what it is on each resample; NaN there where nobody has it."""
    rows, offers = usable.shape
    gains = _gains(ranking, bought)
    is_shown = np.zeros((rows, offers + 1), np.bool_)
    np.put_along_axis(is_shown, ranking, values=True, axis=1)  # -1 is the column behind the last
    is_shown = is_shown[:, :offers]
    has_any = is_shown.any(axis=1)
    shown = np.where(has_any, _row_means(is_shown, popularity), 0.0)
    could = np.where(has_any, _row_means(usable, popularity), 0.0)
    sums = np.column_stack([*gains.values(), shown, could])
    presence = np.hstack([is_shown, usable]).astype(np.float32)
    totals, present = [sums.sum(axis=0)], [presence.any(axis=0)]
    for drawn in draws:
        totals.append(drawn @ sums)
        present.append(drawn.astype(np.float32) @ presence > 0)
    total, is_there = np.vstack(totals), np.vstack(present)
    of_shown, of_usable = is_there[:, :offers].sum(axis=1), is_there[:, offers:].sum(axis=1)
    values = {
        "hit_rate": total[:, 0] / max(rows, 1),
        "ndcg": total[:, 1] / max(rows, 1),
        "coverage": _over(of_shown.astype(np.float64), of_usable.astype(np.float64)),
        "popularity_bias": _over(total[:, 2], total[:, 3]),
    }
    has_value = {name: bool(rows) and not np.isnan(found[0]) for name, found in values.items()}
    return {name: (float(v[0]) if has_value[name] else None, v[1:]) for name, v in values.items()}


def _row_means(flags: Flags, values: Matrix) -> Matrix:
    return _over(flags @ values, flags.sum(axis=1).astype(np.float64))


def _over(above: Matrix, below: Matrix) -> Matrix:
    """The quotient, NaN where nothing is below."""
    found: Matrix = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def _draws(rows: int, resamples: int, seed: int) -> Iterator[Matrix]:
    """How often each row is in each resample, some resamples at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, _STEP_DRAWS // max(rows, 1))
    for begin in range(0, resamples, step):
        drawn = np.zeros((min(step, resamples - begin), rows))
        for one in drawn:
            if rows:
                one[:] = np.bincount(rng.integers(0, rows, rows), minlength=rows)
        yield drawn


def _mean(values: Matrix) -> float | None:
    return float(values.mean()) if len(values) else None


def _interval(value: float | None, resampled: Matrix) -> dict[str, float | None]:
    known = resampled[~np.isnan(resampled)]
    if value is None or not len(known):
        return {"value": value, "low": None, "high": None}
    low, high = np.quantile(known, _ENDS)
    return {"value": value, "low": float(low), "high": float(high)}
