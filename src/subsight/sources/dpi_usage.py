"""Usage by deep packet inspection: a file with a row a subscriber and interval becomes canonical rows."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from subsight.settings import Settings
from subsight.sources import identifiers, repeats, typed
from subsight.sources.files import InputFile
from subsight.sources.flows import Read
from subsight.sources.mapping import Mapping
from subsight.sources.typed import Typed
from subsight.store import Frame, Store
from subsight.tables import DPI_USAGE

__all__ = ["read"]

_LISTS: Final = tuple(column.name for column in DPI_USAGE if column.kind == "texts")
_NUMBERS: Final = tuple(c.name for c in DPI_USAGE if c.kind in ("integer", "float") and not c.derived)
_TOLD: Final = tuple(column.name for column in DPI_USAGE if not column.derived)
_RARE: Final = 0.001


def read(store: Store, file: InputFile, mapping: Mapping, settings: Settings, key: bytes) -> Read:
    """A file's usage by a mapping of the table `dpi_usage`.

    Lists lose nulls, empty texts and words for missing ones, which are counted; an empty list stays. A row
    that repeats an earlier one is rejected. Rows of a subscriber that differ are of several intervals: they
    stay as they are and are counted, for a reader to sum volumes and unite lists.

    Raises:
        MappingError: the file lacks the subscriber, a volume, or any list.
    """
    found = typed.parse(store, file, mapping, "dpi_usage", settings)
    if not any(name in found.places for name in _LISTS):
        typed.require(file, mapping, [" or ".join(_LISTS)])
    frame = identifiers.named(store, found.records, settings, key)
    faults = [nw.when(bad).then(nw.lit(f"{name}|{why}")) for name, why, bad in typed.reasons(found)]
    judged = store.keep(frame.with_columns(fault=nw.coalesce(*faults)))
    judged = repeats.told(store, judged, "subscriber_id", _TOLD)
    _note(store, found, judged.filter(nw.col("fault").is_null()))
    return Read(typed.reading(store, found, judged), found.ragged, found.decisions)


def _count(condition: Any) -> Any:
    return condition.cast(nw.Float64).sum()


def _note(store: Store, found: Typed, rows: Frame) -> None:
    """Counts what is missing, empty or dropped in the rows that are accepted, and subscribers told twice."""
    lists = [name for name in _LISTS if name in found.places]
    sought = {"records": nw.len()}
    for name in lists:
        length = nw.col(name).list.len()
        sought[f"empty_{name}"] = _count(length == 0)
        sought[f"dropped_{name}"] = (nw.col(f"{name}_length") - length).cast(nw.Float64).sum()
    values = [*lists, *(name for name in _NUMBERS if name in found.places)]
    for name in values:
        sought[f"missing_{name}"] = _count(nw.col(name).is_null())
    row = store.row(rows.select(**sought))
    note, records = found.decisions.note, row["records"]
    if absent := [name for name in (*_LISTS, *_NUMBERS) if name not in found.places]:
        text = f"the file has no {', '.join(absent)}: unknown for every subscriber"
        note("columns", "missing", "warning", records, text)
    for name in values:
        if missing := row[f"missing_{name}"] or 0:
            severity = "warning" if missing > _RARE * records else "note"
            note(name, "missing", severity, missing, "rows without a value: it stays unknown")
        if dropped := row.get(f"dropped_{name}") or 0:
            text = "nulls, empty texts and words for missing ones inside lists: dropped"
            note(name, "elements", "corrected", dropped, text)
        if empty := row.get(f"empty_{name}") or 0:
            note(name, "empty", "note", empty, "rows with an empty list: nothing of it was seen")
    several = rows.group_by("subscriber_id").agg(count=nw.len()).filter(nw.col("count") > 1)
    if count := store.row(several.select(count=nw.len()))["count"]:
        text = "subscribers with several rows that differ: kept, to be summed and united where they are read"
        note("subscriber_id", "several rows", "warning", count, text)
