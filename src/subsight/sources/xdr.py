"""xDR extracts (data session records): a file becomes canonical sessions and rejects.

The file is parsed once, as text, into typed columns; checks decide how they are to be read; then
one projection yields the canonical rows and the rejects with their reasons.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Column, Contract
from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.sources.checks import CONTROL, SPREADSHEET, Decisions, decide
from subsight.sources.files import InputFile
from subsight.sources.mapping import MappedColumn, Mapping
from subsight.store import (
    MISSING_WORDS,
    SWALLOWED,
    Digits,
    Frame,
    Instant,
    LocalDate,
    LocalHour,
    Number,
    OrderHash,
    Pseudonym,
    RecordHash,
    Scalar,
    Seconds,
    Store,
    Text,
)
from subsight.units import factor

__all__ = [
    "UNKNOWN",
    "Parsed",
    "Reading",
    "msisdn",
    "note_absent",
    "parse",
    "parse_leniently",
    "read",
    "records",
    "reject_reasons",
]

UNKNOWN: Final = ("undefined", "unknown", "unk", "not available")
"""What vendors write for a handset, a cell or a category that they do not know."""
_MISSING: Final = "(?i)^\\s*(?:" + "|".join(re.escape(word) for word in MISSING_WORDS) + ")\\s*$"
_LARGEST: Final = 2.0**53
_RAGGED: Final[dict[str, Callable[[str], bool]]] = {
    "another number of fields": lambda fault: "unicode" not in fault.lower() and fault != SWALLOWED,
    "not in the file's encoding": lambda fault: "unicode" in fault.lower(),
    SWALLOWED: lambda fault: fault == SWALLOWED,
}
"""What the engines say of a line that they left out."""
_TYPES: Final[dict[str, Any]] = {
    "text": nw.String, "float": nw.Float64, "integer": nw.Int64, "date": nw.Date, "boolean": nw.Boolean,
    "instant": nw.Datetime("us", "UTC"), "texts": nw.List(nw.String),
}  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    """A file's records with typed values in the source's units, and what the checks decided."""

    records: Frame
    ragged: list[tuple[int, str]]
    mapped: frozenset[str]
    decisions: Decisions


@dataclass(frozen=True)
class Reading:
    """Canonical rows and the rejected records: `record`, `fault` (`column|reason`), `found`.

    With `count`, how many records are one or the other, `rejects` is yet to be computed: not at all where
    the rows are as many.
    """

    rows: Frame
    rejects: Frame
    count: int | None = None


def parse(store: Store, file: InputFile, mapping: Mapping, settings: Settings) -> Parsed:
    """A file's records, typed, with the checks' decisions about them.

    Raises:
        MappingError: a required column is missing, or a unit contradicts the data.
        InputError: the file cannot be read.
    """
    parsed = parse_leniently(store, file, mapping, settings)
    for refusal in parsed.decisions.refusals:
        raise refusal
    return parsed


def parse_leniently(store: Store, file: InputFile, mapping: Mapping, settings: Settings) -> Parsed:
    """As `parse`, with contradictions left in the decisions' `refusals`: for a reader, not for ingest."""
    mapping.require("sessions")
    places = mapping.positions(file.header)
    _require(mapping, places, file)
    contract = mapping.contract
    raw = _as_text(records(store, file), contract, places)
    types = raw.collect_schema()
    scalars: dict[str, Scalar] = {}
    given: dict[str, Any] = {}
    unparsed: list[Any] = []
    for mapped in mapping.columns:
        if mapped.name not in places:
            continue
        column, source = contract[mapped.name], f"c{places[mapped.name]}"
        scalars[column.name] = scalar = _scalar(column, mapped, places, settings)
        if column.identifier:
            scalars[f"{column.name}_given"] = Text(source)
            given[f"{column.name}_given"] = ~nw.col(f"{column.name}_given").is_null()
        elif isinstance(scalar, Number | Instant) and types[source] == nw.String:
            unparsed.append(_unparsed(column.name, source))
    fields = tuple(f"c{i}" for i in sorted(set(places.values())))
    scalars["record_hash"] = RecordHash(fields)
    found = nw.coalesce(*unparsed) if unparsed else nw.lit(None).cast(nw.String)
    given["subscriber_id_prefixed"] = nw.col("subscriber_id").str.starts_with("00")
    given["subscriber_id"] = msisdn("subscriber_id")
    typed = store.derive(raw, scalars).select(
        "record", *(n for n in scalars if n not in given), unparsed=found, **given
    )
    kept = store.keep_records(typed)
    ragged = store.ragged_lines() if file.csv else []
    decisions = decide(store, kept, mapping)
    note_absent(mapping, places, decisions)
    return Parsed(kept, ragged, frozenset(places), decisions)


