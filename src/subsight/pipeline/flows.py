"""From flows to usage by hour, and what is said of it: network flow analytics as an area of a run.

Each batch of flows is classified and summed once, to rows per subscriber, hour and service; a run reads
those. Where leases, rules or the registry of ports change, the batches that they touch are summed anew.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.enrich import attribution, classification
from subsight.errors import ConfigurationError, InputError
from subsight.pipeline import hours
from subsight.pipeline.partials import Partials
from subsight.pipeline.publishing import Area, Context, earlier_run, quality_of
from subsight.settings import Settings
from subsight.store import Frame, HourStart, LocalDate, LocalHour, Store
from subsight.studies.usage import Period, UsageInputs
from subsight.tables import USAGE
from subsight.units import format_value
from subsight.workspace import Batch

__all__ = ["STUDIES", "Usage", "answer", "usage"]

STUDIES: Final = ("traffic", "rfm", "trends")

_AT_ONCE: Final = 2_500_000
"""Flows that are summed together: the sums of more would be written to disk and read again."""
_FORMAT: Final = "4"
"""Part of every digest: another way of summing is another partial."""
_KEYS: Final = (
    "subscriber_id", "subscriber_hash", "hour_at", "protocol", "service_code", "exporter", "attribution",
)  # fmt: skip
_PORTS: Final = ("subscriber_id", "protocol", "service_port")
_SUMS: Final = ("flow_count", "dl_bytes", "ul_bytes", "dl_packets", "ul_packets")


@dataclass(frozen=True)
class Usage:
    """All flows as usage by hour, the ports of unknown services, and what was read."""

    rows: Frame
    unknown_ports: Frame
    batches: Sequence[Batch]
    leases: Sequence[Batch]


def usage(context: Context) -> Usage:
    """The usage of every batch of flows, of which those that are not summed yet are.

    Raises:
        InputError: there are no flows.
    """
    store, workspace = context.store, context.workspace
    batches, leases = workspace.batches("flows"), workspace.batches("leases")
    if not batches:
        raise InputError(
            f"{workspace.path} holds no flows",
            expected="at least one ingested input of flows",
            do=f"subsight ingest flows FILE --workspace {workspace.path}",
        )
    tables = classification.tables(context.settings.classification_rules, context.settings.port_registry)
    with context.clock.stage("classify"):
        parts = [_part(context, batch, leases, tables) for batch in batches]
        wanted = [path for part in parts for path in part.paths]
        partials = Partials(workspace.partial(batches[0], "", "").parent, wanted)
        for i, part in enumerate(parts):
            if all(path in partials for path in part.paths):
                continue
            if context.clock.progress:
                context.clock.progress(f"classify {part.batch.manifest['name']} ({i + 1} of {len(batches)})")
            _sum(context, part, tables)
        rows = store.read(partials.files(store, "usage", _together))
        ports = store.read(partials.files(store, "ports", _ports_together))
    return Usage(rows, ports, batches, leases)


@dataclass(frozen=True)
class _Part:
    """A batch and how it is to be summed: in which slices, by which leases; None: addresses are people."""

    batch: Batch
    leases: Sequence[Batch] | None
    digest: str
    slices: Sequence[_Slice]
    targets: Sequence[tuple[Path, Path]]

    @property
    def paths(self) -> list[Path]:
        return [path for pair in self.targets for path in pair]


def _part(context: Context, batch: Batch, leases: Sequence[Batch], tables: classification.Tables) -> _Part:
    held = [lease for lease in leases if _overlap(batch, lease)] if leases else None
    digest, slices = _digest(tables.digest, context.settings.time_zone, held), _slices(batch)
    targets = [
        (
            context.workspace.partial(batch, f"usage{n}", digest),
            context.workspace.partial(batch, f"ports{n}", digest),
        )
        for n in range(len(slices))
    ]
    return _Part(batch, held, digest, slices, targets)


def _overlap(batch: Batch, lease: Batch) -> bool:
    """Whether a lease file can say anything of a batch."""
    first, last = batch.manifest["first_at"], batch.manifest["last_at"]
    begins, ends = lease.manifest["first_at"], lease.manifest["last_at"]
    if first is None or begins is None:
        return False
    at = datetime.fromisoformat
    return at(begins) <= at(last) and (ends is None or at(ends) > at(first))


def _digest(tables: str, zone: str, leases: Sequence[Batch] | None) -> str:
    held = None if leases is None else [lease.content for lease in leases]
    return hashlib.sha256(json.dumps([_FORMAT, tables, zone, held]).encode()).hexdigest()[:12]


def _sum(context: Context, part: _Part, tables: classification.Tables) -> None:
    """Classifies a batch's flows and writes their sums."""
    store = context.store
    for (first, last), targets in zip(part.slices, part.targets, strict=True):
        flows = store.read([part.batch.rows])
        if first:
            flows = flows.filter(nw.col("first_seen_at") >= nw.lit(first))
        if last:
            flows = flows.filter(nw.col("first_seen_at") < nw.lit(last))
        _sum_slice(context, flows, part.leases, tables, targets)
        store.forget()
    context.workspace.forget_partials(part.batch, part.digest)


