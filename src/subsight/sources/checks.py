"""Units and totals are checked against the data, not believed.

One fused aggregate over the parsed records yields the evidence; where it contradicts what the source
says, a second one asks further. Each check turns its part into a decision and a finding. A decision is
`checked` where the data confirm or correct it, `declared` where only the source says so, `assumed`
where nobody does; a contradiction without a certain answer is a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import narwhals as nw

from subsight.sources import volumes
from subsight.sources.findings import AGREE, Decisions, Finding
from subsight.sources.mapping import Mapping
from subsight.store import Frame, Seconds, Store
from subsight.tables import THROUGHPUT_SHARES
from subsight.units import FACTORS, factor, unit_of

__all__ = ["CONTROL", "SPREADSHEET", "Decisions", "Finding", "decide"]

SPREADSHEET: Final = r"^[1-9][0-9]{14}0+$|^[0-9.]+[eE][+-][0-9]+$"
"""15 significant digits and then zeros, or scientific notation: what a spreadsheet leaves.

The exponent's sign tells it from a hexadecimal name such as 4E21.
"""
CONTROL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"
"""Characters that no name holds, and that no page, chart or database takes."""
_RARE: Final = 0.001
_UNREAD: Final = 0.2
_OLD: Final = 2000
_HUGE: Final = {"s": 62 * 86_400, "bytes": 10e12}
"""No session of a network lasts or carries so much: a sentinel, a broken clock or another unit."""


def decide(store: Store, typed: Frame, mapping: Mapping) -> Decisions:
    """Every decision about a file's records, from one pass over them or, where they contradict, a few."""
    contract, mapped = mapping.contract, {column.name for column in mapping.columns}
    mapped &= set(typed.collect_schema().names())
    decisions = Decisions()
    for column in mapping.columns:
        unit = contract[column.name].unit
        if column.name in mapped and unit in FACTORS:
            decisions.units[column.name] = column.unit or unit
            decisions.certainty[column.name] = "declared" if column.unit else "assumed"
    timed = {"start_at", "end_at"} <= mapped
    frame = store.derive(typed, {"span_s": Seconds("start_at", "end_at")}) if timed else typed
    helping = {**_duration_columns(mapped), **volumes.columns(mapped, mapping, decisions)}
    frame = frame.with_columns(**helping) if helping else frame
    evidence = store.row(
        frame.select(
            records=nw.len(),
            **_time_evidence(mapped),
            **_duration_evidence(mapped),
            **_share_evidence(mapped),
            **volumes.evidence(mapped, mapping, decisions),
            **_digit_evidence(mapped),
            **_text_evidence(mapped, mapping),
            **_doubt_evidence(mapped),
        )
    )
    _decide_times(evidence, mapped, mapping, decisions)
    _decide_durations(evidence, mapped, mapping, decisions)
    _decide_stand_in(evidence, mapped, decisions)
    _decide_shares(evidence, decisions)
    volumes.decide(store, typed, evidence, mapped, mapping, decisions)
    _decide_digits(evidence, mapped, decisions)
    _decide_prefixes(evidence, decisions)
    _decide_texts(evidence, decisions)
    _decide_lengths(store, typed, decisions)
    _decide_doubts(evidence, decisions)
    return decisions


def _count(condition: Any) -> Any:
    return condition.cast(nw.Float64).sum()


# Times


def _time_evidence(mapped: set[str]) -> dict[str, Any]:
    names = sorted({"start_at", "end_at"} & mapped)
    return {f"unread_{name}": _count(nw.col("unparsed").str.starts_with(f"{name}: ")) for name in names}


def _decide_times(evidence: Map[str, Any], mapped: set[str], mapping: Mapping, decisions: Decisions) -> None:
    """A format that fails on many values reads the others only by chance: day and month, swapped."""
    for name in sorted({"start_at", "end_at"} & mapped):
        unread, column = evidence[f"unread_{name}"] or 0, mapping[name]
        if column and unread > _UNREAD * evidence["records"]:
            decisions.refuse(
                f"the format of {name} contradicts the data",
                found=f"{column.format or 'iso'} does not read {unread:.0f} of {evidence['records']} values",
                expected="one format for the column",
                do="give the column its format (iso, epoch_s or a strptime pattern) in a mapping: "
                "inspect --write-mapping begins one",
            )


