"""The map of usage: where subscribers lie on it, where its borders run, and what varies over it."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.answers import Answer, Rows
from subsight.studies import charts, words
from subsight.studies.groups import percent
from subsight.studies.offers.inputs import OfferInputs, OfferQuestion
from subsight.studies.offers.telling import few, told

__all__ = ["QUESTIONS", "drawn", "of_nodes", "places", "said", "shown_nodes"]

_TEXT: Final = {
    "map": "Where do subscribers lie on the map of usage, and how well does it show them?",
    "planes": "What varies most over the map?",
}
_KEEPS: Final = ((0.05, "the map keeps neighbours well"), (0.2, "the map keeps most neighbours"))
_PLANES: Final = 9
_FARTHEST: Final = 2
"""z units beyond which a colour says no more."""
_UNSAFE: Final = re.compile(r"[.\[\]\\'\"]+")


def places(inputs: OfferInputs) -> list[dict[str, Any]]:
    """The nodes as a table: where they lie and how many are there; of a few the traits are not told."""
    minimum = inputs.settings.minimum_group
    whole = sum(row["subscriber_count"] for row in inputs.nodes)
    return [
        {
            "node": row["node"],
            "node_x": row["x"],
            "node_y": row["y"],
            "subscriber_count": row["subscriber_count"],
            "subscriber_share": row["subscriber_count"] / whole if whole else None,
            "neighbour_distance": row["neighbour_distance"],
            "typical_total_bytes": row["typical_bytes"],
            # Null rather than nothing: nodes without a trait are no group that a total could be of.
            "traits": None if few(row["subscriber_count"], minimum) else row["traits"] or None,
        }
        for row in inputs.nodes
    ]


def shown_nodes(inputs: OfferInputs) -> list[Any]:
    """The nodes whose numbers may be told, the same ones in every answer: see `telling.told`."""
    return told(places(inputs), inputs.settings.minimum_group)


def of_nodes(inputs: OfferInputs, more: Mapping[Any, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a node: its place, how many are there, and what `more` has of it, all null where it is hidden."""
    shown = {row["node"] for row in shown_nodes(inputs)}
    return [
        {
            "node": row["node"],
            "node_x": row["x"],
            "node_y": row["y"],
            "subscriber_count": row["subscriber_count"] if row["node"] in shown else None,
            **{
                name: value if row["node"] in shown or isinstance(value, str) else None
                for name, value in more[row["node"]].items()
            },
        }
        for row in inputs.nodes
    ]


def drawn(inputs: OfferInputs, value: str, **more: Any) -> dict[str, Any]:
    """A map of that column (see `charts.grid`)."""
    rows, columns = (1 + max(row[side] for row in inputs.nodes) for side in ("row", "column"))
    return charts.grid(
        "node_x", "node_y", value, topology=inputs.topology, columns=columns, rows=rows, **more
    )


def said(feature: str) -> str:
    """A feature in a sentence.

    >>> said("applications=YouTube"), said("dl_bytes")
    ('YouTube (applications)', 'downlink volume')
    """
    column, equals, value = feature.partition("=")
    return f"{value} ({words.named(column)})" if equals else words.named(feature)


