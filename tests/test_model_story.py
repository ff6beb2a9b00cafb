"""The story of a model's life, as a user runs it, with few subscribers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STORY = Path(__file__).parents[1] / "examples" / "model_story.py"


def test_the_story_goes_as_it_should() -> None:
    command = [sys.executable, str(STORY), "--subscribers", "1500", "--sessions", "6000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # The story checks itself; here only that it was told to its end.
    assert done.stdout.count("  as expected: ") == 12
    assert "NOT AS EXPECTED" not in done.stdout
