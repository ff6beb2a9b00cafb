"""Which columns of a flow or lease file are which: by canonical names, else by those that exporters use."""

from __future__ import annotations

import re
from collections.abc import Mapping as Map
from types import MappingProxyType
from typing import Final

from subsight.contracts import Contract
from subsight.errors import MappingError
from subsight.sources.files import InputFile
from subsight.sources.findings import Finding
from subsight.sources.inspection import Choice
from subsight.sources.mapping import MappedColumn, Mapping, plain
from subsight.tables import FLOWS, LEASES

__all__ = ["by_names", "choose"]

_NAMES: Final[Map[str, str]] = {
    "first_seen_at": "first_seen_utc first_seen first_switched flow_start flowstart start_time start ts "
    "time_received timestamp first",
    "last_seen_at": "last_seen_utc last_seen last_switched flow_end flowend end_time end te last",
    "src_address": "src_ip srcaddr src_addr source_ip source_address sourceipv4address sourceipv6address "
    "ipv4_src_addr ipv6_src_addr sa id.orig_h ip_src src",
    "dst_address": "dst_ip dstaddr dst_addr destination_ip destination_address dest_ip "
    "destinationipv4address destinationipv6address ipv4_dst_addr ipv6_dst_addr da id.resp_h ip_dst dst",
    "src_port": "srcport source_port sourcetransportport l4_src_port sp id.orig_p port_src sport",
    "dst_port": "dstport destination_port dest_port destinationtransportport l4_dst_port dp id.resp_p "
    "port_dst dport",
    "protocol": "proto prot l4 pr ip_protocol ip_proto protocolidentifier protocol_number",
    "src_to_dst_bytes": "src2dst_bytes c2s_bytes bytes_out in_bytes octetdeltacount doctets orig_bytes "
    "orig_ip_bytes ibyt bytes octets byt",
    "dst_to_src_bytes": "dst2src_bytes s2c_bytes bytes_in out_bytes reverseoctetdeltacount resp_bytes "
    "resp_ip_bytes obyt",
    "src_to_dst_packets": "src2dst_packets c2s_packets in_pkts packetdeltacount dpkts orig_pkts ipkt "
    "packets pkts pkt",
    "dst_to_src_packets": "dst2src_packets s2c_packets out_pkts reversepacketdeltacount resp_pkts opkt",
    "exporter": "exporter_address sampler_address peer_ip_src router device probe site ra",
    "sampling_rate": "samplingrate sampling_interval samplinginterval sample_rate",
    "application": "application_name ndpi_label app_name l7_proto_name service app",
    "application_category": "application_category_name ndpi_category app_category",
    "application_method": "confidence ndpi_confidence application_confidence",
    "address": "ip ip_address framed_ip_address framed-ip-address public_ip nat_ip external_ip",
    "port_from": "port_start start_port first_port port_block_start",
    "port_to": "port_end end_port last_port port_block_end",
    "subscriber_id": "msisdn subscriber user_name username user-name customer_id customer account_id",
    "from_at": "lease_start start_time start event_start valid_from",
    "to_at": "lease_end end_time end stop_time event_end valid_to",
}
"""Headers of nfdump, NFStream, Zeek, pmacct, nProbe, RADIUS and of those who write their own."""

_EPOCHS: Final[Map[str, tuple[str, str]]] = {
    f"{prefix}{name}{suffix}": (column, pattern)
    for prefix in ("", "bidirectional_")
    for name, column in (("first_seen", "first_seen_at"), ("last_seen", "last_seen_at"))
    for suffix, pattern in (("_ms", "epoch_ms"), ("_s", "epoch_s"))
} | {
    f"flow{name}{suffix}": (column, pattern)
    for name, column in (("start", "first_seen_at"), ("end", "last_seen_at"))
    for suffix, pattern in (("milliseconds", "epoch_ms"), ("seconds", "epoch_s"))
}
"""Headers that say by themselves which number since 1970 stands there."""


def choose(file: InputFile, table: str) -> Choice:
    """The mapping of a file of flows or leases by the names of its columns.

    Raises:
        MappingError: a required column has no name that is known; the error holds a mapping to complete.
    """
    return by_names(file, {"flows": FLOWS, "leases": LEASES}[table], _NAMES, _EPOCHS)


def by_names(
    file: InputFile,
    contract: Contract,
    names: Map[str, str],
    epochs: Map[str, tuple[str, str]] = MappingProxyType({}),
) -> Choice:
    """The mapping of a file to a contract: by canonical names, else by others.

    Args:
        file: what to map.
        contract: the table.
        names: by canonical column the other names, in lower case and apart by spaces, the likeliest first.
        epochs: by a header, in lower case, its column and the pattern of its times.

    Raises:
        MappingError: a required column has no name that is known; the error holds a mapping to complete.
    """
    columns = _columns(file, contract, names, epochs)
    found = {column.name for column in columns}
    is_canonical = all(plain(column.source) == column.name for column in columns)
    table = contract.name
    mapping = Mapping(
        table if is_canonical else "by name",
        table,
        tuple(columns),
        (),
        f"{table} by the names of the columns",
    )
    if missing := [c.name for c in contract if c.required and c.name not in found]:
        raise MappingError(
            f"{file.path.name} lacks columns of {table}: {', '.join(missing)}",
            found=f"the columns {', '.join(file.header[:20])}",
            expected="; ".join(f"{name}: {contract[name].meaning}" for name in missing),
            do="write a mapping, which may begin with the lines below (see docs/mappings.md), and pass it "
            "with --mapping\n\n" + mapping.to_toml(),
        )
    return Choice(mapping, tuple(_told(file, columns, is_canonical)))


def _columns(
    file: InputFile, contract: Contract, names: Map[str, str], epochs: Map[str, tuple[str, str]]
) -> list[MappedColumn]:
    header = {_key(text): text for text in reversed(file.header)}
    found = []
    for column in contract:
        if column.derived:
            continue
        epoch = next((h for h in header if epochs.get(h, ("",))[0] == column.name), None)
        known = (column.name, *names.get(column.name, "").split())
        name = next((n for n in known if n in header), None)
        if epoch and name != column.name:
            found.append(MappedColumn(column.name, header[epoch], format=epochs[epoch][1]))
        elif name:
            found.append(MappedColumn(column.name, header[name]))
    return found


def _key(header: str) -> str:
    return re.sub(r"\s+", "_", plain(header))


def _told(file: InputFile, columns: list[MappedColumn], is_canonical: bool) -> list[Finding]:
    used = {plain(column.source) for column in columns}
    aside = [repr(text) for text in file.header if plain(text) not in used]
    left = ", ".join(aside[:8]) + (f" and {len(aside) - 8} more" if len(aside) > 8 else "")
    if is_canonical:
        return [Finding("columns", "mapping", "note", 0, f"left aside: {left}")] if left else []
    read = ", ".join(f"{c.source!r} as {c.name}" for c in columns if plain(c.source) != c.name)
    text = f"read by the names of the columns: {read}" + (f"; left aside: {left}" if left else "")
    return [Finding("columns", "mapping", "note", 0, text)]
