from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from subsight.answers import Answer
from subsight.contracts import Application, Column, Contract
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies import Inputs, satisfaction
from subsight.studies.memo import QUESTIONS
from subsight.studies.memo.findings import Finding
from subsight.tables import SESSIONS

BY_NAME = {question.id.partition(".")[2]: question for question in QUESTIONS}
APPS = (Application("gaming", "Gaming"), Application("web", "Web"), Application("other", "Other"))
MANY = 100_000


@pytest.fixture(scope="module")
def engine() -> Iterator[Store]:
    with open_store("duckdb", memory="200MB") as opened:
        yield opened


# An operator about whom everything is good; a test changes one thing.
GOOD: dict[str, dict[str, Any]] = {
    "satisfaction.service_levels": {
        "rtt_ms_level": 300.0, "throughput_kbps_level": 1000.0, "retransmission_share_level": 0.02,
        "rtt_ms_short_share": 0.02, "rtt_ms_measured_count": MANY, "rtt_ms_short_count": 2000,
        "throughput_kbps_short_share": 0.02, "throughput_kbps_measured_count": MANY,
        "throughput_kbps_short_count": 2000, "retransmission_share_short_share": 0.02,
        "retransmission_share_measured_count": MANY, "retransmission_share_short_count": 2000,
    },
    "satisfaction.served": {"engaged_gap": 10.0, "engaged_gap_band": 3.0, "balance": 0.3,
                            "balance_band": 0.02},
    "satisfaction.retention": {
        "single_session_share": 0.1, "subscriber_count": MANY, "heavy_badly_served_total_bytes": 5e12,
        "heavy_badly_served_volume_share": 0.05, "heavy_badly_served_subscriber_count": 900,
        "cluster_0_total_bytes": 4e13, "cluster_0_volume_share": 0.4, "cluster_0_subscriber_count": 60_000,
    },
    "satisfaction.clusters": {"experience_index_gap": 9.0, "experience_index_gap_band": 4.0},
    "satisfaction.score_and_index": {"satisfaction_high_score_low_index_share": 0.02},
    "satisfaction.identity": {"r2": 1.0},
    "satisfaction.behaviour": {"r2": 0.4},
    "engagement.clusters": {"cluster_2_traffic_share": 0.2},
    "experience.throughput_by_handset": {
        "handset_count": 100, "slow_handset_count": 0, "slow_handset": None,
    },
    "experience.filled": {
        "tcp_retransmission_filled_share": 0.05, "rtt_filled_share": 0.05, "throughput_filled_share": 0.05,
    },
    "experience.observed": {"same_cluster_share": 0.97},
    "overview.unknown_handsets": {"unknown_handset_session_share": 0.01},
    "engagement.capacity_hours": {
        "gaming_busy_hour": 20, "gaming_busy_hour_day_share": 0.1, "gaming_busy_hour_least_share": 0.06,
        "gaming_busy_hour_verdict": "higher",
        "web_busy_hour": 9, "web_busy_hour_day_share": 0.043, "web_busy_hour_least_share": 0.06,
        "web_busy_hour_verdict": "no clear difference",
    },
}  # fmt: skip
QUALITY: dict[str, Any] = {
    "records": 1000, "accepted": 990, "rejected": 10, "without_subscriber_count": 5,
    "coverage": [
        {"local_date": f"2019-04-{day:02}", "session_count": 100, "subscriber_count": 90}
        for day in range(1, 31)
    ],
    "periods": {
        "first_subscriber_count": 900, "second_subscriber_count": 900, "both_subscriber_count": 800,
        "comparable": True,
    },
}  # fmt: skip


