"""The part of a run that filters leave, as what a study looks at, and the sentence that says it.

Subscribers are chosen from published profiles; hours, cells, applications, categories and exporters from the
sums by hour of publish.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final

import narwhals as nw

from subsight.contracts import Application, Contract
from subsight.errors import FilterError
from subsight.pipeline.filters import Filters, check, people
from subsight.results import Results
from subsight.settings import Settings
from subsight.store import Frame, Store
from subsight.studies import Inputs, peaks, traffic
from subsight.studies.segments import SegmentInputs
from subsight.studies.traffic import TrafficInputs
from subsight.studies.usage import Period, UsageInputs
from subsight.tables import SESSIONS

__all__ = [
    "of_flow_peaks",
    "of_hours",
    "of_people",
    "of_segments",
    "of_session_peaks",
    "of_sums",
    "of_traffic",
]

_KEPT: Final = "Groups, scores and models are those of the whole run."

# Subscribers


def of_people(store: Store, results: Results, filters: Filters) -> tuple[Inputs, str]:
    """Profiles of those who are chosen."""
    chosen = people(store, results, filters)
    return _inputs(store, results, profiles=chosen), _scope(store, results, chosen, filters)


def of_segments(store: Store, results: Results, filters: Filters) -> tuple[SegmentInputs, str]:
    """The segments' members who are chosen."""
    members = store.read([results.path("segments")])
    others = replace(filters, segments=())
    if filters.segments:
        check(store, filters, "segment", members)
        members = members.filter(nw.col("segment_name").is_in(list(filters.segments)))
    if others.kinds():
        chosen = people(store, results, others).select("subscriber_id")
        members = store.keep(members.join(chosen, on="subscriber_id", how="inner"))
    scope = _scope(store, results, members, filters)
    record = results.models()["segments"]
    return SegmentInputs(store, members, record, _settings(results)), scope


def _scope(store: Store, results: Results, chosen: Frame, filters: Filters) -> str:
    """The sentence that says who is looked at.

    Raises:
        FilterError: they are too few to be looked at; how many they are is not said.
    """
    count = store.row(chosen.select(count=nw.len()))["count"]
    if count < results.minimum_group:
        raise _too_few(results)
    one = "subscriber is" if count == 1 else "subscribers are"
    return f"Only {count:,} {one} looked at: {filters.said()}. {_KEPT}"


def _too_few(results: Results) -> FilterError:
    return FilterError(f"fewer than {results.minimum_group} subscribers are left", do="choose a larger part")


# Hours, cells and applications


def of_hours(store: Store, results: Results, filters: Filters) -> tuple[Inputs, str]:
    """Sums by hour, and by cell where cells are chosen, instead of sessions."""
    contract = _contract(results, filters)
    rows = _hours(store, results, filters)
    _refuse_few(store, results, rows)
    inputs = replace(_inputs(store, results, hours=rows), contract=contract)
    return inputs, _said_of_sessions(filters)


def of_sums(store: Store, results: Results, filters: Filters) -> tuple[Inputs, str]:
    """As `of_hours`, and sums by day and cell, and by day and handset."""
    cells, handsets = (_sums(store, results, name) for name in ("usage_cell_days", "usage_handset_days"))
    inputs, scope = of_hours(store, results, filters)
    if filters.cells:
        cells = cells.filter(nw.col("cell_id").is_in(list(filters.cells)))
    cells, handsets = (_within(days, filters.first_date, filters.last_date) for days in (cells, handsets))
    return replace(inputs, cells=cells, handsets=handsets), scope


def of_session_peaks(store: Store, results: Results, filters: Filters) -> tuple[peaks.Hours, str]:
    """The hours of sums of sessions: from the first to the last of the period, whatever else is chosen."""
    _sums(store, results, "usage_cell_days")  # what was published before it does not say when an hour began
    _refuse_others(results, "sessions")
    contract = _contract(results, filters)
    rows = _hours(store, results, filters)
    if filters.applications:
        rows = _of_applications(rows, contract)
    rows = store.keep(rows)
    _refuse_few(store, results, rows)
    seen = _within(_sums(store, results, "usage_hours"), filters.first_date, filters.last_date)
    zone = results.manifest["session_zone"]
    hours = peaks.of_session_sums(store, rows, contract, _ends(store, seen), zone, results.minimum_group)
    return hours, _said_of_sessions(filters)


def _hours(store: Store, results: Results, filters: Filters) -> Frame:
    rows = _sums(store, results, "usage_cells" if filters.cells else "usage_hours")
    if filters.cells:
        check(store, filters, "cell", rows, "cell_id")
        rows = rows.filter(nw.col("cell_id").is_in(list(filters.cells)))
    return _within(rows, filters.first_date, filters.last_date)


def _of_applications(rows: Frame, contract: Contract) -> Frame:
    """Sums in which everything is what the applications carry, and whoever uses one of them."""
    slugs = [app.slug for app in contract.applications]
    volumes = {
        f"{way}_bytes": nw.sum_horizontal(*(nw.col(f"app_{slug}_{way}_bytes") for slug in slugs))
        for way in ("dl", "ul")
    }
    users = nw.max_horizontal(*(nw.col(f"app_{slug}_subscriber_count") for slug in slugs))
    return rows.with_columns(subscriber_count=users, **volumes)


def _said_of_sessions(filters: Filters) -> str:
    return f"Only a part of the sessions is looked at: {filters.said()}."


def _sums(store: Store, results: Results, table: str) -> Frame:
    if table not in results.tables():
        raise FilterError(
            "the run has no sums by hour to filter",
            expected=f"the table {table}, which runs publish now",
            do="subsight run --workspace WS",
        )
    return store.read([results.path(table)])


