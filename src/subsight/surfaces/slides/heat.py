"""Heat maps as native tables with coloured cells, where they are small enough to be read as such."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from subsight.results import Answer
from subsight.surfaces.report.rendering import DIVERGING, SEQUENTIAL
from subsight.surfaces.report.words import cell_text, column_unit
from subsight.surfaces.slides.forms import said
from subsight.surfaces.slides.steps import UnreadError, taken

__all__ = ["Heat", "heat"]

_ACROSS, _DOWN, _FEW = 9, 14, 6
_BESIDE: Final = 18
"""A narrow one stands beside the text, and so may be longer."""


@dataclass(frozen=True)
class Heat:
    """Heads, rows with their name first, and the colour of each cell (none of a name or a missing one)."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    fills: Sequence[Sequence[str | None]]

    @property
    def is_narrow(self) -> bool:
        """Whether it stands beside the text rather than below it."""
        return len(self.heads) <= _FEW


def heat(answer: Answer) -> Heat | None:
    """The answer's heat map as a table; None where its chart is no heat map, or too large a one."""
    spec: Any = answer.chart or {}
    views = [spec, *spec.get("layer", ())]
    cells = next((view for view in views if _mark(view) == "rect"), None)
    encoding = {**spec.get("encoding", {}), **(cells or {}).get("encoding", {})}
    if cells is None or not {"x", "y", "color"} <= set(encoding) or "x2" in encoding or not answer.rows:
        return None
    try:
        rows = taken(spec, [dict(row) for row in answer.rows])
    except UnreadError:
        return None
    x, y, value = (encoding[channel]["field"] for channel in ("x", "y", "color"))
    across, down = (list(dict.fromkeys(row[name] for row in rows)) for name in (x, y))
    if len(across) > _ACROSS or len(down) > (_BESIDE if len(across) < _FEW else _DOWN):
        return None
    held = {(row[y], row[x]): row.get(value) for row in rows}
    scale = encoding["color"].get("scale", {})
    domain = _domain(scale, [number for number in held.values() if number is not None])
    shades = DIVERGING if "domainMid" in scale else SEQUENTIAL
    numbers = [[held.get((name, other)) for other in across] for name in down]
    unit, digits = column_unit(value), _digits(views)
    return Heat(
        ["", *(said(name, x) for name in across)],
        [
            [said(name, y), *(_written(number, unit, digits) for number in found)]
            for name, found in zip(down, numbers, strict=True)
        ],
        [[None, *(None if n is None else _shade(n, domain, shades) for n in found)] for found in numbers],
    )


def _digits(views: Sequence[Any]) -> int | None:
    """Digits behind the point that the chart's own labels have, where they are plain numbers."""
    labels = (view.get("encoding", {}).get("text", {}).get("format", "") for view in views)
    found = next((match for label in labels if (match := re.fullmatch(r"\+?\.(\d)f", label))), None)
    return int(found[1]) if found else None


def _written(number: float | None, unit: str | None, digits: int | None) -> str:
    if number is None or digits is None or unit is not None:
        return cell_text(number, unit)
    return f"{round(number, digits) + 0.0:.{digits}f}"  # no zero has a sign


def _mark(view: Any) -> str | None:
    mark = view.get("mark")
    return mark.get("type") if isinstance(mark, dict) else mark


def _domain(scale: Any, numbers: Sequence[float]) -> tuple[float, float]:
    if "domain" in scale:
        return scale["domain"][0], scale["domain"][-1]
    return (min(numbers, default=0), max(numbers, default=1))


def _shade(value: float, domain: tuple[float, float], shades: Sequence[str]) -> str:
    """The colour at a value's place between the ends of the scale, beyond them that of the end."""
    low, high = domain
    place = min(max((value - low) / (high - low) if high > low else 0.5, 0), 1) * (len(shades) - 1)
    i = min(int(place), len(shades) - 2)
    ends = [[int(shade[j : j + 2], 16) for j in (1, 3, 5)] for shade in shades[i : i + 2]]
    mixed = (round(a + (b - a) * (place - i)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
