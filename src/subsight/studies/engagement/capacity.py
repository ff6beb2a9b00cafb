"""Capacity of the Engagement study: the cells, hours and groups where each application's downlink lands."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.contracts import Application
from subsight.studies import HOURS, SUBSCRIBERS, Inputs, Question, charts, words
from subsight.studies import hours as by_hour
from subsight.studies.groups import (
    against,
    amount,
    first_of_each,
    group,
    moments,
    percent,
    pooled,
    total,
    without,
)
from subsight.studies.words import Group

__all__ = ["QUESTIONS"]

_CELLS: Final = 5
_PLOTTED: Final = 3
_HOURS: Final = 24
_NOTHING: Final = "No application has any downlink volume."
_NO_OTHERS: Final = "there are no others"

_TEXT: Final = {
    "capacity_cells": "In which cells is capacity for each application best placed?",
    "capacity_hours": "At which hour is capacity for each application needed most?",
    "capacity_clusters": "For which group of subscribers is capacity for each application best placed?",
}


def _answer(name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], **more: Any) -> Answer:
    return Answer(f"engagement.{name}", _TEXT[name], rows, tuple(reading), **more)


def _downlink(slug: str) -> Any:
    return amount(f"app_{slug}_dl_bytes")


def _totals(inputs: Inputs) -> dict[str, float]:
    """Each application's downlink volume over all subscribers; only those that have any, largest first."""
    apps = inputs.contract.applications
    if not apps:
        return {}
    summed = inputs.profiles if inputs.hours is None else inputs.hours
    sums = inputs.store.row(summed.select(**{app.slug: total(_downlink(app.slug)) for app in apps}))
    order = sorted((slug for slug in sums if sums[slug]), key=lambda slug: (-sums[slug], slug))
    return {slug: sums[slug] for slug in order}


def _names(inputs: Inputs) -> dict[str, str]:
    return {app.slug: app.name for app in inputs.contract.applications}


# Cells


def _capacity_cells(inputs: Inputs) -> Answer:
    totals, least = _totals(inputs), inputs.settings.minimum_group
    if not totals:
        return _answer("capacity_cells", [], [_NOTHING])
    cells = inputs.store.keep(_cells(inputs, list(totals)))
    sums = {key: nw.col(key).sum() for slug in totals for key in (slug, f"{slug}:even", f"{slug}:square")}
    seen = inputs.store.row(cells.select(nw.len().alias("cells"), **sums))
    count = int(seen["cells"])
    if not count:
        once = "" if inputs.cells is None else " on one day"
        nowhere = f"No cell is known in which {words.plural(least, 'subscriber')} had a session{once}."
        return _answer("capacity_cells", [], [nowhere])
    keys = [key for slug in totals for key in (slug, f"{slug}:even")]
    found = first_of_each(inputs.store, cells, keys, _CELLS, tie="cell_id")
    named = {row["cell_id"] for slug in totals for row in found[slug]}
    users, people = _users_by_cell(inputs, list(totals), sorted(named))
    rows, reading, names = [], [], _names(inputs)
    alike: dict[Any, dict[str, Any]] = {}
    facts: dict[str, float | str | None] = {"cell_count": count}
    for slug, whole in totals.items():
        best = found[slug]
        rows += [
            {"application": names[slug], "rank": i, "cell_id": row["cell_id"], "dl_bytes": int(row[slug]),
             "dl_share": row[slug] / whole, "session_count": row["session_count"],
             people: users[row["cell_id"]][slug]}
            for i, row in enumerate(best, 1)
        ]  # fmt: skip
        chosen = found[f"{slug}:even"]
        volume, square = (sum(part) for part in zip(*(_odd(row, slug) for row in chosen), strict=True))
        everywhere = _odd(seen, slug)
        own = _load(len(chosen), volume, square)
        others = _load(count - len(chosen), everywhere[0] - volume, everywhere[1] - square)
        told = [row for row in best if users[row["cell_id"]][slug] >= least]
        if not told:
            reading.append(f"{names[slug]}: too few subscribers use it in any of its heaviest cells.")
            continue
        held = sum(row[slug] for row in told) / whole
        facts |= {f"{slug}_cell": told[0]["cell_id"], f"{slug}_cells_share": held}
        cells_told = [row["cell_id"] for row in told]
        verdict, ratio = _replicates(own, others)
        same = alike.setdefault((frozenset(cells_told), verdict), {"cells": cells_told, "of": {}})
        same["of"][names[slug]] = (held, ratio)
    reading = [_say_cells(verdict, **same) for (_, verdict), same in alike.items()] + reading
    plotted = [names[slug] for slug in list(totals)[:_PLOTTED]]
    panels = charts.facet(charts.bars("cell_id", "dl_bytes"), "application", columns=1, free="both")
    chart = panels | {"transform": [{"filter": {"field": "application", "oneOf": plotted}}]}
    once, whole_of, most = "", "cells", ""
    if inputs.cells is not None:
        once, whole_of = " on one day", "that is looked at"
        most = " on the day with most of them; together there are at least so many"
    notes = (
        f"Only the {words.plural(count, 'cell')} with at least {least} subscribers{once}; shares are of all "
        f"{whole_of}.",
        "The heaviest of many cells are heavy by chance too: the words rest on cells that are chosen on one "
        "half of the subscribers, and on their downlink among the other half, against the other cells: at "
        "least a fifth more, and beyond the chance of which sessions a cell happened to see.",
        f"The chart shows the {_PLOTTED} applications with most downlink.",
        f"{people}: those in the cell with any downlink in the application{most}.",
    )
    return _answer(
        "capacity_cells", rows, reading, chart=chart, facts=facts, group_size=people, notes=notes
    )  # fmt: skip


