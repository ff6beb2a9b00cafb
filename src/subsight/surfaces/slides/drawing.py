"""Native charts, tables, pictures and text on a slide."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, Final

from subsight.surfaces.report.palette import on_paper
from subsight.surfaces.slides.forms import Form, Panel
from subsight.surfaces.slides.sentences import clean, joined
from subsight.surfaces.slides.theme import Area

__all__ = ["LEAST", "Grid", "charts", "picture", "rule", "styled", "table", "text"]

LEAST: Final = 12
"""Points of the smallest type."""
_POINT: Final = 12700
_LABELLED: Final = 15
_ROW: Final = 1.25
"""Height of a line over its type."""
_PAD: Final = 60000

Grid = Sequence[Sequence[str]]

_STEPS: Final = {
    "bytes": (" B", " kB", " MB", " GB", " TB", " PB"), "bps": (" bps", " kbps", " Mbps", " Gbps"),
    "kbps": (" kbps", " Mbps", " Gbps"), "ms": (" ms", " s"),
}  # fmt: skip
"""By unit, what a number is called after each division by a thousand."""


def text(
    slide: Any, area: Area, paragraphs: Sequence[str], *, size: int, colour: str | None = None,
    bullets: bool = False,
) -> Any:  # fmt: skip
    """Paragraphs in a box of their own; `colour` is one of the report's names."""
    from pptx.util import Pt

    frame = slide.shapes.add_textbox(area.left, area.top, area.width, area.height).text_frame
    frame.word_wrap = True
    frame.margin_left = frame.margin_right = 0
    for i, words in enumerate(paragraphs):
        paragraph = frame.paragraphs[0] if i == 0 else frame.add_paragraph()
        paragraph.text = joined(clean(words))
        paragraph.space_after = Pt(size / 2)
        if bullets:
            _bullet(paragraph, size)
        styled(paragraph, size, colour)
    return frame


def styled(paragraph: Any, size: int, colour: str | None = None, *, bold: bool | None = None) -> None:
    """The type of a paragraph's text: points, one of the report's colours, weight.

    It stands on the text itself: there are programs that ignore what a paragraph says of its text.
    """
    from pptx.dml.color import RGBColor
    from pptx.util import Pt

    for run in paragraph.runs:
        run.font.size, run.font.bold = Pt(size), bold
        if colour:
            run.font.color.rgb = RGBColor.from_string(on_paper()[colour].lstrip("#").upper())


def _bullet(paragraph: Any, size: int) -> None:
    from lxml import etree

    properties = paragraph._p.get_or_add_pPr()
    indent = int(size * _POINT)
    properties.set("marL", str(indent))
    properties.set("indent", str(-indent))
    name = "{http://schemas.openxmlformats.org/drawingml/2006/main}buChar"
    etree.SubElement(properties, name).set("char", "•")


def rule(slide: Any, area: Area) -> None:
    """A bar in the first of the theme's colours."""
    from pptx.enum.shapes import MSO_SHAPE

    shape = slide.shapes.add_shape(MSO_SHAPE.RECTANGLE, area.left, area.top, area.width, area.height)
    shape.fill.solid()
    _colour(shape.fill.fore_color, 0)
    shape.line.fill.background()


