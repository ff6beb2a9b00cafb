"""What records of NetFlow v5, v9 and IPFIX become: addresses, counters, ports, sampling, applications."""

from __future__ import annotations

import struct

import pytest
from export_made import (
    EXPORTER,
    FLOW,
    a_set,
    after,
    data,
    decode,
    dropped,
    five,
    flow,
    ip,
    ipfix,
    message,
    nine,
    options_template,
    record_five,
    rows,
    template,
)  # fmt: skip

from subsight.sources.netflow import SCHEMA, Decoder, looks_like_export

FIRST = "0" * 20 + "ffff0a000001"
SECOND = "0" * 20 + "ffff0a000002"
BOTH = pytest.mark.parametrize("version", [9, 10])


def one(version: int, told: tuple[tuple[int, ...], ...], record: bytes) -> dict[str, object]:
    """The flow of one record of a template."""
    (row,) = rows(message(version, template(version, 256, *told), data(256, record)))
    return row


# Version 5


def test_version_5_becomes_a_flow_of_each_record() -> None:
    payload = five(
        record_five(first=70_000, last=99_500),
        record_five("172.16.0.9", "192.0.2.7", (53, 5353), 17, 80, 1, first=99_999, last=100_000),
        nanoseconds=250_000_000,
    )
    first, second = decode(payload).table.to_pylist()
    assert first == {
        "first_seen_at": after(-30_000 + 250), "last_seen_at": after(-500 + 250), "src_address": FIRST,
        "dst_address": SECOND, "src_port": 1000, "dst_port": 443, "protocol": 6, "src_to_dst_bytes": 1500.0,
        "dst_to_src_bytes": None, "src_to_dst_packets": 3.0, "dst_to_src_packets": None,
        "exporter": EXPORTER, "sampling_rate": None, "application": None, "application_method": None,
        "datagram": 0,
    }  # fmt: skip
    assert second["src_address"] == "0" * 20 + "ffffac100009"
    assert second["dst_address"] == "0" * 20 + "ffffc0000207"
    assert [second[name] for name in ("src_port", "dst_port", "protocol")] == [53, 5353, 17]
    assert [second["first_seen_at"], second["last_seen_at"]] == [after(249), after(250)]


def test_the_uptime_of_a_flow_that_began_before_it_wrapped_is_counted_back_over_the_wrap() -> None:
    (row,) = rows(five(record_five(first=2**32 - 4_000, last=500), uptime=1_000))
    assert [row["first_seen_at"], row["last_seen_at"]] == [after(-5_000), after(-500)]


def test_a_flow_a_little_ahead_of_its_header_stays_ahead() -> None:
    (row,) = rows(five(record_five(first=100_000, last=100_020), uptime=100_000))
    assert row["last_seen_at"] == after(20)


@pytest.mark.parametrize(
    ("sampling", "rate"), [(0, None), (1, None), (0x4000 | 100, 100), (0x8000 | 4096, 4096), (0x3FFF, 16_383)]
)
def test_the_low_fourteen_bits_of_the_header_are_the_sampling(sampling: int, rate: int | None) -> None:
    (row,) = rows(five(record_five(), sampling=sampling))
    assert row["sampling_rate"] == rate
    assert row["src_to_dst_bytes"] == 1500  # as told: sampling is applied where flows are ingested


def test_each_datagram_has_its_own_sampling() -> None:
    found = rows(*(five(record_five(), sampling=rate, sequence=at) for at, rate in enumerate((10, 0, 20))))
    assert [row["sampling_rate"] for row in found] == [10, None, 20]


def test_icmp_of_version_5_has_type_and_code_in_the_receivers_port() -> None:
    (row,) = rows(five(record_five(ports=(0, 3 * 256 + 1), protocol=1)))
    assert [row["src_port"], row["dst_port"]] == [3, 1]


