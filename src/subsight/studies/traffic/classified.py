"""How the services are known: before and after classification, what stays unknown, and on which ports."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies import charts, words
from subsight.studies.groups import percent, total
from subsight.studies.traffic.totals import TrafficInputs, TrafficQuestion, sums
from subsight.studies.traffic.volumes import PROTOCOL_NAMES

__all__ = ["QUESTIONS"]

_TEXT: Final = {
    "methods": "How is it known what the traffic is, and how surely?",
    "reclassification": "What did classification add to what inspection had labelled?",
    "unknown_ports": "On which ports is the traffic that nobody can name?",
}
_UNKNOWN: Final = "Unknown"
_PORTS: Final = 20


def _methods(inputs: TrafficInputs) -> Answer:
    found = _summed(inputs, inputs.totals, "method", "confidence")
    flows, volume = (sum(row[name] for row in found) for name in ("flow_count", "total_bytes"))
    rows = [
        {
            "method": row["method"],
            "confidence": row["confidence"] or "none",
            "flow_count": int(row["flow_count"]),
            "flow_share": row["flow_count"] / flows if flows else None,
            "total_bytes": int(row["total_bytes"]),
            "volume_share": row["total_bytes"] / volume if volume else None,
            "subscriber_count": int(row["subscriber_count"]),
        }
        for row in sorted(found, key=lambda r: (-r["total_bytes"], r["method"], r["confidence"] or ""))
    ]
    reading = []
    for method, said in (
        ("inspection", "labelled by inspection"),
        ("rule", "named by the operator's rules"),
        ("port", "named by port and protocol"),
        ("unknown", "unknown"),
    ):
        such = [row for row in found if row["method"] == method]
        if such and flows:
            share = sum(row["flow_count"] for row in such) / flows
            by_volume = sum(row["total_bytes"] for row in such) / volume if volume else 0.0
            reading.append(
                f"{percent(share)} of the flows and {percent(by_volume)} of the volume are {said}."
            )
    guessed = sum(row["total_bytes"] for row in found if row["confidence"] == "guess")
    if guessed and volume:
        reading.append(
            f"{percent(guessed / volume)} of the volume is a guess: its port may be used by anything."
        )
    return Answer(
        "traffic.methods", _TEXT["methods"], rows, tuple(reading),
        charts.bars("method", "total_bytes", colour="confidence", stacked=True),
        group_size="subscriber_count",
    )  # fmt: skip


def _summed(inputs: TrafficInputs, frame: Frame, *keys: str) -> list[dict[str, Any]]:
    rows = inputs.store.rows(frame.group_by(*keys).agg(**sums(inputs)))
    return [{**row, "total_bytes": row["dl_bytes"] + row["ul_bytes"]} for row in rows]


def _reclassification(inputs: TrafficInputs) -> Answer:
    is_labelled = nw.col("method") == "inspection"
    frame = inputs.totals.with_columns(
        before=nw.when(is_labelled).then(nw.col("category")).otherwise(nw.lit(_UNKNOWN))
    )
    rows: dict[str, dict[str, Any]] = {}
    for side, column in (("before", "before"), ("after", "category")):
        for found in _summed(inputs, frame, column):
            row = rows.setdefault(found[column], {})
            row |= {
                f"{side}_flow_count": int(found["flow_count"]), f"{side}_bytes": int(found["total_bytes"]),
                f"{side}_subscriber_count": int(found["subscriber_count"]),
            }  # fmt: skip
    names = [
        f"{side}_{what}"
        for what in ("flow_count", "bytes", "subscriber_count")
        for side in ("before", "after")
    ]
    table = [
        {"category": category, **{name: row.get(name, 0) for name in names}}
        for category, row in sorted(rows.items(), key=lambda item: (-item[1].get("after_bytes", 0), item[0]))
    ]
    for row in table:
        # The smaller of the two that is anybody: what either side tells must be of enough people.
        people = [row[f"{side}_subscriber_count"] for side in ("before", "after")]
        row["subscriber_count"] = min((n for n in people if n), default=0)
    facts, reading = _residual(table)
    return Answer(
        "traffic.reclassification", _TEXT["reclassification"], table, tuple(reading),
        charts.bars("category", "after_bytes"), facts=facts, group_size="subscriber_count",
        notes=("Before: what deep packet inspection labelled; what it guessed by port counts as unknown.",),
    )  # fmt: skip


def _residual(table: list[dict[str, Any]]) -> tuple[dict[str, float | str | None], list[str]]:
    facts: dict[str, float | str | None] = {}
    reading = []
    for side in ("before", "after"):
        for what in ("flow_count", "bytes"):
            whole = sum(row[f"{side}_{what}"] for row in table)
            unknown = sum(row[f"{side}_{what}"] for row in table if row["category"] == _UNKNOWN)
            facts[f"unknown_{what.removesuffix('_count')}_share_{side}"] = unknown / whole if whole else None
    for what, word in (("flow", "flows"), ("bytes", "volume")):
        was, now = (facts[f"unknown_{what}_share_{side}"] for side in ("before", "after"))
        if isinstance(was, float) and isinstance(now, float):
            turned = "fell" if now < was else "stayed"
            reading.append(
                f"The unknown share of the {word} {turned} at {percent(now)}."
                if now == was
                else f"The unknown share of the {word} {turned} from {percent(was)} to {percent(now)}."
            )
    return facts, reading


def _unknown_ports(inputs: TrafficInputs) -> Answer:
    grouped = inputs.unknown_ports.group_by("protocol", "service_port").agg(
        flow_count=total(nw.col("flow_count")),
        total_bytes=total(nw.col("total_bytes")),
        subscriber_count=nw.col("subscriber_id").n_unique(),
        nobody=nw.col("subscriber_id").is_null().cast(nw.Float64).max(),
    )
    grouped = inputs.store.keep(grouped)
    whole = inputs.store.row(grouped.select(count=nw.len(), bytes=nw.col("total_bytes").sum()))
    top = inputs.store.rows(
        grouped.sort("total_bytes", "protocol", "service_port", descending=[True, False, False]).head(_PORTS)
    )
    rows: list[dict[str, Any]] = [
        {
            "port": f"{PROTOCOL_NAMES.get(row['protocol'], row['protocol'])} {row['service_port']}",
            "flow_count": int(row["flow_count"]),
            "total_bytes": int(row["total_bytes"]),
            "unknown_share": row["total_bytes"] / whole["bytes"] if whole["bytes"] else None,
            "subscriber_count": int(row["subscriber_count"] - row["nobody"]),
        }
        for row in top
    ]
    reading = ["No flow with ports is unknown."]
    if rows:
        share = sum(row["total_bytes"] for row in rows) / whole["bytes"] if whole["bytes"] else 0.0
        reading = [
            f"Unknown flows use {words.plural(whole['count'], 'port')}; the {len(rows)} with the most volume "
            f"hold {percent(share)} of it. A rule for a port that you know names its flows."
        ]
    return Answer(
        "traffic.unknown_ports", _TEXT["unknown_ports"], rows, tuple(reading),
        charts.bars("port", "total_bytes") if rows else None, group_size="subscriber_count",
    )  # fmt: skip


QUESTIONS: Final = (
    TrafficQuestion("traffic.methods", _TEXT["methods"], _methods),
    TrafficQuestion("traffic.reclassification", _TEXT["reclassification"], _reclassification),
    TrafficQuestion("traffic.unknown_ports", _TEXT["unknown_ports"], _unknown_ports),
)
