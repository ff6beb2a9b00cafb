"""What code is running: the packages' versions and the checkout's commit, as a fit record keeps them."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

__all__ = ["code", "packages"]

_PACKAGES: Final = ("subsight", "duckdb", "narwhals", "scikit-learn", "numpy", "pyarrow")
_COMMIT: Final = "SUBSIGHT_COMMIT"


def packages() -> dict[str, str]:
    """Python's version and those of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


@cache
def code() -> dict[str, Any]:
    """The package's version, its git commit and whether the checkout differed from it.

    An image has no checkout: its build gives the commit in `SUBSIGHT_COMMIT`. Without either, the
    commit and `is_dirty` are null.
    """
    found: dict[str, Any] = {"package": metadata.version("subsight"), "commit": None, "is_dirty": None}
    if given := os.environ.get(_COMMIT):
        return {**found, "commit": given, "is_dirty": False}
    here = Path(__file__).parent
    try:
        top = _git(here, "rev-parse", "--show-toplevel")
        # An environment inside some other project's checkout is not that project's code.
        if Path(top, "src", "subsight") != here:
            return found
        return {**found, "commit": _git(here, "rev-parse", "HEAD"),
                "is_dirty": bool(_git(here, "status", "--porcelain", "--", str(here)))}  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return found


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