def _map(inputs: OfferInputs) -> Answer:
    rows = places(inputs)
    if not rows:
        return Answer("offers.map", _TEXT["map"], [], ("There is no map.",))
    shown = shown_nodes(inputs)
    reading = [_size(inputs), _quality(inputs.errors), *_regions(shown), *_border(shown)]
    notes = (
        "neighbour_distance: the mean distance of a node to its neighbours, in z units; high values are "
        "borders between kinds of usage (U-matrix, Ultsch 1993). An outline is a node that is not shown.",
        "traits: what is more or less than on average there.",
    )
    maps = charts.below(drawn(inputs, "subscriber_count"), drawn(inputs, "neighbour_distance"))
    return Answer(
        "offers.map", _TEXT["map"], rows, tuple(reading),
        maps | {"resolve": {"scale": {"color": "independent"}}},
        facts={name: float(value) for name, value in inputs.errors.items()},
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _size(inputs: OfferInputs) -> str:
    errors, empty = inputs.errors, sum(not row["subscriber_count"] for row in inputs.nodes)
    cells = "hexagons" if inputs.topology == "hexagonal" else "squares"
    of = "their usage" if inputs.source == "usage" else "their profiles"
    fitted = "all of them" if errors["row_count"] == errors["population_count"] else (
        f"{errors['row_count']:,.0f} of them"
    )  # fmt: skip
    return (
        f"{words.plural(errors['population_count'], 'subscriber')} lie by {of} on a map of "
        f"{len(inputs.nodes):,} {cells}, fitted to {fitted}; on {empty or 'none'} of these lies nobody."
    )


def _quality(errors: Mapping[str, float]) -> str:
    broken, explained = errors["topographic_error"], errors["explained_share"]
    keeps = next((text for most, text in _KEEPS if broken <= most), "the map tears neighbours apart")
    rest = "" if explained >= 0.5 else ", less than half"
    return (
        f"A subscriber is {errors['quantisation_error']:.2f} z units from its node on average; nodes explain "
        f"{percent(explained)} of the squared distance to the mean{rest}. For {percent(broken)} the two "
        f"nearest nodes are no neighbours: {keeps}."
    )


def _region(row: Mapping[str, Any], rows: Rows) -> str:
    """The ninth of the map in which a node lies."""
    thirds = []
    for name in ("node_y", "node_x"):
        values = [other[name] for other in rows]
        low, span = min(values), max(values) - min(values)
        thirds.append(min(int(3 * (row[name] - low) / span), 2) if span else 1)
    down, across = ("top", "", "bottom")[thirds[0]], ("left", "", "right")[thirds[1]]
    return f"at the {f'{down} {across}'.strip()}" if down or across else "in the middle"


def _regions(shown: Rows) -> list[str]:
    """Where most are, and where fewest are a node, of the nodes that are shown."""
    sums: dict[str, list[Any]] = {}
    for row in shown:
        sums.setdefault(_region(row, shown), []).append(row)
    counts = {name: sum(row["subscriber_count"] for row in held) for name, held in sums.items()}
    whole = sum(counts.values())
    if not whole or len(counts) < 2:
        return []
    most = max(counts, key=lambda name: counts[name])
    least = min(counts, key=lambda name: counts[name] / len(sums[name]))
    chief = max(sums[most], key=lambda row: row["subscriber_count"])
    traits = f" (its fullest node: {chief['traits']})" if chief["traits"] else ""
    reading = [f"Most are {most} of the map, {percent(counts[most] / whole)} of those shown{traits}."]
    mean = counts[least] / len(sums[least])
    if mean < whole / len(shown):
        reading.append(
            f"It is emptiest {least}: {mean:,.1f} a node, where {whole / len(shown):,.1f} are usual."
        )
    return reading


def _border(shown: Rows) -> list[str]:
    known = [row for row in shown if row["neighbour_distance"] is not None]
    if len(known) < 2:
        return []
    far = max(known, key=lambda row: row["neighbour_distance"])
    usual = statistics.median(row["neighbour_distance"] for row in known)
    if far["neighbour_distance"] < 1.5 * usual:
        return ["No border stands out: no node is half as far again from its neighbours as is usual."]
    return [
        f"The strongest border is {_region(far, known)}: {far['neighbour_distance']:.2f} z units to "
        f"the neighbours, where {usual:.2f} are usual."
    ]


def _planes(inputs: OfferInputs) -> Answer:
    weights = [row["subscriber_count"] for row in inputs.nodes]
    spread = {name: _deviation(values, weights) for name, values in inputs.planes.items()}
    strongest = [name for name in sorted(spread, key=lambda name: -spread[name]) if spread[name] > 0]
    strongest = strongest[:_PLANES]
    if not strongest:
        return Answer("offers.planes", _TEXT["planes"], [], ("Nothing varies over the map.",))
    columns = {name: _column(name) for name in strongest}
    more = {
        row["node"]: {columns[name]: float(inputs.planes[name][i]) for name in strongest}
        for i, row in enumerate(inputs.nodes)
    }
    panels = charts.facet(drawn(inputs, "difference_z", reach=_FARTHEST), "feature", columns=3)
    panels["transform"] = [{"fold": list(columns.values()), "as": ["feature", "difference_z"]}]
    rest = f", then by {words.listing([said(name) for name in strongest[1:]])}" if strongest[1:] else ""
    reading = [
        f"The map tells subscribers apart most by {said(strongest[0])} (a standard deviation of "
        f"{spread[strongest[0]]:.2f} z units between nodes){rest}."
    ]
    notes = (
        "In z units: a node's value less the mean of all, in their standard deviations; what a list may hold "
        "is in one deviation for the whole list, and so paler. Nodes count by their subscribers; colours end "
        f"at {_FARTHEST} on either side.",
        f"{len(strongest)} of {words.plural(len(spread), 'feature')}, the ones that vary most.",
    )
    return Answer(
        "offers.planes", _TEXT["planes"], of_nodes(inputs, more), tuple(reading), panels,
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _deviation(values: Sequence[float], weights: Sequence[float]) -> float:
    """The standard deviation between nodes, each as often as it has subscribers."""
    whole = sum(weights)
    weights, whole = (weights, whole) if whole else ([1] * len(values), len(values))
    mean = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / whole
    return math.sqrt(math.fsum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / whole)


def _column(feature: str) -> str:
    """A feature as a column in z units; charts read a dot or a bracket in a name as a path."""
    return _UNSAFE.sub(" ", feature).strip() if "=" in feature else f"{feature}_z"


QUESTIONS: Final = (
    OfferQuestion("offers.map", _TEXT["map"], _map),
    OfferQuestion("offers.planes", _TEXT["planes"], _planes),
)
