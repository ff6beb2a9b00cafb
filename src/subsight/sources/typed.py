"""Records read by a contract: typed values in canonical units, and why a value is refused.

For tables whose columns mean what the contract says and no more, such as offers and purchases.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Column, Contract
from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.sources import identifiers, xdr
from subsight.sources.checks import CONTROL
from subsight.sources.files import InputFile
from subsight.sources.findings import Decisions
from subsight.sources.mapping import Mapping
from subsight.store import EPOCHS, Digits, Frame, Instant, ListLength, Number, Scalar, Store, Text, Texts
from subsight.units import FACTORS, factor

__all__ = ["Reason", "Typed", "parse", "reading", "reasons"]

Reason = tuple[str, str, Any]
"""A column, what is wrong with it, and the rows of which that is so."""

_EXACT: Final = 2.0**53
_NULLS: Final[Map[str, Any]] = {
    "text": nw.String, "texts": nw.List(nw.String), "float": nw.Float64, "integer": nw.Float64,
    "instant": nw.Datetime("us", "UTC"),
}  # fmt: skip
_UNREAD: Final = {"texts": "no JSON list of texts"}
_WANTED: Final = {
    "text": "text", "texts": "lists of texts, or text that holds JSON lists", "float": "numbers",
    "integer": "numbers", "instant": "times, or text that holds them",
}  # fmt: skip


@dataclass(frozen=True)
class Typed:
    """A file's records: by contract column its value, null where none can be read.

    `NAME_given` is the text that stands there, null where none does or the file is typed as the contract
    is; `NAME_length` how many elements a list has there; `identifier` the subscriber before it is keyed.
    """

    contract: Contract
    records: Frame
    places: Map[str, int]
    ragged: list[tuple[int, str]]
    decisions: Decisions


def parse(store: Store, file: InputFile, mapping: Mapping, table: str, settings: Settings) -> Typed:
    """A file's records by a mapping of that table, computed and kept.

    Raises:
        MappingError: a required column is missing, or one holds what cannot be what it is mapped to.
    """
    mapping.require(table)
    contract, places = mapping.contract, mapping.positions(file.header)
    require(file, mapping, [c.name for c in contract if c.required and c.name not in places])
    raw = xdr.records(store, file)
    types = raw.collect_schema()
    for column in (column for column in contract if column.name in places):
        _check_type(column, mapping, types[f"c{places[column.name]}"], file)
    decisions = _decisions(contract, mapping, places)
    frame = _derived(store, raw, contract, mapping, places, settings)
    frame = frame.with_columns(**_values(contract, places, decisions))
    names = ["identifier" if c.identifier else c.name for c in contract if not c.derived]
    names += [f"{c.name}_given" for c in contract if c.name in places]
    names += [f"{c.name}_length" for c in contract if c.name in places and c.kind == "texts"]
    kept = store.keep_records(frame.select("record", *names))
    return Typed(contract, kept, places, store.ragged_lines() if file.csv else [], decisions)


def require(file: InputFile, mapping: Mapping, missing: Sequence[str]) -> None:
    """Refuses a file that lacks columns.

    Raises:
        MappingError: any are missing.
    """
    if missing:
        raise MappingError(
            f"{file.path.name} lacks columns that the mapping {mapping.name} needs: {', '.join(missing)}",
            found=", ".join(file.header[:12]) + (" ..." if len(file.header) > 12 else ""),
            expected="; ".join(f"{c.name} from {c.source!r}" for c in mapping.columns) or "columns",
            do="name the file's own columns in the mapping (see docs/mappings.md)",
        )


def _check_type(column: Column, mapping: Mapping, kind: Any, file: InputFile) -> None:
    """Refuses a typed column that can hold nothing of what it is mapped to."""
    if kind == nw.String:
        return
    mapped = mapping[column.name]
    is_epoch = mapped is not None and mapped.format in EPOCHS
    is_time = isinstance(kind, nw.Datetime) or kind == nw.Date or kind.is_integer()
    can_be = {
        "text": not kind.is_nested(),
        "texts": isinstance(kind, nw.List) and (kind.inner == nw.String or _is_signed(kind.inner)),
        "instant": is_time or (kind.is_numeric() and is_epoch),
    }
    if not can_be.get(column.kind, kind.is_numeric()):
        raise MappingError(
            f"{file.path.name} holds no {column.name} in {mapped.source if mapped else column.name!r}",
            found=str(kind),
            expected=_WANTED[column.kind],
            do="name another column in the mapping, or export this one anew",
        )


def _is_signed(kind: Any) -> bool:
    return kind in (nw.Int8, nw.Int16, nw.Int32, nw.Int64)


def _decisions(contract: Contract, mapping: Mapping, places: Map[str, int]) -> Decisions:
    decisions = Decisions()
    for column in contract:
        if column.name in places and column.unit in FACTORS:
            mapped = mapping[column.name]
            declared = mapped.unit if mapped else None
            decisions.units[column.name] = declared or column.unit or ""
            decisions.certainty[column.name] = "declared" if declared else "assumed"
    xdr.note_absent(mapping, dict(places), decisions)
    return decisions


# From text to values


def _derived(
    store: Store,
    raw: Frame,
    contract: Contract,
    mapping: Mapping,
    places: Map[str, int],
    settings: Settings,
) -> Frame:
    """The records with a typed column by contract column, in the file's units, and what stands there."""
    types = raw.collect_schema()
    texts: dict[str, Any] = {}
    scalars: dict[str, Scalar] = {}
    for column in (column for column in contract if column.name in places):
        name, source = column.name, f"c{places[column.name]}"
        if types[source].is_nested():
            texts[f"{name}_text"] = nw.lit(None).cast(nw.String)
        else:
            texts[f"{name}_text"] = identifiers.as_text(source, types[source], is_name=column.kind == "text")
        scalars[f"{name}_given"] = Text(f"{name}_text")
        if column.identifier:
            scalars["digits"] = Digits(f"{name}_text")
        elif column.kind == "texts":
            scalars |= {name: Texts(source), f"{name}_length": ListLength(source)}
        elif column.kind == "instant":
            mapped = mapping[name]
            extra = places.get(f"{name}:milliseconds")
            pattern = (mapped.format if mapped else None) or "iso"
            scalars[name] = Instant(
                source, pattern, settings.time_zone, None if extra is None else f"c{extra}"
            )
        elif column.kind != "text":
            scalars[name] = Number(source)
    return store.derive(raw.with_columns(**texts), scalars)


