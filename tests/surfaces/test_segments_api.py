"""Segments over HTTP through a real server and client; expected segments are computed by hand."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from segmented import INPUTS, NAMES, ONE_HOT, PSEUDONYMS, PUBLISHED, RECORD, ROWS, SEGMENTS, published
from test_api import CLEAR, CSV, JSON, KEY, PSEUDONYM, Service, running

from subsight.surfaces.api.keys import ApiKeys
from subsight.workspace import Workspace

RAW, STANDARDISED = "/segments/predict?inputs=raw", "/segments/predict?inputs=standardised"
ROW = ROWS[1]
Z_ROWS = [dict(zip(INPUTS, row, strict=True)) for row in PUBLISHED]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """One service over a run with segments, for questions that change nothing; and the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        workspace = Workspace.create(tmp_path_factory.mktemp("lasting") / "operator")
        run = published(workspace)
        with running(workspace) as service:
            yield service, run


@pytest.fixture
def service(lasting: tuple[Service, Path]) -> Service:
    return lasting[0]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    return Workspace.create(tmp_path / "operator")


def test_one_subscriber_gets_a_number_and_a_name(lasting: tuple[Service, Path]) -> None:
    service, run = lasting
    status, answer, _ = service.ask("POST", RAW, {**ROW, "subscriber_id": CLEAR})
    expected = {"segment": 2, "name": "Silver", "model": "segments", "version": run.name}
    assert (status, {k: v for k, v in answer.items() if k != "id"}) == (200, expected)
    record = next(one for one in service.records("prediction") if one["id"] == answer["id"])
    assert (record["subscriber_id"], record["inputs"], record["output"]) == (PSEUDONYM, ROW, 2)
    assert (record["model"], record["version"], record["given"]) == ("segments", run.name, "raw")
    assert "33664962239" not in json.dumps(record)
    status, answer, _ = service.ask("POST", STANDARDISED, Z_ROWS[3])
    assert (status, answer["segment"], answer["name"]) == (200, 0, "Platinum")


def test_many_come_as_rows_columns_or_csv(service: Service) -> None:
    by_column = {name: [row[name] for row in Z_ROWS] for name in INPUTS}
    lines = [",".join(INPUTS), *(",".join(map(str, row)) for row in PUBLISHED)]
    sent: list[tuple[Any, Any]] = [(Z_ROWS, JSON), (by_column, JSON), ("\n".join(lines).encode(), CSV)]
    for body, headers in sent:
        status, answer, _ = service.ask("POST", STANDARDISED, body, headers)
        assert (status, answer["segment"]) == (200, SEGMENTS)
        assert answer["name"] == [NAMES[segment] for segment in SEGMENTS]
        record = next(one for one in service.records("batch") if one["id"] == answer["id"])
        columns = json.loads(zlib.decompress(base64.b64decode(record["columns"])))
        assert columns == {**by_column, "segment": SEGMENTS}
        assert (record["rows"], record["given"]) == (5, "standardised")


def test_a_large_batch_is_answered_like_a_small_one(service: Service) -> None:
    status, answer, _ = service.ask("POST", STANDARDISED, Z_ROWS * 2000)
    assert (status, answer["segment"]) == (200, SEGMENTS * 2000)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/segments/predict", ROW, "inputs"),
        ("/segments/predict?inputs=", ROW, "inputs"),
        ("/segments/predict?inputs=both", ROW, "inputs"),
        ("/segments/predict?inputs=raw&inputs=raw", ROW, "inputs"),
        (RAW, {**ROW, "rtt_ms": 1}, "rtt_ms"),
        (RAW, {k: v for k, v in ROW.items() if k != "region"}, "region"),
        (RAW, {}, "region"),
        (RAW, {**ROW, "tenure_days": None}, "tenure_days"),
        (RAW, {**ROW, "tenure_days": "5"}, "tenure_days"),
        (RAW, {**ROW, "tenure_days": True}, "tenure_days"),
        (RAW, {**ROW, "tenure_days": -1}, "tenure_days"),
        (RAW, {**ROW, "tenure_days": 10**400}, "tenure_days"),
        (RAW, {**ROW, "tenure_days": {}}, "tenure_days"),
        (RAW, b'{"region": NaN, "tenure_days": 1, "ul_kilobytes": 1, "dl_kilobytes": 1}', "region"),
        (RAW, b'{"region": 1, "tenure_days": Infinity, "ul_kilobytes": 1, "dl_kilobytes": 1}', "tenure_days"),
        (RAW, b'{"region": 1, "tenure_days": 1e999, "ul_kilobytes": 1, "dl_kilobytes": 1}', "tenure_days"),
        (STANDARDISED, {**ROW, "tenure_days": 1e19}, "tenure_days"),
        (RAW, {**{name: [1, 2] for name in INPUTS}, "region": [1]}, "tenure_days"),
        (RAW, {**ROW, "region": [1]}, "tenure_days"),
        (RAW, {**ROW, "subscriber_id": "nobody"}, "subscriber_id"),
    ],
)
def test_what_cannot_be_placed_is_refused_by_name(service: Service, path: str, body: Any, field: str) -> None:
    before = len(service.records("prediction")) + len(service.records("batch"))
    status, answer, _ = service.ask("POST", path, body)
    assert status == 422
    assert answer["error"]["field"] == field
    assert len(service.records("prediction")) + len(service.records("batch")) == before


