"""What each node is offered: subscribers and buyers are counted in the engine, and the counts are judged."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from subsight.errors import ConfigurationError
from subsight.models.offers import nodes
from subsight.models.offers.catalogue import Catalogue
from subsight.models.offers.nodes import NodeOffers
from subsight.models.offers.recommender import Recommender
from subsight.store import Frame, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Counted", "before", "counted", "given_nodes", "offers_of", "typical"]


@dataclass(frozen=True)
class Counted:
    """Subscribers by node, nodes x offers who bought, and purchases of offers that no catalogue holds."""

    sizes: NDArray[np.int64]
    buyers: NDArray[np.int64]
    unknown_count: int
    bought: NDArray[np.int64]
    """Distinct buyers of each offer, those included who are not on the map."""


def counted(
    store: Store, placed: Frame, purchases: Frame | None, catalogue: Catalogue, node_count: int
) -> Counted:
    """Counts over subscribers with a node; one who bought an offer twice is one buyer."""
    on_map = placed.filter(~nw.col("node").is_null()).select("subscriber_id", "node")
    sizes = np.zeros(node_count, np.int64)
    for row in store.rows(on_map.group_by("node").agg(count=nw.len())):
        sizes[row["node"]] = row["count"]
    buyers = np.zeros((node_count, len(catalogue.offers)), np.int64)
    bought, unknown = np.zeros(len(catalogue.offers), np.int64), 0
    if purchases is None:
        return Counted(sizes, buyers, unknown, bought)
    each = purchases.group_by("subscriber_id", "offer_id").agg(count=nw.len())
    by_node = each.join(on_map, on="subscriber_id", how="left")
    for row in store.rows(
        by_node.group_by("node", "offer_id").agg(buyers=nw.len(), count=nw.col("count").sum())
    ):
        place = catalogue.places.get(row["offer_id"])
        if place is None:
            unknown += int(row["count"])
            continue
        bought[place] += row["buyers"]
        if row["node"] is not None:
            buyers[int(row["node"]), place] += row["buyers"]
    return Counted(sizes, buyers, unknown, bought)


def typical(store: Store, placed: Frame, node_count: int) -> NDArray[np.float64]:
    """The geometric mean of each node's volumes in bytes, NaN where nobody has any."""
    found = np.full(node_count, np.nan)
    if not {"ul_bytes", "dl_bytes"} <= set(placed.collect_schema().names()):
        return found
    volume = nw.col("ul_bytes").fill_null(0.0) + nw.col("dl_bytes").fill_null(0.0)
    some = placed.with_columns(volume=volume).filter(nw.col("volume") > 0, ~nw.col("node").is_null())
    for row in store.rows(some.group_by("node").agg(mean=nw.col("volume").log().mean())):
        found[row["node"]] = np.exp(row["mean"])
    return found


def offers_of(
    recommender: Recommender,
    catalogue: Catalogue,
    count: Counted,
    volumes: NDArray[np.float64],
    given: Mapping[int, list[str]] | None,
) -> NodeOffers:
    """By a file that says so, else by purchases where there are any, else by allowance."""
    offers, grid = catalogue.offers, recommender.grid
    if given is not None:
        return nodes.by_mapping(offers, grid.nodes, given)
    rule = nodes.by_allowance(offers, catalogue.numbers("data_bytes"), volumes)
    if not count.buyers.any():
        return rule
    beside = np.zeros((grid.nodes, grid.nodes), np.bool_)
    beside[grid.pairs()] = True
    return nodes.by_purchases(offers, count.sizes, count.buyers, beside, rule)


def given_nodes(path: str) -> dict[int, list[str]] | None:
    """What a CSV file says of nodes: columns `node` and `offer_id`, the best offer of a node first.

    Raises:
        ConfigurationError: it cannot be read so.
    """
    if not path:
        return None
    found: dict[int, list[str]] = {}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(int(row["node"]), []).append(row["offer_id"].strip())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"{path} does not say what nodes are offered",
            found=f"no column {error}" if isinstance(error, KeyError) else str(error),
            expected="a CSV file with the columns node (a whole number) and offer_id",
            do="correct the file, or unset offer_nodes_file",
        ) from error
    return found


def before(purchases: Frame, end: datetime) -> Frame:
    """Purchases before an instant."""
    kept: Any = purchases.filter(nw.col("purchased_at") < nw.lit(end))
    return kept
