"""Offers over HTTP through a real server and client, against what the nightly job published."""

from __future__ import annotations

import base64
import json
import shutil
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from test_api import JSON, KEY, Service, running

from subsight import Insight
from subsight.lifecycle import predictions, training, watching
from subsight.lifecycle.audit import verify
from subsight.results import Results, pseudonym_of
from subsight.settings import load
from subsight.simulate import OfferMarket, Operator, simulate, simulate_offers
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.api.limits import Limits
from subsight.workspace import Workspace

ASK = "/offers/recommend"
HEADERS = ("DpiPolicy", "contentType", "IpProtocol", "appName", "bytesFromClient", "bytesFromServer",
           "sessions_count", "transationDuration")  # fmt: skip
USAGE = {"applications": ["YouTube"], "contents": ["Video"], "dl_bytes": 9e8, "ul_bytes": 1e7}
AS_OF = "2026-06-01"
SHARED = ("as_of", "model", "version")
GATED = ("poor experience", "held out")


@dataclass(frozen=True)
class Market:
    """A workspace whose run recommends, its usage by clear number as it was ingested, and its run."""

    workspace: Workspace
    usage: dict[str, dict[str, Any]]

    @property
    def run(self) -> Results:
        return Results(self.workspace.run())

    def table(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.run.path(name)).to_pylist()
        return found

    def outcome(self, outcome: str) -> list[str]:
        rows = self.table("offer_outcomes")
        return [row["subscriber_id"] for row in rows if row["outcome"] == outcome]


def made(folder: Path, identifiers: str = "pseudonymous", *, sessions: bool = True) -> Market:
    market = simulate_offers(OfferMarket(subscribers=600, offers=12), folder / "market")
    how: dict[str, Any] = {"identifiers": identifiers, "offer_least_experience": 40.0, "as_of": AS_OF}
    insight = Insight.open(folder / "operator", **how)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in how.items()]
    insight.workspace.settings_file.write_text("".join(lines))
    if sessions:
        recorded = simulate(Operator(subscribers=600, sessions=3000), folder / "sessions").sessions
        insight.run(recorded, studies=["satisfaction"])
    for kind, file in (("usage", market.usage), ("offers", market.offers), ("purchases", market.purchases)):
        insight.ingest(file, kind=kind)
    insight.train_offers()
    insight.recommend_all()
    rows = pq.read_table(market.usage).to_pylist()
    (who,) = set(rows[0]) - set(HEADERS)
    usage = {str(row[who]): {name: row[name] for name in HEADERS} for row in rows}
    return Market(insight.workspace, usage)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        yield made(tmp_path_factory.mktemp("offered"))


@pytest.fixture(scope="module")
def service(market: Market) -> Iterator[Service]:
    """One service, for questions that change nothing."""
    with running(market.workspace) as service:
        yield service


@pytest.fixture
def own(market: Market, tmp_path: Path) -> Workspace:
    """A copy of the workspace, to change."""
    shutil.copytree(market.workspace.path, tmp_path / "operator", symlinks=True)
    shutil.rmtree(tmp_path / "operator" / "audit", ignore_errors=True)
    return Workspace.open(tmp_path / "operator")


