"""What every request passes first: who asks, how often, how many at once; and what every answer carries."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from subsight.surfaces.api.limits import Buckets, Limits
from subsight.surfaces.api.metrics import Metrics
from subsight.surfaces.api.refusals import RefusedError, explain
from subsight.surfaces.api.security import HEADERS, Guard
from subsight.surfaces.dashboard.addresses import is_page, route_of

__all__ = ["BODY_IS_HERE", "Asked", "Endpoint", "Gate", "Pages", "asked", "route"]

Endpoint = Callable[[Scope, Receive], Awaitable[Response]]

BODY_IS_HERE: Final = "subsight.body_is_here"
_ROUTES: Final = frozenset({
    "/predict", "/predict/batch", "/segments/predict", "/offers/recommend", "/feedback", "/monitoring",
    "/health", "/ready", "/metrics", "/model", "/docs", "/openapi.json",
})  # fmt: skip
_OF_A_SUBSCRIBER: Final = frozenset({"segment", "offers"})
_PROBES: Final = frozenset({"/health", "/ready"})
_OTHER: Final = "other"
"""Where nothing is: a session's cookie counts there, as it tells a page that is not found from a login."""
_DISCONNECTED: Final = 499
_log = logging.getLogger("subsight.api")


class Pages(Protocol):
    """What explains to people, on a page, why they are not answered."""

    def explains(self, scope: Scope, route: str) -> bool:
        """Whether the request asks for a page."""

    def explained(self, scope: Scope, error: Exception) -> Response:
        """The page."""

    def prepare(self) -> None:
        """Begins what makes the first page faster."""

    def close(self) -> None:
        """Ends what was begun for pages."""


class Asked(msgspec.Struct, frozen=True):
    """What the gate knows of a request: its caller's name, its headers, when it began, if it is all there.

    And what the caller may do.
    """

    caller: str
    headers: dict[bytes, bytes]
    started_s: float
    body_is_here: bool
    roles: frozenset[str] = frozenset()

    def latency_ms(self) -> float:
        """Milliseconds since the request's head was read."""
        return round(1000 * (time.perf_counter() - self.started_s), 3)


def asked(scope: Scope) -> Asked:
    """What the gate found out about the request."""
    found: Asked = scope["subsight"]
    return found


def route(path: str) -> str:
    """The template of a path, `other` where nothing is: what roles and counters go by."""
    if path in _ROUTES:
        return path
    if not path.startswith("/subscribers/"):
        return route_of(path) or _OTHER
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
        pages: Pages | None = None,
    ) -> None:
        self.app = app
        self._pages = pages
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
        started, named, status = time.perf_counter(), route(scope["path"]), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Pages have a policy of their own.
                given = [name for name, _ in message["headers"]]
                message["headers"] = [*message["headers"], *(one for one in HEADERS if one[0] not in given)]
            await send(message)

        try:
            await self._admit(scope, receive, answer, named, started)
        except ClientDisconnect:
            status = status or _DISCONNECTED
        except Exception as error:
            response = self._explained(scope, named, error)
            if response.status_code == 500:
                _log.exception("a request to %s failed", named)
            if not status:
                await response(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.answered(named, status or _DISCONNECTED, seconds)
            # The route, not the path: that may hold somebody's number.
            _log.debug("%s %s %s %.1f ms", scope["method"], named, status, 1000 * seconds)

    def _explained(self, scope: Scope, named: str, error: Exception) -> Response:
        if self._pages and self._pages.explains(scope, named):
            return self._pages.explained(scope, error)
        return explain(error)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Begins what makes pages faster, and ends it."""
        if self._pages:
            self._pages.prepare()
        try:
            yield
        finally:
            if self._pages:
                self._pages.close()

    async def _admit(self, scope: Scope, receive: Receive, send: Send, named: str, started: float) -> None:
        headers = dict(scope["headers"])
        name, roles = "probe", frozenset[str]()
        if named not in _PROBES:
            caller = self._guard.caller(headers, by_cookie=is_page(named) or named == _OTHER)
            roles = caller.roles if caller else roles
            name = caller.name if caller else "unknown"
            # Without keys all have one name: there each address has a bucket of its own.
            client = scope.get("client")
            holder = name if name.startswith("key ") or not client else f"from {client[0]}"
            if wait := self._buckets.take(holder, started):
                after = {"Retry-After": str(math.ceil(wait))}
                expected = f"{self._limits.rate:g} requests a second, {self._limits.burst} at once"
                raise RefusedError(429, "too many requests", expected=expected, do="wait", headers=after)
            self._guard.check(caller, named)
            if self._busy >= self._limits.concurrency:
                after = {"Retry-After": "1"}
                raise RefusedError(503, "too many requests at the same time", do="ask again", headers=after)
        scope["subsight"] = Asked(name, headers, started, scope.get(BODY_IS_HERE, False), roles)
        self._busy += 1
        try:
            if hot := self._hot.get((scope["method"], scope["path"])):
                response = await hot(scope, receive)
                await response(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            self._busy -= 1