def applications(heavy_gaming: float = 300.0, users: int = 5000) -> dict[str, list[dict[str, Any]]]:
    """Volumes of three applications in two groups; `heavy_gaming` is the most engaged's part of 1,000."""
    volumes = {"Gaming": (1000 - heavy_gaming, heavy_gaming), "Web": (700.0, 300.0), "Other": (2100.0, 900.0)}
    totals = [
        {"rank": i, "application": name, "volume_share": sum(parts) / 5000, "subscriber_count": users}
        for i, (name, parts) in enumerate(volumes.items(), 1)
    ]
    by_cluster = [
        {"application": name, "engagement_cluster": cluster, "subscriber_count": users, "total_bytes": part,
         "application_volume_share": part / sum(parts)}
        for name, parts in volumes.items()
        for cluster, part in enumerate(parts)
    ]  # fmt: skip
    return {"engagement.application_totals": totals, "engagement.applications_by_cluster": by_cluster}


def inputs(
    engine: Store,
    changes: dict[str, dict[str, Any] | None] | None = None,
    quality: dict[str, Any] | None = None,
    tables: dict[str, list[dict[str, Any]]] | None = None,
    contract: Contract = SESSIONS,
) -> Inputs:
    answers = {}
    rows = applications() if tables is None else tables
    for id in {*GOOD, *rows}:
        change = (changes or {}).get(id, {})
        if change is not None:
            answers[id] = Answer(id, id, rows.get(id, []), facts=GOOD.get(id, {}) | change)
    frame = engine.from_arrow(pa.table({"subscriber_id": ["a"]}))
    return Inputs(
        engine, frame, frame, contract.expand(APPS), Settings(), {}, {}, QUALITY | (quality or {}), answers
    )


def ask(name: str, given: Inputs) -> Answer:
    answer = BY_NAME[name].answer(given)
    assert answer.id == f"memo.{name}"
    json.dumps(answer.to_json(), allow_nan=False)
    for row in answer.rows:
        assert list(row) == ["line", "value", "unit", "threshold", "flips_when", "evidence"]
        assert row["evidence"] in {
            *given.answers,
            "memo.strengths",
            "memo.limits",
            "contract: columns",
        } or row["evidence"].startswith("quality: ")
    return answer


def lines(answer: Answer) -> str:
    return " | ".join(row["line"] for row in answer.rows)


# Findings


def finding(value: float, better: Any, band: float = 0.1) -> Finding:
    return Finding("x", "Good", "Bad", "of y", value, "share", 0.5, better, "a.b", band)


@pytest.mark.parametrize(
    ("value", "better", "state", "turns"),
    [
        (0.3, "low", "good", "above 40.0 %"), (0.7, "low", "bad", "at 40.0 % or less"),
        (0.45, "low", "unclear", "at 40.0 % or less (a strength) and above 60.0 % (an issue)"),
        (0.7, "high", "good", "below 60.0 %"), (0.3, "high", "bad", "at 60.0 % or more"),
        (0.55, "high", "unclear", "at 60.0 % or more (a strength) and below 40.0 % (an issue)"),
    ],
)  # fmt: skip
def test_a_finding_has_one_mark_whatever_its_state(value, better, state, turns):
    found = finding(value, better)
    assert found.state == state
    assert found.turns == turns
    assert found.row()["threshold"] == pytest.approx(0.4 if better == "low" else 0.6)
    assert f"{'at most 40.0' if better == 'low' else 'at least 60.0'} % of y" in found.wanted


@pytest.mark.parametrize("better", ["low", "high"])
@pytest.mark.parametrize("band", [0.0, 0.1])
def test_a_criterion_is_met_from_its_mark_on_and_not_before(better, band):
    found = finding(0.5, better, band)
    inwards = -1e-6 if better == "low" else 1e-6
    assert replace(found, value=found.mark + inwards).state == "good"
    assert replace(found, value=found.mark - inwards).state != "good"
    issue = 0.6 if better == "low" else 0.4
    if band:
        assert replace(found, value=issue + inwards).state == "unclear"
        assert replace(found, value=issue - inwards).state == "bad"


# Strengths and issues

