"""How much the network carries at once: mean, peak and 95th percentile of the hours, by direction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import FLOWS, charts, words
from subsight.studies.groups import total
from subsight.studies.traffic.totals import TrafficInputs, TrafficQuestion
from subsight.studies.usage import Period, UsageInputs, periods

__all__ = ["QUESTIONS", "hours_of", "percentile"]

_TEXT: Final = {"rates": "How high are the rates, and what is their 95th percentile in each direction?"}
_LEVEL: Final = 0.95


def percentile(values: Sequence[float], count: int, level: float = _LEVEL) -> float | None:
    """The nearest-rank percentile of `count` hours, of which those that no value stands for are 0.

    The least value that at least `level` of the hours do not exceed, as transit is billed by it.

    >>> percentile([5, 1, 3], 20), percentile([5, 4, 3, 2], 20), percentile([], 0)
    (3, 4, None)
    """
    if count <= 0:
        return None
    rank = math.ceil(level * count - 1e-9)
    ordered = sorted(values, reverse=True)
    place = count - rank
    return ordered[place] if place < len(ordered) else 0.0


def hours_of(period: Period, zone: ZoneInfo, first: datetime, last: datetime) -> int:
    """How many hours of a period lie between the first and the last hour seen, clock changes counted.

    >>> from datetime import UTC
    >>> day = Period(date(2023, 3, 26), date(2023, 3, 26))
    >>> year = (datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
    >>> hours_of(day, ZoneInfo("Europe/Madrid"), *year)
    23
    """
    midnight = datetime.min.time()
    begins = datetime.combine(period.first, midnight, zone)
    ends = datetime.combine(period.last + timedelta(days=1), midnight, zone)
    begins, ends = max(begins, first), min(ends, last + timedelta(hours=1))
    # Instants, not wall clocks: a difference within one zone would ignore that a clock was changed.
    return max(0, round((ends.timestamp() - begins.timestamp()) / 3600))


def _rates(inputs: TrafficInputs) -> Answer:
    usage = inputs.usage if inputs.hours is None else inputs.hours
    grouped = usage.group_by("hour_at").agg(
        local_date=nw.col("local_date").min(),
        dl=total(nw.col("dl_bytes")),
        ul=total(nw.col("ul_bytes")),
    )
    hours = sorted(inputs.store.rows(grouped), key=lambda row: row["hour_at"])
    first, last = inputs.observed or (hours[0]["hour_at"], hours[-1]["hour_at"])
    zone = ZoneInfo(inputs.settings.time_zone)
    now, before = periods(inputs)
    asked = {"all days" if inputs.hours is None else "all days looked at": inputs.covered, "the period": now}
    asked |= {"the period before": before} if before else {}
    asked |= {f"{month:%B %Y}": Period(month, _month_end(month)) for month in _months(inputs.covered)}
    sizes, rows = _people(inputs, asked), []
    for name, period in asked.items():
        within = [row for row in hours if period.first <= row["local_date"] <= period.last]
        count = hours_of(period, zone, first, last)
        for direction, key in (("downlink", "dl"), ("uplink", "ul")):
            values = [row[key] * 8 / 3600 for row in within]
            top = max(within, key=lambda row: (row[key], -row["hour_at"].timestamp()), default=None)
            rows.append(
                {
                    "period": name,
                    "direction": direction,
                    "mean_bps": sum(values) / count if count else None,
                    "p95_bps": percentile(values, count),
                    "peak_bps": max(values, default=None),
                    "peak_hour": f"{top['hour_at'].astimezone(zone):%Y-%m-%d %H:%M}" if top else None,
                    "hours": count,
                    inputs.people: sizes[name],
                }
            )
    return Answer(
        "traffic.rates",
        _TEXT["rates"],
        rows,
        tuple(_said(inputs, rows)),
        charts.bars("period", "p95_bps", colour="direction"),
        group_size=inputs.people,
        notes=(
            f"Rates are means of clock hours in {inputs.settings.time_zone}; hours without a flow are 0. "
            "The 95th percentile is the rate that 95 % of the hours do not exceed (nearest rank).",
            "The settings as_of and period_days choose another period.",
            *inputs.explained,
        ),
    )


def _people(inputs: UsageInputs, asked: Mapping[str, Period]) -> dict[str, int]:
    """How many named subscribers each period has, by its name; of a part how many at least."""
    if inputs.hours is not None:
        least = nw.col("subscriber_count").cast(nw.Float64)
        most = {f"p{i}": nw.when(p.holds()).then(least).max() for i, p in enumerate(asked.values())}
        return _numbers(asked, inputs.store.row(inputs.hours.select(**most)))
    who = inputs.usage.filter(~nw.col("subscriber_id").is_null()).group_by("subscriber_id")
    # Whether any of a subscriber's dates lies in a period: in one look at all rows for all periods.
    held = {f"p{i}": period.holds().cast(nw.Float64).max() for i, period in enumerate(asked.values())}
    return _numbers(
        asked, inputs.store.row(who.agg(**held).select(**{name: nw.col(name).sum() for name in held}))
    )


def _numbers(asked: Mapping[str, Period], row: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(row[f"p{i}"] or 0) for i, name in enumerate(asked)}


def _said(inputs: TrafficInputs, rows: Sequence[dict[str, Any]]) -> list[str]:
    """The first periods' percentiles; of too few subscribers nothing is told."""
    found, least = [], inputs.settings.minimum_group
    told = [row for row in rows[:6] if not 0 < row[inputs.people] < least]
    for name in dict.fromkeys(row["period"] for row in told):
        parts = [
            f"{words.say(row['p95_bps'], 'p95_bps')} {row['direction']}"
            for row in rows
            if row["period"] == name
        ]
        found.append(f"In {words.plural(_hours(rows, name), 'hour')} of {name} the 95th percentile is "
                     f"{words.listing(parts)}.")  # fmt: skip
    return found


def _hours(rows: Sequence[dict[str, Any]], name: str) -> int:
    return next(int(row["hours"]) for row in rows if row["period"] == name)


def _months(covered: Period) -> list[date]:
    """The first days of the months that were seen; none where one month holds all."""
    month, found = covered.first.replace(day=1), []
    while month <= covered.last:
        found.append(month)
        month = (month + timedelta(days=31)).replace(day=1)
    return found if len(found) > 1 else []


def _month_end(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)


QUESTIONS: Final = (TrafficQuestion("traffic.rates", _TEXT["rates"], _rates, FLOWS),)
