"""Experience: round-trip time, retransmission and throughput, how much of them is fill-in, and for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts, words
from subsight.studies.experience import handsets, values
from subsight.studies.groups import contrast, group, moments, percent, pooled, without

__all__ = ["QUESTIONS"]

_METRICS: Final = {
    "tcp_retransmission_bytes": "retransmission",
    "rtt_ms": "round-trip time",
    "throughput_kbps": "throughput",
}
_MOSTLY: Final = 0.5
"""From this share of filled sessions on, a metric's treated values are mostly fill-in."""
_SAME: Final = 0.9
"""Below this share of subscribers in the same group, or this correlation of scores, conclusions change."""
_AGREEMENT: Final = 0.8
"""Below this adjusted Rand index, conclusions change (Steinley 2004: 0.8 good, 0.9 excellent recovery)."""

_TEXT: Final = {
    "clusters": "Into which groups does network quality divide subscribers, and how is each served?",
    "filled": "How much of retransmission, round-trip time and throughput is filled in?",
    "observed": "Do the conclusions change without the subscribers who were never fully observed?",
}


def _answer(name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], **more: Any) -> Answer:
    return Answer(f"experience.{name}", _TEXT[name], rows, tuple(reading), **more)


def _share(name: str) -> str:
    return f"{name.rpartition('_')[0]}_filled_share"


# Groups

_NO_GROUPS: Final = (
    "No experience groups: they need round-trip time, retransmission and throughput, and too few "
    "subscribers have all three."
)

_NO_OTHERS: Final = "there are no others to compare with"


def _clusters(inputs: Inputs) -> Answer:
    if "experience" not in inputs.models:
        return _answer("clusters", [], [_NO_GROUPS])
    measures = {m: nw.col(m) for m in _METRICS}
    raw, filled = {f"{m}_raw": nw.col(f"{m}_raw") for m in _METRICS}, _share("tcp_retransmission_bytes")
    shares = {_share(m): nw.col(_share(m)) for m in _METRICS}
    found = inputs.store.rows(
        inputs.profiles.filter(~nw.col("experience_cluster").is_null())
        .group_by("experience_cluster")
        .agg(
            nw.len().alias("count"),
            *(value.min().alias(f"{name}:min") for name, value in measures.items()),
            *(value.max().alias(f"{name}:max") for name, value in measures.items()),
            **moments(measures | raw | shares),
        )
        .sort("experience_cluster")
    )
    everyone, least = sum(row["count"] for row in found), inputs.settings.minimum_group
    whole = {m: pooled(group(row, m) for row in found) for m in (*_METRICS, filled)}
    rows, reading = [], []
    facts: dict[str, float | str | None] = {}
    for row in found:
        number, count = row["experience_cluster"], row["count"]
        own = {m: group(row, m) for m in (*_METRICS, filled)}
        verdicts = {m: words.compare(own[m], without(whole[m], own[m])) for m in own}
        described = contrast({word: verdicts[m] for m, word in _METRICS.items()})
        if count == everyone:
            described = _NO_OTHERS
        made = {"experience_cluster": number, "subscriber_count": count, "subscriber_share": count / everyone,
                "description": described if count >= least else "too few subscribers"}  # fmt: skip
        for m in _METRICS:
            made |= {f"mean_{m}": own[m].mean, f"min_{m}": row[f"{m}:min"], f"max_{m}": row[f"{m}:max"],
                     f"mean_{m}_raw": row[f"{m}_raw:mean"], _share(m): row[f"{_share(m)}:mean"]}  # fmt: skip
        rows.append(made)
        if count < least:
            continue
        facts |= {f"cluster_{number}_subscriber_share": count / everyone, f"cluster_{number}": described}
        means = [f"{words.say(own[m].mean, m)} {word}" for m, word in _METRICS.items()]
        reading.append(
            f"Cluster {number} ({words.plural(count, 'subscriber')}, {percent(count / everyone)}): "
            f"{described}{'' if count == everyone else ', against all others'}; on average "
            f"{words.listing(means)}."
        )
        if verdicts[filled] == "higher":
            reading.append(
                f"Much of what sets cluster {number} apart may be fill-in: {percent(own[filled].mean)} of "
                "its subscribers' sessions lack a retransmission value, clearly more than of all others."
            )
    notes = (
        "k-means, k = 3, on z-scores of the treated means; cluster 0 is the worst experienced: highest "
        "z(retransmission) + z(round-trip time) - z(throughput).",
        "Raw means are over subscribers with a session in which both directions were observed.",
    )
    fields = [f"mean_{m}" for m in _METRICS]
    panels = charts.bars("experience_cluster", "value", vertical=True)
    chart = charts.facet(panels, "statistic", columns=2, free="y")
    chart |= {"transform": [{"fold": fields, "as": ["statistic", "value"]}]}
    return _answer(
        "clusters", rows, reading, chart=chart, facts=facts, group_size="subscriber_count", notes=notes
    )


