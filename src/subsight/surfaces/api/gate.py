"""What every request passes first: who asks, how often, how many at once; and what every answer carries."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from subsight.surfaces.api.limits import Buckets, Limits
from subsight.surfaces.api.metrics import Metrics
from subsight.surfaces.api.refusals import RefusedError, explain
from subsight.surfaces.api.security import HEADERS, Guard

__all__ = ["BODY_IS_HERE", "Asked", "Endpoint", "Gate", "asked"]

Endpoint = Callable[[Scope, Receive], Awaitable[Response]]

BODY_IS_HERE: Final = "subsight.body_is_here"
_ROUTES: Final = frozenset({
    "/predict", "/predict/batch", "/segments/predict", "/offers/recommend", "/feedback", "/monitoring",
    "/health", "/ready", "/metrics", "/model", "/docs", "/openapi.json",
})  # fmt: skip
_OF_A_SUBSCRIBER: Final = frozenset({"segment", "offers"})
_PROBES: Final = frozenset({"/health", "/ready"})
_DISCONNECTED: Final = 499
_log = logging.getLogger("subsight.api")


class Asked(msgspec.Struct, frozen=True):
    """What the gate knows of a request: its caller's name, its headers, when it began, if it is all there."""

    caller: str
    headers: dict[bytes, bytes]
    started_s: float
    body_is_here: bool

    def latency_ms(self) -> float:
        """Milliseconds since the request's head was read."""
        return round(1000 * (time.perf_counter() - self.started_s), 3)


def asked(scope: Scope) -> Asked:
    """What the gate found out about the request."""
    found: Asked = scope["subsight"]
    return found


def _route(path: str) -> str:
    if path in _ROUTES:
        return path
    if not path.startswith("/subscribers/"):
        return "other"
    last = path.rpartition("/")[2]
    return f"/subscribers/{{id}}/{last}" if last in _OF_A_SUBSCRIBER else "/subscribers/{id}"


class Gate:
    """The service as ASGI sees it: the gate, then the hot endpoints at once and the others by the router."""

    def __init__(
        self,
        app: ASGIApp,
        hot: Mapping[tuple[str, str], Endpoint],
        guard: Guard,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self.app = app
        self._hot = hot
        self._guard = guard
        self._limits = limits
        self._buckets = Buckets(limits.rate, limits.burst)
        self._metrics = metrics
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; nothing that it holds makes it fail."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, route, status = time.perf_counter(), _route(scope["path"]), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        try:
            await self._admit(scope, receive, answer, route, started)
        except ClientDisconnect:
            status = status or _DISCONNECTED
        except Exception as error:
            response = explain(error)
            if response.status_code == 500:
                _log.exception("a request to %s failed", route)
            if not status:
                await response(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.answered(route, status or _DISCONNECTED, seconds)
            # The route, not the path: that may hold somebody's number.
            _log.debug("%s %s %s %.1f ms", scope["method"], route, status, 1000 * seconds)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, route: str, started: float) -> None:
        headers = dict(scope["headers"])
        name = "probe"
        if route not in _PROBES:
            caller = self._guard.caller(headers)
            name = caller.name if caller else "unknown"
            # Without keys all have one name: there each address has a bucket of its own.
            client = scope.get("client")
            holder = name if name.startswith("key ") or not client else f"from {client[0]}"
            if wait := self._buckets.take(holder, started):
                after = {"Retry-After": str(math.ceil(wait))}
                expected = f"{self._limits.rate:g} requests a second, {self._limits.burst} at once"
                raise RefusedError(429, "too many requests", expected=expected, do="wait", headers=after)
            self._guard.check(caller, route)
            if self._busy >= self._limits.concurrency:
                after = {"Retry-After": "1"}
                raise RefusedError(503, "too many requests at the same time", do="ask again", headers=after)
        scope["subsight"] = Asked(name, headers, started, scope.get(BODY_IS_HERE, False))
        self._busy += 1
        try:
            if hot := self._hot.get((scope["method"], scope["path"])):
                response = await hot(scope, receive)
                await response(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            self._busy -= 1
