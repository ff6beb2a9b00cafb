from __future__ import annotations

import logging
import tracemalloc
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from subsight.errors import ConfigurationError
from subsight.models.som import SelfOrganisingMap, training

Matrix = np.ndarray[Any, Any]


def _subscribers(rows: int = 600, features: int = 5, seed: int = 4) -> Matrix:
    """Three groups, correlated and skewed, as z-scores."""
    random = np.random.default_rng(seed)
    habits = random.normal(size=(3, 2))[random.integers(0, 3, rows)] * 2 + random.normal(size=(rows, 2))
    values = np.exp(
        0.4 * habits @ random.normal(size=(2, features)) + 0.3 * random.normal(size=(rows, features))
    )
    return (values - values.mean(axis=0)) / values.std(axis=0)


@parametrize_with_checks(
    [
        SelfOrganisingMap(4, 5, epochs=5),
        SelfOrganisingMap(4, 4, epochs=5, topology="rectangular", initialisation="random", memory_bytes=1000),
    ]
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_an_epoch_by_hand() -> None:
    # Mean 3, deviation 3: two nodes begin at 0 and 6. A neighbour one step away counts a third.
    values = np.array([[0.0], [6.0], [6.0], [0.0]])
    radius = 1 / np.sqrt(2 * np.log(3))
    som = SelfOrganisingMap(1, 2, epochs=1, radius_start=radius, radius_end=radius).fit(values)
    # Node 0 has two rows of 0 and a third of two rows of 6: 4 / (2 + 2/3).
    assert som.weights_.tolist() == pytest.approx(np.array([[1.5], [4.5]]))
    (entry,) = som.history_
    assert entry == {"epoch": 1, "radius": radius, "quantisation_error": 0.0, "movement": pytest.approx(1.5)}
    assert som.n_iter_ == 1
    assert som.hits_.tolist() == [[2, 2]]
    assert som.quantisation_error_ == pytest.approx(1.5)
    assert som.topographic_error_ == 0
    assert som.u_matrix_.tolist() == pytest.approx(np.array([[3.0, 3.0]]))
    assert som.transform(np.array([[2.5]])).tolist() == pytest.approx(np.array([[1.0, 2.0]]))
    assert som.predict(np.array([[-1.0], [3.1], [2.9]])).tolist() == [0, 1, 0]


def _places(rows: int, columns: int, hexagonal: bool) -> list[tuple[float, float]]:
    step, shift = (np.sqrt(3) / 2, 0.5) if hexagonal else (1.0, 0.0)
    return [(c + shift * (r % 2), r * step) for r in range(rows) for c in range(columns)]


def _naive(values: Matrix, rows: int, columns: int, hexagonal: bool, radii: list[float]) -> Matrix:
    """The batch algorithm as it is written down, row by row and node by node, in double precision."""
    places = _places(rows, columns, hexagonal)
    centred = values - values.mean(axis=0)
    _, singular, components = np.linalg.svd(centred, full_matrices=False)
    axes = [
        s / np.sqrt(len(values)) * c * (1 if c[np.argmax(np.abs(c))] > 0 else -1)
        for s, c in zip(singular[:2], components[:2], strict=True)
    ]
    if rows > columns:
        axes.reverse()
    widest, tallest = max(x for x, _ in places), max(y for _, y in places)
    weights = [
        values.mean(axis=0) + (2 * x / widest - 1) * axes[0] + (2 * y / tallest - 1) * axes[1]
        for x, y in places
    ]
    for radius in radii:
        above = [np.zeros(values.shape[1]) for _ in places]
        below = [0.0 for _ in places]
        for row in values:
            distances = [np.sqrt(((row - w) ** 2).sum()) for w in weights]
            x, y = places[distances.index(min(distances))]
            for node, (a, b) in enumerate(places):
                reach = np.exp(-((a - x) ** 2 + (b - y) ** 2) / (2 * radius**2))
                above[node] = above[node] + reach * row
                below[node] += reach
        weights = [a / b for a, b in zip(above, below, strict=True)]
    return np.array(weights)


@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (5, 3)])
@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_training_equals_the_algorithm_written_out(rows: int, columns: int, topology: Any) -> None:
    values = _subscribers(150, 4)
    start = max(rows, columns) / 3
    radii = [start * (0.9 / start) ** (i / 4) for i in range(5)]
    expected = _naive(values, rows, columns, topology == "hexagonal", radii)
    som = SelfOrganisingMap(rows, columns, topology=topology, epochs=5).fit(values)
    assert [entry["radius"] for entry in som.history_] == pytest.approx(radii)
    np.testing.assert_allclose(som.weights_, expected, rtol=1e-9, atol=1e-12)
    distances = np.sqrt(((values[:, None] - expected[None]) ** 2).sum(axis=2))
    assert som.predict(values).tolist() == distances.argmin(axis=1).tolist()
    assert som.quantisation_error_ == pytest.approx(distances.min(axis=1).mean(), rel=1e-12)
    np.testing.assert_allclose(som.transform(values), distances, rtol=1e-9)


