"""Leases: which subscriber had an address, or a block of its ports, and when (RADIUS, DHCP, CGNAT logs)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import narwhals as nw

from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.sources import addresses, identifiers, xdr
from subsight.sources.files import InputFile
from subsight.sources.findings import Decisions
from subsight.sources.flows import Read
from subsight.sources.mapping import Mapping
from subsight.store import Digits, Frame, Instant, Number, Scalar, Store, Text
from subsight.tables import LEASES

__all__ = ["noted", "read"]

_PORTS: Final = ("port_from", "port_to")
_OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


def read(store: Store, file: InputFile, mapping: Mapping, settings: Settings, key: bytes) -> Read:
    """A file's leases by a mapping of the table `leases`.

    Addresses and subscribers are kept as pseudonyms. Without ports a lease is of all of them; without
    an end it goes on. A lease that ends where it begins is rejected.

    Raises:
        MappingError: a required column is missing.
    """
    mapping.require("leases")
    places = mapping.positions(file.header)
    if missing := [c.name for c in LEASES if c.required and c.name not in places]:
        raise MappingError(
            f"{file.path.name} lacks columns that the mapping {mapping.name} needs: {', '.join(missing)}",
            found=", ".join(file.header[:12]),
            expected="; ".join(f"{c.name} from {c.source!r}" for c in mapping.columns) or "columns",
            do="name the file's own columns in the mapping (see docs/mappings.md)",
        )
    parsed = store.keep_records(_parsed(store, xdr.records(store, file), mapping, places, settings))
    ragged = store.ragged_lines() if file.csv else []
    decisions = Decisions()
    xdr.note_absent(mapping, places, decisions)
    known = addresses.known(store, parsed, ["address_text"], settings, key)
    named = identifiers.named(store, parsed, settings, key)
    found = known.select("text", hex=nw.col("address"), address=nw.col("address_key"))
    joined = named.join(found, left_on="address_text", right_on="text", how="left")
    judged = store.keep(joined.with_columns(fault=_fault(places)))
    rows = judged.filter(nw.col("fault").is_null()).select(
        *(nw.col(c.name).cast(nw.Int64) if c.name in _PORTS else nw.col(c.name) for c in LEASES)
    )
    rejects = judged.filter(~nw.col("fault").is_null()).select(
        "record", "fault", found=nw.lit(None).cast(nw.String)
    )
    return Read(xdr.Reading(rows, store.keep(rejects)), ragged, decisions)


def _parsed(store: Store, raw: Frame, mapping: Mapping, places: dict[str, int], settings: Settings) -> Frame:
    texts = {f"{name}_text": nw.col(f"c{place}").cast(nw.String) for name, place in places.items()}
    scalars: dict[str, Scalar] = {f"{name}_given": Text(f"{name}_text") for name in places}
    scalars["digits"] = Digits("subscriber_id_text")
    for name in ("from_at", "to_at"):
        if name in places:
            column = mapping[name]
            scalars[name] = Instant(
                f"c{places[name]}", (column and column.format) or "iso", settings.time_zone
            )
    scalars |= {name: Number(f"c{places[name]}") for name in _PORTS if name in places}
    frame = store.derive(raw.with_columns(**texts), scalars)
    columns: dict[str, Any] = {
        "identifier": identifiers.identifier(),
        "address_text": nw.col("address_given"),
    }
    columns |= {n: nw.lit(None).cast(nw.Float64) for n in _PORTS if n not in places}
    if "to_at" not in places:
        columns["to_at"] = nw.lit(None).cast(nw.Datetime("us", "UTC"))
    frame = frame.with_columns(**columns)
    given = [f"{name}_given" for name in places]
    return frame.select("record", "identifier", "address_text", "from_at", "to_at", *_PORTS, *given)


def _fault(places: dict[str, int]) -> Any:
    """Why a lease is rejected, `column|reason`, or null; the first that holds."""
    low, high = nw.col("port_from"), nw.col("port_to")
    reasons: list[tuple[str, str, Any]] = [
        ("address", "missing", nw.col("address_text").is_null()),
        ("address", "not readable", nw.col("hex").is_null()),
        ("subscriber_id", "missing", nw.col("subscriber_id_given").is_null()),
        ("subscriber_id", "lost digits to a spreadsheet", nw.col("identifier").is_null()),
    ]
    for name in ("from_at", "to_at", *_PORTS):
        if name in places:
            unread = nw.col(name).is_null() & ~nw.col(f"{name}_given").is_null()
            reasons.append((name, "not readable", unread))
    reasons += [
        ("from_at", "missing", nw.col("from_at").is_null()),
        ("from_at", "before the year 2000", nw.col("from_at") < nw.lit(_OLDEST)),
        ("to_at", "not after from_at", nw.col("to_at") <= nw.col("from_at")),
        ("port_from", "one end of a block only", low.is_null() != high.is_null()),
        ("port_from", "below 0", low < 0),
        ("port_to", "above 65,535", high > 65_535),
        ("port_to", "below port_from", high < low),
    ]
    return nw.coalesce(*(nw.when(bad).then(nw.lit(f"{name}|{why}")) for name, why, bad in reasons))


def noted(store: Store, rows: Frame) -> dict[str, Any]:
    """The period of a batch's leases for its manifest; one that goes on has no end."""
    row = store.row(
        rows.select(
            first=nw.col("from_at").min(),
            last=nw.col("to_at").max(),
            open=nw.col("to_at").is_null().cast(nw.Float64).sum(),
        )
    )
    ends = None if row["open"] or row["last"] is None else row["last"].isoformat()
    return {"first_at": row["first"].isoformat() if row["first"] else None, "last_at": ends, "findings": []}
