"""A whole population on the map, in batches of the engine, is where one table in memory puts it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from subsight.models.offers import making
from subsight.models.offers.recommender import PLACED, Recommender
from subsight.pipeline.offers.members import Usage, place
from subsight.simulate import OfferMarket, simulate_offers
from subsight.store import Store

COUNT = 700


@pytest.fixture(scope="module")
def usage(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    import pyarrow.parquet as pq

    market = OfferMarket(subscribers=COUNT, seed=2, missing=0.1)
    made = simulate_offers(market, tmp_path_factory.mktemp("market"))
    names = {
        "SubscriberID": "subscriber_id", "DpiPolicy": "policies", "contentType": "contents",
        "IpProtocol": "protocols", "appName": "applications", "bytesFromClient": "ul_bytes",
        "bytesFromServer": "dl_bytes", "sessions_count": "session_count", "transationDuration": "duration_s",
    }  # fmt: skip
    table = pq.read_table(made.usage)
    table = table.rename_columns([names[name] for name in table.column_names])
    return table.append_column("subscriber_hash", pa.array(range(COUNT), pa.int64()))


def test_in_batches_as_in_one_table(usage: pa.Table, store: Store, tmp_path: Path) -> None:
    columns = tuple(n for n in usage.column_names if n not in ("subscriber_id", "subscriber_hash"))
    record = making.fit(
        usage.select(columns),
        source="usage",
        most_nodes=30,
        topology="hexagonal",
        epochs=5,
        seed=1,
        per_node=20,
    )
    recommender = Recommender(record)
    expected = {row["subscriber_id"]: row for row in recommender.place(usage).to_pylist()}
    rows = Usage(store.from_arrow(usage), columns, [], "usage")
    found = store.rows(place(store, rows, recommender, ["dl_bytes"]))
    assert len(found) == COUNT
    for row in found:
        here = expected[row["subscriber_id"]]
        assert [row[name] for name in PLACED] == [here[name] for name in PLACED]
        assert row["dl_bytes"] == here["dl_bytes"]
    assert len({row["node"] for row in found}) > 10
