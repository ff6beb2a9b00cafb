"""The command line: verbs over a workspace, quiet when not a terminal, exit codes to rely on."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from subsight.errors import ConfigurationError, StorageError, SubsightError
from subsight.surfaces import (
    cli_audit,
    cli_live,
    cli_models,
    cli_monitoring,
    cli_offers,
    cli_segments,
    cli_service,
)
from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument, shown_progress

if TYPE_CHECKING:
    from subsight.surfaces.library import Insight

__all__ = ["main"]

_TRACEBACK = "SUBSIGHT_TRACEBACK"
_INTERRUPTED = 130

app = typer.Typer(
    name="subsight",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Subscriber insight from network records: profiles, scores, segments, a report, tables.\n\n"
    "Try [bold]subsight demo[/bold] first. Exit codes: 0 done, 2 usage or setting, 3 input, 4 mapping, "
    "5 workspace, 6 busy, 7 disk, 8 export, 9 not found, 20 training is due "
    "(models watch), 130 interrupted; 1 is a fault of Subsight.",
)


cli_models.app.command(epilog="Example: subsight models watch tellco --retrain")(cli_monitoring.watch)
app.add_typer(cli_models.app, name="models")
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_service.keys, name="keys")
app.command(epilog="Example: subsight segment tellco --count 4")(cli_segments.segment)
app.add_typer(cli_segments.segments, name="segments")
app.add_typer(cli_offers.offers, name="offers")
app.command(epilog="Example: subsight serve tellco --port 5000")(cli_service.serve)
app.command(epilog="Example: subsight watch inbox/ --workspace isp")(cli_live.watch)
app.command(epilog="Example: subsight collect --port 2055 --workspace isp")(cli_live.collect)
app.command(epilog="Example: subsight status isp")(cli_live.status)

WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Directory that holds everything.")]
_KINDS = (
    "xdr: data session records; flows: flow records, also files of nfcapd and packet captures; "
    "leases: who had which address; usage: what DPI saw of subscribers; offers: a catalogue; "
    "purchases: who took which offer; "
    "subscribers: one row a subscriber; feedback: survey answers."
)
_TABLES = (
    "profiles and satisfaction of sessions, segments of subscribers, rfm and trends of flows, "
    "recommendations of offers, or an answer's id."
)
MappingOption = Annotated[
    str | None, typer.Option("--mapping", "-m", help="Mapping file, or the name of a shipped one.")
]
EngineOption = Annotated[str | None, typer.Option("--engine", help="duckdb or spark.")]
ZoneOption = Annotated[str | None, typer.Option("--time-zone", help="The operator's IANA time zone.")]
IdentifiersOption = Annotated[
    str | None, typer.Option("--identifiers", help="pseudonymous (default) or clear.")
]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written",
            found=str(error),
            expected="a file in a directory that exists and may be written",
            do="name another place",
        ) from error


def _insight(workspace: Path, *, create: bool = False, **settings: Any) -> Insight:
    from subsight.surfaces.library import Insight

    return Insight.open(workspace, create=create, **settings)


@app.command(epilog="Example: subsight demo --subscribers 20000")
def demo(
    workspace: WorkspaceOption = Path("demo"),
    subscribers: Annotated[int, typer.Option(help="Size of the simulated operator.")] = 5_000,
) -> None:
    """Simulate an operator, run everything on it, and say where the report is."""
    from subsight.simulate import Operator, simulate

    insight = _insight(workspace, create=True)
    with shown_progress() as progress:
        progress("simulating an operator")
        made = simulate(Operator(subscribers=subscribers, sessions=8 * subscribers), workspace / "simulated")
        results = insight.run(made.sessions, progress=progress)
    _headline(results)
    print(f"\nreport  {workspace / 'current' / 'report.html'}")
    print(f"next    subsight show {workspace} memo")


@app.command(epilog="Example: subsight simulate operator --subscribers 5000 --sessions 40000 --flows 200000")
def simulate(
    output: Annotated[Path, typer.Argument(help="Folder for the sessions and the truths.")],
    subscribers: Annotated[int, typer.Option(help="How many subscribers.")] = 5_000,
    sessions: Annotated[int, typer.Option(help="How many sessions.")] = 40_000,
    seed: Annotated[int, typer.Option(help="Same seed, same operator.")] = 7,
    file_format: Annotated[str, typer.Option("--file-format", help="parquet or csv.")] = "parquet",
    handset_effect: Annotated[float, typer.Option(help="Bad handsets: 1 clear, 0 none, -1 reversed.")] = 1.0,
    cell_effect: Annotated[float, typer.Option(help="Bad cells: 1 clear, 0 none, -1 reversed.")] = 1.0,
    segment_effect: Annotated[float, typer.Option(help="Distance of light and heavy users.")] = 1.0,
    faults: Annotated[bool, typer.Option("--faults", help="Plant faulty records.")] = False,
    subscriber_table: Annotated[
        bool, typer.Option("--subscriber-table", help="Also a table of them with four segments.")
    ] = False,
    flows: Annotated[
        int, typer.Option("--flows", min=0, help="Also so many flows of theirs, and leases of addresses.")
    ] = 0,
    offers: Annotated[
        int, typer.Option("--offers", min=0, help="Also their usage, so many offers (12 to 100), purchases.")
    ] = 0,
) -> None:
    """Make a synthetic operator with planted truths: sessions, segments, bad cells and handsets.

    Of flows: who grows in video, leaves or moves to the night in the last week, and the busy hour.
    Of offers: which types of usage there are, and which offers each of them prefers (--as-of 2026-05-31).
    """
    from subsight.simulate import (
        FlowNetwork,
        OfferMarket,
        Operator,
        simulate_flows,
        simulate_offers,
        simulate_subscribers,
    )
    from subsight.simulate import simulate as make

    if file_format not in ("parquet", "csv"):
        raise ConfigurationError("the file format is unknown", found=file_format, expected="parquet or csv")
    operator = Operator(
        subscribers=subscribers, sessions=sessions, seed=seed, handset_effect=handset_effect,
        cell_effect=cell_effect, segment_effect=segment_effect, faults=faults,
    )  # fmt: skip
    with shown_progress() as progress:
        # These first: what cannot be is then refused before anything is written.
        if offers:
            progress("simulating offers")
            market = simulate_offers(OfferMarket(subscribers=subscribers, offers=offers, seed=seed), output)
        if flows:
            progress("simulating flows")
            network = simulate_flows(FlowNetwork(subscribers=subscribers, flows=flows, seed=seed), output)
        made = make(
            operator, output,
            file_format="csv" if file_format == "csv" else "parquet",
            progress=lambda done: progress(f"simulating: {done:.0%}"),
        )  # fmt: skip
    print(f"sessions  {made.sessions}\ntruths    {made.truth}")
    if subscriber_table:
        customers = simulate_subscribers(subscribers, output, seed, faults=faults)
        print(f"customers {customers.table}")
    if flows:
        print(f"flows     {network.flows}\nleases    {network.leases}\nhabits    {network.truths}")
    if offers:
        print(f"usage     {market.usage}\noffers    {market.offers}\npurchases {market.purchases}")


@app.command(epilog="Example: subsight inspect telcom_data.csv --write-mapping vendor.toml")
def inspect(
    file: Annotated[Path, typer.Argument(help="CSV (plain, gz, zst) or Parquet.")],
    mapping: MappingOption = None,
    write_mapping: Annotated[Path | None, typer.Option(help="Write the mapping used here.")] = None,
    time_zone: ZoneOption = None,
    output: FormatOption = Output.text,
) -> None:
    """Say what a file is: columns recognised, units checked against the data, problems."""
    from subsight import pipeline
    from subsight.settings import load
    from subsight.surfaces import tables

    with shown_progress() as progress:
        progress(f"inspecting {file.name}")
        found = pipeline.inspect(file, load(time_zone=time_zone), mapping)
    if write_mapping:
        _write_text(write_mapping, found.mapping.to_toml())
    if output is Output.json:
        _print_json(found.to_json())
    else:
        tables.print_inspection(found)
        if write_mapping:
            print(f"\nmapping written to {write_mapping}")
    if found.lacking:
        raise found.lacking


@app.command(epilog="Example: subsight ingest xdr 'daily/*.csv.zst' --workspace tellco")
def ingest(
    kind: Annotated[str, typer.Argument(help=_KINDS)],
    inputs: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    workspace: WorkspaceOption,
    mapping: MappingOption = None,
    engine: EngineOption = None,
    time_zone: ZoneOption = None,
    identifiers: IdentifiersOption = None,
    output: FormatOption = Output.text,
) -> None:
    """Read records into a workspace; the same file twice counts once."""
    from subsight.surfaces import tables

    insight = _insight(workspace, create=True, engine=engine, time_zone=time_zone, identifiers=identifiers)
    with shown_progress() as progress:
        found = insight.ingest(*inputs, kind=kind, mapping=mapping, progress=progress)
    if output is Output.json:
        _print_json(
            [{**entry.batch.manifest, "is_new": entry.is_new, "ignored": entry.ignored} for entry in found]
        )
        return
    for entry in found:
        counts = entry.batch.manifest
        state = "read" if entry.is_new else entry.ignored or "known already"
        print(f"{entry.name}: {state}, {counts['accepted']:,} accepted, {counts['rejected']:,} rejected")
        if entry.is_new:
            tables.print_quality(counts)


@app.command(epilog="Example: subsight run telcom_data.csv --workspace tellco")
def run(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or globs to ingest first.")
    ] = None,
    workspace: WorkspaceOption = Path("workspace"),
    mapping: MappingOption = None,
    studies: Annotated[str | None, typer.Option(help="Only these, comma-separated.")] = None,
    engine: EngineOption = None,
    time_zone: ZoneOption = None,
    identifiers: IdentifiersOption = None,
    treatment: Annotated[str | None, typer.Option(help="mean, median, winsorise or none.")] = None,
    parameters_from: Annotated[
        str | None, typer.Option(help="Fit nothing: parameters of that run, 'current', or a run's folder.")
    ] = None,
    output: FormatOption = Output.text,
) -> None:
    """Ingest, compute every study over all that was ingested, and publish a run with its report."""
    insight = _insight(
        workspace, create=bool(inputs), engine=engine, time_zone=time_zone, identifiers=identifiers,
        treatment=treatment,
    )  # fmt: skip
    chosen = None if studies is None else [study.strip() for study in studies.split(",")]
    with shown_progress() as progress:
        results = insight.run(
            *(inputs or ()), mapping=mapping, studies=chosen, parameters_from=parameters_from,
            progress=progress,
        )  # fmt: skip
    if output is Output.json:
        _print_json(results.manifest)
        return
    _headline(results)
    print(f"\nreport  {workspace / 'current' / 'report.html'}")


def _headline(results: Any) -> None:
    from subsight.surfaces.tables import print_quality

    quality, manifest = results.quality, results.manifest
    for entry in manifest["inputs"]:
        print(
            f"{entry['name']}: {entry['records']:,} records, {entry['accepted']:,} accepted, "
            f"{entry['rejected']:,} rejected (mapping {entry['mapping']})"
        )
    print_quality(quality)
    without = quality["without_subscriber_count"]
    if without:
        print(f"  excluded  {without:,} records have no subscriber")
    tables = manifest["tables"]
    counted = next((name for name in ("profiles", "segments", "rfm") if name in tables), None)
    rows = f": {tables[counted]['rows']:,} subscribers" if counted else ""
    print(f"run {manifest['run']}{rows}")


@app.command(epilog="Example: subsight show tellco engagement --format json")
def show(
    workspace: WorkspaceArgument,
    study: Annotated[str, typer.Argument(help="A study, or one answer such as engagement.clusters.")],
    rows: Annotated[int, typer.Option(min=1, help="Rows of each table at most.")] = 12,
    output: FormatOption = Output.text,
) -> None:
    """Print the answers of one study: question, table, reading."""
    from subsight.surfaces import tables

    results = _insight(workspace).results
    answers = [results.answer(study)] if "." in study else results.answers(study)
    if output is Output.json:
        _print_json([answer.to_json() for answer in answers])
        return
    for answer in answers:
        tables.print_answer(answer, rows)


@app.command(epilog="Example: subsight subscriber tellco '+33 6 31 49 24 74'")
def subscriber(
    workspace: WorkspaceArgument,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="A clear MSISDN, or a pseudonym.")],
    output: FormatOption = Output.text,
) -> None:
    """Print one subscriber's scores and profile; a clear number is turned into its pseudonym first."""
    from subsight.surfaces import tables

    found = _insight(workspace).subscriber(identifier)
    if output is Output.json:
        _print_json(found)
    else:
        tables.print_subscriber(found)


