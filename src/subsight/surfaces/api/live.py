"""The champions that answer now: looked after while the service runs, swapped as one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from subsight.errors import SubsightError, WorkspaceError
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry

__all__ = ["IDENTITY", "Champion", "Champions", "Live"]

IDENTITY: Final = ("engagement_score", "experience_score")

_LOOK_EVERY_S: Final = 0.1
_log = logging.getLogger("subsight.api")

# What a record that is no model of ours makes of a predictor.
_BROKEN: Final = (SubsightError, OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Champion:
    """A predictor and its fields as sets."""

    predictor: Predictor
    numbers: frozenset[str]
    texts: frozenset[str]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.predictor.version.name

    @property
    def number(self) -> int:
        """The version's number."""
        return self.predictor.version.number


@dataclass(frozen=True)
class Champions:
    """What answers, by model, and what is wrong with a champion that cannot."""

    by_model: Mapping[str, Champion] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()


class Live:
    """A registry's champions. A new one is loaded before it replaces the old; a broken one never does."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._stamp = (-1, -1)
        self._look_at = 0.0
        self._current = Champions()

    def champions(self) -> Champions:
        """The present champions; looks for a change at most every 100 ms."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            # Taken before the ledger is read: a change in between is seen at the next look.
            stamp = self._registry.stamp()
            if stamp != self._stamp:
                self._stamp, self._current = stamp, self._loaded()
        return self._current

    def _loaded(self) -> Champions:
        before = self._current.by_model
        found: dict[str, Champion] = {}
        troubles: list[str] = []
        try:
            names = [name for name in self._registry.names() if "champion" in self._registry.aliases(name)]
        except _BROKEN as error:
            return Champions(before, (_trouble("the registry", error, "the champions of before answer"),))
        for name in names:
            try:
                found[name] = self._champion(name, before.get(name))
            except _BROKEN as error:
                old = before.get(name)
                answers = f"version {old.number} answers" if old else "there is none to answer instead"
                troubles.append(_trouble(f"the champion of {name}", error, answers))
                if old:
                    found[name] = old
        return Champions(found, tuple(troubles))

    def _champion(self, name: str, before: Champion | None) -> Champion:
        version = self._registry.get(name)
        if before and before.predictor.version.digest == version.digest and before.number == version.number:
            return before
        predictor = Predictor(version)
        predictor.one({})
        if name == "identity" and set(predictor.fields) != set(IDENTITY):
            raise WorkspaceError(
                f"version {version.number} of identity takes other fields",
                found=", ".join(predictor.fields),
                expected=", ".join(IDENTITY),
            )
        _log.info("%s: version %s answers", name, version.number)
        return Champion(predictor, frozenset(predictor.numbers), frozenset(predictor.texts))


def _trouble(what: str, error: Exception, answers: str) -> str:
    # Callers see it, so it has no more of the error than its kind; the log has all.
    said = f"{what} cannot be loaded ({type(error).__name__}): {answers}"
    _log.error("%s: %s", said, error)
    return said
