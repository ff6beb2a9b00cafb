"""What changed for each subscriber between the present period and the one before: the table `trends`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import narwhals as nw

from subsight.store import Frame
from subsight.studies.groups import amount
from subsight.studies.trends.rules import DAY_PARTS, GROWTH_SHARE, LEAST_DAILY_BYTES, with_recommendation
from subsight.studies.usage import Period, UsageInputs, periods

__all__ = ["COLUMNS", "Trends", "changes", "is_known", "prepare"]

COLUMNS: Final = (
    "subscriber_id", "previous_bytes", "present_bytes", "change_share", "growing_category",
    "growing_category_previous_bytes", "growing_category_present_bytes", "new_service_count", "day_part",
    "previous_day_part", "recommendation", "evidence",
)  # fmt: skip
_WHO: Final = ("subscriber_id", "subscriber_hash")
_PERIODS: Final = ("previous", "present")
UNKNOWN: Final = "Unknown"


@dataclass(frozen=True)
class Trends:
    """What the questions look at; all frames are kept.

    Attributes:
        people: one row per named subscriber with use in either period: `COLUMNS`, `subscriber_hash`,
            `night_bytes` and so on, and `previous_night_bytes`, for each part of the day.
        categories: `subscriber_id, subscriber_hash, category, previous_bytes, present_bytes,
            previous_rows, present_rows`, of services that are known.
        firsts: `subscriber_id, service, category`: services that a subscriber with earlier use had never
            used before the period.
        services: `service, category, previous_count, present_count, present_bytes`: subscribers by
            service that is known.
        guess_bytes: volume of both periods whose service is unknown or a guess.
        left_out: reason and bytes of what belongs to nobody who is compared.
        silent: dates of the two periods on which nothing was seen at all.
        groups: by the name of a grouping, such as segment: `subscriber_id, group_name`.
    """

    usage: UsageInputs
    now: Period
    before: Period
    people: Frame
    categories: Frame
    firsts: Frame
    services: Frame
    guess_bytes: int
    left_out: Sequence[tuple[str, int]]
    silent: Sequence[date]
    groups: Mapping[str, Frame]


def changes(inputs: UsageInputs) -> Frame | None:
    """What changed for each named subscriber, and the recommendation that follows: the table `trends`.

    One row a subscriber with use in either period, the columns of `COLUMNS`; None where the period before
    was not seen. `change_share` is null without use before; `growing_category` is the known category that
    grew most, by `GROWTH_SHARE` and `LEAST_DAILY_BYTES` at least, and null where none did or where nothing
    was used before; a day part is where most of a period's volume lies, null without volume. New services
    are those never used before by somebody who used something before.
    """
    made = prepare(inputs)
    return None if made is None else made.people.select(*COLUMNS)


def is_known() -> Any:
    """Whether a row's category is known by more than a guess."""
    is_sure = nw.col("confidence").is_in(["sure", "likely"]).fill_null(False)
    return is_sure & (nw.col("category") != UNKNOWN).fill_null(False)


def prepare(inputs: UsageInputs, rfm: Frame | None = None) -> Trends | None:
    """Reads the usage, once for all questions; None where the period before was not seen.

    With `rfm` (`subscriber_id, rfm_group`) its target groups are groups beside the segments.
    """
    now, before = periods(inputs)
    if before is None:
        return None
    store = inputs.store
    base = store.keep(_base(inputs, now, before))
    known = base.filter(nw.col("known") == 1)
    categories = store.keep(_by_category(known))
    firsts = store.keep(_firsts(base))
    growing = _growing(categories, now.days)
    people = store.keep(with_recommendation(_people(base, growing, firsts), now.days))
    guess = store.row(
        base.filter(nw.col("known") == 0).select(n=(_volume("previous") + _volume("present")).sum())
    )
    left_out, silent = _seen(inputs, now, before)
    return Trends(
        inputs, now, before, people, categories, firsts, store.keep(_by_service(known)),
        int(guess["n"] or 0), left_out, silent, _groups(inputs, rfm),
    )  # fmt: skip


