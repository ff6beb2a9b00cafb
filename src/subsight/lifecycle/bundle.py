"""Models on the move: a bundle is a workspace that holds registered models, segments and nothing else.

It has no keys, runs, settings or tracking store, so it can go into an image. Whoever takes one checks
every record against the digest it was registered with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from subsight.errors import NotFoundError, StorageError, WorkspaceError
from subsight.lifecycle import segmentation
from subsight.lifecycle.registry import Registry, Version
from subsight.lifecycle.segmentation import Segmenter
from subsight.workspace import Workspace, write_atomically

__all__ = ["adopt", "begin", "pack"]

# What the ledger of the other workspace says of a version and that of this one says anew.
_ITS_OWN: Final = ("version", "digest", "registered_at")


def pack(workspace: Workspace, target: Path) -> list[Version]:
    """Writes every registered version and the segmentation into a new workspace; returns the champions.

    Raises:
        NotFoundError: there is nothing that whoever took the bundle could answer with.
        WorkspaceError: a record is not what was registered, or something else stands at the target.
        StorageError: the target cannot be written.
    """
    segmenter = segmentation.current(workspace)
    if not _champions(Registry(workspace)) and not segmenter:
        raise NotFoundError(
            f"{workspace.path} has no champion and no segments",
            expected="a model that answers",
            do="train one with: subsight models train WS, then promote it",
        )
    if target.exists() and any(target.iterdir()):
        raise WorkspaceError(
            f"{target} is not free",
            found="a folder with files",
            expected="an empty folder, or nothing",
            do="name another, or remove the old bundle",
        )
    made = Workspace.create(target)
    if segmenter:
        segmentation.carry(segmenter, made)
    return _copy(workspace, made)


def begin(path: Path, bundle: Path) -> tuple[Workspace, list[Version], Segmenter | None]:
    """The workspace at a path, made there if it is free; one without runs and models takes the bundle's.

    Returns the champions and the segmentation it took: none where the workspace had something, or `bundle`
    holds none.

    Raises:
        WorkspaceError: a record is not what was registered, or something else stands at the path.
        StorageError: the path cannot be written.
    """
    workspace = Workspace.create(path)
    has_models = (bundle / "models" / "registry.json").exists()
    if workspace.runs() or Registry(workspace).names():
        return workspace, [], None
    if not has_models and segmentation.current(workspace):
        return workspace, [], None
    segmenter = segmentation.adopt(workspace, bundle)
    # The last, as a begun workspace is known by its models where the bundle has some.
    return workspace, _copy(Workspace.open(bundle), workspace) if has_models else [], segmenter


def adopt(workspace: Workspace, bundle: Path) -> list[tuple[Version, bool]]:
    """Registers the champions of a bundle as new versions; each with whether it is new here.

    Nothing is promoted: which version answers is decided where it answers. A verdict against the
    champion of the other workspace says nothing about the champion of this one, so it is left out.

    Raises:
        WorkspaceError: there is no bundle, or a record is not what was registered.
    """
    registry, source, adopted = Registry(workspace), Registry(Workspace.open(bundle)), []
    for champion in _champions(source):
        known = [e["version"] for e in registry.entries(champion.name) if e["digest"] == champion.digest]
        if known:
            adopted.append((registry.get(champion.name, known[0]), False))
            continue
        facts = {name: fact for name, fact in champion.entry.items() if name not in _ITS_OWN}
        facts["against_champion"] = None
        version = registry.register(champion.name, champion.record, facts, source.sample(champion))
        adopted.append((version, True))
    return adopted


def _champions(registry: Registry) -> list[Version]:
    return [registry.get(name) for name in registry.names() if "champion" in registry.aliases(name)]


def _copy(source: Workspace, target: Workspace) -> list[Version]:
    """Records first, the ledger last: without it there are no models, and the next start copies again."""
    if not (source.path / "models" / "registry.json").exists():
        return []
    ledger = (source.path / "models" / "registry.json").read_text(encoding="utf-8")
    registry = Registry(source)
    try:
        for name, entries in json.loads(ledger)["models"].items():
            (target.path / "models" / name).mkdir(parents=True, exist_ok=True)
            for entry in entries:
                version = registry.get(name, entry["version"])
                if (sample := registry.sample(version)) is not None:
                    Registry(target).keep_sample(sample)
                file = Path("models", name, f"{entry['version']}.json")
                write_atomically(target.path / file, (source.path / file).read_text(encoding="utf-8"))
        write_atomically(target.path / "models" / "registry.json", ledger)
    except OSError as error:
        raise StorageError(
            f"{target.path} cannot be written", found=str(error), do="name another place, or free disk space"
        ) from error
    # Read back: what was checked above is what stands here now.
    return _champions(Registry(target))
