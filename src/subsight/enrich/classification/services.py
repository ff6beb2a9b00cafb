"""Flows get their service: joins with small tables and comparisons, never Python per row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import Any, Final

import narwhals as nw

from subsight.enrich.classification.categories import UNKNOWN, shipped
from subsight.enrich.classification.labels import LABEL, known_labels, small_frame
from subsight.enrich.classification.registry import PROTOCOLS
from subsight.enrich.classification.rules import Rule
from subsight.enrich.classification.tables import PORT_KEY, Tables
from subsight.store import Frame, Store

__all__ = ["ADDED", "UNKNOWN_CODE", "coded", "with_services"]

_TOLD: Final = ("service", "category", "application_group", "method", "confidence")

ADDED: Final = (*_TOLD, "service_side", "service_port")
"""The columns that a flow gets."""

UNKNOWN_CODE: Final = 0
"""The code of a service that nothing tells."""

_EPHEMERAL: Final = 49_152
_USER: Final = 1_024


def with_services(store: Store, flows: Frame, tables: Tables) -> Frame:
    """Each flow with what it is, how that is known and how surely: the columns `ADDED`, replaced if there.

    `service` and `category` are Unknown where nothing tells them; `confidence` is sure, likely or guess,
    null where unknown; `service_side` is src or dst and `service_port` that side's port, both null for
    protocols without ports and where both ports are 0 or null. Only the flow itself is looked at, so any
    part of the flows gets the same as all. Needs the ports, protocol, `dst_to_src_bytes` and `customer_side`
    of `tables.FLOWS`; its label columns where there are any.

    Flows that a rule of hosts is compared with: only by sides that are not the customer's, which are keyed.
    """
    names = [name for name in flows.collect_schema().names() if name not in ADDED]
    found, meaning = coded(store, flows, tables)
    return found.join(meaning, on="service_code", how="left").select(*names, *ADDED)


def coded(store: Store, flows: Frame, tables: Tables) -> tuple[Frame, Frame]:
    """As `with_services`, with one number for all that is told, `service_code`, and what each number means.

    Numbers cost less to group by than texts; they mean the same within one call only, except
    `UNKNOWN_CODE`.
    """
    names = [name for name in flows.collect_schema().names() if name not in ADDED]
    codes = _Codes()
    labels = known_labels(store, flows)
    joined = _with_ports(store, _with_side(flows.select(*names)), tables, codes)
    code = nw.col("port_code").fill_null(UNKNOWN_CODE)
    is_ruled = ~nw.col("port_rule").is_null()
    is_src, port = nw.col("is_src"), nw.col("default_port")
    if tables.compared:
        joined = _with_compared(store, joined, tables, codes)
        wins = (nw.col("host_rule") < nw.col("port_rule")).fill_null(True) & ~nw.col("host_rule").is_null()
        code = nw.when(wins).then(nw.col("host_code")).otherwise(code)
        is_ruled = is_ruled | wins
        is_src = nw.when(wins).then(nw.coalesce("host_is_src", "is_src")).otherwise(is_src)
        port = nw.when(is_src).then(nw.col("src_port")).otherwise(nw.col("dst_port"))
        port = nw.when(~is_src.is_null()).then(port)
    if labels is not None:
        joined = _with_labels(store, joined, labels, codes)
        is_label = nw.col("label_is_first") | (~nw.col("label_code").is_null() & ~is_ruled)
        code = nw.when(is_label).then(nw.col("label_code")).otherwise(code)
    side = nw.when(is_src).then(nw.lit("src")).otherwise(nw.lit("dst"))
    found = joined.select(
        *names,
        service_code=code.cast(nw.Int32),
        service_side=nw.when(~is_src.is_null()).then(side),
        service_port=port.cast(nw.Int64),
    )
    return found, codes.meaning(store)


class _Codes:
    """Numbers of all that can be told of a service."""

    def __init__(self) -> None:
        self._codes = {(UNKNOWN, UNKNOWN, shipped().applications[UNKNOWN], "unknown", None): UNKNOWN_CODE}

    def of(self, told: Sequence[Any]) -> int:
        """The number of values of the columns `_TOLD`, a new one where they are new."""
        return self._codes.setdefault(tuple(told), len(self._codes))

    def meaning(self, store: Store) -> Frame:
        """`service_code` and the columns `_TOLD`."""
        rows = [
            {"service_code": code, **dict(zip(_TOLD, told, strict=True))}
            for told, code in self._codes.items()
        ]
        return small_frame(store, rows, {"service_code": nw.Int32, **dict.fromkeys(_TOLD, nw.String)})


def _with_side(flows: Frame) -> Frame:
    """Whether the service is at the sender (null of no ports), its port, and the key of protocol and port.

    A port that can be registered comes before an ephemeral one (RFC 6335), a system port before a user port.
    Of two alike: where both directions are in one record the sender spoke first, so the other one listens;
    else the lower port.
    """
    src, dst = (nw.col(name).fill_null(0) for name in ("src_port", "dst_port"))
    src_rank, dst_rank = _rank(src), _rank(dst)
    is_two_way = ~nw.col("dst_to_src_bytes").is_null()
    alike = ~is_two_way & (src < dst)
    is_src = (src_rank < dst_rank) | ((src_rank == dst_rank) & alike)
    has_ports = nw.col("protocol").is_in(sorted(PROTOCOLS.values())) & ((src > 0) | (dst > 0))
    port = nw.when(nw.col("is_src")).then(nw.col("src_port")).otherwise(nw.col("dst_port"))
    return (
        flows.with_columns(is_src=nw.when(has_ports).then(is_src))
        .with_columns(default_port=nw.when(~nw.col("is_src").is_null()).then(port))
        .with_columns(
            port_key=nw.col("protocol").cast(nw.Int32) * PORT_KEY
            + nw.col("default_port").fill_null(0).cast(nw.Int32)
        )
    )


def _rank(port: Any) -> Any:
    """System port 0, user port 1, ephemeral 2, no port 3."""
    registered = nw.when(port < _USER).then(nw.lit(0)).otherwise(nw.lit(1))
    held = nw.when(port < _EPHEMERAL).then(registered).otherwise(nw.lit(2))
    return nw.when(port == 0).then(nw.lit(3)).otherwise(held)


def _with_ports(store: Store, flows: Frame, tables: Tables, codes: _Codes) -> Frame:
    rows = [
        {"key": row["key"], "port_rule": row["rule"], "port_code": codes.of([row[name] for name in _TOLD])}
        for row in tables.ports
    ]
    types = dict.fromkeys(("key", "port_rule", "port_code"), nw.Int32)
    return flows.join(small_frame(store, rows, types), left_on="port_key", right_on="key", how="left")


def _with_labels(store: Store, flows: Frame, labels: Frame, codes: _Codes) -> Frame:
    """The number of a flow's label, and whether inspection found it, which comes before any rule."""
    rows = [
        {
            **{f"label_of_{name}": row[name] for name in LABEL},
            "label_code": codes.of([row[f"label_{name}"] for name in _TOLD]),
            "label_is_first": row["label_method"] == "inspection",
        }
        for row in store.rows(labels)
    ]
    types = {**{f"label_of_{name}": nw.String for name in LABEL}, "label_code": nw.Int32}
    found = small_frame(store, rows, {**types, "label_is_first": nw.Boolean})
    keyed = flows.with_columns(**{f"{name}_key": nw.col(name).fill_null("") for name in LABEL})
    return keyed.join(
        found,
        left_on=[f"{name}_key" for name in LABEL],
        right_on=[f"label_of_{name}" for name in LABEL],
        how="left",
    ).with_columns(label_is_first=nw.col("label_is_first").fill_null(False))