@pytest.mark.parametrize(
    ("payload", "count", "reason"),
    [
        (five(record_five(), record_five(), count=5), 2, {"fewer records than the header says": 3}),
        (five(record_five())[:-1], 0, {"fewer records than the header says": 1}),
        (five(record_five()) + b"x", 1, {"bytes after the last record": 1}),
        (five(record_five(), count=0), 0, {"bytes after the last record": 1}),
        (five(record_five(), count=31), 0, {"header that counts an impossible number of records": 1}),
        (five()[:23], 0, {"header cut short": 1}),
        (five(), 0, {}),
    ],
)
def test_damage_to_version_5_is_counted(payload: bytes, count: int, reason: dict[str, int]) -> None:
    decoded = decode(payload)
    assert (decoded.table.num_rows, dropped(decoded)) == (count, reason)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "datagram of less than two bytes"),
        (b"\0", "datagram of less than two bytes"),
        (struct.pack(">HH", 7, 1) + bytes(76), "version 7 is none that is known"),
        (nine()[:19], "header cut short"),
        (ipfix()[:15], "header cut short"),
    ],
)
def test_what_is_no_export_is_dropped_with_its_beginning(payload: bytes, reason: str) -> None:
    decoded = decode(payload)
    assert decoded.table.schema == SCHEMA
    (drop,) = decoded.dropped
    assert (drop.exporter, drop.reason, drop.count) == (EXPORTER, reason, 1)
    assert drop.example == payload[:40].hex()


# Fields


@BOTH
def test_a_template_and_its_data_become_flows(version: int) -> None:
    payload = message(
        version, template(version, 256, *FLOW), data(256, flow(), flow("10.0.0.2", "10.0.0.1", (443, 1000)))
    )
    first, second = decode(payload).table.to_pylist()
    assert [first["src_address"], first["dst_address"]] == [FIRST, SECOND]
    assert [first["src_port"], first["dst_port"], first["protocol"]] == [1000, 443, 6]
    assert [first["src_to_dst_bytes"], first["src_to_dst_packets"]] == [1500, 3]
    assert [first["dst_to_src_bytes"], first["dst_to_src_packets"]] == [None, None]
    assert [second["src_address"], second["dst_address"], second["src_port"]] == [SECOND, FIRST, 443]
    assert looks_like_export(payload)


@BOTH
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8])
def test_counters_of_any_width_are_read(version: int, width: int) -> None:
    value = 0x0102030405060708 >> 8 * (8 - width)
    told = ((8, 4), (12, 4), (1, width), (2, width))
    row = one(version, told, ip("10.0.0.1") + ip("10.0.0.2") + 2 * value.to_bytes(width))
    assert row["src_to_dst_bytes"] == row["src_to_dst_packets"] == float(value)


@BOTH
def test_counters_wider_than_eight_bytes_are_as_large_as_can_be_unless_they_begin_with_zeros(
    version: int,
) -> None:
    told = ((8, 4), (12, 4), (1, 10), (2, 12))
    row = one(version, told, ip("10.0.0.1") + ip("10.0.0.2") + (2**72).to_bytes(10) + (77).to_bytes(12))
    assert [row["src_to_dst_bytes"], row["src_to_dst_packets"]] == [2.0**64, 77]


@BOTH
def test_numbers_too_wide_for_their_column_stay_impossible_and_never_raise(version: int) -> None:
    told = ((8, 4), (12, 4), (7, 8), (11, 3), (4, 8), (1, 8), (34, 8))
    record = ip("10.0.0.1") + ip("10.0.0.2") + b"\xff" * 8 + b"\xff" * 3 + b"\xff" * 24
    row = one(version, told, record)
    assert [row["src_port"], row["dst_port"], row["protocol"]] == [2**53, 2**24 - 1, 2**53]
    assert row["sampling_rate"] is None


@BOTH
def test_ipv6_addresses_are_sixteen_bytes(version: int) -> None:
    row = one(version, ((27, 16), (28, 16), (1, 4)), ip("2001:db8::1") + ip("fe80::2") + bytes([0, 0, 1, 0]))
    assert row["src_address"] == "20010db8" + "0" * 23 + "1"
    assert row["dst_address"] == "fe80" + "0" * 27 + "2"
    assert row["src_to_dst_bytes"] == 256


