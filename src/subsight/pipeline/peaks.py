"""When the network peaks, by flows and by sessions: an area of a run that either may feed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from subsight.pipeline import sessions
from subsight.pipeline.flows import Usage
from subsight.pipeline.publishing import Area, Context
from subsight.store import Frame
from subsight.studies import peaks
from subsight.workspace import Batch

__all__ = ["STUDIES", "compute"]

STUDIES: Final = ("peaks",)


def compute(context: Context, batches: Sequence[Batch], usage: Usage | None, segments: Frame | None) -> Area:
    """The peaks of sessions in the batches, where there are any, and of usage, where there is some."""
    store, zone = context.store, context.settings.time_zone
    with context.clock.stage("study peaks"):
        found, least = [], context.settings.minimum_group
        if batches:
            frame, contract = store.read([batch.rows for batch in batches]), sessions.contract_of(batches)
            found.append(peaks.of_sessions(store, frame, contract, segments, zone, least))
        if usage:
            found.append(peaks.of_flows(store, usage.rows, segments, zone, least))
        seen = [hours for hours in found if hours.volumes]
        answers = peaks.answer_all(seen, context.on_answer)
    read = [*batches, *(usage.batches if usage else ()), *(usage.leases if usage else ())]
    return Area("peaks", read, {}, {}, {"peaks": answers}, STUDIES, {})
