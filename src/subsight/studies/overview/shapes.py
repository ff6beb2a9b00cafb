"""A fitting plot per variable: histograms of measures, bars of categories, sessions over the day."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import HOURS, Inputs, Question, charts
from subsight.studies import hours as by_hour
from subsight.studies.overview.variables import lean, measured
from subsight.studies.words import LEAST_EFFECT, LEAST_ERRORS, listing, named, plural, say
from subsight.units import unit_of

__all__ = ["QUESTIONS"]

_ROWS: Final = 400
_FEWEST_BINS: Final = 8
_MOST_BINS: Final = 24
_LONG_TAIL: Final = 5.0
"""How many times the third quartile the maximum must be for logarithmic bins."""
_CATEGORIES: Final = ("handset_manufacturer", "handset", "tac", "cell_id")
_TOP: Final = 10

Family = Literal["volumes", "service", "shares", "volume_time"]


def _family(name: str) -> Family:
    if unit_of(name) == "share":
        return "shares"
    if unit_of(name) == "bytes" and not name.startswith("tcp_"):
        return "volumes"
    return "volume_time" if "_volume_" in name else "service"


@dataclass(frozen=True)
class _Bins:
    """Bins of equal width, of the value or of its logarithm; on a log scale bin 0 holds the zeros."""

    scale: Literal["linear", "log"]
    low: float
    high: float
    count: int

    def number(self, name: str) -> Any:
        value = nw.col(name).cast(nw.Float64)
        if self.high <= self.low:
            return nw.when(~value.is_null()).then(nw.lit(0.0))
        if self.scale == "linear":
            place = (value - self.low) / (self.high - self.low) * self.count
            return place.floor().clip(0.0, self.count - 1.0)
        positive = nw.when(value > 0).then(value)
        place = (positive / self.low).log() / math.log(self.high / self.low) * self.count
        # The bins of positive values count from 1.
        inside = place.floor().clip(0.0, self.count - 1.0) + 1.0
        return nw.when(value > 0).then(inside).otherwise(nw.when(value <= 0).then(nw.lit(0.0)))

    def edges(self, number: int) -> tuple[float, float]:
        if self.high <= self.low:
            return self.low, self.high
        if self.scale == "linear":
            step = (self.high - self.low) / self.count
            return self.low + number * step, self.low + (number + 1) * step
        if number == 0:
            return 0.0, 0.0
        step = math.log(self.high / self.low) / self.count
        return self.low * math.exp((number - 1) * step), self.low * math.exp(number * step)

    def numbers(self) -> range:
        """Every bin in order, so that empty ones show as gaps."""
        if self.high <= self.low:
            return range(1)
        return range(self.count) if self.scale == "linear" else range(1, self.count + 1)


def _choose(inputs: Inputs, names: Sequence[str]) -> dict[str, _Bins]:
    """Bins per measure: logarithmic where a long tail raises the mean, over the observed range."""
    parts: dict[str, Any] = {}
    for name in names:
        value = nw.col(name).cast(nw.Float64)
        parts |= {f"{name}:low": value.min(), f"{name}:high": value.max()}
        parts[f"{name}:least"] = nw.when(value > 0).then(value).min()
    found = inputs.store.row(inputs.sessions.select(**parts))
    count = max(_FEWEST_BINS, min(_MOST_BINS, _ROWS // len(names)))
    chosen = {}
    for name in names:
        fitted, (low, high, least) = (
            inputs.treatment[name],
            (found[f"{name}:{k}"] for k in ("low", "high", "least")),
        )
        quartiles = fitted["first_quartile"], fitted["third_quartile"]
        raised = lean(fitted["mean"], fitted["median"], *quartiles) == "raised"
        tailed = raised and low >= 0 and least is not None and high > _LONG_TAIL * quartiles[1]
        if tailed and unit_of(name) != "share":
            chosen[name] = _Bins("log", least, high, count)
        else:
            chosen[name] = _Bins("linear", low, high, count)
    return chosen


def _histograms(inputs: Inputs, family: Family, question: Callable[[], Question]) -> Answer:
    names = [name for name in measured(inputs) if _family(name) == family]
    rows: list[dict[str, Any]] = []
    chosen: dict[str, _Bins] = {}
    if names:
        chosen = _choose(inputs, names)
        parts = [
            inputs.sessions.select("subscriber_hash", variable=nw.lit(i), bin=chosen[name].number(name))
            for i, name in enumerate(names)
        ]
        counted = nw.concat(parts).filter(~nw.col("bin").is_null()).group_by("variable", "bin")
        # A bin of many sessions may be one heavy user: what is told is decided by subscribers. Their
        # hashes are counted, of 52 bits, in half the time that their identifiers take.
        both = counted.agg(session_count=nw.len(), subscriber_count=nw.col("subscriber_hash").n_unique())
        found = {(names[row["variable"]], int(row["bin"])): row for row in inputs.store.rows(both)}
        rows = [row for name in names for row in _bin_rows(name, chosen[name], found)]
    return Answer(
        id=question().id,
        question=question().text,
        rows=rows,
        reading=_shape_reading(inputs, names, chosen),
        chart=_chart(chosen, family) if chosen else None,
        group_size="subscriber_count",
        notes=(
            "Observed values, untreated. Bins are equally wide, or equally wide in the logarithm where "
            "scale is log; zeros then stand in a bin of their own, in the table only.",
        ),
    )


def _chart(chosen: Mapping[str, _Bins], family: Family) -> dict[str, Any]:
    """One small histogram per measure; those with logarithmic bins follow those with linear ones."""
    parts = []
    for scale in ("linear", "log"):
        if any(bins.scale == scale for bins in chosen.values()):
            bars = charts.histogram(
                "bin_low", "bin_high", "session_count", log=scale == "log", share=family == "shares"
            )
            small = charts.facet(bars, "variable", columns=4, free="both")
            drawn = f"datum.scale === '{scale}'" + (" && datum.bin_low > 0" if scale == "log" else "")
            parts.append({"transform": [{"filter": drawn}], **small})
    return charts.below(*parts)


def _bin_rows(
    name: str, bins: _Bins, found: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    numbers = list(bins.numbers())
    if bins.scale == "log" and (name, 0) in found:
        numbers.insert(0, 0)
    rows = []
    for number in numbers:
        low, high = bins.edges(number)
        held = found.get((name, number), {})
        rows.append(
            {
                "variable": name,
                "unit": unit_of(name),
                "scale": bins.scale,
                "bin_low": low,
                "bin_high": high,
                "session_count": held.get("session_count", 0),
                "subscriber_count": held.get("subscriber_count", 0),
            }
        )
    return rows


def _shape_reading(inputs: Inputs, names: Sequence[str], chosen: Mapping[str, _Bins]) -> tuple[str, ...]:
    if not names:
        return ("None of these measures was observed.",)
    apps = inputs.contract.applications
    logs = [name for name in names if chosen[name].scale == "log"]
    flat = [name for name in names if chosen[name].high <= chosen[name].low]
    words: dict[str, int] = {"raised": 0, "lowered": 0, "level": 0}
    for name in names:
        fitted = inputs.treatment[name]
        words[lean(fitted["mean"], fitted["median"], fitted["first_quartile"], fitted["third_quartile"])] += 1
    reading = [
        f"Of {plural(len(names), 'measure')}, {words['raised']} lean to large values, {words['lowered']} "
        f"to small ones, and {words['level']} to neither side."
    ]
    if logs:
        reading.append(f"Long tails, on logarithmic bins: {listing([named(name, apps) for name in logs])}.")
    if flat:
        reading.append(f"Never varying: {listing([named(name, apps) for name in flat])}.")
    return tuple(reading)


def volumes(inputs: Inputs) -> Answer:
    """Histograms of volumes per session."""
    return _histograms(inputs, "volumes", lambda: VOLUMES)


def service(inputs: Inputs) -> Answer:
    """Histograms of durations, round-trip times, throughput and retransmission per session."""
    return _histograms(inputs, "service", lambda: SERVICE)


def shares(inputs: Inputs) -> Answer:
    """Histograms of the shares of a session's time by throughput band."""
    return _histograms(inputs, "shares", lambda: SHARES)


