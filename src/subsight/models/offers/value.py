"""What showing offers is worth, from what happened: of another policy than the one that ran, and of any.

Both rest on chance that was recorded: the probability with which each offer was shown, or a group that was
drawn to be shown nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subsight.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["PolicyValue", "Uplift", "snipw", "uplift"]

_Z: Final = 1.959963984540054
"""Of the normal distribution 95 % lie within so many deviations."""


@dataclass(frozen=True)
class PolicyValue:
    """What an offer shown by a policy would earn, judged by offers that another one showed.

    Attributes:
        value: purchases per shown offer, as a share; None where no row tells of the policy.
        low, high: its 95 % interval; None where there is no value, or one subscriber alone.
        effective_count: so many rows of equal weight would tell as much (Kish 1965): below `row_count` the
            more, the less alike the two policies are.
        row_count: offers shown.
        subscriber_count: subscribers they were shown to.
    """

    value: float | None
    low: float | None
    high: float | None
    effective_count: float
    row_count: int
    subscriber_count: int


@dataclass(frozen=True)
class Uplift:
    """What being shown offers changes.

    Attributes:
        treated_share: buyers among those who were shown offers; None where there are none.
        held_out_share: buyers among those who were drawn to be shown none.
        value: the first less the second: buyers more for each subscriber who is shown offers.
        low, high: its 95 % interval; the effect is clear where 0 lies outside.
    """

    treated_share: float | None
    held_out_share: float | None
    value: float | None
    low: float | None
    high: float | None


def snipw(logged: Any, target: Any, reward: Any, subscribers: Any) -> PolicyValue:
    """The value of a policy by self-normalised inverse propensity weighting (Swaminathan and Joachims 2015).

    Each shown offer weighs target / logged; the value is the weighted mean of the rewards. The interval is
    Wilson's (1927) of a share, with an effective size in place of the rows, as Korn and Graubard (1998)
    do for surveys: it stays within 0 and 1 and holds where purchases are few. The size is what the variance
    of the linearised ratio says, the rows of a subscriber taken together, but at most
    `effective_count`: that variance knows nothing of a heavy row that was not bought.

    What the policy would show and the log never could is not told by any weight: log draws that give every
    usable offer a probability above 0.

    Args:
        logged: by shown offer the probability with which it was shown, above 0 to 1.
        target: the probability with which the policy in question would have shown it, 0 to 1.
        reward: 1 where it was bought, else 0.
        subscribers: an integer code of the subscriber; rows of one are not independent.

    Raises:
        InputError: a probability or reward is out of range, or lengths differ.
    """
    logged, target, reward, codes = _checked(logged, target, reward, subscribers)
    _, codes = np.unique(codes, return_inverse=True)
    rows, people = len(logged), int(codes.max(initial=-1)) + 1
    weights: Floats = target / logged
    total = float(weights.sum())
    if not total:
        return PolicyValue(None, None, None, 0.0, rows, people)
    value = min(1.0, float(weights @ reward) / total)
    effective = total**2 / float(weights @ weights)
    if people == 1:
        return PolicyValue(value, None, None, effective, rows, people)
    influence = np.bincount(codes, weights * (reward - value), people)
    variance = float(influence @ influence) / total**2 * people / (people - 1)
    if 0 < value < 1 and variance > 0:
        size = min(effective, value * (1 - value) / variance)
    else:  # nothing varies: the rows of a subscriber may then be but one
        each = np.bincount(codes, weights, people)
        size = total**2 / float(each @ each)
    low, high = _wilson(value, size)
    return PolicyValue(value, low, high, effective, rows, people)


def uplift(treated_buyers: int, treated: int, held_out_buyers: int, held_out: int) -> Uplift:
    """Buyers among those who were shown offers, less those among subscribers who were drawn not to be.

    The interval is Newcombe's (1998, method 10), of the two shares' Wilson intervals: it holds for small
    groups and few buyers as well.

    Raises:
        InputError: there are more buyers than subscribers, or fewer than none.
    """
    for buyers, group, name in (
        (treated_buyers, treated, "were shown offers"), (held_out_buyers, held_out, "were held out"),
    ):  # fmt: skip
        if not 0 <= buyers <= group:
            raise InputError(
                f"buyers are not among the subscribers who {name}",
                found=f"{buyers:,} of {group:,}",
                expected="0 to all of them",
            )
    first = treated_buyers / treated if treated else None
    second = held_out_buyers / held_out if held_out else None
    if first is None or second is None:
        return Uplift(first, second, None, None, None)
    low_first, high_first = _wilson(first, treated)
    low_second, high_second = _wilson(second, held_out)
    value = first - second
    low = value - math.hypot(first - low_first, high_second - second)
    high = value + math.hypot(high_first - first, second - low_second)
    return Uplift(first, second, value, max(-1.0, low), min(1.0, high))


def _wilson(share: float, count: float) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927); the count may be an effective one."""
    middle = share + _Z**2 / (2 * count)
    reach = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    below = 1 + _Z**2 / count
    # Rounding leaves a share of 0 or 1 a hair inside its own interval.
    low = 0.0 if share == 0 else max(0.0, (middle - reach) / below)
    high = 1.0 if share == 1 else min(1.0, (middle + reach) / below)
    return low, high


def _checked(logged: Any, target: Any, reward: Any, subscribers: Any) -> tuple[Floats, Floats, Floats, Any]:
    logged, target, reward = (np.asarray(values, np.float64) for values in (logged, target, reward))
    codes = np.asarray(subscribers)
    sizes = {len(values) for values in (logged, target, reward, codes)}
    if len(sizes) > 1:
        raise InputError(
            "shown offers cannot be weighed", found=f"{sorted(sizes)} values", expected="one of each a row"
        )
    faults = (
        ("the logged probability", ~((logged > 0) & (logged <= 1)), "above 0, to 1"),
        ("the policy's probability", ~((target >= 0) & (target <= 1)), "0 to 1"),
        ("the reward", ~((reward == 0) | (reward == 1)), "0 or 1"),
    )
    for name, is_bad, expected in faults:
        if is_bad.any():
            raise InputError(
                f"{name} of shown offers is out of range",
                found=f"{int(is_bad.sum()):,} of {len(is_bad):,} rows",
                expected=expected,
                do="log each shown offer with the probability that it was drawn with",
            )
    return logged, target, reward, codes
