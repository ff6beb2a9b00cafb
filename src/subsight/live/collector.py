"""Collecting: closed segments of the spool become batches of flows, each exactly once, and runs of them.

What is remembered between segments (templates, sampling, sequences, contents) is written after the batch of
each. Killed in between, the segment is decoded again from the same memory to the same batch, which is known
by its content; so every datagram in the spool counts once, whatever happens.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from subsight import ingestion
from subsight.errors import SubsightError, WorkspaceBusyError
from subsight.live import receiver
from subsight.live.spool import Segment, closed
from subsight.live.status import beating, spool_of, tell
from subsight.settings import Settings
from subsight.sources import netflow
from subsight.store import open_store
from subsight.workspace import Workspace, write_atomically

__all__ = ["Collecting", "collect", "drain", "published_now"]

_REMEMBERED: Final = 1_000_000
"""Datagrams whose content is remembered: one delivered again later than these counts twice."""
_WIDTH: Final = 12
Say = Callable[[str], None]


@dataclass(frozen=True)
class Collecting:
    """Where to listen, and how often to do what.

    Attributes:
        batch_s: a micro-batch holds about as many seconds of datagrams.
        publish_s: seconds between runs; 0 publishes none.
    """

    host: str = "0.0.0.0"
    port: int = 2055
    batch_s: float = 10.0
    publish_s: float = 300.0
    batch_bytes: int = 64_000_000


@dataclass
class _Memory:
    """What is remembered between segments, as `state.json` keeps it."""

    last: str = ""
    decoder: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> _Memory:
        path = folder / "state.json"
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else cls()

    def write(self, folder: Path) -> None:
        write_atomically(folder / "state.json", json.dumps(self.__dict__))

    def add(self, **counts: int) -> None:
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


def collect(
    workspace: Workspace,
    settings: Settings,
    how: Collecting | None = None,
    *,
    publish: Callable[[], str],
    say: Say = print,
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Listens, decodes and publishes until `ended` says so; then decodes what is in the spool still.

    `publish` makes a run of the flow studies and gives its name.

    Raises:
        WorkspaceError: the port cannot be listened on.
    """
    how = how or Collecting()
    folder = spool_of(workspace)
    process = multiprocessing.get_context("spawn").Process(
        target=receiver.receive,
        args=(how.host, how.port, str(folder), how.batch_s, how.batch_bytes, os.getpid()),
        daemon=True,
    )
    process.start()
    published, news = time.monotonic(), False
    with beating(workspace, "collect"):
        try:
            while not ended():
                if not process.is_alive():
                    raise _deaf(how)
                news = drain(workspace, settings, say) or news
                if news and how.publish_s and time.monotonic() - published >= how.publish_s:
                    news, published = not published_now(publish, say), time.monotonic()
                time.sleep(0.2)
        finally:
            process.terminate()
            process.join(10)
        news = drain(workspace, settings, say) or news
        if news and how.publish_s:
            published_now(publish, say)


def _deaf(how: Collecting) -> SubsightError:
    from subsight.errors import WorkspaceError

    return WorkspaceError(
        f"{how.host}:{how.port} cannot be listened on",
        expected="a free UDP port that this user may bind",
        do="end what listens there, or name another with --port",
    )


def drain(workspace: Workspace, settings: Settings, say: Say = print) -> bool:
    """Decodes every closed segment; whether any flow is new. Another writer is waited for."""
    folder = spool_of(workspace)
    memory = _Memory.read(folder)
    waiting = closed(folder)
    news = False
    if waiting:
        try:
            with (
                workspace.writing() as scratch,
                open_store(settings.engine, memory=settings.memory, scratch=scratch) as store,
            ):
                for segment in waiting:
                    news = _decode(store, workspace, settings, memory, segment, scratch) or news
                    _told(workspace, memory)
                    store.forget()
        except WorkspaceBusyError:
            say("another command is writing: what arrives waits in the spool")
            return news
    _told(workspace, memory)
    return news


def _told(workspace: Workspace, memory: _Memory) -> None:
    decoder = memory.decoder
    tell(
        workspace,
        "collect",
        {
            **{name: memory.counts.get(name, 0) for name in _COUNTED},
            "dropped": memory.dropped,
            "rejects": memory.rejects,
            "lost_estimate": decoder.get("sequences", {}).get("lost", {}),
            "held": len(decoder.get("held", ())),
            "last_segment": memory.last,
            "last_run": _last_run(workspace),
        },
    )