def volume_time(inputs: Inputs) -> Answer:
    """Histograms of the seconds by volume band."""
    return _histograms(inputs, "volume_time", lambda: VOLUME_TIME)


def _imputed(inputs: Inputs, name: str, rank: int, missing: Mapping[str, Any]) -> int:
    """Missing values that treatment gives to a category's value: all of them to the mode of the cells."""
    takes = name == "cell_id" and rank == 1 and inputs.settings.treatment != "none"
    return int(missing[name] or 0) if takes else 0


def categories(inputs: Inputs) -> Answer:
    """The commonest values of each category."""
    present = [name for name in _CATEGORIES if name in inputs.contract]
    parts = []
    for name in present:
        counted = (
            inputs.sessions.select("subscriber_id", value=nw.col(name))
            .filter(~nw.col("value").is_null())
            .group_by("value")
            .agg(session_count=nw.len().cast(nw.Int64), subscriber_count=nw.col("subscriber_id").n_unique())
        )
        first = counted.sort("session_count", "value", descending=[True, False]).head(_TOP)
        parts.append(first.select("value", "session_count", "subscriber_count", variable=nw.lit(name)))
    found = inputs.store.rows(nw.concat(parts)) if parts else []
    gaps = {name: nw.col(name).is_null().cast(nw.Float64).sum() for name in present}
    missing = inputs.store.row(inputs.sessions.select(**gaps)) if present else {}
    found.sort(key=lambda row: (-row["session_count"], row["value"]))
    rows = [
        {
            "variable": name,
            "rank": rank,
            "value": row["value"],
            "session_count": row["session_count"],
            "treated_session_count": row["session_count"] + _imputed(inputs, name, rank, missing),
            "subscriber_count": row["subscriber_count"],
        }
        for name in present
        for rank, row in enumerate((row for row in found if row["variable"] == name), 1)
    ]
    reading = [
        (
            f"{named(row['variable']).capitalize()}: the commonest value is {row['value']} "
            f"({plural(row['session_count'], 'session')})."
        )
        for row in rows
        if row["rank"] == 1 and row["subscriber_count"] >= inputs.settings.minimum_group
    ]
    chart = charts.facet(charts.bars("value", "session_count"), "variable", columns=2, free="both")
    return Answer(
        id="overview.categories",
        question=CATEGORIES.text,
        rows=rows,
        reading=tuple(reading) or ("No category has a value that enough subscribers share.",),
        chart=chart,
        group_size="subscriber_count",
        notes=(
            "The mode of each category is its first value; ties go to the smaller value. Treated: a missing "
            "cell counts as the mode; an unknown handset is never imputed. Capacity is read from observed "
            "cells only.",
        ),
    )


