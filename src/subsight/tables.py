"""Every canonical table, once."""

from __future__ import annotations

from typing import Final

from subsight.contracts import Column, Contract

__all__ = [
    "CONTRACTS",
    "DPI_USAGE",
    "FEEDBACK",
    "FLOWS",
    "LEASES",
    "OFFERS",
    "PURCHASES",
    "SESSIONS",
    "SUBSCRIBERS",
    "THROUGHPUT_SHARES",
    "USAGE",
]

_DL_BANDS = (("below_50", "below 50"), ("50_to_250", "50 to 250"), ("250_to_1000", "250 to 1000"),
             ("above_1000", "above 1000"))  # fmt: skip
_UL_BANDS = (("below_10", "below 10"), ("10_to_50", "10 to 50"), ("50_to_300", "50 to 300"),
             ("above_300", "above 300"))  # fmt: skip
_DL_VOLUMES = (("below_6250", "below 6,250"), ("6250_to_31250", "6,250 to 31,250"),
               ("31250_to_125000", "31,250 to 125,000"), ("above_125000", "above 125,000"))  # fmt: skip
_UL_VOLUMES = (("below_1250", "below 1,250"), ("1250_to_6250", "1,250 to 6,250"),
               ("6250_to_37500", "6,250 to 37,500"), ("above_37500", "above 37,500"))  # fmt: skip


def _bands(direction: str, bands: tuple[tuple[str, str], ...]) -> tuple[Column, ...]:
    return tuple(
        Column(
            f"{direction}_{slug}_kbps_share", "float",
            f"share of the session's time with {direction} throughput {text} kbps", 0, 1,
        )
        for slug, text in bands
    )  # fmt: skip


def _volumes(direction: str, volumes: tuple[tuple[str, str], ...]) -> tuple[Column, ...]:
    return tuple(
        Column(
            f"{direction}_volume_{slug}_s", "float",
            f"seconds in which the {direction} volume was {text} bytes", 0,
        )
        for slug, text in volumes
    )  # fmt: skip


SESSIONS: Final = Contract(
    "sessions",
    "one data session of one bearer: an extended data record (xDR)",
    (
        Column("subscriber_id", "text", "pseudonym of the MSISDN; null where the record has none",
               required=True, identifier="msisdn"),
        Column("imsi_id", "text", "pseudonym of the IMSI", identifier="imsi"),
        Column("imei_id", "text", "pseudonym of the IMEI", identifier="imei"),
        Column("tac", "text", "type allocation code: the first 8 digits of the IMEI (3GPP TS 23.003)",
               derived=True),
        Column("bearer_id", "text", "the network's identifier of the bearer; null where digits were lost"),
        Column("cell_id", "text", "cell in which the bearer ended; null where digits were lost"),
        Column("start_at", "instant", "first frame of the session", required=True),
        Column("end_at", "instant", "last frame of the session"),
        Column("local_date", "date", "calendar date of the start in the operator's time zone", derived=True),
        Column("local_hour", "integer", "hour of the start in the operator's time zone", 0, 23, derived=True),
        Column("duration_s", "float", "length of the session", 0),
        Column("duration_ms", "float", "length of the session where the vendor also counts milliseconds", 0),
        Column("handset_manufacturer", "text", "who made the handset; null where unknown"),
        Column("handset", "text", "model of the handset; null where unknown"),
        Column("dl_bytes", "integer", "downlink volume: the sum of the applications where they are complete",
               0, required=True),
        Column("ul_bytes", "integer", "uplink volume: the sum of the applications where they are complete",
               0, required=True),
        Column("reported_dl_bytes", "integer", "downlink total as the vendor wrote it", 0, derived=True),
        Column("reported_ul_bytes", "integer", "uplink total as the vendor wrote it", 0, derived=True),
        Column("app_{slug}_dl_bytes", "integer", "{name} downlink volume", 0),
        Column("app_{slug}_ul_bytes", "integer", "{name} uplink volume", 0),
        Column("http_dl_bytes", "integer", "HTTP downlink volume", 0),
        Column("http_ul_bytes", "integer", "HTTP uplink volume", 0),
        Column("rtt_dl_ms", "float", "mean round-trip time, downlink", 0),
        Column("rtt_ul_ms", "float", "mean round-trip time, uplink", 0),
        Column("throughput_dl_kbps", "float", "mean bearer throughput, downlink", 0),
        Column("throughput_ul_kbps", "float", "mean bearer throughput, uplink", 0),
        Column("tcp_retransmission_dl_bytes", "integer", "TCP volume detected as retransmitted, downlink", 0),
        Column("tcp_retransmission_ul_bytes", "integer", "TCP volume detected as retransmitted, uplink", 0),
        Column("activity_dl_ms", "float", "downlink activity, idle periods above 500 ms left out", 0),
        Column("activity_ul_ms", "float", "uplink activity, idle periods above 500 ms left out", 0),
        *_bands("dl", _DL_BANDS),
        *_bands("ul", _UL_BANDS),
        *_volumes("dl", _DL_VOLUMES),
        *_volumes("ul", _UL_VOLUMES),
        Column("is_msisdn_unusual", "boolean", "the MSISDN has a length that under 0.1 % of values share",
               derived=True),
        Column("subscriber_hash", "integer", "unkeyed 52-bit hash of the identifier: breaks every tie",
               derived=True, internal=True),
        Column("record_hash", "text", "hash of the mapped columns: finds duplicates", derived=True,
               internal=True),
    ),
)  # fmt: skip

