"""The Engagement study on subscribers written by hand, and on effects planted, reversed and removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from subsight.answers import Answer
from subsight.contracts import Application
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies import Inputs
from subsight.studies.engagement import QUESTIONS
from subsight.tables import SESSIONS

APPS = (Application("gaming", "Gaming"), Application("web", "Web"))
MODEL = {"engagement": {"parameters": {"centroids": [[0.0] * 3, [1.0] * 3]}, "fit": {}}}
DAY = date(2026, 3, 2)
Rows = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def person(number: int, gaming: int, web: int, cluster: int = 0, **more: Any) -> dict[str, Any]:
    """A subscriber whose gaming is half uplink and whose web is all downlink."""
    volume = {"app_gaming_dl_bytes": gaming // 2, "app_gaming_ul_bytes": gaming - gaming // 2,
              "app_gaming_bytes": gaming,
              "app_web_dl_bytes": web, "app_web_ul_bytes": 0, "app_web_bytes": web}  # fmt: skip
    return {"subscriber_id": f"s{number}", "subscriber_hash": number, "session_count": 1, "duration_s": 60.0,
            "total_bytes": gaming + web, "engagement_cluster": cluster, **volume, **more}  # fmt: skip


def session(number: int, gaming: float, web: float | None, **more: Any) -> dict[str, Any]:
    """A session whose volume is all downlink."""
    return {"subscriber_id": f"s{number}", "subscriber_hash": number, "cell_id": "c1", "local_date": DAY,
            "local_hour": 8, "app_gaming_dl_bytes": gaming, "app_gaming_ul_bytes": 0,
            "app_web_dl_bytes": web, "app_web_ul_bytes": 0, **more}  # fmt: skip


def frame(store: Store, rows: Rows) -> Any:
    table = pa.Table.from_pylist([dict(row) for row in rows])
    for i, field in enumerate(table.schema):
        if field.name.endswith("_bytes"):
            table = table.set_column(i, field.name, table[field.name].cast(pa.int64()))
    return store.from_arrow(table)


def answers(
    store: Store,
    people: Rows,
    sessions: Rows | None = None,
    models: Mapping[str, Any] = MODEL,
    **settings: Any,
) -> dict[str, Answer]:
    sessions = sessions or [session(row["subscriber_hash"], 1, 1) for row in people]
    inputs = Inputs(
        store, frame(store, sessions), frame(store, people), SESSIONS.expand(APPS),
        Settings(**{"minimum_group": 1, **settings}), {}, models, {},
    )  # fmt: skip
    return {question.id.partition(".")[2]: question.answer(inputs) for question in QUESTIONS}


def find(answer: Answer, **values: Any) -> Mapping[str, Any]:
    (row,) = (row for row in answer.rows if all(row[k] == v for k, v in values.items()))
    return row


def line(answer: Answer, start: str) -> str:
    (text,) = (text for text in answer.reading if text.startswith(start))
    return text


# By hand


def test_the_heaviest_are_ranked_and_ties_go_to_the_lower_hash(duckdb_store: Store) -> None:
    people = [
        person(2, 100, 100, session_count=3, duration_s=10.0),
        person(1, 100, 100, session_count=1, duration_s=40.0),
        person(3, 500, 100, session_count=2, duration_s=30.0),
    ]
    top = answers(duckdb_store, people)["top_subscribers"]
    ranked = {
        m: [r["subscriber_id"] for r in top.rows if r["metric"] == m] for m in ("session_count", "duration_s")
    }
    assert ranked == {"session_count": ["s2", "s3", "s1"], "duration_s": ["s1", "s3", "s2"]}
    assert [r["subscriber_id"] for r in top.rows if r["metric"] == "total_bytes"] == ["s3", "s1", "s2"]
    # 600 of 1000 bytes; the mean is 1000 / 3.
    assert line(top, "By total traffic").startswith(
        "By total traffic, the first subscriber has 600 B, 1.8 times the mean of 333 B; the first 3 hold 100"
    )
    assert top.ranks_subscribers
    assert top.facts["in_every_list_count"] == 3


def test_only_ten_are_listed(duckdb_store: Store) -> None:
    found = answers(duckdb_store, [person(i, 2 * i, 1) for i in range(1, 13)])
    assert [row["rank"] for row in found["top_subscribers"].rows[-10:]] == list(range(1, 11))
    gaming = [row for row in found["top_application_subscribers"].rows if row["application"] == "Gaming"]
    assert [row["subscriber_id"] for row in gaming] == [f"s{i}" for i in range(12, 2, -1)]
    # The heaviest has 24 of 156 bytes.
    assert gaming[0]["application_volume_share"] == pytest.approx(12 / 78)


def test_clusters_hold_the_raw_metrics(duckdb_store: Store) -> None:
    people = [
        person(1, 10, 0, 0, session_count=1, duration_s=5.0),
        person(2, 30, 0, 0, session_count=2, duration_s=15.0),
        person(3, 60, 100, 1, session_count=6, duration_s=50.0),
    ]
    clusters = answers(duckdb_store, people)["clusters"]
    low, high = clusters.rows
    assert (low["min_total_bytes"], low["max_total_bytes"], low["mean_total_bytes"]) == (10, 30, 20)
    assert (low["total_total_bytes"], low["total_session_count"], low["mean_duration_s"]) == (40, 3, 10)
    assert (high["subscriber_count"], high["max_session_count"], high["total_duration_s"]) == (1, 6, 50)
    assert high["traffic_share"] == pytest.approx(0.8)
    assert clusters.group_size == "subscriber_count"


def test_application_totals_and_their_order(duckdb_store: Store) -> None:
    totals = answers(duckdb_store, [person(1, 100, 30), person(2, 0, 90)])["application_totals"]
    assert [row["application"] for row in totals.rows] == ["Web", "Gaming"]
    web, gaming = totals.rows
    assert (web["dl_bytes"], web["ul_bytes"], web["total_bytes"], web["subscriber_count"]) == (120, 0, 120, 2)
    assert (gaming["dl_bytes"], gaming["ul_bytes"], gaming["subscriber_count"]) == (50, 50, 1)
    assert web["volume_share"] == pytest.approx(120 / 220)


def test_sessions_of_an_application_have_volume_in_it(duckdb_store: Store) -> None:
    sessions = [session(1, 10, 0), session(1, 20, None), session(2, 0, 30), session(2, 40, 50)]
    people = [person(1, 30, 0, 0), person(2, 40, 80, 1)]
    use = answers(duckdb_store, people, sessions)["applications_by_cluster"]
    expected = {
        ("Gaming", 0): (2, 30, 1), ("Gaming", 1): (1, 40, 1), ("Web", 0): (0, 0, 0), ("Web", 1): (2, 80, 1),
    }  # fmt: skip
    for (name, cluster), (count, volume, users) in expected.items():
        row = find(use, application=name, engagement_cluster=cluster)
        assert (row["session_count"], row["total_bytes"], row["subscriber_count"]) == (count, volume, users)
    assert find(use, application="Gaming", engagement_cluster=1)["application_volume_share"] == pytest.approx(
        4 / 7
    )
    assert find(use, application="Gaming", engagement_cluster=1)["cluster_volume_share"] == pytest.approx(
        1 / 3
    )


def test_a_persona_is_the_application_most_above_its_share_of_everyone(duckdb_store: Store) -> None:
    # Gaming is 90 of 180 bytes. s1 has 3/4 gaming (1.5 times), s2 3/4 web (1.5 times), s3 half of each: the
    # tie goes to gaming, which the mapping names first. s4 has no volume and no persona.
    people = [person(1, 60, 20, 1), person(2, 20, 60), person(3, 10, 10), person(4, 0, 0)]
    personas = answers(duckdb_store, people)["personas"]
    gaming, web = find(personas, persona="Gaming-led"), find(personas, persona="Web-led")
    assert (gaming["subscriber_count"], web["subscriber_count"]) == (2, 1)
    assert gaming["subscriber_share"] == pytest.approx(2 / 3)
    assert gaming["mean_total_bytes"] == pytest.approx(50)
    assert gaming["mean_application_share"] == pytest.approx((0.75 + 0.5) / 2)
    assert gaming["population_application_share"] == pytest.approx(0.5)
    assert (gaming["engagement_cluster_0_share"], gaming["engagement_cluster_1_share"]) == (0.5, 0.5)


def test_elbow_and_silhouette_agree_or_disagree(duckdb_store: Store) -> None:
    def elbow(knee: int, best: int) -> Answer:
        silhouette = [0.8 if k == best else 0.3 for k in (2, 3)]
        fit = {"k": [1, 2, 3], "inertia": [8.0, 2.0, 1.0], "elbow_k": knee, "silhouette_k": [2, 3],
               "silhouette": silhouette, "silhouette_best_k": best, "silhouette_sample": 50}  # fmt: skip
        models = {"engagement": {**MODEL["engagement"], "fit": {"elbow": fit}}}
        return answers(duckdb_store, [person(1, 1, 1)], models=models)["elbow"]

    same, other = elbow(2, 2), elbow(2, 3)
    assert [row["inertia_left_share"] for row in same.rows] == [1.0, 0.25, 0.125]
    assert [row["silhouette"] for row in same.rows] == [None, 0.8, 0.3]
    assert "Both point to k = 2." in same.reading
    assert "The groups of this run use k = 2, which the elbow and the silhouette support." in same.reading
    assert "The two disagree: the elbow says 2, the silhouette says 3." in other.reading
    assert "The groups of this run use k = 2, which the elbow supports." in other.reading
    assert "The groups of this run use k = 2, which neither supports." in elbow(3, 3).reading
    assert "on a sample of 50 subscribers" in same.reading[1]


def test_cells_and_hours_by_hand(duckdb_store: Store) -> None:
    sessions = [
        session(1, 10, 1, cell_id="a"), session(2, 10, 1, cell_id="a"), session(1, 5, 9, cell_id="b"),
        session(2, 5, 9, cell_id="b", local_hour=9), session(3, 1000, 0, cell_id="lonely", local_hour=20),
        session(3, 7, 0, cell_id=None),
    ]  # fmt: skip
    people = [person(1, 30, 10), person(2, 30, 10), person(3, 2014, 0)]
    found = answers(duckdb_store, people, sessions, minimum_group=2)
    cells = found["capacity_cells"]
    gaming = [(r["cell_id"], r["dl_bytes"]) for r in cells.rows if r["application"] == "Gaming"]
    web = [(r["cell_id"], r["dl_bytes"]) for r in cells.rows if r["application"] == "Web"]
    assert (gaming, web) == ([("a", 20), ("b", 10)], [("b", 18), ("a", 2)])
    assert "lonely" not in " ".join(cells.reading)
    # Gaming's downlink over all subscribers is 15 + 15 + 1007.
    assert find(cells, application="Gaming", cell_id="a")["dl_share"] == pytest.approx(20 / 1037)
    hours = found["capacity_hours"]
    assert find(hours, application="Web", local_hour=8)["dl_bytes"] == 11
    assert find(hours, application="Gaming", local_hour=20)["subscriber_count"] == 1
    # Hour 20 carries most gaming, but of one subscriber only: nothing may tell of it.
    # Web carries 11 of its 20 at 8 (at 9, only one subscriber): one sentence tells both.
    assert line(hours, "Gaming").startswith("Gaming and Web: the busy hour starts at 8:00")


def test_capacity_by_cluster(duckdb_store: Store) -> None:
    people = [person(1, 20, 10, 0), person(2, 20, 30, 0), person(3, 100, 20, 1)]
    clusters = answers(duckdb_store, people)["capacity_clusters"]
    low = find(clusters, application="Gaming", engagement_cluster=0)
    assert (low["dl_bytes"], low["mean_dl_bytes"], low["subscriber_count"]) == (20, 10, 2)
    assert find(clusters, application="Web", engagement_cluster=0)["dl_share"] == pytest.approx(40 / 60)
    assert line(clusters, "Web").startswith("Web: cluster 0 takes most of the downlink, 66.7 %")


# Planted, reversed, removed


def spread(i: int) -> int:
    """A deviation around nothing: half of the subscribers a little above, half below."""
    return 10 if i % 2 else -10


def crowd(first: tuple[int, int], second: tuple[int, int]) -> list[dict[str, Any]]:
    """60 subscribers in each cluster, with about those volumes of gaming and web."""
    return [
        person(100 * cluster + i, volume[0] + spread(i), volume[1] + spread(i // 2), cluster)
        for cluster, volume in enumerate((first, second))
        for i in range(60)
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((100, 100), (300, 300), "higher total traffic"),
        ((300, 300), (100, 100), "lower total traffic"),
        ((100, 100), (100, 100), "no clear difference in sessions, duration and total traffic"),
    ],
)
def test_the_words_on_clusters_turn(
    duckdb_store: Store, first: tuple[int, int], second: tuple[int, int], expected: str
) -> None:
    clusters = answers(duckdb_store, crowd(first, second))["clusters"]
    assert expected in line(clusters, "Cluster 1 against cluster 0")


def test_the_words_on_applications_turn(duckdb_store: Store) -> None:
    def reading(gaming: int, web: int) -> str:
        totals = answers(duckdb_store, crowd((gaming, web), (gaming, web)))["application_totals"]
        return line(totals, "Per subscriber")

    assert reading(300, 100) == "Per subscriber, Gaming is clearly ahead of Web."
    assert reading(100, 300) == "Per subscriber, Web is clearly ahead of Gaming."
    assert reading(100, 100) == "Per subscriber, Gaming shows no clear difference from Web."


def test_the_words_on_the_mix_turn(duckdb_store: Store) -> None:
    def reading(first: tuple[int, int], second: tuple[int, int]) -> str:
        use = answers(duckdb_store, crowd(first, second))["applications_by_cluster"]
        return line(use, "Share of a subscriber's own volume")

    assert reading((100, 300), (300, 100)).endswith("cluster 0: higher Gaming; lower Web.")
    assert reading((300, 100), (100, 300)).endswith("cluster 0: higher Web; lower Gaming.")
    assert reading((100, 100), (300, 300)).endswith("no clear difference in Gaming and Web.")


def test_the_words_on_personas_turn(duckdb_store: Store) -> None:
    def reading(gamers: int, readers: int) -> tuple[str, str]:
        people = [person(i, gamers + spread(i), gamers // 4, int(gamers > readers)) for i in range(60)]
        people += [
            person(99 + i, readers // 4, readers + spread(i), int(readers > gamers)) for i in range(60)
        ]
        personas = answers(duckdb_store, people)["personas"]
        return line(personas, "Mean volume"), line(personas, "Share in the most engaged")

    volume, cluster = reading(400, 200)
    assert volume.endswith("higher Gaming-led; lower Web-led.")
    assert cluster.endswith("higher Gaming-led; lower Web-led.")
    volume, cluster = reading(200, 400)
    assert volume.endswith("higher Web-led; lower Gaming-led.")
    assert cluster.endswith("higher Web-led; lower Gaming-led.")
    volume, cluster = reading(300, 300)
    assert volume.endswith("no clear difference in Gaming-led and Web-led.")
    assert cluster.endswith("no clear difference in Gaming-led and Web-led.")


def test_personas_say_whether_the_lead_fades_with_more_sessions(duckdb_store: Store) -> None:
    def reading(several: int) -> str:
        people = [person(i, 90, 10 + i % 2) if i % 4 < 2 else person(i, 10, 90 + i % 2) for i in range(80)]
        for i in range(80, 160):
            gaming, web = (several, 100 - several) if i % 4 < 2 else (100 - several, several)
            people.append(person(i, gaming, web + i % 2, session_count=4))
        return answers(duckdb_store, people)["personas"].reading[-1]

    assert reading(60).startswith("The lead is clearly weaker among subscribers with several sessions")
    assert reading(90).startswith("The lead does not fade with more sessions")


def test_the_words_on_cells_turn(duckdb_store: Store) -> None:
    def reading(busy: int) -> str:
        sessions = [
            session(40 * cell + i, 100 * (busy if cell < 2 else 1), 0, cell_id=f"c{cell:02d}")
            for cell in range(12)
            for i in range(40)
        ]
        people = [person(i, 200, 0) for i in range(3)]
        return line(answers(duckdb_store, people, sessions)["capacity_cells"], "Gaming")

    # Cells 0 and 1 carry ten times as much: the first five cells (10 + 10 + 1 + 1 + 1) / 5 times one.
    assert "clearly higher than that of other cells (4.6 times their mean)" in reading(10)
    assert "no clear difference from other cells" in reading(1)


def test_chance_alone_makes_no_cell_stand_out(duckdb_store: Store) -> None:
    # Who is heavy among the even half says nothing of the odd half of a cell.
    sessions = []
    for number in range(1200):
        cell = number // 2 % 30
        heavy = number % 2 == 0 and cell < 5
        sessions.append(session(number, 900 if heavy else 100, 0, cell_id=f"c{cell:02d}"))
    cells = answers(duckdb_store, [person(1, 200, 0)], sessions)["capacity_cells"]
    assert [row["cell_id"] for row in cells.rows] == ["c00", "c01", "c02", "c03", "c04"]
    assert "no clear difference from other cells" in line(cells, "Gaming")


def test_the_words_on_hours_turn(duckdb_store: Store) -> None:
    def reading(factor: int, hour: int, days: int = 10) -> str:
        sessions = [
            session(i, 100 * (factor if h == hour else 1) + (day + h + i) % 3, 0, local_hour=h,
                    local_date=date(2026, 3, 1 + day))
            for day in range(days)
            for h in range(24)
            for i in range(2)
        ]  # fmt: skip
        return line(answers(duckdb_store, [person(1, 200, 0)], sessions)["capacity_hours"], "Gaming")

    assert reading(5, 19).startswith("Gaming: the busy hour starts at 19:00")
    assert "clearly higher than other hours" in reading(5, 19)
    assert reading(5, 3).startswith("Gaming: the busy hour starts at 3:00")
    assert "no clear difference from other hours" in reading(1, 19)
    # One day is no pattern.
    assert "no clear difference from other hours" in reading(5, 19, days=1)


def test_the_busy_hour_says_the_share_from_which_it_is_clear(duckdb_store: Store) -> None:
    # Of 28 and of 32 equal parts, hour 19 has 5 and 9, every other hour one: on a mean day 0.2299 against
    # 0.0335, with deviations of 0.05134 and 0.00223. Three errors: 3 (0.05134^2 / 2 + 0.00223^2 / 46)^0.5.
    sessions = [
        session(i, 100 * (busy if h == 19 else 1), 0, local_hour=h, local_date=date(2026, 3, day))
        for day, busy in ((1, 5), (2, 9))
        for h in range(24)
        for i in range(2)
    ]
    facts = answers(duckdb_store, [person(1, 200, 0)], sessions)["capacity_hours"].facts
    assert facts["gaming_busy_hour_day_share"] == pytest.approx(0.229911, abs=1e-6)
    assert facts["gaming_busy_hour_least_share"] == pytest.approx(0.033482 + 0.108912, abs=2e-6)
    assert facts["gaming_busy_hour_verdict"] == "higher"


def test_what_is_alike_is_said_once(duckdb_store: Store) -> None:
    sessions = [session(i, 100, 10 * (i % 2), cell_id="a", local_hour=8) for i in range(4)]
    found = answers(duckdb_store, [person(i, 100, 5, 0) for i in range(4)], sessions)
    for name in ("capacity_cells", "capacity_hours", "capacity_clusters"):
        assert len(found[name].reading) == 1, name
        assert found[name].reading[0].startswith("Gaming and Web: "), name


def test_the_words_on_capacity_for_clusters_turn(duckdb_store: Store) -> None:
    def reading(low: int, high: int) -> str:
        return line(answers(duckdb_store, crowd((low, 50), (high, 50)))["capacity_clusters"], "Gaming")

    assert "takes most in cluster 1 (150 B), clearly higher than elsewhere" in reading(100, 300)
    assert "takes most in cluster 0 (150 B), clearly higher than elsewhere" in reading(300, 100)
    assert "no clear difference from elsewhere" in reading(100, 100)


# What is missing, small or elsewhere


def test_small_groups_are_not_spoken_of(duckdb_store: Store) -> None:
    people = [*crowd((100, 100), (300, 300)), person(999, 7777, 0, 2)]
    found = answers(duckdb_store, people, minimum_group=15)
    assert not any("Cluster 2" in text for text in found["clusters"].reading)
    assert not any("cluster 2" in text for text in found["capacity_clusters"].reading)
    row = find(found["capacity_clusters"], application="Gaming", engagement_cluster=2)
    assert row["against_others"] == "too few subscribers"


def test_few_users_of_an_application_are_a_small_group_in_any_crowd(duckdb_store: Store) -> None:
    """Twenty subscribers in the cell and hour, two of them with web: its volume there is those two's."""
    sessions = [session(i, 10, 500 if i < 2 else 0) for i in range(20)]
    found = answers(duckdb_store, [person(1, 20, 10)], sessions, minimum_group=15)
    for name, label in (("capacity_cells", {"cell_id": "c1"}), ("capacity_hours", {"local_hour": 8})):
        assert find(found[name], application="Gaming", **label)["subscriber_count"] == 20
        assert find(found[name], application="Web", **label)["subscriber_count"] == 2
        assert not any("Web" in text and "%" in text for text in found[name].reading)
    assert "web_cell" not in found["capacity_cells"].facts
    assert "web_busy_hour" not in found["capacity_hours"].facts


