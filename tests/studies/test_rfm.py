"""Recency, frequency and usage of subscribers written by hand, their scores, and what is told of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest
import vl_convert

from subsight.answers import Answer
from subsight.errors import ConfigurationError
from subsight.results import respectful
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies.rfm import COLUMNS, QUESTIONS, answer_all, scored
from subsight.studies.rfm.rules import GROUPS, group_expression, group_of
from subsight.studies.rfm.scores import MEASURES, Cuts, day_number, prepare
from subsight.studies.usage import Period, UsageInputs

DAY = date(2026, 3, 10)
TYPES = {
    "subscriber_id": pa.string(), "subscriber_hash": pa.int64(), "hour_at": pa.timestamp("us", tz="UTC"),
    "local_date": pa.date32(), "local_hour": pa.int64(), "protocol": pa.int64(), "service": pa.string(),
    "category": pa.string(), "application": pa.string(), "method": pa.string(), "confidence": pa.string(),
    "exporter": pa.string(), "flow_count": pa.int64(), "dl_bytes": pa.int64(), "ul_bytes": pa.int64(),
}  # fmt: skip


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def used(who: str | None, ago: int, hour: int = 12, *, dl: int | None = 0, ul: int = 0, flows: int = 1,
         **more: Any) -> dict[str, Any]:  # fmt: skip
    """A row of usage, so many days before the as-of date."""
    day = DAY - timedelta(days=ago)
    return {
        "subscriber_id": who, "subscriber_hash": None if who is None else sum(who.encode()),
        "hour_at": datetime(day.year, day.month, day.day, hour, tzinfo=UTC), "local_date": day,
        "local_hour": hour, "protocol": 6, "service": "https", "category": "Web", "application": "Web",
        "method": "port", "confidence": "likely", "exporter": "r1", "flow_count": flows, "dl_bytes": dl,
        "ul_bytes": ul, **more,
    }  # fmt: skip


def inputs_of(
    store: Store, rows: Sequence[dict[str, Any]], *, segments: dict[str, str] | None = None, **settings: Any
) -> UsageInputs:
    schema = pa.schema(TYPES)
    frame = store.from_arrow(pa.Table.from_pylist(list(rows), schema=schema))
    days = [row["local_date"] for row in rows if row["local_date"]] or [DAY]
    ports = store.from_arrow(pa.table({"subscriber_id": pa.array([], pa.string())}))
    named = None
    if segments is not None:
        named = store.from_arrow(
            pa.table({"subscriber_id": list(segments), "segment_name": list(segments.values())})
        )
    return UsageInputs(
        store, frame, ports, Period(min(days), max(days)), DAY,
        Settings(**{"minimum_group": 1, **settings}), {}, named,
    )  # fmt: skip


def people_of(store: Store, rows: Sequence[dict[str, Any]], **settings: Any) -> dict[str, dict[str, Any]]:
    frame, _ = scored(inputs_of(store, rows, **settings))
    return {row["subscriber_id"]: row for row in store.rows(frame)}


FIVE = [
    # a: today and every one of five days, two hours on the first; b to e ever less and longer ago.
    *(used("a", ago, dl=1000, ul=100, flows=10) for ago in range(5)), used("a", 4, 13, dl=500, flows=5),
    *(used("b", ago, dl=700, flows=8) for ago in (1, 2, 3, 4)),
    *(used("c", ago, dl=400, flows=6) for ago in (2, 3, 4)),
    used("d", 3, dl=100, flows=2), used("d", 5, dl=None, ul=50),
    used("e", 9, dl=10), used("e", 9, dl=5, service="dns"),
]  # fmt: skip


def test_five_subscribers_by_hand(store: Store) -> None:
    rows = [*FIVE, used(None, 1, dl=77, flows=3), used("a", -1, dl=9, flows=2), used("z", -2, dl=1)]
    inputs = inputs_of(store, rows)
    frame, cuts = scored(inputs)
    found = {row["subscriber_id"]: tuple(row.values()) for row in store.rows(frame)}
    assert frame.collect_schema().names() == [
        "subscriber_id", "recency_days", "active_days", "active_hours", "flow_count", "total_bytes",
        "recency_score", "frequency_score", "usage_score", "connection_score", "rfm_score", "rfm_code",
        "rfm_group",
    ]  # fmt: skip
    assert found == {
        "a": ("a", 0, 5, 6, 55, 6000, 5, 5, 5, 5, 15, "555", "Champions"),
        "b": ("b", 1, 4, 4, 32, 2800, 4, 4, 4, 4, 12, "444", "Champions"),
        "c": ("c", 2, 3, 3, 18, 1200, 3, 3, 3, 3, 9, "333", "Need attention"),
        "d": ("d", 3, 2, 2, 3, 150, 2, 2, 2, 2, 6, "222", "Hibernating"),
        "e": ("e", 9, 1, 1, 2, 15, 1, 1, 1, 1, 3, "111", "Lost"),
    }
    # Position 0.8 of four gaps and so on: 0, 1, 2, 3, 9 days are cut between each two.
    assert cuts["recency"].thresholds == pytest.approx((0.8, 1.6, 2.4, 4.2))
    assert cuts["frequency"].thresholds == pytest.approx((1.8, 2.6, 3.4, 4.2))
    assert cuts["usage"].thresholds == pytest.approx((123, 780, 1840, 3440))
    left = {one.reason: (one.flow_count, one.total_bytes) for one in prepare(inputs).left_out}
    assert left == {"of nobody who could be named": (3, 77), "after 2026-03-10": (3, 10)}


def test_usage_without_a_date_is_counted(duckdb_store: Store) -> None:
    inputs = inputs_of(duckdb_store, [used("a", 0, dl=5), used("a", 0, dl=7, flows=2, local_date=None)])
    (one,) = prepare(inputs).left_out
    assert (one.reason, one.flow_count, one.total_bytes) == ("without a date", 2, 7)
    assert [row["total_bytes"] for row in duckdb_store.rows(prepare(inputs).people)] == [5]


def test_given_cut_points_are_inclusive_and_absolute(duckdb_store: Store) -> None:
    cuts = {"recency_days": [0, 1, 2, 3], "active_days": [1, 2, 3, 4], "total_bytes": [15, 150, 1e9, 2e9]}
    found = people_of(duckdb_store, FIVE, rfm_cuts=cuts)
    # A value that equals a threshold stays below it: 0 days is at best, 15 bytes at worst.
    assert {who: row["rfm_code"] for who, row in found.items()} == {
        "a": "553", "b": "443", "c": "333", "d": "222", "e": "111",
    }  # fmt: skip
    # Where nobody reaches a score it stays empty, also where all are equal.
    alone = people_of(duckdb_store, [used("a", 0, dl=2_000_000_001)], rfm_cuts=cuts)["a"]
    assert alone["rfm_code"] == "515"


@pytest.mark.parametrize(
    ("cuts", "told"),
    [
        ({"bytes": [1, 2, 3, 4]}, "found: bytes"),
        ({"flow_count": [1, 2, 2, 3]}, "flow_count"),
        ({"flow_count": [4, 3, 2, 1]}, "larger than the one before"),
        ({"flow_count": [1, 2, 3]}, "four finite numbers"),
        ({"active_days": [1, 2, 3, float("inf")]}, "four finite numbers"),
        ({"active_days": [1, float("nan"), 3, 4]}, "four finite numbers"),
    ],
)
def test_cut_points_that_cannot_cut_are_refused(
    duckdb_store: Store, cuts: dict[str, list[float]], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        scored(inputs_of(duckdb_store, FIVE, rfm_cuts=cuts))
    assert "exactly four ascending" in str(Settings.model_fields["rfm_cuts"].description)


def test_ties_score_alike(store: Store) -> None:
    # Nine of ten use every day of two and one uses one: all nine are the most frequent and most recent.
    rows = [used(f"s{i}", ago, dl=100) for i in range(9) for ago in (0, 1)] + [used("t", 1, dl=100)]
    found = people_of(store, rows)
    assert {row["rfm_code"] for who, row in found.items() if who != "t"} == {"555"}
    assert found["t"]["rfm_code"] == "111"
    # And the other way round: nine share the least, which is the least however many they are.
    rows = [used(f"s{i}", 1, dl=100) for i in range(9)] + [used("t", ago, dl=100) for ago in (0, 1)]
    found = people_of(store, rows)
    assert {row["rfm_code"] for who, row in found.items() if who != "t"} == {"111"}
    assert found["t"]["rfm_code"] == "555"


def test_a_value_that_half_of_them_share_scores_alike(duckdb_store: Store) -> None:
    # Days 1, 2, 2, 2, 2, 2, 2, 3, 4, 5: quintiles at 2, 2, 2, 3.2; only 4 and 5 are above.
    days = [1, 2, 2, 2, 2, 2, 2, 3, 4, 5]
    rows = [used(f"s{i}", ago) for i, count in enumerate(days) for ago in range(count)]
    _, cuts = scored(inputs_of(duckdb_store, rows))
    assert cuts["frequency"].thresholds == pytest.approx((2, 2, 2, 3.2))
    found = people_of(duckdb_store, rows)
    assert [found[f"s{i}"]["frequency_score"] for i in range(10)] == [1, 1, 1, 1, 1, 1, 1, 4, 5, 5]


@pytest.mark.parametrize("count", [1, 30])
def test_where_all_are_equal_nobody_is_told_apart(duckdb_store: Store, count: int) -> None:
    found = people_of(duckdb_store, [used(f"s{i}", 0, dl=100) for i in range(count)])
    assert {row["rfm_code"] for row in found.values()} == {"533"}
    assert {row["connection_score"] for row in found.values()} == {3}


def test_without_anybody_there_is_an_empty_table(store: Store) -> None:
    for rows in ([], [used(None, 0, dl=5)]):
        frame, cuts = scored(inputs_of(store, rows))
        assert store.rows(frame) == []
        assert "rfm_group" in frame.collect_schema().names()
        assert cuts["usage"].thresholds == ()


def test_every_combination_is_in_one_group(duckdb_store: Store) -> None:
    triples = list(product(range(1, 6), repeat=3))
    for triple in triples:
        assert sum(group.holds(*triple) for group in GROUPS) == 1, triple
    assert {group_of(*triple).name for triple in triples} == {group.name for group in GROUPS}
    names = [f"{name}_score" for name in ("recency", "frequency", "usage")]
    frame = duckdb_store.from_arrow(pa.Table.from_pylist([dict(zip(names, t, strict=True)) for t in triples]))
    rows = duckdb_store.rows(frame.with_columns(group=group_expression()))
    assert Counter(row["group"] for row in rows) == Counter(group_of(*triple).name for triple in triples)
    assert all(row["group"] == group_of(*(row[name] for name in names)).name for row in rows)


def test_more_is_never_worse(duckdb_store: Store) -> None:
    for score, measure in MEASURES.items():
        cuts = Cuts(score, measure, (2.0, 2.0, 4.0, 7.0), False, 0.0, 9.0)
        frame = duckdb_store.from_arrow(pa.table({measure: list(range(10))}))
        found = [row["s"] for row in duckdb_store.rows(frame.sort(measure).select(s=cuts.expression()))]
        assert found == sorted(found, reverse=score == "recency")
        assert {found[0], found[-1]} == {1, 5}


def test_days_are_counted_across_leap_years(store: Store) -> None:
    days = [date(1999, 12, 31), date(2000, 2, 29), date(2000, 3, 1), date(2023, 2, 28), date(2024, 2, 29),
            date(2024, 3, 1), date(2100, 2, 28), date(2100, 3, 1), date(2026, 1, 1)]  # fmt: skip
    frame = store.from_arrow(pa.table({"day": days}))
    rows = store.rows(frame.with_columns(number=day_number("day")))
    assert {row["number"] - row["day"].toordinal() for row in rows} == {305}
    assert store.row(frame.select(n=nw.len()))["n"] == 9


# What is told


def told(store: Store, rows: Sequence[dict[str, Any]], **more: Any) -> dict[str, Answer]:
    heard: list[str] = []
    answers, frame = answer_all(inputs_of(store, rows, **more), lambda answer: heard.append(answer.id))
    assert heard == [answer.id for answer in answers] == [question.id for question in QUESTIONS]
    assert frame.collect_schema().names() == list(COLUMNS)
    return {answer.id.partition(".")[2]: answer for answer in answers}


def test_thresholds_are_printed_with_who_scores_what(duckdb_store: Store) -> None:
    thresholds = told(duckdb_store, [*FIVE, used(None, 1, dl=77, flows=3)])["thresholds"]
    assert [tuple(row.values()) for row in thresholds.rows[:5]] == [
        ("recency_days", "quintiles", "5", None, 0.8, 1), ("recency_days", "quintiles", "4", 0.8, 1.6, 1),
        ("recency_days", "quintiles", "3", 1.6, 2.4, 1), ("recency_days", "quintiles", "2", 2.4, 4.2, 1),
        ("recency_days", "quintiles", "1", 4.2, None, 1),
    ]  # fmt: skip
    assert tuple(thresholds.rows[5].values()) == ("active_days", "quintiles", "5", 4.2, None, 1)
    assert thresholds.reading[0] == (
        "Days since the last use: cut at 0.8 days, 1.6 days, 2.4 days and 4.2 days (quintiles)."
    )
    assert thresholds.notes[-1] == "Left out: 3 connections with 77 B of nobody who could be named."


def test_ties_and_empty_scores_are_said(duckdb_store: Store) -> None:
    rows = [used(f"s{i}", ago, dl=100) for i in range(9) for ago in (0, 1)] + [used("t", 1, dl=100)]
    reading = told(duckdb_store, rows)["thresholds"].reading
    assert reading[0].endswith("(quintiles). Nobody scores 2, 3 and 4: too many share a value.")
    reading = told(duckdb_store, [used("a", 0, dl=100), used("b", 0, dl=100)])["thresholds"].reading
    assert reading[2] == "Volume: all have 100 B, so quintiles cannot tell anybody apart; all score 3."
    reading = told(duckdb_store, FIVE, rfm_cuts={"active_days": [1, 2, 3, 9]})["thresholds"].reading
    assert reading[1] == (
        "Active days: cut at 1 days, 2 days, 3 days and 9 days (as given). Nobody scores 5: no value lies "
        "there."
    )


def test_groups_are_sized_by_hand(store: Store) -> None:
    groups = told(store, FIVE)["groups"]
    assert [(r["rfm_group"], r["subscriber_count"], r["subscriber_share"]) for r in groups.rows] == [
        ("Champions", 2, 0.4), ("Need attention", 1, 0.2), ("Hibernating", 1, 0.2), ("Lost", 1, 0.2),
    ]  # fmt: skip
    # a and b: 6000 and 2800 of 10165 bytes; 0 and 1 days ago; 5 and 4 days; 55 and 32 flows.
    first = groups.rows[0]
    assert first["bytes_share"] == pytest.approx(8800 / 10165)
    assert (first["mean_total_bytes"], first["median_total_bytes"]) == (4400, 4400)
    assert (first["median_recency_days"], first["median_active_days"]) == (0.5, 4.5)
    assert groups.reading[:2] == (
        "The largest group is Champions with 40.0 % of subscribers. Suggested: reward them; the first to be "
        "asked for premium plans and early access.",
        "Champions carry the most volume: 86.6 %, as 40.0 % of subscribers.",
    )
    assert groups.group_size == "subscriber_count"


def test_groups_are_told_with_care_where_quintiles_fall_together(duckdb_store: Store) -> None:
    rows = [used(f"s{i}", ago, dl=100 + i) for i in range(9) for ago in (0, 1)] + [used("t", 1, dl=1)]
    reading = told(duckdb_store, rows)["groups"].reading
    assert reading[-1].startswith("Quintiles of days since the last use and active days fall together")
    cuts = {"recency_days": [0, 1, 2, 3], "active_days": [1, 2, 3, 4]}
    assert not any(
        "fall together" in text for text in told(duckdb_store, rows, rfm_cuts=cuts)["groups"].reading
    )
    assert not any("fall together" in text for text in told(duckdb_store, FIVE)["groups"].reading)


def test_small_groups_are_not_told(duckdb_store: Store) -> None:
    answers = told(duckdb_store, FIVE, minimum_group=15)
    assert answers["groups"].reading == ("No group has 15 subscribers: none can be told.",)
    assert answers["thresholds"].reading == (
        "There are too few subscribers to tell where quintiles cut them.",
    )
    assert not any("%" in text for answer in answers.values() for text in answer.reading)
    hidden = respectful(answers["groups"], 15)
    assert {row["mean_total_bytes"] for row in hidden.rows} == {None}


def test_without_anybody_the_answers_say_so(store: Store) -> None:
    for answer in told(store, [used(None, 0, dl=5)], segments={"a": "Gold"}).values():
        assert answer.rows == []
        assert answer.chart is None
        assert answer.reading == (
            "There is no named subscriber with use up to 2026-03-10: nobody can be scored.",
        )


def _crowd(days: dict[str, int], ago: dict[str, int], each: int = 40) -> list[dict[str, Any]]:
    """So many subscribers of each name, with so many days of use that ended so long ago."""
    return [
        used(f"{name}{i}", ago[name] + day, dl=100 + i)
        for name in days for i in range(each) for day in range(days[name])
    ]  # fmt: skip


def test_recency_and_frequency_together_turn_with_the_facts(duckdb_store: Store) -> None:
    cuts = {"recency_days": [1, 3, 6, 9], "active_days": [1, 3, 5, 7]}
    matrix = told(duckdb_store, _crowd({"p": 8, "q": 1}, {"p": 0, "q": 10}), rfm_cuts=cuts)["matrix"]
    found = {(row["recency"], row["frequency"]): row["subscriber_count"] for row in matrix.rows}
    assert len(found) == 25
    assert {key: count for key, count in found.items() if count} == {
        ("recency 5", "frequency 5"): 40, ("recency 1", "frequency 1"): 40,
    }  # fmt: skip
    assert matrix.reading == (
        "Recency and frequency go strongly together (Cramer's V 1.00).",
        "50.0 % of subscribers score 4 or 5 in both.",
        "0 % of subscribers were frequent (4 or 5) and have gone quiet (1 or 2).",
    )
    turned = told(duckdb_store, _crowd({"p": 8, "q": 1}, {"p": 10, "q": 0}), rfm_cuts=cuts)["matrix"]
    assert turned.reading[1:] == (
        "0 % of subscribers score 4 or 5 in both.",
        "50.0 % of subscribers were frequent (4 or 5) and have gone quiet (1 or 2).",
    )
    # Both kinds of recency as often with both kinds of frequency: nothing goes together.
    days, ago = {"p": 8, "q": 1, "r": 8, "s": 1}, {"p": 0, "q": 0, "r": 10, "s": 10}
    apart = told(duckdb_store, _crowd(days, ago), rfm_cuts=cuts)["matrix"]
    assert apart.reading[0] == "Recency and frequency do not clearly go together (Cramer's V 0.00)."


def test_segments_are_told_by_their_groups(duckdb_store: Store) -> None:
    cuts = {"recency_days": [1, 3, 6, 9], "active_days": [1, 3, 5, 7], "total_bytes": [1, 2, 3, 4]}
    rows = _crowd({"p": 8, "q": 1}, {"p": 0, "q": 10})
    names = {f"{kind}{i}": segment for kind, segment in (("p", "Gold"), ("q", "Silver")) for i in range(39)}
    segments = told(duckdb_store, rows, segments=names, rfm_cuts=cuts)["segments"]
    assert segments.rows == [
        {"segment_name": "Gold", "rfm_group": "Champions", "subscriber_count": 39, "segment_share": 1.0},
        {"segment_name": "Silver", "rfm_group": "Lost", "subscriber_count": 39, "segment_share": 1.0},
    ]
    assert segments.reading == (
        "Segments and target groups go strongly together (Cramer's V 1.00).",
        "Champions are clearly more frequent in Gold than elsewhere: 100.0 % against 0 %.",
        "Lost are clearly more frequent in Silver than elsewhere: 100.0 % against 0 %.",
    )
    assert segments.notes == ("2 scored subscribers without a segment: left out.",)
    mixed = {f"{kind}{i}": ("Gold", "Silver")[i % 2] for kind in "pq" for i in range(40)}
    same = told(duckdb_store, rows, segments=mixed, rfm_cuts=cuts)["segments"]
    assert same.reading == ("Segments and target groups do not clearly go together (Cramer's V 0.00).",)
    assert told(duckdb_store, rows)["segments"].reading == ("No segments are known of these subscribers.",)


def test_charts_are_drawn(duckdb_store: Store) -> None:
    answers = told(duckdb_store, FIVE, segments={"a": "Gold", "e": "Silver"})
    for name in ("groups", "matrix", "segments"):
        drawn = {**(answers[name].chart or {}), "data": {"values": list(answers[name].rows)}}
        svg = vl_convert.vegalite_to_svg(json.dumps(drawn), allowed_base_urls=[])
        marks = {"groups": ("bar", 4), "matrix": ("rect mark", 25), "segments": ("rect mark", 2)}[name]
        assert svg.count(f'aria-roledescription="{marks[0]}"') == marks[1]
