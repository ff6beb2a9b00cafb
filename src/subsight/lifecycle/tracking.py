"""Tracking: fit records and versions are copied into MLflow, where people look at runs beside each other.

The workspace is the truth and MLflow a copy of it: what was copied already, by its tag, is left as it is.
Importing MLflow takes three seconds, so only commands about models do, and the service by a
process of its own (see `copier`). Its pages come with the full package:
`uv run --with mlflow mlflow server --backend-store-uri sqlite:///WS/models/mlflow.db --port 5001`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import ConfigurationError, StorageError
from subsight.lifecycle.registry import Registry
from subsight.models import shown
from subsight.results import Results
from subsight.settings import Settings
from subsight.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["default_uri", "sync"]

_TAG: Final = "subsight.record"
_PART: Final = "subsight.part"
"""The tag of a copy that is being made, or was cut short."""
_SETTINGS: Final = frozenset({"starts", "seed"})
"""What fits tell among their numbers and is a parameter."""


@dataclass(frozen=True)
class _Record:
    """One fit as MLflow is to show it; `series` are metrics by step."""

    id: str
    name: str
    model: str
    began_at: str
    ended_at: str
    tags: Mapping[str, str]
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    series: Mapping[str, list[float]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def default_uri(workspace: Workspace) -> str:
    """The workspace's own MLflow store: SQLite, which a user's full MLflow opens for its pages."""
    return f"sqlite:///{(workspace.path / 'models' / 'mlflow.db').resolve()}"


def sync(workspace: Workspace, settings: Settings) -> int:
    """Copies what MLflow does not have yet: fits of runs, versions and aliases; returns how many fits.

    With a tracking URI of `off` nothing is copied. One process copies at a time, the others wait for it.

    Raises:
        ConfigurationError: the tracking URI cannot be used.
        StorageError: the workspace cannot be written.
    """
    if settings.tracking_uri == "off":
        return 0
    try:
        (workspace.path / "models").mkdir(exist_ok=True)
        with (workspace.path / "models" / ".mlflow.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _synced(workspace, settings)
    except OSError as error:
        raise StorageError(
            f"{workspace.path} cannot be written",
            found=str(error),
            do='set tracking_uri = "off" where nothing is to be copied to MLflow',
        ) from error


def _synced(workspace: Workspace, settings: Settings) -> int:
    # Nothing leaves the machine that nobody asked for.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for chatty in ("mlflow.store.db.utils", "alembic", "alembic.runtime.migration"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    uri = settings.tracking_uri or default_uri(workspace)
    own = None if settings.tracking_uri else (workspace.path / "models" / "artifacts").resolve().as_uri()
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        registry, copied = Registry(workspace), 0
        for record in [*_fits(workspace), *_versions(registry)]:
            copied += _copy(client, record, own)
        for name in registry.names():
            _register(client, registry, name, own)
    except (MlflowException, OSError) as error:
        raise ConfigurationError(
            "the tracking store cannot be used",
            found=f"{uri}: {str(error).splitlines()[0]}",
            expected="a URI that MLflow can write to",
            do="set tracking_uri in subsight.toml, or leave it out for the workspace's own store",
        ) from error
    return copied


def _fits(workspace: Workspace) -> Iterator[_Record]:
    """What the published runs fitted."""
    for run in workspace.runs():
        results = Results(workspace.run(run))
        manifest = results.manifest
        # What a run carried forward was fitted, and copied, as part of the one that it came from.
        carried = {
            model
            for area in manifest.get("areas", {}).values()
            for model in area["models"]
            if area["from_run"]
        }
        for name, record in results.models().items():
            if name in carried:
                continue
            fit = record["fit"]
            yield _Record(
                id=f"run {run} {name}",
                name=f"run {run}",
                model=name,
                began_at=fit.get("began_at") or manifest["created_at"],
                ended_at=fit.get("ended_at") or manifest["created_at"],
                tags=_tags(manifest.get("code", {}), run, [entry["content"] for entry in manifest["inputs"]])
                | {"mlflow.source.name": "subsight run"},
                parameters={key: manifest["settings"][key] for key in ("seed", "starts", "treatment")},
                metrics={k: v for k, v in fit.items() if _is_number(v) and k not in _SETTINGS},
                series={_series(fit): fit.get("convergence", [])},
                files={
                    "record.json": json.dumps(record, indent=1),
                    **results.artifacts(name),
                },
            )


def _series(fit: Mapping[str, Any]) -> str:
    return "quantisation_error_by_epoch" if "quantisation_error" in fit else "inertia_by_iteration"


def _versions(registry: Registry) -> Iterator[_Record]:
    """What was trained from them."""
    for name in registry.names():
        for entry in registry.entries(name):
            version = registry.get(name, entry["version"])
            against = entry["against_champion"] or {}
            fit = version.record["fit"]
            yield _Record(
                id=_version_id(name, entry),
                name=f"version {entry['version']}",
                model=name,
                began_at=entry["began_at"],
                ended_at=entry["ended_at"],
                tags=_tags(entry["code"], entry["source"]["run"], entry["source"]["inputs"])
                | {"version": str(entry["version"]), "is_promotable": str(entry["is_promotable"])}
                | {"mlflow.source.name": "subsight models train", "mlflow.note.content": _verdict(entry)},
                parameters=entry["parameters"],
                metrics={**entry["metrics"], "mae_change": against.get("mae_change")},
                series={"residual_deciles": fit["residual_deciles"]} | _learned(fit),
                files={
                    "record.json": json.dumps(version.record, indent=1),
                    **shown.files({**version.record, "sample": _probed(version.record)}, shown.draw),
                },
            )


def _probed(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A version's probes as rows."""
    probes = record["probes"]
    return [{"satisfaction_score": probe["satisfaction_score"], **probe["inputs"]} for probe in probes]


