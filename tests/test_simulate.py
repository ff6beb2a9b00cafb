"""The simulator keeps its promises: sums, times, identifiers, and truths that can be found again."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from subsight.errors import ConfigurationError, StorageError
from subsight.simulate import APPLICATIONS, FAULTS, Operator, Simulation, simulate
from subsight.tables import SESSIONS, THROUGHPUT_SHARES
from subsight.units import factor

SLUGS = [app.slug for app in APPLICATIONS]


@dataclass(frozen=True)
class Read:
    """A simulation as NumPy columns; missing numbers are NaN."""

    simulation: Simulation

    @cached_property
    def sessions(self) -> pa.Table:
        return pq.read_table(self.simulation.sessions)

    def __getitem__(self, name: str) -> Any:
        return self.sessions[name].to_numpy()

    @cached_property
    def truth(self) -> dict[str, Any]:
        table = pq.read_table(self.simulation.subscribers)
        return {name: table[name].to_numpy() for name in table.column_names}

    @cached_property
    def owner(self) -> Any:
        """The row of `truth` of each session."""
        order = np.argsort(self.truth["msisdn"])
        return order[np.searchsorted(self.truth["msisdn"][order], self["msisdn"])]

    def per_session(self, name: str) -> Any:
        return self.truth[name][self.owner]

    @cached_property
    def feedback(self) -> pa.Table:
        text = arrow_csv.ConvertOptions(column_types={"subscriber_id": pa.string()})
        return arrow_csv.read_csv(self.simulation.feedback, convert_options=text)

    @cached_property
    def is_in_bad_cell(self) -> Any:
        cells = pq.read_table(self.simulation.cells).to_pylist()
        return np.isin(self["cell_id"], [cell["cell_id"] for cell in cells if cell["is_bad"]])


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Read]:
    done: dict[Operator, Read] = {}

    def run(**knobs: Any) -> Read:
        operator = Operator(**knobs)
        if operator not in done:
            done[operator] = Read(simulate(operator, tmp_path_factory.mktemp("operator")))
        return done[operator]

    return run


def ratio(values: Any, group: Any) -> float:
    """Geometric mean of the group over that of the others."""
    known = np.isfinite(values) & (values > 0)
    logs = np.log(values, where=known, out=np.zeros(len(values)))
    return math.exp(logs[known & group].mean() - logs[known & ~group].mean())


def luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def contents(simulation: Simulation) -> dict[str, bytes]:
    paths = [simulation.sessions, *simulation.truth.iterdir()]
    return {path.name: path.read_bytes() for path in paths}


# --- what a row is ---


def test_columns_are_the_canonical_ones_with_identifiers_in_clear(simulated: Callable[..., Read]) -> None:
    read = simulated()
    expected = [c.identifier or c.name for c in SESSIONS.expand(APPLICATIONS) if not c.derived]
    assert read.sessions.column_names == expected
    assert read.sessions.num_rows == 40_000
    for column in SESSIONS.expand(APPLICATIONS):
        if column.derived:
            continue
        name = column.identifier or column.name
        kind = {"text": pa.string(), "float": pa.float64(), "integer": pa.int64(),
                "instant": pa.timestamp("us", "UTC")}[column.kind]  # fmt: skip
        assert read.sessions.schema.field(name).type == kind, name
        if column.kind in ("float", "integer"):
            values = read[name][np.isfinite(read[name])]
            assert values.min() >= column.low, name
            assert column.high is None or values.max() <= column.high, name


@pytest.mark.parametrize("direction", ["dl", "ul"])
def test_totals_are_the_sums_of_the_applications(simulated: Callable[..., Read], direction: str) -> None:
    for faults in (False, True):
        read = simulated(faults=faults)
        total = sum(read[f"app_{slug}_{direction}_bytes"] for slug in SLUGS)
        assert np.array_equal(read[f"{direction}_bytes"], total)


def test_shares_of_time_sum_to_one(simulated: Callable[..., Read]) -> None:
    for shares in THROUGHPUT_SHARES:
        total = sum(simulated()[share] for share in shares)
        assert np.abs(total - 1).max() < 1e-12


def test_duration_is_end_minus_start_to_the_millisecond(simulated: Callable[..., Read]) -> None:
    read = simulated()
    micros = (read["end_at"] - read["start_at"]).astype("timedelta64[us]").astype(np.int64)
    assert np.array_equal(micros % 1000, np.zeros_like(micros))
    assert np.array_equal(read["duration_ms"], micros // 1000)
    assert np.array_equal(np.rint(read["duration_s"] * 1000), micros // 1000)
    assert (read["activity_dl_ms"] <= read["duration_ms"]).all()


def test_identifiers_are_synthetic_distinct_and_well_formed(simulated: Callable[..., Read]) -> None:
    read = simulated()
    msisdn, imsi, imei = (read.sessions[name].to_pylist() for name in ("msisdn", "imsi", "imei"))
    assert all(len(x) == 12 and x.startswith("999") and x.isdigit() for x in msisdn)
    assert all(len(x) == 15 and x.startswith("999") and x.isdigit() for x in imsi)
    assert all(len(x) == 15 and x.startswith("00") and luhn(x) for x in imei)
    assert luhn("490154203237518")  # the usual worked example of an IMEI's check digit
    assert len(set(msisdn)) == len(set(imsi)) == len(set(imei)) == 5_000
    assert len(set(zip(msisdn, imsi, imei, strict=True))) == 5_000
    assert len(set(read.sessions["bearer_id"].to_pylist())) == 40_000


def test_tac_tells_the_handset(simulated: Callable[..., Read]) -> None:
    read = simulated()
    models = {row["tac"]: row for row in pq.read_table(read.simulation.handsets).to_pylist()}
    assert len(models) == 31
    assert len({row["handset_manufacturer"] for row in models.values()} - {None}) == 8
    for row in read.sessions.select(["imei", "handset", "handset_manufacturer"]).slice(0, 3_000).to_pylist():
        model = models[row["imei"][:8]]
        assert (row["handset"], row["handset_manufacturer"]) == (
            model["handset"], model["handset_manufacturer"],
        )  # fmt: skip
    unknown = read.sessions["handset"].null_count / 40_000
    assert 0.002 < unknown < 0.02


@pytest.mark.parametrize("share", [0, 0.2, 0.6])
def test_missing_values_are_as_many_as_asked_for(simulated: Callable[..., Read], share: float) -> None:
    read = simulated(missing=share)
    for column in read.sessions.column_names:
        found = read.sessions[column].null_count / read.sessions.num_rows
        if column.startswith(("rtt", "tcp")):
            assert found == pytest.approx(share, abs=0.015)
        elif not column.startswith("handset"):
            assert found == 0


# --- when ---


def test_most_subscribers_are_seen_in_both_periods(simulated: Callable[..., Read]) -> None:
    read = simulated()
    start = read["start_at"].astype("datetime64[ms]")
    first, second, end = (np.datetime64(day, "ms") for day in ("2026-03-02", "2026-03-16", "2026-03-30"))
    assert start.min() >= first
    assert start.max() < end
    assert (np.diff(start) >= np.timedelta64(0, "ms")).all()
    early, late = set(read.owner[start < second]), set(read.owner[start >= second])
    assert early | late == set(range(5_000))
    assert len(early & late) > 0.9 * 5_000


def test_the_busy_hour_is_in_the_evening_and_weekends_are_busier(simulated: Callable[..., Read]) -> None:
    start = simulated()["start_at"]
    hours = start.astype("datetime64[h]").astype(np.int64) % 24
    per_hour = np.bincount(hours, minlength=24)
    assert per_hour.argmax() in (19, 20, 21)
    assert per_hour.max() > 5 * per_hour.min()
    days = start.astype("datetime64[D]").astype(np.int64) - np.datetime64("2026-03-02").astype(np.int64)
    per_day = np.bincount(days, minlength=28).reshape(4, 7)  # 2 March 2026 is a Monday
    assert per_day[:, 5:].mean() > 1.1 * per_day[:, :5].mean()


# --- truths: the expected ratios are the exponentials of what is planted ---


@pytest.mark.parametrize("effect", [1.0, 0.0, -1.0])
def test_bad_handsets_are_recovered(simulated: Callable[..., Read], effect: float) -> None:
    read = simulated(handset_effect=effect)
    is_bad = read.per_session("is_bad_handset")
    for way in ("dl", "ul"):
        lost = read[f"tcp_retransmission_{way}_bytes"] / read[f"{way}_bytes"]
        found = ratio(read[f"throughput_{way}_kbps"], is_bad)
        assert found == pytest.approx(math.exp(-0.9 * effect), rel=0.08)
        assert ratio(lost, is_bad & ~read.is_in_bad_cell) == pytest.approx(math.exp(0.8 * effect), rel=0.15)
        assert ratio(read[f"rtt_{way}_ms"], is_bad) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("effect", [1.0, 0.0, -1.0])
def test_bad_cells_are_recovered(simulated: Callable[..., Read], effect: float) -> None:
    read = simulated(cell_effect=effect)
    for way in ("dl", "ul"):
        lost = read[f"tcp_retransmission_{way}_bytes"] / read[f"{way}_bytes"]
        found = ratio(read[f"rtt_{way}_ms"], read.is_in_bad_cell)
        assert found == pytest.approx(math.exp(0.9 * effect), rel=0.08)
        assert ratio(lost, read.is_in_bad_cell) == pytest.approx(math.exp(0.8 * effect), rel=0.15)
        assert ratio(read[f"throughput_{way}_kbps"], read.is_in_bad_cell) == pytest.approx(1, abs=0.08)


def test_home_cells_and_effects_of_a_pair_of_operators(simulated: Callable[..., Read]) -> None:
    read, without = simulated(), simulated(handset_effect=0.0)
    at_home = read["cell_id"] == read.per_session("home_cell")
    assert 0.68 < at_home.mean() < 0.75  # 70% and now and then another's home that is the same
    untouched = ~read.per_session("is_bad_handset")
    for column in ("rtt_dl_ms", "throughput_dl_kbps", "dl_bytes", "start_at"):
        assert np.array_equal(read[column][untouched], without[column][untouched], equal_nan=True)


@pytest.mark.parametrize("effect", [1.0, 0.0, -1.0])
def test_segments_are_recovered(simulated: Callable[..., Read], effect: float) -> None:
    read = simulated(segment_effect=effect)
    segment, volume = read.per_session("segment"), read["dl_bytes"]
    for name, planted in (("heavy", 1.0), ("light", -0.8)):
        among = (segment == name) | (segment == "regular")
        found = ratio(volume[among], segment[among] == name)
        assert found == pytest.approx(math.exp(planted * effect), rel=0.1)
    total = np.bincount(read.owner, volume, 5_000)
    mean = {name: total[read.truth["segment"] == name].mean() for name in ("light", "regular", "heavy")}
    if effect:
        low, high = ("light", "heavy") if effect > 0 else ("heavy", "light")
        assert 2 * mean[low] < mean["regular"] < mean[high] / 2
    else:
        assert max(mean.values()) < 1.1 * min(mean.values())


def test_favourite_application_carries_most(simulated: Callable[..., Read]) -> None:
    read = simulated()
    totals = np.stack([np.bincount(read.owner, read[f"app_{slug}_dl_bytes"], 5_000) for slug in SLUGS])
    assert (np.array(SLUGS)[totals.argmax(axis=0)] == read.truth["favourite_application"]).mean() > 0.85


def test_experience_is_what_was_measured(simulated: Callable[..., Read]) -> None:
    read = simulated()
    experience = read.truth["experience"]
    assert experience.mean() == pytest.approx(0, abs=1e-9)
    assert experience.std() == pytest.approx(1)
    counts = np.bincount(read.owner, minlength=5_000)
    speed = np.bincount(read.owner, np.log(read["throughput_dl_kbps"]), 5_000) / counts
    assert np.corrcoef(speed, experience)[0, 1] > 0.5
    for name in ("is_bad_cell", "is_bad_handset"):
        assert experience[read.truth[name]].mean() < -0.8


@pytest.mark.parametrize("effect", [1.0, 0.0, -1.0])
def test_churn_follows_experience(simulated: Callable[..., Read], effect: float) -> None:
    truth = simulated(experience_effect=effect).truth
    expected = 1 / (1 + np.exp(2.2 + 0.9 * effect * truth["experience"]))
    assert np.allclose(truth["churn_probability"], expected)
    worst, best = (truth["churned"][rows] for rows in (truth["experience"] < -0.7, truth["experience"] > 0.7))
    if effect:
        more, less = (worst, best) if effect > 0 else (best, worst)
        assert more.mean() > 3 * less.mean()
    else:
        assert abs(worst.mean() - best.mean()) < 0.04
    assert truth["churned"].mean() == pytest.approx(expected.mean(), abs=0.02)


@pytest.mark.parametrize("effect", [1.0, 0.0, -1.0])
def test_answers_follow_experience_and_come_after_the_second_period(
    simulated: Callable[..., Read], effect: float
) -> None:
    read = simulated(experience_effect=effect)
    assert read.feedback.column_names == ["subscriber_id", "answered_at", "csat"]
    experience = dict(zip(read.truth["msisdn"], read.truth["experience"], strict=True))
    csat = read.feedback["csat"].to_numpy()
    felt = [experience[who] for who in read.feedback["subscriber_id"].to_pylist()]
    assert set(csat) == {1, 2, 3, 4, 5}
    assert 1_000 < len(csat) < 1_500
    # 0.8 of experience and 0.8 of noise: 0.71, less what rounding to five answers takes.
    assert np.corrcoef(felt, csat)[0, 1] == pytest.approx(0.68 * effect, abs=0.12)
    answered = read.feedback["answered_at"].cast(pa.timestamp("us", "UTC")).to_numpy()
    assert answered.min() >= np.datetime64("2026-03-30")
    assert answered.min() >= read["end_at"].max()


# --- faults ---


def test_faults_are_as_many_as_said_and_never_two_in_a_row(simulated: Callable[..., Read]) -> None:
    read = simulated(faults=True)
    said = json.loads(read.simulation.operator.read_text())
    nameless = read.sessions["msisdn"].is_null().to_numpy()
    negative = read["dl_bytes"] < 0
    early = read["end_at"] < read["start_at"]
    bearers = read.sessions["bearer_id"].to_pylist()
    assert said["fault_counts"] == dict.fromkeys(FAULTS, 40)
    assert said["row_count"] == read.sessions.num_rows == 40_040
    assert (nameless.sum(), negative.sum(), early.sum()) == (40, 40, 40)
    assert (nameless | negative | early).sum() == 120
    twins = [row for row in range(1, 40_040) if bearers[row] == bearers[row - 1]]
    assert len(twins) == 40
    for row in twins:
        assert read.sessions.slice(row, 1).equals(read.sessions.slice(row - 1, 1))
    assert (read["duration_s"] > 0).all()


def test_no_faults_unless_asked_for(simulated: Callable[..., Read]) -> None:
    read = simulated()
    assert json.loads(read.simulation.operator.read_text())["fault_counts"] == dict.fromkeys(FAULTS, 0)
    assert read.sessions["msisdn"].null_count == 0
    assert (read["dl_bytes"] >= 0).all()


# --- files ---


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Operator(subscribers=500, sessions=260_000, faults=True)  # two chunks
    steps: list[float] = []
    first = contents(simulate(operator, tmp_path / "a", progress=steps.append))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert contents(simulate(operator, tmp_path / "b")) == first
    assert len(steps) == 2
    assert 0 < steps[0] < steps[1] == 1
    assert pq.ParquetFile(tmp_path / "a" / "sessions.parquet").num_row_groups == 2


def test_another_seed_gives_another_operator(simulated: Callable[..., Read]) -> None:
    one, other = simulated(), simulated(seed=8)
    assert not np.array_equal(one["dl_bytes"], other["dl_bytes"])
    assert not np.array_equal(one.truth["segment"], other.truth["segment"])


def test_csv_says_the_same_as_parquet(simulated: Callable[..., Read], tmp_path: Path) -> None:
    operator = Operator(subscribers=100, sessions=1_000, faults=True)
    parquet = pq.read_table(simulate(operator, tmp_path / "p").sessions)
    path = simulate(operator, tmp_path / "c", file_format="csv").sessions
    first_row = path.read_text().splitlines()[1].split(",")
    assert first_row[5].startswith("2026-03-02T")
    assert len(first_row[5]) == len("2026-03-02T00:01:20.509Z")
    assert first_row[5].endswith("Z")
    types = {field.name: field.type for field in parquet.schema}
    options = arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    assert arrow_csv.read_csv(path, convert_options=options).equals(parquet)
    assert (tmp_path / "c/truth/subscribers.parquet").read_bytes() == (
        tmp_path / "p/truth/subscribers.parquet"
    ).read_bytes()


def test_the_knobs_are_kept(tmp_path: Path) -> None:
    operator = Operator(subscribers=10, sessions=10, starts_on=date(2025, 12, 29), days=2, missing=1.0)
    simulation = simulate(operator, tmp_path / "o")
    said = json.loads(simulation.operator.read_text())
    assert (said["subscribers"], said["starts_on"], said["missing"]) == (10, "2025-12-29", 1.0)
    assert said["sessions_file"] == "sessions.parquet"
    assert pq.read_table(simulation.sessions).num_rows == 10
    assert pq.read_table(simulation.sessions)["rtt_dl_ms"].null_count == 10


def test_an_interrupted_simulation_leaves_the_previous_one(tmp_path: Path) -> None:
    before = contents(simulate(Operator(subscribers=10, sessions=20), tmp_path))

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(Operator(subscribers=10, sessions=20, seed=8), tmp_path, progress=interrupt)
    assert contents(Simulation(tmp_path / "sessions.parquet", tmp_path / "truth")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sessions.parquet", "truth"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match="taken"):
        simulate(Operator(), tmp_path / "taken")


@pytest.mark.parametrize(
    ("knobs", "named"),
    [
        ({"subscribers": 9}, "subscribers"),
        ({"subscribers": 50, "sessions": 49}, "sessions"),
        ({"days": 27}, "days"),
        ({"days": 0}, "days"),
        ({"missing": 20}, "missing"),
        ({"cell_effect": math.nan}, "cell_effect"),
        ({"seed": -1}, "seed"),
    ],
)
def test_knobs_out_of_range_are_refused(tmp_path: Path, knobs: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"operator's {named} is out of range"):
        simulate(Operator(**knobs), tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="parquet or csv"):
        simulate(Operator(), tmp_path, file_format="xlsx")  # type: ignore[arg-type]


# --- the mapping ---


def test_the_mapping_describes_every_column_once(simulated: Callable[..., Read]) -> None:
    text = (resources.files("subsight") / "sources" / "mappings" / "subsight.toml").read_text("utf-8")
    mapping = tomllib.loads(text)
    plain = [column for column in SESSIONS if not column.derived and not column.is_family]
    assert mapping["name"] == "subsight"
    assert list(mapping["columns"]) == [column.name for column in plain]
    for column in plain:
        entry = mapping["columns"][column.name]
        if column.kind in ("float", "integer"):
            assert factor(entry["unit"], str(column.unit)) == 1
        assert ("format" in entry) == (column.kind == "instant")
    assert [(slug, app["name"]) for slug, app in mapping["applications"].items()] == [
        (app.slug, app.name) for app in APPLICATIONS
    ]
    assert {app["unit"] for app in mapping["applications"].values()} == {"bytes"}
    sources = [entry["source"] for entry in mapping["columns"].values()]
    sources += [app[way] for app in mapping["applications"].values() for way in ("dl", "ul")]
    assert sorted(sources) == sorted(simulated().sessions.column_names)
