"""Applications of the Engagement study: their totals, their heaviest users, and who leans on which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.privacy import suppress
from subsight.studies import HOURS, SUBSCRIBERS, Inputs, Question, charts, words
from subsight.studies import hours as by_hour
from subsight.studies.groups import (
    amount,
    contrast,
    first_of_each,
    group,
    moments,
    percent,
    pooled,
    proportion,
    total,
    without,
)

__all__ = ["QUESTIONS"]

_TOP: Final = 10
_PLOTTED: Final = 3

_TEXT: Final = {
    "application_totals": "How much traffic does each application carry, and which three carry most?",
    "top_application_subscribers": "Who are the ten heaviest users of each application?",
    "applications_by_cluster": "What sessions and volume does each group make in each application?",
    "personas": "Which application does each subscriber lean on, and what are these personas worth?",
}


def _answer(name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], **more: Any) -> Answer:
    return Answer(f"engagement.{name}", _TEXT[name], rows, tuple(reading), **more)


def _bytes(slug: str) -> Any:
    return amount(f"app_{slug}_bytes")


def _whole(inputs: Inputs) -> Any:
    """A subscriber's volume over all applications; null where it is nothing, so that no share is."""
    volume = reduce(lambda a, b: a + b, (_bytes(app.slug) for app in inputs.contract.applications))
    return nw.when(volume > 0).then(volume)


def _nothing(name: str) -> Answer:
    return _answer(name, [], ["The mapping names no applications, or none of them carries any volume."])


def _application_totals(inputs: Inputs) -> Answer:
    apps = inputs.contract.applications
    frame, asked, people = _asked_of_totals(inputs)
    seen = inputs.store.row(frame.select(**asked)) if apps else {}
    are_told_apart = inputs.hours is None
    volumes = {app.slug: (seen[f"{app.slug}:dl"] or 0) + (seen[f"{app.slug}:ul"] or 0) for app in apps}
    everything = sum(volumes.values())
    if not everything:
        return _nothing("application_totals")
    order = sorted(apps, key=lambda app: (-volumes[app.slug], app.slug))
    rows: list[dict[str, Any]] = [
        {"rank": i, "application": app.name, "dl_bytes": int(seen[f"{app.slug}:dl"]),
         "ul_bytes": int(seen[f"{app.slug}:ul"]), "total_bytes": int(volumes[app.slug]),
         "volume_share": volumes[app.slug] / everything,
         **({"mean_total_bytes": group(seen, app.slug).mean} if are_told_apart else {}),
         people: int(seen[f"{app.slug}:users"] or 0)}
        for i, app in enumerate(order, 1)
    ]  # fmt: skip
    least = inputs.settings.minimum_group
    shown = [(app, row) for app, row in zip(order, rows, strict=True) if row[people] >= least]
    top = shown[:_PLOTTED]
    reading = [
        f"{row['application']} carries {words.say(row['total_bytes'], 'total_bytes')}, "
        f"{percent(row['volume_share'])} of the applications' volume, for "
        f"{'' if are_told_apart else 'at least '}{words.plural(row[people], 'subscriber')}."
        for _, row in top
    ]
    compared = zip(top, shown[1 : _PLOTTED + 1], strict=False) if are_told_apart else ()
    for (one, _), (other, _) in compared:
        ahead = words.compare(group(seen, one.slug), group(seen, other.slug)) == "higher"
        claim = "is clearly ahead of" if ahead else "shows no clear difference from"
        reading.append(f"Per subscriber, {one.name} {claim} {other.name}.")
    chart = charts.bars("application", "total_bytes")
    chart |= {"transform": [{"filter": f"datum.rank <= {_PLOTTED}"}]}
    facts: dict[str, float | str | None] = {f"{app.slug}_volume_share": v["volume_share"] for app, v in shown}
    facts |= {f"application_{row['rank']}": row["application"] for _, row in top}
    counted = "any volume" if are_told_apart else "any downlink"
    notes = [f"{people}: those with {counted}. The chart shows the first {_PLOTTED}."]
    if not are_told_apart:
        notes.append(by_hour.least_note())
    return _answer(
        "application_totals", rows, reading, chart=chart, facts=facts, group_size=people, notes=tuple(notes)
    )  # fmt: skip


