"""What a run tells of one subscriber: found by every name, with every table, and by nobody who guesses."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from offers_quickly import DAY, ingested, recommend_all, train_offers

from subsight import Insight
from subsight.simulate import OfferMarket, SimulatedOffers, simulate_offers
from subsight.surfaces.tables import print_subscriber

CERTAIN: dict[str, Any] = {"offer_exploration_share": 0.0, "offer_holdout_share": 0.0}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SimulatedOffers:
    return simulate_offers(OfferMarket(subscribers=600, seed=3), tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def trained(market: SimulatedOffers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "ws"
    train_offers(ingested(path, market))
    return path


def copied(base: Path, tmp_path: Path, **settings: Any) -> Insight:
    shutil.copytree(base, tmp_path / "ws", symlinks=True)
    return Insight.open(tmp_path / "ws", create=False, **{"as_of": DAY, **CERTAIN, **settings})


def test_no_table_tells_a_clear_number_to_who_tries_them_all(
    trained: Path, market: SimulatedOffers, tmp_path: Path
) -> None:
    results = copied(trained, tmp_path).recommend_all()
    clear = pq.read_table(market.usage)["SubscriberID"].to_pylist()
    digests = [hashlib.sha256(str(one).encode()).hexdigest() for one in clear]
    guesses = {*clear, *digests, *(int(digest[:13], 16) for digest in digests)}
    tables = [results.table(name) for name in results.tables()]
    found = {value for table in tables for column in table.columns for value in flat(column)}
    assert len(tables) >= 4
    assert not guesses & found


def flat(column: Any) -> list[Any]:
    return [] if pa.types.is_list(column.type) else column.to_pylist()


def test_a_subscriber_with_several_offers_is_one(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    insight = copied(trained, tmp_path, offer_holding_days=400)
    recommend_all(insight)
    rows = insight.table("recommendations").to_pylist()
    held = {row["subscriber_id"] for row in insight.table("offer_holdings").to_pylist()}
    name = next(row["subscriber_id"] for row in rows if row["rank"] == 3 and row["subscriber_id"] in held)
    found = insight.subscriber(name)
    assert [{"subscriber_id": name, **row} for row in found["recommendations"]] == [
        row for row in rows if row["subscriber_id"] == name
    ]
    assert found["offer_holdings"][0].keys() == {"offer_id"}
    assert found["outcome"] == "recommended"
    print_subscriber(found)
    printed = capsys.readouterr().out
    assert all(one["offer_id"] in printed for one in found["recommendations"])
    assert "{" not in printed


@pytest.mark.parametrize("identifiers", ["pseudonymous", "clear"])
def test_everybody_is_found_by_their_name(identifiers: str, market: SimulatedOffers, tmp_path: Path) -> None:
    usage = pq.read_table(market.usage)
    names = ["00123", "12-34", "123", *usage["SubscriberID"].to_pylist()[3:]]
    usage = usage.set_column(0, "SubscriberID", pa.array(names, pa.string()))
    pq.write_table(usage, tmp_path / "usage.parquet")
    insight = Insight.open(tmp_path / "ws", as_of=DAY, identifiers=identifiers, **CERTAIN)
    insight.ingest(tmp_path / "usage.parquet", kind="usage")
    train_offers(insight)
    for name in ("00123", "12-34", names[3], f"+{names[3]}", f"00 {names[3]}"):
        assert insight.recommend(name)["offers"]
    assert len({insight.recommend(name)["subscriber_id"] for name in ("00123", "123")}) == 2
