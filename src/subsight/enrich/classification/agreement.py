"""How well ports and rules tell what deep packet inspection saw: the labels are hidden, then compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw

from subsight.enrich.classification.categories import OTHER_REGISTERED, UNKNOWN
from subsight.enrich.classification.labels import LABEL
from subsight.enrich.classification.services import ADDED, with_services
from subsight.enrich.classification.tables import Tables
from subsight.store import Frame, Store

__all__ = ["Agreement", "Cell", "agreement"]

_UNTOLD = (UNKNOWN, OTHER_REGISTERED)


@dataclass(frozen=True)
class Cell:
    """Flows that inspection calls `truth` and the classifier `told`; `confidence` is null where unknown."""

    truth: str
    told: str
    confidence: str | None
    flow_count: int
    total_bytes: int


@dataclass(frozen=True)
class Agreement:
    """What inspection and classifier say of the same flows.

    Every figure is taken in `flow_count` or in `total_bytes`. A flow is covered where a category is told:
    neither Unknown nor merely Other registered. `without_guesses` counts what is a guess as not covered.
    """

    cells: tuple[Cell, ...]

    def total(self, measure: str = "flow_count") -> int:
        """Flows or bytes that were compared."""
        return sum(getattr(cell, measure) for cell in self.cells)

    def confusion(
        self, measure: str = "flow_count", *, without_guesses: bool = False
    ) -> dict[tuple[str, str], int]:
        """Flows or bytes per category of inspection and of the classifier; what is not covered is Unknown."""
        found: dict[tuple[str, str], int] = {}
        for cell in self.cells:
            is_covered = cell.told not in _UNTOLD and not (without_guesses and cell.confidence == "guess")
            key = (cell.truth, cell.told if is_covered else UNKNOWN)
            found[key] = found.get(key, 0) + getattr(cell, measure)
        return dict(sorted(found.items()))

    def figures(
        self, measure: str = "flow_count", *, without_guesses: bool = False
    ) -> dict[str, float | None]:
        """Coverage, accuracy where covered, accuracy over all, and Cohen's kappa where covered, each 0 to 1.

        Null where there is nothing to divide by: kappa (Cohen 1960) also where chance alone would agree.
        """
        confusion = self.confusion(measure, without_guesses=without_guesses)
        total = sum(confusion.values())
        covered = {key: count for key, count in confusion.items() if key[1] != UNKNOWN}
        known = sum(covered.values())
        right = sum(count for (truth, told), count in covered.items() if truth == told)
        return {
            "coverage": known / total if total else None,
            "accuracy_covered": right / known if known else None,
            "accuracy_all": right / total if total else None,
            "kappa_covered": _kappa(covered, known, right),
        }


def _kappa(covered: Mapping[tuple[str, str], int], known: int, right: int) -> float | None:
    if not known:
        return None
    truths: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for (truth, said), count in covered.items():
        truths[truth] += count
        told[said] += count
    chance = sum(truths[name] / known * told[name] / known for name in sorted(truths))
    return (right / known - chance) / (1 - chance) if chance < 1 else None


def agreement(store: Store, flows: Frame, tables: Tables, methods: Sequence[str] = ("dpi",)) -> Agreement:
    """What inspection's labels and the classifier, from which they are hidden, say of the same flows.

    Only flows whose label was found by inspection proper: `application_method` begins with one of
    `methods`, in lower case, and the label names something.
    """
    stated = nw.col("application_method").str.to_lowercase().fill_null("")
    proper = nw.any_horizontal(*(stated.str.starts_with(name) for name in methods), ignore_nulls=True)
    labelled = with_services(store, flows.filter(proper), tables)
    truths = labelled.filter(nw.col("method") == "inspection").rename({"category": "truth"})
    names = [name for name in truths.collect_schema().names() if name not in (*LABEL, *ADDED)]
    told = with_services(store, truths.select(*names), tables)
    volume = nw.col("src_to_dst_bytes") + nw.col("dst_to_src_bytes").fill_null(0)
    counted: Any = (
        told.with_columns(volume=volume.cast(nw.Float64))
        .group_by("truth", "category", "confidence")
        .agg(flow_count=nw.len(), total_bytes=nw.col("volume").sum())
    )
    cells = (
        Cell(
            row["truth"], row["category"], row["confidence"], int(row["flow_count"]), int(row["total_bytes"])
        )
        for row in store.rows(counted)
    )
    return Agreement(tuple(sorted(cells, key=lambda c: (c.truth, c.told, c.confidence or ""))))
