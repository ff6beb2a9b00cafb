"""Subscriber insight for telecom operators: network records in, a published run out.

>>> import subsight
>>> sorted(subsight.__all__)
['Answer', 'Insight', 'SubsightError', 'chart', 'inspect', 'open']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subsight.answers import Answer
    from subsight.errors import SubsightError
    from subsight.pipeline import inspect
    from subsight.surfaces.library import Insight
    from subsight.surfaces.notebook import chart

    open = Insight.open

__all__ = ["Answer", "Insight", "SubsightError", "chart", "inspect", "open"]

_PLACES = {
    "Answer": "subsight.surfaces.notebook",  # where it is loaded together with the way it shows itself
    "Insight": "subsight.surfaces.library",
    "SubsightError": "subsight.errors",
    "chart": "subsight.surfaces.notebook",
    "inspect": "subsight.pipeline",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used: importing the package costs nothing."""
    from importlib import import_module

    if name == "open":
        return import_module("subsight.surfaces.library").Insight.open
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'subsight' has no attribute {name!r}")
