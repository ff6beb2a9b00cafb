"""The verbs over next-best offers: train the map, recommend to everybody or to one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from subsight.errors import ConfigurationError
from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument, shown_progress

__all__ = ["offers"]

offers = typer.Typer(
    no_args_is_help=True,
    help="Next-best offers: train the map of usage, recommend by it.",
    epilog="Example: subsight offers train tellco, then subsight offers recommend tellco --all",
)

AsOfOption = Annotated[
    str | None, typer.Option("--as-of", help="Local date on which offers have to be valid; today by default.")
]
NodesOption = Annotated[
    str | None,
    typer.Option(
        "--nodes", help="CSV (node, offer_id; the best first): what nodes are offered, instead of purchases."
    ),
]


@offers.command(epilog="Example: subsight offers train tellco")
def train(
    workspace: WorkspaceArgument,
    source: Annotated[
        str | None, typer.Option(help="usage (ingested) or profiles (of a run); usage by default.")
    ] = None,
    nodes: NodesOption = None,
    as_of: AsOfOption = None,
    output: FormatOption = Output.text,
) -> None:
    """Lay subscribers out on a map by usage, give its nodes offers, and judge them on later purchases."""
    from subsight.surfaces import tables
    from subsight.surfaces.library import Insight

    insight = Insight.open(workspace, create=False, offer_source=source, offer_nodes_file=nodes, as_of=as_of)
    with shown_progress() as told:
        results = insight.train_offers(progress=told)
    if output is Output.json:
        print(json.dumps([answer.to_json() for answer in results.answers("offers")], indent=1))
        return
    tables.print_quality(results.quality)
    for question in ("map", "catalogue"):
        print(results.answer(f"offers.{question}").reading[0])
    tables.print_answer(results.answer("offers.evaluation"), 20)
    day = "" if as_of is None else f" --as-of {as_of}"
    print(f"\nreport  {workspace / 'current' / 'report.html'}")
    print(f"next    subsight offers recommend {workspace} --all{day}")


@offers.command(epilog="Example: subsight offers recommend tellco --subscriber 33664962239")
def recommend(
    workspace: WorkspaceArgument,
    everybody: Annotated[
        bool, typer.Option("--all", help="Everybody, published as the table recommendations of a new run.")
    ] = False,
    subscriber: Annotated[
        str | None, typer.Option(help="One of them: a clear MSISDN, a customer number, or a pseudonym.")
    ] = None,
    nodes: NodesOption = None,
    as_of: AsOfOption = None,
    output: FormatOption = Output.text,
) -> None:
    """Recommend offers by the trained map, each with its reason. Interrupted, --all goes on where it was."""
    from subsight.surfaces.library import Insight

    if everybody == (subscriber is not None):
        raise ConfigurationError(
            "for whom offers are sought is not clear",
            found="--all and --subscriber" if everybody else "neither --all nor --subscriber",
            expected="one of them",
        )
    if subscriber is not None and nodes is not None:
        raise ConfigurationError(
            "what nodes are offered is not read for one subscriber",
            found="--nodes and --subscriber",
            do="give the file to --all, or to train: one subscriber is then answered by it",
        )
    insight = Insight.open(workspace, create=False, offer_nodes_file=nodes, as_of=as_of)
    if subscriber is not None:
        _print_one(insight.recommend(subscriber), output)
        return
    with _bar() as (told, on_part):
        results = insight.recommend_all(progress=told, on_part=on_part)
    _print_all(results, workspace, output)


def _print_one(found: dict[str, Any], output: Output) -> None:
    from subsight.surfaces import tables

    if output is Output.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    print(f"{found['subscriber_id']}: {found['outcome']}, as of {found['as_of']}")
    if found["offers"]:
        tables.print_rows(found["offers"])
    for step, offers in found["filtered"].items():
        print(f"filtered by {step}: {', '.join(offers)}")


def _print_all(results: Any, workspace: Path, output: Output) -> None:
    from subsight.surfaces import tables

    if output is Output.json:
        print(json.dumps([answer.to_json() for answer in results.answers("recommendations")], indent=1))
        return
    for question in ("funnel", "outcomes"):
        tables.print_answer(results.answer(f"recommendations.{question}"), 20)
    print(f"\nreport  {workspace / 'current' / 'report.html'}")
    print(f"table   subsight export {workspace} recommendations.csv --table recommendations")


@contextmanager
def _bar() -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """A word for each stage and a bar over the parts, on a terminal only."""
    if not sys.stderr.isatty():
        yield (lambda _stage: None), (lambda _done, _of: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield (
            lambda stage: progress.update(task, description=stage),
            lambda done, of: progress.update(task, completed=done, total=of),
        )
