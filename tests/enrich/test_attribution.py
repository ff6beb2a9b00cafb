"""Whose a flow was, by leases written by hand: intervals, port blocks, and two who both match."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from subsight.enrich import attribution
from subsight.store import Store

AT = pa.timestamp("us", "UTC")


def noon(minute: int) -> datetime:
    return datetime(2024, 5, 1, 12, minute, tzinfo=UTC)


LEASES = [
    # address, port_from, port_to, subscriber, from, to
    ("a1", None, None, "anna", noon(0), noon(30)),
    ("a1", None, None, "bert", noon(30), None),
    ("a2", 1000, 1999, "cleo", noon(0), None),
    ("a2", 2000, 2999, "dora", noon(0), None),
    ("a3", None, None, "emil", noon(0), noon(20)),
    ("a3", None, None, "fred", noon(10), noon(40)),
    ("a4", None, None, "gina", noon(0), noon(20)),
    ("a4", None, None, "gina", noon(10), noon(40)),  # accounting that says the same twice
]
FLOWS = [
    # side, src, sport, dst, dport, at -> subscriber, attribution
    ("src", "a1", 50000, "x", 443, noon(0), "anna", "lease"),
    ("src", "a1", 50000, "x", 443, noon(29), "anna", "lease"),
    ("src", "a1", 50000, "x", 443, noon(30), "bert", "lease"),  # the end is no longer part of a lease
    ("dst", "x", 443, "a1", 50000, noon(45), "bert", "lease"),
    ("src", "a2", 1999, "x", 443, noon(5), "cleo", "lease"),
    ("src", "a2", 2000, "x", 443, noon(5), "dora", "lease"),
    ("src", "a2", 3000, "x", 443, noon(5), None, "no lease"),
    ("src", "a2", None, "x", None, noon(5), None, "no lease"),  # a block asks for a port
    ("src", "a3", 50000, "x", 443, noon(15), None, "ambiguous"),
    ("src", "a3", 50000, "x", 443, noon(5), "emil", "lease"),
    ("src", "a3", 50000, "x", 443, noon(25), "fred", "lease"),
    ("src", "a4", 50000, "x", 443, noon(15), "gina", "lease"),
    ("both", "a1", 50000, "a4", 443, noon(5), "anna", "lease"),
    ("src", "a9", 50000, "x", 443, noon(5), None, "no lease"),
    (None, "x", 50000, "y", 443, noon(5), None, None),
]


def table(names: str, rows: list[tuple[Any, ...]], types: dict[str, Any]) -> pa.Table:
    columns = names.split()
    arrays = {
        name: pa.array([row[i] for row in rows], types.get(name, pa.string()))
        for i, name in enumerate(columns)
    }
    return pa.table(arrays)


def test_each_flow_is_of_whom_had_the_address_and_port_then(store: Store) -> None:
    leases = table(
        "address port_from port_to subscriber_id from_at to_at",
        LEASES,
        {"port_from": pa.int64(), "port_to": pa.int64(), "from_at": AT, "to_at": AT},
    )
    hashes = pa.array([ord(row[3][0]) for row in LEASES], pa.int64())
    leases = leases.append_column("subscriber_hash", hashes)
    flows = table(
        "customer_side src_address src_port dst_address dst_port first_seen_at",
        FLOWS,
        {"src_port": pa.int64(), "dst_port": pa.int64(), "first_seen_at": AT},
    )
    flows = flows.append_column("record", pa.array(range(1, len(FLOWS) + 1), pa.int64()))
    flows = flows.append_column("subscriber_id", pa.array(["before"] * len(FLOWS)))
    flows = flows.append_column("subscriber_hash", pa.array([0] * len(FLOWS), pa.int64()))
    found = attribution.attribute(store, store.from_arrow(flows), store.from_arrow(leases))
    rows = store.rows(
        found.select("record", "subscriber_id", "subscriber_hash", "attribution").sort("record")
    )
    assert [(r["subscriber_id"], r["attribution"]) for r in rows] == [row[-2:] for row in FLOWS]
    assert all(
        r["subscriber_hash"] == (ord(r["subscriber_id"][0]) if r["subscriber_id"] else None) for r in rows
    )
