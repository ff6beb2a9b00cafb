"""Units and totals are checked against the data, not believed.

One fused aggregate over the parsed records yields the evidence; where it contradicts what the source
says, a second one asks further. Each check turns its part into a decision and a finding. A decision is
`checked` where the data confirm or correct it, `declared` where only the source says so, `assumed`
where nobody does; a contradiction without a certain answer is a refusal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Map
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import narwhals as nw

from subsight.contracts import Contract
from subsight.errors import MappingError
from subsight.sources.mapping import Mapping
from subsight.store import Frame, Seconds, Store
from subsight.tables import THROUGHPUT_SHARES
from subsight.units import FACTORS, factor

__all__ = ["SPREADSHEET", "Decisions", "Finding", "decide"]

Certainty = Literal["checked", "declared", "assumed"]

_AGREE: Final = 0.95
"""Share of records that must agree for a reading to be certain."""
SPREADSHEET: Final = r"^[1-9][0-9]{14}0+$|^[0-9.]+[eE][+-][0-9]+$"
"""15 significant digits and then zeros, or scientific notation: what a spreadsheet leaves.

The exponent's sign tells it from a hexadecimal name such as 4E21.
"""
_RARE: Final = 0.001
_UNREAD: Final = 0.2


@dataclass(frozen=True)
class Finding:
    """One thing that the data say about a column, and what was done about it.

    `refused` stands for a contradiction for which ingest refuses the file.
    """

    column: str
    check: str
    severity: Literal["note", "corrected", "warning", "refused"]
    count: int
    text: str

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return asdict(self)


@dataclass
class Decisions:
    """How the records are to be read: a unit per column, totals, identifiers that lost digits."""

    units: dict[str, str] = field(default_factory=dict)
    certainty: dict[str, Certainty] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # direction -> application its total leaves out
    swapped: bool = False  # duration_s and duration_ms stand in each other's column
    lossy: set[str] = field(default_factory=set)
    unusual_lengths: tuple[int, ...] = ()
    resolution_s: float = 1.0
    findings: list[Finding] = field(default_factory=list)
    refusals: list[MappingError] = field(default_factory=list)

    def refuse(self, what: str, *, found: str, expected: str, do: str) -> None:
        """Adds a contradiction that the data cannot resolve."""
        self.refusals.append(MappingError(what, found=found, expected=expected, do=do))

    def note(self, column: str, check: str, severity: Any, count: float, text: str) -> None:
        """Adds a finding."""
        self.findings.append(Finding(column, check, severity, int(count), text))


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
    helping = {**_duration_columns(mapped), **_total_columns(mapped, mapping, decisions)}
    frame = frame.with_columns(**helping) if helping else frame
    evidence = store.row(
        frame.select(
            records=nw.len(),
            **_time_evidence(mapped),
            **_duration_evidence(mapped),
            **_share_evidence(mapped),
            **_fraction_evidence(contract, decisions),
            **_total_evidence(mapped, mapping, decisions),
            **_digit_evidence(mapped),
        )
    )
    _decide_times(evidence, mapped, mapping, decisions)
    _decide_durations(evidence, mapped, mapping, decisions)
    _decide_shares(evidence, decisions)
    _decide_bytes(store, typed, evidence, mapped, decisions)
    _decide_totals(store, typed, evidence, mapped, mapping, decisions)
    _decide_digits(evidence, mapped, decisions)
    _decide_lengths(store, typed, decisions)
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
                do="give the column its format (iso, or a strptime pattern) in a mapping",
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
    return shares["duration_s"]["ms"] >= _AGREE and shares["duration_ms"]["s"] >= _AGREE


def _decide_duration(column: str, shares: Map[str, float], usable: float, decisions: Decisions) -> None:
    declared = decisions.units[column]
    best = max(shares, key=lambda unit: (shares[unit], unit == declared))
    if shares[best] >= _AGREE:
        why = f"it equals end - start in {shares[best]:.1%} of records"
        _settle(decisions, column, best, usable, why)
    elif shares[declared] < 0.5:
        decisions.refuse(
            f"the unit of {column} contradicts the data",
            found=f"{decisions.certainty[column]} {declared}: equals end - start in {shares[declared]:.1%} "
            f"of {usable:.0f} records; the best other reading, {best}, in {shares[best]:.1%}",
            expected=f"one unit that agrees in {_AGREE:.0%}",
            do="map another column, or leave the column out of the mapping",
        )
    else:
        decisions.note(
            column, "unit", "warning", usable,
            f"declared {declared}; it equals end - start in only {shares[declared]:.1%} of records",
        )  # fmt: skip


def _settle(decisions: Decisions, column: str, unit: str, count: float, why: str) -> None:
    declared, certainty = decisions.units[column], decisions.certainty[column]
    decisions.units[column], decisions.certainty[column] = unit, "checked"
    if unit == declared:
        decisions.note(column, "unit", "note", count, f"{unit}, checked: {why}")
    else:
        said = "declared" if certainty == "declared" else "assumed"
        decisions.note(column, "unit", "corrected", count, f"{said} {declared}, read as {unit}: {why}")


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
            if agreed >= _AGREE:
                for name in names:
                    _settle(
                        decisions, name, unit, usable,
                        f"with its siblings it sums to one whole in {agreed:.1%} of records",
                    )  # fmt: skip


# Bytes are whole numbers


def _fraction_evidence(contract: Contract, decisions: Decisions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in [name for name in decisions.units if contract[name].unit == "bytes"]:
        found[f"known_{name}"] = nw.col(name).count()
        found[f"broken_{name}"] = _count(nw.col(name) != nw.col(name).floor())
    return found


def _decide_bytes(
    store: Store, typed: Frame, evidence: Map[str, Any], mapped: set[str], decisions: Decisions
) -> None:
    """Volumes with fractions are no bytes; which unit they have, all of them must agree on."""
    names = [name for name in decisions.units if f"known_{name}" in evidence]
    broken = {n: (evidence[f"broken_{n}"] or 0) / (evidence[f"known_{n}"] or 1) for n in names}
    parted = [name for name in names if broken[name] >= 0.1]
    if not parted:
        return
    unit, why = _thousands(store, typed, parted, mapped, decisions)
    for name in parted:
        declared = decisions.units[name]
        if unit and (declared == unit or factor(declared, "bytes") == 1):
            reason = f"{broken[name]:.0%} of values are no whole bytes, {why}"
            _settle(decisions, name, unit, evidence[f"known_{name}"], reason)
        elif factor(declared, "bytes") == 1:
            decisions.refuse(
                f"the unit of {name} contradicts the data",
                found=f"{declared} {decisions.certainty[name]}, and {broken[name]:.1%} of "
                f"{evidence[f'known_{name}']} values are not whole; {why}",
                expected="whole bytes, or a declared larger unit",
                do="give the column its unit (kB, KiB, MB, ...) in a mapping",
            )


def _thousands(
    store: Store, typed: Frame, names: list[str], mapped: set[str], decisions: Decisions
) -> tuple[str | None, str]:
    """kB or KiB where the columns' digits and the reported throughput leave no other reading."""
    found: dict[str, Any] = {}
    for name in names:
        value = nw.col(name)
        found[f"known_{name}"] = value.count()
        for unit, size in (("kB", 1000), ("KiB", 1024)):
            whole = (value * size - (value * size).round(0)).abs() <= 1e-9 * (value.abs() * size + 1e5)
            found[f"{unit}_{name}"] = _count(whole)
        # Of the 1,000 thousandths, 24 are what two of the 1,024 parts of a KiB round to.
        part = ((value - value.floor()) * 1000).round(0)
        doubled = ((part + 0.5) * 1.024).floor() - ((part - 0.5) * 1.024).floor() >= 2
        found[f"large_{name}"] = _count(value >= 10)
        found[f"doubled_{name}"] = _count((value >= 10) & doubled)
    evidence = store.row(typed.select(**found, **_rate_evidence(mapped, names, decisions)))
    fits = {u: all((evidence[f"{u}_{n}"] or 0) >= 0.99 * evidence[f"known_{n}"] for n in names)
            for u in ("kB", "KiB")}  # fmt: skip
    if not fits["kB"] and not fits["KiB"]:
        return None, "neither kB nor KiB makes them whole"
    unit = "kB" if fits["kB"] else "KiB"
    if fits["kB"] and not fits["KiB"]:
        odds = _odds(
            sum(evidence[f"large_{n}"] or 0 for n in names), sum(evidence[f"doubled_{n}"] or 0 for n in names)
        )
        if abs(odds) < _CERTAIN_ODDS:
            return None, "kB and KiB rounded to three digits are equally likely"
        unit = "kB" if odds < 0 else "KiB"
    rates = evidence.get("rates") or 0
    if not rates or evidence["kept"] < 0.5 * rates or evidence["passed"] > 0.1 * rates:
        return None, f"they fit {unit}, but nothing rules out a rounded larger unit"
    return unit, f"they fit {unit}, and a larger unit would pass the reported throughput"


