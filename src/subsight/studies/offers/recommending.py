"""Who gets which offer: what the rules take away, what becomes of each subscriber, and why."""

from __future__ import annotations

from typing import Any, Final

from subsight.answers import Answer, Rows
from subsight.studies import charts, words
from subsight.studies.groups import percent
from subsight.studies.offers.inputs import RecommendationInputs, RecommendationQuestion
from subsight.studies.offers.telling import covered, day, few, steady, told

__all__ = ["QUESTIONS"]

_TEXT: Final = {
    "funnel": "What do the rules take away, and who still has an offer?",
    "outcomes": "How many subscribers get an offer, and why do the others not?",
    "offers": "Which offers go to how many?",
    "examples": "How do single recommendations come about?",
}
_RECOMMENDED: Final = "recommended"


def _answer(name: str, rows: Rows, reading: list[str], **more: Any) -> Answer:
    return Answer(f"recommendations.{name}", _TEXT[name], rows, tuple(reading), **more)


def _funnel(inputs: RecommendationInputs) -> Answer:
    if not inputs.funnel:
        return _answer("funnel", [], ["No rule was applied: there was nothing to recommend."])
    minimum = inputs.settings.minimum_group
    left = steady([row["subscriber_count"] for row in inputs.funnel], minimum)
    rows = [
        {
            "step": row["step"],
            "removed_pair_count": None
            if few(row["removed_pair_count"], minimum)
            else row["removed_pair_count"],
            "subscriber_count": count,
            "rule": row["said"] or None,
        }
        for row, count in zip(inputs.funnel, left, strict=True)
    ]
    notes = (
        f"As of {day(inputs.as_of)}, up to {words.plural(inputs.k, 'offer')} each. removed_pair_count: "
        "offers that a rule took, counted once for each subscriber; subscriber_count: who had one left then.",
        f"A number that would tell of fewer than {minimum} is not shown.",
    )
    return _answer(
        "funnel", rows, _of_funnel(inputs.funnel, rows, minimum), group_size="subscriber_count", notes=notes,
        chart=charts.bars("step", "subscriber_count"),
    )  # fmt: skip


def _of_funnel(steps: Rows, rows: Rows, minimum: int) -> list[str]:
    start, known = rows[0]["subscriber_count"], [row["subscriber_count"] for row in rows]
    last = next((count for count in reversed(known) if count is not None), None)
    if start is None or last is None:
        return ["Too few subscribers to say how many have an offer."]
    if not start:
        return ["Nobody has an offer to begin with."]
    about = "" if known[-1] is not None else " (a few less)"
    reading = [
        f"Of {words.plural(start, 'subscriber')} with an offer in the catalogue, "
        f"{percent(last / start)} have one left after all rules{about}."
    ]
    whole = sum(row["removed_pair_count"] for row in steps)
    most = max(steps, key=lambda row: row["removed_pair_count"])
    if not whole:
        reading.append("No rule takes anything away.")
    elif not few(most["removed_pair_count"], minimum):
        share, rule = percent(most["removed_pair_count"] / whole), (most["said"] or "").rstrip(".")
        reading.append(
            f"The strictest is {most['step']}: {share} of what is taken away{f' ({rule})' if rule else ''}."
        )
    idle = [row["step"] for row in steps[1:] if not row["removed_pair_count"]]
    if idle and whole:
        reading.append(f"Nothing is taken away by {words.listing(idle)}.")
    return reading


def _outcomes(inputs: RecommendationInputs) -> Answer:
    whole = sum(row["subscriber_count"] for row in inputs.outcomes)
    if not whole:
        return _answer("outcomes", [], ["Nobody could be offered anything: there are no subscribers."])
    rows = [
        {
            "outcome": row["outcome"],
            "subscriber_count": row["subscriber_count"],
            "subscriber_share": row["subscriber_count"] / whole,
        }
        for row in inputs.outcomes
    ]
    shown = {row["outcome"]: row for row in told(rows, inputs.settings.minimum_group)}
    is_any = any(row["outcome"] == _RECOMMENDED and row["subscriber_count"] for row in rows)
    reading = [_recommended(shown, whole) if is_any else _nobody(whole)]
    others = [
        f"{percent(row['subscriber_share'])} {name}"
        for name, row in sorted(shown.items(), key=lambda item: -item[1]["subscriber_count"])
        if name != _RECOMMENDED and row["subscriber_count"]
    ]
    if others:
        reading.append(f"Of the others: {words.listing(others)}.")
    notes = ("Each subscriber has one outcome; defaults are offers that do not follow from the map.",)
    return _answer(
        "outcomes", rows, reading, group_size="subscriber_count", notes=notes,
        chart=charts.bars("outcome", "subscriber_count"),
    )  # fmt: skip