def _cells(inputs: Inputs, slugs: Sequence[str]) -> Any:
    """Per cell with enough subscribers: each application's downlink, also of either half of subscribers.

    `even` is one half by hash; `square` sums the squares of the sessions of the other.
    """
    parts: dict[str, Any] = {slug: _downlink(slug).sum() for slug in slugs}
    if inputs.cells is not None:
        frame, sessions, people = inputs.cells, by_hour.whole("session_count"), by_hour.least_of()
        for slug in slugs:
            parts[f"{slug}:even"] = by_hour.whole(f"app_{slug}_even_dl_bytes")
            parts[f"{slug}:square"] = by_hour.whole(f"app_{slug}_odd_dl_square")
    else:
        frame = inputs.sessions.filter(~nw.col("cell_id").is_null())
        sessions, people = nw.len(), nw.col("subscriber_hash").n_unique()
        even = nw.col("subscriber_hash") % 2 == 0
        for slug in slugs:
            odd = nw.when(~even).then(_downlink(slug)).otherwise(0.0)
            parts[f"{slug}:even"] = nw.when(even).then(_downlink(slug)).otherwise(0.0).sum()
            parts[f"{slug}:square"] = (odd * odd).sum()
    cells = frame.group_by("cell_id").agg(subscriber_count=people, session_count=sessions, **parts)
    return cells.filter(nw.col("subscriber_count") >= inputs.settings.minimum_group)


def _users(frame: Any, by: str, slugs: Sequence[str]) -> Any:
    """Per cell or hour: how many subscribers have any downlink of each application there."""
    own = frame.group_by(by, "subscriber_hash").agg(**{slug: _downlink(slug).sum() for slug in slugs})
    users = {slug: nw.when(nw.col(slug) > 0).then(1.0).otherwise(0.0).sum() for slug in slugs}
    return own.group_by(by).agg(**users)


def _users_by_cell(
    inputs: Inputs, slugs: Sequence[str], cells: Sequence[str]
) -> tuple[dict[str, dict[str, int]], str]:
    """Users of each application by cell, and the column that they stand in."""
    frame = inputs.sessions if inputs.cells is None else inputs.cells
    frame = frame.filter(nw.col("cell_id").is_in(cells))
    if inputs.cells is None:
        counted, people = _users(frame, "cell_id", slugs), "subscriber_count"
    else:
        users = {slug: by_hour.least_of(f"app_{slug}_subscriber_count") for slug in slugs}
        counted, people = frame.group_by("cell_id").agg(**users), by_hour.LEAST
    found = inputs.store.rows(counted)
    return {row["cell_id"]: {slug: int(row[slug]) for slug in slugs} for row in found}, people


def _odd(row: Mapping[str, Any], slug: str) -> tuple[float, float]:
    """Downlink of the odd half, and the sum of its sessions' squares."""
    return row[slug] - row[f"{slug}:even"], row[f"{slug}:square"]


def _load(cells: int, volume: float, square: float) -> Group:
    """Cells by their mean volume and its chance: a sum over Poisson many sessions varies by the squares."""
    return Group(volume / cells, math.sqrt(max(square, 0.0) / cells), cells) if cells else Group(0.0, 0.0, 0)


def _say_cells(verdict: str, cells: Sequence[str], of: Mapping[str, tuple[float, float | None]]) -> str:
    """One sentence for all applications that are heaviest in the same cells."""
    shares = words.spread({share: percent(share) for share, _ in of.values()})
    times = words.spread(
        {ratio: f"{ratio:,.1f}" for _, ratio in of.values() if ratio is not None} or {0.0: ""}
    )
    return (
        f"{words.listing(list(of))}: most in {words.listing(cells)}, together {shares} of the downlink; "
        f"{verdict}{f' ({times} times their mean)' if times else ''}."
    )


