"""A record that answers: where usage lies on the map, and which offers its subscribers get, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subsight.errors import WorkspaceError
from subsight.models.offers import encoding
from subsight.models.offers.catalogue import Catalogue
from subsight.models.offers.choice import OUTCOMES, Asked, Choices, Policy, choose
from subsight.models.offers.making import digest
from subsight.models.offers.nodes import NodeOffers
from subsight.models.offers.reasons import NOTHING_ELSE, TOO_LITTLE, Reasons, Traits, spread_of, traits

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["PLACED", "Recommended", "Recommender"]

PLACED: Final = ("node", "node_distance", "shared_traits", "usage_bitmap")
"""What the map says of a subscriber: null where too little is known."""


@dataclass(frozen=True)
class Recommended:
    """What subscribers are recommended.

    Attributes:
        table: `subscriber_id, rank, offer_id, score, reason, is_fallback, probability`.
        outcomes: `subscriber_id, outcome`.
        removed, left: the funnel (see `Choices`).
        unmeasured: subscribers whose experience nobody measured.
        taken: subscribers x offers of the catalogue: what took the offer away (see `Choices`).
    """

    table: pa.Table
    outcomes: pa.Table
    removed: Mapping[str, int]
    left: Mapping[str, int]
    unmeasured: int
    taken: NDArray[np.int8]


class Recommender:
    """A record that answers. `at` and a policy's day may be others than those that it was made with."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        """Raises:
        WorkspaceError: the record is not what its digest says.
        """
        if record.get("digest") != digest(record):
            raise WorkspaceError(
                "the map of offers is not what was trained: it is refused",
                found=f"SHA-256 {digest(record)[:16]}…",
                expected=f"{str(record.get('digest'))[:16]}…",
                do="train it again: subsight offers train WS",
            )
        self.record = record

    @cached_property
    def _map(self) -> Any:
        from subsight.models.som import records

        return records.read(self.record)

    @cached_property
    def _scale(self) -> tuple[Matrix, Matrix]:
        parameters = self.record["parameters"]
        return np.asarray(parameters["mean"]), np.asarray(parameters["deviation"])

    @cached_property
    def grid(self) -> Any:
        """Where the nodes lie (see `som.grid`)."""
        return self._map.grid

    @cached_property
    def traits(self) -> Traits:
        """What each node stands out by."""
        mean, deviation = self._scale
        raw = self._map.weights_ * deviation + mean
        return traits(self.record["features"], raw, mean, self._spread)

    @cached_property
    def _spread(self) -> Matrix:
        return spread_of(self.record["encoding"], *self._scale)

    def scaled(self, table: pa.Table) -> Matrix:
        """Usage rows as z-scores, as the map takes them."""
        mean, deviation = self._scale
        found: Matrix = (encoding.encode(self.record["encoding"], table).values - mean) / deviation
        return found

    def place(self, table: pa.Table) -> pa.Table:
        """Usage rows with the columns `PLACED`, and of each what was `unseen_` and `filled_` by column."""
        import pyarrow as pa

        learned = self.record["encoding"]
        found = encoding.encode(learned, table)
        mean, deviation = self._scale
        z = (found.values - mean) / deviation
        own = self._map.predict(z) if len(z) else np.zeros(0, np.int64)
        distance = np.sqrt(((z - self._map.weights_[own]) ** 2).sum(axis=1))
        shared = self.traits.shared(own, found.values, mean, self._spread)
        unknown = ~found.is_known
        made = {
            "node": pa.array(own.astype(np.int64), mask=unknown),
            "node_distance": pa.array(distance, mask=unknown),
            "shared_traits": pa.array(shared.astype(np.int64), mask=unknown),
            "usage_bitmap": pa.array(encoding.bitmaps(learned, table), pa.string()),
            **{f"unseen_{name}": pa.array(counts.astype(np.int64)) for name, counts in found.unseen.items()},
            **{f"filled_{name}": pa.array(rows.astype(np.int64)) for name, rows in found.filled.items()},
        }
        for name, values in made.items():
            table = table.append_column(name, values)
        return table

    # Offers

    @property
    def has_offers(self) -> bool:
        """Whether the nodes were given offers."""
        return "nodes" in self.record

    @cached_property
    def policy(self) -> Policy:
        """How offers are given, as the record says."""
        told = self.record["nodes"]["policy"]
        return Policy(**{**told, "defaults": tuple(told["defaults"])})

    @cached_property
    def catalogue(self) -> Catalogue:
        """The offers that the record was made with."""
        return Catalogue.of(self.record["nodes"]["catalogue"])

    @cached_property
    def at(self) -> datetime:
        """The instant at which offers have to be valid."""
        return datetime.fromisoformat(self.record["nodes"]["at"])

    @cached_property
    def offered(self) -> NodeOffers:
        """What each node is offered."""
        told = self.record["nodes"]
        shape = (self.grid.nodes, len(self.catalogue.offers))
        scores, lift = (np.array(told[name], np.float64).reshape(shape) for name in ("scores", "lift"))
        buyers = np.array(told["buyers"], np.int64).reshape(shape)
        return NodeOffers(self.catalogue.offers, scores, lift, buyers, tuple(told["evidence"]))

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Offers of each node, best first."""
        return self.offered.ranked()

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Subscribers by node."""
        return np.array(self.record["nodes"]["sizes"], np.int64)

    @cached_property
    def volumes(self) -> Matrix:
        """Typical bytes by node, NaN where unknown."""
        return np.array(self.record["nodes"]["volumes"], np.float64)

    @cached_property
    def _reasons(self) -> Reasons:
        told = self.record["nodes"]
        sizes, allowed = self.sizes, self.catalogue.numbers("data_bytes")
        return Reasons(self.traits, self.offered, sizes, allowed, self.volumes, told["minimum_group"])

    def recommend(
        self,
        members: pa.Table,
        holdings: pa.Table | None = None,
        at: datetime | None = None,
        *,
        is_certain: bool = False,
    ) -> Recommended:
        """The offers of subscribers, in the order of the rows.

        Args:
            members: `subscriber_id, draw_number`, the columns `PLACED`, and as far as known
                `experience_index`, `contact_count` and what the catalogue asks for.
            holdings: `subscriber_id, offer_id` of what they have.
            at: when offers have to be valid, if not at the record's instant. Draws are the record's.
            is_certain: leave nothing to chance: nobody is held out, and no offer is drawn.
        """
        policy = self.policy
        if is_certain:
            policy = replace(policy, exploration_share=0.0, holdout_share=0.0)
        asked = self._asked(members, holdings)
        is_valid = np.array([state == "valid" for state in self.catalogue.states(at or self.at)], np.bool_)
        margins, offered = self.catalogue.numbers("margin"), self.offered
        found = choose(policy, offered.offers, is_valid, margins, offered.scores, self.order, asked)
        unmeasured = int(np.isnan(asked.experience).sum())
        table = self._told(members, found, asked)
        return Recommended(
            table, _outcomes(members, found), found.removed, found.left, unmeasured, found.taken
        )

    def _asked(self, members: pa.Table, holdings: pa.Table | None) -> Asked:
        catalogue, rows = self.catalogue, members.num_rows
        held = np.zeros((rows, len(catalogue.offers)), np.bool_)
        if holdings is not None and holdings.num_rows and rows:
            import pyarrow as pa
            import pyarrow.compute as pc

            who = pc.index_in(
                holdings["subscriber_id"].cast(pa.string()), members["subscriber_id"].cast(pa.string())
            )
            what = pc.index_in(
                holdings["offer_id"].cast(pa.string()), pa.array(catalogue.offers, pa.string())
            )
            known = pc.and_(who.is_valid(), what.is_valid())
            held[who.filter(known).to_numpy(), what.filter(known).to_numpy()] = True
        return Asked(
            hashes=_numbers(members, "draw_number", 0).astype(np.int64),
            nodes=_numbers(members, "node", -1).astype(np.int64),
            experience=_numbers(members, "experience_index", np.nan),
            contacts=_numbers(members, "contact_count", 0).astype(np.int64),
            eligible=catalogue.eligible(members),
            held=held,
        )

    def _told(self, members: pa.Table, found: Choices, asked: Asked) -> pa.Table:
        import pyarrow as pa

        offered = self.offered
        node, outcome = asked.nodes[found.rows], found.outcomes[found.rows]
        is_fallback = outcome != OUTCOMES.index("recommended")
        scores = np.full(len(node), np.nan)
        scores[~is_fallback] = offered.scores[node[~is_fallback], found.offers[~is_fallback]]
        bits = _numbers(members, "shared_traits", 0).astype(np.int64)[found.rows]
        keys = np.column_stack([node, found.offers, bits, np.where(found.is_drawn, found.usable, 0)])
        names = pa.array([*offered.offers, *found.outside], pa.string())
        return pa.table({
            "subscriber_id": members["subscriber_id"].cast(pa.string()).take(pa.array(found.rows)),
            "rank": pa.array(found.ranks.astype(np.int64)),
            "offer_id": names.take(pa.array(found.offers)),
            "score": pa.array(scores, mask=is_fallback),
            "reason": self._said(keys, outcome),
            "is_fallback": pa.array(is_fallback),
            "probability": pa.array(found.probability),
        })  # fmt: skip

    def _said(self, keys: NDArray[np.int64], outcome: NDArray[np.int8]) -> pa.Array:
        """The reason of each row: distinct ones are put into words once."""
        import pyarrow as pa

        keys = np.where((outcome == 0)[:, None], keys, -outcome[:, None])
        distinct, codes = np.unique(keys, axis=0, return_inverse=True)
        defaults = {-1: TOO_LITTLE, -2: NOTHING_ELSE}
        texts = [
            defaults[key[1]] if key[1] < 0 else self._reasons.of(key) for key in map(tuple, distinct.tolist())
        ]
        return pa.array(texts, pa.string()).take(pa.array(codes.ravel()))


def _outcomes(members: pa.Table, found: Choices) -> pa.Table:
    import pyarrow as pa

    outcome = pa.array(list(OUTCOMES)).take(pa.array(found.outcomes.astype(np.int64)))
    return pa.table({"subscriber_id": members["subscriber_id"].cast(pa.string()), "outcome": outcome})


def _numbers(table: pa.Table, name: str, missing: float) -> Matrix:
    """A column of numbers with a value for null; all of it where there is no such column."""
    import pyarrow as pa

    if name not in table.column_names:
        return np.full(table.num_rows, missing, np.float64)
    column = table[name]
    if not np.isnan(missing):
        column = column.fill_null(int(missing))
    found: Matrix = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found
