"""What changed for subscribers written by hand: planted effects, the same reversed, and none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
import vl_convert
from test_rfm import DAY, inputs_of, used

from subsight.answers import Answer
from subsight.results import respectful
from subsight.store import Store, open_store
from subsight.studies.trends import QUESTIONS, answer_all, changes
from subsight.studies.trends.table import COLUMNS, prepare

MB = 1_000_000


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def week(who: str, megabytes: int, *, ago: int = 0, hour: int = 19, **more: Any) -> list[dict[str, Any]]:
    """Seven days of use, a seventh of the volume each, that ended so long ago; now or 7 days before."""
    return [used(who, ago + day, hour, dl=megabytes * MB // 7, **more) for day in range(7)]


VIDEO = {"service": "netflix", "category": "Video"}
GAME = {"service": "steam", "category": "Gaming"}
PLANTED = [
    *week("doubles", 700, ago=7, **VIDEO), *week("doubles", 1400, **VIDEO),
    *week("plays", 70, ago=7), *week("plays", 70), *week("plays", 35, **GAME),
    *week("nights", 140, ago=7), *week("nights", 140, hour=2),
    *week("same", 140, ago=7), *week("same", 140),
    *week("falls", 700, ago=7), *week("falls", 70),
    *week("comes", 700, **VIDEO),
]  # fmt: skip


def rows_of(store: Store, rows: Sequence[dict[str, Any]], **settings: Any) -> dict[str, tuple[Any, ...]]:
    frame = changes(inputs_of(store, rows, **settings))
    assert frame is not None
    assert frame.collect_schema().names() == list(COLUMNS)
    return {row["subscriber_id"]: tuple(row.values())[1:] for row in store.rows(frame)}


def turned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The present period as the one before, and the other way round."""
    moved = []
    for row in rows:
        by = timedelta(days=-7 if (DAY - row["local_date"]).days < 7 else 7)
        moved.append({**row, "local_date": row["local_date"] + by, "hour_at": row["hour_at"] + by})
    return moved


def test_planted_changes_by_hand(store: Store) -> None:
    assert rows_of(store, PLANTED) == {
        "doubles": (700 * MB, 1400 * MB, 1.0, "Video", 700 * MB, 1400 * MB, 0, "evening", "evening",
                    "video pass or larger allowance", "Video: 700 MB to 1400 MB"),
        "plays": (70 * MB, 105 * MB, 0.5, "Gaming", 0, 35 * MB, 1, "evening", "evening",
                  "low-latency option", "Gaming: 0 MB to 35 MB"),
        "nights": (140 * MB, 140 * MB, 0.0, None, None, None, 0, "night", "evening",
                   "night allowance", "night: 0 % to 100 % of the volume"),
        "same": (140 * MB, 140 * MB, 0.0, None, None, None, 0, "evening", "evening",
                 "none", "no change that a rule asks for"),
        "falls": (700 * MB, 70 * MB, -0.9, None, None, None, 0, "evening", "evening",
                  "retention contact", "all use: 700 MB to 70 MB"),
        "comes": (0, 700 * MB, None, None, None, None, 0, "evening", None,
                  "none", "no use in the period before"),
    }  # fmt: skip


def test_reversed_changes_turn_and_removed_ones_end(duckdb_store: Store) -> None:
    found = {who: row[-2] for who, row in rows_of(duckdb_store, turned(PLANTED)).items()}
    assert found == {
        "doubles": "retention contact", "plays": "none", "nights": "none", "same": "none",
        "falls": "larger allowance", "comes": "retention contact",
    }  # fmt: skip
    still = [row for row in PLANTED if (DAY - row["local_date"]).days >= 7]
    assert {row[-2] for row in rows_of(duckdb_store, still + turned(still)).values()} == {"none"}


@pytest.mark.parametrize("more", [{"confidence": "guess"}, {"confidence": None}, {"category": "Unknown"}])
def test_nothing_is_recommended_on_a_guess(duckdb_store: Store, more: dict[str, Any]) -> None:
    rows = [*week("g", 70, ago=7), *week("g", 70), *week("g", 35, **{**GAME, **more})]
    assert rows_of(duckdb_store, rows)["g"] == (
        70 * MB, 105 * MB, 0.5, None, None, None, 0, "evening", "evening", "none",
        "no change that a rule asks for",
    )  # fmt: skip
    made = prepare(inputs_of(duckdb_store, rows))
    assert made is not None
    assert made.guess_bytes == 35 * MB


