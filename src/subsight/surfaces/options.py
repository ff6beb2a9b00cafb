"""What several commands share, so that it reads and means the same everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["FormatOption", "Output", "WorkspaceArgument", "shown_progress"]


class Output(StrEnum):
    """How an answer is printed."""

    text = "text"
    json = "json"


WorkspaceArgument = Annotated[Path, typer.Argument(metavar="WS", help="A workspace.")]
FormatOption = Annotated[Output, typer.Option("--format", "-f", help="text for people, json for scripts.")]


@contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Says which stage runs, on a terminal only; a script's output stays clean."""
    if not sys.stderr.isatty():
        yield lambda _stage: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield lambda stage: status.update(stage)
