"""Filtered answers: the same as of a run over those subscribers only, and sums by hour as counted by hand."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from subsight import pipeline
from subsight.errors import FilterError, InputError, NotFoundError
from subsight.pipeline import Filters, answering
from subsight.privacy import pseudonym
from subsight.results import Results
from subsight.settings import Settings
from subsight.simulate import Operator, simulate
from subsight.store import open_store
from subsight.studies import FLOWS, HOURS, KINDS, SUBSCRIBERS, Question
from subsight.workspace import Workspace

OPERATOR = Operator(subscribers=1_500, sessions=9_000, days=4, seed=5)
SETTINGS = Settings(minimum_handset_subscribers=30, segment_source="profiles", starts=2)
STUDIES = ("overview", "engagement", "experience", "satisfaction", "segments")
FILTERED = sorted(one for one in answering._questions() if pipeline.filterable(one))
OF_PEOPLE = [one for one in FILTERED if pipeline.filterable(one) & SUBSCRIBERS]
FIRST, LAST = date(2026, 3, 3), date(2026, 3, 4)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _run(folder: Path, sessions: Path, studies: tuple[str, ...], key: bytes | None, **more: Any) -> Path:
    workspace = Workspace.create(folder)
    if key:
        (folder / "keys" / "pseudonyms.key").write_bytes(key)
    return pipeline.run(workspace, [sessions], SETTINGS, studies=studies, **more)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of an operator with three cells, so that an hour in a cell has enough subscribers."""
    folder = tmp_path_factory.mktemp("operator")
    rows = _rows(simulate(OPERATOR, folder, file_format="csv").sessions)
    cells = sorted({row["cell_id"] for row in rows})
    places = {cell: f"C{i % 3}" for i, cell in enumerate(cells)}
    return _write(folder / "three.csv", [row | {"cell_id": places[row["cell_id"]]} for row in rows])


