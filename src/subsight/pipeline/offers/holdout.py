"""The map judged before anyone is contacted: by purchases after a cut that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import narwhals as nw
import numpy as np

from subsight.models.offers import evaluation
from subsight.models.offers.catalogue import Catalogue
from subsight.models.offers.nodes import NodeOffers
from subsight.models.offers.recommender import Recommender
from subsight.pipeline.offers.members import Usage
from subsight.pipeline.offers.remapping import before, counted, offers_of
from subsight.pipeline.publishing import Context
from subsight.store import Frame

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

__all__ = ["Judged", "judged"]

_TRAINED: Final = 0.8
"""Of the time of all purchases, what stands before the cut."""
_MOST_JUDGED: Final = 5_000
_MOST_NEIGHBOURS: Final = 20_000
"""Subscribers whom the nearest-neighbour baseline looks among."""
_LEAST_JUDGED: Final = 30


@dataclass(frozen=True)
class Judged:
    """The evaluation, or why there is none."""

    evaluation: Mapping[str, Any] | None
    why_not: str | None = None


def judged(
    context: Context,
    recommender: Recommender,
    usage: Usage,
    members: Frame,
    purchases: Frame | None,
    catalogue: Catalogue,
    volumes: NDArray[np.float64],
) -> Judged:
    """How well the map, popularity, chance and nearest neighbours foresee the purchases after the cut.

    Everything is learned from purchases before it, but for the usage, which has no time.
    """
    store, settings = context.store, context.settings
    if settings.offer_nodes_file:
        return Judged(None, "nodes are offered what a file says: nothing was learned from purchases")
    if purchases is None or not catalogue.offers:
        return Judged(None, f"there are no {'offers' if purchases is not None else 'purchases'}")
    ends = store.row(purchases.select(first=nw.col("purchased_at").min(), last=nw.col("purchased_at").max()))
    if ends["first"] is None:
        return Judged(None, "there are no purchases")
    cut = ends["first"] + _TRAINED * (ends["last"] - ends["first"])
    past, future = before(purchases, cut), purchases.filter(nw.col("purchased_at") >= nw.lit(cut))
    asked = _sampled(context, members, future, catalogue)
    if asked.num_rows < _LEAST_JUDGED:
        return Judged(
            None, f"only {asked.num_rows} subscribers bought anything after {cut:%Y-%m-%d %H:%M} UTC"
        )
    who = store.from_arrow(asked.select(["subscriber_id"]))
    held_from = cut - timedelta(days=settings.offer_holding_days)
    held = past.filter(nw.col("purchased_at") >= nw.lit(held_from))
    usable = catalogue.eligible(asked) & ~_flags(context, held, who, asked, catalogue)
    usable &= np.array([state == "valid" for state in catalogue.states(cut)], np.bool_)
    usable &= ~(catalogue.numbers("margin") < settings.offer_margin_floor)
    bought = _flags(context, future, who, asked, catalogue)
    count = counted(store, members, past, catalogue, recommender.grid.nodes)
    popularity = count.buyers.sum(axis=0) / max(int(count.sizes.sum()), 1)
    offered = offers_of(recommender, catalogue, count, volumes, None)
    rankings = _rankings(context, recommender, usage, asked, usable, past, catalogue, offered, popularity)
    rows = evaluation.judge(rankings, bought, usable, popularity, seed=settings.seed)
    apart = evaluation.differences(rankings, bought, usable, seed=settings.seed)
    if not rows[0]["subscriber_count"]:
        return Judged(
            None, f"nobody bought anything after {cut:%Y-%m-%d %H:%M} UTC that could be recommended"
        )
    return Judged({
        "rows": [{name: row[name] for name in ("policy", "metric", "value", "low", "high")} for row in rows],
        "differences": [
            {"policy": row["other"], "metric": row["metric"], "difference": row["value"], "low": row["low"],
             "high": row["high"]}
            for row in apart
        ],
        "cut_at": cut,
        "held_out_count": rows[0]["subscriber_count"],
        "left_out_count": rows[0]["left_out_count"],
        "k": settings.offer_count,
    })  # fmt: skip


def _sampled(context: Context, members: Frame, future: Frame, catalogue: Catalogue) -> pa.Table:
    """Members on the map who bought an offer of the catalogue after the cut, those of the smallest hashes."""
    offers = _offers(context, catalogue)
    buyers = future.join(offers, on="offer_id").group_by("subscriber_id").agg(count=nw.len())
    some = members.filter(~nw.col("node").is_null()).join(buyers.select("subscriber_id"), on="subscriber_id")
    some = some.sort("subscriber_hash", "subscriber_id").head(_MOST_JUDGED)
    return context.store.arrow(some).sort_by(
        [("subscriber_hash", "ascending"), ("subscriber_id", "ascending")]
    )


def _offers(context: Context, catalogue: Catalogue) -> Frame:
    import pyarrow as pa

    names = pa.array(catalogue.offers, pa.string())
    return context.store.from_arrow(pa.table({"offer_id": names, "place": np.arange(len(names))}))


def _flags(context: Context, purchases: Frame, who: Frame, asked: pa.Table, catalogue: Catalogue) -> Flags:
    """Rows of `asked` x offers: whether it was bought."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = purchases.join(who, on="subscriber_id").join(_offers(context, catalogue), on="offer_id")
    pairs = context.store.arrow(found.group_by("subscriber_id", "place").agg(count=nw.len()))
    flags = np.zeros((asked.num_rows, len(catalogue.offers)), np.bool_)
    names = asked["subscriber_id"].cast(pa.string()).combine_chunks()
    rows = pc.index_in(pairs["subscriber_id"].cast(pa.string()), names).to_numpy()
    flags[rows.astype(np.intp), pairs["place"].to_numpy().astype(np.intp)] = True
    return flags


