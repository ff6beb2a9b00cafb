"""Flows written by hand, with what each must be, on each engine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from subsight.enrich.classification import tables, with_services
from subsight.enrich.classification.services import ADDED
from subsight.store import Store, open_store

TCP, UDP, DCCP, SCTP = 6, 17, 33, 132
SCHEMA = pa.schema(
    [("record", pa.int64()), ("src_address", pa.string()), ("dst_address", pa.string()),
     ("src_port", pa.int64()), ("dst_port", pa.int64()), ("protocol", pa.int64()),
     ("src_to_dst_bytes", pa.int64()), ("dst_to_src_bytes", pa.int64()), ("customer_side", pa.string()),
     ("application", pa.string()), ("application_category", pa.string()),
     ("application_method", pa.string())]
)  # fmt: skip


def address(text: str) -> str:
    """The hex text of an address, by another way than the package's own."""
    packed = ipaddress.ip_address(text).packed
    return (bytes(10) + b"\xff\xff" + packed if len(packed) == 4 else packed).hex()


@pytest.fixture
def duckdb() -> Iterator[Store]:
    """Where only Subsight's own composition is asked, one engine is enough."""
    with open_store("duckdb", memory="1GB") as opened:
        yield opened


def flow(
    src_port: int | None, dst_port: int | None, protocol: int = TCP, *, label: tuple[Any, ...] = (),
    back: int | None = None, src: str = "192.0.2.1", dst: str = "198.51.100.1", customer: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    application, category, method = (*label, None, None, None)[:3]
    return {
        "src_address": src if len(src) == 32 else address(src),
        "dst_address": dst if len(dst) == 32 else address(dst),
        "src_port": src_port, "dst_port": dst_port, "protocol": protocol,
        "src_to_dst_bytes": 100, "dst_to_src_bytes": back, "customer_side": customer,
        "application": application, "application_category": category, "application_method": method,
    }  # fmt: skip


def classified(store: Store, flows: list[dict[str, Any]], rules: Path | None = None) -> list[dict[str, Any]]:
    """What each flow is, in the order given."""
    numbered = [{"record": number, **each} for number, each in enumerate(flows)]
    frame = store.from_arrow(pa.Table.from_pylist(numbered, schema=SCHEMA))
    rows = store.rows(with_services(store, frame, tables(str(rules or ""))))
    assert len(rows) == len(flows), "every flow once"
    return sorted(rows, key=lambda row: row["record"])


# Source and destination port, protocol, bytes back; then side and port of the service.
SIDES = [
    (51000, 8080, TCP, None, "dst", 8080),  # registered against ephemeral, either way round
    (8080, 51000, TCP, None, "src", 8080),
    (8080, 51000, TCP, 9, "src", 8080),  # also where both directions are told
    (49152, 49151, TCP, None, "dst", 49151),  # the first ephemeral port
    (3306, 443, TCP, 9, "dst", 443),  # a system port against a user port
    (443, 3306, TCP, 9, "src", 443),
    (1024, 1023, UDP, None, "dst", 1023),
    (3306, 5060, UDP, 9, "dst", 5060),  # alike: who was spoken to listens, though its port is higher
    (3306, 5060, UDP, 0, "dst", 5060),  # no byte back is told, too
    (3306, 5060, UDP, None, "src", 3306),  # one direction only: the lower port
    (5060, 3306, UDP, None, "dst", 3306),
    (53, 123, UDP, None, "src", 53),
    (53, 53, UDP, None, "dst", 53),
    (60000, 50000, TCP, None, "dst", 50000),
    (0, 60000, TCP, None, "dst", 60000),  # port 0 is no port
    (60000, 0, TCP, 9, "src", 60000),
    (0, 0, TCP, None, None, None),
    (None, None, TCP, None, None, None),
    (None, 25, TCP, None, "dst", 25),
    (8, 0, 1, None, None, None),  # of ICMP the ports are type and code
    (443, 443, 47, None, None, None),
]


# Destination port, protocol; service, category, application, method, confidence.
PORTS = [
    (443, TCP, "https", "Web", "Web", "port", "guess"),
    (80, TCP, "http", "Web", "Web", "port", "likely"),
    (8080, TCP, "http-alt", "Web", "Web", "port", "guess"),
    (53, UDP, "domain", "Network services", "Other", "port", "likely"),
    (514, TCP, "shell", "Remote access", "Other", "port", "likely"),
    (514, UDP, "syslog", "System and RPC", "Other", "port", "likely"),
    (993, TCP, "imaps", "Email", "Email", "port", "likely"),
    (465, TCP, "submissions", "Email", "Email", "port", "guess"),
    (3306, TCP, "mysql", "Databases", "Other", "port", "likely"),
    (2049, TCP, "nfs", "File transfer", "Other", "port", "likely"),
    (5060, SCTP, "sip", "Calls", "Messaging", "port", "likely"),
    (5004, DCCP, "avt-profile-1", "Video", "Video", "port", "guess"),
    (6010, TCP, "x11", "Remote access", "Other", "port", "guess"),
    (5000, TCP, "commplex-main", "Other registered", "Other", "port", "guess"),
    (48900, TCP, "Unknown", "Unknown", "Other", "unknown", None),
    (0, 1, "ICMP", "Network services", "Other", "port", "sure"),
    (0, 2, "IGMP", "Network services", "Other", "port", "sure"),
    (0, 47, "GRE", "VPN and tunnels", "Other", "port", "sure"),
    (0, 50, "ESP", "VPN and tunnels", "Other", "port", "sure"),
    (0, 58, "ICMPv6", "Network services", "Other", "port", "sure"),
    (0, 89, "OSPF", "Network services", "Other", "port", "sure"),
    (0, 253, "Unknown", "Unknown", "Other", "unknown", None),
    (443, 136, "Unknown", "Unknown", "Other", "unknown", None),
]
TOLD = ("service", "category", "application_group", "method", "confidence")


# Label, category, method; service, category, method, confidence. The port says https, a guess.
LABELS = [
    (("TLS.YouTube", "Media", "DPI"), "YouTube", "Video", "inspection", "sure"),
    (("TLS.YouTube", None, "DPI (cache)"), "YouTube", "Video", "inspection", "likely"),
    (("tls.youtube", "MEDIA", "dpi"), "youtube", "Video", "inspection", "sure"),
    (("QUIC.Google", "Advertisement", "DPI"), "Google", "Advertising", "inspection", "sure"),
    (("DNS.YouTube", "Network", "DPI"), "domain", "Network services", "inspection", "sure"),
    (("DNS.BitTorrent", None, "DPI"), "domain", "Network services", "inspection", "sure"),
    (("BitTorrent", "Download", "DPI"), "BitTorrent", "Peer to peer", "inspection", "sure"),
    (("SSH", None, None), "ssh", "Remote access", "inspection", "likely"),
    (("SSH", "", ""), "ssh", "Remote access", "inspection", "likely"),
    (("Shop", "Unheard", "Crystal ball"), "Shop", "Other", "inspection", "guess"),
    (("TLS.Newcomer", None, "DPI"), "Newcomer", "Web", "inspection", "sure"),
    (("shop.example", None, "DPI"), "shop.example", "Other", "inspection", "sure"),
    (("TLS", "Web", "Match by port"), "TLS", "Web", "port", "guess"),
    (("WhatsApp", "Chat", "Match by IP"), "WhatsApp", "Messaging", "port", "guess"),
    (("Ours", None, "Match by custom rule"), "Ours", "Other", "rule", "likely"),
    (("Unknown", None, "DPI"), "https", "Web", "port", "guess"),
    (("", "Web", "DPI"), "https", "Web", "port", "guess"),
    ((None, "Web", "DPI"), "https", "Web", "port", "guess"),
]


def test_flows_without_rules(store: Store) -> None:
    """In one go, since each look at the flows takes seconds on a cluster."""
    rows = classified(
        store,
        [flow(src, dst, protocol, back=back) for src, dst, protocol, back, _, _ in SIDES]
        + [flow(60000, port, protocol) for port, protocol, *_ in PORTS]
        + [flow(60000, 443, label=label) for label, *_ in LABELS],
    )
    sides = rows[: len(SIDES)]
    ports = rows[len(SIDES) : len(SIDES) + len(PORTS)]
    labels = rows[len(SIDES) + len(PORTS) :]
    assert [(row["service_side"], row["service_port"]) for row in sides] == [case[4:] for case in SIDES]
    assert [tuple(row[name] for name in TOLD) for row in ports] == [case[2:] for case in PORTS]
    found = [(row["service"], row["category"], row["method"], row["confidence"]) for row in labels]
    assert found == [case[1:] for case in LABELS]
    assert [row["application"] for row in labels] == [case[0][0] for case in LABELS], "the label is kept"


RULES = """
[[rules]]
name = "Till"
category = "Databases"
host = "203.0.113.0/24"
port = "9000-9010"
confidence = "sure"

[[rules]]
name = "Camera"
category = "IoT and industry"
host = ["2001:db8::/32", "203.0.113.7"]

[[rules]]
name = "Proxy"
category = "Web"
port = [3128, "8000-8002"]
protocol = "tcp"

[[rules]]
name = "Shadowed"
category = "Email"
port = 3128

[[rules]]
name = "Lab"
category = "Other"
port = "20000-49000"
protocol = ["udp"]

[[rules]]
name = "Fabric"
category = "VPN and tunnels"
protocol = "gre"
"""
KEYED = address("203.0.113.7")  # as a pseudonym might by chance be
IN_TILL, V6, OUT = "203.0.113.50", "2001:db8::5", "2001:db9::5"

# Flow; service, side and port of the service, method, confidence.
RULED: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    (flow(60000, 9005, dst=IN_TILL), ("Till", "dst", 9005, "rule", "sure")),
    # The rule's host has the rule's port, so it is the service, though 443 is at the other side.
    (flow(9000, 443, src=IN_TILL), ("Till", "src", 9000, "rule", "sure")),
    (flow(60000, 9011, dst=IN_TILL), ("Unknown", "dst", 9011, "unknown", None)),
    (flow(60000, 9005), ("golem", "dst", 9005, "port", "guess")),
    # The rule of hosts alone keeps the side, and matches at any side that is not keyed.
    (flow(60000, 443, dst=V6), ("Camera", "dst", 443, "rule", "likely")),
    (flow(60000, 443, src=V6), ("Camera", "dst", 443, "rule", "likely")),
    (flow(60000, 443, dst=OUT), ("https", "dst", 443, "port", "guess")),
    (flow(60000, 443, src=KEYED, customer="dst"), ("Camera", "dst", 443, "rule", "likely")),
    (flow(60000, 443, src=KEYED, customer="src"), ("https", "dst", 443, "port", "guess")),
    (flow(60000, 443, dst=KEYED, customer="dst"), ("https", "dst", 443, "port", "guess")),
    (flow(8, 0, 1, dst=V6), ("Camera", None, None, "rule", "likely")),
    # Ports: by protocol, and the first rule that matches.
    (flow(60000, 8002), ("Proxy", "dst", 8002, "rule", "likely")),
    (flow(60000, 8002, UDP), ("teradataordbms", "dst", 8002, "port", "guess")),
    (flow(60000, 3128), ("Proxy", "dst", 3128, "rule", "likely")),
    (flow(60000, 3128, UDP), ("Shadowed", "dst", 3128, "rule", "likely")),
    (flow(60000, 3128, dst=V6), ("Camera", "dst", 3128, "rule", "likely")),
    (flow(60000, 30000, UDP), ("Lab", "dst", 30000, "rule", "likely")),
    (flow(60000, 49001, UDP), ("nusdp-disc", "dst", 49001, "port", "guess")),
    (flow(0, 0, 47), ("Fabric", None, None, "rule", "likely")),
    # Inspection comes before rules, and rules before what a probe guessed.
    (flow(60000, 3128, label=("SSH", None, "DPI")), ("ssh", "dst", 3128, "inspection", "sure")),
    (flow(60000, 3128, label=("SSH", None, "Match by port")), ("Proxy", "dst", 3128, "rule", "likely")),
    (
        flow(60000, 443, dst=V6, label=("TLS", None, "Match by port")),
        ("Camera", "dst", 443, "rule", "likely"),
    ),
    (flow(60000, 4433, label=("TLS", None, "Match by port")), ("TLS", "dst", 4433, "port", "guess")),
]


