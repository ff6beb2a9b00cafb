"""Who moved between segments since they were last made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies.groups import percent
from subsight.studies.segments import members
from subsight.studies.segments.members import SegmentInputs, SegmentQuestion

__all__ = ["QUESTIONS"]

_QUESTION: Final = "Who moved from which segment to which?"


def _migration(inputs: SegmentInputs) -> Answer:
    before = inputs.previous_names
    if not before:
        return Answer("segments.migration", _QUESTION, [], ("This is the first segmentation: nobody moved.",))
    both = members.placed(inputs).filter(~nw.col("previous_segment_name").is_null())
    counted = both.group_by("previous_segment_name", "segment_name").agg(count=nw.len())
    found = {(r["previous_segment_name"], r["segment_name"]): r["count"] for r in inputs.store.rows(counted)}
    now = members.names(inputs)
    whole = {old: sum(found.get((old, new), 0) for new in now) for old in before}
    rows = [
        {
            "previous_rank": i,
            "previous_segment_name": old,
            "segment_rank": j,
            "segment_name": new,
            "subscriber_count": found[old, new],
            "previous_share": found[old, new] / whole[old],
        }
        for i, old in enumerate(before, 1)
        for j, new in enumerate(now, 1)
        if found.get((old, new))
    ]
    chart = charts.flows("previous_segment_name", "previous_rank", "segment_name", "segment_rank")
    return Answer(
        "segments.migration", _QUESTION, rows, _told(inputs, rows), chart if rows else None,
        group_size="subscriber_count",
        notes=("Only those who had a segment before and have one now.",),
    )  # fmt: skip


def _told(inputs: SegmentInputs, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    everyone = sum(row["subscriber_count"] for row in rows)
    if not everyone:
        return ("Nobody who had a segment before has one now.",)
    stayed = sum(
        row["subscriber_count"] for row in rows if row["segment_name"] == row["previous_segment_name"]
    )
    reading = [
        f"Of {words.plural(everyone, 'subscriber')} with a segment before and now, "
        f"{percent(stayed / everyone)} are in the segment of the same name."
    ]
    moves = [row for row in rows if row["segment_name"] != row["previous_segment_name"]]
    shown = [row for row in moves if row["subscriber_count"] >= inputs.settings.minimum_group]
    if shown:
        most = max(shown, key=lambda row: row["subscriber_count"])
        reading.append(
            f"The largest move is from {most['previous_segment_name']} to {most['segment_name']}: "
            f"{words.plural(most['subscriber_count'], 'subscriber')}, "
            f"{percent(most['previous_share'])} of {most['previous_segment_name']}."
        )
    return tuple(reading)


QUESTIONS: Final = (SegmentQuestion("segments.migration", _QUESTION, _migration),)
