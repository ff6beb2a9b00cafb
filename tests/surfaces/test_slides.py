"""Slides and PDF: native charts with the answers' numbers, a message on each slide, notes that define it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import installed
from made_run import EVIL, PSEUDONYM, fake_run, overview
from typer.testing import CliRunner

from subsight.answers import Answer
from subsight.errors import ConfigurationError, NotFoundError, StorageError
from subsight.studies import charts
from subsight.surfaces import report, slides
from subsight.surfaces.cli import app
from subsight.surfaces.report import pdf
from subsight.surfaces.slides import notes
from subsight.surfaces.slides.forms import form
from subsight.surfaces.slides.heat import heat
from subsight.surfaces.slides.sentences import clean, label, message
from subsight.workspace import Workspace

pptx = installed("pptx", "extra slides")

HOSTILE = "=HYPERLINK(1)\x0b & <b>"


def answer(rows: list[dict[str, Any]], chart: Any = None, reading: str = "It is so.", **more: Any) -> Answer:
    return Answer("engagement.made", "How is it?", rows, (reading,), chart, **more)


def written(folder: Path, answers: dict[str, list[Answer]] | None = None, **how: Any) -> Any:
    run = fake_run(folder / "run", answers)
    slides.write(run, folder / "deck.pptx", **how)
    return pptx.Presentation(str(folder / "deck.pptx"))


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return written(tmp_path_factory.mktemp("deck"), all_answers=True)


def slide_of(deck: Any, id: str) -> Any:
    return next(slide for slide in deck.slides if f", {id}" in text_of(slide))


def text_of(slide: Any) -> str:
    return "\n".join(shape.text_frame.text for shape in slide.shapes if shape.has_text_frame)


def notes_of(slide: Any) -> str:
    return str(slide.notes_slide.notes_text_frame.text)


def charts_of(slide: Any) -> list[Any]:
    return [shape.chart for shape in slide.shapes if shape.has_chart]


def cells_of(slide: Any) -> list[list[str]]:
    (table,) = [shape.table for shape in slide.shapes if shape.has_table]
    return [[cell.text for cell in row.cells] for row in table.rows]


def test_every_slide_has_a_message_as_its_title_a_source_and_notes(deck: Any) -> None:
    assert len(deck.slides) > 15
    for slide in list(deck.slides)[1:]:
        assert slide.shapes.title.text.strip()
        assert "Source: run 20260101T120000Z-abc123" in text_of(slide)
        assert "content 0a1b2c3d4e5f6071" in notes_of(slide)
    titles = [slide.shapes.title.text for slide in deck.slides]
    assert titles[:2] == ["Subscriber report", "On these data: no clear case, see engagement.elbow."]
    assert "Apple iPhone 6S (A1688) leads with 20,000 sessions." in titles


def test_nothing_stands_outside_the_slide_and_no_type_is_small(deck: Any) -> None:
    for slide in deck.slides:
        for shape in slide.shapes:
            assert min(shape.left, shape.top) >= 0
            assert shape.left + shape.width <= deck.slide_width
            assert shape.top + shape.height <= deck.slide_height
            frames = [shape.text_frame] if shape.has_text_frame else []
            frames += [cell.text_frame for cell in shape.table.iter_cells()] if shape.has_table else []
            runs = [run for frame in frames for p in frame.paragraphs for run in p.runs]
            if shape != deck.slides[0].shapes.title:
                assert all(run.font.size is not None and run.font.size.pt >= 12 for run in runs)


def test_a_bar_chart_is_native_and_holds_the_rows_numbers(deck: Any) -> None:
    (chart,) = charts_of(slide_of(deck, "overview.deciles"))
    (series,) = chart.plots[0].series
    assert list(chart.plots[0].categories) == ["10", "9", "8", "7", "6"]
    assert list(series.values) == pytest.approx([9e12, 4.5e12, 3e12, 2.25e12, 1.8e12])


def test_stacks_lines_and_points_are_native(deck: Any) -> None:
    kind = pptx.enum.chart.XL_CHART_TYPE
    (stacked,) = charts_of(slide_of(deck, "engagement.stacked"))
    assert stacked.chart_type == kind.COLUMN_STACKED
    assert [series.name for series in stacked.plots[0].series] == [
        f"Engagement cluster: {i}" for i in range(3)
    ]
    assert stacked.plots[0].series[2].values[0] == 9e12
    (split,) = charts_of(slide_of(deck, "engagement.applications"))
    assert split.chart_type == kind.BAR_CLUSTERED
    (line,) = charts_of(slide_of(deck, "engagement.days"))
    assert line.chart_type in (kind.LINE, kind.LINE_MARKERS)
    assert line.plots[0].series[0].values == tuple(1000 * day for day in range(20, 29))
    assert line.plots[0].categories[0] == "20 Apr"
    (points,) = charts_of(slide_of(deck, "experience.cells"))
    assert points.chart_type == kind.XY_SCATTER


def test_points_of_small_groups_are_in_no_chart(deck: Any) -> None:
    (points,) = charts_of(slide_of(deck, "experience.cells"))
    # Of 60 points those of fewer than 15 subscribers, 3 to 14, are left out, or one more of them.
    assert 47 <= sum(len(list(series.values)) for series in points.plots[0].series) <= 48


def test_small_multiples_fold_columns_into_charts_of_their_own(deck: Any) -> None:
    duration, volume = charts_of(slide_of(deck, "engagement.clusters"))
    assert duration.chart_title.text_frame.text == "Mean duration"
    # Seconds are written as hours, which is the one unit whose numbers are divided.
    assert duration.plots[0].series[0].values == pytest.approx([60000 / 3600, 120000 / 3600, 180000 / 3600])
    assert volume.plots[0].series[0].values == pytest.approx([3e8, 6e8, 9e8])


def test_what_has_no_native_form_is_a_coloured_table_or_a_picture_and_says_so(deck: Any) -> None:
    heated = slide_of(deck, "overview.correlation")
    cells = cells_of(heated)
    assert cells[0][1:] == ["social media", "Google", "email", "YouTube", "Netflix", "gaming", "other"]
    assert cells[1][1] == "1.00"
    assert "native table" in notes_of(heated)
    drawn = slide_of(deck, "engagement.elbow")
    (picture,) = [
        shape for shape in drawn.shapes if shape.shape_type == pptx.enum.shapes.MSO_SHAPE_TYPE.PICTURE
    ]
    assert picture.image.content_type == "image/png"
    assert "A picture" in notes_of(drawn)


def test_filters_of_a_chart_hold_for_its_native_form() -> None:
    rows = [{"name": "a", "rank": 1, "n_count": 5}, {"name": "b", "rank": 2, "n_count": None},
            {"name": "c", "rank": 3, "n_count": 7}, {"name": "d", "rank": 4, "n_count": 9}]  # fmt: skip
    spec = charts.bars("name", "n_count") | {
        "transform": [{"filter": "isValid(datum.n_count) && datum.rank <= 3"}]
    }
    made = form(answer(rows, spec))
    assert made is not None
    assert list(made.panels[0].categories) == ["a", "c"]
    odd = form(answer(rows, spec | {"transform": [{"filter": "datum.rank % 2"}]}))
    assert odd is None  # what is not understood is not drawn wrongly


def test_names_that_would_be_markup_or_formulas_are_texts(tmp_path: Path) -> None:
    rows = [{"handset": name, "session_count": 9} for name in (HOSTILE, EVIL)]
    made = {
        "engagement": [answer(rows, charts.bars("handset", "session_count"), reading=f"{HOSTILE} leads.")]
    }
    deck = written(tmp_path, made, all_answers=True)
    slide = slide_of(deck, "engagement.made")
    assert slide.shapes.title.text == "=HYPERLINK(1) & <b> leads."
    (chart,) = charts_of(slide)
    assert list(chart.plots[0].categories) == [" =HYPERLINK(1) & <b>", EVIL]
    with zipfile.ZipFile(io.BytesIO(chart.part.chart_workbook.xlsx_part.blob)) as workbook:
        assert b"<f>" not in workbook.read("xl/worksheets/sheet1.xml")
    table = {"engagement": [answer(rows)]}
    assert (
        cells_of(slide_of(written(tmp_path / "2", table, all_answers=True), "engagement.made"))[1][0]
        == "=HYPERLINK(1) & <b>"
    )


def test_an_answer_without_rows_is_its_sentence(deck: Any) -> None:
    slide = slide_of(deck, "experience.nothing")
    assert slide.shapes.title.text == "No: the input has no such column."
    assert "Was packet loss recorded?" in text_of(slide)
    assert not charts_of(slide)


def test_what_a_run_cannot_tell_stands_on_one_slide_of_a_short_deck(tmp_path: Path) -> None:
    def unknown(name: str) -> Answer:
        return Answer(f"recommendations.{name}", "How?", [], (f"No {name} is known.",))

    answers = {"recommendations": [unknown("value"), unknown("uplift")]}
    titles = [slide.shapes.title.text for slide in written(tmp_path, answers).slides]
    assert "No value is known." not in titles
    slide = next(s for s in written(tmp_path / "2", answers).slides if "does not tell" in text_of(s))
    assert "No value is known.\nNo uplift is known." in text_of(slide)
    assert "recommendations.value, recommendations.uplift" in text_of(slide)
    whole = written(tmp_path / "3", answers, all_answers=True)
    assert slide_of(whole, "recommendations.value").shapes.title.text == "No value is known."


def formats(rows: list[dict[str, Any]], chart: Any, folder: Path) -> list[str]:
    """How numbers at the bars of an answer's charts are written."""
    made = written(folder, {"engagement": [answer(rows, chart)]}, all_answers=True)
    drawn = charts_of(slide_of(made, "engagement.made"))
    return [chart.plots[0].data_labels.number_format for chart in drawn]


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("mean_session_count", [1.01, 2.16], "0.00"),
        ("session_count", [1, 2], "#,##0"),
        ("coefficient", [0.219, 0.001], "0.000"),
        ("duration_s", [18_000.0, 7_500.0], '#,##0.0" h"'),
        ("duration_s", [720_000.0, 7_500.0], '#,##0" h"'),
        ("duration_s", [8e9, 2e9], '#,##0,"k h"'),
    ],
)
def test_numbers_at_bars_have_as_many_digits_as_tell_them_apart(
    tmp_path: Path, column: str, values: list[float], told: str
) -> None:
    rows = [{"of": f"group {i}", column: value} for i, value in enumerate(values)]
    assert formats(rows, charts.bars("of", column), tmp_path) == [told]


