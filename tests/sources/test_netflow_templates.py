"""Templates that come late, change, are withdrawn or damaged, and what a decoder remembers of them."""

from __future__ import annotations

import json
import struct

import pytest
from export_made import (
    EXPORTER,
    FLOW,
    a_set,
    data,
    decode,
    dropped,
    fields,
    five,
    flow,
    ip,
    ipfix,
    message,
    nine,
    options_template,
    record_five,
    template,
)  # fmt: skip

from subsight.sources import netflow
from subsight.sources.netflow import Datagram, Decoder, decoder
from subsight.sources.netflow.templates import Malformed, parse

BOTH = pytest.mark.parametrize("version", [9, 10])
SHORT = ((8, 4), (12, 4), (1, 2))
LATE = {"data set without its template": 1}


def short(octets: int) -> bytes:
    return ip("10.0.0.1") + ip("10.0.0.2") + octets.to_bytes(2)


@BOTH
def test_data_wait_for_their_template_in_the_same_call(version: int) -> None:
    decoded = decode(
        message(version, data(256, flow(), flow())),
        message(version, data(257, short(9))),
        message(version, template(version, 256, *FLOW)),
    )
    assert decoded.table["datagram"].to_pylist() == [0, 0]
    assert dropped(decoded) == LATE  # of 257, which never came


@BOTH
def test_data_wait_for_their_template_from_call_to_call(version: int) -> None:
    made = Decoder()
    first = decode(message(version, data(256, flow())), decoder=made, is_last=False)
    assert (first.table.num_rows, first.dropped) == (0, [])
    made = Decoder(json.loads(json.dumps(made.state())))
    second = decode(message(version, template(version, 256, *FLOW), data(256, flow(octets=7))), decoder=made)
    assert second.dropped == []
    found = {row["src_to_dst_bytes"]: row["datagram"] for row in second.table.to_pylist()}
    assert found == {1500: None, 7: 0}  # that of before is of none of these datagrams


@BOTH
def test_data_keep_the_times_and_the_exporter_of_their_own_header(version: int) -> None:
    late = message(version, data(256, flow()))
    place = 8 if version == 9 else 4
    early = late[:place] + struct.pack(">I", 1_600_000_000) + late[place + 4 :]
    (row,) = decode(early, message(version, template(version, 256, *FLOW))).table.to_pylist()
    assert row["first_seen_at"].timestamp() == 1_600_000_000


@BOTH
def test_what_is_held_is_bounded_in_sets_and_the_longest_missing_is_given_up(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "_MOST_HELD_SETS", 3)
    payloads = [message(version, data(256 + at, flow(octets=at))) for at in range(5)]
    made = Decoder()
    assert dropped(decode(*payloads, decoder=made, is_last=False)) == {"data set without its template": 2}
    found = decode(*(message(version, template(version, 256 + at, *FLOW)) for at in range(5)), decoder=made)
    assert sorted(found.table["src_to_dst_bytes"].to_pylist()) == [2, 3, 4]
    assert found.dropped == []


