"""The verbs over offers, as they are typed: a small market is trained on, and one subscriber is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from subsight.simulate import OfferMarket, simulate_offers
from subsight.surfaces.cli import app
from subsight.surfaces.report.page import _listed

DAY = ("--as-of", "2026-05-31")


def said(*words: str) -> str:
    found = CliRunner().invoke(app, [*words])
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offers")
    made = simulate_offers(OfferMarket(subscribers=400), folder / "made")
    for kind, file in (("usage", made.usage), ("offers", made.offers), ("purchases", made.purchases)):
        said("ingest", kind, str(file), "--workspace", str(folder / "ws"))
    return folder / "ws"


def test_training_says_what_is_on_the_map_and_recommending_follows_on_the_same_day(workspace: Path) -> None:
    output = said("offers", "train", str(workspace), *DAY)
    assert "400 subscribers lie by their usage on a map" in output
    assert "Of 12 offers, 9 are valid, 2 are over and 1 is yet to begin." in output  # as planted
    assert f"subsight offers recommend {workspace} --all --as-of 2026-05-31" in output
    one = said("offers", "recommend", str(workspace), "--subscriber", "999611953061", *DAY)
    assert "as of 2026-05-31" in one.splitlines()[0]


def test_the_report_lists_no_sizes_of_groups_among_a_models_facts() -> None:
    assert _listed({"hits": [3, 40], "sizes": [3, 40], "rows": 43}) == [("Rows", "43")]
