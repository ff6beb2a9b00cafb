"""The verb that watches models: drift, performance, what to do, and an exit code for schedulers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument

__all__ = ["DUE", "watch"]

DUE: Final = 20
"""Exit code where training, or a promotion, is left to be done."""

_SHOWN: Final = 8


def watch(
    workspace: WorkspaceArgument,
    retrain: Annotated[bool, typer.Option(help="Train where it is called for.")] = False,
    promote: Annotated[bool, typer.Option(help="Retrain, and promote what passes validation.")] = False,
    output: FormatOption = Output.text,
) -> None:
    """Compare the current run with what the champions were trained on, and say what to do.

    Exit code 0: nothing is to be done, or it was done. 20: training is called for by age, drift or a drop
    of performance, or a retrained version waits to be promoted.
    """
    from subsight.lifecycle import watching
    from subsight.settings import load
    from subsight.workspace import Workspace

    opened = Workspace.open(workspace)
    settings = load(opened.settings_file)
    found = watching.look(opened, settings)
    if unheard := watching.notify(settings, found):
        print(unheard, file=sys.stderr)
    trained = watching.retrain(opened, settings, found, promote=promote) if retrain or promote else []
    left = {name for name, model in found["models"].items() if model["reasons"]}
    left -= {one.version.name for one in trained if one.is_champion}
    if output is Output.json:
        news = [{"model": t.version.name, **t.version.entry, "is_champion": t.is_champion} for t in trained]
        print(json.dumps({**found, "trained": news}, indent=1))
    else:
        _print(found)
        for one in trained:
            name, number = one.version.name, one.version.number
            state = (
                "now the champion"
                if one.is_champion
                else _waiting(one.version.entry, f"{workspace} {number} --model {name}")
            )
            print(f"{name} {number}: trained; {state}")
        if left and not trained:
            print(f"next: subsight models watch {workspace} --retrain")
    if trained:
        from subsight.surfaces.cli_models import track

        track(opened, settings)
    raise typer.Exit(DUE if left else 0)


def _waiting(entry: Mapping[str, Any], chosen: str) -> str:
    if entry["reasons"]:
        return f"not promotable: {'; '.join(entry['reasons'])}"
    return f"promote it with: subsight models promote {chosen}"


def _print(found: Mapping[str, Any]) -> None:
    print(f"{'run ' + found['run'] if found['run'] else 'no run'}, {found['at']}")
    for name, model in found["models"].items():
        print(f"{name} {model['version']}, trained {model['age_days']:.1f} days ago on {model['trained_on']}")
        print(f"  {_drift(model, found['run'])}")
        for row in [row for row in model["drift"] if row["has_drifted"]][:_SHOWN]:
            print(f"    {_row(row)}")
        if model["asked_drift"]:
            moved = [row for row in model["asked_drift"] if row["has_drifted"]]
            of = f"{len(moved)} of {len(model['asked_drift'])} fields and predictions"
            print(f"  the service was asked {model['asked_count']:,} times in 30 days: {of} drifted")
            for row in moved[:_SHOWN]:
                print(f"    {_row(row)}")
        print(f"  {_performance(model['performance'])}")
        for reason in model["reasons"]:
            print(f"  training is due, {reason['trigger']}: {reason['why']}")
        if not model["reasons"]:
            print("  nothing to do")


def _drift(model: Mapping[str, Any], run: str | None) -> str:
    rows = model["drift"]
    if not rows:
        return "drift: not known: there is no run, or the version came without a sample of its training"
    moved = sum(row["has_drifted"] for row in rows)
    same = " (the run it was trained on)" if model["trained_on"] == run else ""
    alarms = f"{model['false_alarms']} false alarms in {model['looks']} looks at unchanged data"
    return f"drift: {moved} of {len(rows)} features and predictions{same}; {alarms}"


def _row(row: Mapping[str, Any]) -> str:
    then, now = (f"{row[side]:.4g}" for side in ("before", "now"))
    what = "median" if row["measure"] == "KS" else f"share of {row['what']}"
    said = f"{row['measure']} {row['distance']:.3f}, limit {row['threshold']:.3f}"
    return f"{row['feature']}: {said}; {what} {then} -> {now}"


def _performance(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "performance: not known, as the truth of too few predictions is known yet"
    change = f"{found['change_low']:+.4g} to {found['change_high']:+.4g}"
    verdict = "it has dropped" if found["has_dropped"] else "no clear drop"
    return (
        f"performance: mean absolute error {found['mae']:.4g} on {found['rows']:,} (when trained "
        f"{found['mae_before']:.4g}, change {change}, 95 % interval): {verdict}"
    )
