"""Flow records: a file becomes canonical flows and rejects.

Each distinct address is read once; the records are judged and written in one pass, as there may be
many millions of them.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import narwhals as nw

from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.sources import addresses, xdr
from subsight.sources.files import InputFile
from subsight.sources.findings import Decisions
from subsight.sources.mapping import Mapping
from subsight.store import Frame, Instant, Number, Scalar, Store, Text
from subsight.tables import FLOWS
from subsight.units import factor

__all__ = ["PROTOCOLS", "Read", "noted", "read"]

PROTOCOLS: Final[Map[str, int]] = {
    "hopopt": 0, "icmp": 1, "igmp": 2, "ipv4": 4, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33,
    "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "icmp6": 58,
    "eigrp": 88, "ospf": 89, "ospfigp": 89, "pim": 103, "vrrp": 112, "pgm": 113, "l2tp": 115, "sctp": 132,
    "udplite": 136,
}  # fmt: skip
"""Names of protocols above IP as tools write them, with IANA's numbers."""

_INSTANTS: Final = ("first_seen_at", "last_seen_at")
_ADDRESSES: Final = ("src_address", "dst_address")
_TEXTS: Final = ("exporter", "application", "application_category", "application_method")
_VOLUMES: Final = ("src_to_dst_bytes", "dst_to_src_bytes", "src_to_dst_packets", "dst_to_src_packets")
_NUMBERS: Final = ("src_port", "dst_port", "protocol", *_VOLUMES, "sampling_rate")
_OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EXACT: Final = 2.0**53
_MOST_NAMES: Final = 100
"""Ways in which protocols are named: each is one more branch of an expression, which must not grow deep."""
_LEAST_PACKET: Final = 20
"""Bytes of the shortest IP header: no packet is smaller."""


@dataclass(frozen=True)
class Read:
    """A file read: its rows and rejects, lines that are in neither, and what was decided about it."""

    reading: xdr.Reading
    ragged: list[tuple[int, str]]
    decisions: Decisions


def read(store: Store, file: InputFile, mapping: Mapping, settings: Settings, key: bytes) -> Read:
    """A file's flows by a mapping of the table `flows`.

    Volumes are multiplied by the sampling rate, which is kept. A customer's address (one in
    `customer_networks`) is replaced by its pseudonym, which is the flow's subscriber; of two customers
    it is the sender. A missing last packet, port or volume back stays null.

    Raises:
        MappingError: a required column is missing.
        ConfigurationError: a customer network is none.
    """
    mapping.require("flows")
    places = mapping.positions(file.header)
    _require(mapping, places, file)
    parsed = _parsed(store, xdr.records(store, file), mapping, places, settings)
    if file.csv:  # parsing text twice would cost more than keeping what it says
        parsed = store.keep_records(parsed)
    ragged = store.ragged_lines() if file.csv else []
    known = addresses.known(store, parsed, _ADDRESSES, settings, key)
    decisions = _decisions(mapping, places)
    volumes = _volumes(places, decisions)
    frame = parsed.with_columns(**volumes)
    unread = known.filter(nw.col("address").is_null())
    is_readable = not store.row(unread.select(count=nw.len()))["count"]
    judged = frame.with_columns(fault=_fault(places, datetime.now(UTC) + timedelta(days=1)))
    rejects = judged
    joined = _with_addresses(judged, known)
    if not is_readable:
        rejects = joined = _with_address_faults(joined)
    rows = joined.filter(nw.col("fault").is_null()).select(*_canonical())
    found = rejects.filter(~nw.col("fault").is_null()).select("record", "fault", found=_found(places))
    count = store.row(parsed.select(count=nw.len()))["count"]
    return Read(xdr.Reading(rows, found, count), ragged, decisions)


def _require(mapping: Mapping, places: dict[str, int], file: InputFile) -> None:
    if missing := [c.name for c in FLOWS if c.required and c.name not in places]:
        raise MappingError(
            f"{file.path.name} lacks columns that the mapping {mapping.name} needs: {', '.join(missing)}",
            found=", ".join(file.header[:12]) + (" ..." if len(file.header) > 12 else ""),
            expected="; ".join(f"{c.name} from {c.source!r}" for c in mapping.columns) or "columns",
            do="name the file's own columns in the mapping (see docs/mappings.md)",
        )


def _decisions(mapping: Mapping, places: dict[str, int]) -> Decisions:
    decisions = Decisions()
    for column in mapping.columns:
        if column.name in places and column.name.endswith("_bytes"):
            decisions.units[column.name] = column.unit or "bytes"
            decisions.certainty[column.name] = "declared" if column.unit else "assumed"
    xdr.note_absent(mapping, places, decisions)
    return decisions


# From text to values