def _groups(inputs: UsageInputs, rfm: Frame | None) -> dict[str, Frame]:
    found = {}
    if inputs.segments is not None:
        found["segment"] = inputs.segments.select("subscriber_id", group_name=nw.col("segment_name"))
    if rfm is not None:
        found["target group"] = rfm.select("subscriber_id", group_name=nw.col("rfm_group"))
    return found


def _base(inputs: UsageInputs, now: Period, before: Period) -> Frame:
    """Sums by subscriber and service: volumes by period and part of the day, and rows as signs of use."""
    date, hour = nw.col("local_date"), nw.col("local_hour")
    used = inputs.usage.filter(~nw.col("subscriber_id").is_null() & (date <= nw.lit(now.last)))
    used = used.with_columns(
        known=nw.when(is_known()).then(nw.lit(1)).otherwise(nw.lit(0)),
        bytes=amount("dl_bytes") + amount("ul_bytes"),
    )
    sums: dict[str, Any] = {"earlier_rows": _ones(date < nw.lit(now.first))}
    for name, period in zip(_PERIODS, (before, now), strict=True):
        sums[f"{name}_rows"] = _ones(period.holds())
        for part, (first, last) in DAY_PARTS.items():
            held = period.holds() & (hour >= first) & (hour <= last)
            sums[f"{name}_{part}_bytes"] = nw.when(held).then(nw.col("bytes")).otherwise(nw.lit(0.0)).sum()
    return used.group_by(*_WHO, "category", "service", "known").agg(**sums)


def _ones(held: Any) -> Any:
    return nw.when(held).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).sum()


def _volume(period: str) -> Any:
    parts = [nw.col(f"{period}_{part}_bytes") for part in DAY_PARTS]
    return parts[0] + parts[1] + parts[2] + parts[3]


def _by_category(known: Frame) -> Frame:
    sums = {f"{period}_bytes": _volume(period) for period in _PERIODS}
    sums |= {f"{period}_rows": nw.col(f"{period}_rows") for period in _PERIODS}
    rows = known.select(*_WHO, "category", **sums).group_by(*_WHO, "category")
    return rows.agg(**{name: nw.col(name).sum() for name in sums}).filter(_is_compared())


def _is_compared() -> Any:
    return nw.col("previous_rows") + nw.col("present_rows") > 0


def _by_service(known: Frame) -> Frame:
    users = known.group_by(*_WHO, "service", "category").agg(
        previous_rows=nw.col("previous_rows").sum(), present_rows=nw.col("present_rows").sum(),
        present_bytes=_volume("present").sum(),
    )  # fmt: skip
    return users.group_by("service", "category").agg(
        previous_count=_ones(nw.col("previous_rows") > 0), present_count=_ones(nw.col("present_rows") > 0),
        present_bytes=nw.col("present_bytes").sum(),
    )  # fmt: skip


def _firsts(base: Frame) -> Frame:
    """Services new to a subscriber: any earlier use counts, also one known by a guess."""
    is_sure = nw.col("known") == 1
    rows = base.with_columns(
        sure_rows=nw.when(is_sure).then(nw.col("present_rows")).otherwise(nw.lit(0.0)),
        sure_category=nw.when(is_sure & (nw.col("present_rows") > 0)).then(nw.col("category")),
    )
    services = rows.group_by("subscriber_id", "service").agg(
        earlier_rows=nw.col("earlier_rows").sum(), sure_rows=nw.col("sure_rows").sum(),
        category=nw.col("sure_category").max(),
    )  # fmt: skip
    met = base.group_by("subscriber_id").agg(met_rows=nw.col("earlier_rows").sum())
    met = met.filter(nw.col("met_rows") > 0).select("subscriber_id")
    new = services.filter((nw.col("earlier_rows") == 0) & (nw.col("sure_rows") > 0))
    return new.select("subscriber_id", "service", "category").join(met, on="subscriber_id", how="inner")


