"""The verbs over segments: divide subscribers, explain one, hand the segmentation over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from subsight.errors import ConfigurationError, NotFoundError
from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument, shown_progress

__all__ = ["segment", "segments"]

segments = typer.Typer(
    no_args_is_help=True, help="Explain a subscriber's segment; hand the segmentation over."
)


def segment(
    workspace: WorkspaceArgument,
    source: Annotated[
        str | None, typer.Option(help="Whom to divide: subscribers (ingested tables) or profiles (of a run).")
    ] = None,
    inputs: Annotated[str | None, typer.Option(help="Columns to divide by, comma-separated.")] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-k", min=2, help="How many, if not as before or as the elbow says."),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="The region as categories (one-hot) or as a number (numeric).")
    ] = None,
    names: Annotated[str | None, typer.Option(help="Names, comma-separated, the most loyal first.")] = None,
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Choose inputs, count and names anew, not as before.")
    ] = False,
    output: FormatOption = Output.text,
) -> None:
    """Divide subscribers into named segments and publish them, with all else that the current run holds.

    Segments keep their names when they are fitted again: a campaign's list stays what it was.
    """
    from subsight.surfaces import tables
    from subsight.surfaces.library import Insight

    insight = Insight.open(
        workspace, create=False, segment_source=source, segment_inputs=_listed(inputs),
        segment_count=count, segment_region=region, segment_names=_listed(names),
    )  # fmt: skip
    with shown_progress() as told:
        results = insight.segment(afresh=afresh, progress=told)
    if output is Output.json:
        print(json.dumps([answer.to_json() for answer in results.answers("segments")], indent=1))
        return
    tables.print_answer(results.answer("segments.overview"), 50)
    print(f"report  {workspace / 'current' / 'report.html'}")
    print(f"list    subsight export {workspace} segments.csv --table segments")


def _listed(text: str | None) -> list[str] | None:
    if text is None:
        return None
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise ConfigurationError("a list has an empty place", found=text, expected="names between commas")
    return found


@segments.command(epilog="Example: subsight segments explain tellco 19912682")
def explain(
    workspace: WorkspaceArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="A clear identifier, or a pseudonym.")],
    output: FormatOption = Output.text,
) -> None:
    """Say which segment a subscriber is in, how far from each, and which inputs decided."""
    from subsight.lifecycle.segmentation import subscriber
    from subsight.workspace import Workspace

    found = subscriber(Workspace.open(workspace), identifier)
    if output is Output.json:
        print(json.dumps(found, indent=1))
    else:
        _print_explained(found)


def _print_explained(found: Mapping[str, Any]) -> None:
    from subsight.surfaces import tables

    if found["segment"] is None:
        print(f"{found['subscriber_id']}: in no segment, for want of {found['lacking']}")
        return
    print(
        f"{found['subscriber_id']}: {found['segment_name']}, {found['distance']:.3g} from its centre; the "
        f"next is {found['runner_up_name']}, {found['runner_up_distance']:.3g} away (in standard deviations)"
    )
    print("\nWhat decided, as squared distance nearer to this segment than to the next:")
    tables.print_rows([
        {"input": one["input"], "value": one["value"], "part": round(one["part"], 3)}
        for one in found["deciding"]
    ])  # fmt: skip
    print("\nDistance to each segment:")
    tables.print_rows([
        {"segment": name, "distance": round(value, 3)} for name, value in found["distances"].items()
    ])  # fmt: skip


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
