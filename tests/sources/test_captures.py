"""Captures packed by hand: of traffic, which NFStream reads, and of exporters, which our decoder does."""

from __future__ import annotations

import gzip
import os
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import installed
from export_made import EXPORTER, FLOW, data, five, flow, nine, record_five, template
from packets_made import (
    AT_S,
    MINE,
    SERVER,
    arp,
    block,
    conversation,
    ethernet,
    icmp,
    ip4,
    ip6,
    pcap,
    pcapng,
    tcp,
    udp,
)

from subsight import ingestion
from subsight.errors import InputError
from subsight.settings import Settings
from subsight.sources import captures, metering
from subsight.sources.findings import Finding
from subsight.workspace import Workspace

BEGIN = datetime.fromtimestamp(AT_S, UTC) + timedelta(milliseconds=500)
Rows = list[dict[str, Any]]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def unpacked(tmp_path: Path, scratch: Path) -> Any:
    """What becomes of a capture's bytes: rows, and what is found."""
    installed("nfstream", "extra pcap")

    def unpack(content: bytes, name: str = "a.pcap") -> tuple[Rows, list[Finding]]:
        path = tmp_path / name
        path.write_bytes(content)
        found = captures.unpack(path, scratch)
        assert [p.name for p in scratch.iterdir()] == [found.path.name]  # nothing is left behind
        return pq.read_table(found.path).to_pylist(), found.findings

    return unpack


def volumes(rows: Rows) -> list[tuple[Any, ...]]:
    names = "src_address", "dst_address", "src_port", "dst_port", "protocol"
    counts = "src_to_dst_bytes", "dst_to_src_bytes", "src_to_dst_packets", "dst_to_src_packets"
    return sorted((tuple(row[name] for name in (*names, *counts)) for row in rows), key=str)


def told(findings: list[Finding]) -> dict[str, tuple[str, int]]:
    return {f.check: (f.severity, f.count) for f in findings}


TALK = (MINE, SERVER, 5000, 9999, 17, 33, 35, 1, 1)


@pytest.mark.parametrize(
    "content",
    [
        pcap(*conversation()), pcap(*conversation(), order=">"), pcap(*conversation(), nano=True),
        pcap(*conversation(), nano=True, order=">"), pcapng(*conversation()),
    ],
)  # fmt: skip
def test_both_directions_are_one_flow_in_every_format(unpacked: Any, content: bytes) -> None:
    rows, findings = unpacked(content)
    assert volumes(rows) == [TALK]
    assert (rows[0]["first_seen_at"], rows[0]["last_seen_at"]) == (BEGIN, BEGIN + timedelta(seconds=1))
    assert told(findings) == {"nfstream": ("note", 1)}


def test_ethernets_padding_and_what_was_not_kept_of_a_packet_do_not_count(unpacked: Any) -> None:
    short = ethernet(ip4(MINE, SERVER, 6, tcp(5000, 443)))
    long = ethernet(ip4(MINE, "192.0.2.8", 6, tcp(5000, 443, bytes(1400))))
    kept = pcap(short + bytes(6)) + struct.pack("<IIII", AT_S, 0, 60, len(long)) + long[:60]
    rows, _ = unpacked(kept)
    assert [row[5] for row in volumes(rows)] == [40, 1440]


COOKED = struct.pack(">HHH8sH", 0, 1, 6, b"", 0x0800)
"""The header of Linux's cooked captures."""


@pytest.mark.parametrize(
    "pack",
    [
        lambda packet: pcap(ethernet(packet, 5)), lambda packet: pcap(ethernet(packet, 5, 6)),
        lambda packet: pcap(packet, link=101), lambda packet: pcap(COOKED + packet, link=113),
    ],
)  # fmt: skip
def test_tags_and_other_links_carry_the_same_packet(unpacked: Any, pack: Any) -> None:
    rows, _ = unpacked(pack(ip4(MINE, SERVER, 6, tcp(5000, 443, b"x" * 10))))
    assert volumes(rows) == [(MINE, SERVER, 5000, 443, 6, 50, 0, 1, 0)]


def test_ipv6_and_icmp_of_which_no_type_is_known(unpacked: Any) -> None:
    rows, _ = unpacked(
        pcap(
            ethernet(ip6("fd00::1", "2001:db8::1", 6, tcp(5000, 443, b"x" * 10))),
            ethernet(ip6("fd00::1", "2001:db8::1", 58, icmp(128, 0))),
            ethernet(ip4(MINE, SERVER, 1, icmp(8, 0))),
            ethernet(ip4(SERVER, MINE, 1, icmp(0, 0))),
            ethernet(ip4("192.0.2.9", MINE, 1, icmp(3, 3))),
        )
    )
    assert volumes(rows) == [
        (MINE, SERVER, None, None, 1, 84, 84, 1, 1),
        ("192.0.2.9", MINE, None, None, 1, 84, 0, 1, 0),
        ("fd00::1", "2001:db8::1", 5000, 443, 6, 70, 0, 1, 0),
        ("fd00::1", "2001:db8::1", None, None, 58, 104, 0, 1, 0),
    ]


