"""What the values of a subscriber table say of its units, and what is missing in it."""

from __future__ import annotations

from collections.abc import Mapping as Map
from typing import Any, Final

import narwhals as nw

from subsight.sources.checks import CONTROL, Decisions
from subsight.sources.mapping import Mapping
from subsight.store import Frame, Store
from subsight.tables import SUBSCRIBERS
from subsight.units import factor

__all__ = ["FLAGS", "NUMBERS", "ROUNDED", "TEXTS", "decide"]

NUMBERS: Final = tuple(column.name for column in SUBSCRIBERS if column.kind == "float")
FLAGS: Final = tuple(column.name for column in SUBSCRIBERS if column.kind == "boolean")
TEXTS: Final = tuple(c.name for c in SUBSCRIBERS if c.kind == "text" and not c.identifier)
ROUNDED: Final = r"^[1-9][0-9]{14}0+$"
"""15 significant digits and then zeros: what a spreadsheet leaves of a longer number."""
_LONG: Final = r"^[0-9]{16,}$"
_RARE: Final = 0.001
_ENOUGH: Final = 30
_YOUNG: Final = 60.0
"""No base of any size is this young in days; in years, none is this old."""
_HUGE: Final = 100e9
"""100 TB in kB."""


def decide(
    store: Store, parsed: Frame, mapping: Mapping, found: frozenset[str], *, is_given: bool
) -> Decisions:
    """Every decision about a file's rows, from one pass over their values in the source's units.

    `found` are the columns that the file has. A unit that a person declared (`is_given`) is doubted in a
    warning; one that was proposed, or stands in a name, is refused.
    """
    decisions = Decisions()
    for name in (name for name in NUMBERS if name in found):
        column = mapping[name]
        decisions.units[name] = (column and column.unit) or SUBSCRIBERS[name].unit or ""
        decisions.certainty[name] = "declared" if column and column.unit else "assumed"
    evidence = store.row(parsed.select(records=nw.len(), **_evidence(found, decisions)))
    _decide_missing(evidence, found, decisions)
    _decide_tenure(evidence, decisions, is_given=is_given)
    _decide_volumes(evidence, decisions)
    _decide_texts(evidence, decisions)
    return decisions


def _count(condition: Any) -> Any:
    return condition.cast(nw.Float64).sum()


def _evidence(found: frozenset[str], decisions: Decisions) -> dict[str, Any]:
    name = nw.col("identifier")
    sought = {
        "long": _count(name.str.contains(_LONG)),
        "rounded": _count(name.str.contains(ROUNDED)),
        "exact": _count(~name.str.contains(r"^[0-9]{7,15}$|^[0-9a-f]{32}$")),
    }
    sought |= {f"null_{n}": _count(nw.col(f"{n}_given").is_null()) for n in found if n != "subscriber_id"}
    sought |= {f"garbled_{n}": _count(nw.col(n).str.contains(CONTROL)) for n in TEXTS if n in found}
    for number in decisions.units:
        value = nw.col(number)
        sought |= {f"values_{number}": value.count(), f"above_0_{number}": _count(value > 0)}
        scale = factor(decisions.units[number], SUBSCRIBERS[number].unit or "")
        sought[f"huge_{number}"] = _count(value * scale > (SUBSCRIBERS[number].high or _HUGE))
    if "tenure_days" in found:
        tenure = nw.col("tenure_days")
        sought |= {"longest": tenure.max(), "broken": _count((tenure - tenure.round(0)).abs() > 0)}
    if {"ul_kilobytes", "dl_kilobytes"} <= found:
        up, down = (
            nw.col(n) * factor(decisions.units[n], "kilobytes") for n in ("ul_kilobytes", "dl_kilobytes")
        )
        sought |= {"more_up": _count(up > down), "more_down": _count(up < down)}
    return sought


def _decide_missing(evidence: Map[str, Any], found: frozenset[str], decisions: Decisions) -> None:
    for column in SUBSCRIBERS:
        missing = evidence.get(f"null_{column.name}") or 0
        if missing:
            severity = "warning" if missing > _RARE * evidence["records"] else "note"
            text = "subscribers without a value: it stays unknown"
            decisions.note(column.name, "missing", severity, missing, text)
    lacking = [n for n in ("region", "tenure_days", "ul_kilobytes", "dl_kilobytes") if n not in found]
    if lacking:
        text = f"the file has no {', '.join(lacking)}: unknown for every subscriber"
        decisions.note("columns", "missing", "note", evidence["records"], text)


def _decide_tenure(evidence: Map[str, Any], decisions: Decisions, *, is_given: bool) -> None:
    values = evidence.get("values_tenure_days") or 0
    if values < _ENOUGH:
        return
    unit, longest = decisions.units["tenure_days"], evidence["longest"]
    huge = evidence["huge_tenure_days"] or 0
    broken = (evidence["broken"] or 0) / values
    if huge > 0.5 * values:
        decisions.refuse(
            "the unit of tenure_days contradicts the data",
            found=f"{decisions.certainty['tenure_days']} {unit}: {huge:.0f} of {values} are above 100 years",
            expected="a unit in which people stay for less",
            do="declare the unit of the column in a mapping: days, weeks, months, years or hours",
        )
    elif unit in ("days", "day", "hours") and longest < _YOUNG and broken > 0.5:
        text = (
            f"{decisions.certainty['tenure_days']} {unit}, but the longest is {longest:g} and "
            f"{100 * broken:.0f} % of {values} are no whole numbers"
        )
        if is_given:
            decisions.note("tenure_days", "unit", "warning", values, f"{text}: may it be years or months?")
        else:
            decisions.refuse(
                "the unit of tenure_days contradicts the data", found=text,
                expected="days, which are whole or pass 60",
                do="declare the unit of the column (years, months, weeks or, where it is so, days) in a "
                "mapping and pass it with --mapping: see docs/mappings.md",
            )  # fmt: skip


def _decide_volumes(evidence: Map[str, Any], decisions: Decisions) -> None:
    for name in ("ul_kilobytes", "dl_kilobytes"):
        values = evidence.get(f"values_{name}") or 0
        if values and not evidence[f"above_0_{name}"]:
            decisions.note(name, "range", "warning", values, "no value is above 0: is it the right column?")
        if huge := evidence.get(f"huge_{name}") or 0:
            text = f"more than 100 TB, read in {decisions.units[name]}: kept; is the unit right?"
            decisions.note(name, "range", "warning", huge, text)
    up, down = evidence.get("more_up") or 0, evidence.get("more_down") or 0
    if up + down >= _ENOUGH and up > 0.9 * (up + down):
        text = "subscribers send more than they receive, most of all: are uplink and downlink swapped?"
        decisions.note("ul_kilobytes", "direction", "warning", up, text)


def _decide_texts(evidence: Map[str, Any], decisions: Decisions) -> None:
    for name in TEXTS:
        if garbled := evidence.get(f"garbled_{name}") or 0:
            decisions.garbled.add(name)
            text = "values hold control characters: treated as unknown"
            decisions.note(name, "text", "warning", garbled, text)
    long, rounded = evidence["long"] or 0, evidence["rounded"] or 0
    # One long number in ten ends in a zero by chance; most of them do only after a spreadsheet.
    if rounded and rounded >= 0.5 * long:
        decisions.lossy.add("subscriber_id")
    if exact := evidence["exact"] or 0:
        text = "identifiers that are no MSISDN: taken as they stand there"
        decisions.note("subscriber_id", "form", "note", exact, text)
