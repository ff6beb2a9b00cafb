"""Datagrams of exporters, packed by hand from what Cisco's v5, RFC 3954 and RFC 7011 say."""

from __future__ import annotations

import ipaddress
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from subsight.sources.netflow import Datagram, Decoded, Decoder

SECONDS = 1_700_000_000
"""When all of them are exported: 2023-11-14 22:13:20 UTC."""
EXPORTER = "192.0.2.1"
FLOW = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4))
"""Fields of a plain template: addresses, ports, protocol, bytes, packets."""


def after(milliseconds: float) -> datetime:
    """An instant so long after the export."""
    return datetime.fromtimestamp(SECONDS, UTC) + timedelta(milliseconds=milliseconds)


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def flow(
    src: str = "10.0.0.1", dst: str = "10.0.0.2", ports: tuple[int, int] = (1000, 443), protocol: int = 6,
    octets: int = 1500, packets: int = 3,
) -> bytes:  # fmt: skip
    """A record of the fields `FLOW`."""
    return ip(src) + ip(dst) + struct.pack(">HHBII", *ports, protocol, octets, packets)


def record_five(
    src: str = "10.0.0.1", dst: str = "10.0.0.2", ports: tuple[int, int] = (1000, 443), protocol: int = 6,
    octets: int = 1500, packets: int = 3, first: int = 0, last: int = 0,
) -> bytes:  # fmt: skip
    return (
        ip(src) + ip(dst) + ip("10.9.9.9") + struct.pack(">HH", 1, 2)
        + struct.pack(">IIIIHH", packets, octets, first, last, *ports)
        + struct.pack(">BBBBHHBBH", 0, 0x1B, protocol, 0, 65001, 65002, 24, 24, 0)
    )  # fmt: skip


def five(
    *records: bytes, uptime: int = 100_000, nanoseconds: int = 0, sequence: int = 0, engine: int = 0,
    sampling: int = 0, count: int | None = None,
) -> bytes:  # fmt: skip
    told = len(records) if count is None else count
    header = struct.pack(
        ">HHIIIIBBH", 5, told, uptime, SECONDS, nanoseconds, sequence, 0, engine, sampling
    )  # fmt: skip
    return header + b"".join(records)


def nine(*sets: bytes, uptime: int = 100_000, sequence: int = 0, domain: int = 0) -> bytes:
    return struct.pack(">HHIIII", 9, len(sets), uptime, SECONDS, sequence, domain) + b"".join(sets)


def ipfix(*sets: bytes, sequence: int = 0, domain: int = 0, length: int | None = None) -> bytes:
    body = b"".join(sets)
    told = 16 + len(body) if length is None else length
    return struct.pack(">HHIII", 10, told, SECONDS, sequence, domain) + body


def message(version: int, *sets: bytes, **header: int) -> bytes:
    return nine(*sets, **header) if version == 9 else ipfix(*sets, **header)


def fields(*told: tuple[int, ...]) -> bytes:
    """Field specifiers: number, length and, where it is not IANA's, the enterprise."""
    return b"".join(
        struct.pack(">HHI", number | 0x8000, length, *enterprise)
        if enterprise
        else struct.pack(">HH", number, length)
        for number, length, *enterprise in told
    )


def a_set(number: int, body: bytes) -> bytes:
    return struct.pack(">HH", number, 4 + len(body)) + body


def template(version: int, number: int, *told: tuple[int, ...]) -> bytes:
    return a_set(0 if version == 9 else 2, struct.pack(">HH", number, len(told)) + fields(*told))


def options_template(
    version: int, number: int, scope: tuple[tuple[int, ...], ...], told: tuple[tuple[int, ...], ...]
) -> bytes:
    if version == 9:
        sizes = struct.pack(">HHH", number, 4 * len(scope), 4 * len(told))
        return a_set(1, sizes + fields(*scope, *told))
    sizes = struct.pack(">HHH", number, len(scope) + len(told), len(scope))
    return a_set(3, sizes + fields(*scope, *told))


def data(number: int, *records: bytes, padding: int = 0) -> bytes:
    return a_set(number, b"".join(records) + bytes(padding))


def decode(*payloads: bytes, decoder: Decoder | None = None, is_last: bool = True) -> Decoded:
    given = [Datagram(EXPORTER, 0, payload) for payload in payloads]
    return (decoder or Decoder()).decode(given, is_last=is_last)


def rows(*payloads: bytes) -> list[dict[str, Any]]:
    """Flows of datagrams of which nothing was dropped, in the datagrams' order."""
    decoded = decode(*payloads)
    assert decoded.dropped == []
    return sorted(decoded.table.to_pylist(), key=lambda row: row["datagram"])


def dropped(decoded: Decoded) -> dict[str, int]:
    return {drop.reason: drop.count for drop in decoded.dropped}