# Fill-in


def _either(metric: str, test: Any) -> Any:
    """Sessions in which a test holds for one direction or the other, counted."""
    stem, _, unit = metric.rpartition("_")
    held = reduce(lambda a, b: a | b, (test(f"{stem}_{side}_{unit}") for side in ("dl", "ul")))
    return nw.when(held).then(1.0).otherwise(0.0).sum()


def _filled(inputs: Inputs) -> Answer:
    def outlying(column: str) -> Any:
        fences, value = inputs.treatment.get(column), nw.col(column)
        if fences is None:
            return value.is_null() & nw.lit(False)
        return (value < fences["lower"]) | (value > fences["upper"])

    asked: dict[str, Any] = {"sessions": nw.len()}
    for m in _METRICS:
        asked[f"{m}:missing"] = _either(m, lambda column: nw.col(column).is_null())
        asked[f"{m}:outlying"] = _either(m, outlying)
    sessions = inputs.store.row(inputs.sessions.select(**asked))
    never = {m: nw.col(f"{m}_raw").is_null() for m in _METRICS}
    never["any of them"] = reduce(lambda a, b: a | b, never.values())
    people = inputs.store.row(
        inputs.profiles.select(
            nw.len().alias("count"),
            **{name: nw.when(held).then(1.0).otherwise(0.0).sum() for name, held in never.items()},
        )
    )
    everyone, count = people["count"], sessions["sessions"]
    rows, reading = [], []
    facts: dict[str, float | str | None] = {}
    for m in (*_METRICS, "any of them"):
        missing, unseen = sessions.get(f"{m}:missing"), int(people[m] or 0)
        outliers = sessions.get(f"{m}:outlying")
        # Few people may be shown neither by themselves nor as what is left of all.
        told = not any(0 < side < inputs.settings.minimum_group for side in (unseen, everyone - unseen))
        rows.append(
            {"metric": m, "session_count": count,
             "filled_session_count": None if missing is None else int(missing),
             "filled_share": None if missing is None or not count else missing / count,
             "outlier_session_count": None if outliers is None else int(outliers),
             "outlier_share": None if outliers is None or not count else outliers / count,
             "subscriber_count": everyone, "never_observed_count": unseen if told else None,
             "never_observed_share": unseen / everyone if everyone and told else None}
        )  # fmt: skip
        row = rows[-1]
        name = m.rpartition("_")[0] if m in _METRICS else "any"
        facts |= {f"{name}_filled_share": row["filled_share"],
                  f"{name}_never_observed_share": row["never_observed_share"]}  # fmt: skip
        if m in _METRICS:
            reading.append(_say_filled(inputs, _METRICS[m], row["filled_share"], unseen))
    reading.append(
        f"{_people(inputs, int(people['any of them'] or 0))} never observed in at least one of the three."
    )
    chart = charts.bars("metric", "filled_share")
    chart |= {"transform": [{"filter": "isValid(datum.filled_share)"}]}
    notes = (
        "Filled: a direction of the session is missing. Outlier: an observed direction lies outside the "
        f"fences and is treated by the policy {inputs.settings.treatment!r} too.",
        "Never observed: no session of the subscriber has both directions: each is partly fill-in.",
    )
    return _answer("filled", rows, reading, chart=chart, facts=facts, notes=notes)