def test_a_service_is_new_once(duckdb_store: Store) -> None:
    # Used by a guess before, or long before the period before: not new. Of someone new, nothing is.
    rows = [
        *week("a", 70, ago=7), *week("a", 70), used("a", 30, **GAME), used("a", 1, **GAME),
        used("a", 8, service="dns", confidence="guess"), used("a", 1, service="dns"),
        used("a", 1, service="imaps", category="Email"), used("b", 1, service="imaps", category="Email"),
    ]  # fmt: skip
    found = rows_of(duckdb_store, rows)
    assert (found["a"][6], found["b"][6]) == (1, 0)


def test_ties_go_to_the_first_by_name(store: Store) -> None:
    rows = [*week("a", 70, ago=7), *week("a", 70), *week("a", 35, **GAME),
            *week("a", 35, service="spotify", category="Music")]  # fmt: skip
    assert rows_of(store, rows)["a"][3] == "Gaming"
    rows = [used("a", ago, hour, dl=10) for ago in (1, 8) for hour in (2, 8, 14, 20)]
    rows += [*week("b", 7, ago=7), *week("b", 7)]
    assert rows_of(store, rows)["a"][7:9] == ("night", "night")


def test_without_the_period_before_nothing_is_compared(duckdb_store: Store) -> None:
    assert changes(inputs_of(duckdb_store, week("a", 70))) is None
    assert changes(inputs_of(duckdb_store, [])) is None


def test_what_is_left_out_is_counted(duckdb_store: Store) -> None:
    rows = [*PLANTED, used(None, 3, dl=5), used("same", -1, dl=7), used("same", 0, dl=3, local_date=None)]
    rows = [row for row in rows if row["local_date"] != DAY - timedelta(days=10)]
    made = prepare(inputs_of(duckdb_store, rows))
    assert made is not None
    assert made.left_out == [
        ("of nobody who could be named", 5), ("without a date", 3), ("after 2026-03-10", 7),
    ]  # fmt: skip
    assert made.silent == [DAY - timedelta(days=10)]


# What is told


def told(store: Store, rows: Sequence[dict[str, Any]], rfm: Any = None, **more: Any) -> dict[str, Answer]:
    heard: list[str] = []
    answers, frame = answer_all(inputs_of(store, rows, **more), lambda one: heard.append(one.id), rfm=rfm)
    assert heard == [answer.id for answer in answers] == [question.id for question in QUESTIONS]
    assert frame is None or frame.collect_schema().names() == list(COLUMNS)
    return {answer.id.partition(".")[2]: answer for answer in answers}


def crowd(before: int, now: int, hour: int = 19, count: int = 20, **more: Any) -> list[dict[str, Any]]:
    """Subscribers with so many megabytes a period, each of them a little different, and all the web alike."""
    return [
        row
        for i in range(count)
        for row in (
            *week(f"s{i}", before + 7 * (i % 3), ago=7, **more),
            *week(f"s{i}", now + 14 * (i % 3), hour=hour, **more),
            *week(f"s{i}", 700, ago=7), *week(f"s{i}", 700, hour=hour),
        )
    ]  # fmt: skip


def test_categories_by_hand(store: Store) -> None:
    categories = told(store, [*PLANTED, *week("plays", 35, category="Games", confidence="guess")])[
        "categories"
    ]
    found = {row["category"]: row for row in categories.rows}
    assert list(found) == ["Video", "Web", "Gaming"]
    # doubles 700 more, comes 700 from nothing: mean 700, no deviation, the double of both together.
    assert found["Video"] == {
        "category": "Video", "subscriber_count": 2, "previous_subscriber_count": 1,
        "present_subscriber_count": 2, "previous_bytes": 700 * MB, "present_bytes": 2100 * MB,
        "previous_share": 0.4, "present_share": pytest.approx(2100 / 2555), "change_share": 2.0,
        "mean_change_bytes": 700 * MB, "low_change_bytes": 700 * MB, "high_change_bytes": 700 * MB,
        "verdict": "growing",
    }  # fmt: skip
    # 0, 0, 0 and -630: mean -157.5, deviation 272.8, its error 272.8 / sqrt 3.
    web = found["Web"]
    assert (web["subscriber_count"], web["mean_change_bytes"]) == (4, -157.5 * MB)
    assert web["low_change_bytes"] == pytest.approx((-157.5 - 1.959964 * 272.798 / 3**0.5) * MB, rel=1e-4)
    assert web["verdict"] == found["Gaming"]["verdict"] == "no clear change"
    assert categories.reading == (
        "Video is growing: 700 MB before, 2.10 GB now (+200.0 %); of one subscriber by 700 MB (95 % interval "
        "700 MB to 700 MB).",
        "There is no clear change in Web and Gaming.",
    )
    assert any(note.startswith("35.0 MB of both periods") for note in categories.notes)