def columns(record: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = json.loads(zlib.decompress(base64.b64decode(record["columns"])))
    return found


def post(service: Service, body: Any) -> tuple[int, Any]:
    return service.ask("POST", ASK, body)[:2]


# What the nightly job published


def test_everybody_gets_what_the_nightly_job_published(service: Service, market: Market) -> None:
    published: dict[str, list[dict[str, Any]]] = {}
    for row in market.table("recommendations"):
        published.setdefault(row.pop("subscriber_id"), []).append(row)
    outcomes = {row["subscriber_id"]: row["outcome"] for row in market.table("offer_outcomes")}
    assert len(outcomes) == 600
    assert {"recommended", *GATED} <= set(outcomes.values())
    names = sorted(outcomes)
    for name in names:
        status, answer, _ = service.ask("GET", f"/subscribers/{name}/offers")
        expected = sorted(published.get(name, []), key=lambda row: row["rank"])
        assert (status, answer["offers"], answer["outcome"]) == (200, expected, outcomes[name])
        assert (answer["subscriber_id"], answer["model"], answer["as_of"]) == (name, "offers", AS_OF)
        assert answer["version"] == market.workspace.run().name
    # Together, and one of them twice, they get the same.
    status, answer = post(service, {"rows": [{"subscriber_id": name} for name in [*names, names[0]]]})
    assert (status, len(answer["rows"])) == (200, 601)
    assert answer["rows"][-1] == answer["rows"][0]
    for name, row in zip(names, answer["rows"], strict=False):
        assert (row["subscriber_id"], row["outcome"]) == (name, outcomes[name])
        assert row["offers"] == sorted(published.get(name, []), key=lambda one: one["rank"])
        assert not set(row) & set(SHARED)


def test_the_same_usage_as_was_ingested_gets_the_same(service: Service, market: Market) -> None:
    clear = list(market.usage)[:200]
    by_usage = post(service, {"rows": [{"subscriber_id": c, "usage": market.usage[c]} for c in clear]})[1]
    by_name = post(service, {"rows": [{"subscriber_id": c} for c in clear]})[1]
    assert by_usage["rows"] == by_name["rows"]
    canonical = ("policies", "contents", "protocols", "applications", "ul_bytes", "dl_bytes", "session_count",
                 "duration_s")  # fmt: skip
    one = dict(zip(canonical, (market.usage[clear[0]][name] for name in HEADERS), strict=True))
    answer = post(service, {"subscriber_id": clear[0], "usage": one})[1]
    assert {name: answer[name] for name in by_name["rows"][0]} == by_name["rows"][0]


def test_other_usage_beside_a_name_counts_and_what_they_have_stays(service: Service, market: Market) -> None:
    held: dict[str, set[str]] = {}
    for row in market.table("offer_holdings"):
        held.setdefault(row["subscriber_id"], set()).add(row["offer_id"])
    names = [name for name in sorted(held) if name in set(market.outcome("recommended"))][:50]
    assert len(names) > 10
    answer = post(service, {"rows": [{"subscriber_id": name, "usage": USAGE} for name in names]})[1]
    assert len({row["node"] for row in answer["rows"]}) == 1  # the usage, not their own
    for name, row in zip(names, answer["rows"], strict=True):
        assert not held[name] & {one["offer_id"] for one in row["offers"]}


@pytest.mark.parametrize("outcome", GATED)
def test_who_is_offered_nothing_is_told_why(service: Service, market: Market, outcome: str) -> None:
    name = market.outcome(outcome)[0]
    for body in ({"subscriber_id": name}, {"subscriber_id": name, "usage": USAGE}):
        status, answer = post(service, body)
        assert (status, answer["offers"], answer["outcome"]) == (200, [], outcome)
        record = next(one for one in service.records("prediction") if one["id"] == answer["id"])
        assert record["output"] == {"outcome": outcome, "offers": []}


def test_nothing_is_left_to_chance_for_nobody(service: Service) -> None:
    unknown = "+999 123 456 789 0"
    rows = [{"usage": USAGE}] * 100 + [{"usage": USAGE, "subscriber_id": unknown}] * 2
    answer = post(service, {"rows": [*rows, {"usage": USAGE, "subscriber_id": None}]})[1]
    assert {row["outcome"] for row in answer["rows"]} == {"recommended"}
    assert {one["probability"] for row in answer["rows"] for one in row["offers"]} == {1.0}
    assert len({json.dumps(row["offers"]) for row in answer["rows"]}) == 1
    names = [row["subscriber_id"] for row in answer["rows"]]
    pseudonym = pseudonym_of(unknown, KEY.encode())
    assert names == [None] * 100 + [pseudonym] * 2 + [None]


def test_usage_that_tells_nothing_gets_defaults(service: Service) -> None:
    told: list[dict[str, Any]] = [
        {"dl_bytes": None}, {"appName": []}, {"applications": ["Unheard of"], "dl_bytes": 0},
    ]  # fmt: skip
    for usage in told:
        answer = post(service, {"usage": usage})[1]
        assert (answer["outcome"], answer["node"]) == ("default: too little usage", None)
        assert all(one["is_fallback"] and one["score"] is None for one in answer["offers"])


# The record of it


def test_each_answer_is_recorded_with_its_chance(service: Service, market: Market) -> None:
    clear = next(iter(market.usage))
    name = pseudonym_of(clear, KEY.encode())
    asked: list[tuple[str, Any, Any]] = [
        ("GET", f"/subscribers/{clear}/offers", None),
        ("POST", ASK, {"subscriber_id": clear}),
        ("POST", ASK, {"subscriber_id": clear, "usage": {"appName": ["YouTube"], "bytesFromServer": 9}}),
        ("POST", ASK, {"usage": {"dl_bytes": 9}}),
    ]
    expected: list[tuple[str | None, Any]] = [
        (name, {}), (name, {}), (name, {"applications": ["YouTube"], "dl_bytes": 9.0}),
        (None, {"dl_bytes": 9.0}),
    ]  # fmt: skip
    for (method, path, body), (who, inputs) in zip(asked, expected, strict=True):
        status, answer, _ = service.ask(method, path, body)
        record = next(one for one in service.records("prediction") if one["id"] == answer["id"])
        assert (status, record["subscriber_id"], record["inputs"]) == (200, who, inputs)
        given = [[one["offer_id"], one["probability"]] for one in answer["offers"]]
        assert record["output"] == {"outcome": answer["outcome"], "offers": given}
        said = record["model"], record["version"], record["as_of"]
        assert said == ("offers", market.workspace.run().name, AS_OF)
        assert clear not in json.dumps(record) + json.dumps(answer)


def test_a_batch_is_one_record(service: Service, market: Market) -> None:
    clear = next(iter(market.usage))
    rows = [{"subscriber_id": clear}, {"usage": {"appName": ["YouTube"]}}, {"usage": {"dl_bytes": 9}}]
    answer = post(service, {"rows": rows})[1]
    record = next(one for one in service.records("batch") if one["id"] == answer["id"])
    found = columns(record)
    assert found == {
        "subscriber_id": [pseudonym_of(clear, KEY.encode()), None, None],
        "has_usage": [False, True, True],
        "applications": [None, ["YouTube"], None],
        "dl_bytes": [None, None, 9.0],
        "outcome": [row["outcome"] for row in answer["rows"]],
        "offers": [[[o["offer_id"], o["probability"]] for o in row["offers"]] for row in answer["rows"]],
    }
    assert (record["rows"], record["as_of"], answer["as_of"]) == (3, AS_OF, AS_OF)
    assert clear not in json.dumps(found) + json.dumps(answer)


def test_the_log_is_whole_and_drift_is_watched_beside_it(own: Workspace) -> None:
    settings = load(own.settings_file)
    training.train(own, settings)
    with running(own) as service:
        for body in ({"usage": USAGE}, {"rows": [{"usage": USAGE}] * 200}):
            assert post(service, body)[0] == 200
        scores = {"engagement_score": 0.8, "experience_score": 0.7}
        assert service.predict(scores)[0] == 200
    found = verify(own.path / "audit")
    # The two answers, the prediction, and the log's own first and last.
    assert (found.status, found.records) == ("whole", 5)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    kept = list(predictions.records(own.path / "audit", "offers", since))
    assert [one.kind for one in kept] == ["prediction", "batch"]
    assert len(predictions.columns_of(kept[1])["offers"]) == 200
    looked = watching.look(own, settings)
    counts = {name: model["asked_count"] for name, model in looked["models"].items()}
    assert (counts.pop("identity"), set(counts.values())) == (1, {0})


def test_a_workspace_of_clear_names_records_pseudonyms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    market = made(tmp_path, "clear", sessions=False)
    clear = next(iter(market.usage))
    with running(market.workspace) as service:
        spaced = f"+{clear[:3]} {clear[3:]}"
        for body in ({"subscriber_id": spaced}, {"rows": [{"subscriber_id": clear, "usage": USAGE}]}):
            status, answer = post(service, body)
            assert (status, (answer.get("rows") or [answer])[0]["subscriber_id"]) == (200, clear)
        (one,), (many,) = service.records("prediction"), service.records("batch")
        name = pseudonym_of(clear, KEY.encode())
        assert (one["subscriber_id"], columns(many)["subscriber_id"]) == (name, [name])


# Refusals


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"usage": {"dl_bytes": -1}}, "dl_bytes"),
        ({"usage": {"bytesFromClient": -1}}, "bytesFromClient"),
        ({"usage": {"dl_bytes": "9"}}, "dl_bytes"),
        ({"usage": {"dl_bytes": True}}, "dl_bytes"),
        ({"usage": {"dl_bytes": [1]}}, "dl_bytes"),
        ({"usage": {"dl_bytes": 10**400}}, "dl_bytes"),
        ({"usage": {"dl_bytes": float("nan")}}, "dl_bytes"),
        ({"usage": {"duration_s": float("inf")}}, "duration_s"),
        ({"usage": {"dl_megabytes": 1}}, "dl_megabytes"),
        ({"usage": {"subscriber_hash": 1}}, "subscriber_hash"),
        ({"usage": {"subscriber_id": "33664962239"}}, "subscriber_id"),
        ({"usage": {"dl_bytes": 1, "bytesFromServer": 1}}, "bytesFromServer"),
        ({"usage": {"appName": ["YouTube", None]}}, "appName"),
        ({"usage": {"appName": "YouTube"}}, "appName"),
        ({"usage": {"appName": [["YouTube"]]}}, "appName"),
        ({"usage": {"appName": [True]}}, "appName"),
        ({"usage": {"IpProtocol": [6.5]}}, "IpProtocol"),
        ({"usage": {"IpProtocol": [float("inf")]}}, "IpProtocol"),
        ({"usage": {"appName": ["x" * 201]}}, "appName"),
        ({"usage": {"appName": ["x"] * 1001}}, "appName"),
        ({"usage": {}}, "usage"),
        ({"usage": None}, "usage"),
        ({"usage": [USAGE]}, "usage"),
        ({"usage": USAGE, "subscriber_id": 33664962239}, "subscriber_id"),
        ({"usage": USAGE, "subscriber_id": "\u2003"}, "subscriber_id"),
        ({"usage": USAGE, "subscriber_id": "1.31E+19"}, "subscriber_id"),
        ({"usage": USAGE, "who": "me"}, "who"),
        ({"subscriber_id": None}, "subscriber_id"),
        ({}, "subscriber_id"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_row(service: Service, row: Any, field: str) -> None:
    before = len(service.records("prediction")) + len(service.records("batch"))
    status, answer = post(service, row)
    assert (status, answer["error"]["field"], answer["error"]["row"]) == (422, field, None)
    status, answer = post(service, {"rows": [{"usage": USAGE}, row]})
    assert (status, answer["error"]["field"], answer["error"]["row"]) == (422, field, 2)
    assert "33664962239" not in json.dumps(answer)
    assert len(service.records("prediction")) + len(service.records("batch")) == before


@pytest.mark.parametrize(
    ("body", "status", "field", "row"),
    [
        ({"rows": []}, 422, "rows", None),
        ({"rows": {"usage": USAGE}}, 422, "rows", None),
        ({"rows": [USAGE]}, 422, "applications", 1),
        ({"rows": [{"usage": USAGE}, 7]}, 422, None, 2),
        ({"rows": [{"rows": []}]}, 422, "rows", 1),
        ({"rows": [{"usage": USAGE}], "usage": USAGE}, 422, "usage", None),
        (USAGE, 422, "applications", None),
        ([{"usage": USAGE}], 422, None, None),
        (b"{", 400, None, None),
        (b'{"usage": {"appName": ["\\ud800"]}}', 400, None, None),
    ],
)
def test_what_is_no_question_is_refused(
    service: Service, body: Any, status: int, field: str | None, row: int | None
) -> None:
    found, answer = post(service, body)
    assert (found, answer["error"]["field"], answer["error"]["row"]) == (status, field, row)


def test_other_bodies_and_methods_are_refused(service: Service) -> None:
    assert service.ask("POST", ASK, b"a,b\n", {"Content-Type": "text/csv"})[0] == 415
    assert service.ask("GET", ASK)[0] == 405


def test_too_many_rows(own: Workspace) -> None:
    with running(own, limits=Limits(batch_rows=2)) as service:
        assert post(service, {"rows": [{"usage": USAGE}] * 2})[0] == 200
        status, answer = post(service, {"rows": [{"usage": USAGE}] * 3})
        assert (status, answer["error"]["field"]) == (413, "rows")


def test_who_is_not_of_the_run_is_named_by_row(service: Service, market: Market) -> None:
    known, stranger = next(iter(market.usage)), "33612345678"
    before = len(service.records("prediction")) + len(service.records("batch"))
    status, answer, _ = service.ask("GET", f"/subscribers/{stranger}/offers")
    assert (status, "no such subscriber" in answer["error"]["what"]) == (404, True)
    status, answer = post(service, {"subscriber_id": stranger})
    assert (status, answer["error"]["field"], answer["error"]["row"]) == (404, "subscriber_id", None)
    rows = [{"usage": USAGE}, {"subscriber_id": known}, *[{"subscriber_id": stranger}] * 2]
    status, answer = post(service, {"rows": rows})
    error = answer["error"]
    assert (status, error["field"], error["row"], error["found"]) == (404, "subscriber_id", 3, "rows 3, 4")
    assert stranger not in json.dumps(answer)
    assert len(service.records("prediction")) + len(service.records("batch")) == before


def test_keys_open_offers_by_role(own: Workspace, market: Market) -> None:
    name = next(iter(market.usage))
    keys = {role: ApiKeys(own).create(role) for role in ("predict", "read", "feedback")}
    with running(own) as service:
        for role, ask, get in (
            ("predict", 200, 403), ("read", 403, 200), ("feedback", 403, 403), ("none", 401, 401),
        ):  # fmt: skip
            headers = {**JSON, "X-API-Key": keys.get(role, "")}
            assert service.ask("POST", ASK, {"usage": USAGE}, headers)[0] == ask
            assert service.ask("GET", f"/subscribers/{name}/offers", None, headers)[0] == get


# Runs that come and go


def test_without_a_map_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    with running(Workspace.create(tmp_path / "empty")) as service:
        for answer in (service.ask("GET", "/subscribers/33612345678/offers"), service.ask("POST", ASK, {})):
            assert (answer[0], answer[1]["error"]["what"]) == (503, "there is no map of offers yet")
        assert service.ask("GET", "/ready")[0] == 503


def test_a_new_run_is_taken_up(own: Workspace, market: Market) -> None:
    name, first = market.outcome("recommended")[0], own.run().name
    with running(own) as service:
        path = f"/subscribers/{name}/offers"
        assert service.ask("GET", path)[1]["version"] == first
        status, ready, _ = service.ask("GET", "/ready")
        assert (status, ready["models"]) == (200, {"offers": first})
        insight = Insight.open(own.path, create=False, offer_count=1)
        again = insight.recommend_all().folder.name
        time.sleep(0.15)
        answer = service.ask("GET", path)[1]
        assert (answer["version"], len(answer["offers"])) == (again, 1)
        assert service.ask("GET", "/model")[1]["models"]["offers"]["k"] == 1
        # This run carries the map over: its file is the same one.
        carried = insight.run(studies=["satisfaction"]).folder.name
        time.sleep(0.15)
        assert service.ask("GET", path)[1]["version"] == carried
        metrics = service.ask("GET", "/metrics")[1]
        for version, count in ((first, 1), (again, 1), (carried, 1)):
            assert f'subsight_predictions_total{{model="offers",version="{version}"}} {count}\n' in metrics


def broken(workspace: Workspace, how: str) -> None:
    """Publishes a copy of the run whose map of offers is broken."""
    copy = workspace.run().parent / "29990101T000000000000Z-1"
    shutil.copytree(workspace.run(), copy)
    file = copy / "models" / "offers.json"
    record = json.loads(file.read_text())
    if how == "no JSON":
        file.write_text("{")
    elif how == "other parameters":
        record["parameters"]["mean"][0] += 1
    elif how == "no scores":
        del record["nodes"]["scores"]
    elif how == "fewer scores":
        record["nodes"]["scores"].pop()
    elif how == "a list":
        record = []
    elif how == "no profiles":
        (copy / "tables" / "offer_profiles.parquet").unlink()
    if how != "no JSON":
        file.write_text(json.dumps(record))
    link = workspace.path / "current"
    target = link.readlink().parent / copy.name
    link.unlink()
    link.symlink_to(target)


@pytest.mark.parametrize(
    "how", ["no JSON", "other parameters", "no scores", "fewer scores", "a list", "no profiles"]
)
def test_a_broken_map_is_not_taken_up(own: Workspace, market: Market, how: str) -> None:
    first, path = own.run().name, f"/subscribers/{market.outcome('recommended')[0]}/offers"
    with running(own) as service:
        broken(own, how)
        time.sleep(0.15)
        assert service.ask("GET", path)[1]["version"] == first
        assert "the offers cannot be loaded" in service.ask("GET", "/ready")[1]["troubles"][0]
    with running(own) as service:
        status, answer, _ = service.ask("GET", path)
        assert (status, answer["error"]["what"]) == (503, "there is no map of offers yet")
        assert "the offers cannot be loaded" in answer["error"]["found"]
        assert service.ask("GET", "/ready")[0] == 503


# What the service says of itself


def test_the_map_is_described(service: Service, market: Market) -> None:
    card = service.ask("GET", "/model")[1]["models"]["offers"]
    record = json.loads((market.run.folder / "models" / "offers.json").read_text())
    assert (card["version"], card["digest"], card["card"]) == (
        market.run.folder.name, record["digest"], record["card"],
    )  # fmt: skip
    for name in ("quantisation_error", "topographic_error"):
        assert card[name] == record["fit"][name]
    assert (card["k"], card["exploration_share"], card["as_of"]) == (3, 0.05, AS_OF)
    assert set(card["fields"]) >= set(USAGE)


def test_the_documents_show_what_is_asked(service: Service) -> None:
    document = service.ask("GET", "/openapi.json")[1]
    operation = document["paths"][ASK]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert post(service, example)[0] == 200
    canonical, headers = document["components"]["schemas"]["Usage"]["anyOf"]
    assert set(headers["properties"]) == set(HEADERS)
    assert set(canonical["properties"]) >= set(USAGE)
    assert canonical["properties"]["dl_bytes"]["minimum"] == 0
    assert canonical["properties"]["applications"]["type"] == ["array", "null"]
    page = service.ask("GET", "/docs")[1]
    assert f"'localhost:5000{ASK}'" in page
    assert "GET /subscribers/{id}/offers" in page