@BOTH
@pytest.mark.parametrize("is_six_first", [False, True])
def test_a_template_for_both_versions_leaves_one_pair_at_zero(version: int, is_six_first: bool) -> None:
    four, six = ((8, 4), (12, 4)), ((27, 16), (28, 16))
    told = ((*six, *four) if is_six_first else (*four, *six)) + ((1, 4),)
    volume = bytes([0, 0, 0, 9])
    of_four, of_six = ip("10.0.0.1") + ip("10.0.0.2"), ip("2001:db8::1") + ip("2001:db8::2")
    records = [
        (bytes(32) + of_four if is_six_first else of_four + bytes(32)) + volume,
        (of_six + bytes(8) if is_six_first else bytes(8) + of_six) + volume,
        bytes(40) + volume,
    ]
    found = decode(message(version, template(version, 256, *told), data(256, *records))).table.to_pylist()
    assert [row["src_address"][:12] for row in found[:2]] == ["0" * 12, "20010db80000"]
    assert [row["dst_address"][-8:] for row in found] == ["0a000002", "00000002", "00000000"]


def test_of_a_packet_in_a_tunnel_the_inner_header_counts() -> None:
    told = (*FLOW, (8, 4), (12, 4), (4, 1), (7, 2), (11, 2))
    inner = ip("192.168.1.1") + ip("192.168.1.2") + bytes([17]) + struct.pack(">HH", 4000, 53)
    plain = bytes(8 + 1 + 4)
    found = decode(
        ipfix(template(10, 256, *told), data(256, flow(protocol=47, ports=(0, 0)) + inner, flow() + plain))
    ).table.to_pylist()
    assert [row["src_address"][-8:] for row in found] == ["c0a80101", "0a000001"]
    assert [row["dst_address"][-8:] for row in found] == ["c0a80102", "0a000002"]
    assert [(row["protocol"], row["src_port"], row["dst_port"]) for row in found] == [
        (17, 4000, 53), (6, 1000, 443),
    ]  # fmt: skip


def test_six_in_four_is_told_by_its_inner_header_which_has_the_same_protocol_field_twice() -> None:
    told = ((8, 4), (12, 4), (4, 1), (27, 16), (28, 16), (4, 1), (1, 2))
    record = ip("10.0.0.1") + ip("10.0.0.2") + bytes([41]) + ip("2001:db8::1") + ip("2001:db8::2")
    row = one(10, told, record + bytes([6, 1, 0]))
    assert [row["src_address"][:8], row["protocol"], row["src_to_dst_bytes"]] == ["20010db8", 6, 256]


def test_a_pair_of_the_other_version_at_zero_is_no_outer_header() -> None:
    told = ((8, 4), (12, 4), (4, 1), (27, 16), (28, 16), (4, 1), (1, 2))
    record = bytes(8) + bytes([17]) + ip("2001:db8::1") + ip("2001:db8::2")
    row = one(10, told, record + bytes([0, 1, 0]))
    assert row["protocol"] == 17


def test_both_directions_are_told_by_reverse_elements() -> None:
    told = (*FLOW, (1, 4, 29_305), (2, 4, 29_305), (1, 4, 9))  # the last is another enterprise's
    row = one(10, told, flow() + struct.pack(">III", 700, 7, 1))
    assert [row["src_to_dst_bytes"], row["dst_to_src_bytes"]] == [1500, 700]
    assert [row["src_to_dst_packets"], row["dst_to_src_packets"]] == [3, 7]


@BOTH
def test_both_directions_are_told_by_initiator_and_responder(version: int) -> None:
    told = ((8, 4), (12, 4), (231, 4), (232, 4), (298, 4), (299, 4))
    row = one(version, told, ip("10.0.0.1") + ip("10.0.0.2") + struct.pack(">IIII", 10, 20, 1, 2))
    assert [row["src_to_dst_bytes"], row["dst_to_src_bytes"]] == [10, 20]
    assert [row["src_to_dst_packets"], row["dst_to_src_packets"]] == [1, 2]