_CERTAIN_ODDS: Final = 14.0
"""Natural logarithm of odds of a million to one."""


def _odds(count: float, doubled: float) -> float:
    """Logarithm of the odds for KiB over kB, given how many fractions are of the doubled kind."""
    rounded, exact = 48 / 1024, 24 / 1000
    return doubled * math.log(rounded / exact) + (count - doubled) * math.log((1 - rounded) / (1 - exact))


def _rate_evidence(mapped: set[str], names: list[str], decisions: Decisions) -> dict[str, Any]:
    """How many sessions stay below their reported throughput, as kB and as a thousand times that."""
    found: dict[str, Any] = {}
    usable = kept = passed = None
    for direction in ("dl", "ul"):
        needed = f"{direction}_bytes", f"throughput_{direction}_kbps", "duration_s"
        if needed[0] not in names or not set(needed) <= mapped:
            continue
        if decisions.certainty["duration_s"] != "checked" or decisions.swapped:
            continue
        volume, rate, duration = (nw.col(name) for name in needed)
        seconds = duration * factor(decisions.units["duration_s"], "s")
        reported = rate * factor(decisions.units[needed[1]], "kbps")
        known = (seconds > 0) & (volume > 0) & (reported > 0)
        below, above = volume * 8 <= reported * seconds, volume * 8000 <= reported * seconds
        usable = known if usable is None else usable | known
        kept = (known & below) if kept is None else kept | (known & below)
        passed = (known & above) if passed is None else passed & (known & above)
    if usable is not None:
        found = {"rates": _count(usable), "kept": _count(kept), "passed": _count(passed)}
    return found


