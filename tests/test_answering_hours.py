"""Answers about sessions filtered by time, place and application: those of a run over that part only."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from subsight import pipeline
from subsight.errors import FilterError
from subsight.pipeline import Filters
from subsight.results import Results
from subsight.settings import Settings
from subsight.simulate import Operator, simulate
from subsight.workspace import Workspace

MADRID = ZoneInfo("Europe/Madrid")
# Over 29 March, when Madrid's clock went forward.
OPERATOR = Operator(subscribers=900, sessions=9_000, days=4, seed=5, starts_on=date(2026, 3, 27))
SETTINGS = Settings(time_zone="Europe/Madrid", minimum_group=1, starts=1)
FIRST, LAST = date(2026, 3, 28), date(2026, 3, 29)
LEAST = "least_subscriber_count"
QUESTIONS = (
    "engagement.application_totals", "engagement.capacity_cells", "engagement.capacity_hours",
    "overview.times", "peaks.sessions_busy_hours", "peaks.sessions_heatmap",
)  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _run(folder: Path, sessions: Path) -> Path:
    workspace = Workspace.create(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", "k" * 32)
        return pipeline.run(workspace, [sessions], SETTINGS, studies=("overview", "engagement", "peaks"))


def _local(row: dict[str, str]) -> datetime:
    at = datetime.fromisoformat(row["start_at"])
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(MADRID)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of an operator with twelve cells."""
    folder = tmp_path_factory.mktemp("operator")
    rows = _rows(simulate(OPERATOR, folder, file_format="csv").sessions)
    cells = sorted({row["cell_id"] for row in rows})
    places = {cell: f"C{i % 12}" for i, cell in enumerate(cells)}
    return _write(folder / "twelve.csv", [row | {"cell_id": places[row["cell_id"]]} for row in rows])


