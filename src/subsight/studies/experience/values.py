"""Extreme and frequent session values of the Experience study, raw and treated, with the fill marked."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import Inputs, Question, charts, words
from subsight.studies.groups import percent

__all__ = ["QUESTIONS"]

_COUNT: Final = 10
_METRICS: Final = {
    "tcp_retransmission_bytes": "retransmitted volume",
    "rtt_ms": "round-trip time",
    "throughput_kbps": "throughput",
}
# The order in which a list is read: what it sorts by, and whether downwards.
_LISTS: Final = {"top": ("value", True), "bottom": ("value", False), "most frequent": ("session_count", True)}


def _text(metric: str) -> str:
    lists = f"the {_COUNT} highest, lowest and most frequent values"
    return f"What are {lists} of a session's {_METRICS[metric]}?"


def _directions(metric: str) -> tuple[str, str]:
    stem, _, unit = metric.rpartition("_")
    return f"{stem}_dl_{unit}", f"{stem}_ul_{unit}"


def _fill(inputs: Inputs, metric: str) -> float | None:
    """What a session gets in which both directions are replaced; None where the policy fills nothing."""
    fills = [inputs.treatment.get(column, {}).get("fill") for column in _directions(metric)]
    return None if None in fills else float(sum(fill for fill in fills if fill is not None))


def _is_fill(value: float, fill: float | None) -> bool:
    return fill is not None and abs(value - fill) <= 1e-9 * max(1.0, abs(fill))


def _counts(inputs: Inputs, metric: str) -> Any:
    """Each distinct value of the session's sum, raw and treated, with its count of sessions."""
    dl, ul = _directions(metric)
    sums = {
        "raw": nw.col(dl).cast(nw.Float64) + nw.col(ul).cast(nw.Float64),
        "treated": nw.col(f"{dl}_treated") + nw.col(f"{ul}_treated"),
    }
    parts = [
        inputs.sessions.select(value=expression)
        .filter(~nw.col("value").is_null())
        .group_by("value")
        .agg(nw.len().alias("session_count"))
        .select("value", "session_count", kind=nw.lit(kind))
        for kind, expression in sums.items()
    ]
    return inputs.store.keep(nw.concat(parts))


def _values(metric: str, inputs: Inputs) -> Answer:
    counts, fill = _counts(inputs, metric), _fill(inputs, metric)
    heads = [
        counts.filter(nw.col("kind") == kind)
        .sort(key, "value", descending=[down, False])
        .head(_COUNT)
        .with_columns(list=nw.lit(name))
        for kind in ("raw", "treated")
        for name, (key, down) in _LISTS.items()
    ]
    found = inputs.store.rows(nw.concat(heads))
    near = nw.lit(False)
    if fill is not None:
        near = (nw.col("value") - fill).abs() <= 1e-9 * max(1.0, abs(fill))
    totals = {
        row["kind"]: row
        for row in inputs.store.rows(
            counts.group_by("kind").agg(
                nw.len().alias("values"),
                sessions=nw.col("session_count").cast(nw.Float64).sum(),
                filled=nw.when(near).then(nw.col("session_count").cast(nw.Float64)).otherwise(0.0).sum(),
            )
        )
    }
    rows = []
    for kind in ("raw", "treated"):
        for name, (key, down) in _LISTS.items():
            own = [row for row in found if row["kind"] == kind and row["list"] == name]
            own.sort(key=lambda row: (-row[key] if down else row[key], row["value"]))
            rows += [
                {"kind": kind, "list": name, "rank": i, metric: row["value"],
                 "session_count": row["session_count"],
                 "session_share": row["session_count"] / totals[kind]["sessions"],
                 "is_fill": kind == "treated" and _is_fill(row["value"], fill)}
                for i, row in enumerate(own, 1)
            ]  # fmt: skip
    reading, facts = _read(metric, rows, totals, fill)
    notes = (
        "Values are distinct; a value is downlink plus uplink of one session. Raw: sessions in which both "
        "directions were observed. Treated: each direction treated first.",
        "is_fill marks the value of sessions in which both directions were replaced; where only one was, the "
        "value holds one observed part.",
        "Values are shown without the sessions or subscribers that they belong to.",
    )
    bars = charts.bars("rank", "session_share", colour="is_fill", vertical=True, stacked=True)
    chart = charts.facet(bars, "kind", columns=2)
    chart |= {"transform": [{"filter": "datum.list == 'most frequent'"}]}
    id = f"experience.{metric.rpartition('_')[0]}_values"
    return Answer(id, _text(metric), rows, tuple(reading), chart=chart, facts=facts, notes=notes)


def _read(
    metric: str, rows: list[dict[str, Any]], totals: dict[str, dict[str, Any]], fill: float | None
) -> tuple[list[str], dict[str, float | str | None]]:
    reading: list[str] = []
    facts: dict[str, float | str | None] = {"fill": fill}
    for kind in ("raw", "treated"):
        if kind not in totals:
            reading.append(f"No session has a {kind} value.")
            continue
        highest, lowest, often = (
            next(row for row in rows if row["kind"] == kind and row["list"] == name) for name in _LISTS
        )
        facts |= {
            f"{kind}_highest": highest[metric],
            f"{kind}_lowest": lowest[metric],
            f"{kind}_most_frequent": often[metric],
            f"{kind}_session_count": totals[kind]["sessions"],
        }
        mark = ", the fill value" if often["is_fill"] else ""
        reading.append(
            f"{kind.capitalize()} values run from {words.say(lowest[metric], metric)} to "
            f"{words.say(highest[metric], metric)} over {words.plural(totals[kind]['sessions'], 'session')}; "
            f"the most frequent is {words.say(often[metric], metric)}{mark} "
            f"({percent(often['session_share'])})."
        )
    if fill is None:
        reading.append("The policy fills nothing in, so no value is marked.")
    elif "treated" in totals:
        share = totals["treated"]["filled"] / totals["treated"]["sessions"]
        facts["fill_session_share"] = share
        reading.append(
            f"{percent(share)} of sessions hold the fill value {words.say(fill, metric)}: nothing about them "
            "was measured within the fences."
            if share
            else f"No session holds the fill value {words.say(fill, metric)}."
        )
    return reading, facts


QUESTIONS: Final = tuple(
    Question(f"experience.{metric.rpartition('_')[0]}_values", _text(metric), partial(_values, metric))
    for metric in _METRICS
)
