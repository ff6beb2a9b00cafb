"""The workspace: a directory with its batches, runs and keys, one writer at a time, published atomically."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from subsight.errors import NotFoundError, StorageError, WorkspaceBusyError, WorkspaceError

__all__ = ["Batch", "Workspace", "content_hash", "sync_directory", "write_atomically"]

_MARKER: Final = "subsight.toml"
_SETTINGS: Final = '# Settings, such as time_zone = "Europe/Madrid"; docs/definitions.md lists them all.\n'
_KEY_VARIABLE: Final = "SUBSIGHT_KEY"
_SHORTEST_KEY: Final = 16


@dataclass(frozen=True)
class Batch:
    """One ingested input: its canonical rows, its rejects and what was found while reading it."""

    table: str
    content: str
    rows: Path
    rejects: Path
    manifest: Mapping[str, Any]

    def ignores(self, asked: Mapping[str, str]) -> str:
        """In words, which options the batch was not read with; nothing where it was read with all."""
        other = {name: self.manifest.get(name) for name, value in asked.items()}
        other = {name: value for name, value in other.items() if value != asked[name]}
        is_edited = other.pop("mapping_digest", None) is not None and "mapping" not in other
        parts = [f"{name} {value}, not {asked[name]}" for name, value in other.items()]
        said = "; ".join([*parts, *(["the mapping as it was before it was edited"] if is_edited else [])])
        return (
            f"known already and kept as it was read, with {said}: a new workspace reads it anew"
            if said
            else ""
        )


class Workspace:
    """A directory that holds everything Subsight knows of one operator."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path | str) -> Workspace:
        """An existing workspace.

        Raises:
            WorkspaceError: there is none.
        """
        path = Path(path)
        if not (path / _MARKER).exists():
            raise WorkspaceError(
                f"{path} is not a workspace",
                expected=f"a directory with a {_MARKER}",
                do=f"make one with: subsight run INPUT --workspace {path}",
            )
        return cls(path)

    @classmethod
    def create(cls, path: Path | str) -> Workspace:
        """The workspace at a path, made there if the path is free or an empty directory.

        Raises:
            WorkspaceError: something else stands there.
            StorageError: the directory cannot be written.
        """
        path = Path(path)
        if (path / _MARKER).exists():
            return cls(path)
        # A volume's own folder is nobody's file.
        if path.exists() and (not path.is_dir() or any(p.name != "lost+found" for p in path.iterdir())):
            raise WorkspaceError(
                f"{path} is neither a workspace nor free",
                found="a file" if path.is_file() else "a directory with other files",
                expected="a workspace, an empty directory, or nothing",
                do="name another directory",
            )
        try:
            for name in ("batches", "rejects", "runs", "keys"):
                (path / name).mkdir(parents=True, exist_ok=True)
            write_atomically(path / _MARKER, _SETTINGS)
        except OSError as error:
            raise StorageError(f"{path} cannot be made", found=str(error), do="name another place") from error
        return cls(path)

    @property
    def settings_file(self) -> Path:
        """The TOML file with the workspace's settings."""
        return self.path / _MARKER

    @property
    def scratch(self) -> Path:
        """The directory for intermediates; it is there while somebody is `writing`."""
        return self.path / ".scratch"

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Sole right to write, with a scratch directory that is emptied before and after.

        Raises:
            WorkspaceBusyError: another process is writing.
        """
        lock = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise WorkspaceBusyError(
                f"{self.path} is being written by another process",
                expected="one writer at a time",
                do="wait for the other command to end, then run this one again",
            ) from None
        scratch = self.scratch
        try:
            self._sweep()
            scratch.mkdir()
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            lock.close()

    def _sweep(self) -> None:
        """Removes what an interrupted writer left: nothing of it was ever published."""
        shutil.rmtree(self.path / ".scratch", ignore_errors=True)
        for staged in (self.path / "runs").glob(".staged-*"):
            shutil.rmtree(staged, ignore_errors=True)
        # Only where a run or an ingest writes: models, keys and audit have writers of their own.
        for place in ("", "batches/**/", "rejects/**/", "partials/**/", "runs/**/"):
            for partial in self.path.glob(f"{place}.*.partial"):
                partial.unlink(missing_ok=True)

    def key(self) -> bytes:
        """The key of the pseudonyms: from `SUBSIGHT_KEY`, else a file made here once with mode 0600.

        Raises:
            WorkspaceError: it is too short, or not the one that this workspace's pseudonyms were made with.
        """
        given = os.environ.get(_KEY_VARIABLE)
        path, check = self.path / "keys" / "pseudonyms.key", self.path / "keys" / "pseudonyms.check"
        if not given and not path.exists() and not check.exists():
            _write_private(path, secrets.token_hex(32))
        key = given.encode() if given else path.read_bytes() if path.exists() else b""
        if len(key) < _SHORTEST_KEY:
            raise WorkspaceError(
                f"the key of {self.path} is missing or too short",
                found=f"{len(key)} characters in {_KEY_VARIABLE if given else path}",
                expected=f"at least {_SHORTEST_KEY}",
                do="restore it from a backup, or begin a new workspace",
            )
        print_of_key = hmac.new(key, b"subsight workspace", hashlib.sha256).hexdigest()[:32]
        if check.exists() and check.read_text(encoding="utf-8") != print_of_key:
            # Under another key everybody would be somebody new.
            raise WorkspaceError(
                f"the key is not the one that the pseudonyms of {self.path} were made with",
                found=f"another in {_KEY_VARIABLE if given else path}",
                expected="the key of the first ingest",
                do="restore it from a backup, or begin a new workspace",
            )
        if not check.exists():
            _write_private(check, print_of_key)
        return key

    # Batches: rows and rejects are written first, the manifest last; without it there is no batch.

    def batch(self, table: str, content: str) -> Batch | None:
        """The batch with that content hash, or None."""
        manifest = self.path / "batches" / table / f"{content}.json"
        if not manifest.exists():
            return None
        return self._batch(table, content, json.loads(manifest.read_text(encoding="utf-8")))

    def _batch(self, table: str, content: str, manifest: Mapping[str, Any]) -> Batch:
        folder = self.path / "batches" / table
        rejects = self.path / "rejects" / table / f"{content}.parquet"
        return Batch(table, content, folder / f"{content}.parquet", rejects, manifest)

    def batches(self, table: str) -> list[Batch]:
        """All batches of a table, by content hash."""
        found = sorted((self.path / "batches" / table).glob("*.json"))
        return [self._batch(table, path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in found]

    def new_batch(self, table: str, content: str) -> Batch:
        """Where a new batch's rows and rejects go, before `add` makes it one."""
        (self.path / "batches" / table).mkdir(parents=True, exist_ok=True)
        (self.path / "rejects" / table).mkdir(parents=True, exist_ok=True)
        return self._batch(table, content, {})

    def add(self, batch: Batch, manifest: Mapping[str, Any]) -> Batch:
        """Makes a batch part of the workspace."""
        target = batch.rows.with_suffix(".json")
        write_atomically(target, json.dumps(manifest, indent=1, ensure_ascii=False))
        return self._batch(batch.table, batch.content, manifest)

    # Partials: what was computed from one batch, kept so that no run reads the same rows twice.

    def partial(self, batch: Batch, name: str, digest: str) -> Path:
        """Where what was computed from a batch in the way that `digest` stands for is, or will be."""
        return self.path / "partials" / batch.table / f"{batch.content}.{name}.{digest}.parquet"

    def forget_partials(self, batch: Batch, digest: str) -> None:
        """Removes what was computed from a batch in other ways than `digest` says."""
        for path in (self.path / "partials" / batch.table).glob(f"{batch.content}.*.parquet"):
            if path.suffixes[-2] != f".{digest}":
                path.unlink(missing_ok=True)

    # Runs

    @contextmanager
    def staged_run(self) -> Iterator[Path]:
        """A new run's folder: published when the block ends, removed when it fails."""
        # Names sort by time: to the microsecond, as two runs may follow each other at once.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(2)}"
        staged = self.path / "runs" / f".staged-{name}"
        try:
            staged.mkdir()
            yield staged
            _sync(staged)
            final = self.path / "runs" / name
            staged.rename(final)
            sync_directory(final.parent)
            self._point_to(name)
        except OSError as error:
            raise StorageError(
                "the run could not be written",
                found=str(error),
                do="free disk space, then run again; the previous run is intact",
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _point_to(self, name: str) -> None:
        pointer = self.path / ".current.partial"
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(Path("runs") / name)
        pointer.replace(self.path / "current")
        sync_directory(self.path)

    def runs(self) -> list[str]:
        """The names of all published runs, oldest first."""
        return sorted(p.name for p in (self.path / "runs").glob("[!.]*") if (p / "manifest.json").exists())

    def run(self, name: str | None = None) -> Path:
        """A published run's folder: the current one, or the one of that name.

        Raises:
            NotFoundError: no run was published, or none of that name.
        """
        folder = self.path / "runs" / name if name else self.path / "current"
        if not (folder / "manifest.json").exists():
            raise NotFoundError(
                f"{self.path} has no run {name or 'yet'}",
                expected=", ".join(self.runs()[-5:]) or None,
                do=f"publish one with: subsight run INPUT --workspace {self.path}",
            )
        return folder.resolve()


def _write_private(path: Path, text: str) -> None:
    """Writes a file that its owner alone may read."""
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, first 16 hex digits: the same file is the same batch."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader sees all of it or none; text in UTF-8."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_directory(folder)


def sync_directory(folder: Path) -> None:
    """Makes sure that the names in a directory outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
