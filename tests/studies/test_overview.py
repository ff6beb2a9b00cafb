"""The Overview study on handsets, subscribers, applications and days written by hand or planted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from subsight.answers import Answer
from subsight.contracts import Application
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies import Inputs
from subsight.studies.overview import QUESTIONS
from subsight.studies.overview.coverage import core
from subsight.tables import SESSIONS

APPS = (Application("gaming", "Gaming"), Application("web", "Web"), Application("mail", "Mail"))
CONTRACT = SESSIONS.expand(APPS)
SLUGS = [app.slug for app in APPS]
OBSERVED = {f"app_{slug}_{way}_bytes": {} for slug in SLUGS for way in ("dl", "ul")}
Rows = Sequence[Mapping[str, Any]]
ASK = {question.id.partition(".")[2]: question for question in QUESTIONS}


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def ask(
    store: Store,
    name: str,
    *,
    sessions: Rows = ({"subscriber_id": "s1"},),
    people: Rows = ({"subscriber_id": "s1"},),
    models: Mapping[str, Any] | None = None,
    quality: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Answer:
    frames = [
        store.from_arrow(pa.Table.from_pylist([dict(row) for row in rows])) for rows in (sessions, people)
    ]
    chosen = Settings(**{"minimum_group": 1, **settings})
    inputs = Inputs(store, *frames, CONTRACT, chosen, OBSERVED, models or {}, quality or {})
    return ASK[name].answer(inputs)


def session(subscriber: int, handset: str | None, maker: str | None = None) -> dict[str, Any]:
    return {"subscriber_id": f"s{subscriber}", "handset": handset, "handset_manufacturer": maker}


def person(number: int, **more: Any) -> dict[str, Any]:
    base = {"subscriber_id": f"s{number}", "subscriber_hash": number, "session_count": 1, "duration_s": 60.0,
            "dl_bytes": 8, "ul_bytes": 2, "total_bytes": 10, "handset": None,
            "handset_manufacturer": None}  # fmt: skip
    return base | {f"app_{slug}_bytes": 0 for slug in SLUGS} | more


def said(answer: Answer) -> str:
    return " ".join(answer.reading)


# Handsets


def test_handsets_are_ranked_by_sessions_and_by_subscribers_without_the_unknown(duckdb_store: Store) -> None:
    sessions = [session(1, "P", "Pear")] * 5 + [session(n, "Q", "Quince") for n in (1, 2, 3)]
    sessions += [session(n, None) for n in range(4, 20)]
    rows = ask(duckdb_store, "handsets", sessions=sessions).rows
    ranked = [
        (r["ranked_by"], r["rank"], r["handset"], r["session_count"], r["subscriber_count"]) for r in rows
    ]
    assert ranked == [
        ("sessions", 1, "P", 5, 1), ("sessions", 2, "Q", 3, 3),
        ("subscribers", 1, "Q", 3, 3), ("subscribers", 2, "P", 5, 1),
    ]  # fmt: skip
    assert rows[0]["session_share"] == 5 / 8
    assert rows[0]["subscriber_share"] == 1 / 3
    assert rows[0]["handset_manufacturer"] == "Pear"


def test_only_ten_handsets_are_ranked_and_ties_go_to_the_smaller_name(duckdb_store: Store) -> None:
    sessions = [session(n, name) for n, name in enumerate("LKJIHGFEDCBA")]
    rows = ask(duckdb_store, "handsets", sessions=sessions).rows
    assert [r["handset"] for r in rows] == list("ABCDEFGHIJ") * 2


def test_unknown_handsets_are_reported_apart(duckdb_store: Store) -> None:
    answer = ask(duckdb_store, "unknown_handsets", sessions=[session(1, "P")] * 3 + [session(2, None)])
    assert [(r["handset"], r["session_count"], r["session_share"]) for r in answer.rows] == [
        ("known", 3, 0.75), ("unknown", 1, 0.25),
    ]  # fmt: skip
    assert answer.reading[0].startswith("1 session (25.0 %) of 1 subscriber name no handset")
    none = ask(duckdb_store, "unknown_handsets", sessions=[session(1, "P")])
    assert none.reading == ("Every session names its handset.",)


@pytest.mark.parametrize("name", ["handsets", "manufacturers", "manufacturer_handsets", "unknown_handsets"])
def test_small_groups_are_not_spoken_of(duckdb_store: Store, name: str) -> None:
    sessions = [session(n, "P", "Pear") for n in range(14)] + [session(n, None) for n in range(20, 34)]
    answer = ask(duckdb_store, name, sessions=sessions, minimum_group=15)
    assert "14" not in said(answer)
    assert "Pear" not in said(answer)
    # 14 of 28 sessions name no handset: the memo is told a bound, never the share.
    bound = {"unknown_handset_session_share_at_most": 0.51}
    assert answer.facts == (bound if name == "unknown_handsets" else {})


def test_a_small_leader_is_passed_over_and_that_is_said(duckdb_store: Store) -> None:
    sessions = [session(1, "P", "Pear")] * 50 + [session(n, "Q", "Quince") for n in range(20)]
    answer = ask(duckdb_store, "handsets", sessions=sessions, minimum_group=15)
    assert answer.reading[0] == "Of those with at least 15 subscribers, Q has most sessions (20)."


def test_three_manufacturers_and_five_handsets_of_each(duckdb_store: Store) -> None:
    makers = {"A": 4, "B": 8, "C": 6, "D": 2}
    sessions = [session(n, f"{maker}{n}", maker) for maker, most in makers.items() for n in range(most)]
    sessions += [session(0, "A3", "A")] * 5 + [session(9, None, None)] * 50
    first = ask(duckdb_store, "manufacturers", sessions=sessions).rows
    keys = ("rank", "handset_manufacturer", "session_count", "rank_by_subscribers")
    assert [tuple(r[k] for k in keys) for r in first] == [(1, "A", 9, 3), (2, "B", 8, 1), (3, "C", 6, 2)]
    assert first[0]["session_share"] == 9 / 25
    each = ask(duckdb_store, "manufacturer_handsets", sessions=sessions).rows
    assert [r["handset"] for r in each] == [
        "A3", "A0", "A1", "A2", "B0", "B1", "B2", "B3", "B4", "C0", "C1", "C2", "C3", "C4",
    ]  # fmt: skip
    assert each[0]["session_count"] == 6
    assert each[0]["manufacturer_session_share"] == 6 / 9


@pytest.mark.parametrize(
    ("pear", "word", "advice"),
    [
        (100, "higher", "larger data plans fit subscribers of Pear"),
        (20, "lower", "offers that raise use fit subscribers of Pear"),
        (50, "no clear difference", "the manufacturer makes no clear difference to data use"),
    ],
)
def test_marketing_turns_with_the_planted_use(duckdb_store: Store, pear: int, word: str, advice: str) -> None:
    wobble = (-5, 5)
    people = [
        person(n, total_bytes=pear + wobble[n % 2], handset="P", handset_manufacturer="Pear")
        for n in range(100)
    ]
    people += [
        person(n, total_bytes=50 + wobble[n % 2], handset="Q", handset_manufacturer="Quince")
        for n in range(100, 400)
    ]
    people += [person(n, total_bytes=10**9) for n in range(400, 500)]
    answer = ask(duckdb_store, "marketing", people=people, sessions=[session(1, "P")])
    (row,) = (r for r in answer.rows if r["handset_manufacturer"] == "Pear")
    assert row["total_against_others"] == word
    assert row["session_against_others"] == "no clear difference"
    assert (row["mean_total_bytes"], row["others_mean_total_bytes"]) == (pear, 50)
    assert row["subscriber_share"] == 0.25
    assert advice.lower() in said(answer).lower()


def test_marketing_says_nothing_of_too_few_others(duckdb_store: Store) -> None:
    people = [person(n, handset="P", handset_manufacturer="Pear") for n in range(40)]
    people += [person(n, handset="Q", handset_manufacturer="Quince") for n in range(40, 44)]
    answer = ask(duckdb_store, "marketing", people=people, minimum_group=15)
    assert answer.rows[0]["others_mean_total_bytes"] is None
    assert answer.reading == ("No manufacturer can be compared: it or all others have too few subscribers.",)


# Subscribers


def test_totals_per_subscriber_match_numpy(duckdb_store: Store) -> None:
    volume = np.random.default_rng(1).integers(0, 1000, 200)
    people = [person(n, total_bytes=int(v), app_web_bytes=int(v) // 2) for n, v in enumerate(volume)]
    rows = {r["quantity"]: r for r in ask(duckdb_store, "subscribers", people=people).rows}
    assert list(rows) == [
        "sessions",
        "duration",
        "downlink data",
        "uplink data",
        "total data",
        "Gaming",
        "Web",
        "Mail",
    ]
    total = rows["total data"]
    assert total["total"] == volume.sum()
    assert total["mean"] == pytest.approx(volume.mean())
    assert total["standard_deviation"] == pytest.approx(volume.std())
    quartiles = [
        total["minimum"],
        total["first_quartile"],
        total["median"],
        total["third_quartile"],
        total["maximum"],
    ]
    assert quartiles == pytest.approx(np.percentile(volume, [0, 25, 50, 75, 100]))
    assert rows["Web"]["total"] == (volume // 2).sum()


@pytest.mark.parametrize(
    ("heavy", "words"),
    [(1000, "heavy users raise the mean"), (-1000, "light users lower the mean"), (0, "no clear difference")],
)
def test_what_moves_the_mean_is_said(duckdb_store: Store, heavy: int, words: str) -> None:
    base = 2000 + np.arange(100)
    base[:10] += heavy
    people = [person(n, total_bytes=int(v)) for n, v in enumerate(base)]
    (text,) = (
        t for t in ask(duckdb_store, "subscribers", people=people).reading if t.startswith("Total data")
    )
    assert words in text


def test_duration_deciles_by_hand(duckdb_store: Store) -> None:
    people = [
        person(n, duration_s=float(n), total_bytes=10 * n, dl_bytes=9 * n, ul_bytes=n) for n in range(1, 21)
    ]
    people.append(person(21, duration_s=None, total_bytes=10**6))
    rows = ask(duckdb_store, "duration_deciles", people=people).rows
    assert [r["decile"] for r in rows] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert [r["is_top_five"] for r in rows] == [True] * 5 + [False] * 5
    assert rows[0]["total_bytes"] == 390
    assert (rows[0]["least_duration_s"], rows[0]["most_duration_s"]) == (19, 20)
    assert rows[0]["total_bytes_share"] == 390 / 2100
    assert sum(r["dl_bytes"] for r in rows) == 9 * 210


def test_ties_of_duration_break_by_hash_and_sizes_differ_by_one(duckdb_store: Store) -> None:
    people = [person(n, total_bytes=n) for n in range(23)]
    rows = ask(duckdb_store, "duration_deciles", people=people[::-1]).rows
    assert {r["subscriber_count"] for r in rows} == {2, 3}
    assert rows[-1]["total_bytes"] == 0 + 1 + 2  # places 1 to 3 of 23


@pytest.mark.parametrize(
    ("slope", "words"),
    [(1, "uses clearly more data"), (-1, "uses clearly less data"), (0, "no clear difference")],
)
def test_decile_words_turn(duckdb_store: Store, slope: int, words: str) -> None:
    people = [person(n, duration_s=float(n), total_bytes=1000 + slope * n + 7 * (n % 3)) for n in range(300)]
    assert words in ask(duckdb_store, "duration_deciles", people=people).reading[-1]


# Applications


def volumes(kind: str, count: int = 400) -> np.ndarray:
    """Gaming, web and mail per subscriber: related as `kind` says."""
    draw = np.random.default_rng(3)
    gaming, web, mail = draw.uniform(100, 200, (3, count))
    if kind == "together":
        web = gaming + draw.uniform(-5, 5, count)
    if kind == "against":
        web = 300 - gaming + draw.uniform(-5, 5, count)
    return np.round(np.column_stack([gaming, web, mail])).astype(int)


def using(values: np.ndarray) -> list[dict[str, Any]]:
    return [
        person(
            n,
            total_bytes=int(row.sum()),
            **{f"app_{s}_bytes": int(v) for s, v in zip(SLUGS, row, strict=True)},
        )
        for n, row in enumerate(values)
    ]


def test_each_application_against_the_total_matches_numpy(duckdb_store: Store) -> None:
    values = volumes("together")
    total = values.sum(axis=1)
    rows = {r["application"]: r for r in ask(duckdb_store, "applications", people=using(values)).rows}
    for i, app in enumerate(APPS):
        row, own = rows[app.name], values[:, i]
        assert row["correlation"] == pytest.approx(np.corrcoef(own, total)[0, 1])
        assert row["correlation_with_rest"] == pytest.approx(np.corrcoef(own, total - own)[0, 1])
        assert row["correlation_if_independent"] == pytest.approx(own.std() / total.std())
        assert row["slope"] == pytest.approx(np.polyfit(total, own, 1)[0])
        assert row["total_bytes_share"] == pytest.approx(own.sum() / total.sum())
        assert row["bytes"] == pytest.approx(own.sum())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("together", "a near-exact positive correlation for Gaming and Web"),
        ("against", "negative correlation for"),
        ("apart", "With the rest of the traffic there is no clear correlation for"),
    ],
)
def test_words_on_the_rest_of_the_traffic_turn(duckdb_store: Store, kind: str, words: str) -> None:
    values = volumes(kind)
    if kind != "apart":
        values[:, 2] = 1
    text = said(ask(duckdb_store, "applications", people=using(values)))
    assert words in text
    assert "it is part of the total" in text


def test_totals_that_hold_more_than_the_applications_are_said(duckdb_store: Store) -> None:
    people = using(volumes("apart"))
    for row in people:
        row["total_bytes"] *= 2
    assert "The applications sum to 50.0 % of the total" in said(
        ask(duckdb_store, "applications", people=people)
    )


def test_an_application_without_spread_has_no_correlation(duckdb_store: Store) -> None:
    values = volumes("apart")
    values[:, 2] = 7
    people = using(values)
    (row,) = (r for r in ask(duckdb_store, "applications", people=people).rows if r["application"] == "Mail")
    assert (row["correlation"], row["correlation_with_rest"], row["slope"]) == (None, None, pytest.approx(0))
    matrix = ask(duckdb_store, "correlation", people=people).rows
    assert [row["mail"] for row in matrix] == [None] * 3


def test_the_correlation_matrix_matches_numpy(duckdb_store: Store) -> None:
    values = volumes("against") + 10**9  # large means must not cancel the digits away
    rows = ask(duckdb_store, "correlation", people=using(values)).rows
    assert [row["application"] for row in rows] == SLUGS
    found = [[row[slug] for slug in SLUGS] for row in rows]
    np.testing.assert_allclose(found, np.corrcoef(values.T), rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("together", "Gaming and Web go together most"),
        ("against", "Gaming and Web exclude one another most"),
        ("apart", "3 with no clear correlation"),
    ],
)
def test_correlation_words_turn(duckdb_store: Store, kind: str, words: str) -> None:
    assert words in said(ask(duckdb_store, "correlation", people=using(volumes(kind))))


def test_application_deciles_match_numpy(duckdb_store: Store) -> None:
    values = volumes("apart", 100)
    order = np.argsort(values.sum(axis=1), kind="stable")
    rows = ask(duckdb_store, "application_deciles", people=using(values)).rows
    assert len(rows) == 30
    for row in rows:
        chosen = values[order[10 * (row["decile"] - 1) : 10 * row["decile"]]]
        own = chosen[:, [app.name for app in APPS].index(row["application"])]
        assert row["subscriber_count"] == 10
        assert row["mean_bytes"] == pytest.approx(own.mean())
        assert row["total_bytes_share"] == pytest.approx(own.sum() / chosen.sum())


@pytest.mark.parametrize(
    ("lean", "words"),
    [
        (1.0, "the share is higher for Gaming"),
        (-1.0, "the share is lower for Gaming"),
        (0.0, "there is no clear difference in the mix"),
    ],
)
def test_words_on_the_mix_turn(duckdb_store: Store, lean: float, words: str) -> None:
    total = np.arange(1000, 1400)
    wobble = np.random.default_rng(5).uniform(-0.05, 0.05, 400)
    share = 0.3 + lean * 0.2 * (total - 1200) / 200 + wobble
    gaming = np.round(total * share).astype(int)
    mail = (total - gaming) // 2
    values = np.column_stack([gaming, total - gaming - mail, mail])
    assert words in said(ask(duckdb_store, "application_deciles", people=using(values)))


def components(shares: list[float], loadings: list[list[float]], rows: int = 1000) -> dict[str, Any]:
    features = [f"app_{slug}_bytes" for slug in SLUGS]
    return {"components": {"features": features, "parameters": {"components": loadings},
                           "fit": {"rows": rows, "explained_share": shares}}}  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "first", "words"),
    [
        ([0.8, 0.1, 0.1], [0.6, 0.55, 0.58], "overall volume"),
        ([0.8, 0.1, 0.1], [0.7, -0.7, 0.1], "Gaming against Web"),
        ([0.8, 0.1, 0.1], [0.1, 0.1, 0.99], "mostly Mail"),
        ([0.34, 0.33, 0.33], [0.7, 0.7, 0.1], "No component clearly stands out"),
        ([0.5, 0.42, 0.08], [0.7, 0.7, 0.1], "The second (42.0 %): Mail against Web"),
    ],
)
def test_component_bullets_follow_the_fit(
    duckdb_store: Store, shares: list[float], first: list[float], words: str
) -> None:
    record = components(shares, [first, [0.1, -0.5, 0.8], [0.3, 0.3, 0.3]])
    answer = ask(duckdb_store, "components", models=record)
    assert words in said(answer)
    assert len(answer.reading) <= 4
    assert [row["cumulative_share"] for row in answer.rows] == pytest.approx(np.cumsum(shares))
    assert [answer.rows[0][slug] for slug in SLUGS] == first


def test_missing_components_are_said(duckdb_store: Store) -> None:
    answer = ask(duckdb_store, "components")
    assert not answer.rows
    assert "No components could be fitted" in answer.reading[0]


# Coverage


def days(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"local_date": day, "session_count": n, "subscriber_count": n} for day, n in counts.items()]


def quality(counts: Mapping[str, int], periods: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"records": 1000, "rejected": 3, "without_subscriber_count": 7, "coverage": days(counts),
            "periods": periods or {"comparable": False, "first": None, "second": None}}  # fmt: skip


def halves(both: int, comparable: bool) -> dict[str, Any]:
    return {"first": ["2026-03-01", "2026-03-05"], "second": ["2026-03-06", "2026-03-10"],
            "first_subscriber_count": 100, "second_subscriber_count": 100, "both_subscriber_count": both,
            "comparable": comparable}  # fmt: skip


def test_the_core_is_the_shortest_run_with_nine_tenths() -> None:
    found = core(days({"2026-03-01": 4, "2026-03-05": 40, "2026-03-06": 52, "2026-03-09": 4}))
    assert (found["span_day_count"], found["core_day_count"]) == (9, 2)
    assert (found["core_first_date"], found["core_last_date"]) == ("2026-03-05", "2026-03-06")
    assert found["core_session_share"] == 0.92


def test_bunched_and_even_extracts_are_told_apart(duckdb_store: Store) -> None:
    bunched = {f"2026-03-{n:02}": 500 if n > 8 else 1 for n in range(1, 11)}
    even = {f"2026-03-{n:02}": 100 for n in range(1, 11)}
    first = ask(duckdb_store, "coverage", quality=quality(bunched, halves(20, False)))
    assert (
        "10 days, but the extract is bunched: 99.2 % of the sessions start on 2 days (9 March 2026"
        in first.reading[0]
    )
    second = ask(duckdb_store, "coverage", quality=quality(even, halves(20, False)))
    assert "spread over it" in second.reading[0]
    assert "bunched" not in said(second)
    assert (
        "1,000 records, 3 were rejected and 7 name no subscriber; every study reads the other 1,000"
        in said(second)
    )


def test_periods_are_compared_or_refused(duckdb_store: Store) -> None:
    even = {f"2026-03-{n:02}": 100 for n in range(1, 11)}
    yes = ask(duckdb_store, "coverage", quality=quality(even, halves(80, True)))
    assert "can be compared: 66.7 % of subscribers are in both (at least 50 % are needed)" in said(yes)
    assert yes.facts["periods_comparable"] == "yes"
    no = ask(duckdb_store, "coverage", quality=quality(even, halves(20, False)))
    assert "cannot be compared: 11.1 % of subscribers" in said(no)
    few = ask(duckdb_store, "coverage", quality=quality(even, halves(5, False)), minimum_group=15)
    assert "cannot be compared: fewer than 15 of subscribers" in said(few)
    assert few.facts["both_periods_subscriber_share"] is None


def test_a_single_day_says_so(duckdb_store: Store) -> None:
    answer = ask(duckdb_store, "coverage", quality=quality({"2026-03-01": 10}))
    assert "one day, 1 March 2026" in said(answer)
    assert "two periods cannot be compared" in said(answer)
