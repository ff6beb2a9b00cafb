"""Segments against the average and against each other: what is higher, and what differentiates them most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies.groups import pooled, proportion, whole_share
from subsight.studies.segments import members
from subsight.studies.segments.members import Measure, SegmentInputs, SegmentQuestion, said
from subsight.studies.words import LEAST_EFFECT, LEAST_ERRORS, Group
from subsight.units import unit_of

__all__ = ["QUESTIONS", "cramers_v", "eta_squared", "sides"]

_TEXT: Final = {
    "profile": "How does each segment differ from the average subscriber?",
    "differences": "What differentiates the segments, the strongest first?",
}
# Cohen 1988: eta squared of f = 0.1, 0.25, 0.4; an association of 0.1, 0.3, 0.5.
_STRENGTHS: Final = {"eta squared": (0.01, 0.059, 0.138), "Cramer's V": (0.1, 0.3, 0.5)}
_FARTHEST: Final = 3
"""z units beyond which a colour of the heat map says no more: one segment far out would pale the others."""
_ROLES: Final = {True: "made of it", False: "only describes"}


def sides(inputs: SegmentInputs) -> dict[str, list[Group]]:
    """What segments are compared by: each number, and of each text the levels that are a segment's commonest.

    A level is `name=level`, the mean of ones and zeros over those whose level is known.
    """
    asked = members.measures(inputs)
    found = members.groups_of(inputs, {one.name: one.value for one in asked if one.is_number})
    made: dict[str, list[Group]] = {}
    for one in asked:
        if one.is_number:
            made[one.name] = found[one.name]
            continue
        levels = members.levels_of(inputs, one) or {}
        totals = [sum(counts) for counts in zip(*levels.values(), strict=True)]
        best = {max(levels, key=lambda level: levels[level][i]) for i, total in enumerate(totals) if total}
        for level in (level for level in levels if level in best):
            parts = zip(levels[level], totals, strict=True)
            made[f"{one.name}={level}"] = [proportion(part, total) for part, total in parts]
    return made


def _profile(inputs: SegmentInputs) -> Answer:
    minimum, counts, found = inputs.settings.minimum_group, members.sizes(inputs), sides(inputs)
    rows: list[dict[str, Any]] = []
    for i, (name, count) in enumerate(zip(members.names(inputs), counts, strict=True)):
        for measure, groups in found.items():
            mean, z = _placed(groups[i], pooled(groups), "=" in measure, minimum)
            rows.append(
                {
                    "segment_name": name,
                    "subscriber_count": count,
                    "measure": measure,
                    "unit": "share" if "=" in measure else unit_of(measure),
                    "mean": mean,
                    "difference_z": z,
                }
            )
    shown = [row for row in rows if row["subscriber_count"] >= minimum and row["difference_z"] is not None]
    reading = [
        _farthest(name, [row for row in shown if row["segment_name"] == name], found)
        for name in dict.fromkeys(row["segment_name"] for row in shown)
    ]
    reach = max([1.0, *(abs(row["difference_z"]) for row in shown)])
    chart = charts.heat(
        "segment_name", "measure", "difference_z", diverging=True, reach=min(math.ceil(reach), _FARTHEST)
    )
    notes = (
        "difference_z: the segment's mean minus the mean of all who are in one, in population standard "
        "deviations of all. Of a category, the share of each level that is the commonest of some segment.",
        f"Colours end at {_FARTHEST} on either side.",
    )
    return Answer(
        "segments.profile", _TEXT["profile"], rows, tuple(reading), chart if rows else None,
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _placed(group: Group, whole: Group, is_share: bool, minimum: int) -> tuple[float | None, float | None]:
    """A segment's mean and its distance from that of all in z units, None where too few are behind it."""
    mean = whole_share(group, minimum) if is_share else group.mean
    if mean is None or group.count < minimum or not group.count:
        return None, None
    return mean, (group.mean - whole.mean) / whole.deviation if whole.deviation > 0 else 0.0


def _farthest(name: str, rows: Sequence[Mapping[str, Any]], found: Mapping[str, Sequence[Group]]) -> str:
    """In which measure a segment lies farthest from the average."""
    best = max(rows, key=lambda row: abs(row["difference_z"]))
    z, measure = best["difference_z"], best["measure"]
    if abs(z) < LEAST_EFFECT:
        return f"{name} is close to the average in everything compared."
    unit = "a_share" if "=" in measure else measure
    whole = pooled(found[measure]).mean
    return (
        f"{name} lies farthest from the average in {said(measure)}: {abs(z):.2f} standard deviations "
        f"{'above' if z > 0 else 'below'} ({words.say(best['mean'], unit)} against {words.say(whole, unit)})."
    )


def eta_squared(groups: Sequence[Group]) -> float | None:
    """The share of a number's variance that lies between groups; None where it does not vary.

    >>> round(eta_squared([Group(1.0, 1.0, 50), Group(3.0, 1.0, 50)]), 9)
    0.5
    """
    whole = pooled(groups)
    if not whole.count or whole.deviation <= 0:
        return None
    between = math.fsum(one.count * (one.mean - whole.mean) ** 2 for one in groups) / whole.count
    return min(between / whole.deviation**2, 1.0)


