"""Packets and captures packed by hand: Ethernet, IPv4, IPv6, TCP, UDP and ICMP; pcap and pcapng."""

from __future__ import annotations

import ipaddress
import struct

AT_S = 1_714_557_600
"""When the first packet of a capture is seen: 2024-05-01 10:00:00 UTC."""
MINE, SERVER = "10.0.0.1", "192.0.2.7"
HELLO = b"\x16\x03\x01\x00\x05hello"


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def ip4(src: str, dst: str, protocol: int, body: bytes, fragment: int = 0) -> bytes:
    """A packet; `fragment` is its flags and offset."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, fragment, 64, protocol, 0)
    return header + ip(src) + ip(dst) + body


def ip6(src: str, dst: str, protocol: int, body: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + ip(src) + ip(dst) + body


def udp(src_port: int, dst_port: int, data: bytes = b"") -> bytes:
    return struct.pack(">HHHH", src_port, dst_port, 8 + len(data), 0) + data


def tcp(src_port: int, dst_port: int, data: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", src_port, dst_port, 1, 1, 0x50, 0x18, 65_535, 0, 0) + data


def icmp(kind: int, code: int) -> bytes:
    return struct.pack(">BBHHH", kind, code, 0, 1, 1) + bytes(56)


def ethernet(packet: bytes, *tags: int) -> bytes:
    """A frame, with the tags of virtual networks that it passes (IEEE 802.1Q)."""
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    tagged = b"".join(struct.pack(">HH", 0x8100, tag) for tag in tags)
    return bytes(range(12)) + tagged + struct.pack(">H", kind) + packet


def arp() -> bytes:
    return b"\xff" * 6 + bytes(6) + struct.pack(">H", 0x0806) + bytes(28)


def pcap(
    *frames: bytes, order: str = "<", link: int = 1, nano: bool = False, at_s: int = AT_S, step_s: int = 1
) -> bytes:
    """A classic capture with a frame every `step_s` seconds, each half a second after a full one."""
    content = struct.pack(f"{order}IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 65_535, link)
    for i, frame in enumerate(frames):
        half = 500_000_000 if nano else 500_000
        content += struct.pack(f"{order}IIII", at_s + i * step_s, half, len(frame), len(frame)) + frame
    return content


def block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def pcapng(*frames: bytes, link: int = 1, at_us: int = AT_S * 1_000_000 + 500_000) -> bytes:
    """A capture of sections and blocks, with a frame every second."""
    content = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    content += block(1, struct.pack("<HHI", link, 0, 65_535))
    for i, frame in enumerate(frames):
        us = at_us + i * 1_000_000
        content += block(6, struct.pack("<IIIII", 0, us >> 32, us & 0xFFFFFFFF, *[len(frame)] * 2) + frame)
    return content


def conversation() -> list[bytes]:
    """A question of 33 bytes and its answer of 35, as IP counts them."""
    return [
        ethernet(ip4(MINE, SERVER, 17, udp(5000, 9999, b"hello"))),
        ethernet(ip4(SERVER, MINE, 17, udp(9999, 5000, b"welcome"))),
    ]