FEEDBACK: Final = Contract(
    "feedback",
    "one answer of one subscriber to a survey",
    (
        Column("subscriber_id", "text", "pseudonym of the MSISDN of who answered", required=True,
               identifier="msisdn"),
        Column("answered_at", "instant", "when the answer was given", required=True),
        Column("csat", "integer", "satisfaction from 1, very dissatisfied, to 5, very satisfied", 1, 5),
        Column("nps", "integer", "likelihood to recommend, from 0, not at all, to 10", 0, 10),
        Column("prediction_id", "text", "the id of the prediction that the answer judges"),
    ),
)  # fmt: skip

SUBSCRIBERS: Final = Contract(
    "subscribers",
    "one subscriber, as a snapshot of the operator's customer base says",
    (
        Column("subscriber_id", "text", "pseudonym of the MSISDN or customer number", required=True,
               identifier="subscriber"),
        Column("region", "text", "where the subscriber recharges: a category, also where it is a number"),
        Column("tenure_days", "float", "how long the subscriber has stayed", 0, 36_525),
        Column("ul_kilobytes", "float", "uplink volume; 1 kB is 1000 bytes", 0),
        Column("dl_kilobytes", "float", "downlink volume; 1 kB is 1000 bytes", 0),
        Column("bearer_type", "text", "radio access that carries the subscriber"),
        Column("browser", "text", "browser that the subscriber uses most"),
        Column("browsing_category", "text", "kind of pages that the subscriber looks at most"),
        Column("plan", "text", "tariff of the subscriber"),
        Column("is_churned", "boolean", "whether the subscriber has left"),
        Column("subscriber_hash", "integer", "unkeyed 52-bit hash of the identifier: breaks every tie",
               derived=True, internal=True),
    ),
)  # fmt: skip

FLOWS: Final = Contract(
    "flows",
    "one flow: packets between two addresses and ports by one protocol, in one or both directions",
    (
        Column("subscriber_id", "text", "pseudonym of the customer's address (of two: the sender's)",
               derived=True),
        Column("customer_side", "text", "src, dst or both: which side is a customer's; null where neither is",
               derived=True),
        Column("first_seen_at", "instant", "first packet of the flow", required=True),
        Column("last_seen_at", "instant", "last packet of the flow"),
        Column("src_address", "text", "sender: 32 hex digits, IPv4 mapped (RFC 4291); a customer's is keyed",
               required=True, identifier="address"),
        Column("dst_address", "text", "receiver as 32 hex digits, IPv4 mapped; a customer's is keyed",
               required=True, identifier="address"),
        Column("src_port", "integer", "port of the sender; of ICMP the type", 0, 65_535),
        Column("dst_port", "integer", "port of the receiver; of ICMP the code", 0, 65_535),
        Column("protocol", "integer", "IANA number of the protocol above IP: 6 is TCP, 17 is UDP", 0, 255,
               required=True),
        Column("src_to_dst_bytes", "integer", "volume from sender to receiver, times the sampling rate", 0,
               required=True),
        Column("dst_to_src_bytes", "integer", "volume back; null where the record tells one direction", 0),
        Column("src_to_dst_packets", "integer", "packets from sender to receiver, times the rate", 0),
        Column("dst_to_src_packets", "integer", "packets back; null where the record tells one direction", 0),
        Column("exporter", "text", "what reported the flow: a router's address, a probe, a site"),
        Column("sampling_rate", "integer", "packets of which one was looked at; 1 is all of them", 1),
        Column("application", "text", "application as deep packet inspection labelled it"),
        Column("application_category", "text", "category as deep packet inspection labelled it"),
        Column("application_method", "text", "how the label was found, such as DPI or Match by port"),
        Column("subscriber_hash", "integer", "unkeyed 52-bit hash of the identifier: breaks every tie",
               derived=True, internal=True),
        Column("record", "integer", "number of the record in its input", 1, derived=True, internal=True),
    ),
)  # fmt: skip

LEASES: Final = Contract(
    "leases",
    "one address, or a block of its ports, that was one subscriber's for a time (RADIUS, DHCP, CGNAT)",
    (
        Column("address", "text", "the address as 32 hex digits, IPv4 mapped, keyed", required=True,
               identifier="address"),
        Column("port_from", "integer", "first port of the block; null for all ports", 0, 65_535),
        Column("port_to", "integer", "last port of the block; null for all ports", 0, 65_535),
        Column("subscriber_id", "text", "pseudonym of the MSISDN or customer number", required=True,
               identifier="subscriber"),
        Column("from_at", "instant", "when the lease began", required=True),
        Column("to_at", "instant", "when it ended, which is no longer part of it; null while it goes on"),
        Column("subscriber_hash", "integer", "unkeyed 52-bit hash of the identifier: breaks every tie",
               derived=True, internal=True),
    ),
)  # fmt: skip

