"""Offers: an operator's catalogue becomes canonical rows and rejects."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import narwhals as nw

from subsight.eligibility import conditions
from subsight.errors import InputError
from subsight.settings import Settings
from subsight.sources import repeats, typed
from subsight.sources.files import InputFile
from subsight.sources.flows import Read
from subsight.sources.mapping import Mapping
from subsight.sources.typed import Reason, Typed
from subsight.store import EPOCHS, Frame, Instant, LocalDate, Store
from subsight.tables import OFFERS

__all__ = ["read"]

_TOLD: Final = tuple(column.name for column in OFFERS)
_RIVAL: Final = "offer_id|another row of the offer differs"
_NEXT_DAY: Final = timedelta(hours=36)
"""From midnight into the next day, also where the clock is set on that day."""


def read(store: Store, file: InputFile, mapping: Mapping, settings: Settings) -> Read:
    """A file's offers by a mapping of the table `offers`.

    An end that is a date alone is the end of that day in the operator's time zone. A row that repeats an
    earlier one is rejected, and so are all rows of an offer whose rows differ: nobody can know which is
    right.

    Raises:
        MappingError: there is no column of offers.
    """
    found = typed.parse(store, file, mapping, "offers", settings)
    frame = _ended(store, found, mapping, settings)
    frame = _with_refusals(store, frame)
    faults = [nw.when(bad).then(nw.lit(f"{name}|{why}")) for name, why, bad in _reasons(found)]
    judged = store.keep(frame.with_columns(fault=nw.coalesce(*faults)))
    judged = repeats.told(store, judged, "offer_id", _TOLD, _RIVAL)
    return Read(typed.reading(store, found, judged), found.ragged, found.decisions)


def _reasons(found: Typed) -> list[Reason]:
    first, last = nw.col("valid_from"), nw.col("valid_to")
    return [
        *typed.reasons(found),
        ("valid_to", "not after valid_from", last <= first),
        ("eligibility", "not readable", nw.col("is_refused")),
    ]


def _ended(store: Store, found: Typed, mapping: Mapping, settings: Settings) -> Frame:
    """The records with ends that are no longer part of the offer: of a date alone the end of that day."""
    records = found.records
    if "valid_to" not in found.places:
        return records
    mapped = mapping["valid_to"]
    pattern = (mapped.format if mapped else None) or "iso"
    if pattern in EPOCHS:
        return records
    is_date: Any = nw.lit(value="%H" not in pattern and "%I" not in pattern)
    if pattern == "iso":
        is_date = ~nw.col("valid_to_given").str.contains(r"[0-9]:[0-9]")
    frame = records.with_columns(later=nw.col("valid_to") + _NEXT_DAY)
    frame = store.derive(frame, {"next_day": LocalDate("later", settings.time_zone)})
    frame = store.derive(frame, {"next_at": Instant("next_day", "iso", settings.time_zone)})
    end = nw.when(is_date).then(nw.col("next_at")).otherwise(nw.col("valid_to"))
    return frame.with_columns(valid_to=end).drop("later", "next_day", "next_at")


def _with_refusals(store: Store, frame: Frame) -> Frame:
    """Adds `is_refused`: whether who may have the offer cannot be read. Each distinct text is read once."""
    import pyarrow as pa

    texts = frame.filter(~nw.col("eligibility").is_null()).group_by("eligibility").agg(count=nw.len())
    refused = [row["eligibility"] for row in store.rows(texts) if not _is_readable(row["eligibility"])]
    if not refused:
        return frame.with_columns(is_refused=nw.lit(value=False))
    table = pa.table({"refused": pa.array(refused, pa.string()), "is_refused": [True] * len(refused)})
    return frame.join(store.from_arrow(table), left_on="eligibility", right_on="refused", how="left")


def _is_readable(text: str) -> bool:
    try:
        conditions(text)
    except InputError:
        return False
    return True
