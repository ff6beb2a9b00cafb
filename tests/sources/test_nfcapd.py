"""Files that nfcapd wrote of datagrams packed by hand, against what was packed and what nfdump sums."""

from __future__ import annotations

import csv
import shutil
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from export_made import after, data, ip, nine, template

from subsight import ingestion
from subsight.errors import InputError
from subsight.settings import Settings
from subsight.sources import captures
from subsight.sources.findings import Finding
from subsight.workspace import Workspace

UPTIME_MS = 100_000
FOUR = (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (23, 8), (24, 8), (22, 4), (21, 4), (32, 2),
)  # fmt: skip
SIX = ((27, 16), (28, 16), *FOUR[2:])
MINE, SERVER = "10.0.0.1", "192.0.2.7"
LONG = "2001:db8:ffff:ffff:ffff:ffff:ffff:fff7"
Flow = tuple[str, str, int, int, int, int, int, int, int, int, int]
FLOWS: list[Flow] = [
    # src, dst, ports, protocol, bytes, packets, bytes and packets back, first and last ms before the export
    (MINE, SERVER, 50_000, 443, 6, 1_500, 3, 0, 0, 4_999, 4_001),
    (MINE, SERVER, 50_001, 443, 6, 1_200, 2, 9_000, 7, 5_000, 5_000),
    (MINE, SERVER, 0, 8 * 256, 1, 84, 1, 0, 0, 5_000, 5_000),
    (SERVER, MINE, 0, 3 * 256 + 3, 1, 112, 2, 0, 0, 5_000, 4_500),
    ("10.0.0.2", SERVER, 0, 0, 47, 4_000_000_000, 9, 0, 0, 5_000, 5_000),
    ("2001:db8::1", LONG, 50_000, 443, 17, 5_000_000_000, 3_000_000, 0, 0, 5_000, 5_000),
    *(("10.0.0.3", "192.0.2.8", 0, 0, protocol, 1_000 + protocol, 1, 0, 0, 5_000, 5_000)
      for protocol in range(256) if protocol not in (1, 58)),
]  # fmt: skip


def record(flow: Flow) -> bytes:
    src, dst, src_port, dst_port, protocol, octets, packets, octets_back, packets_back, first, last = flow
    numbers = src_port, dst_port, protocol, octets, packets, octets_back, packets_back
    times = UPTIME_MS - first, UPTIME_MS - last
    icmp = dst_port if protocol == 1 else 0
    return ip(src) + ip(dst) + struct.pack(">HHBQQQQIIH", *numbers, *times, icmp)


def datagrams(flows: list[Flow]) -> list[bytes]:
    found = [nine(template(9, 256, *FOUR), template(9, 257, *SIX), uptime=UPTIME_MS)]
    for start in range(0, len(flows), 15):
        some = flows[start : start + 15]
        sets = (
            data(number, *(record(flow) for flow in some if (":" in flow[0]) is is_six))
            for number, is_six in ((256, False), (257, True))
        )
        whole = (a_set for a_set in sets if len(a_set) > 4)
        found.append(nine(*whole, uptime=UPTIME_MS, sequence=len(found)))
    return found


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """What nfcapd stores of flows that are sent to it."""
    if not all(map(shutil.which, ("nfcapd", "nfdump"))):
        pytest.skip("nfcapd and nfdump are not installed")

    def collect(flows: list[Flow], *options: str) -> Path:
        folder = tmp_path_factory.mktemp("nfcapd")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", str(folder), "-t", "3600", *options]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as process,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            sender.connect(("127.0.0.1", port))
            packed = datagrams(flows)
            wait_for(lambda: is_heard(sender, packed[0]), process)
            for datagram in packed[1:]:
                sender.send(datagram)
                time.sleep(0.005)
            wait_for(lambda: is_drained(port), process)
            process.terminate()
        (stored,) = folder.glob("nfcapd.2*")
        return stored

    return collect


