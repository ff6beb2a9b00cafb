"""Datagrams of many vendors, against what two other decoders read in the same files.

Every record that the package `netflow` reads is compared: addresses, ports, protocol, volumes, times. Of what
it cannot read, those flows are compared that the tests of logstash-codec-netflow expect: the files are its.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from export_made import dropped
from netflow import parse_packet

from subsight.sources.netflow import Datagram, Decoded, Decoder

# What the package does not read, and why

VARIABLE = "takes a length that each record tells for one of 65,535 bytes"
ENTERPRISE = "knows no elements of enterprises"
PADDING = "expects less than four bytes of padding, and of zeros"
COUNT = "expects the records that a header counts and that are not there"
WHOLE = "reads nothing of a datagram of which one set lacks its template"
HEXADECIMAL = "takes bytes that are UTF-8 for hexadecimal digits, here those of the template"
UNREAD = {
    "ipfix_test_barracuda_extended_uniflow_data256.dat": VARIABLE,
    "ipfix_test_ixia_tpldata256.dat": VARIABLE,
    "ipfix_test_ixia_tpldata271.dat": VARIABLE,
    "ipfix_test_mikrotik_data259.dat": PADDING,
    "ipfix_test_netscaler_data.dat": VARIABLE,
    "ipfix_test_nokia_bras_data256.dat": VARIABLE,
    "ipfix_test_procera_data52935.dat": VARIABLE,
    "ipfix_test_viptela_data257.dat": ENTERPRISE,
    "ipfix_test_vmware_vds_data264.dat": ENTERPRISE,
    "ipfix_test_vmware_vds_data266.dat": ENTERPRISE,
    "ipfix_test_vmware_vds_data266_267.dat": ENTERPRISE,
    "ipfix_test_yaf_data45841.dat": VARIABLE,
    "ipfix_test_yaf_data45873.dat": VARIABLE,
    "ipfix_test_yaf_data53248.dat": ENTERPRISE,
    "netflow5_test_invalid01.dat": COUNT,
    "netflow5_test_invalid02.dat": COUNT,
    "netflow9_test_h3c_netstream_varstring_data3281.dat": VARIABLE,
    "netflow9_test_invalid01.dat": PADDING,
    "netflow9_test_iptnetflow_reduced_size_encoding_tpldata260.dat": WHOLE,
    "netflow9_test_macaddr_tpl.dat": HEXADECIMAL,
    "netflow9_test_macaddr_data.dat": HEXADECIMAL,
    "netflow9_test_nprobe_dpi.dat": PADDING,
}
NO_FLOWS = {
    "ipfix.dat": ("options record", 1),
    "ipfix_test_juniper_mx240_junos151r6s3_data512.dat": ("options record", 1),
    "netflow9_test_cisco_asa_2_data.dat": ("record without a volume", 4),  # events of a firewall
    "netflow9_test_cisco_wlc_data261.dat": ("record without addresses", 19),  # clients by their MAC
}
"""Records that the package gives as they are, and that are no flows."""
NO_TIMES = {
    "netflow9_cisco_asr1001x_tpl259.dat": "it does not know the element of the end in v9 (153)",
    "netflow9_test_cisco_1941K9.dat": "the records have none: ours are of the export",
    "netflow9_test_fortigate_fortios_521_data257.dat": "uptimes a week ahead of the header, which it keeps",
    "netflow9_test_unknown_tpl266_292_data.dat": "it does not know the element of the time in v9 (322)",
}
"""Files of which the package tells no times, or others."""

# What the tests of logstash-codec-netflow 4.3.4 expect of them (spec/codecs/netflow_spec.rb): how many flows
# a file has, and one of them. Times of v9 are a second late there (it borrows one for the milliseconds and
# does not give it back), which is taken off here. Uptimes without a beginning are of their export.

EXPECTED: dict[str, tuple[int, tuple[Any, ...]]] = {
    "ipfix_test_barracuda_extended_uniflow_data256.dat": (2, (
        "64.235.151.76", "10.236.5.4", 443, 51917, 6, 0, 0, None, None,
        "2018-04-18 08:16:47.000", "2018-04-18 08:16:47.000")),
    "ipfix_test_ixia_tpldata256.dat": (1, (
        "119.103.128.175", "202.170.60.247", 51695, 36197, 17, 360, 4, None, None,
        "2018-10-25 12:24:19.882", "2018-10-25 12:24:32.022")),
    "ipfix_test_mikrotik_data259.dat": (18, (
        "fe80::ff:fe00:1201", "fe80::ff:fe00:1201", 5678, 5678, 17, 370, 2, None, None,
        "2017-07-19 16:18:08.000", "2017-07-19 16:18:08.000")),
    "ipfix_test_netscaler_data.dat": (3, (
        "192.168.0.1", "10.0.0.1", 51053, 443, 6, 1541, 2, None, None,
        "2016-11-11 12:09:19.000", "2016-11-11 12:09:19.000")),
    "ipfix_test_viptela_data257.dat": (1, (
        "10.113.7.54", "172.16.21.27", 41717, 443, 6, 775, 8, None, None,
        "2017-11-21 14:32:15.000", "2017-11-21 14:32:15.000")),
    "ipfix_test_vmware_vds_data264.dat": (1, (
        "172.18.65.21", "172.18.65.211", 61209, 5985, 6, 100, 2, None, None,
        "2016-12-22 12:17:37.000", "2016-12-22 12:17:37.000")),
    "ipfix_test_vmware_vds_data266.dat": (2, (
        "172.18.65.91", "172.18.65.255", 138, 138, 17, 229, 1, None, None,
        "2016-12-22 12:17:42.000", "2016-12-22 12:17:42.000")),
    "ipfix_test_vmware_vds_data266_267.dat": (2, (
        "fe80::5187:5cd8:d750:cdc9", "ff02::1:3", 61329, 5355, 17, 144, 2, None, None,
        "2016-12-22 12:25:49.000", "2016-12-22 12:25:49.000")),
    "ipfix_test_yaf_data45841.dat": (1, (
        "172.16.32.201", "172.16.32.100", 46086, 53, 17, 132, 2, 200, 2,
        "2016-12-25 12:58:35.818", "2016-12-25 12:58:35.819")),
    "ipfix_test_yaf_data45873.dat": (1, (
        "172.16.32.100", "172.16.32.215", 63499, 9997, 6, 172, 4, 92, 2,
        "2016-12-25 12:58:33.345", "2016-12-25 12:58:34.347")),
    "netflow9_test_h3c_netstream_varstring_data3281.dat": (1, (
        "20.20.20.20", "20.20.255.255", 137, 137, 17, 702, 9, None, None,
        "2018-07-18 01:34:33.274", "2018-07-18 01:35:02.969")),
    "netflow9_test_iptnetflow_reduced_size_encoding_tpldata260.dat": (12, (
        "2.17.140.47", "10.233.150.21", 443, 38164, 6, 187, 3, None, None,
        "2018-02-18 05:46:53.800", "2018-02-18 05:46:53.992")),
    "netflow9_test_nprobe_dpi.dat": (1, (
        "0.0.0.0", "0.0.0.0", 0, 0, 0, 82, 1, None, None,
        "1970-01-01 00:08:32.000", "1970-01-01 00:08:35.000")),
}  # fmt: skip
WITHOUT_VOLUME = {"ipfix_test_nokia_bras": 1, "ipfix_test_procera": 8, "netflow9_test_macaddr": 29}
"""Devices whose records tell no volume, or as elements of their own, and how many."""
UNJUDGED = {
    "ipfix_test_ixia_tpldata271.dat", "ipfix_test_yaf_data53248.dat", "netflow5_test_invalid01.dat",
    "netflow5_test_invalid02.dat", "netflow9_test_invalid01.dat",
}  # fmt: skip
"""Files that neither of the two tells a flow of."""

# Its names

SRC = ("IPV4_SRC_ADDR", "IPV6_SRC_ADDR", "sourceIPv4Address", "sourceIPv6Address")
DST = ("IPV4_DST_ADDR", "IPV6_DST_ADDR", "destinationIPv4Address", "destinationIPv6Address")
KINDS = (IPv4Address, IPv6Address) * 2
PORTS = (
    ("SRC_PORT", "L4_SRC_PORT", "sourceTransportPort"),
    ("DST_PORT", "L4_DST_PORT", "destinationTransportPort"),
)
PROTOCOL = ("PROTO", "PROTOCOL", "protocolIdentifier")
BYTES = ("IN_BYTES", "IN_OCTETS", "octetDeltaCount", "NF_F_FWD_FLOW_DELTA_BYTES", "IN_PERMANENT_BYTES")
PACKETS = ("IN_PKTS", "IN_PACKETS", "packetDeltaCount")
ENDS = (
    ("NF_F_FLOW_CREATE_TIME_MSEC", "flowStartMilliseconds"),
    ("NF_F_EVENT_TIME_MSEC", "flowEndMilliseconds"),
)
UPTIMES = (("FIRST_SWITCHED", "flowStartSysUpTime"), ("LAST_SWITCHED", "flowEndSysUpTime"))


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def devices(folder: Path) -> dict[str, list[Path]]:
    """The files of each device, those with templates first."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.dat"), key=lambda path: ("tpl" not in path.name, path.name)):
        found.setdefault(re.split(r"_(?:opt)?tpl|_data", path.stem)[0], []).append(path)
    return found


