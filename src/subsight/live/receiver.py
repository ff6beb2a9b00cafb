"""The receiver: a process that does nothing but put datagrams from a UDP port into the spool.

It shares no interpreter with decoding, so that a busy decoder costs no datagram. It ends with its parent.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any, Final

from subsight.live.spool import Record, Spool, recover
from subsight.workspace import write_atomically

__all__ = ["receive"]

_BUFFER: Final = 32 * 1024 * 1024
_BURST: Final = 2_000
_PATIENCE_S: Final = 10.0


def receive(host: str, port: int, folder: str, seconds: float, limit: int, parent: int) -> None:
    """Listens until it is told to end or its parent is gone, and keeps `receiver.json` up to date."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells it to end
    place = Path(folder)
    listener = _bound(host, port, parent)
    recover(place)
    spool = Spool(place, seconds, limit)
    seen = {"datagrams": 0, "bytes": 0}
    arrived: int | None = None
    ticked = 0.0
    while not ended and os.getppid() == parent:
        ready, _, _ = select.select([listener], [], [], 0.2)
        for _ in range(_BURST if ready else 0):
            try:
                payload, sender = listener.recvfrom(65_535)
            except BlockingIOError:
                break
            arrived = time.time_ns() // 1000
            spool.append(Record(_plain(sender[0]), arrived, seen["datagrams"], payload))
            seen["datagrams"] += 1
            seen["bytes"] += len(payload)
        if time.monotonic() - ticked >= 0.5:
            spool.tick()
            _tell(place, listener, seen, arrived)
            ticked = time.monotonic()
    spool.close()
    _tell(place, listener, seen, arrived)


def _bound(host: str, port: int, parent: int) -> socket.socket:
    """A socket that listens; one that an earlier receiver still holds is waited for."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            listener.bind((host, port))
            break
        except OSError:
            if time.monotonic() > until or os.getppid() != parent:
                raise
            time.sleep(0.1)
    listener.setblocking(False)
    return listener


def _plain(address: str) -> str:
    """An exporter's address; one of IPv4 that arrived over IPv6 as itself."""
    return address.removeprefix("::ffff:").partition("%")[0]


def _tell(folder: Path, listener: socket.socket, seen: dict[str, int], arrived: int | None) -> None:
    told: dict[str, Any] = {
        **seen,
        "listening": f"{listener.getsockname()[0]}:{listener.getsockname()[1]}",
        "kernel_dropped": _kernel_dropped(listener),
        "last_arrival_us": arrived,
        "pid": os.getpid(),
    }
    write_atomically(folder / "receiver.json", json.dumps(told))


def _kernel_dropped(listener: socket.socket) -> int | None:
    """Datagrams that the kernel threw away as its buffer was full; None where it does not say."""
    inode = os.fstat(listener.fileno()).st_ino
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            return None
        for line in lines:
            fields = line.split()
            if len(fields) > 12 and fields[9] == str(inode):
                return int(fields[12])
    return None
