"""Datagrams of NetFlow v5 and v9 made by hand, of as many flows as a test asks for."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from subsight.sources.netflow import Datagram

BEGIN_S = 1_714_557_600  # 2024-05-01 10:00:00 UTC
UPTIME_MS = 3_600_000
FIELDS = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (22, 4), (21, 4))


@dataclass(frozen=True)
class Flow:
    """What one record is to say; times are seconds after `BEGIN_S`."""

    src: str
    dst: str
    src_port: int
    dst_port: int
    protocol: int
    volume: int
    packets: int
    first_s: int
    last_s: int


def flows(count: int, offset: int = 0) -> list[Flow]:
    """Flows that all differ: customers of 10.0.0.0/8 that ask servers over the web."""
    return [
        Flow(
            f"10.{i // 65536 % 256}.{i // 256 % 256}.{i % 256}", f"192.0.2.{i % 250}", 50_000 + i % 10_000,
            (443, 80, 53)[i % 3], (6, 6, 17)[i % 3], 1_000 + i, 1 + i % 20, i % 3_000, i % 3_000 + 5,
        )
        for i in range(offset, offset + count)
    ]  # fmt: skip


def _number(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def _ago(seconds: int, exported_s: int) -> int:
    """The uptime at an instant."""
    return UPTIME_MS - (exported_s - BEGIN_S - seconds) * 1000


def five(exporter: str, sequence: int, found: list[Flow]) -> Datagram:
    """A datagram of version 5 with at most 30 flows."""
    exported = BEGIN_S + 3_005
    head = struct.pack(">HHIIIIBBH", 5, len(found), UPTIME_MS, exported, 0, sequence, 0, 0, 0)
    body = b"".join(
        _number(f.src) + _number(f.dst) + bytes(4) + struct.pack(
            ">HHIIIIHHBBBBHHBBH", 1, 2, f.packets, f.volume, _ago(f.first_s, exported),
            _ago(f.last_s, exported), f.src_port, f.dst_port, 0, 0, f.protocol, 0, 0, 0, 0, 0, 0,
        )
        for f in found
    )  # fmt: skip
    return Datagram(exporter, 0, head + body)


def _nine(exporter: str, sequence: int, sets: bytes, exported: int) -> Datagram:
    return Datagram(exporter, 0, struct.pack(">HHIIII", 9, 1, UPTIME_MS, exported, sequence, 7) + sets)


def template(exporter: str, sequence: int) -> Datagram:
    """The template 256 of version 9 that `nine` follows."""
    fields = b"".join(struct.pack(">HH", *field) for field in FIELDS)
    body = struct.pack(">HH", 256, len(FIELDS)) + fields
    return _nine(exporter, sequence, struct.pack(">HH", 0, 4 + len(body)) + body, BEGIN_S)


def nine(exporter: str, sequence: int, found: list[Flow]) -> Datagram:
    """A datagram of version 9 with flows by the template 256."""
    exported = BEGIN_S + 3_005
    body = b"".join(
        _number(f.src) + _number(f.dst) + struct.pack(
            ">HHBIIII", f.src_port, f.dst_port, f.protocol, f.volume, f.packets, _ago(f.first_s, exported),
            _ago(f.last_s, exported),
        )
        for f in found
    )  # fmt: skip
    body += bytes(-len(body) % 4)
    return _nine(exporter, sequence, struct.pack(">HH", 256, 4 + len(body)) + body, exported)


def told(count: int) -> tuple[list[Datagram], list[Flow]]:
    """Datagrams of three exporters, of which one sends its template late, and the flows that they tell."""
    every = flows(count)
    datagrams: list[Datagram] = []
    for start in range(0, count, 20):
        some = every[start : start + 20]
        place = start // 20
        exporter = f"127.0.0.{place % 3 + 1}"
        if place % 3 == 0:
            datagrams.append(five(exporter, start // 3, some))
        else:
            if place in (1, 8):  # of the third the first two datagrams come before their template
                datagrams.append(template(exporter, 1_000_000 + place))
            datagrams.append(nine(exporter, place, some))
    return datagrams, every