CASES = [
    ("satisfaction.service_levels", "rtt_ms_short_share", 0.1, 0.4, "Round-trip times are short",
     "Round-trip times are long"),
    ("satisfaction.service_levels", "throughput_kbps_short_share", 0.1, 0.4, "Throughput is sufficient",
     "Throughput is low"),
    ("satisfaction.service_levels", "retransmission_share_short_share", 0.1, 0.4, "Little is sent twice",
     "Much is sent twice"),
    ("satisfaction.served", "engaged_gap", 0.0, -10.0, "The most engaged are better served",
     "The most engaged are worse served"),
    ("satisfaction.served", "balance", 0.0, -0.3, "More subscribers are best than worst served",
     "More subscribers are worst than best served"),
    ("satisfaction.retention", "single_session_share", 0.5, 0.9, "Subscribers come back",
     "Most subscribers are seen once"),
    ("satisfaction.clusters", "experience_index_gap", 0.0, -9.0, "The more satisfied are better served",
     "The more satisfied are worse served"),
    ("engagement.clusters", "cluster_2_traffic_share", 0.5, 0.8, "Traffic does not hang on the most engaged",
     "Traffic hangs on the most engaged"),
    ("experience.throughput_by_handset", "slow_handset_count", None, 40, "Few handsets are slow",
     "Many handsets are slow"),
]  # fmt: skip


@pytest.mark.parametrize(("id", "fact", "none", "reversed_value", "good", "bad"), CASES)
def test_every_line_turns_with_its_effect(engine, id, fact, none, reversed_value, good, bad):
    assert good in lines(ask("strengths", inputs(engine)))
    assert bad not in lines(ask("technical_issues", inputs(engine)))

    turned = inputs(engine, {id: {fact: reversed_value}})
    assert good not in lines(ask("strengths", turned))
    assert bad in lines(ask("technical_issues", turned))
    assert len(ask("actions", turned).rows) == 1

    if none is None:  # each handset's verdict is tested against chance by itself
        return
    without = inputs(engine, {id: {fact: none}})
    assert good not in lines(ask("strengths", without))
    assert ask("technical_issues", without).rows == []
    (sentence,) = [s for s in ask("strengths", without).reading if "No clear difference" in s]
    assert "(a strength)" in sentence
    assert "(an issue)" in sentence
    assert ask("actions", without).rows == []


def test_a_few_subscribers_show_no_clear_difference(engine):
    few = {"rtt_ms_short_share": 0.02, "rtt_ms_measured_count": 20}
    assert "No clear difference in the share with long round-trip times" in lines(
        ask("strengths", inputs(engine, {"satisfaction.service_levels": few}))
    )


def test_an_action_says_for_how_many(engine):
    change = {"rtt_ms_short_share": 0.4, "rtt_ms_short_count": 40_000}
    answer = ask("actions", inputs(engine, {"satisfaction.service_levels": change}))
    assert "for 40,000 subscribers" in answer.reading[0]
    assert ask("actions", inputs(engine)).reading == ("No issue is clear, so no action follows.",)
    assert ask("technical_issues", inputs(engine)).reading == ("No technical issue is clear.",)


def test_no_strength_is_said_where_there_is_none(engine):
    changes = {id: {fact: value for i, fact, _, value, _, _ in CASES if i == id} for id, *_ in CASES}
    answer = ask("strengths", inputs(engine, changes))
    assert answer.rows == []
    assert answer.reading == ("No strength is clear.",)


# Plans


@pytest.mark.parametrize(
    ("heavy", "words"),
    [(600.0, "a large bundle for the most engaged"), (50.0, "a small entry plan for light users"),
     (300.0, "no clear difference between groups, so one plan for all")],
)  # fmt: skip
def test_a_plan_turns_with_who_uses_the_application(engine, heavy, words):
    answer = ask("application_plans", inputs(engine, tables=applications(heavy)))
    assert words in next(line for line in lines(answer).split(" | ") if line.startswith("Gaming"))
    (row, *_) = answer.rows
    assert row["value"] == pytest.approx((heavy / 1000) / ((heavy + 1200) / 5000))
    assert "Other" not in lines(answer)  # a remainder is no application


