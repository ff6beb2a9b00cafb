"""How the record of a map and its offers is made: plain JSON, with a digest of what must not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from subsight.models.offers import encoding
from subsight.models.offers.catalogue import Catalogue
from subsight.models.offers.choice import Policy
from subsight.models.offers.nodes import NodeOffers

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["digest", "fit", "sides", "with_offers"]

NAME: Final = "offers"
_SEALED: Final = ("features", "encoding", "parameters", "source")


def fit(
    table: pa.Table,
    *,
    source: str,
    most_nodes: int,
    topology: Literal["hexagonal", "rectangular"],
    epochs: int,
    seed: int,
    per_node: int,
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Learns an encoding and a map from usage rows, one a subscriber: a record without offers yet.

    The map has a node for each `per_node` rows, `most_nodes` at most, five columns to three rows.

    Raises:
        InputError: there are no rows, or nothing in them differs.
    """
    from subsight.models import som
    from subsight.models.som import records

    learned = encoding.fit(table)
    values = encoding.encode(learned, table).values
    rows, columns = sides(len(values), most_nodes, per_node)
    made = som.SelfOrganisingMap(
        rows, columns, topology=topology, epochs=epochs, random_state=seed, on_epoch=on_epoch
    )
    deviation = encoding.deviations(learned, values)
    record = records.fit(NAME, encoding.features(learned), values, made, deviation)
    record |= {"encoding": learned, "source": source}
    record["card"]["purpose"] += ", to offer each what subscribers alike take"
    return {**record, "digest": digest(record)}


def sides(rows: int, most_nodes: int, per_node: int) -> tuple[int, int]:
    """Rows and columns of a map of about a node for each `per_node` subscribers, and 2 x 2 at least.

    >>> sides(1_000_000, 375, 30), sides(972, 375, 30), sides(20, 375, 30)
    ((15, 25), (4, 7), (2, 2))
    """
    wanted = max(4.0, min(most_nodes, rows / per_node))
    down = max(2, int((wanted * 3 / 5) ** 0.5))
    return down, max(2, int(wanted // down))


def with_offers(
    record: Mapping[str, Any],
    catalogue: Catalogue,
    found: NodeOffers,
    sizes: NDArray[np.int64],
    volumes: Matrix,
    policy: Policy,
    at: datetime,
    minimum_group: int,
) -> dict[str, Any]:
    """The record with what its nodes are offered; the map stays as it is.

    Args:
        sizes: subscribers by node.
        volumes: typical bytes by node, NaN where unknown.
        at: the instant at which offers have to be valid.
    """
    given = {
        "catalogue": catalogue.to_json(),
        "scores": _plain(found.scores),
        "lift": _plain(found.lift),
        "buyers": found.buyers.tolist(),
        "evidence": list(found.evidence),
        "sizes": sizes.tolist(),
        "volumes": _plain(volumes),
        "policy": asdict(policy),
        "at": at.isoformat(),
        "minimum_group": minimum_group,
    }
    return {**record, "nodes": given}


def _plain(values: Matrix) -> Any:
    return np.where(np.isnan(values), None, values.astype(object)).tolist()  # type: ignore[call-overload]


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of what was learned, in hex: what the nodes are offered may change without it."""
    text = json.dumps({name: record[name] for name in _SEALED}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
