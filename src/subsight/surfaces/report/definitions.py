"""What words and columns mean, for every surface that explains what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from subsight.results import Results
from subsight.surfaces.report.words import phrase, sentence, spelled, unit_label

__all__ = ["Defined", "definitions", "terms"]

_SESSIONS: Final = (
    (
        "Cluster",
        "A group found by k-means. Cluster 0 is the least engaged, worst experienced or least satisfied.",
    ),
    (
        "Engagement score",
        "Euclidean distance, in z-scores, to the centroid of the least engaged cluster. Far is engaged.",
    ),
    (
        "Experience score",
        "Euclidean distance, in z-scores, to the centroid of the cluster with the worst experience.",
    ),
    ("Satisfaction score", "The mean of the engagement and the experience score."),
    (
        "Index",
        "A score with a direction, from 0 at or beyond the worst centroid to 100 at or beyond the best.",
    ),
    (
        "Raw, treated",
        "Raw values are as recorded. Treated ones have missing values and values beyond 1.5 "
        "interquartile ranges replaced under the run’s policy.",
    ),
    (
        "Filled share",
        "Share of a subscriber’s sessions whose value was missing in a direction and so filled in.",
    ),
    ("z-score", "Distance from the mean in population standard deviations."),
)
_FLOWS: Final = (
    (
        "Service, category",
        "What a flow is, by a label of inspection, a rule of the operator, or its port and protocol, in "
        "this order; services roll up to categories.",
    ),
    (
        "Sure, likely, guess",
        "How surely a service is known. What goes over a port that anything may use is a guess.",
    ),
    (
        "Usage",
        "Flows summed by subscriber, clock hour and service. A flow counts whole in the hour in which it"
        " began.",
    ),
    (
        "95th percentile",
        "The rate that 95 % of the hours do not exceed, as transit is billed by it. bps is bits per "
        "second, the mean of an hour.",
    ),
    (
        "Recency, frequency, usage",
        "Days since the last use, days with use, and volume, each scored from 1 to 5 where 5 is best.",
    ),
)
_ALWAYS: Final = (
    (
        "kB, MB, GB",
        "1,000, 1,000,000 and 1,000,000,000 bytes. Numbers are rounded to be read; the exact value "
        "stands in the run’s tables, and in the report in a cell’s tooltip.",
    ),
)


@dataclass(frozen=True)
class Defined:
    """A table that was read: what a row is, and name, words, unit and meaning of its columns."""

    name: str
    row: str
    columns: Sequence[tuple[str, str, str, str]]


def definitions(results: Results, study: str | None = None) -> list[Defined]:
    """Every table that the run, or a study, was made from; a family stands for its applications."""
    return [
        Defined(
            contract.name,
            contract.row,
            [
                (
                    column.name,
                    sentence(phrase(column.name.replace("{slug}", "each_application"))),
                    unit_label(column.name) or "",
                    sentence(spelled(column.meaning.format(name="an application’s"))),
                )
                for column in contract
            ],
        )
        for contract in results.definitions(study)
    ]


def terms(results: Results) -> list[tuple[str, str]]:
    """The words that the run's answers use beyond their columns, each with what it means."""
    read = {contract.name for contract in results.definitions()}
    sessions, flows = "sessions" in read, "flows" in read
    return [*(_SESSIONS if sessions else ()), *(_FLOWS if flows else ()), *_ALWAYS]
