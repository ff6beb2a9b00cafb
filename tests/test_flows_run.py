"""Runs over flows of a simulated network: what was planted is found, what was summed is not summed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from subsight import ingestion, pipeline
from subsight.enrich.classification.categories import shipped
from subsight.errors import ConfigurationError, InputError
from subsight.privacy import pseudonym
from subsight.results import Results
from subsight.settings import Settings
from subsight.simulate import FlowNetwork, SimulatedFlows, simulate_flows
from subsight.studies.trends.rules import RULES
from subsight.workspace import Workspace

STUDIES = ("traffic", "rfm", "trends", "peaks")
KEY = "k" * 32
ZONE = "Europe/Madrid"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> SimulatedFlows:
    # 28 days over 29 March 2026, when Madrid's clock went forward.
    knobs = FlowNetwork(subscribers=300, flows=120_000, first_day="2026-03-12", time_zone=ZONE)
    return simulate_flows(knobs, tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def fed(network: SimulatedFlows, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("fed") / "ws")
    settings = Settings(time_zone=ZONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        ingestion.ingest(workspace, [network.leases], settings, kind="leases")
        ingestion.ingest(workspace, [network.flows], settings, kind="flows")
        pipeline.run(workspace, settings=settings, studies=STUDIES)
    return workspace


@pytest.fixture
def results(fed: Workspace) -> Results:
    return Results(fed.run())


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)


def planted(network: SimulatedFlows) -> dict[str, Any]:
    truths: dict[str, Any] = json.loads(network.truths.read_text())
    return truths


def test_every_flow_is_of_who_had_the_address_that_day(network: SimulatedFlows, results: Results) -> None:
    everybody = {
        pseudonym(line.split(",")[1], KEY.encode()) for line in network.leases.read_text().splitlines()[1:]
    }
    found = set(results.table("rfm")["subscriber_id"].to_pylist())
    assert found == everybody
    checks = {f["check"]: f for f in results.quality["findings"]}
    assert checks["attribution: lease"]["count"] == 120_000
    assert checks["attribution: lease"]["text"].startswith("100.0 % of the flows")
    assert "attribution: ambiguous" not in checks
    assert sum(results.table("rfm")["flow_count"].to_pylist()) == 120_000


def test_what_explains_a_run_is_of_what_was_read(results: Results) -> None:
    assert [table.name for table in results.definitions()] == ["flows", "usage", "leases"]


def test_volumes_are_those_of_the_file(network: SimulatedFlows, results: Results) -> None:
    table = pq.read_table(network.flows)
    rows = results.answer("traffic.exporters").rows
    by_exporter: dict[str, int] = {}
    for exporter, up, down in zip(
        *(table[n].to_pylist() for n in ("exporter", "src_to_dst_bytes", "dst_to_src_bytes")), strict=True
    ):
        by_exporter[exporter] = by_exporter.get(exporter, 0) + up + down
    assert {row["exporter"]: row["total_bytes"] for row in rows} == by_exporter


def test_the_planted_busy_hour_is_found_on_the_local_clock(results: Results) -> None:
    answer = results.answer("peaks.flows_busy_hours")
    assert answer.facts["busy_hour"] == 21
    heat = {(r["weekday"], r["hour"]): r["times"] for r in results.answer("peaks.flows_heatmap").rows}
    assert heat["Sunday", "02"] == 3  # of four Sundays one had no 02:00
    assert heat["Sunday", "03"] == 4


def test_who_left_and_who_moved_is_found(network: SimulatedFlows, results: Results) -> None:
    kinds = planted(network)["kinds"]
    trends = {row["subscriber_id"]: row for row in results.table("trends").to_pylist()}
    rfm = {row["subscriber_id"]: row for row in results.table("rfm").to_pylist()}
    left = [pseudonym(number, KEY.encode()) for number in kinds["leaves"]]
    assert all(trends[one]["present_bytes"] == 0 for one in left)
    assert all(rfm[one]["recency_days"] >= 7 for one in left)
    assert sum(trends[one]["recommendation"] == "retention contact" for one in left) > 0.8 * len(left)
    moved = [pseudonym(number, KEY.encode()) for number in kinds["moves to the night"]]
    assert sum(trends[one]["day_part"] == "night" for one in moved) == len(moved)


def test_shares_of_methods_add_up_and_the_unknown_falls(results: Results) -> None:
    rows = results.answer("traffic.methods").rows
    assert sum(row["flow_share"] for row in rows) == pytest.approx(1)
    facts = results.answer("traffic.reclassification").facts
    # 60 % of the flows have a label, but for the one in fifty whose application nobody knows.
    assert facts["unknown_flow_share_before"] == pytest.approx(1 - 0.6 * 0.98, abs=0.01)
    assert float(facts["unknown_flow_share_after"] or 0) < 0.06


def test_a_study_alone_keeps_the_tables_and_answers_of_the_others(fed: Workspace) -> None:
    before = Results(fed.run())
    after = Results(pipeline.run(fed, settings=Settings(time_zone=ZONE), studies=["traffic"]))
    assert after.tables() == before.tables()
    assert after.table("trends").equals(before.table("trends"))
    assert after.answers("rfm") == before.answers("rfm")
    assert after.manifest["studies"]["rfm"]["from_run"] == before.manifest["run"]
    assert not after.manifest["studies"]["rfm"]["stale"]


def test_a_rule_of_the_operator_is_applied_to_what_was_read_before(fed: Workspace, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nname = "Own games"\ncategory = "Gaming"\nport = 27015\nprotocol = "udp"\n')
    settings = Settings(time_zone=ZONE, classification_rules=str(rules))
    found = Results(pipeline.run(fed, settings=settings, studies=["traffic"]))
    services = {row["service"] for row in found.answer("traffic.services").rows}
    assert {"Own games", "Steam"} <= services  # labelled flows keep their label
    partials = list((fed.path / "partials" / "flows").glob("*.parquet"))
    assert len(partials) == 2  # what was summed by other rules is gone


def test_categories_of_recommendations_are_those_of_the_classifier() -> None:
    named = {category for rule in RULES for category in rule.categories}
    assert named <= set(shipped().applications)


def test_what_is_lacking_is_said(tmp_path: Path, network: SimulatedFlows) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    with pytest.raises(InputError, match="no flows"):
        pipeline.run(workspace, settings=Settings(), studies=["rfm"])
    ingestion.ingest(workspace, [network.flows], Settings(), kind="flows")
    with pytest.raises(InputError, match="no sessions"):
        pipeline.run(workspace, settings=Settings(), studies=["overview"])
    for text in ("2019-01-01", "2019-13-01"):
        with pytest.raises(ConfigurationError, match="as_of"):
            pipeline.run(workspace, settings=Settings(as_of=text), studies=["rfm"])
