"""Schemathesis over the whole OpenAPI document of the service as a process, with every champion in place.

All of its checks hold: no 5xx (with all champions there none is by design), statuses, media types and
bodies as documented, what breaks the schema refused, what fits it accepted (see schemathesis.toml).
10 examples of each operation by default; `SUBSIGHT_EXAMPLES=600` for the long version.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from segmented import add
from served import serving

from subsight import Insight
from subsight.ingestion import ingest
from subsight.lifecycle import training, watching
from subsight.lifecycle.registry import Registry
from subsight.privacy import pseudonym
from subsight.settings import load
from subsight.simulate import OfferMarket, Operator, simulate, simulate_offers
from subsight.workspace import Workspace

EXAMPLES = os.environ.get("SUBSIGHT_EXAMPLES", "10")
CONFIGURATION = str(Path(__file__).with_name("schemathesis.toml"))
COUNT = re.compile(r'^subsight_requests_total{route="(.+)",status="(\d+)"} ', re.MULTILINE)
PATHS = {
    "/predict", "/predict/batch", "/segments/predict", "/subscribers/{id}", "/subscribers/{id}/segment",
    "/subscribers/{id}/offers", "/offers/recommend", "/feedback", "/monitoring", "/health", "/ready",
    "/metrics", "/model",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def key() -> Iterator[None]:
    """One key: which answers a model is judged by follows from it, and so whether it becomes a champion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", "k" * 32)
        yield


@pytest.fixture(scope="module")
def workspace(key: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A published run with segments and offers, a champion of each model, and a look at them."""
    folder = tmp_path_factory.mktemp("schemathesis")
    made = simulate(Operator(subscribers=1000, sessions=6000), folder / "operator")
    insight = Insight.open(folder / "ws", as_of="2026-06-01")
    insight.workspace.settings_file.write_text('as_of = "2026-06-01"\n')
    insight.run(made.sessions, studies=["satisfaction"])
    market = simulate_offers(OfferMarket(subscribers=1000), folder / "market")
    for kind, file in (("usage", market.usage), ("offers", market.offers), ("purchases", market.purchases)):
        insight.ingest(file, kind=kind)
    insight.train_offers()
    workspace, settings = Workspace.open(folder / "ws"), load()
    ingest(workspace, [made.feedback], settings, kind="feedback")
    add(workspace.run(), first=pseudonym("999000000000", workspace.key()))
    training.train(workspace, settings)
    watching.look(workspace, settings)
    registry = Registry(workspace)
    assert [name for name in registry.names() if "champion" in registry.aliases(name)] == [
        "identity", "behaviour", "feedback",
    ]  # fmt: skip
    return workspace


def test_the_service_does_what_its_document_says(workspace: Workspace, tmp_path: Path) -> None:
    with serving(workspace.path) as service:
        url = f"http://127.0.0.1:{service.port}"
        command = ["schemathesis", "--config-file", CONFIGURATION, "run", f"{url}/openapi.json"]
        command += ["--seed", "1", "--max-examples", EXAMPLES]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout
        with urlopen(f"{url}/metrics") as answer:
            counted = COUNT.findall(answer.read().decode())
        said = service.stop()
    # The service's own count agrees, and says that every address was reached past its refusals.
    assert not [one for one in counted if one[1].startswith("5")]
    assert {route for route, status in counted if status.startswith("2")} == {*PATHS, "/openapi.json"}
    assert "Traceback" not in said
