"""What changed for groups and single subscribers: hours, recommendations, and who changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies import charts, words
from subsight.studies.groups import first_of_each, group, moments, percent, proportion, total, whole_share
from subsight.studies.trends.market import TrendQuestion, notes_of, warnings_of
from subsight.studies.trends.paired import interval, verdict
from subsight.studies.trends.rules import (
    DAY_PARTS,
    FALL_SHARE,
    GROWTH_SHARE,
    LEAST_DAILY_BYTES,
    NIGHT_RISE_SHARE,
    NONE,
    RULES,
    Rule,
)
from subsight.studies.trends.table import COLUMNS, Trends

__all__ = ["QUESTIONS"]

_TEXT: Final = {
    "hours": "Did use shift to other parts of the day?",
    "recommendations": "Which offers follow from what changed, and for how many?",
    "subscribers": "For which subscribers did most change?",
}
_LISTED: Final = 20
EVERYONE: Final = "everyone"


def _grouped(trends: Trends, *columns: str) -> Frame:
    """The subscribers once for each grouping that they are in: everyone, and those that are known."""
    people = trends.people.select("subscriber_id", *columns)
    parts = [people.with_columns(grouping=nw.lit(EVERYONE), group_name=nw.lit(EVERYONE))]
    order = ("subscriber_id", *columns, "grouping", "group_name")
    for name, groups in trends.groups.items():
        groups = groups.filter(~nw.col("group_name").is_null()).select("subscriber_id", "group_name")
        joined = people.join(groups, on="subscriber_id", how="inner")
        parts.append(joined.with_columns(grouping=nw.lit(name)))
    return nw.concat([part.select(*order) for part in parts])


def _first_everyone(rows: Mapping[tuple[str, str], Any]) -> list[tuple[str, str]]:
    return sorted(rows, key=lambda key: (key[0] != EVERYONE, key))


# Hours


def _hours(trends: Trends) -> Answer:
    rows = _shifts(trends)
    minimum = trends.usage.settings.minimum_group
    shown = [row for row in rows if row["subscriber_count"] >= minimum]
    if shown:
        told = [_shift(row) for row in shown if row["verdict"] != "no clear change"]
        still = [name for name in dict.fromkeys(map(_place, shown)) if not _moved(shown, name)]
        if still:
            told.append(f"There is no clear shift between parts of the day for {words.listing(still)}.")
    else:
        told = ["Too few subscribers used something in both periods to compare parts of the day."]
    parts = words.listing([f"{part} {first}:00 to {last}:59" for part, (first, last) in DAY_PARTS.items()])
    notes = (
        f"Local time: {parts}. Of those with volume in both periods, each subscriber's share of a part "
        f"counts alike; differences are paired. Clear: at least {words.LEAST_EFFECT} of their deviations and "
        f"{words.LEAST_ERRORS:.0f} standard errors.",
        *notes_of(trends),
    )
    reach = max([0.05, *(abs(row["mean_change_share"]) for row in shown)])
    chart = charts.heat("day_part", "group", "mean_change_share", diverging=True, reach=reach, text="+.1%")
    return Answer(
        "trends.hours", _TEXT["hours"], rows, (*warnings_of(trends), *told), chart if rows else None,
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _shifts(trends: Trends) -> list[dict[str, Any]]:
    periods = {"previous": nw.col("previous_bytes"), "present": nw.col("present_bytes")}
    names = [f"{period}_{part}_bytes" for period in periods for part in DAY_PARTS]
    both = _grouped(trends, *(f"{period}_bytes" for period in periods), *names)
    both = both.filter((periods["previous"] > 0) & (periods["present"] > 0))
    values: dict[str, Any] = {}
    for part in DAY_PARTS:
        before, now = (nw.col(f"{period}_{part}_bytes") / whole for period, whole in periods.items())
        values |= {f"before {part}": before, f"now {part}": now, f"change {part}": now - before}
    grouped = both.group_by("grouping", "group_name").agg(**moments(values))
    found = {(row["grouping"], row["group_name"]): row for row in trends.usage.store.rows(grouped)}
    minimum = trends.usage.settings.minimum_group
    rows = []
    for key in _first_everyone(found):
        for part in DAY_PARTS:
            differences = group(found[key], f"change {part}")
            low, high = interval(differences)
            rows.append(
                {
                    "group": _name(*key),
                    "day_part": part,
                    "subscriber_count": differences.count,
                    "previous_mean_share": group(found[key], f"before {part}").mean,
                    "present_mean_share": group(found[key], f"now {part}").mean,
                    "mean_change_share": differences.mean,
                    "low_change_share": low,
                    "high_change_share": high,
                    "verdict": verdict(differences, minimum),
                }
            )
    return rows


def _name(grouping: str, name: str) -> str:
    return name if grouping == EVERYONE else f"{grouping} {name}"


def _place(row: Mapping[str, Any]) -> str:
    return str(row["group"])


def _moved(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(row["verdict"] != "no clear change" for row in rows if row["group"] == name)


def _shift(row: Mapping[str, Any]) -> str:
    low, high = (percent(row[f"{end}_change_share"]) for end in ("low", "high"))
    return (
        f"For {row['group']}, the share of the {row['day_part']} is {row['verdict']}: "
        f"{percent(row['previous_mean_share'])} before, {percent(row['present_mean_share'])} now (a change "
        f"of {low} to {high}, 95 % interval)."
    )


# Recommendations


def _recommendations(trends: Trends) -> Answer:
    rows = _counted(trends)
    minimum = trends.usage.settings.minimum_group
    reading = [*warnings_of(trends), *_offers(rows, minimum)]
    # More groups than there are colours to tell apart.
    chart = charts.heat("recommendation", "group", "group_share", text=".1%") if rows else None
    return Answer(
        "trends.recommendations", _TEXT["recommendations"], rows, tuple(reading), chart,
        group_size="subscriber_count", notes=(*_thresholds(trends), *notes_of(trends)),
    )  # fmt: skip


def _counted(trends: Trends) -> list[dict[str, Any]]:
    """Each group's recommendations, with the evidence of all who have one together."""
    volumes = ("previous_bytes", "present_bytes", "growing_category_previous_bytes",
               "growing_category_present_bytes")  # fmt: skip
    by = ("grouping", "group_name", "recommendation")
    grouped = _grouped(trends, "recommendation", *volumes).group_by(*by)
    found = trends.usage.store.rows(
        grouped.agg(count=nw.len(), **{name: total(nw.col(name)) for name in volumes})
    )
    sizes: dict[tuple[str, str], int] = {}
    for row in found:
        key = (row["grouping"], row["group_name"])
        sizes[key] = sizes.get(key, 0) + row["count"]
    counts = {(row["grouping"], row["group_name"], row["recommendation"]): row for row in found}
    offers = [*((rule.recommendation, rule) for rule in RULES), (NONE, None)]
    return [
        {
            "group": _name(*key),
            "recommendation": name,
            "subscriber_count": counts[*key, name]["count"],
            "group_share": counts[*key, name]["count"] / sizes[key],
            **_evidence(rule, counts[*key, name]),
        }
        for key in _first_everyone(sizes)
        for name, rule in offers
        if (*key, name) in counts
    ]


