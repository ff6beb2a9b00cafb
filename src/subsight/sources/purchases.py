"""Purchases: which subscriber took which offer, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import narwhals as nw

from subsight.settings import Settings
from subsight.sources import identifiers, repeats, typed
from subsight.sources.files import InputFile
from subsight.sources.flows import Read
from subsight.sources.mapping import Mapping
from subsight.store import Frame, Store
from subsight.tables import PURCHASES

__all__ = ["noted", "read"]

_TOLD: Final = tuple(column.name for column in PURCHASES if not column.derived)
_OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


def read(store: Store, file: InputFile, mapping: Mapping, settings: Settings, key: bytes) -> Read:
    """A file's purchases by a mapping of the table `purchases`.

    Subscribers are kept as pseudonyms. A row that repeats an earlier one is rejected. Offers need be in no
    catalogue yet: it may come later.

    Raises:
        MappingError: the subscriber, the offer or the time has no column.
    """
    found = typed.parse(store, file, mapping, "purchases", settings)
    frame = identifiers.named(store, found.records, settings, key)
    old = ("purchased_at", "before the year 2000", nw.col("purchased_at") < nw.lit(_OLDEST))
    faults = [nw.when(bad).then(nw.lit(f"{name}|{why}")) for name, why, bad in (*typed.reasons(found), old)]
    judged = store.keep(frame.with_columns(fault=nw.coalesce(*faults)))
    judged = repeats.told(store, judged, "subscriber_id", _TOLD)
    return Read(typed.reading(store, found, judged), found.ragged, found.decisions)


def noted(store: Store, rows: Frame) -> dict[str, Any]:
    """The period of a batch's purchases for its manifest."""
    at = nw.col("purchased_at")
    row = store.row(rows.select(first=at.min(), last=at.max()))
    ends = {name: row[name].isoformat() if row[name] else None for name in ("first", "last")}
    return {"first_at": ends["first"], "last_at": ends["last"], "findings": []}
