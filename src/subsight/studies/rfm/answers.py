"""What the scores tell: where they are cut, which groups they make, and whom the groups hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import charts, words
from subsight.studies.groups import percent, proportion, total, whole_share
from subsight.studies.rfm.rules import GROUPS
from subsight.studies.rfm.scores import MEASURES, Cuts, RfmInputs
from subsight.studies.segments.comparison import cramers_v

__all__ = ["QUESTIONS", "RfmQuestion"]

_TEXT: Final = {
    "thresholds": "Where are recency, frequency, usage and connections cut into scores?",
    "groups": "Which target groups do recency, frequency and usage make, and what follows for each?",
    "matrix": "How do recency and frequency go together?",
    "segments": "Which target groups are the segments made of?",
}
_SAID: Final = {
    "recency": "days since the last use", "frequency": "active days", "usage": "volume",
    "connection": "connections",
}  # fmt: skip
_NOBODY: Final = "There is no named subscriber with use up to {as_of}: nobody can be scored."
_QUIET: Final = ("Cannot lose", "At risk")


@dataclass(frozen=True)
class RfmQuestion:
    """A question about the scores: its id (`rfm.name`), its words, and what answers it."""

    id: str
    text: str
    answer: Callable[[RfmInputs], Answer]


def _answer(
    inputs: RfmInputs, name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], **more: Any
) -> Answer:
    """An answer about groups; without anybody it says so."""
    notes = (*more.pop("notes", ()), *_left_out(inputs))
    if not rows and not reading:
        reading, more = [_NOBODY.format(as_of=inputs.usage.as_of)], {}
    return Answer(
        f"rfm.{name}", _TEXT[name], rows, tuple(reading), group_size="subscriber_count", notes=notes, **more
    )


def _left_out(inputs: RfmInputs) -> list[str]:
    return [
        f"Left out: {words.plural(one.flow_count, 'connection')} with "
        f"{words.say(one.total_bytes, 'total_bytes')} {one.reason}."
        for one in inputs.left_out
    ]


# Thresholds


def _thresholds(inputs: RfmInputs) -> Answer:
    counted: dict[str, dict[int, int]] = {}
    rows: list[dict[str, Any]] = []
    for score, cuts in inputs.cuts.items():
        name = f"{score}_score"
        found = inputs.usage.store.rows(inputs.people.group_by(name).agg(count=nw.len()))
        counted[score] = {row[name]: row["count"] for row in found}
        rows += _bands(cuts, counted[score])
    everyone = sum(counted["usage"].values())
    if not everyone:
        return _answer(inputs, "thresholds", [], [])
    minimum = inputs.usage.settings.minimum_group
    shown = {
        score: cuts for score, cuts in inputs.cuts.items() if cuts.is_given or everyone >= max(minimum, 2)
    }
    reading = [_cut(cuts, counted[score]) for score, cuts in shown.items()]
    if len(shown) < len(inputs.cuts):
        reading.append("There are too few subscribers to tell where quintiles cut them.")
    notes = (
        f"Recency counts from {inputs.usage.as_of}. A score is 1 and the number of thresholds below the "
        "value; of recency it is 5 less that number: 5 is always best, and a value that equals a threshold "
        "is not above it.",
        "Of quintiles, the highest value seen scores 5 (of recency 1), however many share it; where all "
        "values are equal they score 3, of recency 5. Quintiles are exact, between two values by linear "
        "interpolation.",
        "The code writes the scores of recency, frequency and usage; that of connections stands beside it.",
    )
    return _answer(inputs, "thresholds", rows, reading, notes=notes)


def _bands(cuts: Cuts, counted: Mapping[int, int]) -> list[dict[str, Any]]:
    """The values that each score stands for, the best score first."""
    edges = (None, *cuts.thresholds, None)
    rows = []
    for score in range(5, 0, -1):
        place = 6 - score if cuts.score == "recency" else score
        is_cut = bool(cuts.thresholds)
        rows.append(
            {
                "measure": cuts.measure,
                "cut": "given" if cuts.is_given else "quintiles",
                "score": str(score),
                "above": edges[place - 1] if is_cut else None,
                "up_to": edges[place] if is_cut else None,
                "subscriber_count": counted.get(score, 0),
            }
        )
    return rows


def _cut(cuts: Cuts, counted: Mapping[int, int]) -> str:
    said = _SAID[cuts.score].capitalize()
    empty = [str(score) for score in range(1, 6) if not counted.get(score)]
    if cuts.is_constant:
        (score,) = counted
        at = words.say(cuts.lowest, cuts.measure)
        return f"{said}: all have {at}, so quintiles cannot tell anybody apart; all score {score}."
    edges = words.listing([words.say(edge, cuts.measure) for edge in cuts.thresholds])
    told = f"{said}: cut at {edges} ({'as given' if cuts.is_given else 'quintiles'})."
    if not empty:
        return told
    why = "no value lies there" if cuts.is_given else "too many share a value"
    return f"{told} Nobody scores {words.listing(empty)}: {why}."


# Groups


def _groups(inputs: RfmInputs) -> Answer:
    rows = _sized(inputs)
    minimum = inputs.usage.settings.minimum_group
    shown = [row for row in rows if row["subscriber_count"] >= minimum]
    reading = [*_told(shown, minimum), *_uneven(inputs)] if rows else []
    notes = [f"{group.name}: {group.meaning}." for group in GROUPS]
    notes.append("What to do is a suggestion by rule: try it on a part of the group first.")
    chart = charts.bars("rfm_group", "subscriber_count") if rows else None
    facts = {"subscriber_count": sum(row["subscriber_count"] for row in rows)}
    return _answer(inputs, "groups", rows, reading, chart=chart, notes=notes, facts=facts)


def _sized(inputs: RfmInputs) -> list[dict[str, Any]]:
    by_group = inputs.people.group_by("rfm_group").agg(
        count=nw.len(), sum=total(nw.col("total_bytes")),
        **{f"median_{name}": nw.col(name).cast(nw.Float64).median() for name in MEASURES.values()},
    )  # fmt: skip
    found = {row["rfm_group"]: row for row in inputs.usage.store.rows(by_group)}
    everyone, all_bytes = (sum(row[name] for row in found.values()) for name in ("count", "sum"))
    return [
        {
            "rfm_group": group.name,
            "subscriber_count": row["count"],
            "subscriber_share": row["count"] / everyone,
            "bytes_share": row["sum"] / all_bytes if all_bytes else None,
            "mean_total_bytes": row["sum"] / row["count"],
            **{f"median_{name}": row[f"median_{name}"] for name in MEASURES.values()},
            "what_to_do": group.treatment,
        }
        for group in GROUPS
        if (row := found.get(group.name))
    ]


def _told(shown: Sequence[Mapping[str, Any]], minimum: int) -> list[str]:
    if not shown:
        return [f"No group has {words.plural(minimum, 'subscriber')}: none can be told."]
    largest = max(shown, key=lambda row: row["subscriber_count"])
    reading = [
        f"The largest group is {largest['rfm_group']} with {percent(largest['subscriber_share'])} of "
        f"subscribers. Suggested: {largest['what_to_do']}."
    ]
    heavy = max(shown, key=lambda row: row["bytes_share"] or 0.0)
    if heavy["bytes_share"]:
        reading.append(
            f"{heavy['rfm_group']} carry the most volume: {percent(heavy['bytes_share'])}, as "
            f"{percent(heavy['subscriber_share'])} of subscribers."
        )
    for row in shown:
        if row["rfm_group"] in _QUIET and row is not largest:
            carried = f" with {percent(row['bytes_share'])} of the volume" if row["bytes_share"] else ""
            reading.append(
                f"{row['rfm_group']}: {words.plural(row['subscriber_count'], 'subscriber')}{carried}, last "
                f"used {words.say(row['median_recency_days'], 'recency_days')} ago in the median. "
                f"Suggested: {row['what_to_do']}."
            )
    return reading


def _uneven(inputs: RfmInputs) -> list[str]:
    """That quintiles tell few apart, so that the names of the groups say more than is known."""
    uneven = [_SAID[name] for name in ("recency", "frequency", "usage") if inputs.cuts[name].is_uneven]
    if not uneven:
        return []
    return [
        f"Quintiles of {words.listing(uneven)} fall together, as too many share a value: there the groups "
        "say who is ahead of whom, not how recent, frequent or heavy somebody is; rfm_cuts sets cut-points."
    ]


# Recency by frequency


def _matrix(inputs: RfmInputs) -> Answer:
    grouped = inputs.people.group_by("recency_score", "frequency_score").agg(
        count=nw.len(), sum=total(nw.col("total_bytes"))
    )
    found = {(r["recency_score"], r["frequency_score"]): r for r in inputs.usage.store.rows(grouped)}
    everyone = sum(row["count"] for row in found.values())
    if not everyone:
        return _answer(inputs, "matrix", [], [])
    rows = []
    for recency in range(5, 0, -1):
        for frequency in range(1, 6):
            row = found.get((recency, frequency))
            rows.append(
                {
                    "recency": f"recency {recency}",
                    "frequency": f"frequency {frequency}",
                    "subscriber_count": row["count"] if row else 0,
                    "subscriber_share": row["count"] / everyone if row else 0.0,
                    "mean_total_bytes": row["sum"] / row["count"] if row else None,
                }
            )
    counts = {key: row["count"] for key, row in found.items()}
    reading = _together(counts, everyone, inputs.usage.settings.minimum_group)
    chart = charts.heat("frequency", "recency", "subscriber_share", text=".1%")
    return _answer(inputs, "matrix", rows, reading, chart=chart)


def _together(counts: Mapping[tuple[int, int], int], everyone: int, minimum: int) -> list[str]:
    table = [[counts.get((r, f), 0) for f in range(1, 6)] for r in range(1, 6)]
    reading = [_association("Recency and frequency", table)]
    for what, recencies in (
        ("score 4 or 5 in both", (4, 5)),
        ("were frequent (4 or 5) and have gone quiet (1 or 2)", (1, 2)),
    ):
        part = sum(count for (r, f), count in counts.items() if r in recencies and f in (4, 5))
        share = whole_share(proportion(part, everyone), minimum)
        if share is not None:
            reading.append(f"{percent(share)} of subscribers {what}.")
    return reading


def _association(what: str, table: Sequence[Sequence[int]]) -> str:
    """Whether two texts go together, by Cramer's V and more than chance."""
    found = cramers_v(table)
    if found is None:
        return f"{what} cannot be compared: all are alike in one of them."
    v, chi, free = found
    is_clear = v >= 0.1 and chi > free + words.LEAST_ERRORS * (2 * free) ** 0.5
    if not is_clear:
        return f"{what} do not clearly go together (Cramer's V {v:.2f})."
    size = "strongly" if v >= 0.5 else "moderately" if v >= 0.3 else "weakly"
    return f"{what} go {size} together (Cramer's V {v:.2f})."


