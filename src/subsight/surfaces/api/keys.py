"""The keys of the service: made, shown once, revoked."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from subsight.errors import ConfigurationError, NotFoundError, WorkspaceError
from subsight.workspace import Workspace

__all__ = ["ROLES", "ApiKeys"]

ROLES: Final = ("predict", "read", "feedback", "admin")


class ApiKeys:
    """The keys of a workspace, in `keys/api.json`: who a key is, what it may do, and its SHA-256.

    A plain hash is enough: a key is 256 random bits, so there is nothing to guess, and neither salt nor
    a slow hash, which protect what people choose, would add anything but time to every request.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.path / "keys" / "api.json"

    def create(self, *roles: str, name: str = "") -> str:
        """A new key with these roles; it is shown this once. `admin` may do everything.

        Raises:
            ConfigurationError: a role is unknown, or none is given.
        """
        if not roles or (unknown := [role for role in roles if role not in ROLES]):
            found = ", ".join(unknown) if roles else "none"
            raise ConfigurationError("a key needs roles", found=found, expected=", ".join(ROLES))
        secret = secrets.token_urlsafe(32)
        entry = {
            "id": secrets.token_hex(4),
            "name": name,
            "roles": sorted(set(roles)),
            "digest": hashlib.sha256(secret.encode()).hexdigest(),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._changing() as entries:
            entries.append(entry)
        return secret

    def revoke(self, id: str) -> None:
        """Removes a key; a running service refuses it within 100 ms.

        Raises:
            NotFoundError: no key has that id.
        """
        with self._changing() as entries:
            kept = [entry for entry in entries if entry["id"] != id]
            if len(kept) == len(entries):
                known = ", ".join(entry["id"] for entry in entries) or "no key"
                raise NotFoundError("there is no such key", found=id, expected=known)
            entries[:] = kept

    def all(self) -> list[dict[str, Any]]:
        """Every key's `id`, `name`, `roles` and `created_at`, oldest first."""
        return [{k: v for k, v in entry.items() if k != "digest"} for entry in self.entries() or ()]

    def entries(self) -> list[dict[str, Any]] | None:
        """The keys with their digests; None where none was ever made.

        Raises:
            WorkspaceError: the file is damaged.
        """
        try:
            entries: list[dict[str, Any]] = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
            if all(isinstance(e["digest"], str) and set(e["roles"]) <= set(ROLES) for e in entries):
                return entries
            found = "a key without digest or with an unknown role"
        except FileNotFoundError:
            return None
        except (OSError, LookupError, TypeError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"
        raise WorkspaceError(f"{self._path} cannot be read", found=found, do="restore it from a backup")

    def stamp(self) -> tuple[int, int]:
        """What changes whenever the keys do."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    @contextmanager
    def _changing(self) -> Iterator[list[dict[str, Any]]]:
        """The keys to change, alone; written for the owner's eyes when the block ends without error."""
        self._path.parent.mkdir(exist_ok=True)
        with (self._path.parent / ".api.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self.entries() or []
            yield entries
            partial = self._path.with_name(".api.json.partial")
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"keys": entries}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
