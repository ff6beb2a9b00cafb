"""Examples: whom a model learns from and is judged on, out of the current run and the answers so far."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from subsight.contracts import Application
from subsight.errors import NotFoundError
from subsight.lifecycle.feedback import answers, profiles_before
from subsight.models import feedback, satisfaction
from subsight.models.design import LEAST_ROWS
from subsight.results import Results
from subsight.settings import Settings
from subsight.tables import SESSIONS
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["SCORES", "Examples", "answered", "of_model", "of_run", "population"]

TARGET: Final = "satisfaction_score"
SCORES: Final = ("engagement_score", "experience_score")
LEAST_HELD_OUT: Final = 5


@dataclass(frozen=True)
class Examples:
    """Subscribers of a run or answers of a survey, by column: features, target, and who they are.

    A quarter of the subscribers is `held_out` of every training, by a hash of who they are. `answered_at`
    is there for answers only.
    """

    columns: Mapping[str, Any]
    target: Floats
    ids: list[str]
    held_out: NDArray[np.bool_]
    source: Mapping[str, Any]
    answered_at: list[datetime] | None = None

    @cached_property
    def tested(self) -> NDArray[np.intp]:
        """The rows that versions are judged on: held out, and with a target."""
        import numpy as np

        return np.flatnonzero(self.held_out & np.isfinite(self.target))

    def rows(self, names: Collection[str], rows: NDArray[np.intp]) -> dict[str, Any]:
        """Some features of some rows."""
        return {
            name: column[rows] if hasattr(column, "dtype") else [column[row] for row in rows]
            for name, column in self.columns.items()
            if name in names
        }


def of_model(workspace: Workspace, settings: Settings, name: str) -> Examples:
    """What a model of that name is judged on: the current run, or the answers so far.

    Raises:
        NotFoundError: there is no run with scores, or too few answers.
    """
    if name != "feedback":
        return of_run(workspace, settings)
    if (found := answered(workspace, settings)) is None:
        raise NotFoundError(
            "there are too few survey answers",
            expected=f"at least {LEAST_ROWS} of subscribers with sessions before the answer",
            do="subsight ingest feedback ANSWERS.csv --workspace WS",
        )
    return found


def of_run(workspace: Workspace, settings: Settings) -> Examples:
    """The current run's subscribers with their scores.

    Raises:
        NotFoundError: there is no run, or it has no scores.
    """
    results = Results(workspace.run())
    if "satisfaction" not in results.tables():
        raise NotFoundError(
            f"the run {results.manifest['run']} has no satisfaction scores",
            expected="enough subscribers with round-trip time, retransmission and throughput to form groups",
            do="map these columns, or ingest more sessions, and run again",
        )
    apps = _applications(results)
    wanted = satisfaction.habits(SESSIONS.expand(apps))
    profiles = results.table("profiles", ["subscriber_id", "total_bytes", *_stored(wanted)])
    profiles = profiles.slice(0, settings.fit_limit)
    scores = results.table("satisfaction", ["subscriber_id", *SCORES, TARGET]).slice(0, settings.fit_limit)
    columns = _columns(profiles, wanted) | {score: _floats(scores[score]) for score in SCORES}
    ids = profiles["subscriber_id"].to_pylist()
    if ids != scores["subscriber_id"].to_pylist():
        raise NotFoundError("the run's tables do not hold the same subscribers", do="publish the run again")
    return _examples(columns, _floats(scores[TARGET]), ids, results)


def answered(workspace: Workspace, settings: Settings) -> Examples | None:
    """The answers with the profile before each; None where there are too few to train on."""
    if answers(workspace).num_rows < LEAST_ROWS:
        return None
    found, results = profiles_before(workspace, settings), Results(workspace.run())
    found = found.slice(max(0, found.num_rows - settings.fit_limit))
    target = _floats(found["rating_share"])
    ids = found["subscriber_id"].to_pylist()
    columns = _columns(found, feedback.drivers(SESSIONS.expand(_applications(results))))
    examples = replace(_examples(columns, target, ids, results), answered_at=found["answered_at"].to_pylist())
    few = min(int(examples.held_out.sum()), int((~examples.held_out).sum())) < LEAST_HELD_OUT
    return None if len(target) < LEAST_ROWS or few else examples


def population(workspace: Workspace, settings: Settings, name: str) -> dict[str, Any]:
    """The features of a model for all subscribers of the current run: whom it is asked about.

    Those who answer a survey are not everybody, so the feedback model's are not its training rows.
    """
    if name != "feedback":
        return dict(of_run(workspace, settings).columns)
    results = Results(workspace.run())
    drivers = feedback.drivers(SESSIONS.expand(_applications(results)))
    profiles = results.table("profiles", ["total_bytes", *_stored(drivers)]).slice(0, settings.fit_limit)
    return _columns(profiles, drivers)


def _stored(features: list[str]) -> list[str]:
    """The columns of a profile that features are made of."""
    return [f"{n.removesuffix('_share')}_bytes" if n.startswith("app_") else n for n in features]


def _applications(results: Results) -> tuple[Application, ...]:
    return tuple(Application(app["slug"], app["name"]) for app in results.manifest["applications"])


def _columns(profiles: Any, wanted: list[str]) -> dict[str, Any]:
    """Features by name: an application's share is made of its volume, texts stay lists."""
    import numpy as np

    total = _floats(profiles["total_bytes"])
    columns: dict[str, Any] = {}
    for name in wanted:
        if name == "handset_manufacturer":
            columns[name] = profiles[name].to_pylist()
        elif name.startswith("app_"):
            volume = _floats(profiles[f"{name.removesuffix('_share')}_bytes"])
            columns[name] = np.divide(volume, total, out=np.full(len(total), np.nan), where=total > 0)
        else:
            columns[name] = _floats(profiles[name])
    return columns


def _examples(columns: dict[str, Any], target: Floats, ids: list[str], results: Results) -> Examples:
    import numpy as np

    held_out = np.array([hashlib.sha256(one.encode()).digest()[0] % 4 == 0 for one in ids])
    source = {"run": results.manifest["run"], "inputs": [e["content"] for e in results.manifest["inputs"]],
              "subscribers": int(np.isfinite(target).sum())}  # fmt: skip
    return Examples(columns, target, ids, held_out, source)


def _floats(column: Any) -> Floats:
    import numpy as np

    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