# Segments


def _segments(inputs: RfmInputs) -> Answer:
    named = inputs.usage.segments
    if named is None:
        return Answer("rfm.segments", _TEXT["segments"], [], ("No segments are known of these subscribers.",))
    named = named.filter(~nw.col("segment_name").is_null()).select("subscriber_id", "segment_name")
    joined = inputs.people.select("subscriber_id", "rfm_group").join(named, on="subscriber_id", how="left")
    grouped = joined.group_by("segment_name", "rfm_group").agg(count=nw.len())
    counts = {(r["segment_name"], r["rfm_group"]): r["count"] for r in inputs.usage.store.rows(grouped)}
    if not counts:
        return _answer(inputs, "segments", [], [])
    without = sum(count for (segment, _), count in counts.items() if segment is None)
    segments = sorted({segment for segment, _ in counts if segment is not None})
    sizes = {name: sum(n for (segment, _), n in counts.items() if segment == name) for name in segments}
    rows = [
        {
            "segment_name": segment,
            "rfm_group": group.name,
            "subscriber_count": count,
            "segment_share": count / sizes[segment],
        }
        for segment in segments
        for group in GROUPS
        if (count := counts.get((segment, group.name)))
    ]
    notes = [f"{words.plural(without, 'scored subscriber')} without a segment: left out."] if without else []
    if not rows:
        told = "None of the scored subscribers is in a segment."
        return _answer(inputs, "segments", [], [told], notes=notes)
    table = [[counts.get((segment, group.name), 0) for group in GROUPS] for segment in segments]
    reading = [_association("Segments and target groups", table)]
    reading += _apart(counts, sizes, inputs.usage.settings.minimum_group)
    # More groups than there are colours to tell apart.
    chart = charts.heat("segment_name", "rfm_group", "segment_share", text=".1%")
    return _answer(inputs, "segments", rows, reading, chart=chart, notes=notes)


