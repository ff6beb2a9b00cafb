"""An answer: one question's table, chart and reading, as a run keeps it and every surface shows it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from subsight.showing import html

__all__ = ["Answer", "Rows"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What a study says to one question.

    Attributes:
        id: `study.question`, the name under which every number can be traced.
        question: the question in words.
        rows: the table, as records with the same keys in the same order.
        reading: sentences whose numbers were computed from `rows` and `facts`.
        chart: a Vega-Lite spec without data; its data are `rows` after suppression.
        facts: single numbers by name that other answers, such as the memo, build on.
        group_size: the column of `rows` that counts subscribers; small groups are suppressed by it.
        ranks_subscribers: rows are single pseudonymous subscribers: exempt from suppression, labelled.
        notes: how it was computed: policy, sample sizes, thresholds, what was left out.
    """

    id: str
    question: str
    rows: Rows
    reading: tuple[str, ...] = ()
    chart: Mapping[str, Any] | None = None
    facts: Mapping[str, float | str | None] = field(default_factory=dict)
    group_size: str | None = None
    ranks_subscribers: bool = False
    notes: tuple[str, ...] = ()

    @property
    def study(self) -> str:
        """The study that the answer belongs to."""
        return self.id.partition(".")[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """The table's column names in order."""
        return tuple(self.rows[0]) if self.rows else ()

    def _repr_html_(self) -> str | None:
        """The answer as a notebook shows it: question, reading, chart, table and notes, as in the report."""
        return html(self)

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values: NaN and infinities become null, dates become ISO 8601 text."""
        return {
            "id": self.id,
            "question": self.question,
            "reading": list(self.reading),
            "table": {
                "columns": list(self.columns),
                "rows": [[_plain(value) for value in row.values()] for row in self.rows],
            },
            "chart": self.chart,
            "facts": {name: _plain(value) for name, value in self.facts.items()},
            "group_size": self.group_size,
            "ranks_subscribers": self.ranks_subscribers,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Answer:
        """The answer that `to_json` wrote."""
        columns = value["table"]["columns"]
        return cls(
            id=value["id"],
            question=value["question"],
            rows=[dict(zip(columns, row, strict=True)) for row in value["table"]["rows"]],
            reading=tuple(value["reading"]),
            chart=value["chart"],
            facts=value["facts"],
            group_size=value["group_size"],
            ranks_subscribers=value["ranks_subscribers"],
            notes=tuple(value["notes"]),
        )


def dumps(answers: Sequence[Answer]) -> str:
    """Answers as one JSON text, the same for the same answers."""
    return json.dumps([answer.to_json() for answer in answers], ensure_ascii=False, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value
