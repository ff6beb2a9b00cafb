"""The whole path on a simulated operator whose truths are known."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from subsight import Insight
from subsight.errors import ConfigurationError, InputError, MappingError, NotFoundError
from subsight.pipeline.sessions import STUDIES
from subsight.privacy import pseudonym
from subsight.results import Results
from subsight.simulate import Operator, Simulation, simulate

OPERATOR = Operator(subscribers=1_200, sessions=9_000, seed=11, faults=True)
SATISFACTION = [
    "subscriber_id", "engagement_score", "experience_score", "satisfaction_score", "engagement_index",
    "experience_index", "satisfaction_index", "engagement_cluster", "experience_cluster",
    "satisfaction_cluster",
]  # fmt: skip


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(OPERATOR, tmp_path_factory.mktemp("operator"), file_format="csv")


@pytest.fixture(scope="module")
def base(simulated: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one published run; tests that write take a copy."""
    path = tmp_path_factory.mktemp("base") / "ws"
    Insight.open(path).run(simulated.sessions)
    return path


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Insight:
    shutil.copytree(base, tmp_path / "ws", symlinks=True)
    return Insight.open(tmp_path / "ws", create=False)


def _same(one: pa.Table, other: pa.Table) -> None:
    """Equal row by row in key order; floats within 1e-9 relative."""
    assert one.column_names == other.column_names
    assert one.num_rows == other.num_rows
    for name in one.column_names:
        a, b = one[name].to_pylist(), other[name].to_pylist()
        if pa.types.is_floating(one.schema.field(name).type):
            assert [v is None for v in b] == [v is None for v in a], name
            known = [[v for v in values if v is not None] for values in (a, b)]
            assert known[1] == pytest.approx(known[0], rel=1e-9, abs=1e-9), name
        else:
            assert b == a, name


def test_the_tables_that_others_build_on(base: Path) -> None:
    insight = Insight.open(base, create=False)
    satisfaction, profiles = insight.table("satisfaction"), insight.table("profiles")
    assert satisfaction.column_names == SATISFACTION
    assert satisfaction.num_rows == profiles.num_rows == OPERATOR.subscribers
    assert set(profiles.column_names) >= {
        "subscriber_id", "session_count", "duration_s", "dl_bytes", "ul_bytes", "total_bytes", "rtt_ms",
        "rtt_ms_raw", "tcp_retransmission_bytes", "tcp_retransmission_bytes_raw", "throughput_kbps",
        "throughput_kbps_raw", "handset",
    }  # fmt: skip
    assert not set(profiles.column_names) & {"subscriber_hash", "record_hash"}
    ids = profiles["subscriber_id"].to_pylist()
    assert ids == sorted(ids)
    assert set(satisfaction["satisfaction_cluster"].to_pylist()) == {0, 1}


def test_faults_are_counted_and_sums_agree(base: Path, simulated: Simulation) -> None:
    facts = json.loads(simulated.operator.read_text())["fault_counts"]
    quality = Insight.open(base, create=False).results.quality
    reasons = {(r["column"], r["reason"]): r["count"] for r in quality["rejects"]}
    assert quality["records"] == quality["accepted"] + quality["rejected"]
    assert reasons["end_at", "before start_at"] == facts["end_before_start"]
    assert sum(n for (_, why), n in reasons.items() if why == "below 0") == facts["negative_volume"]
    assert reasons["", "identical to an earlier record"] == facts["duplicate"]
    assert quality["without_subscriber_count"] == facts["without_msisdn"]


def test_profiles_equal_an_independent_sum(base: Path, simulated: Simulation) -> None:
    """Volumes and counts per subscriber against the standard library's CSV reader."""
    import csv
    from collections import defaultdict

    key = (base / "keys" / "pseudonyms.key").read_bytes()
    seen: set[tuple[str, ...]] = set()
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with simulated.sessions.open(newline="") as file:
        for row in csv.DictReader(file):
            values = tuple(row.values())
            if values in seen or int(row["dl_bytes"]) < 0 or row["end_at"] < row["start_at"]:
                continue
            seen.add(values)
            if row["msisdn"]:
                entry = totals[pseudonym(row["msisdn"], key)]
                entry[0] += 1
                entry[1] += int(row["dl_bytes"]) + int(row["ul_bytes"])
    profiles = Insight.open(base, create=False).table("profiles")
    columns = (profiles[n].to_pylist() for n in ("subscriber_id", "session_count", "total_bytes"))
    assert {who: [count, volume] for who, count, volume in zip(*columns, strict=True)} == dict(totals)