def _values(contract: Contract, places: Map[str, int], decisions: Decisions) -> dict[str, Any]:
    """Canonical values; numbers in canonical units, and null for a column that the file lacks."""
    values: dict[str, Any] = {}
    for column in (column for column in contract if not column.derived):
        name, unit = column.name, column.unit or ""
        if column.identifier:
            values["identifier"] = identifiers.identifier()
        elif name not in places:
            values[name] = nw.lit(None).cast(_NULLS[column.kind])
        elif column.kind == "text":
            text = nw.col(f"{name}_given")
            values[name] = identifiers.without_point(text) if unit == "identifier" else text
        elif decisions.units.get(name, unit) != unit:
            value = nw.col(name) * factor(decisions.units[name], unit)
            values[name] = value.round(0) if column.kind == "integer" else value
    return values


# From values to rows


def reasons(typed: Typed) -> list[Reason]:
    """Why a record is refused by its contract; the first that holds counts."""
    found: list[Reason] = []
    for column in (column for column in typed.contract if column.name in typed.places):
        name, value, given = column.name, nw.col(column.name), nw.col(f"{column.name}_given")
        if column.identifier:
            value = nw.col("identifier")
            found += [
                (name, "missing", given.is_null()),
                (name, "lost digits to a spreadsheet", value.is_null()),
                (name, "holds control characters", value.str.contains(CONTROL)),
            ]
        elif column.kind == "text":
            found += [(name, "missing", given.is_null())] if column.required else []
            found.append((name, "holds control characters", value.str.contains(CONTROL)))
        else:
            found.append((name, _unread(column), value.is_null() & ~given.is_null()))
        if column.kind == "instant" and column.required:
            found.append((name, "missing", value.is_null()))
        if column.kind in ("float", "integer"):
            found += _ranges(column)
    return found


def _unread(column: Column) -> str:
    return _UNREAD.get(column.kind, "not readable")


def _ranges(column: Column) -> list[Reason]:
    name, value = column.name, nw.col(column.name)
    found = [(name, f"below {column.low:g}", value < column.low)] if column.low is not None else []
    if column.kind == "integer":
        found.append((name, "not a whole number", (value - value.round(0)).abs() > 0))
        found.append((name, "above 2^53", value > _EXACT))
    return found


def reading(store: Store, typed: Typed, judged: Frame) -> xdr.Reading:
    """The contract's rows, and the rejects: records with a `fault`, `column|reason`.

    Of a reject that cannot be read it tells what stands there, never what may be a person's name.
    """
    canonical = [
        nw.col(column.name).cast(nw.Int64) if column.kind == "integer" else nw.col(column.name)
        for column in typed.contract
    ]
    shown = [
        nw.when(nw.col("fault") == f"{column.name}|{_unread(column)}").then(
            nw.concat_str(nw.lit(f"{column.name}: "), nw.col(f"{column.name}_given").str.slice(0, 40))
        )
        for column in typed.contract
        if column.name in typed.places and not column.identifier
    ]
    rows = judged.filter(nw.col("fault").is_null()).select(*canonical)
    faulty = judged.filter(~nw.col("fault").is_null())
    return xdr.Reading(rows, store.keep(faulty.select("record", "fault", found=nw.coalesce(*shown))))