def test_a_pause_ends_a_flow(unpacked: Any) -> None:
    rows, findings = unpacked(pcap(*conversation(), step_s=metering.IDLE_S + 1))
    assert volumes(rows) == [(MINE, SERVER, 5000, 9999, 17, 33, 0, 1, 0),
                             (SERVER, MINE, 9999, 5000, 17, 35, 0, 1, 0)]  # fmt: skip
    assert "after 120 s without a packet" in findings[0].text


def test_packets_in_no_flow_are_counted(unpacked: Any) -> None:
    whole = udp(5000, 9999, bytes(2000))
    rows, findings = unpacked(
        pcap(
            ethernet(ip4(MINE, SERVER, 17, whole[:1480], fragment=0x2000)),
            ethernet(ip4(MINE, SERVER, 17, whole[1480:], fragment=185)),
            arp(),
            arp(),
        )
    )
    assert volumes(rows) == [(MINE, SERVER, 5000, 9999, 17, 1500, 0, 1, 0)]
    found = told(findings)
    assert found["packets"] == ("warning", 1)
    assert found["packet: no IP packet"] == ("note", 2)


@pytest.mark.parametrize(
    "content",
    [
        pcap(*conversation())[:-5], pcap(*conversation()) + bytes(7), pcapng(*conversation())[:-7],
        pcap(*conversation()) + struct.pack("<IIII", AT_S + 5, 0, 0x7FFFFFFF, 5) + b"x" * 3000,
    ],
)  # fmt: skip
def test_of_a_capture_cut_short_what_is_whole_is_read_and_the_rest_told(
    unpacked: Any, content: bytes
) -> None:
    rows, findings = unpacked(content)
    assert [row[:6] for row in volumes(rows)] == [(MINE, SERVER, 5000, 9999, 17, 33)]
    assert told(findings)["cut short"] == ("warning", 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pcap(), "holds no flows"), (pcapng(), "holds no flows"), (pcap(arp()), r"no IP packet \(1\)"),
        (pcap(*conversation(), link=147), r"no IP packet \(2\)"),
        (pcap()[:4], "truncated dump file"), (pcap()[:20], "truncated dump file"),
        (pcapng()[:4], "cannot be read by NFStream"), (pcapng()[:12], "arrived complete"),
        (b"\1\2\3\4" + pcap()[4:], "begins with the bytes 01 02 03 04"),
        (gzip.compress(pcap(), mtime=0), "begins with the bytes 1f 8b"),
    ],
)  # fmt: skip
def test_what_holds_no_flows_is_refused_with_the_reason(unpacked: Any, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        unpacked(content)


def test_garbage_after_the_header_is_no_flow(unpacked: Any) -> None:
    frames = ethernet(b"\x45" + b"\xff" * 10), ethernet(b"\x4f" * 60), b"", b"x"
    with pytest.raises(InputError, match=r"IP packets are in no flow: later fragments, or damaged \(2\)"):
        unpacked(pcap(*frames))


def test_a_clock_that_no_calendar_has_is_rejected_and_not_an_error(
    unpacked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", "k" * 32)
    path = tmp_path / "late.pcapng"
    path.write_bytes(pcapng(*conversation(), at_us=2**64 - 10_000_000))
    with pytest.raises(InputError, match="first_seen_at in the future") as refused:
        ingestion.ingest(Workspace.create(tmp_path / "ws"), [path], Settings(), kind="flows")
    assert "check the clock" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.pcap.gz", gzip.compress), ("a.pcapng.zst", lambda b: pa.Codec("zstd").compress(b, asbytes=True))],
)
def test_a_compressed_capture_is_read_as_the_plain_one(
    unpacked: Any, tmp_path: Path, name: str, pack: Any
) -> None:
    rows, _ = unpacked(pack(pcap(*conversation())), name)
    assert volumes(rows) == [TALK]
    whole = (tmp_path / name).read_bytes()
    for broken in (whole[:-9], whole[:12], whole[:10] + b"\xff" * 20):
        with pytest.raises(InputError, match=f"{name} cannot be unpacked"):
            unpacked(broken, name)


def test_a_folder_gives_its_captures_and_nothing_else(
    unpacked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", "k" * 32)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "one.pcap").write_bytes(pcap(*conversation()))
    (inbox / "two.pcap.gz").write_bytes(gzip.compress(pcap(*conversation(), at_s=AT_S + 60)))
    (inbox / "notes.md").write_text("none of these")
    workspace = Workspace.create(tmp_path / "ws")
    found = ingestion.ingest(workspace, [inbox], Settings(identifiers="clear"), kind="flows")
    assert [(one.name, one.batch.manifest["accepted"]) for one in found] == [
        ("one.pcap", 1), ("two.pcap.gz", 1),
    ]  # fmt: skip
    (row,) = pq.read_table(found[0].batch.rows).to_pylist()
    assert (row["first_seen_at"], row["src_to_dst_bytes"], row["customer_side"]) == (BEGIN, 33, "src")
    manifest = found[0].batch.manifest
    assert manifest["mapping"] == "flows"
    assert {f["check"] for f in manifest["findings"]} == {"nfstream"}


# Labels


def test_labels_tell_how_they_were_found(unpacked: Any) -> None:
    from types import SimpleNamespace

    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\7example\3org\0" + struct.pack(">HH", 1, 1)
    rows, _ = unpacked(
        pcap(ethernet(ip4(MINE, SERVER, 17, udp(5000, 53, query))),
             ethernet(ip4(MINE, SERVER, 6, tcp(5000, 443))),
             ethernet(ip4(MINE, SERVER, 6, tcp(5000, 47_001))))
    )  # fmt: skip
    found = {row["dst_port"]: (row["application"], row["application_method"]) for row in rows}
    assert found == {53: ("DNS", "DPI"), 443: ("TLS", "Match by port"), 47_001: (None, None)}

    def method(number: int, is_guessed: int) -> str:
        return metering._method(
            SimpleNamespace(application_confidence=number, application_is_guessed=is_guessed)
        )

    # `ndpi_confidence_t` of nDPI 4.12 and later, as ndpi_confidence_get_name() writes it.
    assert [method(number, 0) for number in (2, 5, 7, 8)] == [
        "nBPF", "DPI (cache)", "Match by IP", "DPI (aggressive)",
    ]  # fmt: skip
    assert (method(7, 1), method(0, 1)) == ("Match by IP", "Match by port")
    assert method(42, 0) == "nDPI confidence 42"


# Captures of exporters


def exported(*payloads: bytes) -> list[bytes]:
    return [ethernet(ip4(EXPORTER, "192.0.2.99", 17, udp(2055, 2055, payload))) for payload in payloads]


def test_datagrams_of_exporters_are_decoded_and_not_metered(unpacked: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(captures, "_DATAGRAMS", 1)  # the template comes in a later part than its data
    rows, findings = unpacked(
        pcap(*exported(five(record_five(octets=700)), nine(data(256, flow(octets=900))),
                       nine(template(9, 256, *FLOW), sequence=1), b"\0\7 is no version that is known"), arp())
    )  # fmt: skip
    assert sorted(row["src_to_dst_bytes"] for row in rows) == [700, 900]
    assert {row["exporter"] for row in rows} == {EXPORTER}
    assert "datagram" not in rows[0]
    found = told(findings)
    assert found["dropped: version 7 is none that is known"] == ("warning", 1)
    assert found["packet: no IP packet"] == ("note", 1)
    assert "nfstream" not in found


def test_exports_among_other_traffic_do_not_hide_it(unpacked: Any) -> None:
    others = [ethernet(ip4(MINE, SERVER, 6, tcp(5000 + i, 443, b"x"))) for i in range(3)]
    rows, _ = unpacked(pcap(*exported(five(record_five())), *others))
    assert sorted(row["src_port"] for row in rows) == [2055, 5000, 5001, 5002]


def test_exports_of_which_nothing_can_be_decoded_say_why(unpacked: Any) -> None:
    with pytest.raises(InputError, match=r"holds no flows\n  found: .*template"):
        unpacked(pcap(*exported(nine(data(256, flow())))))


def test_exports_cut_short_are_told(unpacked: Any) -> None:
    rows, findings = unpacked(pcap(*exported(five(record_five()), five(record_five(), sequence=1)))[:-3])
    assert len(rows) == 1
    assert told(findings)["cut short"] == ("warning", 0)


# NFStream


def test_without_the_extra_it_is_said_how_to_install_it(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nfstream", None)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(*conversation()))
    with pytest.raises(InputError, match=r"pip install 'subsight\[pcap\]'"):
        captures.unpack(path, scratch)
    path.write_bytes(pcap(*exported(five(record_five()))))  # which needs none
    assert pq.read_table(captures.unpack(path, scratch).path).num_rows == 1


def test_a_meter_that_dies_is_an_error_and_is_not_waited_for(
    unpacked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nfstream import streamer

    monkeypatch.setattr(streamer, "meter_workflow", lambda *_: os.kill(os.getpid(), 9))
    with pytest.raises(InputError, match="its meter ended with exit code -9"):
        unpacked(pcap(*conversation()))


@pytest.fixture
def processors() -> Iterator[set[int]]:
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def test_this_process_keeps_its_processors_and_its_output(
    unpacked: Any, processors: set[int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nfstream import streamer

    one = {min(processors)}
    # As NFStream does on machines of more than two.
    monkeypatch.setattr(streamer, "set_affinity", lambda _: os.sched_setaffinity(os.getpid(), one))
    unpacked(pcap(*conversation()))
    assert os.sched_getaffinity(0) == processors
    os.sched_setaffinity(0, one)  # on one it warns
    unpacked(pcap(*conversation()))
    assert capfd.readouterr().out == ""


def test_an_unknown_block_is_passed_over(unpacked: Any) -> None:
    content = pcapng(*conversation())
    rows, findings = unpacked(content + block(0xBAD, b"a vendor's own"))
    assert volumes(rows) == [TALK]
    assert "cut short" not in told(findings)
