"""What the studies of usage by hour look at, and the periods that they compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import narwhals as nw

from subsight.settings import Settings
from subsight.store import Frame, Store

__all__ = ["Period", "UsageInputs", "periods"]


@dataclass(frozen=True)
class Period:
    """Local dates from `first` to `last`, both part of it."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many dates it has."""
        return (self.last - self.first).days + 1

    def holds(self, name: str = "local_date") -> Any:
        """Whether a date column lies in the period, as an expression."""
        return (nw.col(name) >= nw.lit(self.first)) & (nw.col(name) <= nw.lit(self.last))

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(frozen=True)
class UsageInputs:
    """What a study of usage by hour may look at.

    Attributes:
        usage: rows of the contract `USAGE`, several for one subscriber, hour and service where flows of
            one hour came in several inputs; `subscriber_id` is null where nobody could be named.
        unknown_ports: `subscriber_id, protocol, service_port, flow_count, total_bytes` of flows whose
            service is unknown.
        covered: the local dates from the first to the last that any usage was seen on.
        as_of: the local date that recency is counted from.
        segments: `subscriber_id, segment_name`, or None where nobody was divided.
        hours: instead of usage, where an answer is filtered: rows by local date and hour, category, service,
            protocol and exporter, with `flow_count, subscriber_count, dl_bytes, ul_bytes`.
        observed: the first and the last hour of the period, where an answer is filtered: flows of a part may
            begin later and end earlier.
        quality: counts of what was read, as the run keeps them.
    """

    store: Store
    usage: Frame
    unknown_ports: Frame
    covered: Period
    as_of: date
    settings: Settings
    quality: Mapping[str, Any]
    segments: Frame | None = None
    hours: Frame | None = None
    observed: tuple[datetime, datetime] | None = None


def periods(inputs: UsageInputs) -> tuple[Period, Period | None]:
    """The last `period_days` up to the as-of date, and as many before; None where those were not all seen.

    Of fewer days than one period, the present one is all of them.
    """
    length = timedelta(days=inputs.settings.period_days - 1)
    last = min(inputs.as_of, inputs.covered.last)
    now = Period(max(last - length, inputs.covered.first), last)
    end = now.first - timedelta(days=1)
    before = Period(end - length, end)
    is_seen = before.first >= inputs.covered.first and now.days == inputs.settings.period_days
    return now, before if is_seen else None
