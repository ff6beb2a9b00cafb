"""One subscriber: what the published tables hold of them, their segment and offers, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from subsight.errors import NotFoundError
from subsight.lifecycle import segmentation
from subsight.results import Results, pseudonym_of
from subsight.surfaces.report.tables import said
from subsight.surfaces.report.words import phrase, sentence
from subsight.workspace import Workspace

__all__ = ["PSEUDONYM", "Person", "holds", "named", "person"]

PSEUDONYM: Final = re.compile(r"[0-9a-f]{32}")
_SCORES: Final = ("engagement", "experience", "satisfaction")
_ONE_ROW: Final = ("profiles", "satisfaction", "segments", "rfm", "trends", "offer_profiles")
_TITLES: Final = {
    "profiles": "Profile", "satisfaction": "Scores and clusters", "segments": "Segment",
    "rfm": "Recency, frequency and usage", "trends": "Changes in the last week",
    "offer_profiles": "Place on the map of offers",
}  # fmt: skip
_HIDDEN: Final = frozenset({"subscriber_id", "subscriber_hash", "usage_bitmap", "draw_number"})


@dataclass(frozen=True)
class Person:
    """What a page shows of a subscriber.

    Attributes:
        scores: name, value, and cluster where there is one.
        tables: title, and names and values, of every table that holds them.
        segment: `name, runner_up, lacking`, the parts that decided, and distances; empty without segments.
        offers: rows of the offers that are recommended, with their reasons.
        outcome: why there are none, in words, where somebody decided about them.
    """

    pseudonym: str
    scores: Sequence[tuple[str, str, str]]
    tables: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    segment: Mapping[str, Any]
    offers: Sequence[Mapping[str, Any]]
    outcome: str | None


def named(identifier: str, key: bytes) -> tuple[str | None, bool]:
    """The pseudonym of whom an identifier names, and whether it was a clear one."""
    text = identifier.strip()
    if PSEUDONYM.fullmatch(text.lower()):
        return text.lower(), False
    return pseudonym_of(text, key), True


def holds(results: Results, pseudonym: str) -> bool:
    """Whether any table of the run holds a subscriber."""
    return any(_rows(results, name, pseudonym) for name in results.tables())


def person(workspace: Workspace, results: Results, pseudonym: str) -> Person:
    """What the run holds of a subscriber.

    Raises:
        NotFoundError: nothing.
    """
    found = {name: rows for name in results.tables() if (rows := _rows(results, name, pseudonym))}
    if not found:
        raise NotFoundError(
            "the current run has no such subscriber",
            expected="a pseudonym that one of its tables holds",
            do="look for them by their number or pseudonym",
        )
    satisfaction = found.get("satisfaction", [{}])[0]
    segment = _segment(workspace, pseudonym, "segments" in found)
    # What decided the segment stands above, with the inputs it was decided by.
    listed = [name for name in _ONE_ROW if name in found and not (name == "segments" and segment["deciding"])]
    tables = [(_TITLES[name], _listed(found[name][0])) for name in listed]
    offers = found.get("recommendations", [])
    outcome = found.get("offer_outcomes", [{}])[0].get("outcome")
    return Person(
        pseudonym, _scores(satisfaction), tables, segment,
        [{k: v for k, v in row.items() if k not in _HIDDEN} for row in offers],
        None if offers else outcome,
    )  # fmt: skip


def _rows(results: Results, name: str, pseudonym: str) -> list[dict[str, Any]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = results.path(name)
    if not path.exists() or "subscriber_id" not in pq.read_schema(path).names:
        return []
    rows: list[dict[str, Any]] = pq.read_table(
        path, filters=pc.field("subscriber_id") == pseudonym
    ).to_pylist()
    return rows


def _listed(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values as people read them; what was never observed is left out."""
    return [
        (sentence(phrase(name)), said(name, row))
        for name, value in row.items()
        if name not in _HIDDEN and value is not None and value != []
    ]


def _scores(row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    for name in _SCORES:
        if row.get(f"{name}_score") is None:
            continue
        cluster, index = row.get(f"{name}_cluster"), row.get(f"{name}_index")
        more = [f"cluster {cluster}"] * (cluster is not None)
        more += [f"index {index:.0f} of 100"] * (index is not None)
        found.append((sentence(name), said(f"{name}_score", row), ", ".join(more)))
    return found


def _segment(workspace: Workspace, pseudonym: str, has_segments: bool) -> Mapping[str, Any]:
    """The segment and what decided it: each input's share of what the runner-up is farther away."""
    if not has_segments:
        return {}
    found = segmentation.subscriber(workspace, pseudonym)
    deciding = found["deciding"] or []
    apart = sum(abs(one["part"]) for one in deciding) or 1.0
    return {
        "name": found["segment_name"],
        "runner_up": found["runner_up_name"],
        "lacking": phrase(found["lacking"]) if found["lacking"] else None,
        "deciding": [
            {
                "input": sentence(phrase(one["input"])),
                "value": said(one["input"], {one["input"]: one["value"]}),
                "share": f"{100 * one['part'] / apart:+.0f} %",
                "for": one["part"] >= 0,
            }
            for one in deciding
        ],
        "distances": [(name, f"{distance:.2f}") for name, distance in (found["distances"] or {}).items()],
    }
