"""Volumes: bytes are whole numbers, and totals are sums of their parts, or it is said that they are not."""

from __future__ import annotations

import math
from collections.abc import Mapping as Map
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Contract
from subsight.sources.findings import AGREE, Decisions
from subsight.sources.mapping import Mapping
from subsight.store import Frame, Store
from subsight.units import factor

__all__ = ["columns", "decide", "evidence"]


def columns(mapped: set[str], mapping: Mapping, decisions: Decisions) -> dict[str, Any]:
    """Helping columns for `evidence`."""
    return _total_columns(mapped, mapping, decisions)


def evidence(mapped: set[str], mapping: Mapping, decisions: Decisions) -> dict[str, Any]:
    """Aggregates over the records and their helping columns, for `decide`."""
    return {
        **_fraction_evidence(mapping.contract, decisions), **_total_evidence(mapped, mapping, decisions),
    }  # fmt: skip


def decide(
    store: Store, typed: Frame, found: Map[str, Any], mapped: set[str], mapping: Mapping, decisions: Decisions
) -> None:
    """Units of volumes and what totals leave out, from the evidence found; asks further where it objects."""
    _decide_bytes(store, typed, found, mapped, decisions)
    _decide_totals(store, typed, found, mapped, mapping, decisions)


def _count(condition: Any) -> Any:
    return condition.cast(nw.Float64).sum()


# Bytes are whole numbers


def _fraction_evidence(contract: Contract, decisions: Decisions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in [name for name in decisions.units if contract[name].unit == "bytes"]:
        found[f"known_{name}"] = nw.col(name).count()
        found[f"broken_{name}"] = _count(nw.col(name) != nw.col(name).round(0))
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
            decisions.settle(name, unit, evidence[f"known_{name}"], reason)
        elif factor(declared, "bytes") == 1:
            decisions.refuse(
                f"the unit of {name} contradicts the data",
                found=f"{declared} {decisions.certainty[name]}, and {100 * broken[name]:.1f} % of "
                f"{evidence[f'known_{name}']} values are not whole; {why}",
                expected="whole bytes, or a declared larger unit",
                do="give the column its unit (kB, MB, ...) in a mapping: inspect --write-mapping begins one",
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
        # Beyond exact numbers there is no part, and an engine's floor overflows.
        part = nw.when(value.abs() < 2.0**53).then(value)
        part = ((part - part.floor()) * 1000).round(0)
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


def _summed(mapped: set[str], mapping: Mapping) -> list[str]:
    """Directions without a total of their own, whose applications stand in for it."""
    return [d for d in ("dl", "ul") if f"{d}_bytes" not in mapped and _parts(mapped, mapping, d)]


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
    for direction in _summed(mapped, mapping):
        columns = [nw.col(name) for name in _parts(mapped, mapping, direction).values()]
        found[f"unsummed_{direction}"] = _count(sum(columns[1:], columns[0]).is_null())
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
    for direction in _summed(mapped, mapping):
        names = {app.slug: app.name for app in mapping.applications}
        parts = ", ".join(names[slug] for slug in _parts(mapped, mapping, direction))
        unknown = evidence[f"unsummed_{direction}"] or 0
        decisions.note(
            f"{direction}_bytes", "source", "warning", evidence["records"],
            f"no such total is read: taken as the sum of {parts}"
            + (f"; unknown in {unknown:.0f} records that lack one of them" if unknown else ""),
        )  # fmt: skip
    for direction in _directions(mapped, mapping):
        total, usable = f"{direction}_bytes", evidence[f"total_{direction}"] or 0
        if not usable:
            continue
        agreed = (evidence[f"total_{direction}_all"] or 0) / usable
        if agreed >= AGREE:
            decisions.note(
                total,
                "total",
                "note",
                usable,
                f"equals the sum of all parts in {100 * agreed:.1f} % of records",
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
    without = [slug for slug in parts if evidence[f"told_{slug}"] >= 0.5 * usable and shares[slug] >= AGREE]
    scaled = [p for p in _SCALES if evidence[f"times_{p}"] >= AGREE * usable]
    if evidence["all"] >= AGREE * usable:
        share = evidence["all"] / usable
        decisions.note(
            total, "total", "note", usable, f"equals the sum of all parts in {100 * share:.1f} % of records"
        )
    elif len(without) == 1:
        (slug,) = without
        decisions.left_out[direction] = slug
        decisions.note(
            total, "total", "corrected", usable,
            f"the reported total leaves out {names[slug]}: it equals the sum of the other parts in "
            f"{100 * shares[slug]:.1f} % of records; {names[slug]} is added, the reported value is "
            "kept beside it",
        )  # fmt: skip
    elif scaled:
        decisions.refuse(
            f"{total} and its parts are in different units",
            found=f"the total times {scaled[0]} equals the sum of the parts in "
            f"{100 * evidence[f'times_{scaled[0]}'] / usable:.1f} % of records",
            expected="one unit, or the right one declared for each",
            do="the data cannot tell which is wrong: give the columns their units in a mapping "
            "(inspect --write-mapping begins one)",
        )
    else:
        decisions.note(
            total, "total", "warning", usable,
            f"is not the sum of its parts ({100 * evidence['all'] / usable:.1f} % of records agree, "
            f"{100 * evidence['below'] / usable:.1f} % are below it) and no reading is certain: kept as "
            "reported",
        )  # fmt: skip
