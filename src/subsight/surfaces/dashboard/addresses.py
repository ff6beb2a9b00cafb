"""Addresses: what a page shows is said by its address alone, and addresses survive upgrades.

A name of a filter, a path or a parameter is never given another meaning: bookmarks hold them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final
from urllib.parse import quote, urlencode

from subsight.errors import InputError

__all__ = ["KINDS", "PAGES", "PARAMETERS", "View", "is_page", "question_path", "route_of", "view_of"]

PAGES: Final = (
    "/", "/studies/{study}", "/studies/{study}/{question}", "/find", "/people/{pseudonym}",
    "/models", "/runs", "/glossary", "/login", "/logout",
)  # fmt: skip
"""Every page; a question's downloads are its address with `.csv`, `.svg` or `.png`."""

PARAMETERS: Final = {
    "segment": "segment", "manufacturer": "manufacturer", "handset": "handset",
    "engagement": "engagement_cluster", "experience": "experience_cluster",
    "application": "application", "cell": "cell", "category": "category", "site": "site",
}  # fmt: skip
"""The kind of filter that a parameter holds the values of; `from` and `to` hold the period."""
KINDS: Final = {kind: parameter for parameter, kind in PARAMETERS.items()}

_PATHS: Final = (
    (re.compile(r"/studies/[^/]+"), "/studies/{study}"),
    (re.compile(r"/studies/[^/]+/[^/]+"), "/studies/{study}/{question}"),
    (re.compile(r"/people/[^/]+"), "/people/{pseudonym}"),
    (re.compile(r"/static/[^/]+"), "/static/{name}"),
)
_LONGEST: Final = 200
_MOST: Final = 50
_LARGEST_PAGE: Final = 1_000_000


def route_of(path: str) -> str | None:
    """The template of a path of the dashboard, or None of any other path."""
    if path in PAGES:
        return path
    return next((route for pattern, route in _PATHS if pattern.fullmatch(path)), None)


def is_page(route: str) -> bool:
    """Whether people look at what stands there."""
    return route in PAGES


def question_path(id: str, suffix: str = "") -> str:
    """Where an answer stands, by its id `study.question`."""
    study, _, name = id.partition(".")
    return f"/studies/{quote(study, safe='')}/{quote(name, safe='')}{suffix}"


@dataclass(frozen=True)
class View:
    """What is chosen: filters by kind, a period, and how a table is sorted and which page of it is shown."""

    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    first: date | None = None
    last: date | None = None
    sort: str | None = None
    falling: bool = False
    page: int = 1

    @property
    def is_filtered(self) -> bool:
        """Whether anything is chosen."""
        return bool(self.chosen or self.first or self.last)

    def kinds(self) -> tuple[str, ...]:
        """The kinds of filter that are chosen."""
        return (*self.chosen, *(("period",) if self.first or self.last else ()))

    def query(self) -> str:
        """The view as the query of an address, with its question mark; empty where nothing is chosen."""
        pairs = self.filter_pairs()
        pairs += [("sort", self.sort)] if self.sort else []
        pairs += [("desc", "1")] if self.falling and self.sort else []
        pairs += [("page", str(self.page))] if self.page > 1 else []
        return f"?{urlencode(pairs)}" if pairs else ""

    def filter_pairs(self) -> list[tuple[str, str]]:
        """The filters as parameters, in one order, so that one choice has one address."""
        pairs = [(KINDS[kind], value) for kind in KINDS for value in self.chosen.get(kind, ())]
        pairs += [("from", self.first.isoformat())] if self.first else []
        pairs += [("to", self.last.isoformat())] if self.last else []
        return pairs

    def filters(self) -> View:
        """The filters alone: what is carried to other pages."""
        return View(self.chosen, self.first, self.last)

    def with_value(self, kind: str, value: str) -> View:
        """The filters with one more value, or with a day as the period."""
        if kind == "period":
            day = date.fromisoformat(value[:10])
            return View(self.chosen, day, day)
        values = tuple(dict.fromkeys((*self.chosen.get(kind, ()), value)))
        return View({**self.chosen, kind: values}, self.first, self.last)

    def without(self, kind: str, value: str | None = None) -> View:
        """The filters without one value, or without a kind or the period."""
        if kind == "period":
            return View(self.chosen)
        kept = tuple(one for one in self.chosen.get(kind, ()) if value is not None and one != value)
        chosen = {name: values for name, values in self.chosen.items() if name != kind}
        return View({**chosen, **({kind: kept} if kept else {})}, self.first, self.last)

    def sorted_by(self, column: str) -> View:
        """The view sorted by a column: rising first, falling when it is so already."""
        return replace(self, sort=column, falling=self.sort == column and not self.falling, page=1)

    def on_page(self, page: int) -> View:
        """The same table, another page."""
        return replace(self, page=page)


def view_of(pairs: Sequence[tuple[str, str]]) -> View:
    """What the parameters of an address choose; a name that is not known means nothing.

    Raises:
        InputError: a value is too long, no date or no number, or there are too many.
    """
    chosen: dict[str, list[str]] = {}
    single: dict[str, str] = {}
    for name, value in pairs:
        value = value.strip()
        if len(value) > _LONGEST:
            raise _wrong(name, f"{len(value)} characters", f"at most {_LONGEST}")
        if name in PARAMETERS and value:
            chosen.setdefault(PARAMETERS[name], []).append(value)
        elif value:
            single[name] = value
    for kind, values in chosen.items():
        if len(values) > _MOST:
            raise _wrong(KINDS[kind], f"{len(values)} values", f"at most {_MOST}")
    for kind in ("engagement_cluster", "experience_cluster"):
        for value in chosen.get(kind, ()):
            if not re.fullmatch(r"[0-9]{1,4}", value, re.ASCII):
                raise _wrong(KINDS[kind], value, "a cluster's number, such as 0")
    first, last = _day("from", single.get("from")), _day("to", single.get("to"))
    if first and last and first > last:
        raise _wrong("from", f"{first}, after {last}", "a day no later than the last")
    return View(
        {kind: tuple(dict.fromkeys(values)) for kind, values in chosen.items()},
        first, last, single.get("sort"), single.get("desc") == "1", _page(single.get("page")),
    )  # fmt: skip


def _day(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise _wrong(name, text, "a day such as 2026-04-01")


def _page(text: str | None) -> int:
    if text is None:
        return 1
    if re.fullmatch(r"[0-9]{1,7}", text, re.ASCII) and 1 <= int(text) <= _LARGEST_PAGE:
        return int(text)
    raise _wrong("page", text, "a page's number, from 1 on")


def _wrong(name: str, found: str, expected: str) -> InputError:
    return InputError(
        f"the parameter {name[:40]} cannot be used",
        found=found[:80],
        expected=expected,
        do="correct the address, or choose again in the form",
    )