# Totals against the sum of their parts


def _parts(mapped: set[str], mapping: Mapping, direction: str) -> dict[str, str]:
    names = {app.slug: f"app_{app.slug}_{direction}_bytes" for app in mapping.applications}
    return {slug: name for slug, name in names.items() if name in mapped}


def _directions(mapped: set[str], mapping: Mapping) -> list[str]:
    return [d for d in ("dl", "ul") if f"{d}_bytes" in mapped and len(_parts(mapped, mapping, d)) > 1]


def _total_columns(mapped: set[str], mapping: Mapping, decisions: Decisions) -> dict[str, Any]:
    """Per direction the sum of the parts, and what the reported total has beyond it; null where unknown."""
    columns: dict[str, Any] = {}
    for direction in _directions(mapped, mapping):
        names = list(_parts(mapped, mapping, direction).values())
        scaled = [nw.col(name) * factor(decisions.units[name], "bytes") for name in names]
        whole = sum(scaled[1:], scaled[0])
        total = f"{direction}_bytes"
        columns[f"whole_{direction}"] = whole
        columns[f"beyond_{direction}"] = nw.col(total) * factor(decisions.units[total], "bytes") - whole
    return columns


def _slack(mapped: set[str], mapping: Mapping, direction: str, decisions: Decisions) -> float:
    """How far rounding in the columns' units can take a total from the sum of its parts, in bytes."""
    names = [*_parts(mapped, mapping, direction).values(), f"{direction}_bytes"]
    grain = max(factor(decisions.units[name], "bytes") for name in names)
    return (0.0 if grain <= 1 else 0.5 * grain * len(names)) + 0.5


