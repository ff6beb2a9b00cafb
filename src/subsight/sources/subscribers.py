"""Subscriber tables: a file with one row a subscriber becomes canonical rows and rejects.

The values are parsed once and kept; checks say what they mean; then one projection yields the rows and
the rejects with their reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.sources import identifiers, repeats, subscriber_checks, xdr
from subsight.sources.checks import CONTROL, Decisions
from subsight.sources.files import InputFile
from subsight.sources.mapping import Mapping
from subsight.sources.subscriber_checks import FLAGS, NUMBERS, ROUNDED, TEXTS
from subsight.store import Digits, Frame, Number, Scalar, Store, Text
from subsight.tables import SUBSCRIBERS
from subsight.units import factor

__all__ = ["Read", "read"]

_TRUE: Final = r"(?i)^(?:1(?:\.0+)?|true|yes)$"
_FALSE: Final = r"(?i)^(?:0(?:\.0+)?|false|no)$"
_EXACT: Final = 2.0**53
_TOLD: Final = [column.name for column in SUBSCRIBERS if not column.derived]
_RIVAL: Final = "subscriber_id|another row of the subscriber differs"
_TYPES: Final[dict[str, Any]] = {"text": nw.String, "float": nw.Float64, "boolean": nw.Boolean}


@dataclass(frozen=True)
class Read:
    """A file read: its rows and rejects, lines that are in neither, and what its values say."""

    reading: xdr.Reading
    ragged: list[tuple[int, str]]
    decisions: Decisions


def read(
    store: Store, file: InputFile, mapping: Mapping, settings: Settings, key: bytes, *, is_given: bool = True
) -> Read:
    """A file's subscribers, by a mapping of the table `subscribers`.

    A missing value stays null. A row that repeats an earlier one is rejected, and so are all rows of a
    subscriber whose rows differ: nobody can know which is right. `is_given` says that a person named
    the mapping, whose word then stands where the values make a unit unlikely.

    Raises:
        MappingError: the file has no identifier or nothing beside it, or a unit contradicts the values.
    """
    mapping.require("subscribers")
    places = mapping.positions(file.header)
    _require(mapping, places, file)
    parsed = store.keep_records(_parsed(store, xdr.records(store, file), places))
    ragged = store.ragged_lines() if file.csv else []
    decisions = subscriber_checks.decide(store, parsed, mapping, frozenset(places), is_given=is_given)
    xdr.note_absent(mapping, places, decisions)
    for refusal in decisions.refusals:
        raise refusal
    frame = identifiers.named(store, _canonical(parsed, places, decisions), settings, key)
    judged = store.keep(frame.with_columns(fault=_fault(places, decisions)))
    judged = repeats.told(store, judged, "subscriber_id", _TOLD, _RIVAL)
    rows = judged.filter(nw.col("fault").is_null()).select(*(column.name for column in SUBSCRIBERS))
    rejects = judged.filter(~nw.col("fault").is_null()).select("record", "fault", found=_found(places))
    return Read(xdr.Reading(rows, store.keep(rejects)), ragged, decisions)


def _require(mapping: Mapping, places: dict[str, int], file: InputFile) -> None:
    missing = [] if "subscriber_id" in places else ["subscriber_id"]
    missing += [] if set(places) - {"subscriber_id"} else ["a column beside it"]
    if missing:
        raise MappingError(
            f"{file.path.name} lacks columns that the mapping {mapping.name} needs: {', '.join(missing)}",
            found=", ".join(file.header[:12]) + (" ..." if len(file.header) > 12 else ""),
            expected="; ".join(f"{c.name} from {c.source!r}" for c in mapping.columns) or "columns",
            do="name the file's own columns in the mapping (see docs/mappings.md)",
        )


# From text to values


def _parsed(store: Store, raw: Frame, places: dict[str, int]) -> Frame:
    """The records with typed values in the source's units, null where nothing can be read.

    `NAME_given` is the text that stands there, null where none does.
    """
    types = raw.collect_schema()
    texts = {
        f"{name}_text": identifiers.as_text(f"c{place}", types[f"c{place}"], is_name=name == "subscriber_id")
        for name, place in places.items()
    }
    given: dict[str, Scalar] = {
        f"{name}_given": Text(f"{name}_text", xdr.UNKNOWN if name in TEXTS else ()) for name in places
    }
    given |= {name: Number(f"c{places[name]}") for name in NUMBERS if name in places}
    given["digits"] = Digits("subscriber_id_text")
    frame = store.derive(raw.with_columns(**texts), given)
    columns: dict[str, Any] = {"identifier": identifiers.identifier()}
    for name in places:
        text = nw.col(f"{name}_given")
        if name in TEXTS:
            columns[name] = identifiers.without_point(text)
        elif name in FLAGS:
            columns[name] = nw.when(text.str.contains(_TRUE)).then(nw.lit(value=True)).otherwise(
                nw.when(text.str.contains(_FALSE)).then(nw.lit(value=False))
            )  # fmt: skip
        elif types[f"c{places[name]}"].is_float():
            # Where the file itself says number, what is no good one stands there as such: NaN, a name of 2.5.
            columns[f"{name}_given"] = nw.col(f"c{places[name]}").cast(nw.String)
    kept = ["record", "identifier", *places, *(f"{name}_given" for name in places)]
    return frame.with_columns(**columns).select(*(name for name in kept if name != "subscriber_id"))


# From values to rows


def _canonical(parsed: Frame, places: dict[str, int], decisions: Decisions) -> Frame:
    """The values in canonical units; a column that the file lacks is null."""
    columns: dict[str, Any] = {}
    for column in SUBSCRIBERS:
        value = nw.col(column.name)
        if column.identifier or column.derived:
            continue
        if column.name not in places:
            columns[column.name] = nw.lit(None).cast(_TYPES[column.kind])
        elif column.name in NUMBERS:
            columns[column.name] = value * factor(decisions.units[column.name], column.unit or "")
        elif column.name in decisions.garbled:
            columns[column.name] = nw.when(~value.str.contains(CONTROL)).then(value)
    return parsed.with_columns(**columns)


def _fault(places: dict[str, int], decisions: Decisions) -> Any:
    """Why a row is rejected, `column|reason`, or null; the first that holds."""
    name = nw.col("identifier")
    reasons: list[tuple[str, str, Any]] = [
        ("subscriber_id", "missing", nw.col("subscriber_id_given").is_null()),
        ("subscriber_id", "lost digits to a spreadsheet", name.is_null()),
        ("subscriber_id", "holds control characters", name.str.contains(CONTROL)),
    ]
    if "subscriber_id" in decisions.lossy:
        reasons.append(("subscriber_id", "lost digits to a spreadsheet", name.str.contains(ROUNDED)))
    for flag in FLAGS:
        if flag in places:
            unread = nw.col(flag).is_null() & ~nw.col(f"{flag}_given").is_null()
            reasons.append((flag, "neither yes nor no", unread))
    for number in NUMBERS:
        if number not in places:
            continue
        column, value = SUBSCRIBERS[number], nw.col(number)
        reasons.append((number, "not readable", value.is_null() & ~nw.col(f"{number}_given").is_null()))
        reasons.append((number, "below 0", value < 0))
        if column.high is None:
            reasons.append((number, "above 2^53", value > _EXACT))
        else:
            reasons.append((number, f"above {column.high:g}", value > column.high))
    return nw.coalesce(*(nw.when(bad).then(nw.lit(f"{where}|{why}")) for where, why, bad in reasons))


def _found(places: dict[str, int]) -> Any:
    """What stands there where it is a number or a flag: never what may be a person's name."""
    shown = [
        nw.when(nw.col("fault") == f"{name}|{why}").then(
            nw.concat_str(nw.lit(f"{name}: "), nw.col(f"{name}_given").str.slice(0, 40))
        )
        for names, why in ((NUMBERS, "not readable"), (FLAGS, "neither yes nor no"))
        for name in names
        if name in places
    ]
    return nw.coalesce(*shown) if shown else nw.lit(None).cast(nw.String)