def _rankings(
    context: Context,
    recommender: Recommender,
    usage: Usage,
    asked: pa.Table,
    usable: Flags,
    past: Frame,
    catalogue: Catalogue,
    offered: NodeOffers,
    popularity: NDArray[np.float64],
) -> dict[str, NDArray[np.intp]]:
    store, settings = context.store, context.settings
    ranked = offered.ranked()
    places = np.empty(ranked.shape)
    np.put_along_axis(places, ranked, -np.arange(ranked.shape[1], dtype=np.float64)[None, :], axis=1)
    places[np.isnan(offered.scores)] = np.nan
    nodes = asked["node"].to_numpy().astype(np.intp)
    chance = np.random.default_rng(settings.seed).random(usable.shape)
    names = ["subscriber_id", "subscriber_hash", *usage.columns]
    near = store.arrow(
        usage.rows.sort("subscriber_hash", "subscriber_id").head(_MOST_NEIGHBOURS).select(*names)
    )
    own = store.arrow(
        usage.rows.select(*names).join(store.from_arrow(asked.select(["subscriber_id"])), on="subscriber_id")
    )
    bought = _flags(context, past, store.from_arrow(near.select(["subscriber_id"])), near, catalogue)
    scores = _neighbours(recommender, near, own, asked, bought)
    found = {"map": places[nodes], "popularity": popularity, "random": chance, "nearest neighbours": scores}
    return {name: evaluation.top(values, usable, settings.offer_count) for name, values in found.items()}


def _neighbours(
    recommender: Recommender, near: pa.Table, own: pa.Table, asked: pa.Table, bought: Flags
) -> NDArray[np.float64]:
    """What the nearest subscribers bought before the cut; nobody is a neighbour of their own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = asked["subscriber_id"].cast(pa.string())
    own = own.take(pc.index_in(names, own["subscriber_id"].cast(pa.string()).combine_chunks()))
    at = pc.index_in(names, near["subscriber_id"].cast(pa.string()).combine_chunks())
    values, theirs = recommender.scaled(near), recommender.scaled(own)
    known = ~np.isnan(at.to_numpy(zero_copy_only=False).astype(np.float64))
    scores = np.empty((asked.num_rows, bought.shape[1]))
    if known.any():
        places = at.drop_null().to_numpy().astype(np.intp)
        scores[known] = evaluation.neighbour_scores(values, bought, places)
    if not known.all():
        scores[~known] = evaluation.neighbour_scores(values, bought, theirs[~known])
    return scores