def note_absent(mapping: Mapping, places: dict[str, int], decisions: Decisions) -> None:
    """A column that the mapping names and the file lacks may be a slip of either."""
    for column in mapping.columns:
        wanted = {column.name: column.source, f"{column.name}:milliseconds": column.milliseconds}
        for name, source in wanted.items():
            if source and name not in places:
                text = f"the mapping {mapping.name} takes it from {source!r}, which the file lacks"
                decisions.note(name, "mapping", "warning", 0, text)


def records(store: Store, file: InputFile) -> Frame:
    """A file's records as they stand there, columns named by position and numbered."""
    if file.csv is None:
        return store.numbered(file.path)
    return store.read_csv(file.path, len(file.header), file.csv)


def msisdn(column: str) -> Any:
    """An identifier's digits as a phone number is hashed (see `privacy.msisdn`).

    No country's code begins with 0 (ITU-T E.164): what stands there is the prefix to dial abroad.
    """
    digits = nw.col(column)
    shortened = nw.when(digits != "00").then(digits.str.slice(2))
    return nw.when(digits.str.starts_with("00")).then(shortened).otherwise(digits)


def _as_text(raw: Frame, contract: Contract, places: dict[str, int]) -> Frame:
    """The records with text where a column means text: a typed file may hold names as numbers."""
    types = raw.collect_schema()
    names = {name: f"c{place}" for name, place in places.items() if name in contract}
    texts = {
        source: nw.col(source).cast(nw.String)
        for name, source in names.items()
        if contract[name].kind == "text" and not contract[name].identifier and types[source] != nw.String
    }
    return raw.with_columns(**texts) if texts else raw


def _unparsed(name: str, source: str) -> Any:
    """The column's name and text where a text is there and its typed value is not, else null."""
    text = nw.col(source)
    fault = nw.concat_str(nw.lit(f"{name}: "), text.str.slice(0, 40))
    # Only the few texts without a value are compared with the words for a missing one.
    told = nw.when(~text.str.contains(_MISSING)).then(fault)
    return nw.when(nw.col(name).is_null() & ~text.is_null()).then(told)


def read(
    store: Store,
    parsed: Parsed,
    mapping: Mapping,
    settings: Settings,
    key: bytes,
    earlier: Sequence[Path] = (),
) -> Reading:
    """The canonical rows and rejects of parsed records, computed as they are written.

    A record identical in every mapped column to an earlier one, in this file or in the batches of
    `earlier`, is rejected as a duplicate.
    """
    contract, decisions = mapping.contract, parsed.decisions
    frame = _with_repeats(store, parsed.records)
    frame = _keyed(store, frame, parsed, settings, key)
    frame = _with_known(store, frame.with_columns(**_converted(contract, parsed)), earlier)
    reasons = _reasons(contract, parsed.mapped, decisions)
    label = nw.coalesce(*(nw.when(bad).then(nw.lit(f"{name}|{why}")) for name, why, bad in reasons))
    judged = frame.with_columns(fault=label)
    sessions = judged.filter(nw.col("fault").is_null()).select(*_canonical(contract, parsed))
    rejects = judged.filter(~nw.col("fault").is_null()).select(
        "record",
        "fault",
        found=nw.when(nw.col("fault").str.ends_with("|not readable")).then(nw.col("unparsed")),
    )
    return Reading(sessions, store.keep(rejects))


