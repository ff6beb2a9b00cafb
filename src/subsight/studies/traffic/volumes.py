"""Volumes by category, service, protocol and exporter against the period before, and the top talkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import FLOWS, charts, words
from subsight.studies.groups import percent
from subsight.studies.traffic.totals import TrafficInputs, TrafficQuestion, sums
from subsight.studies.usage import periods

__all__ = ["PROTOCOL_NAMES", "QUESTIONS"]

PROTOCOL_NAMES: Final[Mapping[int, str]] = {
    1: "ICMP", 2: "IGMP", 4: "IPv4 in IP", 6: "TCP", 17: "UDP", 33: "DCCP", 41: "IPv6 in IP", 47: "GRE",
    50: "ESP", 51: "AH", 58: "ICMPv6", 88: "EIGRP", 89: "OSPF", 103: "PIM", 112: "VRRP", 115: "L2TP",
    132: "SCTP",
}  # fmt: skip
_TEXT: Final = {
    "categories": "What does the traffic consist of, and what changed against the period before?",
    "services": "Which services carry the most?",
    "protocols": "Over which protocols does it run?",
    "exporters": "Where was it seen?",
    "talkers": "Which subscribers use the most?",
}
_SHOWN: Final = 25
_TALKERS: Final = 20
_CLEAR: Final = 0.1
"""A change of a volume of less than a tenth is not told as one."""


def _volumes(inputs: TrafficInputs, name: str) -> list[dict[str, Any]]:
    """Volumes and subscribers by one column, the largest first, with both periods where they were seen."""
    _, before = periods(inputs)
    frame = inputs.totals.with_columns(name=nw.col(name).cast(nw.String))
    rows = inputs.store.rows(frame.group_by("name").agg(**sums(inputs)))
    all_bytes = sum(row["dl_bytes"] + row["ul_bytes"] for row in rows)
    found = []
    for row in sorted(rows, key=lambda r: (-(r["dl_bytes"] + r["ul_bytes"]), r["name"] or "")):
        volume = row["dl_bytes"] + row["ul_bytes"]
        was, change = row["previous_bytes"], None
        if before:
            change = (row["period_bytes"] - was) / was if was else None
        found.append(
            {
                name: row["name"] if row["name"] is not None else "not said",
                "flow_count": int(row["flow_count"]),
                "dl_bytes": int(row["dl_bytes"]),
                "ul_bytes": int(row["ul_bytes"]),
                "total_bytes": int(volume),
                "volume_share": volume / all_bytes if all_bytes else None,
                inputs.people: int(row[inputs.people]),
                "period_bytes": int(row["period_bytes"]),
                **({"previous_bytes": int(was), "change_share": change} if before else {}),
            }
        )
    return found


def _answer(
    inputs: TrafficInputs, name: str, column: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str]
) -> Answer:
    return Answer(
        f"traffic.{name}",
        _TEXT[name],
        rows,
        tuple(reading),
        charts.bars(column, "total_bytes"),
        group_size=inputs.people,
        notes=_notes(inputs),
    )


def _notes(inputs: TrafficInputs) -> tuple[str, ...]:
    now, before = periods(inputs)
    compared = f"against {before}" if before else f"the days before it were not all {_looked(inputs)}"
    return (
        f"Volumes of all days, {inputs.covered}; the period is {now}, {compared}.",
        "Flows count in the hour in which they began. Sampled volumes are estimates.",
        *inputs.explained,
    )


def _looked(inputs: TrafficInputs) -> str:
    return "seen" if inputs.hours is None else "looked at"


def _most(inputs: TrafficInputs, rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    both = sum(row["total_bytes"] for row in rows)
    least = inputs.settings.minimum_group
    large = [row for row in rows if not 0 < row[inputs.people] < least]
    told = [row for row in large if row["total_bytes"]][:3]
    among = "" if told == list(rows[:3]) else f" of what at least {least} subscribers use"
    if not both or not told:
        return ["No volume was seen." if not both else "No group is large enough to be told of."]
    top = told[0]
    parts = [f"{row[name]} ({percent(row['volume_share'])})" for row in told]
    return [
        f"Of {words.say(both, 'total_bytes')} in {words.plural(sum(r['flow_count'] for r in rows), 'flow')}, "
        f"{words.listing(parts)} carr{'ies' if len(parts) == 1 else 'y'} the most{among}.",
        f"{top[name]}: {words.say(top['dl_bytes'], 'dl_bytes')} downlink and "
        f"{words.say(top['ul_bytes'], 'ul_bytes')} uplink.",
    ]


def _changes(inputs: TrafficInputs, rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """What grew and fell by a tenth or more, of what groups may be told of."""
    now, before = periods(inputs)
    if not before:
        return [
            f"{now} has no period before it of which all {inputs.settings.period_days} days were "
            f"{_looked(inputs)}: nothing is compared."
        ]
    least = inputs.settings.minimum_group
    told = [r for r in rows if r["change_share"] is not None and not 0 < r[inputs.people] < least]
    found = []
    for word, sign in (("grew", 1), ("fell", -1)):
        such = [row for row in told if sign * row["change_share"] >= _CLEAR]
        such.sort(key=lambda r: -abs(r["period_bytes"] - r["previous_bytes"]))
        parts = [f"{r[name]} by {percent(abs(r['change_share']))}" for r in such[:3]]
        if parts:
            found.append(f"Against {before}, {words.listing(parts)} {word}.")
    return found or [f"Against {before}, nothing changed by {percent(_CLEAR)} or more."]


def _categories(inputs: TrafficInputs) -> Answer:
    rows = _volumes(inputs, "category")
    reading = [*_most(inputs, rows, "category"), *_changes(inputs, rows, "category")]
    return _answer(inputs, "categories", "category", rows, reading)


def _services(inputs: TrafficInputs) -> Answer:
    rows = _volumes(inputs, "service")
    reading = _most(inputs, rows, "service")
    if len(rows) > _SHOWN:
        rest = sum(row["total_bytes"] for row in rows[_SHOWN:])
        everything = sum(row["total_bytes"] for row in rows)
        share = percent(rest / everything) if everything else "none"
        reading.append(f"{len(rows) - _SHOWN} further services carry {share} and are not shown.")
    return _answer(inputs, "services", "service", rows[:_SHOWN], reading)


def _protocols(inputs: TrafficInputs) -> Answer:
    rows = _volumes(inputs, "protocol")
    named = []
    for row in rows:
        number = row["protocol"]
        known = PROTOCOL_NAMES.get(int(number)) if number.isdigit() else None
        named.append({**row, "protocol": known or f"protocol {number}"})
    return _answer(inputs, "protocols", "protocol", named, _most(inputs, named, "protocol"))


def _exporters(inputs: TrafficInputs) -> Answer:
    rows = _volumes(inputs, "exporter")
    if [row["exporter"] for row in rows] == ["not said"]:
        return Answer(
            "traffic.exporters", _TEXT["exporters"], rows,
            ("The records do not say which exporter or site saw a flow.",),
            group_size=inputs.people, notes=_notes(inputs),
        )  # fmt: skip
    reading = [*_most(inputs, rows, "exporter"), *_changes(inputs, rows, "exporter")]
    return _answer(inputs, "exporters", "exporter", rows[:_SHOWN], reading)


def _talkers(inputs: TrafficInputs) -> Answer:
    named = inputs.totals.filter(~nw.col("subscriber_id").is_null())
    grouped = named.group_by("subscriber_id").agg(
        subscriber_hash=nw.col("subscriber_hash").min(),
        **{name: nw.col(name).sum() for name in ("dl_bytes", "ul_bytes", "flow_count")},
    )
    grouped = inputs.store.keep(grouped.with_columns(total_bytes=nw.col("dl_bytes") + nw.col("ul_bytes")))
    whole = inputs.store.row(grouped.select(all=nw.col("total_bytes").sum(), count=nw.len()))
    top = inputs.store.rows(
        grouped.sort("total_bytes", "subscriber_hash", descending=[True, False]).head(_TALKERS)
    )
    rows = [
        {
            "rank": place,
            "subscriber_id": row["subscriber_id"],
            **{name: int(row[name]) for name in ("total_bytes", "dl_bytes", "ul_bytes", "flow_count")},
            "volume_share": row["total_bytes"] / whole["all"] if whole["all"] else None,
        }
        for place, row in enumerate(top, 1)
    ]
    reading = ["No flow has a subscriber."]
    if rows:
        share = sum(row["total_bytes"] for row in rows) / whole["all"] if whole["all"] else 0.0
        reading = [
            f"The {words.plural(len(rows), 'subscriber')} who use the most carry {percent(share)} of what "
            f"{words.plural(whole['count'], 'named subscriber')} use."
        ]
    return Answer(
        "traffic.talkers", _TEXT["talkers"], rows, tuple(reading),
        ranks_subscribers=True, notes=_notes(inputs),
    )  # fmt: skip


QUESTIONS: Final = tuple(
    TrafficQuestion(f"traffic.{name}", _TEXT[name], answer, filters)
    for name, answer, filters in (
        ("categories", _categories, FLOWS),
        ("services", _services, FLOWS),
        ("protocols", _protocols, FLOWS),
        ("exporters", _exporters, FLOWS),
        ("talkers", _talkers, frozenset[str]()),
    )
)
