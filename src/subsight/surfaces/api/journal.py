"""What the service hands to the audit log, and waits for where the log is strict."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec

from subsight.lifecycle.audit import AuditLog
from subsight.surfaces.api.metrics import Metrics

__all__ = ["Journal", "Prediction"]


class Answering(Protocol):
    """What answered: a champion, or a segmentation."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def number(self) -> int | str:
        """The version's number, or its name."""


class Prediction(msgspec.Struct, frozen=True):
    """Whose question was answered by which model, how fast, and what else the record says."""

    id: str
    caller: str
    champion: Answering
    latency_ms: float
    experiment: Mapping[str, Any] | None = None


class Journal:
    """The audit log, started by whoever made the service, with a count of what went into it."""

    def __init__(self, log: AuditLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    @property
    def trouble(self) -> str | None:
        """Why nothing can be recorded any more, or None."""
        return "the audit log cannot be written" if self._log.failure else None

    async def one(
        self, made: Prediction, subscriber_id: str | None, inputs: Mapping[str, Any], output: Any
    ) -> None:
        """Records a prediction.

        Raises:
            StorageError: it cannot be recorded, so it must not be answered.
            AuditBusyError: not now, as the disk is far behind: the event loop does not wait for it.
        """
        done = self._log.predicted(
            id=made.id,
            caller=made.caller,
            subscriber_id=subscriber_id,
            inputs=inputs,
            output=output,
            model=made.champion.name,
            version=str(made.champion.number),
            latency_ms=made.latency_ms,
            experiment=made.experiment,
            wait=False,
        )
        self._metrics.predicted(made.champion.name, made.champion.number)
        self._metrics.recorded("prediction")
        await _durable(done)

    def begin_batch(self, made: Prediction, columns: Mapping[str, Sequence[Any]]) -> Future[None]:
        """Hands over a batch, inputs and outputs as columns; it takes milliseconds, in any thread.

        Raises:
            StorageError: as `one`.
        """
        return self._log.batch(
            id=made.id,
            caller=made.caller,
            columns=columns,
            model=made.champion.name,
            version=str(made.champion.number),
            latency_ms=made.latency_ms,
            experiment=made.experiment,
            wait=False,
        )

    async def end_batch(self, made: Prediction, rows: int, done: Future[None]) -> None:
        """Counts a batch that was handed over, and waits for the disk where the log is strict."""
        self._metrics.predicted(made.champion.name, made.champion.number, rows)
        self._metrics.recorded("batch")
        await _durable(done)


async def _durable(done: Future[None]) -> None:
    # In a grouped log it is done already: no trip through the event loop.
    if not done.done():
        await asyncio.wrap_future(done)
    elif error := done.exception():
        raise error
