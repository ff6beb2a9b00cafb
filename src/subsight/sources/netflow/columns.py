"""From decoded records to the columns of flows: one NumPy operation a column, however many records."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

__all__ = ["SCHEMA", "Context", "Headers", "lacking", "table"]

Numbers = np.ndarray[Any, np.dtype[Any]]

SCHEMA: Final = pa.schema([
    ("first_seen_at", pa.timestamp("us", "UTC")), ("last_seen_at", pa.timestamp("us", "UTC")),
    ("src_address", pa.string()), ("dst_address", pa.string()),
    ("src_port", pa.int64()), ("dst_port", pa.int64()), ("protocol", pa.int64()),
    ("src_to_dst_bytes", pa.float64()), ("dst_to_src_bytes", pa.float64()),
    ("src_to_dst_packets", pa.float64()), ("dst_to_src_packets", pa.float64()),
    ("exporter", pa.string()), ("sampling_rate", pa.int64()),
    ("application", pa.string()), ("application_method", pa.string()), ("datagram", pa.int64()),
])  # fmt: skip
"""The columns of a decoded flow, by the contract's names.

`datagram` is the place in the input of the datagram that held it; null for data that an earlier call held
back until their template came.
"""

_MAPPED: Final = np.frombuffer(bytes(10) + b"\xff\xff", dtype=np.uint8)
_NTP: Final = 2_208_988_800
_WRAP: Final = 1 << 32
_LARGEST: Final = float(1 << 53)
_EARLIEST_MS, _LATEST_MS = -2.3e12, 2.5e14
"""1897 and 9892: what is outside is no time that calendars can tell."""
_DAY_MS: Final = 86_400_000
_ICMP: Final = (1, 58)
_NO_ADDRESSES: Final = "record without addresses"
_NO_VOLUME: Final = "record without a volume"
_NO_TIME: Final = "time of the export, as the record has none, or an uptime far ahead of its header's"
_TWO_VOLUMES: Final = "volume on leaving the device is another than on entering, which counts"
_BYTES: Final = ("octetDeltaCount", "octetTotalCount", "initiatorOctets", "postOctetDeltaCount")
_PACKETS: Final = ("packetDeltaCount", "packetTotalCount", "initiatorPackets", "postPacketDeltaCount")
_POST: Final = (("postOctetDeltaCount",), ("postPacketDeltaCount",))
_BYTES_BACK: Final = ("reverseOctetDeltaCount", "reverseOctetTotalCount", "responderOctets")
_PACKETS_BACK: Final = ("reversePacketDeltaCount", "reversePacketTotalCount", "responderPackets")


@dataclass(frozen=True)
class Context:
    """What versions and options say of records that one template describes.

    Attributes:
        version: 5, 9 or 10.
        samplers: packets of which one was looked at, by sampler or selector; None is the one of all.
        applications: names by application id.
        system_init_ms: when the exporter started, milliseconds since 1970; None where it does not say.
    """

    version: int
    samplers: Mapping[int | None, int]
    applications: Mapping[int, str]
    system_init_ms: int | None


@dataclass(frozen=True)
class Headers:
    """What the header of each record's datagram says.

    Attributes:
        exporters: who sent it.
        exported_ms: when it was exported, milliseconds since 1970.
        uptime_ms: the exporter's uptime then; 0 where the version does not say.
        datagrams: its place in the input; below 0 of one that came before.
    """

    exporters: pa.Array
    exported_ms: Numbers
    uptime_ms: Numbers
    datagrams: Numbers


def table(records: Numbers, headers: Headers, context: Context) -> tuple[pa.Table, dict[str, int]]:
    """Flows of records as a template's `dtype` reads them, where nothing is `lacking`.

    Returns:
        rows of `SCHEMA`, and how many have the time of their export, or two volumes.
    """
    names = records.dtype.names or ()
    src, dst, is_inner = _addresses(records, names)
    volume, packets, is_other = _volumes(records, names)
    first, last, guessed = _times(records, names, headers, context)
    noted = {_NO_TIME: int(guessed.sum()), _TWO_VOLUMES: int(is_other.sum())}
    protocol = _of_header(records, ("protocolIdentifier",), names, is_inner)
    ports = _ports(records, names, protocol, is_inner)
    back, packets_back = _number(records, _BYTES_BACK, names), _number(records, _PACKETS_BACK, names)
    application = _applications(records, names, context)
    places = headers.datagrams
    columns = [
        _instants(first), _instants(last), _text(src), _text(dst), _whole(ports[0]), _whole(ports[1]),
        _whole(protocol), _float(volume), _float(back), _float(packets), _float(packets_back),
        headers.exporters, _whole(_sampling(records, names, context)), application, _method(application),
        pa.array(places, pa.int64(), mask=places < 0),
    ]  # fmt: skip
    return pa.table(columns, schema=SCHEMA), {reason: count for reason, count in noted.items() if count}


def lacking(dtype: np.dtype[Any]) -> str | None:
    """Why no record that is read so can be a flow, or None where each is."""
    names = dtype.names or ()
    if not _pairs(np.empty(0, dtype), names):
        return _NO_ADDRESSES
    return None if any(role in names for role in _BYTES) else _NO_VOLUME


# Numbers


def _lowest(values: Numbers) -> Numbers:
    """The lowest eight bytes of unsigned integers of any width."""
    if values.ndim == 1:
        return values
    used = values[:, -8:].astype(np.uint64)
    shifts = np.arange(used.shape[1] - 1, -1, -1, dtype=np.uint64) * np.uint64(8)
    total: Numbers = (used << shifts).sum(axis=1, dtype=np.uint64)
    return total


def _wide(values: Numbers) -> Numbers:
    """Unsigned integers of any width: those of more than eight bytes as large as can be, if they are."""
    total = _lowest(values)
    if values.ndim == 1 or values.shape[1] <= 8:
        return total
    return np.where(values[:, :-8].any(axis=1), np.uint64(2**64 - 1), total)


def _number(records: Numbers, roles: tuple[str, ...], names: tuple[str, ...]) -> Numbers:
    """The first of some roles that the template has, as floats; NaN where it has none."""
    name = next((role for role in roles if role in names), None)
    if name is None:
        return np.full(len(records), np.nan)
    return _wide(records[name]).astype(np.float64)


def _volumes(records: Numbers, names: tuple[str, ...]) -> tuple[Numbers, Numbers, Numbers]:
    """Bytes and packets, and of which records another volume was told than that.

    What left the device (`postOctetDeltaCount`, OUT_BYTES of v9) is the same flow once more, not the way
    back: it counts where nothing is told to have entered, as of flows observed on leaving.
    """
    entered, packets = _number(records, _BYTES, names), _number(records, _PACKETS, names)
    left, packets_left = (_number(records, roles, names) for roles in _POST)
    is_left = (entered == 0) & (left > 0)
    if is_left.any():
        packets = np.where(is_left & ~np.isnan(packets_left), packets_left, packets)
    is_other = (left > 0) & (entered > 0) & (left != entered)
    return np.where(is_left, left, entered), packets, is_other


def _float(values: Numbers) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)


def _whole(values: Numbers) -> pa.Array:
    """As integers; one too large for its column stays too large for its contract."""
    if np.isnan(values).all():
        return pa.nulls(len(values), pa.int64())
    return pa.array(np.minimum(values, _LARGEST), pa.float64(), from_pandas=True).cast(pa.int64())


# Addresses


def _addresses(records: Numbers, names: tuple[str, ...]) -> tuple[Numbers, Numbers, Numbers]:
    """Sixteen bytes of sender and receiver a record, and whether they are of an inner header.

    Of several pairs the last that is not zero counts: a template for both versions leaves one at zero, and of
    a packet in a tunnel the inner header is what the subscriber sent.
    """
    count = len(records)
    src, dst = (np.zeros((count, 16), dtype=np.uint8) for _ in range(2))
    pairs = _pairs(records, names)
    is_inner = np.zeros(count, dtype=bool)
    # One whose addresses are both zero is none, unless there is no other.
    told = [sender.any(axis=1) | receiver.any(axis=1) for sender, receiver in pairs] if len(pairs) > 1 else []
    for place, pair in enumerate(pairs):
        chosen = told[place] if place else slice(None)
        for octets, found in zip(pair, (src, dst), strict=True):
            width = octets.shape[1]
            found[chosen, 16 - width :] = octets[chosen]
            found[chosen, : 16 - width] = _MAPPED[: 16 - width]
        if place:
            is_inner |= told[place] & np.any(told[:place], axis=0)
    return src, dst, is_inner


def _pairs(records: Numbers, names: tuple[str, ...]) -> list[tuple[Numbers, Numbers]]:
    """The bytes of senders and receivers by each pair that is whole, in the order of the template."""
    found = []
    for name in names:
        if name.removeprefix("inner ").startswith("sourceIPv"):
            sender = _octets(records, name, names)
            receiver = _octets(records, name.replace("source", "destination"), names)
            if sender is not None and receiver is not None:
                found.append((sender, receiver))
    return found


def _octets(records: Numbers, name: str, names: tuple[str, ...]) -> Numbers | None:
    """The bytes of an address, or None where the template has none of its version's size."""
    if name not in names:
        return None
    values = records[name]
    if values.ndim == 2:
        return values if values.shape[1] == 16 and "IPv6" in name else None
    if "IPv4" not in name or values.dtype.itemsize != 4:
        return None
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, 4)