def test_a_plan_by_hour_needs_a_clearly_busier_hour(engine):
    given = inputs(engine)
    answer = ask("application_plans", given)
    assert "Gaming: an allowance outside the busy hour, since on a mean day 10.0 %" in lines(answer)
    assert "Web: no plan by hour" in lines(answer)
    turns = {row["flips_when"]: (row["value"], row["threshold"]) for row in answer.rows}
    assert turns["that share falls below 6.0 %"] == (0.1, 0.06)
    assert turns["that share reaches 6.0 %"] == (0.043, 0.06)
    change = {"gaming_busy_hour_verdict": "no clear difference"}
    turned = ask("application_plans", inputs(engine, {"engagement.capacity_hours": change}))
    assert "Gaming: no plan by hour" in lines(turned)


def test_few_users_make_no_group_plan(engine):
    # 30 users: the ratio has to leave 1 by 3 / sqrt(30) = 0.55; here it is 0.4 / (1600 / 5000) = 1.25.
    small = ask("application_plans", inputs(engine, tables=applications(400.0, users=30)))
    assert "Gaming: no clear difference between groups" in lines(small)
    assert ask("application_plans", inputs(engine, tables=applications(users=5))).rows == []


# Returns


def test_returns_are_volumes_and_counts_and_no_money(engine):
    answer = ask("expected_returns", inputs(engine))
    assert answer.reading[0] == (
        "900 subscribers are most engaged and worst served: if they would otherwise leave (a hypothesis), "
        "serving them better keeps 5.00 TB, 5.0 % of the volume."
    )
    assert "No money is named" in answer.reading[-1]
    tiny = {"heavy_badly_served_volume_share": 0.001}
    small = ask("expected_returns", inputs(engine, {"satisfaction.retention": tiny}))
    assert "too little to pay for an action" in small.rows[0]["line"]
    priced = replace(SESSIONS, columns=(*SESSIONS.columns, Column("session_price", "float", "what it cost")))
    assert "No money" not in " ".join(ask("expected_returns", inputs(engine, contract=priced)).reading)


# Limits


@pytest.mark.parametrize(
    ("id", "fact", "value", "words"),
    [
        ("experience.filled", "tcp_retransmission_filled_share", 0.6, "Sessions lack their retransmission"),
        ("experience.filled", "rtt_filled_share", 0.6, "Sessions lack their round-trip time"),
        ("experience.observed", "same_cluster_share", 0.6, "Experience groups depend on fill-in"),
        ("satisfaction.score_and_index", "satisfaction_high_score_low_index_share", 0.3,
         "The satisfaction score misleads"),
        ("satisfaction.behaviour", "r2", 0.01, "Behaviour hardly predicts satisfaction"),
        ("overview.unknown_handsets", "unknown_handset_session_share", 0.5, "Many sessions name no handset"),
    ],
)  # fmt: skip
def test_limits_follow_the_answers(engine, id, fact, value, words):
    assert words not in lines(ask("limits", inputs(engine)))
    turned = inputs(engine, {id: {fact: value}})
    assert words in lines(ask("limits", turned))
    assert ask("limits", turned).facts["failed_count"] == 1
    assert len(ask("actions", turned).rows) == 1


def test_limits_follow_the_quality(engine):
    three_days = [
        {"local_date": f"2019-04-{day:02}", "session_count": 1000 if day < 4 else 10, "subscriber_count": 90}
        for day in range(1, 31)
    ]
    apart = {"first_subscriber_count": 900, "second_subscriber_count": 900, "both_subscriber_count": 50}
    bad = {"coverage": three_days, "periods": apart, "without_subscriber_count": 500, "rejected": 200}
    answer = ask("limits", inputs(engine, quality=bad))
    assert "The data are a few days" in lines(answer)
    assert "91.7 % of sessions start on the three busiest days" in lines(answer)  # 3000 of 3270
    assert "No trend, growth or loss can be read from the periods: 2.9 % of subscribers" in lines(answer)
    assert "Many records name no subscriber" in lines(answer)
    assert "Many records were rejected: 20.0 %" in lines(answer)