@BOTH
def test_what_is_held_is_bounded_in_bytes(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_MOST_HELD_BYTES", 2 * len(flow()))
    made = Decoder()
    decoded = decode(*[message(version, data(256, flow()))] * 5, decoder=made, is_last=False)
    assert dropped(decoded) == {"data set without its template": 3}
    assert decode(message(version, template(version, 256, *FLOW)), decoder=made).table.num_rows == 2


@BOTH
def test_a_template_holds_until_it_is_told_anew(version: int) -> None:
    decoded = decode(
        message(version, template(version, 256, *FLOW), data(256, flow(octets=1))),
        message(version, template(version, 256, *SHORT), data(256, short(2))),
        message(version, data(256, short(3)), template(version, 256, *FLOW), data(256, flow(octets=4))),
        message(version, template(version, 256, *FLOW), data(256, flow(octets=5))),
    )
    assert decoded.dropped == []
    assert sorted(decoded.table["src_to_dst_bytes"].to_pylist()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("number", "kept"), [(256, [257]), (2, [])])
def test_withdrawn_templates_are_forgotten(number: int, kept: list[int]) -> None:
    decoded = decode(
        ipfix(template(10, 256, *FLOW), template(10, 257, *FLOW)),
        ipfix(a_set(2, struct.pack(">HH", number, 0))),
        ipfix(data(256, flow(octets=256)), data(257, flow(octets=257))),
    )
    assert decoded.table["src_to_dst_bytes"].to_pylist() == kept
    assert dropped(decoded) == {"data set without its template": 2 - len(kept)}


def test_all_templates_are_withdrawn_without_those_of_options() -> None:
    options = options_template(10, 300, ((149, 4),), ((34, 4),))
    sets = data(300, struct.pack(">II", 0, 5)), data(256, flow())
    for number, is_held in ((2, False), (3, True)):
        withdrawal = a_set(number, struct.pack(">HH", number, 0))
        decoded = decode(ipfix(template(10, 256, *FLOW), options), ipfix(withdrawal, *sets))
        assert decoded.table["sampling_rate"].to_pylist() == ([None] if is_held else [])
        assert ("options record" in decoded.noted) is not is_held


def test_a_withdrawal_in_version_9_is_a_damaged_template() -> None:
    decoded = decode(nine(template(9, 256, *FLOW), a_set(0, struct.pack(">HH", 256, 0)), data(256, flow())))
    assert decoded.table.num_rows == 1
    assert dropped(decoded) == {"template with an impossible number of fields": 1}


@BOTH
def test_fields_of_no_length_tell_nothing_and_the_others_are_read(version: int) -> None:
    told = ((8, 4), (7, 0), (12, 4), (95, 0), (1, 4), (34, 0))
    payload = message(
        version,
        template(version, 256, *told),
        data(256, ip("10.0.0.1") + ip("10.0.0.2") + bytes([0, 0, 1, 0])),
    )
    (row,) = decode(payload).table.to_pylist()
    assert [row["src_to_dst_bytes"], row["src_port"], row["application"]] == [256, None, None]


@BOTH
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (struct.pack(">HH", 300, 2) + fields((8, 0), (12, 0)), "template of no length"),
        (struct.pack(">HH", 300, 2) + fields((8, 4)), "template cut short"),
        (struct.pack(">HH", 300, 1) + b"\0\x08", "template cut short"),
        (struct.pack(">HH", 300, 513) + fields((8, 4)) * 513, "template with an impossible number of fields"),
        (struct.pack(">HH", 255, 1) + fields((8, 4)), "template below 256"),
        (struct.pack(">HH", 0, 1) + fields((8, 4)), "template below 256"),
        (struct.pack(">HH", 300, 2) + fields((8, 60_000), (12, 60_000)), "template longer than a datagram"),
    ],
)
def test_damaged_templates_are_dropped_and_those_before_them_count(
    version: int, told: bytes, reason: str
) -> None:
    before = struct.pack(">HH", 256, len(FLOW)) + fields(*FLOW)
    sets = a_set(0 if version == 9 else 2, before + told), data(256, flow())
    decoded = decode(message(version, *sets))
    assert (decoded.table.num_rows, dropped(decoded)) == (1, {reason: 1})


@BOTH
def test_damaged_templates_of_options_are_dropped(version: int) -> None:
    for body in (struct.pack(">H", 300), struct.pack(">HHH", 300, 1, 0), struct.pack(">HHH", 300, 40, 8)):
        number = 1 if version == 9 else 3
        if len(body) < 4:
            assert list(parse(body, version, is_options=True)) == []
        else:
            with pytest.raises(Malformed):
                list(parse(body, version, is_options=True))
            assert decode(message(version, a_set(number, body))).dropped != []


def test_templates_may_be_padded() -> None:
    told = struct.pack(">HH", 256, len(FLOW)) + fields(*FLOW)
    for padding in (1, 2, 3, 4, 8):
        decoded = decode(ipfix(a_set(2, told + bytes(padding)), data(256, flow())))
        assert (decoded.table.num_rows, decoded.dropped) == (1, [])


def test_templates_are_bounded_for_each_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_MOST_TEMPLATES", 2)
    told = [template(10, number, *FLOW) for number in (256, 257, 258)]
    anew = template(10, 256, *SHORT)
    decoded = decode(ipfix(*told, anew, data(256, short(2)), data(257, flow(octets=1))))
    assert sorted(decoded.table["src_to_dst_bytes"].to_pylist()) == [1, 2]
    assert dropped(decoded) == {"more templates than are kept": 1}


