"""The Experience study on sessions and subscribers by hand, and on effects planted, reversed and removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from subsight.answers import Answer
from subsight.contracts import Application
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies import Inputs
from subsight.studies.experience import QUESTIONS
from subsight.tables import SESSIONS

METRICS = ("tcp_retransmission_bytes", "rtt_ms", "throughput_kbps")
CENTRES = [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
Rows = Sequence[Mapping[str, Any]]


def model(centroids: Sequence[Sequence[float]] = CENTRES, **fit: Any) -> dict[str, Any]:
    """A fit in which a z-score is a hundredth of the distance from 100."""
    parameters = {
        "mean": [100.0] * 3,
        "deviation": [100.0] * 3,
        "centroids": centroids,
        "worst": 0,
        "best": 1,
    }
    return {"features": list(METRICS), "parameters": parameters, "fit": fit}


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def session(
    rtt: tuple[float | None, float | None], treated: tuple[float, float] | None = None
) -> dict[str, Any]:
    """A session with these round-trip times down and up; retransmission and throughput are 1 each way."""
    row: dict[str, Any] = {"subscriber_id": "s1"}
    for side, raw, value in zip(("dl", "ul"), rtt, treated or rtt, strict=True):
        row |= {f"rtt_{side}_ms": raw, f"rtt_{side}_ms_treated": value}
        for name in (f"tcp_retransmission_{side}_bytes", f"throughput_{side}_kbps"):
            row |= {name: 1.0, f"{name}_treated": 1.0}
    return row


def person(number: int, **values: Any) -> dict[str, Any]:
    """A subscriber with 100 of everything, all of it observed."""
    row = {"subscriber_id": f"s{number}", "subscriber_hash": number, "handset": "A",
           "handset_manufacturer": "M",
           "experience_cluster": 0, **dict.fromkeys(METRICS, 100.0), **values}  # fmt: skip
    for name in METRICS:
        row = {f"{name}_raw": row[name], f"{name.rpartition('_')[0]}_filled_share": 0.0, **row}
    return row


def frame(store: Store, rows: Rows) -> Any:
    table = pa.Table.from_pylist([dict(row) for row in rows])
    for i, field in enumerate(table.schema):
        if field.name.endswith(("_ms", "_kbps", "_bytes", "_treated", "_raw")):
            table = table.set_column(i, field.name, table[field.name].cast(pa.float64()))
    return store.from_arrow(table)


def answers(
    store: Store,
    people: Rows,
    sessions: Rows | None = None,
    *,
    models: Mapping[str, Any] | None = None,
    treatment: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Answer]:
    chosen = Settings(**{"minimum_group": 1, "minimum_handset_subscribers": 1, **settings})
    inputs = Inputs(
        store, frame(store, sessions or [session((1, 1))]), frame(store, people),
        SESSIONS.expand((Application("web", "Web"),)), chosen, treatment or {},
        {"experience": model()} if models is None else models, {},
    )  # fmt: skip
    return {question.id.partition(".")[2]: question.answer(inputs) for question in QUESTIONS}


def find(answer: Answer, **values: Any) -> Mapping[str, Any]:
    (row,) = (row for row in answer.rows if all(row[k] == v for k, v in values.items()))
    return row


def listed(answer: Answer, kind: str, name: str, metric: str = "rtt_ms") -> list[tuple[float, int]]:
    rows = (row for row in answer.rows if row["kind"] == kind and row["list"] == name)
    return [(row[metric], row["session_count"]) for row in rows]


# Values by hand


def treated(*, fill: float | None = 30.0) -> dict[str, Any]:
    fences = {"lower": 0.0, "upper": 100.0, "fill": fill}
    return {f"rtt_{side}_ms": fences for side in ("dl", "ul")}


SEEN = [
    session((10, 5)),
    session((10, 5)),
    session((20, 5)),
    session((40, 8)),
    session((None, 5), (30, 5)),
    session((None, None), (30, 30)),
    session((900, None), (30, 30)),
]


def test_values_are_ranked_raw_and_treated(duckdb_store: Store) -> None:
    values = answers(duckdb_store, [person(1)], SEEN, treatment=treated())["rtt_values"]
    assert listed(values, "raw", "top") == [(48, 1), (25, 1), (15, 2)]
    assert listed(values, "raw", "bottom") == [(15, 2), (25, 1), (48, 1)]
    assert listed(values, "raw", "most frequent") == [(15, 2), (25, 1), (48, 1)]
    assert listed(values, "treated", "top") == [(60, 2), (48, 1), (35, 1), (25, 1), (15, 2)]
    # Two values are as frequent: the smaller one comes first.
    assert listed(values, "treated", "most frequent") == [(15, 2), (60, 2), (25, 1), (35, 1), (48, 1)]
    assert find(values, kind="raw", list="bottom", rank=1)["session_share"] == pytest.approx(2 / 4)


def test_the_fill_value_is_marked(duckdb_store: Store) -> None:
    values = answers(duckdb_store, [person(1)], SEEN, treatment=treated())["rtt_values"]
    assert {row["rtt_ms"] for row in values.rows if row["is_fill"]} == {60}
    assert all(row["kind"] == "treated" for row in values.rows if row["is_fill"])
    assert values.facts["fill_session_share"] == pytest.approx(2 / 7)
    assert values.reading[-1].startswith("28.6 % of sessions hold the fill value 60 ms")
    # A policy that fills nothing marks nothing.
    bare = answers(duckdb_store, [person(1)], SEEN, treatment=treated(fill=None))["rtt_values"]
    assert not any(row["is_fill"] for row in bare.rows)
    assert bare.reading[-1] == "The policy fills nothing in, so no value is marked."
    other = answers(duckdb_store, [person(1)], SEEN, treatment=treated(fill=7.0))["rtt_values"]
    assert other.reading[-1] == "No session holds the fill value 14 ms."


def test_only_ten_values_are_listed(duckdb_store: Store) -> None:
    sessions = [session((i, 0)) for i in range(25)]
    values = answers(duckdb_store, [person(1)], sessions)["rtt_values"]
    assert listed(values, "raw", "top") == [(i, 1) for i in range(24, 14, -1)]
    assert listed(values, "raw", "bottom") == [(i, 1) for i in range(10)]
    assert len(values.rows) == 60


def test_each_metric_has_its_values(duckdb_store: Store) -> None:
    found = answers(duckdb_store, [person(1)], [session((None, 3), (2, 3))])
    assert listed(found["throughput_values"], "treated", "top", "throughput_kbps") == [(2, 1)]
    assert listed(found["tcp_retransmission_values"], "raw", "top", "tcp_retransmission_bytes") == [(2, 1)]
    assert "No session has a raw value." in found["rtt_values"].reading


# Handsets


def test_quartiles_of_a_handset_are_linear(duckdb_store: Store) -> None:
    people = [person(i, throughput_kbps=v) for i, v in enumerate((1.0, 2.0, 4.0, 8.0))]
    people += [person(9, handset="B"), person(10, handset="B"), person(11, handset=None)]
    found = answers(duckdb_store, people, minimum_handset_subscribers=3)["throughput_by_handset"]
    (row,) = found.rows
    assert (row["handset"], row["handset_manufacturer"], row["subscriber_count"]) == ("A", "M", 4)
    # At positions 0.75, 1.5 and 2.25 of 0..3.
    assert row["first_quartile_throughput_kbps"] == pytest.approx(1.75)
    assert row["median_throughput_kbps"] == pytest.approx(3.0)
    assert row["third_quartile_throughput_kbps"] == pytest.approx(5.0)
    assert row["mean_throughput_kbps"] == pytest.approx(3.75)
    assert found.group_size == "subscriber_count"


def test_mean_retransmission_of_a_handset(duckdb_store: Store) -> None:
    people = [
        person(1, tcp_retransmission_bytes=10.0, tcp_retransmission_bytes_raw=20.0),
        person(2, tcp_retransmission_bytes=30.0, tcp_retransmission_bytes_raw=None,
               tcp_retransmission_filled_share=1.0),
    ]  # fmt: skip
    (row,) = answers(duckdb_store, people)["retransmission_by_handset"].rows
    assert (row["mean_tcp_retransmission_bytes"], row["mean_tcp_retransmission_bytes_raw"]) == (20.0, 20.0)
    assert (row["observed_count"], row["mean_filled_share"]) == (1, 0.5)


def handsets(first: float, second: float, metric: str, **more: Any) -> list[dict[str, Any]]:
    """80 subscribers with handset A and as many with B, around a mean of each."""
    return [
        person(1000 * (name == "B") + i, **{"handset": name, metric: mean + (5 if i % 2 else -5), **more})
        for name, mean in (("A", first), ("B", second))
        for i in range(80)
    ]


@pytest.mark.parametrize(
    ("name", "metric", "word"),
    [
        ("throughput_by_handset", "throughput_kbps", "Mean throughput"),
        ("retransmission_by_handset", "tcp_retransmission_bytes", "Mean retransmission"),
    ],
)
def test_the_words_on_handsets_turn(duckdb_store: Store, name: str, metric: str, word: str) -> None:
    def reading(first: float, second: float) -> tuple[str, ...]:
        return answers(duckdb_store, handsets(first, second, metric))[name].reading

    better, worse, same = reading(120, 80), reading(80, 120), reading(100, 100)
    assert better[0].startswith(f"{word} is clearly higher on 1 handset than on the others: A (120")
    assert better[1].startswith(f"{word} is clearly lower on 1 handset than on the others: B (80")
    assert worse[0].startswith(f"{word} is clearly higher on 1 handset than on the others: B (120")
    assert worse[1].startswith(f"{word} is clearly lower on 1 handset than on the others: A (80")
    assert same == (f"{word} shows no clear difference between 2 handsets.",)


def test_slow_handsets_are_those_below_the_one_in_the_middle(duckdb_store: Store) -> None:
    """A few very fast handsets pull the mean of the others up, and make no other handset slow."""

    def facts(*speeds: float) -> Mapping[str, Any]:
        people: list[dict[str, Any]] = []
        for name, speed in zip("ABCDE", speeds, strict=True):
            own = handsets(speed, speed, "throughput_kbps")
            people += [row | {"handset": name} for row in own]
        for i, row in enumerate(people):
            row |= {"subscriber_hash": i, "subscriber_id": f"s{i}"}
        return answers(duckdb_store, people)["throughput_by_handset"].facts

    fast = facts(100, 100, 100, 900, 900)
    assert (fast["lower_handset_count"], fast["slow_handset_count"], fast["slow_handset"]) == (3, 0, None)
    slow = facts(100, 100, 100, 20, 30)
    assert (slow["slow_handset_count"], slow["slow_handset"], slow["middle_handset"]) == (2, "D", "A")
    assert facts(100, 100, 100, 100, 100)["slow_handset_count"] == 0


def test_a_difference_that_rests_on_fill_in_is_said(duckdb_store: Store) -> None:
    def last(raw: Mapping[str, float]) -> str:
        people = handsets(120, 80, "tcp_retransmission_bytes")
        for row in people:
            row["tcp_retransmission_bytes_raw"] = raw[row["handset"]] + row["subscriber_hash"] % 2
        return answers(duckdb_store, people)["retransmission_by_handset"].reading[-1]

    start = "Of 2 clear differences, the observed values alone confirm"
    assert last({"A": 120, "B": 80}) == f"{start} 2."
    assert last({"A": 80, "B": 120}) == f"{start} 0 and contradict 2."
    assert last({"A": 90, "B": 90}) == f"{start} 0; for 2 they show none, so they rest on treatment."


def test_few_subscribers_make_no_handset(duckdb_store: Store) -> None:
    found = answers(duckdb_store, handsets(120, 80, "throughput_kbps"), minimum_handset_subscribers=81)
    assert found["throughput_by_handset"].rows == []
    assert found["throughput_by_handset"].reading == ("No handset has 81 subscribers, so none is compared.",)


# Groups


def groups(low: Mapping[str, float], high: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        person(1000 * cluster + i, **{"experience_cluster": cluster, **{
            name: mean + (5 if i % 2 else -5) if name in METRICS else mean for name, mean in values.items()
        }})
        for cluster, values in enumerate((low, high))
        for i in range(50)
    ]  # fmt: skip


def test_groups_are_described_by_what_sets_them_apart(duckdb_store: Store) -> None:
    def descriptions(low: Mapping[str, float], high: Mapping[str, float]) -> list[str]:
        found = answers(duckdb_store, groups(low, high))["clusters"]
        return [row["description"] for row in found.rows]

    slow, fast = {"rtt_ms": 150.0, "throughput_kbps": 50.0}, {"rtt_ms": 80.0, "throughput_kbps": 90.0}
    rest = "no clear difference in retransmission"
    assert descriptions(slow, fast) == [
        f"higher round-trip time; lower throughput; {rest}",
        f"higher throughput; lower round-trip time; {rest}",
    ]
    assert descriptions(fast, slow) == descriptions(slow, fast)[::-1]
    nothing = "no clear difference in retransmission, round-trip time and throughput"
    assert descriptions({"rtt_ms": 100.0}, {"rtt_ms": 100.0}) == [nothing, nothing]


def test_groups_by_hand(duckdb_store: Store) -> None:
    people = [person(1, rtt_ms=10.0, rtt_filled_share=0.5), person(2, rtt_ms=30.0, rtt_ms_raw=None),
              person(3, experience_cluster=1)]  # fmt: skip
    first, second = answers(duckdb_store, people)["clusters"].rows
    assert (first["subscriber_count"], first["subscriber_share"]) == (2, pytest.approx(2 / 3))
    assert (first["mean_rtt_ms"], first["min_rtt_ms"], first["max_rtt_ms"]) == (20, 10, 30)
    assert (first["mean_rtt_ms_raw"], first["rtt_filled_share"]) == (10, 0.25)
    assert second["mean_throughput_kbps"] == 100


def test_fill_in_behind_a_group_is_said(duckdb_store: Store) -> None:
    def warnings(low: float, high: float) -> list[str]:
        name = "tcp_retransmission_filled_share"
        found = answers(duckdb_store, groups({name: low}, {name: high}))["clusters"]
        return [text for text in found.reading if text.startswith("Much of what sets")]

    assert [text[:28] for text in warnings(0.9, 0.1)] == ["Much of what sets cluster 0 "]
    assert [text[:28] for text in warnings(0.1, 0.9)] == ["Much of what sets cluster 1 "]
    assert warnings(0.5, 0.5) == []


def test_small_groups_are_not_described(duckdb_store: Store) -> None:
    people = groups({"rtt_ms": 90.0}, {"rtt_ms": 90.0})
    people.append(person(5000, experience_cluster=2, rtt_ms=9999.0))
    clusters = answers(duckdb_store, people, minimum_group=15)["clusters"]
    assert clusters.rows[2]["description"] == "too few subscribers"
    assert not any("Cluster 2" in text for text in clusters.reading)


# Fill-in


def test_filled_sessions_and_never_observed_subscribers_are_counted(duckdb_store: Store) -> None:
    people = [person(1), person(2, rtt_ms_raw=None), person(3, throughput_kbps_raw=None, rtt_ms_raw=None)]
    filled = answers(duckdb_store, people, SEEN, treatment=treated())["filled"]
    rtt = find(filled, metric="rtt_ms")
    # Sessions 5, 6 and 7 lack a direction; 900 of the seventh lies beyond the upper fence.
    assert (rtt["session_count"], rtt["filled_session_count"], rtt["outlier_session_count"]) == (7, 3, 1)
    assert rtt["filled_share"] == pytest.approx(3 / 7)
    assert (rtt["never_observed_count"], rtt["never_observed_share"]) == (2, pytest.approx(2 / 3))
    assert find(filled, metric="throughput_kbps")["never_observed_count"] == 1
    assert find(filled, metric="tcp_retransmission_bytes")["filled_session_count"] == 0
    assert find(filled, metric="any of them")["never_observed_count"] == 2


def test_the_words_on_fill_in_turn(duckdb_store: Store) -> None:
    def reading(gaps: int) -> str:
        sessions = [session((None, 1), (1, 1))] * gaps + [session((1, 1))] * (10 - gaps)
        return answers(duckdb_store, [person(1)], sessions)["filled"].reading[1]

    assert "60.0 % of sessions lack a direction: its treated values are mostly fill-in" in reading(6)
    assert "40.0 % of sessions lack a direction: its treated values are mostly observed" in reading(4)
    assert "nothing is filled in" in reading(0)


def test_few_never_observed_are_not_numbered(duckdb_store: Store) -> None:
    people = [person(i, rtt_ms_raw=None if i < 3 else 1.0) for i in range(40)]
    filled = answers(duckdb_store, people, minimum_group=15)["filled"]
    assert filled.reading[1].endswith("Fewer than 15 subscribers were never observed.")


# The repeat without the never-observed

AGREES = {"subscriber_count": 2000, "rand_index": 0.97, "score_correlation": 0.99, "same_cluster_share": 0.98}


def repeat(
    store: Store, centroids: Sequence[Sequence[float]] = CENTRES, **comparison: float | None
) -> Answer:
    models = {"experience": model(), "experience_observed": model(centroids, comparison=AGREES | comparison)}
    people = [
        person(1, rtt_ms=300.0, rtt_ms_raw=None), person(2, rtt_ms=310.0, tcp_retransmission_bytes=250.0),
        person(3, rtt_ms=10.0, throughput_kbps=250.0), person(4, rtt_ms=5.0, throughput_kbps=300.0),
    ]  # fmt: skip
    return answers(store, people, models=models)["observed"]


def test_conclusions_that_stand(duckdb_store: Store) -> None:
    found = repeat(duckdb_store)
    assert found.facts["conclusions"] == "unchanged"
    assert found.reading[-1] == "The conclusions do not change without the never-observed."
    sizes = {(row["fitted_on"], row["experience_cluster"]): row["subscriber_count"] for row in found.rows}
    assert sizes == {
        ("all subscribers", 0): 2, ("all subscribers", 1): 2,
        ("observed only", 0): 1, ("observed only", 1): 2,
    }  # fmt: skip
    # The centre lies one deviation of 100 above the mean of 100.
    worst = find(found, fitted_on="all subscribers", experience_cluster=0)
    assert (worst["rtt_ms"], worst["rtt_ms_z"], worst["throughput_kbps"]) == (200, 1, 0)


@pytest.mark.parametrize(
    ("comparison", "what"),
    [
        ({"same_cluster_share": 0.5}, "who belongs to which group depends on fill-in"),
        ({"rand_index": 0.3}, "who belongs to which group depends on fill-in"),
        ({"score_correlation": -0.4}, "the scores depend on fill-in"),
        ({"score_correlation": None}, "the scores depend on fill-in"),
        ({"rand_index": 0.3, "score_correlation": 0.2}, "who belongs to which group and the scores depend"),
    ],
)
def test_conclusions_that_change(duckdb_store: Store, comparison: Mapping[str, Any], what: str) -> None:
    found = repeat(duckdb_store, **comparison)
    assert found.facts["conclusions"] == "changed"
    assert what in found.reading[-1]


def test_a_centre_on_the_other_side_changes_conclusions(duckdb_store: Store) -> None:
    turned = repeat(duckdb_store, [[1.0, -1.0, -1.0], [-1.0, 0.1, 1.0]])
    # Cluster 1 moved across by a hair only, which is no clear difference.
    assert (
        "Fitted so, these turn to the other side of the mean: round-trip time of cluster 0." in turned.reading
    )
    assert turned.reading[-1].endswith("what the groups stand for depends on fill-in.")


def test_without_a_repeat_the_answer_says_why(duckdb_store: Store) -> None:
    everyone = answers(duckdb_store, [person(1)])["observed"]
    assert everyone.reading[0].startswith("Every subscriber was observed")
    few = answers(duckdb_store, [person(1), person(2, rtt_ms_raw=None)])["observed"]
    assert few.reading[0].startswith("Too few subscribers were observed")
    bare = [{k: v for k, v in person(1).items() if k != "experience_cluster"}]
    none = answers(duckdb_store, bare, models={})
    assert (none["clusters"].rows, none["observed"].rows) == ([], [])


def test_both_engines_answer_alike(store: Store, duckdb_store: Store) -> None:
    people = handsets(120, 80, "throughput_kbps") + [
        person(9000 + i, experience_cluster=1, rtt_ms=20.0 + i % 3, rtt_ms_raw=None if i % 2 else 20.0)
        for i in range(40)
    ]
    models = {"experience": model(), "experience_observed": model(comparison=AGREES)}
    here = answers(duckdb_store, people, SEEN, models=models, treatment=treated())
    there = here
    if store.name != "duckdb":
        there = answers(store, people, SEEN, models=models, treatment=treated())
    assert list(here) == [question.id.removeprefix("experience.") for question in QUESTIONS]
    for name, answer in here.items():
        assert there[name].reading == answer.reading
        assert Answer.from_json(answer.to_json()).reading == answer.reading
        for one, other in zip(there[name].rows, answer.rows, strict=True):
            for column, value in other.items():
                number = isinstance(value, int | float)
                assert one[column] == (pytest.approx(value, rel=1e-9) if number else value), column
