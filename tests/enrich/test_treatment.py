from __future__ import annotations

import pyarrow as pa
import pytest

from subsight.contracts import Column, Contract
from subsight.enrich import treatment
from subsight.store import Store

CONTRACT = Contract(
    "sessions", "a session", (Column("rtt_dl_ms", "float", "x"), Column("dl_bytes", "integer", "x"))
)

# Quartiles of 1, 2, 3, 4, 100 by linear interpolation: 2 and 4. Fences: 2 - 3 = -1 and 4 + 3 = 7.
VALUES = pa.table(
    {"rtt_dl_ms": [1.0, None, 2.0, 3.0, 4.0, 100.0], "dl_bytes": pa.array([None] * 6, pa.int64())}
)


def test_fences_fill_and_counts(store: Store) -> None:
    fitted = treatment.fit(store, store.from_arrow(VALUES), CONTRACT, "mean")
    assert set(fitted) == {"rtt_dl_ms"}, "a column that was never observed is left out"
    assert fitted["rtt_dl_ms"] == {
        "observed_count": 5, "missing_count": 1, "outlier_count": 1, "lower": -1.0, "upper": 7.0,
        "first_quartile": 2.0, "third_quartile": 4.0, "mean": 22.0, "median": 3.0, "fill": 22.0,
        "policy": "mean",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("mean", [1, 2, 3, 4, 22, 22]),
        ("median", [1, 2, 3, 3, 3, 4]),
        ("winsorise", [1, 2, 3, 3, 4, 7]),
        ("none", [1, 2, 3, 4, 100, None]),
    ],
)
def test_policies(store: Store, policy: treatment.Policy, expected: list[float | None]) -> None:
    frame = store.from_arrow(VALUES)
    fitted = treatment.fit(store, frame, CONTRACT, policy)
    rows = store.rows(treatment.apply(frame, CONTRACT, fitted))
    found = sorted((row["rtt_dl_ms_treated"] for row in rows), key=lambda v: (v is None, v))
    assert found == expected
    assert [row["dl_bytes_treated"] for row in rows] == [None] * 6
