"""Engagement: who uses the network most, in which groups, with which applications, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts, words
from subsight.studies import elbow as elbows
from subsight.studies.engagement import applications, capacity
from subsight.studies.groups import amount, contrast, first_of_each, group, moments, percent, total

__all__ = ["QUESTIONS"]

_METRICS: Final = {"session_count": "sessions", "duration_s": "duration", "total_bytes": "total traffic"}
_TOP: Final = 10

_TEXT: Final = {
    "top_subscribers": "Who are the ten heaviest users by sessions, duration and total traffic?",
    "clusters": "Into which groups does use divide subscribers, and what does each group use?",
    "elbow": "How many engagement groups do the data suggest?",
}


def _answer(name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], **more: Any) -> Answer:
    return Answer(f"engagement.{name}", _TEXT[name], rows, tuple(reading), **more)


def _top_subscribers(inputs: Inputs) -> Answer:
    profiles, columns = inputs.profiles, ("subscriber_id", *_METRICS)
    found = first_of_each(inputs.store, profiles.select("subscriber_hash", *columns), list(_METRICS), _TOP)
    whole = inputs.store.row(
        profiles.select(nw.len().alias("count"), *(total(amount(m)).alias(m) for m in _METRICS))
    )
    rows, reading = [], []
    facts: dict[str, float | str | None] = {"subscriber_count": whole["count"]}
    for metric, word in _METRICS.items():
        best = found[metric]
        rows += [
            {"metric": metric, "rank": i, **{name: row[name] for name in columns}}
            for i, row in enumerate(best, 1)
        ]
        if best and whole[metric]:
            first, mean = best[0][metric], whole[metric] / whole["count"]
            held = sum(row[metric] for row in best) / whole[metric]
            facts |= {f"first_{metric}": first, f"top_{metric}_share": held}
            reading.append(
                f"By {word}, the first subscriber has {words.say(first, metric)}, {first / mean:,.1f} times "
                f"the mean of {words.say(mean, metric)}; the first {len(best)} hold {percent(held)} "
                "of the total."
            )
    lists = [{row["subscriber_id"] for row in rows if row["metric"] == metric} for metric in _METRICS]
    facts["in_every_list_count"] = len(set.intersection(*lists))
    everywhere = words.plural(len(set.intersection(*lists)), "subscriber stands", "subscribers stand")
    reading.append(f"{everywhere} in all three lists.")
    notes = ("Raw totals over all sessions of the data: nothing is treated, heavy users are real.",)
    return _answer("top_subscribers", rows, reading, facts=facts, ranks_subscribers=True, notes=notes)


def _clusters(inputs: Inputs) -> Answer:
    if "engagement" not in inputs.models:
        return _answer("clusters", [], ["No engagement groups: too few subscribers have the three metrics."])
    measures = {metric: nw.col(metric) for metric in _METRICS}
    found = inputs.store.rows(
        inputs.profiles.filter(~nw.col("engagement_cluster").is_null())
        .group_by("engagement_cluster")
        .agg(
            nw.len().alias("subscriber_count"),
            *(value.min().alias(f"min_{metric}") for metric, value in measures.items()),
            *(value.max().alias(f"max_{metric}") for metric, value in measures.items()),
            *(total(value).alias(f"total_{metric}") for metric, value in measures.items()),
            **moments(measures),
        )
        .sort("engagement_cluster")
    )
    everyone = sum(row["subscriber_count"] for row in found)
    traffic = sum(row["total_total_bytes"] for row in found)
    rows = []
    for row in found:
        made = {
            "engagement_cluster": row["engagement_cluster"],
            "subscriber_count": row["subscriber_count"],
            "subscriber_share": row["subscriber_count"] / everyone,
            "traffic_share": row["total_total_bytes"] / traffic if traffic else None,
        }
        for metric in _METRICS:
            whole = row[f"total_{metric}"]
            made |= {f"min_{metric}": row[f"min_{metric}"], f"max_{metric}": row[f"max_{metric}"],
                     f"mean_{metric}": row[f"{metric}:mean"],
                     f"total_{metric}": whole if metric == "duration_s" else int(whole)}  # fmt: skip
        rows.append(made)
    reading, facts = _describe(inputs, rows, found)
    notes = (
        "k-means, k = 3, on z-scores of the three metrics; cluster 0 is the least engaged.",
        "The table shows the raw metrics.",
    )
    return _answer(
        "clusters", rows, reading, chart=_cluster_chart(), facts=facts, group_size="subscriber_count",
        notes=notes,
    )  # fmt: skip


def _describe(
    inputs: Inputs, rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> tuple[list[str], dict[str, float | str | None]]:
    reading: list[str] = []
    facts: dict[str, float | str | None] = {}
    shown = [i for i, row in enumerate(rows) if row["subscriber_count"] >= inputs.settings.minimum_group]
    for i in shown:
        row, number = rows[i], rows[i]["engagement_cluster"]
        facts |= {f"cluster_{number}_subscriber_share": row["subscriber_share"],
                  f"cluster_{number}_traffic_share": row["traffic_share"]}  # fmt: skip
        means = [words.say(row[f"mean_{metric}"], metric) for metric in _METRICS]
        reading.append(
            f"Cluster {number} holds {words.plural(row['subscriber_count'], 'subscriber')} "
            f"({percent(row['subscriber_share'])}) and "
            f"{percent(row['traffic_share'])} of the traffic; the mean subscriber has "
            f"{means[0]} sessions, {means[1]} and {means[2]}."
        )
    if len(shown) < 2:
        reading.append("There are not two groups large enough to compare.")
        return reading, facts
    low, high = found[shown[0]], found[shown[-1]]
    verdicts = {word: words.compare(group(high, m), group(low, m)) for m, word in _METRICS.items()}
    first, last = low["engagement_cluster"], high["engagement_cluster"]
    reading.append(f"Cluster {last} against cluster {first}: {contrast(verdicts)}.")
    return reading, facts


def _cluster_chart() -> dict[str, Any]:
    fields = [f"{statistic}_{metric}" for metric in _METRICS for statistic in ("mean", "total")]
    panels = charts.facet(
        charts.bars("engagement_cluster", "value", vertical=True), "statistic", columns=2, free="y"
    )
    return panels | {"transform": [{"fold": fields, "as": ["statistic", "value"]}]}


def _elbow(inputs: Inputs) -> Answer:
    fit = inputs.models.get("engagement", {}).get("fit", {})
    if "elbow" not in fit:
        return _answer("elbow", [], ["The number of groups was not examined: there is no engagement model."])
    elbow, used = fit["elbow"], len(inputs.models["engagement"]["parameters"]["centroids"])
    silhouettes = dict(zip(elbow["silhouette_k"], elbow["silhouette"], strict=True))
    knee, best = elbow["elbow_k"], elbow["silhouette_best_k"]
    sample = words.plural(elbow["silhouette_sample"], "subscriber")
    reading = [f"The inertia bends at k = {knee}: beyond it, a further group explains little more."]
    if silhouettes:
        highest = silhouettes[best]
        word = elbows.structure(highest)
        reading.append(
            f"The silhouette, on a sample of {sample}, is highest at k = {best} "
            f"({highest:.2f}: {word} structure)."
        )
    if knee == best:
        reading.append(f"Both point to k = {knee}.")
    else:
        reading.append(f"The two disagree: the elbow says {knee}, the silhouette says {best}.")
    backed = [name for name, k in (("the elbow", knee), ("the silhouette", best)) if k == used]
    support = words.listing(backed) if backed else "neither"
    reading.append(f"The groups of this run use k = {used}, which {support} {_supports(len(backed))}.")
    facts = {
        "elbow_k": knee,
        "silhouette_best_k": best,
        "used_k": used,
        "silhouette_used": silhouettes.get(used),
        "silhouette_sample_count": elbow["silhouette_sample"],
    }
    notes = (
        "Inertia: sum of squared distances to the nearest centroid, over all subscribers that were fitted.",
        f"Silhouette: on {sample}, those with the smallest hash. Elbow: the point farthest from the chord.",
    )
    return _answer("elbow", elbows.rows(elbow, used), reading, chart=elbows.chart(), facts=facts, notes=notes)


def _supports(count: int) -> str:
    return "support" if count == 2 else "supports"


QUESTIONS: Final = (
    Question("engagement.top_subscribers", _TEXT["top_subscribers"], _top_subscribers, SUBSCRIBERS),
    Question("engagement.clusters", _TEXT["clusters"], _clusters, SUBSCRIBERS),
    Question("engagement.elbow", _TEXT["elbow"], _elbow),
    *applications.QUESTIONS,
    *capacity.QUESTIONS,
)