def test_planted_segments_are_recovered(base: Path, simulated: Simulation) -> None:
    """Heavy users score above regular ones, those above light ones."""
    key = (base / "keys" / "pseudonyms.key").read_bytes()
    truth = pq.read_table(simulated.subscribers).to_pylist()
    segment = {pseudonym(row["msisdn"], key): row["segment"] for row in truth}
    table = Insight.open(base, create=False).table("satisfaction").to_pylist()
    scores: dict[str, list[float]] = {"light": [], "regular": [], "heavy": []}
    for row in table:
        scores[segment[row["subscriber_id"]]].append(row["engagement_index"])
    mean = {name: sum(values) / len(values) for name, values in scores.items()}
    assert mean["light"] < mean["regular"] < mean["heavy"]


def test_every_fit_leaves_what_it_is_looked_at_by(base: Path) -> None:
    results = Results(base / "current")
    models = results.models()
    assert {"engagement", "experience", "satisfaction", "identity", "behaviour"} <= set(models)
    plots = {"engagement": {"convergence.svg", "elbow.svg"}, "behaviour": {"residuals.svg"}}
    for name in models:
        files = results.artifacts(name)
        assert {"card.json", "predictions.csv"} <= set(files), name
        assert json.loads(files["card.json"]) == models[name]["card"]
        assert plots.get(name, set()) <= set(files)
        assert all(text.startswith("<svg") for file, text in files.items() if file.endswith(".svg"))
        rows = list(csv.DictReader(files["predictions.csv"].splitlines()))
        assert len(rows) == 20
        assert "subscriber_id" not in rows[0]
    # The sample says of its subscribers what the tables say of them.
    scores = results.table("satisfaction").sort_by("subscriber_id").to_pylist()
    profiles = results.table("profiles").sort_by("subscriber_id").to_pylist()
    published = {
        (p["session_count"], p["duration_s"], p["total_bytes"]): (
            s["engagement_cluster"], s["engagement_score"], s["engagement_index"],
        )
        for p, s in zip(profiles, scores, strict=True)
    }  # fmt: skip
    for row in csv.DictReader(results.artifacts("engagement")["predictions.csv"].splitlines()):
        numbers = {name: float(value) for name, value in row.items()}
        features = tuple(numbers[name] for name in ("session_count", "duration_s", "total_bytes"))
        told = (numbers["cluster"], numbers["score"], numbers["index"])
        assert told == pytest.approx(published[features])


