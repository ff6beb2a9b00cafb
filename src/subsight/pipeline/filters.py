"""Filters: which part of a run is looked at, what there is to choose from, and how a choice is said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from subsight.errors import FilterError, WorkspaceError
from subsight.models import fitting
from subsight.results import Results
from subsight.store import Frame, Store, open_store
from subsight.studies import KINDS

__all__ = ["Choice", "Filters", "check", "choices", "keep_choices", "people"]

_MOST_CHOICES: Final = 200
_MOST_SAID: Final = 5
_KEPT: Final = "choices.json"
"""The file of a run that says what it can be filtered by."""
_FIELDS: Final = {
    "segment": "segments",
    "manufacturer": "manufacturers",
    "handset": "handsets",
    "engagement_cluster": "engagement_clusters",
    "experience_cluster": "experience_clusters",
    "application": "applications",
    "cell": "cells",
    "category": "categories",
    "site": "sites",
}
"""The field of `Filters` that holds the values of a kind."""
_COLUMNS: Final = {
    "segment": "segment_name",
    "manufacturer": "handset_manufacturer",
    "handset": "handset",
    "engagement_cluster": "engagement_cluster",
    "experience_cluster": "experience_cluster",
}
"""By what kind of filter subscribers are chosen, and the column that says it."""

_BY_HOUR: Final = ("usage_hours", "usage_flows")
"""Tables that say how many subscribers each hour has."""


_BESIDE: dict[object, bool] = {}


@dataclass(frozen=True)
class Filters:
    """Which part of a run is looked at; empty is all of it.

    Attributes:
        first_date: the first local day of the period.
        last_date: the last local day of the period, part of it.
        segments: names of segments; any of them.
        manufacturers: of a subscriber's commonest handset.
        handsets: a subscriber's commonest handset.
        engagement_clusters: 0 is the least engaged.
        experience_clusters: 0 is the worst experienced.
        applications: slugs, as in `app_{slug}_dl_bytes`.
        cells: `cell_id` of sessions.
        categories: of flows' services.
        sites: what reported flows: their `exporter`.
    """

    first_date: date | None = None
    last_date: date | None = None
    segments: tuple[str, ...] = ()
    manufacturers: tuple[str, ...] = ()
    handsets: tuple[str, ...] = ()
    engagement_clusters: tuple[int, ...] = ()
    experience_clusters: tuple[int, ...] = ()
    applications: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    def kinds(self) -> tuple[str, ...]:
        """The kinds of filter that are set, in the order of `studies.KINDS`."""
        return tuple(kind for kind in KINDS if self._is_set(kind))

    def values(self, kind: str) -> tuple[Any, ...]:
        """What is chosen of a kind, each value once; of a period, nothing."""
        return tuple(dict.fromkeys(getattr(self, _FIELDS[kind]))) if kind in _FIELDS else ()

    def said(self) -> str:
        """The filters in words, empty where none is set.

        >>> Filters(date(2019, 4, 2), date(2019, 4, 9), segments=("Gold", "Silver")).said()
        'segment Gold or Silver; 2 to 9 April 2019'
        """
        parts = [
            f"{kind.replace('_', ' ')} {_either([str(value) for value in self.values(kind)])}"
            for kind in self.kinds()
            if kind in _FIELDS
        ]
        if "period" in self.kinds():
            parts.append(_period(self.first_date, self.last_date))
        return "; ".join(parts)

    def _is_set(self, kind: str) -> bool:
        if kind == "period":
            return self.first_date is not None or self.last_date is not None
        return bool(self.values(kind))


@dataclass(frozen=True)
class Choice:
    """Something to filter by: the value, what a person reads, and how many subscribers it leaves.

    The count is None where nobody counted them, as of applications and of flows that are nobody's.
    """

    value: str
    label: str
    subscriber_count: int | None


def _either(names: Sequence[str]) -> str:
    if len(names) > _MOST_SAID:
        names = [*names[: _MOST_SAID - 1], f"{len(names) - _MOST_SAID + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _period(first: date | None, last: date | None) -> str:
    if first is None or last is None:
        day = first or last
        return f"from {_day(day)} on" if first else f"until {_day(day)}"
    if first == last:
        return _day(first)
    begins = f"{first.day}"
    if (first.year, first.month) != (last.year, last.month):
        begins += f" {first:%B}" if first.year == last.year else f" {first:%B} {first.year}"
    return f"{begins} to {_day(last)}"


def _day(day: date | None) -> str:
    return f"{day.day} {day:%B} {day.year}" if day else ""


# Subscribers


def people(store: Store, results: Results, filters: Filters) -> Frame:
    """The profiles, with their scores, of those whom the filters leave.

    Scores and cluster numbers are the run's: nothing is fitted. `subscriber_hash`, which breaks ties, is
    here the place among all subscribers by identifier: the run does not hold a hash of clear ones.

    Raises:
        FilterError: a value is unknown, or the run has nothing to filter by it.
    """
    divided = filters.segments and "segments" in results.tables()
    profiles = _profiles(store, results, results.path("segments") if divided else None)
    kinds = profiles.collect_schema().names()
    for kind in filters.kinds():
        if kind != "segment" and _COLUMNS[kind] not in kinds:
            raise _lacking(kind)
        check(store, filters, kind, _segments(store, results) if kind == "segment" else profiles)
    return _choosing(store, results, profiles, filters)


def _profiles(store: Store, results: Results, named: Path | None = None) -> Frame:
    """Profiles with scores; with `segment_name`, where those named in that table are the same subscribers."""
    if "profiles" not in results.tables():
        raise FilterError(
            "the run has no profiles, so subscribers cannot be chosen",
            expected="a run over sessions",
            do="run sessions, or look without a filter",
        )
    scores = [name for name in ("satisfaction",) if name in results.tables()]
    counts = {results.manifest["tables"][name]["rows"] for name in ("profiles", *scores)}
    if len(counts) > 1:
        raise WorkspaceError(
            f"the tables of {results.folder} do not belong together",
            found=f"{' and '.join(f'{count:,}' for count in sorted(counts))} rows",
            expected="profiles and satisfaction of the same subscribers",
            do="run again",
        )
    files: dict[Path, Sequence[str]] = {results.path(name): () for name in ("profiles", *scores)}
    if named and _are_beside(store, results.path("profiles"), named):
        files[named] = ("segment_name",)
    frame = store.beside(files, "subscriber_id", "subscriber_hash")
    # Published are they where satisfaction could be scored; else what there is follows from the fit records.
    return frame if scores else fitting.score(frame, results.models())


def _are_beside(store: Store, one: Path, other: Path) -> bool:
    """Whether two tables hold the same subscribers; a published table does not change, so once is enough."""
    key = tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in (one, other))
    known = _BESIDE.get(key)
    if known is None:
        known = store.are_beside(one, other, "subscriber_id")
        _BESIDE.clear()  # of the runs before
        _BESIDE[key] = known
    return known


def _segments(store: Store, results: Results) -> Frame:
    if "segments" not in results.tables():
        raise _lacking("segment")
    return store.read([results.path("segments")]).select("subscriber_id", "segment_name")


def _lacking(kind: str) -> FilterError:
    return FilterError(f"the run has no {kind.replace('_', ' ')} to filter by", do="leave the filter out")


def _choosing(store: Store, results: Results, frame: Frame, filters: Filters) -> Frame:
    """Those of a frame with profiles whom the filters leave; values that nobody has leave nobody."""
    for kind in filters.kinds():
        if kind != "segment":
            frame = frame.filter(nw.col(_COLUMNS[kind]).is_in(list(filters.values(kind))))
    if not filters.segments:
        return frame
    is_chosen = nw.col("segment_name").is_in(list(filters.segments))
    if "segment_name" in frame.collect_schema().names():
        return frame.filter(is_chosen).drop("segment_name")
    named = _segments(store, results).filter(is_chosen).select("subscriber_id")
    places = frame.select("subscriber_id", "subscriber_hash").join(named, on="subscriber_id", how="inner")
    # Kept, as every question that a study asks would find them again.
    return frame.join(store.keep(places.select("subscriber_hash")), on="subscriber_hash", how="inner")


def check(store: Store, filters: Filters, kind: str, frame: Frame, column: str | None = None) -> None:
    """Raises where a value of a kind does not stand in a column of the frame."""
    values, name = filters.values(kind), column or _COLUMNS[kind]
    held = frame.filter(nw.col(name).is_in(list(values))).select(name).unique()
    known = {row[name] for row in store.rows(held)}
    if unknown := [str(value) for value in values if value not in known]:
        word = kind.replace("_", " ")
        raise FilterError(
            f"the run has no such {word}",
            found=", ".join(repr(value) for value in unknown[:_MOST_SAID]),
            expected=f"a {word} of the run",
            do="choose one that it has",
        )


# What there is to choose from


def keep_choices(run: Path) -> None:
    """Writes what there is to choose from into a run's folder, so that no page waits for it."""
    with suppress(FilterError, WorkspaceError):  # whoever asks for them hears why there are none
        told = {kind: [astuple(one) for one in some] for kind, some in choices(run).items()}
        (run / _KEPT).write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")


