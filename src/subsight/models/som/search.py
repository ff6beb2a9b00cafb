"""Which nodes are nearest to rows: searched in single precision, decided in double where it is close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Nodes = NDArray[np.intp]

__all__ = ["nearest"]

_CACHE_BYTES: Final = 1 << 20
"""Scores in one product: larger ones leave the cache of a core and take up to twice as long."""
_ROUNDING: Final = 2.0**-24


def nearest(rows: NDArray[Any], weights: Matrix, count: int, memory_bytes: int) -> Nodes:
    """The numbers of the `count` nearest nodes of each row, nearest first: rows x count.

    Exactly those of distances in double precision, ties to the lower number, whatever `memory_bytes`
    (of the scores held at once) is and whichever rows come together. Of nodes w,
    |w|**2 / 2 - x . w orders the distances to x; where two of these scores differ by less than
    rounding in single precision may do (Higham 2002, section 3.1), the row is measured again.
    """
    found, sure = _screened(rows, weights, count, memory_bytes)
    unsure = np.flatnonzero(~sure)
    step = max(1, memory_bytes // (8 * len(weights)))
    for begin in range(0, len(unsure), step):
        some = unsure[begin : begin + step]
        distances = cdist(rows[some], weights, "sqeuclidean")
        if count == 1:
            found[some, 0] = distances.argmin(axis=1)
        else:
            found[some] = distances.argsort(axis=1, kind="stable")[:, :count]
    return found


def _screened(
    rows: NDArray[Any], weights: Matrix, count: int, memory_bytes: int
) -> tuple[Nodes, NDArray[np.bool_]]:
    """The nearest nodes by scores in single precision, and of which rows that is sure."""
    centre = weights.mean(axis=0)
    near = weights - centre
    # Scaled to the span of the nodes: neither large offsets nor tiny units cost precision.
    scale = float(np.abs(near).max()) or 1.0
    near /= scale
    half = (near**2).sum(axis=1) / 2
    table = np.vstack([-near.T, half]).astype(np.float32)
    nodes, features = weights.shape
    step = max(1, min(_CACHE_BYTES, memory_bytes) // (4 * nodes))
    found = np.empty((len(rows), count), dtype=np.intp)
    sure = np.empty(len(rows), dtype=np.bool_)
    scaled = np.ones((min(step, len(rows)), features + 1), dtype=np.float32)
    scores = np.empty((len(scaled), nodes), dtype=np.float32)
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        here = scaled[: len(rows[part])]
        with np.errstate(over="ignore", invalid="ignore"):
            np.divide(rows[part] - centre, scale, out=here[:, :-1], casting="same_kind")
            np.matmul(here, table, out=scores[: len(here)])
            lengths = np.sqrt(np.einsum("ij,ij->i", here, here))
            largest = lengths * np.sqrt(2 * half.max()) + half.max()
            slack = 2 * (features + 8) * _ROUNDING * largest
            found[part], sure[part] = _lowest(scores[: len(here)], count, slack)
    return found, sure


def _lowest(scores: NDArray[np.float32], count: int, slack: Any) -> tuple[Nodes, NDArray[np.bool_]]:
    """The columns of the lowest scores of each row, and whether each is lower than the next by `slack`."""
    every = np.arange(len(scores))
    found = np.empty((len(scores), count), dtype=np.intp)
    sure = np.ones(len(scores), dtype=np.bool_)
    before = None
    for place in range(count):
        found[:, place] = scores.argmin(axis=1)
        lowest = scores[every, found[:, place]]
        scores[every, found[:, place]] = np.inf
        if before is not None:
            sure &= lowest - before > slack
        before = lowest
    sure &= scores.min(axis=1) - before > slack
    return found, sure
