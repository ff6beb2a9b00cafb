"""How far behind live inputs are, what they dropped and what they published last."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from subsight.live.spool import closed
from subsight.workspace import Workspace, write_atomically

__all__ = ["beating", "folder_of", "spool_of", "status", "tell"]

_STALE_S: Final = 15.0
_BEAT_S: Final = 3.0


def folder_of(workspace: Workspace) -> Path:
    """Where live commands keep what they must remember."""
    folder = workspace.path / "live"
    folder.mkdir(exist_ok=True)
    return folder


def spool_of(workspace: Workspace) -> Path:
    """Where datagrams wait."""
    folder = workspace.path / "spool"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def tell(workspace: Workspace, command: str, told: dict[str, Any]) -> None:
    """Keeps what a command says of itself."""
    write_atomically(_place(workspace, command), json.dumps({**told, "told_at": time.time()}))


def _place(workspace: Workspace, command: str) -> Path:
    return folder_of(workspace) / f"{command}.status.json"


@contextmanager
def beating(workspace: Workspace, command: str) -> Iterator[None]:
    """Keeps a command known as running, however long it is busy with one thing, such as a run.

    What it told last is touched every few seconds: a reader in another container, who sees no process of
    this one, sees the time of the file.
    """
    path, ended = _place(workspace, command), threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_S):
            with suppress(OSError):  # nothing was told yet, or the disk says no for a moment
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def status(workspace: Workspace) -> dict[str, Any]:
    """What `collect` and `watch` say of themselves, each with `is_running`; empty where neither ever ran.

    Of `collect`: `received` datagrams and bytes, `kernel_dropped`, `backlog` segments and bytes, `lag_s` from
    the arrival of the oldest datagram that is not decoded, `duplicates`, `flows`, `accepted`, `rejected`,
    `dropped` by reason, `lost_estimate` by exporter from gaps of sequence numbers, `last_run`.
    Of `watch`: files `taken` and `refused` with the reason, `waiting`, `last_run`.
    """
    found: dict[str, Any] = {}
    for command in ("collect", "watch"):
        path = workspace.path / "live" / f"{command}.status.json"
        if path.exists():
            told = json.loads(path.read_text(encoding="utf-8"))
            told["is_running"] = time.time() - path.stat().st_mtime < _STALE_S
            found[command] = told
    if "collect" in found:
        found["collect"] |= _spooled(workspace)
    return found


def _spooled(workspace: Workspace) -> dict[str, Any]:
    folder = workspace.path / "spool"
    waiting = closed(folder)
    sizes = []
    for segment in waiting:
        try:
            sizes.append(segment.path.stat().st_size)
        except FileNotFoundError:  # decoded in the meantime
            continue
    oldest = int(waiting[0].name) / 1e9 if waiting else None
    receiver = folder / "receiver.json"
    told = json.loads(receiver.read_text(encoding="utf-8")) if receiver.exists() else {}
    return {
        "listening": told.get("listening"),
        "received": {"datagrams": told.get("datagrams", 0), "bytes": told.get("bytes", 0)},
        "kernel_dropped": told.get("kernel_dropped"),
        "backlog": {"segments": len(waiting), "bytes": sum(sizes)},
        "lag_s": max(0.0, time.time() - oldest) if oldest else 0.0,
    }
