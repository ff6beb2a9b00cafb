"""The proof of an audit folder: every chain read again, line by line, against its head and the register."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from subsight.errors import NotFoundError
from subsight.lifecycle.chains import (
    OWN_KINDS,
    REGISTER,
    UNREADABLE,
    ZEROS,
    Head,
    Line,
    Removal,
    chains,
    file_number,
    head_path,
    running,
)

__all__ = ["ChainVerification", "Status", "Verification", "verify"]

Status = Literal["whole", "open", "broken"]


@dataclass(frozen=True)
class ChainVerification:
    """What one chain's files prove.

    `whole`: closed and complete. `open`: complete, but without a "closed" record: the process runs
    (`running`) or was killed; `torn_bytes` of a last line without newline are no error, as no record is
    acknowledged before its whole line is on disk. `broken`: `reason`, first found at `line` of `file`.
    `records` counts the sound ones read; `first_at` and `last_at` are theirs (null: none).
    """

    chain: str
    status: Status
    records: int
    files: int
    first_at: str | None
    last_at: str | None
    running: bool = False
    torn_bytes: int = 0
    file: str | None = None
    line: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Verification:
    """What an audit folder proves: each chain, oldest first, and what is wrong with the register."""

    chains: tuple[ChainVerification, ...]
    reason: str | None = None

    @property
    def status(self) -> Status:
        """The worst there is: broken, then open, then whole."""
        found = {chain.status for chain in self.chains}
        if self.reason or "broken" in found:
            return "broken"
        return "open" if "open" in found else "whole"

    @property
    def records(self) -> int:
        """How many sound records were read."""
        return sum(chain.records for chain in self.chains)


def verify(folder: Path) -> Verification:
    """Reads every chain of an audit folder, line by line; logs may be written meanwhile.

    Not found: what was lost of the tail after the last fsync, and a tail (or the newest chain) removed by
    someone who also rewrote its head (or the register).

    Raises:
        NotFoundError: no audit log is there.
    """
    found = _verify(folder)
    # A file may have been retired while it was read: what is broken is so at a second look too.
    return _verify(folder) if found.status == "broken" else found


class _Genesis(msgspec.Struct):
    chain: str
    register: str


class _Started(msgspec.Struct, tag_field="kind", tag="started"):
    prev: str
    chain: str
    genesis: str


class _Retired(Removal, frozen=True, tag_field="kind", tag="retired"):
    prev: str
    chain: str
    by: str
    seq: int


class _BrokenError(Exception):
    """Where a chain first fails: file, line (None where there is none), reason."""

    def __init__(self, file: str | None, line: int | None, reason: str) -> None:
        super().__init__(file, line, reason)
        self.file, self.line, self.reason = file, line, reason


def _verify(folder: Path) -> Verification:
    # Files, then the register: a chain with more than its genesis was registered before.
    names = set(chains(folder))
    if not names and not (folder / REGISTER).exists():
        raise NotFoundError(
            f"{folder} holds no audit log", do="name the audit folder of a workspace that served"
        )
    started: dict[str, _Started] = {}
    retired: list[_Retired] = []
    reason = _read_register(folder / REGISTER, started, retired)
    walks = [_Walk(folder, name) for name in sorted(names | set(started))]
    proved = tuple(
        walk.whole(started.get(walk.name), [r for r in retired if r.chain == walk.name]) for walk in walks
    )
    removals = {(walk.name, seq): removal for walk in walks for seq, removal in walk.removals.items()}
    spans = {walk.name: range(walk.first_seq, walk.seq) for walk in walks}
    for entry in retired:
        removal = Removal(entry.file, entry.first, entry.last, entry.hash, entry.whole)
        # The record of a removal may itself have been retired since; while it should be there, it must be.
        if entry.seq in spans.get(entry.by, ()) and removals.get((entry.by, entry.seq)) != removal:
            reason = reason or f"{REGISTER} says that {entry.file} was retired, and chain {entry.by} does not"
    return Verification(proved, reason)


def _read_register(path: Path, started: dict[str, _Started], retired: list[_Retired]) -> str | None:
    """Fills in what the register says; what is wrong with it, if anything."""
    decoder = msgspec.json.Decoder(_Started | _Retired)
    prev, wrong = ZEROS, None
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = decoder.decode(line[:-1])
                except UNREADABLE:
                    wrong = wrong or f"{path.name} line {number} is no entry"
                    continue
                if entry.prev != prev:
                    wrong = (
                        wrong or f"{path.name} does not continue from line {number - 1} to {number}: edited"
                    )
                prev = hashlib.sha256(line[:-1]).hexdigest()
                if isinstance(entry, _Started):
                    started[entry.chain] = entry
                else:
                    retired.append(entry)
    except FileNotFoundError:
        return f"{path.name} is missing"
    return wrong


class _Walk:
    """One chain, read from its first line to its last."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.first_seq, self.seq, self.prev = 0, 0, ZEROS
        self.genesis_hash = self.genesis_register = ""
        self.first_at: str | None = None
        self.last_at: str | None = None
        self.files, self.torn_bytes, self.closed = 0, 0, False
        self.place = ("", 0)
        self.removals: dict[int, Removal] = {}
        self._decode = msgspec.json.Decoder(Line).decode
        self._head: Head | None = None

    def whole(self, started: _Started | None, retired: Sequence[_Retired]) -> ChainVerification:
        """What the chain proves, given what the register says of it."""
        # The lock and the head, then the files: a chain that grows meanwhile ends after its head.
        is_running = running(self.folder, self.name)
        broken: _BrokenError | None = None
        try:
            gone = any(entry.whole for entry in retired)
            files = chains(self.folder).get(self.name, [])
            if files or not gone:
                self._head = self._read_head(needed=started is not None)
                self._read(chains(self.folder).get(self.name, []), retired)
                self._check_ends(started)
            self.closed = self.closed or not files
        except _BrokenError as error:
            broken = error
        status: Status = "broken" if broken else "whole" if self.closed else "open"
        told = (broken.file, broken.line, broken.reason) if broken else (None, None, None)
        counted = (self.seq - self.first_seq, self.files, self.first_at, self.last_at)
        return ChainVerification(self.name, status, *counted, is_running, self.torn_bytes, *told)

    def _read_head(self, *, needed: bool) -> Head | None:
        path = head_path(self.folder, self.name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Head)
        except FileNotFoundError:
            if needed:
                raise _BrokenError(path.name, None, "the head is missing") from None
            return None
        except UNREADABLE:
            raise _BrokenError(path.name, None, "edited: this is no head") from None

    def _read(self, files: Sequence[Path], retired: Sequence[_Retired]) -> None:
        ends = {file_number(entry.file): entry for entry in retired}
        at = file_number(files[0].name) if files else max(ends, default=0) + 1
        if at > 1 and at - 1 in ends:
            self.first_seq = self.seq = ends[at - 1].last + 1
            self.prev = ends[at - 1].hash
        elif at > 1:
            raise _BrokenError(self._file(at - 1), None, "the file is missing, and was not retired")
        if not files:
            raise _BrokenError(self._file(at), None, "the file is missing, and was not retired")
        self.place = (files[0].name, 0)
        for expected, path in enumerate(files, at):
            if file_number(path.name) != expected:
                raise _BrokenError(self._file(expected), None, "the file is missing")
            self.files += 1
            try:
                with path.open("rb") as lines:
                    for number, line in enumerate(lines, 1):
                        self._take(path.name, number, line)
            except FileNotFoundError:
                raise _BrokenError(path.name, None, "the file is missing") from None

    def _take(self, file: str, number: int, line: bytes) -> None:
        if self.closed or self.torn_bytes:
            raise _BrokenError(file, number, "foreign: a line after the end of the chain")
        if line[-1] != 10:
            self.torn_bytes = len(line)
            return
        line = line[:-1]
        try:
            record = self._decode(line)
            noted = self._own(record, line) if record.kind in OWN_KINDS else None
        except UNREADABLE:
            raise _BrokenError(file, number, "edited: this is no record") from None
        if record.seq != self.seq:
            what = f"records {self.seq}..{record.seq - 1} are missing or out of order"
            if record.seq < self.seq:
                what = f"foreign: record {record.seq}, or one before it, was inserted or is out of order"
            raise _BrokenError(file, number, what)
        if record.prev != self.prev:
            where = self.place if self.place[1] else (file, number)
            raise _BrokenError(*where, "edited: its SHA-256 is not what the next record gives as prev")
        self.prev, self.seq, self.place = hashlib.sha256(line).hexdigest(), self.seq + 1, (file, number)
        if self._head and record.seq == self._head.seq and self.prev != self._head.hash:
            raise _BrokenError(file, number, "edited: its SHA-256 is not what the head says")
        self.first_at, self.last_at = self.first_at or record.at, record.at
        if record.kind in OWN_KINDS:
            self._note(record, noted)

    @staticmethod
    def _own(record: Line, line: bytes) -> _Genesis | Removal | None:
        """What a record that the log wrote about itself says beyond its kind."""
        if record.kind == "genesis":
            return msgspec.json.decode(line, type=_Genesis)
        return msgspec.json.decode(line, type=Removal) if record.kind == "retired" else None

    def _note(self, record: Line, noted: _Genesis | Removal | None) -> None:
        self.closed = record.kind == "closed"
        if isinstance(noted, Removal):
            self.removals[record.seq] = noted
        elif noted:
            if noted.chain != self.name or record.seq:
                raise _BrokenError(*self.place, f"foreign: this is the genesis of chain {noted.chain}")
            self.genesis_hash, self.genesis_register = self.prev, noted.register

    def _check_ends(self, started: _Started | None) -> None:
        file, line = self.place
        if self._head and self._head.seq >= self.seq:
            raise _BrokenError(file, line + 1, f"records {self.seq}..{self._head.seq} are missing at the end")
        if started is None:
            if self.seq > 1:
                raise _BrokenError(file, None, f"the chain is not in {REGISTER}")
        elif self.first_seq == 0 and (started.genesis, started.prev) != (
            self.genesis_hash,
            self.genesis_register,
        ):
            raise _BrokenError(self._file(1), 1, f"edited: the genesis is not the one in {REGISTER}")

    def _file(self, number: int) -> str:
        return f"audit-{self.name}-{number:06d}.jsonl"
