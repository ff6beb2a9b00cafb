"""Drawn charts, kept: one process draws, and what was drawn for a run and a view is not drawn again."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from threading import Lock
from typing import Any, Final

from subsight.surfaces.report import Renderer

__all__ = ["Charts", "palette", "there"]

_MOST: Final = 600
"""Charts that are kept; one is some 30 kB."""


class Charts:
    """The charts of a service, by what they show."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = Lock()
        self._renderer = Renderer()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="charts")

    def close(self) -> None:
        """Ends the process that draws."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._renderer.close()
        self._pool.shutdown()
        self._renderer.wait()

    def begin(self, key: Hashable, draw: Callable[[Renderer], Any]) -> Future[Any]:
        """What was or will be drawn under a key; what failed is not kept."""
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return known
            begun = self._kept[key] = self._pool.submit(draw, self._renderer)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        begun.add_done_callback(lambda done: self._forget(key, done))
        return begun

    def _forget(self, key: Hashable, done: Future[Any]) -> None:
        if done.cancelled() or done.exception():
            with self._lock:
                self._kept.pop(key, None)


def there(result: Any) -> Future[Any]:
    """What need not be waited for."""
    found: Future[Any] = Future()
    found.set_result(result)
    return found


@cache
def palette() -> dict[str, str]:
    """The report's colours on light paper by name, for pictures that stand alone."""
    sheet = files("subsight.surfaces.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", sheet.partition("}")[0]))