def _asked_of_totals(inputs: Inputs) -> tuple[Any, dict[str, Any], str]:
    """What volumes and users are read from, how, and the column in which users stand."""
    apps = inputs.contract.applications
    asked: dict[str, Any] = {
        f"{app.slug}:{side}": total(amount(f"app_{app.slug}_{side}_bytes"))
        for app in apps
        for side in ("dl", "ul")
    }
    if inputs.hours is not None:
        for app in apps:
            asked[f"{app.slug}:users"] = by_hour.least_of(f"app_{app.slug}_subscriber_count")
        return inputs.hours, asked, by_hour.LEAST
    asked |= moments({app.slug: _bytes(app.slug) for app in apps})
    for app in apps:
        asked[f"{app.slug}:users"] = nw.when(_bytes(app.slug) > 0).then(1.0).otherwise(0.0).sum()
    return inputs.profiles, asked, "subscriber_count"


def _top_application_subscribers(inputs: Inputs) -> Answer:
    apps = inputs.contract.applications
    if not apps:
        return _nothing("top_application_subscribers")
    keys, parts = [f"app_{app.slug}_bytes" for app in apps], ("dl_bytes", "ul_bytes", "bytes")
    volumes = [f"app_{app.slug}_{part}" for app in apps for part in parts]
    people = inputs.profiles.select("subscriber_id", "subscriber_hash", "session_count", *volumes)
    found = first_of_each(inputs.store, people, keys, _TOP)
    sums = inputs.store.row(inputs.profiles.select(**{app.slug: total(_bytes(app.slug)) for app in apps}))
    rows, reading, lists = [], [], 0
    seen: dict[str, int] = {}
    for app in apps:
        key = f"app_{app.slug}_bytes"
        best = [row for row in found[key] if row[key] > 0]
        for i, row in enumerate(best, 1):
            rows.append(
                {"application": app.name, "rank": i, "subscriber_id": row["subscriber_id"],
                 "session_count": row["session_count"], "dl_bytes": row[f"app_{app.slug}_dl_bytes"],
                 "ul_bytes": row[f"app_{app.slug}_ul_bytes"], "total_bytes": row[key],
                 "application_volume_share": row[key] / sums[app.slug]}
            )  # fmt: skip
            seen[row["subscriber_id"]] = seen.get(row["subscriber_id"], 0) + 1
        if best:
            lists += 1
            held = sum(row[key] for row in best) / sums[app.slug]
            reading.append(
                f"{app.name}: the first {len(best)} make {percent(held)} of its volume, the first "
                f"of them {words.say(best[0][key], 'total_bytes')}."
            )
    several = sum(count > 1 for count in seen.values())
    stand = words.plural(several, "subscriber stands", "subscribers stand")
    reading.append(f"{stand} in more than one of the {words.plural(lists, 'list')}.")
    facts = {"in_several_lists_count": several, "listed_subscriber_count": len(seen)}
    return _answer("top_application_subscribers", rows, reading, facts=facts, ranks_subscribers=True)


