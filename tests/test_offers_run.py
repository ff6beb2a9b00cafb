"""Offers as a run publishes them: planted preferences found, one as all, and every bad input told."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from offers_quickly import DAY, ingested, recommend_all, train_offers

from subsight import Insight
from subsight.errors import ConfigurationError, InputError, NotFoundError, WorkspaceError
from subsight.simulate import OfferMarket, SimulatedOffers, simulate_offers, simulate_responses

MARKET = OfferMarket(subscribers=6_000, seed=3, missing=0.02)
CERTAIN: dict[str, Any] = {"offer_exploration_share": 0.0, "offer_holdout_share": 0.0}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SimulatedOffers:
    return simulate_offers(MARKET, tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def trained(market: SimulatedOffers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "ws"
    train_offers(ingested(path, market, identifiers="clear"))
    return path


def copied(base: Path, tmp_path: Path, **settings: Any) -> Insight:
    shutil.copytree(base, tmp_path / "ws", symlinks=True)
    return Insight.open(tmp_path / "ws", create=False, as_of=DAY, identifiers="clear", **settings)


def lists(insight: Insight) -> dict[str, list[dict[str, Any]]]:
    """What the table `recommendations` says of each subscriber, in the order of ranks."""
    found = defaultdict(list)
    for row in insight.table("recommendations").to_pylist():
        found[row.pop("subscriber_id")].append(row)
    return dict(found)


def truths(market: SimulatedOffers) -> tuple[dict[str, Any], dict[str, str]]:
    told = json.loads(market.truths.read_text())
    types = {row["subscriber_id"]: row["type"] for row in pq.read_table(market.types).to_pylist()}
    return told, types


def test_who_prefers_an_offer_is_recommended_it(
    trained: Path, market: SimulatedOffers, tmp_path: Path
) -> None:
    insight = copied(trained, tmp_path, **CERTAIN)
    recommend_all(insight)
    told, types = truths(market)
    gone = {*told["expired"], *told["upcoming"]}
    margins = {
        row["offer_id"]: float(row["margin"])
        for row in csv.DictReader(market.offers.read_text().splitlines())
    }
    gone |= {offer for offer, margin in margins.items() if margin < 0}
    shown: dict[bool, list[bool]] = {True: [], False: []}
    for name, offers in lists(insight).items():
        assert not gone & {one["offer_id"] for one in offers}
        for kind, preferred in told["preferred"].items():
            for offer in set(preferred) - gone - set(told["eligibility"]):
                shown[kind == types[name]].append(offer in {one["offer_id"] for one in offers})
    # Of the 9 offers that may be given 3 are: a third each by chance.
    assert sum(shown[True]) / len(shown[True]) > 0.8
    assert sum(shown[False]) / len(shown[False]) < 0.25


@pytest.mark.parametrize(("effect", "is_better"), [(1.0, True), (0.0, False)])
def test_the_map_beats_popularity_only_where_types_answer_differently(
    effect: float, is_better: bool, tmp_path: Path
) -> None:
    market = simulate_offers(
        OfferMarket(subscribers=8_000, response_effect=effect, seed=5), tmp_path / "made"
    )
    results = train_offers(ingested(tmp_path / "ws", market, identifiers="clear"))
    sentence = results.answer("offers.evaluation").reading[0]
    assert ("more often than the most popular" in sentence) is is_better


def test_one_gets_what_all_got(trained: Path, tmp_path: Path) -> None:
    insight = copied(trained, tmp_path)
    recommend_all(insight)
    every = lists(insight)
    outcomes = {row["subscriber_id"]: row["outcome"] for row in insight.table("offer_outcomes").to_pylist()}
    assert len(outcomes) == MARKET.subscribers
    for name in [*list(every)[:40], *[one for one, out in outcomes.items() if out == "held out"][:5]]:
        alone = insight.recommend(name)
        assert alone["offers"] == every.get(name, [])
        assert alone["outcome"] == outcomes[name]
        # Of each offer that is not given it is told what took it, but of those that others were better than.
        taken = [offer for offers in alone["filtered"].values() for offer in offers]
        assert not {one["offer_id"] for one in alone["offers"] if not one["is_fallback"]} & set(taken)
        assert len(alone["filtered"]["validity"]) == 3
        assert ("hold-out" in alone["filtered"]) is (outcomes[name] == "held out")
    shares = [out == "held out" for out in outcomes.values()]
    assert sum(shares) / len(shares) == pytest.approx(0.05, abs=0.012)
    with pytest.raises(NotFoundError):
        insight.recommend("999888777666")


def test_nodes_are_given_other_offers_without_training(
    trained: Path, market: SimulatedOffers, tmp_path: Path
) -> None:
    insight = copied(trained, tmp_path, **CERTAIN)
    before = insight.results.models()["offers"]
    rows = list(csv.DictReader(market.offers.read_text().splitlines()))
    catalogue = tmp_path / "new.csv"
    with catalogue.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([*rows[1:], {**dict.fromkeys(rows[0], ""), "offer_id": "NEW", "data_bytes": 10**9}])
    insight.ingest(catalogue, kind="offers")
    recommend_all(insight)
    after = insight.results.models()["offers"]
    assert after["digest"] == before["digest"]
    assert after["parameters"] == before["parameters"]
    offered = {one["offer_id"] for offers in lists(insight).values() for one in offers}
    assert rows[0]["offer_id"] not in offered - set(insight.settings.offer_defaults)
    told = {row["offer_id"]: row for row in insight.answer("offers.catalogue").rows}
    assert told["NEW"]["evidence"] == "rule, no evidence"
    # The first catalogue is the newest once it is read again.
    insight.ingest(market.offers, kind="offers")
    recommend_all(insight)
    assert "NEW" not in {row["offer_id"] for row in insight.answer("offers.catalogue").rows}


def test_a_file_says_what_nodes_are_offered(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "nodes.csv"
    file.write_text("node,offer_id\n0,F1200G50M\n0,F3000G100M\n1,F3000G200M\n")
    insight = copied(trained, tmp_path, offer_nodes_file=str(file), **CERTAIN)
    recommend_all(insight)
    profiles = {row["subscriber_id"]: row["node"] for row in insight.table("offer_profiles").to_pylist()}
    every = lists(insight)
    for name, node in profiles.items():
        of_map = [one["offer_id"] for one in every[name] if not one["is_fallback"]]
        allowed = {0: ["F1200G50M", "F3000G100M"], 1: ["F3000G200M"]}.get(node, [])
        assert of_map == [offer for offer in allowed if offer in of_map]
    assert any(profiles[name] == 0 and not rows[0]["is_fallback"] for name, rows in every.items())
    # Without the file purchases count again, and it is said.
    again = recommend_all(Insight.open(tmp_path / "ws", as_of=DAY, identifiers="clear", **CERTAIN))
    assert any("set offer_nodes_file" in finding["text"] for finding in again.quality["findings"])
    file.write_text("node,offer_id\n0,NOBODYS\n")
    with pytest.raises(ConfigurationError, match="does not fit"):
        recommend_all(insight)
    file.write_text("knot,offer\n0,F1200G50M\n")
    with pytest.raises(ConfigurationError, match="does not say"):
        recommend_all(insight)


def test_poor_experience_is_sold_nothing_and_none_measured_passes(trained: Path, tmp_path: Path) -> None:
    insight = copied(trained, tmp_path, **CERTAIN)
    names = sorted(insight.table("offer_profiles")["subscriber_id"].to_pylist())[:3]
    _with_experience(insight, dict(zip(names, [24.9, 25.0, None], strict=True)))
    recommend_all(insight)
    every = lists(insight)
    outcomes = {row["subscriber_id"]: row["outcome"] for row in insight.table("offer_outcomes").to_pylist()}
    assert outcomes[names[0]] == "poor experience"
    assert names[0] not in every
    assert outcomes[names[1]] == outcomes[names[2]] == "recommended"
    (row,) = [row for row in insight.answer("recommendations.funnel").rows if row["step"] == "experience"]
    assert row["rule"] == "experience index below 25; who was not measured passes"  # all but two
    kinder = Insight.open(
        insight.workspace.path, as_of=DAY, identifiers="clear", offer_least_experience=10, **CERTAIN
    )
    recommend_all(kinder)
    assert names[0] in lists(kinder)


def _with_experience(insight: Insight, indices: dict[str, float | None]) -> None:
    """Gives the current run a table of satisfaction: that of sessions, without any."""
    run = insight.results.folder
    table = pa.table({
        "subscriber_id": list(indices), "experience_index": pa.array(indices.values(), pa.float64()),
    })  # fmt: skip
    pq.write_table(table, run / "tables" / "satisfaction.parquet")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["tables"]["satisfaction"] = {"rows": len(indices), "file": "tables/satisfaction.parquet"}
    (run / "manifest.json").write_text(json.dumps(manifest))


def test_who_was_contacted_often_enough_is_left_alone(trained: Path, tmp_path: Path) -> None:
    copied(trained, tmp_path)
    for day, count in (
        ("2026-06-01", MARKET.subscribers),
        ("2026-06-02", MARKET.subscribers),
        ("2026-06-03", 0),
    ):
        insight = Insight.open(
            tmp_path / "ws", as_of=day, identifiers="clear", offer_contact_cap=2, **CERTAIN
        )
        assert len(lists_of(insight)) == count
    rows = {
        row["outcome"]: row["subscriber_count"] for row in insight.answer("recommendations.outcomes").rows
    }
    assert rows == {"contact cap": MARKET.subscribers}


def lists_of(insight: Insight) -> dict[str, list[dict[str, Any]]]:
    recommend_all(insight)
    return lists(insight)


def test_what_a_subscriber_has_is_not_offered_again(
    trained: Path, market: SimulatedOffers, tmp_path: Path
) -> None:
    insight = copied(trained, tmp_path, offer_holding_days=45, **CERTAIN)
    since = datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=45)
    purchases = pq.read_table(market.purchases).to_pylist()
    held = {(r["subscriber_id"], r["offer_id"]) for r in purchases if r["purchased_at"] >= since}
    old = {(r["subscriber_id"], r["offer_id"]) for r in purchases if r["purchased_at"] < since}
    given = {(name, one["offer_id"]) for name, rows in lists_of(insight).items() for one in rows}
    assert held
    assert not given & held
    assert given & old


def test_responses_tell_what_policies_earn_and_what_offers_change(
    trained: Path, market: SimulatedOffers, tmp_path: Path
) -> None:
    insight = copied(trained, tmp_path, offer_holdout_share=0.3, offer_exploration_share=0.3)
    results = recommend_all(insight)
    assert not results.answer("recommendations.value").rows
    at = datetime(2026, 6, 1, tzinfo=UTC)
    given = results.table("recommendations")
    made = simulate_responses(MARKET, market, given, tmp_path / "came", starts_at=at, organic=0.1, seed=2)
    insight.ingest(made.purchases, kind="purchases")
    later = Insight.open(insight.workspace.path, as_of="2026-06-20", identifiers="clear")
    recommend_all(later)
    rows = {row["policy"]: row for row in later.answer("recommendations.value").rows}
    told, types = truths(market)
    planted = told["probability"]
    best = [
        planted[types[row["subscriber_id"]]][row["offer_id"]]
        for row in given.to_pylist()
        if row["probability"] >= 0.5 and not row["is_fallback"]
    ]
    assert rows["best offers only"]["low"] <= sum(best) / len(best) <= rows["best offers only"]["high"]
    assert rows["best offers only"]["value"] > rows["random"]["value"]
    assert later.answer("recommendations.uplift").facts


def test_several_rows_of_a_subscriber_are_one(market: SimulatedOffers, tmp_path: Path) -> None:
    usage = pq.read_table(market.usage)
    halves = []
    for part in (0, 1):  # each volume in two parts, each list in both files
        numbers = {}
        for name in ("bytesFromClient", "bytesFromServer", "sessions_count"):
            values = usage[name].to_pylist()
            numbers[name] = [None if v is None else v // 2 if part else v - v // 2 for v in values]
        halves.append(tmp_path / f"{part}.parquet")
        table = usage
        for name, column in numbers.items():
            table = table.set_column(table.column_names.index(name), name, pa.array(column, pa.int64()))
        seconds = [None if v is None else v / 2 for v in usage["transationDuration"].to_pylist()]
        place = table.column_names.index("transationDuration")
        pq.write_table(table.set_column(place, "transationDuration", pa.array(seconds)), halves[-1])
    whole, split = (
        ingested(tmp_path / "whole", market, identifiers="clear"),
        Insight.open(tmp_path / "split", as_of=DAY, identifiers="clear"),
    )
    split.ingest(*halves, kind="usage")
    for kind in ("offers", "purchases"):
        split.ingest(getattr(market, kind), kind=kind)
    for insight in (whole, split):
        train_offers(insight)
    one, other = (
        i.table("offer_profiles").select(["subscriber_id", "node", "usage_bitmap"]) for i in (whole, split)
    )
    assert one.to_pylist() == other.to_pylist()
    texts = [finding["text"] for finding in split.results.quality["findings"]]
    assert any("volumes were summed, lists united" in text for text in texts)


def test_whom_only_purchases_tell_of_gets_defaults(trained: Path, tmp_path: Path) -> None:
    insight = copied(trained, tmp_path, offer_holding_days=0, **CERTAIN)
    more = tmp_path / "more.csv"
    more.write_text("subscriber_id,offer_id,purchased_at\n999777666555,F1200G50M,2026-05-30 10:00:00\n"
                    "999777666555,UNKNOWN,2026-05-30 10:00:00\n")  # fmt: skip
    insight.ingest(more, kind="purchases")
    (offers,) = [rows for name, rows in lists_of(insight).items() if name == "999777666555"]
    assert [one["offer_id"] for one in offers] == ["F3000G100M", "F1200G50M", "F3000G200M"]
    assert all(one["is_fallback"] and one["probability"] == 1 and one["score"] is None for one in offers)
    assert offers[0]["reason"] == "default: too little is known of this subscriber's usage"
    texts = {f["text"]: f["count"] for f in insight.results.quality["findings"]}
    assert texts["purchases of offers that the catalogue does not hold: left aside"] == 1


def test_without_purchases_the_rule_says_that_it_has_no_evidence(
    market: SimulatedOffers, tmp_path: Path
) -> None:
    insight = Insight.open(tmp_path / "ws", as_of=DAY, **CERTAIN)
    insight.ingest(market.usage, kind="usage")
    insight.ingest(market.offers, kind="offers")
    train_offers(insight)
    assert "no purchases" in " ".join(insight.answer("offers.evaluation").reading)
    rows = [row for offers in lists_of(insight).values() for row in offers]
    assert all(row["reason"].startswith("rule, no evidence: its ") for row in rows if not row["is_fallback"])


def test_without_a_catalogue_everybody_gets_the_defaults(market: SimulatedOffers, tmp_path: Path) -> None:
    insight = Insight.open(tmp_path / "ws", as_of=DAY, **CERTAIN)
    insight.ingest(market.usage, kind="usage")
    train_offers(insight)
    every = lists_of(insight)
    assert len(every) == MARKET.subscribers
    assert {tuple(one["offer_id"] for one in rows) for rows in every.values()} == {
        ("F3000G100M", "F1200G50M", "F3000G200M")
    }


def test_where_all_offers_are_over_it_says_so(trained: Path, tmp_path: Path) -> None:
    copied(trained, tmp_path)
    late = Insight.open(tmp_path / "ws", as_of="2031-01-01")
    with pytest.raises(InputError, match="no offer may be given to anybody on 2031-01-01"):
        recommend_all(late)
    assert late.results.manifest["studies"].keys() == {"offers"}
    # Of defaults that no catalogue knows nothing is known to be over.
    other = Insight.open(tmp_path / "ws", as_of="2031-01-01", offer_defaults=["BASIC"], **CERTAIN)
    assert {one["offer_id"] for rows in lists_of(other).values() for one in rows} == {"BASIC"}


def test_nothing_to_go_by_is_refused(market: SimulatedOffers, tmp_path: Path) -> None:
    insight = Insight.open(tmp_path / "ws", as_of=DAY)
    with pytest.raises(InputError, match="no usage to offer by"):
        train_offers(insight)
    insight.ingest(market.usage, kind="usage")
    with pytest.raises(NotFoundError, match="no map of offers"):
        recommend_all(insight)
    with pytest.raises(NotFoundError, match="no map of offers"):
        insight.recommend("1")


def test_a_map_that_was_tampered_with_is_refused(trained: Path, tmp_path: Path) -> None:
    insight = copied(trained, tmp_path)
    path = insight.results.folder / "models" / "offers.json"
    record = json.loads(path.read_text())
    record["parameters"]["weights"][0][0] += 1
    path.unlink()
    path.write_text(json.dumps(record))
    with pytest.raises(WorkspaceError, match="not what was trained"):
        insight.recommend(insight.table("offer_profiles")["subscriber_id"][0].as_py())
    with pytest.raises(WorkspaceError, match="not what was trained"):
        recommend_all(insight)


def test_the_real_table_of_hosts_gets_offers(dpi_usage: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "cat.csv"
    catalogue.write_text("offer_id,data_bytes\nSMALL,200\nMIDDLE,2000\nLARGE,20000\n")
    insight = Insight.open(tmp_path / "ws", **CERTAIN)
    insight.ingest(dpi_usage, kind="usage")
    insight.ingest(catalogue, kind="offers")
    train_offers(insight)
    every = lists_of(insight)
    assert len(every) == 972
    firsts = {rows[0]["offer_id"] for rows in every.values()}
    # Volumes of hosts in short captures: from a hundred bytes to tens of thousands.
    assert firsts >= {"SMALL", "MIDDLE", "LARGE"}
