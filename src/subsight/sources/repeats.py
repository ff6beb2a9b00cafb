"""Rows that say what an earlier row of the same file says, or something else of what should be said once."""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

from subsight.store import Frame, RecordHash, Store

__all__ = ["told"]

_REPEATED = "|identical to an earlier record"


def told(store: Store, judged: Frame, key: str, columns: Sequence[str], rival: str | None = None) -> Frame:
    """The rows with a fault where one repeats an earlier one in `columns`; of those without a fault yet.

    With `rival`, that is the fault of all rows whose `key` is also that of a row that differs: nobody can
    know which is right. Without it they stay.

    Args:
        judged: kept rows with `record`, `fault`, the key and the columns.
    """
    rows = judged.filter(nw.col("fault").is_null())
    several = rows.group_by(key).agg(count=nw.len()).filter(nw.col("count") > 1)
    several = store.keep(several.select(key))
    if not store.row(several.select(count=nw.len()))["count"]:
        return judged
    rows = rows.join(several, on=key, how="inner")
    rows = store.keep(
        store.derive(rows, {"row_hash": RecordHash(tuple(columns))}).select("record", key, "row_hash")
    )
    first = rows.group_by(key, "row_hash").agg(first=nw.col("record").min())
    ends = rows.group_by(key).agg(low=nw.col("row_hash").min(), high=nw.col("row_hash").max())
    rows = rows.join(first, on=[key, "row_hash"], how="inner").join(ends, on=key, how="inner")
    is_repeat, is_disputed = nw.col("record") > nw.col("first"), nw.col("low") != nw.col("high")
    found = store.keep(rows.select("record", is_repeat=is_repeat, is_disputed=is_disputed))
    reasons = [nw.col("fault"), nw.when(nw.col("is_repeat")).then(nw.lit(_REPEATED))]
    reasons += [nw.when(nw.col("is_disputed")).then(nw.lit(rival))] if rival else []
    joined = judged.join(found, on="record", how="left").with_columns(fault=nw.coalesce(*reasons))
    return store.keep(joined.drop("is_repeat", "is_disputed"))
