"""The Acumos contract by real servers and clients: golden bytes, a client of protoc, both generations."""

from __future__ import annotations

import base64
import copy
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from segmented import DEVIATION, INPUTS, MEAN, NAMES, ONE_HOT, PUBLISHED, RECORD, SEGMENTS, published
from served import command, free_port, in_thread, serving

from subsight.errors import ConfigurationError, WorkspaceError
from subsight.lifecycle import segmentation
from subsight.lifecycle.audit import AuditLog
from subsight.lifecycle.segmentation import Watched
from subsight.surfaces.acumos import bundle
from subsight.surfaces.acumos.app import Acumos
from subsight.surfaces.acumos.served import Served
from subsight.surfaces.api.journal import Journal
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.metrics import Metrics
from subsight.workspace import Workspace

PROTOBUF, JSON = "application/vnd.google.protobuf", "application/json"
V1, V2 = "/classify", "/model/methods/classify"
GOLDEN = bytes.fromhex(
    "0a08a2282628abdde3bf1208f0596ccd350808401a08e09578ce836cddbf2208b363c59ead2be1bf"
)  # fmt: skip
FIELDS = ("Region", "TENURE_Days", "l4_ul_throughput", "l4_dl_throughput")
PROTO = """\
syntax = "proto3";
package segments;

service Model {
  rpc classify (DataFrame) returns (Predictions);
}

message DataFrame {
  repeated double Region = 1;
  repeated double TENURE_Days = 2;
  repeated double l4_ul_throughput = 3;
  repeated double l4_dl_throughput = 4;
}

message Predictions {
  repeated int64 predictions = 1;
}
"""
FRAME = {name: list(column) for name, column in zip(FIELDS, zip(*PUBLISHED, strict=True), strict=True)}