def test_neither_memory_nor_threads_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    values = _subscribers(40_000, 7)
    maps = []
    for memory, threads in ((64 << 20, 1), (64 << 20, 3), (30_000, 2), (4000, 4)):
        monkeypatch.setattr(training, "_threads", lambda threads=threads: threads)
        maps.append(SelfOrganisingMap(6, 8, epochs=4, memory_bytes=memory).fit(values))
    first = maps[0]
    for other in maps[1:]:
        assert np.array_equal(first.weights_, other.weights_)
        assert first.history_ == other.history_
        assert first.topographic_error_ == other.topographic_error_
        assert np.array_equal(first.predict(values), other.predict(values))


def test_memory_stays_within_the_setting_and_some_parts_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_threads", lambda: 2)
    values = _subscribers(100_000, 8)
    som = SelfOrganisingMap(25, 20, epochs=2, memory_bytes=1 << 20)
    tracemalloc.start()
    try:
        som.fit(values)
        som.predict(values)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 100_000 * 500 * 4 == 200_000_000  # what all scores at once would take
    assert peak < 16_000_000


def test_who_is_nearest_does_not_depend_on_who_is_asked_together() -> None:
    values = _subscribers(300, 6)
    som = SelfOrganisingMap(5, 5, epochs=6).fit(values)
    together = som.predict(values)
    assert [int(som.predict(values[i : i + 1])[0]) for i in range(len(values))] == together.tolist()
    assert np.array_equal(som.predict(values[::-1])[::-1], together)
    assert np.array_equal(som.predict(np.asfortranarray(values)), together)


def test_the_order_of_rows_changes_nothing_but_rounding() -> None:
    values = _subscribers(5000, 5)
    shuffled = np.random.default_rng(1).permutation(values)
    first, other = (SelfOrganisingMap(6, 6).fit(rows) for rows in (values, shuffled))
    np.testing.assert_allclose(first.weights_, other.weights_, rtol=1e-9, atol=1e-12)
    assert np.array_equal(first.hits_, other.hits_)


def test_drawn_rows_follow_the_seed() -> None:
    values = _subscribers()
    maps = [
        SelfOrganisingMap(5, 5, initialisation="random", random_state=seed, epochs=3).fit(values)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(maps[0].weights_, maps[1].weights_)
    assert not np.allclose(maps[0].weights_, maps[2].weights_)


@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_a_planted_sheet_is_laid_flat(topology: Any) -> None:
    # A bent sheet of 3 x 2 in six dimensions: where a row lies on it must be where it lies on the map.
    random = np.random.default_rng(8)
    u, v = random.uniform(0, 3, 8000), random.uniform(0, 2, 8000)
    turn = np.linalg.qr(random.normal(size=(6, 6)))[0]
    sheet = np.column_stack([u, v, 0.5 * np.sin(2 * u), np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)])
    values = sheet @ turn + random.normal(scale=0.02, size=(8000, 6))
    som = SelfOrganisingMap(10, 15, topology=topology).fit(values)
    assert som.topographic_error_ < 0.02
    x, y = som.grid.positions[som.predict(values)].T
    assert abs(np.corrcoef(x, u)[0, 1]) > 0.99
    assert abs(np.corrcoef(y, v)[0, 1]) > 0.99
    assert (som.hits_ > 0).mean() > 0.95


def test_a_planted_ring_becomes_a_chain() -> None:
    random = np.random.default_rng(2)
    angle = random.uniform(0, 2 * np.pi, 5000)
    values = np.column_stack([np.cos(angle), np.sin(angle)]) + random.normal(scale=0.01, size=(5000, 2))
    som = SelfOrganisingMap(1, 30, topology="rectangular", epochs=40, radius_end=0.5).fit(values)
    # The chain may break once; everywhere else the next node is the next along the ring.
    assert som.topographic_error_ < 0.05
    assert np.hypot(*som.weights_.T) == pytest.approx(np.ones(30), abs=0.1)
    steps = np.diff(np.unwrap(np.arctan2(*som.weights_.T)))
    assert (np.sign(steps) == np.sign(steps[0])).all()


