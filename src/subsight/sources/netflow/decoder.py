"""The decoder: datagrams of many exporters, templates that come late, and what is lost or cannot be read."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa

from subsight.sources.netflow import columns
from subsight.sources.netflow.columns import SCHEMA, Context, Headers
from subsight.sources.netflow.options import learn
from subsight.sources.netflow.sequences import Sequences
from subsight.sources.netflow.templates import Field, Malformed, Template, parse

__all__ = ["Datagram", "Decoded", "Decoder", "Drop"]

_V5: Final = Template(5, (
    Field(8, 4), Field(12, 4), Field(0, 8), Field(2, 4), Field(1, 4), Field(22, 4), Field(21, 4),
    Field(7, 2), Field(11, 2), Field(0, 2), Field(4, 1), Field(0, 9),
))  # fmt: skip
"""A record of version 5 as if a template told it."""

_NOTHING: Final[Mapping[Any, Any]] = {}
"""The table of all sources whose options tell nothing: what is one and the same is known by its identity."""
_MOST_RECORDS_FIVE: Final = 30
_MOST_TEMPLATES: Final = 4_096
_MOST_SOURCES: Final = 16_384
_MOST_WEIGHT: Final = 1_000_000
"""Fields of templates and entries of options, of all sources; of more the longest silent is forgotten."""
_TOGETHER: Final = 65_536
"""Records that become columns at once: as many as the caches of a processor hold well."""
_MOST_HELD_SETS: Final = 4_096
_MOST_HELD_BYTES: Final = 16_000_000


@dataclass(frozen=True)
class Datagram:
    """A UDP payload: who sent it, and when it arrived in microseconds since 1970."""

    exporter: str
    arrived_us: int
    payload: bytes


@dataclass
class Drop:
    """What was not decoded: how many datagrams, sets or records of an exporter, why, and how one begins."""

    exporter: str
    reason: str
    count: int
    example: str


@dataclass(frozen=True)
class Decoded:
    """Flows as rows of `SCHEMA`, and what was dropped.

    `noted` counts records that were decoded, and what of them is not as told: by reason.
    """

    table: pa.Table
    dropped: list[Drop]
    noted: dict[str, int]


@dataclass
class _Source:
    """What one observation domain said; replaced as a whole, so that earlier records keep theirs."""

    templates: dict[int, Template] = field(default_factory=dict)
    samplers: Mapping[int | None, int] = field(default_factory=lambda: _NOTHING)
    applications: Mapping[int, str] = field(default_factory=lambda: _NOTHING)
    system_init_ms: int | None = None
    weight: int = 0

    def weigh(self) -> int:
        """How much more is remembered than when it was weighed last."""
        before = self.weight
        fields = sum(len(template.fields) for template in self.templates.values())
        self.weight = fields + len(self.samplers) + len(self.applications)
        return self.weight - before


@dataclass(slots=True)
class _Header:
    """What stands before the sets: times in milliseconds since 1970, uptime, domain."""

    exporter: str
    version: int
    domain: int
    exported_ms: int
    uptime_ms: int
    place: int

    @property
    def key(self) -> tuple[str, int, int]:
        return self.exporter, self.version, self.domain


@dataclass(frozen=True)
class _Held:
    """A data set that waits for its template."""

    header: _Header
    number: int
    data: bytes


@dataclass
class _Chunks:
    """Records of one template and context; of each header how many it covers, and what it says of them."""

    template: Template
    context: Context
    data: list[bytes] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    exporters: list[str] = field(default_factory=list)
    exported_ms: list[int] = field(default_factory=list)
    uptimes_ms: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    records: int = 0


@cache
def _of_all(rate: int) -> Mapping[int | None, int]:
    """The samplers of a header of version 5: of each rate, of which there are 16,384, one table for all."""
    return {None: rate} if rate > 1 else _NOTHING


class Decoder:
    """Decodes datagrams in the order of their arrival, and remembers what exporters said.

    Args:
        state: what another decoder's `state` told, to go on where it stopped.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._sources: dict[tuple[str, int, int], _Source] = {}
        self._weight = 0
        self._templates_in_use: WeakValueDictionary[tuple[Any, ...], Template] = WeakValueDictionary()
        self._held: dict[tuple[str, int, int, int], deque[_Held]] = {}
        self._held_sets = self._held_bytes = 0
        self._sequences = Sequences()
        self._chunks: dict[tuple[int | None, ...], _Chunks] = {}
        self._tables: list[pa.Table] = []
        self._drops: dict[tuple[str, str], Drop] = {}
        self._noted: dict[str, int] = {}
        if state:
            self._restore(state)

    @property
    def lost(self) -> dict[str, dict[str, int]]:
        """By exporter, how many `datagrams` or `flows` gaps of sequence numbers tell were lost."""
        return self._sequences.lost

    def decode(self, datagrams: Iterable[Datagram], *, is_last: bool = False) -> Decoded:
        """The flows of datagrams, in no certain order; nothing that they hold raises.

        Data sets whose template is not known yet are held, within a bound, for the next call, but of the
        last one dropped.
        """
        self._drops, self._noted, self._chunks, self._tables = {}, {}, {}, []
        for waiting in self._held.values():
            for held in waiting:
                held.header.place = -1  # its datagram is not among these
        for place, datagram in enumerate(datagrams):
            self._datagram(datagram, place)
        if is_last:
            while self._held:
                self._give_up()
        for chunks in self._chunks.values():
            self._finish(chunks)
        table = pa.concat_tables(self._tables) if self._tables else SCHEMA.empty_table()
        self._chunks, self._tables = {}, []
        return Decoded(table, list(self._drops.values()), self._noted)

    def _drop(self, exporter: str, reason: str, data: bytes, count: int = 1) -> None:
        key = exporter, reason
        if key in self._drops:
            self._drops[key].count += count
        elif count:
            self._drops[key] = Drop(exporter, reason, count, data[:40].hex())

    # Datagrams

    def _datagram(self, datagram: Datagram, place: int) -> None:
        payload, exporter = datagram.payload, datagram.exporter
        version = int.from_bytes(payload[:2]) if len(payload) >= 2 else None
        if version == 5:
            self._five(exporter, payload, place)
        elif version in (9, 10):
            self._sets(exporter, version, payload, place)
        elif version is None:
            self._drop(exporter, "datagram of less than two bytes", payload)
        else:
            self._drop(exporter, f"version {version} is none that is known", payload)

    def _five(self, exporter: str, payload: bytes, place: int) -> None:
        if len(payload) < 24:
            self._drop(exporter, "header cut short", payload)
            return
        _, count, uptime, seconds, nanoseconds, sequence, kind, engine, sampling = struct.unpack_from(
            ">HHIIIIBBH", payload
        )
        if count > _MOST_RECORDS_FIVE:  # then the rest of it is not to be believed either
            self._drop(exporter, "header that counts an impossible number of records", payload)
            return
        header = _Header(
            exporter, 5, kind << 8 | engine, seconds * 1000 + nanoseconds // 1_000_000, uptime, place
        )
        whole = min(count, (len(payload) - 24) // 48)
        if whole < count:
            self._drop(exporter, "fewer records than the header says", payload, count - whole)
        elif len(payload) > 24 + 48 * count:
            self._drop(exporter, "bytes after the last record", payload)
        key = header.key
        self._sequences.arrived(key, sequence, count, "flows", uptime)
        source = self._source(key)
        source.samplers = _of_all(sampling & 0x3FFF)
        self._records(header, source, _V5, payload[24 : 24 + 48 * whole])

    def _sets(self, exporter: str, version: int, payload: bytes, place: int) -> None:
        size = 20 if version == 9 else 16
        if len(payload) < size:
            self._drop(exporter, "header cut short", payload)
            return
        if version == 9:
            _, _, uptime, seconds, sequence, domain = struct.unpack_from(">HHIIII", payload)
            end = len(payload)
        else:
            _, length, seconds, sequence, domain = struct.unpack_from(">HHIII", payload)
            uptime, end = 0, min(length, len(payload))
            if length > len(payload):
                self._drop(exporter, "message longer than its datagram", payload)
            elif length < len(payload):
                self._drop(exporter, "bytes after the message", payload)
        header = _Header(exporter, version, domain, seconds * 1000, uptime, place)
        key = header.key
        source = self._source(key)
        records: int | None = 0
        at = size
        while end - at >= 4:
            number, length = struct.unpack_from(">HH", payload, at)
            if length < 4:
                if any(payload[at:end]):
                    self._drop(exporter, "set of an impossible length", payload[at:end])
                break
            if at + length > end:
                self._drop(exporter, "set longer than its datagram", payload[at:end])
            found = self._set(header, source, number, payload[at + 4 : min(at + length, end)])
            records = None if records is None or found is None else records + found
            at += length
        unit = "datagrams" if version == 9 else "flows"
        told = 1 if version == 9 else records
        self._sequences.arrived(key, sequence, told, unit, uptime)

    def _set(self, header: _Header, source: _Source, number: int, data: bytes) -> int | None:
        """Reads a set; how many data records it has, None where that cannot be known yet."""
        if number in ((0, 1) if header.version == 9 else (2, 3)):
            self._templates(header, source, data, is_options=number in (1, 3))
            return 0
        if number < 256:
            self._drop(header.exporter, f"set {number} is none that is known", data)
            return 0
        template = source.templates.get(number)
        if template is None:
            self._hold(_Held(header, number, data))
            return None
        return self._records(header, source, template, data)

    def _source(self, key: tuple[str, int, int]) -> _Source:
        """What is known of a source, from now on the one used last: the first is the one silent longest."""
        known = self._sources.pop(key, None)
        source = self._sources[key] = _Source() if known is None else known
        if known is None:
            self._forget()
        return source

    def _forget(self) -> None:
        """Forgets the sources silent longest, where there are too many; never the one used last."""
        while len(self._sources) > 1 and (len(self._sources) > _MOST_SOURCES or self._weight > _MOST_WEIGHT):
            self._weight -= self._sources.pop(next(iter(self._sources))).weight
            self._note("source of which templates and options were forgotten", 1)

    def _note(self, reason: str, count: int) -> None:
        self._noted[reason] = self._noted.get(reason, 0) + count

    # Templates

    def _templates(self, header: _Header, source: _Source, data: bytes, *, is_options: bool) -> None:
        try:
            for found in parse(data, header.version, is_options=is_options):
                if isinstance(found, int):
                    self._withdraw(source, found, is_options=is_options)
                elif source.templates.get(found.number) != found:
                    if len(source.templates) >= _MOST_TEMPLATES and found.number not in source.templates:
                        self._drop(header.exporter, "more templates than are kept", data)
                        break
                    source.templates[found.number] = shared = self._shared(found)
                    self._release(header, source, shared)
        except Malformed as reason:
            self._drop(header.exporter, str(reason), data)
        self._weight += source.weigh()
        self._forget()

    def _shared(self, template: Template) -> Template:
        """The template, or one that is equal and in use: many exporters of a kind tell the same."""
        return self._templates_in_use.setdefault(
            (template.number, template.fields, template.is_options), template
        )

    def _withdraw(self, source: _Source, number: int, *, is_options: bool) -> None:
        """Forgets a template, or all of a kind where the number is that of their sets."""
        kind = [one.number for one in source.templates.values() if one.is_options == is_options]
        for withdrawn in [number] if number >= 256 else kind:
            source.templates.pop(withdrawn, None)

    def _hold(self, held: _Held) -> None:
        self._held.setdefault((*held.header.key, held.number), deque()).append(held)
        self._held_sets += 1
        self._held_bytes += len(held.data)
        while self._held_sets > _MOST_HELD_SETS or self._held_bytes > _MOST_HELD_BYTES:
            self._give_up()

    def _give_up(self) -> None:
        """Drops a set of the template that is missing longest."""
        key, waiting = next(iter(self._held.items()))
        held = waiting.popleft()
        if not waiting:
            del self._held[key]
        self._held_sets -= 1
        self._held_bytes -= len(held.data)
        self._drop(held.header.exporter, "data set without its template", held.data)

    def _release(self, header: _Header, source: _Source, template: Template) -> None:
        """Reads the sets that waited for a template."""
        for held in self._held.pop((*header.key, template.number), ()):
            self._held_sets -= 1
            self._held_bytes -= len(held.data)
            self._records(held.header, source, template, held.data)

    # Records

    def _records(self, header: _Header, source: _Source, template: Template, data: bytes) -> int:
        whole, count, left = template.whole(data)
        if template.is_options:
            learn(source, template, data, count)
            self._weight += source.weigh()
            self._forget()
            if count:
                self._note("options record", count)
            return count
        # Padding is shorter than a record; of records of variable length, than what they are aligned to.
        if left > 3 and not template.is_fixed and any(data[len(data) - left :]):
            self._drop(header.exporter, "record longer than its set", data[len(data) - left :])
        if not count:
            if data and any(data):
                self._drop(header.exporter, "set shorter than one record", data)
            return 0
        told = source.samplers, source.applications, source.system_init_ms
        key = id(template), header.version, id(told[0]), id(told[1]), told[2]
        chunks = self._chunks.get(key)
        if chunks is None:
            lacking = columns.lacking(template.dtype)
            if lacking:
                self._drop(header.exporter, lacking, data, count)
                return count
            chunks = self._chunks[key] = _Chunks(template, Context(header.version, *told))
        chunks.data.append(whole)
        chunks.counts.append(count)
        chunks.exporters.append(header.exporter)
        chunks.exported_ms.append(header.exported_ms)
        chunks.uptimes_ms.append(header.uptime_ms)
        chunks.places.append(header.place)
        chunks.records += count
        if chunks.records >= _TOGETHER:
            self._finish(self._chunks.pop(key))
        return count

    def _finish(self, chunks: _Chunks) -> None:
        records = np.frombuffer(b"".join(chunks.data), dtype=chunks.template.dtype)
        of = np.repeat(np.arange(len(chunks.counts)), chunks.counts)  # which header is a record's
        headers = Headers(
            pa.array(chunks.exporters, pa.string()).take(pa.array(of)),
            np.array(chunks.exported_ms, np.float64)[of],
            np.array(chunks.uptimes_ms, np.float64)[of],
            np.array(chunks.places, np.int64)[of],
        )
        made, noted = columns.table(records, headers, chunks.context)
        for reason, count in noted.items():
            self._note(reason, count)
        self._tables.append(made)

    # State

    def state(self) -> dict[str, Any]:
        """All that is remembered, as JSON values: templates, options, held sets, sequences."""
        sources = [
            {
                "key": list(key),
                "templates": [template.to_json() for template in source.templates.values()],
                "samplers": [[sampler, rate] for sampler, rate in source.samplers.items()],
                "applications": [[number, name] for number, name in source.applications.items()],
                "system_init_ms": source.system_init_ms,
            }
            for key, source in self._sources.items()
        ]
        held = [
            {**asdict(one.header), "number": one.number, "data": one.data.hex()}
            for waiting in self._held.values()
            for one in waiting
        ]
        return {"sources": sources, "held": held, "sequences": self._sequences.to_json()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        for told in state["sources"]:
            exporter, version, domain = told["key"]
            templates = [self._shared(Template.from_json(value)) for value in told["templates"]]
            source = _Source(
                {template.number: template for template in templates},
                dict(told["samplers"]) or _NOTHING,
                dict(told["applications"]) or _NOTHING,
                told["system_init_ms"],
            )
            self._sources[exporter, version, domain] = source
            self._weight += source.weigh()
        for one in state["held"]:
            told = dict(one)
            number, data = told.pop("number"), bytes.fromhex(told.pop("data"))
            self._hold(_Held(_Header(**told), number, data))
        self._sequences = Sequences.from_json(state["sequences"])