@pytest.mark.parametrize("bound", ["_MOST_SOURCES", "_MOST_WEIGHT"])
def test_of_too_many_sources_the_one_silent_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(decoder, bound, 2 if bound == "_MOST_SOURCES" else 2 * len(FLOW))
    made, told = Decoder(), template(10, 256, *FLOW)
    decode(ipfix(told, domain=1), ipfix(told, domain=2), ipfix(domain=1), decoder=made)
    made = Decoder(json.loads(json.dumps(made.state())))
    third = decode(ipfix(told, domain=3), decoder=made)
    assert third.noted == {"source of which templates and options were forgotten": 1}
    found = decode(*(ipfix(data(256, flow(octets=at)), domain=at) for at in (1, 3, 2)), decoder=made)
    assert sorted(found.table["src_to_dst_bytes"].to_pylist()) == [1, 3]


def test_memory_between_calls_is_json_and_all_that_matters() -> None:
    scope = ((1, 4),)
    learnt = nine(
        template(9, 256, *FLOW, (48, 1), (95, 4)),
        options_template(9, 257, scope, ((48, 1), (34, 4), (95, 4), (96, 8))),
        data(257, struct.pack(">IBII8s", 0, 3, 100, 77, b"netflix\0")),
        sequence=5,
    )
    later = nine(data(256, flow() + b"\x03" + (77).to_bytes(4)), sequence=8)
    made = Decoder()
    decode(learnt, decoder=made, is_last=False)
    again = Decoder(json.loads(json.dumps(made.state())))
    (row,) = decode(later, decoder=again).table.to_pylist()
    assert (row["sampling_rate"], row["application"]) == (100, "netflix")
    assert again.lost == {EXPORTER: {"datagrams": 2}}
    assert made.lost == {}


def test_an_empty_call_gives_an_empty_table() -> None:
    decoded = Decoder().decode([])
    assert decoded.table.schema == netflow.SCHEMA
    assert (decoded.table.num_rows, decoded.dropped, decoded.noted) == (0, [], {})


def test_more_records_than_become_columns_at_once_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_TOGETHER", 5)
    payloads = [ipfix(template(10, 256, *FLOW))]
    payloads += [ipfix(data(256, flow(octets=2 * at), flow(octets=2 * at + 1))) for at in range(20)]
    table = Decoder().decode([Datagram(EXPORTER, 0, payload) for payload in payloads]).table
    found = {row["src_to_dst_bytes"]: row["datagram"] for row in table.to_pylist()}
    assert found == {float(at): 1 + at // 2 for at in range(40)}


@BOTH
def test_exporters_that_tell_the_same_template_keep_their_names_rates_and_times(version: int) -> None:
    """Their records may become columns together; what one of them says is not of the others."""

    def sent(exporter: str, *sets: bytes, later_s: int = 0) -> Datagram:
        payload = message(version, *sets)
        place = 8 if version == 9 else 4
        at = int.from_bytes(payload[place : place + 4]) + later_s
        return Datagram(exporter, 0, payload[:place] + at.to_bytes(4) + payload[place + 4 :])

    same, other = template(version, 256, *FLOW), template(version, 256, *SHORT)
    scope = ((1, 4),) if version == 9 else ((149, 4),)
    rate = options_template(version, 257, scope, ((34, 4),)), data(257, struct.pack(">II", 0, 50))
    given = [sent("a", same), sent("b", same, *rate), sent("c", same), sent("d", other)]
    given += [sent(name, data(256, flow(octets=ord(name))), later_s=ord(name)) for name in "abc"]
    given += [sent("d", data(256, short(7)))]
    made = Decoder()
    made.decode(given[:4])
    for one in (made, Decoder(json.loads(json.dumps(made.state())))):
        rows = one.decode(given[4:]).table.to_pylist()
        found = {
            row["exporter"]: (row["src_to_dst_bytes"], row["sampling_rate"], row["datagram"]) for row in rows
        }
        assert found == {"a": (97, None, 0), "b": (98, 50, 1), "c": (99, None, 2), "d": (7, None, 3)}
        begun = {row["exporter"]: row["first_seen_at"].timestamp() for row in rows}
        assert [begun[name] - begun["a"] for name in "bc"] == [1, 2]


def test_version_5_has_the_rate_of_its_own_header_whoever_else_sends() -> None:
    rates = {"a": 100, "b": 1, "c": 100, "d": 0}
    given = [Datagram(name, 0, five(record_five(), sampling=rate)) for name, rate in rates.items()]
    found = Decoder().decode(given * 2).table.to_pylist()
    told = sorted((row["exporter"], row["sampling_rate"]) for row in found if row["sampling_rate"])
    assert told == [("a", 100), ("a", 100), ("c", 100), ("c", 100)]
    assert len(found) == 8