@BOTH
@pytest.mark.parametrize(
    ("entered", "left", "octets", "packets", "is_noted"),
    [
        (1500, 1500, 1500, 3, False),  # a firewall that tells each direction in a record of its own
        (1500, 0, 1500, 3, False),
        (0, 55, 55, 5, False),  # observed on leaving
        (1500, 55, 1500, 3, True),
        (0, 0, 0, 3, False),
    ],
)
def test_what_left_the_device_is_the_same_flow_once_more(
    version: int, entered: int, left: int, octets: int, packets: int, is_noted: bool
) -> None:
    record = flow(octets=entered) + struct.pack(">II", left, 5)
    decoded = decode(message(version, template(version, 256, *FLOW, (23, 4), (24, 4)), data(256, record)))
    (row,) = decoded.table.to_pylist()
    assert [row["src_to_dst_bytes"], row["src_to_dst_packets"]] == [octets, packets]
    assert [row["dst_to_src_bytes"], row["dst_to_src_packets"]] == [None, None]
    assert any("leaving the device" in reason for reason in decoded.noted) == is_noted


@BOTH
def test_out_alone_is_the_volume(version: int) -> None:
    row = one(version, ((8, 4), (12, 4), (23, 4)), ip("10.0.0.1") + ip("10.0.0.2") + bytes([0, 0, 0, 8]))
    assert [row["src_to_dst_bytes"], row["dst_to_src_bytes"]] == [8, None]


@BOTH
@pytest.mark.parametrize(
    ("told", "body", "protocol", "expected"),
    [
        (((32, 2),), bytes([8, 0]), 1, (8, 0)),
        (((176, 1), (177, 1)), bytes([3, 4]), 1, (3, 4)),
        (((139, 2),), bytes([128, 0]), 58, (128, 0)),
        (((178, 1), (179, 1)), bytes([1, 4]), 58, (1, 4)),
        (((32, 2), (139, 2)), bytes([0, 0, 129, 0]), 58, (129, 0)),
        (((32, 2), (139, 2)), bytes([11, 1, 0, 0]), 1, (11, 1)),
        (((32, 2),), bytes([8, 0]), 17, (1000, 443)),
        ((), b"", 1, (1000, 443)),  # ports that no ICMP has: as they are
    ],
)
def test_ports_of_icmp_are_type_and_code(
    version: int, told: tuple[tuple[int, int], ...], body: bytes, protocol: int, expected: tuple[int, int]
) -> None:
    row = one(version, (*FLOW, *told), flow(protocol=protocol) + body)
    assert (row["src_port"], row["dst_port"]) == expected


@BOTH
def test_icmp_without_an_element_of_its_own_has_type_and_code_in_the_receivers_port(version: int) -> None:
    row = one(version, FLOW, flow(protocol=1, ports=(0, 11 * 256)))
    assert (row["src_port"], row["dst_port"]) == (11, 0)


@BOTH
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (((8, 4), (1, 4)), "record without addresses"),
        (((8, 4), (28, 16), (1, 4)), "record without addresses"),
        (((8, 3), (12, 3), (1, 4)), "record without addresses"),
        (((27, 8), (28, 8), (1, 4)), "record without addresses"),
        (((8, 4), (12, 4), (2, 4)), "record without a volume"),
        (((61, 1), (5, 4)), "record without addresses"),
    ],
)
def test_records_that_can_be_no_flow_are_counted(
    version: int, told: tuple[tuple[int, int], ...], reason: str
) -> None:
    record = bytes(sum(length for _, length in told))
    decoded = decode(message(version, template(version, 256, *told), data(256, record, record)))
    assert (decoded.table.num_rows, dropped(decoded)) == (0, {reason: 2})


# Fields of variable length


def test_fields_of_variable_length_are_passed_by_their_length() -> None:
    told = ((8, 4), (82, 65_535), (12, 4), (1, 4), (83, 65_535))
    ends = ip("10.0.0.1"), ip("10.0.0.2") + bytes([0, 0, 1, 0])
    records = [
        ends[0] + b"\x03abc" + ends[1] + b"\x00",
        ends[0] + b"\xff" + struct.pack(">H", 300) + b"x" * 300 + ends[1] + b"\x02yz",
        ends[0] + b"\x00" + ends[1] + b"\xff\x00\x01w",
    ]
    found = decode(ipfix(template(10, 256, *told), data(256, *records, padding=3)))
    assert found.dropped == []
    assert found.table["src_to_dst_bytes"].to_pylist() == [256.0] * 3
    assert set(found.table["dst_address"].to_pylist()) == {SECOND}


