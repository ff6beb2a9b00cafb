"""Many small partials become few files, and a run over them says the same as one over a single input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from subsight import ingestion, pipeline
from subsight.pipeline.partials import Partials
from subsight.results import Results
from subsight.settings import Settings
from subsight.store import open_store
from subsight.workspace import Workspace

CLEAR = Settings(identifiers="clear")
HEADER = "first_seen_at,last_seen_at,src_address,dst_address,src_port,dst_port,protocol,src_to_dst_bytes"
# 150 flows of 20 subscribers in three hours; every seventh has a port that nobody registered.
LINES = [
    f"2024-05-01T{10 + i % 3}:{i % 60:02d}:00Z,2024-05-01T{10 + i % 3}:{i % 60:02d}:09Z,"
    f"10.0.0.{i % 20},192.0.2.1,50000,{6881 if i % 7 == 0 else 443},6,{100 + i}"
    for i in range(150)
]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subsight.pipeline.partials._MANY", 8)


def workspace(folder: Path, parts: int) -> Workspace:
    made = Workspace.create(folder / "ws")
    inbox = folder / "in"
    inbox.mkdir()
    for i in range(parts):
        (inbox / f"{i:03d}.csv").write_text("\n".join([HEADER, *LINES[i::parts]]) + "\n")
    ingestion.ingest(made, [inbox], CLEAR, kind="flows")
    return made


def told(made: Workspace) -> dict[str, Any]:
    pipeline.run(made, settings=CLEAR, studies=["traffic", "rfm"])
    results = Results(made.run())
    answers = {a.id: a.rows for study in ("traffic", "rfm") for a in results.answers(study)}
    return {"rfm": results.table("rfm").to_pylist(), **answers}


def files(made: Workspace) -> list[str]:
    return sorted(path.name for path in (made.path / "partials" / "flows").glob("*.*[!n]"))


def test_a_run_over_many_micro_batches_is_that_over_one_input(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    one, many = workspace(tmp_path / "one", 1), workspace(tmp_path / "many", 10)
    expected = told(one)
    assert sum(row["flow_count"] for row in expected["traffic.exporters"]) == 150
    assert told(many) == expected
    merged = files(many)
    assert [name.split(".")[0] for name in merged] == ["ports", "usage"]
    # Once more from the merges, which are not made again.
    assert told(many) == expected
    assert files(many) == merged


def test_what_changed_is_summed_anew_and_nothing_counts_twice(tmp_path: Path) -> None:
    made = workspace(tmp_path, 10)
    before = told(made)
    merged = files(made)
    # Another rule makes every partial another: the merges are out of date.
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nname = "swarm"\ncategory = "Gaming"\nport = 6881\n')
    ruled = Settings(identifiers="clear", classification_rules=str(rules))
    pipeline.run(made, settings=ruled, studies=["traffic", "rfm"])
    results = Results(made.run())
    assert sum(row["flow_count"] for row in results.answer("traffic.exporters").rows) == 150
    assert results.answer("traffic.reclassification").facts["unknown_flow_share_after"] == 0
    assert not set(files(made)) & set(merged)
    assert told(made) == before


def test_a_death_before_the_list_is_written_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = workspace(tmp_path, 10)
    with monkeypatch.context() as patch:
        patch.setattr(Partials, "_settle", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            told(made)
    assert sum(row["flow_count"] for row in told(made)["traffic.exporters"]) == 150


def test_a_damaged_list_or_a_merge_that_is_gone_is_computed_again(tmp_path: Path) -> None:
    made = workspace(tmp_path, 10)
    before = told(made)
    folder = made.path / "partials" / "flows"
    (folder / "merged.json").write_text("{")
    assert told(made) == before
    next(folder.glob("usage.*.merged")).unlink()
    assert told(made) == before
    assert len(json.loads((folder / "merged.json").read_text())) == 2


def test_large_files_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subsight.pipeline.partials._SMALL", 10)
    made = workspace(tmp_path, 10)
    told(made)
    assert not list((made.path / "partials" / "flows").glob("*.merged"))
    with open_store("duckdb") as store:
        wanted = list((made.path / "partials" / "flows").glob("*.usage0.*.parquet"))
        partials = Partials(made.path / "partials" / "flows", wanted)
        assert partials.files(store, "usage", lambda rows: rows) == wanted
