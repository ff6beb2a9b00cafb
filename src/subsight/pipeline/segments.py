"""From subscriber tables, or the profiles of a run, to named segments: digital customer segmentation as an
area of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import narwhals as nw

from subsight.answers import Answer
from subsight.errors import ConfigurationError, InputError
from subsight.models import in_engine, segments
from subsight.pipeline.publishing import Area, Context, earlier_run, quality_of
from subsight.pipeline.subscribers import newest
from subsight.results import Results
from subsight.settings import Settings
from subsight.store import Frame, Store
from subsight.studies.segments import QUESTIONS, SegmentInputs
from subsight.workspace import Batch, Workspace

__all__ = ["STUDIES", "Tables", "compute", "source_of"]

Source = Literal["subscribers", "profiles"]

STUDIES: Final = ("segments",)
INPUTS: Final = {
    "subscribers": ("region", "tenure_days", "ul_kilobytes", "dl_kilobytes"),
    "profiles": ("session_count", "duration_s", "total_bytes"),
}
"""What subscribers are divided by where nobody says otherwise."""

_DESCRIPTORS: Final = (
    "region",
    "bearer_type",
    "browser",
    "browsing_category",
    "plan",
    "handset_manufacturer",
)
_PUBLISHED: Final = (
    "subscriber_id", "segment", "segment_name", "distance", "runner_up_name", "runner_up_distance", "lacking",
)  # fmt: skip
_JOINED: Final = ("satisfaction_index", "satisfaction_cluster")


@dataclass(frozen=True)
class Tables:
    """Profiles and satisfaction of the same run, where it has any: frames of the run's store."""

    profiles: Frame | None = None
    satisfaction: Frame | None = None


def source_of(workspace: Workspace, settings: Settings, *, afresh: bool = False) -> Source | None:
    """What is to be divided: as set, else as before, else the subscriber tables where there are any."""
    before = None if afresh else _before(earlier_run(workspace))
    chosen: Source | None = settings.segment_source or (before["source"] if before else None)
    if chosen:
        return chosen
    return "subscribers" if workspace.batches("subscribers") else None


def _before(earlier: Results | None) -> Mapping[str, Any] | None:
    return earlier.models().get("segments") if earlier else None


def compute(
    context: Context, source: Source, tables: Tables, given: Mapping[str, Any] | None, *, afresh: bool = False
) -> Area:
    """Fits and names segments, places every subscriber, and answers the questions about them.

    Args:
        source: `subscribers` or `profiles`.
        given: a fit record to place subscribers by, instead of fitting.
        afresh: whether names are given anew, whatever the segments were called before.

    Raises:
        InputError: there is nothing of that source.
        ConfigurationError: an input is unknown, or nothing can be divided by it.
    """
    store, settings, clock = context.store, context.settings, context.clock
    earlier = earlier_run(context.workspace)
    before = None if afresh else _before(earlier)
    with clock.stage("segments"):
        batches = context.workspace.batches("subscribers" if source == "subscribers" else "sessions")
        frame = _members(context, source, batches, tables)
        inputs = _inputs(settings, source, before, frame)
        descriptors = [name for name in _DESCRIPTORS if name in _names(frame) and name not in inputs]
        run = earlier.manifest["run"] if earlier else None
        record = given or _fit(store, settings, source, frame, inputs, descriptors, before, run)
        placed = in_engine.with_segment_names(in_engine.with_segments(frame, record), record)
        placed = store.keep(placed)
    quality = quality_of(batches) if source == "subscribers" else {}
    with clock.stage("study segments"):
        members, names = _with_before(store, placed, None if afresh else earlier)
        asked = SegmentInputs(store, members, record, settings, names, quality)
        answers = _answers(asked, context)
    table = placed.select(*_PUBLISHED, *(entry["name"] for entry in record["inputs"]))
    return Area(
        "segments",
        batches,
        {"segments": table},
        {"segments": record},
        {"segments": answers},
        STUDIES,
        quality,
    )


def _names(frame: Frame) -> list[str]:
    names: list[str] = frame.collect_schema().names()
    return names


