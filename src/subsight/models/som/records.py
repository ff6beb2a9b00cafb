"""A map as a fit record: plain JSON with its grid, weights and card, and read back without unpickling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subsight.errors import InputError
from subsight.models import shown
from subsight.models.som import SelfOrganisingMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Nodes = NDArray[np.intp]

__all__ = ["fit", "nodes", "place", "read"]

_KEPT: Final = ("rows", "columns", "topology", "epochs", "radius_start", "radius_end", "initialisation")


def fit(
    name: str,
    features: Sequence[str],
    values: Matrix,
    som: SelfOrganisingMap,
    deviation: Matrix | None = None,
) -> dict[str, Any]:
    """Fits a map to z-scores (population standard deviation) and returns its record.

    `fit.convergence` is the quantisation error at the beginning of each epoch and at the end;
    `fit.explained` the share of the squared distances to the mean that the nodes take away.

    Args:
        values: one row per subscriber, one column per feature, no missing values.
        som: a map with its parameters; it is fitted.
        deviation: what to divide each feature by, where it is not the standard deviation.

    Raises:
        ValueError: the values cannot be used.
        ConfigurationError: a parameter of the map cannot be used.
    """
    began = datetime.now(UTC)
    mean, deviation = values.mean(axis=0), values.std(axis=0) if deviation is None else deviation
    parameters = {"mean": mean, "deviation": np.where(deviation > 0, deviation, 1.0)}
    scaled = _scaled(parameters, values)
    som.fit(scaled)
    parameters["weights"] = som.weights_
    own = som.predict(scaled)
    apart = float(((scaled - som.weights_[own]) ** 2).sum())
    return {
        "name": name,
        "features": list(features),
        "parameters": {key: value.tolist() for key, value in parameters.items()}
        | {"map": {key: getattr(som, key) for key in _KEPT}},
        "sample": shown.sample(features, values, node=own),
        "fit": {
            "rows": len(values),
            "seed": som.random_state if isinstance(som.random_state, int) else None,
            "history": som.history_,
            "convergence": [*(one["quantisation_error"] for one in som.history_), som.quantisation_error_],
            "quantisation_error": som.quantisation_error_,
            "topographic_error": som.topographic_error_,
            "explained": 1 - apart / (float((scaled**2).sum()) or 1.0),
            "hits": som.hits_.ravel().tolist(),
            "began_at": began.isoformat(timespec="milliseconds"),
            "ended_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        },
        "card": {
            "purpose": f"lay subscribers out on a map of {som.rows} x {som.columns} nodes, like near like",
            "limits": "two dimensions for many: near on the map means alike, far need not mean different; "
            "look at the topographic error and at the distances between neighbours",
        },
    }


def read(record: Mapping[str, Any]) -> SelfOrganisingMap:
    """The fitted map of a record, for z-scores."""
    parameters, told = record["parameters"], record["fit"]
    som = SelfOrganisingMap(**parameters["map"])
    som.weights_ = np.asarray(parameters["weights"], dtype=np.float64)
    som.n_features_in_ = som.weights_.shape[1]
    som.hits_ = np.asarray(told["hits"]).reshape(som.rows, som.columns)
    som.quantisation_error_, som.topographic_error_ = told["quantisation_error"], told["topographic_error"]
    som.history_, som.n_iter_ = told["history"], len(told["history"])
    return som


def place(record: Mapping[str, Any], values: Matrix) -> tuple[Nodes, Matrix]:
    """The node of each row of raw features, and the distance to it in z units.

    Raises:
        InputError: the features are not as many as the map's.
        ValueError: a value is missing or not finite.
    """
    if values.ndim != 2 or values.shape[1] != len(record["features"]):
        raise InputError(
            f"rows cannot be placed on the map {record['name']}",
            found=f"values of shape {values.shape}",
            expected=f"a column for each of {', '.join(record['features'])}",
        )
    scaled, som = _scaled(record["parameters"], values), read(record)
    own = som.predict(scaled)
    return own, np.sqrt(((scaled - som.weights_[own]) ** 2).sum(axis=1))


def nodes(record: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The map as a table, a row per node: its place, what it holds, and its weights in raw units.

    `x` and `y` are in steps of the grid, y downwards; `subscriber_count` is the hit map of the fit,
    `neighbour_distance` the U-matrix in z units; a column per feature is its component plane.
    """
    parameters, som = record["parameters"], read(record)
    row, column = np.divmod(np.arange(som.grid.nodes), som.columns)
    x, y = som.grid.positions.T
    raw = som.weights_ * parameters["deviation"] + parameters["mean"]
    return {
        "node": np.arange(som.grid.nodes),
        "row": row,
        "column": column,
        "x": x,
        "y": y,
        "subscriber_count": som.hits_.ravel(),
        "neighbour_distance": som.u_matrix_.ravel(),
        **dict(zip(record["features"], raw.T, strict=True)),
    }


def _scaled(parameters: Mapping[str, Any], values: Matrix) -> Matrix:
    scaled: Matrix = (values - np.asarray(parameters["mean"])) / np.asarray(parameters["deviation"])
    return scaled