def test_the_words_turn_with_the_effect_and_end_without_it(duckdb_store: Store) -> None:
    up = told(duckdb_store, crowd(350, 700, **VIDEO))["categories"].reading
    assert up[0].startswith("Video is growing:")
    assert up[1] == "There is no clear change in Web."
    down = told(duckdb_store, crowd(700, 350, **VIDEO))["categories"].reading
    assert down[0].startswith("Video is falling:")
    # As many gain as lose the same.
    rows = [row for i in range(10) for row in (
        *week(f"u{i}", 350, ago=7, **VIDEO), *week(f"u{i}", 700, **VIDEO),
        *week(f"d{i}", 700, ago=7, **VIDEO), *week(f"d{i}", 350, **VIDEO),
    )]  # fmt: skip
    assert told(duckdb_store, rows)["categories"].reading == ("There is no clear change in Video.",)


def test_hours_shift_by_group(duckdb_store: Store) -> None:
    rows = crowd(70, 70, hour=2, **VIDEO)
    rows += [row for i in range(20) for row in (*week(f"t{i}", 70, ago=7), *week(f"t{i}", 70))]
    segments = {f"s{i}": "Gold" for i in range(20)} | {f"t{i}": "Silver" for i in range(20)}
    hours = told(duckdb_store, rows, segments=segments)["hours"]
    found = {(row["group"], row["day_part"]): row for row in hours.rows}
    assert found["segment Gold", "night"]["mean_change_share"] == 1.0
    assert found["segment Gold", "evening"]["verdict"] == "falling"
    assert found["everyone", "night"]["mean_change_share"] == 0.5
    # Half move by 1, half by 0: deviation 0.5, its error 0.5 / sqrt 39.
    assert found["everyone", "night"]["high_change_share"] == pytest.approx(0.5 + 1.959964 * 0.5 / 39**0.5)
    assert {found["segment Silver", part]["verdict"] for part in ("night", "evening")} == {"no clear change"}
    assert hours.reading[0].startswith(
        "For everyone, the share of the night is growing: 0 % before, 50.0 % now"
    )
    assert hours.reading[-1] == "There is no clear shift between parts of the day for segment Silver."
    back = told(duckdb_store, turned(rows), segments=segments)["hours"]
    assert back.reading[0].startswith(
        "For everyone, the share of the night is falling: 50.0 % before, 0 % now"
    )


def test_services_by_hand(duckdb_store: Store) -> None:
    rows = [*crowd(70, 70, count=16), *(used(f"s{i}", 2, **GAME) for i in range(16)),
            *(used(f"s{i}", 2, service="imaps", category="Email") for i in range(3)),
            *(used("s4", ago, service="imaps", category="Email") for ago in (2, 9))]  # fmt: skip
    services = told(duckdb_store, rows, minimum_group=3)["services"]
    assert [tuple(row.values()) for row in services.rows] == [
        ("steam", "Gaming", 16, 0, 16, 0, True), ("imaps", "Email", 3, None, 4, 0, False),
    ]  # fmt: skip
    assert services.reading == (
        "Most first users: steam (Gaming), 16 subscribers.",
        "Used by nobody in the period before: steam.",
    )
    assert told(duckdb_store, crowd(70, 70))["services"].reading == (
        "Nobody who had used something before used a known service for the first time.",
    )


