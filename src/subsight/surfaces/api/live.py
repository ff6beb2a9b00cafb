"""The champions that answer now, and who challenges them: looked after in service, swapped as one."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Final, Literal

from subsight.errors import SubsightError, WorkspaceError
from subsight.lifecycle.experiments import is_challenged
from subsight.lifecycle.predictor import Predictor
from subsight.lifecycle.registry import Registry

__all__ = ["IDENTITY", "Challenge", "Champion", "Champions", "Experiment", "Live"]

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

    @cached_property
    def name(self) -> str:
        """The model's name."""
        return self.predictor.version.name

    @cached_property
    def number(self) -> int:
        """The version's number."""
        return self.predictor.version.number


@dataclass(frozen=True)
class Experiment:
    """What challengers do: predict beside the champion, answer for their share of subscribers, or nothing."""

    kind: Literal["shadow", "ab", "off"] = "shadow"
    share: float = 0.5


@dataclass(frozen=True)
class Challenge:
    """A challenger beside its champion. Whatever fails in it, the champion answers."""

    challenger: Champion
    champion: Champion
    experiment: Experiment

    def one(
        self, subscriber_id: str | None, row: Mapping[str, Any]
    ) -> tuple[Champion, float, dict[str, Any] | None]:
        """Who answers a row of the champion's fields, its prediction, and what the audit log is told of it.

        Who named no subscriber is answered by the champion and counts for neither arm of an A/B.
        """
        champion, challenger, share = self.champion, self.challenger, self.experiment.share
        version = str(challenger.number)
        if self.experiment.kind == "shadow":
            shadow = {"version": version, "output": self._tried(row)}
            return champion, champion.predictor.one(row), {"shadow": shadow}
        if subscriber_id is None:
            return champion, champion.predictor.one(row), None
        chosen = is_challenged(champion.name, challenger.number, subscriber_id, share)
        arm = "challenger" if chosen else "champion"
        told = {"ab": {"challenger": version, "arm": arm, "share": share}}
        if chosen and (score := self._tried(row)) is not None:
            return challenger, score, told
        return champion, champion.predictor.one(row), told

    def batch(
        self, columns: Mapping[str, Sequence[Any]], rows: int
    ) -> tuple[dict[str, Any] | None, dict[str, list[float]]]:
        """What the audit log is told of a batch that the champion answers, and one more column for it.

        In an A/B neither: a batch has one version in its answer, the champion's, and counts for no arm.
        """
        if self.experiment.kind != "shadow":
            return None, {}
        told = {"shadow": {"version": str(self.challenger.number)}}
        try:
            scores = self.challenger.predictor.many(columns, rows).tolist()
        except Exception as error:
            _warn(self.champion.name, self.challenger.number, type(error).__name__)
            return told, {}
        return told, {"shadow_satisfaction_score": scores}

    def _tried(self, row: Mapping[str, Any]) -> float | None:
        try:
            score = self.challenger.predictor.one(row)
        except Exception as error:
            _warn(self.champion.name, self.challenger.number, type(error).__name__)
            return None
        return score if math.isfinite(score) else None


@cache
def _warn(model: str, number: int, what: str) -> None:
    # Once for each fault, not once a request: the audit log has every failure.
    _log.warning("the challenger %s of %s fails: %s", number, model, what)


@dataclass(frozen=True)
class Champions:
    """What answers, by model, who challenges it, and what is wrong with a version that cannot."""

    by_model: Mapping[str, Champion] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
    challenges: Mapping[str, Challenge] = field(default_factory=dict)


class Live:
    """A registry's champions. A new one is loaded before it replaces the old; a broken one never does."""

    def __init__(
        self,
        registry: Registry,
        experiment: Experiment | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._experiment = experiment or Experiment()
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
            said = _trouble("the registry", error, "the champions of before answer")
            return Champions(before, (said,), self._current.challenges)
        for name in names:
            try:
                found[name] = self._champion(name, before.get(name))
            except _BROKEN as error:
                old = before.get(name)
                answers = f"version {old.number} answers" if old else "there is none to answer instead"
                troubles.append(_trouble(f"the champion of {name}", error, answers))
                if old:
                    found[name] = old
        challenges = self._challenges(found, troubles)
        return Champions(found, tuple(troubles), challenges)

    def _challenges(self, champions: Mapping[str, Champion], troubles: list[str]) -> dict[str, Challenge]:
        found: dict[str, Challenge] = {}
        for name, champion in champions.items() if self._experiment.kind != "off" else ():
            before = self._current.challenges.get(name)
            try:
                if self._registry.aliases(name).get("challenger") in (None, champion.number):
                    continue
                challenger = self._champion(name, before.challenger if before else None, "challenger")
            except _BROKEN as error:
                troubles.append(_trouble(f"the challenger of {name}", error, "the champion answers alone"))
                continue
            known = champion.numbers | champion.texts
            if unknown := ", ".join(sorted((challenger.numbers | challenger.texts) - known)):
                troubles.append(f"the challenger of {name} takes what the champion does not: {unknown}")
            found[name] = Challenge(challenger, champion, self._experiment)
        return found

    def _champion(self, name: str, before: Champion | None, alias: str = "champion") -> Champion:
        version = self._registry.get(name, alias)
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
        _log.info("%s: version %s is loaded as the %s", name, version.number, alias)
        return Champion(predictor, frozenset(predictor.numbers), frozenset(predictor.texts))


def _trouble(what: str, error: Exception, answers: str) -> str:
    # Callers see it, so it has no more of the error than its kind; the log has all.
    said = f"{what} cannot be loaded ({type(error).__name__}): {answers}"
    _log.error("%s: %s", said, error)
    return said