def test_a_line_that_the_report_draws_from_zero_begins_there(tmp_path: Path) -> None:
    rows = [{"local_hour": hour, "downlink_share": 0.04 + hour / 10_000} for hour in range(24)]
    for zero, least in ((True, 0), (False, None)):
        made = [answer(rows, charts.lines("local_hour", "downlink_share", zero=zero))]
        drawn = charts_of(slide_of(written(tmp_path / f"{zero}", {"engagement": made}, all_answers=True),
                                   "engagement.made"))  # fmt: skip
        assert [chart.value_axis.minimum_scale for chart in drawn] == [least]


def test_small_groups_are_suppressed_in_charts_and_tables(tmp_path: Path) -> None:
    rows = [{"handset": f"Handset {i}", "total_bytes": 1e6 * (i + 1), "subscriber_count": n}
            for i, n in enumerate((3, 4321, 250))]  # fmt: skip
    chart = charts.bars("handset", "total_bytes")
    charted = answer(rows, chart, group_size="subscriber_count")
    deck = written(tmp_path, {"engagement": [charted, replace(charted, id="engagement.table", chart=None)]},
                   all_answers=True)  # fmt: skip
    (native,) = charts_of(slide_of(deck, "engagement.made"))
    # The smallest, and the next smallest that a total would reveal it by.
    assert list(native.plots[0].categories) == ["Handset 1"]
    assert native.plots[0].series[0].values == (2e6,)
    cells = cells_of(slide_of(deck, "engagement.table"))
    assert [row[1:] for row in cells[1:]] == [["–", "suppressed"], ["2.00 MB", "4,321"], ["–", "suppressed"]]
    assert "2 of 3 groups are not shown" in notes_of(slide_of(deck, "engagement.table"))


