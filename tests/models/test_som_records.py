from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from subsight.errors import InputError
from subsight.models import shown
from subsight.models.som import SelfOrganisingMap, records

FEATURES = ("total_bytes", "session_count", "night_share")


def _values() -> np.ndarray[Any, Any]:
    random = np.random.default_rng(21)
    return np.column_stack(
        [
            np.exp(random.normal(20, 1, 900)),
            random.poisson(30, 900).astype(np.float64),
            random.uniform(0, 1, 900),
        ]
    )


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return records.fit("map", FEATURES, _values(), SelfOrganisingMap(4, 6, epochs=8, random_state=5))


def test_a_record_is_json_and_reads_back_as_the_same_map(record: dict[str, Any]) -> None:
    values = _values()
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again == record
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    som, other = SelfOrganisingMap(4, 6, epochs=8).fit(scaled), records.read(again)
    assert np.array_equal(som.weights_, other.weights_)
    assert np.array_equal(som.predict(scaled), other.predict(scaled))
    assert np.array_equal(som.hits_, other.hits_)
    assert np.array_equal(som.u_matrix_, other.u_matrix_)
    assert som.history_ == other.history_
    assert other.topographic_error_ == som.topographic_error_
    kept = {**som.get_params(), "random_state": None}
    assert other.get_params() == kept
    assert record["fit"]["seed"] == 5


def test_placing_uses_the_standardisation_of_the_fit(record: dict[str, Any]) -> None:
    values = _values()
    own, distances = records.place(record, values)
    assert np.bincount(own, minlength=24).tolist() == record["fit"]["hits"]
    assert distances.mean() == pytest.approx(record["fit"]["quantisation_error"], rel=1e-12)
    # One by one as well: whoever serves a single subscriber.
    assert [int(records.place(record, values[i : i + 1])[0][0]) for i in range(50)] == own[:50].tolist()
    assert [row["node"] for row in record["sample"]] == own[:20].tolist()
    assert record["sample"][3]["total_bytes"] == values[3, 0]


def test_convergence_begins_with_the_plane_and_ends_with_the_map(record: dict[str, Any]) -> None:
    fit = record["fit"]
    assert len(fit["convergence"]) == 9
    assert fit["convergence"][-1] == fit["quantisation_error"] < fit["convergence"][0]
    assert {"card.json", "predictions.csv", "convergence.svg"} == set(shown.files(record, lambda spec: spec))


def test_the_table_of_nodes_by_hand() -> None:
    # Two nodes, at 1.5 and 4.5 of values 0 and 6 (see test_som): z-scores -0.5 and 0.5.
    radius = 1 / np.sqrt(2 * np.log(3))
    som = SelfOrganisingMap(1, 2, epochs=1, radius_start=radius, radius_end=radius)
    found = records.fit("map", ["rtt_ms"], np.array([[0.0], [6.0], [6.0], [0.0], [0.0], [6.0]]), som)
    table = {name: column.tolist() for name, column in records.nodes(found).items()}
    assert table == {
        "node": [0, 1],
        "row": [0, 0],
        "column": [0, 1],
        "x": [0.0, 1.0],
        "y": [0.0, 0.0],
        "subscriber_count": [3, 3],
        "neighbour_distance": pytest.approx([1.0, 1.0]),
        "rtt_ms": pytest.approx([1.5, 4.5]),
    }


def test_a_feature_that_does_not_vary_moves_nobody() -> None:
    values = np.column_stack([_values(), np.full(900, 3.0)])
    found = records.fit("map", [*FEATURES, "flat_count"], values, SelfOrganisingMap(3, 3))
    assert records.nodes(found)["flat_count"].tolist() == [3.0] * 9


def test_rows_that_do_not_fit_the_map_are_told(record: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a column for each of total_bytes, session_count, night_share"):
        records.place(record, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="NaN"):
        records.place(record, np.array([[1.0, np.nan, 0.5]]))
    with pytest.raises(ValueError, match="NaN"):
        records.fit("map", FEATURES, np.full((30, 3), np.nan), SelfOrganisingMap(3, 3))
