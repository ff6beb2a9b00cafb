"""For whom offers are sought: one row a subscriber, with usage, its place on the map, and what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import narwhals as nw

from subsight.errors import InputError
from subsight.models.offers.recommender import PLACED, Recommender
from subsight.pipeline.publishing import Context, earlier_run
from subsight.pipeline.subscribers import newest
from subsight.results import Results
from subsight.store import Frame, OrderHash, Store
from subsight.tables import DPI_USAGE
from subsight.workspace import Batch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PROFILE", "Known", "Source", "Usage", "known", "place", "recommended", "usage_of"]

Source = Literal["usage", "profiles"]

_LISTS: Final = tuple(column.name for column in DPI_USAGE if column.kind == "texts")
_NUMBERS: Final = ("ul_bytes", "dl_bytes", "session_count", "duration_s")
_KEYS: Final = ("subscriber_id", "subscriber_hash")
_TABLES: Final = ("satisfaction", "rfm", "profiles")
"""Tables of a run that conditions may ask, the first that has a column."""
PROFILE: Final = (*_KEYS, "draw_number", *PLACED, "experience_index", "contact_count")
"""What is known of every subscriber, beside the columns that the catalogue asks for.

`subscriber_hash` is not published: who tries all phone numbers would find whose it is. `draw_number` is a
hash of `subscriber_id`, and tells no more than that.
"""


@dataclass(frozen=True)
class Usage:
    """Usage of each subscriber once.

    Attributes:
        rows: `subscriber_id, subscriber_hash` and the columns that are encoded.
        columns: those columns.
        batches: what they were read from.
        several: subscribers of whom there were several rows, which are summed and united.
    """

    rows: Frame
    columns: tuple[str, ...]
    batches: Sequence[Batch]
    source: Source
    several: int = 0


def usage_of(context: Context, trained_on: Source | None = None) -> Usage:
    """Usage by deep packet inspection, or, as set or without any, the profiles of the current run.

    Args:
        trained_on: what a map was trained on, which has no place for the other, whatever is set.

    Raises:
        InputError: there is neither.
    """
    store, workspace = context.store, context.workspace
    batches, chosen = workspace.batches("dpi_usage"), trained_on or context.settings.offer_source
    earlier = earlier_run(workspace)
    if batches and chosen != "profiles":
        columns = (*_LISTS, *_NUMBERS)
        rows = store.read([batch.rows for batch in batches]).select(*_KEYS, *columns)
        counts = store.row(rows.select(rows=nw.len(), subscribers=nw.col("subscriber_id").n_unique()))
        several = counts["rows"] - counts["subscribers"]
        if several:
            rows = store.united(rows, "subscriber_id", _LISTS, _NUMBERS, "subscriber_hash")
        return Usage(rows, columns, batches, "usage", several)
    if earlier and "profiles" in earlier.tables() and chosen != "usage":
        sessions = workspace.batches("sessions")
        profiles = store.read([earlier.path("profiles")])
        names = profiles.collect_schema().names()
        apps = [f"app_{app['slug']}_bytes" for app in earlier.manifest["applications"]]
        columns = tuple(name for name in (*_NUMBERS, *apps) if name in names)
        hashes = store.read([b.rows for b in sessions]).select(*_KEYS).group_by("subscriber_id")
        hashes = hashes.agg(subscriber_hash=nw.col("subscriber_hash").min())
        rows = store.keep(profiles.select("subscriber_id", *columns).join(hashes, on="subscriber_id"))
        return Usage(rows, columns, sessions, "profiles")
    raise InputError(
        f"{workspace.path} holds no usage to offer by",
        found=f"a map of {chosen}" if trained_on else f"offer_source = {chosen}" if chosen else None,
        expected="usage by deep packet inspection, or the profiles of a run",
        do=f"subsight ingest usage FILE --workspace {workspace.path}",
    )


# The map


def place(store: Store, usage: Usage, recommender: Recommender, keep: Sequence[str]) -> Frame:
    """Every subscriber of the usage on the map, with the columns `keep` of the usage, and counts by column
    of what was unseen or filled in."""
    learned = recommender.record["encoding"]
    counts = [f"unseen_{name}" for name in learned["lists"]] + [
        f"filled_{name}" for name in learned["numbers"]
    ]
    kept = [name for name in dict.fromkeys(keep) if name in usage.columns]
    names = [*_KEYS, *kept, *PLACED, *counts]

    def placed(table: pa.Table) -> pa.Table:
        return recommender.place(table).select(names)

    return store.map_batches(usage.rows, placed, _schema(usage, names))


def _schema(usage: Usage, names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    kinds = {"subscriber_id": pa.string(), "node_distance": pa.float64(), "usage_bitmap": pa.string()}
    kinds |= {name: pa.list_(pa.string()) for name in _LISTS}
    kinds |= {name: pa.float64() for name in usage.columns if name not in _LISTS}
    return pa.schema([(name, kinds.get(name, pa.int64())) for name in names])


# What else is known


@dataclass(frozen=True)
class Known:
    """Members with what their offers depend on; `missing` are columns that the catalogue asks for in vain."""

    rows: Frame
    missing: tuple[str, ...]


def known(context: Context, placed: Frame, asked: Sequence[str], at: datetime) -> Known:
    """Those on the map and those of whom only purchases or a table tell, with what their offers depend on.

    A condition on `segment` asks for a segment's name.
    """
    store, workspace = context.store, context.workspace
    rows = _with_others(store, workspace.batches("purchases"), workspace.batches("subscribers"), placed)
    missing = []
    for name, told in _told(context, rows, asked).items():
        if told is None:
            missing.append(name)
        elif told is not rows:
            rows = rows.join(told.select("subscriber_id", name), on="subscriber_id", how="left")
    if "experience_index" in missing:
        missing.remove("experience_index")
        rows = rows.with_columns(experience_index=nw.lit(None).cast(nw.Float64))
    if (counted := _contacts(context, at)) is None:
        rows = rows.with_columns(contact_count=nw.lit(0).cast(nw.Int64))
    else:
        rows = rows.join(counted, on="subscriber_id", how="left")
        rows = rows.with_columns(contact_count=nw.col("contact_count").fill_null(0))
    rows = store.derive(rows, {"draw_number": OrderHash("subscriber_id")})
    names = [*PROFILE, *(n for n in asked if n not in (*PROFILE, *missing))]
    return Known(store.keep(rows.select(*names)), tuple(missing))


def _with_others(
    store: Store, purchases: Sequence[Batch], subscribers: Sequence[Batch], placed: Frame
) -> Frame:
    batches = [*purchases, *subscribers]
    if not batches:
        return placed
    frames = [store.read([batch.rows]).select(*_KEYS) for batch in batches]
    everybody = nw.concat([placed.select(*_KEYS), *frames]).group_by("subscriber_id")
    hashes = everybody.agg(subscriber_hash=nw.col("subscriber_hash").min())
    hashes = hashes.filter(~nw.col("subscriber_id").is_null())
    return store.keep(hashes.join(placed.drop("subscriber_hash"), on="subscriber_id", how="left"))


def _told(context: Context, rows: Frame, asked: Sequence[str]) -> dict[str, Frame | None]:
    """By column the frame that has it: the usage, segments, the newest tables of subscribers, a run's."""
    store, workspace = context.store, context.workspace
    earlier = earlier_run(workspace)
    frames = [rows]
    if earlier and "segments" in earlier.tables():
        segments = store.read([earlier.path("segments")])
        frames.append(segments.select("subscriber_id", segment=nw.col("segment_name")))
    if subscribers := workspace.batches("subscribers"):
        frames.append(newest(store, subscribers))
    if earlier:
        frames += [store.read([earlier.path(name)]) for name in _TABLES if name in earlier.tables()]
    columns = [(frame, set(frame.collect_schema().names())) for frame in frames]
    wanted = dict.fromkeys([*asked, "experience_index"])
    return {name: next((frame for frame, held in columns if name in held), None) for name in wanted}


def _contacts(context: Context, at: datetime) -> Frame | None:
    """On how many of the days before each subscriber was recommended anything; None where nobody was.

    What was published counts, as nothing says more: `subscriber_id, contact_count`.
    """
    since = at - timedelta(days=context.settings.offer_contact_days)
    paths = [run.path("recommendations") for run in recommended(context) if since <= _at(run) < at]
    if not paths:
        return None
    firsts = context.store.read(paths).filter(nw.col("rank") == 1)
    return firsts.group_by("subscriber_id").agg(contact_count=nw.len().cast(nw.Int64))


def recommended(context: Context) -> list[Results]:
    """The runs in which recommendations were made, oldest first; of those for one day the last.

    Recommendations for a day that are made again take the place of those made before.
    """
    runs = [Results(context.workspace.run(name)) for name in context.workspace.runs()]
    made = [
        run
        for run in runs
        if run.manifest.get("areas", {}).get("recommendations", {}).get("from_run", "") is None
    ]
    last = {run.manifest["recommended_at"]: run for run in made}
    return sorted(last.values(), key=lambda run: str(run.manifest["run"]))


def _at(run: Results) -> datetime:
    at: Any = run.manifest["recommended_at"]
    return datetime.fromisoformat(at)
