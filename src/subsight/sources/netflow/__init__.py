"""NetFlow v5 (Cisco), v9 (RFC 3954) and IPFIX (RFC 7011): datagrams become flow records.

A template compiles to a NumPy dtype, and data sets of one template decode together in one `frombuffer`;
records with fields of variable length are first rewritten to a fixed one. Nothing that arrives raises:
what cannot be decoded is dropped with its reason.
"""

from __future__ import annotations

from subsight.sources.netflow.columns import SCHEMA
from subsight.sources.netflow.decoder import Datagram, Decoded, Decoder, Drop
from subsight.sources.netflow.packets import CUT_SHORT, Payload, is_capture, packets, payloads

__all__ = [
    "CUT_SHORT",
    "SCHEMA",
    "Datagram",
    "Decoded",
    "Decoder",
    "Drop",
    "Payload",
    "is_capture",
    "looks_like_export",
    "packets",
    "payloads",
]


def looks_like_export(payload: bytes) -> bool:
    """Whether a UDP payload begins as an export of flows does: its version, and a size that fits it.

    >>> looks_like_export(bytes([0, 5, 0, 1]) + bytes(68)), looks_like_export(b"GET / HTTP/1.1")
    (True, False)
    """
    if len(payload) < 16:
        return False
    version, second = int.from_bytes(payload[:2]), int.from_bytes(payload[2:4])
    if version == 5:
        return 0 < second <= 30 and len(payload) == 24 + 48 * second
    if version == 9:
        return 0 < second < 2_000 and len(payload) >= 24
    return version == 10 and second == len(payload)
