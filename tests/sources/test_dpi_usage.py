"""Usage by deep packet inspection: hand-made files on each engine, and the shared table of hosts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight import ingestion
from subsight.errors import InputError, MappingError
from subsight.privacy import pseudonym, subscriber
from subsight.settings import Settings, load
from subsight.sources import dpi_usage, files, mapping, offer_columns, xdr
from subsight.store import Store
from subsight.workspace import Workspace

KEY = "k" * 32
HEADER = ("SubscriberID", "DpiPolicy", "contentType", "IpProtocol", "appName", "bytesFromClient",
          "bytesFromServer", "sessions_count", "transationDuration")  # fmt: skip
LISTS = ("policies", "contents", "protocols", "applications")
CANONICAL = ("subscriber_id", *LISTS, "ul_bytes", "dl_bytes", "session_count", "duration_s")
GOOD: list[tuple[Any, ...]] = [
    ("+33 6 64 96 22 39", ["Encrypted"], ["Video", "Web"], ["TCP", "UDP"], ["YouTube"], 10, 2_000, 3, 1.5),
    ("S0123456789", [], [], ["UDP"], ["Unknown"], 0, 0, 1, 0.0),
    (" S2 ", ["ClearText", None, " "], None, ["TCP", "NA"], [" DNS "], None, 7, None, None),
    ("S3", ["ClearText"], ["Web"], ["TCP"], ["a, b", "[c]"], 5, 6, 7, 8.25),
    ("S3", ["ClearText"], ["Chat"], ["TCP"], ["a", "b", "[c]"], 5, 6, 7, 8.25),
]
EXPECTED: list[tuple[Any, ...]] = [
    ("33664962239", ["Encrypted"], ["Video", "Web"], ["TCP", "UDP"], ["YouTube"], 10, 2_000, 3, 1.5),
    ("S0123456789", [], [], ["UDP"], ["Unknown"], 0, 0, 1, 0.0),
    ("S2", ["ClearText"], None, ["TCP"], ["DNS"], None, 7, None, None),
    ("S3", ["ClearText"], ["Web"], ["TCP"], ["a, b", "[c]"], 5, 6, 7, 8.25),
    ("S3", ["ClearText"], ["Chat"], ["TCP"], ["a", "b", "[c]"], 5, 6, 7, 8.25),
]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)


def as_csv(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = HEADER) -> Path:
    """Lists as JSON, as the issue has them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in row])
    return path


def as_parquet(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = HEADER) -> Path:
    texts = pa.list_(pa.string())
    types = [pa.string(), texts, texts, texts, texts, pa.int64(), pa.int64(), pa.int64(), pa.float64()]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(list(c), t) for c, t in zip(columns, types, strict=True)]
    pq.write_table(pa.table(dict(zip(header, arrays, strict=True))), path)
    return path


def read(store: Store, path: Path, **settings: Any) -> tuple[list[tuple[Any, ...]], dpi_usage.Read]:
    """The rows in an order of their own, and the rest."""
    file = files.recognise(path)
    choice = offer_columns.choose(file, "dpi_usage")
    found = dpi_usage.read(store, file, choice.mapping, load(**settings), KEY.encode())
    rows = [tuple(row[name] for name in CANONICAL) for row in store.rows(found.reading.rows)]
    return sorted(rows, key=repr), found


def counts(found: dpi_usage.Read) -> dict[tuple[str, str], tuple[str, int]]:
    return {(f.column, f.check): (f.severity, f.count) for f in found.decisions.findings}


def reasons(store: Store, found: dpi_usage.Read) -> dict[str, int]:
    told = xdr.reject_reasons(store, found.reading.rejects, found.ragged)
    return {f"{r['column']}|{r['reason']}": r["count"] for r in told}


@pytest.mark.parametrize("write", [as_csv, as_parquet], ids=["csv", "parquet"])
def test_usage_is_read_from_lists_and_from_json_alike(store: Store, tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "dpi", [*GOOD, GOOD[3], GOOD[1]])
    rows, found = read(store, path, identifiers="clear")
    assert rows == sorted(EXPECTED, key=repr)
    assert reasons(store, found) == {"|identical to an earlier record": 2}
    assert counts(found) == {
        ("policies", "elements"): ("corrected", 2),
        ("protocols", "elements"): ("corrected", 1),
        ("policies", "empty"): ("note", 1),
        ("contents", "empty"): ("note", 1),
        ("contents", "missing"): ("warning", 1),
        ("ul_bytes", "missing"): ("warning", 1),
        ("session_count", "missing"): ("warning", 1),
        ("duration_s", "missing"): ("warning", 1),
        ("subscriber_id", "several rows"): ("warning", 1),
    }


def test_pseudonyms_are_those_of_every_table(store: Store, tmp_path: Path) -> None:
    rows, _ = read(store, as_csv(tmp_path / "dpi.csv", GOOD))
    names = {subscriber(row[0]) or "" for row in GOOD}
    assert {row[0] for row in rows} == {pseudonym(name, KEY.encode()) for name in names}