def is_heard(sender: socket.socket, datagram: bytes) -> bool:
    """Whether somebody listens: of the first of two datagrams to nobody the second brings the refusal."""
    try:
        sender.send(datagram)
        time.sleep(0.05)
        sender.send(datagram)
    except ConnectionRefusedError:
        return False
    return True


def is_drained(port: int) -> bool:
    lines = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    (queued,) = {fields[4] for fields in lines if fields[1].endswith(f":{port:04X}")}
    return int(queued.split(":")[1], 16) == 0


def wait_for(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 30
    while not is_so():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.fixture(scope="module")
def stored(collected: Callable[..., Path]) -> Path:
    return collected(FLOWS)


def unpacked(path: Path, scratch: Path) -> tuple[list[dict[str, Any]], list[Finding]]:
    found = captures.unpack(path, scratch)
    return pq.read_table(found.path).to_pylist(), found.findings


def expected(flow: Flow) -> dict[str, Any]:
    """A flow as text of nfdump's: ICMP's type and code apart, no way back as none told."""
    src, dst, src_port, dst_port, protocol, octets, packets, octets_back, packets_back, first, last = flow
    ports = divmod(dst_port, 256) if protocol == 1 else (src_port, dst_port)
    values = {
        "first_seen_at": f"{after(-first):%F %T.%f}"[:-3], "last_seen_at": f"{after(-last):%F %T.%f}"[:-3],
        "src_address": src, "dst_address": dst, "src_port": ports[0], "dst_port": ports[1],
        "protocol": protocol, "src_to_dst_bytes": octets, "src_to_dst_packets": packets,
        "dst_to_src_bytes": octets_back or None, "dst_to_src_packets": packets_back or None,
        "exporter": "127.0.0.1",
    }  # fmt: skip
    return {name: None if value is None else str(value) for name, value in values.items()}


def test_every_flow_that_was_sent_is_read_as_it_was_sent(stored: Path, tmp_path: Path) -> None:
    rows, findings = unpacked(stored, tmp_path)
    assert sorted(rows, key=str) == sorted(map(expected, FLOWS), key=str)
    assert [(f.check, f.severity, f.count) for f in findings] == [("nfdump", "note", len(FLOWS))]


def test_sums_are_those_of_nfdumps_own_table(stored: Path, tmp_path: Path) -> None:
    command = ["nfdump", "-r", str(stored), "-o", "csv"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs, ours = Counter[Any](), Counter[Any]()
    for row in csv.DictReader(printed.partition("Summary")[0].splitlines()):
        for name in ("ibyt", "ipkt", "obyt", "opkt"):
            theirs[row["sa"], row["da"], name] += int(row[name])
    names = {
        "ibyt": "src_to_dst_bytes", "ipkt": "src_to_dst_packets",
        "obyt": "dst_to_src_bytes", "opkt": "dst_to_src_packets",
    }  # fmt: skip
    for found in unpacked(stored, tmp_path)[0]:
        for name, ours_name in names.items():
            ours[found["src_address"], found["dst_address"], name] += int(found[ours_name] or 0)
    assert ours == theirs
    assert theirs["2001:db8::1", LONG, "ibyt"] == 5_000_000_000


def test_a_rate_of_sampling_that_nfcapd_knows_is_in_its_volumes(
    collected: Callable[..., Path], tmp_path: Path
) -> None:
    rows, _ = unpacked(collected(FLOWS[:1], "-s", "100"), tmp_path)
    assert [(row["src_to_dst_bytes"], row["src_to_dst_packets"]) for row in rows] == [("150000", "300")]


def test_it_becomes_canonical_flows_whatever_the_zone_of_the_machine(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", "k" * 32)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    workspace = Workspace.create(tmp_path / "ws")
    (found,) = ingestion.ingest(workspace, [stored], Settings(identifiers="clear"), kind="flows")
    rows = pq.read_table(found.batch.rows).to_pylist()
    first = next(row for row in rows if row["src_port"] == 50_000 and row["protocol"] == 6)
    assert first["first_seen_at"] == after(-4_999)
    assert first["last_seen_at"] - first["first_seen_at"] == timedelta(milliseconds=998)
    echo = next(row for row in rows if row["protocol"] == 1 and row["customer_side"] == "src")
    assert (echo["src_port"], echo["dst_port"]) == (8, 0)
    assert sorted({row["protocol"] for row in rows}) == [p for p in range(256) if p != 58]
    manifest = found.batch.manifest
    assert (manifest["accepted"], manifest["rejected"]) == (len(FLOWS), 0)
    assert manifest["mapping"] == "flows"
    assert "columns" not in {finding["column"] for finding in manifest["findings"]}


def test_a_file_without_flows_says_so(collected: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no flows"):
        unpacked(collected([]), tmp_path)


def test_flows_whose_exporter_nobody_knows_name_none(tmp_path: Path) -> None:
    if shutil.which("nfpcapd") is None:
        pytest.skip("nfpcapd is not installed")
    from packets_made import conversation, pcap

    capture = tmp_path / "two.pcap"
    capture.write_bytes(pcap(*conversation()))
    subprocess.run(["nfpcapd", "-r", capture, "-w", tmp_path], check=True, capture_output=True)
    (path,) = tmp_path.glob("nfcapd.2*")
    rows, _ = unpacked(path, tmp_path)
    assert {row["exporter"] for row in rows} == {None}
    ours = sorted((row["src_address"], row["src_port"], row["src_to_dst_packets"]) for row in rows)
    assert ours == [(MINE, "5000", "1"), (SERVER, "9999", "1")]


@pytest.mark.parametrize("kept", [4, 100, 0.5])
def test_a_file_cut_short_is_refused_with_what_nfdump_says(stored: Path, tmp_path: Path, kept: float) -> None:
    content = stored.read_bytes()
    path = tmp_path / "nfcapd.202311142210"
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(InputError, match="cannot be read by nfdump") as refused:
        unpacked(path, tmp_path)
    assert "found: " in str(refused.value)
    assert "arrived complete" in str(refused.value)


def test_what_nfdump_complains_of_is_told_beside_the_flows(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "nfcapd.202311142210"
    path.write_bytes(stored.read_bytes()[:-1])
    rows, findings = unpacked(path, tmp_path)
    assert len(rows) == len(FLOWS)
    told = {f.severity: f.text for f in findings}
    assert told["warning"].startswith("nfdump says of the file: read() error")


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A file of nfcapd, and in place of nfdump a script."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "nfdump"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    path = tmp_path / "nfcapd.202311142210"
    path.write_bytes(b"\x0c\xa5" + bytes(300))
    return path


ROW = "2023-11-14 22:13:15.001,2023-11-14 22:13:15.999,10.0.0.1,192.0.2.7,50000,443,6,1500,3,0,0,127.0.0.1"


def test_nfdump_may_say_more_than_a_pipe_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"yes 'Unknown extension of a record: 65282' | head -n 30000 >&2\necho '{ROW}'"
    rows, findings = unpacked(stand_in(tmp_path, monkeypatch, script), tmp_path)
    assert [row["src_to_dst_bytes"] for row in rows] == ["1500"]
    assert findings[0].text == "nfdump says of the file: Unknown extension of a record: 65282"


def test_an_nfdump_that_fails_midway_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, f"echo '{ROW}'\nexit 255")
    with pytest.raises(InputError, match="exit code 255"):
        unpacked(path, tmp_path)


def test_what_is_no_table_of_nfdumps_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, f"echo '{ROW}'\necho 'a,b'")
    with pytest.raises(InputError, match="prints what is no table"):
        unpacked(path, tmp_path)


def test_without_nfdump_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "nfcapd.202311142210"
    path.write_bytes(b"\xa5\x0c" + bytes(300))
    with pytest.raises(InputError, match="apt install nfdump"):
        unpacked(path, tmp_path)