# Durations against end - start


def _duration_columns(mapped: set[str]) -> dict[str, Any]:
    if not {"start_at", "end_at"} <= mapped:
        return {}
    # Without milliseconds of their own, whole minutes may stand for any second in them.
    is_coarse = (nw.col("start_at").dt.second() == 0) & (nw.col("end_at").dt.second() == 0)
    return {"resolution": nw.when(is_coarse).then(nw.lit(60.0)).otherwise(nw.lit(1.0))}


def _duration_evidence(mapped: set[str]) -> dict[str, Any]:
    if not {"start_at", "end_at"} <= mapped:
        return {}
    span, resolution = nw.col("span_s"), nw.col("resolution")
    found: dict[str, Any] = {"on_minute": _count(resolution > 1), "spans": span.count()}
    # Long enough that the clock's resolution cannot make two units agree.
    usable = span >= 20 * resolution
    tolerance = 1.5 * resolution + 0.01 * span
    for column in sorted({"duration_s", "duration_ms"} & mapped):
        found[f"usable_{column}"] = _count(usable & ~nw.col(column).is_null())
        for unit in FACTORS["s"]:
            gap = (nw.col(column) * factor(unit, "s") - span).abs()
            found[f"agree_{column}_{unit}"] = _count(usable & (gap <= tolerance))
    return found


def _decide_durations(
    evidence: Map[str, Any], mapped: set[str], mapping: Mapping, decisions: Decisions
) -> None:
    spans = evidence.get("spans") or 0
    if not spans:
        return
    if evidence["on_minute"] >= 0.99 * spans:
        decisions.resolution_s = 60.0
        decisions.note(
            "start_at", "resolution", "note", spans,
            "start and end are recorded to the minute: times are exact to within 60 s",
        )  # fmt: skip
    durations = sorted({"duration_s", "duration_ms"} & mapped)
    shares = {
        column: {unit: (evidence[f"agree_{column}_{unit}"] or 0) / usable for unit in FACTORS["s"]}
        for column in durations
        if (usable := evidence[f"usable_{column}"] or 0)
    }
    if _are_swapped(shares, mapping):
        decisions.swapped = True
        shares = {"duration_s": shares["duration_ms"], "duration_ms": shares["duration_s"]}
    for column, agreed in shares.items():
        _decide_duration(column, agreed, evidence[f"usable_{column}"], decisions)


def _are_swapped(shares: Map[str, Map[str, float]], mapping: Mapping) -> bool:
    """Whether two columns of one header stand in the other order than the mapping says."""
    first, second = mapping["duration_s"], mapping["duration_ms"]
    if not first or not second or first.source != second.source or len(shares) < 2:
        return False
    return shares["duration_s"]["ms"] >= AGREE and shares["duration_ms"]["s"] >= AGREE


def _decide_duration(column: str, shares: Map[str, float], usable: float, decisions: Decisions) -> None:
    declared = decisions.units[column]
    best = max(shares, key=lambda unit: (shares[unit], unit == declared))
    if shares[best] >= AGREE:
        why = f"it equals end - start in {100 * shares[best]:.1f} % of records"
        decisions.settle(column, best, usable, why)
    elif shares[declared] < 0.5:
        decisions.refuse(
            f"the unit of {column} contradicts the data",
            found=f"{decisions.certainty[column]} {declared}: equals end - start in "
            f"{100 * shares[declared]:.1f} % of {usable:.0f} records; the best other reading, {best}, in "
            f"{100 * shares[best]:.1f} %",
            expected=f"one unit that agrees in {AGREE:.0%}",
            do="map another column, or leave the column out of the mapping",
        )
    else:
        decisions.note(
            column, "unit", "warning", usable,
            f"declared {declared}; it equals end - start in only {100 * shares[declared]:.1f} % of records",
        )  # fmt: skip


