"""A simulated market: types can be told apart by their usage, and purchases answer as planted."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from subsight.eligibility import conditions
from subsight.errors import ConfigurationError
from subsight.ingestion import ingest
from subsight.settings import Settings
from subsight.simulate import OfferMarket, SimulatedOffers, simulate_offers
from subsight.workspace import Workspace

LISTS = ("DpiPolicy", "contentType", "IpProtocol", "appName")
NUMBERS = ("bytesFromClient", "bytesFromServer", "sessions_count", "transationDuration")


def made(folder: Path, **knobs: Any) -> tuple[SimulatedOffers, dict[str, Any]]:
    market = simulate_offers(OfferMarket(**knobs), folder)
    return market, json.loads(market.truths.read_text())


def offers(market: SimulatedOffers) -> dict[str, dict[str, str]]:
    with market.offers.open(encoding="utf-8", newline="") as file:
        return {row["offer_id"]: row for row in csv.DictReader(file)}


def bought(market: SimulatedOffers) -> Counter[tuple[str, str]]:
    """How many subscribers of each type bought each offer."""
    types = dict(zip(*pq.read_table(market.types).to_pydict().values(), strict=True))
    return Counter(
        (types[row["subscriber_id"]], row["offer_id"]) for row in pq.read_table(market.purchases).to_pylist()
    )


def features(market: SimulatedOffers) -> NDArray[np.float64]:
    """One column a word of a list, and logarithms of the numbers as z-scores."""
    usage = pq.read_table(market.usage).to_pydict()
    columns = []
    for name in LISTS:
        words = sorted({word for held in usage[name] for word in held})
        columns += [[word in held for held in usage[name]] for word in words]
    logs = np.log1p(np.array([usage[name] for name in NUMBERS], float))
    logs = (logs - logs.mean(axis=1, keepdims=True)) / logs.std(axis=1, keepdims=True)
    return np.vstack([np.array(columns, float), logs]).T


def recovery(market: SimulatedOffers) -> float:
    """How well k-means finds the types, as an adjusted Rand index."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    truth = pq.read_table(market.types)["type"].to_pylist()
    found = KMeans(5, n_init=5, random_state=0).fit_predict(features(market))
    return float(adjusted_rand_score(truth, found))


def test_types_are_told_apart_by_usage_and_by_nothing_without_an_effect(tmp_path: Path) -> None:
    assert recovery(made(tmp_path / "a", subscribers=2000)[0]) > 0.9
    assert abs(recovery(made(tmp_path / "b", subscribers=2000, type_effect=0.0)[0])) < 0.02


@pytest.mark.parametrize("effect", [1.0, 0.0, -1.0])
def test_purchases_follow_the_planted_probabilities(tmp_path: Path, effect: float) -> None:
    market, truths = made(tmp_path, subscribers=40_000, response_effect=effect)
    sizes = Counter(pq.read_table(market.types)["type"].to_pylist())
    counts = bought(market)
    checked = 0
    for kind, row in truths["probability"].items():
        for offer, probability in row.items():
            if offer in truths["upcoming"] or offer in truths["eligibility"]:
                continue
            expected = sizes[kind] * probability
            assert abs(counts[kind, offer] - expected) < 5 * np.sqrt(expected), (kind, offer)
            checked += 1
    assert checked == 5 * 10
    assert truths["purchase_count"] == sum(counts.values())


def test_a_type_buys_what_it_prefers_e_squared_times_as_often(tmp_path: Path) -> None:
    _, truths = made(tmp_path / "a")
    preferred = {offer: kind for kind, names in truths["preferred"].items() for offer in names}
    assert len(preferred) == 9
    assert set(preferred.values()) == set(truths["types"])
    for offer, kind in preferred.items():
        others = {truths["probability"][other][offer] for other in truths["types"] if other != kind}
        assert len(others) == 1
        assert truths["probability"][kind][offer] == pytest.approx(np.exp(2) * others.pop())
    popular = set(truths["popularity"]) - set(preferred)
    assert popular == {"F3000G100M", "F1200G50M", "F3000G200M"}
    for offer in popular:
        alike = {truths["probability"][kind][offer] for kind in truths["types"]}
        assert alike == {truths["popularity"][offer]}
    _, without = made(tmp_path / "b", response_effect=0.0)
    assert all(row == without["popularity"] for row in without["probability"].values())