def test_without_a_model_or_applications_the_answers_say_so(duckdb_store: Store) -> None:
    without = [{k: v for k, v in person(1, 5, 5).items() if k != "engagement_cluster"}]
    found = answers(duckdb_store, without, models={})
    for name in ("clusters", "elbow", "applications_by_cluster", "capacity_clusters"):
        assert found[name].rows == []
        assert len(found[name].reading) == 1
    assert found["personas"].rows[0]["subscriber_count"] == 1
    nobody = answers(duckdb_store, [person(1, 0, 0)])
    assert nobody["application_totals"].reading == nobody["personas"].reading
    assert nobody["capacity_hours"].rows == []


def test_both_engines_answer_alike(store: Store, duckdb_store: Store) -> None:
    people = crowd((100, 150), (300, 250))
    sessions = [
        session(i, 100 + i, None if i % 5 == 0 else i, cell_id=f"c{i % 7}", local_hour=i % 24)
        for i in (*range(60), *range(100, 160))
    ]
    here = answers(duckdb_store, people, sessions)
    there = here if store.name == "duckdb" else answers(store, people, sessions)
    assert list(here) == [question.id.removeprefix("engagement.") for question in QUESTIONS]
    for name, answer in here.items():
        assert there[name].reading == answer.reading
        assert Answer.from_json(answer.to_json()).reading == answer.reading
        for one, other in zip(there[name].rows, answer.rows, strict=True):
            for name, value in other.items():
                number = isinstance(value, int | float)
                assert one[name] == (pytest.approx(value, rel=1e-9) if number else value), name
