"""Nothing that arrives raises or is lost without a reason, and stopping between datagrams changes nothing."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

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
    ipfix,
    message,
    options_template,
    record_five,
    template,
)  # fmt: skip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subsight.sources.netflow import Datagram, Decoded, Decoder, payloads

SHARED = Path(os.environ.get("SUBSIGHT_SHARED", Path(__file__).parents[3] / "shared"))
CHECKED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
CAPTURES = (
    "100-IPFIXv10-CISCO",
    "102-NFv9-CISCO-f2rd-pretag-sampling-reload",
    "104-IPFIXv10-IPv6-CISCO-sampling_option",
    "110-IPFIXv10-NFv9-multiple-sources",
    "500-IPFIXv10-BGP-CISCO-SRv6",
)


@cache
def of_capture(name: str) -> list[Datagram]:
    folder = SHARED / "data" / "flows" / "netflow" / "pmacct" / name
    return [
        Datagram(p.src_address, p.at_us, p.data)
        for path in sorted(folder.glob("*.pcap"))
        for p in payloads(path)
    ]


@cache
def seeds() -> list[bytes]:
    """Datagrams to damage: made by hand, and one of each real file where the data are."""
    told, options = (*FLOW, (82, 65_535)), ((48, 1), (34, 4), (95, 4), (96, 8))
    made = [five(record_five(), record_five(), sampling=10)]
    for version in (9, 10):
        scope = ((1, 4),) if version == 9 else ((149, 4),)
        made.append(
            message(
                version, template(version, 256, *FLOW), data(256, flow(), flow(), padding=2),
                options_template(version, 257, scope, options), data(257, bytes(21)),
            )
        )  # fmt: skip
    made.append(ipfix(template(10, 258, *told), data(258, flow() + b"\x03abc", flow() + b"\0")))
    folder = SHARED / "data" / "flows" / "netflow" / "logstash"
    return made + [path.read_bytes() for path in sorted(folder.glob("*.dat"))]


def counts(decoded: Decoded) -> Counter[Any]:
    """What came of datagrams, without where in the input it was."""
    rows = Counter(tuple(row[n] for n in row if n != "datagram") for row in decoded.table.to_pylist())
    return (
        rows
        + Counter({("dropped", d.exporter, d.reason): d.count for d in decoded.dropped})
        + Counter({("noted", reason): count for reason, count in decoded.noted.items()})
    )


# Nothing raises


def survives(*damaged: bytes) -> None:
    """Damaged datagrams, then a sound one: no more records than bytes, and the sound one is read."""
    made = Decoder()
    decoded = decode(*damaged, decoder=made, is_last=False)
    assert decoded.table.num_rows <= sum(map(len, damaged))
    again = Decoder(json.loads(json.dumps(made.state())))
    sound = ipfix(template(10, 256, *FLOW), data(256, flow(octets=77)), domain=0xFFFF_0001)
    assert 77 in decode(sound, decoder=again).table["src_to_dst_bytes"].to_pylist()


@CHECKED
@given(st.lists(st.binary(max_size=300), max_size=4))
def test_any_bytes_are_survived(given: list[bytes]) -> None:
    survives(*given, *(head + body for head in (b"\0\5", b"\0\x09", b"\0\x0a") for body in given))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(0, 6))):
        if content:
            at = draw(st.integers(0, len(content) - 1))
            content[at] = draw(st.sampled_from([0, 1, 2, 4, 0x7F, 0x80, 0xFE, 0xFF]))
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))) :]
    if draw(st.booleans()) and content:
        at = draw(st.integers(0, len(content)))
        content[at:at] = draw(st.binary(max_size=20))
    return bytes(content)


@CHECKED
@given(st.lists(damaged(), min_size=1, max_size=6))
def test_damaged_datagrams_are_survived(given: list[bytes]) -> None:
    survives(*given)


FIELD = st.tuples(
    st.sampled_from([1, 2, 4, 7, 8, 11, 12, 21, 22, 27, 28, 32, 34, 48, 95, 96, 139, 150, 152, 153, 154, 158,
                     160, 161, 176, 231, 302, 305, 306, 309, 310, 323, 500]),
    st.sampled_from([0, 1, 2, 3, 4, 5, 8, 12, 16, 20, 65_535]),
)  # fmt: skip


@CHECKED
@given(
    st.sampled_from([9, 10]),
    st.lists(FIELD, min_size=1, max_size=12),
    st.lists(FIELD, min_size=1, max_size=6),
    st.binary(max_size=400),
    st.binary(max_size=100),
)
def test_any_template_and_any_data_are_survived(
    version: int, told: list[tuple[int, int]], options: list[tuple[int, int]], body: bytes, said: bytes
) -> None:
    flows = template(version, 256, (8, 4), (12, 4), (1, 4), *told)
    survives(
        message(version, options_template(version, 300, tuple(options[:1]), tuple(options[1:]))),
        message(version, a_set(300, said)),
        message(version, flows, template(version, 257, *told)),
        message(version, a_set(256, body), a_set(257, body)),
    )  # fmt: skip


# Nothing is lost without a reason


@CHECKED
@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 47))
def test_every_record_of_version_5_is_a_flow_or_counted_as_dropped(told: int, held: int, more: int) -> None:
    """`held` whole records, then some bytes, under a header that tells `told`."""
    decoded = decode(five(*[record_five()] * held, count=told) + bytes(more))
    missing = dropped(decoded).get("fewer records than the header says", 0)
    assert decoded.table.num_rows + missing == told
    has_more = dropped(decoded).get("bytes after the last record", 0)
    assert has_more == (1 if held > told or (held == told and more) else 0)


@CHECKED
@given(
    st.sampled_from([9, 10]),
    st.lists(st.tuples(st.sampled_from([256, 257, 258, 259]), st.integers(1, 5)), max_size=12),
    st.permutations([256, 257, 258, 300]),
)
def test_every_record_of_a_set_is_a_flow_an_option_or_counted_as_dropped(
    version: int, sets: list[tuple[int, int]], order: list[int]
) -> None:
    """256 are flows, 257 lack a volume, 258 lack addresses, 300 are options, 259 have no template at all."""
    told = {256: FLOW, 257: ((8, 4), (12, 4)), 258: ((1, 8),)}
    sizes = {256: 21, 257: 8, 258: 8, 259: 8}
    options = options_template(version, 300, ((1, 4),), ((34, 4),))
    given = [message(version, data(number, *[bytes(sizes[number])] * count)) for number, count in sets]
    given += [message(version, data(300, bytes(8), bytes(8)))]
    given += [
        message(version, options if number == 300 else template(version, number, *told[number]))
        for number in order
    ]  # fmt: skip
    decoded = decode(*given)
    expected = {number: sum(count for n, count in sets if n == number) for number in sizes}
    assert decoded.table.num_rows == expected[256]
    assert decoded.noted["options record"] == 2
    reasons = {
        "record without a volume": expected[257],
        "record without addresses": expected[258],
        "data set without its template": sum(n == 259 for n, _ in sets),
    }
    assert dropped(decoded) == {reason: count for reason, count in reasons.items() if count}


# Stopping changes nothing


def in_parts(given: list[Datagram], ends: list[int]) -> tuple[Counter[Any], dict[str, Any]]:
    """What comes of datagrams of which each part is decoded by what the part before remembered."""
    total: Counter[Any] = Counter()
    state: dict[str, Any] = {}
    edges = [0, *sorted(ends), len(given)]
    for begin, end in pairwise(edges):
        decoder = Decoder(json.loads(json.dumps(state)))
        total += counts(decoder.decode(given[begin:end], is_last=end == edges[-1] and begin == edges[-2]))
        state = decoder.state()
    return total, {**state, "lost": decoder.lost}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_captures_in_parts_are_captures_at_once(netflow_data: Path, drawn: st.DataObject) -> None:
    given = of_capture(drawn.draw(st.sampled_from(CAPTURES)))
    if drawn.draw(st.booleans()):  # templates after their data, so that sets are held between parts
        given = given[::-1]
    ends = drawn.draw(st.lists(st.integers(0, len(given)), max_size=5))
    assert in_parts(given, ends) == in_parts(given, [])


def test_some_sets_are_held_between_parts(netflow_data: Path) -> None:
    """That the property above is about something."""
    decoder = Decoder()
    decoder.decode(of_capture("100-IPFIXv10-CISCO")[::-1][:1])
    assert decoder.state()["held"]


@CHECKED
@given(st.lists(damaged(), min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_damaged_datagrams_in_parts_are_those_at_once(given: list[bytes], ends: list[int]) -> None:
    sent = [Datagram(EXPORTER, 0, payload) for payload in given]
    assert in_parts(sent, [min(end, len(sent)) for end in ends]) == in_parts(sent, [])


# Neither time nor memory without bound


def short_records(version: int) -> list[bytes]:
    told = ((8, 4), (12, 4), (1, 1))
    body = message(version, a_set(256, bytes(65_000)))
    return [message(version, template(version, 256, *told)), *[body] * 20]


def fields_without_length(version: int) -> list[bytes]:
    told = (*((8, 0),) * 500, (8, 4), (12, 4), (1, 1), (82, 65_535 if version == 10 else 1))
    body = message(version, a_set(256, bytes(65_000)))
    return [message(version, template(version, 256, *told)), *[body] * 5]


def applications(version: int) -> list[bytes]:
    said = [number.to_bytes(4) + b"%04d" % (number % 7) for number in range(8_000)]
    told = message(version, options_template(version, 300, ((1, 0),), ((95, 4), (96, 4))))
    return [told, *(message(version, data(300, *records)) for records in (said, said[::-1]))]


def templates_for_held_sets(version: int) -> list[bytes]:
    """Data held for thousands of templates, each of which comes again with another field."""
    held = message(version, *(data(256 + at, b"abcd") for at in range(4_000)))
    told = [
        b"".join((256 + at).to_bytes(2) + b"\0\1" + fields((element, 5)) for at in range(4_000))
        for element in (60, 61)
    ]
    return [held, *(message(version, a_set(0 if version == 9 else 2, body)) for body in told)]


def sources(version: int) -> list[bytes]:
    return [message(version, template(version, 256, *FLOW), domain=at, sequence=at) for at in range(20_000)]


BOMBS = [short_records, fields_without_length, applications, templates_for_held_sets, sources]


@pytest.mark.parametrize("version", [9, 10])
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_take_time_and_memory_in_proportion(bomb: Any, version: int) -> None:
    """Bounds with room for a slow machine: without them these take minutes, or gigabytes."""
    given = [Datagram(EXPORTER, 0, payload) for payload in bomb(version)]
    size = sum(len(one.payload) for one in given)
    begun = time.process_time()
    decoder = Decoder()
    decoder.decode(given)
    assert time.process_time() - begun < 10
    tracemalloc.start()
    Decoder().decode(given[:12])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * size + 100_000_000
    assert len(decoder.state()["sources"]) <= 16_384