def test_rules_of_the_operator(store: Store, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES, encoding="utf-8")
    rows = classified(store, [case[0] for case in RULED], rules)
    names = ("service", "service_side", "service_port", "method", "confidence")
    assert [tuple(row[name] for name in names) for row in rows] == [case[1] for case in RULED]


def test_a_part_of_the_flows_gets_what_all_of_them_get(duckdb: Store) -> None:
    flows = [flow(60000, 443, label=label) for label, *_ in LABELS[:4]] + [
        flow(443, 60000),
        flow(53, 53, UDP),
    ]
    whole = classified(duckdb, flows)
    parts = classified(duckdb, flows[:3]) + classified(duckdb, flows[3:])
    assert [[row[name] for name in ADDED] for row in whole] == [
        [row[name] for name in ADDED] for row in parts
    ]


def test_flows_without_label_columns_and_flows_that_were_classified_before(duckdb: Store) -> None:
    names = ["record", "src_port", "dst_port", "protocol", "dst_to_src_bytes"]
    table = pa.Table.from_pylist([{"record": 0, **flow(60000, 53, UDP)}], schema=SCHEMA).select(names)
    once = with_services(duckdb, duckdb.from_arrow(table), tables())
    twice = with_services(duckdb, once, tables())
    assert twice.collect_schema().names() == [*names, *ADDED]
    assert [row["service"] for row in duckdb.rows(twice)] == ["domain"]
