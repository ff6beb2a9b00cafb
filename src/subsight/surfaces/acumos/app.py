"""The contract's addresses as an ASGI application: v1 for its own client, v2 for the later runners."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from subsight.errors import SubsightError
from subsight.lifecycle.audit import AuditBusyError
from subsight.surfaces.acumos import messages, schema
from subsight.surfaces.acumos.served import Served
from subsight.surfaces.api import bodies
from subsight.surfaces.api.gate import BODY_IS_HERE
from subsight.surfaces.api.journal import Journal, Prediction
from subsight.surfaces.api.limits import Buckets, Limits
from subsight.surfaces.api.metrics import Metrics
from subsight.surfaces.api.refusals import RefusedError
from subsight.surfaces.api.segments import placed

__all__ = ["Acumos"]

_V1: Final = "/classify"
_V2: Final = "/model/methods/classify"
_PROTO: Final = "/model/artifacts/protobuf"
_METADATA: Final = "/model/artifacts/metadata"
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    _V1: ("POST", "GET"),
    _V2: ("POST",),
    _PROTO: ("GET",),
    _METADATA: ("GET",),
}
_TEXT: Final = "text/plain;charset=UTF-8"
_EVERYWHERE: Final = {"Access-Control-Allow-Origin": "*"}
_KINDS: Final = (schema.PROTOBUF, schema.JSON)
_CALLER: Final = "acumos"
_DISCONNECTED: Final = 499
_OWN_THREAD_BYTES: Final = 100_000
_log = logging.getLogger("subsight.api")


class _Kinds(NamedTuple):
    """How a message comes, and how the answer goes."""

    sent: str
    wanted: str


class Acumos:
    """Segments by the contract of the Acumos model runner."""

    def __init__(
        self, served: Served, journal: Journal, limits: Limits, metrics: Metrics, *, strict: bool = False
    ) -> None:
        self._served, self._journal, self._limits, self._metrics = served, journal, limits, metrics
        self._strict = strict
        self._buckets = Buckets(limits.rate, limits.burst)
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; nothing that it holds makes it fail."""
        if scope["type"] != "http":
            return
        started, path, status = time.perf_counter(), scope["path"], _DISCONNECTED
        route = f"acumos {path if path in _METHODS else 'other'}"
        try:
            response = await self._answer(scope, receive, started)
        except ClientDisconnect:
            response = None
        except Exception as error:
            response = _refusal(error, _EVERYWHERE if path == _V1 else {})
            if response.status_code == 500:
                _log.exception("a request to %s failed", route)
        try:
            if response:
                response.headers["X-Content-Type-Options"] = "nosniff"
                response.headers["Cache-Control"] = "no-store"
                status = response.status_code
                await response(scope, receive, send)
        finally:
            self._metrics.answered(route, status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, started: float) -> Response:
        path, method = scope["path"], scope["method"]
        known = _METHODS.get(path)
        if known is None:
            raise RefusedError(404, "there is nothing at this address", expected=", ".join(_METHODS))
        if method not in known:
            allowed = {"Allow": ", ".join(known)}
            raise RefusedError(
                405, "this address does not take this method", expected=allowed["Allow"], headers=allowed
            )
        self._admit(scope, started)
        self._busy += 1
        try:
            if path == _PROTO:
                return Response(schema.proto(), media_type="text/plain")
            if path == _METADATA:
                found = schema.metadata(self._served.current(), self._served.given)
                return Response(msgspec.json.encode(found), media_type=schema.JSON)
            return await self._classified(path, scope, receive, started)
        finally:
            self._busy -= 1

    def _admit(self, scope: Scope, started: float) -> None:
        client = scope.get("client")
        if wait := self._buckets.take(client[0] if client else "unknown", started):
            after = {"Retry-After": str(math.ceil(wait))}
            raise RefusedError(429, "too many requests", do="wait", headers=after)
        if self._busy >= self._limits.concurrency:
            after = {"Retry-After": "1"}
            raise RefusedError(503, "too many requests at the same time", do="ask again", headers=after)

    async def _classified(self, path: str, scope: Scope, receive: Receive, started: float) -> Response:
        headers = dict(scope["headers"])
        kinds = self._kinds(headers) if path == _V2 else _Kinds(schema.PROTOBUF, schema.PROTOBUF)
        body = await bodies.read(receive, headers, self._limits, is_here=scope.get(BODY_IS_HERE, False))

        def answered() -> tuple[Prediction, int, bytes, Future[None]]:
            return self._predicted(body, kinds, started)

        large = len(body) > _OWN_THREAD_BYTES
        made, rows, content, recorded = await asyncio.to_thread(answered) if large else answered()
        await self._journal.end_batch(made, rows, recorded)
        if path == _V1:
            return Response(content, 201, {**_EVERYWHERE, "Content-Type": _TEXT})
        return Response(content, media_type=kinds.wanted)

    def _predicted(
        self, body: bytes, kinds: _Kinds, started: float
    ) -> tuple[Prediction, int, bytes, Future[None]]:
        segmenter, given = self._served.current(), self._served.given
        message = messages.read(body, kinds.sent)
        columns, rows = messages.columns(message, segmenter, given, self._limits.batch_rows)
        labels = placed(segmenter, columns, rows, given).tolist()
        content = messages.written(labels, kinds.wanted)
        latency_ms = round(1000 * (time.perf_counter() - started), 3)
        made = Prediction(os.urandom(12).hex(), _CALLER, segmenter, latency_ms, {"given": given})
        return made, rows, content, self._journal.begin_batch(made, {**columns, "segment": labels})

    def _kinds(self, headers: Mapping[bytes, bytes]) -> _Kinds:
        found = {}
        for name in ("Content-Type", "Accept"):
            given = headers.get(name.lower().encode())
            if given is None:
                raise RefusedError(400, f"the header {name} is missing", expected=" or ".join(_KINDS))
            found[name] = given.decode("latin-1")
        sent = _kind(found["Content-Type"], None, self._strict)
        wanted = _kind(found["Accept"], sent, self._strict)
        if sent is None or wanted is None or b"content-encoding" in headers:
            name = "Content-Type" if sent is None else "Accept" if wanted is None else "Content-Encoding"
            raise RefusedError(
                415,
                f"the header {name} names another type",
                found=(found.get(name) or "a compressed body")[:100],
                expected=" or ".join(_KINDS),
            )
        return _Kinds(sent, wanted)


