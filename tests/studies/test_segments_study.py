"""The study of segments on subscribers written by hand, and on effects planted, reversed and removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from subsight.answers import Answer
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies.segments import QUESTIONS, SegmentInputs

NAMES = ("Platinum", "Gold")
ELBOW = {
    "k": [1, 2, 3], "inertia": [100.0, 20.0, 15.0], "elbow_k": 2, "silhouette_k": [2, 3],
    "silhouette": [0.8, 0.3], "silhouette_best_k": 2, "silhouette_sample": 40,
}  # fmt: skip
FIT = {
    "rows": 40, "constant": {}, "descriptors": [], "chosen": "elbow", "elbow": ELBOW, "silhouette": 0.8,
    "stability": {"mean": 0.97, "low": 0.93, "high": 1.0, "resamples": 20, "rows": 40},
    "order_values": [2.0, -2.0], "sizes": [20, 20],
}  # fmt: skip
TYPES = {
    "subscriber_id": pa.string(), "subscriber_hash": pa.int64(), "segment": pa.int64(),
    "segment_name": pa.string(), "distance": pa.float64(), "runner_up_name": pa.string(),
    "runner_up_distance": pa.float64(), "lacking": pa.string(), "region": pa.string(),
    "tenure_days": pa.float64(), "ul_kilobytes": pa.float64(), "dl_kilobytes": pa.float64(),
    "bearer_type": pa.string(), "browser": pa.string(), "plan": pa.string(), "is_churned": pa.bool_(),
    "satisfaction_index": pa.float64(), "satisfaction_cluster": pa.int64(),
    "previous_segment_name": pa.string(),
}  # fmt: skip
Rows = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def person(segment: int | None, tenure: float | None, volume: float, **more: Any) -> dict[str, Any]:
    """A subscriber whose volume is all downlink."""
    return {"segment": segment, "tenure_days": tenure, "ul_kilobytes": 0.0, "dl_kilobytes": volume, **more}


def record(inputs: Sequence[Mapping[str, Any]] = (), names: Sequence[str] = NAMES, **more: Any) -> Any:
    numbers = [{"name": n, "kind": "number"} for n in ("tenure_days", "ul_kilobytes", "dl_kilobytes")]
    fit = {**FIT, **more.pop("fit", {})}
    return {
        "name": "segments", "source": "subscribers", "inputs": [*inputs, *numbers], "region": None,
        "parameters": {"centroids": [[0.0]] * len(names)}, "names": list(names),
        "order": ["tenure_days", "total volume"], "matched": None, "fit": fit, **more,
    }  # fmt: skip


def answers(
    store: Store, people: Rows, fitted: Any = None, previous: Sequence[str] | None = None, **settings: Any
) -> dict[str, Answer]:
    fitted = fitted or record()
    told = [
        {"subscriber_id": f"s{i}", "subscriber_hash": i,
         "segment_name": None if row["segment"] is None else fitted["names"][row["segment"]], **row}
        for i, row in enumerate(people)
    ]  # fmt: skip
    kept = {name: kind for name, kind in TYPES.items() if any(name in row for row in told)}
    frame = store.from_arrow(pa.Table.from_pylist(told, schema=pa.schema(kept)))
    inputs = SegmentInputs(store, frame, fitted, Settings(**{"minimum_group": 1, **settings}), previous)
    return {question.id.partition(".")[2]: question.answer(inputs) for question in QUESTIONS}


def line(answer: Answer, start: str) -> str:
    (text,) = (text for text in answer.reading if text.startswith(start))
    return text


# Sizes


def test_the_overview_counts_means_and_who_is_in_none(duckdb_store: Store) -> None:
    people = [
        person(0, 100.0, 4e6, region="3"), person(0, 300.0, 2e6, region="3"),
        person(0, 200.0, 3e6, region="1"),
        person(1, 10.0, 1e6, region="1"),
        person(None, None, 1e6, region="1"), person(None, None, 1e6, region=None),
    ]  # fmt: skip
    region = {"name": "region", "kind": "text", "levels": ["1", "3"], "numeric": None}
    fitted = record([region], region="one-hot", fit={"constant": {"plan": "Basic"}})
    overview = answers(duckdb_store, people, fitted)["overview"]
    assert overview.rows == [
        {"segment_name": "Platinum", "subscriber_count": 3, "subscriber_share": 0.75,
         "mean_tenure_days": 200.0, "mean_ul_kilobytes": 0.0, "mean_dl_kilobytes": 3e6,
         "commonest_region": "3", "commonest_region_share": pytest.approx(2 / 3), "order_value": 2.0},
        {"segment_name": "Gold", "subscriber_count": 1, "subscriber_share": 0.25, "mean_tenure_days": 10.0,
         "mean_ul_kilobytes": 0.0, "mean_dl_kilobytes": 1e6, "commonest_region": "1",
         "commonest_region_share": 1.0, "order_value": -2.0},
    ]  # fmt: skip
    assert overview.reading == (
        "Of 6 subscribers, 4 are in one of 2 segments. 2 are in none, for nothing is filled in: "
        "1 lacks region and 2 lack tenure.",
        "Platinum is the largest with 75.0 % of those who are in one, Gold the smallest with 25.0 %.",
        "Not used, as it is the same for all: plan (Basic).",
    )
    assert overview.group_size == "subscriber_count"
    assert any("as a category" in note for note in overview.notes)


def test_a_region_as_a_number_is_averaged_and_words_in_it_are_nothing(duckdb_store: Store) -> None:
    people = [person(0, 1.0, 1.0, region="1"), person(0, 1.0, 1.0, region="4"),
              person(None, 1.0, 1.0, region="Lagos")]  # fmt: skip
    fitted = record([{"name": "region", "kind": "number"}], region="numeric")
    overview = answers(duckdb_store, people, fitted)["overview"]
    assert overview.rows[0]["mean_region"] == 2.5
    assert "1 is in none, for nothing is filled in: 1 lacks region." in overview.reading[0]
    assert any("as the published model does" in note for note in overview.notes)


def test_a_level_of_few_subscribers_is_not_told(duckdb_store: Store) -> None:
    people = [person(0, 1.0, 1.0, region="3")] * 20 + [person(1, 1.0, 1.0, region="1")] * 3
    region = {"name": "region", "kind": "text", "levels": ["1", "3"], "numeric": None}
    fitted = record([region], region="one-hot")
    overview = answers(duckdb_store, people, fitted, minimum_group=15)["overview"]
    assert [row["commonest_region"] for row in overview.rows] == ["3", None]
    assert not any("Gold" in text for text in overview.reading)