def _with_compared(store: Store, flows: Frame, tables: Tables, codes: _Codes) -> Frame:
    """The first of the compared rules that a flow matches, with the side that the rule tells."""
    matches: list[Any] = []
    rows: list[dict[str, Any]] = []
    for position in tables.compared:
        rule = tables.rules[position]
        code = codes.of(_said(rule))
        for condition, is_src in _conditions(rule):
            matches.append(nw.when(condition).then(nw.lit(len(rows), dtype=nw.Int32)))
            rows.append({"match": len(rows), "host_rule": position, "host_is_src": is_src, "host_code": code})
    types = {"match": nw.Int32, "host_rule": nw.Int32, "host_is_src": nw.Boolean, "host_code": nw.Int32}
    return flows.with_columns(host_match=nw.coalesce(*matches)).join(
        small_frame(store, rows, types), left_on="host_match", right_on="match", how="left"
    )


def _said(rule: Rule) -> tuple[str, ...]:
    return (rule.name, rule.category, shipped().applications[rule.category], "rule", rule.confidence)


def _conditions(rule: Rule) -> list[tuple[Any, bool | None]]:
    """When a rule matches, with the side that it then tells: null where the flow's own is kept."""
    protocol = [nw.col("protocol").is_in(list(rule.protocols))] if rule.protocols else []
    if not rule.hosts:
        return [(reduce(and_, [*protocol, *_within("default_port", rule.ports)]), None)]
    src, dst = (
        reduce(
            and_,
            [
                *protocol,
                *_within(f"{side}_port", rule.ports),
                # A customer's address is keyed: it would lie in a range by chance alone.
                (~nw.col("customer_side").is_in([side, "both"])).fill_null(True),
                *_within(f"{side}_address", rule.hosts),
            ],
        )
        for side in ("src", "dst")
    )
    return [(dst, False), (src, True)] if rule.ports else [(src | dst, None)]


def _within(column: str, ranges: Any) -> list[Any]:
    """Whether a column lies in one of the ranges; nothing asked of no ranges."""
    if not ranges:
        return []
    return [
        reduce(
            or_, ((nw.col(column) >= nw.lit(low)) & (nw.col(column) <= nw.lit(high)) for low, high in ranges)
        )
    ]
