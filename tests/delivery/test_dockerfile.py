"""The Dockerfile's steps, carried out as they stand there, and the service that comes of them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from image import Image, Stage, ignored, instructions

from subsight.lifecycle.bundle import pack
from subsight.lifecycle.registry import Registry
from subsight.workspace import Workspace

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ASK = """
import sys, urllib.request
path, body, key = sys.argv[1:]
headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
request = urllib.request.Request("http://127.0.0.1:5000" + path, body.encode() or None, headers)
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""


def test_every_version_is_pinned() -> None:
    for word, rest in instructions(DOCKERFILE):
        if word == "FROM" and not rest.startswith("scratch"):
            assert re.match(r"python:\d+\.\d+\.\d+-slim-[a-z]+( |$)", rest), rest
        for package in re.findall(r"pip install \S+ (\S+)", rest) if word == "RUN" else ():
            assert re.fullmatch(r"\S+==[\d.]+", package)
    assert DOCKERFILE.count("uv sync --frozen --no-dev") == 2


@pytest.mark.parametrize(
    ("path", "is_ignored"),
    [
        ("uv.lock", False),
        ("src/subsight/workspace.py", False),
        ("src/subsight/__pycache__/workspace.pyc", True),
        ("tellco/keys/pseudonyms.key", True),
        ("demo/current/report.html", True),
        (".git/config", True),
        ("tests/conftest.py", True),
        ("telcom_data.csv", True),
    ],
)
def test_only_the_code_is_sent_to_the_build(path: str, is_ignored: bool) -> None:
    assert ignored(path, (ROOT / ".dockerignore").read_text(encoding="utf-8")) == is_ignored


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    made = Workspace.create(folder / "operator")
    names = ["engagement_score", "experience_score"]
    parameters = {
        "coefficients": dict.fromkeys(names, 0.5),
        "intercept": 0.0,
        "mean": [0.0] * 2,
        "deviation": [1.0] * 2,
    }
    facts = {"is_promotable": True, "reasons": []}
    Registry(made).register("identity", {"features": names, "parameters": parameters}, facts)
    Registry(made).promote("identity", 1)
    pack(made, folder / "bundle")
    return folder / "bundle"


@pytest.mark.namespaces
def test_the_image_serves(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("image")
    for place in (folder, *folder.parents):  # another user enters it
        if place.stat().st_uid == 0 and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o011)
    image = Image(ROOT, folder, bundle)
    stage = image.build()
    assert (stage.user, stage.ports, stage.volumes) == ("10001:10001", ["5000", "3330"], ["/workspace"])
    # As an engine would give it: empty, with the owner that the image's folder has.
    volume = folder / "volume"
    subprocess.run(["cp", "-a", str(stage.root / "workspace"), str(volume)], check=True)
    # The default command prints a key.
    command = image.command([*stage.entrypoint, *stage.command], stage, volume=volume, running=True)
    log = folder / "log"
    with log.open("w") as lines:
        service = subprocess.Popen(command, stderr=lines)
    try:
        deadline = time.monotonic() + 60
        while _inside(service.pid, stage, stage.health).returncode:
            assert service.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        (key,) = re.findall(r"shown this once: (\S+)", log.read_text())
        ready = _inside(service.pid, stage, ["python", "-c", ASK, "/ready", "", key])
        assert json.loads(ready.stdout)["models"] == {"identity": 1}
        row = json.dumps({"engagement_score": 0.8, "experience_score": 0.7})
        predicted = json.loads(
            _inside(service.pid, stage, ["python", "-c", ASK, "/predict", row, key]).stdout
        )
        assert predicted["satisfaction_score"] == pytest.approx(0.75)
        written = _inside(service.pid, stage, ["touch", "/opt/bundle/models", "/opt/subsight/x", "/tmp/x"])
        assert [line.split("'")[1] for line in written.stderr.splitlines()] == [
            "/opt/bundle/models",
            "/opt/subsight/x",
        ]
    finally:
        service.terminate()
        ended = service.wait(timeout=30)
    assert ended == 0, log.read_text()
    # What the volume holds belongs to the image's user, and the health check fails where nothing answers.
    assert {path.stat().st_uid for path in volume.rglob("*")} == {10001}
    nothing = subprocess.run(
        image.command(stage.health, stage, running=True), capture_output=True, text=True, timeout=30
    )
    assert nothing.returncode != 0
    assert "Connection refused" in nothing.stderr


def _inside(pid: int, stage: Stage, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A command beside the service, as `docker exec` and the health check run it."""
    user, _, group = stage.user.partition(":")
    enter = [
        "nsenter",
        "--target",
        str(pid),
        "--mount",
        "--net",
        "--root",
        "--wd",
        "setpriv",
        "--reuid",
        user,
    ]
    environment = [f"{k}={v}" for k, v in stage.environment.items()]
    command = [*enter, "--regid", group, "--clear-groups", "env", "-i", *environment, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
