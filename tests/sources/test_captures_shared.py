"""The shared captures of many protocols: each is taken, and counts as a reader of its own counts."""

from __future__ import annotations

import csv
import ipaddress
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import installed

from subsight.errors import InputError
from subsight.sources import captures

GTP = 20 + 8 + 8
"""Bytes of IPv4, UDP and GTP-U around a packet of a subscriber (3GPP TS 29.281)."""
INSIDE = {
    # Of tunnels NFStream tells what is inside: packets, and the bytes that are around each.
    "6in4tunnel.pcap": (127, 20),
    "false_positives.pcapng": (54, GTP),
    "rtmp.pcap": (34, GTP),
}
APART = {
    "dns_fragmented.pcap": "fragments of IPv6: later ones are in no flow",
    "line.pcap": "one packet's length is damaged: it is in no flow",
    "syslog.pcap": "PPPoE and tunnels",
    "tls_invalid_reads.pcap": "tunnels in which packets are cut off",
}
Key = tuple[str, str, int, int, int]


@pytest.fixture(scope="module")
def taken(shared_captures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The flows of every capture; a refusal is kept as none."""
    installed("nfstream", "extra pcap")
    scratch = tmp_path_factory.mktemp("unpacked")
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(shared_captures.iterdir()):
        try:
            found[path.name] = pq.read_table(captures.unpack(path, scratch).path).to_pylist()
        except InputError:
            found[path.name] = []
    return found


def frames(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Link type and bytes of each packet of a pcap or a little-endian pcapng."""
    at, links = 24, list[int]()
    if content[:4] != b"\x0a\x0d\x0d\x0a":
        order = "<" if content[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        (link,) = struct.unpack_from(f"{order}I", content, 20)
        while at < len(content):
            (size,) = struct.unpack_from(f"{order}I", content, at + 8)
            yield link, content[at + 16 : at + 16 + size]
            at += 16 + size
        return
    at = 0
    while at < len(content):
        kind, length = struct.unpack_from("<II", content, at)
        body = content[at + 8 : at + length - 4]
        if kind == 1:
            links.append(struct.unpack_from("<H", body)[0])
        elif kind == 6:
            place, _, _, size = struct.unpack_from("<IIII", body)
            yield links[place], body[20 : 20 + size]
        at += length


def ip_of(link: int, frame: bytes) -> bytes:
    at = 12
    if link == 1:
        while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
            at += 4
    elif link == 113:
        at = 14
    else:
        return frame if link in (12, 101, 228, 229) else b""
    return frame[at + 2 :] if frame[at : at + 2] in (b"\x08\x00", b"\x86\xdd") else b""


def counted(path: Path) -> tuple[Counter[Key], Counter[Key]]:
    """Packets and bytes of IP by sender, receiver, ports and protocol."""
    packets, octets = Counter[Key](), Counter[Key]()
    for link, frame in frames(path.read_bytes()):
        packet = ip_of(link, frame)
        if not packet:
            continue
        is_four = packet[0] >> 4 == 4
        header = (packet[0] & 15) * 4 if is_four else 40
        size = struct.unpack_from(">H", packet, 2 if is_four else 4)[0] + (0 if is_four else 40)
        protocol = packet[9] if is_four else packet[6]
        width, at = (4, 12) if is_four else (16, 8)
        ends = (str(ipaddress.ip_address(packet[a : a + width])) for a in (at, at + width))
        has_ports = protocol in (6, 17) and len(packet) >= header + 4
        key = (*ends, *(struct.unpack_from(">HH", packet, header) if has_ports else (0, 0)), protocol)
        packets[key] += 1
        octets[key] += size
    return packets, octets


def metered(rows: list[dict[str, Any]]) -> tuple[Counter[Key], Counter[Key]]:
    """The same of flows."""
    packets, octets = Counter[Key](), Counter[Key]()
    for row in rows:
        src, dst, protocol = row["src_address"], row["dst_address"], row["protocol"]
        ports = row["src_port"] or 0, row["dst_port"] or 0
        for way, key in (("src_to_dst", (src, dst, *ports)), ("dst_to_src", (dst, src, *ports[::-1]))):
            packets[*key, protocol] += row[f"{way}_packets"]
            octets[*key, protocol] += row[f"{way}_bytes"]
    return +packets, +octets


def test_every_capture_is_taken(taken: dict[str, list[dict[str, Any]]]) -> None:
    assert len(taken) == 98
    assert [name for name, rows in taken.items() if not rows] == []


def test_packets_and_bytes_are_those_of_a_reader_written_apart(
    shared_captures: Path, taken: dict[str, list[dict[str, Any]]]
) -> None:
    differ = {name for name, rows in taken.items() if metered(rows) != counted(shared_captures / name)}
    assert differ == {*INSIDE, *APART}
    for name, (count, around) in INSIDE.items():
        theirs, ours = counted(shared_captures / name), metered(taken[name])
        assert theirs[0].total() == ours[0].total()
        assert theirs[1].total() - ours[1].total() == count * around


def test_labels_are_those_that_ndpi_gave(
    labelled_flows: Path, taken: dict[str, list[dict[str, Any]]]
) -> None:
    """Of flows that have one row here and there. Versions of nDPI differ, and so may one in twenty."""
    names = {"TCP": 6, "UDP": 17}
    found: dict[Any, list[dict[str, Any]]] = {}
    for name, rows in taken.items():
        for row in rows:
            ends = (row["src_address"], row["src_port"]), (row["dst_address"], row["dst_port"])
            found.setdefault((name, frozenset(ends), row["protocol"]), []).append(row)
    with labelled_flows.open() as file:
        labelled = [row for row in csv.DictReader(file) if row["pcap"] in taken and row["l4"] in names]
    alike = Counter[bool]()
    for row in labelled:
        ends = (row["src_ip"], int(row["src_port"])), (row["dst_ip"], int(row["dst_port"]))
        rows = found.get((row["pcap"], frozenset(ends), names[row["l4"]]), [])
        if len(rows) == 1 and rows[0]["application"]:
            is_alike = rows[0]["application"] == row["ndpi_label"]
            alike[is_alike and rows[0]["application_method"] == row["confidence"]] += 1
    assert alike.total() > 1_000
    assert alike[True] > 0.95 * alike.total()
