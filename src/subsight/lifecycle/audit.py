"""The audit log: every prediction of a model service as a line of a hash chain, and proof that none is gone.

A folder holds chains, one per process that ever wrote: `audit-<chain>-<number>.jsonl`, a head beside them
(the last record known to be on disk) and `chains.jsonl`, a chain of its own that names every chain and every
file removed by rule. A line's hash is the SHA-256 of its bytes without the newline; `prev` is the hash of the
line before it, 64 zeros in a genesis record. The chains have no secret: whoever may write to the folder can
forge it whole, so copy the heads to another place if its own administrator is to be held to it.

Nothing in a record may be a clear identifier: callers give pseudonyms.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import os
import re
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from subsight.errors import ConfigurationError, InputError, StorageError
from subsight.lifecycle.chains import OWN_FIELDS, OWN_KINDS, Chain, encode, now
from subsight.lifecycle.verification import ChainVerification, Status, Verification, verify

__all__ = ["AuditBusyError", "AuditLog", "ChainVerification", "Status", "Verification", "verify"]

_GROUP_RECORDS: Final = 500
_GROUP_S: Final = 0.05
_SYNC_S: Final = 1.0
_BACKLOG_RECORDS: Final = 50_000
_BACKLOG_BYTES: Final = 256_000_000
_DAY_S: Final = 86_400
_PSEUDONYM: Final = re.compile(r"[0-9a-fA-F]{32}")


class AuditBusyError(StorageError):
    """More records wait for the disk than may; a little later there is room again."""


class AuditLog:
    """One process's record of what its models answered. Thread-safe; use it in a `with` block.

    `grouped`: a call costs microseconds; a record is written within 50 ms and on disk within about a second,
    so a kill loses the former at most and a power failure the latter. The returned future is done already.
    `strict`: the returned future is done once the record is on disk (calls at the same time share one fsync):
    answer only after `.result()`, or after `await asyncio.wrap_future(...)` in an event loop.

    A file that exceeds `rotate_bytes` is continued in the next. Files whose last record is older than
    `keep_days` (null: never) are removed, each after a "retired" record. `identifiers="clear"` lets any
    `subscriber_id` through. Once the disk has failed, every call raises StorageError. A call waits while
    the disk is far behind, or with `wait=False` raises AuditBusyError: an event loop must not wait.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mode: Literal["grouped", "strict"] = "grouped",
        rotate_bytes: int = 64_000_000,
        keep_days: float | None = None,
        identifiers: Literal["pseudonym", "clear"] = "pseudonym",
    ) -> None:
        self.folder, self.mode, self.rotate_bytes = folder, mode, rotate_bytes
        self.keep_days, self.identifiers = keep_days, identifiers
        self._chain = Chain(folder, rotate_bytes)
        self._thread: threading.Thread | None = None
        self._process = 0
        self._lock = threading.Lock()
        self._work, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        # What `strict` callers wait for: the group that gathers, and the group that is being written.
        self._commit: Future[None] | None = None
        self._writing: Future[None] | None = None
        self._done: Future[None] = Future()
        self._closing = False
        self._failure: StorageError | None = None
        self._sync_at = 0.0
        self._retired: tuple[int, int] | None = None

    @property
    def chain(self) -> str:
        """The name of this process's chain, empty before `start`."""
        return self._chain.name

    @property
    def failure(self) -> StorageError | None:
        """Why nothing more can be recorded, or None."""
        return self._failure

    def start(self) -> Self:
        """Begins a chain of this process's own.

        Raises:
            ConfigurationError: a setting is out of range, or the log was started before.
            StorageError: the folder cannot be written.
        """
        self._check_settings()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._chain.begin()
            self._retire()
        except OSError as error:
            self._chain.end()
            raise _failed(self._chain, error) from error
        self._done.set_result(None)
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        return self

    def close(self) -> None:
        """Writes what is left and the "closed" record, all on disk. A second call does nothing.

        Raises:
            StorageError: the disk failed, now or before.
        """
        # A forked child has neither the writer nor the right to end its parent's chain.
        if self._thread is None or os.getpid() != self._process:
            return
        with self._lock:
            self._closing = True
            self._work.notify()
        self._thread.join()
        atexit.unregister(self.close)
        if self._failure:
            raise self._failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def predicted(
        self,
        *,
        id: str,
        caller: str,
        subscriber_id: str | None,
        inputs: Mapping[str, Any],
        output: Any,
        model: str,
        version: str,
        latency_ms: float,
        experiment: Mapping[str, Any] | None = None,
        wait: bool = True,
    ) -> Future[None]:
        """Records one answer. A number that is not finite is written as null.

        `experiment` is what a challenge adds: `shadow` (the challenger's version and output, which was not
        answered) or `ab` (who challenged, which arm answered, the challenger's share).

        Raises:
            ConfigurationError: `subscriber_id` is not a pseudonym (32 hex digits), here or among the inputs.
            InputError: a value has no form in JSON.
            StorageError: the disk failed, or the log is not open in this process.
        """
        for found in (subscriber_id, inputs.get("subscriber_id")):
            self._check_identifier(found)
        return self._put(
            {
                "kind": "prediction",
                "at": now(),
                "id": id,
                "caller": caller,
                "subscriber_id": subscriber_id,
                "inputs": inputs,
                "output": output,
                "model": model,
                "version": version,
                "latency_ms": latency_ms,
                **(experiment or {}),
            },
            wait,
        )

    def batch(
        self,
        *,
        id: str,
        caller: str,
        columns: Mapping[str, Sequence[Any]],
        model: str,
        version: str,
        latency_ms: float,
        experiment: Mapping[str, Any] | None = None,
        wait: bool = True,
    ) -> Future[None]:
        """Records many answers as one line: inputs and outputs as columns of one length.

        The line holds `rows`, `columns` (base64 of zlib of a JSON object of arrays) and `digest` (SHA-256
        of that JSON, hex). The calling thread compresses: keep large batches off an event loop.

        Raises:
            ConfigurationError, InputError, StorageError: as for `predicted`; columns differ in length.
        """
        rows = _rows(columns)
        for found in columns.get("subscriber_id", ()):
            self._check_identifier(found)
        content = encode(columns)
        return self._put(
            {
                "kind": "batch",
                "at": now(),
                "id": id,
                "caller": caller,
                "rows": rows,
                "digest": hashlib.sha256(content).hexdigest(),
                "columns": base64.b64encode(zlib.compress(content, 1)).decode(),
                "model": model,
                "version": version,
                "latency_ms": latency_ms,
                **(experiment or {}),
            },
            wait,
        )

    def event(self, kind: str, /, **fields: Any) -> Future[None]:
        """Records anything else that happened to a model or the service: a promotion, a rule set aside.

        Raises:
            ConfigurationError: the kind or a field's name is one of the log's own; else as `predicted`.
            InputError, StorageError: as for `predicted`.
        """
        if not isinstance(kind, str) or kind in OWN_KINDS or not OWN_FIELDS.isdisjoint(fields):
            raise ConfigurationError(
                "an event has a name that the audit log keeps for itself",
                found=f"kind {kind}, fields {', '.join(fields)}",
                expected=f"not {', '.join(sorted(OWN_KINDS))}; nor {', '.join(sorted(OWN_FIELDS))}",
                do="name it otherwise",
            )
        self._check_identifier(fields.get("subscriber_id"))
        return self._put({"kind": kind, "at": now(), **fields})

    def durable(self) -> Future[None]:
        """Done once every record handed over before this call is on disk, in either mode.

        Raises:
            StorageError: as for `predicted`.
        """
        self._check_process()
        with self._lock:
            self._check_open()
            return self._committing()

    def _check_settings(self) -> None:
        wrong = {
            "mode": None if self.mode in ("grouped", "strict") else "grouped or strict",
            "identifiers": None if self.identifiers in ("pseudonym", "clear") else "pseudonym or clear",
            "rotate_bytes": None if self.rotate_bytes > 0 else "a number above 0",
            "keep_days": None if self.keep_days is None or self.keep_days >= 0 else "null, or 0 or more",
        }
        for name, expected in wrong.items():
            if expected:
                raise ConfigurationError(
                    f"the audit log's {name} is wrong", found=repr(getattr(self, name)), expected=expected
                )
        if self._chain.name:
            raise ConfigurationError("an audit log is started once", do="make another AuditLog")

    def _check_identifier(self, found: object) -> None:
        if found is None or self.identifiers == "clear":
            return
        if not isinstance(found, str) or not _PSEUDONYM.fullmatch(found):
            # The value itself may be somebody's number: an error message is no place for it.
            raise ConfigurationError(
                "subscriber_id is no pseudonym",
                found=f"{type(found).__name__} of {len(str(found))} characters",
                expected="32 hex digits, or null",
                do='give the pseudonym, or allow any with identifiers="clear"',
            )

    def _check_process(self) -> None:
        # Before the lock is touched: in a forked child it may be held by a thread that is not there.
        if os.getpid() != self._process:
            raise StorageError(
                "the audit log is not open in this process",
                expected="one AuditLog, started, in each process",
                do="start one after the fork",
            )

    def _check_open(self) -> None:
        if self._failure:
            known = self._failure
            raise StorageError(known.what, found=known.found, do=known.do) from known
        if self._closing:
            raise StorageError("the audit log is closed", do="answer nothing after close")

    def _put(self, record: Mapping[str, Any], wait: bool = True) -> Future[None]:
        self._check_process()
        # Encoded by the caller: it may change its objects afterwards, and it is the one to be told
        # that a value has no form in JSON.
        body = encode(record)
        with self._lock:
            self._check_open()
            while len(self._pending) >= _BACKLOG_RECORDS or self._pending_bytes >= _BACKLOG_BYTES:
                if not wait:
                    raise AuditBusyError(
                        f"the audit log in {self.folder} is behind",
                        found=f"{len(self._pending):,} records that wait for the disk",
                        do="ask again",
                    )
                self._room.wait()
                self._check_open()
            self._pending.append(body)
            self._pending_bytes += len(body)
            if self.mode == "strict":
                return self._committing()
            if len(self._pending) in (1, _GROUP_RECORDS):
                self._work.notify()
            return self._done

    def _committing(self) -> Future[None]:
        """The future of the group that gathers; call it with the lock held."""
        if self._commit is None:
            self._commit = Future()
            # A running future cannot be cancelled: one caller that gives up leaves the others theirs.
            self._commit.set_running_or_notify_cancel()
            self._work.notify()
        return self._commit

    # The writer thread

    def _write_all(self) -> None:
        try:
            while self._write_group():
                pass
        # Whatever ends the writer must be known: a log that takes records and writes none is the worst.
        except Exception as error:
            failure = _failed(self._chain, error)
            failure.__cause__ = error
            with self._lock:
                self._failure = failure
                waiting = (self._writing, self._commit)
                self._room.notify_all()
            for future in waiting:
                if future and not future.done():
                    future.set_exception(failure)
        finally:
            self._chain.end()

    def _write_group(self) -> bool:
        """Writes what has gathered, syncs where it is due; whether there is more to come."""
        group, closing = self._gather()
        chain, commit = self._chain, self._writing
        if closing:
            group.append(encode({"kind": "closed", "at": now()}))
        if group:
            chain.write(group)
        if commit or closing or (chain.unsynced and time.monotonic() >= self._sync_at):
            chain.sync()
            self._sync_at = time.monotonic() + _SYNC_S
            if commit:
                commit.set_result(None)
            chain.mark()
        if not closing:
            self._retire()
        return not closing

    def _gather(self) -> tuple[list[bytes], bool]:
        with self._lock:
            idle_s = max(0.0, self._sync_at - time.monotonic()) if self._chain.unsynced else None
            self._work.wait_for(lambda: self._pending or self._hurried(), idle_s)
            if self._pending and not self._hurried():
                self._work.wait_for(self._hurried, _GROUP_S)
            group, self._pending, self._pending_bytes = self._pending, [], 0
            self._writing, self._commit = self._commit, None
            self._room.notify_all()
            return group, self._closing

    def _hurried(self) -> bool:
        return self._commit is not None or self._closing or len(self._pending) >= _GROUP_RECORDS

    def _retire(self) -> None:
        """Removes files past `keep_days`: at the start, with each new file, and daily."""
        when = (self._chain.number, int(time.monotonic() // _DAY_S))
        if self.keep_days is not None and when != self._retired:
            self._retired = when
            self._chain.retire(datetime.now(UTC) - timedelta(days=self.keep_days))


def _rows(columns: Mapping[str, Sequence[Any]]) -> int:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise InputError(
            "the columns of a batch differ in length",
            found=", ".join(f"{name} {len(column)}" for name, column in columns.items()),
            expected="one length",
        )
    return max(lengths, default=0)


def _failed(chain: Chain, error: Exception) -> StorageError:
    return StorageError(
        f"the audit log in {chain.folder} cannot be written",
        found=f"{error}; of chain {chain.name}, records after {chain.synced_seq} may not be on disk",
        do="serve nothing until the disk is well, then start again",
    )