def _recommended(shown: dict[str, Any], whole: int) -> str:
    row, who = shown.get(_RECOMMENDED), words.plural(whole, "subscriber")
    if row is None:
        return f"Of {who}, too few are on one side to say how many get an offer of the map."
    return f"Of {who}, {percent(row['subscriber_share'])} get an offer of the map."


def _nobody(whole: int) -> str:
    return f"None of {words.plural(whole, 'subscriber')} gets an offer of the map."


def _offers(inputs: RecommendationInputs) -> Answer:
    if not any(row["subscriber_count"] for row in inputs.offers):
        return _answer("offers", [], ["No offer goes to anybody."])
    minimum = inputs.settings.minimum_group
    given = sorted(inputs.offers, key=lambda row: (-row["subscriber_count"], row["offer_id"]))
    parts = {
        name: covered([row[name] for row in given], minimum)
        for name in ("subscriber_count", "first_count", "fallback_count")
    }
    rows = [
        {
            "offer_id": row["offer_id"],
            **{name: values[i] for name, values in parts.items()},
            "mean_score": row["mean_score"] if parts["subscriber_count"][i] is not None else None,
        }
        for i, row in enumerate(given)
    ]
    notes = (
        "subscriber_count: who get the offer at any rank; first_count: at the first; fallback_count: as a "
        "default, where the map had none for them.",
    )
    return _answer(
        "offers", rows, _of_offers(given, rows), group_size="subscriber_count", notes=notes,
        chart=charts.bars("offer_id", "subscriber_count"),
    )  # fmt: skip


def _of_offers(given: Rows, rows: Rows) -> list[str]:
    used = [row for row in given if row["subscriber_count"]]
    firsts, defaults, whole = (
        sum(row[name] for row in given) for name in ("first_count", "fallback_count", "subscriber_count")
    )
    reading = [f"{words.plural(len(used), 'offer')} {'goes' if len(used) == 1 else 'go'} to somebody."]
    known = [row for row in rows if row["first_count"]]
    if len(used) > 1 and known and firsts:
        best = max(known, key=lambda row: row["first_count"])
        share = best["first_count"] / firsts
        reading[0] = (
            f"{words.plural(len(used), 'offer')} go to somebody; {best['offer_id']} is most often the first, "
            f"for {percent(share)} of those who get any."
        )
        if share > 0.5 and defaults < whole:
            reading.append("More than half get the same offer first: the map tells few of them apart.")
    fallback = [row["fallback_count"] for row in rows]
    if None not in fallback:
        said = percent(sum(fallback) / whole) if sum(fallback) else "None"
        reading.append(f"{said} of what is offered is a default.")
    return reading


def _examples(inputs: RecommendationInputs) -> Answer:
    rows = [dict(row) for row in inputs.examples]
    if not rows:
        return _answer("examples", [], ["Nobody gets an offer."], ranks_subscribers=True)
    people = len({row["subscriber_id"] for row in rows})
    defaults = sum(bool(row["is_fallback"]) for row in rows)
    said = "none of them a default" if not defaults else (
        f"{defaults} of them {'a default' if defaults == 1 else 'defaults'}"
    )  # fmt: skip
    reading = [
        f"{words.plural(len(rows), 'recommendation')} to {words.plural(people, 'subscriber')}, {said}, as "
        f"they were chosen on {day(inputs.as_of)}."
    ]
    notes = ("probability: how likely the offer was to be shown, for judging it by responses later.",)
    return _answer("examples", rows, reading, ranks_subscribers=True, notes=notes)


QUESTIONS: Final = (
    RecommendationQuestion("recommendations.funnel", _TEXT["funnel"], _funnel),
    RecommendationQuestion("recommendations.outcomes", _TEXT["outcomes"], _outcomes),
    RecommendationQuestion("recommendations.offers", _TEXT["offers"], _offers),
    RecommendationQuestion("recommendations.examples", _TEXT["examples"], _examples),
)
