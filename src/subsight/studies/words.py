"""Words for numbers: what is a clear difference, what is a correlation, how a list reads.

A claim needs an effect of some size and more data than chance would need: both thresholds are here,
so that a reversed effect turns the words and a removed one leaves "no clear difference".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from subsight.units import format_value, unit_of

__all__ = [
    "LEAST_EFFECT",
    "LEAST_ERRORS",
    "Group",
    "compare",
    "correlation",
    "listing",
    "plural",
    "say",
]

LEAST_EFFECT: Final = 0.2
"""Smallest difference of means, in pooled standard deviations, that is called clear (Cohen 1988: small)."""
LEAST_ERRORS: Final = 3.0
"""Smallest difference of means, in its standard errors, that is called clear."""


@dataclass(frozen=True)
class Group:
    """One side of a comparison: mean, population standard deviation, and number of subscribers."""

    mean: float
    deviation: float
    count: int


def compare(a: Group, b: Group) -> Literal["higher", "lower", "no clear difference"]:
    """Whether a's mean is clearly higher or lower than b's.

    >>> compare(Group(10, 2, 500), Group(8, 2, 500)), compare(Group(8, 2, 9), Group(8.1, 2, 9))
    ('higher', 'no clear difference')
    """
    if min(a.count, b.count) < 2:
        return "no clear difference"
    difference = a.mean - b.mean
    pooled = math.sqrt((a.count * a.deviation**2 + b.count * b.deviation**2) / (a.count + b.count))
    error = math.sqrt(a.deviation**2 / a.count + b.deviation**2 / b.count)
    if difference == 0 or abs(difference) < LEAST_EFFECT * pooled or abs(difference) < LEAST_ERRORS * error:
        return "no clear difference"
    return "higher" if difference > 0 else "lower"


def correlation(r: float | None, count: int) -> str:
    """A Pearson correlation in words (Cohen 1988: 0.1 weak, 0.3 moderate, 0.5 strong; 0.9 near-exact).

    >>> correlation(-0.62, 1000), correlation(0.02, 1000), correlation(0.4, 10)
    ('a strong negative correlation', 'no clear correlation', 'no clear correlation')
    """
    if r is None or count < 3 or abs(r) < max(0.1, LEAST_ERRORS / math.sqrt(count)):
        return "no clear correlation"
    size = abs(r)
    word = "near-exact" if size >= 0.9 else "strong" if size >= 0.5 else "moderate" if size >= 0.3 else "weak"
    return f"a {word} {'positive' if r > 0 else 'negative'} correlation"


def say(value: float | None, name: str) -> str:
    """A value as a person reads it, with the unit that the column's name ends in.

    >>> say(454_500_600, "dl_bytes"), say(0.25, "filled_share"), say(106856, "subscriber_count")
    ('455 MB', '25.0 %', '106,856')
    """
    return format_value(value, unit_of(name))


def listing(names: Sequence[str]) -> str:
    """Names as a person lists them.

    >>> listing(["gaming", "video", "web"]), listing([])
    ('gaming, video and web', 'none')
    """
    if len(names) < 2:
        return names[0] if names else "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def plural(count: float, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "session"), plural(1200, "session")
    ('1 session', '1,200 sessions')
    """
    return f"{count:,.0f} {one if count == 1 else many or one + 's'}"