def _people(inputs: Inputs, count: int) -> str:
    """How many subscribers, without telling of a small group."""
    least = inputs.settings.minimum_group
    if 0 < count < least:
        return f"Fewer than {words.plural(least, 'subscriber')} were"
    return words.plural(count, "subscriber was", "subscribers were")


def _say_filled(inputs: Inputs, word: str, share: float | None, unseen: int) -> str:
    if share is None or share == 0:
        kind = "nothing is filled in"
    elif share >= _MOSTLY:
        kind = f"{percent(share)} of sessions lack a direction: its treated values are mostly fill-in"
    else:
        kind = f"{percent(share)} of sessions lack a direction: its treated values are mostly observed"
    return f"{word[0].upper()}{word[1:]}: {kind}; {_people(inputs, unseen)} never observed."


# The repeat without the never-observed


def _observed(inputs: Inputs) -> Answer:
    everyone, observed = inputs.models.get("experience"), inputs.models.get("experience_observed")
    if everyone is None:
        return _answer("observed", [], ["There is no experience model to repeat."])
    if observed is None or "comparison" not in observed["fit"]:
        row = inputs.store.row(inputs.profiles.select(nw.len().alias("all"), observed=_seen().sum()))
        why = (
            "Every subscriber was observed in all three metrics: there is nobody to leave out."
            if row["observed"] == row["all"]
            else "Too few subscribers were observed in all three metrics to repeat the groups: "
            "whether conclusions hold without fill-in cannot be said."
        )
        return _answer("observed", [], [why])
    rows = [
        *_fit_rows("all subscribers", everyone, _sizes(inputs.profiles, everyone, inputs)),
        *_fit_rows("observed only", observed, _sizes(inputs.profiles.filter(_seen() > 0), observed, inputs)),
    ]
    comparison = observed["fit"]["comparison"]
    reading, verdict = _verdict(comparison, _turned(everyone, observed))
    notes = (
        "Observed: both directions of all three metrics in at least one session.",
        f"Conclusions are called unchanged where at least {100 * _SAME:.0f} % of the observed subscribers "
        f"keep their group, the adjusted Rand index is at least {_AGREEMENT}, scores correlate by at least "
        f"{_SAME}, and no group's centre moves to the other side of the mean.",
        "Centres are in the units of the metrics; z-scores are against each fit's own subscribers.",
    )
    facts = {
        "conclusions": verdict,
        "observed_subscriber_count": comparison["subscriber_count"],
        "rand_index": comparison["rand_index"],
        "same_cluster_share": comparison["same_cluster_share"],
        "score_correlation": comparison["score_correlation"],
    }
    fields = [f"{m}_z" for m in _METRICS]
    panels = charts.bars("experience_cluster", "value", colour="fitted_on", vertical=True)
    chart = charts.facet(panels, "metric", columns=2)
    chart |= {"transform": [{"fold": fields, "as": ["metric", "value"]}]}
    return _answer(
        "observed", rows, reading, chart=chart, facts=facts, group_size="subscriber_count", notes=notes
    )


def _seen() -> Any:
    """1.0 for a subscriber whose three metrics were all observed, else 0.0."""
    held = reduce(lambda a, b: a & b, (~nw.col(f"{m}_raw").is_null() for m in _METRICS))
    return nw.when(held).then(1.0).otherwise(0.0)


