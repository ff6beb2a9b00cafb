"""Segments on planted groups, on centroids written by hand, and on a real table resampled ten times."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import SHARED
from sklearn.metrics import adjusted_rand_score

from subsight.errors import ConfigurationError, InputError
from subsight.models import in_engine, segments
from subsight.models.segments import numbering
from subsight.store import Store

REAL = SHARED / "data" / "subscribers" / "internet_service_churn.csv"
NUMBERS = ("tenure_days", "ul_kilobytes", "dl_kilobytes")
Columns = dict[str, Any]

# Tenure in days, uplink and downlink in kB: corners of a cube that are far from each other alike, so that
# the elbow is sharp. The last has both the longest tenure and the largest volume.
PLANTED = np.array([[3000, 1e5, 1e6], [300, 4e6, 1e6], [1000, 1e5, 3e7], [3000, 4e6, 3e7]], dtype=float)
SIZES = (150, 120, 80, 150)


def planted(seed: int = 1) -> tuple[Columns, Any]:
    """Four groups, many deviations apart; plan follows the group and browser does not."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(range(4), SIZES)
    values = PLANTED[truth] * (1 + rng.normal(scale=0.05, size=(len(truth), 3)))
    order = rng.permutation(len(truth))
    columns: Columns = {name: values[order, i] for i, name in enumerate(NUMBERS)}
    truth = truth[order]
    columns["plan"] = [("S", "M", "L", "S")[group] for group in truth]
    columns["browser"] = [("Chrome", "Safari")[i] for i in rng.integers(0, 2, len(truth))]
    return columns, truth


def fitted(columns: Columns, **more: Any) -> dict[str, Any]:
    return segments.fit(columns, **{"inputs": NUMBERS, "seed": 3, "starts": 5, **more})


