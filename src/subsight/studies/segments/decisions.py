"""What to do with segments: how each reads and may be treated, how sure they are, and who may leave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies import elbow as elbows
from subsight.studies.groups import contrast, percent, pooled, whole_share
from subsight.studies.segments import members
from subsight.studies.segments.comparison import sides
from subsight.studies.segments.members import SegmentInputs, SegmentQuestion, said
from subsight.studies.words import Group

__all__ = ["QUESTIONS", "treatment", "wilson"]

_TEXT: Final = {
    "reading": "What sets each segment apart, and what follows for how it is treated?",
    "choice": "How many segments do the data suggest, and how stable are they?",
    "retention": "From which segments do subscribers leave, or are about to?",
}
_Z: Final = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""
_STABLE: Final = ((0.9, "nearly the same segments"), (0.7, "much the same segments"))
_WHY: Final = {
    "asked": "as was asked for",
    "previous": "as many as before, so that names and lists stay comparable",
    "elbow": "where the inertia bends",
    "least": "the least that divides anybody: the inertia does not bend",
}

_TOLD: Final = 5
"""Differences that are told of a segment, the strongest; the profile has all."""

# By tenure and use against the rest: what follows.
_TREATMENTS: Final[Mapping[tuple[str, str], str]] = {
    ("higher", "higher"): "reward loyalty and protect the service; the first to be asked for premium plans",
    ("higher", "lower"): "show what the plan already holds; content and family offers before larger volumes",
    ("higher", "no clear difference"): "thank for loyalty; a renewal before the contract runs out",
    ("lower", "higher"): "bind early: a longer term with a larger allowance",
    ("lower", "lower"): "accompany the start: set-up help and small first offers",
    ("lower", "no clear difference"): "accompany the start; ask for satisfaction after the first month",
    ("no clear difference", "higher"): "offer larger volumes or speed",
    ("no clear difference", "lower"): "offer content or a smaller plan; larger volumes do not fit",
}


def _answer(name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], **more: Any) -> Answer:
    return Answer(f"segments.{name}", _TEXT[name], rows, tuple(reading), **more)


def treatment(tenure: str, use: str, churn: str) -> str:
    """What follows from how a segment compares with the rest; each is a verdict of `words.compare`.

    >>> treatment("lower", "lower", "no clear difference")
    'accompany the start: set-up help and small first offers'
    >>> treatment("higher", "higher", "higher").split(";")[0]
    'retain first: find out why they leave before anything is sold'
    """
    usual = _TREATMENTS.get((tenure, use))
    if churn == "higher":
        first = "retain first: find out why they leave before anything is sold"
        return f"{first}; then {usual}" if usual else first
    return usual or "none follows from tenure and use: it is close to the rest in both"


def _rest(groups: Sequence[Group], i: int) -> Group:
    return pooled([group for j, group in enumerate(groups) if j != i])


def _against_rest(groups: Sequence[Group] | None, i: int) -> str:
    return words.compare(groups[i], _rest(groups, i)) if groups else "no clear difference"


def _apart(found: Mapping[str, Sequence[Group]], i: int) -> str:
    """In what a segment clearly differs from the rest, the strongest few."""
    clear = {}
    for measure, groups in found.items():
        verdict, whole = _against_rest(groups, i), pooled(groups)
        if verdict != "no clear difference":
            distance = abs(groups[i].mean - _rest(groups, i).mean) / (whole.deviation or 1.0)
            clear[measure] = (distance, verdict)
    strongest = sorted(clear, key=lambda measure: -clear[measure][0])[:_TOLD]
    if not strongest:
        return "no clear difference in anything compared"
    more = f"; and in {len(clear) - _TOLD} more" if len(clear) > _TOLD else ""
    return contrast({said(measure): clear[measure][1] for measure in strongest}) + more


def _reading(inputs: SegmentInputs) -> Answer:
    minimum, counts, found = inputs.settings.minimum_group, members.sizes(inputs), sides(inputs)
    values: dict[str, Any] = {}
    if "tenure_days" in members.columns(inputs):
        values["tenure"] = nw.col("tenure_days").cast(nw.Float64)
    if use := members.use(inputs):
        values["use"] = use[1]
    if (churn := _churn(inputs)) is not None:
        values["churn"] = churn
    groups = members.groups_of(inputs, values) if values else {}
    rows, reading = [], []
    for i, (name, count) in enumerate(zip(members.names(inputs), counts, strict=True)):
        verdicts = {side: _against_rest(groups.get(side), i) for side in ("tenure", "use", "churn")}
        follows = treatment(verdicts["tenure"], verdicts["use"], verdicts["churn"])
        apart = _apart(found, i)
        is_shown = count >= minimum
        rows.append(
            {
                "segment_name": name,
                "subscriber_count": count,
                "against_the_rest": apart if is_shown else "too few subscribers",
                "suggested_treatment": follows if is_shown else "too few subscribers",
            }
        )
        if is_shown:
            share = percent(count / sum(counts))
            reading.append(
                f"{name} ({words.plural(count, 'subscriber')}, {share}), against the rest: {apart}. "
                f"Suggested: {follows}."
            )
    notes = (
        "Clear: at least 0.2 pooled standard deviations and three standard errors from the mean of the other "
        "segments together. Suggestions follow from tenure, use and, where known, churn; try them on "
        "a part of the segment first.",
    )
    return _answer("reading", rows, reading, group_size="subscriber_count", notes=notes)


def _choice(inputs: SegmentInputs) -> Answer:
    fit, used = inputs.record["fit"], len(inputs.record["names"])
    elbow, stability = fit["elbow"], fit["stability"]
    reading = [
        f"Subscribers are divided into {used} segments, {_WHY[fit['chosen']]}. The inertia bends at "
        f"k = {elbow['elbow_k']}; the silhouette is highest at k = {elbow['silhouette_best_k']}."
    ]
    value = fit["silhouette"]
    reading.append(f"The silhouette of these segments is {value:.2f}: {elbows.structure(value)} structure.")
    if stability["mean"] is not None:
        same = next((name for least, name in _STABLE if stability["mean"] >= least), "other segments")
        reading.append(
            f"Fitted anew to {stability['resamples']} resamples, k-means finds {same}: the adjusted Rand "
            f"index is {stability['mean']:.2f} on average ({stability['low']:.2f} to "
            f"{stability['high']:.2f} in 95 % of them), where 1 is the same division and 0 is chance."
        )
        if same == "other segments":
            reading.append("Lists made of such segments change with chance: act on them with care.")
    facts = {
        "used_k": used, "elbow_k": elbow["elbow_k"], "silhouette_best_k": elbow["silhouette_best_k"],
        "silhouette": value, "stability_mean": stability["mean"], "stability_low": stability["low"],
        "stability_high": stability["high"],
    }  # fmt: skip
    notes = (
        f"Bootstrap: {stability['resamples']} resamples of up to {stability['rows']:,} subscribers (Efron "
        "1979), agreement by the adjusted Rand index (Hubert and Arabie 1985).",
    )
    rows = elbows.rows(elbow, used)
    return _answer("choice", rows, reading, chart=elbows.chart(), facts=facts, notes=notes)


# Retention


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` (Wilson 1927).

    >>> [round(edge, 4) for edge in wilson(0.1, 100)]
    [0.0552, 0.1744]
    """
    middle, width = share + _Z**2 / (2 * count), share * (1 - share) / count + (_Z / (2 * count)) ** 2
    whole = 1 + _Z**2 / count
    # Rounding leaves a share of 0 or 1 a hair inside its own interval.
    low = 0.0 if share == 0 else max(0.0, (middle - _Z * math.sqrt(width)) / whole)
    high = 1.0 if share == 1 else min(1.0, (middle + _Z * math.sqrt(width)) / whole)
    return low, high