def _sizes(profiles: Any, model: Mapping[str, Any], inputs: Inputs) -> dict[int, int]:
    """Subscribers nearest to each centroid; a tie goes to the lower number."""
    p, features = model["parameters"], model["features"]
    centroids, scale = p["centroids"], list(zip(features, p["mean"], p["deviation"], strict=True))
    frame = profiles.select(**{name: (nw.col(name) - mean) / deviation for name, mean, deviation in scale})
    frame = frame.filter(*(~nw.col(name).is_null() for name in features)).select(
        **{f"d{i}": _squared(features, centre) for i, centre in enumerate(centroids)}
    )
    taken, counts = nw.lit(False), {}
    for i in range(len(centroids)):
        nearest = reduce(
            lambda a, b: a & b,
            (nw.col(f"d{i}") <= nw.col(f"d{j}") for j in range(len(centroids))),
        )
        counts[f"n{i}"] = nw.when(nearest & ~taken).then(1.0).otherwise(0.0).sum()
        taken = taken | nearest
    row = inputs.store.row(frame.select(**counts))
    return {i: int(row[f"n{i}"] or 0) for i in range(len(centroids))}


def _squared(features: Sequence[str], centre: Sequence[float]) -> Any:
    gaps = (nw.col(name) - place for name, place in zip(features, centre, strict=True))
    return reduce(lambda a, b: a + b, (gap * gap for gap in gaps))


def _fit_rows(label: str, model: Mapping[str, Any], sizes: Mapping[int, int]) -> list[dict[str, Any]]:
    p, features = model["parameters"], model["features"]
    everyone = sum(sizes.values())
    rows = []
    for number, centre in enumerate(p["centroids"]):
        row = {"fitted_on": label, "experience_cluster": number, "subscriber_count": sizes[number],
               "subscriber_share": sizes[number] / everyone if everyone else None}  # fmt: skip
        for name, z, mean, deviation in zip(features, centre, p["mean"], p["deviation"], strict=True):
            row |= {name: mean + deviation * z, f"{name}_z": z}
        rows.append(row)
    return rows


def _turned(everyone: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """What changes sides: a group's metric, clearly above the mean in one fit and below it in the other."""
    found = []
    fits = [model["parameters"]["centroids"] for model in (everyone, observed)]
    for number, (one, other) in enumerate(zip(*fits, strict=True)):
        for name, z, w in zip(everyone["features"], one, other, strict=True):
            if z * w < 0 and min(abs(z), abs(w)) >= words.LEAST_EFFECT:
                found.append(f"{_METRICS.get(name, name)} of cluster {number}")
    return found


def _verdict(comparison: Mapping[str, Any], turned: Sequence[str]) -> tuple[list[str], str]:
    same, rand, r = (comparison[k] for k in ("same_cluster_share", "rand_index", "score_correlation"))
    count = words.plural(comparison["subscriber_count"], "observed subscriber")
    reading = [
        f"Of {count}, {percent(same)} keep their group when the model is fitted without the others "
        f"(adjusted Rand index {rand:.2f}).",
        "The scores cannot be correlated: one of them does not vary."
        if r is None
        else "Their experience scores by the two fits show "
        f"{words.correlation(r, comparison['subscriber_count'])} (r = {r:.2f}).",
    ]
    if turned:
        reading.append(f"Fitted so, these turn to the other side of the mean: {words.listing(turned)}.")
    broken = []
    if same < _SAME or rand < _AGREEMENT:
        broken.append("who belongs to which group")
    if r is None or r < _SAME:
        broken.append("the scores")
    if turned:
        broken.append("what the groups stand for")
    if not broken:
        reading.append("The conclusions do not change without the never-observed.")
        return reading, "unchanged"
    reading.append(
        f"The conclusions change without the never-observed: {words.listing(broken)} "
        f"{'depends' if len(broken) == 1 and broken[0] != 'the scores' else 'depend'} on fill-in."
    )
    return reading, "changed"


QUESTIONS: Final = (
    *values.QUESTIONS,
    *handsets.QUESTIONS,
    Question("experience.clusters", _TEXT["clusters"], _clusters, SUBSCRIBERS),
    Question("experience.filled", _TEXT["filled"], _filled),
    Question("experience.observed", _TEXT["observed"], _observed),
)