def _kind(header: str, default: str | None, strict: bool) -> str | None:
    """The type that a header names; the default stands for any. Exact as the runner is, where strict."""
    if strict:
        return header if header in _KINDS else None
    choices: list[tuple[float, int, str]] = []
    for place, part in enumerate(header.split(",")):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        named = dict(one.partition("=")[::2] for one in parameters)
        kind = default if default and media in ("*/*", "application/*") else media
        if kind in _KINDS and named.get("charset", "utf-8").strip('"') in ("utf-8", "utf8"):
            choices.append((-_quality(named.get("q", "1")), place, kind))
    best = min(choices, default=(0.0, 0, ""))
    return best[2] if best[0] < 0 else None


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _refusal(error: Exception, headers: Mapping[str, str]) -> Response:
    """What the contract says of an error: a status and a line of text."""
    if isinstance(error, RefusedError):
        said = [f"{k}: {v}" if k != "what" else str(v) for k, v in error.error.items() if v is not None]
        # Values that cannot be used are 400 here; our own service says 422.
        status = 400 if error.status == 422 else error.status
        return _text("; ".join(said), status, {**headers, **(error.headers or {})})
    if isinstance(error, AuditBusyError):
        return _text("too many records wait for the disk: ask again", 503, {**headers, "Retry-After": "1"})
    if isinstance(error, SubsightError):
        # What it says of the disk is for who runs the service, not for who asks it.
        _log.error("%s", error)
        return _text("the service cannot do this now: its log says why", 503, headers)
    return _text("the service failed where it should not: its log says more", 500, headers)


def _text(said: str, status: int, headers: Mapping[str, Any]) -> Response:
    return Response(said + "\n", status, {**headers, "Content-Type": _TEXT})
