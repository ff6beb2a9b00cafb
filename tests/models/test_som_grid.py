from __future__ import annotations

import doctest
from fractions import Fraction

import numpy as np
import pytest

from subsight.models.som import grid as grids
from subsight.models.som.grid import Grid


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(grids)
    assert (result.attempted, result.failed) == (2, 0)


#     0   1   2   3
#       4   5   6   7
#     8   9  10  11
HEXAGONAL = {
    0: [1, 4],
    1: [0, 2, 4, 5],
    3: [2, 6, 7],
    4: [0, 1, 5, 8, 9],
    6: [2, 3, 5, 7, 10, 11],
    7: [3, 6, 11],
    8: [4, 9],
    11: [6, 7, 10],
}
RECTANGULAR = {0: [1, 4, 5], 2: [1, 3, 5, 6, 7], 5: [0, 1, 2, 4, 6, 8, 9, 10], 11: [6, 7, 10]}


def test_hexagonal_neighbours_by_hand() -> None:
    grid = Grid(3, 4, "hexagonal")
    assert {node: grid.neighbours(node) for node in HEXAGONAL} == HEXAGONAL


def test_rectangular_neighbours_by_hand() -> None:
    grid = Grid(3, 4, "rectangular")
    assert {node: grid.neighbours(node) for node in RECTANGULAR} == RECTANGULAR


def test_neighbours_on_a_chain() -> None:
    for grid in (Grid(1, 4, "hexagonal"), Grid(1, 4, "rectangular"), Grid(4, 1, "rectangular")):
        assert [grid.neighbours(node) for node in range(4)] == [[1], [0, 2], [1, 3], [2]]


def test_hexagonal_neighbours_are_one_step_away() -> None:
    grid = Grid(7, 6, "hexagonal")
    these, those = grid.pairs()
    assert np.hypot(*(grid.positions[these] - grid.positions[those]).T) == pytest.approx(np.ones(len(these)))
    # 6 * 7 * 5 pairs along rows and 6 rows of edges between; each counted from both ends.
    assert len(these) == 2 * (7 * 5 + 6 * (2 * 6 - 1))
    assert not grid.are_neighbours(np.array([3]), np.array([3])).any()


def test_averages_by_hand() -> None:
    # Steps of 1 count a third; node 0 and node 3 are sqrt(3) apart, which counts a third cubed.
    grid = Grid(2, 2, "hexagonal")
    radius = 1 / np.sqrt(2 * np.log(3))
    sums, counts = np.array([[10.0], [40.0], [0.0], [30.0]]), np.array([1, 2, 0, 1])
    third, cubed = Fraction(1, 3), Fraction(1, 27)
    expected = [
        (10 + 40 * third + 30 * cubed) / (1 + 2 * third + cubed),
        (10 * third + 40 + 30 * third) / (third + 2 + third),
        (10 * third + 40 * third + 30 * third) / (third + 2 * third + third),
        (10 * cubed + 40 * third + 30) / (cubed + 2 * third + 1),
    ]
    averages = grid.averages(sums, counts, radius)[:, 0]
    assert averages.tolist() == pytest.approx([float(one) for one in expected], rel=1e-12)


def test_a_node_that_nothing_reaches_takes_the_rows_nearest_on_the_grid() -> None:
    # At 100 steps and a radius of 0.1 the Gaussian is 0 in double precision.
    grid = Grid(1, 101, "rectangular")
    sums, counts = np.zeros((101, 1)), np.zeros(101, dtype=np.int64)
    sums[0], counts[0] = 8.0, 2
    sums[60], counts[60] = 9.0, 1
    averages = grid.averages(sums, counts, 0.1)[:, 0]
    assert averages[[0, 29, 31, 100]].tolist() == [4.0, 4.0, 9.0, 9.0]
    assert averages[30] == pytest.approx((8 + 9) / 3)
