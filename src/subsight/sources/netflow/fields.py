"""The information elements that flows are made of (IANA's IPFIX registry, of which v9 has the first)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["NAMES", "REVERSE", "role"]

REVERSE: Final = 29_305
"""The enterprise number under which elements tell the way back (RFC 5103)."""

NAMES: Final[Mapping[int, str]] = {
    1: "octetDeltaCount", 2: "packetDeltaCount", 4: "protocolIdentifier", 7: "sourceTransportPort",
    8: "sourceIPv4Address", 11: "destinationTransportPort", 12: "destinationIPv4Address",
    21: "flowEndSysUpTime", 22: "flowStartSysUpTime", 23: "postOctetDeltaCount", 24: "postPacketDeltaCount",
    27: "sourceIPv6Address", 28: "destinationIPv6Address", 32: "icmpTypeCodeIPv4", 34: "samplingInterval",
    48: "samplerId", 50: "samplerRandomInterval", 85: "octetTotalCount", 86: "packetTotalCount",
    95: "applicationId", 96: "applicationName", 139: "icmpTypeCodeIPv6", 150: "flowStartSeconds",
    151: "flowEndSeconds", 152: "flowStartMilliseconds", 153: "flowEndMilliseconds",
    154: "flowStartMicroseconds", 155: "flowEndMicroseconds", 156: "flowStartNanoseconds",
    157: "flowEndNanoseconds", 158: "flowStartDeltaMicroseconds", 159: "flowEndDeltaMicroseconds",
    160: "systemInitTimeMilliseconds", 161: "flowDurationMilliseconds", 176: "icmpTypeIPv4",
    177: "icmpCodeIPv4", 178: "icmpTypeIPv6", 179: "icmpCodeIPv6", 231: "initiatorOctets",
    232: "responderOctets", 298: "initiatorPackets", 299: "responderPackets", 302: "selectorId",
    305: "samplingPacketInterval", 306: "samplingPacketSpace", 309: "samplingSize",
    310: "samplingPopulation", 322: "observationTimeSeconds", 323: "observationTimeMilliseconds",
}  # fmt: skip
"""Elements by number, by IANA's names."""

_BACK: Final = frozenset((1, 2, 85, 86))


def role(number: int, enterprise: int) -> str | None:
    """Under which name a field is decoded; None for one that flows are not made of.

    >>> role(1, 0), role(1, REVERSE), role(1, 9), role(61, 0)
    ('octetDeltaCount', 'reverseOctetDeltaCount', None, None)
    """
    name = NAMES.get(number)
    if name is None or enterprise not in (0, REVERSE):
        return None
    if enterprise == REVERSE:
        return f"reverse{name[0].upper()}{name[1:]}" if number in _BACK else None
    return name
