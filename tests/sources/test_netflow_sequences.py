"""What gaps of sequence numbers tell was lost: of v5 and IPFIX flows, of v9 datagrams."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from export_made import EXPORTER, FLOW, data, decode, five, flow, ipfix, nine, record_five, template

from subsight.sources.netflow import Decoder
from subsight.sources.netflow.sequences import Sequences


def of_five(sequence: int, uptime: int = 100_000) -> bytes:
    return five(record_five(), record_five(), sequence=sequence, uptime=uptime)


def of_nine(sequence: int, uptime: int = 100_000) -> bytes:
    return nine(template(9, 256, *FLOW), data(256, flow(), flow()), sequence=sequence, uptime=uptime)


def of_ipfix(sequence: int) -> bytes:
    return ipfix(template(10, 256, *FLOW), data(256, flow(), flow()), sequence=sequence)


def lost(*payloads: bytes) -> int:
    """How much was lost of the exporter, whatever is counted."""
    decoder = Decoder()
    decode(*payloads, decoder=decoder)
    return sum(decoder.lost.get(EXPORTER, {}).values())


KINDS = pytest.mark.parametrize(("made", "step"), [(of_five, 2), (of_nine, 1), (of_ipfix, 2)])
Made = Callable[[int], bytes]


@KINDS
def test_what_follows_on_has_lost_nothing(made: Made, step: int) -> None:
    assert lost(*(made(1_000 + step * at) for at in range(10))) == 0


@KINDS
def test_a_gap_is_what_was_lost(made: Made, step: int) -> None:
    assert lost(*(made(1_000 + step * at) for at in (0, 1, 4, 5, 9))) == step * 5


@KINDS
def test_datagrams_that_overtook_each_other_are_not_lost(made: Made, step: int) -> None:
    assert lost(*(made(1_000 + step * at) for at in (0, 1, 3, 2, 4, 7, 6, 5, 8))) == 0


@KINDS
def test_the_numbers_wrap(made: Made, step: int) -> None:
    assert lost(*(made((2**32 - 2 * step + step * at) % 2**32) for at in (0, 1, 2, 3, 6))) == step * 2


@KINDS
def test_a_jump_too_far_is_a_new_beginning(made: Made, step: int) -> None:
    assert lost(made(1_000), made(50_000_000), made(50_000_000 + step)) == 0
    assert lost(made(50_000_000), made(3), made(3 + step), made(3 + 3 * step)) == step


@pytest.mark.parametrize(("made", "step"), [(of_five, 2), (of_nine, 1)])
def test_an_uptime_that_went_back_is_a_new_beginning(made: Callable[..., bytes], step: int) -> None:
    before = made(1_000, uptime=9_000_000)
    after = [made(1_500 + step * at, uptime=5_000 + at) for at in (0, 1, 3)]
    assert lost(before, *after) == step


def test_units_are_told() -> None:
    for made, unit in ((of_five, "flows"), (of_nine, "datagrams"), (of_ipfix, "flows")):
        decoder = Decoder()
        decode(made(0), made(10), decoder=decoder)
        assert list(decoder.lost[EXPORTER]) == [unit]


def test_engines_and_domains_have_numbers_of_their_own() -> None:
    payloads = [five(record_five(), sequence=at, engine=at) for at in (0, 90)]
    payloads += [nine(sequence=at, domain=at) for at in (0, 900)] + [ipfix(sequence=9, domain=9)]
    assert lost(*payloads) == 0


def test_after_data_whose_template_is_unknown_numbers_begin_anew() -> None:
    unknown = ipfix(data(999, flow()), sequence=102)
    assert lost(of_ipfix(100), unknown, of_ipfix(400), of_ipfix(402), of_ipfix(405)) == 1


def test_options_records_count_in_ipfix_and_truncated_ones_are_lost() -> None:
    assert lost(ipfix(sequence=7), ipfix(sequence=7), of_ipfix(7), ipfix(sequence=9)) == 0
    assert lost(five(record_five(), count=5, sequence=0), of_five(5)) == 0


def test_what_is_remembered_is_bounded_and_survives_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subsight.sources.netflow.sequences._MOST", 2)
    made = Sequences()
    for exporter in "abc":
        for sequence in (1, 5):
            made.arrived((exporter, 9, 0), sequence, 1, "datagrams", 0)
    assert made.lost == {"b": {"datagrams": 3}, "c": {"datagrams": 3}}
    again = Sequences.from_json(made.to_json())
    again.arrived(("c", 9, 0), 7, 1, "datagrams", 0)
    assert again.lost["c"] == {"datagrams": 4}
    assert made.lost["c"] == {"datagrams": 3}
