"""Flow files written by hand, and the shared labelled ones: columns, addresses, sampling, rejects."""

from __future__ import annotations

import csv
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight import ingestion
from subsight.errors import ConfigurationError, InputError, MappingError
from subsight.settings import Settings
from subsight.sources.flows import PROTOCOLS
from subsight.workspace import Workspace

KEY = "k" * 32
HEADER = "first_seen_at,last_seen_at,src_address,dst_address,src_port,dst_port,protocol,src_to_dst_bytes"
PLAIN = "2024-05-01T10:00:00Z,2024-05-01T10:00:05Z,10.0.0.1,192.0.2.7,50000,443,6,1500"
MAPPED = "00000000000000000000ffff"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)


def keyed(address: str) -> str:
    """HMAC by Python's own library."""
    return hmac.new(KEY.encode(), f"address:{address}".encode(), hashlib.sha256).hexdigest()[:32]


def ingested(
    tmp_path: Path, text: str | Path, settings: Settings | None = None, kind: str = "flows", **more: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    path = text if isinstance(text, Path) else tmp_path / f"{kind}.csv"
    if isinstance(text, str):
        path.write_text(text)
    workspace = Workspace.create(tmp_path / "ws")
    (found,) = ingestion.ingest(workspace, [path], settings or Settings(), kind=kind, **more)
    rows = pq.read_table(found.batch.rows).to_pylist()
    return sorted(rows, key=lambda row: row.get("record", 0)), dict(found.batch.manifest)


def lines(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def test_a_customers_address_is_keyed_and_names_the_subscriber(tmp_path: Path) -> None:
    mine = f"{MAPPED}0a000001"
    rows, manifest = ingested(
        tmp_path,
        lines(
            PLAIN,
            PLAIN.replace("10.0.0.1,192.0.2.7,50000,443", "192.0.2.7,10.0.0.1,443,50000"),
            PLAIN.replace("192.0.2.7", "10.0.0.2"),
            PLAIN.replace("10.0.0.1", "198.51.100.1"),
            PLAIN.replace("10.0.0.1", "fd00::1").replace("192.0.2.7", "2001:db8::7"),
        ),
    )
    six = "fd000000000000000000000000000001"
    assert [(r["customer_side"], r["subscriber_id"]) for r in rows] == [
        ("src", keyed(mine)), ("dst", keyed(mine)), ("both", keyed(mine)), (None, None), ("src", keyed(six)),
    ]  # fmt: skip
    assert (rows[0]["src_address"], rows[0]["dst_address"]) == (keyed(mine), f"{MAPPED}c0000207")
    assert rows[1]["dst_address"] == keyed(mine)
    assert rows[2]["dst_address"] == keyed(f"{MAPPED}0a000002")
    assert rows[3]["src_address"] == f"{MAPPED}c6336401"
    assert rows[4]["dst_address"] == "20010db8000000000000000000000007"
    assert manifest["without_subscriber_count"] == 1
    checks = {f["check"]: f["count"] for f in manifest["findings"]}
    assert checks == {"two customers": 1, "no customer": 1, "direction": 5}
    assert manifest["first_at"] == manifest["last_at"] == "2024-05-01T10:00:00+00:00"


def test_clear_identifiers_and_other_networks(tmp_path: Path) -> None:
    settings = Settings(identifiers="clear", customer_networks=["192.0.2.0/24"])
    rows, _ = ingested(tmp_path, lines(PLAIN), settings)
    assert rows[0]["subscriber_id"] == f"{MAPPED}c0000207"
    assert rows[0]["customer_side"] == "dst"
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.0/99"):
        ingested(tmp_path, lines(PLAIN, PLAIN), Settings(customer_networks=["10.0.0.0/99"]))


def test_volumes_are_multiplied_by_the_sampling_rate_which_is_kept(tmp_path: Path) -> None:
    header = f"{HEADER},dst_to_src_bytes,src_to_dst_packets,sampling_rate"
    rows, manifest = ingested(
        tmp_path,
        lines(f"{PLAIN},300,2,100", f"{PLAIN},300,2,1", f"{PLAIN},,,", f"{PLAIN},300,2,0", header=header),
    )
    names = (
        "src_to_dst_bytes",
        "dst_to_src_bytes",
        "src_to_dst_packets",
        "dst_to_src_packets",
        "sampling_rate",
    )
    assert [tuple(r[n] for n in names) for r in rows] == [
        (150_000, 30_000, 200, None, 100), (1500, 300, 2, None, 1), (1500, None, None, None, None),
    ]  # fmt: skip
    assert manifest["rejects"] == [
        {"column": "sampling_rate", "reason": "below 1", "count": 1, "example": None}
    ]


FAULTS = {
    "first_seen_at|missing": PLAIN.replace("2024-05-01T10:00:00Z", "", 1),
    "first_seen_at|not readable": PLAIN.replace("2024-05-01T10:00:00Z", "yesterday", 1),
    "first_seen_at|before the year 2000": PLAIN.replace("2024-05-01T10:00:00Z", "1970-01-01T00:00:09Z", 1),
    "first_seen_at|in the future": PLAIN.replace("2024", "2124"),
    "last_seen_at|before first_seen_at": PLAIN.replace("10:00:05", "09:59:59"),
    "src_address|missing": PLAIN.replace("10.0.0.1", ""),
    "src_address|not readable": PLAIN.replace("10.0.0.1", "10.0.0.1.9"),
    "dst_address|not readable": PLAIN.replace("192.0.2.7", "host.example"),
    "src_port|above 65,535": PLAIN.replace("50000", "70000"),
    "dst_port|below 0": PLAIN.replace("443", "-1"),
    "dst_port|not readable": PLAIN.replace("443", "https"),
    "protocol|missing": PLAIN.replace(",6,", ",,"),
    "protocol|not readable": PLAIN.replace(",6,", ",carrier pigeon,"),
    "protocol|above 255": PLAIN.replace(",6,", ",300,"),
    "src_to_dst_bytes|missing": PLAIN.replace("1500", ""),
    "src_to_dst_bytes|below 0": PLAIN.replace("1500", "-1500"),
    "src_to_dst_bytes|above 2^53: a counter that wrapped or is damaged": PLAIN.replace(
        "1500", "18446744073709551000"
    ),
}


def test_each_fault_is_counted_with_its_reason(tmp_path: Path) -> None:
    rows, manifest = ingested(tmp_path, lines(*([PLAIN] * 30), *FAULTS.values()))
    assert len(rows) == 30
    assert {f"{r['column']}|{r['reason']}": r["count"] for r in manifest["rejects"]} == dict.fromkeys(
        FAULTS, 1
    )
    shown = {r["example"] for r in manifest["rejects"]} - {None}
    assert shown == {
        "first_seen_at: yesterday", "dst_port: https", "protocol: carrier pigeon",
    }  # never an address  # fmt: skip


def test_protocols_by_name_and_number_and_icmp_keeps_type_and_code(tmp_path: Path) -> None:
    names = ["TCP", "udp", "ICMPV6", "OSPF", "132", "17.0"]
    rows, _ = ingested(tmp_path, lines(*(PLAIN.replace(",6,", f",{name},") for name in names)))
    assert [r["protocol"] for r in rows] == [6, 17, 58, 89, 132, 17]
    rows, _ = ingested(tmp_path, lines(PLAIN.replace("50000,443,6", "8,0,1")))
    assert (rows[0]["src_port"], rows[0]["dst_port"]) == (8, 0)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("ts,te,sa,da,sp,dp,pr,ibyt", PLAIN.replace("T", " ").replace("Z", "").replace(",6,", ",TCP,")),
        ("id.orig_h,id.resp_h,id.orig_p,id.resp_p,proto,orig_bytes,first_seen_ms",
         "10.0.0.1,192.0.2.7,50000,443,tcp,1500,1714557600000"),
        ("src_ip,dst_ip,src_port,dst_port,protocol,src2dst_bytes,bidirectional_first_seen_ms",
         "10.0.0.1,192.0.2.7,50000,443,6,1500,1714557600000"),
    ],
)  # fmt: skip
def test_columns_are_known_by_the_names_that_exporters_use(tmp_path: Path, header: str, row: str) -> None:
    rows, manifest = ingested(tmp_path, lines(row, header=header))
    assert rows[0]["first_seen_at"] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert (rows[0]["src_port"], rows[0]["protocol"], rows[0]["src_to_dst_bytes"]) == (50000, 6, 1500)
    assert manifest["mapping"] == "by name"
    assert "as src_address" in manifest["findings"][0]["text"]


