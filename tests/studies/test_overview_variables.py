"""Every variable's centre, spread and plot, raw and treated, against NumPy on the same values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from subsight.answers import Answer, dumps
from subsight.contracts import Application
from subsight.enrich import treatment
from subsight.results import respectful
from subsight.settings import Settings
from subsight.store import Store, open_store
from subsight.studies import Inputs, charts
from subsight.studies.overview import QUESTIONS
from subsight.studies.overview.variables import lean
from subsight.tables import SESSIONS

APPS = (Application("gaming", "Gaming"), Application("web", "Web"))
CONTRACT = SESSIONS.expand(APPS)
ASK = {question.id.partition(".")[2]: question for question in QUESTIONS}
ARROW = {"text": pa.string(), "float": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(),
         "date": pa.date32(), "instant": pa.timestamp("us", "UTC")}  # fmt: skip
POLICIES = ("mean", "median", "winsorise", "none")
LATENCIES = [1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0, 900.0, None, None, None]


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def inputs(
    store: Store, columns: Mapping[str, Sequence[Any]], profiles: Any = None, **settings: Any
) -> Inputs:
    """Sessions with the given columns, every other column of the contract never observed."""
    chosen = Settings(**{"minimum_group": 1, **settings})
    count = len(next(iter(columns.values())))
    columns = {
        "subscriber_id": [f"s{i}" for i in range(count)],
        "subscriber_hash": list(range(count)),
        **columns,
    }
    arrays = {c.name: pa.array(columns.get(c.name, [None] * count), ARROW[c.kind]) for c in CONTRACT}
    frame = store.from_arrow(pa.table(arrays))
    measured = set(treatment.measures(CONTRACT)) & set(columns)
    fitted = treatment.fit(store, frame, CONTRACT, chosen.treatment) if measured else {}
    sessions = treatment.apply(frame, CONTRACT, fitted)
    people = profiles if profiles is not None else frame
    return Inputs(store, sessions, people, CONTRACT, chosen, fitted, {}, {})


def ask(store: Store, name: str, columns: Mapping[str, Sequence[Any]], **settings: Any) -> Answer:
    return ASK[name].answer(inputs(store, columns, **settings))


def treated(values: Sequence[float | None], policy: str) -> list[float]:
    """The policy on a list, written down once more and without an engine."""
    seen = np.array([v for v in values if v is not None])
    first, third = np.percentile(seen, [25, 75])
    low, high = first - 1.5 * (third - first), third + 1.5 * (third - first)
    if policy == "none":
        return list(seen)
    if policy == "winsorise":
        return [float(np.median(seen)) if v is None else min(max(v, low), high) for v in values]
    fill = float(seen.mean() if policy == "mean" else np.median(seen))
    return [fill if v is None or not low <= v <= high else v for v in values]


def mode(values: Sequence[float]) -> tuple[float, int]:
    counts = Counter(values)
    value = min(counts, key=lambda v: (-counts[v], v))
    return value, counts[value]


def said(answer: Answer) -> str:
    return " ".join(answer.reading)


# What is there


def test_missing_values_and_outliers_are_counted_by_hand(duckdb_store: Store) -> None:
    handsets = ["P", None] + ["Q"] * 10
    answer = ask(duckdb_store, "variables", {"rtt_dl_ms": LATENCIES, "handset": handsets})
    rows = {row["variable"]: row for row in answer.rows}
    latency = rows["rtt_dl_ms"]
    assert (latency["type"], latency["unit"], latency["used_for"]) == ("float", "ms", "experience")
    assert latency["meaning"] == "mean round-trip time, downlink"
    assert (latency["observed_count"], latency["missing_count"], latency["outlier_count"]) == (9, 3, 1)
    assert latency["missing_share"] == 0.25
    assert latency["outlier_share"] == 1 / 9
    assert (rows["handset"]["missing_count"], rows["handset"]["outlier_count"]) == (1, None)
    assert rows["app_web_dl_bytes"]["observed_count"] == 0
    assert "subscriber_hash" not in rows
    assert (answer.facts["missing_value_count"], answer.facts["outlier_value_count"]) == (3, 1)
    assert "the widest in downlink round-trip time (25.0 % missing)" in said(answer)


def test_a_clean_extract_is_called_clean(duckdb_store: Store) -> None:
    text = said(ask(duckdb_store, "variables", {"rtt_dl_ms": [1.0, 2.0, 3.0]}))
    assert "No observed variable has gaps." in text
    assert "No measure has outliers." in text


# Centre


@pytest.mark.parametrize("policy", POLICIES)
def test_mean_median_and_mode_raw_and_treated(duckdb_store: Store, policy: str) -> None:
    (row,) = ask(duckdb_store, "centre", {"rtt_dl_ms": LATENCIES}, treatment=policy).rows
    seen, after = [v for v in LATENCIES if v is not None], treated(LATENCIES, policy)
    assert (row["mean_raw"], row["median_raw"]) == pytest.approx((np.mean(seen), np.median(seen)))
    assert (row["mean_treated"], row["median_treated"]) == pytest.approx((np.mean(after), np.median(after)))
    assert (row["mode_raw"], row["mode_raw_count"]) == mode(seen) == (1.0, 2)
    assert (row["mode_treated"], row["mode_treated_count"]) == pytest.approx(mode(after))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "values",
    [
        [7.0, 7.0, 7.0, 1.0, 2.0, 3.0, None],
        [100.0, 100.0, 100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        [1.0, 2.0, 3.0, 4.0, 5.0],
        [3.0, 3.0, 4.0, 4.0, 90.0, None],
        [1.0, 1.0, 5.0, 5.0, 5.0, 8.0, 9.0, 9.0, None, None],
    ],
    ids=["inside", "outlying", "unique", "tied with fill", "fill is a value"],
)
def test_modes_survive_every_policy(duckdb_store: Store, values: list[float | None], policy: str) -> None:
    (row,) = ask(duckdb_store, "centre", {"rtt_dl_ms": values}, treatment=policy).rows
    assert (row["mode_raw"], row["mode_raw_count"]) == mode([v for v in values if v is not None])
    assert (row["mode_treated"], row["mode_treated_count"]) == pytest.approx(mode(treated(values, policy)))


@pytest.mark.parametrize(
    ("values", "word", "text"),
    [
        ([1.0, 2.0, 3.0, 4.0, 900.0], "raised", "is raised by large values: downlink round-trip time"),
        ([-899.0, 1.0, 2.0, 3.0, 4.0], "lowered", "is lowered by small values: downlink round-trip time"),
        ([1.0, 2.0, 3.0, 4.0, 5.0], "level", "1 (all) show no clear difference"),
    ],
)
def test_the_centre_to_go_by_turns(duckdb_store: Store, values: list[float], word: str, text: str) -> None:
    answer = ask(duckdb_store, "centre", {"rtt_dl_ms": values})
    (row,) = answer.rows
    assert row["mean_against_median"] == word
    assert row["importance"].startswith("experience: ")
    assert text in said(answer)
    assert "For experience: downlink round-trip time has" in said(answer)


def test_fill_in_is_called_fill_in_only_under_a_policy_that_fills(duckdb_store: Store) -> None:
    values = [1.0, 2.0, 3.0, None, None, None]
    assert "fill-in for downlink round-trip time" in said(ask(duckdb_store, "centre", {"rtt_dl_ms": values}))
    assert "fill-in" not in said(ask(duckdb_store, "centre", {"rtt_dl_ms": values}, treatment="none"))
    assert "fill-in" not in said(ask(duckdb_store, "centre", {"rtt_dl_ms": [*values, 1.0, 2.0]}))


def test_lean_measures_against_the_quartiles() -> None:
    assert lean(3.0, 3.0, 3.0, 3.0) == "level"
    assert lean(3.1, 3.0, 3.0, 3.0) == "raised"
    # 0.2 of 1.349 / 1.349: a fifth of a standard deviation
    assert lean(0.21, 0.0, -0.6745, 0.6745) == "raised"
    assert lean(-0.19, 0.0, -0.6745, 0.6745) == "level"


# Dispersion


def spread(values: Sequence[float]) -> dict[str, float]:
    """Population moments by the book."""
    x = np.asarray(values, dtype=float)
    centred, deviation = x - x.mean(), x.std()
    return {
        "range": np.ptp(x), "variance": (centred**2).mean(), "standard_deviation": deviation,
        "iqr": np.subtract(*np.percentile(x, [75, 25])), "coefficient_of_variation": deviation / x.mean(),
        "skew": (centred**3).mean() / deviation**3, "kurtosis": (centred**4).mean() / deviation**4 - 3,
    }  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
def test_dispersion_raw_and_treated_matches_numpy(duckdb_store: Store, policy: str) -> None:
    long = [*np.random.default_rng(2).lognormal(3, 1, 500), *[None] * 60]
    (row,) = ask(duckdb_store, "dispersion", {"rtt_ul_ms": long}, treatment=policy).rows
    for suffix, values in (("raw", [v for v in long if v is not None]), ("treated", treated(long, policy))):
        for name, value in spread(values).items():
            assert row[f"{name}_{suffix}"] == pytest.approx(value, rel=1e-9), name


def test_large_means_do_not_cancel_the_moments(duckdb_store: Store) -> None:
    values = 1e9 + np.arange(100.0) ** 2 / 1000
    (row,) = ask(duckdb_store, "dispersion", {"rtt_ul_ms": list(values)}).rows
    assert row["kurtosis_raw"] == pytest.approx(spread(values - 1e9)["kurtosis"], rel=1e-5)


def test_a_constant_has_no_shape(duckdb_store: Store) -> None:
    (row,) = ask(duckdb_store, "dispersion", {"rtt_ul_ms": [0.1] * 7}).rows
    assert (row["range_raw"], row["standard_deviation_raw"], row["iqr_raw"]) == (0, 0, 0)
    assert (row["skew_raw"], row["kurtosis_raw"]) == (None, None)
    (zero,) = ask(duckdb_store, "dispersion", {"rtt_ul_ms": [-1.0, 0.0, 1.0]}).rows
    assert zero["coefficient_of_variation_raw"] is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 90.0], "1 of 1 measure is strongly skewed (1 to large values)"),
        ([-90.0, 1.0, 2.0, 3.0, 4.0, 5.0], "1 of 1 measure is strongly skewed (1 to small values)"),
        ([1.0, 2.0, 3.0, 4.0, 5.0], "No measure is strongly skewed."),
    ],
)
def test_words_on_skew_turn(duckdb_store: Store, values: list[float], words: str) -> None:
    answer = ask(duckdb_store, "dispersion", {"rtt_ul_ms": values})
    assert words in said(answer)
    tailed = "No measure" not in words
    assert ("Treatment cuts the standard deviation of 1" in said(answer)) is tailed
    assert ("Treatment makes no clear difference" in said(answer)) is not tailed


# Plots


def test_linear_bins_match_numpy(duckdb_store: Store) -> None:
    values = np.random.default_rng(4).uniform(0, 50, 1000)
    rows = ask(duckdb_store, "plot_service", {"rtt_dl_ms": [*values, None]}).rows
    counts, edges = np.histogram(values, bins=24)
    assert {row["scale"] for row in rows} == {"linear"}
    assert [row["session_count"] for row in rows] == list(counts)
    assert [row["bin_low"] for row in rows] == pytest.approx(edges[:-1])
    assert rows[-1]["bin_high"] == pytest.approx(values.max())


def test_long_tails_get_logarithmic_bins_and_zeros_one_of_their_own(duckdb_store: Store) -> None:
    values = np.random.default_rng(4).lognormal(2, 2, 1000)
    rows = ask(duckdb_store, "plot_service", {"rtt_dl_ms": [*values, 0.0, 0.0]}).rows
    counts, edges = np.histogram(np.log(values), bins=24)
    assert {row["scale"] for row in rows} == {"log"}
    assert (rows[0]["bin_low"], rows[0]["session_count"]) == (0, 2)
    assert [row["session_count"] for row in rows[1:]] == list(counts)
    assert [row["bin_low"] for row in rows[1:]] == pytest.approx(np.exp(edges[:-1]))


def test_a_bin_of_many_sessions_of_few_subscribers_is_not_told(duckdb_store: Store) -> None:
    # 100 subscribers with a session each at 0 ms, and 40 sessions of one of them at 240 ms.
    ids = [*range(100), *[0] * 40]
    given = {"rtt_dl_ms": [0.0] * 100 + [240.0] * 40, "subscriber_hash": ids,
             "subscriber_id": [f"s{i}" for i in ids]}  # fmt: skip
    answer = ask(duckdb_store, "plot_service", given)
    first, last = answer.rows[0], answer.rows[-1]
    assert (first["session_count"], first["subscriber_count"]) == (100, 100)
    assert (last["session_count"], last["subscriber_count"]) == (40, 1)
    assert respectful(answer, 15).rows[-1]["session_count"] is None


def test_every_observed_measure_is_plotted_once(duckdb_store: Store) -> None:
    numeric = treatment.measures(CONTRACT)
    columns = {name: [0.0, 1.0, 0.5] if name.endswith("share") else [1, 2, 3] for name in numeric}
    plots = [name for name in ASK if name.startswith("plot_")]
    drawn = [{row["variable"] for row in ask(duckdb_store, plot, columns).rows} for plot in plots]
    assert sum(map(len, drawn)) == len(numeric)
    assert set().union(*drawn) == set(numeric)


def test_a_constant_takes_one_bin(duckdb_store: Store) -> None:
    answer = ask(duckdb_store, "plot_service", {"rtt_dl_ms": [4.0] * 3})
    (row,) = answer.rows
    assert (row["bin_low"], row["session_count"]) == (4, 3)
    assert "Never varying: downlink round-trip time." in said(answer)


def test_categories_list_their_commonest_values(duckdb_store: Store) -> None:
    makers = ["Quince"] * 12 + ["Pear"] * 12 + [None] * 30
    answer = ask(duckdb_store, "categories", {"handset_manufacturer": makers})
    assert [(r["rank"], r["value"], r["session_count"]) for r in answer.rows] == [
        (1, "Pear", 12),
        (2, "Quince", 12),
    ]
    assert answer.reading == ("Handset manufacturer: the commonest value is Pear (12 sessions).",)
    assert "Pear" not in said(
        ask(duckdb_store, "categories", {"handset_manufacturer": makers}, minimum_group=15)
    )


def test_missing_cells_take_the_mode_and_handsets_never_do(duckdb_store: Store) -> None:
    given = {"cell_id": ["C1"] * 7 + ["C2"] * 3 + [None] * 2, "handset": ["P"] * 7 + [None] * 5}
    rows = {row["value"]: row for row in ask(duckdb_store, "categories", given).rows}
    assert [(rows[k]["session_count"], rows[k]["treated_session_count"]) for k in ("C1", "C2", "P")] == [
        (7, 9), (3, 3), (7, 7),
    ]  # fmt: skip
    untreated = ask(duckdb_store, "categories", given, treatment="none").rows
    assert all(row["session_count"] == row["treated_session_count"] for row in untreated)


@pytest.mark.parametrize("peak", [8, 20, None])
def test_the_busy_hour_moves_with_the_sessions(duckdb_store: Store, peak: int | None) -> None:
    hours = [hour for hour in range(24) for _ in range(200)] + [peak] * 200
    answer = ask(duckdb_store, "times", {"local_hour": hours})
    assert [row["local_hour"] for row in answer.rows] == list(range(24))
    if peak is None:
        assert "no clear difference" in said(answer)
    else:
        assert f"1 hour clearly above an even share, busiest from {peak}:00 (8.0 % of sessions)" in said(
            answer
        )
        assert answer.rows[peak]["session_count"] == 400


# All of it


def everything(count: int) -> dict[str, list[Any]]:
    draw = np.random.default_rng(6)
    columns: dict[str, list[Any]] = {}
    for column in CONTRACT:
        if column.name == "local_hour":
            columns[column.name] = [int(h) for h in draw.integers(0, 24, count)]
        elif column.kind == "float":
            top = 1.0 if column.unit == "share" else 100.0
            columns[column.name] = [float(v) for v in draw.uniform(0, top, count)]
        elif column.kind == "integer" and not column.internal:
            columns[column.name] = [int(v) for v in draw.lognormal(8, 2, count)]
    columns |= {
        "handset": list("PQ") * (count // 2),
        "handset_manufacturer": ["Pear", "Quince"] * (count // 2),
    }
    columns["start_at"] = [datetime(2026, 3, 1, tzinfo=UTC)] * count
    return columns


def people(store: Store, count: int) -> Any:
    draw = np.random.default_rng(7)
    names = [*(f"app_{app.slug}_bytes" for app in APPS), "dl_bytes", "ul_bytes", "total_bytes", "duration_s"]
    columns: dict[str, Any] = {name: draw.uniform(1, 100, count) for name in names}
    columns |= {"subscriber_id": [f"s{i}" for i in range(count)], "subscriber_hash": range(count)}
    columns |= {"session_count": [1] * count, "handset": list("PQ") * (count // 2)}
    return store.from_arrow(pa.table(columns | {"handset_manufacturer": columns["handset"]}))


QUALITY = {
    "records": 1, "rejected": 0, "without_subscriber_count": 0,
    "coverage": [{"local_date": date(2026, 3, 1).isoformat(), "session_count": 1, "subscriber_count": 1}],
    "periods": {"comparable": False, "first": None, "second": None},
}  # fmt: skip
RECORD = {
    "features": ["app_gaming_bytes", "app_web_bytes"], "fit": {"rows": 40, "explained_share": [0.6, 0.4]},
    "parameters": {"components": [[0.7, 0.7], [0.7, -0.7]]},
}  # fmt: skip


def test_every_answer_is_plain_and_its_chart_renders(duckdb_store: Store) -> None:
    import vl_convert as convert

    given = inputs(duckdb_store, everything(40), people(duckdb_store, 40))
    given = Inputs(**{**vars(given), "models": {"components": RECORD}, "quality": QUALITY})
    answers = [question.answer(given) for question in QUESTIONS]
    assert [a.id for a in answers] == [f"overview.{name}" for name in ASK]
    assert [a.question for a in answers] == [question.text for question in QUESTIONS]
    dumps(answers)  # refuses what is not JSON
    for answer in answers:
        assert answer.rows, answer.id
        assert answer.reading, answer.id
        assert {tuple(row) for row in answer.rows} == {answer.columns}, answer.id
        assert len(answer.rows) <= 500, answer.id
        if answer.chart:
            data = {"values": answer.to_json()["table"]["rows"]}
            data = {"values": [dict(zip(answer.columns, row, strict=True)) for row in data["values"]]}
            spec = {
                "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
                "data": data,
                **answer.chart,
            }
            assert "<svg" in convert.vegalite_to_svg(spec), answer.id
    assert charts.facet({}, "variable")["columns"] == 3


def test_an_extract_with_little_in_it_is_answered_in_words(duckdb_store: Store) -> None:
    names = [*(f"app_{app.slug}_bytes" for app in APPS), "dl_bytes", "ul_bytes", "total_bytes", "duration_s"]
    columns: dict[str, Any] = {name: pa.array([None], pa.int64()) for name in names}
    columns |= {name: pa.array([None], pa.string()) for name in ("handset", "handset_manufacturer")}
    columns |= {"subscriber_id": ["s0"], "subscriber_hash": [0], "session_count": [1]}
    profiles = duckdb_store.from_arrow(pa.table(columns))
    given = inputs(duckdb_store, {"subscriber_id": ["s0"]}, profiles)
    empty = {**QUALITY, "coverage": []}
    given = Inputs(**{**vars(given), "quality": empty})
    for question in QUESTIONS:
        assert question.answer(given).reading, question.id
