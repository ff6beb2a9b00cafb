"""The spool: datagrams on disk in the order of their arrival, before anybody looks at them.

A segment is a file of records, written under the name `NUMBER.open` and closed by renaming it to
`NUMBER.spool`. A record is its CRC-32, and the length, arrival, sequence, and exporter of its payload. What a
crash cut short is known by its CRC; nothing before it is lost.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Record", "Segment", "Spool", "closed", "recover"]

_HEAD: Final = struct.Struct(">IIQQH")
_LONGEST: Final = 70_000
"""A datagram of UDP holds at most 65,507 bytes."""


@dataclass(frozen=True)
class Record:
    """One datagram: who sent it, when it arrived (microseconds since 1970, UTC), its place and its bytes."""

    exporter: str
    arrived_us: int
    sequence: int
    payload: bytes


def _encoded(record: Record) -> bytes:
    exporter = record.exporter.encode()
    head = _HEAD.pack(0, len(record.payload), record.arrived_us, record.sequence, len(exporter))[4:]
    rest = head + exporter + record.payload
    return struct.pack(">I", zlib.crc32(rest)) + rest


class Segment:
    """A file of records that was closed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """Its number as text: names sort by time."""
        return self.path.stem

    def records(self) -> Iterator[Record]:
        """The whole records from the beginning, up to the first damaged one."""
        for record, _ in _read(self.path.read_bytes()):
            yield record

    def damaged_bytes(self) -> int:
        """How many bytes from the first damaged record on cannot be read."""
        content = self.path.read_bytes()
        return len(content) - max((end for _, end in _read(content)), default=0)


def _read(content: bytes) -> Iterator[tuple[Record, int]]:
    """The whole records of a segment's bytes, each with where it ends."""
    at = 0
    while at + _HEAD.size <= len(content):
        check, length, arrived, sequence, width = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + width + length
        if length > _LONGEST or end > len(content) or zlib.crc32(content[at + 4 : end]) != check:
            return
        begin = at + _HEAD.size
        exporter = content[begin : begin + width].decode(errors="replace")
        yield Record(exporter, arrived, sequence, content[begin + width : end]), end
        at = end


class Spool:
    """The writing side: one process appends, and closes a segment when it is old or large enough."""

    def __init__(self, folder: Path, seconds: float, limit: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self._limit = limit
        self._file: int | None = None
        self._path = folder / "none"
        self._began = 0.0
        self._size = 0
        self._last = max((int(p.stem) for p in folder.glob("[0-9]*.*")), default=0)

    def append(self, record: Record) -> None:
        """Writes a record; it outlives the death of this process at once, and the machine's in a second."""
        if self._file is None:
            self._open()
        assert self._file is not None
        self._size += os.write(self._file, _encoded(record))
        if self._size >= self._limit:
            self.close()

    def tick(self) -> None:
        """Makes what was written outlive a power failure, and closes a segment that is old enough."""
        if self._file is None:
            return
        os.fsync(self._file)
        if time.monotonic() - self._began >= self._seconds:
            self.close()

    def close(self) -> None:
        """Closes the segment being written; what it holds may now be read."""
        if self._file is None:
            return
        os.fsync(self._file)
        os.close(self._file)
        self._file = None
        self._path.rename(self._path.with_suffix(".spool"))

    def _open(self) -> None:
        # By the time, so that names go on rising when all segments were read and removed.
        self._last = max(time.time_ns(), self._last + 1)
        self._path = self._folder / f"{self._last:020d}.open"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._began, self._size = time.monotonic(), 0


def recover(folder: Path) -> None:
    """Closes what a writer that died left open, without the record that it was cut short in."""
    for path in folder.glob("[0-9]*.open"):
        content = path.read_bytes()
        whole = max((end for _, end in _read(content)), default=0)
        if not whole:
            path.unlink()
            continue
        os.truncate(path, whole)
        path.rename(path.with_suffix(".spool"))


def closed(folder: Path) -> list[Segment]:
    """The segments that may be read, oldest first."""
    return [Segment(path) for path in sorted(folder.glob("[0-9]*.spool"))]