_Slice = tuple[datetime | None, datetime | None]


def _slices(batch: Batch) -> list[_Slice]:
    """A batch's time in parts that the engine can sum in its memory, from whole hours to whole hours."""
    count = -(-batch.manifest["accepted"] // _AT_ONCE)
    if count < 2 or batch.manifest["first_at"] is None:
        return [(None, None)]
    first, last = (datetime.fromisoformat(batch.manifest[f"{end}_at"]) for end in ("first", "last"))
    first = first.replace(minute=0, second=0, microsecond=0)
    step = timedelta(hours=max(1, math.ceil((last - first) / timedelta(hours=1) / count)))
    bounds = [first + i * step for i in range(1, count) if first + i * step <= last]
    return list(zip([None, *bounds], [*bounds, None], strict=True))


def _sum_slice(
    context: Context,
    flows: Frame,
    leases: Sequence[Batch] | None,
    tables: classification.Tables,
    targets: Sequence[Path],
) -> None:
    """Classifies flows, and writes their sums and the ports of those whose service is unknown."""
    store, zone = context.store, context.settings.time_zone
    if leases is None:
        named = attribution.by_address(flows)
    elif leases:
        named = attribution.attribute(store, flows, store.read([lease.rows for lease in leases]))
    else:
        named = attribution.unheld(flows)
    served, meaning = classification.coded(store, named, tables)
    served = store.derive(_by_side(served), {"hour_at": HourStart("first_seen_at", zone)})
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    store.write(_unknown_ports(served), targets[1])
    named = nw.col("application_group").alias("application")
    summed = store.derive(
        _summed(served).join(meaning, on="service_code", how="left").with_columns(named),
        {"local_date": LocalDate("hour_at", zone), "local_hour": LocalHour("hour_at", zone)},
    )
    store.write(summed.select(*(column.name for column in USAGE)), targets[0])


def _by_side(flows: Frame) -> Frame:
    """Volumes as the subscriber sees them; of flows of nobody, as the sender does."""
    is_dst = nw.col("customer_side") == "dst"
    columns = {}
    for what in ("bytes", "packets"):
        there, back = nw.col(f"src_to_dst_{what}"), nw.col(f"dst_to_src_{what}")
        columns[f"ul_{what}"] = nw.when(is_dst).then(back).otherwise(there)
        columns[f"dl_{what}"] = nw.when(is_dst).then(there).otherwise(back)
    return flows.with_columns(**columns)


def _total(name: str) -> Any:
    return nw.col(name).cast(nw.Float64).fill_null(0.0).sum()


def _summed(flows: Frame) -> Frame:
    sums = {name: _total(name) for name in _SUMS if name != "flow_count"}
    grouped = flows.group_by(*_KEYS).agg(
        flow_count=nw.len(),
        first_seen_at=nw.col("first_seen_at").min(),
        last_seen_at=nw.col("last_seen_at").max(),
        **sums,
    )
    return grouped.with_columns(**{name: nw.col(name).cast(nw.Int64) for name in _SUMS})


def _together(rows: Frame) -> Frame:
    """Usage of several batches, in which one hour of a subscriber may come several times, summed."""
    names = [column.name for column in USAGE]
    kept = [name for name in names if name not in (*_SUMS, "first_seen_at", "last_seen_at")]
    summed = rows.group_by(*kept).agg(
        first_seen_at=nw.col("first_seen_at").min(),
        last_seen_at=nw.col("last_seen_at").max(),
        **{name: _total(name) for name in _SUMS},
    )
    return summed.with_columns(**{name: nw.col(name).cast(nw.Int64) for name in _SUMS}).select(*names)


def _ports_together(rows: Frame) -> Frame:
    sums = ("flow_count", "total_bytes")
    summed = rows.group_by(*_PORTS).agg(**{name: _total(name) for name in sums})
    return summed.with_columns(**{name: nw.col(name).cast(nw.Int64) for name in sums})


def _unknown_ports(flows: Frame) -> Frame:
    """Flows of unknown services by subscriber and port of what seems the service."""
    unknown = flows.filter(
        (nw.col("service_code") == classification.UNKNOWN_CODE) & ~nw.col("service_port").is_null()
    )
    grouped = unknown.group_by(*_PORTS).agg(flow_count=nw.len(), dl=_total("dl_bytes"), ul=_total("ul_bytes"))
    return grouped.select(
        *_PORTS,
        flow_count=nw.col("flow_count").cast(nw.Int64),
        total_bytes=(nw.col("dl") + nw.col("ul")).cast(nw.Int64),
    )  # fmt: skip


# Answers


def answer(context: Context, found: Usage, wanted: Sequence[str], segments: Frame | None) -> Area:
    """The area of the flow studies that are wanted, over usage by hour.

    Raises:
        InputError: no flow lies before the as-of date.
        ConfigurationError: the as-of date is none.
    """
    store, settings = context.store, context.settings
    rows = found.rows
    quality = quality_of(found.batches)
    inputs = _inputs(context, found, rows, quality, segments)
    tables: dict[str, Frame] = {"usage_flows": hours.of_flows(rows)}
    answers: dict[str, list[Answer]] = {}
    for study in [study for study in STUDIES if study in wanted]:
        with context.clock.stage(f"study {study}"):
            more = {"rfm": _groups(context, tables)} if study == "trends" else {}
            asked = import_module(f"subsight.studies.{study}")
            given, table = asked.answer_all(inputs, context.on_answer, **more)
            answers[study] = given
            tables |= {study: table} if table is not None else {}
    quality["findings"] = [*quality["findings"], *_attributed(store, rows)]
    facts: Mapping[str, Any] = {"as_of": inputs.as_of.isoformat(), "flow_zone": settings.time_zone}
    batches = [*found.batches, *found.leases]
    return Area("flows", batches, tables, {}, answers, STUDIES, quality, facts)


def _groups(context: Context, tables: Mapping[str, Frame]) -> Frame | None:
    """The target groups as just computed, else as the current run holds them."""
    if "rfm" in tables:
        return tables["rfm"]
    earlier = earlier_run(context.workspace)
    if earlier is None or "rfm" not in earlier.tables():
        return None
    return context.store.read([earlier.path("rfm")])


def _inputs(
    context: Context, found: Usage, rows: Frame, quality: Mapping[str, Any], segments: Frame | None
) -> UsageInputs:
    store, settings = context.store, context.settings
    ends = store.row(rows.select(first=nw.col("local_date").min(), last=nw.col("local_date").max()))
    if ends["first"] is None:
        raise InputError(
            f"no flow in {context.workspace.path} was accepted",
            found=f"{quality['rejected']:,} rejected flows",
            do="look at their reasons in the quality of the run, or with `subsight ingest`",
        )
    covered = Period(ends["first"], ends["last"])
    as_of = _date(settings) or covered.last
    if as_of < covered.first:
        raise ConfigurationError(
            "the setting as_of lies before every flow",
            found=str(as_of),
            expected=f"a date from {covered.first} on",
        )
    return UsageInputs(
        store, rows, store.keep(found.unknown_ports), covered, as_of, settings, quality, segments
    )


def _date(settings: Settings) -> date | None:
    if not settings.as_of:
        return None
    try:
        return date.fromisoformat(settings.as_of)
    except ValueError as error:
        raise ConfigurationError(
            "the setting as_of is no date", found=settings.as_of, expected="YYYY-MM-DD", do=str(error)
        ) from error


_SAID: Final = {
    "lease": "of the subscriber whose lease held",
    "address": "of an address in customer_networks, as there are no leases",
    "ambiguous": "of nobody, as leases of several subscribers hold",
    "no lease": "of nobody, as no lease holds for the customer's address and port",
    None: "of nobody, as neither address is a customer's",
}


def _attributed(store: Store, rows: Frame) -> list[dict[str, Any]]:
    """How many flows are whose, as findings of the run."""
    counted = rows.group_by("attribution").agg(count=_total("flow_count"))
    counts = {row["attribution"]: int(row["count"]) for row in store.rows(counted)}
    whole = sum(counts.values())
    return [
        {
            "column": "subscriber_id", "check": f"attribution: {how or 'none'}",
            "severity": "warning" if how in ("ambiguous", "no lease") else "note", "count": counts[how],
            "text": f"{format_value(counts[how] / whole, 'share')} of the flows are {text}",
        }
        for how, text in _SAID.items()
        if counts.get(how)
    ]  # fmt: skip
