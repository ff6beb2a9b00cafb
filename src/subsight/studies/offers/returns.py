"""What came back: what other ways of choosing would have been worth, and whether offers sell at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies.groups import percent
from subsight.studies.offers.inputs import RecommendationInputs, RecommendationQuestion
from subsight.studies.offers.telling import Side, covered, points, side

__all__ = ["QUESTIONS"]

_TEXT: Final = {
    "value": "What were the recommendations worth, and what would others have been?",
    "uplift": "Do recommendations sell more than no recommendation?",
}
_OURS: Final = "as recommended"
_ENOUGH: Final = 30
"""Effective responses below which an estimate is called rough."""
_TURNS: Final[tuple[tuple[Side, str], ...]] = (
    ("higher", "more than"),
    ("lower", "less than"),
    ("no clear difference", "not clearly different from"),
)
_NONE: Final = "There are no responses yet"


def _answer(name: str, rows: list[dict[str, Any]], reading: list[str], **more: Any) -> Answer:
    return Answer(f"recommendations.{name}", _TEXT[name], rows, tuple(reading), **more)


def _value(inputs: RecommendationInputs) -> Answer:
    found, minimum = inputs.value, inputs.settings.minimum_group
    if found is None:
        return _answer("value", [], [f"{_NONE}: what the recommendations are worth is not known."])
    if found["subscriber_count"] < minimum:
        return _answer("value", [], [f"Responses of fewer than {minimum} subscribers: too few to say."])
    rows = [dict(row) for row in found["rows"]]
    ours = next((row for row in rows if row["policy"] == _OURS), None)
    reading = ["The recommendations as they were made are not among these."]
    if ours:
        reading = [_worth(ours, found), *_compared(ours, [row for row in rows if row is not ours])]
    rough = [row["policy"] for row in rows if row["effective_count"] < _ENOUGH]
    if rough:
        reading.append(
            f"The {'estimate' if len(rough) == 1 else 'estimates'} for {words.listing(rough)} "
            f"{'is' if len(rough) == 1 else 'are'} rough: fewer than {_ENOUGH} responses stand behind "
            f"{'it' if len(rough) == 1 else 'each'}."
        )
    notes = (
        f"{words.plural(found['shown_count'], 'offer')} shown to "
        f"{words.plural(found['subscriber_count'], 'subscriber')}; what follows within "
        f"{words.plural(found['response_days'], 'day')} counts. Other ways of choosing are judged by the "
        "same responses, each weighed by how likely they would have shown it (off-policy evaluation).",
        "effective_count: responses that the weights leave. Called different are values whose 95 % intervals "
        "do not meet, which asks for more than a test would.",
    )
    chart = charts.intervals("policy", "value", "low", "high")
    return _answer("value", rows, reading, chart=chart, notes=notes)


def _worth(row: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    return (
        f"As recommended, an offer shown was worth {_number(row['value'])} purchases within "
        f"{words.plural(found['response_days'], 'day')} ({_number(row['low'])} to {_number(row['high'])})."
    )


def _number(value: float | None) -> str:
    return words.say(value, "value")


def _compared(ours: Mapping[str, Any], others: list[dict[str, Any]]) -> list[str]:
    """What that is beside the other ways of choosing."""
    verdicts: dict[Side, list[str]] = {}
    for row in others:
        known = None not in (ours["low"], ours["high"], row["low"], row["high"])
        ends = (ours["low"] - row["high"], ours["high"] - row["low"]) if known else (None, None)
        verdicts.setdefault(side(*ends), []).append(f"{row['policy']} ({_number(row['value'])})")
    parts = [f"{text} {words.listing(verdicts[name])}" for name, text in _TURNS if name in verdicts]
    return [f"That is {'; '.join(parts)}."] if parts else []


def _uplift(inputs: RecommendationInputs) -> Answer:
    found, minimum = inputs.uplift, inputs.settings.minimum_group
    if found is None:
        return _answer("uplift", [], [f"{_NONE}: whether recommendations sell is not known."])
    if any(row["subscriber_count"] < minimum for row in found["rows"]):
        return _answer("uplift", [], [f"A side with fewer than {minimum} subscribers: too few to say."])
    buyers = covered([row["buyer_count"] for row in found["rows"]], minimum)
    rows = [
        {
            **row,
            "buyer_count": count,
            "buyer_share": row["buyer_share"] if count is not None else None,
        }
        for row, count in zip(found["rows"], buyers, strict=True)
    ]
    notes = ["Who is held out gets nothing, by chance: the difference is what recommendations cause."]
    if None in buyers:
        notes.append(f"Fewer than {minimum} bought on a side: neither share is told.")
    shown = any(count is not None for count in buyers)
    return _answer(
        "uplift", rows, [_caused(found, rows)], group_size="subscriber_count", notes=tuple(notes),
        chart=charts.bars("group", "buyer_share") if shown else None,
        facts={name: found[name] for name in ("difference", "low", "high")},
    )  # fmt: skip


def _caused(found: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    shares = {row["group"]: row["buyer_share"] for row in rows}
    verdict = side(found["low"], found["high"])
    ours, theirs = shares.get("recommended"), shares.get("held out")
    both = ours is not None and theirs is not None
    beside = f": {percent(ours)} bought, against {percent(theirs)} of those held out" if both else ""
    size = points(found["difference"], found["low"], found["high"])
    if verdict == "no clear difference":
        start = "There is no clear difference between those recommended to and those held out"
        return f"{start}{beside} ({size})."
    sold = "more" if verdict == "higher" else "less"
    return f"Recommendations sell {sold} than none{beside} ({size})."


QUESTIONS: Final = (
    RecommendationQuestion("recommendations.value", _TEXT["value"], _value),
    RecommendationQuestion("recommendations.uplift", _TEXT["uplift"], _uplift),
)
