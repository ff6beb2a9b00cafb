"""Tables of subscribers, of which several may tell of one."""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

from subsight.store import Frame, Store
from subsight.workspace import Batch

__all__ = ["newest"]


def newest(store: Store, batches: Sequence[Batch]) -> Frame:
    """Each subscriber's row of the table that was ingested last."""
    ordered = sorted(batches, key=lambda b: (b.manifest["ingested_at"], b.manifest["name"]))
    frames = [store.read([b.rows]).with_columns(place=nw.lit(i)) for i, b in enumerate(ordered)]
    if len(frames) == 1:
        return frames[0].drop("place")
    together = store.keep(nw.concat(frames))
    last = together.group_by("subscriber_id").agg(place=nw.col("place").max())
    return together.join(last, on=["subscriber_id", "place"], how="inner").drop("place")
