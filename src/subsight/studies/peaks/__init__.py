"""Peaks: at which hours of the day and week the network is busiest, with what, and because of whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import FLOWS, HOURS, charts, words
from subsight.studies import hours as by_hour
from subsight.studies.peaks.hours import (
    ALL,
    Hours,
    Source,
    of_flow_sums,
    of_flows,
    of_session_sums,
    of_sessions,
)

__all__ = [
    "QUESTIONS",
    "Busy",
    "Hours",
    "PeaksQuestion",
    "answer_all",
    "busy",
    "heat",
    "of_flow_sums",
    "of_flows",
    "of_session_sums",
    "of_sessions",
]

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TEXT: Final = {
    "heatmap": "At which hours of the week do {source} carry the most?",
    "busy_hours": "Which is the busy hour of {source}, and how far above the mean?",
    "segments": "Which is the busy hour of each segment's {source}?",
}
_DEFINED: Final = (
    "The busy hour is the clock hour with the highest mean volume over the days observed (time-consistent "
    "busy hour, ITU-T E.600). The mean is of all hours from the first to the last, without traffic or with."
)
_EVEN: Final = 1.2
"""A busy hour less than this times the mean is no peak to speak of."""


@dataclass(frozen=True)
class Busy:
    """The busy hour of some volume.

    Attributes:
        hour: the local hour, 0 to 23.
        mean_bytes: its mean volume over the days on which the clock showed it.
        all_bytes: the mean volume of an hour.
        top_at: the single hour with the most, in local time; None where there is no volume.
        top_bytes: its volume.
        dl_share: the share of downlink in the busy hour.
    """

    hour: int
    mean_bytes: float
    all_bytes: float
    top_at: datetime | None
    top_bytes: float
    dl_share: float | None

    @property
    def ratio(self) -> float | None:
        """Peak to mean."""
        return self.mean_bytes / self.all_bytes if self.all_bytes else None


def heat(hours: Hours, part: str = ALL) -> dict[tuple[int, int], tuple[float, int]]:
    """Mean volume in bytes, and how often the clock showed the hour, by weekday (0 is Monday) and hour.

    An hour that a clock skipped was not there, and one that it repeated was there twice.
    """
    volumes: dict[tuple[int, int], float] = {}
    for row in hours.volumes:
        if row["part"] == part:
            local = row["hour_at"].astimezone(hours.zone)
            key = local.weekday(), local.hour
            volumes[key] = volumes.get(key, 0.0) + row["dl_bytes"] + row["ul_bytes"]
    return {key: (volumes.get(key, 0.0) / count, count) for key, count in sorted(hours.clock.items())}


def busy(rows: Sequence[Mapping[str, Any]], hours: Hours) -> Busy:
    """The busy hour of volumes by hour, over the hours that the clock showed; of equal ones the earliest."""
    dl, whole = [0.0] * 24, [0.0] * 24
    for row in rows:
        local = row["hour_at"].astimezone(hours.zone)
        dl[local.hour] += row["dl_bytes"]
        whole[local.hour] += row["dl_bytes"] + row["ul_bytes"]
    shown = [sum(hours.clock[day, hour] for day in range(7)) for hour in range(24)]
    means = [volume / count if count else 0.0 for volume, count in zip(whole, shown, strict=True)]
    hour = max(range(24), key=lambda h: (means[h], -h))
    top = max(rows, key=lambda r: (r["dl_bytes"] + r["ul_bytes"], -r["hour_at"].timestamp()), default=None)
    return Busy(
        hour,
        means[hour],
        sum(whole) / sum(shown) if any(shown) else 0.0,
        top["hour_at"].astimezone(hours.zone) if top else None,
        top["dl_bytes"] + top["ul_bytes"] if top else 0.0,
        dl[hour] / whole[hour] if whole[hour] else None,
    )


def answer_all(found: Sequence[Hours], told: Callable[[Answer], None] | None = None) -> list[Answer]:
    """The study's answers for each source of records, `told` of each."""
    answers = []
    for hours in found:
        for question in QUESTIONS:
            if question.source == hours.source:
                answers.append(question.answer(hours))
                if told:
                    told(answers[-1])
    return answers


def _answer(
    hours: Hours, name: str, rows: Sequence[Mapping[str, Any]], reading: list[str], **more: Any
) -> Answer:
    return Answer(
        f"peaks.{hours.source}_{name}",
        _TEXT[name].format(source=hours.source),
        rows,
        tuple(reading),
        group_size=hours.size if rows else None,
        notes=(_DEFINED, *_when(hours)),
        **more,
    )


def _when(hours: Hours) -> list[str]:
    kind, of = (
        ("Flows", "hour, service and place") if hours.source == "flows" else ("Sessions", "hour and place")
    )
    said = f"{kind} count whole in the hour in which they began, on the clock of {hours.zone.key}."
    return [said, by_hour.least_note(of)] if hours.is_part else [said]