@pytest.mark.parametrize("end", [b"\x05abcd", b"\xff\x00", b"\xff\xff\xff" + bytes(8)])
def test_a_record_whose_length_is_past_its_set_is_dropped(end: bytes) -> None:
    told = ((8, 4), (12, 4), (1, 4), (82, 65_535))
    whole = ip("10.0.0.1") + ip("10.0.0.2") + bytes([0, 0, 1, 0])
    decoded = decode(ipfix(template(10, 256, *told), data(256, whole + b"\0", whole + end)))
    assert (decoded.table.num_rows, dropped(decoded)) == (1, {"record longer than its set": 1})


# Sampling and applications


@BOTH
@pytest.mark.parametrize(
    ("told", "body", "rate"),
    [
        (((48, 1), (34, 4)), struct.pack(">BI", 3, 100), 100),
        (((48, 1), (49, 1), (50, 4)), struct.pack(">BBI", 3, 2, 512), 512),
        (((48, 1), (305, 4), (306, 4)), struct.pack(">BII", 3, 1, 999), 1000),
        (((48, 1), (305, 4), (306, 4)), struct.pack(">BII", 3, 10, 990), 100),
        (((48, 1), (305, 4)), struct.pack(">BI", 3, 64), 64),
        (((48, 1), (309, 4), (310, 4)), struct.pack(">BII", 3, 2, 400), 200),
        (((48, 1), (34, 4)), struct.pack(">BI", 3, 0), None),
        (((48, 1), (34, 4)), struct.pack(">BI", 4, 100), None),  # another sampler's
    ],
)
def test_options_tell_the_rate_of_a_sampler(
    version: int, told: tuple[tuple[int, int], ...], body: bytes, rate: int | None
) -> None:
    payload = message(
        version,
        options_template(version, 257, ((1, 4),) if version == 9 else ((149, 4),), told),
        data(257, bytes(4) + body),
        template(version, 256, *FLOW, (48, 1)),
        data(256, flow() + b"\x03"),
    )
    decoded = decode(payload)
    assert decoded.table["sampling_rate"].to_pylist() == [rate]
    assert decoded.noted["options record"] == 1


@BOTH
def test_a_record_that_names_no_sampler_is_of_the_one_of_all_or_the_only_one(version: int) -> None:
    def rate(*samplers: tuple[int, int]) -> int | None:
        options = [
            data(257, struct.pack(">IBI", 0, sampler, value)) for sampler, value in samplers
        ]  # fmt: skip
        scope = ((1, 4),) if version == 9 else ((149, 4),)
        payload = message(
            version, options_template(version, 257, scope, ((48, 1), (34, 4))), *options,
            template(version, 256, *FLOW), data(256, flow()),
        )  # fmt: skip
        found: list[int | None] = decode(payload).table["sampling_rate"].to_pylist()
        return found[0]

    assert [rate((1, 10)), rate((1, 10), (2, 20)), rate()] == [10, None, None]


@BOTH
def test_the_rate_in_a_record_comes_before_that_of_options_and_zero_tells_none(version: int) -> None:
    payload = message(
        version,
        options_template(version, 257, ((1, 4),) if version == 9 else ((149, 4),), ((34, 4),)),
        data(257, struct.pack(">II", 0, 1000)),
        template(version, 256, *FLOW, (34, 4)),
        data(256, flow() + struct.pack(">I", 50), flow() + struct.pack(">I", 0)),
    )
    assert decode(payload).table["sampling_rate"].to_pylist() == [50, 1000]


@BOTH
def test_options_hold_from_where_they_stand(version: int) -> None:
    def options(rate: int) -> bytes:
        return data(257, struct.pack(">II", 0, rate))

    payloads = [
        message(
            version,
            options_template(version, 257, ((1, 4),) if version == 9 else ((149, 4),), ((34, 4),)),
            template(version, 256, *FLOW),
        ),
        *(message(version, *sets) for sets in ([data(256, flow())], [options(10)], [data(256, flow())])),
        message(version, data(256, flow()), options(20), data(256, flow())),
    ]
    assert sorted(row["sampling_rate"] or 0 for row in rows(*payloads)) == [0, 10, 10, 20]