def times(inputs: Inputs) -> Answer:
    """Sessions by the hour in which they start; overview.coverage has them by day."""
    counted, people, more = _by_hour(inputs)
    found = {int(row["local_hour"]): row for row in inputs.store.rows(counted)}
    total = sum(int(row["session_count"]) for row in found.values())
    rows = [
        {
            "local_hour": hour,
            "session_count": int(found[hour]["session_count"]) if hour in found else 0,
            "session_share": found[hour]["session_count"] / total if hour in found else 0.0,
            people: found[hour][people] if hour in found else 0,
        }
        for hour in range(24)
    ]
    return Answer(
        id="overview.times",
        question=TIMES.text,
        rows=rows if total else [],
        reading=(_times_reading(inputs, rows, total, people),),
        chart=charts.bars("local_hour", "session_count", vertical=True),
        facts={"session_count": total},
        group_size=people,
        notes=(
            f"Hours of the zone {inputs.settings.time_zone}. An hour stands out where it is at "
            f"least {100 * LEAST_EFFECT:.0f} % and {LEAST_ERRORS:.0f} Poisson errors off an even share. "
            "Sessions by day: overview.coverage.",
            *more,
        ),
    )


def _by_hour(inputs: Inputs) -> tuple[Any, str, tuple[str, ...]]:
    """Sessions and subscribers by hour, the column that counts these, and what has to be explained."""
    if inputs.hours is not None:
        counted = inputs.hours.group_by("local_hour").agg(
            session_count=by_hour.whole("session_count"), **{by_hour.LEAST: by_hour.least_of()}
        )
        return counted, by_hour.LEAST, (by_hour.least_note(),)
    known = inputs.sessions.filter(~nw.col("local_hour").is_null())
    counted = known.group_by("local_hour").agg(
        session_count=nw.len(), subscriber_count=nw.col("subscriber_id").n_unique()
    )
    return counted, "subscriber_count", ()


def _times_reading(inputs: Inputs, rows: Sequence[Mapping[str, Any]], total: int, people: str) -> str:
    shown = [row for row in rows if row[people] >= inputs.settings.minimum_group]
    if not shown:
        return "Too few subscribers are seen in any hour."
    even = total / 24
    least = max(LEAST_EFFECT * even, LEAST_ERRORS * math.sqrt(even))
    busy = [row for row in shown if row["session_count"] - even >= least]
    quiet = [row for row in shown if even - row["session_count"] >= least]
    if not busy and not quiet:
        return "No hour stands out: there is no clear difference in sessions over the day."
    parts = []
    if busy:
        most = max(busy, key=lambda row: row["session_count"])
        parts.append(
            f"{plural(len(busy), 'hour')} clearly above an even share, busiest from {most['local_hour']}:00 "
            f"({say(most['session_share'], 'session_share')} of sessions)"
        )
    if quiet:
        least_row = min(quiet, key=lambda row: row["session_count"])
        parts.append(
            f"{plural(len(quiet), 'hour')} clearly below, quietest from {least_row['local_hour']}:00 "
            f"({say(least_row['session_share'], 'session_share')})"
        )
    return f"Sessions start unevenly over the day: {' and '.join(parts)}."


VOLUMES: Final = Question("overview.plot_volumes", "How are volumes per session distributed?", volumes)
SERVICE: Final = Question(
    "overview.plot_service", "How are durations and the quality of service per session distributed?", service
)
SHARES: Final = Question(
    "overview.plot_throughput_shares", "How is a session's time distributed over throughput bands?", shares
)
VOLUME_TIME: Final = Question(
    "overview.plot_volume_time", "How are the seconds per volume band distributed?", volume_time
)
CATEGORIES: Final = Question(
    "overview.categories", "Which values of each category are commonest?", categories
)
TIMES: Final = Question("overview.times", "At which hours do sessions start?", times, HOURS)
QUESTIONS: Final = (VOLUMES, SERVICE, SHARES, VOLUME_TIME, CATEGORIES, TIMES)