@app.command(epilog="Example: subsight export tellco mysql://root@127.0.0.1/test --table satisfaction")
def export(
    workspace: WorkspaceArgument,
    target: Annotated[str, typer.Argument(help="A path (.csv, .parquet, .db) or a database URL.")],
    table: Annotated[str, typer.Option(help=_TABLES)] = "satisfaction",
    name: Annotated[str | None, typer.Option(help="Name in the target, if another.")] = None,
    if_exists: Annotated[str, typer.Option(help="replace, append or fail.")] = "replace",
    reveal: Annotated[Path | None, typer.Option(help="CSV of clear MSISDNs to join.")] = None,
    output: FormatOption = Output.text,
) -> None:
    """Write a table to a file or database, read it back, and show the evidence."""
    from subsight.surfaces import tables

    if if_exists not in ("replace", "append", "fail"):
        raise ConfigurationError(
            "--if-exists is unknown", found=if_exists, expected="replace, append or fail"
        )
    with shown_progress() as progress:
        progress(f"exporting {table}")
        evidence = _insight(workspace).export(
            target, table=table, name=name, if_exists=if_exists, reveal=reveal
        )
    if output is Output.json:
        _print_json({**vars(evidence), "checksum": [vars(check) for check in evidence.checksum]})
    else:
        tables.print_evidence(evidence)