def _members(context: Context, source: str, batches: Sequence[Batch], tables: Tables) -> Frame:
    """One row a subscriber, with all that segments can be made of and described by."""
    store, workspace = context.store, context.workspace
    known = workspace.batches("subscribers")
    if source == "subscribers":
        if not batches:
            raise InputError(
                f"{workspace.path} holds no subscriber table",
                expected="at least one ingested table of subscribers, or the profiles of a run",
                do=f"subsight ingest subscribers FILE --workspace {workspace.path}, or --source profiles",
            )
        frame = newest(store, batches)
    else:
        if tables.profiles is None:
            raise InputError(
                f"{workspace.path} has no profiles to divide",
                expected="a run over sessions, or an ingested table of subscribers",
                do=f"subsight ingest subscribers FILE --workspace {workspace.path}",
            )
        hashes = store.read([batch.rows for batch in batches]).group_by("subscriber_id")
        hashes = hashes.agg(subscriber_hash=nw.col("subscriber_hash").min())
        frame = tables.profiles.join(hashes, on="subscriber_id", how="left")
        if known:
            added = [*(n for n in _DESCRIPTORS if n not in _names(frame)), "is_churned"]
            frame = frame.join(
                newest(store, known).select("subscriber_id", *added), on="subscriber_id", how="left"
            )
    if tables.satisfaction is not None:
        scores = tables.satisfaction.select("subscriber_id", *_JOINED)
        frame = frame.join(scores, on="subscriber_id", how="left")
    return store.keep(frame)


def _inputs(
    settings: Settings, source: str, before: Mapping[str, Any] | None, frame: Frame
) -> tuple[str, ...]:
    """What is divided by: as set, else as before, else the usual as far as the table holds it."""
    known = [name for name in _names(frame) if name not in ("subscriber_id", "subscriber_hash", *_JOINED)]
    if settings.segment_inputs:
        if unknown := [name for name in settings.segment_inputs if name not in known]:
            raise ConfigurationError(
                "subscribers cannot be divided by what is not there",
                found=", ".join(unknown),
                expected=f"columns of {source}: {', '.join(known)}",
                do="name some of these",
            )
        return tuple(settings.segment_inputs)
    if before and before["source"] == source:
        names = tuple(entry["name"] for entry in before["inputs"])
        if set(names) <= set(known):
            return names
    return tuple(name for name in INPUTS[source] if name in known)


def _fit(
    store: Store,
    settings: Settings,
    source: Source,
    frame: Frame,
    inputs: Sequence[str],
    descriptors: Sequence[str],
    before: Mapping[str, Any] | None,
    from_run: str | None,
) -> dict[str, Any]:
    names = [*inputs, *descriptors]
    chosen = frame.select("subscriber_hash", "subscriber_id", *names).sort("subscriber_hash", "subscriber_id")
    table = store.arrow(chosen.head(settings.fit_limit).select(*names))
    columns = {name: _column(table[name]) for name in names}
    # A column that the table has and nobody filled in is no input, unless somebody asked for it.
    filled = [n for n in inputs if table[n].null_count < len(table) or n in settings.segment_inputs]
    region = settings.segment_region or (before["region"] if before and before["region"] else "one-hot")
    return segments.fit(
        columns,
        inputs=filled,
        descriptors=descriptors,
        region=region,
        group_weight=settings.segment_group_weight,
        k=settings.segment_count or None,
        names=tuple(settings.segment_names),
        previous=before,
        from_run=from_run,
        seed=settings.seed,
        starts=settings.starts,
        source=source,
    )


def _column(values: Any) -> Any:
    """Texts as a list with None, numbers and flags as floats with NaN."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return values.to_pylist()
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)


def _with_before(store: Store, placed: Frame, earlier: Results | None) -> tuple[Frame, Sequence[str] | None]:
    """The members with the names that they had before, and all names of before."""
    if earlier is None or "segments" not in earlier.tables():
        return placed.with_columns(previous_segment_name=nw.lit(None).cast(nw.String)), None
    old = store.read([earlier.path("segments")])
    old = old.select("subscriber_id", previous_segment_name=nw.col("segment_name"))
    names = earlier.models()["segments"]["names"]
    return store.keep(placed.join(old, on="subscriber_id", how="left")), names


def _answers(asked: SegmentInputs, context: Context) -> list[Answer]:
    answers = []
    for question in QUESTIONS:
        answers.append(question.answer(asked))
        if context.on_answer:
            context.on_answer(answers[-1])
    return answers
