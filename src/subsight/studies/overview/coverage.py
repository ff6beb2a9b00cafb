"""What the extract really holds: its nominal span against where most sessions lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import Inputs, Question, charts
from subsight.studies.words import plural, say

__all__ = ["QUESTIONS", "core"]

_CORE_SHARE: Final = 0.9
_BUNCHED: Final = 0.5
_SPREAD: Final = 0.75


def coverage(inputs: Inputs) -> Answer:
    """Sessions and subscribers by day, and whether two periods can be compared."""
    days = inputs.quality["coverage"]
    total = sum(day["session_count"] for day in days)
    rows = [
        {
            "local_date": day["local_date"],
            "session_count": day["session_count"],
            "session_share": day["session_count"] / total,
            "subscriber_count": day["subscriber_count"],
        }
        for day in days
    ]
    found = core(days) if days else {}
    reading = [_span(found, len(days)), _periods(inputs)] if days else ["No session has a subscriber."]
    chart = charts.bars("local_date", "session_count", vertical=True)
    # Dates are read as UTC midnights: drawn in any other zone they would move to the day before.
    day = {"type": "temporal", "timeUnit": "utcyearmonthdate", "scale": {"type": "utc"}}
    chart["encoding"]["x"] |= day | {"axis": {"format": "%-d %b"}}
    return Answer(
        id="overview.coverage",
        question=COVERAGE.text,
        rows=rows,
        reading=(*reading, _records(inputs, total)),
        chart=chart,
        facts=_facts(inputs, total) | found,
        group_size="subscriber_count",
        notes=(
            f"A session belongs to the local day on which it starts (zone {inputs.settings.time_zone}). "
            "The days that hold most sessions are the shortest run of days with at least "
            f"{100 * _CORE_SHARE:.0f} % of them; the extract is called bunched where that run is at most "
            f"{100 * _BUNCHED:.0f} % of the span.",
        ),
    )


def core(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The span of the days seen and the shortest run of days with at least 90% of the sessions.

    Ties go to the run with more sessions, then to the earlier one.
    """
    counts = {date.fromisoformat(day["local_date"]): day["session_count"] for day in days}
    first, last = min(counts), max(counts)
    calendar = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    total, start, held = sum(counts.values()), 0, 0
    best: tuple[int, int, int] | None = None  # days, minus sessions, start
    for end, day in enumerate(calendar):
        held += counts.get(day, 0)
        while held - counts.get(calendar[start], 0) >= _CORE_SHARE * total:
            held -= counts.get(calendar[start], 0)
            start += 1
        if held >= _CORE_SHARE * total:
            best = min(best or (len(calendar) + 1, 0, 0), (end - start + 1, -held, start))
    assert best is not None  # the whole span holds every session
    length, sessions, at = best
    return {
        "span_first_date": first.isoformat(),
        "span_last_date": last.isoformat(),
        "span_day_count": len(calendar),
        "core_first_date": calendar[at].isoformat(),
        "core_last_date": calendar[at + length - 1].isoformat(),
        "core_day_count": length,
        "core_session_share": -sessions / total,
    }


def _day(text: str) -> str:
    day = date.fromisoformat(text)
    return f"{day.day} {day:%B %Y}"


def _span(found: Mapping[str, Any], seen: int) -> str:
    first, last = _day(found["span_first_date"]), _day(found["span_last_date"])
    days, most = found["span_day_count"], found["core_day_count"]
    share = say(found["core_session_share"], "session_share")
    if days == 1:
        return f"The extract holds one day, {first}: it says nothing about other days."
    gaps = f" of which {days - seen} hold no session" if days > seen else ""
    span = f"Sessions start from {first} to {last}, {plural(days, 'day')}{gaps}"
    run = _day(found["core_first_date"])
    if most > 1:
        run += f" to {_day(found['core_last_date'])}"
    if most <= _BUNCHED * days:
        return (
            f"{span}, but the extract is bunched: {share} of the sessions start on "
            f"{plural(most, 'day')} ({run}). It describes those days, not the whole span."
        )
    if most < _SPREAD * days:
        return f"{span}, unevenly: {share} of the sessions start on {plural(most, 'day')} ({run})."
    return (
        f"{span}, and they are spread over it: the shortest run that holds {share} takes "
        f"{plural(most, 'day')}."
    )


def _periods(inputs: Inputs) -> str:
    periods, limit = inputs.quality["periods"], inputs.settings.minimum_overlap_share
    if not periods.get("first"):
        return "There is one day only, so two periods cannot be compared."
    both = periods["both_subscriber_count"]
    seen = periods["first_subscriber_count"] + periods["second_subscriber_count"] - both
    spans = [f"{_day(a)} to {_day(b)}" for a, b in (periods["first"], periods["second"])]
    share = say(both / seen, "subscriber_share") if seen else "none"
    counted = share
    if 0 < both < inputs.settings.minimum_group:
        counted = f"fewer than {inputs.settings.minimum_group}"
    rule = f"(at least {100 * limit:.0f} % are needed)"
    if periods["comparable"]:
        return (
            f"The halves {spans[0]} and {spans[1]} can be compared: {counted} of subscribers are in both "
            f"{rule}."
        )
    return (
        f"The halves {spans[0]} and {spans[1]} cannot be compared: {counted} of subscribers are in both "
        f"{rule}, so growth, churn and trends cannot be read from this extract."
    )


def _records(inputs: Inputs, total: int) -> str:
    quality = inputs.quality
    return (
        f"Of {plural(quality['records'], 'record')}, "
        f"{plural(quality['rejected'], 'was rejected', 'were rejected')} and "
        f"{plural(quality['without_subscriber_count'], 'names', 'name')} no subscriber; "
        f"every study reads the other {total:,}."
    )


def _facts(inputs: Inputs, total: int) -> dict[str, float | str | None]:
    quality, periods = inputs.quality, inputs.quality["periods"]
    facts: dict[str, float | str | None] = {
        "session_count": total,
        "record_count": quality["records"],
        "rejected_count": quality["rejected"],
        "without_subscriber_count": quality["without_subscriber_count"],
        "periods_comparable": "yes" if periods["comparable"] else "no",
    }
    if periods.get("first"):
        both = periods["both_subscriber_count"]
        seen = periods["first_subscriber_count"] + periods["second_subscriber_count"] - both
        shown = seen and not 0 < both < inputs.settings.minimum_group
        facts["both_periods_subscriber_share"] = both / seen if shown else None
    return facts


COVERAGE: Final = Question(
    "overview.coverage", "Which days does the extract really hold, and can two periods be compared?", coverage
)
QUESTIONS: Final = (COVERAGE,)
