"""Captures of real exporters against what pmacct decodes of them: the JSON that its own tests expect."""

from __future__ import annotations

import ipaddress
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from subsight.sources import netflow
from subsight.sources.flows import PROTOCOLS

CAPTURES = (
    "100-IPFIXv10-CISCO",
    "101-NFv9-CISCO-cust_primitives",
    "102-NFv9-CISCO-f2rd-pretag-sampling-reload",
    "103-IPFIXv10-CISCO-pretag-JSON_encoding",
    "104-IPFIXv10-IPv6-CISCO-sampling_option",
    "106-IPFIXv10-HUAWEI-vrf_name",
    "110-IPFIXv10-NFv9-multiple-sources",
    "111-IPFIXv10-NFv9-IPv6-IPv4-mix_sources",
    "112-IPFIXv10-CISCO-options-map-reassignment",
    "500-IPFIXv10-BGP-CISCO-SRv6",
    "501-IPFIXv10-BGP-IPv6-CISCO-MPLS",
    "502-IPFIXv10-BGP-IPv6-CISCO-SRv6-lcomms",
)
EXPORT_TIMES = ("500-", "501-", "502-")
"""Captures of which pmacct gives the time of the export as that of the flow: it does not read when the
exporter started (systemInitTimeMilliseconds), which we do. The rest of each record is compared."""
SCALED = {("102-NFv9-CISCO-f2rd-pretag-sampling-reload", "output-flow-01.json"): 1000}
"""Outputs of which pmacct's own configuration, and not the exporter, gave the sampling rate."""
NAMES = {**PROTOCOLS, "ipv6-icmp": 58, "ipip": 4, "ipencap": 4, "ip": 0, "ipv6-frag": 44, "ipv6": 41}


def decoded(folder: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Flows of all captures of a folder, each by a decoder of its own, and the export time of each flow."""
    flows, exported = [], []
    for path in sorted(folder.glob("*.pcap")):
        given = list(netflow.payloads(path))
        datagrams = [netflow.Datagram(p.src_address, p.at_us, p.data) for p in given]
        rows = netflow.Decoder().decode(datagrams, is_last=True).table.to_pylist()
        flows += rows
        for row in rows:
            header = given[row["datagram"]].data
            at = 8 if header[1] == 9 else 4
            exported.append(int.from_bytes(header[at : at + 4]))
    return flows, exported


def address(text: str) -> str:
    value = ipaddress.ip_address(text)
    return f"{int(value):032x}" if value.version == 6 else f"{'0' * 20}ffff{int(value):08x}"


def seconds(instant: Any, *, is_nine: bool) -> int | None:
    """The second that pmacct gives: of v9, whose header tells whole seconds, it drops the milliseconds of how
    long ago the flow was, which rounds the instant up.
    """
    if instant is None:
        return None
    return math.ceil(instant.timestamp()) if is_nine else int(instant.timestamp())


@pytest.mark.parametrize("name", CAPTURES)
def test_what_pmacct_decodes_is_what_we_decode(name: str, netflow_data: Path) -> None:
    folder = netflow_data / "pmacct" / name
    flows, exported = decoded(folder)
    for output in sorted(folder.glob("*.json")):
        expected: Counter[tuple[Any, ...]] = Counter()
        found: Counter[tuple[Any, ...]] = Counter()
        records = [json.loads(line) for line in output.read_text().splitlines() if line.strip()]
        has_start = "timestamp_start" in records[0] and not name.startswith(EXPORT_TIMES)
        has_end = "timestamp_end" in records[0] and not name.startswith(EXPORT_TIMES)
        for record in records:
            key = [address(record[side]) for side in ("ip_src", "ip_dst")]
            key += [record["port_src"], record["port_dst"], NAMES[record["ip_proto"]]]
            key += [int(float(record["timestamp_start"]))] if has_start else []
            key += [int(float(record["timestamp_end"]))] if has_end else []
            expected[*key, "packets"] += record["packets"]
            expected[*key, "bytes"] += record["bytes"]
        for flow in flows:
            key = [flow["src_address"], flow["dst_address"]]
            key += [flow["src_port"], flow["dst_port"], flow["protocol"]]
            key += [seconds(flow["first_seen_at"], is_nine="NFv9" in name)] if has_start else []
            key += [seconds(flow["last_seen_at"], is_nine="NFv9" in name)] if has_end else []
            rate = (flow["sampling_rate"] or 1) * SCALED.get((name, output.name), 1)
            found[*key, "packets"] += flow["src_to_dst_packets"] * rate
            found[*key, "bytes"] += flow["src_to_dst_bytes"] * rate
        assert found == expected
        if name.startswith(EXPORT_TIMES):  # the reason why the times are not compared
            starts = Counter(int(float(record["timestamp_start"])) for record in records)
            assert set(starts) <= set(exported)
            assert all(f["first_seen_at"].timestamp() <= at for f, at in zip(flows, exported, strict=True))


def test_every_capture_is_compared(netflow_data: Path) -> None:
    assert sorted(p.name for p in (netflow_data / "pmacct").iterdir() if p.is_dir()) == sorted(CAPTURES)
