"""The tour: kept clean, executed as a reader would, and every output there that a reader is to see."""

from __future__ import annotations

import ast
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

TOUR = Path(__file__).parents[1] / "notebooks" / "tour.ipynb"
SHOWN = (
    "operator", "run", "study", "answer", "judged", "drift", "segment", "apart", "flows", "traffic", "peaks",
    "rfm", "offers", "evaluation", "everybody",
)  # fmt: skip
DRAWN = ("study", "segment", "apart", "traffic", "peaks", "rfm", "offers", "evaluation", "everybody")


def kept() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
    return cells


def test_the_tour_is_kept_without_outputs_or_traces_of_a_machine() -> None:
    for cell in kept():
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}
    assert not re.search(r"/home/|/root/|/tmp/|/Users/|[A-Z]:\\\\", TOUR.read_text(encoding="utf-8"))


def test_every_step_of_the_tour_is_told_before_it_is_taken() -> None:
    cells = kept()
    for before, cell in itertools.pairwise(cells):
        if cell["cell_type"] == "code":
            assert before["cell_type"] == "markdown", cell["id"]
            assert "".join(before["source"]).rstrip()[-1] in ".:", cell["id"]
    headings = re.findall(r"## (\d)", "".join("".join(cell["source"]) for cell in cells))
    assert headings == ["1", "2", "3", "4", "5"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The outputs of the tour, by the name of the cell; executed once for all tests."""
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("tour")
    # This environment's Python, whatever kernels the machine has; and nobody's startup files.
    spec = folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "", "language": "python"}))
    (folder / "here").mkdir()
    read: Any = nbformat.read
    tour = read(TOUR, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        # Who is held out of training follows from the key, and with it which models pass.
        patch.setenv("SUBSIGHT_KEY", "the key of the tour that is tested")
        resources = {"metadata": {"path": str(folder / "here")}}
        # An error ends the execution, and with it the test, with the cell and its traceback.
        NotebookClient(tour, timeout=300, kernel_name="python3", resources=resources).execute()
    assert list((folder / "here").iterdir()) == []
    return {cell["id"].removesuffix("-py"): cell["outputs"] for cell in tour.cells if "outputs" in cell}


@pytest.mark.notebook
def test_the_tour_goes_through_without_an_error_or_a_warning(executed: dict[str, Any]) -> None:
    kinds = {output["output_type"] for outputs in executed.values() for output in outputs}
    # A warning would be a stream.
    assert kinds == {"execute_result"}


@pytest.mark.notebook
def test_everything_shows_itself(executed: dict[str, Any]) -> None:
    pages = {name: executed[name][-1]["data"].get("text/html", "") for name in SHOWN}
    assert [name for name, html in pages.items() if 'class="subsight"' not in html] == []
    assert [name for name in DRAWN if "<svg" not in pages[name]] == []
    assert [name for name, html in pages.items() if "<script" in html] == []
    assert "ingest(" in pages["operator"]
    assert "Engagement" in pages["run"]
    assert "train" not in pages["flows"]
    assert "run()" in pages["flows"]
    assert "<svg" in executed["chart"][-1]["data"]["image/svg+xml"]


@pytest.mark.notebook
def test_the_five_systems_answered(executed: dict[str, Any]) -> None:
    found = {
        name: ast.literal_eval(executed[name][-1]["data"]["text/plain"])
        for name in ("subscriber", "train", "serve", "audit", "watch", "explain", "one", "out")
    }
    scores = found["subscriber"]
    mean = (scores["engagement_score"] + scores["experience_score"]) / 2
    assert scores["satisfaction_score"] == pytest.approx(mean)
    assert found["train"] == [(name, 1, True) for name in ("identity", "behaviour", "feedback")]
    by_identity, by_behaviour = found["serve"]
    assert (by_identity["model"], by_identity["satisfaction_score"]) == ("identity", pytest.approx(0.75))
    assert by_behaviour["model"] == "behaviour"
    assert found["audit"][0] == "whole"
    assert set(found["watch"].values()) == {"nothing to do"}
    name, distances, _ = found["explain"]
    assert name == min(distances, key=distances.__getitem__)
    assert [rank for rank, _, _ in found["one"]] == [1, 2, 3]
    sent, held = found["out"]
    assert sent == held > 1_500
