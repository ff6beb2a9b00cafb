"""A registered linear model compiled to arrays: one dot product a prediction, and its link."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import WorkspaceError
from subsight.lifecycle.registry import Version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Predictor"]

_PARTS: Final = ("coefficients", "intercept", "mean", "deviation")


class Predictor:
    """Predictions of one version of a model.

    Attributes:
        numbers: the features that are numbers, in the record's order; null where unknown.
        texts: the features that are texts, such as `handset_manufacturer`; null where unknown.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        parameters = version.record["parameters"]
        if missing := [part for part in _PARTS if part not in parameters]:
            raise WorkspaceError(
                f"version {version.number} of {version.name} is no linear model",
                found=f"no {', '.join(missing)}",
                expected=", ".join(_PARTS),
                do="train it again",
            )
        self.numbers: tuple[str, ...] = tuple(n for n in version.record["features"] if "=" not in n)
        # A text's levels: by feature, the weight that a level adds where it holds, and the others where not.
        self._weights: dict[str, float] = {}
        self._levels: dict[str, dict[str, float]] = {}
        self._intercept = float(parameters["intercept"])
        self._is_share = parameters.get("link") == "logit"
        self._means: dict[str, float] = {}
        triples = zip(version.record["features"], parameters["mean"], parameters["deviation"], strict=True)
        for name, mean, deviation in triples:
            weight = float(parameters["coefficients"][name]) / float(deviation)
            self._intercept -= weight * float(mean)
            feature, is_level, level = name.partition("=")
            if is_level:
                self._levels.setdefault(feature, {})[level] = weight
            else:
                self._weights[name], self._means[name] = weight, float(mean)
        self.texts: tuple[str, ...] = tuple(self._levels)

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field of a request: the numbers, then the texts."""
        return (*self.numbers, *self.texts)

    def one(self, row: Mapping[str, Any]) -> float:
        """The prediction for one subscriber; a number that is null or absent counts as the training mean.

        A text that is unknown or not among the commonest belongs to no level, as in training.
        """
        total = self._intercept
        for name, weight in self._weights.items():
            value = row.get(name)
            total += weight * (self._means[name] if value is None else value)
        for name, levels in self._levels.items():
            total += levels.get(row.get(name) or "", 0.0)
        return _share(total) if self._is_share else total

    def many(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Floats:
        """Predictions for a batch given by columns: arrays or lists, NaN or null where unknown."""
        import numpy as np

        total = np.full(rows, self._intercept)
        for name, weight in self._weights.items():
            if name in columns:
                values = np.asarray(columns[name], dtype=np.float64)
                total += weight * np.where(np.isnan(values), self._means[name], values)
            else:
                total += weight * self._means[name]
        for name, levels in self._levels.items():
            if name in columns:
                total += np.array([levels.get(text or "", 0.0) for text in columns[name]])
        if self._is_share:
            from scipy.special import expit

            total = expit(total)
        return total


def _share(logit: float) -> float:
    """The logistic function, without overflow at either end."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    small = math.exp(logit)
    return small / (1 + small)
