"""The service through a real server and a real HTTP client; expected predictions are computed by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from served import in_thread

from subsight.errors import ConfigurationError
from subsight.lifecycle.audit import AuditLog, verify
from subsight.lifecycle.registry import Registry
from subsight.live.status import tell
from subsight.surfaces.api.app import create_app
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.api.limits import Buckets, Limits
from subsight.surfaces.api.server import serve
from subsight.workspace import Workspace

KEY = "k" * 32
CLEAR = "+33 6 64 96 22 39"
PSEUDONYM = hmac.new(KEY.encode(), b"33664962239", hashlib.sha256).hexdigest()[:32]
SCORES = {"engagement_score": 0.8, "experience_score": 0.7}
JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}


def linear(
    coefficients: Mapping[str, float], intercept: float = 0.0, mean: float = 0.0, deviation: float = 1.0
) -> dict[str, Any]:
    """A fit record made by hand, with one mean and deviation for all features."""
    return {
        "features": list(coefficients),
        "parameters": {
            "coefficients": dict(coefficients),
            "intercept": intercept,
            "mean": [mean] * len(coefficients),
            "deviation": [deviation] * len(coefficients),
        },
        "card": {"purpose": "made by hand"},
    }


IDENTITY = linear({"engagement_score": 0.5, "experience_score": 0.5})
BEHAVIOUR = linear(
    {"session_count": 0.2, "duration_s": -0.1, "handset_manufacturer=Apple": 0.3},
    1.0,
    mean=2.0,
    deviation=4.0,
)
# 1 + 0.2 * (10 - 2) / 4 - 0.1 * (2 - 2) / 4 + 0.3 * (1 - 2) / 4: duration unknown, an Apple.
BUSY_APPLE = 1.325
# 1 + 0 - 0.1 * (6 - 2) / 4 + 0.3 * (0 - 2) / 4: session_count unknown, no Apple.
LONG_OTHER = 0.75


def promote(workspace: Workspace, name: str, record: Mapping[str, Any]) -> int:
    registry = Registry(workspace)
    version = registry.register(
        name, record, {"is_promotable": True, "metrics": {"r2": 1.0}, "code": {"commit": "c0de"}}
    )
    return registry.promote(name, version.number).number


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    return Workspace.create(tmp_path / "operator")


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    promote(empty, "identity", IDENTITY)
    promote(empty, "behaviour", BEHAVIOUR)
    return empty


class Service:
    def __init__(self, port: int, log: AuditLog) -> None:
        self.port, self.log = port, log

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, decoded body and headers; a body that is not bytes or lines goes as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            if body is not None and not isinstance(body, bytes | Iterator):
                body = json.dumps(body).encode()
            connection.request(method, path, body, dict(headers if headers is not None else JSON))
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(content) if is_json else content.decode(), answer.headers
        finally:
            connection.close()

    def predict(self, row: Any, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        return self.ask("POST", "/predict", row, headers)[:2]

    def records(self, kind: str) -> list[dict[str, Any]]:
        self.log.durable().result(10)
        lines = "".join(path.read_text() for path in sorted(self.log.folder.glob("audit-*.jsonl")))
        return [record for line in lines.splitlines() if (record := json.loads(line))["kind"] == kind]


@contextmanager
def running(workspace: Workspace, mode: Any = "grouped", **how: Any) -> Iterator[Service]:
    with (
        AuditLog(workspace.path / "audit", mode=mode) as log,
        in_thread(create_app(workspace, log, **how)) as port,
    ):
        yield Service(port, log)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for many small questions that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        workspace = Workspace.create(tmp_path_factory.mktemp("lasting") / "operator")
        promote(workspace, "identity", IDENTITY)
        promote(workspace, "behaviour", BEHAVIOUR)
        with running(workspace) as service:
            yield service


@pytest.fixture
def service(workspace: Workspace) -> Iterator[Service]:
    with running(workspace) as service:
        yield service


def test_the_fields_choose_the_model(service: Service) -> None:
    status, answer = service.predict(SCORES)
    assert status == 200
    assert {**answer, "id": None} == {
        "satisfaction_score": 0.75,
        "model": "identity",
        "version": 1,
        "id": None,
    }
    row = {"session_count": 10, "duration_s": None, "handset_manufacturer": "Apple"}
    status, answer = service.predict(row)
    assert (status, answer["model"]) == (200, "behaviour")
    assert answer["satisfaction_score"] == pytest.approx(BUSY_APPLE)
    assert service.predict({"duration_s": 6.0})[1]["satisfaction_score"] == pytest.approx(LONG_OTHER)


def test_a_prediction_is_recorded_without_any_clear_number(service: Service) -> None:
    _, answer = service.predict({**SCORES, "subscriber_id": CLEAR})
    service.predict({**SCORES, "subscriber_id": PSEUDONYM.upper()})
    service.predict({**SCORES, "subscriber_id": None})
    batch = {**{name: [value] for name, value in SCORES.items()}, "subscriber_id": ["33664962239"]}
    assert service.ask("POST", "/predict/batch", batch)[0] == 200
    records = service.records("prediction")
    assert [record["subscriber_id"] for record in records] == [PSEUDONYM, PSEUDONYM, None]
    assert records[0]["id"] == answer["id"]
    assert (records[0]["inputs"], records[0]["output"]) == (SCORES, 0.75)
    assert (records[0]["model"], records[0]["version"], records[0]["caller"]) == ("identity", "1", "local")
    assert 0 < records[0]["latency_ms"] < 10_000
    columns = json.loads(zlib.decompress(base64.b64decode(service.records("batch")[0]["columns"])))
    assert columns == {
        "engagement_score": [0.8],
        "experience_score": [0.7],
        "subscriber_id": [PSEUDONYM],
        "satisfaction_score": [0.75],
    }


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"", 400, None),
        (b"\xff\xfe", 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"handset_manufacturer": "\\ud800"}', 400, None),
        (b"[]", 422, None),
        (b"3", 422, None),
        (b"{}", 422, None),
        (b'{"subscriber_id": "33664962239"}', 422, None),
        (b'{"engagement_score": NaN, "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": 0.8, "experience_score": -Infinity}', 422, "experience_score"),
        (b'{"engagement_score": 1e999, "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": 1' + b"0" * 5000 + b', "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": 1e19, "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": true, "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": "0.8", "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": null, "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": [1' + b"0" * 5000 + b'], "experience_score": 0.7}', 422, "engagement_score"),
        (b'{"engagement_score": 0.8}', 422, "experience_score"),
        (b'{"engagement_score": 0.8, "session_count": 3}', 422, "session_count"),
        (b'{"engagement_score": 0.8, "experience_score": 0.7, "x": 1}', 422, "x"),
        (b'{"session_count": 3, "x": 1}', 422, "x"),
        (b'{"session_count": "3"}', 422, "session_count"),
        (b'{"handset_manufacturer": 3}', 422, "handset_manufacturer"),
        (b'{"handset_manufacturer": "' + b"a" * 201 + b'"}', 422, "handset_manufacturer"),
        (b'{"session_count": 3, "subscriber_id": 33664962239}', 422, "subscriber_id"),
        (b'{"session_count": 3, "subscriber_id": "3.3664E+10"}', 422, "subscriber_id"),
        (b'{"session_count": 3, "subscriber_id": "336 -"}', 422, "subscriber_id"),
        (b'{"session_count": 3, "subscriber_id": "0-  0"}', 422, "subscriber_id"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_field(
    lasting: Service, body: bytes, status: int, field: str | None
) -> None:
    before = len(lasting.records("prediction"))
    found, answer, _ = lasting.ask("POST", "/predict", body)
    assert len(lasting.records("prediction")) == before
    assert (found, answer["error"]["field"]) == (status, field)
    assert set(answer["error"]) == {"what", "found", "expected", "do", "field", "row"}
    assert "33664962239" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/predict", {}, 415),
        ("POST", "/predict", CSV, 415),
        ("POST", "/predict", {"Content-Type": "application/json; charset=latin-1"}, 415),
        ("POST", "/predict", {**JSON, "Content-Encoding": "gzip"}, 415),
        ("POST", "/predict/batch", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("GET", "/predict", JSON, 405),
        ("DELETE", "/predict/batch", JSON, 405),
        ("POST", "/health", JSON, 405),
        ("POST", "/predict/", JSON, 404),
        ("GET", "/nothing", JSON, 404),
        ("GET", "/subscribers/33664962239", JSON, 404),
        ("GET", "/subscribers/%00%ff%2e%2e", JSON, 404),
        ("POST", "/predict", {**JSON, "Host": "evil.example"}, 421),
        ("POST", "/predict", {"Content-Type": "Application/JSON; charset=UTF-8"}, 200),
    ],
)
def test_addresses_methods_and_media_types(
    lasting: Service, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    found, answer, sent = lasting.ask(method, path, json.dumps(SCORES).encode(), headers)
    assert found == status
    if status != 200:
        assert answer["error"]["what"]
    assert (sent["Allow"] is not None) == (status == 405)
    assert sent["X-Content-Type-Options"] == "nosniff"
    assert sent["X-Frame-Options"] == "DENY"
    assert sent["Cache-Control"] == "no-store"
    assert "default-src 'none'" in sent["Content-Security-Policy"]


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(workspace: Workspace) -> None:
    body = json.dumps(SCORES).encode()
    with running(workspace, limits=Limits(body_bytes=1000)) as service:
        fits, larger = body.ljust(1000), body.ljust(1001)
        assert service.ask("POST", "/predict", fits)[0] == 200
        assert service.ask("POST", "/predict", larger)[0] == 413
        # Without Content-Length, in chunks of 100 bytes.
        for whole, status in ((fits, 200), (larger, 413), (body.ljust(3_000_000), 413)):
            chunks = (whole[i : i + 100] for i in range(0, len(whole), 100))
            assert service.ask("POST", "/predict", chunks)[0] == status
        assert service.ask("POST", "/predict/batch", body.ljust(3_000_000))[0] == 413
    with running(workspace, limits=Limits(batch_rows=2)) as service:
        assert service.ask("POST", "/predict/batch", [SCORES] * 2)[0] == 200
        assert service.ask("POST", "/predict/batch", [SCORES] * 3)[0] == 413


@contextmanager
def half_a_body(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), 10) as half:
        half.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        half.sendall(b"Content-Length: 100\r\n\r\n{")
        yield half


def test_a_body_that_does_not_come_is_not_waited_for(workspace: Workspace) -> None:
    with running(workspace, limits=Limits(body_s=0.05)) as service, half_a_body(service) as half:
        assert half.recv(1000).startswith(b"HTTP/1.1 408")


def test_only_so_many_requests_are_worked_on_at_once(workspace: Workspace) -> None:
    with running(workspace, limits=Limits(concurrency=1)) as service:
        with half_a_body(service):
            deadline = time.monotonic() + 10
            while service.predict(SCORES)[0] != 503:
                assert time.monotonic() < deadline
            status, answer, headers = service.ask("POST", "/predict", SCORES)
            assert (status, headers["Retry-After"]) == (503, "1")
            assert "same time" in answer["error"]["what"]
            assert service.ask("GET", "/health")[0] == 200
        deadline = time.monotonic() + 10
        while service.predict(SCORES)[0] != 200:
            assert time.monotonic() < deadline


def test_each_caller_has_a_rate(workspace: Workspace) -> None:
    keys = ApiKeys(workspace)
    first, second = keys.create("predict"), keys.create("predict")
    with running(workspace, limits=Limits(rate=0.01, burst=2)) as service:
        statuses = [service.predict(SCORES, {**JSON, "X-API-Key": first})[0] for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert service.predict(SCORES, {**JSON, "X-API-Key": second})[0] == 200
        _, _, headers = service.ask("POST", "/predict", SCORES, {**JSON, "X-API-Key": first})
        assert 1 <= int(headers["Retry-After"]) <= 100
        # Who guesses keys is slowed down too.
        guesses = [service.predict(SCORES, {**JSON, "X-API-Key": f"guess{i}"})[0] for i in range(3)]
        assert guesses == [401, 401, 429]
        assert service.ask("GET", "/health")[0] == 200


def test_a_bucket_fills_again_with_the_rate() -> None:
    buckets = Buckets(rate=10, burst=2)
    assert [buckets.take("a", 0.0) for _ in range(3)] == pytest.approx([0, 0, 0.1])
    assert buckets.take("a", 0.05) == pytest.approx(0.05)
    assert buckets.take("a", 0.1) == 0
    assert [buckets.take("a", 100.0) for _ in range(3)] == pytest.approx([0, 0, 0.1])
    assert not any(Buckets(rate=0, burst=1).take("a", 0.0) for _ in range(3))


ROWS = [
    {"session_count": 10, "handset_manufacturer": "Apple"},
    {"duration_s": 6, "handset_manufacturer": "Other"},
    {"duration_s": 6, "session_count": None},
]
COLUMNS = {
    "session_count": [10, None, None],
    "duration_s": [None, 6.0, 6],
    "handset_manufacturer": ["Apple", "Other", None],
}
TABLE = "\ufeffsession_count,duration_s,handset_manufacturer\r\n10,,Apple\r\n,6.0,Other\r\n,6,\r\n".encode()


@pytest.mark.parametrize(("body", "headers"), [(ROWS, JSON), (COLUMNS, JSON), (TABLE, CSV)])
def test_a_batch_as_rows_columns_or_csv(service: Service, body: Any, headers: dict[str, str]) -> None:
    status, answer, _ = service.ask("POST", "/predict/batch", body, headers)
    assert (status, answer["model"], answer["version"]) == (200, "behaviour", 1)
    assert answer["satisfaction_score"] == pytest.approx([BUSY_APPLE, LONG_OTHER, LONG_OTHER])
    (record,) = service.records("batch")
    assert (record["id"], record["rows"], record["model"]) == (answer["id"], 3, "behaviour")


def test_a_large_batch_is_answered_in_order(service: Service) -> None:
    rows = [{"engagement_score": i, "experience_score": 2.0 * i} for i in range(5000)]
    answer = service.ask("POST", "/predict/batch", rows)[1]
    assert answer["satisfaction_score"] == [1.5 * i for i in range(5000)]


def test_an_empty_cell_of_a_single_column_is_a_row(service: Service) -> None:
    answer = service.ask("POST", "/predict/batch", b"duration_s\n6\n\n6\n", CSV)[1]
    # The one in the middle is unknown: 1 + 0 - 0 + 0.3 * (0 - 2) / 4.
    assert answer["satisfaction_score"] == pytest.approx([0.75, 0.85, 0.75])


@pytest.mark.parametrize(
    ("body", "headers", "status", "row", "field"),
    [
        ([], JSON, 422, None, None),
        ({}, JSON, 422, None, None),
        ("x", JSON, 422, None, None),
        (b"[{", JSON, 400, None, None),
        ([SCORES, 3], JSON, 422, 2, None),
        ([SCORES, {"session_count": 1}], JSON, 422, 2, "session_count"),
        ([SCORES, {"engagement_score": 1}], JSON, 422, 2, "experience_score"),
        ([SCORES, {**SCORES, "engagement_score": "1"}], JSON, 422, 2, "engagement_score"),
        ([SCORES, {**SCORES, "engagement_score": True}], JSON, 422, 2, "engagement_score"),
        ([SCORES, {**SCORES, "engagement_score": float("nan")}], JSON, 422, 2, "engagement_score"),
        ([SCORES, {**SCORES, "engagement_score": 10**400}], JSON, 422, 2, "engagement_score"),
        ([SCORES, {**SCORES, "subscriber_id": "nobody"}], JSON, 422, 2, "subscriber_id"),
        ([{"session_count": 1}, {"session_count": 1e300}], JSON, 422, 2, "session_count"),
        ([{"session_count": 1}, {}], JSON, 422, 2, None),
        ([{"session_count": 1}, {"subscriber_id": "33664962239"}], JSON, 422, 2, None),
        ([{"session_count": None}, {"session_count": float("inf")}], JSON, 422, 2, "session_count"),
        ([{"session_count": 1}, {"handset_manufacturer": 1}], JSON, 422, 2, "handset_manufacturer"),
        ({"session_count": [1], "duration_s": [1, 2]}, JSON, 422, None, "duration_s"),
        ({"session_count": 1}, JSON, 422, None, "session_count"),
        ({"x": [1]}, JSON, 422, None, "x"),
        (b"", CSV, 422, None, None),
        (b"session_count\n", CSV, 422, None, None),
        (b"\xff", CSV, 400, None, None),
        (b'session_count\n"1', CSV, 400, None, None),
        (b"session_count,session_count\n1,2\n", CSV, 422, None, "session_count"),
        (b"session_count,duration_s\n1,2\n3\n", CSV, 422, 2, None),
        (b"session_count\n1\nmany\n", CSV, 422, 2, "session_count"),
        (b"session_count\n1\n1_000\n", CSV, 422, 2, "session_count"),
        (b"session_count\n1\nnan\n", CSV, 422, 2, "session_count"),
        (b"engagement_score,experience_score\n1,2\n1,\n", CSV, 422, 2, "experience_score"),
        (b"session_count,x\n1,2\n", CSV, 422, None, "x"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(
    lasting: Service, body: Any, headers: dict[str, str], status: int, row: int | None, field: str | None
) -> None:
    before = len(lasting.records("batch"))
    found, answer, _ = lasting.ask("POST", "/predict/batch", body, headers)
    assert (found, answer["error"]["row"], answer["error"]["field"]) == (status, row, field)
    assert row is None or f"row {row}" in answer["error"]["what"]
    assert len(lasting.records("batch")) == before


def test_without_a_champion_the_service_says_what_to_do(empty: Workspace) -> None:
    with running(empty) as service:
        assert service.ask("GET", "/health")[:2] == (200, {"status": "alive"})
        status, answer, _ = service.ask("GET", "/ready")
        assert (status, "subsight models train operator" in answer["error"]["do"]) == (503, True)
        assert service.predict(SCORES)[0] == 503
        promote(empty, "identity", IDENTITY)
        time.sleep(0.11)
        assert service.predict(SCORES)[0] == 200
        assert service.ask("GET", "/ready")[1]["models"] == {"identity": 1}
        # What no model takes is the caller's mistake, though behaviour has no champion.
        assert service.predict({"session_count": 1})[0] == 422
    assert str(empty.path) not in json.dumps(answer)


def test_the_models_show_their_cards(service: Service, workspace: Workspace) -> None:
    _, answer, _ = service.ask("GET", "/model")
    version = Registry(workspace).get("behaviour")
    found = answer["models"]["behaviour"]
    assert found["fields"] == ["session_count", "duration_s", "handset_manufacturer"]
    assert (found["version"], found["digest"], found["code_version"]) == (
        1,
        version.digest,
        {"commit": "c0de"},
    )
    assert (found["card"], found["metrics"]) == ({"purpose": "made by hand"}, {"r2": 1.0})
    assert list(answer["models"]) == ["identity", "behaviour"]


def publish(workspace: Workspace) -> None:
    with workspace.staged_run() as run:
        (run / "tables").mkdir()
        rows = [{"subscriber_id": PSEUDONYM, "satisfaction_score": 0.4, "skew": float("nan")}]
        pq.write_table(pa.Table.from_pylist(rows), run / "tables" / "satisfaction.parquet")
        tables = {"satisfaction": {"file": "tables/satisfaction.parquet", "rows": 1}}
        manifest = {"run": "r", "tables": tables, "studies": {}, "settings": {"minimum_group": 15}}
        (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["%2B33%206%2064%2096%2022%2039", "33664962239", PSEUDONYM])
def test_a_subscriber_by_number_or_pseudonym(service: Service, workspace: Workspace, name: str) -> None:
    publish(workspace)
    status, answer, _ = service.ask("GET", f"/subscribers/{name}")
    assert status == 200
    assert answer == {"subscriber_id": PSEUDONYM, "satisfaction_score": 0.4, "skew": None}
    assert service.ask("GET", "/subscribers/33664962230")[0] == 404


def test_keys_open_what_their_roles_allow(workspace: Workspace) -> None:
    keys = ApiKeys(workspace)
    predict, read, admin = (keys.create(role, name=role) for role in ("predict", "read", "admin"))
    with running(workspace, host="0.0.0.0") as service:

        def status(path: str, headers: Mapping[str, str]) -> int:
            method, body = ("POST", SCORES) if path == "/predict" else ("GET", None)
            return service.ask(method, path, body, {**JSON, "Host": "any.example", **headers})[0]

        for path in ("/health", "/ready", "/docs", "/openapi.json"):
            assert status(path, {}) == 200
        for path in ("/predict", "/predict/batch", "/model", "/metrics", "/subscribers/1", "/nothing"):
            assert status(path, {}) == 401
            assert status(path, {"X-API-Key": "wrong"}) == 401
            assert status(path, {"Authorization": f"Basic {admin}"}) == 401
        assert status("/predict", {"X-API-Key": predict}) == 200
        assert status("/predict", {"Authorization": f"Bearer {predict}"}) == 200
        assert status("/predict", {"X-API-Key": read}) == 403
        assert status("/model", {"X-API-Key": read}) == 200
        assert status("/metrics", {"X-API-Key": predict}) == 403
        assert status("/predict", {"X-API-Key": admin}) == status("/model", {"X-API-Key": admin}) == 200
        _, answer, headers = service.ask("POST", "/predict", SCORES)
        assert (headers["WWW-Authenticate"], answer["error"]["field"]) == ("Bearer", None)
        id = keys.all()[0]["id"]
        assert {record["caller"] for record in service.records("prediction")} >= {f"key {id}"}
        for entry in keys.all():
            keys.revoke(entry["id"])
        time.sleep(0.11)
        # Revoking the last key locks; it does not open.
        assert status("/predict", {"X-API-Key": predict}) == status("/predict", {}) == 401
    with running(workspace) as service:
        assert service.predict(SCORES)[0] == 401


def test_keys_are_kept_as_hashes_for_the_owner_alone(workspace: Workspace) -> None:
    keys = ApiKeys(workspace)
    key = keys.create("predict", "read", name="billing")
    path = workspace.path / "keys" / "api.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert key not in path.read_text()
    assert hashlib.sha256(key.encode()).hexdigest() in path.read_text()
    (entry,) = keys.all()
    assert (entry["name"], entry["roles"], set(entry)) == (
        "billing",
        ["predict", "read"],
        {"id", "name", "roles", "created_at"},
    )
    with pytest.raises(ConfigurationError, match="roles"):
        keys.create("root")
    with pytest.raises(ConfigurationError, match="roles"):
        keys.create()


def test_without_keys_other_machines_are_not_served(workspace: Workspace) -> None:
    with pytest.raises(ConfigurationError, match="this machine only"):
        serve(workspace, "0.0.0.0", 0)
    with pytest.raises(ConfigurationError, match="this machine only"):
        serve(workspace, "example.org", 0)
    assert not (workspace.path / "audit").exists()
    with running(workspace, auth="off", host="0.0.0.0") as service:
        assert service.predict(SCORES, {**JSON, "Host": "any.example"})[0] == 200


def test_damaged_keys_open_nothing(workspace: Workspace) -> None:
    ApiKeys(workspace).create("predict")
    with running(workspace) as service:
        path = workspace.path / "keys" / "api.json"
        path.write_text("{")
        time.sleep(0.11)
        assert service.predict(SCORES)[0] == 401
        path.unlink()
        time.sleep(0.11)
        assert service.predict(SCORES)[0] == 401


def constant(score: float) -> dict[str, Any]:
    return linear({"engagement_score": 0.0, "experience_score": 0.0}, score)


def test_promotion_and_rollback_under_load_lose_no_request(empty: Workspace) -> None:
    promote(empty, "identity", constant(1.0))
    counts: list[int] = []
    seen: set[tuple[float, int]] = set()
    stop = threading.Event()

    with running(empty) as service:

        def load() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            count = 0
            while not stop.is_set():
                connection.request("POST", "/predict", json.dumps(SCORES), JSON)
                answer = connection.getresponse()
                found = json.loads(answer.read())
                assert answer.status == 200, found
                seen.add((found["satisfaction_score"], found["version"]))
                count += 1
            connection.close()
            counts.append(count)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in (2, 3):
            time.sleep(0.25)
            assert promote(empty, "identity", constant(float(number))) == number
        time.sleep(0.25)
        Registry(empty).rollback("identity")
        time.sleep(0.25)
        assert service.predict(SCORES)[1]["version"] == 2
        stop.set()
        for thread in threads:
            thread.join(30)
        # A thread whose request failed has no count.
        assert len(counts) == 4
        # Each answer is wholly of one version, and each version answered.
        assert seen == {(1.0, 1), (2.0, 2), (3.0, 3)}
        records = service.records("prediction")
        assert len(records) == sum(counts) + 1
        assert len({record["id"] for record in records}) == len(records)
    assert [chain.status for chain in verify(empty.path / "audit").chains] == ["whole"]


def test_a_broken_version_leaves_the_one_before(workspace: Workspace, empty: Workspace) -> None:
    with running(workspace) as service:
        assert service.predict(SCORES)[1]["version"] == 1
        number = promote(workspace, "identity", linear({"engagement_score": 1.0}))
        time.sleep(0.11)
        assert service.predict(SCORES)[1]["version"] == 1
        status, answer, _ = service.ask("GET", "/ready")
        assert (status, answer["models"]["identity"]) == (200, 1)
        assert "version 1 answers" in answer["troubles"][0]
        (workspace.path / "models" / "identity" / f"{number}.json").write_text("{}")
        promote(workspace, "behaviour", {"features": [], "parameters": {}})
        time.sleep(0.11)
        assert len(service.ask("GET", "/ready")[1]["troubles"]) == 2
        assert service.predict({"duration_s": 6})[1]["version"] == 1
        (workspace.path / "models" / "registry.json").write_text("{")
        time.sleep(0.11)
        assert service.predict(SCORES)[1]["version"] == 1
        assert str(workspace.path) not in json.dumps(service.ask("GET", "/ready")[1])


def test_a_prediction_that_cannot_be_recorded_is_not_answered(service: Service) -> None:
    service.log.close()
    for path, body in (("/predict", SCORES), ("/predict/batch", [SCORES])):
        status, answer, _ = service.ask("POST", path, body)
        assert (status, "satisfaction_score" in json.dumps(answer)) == (503, False)


def test_an_answer_waits_until_its_record_is_on_disk(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def slow(original: Any) -> Any:
        def recorded(log: AuditLog, **fields: Any) -> Future[None]:
            original(log, **fields)
            future: Future[None] = Future()
            threading.Timer(0.2, lambda: (synced.append(fields["id"]), future.set_result(None))).start()
            return future

        return recorded

    monkeypatch.setattr(AuditLog, "predicted", slow(AuditLog.predicted))
    monkeypatch.setattr(AuditLog, "batch", slow(AuditLog.batch))
    with running(workspace) as service:
        for path, body in (("/predict", SCORES), ("/predict/batch", [SCORES])):
            answer = service.ask("POST", path, body)[1]
            assert synced[-1:] == [answer["id"]]


def test_a_strict_log_holds_what_was_answered(workspace: Workspace) -> None:
    with running(workspace, mode="strict") as service:
        for path, body in (("/predict", SCORES), ("/predict/batch", [SCORES])):
            answer = service.ask("POST", path, body)[1]
            written = "".join(p.read_text() for p in (workspace.path / "audit").glob("audit-*.jsonl"))
            assert answer["id"] in written


def test_a_fault_of_the_service_is_said_without_its_inside(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr("subsight.surfaces.api.fields.choose", fail)
    monkeypatch.setattr("subsight.surfaces.api.metrics.Metrics.text", fail)
    for method, path, body in (("POST", "/predict", SCORES), ("GET", "/metrics", None)):
        status, answer, headers = service.ask(method, path, body)
        assert (status, headers["X-Frame-Options"]) == (500, "DENY")
        assert "inside" not in json.dumps(answer)
        assert answer["error"]["what"]
    deadline = time.monotonic() + 10
    # The records, not their text: other libraries may change how a text is laid out.
    while [str(r.exc_info[1]) for r in caplog.records if r.exc_info].count("inside") < 2:
        assert time.monotonic() < deadline, "the log says nothing"


def test_a_connection_goes_on_after_a_refusal(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    large = b" " * 200_000
    for body, headers, status in ((large, {}, 415), (b"{", JSON, 400), (json.dumps(SCORES), JSON, 200)):
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_metrics_count_what_happened(service: Service) -> None:
    for body in (SCORES, SCORES, {"x": 1}):
        service.predict(body)
    service.ask("POST", "/predict/batch", [SCORES] * 7)
    service.ask("GET", "/subscribers/33664962239")
    status, text, headers = service.ask("GET", "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['subsight_requests_total{route="/predict",status="200"}'] == "2"
    assert values['subsight_requests_total{route="/predict",status="422"}'] == "1"
    assert values['subsight_requests_total{route="/subscribers/{id}",status="404"}'] == "1"
    assert values['subsight_predictions_total{model="identity",version="1"}'] == "9"
    assert values['subsight_audit_records_total{kind="prediction"}'] == "2"
    assert values['subsight_audit_records_total{kind="batch"}'] == "1"
    assert values['subsight_request_seconds_bucket{route="/predict",le="+Inf"}'] == "3"
    assert values['subsight_request_seconds_count{route="/predict"}'] == "3"
    assert 0 < float(values['subsight_request_seconds_sum{route="/predict"}']) < 100
    assert "33664962239" not in text
    assert "subsight_watch" not in text


def test_metrics_tell_what_live_inputs_say(workspace: Workspace, service: Service) -> None:
    told = {"files": 3, "accepted": 70, "rejected": 1, "waiting": 2, "refused": {}}
    tell(workspace, "watch", told)
    status, text, _ = service.ask("GET", "/metrics")
    assert status == 200
    assert "subsight_watch_accepted_total 70\n" in text
    assert "subsight_watch_running 1\n" in text


def test_the_docs_need_no_other_site(service: Service) -> None:
    status, page, headers = service.ask("GET", "/docs")
    assert (status, headers.get_content_type()) == (200, "text/html")
    assert not re.search(r"<script|https?://|@import|url\(", page)
    for path in ("/predict", "/predict/batch", "/subscribers/{id}", "/model", "handset_manufacturer"):
        assert path in page


def test_the_openapi_document_is_about_this_service(service: Service) -> None:
    _, document, _ = service.ask("GET", "/openapi.json")
    schemas = document["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(schemas)
    # Nothing but what is described: FastAPI would add a status that no request is answered with.
    assert '"Successful Response"' not in json.dumps(document)
    assert list(schemas["Behaviour"]["properties"]) == [*COLUMNS, "subscriber_id"]
    assert "security" not in document["paths"]["/predict"]["post"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {None: {"example": None}})
            for kind, media in content.items():
                example = media["example"]
                body = example.encode() if isinstance(example, str) else example
                status, answer, _ = service.ask(
                    method.upper(), path, body, {"Content-Type": kind} if kind else {}
                )
                assert str(status) in operation["responses"]
                if status == 200 and kind:
                    name = {"/predict": "Prediction", "/predict/batch": "Predictions"}[path]
                    assert sorted(answer) == sorted(schemas[name]["required"])


def test_the_openapi_document_follows_the_champion_and_the_keys(
    service: Service, workspace: Workspace
) -> None:
    service.ask("GET", "/openapi.json")
    promote(workspace, "behaviour", linear({"total_bytes": 1.0}))
    ApiKeys(workspace).create("read")
    time.sleep(0.11)
    _, document, _ = service.ask("GET", "/openapi.json")
    assert list(document["components"]["schemas"]["Behaviour"]["properties"]) == [
        "total_bytes",
        "subscriber_id",
    ]
    assert document["paths"]["/predict"]["post"]["security"] == [{"bearer": []}, {"header": []}]
    assert "security" not in document["paths"]["/health"]["get"]


NAMES = st.sampled_from([*SCORES, *COLUMNS, "subscriber_id", "x", ""])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=4), max_leaves=8
)


def test_no_body_is_a_fault_of_the_service(workspace: Workspace) -> None:
    with running(workspace) as service:

        @examples(max_examples=150, deadline=None, database=None, derandomize=True)
        @given(
            VALUES | st.dictionaries(NAMES, LEAVES) | st.lists(st.dictionaries(NAMES, LEAVES), max_size=3),
            st.binary(),
        )
        def ask(value: Any, raw: bytes) -> None:
            text = json.dumps(value).encode()
            for path in ("/predict", "/predict/batch"):
                for body, headers in ((text, JSON), (raw, JSON), (raw, CSV)):
                    status, answer, _ = service.ask("POST", path, body, headers)
                    assert status in (200, 400, 415, 422)
                    assert status != 200 or "satisfaction_score" in answer

        ask()


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def test_serving_as_a_process(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import sys; from subsight.workspace import Workspace\n"
        "import subsight.surfaces.api.keys; assert 'fastapi' not in sys.modules\n"
        "from subsight.surfaces.api.server import serve; assert 'fastapi' not in sys.modules\n"
        f"serve(Workspace.open(sys.argv[1]), '127.0.0.1', {port}, auth='off')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace.path)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(ConfigurationError, match="cannot be listened on"):
            serve(workspace, "127.0.0.1", port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        times = []
        for _ in range(40):
            began = time.perf_counter()
            connection.request("POST", "/predict", json.dumps(SCORES), JSON)
            assert connection.getresponse().read()
            times.append(time.perf_counter() - began)
        # An answer in two packets that wait for each other takes 40 ms.
        assert sorted(times)[20] < 0.03
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, b"Traceback" in said) == (0, False)
    lines = "".join(
        path.read_text() for path in (workspace.path / "audit").glob("audit-*.jsonl")
    ).splitlines()
    records = [json.loads(line) for line in lines]
    kinds = [record["kind"] for record in records]
    assert kinds == ["genesis", "service_started", *["prediction"] * 40, "service_stopped", "closed"]
    assert records[1]["auth"] == "off"
    assert os.fspath(workspace.path) not in "".join(lines)
