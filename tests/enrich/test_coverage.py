from __future__ import annotations

import pyarrow as pa

from subsight.enrich import coverage
from subsight.store import Store


def test_the_second_period_counts_as_if_it_were_as_long_as_both(store: Store) -> None:
    """Ten days, then five: fifteen days hold three times what five do."""
    periods = {"first": ["2026-03-01", "2026-03-10"], "second": ["2026-03-11", "2026-03-15"]}
    frame = store.from_arrow(pa.table({"total_bytes": [10, None], "rtt_ms": [50.0, 60.0]}))
    rows = store.rows(coverage.second_as_whole(frame, periods, ["total_bytes"]))
    found = sorted(((row["rtt_ms"], row["total_bytes"]) for row in rows), key=lambda pair: pair[0])
    assert found == [(50.0, 30.0), (60.0, None)]
