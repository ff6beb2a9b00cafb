from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from subsight.models.som.search import nearest

Matrix = np.ndarray[Any, Any]


def _exact(rows: Matrix, weights: Matrix, count: int) -> list[list[int]]:
    """By distances in extended precision, ties to the lower number."""
    long = rows.astype(np.longdouble)[:, None, :] - weights.astype(np.longdouble)[None, :, :]
    return (long**2).sum(axis=2).argsort(axis=1, kind="stable")[:, :count].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("memory", [1, 3000, 1 << 30])
@pytest.mark.parametrize(
    ("offset", "unit"), [(0.0, 1.0), (1e9, 1.0), (0.0, 1e-30), (0.0, 1e30), (-5e6, 1e-3)]
)
def test_found_as_in_extended_precision(count: int, memory: int, offset: float, unit: float) -> None:
    random = np.random.default_rng(6)
    rows = random.normal(size=(500, 8)) * unit + offset
    weights = random.normal(size=(40, 8)) * unit + offset
    assert nearest(rows, weights, count, memory).tolist() == _exact(rows, weights, count)


@pytest.mark.parametrize("count", [1, 2])
def test_what_single_precision_cannot_tell_apart_is_told_apart(count: int) -> None:
    # Nodes differ in the tenth digit: all of them are one to single precision.
    random = np.random.default_rng(7)
    weights = 1 + 1e-9 * random.normal(size=(30, 6))
    rows = np.vstack([weights + 1e-11 * random.normal(size=(30, 6)), random.normal(size=(400, 6))])
    single = np.float32(weights)
    assert len(np.unique(single, axis=0)) < 30
    assert nearest(rows, weights, count, 1 << 20).tolist() == _exact(rows, weights, count)


@pytest.mark.parametrize("count", [1, 2])
def test_rows_halfway_between_nodes_are_decided_in_double_precision(count: int) -> None:
    # A ten millionth of the way from the middle of two nodes, or of three, towards one of them.
    random = np.random.default_rng(11)
    weights = random.normal(size=(50, 10))
    chosen = [random.choice(50, 2 + i % 2, replace=False) for i in range(2000)]
    rows = np.array([weights[some].mean(axis=0) * (1 - 1e-7) + weights[some[0]] * 1e-7 for some in chosen])
    assert nearest(rows, weights, count, 1 << 20).tolist() == _exact(rows, weights, count)


def test_outliers_do_not_blur_the_others() -> None:
    random = np.random.default_rng(9)
    rows, weights = random.normal(size=(300, 5)), random.normal(size=(60, 5))
    rows[::10] *= 10.0 ** np.arange(4, 34)[:, None]
    # From 1e16 on, even doubles cannot tell which node is nearer: those rows only need an answer.
    found, expected = nearest(rows, weights, 1, 1 << 20), np.array(_exact(rows, weights, 1))
    ordinary = np.abs(rows).max(axis=1) < 1e8
    assert ordinary.sum() > 270
    assert found[ordinary].tolist() == expected[ordinary].tolist()
    assert ((found >= 0) & (found < 60)).all()


@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_distances_held_at_once_stay_within_the_setting(spread: float) -> None:
    # Without spread all nodes are one: every row is measured again. All scores at once would be 10 MB.
    random = np.random.default_rng(13)
    rows, weights = random.normal(size=(5000, 3)), spread * random.normal(size=(500, 3))
    tracemalloc.start()
    try:
        nearest(rows, weights, 1, 200_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


def test_ties_go_to_the_lower_number() -> None:
    weights = np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0], [2.0, 0.0]])
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, -1.0], [3.0, 0.0], [0.0, -9.0]])
    assert nearest(rows, weights, 1, 1 << 20)[:, 0].tolist() == [0, 0, 2, 0, 3]
    assert nearest(rows, weights, 2, 1 << 20).tolist() == [[0, 1], [0, 1], [2, 3], [0, 4], [3, 0]]