@app.command(epilog="Example: subsight report tellco --format pptx --studies engagement,experience")
def report(
    workspace: WorkspaceArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; report.FORMAT without it.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", "-f", help="html, pptx or pdf; without it by the file's name.")
    ] = None,
    studies: Annotated[str | None, typer.Option(help="Only these, comma-separated.")] = None,
    template: Annotated[Path | None, typer.Option(help="Slides: a .pptx whose layouts are used.")] = None,
    all_answers: Annotated[
        bool, typer.Option("--all-answers", help="Slides: every answer, not each study's key ones.")
    ] = False,
) -> None:
    """Write the current run's report: one HTML file that needs nothing else, slides, or a PDF."""
    chosen = None if studies is None else [study.strip() for study in studies.split(",")]
    target = _report_file(output, form)
    if target.suffix != ".pptx" and (template or all_answers):
        raise ConfigurationError(
            "--template and --all-answers are of slides", found=str(target), do="add --format pptx"
        )
    written = _insight(workspace).report(target, studies=chosen, template=template, all_answers=all_answers)
    print(written)


def _report_file(output: Path | None, form: str | None) -> Path:
    """The file to write; its name and the format must not say two things."""
    known = ("html", "pptx", "pdf")
    said = output.suffix.lstrip(".").lower() if output else ""
    form = form or (said if said in known else "html")
    if form not in known:
        raise ConfigurationError("the format is unknown", found=form, expected=", ".join(known))
    if output is None:
        return Path(f"report.{form}")
    if form != said and not (form == "html" and said in ("", "htm")):
        raise ConfigurationError(
            "the file's name says another format", found=f"--format {form} --output {output}",
            do=f"name it {output.with_suffix(f'.{form}')}",
        )  # fmt: skip
    return output.with_suffix(f".{form}") if said in known else output


