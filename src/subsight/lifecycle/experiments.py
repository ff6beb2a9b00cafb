"""Champion and challenger: whom the challenger answers, and which of the two errs less on what came after.

The unit is the subscriber: of several predictions the first of the challenge counts, with the first
outcome known after it, so that a busy subscriber weighs no more than another. Outcomes are taken in the
order in which they became known, ties by SHA-256 of the pseudonym: what was seen yesterday is the
beginning of what is seen today, which is what the test needs to stay valid however often it is looked at.
In an A/B it assumes besides that whether and when somebody's outcome is known does not depend on the arm.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from subsight.errors import NotFoundError
from subsight.lifecycle.predictions import ANSWER, Ab, Record, Shadow, columns_of, records
from subsight.lifecycle.registry import Registry
from subsight.results import Results
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "MINIMUM_ARM",
    "MINIMUM_ROWS",
    "Comparison",
    "Verdict",
    "compare",
    "interval",
    "is_challenged",
    "weighted",
]

MINIMUM_ROWS: Final = 200
MINIMUM_ARM: Final = 50
# Where the interval is narrowest, in rows: it has to be chosen before there are any.
_NARROWEST: Final = MINIMUM_ROWS * math.log(MINIMUM_ROWS)

_VERBS: Final = {"champion": "promote", "challenger": "challenge"}

Verdict = Literal["better", "worse", "no clear difference", "too early"]
Outcome = tuple[str, datetime, float]


def is_challenged(model: str, challenger: int, subscriber_id: str, share: float) -> bool:
    """Whether the challenger answers a subscriber in an A/B.

    SHA-256 of model, challenger and pseudonym as a fraction, below `share`: the same subscriber has the
    same arm for as long as the share stands, and arms of different challengers have nothing in common.
    """
    digest = hashlib.sha256(f"{model} {challenger} {subscriber_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < share


def interval(differences: Floats, alpha: float = 0.05) -> tuple[float, float, float]:
    """The mean of the differences and its confidence sequence, valid at all row counts at once.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas ("Time-uniform
    central limit theory and asymptotic confidence sequences", Annals of Statistics 52, 2024), normal
    mixture: mean ± sd * sqrt(2 (n r + 1) / (n² r) * log(sqrt(n r + 1) / alpha)) after n rows, with
    r = (-2 log alpha + log(1 - 2 log alpha)) / 1060, which makes it narrowest near row 1,060. The chance
    that it ever leaves out the truth is about `alpha`, for rows enough for a mean to be nearly normal.
    """
    import numpy as np

    n = len(differences)
    mean, deviation = float(np.mean(differences)), float(np.std(differences))
    spread = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / _NARROWEST
    width = math.sqrt(2 * (n * spread + 1) / (n * n * spread) * math.log(math.sqrt(n * spread + 1) / alpha))
    return mean, mean - deviation * width, mean + deviation * width


def weighted(losses: Floats, is_challenger: NDArray[np.bool_], shares: Floats) -> Floats:
    """One number for each row of an A/B whose expectation is the challenger's loss less the champion's.

    Inverse-propensity weighting: loss / share where the challenger answered, -loss / (1 - share) where
    the champion did. From each loss a centre is taken first that only rows before it decide (the arms'
    mean losses, weighted so that the variance is least), which changes no expectation.
    """
    import numpy as np

    def before(chosen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        total, count = np.cumsum(np.where(chosen, losses, 0.0)), np.cumsum(chosen)
        return np.concatenate(([0.0], total[:-1])), np.concatenate(([0.0], count[:-1]))

    (theirs, many), (ours, few) = before(~is_challenger), before(is_challenger)
    everybody = (theirs + ours) / np.maximum(many + few, 1)
    champion = np.where(many > 0, theirs / np.maximum(many, 1), everybody)
    challenger = np.where(few > 0, ours / np.maximum(few, 1), everybody)
    rest = losses - ((1 - shares) * challenger + shares * champion)
    weights: Floats = np.where(is_challenger, rest / shares, -rest / (1 - shares))
    return weights


@dataclass(frozen=True)
class Comparison:
    """What a challenge shows so far.

    Attributes:
        kind: how the challenger was tried last, as the audit log says; null where it was not yet.
        since: from when on: the challenge's begin, or the champion's where that was later.
        predictions: rows that both predicted (shadow) or that an arm answered (ab).
        failures: of these, where the challenger had no prediction.
        arms: for each, `rows` (subscribers with an outcome) and `mae`, its mean absolute error.
        difference: the challenger's mean absolute error less the champion's; `low` and `high` bound it at
            every look together with a chance of 1 - `alpha`. Null where `verdict` is "too early".
        agreement: in shadow, over all `rows`: `mean_absolute_difference` of the two predictions, and
            `beyond_share`, the share of rows that differ by more than `tolerance`.
    """

    model: str
    champion: int
    challenger: int
    since: str
    kind: Literal["shadow", "ab"] | None
    predictions: int
    failures: int
    arms: Mapping[str, Mapping[str, Any]]
    rows: int
    difference: float | None
    low: float | None
    high: float | None
    alpha: float
    verdict: Verdict
    agreement: Mapping[str, Any] | None


def compare(
    workspace: Workspace,
    name: str,
    answers: pa.Table | None = None,
    *,
    tolerance: float = 0.1,
    alpha: float = 0.05,
) -> Comparison:
    """The challenger of a model against its champion, on what the service did since the challenge began.

    Outcomes are `answers` (`subscriber_id`, `answered_at`, `rating_share`), of the subscriber whichever
    prediction they name; without them, for all models but feedback, the satisfaction scores of the runs
    that began after a prediction and read something new.

    Raises:
        NotFoundError: the model has no champion or no challenger.
    """
    registry = Registry(workspace)
    aliases = registry.aliases(name)
    if missing := [alias for alias in ("champion", "challenger") if alias not in aliases]:
        raise NotFoundError(
            f"the model {name} has no {missing[0]}",
            expected="a champion and a challenger",
            do=f"choose one: subsight models {_VERBS[missing[0]]} WS VERSION --model {name}",
        )
    moved = {c["alias"]: datetime.fromisoformat(c["at"]) for c in registry.changes() if c["model"] == name}
    since = max(moved.values())
    log = _Log(aliases["champion"], aliases["challenger"], tolerance)
    for record in records(workspace.path / "audit", name, since):
        log.take(record)
    seen = log.drawn if log.kind == "ab" else log.paired
    outcomes: Iterable[Outcome] = ()
    if answers is not None:
        outcomes = _answered(answers)
    elif name != "feedback":
        outcomes = _published(workspace, since, seen)
    judged = _judged(_joined(seen, outcomes), alpha)
    counted = log.counted.get(log.kind or "", _Count())
    return Comparison(
        model=name,
        champion=aliases["champion"],
        challenger=aliases["challenger"],
        since=since.isoformat(timespec="milliseconds"),
        kind=log.kind,
        predictions=counted.rows,
        failures=counted.failures,
        alpha=alpha,
        agreement=log.agreement() if log.kind == "shadow" else None,
        **judged,
    )


# What the audit log says


@dataclass(frozen=True)
class _Seen:
    """The first prediction for a subscriber: both versions' (shadow), or one's and its arm's share (ab)."""

    at: datetime
    champion: float | None
    challenger: float | None
    share: float = 1.0


@dataclass
class _Count:
    rows: int = 0
    failures: int = 0


@dataclass
class _Log:
    """What a comparison keeps of the records: one prediction of each subscriber, and counts."""

    champion: int
    challenger: int
    tolerance: float
    paired: dict[str, _Seen] = field(default_factory=dict)
    drawn: dict[str, _Seen] = field(default_factory=dict)
    counted: dict[str, _Count] = field(default_factory=lambda: {"shadow": _Count(), "ab": _Count()})
    kind: Literal["shadow", "ab"] | None = None
    _last: datetime | None = None
    _apart: float = 0.0
    _beyond: int = 0

    def take(self, record: Record) -> None:
        """Notes a record, if it is of this champion and this challenger."""
        pair = (str(self.champion), str(self.challenger))
        if record.shadow and (record.version, record.shadow.version) == pair:
            for subscriber, output, shadow in _rows(record, record.shadow):
                self._pair(record.at, subscriber, output, shadow)
            self._note(record.at, "shadow")
        elif record.ab and record.ab.challenger == pair[1] and record.version in pair:
            self._draw(record, record.ab)

    def agreement(self) -> Mapping[str, Any]:
        """How much the two versions' predictions differ, whoever is right."""
        rows = self.counted["shadow"].rows - self.counted["shadow"].failures
        return {
            "rows": rows,
            "mean_absolute_difference": self._apart / rows if rows else None,
            "beyond_share": self._beyond / rows if rows else None,
            "tolerance": self.tolerance,
        }

    def _pair(self, at: datetime, subscriber: str | None, output: float, shadow: float | None) -> None:
        count = self.counted["shadow"]
        count.rows += 1
        if shadow is None:
            count.failures += 1
            return
        self._apart += abs(shadow - output)
        self._beyond += abs(shadow - output) > self.tolerance
        if subscriber and (subscriber not in self.paired or at < self.paired[subscriber].at):
            self.paired[subscriber] = _Seen(at, output, shadow)

    def _draw(self, record: Record, ab: Ab) -> None:
        is_challenger, subscriber = ab.arm == "challenger", record.subscriber_id
        self.counted["ab"].rows += 1
        self.counted["ab"].failures += is_challenger and record.version == str(self.champion)
        self._note(record.at, "ab")
        if subscriber and (subscriber not in self.drawn or record.at < self.drawn[subscriber].at):
            # Where the challenger failed and the champion answered, its arm bears that answer.
            champion, challenger = (None, record.output) if is_challenger else (record.output, None)
            self.drawn[subscriber] = _Seen(record.at, champion, challenger, ab.share)

    def _note(self, at: datetime, kind: Literal["shadow", "ab"]) -> None:
        if self._last is None or at >= self._last:
            self._last, self.kind = at, kind


def _rows(record: Record, shadow: Shadow) -> Iterator[tuple[str | None, float, float | None]]:
    """Subscriber, answer and the challenger's prediction of each row."""
    if record.kind == "prediction":
        yield record.subscriber_id, record.output, shadow.output
        return
    columns = columns_of(record)
    outputs = columns[ANSWER]
    nobody = [None] * len(outputs)
    beside = columns.get("shadow_satisfaction_score", nobody)
    yield from zip(columns.get("subscriber_id", nobody), outputs, beside, strict=True)


# What came after


def _answered(answers: pa.Table) -> Iterator[Outcome]:
    columns = (answers[name].to_pylist() for name in ("subscriber_id", "answered_at", "rating_share"))
    for subscriber, at, share in zip(*columns, strict=True):
        if subscriber is not None and share is not None:
            yield subscriber, at if at.tzinfo else at.replace(tzinfo=UTC), share


def _published(workspace: Workspace, since: datetime, wanted: Collection[str]) -> Iterator[Outcome]:
    """Scores of the runs begun since then. A run over the inputs of the one before it says nothing new."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known: list[str] = []
    subscribers = pa.array(wanted, pa.string())
    for name in workspace.runs():
        results = Results(workspace.run(name))
        at = datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
        inputs = sorted(entry["content"] for entry in results.manifest["inputs"])
        is_new, known = inputs != known, inputs
        if not wanted or not is_new or at <= since or "satisfaction" not in results.tables():
            continue
        table = results.table("satisfaction", ["subscriber_id", "satisfaction_score"])
        table = table.filter(pc.is_in(table["subscriber_id"], value_set=subscribers))
        for subscriber, score in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if score is not None and math.isfinite(score):
                yield subscriber, at, score


def _joined(seen: Mapping[str, _Seen], outcomes: Iterable[Outcome]) -> list[tuple[_Seen, float]]:
    """Each subscriber's prediction with the first outcome after it, in the order of these."""
    first: dict[str, tuple[datetime, float]] = {}
    for subscriber, at, value in outcomes:
        if (
            subscriber in seen
            and at > seen[subscriber].at
            and (subscriber not in first or at < first[subscriber][0])
        ):
            first[subscriber] = at, value
    order = sorted(first, key=lambda one: (first[one][0], hashlib.sha256(one.encode()).digest()))
    return [(seen[one], first[one][1]) for one in order]


def _judged(joined: list[tuple[_Seen, float]], alpha: float) -> dict[str, Any]:
    """Each arm's rows and error; difference, interval and verdict, null and "too early" while it is that."""
    import numpy as np

    actual = np.array([value for _, value in joined])
    errors = {
        arm: np.abs(np.array([getattr(seen, arm) for seen, _ in joined], dtype=np.float64) - actual)
        for arm in ("champion", "challenger")
    }
    known = {arm: np.isfinite(error) for arm, error in errors.items()}
    counts = {arm: int(rows.sum()) for arm, rows in known.items()}
    arms = {
        arm: {"rows": counts[arm], "mae": float(errors[arm][rows].mean()) if counts[arm] else None}
        for arm, rows in known.items()
    }
    found: dict[str, Any] = {"arms": arms, "rows": len(joined), "verdict": "too early"}
    if len(joined) < MINIMUM_ROWS or min(counts.values()) < MINIMUM_ARM:
        return {**found, "difference": None, "low": None, "high": None}
    if counts["champion"] == counts["challenger"] == len(joined):
        differences = errors["challenger"] - errors["champion"]
    else:
        losses = np.where(known["challenger"], errors["challenger"], errors["champion"])
        differences = weighted(losses, known["challenger"], np.array([seen.share for seen, _ in joined]))
    mean, low, high = interval(differences, alpha)
    # Rounding alone makes errors of two equal models differ in their last digits.
    margin = 1e-9 * max(float(np.abs(actual).mean()), 1e-300)
    verdict: Verdict = "worse" if low > margin else "better" if high < -margin else "no clear difference"
    return {**found, "difference": mean, "low": low, "high": high, "verdict": verdict}
