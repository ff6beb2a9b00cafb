"""What the questions about segments look at, and the aggregates that several of them share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.settings import Settings
from subsight.store import Frame, Store
from subsight.studies.groups import group, moments
from subsight.studies.words import Group, named

__all__ = ["MOST_LEVELS", "Measure", "SegmentInputs", "SegmentQuestion", "columns", "groups_of", "known",
           "levels_of", "measures", "names", "placed", "said", "sizes", "unplaced", "use"]  # fmt: skip

_DESCRIPTORS: Final = ("bearer_type", "browser", "browsing_category", "plan")
MOST_LEVELS: Final = 200
"""Levels of a text beyond which it is not compared."""
_NUMBER: Final = r"^[+-]?[0-9]{1,15}(\.[0-9]{1,15})?$"
_NUMERIC: Final = re.compile(r"^(U?Int|Float|Decimal)")


@dataclass(frozen=True)
class SegmentInputs:
    """What the study of segments may look at.

    Attributes:
        members: one row per subscriber: `subscriber_id, subscriber_hash, segment` (null where an input is
            `lacking`), `segment_name, distance, runner_up_name, runner_up_distance`, the raw inputs, and
            where known `bearer_type, browser, browsing_category, plan, is_churned, satisfaction_index` (0
            to 100), `satisfaction_cluster` (0: less satisfied) and `previous_segment_name`.
        record: the fit record of the model `segments`, as JSON values.
        previous_names: the names of the segmentation before, in order; None where there was none.
        quality: what ingest found.
    """

    store: Store
    members: Frame
    record: Mapping[str, Any]
    settings: Settings
    previous_names: Sequence[str] | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentQuestion:
    """A question about segments: its id (`segments.name`), its words, and the function that answers it."""

    id: str
    text: str
    answer: Callable[[SegmentInputs], Answer]
    filters: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Measure:
    """A column that segments are compared by; `is_input` says whether they were made of it."""

    name: str
    is_number: bool
    is_input: bool
    value: Any
    """An expression: a float, or a text."""


def names(inputs: SegmentInputs) -> list[str]:
    """The name of each segment, in the order of their numbers."""
    return list(inputs.record["names"])


def columns(inputs: SegmentInputs) -> Mapping[str, str]:
    """The members' columns and the names of their types."""
    return {name: str(kind) for name, kind in inputs.members.collect_schema().items()}


def known(inputs: SegmentInputs, one: Mapping[str, Any]) -> Any:
    """Whether an input is there: a text that is used as a number has to be one."""
    column = nw.col(one["name"])
    if one["kind"] == "number" and columns(inputs)[one["name"]] == "String":
        return column.str.contains(_NUMBER).fill_null(False)
    return ~column.is_null()


def measures(inputs: SegmentInputs) -> list[Measure]:
    """The inputs in order, then the columns that only describe, as far as the members have them."""
    kinds, record = columns(inputs), inputs.record
    found = []
    for one in record["inputs"]:
        column, is_number = nw.col(one["name"]), one["kind"] == "number"
        value = nw.when(known(inputs, one)).then(column)
        found.append(Measure(one["name"], is_number, True, value.cast(nw.Float64) if is_number else column))
    taken = {one.name for one in found} | set(record["fit"].get("constant", {}))
    described = [*record["fit"].get("descriptors", []), *_DESCRIPTORS]
    for name in dict.fromkeys(name for name in described if name in kinds and name not in taken):
        is_number = bool(_NUMERIC.match(kinds[name]))
        kind = nw.Float64 if is_number else nw.String
        found.append(Measure(name, is_number, False, nw.col(name).cast(kind)))
    return found


def placed(inputs: SegmentInputs) -> Frame:
    """The subscribers who have a segment."""
    return inputs.members.filter(~nw.col("segment").is_null())


def unplaced(inputs: SegmentInputs) -> dict[str, int]:
    """How many subscribers lack each input, under its name, and how many have no segment, under ''."""
    asked = {one["name"]: known(inputs, one) for one in inputs.record["inputs"]}
    lacks = {name: nw.when(is_there).then(0.0).otherwise(1.0).sum() for name, is_there in asked.items()}
    found = inputs.store.row(
        inputs.members.select(
            **{f"lacks:{name}": value for name, value in lacks.items()},
            none=nw.col("segment").is_null().cast(nw.Float64).sum(),
        )
    )
    return {"": int(found["none"] or 0), **{name: int(found[f"lacks:{name}"] or 0) for name in asked}}


def groups_of(inputs: SegmentInputs, values: Mapping[str, Any]) -> dict[str, list[Group]]:
    """Mean, deviation and count of each expression in every segment, in the order of their numbers."""
    grouped = placed(inputs).group_by("segment").agg(**moments(values))
    rows = {row["segment"]: row for row in inputs.store.rows(grouped)}
    empty = Group(0.0, 0.0, 0)
    return {
        name: [group(rows[i], name) if i in rows else empty for i in range(len(names(inputs)))]
        for name in values
    }


def sizes(inputs: SegmentInputs) -> list[int]:
    """How many subscribers each segment holds."""
    counted = placed(inputs).group_by("segment").agg(count=nw.len())
    found = {row["segment"]: row["count"] for row in inputs.store.rows(counted)}
    return [found.get(i, 0) for i in range(len(names(inputs)))]


def levels_of(inputs: SegmentInputs, measure: Measure) -> dict[str, list[int]] | None:
    """How many subscribers of each segment have each level of a text, the commonest level first.

    None where it has so many levels that it names subscribers rather than groups of them.
    """
    level = placed(inputs).select("segment", level=measure.value).filter(~nw.col("level").is_null())
    counted = level.group_by("level", "segment").agg(count=nw.len())
    # Nobody may have any: then there is nothing to count.
    if (inputs.store.row(level.select(n=nw.col("level").n_unique()))["n"] or 0) > MOST_LEVELS:
        return None
    found: dict[str, list[int]] = {}
    for row in inputs.store.rows(counted):
        found.setdefault(row["level"], [0] * len(names(inputs)))[row["segment"]] = row["count"]
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1]), item[0])))


def use(inputs: SegmentInputs) -> tuple[str, Any] | None:
    """What says how much a subscriber uses, as far as the members have it: its name and an expression."""
    kinds = columns(inputs)
    volumes = [name for name in ("ul_kilobytes", "dl_kilobytes") if name in kinds]
    if volumes:
        parts = [nw.col(name).cast(nw.Float64) for name in volumes]
        return "total_kilobytes", reduce(lambda a, b: a + b, parts)
    for name in ("total_bytes", "duration_s", "session_count"):
        if name in kinds:
            return name, nw.col(name).cast(nw.Float64)
    return None


def said(name: str) -> str:
    """A measure in a sentence; one with a level is that level."""
    column, equals, level = name.partition("=")
    return f"{named(column)} {level}" if equals else named(name)
