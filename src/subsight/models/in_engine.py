"""A model's parameters as Narwhals expressions, so that scoring never leaves the engine.

Three selects, standardise, distances, then the nearest: one nested expression would repeat every
distance in every comparison and explode.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import narwhals as nw

from subsight.models.segments.features import NUMBER
from subsight.store import Frame

__all__ = ["with_clusters", "with_scores", "with_segment_names", "with_segments"]


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


def with_segments(frame: Frame, record: Mapping[str, Any]) -> Frame:
    """The frame with `segment`, `distance`, `runner_up` and `runner_up_distance`.

    Null where an input is null. As `segments.place`: the nearest centroid in z units and the one after
    it, ties to the lower number.
    """
    frame, scaled = _segment_features(frame, record)
    centroids = record["parameters"]["centroids"]
    squares = [f"squared_{i}" for i in range(len(centroids))]
    others = [f"other_{i}" for i in range(len(centroids))]
    frame = frame.with_columns(**{s: _squared(scaled, c) for s, c in zip(squares, centroids, strict=True)})
    frame = frame.with_columns(_least(squares).alias("distance"))
    frame = frame.with_columns(_first(squares, "distance").alias("segment"))
    frame = frame.with_columns(
        **{
            other: nw.when(nw.col("segment") != i).then(nw.col(square))
            for i, (other, square) in enumerate(zip(others, squares, strict=True))
        }
    )
    frame = frame.with_columns(_least(others).alias("runner_up_distance"))
    frame = frame.with_columns(_first(others, "runner_up_distance").alias("runner_up"))
    frame = frame.with_columns(nw.col("distance") ** 0.5, nw.col("runner_up_distance") ** 0.5)
    return frame.drop(*scaled, *squares, *others)


def with_segment_names(frame: Frame, record: Mapping[str, Any]) -> Frame:
    """A frame of `with_segments` with `segment_name`, `runner_up_name` and `lacking`, null where none.

    `lacking` names the inputs for want of which there is no segment, separated by a comma and a space.
    """
    known = [_known(frame, one) for one in record["inputs"]]
    lacks = [
        nw.when(is_known).then(nw.lit("")).otherwise(nw.lit(f", {one['name']}"))
        for is_known, one in zip(known, record["inputs"], strict=True)
    ]
    frame = frame.with_columns(
        _name_of("segment", record["names"]).alias("segment_name"),
        _name_of("runner_up", record["names"]).alias("runner_up_name"),
        nw.concat_str(*lacks).alias("lacking"),
    )
    said = nw.when(nw.col("lacking") != "").then(nw.col("lacking").str.slice(2))
    return frame.with_columns(said.alias("lacking"))


def _segment_features(frame: Frame, record: Mapping[str, Any]) -> tuple[Frame, list[str]]:
    """Standardised features under plain names: a level's own may hold what engines do not allow."""
    made: list[Any] = []
    for one in record["inputs"]:
        known, column = _known(frame, one), nw.col(one["name"])
        if one["kind"] == "number":
            made.append(nw.when(known).then(column).cast(nw.Float64))
        else:
            made += [
                nw.when(known).then(nw.when(column == level).then(nw.lit(1.0)).otherwise(nw.lit(0.0)))
                for level in one["levels"]
            ]
    names = [f"scaled_{i}" for i in range(len(made))]
    frame = frame.with_columns(**dict(zip(names, made, strict=True)))
    p = record["parameters"]
    scaled = {
        name: (nw.col(name) - mean) / deviation
        for name, mean, deviation in zip(names, p["mean"], p["deviation"], strict=True)
    }
    return frame.with_columns(**scaled), names


def _known(frame: Frame, one: Mapping[str, Any]) -> Any:
    """Whether an input is there: a number is none where it is NaN, nor a text that holds no number."""
    column, kind = nw.col(one["name"]), frame.collect_schema()[one["name"]]
    if one["kind"] == "number" and kind == nw.String:
        return column.str.contains(f"^{NUMBER}$").fill_null(False)
    return ~(column.is_null() | column.is_nan()) if kind.is_float() else ~column.is_null()


def _least(columns: list[str]) -> Any:
    """The least of several columns in a row, nulls apart."""
    return nw.min_horizontal(*(nw.col(name) for name in columns))


def _first(columns: list[str], value: str) -> Any:
    """The number of the first column that equals another one; null where that is null."""
    found = nw.lit(len(columns) - 1)
    for i in range(len(columns) - 2, -1, -1):
        found = nw.when(nw.col(columns[i]) == nw.col(value)).then(nw.lit(i)).otherwise(found)
    return nw.when(~nw.col(value).is_null()).then(found).cast(nw.Int64)


def _name_of(column: str, names: list[str]) -> Any:
    found = nw.lit(names[-1])
    for i, name in enumerate(names[:-1]):
        found = nw.when(nw.col(column) == i).then(nw.lit(name)).otherwise(found)
    return nw.when(~nw.col(column).is_null()).then(found)


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
