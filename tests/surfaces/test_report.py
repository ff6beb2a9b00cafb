"""The report: complete, safe, self-contained, and readable on a phone, on paper and in the dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_run import EVIL, PSEUDONYM, engagement, experience, fake_run, memo, overview

from subsight.errors import NotFoundError, StorageError
from subsight.results import Answer, Results
from subsight.studies import charts
from subsight.surfaces import report
from subsight.surfaces.report.page import data_quality, headlines, page
from subsight.surfaces.report.rendering import dress, spec
from subsight.surfaces.report.tables import link, note, table
from subsight.surfaces.report.words import column_unit, phrase


class Reader(HTMLParser):
    """What a browser would find: ids, links, addresses of other files, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self.tags: list[str] = []
        self.labels: list[str] = []
        self.titles: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "svg":
            self.labels.append(given["aria-label"])
        self.titles += [given["title"]] if "title" in given else []
        for name in ("href", "xlink:href", "src", "srcset", "data", "action"):
            if name in given:
                (self.links if given[name].startswith("#") else self.outside).append(given[name])

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def html(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("out") / "report.html"
    report.write(folder, output)
    return output.read_text(encoding="utf-8")


def test_every_answer_stands_under_its_id_and_every_link_leads_somewhere(html: str) -> None:
    reader = read(html)
    ids = [a.id for a in (*memo(), *overview(), *engagement(), *experience())]
    assert set(ids) <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)


def test_the_memo_comes_first_and_the_models_last(html: str) -> None:
    ids = read(html).ids
    order = ["run", "memo", "overview", "engagement", "experience", "quality", "models", "definitions"]
    assert sorted(order, key=ids.index) == order


def test_evidence_and_readings_link_to_the_answers_they_name(html: str) -> None:
    article = html.split('<article id="memo.recommendation"')[1].split("</article>")[0]
    linked = re.findall(r'class="id" href="#([^"]+)"', article)
    assert linked == [
        "engagement.elbow",
        "engagement.applications",
        "overview.deciles",
        "experience.handsets",
    ]