_COUNTED: Final = ("segments", "datagrams", "duplicates", "flows", "accepted", "rejected", "damaged_bytes")


def _last_run(workspace: Workspace) -> str | None:
    runs = workspace.runs()
    return runs[-1] if runs else None


def _decode(
    store: Any, workspace: Workspace, settings: Settings, memory: _Memory, segment: Segment, scratch: Path
) -> bool:
    """One segment becomes a batch, is remembered and removed; whether it held flows."""
    folder = segment.path.parent
    if segment.name <= memory.last:  # killed after it was remembered and before it was removed
        segment.path.unlink()
        return False
    seen = _Seen(folder, segment.name)
    decoder = netflow.Decoder(memory.decoder)
    fresh, count = [], Counter[str]()
    for record in segment.records():
        count["datagrams"] += 1
        if seen.is_known(record.exporter, record.payload):
            count["duplicates"] += 1
            continue
        fresh.append(netflow.Datagram(record.exporter, record.arrived_us, record.payload))
    decoded = decoder.decode(fresh)
    seen.write()
    import pyarrow.parquet as pq

    has_flows = bool(decoded.table.num_rows)
    if has_flows:
        path = scratch / f"{segment.name}.parquet"
        pq.write_table(decoded.table, path)
        content = hashlib.sha256(segment.name.encode() + segment.path.read_bytes()).hexdigest()[:16]
        found = ingestion.add(
            store, workspace, path, settings, kind="flows", name=f"datagrams {segment.name}", content=content
        )
        manifest = found.batch.manifest
        memory.add(accepted=manifest["accepted"], rejected=manifest["rejected"])
        for reject in manifest["rejects"]:
            key = f"{reject['column']} {reject['reason']}".strip()
            memory.rejects[key] = memory.rejects.get(key, 0) + reject["count"]
    _quarantine(folder, segment.name, decoded.dropped)
    for drop in decoded.dropped:
        memory.dropped[drop.reason] = memory.dropped.get(drop.reason, 0) + drop.count
    memory.add(segments=1, flows=decoded.table.num_rows, damaged_bytes=segment.damaged_bytes(), **count)
    memory.decoder = decoder.state()
    memory.last = segment.name
    memory.write(folder)
    segment.path.unlink()
    return has_flows


def _quarantine(folder: Path, name: str, dropped: Any) -> None:
    """What could not be decoded, one line a reason and exporter, with how it begins."""
    if dropped:
        place = folder / "quarantine"
        place.mkdir(exist_ok=True)
        lines = (json.dumps(drop.__dict__) for drop in dropped)
        write_atomically(place / f"{name}.jsonl", "\n".join(lines) + "\n")


class _Seen:
    """The contents of the datagrams before a segment, and of those in it as they are asked for."""

    def __init__(self, folder: Path, segment: str) -> None:
        self._folder = folder / "seen"
        self._folder.mkdir(exist_ok=True)
        self._segment = segment
        self._known: set[bytes] = set()
        self._added: list[bytes] = []
        kept: deque[Path] = deque()
        # A file of this segment, or a later one, is of an attempt that was killed.
        earlier = [path for path in sorted(self._folder.glob("*.bin")) if path.stem < segment]
        for path in reversed(earlier):
            if len(self._known) >= _REMEMBERED:
                path.unlink()
                continue
            self._known.update(_split(path.read_bytes()))
            kept.append(path)

    def is_known(self, exporter: str, payload: bytes) -> bool:
        """Whether this exporter sent the same bytes before."""
        digest = hashlib.blake2b(exporter.encode() + b"\0" + payload, digest_size=_WIDTH).digest()
        if digest in self._known:
            return True
        self._known.add(digest)
        self._added.append(digest)
        return False

    def write(self) -> None:
        """Remembers the segment's contents."""
        if self._added:
            write_atomically(self._folder / f"{self._segment}.bin", b"".join(self._added))


def _split(content: bytes) -> Iterator[bytes]:
    return (content[at : at + _WIDTH] for at in range(0, len(content), _WIDTH))


def published_now(publish: Callable[[], str], say: Say) -> bool:
    """Publishes a run; whether that was possible, which another writer or too little data may prevent."""
    try:
        say(f"published {publish()}")
    except WorkspaceBusyError:
        return False
    except SubsightError as error:
        say(f"nothing published\n{error}")
    return True
