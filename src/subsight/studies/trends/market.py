"""What changed for all together: categories by volume, and services that were first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies.groups import group, moments, percent
from subsight.studies.trends.paired import UNCLEAR, interval, verdict
from subsight.studies.trends.table import Trends

__all__ = ["QUESTIONS", "TrendQuestion", "notes_of", "warnings_of"]

_TEXT: Final = {
    "categories": "Which categories are growing or falling against the period before?",
    "services": "Which services did subscribers use for the first time?",
}
_MOST: Final = 20
"""Services that are listed, those with the most first users."""
_TOLD: Final = 3


@dataclass(frozen=True)
class TrendQuestion:
    """A question about what changed: its id (`trends.name`), its words, and what answers it."""

    id: str
    text: str
    answer: Callable[[Trends], Answer]


def notes_of(trends: Trends) -> list[str]:
    """What was compared, and what was left out of it."""
    notes = [f"Present: {trends.now}. Before: {trends.before}. Named subscribers only."]
    if trends.guess_bytes:
        volume = words.say(trends.guess_bytes, "total_bytes")
        notes.append(
            f"{volume} of both periods are of services that are unknown or a guess: part of a subscriber's "
            "whole volume, of no category or service."
        )
    notes += [f"Left out: {words.say(n, 'total_bytes')} {reason}." for reason, n in trends.left_out]
    return notes


def warnings_of(trends: Trends) -> list[str]:
    """That days of the periods are silent, from which a change may come."""
    if not trends.silent:
        return []
    days = words.listing([str(day) for day in trends.silent])
    whole = trends.now.days + trends.before.days
    return [f"Nothing was seen on {len(trends.silent)} of the {whole} days ({days}): changes may come of it."]


def _shown(count: int, minimum: int) -> int | None:
    """A count of subscribers, None where they are too few to be shown."""
    return None if 0 < count < minimum else count


# Categories


def _categories(trends: Trends) -> Answer:
    rows = _compared(trends)
    minimum = trends.usage.settings.minimum_group
    shown = [row for row in rows if row["subscriber_count"] >= minimum]
    reading = [*warnings_of(trends), *(_told(shown) if shown else [_nothing(rows, minimum)])]
    chart = charts.intervals("category", "mean_change_bytes", "low_change_bytes", "high_change_bytes")
    notes = (
        "Mean change: of one subscriber who used the category in either period, with its 95 % interval; the "
        "differences are paired. Clear: at least "
        f"{words.LEAST_EFFECT} of their deviations and {words.LEAST_ERRORS:.0f} standard errors.",
        *notes_of(trends),
    )
    return Answer(
        "trends.categories", _TEXT["categories"], rows, tuple(reading), chart if rows else None,
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _nothing(rows: Sequence[Mapping[str, Any]], minimum: int) -> str:
    if not rows:
        return "No named subscriber used anything in either period whose category is known."
    return f"No category was used by {words.plural(minimum, 'subscriber')}: none can be told."


def _compared(trends: Trends) -> list[dict[str, Any]]:
    store, minimum = trends.usage.store, trends.usage.settings.minimum_group
    before, now = nw.col("previous_bytes"), nw.col("present_bytes")
    grouped = trends.categories.group_by("category").agg(
        previous=before.sum(), present=now.sum(),
        previous_users=nw.when(nw.col("previous_rows") > 0).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).sum(),
        present_users=nw.when(nw.col("present_rows") > 0).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).sum(),
    )  # fmt: skip
    changed = trends.categories.select("category", change=now - before).group_by("category")
    found = {row["category"]: row for row in store.rows(grouped)}
    moved = {row["category"]: row for row in store.rows(changed.agg(**moments({"change": nw.col("change")})))}
    wholes = {period: sum(row[period] for row in found.values()) for period in ("previous", "present")}
    order = sorted(found, key=lambda name: (-abs(found[name]["present"] - found[name]["previous"]), name))
    rows = []
    for name in order:
        row, differences = found[name], group(moved[name], "change")
        low, high = interval(differences)
        rows.append(
            {
                "category": name,
                "subscriber_count": differences.count,
                "previous_subscriber_count": _shown(int(row["previous_users"]), minimum),
                "present_subscriber_count": _shown(int(row["present_users"]), minimum),
                "previous_bytes": int(row["previous"]),
                "present_bytes": int(row["present"]),
                "previous_share": _part(row["previous"], wholes["previous"]),
                "present_share": _part(row["present"], wholes["present"]),
                "change_share": _part(row["present"] - row["previous"], row["previous"]),
                "mean_change_bytes": differences.mean,
                "low_change_bytes": low,
                "high_change_bytes": high,
                "verdict": verdict(differences, minimum),
            }
        )
    return rows


def _part(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _told(shown: Sequence[Mapping[str, Any]]) -> list[str]:
    reading = []
    for side in ("growing", "falling"):
        clear = [row for row in shown if row["verdict"] == side]
        for row in clear[:_TOLD]:
            low, high = (words.say(row[f"{end}_change_bytes"], "a_bytes") for end in ("low", "high"))
            grown = f" ({_signed(row['change_share'])})" if row["change_share"] is not None else ""
            reading.append(
                f"{row['category']} is {side}: {words.say(row['previous_bytes'], 'a_bytes')} before, "
                f"{words.say(row['present_bytes'], 'a_bytes')} now{grown}; of one subscriber by "
                f"{words.say(row['mean_change_bytes'], 'a_bytes')} (95 % interval {low} to {high})."
            )
        if clear[_TOLD:]:
            reading.append(f"Also {side}: {words.listing([row['category'] for row in clear[_TOLD:]])}.")
    unclear = [row["category"] for row in shown if row["verdict"] == UNCLEAR]
    if unclear:
        reading.append(f"There is no clear change in {words.listing(unclear)}.")
    return reading


def _signed(share: float) -> str:
    return f"{'+' if share > 0 else ''}{percent(share)}"


# Services


def _services(trends: Trends) -> Answer:
    store, minimum = trends.usage.store, trends.usage.settings.minimum_group
    counted = store.rows(trends.firsts.group_by("service", "category").agg(count=nw.len()))
    used = {(row["service"], row["category"]): row for row in store.rows(trends.services)}
    # Silent before is a service that nobody here used in the period before.
    rows = [
        {
            "service": row["service"],
            "category": row["category"],
            "first_user_count": row["count"],
            "previous_subscriber_count": _shown(int(one["previous_count"]), minimum),
            "present_subscriber_count": _shown(int(one["present_count"]), minimum),
            "present_bytes": int(one["present_bytes"]),
            "is_unused_before": one["previous_count"] == 0,
        }
        for row in sorted(counted, key=lambda row: (-row["count"], row["service"], row["category"]))
        if (one := used[row["service"], row["category"]])
    ]
    shown = [row for row in rows if row["first_user_count"] >= minimum]
    notes = [
        "First users used something else before the present period, but never this service on any day seen. "
        f"Unused before: nobody used it from {trends.before}.",
        *notes_of(trends),
    ]
    if len(rows) > _MOST:
        notes.append(f"The {_MOST} services with the most first users, of {len(rows)} that have any.")
    chart = charts.bars("service", "first_user_count", colour="category", stacked=True) if rows else None
    return Answer(
        "trends.services", _TEXT["services"], rows[:_MOST], (*warnings_of(trends), *_first(rows, shown)),
        chart, group_size="first_user_count", notes=tuple(notes),
    )  # fmt: skip


def _first(rows: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["Nobody who had used something before used a known service for the first time."]
    if not shown:
        return ["No service has enough first users to be told."]
    most = shown[0]
    reading = [
        f"Most first users: {most['service']} ({most['category']}), "
        f"{words.plural(most['first_user_count'], 'subscriber')}."
    ]
    unused = [row["service"] for row in shown if row["is_unused_before"]]
    if unused:
        listed = words.listing(unused[:_TOLD])
        more = f" and {len(unused) - _TOLD} more" if len(unused) > _TOLD else ""
        reading.append(f"Used by nobody in the period before: {listed}{more}.")
    return reading


QUESTIONS: Final = (
    TrendQuestion("trends.categories", _TEXT["categories"], _categories),
    TrendQuestion("trends.services", _TEXT["services"], _services),
)
