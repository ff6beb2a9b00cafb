"""Which segment a subscriber belongs to, and why: distances to the centroids in z units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from subsight.models.segments import features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["explain", "labels_of", "place", "squared"]


def place(record: Mapping[str, Any], columns: Mapping[str, Any]) -> tuple[Matrix, Matrix]:
    """The segment of each row (-1 where an input is lacking) and its distances, rows x segments.

    The rule of `in_engine.with_segments`: the nearest centroid, ties to the lower number; distances
    are in z units, NaN where an input is lacking.

    Raises:
        InputError: an input is missing, or columns differ in length.
    """
    import numpy as np

    distances = squared(features.matrix(record, columns), record["parameters"]["centroids"])
    return labels_of(distances), np.sqrt(distances)


def squared(scaled: Matrix, centroids: Any) -> Matrix:
    """Squared distances of each row to each centroid, added in the engine's order, feature by feature."""
    import numpy as np

    points = np.asarray(centroids)
    total: Matrix = np.zeros((len(scaled), len(points)))
    for values, places in zip(scaled.T, points.T, strict=True):
        total += (values[:, None] - places[None, :]) ** 2
    return total


def labels_of(distances: Matrix) -> Matrix:
    """The column of the least distance, the first where several tie; -1 where distances are NaN."""
    import numpy as np

    labels: Matrix = np.where(np.isnan(distances[:, 0]), -1, distances.argmin(axis=1))
    return labels


def explain(record: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Why one subscriber is in its segment and not in the runner-up.

    `parts` holds, per input, what it adds to the difference of the squared distances to the
    runner-up's centroid and to the own one, largest first: they add up to `difference`, and a
    negative part speaks for the runner-up. Where an input is `lacking` there is no segment.

    Args:
        row: the raw inputs by name; null or absent where not known.
    """
    inputs = record["inputs"]
    columns = {one["name"]: [row.get(one["name"])] for one in inputs}
    read = {one["name"]: features.read(columns[one["name"]], one["kind"]) for one in inputs}
    lacking = [name for name, values in read.items() if not features.known(values)[0]]
    empty: dict[str, Any] = dict.fromkeys(
        ("segment", "segment_name", "distance", "runner_up", "runner_up_name", "runner_up_distance",
         "difference")
    )  # fmt: skip
    if lacking:
        return {**empty, "distances": {}, "parts": [], "lacking": lacking}
    scaled = features.matrix(record, columns)
    distances = squared(scaled, record["parameters"]["centroids"])[0]
    # A stable order: of two that tie, the lower number comes first.
    own, runner_up = (int(i) for i in distances.argsort(kind="stable")[:2])
    names = record["names"]
    return {
        "segment": own,
        "segment_name": names[own],
        "distance": math.sqrt(distances[own]),
        "runner_up": runner_up,
        "runner_up_name": names[runner_up],
        "runner_up_distance": math.sqrt(distances[runner_up]),
        "difference": float(distances[runner_up] - distances[own]),
        "distances": {name: math.sqrt(value) for name, value in zip(names, distances, strict=True)},
        "parts": _parts(record, scaled[0], own, runner_up, {name: v[0] for name, v in read.items()}),
        "lacking": [],
    }


def _parts(
    record: Mapping[str, Any], scaled: Matrix, own: int, runner_up: int, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    centroids = record["parameters"]["centroids"]
    added = dict.fromkeys(values, 0.0)
    for feature, z, near, far in zip(
        record["features"], scaled.tolist(), centroids[own], centroids[runner_up], strict=True
    ):
        name = feature if feature in added else next(n for n in added if feature.startswith(f"{n}="))
        added[name] += (z - far) ** 2 - (z - near) ** 2
    ordered = sorted(added, key=lambda name: -added[name])
    return [
        {"input": name, "value": v if isinstance(v := values[name], str) else float(v), "part": added[name]}
        for name in ordered
    ]
