"""From usage to a map of subscribers and what its nodes are offered: an area of a run.

usage -> members -> map -> offers per node -> judged on later purchases -> answers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.models.offers import making
from subsight.models.offers.catalogue import Catalogue
from subsight.models.offers.choice import Policy
from subsight.models.offers.recommender import Recommender
from subsight.pipeline.offers import members, told
from subsight.pipeline.offers.holdout import judged
from subsight.pipeline.offers.members import Known, Usage
from subsight.pipeline.offers.remapping import before, counted, given_nodes, offers_of, typical
from subsight.pipeline.publishing import Area, Context, quality_of
from subsight.settings import Settings
from subsight.store import Frame
from subsight.studies.offers import QUESTIONS
from subsight.workspace import Batch

__all__ = ["STUDIES", "WATCHED", "Prepared", "area", "prepare"]

STUDIES: Final = ("offers",)
WATCHED: Final = ("dpi_usage", "offers", "purchases", "subscribers", "sessions")
"""Kinds of records that offers follow from, be there any or not."""

_PER_NODE: Final = 30
"""Subscribers of the fit for each node: with fewer, nodes say more of chance than of usage."""


@dataclass(frozen=True)
class Prepared:
    """The map with its offers, and for whom: what is published, and what recommendations are made of.

    Attributes:
        members: one row a subscriber (see `members.PROFILE`).
        holdings: `subscriber_id, subscriber_hash, offer_id` of what subscribers have.
    """

    record: Mapping[str, Any]
    members: Frame
    holdings: Frame
    answers: Sequence[Answer]
    quality: Mapping[str, Any]
    batches: Sequence[Batch]


def prepare(context: Context, at: datetime, trained: Mapping[str, Any] | None = None) -> Prepared:
    """Places everybody on the map and gives its nodes offers; the map is trained where none is given.

    Raises:
        InputError: there is no usage to go by.
        ConfigurationError: the file of nodes does not fit.
    """
    store, settings, clock = context.store, context.settings, context.clock
    with clock.stage("usage"):
        usage = members.usage_of(context, trained["source"] if trained else None)
        catalogue, offers = _catalogue(context)
    record = trained or _trained(context, usage)
    with clock.stage("place"):
        recommender = Recommender(record)
        placed = members.place(store, usage, recommender, [*catalogue.asked, "ul_bytes", "dl_bytes"])
        known = members.known(context, placed, catalogue.asked, at)
    with clock.stage("offers"):
        bought = context.workspace.batches("purchases")
        purchases = store.read([batch.rows for batch in bought]) if bought else None
        purchases = None if purchases is None else before(purchases, at + timedelta(days=1))
        count = counted(store, placed, purchases, catalogue, recommender.grid.nodes)
        volumes = typical(store, placed, recommender.grid.nodes)
        found = offers_of(recommender, catalogue, count, volumes, given_nodes(settings.offer_nodes_file))
        policy = _policy(settings, at)
        record = making.with_offers(
            record, catalogue, found, count.sizes, volumes, policy, at, settings.minimum_group
        )
        recommender = Recommender(record)
    with clock.stage("evaluate"):
        verdict = judged(context, recommender, usage, known.rows, purchases, catalogue, volumes)
    names = [name for name in placed.collect_schema().names() if name.startswith(("unseen_", "filled_"))]
    sums = store.row(placed.select(*(nw.col(name).cast(nw.Float64).sum() for name in names)))
    inputs = told.offer_inputs(recommender, usage, count, told.totals_of(sums, names), verdict, settings)
    answers = []
    for question in QUESTIONS:
        answers.append(question.answer(inputs))
        if context.on_answer:
            context.on_answer(answers[-1])
    batches = [*usage.batches, *offers, *bought]
    was_given = not settings.offer_nodes_file and "mapping" in (trained or {}).get("nodes", {}).get(
        "evidence", ()
    )
    quality = _quality(usage, known, batches, count.unknown_count, was_given=was_given)
    return Prepared(record, known.rows, _holdings(context, purchases, at), answers, quality, batches)


def area(prepared: Prepared) -> Area:
    """What a run publishes of it."""
    internal = {"offer_profiles": prepared.members, "offer_holdings": prepared.holdings}
    tables = {name: frame.drop("subscriber_hash") for name, frame in internal.items()}
    models, answers = {"offers": prepared.record}, {"offers": prepared.answers}
    return Area(
        "offers", prepared.batches, tables, models, answers, STUDIES, prepared.quality, watched=WATCHED
    )


def _catalogue(context: Context) -> tuple[Catalogue, Sequence[Batch]]:
    """The catalogue that was ingested last: a file of offers is a whole catalogue."""
    batches = context.workspace.batches("offers")
    last = sorted(batches, key=lambda batch: (batch.manifest["ingested_at"], batch.manifest["name"]))[-1:]
    rows = context.store.rows(context.store.read([batch.rows for batch in last])) if last else []
    return Catalogue.of(rows), last


def _trained(context: Context, usage: Usage) -> dict[str, Any]:
    settings, progress = context.settings, context.clock.progress

    def told_epoch(entry: Mapping[str, Any]) -> None:
        if progress:
            progress(f"train: epoch {entry['epoch']} of {settings.offer_map_epochs}")

    with context.clock.stage("train"):
        limit = min(settings.fit_limit, settings.offer_fit_limit)
        chosen = usage.rows.sort("subscriber_hash", "subscriber_id").head(limit)
        table = context.store.arrow(chosen.select(*usage.columns))
        return making.fit(
            table,
            source=usage.source,
            most_nodes=settings.offer_map_nodes,
            topology=settings.offer_map_topology,
            epochs=settings.offer_map_epochs,
            seed=settings.seed,
            per_node=_PER_NODE,
            on_epoch=told_epoch,
        )


def _policy(settings: Settings, at: datetime) -> Policy:
    return Policy(
        count=settings.offer_count,
        defaults=tuple(dict.fromkeys(settings.offer_defaults)),
        margin_floor=settings.offer_margin_floor,
        least_experience=settings.offer_least_experience,
        contact_cap=settings.offer_contact_cap,
        exploration_share=settings.offer_exploration_share,
        holdout_share=settings.offer_holdout_share,
        seed=settings.seed,
        day=at.date().toordinal(),
    )


def _holdings(context: Context, purchases: Frame | None, at: datetime) -> Frame:
    """What subscribers bought within the days for which they have it."""
    import pyarrow as pa

    if purchases is None:
        names = [("subscriber_id", pa.string()), ("subscriber_hash", pa.int64()), ("offer_id", pa.string())]
        return context.store.from_arrow(pa.schema(names).empty_table())
    since = at - timedelta(days=context.settings.offer_holding_days)
    held = purchases.filter(nw.col("purchased_at") >= nw.lit(since))
    by = ("subscriber_id", "subscriber_hash", "offer_id")
    return context.store.keep(held.group_by(*by).agg(count=nw.len()).select(*by))


def _quality(
    usage: Usage, known: Known, batches: Sequence[Batch], unknown: int, *, was_given: bool
) -> dict[str, Any]:
    own = [batch for batch in batches if batch.table != "sessions"]
    quality = quality_of(own)
    found = []
    if usage.several:
        text = "rows of subscribers who have several: volumes were summed, lists united"
        found.append(("subscriber_id", "several rows", "note", usage.several, text))
    if unknown:
        text = "purchases of offers that the catalogue does not hold: left aside"
        found.append(("offer_id", "catalogue", "warning", unknown, text))
    if not any(batch.table == "offers" for batch in batches):
        text = "no catalogue was ingested: everybody gets the defaults"
        found.append(("offer_id", "catalogue", "warning", 0, text))
    if was_given:
        text = "nodes were offered what a file says, and are not now: set offer_nodes_file to keep to it"
        found.append(("node", "offers", "warning", 0, text))
    for name in known.missing:
        text = f"offers ask for {name}, which nothing here tells: nobody is eligible for them"
        found.append(("eligibility", "columns", "warning", 0, text))
    keys = ("column", "check", "severity", "count", "text")
    told_now = [dict(zip(keys, values, strict=True)) for values in found]
    return {**quality, "findings": [*quality["findings"], *told_now]}
