"""What becomes of offers as days go by: which contacts count, what is carried forward, and what is stale."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from offers_quickly import DAY, ingested, recommend_all, train_offers

from subsight import Insight
from subsight.simulate import OfferMarket, Operator, SimulatedOffers, simulate, simulate_offers
from subsight.workspace import Workspace

CERTAIN: dict[str, Any] = {"offer_exploration_share": 0.0, "offer_holdout_share": 0.0}
ALL = 600


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SimulatedOffers:
    return simulate_offers(OfferMarket(subscribers=ALL, seed=3), tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(Operator(subscribers=60, sessions=600), tmp_path_factory.mktemp("made")).sessions


@pytest.fixture(scope="module")
def trained(market: SimulatedOffers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "ws"
    train_offers(ingested(path, market))
    return path


def copied(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "ws", symlinks=True)
    return tmp_path / "ws"


def on(path: Path, day: str = DAY, **settings: Any) -> Insight:
    return Insight.open(path, create=False, **{"as_of": day, **CERTAIN, **settings})


def outcomes(insight: Insight) -> dict[str, int]:
    found = recommend_all(insight).table("offer_outcomes")["outcome"].to_pylist()
    return {outcome: found.count(outcome) for outcome in sorted(set(found))}


def is_interrupted(insight: Insight) -> None:
    with pytest.raises(KeyError):
        recommend_all(insight)


def _raise(*_: object) -> None:
    raise KeyError


def test_contacts_of_a_later_day_are_none_yet(trained: Path, tmp_path: Path) -> None:
    path = copied(trained, tmp_path)
    assert outcomes(on(path, "2026-06-10")) == {"recommended": ALL}
    assert outcomes(on(path, "2026-06-09", offer_contact_cap=1)) == {"recommended": ALL}
    # What is made again for a day takes the place of what was made before.
    assert outcomes(on(path, "2026-06-10", offer_contact_cap=2)) == {"recommended": ALL}
    # The 30 days before hold both ends.
    assert outcomes(on(path, "2026-07-10", offer_contact_cap=1)) == {"contact cap": ALL}
    assert outcomes(on(path, "2026-07-10", offer_contact_cap=2)) == {"recommended": ALL}
    assert outcomes(on(path, "2026-08-10", offer_contact_cap=1)) == {"recommended": ALL}


def test_a_run_that_was_never_pointed_to_counts_once(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(trained, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "_point_to", _raise)
        is_interrupted(on(path))
    assert outcomes(on(path)) == {"recommended": ALL}
    assert outcomes(on(path, "2026-06-02", offer_contact_cap=2)) == {"recommended": ALL}


def test_a_map_of_profiles_is_given_profiles(sessions: Path, market: SimulatedOffers, tmp_path: Path) -> None:
    insight = Insight.open(tmp_path / "ws", as_of=DAY, **CERTAIN)
    insight.run(sessions, studies=["overview"])
    insight.ingest(market.offers, kind="offers")
    before = {
        row["subscriber_id"]: row["node"] for row in train_offers(insight).table("offer_profiles").to_pylist()
    }
    insight.ingest(market.usage, kind="usage")
    results = recommend_all(insight)
    after = {row["subscriber_id"]: row["node"] for row in results.table("offer_profiles").to_pylist()}
    assert before == after
    assert not any(row["filled_count"] for row in results.answer("offers.encoding").rows)


def stale(insight: Insight) -> dict[str, bool]:
    studies = insight.results.manifest["studies"]
    return {name: studies[name]["stale"] for name in ("offers", "recommendations") if name in studies}


def test_offers_are_carried_forward_and_stale_where_anything_they_follow_from_changed(
    trained: Path, market: SimulatedOffers, sessions: Path, tmp_path: Path
) -> None:
    path = copied(trained, tmp_path)
    rows = list(csv.DictReader(market.offers.read_text().splitlines()))
    with (tmp_path / "less.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows[1:])
    insight = on(path)
    insight.ingest(tmp_path / "less.csv", kind="offers")  # a second catalogue
    insight.ingest(sessions)
    recommend_all(insight)
    tables = {name: insight.table(name) for name in ("recommendations", "offer_profiles")}
    insight.run(studies=["overview"])
    assert stale(insight) == {"offers": False, "recommendations": False}
    assert all(insight.table(name).equals(table) for name, table in tables.items())
    inputs = [(entry["table"], entry["content"]) for entry in insight.results.manifest["inputs"]]
    assert len(inputs) == len(set(inputs)) == 4
    # Recommendations that another map made.
    train_offers(insight)
    assert stale(insight) == {"offers": False, "recommendations": True}
    recommend_all(insight)
    assert stale(insight) == {"offers": False, "recommendations": False}
    # Of a kind that was not there before.
    (tmp_path / "who.csv").write_text("subscriber_id,plan\n999777666555,Basic\n")
    insight.ingest(tmp_path / "who.csv", kind="subscribers")
    insight.run(studies=["overview"])
    assert stale(insight) == {"offers": True, "recommendations": True}


def test_offers_below_the_margin_floor_are_judged_by_no_purchase(
    trained: Path, market: SimulatedOffers, tmp_path: Path
) -> None:
    path = copied(trained, tmp_path)
    margins = {row["offer_id"]: float(row["margin"] or 0) for row in on(path).answer("offers.catalogue").rows}
    floor = sorted(margins.values())[-3]
    found = train_offers(on(path, offer_margin_floor=floor)).answer("offers.evaluation")
    rows = {(row["policy"], row["metric"]): row["value"] for row in found.rows}
    # Of three offers at most that are left, three recommendations hold whatever anybody bought.
    assert all(rows[policy, "hit_rate"] == 1 for policy in ("map", "popularity", "random"))


def test_half_a_job_is_no_job_to_go_on_with(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(trained, tmp_path)
    folder = path / "jobs" / "recommendations"
    with monkeypatch.context() as patch:
        patch.setattr("subsight.pipeline.publish", _raise)
        is_interrupted(on(path))
    assert (folder / "parts" / "00000.json").exists()

    real = shutil.rmtree

    def interrupted(path: Path, **given: Any) -> None:
        if path != folder:
            return real(path, **given)
        (folder / "parts" / "00000.parquet").unlink()
        raise KeyError

    # Another job removes it, and is interrupted.
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        is_interrupted(on(path, offer_count=1))
    assert outcomes(on(path)) == {"recommended": ALL}


def test_parts_of_another_version_are_not_gone_on_with(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(trained, tmp_path)
    counts = path / "jobs" / "recommendations" / "parts" / "00000.json"
    with monkeypatch.context() as patch:
        patch.setattr("subsight.pipeline.publish", _raise)
        is_interrupted(on(path))
    made = counts.stat().st_mtime_ns
    again = made_by(None, path, monkeypatch, counts)
    other = made_by("another", path, monkeypatch, counts)
    assert again == made != other


def made_by(code: str | None, path: Path, monkeypatch: pytest.MonkeyPatch, counts: Path) -> int:
    with monkeypatch.context() as patch:
        patch.setattr("subsight.pipeline.publish", _raise)
        if code:
            patch.setattr("subsight.versions.code", lambda: code)
        is_interrupted(on(path))
    return counts.stat().st_mtime_ns


def test_many_offers_make_smaller_parts(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = copied(trained, tmp_path), []
    monkeypatch.setattr("subsight.pipeline.offers.job._PART_PAIRS", ALL * 12 // 5)  # of 12 offers
    results = on(path).recommend_all(on_part=lambda done, of: seen.append((done, of)))
    assert seen == [(done, 5) for done in range(1, 6)]
    names = results.table("offer_outcomes")["subscriber_id"].to_pylist()
    assert len(names) == len(set(names)) == ALL
