"""The usage of all hours summed once, for every question that does not ask when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies import hours as by_hour
from subsight.studies.groups import amount, total
from subsight.studies.usage import UsageInputs, periods

__all__ = ["TrafficInputs", "TrafficQuestion", "prepare", "sums"]

_PARTS: Final[tuple[str, ...]] = ("category", "service", "protocol", "exporter")
_KEYS: Final[tuple[str, ...]] = ("subscriber_id", "subscriber_hash", *_PARTS, "method", "confidence")
_SUMS: Final = ("flow_count", "dl_bytes", "ul_bytes", "period_bytes", "previous_bytes")


@dataclass(frozen=True, kw_only=True)
class TrafficInputs(UsageInputs):
    """What the questions look at.

    Attributes:
        totals: the usage without hours: a row per subscriber, service, protocol, exporter and how it is
            known, with `flow_count, dl_bytes, ul_bytes` of all hours, and both directions of the present
            period and of the one before it (0 where that was not seen) as `period_bytes, previous_bytes`.
            Of a filtered answer there is no subscriber, and the most of any hour stand beside the sums.
    """

    totals: Frame

    @property
    def people(self) -> str:
        """The column that says of how many subscribers a sum is."""
        return "subscriber_count" if self.hours is None else by_hour.LEAST

    @property
    def explained(self) -> tuple[str, ...]:
        """What that column means, where it has to be explained."""
        return () if self.hours is None else (by_hour.least_note("hour, service and place"),)


@dataclass(frozen=True)
class TrafficQuestion:
    """A question about the traffic: its id (`traffic.name`), its words, what answers it, and its filters."""

    id: str
    text: str
    answer: Callable[[TrafficInputs], Answer]
    filters: frozenset[str] = frozenset()


def prepare(inputs: UsageInputs) -> TrafficInputs:
    """Sums the usage, once for all questions."""
    now, before = periods(inputs)
    whole, nothing = amount("dl_bytes") + amount("ul_bytes"), nw.lit(0.0)
    present = nw.when(now.holds()).then(whole).otherwise(nothing)
    previous = nw.when(before.holds()).then(whole).otherwise(nothing) if before else nothing
    whole_usage = inputs.usage if inputs.hours is None else inputs.hours
    usage = whole_usage.with_columns(period_bytes=present, previous_bytes=previous)
    added: dict[str, Any] = {name: total(nw.col(name)) for name in _SUMS}
    keys = _KEYS
    if inputs.hours is not None:
        keys, added = _PARTS, {**added, by_hour.LEAST: by_hour.least_of()}
    totals = usage.group_by(*keys).agg(**added)
    return TrafficInputs(**vars(inputs), totals=inputs.store.keep(totals))


def sums(inputs: TrafficInputs) -> dict[str, Any]:
    """The sums of `totals` by anything, and under `people` how many are named."""
    # Engines count null among the unique values.
    nobody = nw.col("subscriber_hash").is_null().cast(nw.Float64).max()
    named = nw.col("subscriber_hash").n_unique() - nobody
    return {
        **{name: nw.col(name).sum() for name in _SUMS},
        inputs.people: named if inputs.hours is None else by_hour.least_of(by_hour.LEAST),
    }
