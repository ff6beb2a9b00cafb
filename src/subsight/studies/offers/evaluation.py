"""Whether the map's offers are better than simpler ones, on purchases that it was not made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies.groups import percent
from subsight.studies.offers.inputs import OfferInputs, OfferQuestion
from subsight.studies.offers.telling import Side, day, points, side

__all__ = ["QUESTIONS"]

_QUESTION: Final = "Does the map choose better than popularity, neighbours or chance?"
_MAP: Final = "map"
_POLICIES: Final = {
    "popularity": "the most popular ones",
    "nearest neighbours": "those of the nearest subscribers",
    "random": "random ones",
}
_VERDICTS: Final[tuple[tuple[Side, str], ...]] = (
    ("higher", "better than"),
    ("lower", "worse than"),
    ("no clear difference", "not clearly different from"),
)


def _evaluation(inputs: OfferInputs) -> Answer:
    found, minimum = inputs.evaluation, inputs.settings.minimum_group
    if found is None:
        why = inputs.why_not_evaluated or "no purchase could be held out"
        return _answer([], [f"Whether the map beats popularity is not known: {why.rstrip('.')}."])
    if found["held_out_count"] < minimum:
        few = f"fewer than {minimum} subscribers could be judged"
        return _answer([], [f"Whether the map beats popularity is not known: {few}."])
    rows = [dict(row) for row in found["rows"]]
    values = {(row["metric"], row["policy"]): row["value"] for row in rows}
    gaps = {(row["metric"], row["policy"]): row for row in found["differences"]}
    hits = (_hits(policy, values, gaps, found["k"]) for policy in _POLICIES)
    reading = [text for text in hits if text]
    if ("hit_rate", "popularity") not in gaps:
        reading.insert(0, "The map was not compared with popularity.")
    reading += [*_ranked(gaps), *_breadth(values)]
    panels = charts.facet(charts.intervals("policy", "value", "low", "high"), "metric", free="x")
    return _answer(
        rows, reading, chart=panels if rows else None, notes=_notes(found),
        facts={
            "held_out_count": found["held_out_count"], "left_out_count": found["left_out_count"],
            "cut_at": found["cut_at"].isoformat(),
            **{f"hit_rate_difference_{policy.replace(' ', '_')}": gaps["hit_rate", policy]["difference"]
               for policy in _POLICIES if ("hit_rate", policy) in gaps},
        },
    )  # fmt: skip


def _answer(rows: list[dict[str, Any]], reading: list[str], **more: Any) -> Answer:
    return Answer("offers.evaluation", _QUESTION, rows, tuple(reading), **more)


def _hits(policy: str, values: Mapping[Any, float], gaps: Mapping[Any, Any], k: int) -> str | None:
    """Which of the map and a policy hits more often, by the interval of their paired difference."""
    gap = gaps.get(("hit_rate", policy))
    if gap is None:
        return None
    verdict, other = side(gap["low"], gap["high"]), _POLICIES[policy]
    size = points(gap["difference"], gap["low"], gap["high"])
    known = [values.get(("hit_rate", name)) for name in (_MAP, policy)]
    ours, theirs = (percent(value) for value in known)
    if verdict == "no clear difference":
        start = f"There is no clear difference between the map's offers and {other}"
    else:
        often = "more" if verdict == "higher" else "less"
        start = f"The map's offers hit {often} often than {other}"
    of = (
        f" of the subscribers judged took one of {words.plural(k, 'offer')}" if policy == "popularity" else ""
    )
    end = "" if verdict != "lower" or policy != "popularity" else "; offer those until it does better"
    return f"{start}: {ours}{of} against {theirs} ({size}){end}."


def _ranked(gaps: Mapping[Any, Any]) -> list[str]:
    """The same where a hit counts more the higher it ranks."""
    verdicts: dict[Side, list[str]] = {}
    for policy, said in _POLICIES.items():
        if gap := gaps.get(("ndcg", policy)):
            verdicts.setdefault(side(gap["low"], gap["high"]), []).append(said)
    parts = [f"{text} {words.listing(verdicts[name])}" for name, text in _VERDICTS if name in verdicts]
    start = "Where a hit counts more the higher it ranks (NDCG), they are"
    return [f"{start} {'; '.join(parts)}."] if parts else []


def _breadth(values: Mapping[Any, float]) -> list[str]:
    """How much of the catalogue is used, and how far that leans to what is popular."""
    reading = []
    covered = [values.get(("coverage", name)) for name in (_MAP, "popularity")]
    if None not in covered:
        ours, theirs = (percent(value) for value in covered)
        reading.append(f"The map recommends {ours} of the catalogue, popularity {theirs}.")
    leans = [values.get(("popularity_bias", name)) for name in (_MAP, "popularity")]
    if leans[0] is not None and leans[1] is not None:
        turn = "less" if leans[0] < leans[1] else "more" if leans[0] > leans[1] else "as much"
        than = "as" if turn == "as much" else "than"
        reading.append(
            f"It leans {turn} to what is popular {than} popularity itself: a bias of {leans[0]:.2f} against "
            f"{leans[1]:.2f}."
        )
    return reading


def _notes(found: Mapping[str, Any]) -> tuple[str, ...]:
    left = found["left_out_count"]
    aside = (
        f" {words.plural(left, 'subscriber')} who bought only what could not be recommended to them "
        f"{'was' if left == 1 else 'were'} left out."
        if left
        else ""
    )
    return (
        f"Judged on purchases from {day(found['cut_at'])} on, of "
        f"{words.plural(found['held_out_count'], 'subscriber')}; the offers were made from what came before."
        f"{aside}",
        "Clear is a difference whose 95 % interval, of the same subscribers under both, does not hold zero. "
        "hit rate: who took one of the offers; coverage: offers recommended to anybody, of those that may "
        "be; popularity bias: how popular those are, over all that may be recommended.",
    )  # fmt: skip


QUESTIONS: Final = (OfferQuestion("offers.evaluation", _QUESTION, _evaluation),)