def _of_header(
    records: Numbers, roles: tuple[str, ...], names: tuple[str, ...], is_inner: Numbers
) -> Numbers:
    """As `_number`, of the inner header where the addresses are its."""
    outer = _number(records, roles, names)
    if not is_inner.any():
        return outer
    inner = _number(records, tuple(f"inner {role}" for role in roles), names)
    return np.where(is_inner & ~np.isnan(inner), inner, outer)


def _text(octets: Numbers) -> pa.Array:
    """Rows of sixteen bytes as 32 hex digits, without a Python object a row."""
    count = len(octets)
    ends = np.arange(count + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(hexlify(octets.data)))


# Times


def _instants(milliseconds: Numbers) -> pa.Array:
    """Milliseconds since 1970 as instants; NaN is null, and so is what no calendar tells."""
    known = (milliseconds > _EARLIEST_MS) & (milliseconds < _LATEST_MS)
    whole = np.where(known, milliseconds * 1000, 0).round().astype(np.int64)
    return pa.array(whole, mask=~known).cast(pa.timestamp("us", "UTC"))


def _times(
    records: Numbers, names: tuple[str, ...], headers: Headers, context: Context
) -> tuple[Numbers, Numbers, Numbers]:
    """First and last in milliseconds since 1970, and of which records they are those of the export."""
    first, last = (_time(records, names, end, headers, context) for end in ("Start", "End"))
    seen = _number(records, ("observationTimeMilliseconds",), names)
    if np.isnan(seen).all():
        seen = _number(records, ("observationTimeSeconds",), names) * 1000
    duration = _number(records, ("flowDurationMilliseconds",), names)
    first = np.where(np.isnan(first), np.where(np.isnan(last), seen, last - np.nan_to_num(duration)), first)
    last = np.where(np.isnan(last), np.where(np.isnan(duration), seen, first + duration), last)
    guessed = np.isnan(first)
    if not guessed.any():
        return first, last, guessed
    if np.isnan(duration).all():  # an uptime of an unknown beginning tells a duration nevertheless
        begin, end = (_number(records, (f"flow{end}SysUpTime",), names) for end in ("Start", "End"))
        duration = (end - begin) % _WRAP
    first = np.where(guessed, headers.exported_ms - np.nan_to_num(duration), first)
    return first, np.where(guessed & ~np.isnan(duration), headers.exported_ms, last), guessed