def _replicates(own: Group, others: Group) -> tuple[str, float | None]:
    """Whether cells that lead among one half of subscribers also lead among the other, and how far."""
    verdict = words.compare(own, others)
    low, high = sorted((own.mean, others.mean))
    if verdict == "no clear difference" or high < (1 + words.LEAST_EFFECT) * low:
        return "no clear difference from other cells, so none deserves capacity before the others", None
    if others.mean <= 0:
        return (
            f"the load of these cells is clearly {verdict} than that of other cells, which carry none",
            None,
        )
    return f"the load of these cells is clearly {verdict} than that of other cells", own.mean / others.mean


# Hours


def _capacity_hours(inputs: Inputs) -> Answer:
    totals, least = _totals(inputs), inputs.settings.minimum_group
    if not totals:
        return _answer("capacity_hours", [], [_NOTHING])
    hours, days, people, explained = _by_hour(inputs, list(totals))
    sessions: dict[Any, int] = {}
    for row in days:
        sessions[row["local_date"]] = sessions.get(row["local_date"], 0) + row["session_count"]
    enough = sorted(day for day, count in sessions.items() if count >= _HOURS * least)
    rows, names = [], _names(inputs)
    alike: dict[tuple[int, str], dict[str, float]] = {}
    facts: dict[str, float | str | None] = {"day_count": len(enough)}
    for slug in totals:
        sums = [0.0] * _HOURS
        for row in days:
            sums[row["local_hour"]] += row[slug]
        whole = sum(sums)
        own = [
            {"application": names[slug], "local_hour": hour["local_hour"],
             "dl_bytes": int(sums[hour["local_hour"]]),
             "dl_share": sums[hour["local_hour"]] / whole if whole else None,
             people: int(hour[slug])}
            for hour in hours
        ]  # fmt: skip
        rows += own
        shown = [row for row in own if row[people] >= least]
        if shown and whole:
            busy = max(shown, key=lambda row: (row["dl_bytes"], -row["local_hour"]))
            facts |= {f"{slug}_busy_hour": busy["local_hour"], f"{slug}_busy_hour_share": busy["dl_share"]}
            found = _busier(days, enough, slug, busy["local_hour"])
            facts |= {f"{slug}_busy_hour_{name}": value for name, value in found.items()}
            alike.setdefault((busy["local_hour"], found["verdict"]), {})[names[slug]] = busy["dl_share"]
    reading = [
        f"{words.listing(list(own))}: the busy hour starts at {hour}:00 with "
        f"{words.spread({share: percent(share) for share in own.values()})} of the downlink, "
        f"{against(verdict)} other hours."
        for (hour, verdict), own in alike.items()
    ]
    notes = (
        "A session's volume counts in the local hour in which it starts, however long it lasts.",
        f"An even day has {percent(1 / _HOURS)} an hour. Hours are compared by their share of each day, over "
        f"{words.plural(len(enough), 'day')} with at least {_HOURS * least} sessions.",
        explained,
    )
    chart = charts.lines("local_hour", "dl_share", colour="application")
    return _answer("capacity_hours", rows, reading, chart=chart, facts=facts, group_size=people, notes=notes)


def _by_hour(inputs: Inputs, slugs: Sequence[str]) -> tuple[list[Any], list[Any], str, str]:
    """Users of each application by hour, its downlink by day and hour; the users' column, and its note."""
    explained = "those with any downlink of the application in that hour."
    if inputs.hours is not None:
        users = {slug: by_hour.least_of(f"app_{slug}_subscriber_count") for slug in slugs}
        hours = inputs.hours.group_by("local_hour").agg(**users)
        sessions, timed = by_hour.whole("session_count"), inputs.hours
        people, explained = by_hour.LEAST, f"{by_hour.least_note()} Counted are {explained}"
    else:
        timed = inputs.sessions.filter(~nw.col("local_hour").is_null(), ~nw.col("local_date").is_null())
        hours, sessions = _users(timed, "local_hour", slugs), nw.len()
        people, explained = "subscriber_count", f"subscriber_count: {explained}"
    days = timed.group_by("local_date", "local_hour").agg(
        session_count=sessions, **{slug: _downlink(slug).sum() for slug in slugs}
    )
    rows = inputs.store.rows
    return rows(hours.sort("local_hour")), rows(days.sort("local_date", "local_hour")), people, explained


def _busier(days: Sequence[Mapping[str, Any]], enough: Sequence[Any], slug: str, hour: int) -> dict[str, Any]:
    """The hour's share of each day's downlink against every other hour's, and the least that is clear."""
    volumes = {(row["local_date"], row["local_hour"]): row[slug] for row in days}
    busy, others = [], []
    for day in enough:
        shares = [volumes.get((day, h), 0.0) for h in range(_HOURS)]
        whole = sum(shares)
        if whole:
            busy.append(shares[hour] / whole)
            others += [share / whole for h, share in enumerate(shares) if h != hour]
    if not busy:
        return {"verdict": "no clear difference"}
    own, rest = (Group(statistics.fmean(s), statistics.pstdev(s), len(s)) for s in (busy, others))
    return {"verdict": words.compare(own, rest), "day_share": own.mean,
            "least_share": rest.mean + words.least_gap(own, rest) if own.count > 1 else None}  # fmt: skip


