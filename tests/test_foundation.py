"""Errors, units, privacy, settings, answers and the workspace."""

from __future__ import annotations

import doctest
import hashlib
import hmac
import importlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsight import errors, privacy, settings, units
from subsight.answers import Answer, dumps
from subsight.errors import (
    ConfigurationError,
    NotFoundError,
    StorageError,
    WorkspaceBusyError,
    WorkspaceError,
)
from subsight.workspace import Workspace, content_hash


@pytest.mark.parametrize("name", ["units", "privacy", "eligibility", "studies.words"])
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"subsight.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_error_has_an_exit_code_of_its_own() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    codes = [kind.exit_code for kind in kinds if "exit_code" in vars(kind)]
    assert len(set(codes)) == len(codes)
    # A special case of another error ends as that does.
    assert {kind.__name__ for kind in kinds if "exit_code" not in vars(kind)} == {"FilterError"}
    text = str(errors.InputError("x.csv is empty", found="0 bytes", expected="records", do="look"))
    assert text.splitlines() == ["x.csv is empty", "  found: 0 bytes", "  expected: records", "  do: look"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "bytes", "0 B"), (999, "bytes", "999 B"), (1_000, "bytes", "1.00 kB"),
        (-2_500_000, "bytes", "-2.50 MB"),
        (90, "s", "90 s"), (5400, "s", "1.5 h"), (600, "s", "10.0 min"), (45.2, "ms", "45 ms"),
        (1500, "kbps", "1.50 Mbps"), (0.5, "share", "50.0 %"), (0.00002, "share", "0.002 %"),
        (0.0, "share", "0 %"), (1234567, None, "1,234,567"), (None, "s", "–"),
        (float("nan"), None, "–"), (0.123456, None, "0.123"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(value: float, unit: str | None, text: str) -> None:
    assert units.format_value(value, unit) == text


@given(st.binary(min_size=1, max_size=100), st.text("0123456789", min_size=1, max_size=20))
def test_pseudonyms_are_hmac_sha256(key: bytes, digits: str) -> None:
    expected = hmac.new(key, digits.encode(), hashlib.sha256).hexdigest()[:32]
    assert privacy.pseudonym(digits, key) == expected
    inner, outer = privacy.hmac_pads(key)
    inside = hashlib.sha256(inner + digits.encode()).digest()
    assert hashlib.sha256(outer + inside).hexdigest()[:32] == expected


def test_small_groups_lose_their_numbers_and_so_does_one_more() -> None:
    rows = [
        {"handset": "A", "subscriber_count": 500, "mean_bytes": 1.0},
        {"handset": "B", "subscriber_count": 14, "mean_bytes": 2.0},
        {"handset": "C", "subscriber_count": 40, "mean_bytes": 3.0},
    ]
    found, count = privacy.suppress(rows, "subscriber_count", 15)
    assert count == 2, "a total would reveal a single small group"
    assert found[0] == rows[0]
    assert found[1] == {"handset": "B", "subscriber_count": None, "mean_bytes": None}
    assert found[2] == {"handset": "C", "subscriber_count": None, "mean_bytes": None}
    assert privacy.suppress(rows[:1], "subscriber_count", 15) == (rows[:1], 0)


def test_when_a_small_group_used_something_is_not_told() -> None:
    rows = [{"category": "A", "top_hour": "2026-03-01 04:00", "subscriber_count": n} for n in (2, 3, 50)]
    found, _ = privacy.suppress(rows, "subscriber_count", 15)
    assert [row["top_hour"] for row in found] == [None, None, "2026-03-01 04:00"]


def test_a_margin_reveals_no_small_group() -> None:
    """Two small cells, each alone in its application: each application's total would tell."""
    sizes = {
        ("Web", 0): 3,
        ("Web", 1): 60,
        ("Web", 2): 40,
        ("Video", 0): 90,
        ("Video", 1): 5,
        ("Video", 2): 70,
    }
    rows = [
        {"application": app, "engagement_cluster": cluster, "subscriber_count": n, "total_bytes": 10 * n}
        for (app, cluster), n in sizes.items()
    ]
    found, count = privacy.suppress(rows, "subscriber_count", 15)
    hidden = {(r["application"], r["engagement_cluster"]) for r in found if r["subscriber_count"] is None}
    assert count == len(hidden)
    assert all(r["total_bytes"] is None for r in found if r["subscriber_count"] is None)
    for app in ("Web", "Video"):
        assert len([key for key in hidden if key[0] == app]) != 1
    for cluster in range(3):
        assert len([key for key in hidden if key[1] == cluster]) != 1


def test_settings_come_from_file_then_environment_then_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "subsight.toml"
    file.write_text('minimum_group = 20\nseed = 1\ntreatment = "median"\n')
    monkeypatch.setenv("SUBSIGHT_SEED", "2")
    loaded = settings.load(file, treatment="none")
    assert (loaded.minimum_group, loaded.seed, loaded.treatment) == (20, 2, "none")


@pytest.mark.parametrize(
    "text",
    ["minimum_group = 0", "no_such = 1", 'time_zone = "Mars/Base"', "not toml at all =", "treatment = 3"],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "subsight.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError):
        settings.load(file)


def test_an_answer_survives_json() -> None:
    answer = Answer(
        "engagement.clusters", "Who?", [{"cluster": 0, "mean_bytes": float("nan")}], ("One.",),
        {"mark": "bar"}, {"r2": 0.5}, "subscriber_count", notes=("k = 3",),
    )  # fmt: skip
    (read,) = [Answer.from_json(value) for value in json.loads(dumps([answer]))]
    assert read.rows == [{"cluster": 0, "mean_bytes": None}]
    assert (read.study, read.reading, read.facts) == ("engagement", ("One.",), {"r2": 0.5})


# The workspace


def _publish(workspace: Workspace, text: str) -> str:
    with workspace.writing(), workspace.staged_run() as folder:
        (folder / "manifest.json").write_text(text)
    return workspace.run().name


def test_runs_are_published_whole_and_the_last_is_current(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    with pytest.raises(NotFoundError):
        workspace.run()
    first = _publish(workspace, "1")
    second = _publish(workspace, "2")
    assert set(workspace.runs()) == {first, second}
    assert (workspace.run() / "manifest.json").read_text() == "2"
    assert (workspace.run(first) / "manifest.json").read_text() == "1"
    with pytest.raises(NotFoundError):
        workspace.run("nothing")


def test_a_failed_run_leaves_the_previous_one(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    first = _publish(workspace, "1")

    def fail(folder: Path) -> None:
        (folder / "manifest.json").write_text("2")
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(StorageError, match="previous run is intact"),
        workspace.writing(),
        workspace.staged_run() as folder,
    ):
        fail(folder)
    assert workspace.run().name == first
    assert [p.name for p in (tmp_path / "ws" / "runs").iterdir()] == [first]


def test_one_writer_at_a_time_even_across_processes(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    program = (
        "import sys\nfrom subsight.workspace import Workspace\n"
        "from subsight.errors import WorkspaceBusyError\n"
        "try:\n    with Workspace.open(sys.argv[1]).writing(): print('wrote')\n"
        "except WorkspaceBusyError: print('busy')"
    )

    def other() -> str:
        command = [sys.executable, "-c", program, str(workspace.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with workspace.writing():
        assert other() == "busy"
        with pytest.raises(WorkspaceBusyError):
            workspace.writing().__enter__()
    assert other() == "wrote"


def test_what_an_interrupted_writer_left_is_swept(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    (workspace.path / "runs" / ".staged-x").mkdir()
    (workspace.path / "batches" / ".a.parquet.partial").write_text("half")
    with workspace.writing() as scratch:
        assert scratch.is_dir()
        assert not (workspace.path / "runs" / ".staged-x").exists()
        assert not (workspace.path / "batches" / ".a.parquet.partial").exists()
    assert not scratch.exists()


def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBSIGHT_KEY", raising=False)
    workspace = Workspace.create(tmp_path / "ws")
    key = workspace.key()
    assert len(key) == 64
    assert workspace.key() == key
    mode = stat.S_IMODE((workspace.path / "keys" / "pseudonyms.key").stat().st_mode)
    assert mode == 0o600


def test_a_key_may_be_given_and_is_held_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    monkeypatch.setenv("SUBSIGHT_KEY", "short")
    with pytest.raises(WorkspaceError, match="too short"):
        workspace.key()
    monkeypatch.setenv("SUBSIGHT_KEY", "sixteen-or-more-characters")
    assert workspace.key() == b"sixteen-or-more-characters"
    monkeypatch.setenv("SUBSIGHT_KEY", "sixteen-other-characters..")
    with pytest.raises(WorkspaceError, match="not the one"):
        workspace.key()


@pytest.mark.parametrize("left", [None, ""])
def test_a_lost_key_is_no_new_key(left: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBSIGHT_KEY", raising=False)
    workspace = Workspace.create(tmp_path / "ws")
    workspace.key()
    path = workspace.path / "keys" / "pseudonyms.key"
    path.unlink()
    if left is not None:
        path.write_text(left)
    with pytest.raises(WorkspaceError, match="missing or too short"):
        workspace.key()


def test_a_workspace_takes_no_other_place(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(WorkspaceError, match="other files"):
        Workspace.create(tmp_path)
    with pytest.raises(WorkspaceError, match="a file"):
        Workspace.create(tmp_path / "mine.txt")
    with pytest.raises(WorkspaceError, match="not a workspace"):
        Workspace.open(tmp_path / "none")


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"same")
    b.write_bytes(b"same")
    assert content_hash(a) == content_hash(b) == hashlib.sha256(b"same").hexdigest()[:16]
