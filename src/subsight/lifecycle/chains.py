"""The files of the audit log: chains of records, their heads and the register, as one writer appends them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from subsight.errors import InputError

__all__ = [
    "OWN_FIELDS",
    "OWN_KINDS",
    "REGISTER",
    "UNREADABLE",
    "ZEROS",
    "Chain",
    "Head",
    "Line",
    "Register",
    "Removal",
    "chains",
    "encode",
    "file_number",
    "head_path",
    "lock_path",
    "now",
    "registering",
    "running",
]

ZEROS: Final = "0" * 64
REGISTER: Final = "chains.jsonl"
_FILE: Final = re.compile(r"audit-(.+)-(\d{6,})\.jsonl")
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
OWN_KINDS: Final = frozenset({"genesis", "prediction", "batch", "retired", "closed"})
OWN_FIELDS: Final = frozenset({"seq", "prev", "kind", "at"})


class Line(msgspec.Struct):
    """What every record has."""

    seq: int
    prev: str
    kind: str
    at: str


class Head(msgspec.Struct):
    """The last record known to be on disk."""

    seq: int
    hash: str


class Removal(msgspec.Struct, frozen=True):
    """A file that went by rule."""

    file: str
    first: int
    last: int
    hash: str
    whole: bool


class Chain:
    """A chain on disk as its one writer sees it; one thread at a time."""

    def __init__(self, folder: Path, rotate_bytes: int) -> None:
        self.folder, self.rotate_bytes = folder, rotate_bytes
        self.name, self.number, self.size_bytes = "", 0, 0
        self.seq, self.hash, self.synced_seq = -1, ZEROS, -1
        self._file, self._lock = -1, -1

    @property
    def unsynced(self) -> bool:
        """Whether records were written that are not known to be on disk."""
        return self.seq > self.synced_seq

    def begin(self) -> None:
        """Names the chain, locks it, writes its genesis record, its head and its entry in the register.

        In this order a registered chain has a genesis and a head, so that one without was tampered with;
        a process that was killed before the last step leaves a genesis alone, which proves no loss.
        """
        now = datetime.now(UTC)
        self.name = f"{now:%Y%m%dT%H%M%S%fZ}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = os.open(lock_path(self.folder, self.name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with registering(self.folder) as register:
            self._next_file()
            genesis = {"kind": "genesis", "at": _iso(now), "chain": self.name, "register": register.hash}
            self.write([encode(genesis)])
            self.sync()
            self.mark()
            register.append({"kind": "started", "chain": self.name, "genesis": self.hash})

    def write(self, bodies: Sequence[bytes]) -> None:
        """Appends records, given as JSON objects, in one write."""
        if self.size_bytes >= self.rotate_bytes:
            # The old file is on disk before the new one has a line: a power failure leaves no gap.
            os.fsync(self._file)
            self._next_file()
        seq, prev, lines = self.seq, self.hash, []
        for body in bodies:
            seq += 1
            line = b'{"seq":%d,"prev":"%b",%b' % (seq, prev.encode(), body[1:])
            prev = hashlib.sha256(line).hexdigest()
            lines.append(line)
        lines.append(b"")
        data = b"\n".join(lines)
        _write(self._file, data)
        self.seq, self.hash = seq, prev
        self.size_bytes += len(data)

    def sync(self) -> None:
        """Puts what was written on disk."""
        os.fsync(self._file)
        self.synced_seq = self.seq

    def mark(self) -> None:
        """Rewrites the head, after `sync`: it is never ahead of the records."""
        target = head_path(self.folder, self.name)
        # Not called `.partial`: a run that starts in the same workspace sweeps those.
        fresh = target.with_suffix(".head-new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write(file, msgspec.json.encode(Head(self.seq, self.hash)))
            os.fsync(file)
        finally:
            os.close(file)
        fresh.replace(target)

    def retire(self, before: datetime) -> None:
        """Removes whole files of any chain whose last record is older, each after a record of it.

        A chain's files go oldest first, and the file that a process still writes to stays.
        """
        with registering(self.folder) as register:
            for name, files in chains(self.folder).items():
                alive = running(self.folder, name)
                for path in files[:-1] if alive else files:
                    first, last, digest = _edges(path)
                    if first is None or last is None or last.at >= _iso(before):
                        break
                    whole = path == files[-1]
                    removal = {"file": path.name, "first": first.seq, "last": last.seq,
                               "hash": digest, "whole": whole}  # fmt: skip
                    self.write([encode({"kind": "retired", "at": now(), **removal})])
                    self.sync()
                    self.mark()
                    register.append(
                        {"kind": "retired", "chain": name, **removal, "by": self.name, "seq": self.seq}
                    )
                    path.unlink()
                    if whole:
                        head_path(self.folder, name).unlink(missing_ok=True)
                        lock_path(self.folder, name).unlink(missing_ok=True)

    def end(self) -> None:
        """Lets go of the file and the lock."""
        if self._file >= 0:
            os.close(self._file)
        if self._lock >= 0:
            lock_path(self.folder, self.name).unlink(missing_ok=True)
            os.close(self._lock)
        self._file = self._lock = -1

    def _next_file(self) -> None:
        path = self.folder / f"audit-{self.name}-{self.number + 1:06d}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file, self.number, self.size_bytes = file, self.number + 1, 0
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Register:
    """The locked register: what was started and what was retired, itself a chain."""

    def __init__(self, file: BinaryIO, hash: str) -> None:
        self.file, self.hash = file, hash

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds an entry, on disk when the call returns."""
        line = encode({"prev": self.hash, **entry})
        _write(self.file.fileno(), line + b"\n")
        os.fsync(self.file.fileno())
        self.hash = hashlib.sha256(line).hexdigest()