USAGE: Final = Contract(
    "usage",
    "what one subscriber did in one hour by one service: the sums that flow studies are made of",
    (
        Column("subscriber_id", "text", "pseudonym; null where nobody could be named"),
        Column("subscriber_hash", "integer", "unkeyed 52-bit hash of the identifier: breaks every tie",
               internal=True),
        Column("hour_at", "instant", "the instant at which the local hour began"),
        Column("local_date", "date", "calendar date of that hour in the operator's time zone"),
        Column("local_hour", "integer", "that hour in the operator's time zone", 0, 23),
        Column("protocol", "integer", "IANA number of the protocol above IP", 0, 255),
        Column("service", "text", "service, such as https or BitTorrent"),
        Column("category", "text", "category of the service, such as Web or Video"),
        Column("application", "text", "application of the xDR studies that the category rolls up to"),
        Column("method", "text", "how the service is known: inspection, rule, port or unknown"),
        Column("confidence", "text", "sure, likely or guess; null where unknown"),
        Column("exporter", "text", "what reported the flows"),
        Column("attribution", "text", "how the subscriber is known: lease or address; ambiguous or no lease "
               "where nobody is; null where neither address is a customer's"),
        Column("flow_count", "integer", "flows that began in the hour", 0),
        Column("dl_bytes", "integer", "volume towards the subscriber; of unnamed ones from dst to src", 0),
        Column("ul_bytes", "integer", "volume from the subscriber; of unnamed ones from src to dst", 0),
        Column("dl_packets", "integer", "packets towards the subscriber", 0),
        Column("ul_packets", "integer", "packets from the subscriber", 0),
        Column("first_seen_at", "instant", "earliest first packet"),
        Column("last_seen_at", "instant", "latest last packet"),
    ),
)  # fmt: skip

DPI_USAGE: Final = Contract(
    "dpi_usage",
    "what deep packet inspection saw of one subscriber in one interval; a subscriber may have several",
    (
        Column("subscriber_id", "text", "pseudonym of the MSISDN or customer number", required=True,
               identifier="subscriber"),
        Column("policies", "texts", "policies that applied, such as Encrypted; null where nobody knows"),
        Column("contents", "texts", "kinds of content, such as Video or Web; null where nobody knows"),
        Column("protocols", "texts", "protocols above IP, such as TCP; null where nobody knows"),
        Column("applications", "texts", "applications, such as YouTube; null where nobody knows"),
        Column("ul_bytes", "integer", "volume from the subscriber", 0, required=True),
        Column("dl_bytes", "integer", "volume towards the subscriber", 0, required=True),
        Column("session_count", "integer", "sessions of the subscriber", 0),
        Column("duration_s", "float", "length of the sessions together", 0),
        Column("subscriber_hash", "integer", "unkeyed 52-bit hash of the identifier: breaks every tie",
               derived=True, internal=True),
    ),
)  # fmt: skip

OFFERS: Final = Contract(
    "offers",
    "one offer of the operator's catalogue",
    (
        Column("offer_id", "text", "the offer, as the operator calls it", required=True),
        Column("price", "float", "what it costs, in the operator's currency", 0),
        Column("data_bytes", "integer", "volume that it allows", 0),
        Column("valid_from", "instant", "when it begins; null where it always was valid"),
        Column("valid_to", "instant", "when it is over: no longer part of it, while a date alone is to its "
               "last hour; null while it goes on"),
        Column("eligibility", "text", "who may have it: conditions (see mappings.md); null is everybody"),
        Column("margin", "float", "what the operator earns by it; below 0 where it loses"),
    ),
)  # fmt: skip

PURCHASES: Final = Contract(
    "purchases",
    "one offer that one subscriber took",
    (
        Column("subscriber_id", "text", "pseudonym of the MSISDN or customer number", required=True,
               identifier="subscriber"),
        Column("offer_id", "text", "the offer, as the catalogue calls it", required=True),
        Column("purchased_at", "instant", "when the subscriber took it", required=True),
        Column("subscriber_hash", "integer", "unkeyed 52-bit hash of the identifier: breaks every tie",
               derived=True, internal=True),
    ),
)  # fmt: skip

THROUGHPUT_SHARES: Final = tuple(
    tuple(column.name for column in _bands(direction, bands))
    for direction, bands in (("dl", _DL_BANDS), ("ul", _UL_BANDS))
)

CONTRACTS: Final = {
    contract.name: contract
    for contract in (SESSIONS, FEEDBACK, SUBSCRIBERS, FLOWS, LEASES, DPI_USAGE, OFFERS, PURCHASES)
}