def test_recommendations_by_group(store: Store) -> None:
    rfm = store.from_arrow(pa.table({"subscriber_id": ["plays", "same"], "rfm_group": ["Loyal", "Lost"]}))
    segments = {"doubles": "Gold", "falls": "Gold", "comes": "Silver"}
    answer = told(store, PLANTED, rfm, segments=segments)["recommendations"]
    columns = ("group", "recommendation", "subscriber_count", "previous_bytes", "present_bytes")
    assert [tuple(row[name] for name in columns) for row in answer.rows] == [
        ("everyone", "retention contact", 1, 700 * MB, 70 * MB),
        ("everyone", "video pass or larger allowance", 1, 700 * MB, 1400 * MB),
        ("everyone", "low-latency option", 1, 0, 35 * MB),
        ("everyone", "night allowance", 1, 140 * MB, 140 * MB),
        ("everyone", "none", 2, 140 * MB, 840 * MB),
        ("segment Gold", "retention contact", 1, 700 * MB, 70 * MB),
        ("segment Gold", "video pass or larger allowance", 1, 700 * MB, 1400 * MB),
        ("segment Silver", "none", 1, 0, 700 * MB),
        ("target group Lost", "none", 1, 140 * MB, 140 * MB),
        ("target group Loyal", "low-latency option", 1, 70 * 0, 35 * MB),
    ]  # fmt: skip
    assert answer.reading[:2] == (
        "An offer follows for 66.7 % of 6 subscribers.",
        "The commonest is retention contact: 1 subscriber, for all use is falling (all use together: 700 MB "
        "before, 70.0 MB now).",
    )
    assert any("video is growing and large: by 140 MB and 20.0 % of the volume" in n for n in answer.notes)


def test_who_gets_an_offer_more_often_is_told(duckdb_store: Store) -> None:
    rows = crowd(350, 700, **VIDEO)
    rows += [row for i in range(20) for row in (*week(f"t{i}", 70, ago=7), *week(f"t{i}", 70))]
    segments = {f"s{i}": "Gold" for i in range(20)} | {f"t{i}": "Silver" for i in range(20)}
    reading = told(duckdb_store, rows, segments=segments)["recommendations"].reading
    assert reading[-1] == (
        "Video pass or larger allowance follows clearly more often for segment Gold than for others: 100.0 % "
        "against 0 %."
    )
    mixed = {f"{kind}{i}": ("Gold", "Silver")[i % 2] for kind in "st" for i in range(20)}
    assert len(told(duckdb_store, rows, segments=mixed)["recommendations"].reading) == 2


def test_those_whose_volume_changed_most_come_first(store: Store) -> None:
    answer = told(store, PLANTED)["subscribers"]
    assert [(row["rank"], row["subscriber_id"]) for row in answer.rows] == [
        (1, "doubles"), (2, "falls"), (3, "plays"), (4, "nights"),
    ]  # fmt: skip
    assert answer.ranks_subscribers
    assert answer.reading == (
        "An offer follows for 4 subscribers. Of the 4 whose volume changed most, 2 use more than before.",
    )


def test_small_groups_are_not_told(duckdb_store: Store) -> None:
    answers = told(duckdb_store, PLANTED, minimum_group=15, segments={"doubles": "Gold"})
    for name in ("categories", "services", "hours", "recommendations"):
        assert not any("MB" in text or "%" in text for text in answers[name].reading), name
        for row in respectful(answers[name], 15).rows:
            assert all(isinstance(value, str | bool | None) for value in row.values()), row
            assert row.get("verdict", "too few subscribers") == "too few subscribers"


def test_the_days_that_are_missing_are_named(duckdb_store: Store) -> None:
    for answer in told(duckdb_store, [*week("a", 70), used("a", 9, dl=5)]).values():
        assert answer.rows == []
        assert answer.reading == (
            "Nothing is compared: two periods of 7 days up to 2026-03-10 begin on 2026-02-25, and 2026-02-25 "
            "to 2026-02-28 were not seen.",
        )
    # Nobody at all, and nobody who is named.
    told(duckdb_store, [])
    unnamed = told(duckdb_store, [used(None, 0, dl=5), used(None, 13, dl=5)])
    assert all(answer.rows == [] and answer.reading for answer in unnamed.values())
    assert "Nothing was seen on 12 of the 14 days" in unnamed["categories"].reading[0]


def test_charts_are_drawn(duckdb_store: Store) -> None:
    answers = told(duckdb_store, [*PLANTED, *(used(f"n{i}", 20) for i in range(3))])
    marks = {"categories": ("point", 3), "services": ("bar", 1), "hours": ("rect mark", 4),
             "recommendations": ("rect mark", 5)}  # fmt: skip
    for name, (mark, count) in marks.items():
        drawn = {**(answers[name].chart or {}), "data": {"values": list(answers[name].rows)}}
        svg = vl_convert.vegalite_to_svg(json.dumps(drawn), allowed_base_urls=[])
        assert svg.count(f'aria-roledescription="{mark}"') == count, name
