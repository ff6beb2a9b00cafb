"""Subscriber tables: canonical values by hand, rejects with their reasons, which column is which."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight.errors import MappingError
from subsight.privacy import pseudonym, subscriber
from subsight.settings import load
from subsight.sources import files, inspection, mapping, subscriber_columns, subscribers, xdr
from subsight.store import Store

KEY = b"k" * 32
CLEAR = load(identifiers="clear")
NAMES = "subscriber_id,region,tenure_days,ul_kilobytes,dl_kilobytes,plan,is_churned"


def _file(folder: Path, header: str, *rows: str) -> Path:
    path = folder / "customers.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def _read(store: Store, path: Path, settings: Any = CLEAR) -> tuple[list[dict[str, Any]], subscribers.Read]:
    file = files.recognise(path)
    choice = subscriber_columns.choose(file)
    found = subscribers.read(store, file, choice.mapping, settings, KEY, is_given=False)
    return sorted(store.rows(found.reading.rows), key=lambda row: row["subscriber_id"]), found


def _reasons(store: Store, found: subscribers.Read) -> dict[tuple[str, str], int]:
    reasons = xdr.reject_reasons(store, found.reading.rejects, found.ragged)
    return {(r["column"], r["reason"]): r["count"] for r in reasons}


def test_canonical_names_are_read_as_they_are(store: Store, tmp_path: Path) -> None:
    path = _file(
        tmp_path, NAMES,
        "+33 6 64 96 22 39,3.0,1235,16534022,237360574,gold,0",
        "15,North,12.5,0,1e3,NA,true",
        "CUST-7 ,unknown,,,,,No",
        f"{'0A' * 16},2,0,1,2,basic,",
    )  # fmt: skip
    rows, found = _read(store, path)
    assert _reasons(store, found) == {}
    known = {name: [row[name] for row in rows] for name in rows[0] if name != "subscriber_hash"}
    assert known == {
        "subscriber_id": ["0a" * 16, "15", "33664962239", "CUST-7"],
        "region": ["2", "North", "3", None],
        "tenure_days": [0, 12.5, 1235, None],
        "ul_kilobytes": [1, 0, 16534022, None],
        "dl_kilobytes": [2, 1000, 237360574, None],
        "bearer_type": [None] * 4,
        "browser": [None] * 4,
        "browsing_category": [None] * 4,
        "plan": ["basic", None, "gold", None],
        "is_churned": [None, True, False, False],
    }
    keyed, _ = _read(store, path, load())
    assert {row["subscriber_id"] for row in keyed} == {
        "0a" * 16, *(pseudonym(name, KEY) for name in ("15", "33664962239", "CUST-7")),
    }  # fmt: skip
    assert {r["subscriber_hash"] for r in keyed} == {r["subscriber_hash"] for r in rows}


def test_what_cannot_be_right_is_rejected_and_counted(store: Store, tmp_path: Path) -> None:
    path = _file(
        tmp_path, NAMES,
        ",1,10,1,1,a,0",
        "1.31E+019,1,10,1,1,a,0",
        "A1,1,-0.5,1,1,a,0",
        "A2,1,36526,1,1,a,0",
        "A3,1,ten,1,1,a,0",
        "A4,1,10,inf,1,a,0",
        "A5,1,10,1,1e300,a,0",
        "A6,1,10,1,1,a,maybe",
        "B1,1,10,1,1,a,0",
        "B1,1.0,10.0,1,1,a,no",
        "C1,1,10,1,1,a,0",
        "C1,2,10,1,1,a,0",
        "C1,1,10,1,1,a,0",
        "D1,1,36525,NaN,0,a,1",
        "E1,1,10,1,1,a",
    )  # fmt: skip
    rows, found = _read(store, path)
    assert [row["subscriber_id"] for row in rows] == ["B1", "D1"]
    assert (rows[1]["tenure_days"], rows[1]["ul_kilobytes"]) == (36525, None)
    assert _reasons(store, found) == {
        ("subscriber_id", "missing"): 1,
        ("subscriber_id", "lost digits to a spreadsheet"): 1,
        ("tenure_days", "below 0"): 1,
        ("tenure_days", "above 36525"): 1,
        ("tenure_days", "not readable"): 1,
        ("ul_kilobytes", "not readable"): 1,
        ("dl_kilobytes", "above 2^53"): 1,
        ("is_churned", "neither yes nor no"): 1,
        ("", "identical to an earlier record"): 2,
        ("subscriber_id", "another row of the subscriber differs"): 2,
        ("", "another number of fields"): 1,
    }
    shown = {row["found"] for row in store.rows(found.reading.rejects)} - {None}
    assert shown == {"tenure_days: ten", "ul_kilobytes: inf", "is_churned: maybe"}
    missing = {f.column: f.count for f in found.decisions.findings if f.check == "missing"}
    assert missing == {"ul_kilobytes": 1}


def test_a_typed_file_is_read_as_it_is(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    pq.write_table(pa.table({
        "Subscriber": pa.array([19912682.0, 15.0, 12345678901.0, 2.5, None]),
        "Region": pa.array([3.0, None, 12345678.0, 1.0, 1.0]),
        "TENURE_Days": pa.array([1235, 1, 2, 3, 4], pa.int32()),
        "l4_ul_throughput": pa.array([1.5, float("nan"), float("inf"), 1.0, 1.0]),
        "l4_dl_throughput": pa.array([237360574, 2, 3, 4, 5], pa.int64()),
        "is_churned": pa.array([True, None, False, True, True]),
    }), path)  # fmt: skip
    rows, found = _read(store, path)
    (row,) = rows
    assert {name: row[name] for name in ("subscriber_id", "region", "tenure_days", "is_churned")} == {
        "subscriber_id": "19912682", "region": "3", "tenure_days": 1235, "is_churned": True,
    }  # fmt: skip
    assert (row["ul_kilobytes"], row["dl_kilobytes"]) == (1.5, 237360574)
    assert _reasons(store, found) == {
        ("ul_kilobytes", "not readable"): 2,
        ("subscriber_id", "lost digits to a spreadsheet"): 1,
        ("subscriber_id", "missing"): 1,
    }


NAMED = ("+33 6 64 96 22 39", "0033664962239", "33664962239.0", "1234567", "123456", "007654321", "15.0",
         "0015", "CUST-7", " a b ", "4E21", "1.31E+019", "1,31E+19", "9e+9", "12-34", "(06) 64.96.22.39",
         "1234567890123456", "ABCDEF" * 5 + "00", "Ü1", "123456789x")  # fmt: skip


def test_engines_and_search_name_a_subscriber_alike(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "names.parquet"
    pq.write_table(
        pa.table({"subscriber_id": NAMED, "tenure_days": [float(i) for i in range(len(NAMED))]}), path
    )
    file = files.recognise(path)
    by_name = mapping.Mapping("names", "subscribers", (
        mapping.MappedColumn("subscriber_id", "subscriber_id"),
        mapping.MappedColumn("tenure_days", "tenure_days", unit="days"),
    ))  # fmt: skip
    found = subscribers.read(store, file, by_name, CLEAR, KEY).reading
    kept = {int(row["tenure_days"]): row["subscriber_id"] for row in store.rows(found.rows)}
    # The first three are one person, whose rows differ; pseudonyms are written in small letters.
    assert {subscriber(name) for name in NAMED[:3]} == {"33664962239"}
    assert not kept.keys() & {0, 1, 2}
    for at, name in enumerate(NAMED[3:], 3):
        expected = subscriber(name)
        is_pseudonym = name.startswith("ABCDEF")
        assert kept.get(at) == (name.lower() if is_pseudonym else expected), name
    assert [subscriber(name) for name in NAMED[3:9]] == [
        "1234567", "123456", "7654321", "15", "0015", "CUST-7"
    ]  # fmt: skip


def test_long_numbers_that_a_spreadsheet_rounded_are_no_names(store: Store, tmp_path: Path) -> None:
    rounded = [f"{100_000_000_000_001 + i}0000" for i in range(6)]
    path = _file(tmp_path, NAMES, *(f"{name},1,1,1,1,a,0" for name in [*rounded, "1000000000000012345"]))
    rows, found = _read(store, path)
    assert [row["subscriber_id"] for row in rows] == ["1000000000000012345"]
    assert _reasons(store, found) == {("subscriber_id", "lost digits to a spreadsheet"): 6}
    whole = [f"{100_000_000_000_001 + i}000{i}" for i in range(6)]
    rows, _ = _read(store, _file(tmp_path, NAMES, *(f"{name},1,1,1,1,a,0" for name in whole)))
    assert [row["subscriber_id"] for row in rows] == whole


def test_the_published_sample_is_read_by_its_mapping(duck: Store, tmp_path: Path) -> None:
    path = _file(
        tmp_path, "subscriber_id,Region,TENURE_Days,l4_ul_throughput,l4_dl_throughput,browser",
        "19912682,3,1235,16534022,237360574,Opera", "104061393,3,1900,1014474,8023971,",
    )  # fmt: skip
    choice = subscriber_columns.choose(files.recognise(path))
    assert (choice.mapping.name, choice.findings) == ("acumos", ())
    rows, found = _read(duck, path)
    assert [(r["region"], r["tenure_days"], r["ul_kilobytes"], r["dl_kilobytes"]) for r in rows] == [
        ("3", 1900, 1014474, 8023971), ("3", 1235, 16534022, 237360574)
    ]  # fmt: skip
    assert [row["browser"] for row in rows] == [None, "Opera"]
    assert found.decisions.units == {"tenure_days": "days", "ul_kilobytes": "kB", "dl_kilobytes": "kB"}


def test_the_real_table_is_what_the_csv_module_reads(duck: Store, churn_csv: Path) -> None:
    rows, found = _read(duck, churn_csv)
    with churn_csv.open(newline="") as lines:
        raw = [row for row in csv.DictReader(lines) if float(row["subscription_age"]) >= 0]
    assert (len(rows), len(raw)) == (72_273, 72_273)
    assert _reasons(duck, found) == {("tenure_days", "below 0"): 1}
    for name, source, scale in (
        ("tenure_days", "subscription_age", 365.25),
        ("ul_kilobytes", "upload_avg", 1e6),
        ("dl_kilobytes", "download_avg", 1e6),
    ):
        given = [float(row[source]) for row in raw if row[source]]
        kept = [row[name] for row in rows if row[name] is not None]
        assert len(kept) == len(given)
        assert math.fsum(kept) == pytest.approx(scale * math.fsum(given), rel=1e-12)
    assert sum(row["is_churned"] for row in rows) == sum(row["churn"] == "1" for row in raw)
    assert {row["subscriber_id"] for row in rows} == {row["id"] for row in raw}
    assert {row["region"] for row in rows} == {None}
    by_id = {row["subscriber_id"]: row for row in rows}
    assert by_id["15"]["tenure_days"] == 11.95 * 365.25
    assert (by_id["15"]["dl_kilobytes"], by_id["15"]["ul_kilobytes"]) == (8.4e6, 2.3e6)


@pytest.mark.parametrize(("header", "named"), [
    ("MSISDN,Region name,Tenure (months),DL volume (GB),UL volume (GB),Churn flag",
     {"subscriber_id": None, "region": None, "tenure_days": "months", "dl_kilobytes": "GB",
      "ul_kilobytes": "GB", "is_churned": None}),
    ("customerID,age_on_network_days,download_avg_mb,browser name,tariff plan",
     {"subscriber_id": None, "tenure_days": "days", "dl_kilobytes": "MB", "browser": None, "plan": None}),
    ("Subscriber,subscription_age_years,Total Uplink KiB,Uplink YouTube KiB",
     {"subscriber_id": None, "tenure_days": "years", "ul_kilobytes": "KiB"}),
    ("id,MSISDN,weeks on network", {"subscriber_id": None, "tenure_days": "weeks"}),
    ("subscriber_id,tenure_days,Download (GB)",
     {"subscriber_id": None, "tenure_days": "days", "dl_kilobytes": "GB"}),
])  # fmt: skip
def test_plain_words_are_proposed_and_said(tmp_path: Path, header: str, named: dict[str, str | None]) -> None:
    values = ",".join("3" for _ in header.split(","))
    choice = subscriber_columns.choose(files.recognise(_file(tmp_path, header, values)))
    assert {column.name: column.unit for column in choice.mapping.columns} == named
    (said,) = [finding for finding in choice.findings if finding.column == "columns"]
    assert said.severity == "warning"
    for column in choice.mapping.columns:
        if column.source != column.name:
            assert f"{column.source!r} as {column.name}" in said.text
            assert column.unit is None or f"{column.name} in {column.unit}" in said.text
    if "MSISDN" in header:
        assert next(c.source for c in choice.mapping.columns if c.name == "subscriber_id") == "MSISDN"


@pytest.mark.parametrize(("header", "doubt"), [
    ("customerID,tenure,Churn", "'tenure' as tenure_days: in which unit is not said"),
    ("customerID,download,churn", "'download' as dl_kilobytes: in which unit is not said"),
    ("customerID,tx GB,churn", "uplink or downlink depends on who speaks"),
    ("customerID,YouTube download GB,churn", "the whole or a part"),
    ("customerID,Region,l4_ul_throughput", "'l4_ul_throughput' as ul_kilobytes: a throughput is a rate"),
    ("customer id,user id,Region", "'customer id' and 'user id' may each be it"),
    ("customerID,tenure days,tenure months", "'tenure days' and 'tenure months' may each be it"),
    ("customerID,home region,recharge region", "'home region' and 'recharge region' may each be it"),
    ("name,Region,plan", "plainly the subscriber's identifier"),
    ("customerID,age,charges", "plainly anything else"),
    ("33664962239,12,1", "seems to have no header"),
])  # fmt: skip
def test_what_words_leave_open_is_refused(tmp_path: Path, header: str, doubt: str) -> None:
    values = ",".join("3" for _ in header.split(","))
    with pytest.raises(MappingError) as refused:
        subscriber_columns.choose(files.recognise(_file(tmp_path, header, values)))
    assert doubt in str(refused.value)
    assert "33664962239" not in str(refused.value)


def test_the_draft_of_a_refusal_is_a_mapping_once_its_unit_is_given(duck: Store, tmp_path: Path) -> None:
    path = _file(tmp_path, "customerID,tenure,Churn", "7590-VHVEG,34,No", "X,1,Yes")
    with pytest.raises(MappingError) as refused:
        subscriber_columns.choose(files.recognise(path))
    draft = (refused.value.do or "").partition("\n\n")[2]
    own = tmp_path / "own.toml"
    own.write_text(draft)
    with pytest.raises(MappingError, match="unit that it cannot have"):
        mapping.read(own)
    own.write_text(draft.replace('"?"', '"months"'))
    found = subscribers.read(duck, files.recognise(path), mapping.read(own), CLEAR, KEY)
    rows = sorted(duck.rows(found.reading.rows), key=lambda row: row["subscriber_id"])
    assert [(r["subscriber_id"], r["tenure_days"], r["is_churned"]) for r in rows] == [
        ("7590-VHVEG", 34 * 30.4375, False), ("X", 30.4375, True)
    ]  # fmt: skip


def test_a_tenure_in_years_is_not_taken_for_days(duck: Store, tmp_path: Path) -> None:
    ages = [f"C{i},{0.25 + i / 7:.2f},0,0" for i in range(40)]
    path = _file(tmp_path, "subscriber_id,tenure_days,ul_kilobytes,dl_kilobytes", *ages)
    with pytest.raises(MappingError, match=r"declared days, but the longest is 5\.82"):
        _read(duck, path)
    file, own = files.recognise(path), subscriber_columns.choose(files.recognise(path)).mapping
    found = subscribers.read(duck, file, own, CLEAR, KEY, is_given=True)
    said = {(f.column, f.check, f.severity) for f in found.decisions.findings}
    assert {("tenure_days", "unit", "warning"), ("ul_kilobytes", "range", "warning")} <= said
    days = [f"C{i},{100 * i}.5,2,1" for i in range(40)]
    _, found = _read(duck, _file(tmp_path, "subscriber_id,tenure_days,ul_kilobytes,dl_kilobytes", *days))
    said = {(f.column, f.check, f.severity) for f in found.decisions.findings}
    assert ("ul_kilobytes", "direction", "warning") in said
    assert not any(check == "unit" for _, check, _ in said)
    years = [f"C{i},{1000 + i}" for i in range(40)]
    with pytest.raises(MappingError, match="40 of 40 are above 100 years"):
        _read(duck, _file(tmp_path, "customer id,tenure years", *years))


def test_each_table_keeps_to_its_own_mappings(duck: Store, tmp_path: Path) -> None:
    path = _file(
        tmp_path, "Subscriber,Region,TENURE_Days,l4_ul_throughput,l4_dl_throughput", "1,1,1,1,1", "2,1,1,1,1"
    )
    file = files.recognise(path)
    with pytest.raises(MappingError, match="subscriber_id or start_at"):
        inspection.choose(duck, file, CLEAR)
    with pytest.raises(MappingError, match="acumos describes other records"):
        xdr.parse(duck, file, mapping.read("acumos"), CLEAR)
    with pytest.raises(MappingError, match="tellco describes other records"):
        subscribers.read(duck, file, mapping.read("tellco"), CLEAR, KEY)
    assert {m.name for m in mapping.shipped("sessions")} == {"subsight", "tellco"}