def test_a_batch_names_the_row(service: Service) -> None:
    for body, headers in (
        ([ROW, {**ROW, "dl_kilobytes": None}], JSON),
        ([ROW, {k: v for k, v in ROW.items() if k != "dl_kilobytes"}], JSON),
        (b"region,tenure_days,ul_kilobytes,dl_kilobytes\n1,1,1,1\n1,1,1,x\n", CSV),
        (b"region,tenure_days,ul_kilobytes,dl_kilobytes\n1,1,1,1\n1,1,1,\n", CSV),
        (b"region,tenure_days,ul_kilobytes,dl_kilobytes\n1,1,1,1\n1,1,1,nan\n", CSV),
    ):
        status, answer, _ = service.ask("POST", RAW, body, headers)
        assert (status, answer["error"]["field"], answer["error"]["row"]) == (422, "dl_kilobytes", 2)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b"a", {"Content-Type": "text/plain"}, 415),
        (b"[]", JSON, 422),
    ],
)
def test_what_is_no_body_is_refused(service: Service, body: bytes, headers: Any, expected: int) -> None:
    assert service.ask("POST", RAW, body, headers)[0] == expected


def test_a_region_by_level(workspace: Workspace) -> None:
    published(workspace, ONE_HOT)
    with running(workspace) as service:
        assert service.ask("POST", RAW, {"region": "1", "tenure_days": 1500})[1]["segment"] == 1
        assert service.ask("POST", RAW, b"tenure_days,region\n3500,2\n1500,3\n", CSV)[1]["segment"] == [2, 0]
        # (2 - 2) / 0.5 is 0; 1 lies half-way to the next.
        assert service.ask("POST", STANDARDISED, {"region": 0, "tenure_days": 2.0})[1]["segment"] == 2
        for path, region in ((RAW, "4"), (RAW, 1), (RAW, None), (STANDARDISED, "1"), (STANDARDISED, 1.0)):
            status, answer, _ = service.ask("POST", path, {"region": region, "tenure_days": 1})
            assert (status, answer["error"]["field"], answer["error"]["row"]) == (422, "region", None)


def test_a_subscriber_of_the_run(lasting: tuple[Service, Path]) -> None:
    service, run = lasting
    status, answer, _ = service.ask("GET", f"/subscribers/{PSEUDONYMS[1]}/segment")
    assert (status, answer["segment"], answer["segment_name"], answer["version"]) == (
        200,
        2,
        "Silver",
        run.name,
    )
    assert (answer["runner_up_name"], answer["inputs"]) == ("Platinum", ROWS[1])
    assert answer["deciding"][0] == {"input": "tenure_days", "value": 4500.0, "part": 6.25}
    lacking = service.ask("GET", f"/subscribers/{PSEUDONYMS[2]}/segment")[1]
    assert (lacking["segment"], lacking["lacking"]) == (None, "tenure_days")
    status, answer, _ = service.ask("GET", f"/subscribers/{'f' * 32}/segment")
    assert status == 404
    assert "no such subscriber" in answer["error"]["what"]


def test_keys_open_segments_by_role(workspace: Workspace) -> None:
    published(workspace)
    keys = {role: ApiKeys(workspace).create(role) for role in ("predict", "read")}
    with running(workspace) as service:
        for role, status in (("predict", 200), ("read", 403), ("none", 401)):
            headers = {**JSON, "X-API-Key": keys.get(role, "")}
            assert service.ask("POST", RAW, ROW, headers)[0] == status
        for role, status in (("predict", 403), ("read", 200), ("none", 401)):
            headers = {"X-API-Key": keys.get(role, "")}
            assert service.ask("GET", f"/subscribers/{PSEUDONYMS[0]}/segment", None, headers)[0] == status


def test_without_segments_it_is_said_and_a_run_is_taken_up(workspace: Workspace) -> None:
    with running(workspace) as service:
        status, answer, _ = service.ask("POST", RAW, ROW)
        assert (status, answer["error"]["what"]) == (503, "there is no segmentation yet")
        assert service.ask("GET", f"/subscribers/{PSEUDONYMS[0]}/segment")[0] == 404
        assert service.ask("GET", "/ready")[0] == 503
        run = published(workspace)
        time.sleep(0.15)
        assert service.ask("POST", RAW, ROW)[1]["version"] == run.name
        status, ready, _ = service.ask("GET", "/ready")
        assert (status, ready["models"]) == (200, {"segments": run.name})
        assert ready["troubles"] == ["there is no model yet: only segments can be predicted"]
        card = service.ask("GET", "/model")[1]["models"]["segments"]
        assert (card["segments"], card["fields"], card["card"]) == (NAMES, list(INPUTS), RECORD["card"])
        published(workspace, {**RECORD, "names": NAMES[:3]})
        time.sleep(0.15)
        assert service.ask("POST", RAW, ROW)[1]["version"] == run.name
        assert "the segmentation cannot be loaded" in service.ask("GET", "/ready")[1]["troubles"][0]


def test_the_documents_show_what_the_segmentation_takes(service: Service) -> None:
    document = service.ask("GET", "/openapi.json")[1]
    schemas = document["components"]["schemas"]
    assert schemas["SegmentedRaw"]["required"] == list(INPUTS)
    assert schemas["SegmentedRaw"]["properties"]["tenure_days"]["minimum"] == 0
    operation = document["paths"]["/segments/predict"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    csv = operation["requestBody"]["content"]["text/csv"]["example"]
    assert service.ask("POST", RAW, example)[0] == 200
    assert service.ask("POST", RAW, csv.encode(), CSV)[0] == 200
    page = service.ask("GET", "/docs")[1]
    assert "'localhost:5000/segments/predict?inputs=raw'" in page
    assert "GET /subscribers/{id}/segment" in page
    metrics = service.ask("GET", "/metrics")[1]
    assert 'subsight_requests_total{route="/segments/predict",status="200"}' in metrics
