"""What a notebook shows: escaped, self-contained, respectful of small groups, legible in light and dark."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_run import EVIL, engagement, experience, fake_run, memo, overview

import subsight
from subsight import Answer, showing
from subsight.errors import ConfigurationError, NotFoundError
from subsight.results import Results, Study
from subsight.studies import charts
from subsight.surfaces.report.palette import palette
from subsight.workspace import Workspace


class Reader(HTMLParser):
    """What a browser would find."""

    def __init__(self, html: str | None) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        assert html is not None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(fake_run(tmp_path / "run"))


def test_a_handset_called_script_is_a_text(results: Results) -> None:
    for html in (results.study("overview")._repr_html_(), results.answers("overview")[0]._repr_html_()):
        found = Reader(html)
        assert "script" not in found.tags
        assert f"{EVIL} follows." in found.text
        assert any(EVIL in value for name, value in found.attributes) or EVIL in found.text


def test_whatever_a_name_holds_is_a_text(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / EVIL.replace("/", "_"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["run"] = EVIL
    manifest["studies"][EVIL] = {"answers": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    evil = Answer(EVIL, EVIL, [{EVIL: EVIL}], (EVIL,), notes=(EVIL,))
    for thing in (Results(folder), evil, Study(EVIL, (evil,), from_run=EVIL, is_stale=True)):
        found = Reader(thing._repr_html_())
        assert "script" not in found.tags
        assert EVIL in found.text


def test_an_output_fetches_and_runs_nothing(results: Results) -> None:
    for study in results.studies():
        found = Reader(results.study(study)._repr_html_())
        assert not {"script", "link", "img", "iframe", "object", "image"} & set(found.tags)
        assert not [pair for pair in found.attributes if pair[0].startswith("on")]
        assert [name for name, value in found.attributes if "//" in value and name != "xmlns"] == []
        assert "url(http" not in found.text
        assert "@import" not in found.text


def test_a_study_is_a_sequence_of_its_answers_and_says_when_it_is_stale(results: Results) -> None:
    study = results.study("experience")
    assert list(study) == results.answers("experience")
    assert (study[0], study[-1], len(study)) == (study.answers[0], study.answers[2], 3)
    assert study[1:] == study.answers[1:]
    text = Reader(study._repr_html_()).text
    assert "Carried forward from run 20251231T120000Z-def456. Its inputs have changed since." in text
    assert "Carried forward" not in Reader(results.study("overview")._repr_html_()).text
    with pytest.raises(NotFoundError):
        results.study("nothing")


def test_small_groups_are_shown_nowhere(results: Results) -> None:
    found = Reader(results.answer("experience.handsets")._repr_html_())
    shown = found.text + " ".join(value for _, value in found.attributes)
    assert "3.00 MB" in shown  # 4,321 subscribers
    # 3 subscribers, and 250 who are the next fewest: a total would tell of the three.
    for hidden in ("1.50 MB", "1500000", "4.50 MB", "4500000"):
        assert hidden not in shown
    assert shown.count("suppressed") >= 2
    assert "2 of 3 groups are not shown" in shown


def test_a_run_says_what_it_holds_and_what_was_found(results: Results) -> None:
    text = Reader(results._repr_html_()).text
    for said in (
        "106,856",
        "150,001",
        'study("memo")',
        'table("profiles")',
        "1 of 150,001 records was rejected",
    ):
        assert said in text
    # What was corrected is shown; a mere note is not.
    assert "Dur. (ms) is in seconds" in text


def test_a_run_that_holds_nothing_says_so(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    empty = {"records": 0, "accepted": 0, "rejected": 0, "findings": [], "rejects": []}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "studies": {}, "tables": {}, "inputs": []}))
    (folder / "quality.json").write_text(json.dumps(empty))
    text = Reader(Results(folder)._repr_html_()).text
    assert "No findings." in text
    assert "No records were read." in text
    assert "Studies" not in text


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert "holds no run" in Reader(Results(tmp_path)._repr_html_()).text
    insight = subsight.open(tmp_path / "ws")
    (tmp_path / "ws" / "models").mkdir()
    (tmp_path / "ws" / "models" / "registry.json").write_text("{")
    assert "registry.json cannot be read" in Reader(insight._repr_html_()).text


def test_a_workspace_says_what_to_do_next(tmp_path: Path) -> None:
    insight = subsight.open(tmp_path / "ws")
    text = Reader(insight._repr_html_()).text
    assert "No run yet." in text
    assert "ingest(" in text

    add(insight.workspace, "sessions", "aa", 12)
    add(insight.workspace, "offers", "bb", 3)
    text = Reader(insight._repr_html_()).text
    assert "run() publishes what no run holds yet: sessions" in text
    assert "train_offers() publishes what no run holds yet: offers" in text
    assert "ingest(" not in text

    name = published(insight.workspace, [("sessions", "aa")], ["engagement"])
    text = Reader(insight._repr_html_()).text
    assert f"The current one is {name}: engagement." in text
    assert " run()" not in text
    assert "train_offers()" in text
    assert 'study("engagement")' in text

    published(insight.workspace, [("sessions", "aa"), ("offers", "bb")], ["engagement", "offers"])
    text = Reader(insight._repr_html_()).text
    assert "train_offers()" not in text
    assert "recommend_all()" in text


def add(workspace: Workspace, table: str, content: str, accepted: int) -> None:
    workspace.add(workspace.new_batch(table, content), {"accepted": accepted, "rejected": 0})


def published(workspace: Workspace, inputs: list[tuple[str, str]], studies: list[str]) -> str:
    """A run by hand over those inputs."""
    with workspace.staged_run() as folder:
        name = folder.name.removeprefix(".staged-")
        manifest = {
            "run": name,
            "inputs": [{"table": table, "content": content} for table, content in inputs],
            "studies": {study: {"answers": 0} for study in studies},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return name


def test_an_answer_without_anything_says_so_and_a_long_one_says_what_it_leaves_out() -> None:
    assert "Nothing to show." in Reader(Answer("a.b", "What?", [])._repr_html_()).text
    rows = [{"cell": f"cell {i}", "session_count": 1000 + i} for i in range(70)]
    text = Reader(Answer("a.b", "What?", rows, ("70.",))._repr_html_()).text
    assert "Table, 70 rows" in text
    assert "20 more in rows" in text
    assert "cell 49" in text
    assert "cell 50" not in text


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_words_are_legible_in_light_and_in_dark(results: Results) -> None:
    html = results.answers("overview")[0]._repr_html_() or ""
    for side in (0, 1):
        paper = luminance(palette()["paper"][side])
        for name in ("ink", "muted", "accent"):
            low, high = sorted((luminance(palette()[name][side]), paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, side)
    light, dark = palette()["ink"]
    assert f"--ink: light-dark({light}, {dark});" in html
    # Every colour that the page or a chart asks for is there.
    asked = {part.split(")")[0].strip() for part in html.split("var(--")[1:]}
    assert asked <= set(palette())


def test_without_the_library_a_thing_keeps_its_text_and_nothing_is_loaded() -> None:
    check = (
        "import sys; from subsight.answers import Answer; one = Answer('a.b', 'What?', ())\n"
        "assert one._repr_html_() is None\n"
        "import subsight; subsight.Answer; import subsight.surfaces.notebook\n"
        "heavy = {'altair', 'jinja2', 'vl_convert', 'pyarrow', 'numpy', 'duckdb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'What?' in one._repr_html_()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", check], check=True)
    assert showing.html(object()) is None


def test_a_chart_needs_altair_and_something_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer("a.b", "What?", [{"x": "one", "y": 1}], chart=charts.bars("x", "y"))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "altair", None)
        with pytest.raises(ConfigurationError, match=r"subsight\[notebook\]"):
            subsight.chart(answer)


@pytest.mark.notebook
def test_an_answer_that_draws_nothing_has_no_chart() -> None:
    answer = Answer("a.b", "What?", [{"x": "one", "y": 1}], chart=charts.bars("x", "y"))
    for nothing in (replace(answer, chart=None), replace(answer, rows=[])):
        with pytest.raises(NotFoundError, match="has no chart"):
            subsight.chart(nothing)


@pytest.mark.notebook
@pytest.mark.parametrize("study", [overview, engagement, experience, memo], ids=lambda study: study.__name__)
def test_every_chart_is_one_of_altair_over_the_answers_own_rows(study: object, results: Results) -> None:
    import vl_convert

    name = getattr(study, "__name__", "")
    drawn = [answer for answer in results.answers(name) if answer.chart and answer.rows]
    assert drawn or name == "memo"
    for answer in drawn:
        spec = subsight.chart(answer).to_dict()  # checked by Altair against Vega-Lite's schema
        (rows,) = spec["datasets"].values() if "datasets" in spec else (spec["data"]["values"],)
        assert rows == [dict(row) for row in answer.rows]
        assert spec["config"]["background"] == palette()["paper"][0]
        assert "#01f0" not in json.dumps(spec)
        assert "<svg" in vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])


@pytest.mark.notebook
def test_a_small_group_is_not_in_the_chart(results: Results) -> None:
    spec = json.dumps(subsight.chart(results.answer("experience.handsets")).to_dict())
    assert "3000000.0" in spec
    assert "1500000.0" not in spec
    assert "4500000.0" not in spec