def _refuse_few(store: Store, results: Results, rows: Frame) -> None:
    """Raises where no row is of enough subscribers; flows that are nobody's tell of nobody."""
    most = store.row(rows.select(most=nw.col("subscriber_count").max()))["most"]
    if most is None or 0 < most < results.minimum_group:
        raise _too_few(results)


def _within(rows: Frame, first: date | None, last: date | None) -> Frame:
    if first and last and first > last:
        raise FilterError(
            "the period ends before it begins", found=f"{first} to {last}", do="name the earlier day first"
        )
    if first:
        rows = rows.filter(nw.col("local_date") >= nw.lit(first))
    return rows.filter(nw.col("local_date") <= nw.lit(last)) if last else rows


def _contract(results: Results, filters: Filters) -> Contract:
    """The sessions' contract with the applications that are looked at."""
    apps = {app["slug"]: Application(app["slug"], app["name"]) for app in results.manifest["applications"]}
    if unknown := [slug for slug in filters.applications if slug not in apps]:
        raise FilterError(
            "the run has no such application",
            found=", ".join(map(repr, unknown)),
            expected=", ".join(apps) or "none",
            do="choose one that it has",
        )
    chosen = filters.applications or tuple(apps)
    return SESSIONS.expand(tuple(app for slug, app in apps.items() if slug in chosen))


# Flows


def of_traffic(store: Store, results: Results, filters: Filters) -> tuple[TrafficInputs, str]:
    """Sums of flows by hour instead of usage."""
    settings, (rows, scope, seen) = _flow_settings(results), _flows(store, results, filters)
    days = store.row(seen.select(first=nw.col("local_date").min(), last=nw.col("local_date").max()))
    covered = Period(days["first"], days["last"])
    as_of = min(date.fromisoformat(results.manifest["as_of"]), covered.last)
    inputs = UsageInputs(
        store=store,
        usage=_Unread("usage"),
        unknown_ports=_Unread("unknown ports"),
        covered=covered,
        # The run's own day lies before every one that is looked at where it was set so.
        as_of=as_of if as_of >= covered.first else covered.last,
        settings=settings,
        quality=results.quality,
        hours=rows,
        observed=_ends(store, seen),
    )
    return traffic.prepare(inputs), scope


def of_flow_peaks(store: Store, results: Results, filters: Filters) -> tuple[peaks.Hours, str]:
    """The hours of sums of flows: from the first to the last of the period, whatever else is chosen."""
    _refuse_others(results, "flows")
    zone, (rows, scope, seen) = _flow_settings(results).time_zone, _flows(store, results, filters)
    return peaks.of_flow_sums(store, rows, _ends(store, seen), zone, results.minimum_group), scope


def _flows(store: Store, results: Results, filters: Filters) -> tuple[Frame, str, Frame]:
    """The sums that are chosen, the sentence that says so, and all those of the period."""
    rows = _sums(store, results, "usage_flows")
    for kind, column, chosen in (
        ("category", "category", filters.categories),
        ("site", "exporter", filters.sites),
    ):
        if chosen:
            check(store, filters, kind, rows, column)
    seen = _within(rows, filters.first_date, filters.last_date)
    rows = seen
    if filters.categories:
        rows = rows.filter(nw.col("category").is_in(list(filters.categories)))
    if filters.sites:
        rows = rows.filter(nw.col("exporter").is_in(list(filters.sites)))
    rows = store.keep(rows)
    _refuse_few(store, results, rows)
    return rows, f"Only a part of the flows is looked at: {filters.said()}.", seen


def _ends(store: Store, rows: Frame) -> tuple[datetime, datetime]:
    found = store.row(rows.select(first=nw.col("hour_at").min(), last=nw.col("hour_at").max()))
    return found["first"], found["last"]


def _flow_settings(results: Results) -> Settings:
    """The settings of the run with the zone that flows are read in."""
    return _settings(results).model_copy(update={"time_zone": results.manifest["flow_zone"]})


def _refuse_others(results: Results, area: str) -> None:
    """Raises where the run's peaks are of other records than its sums by hour.

    They are where only one of the two was computed since new records came.
    """
    areas, inputs = results.manifest["areas"], results.manifest["inputs"]
    of = {entry["content"] for entry in inputs if entry["table"] in areas[area]["of"]}
    if of & set(areas["peaks"]["contents"]) != set(areas[area]["contents"]):
        raise FilterError(
            "the run's peaks and its sums by hour are of different records",
            expected="both computed since the newest records came",
            do="subsight run --workspace WS",
        )


# What a study may look at


class _Unread:
    """In the place of what a run does not hold: a study that looks at it was declared wrongly."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(
            f"a filtered answer cannot look at {self._name}: the question's `filters` are wrong"
        )


def _inputs(
    store: Store, results: Results, profiles: Frame | None = None, hours: Frame | None = None
) -> Inputs:
    return Inputs(
        store=store,
        sessions=_Unread("sessions"),
        profiles=_Unread("profiles") if profiles is None else profiles,
        contract=_contract(results, Filters()),
        settings=_settings(results),
        treatment=results.manifest["treatment"],
        models=results.models(),
        quality=results.quality,
        hours=hours,
    )


def _settings(results: Results) -> Settings:
    """The settings that the run was made with; those that it does not know are as they are by default."""
    said = results.manifest["settings"]
    # Not read anew, as a zone may be said of several records, and the environment is of another time.
    return Settings.model_construct(**{name: said[name] for name in Settings.model_fields if name in said})
