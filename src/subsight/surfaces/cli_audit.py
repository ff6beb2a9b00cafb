"""The verb over the audit log: verify that no line of it is gone or changed."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from subsight.errors import WorkspaceError
from subsight.surfaces.options import FormatOption, Output, WorkspaceArgument

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Verify the record of what the models answered.")


@app.callback()
def audit() -> None:
    """Keeps `verify` a verb of its own."""


@app.command(epilog="Example: subsight audit verify tellco")
def verify(workspace: WorkspaceArgument, output: FormatOption = Output.text) -> None:
    """Check every chain of the audit log: exit code 5 where a line was edited, removed or added."""
    from subsight.lifecycle import audit
    from subsight.workspace import Workspace

    found = audit.verify(Workspace.open(workspace).path / "audit")
    if output is Output.json:
        print(json.dumps({"status": found.status, "records": found.records, **asdict(found)}, default=str))
    else:
        for chain in found.chains:
            said = f": {chain.reason}" if chain.reason else ""
            said += f" ({chain.file}, line {chain.line})" if chain.file else ""
            span = f"{chain.first_at} to {chain.last_at}"
            print(f"{chain.chain}  {chain.status:6} {chain.records:,} records, {span}{said}")
        print(f"{found.status}: {found.records:,} records in {len(found.chains)} chains")
    if found.status == "broken":
        broken = next((chain for chain in found.chains if chain.status == "broken"), None)
        raise WorkspaceError(
            "the audit log was changed, or a part of it is missing",
            found=str(broken.reason if broken else found.reason),
            expected="every line as it was written",
            do="leave the folder as it is, and compare it with your copies of the heads",
        )