def record(
    centroids: list[list[float]], names: list[str], inputs: list[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A record by hand, whose features are standardised already unless parameters say otherwise."""
    width = len(centroids[0])
    inputs = inputs or [{"name": f"x{i}", "kind": "number"} for i in range(width)]
    features = [
        f"{one['name']}={level}" if "levels" in one else one["name"]
        for one in inputs
        for level in one.get("levels", [None])
    ]
    parameters = {"mean": [0.0] * width, "deviation": [1.0] * width, "centroids": centroids, **more}
    fit = {"constant": {}, "names_asked": list(segments.NAMES)}
    return {"source": "subscribers", "inputs": inputs, "features": features, "parameters": parameters,
            "names": names, "fit": fit}  # fmt: skip


# Recovery, order and names


def test_four_planted_segments_are_recovered_at_the_elbow() -> None:
    columns, truth = planted()
    found = fitted(columns)
    labels, distances = segments.place(found, columns)
    assert adjusted_rand_score(truth, labels) > 0.9
    assert (len(found["names"]), found["fit"]["chosen"]) == (4, "elbow")
    assert distances.argmin(axis=1).tolist() == labels.tolist()
    assert found["fit"]["stability"]["mean"] == pytest.approx(1)
    assert found["fit"]["stability"]["resamples"] == 20
    assert found["fit"]["silhouette"] > 0.8


def test_segments_are_ordered_by_tenure_and_volume_and_named_in_list_order() -> None:
    columns, truth = planted()
    found = fitted(columns)
    labels = segments.place(found, columns)[0]
    volume = columns["ul_kilobytes"] + columns["dl_kilobytes"]
    scores = [
        sum((c[truth == g].mean() - c.mean()) / c.std() for c in (columns["tenure_days"], volume))
        for g in range(4)
    ]
    expected = sorted(range(4), key=lambda g: -scores[g])
    assert expected != [0, 1, 2, 3]  # volume outweighs tenure somewhere
    assert [truth[labels == i][0] for i in range(4)] == expected
    assert found["fit"]["order_values"] == pytest.approx([scores[g] for g in expected])
    assert found["fit"]["sizes"] == [SIZES[g] for g in expected]
    assert found["names"] == ["Platinum", "Gold", "Silver", "Diamond"]
    assert found["order"] == ["tenure_days", "total volume"]


def test_the_order_by_hand() -> None:
    # z of tenure (0, 0, 2, 2): -1, -1, 1, 1. z of the volume (0, 4, 0, 4): -1, 1, -1, 1.
    values = {"tenure_days": np.array([0.0, 0, 2, 2]), "ul_kilobytes": np.array([0.0, 3, 0, 3]),
              "dl_kilobytes": np.array([0.0, 1, 0, 1])}  # fmt: skip
    labels = np.array([0, 1, 1, 2])
    assert numbering.ordered(values, labels, 3) == (["tenure_days", "total volume"], [-2.0, 0.0, 2.0])
    by, value = numbering.ordered({"total_bytes": values["ul_kilobytes"]}, labels, 3)
    assert (by, value) == (["total volume"], [-1.0, 0.0, 1.0])
    others = {"rtt_ms": np.array([0.0, 0, 2, 2]), "x": np.array([0.0, 4, 0, 4]), "plan": ["a"] * 4}
    assert numbering.ordered(others, labels, 3) == (["rtt_ms", "x"], [-1.0, 0.0, 1.0])
    assert numbering.ordered({"plan": ["a", "b", "b", "c"]}, labels, 3)[1] == [0.25, 0.5, 0.25]


def test_a_segment_beyond_the_list_is_numbered() -> None:
    assert fitted(planted()[0], k=4, names=["Top", "Good"])["names"] == [
        "Top", "Good", "Segment 3", "Segment 4",
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_record() -> None:
    columns = planted()[0]
    first, second = (fitted(columns, inputs=[*NUMBERS, "browser"]) for _ in range(2))
    for one in (first, second):
        del one["fit"]["began_at"], one["fit"]["ended_at"]
    assert first == second


# Texts as features


def test_the_weight_of_a_group_by_hand() -> None:
    # Shares 0.5, 0.25, 0.25: the variances add up to 0.25 + 2 * 0.1875 = 0.625.
    columns = {"region": ["1", "1", "2", "3"] * 20, "x": np.arange(80.0)}
    for weight in (1.0, 4.0):
        found = fitted(columns, inputs=["region", "x"], k=2, group_weight=weight)
        assert found["features"] == ["region=1", "region=2", "region=3", "x"]
        assert found["parameters"]["mean"] == pytest.approx([0.5, 0.25, 0.25, 39.5])
        assert found["parameters"]["deviation"][:3] == pytest.approx([(0.625 / weight) ** 0.5] * 3)
        scaled = segments.matrix(found, columns)
        assert scaled[:, :3].var(axis=0).sum() == pytest.approx(weight)
        assert scaled[:, 3].var() == pytest.approx(1)
    assert found["region"] == "one-hot"
    scale = {"mean": 1.75, "deviation": pytest.approx(0.6875**0.5)}
    assert found["inputs"][0]["numeric"] == scale


def test_region_as_a_number_is_standardised_like_one() -> None:
    columns = {"region": ["1", "1", "2", "3", None] * 20, "x": np.arange(100.0)}
    found = fitted(columns, inputs=["region", "x"], region="numeric", k=2)
    assert (found["region"], found["inputs"][0]) == ("numeric", {"name": "region", "kind": "number"})
    assert found["parameters"]["mean"][0] == pytest.approx(1.75)
    assert found["fit"]["lacking"] == {"region": 20, "x": 0}
    with pytest.raises(ConfigurationError, match=r"(?s)region cannot be used as a number.*North"):
        fitted({**columns, "region": ["1", "1", "2", "3", "North"] * 20}, inputs=["region"], region="numeric")


def test_only_the_twenty_commonest_levels_get_a_column() -> None:
    columns = {"plan": [f"p{i:02d}" for i in range(25) for _ in range(30 - i)], "x": np.arange(450.0)}
    found = fitted(columns, inputs=["plan", "x"], k=2)
    assert found["inputs"][0]["levels"] == [f"p{i:02d}" for i in range(20)]
    assert found["inputs"][0]["numeric"] is None
    rare = segments.matrix(found, {"plan": ["p24", "never seen"], "x": [0.0, 0.0]})
    mean, deviation = (np.array(found["parameters"][name]) for name in ("mean", "deviation"))
    assert rare[:, :20] == pytest.approx(np.tile(-mean[:20] / deviation[:20], (2, 1)))


def test_a_standardised_region_is_turned_back_into_its_level() -> None:
    # Levels 1, 2, 3 with mean 2 and deviation 0.5: z = -2, 0, 2.
    region = {"name": "region", "kind": "text", "levels": ["1", "2", "3"],
              "numeric": {"mean": 2.0, "deviation": 0.5}}  # fmt: skip
    made = record([[0.0] * 4] * 2, ["a", "b"], [region, {"name": "x", "kind": "number"}],
                  mean=[0.25, 0.5, 0.25, 100.0], deviation=[0.5, 0.5, 0.5, 10.0])  # fmt: skip
    scaled = segments.matrix(made, {"region": [-2.0, 0.4, float("nan")], "x": [1.5, -1.0, 0.0]}, True)
    assert scaled[:2].tolist() == [[1.5, -1.0, -0.5, 1.5], [-0.5, 1.0, -0.5, -1.0]]
    assert np.isnan(scaled[2, :3]).all()
    with pytest.raises(InputError, match=r"(?s)region 0.6 stands for no level.*2.3"):
        segments.matrix(made, {"region": [0.6], "x": [0.0]}, standardised=True)
    region["numeric"] = None
    with pytest.raises(InputError, match="region cannot be given standardised"):
        segments.matrix(made, {"region": [0.0], "x": [0.0]}, standardised=True)


def test_wrong_columns_are_refused_by_name() -> None:
    made = record([[0.0, 0.0], [1.0, 1.0]], ["a", "b"])
    with pytest.raises(InputError, match="need the input x1"):
        segments.matrix(made, {"x0": [1.0]})
    assert np.isnan(segments.matrix(made, {"x0": [np.inf, "x"], "x1": [1.0, 2.0]})[:, 0]).all()
    with pytest.raises(InputError, match=r"(?s)differ in length.*x0: 1, x1: 2"):
        segments.matrix(made, {"x0": [1.0], "x1": [1.0, 2.0]})


# Who and what is left out


def test_who_lacks_an_input_is_counted_and_not_placed() -> None:
    columns, _ = planted()
    for name, rows in (("tenure_days", [0, 1]), ("ul_kilobytes", [1, 2, 3])):
        columns[name] = columns[name].copy()
        columns[name][rows] = np.nan
    found = fitted(columns)
    assert found["fit"]["lacking"] == {"tenure_days": 2, "ul_kilobytes": 3, "dl_kilobytes": 0}
    assert (found["fit"]["lacking_rows"], found["fit"]["rows"]) == (4, 496)
    labels, distances = segments.place(found, columns)
    assert labels[:4].tolist() == [-1] * 4
    assert (labels[4:] >= 0).all()
    assert np.isnan(distances[:4]).all()


def test_an_input_that_never_varies_is_left_out_and_named() -> None:
    columns, truth = planted()
    columns |= {"region": ["7"] * 500, "ul_kilobytes": np.full(500, 3.0)}
    columns["region"][0] = None  # lacking only what is left out, so not lacking
    found = fitted(columns, inputs=["region", *NUMBERS])
    assert found["fit"]["constant"] == {"region": "7", "ul_kilobytes": 3.0}
    assert (found["features"], found["region"]) == (["tenure_days", "dl_kilobytes"], None)
    assert (found["fit"]["rows"], found["fit"]["lacking_rows"]) == (500, 0)
    assert adjusted_rand_score(truth, segments.place(found, columns)[0]) > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"x": np.ones(50)}, "inputs": ["x"]}, r"(?s)no input varies.*x = 1"),
        ({"columns": {"x": np.arange(19.0)}, "inputs": ["x"]}, "too few subscribers for 2"),
        ({"columns": {"x": np.arange(39.0)}, "inputs": ["x"], "k": 4}, r"(?s)for 4 segments.*found: 39"),
        ({"columns": {"x": np.arange(90.0) % 2}, "inputs": ["x"], "k": 3}, "differ for 3 segments"),
        ({"columns": {"x": np.full(50, np.nan)}, "inputs": ["x"]}, r"(?s)no subscriber has every.*50 lack x"),
        ({"inputs": ["tenure_days", "age"]}, r"(?s)inputs.*cannot be used.*others than age"),
        ({"inputs": ["plan"], "descriptors": ["plan"]}, "others than plan"),
        ({"inputs": ["plan", "plan"]}, "others than plan"),
        ({"inputs": []}, "name at least one"),
        ({"k": 1}, "so few segments"),
        ({"group_weight": 0}, "weight of a group"),
        ({"names": ["Gold", "Gold"]}, "cannot be told apart"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused_in_words(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fitted(**{"columns": planted()[0], **change})


def test_by_default_all_columns_but_descriptors_are_inputs() -> None:
    found = fitted(planted()[0], inputs=None, descriptors=["plan", "browser"])
    assert found["features"] == list(NUMBERS)
    assert found["fit"]["descriptors"] == ["plan", "browser"]


# Explanation


def test_an_explanation_by_hand() -> None:
    # To (0, 0): 1 + 0 = 1. To (3, 0): 4. To (1, 3): 9. Runner-up (3, 0); x0 adds 4 - 1, x1 nothing.
    made = record([[3.0, 0.0], [0.0, 0.0], [1.0, 3.0]], ["Gold", "Tin", "Lead"])
    found = segments.explain(made, {"x0": 1.0, "x1": 0})
    assert (found["segment"], found["segment_name"], found["runner_up_name"]) == (1, "Tin", "Gold")
    assert found["distances"] == {"Gold": 2.0, "Tin": 1.0, "Lead": 3.0}
    assert (found["distance"], found["runner_up_distance"], found["difference"]) == (1.0, 2.0, 3.0)
    assert found["parts"] == [
        {"input": "x0", "value": 1.0, "part": 3.0},
        {"input": "x1", "value": 0.0, "part": 0.0},
    ]


def test_the_parts_of_an_explanation_add_up() -> None:
    columns, _ = planted()
    names = [*NUMBERS, "plan", "browser"]
    found = fitted(columns, inputs=names)
    labels, distances = segments.place(found, columns)
    for i in range(0, 500, 25):
        told = segments.explain(found, {name: columns[name][i] for name in names})
        first, second = sorted(distances[i])[:2]
        assert told["segment"] == labels[i]
        parts = [part["part"] for part in told["parts"]]
        assert sum(parts) == pytest.approx(second**2 - first**2)
        assert parts == sorted(parts, reverse=True)
        assert {part["input"] for part in told["parts"]} == set(names)


def test_for_who_is_in_no_segment_it_says_what_is_lacking() -> None:
    made = record([[3.0, 0.0], [0.0, 0.0]], ["Gold", "Tin"])
    found = segments.explain(made, {"x0": None})
    assert (found["segment"], found["lacking"], found["parts"]) == (None, ["x0", "x1"], [])


def test_a_tie_goes_to_the_lower_number() -> None:
    made = record([[5.0], [2.0], [0.0]], ["a", "b", "c"])
    assert segments.place(made, {"x0": [1.0, 3.5, -9.0]})[0].tolist() == [1, 0, 2]
    told = segments.explain(made, {"x0": 1.0})
    assert (told["segment_name"], told["runner_up_name"], told["difference"]) == ("b", "c", 0.0)


# Matching


def test_matching_by_hand_in_raw_units() -> None:
    # Before: raw = 10 z + 100, at 100 and 200. Now: raw = z, at 195 and 101.
    before = record([[0.0], [10.0]], ["Low", "High"], mean=[100.0], deviation=[10.0])
    now = record([[195.0], [101.0]], ["x", "y"])
    numbers, moved = segments.match(now, before)
    assert numbers == [1, 0]
    assert moved == pytest.approx([0.5, 0.1])


def test_the_least_total_distance_decides_not_the_nearest_first() -> None:
    # The greedy pair 1-2 costs 1 and leaves 0-9: 10 in all; crossed pairs cost 3 and 5.
    before = record([[0.0], [4.0]], ["a", "b"])
    now = record([[3.0], [9.0]], ["x", "y"])
    assert segments.match(now, before)[0] == [0, 1]


def test_levels_that_come_and_go_are_matched_as_shares() -> None:
    def plan(levels: list[str]) -> dict[str, Any]:
        return {"name": "plan", "kind": "text", "levels": levels, "numeric": None}

    before = record([[1.0, 0.0], [0.0, 1.0]], ["L people", "S people"], [plan(["L", "S"])])
    now = record([[0.0, 1.0], [1.0, 0.0]], ["x", "y"], [plan(["S", "XL"])])
    # (S, XL) = (0, 1) is (0, 0) in (L, S), (1, 0) is (0, 1): the second is S exactly.
    numbers, moved = segments.match(now, before)
    assert (numbers, moved) == ([0, 1], pytest.approx([1.0, 0.0]))


def test_a_refit_keeps_numbers_names_and_k_though_the_order_turns() -> None:
    columns, truth = planted()
    first = fitted(columns, names=["A", "B", "C", "D"])
    # The second segment becomes newer than the third: a first fit would number them anew.
    after = {**columns, "tenure_days": columns["tenure_days"].copy()}
    after["tenure_days"][truth == 2] -= 600
    alone = fitted(after, names=["A", "B", "C", "D"])
    again = fitted(after, names=["A", "B", "C", "D"], previous=first, from_run="r1")
    assert again["names"] == first["names"]
    assert (again["fit"]["chosen"], again["matched"]["from_run"]) == ("previous", "r1")
    assert (again["matched"]["k_before"], again["matched"]["numbers"]) == (4, [0, 1, 2, 3])
    before, now = (segments.place(r, c)[0] for r, c in ((first, columns), (again, after)))
    assert (before == now).all()
    assert (segments.place(alone, after)[0] != now).any()
    assert again["fit"]["order_values"] != sorted(again["fit"]["order_values"], reverse=True)


def test_a_further_segment_gets_the_next_name_and_one_less_keeps_the_others() -> None:
    columns, _ = planted()
    four = fitted(columns)
    three = fitted(columns, k=3, previous=four)
    kept = three["matched"]["numbers"]
    assert three["names"] == [four["names"][number] for number in kept]
    assert kept == sorted(kept)
    five = fitted(columns, k=5, previous=four)
    assert five["names"] == [*segments.NAMES, "Segment 5"]
    assert five["matched"]["numbers"] == [0, 1, 2, 3, None]
    assert five["matched"]["distances"][4] is None
    back = fitted(columns, k=4, previous=three)
    assert sorted(back["names"]) == sorted(segments.NAMES)
    assert back["names"][:3] == three["names"]


def test_other_inputs_or_another_use_of_them_are_a_new_beginning() -> None:
    columns, _ = planted()
    columns["region"] = [str(i % 3) for i in range(500)]
    first = fitted(columns, inputs=[*NUMBERS, "region"])
    for change in ({"inputs": NUMBERS}, {"region": "numeric"}, {"source": "profiles"}):
        again = fitted(columns, **{"inputs": [*NUMBERS, "region"], "previous": first, **change})
        assert again["matched"] is None
    assert fitted(columns, inputs=["region", *NUMBERS], previous=first)["matched"] is not None


def test_an_input_that_begins_or_ceases_to_vary_is_no_new_beginning() -> None:
    columns, _ = planted()
    columns |= {"region": ["7"] * 500, "rtt_ms": np.full(500, 40.0)}
    four = [*NUMBERS, "region", "rtt_ms"]
    flat = fitted(columns, inputs=four, names=["A", "B", "C", "D"])
    assert set(flat["fit"]["constant"]) == {"region", "rtt_ms"}
    # Whoever asks for the inputs of the record before asks without those that did not vary.
    fewer = fitted(columns, names=["A", "B", "C", "D"], previous=flat)
    assert fewer["matched"]["numbers"] == [0, 1, 2, 3]
    varied = {**columns, "region": ["7", "8"] * 250}
    wider = fitted(varied, inputs=four, previous=flat)
    assert wider["matched"]["numbers"] == [0, 1, 2, 3]
    back = fitted(columns, inputs=four, previous=wider)
    # The share of 7 goes from a half to 1 and that of 8 to 0; their deviation is the root of a half. So both
    # move by 0.5 / 0.707, together by 1.
    assert back["matched"]["distances"] == pytest.approx([1.0] * 4, abs=0.2)
    assert fitted(varied, inputs=four, previous=fewer)["matched"] is None


def test_a_changed_list_of_names_takes_effect() -> None:
    columns, _ = planted()
    again = fitted(columns, names=["One", "Two"], previous=fitted(columns))
    assert again["names"] == ["One", "Two", "Segment 3", "Segment 4"]
    assert again["matched"]["numbers"] == [0, 1, 2, 3]


def _ten_refits(columns: Columns, first: dict[str, Any], rows: int) -> list[float]:
    """The share of subscribers who keep their name, at each of ten refits in a row on resamples."""
    rng, last, shares = np.random.default_rng(11), first, []
    before = np.array(first["names"])[segments.place(first, columns)[0]]
    whole = segments.place(first, columns)[0] >= 0
    for seed in range(10):
        drawn = rng.integers(0, rows, rows)
        last = fitted({name: columns[name][drawn] for name in NUMBERS}, previous=last, seed=seed, starts=3)
        now = np.array(last["names"])[segments.place(last, columns)[0]]
        shares.append(float((before == now)[whole].mean()))
        assert sorted(last["names"]) == sorted(first["names"])
    return shares


def test_names_survive_ten_refits_of_planted_segments() -> None:
    columns, _ = planted()
    assert _ten_refits(columns, fitted(columns), 500) == [1.0] * 10


@pytest.mark.skipif(not REAL.exists(), reason="the shared data are not here")
def test_names_survive_ten_refits_of_a_real_table() -> None:
    with REAL.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    factors = {"subscription_age": 365.25, "upload_avg": 1e6, "download_avg": 1e6}
    columns = {
        name: np.array([float(row[source] or "nan") * factor for row in rows])
        for name, (source, factor) in zip(NUMBERS, factors.items(), strict=True)
    }
    assert len(rows) == 72_274
    # Every fourth: the fewer there are, the more a resample differs from what it was drawn of.
    columns = {name: values[::4] for name, values in columns.items()}
    first, taken = fitted(columns), len(columns[NUMBERS[0]])
    assert first["fit"]["rows"] + first["fit"]["lacking_rows"] == taken
    assert min(_ten_refits(columns, first, taken)) > 0.95


# In the engine


def test_the_engine_places_as_the_model_does(store: Store) -> None:
    columns, _ = planted()
    columns["region"] = [str(1 + i % 3) for i in range(500)]
    columns["tenure_days"] = columns["tenure_days"].copy()
    columns["tenure_days"][:3] = np.nan
    columns["plan"][2:5] = [None, None, "it's.new"]
    inputs = [*NUMBERS, "plan", "region"]
    found = fitted(columns, inputs=inputs, k=4)
    labels, distances = segments.place(found, columns)
    table = {"row": range(500), **{n: pa.array(columns[n], from_pandas=True) for n in inputs}}
    frame = in_engine.with_segments(store.from_arrow(pa.table(table)), found)
    frame = in_engine.with_segment_names(frame, found)
    rows = sorted(store.rows(frame), key=lambda row: row["row"])
    assert list(rows[0]) == ["row", *inputs, "distance", "segment", "runner_up_distance", "runner_up",
                             "segment_name", "runner_up_name", "lacking"]  # fmt: skip
    assert [row["segment"] for row in rows] == [None if label < 0 else label for label in labels]
    ordered = np.sort(distances, axis=1)
    assert [row["distance"] for row in rows[5:]] == pytest.approx(ordered[5:, 0].tolist(), rel=1e-9)
    assert [row["runner_up_distance"] for row in rows[5:]] == pytest.approx(ordered[5:, 1].tolist(), rel=1e-9)
    assert [row["runner_up"] for row in rows[5:]] == distances[5:].argsort(axis=1)[:, 1].tolist()
    assert [row["lacking"] for row in rows[:6]] == [
        "tenure_days", "tenure_days", "tenure_days, plan", "plan", None, None,
    ]  # fmt: skip
    assert all((row["distance"] is None) == (row["segment_name"] is None) for row in rows)
    assert [row["runner_up_name"] for row in rows] == [
        None if row["runner_up"] is None else found["names"][row["runner_up"]] for row in rows
    ]


def test_what_is_no_finite_number_places_nobody_anywhere(store: Store) -> None:
    levels = {"name": "region", "kind": "text", "levels": ["1", "2"], "numeric": None}
    made = record([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], ["a", "b"], [levels, {"name": "x", "kind": "number"}])
    assert segments.place(made, {"region": [float("inf"), 1.0], "x": [1.0, 1.0]})[0].tolist() == [-1, 0]
    frame = store.from_arrow(pa.table({"region": ["1", "1"], "x": pa.array([float("nan"), 1.0])}))
    rows = store.rows(in_engine.with_segment_names(in_engine.with_segments(frame, made), made))
    assert sorted((row["lacking"] or "", row["segment"]) for row in rows) == [("", 0), ("x", None)]


def test_the_engines_ties_go_to_the_lower_number(store: Store) -> None:
    made = record([[5.0], [2.0], [0.0]], ["a", "b", "c"])
    frame = store.from_arrow(pa.table({"x0": [1.0, 3.5, -9.0, None]}))
    rows = {row["x0"]: row for row in store.rows(in_engine.with_segments(frame, made))}
    assert {x: (row["segment"], row["runner_up"]) for x, row in rows.items()} == {
        1.0: (1, 2), 3.5: (0, 1), -9.0: (2, 1), None: (None, None),
    }  # fmt: skip
    assert (rows[-9.0]["distance"], rows[-9.0]["runner_up_distance"]) == (9.0, 11.0)


def test_a_region_that_is_a_number_may_hold_a_name_later(store: Store) -> None:
    made = record([[1.0], [5.0]], ["a", "b"], [{"name": "region", "kind": "number"}])
    texts = ["1", "4.5", "North", None, "1e3"]
    frame = store.from_arrow(pa.table({"region": texts}))
    rows = {row["region"]: row["segment"] for row in store.rows(in_engine.with_segments(frame, made))}
    assert rows == {"1": 0, "4.5": 1, "North": None, None: None, "1e3": None}
    assert segments.place(made, {"region": texts})[0].tolist() == [0, 1, -1, -1, -1]