def test_nobody_buys_what_is_over_yet_to_begin_or_not_for_them(tmp_path: Path) -> None:
    market, truths = made(tmp_path, subscribers=20_000, days=50, starts_on=date(2026, 1, 1))
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 20, tzinfo=UTC)
    catalogue, usage = offers(market), pq.read_table(market.usage)
    downlink = (usage[name].to_pylist() for name in ("SubscriberID", "bytesFromServer"))
    volumes = dict(zip(*downlink, strict=True))
    (restricted,) = truths["eligibility"]
    (condition,) = conditions(catalogue[restricted]["eligibility"])
    rows = pq.read_table(market.purchases).to_pylist()
    for row in rows:
        offer = catalogue[row["offer_id"]]
        last = datetime.fromisoformat(offer["valid_to"]).replace(tzinfo=UTC) + timedelta(days=1)
        assert start <= row["purchased_at"] < min(end, last)
    buyers = [row["subscriber_id"] for row in rows if row["offer_id"] == restricted]
    assert len(buyers) > 0
    assert all(condition.admits(volumes[buyer]) for buyer in buyers)
    assert not {row["offer_id"] for row in rows} & set(truths["upcoming"])
    assert {row["offer_id"] for row in rows} >= set(truths["expired"])
    assert {catalogue[name]["valid_to"] for name in truths["expired"]} == {"2026-01-30"}
    assert [row["purchased_at"] for row in rows] == sorted(row["purchased_at"] for row in rows)
    pairs = Counter((row["subscriber_id"], row["offer_id"]) for row in rows)
    assert max(pairs.values()) == 1
    assert len(truths["expired"]) == 2
    assert len(truths["upcoming"]) == 1


def test_the_same_seed_is_the_same_market(tmp_path: Path) -> None:
    names = ("usage", "offers", "purchases", "types", "truths")
    first, again, other = (
        made(tmp_path / name, subscribers=500, seed=seed)[0] for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert all(getattr(first, n).read_bytes() == getattr(again, n).read_bytes() for n in names)
    assert not any(getattr(first, n).read_bytes() == getattr(other, n).read_bytes() for n in names)


def test_effects_on_purchases_leave_the_usage_as_it_is(tmp_path: Path) -> None:
    one, other = (made(tmp_path / str(e), subscribers=500, response_effect=e)[0] for e in (0.0, 1.0))
    assert one.usage.read_bytes() == other.usage.read_bytes()
    assert one.types.read_bytes() == other.types.read_bytes()


def test_a_simulated_market_is_ingested_whole(tmp_path: Path) -> None:
    market, truths = made(tmp_path / "made", subscribers=1_000, missing=0.1)
    workspace = Workspace.create(tmp_path / "ws")
    found = {}
    for kind, path in (("usage", market.usage), ("offers", market.offers), ("purchases", market.purchases)):
        (entry,) = ingest(workspace, [path], Settings(), kind=kind)
        assert entry.batch.manifest["rejected"] == 0
        found[kind] = pq.read_table(entry.batch.rows)
    assert [len(table) for table in found.values()] == [1_000, 12, truths["purchase_count"]]
    known = set(found["usage"]["subscriber_id"].to_pylist())
    assert len(known) == 1_000
    assert set(found["purchases"]["subscriber_id"].to_pylist()) <= known
    assert set(found["purchases"]["offer_id"].to_pylist()) <= set(found["offers"]["offer_id"].to_pylist())
    for name in ("policies", "applications", "dl_bytes", "duration_s"):
        assert 60 < found["usage"][name].null_count < 140  # 100, and four standard deviations
    expired = {
        row["offer_id"]: row["valid_to"]
        for row in found["offers"].to_pylist()
        if row["offer_id"] in truths["expired"]
    }
    # 54 of 90 days from 2 March are over at the end of 24 April.
    assert set(expired.values()) == {datetime(2026, 4, 25, tzinfo=UTC)}


@pytest.mark.parametrize(
    "knobs",
    [{"subscribers": 9}, {"offers": 11}, {"offers": 101}, {"days": 1}, {"seed": -1}, {"type_effect": 2},
     {"response_effect": -2}, {"missing": 60}],
    ids=str,
)  # fmt: skip
def test_knobs_that_no_market_can_have_are_refused(tmp_path: Path, knobs: dict[str, Any]) -> None:
    (name,) = knobs
    with pytest.raises(ConfigurationError, match=name):
        simulate_offers(OfferMarket(**knobs), tmp_path)


def test_a_catalogue_may_be_larger(tmp_path: Path) -> None:
    market, truths = made(tmp_path, subscribers=100, offers=100)
    assert len(offers(market)) == len(truths["popularity"]) == 100
