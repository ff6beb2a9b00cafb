"""The registry: which versions of each model there are, and which one answers.

`models/<name>/<version>.json` holds a version's fit record, written once. `models/registry.json` is the
ledger: each version's digest and verdict, the aliases, and every change of them. A record whose bytes
are not those that were registered is refused. Everything is JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from subsight.errors import ConfigurationError, NotFoundError, WorkspaceError
from subsight.workspace import Workspace, write_atomically

__all__ = ["MODELS", "Registry", "Version"]

MODELS: Final = ("identity", "behaviour", "feedback")
ALIASES: Final = ("champion", "challenger")

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Version:
    """One registered version of a model: its fit record and what the ledger says of it."""

    name: str
    number: int
    record: Mapping[str, Any]
    entry: Entry

    @property
    def digest(self) -> str:
        """SHA-256 of the record's file, in hex."""
        return str(self.entry["digest"])


class Registry:
    """The models of a workspace. Reads take no lock; a change is one atomic replacement of the ledger."""

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.path / "models"

    def stamp(self) -> tuple[int, int]:
        """What changes whenever the ledger does; zeros before there is one."""
        try:
            status = self._ledger.stat()
        except FileNotFoundError:
            return 0, 0
        # The file's number tells two changes within one tick of its clock apart.
        return status.st_mtime_ns, status.st_ino

    def names(self) -> list[str]:
        """The models that have a version, in the order of `MODELS`."""
        return [name for name in MODELS if self._read()["models"].get(name)]

    def entries(self, name: str) -> list[Entry]:
        """What the ledger says of each version of a model, oldest first; the record is not read."""
        return list(self._read()["models"].get(name, []))

    def aliases(self, name: str) -> dict[str, int]:
        """The version behind each alias (`champion`, `challenger`) that is set."""
        return dict(self._read()["aliases"].get(name, {}))

    def changes(self) -> list[Entry]:
        """Every change of an alias, oldest first: `at`, `model`, `alias`, `from`, `to`, `forced`,
        `is_rollback`, `why`."""
        return list(self._read()["changes"])

    def get(self, name: str, which: int | str = "champion") -> Version:
        """A version by number or alias.

        Raises:
            ConfigurationError: no model is called so.
            NotFoundError: there is none.
            WorkspaceError: its record is not the one that was registered.
        """
        if name not in MODELS:
            raise ConfigurationError("the model is unknown", found=name, expected=", ".join(MODELS))
        number = self.aliases(name).get(which) if isinstance(which, str) else which
        entry = next((e for e in self.entries(name) if e["version"] == number), None)
        if entry is None:
            raise NotFoundError(
                f"the model {name} has no version {which}",
                expected=", ".join(str(e["version"]) for e in self.entries(name)) or "none is registered yet",
                do="train one with: subsight models train",
            )
        path = self._folder / name / f"{entry['version']}.json"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WorkspaceError(
                f"version {entry['version']} of {name} cannot be read", found=str(error), do="train it again"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != entry["digest"]:
            raise WorkspaceError(
                f"version {entry['version']} of {name} is not what was registered: it is refused",
                found=f"SHA-256 {found[:16]}…",
                expected=f"{entry['digest'][:16]}…",
                do="restore the file from a backup, or roll back to another version",
            )
        return Version(name, int(entry["version"]), json.loads(content), entry)

    def register(
        self, name: str, record: Mapping[str, Any], facts: Mapping[str, Any], sample: bytes | None = None
    ) -> Version:
        """A new version. `facts` go into the ledger: source, metrics, `is_promotable`, `reasons`, comparison.

        `sample` is of what it was trained on, kept beside the record under its own digest (see `drift`).

        Raises:
            ConfigurationError: no model is called so.
        """
        if name not in MODELS:
            raise ConfigurationError("the model is unknown", found=name, expected=", ".join(MODELS))
        content = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        with self._changing() as ledger:
            known = ledger["models"].setdefault(name, [])
            number = len(known) + 1
            (self._folder / name).mkdir(exist_ok=True)
            write_atomically(self._folder / name / f"{number}.json", content)
            known.append({
                "version": number,
                "digest": hashlib.sha256(content.encode()).hexdigest(),
                "sample": self.keep_sample(sample) if sample else None,
                "registered_at": _now(),
                **facts,
            })  # fmt: skip
        return self.get(name, number)

    def keep_sample(self, content: bytes) -> str:
        """Keeps a sample of what some version was trained on, and returns its digest."""
        digest = hashlib.sha256(content).hexdigest()
        (self._folder / "samples").mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / "samples" / f"{digest}.npz", content)
        return digest

    def sample(self, version: Version) -> bytes | None:
        """The sample of what a version was trained on; None where it came without or it is damaged."""
        digest = version.entry.get("sample")
        try:
            content = (self._folder / "samples" / f"{digest}.npz").read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def promote(self, name: str, number: int, *, force: bool = False, why: str = "") -> Version:
        """Makes a version the champion: the next request is answered by it. A challenge of its own ends.

        Raises:
            NotFoundError: there is no such version.
            ConfigurationError: validation found against it and `force` is not set.
        """
        version = self.get(name, number)
        if self.aliases(name).get("champion") == number:
            return version
        if not version.entry.get("is_promotable") and not force:
            raise ConfigurationError(
                f"version {number} of {name} did not pass validation",
                found="; ".join(version.entry.get("reasons", ())) or "no verdict",
                expected="a version no worse than the champion, within the thresholds",
                do="train another, or promote it with --force, which is recorded",
            )
        self._point(name, "champion", number, forced=force, why=why)
        return version

    def rollback(self, name: str, why: str = "") -> Version:
        """The champion before the present one's promotion becomes champion again; twice goes back further.

        Raises:
            NotFoundError: there was none before.
        """
        present = self.aliases(name).get("champion")
        before = [
            change["from"]
            for change in self.changes()
            if change["model"] == name
            and change["alias"] == "champion"
            and change["to"] == present
            and not change["is_rollback"]
        ]
        if not before or before[-1] is None:
            raise NotFoundError(
                f"the model {name} has no champion to go back to",
                found=f"version {present}" if present else "no champion",
                do="promote another version: subsight models promote WS VERSION --model " + name,
            )
        version = self.get(name, before[-1])
        self._point(name, "champion", version.number, is_rollback=True, why=why)
        return version

    def challenge(self, name: str, number: int | None) -> None:
        """Makes a version the challenger; None ends the challenge.

        Raises:
            NotFoundError: there is no such version.
            ConfigurationError: it is the champion.
        """
        if number is not None:
            self.get(name, number)
        if self.aliases(name).get("challenger") != number:
            self._point(name, "challenger", number)

    @property
    def _ledger(self) -> Path:
        return self._folder / "registry.json"

    def _read(self) -> dict[str, Any]:
        try:
            text = self._ledger.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {"models": {}, "aliases": {}, "changes": []}
        try:
            ledger: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise WorkspaceError(
                f"{self._ledger} cannot be read", found=str(error), do="restore it from a backup"
            ) from error
        return ledger

    def _point(self, name: str, alias: str, number: int | None, **how: Any) -> None:
        with self._changing() as ledger:
            # Nobody challenges itself; seen to here, where no other process changes the ledger in between.
            present = ledger["aliases"].get(name, {})
            if alias == "challenger" and number is not None and present.get("champion") == number:
                raise ConfigurationError(
                    f"version {number} of {name} is the champion",
                    expected="another version to challenge it",
                    do="see them with: subsight models history",
                )
            _move(ledger, name, alias, number, **how)
            if alias == "champion" and present.get("challenger") == number:
                _move(ledger, name, "challenger", None, why="it became the champion")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The ledger to change, alone; what was changed is written when the block ends without error."""
        self._folder.mkdir(exist_ok=True)
        with (self._folder / ".lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ledger = self._read()
            yield ledger
            write_atomically(self._ledger, json.dumps(ledger, indent=1, ensure_ascii=False))


def _move(
    ledger: dict[str, Any],
    name: str,
    alias: str,
    number: int | None,
    *,
    forced: bool = False,
    is_rollback: bool = False,
    why: str = "",
) -> None:
    aliases = ledger["aliases"].setdefault(name, {})
    change = {"at": _now(), "model": name, "alias": alias, "from": aliases.get(alias), "to": number}
    ledger["changes"].append({**change, "forced": forced, "is_rollback": is_rollback, "why": why})
    if number is None:
        aliases.pop(alias, None)
    else:
        aliases[alias] = number


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
