"""The service as a process: one uvicorn worker with the audit log that belongs to it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from subsight.errors import ConfigurationError
from subsight.lifecycle.audit import AuditLog
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.live import Experiment
from subsight.surfaces.api.security import Guard
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import uvicorn

__all__ = ["options", "serve"]

_QUEUE: Final = 2048
_GRACE_S: Final = 10


def serve(
    workspace: Workspace,
    host: str = "127.0.0.1",
    port: int = 5000,
    *,
    auth: Literal["keys", "off"] = "keys",
    audit: Literal["grouped", "strict"] = "grouped",
    rotate_bytes: int = 64_000_000,
    keep_days: float | None = None,
    limits: Limits | None = None,
    experiment: Experiment | None = None,
) -> None:
    """Serves until it is told to stop; requests under way are answered first. Call it in the main thread.

    Raises:
        ConfigurationError: the address is not free, or would be open to others without a key.
        StorageError: the audit log cannot be written.
    """
    import uvicorn

    # Before anything is written or bound.
    Guard(ApiKeys(workspace), auth, host).check_start()
    log = AuditLog(workspace.path / "audit", mode=audit, rotate_bytes=rotate_bytes, keep_days=keep_days)
    with _listening(host, port) as listening, log:
        from subsight.surfaces.api.app import create_app

        log.event("service_started", auth=auth, host=host, port=port)
        app = create_app(workspace, log, auth=auth, host=host, limits=limits, experiment=experiment)
        server = uvicorn.Server(uvicorn.Config(app, **options()))
        with _stopped_by_signals(server):
            server.run([listening])
        if log.failure is None:
            log.event("service_stopped")


def options() -> dict[str, Any]:
    """How uvicorn runs the service."""
    from subsight.surfaces.api.connection import Connection

    return {
        "http": Connection,
        "workers": 1,
        "lifespan": "off",
        # A line for each request would hold the number of whom was asked for, and cost a fifth of the speed.
        "access_log": False,
        "server_header": False,
        # A caller's own claim of its address is not believed: limits count by it.
        "proxy_headers": False,
        "timeout_graceful_shutdown": _GRACE_S,
        "ws": "none",
    }


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Lets the process end in order: uvicorn raises a signal again once it has stopped for it."""

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: asyncio sends small answers at once (TCP_NODELAY) on sockets that say they are
    # TCP, and on others every answer waits 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"{host}:{port} cannot be listened on",
                found=str(error),
                expected="a free address of this machine",
                do="name another port with --port",
            ) from error
        listening.listen(_QUEUE)
        yield listening
    finally:
        listening.close()
