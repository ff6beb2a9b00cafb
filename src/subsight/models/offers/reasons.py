"""Why an offer: what sets a node apart, how much of that a subscriber shares, and what the offer rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subsight.models.offers.nodes import NO_EVIDENCE, NodeOffers
from subsight.units import format_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["NOTHING_ELSE", "TOO_LITTLE", "Reasons", "Traits", "named", "spread_of", "traits"]

TOO_LITTLE: Final = "default: too little is known of this subscriber's usage"
NOTHING_ELSE: Final = "default: nothing that suits such usage may be given"

_MOST: Final = 3
_CLEAR: Final = 0.5
"""Standard deviations from the mean from which a node, or a subscriber, stands out."""
_ALIKE: Final = 1.1
"""Lift up to which a share is about that of all, and its inverse down to which it is."""
_NUMBERS: Final = {
    "ul_bytes": ("much uplink volume", "little uplink volume"),
    "dl_bytes": ("much downlink volume", "little downlink volume"),
    "session_count": ("many sessions", "few sessions"),
    "duration_s": ("much time in sessions", "little time in sessions"),
}


@dataclass(frozen=True)
class Traits:
    """What nodes stand out by, at most three each: nodes x 3, -1 where there is none.

    Attributes:
        features: places of the features, the clearest first.
        is_high: whether the node lies above the mean.
        words: each in words.
    """

    features: NDArray[np.int64]
    is_high: NDArray[np.bool_]
    words: tuple[tuple[str, ...], ...]

    def shared(self, nodes: NDArray[np.int64], values: Matrix, mean: Matrix, spread: Matrix) -> Any:
        """Which of its node's traits each row has itself: a bit a trait, the first the lowest."""
        bits = np.zeros(len(nodes), np.uint8)
        for place in range(_MOST):
            feature = self.features[nodes, place]
            there = np.maximum(feature, 0)
            apart = (values[np.arange(len(nodes)), there] - mean[there]) / spread[there]
            has = np.where(self.is_high[nodes, place], apart >= _CLEAR, apart <= -_CLEAR) & (feature >= 0)
            bits |= (has << place).astype(np.uint8)
        return bits


def named(feature: str, *, is_high: bool = True) -> str:
    """A feature in words: what is seen, or how much there is.

    >>> named("applications=YouTube"), named("dl_bytes", is_high=False), named("app_games_bytes")
    ('YouTube', 'little downlink volume', 'much games volume')
    """
    _, equals, text = feature.partition("=")
    if equals:
        return text if is_high else f"little {text}"
    if feature in _NUMBERS:
        return _NUMBERS[feature][0 if is_high else 1]
    words = feature.removeprefix("app_").removesuffix("_bytes").replace("_", " ")
    return f"{'much' if is_high else 'little'} {words} volume"


def traits(features: Sequence[str], weights: Matrix, mean: Matrix, spread: Matrix) -> Traits:
    """What each node stands out by.

    Args:
        weights: nodes x features, in the units of the features.
        spread: the standard deviation of each feature.
    """
    apart = (weights - mean) / spread
    order = np.argsort(-np.abs(apart), axis=1, kind="stable")[:, :_MOST]
    clear = np.take_along_axis(np.abs(apart), order, 1) >= _CLEAR
    places = np.full((len(weights), _MOST), -1, np.int64)
    places[:, : order.shape[1]] = np.where(clear, order, -1)
    is_high = np.take_along_axis(apart, np.maximum(places, 0), 1) > 0
    words = tuple(
        tuple(named(features[f], is_high=bool(high)) for f, high in zip(row, highs, strict=True) if f >= 0)
        for row, highs in zip(places.tolist(), is_high.tolist(), strict=True)
    )
    return Traits(places, is_high, words)


class Reasons:
    """The reasons of a map's offers, each said once however many subscribers it is for."""

    def __init__(
        self,
        found: Traits,
        offers: NodeOffers,
        sizes: NDArray[np.int64],
        allowances: Matrix,
        volumes: Matrix,
        minimum_group: int,
    ) -> None:
        self._traits, self._offers, self._sizes = found, offers, sizes
        self._allowances, self._volumes = allowances, volumes
        self._minimum = minimum_group
        self._said: dict[tuple[int, ...], str] = {}

    def of(self, key: tuple[int, ...]) -> str:
        """The reason of a node, an offer, bits of shared traits, and a number drawn from (0: not drawn)."""
        if key not in self._said:
            node, offer, bits, drawn = key
            start = f"drawn at random from {drawn} that may be given, to learn: " if drawn else ""
            self._said[key] = f"{start}{self._worth(node, offer)}. {self._likeness(node, bits)}"
        return self._said[key]

    def _worth(self, node: int, offer: int) -> str:
        evidence = self._offers.evidence[offer]
        if evidence == NO_EVIDENCE:
            allowed, used = self._allowances[offer], self._volumes[node]
            size, typical = format_value(allowed, "bytes"), format_value(used, "bytes")
            fit = "covers" if allowed >= used else "falls short of"
            return f"{NO_EVIDENCE}: its {size} {fit} the {typical} typical of such usage"
        if evidence == "mapping":
            return "listed for such usage"
        lift = float(self._offers.lift[node, offer])
        more = (
            "more often than" if lift > _ALIKE else "less often than" if lift < 1 / _ALIKE else "as often as"
        )
        if self._sizes[node] < self._minimum or more == "as often as":
            return f"subscribers with such usage take it {more} others"
        share = format_value(float(self._offers.scores[node, offer]), "share")
        return f"{share} of subscribers with such usage take it, {lift:.1f} times the share of all"

    def _likeness(self, node: int, bits: int) -> str:
        words = self._traits.words[node]
        if not words:
            return "Such usage is about that of all"
        own = [word for place, word in enumerate(words) if bits >> place & 1]
        mine = (
            "by all of these"
            if len(own) == len(words)
            else f"by {_listed(own)}"
            if own
            else "by none of these"
        )
        return f"Such usage stands out by {_listed(words)}; this subscriber {mine}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def spread_of(record: Mapping[str, Any], mean: Matrix, deviation: Matrix) -> Matrix:
    """The standard deviation of each feature: of a text what a share of rows that have it makes it."""
    texts = sum(len(found) for found in record["lists"].values())
    share = mean[:texts]
    found = deviation.copy()
    found[:texts] = np.sqrt(np.maximum(share * (1 - share), 1e-12))
    return found
