"""A run over flows on Spark is the run on DuckDB: every table and every answer."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight import ingestion, pipeline
from subsight.answers import Answer
from subsight.pipeline import flows, peaks
from subsight.results import Results
from subsight.settings import Settings
from subsight.simulate import FlowNetwork, simulate_flows
from subsight.store import Store
from subsight.workspace import Workspace

ZONE = "Europe/Madrid"
STUDIES = (*flows.STUDIES, *peaks.STUDIES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, spark_store: Store) -> dict[str, Results]:
    """The same files read and run on each engine; Spark's session is the one that all tests share."""
    # Over 29 March 2026, when Madrid's clock went forward.
    network = FlowNetwork(subscribers=80, flows=6_000, days=14, first_day="2026-03-20", time_zone=ZONE)
    made = simulate_flows(network, tmp_path_factory.mktemp("network"))
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", "k" * 32)
        for engine in ("duckdb", "spark"):
            settings = Settings(engine=engine, memory="1GB", time_zone=ZONE, minimum_group=5)
            workspace = Workspace.create(tmp_path_factory.mktemp(engine) / "ws")
            ingestion.ingest(workspace, [made.leases], settings, kind="leases")
            ingestion.ingest(workspace, [made.flows], settings, kind="flows")
            found[engine] = Results(pipeline.run(workspace, settings=settings, studies=STUDIES))
    return found


def alike(one: Any, other: Any) -> bool:
    """Equal, but of floats the last digits, of which engines add up in another order."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return type(one) is type(other) and one == other


def differing(one: pa.Table, other: pa.Table) -> list[str]:
    """Columns of two tables that are not the same row by row."""
    # Whether a column may hold null is the engine's own note.
    assert [(f.name, f.type) for f in one.schema] == [(f.name, f.type) for f in other.schema]
    assert one.num_rows == other.num_rows
    return [name for name in one.column_names if not alike(one[name].to_pylist(), other[name].to_pylist())]


@pytest.mark.spark
def test_every_published_table_is_the_same(runs: dict[str, Results]) -> None:
    here, there = runs["duckdb"], runs["spark"]
    assert here.manifest["engine"] != there.manifest["engine"]
    assert here.tables() == there.tables()
    assert {"rfm", "trends", "usage_flows"} <= set(here.tables())
    for name in here.tables():
        assert here.table(name).num_rows == 80 or name == "usage_flows"
        assert differing(here.table(name), there.table(name)) == [], name


@pytest.mark.spark
def test_usage_by_hour_is_the_same(runs: dict[str, Results]) -> None:
    found = {}
    for engine, results in runs.items():
        partials = sorted((results.folder.parents[1] / "partials" / "flows").glob("*usage*.parquet"))
        assert len(partials) == 1
        found[engine] = pq.read_table(partials[0])
    keys = [(name, "ascending") for name in found["duckdb"].column_names if name != "flow_count"]
    here, there = (found[engine].sort_by(keys) for engine in ("duckdb", "spark"))
    assert here.num_rows > 3_000
    assert differing(here, there) == []


@pytest.mark.spark
@pytest.mark.parametrize("study", STUDIES)
def test_every_answer_is_the_same(runs: dict[str, Results], study: str) -> None:
    here, there = ([answer.to_json() for answer in runs[engine].answers(study)] for engine in runs)
    assert [answer["id"] for answer in here] == [answer["id"] for answer in there]
    assert here
    for one, other in zip(here, there, strict=True):
        assert [name for name in one if not alike(one[name], other[name])] == [], one["id"]
    quality = [runs[engine].quality for engine in runs]
    assert alike(*quality)


@pytest.mark.spark
def test_every_filtered_answer_is_the_same(runs: dict[str, Results]) -> None:
    filters = pipeline.Filters(date(2026, 3, 24), categories=("Video", "Web"), sites=("bras-1", "bras-2"))
    asked = [one.id for study in STUDIES for one in runs["duckdb"].answers(study)]
    asked = [one for one in asked if pipeline.filterable(one)]
    assert len(asked) == 7
    found = {
        engine: pipeline.answers(results.folder, asked, filters, engine=engine)
        for engine, results in runs.items()
    }
    for id in asked:
        here, there = (found[engine][id] for engine in runs)
        assert isinstance(here, Answer)
        assert isinstance(there, Answer)
        assert here.rows
        assert alike(here.to_json(), there.to_json()), id


@pytest.mark.spark
def test_words_of_a_file_are_read_the_same(spark_store: Store, tmp_path: Path) -> None:
    header = "ts,te,sa,da,sp,dp,pr,ibyt,ipkt,obyt,opkt,app"
    line = "2024-05-01 10:00:0{},2024-05-01 10:00:09,{},192.0.2.7,5000{},443,{},1{}00,3,{},,TLS"
    addresses = "10.0.0.1", "fd00::1", "203.0.113.5", "none"
    protocols = "TCP", "6", "17.0", "icmp6", "carrier pigeon", "6.5", "300", ""
    volumes = "", "700", "-1"
    told = [
        line.format(i % 10, addresses[i % 4], i % 10, protocols[i % 8], i % 10, volumes[i % 3])
        for i in range(96)
    ]
    (tmp_path / "words.csv").write_text("\n".join([header, *told]) + "\n")
    rows, rejects = {}, {}
    for engine in ("duckdb", "spark"):
        settings = Settings(engine=engine, memory="1GB", identifiers="clear", reject_limit_share=1.0)
        workspace = Workspace.create(tmp_path / engine)
        (found,) = ingestion.ingest(workspace, [tmp_path / "words.csv"], settings, kind="flows")
        rows[engine] = pq.read_table(found.batch.rows).sort_by("record")
        rejects[engine] = sorted(found.batch.manifest["rejects"], key=str)
    assert rejects["duckdb"] == rejects["spark"]
    assert 10 < rows["duckdb"].num_rows < 96
    assert differing(rows["duckdb"], rows["spark"]) == []