def _heatmap(hours: Hours) -> Answer:
    found, minimum = heat(hours), hours.minimum
    rows = [
        {
            "weekday": _DAYS[day],
            "hour": f"{hour:02d}",
            "mean_bytes": mean,
            "times": count,
            hours.size: hours.cells.get((day, hour), 0),
        }
        for (day, hour), (mean, count) in found.items()
    ]
    told = {key: value for key, value in found.items() if not 0 < hours.cells.get(key, 0) < minimum}
    (day, hour), (mean, count) = max(
        (told or found).items(), key=lambda item: (item[1][0], [-n for n in item[0]])
    )
    of = "" if len(told) == len(found) else f" of those with at least {minimum} subscribers"
    reading = [
        f"The busiest hour of the week{of} is {_DAYS[day]} {_span(hour)}, with "
        f"{words.say(mean, 'mean_bytes')} in the mean of {words.plural(count, 'such hour')}."
    ]
    if missing := 7 * 24 - len(found):
        reading.append(
            f"{words.plural(missing, 'hour')} of the week {'was' if missing == 1 else 'were'} not seen."
        )
    return _answer(
        hours, "heatmap", rows, reading, chart=charts.heat("hour", "weekday", "mean_bytes", text=None)
    )


def _busy_hours(hours: Hours) -> Answer:
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in hours.volumes:
        parts.setdefault(row["part"], []).append(row)
    name = "category" if hours.source == "flows" else "application"
    rows = _table(hours, parts, name, hours.people)
    whole = busy(parts[ALL], hours)
    reading = [_said("All that is looked at" if hours.is_part else "All traffic", whole)]
    others = [
        (part, busy(volumes, hours))
        for part, volumes in parts.items()
        if part != ALL and hours.people.get(part, 0) >= hours.minimum
    ]
    elsewhere = [part for part, found in others if found.hour != whole.hour]
    if elsewhere:
        reading.append(
            f"{words.listing(sorted(elsewhere)[:6])} {'has its' if len(elsewhere) == 1 else 'have their'} "
            "busy hour at another time."
        )
    elif len(others) > 1:
        reading.append(f"Every {name} has its busy hour at the same time.")
    chart = charts.bars(name, "peak_to_mean")
    return _answer(hours, "busy_hours", rows, reading, chart=chart, facts={"busy_hour": whole.hour})


def _segments(hours: Hours) -> Answer:
    minimum = hours.minimum
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in hours.segments:
        parts.setdefault(row["part"], []).append(row)
    if not any(hours.members.get(part, 0) >= minimum for part in parts):
        said = "No segment has enough subscribers here." if parts else "No subscriber here is in a segment."
        return _answer(hours, "segments", [], [said])
    rows = _table(hours, parts, "segment_name", hours.members)
    told = {part: volumes for part, volumes in parts.items() if hours.members.get(part, 0) >= minimum}
    busiest = {part: busy(volumes, hours).hour for part, volumes in told.items()}
    times = sorted(set(busiest.values()))
    reading = [
        f"All {len(told)} segments have their busy hour at {_span(times[0])}."
        if len(times) == 1 and len(told) > 1
        else "; ".join(
            f"{words.listing(sorted(p for p in busiest if busiest[p] == hour))} at {_span(hour)}"
            for hour in times
        )
        + "."
    ]
    return _answer(hours, "segments", rows, reading, chart=charts.bars("segment_name", "peak_to_mean"))


def _table(
    hours: Hours,
    parts: Mapping[str, Sequence[Mapping[str, Any]]],
    name: str,
    people: Mapping[str, int],
) -> list[dict[str, Any]]:
    rows = []
    for part, volumes in parts.items():
        found = busy(volumes, hours)
        rows.append(
            {
                name: part,
                "busy_hour": f"{found.hour:02d}:00",
                "busy_bytes": found.mean_bytes,
                "mean_bytes": found.all_bytes,
                "peak_to_mean": found.ratio,
                "dl_share": found.dl_share,
                "top_hour": f"{found.top_at:%Y-%m-%d %H:%M}" if found.top_at else None,
                "top_bytes": found.top_bytes,
                hours.size: people.get(part, 0),
            }
        )
    return sorted(rows, key=lambda row: (row[name] != ALL, -row["busy_bytes"], row[name]))


def _said(what: str, found: Busy) -> str:
    if found.ratio is None or found.dl_share is None:
        return "No volume was seen."
    is_flat = found.ratio < _EVEN
    flat = ": traffic hardly peaks" if is_flat else ""
    return (
        f"{what}: the busy hour is {_span(found.hour)}, with {words.say(found.mean_bytes, 'mean_bytes')} "
        f"({words.say(found.dl_share, 'dl_share')} downlink), {found.ratio:.2f} times the mean hour{flat}."
    )


def _span(hour: int) -> str:
    return f"{hour:02d}:00 to {(hour + 1) % 24:02d}:00"


@dataclass(frozen=True)
class PeaksQuestion:
    """A question about peaks: its id (`peaks.source_name`), the records it is of, and its filters."""

    id: str
    source: Source
    answer: Callable[[Hours], Answer]
    filters: frozenset[str]


_FILTERS: Final[dict[Source, frozenset[str]]] = {"flows": FLOWS, "sessions": HOURS | {"application"}}
QUESTIONS: Final = tuple(
    PeaksQuestion(f"peaks.{source}_{name}", source, answer, filters if name != "segments" else frozenset())
    for source, filters in _FILTERS.items()
    for name, answer in (("heatmap", _heatmap), ("busy_hours", _busy_hours), ("segments", _segments))
)
