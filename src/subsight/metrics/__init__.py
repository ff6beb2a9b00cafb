"""Metrics: each is one aggregate expression over a canonical table, written once, run on any engine.

`profile` runs them all in one fused aggregate: one row per subscriber.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Application, Contract
from subsight.store import Frame
from subsight.units import unit_of

__all__ = ["Metric", "catalogue", "commonest", "mean", "metric", "profile", "share", "total"]

Expression = Any
"""A Narwhals aggregate expression."""


@dataclass(frozen=True)
class Metric:
    """A number per subscriber: its name (which ends in its unit), definition, and expression.

    A name that holds `{slug}` is a family: one metric an application, `expression` takes its slug.
    `is_count` metrics are whole numbers.
    """

    name: str
    definition: str
    expression: Callable[..., Expression]
    is_count: bool = False

    @property
    def unit(self) -> str | None:
        """The unit that the name ends in."""
        return unit_of(self.name)

    @property
    def is_family(self) -> bool:
        """Whether the metric stands for one per application."""
        return "{slug}" in self.name


_CATALOGUE: Final[list[Metric]] = []


def metric(
    name: str, *, whole: bool = False
) -> Callable[[Callable[..., Expression]], Callable[..., Expression]]:
    """Enters a function into the catalogue; its docstring is the metric's definition."""

    def register(function: Callable[..., Expression]) -> Callable[..., Expression]:
        definition = " ".join((function.__doc__ or "").split())
        _CATALOGUE.append(Metric(name, definition, function, whole))
        return function

    return register


def total(column: str) -> Expression:
    """The sum of a column's observed values: exact for integers below 2^53, fast on every engine."""
    return nw.col(column).cast(nw.Float64).sum()


def mean(expression: Expression) -> Expression:
    """Sum over count of the observed values; null where there are none."""
    value = expression.cast(nw.Float64)
    count = value.count().cast(nw.Float64)
    return value.sum() / nw.when(count > 0).then(count)


def share(condition: Expression) -> Expression:
    """The share of sessions for which a condition holds (0 to 1)."""
    held = nw.when(condition).then(1.0).otherwise(0.0)
    return held.sum() / nw.len().cast(nw.Float64)


def catalogue(applications: tuple[Application, ...]) -> tuple[Metric, ...]:
    """Every metric in order, families expanded."""
    for area in ("usage", "applications", "quality", "rhythm"):
        import_module(f"subsight.metrics.{area}")  # importing an area enters its metrics
    found: list[Metric] = []
    for entry in _CATALOGUE:
        if not entry.is_family:
            found.append(entry)
            continue
        for app in applications:
            found.append(
                replace(
                    entry,
                    name=entry.name.format(slug=app.slug),
                    definition=entry.definition.format(name=app.name),
                    expression=_bound(entry.expression, app.slug),
                )
            )
    return tuple(found)


def _bound(expression: Callable[..., Expression], slug: str) -> Callable[[], Expression]:
    return lambda: expression(slug)


def profile(sessions: Frame, contract: Contract) -> Frame:
    """One row per subscriber: every metric of the catalogue, and the commonest handset.

    Sessions without a subscriber are left out. `subscriber_hash` breaks ties downstream.
    """
    known = sessions.filter(~nw.col("subscriber_id").is_null())
    metrics = catalogue(contract.applications)
    aggregated = known.group_by("subscriber_id").agg(
        nw.col("subscriber_hash").min().alias("subscriber_hash"),
        *(entry.expression().alias(entry.name) for entry in metrics),
    )
    counts = [nw.col(entry.name).cast(nw.Int64) for entry in metrics if entry.is_count]
    profiles = aggregated.with_columns(*counts)
    handsets = commonest(known, ("handset", "handset_manufacturer"))
    return profiles.join(handsets, on="subscriber_id", how="left")


def commonest(sessions: Frame, columns: tuple[str, ...]) -> Frame:
    """Per subscriber the combination of values that most sessions have, by the first column.

    Sessions where the first column is null do not vote; ties go to the smallest value. Subscribers
    with one value, nearly all, are settled by one aggregate; only the others are counted.
    """
    first = columns[0]
    known = sessions.filter(~nw.col(first).is_null()).select("subscriber_id", *columns)
    lowest = known.group_by("subscriber_id").agg(
        *(nw.col(c).min().alias(c) for c in columns), nw.col(first).max().alias("highest")
    )
    single = lowest.filter(nw.col(first) == nw.col("highest")).select("subscriber_id", *columns)
    several = lowest.filter(nw.col(first) != nw.col("highest")).select("subscriber_id")
    counted = (
        known.join(several, on="subscriber_id", how="inner")
        .group_by("subscriber_id", first)
        .agg(nw.len().alias("votes"), *(nw.col(c).min().alias(c) for c in columns[1:]))
    )
    best = counted.group_by("subscriber_id").agg(nw.col("votes").max().alias("most"))
    tied = counted.join(best, on="subscriber_id", how="inner").filter(nw.col("votes") == nw.col("most"))
    smallest = tied.group_by("subscriber_id").agg(nw.col(first).min().alias("smallest"))
    winners = tied.join(smallest, on="subscriber_id", how="inner").filter(nw.col(first) == nw.col("smallest"))
    return nw.concat([single, winners.select("subscriber_id", *columns)])
