"""The self-organising map: a grid of nodes laid through the rows, near nodes where rows are alike.

Trained in batches (Kohonen 2013, "Essentials of the self-organizing map"). Importing it loads scikit-learn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from subsight.errors import ConfigurationError
from subsight.models.som.grid import Grid
from subsight.models.som.training import Pass, owners, plane, sweep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Nodes = NDArray[np.intp]

__all__ = ["SelfOrganisingMap"]

_log = logging.getLogger("subsight.som")


class SelfOrganisingMap(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A self-organising map with scikit-learn's interface, for inputs of one scale, such as z-scores.

    Args:
        epochs: passes over all rows. The radius, which is the standard deviation of the Gaussian
            neighbourhood in steps of the grid, falls by equal factors from `radius_start` (by default
            a third of the longer side) to `radius_end`: a smaller end fits rows closer and keeps less of
            their order.
        initialisation: the plane of the first two principal components, or rows that are drawn.
        memory_bytes: most memory for distances held at once, beside a few MiB for each of up to four
            threads. It changes no result.
        random_state: of the rows that are drawn.
        on_epoch: told each entry of `history_` as soon as it is known.
    """

    def __init__(
        self,
        rows: int = 10,
        columns: int = 10,
        *,
        topology: Literal["hexagonal", "rectangular"] = "hexagonal",
        epochs: int = 20,
        radius_start: float | None = None,
        radius_end: float = 0.9,
        initialisation: Literal["pca", "random"] = "pca",
        memory_bytes: int = 64 << 20,
        random_state: Any = None,
        on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.rows = rows
        self.columns = columns
        self.topology = topology
        self.epochs = epochs
        self.radius_start = radius_start
        self.radius_end = radius_end
        self.initialisation = initialisation
        self.memory_bytes = memory_bytes
        self.random_state = random_state
        self.on_epoch = on_epoch

    @property
    def grid(self) -> Grid:
        """Where the nodes lie, and which are neighbours."""
        return Grid(self.rows, self.columns, self.topology)

    def fit(self, X: Any, y: Any = None) -> SelfOrganisingMap:  # noqa: N803, ARG002
        """Trains the map on rows x features: finite numbers, whose order changes nothing but rounding.

        Leaves `weights_` (nodes x features); of the same rows `hits_`, `quantisation_error_` and
        `topographic_error_`; and `history_`, per epoch its number and radius, the quantisation error
        that it began with, and `movement`, how far nodes moved on average.

        Raises:
            ValueError: the rows cannot be used.
            ConfigurationError: a parameter cannot be used.
        """
        values = validate_data(self, X, dtype=(np.float64, np.float32))
        self._check()
        grid, memory = self.grid, self.memory_bytes
        weights = self._first(values)
        self.history_: list[dict[str, Any]] = []
        for epoch, radius in enumerate(self._radii(), 1):
            found = sweep(values, weights, memory)
            before, weights = weights, grid.averages(found.sums, found.counts, radius)
            moved = float(np.sqrt(((weights - before) ** 2).sum(axis=1)).mean())
            self._tell(epoch, radius, found.distance / len(values), moved)
        self.weights_: Matrix = weights
        self.n_iter_ = len(self.history_)
        self.hits_, self.quantisation_error_, self.topographic_error_ = self._judged(values)
        return self

    def predict(self, X: Any) -> Nodes:  # noqa: N803
        """The number of the node nearest to each row, ties to the lower; the same however rows are split."""
        return owners(self._read(X), self.weights_, self.memory_bytes)

    def transform(self, X: Any) -> Matrix:  # noqa: N803
        """The Euclidean distance of each row to each node, rows x nodes."""
        distances: Matrix = cdist(self._read(X), self.weights_)
        return distances

    def hits(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """How many rows have each node as their nearest, rows x columns of the grid."""
        return self._judged(self._read(X))[0]

    def quantisation_error(self, X: Any) -> float:  # noqa: N803
        """The mean distance of rows to their nearest node."""
        return self._judged(self._read(X))[1]

    def topographic_error(self, X: Any) -> float:  # noqa: N803
        """The share of rows whose two nearest nodes are no neighbours (Kiviluoto 1996)."""
        return self._judged(self._read(X))[2]

    @property
    def u_matrix_(self) -> Matrix:
        """The mean distance of each node's weights to its neighbours', rows x columns (Ultsch 1990)."""
        check_is_fitted(self)
        these, those = self.grid.pairs()
        apart = np.sqrt(((self.weights_[these] - self.weights_[those]) ** 2).sum(axis=1))
        nodes = self.grid.nodes
        means = np.bincount(these, apart, nodes) / np.bincount(these, minlength=nodes)
        matrix: Matrix = means.reshape(self.rows, self.columns)
        return matrix

    @property
    def component_planes_(self) -> Matrix:
        """The weights as maps of one feature each: features x rows x columns."""
        check_is_fitted(self)
        planes: Matrix = self.weights_.T.reshape(-1, self.rows, self.columns)
        return planes

    @property
    def _n_features_out(self) -> int:
        return len(self.weights_)

    def _read(self, X: Any) -> NDArray[Any]:  # noqa: N803
        check_is_fitted(self)
        values: NDArray[Any] = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return values

    def _judged(self, values: NDArray[Any]) -> tuple[NDArray[np.int64], float, float]:
        found: Pass = sweep(values, self.weights_, self.memory_bytes, among=self.grid)
        hits: NDArray[np.int64] = found.counts.reshape(self.rows, self.columns)
        return hits, found.distance / len(values), found.strays / len(values)

    def _check(self) -> None:
        start = self._radius_start()
        for name, usable, expected in (
            ("epochs", self.epochs >= 1, "1 or more"),
            ("radius_end", 0 < self.radius_end <= start, f"above 0 and at most radius_start, {start:g}"),
            ("memory_bytes", self.memory_bytes >= 1, "1 or more"),
            ("initialisation", self.initialisation in ("pca", "random"), "pca or random"),
        ):
            if not usable:
                raise ConfigurationError(
                    f"{name} of the map cannot be used",
                    found=str(getattr(self, name)),
                    expected=expected,
                )

    def _radius_start(self) -> float:
        if self.radius_start is not None:
            return self.radius_start
        # Half of it, from the plane, mostly fitted less closely (by up to 1.4 %) and kept no more order.
        return max(self.rows, self.columns, 3 * self.radius_end) / 3

    def _radii(self) -> list[float]:
        radii: list[float] = np.geomspace(self._radius_start(), self.radius_end, self.epochs).tolist()
        return radii

    def _first(self, values: NDArray[Any]) -> Matrix:
        if self.initialisation == "pca":
            return plane(values, self.grid)
        nodes = self.grid.nodes
        drawn = check_random_state(self.random_state).choice(len(values), nodes, replace=len(values) < nodes)
        weights: Matrix = values[drawn].astype(np.float64)
        return weights

    def _tell(self, epoch: int, radius: float, error: float, moved: float) -> None:
        entry = {"epoch": epoch, "radius": radius, "quantisation_error": error, "movement": moved}
        self.history_.append(entry)
        _log.info(
            "epoch %d of %d: radius %.2f, quantisation error %.4f, nodes moved %.4f",
            epoch, self.epochs, radius, error, moved,
        )  # fmt: skip
        if self.on_epoch:
            self.on_epoch(entry)