def test_a_file_without_an_address_is_refused_with_a_mapping_to_complete(tmp_path: Path) -> None:
    with pytest.raises(MappingError) as refused:
        ingested(tmp_path, lines("2024-05-01T10:00:00Z,x,1,6,1500", header="ts,thing,dst_ip,proto,bytes"))
    assert "src_address" in str(refused.value)
    assert '[columns.protocol]\nsource = "proto"' in str(refused.value)


def test_a_mapping_says_units_and_times(tmp_path: Path) -> None:
    mapping = tmp_path / "vendor.toml"
    entries = {
        "first_seen_at": 'source = "when"\nformat = "epoch_s"', "src_address": 'source = "a"',
        "dst_address": 'source = "b"', "protocol": 'source = "p"',
        "src_to_dst_bytes": 'source = "kB"\nunit = "kB"',
    }  # fmt: skip
    text = "".join(f"[columns.{name}]\n{body}\n" for name, body in entries.items())
    mapping.write_text(f'name = "vendor"\ntable = "flows"\n{text}')
    rows, manifest = ingested(
        tmp_path,
        lines("1714557600,10.0.0.1,192.0.2.7,6,1.5", header="when,a,b,p,kB"),
        mapping_file=str(mapping),
    )
    assert rows[0]["src_to_dst_bytes"] == 1500
    assert rows[0]["first_seen_at"] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert manifest["units"] == {"src_to_dst_bytes": "kB"}