def charts(slide: Any, area: Area, form: Form, said: str) -> None:
    """The panels of a form side by side, in as many rows as they need; `said` is what they show."""
    count = len(form.panels)
    across = 1 if count == 1 else 2 if count in (2, 4) else 3
    down = math.ceil(count / across)
    width, height = area.width // across, area.height // down
    for i, panel in enumerate(form.panels):
        left, top = area.left + (i % across) * width, area.top + (i // across) * height
        frame = _chart(slide, Area(left, top, width - _PAD, height - _PAD), panel)
        name = f"{panel.title}: {said}" if panel.title else said
        frame._element.nvGraphicFramePr.cNvPr.set("descr", clean(name))


def _chart(slide: Any, area: Area, panel: Panel) -> Any:
    from pptx.enum.chart import XL_LEGEND_POSITION
    from pptx.util import Pt

    is_mean = panel.unit == "count" and not _is_whole(panel)
    divisor, number = _number(None if is_mean else panel.unit, _most(panel))
    labels = _label_format(panel.unit, number, panel)
    data, kind = _data(panel, divisor, number)
    frame = slide.shapes.add_chart(kind, area.left, area.top, area.width, area.height, data)
    chart = frame.chart
    chart.font.size = Pt(LEAST)
    chart.has_title = bool(panel.title)
    if panel.title:
        _title(chart.chart_title.text_frame, clean(panel.title), bold=True)
    chart.has_legend = len(panel.series) > 1
    if chart.has_legend:
        chart.legend.position = XL_LEGEND_POSITION.TOP
        chart.legend.include_in_layout = False
        chart.legend.font.size = Pt(LEAST)
    _axes(chart, panel, number)
    _paint(chart, panel, labels)
    return frame


def _most(panel: Panel) -> float:
    return max(map(abs, _flat(panel)), default=0)


def _is_whole(panel: Panel) -> bool:
    return all(value == int(value) for value in _flat(panel))


def _flat(panel: Panel) -> list[float]:
    values = [value for series in panel.series.values() for value in series]
    numbers = [value[1] if isinstance(value, tuple) else value for value in values]
    return [number for number in numbers if number is not None]


def _least(panel: Panel) -> float:
    values = [value for series in panel.series.values() for value in series if value is not None]
    return min(values, default=0)


def _number(unit: str | None, most: float) -> tuple[float, str]:
    """How numbers of a unit are written: what they are divided by, and the spreadsheet's format.

    The format scales by thousands and leaves the numbers as they are; only seconds become hours or minutes.
    """
    if unit == "share":
        return 1, "0%" if most >= 0.1 else "0.0%" if most >= 0.01 else "0.00%"
    if unit == "s":
        if most >= 1e5 * 3600:
            return 3600, '#,##0,"k h"'
        if most >= 100 * 3600:
            return 3600, '#,##0" h"'
        return (3600, '#,##0.0" h"') if most >= 7200 else (60, '0.0" min"') if most >= 120 else (1, '0.#" s"')
    steps = _STEPS.get(unit or "")
    if steps is None:
        tiny = "0.00" if most < 10 else "0.0" if most < 100 else "#,##0"
        return 1, "#,##0" if unit in ("count", "hour", "days") else tiny
    step = min(len(steps) - 1, int(math.log10(most) // 3)) if most >= 1 else 0
    digits = "0" if most / 1000**step >= 100 or step == 0 else "0.0"
    return 1, f'#,##{digits}{"," * step}"{steps[step]}"'


def _label_format(unit: str | None, number: str, panel: Panel) -> str:
    """The format of labels at bars, of which some are a thousandth of others: each in a unit of its own."""
    steps, most = _STEPS.get(unit or ""), _most(panel)
    values = [value for series in panel.series.values() for value in series if isinstance(value, int | float)]
    if number == "0.00" and any(0 < abs(value) < 0.005 for value in values):
        return "0.000"
    if steps is None or most < 1000 or min(values, default=0) < 0:
        return number
    step = min(len(steps) - 1, int(math.log10(most) // 3))
    parts = [f'#,##0.0{"," * i}"{steps[i]}"' for i in range(step, max(-1, step - 3), -1)]
    bounds = [f"[>={1000**i}]" for i in range(step, step - len(parts) + 1, -1)]
    return ";".join([*(b + p for b, p in zip(bounds, parts[:-1], strict=True)), parts[-1]])


def _data(panel: Panel, divisor: float, number: str) -> tuple[Any, Any]:
    from pptx.chart.data import CategoryChartData, XyChartData
    from pptx.enum.chart import XL_CHART_TYPE as KIND

    if panel.kind in ("scatter", "curve"):
        xy = XyChartData(number_format=number)
        for name, points in panel.series.items():
            series = xy.add_series(name)
            for across, up in points:
                series.add_data_point(across, up / divisor)
        return xy, KIND.XY_SCATTER if panel.kind == "scatter" else KIND.XY_SCATTER_LINES
    data = CategoryChartData(number_format=number)
    data.categories = panel.categories
    for name, values in panel.series.items():
        data.add_series(name or "value", [None if v is None else v / divisor for v in values])
    if panel.kind == "line":
        return data, KIND.LINE_MARKERS if len(panel.categories) <= 31 else KIND.LINE
    lies = panel.kind == "bar"
    if panel.is_stacked:
        return data, KIND.BAR_STACKED if lies else KIND.COLUMN_STACKED
    return data, KIND.BAR_CLUSTERED if lies else KIND.COLUMN_CLUSTERED


def _axes(chart: Any, panel: Panel, number: str) -> None:
    from pptx.dml.color import RGBColor
    from pptx.enum.chart import XL_TICK_LABEL_POSITION, XL_TICK_MARK
    from pptx.util import Pt

    line = RGBColor.from_string(on_paper()["grid"].lstrip("#").upper())
    across, up = chart.category_axis, chart.value_axis
    for axis in (across, up):
        axis.tick_labels.font.size = Pt(LEAST)
        axis.major_tick_mark = XL_TICK_MARK.NONE
        axis.format.line.color.rgb = line
        # Names of negative bars would stand in the bars.
        axis.tick_label_position = XL_TICK_LABEL_POSITION.LOW
    across.has_major_gridlines = False
    up.tick_labels.number_format, up.tick_labels.number_format_is_linked = number, False
    labelled = _is_labelled(panel)
    up.has_major_gridlines = not labelled
    up.visible = not labelled
    if up.has_major_gridlines:
        up.major_gridlines.format.line.color.rgb = line
    if panel.kind in ("bar", "column", "histogram"):
        if _least(panel) >= 0:
            up.minimum_scale = 0  # a bar is as long as its number
        _thinned(across, len(panel.categories))
    if panel.is_from_zero and _least(panel) >= 0:
        up.minimum_scale = 0
    if panel.kind == "bar":
        across.reverse_order = True
        up.tick_label_position = XL_TICK_LABEL_POSITION.HIGH  # below, as the order is reversed
    if panel.kind in ("scatter", "curve"):
        _divisor, form = _number(panel.across_unit, 0)
        across.tick_labels.number_format, across.tick_labels.number_format_is_linked = (
            "#,##0" if panel.kind == "curve" else form,
            False,
        )
    if panel.value_title and not panel.title:
        up.has_title = True
        _title(up.axis_title.text_frame, clean(panel.value_title))
    if panel.across_title:
        across.has_title = True
        _title(across.axis_title.text_frame, clean(panel.across_title))


def _thinned(axis: Any, count: int) -> None:
    """Leaves out labels where there are more than a small chart has room for."""
    from lxml import etree

    if axis._element.tag.endswith("catAx") and count > 2 * _LABELLED:
        skip = etree.Element("{http://schemas.openxmlformats.org/drawingml/2006/chart}tickLblSkip")
        skip.set("val", str(math.ceil(count / _LABELLED)))
        axis._element.find("{*}noMultiLvlLbl").addprevious(skip)


def _title(frame: Any, words: str, *, bold: bool = False) -> None:
    from pptx.util import Pt

    frame.text = words
    for run in frame.paragraphs[0].runs:
        run.font.size = Pt(LEAST)
        run.font.bold = bold


def _is_labelled(panel: Panel) -> bool:
    bars = panel.kind in ("bar", "column")
    wide = panel.kind == "bar" or len(panel.categories) <= 8
    return bars and wide and len(panel.series) == 1 and len(panel.categories) <= _LABELLED


def _paint(chart: Any, panel: Panel, number: str) -> None:
    from pptx.enum.chart import XL_MARKER_STYLE
    from pptx.util import Pt

    plot = chart.plots[0]
    if panel.kind in ("bar", "column", "histogram"):
        plot.gap_width = 8 if panel.kind == "histogram" else 45
        if not panel.is_stacked:
            plot.overlap = 0
    if _is_labelled(panel):
        plot.has_data_labels = True
        plot.data_labels.font.size = Pt(LEAST)
        plot.data_labels.number_format, plot.data_labels.number_format_is_linked = number, False
        plot.data_labels.show_value = True
    for i, series in enumerate(plot.series):
        if panel.kind in ("bar", "column", "histogram"):
            series.format.fill.solid()
            _colour(series.format.fill.fore_color, i)
            series.invert_if_negative = False
            continue
        series.smooth = False
        series.marker.style = XL_MARKER_STYLE.CIRCLE if len(panel.categories) <= 31 else XL_MARKER_STYLE.NONE
        series.marker.size = 6
        series.marker.format.fill.solid()
        _colour(series.marker.format.fill.fore_color, i)
        series.marker.format.line.fill.background()
        if panel.kind == "scatter":
            series.format.line.fill.background()
        else:
            series.format.line.width = Pt(2.25)
            _colour(series.format.line.color, i)


def _colour(colour: Any, i: int) -> None:
    """The theme's accents, so that a template's are used; from the seventh on lighter."""
    from pptx.enum.dml import MSO_THEME_COLOR

    colour.theme_color = getattr(MSO_THEME_COLOR, f"ACCENT_{i % 6 + 1}")
    if i >= 6:
        colour.brightness = 0.5 if i < 12 else -0.4


def picture(slide: Any, area: Area, png: bytes, said: str) -> None:
    """A picture as large as the area lets it be, in its middle; `said` is what it shows."""
    shape = slide.shapes.add_picture(io.BytesIO(png), area.left, area.top)
    scale = min(area.width / shape.width, area.height / shape.height)
    shape.width, shape.height = int(shape.width * scale), int(shape.height * scale)
    shape.left = area.left + (area.width - shape.width) // 2
    shape.top = area.top + (area.height - shape.height) // 2
    shape._element.nvPicPr.cNvPr.set("descr", clean(said))


def table(
    slide: Any, area: Area, heads: Sequence[str], rows: Grid, numbers: Sequence[bool],
    widths: Sequence[int], fills: Sequence[Sequence[str | None]] | None = None, *, size: int = LEAST,
) -> Any:  # fmt: skip
    """A native table: cells as texts, `numbers` says which columns stand on the right.

    `widths` are the columns' shares of the width, in letters; `fills` colours cells (`#rrggbb`).
    """
    frame = slide.shapes.add_table(
        len(rows) + 1,
        len(heads),
        area.left,
        area.top,
        area.width,
        int(size * 1.2 * _POINT + 50000) * (len(rows) + 1),
    )
    made = frame.table
    made.horz_banding = False
    _plain(frame)
    for column, width in zip(made.columns, widths, strict=True):
        column.width = int(area.width * width / sum(widths))
    for i, cells in enumerate([heads, *rows]):
        for j, words in enumerate(cells):
            fill = fills[i - 1][j] if fills and i else None
            _cell(made.cell(i, j), words, is_head=i == 0, is_number=numbers[j], fill=fill, size=size)
    return made


def _plain(frame: Any) -> None:
    """No style of the program's own: the lines are drawn cell by cell."""
    style = frame._element.find(".//{*}tableStyleId")
    if style is not None:
        style.text = "{2D5ABB26-0587-4C30-8999-92F81FD0307C}"


def _cell(cell: Any, words: str, *, is_head: bool, is_number: bool, fill: str | None, size: int) -> None:
    from pptx.dml.color import RGBColor
    from pptx.enum.text import MSO_ANCHOR, PP_ALIGN

    paragraph = cell.text_frame.paragraphs[0]
    paragraph.text = clean(words)
    styled(paragraph, size, "ink" if fill else None, bold=is_head)
    paragraph.alignment = PP_ALIGN.RIGHT if is_number else PP_ALIGN.LEFT
    cell.margin_left = cell.margin_right = _PAD
    cell.margin_top = cell.margin_bottom = 25000
    cell.vertical_anchor = MSO_ANCHOR.BOTTOM if is_head else MSO_ANCHOR.TOP
    if fill:
        cell.fill.solid()
        cell.fill.fore_color.rgb = RGBColor.from_string(fill.lstrip("#").upper())
    _underlined(cell, on_paper()["line" if is_head else "grid"].lstrip("#").upper())


def _underlined(cell: Any, colour: str) -> None:
    from lxml import etree

    space = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
    properties = cell._tc.get_or_add_tcPr()
    line = etree.Element(f"{space}lnB", w="9525")
    etree.SubElement(etree.SubElement(line, f"{space}solidFill"), f"{space}srgbClr", val=colour)
    properties.insert(0, line)  # lines stand before the fill
