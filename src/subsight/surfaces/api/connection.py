"""A connection whose answers leave whole: head and body in one packet and one call to the system."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from subsight.surfaces.api.gate import BODY_IS_HERE

__all__ = ["Connection"]


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which hands over head and body one after the other."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection over."""
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]

    def on_message_complete(self) -> None:
        """Notes it: most bodies come with their head, and nobody has to wait for them."""
        super().on_message_complete()
        self.scope[BODY_IS_HERE] = True  # type: ignore[typeddict-unknown-key]


class _Gathering:
    """A transport that writes together what it was given within one step of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, part: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(part)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