def test_pseudonyms_are_abbreviated(deck: Any) -> None:
    cells = cells_of(slide_of(deck, "engagement.top_subscribers"))
    assert cells[1][0] == "00000000…"
    assert PSEUDONYM[8:] not in text_of(slide_of(deck, "engagement.top_subscribers"))


def test_notes_define_the_words_of_columns_and_repeat_no_name() -> None:
    answer = Answer("a.b", "Which?", [{"k": 2, "engagement_cluster": 1, "rtt_ms": 3.0}], ())
    terms = [("Cluster", "A group."), ("Index", "A score."), ("Sure, likely, guess", "How surely.")]
    told = notes.of_answer(answer, ["k", "engagement_cluster", "rtt_ms"], "Shown as: a table.", {}, terms)
    assert "- Cluster: A group." in told
    assert not [line for line in told if line.startswith(("- K", "- Index", "- Sure"))]
    assert [line for line in told if line.startswith("- RTT (ms) [rtt_ms]")]


def test_notes_hold_question_definitions_policy_and_provenance(deck: Any) -> None:
    notes = notes_of(slide_of(deck, "overview.top_handsets"))
    assert "Question: Which handsets are used most?" in notes
    assert "[session_count]" in notes
    assert "1,066 sessions without a handset are reported apart." in notes
    assert "Run 20260101T120000Z-abc123, created 2026-01-01T12:00:00+00:00" in notes
    assert "treatment mean" in notes
    assert "subsight 0.1.0" in notes
    stale = notes_of(slide_of(deck, "experience.handsets"))
    assert "carried over from run 20251231T120000Z-def456, whose inputs have changed since" in stale
    defined = notes_of(slide_of(deck, "overview.dispersion"))
    assert "Downlink (bytes) [dl_bytes]: " in defined


