"""Who moved between segments since they were last made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies.groups import percent, proportion, whole_share
from subsight.studies.segments import members
from subsight.studies.segments.members import SegmentInputs, SegmentQuestion

__all__ = ["NOWHERE", "QUESTIONS"]

NOWHERE: Final = "no segment"
"""Where those are now who lack an input that they had before."""
_QUESTION: Final = "Who moved from which segment to which?"


def _migration(inputs: SegmentInputs) -> Answer:
    before = inputs.previous_names
    if not before:
        return Answer("segments.migration", _QUESTION, [], ("This is the first segmentation: nobody moved.",))
    known = inputs.members.filter(~nw.col("previous_segment_name").is_null())
    name = nw.when(~nw.col("segment").is_null()).then(nw.col("segment_name")).otherwise(nw.lit(NOWHERE))
    counted = known.select("previous_segment_name", segment_name=name)
    counted = counted.group_by("previous_segment_name", "segment_name").agg(count=nw.len())
    found = {(r["previous_segment_name"], r["segment_name"]): r["count"] for r in inputs.store.rows(counted)}
    now = [*members.names(inputs), NOWHERE]
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
    chart = charts.flows(
        "previous_segment_name", "previous_rank", "segment_name", "segment_rank", [*before, *now]
    )
    return Answer(
        "segments.migration", _QUESTION, rows, _told(inputs, rows), chart if rows else None,
        group_size="subscriber_count",
        notes=(f"Only those who had a segment before; who has {NOWHERE} lacks an input now.", _same(inputs)),
    )  # fmt: skip


def _same(inputs: SegmentInputs) -> str:
    """What a name that is there before and now stands for."""
    if inputs.record.get("matched"):
        return "Segments were matched by their centroids: a name stands for the same group as before."
    return "Segments were not matched to those before: a name may stand for another group now."


def _told(inputs: SegmentInputs, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    everyone = sum(row["subscriber_count"] for row in rows)
    if not everyone:
        return ("Nobody who had a segment before is here now.",)
    stayed = sum(
        row["subscriber_count"] for row in rows if row["segment_name"] == row["previous_segment_name"]
    )
    whole = f"Of {words.plural(everyone, 'subscriber')} with a segment before"
    share = whole_share(proportion(stayed, everyone), inputs.settings.minimum_group)
    if share is None:
        few = "moved" if 2 * stayed > everyone else "stayed"
        return (f"{whole}, too few {few} to say how many.",)
    reading = [f"{whole}, {percent(share)} are in the segment of the same name."]
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