@app.command(epilog="Example: subsight runs tellco")
def runs(workspace: WorkspaceArgument, output: FormatOption = Output.text) -> None:
    """List the published runs, oldest first."""
    opened = _insight(workspace).workspace
    names = opened.runs()
    current = opened.run().name if names else None
    if output is Output.json:
        _print_json([{"run": name, "is_current": name == current} for name in names])
    else:
        print("\n".join(f"{name}{'  current' if name == current else ''}" for name in names) or "no run yet")


def main() -> NoReturn:
    """Runs a command; what Subsight can explain is said in words, with its exit code."""
    # A command builds large trees of expressions that live as long as it does: looking through them
    # for garbage again and again finds none and takes half a second.
    gc.set_threshold(200_000, 50, 100)
    try:
        app()
    except SubsightError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as ended:
        # Typer turns Ctrl-C into this exit code and says nothing.
        if isinstance(ended, SystemExit) and ended.code != _INTERRUPTED:
            raise
        print("interrupted: the previous run is intact", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get(_TRACEBACK):
            raise
        if str(error) == "Query interrupted":  # Ctrl-C while the engine worked is the engine's error
            print("interrupted: the previous run is intact", file=sys.stderr)
            sys.exit(_INTERRUPTED)
        explained = _unexplained(error)
        print(f"error: {explained}", file=sys.stderr)
        sys.exit(explained.exit_code)
    sys.exit(0)


def _unexplained(error: Exception) -> SubsightError:
    """What nobody foresaw, in words: the system's refusals as such, anything else as a fault here."""
    if isinstance(error, OSError):
        return StorageError(
            "the system refuses a file", found=str(error), do="check the permissions and the free space"
        )
    return SubsightError(
        "Subsight failed where it should not",
        found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
        expected="a result or an explanation; the previous run is intact",
        do=f"report it with the traceback that the same command prints with {_TRACEBACK}=1",
    )