def test_notes_name_the_inputs_that_the_study_read_once(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    (sessions,) = manifest["inputs"]
    flows = {**sessions, "name": "flows.parquet", "content": "f1f2"}
    manifest["inputs"] = [sessions, flows, sessions]
    manifest["areas"] = {
        "sessions": {"of": ["sessions"], "studies": ["engagement"], "contents": [sessions["content"]]},
        "flows": {"of": ["flows"], "studies": ["overview"], "contents": ["f1f2"]},
    }
    (run / "manifest.json").write_text(json.dumps(manifest))
    slides.write(run, tmp_path / "deck.pptx", all_answers=True)
    notes = notes_of(slide_of(pptx.Presentation(str(tmp_path / "deck.pptx")), "engagement.days"))
    assert notes.count("- Input telcom.csv") == 1
    assert "flows.parquet" not in notes


def test_a_template_gives_layouts_size_and_theme_and_none_of_its_slides(tmp_path: Path) -> None:
    template = pptx.Presentation()  # 4:3, unlike ours
    template.slides.add_slide(template.slide_layouts[0]).shapes.title.text = "of the template"
    template.slide_layouts[5].name = "House style"
    template.save(str(tmp_path / "house.pptx"))
    deck = written(tmp_path, template=tmp_path / "house.pptx")
    assert deck.slide_width == template.slide_width != 12192000
    assert deck.slides[1].slide_layout.name == "House style"
    assert "of the template" not in "".join(map(text_of, deck.slides))
    for slide in deck.slides:
        assert all(shape.left + shape.width <= deck.slide_width for shape in slide.shapes)
    with zipfile.ZipFile(tmp_path / "deck.pptx") as made, zipfile.ZipFile(tmp_path / "house.pptx") as house:
        assert made.read("ppt/theme/theme1.xml") == house.read("ppt/theme/theme1.xml")
        assert len([name for name in made.namelist() if name.startswith("ppt/slides/slide")]) == len(
            deck.slides
        )


def test_a_template_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.pptx").write_text("no presentation")
    for template in ("no.pptx", "missing.pptx"):
        with pytest.raises(ConfigurationError, match="template"):
            written(tmp_path / template[:2], template=tmp_path / template)


def test_slides_do_not_replace_their_template(tmp_path: Path) -> None:
    house = tmp_path / "house.pptx"
    pptx.Presentation().save(str(house))
    before = house.read_bytes()
    with pytest.raises(ConfigurationError, match="would replace their template"):
        slides.write(fake_run(tmp_path / "run"), tmp_path / "." / "house.pptx", template=house)
    assert house.read_bytes() == before


def test_studies_limit_slides_and_page_alike(tmp_path: Path) -> None:
    deck = written(tmp_path, studies=["engagement"])
    sources = "".join(map(text_of, deck.slides))
    assert "engagement.clusters" in sources
    assert "overview." not in sources.replace("see overview.", "")
    report.write(tmp_path / "run", tmp_path / "page.html", studies=["engagement"])
    html = (tmp_path / "page.html").read_text()
    assert 'id="engagement.clusters"' in html
    assert 'id="overview.deciles"' not in html
    with pytest.raises(NotFoundError, match="traffic"):
        slides.write(tmp_path / "run", tmp_path / "x.pptx", ["traffic"])
    with pytest.raises(NotFoundError, match="traffic"):
        report.write(tmp_path / "run", tmp_path / "x.html", studies=["traffic"])


def test_key_answers_are_fewer_than_all(tmp_path: Path, deck: Any) -> None:
    assert 5 < len(written(tmp_path).slides) < len(deck.slides)


@pytest.mark.parametrize(
    ("reading", "title", "rest"),
    [
        ("One is so. Two follows.", "One is so.", ["Two follows."]),
        (
            f"The first is the largest by far, as was seen before; {'and so on ' * 12}.",
            "The first is the largest by far, as was seen before.",
            [f"And so on {'and so on ' * 11}."],
        ),
        ("Rates rose to 1.5 Mbps in all.", "Rates rose to 1.5 Mbps in all.", []),
    ],
)
def test_the_first_sentence_is_the_title_and_nothing_is_lost(
    reading: str, title: str, rest: list[str]
) -> None:
    assert message(answer([], reading=reading)) == (title, rest)


def test_a_list_that_says_nothing_yet_is_no_title() -> None:
    long = (
        f"Gaming, Other, YouTube and Email, {'and all of the rest of them, ' * 3}are alike in what they do."
    )
    title, rest = message(answer([], reading=long))
    assert title == f"{long[:120].rsplit(' ', 1)[0]} …"
    assert rest == [long]


def test_a_sentence_without_a_place_to_split_is_cut_visibly_and_said_whole() -> None:
    long = (
        "Of 28 pairs of applications: "
        + " and ".join(f"{i} with a kind of correlation" for i in range(9))
        + "."
    )
    title, rest = message(answer([], reading=long))
    assert title.endswith(" …")
    assert len(title) <= 122
    assert rest == [long]


def test_a_list_of_names_is_no_message() -> None:
    names = "Video, Streaming, Social media, Web, Gaming, Other and Email"
    said = f"{names}: the busy hour starts at 20:00 with 8.6 % to 9.7 % of the downlink, higher than others."
    title, rest = message(answer([], reading=said))
    assert title == f"{names}: the busy hour starts at 20:00 with 8.6 % to 9.7 % of the …"
    assert rest == [said]


def test_texts_lose_only_what_a_document_cannot_hold() -> None:
    assert clean("a\x00b\ud800c\nd  é 漢") == "abc d é 漢"
    assert label("-1+1") == " -1+1"


def test_cells_of_a_heat_map_are_coloured_by_value() -> None:
    rows = [{"x": x, "y": "a", "v": v} for x, v in (("p", -1.0), ("q", -0.001), ("r", 1.0), ("s", None))]
    found = heat(answer(rows, charts.heat("x", "y", "v", diverging=True)))
    assert found is not None
    assert list(found.rows[0]) == ["a", "-1.00", "0.00", "1.00", "–"]
    assert list(found.fills[0]) == [None, "#e8934a", found.fills[0][2], "#63a6e0", None]


def test_the_command_goes_by_format_or_name_and_refuses_two_that_differ(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["report", "x", "--format", "docx"]).exit_code != 0
    for arguments in (
        ["--format", "pdf", "--output", "a.html"],
        ["--output", "a.html", "--template", "t.pptx"],
    ):
        done = CliRunner().invoke(app, ["report", str(tmp_path), *arguments])
        assert isinstance(done.exception, ConfigurationError)


def test_the_command_writes_the_current_run_as_slides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "ws"
    Workspace.create(workspace)
    fake_run(workspace / "runs" / "20260101T120000Z-abc123")
    (workspace / "current").symlink_to("runs/20260101T120000Z-abc123")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "ws", "--format", "pptx", "--studies", "memo, engagement"])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == "report.pptx"
    said = "".join(map(text_of, pptx.Presentation("report.pptx").slides))
    assert "memo.recommendation" in said
    assert "engagement.clusters" in said
    assert "overview.deciles" not in said
    done = CliRunner().invoke(app, ["report", "ws", "--output", "page.html", "--studies", "memo"])
    assert done.exit_code == 0, done.output
    assert 'id="engagement.clusters"' not in Path("page.html").read_text()


