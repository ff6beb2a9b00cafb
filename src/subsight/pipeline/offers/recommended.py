"""What was recommended, as an area of a run: the table, what became of everybody, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.models.offers.choice import STEPS
from subsight.models.offers.recommender import Recommender
from subsight.pipeline.offers.preparing import WATCHED, Prepared
from subsight.pipeline.offers.returns import returns
from subsight.pipeline.publishing import Area, Context
from subsight.store import Frame
from subsight.studies.offers import RECOMMENDATION_QUESTIONS, RecommendationInputs
from subsight.units import format_value

__all__ = ["STUDIES", "recommendations"]

STUDIES: Final = ("recommendations",)
_EXAMPLES: Final = 20


def recommendations(
    context: Context,
    recommender: Recommender,
    prepared: Prepared,
    table: Frame,
    outcomes: Frame,
    counts: Sequence[Mapping[str, Any]],
) -> Area:
    """The area of recommendations that were made of a record, with the counts of all parts."""
    store, settings = context.store, context.settings
    with context.clock.stage("study recommendations"):
        value, uplift = returns(context)
        inputs = RecommendationInputs(
            funnel=_funnel(context, recommender, counts),
            outcomes=_outcomes(context, outcomes),
            offers=_offers(context, table),
            examples=_examples(context, table, prepared.members),
            value=value,
            uplift=uplift,
            as_of=recommender.at.date(),
            k=recommender.policy.count,
            settings=settings,
        )
        answers = []
        for question in RECOMMENDATION_QUESTIONS:
            answers.append(question.answer(inputs))
            if context.on_answer:
                context.on_answer(answers[-1])
    tables = {"recommendations": table, "offer_outcomes": store.keep(outcomes)}
    facts = {"recommended_at": recommender.at.isoformat()}
    found = {"recommendations": answers}
    return Area(
        "recommendations", prepared.batches, tables, {}, found, STUDIES, {}, facts, WATCHED, ("offers",)
    )


def _funnel(
    context: Context, recommender: Recommender, counts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    policy = recommender.policy
    states = recommender.catalogue.states(recommender.at)
    unmeasured, everybody = (sum(one[name] for one in counts) for name in ("unmeasured", "asked"))
    least = context.settings.minimum_group
    # A few who were not measured, or who were, are not told of.
    passes = "who was not measured passes"
    if not 0 < unmeasured < least and not 0 < everybody - unmeasured < least:
        passes = f"{unmeasured:,} not measured pass"
    cap = f"{policy.contact_cap} contacts or more" if policy.contact_cap else "no cap is set"
    held_out = format_value(policy.holdout_share, "share")
    said = {
        "catalogue": f"{len(states)} offers",
        "validity": f"{states.count('valid')} of {len(states)} offers are valid on {recommender.at:%Y-%m-%d}",
        "eligibility": "the conditions of the catalogue",
        "already has it": "bought within the days that offers are held for",
        "contact cap": cap,
        "margin floor": f"margin below {policy.margin_floor:g}; an unknown one passes",
        "experience": f"experience index below {policy.least_experience:g}; {passes}",
        "hold-out": f"{held_out} of subscribers are offered nothing, to compare with",
        "suits the node": "offers that nothing tells of, for subscribers with such usage",
    }
    return [
        {
            "step": step,
            "removed_pair_count": sum(one["removed"][step] for one in counts),
            "subscriber_count": sum(one["left"][step] for one in counts),
            "said": said[step],
        }
        for step in STEPS
    ]


def _outcomes(context: Context, outcomes: Frame) -> list[dict[str, Any]]:
    counted = outcomes.group_by("outcome").agg(subscriber_count=nw.len())
    rows = context.store.rows(counted)
    return sorted(rows, key=lambda row: (-row["subscriber_count"], row["outcome"]))


def _offers(context: Context, table: Frame) -> list[dict[str, Any]]:
    is_first, is_fallback = nw.col("rank") == 1, nw.col("is_fallback")
    counted = table.group_by("offer_id").agg(
        subscriber_count=nw.len(),
        first_count=is_first.cast(nw.Float64).sum(),
        fallback_count=is_fallback.cast(nw.Float64).sum(),
        mean_score=nw.col("score").mean(),
    )
    rows = context.store.rows(counted)
    whole = [{**row, **{n: int(row[n]) for n in ("first_count", "fallback_count")}} for row in rows]
    return sorted(whole, key=lambda row: (-row["subscriber_count"], row["offer_id"]))


def _examples(context: Context, table: Frame, members: Frame) -> list[dict[str, Any]]:
    """The first choice of the subscribers with the smallest hashes, which nobody picked."""
    hashes = members.select("subscriber_id", "subscriber_hash")
    firsts = table.filter(nw.col("rank") == 1).join(hashes, on="subscriber_id")
    chosen = firsts.sort("subscriber_hash", "subscriber_id").head(_EXAMPLES).drop("subscriber_hash")
    return context.store.rows(chosen)
