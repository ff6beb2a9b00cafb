"""Downloads: an answer as CSV, SVG or PNG, with what it is, of which run, and how it was filtered."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from typing import Any, Final

from subsight.errors import NotFoundError
from subsight.surfaces.dashboard.addresses import View
from subsight.surfaces.dashboard.articles import kind_words
from subsight.surfaces.dashboard.drawing import Charts, palette
from subsight.surfaces.dashboard.filtering import Shown
from subsight.surfaces.dashboard.state import Current
from subsight.surfaces.report import Renderer
from subsight.surfaces.report.rendering import dress, is_drawn, painted

__all__ = ["KINDS", "download", "provenance"]

KINDS: Final = {"csv": "text/csv; charset=utf-8", "svg": "image/svg+xml", "png": "image/png"}
_SCALE: Final = 2
_LINE: Final = 62
# A spreadsheet runs a cell that begins so as a formula.
_FORMULA: Final = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_FURTHER: Final = re.compile(rf"([,;]\s*)(?={_FORMULA.pattern})")
"""Where a line that is no row begins a further cell, which would be one."""


def provenance(run: Current, shown: Shown) -> list[str]:
    """What stands on a download: the question, the filters, the run."""
    if shown.said:
        filters = f"Filtered by {shown.said}"
    elif shown.ignored:
        cannot = " or ".join(kind_words(kind) for kind in shown.ignored)
        filters = f"Not filtered: the question cannot be filtered by {cannot}"
    else:
        filters = "Not filtered"
    return [shown.answer.question, filters, f"{shown.answer.id}, run {run.name}"]


def download(charts: Charts, run: Current, shown: Shown, view: View, kind: str) -> bytes:
    """An answer as a file.

    Raises:
        FilterError: the filters have no answer.
        NotFoundError: the answer has no chart.
    """
    if shown.refused:
        raise shown.refused
    if kind == "csv":
        return _csv(run, shown)
    answer = shown.answer
    if not is_drawn(answer):
        raise NotFoundError(
            f"{answer.id} has no chart", expected="an answer with one", do="take its table: .csv"
        )

    def draw(renderer: Renderer) -> bytes:
        svg = painted(renderer.svg(_titled(run, shown)), palette())
        return renderer.png(svg, _SCALE) if kind == "png" else svg.encode()

    pairs = tuple(view.filter_pairs()) if shown.said else ()
    content: bytes = charts.begin((run.name, answer.id, pairs, shown.ignored, kind), draw).result()
    return content


def _csv(run: Current, shown: Shown) -> bytes:
    """Lines that begin with a number sign, then the header, then the rows, as they are: unscaled, unrounded.

    A spreadsheet shows those lines as text above the table; whoever reads the file by a program names the
    sign as that of comments. The mark of UTF-8 stands first, without which spreadsheets misread names.
    """
    text = io.StringIO(newline="")
    for line in provenance(run, shown):
        said = _FURTHER.sub(r"\1'", " ".join(line.split()))
        text.write(f"# {said}\r\n".replace('"', "'"))
    lines = csv.writer(text)
    lines.writerow(shown.answer.columns)
    for row in shown.answer.rows:
        lines.writerow([_cell(value) for value in row.values()])
    return text.getvalue().encode("utf-8-sig")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) else value
    return json.dumps(value) if isinstance(value, bool | list | dict) else value


def _titled(run: Current, shown: Shown) -> str:
    """The report's chart with what it is above it, on paper."""
    answer = shown.answer
    question, *more = provenance(run, shown)
    spec = dress(answer.chart or {}, answer.rows)
    colours = spec["config"]["axis"]
    spec["title"] = {
        "text": textwrap.wrap(question, _LINE - 8),
        "subtitle": [part for line in more for part in textwrap.wrap(line, _LINE)],
        "anchor": "start", "frame": "bounds", "offset": 14, "fontSize": 15,
        "subtitleFontSize": 12, "color": colours["titleColor"], "subtitleColor": colours["labelColor"],
    }  # fmt: skip
    spec["config"] = {**spec["config"], "background": palette()["paper"], "padding": 20}
    return json.dumps(spec, allow_nan=False, default=str)
