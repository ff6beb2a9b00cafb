"""A segmentation to hand over: the schema, the metadata, the record, and what the record must be."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Literal

from subsight.errors import StorageError, WorkspaceError
from subsight.lifecycle.segmentation import DIGEST, RECORD, Segmenter
from subsight.surfaces.acumos.schema import metadata, proto
from subsight.surfaces.acumos.served import check_covered
from subsight.workspace import sync_directory, write_atomically

__all__ = ["write"]


def write(segmenter: Segmenter, folder: Path, given: Literal["raw", "standardised"]) -> None:
    """Writes `model.proto`, `metadata.json`, `model.json` and `digest.json`: all, or nothing.

    Raises:
        ConfigurationError: the message does not cover the segmentation.
        WorkspaceError: something else stands there.
        StorageError: the disk refuses.
    """
    check_covered(segmenter)
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WorkspaceError(
            f"{folder} is not free",
            found="a folder with files" if folder.is_dir() else "a file",
            expected="an empty folder, or nothing",
            do="name another, or remove the old bundle",
        )
    files = {
        "model.proto": proto().encode(),
        "metadata.json": _json(metadata(segmenter, given)),
        RECORD: segmenter.content,
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    said = {"version": segmenter.version, "digest": segmenter.digest, "files": digests}
    staged = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for name, content in (files | {DIGEST: _json(said)}).items():
            write_atomically(staged / name, content)
        sync_directory(staged)
        staged.replace(folder)
        sync_directory(folder.parent)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise StorageError(
            f"{folder} cannot be written", found=str(error), do="name another place, or free disk space"
        ) from error


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