@BOTH
def test_options_name_the_applications_of_records(version: int) -> None:
    scope = ((1, 4),) if version == 9 else ((149, 4),)
    names = [(0x0D0001F5, b"netflix"), (0x03000050, b"http\0\0\0"), (0x0D000002, b"\xff\xfe name")]
    payload = message(
        version,
        options_template(version, 257, scope, ((95, 4), (96, 24))),
        data(257, *(bytes(4) + struct.pack(">I", number) + name.ljust(24, b"\0") for number, name in names)),
        template(version, 256, *FLOW, (95, 4)),
        data(
            256, *(flow() + struct.pack(">I", number) for number in (0x03000050, 0x0D0001F5, 1, 0x0D000002))
        ),
    )
    table = decode(payload).table
    assert table["application"].to_pylist() == ["http", "netflix", None, "\ufffd\ufffd name"]
    assert table["application_method"].to_pylist() == ["exporter", "exporter", None, "exporter"]


@BOTH
def test_application_ids_of_nine_bytes_are_known_by_their_enterprise_and_number(version: int) -> None:
    scope = ((1, 4),) if version == 9 else ((149, 4),)
    ids = [bytes([20, 0, 0, 0x30, 0x44, 0, 0, 1, number]) for number in (0, 1)]
    payload = message(
        version,
        options_template(version, 257, scope, ((95, 9), (96, 4))),
        data(257, bytes(4) + ids[0] + b"zero", bytes(4) + ids[1] + b"one "),
        template(version, 256, *FLOW, (95, 9)),
        data(256, flow() + ids[1], flow() + ids[0]),
    )
    assert decode(payload).table["application"].to_pylist() == ["one", "zero"]


def test_what_one_domain_says_holds_for_no_other_nor_for_another_exporter() -> None:
    told, names = template(10, 256, *FLOW), data(256, flow())
    decoder = Decoder()
    assert decode(ipfix(told, domain=1), decoder=decoder).table.num_rows == 0
    assert decode(ipfix(names, domain=1), decoder=decoder).table.num_rows == 1
    assert dropped(decode(ipfix(names, domain=2), decoder=decoder)) == {"data set without its template": 1}
    assert dropped(decode(nine(names, domain=1), decoder=decoder)) == {"data set without its template": 1}


def test_sets_that_are_reserved_or_do_not_fit_are_dropped_and_the_others_read() -> None:
    told, good = template(10, 256, *FLOW), data(256, flow())
    cut = struct.pack(">HH", 256, 4 + 21 + 5) + flow()
    for payload, count, reason in (
        (ipfix(told, a_set(5, b"abcd"), good), 1, {"set 5 is none that is known": 1}),
        (ipfix(told, good, cut), 2, {"set longer than its datagram": 1}),
        (ipfix(told, good, struct.pack(">HH", 256, 3)), 1, {"set of an impossible length": 1}),
        (ipfix(told, good, bytes(8)), 1, {}),
        (ipfix(told, good)[:-1], 0, {"message longer than its datagram": 1,
                                     "set longer than its datagram": 1, "set shorter than one record": 1}),
        (ipfix(told, good) + b"xy", 1, {"bytes after the message": 1}),
        (ipfix(told, good, length=8), 0, {"bytes after the message": 1}),
        (ipfix(told, data(256, b"abc")), 0, {"set shorter than one record": 1}),
        (ipfix(told, data(256)), 0, {}),
    ):  # fmt: skip
        decoded = decode(payload)
        assert (decoded.table.num_rows, dropped(decoded)) == (count, reason)


@BOTH
@pytest.mark.parametrize("padding", [0, 1, 3, 20])
def test_padding_shorter_than_a_record_is_none(version: int, padding: int) -> None:
    found = rows(message(version, template(version, 256, *FLOW), data(256, flow(), padding=padding)))
    assert len(found) == 1


def test_what_begins_as_an_export_is_known() -> None:
    assert looks_like_export(five(record_five()))
    assert not looks_like_export(five(record_five()) + b"x")
    assert not looks_like_export(five(record_five(), count=0))
    assert looks_like_export(nine(template(9, 256, *FLOW)))
    assert looks_like_export(ipfix(template(10, 256, *FLOW)))
    assert not looks_like_export(ipfix(template(10, 256, *FLOW)) + b"x")
