"""The fit record of a segmentation, as others read it: its inputs, and whether it fits together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

__all__ = ["RECORD_IS_WRONG", "Input", "check", "inputs_of"]

# What a file that is no record of ours makes of its readers.
RECORD_IS_WRONG: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
_SEGMENTS: Final = 1000
_LEVELS: Final = 20


@dataclass(frozen=True)
class Input:
    """A column that subscribers are placed by.

    Attributes:
        levels: of a text; empty for a number.
        numeric: mean and deviation of a text's levels where all are numbers, else null.
        features: its columns of the matrix.
    """

    name: str
    levels: tuple[str, ...]
    numeric: tuple[float, float] | None
    features: tuple[str, ...]
    is_number: bool

    @property
    def is_open(self) -> bool:
        """Whether there may be rarer levels, which are none of these: a fit keeps the commonest 20."""
        return len(self.levels) >= _LEVELS

    def nearest(
        self, numbers: Sequence[float], share: float, odd: Callable[[Input, int, str], Exception]
    ) -> list[str | None]:
        """The level that each number means, null for NaN; one that is near none is raised as `odd` says."""
        values = sorted((float(level), level) for level in self.levels)
        gaps = [b[0] - a[0] for a, b in pairwise(values)]
        near = share * min((gap for gap in gaps if gap > 0), default=1.0)
        found: list[str | None] = []
        for row, number in enumerate(numbers, 1):
            if math.isnan(number):
                found.append(None)
                continue
            value, level = min(values, key=lambda one: abs(one[0] - number))
            if not abs(value - number) <= near:
                raise odd(self, row, f"{number:g} once it is turned back")
            found.append(level)
        return found


def inputs_of(record: Mapping[str, Any]) -> tuple[Input, ...]:
    """The inputs that have a column in the matrix, in order: one that never varied has none."""
    known = set(record["features"])
    return tuple(one for one in map(_input, record["inputs"]) if known.intersection(one.features))


def _input(entry: Mapping[str, Any]) -> Input:
    name, kind, scale = entry["name"], entry["kind"], entry.get("numeric")
    if not isinstance(name, str) or kind not in ("number", "text"):
        raise ValueError("an input that is neither a number nor a text")
    if kind == "number":
        return Input(name, (), None, (name,), True)
    levels = tuple(entry["levels"])
    if not levels or not all(isinstance(level, str) for level in levels) or len(set(levels)) < len(levels):
        raise ValueError(f"the levels of {name} are no texts")
    numeric = None
    if scale is not None:
        numeric = _finite(scale["mean"]), _finite(scale["deviation"])
        for level in levels:
            _finite(float(level))
    return Input(name, levels, numeric, tuple(f"{name}={level}" for level in levels), False)


def _finite(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("a parameter that is no finite number")
    return float(value)


def check(record: Any) -> None:
    """Whether a record is one of a segmentation and fits together.

    Raises:
        ValueError, LookupError, TypeError: it does not; `RECORD_IS_WRONG` names all that may come.
    """
    if not isinstance(record, dict) or record.get("name") != "segments":
        raise ValueError("not a record of the model segments")
    features, parameters, names = record["features"], record["parameters"], record["names"]
    _check_features(record, features)
    width = len(features)
    for part in ("mean", "deviation"):
        if len(parameters[part]) != width or not all(map(_is_finite, parameters[part])):
            raise ValueError(f"parameters.{part} does not fit {width} features")
    if min(parameters["deviation"]) <= 0:
        raise ValueError("a deviation that is not above 0")
    centroids = parameters["centroids"]
    if not isinstance(centroids, list) or not 2 <= len(centroids) <= _SEGMENTS:
        raise ValueError("fewer than two centroids, or too many")
    for centroid in centroids:
        if len(centroid) != width or not all(map(_is_finite, centroid)):
            raise ValueError(f"a centroid does not fit {width} features")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("names that are no texts")
    if len(names) != len(centroids) or len(set(names)) < len(names):
        raise ValueError(f"{len(names)} names for {len(centroids)} segments, or one name twice")


def _is_finite(value: Any) -> bool:
    _finite(value)
    return True


def _check_features(record: Mapping[str, Any], features: Any) -> None:
    if not isinstance(features, list) or not features or not isinstance(record["inputs"], list):
        raise ValueError("no features or no inputs")
    known, expected = set(features), []
    for one in map(_input, record["inputs"]):
        present = [name for name in one.features if name in known]
        if present and len(present) < len(one.features):
            raise ValueError(f"the features lack a level of {one.name}")
        expected += present
    if expected != features:
        raise ValueError("the features are not those of the inputs")
    if record.get("region") not in ("one-hot", "numeric", None):
        raise ValueError("an unknown use of the region")