def _evidence(rule: Rule | None, row: Mapping[str, Any]) -> dict[str, Any]:
    """Why, and the volume that says so, as numbers: those of small groups can be blanked."""
    side = "growing_category_" if rule and rule.categories else ""
    return {
        "reason": rule.reason if rule else "no rule holds",
        "evidence": words.listing(rule.categories) if rule and rule.categories else "all use",
        "previous_bytes": int(row[f"{side}previous_bytes"]),
        "present_bytes": int(row[f"{side}present_bytes"]),
    }


def _offers(rows: Sequence[Mapping[str, Any]], minimum: int) -> list[str]:
    everyone = [row for row in rows if row["group"] == EVERYONE]
    whole = sum(row["subscriber_count"] for row in everyone)
    if not whole:
        return ["No named subscriber used anything in either period: nothing is recommended."]
    asked = [row for row in everyone if row["recommendation"] != NONE]
    shown = [row for row in asked if row["subscriber_count"] >= minimum]
    reading = []
    share = whole_share(proportion(sum(row["subscriber_count"] for row in asked), whole), minimum)
    if share is not None:
        reading.append(f"An offer follows for {percent(share)} of {words.plural(whole, 'subscriber')}.")
    if shown:
        most = max(shown, key=lambda row: row["subscriber_count"])
        before, now = (words.say(most[f"{period}_bytes"], "a_bytes") for period in ("previous", "present"))
        reading.append(
            f"The commonest is {most['recommendation']}: "
            f"{words.plural(most['subscriber_count'], 'subscriber')}, for {most['reason']} "
            f"({most['evidence']} together: {before} before, {now} now)."
        )
    elif asked:
        reading.append("No offer follows for enough subscribers to be told.")
    return reading + _apart([row for row in rows if row["group"] != EVERYONE], everyone, minimum)


