"""The service as a process: one uvicorn worker with the audit log that belongs to it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from subsight.errors import ConfigurationError
from subsight.lifecycle.audit import AuditLog
from subsight.lifecycle.segmentation import Watched
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.live import Experiment
from subsight.surfaces.api.metrics import Metrics
from subsight.surfaces.api.security import Guard
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from subsight.surfaces.acumos.served import Served

__all__ = ["AcumosDoor", "options", "serve"]

_QUEUE: Final = 2048
_GRACE_S: Final = 10


@dataclass(frozen=True)
class AcumosDoor:
    """Where Acumos clients are answered, and how: `strict` compares their headers exactly."""

    port: int
    host: str = "127.0.0.1"
    strict: bool = False
    inputs: Literal["raw", "standardised"] = "standardised"


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
    acumos: AcumosDoor | None = None,
) -> None:
    """Serves until it is told to stop; requests under way are answered first. Call it in the main thread.

    Raises:
        ConfigurationError: an address is not free, or would be open to others without a key; `acumos` is
            asked for and there is no segmentation that its clients can ask.
        StorageError: the audit log cannot be written.
    """
    # Before anything is written or bound.
    Guard(ApiKeys(workspace), auth, host).check_start()
    limits, metrics, watched = limits or Limits(), Metrics(), Watched(workspace)
    served = _served(watched, acumos)
    log = AuditLog(workspace.path / "audit", mode=audit, rotate_bytes=rotate_bytes, keep_days=keep_days)
    with ExitStack() as stack:
        listening = [stack.enter_context(_listening(host, port, "--port"))]
        if acumos:
            listening.append(stack.enter_context(_listening(acumos.host, acumos.port, "--acumos")))
        stack.enter_context(log)
        from subsight.surfaces.api.app import create_app

        also = {"acumos_host": acumos.host, "acumos_port": acumos.port} if acumos else {}
        log.event("service_started", auth=auth, host=host, port=port, **also)
        gate = create_app(
            workspace, log, auth=auth, host=host, limits=limits, experiment=experiment,
            watched=watched, metrics=metrics,
        )  # fmt: skip
        stack.enter_context(gate.open())
        apps: list[ASGIApp] = [gate]
        if acumos and served:
            from subsight.surfaces.acumos.app import Acumos
            from subsight.surfaces.api.journal import Journal

            journal = Journal(log, metrics)
            apps.append(Acumos(served, journal, limits, metrics, strict=acumos.strict))
        _run(apps, listening)
        if log.failure is None:
            log.event("service_stopped")


def _served(watched: Watched, acumos: AcumosDoor | None) -> Served | None:
    if acumos is None:
        return None
    from subsight.surfaces.acumos.served import Served

    served = Served(watched, acumos.inputs)
    served.check_start()
    return served


def _run(apps: Sequence[ASGIApp], listening: Sequence[socket.socket]) -> None:
    """Answers on every socket by its application, in one event loop, until a signal says to stop."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # Of several servers each would take the signals for itself.
            yield

    servers = [Server(uvicorn.Config(app, **options())) for app in apps]

    async def answer(server: Server, one: socket.socket) -> None:
        try:
            await server.serve([one])
        finally:
            # Where one ends, for whatever reason, none is left alone.
            for other in servers:
                other.should_exit = True

    async def answer_all() -> None:
        await asyncio.gather(*(answer(*pair) for pair in zip(servers, listening, strict=True)))

    with (
        _stopped_by_signals(servers),
        asyncio.Runner(loop_factory=servers[0].config.get_loop_factory()) as runner,
    ):
        runner.run(answer_all())


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
def _stopped_by_signals(servers: Sequence[uvicorn.Server]) -> Iterator[None]:
    """Lets the process end in order at the first signal; a second Ctrl-C waits for nobody."""

    def stop(number: int, _frame: object) -> None:
        for server in servers:
            server.force_exit = server.should_exit and number == signal.SIGINT
            server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _listening(host: str, port: int, option: str) -> Iterator[socket.socket]:
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
                do=f"name another port with {option}",
            ) from error
        listening.listen(_QUEUE)
        yield listening
    finally:
        listening.close()
