"""What each address answers."""

from __future__ import annotations

import asyncio
import math
import os
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from subsight.lifecycle.feedback import Inbox
from subsight.lifecycle.following import Followed
from subsight.lifecycle.recommending import Offers
from subsight.lifecycle.segmentation import Segmenter, Watched
from subsight.lifecycle.watching import last_look
from subsight.live.status import status
from subsight.results import Results
from subsight.surfaces.api import bodies, collected, fields, offers, survey
from subsight.surfaces.api.gate import Asked, asked
from subsight.surfaces.api.journal import Journal, Prediction
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.live import Challenge, Champion, Champions, Live
from subsight.surfaces.api.metrics import Metrics
from subsight.surfaces.api.refusals import RefusedError, reply
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Endpoints"]

# Above it a batch takes long enough to be noticed by the requests beside it.
_OWN_THREAD_BYTES: Final = 100_000


class Endpoints:
    """The answers of a service over one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        live: Live,
        journal: Journal,
        limits: Limits,
        metrics: Metrics,
        watched: Watched,
        followed: Followed[Offers],
    ) -> None:
        self._workspace = workspace
        self._watched, self._followed = watched, followed
        self._live = live
        self._journal = journal
        self._limits = limits
        self._metrics = metrics
        self._inbox = Inbox(workspace)

    @cached_property
    def _key(self) -> bytes:
        return self._workspace.key()

    async def predict(self, scope: Scope, receive: Receive) -> Response:
        """One prediction, recorded before it is answered."""
        request = asked(scope)
        bodies.media_type(request.headers, bodies.JSON)
        row = bodies.row_of(await self._body(request, receive))
        champions = self._live.champions()
        champion = fields.choose(dict.fromkeys(row), champions)
        values = fields.checked(row, champion)
        subscriber = row.get(fields.SUBSCRIBER)
        if subscriber is not None:
            subscriber = fields.called(subscriber, self._key)
        told = None
        if challenge := champions.challenges.get(champion.name):
            champion, score, told = challenge.one(subscriber, values)
        else:
            score = champion.predictor.one(values)
        if not math.isfinite(score):
            raise _infinite(champion)
        made = Prediction(os.urandom(12).hex(), request.caller, champion, request.latency_ms(), told)
        await self._journal.one(made, subscriber, values, score)
        return reply(
            {
                "satisfaction_score": score,
                "model": champion.name,
                "version": champion.number,
                "id": made.id,
            }
        )

    async def predict_batch(self, scope: Scope, receive: Receive) -> Response:
        """A prediction for each row, by one model, recorded as one batch before it is answered."""
        request = asked(scope)
        kind = bodies.media_type(request.headers, bodies.JSON, bodies.CSV)
        body = await self._body(request, receive)
        champions = self._live.champions()
        read = bodies.batch_of_csv if kind == bodies.CSV else bodies.batch_of_json

        def predicted() -> tuple[Prediction, int, bytes, Future[None]]:
            batch = read(body, self._limits)
            champion = fields.choose(batch.names, champions)
            columns, scores = self._scores(batch, champion)
            challenge = champions.challenges.get(champion.name)
            told, beside = challenge.batch(columns, batch.rows) if challenge else (None, {})
            made = Prediction(os.urandom(12).hex(), request.caller, champion, request.latency_ms(), told)
            answer = {"satisfaction_score": scores, "model": champion.name, "version": champion.number}
            content = msgspec.json.encode({**answer, "id": made.id})
            recorded = self._journal.begin_batch(made, {**columns, "satisfaction_score": scores, **beside})
            return made, batch.rows, content, recorded

        large = len(body) > _OWN_THREAD_BYTES
        made, rows, content, recorded = await asyncio.to_thread(predicted) if large else predicted()
        await self._journal.end_batch(made, rows, recorded)
        return Response(content, media_type=bodies.JSON)

    async def _body(self, request: Asked, receive: Receive) -> bytes:
        return await bodies.read(receive, request.headers, self._limits, is_here=request.body_is_here)

    def _scores(self, batch: bodies.Batch, champion: Champion) -> tuple[dict[str, Any], list[float]]:
        import numpy as np

        columns = fields.checked_columns(batch.columns, champion, as_text=batch.is_text)
        scores: NDArray[np.float64] = champion.predictor.many(columns, batch.rows)
        if not np.isfinite(scores).all():
            raise _infinite(champion)
        if called := batch.columns.get(fields.SUBSCRIBER):
            names = [name or None for name in called] if batch.is_text else called
            columns[fields.SUBSCRIBER] = [
                fields.called(name, self._key, row) for row, name in enumerate(names, 1)
            ]
        return columns, scores.tolist()

    async def subscriber(self, request: Request) -> Response:
        """What the current run holds of one subscriber."""
        return reply(await asyncio.to_thread(self._subscriber, request.path_params["id"]))

    def _subscriber(self, identifier: str) -> dict[str, Any]:
        if not self._workspace.runs():
            raise RefusedError(
                404, "there is no run yet", do="publish one with: subsight run INPUT --workspace WS"
            )
        return Results(self._workspace.run()).subscriber(identifier, self._key)

    async def feedback(self, scope: Scope, receive: Receive) -> Response:
        """Keeps a survey answer: it is on disk when it is answered, and the same answer again counts once."""
        request = asked(scope)
        bodies.media_type(request.headers, bodies.JSON)
        row = bodies.row_of(await self._body(request, receive))
        await asyncio.to_thread(self._inbox.put, survey.answer_of(row, self._key))
        return reply({"status": "kept"}, 201)

    async def monitoring(self, _request: Request) -> Response:
        """What the last look at the champions saw: drift, performance, reasons to train."""
        found = await asyncio.to_thread(last_look, self._workspace)
        if found is None:
            raise RefusedError(404, "nobody has looked at the models yet", do="run: subsight models watch WS")
        return reply(found)

    async def health(self, _request: Request) -> Response:
        """The process answers."""
        return reply({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """Whether predictions can be made, and if not, why and what to do."""
        champions = self._live.champions()
        others = [one for one in (self._watched.current(), self._followed.current()) if one]
        troubles = self._troubles(champions)
        if self._journal.trouble:
            troubles.insert(0, self._journal.trouble)
        elif champions.by_model or others:
            models = {name: champion.number for name, champion in champions.by_model.items()}
            versions = {one.name: one.version for one in others}
            if not models and not troubles:
                said = " and ".join(versions)
                troubles.append(f"there is no model yet: only {said} can be predicted")
            return reply({"status": "ready", "models": models | versions, "troubles": troubles})
        raise RefusedError(
            503,
            troubles[0] if troubles else "there is no model yet: nothing can be predicted",
            found="; ".join(troubles[1:]) or None,
            expected="a champion of identity or behaviour, and a disk that takes the audit log",
            do=(
                "restart the service once the disk is well"
                if self._journal.trouble
                else f"run: subsight models train {self._workspace.path.name}, then subsight models promote"
                f" {self._workspace.path.name} VERSION"
            ),
        )

    async def metrics(self, _request: Request) -> Response:
        """Counters for Prometheus: of this service, and what live inputs say of themselves."""
        # Files are read, so not on the event loop's thread.
        inputs = await asyncio.to_thread(lambda: collected.lines(status(self._workspace)))
        return Response(self._metrics.text() + inputs, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, _request: Request) -> Response:
        """Each champion's card: what it was fitted on, by which code, how well it does."""
        champions = self._live.champions()
        challenges = champions.challenges
        cards = {name: _card(champion, challenges.get(name)) for name, champion in champions.by_model.items()}
        if segmenter := self._watched.current():
            cards[segmenter.name] = _segments_card(segmenter)
        if found := self._followed.current():
            cards[found.name] = offers.card(found)
        return reply({"models": cards, "troubles": self._troubles(champions)})

    def _troubles(self, champions: Champions) -> list[str]:
        others = (self._watched.trouble, self._followed.trouble)
        return [*champions.troubles, *(trouble for trouble in others if trouble)]


def _card(champion: Champion, challenge: Challenge | None) -> dict[str, Any]:
    version = champion.predictor.version
    record = version.record
    return {
        "version": version.number,
        "digest": version.digest,
        "registered_at": version.entry.get("registered_at"),
        "code_version": version.entry.get("code"),
        "fields": champion.predictor.fields,
        "card": record.get("card"),
        "metrics": version.entry.get("metrics"),
        "challenger": challenge.challenger.number if challenge else None,
    }


def _segments_card(segmenter: Segmenter) -> dict[str, Any]:
    record = segmenter.record
    return {
        "version": segmenter.version,
        "digest": segmenter.digest,
        "fields": [one.name for one in segmenter.inputs],
        "segments": segmenter.names,
        "order": record.get("order"),
        "region": record.get("region"),
        "card": record.get("card"),
    }


def _infinite(champion: Champion) -> RefusedError:
    return RefusedError(
        422,
        "these values have no prediction",
        found="a prediction that is not finite",
        expected=f"values as the model {champion.name} was trained on",
    )