def test_limits_name_what_is_always_missing(engine):
    answer = ask("limits", inputs(engine))
    assert "circular" in lines(answer)
    assert "No column holds churn or feedback: retention risk is a hypothesis" in lines(answer)
    assert "No column holds tariffs, revenue or cost" in lines(answer)
    known = replace(SESSIONS, columns=(*SESSIONS.columns, Column("churn", "boolean", "whether they left")))
    assert "churn or feedback" not in lines(ask("limits", inputs(engine, contract=known)))


def test_a_missing_answer_drops_its_lines_and_is_named(engine):
    given = inputs(engine, {"satisfaction.served": None, "engagement.capacity_hours": None})
    assert "engaged are" not in lines(ask("strengths", given))
    assert "by hour" not in lines(ask("application_plans", given))
    (row,) = [row for row in ask("limits", given).rows if "no numbers" in row["line"]]
    assert "satisfaction.served" in row["line"]
    assert row["value"] == 2
    assert "engagement.capacity_hours" in row["line"]
    assert not any("no numbers" in row["line"] for row in ask("limits", inputs(engine)).rows)


@pytest.mark.parametrize(
    ("shift", "said", "where"),
    [(15, "The most engaged are better served", "strengths"),
     (-15, "The most engaged are worse served", "technical_issues"),
     (0, "No clear difference in experience of the most against the least engaged", "strengths")],
)  # fmt: skip
def test_an_effect_planted_in_profiles_reaches_the_memo(engine, shift, said, where):
    half, wave = [0] * 100 + [1] * 100, [float(i % 5) for i in range(200)]
    index = [40 + w + shift * h for w, h in zip(wave, half, strict=True)]
    frame = engine.from_arrow(
        pa.table(
            {
                "subscriber_id": [f"s{i}" for i in range(200)], "subscriber_hash": list(range(200)),
                "session_count": [2] * 200, "total_bytes": [1000] * 200, "engagement_cluster": half,
                "experience_cluster": [0, 2] * 100, "satisfaction_cluster": half,
                **{f"{area}_score": wave for area in ("engagement", "experience", "satisfaction")},
                "engagement_index": wave, "experience_index": index, "satisfaction_index": index,
                **{name: [50.0] * 200 for name in ("rtt_ms", "throughput_kbps", "tcp_retransmission_bytes")},
                "rtt_ms_raw": [50.0] * 200, "throughput_kbps_raw": [5000.0] * 200,
                "tcp_retransmission_bytes_raw": [5.0] * 200,
            }
        )
    )  # fmt: skip
    given = replace(inputs(engine), profiles=frame, answers={})
    answers = {question.id: question.answer(given) for question in satisfaction.QUESTIONS}
    memo = replace(given, answers=answers)
    assert said in lines(ask(where, memo))
    named = " ".join(ask("limits", memo).reading)
    for id in ("served", "service_levels", "retention", "clusters", "score_and_index"):
        assert f"satisfaction.{id}" not in named  # every number that the memo asks for is there


def test_an_empty_run_has_a_memo(engine):
    empty = replace(inputs(engine), answers={}, quality={})
    for name in BY_NAME:
        assert ask(name, empty).reading
    assert ask("recommendation", empty).facts["recommendation"] == "do not buy on this data"
    assert "service criteria can be judged" in ask("recommendation", empty).rows[0]["flips_when"]


# Recommendation