def _total_evidence(mapped: set[str], mapping: Mapping, decisions: Decisions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for direction in _directions(mapped, mapping):
        beyond, slack = nw.col(f"beyond_{direction}"), _slack(mapped, mapping, direction, decisions)
        found[f"total_{direction}"] = beyond.count()
        found[f"total_{direction}_all"] = _count(beyond.abs() <= slack)
    return found


def _decide_totals(
    store: Store,
    typed: Frame,
    evidence: Map[str, Any],
    mapped: set[str],
    mapping: Mapping,
    decisions: Decisions,
) -> None:
    for direction in _directions(mapped, mapping):
        total, usable = f"{direction}_bytes", evidence[f"total_{direction}"] or 0
        if not usable:
            continue
        agreed = (evidence[f"total_{direction}_all"] or 0) / usable
        if agreed >= _AGREE:
            decisions.note(
                total, "total", "note", usable, f"equals the sum of all parts in {agreed:.1%} of records"
            )
        else:
            _decide_contradicted_total(store, typed, direction, usable, mapped, mapping, decisions)


_SCALES: Final = (1000, 1024, 1000000, 1048576, 0.001, 0.0009765625)


def _contradiction_evidence(parts: Map[str, str], direction: str, slack: float, units: Map[str, str]) -> Any:
    beyond, whole = nw.col(f"beyond_{direction}"), nw.col(f"whole_{direction}")
    found: dict[str, Any] = {"all": _count(beyond.abs() <= slack), "below": _count(beyond < -slack)}
    for slug, name in parts.items():
        part = nw.col(name) * factor(units[name], "bytes")
        # A part of zero tells nothing about whether the total holds it.
        told = ~beyond.is_null() & (part > 2 * slack)
        found[f"told_{slug}"] = _count(told)
        found[f"without_{slug}"] = _count(told & ((beyond + part).abs() <= slack))
    for power in _SCALES:
        close = ((beyond + whole) * power - whole).abs() <= 0.001 * whole + slack
        found[f"times_{power}"] = _count((whole > 0) & close)
    return found


def _decide_contradicted_total(
    store: Store,
    typed: Frame,
    direction: str,
    usable: float,
    mapped: set[str],
    mapping: Mapping,
    decisions: Decisions,
) -> None:
    """A total that is not the sum of its parts: one left out, another unit, or no certain reading."""
    total, parts = f"{direction}_bytes", _parts(mapped, mapping, direction)
    names = {app.slug: app.name for app in mapping.applications}
    slack = _slack(mapped, mapping, direction, decisions)
    frame = typed.with_columns(**_total_columns(mapped, mapping, decisions))
    evidence = {
        key: value or 0
        for key, value in store.row(
            frame.select(**_contradiction_evidence(parts, direction, slack, decisions.units))
        ).items()
    }
    shares = {slug: evidence[f"without_{slug}"] / max(evidence[f"told_{slug}"], 1) for slug in parts}
    without = [slug for slug in parts if evidence[f"told_{slug}"] >= 0.5 * usable and shares[slug] >= _AGREE]
    scaled = [p for p in _SCALES if evidence[f"times_{p}"] >= _AGREE * usable]
    if evidence["all"] >= _AGREE * usable:
        share = evidence["all"] / usable
        decisions.note(
            total, "total", "note", usable, f"equals the sum of all parts in {share:.1%} of records"
        )
    elif len(without) == 1:
        (slug,) = without
        decisions.left_out[direction] = slug
        decisions.note(
            total, "total", "corrected", usable,
            f"the reported total leaves out {names[slug]}: it equals the sum of the other parts in "
            f"{shares[slug]:.1%} of records; {names[slug]} is added, the reported value is kept beside it",
        )  # fmt: skip
    elif scaled:
        decisions.refuse(
            f"{total} and its parts are in different units",
            found=f"the total times {scaled[0]} equals the sum of the parts in "
            f"{evidence[f'times_{scaled[0]}'] / usable:.1%} of records",
            expected="one unit, or the right one declared for each",
            do="give the columns their units in a mapping: the data cannot tell which is wrong",
        )
    else:
        decisions.note(
            total, "total", "warning", usable,
            f"is not the sum of its parts ({evidence['all'] / usable:.1%} of records agree, "
            f"{evidence['below'] / usable:.1%} are below it) and no reading is certain: kept as reported",
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
    return found


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
            f"MSISDNs of {', '.join(map(str, rare))} digits, which under 0.1% of values share "
            f"(the others have {', '.join(map(str, usual))}): flagged, still counted as subscribers",
        )  # fmt: skip
