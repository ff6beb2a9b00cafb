"""Options that several commands share, so that they read and mean the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["FormatOption", "Output", "WorkspaceArgument"]


class Output(StrEnum):
    """How an answer is printed."""

    text = "text"
    json = "json"


WorkspaceArgument = Annotated[Path, typer.Argument(metavar="WS", help="A workspace.")]
FormatOption = Annotated[Output, typer.Option("--format", "-f", help="text for people, json for scripts.")]