def test_the_file_needs_nothing_else(html: str) -> None:
    reader = read(html)
    assert reader.outside == []
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(reader.tags)
    assert set(re.findall(r"https?://[^\"' )<]+", html)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert not re.search(r"\son\w+=", html)


def test_what_comes_from_the_data_is_escaped_in_text_tables_and_charts(html: str) -> None:
    assert "<script" not in html
    assert read(html).text.count(EVIL) == 3  # the reading, the cell, the label on the axis


def test_small_groups_reach_neither_table_nor_chart(folder: Path, html: str) -> None:
    answer = Results(folder).answer("experience.handsets")
    values = [
        row["tcp_retransmission_bytes"] for row in dress(answer.chart or {}, answer.rows)["data"]["values"]
    ]
    assert values == [None, 3e6, None]
    article = html.split('<article id="experience.handsets"')[1].split("</article>")[0]
    assert "3.00 MB" in article
    assert "1.50 MB" not in article
    assert "4.50 MB" not in article
    assert article.count("suppressed</td>") == 2
    assert "2 of 3 groups are not shown" in article


def test_numbers_are_said_with_their_units_and_pseudonyms_shortened(html: str) -> None:
    reader = read(html)
    assert PSEUDONYM not in reader.text
    assert f"{0:08x}{PSEUDONYM[8:]}" in reader.titles
    assert "00000000…" in reader.text
    for said in ("9.00 TB", "55.0 %", "106,856", "8.80 GB", "20,000"):
        assert said in reader.text


def test_a_row_about_a_variable_is_said_in_that_variables_unit() -> None:
    made = table(overview()[-1].rows, ())
    assert made is not None
    first = {cell.head.name: cell.shown for cell in made.rows[0]}
    assert (first["variable"], first["mean"], first["skew"], first["missing_count"]) == (
        "downlink",
        "455 MB",
        "-0.3",
        "29,731",
    )
    assert [cell.shown for cell in made.rows[1][:2]] == ["RTT downlink", "104 ms"]


@pytest.mark.parametrize(
    ("name", "words", "unit"),
    [
        ("app_social_media_dl_bytes", "social media downlink", "bytes"),
        ("app_youtube_ul_bytes", "YouTube uplink", "bytes"),
        ("dl_volume_31250_to_125000_s", "downlink of 31.25 to 125 kB", "s"),
        ("first_dl_50_to_250_kbps_share", "first downlink of 50 to 250 kbps", "share"),
        ("first_handset_manufacturer=Apple", "first handsets by Apple", None),
        ("first_quartile_throughput_kbps", "first quartile throughput", "kbps"),
        ("ul_above_300_kbps_share", "uplink above 300 kbps", "share"),
        ("dl_250_to_1000_kbps_share", "downlink of 250 to 1,000 kbps", "share"),
        ("total_bytes", "total volume", "bytes"),
        ("bytes", "volume", "bytes"),
        ("is_best_silhouette", "best silhouette", None),
        ("handset_manufacturer=Wiko Global Sasu", "handsets by Wiko Global Sasu", None),
        ("rtt_ms_raw", "RTT raw", "ms"),
        ("tcp_retransmission_bytes_median", "TCP retransmission median", "bytes"),
        ("subscriber_id", "subscriber", "identifier"),
        ("night_share", "night share", "share"),
        ("k", "k", None),
        ("engagement_cluster", "engagement cluster", None),
    ],
)
def test_names_become_words_and_units(name: str, words: str, unit: str | None) -> None:
    assert (phrase(name), column_unit(name)) == (words, unit)


def test_links_are_made_of_known_answers_only() -> None:
    assert str(link("see a.b, c.d & <i>", {"a.b"})) == (
        'see <a class="id" href="#a.b">a.<wbr>b</a>, c.d &amp; &lt;i&gt;'
    )


def test_an_id_breaks_between_its_words_and_a_named_column_is_said_in_words() -> None:
    assert str(link("experience.by_handset", {"experience.by_handset"})) == (
        '<a class="id" href="#experience.by_handset">experience.<wbr>by_<wbr>handset</a>'
    )
    said = note("is_fill: under the policy `mean`, not rtt_ms", (), {"is_fill", "rtt_ms"})
    assert str(said) == (
        '<abbr title="is_fill">Fill</abbr>: under the policy <code>mean</code>, not '
        '<abbr title="rtt_ms">RTT</abbr>'
    )
    assert str(note("ties go to other_name", (), {"is_fill"})) == "Ties go to other_name"


def test_values_of_a_row_are_said_in_its_unit_whatever_the_column() -> None:
    made = table(
        [
            {"variable": "dl_bytes", "unit": "bytes", "mean_raw": 8.8e9, "variance_raw": 4.0},
            {"variable": "best against worst", "unit": "share points", "mean_raw": 0.0506},
            {"variable": "handset_manufacturer=Apple", "unit": "share", "mean_raw": 0.25},
        ],
        (),
    )
    assert made is not None
    assert [[str(cell.shown) for cell in row[:3]] for row in made.rows] == [
        ["downlink", "bytes", "8.80 GB"],
        ["best against worst", "", "5.1 points"],
        ["handsets by Apple", "", "25.0 %"],
    ]
    assert made.rows[0][3].shown == "4"


def test_units_stand_where_the_numbers_do_not_say_them() -> None:
    rows = [
        {"line": "a", "value": 0.25, "unit": "share", "threshold": 0.1},
        {"line": "b", "value": 4.0, "unit": "index points", "threshold": 7.0},
    ]
    made, without = table(rows, ()), table(rows[:1], ())
    assert made is not None
    assert without is not None
    assert [[str(cell.shown) for cell in row[1:]] for row in made.rows] == [
        ["25.0 %", "", "10.0 %"], ["4", "index points", "7"],
    ]  # fmt: skip
    assert [head.name for head in without.heads] == ["line", "value", "threshold"]
    times = table([{"duration_s": 7200.0, "start_at": "2019-04-25T00:00:00Z"}], ())
    assert times is not None
    assert times.rows[0][0].shown == "2.0 h"
    assert [head.unit for head in times.heads] == [None, "UTC"]  # hours in a column of seconds


def test_bounds_of_a_measure_are_said_in_its_unit_and_alike_names_with_theirs() -> None:
    cuts = table(
        [
            {"measure": "total_bytes", "above": 254e6, "up_to": 1.19e9},
            {"measure": "active_days", "above": None, "up_to": 24},
            {"measure": "recency_days", "above": 3, "up_to": None},
        ],
        (),
    )
    assert cuts is not None
    assert [[str(cell.shown) for cell in row] for row in cuts.rows] == [
        ["total volume", "254 MB", "1.19 GB"], ["active days", "–", "24 days"],
        ["days since the last use", "3 days", "–"],
    ]  # fmt: skip
    alike = table([{"variable": name} for name in ("duration_s", "duration_ms", "rtt_ms")], ())
    assert alike is not None
    assert [str(row[0].shown) for row in alike.rows] == ["duration (s)", "duration (ms)", "RTT"]


def test_a_table_may_be_wide_and_hold_prose() -> None:
    columns = {f"mean_{i}": i for i in range(9)}
    kinds = [
        table([row], ()) for row in ({"k": 1}, columns, {"text": "x " * 30}, {**columns, "t": "x " * 30})
    ]
    assert [made.kind for made in kinds if made] == ["plain", "wide", "prose", "prose wide widest"]
    widest = table([{f"mean_{i}": i for i in range(13)}], ())
    assert widest is not None
    assert widest.kind == "wide widest"


def dressed_chart(spec: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The encodings of a chart as it is drawn."""
    encoding: dict[str, Any] = dress(spec, rows)["encoding"]
    return encoding


def test_labels_of_features_are_words_and_bars_need_no_title_beside_their_names() -> None:
    rows = [{"feature": "handset_manufacturer=Apple", "coefficient": 0.1}]
    y = dressed_chart(charts.bars("feature", "coefficient"), rows)["y"]
    assert y["title"] is None
    assert '"handset_manufacturer=Apple": "handsets by Apple"' in y["axis"]["labelExpr"]


def test_axis_titles_say_a_unit_only_where_the_labels_do_not() -> None:
    rows = [{"decile": 1, "total_bytes": 5e9, "session_count": 3, "rtt_ms": 20, "night_share": 0.5}]
    titles = {
        name: dressed_chart(charts.bars("decile", name, vertical=True), rows)["y"]["title"]
        for name in ("total_bytes", "session_count", "rtt_ms", "night_share", "value")
    }
    assert titles == {
        "total_bytes": "total volume",
        "session_count": "sessions",
        "rtt_ms": "RTT (ms)",
        "night_share": "night share",
        "value": None,
    }


def test_a_legend_has_as_many_columns_as_its_longest_label_leaves_room_for() -> None:
    def columns(*labels: str) -> int:
        rows = [{"of": label, "kind_of": label, "mean": 1} for label in labels]
        count: int = dressed_chart(charts.bars("of", "mean", colour="kind_of"), rows)["color"]["legend"][
            "columns"
        ]
        return count

    assert columns("Apple", "Samsung", "Huawei") == 3
    assert columns("correlation", "correlation 2") == 2
    # The labels of the axis leave a legend only what is right of them.
    assert columns("correlation", "correlation if independent") == 1
    assert columns("a label of more than half of the width of the chart", "b") == 1


def test_a_legend_of_one_colour_is_left_out_also_where_the_others_have_no_bar() -> None:
    rows = [
        {"of": "a", "kind_of": "bought", "mean": 1.0},
        {"of": "b", "kind_of": "nothing", "mean": None},
    ]
    drawn = dressed_chart(charts.bars("of", "mean", colour="kind_of"), rows)
    assert drawn["color"]["legend"] is None
    assert drawn["y"]["sort"] == ["a"]
    many = charts.bars("of", "mean", colour="kind_of")
    many["transform"] = [*many["transform"], {"filter": "datum.mean > 0"}]
    assert dressed_chart(many, [rows[0], {**rows[1], "mean": 0.0}])["color"]["legend"] is None
    told = dressed_chart(charts.bars("of", "mean", colour="kind_of"), [rows[0], {**rows[1], "mean": 2.0}])
    assert told["color"]["legend"]["columns"] == 3


def test_shares_are_written_as_in_words_and_keep_a_decimal_where_it_fits() -> None:
    def cells(count: int) -> str:
        rows = [{"x": f"kind {i}", "y": "a", "part_share": 0.1} for i in range(count)]
        [_, label] = dress(charts.heat("x", "y", "part_share", text=".1%"), rows)["layer"]
        assert label["encoding"]["text"]["field"] == "_written"
        return str(label["transform"][-1]["calculate"])

    assert "'.1%'" in cells(4)
    assert "'.0%'" in cells(12)
    assert "'%', '\u00a0%'" in cells(4)
    axis = dressed_chart(charts.bars("of", "part_share"), [{"of": "a", "part_share": 0.2}])["x"]["axis"]
    assert "'\u00a0%'" in axis["labelExpr"]
    assert "format" not in axis


def test_labels_of_two_words_stand_on_two_lines_before_they_are_slanted() -> None:
    def axis(*labels: str) -> dict[str, Any]:
        rows = [{"x": label, "y": "a", "count": 1} for label in labels]
        found: dict[str, Any] = dress(charts.heat("x", "y", "count"), rows)["encoding"]["x"]["axis"]
        return found

    lines = axis(*(f"frequency {i}" for i in range(1, 6)))
    assert lines["labelAngle"] == 0
    assert '["frequency", "1"]' in lines["labelExpr"]
    assert axis(*(f"unbreakable-name-{i}" for i in range(5)))["labelAngle"] == -40
    # Every second hour tells which the others are.
    assert axis(*(f"{hour:02}" for hour in range(24)))["labelOverlap"] == "parity"


def test_where_every_group_is_too_small_nothing_is_drawn() -> None:
    def drawn(*counts: int | None) -> str | None:
        rows = [{"of": f"kind {i}", "subscriber_count": count} for i, count in enumerate(counts)]
        return spec(Answer("a.b", "How many?", rows, ("So many.",), charts.bars("of", "subscriber_count")))

    assert drawn(None, None) is None
    assert drawn(None, 20) is not None
    assert drawn() is None
    folded = charts.facet(charts.lines("k", "value"), "measure")
    folded["transform"] = [
        {"fold": ["inertia", "silhouette"], "as": ["measure", "value"]}, {"filter": "isValid(datum.value)"},
    ]  # fmt: skip
    rows = [{"k": k, "inertia": 9.0 / k, "silhouette": None if k == 1 else 0.5} for k in (1, 2, 3)]
    assert spec(Answer("a.b", "How many?", rows, ("So many.",), folded)) is not None


def test_yes_and_no_in_a_legend_and_numbers_that_stand_upright() -> None:
    rows = [{"rank": 0.25 * i, "session_share": 0.1, "is_fill": i == 1} for i in range(40)]
    found = dressed_chart(charts.bars("rank", "session_share", colour="is_fill", vertical=True), rows)
    assert found["color"]["title"] == "fill value"
    assert "'yes' : 'no'" in found["color"]["legend"]["labelExpr"]
    assert found["x"]["axis"]["labelAngle"] == 0


def test_every_chart_is_well_formed_named_and_follows_the_page(html: str) -> None:
    from xml.etree import ElementTree

    charted = [a for a in (*memo(), *overview(), *engagement(), *experience()) if a.chart]
    reader = read(html)
    assert reader.labels == [a.reading[0] for a in charted] + [reader.labels[-1]]
    assert reader.labels[-1].startswith("Sessions start on 6 days, from 4 April 2019 to 26 April 2019")
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == len(charted) + 1
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "var(--ink)" in drawing
        assert "#01f0" not in drawing
        assert "font-family" not in drawing
    assert set(re.findall(r"var\(--([\w-]+)\)", "".join(drawings))) <= set(colours(0))


def test_an_answer_without_rows_says_what_it_read(html: str) -> None:
    article = html.split('<article id="experience.nothing"')[1].split("</article>")[0]
    assert "No: the input has no such column." in article
    assert "<table" not in article
    assert "<svg" not in article


def test_a_model_shows_its_card_its_fit_and_its_centroids(html: str) -> None:
    model = read(html.split('<article id="model.engagement"')[1].split("</article>")[0]).text
    for said in (
        "Groups subscribers by how much",
        "one file, three days",
        "106,856",
        "Centroids in z-scores.",
    ):
        assert said in model
    assert re.search(r"2\s*3\.1\s*2\.9\s*3\.3", model)


def test_categories_folded_from_columns_are_said_in_words(html: str) -> None:
    article = html.split('<article id="engagement.clusters"')[1].split("</article>")[0]
    drawn = read(article.split("<figure>")[1].split("</figure>")[0]).text
    assert "mean duration (h)" in drawn
    assert "mean volume (MB)" in drawn


def test_panels_of_several_units_are_drawn_on_scales_that_people_read() -> None:
    fold = {"fold": ["mean_duration_s", "mean_bytes", "session_count"], "as": ["of", "value"]}
    chart = charts.facet(charts.bars("k", "value", vertical=True), "of", free="y") | {"transform": [fold]}
    rows = [{"k": 0, "mean_duration_s": 5 * 3600.0, "mean_bytes": 5e8, "session_count": 9}]
    drawn = dress(chart, rows)
    assert drawn["transform"] == [
        {"calculate": 'datum["mean_duration_s"] / 3600', "as": "mean duration (h)"},
        {"calculate": 'datum["mean_bytes"] / 1e+06', "as": "mean volume (MB)"},
        {**fold, "fold": ["mean duration (h)", "mean volume (MB)", "session_count"]},
    ]


def test_headings_of_panels_keep_to_the_width_of_their_panel() -> None:
    long, short = "tcp_retransmission_dl_bytes", "rtt_dl_ms"
    rows = [
        {"variable": name, "unit": name.rpartition("_")[2], "bin_low": 1, "bin_high": 2, "session_count": 3}
        for name in (long, short)
    ]
    chart = charts.facet(charts.histogram("bin_low", "bin_high", "session_count"), "variable", free="both")
    said = json.loads(dress(chart, rows)["facet"]["header"]["labelExpr"].partition("}")[0] + "}")
    assert said == {
        long: ["TCP retransmission", "downlink (bytes)"], short: ["", "RTT downlink (ms)"],
    }  # fmt: skip
    volumes = dress(chart, [rows[0]])
    assert "downlink (bytes)" not in volumes["facet"]["header"]["labelExpr"]
    assert "B'" in volumes["spec"]["encoding"]["x"]["axis"]["labelExpr"]  # each label says bytes


def test_what_was_carried_forward_says_from_where_and_whether_it_is_stale(html: str) -> None:
    assert "Carried forward from run 20251231T120000Z-def456. Stale" in html
    assert html.count("Carried forward") == 1


def test_the_head_counts_what_was_read_and_rejected(html: str) -> None:
    head = read(html.split('<section id="run"')[1].split("</section>")[0]).text
    for said in (
        "150,001",
        "150,000",
        "1,066",
        "telcom.csv",
        "the two periods cannot be compared",
    ):
        assert said in head
    # Of the days that are shown, 149,094 sessions in all, the three busiest hold 140,094.
    assert "from 4 April 2019 to 26 April 2019; the three busiest days hold 94.0 % of those shown" in head


def test_inputs_without_an_area_of_their_own_are_counted_too(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    leases = {"table": "leases", "name": "leases.csv", "content": "77", "records": 9, "accepted": 8}
    [sessions] = manifest["inputs"]
    manifest["inputs"] = [sessions, {**leases, "rejected": 1}, dict(sessions)]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    numbers = {words: value for words, value, _ in headlines(Results(folder))}
    assert [numbers[f"Records {of}"] for of in ("read", "accepted", "rejected")] == [
        "150,010",
        "150,008",
        "2",
    ]
    assert data_quality(Results(folder)).answers[1].reading == ("2 of 150,010 records were rejected.",)


def test_findings_are_counted_by_how_grave_they_are_the_gravest_first(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / "run")
    quality = json.loads((folder / "quality.json").read_text())
    found = [
        {"column": "rtt_ms", "check": "unit", "severity": severity, "count": 1, "text": "so"}
        for severity in ("note", "corrected", "note", "warning")
    ]
    (folder / "quality.json").write_text(json.dumps({**quality, "findings": found}))
    answer = data_quality(Results(folder)).answers[0]
    assert answer.reading == ("4 findings: 1 correction, 1 warning, 2 notes.",)
    assert [row["severity"] for row in answer.rows] == ["corrected", "warning", "note", "note"]


def test_days_that_a_study_draws_are_not_drawn_again_below(tmp_path: Path) -> None:
    days = Answer(
        "overview.coverage", "Which days?", [{"local_date": "2019-04-24", "session_count": 9}], ("One day.",)
    )
    for studied in (False, True):
        answers = {"overview": [*overview(), *[days] * studied]}
        folder = fake_run(tmp_path / f"run-{studied}", answers)
        with report.Drawing(15) as drawing:
            made = page(Results(folder), drawing)
        assert ('id="inputs.coverage"' in made) != studied
        target = "overview.coverage" if studied else "inputs.coverage"
        assert f'<a href="#{target}">Days covered</a>' in made
        assert "the two periods cannot be compared" in made


def test_the_same_run_gives_the_same_file_even_where_the_renderer_dies(folder: Path, html: str) -> None:
    with report.Drawing(15) as drawing:
        assert page(Results(folder), drawing) == html
    with report.Drawing(15) as drawing:
        drawing._renderer.close()
        assert page(Results(folder), drawing) == html


def test_dates_do_not_move_with_the_machines_time_zone(tmp_path: Path) -> None:
    import sys

    code = (
        "import json, sys; from subsight.answers import Answer;"
        "from subsight.surfaces.report import Drawing;"
        "answer = Answer.from_json(json.load(sys.stdin)); drawing = Drawing(15).__enter__();"
        "drawing.begin(answer); print(drawing.result(answer)); drawing.__exit__()"
    )
    days = next(a for a in engagement() if a.id == "engagement.days")
    drawn = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(days.to_json()),
        env={"TZ": "America/Los_Angeles"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    with report.Drawing(15) as drawing:
        drawing.begin(days)
        assert drawn.strip() == str(drawing.result(days)).strip()
    assert ">28 Apr<" in drawn
    assert ">19 Apr<" not in drawn


def test_what_cannot_be_read_or_written_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no run"):
        report.write(tmp_path, tmp_path / "report.html")
    with pytest.raises(StorageError, match=r"absent/report\.html cannot be written"):
        report.write(folder, tmp_path / "absent" / "report.html")


def colours(scheme: int) -> dict[str, str]:
    """The style sheet's colours: 0 light, 1 dark."""
    sheet = (Path(report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    roots = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[scheme]))


def contrast(a: str, b: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2, 1.4.3)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_chart_colours_have_enough_contrast(scheme: int) -> None:
    of = colours(scheme)
    for ground in ("page", "paper"):
        for text in ("ink", "muted", "accent"):
            assert contrast(of[text], of[ground]) >= 4.5, (text, ground)
    assert contrast(of["mark-ink"], of["mark"]) >= 4.5
    for i in range(1, 9):
        assert contrast(of[f"c{i}"], of["paper"]) >= 3, i


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def browse(profile: Path, page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    ]
    command = [CHROMIUM, *flags, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout


MEASURE = """<iframe id="f" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<pre id="o"></pre><script>
f.onload = () => {{
  const d = f.contentDocument, w = f.contentWindow;
  const beyond = [...d.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg, .skip")
    && e.getBoundingClientRect().right > {width} + 0.5).map(e => e.tagName + "." + e.className);
  const out = [...d.querySelectorAll("svg text")].filter(e => {{
    const r = e.getBoundingClientRect(), c = e.closest(".answer").getBoundingClientRect();
    return r.left < c.left || r.right > c.right; }}).map(e => e.textContent);
  const sizes = [...d.querySelectorAll("svg text")].map(e =>
    parseFloat(w.getComputedStyle(e).fontSize) * e.ownerSVGElement.getScreenCTM().a);
  o.textContent = JSON.stringify({{ scroll: d.documentElement.scrollWidth, beyond, out,
    smallest: Math.min(...sizes), paper: w.getComputedStyle(d.querySelector(".answer")).backgroundColor,
    text: w.getComputedStyle(d.querySelector("svg text")).fill }});
}};
</script>"""


@pytest.mark.parametrize("width", [390, 1280])
class TestInABrowser:
    pytestmark = needs_browser

    @pytest.mark.parametrize("dark", [False, True])
    def test_nothing_sticks_out_and_colours_follow_the_reader(
        self, html: str, tmp_path: Path, width: int, dark: bool
    ) -> None:
        from html import escape

        frame = tmp_path / "frame.html"
        frame.write_text(MEASURE.format(width=width, page=escape(html)), encoding="utf-8")
        options = ["--blink-settings=preferredColorScheme=0"] if dark else []
        dom = browse(tmp_path / "profile", frame, "--dump-dom", *options)
        found = json.loads(re.search(r'<pre id="o">(.*?)</pre>', dom)[1])  # type: ignore[index]
        assert found["beyond"] == []
        assert found["out"] == []
        assert found["scroll"] == width
        assert found["smallest"] >= 9
        of = colours(int(dark))
        assert found["paper"] == rgb(of["paper"])
        assert found["text"] in (rgb(of["muted"]), rgb(of["ink"]))


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext on this machine")
def test_on_paper_closed_tables_are_open_and_none_is_cut(html: str, tmp_path: Path) -> None:
    source, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    source.write_text(html, encoding="utf-8")
    browse(tmp_path / "profile", source, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    text = subprocess.run(
        ["pdftotext", "-layout", str(paper), "-"], capture_output=True, text=True, check=True
    ).stdout
    # The last row of a table that is closed on the screen, and the last column of the widest table.
    assert re.search(r"23\s+cluster 2\s+21\.7 %", text)
    assert re.search(r"Outlier\s+count|Outlier", text)
    assert re.search(r"throughput\s+104 kbps.*\s29,731\s+12\b", text)
