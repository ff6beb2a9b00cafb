"""New fits and versions are copied into MLflow while a service runs, by a process that comes and goes.

MLflow takes three seconds and 200 MB to import: the service itself does without, and waits for nothing.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any, Final, Self

from subsight.lifecycle.registry import Registry
from subsight.workspace import Workspace

__all__ = ["Copier"]

_LOOK_EVERY_S: Final = 5.0
_TRY_AGAIN_S: Final = 600.0
_GRACE_S: Final = 10.0
_IDLEST: Final = 19
_log = logging.getLogger("subsight.tracking")


class Copier:
    """Runs `subsight models track` whenever a run was published or the registry changed.

    The first look is after `look_every_s`. What cannot be copied is logged, and tried again with the next
    change or after ten minutes. Use it in a `with` block, whose end waits for a copy that is under way.
    """

    def __init__(self, workspace: Workspace, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._workspace, self._look_every_s = workspace, look_every_s
        self._registry = Registry(workspace)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tracking", daemon=True)
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(_GRACE_S)
        if self._thread.is_alive() and self._child:
            self._child.kill()
            self._thread.join()

    def _follow(self) -> None:
        copied: Any = None
        again_at = 0.0
        while not self._stopping.wait(self._look_every_s):
            # Taken before the copy begins: a change in between is seen at the next look.
            state = self._state()
            if state != copied or time.monotonic() >= again_at:
                failed = self._copy()
                again_at = time.monotonic() + _TRY_AGAIN_S if failed else float("inf")
                copied = state
                if failed and not self._stopping.is_set():
                    _log.warning("not copied to MLflow yet: %s", failed)

    def _state(self) -> tuple[str, tuple[int, int]]:
        try:
            run = str((self._workspace.path / "current").readlink())
        except OSError:
            run = ""
        return run, self._registry.stamp()

    def _copy(self) -> str:
        """Why it failed, or nothing."""
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "subsight", "models", "track", str(self._workspace.path)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                # A Ctrl-C for the service does not cut a copy short.
                start_new_session=True,
            )  # fmt: skip
            os.setpriority(os.PRIO_PROCESS, self._child.pid, _IDLEST)
            _, said = self._child.communicate()
        except OSError as error:
            return str(error)
        return said.strip() or f"exit code {self._child.returncode}" if self._child.returncode else ""
