"""How a thing shows itself in a notebook: things stand below, and the rooms above say how they look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["html", "shows"]

_Thing = TypeVar("_Thing")
_Way = Callable[[_Thing], str]
_WAYS: Final[dict[type, _Way[Any]]] = {}


def shows(kind: type[_Thing]) -> Callable[[_Way[_Thing]], _Way[_Thing]]:
    """Makes a function the way in which things of a kind become HTML."""

    def register(way: _Way[_Thing]) -> _Way[_Thing]:
        _WAYS[kind] = way
        return way

    return register


def html(thing: object) -> str | None:
    """A thing as HTML; None, so that a notebook prints its text, where no room above was loaded."""
    ways = [_WAYS[kind] for kind in type(thing).__mro__ if kind in _WAYS]
    return ways[0](thing) if ways else None