def test_a_lacking_extra_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "pptx", None)
    with pytest.raises(ConfigurationError, match=r"subsight\[slides\]"):
        slides.write(run, tmp_path / "x.pptx")
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ConfigurationError, match=r"subsight\[pdf\]"):
        report.write(run, tmp_path / "x.pdf")


def test_a_lacking_system_library_is_told_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pango(_name: str) -> None:
        raise OSError("cannot load library 'libpango-1.0-0'")

    monkeypatch.setattr("subsight.surfaces.report.pdf.importlib.import_module", no_pango)
    with pytest.raises(ConfigurationError, match=r"apt-get install libpango-1\.0-0"):
        pdf.required()


def test_a_deck_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    with pytest.raises(StorageError, match="cannot be written"):
        slides.write(run, tmp_path / "none" / "x.pptx")


def _printer() -> str | None:
    try:
        pdf.required()
    except ConfigurationError as error:
        return str(error).replace("\n", " ")
    return None if shutil.which("pdftotext") else "poppler-utils are not installed"


def test_the_pdf_has_pages_text_and_drawings_in_colour(tmp_path: Path) -> None:
    if reason := _printer():
        pytest.skip(reason)
    run = fake_run(tmp_path / "run", {"overview": overview()})
    report.write(run, tmp_path / "report.pdf")
    said = subprocess.run(["pdftotext", str(tmp_path / "report.pdf"), "-"], capture_output=True,
                          check=True, text=True).stdout  # fmt: skip
    pages = said.count("\f")
    assert pages >= 3
    assert f"2 / {pages}" in said
    words = " ".join(said.split())
    assert "The tenth decile uses 9.00 TB." in words
    assert EVIL in words


def test_a_scale_of_colours_is_printed_in_steps() -> None:
    drawn = (
        '<svg><path d="M0,0h200v10h-200Z" fill="url(#a.b-0)" stroke-width="0"/>'
        '<defs><linearGradient id="a.b-0" x1="0"><stop offset="0" stop-color="#fff"/>'
        '<stop offset="0.25" stop-color="#abc"/><stop offset="1" stop-color="#000"/></linearGradient></defs>'
    )
    assert pdf.stepped(drawn).startswith(
        '<svg><rect x="0" y="0" width="50" height="10" fill="#fff"/>'
        '<rect x="50" y="0" width="150" height="10" fill="#abc"/>'
        '<rect x="200" y="0" width="0" height="10" fill="#000"/><defs>'
    )
    assert pdf.stepped("<svg></svg>") == "<svg></svg>"


def test_drawings_for_print_have_colours_instead_of_variables() -> None:
    from subsight.surfaces.report.palette import on_paper
    from subsight.surfaces.report.rendering import resolved

    assert on_paper()["c1"] == "#0063b2"
    assert resolved('<path fill="var(--c2)" stroke="#01f0a3"/>') == '<path fill="#d55e00" stroke="#b4bcc6"/>'