def _decide_stand_in(evidence: Map[str, Any], mapped: set[str], decisions: Decisions) -> None:
    """A vendor may leave the duration out: what is taken for it is said."""
    if "duration_s" in mapped:
        return
    if "duration_ms" in mapped:
        severity, text = "note", "none is read in seconds: taken from duration_ms"
    elif "end_at" in mapped:
        severity, text = "warning", "none is read: taken as end - start"
    else:
        severity, text = "warning", "neither a duration nor an end is read: unknown, sums to 0"
    decisions.note("duration_s", "source", severity, evidence["records"], text)


# Shares of one whole


def _share_evidence(mapped: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i, names in enumerate(THROUGHPUT_SHARES):
        if set(names) <= mapped:
            total = sum((nw.col(name) for name in names[1:]), nw.col(names[0]))
            found[f"share_{i}"] = _count(~total.is_null())
            for unit, whole in (("percent", 100), ("share", 1), ("permille", 1000)):
                found[f"share_{i}_{unit}"] = _count((total - whole).abs() <= 0.03 * whole)
    return found


def _decide_shares(evidence: Map[str, Any], decisions: Decisions) -> None:
    for i, names in enumerate(THROUGHPUT_SHARES):
        usable = evidence.get(f"share_{i}") or 0
        if not usable:
            continue
        for unit in ("percent", "share", "permille"):
            agreed = evidence[f"share_{i}_{unit}"] / usable
            if agreed >= AGREE:
                for name in names:
                    decisions.settle(name, unit, usable,
                        f"with its siblings it sums to one whole in {100 * agreed:.1f} % of records",
                    )  # fmt: skip


# What is missing, what cannot be, and what nobody said


def _doubt_evidence(mapped: set[str]) -> dict[str, Any]:
    """Counts of sums' missing values, and of values that no session has in the unit said."""
    found: dict[str, Any] = {}
    for name in ("duration_s", "dl_bytes", "ul_bytes"):
        if name in mapped:
            found[f"null_{name}"] = _count(nw.col(name).is_null())
            for unit in FACTORS[unit_of(name) or ""]:
                value = nw.col(name) * factor(unit, unit_of(name) or "")
                found[f"huge_{name}_{unit}"] = _count(value > _HUGE[unit_of(name) or ""])
    if {"start_at", "end_at"} <= mapped:
        found["long"] = _count(nw.col("span_s") > _HUGE["s"])
    if "start_at" in mapped:
        found["old_start_at"] = _count(nw.col("start_at").dt.year() < _OLD)
        found["new_start_at"] = _count(nw.col("start_at") > nw.lit(datetime.now(UTC) + timedelta(days=2)))
    return found


def _decide_doubts(evidence: Map[str, Any], decisions: Decisions) -> None:
    for name, most in (("duration_s", "62 days"), ("dl_bytes", "10 TB"), ("ul_bytes", "10 TB")):
        missing = evidence.get(f"null_{name}") or 0
        if missing:
            severity = "warning" if missing > _RARE * evidence["records"] else "note"
            text = "records without a value: they add nothing to a subscriber's sum"
            decisions.note(name, "missing", severity, missing, text)
        huge = evidence.get(f"huge_{name}_{decisions.units.get(name)}") or 0
        if huge:
            text = f"sessions of more than {most}: kept, and heavy in every mean; is the unit right?"
            decisions.note(name, "range", "warning", huge, text)
    if long := evidence.get("long") or 0:
        decisions.note("end_at", "range", "warning", long, "sessions end over 62 days after they start: kept")
    for key, when in (("old", f"before {_OLD}"), ("new", "in the future")):
        if count := evidence.get(f"{key}_start_at") or 0:
            decisions.note("start_at", "range", "warning", count, f"sessions start {when}: kept as they are")
    assumed = [
        f"{name} ({decisions.units[name]})" for name, how in decisions.certainty.items() if how == "assumed"
    ]
    if assumed:
        decisions.note(
            "units", "unit", "warning", evidence["records"],
            f"neither declared nor checked: taken as {', '.join(assumed)}; a mapping declares them",
        )  # fmt: skip


# Identifiers that lost digits, and rare lengths


def _digit_evidence(mapped: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in {"bearer_id", "cell_id"} & mapped:
        text = nw.col(name)
        found[f"lost_{name}"] = _count(text.str.contains(SPREADSHEET))
        found[f"long_{name}"] = _count(text.str.contains(r"^[0-9]{16,}$|^[0-9.]+[eE][+-][0-9]+$"))
    for name in {"subscriber_id", "imsi_id", "imei_id"} & mapped:
        found[f"given_{name}"] = _count(nw.col(f"{name}_given"))
        found[f"read_{name}"] = _count(~nw.col(name).is_null())
    if "subscriber_id" in mapped:
        found["prefixed"] = _count(nw.col("subscriber_id_prefixed"))
        found["national"] = _count(nw.col("subscriber_id").str.starts_with("0"))
    return found


def _decide_prefixes(evidence: Map[str, Any], decisions: Decisions) -> None:
    """One subscriber written in two ways counts as two: what can be joined is, what cannot is said."""
    prefixed, national = evidence.get("prefixed") or 0, evidence.get("national") or 0
    if prefixed:
        text = "MSISDNs are written with the international prefix 00: read without it"
        decisions.note("subscriber_id", "prefix", "note", prefixed, text)
    if national:
        others = evidence["read_subscriber_id"] - national
        decisions.note(
            "subscriber_id", "national", "warning" if others else "note", national,
            f"MSISDNs begin with 0, as numbers inside a country do, and {others:.0f} do not: "
            "who is written in both ways counts as two subscribers"
            if others else "every MSISDN begins with 0: numbers inside a country",
        )  # fmt: skip


def _text_evidence(mapped: set[str], mapping: Mapping) -> dict[str, Any]:
    texts = [c.name for c in mapping.contract if c.kind == "text" and not c.identifier and c.name in mapped]
    return {f"garbled_{name}": _count(nw.col(name).str.contains(CONTROL)) for name in texts}


def _decide_texts(evidence: Map[str, Any], decisions: Decisions) -> None:
    for key in [key for key in evidence if key.startswith("garbled_") and evidence[key]]:
        name = key.removeprefix("garbled_")
        decisions.garbled.add(name)
        text = "values hold control characters: treated as unknown"
        decisions.note(name, "text", "warning", evidence[key], text)


def _decide_digits(evidence: Map[str, Any], mapped: set[str], decisions: Decisions) -> None:
    for name in sorted({"bearer_id", "cell_id"} & mapped):
        lost, long = evidence[f"lost_{name}"] or 0, evidence[f"long_{name}"] or 0
        # One long number in ten ends in a zero by chance; most of them do only after a spreadsheet.
        if lost and lost >= 0.5 * long:
            decisions.lossy.add(name)
            decisions.note(
                name, "digits", "warning", lost,
                "numbers that lost digits to a spreadsheet: no longer identify anything, treated as unknown",
            )  # fmt: skip
    for name in sorted({"subscriber_id", "imsi_id", "imei_id"} & mapped):
        given, read = evidence[f"given_{name}"] or 0, evidence[f"read_{name}"] or 0
        if given > read:
            decisions.note(
                name, "digits", "warning", given - read,
                "lost digits to a spreadsheet or hold none: treated as unknown",
            )  # fmt: skip
        missing = evidence["records"] - given
        if missing:
            decisions.note(name, "missing", "note", missing, "records without a value")


def _decide_lengths(store: Store, typed: Frame, decisions: Decisions) -> None:
    lengths = store.rows(
        typed.filter(~nw.col("subscriber_id").is_null())
        .select(length=nw.col("subscriber_id").str.len_chars())
        .group_by("length")
        .agg(count=nw.len())
    )
    total = sum(row["count"] for row in lengths)
    rare = sorted(row["length"] for row in lengths if row["count"] < _RARE * total)
    decisions.unusual_lengths = tuple(rare)
    if rare:
        count = sum(row["count"] for row in lengths if row["length"] in rare)
        usual = sorted(row["length"] for row in lengths if row["length"] not in rare)
        decisions.note(
            "subscriber_id", "length", "warning", count,
            f"MSISDNs of {' or '.join(map(str, rare))} digits, which under 0.1 % of values have "
            f"(the others have {' or '.join(map(str, usual))}): flagged, still counted as subscribers",
        )  # fmt: skip
