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
from subsight.store import Frame, Store
from subsight.units import unit_of

__all__ = ["Metric", "catalogue", "mean", "metric", "profile", "share", "total"]

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


def profile(store: Store, sessions: Frame, contract: Contract) -> Frame:
    """One row per subscriber: every metric of the catalogue, and the commonest handset.

    Sessions without a subscriber are left out. The commonest handset is the one that most sessions
    have, ties to the smallest name, null where none is known; `subscriber_hash` breaks ties
    downstream. The frame is kept by the store.
    """
    known = sessions.filter(~nw.col("subscriber_id").is_null())
    metrics = catalogue(contract.applications)
    handset = nw.col("handset")
    aggregated = known.group_by("subscriber_id").agg(
        nw.col("subscriber_hash").min().alias("subscriber_hash"),
        *(entry.expression().alias(entry.name) for entry in metrics),
        handset.min().alias("handset"),
        handset.max().alias("handset_highest"),
        nw.col("handset_manufacturer").min().alias("handset_manufacturer"),
    )
    counts = [nw.col(entry.name).cast(nw.Int64) for entry in metrics if entry.is_count]
    profiles = store.keep(aggregated.with_columns(*counts))
    several = profiles.filter(handset != nw.col("handset_highest")).select("subscriber_id")
    winners = _commonest_handset(known, several)
    joined = profiles.join(winners, on="subscriber_id", how="left")
    return store.keep(
        joined.with_columns(
            handset=nw.coalesce(nw.col("winner"), handset),
            handset_manufacturer=nw.coalesce(nw.col("winner_maker"), nw.col("handset_manufacturer")),
        ).drop("winner", "winner_maker", "handset_highest")
    )


def _commonest_handset(sessions: Frame, several: Frame) -> Frame:
    """The commonest handset of the few subscribers that have more than one; only they are counted."""
    known = sessions.filter(~nw.col("handset").is_null())
    counted = (
        known.select("subscriber_id", "handset", "handset_manufacturer")
        .join(several, on="subscriber_id", how="inner")
        .group_by("subscriber_id", "handset")
        .agg(nw.len().alias("votes"), nw.col("handset_manufacturer").min().alias("winner_maker"))
        .with_columns(fewest=-nw.col("votes"), one=nw.lit(1.0))
    )
    place = nw.col("one").cum_sum().over("subscriber_id", order_by=["fewest", "handset"])
    first = counted.with_columns(place=place).filter(nw.col("place") == 1)
    return first.select("subscriber_id", "winner_maker", winner=nw.col("handset"))