@pytest.fixture(scope="module")
def base(sessions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run; tests do not write into it."""
    return _run(tmp_path_factory.mktemp("base") / "ws", sessions, (*STUDIES, "memo", "peaks"), None).resolve()


@pytest.fixture(scope="module")
def key(base: Path) -> bytes:
    return (base.parents[1] / "keys" / "pseudonyms.key").read_bytes()


def _column(base: Path, table: str, *names: str) -> list[tuple[Any, ...]]:
    found = pq.read_table(base / "tables" / f"{table}.parquet", columns=list(names))
    return list(zip(*(found[name].to_pylist() for name in names), strict=True))


def _commonest(base: Path, table: str, column: str, place: int = 0) -> Any:
    counted = pc.value_counts(pq.read_table(base / "tables" / f"{table}.parquet")[column]).to_pylist()
    named = [one for one in counted if one["values"] is not None]
    return sorted(named, key=lambda one: (-one["counts"], one["values"]))[place]["values"]


def _service(base: Path) -> tuple[Filters, set[str]]:
    """Two manufacturers and the better served: who they are by the published tables."""
    makers = tuple(_commonest(base, "profiles", "handset_manufacturer", i) for i in (0, 1))
    served = dict(_column(base, "satisfaction", "subscriber_id", "experience_cluster"))
    chosen = _column(base, "profiles", "subscriber_id", "handset_manufacturer")
    who = {one for one, maker in chosen if maker in makers and served[one] in (1, 2)}
    return Filters(manufacturers=makers, experience_clusters=(1, 2)), who


def _use(base: Path) -> tuple[Filters, set[str]]:
    """Two segments, the less engaged, with any of some handsets."""
    names = tuple(_commonest(base, "segments", "segment_name", i) for i in (0, 1))
    handsets = tuple(_commonest(base, "profiles", "handset", i) for i in range(6))
    segment = dict(_column(base, "segments", "subscriber_id", "segment_name"))
    engaged = dict(_column(base, "satisfaction", "subscriber_id", "engagement_cluster"))
    who = {
        one
        for one, handset in _column(base, "profiles", "subscriber_id", "handset")
        if handset in handsets and segment[one] in names and engaged[one] in (0, 1)
    }
    return Filters(segments=names, handsets=handsets, engagement_clusters=(0, 1)), who


Subset = tuple[Filters, Results, int]


@pytest.fixture(scope="module", params=[_service, _use], ids=["service", "use"])
def subset(
    request: pytest.FixtureRequest, base: Path, sessions: Path, key: bytes, tmp_path_factory: Any
) -> Subset:
    """Filters, and a run over the sessions of those whom they leave, by the parameters of the whole run."""
    filters, who = request.param(base)
    folder = tmp_path_factory.mktemp("subset")
    own = [row for row in _rows(sessions) if pseudonym(row["msisdn"], key) in who]
    some = _write(folder / "some.csv", own)
    return filters, Results(_run(folder / "ws", some, STUDIES, key, parameters_from=str(base))), len(who)


def _alike(one: Any, other: Any) -> bool:
    return bool(one == (pytest.approx(other, rel=1e-9, abs=1e-9) if isinstance(other, float) else other))


@pytest.mark.parametrize("question", OF_PEOPLE)
def test_an_answer_is_that_of_a_run_over_those_subscribers(base: Path, subset: Subset, question: str) -> None:
    filters, expected, count = subset
    found, own = pipeline.answer(base, question, filters), expected.answer(question)
    assert found.rows
    rows, wanted = found.rows, own.rows
    if question == "engagement.top_subscribers":  # equally many sessions: one of several may come tenth
        rows, wanted = ([{r["metric"]: r[r["metric"]]} for r in some] for some in (rows, wanted))
    assert [list(row) for row in rows] == [list(row) for row in wanted]
    for row, other in zip(rows, wanted, strict=True):
        assert {name for name in row if not _alike(row[name], other[name])} == set()
    assert found.reading[0].startswith(f"Only {count:,} subscribers are looked at: {filters.said()}.")
    last = -1 if question == "engagement.top_subscribers" else None
    assert found.reading[1:][:last] == own.reading[:last]
    assert (found.chart, found.group_size) == (own.chart, own.group_size)


def test_segments_of_other_people_than_the_profiles_are_joined(base: Path, tmp_path: Path) -> None:
    """Such as those of a table of subscribers: who has no segment is in none."""
    shutil.copytree(base, tmp_path / "run")
    name = _commonest(base, "segments", "segment_name")
    path = tmp_path / "run" / "tables" / "segments.parquet"
    table = pq.read_table(path)
    first = pc.index(table["segment_name"], name).as_py()
    pq.write_table(pa.concat_tables([table.slice(0, first), table.slice(first + 1)]), path)
    count = sum(one == name for (one,) in _column(base, "segments", "segment_name"))
    for run, left in ((base, count), (tmp_path / "run", count - 1)):
        for question in ("satisfaction.top", "segments.overview"):
            found = pipeline.answer(run, question, Filters(segments=(name,)))
            assert found.reading[0].startswith(f"Only {left:,} subscribers are looked at: segment {name}.")
            assert "segment_name" not in found.columns or question == "segments.overview"


def test_which_questions_can_be_filtered_by_what() -> None:
    assert {
        one: pipeline.filterable(one) for one in FILTERED if not pipeline.filterable(one) & SUBSCRIBERS
    } == {
        "engagement.capacity_cells": HOURS | {"application"},
        "engagement.capacity_hours": HOURS | {"application"},
        "overview.times": HOURS,
        **{
            f"overview.{name}": {"period"}
            for name in ("handsets", "manufacturer_handsets", "manufacturers", "unknown_handsets")
        },
        **{f"peaks.sessions_{name}": HOURS | {"application"} for name in ("busy_hours", "heatmap")},
        **{f"peaks.flows_{name}": FLOWS for name in ("busy_hours", "heatmap")},
        **{
            f"traffic.{name}": FLOWS for name in ("categories", "exporters", "protocols", "rates", "services")
        },
    }
    assert OF_PEOPLE == [
        "engagement.application_totals", "engagement.capacity_clusters", "engagement.clusters",
        "engagement.personas", "engagement.top_application_subscribers", "engagement.top_subscribers",
        "experience.clusters", "experience.retransmission_by_handset", "experience.throughput_by_handset",
        "overview.application_deciles", "overview.applications", "overview.correlation",
        "overview.duration_deciles", "overview.marketing", "overview.subscribers", "satisfaction.clusters",
        "satisfaction.distribution", "satisfaction.retention", "satisfaction.score_and_index",
        "satisfaction.served", "satisfaction.service_levels", "satisfaction.top", "segments.overview",
    ]  # fmt: skip
    for question in (
        "engagement.elbow",
        "overview.coverage",
        "segments.choice",
        "traffic.methods",
        "none.such",
    ):
        assert pipeline.filterable(question) == frozenset()


def test_no_word_of_a_filtered_answer_speaks_of_everybody(base: Path) -> None:
    whole = Filters(engagement_clusters=(0, 1, 2))
    for question in OF_PEOPLE:
        found = pipeline.answer(base, question, whole)
        told = " ".join([*found.reading[1:], *found.notes])
        assert not [
            word
            for word in ("all subscribers", "population's", "the population", "of all data")
            if word in told
        ], question


def test_one_group_alone_is_not_compared(base: Path) -> None:
    engaged = pipeline.answer(base, "engagement.capacity_clusters", Filters(engagement_clusters=(1,)))
    assert {row["against_others"] for row in engaged.rows} == {"there are no others"}
    assert all("everybody is in cluster 1, where" in one for one in engaged.reading[1:])
    served = pipeline.answer(base, "experience.clusters", Filters(experience_clusters=(2,)))
    assert [row["description"] for row in served.rows] == ["there are no others to compare with"]
    assert "against all others" not in served.reading[1]
    handset = _commonest(base, "profiles", "handset")
    used = pipeline.answer(base, "experience.throughput_by_handset", Filters(handsets=(handset,)))
    assert [row["against_others"] for row in used.rows] == ["there are no others"]
    assert "There are no other handsets to compare with." in used.reading
    maker = _commonest(base, "profiles", "handset_manufacturer")
    made = pipeline.answer(base, "overview.marketing", Filters(manufacturers=(maker,)))
    assert made.reading[1:] == (
        "No manufacturer can be compared: it or all others have too few subscribers.",
    )


def test_without_filters_an_answer_is_the_published_one(base: Path) -> None:
    results = Results(base)
    for study in results.studies():
        for own in results.answers(study):
            assert pipeline.answer(base, own.id, Filters()) == own


def test_several_questions_are_answered_as_each_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = _commonest(base, "segments", "segment_name")
    filters = Filters(segments=(name,))
    asked = [
        "overview.subscribers",
        "satisfaction.top",
        "overview.times",
        "segments.overview",
        "overview.coverage",
    ]
    alone: dict[str, Any] = {}
    for question in asked:
        try:
            alone[question] = pipeline.answer(base, question, filters)
        except FilterError as error:
            alone[question] = str(error)
    opened: list[Any] = []
    told: dict[str, Any] = {}

    def counted(*arguments: Any, **named: Any) -> Any:
        opened.append(arguments)
        return open_store(*arguments, **named)

    monkeypatch.setattr(answering, "open_store", counted)
    found = pipeline.answers(base, asked, filters, told.__setitem__)
    assert len(opened) == 1
    assert found == told
    assert list(found) == asked
    assert {id: str(one) if isinstance(one, FilterError) else one for id, one in found.items()} == alone
    assert [id for id, one in found.items() if isinstance(one, FilterError)] == asked[2::2]


def test_each_question_says_why_nobody_is_looked_at(base: Path) -> None:
    found = pipeline.answers(base, OF_PEOPLE, Filters(handsets=("Abacus 1",)))
    assert list(found) == OF_PEOPLE
    assert {getattr(one, "what", one) for one in found.values()} == {"the run has no such handset"}
    with pytest.raises(NotFoundError):
        pipeline.answers(base, ["overview.subscribers", "none.such"], Filters(engagement_clusters=(0,)))


def test_without_filters_several_answers_are_the_published_ones(base: Path) -> None:
    own = {one.id: one for one in Results(base).answers("overview")}
    assert pipeline.answers(base, own, Filters()) == own


def test_questions_by_hour_share_their_rows(base: Path) -> None:
    asked = ["overview.times", "engagement.capacity_hours"]
    filters = Filters(FIRST, LAST)
    assert pipeline.answers(base, asked, filters) == {id: pipeline.answer(base, id, filters) for id in asked}


# Hours, cells, applications


def _at(row: Mapping[str, str]) -> tuple[str, int]:
    return row["start_at"][:10], int(row["start_at"][11:13])


def _by_hour(rows: list[dict[str, str]], kept: Callable[[dict[str, str]], bool]) -> dict[int, dict[str, Any]]:
    """Sessions by hour, and the most distinct numbers of any one date (and cell) in it."""
    found: dict[int, dict[str, Any]] = {}
    for row in filter(kept, rows):
        day, hour = _at(row)
        entry = found.setdefault(hour, {"sessions": 0, "people": {}})
        entry["sessions"] += 1
        entry["people"].setdefault(day, set()).add(row["msisdn"])
    return {
        hour: {"sessions": entry["sessions"], "least": max(map(len, entry["people"].values()))}
        for hour, entry in found.items()
    }


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (Filters(FIRST, LAST), "3 to 4 March 2026"),
        (Filters(cells=("C1",)), "cell C1"),
        (Filters(first_date=LAST, cells=("C2",)), "cell C2; from 4 March 2026 on"),
    ],
)
def test_sessions_by_hour_are_those_of_the_part(
    base: Path, sessions: Path, filters: Filters, said: str
) -> None:
    def kept(row: dict[str, str]) -> bool:
        day = date.fromisoformat(row["start_at"][:10])
        held = (filters.first_date or day) <= day <= (filters.last_date or day)
        return held and (not filters.cells or row["cell_id"] in filters.cells)

    expected = _by_hour(_rows(sessions), kept)
    found = pipeline.answer(base, "overview.times", filters)
    assert found.reading[0] == f"Only a part of the sessions is looked at: {said}."
    assert found.facts["session_count"] == sum(entry["sessions"] for entry in expected.values())
    assert [row["local_hour"] for row in found.rows] == list(range(24))
    shown = {row["local_hour"]: row for row in found.rows if row["session_count"] is not None}
    large = {hour for hour, entry in expected.items() if entry["least"] >= SETTINGS.minimum_group}
    # One more may be hidden, so that a total does not tell the only small one.
    assert set(shown) <= large
    assert len(large - set(shown)) <= 1
    assert shown
    for hour, row in shown.items():
        assert (row["session_count"], row["least_subscriber_count"]) == (
            expected[hour]["sessions"], expected[hour]["least"],
        )  # fmt: skip
    assert "subscriber_count" not in found.columns


def test_small_hours_are_hidden(base: Path, sessions: Path) -> None:
    day = Filters(FIRST, FIRST, cells=("C0",))
    expected = _by_hour(
        _rows(sessions), lambda row: row["cell_id"] == "C0" and row["start_at"][:10] == str(FIRST)
    )
    small = {hour for hour, entry in expected.items() if entry["least"] < SETTINGS.minimum_group}
    found = pipeline.answer(base, "overview.times", day)
    hidden = {row["local_hour"] for row in found.rows if row["session_count"] is None}
    assert small
    assert hidden >= small
    assert any("groups are not shown" in note for note in found.notes)


def test_volumes_by_hour_are_those_of_the_part(base: Path, sessions: Path) -> None:
    filters = Filters(FIRST, LAST, applications=("gaming",))
    volumes = dict.fromkeys(range(24), 0)
    people: dict[tuple[str, int], set[str]] = {}
    for row in _rows(sessions):
        day, hour = _at(row)
        volume = int(row["app_gaming_dl_bytes"])
        if str(FIRST) <= day <= str(LAST):
            volumes[hour] += volume
            if volume:
                people.setdefault((day, hour), set()).add(row["msisdn"])
    found = pipeline.answer(base, "engagement.capacity_hours", filters)
    assert {row["application"] for row in found.rows} == {"Gaming"}
    shown = [row for row in found.rows if row["dl_bytes"] is not None]
    assert len(shown) > 12
    for part in shown:
        at = part["local_hour"]
        assert part["dl_bytes"] == volumes[at]
        assert part["dl_share"] == pytest.approx(volumes[at] / sum(volumes.values()))
        assert part["least_subscriber_count"] == max(len(who) for (_, h), who in people.items() if h == at)


def test_all_days_have_the_volumes_of_the_published_answer(base: Path) -> None:
    """A period that holds every session: only how many subscribers there are is known less well."""
    own, whole = Results(base), Filters(first_date=date(2000, 1, 1))
    for question in ("overview.times", "engagement.capacity_hours"):
        found, published = pipeline.answer(base, question, whole), own.answer(question)
        for row, other in zip(found.rows, published.rows, strict=True):
            assert (row["least_subscriber_count"] or 0) <= (other["subscriber_count"] or 0)
            same = {name: value for name, value in row.items() if name != "least_subscriber_count"}
            assert all(value in (other[name], None) for name, value in same.items())


# What cannot be looked at


@pytest.mark.parametrize(
    ("question", "filters", "told"),
    [
        ("experience.filled", Filters(handsets=("x",)), "experience.filled cannot be filtered by handset"),
        ("overview.times", Filters(segments=("Gold",)), "overview.times cannot be filtered by segment"),
        (
            "satisfaction.top", Filters(FIRST, cells=("C0",)),
            "satisfaction.top cannot be filtered by period or cell",
        ),
        ("peaks.sessions_segments", Filters(FIRST), "peaks.sessions_segments cannot be filtered by period"),
        ("memo.handset", Filters(FIRST), None),
        (
            "engagement.application_totals", Filters(FIRST, segments=("Gold",), cells=("C0",)),
            "engagement.application_totals cannot be filtered by period and cell and by segment at once",
        ),
        ("satisfaction.top", Filters(handsets=("Nokia 3310",)), "the run has no such handset"),
        ("satisfaction.top", Filters(segments=("Gold", "Tin")), "the run has no such segment"),
        ("satisfaction.top", Filters(engagement_clusters=(3,)), "the run has no such engagement cluster"),
        ("segments.overview", Filters(segments=("Tin",)), "the run has no such segment"),
        ("overview.times", Filters(cells=("C9",)), "the run has no such cell"),
        ("engagement.capacity_hours", Filters(applications=("fax",)), "the run has no such application"),
        ("overview.times", Filters(LAST, FIRST), "the period ends before it begins"),
        ("overview.times", Filters(date(2031, 1, 1)), "fewer than 15 subscribers are left"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_says_so(
    base: Path, question: str, filters: Filters, told: str | None
) -> None:
    if told is None:
        study = question.partition(".")[0]
        question = Results(base).answers(study)[0].id
        told = f"{question} cannot be filtered by period"
    with pytest.raises(FilterError) as failed:
        pipeline.answer(base, question, filters)
    assert failed.value.what == told
    assert isinstance(failed.value, InputError)
    assert failed.value.exit_code == 3


@pytest.mark.parametrize(
    ("question", "kinds", "why"),
    [
        ("overview.times", ["period", "segment"], "sums by hour, which do not say whose they are"),
        ("traffic.services", ["handset"], "sums by hour, which do not say whose they are"),
        ("satisfaction.top", ["period"], "told from profiles, which do not say when or where"),
        ("overview.handsets", ["cell"], "it can be filtered by period"),
        ("engagement.application_totals", ["period", "segment"], "and profiles do not say when or where"),
        ("experience.filled", ["period"], "read from records or from a fit"),
    ],
)
def test_why_a_question_cannot_be_filtered_is_said(question: str, kinds: list[str], why: str) -> None:
    assert why in pipeline.why_not(question, kinds)
    assert pipeline.why_not(question, []) == ""


def test_filters_of_subscribers_and_of_hours_are_not_combined(base: Path) -> None:
    question, name = "engagement.application_totals", _commonest(base, "segments", "segment_name")
    assert pipeline.answer(base, question, Filters(segments=(name,))).rows
    assert pipeline.answer(base, question, Filters(FIRST)).rows
    with pytest.raises(FilterError) as failed:
        pipeline.answer(base, question, Filters(FIRST, segments=(name,)))
    assert failed.value.what == f"{question} cannot be filtered by period and by segment at once"
    assert "do not say whose they are" in str(failed.value)


def test_a_question_that_is_none_is_not_found(base: Path) -> None:
    with pytest.raises(NotFoundError):
        pipeline.answer(base, "satisfaction.nothing", Filters(FIRST))


def test_too_few_are_not_counted(base: Path) -> None:
    """A handset and a segment that a few share, and one that nobody does: the same words, and no number."""
    segment = dict(_column(base, "segments", "subscriber_id", "segment_name"))
    counts: dict[tuple[Any, Any], int] = {}
    for one, handset in _column(base, "profiles", "subscriber_id", "handset"):
        counts[segment[one], handset] = counts.get((segment[one], handset), 0) + 1
    few = next(pair for pair, count in sorted(counts.items(), key=lambda item: item[1]) if None not in pair)
    assert 0 < counts[few] < SETTINGS.minimum_group
    for question in ("satisfaction.clusters", "segments.overview"):
        with pytest.raises(FilterError) as failed:
            pipeline.answer(base, question, Filters(segments=few[:1], handsets=few[1:]))
        assert failed.value.what == "fewer than 15 subscribers are left"
        assert failed.value.found is None


@pytest.mark.parametrize(
    "value",
    [
        "' OR 1=1 --",
        "x'); DROP TABLE written; --",
        "handset",
        "subscriber_id",
        '"',
        "%",
        "\\",
        "a\nb",
        "日本",
    ],
)
def test_a_value_is_a_value_and_nothing_else(base: Path, value: str) -> None:
    questions = {"handsets": "satisfaction.top", "segments": "satisfaction.top", "cells": "overview.times"}
    for field, question in questions.items():
        with pytest.raises(FilterError, match="the run has no such"):
            pipeline.answer(base, question, Filters(**{field: (value,)}))  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="the run has no such application"):
        pipeline.answer(base, "engagement.capacity_hours", Filters(applications=(value,)))


def test_groups_too_small_to_show_are_hidden(base: Path) -> None:
    """Of the handset's subscribers, a group of fewer than 15 keeps its labels and loses its numbers."""
    handset = next(
        one
        for i in range(6, 20)
        if (one := _commonest(base, "profiles", "handset", i))
        and 0
        < min(_clusters_of(base, one).values())
        < SETTINGS.minimum_group
        <= sum(_clusters_of(base, one).values())
    )
    counts = _clusters_of(base, handset)
    found = pipeline.answer(base, "engagement.clusters", Filters(handsets=(handset,)))
    shown = {row["engagement_cluster"]: row["subscriber_count"] for row in found.rows}
    assert set(shown) == set(counts)
    hidden = {number for number, count in shown.items() if count is None}
    assert hidden >= {number for number, count in counts.items() if count < SETTINGS.minimum_group}
    assert {number: count for number, count in shown.items() if count is not None} == {
        number: count for number, count in counts.items() if number not in hidden
    }
    small = [number for number, count in counts.items() if count < SETTINGS.minimum_group]
    assert not any(f"Cluster {number} holds" in one for one in found.reading for number in small)


def _clusters_of(base: Path, handset: str) -> dict[int, int]:
    cluster = dict(_column(base, "satisfaction", "subscriber_id", "engagement_cluster"))
    counts: dict[int, int] = {}
    for one, name in _column(base, "profiles", "subscriber_id", "handset"):
        if name == handset:
            counts[cluster[one]] = counts.get(cluster[one], 0) + 1
    return counts


def test_a_study_that_looks_at_sessions_is_told(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(answering._questions())
    reader = known["experience.filled"]
    assert isinstance(reader, Question)
    wrong = replace(reader, filters=SUBSCRIBERS)
    monkeypatch.setattr(answering, "_questions", lambda: {**known, wrong.id: wrong})
    with pytest.raises(RuntimeError, match="cannot look at sessions"):
        pipeline.answer(base, wrong.id, Filters(engagement_clusters=(0,)))


# What there is to choose from


def test_choices_are_kept_with_the_run(base: Path, tmp_path: Path) -> None:
    assert (base / "choices.json").exists()
    older = shutil.copytree(base, tmp_path / "older", ignore=shutil.ignore_patterns("choices.json"))
    assert pipeline.choices(base) == pipeline.choices(older)
    for damaged in ("", '{"handset": [', "[1]", '{"handset": 1}'):
        (older / "choices.json").write_text(damaged)
        assert pipeline.choices(base) == pipeline.choices(older)


def test_choices_are_what_is_there_and_large_enough(base: Path) -> None:
    found = pipeline.choices(base)
    assert list(found) == [kind for kind in KINDS if kind not in ("category", "site")]
    tables = {
        "segment": ("segments", "segment_name"),
        "manufacturer": ("profiles", "handset_manufacturer"),
        "handset": ("profiles", "handset"),
        "engagement_cluster": ("satisfaction", "engagement_cluster"),
        "experience_cluster": ("satisfaction", "experience_cluster"),
    }
    for kind, (table, column) in tables.items():
        counted = pc.value_counts(pq.read_table(base / "tables" / f"{table}.parquet")[column]).to_pylist()
        wanted = {str(one["values"]): one["counts"] for one in counted if one["values"] is not None}
        wanted = {value: count for value, count in wanted.items() if count >= SETTINGS.minimum_group}
        assert {one.value: one.subscriber_count for one in found[kind]} == wanted, kind
        counts = [one.subscriber_count for one in found[kind]]
        assert counts == sorted(counts, key=lambda count: -(count or 0))
    assert {one.value for one in found["cell"]} == {"C0", "C1", "C2"}
    assert {one.value for one in found["period"]} == {f"2026-03-0{day}" for day in range(2, 6)}
    apps = json.loads((base / "manifest.json").read_text())["applications"]
    assert [(one.value, one.label, one.subscriber_count) for one in found["application"]] == [
        (app["slug"], app["name"], None) for app in apps
    ]


def test_a_run_without_sums_by_hour_says_so(base: Path, tmp_path: Path) -> None:
    """Such as one that was published before there were filters."""
    shutil.copytree(base, tmp_path / "run", ignore=shutil.ignore_patterns("choices.json"))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    for name in ("usage_hours", "usage_cells", "segments"):
        del manifest["tables"][name]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    assert not {"period", "cell", "segment"} & set(pipeline.choices(tmp_path / "run"))
    with pytest.raises(FilterError, match="no sums by hour"):
        pipeline.answer(tmp_path / "run", "overview.times", Filters(FIRST))
    with pytest.raises(FilterError, match="no segment to filter by"):
        pipeline.answer(tmp_path / "run", "satisfaction.top", Filters(segments=("Gold",)))


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (Filters(), ""),
        (Filters(date(2019, 4, 2), date(2019, 4, 9), segments=("Gold",)), "segment Gold; 2 to 9 April 2019"),
        (Filters(date(2019, 3, 28), date(2019, 4, 2)), "28 March to 2 April 2019"),
        (Filters(date(2018, 12, 30), date(2019, 1, 2)), "30 December 2018 to 2 January 2019"),
        (Filters(date(2019, 4, 2), date(2019, 4, 2)), "2 April 2019"),
        (Filters(last_date=date(2019, 4, 9)), "until 9 April 2019"),
        (
            Filters(engagement_clusters=(0, 2), applications=("web", "web")),
            "engagement cluster 0 or 2; application web",
        ),
        (Filters(cells=tuple("abcdefg")), "cell a, b, c, d or 3 more"),
        (Filters(categories=("Video", "Web"), sites=("bras-1",)), "category Video or Web; site bras-1"),
    ],
)  # fmt: skip
def test_filters_say_themselves(filters: Filters, said: str) -> None:
    assert filters.said() == said


def test_the_kinds_of_filters_are_in_order() -> None:
    every = Filters(FIRST, LAST, ("a",), ("b",), ("c",), (0,), (1,), ("d",), ("e",), ("f",), ("g",))
    assert every.kinds() == KINDS
    assert Filters(cells=("e",), last_date=LAST).kinds() == ("period", "cell")
    assert Filters(engagement_clusters=(0,)).kinds() == ("engagement_cluster",)
    assert Filters().kinds() == ()


def test_a_subscriber_is_found_beside_sums_by_hour(base: Path, key: bytes) -> None:
    (first,) = _column(base, "profiles", "subscriber_id")[0]
    held = Results(base).subscriber(first, key)
    assert held["subscriber_id"] == first
    assert "local_hour" not in held
