"""Sentences on a slide: the message as its title, what is left as its text, and nothing that XML refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from subsight.results import Answer
from subsight.surfaces.report.words import dated

__all__ = ["clean", "joined", "label", "lines_of", "message", "shortened"]

_TITLE: Final = 120
"""Letters of a title, which are two lines of it."""
_LEAST: Final = 24
"""A title of fewer letters would be no message when a longer sentence is split."""
_SENTENCE: Final = 260
_VERB: Final = re.compile(
    r"\b(?:is|are|was|were|has|have|holds?|lies?|goes|go|fell|fall|grew|grow|starts?|hits?|carry|carries|"
    r"follows?|can|cannot|keeps?|makes?|reach|reaches|varies|shows?|tells?|became|gets?|bends|belongs?|comes?)\b"
)
"""A part of a sentence says something only if one of these, or their like, is in it."""
_ENDS: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
_PARTS: Final = ("; ", ": ", " (", ", ")
_QUANTITY: Final = re.compile(r"(?<=\d) (?=%|(?:[kMGTP]?B|[kMG]?bps|ms|s|min|h)\b)")
_HOSTILE: Final = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_ACTIVE: Final = re.compile(r"[=+@{-]|(?:https?|ftp|mailto|internal|external):", re.IGNORECASE)


def clean(text: object) -> str:
    """A text on one line without the characters that a document cannot hold.

    >>> clean("Evil\\x0b & Co\\n2")
    'Evil & Co 2'
    """
    return " ".join(_HOSTILE.sub("", str(text)).split())


def joined(text: str) -> str:
    """A text whose numbers no line parts from their units.

    >>> joined("5.5 % above 300 ms").replace(chr(160), "_")
    '5.5_% above 300_ms'
    """
    return _QUANTITY.sub("\u00a0", text)


def label(text: object) -> str:
    """A name as a chart's workbook may hold it: what a spreadsheet would compute begins with a space.

    >>> label("=1+1"), label("Video")
    (' =1+1', 'Video')
    """
    cleaned = clean(text)
    return f" {cleaned}" if _ACTIVE.match(cleaned) else cleaned


def message(answer: Answer) -> tuple[str, list[str]]:
    """The slide's title, the first sentence of the reading, and the sentences that remain.

    A sentence too long for a title is split where a part of it ends; where it has no such place, the
    title ends in an ellipsis and the whole sentence is the first that remains. Without a reading it is
    the question.
    """
    if not answer.reading:
        return clean(answer.question), []
    said = [dated(clean(text)) for text in answer.reading]
    first, *more = _ENDS.split(said[0], maxsplit=1)
    rest = [*more, *said[1:]]
    if len(first) <= _TITLE:
        return first, rest
    for mark in _PARTS:
        head, _, tail = _split(first, mark)
        if mark in ("; ", ": ") and tail and _VERB.search(head):
            return f"{head}.", [tail[:1].upper() + tail[1:], *rest]
        # What comes before the colon or the verb only says of what something will be said.
        if mark in (" (", ", ") and tail and (": " in head or _VERB.search(head)):
            return f"{head} …", [first, *rest]
    return shortened(first, _TITLE), [first, *rest]


def _split(text: str, mark: str) -> tuple[str, str, str]:
    at = text.rfind(mark, _LEAST, _TITLE)
    return (text[:at], mark, text[at + len(mark) :]) if at > 0 else (text, "", "")


def shortened(text: str, most: int = _SENTENCE) -> str:
    """A text cut at a word where it is longer than that, and marked with an ellipsis.

    >>> shortened("one two three", 9)
    'one two …'
    """
    return text if len(text) <= most else f"{text[: most - 1].rsplit(' ', 1)[0].rstrip(' ,;:')} …"


def lines_of(texts: Sequence[str], letters: int) -> int:
    """How many lines the texts take, each a paragraph, where a line holds so many letters."""
    return sum(max(1, -(-len(text) // max(letters, 1))) for text in texts)
