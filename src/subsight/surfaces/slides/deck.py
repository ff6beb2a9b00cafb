"""A run as slides: which, in which order, and what stands where on each."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from subsight.results import Answer, Results
from subsight.surfaces.report import rendering
from subsight.surfaces.report.definitions import definitions, terms
from subsight.surfaces.report.page import Section, data_quality, headlines, sections
from subsight.surfaces.report.words import sentence
from subsight.surfaces.slides import choice, drawing, notes
from subsight.surfaces.slides.forms import Form, form
from subsight.surfaces.slides.heat import Heat, heat
from subsight.surfaces.slides.sentences import clean, joined, lines_of, message, shortened
from subsight.surfaces.slides.tabular import LINE, LISTED, Cut, cut, fitted
from subsight.surfaces.slides.theme import Area, Theme, opened

__all__ = ["deck"]

_BODY: Final = 14
_ALONE: Final = 20
"""Points of the text beside a chart, and of a text that stands alone."""
_COVER: Final = 36
_SENTENCES: Final = 3
_TEXT_SHARE: Final = 0.3
_GAP: Final = 230000
_POINT: Final = 12700
_SVG_SIZE: Final = re.compile(r'width="([\d.]+)"[^>]*?height="([\d.]+)"')
_SVG_TYPE: Final = 12
"""Pixels of the smallest type in a drawing."""
_SCALE: Final = 3.0


def deck(results: Results, studies: Sequence[str] | None, template: Path | None, *, whole: bool) -> Any:
    """The run's deck as the library's presentation.

    Raises:
        NotFoundError: the run has no study of that name.
        ConfigurationError: the template cannot be used.
    """
    shown = sections(results, studies)
    writer = _Writer(results, opened(template))
    writer.cover(shown)
    slides = [
        (answer, section) for section in shown for answer in choice.chosen(section.answers, whole=whole)
    ]
    found = data_quality(results)
    days = "overview.coverage" in {answer.id for answer, _ in slides}
    quality = [answer for answer in found.answers if whole or (answer.rows and not (days and answer.chart))]
    empty = [] if whole else [answer for answer, _ in slides if not answer.rows]
    for answer, section in [*slides, *((answer, found) for answer in quality)]:
        if answer not in empty:
            writer.answer(answer, section)
    if empty:
        writer.untold(empty)
    writer.pages("What words and units mean", ("Word", "Meaning"), terms(results))
    if whole:
        for table in definitions(results):
            rows = [(words, unit, meaning) for _name, words, unit, meaning in table.columns]
            title = f"A row of {table.name} is {table.row}"
            writer.pages(title, ("Column", "Unit", "Meaning"), rows)
    writer.close()
    return writer.theme.deck


@dataclass
class _Writer:
    """Adds slides to a deck."""

    results: Results
    theme: Theme

    def cover(self, shown: Sequence[Section]) -> None:
        manifest = self.results.manifest
        slide = self.theme.deck.slides.add_slide(self.theme.cover)
        slide.shapes.title.text = "Subscriber report"
        counts = headlines(self.results, {section.id for section in shown})
        lines = [
            f"Run {manifest['run']}, {str(manifest['created_at'])[:16].replace('T', ' ')} UTC",
            *(text for answer in data_quality(self.results).answers[2:] for text in answer.reading[:1]),
            sentence("; ".join(f"{words.lower()}: {number}" for words, number, _ in counts)),
            "Studies: " + ", ".join(section.title for section in shown),
        ]
        holder = [shape for shape in slide.placeholders if shape.placeholder_format.idx != 0]
        frame = (
            holder[0].text_frame
            if holder
            else drawing.text(slide, self.theme.room, [], size=_BODY, colour="muted")
        )
        frame.text = "\n".join(map(clean, lines))
        for paragraph in frame.paragraphs:
            drawing.styled(paragraph, 16, "muted")
        if self.theme.is_ours:
            title = slide.shapes.title
            drawing.styled(title.text_frame.paragraphs[0], _COVER)
            drawing.rule(slide, Area(title.left, title.top + title.height + _GAP // 2, 1200000, 60000))
        self._unused(slide)
        notes.write(slide, notes.provenance(self.results))

    def answer(self, answer: Answer, section: Section) -> None:
        title, rest = message(answer)
        if choice.is_list(answer) and answer.rows:
            self._listed(answer, section, title, rest)
            return
        slide = self._slide(title)
        made, heated = form(answer), heat(answer)
        table: Cut | None = None
        columns: Sequence[str] = answer.columns
        left = ""
        png = None if made or heated else self._png(answer)
        if made and made.panels:
            said, left = self._charted(slide, made, rest, answer), _panels_out(made)
        elif heated:
            said, left = self._heated(slide, heated, rest)
        elif png:
            drawing.picture(slide, self._beside(slide, rest), png[0], title)
            said = "A picture: presentations have no native chart of this form."
            left = png[1]
        else:
            said, table = self._tabled(slide, answer, rest)
            columns = choice.columns(answer)
            left = "" if table is None else _left_out(table, len(answer.rows), len(answer.columns))
        self._end(slide, answer, section, columns, said, left)

    def _listed(self, answer: Answer, section: Section, title: str, rest: Sequence[str]) -> None:
        """Every row of an answer, on as many slides as it takes; the text stands on the first."""
        start, page = 0, 1
        while start < len(answer.rows):
            slide = self._slide(title if page == 1 else f"{title.rstrip('.')} ({page})")
            area = self._above(slide, rest) if page == 1 else self.theme.room
            found = cut(answer, choice.columns(answer), area, start=start, is_list=True)
            if found is None or not found.rows:
                return
            drawing.table(slide, area, found.heads, found.rows, found.numbers, found.widths, size=found.size)
            end = start + len(found.rows)
            left = f"; rows {start + 1} to {end} of {len(answer.rows)}"
            part = replace(answer, rows=answer.rows[start:end])
            self._end(
                slide, part, section, choice.columns(answer), "A native table of the answer's rows.", left
            )
            start, page = end, page + 1

    def _end(
        self, slide: Any, answer: Answer, section: Section, columns: Sequence[str], said: str, left: str
    ) -> None:
        """The source at a slide's foot, and its notes."""
        self._foot(slide, f"Source: run {self.results.manifest['run']}, {answer.id}{left}")
        meanings = notes.meanings(self.results, answer.study)
        told = notes.of_answer(answer, columns, f"Shown as: {said}", meanings, terms(self.results))
        source = notes.provenance(self.results, answer.id, section.from_run, section.stale)
        notes.write(slide, [*told, *source])

    def untold(self, answers: Sequence[Answer]) -> None:
        """What answers without rows say, on one slide: each alone would be an empty one."""
        slide = self._slide("What this run does not tell")
        said = [" ".join(answer.reading) or answer.question for answer in answers]
        drawing.text(slide, self.theme.room, said, size=_ALONE, bullets=len(said) > 1)
        ids = ", ".join(answer.id for answer in answers)
        self._foot(slide, f"Source: run {self.results.manifest['run']}, {ids}")
        notes.write(slide, [*(answer.question for answer in answers), *notes.provenance(self.results)])

    def pages(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table over as many slides as it takes."""
        start, page = 0, 1
        while start < len(rows):
            area = self.theme.room
            found = fitted(heads, rows[start:], [False] * len(heads), area, LISTED)
            more = page > 1 or found.rows_out
            slide = self._slide(f"{clean(title)} ({page})" if more else title)
            drawing.table(slide, area, found.heads, found.rows, found.numbers, found.widths, size=found.size)
            self._foot(slide, f"Source: run {self.results.manifest['run']}")
            notes.write(
                slide,
                [
                    "Definitions:",
                    *(f"- {': '.join(filter(None, row))}" for row in rows[start : start + len(found.rows)]),
                    *notes.provenance(self.results),
                ],
            )
            start, page = start + len(found.rows), page + 1

    def close(self) -> None:
        """Numbers the slides, and says what the file is."""
        deck = self.theme.deck
        for i, slide in enumerate(deck.slides, 1):
            if i > 1:
                foot = self.theme.foot
                area = Area(foot.left + foot.width - 600000, foot.top, 600000, foot.height)
                frame = drawing.text(slide, area, [str(i)], size=drawing.LEAST, colour="muted")
                frame.paragraphs[0].alignment = 3  # on the right
        created = datetime.datetime.fromisoformat(str(self.results.manifest["created_at"]))
        about = deck.core_properties
        about.author, about.last_modified_by, about.revision = "Subsight", "Subsight", 1
        about.title = f"Subscriber report {self.results.manifest['run']}"
        about.created = about.modified = created.replace(tzinfo=None)

    def _slide(self, title: str) -> Any:
        slide = self.theme.deck.slides.add_slide(self.theme.content)
        slide.shapes.title.text = joined(clean(title))
        for paragraph in slide.shapes.title.text_frame.paragraphs:
            drawing.styled(paragraph, self.theme.title_size)
        self._unused(slide)
        return slide

    def _unused(self, slide: Any) -> None:
        """An empty placeholder would say that one may click there to add text."""
        for shape in list(slide.placeholders):
            if not shape.has_text_frame or not shape.text_frame.text:
                shape._element.getparent().remove(shape._element)

    def _foot(self, slide: Any, words: str) -> None:
        foot = self.theme.foot
        area = Area(foot.left, foot.top, foot.width - 700000, foot.height)
        drawing.text(slide, area, [words], size=drawing.LEAST, colour="muted")

    def _beside(self, slide: Any, rest: Sequence[str]) -> Area:
        """Puts the text on the right, and says what is left of it for a chart."""
        room = self.theme.room
        if not rest:
            return room
        width = int(room.width * _TEXT_SHARE)
        area = Area(room.left + room.width - width, room.top, width, room.height)
        kept = _kept(rest, width, room.height, _BODY)
        drawing.text(slide, area, kept, size=_BODY, bullets=len(kept) > 1)
        return Area(room.left, room.top, room.width - width - _GAP, room.height)

    def _above(self, slide: Any, rest: Sequence[str]) -> Area:
        """Puts the text over the whole width, and says what is left below it for a table."""
        room = self.theme.room
        kept = _kept(rest, room.width, int(room.height * 0.35), _BODY)
        if not kept:
            return room
        letters = int(room.width / (_BODY * _POINT * 0.52))
        height = int((lines_of(kept, letters) * 1.2 + len(kept) * 0.5) * _BODY * _POINT) + 90000
        area = Area(room.left, room.top, room.width, height)
        drawing.text(slide, area, kept, size=_BODY, bullets=len(kept) > 1)
        return Area(room.left, room.top + height, room.width, room.height - height)

    def _charted(self, slide: Any, made: Form, rest: Sequence[str], answer: Answer) -> str:
        area = self._beside(slide, rest)
        drawing.charts(slide, area, made, answer.reading[0] if answer.reading else answer.question)
        count = len(made.panels)
        return f"{count} native chart{'s' if count > 1 else ''} that can be edited: {made.panels[0].kind}."

    def _heated(self, slide: Any, heated: Heat, rest: Sequence[str]) -> tuple[str, str]:
        area = self._beside(slide, rest) if heated.is_narrow else self._above(slide, rest)
        numbers = [i > 0 for i in range(len(heated.heads))]
        first = max(len(row[0]) for row in heated.rows) + 3
        each = max(9, *(len(word) + 1 for head in heated.heads[1:] for word in head.split()))
        widths = [first, *[each] * (len(heated.heads) - 1)]
        count = min(len(heated.rows), area.height // LINE - 2)
        rows, fills = heated.rows[:count], heated.fills[:count]
        drawing.table(slide, area, heated.heads, rows, numbers, widths, fills)
        left = f"; {count} of {len(heated.rows)} rows shown" if count < len(heated.rows) else ""
        said = "A native table coloured by its values: presentations have no native heat map."
        return said, left

    def _tabled(self, slide: Any, answer: Answer, rest: Sequence[str]) -> tuple[str, Cut | None]:
        said = [row.get("line") or row.get("against_the_rest") for row in answer.rows]
        repeated = {str(line)[:30].lower() for line in said if line}
        if rest and len(rest) == len(answer.reading) and answer.reading[0][:30].lower() in repeated:
            rest = rest[1:]  # what follows the title's sentence is about its row alone
        new = [text for text in rest if text[:30].lower() not in repeated]
        if not answer.rows:
            drawing.text(
                slide,
                self.theme.room,
                _kept(new or [answer.question], self.theme.room.width, self.theme.room.height, _ALONE),
                size=_ALONE,
            )
            return "Text: the answer has no rows.", None
        area = self._above(slide, new)
        found = cut(answer, choice.columns(answer), area)
        if found is not None:
            drawing.table(slide, area, found.heads, found.rows, found.numbers, found.widths, size=found.size)
        return "A native table of the answer's rows.", found

    def _png(self, answer: Answer) -> tuple[bytes, str] | None:
        """The report's drawing as a picture, and what it leaves out; None where its type were too small."""
        parts = (answer.chart or {}).get("vconcat", ())
        whole = self._picture(answer)
        if whole is not None or not parts:
            return None if whole is None else (whole, "")
        first = self._picture(replace(answer, chart={**parts[0]}))
        return None if first is None else (first, f"; 1 of {len(parts)} charts shown")

    def _picture(self, answer: Answer) -> bytes | None:
        import vl_convert

        spec = rendering.spec(answer)
        if spec is None:
            return None
        # On paper of its own: where edges are clear, programs draw fringes around what touches.
        on_paper = spec.replace('"background": null', '"background": "#ffffff"')
        svg = rendering.resolved(vl_convert.vegalite_to_svg(on_paper, allowed_base_urls=[]))
        if (size := _SVG_SIZE.search(svg)) is None:
            return None
        room = self.theme.room
        width, height = (float(part) for part in size.groups())
        scale = min(room.width * (1 - _TEXT_SHARE) / width, room.height / height)
        if scale * _SVG_TYPE < drawing.LEAST * _POINT * 0.95:
            return None
        png: bytes = vl_convert.svg_to_png(svg, scale=_SCALE)
        return png


def _kept(texts: Sequence[str], width: int, height: int, size: int) -> list[str]:
    """As many of the first sentences as stand in the area, three at most, the long ones shortened."""
    letters = int(width / (size * _POINT * 0.52)) - 2
    kept: list[str] = []
    for text in texts[:_SENTENCES]:
        said = [*kept, shortened(text)]
        if (lines_of(said, letters) * 1.2 + len(said) * 0.5) * size * _POINT > height:
            break
        kept = said
    return kept


def _left_out(table: Cut, rows: int, columns: int) -> str:
    parts = []
    if table.rows_out:
        parts.append(f"{rows - table.rows_out} of {rows} rows")
    if table.columns_out:
        parts.append(f"{len(table.heads)} of {columns} columns")
    return f"; {' and '.join(parts)} shown" if parts else ""


def _panels_out(made: Form) -> str:
    said = ""
    if made.left_out:
        said += f"; {len(made.panels)} of {len(made.panels) + made.left_out} charts shown"
    out = max(panel.left_out for panel in made.panels)
    if out:
        said += (
            f"; the first {len(made.panels[0].categories)} of {len(made.panels[0].categories) + out} shown"
        )
    return said
