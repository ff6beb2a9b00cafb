"""Records become sessions or rejects; every expected value here was worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hand_made import BANDS, CLEAR, COLUMNS, KEY, PLAIN, VENDOR, changed, ingest, rows, write

from subsight.errors import MappingError
from subsight.privacy import pseudonym
from subsight.settings import Settings
from subsight.sources import files, xdr
from subsight.store import Store


def test_a_session_in_canonical_terms(store: Store, tmp_path: Path) -> None:
    got = ingest(store, write(tmp_path / "a.csv", rows(1)))
    (session,) = got.sessions
    expected = {
        "subscriber_id": "33610000001", "imsi_id": None, "imei_id": "35038728607171", "tac": "35038728",
        "bearer_id": "7301", "cell_id": "G00619B",
        "start_at": datetime(2024, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC),
        "end_at": datetime(2024, 5, 1, 11, 0, 0, 750_000, tzinfo=UTC),
        "local_date": date(2024, 5, 1), "local_hour": 10,
        # The first duration is in seconds, whatever its header says.
        "duration_s": 3600.0, "duration_ms": 3_600_500.0,
        "handset_manufacturer": None, "handset": "Huawei B528S",
        BANDS[0]: 0.7, BANDS[1]: 0.2, BANDS[2]: 0.1, BANDS[3]: 0.0, "rtt_dl_ms": 60.0, "rtt_ul_ms": None,
        # 3000 + 1000 + 500: the reported total leaves the last out.
        "dl_bytes": 4500, "reported_dl_bytes": 4000, "ul_bytes": 600, "reported_ul_bytes": 600,
        "app_web_dl_bytes": 3000, "app_mail_dl_bytes": 1000, "app_rest_dl_bytes": 500,
        "app_web_ul_bytes": 300, "app_mail_ul_bytes": 200, "app_rest_ul_bytes": 100,
        "is_msisdn_unusual": False,
    }  # fmt: skip
    found = {name: session[name] for name in expected}
    assert found == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in expected.items()}
    assert got.rejects == []


def test_a_volume_beyond_exact_numbers_is_one_reject_and_stops_nothing(store: Store, tmp_path: Path) -> None:
    got = ingest(
        store, write(tmp_path / "a.csv", [*rows(5), changed(PLAIN, Total_DL="18446744073709551615")])
    )
    assert len(got.sessions) == 5
    assert [(record, fault) for record, fault, *_ in got.rejects] == [(6, "dl_bytes|above 2^53")]


def test_what_is_rejected_and_why(store: Store, tmp_path: Path) -> None:
    bad = [
        changed(PLAIN, RTT="fast"),
        changed(PLAIN, RTT="inf"),
        changed(PLAIN, Total_DL="-1"),
        changed(PLAIN, web_ul="-300"),
        changed(PLAIN, RTT="-0.5"),
        changed(PLAIN, End="5/1/2024 9:57"),
        changed(PLAIN, **{BANDS[0]: "170"}),
        changed(PLAIN, Total_UL="600.5"),
        changed(PLAIN, Start=""),
        changed(PLAIN, Start="31/12/2024 10:00"),
        dict.fromkeys(PLAIN, "") | {"web dl": "421.5", "web ul": "8.25"},
    ]
    table = rows(60) + [
        row | {"Phone": f"336200000{i:02d}"} if row["Phone"] else row for i, row in enumerate(bad)
    ]
    got = ingest(store, write(tmp_path / "a.csv", table))
    assert got.rejects == [
        (61, "rtt_dl_ms|not readable", "rtt_dl_ms: fast"),
        (62, "rtt_dl_ms|not readable", "rtt_dl_ms: inf"),
        (63, "dl_bytes|below 0", None),
        (64, "app_web_ul_bytes|below 0", None),
        (65, "rtt_dl_ms|below 0", None),
        (66, "end_at|before start_at", None),
        (67, f"{BANDS[0]}|above 1", None),
        (68, "ul_bytes|not a whole number", None),
        (69, "start_at|missing", None),
        (70, "start_at|not readable", "start_at: 31/12/2024 10:00"),
        (71, "|no identifier and no time: not a session", None),
    ]
    assert len(got.sessions) == 60


def test_gaps_are_no_faults(duck: Store, tmp_path: Path) -> None:
    table = [
        *rows(20),
        changed(PLAIN, Phone="", Bearer="1"),
        changed(PLAIN, RTT="NA", Device=" undefined ", Cell="", Bearer="2"),
        changed(PLAIN, RTT=" 12.5 ", Device="UNKNOWN", **{"rest dl": ""}),
    ]
    got = ingest(duck, write(tmp_path / "a.csv", table))
    assert got.rejects == []
    assert len(got.sessions) == 23
    nobody = next(s for s in got.sessions if s["bearer_id"] == "1")
    unknown = next(s for s in got.sessions if s["bearer_id"] == "2")
    partly = next(s for s in got.sessions if s["rtt_dl_ms"] == 12.5)
    assert nobody["subscriber_id"] is None
    assert (unknown["rtt_dl_ms"], unknown["handset"], unknown["cell_id"]) == (None, None, None)
    # What the total leaves out is unknown, and so is the whole.
    assert (partly["handset"], partly["dl_bytes"], partly["reported_dl_bytes"]) == (None, None, 4000)
    assert got.notes("subscriber_id") == [("missing", "note", 1)]


def test_identical_records_count_once(store: Store, tmp_path: Path) -> None:
    table = rows(3)
    twice = [*table, table[1], table[1], changed(table[2], RTT="61")]
    first = ingest(store, write(tmp_path / "a.csv", twice))
    again = "|identical to an earlier record"
    assert first.rejects == [(4, again, None), (5, again, None)]
    assert [s["rtt_dl_ms"] for s in first.sessions] == [60, 60, 60, 61]

    batch = tmp_path / "batch.parquet"
    parsed = xdr.parse(store, files.recognise(tmp_path / "a.csv"), VENDOR, CLEAR)
    assert store.write(xdr.read(store, parsed, VENDOR, CLEAR, KEY).rows, batch) == 4
    later = [changed(table[0], RTT="99"), table[2], table[2], changed(table[2], RTT="61")]
    second = ingest(store, write(tmp_path / "b.csv", later), earlier=(batch,))
    known = "|identical to a record of an earlier input"
    assert second.rejects == [(2, known, None), (3, again, None), (4, known, None)]
    assert [s["rtt_dl_ms"] for s in second.sessions] == [99]


def test_columns_outside_the_mapping_make_no_difference_to_identity(duck: Store, tmp_path: Path) -> None:
    table = [row | {"Line": str(i)} for i, row in enumerate([*rows(2), *rows(2)])]
    got = ingest(duck, write(tmp_path / "a.csv", table))
    assert [(record, fault) for record, fault, _ in got.rejects] == [
        (3, "|identical to an earlier record"), (4, "|identical to an earlier record"),
    ]  # fmt: skip


def test_ragged_lines_are_counted_by_line(duck: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows(6))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] += ",surplus"
    lines[4] = lines[4].rpartition(",")[0]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    got = ingest(duck, path)
    assert [line for line, _ in got.parsed.ragged] == [3, 5]
    assert len(got.sessions) == 4
    assert got.rejects == []


def test_identifiers_become_pseudonyms(duck: Store, tmp_path: Path) -> None:
    table = [changed(PLAIN, Phone="+33 6 10 00 00 01"), changed(PLAIN, Phone="33610000001.0", RTT="61"),
             changed(PLAIN, Phone="3.361E+10", RTT="62")]  # fmt: skip
    path = write(tmp_path / "a.csv", table)
    got = ingest(duck, path, settings=Settings())
    name = pseudonym("33610000001", KEY)
    assert [s["subscriber_id"] for s in got.sessions] == [name, name, None]
    assert {s["imei_id"] for s in got.sessions} == {pseudonym("35038728607171", KEY)}
    assert {s["tac"] for s in got.sessions} == {"35038728"}
    assert got.notes("subscriber_id") == [("digits", "warning", 1)]
    # The hash that breaks ties does not depend on the key.
    other = xdr.read(duck, got.parsed, VENDOR, Settings(), b"another key of some thirty bytes")
    hashes = duck.rows(other.rows.select("subscriber_hash", "subscriber_id").sort("subscriber_hash"))
    assert {r["subscriber_hash"] for r in hashes} == {s["subscriber_hash"] for s in got.sessions}
    assert name not in {r["subscriber_id"] for r in hashes}


def test_a_zone_reads_times_and_dates_them(duck: Store, tmp_path: Path) -> None:
    late = changed(PLAIN, Start="5/1/2024 23:30", End="5/2/2024 0:30")
    got = ingest(duck, write(tmp_path / "a.csv", [late]), settings=Settings(time_zone="Asia/Karachi"))
    (session,) = got.sessions
    assert session["start_at"] == datetime(2024, 5, 1, 18, 30, 0, 250_000, tzinfo=UTC)
    assert (session["local_date"], session["local_hour"]) == (date(2024, 5, 1), 23)


def test_totals_that_a_file_lacks_are_summed(duck: Store, tmp_path: Path) -> None:
    columns = tuple(column for column in COLUMNS if column.name not in ("dl_bytes", "ul_bytes"))
    got = ingest(duck, write(tmp_path / "a.csv", rows(2)), replace(VENDOR, columns=columns))
    assert [(s["dl_bytes"], s["ul_bytes"], s["reported_dl_bytes"]) for s in got.sessions] == [
        (4500, 600, None)
    ] * 2
    # Nor is that kept quiet, nor that a record without one of the parts has no sum.
    gap = ingest(
        duck, write(tmp_path / "b.csv", [*rows(2), PLAIN | {"web dl": ""}]), replace(VENDOR, columns=columns)
    )
    assert gap.notes("dl_bytes") == gap.notes("ul_bytes") == [("source", "warning", 3)]
    texts = {f.column: f.text for f in gap.parsed.decisions.findings}
    assert texts["dl_bytes"].endswith(
        "the sum of Web, Mail, Rest; unknown in 1 records that lack one of them"
    )
    assert texts["ul_bytes"].endswith("the sum of Web, Mail, Rest")


def test_a_mapped_column_that_the_file_lacks_is_said(duck: Store, tmp_path: Path) -> None:
    columns = tuple(
        replace(column, source="Round trip") if column.name == "rtt_dl_ms"
        else replace(column, milliseconds="End msec") if column.name == "end_at"
        else column
        for column in COLUMNS
    )  # fmt: skip
    got = ingest(duck, write(tmp_path / "a.csv", rows(2)), replace(VENDOR, columns=columns))
    said = {f.column: f.text for f in got.parsed.decisions.findings if "lacks" in f.text}
    assert said.keys() == {"rtt_dl_ms", "end_at:milliseconds"}
    assert "'Round trip'" in said["rtt_dl_ms"]
    assert "'End msec'" in said["end_at:milliseconds"]
    assert [s["rtt_dl_ms"] for s in got.sessions] == [None] * 2


def test_parquet_is_read_as_text_is(duck: Store, tmp_path: Path) -> None:
    typed = {
        "Phone": pa.array([33610000001.0, 33610000002.0, None]),
        "Start": pa.array([datetime(2024, 5, 1, 10), datetime(2024, 5, 2, 11), datetime(2024, 5, 3)]),
        "Total DL": pa.array([4000, 5000, 6000]),
        "Total UL": pa.array([600.0, float("nan"), 7.0]),
    }
    pq.write_table(pa.table(typed), tmp_path / "a.parquet")
    names = ("subscriber_id", "start_at", "dl_bytes", "ul_bytes")
    mapping = replace(VENDOR, columns=tuple(c for c in COLUMNS if c.name in names), applications=())
    got = ingest(duck, tmp_path / "a.parquet", mapping)
    assert [tuple(s[name] for name in names) for s in got.sessions] == [
        ("33610000001", datetime(2024, 5, 1, 10, tzinfo=UTC), 4000, 600),
        ("33610000002", datetime(2024, 5, 2, 11, tzinfo=UTC), 5000, None),
        (None, datetime(2024, 5, 3, tzinfo=UTC), 6000, 7),
    ]
    assert got.rejects == []


def test_required_columns_are_asked_for(duck: Store, tmp_path: Path) -> None:
    table = [{name: row[name] for name in row if name not in ("Phone", "Start")} for row in rows(2)]
    path = write(tmp_path / "a.csv", table)
    with pytest.raises(
        MappingError, match=r"a\.csv lacks(.|\n)*subscriber_id from 'Phone'; start_at from 'Start'"
    ):
        ingest(duck, path)