def _parsed(store: Store, raw: Frame, mapping: Mapping, places: dict[str, int], settings: Settings) -> Frame:
    """The records with typed values, null where nothing can be read, and `NAME_given` texts beside them."""
    types = raw.collect_schema()
    is_text = {name: types[f"c{place}"] == nw.String for name, place in places.items() if name in FLOWS}
    scalars: dict[str, Scalar] = {}
    for name in is_text:
        source = f"c{places[name]}"
        if name in _INSTANTS:
            column = mapping[name]
            scalars[name] = Instant(source, (column and column.format) or "iso", settings.time_zone)
        elif name in _NUMBERS:
            is_named = name == "protocol" and is_text[name]
            scalars["protocol_number" if is_named else name] = Number(source)
        elif name in _TEXTS and is_text[name]:
            scalars[name] = Text(source, xdr.UNKNOWN)
    for name in is_text:
        if is_text[name] and name not in (*_TEXTS, *_ADDRESSES):
            scalars[f"{name}_given"] = Text(f"c{places[name]}")
    frame = store.derive(raw, scalars)
    columns: dict[str, Any] = {}
    for name in is_text:
        if name in _ADDRESSES or (name in _TEXTS and not is_text[name]):
            columns[name] = nw.col(f"c{places[name]}").cast(nw.String)
        if not is_text[name] and name not in _ADDRESSES:
            columns[f"{name}_given"] = nw.lit(None).cast(nw.String)
    if is_text["protocol"]:
        columns["protocol"] = _protocol(store, frame)
    kept = [n for n in is_text if n not in (*_TEXTS, *_ADDRESSES)]
    absent = {n: nw.lit(None).cast(nw.Float64) for n in _NUMBERS if n not in is_text}
    absent |= {n: nw.lit(None).cast(nw.String) for n in _TEXTS if n not in is_text}
    absent |= {n: nw.lit(None).cast(nw.Datetime("us", "UTC")) for n in _INSTANTS if n not in is_text}
    frame = frame.with_columns(**columns, **absent)
    return frame.select("record", *_INSTANTS, *_ADDRESSES, *_NUMBERS, *_TEXTS, *(f"{n}_given" for n in kept))


def _protocol(store: Store, frame: Frame) -> Any:
    """The number of a protocol that is written as a number, or as one of the few names that occur."""
    number = nw.col("protocol_number")
    names = frame.filter(number.is_null()).group_by("protocol_given").agg(count=nw.len())
    value: Any = nw.when(number == number.round(0)).then(number)
    for row in store.rows(names.sort("count", descending=True).head(_MOST_NAMES).select("protocol_given")):
        known = PROTOCOLS.get((row["protocol_given"] or "").lower())
        if known is not None:
            is_it = nw.col("protocol_given") == row["protocol_given"]
            value = nw.when(is_it).then(nw.lit(float(known))).otherwise(value)
    return value


# From values to rows


def _volumes(places: dict[str, int], decisions: Decisions) -> dict[str, Any]:
    """Volumes in canonical units and times the sampling rate: what the network is estimated to carry."""
    rate = nw.when(nw.col("sampling_rate") >= 1).then(nw.col("sampling_rate")).otherwise(nw.lit(1.0))
    columns: dict[str, Any] = {}
    for name in _VOLUMES:
        if name not in places:
            continue
        unit = decisions.units.get(name, "bytes")
        value = nw.col(name) if unit == "bytes" else (nw.col(name) * factor(unit, "bytes")).round(0)
        columns[name] = value * rate if "sampling_rate" in places else value
    return columns


def _with_addresses(frame: Frame, known: Frame) -> Frame:
    for side in ("src", "dst"):
        found = known.select(
            **{f"{side}_text": nw.col("text"), f"{side}_hex": nw.col("address"),
               f"{side}_is_missing": nw.col("is_missing"),
               f"{side}_is_customer": nw.col("is_customer"), f"{side}_key": nw.col("address_key"),
               f"{side}_hash": nw.col("address_hash")}
        )  # fmt: skip
        frame = frame.join(found, left_on=f"{side}_address", right_on=f"{side}_text", how="left")
    return frame


def _with_address_faults(joined: Frame) -> Frame:
    """Adds the fault of an address that is none: the only one that the addresses' table must tell."""
    faults = []
    for side in ("src", "dst"):
        why = nw.when(nw.col(f"{side}_is_missing")).then(nw.lit(f"{side}_address|missing"))
        told = why.otherwise(nw.lit(f"{side}_address|not readable"))
        is_none = nw.col(f"{side}_hex").is_null() & ~nw.col(f"{side}_address").is_null()
        faults.append(nw.when(is_none).then(told))
    return joined.with_columns(fault=nw.coalesce(nw.col("fault"), *faults))


