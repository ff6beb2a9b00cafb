"""The verbs of live inputs: files as they land, flow exports by UDP, and how far behind both are."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument

__all__ = ["collect", "status", "watch"]

_STUDIES: Final = ("traffic", "rfm", "trends", "peaks")
_Workspace = Annotated[Path, typer.Option("--workspace", "-w", help="Directory that holds everything.")]
_Zone = Annotated[str | None, typer.Option("--time-zone", help="The operator's IANA time zone.")]
_Publish = Annotated[float, typer.Option(min=0, help="Minutes between runs; 0 publishes none.")]


def watch(
    inbox: Annotated[Path, typer.Argument(help="Folder in which files land.")],
    workspace: _Workspace,
    kind: Annotated[str, typer.Option(help="What the files are, as of `ingest`.")] = "flows",
    publish: _Publish = 5.0,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Take what has landed, publish, and end.")] = False,
    time_zone: _Zone = None,
) -> None:
    """Ingest files as they land, and publish a run of the flow studies every few minutes.

    A file is taken once it stops growing and stays where it is; the same content counts once. Models are
    fitted only by `run`.
    """
    from subsight.live import inbox as live

    insight, publishing = _opened(workspace, time_zone)
    looks = iter((False, True))
    live.watch(
        insight.workspace, inbox, insight.settings, publish=publishing, kind=kind, poll_s=poll,
        publish_s=60 * publish, say=_say, ended=(lambda: next(looks)) if once else _ended(),
    )  # fmt: skip


def collect(
    workspace: _Workspace,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="UDP port to listen on.")] = 2055,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    publish: _Publish = 5.0,
    batch: Annotated[float, typer.Option(min=0.1, help="Seconds of datagrams in a micro-batch.")] = 10.0,
    time_zone: _Zone = None,
) -> None:
    """Listen for NetFlow v5, v9 and IPFIX, and publish a run of the flow studies every few minutes.

    Every datagram is on disk before it is looked at. What is sent while nothing listens is lost and estimated
    from gaps in the exporters' sequence numbers. Ends in order on Ctrl-C or SIGTERM.
    """
    from subsight.live import collector as live

    insight, publishing = _opened(workspace, time_zone)
    how = live.Collecting(host, port, batch, 60 * publish)
    _say(f"listening on {host}:{port} for {workspace}; status: subsight status {workspace}")
    live.collect(insight.workspace, insight.settings, how, publish=publishing, say=_say, ended=_ended())


def status(workspace: WorkspaceArgument, output: FormatOption = Output.text) -> None:
    """Say how far behind live inputs are, what they dropped, and which run is current."""
    from subsight.live import status as live
    from subsight.workspace import Workspace

    opened = Workspace.open(workspace)
    found = live.status(opened)
    if output is Output.json:
        print(json.dumps(found, indent=1))
        return
    runs = opened.runs()
    print(f"current run  {runs[-1] if runs else 'none yet'}")
    if not found:
        print("nothing was collected or watched here yet")
    for command, told in found.items():
        print(f"{command}: {'running' if told['is_running'] else 'not running'}")
        for name, value in told.items():
            if name not in ("is_running", "told_at"):
                print(f"  {name.replace('_', ' '):16} {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_text(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value if value is not None else "unknown")


def _opened(workspace: Path, time_zone: str | None) -> tuple[Any, Callable[[], str]]:
    """The workspace, and what publishes a run of the flow studies with its report."""
    from subsight.surfaces.library import Insight

    insight = Insight.open(workspace, create=True, time_zone=time_zone)
    return insight, lambda: str(insight.run(studies=_STUDIES).manifest["run"])


def _ended() -> Callable[[], bool]:
    """Whether somebody asked for the end."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: asked.append(n))
    return lambda: bool(asked)


def _say(text: str) -> None:
    print(text, flush=True)
