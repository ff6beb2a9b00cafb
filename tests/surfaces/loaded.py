"""A load of a running service: many connections that stay open, and every answer with when it came."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from served import SCORES


@dataclass(frozen=True)
class Answer:
    """A request's answer, sent and received by the monotonic clock."""

    sent_s: float
    received_s: float
    status: int
    body: Any


@dataclass
class Load:
    """`requests` predictions over so many connections; `at` calls, each in a thread once that many answered.

    Where the service goes away the connections end: what was answered until then stands in `answers`.
    """

    port: int
    requests: int
    connections: int = 32
    at: dict[int, Callable[[], object]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    broken: int = 0

    def run(self) -> list[Answer]:
        """Sends all, and waits for the answers and the calls."""
        asyncio.run(self._run())
        return self.answers

    async def _run(self) -> None:
        self._left, self._calls = self.requests, []
        await asyncio.gather(*(self._connection() for _ in range(self.connections)))
        await asyncio.gather(*self._calls)

    async def _connection(self) -> None:
        body = json.dumps(SCORES).encode()
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while self._left > 0:
                self._left -= 1
                sent = time.monotonic()
                writer.write(request)
                status, content = await _answer(reader)
                self.answers.append(Answer(sent, time.monotonic(), status, json.loads(content)))
                if call := self.at.get(len(self.answers)):
                    self._calls.append(asyncio.create_task(asyncio.to_thread(call)))
        except (OSError, asyncio.IncompleteReadError):
            self.broken += 1
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    (length,) = [int(line[15:]) for line in lines if line.lower().startswith("content-length:")]
    return int(lines[0].split(" ")[1]), await reader.readexactly(length)