def test_typed_parquet_reads_as_text_does(tmp_path: Path) -> None:
    text = lines(PLAIN, PLAIN.replace("50000", "50001"))
    by_text, _ = ingested(tmp_path / "a", _made(tmp_path / "a", text))
    begin = datetime(2024, 5, 1, 10, tzinfo=UTC)
    first, last = (
        pa.array([at] * 2, pa.timestamp("us", "UTC")) for at in (begin, begin + timedelta(seconds=5))
    )
    table = pa.table({
        "first_seen_at": first, "last_seen_at": last,
        "src_address": ["10.0.0.1"] * 2, "dst_address": [f"{MAPPED}c0000207"] * 2,
        "src_port": [50000, 50001], "dst_port": pa.array([443, 443], pa.uint16()),
        "protocol": pa.array([6, 6], pa.int8()), "src_to_dst_bytes": [1500, 1500],
    })  # fmt: skip
    (tmp_path / "b").mkdir()
    pq.write_table(table, tmp_path / "b" / "flows.parquet")
    by_type, manifest = ingested(tmp_path / "b", tmp_path / "b" / "flows.parquet")
    assert by_type == by_text
    assert manifest["mapping"] == "flows"


def _made(folder: Path, text: str) -> Path:
    folder.mkdir()
    path = folder / "flows.csv"
    path.write_text(text)
    return path


def test_nobodys_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not ingested"):
        ingested(tmp_path, lines(*list(FAULTS.values())[:5]))


LEASE = "192.0.2.7,1000,1999,+33 6 10 00 00 01,2024-05-01T10:00:00Z,2024-05-01T11:00:00Z"
LEASES = "framed_ip_address,port_start,port_end,user_name,lease_start,lease_end"


def test_leases_are_kept_as_pseudonyms_of_address_and_subscriber(tmp_path: Path) -> None:
    rows, manifest = ingested(
        tmp_path, lines(LEASE, LEASE.replace("1000,1999", ","), header=LEASES), kind="leases"
    )
    number = hmac.new(KEY.encode(), b"33610000001", hashlib.sha256).hexdigest()[:32]
    assert rows[0]["address"] == keyed(f"{MAPPED}c0000207")
    assert {r["subscriber_id"] for r in rows} == {number}
    assert [(r["port_from"], r["port_to"]) for r in rows] == [(1000, 1999), (None, None)]
    assert manifest["first_at"] == "2024-05-01T10:00:00+00:00"
    assert manifest["last_at"] == "2024-05-01T11:00:00+00:00"