def _time(records: Numbers, names: tuple[str, ...], end: str, headers: Headers, context: Context) -> Numbers:
    """One end of the flows by the most exact element that the template has; 0 is none."""
    for unit, scale in (("Milliseconds", 1.0), ("Seconds", 1000.0)):
        name = f"flow{end}{unit}"
        if name in names:
            value = _number(records, (name,), names) * scale
            return np.where(value > 0, value, np.nan)
    for unit in ("Nanoseconds", "Microseconds"):
        name = f"flow{end}{unit}"
        if name in names:
            raw = _wide(records[name]).astype(np.uint64)
            seconds = (raw >> np.uint64(32)).astype(np.float64) - _NTP
            fraction = (raw & np.uint64(_WRAP - 1)).astype(np.float64) / _WRAP
            return np.where(raw > 0, (seconds + fraction) * 1000, np.nan)
    if f"flow{end}DeltaMicroseconds" in names:
        return headers.exported_ms - _number(records, (f"flow{end}DeltaMicroseconds",), names) / 1000
    if f"flow{end}SysUpTime" in names:
        return _by_uptime(records, names, end, headers, context)
    return np.full(len(records), np.nan)


def _by_uptime(
    records: Numbers, names: tuple[str, ...], end: str, headers: Headers, context: Context
) -> Numbers:
    """Instants from the exporter's uptime, which wraps at 2^32 milliseconds."""
    value = _number(records, (f"flow{end}SysUpTime",), names)
    if context.version in (5, 9):
        ago = headers.uptime_ms - value
        # Ahead of the header by more than a day is a clock that wrapped in between; where that would make the
        # flow older than half of what the clock can tell, it is no clock of the header's.
        ago = np.where(ago < -_WRAP // 2, ago + _WRAP, ago)
        instants: Numbers = np.where(ago < -_DAY_MS, np.nan, headers.exported_ms - ago)
        return instants
    init = _number(records, ("systemInitTimeMilliseconds",), names)
    if np.isnan(init).all() and context.system_init_ms is not None:
        init = np.full(len(records), float(context.system_init_ms))
    instants = np.where(init > 0, init + value, np.nan)
    # Of 32 bits, the uptime began again each 49.7 days: the latest that is not after the export.
    laps = np.maximum(np.floor((headers.exported_ms + _DAY_MS - instants) / _WRAP), 0)
    instants += laps * _WRAP
    return instants


# Ports, sampling, applications


def _ports(
    records: Numbers, names: tuple[str, ...], protocol: Numbers, is_inner: Numbers
) -> tuple[Numbers, Numbers]:
    """Both ports; of ICMP its type and code, whichever element tells them."""
    src = _of_header(records, ("sourceTransportPort",), names, is_inner)
    dst = _of_header(records, ("destinationTransportPort",), names, is_inner)
    is_icmp = np.isin(protocol, _ICMP)
    if not is_icmp.any():
        return src, dst
    both, kind, code = (
        _by_version(records, names, protocol, role) for role in ("icmpTypeCode", "icmpType", "icmpCode")
    )
    # Without an element of its own, type and code stand in the receiver's port.
    both = np.where(np.isnan(both) & (np.nan_to_num(src) == 0), dst, both)
    kind = np.where(np.isnan(kind), both // 256, kind)
    code = np.where(np.isnan(code), both % 256, code)
    is_told = is_icmp & ~np.isnan(kind)
    return np.where(is_told, kind, src), np.where(is_told, code, dst)


def _by_version(records: Numbers, names: tuple[str, ...], protocol: Numbers, role: str) -> Numbers:
    """What the element of a record's version of ICMP tells, or the other where there is only that."""
    four, six = (_number(records, (f"{role}{version}",), names) for version in ("IPv4", "IPv6"))
    told: Numbers = np.where(np.isnan(six) | ((protocol != 58) & ~np.isnan(four)), four, six)
    return told


def _sampling(records: Numbers, names: tuple[str, ...], context: Context) -> Numbers:
    """Packets of which one was looked at: as the record says, else as its sampler's options do."""
    told = _number(records, ("samplingInterval", "samplerRandomInterval"), names)
    taken = _number(records, ("samplingPacketInterval",), names)
    left = _number(records, ("samplingPacketSpace",), names)
    told = np.where(np.isnan(told) & (taken > 0), 1 + left / np.where(taken > 0, taken, 1), told)
    told = np.where((told >= 1) & (told < _WRAP), told, np.nan)  # 0 says nothing
    chosen = _number(records, ("samplerId", "selectorId"), names)
    samplers = context.samplers
    if samplers:
        rates = np.full(len(records), np.nan)
        if np.isnan(chosen).all():
            # Without a sampler of its own a record is of the only one that there is.
            only = samplers.get(None, next(iter(samplers.values())) if len(samplers) == 1 else None)
            rates[:] = np.nan if only is None else only
        for value in np.unique(chosen[~np.isnan(chosen)]):
            rates[chosen == value] = samplers.get(int(value), np.nan)
        told = np.where(np.isnan(told), rates, told)
    return np.round(told)


def _applications(records: Numbers, names: tuple[str, ...], context: Context) -> pa.Array:
    """Names that the exporter's options give to application ids."""
    count = len(records)
    if "applicationId" not in names or not context.applications:
        return pa.nulls(count, pa.string())
    ids, places = np.unique(_lowest(records["applicationId"]).astype(np.uint64), return_inverse=True)
    known = pa.array([context.applications.get(int(value)) for value in ids], pa.string())
    return known.take(pa.array(places))


def _method(application: pa.Array) -> pa.Array:
    """The exporter named the application, where one is named."""
    named = np.asarray(application.is_valid())
    return pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(named), np.int8), mask=~named), pa.array(["exporter"])
    ).cast(pa.string())
