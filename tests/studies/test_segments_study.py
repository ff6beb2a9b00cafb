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
from subsight.studies.segments.comparison import cramers_v

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


# Against the average


def test_the_profile_is_in_deviations_of_all(duckdb_store: Store) -> None:
    people = [person(0, 300.0, 1.0, plan="A")] * 2 + [person(0, 300.0, 1.0, plan="B")]
    people += [person(1, 100.0, 1.0, plan="B")]
    fitted = record(fit={"descriptors": ["plan"]})
    profile = answers(duckdb_store, people, fitted)["profile"]
    found = {(row["segment_name"], row["measure"]): row for row in profile.rows}
    # Of 300, 300, 300, 100: mean 250, deviation sqrt((3 50^2 + 150^2) / 4) = 86.6.
    assert found["Gold", "tenure_days"]["difference_z"] == pytest.approx(-150 / 86.60254)
    assert found["Platinum", "tenure_days"]["difference_z"] == pytest.approx(50 / 86.60254)
    # Half have plan A: deviation 0.5.
    assert found["Platinum", "plan=A"]["mean"] == pytest.approx(2 / 3)
    assert found["Platinum", "plan=A"]["difference_z"] == pytest.approx((2 / 3 - 0.5) / 0.5)
    assert found["Gold", "plan=B"]["unit"] == "share"
    assert line(profile, "Gold") == (
        "Gold lies farthest from the average in tenure: 1.73 standard deviations below (100 days against 250 "
        "days)."
    )


def test_what_differentiates_is_ranked_and_says_what_segments_were_made_of(duckdb_store: Store) -> None:
    people = [person(0, 3.0 + i % 2 * 2, 7.0, plan="A" if i < 30 else "B", browser="x") for i in range(40)]
    people += [person(1, 1.0 + i % 2 * 2, 7.0, plan="A" if i < 10 else "B", browser="x") for i in range(40)]
    fitted = record(fit={"descriptors": ["plan", "browser"]})
    found = answers(duckdb_store, people, fitted)["differences"]
    # Means 4 and 2 with a deviation of 1 in each: 1 of 2 parts of the variance lies between.
    # 30, 10, 10, 30: phi squared 20 / 80 - 1 / 79, over 2 - 1 / 79 - 1.
    assert [(row["measure"], row["statistic"], row["role"]) for row in found.rows] == [
        ("tenure_days", "eta squared", "made of it"),
        ("plan", "Cramer's V", "only describes"),
    ]
    assert [row["effect_size"] for row in found.rows] == pytest.approx(
        [0.5, ((0.25 - 1 / 79) / (1 - 1 / 79)) ** 0.5]
    )
    assert found.rows[0]["association"] == pytest.approx(0.5**0.5)
    assert found.reading == (
        "Of what the segments were made of, tenure differentiates them most "
        "(eta squared 0.50: a large effect).",
        "Of what only describes them, plan differentiates them most (Cramer's V 0.49: a medium effect).",
    )


def test_where_nothing_differs_it_says_so(duckdb_store: Store) -> None:
    people = [person(i % 2, float(i // 2 % 5), 7.0, plan="AB"[i // 2 % 2]) for i in range(40)]
    fitted = record(fit={"descriptors": ["plan"]})
    found = answers(duckdb_store, people, fitted)
    assert found["differences"].reading == (
        "Of what the segments were made of, there is no clear difference in tenure.",
        "Of what only describes them, there is no clear difference in plan.",
    )
    assert line(found["profile"], "Gold") == "Gold is close to the average in everything compared."


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[10, 0], [0, 10]], 1.0),
        ([[10, 10], [10, 10]], 0.0),
        # chi squared 3 of 24; phi squared 0.125 - 2/23, over min(3 - 4/23, 2 - 1/23) - 1 = 22/23.
        ([[6, 2], [3, 5], [3, 5]], ((0.125 - 2 / 23) / (22 / 23)) ** 0.5),
        ([[10, 10], [0, 0]], None),
    ],
)
def test_cramers_v_by_hand(table: list[list[int]], expected: float | None) -> None:
    found = cramers_v(table)
    assert (found and found[0]) == (expected if expected is None else pytest.approx(expected))
