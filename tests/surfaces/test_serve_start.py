"""How the service starts where a container starts it: as a process, on all addresses, over a volume."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from served import SCORES, Started, ask, command, serving

from subsight.lifecycle.bundle import pack
from subsight.lifecycle.registry import Registry
from subsight.workspace import Workspace

KEY = re.compile(r"^key \(predict, read, feedback\), shown this once: (\S{43})$", re.MULTILINE)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose champion is the mean of the two scores."""
    made = Workspace.create(tmp_path / "operator")
    names = list(SCORES)
    record = {
        "features": names,
        "parameters": {
            "coefficients": dict.fromkeys(names, 0.5),
            "intercept": 0.0,
            "mean": [0.0, 0.0],
            "deviation": [1.0, 1.0],
        },
    }
    Registry(made).register("identity", record, {"is_promotable": True, "reasons": []})
    Registry(made).promote("identity", 1)
    pack(made, tmp_path / "bundle")
    return tmp_path / "bundle"


def _command(volume: Path, bundle: Path) -> list[str]:
    return command(volume, *_image(bundle))


def _image(bundle: Path) -> list[str]:
    """The options of an image's command line."""
    return ["--host", "0.0.0.0", "--bundle", str(bundle), "--generate-key"]


def started(
    volume: Path, bundle: Path, environment: Mapping[str, str] | None = None
) -> AbstractContextManager[Started]:
    return serving(volume, *_image(bundle), environment=environment)


def test_the_first_start_on_an_empty_volume_prints_a_key_once(bundle: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    with started(volume, bundle) as service:
        assert ask(service.port, "POST", "/predict", SCORES)[0] == 401
        assert ask(service.port, "GET", "/ready")[0] == 200
        first = service.stop()
    (key,) = KEY.findall(first)
    assert "identity 1 of the bundle answers" in first
    # Only its hash stays.
    assert not any(key in path.read_text() for path in volume.rglob("*") if path.is_file())
    with started(volume, bundle) as service:
        status, answer = ask(service.port, "POST", "/predict", SCORES, key)
        assert (status, answer["model"], answer["version"]) == (200, "identity", 1)
        assert answer["satisfaction_score"] == pytest.approx(0.75)
        assert ask(service.port, "GET", "/model", key=key)[0] == 200
        second = service.stop()
    assert "shown this once" not in second
    assert "of the bundle" not in second


def test_auth_off_is_said_and_recorded(bundle: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    with started(volume, bundle, {"SUBSIGHT_AUTH": "off"}) as service:
        assert ask(service.port, "POST", "/predict", SCORES)[0] == 200
        said = service.stop()
    assert "auth is off: whoever reaches this address may ask anything" in said
    assert "key (" not in said
    assert not (volume / "keys" / "api.json").exists()
    (audit,) = (volume / "audit").glob("audit-*.jsonl")
    begun = next(r for r in map(json.loads, audit.read_text().splitlines()) if r["kind"] == "service_started")
    assert (begun["auth"], begun["host"]) == ("off", "0.0.0.0")


def test_an_image_without_models_starts_and_says_why_it_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with started(tmp_path / "volume", tmp_path / "none", {"SUBSIGHT_AUTH": "off"}) as service:
        status, answer = ask(service.port, "GET", "/ready")
        assert status == 503
        assert "there is no model yet" in json.dumps(answer)
        service.stop()


def test_a_tampered_bundle_starts_nothing(bundle: Path, tmp_path: Path) -> None:
    file = bundle / "models" / "identity" / "1.json"
    file.write_text(file.read_text().replace("0.5", "5.0", 1))
    done = subprocess.run(_command(tmp_path / "volume", bundle), capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert "version 1 of identity is not what was registered: it is refused" in done.stderr
    assert KEY.search(done.stderr) is None


def test_without_generate_key_other_machines_are_still_refused(bundle: Path) -> None:
    done = subprocess.run(command(bundle, "--host", "0.0.0.0"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--generate-key" in done.stderr


def test_revoked_keys_are_not_made_again(bundle: Path, tmp_path: Path) -> None:
    from subsight.surfaces.api.keys import ApiKeys

    volume = Workspace.create(tmp_path / "volume")
    keys = ApiKeys(volume)
    keys.create("admin")
    keys.revoke(keys.all()[0]["id"])
    with started(volume.path, bundle) as service:
        assert ask(service.port, "POST", "/predict", SCORES)[0] == 401
        assert "shown this once" not in service.stop()


@pytest.mark.parametrize(("value", "is_told"), [("1", True), ("app:*", False), ("0", False)])
def test_debug_adds_lines_to_the_log_and_nothing_to_answers(bundle: Path, value: str, is_told: bool) -> None:
    with serving(bundle, environment={"DEBUG": value}) as service:
        assert ask(service.port, "POST", "/predict", SCORES)[1]["satisfaction_score"] == 0.75
        status, refused = ask(service.port, "POST", "/predict", {"rtt_ms": "+33 6 64 96 22 39"})
        assert ask(service.port, "GET", "/subscribers/33664962239")[0] == 404
        said = service.stop()
    assert (status, set(refused), set(refused["error"])) == (
        422, {"error"}, {"what", "found", "expected", "do", "field", "row"},
    )  # fmt: skip
    assert bool(re.search(r"DEBUG subsight.api: POST /predict 200 \d+\.\d ms", said)) == is_told
    assert ("GET /subscribers/{id} 404" in said) == is_told
    assert "Traceback" not in said
    assert "33664962239" not in said
    assert "96 22 39" not in said