def ours(paths: list[Path]) -> Decoded:
    return Decoder().decode([Datagram("d", 0, path.read_bytes()) for path in paths], is_last=True)


def of_ours(row: dict[str, Any]) -> tuple[Any, ...]:
    sides = [ip_address(bytes.fromhex(row[f"{side}_address"])) for side in ("src", "dst")]
    return (
        *(getattr(side, "ipv4_mapped", None) or side for side in sides), row["src_port"], row["dst_port"],
        row["protocol"], row["src_to_dst_bytes"], row["src_to_dst_packets"], row["dst_to_src_bytes"],
        row["dst_to_src_packets"], row["first_seen_at"], row["last_seen_at"],
    )  # fmt: skip


def first_of(data: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((data[name] for name in names if name in data), None)


def of_package(data: dict[str, Any], header: Any, init: int | None) -> tuple[Any, ...] | None:
    """The compared fields of a record; None where it has no addresses or no volume."""
    pairs = [
        (kind(data[src]), kind(data[dst]))
        for kind, src, dst in zip(KINDS, SRC, DST, strict=True)
        if src in data and dst in data
    ]
    volume, packets = first_of(data, BYTES), first_of(data, PACKETS)
    if volume == 0 and data.get("OUT_BYTES"):
        volume, packets = data["OUT_BYTES"], data["OUT_PKTS"]
    if not pairs or volume is None:
        return None
    sides = next((pair for pair in reversed(pairs) if any(map(int, pair))), pairs[0])
    back = data.get("NF_F_REV_FLOW_DELTA_BYTES")
    protocol = first_of(data, PROTOCOL)
    ports = ports_of(data, protocol)
    return (*sides, *ports, protocol, volume, packets, back, None, *times_of(data, header, init))


def ports_of(data: dict[str, Any], protocol: int) -> tuple[int, int]:
    src, dst = (first_of(data, names) for names in PORTS)
    if protocol not in (1, 58):
        return src, dst
    if "NF_F_ICMP_TYPE" in data:
        return data["NF_F_ICMP_TYPE"], data["NF_F_ICMP_CODE"]
    kind, code = divmod(first_of(data, ("ICMP_TYPE", "icmpTypeCodeIPv4")) or dst, 256)
    return kind, code


def times_of(data: dict[str, Any], header: Any, init: int | None) -> list[datetime | None]:
    """First and last: absolute ones, uptimes after a beginning, or uptimes that end with the export."""
    exported = getattr(header, "timestamp", None) or header.export_uptime
    milliseconds = exported * 1000 + getattr(header, "timestamp_nano", 0) // 1_000_000
    uptimes = [first_of(data, names) for names in UPTIMES]
    if None in uptimes:
        found = [first_of(data, names) for names in ENDS]
    elif header.version != 10:
        found = [milliseconds - ((header.uptime - uptime + 2**31) % 2**32 - 2**31) for uptime in uptimes]
    elif init is not None:
        found = [init + uptime for uptime in uptimes]
    else:
        found = [milliseconds - uptimes[1] + uptime for uptime in uptimes]
    return [None if one is None else EPOCH + timedelta(milliseconds=one) for one in found]


@pytest.fixture
def logstash(netflow_data: Path) -> dict[str, list[Path]]:
    return devices(netflow_data / "logstash")


def test_what_the_package_reads_is_what_we_read(logstash: dict[str, list[Path]]) -> None:
    unread, no_flows, compared = set(), {}, Counter[str]()
    for paths in logstash.values():
        decoded = ours(paths)
        reasons = dropped(decoded) | decoded.noted
        templates: dict[str, Any] = {"netflow": {}, "ipfix": {}}
        for place, path in enumerate(paths):
            try:
                packet = parse_packet(path.read_bytes(), templates)
            except Exception:  # whatever it stumbles over
                unread.add(path.name)
                continue
            told = [flow.data for flow in packet.flows]
            init = next(filter(None, (data.get("systemInitTimeMilliseconds") for data in told)), None)
            records = [of_package(data, packet.header, init) for data in told]
            if None in records:
                reason, count = NO_FLOWS[path.name]
                assert reasons[reason] == count
                no_flows[path.name] = reason, records.count(None)
            width = 9 if path.name in NO_TIMES else 11
            expected = Counter(record[:width] for record in records if record)
            found = Counter(
                of_ours(row)[:width] for row in decoded.table.to_pylist() if row["datagram"] == place
            )
            assert found == expected, path.name
            compared[path.name] += expected.total()
    assert unread == set(UNREAD)
    assert no_flows == NO_FLOWS
    assert set(NO_TIMES) < set(compared)
    assert (len(+compared), compared.total()) == (30, 333)


def test_what_it_does_not_read_is_what_logstash_reads(logstash: dict[str, list[Path]]) -> None:
    compared = set()
    for device, paths in logstash.items():
        decoded = ours(paths)
        for place, path in enumerate(paths):
            if path.name not in EXPECTED:
                continue
            count, (*sides, first, last) = EXPECTED[path.name]
            found = [row for row in decoded.table.to_pylist() if row["datagram"] == place]
            assert len(found) == count, path.name
            expected = (*map(ip_address, sides[:2]), *sides[2:], first, last)
            assert expected in [to_milliseconds(of_ours(row)) for row in found], path.name
            compared.add(path.name)
        if device in WITHOUT_VOLUME:
            assert decoded.table.num_rows == 0
            assert dropped(decoded) == {"record without a volume": WITHOUT_VOLUME[device]}
            compared |= {path.name for path in paths}
    assert set(UNREAD) - compared == UNJUDGED


def to_milliseconds(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    *rest, first, last = fields
    return (*rest, *(f"{one:%Y-%m-%d %H:%M:%S.%f}"[:-3] for one in (first, last)))
