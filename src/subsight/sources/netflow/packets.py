"""IP packets and UDP payloads of captures: classic pcap and pcapng, the link types that probes write."""

from __future__ import annotations

import ipaddress
import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from subsight.errors import InputError

__all__ = ["CUT_SHORT", "Payload", "is_capture", "packets", "payloads"]

CUT_SHORT: Final = "capture cut short"
"""Why the rest of a capture is not read: it ends within a packet, or its sizes are damaged."""

_CLASSIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000), b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000), b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}  # fmt: skip
_NG: Final = b"\x0a\x0d\x0d\x0a"
_LARGEST: Final = 1 << 20
_ETHERNET, _LOOPBACK, _RAW, _SLL, _SLL2 = (1,), (0, 108), (12, 14, 101, 228, 229), (113,), (276,)
_TAGS: Final = (0x8100, 0x88A8, 0x9100)


@dataclass(frozen=True)
class Payload:
    """What one UDP datagram carried: when (microseconds since 1970), from where, and to which port."""

    at_us: int
    src_address: str
    dst_port: int
    data: bytes


def is_capture(magic: bytes) -> bool:
    """Whether a file with these first four bytes is a packet capture."""
    return magic in _CLASSIC or magic == _NG


def payloads(path: Path, passed: Counter[str] | None = None, *, most: int | None = None) -> Iterator[Payload]:
    """The UDP payloads of a capture, in its order; what is none is counted in `passed` by reason.

    Args:
        most: how many IP packets are looked at; by default all.

    Raises:
        InputError: the file is no capture.
    """
    counted: Counter[str] = Counter() if passed is None else passed
    for at_us, packet in islice(packets(path, counted), most):
        found = _udp(packet, counted)
        if found:
            yield Payload(at_us, *found)


def packets(path: Path, passed: Counter[str]) -> Iterator[tuple[int, bytes]]:
    """The IP packets of a capture, each with its time in microseconds since 1970.

    What is none, or cannot be read, is counted in `passed` by reason.

    Raises:
        InputError: the file is no capture.
    """
    with path.open("rb") as file:
        is_empty = not file.read(1)
        # Mapped, since captures may be larger than memory.
        content = b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if content[:4] in _CLASSIC:
        frames = _classic(content, passed)
    elif content[:4] == _NG:
        frames = _blocks(content, passed)
    else:
        raise InputError(f"{path.name} is no packet capture", expected="pcap or pcapng")
    for at_us, link, frame in frames:
        packet = _packet(link, frame)
        if packet is None:
            passed["no IP packet"] += 1
        else:
            yield at_us, packet


Frames = Iterator[tuple[int, int, bytes]]
Content = bytes | mmap.mmap


def _classic(content: Content, passed: Counter[str]) -> Frames:
    order, scale = _CLASSIC[content[:4]]
    if len(content) < 24:
        passed[CUT_SHORT] += 1
        return
    (link,) = struct.unpack_from(f"{order}I", content, 20)
    at = 24
    while at + 16 <= len(content):
        seconds, fraction, length, _ = struct.unpack_from(f"{order}IIII", content, at)
        at += 16
        if length > _LARGEST or at + length > len(content):
            passed[CUT_SHORT] += 1
            return
        yield seconds * 1_000_000 + fraction * 1_000_000 // scale, link & 0xFFFF, content[at : at + length]
        at += length
    if at < len(content):
        passed[CUT_SHORT] += 1


def _blocks(content: Content, passed: Counter[str]) -> Frames:
    order, links = "<", list[tuple[int, float]]()
    at = 0
    while at + 12 <= len(content):
        if content[at : at + 4] == _NG:
            order = "<" if content[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            links = []
        kind, length = struct.unpack_from(f"{order}II", content, at)
        if length < 12 or length % 4 or at + length > len(content):
            passed[CUT_SHORT] += 1
            return
        body = content[at + 8 : at + length - 4]
        at += length
        if kind == 1 and len(body) >= 8:
            links.append((struct.unpack_from(f"{order}H", body)[0], _resolution(body[8:], order)))
        elif kind == 6 and len(body) >= 20:
            interface, high, low, size, _ = struct.unpack_from(f"{order}IIIII", body)
            if interface >= len(links) or size > len(body) - 20:
                passed["damaged block"] += 1
                continue
            link, scale = links[interface]
            yield int((high << 32 | low) * scale), link, body[20 : 20 + size]
        elif kind == 3 and links and len(body) >= 4:  # a simple packet has no time
            yield 0, links[0][0], body[4:]
    if at < len(content):
        passed[CUT_SHORT] += 1


def _resolution(options: bytes, order: str) -> float:
    """Microseconds in a tick of an interface's clock."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(f"{order}HH", options, at)
        if code == 9 and length == 1:
            value = options[at + 4]
            return 1e6 / float(2 ** (value & 0x7F) if value & 0x80 else 10**value)
        if code == 0:
            break
        at += 4 + (length + 3) // 4 * 4
    return 1.0


def _packet(link: int, frame: bytes) -> bytes | None:
    """The IP packet in a frame, or None."""
    if link in _ETHERNET:
        at = 12
        while at + 2 <= len(frame) and int.from_bytes(frame[at : at + 2]) in _TAGS:
            at += 4
        kind, rest = int.from_bytes(frame[at : at + 2]), frame[at + 2 :]
        return rest if kind in (0x0800, 0x86DD) else None
    if link in _SLL:
        return frame[16:] if int.from_bytes(frame[14:16]) in (0x0800, 0x86DD) else None
    if link in _SLL2:
        return frame[20:] if int.from_bytes(frame[0:2]) in (0x0800, 0x86DD) else None
    if link in _LOOPBACK:
        return frame[4:]
    return frame if link in _RAW else None


def _udp(packet: bytes, passed: Counter[str]) -> tuple[str, int, bytes] | None:
    """Sender, receiver's port and payload of a UDP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        size, protocol = (packet[0] & 15) * 4, packet[9]
        end = min(len(packet), int.from_bytes(packet[2:4]) or len(packet))
        is_part = bool(int.from_bytes(packet[6:8]) & 0x3FFF)
        sender = str(ipaddress.IPv4Address(packet[12:16]))
    elif version == 6 and len(packet) >= 40:
        size, protocol = 40, packet[6]
        end, is_part = min(len(packet), 40 + int.from_bytes(packet[4:6])), False
        sender = str(ipaddress.IPv6Address(packet[8:24]))
    else:
        passed["no IP packet"] += 1
        return None
    if is_part:
        passed["fragment"] += 1
        return None
    if protocol != 17:
        passed["no UDP datagram"] += 1
        return None
    if end < size + 8:
        passed["packet cut short"] += 1
        return None
    told = int.from_bytes(packet[size + 4 : size + 6])
    if size + told > len(packet):
        passed["packet cut short"] += 1
    return (
        sender,
        int.from_bytes(packet[size + 2 : size + 4]),
        packet[size + 8 : min(end, size + max(told, 8))],
    )
