"""Satisfaction: distances to the worst clusters, what they say, what they hide, and what predicts them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts, words
from subsight.studies.groups import group
from subsight.studies.satisfaction import regressions, service
from subsight.studies.satisfaction.service import (
    AREAS,
    INDICES,
    NO_SCORES,
    SCORES,
    at_most,
    held,
    means_of,
    safe,
    scored,
    told,
    unscored,
)

__all__ = ["QUESTIONS"]

# Scores are distances in z units, so one width suits every operator. The last bin is open.
_BINS: Final = {"score": (0.25, 16), "index": (10.0, 10)}
_TOP: Final = 10
_QUARTERS: Final = ((True, True), (True, False), (False, True), (False, False))
_ABOVE: Final = {True: "above its mean", False: "not above its mean"}


def _correlation(n: float, x: float, y: float, xx: float, yy: float, xy: float) -> float | None:
    spread = (xx - x * x / n) * (yy - y * y / n) if n else 0.0
    return (xy - x * y / n) / math.sqrt(spread) if spread > 0 else None


def _definition(inputs: Inputs) -> Answer:
    q, frame = _QUESTIONS["definition"], scored(inputs)
    rows: list[dict[str, Any]] = []
    reading: list[str] = []
    facts: dict[str, float | str | None] = {}
    for area, worst in (("engagement", "least engaged"), ("experience", "worst experience")):
        model = inputs.models.get(area)
        if model is None:
            reading.append(f"There is no {area} model: columns that it needs are missing from the data.")
            continue
        rows += _centroids(area, model)
        parts = [
            f"{words.say(row['centroid'], row['feature'])} ({words.named(row['feature'])})"
            for row in rows
            if row["model"] == area and row["role"] == "worst"
        ]
        reading.append(
            f"The {area} score is the Euclidean distance, in z-scores, to the centroid of the {worst} "
            f"cluster, which lies at {words.listing(parts)}."
        )
    if frame is not None and rows:
        half = (nw.col("engagement_score") + nw.col("experience_score")) / 2
        gap = (nw.col("satisfaction_score") - half).abs().max()
        row = inputs.store.row(frame.select(n=nw.len(), gap=gap))
        facts = {"subscriber_count": row["n"], "largest_departure": row["gap"]}
        exact = row["gap"] is not None and row["gap"] < 1e-9
        verdict = "is" if exact else f"departs by up to {row['gap'] or 0:.3g} from"
        reading.append(
            f"The satisfaction score {verdict} the mean of the two, over "
            f"{words.plural(row['n'], 'subscriber')}. Each index runs along the line between both "
            "centroids: 0 at or beyond the worst, 100 at or beyond the best."
        )
    notes = (
        "index = 100 clip(((x - worst).(best - worst)) / |best - worst|^2, 0, 1) in z-scores.",
        "a mean and deviation are over subscribers; the deviation is the population's.",
        "a centroid is where the fit stopped: the mean of the cluster's members, in engagement.clusters and "
        "experience.clusters, may differ from it a little.",
    )
    return Answer(q.id, q.text, rows, tuple(reading), facts=facts, notes=notes)


def _centroids(area: str, model: Mapping[str, Any]) -> list[dict[str, Any]]:
    p = model["parameters"]
    return [
        {
            "model": area,
            "role": role,
            "cluster": p[role],
            "feature": feature,
            "centroid_z": z,
            "centroid": mean + deviation * z,
            "mean": mean,
            "deviation": deviation,
        }
        for role in ("worst", "best")
        for feature, z, mean, deviation in zip(
            model["features"], p["centroids"][p[role]], p["mean"], p["deviation"], strict=True
        )
    ]


def _distribution(inputs: Inputs) -> Answer:
    q, frame = _QUESTIONS["distribution"], scored(inputs)
    if frame is None:
        return unscored(q, NO_SCORES)
    measures = (*SCORES, *INDICES)
    asked: dict[str, Any] = {"n": nw.len(), **means_of(measures)}
    for name in measures:
        width, bins = _BINS[name.rpartition("_")[2]]
        asked |= {f"{name}:{i}": held(nw.col(name) >= i * width) for i in range(1, bins)}
    for name in INDICES:
        asked |= {f"{name}:at_0": held(nw.col(name) <= 0), f"{name}:at_100": held(nw.col(name) >= 100)}
    seen = inputs.store.row(frame.select(**asked))
    minimum = inputs.settings.minimum_group
    rows: list[dict[str, Any]] = []
    reading, facts = [], {"subscriber_count": seen["n"]}
    for name in measures:
        all_of = group(seen, name)
        rows += _histogram(name, all_of.count, seen)
        facts |= {f"{name}_mean": all_of.mean, f"{name}_deviation": all_of.deviation}
        sentence = f"{_title(name)}: mean {all_of.mean:.3g}, standard deviation {all_of.deviation:.3g}"
        if name in INDICES:
            ends = [safe(seen[f"{name}:at_{end}"], all_of.count, minimum) for end in (0, 100)]
            facts |= {f"{name}_at_0_share": ends[0], f"{name}_at_100_share": ends[1]}
            sentence += f"; {told(ends[0])} of subscribers lie at 0 and {told(ends[1])} at 100"
        reading.append(sentence + ".")
    chart = charts.facet(charts.bars("lower", "subscriber_share", vertical=True), "measure", free="x")
    notes = ("A class holds its lower bound, which the chart names; the last class of a score is open.",)
    return Answer(q.id, q.text, rows, tuple(reading), chart, facts, "subscriber_count", notes=notes)


def _histogram(name: str, everyone: int, seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    width, bins = _BINS[name.rpartition("_")[2]]
    above = [everyone, *(int(seen[f"{name}:{i}"] or 0) for i in range(1, bins)), 0]
    return [
        {
            "measure": name,
            "lower": i * width,
            "upper": None if i == bins - 1 and name in SCORES else (i + 1) * width,
            "subscriber_count": above[i] - above[i + 1],
            "subscriber_share": (above[i] - above[i + 1]) / everyone if everyone else None,
        }
        for i in range(bins)
    ]


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _top(inputs: Inputs) -> Answer:
    q, frame = _QUESTIONS["top"], scored(inputs)
    if frame is None:
        return unscored(q, NO_SCORES)
    columns = (*SCORES[::-1], *INDICES[::-1], "satisfaction_cluster")
    ordered = frame.sort("satisfaction_score", "subscriber_hash", descending=[True, False])
    top = inputs.store.rows(ordered.select("subscriber_id", *columns).head(_TOP))
    # A rank needs no quantile: count how many subscribers have a lower index than each of the ten.
    index = nw.col("satisfaction_index")
    lower = {f"r{i}": held(index < row["satisfaction_index"]) for i, row in enumerate(top)}
    seen = inputs.store.row(frame.select(n=nw.len(), **lower))
    rows = [
        {"rank": i + 1, **row, "lower_index_share": (seen[f"r{i}"] or 0.0) / seen["n"]}
        for i, row in enumerate(top)
    ]
    below = sum(row["lower_index_share"] < 0.5 for row in rows)
    worse = [sum(row[f"{area}_index"] <= 0 for row in rows) for area in ("engagement", "experience")]
    reading = (
        f"The ten largest satisfaction scores run from {rows[-1]['satisfaction_score']:.3g} to "
        f"{rows[0]['satisfaction_score']:.3g}." if len(rows) == _TOP else
        f"There are only {words.plural(len(rows), 'subscriber')} with a satisfaction score.",
        "A large distance may also come from being worse than the worst centroid: of these "
        f"{len(rows)}, {worse[0] or 'none'} have an engagement index of 0, {worse[1] or 'none'} an "
        f"experience index of 0, and {below or 'none'} a satisfaction index below the median.",
    )  # fmt: skip
    facts = {"subscriber_count": len(rows), "below_median_index_count": below,
             "engagement_index_0_count": worse[0], "experience_index_0_count": worse[1]}  # fmt: skip
    notes = ("ties go to the smaller unkeyed hash of the identifier.",
             "lower_index_share: share of subscribers whose satisfaction index is lower.")  # fmt: skip
    return Answer(q.id, q.text, rows, reading, facts=facts, ranks_subscribers=True, notes=notes)


def _score_and_index(inputs: Inputs) -> Answer:
    q, frame = _QUESTIONS["score_and_index"], scored(inputs)
    if frame is None:
        return unscored(q, NO_SCORES)
    first = inputs.store.row(frame.select(**means_of((*SCORES, *INDICES))))
    asked: dict[str, Any] = {"n": nw.len()}
    for area in AREAS:
        # Centred first: products of raw values would lose digits.
        x, y = (nw.col(f"{area}_{kind}") - group(first, f"{area}_{kind}").mean for kind in ("score", "index"))
        products = {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}
        asked |= {f"{area}:{k}": v.cast(nw.Float64).sum() for k, v in products.items()}
        for high, good in _QUARTERS:
            kept = ((x > 0) if high else (x <= 0)) & ((y > 0) if good else (y <= 0))
            asked[f"{area}:{high}:{good}"] = held(kept)
    seen = inputs.store.row(frame.select(**asked))
    n, minimum = seen["n"], inputs.settings.minimum_group
    rows, reading = [], []
    facts: dict[str, float | str | None] = {"subscriber_count": n}
    for area in AREAS:
        r = _correlation(n, *(seen[f"{area}:{k}"] or 0.0 for k in ("x", "y", "xx", "yy", "xy")))
        for high, good in _QUARTERS:
            count = int(seen[f"{area}:{high}:{good}"] or 0)
            rows.append(
                {"measure": area, "score": _ABOVE[high], "index": _ABOVE[good], "subscriber_count": count,
                 "subscriber_share": count / n if n else None}
            )  # fmt: skip
        misleading = safe(seen[f"{area}:True:False"], n, minimum)
        facts |= {f"{area}_correlation": r, f"{area}_high_score_low_index_share": misleading}
        hidden = seen[f"{area}:True:False"]
        facts |= at_most(f"{area}_high_score_low_index_share", hidden, n, minimum)
        said = "" if r is None else f" (r = {r:.2f})"
        reading.append(
            f"{area.capitalize()}: {words.correlation(r, n)} between score and index{said}; "
            f"{told(misleading)} of subscribers have a score above the mean with an index that is not."
        )
    cells = charts.heat("score", "index", "subscriber_share", text=".0%")
    for axis in ("x", "y"):  # both have the same two labels
        cells["encoding"][axis]["title"] = cells["encoding"][axis]["field"]
    chart = charts.facet(cells, "measure")
    return Answer(q.id, q.text, rows, tuple(reading), chart, facts, group_size="subscriber_count")


def _clusters(inputs: Inputs) -> Answer:
    q, frame = _QUESTIONS["clusters"], scored(inputs)
    if frame is None:
        return unscored(q, NO_SCORES)
    raw = ("session_count", "total_bytes", "rtt_ms", "throughput_kbps", "tcp_retransmission_bytes")
    grouped = frame.group_by("satisfaction_cluster").agg(n=nw.len(), **means_of((*SCORES, *INDICES, *raw)))
    seen = sorted(inputs.store.rows(grouped), key=lambda row: row["satisfaction_cluster"])
    everyone = sum(row["n"] for row in seen)
    rows = [
        {"cluster": row["satisfaction_cluster"], "subscriber_count": row["n"],
         "subscriber_share": row["n"] / everyone,
         **{f"mean_{name}": group(row, name).mean for name in (*SCORES, *INDICES, *raw)}}
        for row in seen
    ]  # fmt: skip
    facts: dict[str, float | str | None] = {
        f"cluster_{row['cluster']}_{name}": row[name]
        for row in rows for name in ("subscriber_count", "subscriber_share", "mean_satisfaction_score")
    }  # fmt: skip
    sizes = " and ".join(f"{r['subscriber_count']:,} ({told(r['subscriber_share'])})" for r in rows)
    reading = [f"The clusters hold {sizes} subscribers; cluster 0 is the less satisfied."]
    if len(seen) == 2 and min(row["n"] for row in seen) >= inputs.settings.minimum_group:
        reading, verdicts = reading[:1], {}
        for name in (*SCORES[::-1], *INDICES[::-1]):
            low, high = (group(row, name) for row in seen)
            verdicts[name] = words.compare(high, low)
            facts |= {f"{name}_gap": high.mean - low.mean, f"{name}_gap_band": words.least_gap(high, low)}
            reading.append(
                f"{_title(name)}: {_versus(verdicts[name])} (mean {high.mean:.3g} against {low.mean:.3g})."
            )
        facts |= {f"{name}_verdict": verdict for name, verdict in verdicts.items()}
        if verdicts["experience_score"] != verdicts["experience_index"]:
            reading.append(
                "Score and index of experience disagree: distance from the worst served is not the same as "
                "standing nearer to the best served."
            )
    else:
        reading = ["One cluster is too small or missing, so the clusters are not compared."]
    chart = charts.bars("measure", "mean", colour="cluster")
    chart["transform"] = [{"fold": [f"mean_{n}" for n in SCORES], "as": ["measure", "mean"]}]
    notes = ("k-means, k = 2, on engagement and experience score as they are.",)
    return Answer(q.id, q.text, rows, tuple(reading), chart, facts, "subscriber_count", notes=notes)


def _versus(verdict: str) -> str:
    if verdict == "no clear difference":
        return "no clear difference between the clusters"
    return f"clearly {verdict} in cluster 1"


QUESTIONS: Final = (
    Question("satisfaction.definition", "From which centroids are the scores measured?", _definition),
    Question("satisfaction.distribution", "How are the scores and indices distributed?", _distribution,
             SUBSCRIBERS),
    Question("satisfaction.top", "Who are the ten subscribers with the largest satisfaction score?", _top,
             SUBSCRIBERS),
    Question("satisfaction.score_and_index", "Does a high score mean a good experience?", _score_and_index,
             SUBSCRIBERS),
    Question("satisfaction.clusters", "How do the two satisfaction clusters differ?", _clusters,
             SUBSCRIBERS),
    *regressions.QUESTIONS,
    *service.QUESTIONS,
)  # fmt: skip
_QUESTIONS: Final = {question.id.partition(".")[2]: question for question in QUESTIONS}