class Door:
    def __init__(self, port: int, log: AuditLog) -> None:
        self.port, self.log = port, log

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def v2(
        self, body: bytes, sent: str = JSON, wanted: str = JSON
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        return self.ask("POST", V2, body, {"Content-Type": sent, "Accept": wanted})

    def records(self) -> list[dict[str, Any]]:
        self.log.durable().result(10)
        lines = "".join(path.read_text() for path in sorted(self.log.folder.glob("audit-*.jsonl")))
        return [record for line in lines.splitlines() if (record := json.loads(line))["kind"] == "batch"]


@contextmanager
def answering(
    workspace: Workspace, given: Any = "standardised", *, strict: bool = False, limits: Limits | None = None
) -> Iterator[Door]:
    served, metrics = Served(Watched(workspace), given), Metrics()
    with AuditLog(workspace.path / "audit") as log:
        app = Acumos(served, Journal(log, metrics), limits or Limits(), metrics, strict=strict)
        with in_thread(app) as port:
            yield Door(port, log)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(Workspace.create(tmp_path_factory.mktemp("acumos") / "operator"))


@pytest.fixture(scope="module")
def workspace(run: Path) -> Workspace:
    return Workspace.open(run.parents[1])


@pytest.fixture(scope="module")
def door(workspace: Workspace) -> Iterator[Door]:
    with answering(workspace) as door:
        yield door


@pytest.fixture(scope="module")
def strict(workspace: Workspace) -> Iterator[Door]:
    with answering(workspace, strict=True) as door:
        yield door


def frame(**columns: Any) -> bytes:
    """A DataFrame in JSON: the published rows, with some columns replaced, or left out where null."""
    return json.dumps({k: v for k, v in (FRAME | columns).items() if v is not None}).encode()


def labels(body: bytes) -> list[int]:
    return [int(one) for one in json.loads(body)["predictions"]]


def test_v1_answers_the_golden_bytes(door: Door) -> None:
    for method in ("POST", "GET"):
        for headers in ({}, {"Content-Type": "application/protobuf"}, {"Content-Type": "text/plain"}):
            status, body, answered = door.ask(method, V1, GOLDEN, headers)
            assert (status, body) == (201, bytes.fromhex("0a0102"))
            assert answered["Content-Type"] == "text/plain;charset=UTF-8"
            assert answered["Access-Control-Allow-Origin"] == "*"


def test_an_empty_message_has_no_rows_and_no_predictions(door: Door) -> None:
    assert door.ask("POST", V1)[:2] == (201, b"")
    assert door.v2(b"", PROTOBUF, PROTOBUF)[:2] == (200, b"")
    assert json.loads(door.v2(b"{}")[1]) == {"predictions": []}
    assert labels(door.v2(frame(**{key: [] for key in FIELDS}))[1]) == []


def test_v2_takes_and_gives_either_form(door: Door) -> None:
    row = json.dumps({name: column[:1] for name, column in FRAME.items()}).encode()
    for sent, body in ((PROTOBUF, GOLDEN), (JSON, row)):
        status, content, answered = door.v2(body, sent, PROTOBUF)
        assert (status, content, answered["Content-Type"]) == (200, bytes.fromhex("0a0102"), PROTOBUF)
        status, content, answered = door.v2(body, sent, JSON)
        assert (status, answered["Content-Type"]) == (200, JSON)
        # As proto3 has it: whole numbers of 64 bits are texts.
        assert json.loads(content) == {"predictions": ["2"]}


def test_several_rows_in_golden_bytes(door: Door) -> None:
    # Rows that stand on the centroids 2, 2, 0 and 3 themselves.
    rows = [RECORD["parameters"]["centroids"][number] for number in (2, 2, 0, 3)]
    body = json.dumps(dict(zip(FIELDS, zip(*rows, strict=True), strict=True))).encode()
    assert door.v2(body, JSON, PROTOBUF)[1] == bytes.fromhex("0a0402020003")


def test_both_spellings_are_read(door: Door) -> None:
    camel = frame(TENURE_Days=None, TENUREDays=FRAME["TENURE_Days"])
    assert labels(door.v2(camel)[1]) == SEGMENTS
    texts = frame(Region=[str(value) for value in FRAME["Region"]])
    assert labels(door.v2(texts)[1]) == SEGMENTS


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xff", "JSON"),
        (b"null", "object"),
        (b"[]", "object"),
        (b"3", "object"),
        (b"[" * 100_000, "JSON"),
        (frame(nope=[1]), "nope"),
        (frame(TENUREDays=[1]), "TENURE_Days in both spellings"),
        (b'{"Region": [], "Region": []}', "twice"),
        (frame(Region=[1]), "TENURE_Days 5"),
        (frame(Region=None), "Region 0"),
        (frame(Region=1), "Region"),
        (frame(Region=["x"] * 5), "Region"),
        (frame(Region=[True] * 5), "Region"),
        (frame(Region=["1_0"] * 5), "Region"),
        (frame(Region=[[1]] * 5), "Region"),
        (frame(Region=[None] * 5), "Region"),
        (frame(l4_ul_throughput=[0, "NaN", 0, 0, 0]), "l4_ul_throughput cannot be used in row 2"),
        (frame(TENURE_Days=["-Infinity", 0, 0, 0, 0]), "TENURE_Days cannot be used in row 1"),
        (frame(TENURE_Days=[1e300, 0, 0, 0, 0]), "TENURE_Days cannot be used in row 1"),
        # json.dumps writes NaN bare, which is no JSON.
        (frame(Region=[float("nan")] * 5), "Region"),
    ],
)
def test_json_that_is_no_frame_is_400(door: Door, body: bytes, said: str) -> None:
    status, content, answered = door.v2(body)
    assert (status, answered["Content-Type"]) == (400, "text/plain;charset=UTF-8")
    assert said in content.decode()


def test_bytes_that_are_no_frame_are_400(door: Door) -> None:
    uneven = GOLDEN[:10]  # Region alone
    nan = GOLDEN[:-8] + bytes.fromhex("000000000000f87f")
    for body, said in ((b"\xff\xff", "cannot be decoded"), (uneven, "Region 1"), (nan, "l4_dl_throughput")):
        status, content, answered = door.ask("POST", V1, body)
        assert (status, answered["Content-Type"]) == (400, "text/plain;charset=UTF-8")
        assert said in content.decode()
        assert door.v2(body, PROTOBUF, JSON)[:2] == (400, content)


