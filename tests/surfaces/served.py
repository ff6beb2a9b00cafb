"""The service as the process it is in service: started by its command line, asked over HTTP, stopped."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from subsight.surfaces.api.server import options

SCORES = {"engagement_score": 0.8, "experience_score": 0.7}


def ask(port: int, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
    """Status and decoded JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request(method, path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


@contextmanager
def in_thread(app: Any) -> Iterator[int]:
    """An application answering as in service, in a thread of this process; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **options()))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.005)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


class Started:
    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port, self.process = port, process

    def stop(self) -> str:
        """What the process said, after it was asked to stop and did."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said
        return said


def command(workspace: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "subsight", "serve", str(workspace), *more]


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to any process that connects."""
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(12_000, 32_000)
        with suppress(OSError), socket.create_server(("0.0.0.0", port)):
            return port


@contextmanager
def serving(workspace: Path, *more: str, environment: Mapping[str, str] | None = None) -> Iterator[Started]:
    """The service over a workspace, answering; killed at the end where it was not stopped."""
    port = free_port()
    process = subprocess.Popen(
        command(workspace, "--port", str(port), *more),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            try:
                assert ask(port, "GET", "/health") == (200, {"status": "alive"})
                break
            except OSError:
                time.sleep(0.05)
        yield Started(port, process)
    finally:
        process.kill()
        process.communicate()
