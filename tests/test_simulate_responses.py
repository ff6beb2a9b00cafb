"""Simulated responses: those who are shown an offer buy it as planted, the others less often."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight import privacy
from subsight.errors import ConfigurationError, InputError, StorageError
from subsight.ingestion import ingest
from subsight.settings import Settings
from subsight.simulate import (
    OfferMarket,
    SimulatedOffers,
    SimulatedResponses,
    simulate_offers,
    simulate_responses,
)
from subsight.workspace import Workspace

MARKET = OfferMarket(subscribers=8_000, seed=5)
AFTER = datetime(2026, 6, 1, 9, 30, tzinfo=UTC)
"""The 91st day of a history of 90 from 2 March, and half past nine."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedOffers:
    return simulate_offers(MARKET, tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def truths(simulated: SimulatedOffers) -> dict[str, Any]:
    return dict(json.loads(simulated.truths.read_text()))


@pytest.fixture(scope="module")
def shown(simulated: SimulatedOffers) -> pa.Table:
    """Every second subscriber is shown three offers drawn from all."""
    rng = np.random.default_rng(1)
    with simulated.offers.open(newline="") as file:
        names = [row["offer_id"] for row in csv.DictReader(file)]
    rows = []
    for number in pq.read_table(simulated.types)["subscriber_id"].to_pylist()[::2]:
        picked = rng.choice(len(names), 3, replace=False)
        rows += [
            {"subscriber_id": number, "offer_id": names[offer], "rank": rank, "probability": 0.25}
            for rank, offer in enumerate(picked, 1)
        ]
    return pa.Table.from_pylist(rows)


def respond(
    simulated: SimulatedOffers, shown: pa.Table, folder: Path, **options: Any
) -> tuple[SimulatedResponses, list[dict[str, Any]], dict[str, Any]]:
    knobs: dict[str, Any] = {"starts_at": AFTER, "seed": 3, **options}
    made = simulate_responses(MARKET, simulated, shown, folder, **knobs)
    return made, pq.read_table(made.purchases).to_pylist(), json.loads(made.truths.read_text())


def pairs(table: pa.Table) -> set[tuple[str, str]]:
    return {(row["subscriber_id"], row["offer_id"]) for row in table.to_pylist()}


@pytest.mark.parametrize("organic", [0.3, 0.0, 1.0])
def test_shares_of_buyers_are_as_planted(
    simulated: SimulatedOffers, shown: pa.Table, truths: dict[str, Any], tmp_path: Path, organic: float
) -> None:
    _, purchases, told = respond(simulated, shown, tmp_path, organic=organic)
    types = dict(zip(*pq.read_table(simulated.types).to_pydict().values(), strict=True))
    sizes, were_shown = Counter(types.values()), Counter((types[s], o) for s, o in pairs(shown))
    are_shown = pairs(shown)
    bought = Counter(
        (types[row["subscriber_id"]], row["offer_id"], (row["subscriber_id"], row["offer_id"]) in are_shown)
        for row in purchases
    )
    # The offer that begins at day 97 is valid from 7 June, within the window; those that are over stay over.
    checked = 0
    for kind, row in truths["probability"].items():
        for offer, probability in row.items():
            if offer in truths["eligibility"]:
                continue
            groups = {True: were_shown[kind, offer], False: sizes[kind] - were_shown[kind, offer]}
            for is_shown, count in groups.items():
                likely = probability * (1 if is_shown else organic) * (offer not in truths["expired"])
                error = math.sqrt(count * likely * (1 - likely))
                assert abs(bought[kind, offer, is_shown] - count * likely) <= 4.5 * error, (kind, offer)
                checked += likely > 0
    assert checked == 5 * 9 * (2 if organic else 1)
    assert max(Counter((row["subscriber_id"], row["offer_id"]) for row in purchases).values()) == 1
    counts = Counter((row["subscriber_id"], row["offer_id"]) in are_shown for row in purchases)
    assert (told["shown_purchase_count"], told["not_shown_purchase_count"]) == (counts[True], counts[False])
    assert told["shown_pair_count"] == 4_000 * 3
    assert told["not_shown_pair_count"] == 8_000 * 12 - 12_000
    assert told["probability"] == truths["probability"]


def test_the_expected_purchases_are_the_planted_probabilities_of_what_can_be_bought(
    simulated: SimulatedOffers, shown: pa.Table, truths: dict[str, Any], tmp_path: Path
) -> None:
    _, _, told = respond(simulated, shown, tmp_path)
    types = dict(zip(*pq.read_table(simulated.types).to_pydict().values(), strict=True))
    usage = pq.read_table(simulated.usage).to_pydict()
    volumes = dict(zip(usage["SubscriberID"], usage["bytesFromServer"], strict=True))
    (restricted,) = truths["eligibility"]
    assert truths["eligibility"][restricted] == "min_dl_bytes=2000000000"

    def likely(number: str, offer: str) -> float:
        can = offer not in truths["expired"] and (offer != restricted or volumes[number] >= 2e9)
        return float(truths["probability"][types[number]][offer]) if can else 0.0

    are_shown = pairs(shown)
    rest = [(number, offer) for number in types for offer in truths["popularity"]]
    of_shown = sum(likely(*pair) for pair in are_shown)
    of_rest = 0.3 * sum(likely(*pair) for pair in rest if pair not in are_shown)
    assert told["expected_shown_purchase_count"] == pytest.approx(of_shown)
    assert told["expected_not_shown_purchase_count"] == pytest.approx(of_rest)
    assert abs(told["shown_purchase_count"] - of_shown) < 4 * math.sqrt(of_shown)
    assert abs(told["not_shown_purchase_count"] - of_rest) < 4 * math.sqrt(of_rest)


def test_nothing_is_bought_outside_the_window_or_outside_the_offers_validity(
    simulated: SimulatedOffers, shown: pa.Table, truths: dict[str, Any], tmp_path: Path
) -> None:
    _, purchases, _ = respond(simulated, shown, tmp_path / "a", days=10)
    times = [row["purchased_at"] for row in purchases]
    assert times == sorted(times)
    assert all(AFTER <= at < AFTER + timedelta(days=10) for at in times)
    (upcoming,) = truths["upcoming"]
    begins = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=97)
    of_upcoming = [row["purchased_at"] for row in purchases if row["offer_id"] == upcoming]
    assert len(of_upcoming) > 10
    assert all(begins <= at for at in of_upcoming)
    # The times are spread evenly: a fifth of each offer that is always valid falls on each two days.
    always = [row["purchased_at"] for row in purchases if row["offer_id"] != upcoming]
    parts = Counter((at - AFTER) // timedelta(days=2) for at in always)
    for part in range(5):
        assert abs(parts[part] - len(always) / 5) < 4 * math.sqrt(len(always) * 0.2 * 0.8)
    # Five days later nothing begins yet; in the history itself the offers that are over were not.
    _, purchases, _ = respond(simulated, shown, tmp_path / "b", days=5)
    assert upcoming not in {row["offer_id"] for row in purchases}
    first = datetime(2026, 4, 1, tzinfo=UTC)
    _, purchases, _ = respond(simulated, shown, tmp_path / "c", starts_at=first, days=40)
    ends = first.replace(day=25)  # 54 of 90 days from 2 March
    over = [row["purchased_at"] for row in purchases if row["offer_id"] in truths["expired"]]
    assert len(over) > 10
    assert all(first <= at < ends for at in over)
    # The end in the catalogue is the last day of the offer.
    _, purchases, _ = respond(simulated, shown, tmp_path / "d", starts_at=ends - timedelta(days=1))
    over = [row["purchased_at"] for row in purchases if row["offer_id"] in truths["expired"]]
    assert len(over) > 10
    assert all(ends - timedelta(days=1) <= at < ends for at in over)


def test_the_same_seed_is_the_same_and_what_others_are_shown_changes_nothing(
    simulated: SimulatedOffers, shown: pa.Table, tmp_path: Path
) -> None:
    first, purchases, _ = respond(simulated, shown, tmp_path / "a")
    again, _, _ = respond(simulated, shown, tmp_path / "b")
    assert first.purchases.read_bytes() == again.purchases.read_bytes()
    assert first.truths.read_bytes() == again.truths.read_bytes()
    other, _, _ = respond(simulated, shown, tmp_path / "c", seed=4)
    assert first.purchases.read_bytes() != other.purchases.read_bytes()
    # Shown twice is shown once, in any order.
    doubled = pa.concat_tables([shown, shown]).sort_by("offer_id")
    twice, _, _ = respond(simulated, doubled, tmp_path / "d")
    assert first.purchases.read_bytes() == twice.purchases.read_bytes()
    # Without recommendations nobody buys who did not with them, and others stay as they were.
    _, fewer, told = respond(simulated, shown.slice(0, 0), tmp_path / "e")
    are_shown = pairs(shown)
    assert told["shown_pair_count"] == told["shown_purchase_count"] == 0
    assert len(fewer) < len(purchases)
    assert {(*row.values(),) for row in fewer} <= {(*row.values(),) for row in purchases}
    unlike = [row for row in purchases if row not in fewer]
    assert all((row["subscriber_id"], row["offer_id"]) in are_shown for row in unlike)


def test_pseudonyms_are_found_by_their_key_and_purchases_are_ingested_under_them(
    simulated: SimulatedOffers, shown: pa.Table, tmp_path: Path
) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    key = workspace.key()
    (usage,) = ingest(workspace, [simulated.usage], Settings(), kind="usage")
    known = pq.read_table(usage.batch.rows)["subscriber_id"].to_pylist()
    by_key = {number: privacy.pseudonym(number, key) for number in set(shown["subscriber_id"].to_pylist())}
    assert set(by_key.values()) <= set(known)
    keyed = [by_key[number] for number in shown["subscriber_id"].to_pylist()]
    hidden = shown.set_column(0, "subscriber_id", pa.array(keyed))
    clear, rows, _ = respond(simulated, shown, tmp_path / "a")
    made, _, _ = respond(simulated, hidden, tmp_path / "b", key=key)
    assert made.purchases.read_bytes() == clear.purchases.read_bytes()
    assert made.truths.read_bytes() == clear.truths.read_bytes()
    (read,) = ingest(workspace, [made.purchases], Settings(), kind="purchases")
    assert read.batch.manifest["rejected"] == 0
    found = pq.read_table(read.batch.rows)
    assert found.num_rows == len(rows)
    assert set(found["subscriber_id"].to_pylist()) <= set(known)
    for wrong in (None, b"another key of thirty-two bytes!"):
        with pytest.raises(InputError, match="subscribers that the market does not have"):
            respond(simulated, hidden, tmp_path / "x", key=wrong)
    assert not (tmp_path / "x").exists()


def test_whose_volume_is_missing_does_not_meet_the_condition(tmp_path: Path) -> None:
    market = OfferMarket(subscribers=3_000, missing=0.5)
    simulated = simulate_offers(market, tmp_path / "market")
    (restricted,) = json.loads(simulated.truths.read_text())["eligibility"]
    usage = pq.read_table(simulated.usage).to_pydict()
    volumes = dict(zip(usage["SubscriberID"], usage["bytesFromServer"], strict=True))
    everybody = pa.table({"subscriber_id": list(volumes), "offer_id": [restricted] * len(volumes)})
    made = simulate_responses(market, simulated, everybody, tmp_path, starts_at=AFTER, seed=1)
    buyers = [
        row["subscriber_id"]
        for row in pq.read_table(made.purchases).to_pylist()
        if row["offer_id"] == restricted
    ]
    assert len(buyers) > 20
    assert all((volumes[buyer] or 0) >= 2e9 for buyer in buyers)


def test_what_does_not_fit_is_refused(simulated: SimulatedOffers, shown: pa.Table, tmp_path: Path) -> None:
    for knobs in ({"starts_at": datetime(2026, 6, 1)}, {"days": 0}, {"organic": 30.0}, {"seed": -1}):
        with pytest.raises(ConfigurationError, match=next(iter(knobs))):
            respond(simulated, shown, tmp_path / "x", **knobs)
    with pytest.raises(InputError, match="lack a column"):
        respond(simulated, shown.drop_columns("offer_id"), tmp_path / "x")
    strange = pa.table({"subscriber_id": shown["subscriber_id"][:2], "offer_id": ["F1", None]})
    with pytest.raises(InputError, match=r"offers that the market does not have\n.*2 of 2"):
        respond(simulated, strange, tmp_path / "x")
    with pytest.raises(ConfigurationError, match=r"another market\n.*seed of 5"):
        simulate_responses(
            OfferMarket(subscribers=8_000, seed=6), simulated, shown, tmp_path / "x", starts_at=AFTER, seed=1
        )
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        respond(simulated, shown, tmp_path / "file")
