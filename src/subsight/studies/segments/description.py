"""What the segments are: their sizes, their profiles against the average, and what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import SUBSCRIBERS, charts, words
from subsight.studies.groups import percent, proportion, whole_share
from subsight.studies.segments.members import (
    SegmentInputs,
    SegmentQuestion,
    groups_of,
    levels_of,
    measures,
    names,
    said,
    sizes,
    unplaced,
)

__all__ = ["QUESTIONS"]

_TEXT: Final = {
    "overview": "Into which segments are subscribers divided, and how large are they?",
}


def _overview(inputs: SegmentInputs) -> Answer:
    record, minimum = inputs.record, inputs.settings.minimum_group
    counts, lacks = sizes(inputs), unplaced(inputs)
    everyone, asked = sum(counts), [one for one in measures(inputs) if one.is_input]
    means = groups_of(inputs, {one.name: one.value for one in asked if one.is_number})
    levels = {one.name: levels_of(inputs, one) or {} for one in asked if not one.is_number}
    values = record["fit"].get("order_values", [None] * len(counts))
    rows = []
    for i, (name, count) in enumerate(zip(names(inputs), counts, strict=True)):
        row: dict[str, Any] = {
            "segment_name": name,
            "subscriber_count": count,
            "subscriber_share": count / everyone if everyone else None,
        }
        row |= {f"mean_{of}": found[i].mean if found[i].count else None for of, found in means.items()}
        for of, found in levels.items():
            level, share = _commonest(found, i, count, minimum)
            row |= {f"commonest_{of}": level, f"commonest_{of}_share": share}
        rows.append(row | {"order_value": values[i]})
    reading = [*_how_many(inputs, rows, lacks), *_left_out(record)]
    facts: dict[str, float | str | None] = {
        "segment_count": len(rows),
        "subscriber_count": everyone,
        "unplaced_count": lacks[""],
    }
    chart = charts.bars("segment_name", "subscriber_count")
    return _answer(
        "overview", rows, reading, chart=chart, facts=facts, group_size="subscriber_count",
        notes=_how_made(record),
    )  # fmt: skip


def _answer(name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], **more: Any) -> Answer:
    return Answer(f"segments.{name}", _TEXT[name], rows, tuple(reading), **more)


def _commonest(
    levels: Mapping[str, Sequence[int]], segment: int, size: int, minimum: int
) -> tuple[str | None, float | None]:
    """A segment's commonest level and its share, or None where too few have it or have it not."""
    best = max(levels, key=lambda level: levels[level][segment], default=None)
    if best is None or levels[best][segment] < max(minimum, 1):
        return None, None
    return best, whole_share(proportion(levels[best][segment], size), minimum)


def _how_many(
    inputs: SegmentInputs, rows: Sequence[Mapping[str, Any]], lacks: Mapping[str, int]
) -> list[str]:
    placed = sum(row["subscriber_count"] for row in rows)
    whole = words.plural(placed + lacks[""], "subscriber")
    said_of = [
        f"{count:,} {'lacks' if count == 1 else 'lack'} {said(name)}"
        for name, count in lacks.items()
        if name and count
    ]
    reading = [
        f"All {whole} are in one of {len(rows)} segments."
        if not lacks[""]
        else f"Of {whole}, {placed:,} are in one of {len(rows)} segments. {lacks['']:,} "
        f"{'is' if lacks[''] == 1 else 'are'} in none, for nothing is filled in: {words.listing(said_of)}."
    ]
    shown = [row for row in rows if row["subscriber_count"] >= inputs.settings.minimum_group]
    if len(shown) > 1:
        most, least = (pick(shown, key=lambda row: row["subscriber_count"]) for pick in (max, min))
        reading.append(
            f"{most['segment_name']} is the largest with {percent(most['subscriber_share'])} of those who "
            f"are in one, {least['segment_name']} the smallest with {percent(least['subscriber_share'])}."
        )
    return reading


def _left_out(record: Mapping[str, Any]) -> list[str]:
    constant = record["fit"].get("constant", {})
    told = [
        f"{said(name)} ({value if isinstance(value, str) else words.say(value, name)})"
        for name, value in constant.items()
    ]
    return [f"Not used, as it is the same for all: {words.listing(told)}."] if told else []


def _how_made(record: Mapping[str, Any]) -> tuple[str, ...]:
    asked = words.listing([said(one["name"]) for one in record["inputs"]])
    notes = [f"k-means on {asked}: z-scores of numbers, one 0/1 column for each level of a category."]
    if record["region"] == "numeric":
        notes.append("region is used as a number, as the published model does: 2 lies between 1 and 3.")
    elif record["region"]:
        notes.append("region is used as a category, even where it is written as a number.")
    order = words.listing([f"mean z of {said(name)}" for name in record["order"]])
    if record["matched"]:
        run = record["matched"].get("from_run")
        notes.append(
            f"Segments were matched to those of {f'the run {run}' if run else 'the fit before'} by their "
            "centroids and kept their numbers and names; order_value says how they would be ordered now."
        )
    else:
        notes.append(f"Segments are named in the order of order_value ({order} together), highest first.")
    return tuple(notes)


QUESTIONS: Final = (SegmentQuestion("segments.overview", _TEXT["overview"], _overview, SUBSCRIBERS),)
