"""Filtered answers about flows: the same as of a run over those flows only; sums by hour as counted anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight import ingestion, pipeline
from subsight.errors import FilterError
from subsight.pipeline import Filters, answering
from subsight.results import Results
from subsight.settings import Settings
from subsight.simulate import FlowNetwork, SimulatedFlows, simulate_flows
from subsight.studies import FLOWS
from subsight.workspace import Workspace

ZONE = "Europe/Madrid"
# Every flow has a label, so that its category does not hang on how it would be classified.
NETWORK = FlowNetwork(subscribers=240, flows=40_000, days=14, first_day="2026-03-20", time_zone=ZONE,
                      labelled_share=1.0)  # fmt: skip
VIDEO = ("YouTube", "Netflix")
FIRST, LAST = date(2026, 3, 27), date(2026, 4, 1)
"""Over 29 March, when Madrid's clock went forward; of six days the last three have three before them."""
SETTINGS = Settings(time_zone=ZONE, minimum_group=1, period_days=3)
FILTERED = sorted(one for one in answering._questions() if pipeline.filterable(one) & {"site"})
LEAST = "least_subscriber_count"


def _run(folder: Path, flows: Path, leases: Path) -> Path:
    workspace = Workspace.create(folder / "ws")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", "k" * 32)
        ingestion.ingest(workspace, [leases], SETTINGS, kind="leases")
        ingestion.ingest(workspace, [flows], SETTINGS, kind="flows")
        return pipeline.run(workspace, settings=SETTINGS, studies=("traffic", "peaks")).resolve()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> SimulatedFlows:
    return simulate_flows(NETWORK, tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def base(network: SimulatedFlows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run; tests do not write into it."""
    return _run(tmp_path_factory.mktemp("base"), network.flows, network.leases)


def _day(at: datetime) -> date:
    return at.astimezone(ZoneInfo(ZONE)).date()


PARTS = {
    "period": (Filters(FIRST, LAST), lambda f: FIRST <= _day(f["first_seen_at"]) <= LAST),
    "category": (Filters(categories=("Video",)), lambda f: f["application"] in VIDEO),
    "site": (Filters(sites=("bras-2",)), lambda f: f["exporter"] == "bras-2"),
    "all": (
        Filters(first_date=FIRST, categories=("Video", "Social media"), sites=("bras-1", "bras-3")),
        lambda f: (
            _day(f["first_seen_at"]) >= FIRST
            and f["application"] in (*VIDEO, "Instagram")
            and f["exporter"] != "bras-2"
        ),
    ),
}


@pytest.fixture(scope="module", params=list(PARTS))
def part(
    request: pytest.FixtureRequest, network: SimulatedFlows, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Filters, Results]:
    """Filters, and a run over the flows that they leave."""
    filters, is_kept = PARTS[request.param]
    folder = tmp_path_factory.mktemp("part")
    table = pq.read_table(network.flows)
    kept = [is_kept(row) for row in table.to_pylist()]
    pq.write_table(table.filter(pa.array(kept)), folder / "some.parquet")
    return filters, Results(_run(folder, folder / "some.parquet", network.leases))


def _plain(text: str) -> str:
    for said, whole in (("all days looked at", "all days"), ("All that is looked at", "All traffic")):
        text = text.replace(said, whole)
    return text.replace("looked at", "seen")


@pytest.mark.parametrize("question", FILTERED)
def test_an_answer_is_that_of_a_run_over_those_flows(
    base: Path, part: tuple[Filters, Results], question: str
) -> None:
    filters, expected = part
    found, own = pipeline.answer(base, question, filters), expected.answer(question)
    assert found.rows
    assert [list(row) for row in found.rows] == [
        [LEAST if name == "subscriber_count" else name for name in row] for row in own.rows
    ]
    for row, other in zip(found.rows, own.rows, strict=True):
        assert 0 <= row[LEAST] <= other["subscriber_count"]
        assert (row[LEAST] == 0) == (other["subscriber_count"] == 0)
        for name in set(row) - {LEAST}:
            value = "all days looked at" if other[name] == "all days" else other[name]
            assert row[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name
    assert found.reading[0] == f"Only a part of the flows is looked at: {filters.said()}."
    assert tuple(map(_plain, found.reading[1:])) == own.reading
    assert tuple(map(_plain, found.notes[:2])) == own.notes[:2]
    assert (found.chart, found.facts, found.group_size) == (own.chart, own.facts, LEAST)


def test_which_questions_can_be_filtered_by_what() -> None:
    assert FILTERED == [
        "peaks.flows_busy_hours", "peaks.flows_heatmap", "traffic.categories", "traffic.exporters",
        "traffic.protocols", "traffic.rates", "traffic.services",
    ]  # fmt: skip
    assert {pipeline.filterable(one) for one in FILTERED} == {FLOWS}


def test_something_is_compared_within_the_period(base: Path) -> None:
    found = pipeline.answer(base, "traffic.categories", PARTS["period"][0])
    assert "the period is 2026-03-30 to 2026-04-01, against 2026-03-27 to 2026-03-29." in found.notes[0]
    assert any("change_share" in row for row in found.rows)
    single = pipeline.answer(base, "traffic.categories", Filters(FIRST, FIRST))
    assert single.reading[-1].endswith("of which all 3 days were looked at: nothing is compared.")


@pytest.mark.parametrize(("as_of", "last"), [("2026-03-30", "2026-03-30"), ("2026-03-21", "2026-04-01")])
def test_the_period_ends_on_the_day_that_the_run_counts_from(
    copied: Callable[..., Path], as_of: str, last: str
) -> None:
    """Where that is among the days that are looked at; else on the last of them."""
    run = copied(lambda manifest: manifest.update(as_of=as_of))
    note = pipeline.answer(run, "traffic.categories", PARTS["period"][0]).notes[0]
    assert note.startswith("Volumes of all days, 2026-03-27 to 2026-04-01; the period is ")
    assert f" to {last}, " in note


def test_sums_by_hour_are_those_of_the_usage(base: Path) -> None:
    (path,) = (base.parents[1] / "partials" / "flows").glob("*usage*.parquet")
    keys = ("local_date", "local_hour", "hour_at", "category", "service", "protocol", "exporter")
    expected: dict[tuple[Any, ...], list[Any]] = {}
    for row in pq.read_table(path).to_pylist():
        entry = expected.setdefault(tuple(row[key] for key in keys), [0, 0, 0, set()])
        for place, name in enumerate(("flow_count", "dl_bytes", "ul_bytes")):
            entry[place] += row[name]
        entry[3] |= {row["subscriber_id"]} - {None}
    found = Results(base).table("usage_flows").to_pylist()
    sums = ("flow_count", "dl_bytes", "ul_bytes", "subscriber_count")
    assert len(found) == len(expected)
    for row in found:
        *numbers, people = expected[tuple(row[key] for key in keys)]
        assert [row[name] for name in sums] == [*numbers, len(people)]
    assert {name for row in found for name in row} == {*keys, *sums}


def test_a_category_has_the_busy_hour_that_it_has_among_all(base: Path) -> None:
    own = {row["category"]: row for row in Results(base).answer("peaks.flows_busy_hours").rows}
    for category in set(own) - {"all"}:
        found = pipeline.answer(base, "peaks.flows_busy_hours", Filters(categories=(category,))).rows
        assert [row["category"] for row in found] == ["all", category]
        for row in found:
            same = set(row) - {LEAST, "category"}
            assert {name: row[name] for name in same} == {name: own[category][name] for name in same}


def test_small_groups_are_hidden(base: Path, copied: Callable[..., Path]) -> None:
    run = copied(lambda manifest: manifest["settings"].update(minimum_group=15))
    evening = Filters(FIRST, LAST)
    sizes = [row[LEAST] for row in pipeline.answer(base, "peaks.flows_heatmap", evening).rows]
    found = pipeline.answer(run, "peaks.flows_heatmap", evening).rows
    hidden = [row["mean_bytes"] is None for row in found]
    assert 10 < sum(hidden) < len(hidden) - 10
    assert all(one for one, size in zip(hidden, sizes, strict=True) if 0 < size < 15)
    with pytest.raises(FilterError, match="fewer than 15 subscribers are left"):
        pipeline.answer(run, "traffic.categories", Filters(FIRST, FIRST, categories=("Email",)))
    assert {one.value for one in pipeline.choices(run)["category"]} < {
        one.value for one in pipeline.choices(base)["category"]
    }


def test_rates_of_too_few_are_not_told(copied: Callable[..., Path]) -> None:
    run = copied(lambda manifest: manifest["settings"].update(minimum_group=15))
    path = run / "tables" / "usage_flows.parquet"
    table = pq.read_table(path)
    # As if on each of the last three days, which are the period, one subscriber had been there.
    late = date(2026, 3, 30)
    counts = [
        1 if day >= late else count
        for day, count in zip(
            table["local_date"].to_pylist(), table["subscriber_count"].to_pylist(), strict=True
        )
    ]
    place = table.column_names.index("subscriber_count")
    pq.write_table(table.set_column(place, "subscriber_count", pa.array(counts)), path)
    found = pipeline.answer(run, "traffic.rates", Filters(last_date=LAST))
    shown = {row["period"] for row in found.rows if row["p95_bps"] is not None}
    assert "the period" not in shown
    assert "all days looked at" in shown
    assert not any(" of the period the" in one for one in found.reading)
    assert any(" of all days looked at the 95th percentile" in one for one in found.reading)


def test_flows_of_nobody_are_of_no_group(copied: Callable[..., Path]) -> None:
    run = copied(lambda manifest: manifest["settings"].update(minimum_group=15))
    path = run / "tables" / "usage_flows.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("subscriber_count")
    pq.write_table(table.set_column(place, "subscriber_count", pa.array([0] * len(table))), path)
    found = pipeline.answer(run, "traffic.categories", Filters(FIRST, categories=("Email",)))
    assert [(row["category"], row[LEAST]) for row in found.rows] == [("Email", 0)]
    assert found.rows[0]["total_bytes"] > 0
    choices = pipeline.choices(run)
    assert [one.label for one in choices["site"]] == ["bras-1", "bras-2", "bras-3"]
    assert {one.subscriber_count for one in choices["site"]} == {None}


def test_choices_are_days_categories_and_exporters(base: Path) -> None:
    found = pipeline.choices(base)
    assert list(found) == ["period", "category", "site"]
    assert len(found["period"]) == 14
    table = Results(base).table("usage_flows").to_pylist()
    for kind, column in (("category", "category"), ("site", "exporter")):
        most: dict[str, int] = {}
        for row in table:
            most[row[column]] = max(most.get(row[column], 0), row["subscriber_count"])
        assert {one.value: one.subscriber_count for one in found[kind]} == most


@pytest.mark.parametrize(
    ("question", "filters", "told"),
    [
        ("traffic.talkers", Filters(FIRST), "traffic.talkers cannot be filtered by period"),
        ("traffic.services", Filters(cells=("C1",)), "traffic.services cannot be filtered by cell"),
        ("peaks.flows_segments", Filters(FIRST), "peaks.flows_segments cannot be filtered by period"),
        ("traffic.services", Filters(categories=("Fax",)), "the run has no such category"),
        ("peaks.flows_heatmap", Filters(sites=("x' OR 1=1 --",)), "the run has no such site"),
        ("traffic.services", Filters(LAST, FIRST), "the period ends before it begins"),
        ("peaks.flows_heatmap", Filters(date(2031, 1, 1)), "fewer than 1 subscribers are left"),
    ],
)
def test_what_cannot_be_answered_says_so(base: Path, question: str, filters: Filters, told: str) -> None:
    with pytest.raises(FilterError) as failed:
        pipeline.answer(base, question, filters)
    assert failed.value.what == told


def test_a_run_without_sums_of_flows_says_what_to_do(copied: Callable[..., Path]) -> None:
    run = copied(lambda manifest: manifest["tables"].pop("usage_flows"))
    assert pipeline.choices(run) == {}
    for question in FILTERED:
        with pytest.raises(FilterError, match="no sums by hour") as failed:
            pipeline.answer(run, question, Filters(FIRST))
        assert "subsight run" in str(failed.value)


def test_peaks_of_other_flows_than_the_sums_are_not_filtered(copied: Callable[..., Path]) -> None:
    """Such as where peaks alone were computed since new flows came."""
    run = copied(lambda manifest: manifest["areas"]["peaks"]["contents"].pop())
    with pytest.raises(FilterError, match="of different records"):
        pipeline.answer(run, "peaks.flows_heatmap", Filters(FIRST))
    assert pipeline.answer(run, "traffic.services", Filters(FIRST)).rows