def choices(run: Path, *, engine: str = "duckdb", memory: str = "1GB") -> Mapping[str, Sequence[Choice]]:
    """Values to filter a run by, by kind, the largest first and at most 200 of each.

    Groups of fewer subscribers than the run shows are left out, kinds that it does not have too. A day of
    the period counts the subscribers of its busiest hour, a cell those of its busiest hour, and of flows only
    those of one service: the least that is known.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError):  # found anew where it was not kept whole
        told = json.loads((run / _KEPT).read_text(encoding="utf-8"))
        return {kind: [Choice(*one) for one in some] for kind, some in told.items()}
    results = Results(run)
    least, tables = results.minimum_group, results.tables()
    found: dict[str, list[Choice]] = {}
    with open_store(engine, memory=memory) as store:
        summed = [store.read([results.path(name)]) for name in _BY_HOUR if name in tables]
        if summed:
            hours = nw.concat([frame.select("local_date", "subscriber_count") for frame in summed])
            days = _largest(store, hours, "local_date", least)
            found["period"] = [Choice(d.isoformat(), _day(d), n or None) for d, n in days.items()]
        if "segments" in tables:
            found["segment"] = _named(_counted(store, _segments(store, results), "segment_name", least))
        if "profiles" in tables:
            profiles = _profiles(store, results)
            held = profiles.collect_schema().names()
            for kind, column in _COLUMNS.items():
                if kind != "segment" and column in held:
                    found[kind] = _named(_counted(store, profiles, column, least), kind)
        if "usage_hours" in tables:
            found["application"] = [
                Choice(app["slug"], app["name"], None) for app in results.manifest["applications"]
            ]
        if "usage_cells" in tables:
            cells = store.read([results.path("usage_cells")]).filter(~nw.col("cell_id").is_null())
            found["cell"] = _named(_largest(store, cells, "cell_id", least))
        if "usage_flows" in tables:
            flows = store.read([results.path("usage_flows")])
            found["category"] = _named(_largest(store, flows, "category", least))
            sites = flows.filter(~nw.col("exporter").is_null())
            found["site"] = _named(_largest(store, sites, "exporter", least))
    return {kind: found[kind] for kind in KINDS if found.get(kind)}


def _counted(store: Store, frame: Frame, column: str, least: int) -> dict[Any, int]:
    counted = frame.filter(~nw.col(column).is_null()).group_by(column).agg(count=nw.len())
    return _first(store, counted.filter(nw.col("count") >= least), column)


def _largest(store: Store, frame: Frame, column: str, least: int) -> dict[Any, int]:
    counted = frame.group_by(column).agg(count=nw.col("subscriber_count").max())
    # What is nobody's tells of nobody.
    return _first(store, counted.filter((nw.col("count") >= least) | (nw.col("count") == 0)), column)


def _first(store: Store, counted: Frame, column: str) -> dict[Any, int]:
    ordered = counted.sort("count", column, descending=[True, False]).head(_MOST_CHOICES)
    rows = sorted(store.rows(ordered), key=lambda row: (-row["count"], row[column]))
    return {row[column]: int(row["count"]) for row in rows}


def _named(counts: Mapping[Any, int], kind: str = "") -> list[Choice]:
    is_number = kind.endswith("_cluster")
    return [
        Choice(str(value), f"cluster {value}" if is_number else str(value), count or None)
        for value, count in counts.items()
    ]
