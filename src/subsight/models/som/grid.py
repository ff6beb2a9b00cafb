"""The grid of a map: where its nodes lie, which are neighbours, and how a node's rows reach the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from scipy.spatial.distance import cdist

from subsight.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Nodes = NDArray[np.intp]

__all__ = ["TOPOLOGIES", "Grid"]

Topology = Literal["hexagonal", "rectangular"]
TOPOLOGIES: Final = ("hexagonal", "rectangular")

_KERNEL_BYTES: Final = 1 << 20
_AROUND: Final = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]


@dataclass(frozen=True)
class Grid:
    """Nodes in rows and columns, one apart; node `row * columns + column` comes in that order.

    On a hexagonal grid, odd rows lie half a step to the right and rows are sqrt(3) / 2 apart, so that
    the six neighbours of a node are one away (Kohonen 2001, section 3.6). On a rectangular one the
    eight around a node are its neighbours.

    Raises:
        ConfigurationError: there are fewer than two nodes, or the topology is unknown.
    """

    rows: int
    columns: int
    topology: Topology

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or self.rows * self.columns < 2:
            raise ConfigurationError(
                "a map needs a grid of nodes",
                found=f"{self.rows} rows, {self.columns} columns",
                expected="whole numbers from 1, and two nodes or more",
            )
        if self.topology not in TOPOLOGIES:
            raise ConfigurationError(
                "the topology of the map is unknown",
                found=str(self.topology),
                expected=" or ".join(TOPOLOGIES),
            )

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return self.rows * self.columns

    @property
    def positions(self) -> Matrix:
        """Where each node lies, nodes x 2: x to the right and y downwards, in steps of the grid.

        >>> Grid(2, 2, "hexagonal").positions.round(3).tolist()
        [[0.0, 0.0], [1.0, 0.0], [0.5, 0.866], [1.5, 0.866]]
        """
        row, column = np.divmod(np.arange(self.nodes), self.columns)
        if self.topology == "hexagonal":
            return np.column_stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)])
        return np.column_stack([column, row]).astype(np.float64)

    def are_neighbours(self, these: Nodes, those: Nodes) -> NDArray[np.bool_]:
        """Whether nodes are neighbours, pair by pair; no node is its own."""
        apart = self.positions[these] - self.positions[those]
        far = np.hypot(*apart.T) if self.topology == "hexagonal" else np.abs(apart).max(axis=1)
        near: NDArray[np.bool_] = (far > 0.5) & (far < 1.2)
        return near

    def pairs(self) -> tuple[Nodes, Nodes]:
        """Each node with each of its neighbours: two arrays of node numbers, in order."""
        row, column = np.divmod(np.arange(self.nodes), self.columns)
        these, those = [], []
        for down, right in _AROUND:
            inside = (row + down >= 0) & (row + down < self.rows)
            inside &= (column + right >= 0) & (column + right < self.columns)
            one = np.flatnonzero(inside)
            other = one + down * self.columns + right
            near = self.are_neighbours(one, other)
            these.append(one[near])
            those.append(other[near])
        first, second = np.concatenate(these), np.concatenate(those)
        order = np.lexsort([second, first])
        return first[order], second[order]

    def neighbours(self, node: int) -> list[int]:
        """The numbers of a node's neighbours.

        >>> Grid(3, 3, "hexagonal").neighbours(4)
        [1, 2, 3, 5, 7, 8]
        """
        these, those = self.pairs()
        found: list[int] = those[these == node].tolist()
        return found

    def averages(self, sums: Matrix, counts: NDArray[Any], radius: float) -> Matrix:
        """The mean of the rows as each node sees them, near ones more: nodes x features.

        A row of node j counts exp(-d**2 / (2 * radius**2)) for node i, d apart on the grid. Each node
        weighs by its nearest that has rows, which divides out and keeps small radii from underflow.
        """
        places, taken = self.positions, np.flatnonzero(counts)
        sums, counts = sums[taken], counts[taken].astype(np.float64)
        averages = np.empty((self.nodes, sums.shape[1]))
        step = max(1, _KERNEL_BYTES // (8 * self.nodes))
        for begin in range(0, self.nodes, step):
            part = slice(begin, begin + step)
            squared = cdist(places[part], places[taken], "sqeuclidean")
            reach = np.exp((squared.min(axis=1, keepdims=True) - squared) / (2 * radius**2))
            averages[part] = reach @ sums / (reach @ counts)[:, None]
        return averages