def _applications_by_cluster(inputs: Inputs) -> Answer:
    apps = inputs.contract.applications
    if "engagement" not in inputs.models:
        return _answer("applications_by_cluster", [], ["There are no engagement groups to divide by."])
    if not apps:
        return _nothing("applications_by_cluster")
    clusters = inputs.profiles.filter(~nw.col("engagement_cluster").is_null())
    volume = {a.slug: amount(f"app_{a.slug}_dl_bytes") + amount(f"app_{a.slug}_ul_bytes") for a in apps}
    use = inputs.store.rows(
        inputs.sessions.select("subscriber_id", **volume)
        .join(clusters.select("subscriber_id", "engagement_cluster"), on="subscriber_id", how="inner")
        .group_by("engagement_cluster")
        .agg(
            **{f"{slug}:volume": nw.col(slug).sum() for slug in volume},
            **{f"{s}:sessions": nw.when(nw.col(s) > 0).then(1.0).otherwise(0.0).sum() for s in volume},
        )
        .sort("engagement_cluster")
    )
    people = inputs.store.rows(
        clusters.select("engagement_cluster", whole=_whole(inputs), **{slug: _bytes(slug) for slug in volume})
        .group_by("engagement_cluster")
        .agg(
            nw.len().alias("count"),
            **{f"{s}:users": nw.when(nw.col(s) > 0).then(1.0).otherwise(0.0).sum() for s in volume},
            **moments({slug: nw.col(slug) / nw.col("whole") for slug in volume}),
        )
        .sort("engagement_cluster")
    )
    rows = []
    for app in apps:
        key = f"{app.slug}:volume"
        whole = sum(row[key] for row in use)
        for row, who in zip(use, people, strict=True):
            cluster, sessions = sum(row[f"{s}:volume"] for s in volume), int(row[f"{app.slug}:sessions"])
            rows.append(
                {"application": app.name, "engagement_cluster": row["engagement_cluster"],
                 "subscriber_count": int(who[f"{app.slug}:users"]), "session_count": sessions,
                 "total_bytes": int(row[key]),
                 "mean_session_bytes": row[key] / sessions if sessions else None,
                 "application_volume_share": row[key] / whole if whole else None,
                 "cluster_volume_share": row[key] / cluster if cluster else None}
            )  # fmt: skip
    chart = charts.bars("application", "total_bytes", colour="engagement_cluster", stacked=True)
    notes = (
        "A session of an application is one with volume in it; it counts for each of its applications.",
        "subscriber_count: those of the group with any volume in the application.",
    )
    return _answer(
        "applications_by_cluster", rows, _mix(inputs, rows, people), chart=chart,
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _mix(inputs: Inputs, rows: Sequence[Mapping[str, Any]], people: Sequence[Mapping[str, Any]]) -> list[str]:
    least, reading = inputs.settings.minimum_group, []
    everyone = sum(who["count"] for who in people)
    sizes = {who["engagement_cluster"]: who["count"] for who in people}
    for app in inputs.contract.applications:
        own = [row for row in rows if row["application"] == app.name and row["subscriber_count"] >= least]
        if not own or not any(row["total_bytes"] for row in own):
            continue
        most = max(own, key=lambda row: (row["total_bytes"], -row["engagement_cluster"]))
        number = most["engagement_cluster"]
        reading.append(
            f"{app.name}: cluster {number} makes most, {percent(most['application_volume_share'])} of "
            f"the volume with {percent(sizes[number] / everyone)} of the subscribers, in "
            f"{words.plural(most['session_count'], 'session')} of "
            f"{words.say(most['mean_session_bytes'], 'mean_session_bytes')} each."
        )
    shown = [who for who in people if who["count"] >= least]
    if len(shown) > 1:
        low, high = shown[0], shown[-1]
        verdicts = {
            app.name: words.compare(group(high, app.slug), group(low, app.slug))
            for app in inputs.contract.applications
        }
        reading.append(
            "Share of a subscriber's own volume, cluster "
            f"{high['engagement_cluster']} against cluster {low['engagement_cluster']}: {contrast(verdicts)}."
        )
    return reading


# Personas


def _leads(inputs: Inputs, population: Mapping[str, float]) -> Any:
    """Subscribers with any volume: `lead` (position of the leading application) and its `lift`."""
    kept = [name for name in inputs.profiles.collect_schema().names() if name == "engagement_cluster"]
    frame = inputs.profiles.select(
        "session_count",
        "total_bytes",
        *kept,
        whole=_whole(inputs),
        **{slug: _bytes(slug) for slug in population},
    )
    frame = frame.filter(~nw.col("whole").is_null())
    lifts = {f"lift_{s}": nw.col(s) / nw.col("whole") / share for s, share in population.items()}
    frame = frame.with_columns(**lifts)
    frame = frame.with_columns(lift=nw.max_horizontal(*lifts))
    names = list(lifts)
    lead = nw.lit(len(names) - 1)
    # From the last down, so that a tie goes to the application that the mapping names first.
    for i in range(len(names) - 2, -1, -1):
        lead = nw.when(nw.col(names[i]) == nw.col("lift")).then(nw.lit(i)).otherwise(lead)
    return frame.with_columns(lead=lead)


def _personas(inputs: Inputs) -> Answer:
    apps = inputs.contract.applications
    if not apps:
        return _nothing("personas")
    sums = inputs.store.row(inputs.profiles.select(**{app.slug: total(_bytes(app.slug)) for app in apps}))
    everything = sum(value or 0 for value in sums.values())
    if not everything:
        return _nothing("personas")
    used = [app for app in apps if sums[app.slug]]
    population = {app.slug: sums[app.slug] / everything for app in used}
    clusters = len(inputs.models.get("engagement", {}).get("parameters", {}).get("centroids", ()))
    in_cluster = {
        f"cluster_{i}": nw.when(nw.col("engagement_cluster") == i).then(1.0).otherwise(0.0).sum()
        for i in range(clusters)
    }
    single = nw.when(nw.col("session_count") == 1).then(nw.col("lift"))
    several = nw.when(nw.col("session_count") > 1).then(nw.col("lift"))
    measures = {"volume": nw.col("total_bytes"), "lift": nw.col("lift"), "single": single, "several": several}
    found = inputs.store.rows(
        _leads(inputs, population)
        .group_by("lead")
        .agg(nw.len().alias("count"), **in_cluster, **moments(measures))
        .sort("count", "lead", descending=[True, False])
    )
    whole = pooled(group(row, "volume") for row in found)
    everyone, least = sum(row["count"] for row in found), inputs.settings.minimum_group
    rows = []
    for row in found:
        app, volume = used[row["lead"]], group(row, "volume")
        share = population[app.slug]
        verdict = words.compare(volume, without(whole, volume))
        rows.append(
            {"persona": f"{app.name}-led", "application": app.name, "subscriber_count": row["count"],
             "subscriber_share": row["count"] / everyone, "mean_total_bytes": volume.mean,
             "volume_against_others": verdict if row["count"] >= least else "too few subscribers",
             "mean_application_share": group(row, "lift").mean * share, "population_application_share": share,
             **_in_clusters(row, clusters, least)}
        )  # fmt: skip
    reading = _read_personas(inputs, rows, found, clusters)
    facts = {
        f"{used[found[i]['lead']].slug}_led_subscriber_share": row["subscriber_share"]
        for i, row in enumerate(rows)
        if row["subscriber_count"] >= least
    }
    notes = (
        "A subscriber's persona is the application whose share of the subscriber's own volume is highest "
        "relative to its share of the volume of all personas; the first in the mapping where two are equal.",
        "By definition the leading share is above that of all, and leading in an application that makes "
        "most of the volume goes with more volume.",
        f"{words.plural(everyone, 'subscriber')} with application volume; a volume is the total traffic.",
    )
    return _answer(
        "personas", rows, reading, chart=charts.bars("persona", "subscriber_count"), facts=facts,
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _in_clusters(row: Mapping[str, Any], clusters: int, least: int) -> dict[str, float | None]:
    """The share of a persona in each cluster; none where few stand behind it or the rest would tell."""
    parts = [{"subscriber_count": int(row[f"cluster_{i}"]), "at": i} for i in range(clusters)]
    shown, _ = suppress(parts, "subscriber_count", least)
    counts = (part["subscriber_count"] for part in shown)
    return {
        f"engagement_cluster_{i}_share": None if count is None else count / row["count"]
        for i, count in enumerate(counts)
    }


def _read_personas(
    inputs: Inputs, rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], clusters: int
) -> list[str]:
    shown = [i for i, row in enumerate(rows) if row["subscriber_count"] >= inputs.settings.minimum_group]
    if not shown:
        return ["No persona is large enough to speak of."]
    reading = []
    for i in shown:
        row = rows[i]
        reading.append(
            f"{row['persona']}: {words.plural(row['subscriber_count'], 'subscriber')} "
            f"({percent(row['subscriber_share'])}), who spend "
            f"{percent(row['mean_application_share'])} of their volume there against "
            f"{percent(row['population_application_share'])} over all personas."
        )
    verdicts = {rows[i]["persona"]: rows[i]["volume_against_others"] for i in shown}
    reading.append(f"Mean volume of each persona against all others: {contrast(verdicts)}.")
    if clusters:
        key, held = f"cluster_{clusters - 1}", {}
        everyone = proportion(sum(row[key] for row in found), sum(row["count"] for row in found))
        for i in shown:
            own = proportion(found[i][key], found[i]["count"])
            held[rows[i]["persona"]] = words.compare(own, without(everyone, own))
        reading.append(f"Share in the most engaged cluster, against all others: {contrast(held)}.")
    one, more = (pooled(group(row, name) for row in found) for name in ("single", "several"))
    if words.compare(one, more) == "higher":
        reading.append(
            "The lead is clearly weaker among subscribers with several sessions than with one "
            f"({more.mean:.2f} against {one.mean:.2f} times the share of all): part of it is chance "
            "of a single session, so check a persona over more sessions before acting on it."
        )
    elif min(one.count, more.count) > 1:
        reading.append(
            "The lead does not fade with more sessions "
            f"({more.mean:.2f} times the share of all with several, {one.mean:.2f} with one)."
        )
    return reading


_ANSWERS: Final = (_application_totals, _top_application_subscribers, _applications_by_cluster, _personas)
_FILTERS: Final = {_applications_by_cluster: frozenset[str](), _application_totals: SUBSCRIBERS | HOURS}
"""What reads sessions cannot be filtered."""

QUESTIONS: Final = tuple(
    Question(f"engagement.{name}", text, answer, _FILTERS.get(answer, SUBSCRIBERS))
    for (name, text), answer in zip(_TEXT.items(), _ANSWERS, strict=True)
)
