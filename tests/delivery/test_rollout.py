"""Compose, manifests and scripts against what they deliver: the image, a real MariaDB, a failing cluster."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from image import instructions
from typer.testing import CliRunner

from subsight import Insight
from subsight.simulate import Operator, simulate
from subsight.surfaces import cli

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
IMAGE = "registry.example/team/subsight@sha256:" + 64 * "0"
DOCKERFILE = dict(instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")))


def rendered(component: str) -> list[dict[str, Any]]:
    words = [str(KUBERNETES / "render.sh"), IMAGE, component]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


@pytest.mark.parametrize("component", ["stable", "canary"])
def test_the_manifests_run_the_image_as_it_was_built(component: str) -> None:
    documents = rendered(component)
    deployment = one(documents, "Deployment")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")
    security = pod["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == DOCKERFILE["USER"]
    (port,) = container["ports"]
    assert str(port["containerPort"]) in DOCKERFILE["EXPOSE"].split()
    assert DOCKERFILE["VOLUME"] in {mount["mountPath"] for mount in container["volumeMounts"]}
    # Every claim and every selector names what is there.
    claims = {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    assert claims == {one(documents, "PersistentVolumeClaim")["metadata"]["name"]}
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    service = one(documents, "Service")["spec"]
    assert service["selector"].items() <= labels.items()
    assert {p["targetPort"] for p in service["ports"]} == {port["name"]}
    policy = one(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= labels.items()


def test_the_canary_shares_no_workspace_and_no_requests() -> None:
    stable, canary = rendered("stable"), rendered("canary")
    for kind in ("Deployment", "Service", "PersistentVolumeClaim"):
        assert one(stable, kind)["metadata"]["name"] != one(canary, kind)["metadata"]["name"]
    pods = one(canary, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert not one(stable, "Service")["spec"]["selector"].items() <= pods.items()
    assert not one(stable, "Deployment")["spec"]["selector"]["matchLabels"].items() <= pods.items()


def test_only_an_image_is_put_into_the_manifests() -> None:
    done = subprocess.run([KUBERNETES / "render.sh", "a|b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


KUBECTL = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  apply*) cat > "$CALLS.applied" ;;
  "rollout status"*) grep -q "rollout undo" "$CALLS" || exit "$STATUS" ;;
  "rollout undo"*) exit "$UNDO" ;;
esac
"""


@pytest.mark.parametrize(
    ("status", "undo", "code", "said"),
    [
        (0, 0, 0, ""),
        (1, 0, 1, "the version before it was put back"),
        (1, 1, 1, "there is no version before it"),
    ],
)
def test_a_version_that_does_not_become_ready_is_taken_back(
    tmp_path: Path, status: int, undo: int, code: int, said: str
) -> None:
    kubectl, calls = tmp_path / "kubectl", tmp_path / "calls"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "STATUS": str(status),
        "UNDO": str(undo),
        "CLUSTER": "apiVersion: v1",
        "TMPDIR": str(tmp_path),
    }
    words = [KUBERNETES / "rollout.sh", IMAGE, "canary"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code
    assert said in done.stderr
    asked = calls.read_text().splitlines()
    assert ("rollout undo deployment/subsight-canary" in asked) == bool(status)
    assert IMAGE in Path(f"{calls}.applied").read_text()
    # The cluster's key does not stay.
    assert {path.name for path in tmp_path.iterdir()} == {"kubectl", "calls", "calls.applied"}


def test_compose_holds_no_secret_and_serves_this_machine_only() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or value.startswith("${") or name.endswith("RANDOM_ROOT_PASSWORD")
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["subsight"]["ports"])
    assert compose["services"]["mariadb"]["healthcheck"]
    assert compose["services"]["export"]["depends_on"]["mariadb"]["condition"] == "service_healthy"


@pytest.mark.database("mysql")
def test_the_export_of_compose_fills_mariadb(tmp_path: Path) -> None:
    """The very command, with the server's address and the workspace's place put in."""
    import pymysql

    made = simulate(Operator(subscribers=300, sessions=2400), tmp_path / "simulated")
    insight = Insight.open(tmp_path / "workspace", create=True)
    insight.run(made.sessions, studies=["satisfaction"])
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    database = services["mariadb"]["environment"]
    user, name, password = database["MARIADB_USER"], "subsight_compose", "pass w0rd/#@"
    words = [
        word.replace("/workspace", str(insight.workspace.path)).replace(
            "@mariadb/subsight", f"@127.0.0.1/{name}"
        )
        for word in services["export"]["command"]
    ]
    assert f"mysql://{user}@127.0.0.1/{name}" in words
    with pymysql.connect(host="127.0.0.1", user="root", autocommit=True) as server, server.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {user}@'%'")
        cursor.execute(f"CREATE OR REPLACE DATABASE {name}")
        cursor.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY %s", (password,))
        cursor.execute(f"GRANT ALL ON {name}.* TO {user}@'%'")
        try:
            environment = {**os.environ, **dict.fromkeys(services["export"]["environment"], password)}
            command = [sys.executable, "-m", "subsight", *words]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stderr
            assert password not in done.stdout + done.stderr
            cursor.execute(f"SELECT COUNT(*) FROM {name}.satisfaction")
            assert cursor.fetchone() == (300,)
        finally:
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"DROP USER {user}@'%'")


COMMANDS = re.findall(
    r"(?:docker exec subsight|kubectl exec deploy/subsight --) (subsight [^\n#]+)|^ {4}(subsight [^\n#]+)"
    r"|subsight:0\.1\.0 \\?\n? *((?:run|audit|models|keys) [^\n#]+)",
    (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize("command", sorted({"".join(found).removeprefix("subsight ") for found in COMMANDS}))
def test_the_commands_of_the_page_exist(command: str) -> None:
    words = shlex.split(command)
    verbs = words[:2] if words[0] in ("models", "keys", "audit") else words[:1]
    help_of = CliRunner().invoke(cli.app, [*verbs, "--help"], env={"COLUMNS": "200"})
    assert help_of.exit_code == 0, verbs
    for option in (word for word in words if word.startswith("--")):
        assert option in help_of.output


def test_the_page_shows_what_the_image_does() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert len(COMMANDS) >= 10
    assert "--env SUBSIGHT_AUTH=off subsight:0.1.0" in page
    # The default command, whose options the troubleshooting names.
    assert {"--generate-key", "--bundle", "/opt/bundle"} <= set(json.loads(DOCKERFILE["CMD"]))
    assert "models adopt /workspace /opt/bundle" in page


def test_the_validators_are_run_on_every_delivery_file() -> None:
    """`deploy/check.sh` is given each file that there is, so that a new one does not go unseen."""
    script = (ROOT / "deploy" / "check.sh").read_text(encoding="utf-8")
    for name in ("Dockerfile", "compose.yaml", ".github/workflows/*.yml", ".github/dependabot.yml"):
        assert name in script
    assert {path.suffix for path in (ROOT / ".github").rglob("*") if path.is_file()} == {".yml"}
