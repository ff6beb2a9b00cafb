from __future__ import annotations

import os
import runpy
from pathlib import Path

import pyarrow as pa
import pytest

from subsight.enrich.classification import tables
from subsight.enrich.classification.agreement import Agreement, Cell, agreement
from subsight.store import open_store

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SUBSIGHT_SHARED", ROOT.parent / "shared"))
LABELLED = SHARED / "data" / "flows" / "labelled_flows.csv"

# Cohen's kappa of 20, 5, 10 and 15: they agree in 0.7, by chance in 0.5 x 0.6 + 0.5 x 0.4 = 0.5,
# so kappa is 0.2 / 0.5 = 0.4. Fifty more are not told, of which thirty are merely registered.
CELLS = (
    Cell("Web", "Web", "likely", 20, 2000),
    Cell("Web", "Email", "guess", 5, 100),
    Cell("Email", "Web", "guess", 10, 100),
    Cell("Email", "Email", "likely", 15, 1000),
    Cell("Email", "Unknown", None, 20, 800),
    Cell("Video", "Other registered", "guess", 30, 0),
)


def test_figures_by_hand() -> None:
    found = Agreement(CELLS)
    assert found.total() == 100
    assert found.total("total_bytes") == 4000
    assert found.figures() == pytest.approx(
        {"coverage": 0.5, "accuracy_covered": 0.7, "accuracy_all": 0.35, "kappa_covered": 0.4}
    )
    assert found.figures(without_guesses=True) == pytest.approx(
        {"coverage": 0.35, "accuracy_covered": 1.0, "accuracy_all": 0.35, "kappa_covered": 1.0}
    )
    in_bytes = found.figures("total_bytes")
    assert in_bytes["coverage"] == pytest.approx(3200 / 4000)
    assert in_bytes["accuracy_covered"] == pytest.approx(3000 / 3200)
    assert found.confusion() == {
        ("Email", "Email"): 15, ("Email", "Unknown"): 20, ("Email", "Web"): 10,
        ("Video", "Unknown"): 30, ("Web", "Email"): 5, ("Web", "Web"): 20,
    }  # fmt: skip


def test_nothing_to_compare_is_null() -> None:
    names = ("coverage", "accuracy_covered", "accuracy_all", "kappa_covered")
    assert Agreement(()).figures() == dict.fromkeys(names)
    # All of one category: chance alone would agree.
    assert Agreement(CELLS[:1]).figures()["kappa_covered"] is None


def test_labels_are_hidden_and_only_proper_inspection_counts() -> None:
    rows = [  # port, protocol, bytes, bytes back, label, category, method
        (443, 6, 100, 900, "TLS.YouTube", "Media", "DPI"),
        (443, 6, 10, None, "TLS", "Web", "DPI (cache)"),
        (443, 6, 10, 0, "TLS", "Web", "DPI"),
        (53, 17, 1, 2, "DNS", "Network", "DPI (partial)"),
        (443, 6, 5, 5, "TLS", "Web", "Match by port"),
        (443, 6, 5, 5, "TLS", "Web", None),
        (443, 6, 5, 5, "Unknown", None, "DPI"),
    ]
    names = ("dst_port", "protocol", "src_to_dst_bytes", "dst_to_src_bytes", "application",
             "application_category", "application_method")  # fmt: skip
    flows = pa.table(
        {"src_port": [60000] * len(rows)} | dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    )
    with open_store("duckdb", memory="1GB") as store:
        found = agreement(store, store.from_arrow(flows), tables())
    assert found.cells == (
        Cell("Network services", "Network services", "likely", 1, 3),
        Cell("Video", "Web", "guess", 1, 1000),
        Cell("Web", "Web", "guess", 2, 20),
    )


def test_the_published_agreement_is_what_is_measured() -> None:
    if not LABELLED.exists():
        pytest.skip("the shared data are not here")
    report = runpy.run_path(str(ROOT / "benchmarks" / "classification_agreement.py"))["report"]
    measured = report(LABELLED)
    assert measured in (ROOT / "docs" / "classification.md").read_text(encoding="utf-8")


def test_the_rules_that_the_page_shows_are_understood() -> None:
    from subsight.enrich.classification import rules

    page = (ROOT / "docs" / "classification.md").read_text(encoding="utf-8")
    shown = page.split("```toml\n")[1].split("```")[0]
    assert len(rules.parse(shown)) == shown.count("[[rules]]") > 0