def test_what_cannot_be_right_is_rejected_and_counted(store: Store, tmp_path: Path) -> None:
    def but(**changed: Any) -> tuple[Any, ...]:
        return tuple(changed.get(name, value) for name, value in zip(CANONICAL, GOOD[3], strict=True))

    path = as_csv(tmp_path / "dpi.csv", [
        but(subscriber_id=""),
        but(subscriber_id="1.31E+019"),
        but(policies="['ClearText']"),
        but(contents='["Web"'),
        but(applications="DNS"),
        but(ul_bytes="-1"),
        but(dl_bytes="-2000"),
        but(dl_bytes="9100000000000000"),
        but(dl_bytes="1.5"),
        but(ul_bytes="much"),
        but(session_count="-3"),
        but(duration_s="-0.5"),
        but(duration_s="inf"),
        but()[:-1],
        *GOOD,
    ])  # fmt: skip
    rows, found = read(store, path, identifiers="clear")
    assert rows == sorted(EXPECTED, key=repr)
    assert reasons(store, found) == {
        "subscriber_id|missing": 1,
        "subscriber_id|lost digits to a spreadsheet": 1,
        "policies|no JSON list of texts": 1,
        "contents|no JSON list of texts": 1,
        "applications|no JSON list of texts": 1,
        "ul_bytes|below 0": 1,
        "dl_bytes|below 0": 1,
        "dl_bytes|above 2^53": 1,
        "dl_bytes|not a whole number": 1,
        "ul_bytes|not readable": 1,
        "session_count|below 0": 1,
        "duration_s|below 0": 1,
        "duration_s|not readable": 1,
        "|another number of fields": 1,
    }
    shown = {row["found"] for row in store.rows(found.reading.rejects)} - {None}
    assert shown == {
        "policies: ['ClearText']", 'contents: ["Web"', "applications: DNS", "ul_bytes: much",
        "duration_s: inf",
    }  # fmt: skip


@pytest.mark.parametrize("duration", ["transationDuration", "transactionDuration", "duration_s"])
def test_headers_are_known_in_any_case(tmp_path: Path, duck: Store, duration: str) -> None:
    header = (*HEADER[:-1], duration)
    for number, names in enumerate((header, [n.upper() for n in header], (*CANONICAL[:-1], duration))):
        rows, _ = read(duck, as_csv(tmp_path / f"{number}.csv", GOOD, tuple(names)), identifiers="clear")
        assert rows == sorted(EXPECTED, key=repr)


@pytest.mark.parametrize("lacking", ["SubscriberID", "bytesFromClient", "bytesFromServer"])
def test_a_file_without_a_subscriber_or_a_volume_is_refused(tmp_path: Path, lacking: str) -> None:
    header = tuple("other" if name == lacking else name for name in HEADER)
    path = as_csv(tmp_path / "dpi.csv", GOOD, header)
    with pytest.raises(MappingError, match="lacks columns of dpi_usage") as refused:
        offer_columns.choose(files.recognise(path), "dpi_usage")
    assert CANONICAL[HEADER.index(lacking)] in refused.value.what


def test_a_file_without_any_list_is_refused_and_one_without_some_says_so(duck: Store, tmp_path: Path) -> None:
    bare = as_csv(
        tmp_path / "bare.csv", [(row[0], row[5], row[6]) for row in GOOD], (HEADER[0], *HEADER[5:7])
    )
    with pytest.raises(MappingError, match="policies or contents or protocols or applications"):
        read(duck, bare)
    some = [(row[0], row[4], row[5], row[6]) for row in GOOD]
    path = as_csv(tmp_path / "some.csv", some, (HEADER[0], HEADER[4], *HEADER[5:7]))
    rows, found = read(duck, path, identifiers="clear")
    assert [row[1:4] + row[7:] for row in rows] == [(None,) * 5] * len(GOOD)
    (said,) = (f for f in found.decisions.findings if f.column == "columns")
    assert (said.severity, said.count) == ("warning", len(GOOD))
    assert "policies, contents, protocols, session_count, duration_s" in said.text


def test_a_column_of_another_type_is_refused(duck: Store, tmp_path: Path) -> None:
    for number, column in enumerate((pa.array([1.5]), pa.array([[1.5]]), pa.array([{"a": 1}]))):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"SubscriberID": ["S1"], "appName": column, "bytesFromClient": [1],
                                 "bytesFromServer": [1]}), path)  # fmt: skip
        with pytest.raises(MappingError, match="holds no applications in 'appName'"):
            read(duck, path)
    pq.write_table(pa.table({"SubscriberID": ["S1"], "appName": [["a"]], "bytesFromClient": [[1]],
                             "bytesFromServer": [1]}), path)  # fmt: skip
    with pytest.raises(MappingError, match="holds no ul_bytes in 'bytesFromClient'"):
        read(duck, path)