def cramers_v(table: Sequence[Sequence[int]]) -> tuple[float, float, int] | None:
    """Cramer's V without its bias (Bergsma 2013), with chi squared and its degrees of freedom.

    Rows and columns that hold nobody do not count; None where one row or one column is left.

    >>> v, chi, free = cramers_v([[30, 10], [10, 30]])
    >>> round(v, 4), round(chi, 6), free
    (0.4903, 20.0, 1)
    """
    kept = [row for row in table if sum(row)]
    columns = [column for column in zip(*kept, strict=True) if sum(column)]
    n, (r, c) = sum(map(sum, kept)), (len(kept), len(columns))
    if r < 2 or c < 2 or n < 2:
        return None
    rows = [sum(row) for row in zip(*columns, strict=True)]
    chi = math.fsum(
        (seen - across * sum(column) / n) ** 2 / (across * sum(column) / n)
        for column in columns
        for across, seen in zip(rows, column, strict=True)
    )
    free = (r - 1) * (c - 1)
    corrected = max(0.0, chi / n - free / (n - 1))
    least = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return (min(math.sqrt(corrected / least), 1.0) if least > 0 else 0.0), chi, free


def _differences(inputs: SegmentInputs) -> Answer:
    found, skipped = [], []
    numbers = members.groups_of(
        inputs, {one.name: one.value for one in members.measures(inputs) if one.is_number}
    )
    for one in members.measures(inputs):
        levels = None if one.is_number else members.levels_of(inputs, one)
        if not one.is_number and levels is None:
            skipped.append(said(one.name))
            continue
        row = _of_number(one, numbers[one.name]) if levels is None else _of_text(one, levels)
        if row and row["subscriber_count"] >= max(inputs.settings.minimum_group, 2):
            found.append(row)
    found.sort(key=lambda row: -row["association"])
    rows = [{"rank": i, **row} for i, row in enumerate(found, 1)]
    notes = [
        "eta squared: the share of a number's variance that lies between segments. Cramer's V: without "
        "its bias (Bergsma 2013). association: the root of eta squared, or Cramer's V: both run from 0 to "
        "1, and the ranks follow it.",
    ]
    if skipped:
        notes.append(f"Not compared, with more than {members.MOST_LEVELS} levels: {words.listing(skipped)}.")
    chart = charts.bars("measure", "association", colour="role", stacked=True)
    return Answer(
        "segments.differences", _TEXT["differences"], rows, _told(rows), chart if rows else None,
        notes=tuple(notes),
    )  # fmt: skip


def _of_number(one: Measure, groups: Sequence[Group]) -> dict[str, Any] | None:
    eta, count = eta_squared(groups), sum(group.count for group in groups)
    seen = sum(1 for group in groups if group.count)
    if eta is None or seen < 2:
        return None
    chance = _beyond_chance(count * eta, seen - 1)
    return _row(one, "eta squared", eta, math.sqrt(eta), chance, count)


def _of_text(one: Measure, levels: Mapping[str, Sequence[int]]) -> dict[str, Any] | None:
    found = cramers_v(list(levels.values()))
    if found is None:
        return None
    v, chi, free = found
    return _row(one, "Cramer's V", v, v, _beyond_chance(chi, free), sum(map(sum, levels.values())))


def _beyond_chance(chi: float, free: int) -> bool:
    """Whether chi squared lies `LEAST_ERRORS` of its deviations above what chance gives."""
    return chi > free + LEAST_ERRORS * math.sqrt(2 * free)


def _row(
    one: Measure, statistic: str, effect: float, association: float, is_clear: bool, count: int
) -> dict[str, Any]:
    small, medium, large = _STRENGTHS[statistic]
    size = (
        "large" if effect >= large else "medium" if effect >= medium else "small" if effect >= small else None
    )
    return {
        "measure": one.name,
        "role": _ROLES[one.is_input],
        "statistic": statistic,
        "effect_size": effect,
        "association": association,
        "strength": size if size and is_clear else "no clear difference",
        "subscriber_count": count,
    }


def _told(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    reading = []
    for role, start in (
        (True, "Of what the segments were made of,"),
        (False, "Of what only describes them,"),
    ):
        of_role = [row for row in rows if row["role"] == _ROLES[role]]
        clear = [row for row in of_role if row["strength"] != "no clear difference"]
        if clear:
            best = clear[0]
            reading.append(
                f"{start} {said(best['measure'])} differentiates them most ({best['statistic']} "
                f"{best['effect_size']:.2f}: a {best['strength']} effect)."
            )
            if rest := [said(row["measure"]) for row in clear[1:]]:
                reading.append(f"It is followed by {words.listing(rest)}.")
        if unclear := [said(row["measure"]) for row in of_role if row not in clear]:
            reading.append(f"{start} there is no clear difference in {words.listing(unclear)}.")
    return tuple(reading) or ("There is nothing in which the segments could be compared.",)


QUESTIONS: Final = (
    SegmentQuestion("segments.profile", _TEXT["profile"], _profile),
    SegmentQuestion("segments.differences", _TEXT["differences"], _differences),
)
