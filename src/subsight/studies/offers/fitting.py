"""How the map came to be: how its training went, and how usage was made comparable."""

from __future__ import annotations

import math
from typing import Any, Final

from subsight.answers import Answer, Rows
from subsight.studies import charts, words
from subsight.studies.offers.inputs import OfferInputs, OfferQuestion

__all__ = ["QUESTIONS"]

_TEXT: Final = {
    "training": "Did the training of the map converge?",
    "encoding": "How was usage made comparable, and what was unknown in it?",
}
_LAST: Final = 0.1
"""The share of the epochs, the last ones, over which a converged error stays as it is."""
_STILL: Final = 0.01
"""A change of the error that is none, as a share of it."""
_SCALES: Final = {
    "log": "on a logarithmic scale",
    "as it is": "as they are",
    "0 or 1": "as 0 or 1 for each of their values",
}


def _training(inputs: OfferInputs) -> Answer:
    rows = [dict(row) for row in inputs.history]
    if not rows:
        return Answer("offers.training", _TEXT["training"], [], ("No epoch was kept of the training.",))
    notes = (
        f"Converged: over the last {100 * _LAST:.0f} % of the epochs, at least one, the error changes by "
        f"less than {100 * _STILL:.0f} %. radius: how far a subscriber reaches on the map, in steps. "
        "movement: how far nodes moved in the epoch.",
    )
    return Answer(
        "offers.training", _TEXT["training"], rows, _converged(rows),
        charts.lines("epoch", "quantisation_error", zero=False), notes=notes,
    )  # fmt: skip


def _converged(rows: Rows) -> tuple[str, ...]:
    errors = [row["quantisation_error"] for row in rows]
    first, last = errors[0], errors[-1]
    if len(rows) < 2:
        return (f"After its only epoch the quantisation error is {last:.3g}: too few to say where it goes.",)
    went = "fell" if last < first else "rose" if last > first else "stayed"
    ends = f"from {first:.3g} to {last:.3g}" if last != first else f"at {last:.3g}"
    course = f"Over {len(rows)} epochs the quantisation error {went} {ends}."
    back = min(max(1, math.ceil(_LAST * len(rows))), len(rows) - 1)
    before = errors[-1 - back]
    change = (last - before) / before if before else 0.0
    over = "last epoch" if back == 1 else f"last {back} epochs"
    if abs(change) < _STILL:
        return (course, f"It converged: over the {over} it changed by less than {100 * _STILL:.0f} %.")
    radii = [rows[-1 - back]["radius"], rows[-1]["radius"]]
    if change < 0 and radii[1] < radii[0]:
        return (
            course,
            f"Over the {over} it still fell, by {100 * abs(change):.1f} %, as the radius did (from "
            f"{radii[0]:.3g} to {radii[1]:.3g}): a smaller radius fits closer, so that this alone asks for "
            "no more epochs.",
        )
    turn = "falling" if change < 0 else "rising"
    more = "more epochs may lower it" if change < 0 else "look at the radius it ends with"
    return (
        course,
        f"It did not converge: over the {over} it is still {turn}, by {100 * abs(change):.1f} %; {more}.",
    )


def _encoding(inputs: OfferInputs) -> Answer:
    rows = [dict(row) for row in inputs.encoding]
    if not rows:
        return Answer("offers.encoding", _TEXT["encoding"], [], ("Nothing was encoded.",))
    features = sum(row["feature_count"] for row in rows)
    scales: dict[str, list[str]] = {}
    for row in rows:
        scales.setdefault(row["scale"], []).append(words.named(row["column"]))
    how = [f"{words.listing(held)} {_SCALES.get(scale, scale)}" for scale, held in scales.items()]
    reading = [
        f"{words.plural(len(rows), 'column')} became {words.plural(features, 'feature')}: {'; '.join(how)}.",
        _unknown(
            rows,
            "unseen_count",
            "value",
            "not seen when the map was made, and ignored",
            "Every value was seen when the map was made.",
        ),
        _unknown(
            rows, "filled_count", "missing number", "filled in with the median", "No number was missing."
        ),
    ]
    notes = (
        "On the map every number is in z units, and all values of a list together vary as much as one "
        "number: none counts more for its unit, nor a list for its length.",
    )
    return Answer("offers.encoding", _TEXT["encoding"], rows, tuple(reading), notes=notes)


def _unknown(rows: Rows, name: str, noun: str, what: str, none: str) -> str:
    """How many values of which columns were unknown, the most first."""
    held: list[Any] = sorted((row for row in rows if row[name]), key=lambda row: -row[name])
    if not held:
        return none
    whole = sum(row[name] for row in held)
    were = "was" if whole == 1 else "were"
    if len(held) == 1:
        return f"{words.plural(whole, noun)} of {words.named(held[0]['column'])} {were} {what}."
    each = words.listing([f"{row[name]:,} of {words.named(row['column'])}" for row in held])
    return f"{words.plural(whole, noun)} {were} {what}: {each}."


QUESTIONS: Final = (
    OfferQuestion("offers.training", _TEXT["training"], _training),
    OfferQuestion("offers.encoding", _TEXT["encoding"], _encoding),
)
