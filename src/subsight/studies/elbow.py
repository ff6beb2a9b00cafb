"""How many groups the data suggest: the elbow with the silhouette beside it, as a table and a chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from subsight.studies import charts

__all__ = ["chart", "rows", "structure"]

# Kaufman and Rousseeuw 1990, Finding Groups in Data, table 4.
_STRUCTURE: Final = ((0.7, "strong"), (0.5, "reasonable"), (0.25, "weak"))


def structure(silhouette: float) -> str:
    """A mean silhouette in a word.

    >>> structure(0.72), structure(0.1)
    ('strong', 'no substantial')
    """
    return next((name for least, name in _STRUCTURE if silhouette > least), "no substantial")


def rows(elbow: Mapping[str, Any], used: int) -> list[dict[str, Any]]:
    """A row per number of groups that was tried (see `models.clusters.elbow`)."""
    silhouettes = dict(zip(elbow["silhouette_k"], elbow["silhouette"], strict=True))
    first = elbow["inertia"][0]
    return [
        {
            "k": k,
            "inertia": inertia,
            "inertia_left_share": inertia / first if first else None,
            "silhouette": silhouettes.get(k),
            "is_elbow": k == elbow["elbow_k"],
            "is_best_silhouette": k == elbow["silhouette_best_k"],
            "is_used": k == used,
        }
        for k, inertia in zip(elbow["k"], elbow["inertia"], strict=True)
    ]


def chart() -> dict[str, Any]:
    """Inertia and silhouette by the number of groups."""
    panels = charts.facet(charts.lines("k", "value", zero=False), "measure", columns=2, free="y")
    return panels | {
        "transform": [
            {"fold": ["inertia", "silhouette"], "as": ["measure", "value"]},
            {"filter": "isValid(datum.value)"},
        ]
    }