def _apart(
    rows: Sequence[Mapping[str, Any]], everyone: Sequence[Mapping[str, Any]], minimum: int
) -> list[str]:
    """Of each group the offers that clearly more of it than of all others are asked for."""
    whole = sum(row["subscriber_count"] for row in everyone)
    counts = {row["recommendation"]: row["subscriber_count"] for row in everyone}
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["group"]] = sizes.get(row["group"], 0) + row["subscriber_count"]
    reading = []
    for row in rows:
        count, size, name = row["subscriber_count"], sizes[row["group"]], row["recommendation"]
        here, there = proportion(count, size), proportion(counts[name] - count, whole - size)
        is_told = name != NONE and None not in (whole_share(here, minimum), whole_share(there, minimum))
        if is_told and words.compare(here, there) == "higher":
            reading.append(
                f"{name.capitalize()} follows clearly more often for {row['group']} than for others: "
                f"{percent(here.mean)} against {percent(there.mean)}."
            )
    return reading


def _thresholds(trends: Trends) -> list[str]:
    days = trends.now.days

    def said(daily: int) -> str:
        return words.say(daily * days, "a_bytes")

    named = [
        f"{rule.recommendation} ({rule.reason}: by {said(rule.daily_bytes)}"
        + (f" and {percent(rule.share)} of the volume" if rule.share else "")
        + ")"
        for rule in RULES
    ]
    return [
        "The first rule that holds gives the offer: " + "; ".join(named) + ".",
        f"A category, or all use, grows by {percent(GROWTH_SHARE)} of what it was, and by "
        f"{said(LEAST_DAILY_BYTES)} at least; all use falls by {percent(FALL_SHARE)}; the night's share "
        f"rises by {percent(NIGHT_RISE_SHARE)} of the volume. Only categories known by more than a "
        "guess count.",
        "One subscriber's weeks differ by chance too: try an offer on a part of them first.",
    ]


# Subscribers


def _subscribers(trends: Trends) -> Answer:
    offered = trends.people.filter(nw.col("recommendation") != NONE)
    change = (nw.col("present_bytes") - nw.col("previous_bytes")).cast(nw.Float64).abs()
    ranked = offered.select(*COLUMNS, "subscriber_hash", moved=change)
    store = trends.usage.store
    found = first_of_each(store, ranked, ["moved"], _LISTED)["moved"]
    count = store.row(offered.select(n=nw.len()))["n"]
    rows = [{"rank": i, **{name: row[name] for name in COLUMNS}} for i, row in enumerate(found, 1)]
    told = "Nothing changed for any subscriber by which an offer follows."
    if rows:
        grown = sum(row["present_bytes"] > row["previous_bytes"] for row in rows)
        told = (
            f"An offer follows for {words.plural(count, 'subscriber')}. Of the {len(rows)} whose volume "
            f"changed most, {grown} use more than before."
        )
    return Answer(
        "trends.subscribers", _TEXT["subscribers"], rows, (*warnings_of(trends), told),
        ranks_subscribers=True, notes=(*_thresholds(trends), *notes_of(trends)),
    )  # fmt: skip


QUESTIONS: Final = (
    TrendQuestion("trends.hours", _TEXT["hours"], _hours),
    TrendQuestion("trends.recommendations", _TEXT["recommendations"], _recommendations),
    TrendQuestion("trends.subscribers", _TEXT["subscribers"], _subscribers),
)
