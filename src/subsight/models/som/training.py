"""How a map is trained: where it begins, and what one pass over all rows finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from subsight.models.som.search import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from subsight.models.som.grid import Grid

    Matrix = NDArray[np.float64]
    Nodes = NDArray[np.intp]

__all__ = ["Pass", "owners", "plane", "sweep"]

T = TypeVar("T")

_PART_BYTES: Final = 1 << 20
"""Rows worked on at once. It is no setting, as sums are made part by part and must not depend on one."""
_MOST_THREADS: Final = 4
_FLAT: Final = 1e-9


@dataclass(frozen=True)
class Pass:
    """What a pass over rows found: how many have each node as their nearest, and their sums.

    `distance` is the sum of the distances to the nearest nodes; `strays` counts the rows whose two
    nearest are no neighbours, where that was asked.
    """

    counts: NDArray[np.int64]
    sums: Matrix
    distance: float
    strays: int


def owners(rows: NDArray[Any], weights: Matrix, memory_bytes: int) -> Nodes:
    """The number of the node nearest to each row."""
    share = memory_bytes // _threads()
    return np.concatenate(list(_parts(rows, lambda some: nearest(some, weights, 1, share)[:, 0])))


def sweep(rows: NDArray[Any], weights: Matrix, memory_bytes: int, among: Grid | None = None) -> Pass:
    """One pass over all rows; strays are counted where their grid is given."""
    share, nodes = memory_bytes // _threads(), len(weights)

    def part_of(some: Matrix) -> Pass:
        found = nearest(some, weights, 2 if among else 1, share)
        own = found[:, 0]
        # One column a row, with a one at its node: the quickest of five ways to add rows up by node.
        ones = sparse.csc_array((np.ones(len(own)), own, np.arange(len(own) + 1)), shape=(nodes, len(own)))
        apart = some - weights[own]
        return Pass(
            counts=np.bincount(own, minlength=nodes),
            sums=ones @ some,
            distance=float(np.sqrt(np.einsum("ij,ij->i", apart, apart)).sum()),
            strays=int((~among.are_neighbours(own, found[:, 1])).sum()) if among else 0,
        )

    counts, sums, distance, strays = np.zeros(nodes, dtype=np.int64), np.zeros_like(weights), 0.0, 0
    for one in _parts(rows, part_of):
        counts += one.counts
        sums += one.sums
        distance += one.distance
        strays += one.strays
    return Pass(counts, sums, distance, strays)


def plane(rows: NDArray[Any], grid: Grid) -> Matrix:
    """Weights on the plane of the first two principal components, from -1 to 1 deviation along each.

    The longer side of the grid lies along the first (Kohonen 2001, section 3.7); a component's largest
    loading is positive. Where rows vary along one only, the shorter side divides the steps along it.
    """
    mean = sum(_parts(rows, lambda some: some.sum(axis=0))) / len(rows)
    spread = sum(_parts(rows, lambda some: (some - mean).T @ (some - mean))) / len(rows)
    variances, vectors = np.linalg.eigh(spread)
    order = np.argsort(-variances, kind="stable")[:2]
    axes = vectors[:, order].T * np.sqrt(np.maximum(variances[order], 0))[:, None]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    first, second = axes[0], axes[-1]
    if len(axes) < 2 or np.abs(second).max() <= _FLAT * np.abs(first).max():
        second = first / max(grid.rows, grid.columns)
    middle = grid.positions.max(axis=0) / 2
    sides = (grid.positions - middle) / np.where(middle > 0, middle, 1)
    along, across = sides.T if grid.columns >= grid.rows else sides.T[::-1]
    weights: Matrix = mean + np.outer(along, first) + np.outer(across, second)
    return weights


def _threads() -> int:
    return min(_MOST_THREADS, os.cpu_count() or 1)


def _parts(rows: NDArray[Any], task: Callable[[Matrix], T]) -> Iterator[T]:
    """What a task makes of each part of the rows, in order, on several threads where there are several."""

    def done(begin: int) -> T:
        return task(np.ascontiguousarray(rows[begin : begin + step], dtype=np.float64))

    step = max(1, _PART_BYTES // (8 * rows.shape[1]))
    begins = range(0, len(rows), step)
    if min(len(begins), _threads()) < 2:
        yield from map(done, begins)
        return
    with threadpool_limits(1), ThreadPoolExecutor(_threads()) as pool:
        yield from pool.map(done, begins)