def _apart(counts: Mapping[tuple[str | None, str], int], sizes: Mapping[str, int], minimum: int) -> list[str]:
    """Of each segment the group that is most clearly more frequent in it than in the others."""
    everyone, reading = sum(sizes.values()), []
    for segment, size in sizes.items():
        best: tuple[float, str] | None = None
        for group in GROUPS:
            inside = counts.get((segment, group.name), 0)
            whole = sum(counts.get((name, group.name), 0) for name in sizes)
            here, there = proportion(inside, size), proportion(whole - inside, everyone - size)
            shares = [whole_share(side, minimum) for side in (here, there)]
            if None in shares or words.compare(here, there) != "higher":
                continue
            told = (
                f"{group.name} are clearly more frequent in {segment} than elsewhere: "
                f"{percent(here.mean)} against {percent(there.mean)}."
            )
            if best is None or here.mean - there.mean > best[0]:
                best = (here.mean - there.mean, told)
        if best:
            reading.append(best[1])
    return reading


QUESTIONS: Final = (
    RfmQuestion("rfm.groups", _TEXT["groups"], _groups),
    RfmQuestion("rfm.thresholds", _TEXT["thresholds"], _thresholds),
    RfmQuestion("rfm.matrix", _TEXT["matrix"], _matrix),
    RfmQuestion("rfm.segments", _TEXT["segments"], _segments),
)
