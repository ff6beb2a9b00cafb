"""Recommendations for everybody survive kills, and are the same on both engines and from profiles."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from offers_quickly import DAY, ingested

from subsight import Insight
from subsight.simulate import OfferMarket, Operator, SimulatedOffers, simulate, simulate_offers

KEY = "0123456789abcdef-offers"
SMALL_PARTS = """
import sys
from subsight.pipeline.offers import job
from subsight import Insight
job._PART_SUBSCRIBERS = 100
Insight.open(sys.argv[1], create=False, as_of=sys.argv[2]).recommend_all()
"""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SimulatedOffers:
    return simulate_offers(
        OfferMarket(subscribers=3_000, seed=9, missing=0.05), tmp_path_factory.mktemp("market")
    )


@pytest.fixture(scope="module")
def trained(market: SimulatedOffers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "ws"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        ingested(path, market).train_offers()
    return path


def recommending(workspace: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SMALL_PARTS, str(workspace), DAY]
    environment = {**os.environ, "SUBSIGHT_KEY": KEY}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def tables(workspace: Path) -> dict[str, pa.Table]:
    names = ("recommendations", "offer_outcomes", "offer_profiles", "offer_holdings")
    return {name: pq.read_table(workspace / "current" / "tables" / f"{name}.parquet") for name in names}


def same(one: dict[str, pa.Table], other: dict[str, pa.Table]) -> bool:
    return all(one[name].equals(other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """What nobody interrupted, in one part."""
    path = tmp_path_factory.mktemp("whole") / "ws"
    shutil.copytree(trained, path, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        Insight.open(path, create=False, as_of=DAY).recommend_all()
    return tables(path)


def test_killed_again_and_again_it_ends_with_the_same(
    trained: Path, whole: dict[str, pa.Table], tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(trained, workspace, symlinks=True)
    parts = workspace / "jobs" / "recommendations" / "parts"
    before = (workspace / "current").resolve()
    seen: list[int] = []
    for wanted in (1, 7, 15, 24):  # of 30 parts
        process = recommending(workspace)
        done = 0
        while process.poll() is None and done < wanted:
            time.sleep(0.002)
            done = len(list(parts.glob("[0-9]*.json")))
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(len(list(parts.glob("[0-9]*.json"))))
        assert (workspace / "current").resolve() == before
    # Each began where the one before was.
    assert seen == sorted(seen)
    assert seen[0] >= 1
    written = {path: path.stat().st_mtime_ns for path in sorted(parts.glob("[0-9]*.json"))[: seen[-1]]}
    process = recommending(workspace)
    kept = True
    while process.poll() is None:
        kept &= all(path.stat().st_mtime_ns == at for path, at in written.items() if path.exists())
        time.sleep(0.01)
    assert process.returncode == 0
    assert kept
    assert not parts.exists()
    assert same(tables(workspace), whole)


def test_a_job_over_other_inputs_begins_anew(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    workspace = tmp_path / "ws"
    shutil.copytree(trained, workspace, symlinks=True)
    process = recommending(workspace)
    parts = workspace / "jobs" / "recommendations" / "parts"
    while process.poll() is None and not list(parts.glob("[0-9]*.json")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    insight = Insight.open(workspace, create=False, as_of=DAY, offer_count=1)
    ranks = insight.recommend_all().table("recommendations")["rank"].to_pylist()
    assert set(ranks) == {1}


@pytest.mark.spark
def test_both_engines_recommend_alike(
    market: SimulatedOffers, whole: dict[str, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    insight = ingested(tmp_path / "ws", market, engine="spark")
    insight.train_offers()
    insight.recommend_all()
    found = tables(tmp_path / "ws")
    for name, table in whole.items():
        rows, others = (one.select(table.column_names).to_pylist() for one in (table, found[name]))
        if name == "offer_holdings":
            rows, others = (sorted(map(tuple, (row.values() for row in some))) for some in (rows, others))
            assert rows == others
            continue
        assert len(rows) == len(others)
        by = [(row["subscriber_id"], row.get("rank")) for row in rows]
        assert by == [(row["subscriber_id"], row.get("rank")) for row in others]
        for row, other in zip(rows, others, strict=True):
            for key, value in row.items():
                expected = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
                assert other[key] == expected


def test_the_profiles_of_a_run_work_as_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    made = simulate(Operator(subscribers=600, sessions=5_000), tmp_path / "made")
    insight = Insight.open(tmp_path / "ws", as_of=DAY, offer_holdout_share=0)
    insight.run(made.sessions, studies=["overview"])
    catalogue = tmp_path / "cat.csv"
    catalogue.write_text(
        "offer_id,data_bytes,eligibility\nSMALL,500000000,\nLARGE,30000000000,min_experience_index=0\n"
    )
    insight.ingest(catalogue, kind="offers")
    record = insight.train_offers().models()["offers"]
    assert record["source"] == "profiles"
    assert {"dl_bytes", "session_count", "app_gaming_bytes"} <= set(record["features"])
    results = insight.recommend_all()
    # The run's own index is what the rule of poor experience and the catalogue ask for.
    index = {r["subscriber_id"]: r["experience_index"] for r in results.table("satisfaction").to_pylist()}
    poor = {name for name, value in index.items() if value is not None and value < 25}
    outcomes = {r["subscriber_id"]: r["outcome"] for r in results.table("offer_outcomes").to_pylist()}
    assert {name for name, outcome in outcomes.items() if outcome == "poor experience"} == poor
    for row in results.table("recommendations").to_pylist():
        assert row["offer_id"] != "LARGE" or index[row["subscriber_id"]] is not None
