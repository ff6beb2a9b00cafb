"""The report's colours, read from its style sheet, for places that have a style of their own."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["on_paper", "palette"]

_ROOT: Final = re.compile(r":root \{([^}]*)\}")
_COLOUR: Final = re.compile(r"--([a-z0-9-]+): (#[0-9a-f]{6}|rgb\([^)]*\));")


@cache
def palette() -> dict[str, tuple[str, str]]:
    """By variable its colour in light and in dark."""
    sheet = Path(__file__).with_name("templates").joinpath("style.css").read_text(encoding="utf-8")
    light, dark = (dict(_COLOUR.findall(rules)) for rules in _ROOT.findall(sheet)[:2])
    return {name: (colour, dark[name]) for name, colour in light.items()}


def on_paper() -> dict[str, str]:
    """By variable its colour in light."""
    return {name: light for name, (light, _) in palette().items()}