def test_between_planted_groups_neighbours_are_far_apart() -> None:
    random = np.random.default_rng(3)
    near, far = random.normal(size=(2000, 3)), random.normal([12, 0, 0], size=(2000, 3))
    som = SelfOrganisingMap(6, 12, radius_end=0.5).fit(np.vstack([near, far]))
    groups = np.bincount(som.predict(near), minlength=72) > 0, np.bincount(som.predict(far), minlength=72) > 0
    assert not (groups[0] & groups[1]).any()
    empty = ~(groups[0] | groups[1])
    heights = som.u_matrix_.ravel()
    assert heights[empty].min() > heights[groups[0]].mean()
    assert heights[som.hits_.ravel().argmax()] < np.median(heights[empty])


def test_rows_that_vary_along_one_line_still_use_the_whole_grid() -> None:
    values = np.random.default_rng(5).normal(size=(3000, 1)) @ np.array([[1.0, 2.0, -1.0]])
    som = SelfOrganisingMap(6, 6, topology="rectangular").fit(values)
    assert (som.hits_ > 0).mean() > 0.5
    constant = SelfOrganisingMap(3, 3).fit(np.full((20, 2), 7.0))
    assert constant.weights_.tolist() == [[7.0, 7.0]] * 9
    assert constant.hits_.tolist() == [[20, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_maps_of_other_rows_are_measured_alike() -> None:
    values = _subscribers()
    som = SelfOrganisingMap(5, 7).fit(values)
    assert np.array_equal(som.hits(values), som.hits_)
    assert som.hits_.sum() == 600
    assert som.quantisation_error(values) == som.quantisation_error_
    assert som.topographic_error(values) == som.topographic_error_
    # Rows that lie on the nodes have no error.
    assert som.quantisation_error(som.weights_) == 0
    assert som.predict(som.weights_).tolist() == list(range(35))
    assert som.hits(som.weights_).tolist() == np.ones((5, 7)).tolist()
    planes = som.component_planes_
    assert planes.shape == (5, 5, 7)
    assert planes[2, 3, 4] == som.weights_[3 * 7 + 4, 2]


def test_single_precision_rows_are_read_as_they_are() -> None:
    values = _subscribers().astype(np.float32)
    once = SelfOrganisingMap(5, 5).fit(values)
    again = SelfOrganisingMap(5, 5).fit(values.astype(np.float64))
    assert np.array_equal(once.weights_, again.weights_)
    assert np.array_equal(once.predict(values), again.predict(values.astype(np.float64)))


def test_each_epoch_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    with caplog.at_level(logging.INFO, logger="subsight.som"):
        som = SelfOrganisingMap(5, 6, epochs=8, on_epoch=told.append).fit(_subscribers())
    assert told == som.history_
    assert [entry["epoch"] for entry in told] == list(range(1, 9))
    assert len(caplog.records) == 8
    assert caplog.messages[0].startswith("epoch 1 of 8: radius 2.00, quantisation error ")
    # It converges: rows come nearer, and nodes move less at the end than at the beginning.
    assert som.quantisation_error_ < told[-1]["quantisation_error"] < told[0]["quantisation_error"]
    assert told[-1]["movement"] < told[0]["movement"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"rows": 0}, "0 rows, 10 columns"),
        ({"rows": 1, "columns": 1}, "two nodes or more"),
        ({"topology": "round"}, "hexagonal or rectangular"),
        ({"epochs": 0}, "epochs of the map cannot be used"),
        ({"radius_end": 0.0}, "above 0"),
        ({"radius_start": 0.5}, "at most radius_start, 0.5"),
        ({"initialisation": "zero"}, "pca or random"),
        ({"memory_bytes": 0}, "1 or more"),
    ],
)
def test_parameters_that_cannot_be_used_are_told(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SelfOrganisingMap(**parameters).fit(_subscribers())


def test_values_that_cannot_be_used_are_told() -> None:
    values = _subscribers()
    som = SelfOrganisingMap(3, 3)
    with pytest.raises(NotFittedError):
        som.predict(values)
    for wrong, said in ((np.nan, "contains NaN"), (np.inf, "contains infinity")):
        broken = values.copy()
        broken[17, 2] = wrong
        with pytest.raises(ValueError, match=said):
            som.fit(broken)
        with pytest.raises(ValueError, match=said):
            SelfOrganisingMap(3, 3).fit(values).predict(broken)
    with pytest.raises(ValueError, match="4 features, but SelfOrganisingMap is expecting 5"):
        som.fit(values).predict(values[:, :4])
