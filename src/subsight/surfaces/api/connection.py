"""A connection whose answers leave whole: head and body in one packet and one call to the system."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from subsight.surfaces.api.gate import BODY_IS_HERE

__all__ = ["Connection"]

# The parser has no bound of its own, and a head is read before any key is looked at.
_LARGEST_HEAD: Final = 65_536
_TOO_LARGE: Final = "The head of the request is too large."


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which hands over head and body one after the other, and bounds no head."""

    _in_head, _packet, _waiting = False, 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection over."""
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Takes what came; a head beyond all reason is answered with 400, and the connection closes."""
        self._packet = len(data)
        super().data_received(data)
        self._waiting += self._packet
        if self._in_head and self._waiting > _LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begins to count what a head holds."""
        super().on_message_begin()
        self._in_head, self._waiting = True, 0

    def on_headers_complete(self) -> None:
        """Ends the count: bodies have limits of their own. What is raised here is answered with 400."""
        self._in_head = False
        # Most requests come in one small packet, whose head needs no measuring.
        if self._waiting + self._packet > _LARGEST_HEAD and _size(self.headers) > _LARGEST_HEAD:
            raise ValueError(_TOO_LARGE)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Notes it: most bodies come with their head, and nobody has to wait for them."""
        super().on_message_complete()
        self.scope[BODY_IS_HERE] = True  # type: ignore[typeddict-unknown-key]


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


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
