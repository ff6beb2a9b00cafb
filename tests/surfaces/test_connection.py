"""A connection's answers leave whole: counted at the transport, as TCP may join what was sent apart."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from subsight.surfaces.api.connection import Connection
from subsight.surfaces.api.server import options


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.did: list[bytes | str] = []
        self.gone = False

    def write(self, data: Any) -> None:
        self.did.append(data)

    def close(self) -> None:
        self.did.append("closed")
        self.gone = True

    def is_closing(self) -> bool:
        return self.gone


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def answered(head: bytes, *, leaves: bool = False) -> list[bytes | str]:
    async def talk() -> list[bytes | str]:
        config = uvicorn.Config(app, **options())
        config.load()
        connection = Connection(config, ServerState(), {}, asyncio.get_running_loop())
        transport = Transport()
        connection.connection_made(transport)
        connection.data_received(head)
        await asyncio.sleep(0)  # the answer was given, and waits for the end of the step
        transport.gone = leaves
        await asyncio.sleep(0.01)
        did = list(transport.did)
        connection.connection_lost(None)
        return did

    return asyncio.run(talk())


HEAD = b"HTTP/1.1 200 OK\r\n"


def test_head_and_body_are_one_write() -> None:
    [whole] = answered(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert isinstance(whole, bytes)
    assert whole.startswith(HEAD)
    assert whole.endswith(b"\r\n\r\nhello")


def test_what_was_written_leaves_before_the_connection_closes() -> None:
    whole, closed = answered(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert isinstance(whole, bytes)
    assert whole.endswith(b"\r\n\r\nhello")
    assert closed == "closed"


def test_nothing_is_written_to_who_has_left() -> None:
    assert answered(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", leaves=True) == []


def test_what_is_no_request_is_refused_and_the_connection_closed() -> None:
    whole, closed = answered(b"nonsense\r\n\r\n")
    assert isinstance(whole, bytes)
    assert whole.startswith(b"HTTP/1.1 400 ")
    assert closed == "closed"


def test_a_head_without_end_is_refused_as_it_grows() -> None:
    begun = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    many = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 100) for number in range(1000))
    for head in (begun + many + b"\r\n", begun + b"X: " + b"a" * 100_000):
        whole, closed = answered(head)
        assert isinstance(whole, bytes)
        assert whole.startswith(b"HTTP/1.1 400 ")
        assert closed == "closed"
    fair = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 100) for number in range(500))
    [whole] = answered(begun + fair + b"\r\n")
    assert isinstance(whole, bytes)
    assert whole.startswith(HEAD)
