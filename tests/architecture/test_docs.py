"""Generated pages are what their generator writes."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_definitions_are_up_to_date() -> None:
    definitions = runpy.run_path(str(DOCS / "generate.py"))["definitions"]
    assert (DOCS / "definitions.md").read_text(encoding="utf-8") == definitions(), (
        "run: uv run python docs/generate.py"
    )
