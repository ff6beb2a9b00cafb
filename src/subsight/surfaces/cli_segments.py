"""The verbs over segments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from subsight.errors import NotFoundError
from subsight.surfaces.options import WorkspaceArgument

__all__ = ["segments"]

segments = typer.Typer(no_args_is_help=True, help="Segments of subscribers: hand the segmentation over.")


# A group of one command would be that command itself.
@segments.callback()
def _group() -> None:
    pass


@segments.command(epilog="Example: subsight segments bundle tellco bundle")
def bundle(
    workspace: WorkspaceArgument,
    folder: Annotated[Path, typer.Argument(help="An empty folder, or one to be made.")],
) -> None:
    """Write the segmentation for Acumos clients and other services: schema, metadata, model, digest."""
    from subsight.lifecycle.segmentation import current
    from subsight.settings import load
    from subsight.surfaces.acumos.bundle import write
    from subsight.workspace import Workspace

    opened = Workspace.open(workspace)
    found = current(opened)
    if found is None:
        raise NotFoundError(
            f"{workspace} has no segmentation",
            expected="a run that divides subscribers into segments",
            do=f"publish one with: subsight segment {workspace}",
        )
    write(found, folder, load(opened.settings_file).acumos_inputs)
    print(f"{len(found.names)} segments of {found.version} in {folder}")
