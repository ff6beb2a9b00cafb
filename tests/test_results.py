"""The read side of a run: everything is found by name, and no small group is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.answers import Answer, dumps
from subsight.errors import NotFoundError, WorkspaceError
from subsight.privacy import pseudonym
from subsight.results import Results, pseudonym_of


def handsets(*sizes: int) -> list[dict[str, Any]]:
    return [
        {"handset": f"H{i}", "mean_total_bytes": 100.0 + i, "subscriber_count": n}
        for i, n in enumerate(sizes)
    ]


ANSWERS = {
    "overview": [
        Answer(
            "overview.one_small", "?", handsets(3, 400, 50), group_size="subscriber_count", notes=("given",)
        ),
        Answer("overview.all_large", "?", handsets(15, 400), group_size="subscriber_count"),
        Answer("overview.ungrouped", "?", handsets(3)),
        Answer("overview.empty", "?", [], group_size="subscriber_count"),
    ],
    "engagement": [
        Answer(
            "engagement.top",
            "?",
            [{"subscriber_id": "a" * 32, "subscriber_count": 1}],
            group_size="subscriber_count",
            ranks_subscribers=True,
        ),
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("answers", "tables", "models"):
        (tmp_path / name).mkdir()
    profiles = pa.table({"subscriber_id": ["a", "b"], "session_count": [1, 2]})
    pq.write_table(profiles, tmp_path / "tables" / "profiles.parquet")
    manifest = {
        "run": "r1",
        "settings": {"minimum_group": 15},
        "tables": {"profiles": {"rows": 2, "file": "profiles.parquet"}},
        "studies": {name: {"answers": len(answers)} for name, answers in ANSWERS.items()},
    }
    coverage = [
        {"local_date": f"2019-04-0{i + 1}", "session_count": n + 1, "subscriber_count": n}
        for i, n in enumerate((2, 30, 900))
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "quality.json").write_text(json.dumps({"records": 5, "coverage": coverage}))
    (tmp_path / "models" / "engagement.json").write_text('{"name": "engagement", "features": ["duration_s"]}')
    for name, answers in ANSWERS.items():
        (tmp_path / "answers" / f"{name}.json").write_text(dumps(answers))
    return tmp_path


def test_a_small_group_and_the_next_smallest_lose_their_numbers_and_keep_their_names(folder: Path) -> None:
    answer = Results(folder).answer("overview.one_small")
    assert list(answer.rows) == [
        {"handset": "H0", "mean_total_bytes": None, "subscriber_count": None},
        {"handset": "H1", "mean_total_bytes": 101.0, "subscriber_count": 400},
        {"handset": "H2", "mean_total_bytes": None, "subscriber_count": None},
    ]
    assert answer.notes[0] == "given"
    assert answer.notes[1].startswith("2 of 3 groups are not shown: fewer than 15 subscribers")


def test_the_runs_own_setting_decides_what_is_small(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["settings"]["minimum_group"] = 3
    (folder / "manifest.json").write_text(json.dumps(manifest))
    answer = Results(folder).answer("overview.one_small")
    assert [row["subscriber_count"] for row in answer.rows] == [3, 400, 50]
    assert answer.notes == ("given",)


@pytest.mark.parametrize("id", ["overview.all_large", "overview.ungrouped", "overview.empty"])
def test_what_has_no_small_group_is_as_it_was(folder: Path, id: str) -> None:
    answer = Results(folder).answer(id)
    given = next(a for a in ANSWERS["overview"] if a.id == id)
    assert (list(answer.rows), answer.notes) == (list(given.rows), given.notes)


def test_ranked_subscribers_are_exempt_and_say_so(folder: Path) -> None:
    answer = Results(folder).answer("engagement.top")
    assert answer.rows[0] == {"subscriber_id": "a" * 32, "subscriber_count": 1}
    assert "single pseudonymous subscribers" in answer.notes[-1]


def test_days_with_few_subscribers_are_suppressed_too(folder: Path) -> None:
    quality = Results(folder).quality
    assert [row["session_count"] for row in quality["coverage"]] == [None, None, 901]
    assert [row["local_date"] for row in quality["coverage"]] == ["2019-04-01", "2019-04-02", "2019-04-03"]
    assert (quality["records"], quality["suppressed_day_count"]) == (5, 2)


def test_studies_models_tables_and_definitions_are_found(folder: Path) -> None:
    results = Results(folder)
    assert results.studies() == ["overview", "engagement"]
    assert [answer.id for answer in results.answers("engagement")] == ["engagement.top"]
    assert results.models()["engagement"]["features"] == ["duration_s"]
    assert results.table("profiles").to_pydict() == {"subscriber_id": ["a", "b"], "session_count": [1, 2]}
    assert results.table("profiles", ["session_count"]).column_names == ["session_count"]
    (sessions,) = results.definitions()
    names = [column.name for column in sessions]
    assert "dl_bytes" in names
    assert "subscriber_hash" not in names  # never published


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda r: r.answers("churn"), "engagement, overview"),
        (lambda r: r.answers("../secrets"), "engagement, overview"),
        (lambda r: r.answer("overview.nothing"), "overview.one_small"),
        (lambda r: r.answer("overview"), "overview.one_small"),
        (lambda r: r.table("scores"), "profiles"),
        (lambda r: r.table("profiles", ["age"]), "session_count, subscriber_id"),
    ],
)
def test_what_is_not_there_is_named_beside_what_is(folder: Path, ask: Any, named: str) -> None:
    with pytest.raises(NotFoundError, match="run r1 has no") as caught:
        ask(Results(folder))
    assert named in str(caught.value)


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no run"):
        Results(tmp_path).studies()


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / "answers" / "overview.json").write_text('[{"id":')
    with pytest.raises(WorkspaceError, match=r"overview\.json cannot be read"):
        Results(folder).answers("overview")


def test_without_a_limit_or_a_size_nothing_is_shown(folder: Path) -> None:
    unsized = Answer("overview.unsized", "?", [{"handset": "H"}], group_size="subscriber_count")
    (folder / "answers" / "overview.json").write_text(dumps([unsized]))
    with pytest.raises(WorkspaceError, match=r"overview\.unsized does not say how large"):
        Results(folder).answers("overview")
    (folder / "manifest.json").write_text('{"settings": {}, "studies": {}}')
    with pytest.raises(WorkspaceError, match="which groups are small"):
        _ = Results(folder).quality


def test_a_customer_is_found_by_a_number_of_the_operators_own(folder: Path) -> None:
    key = b"k" * 32
    names = ["CUST-7", "7", "33664962239", "12-34"]
    known = pa.table({"subscriber_id": [pseudonym(name, key) for name in names], "place": [0, 1, 2, 3]})
    pq.write_table(known, folder / "tables" / "profiles.parquet")
    results = Results(folder)
    for place, spelled in enumerate((" CUST-7", "7", "+33 6 64 96 22 39", "12-34")):
        assert results.subscriber(spelled, key)["place"] == place, spelled
    assert pseudonym_of("CUST-7", key) == pseudonym("CUST-7", key)
    assert pseudonym_of("0033664962239", key) == pseudonym("33664962239", key)
    assert pseudonym_of("1.3E+19", key) is None
    with pytest.raises(NotFoundError):
        results.subscriber("cust-8", key)
