"""What is offered where on the map, and what becomes of each offer of the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.answers import Answer, Rows
from subsight.studies import charts, words
from subsight.studies.groups import percent
from subsight.studies.offers.inputs import OfferInputs, OfferQuestion
from subsight.studies.offers.maps import drawn, of_nodes, shown_nodes
from subsight.studies.offers.telling import covered, few

__all__ = ["NO_EVIDENCE", "QUESTIONS"]

NO_EVIDENCE: Final = "rule, no evidence"
_TEXT: Final = {
    "nodes": "Which offers suit which part of the map, and on what evidence?",
    "catalogue": "What becomes of each offer of the catalogue?",
}
_RANKS: Final = ("first", "second", "third")
_NAMED: Final = 5
"""Offers that are named in a sentence; beyond that they are counted."""


def _nodes(inputs: OfferInputs) -> Answer:
    chosen = _chosen(inputs)
    if not chosen:
        why = "the catalogue is empty" if not inputs.offers else "none suits, or none is valid"
        return Answer("offers.nodes", _TEXT["nodes"], [], (f"No node has an offer: {why}.",))
    buyers, least = _tellable(inputs, chosen), inputs.settings.minimum_group
    more = {
        row["node"]: _row(chosen.get(row["node"], {}), buyers.get(row["node"]), least) for row in inputs.nodes
    }
    first = Counter(held[1]["offer_id"] for held in chosen.values())
    names = [name for name, _ in sorted(first.items(), key=lambda item: (-item[1], item[0]))]
    notes = (
        "lift: how many times as often as by everybody an offer is bought in the node; null where nobody "
        f"bought it anywhere. Where fewer than {least} of a node bought it, their number and the score are "
        "not told and the lift is rounded to halves.",
        "score: of purchases the expected share of the node who buy the offer; else a rank, no probability.",
    )
    return Answer(
        "offers.nodes", _TEXT["nodes"], of_nodes(inputs, more), tuple(_told(inputs, chosen, buyers)),
        drawn(inputs, "first_offer_id", names=names), group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _chosen(inputs: OfferInputs) -> dict[Any, dict[int, Mapping[str, Any]]]:
    """Offers by node and rank, of the nodes that have a first one."""
    found: dict[Any, dict[int, Mapping[str, Any]]] = {}
    for row in inputs.choices:
        found.setdefault(row["node"], {})[row["rank"]] = row
    return {node: held for node, held in found.items() if 1 in held}


def _tellable(inputs: OfferInputs, chosen: Mapping[Any, Mapping[int, Any]]) -> dict[Any, int | None]:
    """How many of each node bought its first offer, None where too few did, of each offer at least two."""
    by_offer: dict[str, list[Any]] = {}
    for node, held in chosen.items():
        by_offer.setdefault(held[1]["offer_id"], []).append(node)
    found: dict[Any, int | None] = {}
    for nodes in by_offer.values():
        counts = [chosen[node][1]["buyer_count"] for node in nodes]
        found |= zip(nodes, covered(counts, inputs.settings.minimum_group), strict=True)
    return found


def _row(held: Mapping[int, Mapping[str, Any]], buyers: int | None, minimum: int) -> dict[str, Any]:
    first = held.get(1, {})
    row: dict[str, Any] = {
        "first_offer_id": first.get("offer_id"),
        "evidence": first.get("evidence"),
        "score": first.get("score") if buyers is not None else None,
        "buyer_count": buyers,
        "first_lift": _lift(first, buyers is not None),
    }
    for rank, name in enumerate(_RANKS[1:], 2):
        other = held.get(rank, {})
        row[f"{name}_offer_id"] = other.get("offer_id")
        row[f"{name}_lift"] = _lift(other, not few(other.get("buyer_count"), minimum))
    return row


def _lift(choice: Mapping[str, Any], is_exact: bool) -> float | None:
    lift = choice.get("lift")
    if lift is None or lift != lift:
        return None
    return float(lift) if is_exact else round(2 * lift) / 2


def _popular(offers: Rows) -> Mapping[str, Any] | None:
    """The valid offer that most subscribers bought, where anybody bought one."""
    bought = [row for row in offers if row["state"] == "valid" and row["buyer_count"]]
    return max(bought, key=lambda row: row["buyer_count"], default=None)


def _told(
    inputs: OfferInputs, chosen: Mapping[Any, Mapping[int, Any]], buyers: Mapping[Any, int | None]
) -> list[str]:
    taken = [row["node"] for row in inputs.nodes if row["subscriber_count"] and row["node"] in chosen]
    if not taken:
        return ["No node with an offer has subscribers."]
    reading = [_against_popular(inputs, {node: chosen[node][1]["offer_id"] for node in taken})]
    evidence = Counter(chosen[node][1]["evidence"] for node in taken)
    if without := evidence[NO_EVIDENCE]:
        where = "every node" if without == len(taken) else f"{without} of {len(taken)} nodes"
        reading.append(
            f"In {where} the first choice follows a rule and rests on no evidence: neither a purchase nor a "
            "mapping speaks for it."
        )
    if given := evidence["mapping"]:
        reading.append(f"In {given} of {len(taken)} nodes it was given by a mapping of the operator's.")
    shown = {row["node"]: row for row in shown_nodes(inputs)}
    sure = [node for node in taken if node in shown and buyers[node] and _lift(chosen[node][1], True)]
    if sure:
        best = max(sure, key=lambda node: chosen[node][1]["lift"])
        traits = f" ({shown[best]['traits']})" if shown[best]["traits"] else ""
        offer, lift = chosen[best][1]["offer_id"], chosen[best][1]["lift"]
        reading.append(
            f"The highest lift is that of {offer} in node {best}{traits}: it is bought {lift:.1f} times as "
            "often there as by everybody."
            if lift > 1
            else "In no node is the first choice bought more often than by everybody."
        )
    return reading


def _against_popular(inputs: OfferInputs, first: Mapping[Any, str]) -> str:
    """In how many nodes the first choice differs from what most buy."""
    count = words.plural(len(first), "node")
    if len(inputs.offers) == 1:
        return f"There is only one offer, {inputs.offers[0]['offer_id']}: the map has nothing to choose from."
    best = _popular(inputs.offers)
    if best is None:
        offers = words.plural(len(set(first.values())), "offer")
        return f"Nobody bought a valid offer yet, so that none is popular; {count} begin with {offers}."
    name, others = best["offer_id"], sum(offer != best["offer_id"] for offer in first.values())
    if not others:
        return f"In all {count} with subscribers the first choice is {name}, which most buy anyway."
    shown = [row for row in shown_nodes(inputs) if row["node"] in first]
    whole = sum(row["subscriber_count"] for row in shown)
    elsewhere = sum(row["subscriber_count"] for row in shown if first[row["node"]] != name)
    share = f", with {percent(elsewhere / whole)} of those shown" if whole else ""
    return (
        f"In {others:,} of {count} with subscribers{share}, the first choice is another than {name}, the "
        "offer that most buy."
    )


def _catalogue(inputs: OfferInputs) -> Answer:
    if not inputs.offers:
        return Answer("offers.catalogue", _TEXT["catalogue"], [], ("The catalogue holds no offer.",))
    minimum, rows = inputs.settings.minimum_group, []
    for offer in sorted(inputs.offers, key=lambda row: (-row["node_count"], row["offer_id"])):
        row = dict(offer)
        if few(row["buyer_count"], minimum):
            row |= {"buyer_count": None, "bought_share": None, "highest_lift": None}
        rows.append(row)
    is_drawn = any(row["node_count"] for row in rows)
    chart = charts.bars("offer_id", "node_count", colour="evidence", stacked=True)
    chart["transform"].append({"filter": "datum.node_count > 0"})
    notes = (
        "node_count: nodes of which the offer is the first choice. bought_share: of all subscribers. "
        f"What fewer than {minimum} subscribers bought is not told.",
    )
    return Answer(
        "offers.catalogue", _TEXT["catalogue"], rows, tuple(_of_catalogue(rows)), chart if is_drawn else None,
        group_size="buyer_count", notes=notes,
    )  # fmt: skip


def _of_catalogue(rows: Rows) -> list[str]:
    states = Counter(row["state"] for row in rows)
    parts = [f"{count} {'is' if count == 1 else 'are'} {state}" for state, count in states.items()]
    reading = [f"Of {words.plural(len(rows), 'offer')}, {words.listing(parts)}."]
    if len(states) == 1:
        state = next(iter(states))
        all_of = f"All {len(rows)} offers are" if len(rows) > 1 else "The only offer is"
        reading = [f"{all_of} {state}."]
    valid = [row for row in rows if row["state"] == "valid"]
    best = _popular(rows)
    if valid and not any(row["buyer_count"] is None or row["buyer_count"] for row in valid):
        reading.append("Nobody bought a valid offer yet.")
    elif best is None:
        reading.append("No valid offer was bought by enough subscribers to say which is the most popular.")
    elif best["bought_share"] is not None:
        reading.append(
            f"The most popular that is valid is {best['offer_id']}: {percent(best['bought_share'])} of all "
            "bought it."
        )
    without = [row["offer_id"] for row in valid if row["evidence"] == NO_EVIDENCE]
    if without:
        reading.append(_some(without, len(valid), "rests on a rule and no evidence", "rest on a rule and no "
                             "evidence"))  # fmt: skip
    unused = [row["offer_id"] for row in valid if not row["node_count"]]
    if unused:
        reading.append(_some(unused, len(valid), "is the first choice of no node",
                             "are the first choice of no node"))  # fmt: skip
    return reading


def _some(names: Sequence[str], whole: int, one: str, many: str) -> str:
    said = f": {words.listing(list(names))}" if len(names) <= _NAMED else ""
    return f"{len(names)} of {words.plural(whole, 'valid offer')} {one if len(names) == 1 else many}{said}."


QUESTIONS: Final = (
    OfferQuestion("offers.nodes", _TEXT["nodes"], _nodes),
    OfferQuestion("offers.catalogue", _TEXT["catalogue"], _catalogue),
)