def reject_reasons(store: Store, rejects: Frame, ragged: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    """Rejected records counted by `column` and `reason`, with an `example` of what stands there."""
    counted = store.rows(
        rejects.group_by("fault").agg(count=nw.len(), example=nw.col("found").min()).sort("fault")
    )
    reasons = []
    for row in counted:
        column, _, reason = row["fault"].partition("|")
        reasons.append({"column": column, "reason": reason, "count": row["count"], "example": row["example"]})
    for reason, is_one in _RAGGED.items():
        faults = [fault for _, fault in ragged if is_one(fault)]
        if faults:
            reasons.append({"column": "", "reason": reason, "count": len(faults), "example": faults[0]})
    return reasons


def _require(mapping: Mapping, places: dict[str, int], file: InputFile) -> None:
    required = [column.name for column in mapping.contract if column.required]
    parts = any(name.startswith("app_") for name in places)
    missing = [n for n in required if n not in places and not (parts and n in ("dl_bytes", "ul_bytes"))]
    if missing:
        raise MappingError(
            f"{file.path.name} lacks columns that the mapping {mapping.name} needs",
            found=", ".join(file.header[:12]) + (" ..." if len(file.header) > 12 else ""),
            expected="; ".join(
                f"{name} from {column.source!r}" if (column := mapping[name]) else name for name in missing
            ),
            do="run `subsight inspect FILE --write-mapping MAPPING.toml`, complete the mapping, "
            "and pass it with --mapping",
        )


def _scalar(column: Column, mapped: MappedColumn, places: dict[str, int], settings: Settings) -> Scalar:
    source = f"c{places[column.name]}"
    if column.identifier:
        return Digits(source)
    if column.kind == "instant":
        extra = places.get(f"{column.name}:milliseconds")
        milliseconds = None if extra is None else f"c{extra}"
        return Instant(source, mapped.format or "iso", settings.time_zone, milliseconds)
    if column.kind in ("float", "integer"):
        return Number(source)
    return Text(source, UNKNOWN)


def _keyed(store: Store, records: Frame, parsed: Parsed, settings: Settings, key: bytes) -> Frame:
    """Identifiers become pseudonyms; the record hash is keyed too, as it covers clear identifiers."""
    decisions = parsed.decisions
    length = nw.col("subscriber_id").str.len_chars()
    unusual = length.is_in(list(decisions.unusual_lengths)) if decisions.unusual_lengths else length < 0
    identifiers = [n for n in ("subscriber_id", "imsi_id", "imei_id", "bearer_id") if n in parsed.mapped]
    # Said of the clear identifiers, so that finding rejects takes no pseudonyms.
    nobody = nw.all_horizontal(*(nw.col(n).is_null() for n in (*identifiers, "start_at")), ignore_nulls=True)
    columns: dict[str, Any] = {"is_msisdn_unusual": unusual, "is_nobody": nobody}
    if "imei_id" in parsed.mapped:
        columns["tac"] = nw.col("imei_id").str.slice(0, 8)
    frame = records.with_columns(**columns)
    names = [n for n in ("subscriber_id", "imsi_id", "imei_id") if n in parsed.mapped]
    keyed: dict[str, Scalar] = {"order_hash": OrderHash("subscriber_id")}
    keyed["record_key"] = Pseudonym("record_hash", key)
    if settings.identifiers == "pseudonymous":
        keyed |= {f"{name}_key": Pseudonym(name, key) for name in names}
    keyed |= {"date": LocalDate("start_at", settings.time_zone)}
    keyed |= {"hour": LocalHour("start_at", settings.time_zone)}
    if "end_at" in parsed.mapped:
        keyed["span"] = Seconds("start_at", "end_at")
    frame = store.derive(frame, keyed)
    renamed = {"subscriber_hash": "order_hash", "local_date": "date", "local_hour": "hour"}
    renamed |= {"record_hash": "record_key"}
    if settings.identifiers == "pseudonymous":
        renamed |= {name: f"{name}_key" for name in names}
    return frame.with_columns(**{name: nw.col(source) for name, source in renamed.items()}).drop(
        *renamed.values()
    )


def _converted(contract: Contract, parsed: Parsed) -> dict[str, Any]:
    decisions = parsed.decisions
    other = {"duration_s": "duration_ms", "duration_ms": "duration_s"} if decisions.swapped else {}
    columns: dict[str, Any] = {}
    for name, unit in decisions.units.items():
        scale, value = factor(unit, contract[name].unit or ""), nw.col(other.get(name, name))
        value = value if scale == 1 else value * scale
        if contract[name].kind == "integer" and scale != 1:
            value = value.round(0)
        columns[name] = value
    if "duration_s" not in parsed.mapped:
        if "duration_ms" in parsed.mapped:
            columns["duration_s"] = columns["duration_ms"] / 1000
        elif "end_at" in parsed.mapped:
            # An end in the start's minute may be read as a little before it.
            columns["duration_s"] = nw.when(nw.col("span") < 0).then(nw.lit(0.0)).otherwise(nw.col("span"))
    for direction in ("dl", "ul"):
        total = f"{direction}_bytes"
        parts = [
            f"app_{app.slug}_{direction}_bytes"
            for app in contract.applications
            if f"app_{app.slug}_{direction}_bytes" in parsed.mapped
        ]
        if total in columns:
            columns[f"reported_{total}"] = columns[total]
            if direction in decisions.left_out:
                columns[total] = columns[total] + columns[f"app_{decisions.left_out[direction]}_{total}"]
        elif parts:
            columns[total] = sum((columns[p] for p in parts[1:]), columns[parts[0]])
    return columns


def _with_repeats(store: Store, records: Frame) -> Frame:
    """Adds `first_record`, the first of identical records; null where a record is the only one."""
    counts = store.row(records.select(rows=nw.len(), distinct=nw.col("record_hash").n_unique()))
    if counts["rows"] == counts["distinct"]:
        return records.with_columns(first_record=nw.lit(None).cast(nw.Int64))
    repeated = (
        records.group_by("record_hash")
        .agg(times=nw.len(), first_record=nw.col("record").min())
        .filter(nw.col("times") > 1)
        .drop("times")
    )
    return records.join(store.keep(repeated), on="record_hash", how="left")


def _with_known(store: Store, frame: Frame, earlier: Sequence[Path]) -> Frame:
    """Adds `is_known`: whether a batch of an earlier input holds the record."""
    if not earlier:
        return frame.with_columns(is_known=nw.lit(value=False))
    hashes = store.read(earlier).select("record_hash")
    known = store.keep(hashes.join(frame.select("record_hash"), on="record_hash", how="semi").unique())
    return frame.join(known.with_columns(is_known=nw.lit(value=True)), on="record_hash", how="left")


def _reasons(contract: Contract, mapped: frozenset[str], decisions: Decisions) -> list[tuple[str, str, Any]]:
    """Why a record is rejected, the first that holds: column, reason, condition."""
    reasons: list[tuple[str, str, Any]] = [
        ("", "no identifier and no time: not a session", nw.col("is_nobody")),
        *(
            (column.name, "not readable", nw.col("unparsed").str.starts_with(f"{column.name}: "))
            for column in contract
            if column.name in mapped and column.kind in ("float", "integer", "instant")
        ),
        ("start_at", "missing", nw.col("start_at").is_null()),
    ]
    if "end_at" in mapped:
        reasons.append(("end_at", "before start_at", nw.col("span") < -decisions.resolution_s))
    for column in contract:
        if column.name not in mapped or column.kind not in ("float", "integer"):
            continue
        # What a total leaves out was added to it: the value to judge is the one reported.
        is_total = column.name in ("dl_bytes", "ul_bytes")
        value = nw.col(f"reported_{column.name}" if is_total else column.name)
        if column.low is not None:
            reasons.append((column.name, f"below {column.low:g}", value < column.low))
        if column.high is not None:
            # Published shares are rounded, so that a sum of whole percents may pass 100 by a little.
            reasons.append((column.name, f"above {column.high:g}", value > column.high))
        if column.kind == "integer":
            reasons.append((column.name, "not a whole number", (value - value.round(0)).abs() > 0.001))
            # Beyond it a sum is no longer exact: a sentinel, or digits run together.
            reasons.append((column.name, "above 2^53", value > _LARGEST))
    reasons.append(("", "identical to an earlier record", nw.col("record") > nw.col("first_record")))
    reasons.append(("", "identical to a record of an earlier input", nw.col("is_known")))
    return reasons


def _canonical(contract: Contract, parsed: Parsed) -> list[Any]:
    present = set(parsed.mapped) | {
        "is_msisdn_unusual", "subscriber_hash", "record_hash", "local_date", "local_hour",
    }  # fmt: skip
    present |= {"tac"} if "imei_id" in parsed.mapped else set()
    present |= {"duration_s"} if present & {"duration_ms", "end_at"} else set()
    for direction in ("dl", "ul"):
        if f"{direction}_bytes" in parsed.mapped:
            present.add(f"reported_{direction}_bytes")
        if any(n.startswith("app_") and n.endswith(f"_{direction}_bytes") for n in parsed.mapped):
            present.add(f"{direction}_bytes")
    columns = []
    for column in contract:
        if column.name not in present:
            columns.append(nw.lit(None).cast(_TYPES[column.kind]).alias(column.name))
            continue
        value = nw.col(column.name)
        if column.name in parsed.decisions.lossy:
            value = nw.when(~value.str.contains(SPREADSHEET)).then(value)
        if column.name in parsed.decisions.garbled:
            value = nw.when(~value.str.contains(CONTROL)).then(value)
        if column.kind == "integer":
            value = value.cast(nw.Int64)
        columns.append(value.alias(column.name))
    return columns
