"""Groups of subscribers from aggregates: mean, deviation and count, a whole without one of its parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.store import Frame, Store
from subsight.studies import words
from subsight.studies.words import Group

__all__ = [
    "against",
    "amount",
    "contrast",
    "first_of_each",
    "group",
    "moments",
    "percent",
    "pooled",
    "proportion",
    "total",
    "whole_share",
    "without",
]


_TIED: Final = 20
"""Rows that are read for each that is wanted, so that equal values can be told apart."""


def total(expression: Any) -> Any:
    """The sum of an integer or float expression as a float: exact below 2^53, fast on every engine."""
    return expression.cast(nw.Float64).sum()


def amount(name: str) -> Any:
    """A column as a float in which null is nothing: a volume that was not reported."""
    return nw.col(name).cast(nw.Float64).fill_null(0.0)


def first_of_each(
    store: Store, frame: Frame, columns: Sequence[str], count: int, tie: str = "subscriber_hash"
) -> dict[str, list[dict[str, Any]]]:
    """The rows with the highest values of each column; ties go to the lowest `tie`.

    Null values are left out. `tie` is unique: it says which rows are the same.
    """
    least = {name: values[-1] for name, values in store.highest(frame, columns, count).items() if values}
    rows = {row[tie]: row for row in (_at_least(store, frame, least, count, tie) if least else ())}
    found: dict[str, list[dict[str, Any]]] = {}
    for column in columns:
        known = [row for row in rows.values() if row[column] is not None]
        found[column] = sorted(known, key=lambda row: (-row[column], row[tie]))[:count]
    return found


def _at_least(
    store: Store, frame: Frame, least: Mapping[str, Any], count: int, tie: str
) -> list[dict[str, Any]]:
    """Rows as high as the last that is wanted of any column; of very many, only those that are wanted."""
    high = nw.any_horizontal(*(nw.col(name) >= value for name, value in least.items()), ignore_nulls=True)
    most = _TIED * count * len(least)
    rows = store.rows(frame.filter(high).head(most + 1))
    if len(rows) <= most:
        return rows
    # Which they are, of two columns each, and then what they hold: sorting whole rows would read all of them.
    heads = [
        frame.select(column, tie)
        .sort(column, tie, descending=[True, False], nulls_last=True)
        .head(count)
        .select(tie)
        for column in least
    ]
    first = {row[tie] for row in store.rows(nw.concat(heads))}
    return store.rows(frame.filter(nw.col(tie).is_in(sorted(first))))


def moments(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Aggregates from which `group` makes a Group, by name; null values do not count."""
    made: dict[str, Any] = {}
    for name, expression in columns.items():
        value = expression.cast(nw.Float64)
        made |= {
            f"{name}:count": value.count(),
            f"{name}:mean": value.mean(),
            f"{name}:deviation": value.std(ddof=0),
        }
    return made


def group(row: Mapping[str, Any], name: str) -> Group:
    """The Group that a row's `moments` describe; one without values counts nobody."""
    count = int(row[f"{name}:count"] or 0)
    return Group(row[f"{name}:mean"], row[f"{name}:deviation"], count) if count else Group(0.0, 0.0, 0)


def proportion(part: float, count: int) -> Group:
    """A share as the mean of ones and zeros over `count` subscribers.

    >>> proportion(25, 100)
    Group(mean=0.25, deviation=0.4330127018922193, count=100)
    """
    share = part / count if count else 0.0
    return Group(share, math.sqrt(max(share * (1 - share), 0.0)), count)


def whole_share(part: Group, minimum: int) -> float | None:
    """The mean of ones and zeros, or None where either side has fewer subscribers than may be shown.

    >>> whole_share(Group(0.1, 0.3, 100), 15), whole_share(Group(0.5, 0.5, 100), 15)
    (None, 0.5)
    """
    ones = round(part.mean * part.count)
    small = any(0 < side < minimum for side in (ones, part.count - ones))
    return None if small or not part.count else part.mean


def pooled(groups: Iterable[Group]) -> Group:
    """Several groups as one.

    >>> pooled([Group(1.0, 0.0, 1), Group(3.0, 0.0, 1)])
    Group(mean=2.0, deviation=1.0, count=2)
    """
    parts = [part for part in groups if part.count]
    count = sum(part.count for part in parts)
    if not count:
        return Group(0.0, 0.0, 0)
    mean = math.fsum(part.count * part.mean for part in parts) / count
    variance = math.fsum(p.count * (p.deviation**2 + (p.mean - mean) ** 2) for p in parts) / count
    return Group(mean, math.sqrt(variance), count)


def without(whole: Group, part: Group) -> Group:
    """The rest of a whole after one of its parts.

    >>> without(Group(2.0, 1.0, 2), Group(1.0, 0.0, 1))
    Group(mean=3.0, deviation=0.0, count=1)
    """
    count = whole.count - part.count
    if count <= 0:
        return Group(0.0, 0.0, 0)
    mean = (whole.count * whole.mean - part.count * part.mean) / count
    # Around the whole's mean, so that large means do not cancel the variance away.
    around = whole.count * whole.deviation**2 - part.count * (
        part.deviation**2 + (part.mean - whole.mean) ** 2
    )
    return Group(mean, math.sqrt(max(around / count - (mean - whole.mean) ** 2, 0.0)), count)


def contrast(verdicts: Mapping[str, str]) -> str:
    """What `words.compare` said of several measures, as one phrase.

    >>> contrast({"RTT": "higher", "throughput": "lower", "duration": "no clear difference"})
    'higher RTT; lower throughput; no clear difference in duration'
    """
    parts = []
    for side, text in (("higher", "higher "), ("lower", "lower "), ("no clear difference", None)):
        names = [name for name, verdict in verdicts.items() if verdict == side]
        if names:
            parts.append(f"{text or 'no clear difference in '}{words.listing(names)}")
    return "; ".join(parts)


def percent(share: float | None) -> str:
    """A share as a person reads it.

    >>> percent(0.125)
    '12.5 %'
    """
    return words.say(share, "a_share")


def against(verdict: str) -> str:
    """The words that follow a subject and come before what it was compared with.

    >>> against("higher"), against("no clear difference")
    ('clearly higher than', 'no clear difference from')
    """
    return "no clear difference from" if verdict == "no clear difference" else f"clearly {verdict} than"