def _growing(categories: Frame, days: int) -> Frame:
    """Of each subscriber the known category that grew most, where it grew enough; ties by name."""
    before, now = nw.col("previous_bytes"), nw.col("present_bytes")
    grown = (now - before >= float(LEAST_DAILY_BYTES * days)) & (now >= (1 + GROWTH_SHARE) * before)
    rows = categories.filter(grown).with_columns(falling=before - now, one=nw.lit(1.0))
    place = nw.col("one").cum_sum().over("subscriber_id", order_by=["falling", "category"])
    return (
        rows.with_columns(place=place)
        .filter(nw.col("place") == 1)
        .select(
            "subscriber_id", growing_category=nw.col("category"),
            growing_category_previous_bytes=before, growing_category_present_bytes=now,
        )
    )  # fmt: skip


def _people(base: Frame, growing: Frame, firsts: Frame) -> Frame:
    rows = [f"{period}_rows" for period in _PERIODS]
    parts = [f"{period}_{part}_bytes" for period in _PERIODS for part in DAY_PARTS]
    people = base.group_by(*_WHO).agg(**{name: nw.col(name).sum() for name in (*rows, *parts)})
    people = people.filter(_is_compared()).with_columns(
        **{f"{period}_bytes": _volume(period) for period in _PERIODS}
    )
    counted = firsts.group_by("subscriber_id").agg(new_service_count=nw.len())
    people = people.join(growing, on="subscriber_id", how="left")
    people = people.join(counted, on="subscriber_id", how="left")
    before, now, had = nw.col("previous_bytes"), nw.col("present_bytes"), nw.col("previous_bytes") > 0
    from_growing = [f"growing_category_{period}_bytes" for period in _PERIODS]
    return people.with_columns(
        change_share=nw.when(had).then((now - before) / before),
        growing_category=nw.when(had).then(nw.col("growing_category")),
        **{name: nw.when(had).then(nw.col(name)).cast(nw.Int64) for name in from_growing},
        new_service_count=nw.col("new_service_count").fill_null(0).cast(nw.Int64),
        day_part=_main_part("present"), previous_day_part=_main_part("previous"),
        night_share=nw.when(now > 0).then(nw.col("present_night_bytes") / now),
        previous_night_share=nw.when(had).then(nw.col("previous_night_bytes") / before),
        previous_bytes=before.cast(nw.Int64), present_bytes=now.cast(nw.Int64),
    )  # fmt: skip


def _main_part(period: str) -> Any:
    """Where most of the volume lies; of equal parts the earlier, null without volume."""
    columns = {part: nw.col(f"{period}_{part}_bytes") for part in DAY_PARTS}
    most = nw.max_horizontal(*columns.values())
    found: Any = nw.lit(None).cast(nw.String)
    for part, column in reversed(columns.items()):
        found = nw.when((column == most) & (most > 0)).then(nw.lit(part)).otherwise(found)
    return found


def _seen(inputs: UsageInputs, now: Period, before: Period) -> tuple[list[tuple[str, int]], list[date]]:
    """What belongs to nobody who is compared, in bytes, and the dates on which nothing was seen."""
    volume, unnamed = amount("dl_bytes") + amount("ul_bytes"), nw.col("subscriber_id").is_null()
    by_date = inputs.usage.group_by("local_date").agg(
        bytes=volume.sum(), unnamed=nw.when(unnamed).then(volume).otherwise(nw.lit(0.0)).sum()
    )
    days = {row["local_date"]: row for row in inputs.store.rows(by_date)}
    both = [before.first + timedelta(days=i) for i in range(before.days + now.days)]
    reasons = {
        "of nobody who could be named": sum(days[day]["unnamed"] for day in both if day in days),
        "without a date": sum(row["bytes"] for day, row in days.items() if day is None),
        f"after {now.last}": sum(row["bytes"] for day, row in days.items() if day and day > now.last),
    }
    left_out = [(reason, int(count)) for reason, count in reasons.items() if count]
    return left_out, [day for day in both if day not in days]
