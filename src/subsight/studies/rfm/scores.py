"""Recency, frequency, usage and connections of each subscriber, and the scores that cut-points give them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, Final

import narwhals as nw

from subsight.errors import ConfigurationError
from subsight.store import Frame
from subsight.studies.groups import amount, total
from subsight.studies.rfm.rules import group_expression
from subsight.studies.usage import UsageInputs

__all__ = ["COLUMNS", "MEASURES", "Cuts", "LeftOut", "RfmInputs", "day_number", "prepare", "scored"]

MEASURES: Final = {
    "recency": "recency_days", "frequency": "active_days", "usage": "total_bytes",
    "connection": "flow_count",
}  # fmt: skip
"""Score to the measure that it is cut from."""
COLUMNS: Final = (
    "subscriber_id", "recency_days", "active_days", "active_hours", "flow_count", "total_bytes",
    "recency_score", "frequency_score", "usage_score", "connection_score", "rfm_score", "rfm_code",
    "rfm_group",
)  # fmt: skip
_LEVELS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_THRESHOLDS: Final = 4


@dataclass(frozen=True)
class Cuts:
    """Where a measure is cut into scores from 1 to 5; no thresholds where there is nobody to cut.

    A score is 1 and the number of thresholds below the value, so equal values score alike; of recency
    it is 5 less that number. Quintiles fall together where many share a value. Then the highest value
    seen still scores 5, of recency 1; and where all values are equal they score 3, of recency 5: they tell
    nobody apart, but nobody is more recent. Given cut-points have no such exceptions.
    """

    score: str
    measure: str
    thresholds: tuple[float, ...]
    is_given: bool
    lowest: float | None = None
    highest: float | None = None

    @property
    def is_constant(self) -> bool:
        """Whether all values are the same, which quintiles cannot cut."""
        return not self.is_given and self.lowest == self.highest

    @property
    def is_uneven(self) -> bool:
        """Whether so many share a value that quintiles fall together and some scores stay empty."""
        return not self.is_given and len(set(self.thresholds)) < len(self.thresholds)

    def expression(self) -> Any:
        """The score of a row as an integer expression."""
        value, below = nw.col(self.measure).cast(nw.Float64), nw.lit(0)
        for threshold in self.thresholds:
            below = below + nw.when(value > threshold).then(nw.lit(1)).otherwise(nw.lit(0))
        is_recency = self.score == "recency"
        found = 5 - below if is_recency else 1 + below
        if self.is_constant:
            found = nw.lit(5 if is_recency else 3)
        elif not self.is_given:
            found = nw.when(value >= self.highest).then(nw.lit(1 if is_recency else 5)).otherwise(found)
        return found.cast(nw.Int64)


@dataclass(frozen=True)
class LeftOut:
    """Flows and bytes that nobody is scored by, for one reason."""

    reason: str
    flow_count: int
    total_bytes: int


@dataclass(frozen=True)
class RfmInputs:
    """What the questions look at: `people` has the columns of `COLUMNS` and `subscriber_hash`."""

    usage: UsageInputs
    people: Frame
    cuts: Mapping[str, Cuts]
    left_out: tuple[LeftOut, ...]


def scored(inputs: UsageInputs) -> tuple[Frame, dict[str, Cuts]]:
    """Each named subscriber's recency, frequency and usage, scored: the table `rfm`, and its cut-points.

    One row a subscriber with use up to `as_of`, the columns of `COLUMNS`; none is null. `active_hours`
    are distinct local hours with use, which stand for sessions; `flow_count` are connections;
    `rfm_score` is the sum of the first three scores, 3 to 15, and `rfm_code` writes them one by one.

    Raises:
        ConfigurationError: `rfm_cuts` names no measure, or is not four ascending finite numbers.

    Source: Hughes 1994, Strategic Database Marketing; usage stands in the place of money.
    """
    made = prepare(inputs)
    return made.people.select(*COLUMNS), dict(made.cuts)


def prepare(inputs: UsageInputs) -> RfmInputs:
    """Reads the usage, once for all questions.

    Raises:
        ConfigurationError: as `scored`.
    """
    given = _given(inputs.settings.rfm_cuts)
    people = inputs.store.keep(_people(inputs))
    cuts = {name: _cuts(name, found, given) for name, found in _quantiles(inputs, people).items()}
    people = people.with_columns(**{f"{name}_score": one.expression() for name, one in cuts.items()})
    parts = [nw.col(f"{name}_score") for name in ("recency", "frequency", "usage")]
    people = people.with_columns(
        rfm_score=parts[0] + parts[1] + parts[2],
        rfm_code=nw.concat_str([part.cast(nw.String) for part in parts]),
        rfm_group=group_expression(),
    )
    return RfmInputs(inputs, people, cuts, _left_out(inputs))


def day_number(name: str) -> Any:
    """A date column as a count of days, for differences that every engine takes alike.

    The epoch is 1 March of year 0 in the proleptic Gregorian calendar.
    """
    date = nw.col(name).dt
    year, month, day = (part.cast(nw.Int64) for part in (date.year(), date.month(), date.day()))
    # A year that starts in March has its leap day at the end.
    year = nw.when(month > 2).then(year).otherwise(year - 1)
    month = nw.when(month > 2).then(month - 3).otherwise(month + 9)
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 1


def _number(day: date) -> int:
    """A date as `day_number` counts it: 1 March of year 0 is 305 days before 31 December of year 0."""
    return day.toordinal() + 305


def _people(inputs: UsageInputs) -> Frame:
    used = inputs.usage.filter(_is_named() & _is_in_time(inputs))
    who, sums = ("subscriber_id", "subscriber_hash"), ("flow_count", "total_bytes")
    # Step by step: distinct hours and days would each be sorted out of all rows again.
    hours = used.group_by(*who, "local_date", "hour_at").agg(flow_count=total(nw.col("flow_count")),
                                                             total_bytes=_bytes().sum())  # fmt: skip
    added = {name: nw.col(name).sum() for name in sums}
    days = hours.group_by(*who, "local_date").agg(active_hours=nw.len(), **added)
    people = days.group_by(*who).agg(
        last_date=nw.col("local_date").max(), active_days=nw.len(),
        active_hours=total(nw.col("active_hours")), **added,
    )  # fmt: skip
    return people.select(
        *who,
        recency_days=_number(inputs.as_of) - day_number("last_date"),
        **{name: nw.col(name).cast(nw.Int64) for name in ("active_days", "active_hours", *sums)},
    )


def _bytes() -> Any:
    return amount("dl_bytes") + amount("ul_bytes")


def _is_named() -> Any:
    return ~nw.col("subscriber_id").is_null()


def _is_in_time(inputs: UsageInputs) -> Any:
    return (nw.col("local_date") <= nw.lit(inputs.as_of)).fill_null(False)


def _left_out(inputs: UsageInputs) -> tuple[LeftOut, ...]:
    undated, late = nw.col("local_date").is_null(), nw.col("local_date") > nw.lit(inputs.as_of)
    reasons = {
        "of nobody who could be named": ~_is_named(),
        "without a date": _is_named() & undated,
        f"after {inputs.as_of}": _is_named() & ~undated & late,
    }
    sums: dict[str, Any] = {}
    for i, held in enumerate(reasons.values()):
        for name, value in (("flows", amount("flow_count")), ("bytes", _bytes())):
            sums[f"{name}_{i}"] = nw.when(held.fill_null(False)).then(value).otherwise(nw.lit(0.0)).sum()
    row = inputs.store.row(inputs.usage.select(**sums))
    found = (
        LeftOut(reason, int(row[f"flows_{i}"] or 0), int(row[f"bytes_{i}"] or 0))
        for i, reason in enumerate(reasons)
    )
    return tuple(one for one in found if one.flow_count or one.total_bytes)


def _quantiles(inputs: UsageInputs, people: Frame) -> dict[str, list[float | None]]:
    found = inputs.store.quantiles(people, list(MEASURES.values()), _LEVELS)
    return {score: found[measure] for score, measure in MEASURES.items()}


def _cuts(score: str, found: list[float | None], given: Mapping[str, tuple[float, ...]]) -> Cuts:
    # Of whole numbers a quintile is a multiple of a fifth: engines round it differently in the last bit.
    levels = [round(5 * level) / 5 for level in found if level is not None]
    measure = MEASURES[score]
    lowest, highest = (levels[0], levels[-1]) if levels else (None, None)
    if measure in given:
        return Cuts(score, measure, given[measure], True, lowest, highest)
    return Cuts(score, measure, tuple(levels[1:-1]), False, lowest, highest)


def _given(cuts: Mapping[str, list[float]]) -> dict[str, tuple[float, ...]]:
    for name, thresholds in cuts.items():
        if name not in MEASURES.values():
            raise ConfigurationError(
                "rfm_cuts names no measure", found=name, expected=f"one of {', '.join(MEASURES.values())}",
                do="name the measure to cut, or leave it out for quintiles",
            )  # fmt: skip
        is_finite = all(math.isfinite(one) for one in thresholds)
        is_ascending = all(a < b for a, b in pairwise(thresholds))
        if len(thresholds) != _THRESHOLDS or not is_finite or not is_ascending:
            raise ConfigurationError(
                f"rfm_cuts of {name} cannot cut it into five scores", found=str(list(thresholds)),
                expected="four finite numbers, each larger than the one before",
                do="give four thresholds, or leave it out for quintiles",
            )  # fmt: skip
    return {name: tuple(map(float, thresholds)) for name, thresholds in cuts.items()}
