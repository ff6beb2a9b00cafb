"""Whose a flow was: the subscriber who had the customer's address, and the port, at that time."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from subsight.store import Frame, Store

__all__ = ["attribute", "by_address", "unheld"]


def by_address(flows: Frame) -> Frame:
    """Flows as ingest named them, by the customer's address, with `attribution` beside it."""
    named = nw.when(~nw.col("subscriber_id").is_null()).then(nw.lit("address"))
    return flows.with_columns(attribution=named)


def attribute(store: Store, flows: Frame, leases: Frame) -> Frame:
    """Flows with the subscriber whose lease holds the customer's address and port at the first packet.

    A lease holds from its beginning to before its end. Where leases of two subscribers hold, nobody is
    named: who it was cannot be known.

    Args:
        flows: rows of the contract `FLOWS` of one input, in which `record` is unique.
        leases: rows of the contract `LEASES`, of which several may say the same.

    Returns:
        the flows with `subscriber_id` and `subscriber_hash` of the lease, and `attribution`: `lease`,
        `ambiguous`, `no lease`, or null where neither side is a customer's.
    """
    is_dst = nw.col("customer_side") == "dst"

    def of_customer(name: str) -> Any:
        return nw.when(is_dst).then(nw.col(f"dst_{name}")).otherwise(nw.col(f"src_{name}"))

    asked = flows.filter(~nw.col("customer_side").is_null()).select(
        "record", at=nw.col("first_seen_at"), address=of_customer("address"), port=of_customer("port")
    )
    holders = leases.select(
        "address", "port_from", "port_to", "from_at", "to_at",
        holder=nw.col("subscriber_id"), holder_hash=nw.col("subscriber_hash"),
    )  # fmt: skip
    port, low, high = nw.col("port"), nw.col("port_from"), nw.col("port_to")
    holds = (
        (nw.col("at") >= nw.col("from_at"))
        & (nw.col("to_at").is_null() | (nw.col("at") < nw.col("to_at")))
        & (low.is_null() | ((port >= low) & (port <= high)))
    )
    owners = (
        asked.join(holders, on="address", how="inner")
        .filter(holds)
        .group_by("record")
        .agg(
            first=nw.col("holder").min(), last=nw.col("holder").max(), holder_hash=nw.col("holder_hash").min()
        )
    )
    joined = flows.drop("subscriber_id", "subscriber_hash").join(store.keep(owners), on="record", how="left")
    is_one = nw.col("first") == nw.col("last")
    found = nw.when(is_one).then(nw.lit("lease")).otherwise(nw.lit("ambiguous"))
    told = nw.when(nw.col("first").is_null()).then(nw.lit("no lease")).otherwise(found)
    return joined.with_columns(
        subscriber_id=nw.when(is_one).then(nw.col("first")),
        subscriber_hash=nw.when(is_one).then(nw.col("holder_hash")),
        attribution=nw.when(~nw.col("customer_side").is_null()).then(told),
    ).drop("first", "last", "holder_hash")


def unheld(flows: Frame) -> Frame:
    """Flows of a time of which no lease is known: nobody is named."""
    told = nw.when(~nw.col("customer_side").is_null()).then(nw.lit("no lease"))
    nobody = {"subscriber_id": nw.lit(None).cast(nw.String), "subscriber_hash": nw.lit(None).cast(nw.Int64)}
    return flows.with_columns(**nobody, attribution=told)
