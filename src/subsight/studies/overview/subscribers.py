"""What subscribers use in all: totals per subscriber, and classes by total duration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts
from subsight.studies.overview.variables import lean
from subsight.studies.words import Group, compare, plural, say
from subsight.units import unit_of

__all__ = ["QUESTIONS", "with_decile"]

_TOP_CLASSES: Final = 5
_QUANTITIES: Final = {
    "session_count": "sessions", "duration_s": "duration", "dl_bytes": "downlink data",
    "ul_bytes": "uplink data", "total_bytes": "total data",
}  # fmt: skip


def with_decile(inputs: Inputs, frame: Frame, by: str) -> Frame:
    """The subscribers that have a value of `by`, with `decile` from 1 (least) to 10 (most).

    Subscribers are ranked by value, ties by `subscriber_hash`, and cut into ten classes whose sizes
    differ by one at most.
    """
    known = frame.filter(~nw.col(by).is_null())
    count = max(inputs.store.row(known.select(count=nw.len()))["count"], 1)
    placed = known.with_columns(one=nw.lit(1.0))
    placed = placed.with_columns(place=nw.col("one").cum_sum().over(order_by=[by, "subscriber_hash"]))
    decile = ((nw.col("place") - 1.0) * 10.0 / float(count)).floor() + 1.0
    return placed.with_columns(decile=decile.cast(nw.Int64)).drop("one", "place")


def totals(inputs: Inputs) -> Answer:
    """Sessions, duration and bytes per subscriber, in all and per application."""
    apps = {f"app_{app.slug}_bytes": app.name for app in inputs.contract.applications}
    labels = _QUANTITIES | apps
    names = list(labels)
    parts: dict[str, Any] = {}
    for name in names:
        value = nw.col(name).cast(nw.Float64)
        parts |= {f"{name}:count": value.count(), f"{name}:total": value.sum(), f"{name}:low": value.min()}
        parts |= {f"{name}:high": value.max(), f"{name}:deviation": value.std(ddof=0)}
    found = inputs.store.row(inputs.profiles.select(**parts))
    for name, quartiles in inputs.store.quantiles(inputs.profiles, names, (0.25, 0.5, 0.75)).items():
        found |= {f"{name}:q{i}": value for i, value in enumerate(quartiles)}
    rows = [_total_row(name, labels[name], found) for name in names if found[f"{name}:count"]]
    chart = charts.bars("quantity", "mean")
    chart["transform"] = [{"filter": "datum.unit === 'bytes'"}]
    chart["encoding"]["x"]["title"] = "mean per subscriber (bytes)"
    return Answer(
        id="overview.subscribers",
        question=TOTALS.text,
        rows=rows,
        reading=_totals_reading(inputs, rows, set(apps.values())),
        chart=chart,
        facts={f"mean_{n}": found[f"{n}:total"] / found[f"{n}:count"] for n in names if found[f"{n}:count"]},
        group_size="subscriber_count",
        notes=(
            "Raw sums per subscriber: heavy users are real and stay. Bytes of an application are downlink "
            "plus uplink. Population standard deviations; quartiles by linear interpolation.",
        ),
    )


def _total_row(name: str, label: str, found: Mapping[str, Any]) -> dict[str, Any]:
    count, total = int(found[f"{name}:count"]), found[f"{name}:total"]
    return {
        "quantity": label,
        "unit": unit_of(name),
        "subscriber_count": count,
        "total": total,
        "mean": total / count,
        "standard_deviation": found[f"{name}:deviation"],
        "minimum": found[f"{name}:low"],
        "first_quartile": found[f"{name}:q0"],
        "median": found[f"{name}:q1"],
        "third_quartile": found[f"{name}:q2"],
        "maximum": found[f"{name}:high"],
    }


def _totals_reading(
    inputs: Inputs, rows: Sequence[Mapping[str, Any]], applications: set[str]
) -> tuple[str, ...]:
    reading = []
    for row in rows:
        if row["subscriber_count"] < inputs.settings.minimum_group or row["quantity"] in applications:
            continue
        unit = f"x_{row['unit']}"
        mean, median = (_say(row[name], unit) for name in ("mean", "median"))
        word = lean(row["mean"], row["median"], row["first_quartile"], row["third_quartile"])
        story = {
            "raised": "heavy users raise the mean, so the median is the typical subscriber",
            "lowered": "light users lower the mean, so the median is the typical subscriber",
            "level": "no clear difference between the two",
        }[word]
        reading.append(
            f"{row['quantity'].capitalize()}: {_say(row['total'], unit)} in all, by "
            f"{plural(row['subscriber_count'], 'subscriber')}; mean {mean}, median {median}: {story}."
        )
    apps = [
        row
        for row in rows
        if row["quantity"] in applications and row["subscriber_count"] >= inputs.settings.minimum_group
    ]
    volume = sum(row["total"] for row in apps)
    if volume:
        first = max(apps, key=lambda row: row["total"])
        reading.append(
            f"{first['quantity']} carries most application data: "
            f"{say(first['total'] / volume, 'share_share')} of it, {say(first['mean'], 'mean_bytes')} per "
            "subscriber."
        )
    return tuple(reading) or ("There are too few subscribers to describe.",)


def _say(value: float, name: str) -> str:
    return f"{value:,.2f}".removesuffix(".00") if unit_of(name) == "count" else say(value, name)


def deciles(inputs: Inputs) -> Answer:
    """Ten classes of subscribers by total duration; the top five with their total data."""
    used = ("duration_s", "session_count", "dl_bytes", "ul_bytes", "total_bytes")
    chosen = inputs.profiles.select("subscriber_hash", *(nw.col(n).cast(nw.Float64) for n in used))
    classed = with_decile(inputs, chosen, "duration_s")
    parts: dict[str, Any] = {name: nw.col(name).sum() for name in used}
    parts |= {
        "low": nw.col("duration_s").min(),
        "high": nw.col("duration_s").max(),
        "subscriber_count": nw.len(),
    }
    parts["deviation"] = nw.col("total_bytes").std(ddof=0)
    found = inputs.store.rows(classed.group_by("decile").agg(**parts).sort("decile", descending=True))
    found = [row for row in found if row["total_bytes"] is not None]
    volume, time = (sum(row[name] for row in found) for name in ("total_bytes", "duration_s"))
    rows = [_decile_row(row, volume, time) for row in found]
    top = [row for row in rows if row["is_top_five"]]
    facts = {
        "top_five_total_bytes": sum(row["total_bytes"] for row in top),
        "top_five_total_bytes_share": sum(row["total_bytes_share"] or 0 for row in top),
        "top_decile_total_bytes_share": top[0]["total_bytes_share"] if top else None,
    }
    return Answer(
        id="overview.duration_deciles",
        question=DECILES.text,
        rows=rows,
        reading=_decile_reading(inputs, rows, found),
        chart=charts.bars("decile", "total_bytes", vertical=True),
        facts=facts if top else {},
        group_size="subscriber_count",
        notes=(
            "Decile 10 holds the tenth of subscribers with the longest total duration; ties break by "
            "subscriber hash. Raw sums per subscriber.",
        ),
    )


def _decile_row(row: Mapping[str, Any], volume: float, time: float) -> dict[str, Any]:
    return {
        "decile": row["decile"],
        "is_top_five": row["decile"] > 10 - _TOP_CLASSES,
        "subscriber_count": row["subscriber_count"],
        "least_duration_s": row["low"],
        "most_duration_s": row["high"],
        "duration_s": row["duration_s"],
        "duration_share": row["duration_s"] / time if time else None,
        "session_count": int(row["session_count"]),
        "dl_bytes": row["dl_bytes"],
        "ul_bytes": row["ul_bytes"],
        "total_bytes": row["total_bytes"],
        "total_bytes_share": row["total_bytes"] / volume if volume else None,
        "mean_total_bytes": row["total_bytes"] / row["subscriber_count"],
    }


def _decile_reading(
    inputs: Inputs, rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    if len(rows) < 10 or min(row["subscriber_count"] for row in rows) < inputs.settings.minimum_group:
        return ("There are too few subscribers with a duration for ten classes.",)
    reading = [
        f"Decile {row['decile']} ({say(row['least_duration_s'], 'duration_s')} to "
        f"{say(row['most_duration_s'], 'duration_s')}): {say(row['total_bytes'], 'total_bytes')} in all, "
        f"{say(row['mean_total_bytes'], 'total_bytes')} per subscriber."
        for row in rows
        if row["is_top_five"]
    ]
    share = sum(row["total_bytes_share"] or 0.0 for row in rows if row["is_top_five"])
    longest, shortest = (
        Group(row["total_bytes"] / row["subscriber_count"], row["deviation"], row["subscriber_count"])
        for row in (found[0], found[-1])
    )
    word = compare(longest, shortest)
    story = {
        "higher": "clearly more data per subscriber than the shortest",
        "lower": "clearly less data per subscriber than the shortest",
        "no clear difference": "no clear difference in data per subscriber from the shortest",
    }[word]
    verb = "shows" if word == "no clear difference" else "uses"
    reading.append(
        f"The top five classes, half of the subscribers, carry {say(share, 'total_share')} of the data; "
        f"the class with the longest duration {verb} {story}."
    )
    return tuple(reading)


TOTALS: Final = Question(
    "overview.subscribers",
    "How much does a subscriber use: sessions, duration, data, and data per application?",
    totals,
    SUBSCRIBERS,
)
DECILES: Final = Question(
    "overview.duration_deciles", "How much data do the decile classes by total duration use?", deciles,
    SUBSCRIBERS,
)  # fmt: skip
QUESTIONS: Final = (TOTALS, DECILES)
