"""The verbs over the service: serve, and the keys that it asks for."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument

if TYPE_CHECKING:
    from subsight.settings import Settings
    from subsight.surfaces.api.server import AcumosDoor
    from subsight.workspace import Workspace

__all__ = ["keys", "serve"]

keys = typer.Typer(no_args_is_help=True, help="Make and revoke the keys of the service.")


def serve(
    workspace: WorkspaceArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    auth: Annotated[str | None, typer.Option(help="keys, or off: no key is asked for.")] = None,
    audit: Annotated[str | None, typer.Option(help="grouped, or strict: on disk before the answer.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Begin the workspace if it is empty, with the models in here."
        ),
    ] = None,
    generate_key: Annotated[
        bool, typer.Option("--generate-key", help="Where one is needed and none was made, make and print it.")
    ] = False,
    acumos: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Also answer Acumos clients, who send no key, on this port."),
    ] = None,
    acumos_host: Annotated[str, typer.Option(help="Address for Acumos clients.")] = "127.0.0.1",
    acumos_strict: Annotated[
        bool, typer.Option("--acumos-strict", help="Compare their headers exactly, as the runner does.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log a line a request, naming nobody. Also by DEBUG=1.")
    ] = False,
) -> None:
    """Serve the dashboard, and the champions over HTTP: predictions, subscribers, models; see /docs."""
    from subsight.lifecycle.copier import Copier
    from subsight.settings import load
    from subsight.surfaces.api.limits import Limits
    from subsight.surfaces.api.live import Experiment
    from subsight.surfaces.api.server import AcumosDoor
    from subsight.surfaces.api.server import serve as run
    from subsight.workspace import Workspace

    # Another program's DEBUG may hold anything: only what means yes counts.
    if debug or os.environ.get("DEBUG", "").lower() in ("1", "true", "yes", "on"):
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("subsight").setLevel(logging.DEBUG)
    opened = _begun(workspace, bundle) if bundle else Workspace.open(workspace)
    settings = load(opened.settings_file, auth=auth, audit=audit)
    limits = Limits(
        body_bytes=settings.request_bytes,
        rate=settings.request_rate,
        burst=int(2 * settings.request_rate) + 1,
        concurrency=settings.request_concurrency,
    )
    _admission(opened, settings, host, generate_key)
    print(
        f"http://{host}:{port}  dashboard: /  documentation: /docs  stop: Ctrl-C", file=sys.stderr, flush=True
    )
    door = None
    if acumos:
        door = AcumosDoor(acumos, acumos_host, acumos_strict, settings.acumos_inputs)
        _open_door(door)
    with Copier(opened) if settings.tracking_uri != "off" else nullcontext():
        run(
            opened,
            host,
            port,
            auth=settings.auth,
            audit=settings.audit,
            rotate_bytes=settings.audit_rotate_bytes,
            keep_days=settings.audit_keep_days,
            limits=limits,
            experiment=Experiment(settings.experiment, settings.challenger_share),
            acumos=door,
        )


def _begun(path: Path, bundle: Path) -> Workspace:
    from subsight.lifecycle.bundle import begin

    workspace, champions, segmenter = begin(path, bundle)
    for version in champions:
        print(f"{version.name} {version.number} of the bundle answers", file=sys.stderr)
    if segmenter:
        print(f"{segmenter.name} of {segmenter.version} of the bundle answers", file=sys.stderr)
    return workspace


def _open_door(door: AcumosDoor) -> None:
    """Says where Acumos clients are answered, and who may ask there."""
    from subsight.surfaces.api.security import is_loopback

    print(f"http://{door.host}:{door.port}/classify  for Acumos clients", file=sys.stderr, flush=True)
    if not is_loopback(door.host):
        said = f"whoever reaches {door.host}:{door.port} may ask for segments: Acumos clients send no key"
        print(said, file=sys.stderr, flush=True)


def _admission(workspace: Workspace, settings: Settings, host: str, generate_key: bool) -> None:
    """Says who may ask where that is not only this machine."""
    from subsight.surfaces.api.keys import ApiKeys
    from subsight.surfaces.api.security import is_loopback

    if settings.auth == "off":
        print("auth is off: whoever reaches this address may ask anything", file=sys.stderr)
    elif generate_key and not is_loopback(host):
        keys = ApiKeys(workspace)
        if keys.entries() is None:
            # Logs are read by many: the key can ask and answer, and decide nothing.
            secret = keys.create("predict", "read", "feedback", name="generated at the first start")
            print(f"key (predict, read, feedback), shown this once: {secret}", file=sys.stderr)


@keys.command(epilog="Example: subsight keys create tellco --role predict --name 'campaign tool'")
def create(
    workspace: WorkspaceArgument,
    role: Annotated[list[str], typer.Option(help="predict, read, feedback or admin; several by repeating.")],
    name: Annotated[str, typer.Option(help="Whose it is.")] = "",
) -> None:
    """Make a key and print it, this once."""
    from subsight.surfaces.api.keys import ApiKeys
    from subsight.workspace import Workspace

    print(ApiKeys(Workspace.open(workspace)).create(*role, name=name))


@keys.command("list", epilog="Example: subsight keys list tellco")
def list_keys(workspace: WorkspaceArgument, output: FormatOption = Output.text) -> None:
    """List the keys: ids, names, roles, never the keys themselves."""
    import json

    from subsight.surfaces.api.keys import ApiKeys
    from subsight.workspace import Workspace

    found = ApiKeys(Workspace.open(workspace)).all()
    if output is Output.json:
        print(json.dumps(found, indent=1))
        return
    for key in found:
        print(f"{key['id']}  {', '.join(key['roles']):24}  {key['created_at']}  {key['name']}".rstrip())
    if not found:
        print("no key yet: the service answers this machine only")


@keys.command(epilog="Example: subsight keys revoke tellco 1a2b3c4d")
def revoke(
    workspace: WorkspaceArgument,
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` prints it.")],
) -> None:
    """Revoke a key; a running service refuses it at once."""
    from subsight.surfaces.api.keys import ApiKeys
    from subsight.workspace import Workspace

    ApiKeys(Workspace.open(workspace)).revoke(key)
    print(f"revoked {key}")