def _canonical() -> list[Any]:
    """The contract's columns of rows that are joined with their addresses."""
    is_src, is_dst = nw.col("src_is_customer"), nw.col("dst_is_customer")

    def of_customer(name: str) -> Any:
        chosen = nw.when(is_src).then(nw.col(f"src_{name}"))
        return chosen.otherwise(nw.when(is_dst).then(nw.col(f"dst_{name}")))

    def side() -> Any:
        other = nw.when(is_dst).then(nw.lit("dst"))
        one = nw.when(is_src).then(nw.lit("src")).otherwise(other)
        return nw.when(is_src & is_dst).then(nw.lit("both")).otherwise(one)

    made = {
        "subscriber_id": of_customer("key"),
        "customer_side": side(),
        "subscriber_hash": of_customer("hash"),
        "src_address": nw.when(is_src).then(nw.col("src_key")).otherwise(nw.col("src_hex")),
        "dst_address": nw.when(is_dst).then(nw.col("dst_key")).otherwise(nw.col("dst_hex")),
        **{name: nw.col(name).cast(nw.Int64) for name in _NUMBERS},
        "record": nw.col("record").cast(nw.Int64),
    }
    return [made.get(column.name, nw.col(column.name)).alias(column.name) for column in FLOWS]


def _fault(places: dict[str, int], latest: datetime) -> Any:
    """Why a record is rejected, `column|reason`, or null; the first that holds. Addresses are told apart."""
    first, last = nw.col("first_seen_at"), nw.col("last_seen_at")
    reasons: list[tuple[str, str, Any]] = []

    def unread(name: str) -> Any:
        return nw.col(name).is_null() & ~nw.col(f"{name}_given").is_null()

    for name in (n for n in (*_INSTANTS, *_NUMBERS) if n in places):
        reasons.append((name, "not readable", unread(name)))
    reasons += [(c.name, "missing", nw.col(c.name).is_null()) for c in FLOWS if c.required]
    reasons += [
        ("first_seen_at", "before the year 2000", first < nw.lit(_OLDEST)),
        ("first_seen_at", "in the future", first > nw.lit(latest)),
        ("last_seen_at", "before first_seen_at", last < first),
        ("last_seen_at", "in the future", last > nw.lit(latest)),
    ]
    for name in (n for n in _NUMBERS if n in places):
        column, value = FLOWS[name], nw.col(name)
        low = column.low or 0
        reasons.append((name, f"below {low:g}", value < low))
        if column.high is None:
            reasons.append((name, "above 2^53: a counter that wrapped or is damaged", value > _EXACT))
        else:
            reasons.append((name, f"above {column.high:,.0f}", value > column.high))
    first_of = nw.coalesce(*(nw.when(bad).then(nw.lit(f"{name}|{why}")) for name, why, bad in reasons))
    # Nearly all records have none, and it costs less to see that than to make a text for each reason.
    is_any = nw.any_horizontal(*(bad for _, _, bad in reasons), ignore_nulls=True)
    return nw.when(is_any).then(first_of)


def _found(places: dict[str, int]) -> Any:
    """What stands where a time or a number should; never an address."""
    shown = [
        nw.when(nw.col("fault") == f"{name}|not readable").then(
            nw.concat_str(nw.lit(f"{name}: "), nw.col(f"{name}_given").str.slice(0, 40))
        )
        for name in (*_INSTANTS, *_NUMBERS)
        if name in places
    ]
    return nw.coalesce(*shown)


# What the rows say, once they are written


def noted(store: Store, rows: Frame) -> dict[str, Any]:
    """Counts and the period of a batch's rows for its manifest, and `findings` about them."""

    def count(condition: Any) -> Any:
        return condition.cast(nw.Float64).sum()

    side = nw.col("customer_side")
    light = nw.any_horizontal(
        *(
            nw.col(f"{d}_bytes") < _LEAST_PACKET * nw.col(f"{d}_packets")
            for d in ("src_to_dst", "dst_to_src")
        ),
        ignore_nulls=True,
    )
    row = store.row(
        rows.select(
            first=nw.col("first_seen_at").min(),
            last=nw.col("first_seen_at").max(),
            unnamed=count(side.is_null()),
            both=count(side == "both"),
            sampled=count(nw.col("sampling_rate") > 1),
            one_way=count(nw.col("dst_to_src_bytes").is_null()),
            light=count(light),
            labelled=count(~nw.col("application").is_null()),
        )
    )
    counts = {name: int(row[name] or 0) for name in ("unnamed", "both", "sampled", "one_way", "light")}
    decisions = Decisions()
    said = {
        "both": ("subscriber_id", "two customers", "note", "flows of two customers count as the sender's"),
        "sampled": ("src_to_dst_bytes", "sampling", "note", "volumes are estimates: times the sampling rate"),
        "one_way": ("dst_to_src_bytes", "direction", "note", "records tell one direction of a flow"),
        "light": ("src_to_dst_bytes", "size", "warning", "below 20 bytes a packet, which no packet has"),
        "unnamed": ("subscriber_id", "no customer", "note", "neither address lies in customer_networks"),
    }  # fmt: skip
    for name, (column, check, severity, text) in said.items():
        if counts[name]:
            decisions.note(column, check, severity, counts[name], text)
    return {
        "first_at": row["first"].isoformat() if row["first"] else None,
        "last_at": row["last"].isoformat() if row["last"] else None,
        "labelled_count": int(row["labelled"] or 0),
        "findings": [finding.to_json() for finding in decisions.findings],
    }