@pytest.mark.parametrize(
    ("headers", "lenient", "exact"),
    [
        ({"Content-Type": JSON, "Accept": JSON}, 200, 200),
        ({"Accept": JSON}, 400, 400),
        ({"Content-Type": JSON}, 400, 400),
        ({}, 400, 400),
        ({"Content-Type": "application/json; charset=utf-8", "Accept": JSON}, 200, 415),
        ({"Content-Type": JSON, "Accept": "*/*"}, 200, 415),
        ({"Content-Type": JSON, "Accept": "text/html, application/json;q=0.9"}, 200, 415),
        ({"Content-Type": JSON, "Accept": "application/json;q=0"}, 415, 415),
        ({"Content-Type": JSON, "Accept": "text/html"}, 415, 415),
        ({"Content-Type": "Application/JSON", "Accept": JSON}, 200, 415),
        ({"Content-Type": "*/*", "Accept": JSON}, 415, 415),
        ({"Content-Type": "application/json; charset=latin-1", "Accept": JSON}, 415, 415),
        ({"Content-Type": "application/protobuf", "Accept": JSON}, 415, 415),
        ({"Content-Type": "text/plain", "Accept": JSON}, 415, 415),
        ({"Content-Type": JSON, "Accept": JSON, "Content-Encoding": "gzip"}, 415, 415),
        ({"Content-Type": JSON, "Accept": ""}, 415, 415),
    ],
)
def test_headers_lenient_and_strict(
    door: Door, strict: Door, headers: Mapping[str, str], lenient: int, exact: int
) -> None:
    assert door.ask("POST", V2, frame(), headers)[0] == lenient
    assert strict.ask("POST", V2, frame(), headers)[0] == exact


def test_any_answer_comes_as_the_question_did(door: Door) -> None:
    assert door.v2(GOLDEN, PROTOBUF, "*/*")[2]["Content-Type"] == PROTOBUF
    assert door.v2(frame(), JSON, "*/*")[2]["Content-Type"] == JSON
    assert door.v2(frame(), JSON, f"{JSON};q=0.5, {PROTOBUF}")[2]["Content-Type"] == PROTOBUF


def test_other_addresses_and_methods(door: Door) -> None:
    assert door.ask("GET", "/")[0] == 404
    assert door.ask("POST", "/predict")[0] == 404
    assert door.ask("PUT", V1)[0] == 405
    status, _, headers = door.ask("GET", V2)
    assert (status, headers["Allow"]) == (405, "POST")


def test_artifacts(door: Door, run: Path) -> None:
    status, body, headers = door.ask("GET", "/model/artifacts/protobuf")
    assert (status, body.decode(), headers.get_content_type()) == (200, PROTO, "text/plain")
    status, body, headers = door.ask("GET", "/model/artifacts/metadata")
    assert (status, headers.get_content_type()) == (200, JSON)
    found = json.loads(body)
    assert (found["schema"], found["name"]) == ("acumos.schema.model:0.6.0", "segments")
    assert set(found) == {"schema", "runtime", "name", "methods"}
    assert found["runtime"]["name"] == "python"
    assert found["runtime"]["dependencies"]["conda"] == {"channels": [], "requirements": []}
    method = found["methods"]["classify"]
    assert run.name in method["description"]
    assert (method["input"]["name"], method["output"]["name"]) == ("DataFrame", "Predictions")
    assert set(method["input"]) == {"name", "media_type", "metadata", "description"}
    assert "0 Platinum, 1 Gold, 2 Silver, 3 Diamond" in method["output"]["description"]
    assert "ignored" not in method["input"]["description"]


