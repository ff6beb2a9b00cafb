"""What a running service answers with, followed as runs are published: the newest that can be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from subsight.errors import WorkspaceError

__all__ = ["Followed", "of_file"]

T = TypeVar("T")

_LOOK_EVERY_S: Final = 0.1
_log = logging.getLogger("subsight.api")


class Followed(Generic[T]):
    """The present one of a kind: another is taken up as soon as its stamp differs, a broken one never is.

    Args:
        name: what it is called, as in `segmentation`.
        read: the present one, None where there is none.
        stamp: what changes whenever another one may be there; cheap, as it is asked ten times a second.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], T | None],
        stamp: Callable[[], tuple[object, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._read, self._stamp_of, self._clock = name, read, stamp, clock
        self._stamp: tuple[object, ...] | None = None
        self._look_at = 0.0
        self._current: T | None = None
        self.trouble: str | None = None

    def current(self) -> T | None:
        """The present one; a change is seen within 100 ms. `trouble` says why a newer one is not used."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            # Taken before it is read: a change in between is seen at the next look.
            found = self._stamp_of()
            if found != self._stamp:
                self._stamp = found
                self._load()
        return self._current

    def _load(self) -> None:
        try:
            self._current, self.trouble = self._read(), None
        except WorkspaceError as error:
            version = getattr(self._current, "version", None)
            old = f"that of {version} answers" if self._current else "there is none to answer"
            # Callers see it, so it has no more of the error than its kind; the log has all.
            self.trouble = f"the {self._name} cannot be loaded ({type(error).__name__}): {old}"
            _log.error("%s: %s", self.trouble, error)


def of_file(path: Path) -> tuple[int, int]:
    """What changes when another file takes a file's place."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino
