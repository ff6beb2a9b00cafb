"""The verbs over models: train, history, promote, roll back, compare, challenge, bundle, adopt."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subsight.errors import ConfigurationError, StorageError
from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument

if TYPE_CHECKING:
    from subsight.lifecycle.experiments import Comparison
    from subsight.lifecycle.registry import Registry
    from subsight.lifecycle.training import Trained
    from subsight.settings import Settings
    from subsight.workspace import Workspace

__all__ = ["app", "track"]

app = typer.Typer(no_args_is_help=True, help="Train models from a run, and decide which version answers.")

VersionArgument = Annotated[int, typer.Argument(min=1, metavar="VERSION", help="A version's number.")]
ModelOption = Annotated[str, typer.Option("--model", help="identity, behaviour or feedback.")]


def _open(path: Path) -> tuple[Workspace, Settings, Registry]:
    from subsight.lifecycle.registry import Registry
    from subsight.settings import load
    from subsight.workspace import Workspace

    workspace = Workspace.open(path)
    return workspace, load(workspace.settings_file), Registry(workspace)


@app.command(epilog="Example: subsight models train tellco")
def train(workspace: WorkspaceArgument, output: FormatOption = Output.text) -> None:
    """Fit, judge and register a version of each model from the current run."""
    from subsight.lifecycle import training

    opened, settings, _ = _open(workspace)
    for trained in training.train(opened, settings):
        version = trained.version
        if output is Output.json:
            print(json.dumps({"model": version.name, **version.entry, "is_champion": trained.is_champion}))
            continue
        print(f"{version.name} {version.number}: {_measured(version.entry, version.name)}")
        print(f"  {_standing(trained)}")
        for reason in version.entry["reasons"]:
            print(f"  not promotable: {reason}")
    track(opened, settings)


def _measured(entry: Mapping[str, Any], name: str) -> str:
    metrics = entry["metrics"]
    r2 = "undefined" if metrics["r2"] is None else f"{metrics['r2']:.4f}"
    everybody = metrics["rows_test"] + metrics["rows_train"]
    return (
        f"R2 {r2}, mean absolute error {metrics['mae']:.4g} against {metrics['baseline_mae']:.4g} of the "
        f"mean, on {metrics['rows_test']:,} held-out of {everybody:,} "
        f"{'answers' if name == 'feedback' else 'subscribers'}"
    )


def _standing(trained: Trained) -> str:
    found = trained.version.entry["against_champion"]
    if found is None:
        first = trained.is_champion
        return "now the champion: the first that passed" if first else "no champion to compare with"
    return _compared(found, "the champion")


def _compared(found: Mapping[str, Any], other: str) -> str:
    word = (
        "worse than"
        if found["is_worse"]
        else "better than"
        if found["is_better"]
        else "no clear difference to"
    )
    return (
        f"{word} {other} {found['champion']}: its error changes by {found['mae_change']:+.4g} "
        f"(95 % interval {found['mae_change_low']:+.4g} to {found['mae_change_high']:+.4g}, "
        f"{found['rows']:,} subscribers)"
    )


def track(workspace: Workspace, settings: Settings) -> None:
    """Copies what is new into MLflow. The registry is the truth: a store that fails stops nothing."""
    from subsight.lifecycle import tracking

    try:
        tracking.sync(workspace, settings)
    except (ConfigurationError, StorageError) as error:
        print(f"not copied to MLflow yet: {error}", file=sys.stderr)


_HISTORY = (
    "model", "version", "aliases", "registered_at", "began_at", "ended_at", "package", "commit", "is_dirty",
    "run", "inputs", "subscribers", "parameters", "r2", "mae", "baseline_mae", "mae_change", "is_promotable",
    "reasons", "artifact", "digest",
)  # fmt: skip


def _history(registry: Registry, workspace: Path) -> list[dict[str, Any]]:
    rows = []
    for name in registry.names():
        aliases = registry.aliases(name)
        for entry in registry.entries(name):
            against, source = entry["against_champion"], entry["source"]
            row = {
                **entry["code"], **source, **entry["metrics"], **entry,
                "model": name,
                "aliases": " ".join(alias for alias, number in aliases.items() if number == entry["version"]),
                "inputs": " ".join(source["inputs"]),
                "parameters": json.dumps(entry["parameters"]),
                "mae_change": against["mae_change"] if against else None,
                "reasons": "; ".join(entry["reasons"]),
                "artifact": str(workspace / "models" / name / f"{entry['version']}.json"),
            }  # fmt: skip
            rows.append({column: row[column] for column in _HISTORY})
    return sorted(rows, key=lambda row: row["registered_at"])


@app.command(epilog="Example: subsight models history tellco --csv runs.csv")
def history(
    workspace: WorkspaceArgument,
    to: Annotated[Path | None, typer.Option("--csv", help="Write all columns to this file.")] = None,
    output: FormatOption = Output.text,
) -> None:
    """List every version: when and from what it came, how good it is, and what became of it."""
    _, _, registry = _open(workspace)
    rows = _history(registry, workspace)
    if to:
        try:
            with to.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, _HISTORY)
                writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise StorageError(
                f"{to} cannot be written", found=str(error), do="name another place"
            ) from error
        print(f"{len(rows)} versions written to {to}")
    elif output is Output.json:
        print(json.dumps({"versions": rows, "changes": registry.changes()}, indent=1))
    else:
        _print_history(rows, registry)


def _print_history(rows: list[dict[str, Any]], registry: Registry) -> None:
    if not rows:
        print("no version yet: subsight models train WS")
    for row in rows:
        r2 = "–" if row["r2"] is None else f"{row['r2']:.4f}"
        commit = f"{(row['commit'] or 'no commit')[:9]}{' dirty' if row['is_dirty'] else ''}"
        verdict = row["aliases"] or ("promotable" if row["is_promotable"] else f"refused: {row['reasons']}")
        print(
            f"{row['model']:10} {row['version']:3}  {row['registered_at'][:19]}  R2 {r2:>7}  "
            f"MAE {row['mae']:.4g}  {row['run']}  {row['package']} {commit}  {verdict}"
        )
    for change in registry.changes():
        how = " (forced)" if change["forced"] else " (rollback)" if change["is_rollback"] else ""
        moved = f"{change['from'] or 'none'} -> {change['to'] or 'none'}{how}"
        print(
            f"{change['at'][:19]}  {change['alias']} of {change['model']}: {moved} {change['why']}".rstrip()
        )


@app.command(epilog="Example: subsight models promote tellco 7")
def promote(
    workspace: WorkspaceArgument,
    version: VersionArgument,
    model: ModelOption = "behaviour",
    force: Annotated[bool, typer.Option(help="Although validation is against it; this is recorded.")] = False,
    why: Annotated[str, typer.Option(help="A reason for the record.")] = "",
) -> None:
    """Make a version the champion; a running service answers with it from the next request on."""
    opened, settings, registry = _open(workspace)
    before = registry.aliases(model).get("champion")
    registry.promote(model, version, force=force, why=why)
    print(f"champion of {model}: {before or 'none'} -> {version}{' (forced)' if force else ''}")
    track(opened, settings)


@app.command(epilog="Example: subsight models rollback tellco")
def rollback(
    workspace: WorkspaceArgument,
    model: ModelOption = "behaviour",
    why: Annotated[str, typer.Option(help="A reason for the record.")] = "",
) -> None:
    """Go back to the champion before the present one."""
    opened, settings, registry = _open(workspace)
    before = registry.aliases(model).get("champion")
    print(f"champion of {model}: {before} -> {registry.rollback(model, why).number} (rollback)")
    track(opened, settings)


@app.command(epilog="Example: subsight models compare tellco 1 2")
def compare(
    workspace: WorkspaceArgument,
    first: Annotated[int | None, typer.Argument(min=1, metavar="VERSION", help="A version's number.")] = None,
    second: Annotated[int | None, typer.Argument(min=1, metavar="VERSION", help="Another's.")] = None,
    model: ModelOption = "behaviour",
    tolerance: Annotated[float, typer.Option(min=0, help="Predictions further apart are counted.")] = 0.1,
    output: FormatOption = Output.text,
) -> None:
    """Compare two versions on the current run's held-out subscribers.

    Without versions: the challenger with the champion, on what the service answered since the challenge
    began and on what came after. Its interval stays valid however often you look, so you may stop as soon
    as it is clear.
    """
    from subsight.lifecycle import training

    opened, settings, _ = _open(workspace)
    if first is None:
        _compare_live(opened, settings, model, tolerance, output)
        return
    if second is None:
        raise ConfigurationError(
            "two versions are compared, or none",
            found=str(first),
            do="name another version, or leave both out",
        )
    found = training.compare(opened, settings, model, first, second)
    said = f"{model} {second}: {_compared(found, 'version')}"
    print(json.dumps(found) if output is Output.json else said)


def _compare_live(
    workspace: Workspace, settings: Settings, model: str, tolerance: float, output: Output
) -> None:
    from subsight.lifecycle import experiments, feedback

    answers = feedback.answers(workspace) if model == "feedback" else None
    found = experiments.compare(workspace, model, answers, tolerance=tolerance)
    if output is Output.json:
        print(json.dumps(asdict(found), indent=1))
        return
    how = {"shadow": "in shadow", "ab": "in an A/B", None: "(nothing is recorded yet)"}[found.kind]
    print(f"{model}: {found.challenger} challenges {found.champion} {how} since {found.since[:19]}")
    for arm, number in (("champion", found.champion), ("challenger", found.challenger)):
        rows, mae = found.arms[arm]["rows"], found.arms[arm]["mae"]
        error = "" if mae is None else f", mean absolute error {mae:.4g}"
        print(f"  {arm:10} {number:3}: {rows:,} subscribers with an outcome{error}")
    if found.failures:
        print(f"  the challenger had no prediction for {found.failures:,} of {found.predictions:,} rows")
    if found.agreement and found.agreement["rows"]:
        print(f"  {_agreeing(found.agreement)}")
    print(f"  {_verdict(found)}")
    print(f"  next: {_next(found, workspace.path.name, settings)}")


def _agreeing(found: Mapping[str, Any]) -> str:
    return (
        f"predictions differ by {found['mean_absolute_difference']:.4g} on average over {found['rows']:,} "
        f"rows, by more than {found['tolerance']:g} in {found['beyond_share']:.1%} of them"
    )


def _verdict(found: Comparison) -> str:
    if found.difference is None:
        return f"too early to tell: {found.rows:,} subscribers with an outcome"
    return (
        f"{found.verdict}: its error differs by {found.difference:+.4g} ({100 * (1 - found.alpha):g} % "
        f"interval, valid at every look: {found.low:+.4g} to {found.high:+.4g})"
    )


def _next(found: Comparison, workspace: str, settings: Settings) -> str:
    from subsight.lifecycle.experiments import MINIMUM_ARM, MINIMUM_ROWS

    chosen = f"{workspace} {found.challenger} --model {found.model}"
    if found.verdict == "better":
        return f"promote it: subsight models promote {chosen}"
    if found.verdict == "worse":
        return f"end the challenge: subsight models challenge {workspace} 0 --model {found.model}"
    if settings.experiment == "off":
        return "set experiment to shadow or ab: it is off"
    if found.kind is None:
        return f"serve it: subsight serve {workspace}; in an A/B only requests with a subscriber_id count"
    if found.verdict == "too early":
        each = f", {MINIMUM_ARM} of each arm" if found.kind == "ab" else ""
        outcomes = "answers" if found.model == "feedback" else "a run over newer sessions"
        return f"bring {outcomes}: {MINIMUM_ROWS} subscribers need an outcome after a prediction{each}"
    return "go on, and look when you like; or end it, if a difference of this size does not matter"


@app.command(epilog="Example: subsight models challenge tellco 8")
def challenge(
    workspace: WorkspaceArgument,
    version: Annotated[int, typer.Argument(min=0, metavar="VERSION", help="A version's number; 0 ends it.")],
    model: ModelOption = "behaviour",
) -> None:
    """Make a version the challenger, or end the challenge with 0.

    In a running service it predicts beside the champion from the next request on, or answers its share of
    subscribers, as the setting `experiment` says; `subsight models compare WS` says how it does.
    """
    opened, settings, registry = _open(workspace)
    registry.challenge(model, version or None)
    print(f"challenger of {model}: {version or 'none'}")
    track(opened, settings)


@app.command(epilog="Example: subsight models bundle tellco deploy/bundle")
def bundle(
    workspace: WorkspaceArgument,
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; free or empty.")],
) -> None:
    """Write the registered models and the segmentation, and nothing else, into a folder for an image."""
    from subsight.lifecycle.bundle import pack
    from subsight.lifecycle.segmentation import of_bundle

    opened, _, _ = _open(workspace)
    for version in pack(opened, target):
        print(f"{version.name} {version.number}  SHA-256 {version.digest}")
    if segmenter := of_bundle(target):
        print(f"{segmenter.name} of {segmenter.version}  SHA-256 {segmenter.digest}")


@app.command(epilog="Example: subsight models adopt tellco deploy/bundle")
def adopt(
    workspace: WorkspaceArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A bundle, or another workspace.")],
) -> None:
    """Register the champions of a bundle as new versions; `promote` decides whether they answer."""
    from subsight.lifecycle.bundle import adopt as register

    opened, settings, registry = _open(workspace)
    for version, is_new in register(opened, folder):
        answers = registry.aliases(version.name).get("champion") == version.number
        said = "answers already" if answers else f"promote {version.number} --model {version.name} to use it"
        print(f"{version.name} {version.number}: {'registered' if is_new else 'known already'}; {said}")
    track(opened, settings)


@app.command("track", epilog="Example: subsight models track tellco")
def track_now(workspace: WorkspaceArgument) -> None:
    """Copy the fits of runs, versions and aliases that are new into MLflow.

    The other commands about models do it too, and so does a running service.
    """
    from subsight.lifecycle import tracking

    opened, settings, _ = _open(workspace)
    copied = tracking.sync(opened, settings)
    to = settings.tracking_uri or tracking.default_uri(opened)
    print("tracking_uri is off: nothing is copied" if to == "off" else f"{copied} fits copied to {to}")