def test_the_recommendation_follows_the_criteria(engine):
    """Nine service criteria: 7 make 75 %, 5 make 50 %."""
    effects: dict[str, dict[str, Any]] = {}
    said = []
    for id, fact, _, value, _, _ in [(*CASES[0][:3], 0.02, "", ""), *CASES]:
        effects.setdefault(id, {})[fact] = value
        answer = ask("recommendation", inputs(engine, effects))
        said.append((answer.facts["service_met_count"], answer.facts["recommendation"]))
    assert said == [
        (9, "buy"), (8, "buy"), (7, "buy"), (6, "buy only if"), (5, "buy only if"),
        (4, "do not buy on this data"), (3, "do not buy on this data"), (2, "do not buy on this data"),
        (1, "do not buy on this data"), (0, "do not buy on this data"),
    ]  # fmt: skip


def test_bad_data_alone_forbid_a_plain_buy(engine):
    filled = {f"{m}_filled_share": 0.9 for m in ("tcp_retransmission", "rtt", "throughput")}
    answer = ask("recommendation", inputs(engine, {"experience.filled": filled}))
    # Of eleven data criteria eight are met: 73 %.
    assert (answer.facts["data_met_count"], answer.facts["data_count"]) == (8, 11)
    assert answer.facts["recommendation"] == "buy only if"
    assert answer.reading[0] == "Recommendation: buy only if the conditions below are met."
    assert answer.reading[1] == (
        "9 of 9 service criteria met, 8 of 11 data criteria met: a buy needs 7 and 9 (75 %), a buy on "
        "conditions 5 and 6 (50 %). This turns when at least 7 service and 9 data criteria are met (buy) or "
        "fewer than 5 service or 6 data criteria (do not buy)."
    )
    assert sum(row["line"].startswith("Condition: ") for row in answer.rows) == 3
    assert answer.reading[2] == (
        "Condition: at most 25.0 % of sessions lack a direction of retransmission (now 90.0 %). Until then, "
        "measure retransmission in every session."
    )
    # The condition, the row's threshold and where the row turns are one number.
    assert (answer.rows[2]["threshold"], answer.rows[2]["flips_when"]) == (
        0.25,
        "the share of sessions without retransmission at 25.0 % or less",
    )


@pytest.mark.parametrize(
    ("id", "fact", "value", "condition"),
    [
        ("satisfaction.behaviour", "r2", 0.07,
         "Condition: R2 on held-out subscribers is at least 0.130 (now 0.070)."),
        ("satisfaction.served", "engaged_gap", -4.0,
         "Condition: the gap between the mean experience indices of the most and the least engaged is at "
         "least +3 index points (now -4 index points)."),
    ],
)  # fmt: skip
def test_a_condition_says_when_it_is_met_and_how_far_it_is(engine, id, fact, value, condition):
    # Three service levels are missed too, so that a plain buy is out of reach.
    short = {f"{m}_short_share": 0.4 for m in ("rtt_ms", "throughput_kbps", "retransmission_share")}
    answer = ask("recommendation", inputs(engine, {"satisfaction.service_levels": short, id: {fact: value}}))
    assert any(line.startswith(condition) for line in answer.reading)


def test_a_group_too_small_to_count_still_bounds_its_line(engine):
    hidden = {"rtt_ms_short_share": None, "rtt_ms_short_share_at_most": 0.005, "rtt_ms_short_count": None}
    given = inputs(engine, {"satisfaction.service_levels": hidden})
    assert "Round-trip times are short: at most 0.5 % of the measured subscribers are above 300 ms" in lines(
        ask("strengths", given)
    )
    assert ask("limits", given).facts["missing_count"] == 0


def test_without_effects_nothing_is_bought(engine):
    changes = {id: {fact: none for i, fact, none, *_ in CASES if i == id} for id, *_ in CASES}
    answer = ask("recommendation", inputs(engine, changes))
    assert answer.facts["recommendation"] == "do not buy on this data"
    assert "0 of 8 service criteria met" in answer.reading[1]