@pytest.fixture(scope="module")
def base(sessions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run; tests do not write into it."""
    return _run(tmp_path_factory.mktemp("base") / "ws", sessions).resolve()


PARTS = {
    "day": (Filters(FIRST, FIRST), lambda row: _local(row).date() == FIRST),
    "period": (Filters(FIRST, LAST), lambda row: FIRST <= _local(row).date() <= LAST),
    "cells": (Filters(cells=("C1", "C4", "C7")), lambda row: row["cell_id"] in ("C1", "C4", "C7")),
    "both": (
        Filters(first_date=LAST, cells=("C2", "C3")),
        lambda row: row["cell_id"] in ("C2", "C3") and _local(row).date() >= LAST,
    ),
}


@pytest.fixture(scope="module", params=list(PARTS))
def part(
    request: pytest.FixtureRequest, sessions: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Filters, Results]:
    """Filters, and a run over the sessions that they leave."""
    filters, is_kept = PARTS[request.param]
    folder = tmp_path_factory.mktemp("part")
    some = _write(folder / "some.csv", [row for row in _rows(sessions) if is_kept(row)])
    return filters, Results(_run(folder / "ws", some))


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_that_of_a_run_over_those_sessions(
    base: Path, part: tuple[Filters, Results], question: str
) -> None:
    filters, expected = part
    found, own = pipeline.answer(base, question, filters), expected.answer(question)
    assert found.rows
    # What a subscriber has is not known where subscribers are not told apart.
    lost = {"subscriber_count", "mean_total_bytes"}
    assert [[name for name in row if name != LEAST] for row in found.rows] == [
        [name for name in row if name not in lost] for row in own.rows
    ]
    for row, other in zip(found.rows, own.rows, strict=True):
        assert 0 <= row[LEAST] <= other["subscriber_count"]
        for name in set(row) - {LEAST}:
            value = other[name]
            assert row[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name
    assert found.reading[0] == f"Only a part of the sessions is looked at: {filters.said()}."
    if question == "engagement.application_totals":
        assert [one.rpartition(", for")[0] for one in found.reading[1:]] == [
            one.rpartition(", for")[0] for one in own.reading[:3]
        ]
        assert all(", for at least " in one for one in found.reading[1:])
    else:
        reading = [one.replace("All that is looked at", "All traffic") for one in found.reading[1:]]
        assert tuple(reading) == own.reading
    assert (found.chart, found.group_size) == (own.chart, LEAST)
    assert {**found.facts} == pytest.approx(own.facts)


OF_HANDSETS = ("handsets", "manufacturer_handsets", "manufacturers", "unknown_handsets")
LOST = {"subscriber_count", "subscriber_share", "rank_by_subscribers"}
"""What is not known of a part in which subscribers are not told apart."""


@pytest.mark.parametrize("name", OF_HANDSETS)
def test_handsets_of_a_period_are_those_of_a_run_over_it(
    base: Path, part: tuple[Filters, Results], name: str
) -> None:
    filters, expected = part
    if filters.cells:
        with pytest.raises(FilterError, match=f"overview.{name} cannot be filtered by"):
            pipeline.answer(base, f"overview.{name}", filters)
        return
    found, own = pipeline.answer(base, f"overview.{name}", filters), expected.answer(f"overview.{name}")
    wanted = [row for row in own.rows if row.get("ranked_by") != "subscribers"]
    assert wanted
    assert [{k: v for k, v in row.items() if k != LEAST} for row in found.rows] == [
        {k: v for k, v in row.items() if k not in LOST} for row in wanted
    ]
    for row, other in zip(found.rows, wanted, strict=True):
        assert 0 <= row[LEAST] <= other["subscriber_count"]
        if filters.first_date == filters.last_date and name in ("handsets", "manufacturer_handsets"):
            assert row[LEAST] == other["subscriber_count"]
    assert found.facts == own.facts
    assert _of_sessions(found.reading[1:]) == _of_sessions(own.reading)
    assert not any("more than 100 %" in note for note in found.notes)


def _of_sessions(reading: tuple[str, ...]) -> list[str]:
    """Sentences without what they tell of subscribers."""
    untold = ("has most subscribers", "have most subscribers", "Sessions and subscribers rank")
    return [
        re.sub(r"(at least )?\d+ subscribers? name", "name", one.partition("; by subscribers")[0]).rstrip(".")
        for one in reading
        if not any(text in one for text in untold)
    ]


def test_sums_are_those_of_the_sessions(base: Path, sessions: Path) -> None:
    tables = {
        "usage_hours": lambda row: (_local(row).date(), _local(row).hour),
        "usage_cells": lambda row: (_local(row).date(), _local(row).hour, row["cell_id"]),
        "usage_cell_days": lambda row: (_local(row).date(), row["cell_id"]),
    }
    for name, key in tables.items():
        counts: Counter[Any] = Counter()
        people: dict[Any, set[str]] = {}
        for row in _rows(sessions):
            at = key(row)
            counts[at, "session_count"] += 1
            people.setdefault((at, "subscriber_count"), set()).add(row["msisdn"])
            for column in ("app_gaming_dl_bytes", "app_gaming_ul_bytes"):
                counts[at, column] += int(row[column] or 0)
            if int(row["app_gaming_dl_bytes"] or 0):
                people.setdefault((at, "app_gaming_subscriber_count"), set()).add(row["msisdn"])
        found = Results(base).table(name).to_pylist()
        assert len(found) == len({at for at, _ in counts})
        for row in found:
            at = tuple(row[one] for one in ("local_date", "local_hour", "cell_id") if one in row)
            for column in ("session_count", "app_gaming_dl_bytes", "app_gaming_ul_bytes"):
                if column in row:
                    assert row[column] == counts[at, column], (name, column)
            for column in ("subscriber_count", "app_gaming_subscriber_count"):
                assert row[column] == len(people.get((at, column), ())), (name, column)
            if "hour_at" in row:
                local = row["hour_at"].astimezone(MADRID)
                assert (local.date(), local.hour, local.minute) == (*at[:2], 0)


def test_days_are_kept_of_cells_with_enough_subscribers(sessions: Path, tmp_path: Path) -> None:
    """Of a cell in which never so many were on one day, no answer could tell."""
    rows = _rows(sessions)
    kept = {row["msisdn"] for row in rows if row["cell_id"] == "C1"}
    few = sorted(kept)[:10]
    some = [row for row in rows if row["cell_id"] in ("C0", "C2") or row["msisdn"] in few]
    workspace = Workspace.create(tmp_path / "ws")
    settings = SETTINGS.model_copy(update={"minimum_group": 15})
    run = pipeline.run(workspace, [_write(tmp_path / "some.csv", some)], settings, studies=("engagement",))
    results = Results(run)
    assert {row["cell_id"] for row in results.table("usage_cells").to_pylist()} > {"C0", "C1", "C2"}
    held = results.table("usage_cell_days").to_pylist()
    assert {row["cell_id"] for row in held} == {"C0", "C2"}
    assert len(held) == 2 * len({_local(row).date() for row in some})
    found = pipeline.answer(run, "engagement.capacity_cells", Filters(FIRST, LAST))
    assert {row["cell_id"] for row in found.rows} == {"C0", "C2"}
    assert "Only the 2 cells with at least 15 subscribers on one day" in found.notes[0]


def test_peaks_of_an_application_are_those_of_its_volume(base: Path, sessions: Path) -> None:
    volumes: Counter[tuple[int, int]] = Counter()
    times: Counter[tuple[int, int]] = Counter()
    rows = [row for row in _rows(sessions) if FIRST <= _local(row).date() <= LAST]
    for row in rows:
        at = _local(row)
        for slug in ("gaming", "email"):
            volumes[at.weekday(), at.hour] += int(row[f"app_{slug}_dl_bytes"]) + int(
                row[f"app_{slug}_ul_bytes"]
            )
    at = datetime(2026, 3, 28, tzinfo=MADRID).astimezone(UTC)
    while (local := at.astimezone(MADRID)).date() <= LAST:
        times[local.weekday(), local.hour] += 1
        at += timedelta(hours=1)
    assert len(times) == 47  # on Sunday there was no 02:00
    filters = Filters(FIRST, LAST, applications=("gaming", "email"))
    found = pipeline.answer(base, "peaks.sessions_heatmap", filters)
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    told = {(days.index(row["weekday"]), int(row["hour"])): row["mean_bytes"] for row in found.rows}
    assert told == pytest.approx({key: volumes[key] / count for key, count in times.items()})
    table = {
        row["application"]: row for row in pipeline.answer(base, "peaks.sessions_busy_hours", filters).rows
    }
    assert set(table) == {"all", "Gaming", "Email"}
    assert table["all"]["mean_bytes"] == pytest.approx(sum(volumes.values()) / 47)


def test_an_application_has_the_cells_that_it_has_among_all(base: Path) -> None:
    own = [
        row
        for row in Results(base).answer("engagement.capacity_cells").rows
        if row["application"] == "Gaming"
    ]
    found = pipeline.answer(base, "engagement.capacity_cells", Filters(applications=("gaming",))).rows
    names = set(own[0]) - {"subscriber_count"}
    assert [{name: row[name] for name in names} for row in found] == [
        {name: row[name] for name in names} for row in own
    ]


def test_a_run_of_before_answers_what_it_could(copied: Callable[..., Path]) -> None:
    """One that does not say when an hour began: it is to be run again."""
    run = copied(lambda manifest: manifest["tables"].pop("usage_cell_days"))
    for question in QUESTIONS:
        if question in ("overview.times", "engagement.capacity_hours"):
            assert pipeline.answer(run, question, Filters(FIRST)).rows
            continue
        with pytest.raises(FilterError, match="no sums by hour") as failed:
            pipeline.answer(run, question, Filters(FIRST))
        assert "subsight run" in str(failed.value)


def test_peaks_of_other_sessions_than_the_sums_are_not_filtered(copied: Callable[..., Path]) -> None:
    run = copied(lambda manifest: manifest["areas"]["peaks"]["contents"].pop())
    with pytest.raises(FilterError, match="of different records"):
        pipeline.answer(run, "peaks.sessions_heatmap", Filters(FIRST))
