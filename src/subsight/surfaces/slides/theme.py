"""What a deck looks like: ours, made of the library's plain one, or that of a template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from subsight.errors import ConfigurationError
from subsight.surfaces.report.palette import on_paper

__all__ = ["FONT", "Area", "Theme", "opened"]

FONT: Final = "Arial"
_INCH: Final = 914400
_POINT: Final = 12700
_WIDTH, _HEIGHT = 12192000, 6858000
"""16:9, in the units of the format: 914,400 to an inch."""
_MARGIN: Final = 457200
_ACCENTS: Final = {f"accent{i}": f"c{i}" for i in range(1, 7)}
_COLOURS: Final = {"dk2": "ink", "lt2": "page", **_ACCENTS, "hlink": "accent", "folHlink": "accent"}
_TITLES: Final = (1, 3)
"""Kinds of placeholders: a title, a title in the centre."""
_SUBTITLE: Final = 4
_FOOT: Final = 320000
_NARROW: Final = 10 * _INCH
"""A slide's foot of less than that takes two lines."""
_LETTERS: Final = 125
"""Letters of the longest title."""
_INSET: Final = 91440
"""From a placeholder's edge to its text."""


@dataclass(frozen=True)
class Area:
    """A rectangle on a slide, in the units of the format."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Theme:
    """An empty deck with the layouts that it uses, and where a slide has room below its title."""

    deck: Any
    cover: Any
    content: Any
    room: Area
    foot: Area
    title_size: int
    is_ours: bool


def opened(template: Path | None) -> Theme:
    """A deck without slides in our looks, or in those of a template, whose own slides are left out.

    Raises:
        ConfigurationError: the template cannot be read, or has no layout with a title.
    """
    from pptx import Presentation

    if template is None:
        deck = Presentation()
        _ours(deck)
    else:
        deck = _template(template)
    cover, content = _layouts(deck, template)
    title = next(shape for shape in content.placeholders if _kind(shape) in _TITLES)
    width, height = deck.slide_width or _WIDTH, deck.slide_height or _HEIGHT
    inset = _INSET if template else 0
    left = title.left + inset if template else _MARGIN
    across = title.width - 2 * inset if template else width - 2 * _MARGIN
    lines = 1 if across > _NARROW else 2
    foot = Area(left, height - lines * _FOOT - _MARGIN // 4, across, lines * _FOOT)
    top = title.top + title.height + (_MARGIN // 4)
    room = Area(left, top, across, foot.top - top - _MARGIN // 8)
    size = _title_size(deck.slide_master, title.width - 2 * _INSET, title.height)
    return Theme(deck, cover, content, room, foot, size, template is None)


def _title_size(master: Any, width: int, height: int) -> int:
    """Points in which the longest title has room: the master's own, or fewer."""
    style = master._element.find(".//{*}titleStyle/{*}lvl1pPr/{*}defRPr")
    own = 44 if style is None else int(style.get("sz", "4400")) // 100
    for size in range(own, 14, -1):
        a_line = width // int(size * _POINT * 0.56)
        if a_line and -(-_LETTERS // a_line) * size * 1.2 * _POINT <= height:
            return size
    return 14


def _template(template: Path) -> Any:
    from pptx import Presentation

    try:
        deck = Presentation(str(template))
    except Exception as error:  # the library says with many types that it cannot read a file
        raise ConfigurationError(
            f"the template {template} cannot be read",
            found=str(error) or type(error).__name__,
            expected="a presentation (.pptx)",
            do="save the template as .pptx",
        ) from error
    held = deck.slides._sldIdLst
    for slide in list(held):
        deck.part.drop_rel(slide.rId)
        held.remove(slide)
    for kind in ("sectionLst", "custShowLst"):  # they would name slides that are gone
        for named in deck.part._element.findall(f".//{{*}}{kind}"):
            named.getparent().remove(named)
    return deck


def _layouts(deck: Any, template: Path | None) -> tuple[Any, Any]:
    """The layout of the first slide, and the one that has a title and as little else as can be."""
    titled = []
    for layout in deck.slide_layouts:
        kinds = [_kind(shape) for shape in layout.placeholders]
        if any(kind in _TITLES for kind in kinds):
            titled.append((layout, kinds))
    if not titled:
        raise ConfigurationError(
            f"the template {template} has no layout with a title",
            expected="a layout with a title, as every slide has one",
            do="add a title's placeholder to a layout",
        )
    cover = next((layout for layout, kinds in titled if _SUBTITLE in kinds), titled[0][0])
    plain = [(layout, kinds) for layout, kinds in titled if _SUBTITLE not in kinds] or titled
    return cover, min(plain, key=lambda one: len([kind for kind in one[1] if kind not in (13, 15, 16)]))[0]


def _kind(shape: Any) -> int:
    return int(shape.placeholder_format.type)


def _ours(deck: Any) -> None:
    """The plain deck in the report's colours and font, 16:9, its titles on the left."""
    from pptx.enum.text import MSO_ANCHOR
    from pptx.opc.constants import RELATIONSHIP_TYPE
    from pptx.util import Pt

    deck.slide_width, deck.slide_height = _WIDTH, _HEIGHT
    master = deck.slide_master
    theme = master.part.part_related_by(RELATIONSHIP_TYPE.THEME)
    theme._blob = _coloured(theme.blob.decode()).encode()
    for layout in [master, *deck.slide_layouts]:
        for shape in list(layout.placeholders):
            if _kind(shape) in (13, 15, 16):  # number, foot and date stand elsewhere here
                shape._element.getparent().remove(shape._element)
    for layout in [master, *deck.slide_layouts]:
        for shape in layout.placeholders:
            if _kind(shape) == _TITLES[0]:
                _place(shape, Area(_MARGIN, 300000, _WIDTH - 2 * _MARGIN, 900000))
                shape.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
                shape.text_frame.margin_left = 0
    cover = deck.slide_layouts[0]
    for shape in cover.placeholders:
        is_title = _kind(shape) in _TITLES
        _place(shape, Area(_MARGIN, 1400000 if is_title else 2850000, _WIDTH - 2 * _MARGIN, 1150000))
        if not is_title:
            shape.height = 3000000
        shape.text_frame.margin_left = 0
        shape.text_frame.vertical_anchor = MSO_ANCHOR.BOTTOM if is_title else MSO_ANCHOR.TOP
    style = master._element.find(".//{*}titleStyle/{*}lvl1pPr")
    style.set("algn", "l")
    style.find("{*}defRPr").set("sz", str(Pt(24).pt * 100).partition(".")[0])
    style.find("{*}defRPr").set("b", "1")
    for paragraph in cover._element.findall(".//{*}lstStyle/{*}lvl1pPr"):
        paragraph.set("algn", "l")


def _place(shape: Any, area: Area) -> None:
    shape.left, shape.top, shape.width, shape.height = area.left, area.top, area.width, area.height


def _coloured(theme: str) -> str:
    colours = on_paper()
    for name, ours in _COLOURS.items():
        value = colours[ours].lstrip("#").upper()
        theme = re.sub(
            rf"(<a:{name}>).*?(</a:{name}>)", rf'\1<a:srgbClr val="{value}"/>\2', theme, flags=re.DOTALL
        )
    ink = colours["ink"].lstrip("#").upper()
    theme = re.sub(r"(<a:dk1>).*?(</a:dk1>)", rf'\1<a:srgbClr val="{ink}"/>\2', theme, flags=re.DOTALL)
    return re.sub(r'(<a:latin typeface=")[^"]*"', rf'\1{FONT}"', theme)
