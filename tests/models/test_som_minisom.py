"""MiniSom 2.3.6 beside the map, on the same weights: MiniSom's x is our column, its y our row."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from minisom import MiniSom

from subsight.models.som import SelfOrganisingMap

Matrix = np.ndarray[Any, Any]
Topology = Literal["hexagonal", "rectangular"]


def _values() -> Matrix:
    random = np.random.default_rng(12)
    return np.exp(random.normal(size=(700, 2)) @ random.normal(size=(2, 6)) * 0.5) + random.normal(
        scale=0.3, size=(700, 6)
    )


def _same(som: SelfOrganisingMap, weights: Matrix) -> MiniSom:
    """MiniSom with our weights; its learning rate stays 1, so that its batch update is the average."""
    other = MiniSom(
        som.columns, som.rows, weights.shape[1], topology=som.topology, decay_function=lambda *_: 1.0
    )
    other._weights = weights.reshape(som.rows, som.columns, -1).transpose(1, 0, 2).copy()
    return other


def _ours(theirs: Matrix) -> Matrix:
    """An array over MiniSom's x and y as one over our rows and columns."""
    return theirs.swapaxes(0, 1)


@pytest.fixture(params=["hexagonal", "rectangular"])
def topology(request: pytest.FixtureRequest) -> Topology:
    found: Topology = request.param
    return found


def test_winners_errors_and_maps_agree(topology: Topology) -> None:
    values = _values()
    som = SelfOrganisingMap(5, 8, topology=topology, epochs=10, radius_end=0.5).fit(values)
    other = _same(som, som.weights_)
    winners = [other.winner(row) for row in values]
    assert som.predict(values).tolist() == [int(row) * 8 + int(column) for column, row in winners]
    assert som.hits_.tolist() == _ours(other.activation_response(values)).tolist()
    assert som.quantisation_error_ == pytest.approx(other.quantization_error(values), rel=1e-12)
    assert som.topographic_error_ == pytest.approx(other.topographic_error(values), abs=1e-12)
    assert som.topographic_error_ > 0.05  # so that it is something to agree on
    theirs = _ours(other.distance_map(scaling="mean"))
    np.testing.assert_allclose(som.u_matrix_ / som.u_matrix_.max(), theirs, rtol=1e-12)
    np.testing.assert_allclose(som.transform(values), other._distance_from_weights(values)[:, _turned(som)])


def _turned(som: SelfOrganisingMap) -> list[int]:
    return [column * som.rows + row for row in range(som.rows) for column in range(som.columns)]


def test_an_epoch_of_its_batch_training_is_an_epoch_of_ours(topology: Topology) -> None:
    values = _values()
    before = SelfOrganisingMap(5, 8, topology=topology, epochs=2, radius_start=4.0, radius_end=2.0).fit(
        values
    )
    after = SelfOrganisingMap(5, 8, topology=topology, epochs=3, radius_start=4.0, radius_end=1.0).fit(values)
    # The first two radii of the second map are 4 and 2 as well: one epoch of radius 1 is between them.
    assert [entry["radius"] for entry in after.history_] == pytest.approx([4, 2, 1])
    assert [entry["radius"] for entry in before.history_] == pytest.approx([4, 2])
    other = _same(before, before.weights_)
    other._sigma = 1.0
    other.train_batch_offline(values, 1)
    np.testing.assert_allclose(_ours(other.get_weights()).reshape(40, 6), after.weights_, rtol=1e-9)


def test_minisom_shifts_rows_counted_from_the_last() -> None:
    # With an odd number of rows its places are ours, moved by half a step; with an even number, mirrored.
    for rows, agree in ((5, True), (4, False)):
        som = SelfOrganisingMap(rows, 6)
        x, _ = (_ours(axis) for axis in _same(som, np.zeros((rows * 6, 2))).get_euclidean_coordinates())
        ours = som.grid.positions[:, 0].reshape(rows, 6) - 0.5
        assert (np.ptp(x - ours) < 1e-12) == agree


def test_minisom_takes_its_distance_map_from_other_neighbours_than_its_places() -> None:
    # On four rows, our neighbours are those of its distance map; its topographic error uses its places.
    values = _values()
    som = SelfOrganisingMap(4, 6, epochs=10, radius_end=0.5).fit(values)
    other = _same(som, som.weights_)
    theirs = _ours(other.distance_map(scaling="mean"))
    np.testing.assert_allclose(som.u_matrix_ / som.u_matrix_.max(), theirs, rtol=1e-12)
    assert som.quantisation_error_ == pytest.approx(other.quantization_error(values), rel=1e-12)
    assert other.topographic_error(values) > som.topographic_error_ + 0.05
