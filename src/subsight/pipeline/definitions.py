"""What every metric of a profile is, for surfaces that explain it."""

from __future__ import annotations

from subsight.contracts import Application
from subsight.metrics import catalogue

__all__ = ["metrics"]

_FAMILY = (Application("{slug}", "an application's"),)


def metrics() -> list[tuple[str, str | None, str]]:
    """Name, unit and definition of each metric; a family stands once, with `{slug}` for the application."""
    return [(metric.name, metric.unit, metric.definition) for metric in catalogue(_FAMILY)]
