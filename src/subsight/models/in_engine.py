"""A model's parameters as Narwhals expressions, so that scoring never leaves the engine.

Three selects, standardise, distances, then the nearest: one nested expression would repeat every
distance in every comparison and explode.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import narwhals as nw

from subsight.store import Frame

__all__ = ["with_clusters", "with_scores"]


def with_clusters(frame: Frame, record: Mapping[str, Any], column: str) -> Frame:
    """The frame with the number of the nearest centroid in `column`; null where a feature is null."""
    frame, standardised, made = _standardised(frame, record)
    centroids = record["parameters"]["centroids"]
    distances = [f"distance_{i}" for i in range(len(centroids))]
    frame = frame.with_columns(
        **{
            name: _squared(standardised, centroid)
            for name, centroid in zip(distances, centroids, strict=True)
        }
    )
    known = reduce(lambda a, b: a & b, (~nw.col(name).is_null() for name in standardised))
    # From the highest number down, so that a tie goes to the lower one.
    label = nw.lit(len(distances) - 1)
    for i in range(len(distances) - 2, -1, -1):
        closest = reduce(
            lambda a, b: a & b, (nw.col(distances[i]) <= nw.col(other) for other in distances[i + 1 :])
        )
        label = nw.when(closest).then(nw.lit(i)).otherwise(label)
    frame = frame.with_columns(nw.when(known).then(label).cast(nw.Int64).alias(column))
    return frame.drop(*made, *distances)


def with_scores(frame: Frame, record: Mapping[str, Any], score: str, index: str) -> Frame:
    """The frame with the distance to the worst centroid and the direction-aware index (0 to 100)."""
    frame, standardised, made = _standardised(frame, record)
    parameters = record["parameters"]
    worst = parameters["centroids"][parameters["worst"]]
    best = parameters["centroids"][parameters["best"]]
    direction = [b - w for b, w in zip(best, worst, strict=True)]
    reach = max(sum(d * d for d in direction), 1e-300)
    along = reduce(
        lambda a, b: a + b,
        ((nw.col(n) - w) * (d / reach) for n, w, d in zip(standardised, worst, direction, strict=True)),
    )
    frame = frame.with_columns(
        (_squared(standardised, worst) ** 0.5).alias(score),
        (100.0 * along.clip(0.0, 1.0)).alias(index),
    )
    return frame.drop(*made)


def _standardised(frame: Frame, record: Mapping[str, Any]) -> tuple[Frame, list[str], list[str]]:
    parameters, features = record["parameters"], record["features"]
    names = [f"z_{feature}" for feature in features]
    columns = {
        name: (nw.col(feature).cast(nw.Float64) - mean) / deviation
        for name, feature, mean, deviation in zip(
            names, features, parameters["mean"], parameters["deviation"], strict=True
        )
    }
    return frame.with_columns(**columns), names, names


def _squared(names: list[str], point: list[float]) -> Any:
    return reduce(
        lambda a, b: a + b,
        ((nw.col(name) - c) * (nw.col(name) - c) for name, c in zip(names, point, strict=True)),
    )
