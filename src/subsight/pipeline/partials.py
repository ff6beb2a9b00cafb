"""Partials of many small batches in few files: a day of micro-batches is thousands, too many to open each.

What merges hold is written into `merged.json` after a merge and before the partials that it holds are
removed, so that a death in between repeats work and loses nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from subsight.store import Frame, Store
from subsight.workspace import write_atomically

__all__ = ["Partials"]

_MANY: Final = 64
"""Small files that are merged when so many are there."""
_SMALL: Final = 4 << 20
"""Bytes up to which a file is small."""


class Partials:
    """The files that hold a wanted set of partials; every other merge in the folder is out of date.

    Args:
        folder: where the partials lie.
        wanted: the partials that a run reads.
    """

    def __init__(self, folder: Path, wanted: Iterable[Path]) -> None:
        self._folder = folder
        self._wanted = {path.name: path for path in wanted}
        self._merged = {
            name: held
            for name, held in _read(folder).items()
            if held and set(held) <= self._wanted.keys() and (folder / name).exists()
        }
        self._held = {name for held in self._merged.values() for name in held}

    def __contains__(self, path: Path) -> bool:
        return path.name in self._held or path.exists()

    def files(self, store: Store, kind: str, summed: Callable[[Frame], Frame]) -> list[Path]:
        """Files that together hold the wanted partials of one kind, each once; small ones are merged if many.

        Args:
            kind: what the names of merges begin with; partials of other kinds are left alone.
            summed: sums rows that are of the same, so that a merge is shorter than its parts.
        """
        mine = [self._folder / name for name in self._merged if name.startswith(f"{kind}.")]
        loose = [
            path for name, path in self._wanted.items() if name not in self._held and _kind(name) == kind
        ]
        small = [path for path in loose if path.stat().st_size <= _SMALL]
        if len(small) < _MANY:
            return [*mine, *loose]
        names = sorted(path.name for path in small)
        merge = self._folder / f"{kind}.{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]}.merged"
        store.write(summed(store.read(small)), merge)
        self._merged[merge.name] = names
        self._held |= set(names)
        self._settle()
        return [*mine, merge, *(path for path in loose if path.name not in self._held)]

    def _settle(self) -> None:
        """Writes down what merges hold; then removes the partials that they do, and merges out of date."""
        write_atomically(self._folder / "merged.json", json.dumps(self._merged, indent=1))
        for path in self._folder.iterdir():
            is_old = path.suffix == ".merged" and path.name not in self._merged
            if is_old or path.name in self._held:
                path.unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "merged.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: partials are computed again
        return {}
    return found


def _kind(name: str) -> str:
    """Of `CONTENT.usage0.DIGEST.parquet`, usage."""
    return name.split(".")[1].rstrip("0123456789")
