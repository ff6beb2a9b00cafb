"""First paint in headless Chromium, spoken to through a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PAINTS = "JSON.stringify(performance.getEntriesByType('paint').map(e => [e.name, e.startTime]))"


class Browser:
    """A page of a browser that keeps nothing between two addresses."""

    def __init__(self, reading: int, writing: int) -> None:
        self._answers = os.fdopen(reading, "rb")
        self._writing = writing
        self._number = 0
        self._rest = b""
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")
        self.ask("Network.setCacheDisabled", cacheDisabled=True)

    def ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        return self._until(lambda told: told.get("id") == self._number)["result"]

    def _until(self, wanted: Any) -> Any:
        while True:
            while b"\0" not in self._rest:
                part = self._answers.read1(1 << 16)
                if not part:
                    raise RuntimeError("the browser has ended")
                self._rest += part
            line, _, self._rest = self._rest.partition(b"\0")
            if wanted(told := json.loads(line)):
                return told

    def first_paint_ms(self, address: str) -> float:
        """From the beginning of the navigation until something of the page is seen."""
        self.ask("Page.navigate", url=address)
        self._until(lambda told: told.get("method") == "Page.loadEventFired")
        for _ in range(100):
            found = self.ask("Runtime.evaluate", expression=PAINTS, returnByValue=True)
            paints = dict(json.loads(found["result"]["value"]))
            if "first-contentful-paint" in paints:
                return float(paints["first-contentful-paint"])
            self.ask("Runtime.evaluate", expression="new Promise(r => setTimeout(r, 20))", awaitPromise=True)
        return float("nan")


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium of its own; it ends with the block."""
    to_read, for_it = os.pipe()
    from_it, to_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = f"--headless --no-sandbox --disable-gpu --user-data-dir={profile} --window-size=1280,1000"
        command = f"exec chromium {flags} --remote-debugging-pipe about:blank 3<&{from_it} 4>&{for_it}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(["bash", "-c", command], pass_fds=(from_it, for_it), **quiet)  # type: ignore[call-overload]
        os.close(from_it)
        os.close(for_it)
        try:
            yield Browser(to_read, to_write)
        finally:
            process.terminate()
            process.wait(20)
            os.close(to_write)