@contextmanager
def registering(folder: Path) -> Iterator[Register]:
    """The register, for one process at a time."""
    with open(folder / REGISTER, "a+b", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        line, end = _last_line(file)
        # A process killed while it wrote its entry had begun nothing that the entry would name.
        file.truncate(end)
        yield Register(file, hashlib.sha256(line).hexdigest() if end else ZEROS)


# Files and lines


def chains(folder: Path) -> dict[str, list[Path]]:
    """The files of each chain, in order."""
    found: dict[str, list[Path]] = {}
    for path in folder.glob("audit-*.jsonl"):
        if match := _FILE.fullmatch(path.name):
            found.setdefault(match[1], []).append(path)
    return {name: sorted(found[name], key=lambda path: file_number(path.name)) for name in sorted(found)}


def file_number(file: str) -> int:
    """The number in a file's name, 0 where it is no file of a chain."""
    match = _FILE.fullmatch(file)
    return int(match[2]) if match else 0


def head_path(folder: Path, chain: str) -> Path:
    """Where a chain's head is."""
    return folder / f"audit-{chain}.head"


def lock_path(folder: Path, chain: str) -> Path:
    """Where a chain's lock is, while its process runs."""
    return folder / f"audit-{chain}.lock"


def running(folder: Path, chain: str) -> bool:
    """Whether the process that began a chain still holds its lock."""
    try:
        with lock_path(folder, chain).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _edges(path: Path) -> tuple[Line | None, Line | None, str]:
    """A file's first and last whole record and the last one's hash; None where a line is no record."""
    with path.open("rb") as file:
        first = file.readline()
        last, _ = _last_line(file)
    try:
        return (
            msgspec.json.decode(first, type=Line),
            msgspec.json.decode(last, type=Line),
            hashlib.sha256(last).hexdigest(),
        )
    except UNREADABLE:
        return None, None, ""


def _last_line(file: BinaryIO) -> tuple[bytes, int]:
    """The last line that has a newline, without it, and the offset after it (0: there is none)."""
    size, span = file.seek(0, os.SEEK_END), 1 << 16
    while True:
        start = max(0, size - span)
        file.seek(start)
        tail = file.read(size - start)
        end = tail.rfind(b"\n")
        before = tail.rfind(b"\n", 0, max(end, 0))
        if end >= 0 and (before >= 0 or start == 0):
            return tail[before + 1 : end], start + end + 1
        if start == 0:
            return b"", 0
        span *= 2


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as JSON.

    Raises:
        InputError: a value has no form in JSON.
    """
    try:
        return msgspec.json.encode(record, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            "a record has no form in JSON",
            found=str(error),
            expected="numbers, text, flags, null, lists and mappings with text keys",
        ) from error


def _plain(value: Any) -> Any:
    """NumPy and Arrow values and mappings as plain ones."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__}")


def _iso(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds")


def now() -> str:
    """The instant in UTC, ISO 8601 to the microsecond."""
    second, microsecond = divmod(time.time_ns() // 1_000, 1_000_000)
    return f"{_second(second)}.{microsecond:06d}+00:00"


@lru_cache(maxsize=1)
def _second(since_1970_s: int) -> str:
    # Every prediction is stamped, and thousands of them within a second.
    return f"{datetime.fromtimestamp(since_1970_s, UTC):%Y-%m-%dT%H:%M:%S}"
