"""The usage of all hours summed once, for every question that does not ask when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import narwhals as nw

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies.groups import amount, total
from subsight.studies.usage import UsageInputs, periods

__all__ = ["TrafficInputs", "TrafficQuestion", "prepare", "sums"]

_KEYS = (
    "subscriber_id", "subscriber_hash", "category", "service", "protocol", "exporter", "method", "confidence",
)  # fmt: skip
_SUMS = ("flow_count", "dl_bytes", "ul_bytes", "period_bytes", "previous_bytes")


@dataclass(frozen=True, kw_only=True)
class TrafficInputs(UsageInputs):
    """What the questions look at.

    Attributes:
        totals: the usage without hours: a row per subscriber, service, protocol, exporter and how it is
            known, with `flow_count, dl_bytes, ul_bytes` of all hours, and both directions of the present
            period and of the one before it (0 where that was not seen) as `period_bytes, previous_bytes`.
    """

    totals: Frame


@dataclass(frozen=True)
class TrafficQuestion:
    """A question about the traffic: its id (`traffic.name`), its words, and what answers it."""

    id: str
    text: str
    answer: Callable[[TrafficInputs], Answer]


def prepare(inputs: UsageInputs) -> TrafficInputs:
    """Sums the usage, once for all questions."""
    now, before = periods(inputs)
    whole, nothing = amount("dl_bytes") + amount("ul_bytes"), nw.lit(0.0)
    present = nw.when(now.holds()).then(whole).otherwise(nothing)
    previous = nw.when(before.holds()).then(whole).otherwise(nothing) if before else nothing
    usage = inputs.usage.with_columns(period_bytes=present, previous_bytes=previous)
    totals = usage.group_by(*_KEYS).agg(**{name: total(nw.col(name)) for name in _SUMS})
    return TrafficInputs(**vars(inputs), totals=inputs.store.keep(totals))


def sums() -> dict[str, Any]:
    """The sums of `totals` by anything, and `subscriber_count` of those who are named."""
    # Engines count null among the unique values.
    nobody = nw.col("subscriber_hash").is_null().cast(nw.Float64).max()
    return {
        **{name: nw.col(name).sum() for name in _SUMS},
        "subscriber_count": nw.col("subscriber_hash").n_unique() - nobody,
    }