def _version_id(name: str, entry: Mapping[str, Any]) -> str:
    return f"version {name} {entry['version']} {entry['digest'][:16]}"


def _learned(fit: Mapping[str, Any]) -> dict[str, list[float]]:
    """What only models that learn by steps have: their loss at each, and their calibration by tenths."""
    series = {"loss_by_step": fit["convergence"]} if "convergence" in fit else {}
    for side in ("predicted", "observed") if "calibration" in fit else ():
        series[f"calibration_{side}"] = [row[side] for row in fit["calibration"]]
    return series


def _verdict(entry: Mapping[str, Any]) -> str:
    """What validation said of a version."""
    return f"not promotable: {'; '.join(entry['reasons'])}" if entry["reasons"] else "promotable"


def _tags(code: Mapping[str, Any], run: str, inputs: list[str]) -> dict[str, str]:
    return {
        "mlflow.source.git.commit": str(code.get("commit")),
        "code.package": str(code.get("package")),
        "code.is_dirty": str(code.get("is_dirty")),
        "source.run": run,
        "source.inputs": " ".join(inputs),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _copy(client: MlflowClient, record: _Record, artifacts: str | None) -> bool:
    """Whether the record was new to MLflow. Its tag is set last: a copy cut short is made again."""
    from mlflow.entities import Metric, Param

    experiment = _experiment(client, record.model, artifacts)
    if client.search_runs([experiment], f"tags.`{_TAG}` = '{record.id}'", max_results=1):
        return False
    for part in client.search_runs([experiment], f"tags.`{_PART}` = '{record.id}'"):
        client.delete_run(part.info.run_id)
    run = client.create_run(
        experiment, _milliseconds(record.began_at), {**record.tags, _PART: record.id}, record.name
    ).info.run_id
    at = _milliseconds(record.ended_at)
    metrics = [
        Metric(name, float(value), at, 0) for name, value in record.metrics.items() if value is not None
    ]
    metrics += [
        Metric(name, float(value), at, step)
        for name, values in record.series.items()
        for step, value in enumerate(values)
    ]
    parameters = [Param(name, str(value)) for name, value in record.parameters.items()]
    client.log_batch(run, metrics=metrics, params=parameters)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in record.files.items():
            Path(folder, name).write_text(text, encoding="utf-8")
            client.log_artifact(run, str(Path(folder, name)))
    client.set_tag(run, _TAG, record.id)
    client.delete_tag(run, _PART)
    client.set_terminated(run, end_time=at)
    return True


def _experiment(client: MlflowClient, model: str, artifacts: str | None) -> str:
    name = f"subsight {model}"
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, artifacts))


def _register(client: MlflowClient, registry: Registry, name: str, artifacts: str | None) -> None:
    """The model's versions and aliases in MLflow's registry, found by their tag."""
    model = f"subsight-{name}"
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(
            model, description="Copied from a Subsight workspace, which serves it."
        )
    known = {v.tags.get(_TAG): v.version for v in client.search_model_versions(f"name = '{model}'")}
    experiment = _experiment(client, name, artifacts)
    ids = {entry["version"]: _version_id(name, entry) for entry in registry.entries(name)}
    for entry in registry.entries(name):
        if (id := ids[entry["version"]]) not in known:
            (run,) = client.search_runs([experiment], f"tags.`{_TAG}` = '{id}'", max_results=1)
            made = client.create_model_version(
                model, str(run.info.artifact_uri), run.info.run_id, {_TAG: id}, description=_verdict(entry)
            )
            known[id] = made.version
    wanted = {alias: known[ids[number]] for alias, number in registry.aliases(name).items()}
    present = dict(client.get_registered_model(model).aliases)
    for alias in present.keys() - wanted.keys():
        client.delete_registered_model_alias(model, alias)
    for alias, version in wanted.items():
        if str(present.get(alias)) != str(version):
            client.set_registered_model_alias(model, alias, str(version))


def _milliseconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * 1000)