def test_clear_identifiers_are_nowhere(base: Path, simulated: Simulation) -> None:
    truth = pq.read_table(simulated.subscribers)["msisdn"].to_pylist()
    some = [number.encode() for number in truth[:300]]
    for path in (p for p in base.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            text = [c for c in table.columns if pa.types.is_string(c.type)]
            content = b"\n".join(str(v).encode() for c in text for v in pc.unique(c).to_pylist())
        assert not any(number in content for number in some), path


def test_every_question_has_an_answer_with_words(base: Path) -> None:
    results = Insight.open(base, create=False).results
    assert tuple(results.studies()) == (*STUDIES, "peaks")
    for study in results.studies():
        answers = results.answers(study)
        assert len(answers) >= (3 if study == "peaks" else 5), study
        for answer in answers:
            assert answer.reading, answer.id
            assert answer.question.endswith("?"), answer.id


def test_the_same_file_twice_counts_once(workspace: Insight, simulated: Simulation) -> None:
    (again,) = workspace.ingest(simulated.sessions)
    assert not again.is_new
    before = workspace.table("profiles")
    workspace.run(simulated.sessions, studies=["satisfaction"])
    _same(before, workspace.table("profiles"))


def test_splitting_and_shuffling_the_file_changes_nothing(
    base: Path, simulated: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, *lines = simulated.sessions.read_text().splitlines()
    lines = lines[4500:][::-1] + lines[:4500]
    for name, part in (("a.csv", lines[:3000]), ("b.csv", lines[3000:])):
        (tmp_path / name).write_text("\n".join([header, *part]) + "\n")
    monkeypatch.setenv("SUBSIGHT_KEY", (base / "keys" / "pseudonyms.key").read_text())
    other = Insight.open(tmp_path / "ws")
    other.run(tmp_path / "*.csv", studies=["satisfaction"])
    first = Insight.open(base, create=False)
    _same(first.table("profiles"), other.table("profiles"))
    _same(first.table("satisfaction"), other.table("satisfaction"))


def test_given_parameters_are_used_and_nothing_is_fitted(workspace: Insight) -> None:
    before, models = workspace.table("satisfaction"), workspace.results.models()
    results = workspace.run(parameters_from="current")
    _same(before, workspace.table("satisfaction"))
    assert results.models() == models


def test_some_studies_only_carry_the_others_over(workspace: Insight, tmp_path: Path) -> None:
    first = workspace.results
    second = workspace.run(studies=["engagement"])
    assert second.manifest["run"] != first.manifest["run"]
    assert second.manifest["studies"]["engagement"]["from_run"] is None
    carried = second.manifest["studies"]["experience"]
    assert (carried["from_run"], carried["stale"]) == (first.manifest["run"], False)
    name = "answers/experience.json"
    assert (second.folder / name).stat().st_ino == (first.folder / name).stat().st_ino
    more = simulate(Operator(subscribers=200, sessions=900, seed=5), tmp_path / "more")
    third = workspace.run(more.sessions, studies=["memo", "experience"])
    assert third.manifest["studies"]["engagement"]["stale"] is True
    assert third.manifest["studies"]["experience"]["stale"] is False


def test_scores_of_given_profiles_equal_the_published_ones(workspace: Insight) -> None:
    profiles = workspace.table("profiles")
    scored = workspace.score(profiles).select(SATISFACTION)
    _same(workspace.table("satisfaction"), scored.sort_by("subscriber_id"))
    with pytest.raises(InputError, match="lack columns"):
        workspace.score([{"subscriber_id": "x"}])


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.csv", None, InputError),
        ("empty.csv", b"", InputError),
        ("header.csv", b"msisdn,start_at,end_at\n", InputError),
        ("other.csv", b"colour,size\nred,1\nblue,2\n", MappingError),
        ("noise.csv", bytes(range(256)) * 50, InputError),
    ],
)
def test_bad_input_publishes_nothing_and_keeps_the_run(
    workspace: Insight, tmp_path: Path, name: str, content: bytes | None, error: type[Exception]
) -> None:
    before = workspace.results.manifest["run"]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error):
        workspace.run(path)
    assert workspace.results.manifest["run"] == before
    assert len(workspace.workspace.batches("sessions")) == 1


def test_an_extract_of_nothing_but_faults_is_refused(
    workspace: Insight, simulated: Simulation, tmp_path: Path
) -> None:
    header, *lines = simulated.sessions.read_text().splitlines()
    place = header.replace('"', "").split(",").index("rtt_dl_ms")
    broken = []
    for line in lines[:200]:
        fields = line.split(",")
        fields[place] = "fast"
        broken.append(",".join(fields))
    path = tmp_path / "broken.csv"
    path.write_text("\n".join([header, *broken]) + "\n")
    with pytest.raises(InputError, match="200 of 200 records are rejected"):
        workspace.run(path)
    assert len(workspace.workspace.batches("sessions")) == 1


def test_nothing_to_run_on(tmp_path: Path) -> None:
    empty = Insight.open(tmp_path / "ws")
    with pytest.raises(InputError, match="no sessions"):
        empty.run()
    with pytest.raises(NotFoundError):
        _ = empty.results
    with pytest.raises(ConfigurationError, match="study"):
        empty.run(studies=["astrology"])


def test_clear_identifiers_are_an_explicit_choice(simulated: Simulation, tmp_path: Path) -> None:
    insight = Insight.open(tmp_path / "ws", identifiers="clear")
    results = insight.run(simulated.sessions, studies=["engagement"])
    assert results.manifest["identifiers"] == ["clear"]
    truth = set(pq.read_table(simulated.subscribers)["msisdn"].to_pylist())
    assert set(insight.table("profiles")["subscriber_id"].to_pylist()) == truth


# Only without any treatment are values lacking that every study must do without.
@pytest.mark.parametrize(
    ("policy", "studies"), [("median", ["experience"]), ("winsorise", ["experience"]), ("none", None)]
)
def test_other_treatments_run_through(
    simulated: Simulation, tmp_path: Path, policy: Any, studies: list[str] | None
) -> None:
    insight = Insight.open(tmp_path / "ws", treatment=policy)
    results: Results = insight.run(simulated.sessions, studies=studies)
    assert {t["policy"] for t in results.manifest["treatment"].values()} == {policy}
    assert insight.table("profiles").num_rows == OPERATOR.subscribers
