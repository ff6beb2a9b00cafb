"""Watching: files are ingested as they land in a folder, and runs of the flow studies are published."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from subsight import ingestion
from subsight.errors import ConfigurationError, NotFoundError, SubsightError, WorkspaceBusyError
from subsight.live.collector import published_now
from subsight.live.status import beating, tell
from subsight.settings import Settings
from subsight.workspace import Workspace

__all__ = ["watch"]

Say = Callable[[str], None]


def watch(
    workspace: Workspace,
    inbox: Path,
    settings: Settings,
    *,
    publish: Callable[[], str],
    kind: str = "flows",
    poll_s: float = 2.0,
    publish_s: float = 300.0,
    say: Say = print,
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Ingests each file of a folder once it stops growing, until `ended` says so.

    A file is taken when its size and time are the same at two looks; names that begin with a dot or end in
    `.part`, `.tmp` or `.partial` are still being written. Files stay where they are: the same content counts
    once, however often the command is started. One that cannot be read is told, and tried again when it
    changes. `publish` makes a run of the flow studies and gives its name.

    Raises:
        NotFoundError: there is no such folder.
        ConfigurationError: there is no such kind of records.
    """
    if not inbox.is_dir():
        raise NotFoundError(f"{inbox} is no folder", expected="the folder in which files land", do="make it")
    if kind not in ingestion.KINDS:
        raise ConfigurationError(
            "the kind of records is unknown", found=kind, expected=", ".join(ingestion.KINDS)
        )
    look = _Look(workspace, settings, kind, say)
    published = time.monotonic()
    with beating(workspace, "watch"):
        while True:
            last = ended()
            look.once(inbox)
            due = time.monotonic() - published >= publish_s or last
            if look.has_news and publish_s and due and kind == "flows":
                look.has_news, published = not published_now(publish, say), time.monotonic()
            if last:
                return
            time.sleep(poll_s)


class _Look:
    """What was seen of a folder so far."""

    def __init__(self, workspace: Workspace, settings: Settings, kind: str, say: Say) -> None:
        self._workspace, self._settings, self._kind, self._say = workspace, settings, kind, say
        self._seen: dict[Path, tuple[int, int]] = {}
        self._done: dict[Path, tuple[int, int]] = {}
        self._refused: dict[str, str] = {}
        self._taken = {"files": 0, "accepted": 0, "rejected": 0, "known": 0}
        self.has_news = False

    def once(self, inbox: Path) -> None:
        """Looks at the folder and takes what has come to rest."""
        waiting = 0
        for path in sorted(inbox.iterdir()):
            if (
                path.name.startswith(".")
                or path.suffix in (".part", ".tmp", ".partial")
                or not path.is_file()
            ):
                continue
            stat = path.stat()
            mark = stat.st_size, stat.st_mtime_ns
            if self._done.get(path) == mark:
                continue
            if self._seen.get(path) != mark or not self._take(path, mark):
                waiting += 1
            self._seen[path] = mark
        told: dict[str, Any] = {**self._taken, "waiting": waiting, "refused": self._refused}
        runs = self._workspace.runs()
        tell(self._workspace, "watch", {**told, "inbox": str(inbox), "last_run": runs[-1] if runs else None})

    def _take(self, path: Path, mark: tuple[int, int]) -> bool:
        """Whether the file was dealt with: another writer is waited for."""
        try:
            (found,) = ingestion.ingest(self._workspace, [path], self._settings, kind=self._kind)
        except WorkspaceBusyError:
            return False
        except SubsightError as error:
            self._refused[path.name] = str(error).splitlines()[0]
            self._say(f"{path.name}: refused\n{error}")
        else:
            self._refused.pop(path.name, None)
            manifest = found.batch.manifest
            if found.is_new:
                self.has_news = True
                self._taken["files"] += 1
                self._taken["accepted"] += manifest["accepted"]
                self._taken["rejected"] += manifest["rejected"]
                self._say(
                    f"{path.name}: {manifest['accepted']:,} accepted, {manifest['rejected']:,} rejected"
                )
            else:
                self._taken["known"] += 1
        self._done[path] = mark
        return True