def test_leases_that_say_nothing_certain_are_rejected(tmp_path: Path) -> None:
    faulty = {
        "address|not readable": LEASE.replace("192.0.2.7", "pool-7"),
        "address|missing": LEASE.replace("192.0.2.7", ""),
        "subscriber_id|missing": LEASE.replace("+33 6 10 00 00 01", ""),
        "subscriber_id|lost digits to a spreadsheet": LEASE.replace("+33 6 10 00 00 01", "3.361E+10"),
        "from_at|missing": LEASE.replace("2024-05-01T10:00:00Z", ""),
        "from_at|not readable": LEASE.replace("2024-05-01T10:00:00Z", "now"),
        "to_at|not after from_at": LEASE.replace("11:00:00Z", "10:00:00Z"),
        "port_from|one end of a block only": LEASE.replace("1999", ""),
        "port_to|below port_from": LEASE.replace("1999", "999"),
        "port_to|above 65,535": LEASE.replace("1999", "99999"),
    }
    rows, manifest = ingested(
        tmp_path, lines(*([LEASE] * 12), *faulty.values(), header=LEASES), kind="leases"
    )
    assert len(rows) == 12
    assert {f"{r['column']}|{r['reason']}" for r in manifest["rejects"]} == set(faulty)
    assert all(r["example"] is None for r in manifest["rejects"])  # what stands there may name a person


def test_the_shared_flows_are_read_but_for_impossible_times(tmp_path: Path, labelled_flows: Path) -> None:
    with labelled_flows.open(newline="") as file:
        records = list(csv.DictReader(file))
    bad = sum(not r["first_seen_utc"] or r["first_seen_utc"] < "2000" for r in records)
    rows, manifest = ingested(tmp_path, labelled_flows)
    assert len(rows) == len(records) - bad
    assert manifest["rejected"] == bad
    good = [r for r in records if r["first_seen_utc"] >= "2000"]
    for name, column in (("src_to_dst_bytes", "c2s_bytes"), ("dst_to_src_bytes", "s2c_bytes")):
        assert sum(r[name] or 0 for r in rows) == sum(int(float(r[column] or 0)) for r in good)


def test_inputs_that_are_refused_keep_no_other_from_being_read(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name, text in {
        "1.csv": lines(PLAIN.replace("2024", "1994")), "2.csv": lines(PLAIN), "3.csv": HEADER + "\n",
        "4.csv": lines(PLAIN.replace("443", "80")),
    }.items():  # fmt: skip
        (inbox / name).write_text(text)
    workspace = Workspace.create(tmp_path / "ws")
    with pytest.raises(InputError, match="2 of 4 inputs were not ingested; the others were") as refused:
        ingestion.ingest(workspace, [inbox], Settings(), kind="flows")
    assert "1.csv was not ingested: 1 of 1 records are rejected: first_seen_at before" in str(refused.value)
    assert "3.csv holds one line: a header only" in str(refused.value)
    assert sorted(batch.manifest["name"] for batch in workspace.batches("flows")) == ["2.csv", "4.csv"]
    (inbox / "1.csv").unlink()
    with pytest.raises(InputError, match="1 of 3 inputs was not ingested; the others were"):
        ingestion.ingest(workspace, [inbox], Settings(), kind="flows")
    with pytest.raises(InputError, match=r"^3\.csv holds one line"):
        ingestion.ingest(workspace, [inbox / "3.csv"], Settings(), kind="flows")


def test_every_number_and_name_of_a_protocol_is_read(tmp_path: Path) -> None:
    names = {name.upper(): number for name, number in PROTOCOLS.items()}
    given = {**{str(number): number for number in range(256)}, **names, "Tcp": 6, "6.5": None}
    rows, manifest = ingested(tmp_path, lines(*(PLAIN.replace(",6,", f",{text},") for text in given)))
    assert [row["protocol"] for row in rows] == [number for number in given.values() if number is not None]
    assert [(r["column"], r["reason"], r["count"]) for r in manifest["rejects"]] == [
        ("protocol", "not readable", 1)
    ]