def _churn(inputs: SegmentInputs) -> Any:
    kind = members.columns(inputs).get("is_churned")
    return nw.col("is_churned").cast(nw.Float64) if kind == "Boolean" else None


def _retention(inputs: SegmentInputs) -> Answer:
    risks: dict[str, Any] = {}
    if (churn := _churn(inputs)) is not None:
        risks["churned"] = churn
    if "satisfaction_cluster" in members.columns(inputs):
        cluster = nw.col("satisfaction_cluster")
        risks["less_satisfied"] = nw.when(~cluster.is_null()).then((cluster == 0).cast(nw.Float64))
    groups = members.groups_of(inputs, risks) if risks else {}
    groups = {name: found for name, found in groups.items() if any(group.count for group in found)}
    if not groups:
        return _answer("retention", [], ["Neither a churn flag nor satisfaction is known of anybody here."])
    rows = []
    for i, (name, count) in enumerate(zip(members.names(inputs), members.sizes(inputs), strict=True)):
        row: dict[str, Any] = {"segment_name": name, "subscriber_count": count}
        for risk, found in groups.items():
            share = whole_share(found[i], inputs.settings.minimum_group)
            low, high = wilson(found[i].mean, found[i].count) if share is not None else (None, None)
            row |= {f"{risk}_share": share, f"{risk}_low_share": low, f"{risk}_high_share": high}
            row[f"{risk}_known_count"] = found[i].count
        rows.append(row)
    reading = [_extremes(rows, risk, inputs.settings.minimum_group) for risk in groups]
    shown = [risk for risk in groups if any(row[f"{risk}_share"] is not None for row in rows)]
    panels = [
        charts.intervals("segment_name", *(f"{risk}{side}_share" for side in ("", "_low", "_high")))
        for risk in shown
    ]
    chart = charts.below(*panels) if panels else None
    notes = (
        "Intervals: 95 %, Wilson. A flag says who left when the table was made, not who will. Less "
        "satisfied: in the less satisfied of the two groups of the satisfaction study.",
    )
    return _answer("retention", rows, reading, chart=chart, group_size="subscriber_count", notes=notes)


_SAID: Final = {"churned": "have left", "less_satisfied": "are less satisfied"}


def _extremes(rows: Sequence[Mapping[str, Any]], risk: str, minimum: int) -> str:
    told = _SAID[risk]
    known = [row for row in rows if row[f"{risk}_share"] is not None and row["subscriber_count"] >= minimum]
    if len(known) < 2:
        return f"There are not two segments large enough to compare how many {told}."
    most, least = (pick(known, key=lambda row: row[f"{risk}_share"]) for pick in (max, min))
    if most[f"{risk}_low_share"] <= least[f"{risk}_high_share"]:
        return f"There is no clear difference between segments in how many {told}: the intervals overlap."

    def share(row: Mapping[str, Any]) -> str:
        low, high = (percent(row[f"{risk}_{side}_share"]) for side in ("low", "high"))
        return f"{percent(row[f'{risk}_share'])} (95 % interval {low} to {high})"

    return (
        f"Of {most['segment_name']}, {share(most)} {told}; of {least['segment_name']}, {share(least)}. The "
        "intervals are apart."
    )


QUESTIONS: Final = (
    SegmentQuestion("segments.reading", _TEXT["reading"], _reading),
    SegmentQuestion("segments.choice", _TEXT["choice"], _choice),
    SegmentQuestion("segments.retention", _TEXT["retention"], _retention),
)