def test_typed_identifiers_and_protocol_numbers_are_read(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "dpi.parquet"
    pq.write_table(pa.table({
        "SubscriberID": pa.array([33664962239.0, None, 15.0]),
        "IpProtocol": pa.array([[6, 17], [6], []], pa.list_(pa.int32())),
        "bytesFromClient": pa.array([1.0, 2.0, float("nan")]),
        "bytesFromServer": pa.array([1, 2, 3], pa.int32()),
    }), path)  # fmt: skip
    rows, found = read(store, path, identifiers="clear")
    assert [(row[0], row[3], row[5], row[6]) for row in rows] == [
        ("15", [], None, 3), ("33664962239", ["6", "17"], 1, 1),
    ]  # fmt: skip
    assert reasons(store, found) == {"subscriber_id|missing": 1}


MAPPING = """name = "probe"
table = "dpi_usage"

[columns.subscriber_id]
source = "who"

[columns.applications]
source = "what"

[columns.ul_bytes]
source = "up"
unit = "kB"

[columns.dl_bytes]
source = "down"
unit = "MB"

[columns.duration_s]
source = "long"
unit = "ms"
"""


def test_a_mapping_names_columns_and_units(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "probe.csv", [("S1", ["DNS"], "0.5", "1.5", "1500")],
                  ("who", "what", "up", "down", "long"))  # fmt: skip
    given = tmp_path / "probe.toml"
    given.write_text(MAPPING)
    row, manifest = ingested(tmp_path, path, mapping_file=str(given))
    assert [row[0][name] for name in ("ul_bytes", "dl_bytes", "duration_s")] == [500, 1_500_000, 1.5]
    assert manifest["units"] == {"ul_bytes": "kB", "dl_bytes": "MB", "duration_s": "ms"}
    assert set(manifest["certainty"].values()) == {"declared"}
    with pytest.raises(MappingError, match="describes other records"):
        ingested(tmp_path / "b", path, kind="purchases", mapping_file=str(given))
    assert mapping.read(given).table == "dpi_usage"


def ingested(
    tmp_path: Path, path: Path, kind: str = "usage", **more: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    workspace = Workspace.create(tmp_path / "ws")
    (found,) = ingestion.ingest(workspace, [path], Settings(), kind=kind, **more)
    return pq.read_table(found.batch.rows).to_pylist(), dict(found.batch.manifest)


def test_the_same_file_counts_once(tmp_path: Path) -> None:
    path = as_parquet(tmp_path / "dpi.parquet", GOOD)
    workspace = Workspace.create(tmp_path / "ws")
    first, again = (ingestion.ingest(workspace, [path], Settings(), kind="usage")[0] for _ in range(2))
    assert (first.is_new, again.is_new) == (True, False)
    assert len(workspace.batches("dpi_usage")) == 1
    assert first.batch.manifest["accepted"] == len(GOOD)
    assert first.batch.manifest["without_subscriber_count"] == 0


def test_a_file_of_mostly_negative_volumes_is_refused(tmp_path: Path) -> None:
    path = as_csv(
        tmp_path / "dpi.csv", [GOOD[0], *((f"S{i}", [], [], [], [], -i, 1, 1, 1) for i in (1, 2, 3))]
    )
    with pytest.raises(InputError, match="ul_bytes below 0 \\(3\\)"):
        ingested(tmp_path, path)


# The shared table of 972 hosts


def test_the_shared_table_is_ingested_whole(tmp_path: Path, dpi_parquet: Path) -> None:
    rows, manifest = ingested(tmp_path, dpi_parquet)
    given = pq.read_table(dpi_parquet).to_pylist()
    assert (len(rows), manifest["accepted"], manifest["rejected"]) == (972, 972, 0)
    expected = {
        pseudonym(row["SubscriberID"], KEY.encode()): tuple(row[name] for name in HEADER[1:]) for row in given
    }
    assert {row["subscriber_id"]: tuple(row[name] for name in CANONICAL[1:]) for row in rows} == expected
    told = {(f["column"], f["check"]): f["count"] for f in manifest["findings"] if f["column"] != "columns"}
    assert told == {("contents", "empty"): sum(not row["contentType"] for row in given)}


@pytest.mark.spark
def test_the_shared_table_is_the_same_on_spark_and_as_csv(
    tmp_path: Path, dpi_parquet: Path, spark_store: Store, duck: Store
) -> None:
    whole, _ = read(duck, dpi_parquet)
    rows = [tuple(row[name] for name in HEADER) for row in pq.read_table(dpi_parquet).to_pylist()]
    text = as_csv(tmp_path / "dpi.csv", rows)
    for store, path in ((duck, text), (spark_store, text), (spark_store, dpi_parquet)):
        assert read(store, path)[0] == whole