def test_every_answer_is_recorded(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    run = published(workspace)
    with answering(workspace) as door:
        door.ask("POST", V1, GOLDEN)
        door.v2(frame())
        door.v2(b"{")
        one, many = door.records()
    assert (one["caller"], one["model"], one["version"], one["given"]) == (
        "acumos", "segments", run.name, "standardised",
    )  # fmt: skip
    columns = json.loads(zlib.decompress(base64.b64decode(many["columns"])))
    assert columns == {**dict(zip(INPUTS, FRAME.values(), strict=True)), "segment": SEGMENTS}


def test_limits(workspace: Workspace) -> None:
    with answering(workspace, limits=Limits(body_bytes=1000, batch_rows=4)) as door:
        assert door.ask("POST", V1, b"x" * 1001)[0] == 413
        status, body, _ = door.v2(frame())
        assert status == 413
        assert b"too many rows" in body
    with answering(workspace, limits=Limits(rate=0.001, burst=1)) as door:
        assert [door.ask("POST", V1, GOLDEN)[0] for _ in range(2)] == [201, 429]


def test_many_rows_are_answered_like_few(door: Door) -> None:
    body = json.dumps({name: column * 2000 for name, column in FRAME.items()}).encode()
    assert labels(door.v2(body)[1]) == SEGMENTS * 2000


def test_raw_inputs(workspace: Workspace) -> None:
    raw = {n: [x * d + m for x in FRAME[n]] for n, m, d in zip(FIELDS, MEAN, DEVIATION, strict=True)}
    with answering(workspace, "raw") as door:
        assert labels(door.v2(json.dumps(raw).encode())[1]) == SEGMENTS
        status, body, _ = door.v2(json.dumps(raw | {"TENURE_Days": [-1.0] * 5}).encode())
        assert status == 400
        assert b"TENURE_Days cannot be used in row 1" in body


def test_fields_that_were_not_trained_on_are_ignored_and_named(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    published(workspace, ONE_HOT)
    unused = {"l4_ul_throughput": ["NaN"] * 2, "l4_dl_throughput": []}
    with answering(workspace) as door:
        # Regions 3 and 1 stand at (3 - 2) / 0.5 and (1 - 2) / 0.5.
        body = json.dumps({"Region": [2, -2], "TENURE_Days": [0, 0], **unused}).encode()
        assert labels(door.v2(body)[1]) == [0, 1]
        status, said, _ = door.v2(json.dumps({"Region": [1], "TENURE_Days": [0]}).encode())
        assert status == 400
        assert b"region" in said
        # A column that is there has as many values, used or not.
        uneven = json.dumps({"Region": [2], "TENURE_Days": [0], "l4_dl_throughput": [1, 2]}).encode()
        assert b"l4_dl_throughput does not fit" in door.v2(uneven)[1]
        described = json.loads(door.ask("GET", "/model/artifacts/metadata")[1])["methods"]["classify"]
        assert "ignored: l4_ul_throughput, l4_dl_throughput" in described["input"]["description"]
    with answering(workspace, "raw") as door:
        body = json.dumps({"Region": [3, 1, 2], "TENURE_Days": [1500, 1500, 3500]}).encode()
        assert labels(door.v2(body)[1]) == [0, 1, 2]
        status, said, _ = door.v2(json.dumps({"Region": [4], "TENURE_Days": [0]}).encode())
        assert (status, b"the column Region" in said) == (400, True)


@pytest.mark.parametrize("kind", ["another", "letters"])
def test_what_the_message_does_not_cover_is_not_served(tmp_path: Path, kind: str) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    with pytest.raises(ConfigurationError, match="no segmentation"):
        Served(Watched(workspace), "raw").check_start()
    first = published(workspace)
    clock = iter(range(100))
    served = Served(Watched(workspace, lambda: next(clock)), "raw")
    served.check_start()
    record: dict[str, Any]
    if kind == "another":
        record = copy.deepcopy(RECORD)
        record["inputs"][1]["name"] = record["features"][1] = "session_count"
    else:
        record = copy.deepcopy(ONE_HOT)
        record["inputs"][0] |= {"levels": ["N", "S", "W"], "numeric": None}
        record["features"][:3] = ["region=N", "region=S", "region=W"]
    assert served.current().version == first.name
    published(workspace, record)
    with pytest.raises(ConfigurationError, match="cannot be served to Acumos"):
        Served(Watched(workspace), "raw").check_start()
    found = segmentation.current(workspace)
    assert found is not None
    with pytest.raises(ConfigurationError):
        bundle.write(found, tmp_path / "bundle", "raw")
    assert not (tmp_path / "bundle").exists()
    # In service the one before goes on.
    assert served.current().version == first.name


CLIENT = """
import sys, urllib.request
import model_pb2
port, rows = int(sys.argv[1]), eval(sys.argv[2])
frame = model_pb2.DataFrame()
for row in rows:
    for name, value in zip(("Region", "TENURE_Days", "l4_ul_throughput", "l4_dl_throughput"), row):
        getattr(frame, name).append(value)
request = urllib.request.Request(f"http://127.0.0.1:{port}/classify", frame.SerializeToString())
with urllib.request.urlopen(request) as answer:
    print(answer.status, list(model_pb2.Predictions.FromString(answer.read()).predictions))
"""


def test_a_client_of_real_protoc(door: Door, tmp_path: Path) -> None:
    (tmp_path / "model.proto").write_bytes(door.ask("GET", "/model/artifacts/protobuf")[1])
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "model.proto"]
    subprocess.run(protoc, cwd=tmp_path, check=True, timeout=60)
    (tmp_path / "client.py").write_text(CLIENT)
    asked = [sys.executable, "client.py", str(door.port), repr(PUBLISHED)]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == f"201 {SEGMENTS}", done.stderr


def _ask(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, body, dict(headers))
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_all_doors_of_one_process_say_the_same_and_close_in_order(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    run, port = published(workspace), free_port()
    with serving(workspace.path, "--acumos", str(port), "--acumos-strict") as service:
        both = {"Content-Type": JSON, "Accept": JSON}
        status, body = _ask(port, V2, frame(), both)
        assert (status, labels(body)) == (200, SEGMENTS)
        status, body = _ask(port, V2, frame(), {"Content-Type": JSON, "Accept": PROTOBUF})
        assert (status, list(body)) == (200, [0x0A, len(SEGMENTS), *SEGMENTS])
        assert _ask(port, V1, GOLDEN, {})[1] == bytes.fromhex("0a0102")
        assert _ask(port, V2, frame(), {**both, "Accept": "*/*"})[0] == 415
        own = json.dumps(dict(zip(INPUTS, FRAME.values(), strict=True))).encode()
        status, body = _ask(service.port, "/segments/predict?inputs=standardised", own, both)
        answer = json.loads(body)
        assert (status, answer["segment"], answer["version"]) == (200, SEGMENTS, run.name)
        # Nothing else is behind the second door.
        assert _ask(port, "/segments/predict?inputs=standardised", own, both)[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        connection.request("GET", "/metrics")
        counted = connection.getresponse().read().decode()
        connection.close()
        assert f'subsight_predictions_total{{model="segments",version="{run.name}"}} 16' in counted
        assert f'route="acumos {V1}",status="201"' in counted
        # One request has begun when the process is told to end: it is answered.
        late = socket.create_connection(("127.0.0.1", port))
        late.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GOLDEN))
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        late.sendall(GOLDEN)
        answered = b""
        while part := late.recv(4096):
            answered += part
        late.close()
        assert answered.startswith(b"HTTP/1.1 201")
        assert answered.endswith(bytes.fromhex("0a0102"))
        _, said = service.process.communicate(timeout=30)
    assert service.process.returncode == 0, said
    assert "for Acumos clients" in said
    assert "send no key" not in said
    assert "Traceback" not in said
    (audit,) = (workspace.path / "audit").glob("audit-*.jsonl")
    kinds = [json.loads(line)["kind"] for line in audit.read_text().splitlines()]
    assert kinds[1:] == ["service_started", *["batch"] * 5, "service_stopped", "closed"]


def test_a_door_to_all_is_said(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    published(workspace)
    port = free_port()
    with serving(workspace.path, "--acumos", str(port), "--acumos-host", "0.0.0.0") as service:
        assert _ask(port, V1, GOLDEN, {})[0] == 201
        said = service.stop()
    assert f"whoever reaches 0.0.0.0:{port} may ask for segments: Acumos clients send no key" in said


def test_a_door_that_cannot_open_starts_nothing(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    words = [*command(workspace.path, "--port", str(free_port())), "--acumos"]
    done = subprocess.run([*words, str(free_port())], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "no segmentation for Acumos" in done.stderr) == (2, True)
    published(workspace)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*words, port], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "another port with --acumos" in done.stderr) == (2, True)
    assert not (workspace.path / "audit").exists()


def test_a_bundle_is_whole_and_begins_a_service(workspace: Workspace, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    words = [sys.executable, "-m", "subsight", "segments", "bundle", str(workspace.path), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"4 segments of {run.name} in {folder}\n")
    assert {path.name for path in folder.iterdir()} == {
        "model.proto",
        "metadata.json",
        "model.json",
        "digest.json",
    }
    assert (folder / "model.proto").read_text() == PROTO
    assert json.loads((folder / "model.json").read_text()) == RECORD
    again = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, "is not free" in again.stderr) == (5, True)
    port = free_port()
    with serving(tmp_path / "volume", "--bundle", str(folder), "--acumos", str(port)) as service:
        assert _ask(port, V1, GOLDEN, {})[1] == bytes.fromhex("0a0102")
        assert f"segments of {run.name} of the bundle answers" in service.stop()
    (folder / "model.json").write_text(json.dumps({**RECORD, "names": NAMES[::-1]}))
    with pytest.raises(WorkspaceError, match="is not what was bundled"):
        segmentation.of_bundle(folder)