# Groups


def _capacity_clusters(inputs: Inputs) -> Answer:
    if "engagement" not in inputs.models:
        return _answer("capacity_clusters", [], ["There are no engagement groups to place capacity for."])
    totals = _totals(inputs)
    if not totals:
        return _answer("capacity_clusters", [], [_NOTHING])
    found = inputs.store.rows(
        inputs.profiles.filter(~nw.col("engagement_cluster").is_null())
        .group_by("engagement_cluster")
        .agg(nw.len().alias("subscriber_count"), **moments({slug: _downlink(slug) for slug in totals}))
        .sort("engagement_cluster")
    )
    rows: list[dict[str, Any]] = []
    alike: dict[Any, dict[str, tuple[float, float]]] = {}
    facts: dict[str, float | str | None] = {}
    for app in inputs.contract.applications:
        if app.slug in totals:
            own = _cluster_rows(inputs, app, found)
            rows += own
            _read_clusters(inputs, app, own, alike, facts)
    reading = [_say_clusters(key, own) for key, own in alike.items()]
    chart = charts.bars("application", "mean_dl_bytes", colour="engagement_cluster")
    notes = ("mean_dl_bytes: per subscriber of the group, whether or not they use the application.",)
    return _answer(
        "capacity_clusters", rows, reading, chart=chart, facts=facts, group_size="subscriber_count",
        notes=notes,
    )  # fmt: skip


def _cluster_rows(
    inputs: Inputs, app: Application, found: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    groups = [group(row, app.slug) for row in found]
    everyone = pooled(groups)
    whole, least = everyone.mean * everyone.count, inputs.settings.minimum_group
    rows = []
    for row, own in zip(found, groups, strict=True):
        volume = own.mean * own.count
        rest = without(everyone, own)
        verdict = words.compare(own, rest) if rest.count else _NO_OTHERS
        rows.append(
            {"application": app.name, "engagement_cluster": row["engagement_cluster"],
             "subscriber_count": own.count, "subscriber_share": own.count / everyone.count,
             "dl_bytes": round(volume), "dl_share": volume / whole if whole else None,
             "mean_dl_bytes": own.mean,
             "against_others": verdict if own.count >= least else "too few subscribers"}
        )  # fmt: skip
    return rows


def _read_clusters(
    inputs: Inputs,
    app: Application,
    rows: Sequence[Mapping[str, Any]],
    alike: dict[Any, dict[str, tuple[float, float]]],
    facts: dict[str, float | str | None],
) -> None:
    shown = [row for row in rows if row["subscriber_count"] >= inputs.settings.minimum_group]
    if not shown:
        return
    most = max(shown, key=lambda row: (row["dl_bytes"], -row["engagement_cluster"]))
    facts[f"{app.slug}_cluster"] = most["engagement_cluster"]
    facts[f"{app.slug}_cluster_share"] = most["dl_share"]
    heaviest = max(shown, key=lambda row: (row["mean_dl_bytes"], -row["engagement_cluster"]))
    where = (most["engagement_cluster"], most["subscriber_share"], heaviest["engagement_cluster"])
    alike.setdefault((*where, heaviest["against_others"]), {})[app.name] = (
        most["dl_share"],
        heaviest["mean_dl_bytes"],
    )


def _say_clusters(key: tuple[int, float, int, str], of: Mapping[str, tuple[float, float]]) -> str:
    """One sentence for all applications that land in the same groups."""
    most, size, heaviest, verdict = key
    held = words.spread({share: percent(share) for share, _ in of.values()})
    each = words.spread({mean: words.say(mean, "dl_bytes") for _, mean in of.values()})
    if verdict == _NO_OTHERS:
        return f"{words.listing(list(of))}: everybody is in cluster {most}, where a subscriber takes {each}."
    return (
        f"{words.listing(list(of))}: cluster {most} takes most of the downlink, {held} with "
        f"{percent(size)} of the subscribers; a subscriber takes most in cluster {heaviest} ({each}), "
        f"{against(verdict)} elsewhere."
    )


QUESTIONS: Final = (
    Question("engagement.capacity_cells", _TEXT["capacity_cells"], _capacity_cells, HOURS | {"application"}),
    Question("engagement.capacity_hours", _TEXT["capacity_hours"], _capacity_hours, HOURS | {"application"}),
    Question("engagement.capacity_clusters", _TEXT["capacity_clusters"], _capacity_clusters, SUBSCRIBERS),
)
