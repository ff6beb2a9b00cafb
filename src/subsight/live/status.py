"""How far behind live inputs are, what they dropped and what they published last."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from subsight.live.spool import closed
from subsight.workspace import Workspace, write_atomically

__all__ = ["folder_of", "spool_of", "status", "tell"]

_STALE_S: Final = 15.0


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
    path = folder_of(workspace) / f"{command}.status.json"
    write_atomically(path, json.dumps({**told, "told_at": time.time()}))


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
            told["is_running"] = time.time() - told["told_at"] < _STALE_S
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
