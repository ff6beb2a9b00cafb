"""Differences of the same subscribers between two periods: what is a clear change, and what is chance."""

from __future__ import annotations

import math
from typing import Final, Literal

from subsight.studies.words import LEAST_EFFECT, LEAST_ERRORS, Group

__all__ = ["UNCLEAR", "Verdict", "interval", "verdict"]

Verdict = Literal["growing", "falling", "no clear change", "too few subscribers"]
UNCLEAR: Final = "no clear change"
_Z: Final = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


def _error(differences: Group) -> float:
    """The standard error of a mean of paired differences."""
    return differences.deviation / math.sqrt(differences.count - 1)


def verdict(differences: Group, minimum: int = 1) -> Verdict:
    """Whether the mean of paired differences is clearly above or below none.

    Clear is what `words.compare` calls so: `LEAST_EFFECT` deviations (Cohen 1988, d of paired
    differences) and `LEAST_ERRORS` standard errors, of two subscribers or more. Of fewer than `minimum`
    nothing is told.

    >>> verdict(Group(3.0, 2.0, 50)), verdict(Group(-3.0, 2.0, 50)), verdict(Group(3.0, 20.0, 50))
    ('growing', 'falling', 'no clear change')
    """
    if differences.count < minimum:
        return "too few subscribers"
    if differences.count < 2 or differences.mean == 0:
        return UNCLEAR
    least = max(LEAST_EFFECT * differences.deviation, LEAST_ERRORS * _error(differences))
    if abs(differences.mean) < least:
        return UNCLEAR
    return "growing" if differences.mean > 0 else "falling"


def interval(differences: Group) -> tuple[float | None, float | None]:
    """The 95 % interval of a mean difference; None of fewer than two subscribers.

    >>> interval(Group(1.0, 0.0, 9)), interval(Group(1.0, 0.0, 1))
    ((1.0, 1.0), (None, None))
    """
    if differences.count < 2:
        return None, None
    width = _Z * _error(differences)
    return differences.mean - width, differences.mean + width
