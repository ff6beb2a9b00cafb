"""What a deck holds unless asked for all: the key answers of each study, and how their tables are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from subsight.results import Answer

__all__ = ["chosen", "columns", "is_list"]

_KEY: Final[Mapping[str, Sequence[str]]] = {
    "memo": ("recommendation", "strengths", "technical_issues", "actions", "expected_returns", "limits"),
    "overview": (
        "variables", "centre", "coverage", "handsets", "manufacturers", "duration_deciles", "times",
        "applications", "correlation",
    ),
    "engagement": (
        "clusters", "elbow", "application_totals", "applications_by_cluster", "personas", "capacity_hours",
    ),
    "experience": ("clusters", "filled", "throughput_by_handset", "retransmission_by_handset"),
    "satisfaction": ("clusters", "drivers", "served", "service_levels"),
    "segments": ("overview", "profile", "differences", "reading", "retention", "migration"),
    "traffic": ("categories", "services", "rates", "methods"),
    "rfm": ("groups", "matrix"),
    "trends": ("categories", "hours", "recommendations"),
    "peaks": ("sessions_busy_hours", "sessions_heatmap", "flows_busy_hours", "flows_heatmap"),
    "offers": ("map", "nodes", "catalogue", "evaluation"),
    "recommendations": ("outcomes", "funnel", "offers", "value", "uplift"),
    "monitoring": ("champions", "drift", "performance"),
}  # fmt: skip

_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "overview.variables": ("variable", "type", "unit", "used_for", "missing_share", "outlier_share"),
    "overview.centre": ("variable", "mean_raw", "median_raw", "importance"),
    "memo": ("line", "value", "threshold", "evidence"),
    "segments.reading": ("segment_name", "subscriber_count", "against_the_rest", "suggested_treatment"),
    "experience.throughput_by_handset": (
        "handset", "subscriber_count", "first_quartile_throughput_kbps", "median_throughput_kbps",
        "third_quartile_throughput_kbps",
    ),
    "offers.map": ("node", "subscriber_count", "typical_total_bytes", "traits"),
    "offers.nodes": ("node", "subscriber_count", "first_offer_id", "buyer_count", "first_lift", "evidence"),
}  # fmt: skip
"""By answer or study: what its table shows, in this order; of any other, as many columns as fit."""

_LISTS: Final = frozenset({"overview.variables"})
"""Answers of which every row is shown, on as many slides as it takes."""


def chosen(answers: Sequence[Answer], *, whole: bool) -> list[Answer]:
    """The answers of a study that become slides: all, or the key ones in their order here.

    A study that is not known here shows its first four.
    """
    if whole or not answers:
        return list(answers)
    study = answers[0].study
    if study not in _KEY:
        return list(answers[:4])
    by_id = {answer.id: answer for answer in answers}
    return [by_id[id] for name in _KEY[study] if (id := f"{study}.{name}") in by_id]


def columns(answer: Answer) -> Sequence[str]:
    """The columns that the answer's table shows if there is room for them, in order."""
    wanted = _COLUMNS.get(answer.id) or _COLUMNS.get(answer.study) or answer.columns
    return [name for name in wanted if name in answer.columns] or answer.columns


def is_list(answer: Answer) -> bool:
    """Whether every row of the answer is shown, on as many slides as it takes, and no chart."""
    return answer.id in _LISTS
