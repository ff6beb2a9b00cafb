"""Segments over HTTP: of values that are sent, and of a subscriber of the current run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from subsight.lifecycle.segmentation import Input, Segmenter, UnplacedError, Watched, subscriber
from subsight.surfaces.api import bodies, fields
from subsight.surfaces.api.gate import asked
from subsight.surfaces.api.journal import Journal, Prediction
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.refusals import RefusedError, reply, shown
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FORMS", "Segments", "bounds", "numbers", "placed", "takes_number"]

FORMS: Final = ("raw", "standardised")
_OWN_THREAD_BYTES: Final = 100_000


class Segments:
    """The answers of a service about segments."""

    def __init__(self, workspace: Workspace, watched: Watched, journal: Journal, limits: Limits) -> None:
        self._workspace, self._watched = workspace, watched
        self._journal, self._limits = journal, limits

    @cached_property
    def _key(self) -> bytes:
        return self._workspace.key()

    async def predict(self, scope: Scope, receive: Receive) -> Response:
        """The segment of one subscriber or of many, recorded before it is answered."""
        request = asked(scope)
        form = _form(scope["query_string"])
        kind = bodies.media_type(request.headers, bodies.JSON, bodies.CSV)
        body = await bodies.read(receive, request.headers, self._limits, is_here=request.body_is_here)
        segmenter = self._segmenter()

        def predicted() -> tuple[Prediction, Any, Future[None] | None]:
            made = Prediction(
                os.urandom(12).hex(), request.caller, segmenter, request.latency_ms(), {"given": form}
            )
            if kind == bodies.CSV:
                return self._many(bodies.batch_of_csv(body, self._limits), made, segmenter, form)
            sent = bodies.row_or_batch(body, self._limits)
            if isinstance(sent, bodies.Batch):
                return self._many(sent, made, segmenter, form)
            return made, self._one(sent, segmenter, form), None

        large = len(body) > _OWN_THREAD_BYTES
        made, found, recorded = await asyncio.to_thread(predicted) if large else predicted()
        if recorded:
            await self._journal.end_batch(made, len(found["segment"]), recorded)
            answer = found
        else:
            who, values, answer = found
            await self._journal.one(made, who, values, answer["segment"])
        content = {**answer, "model": segmenter.name, "version": segmenter.version, "id": made.id}
        return Response(msgspec.json.encode(content), media_type=bodies.JSON)

    def _segmenter(self) -> Segmenter:
        if found := self._watched.current():
            return found
        raise RefusedError(
            503,
            "there is no segmentation yet",
            found=self._watched.trouble,
            expected="a run that divides subscribers into segments",
            do="publish one with: subsight segment WS",
        )

    def _one(
        self, row: Mapping[str, Any], segmenter: Segmenter, form: str
    ) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
        _check_names(dict.fromkeys(row), segmenter)
        who = fields.called(row.get(fields.SUBSCRIBER), self._key)
        columns = {one.name: _column(one, [row[one.name]], form, is_one=True) for one in segmenter.inputs}
        label = int(placed(segmenter, columns, 1, form)[0])
        values = {one.name: row[one.name] for one in segmenter.inputs}
        return who, values, {"segment": label, "name": segmenter.names[label]}

    def _many(
        self, batch: bodies.Batch, made: Prediction, segmenter: Segmenter, form: str
    ) -> tuple[Prediction, dict[str, Any], Future[None]]:
        _check_names(batch.names, segmenter)
        columns: dict[str, Any] = {}
        for one in segmenter.inputs:
            values: Sequence[Any] = batch.columns[one.name]
            if batch.is_text:
                values = [cell or None for cell in values]
                values = fields.spelled(one.name, values) if takes_number(one, form) else values
            columns[one.name] = _column(one, values, form)
        labels = placed(segmenter, columns, batch.rows, form).tolist()
        recorded = {**columns, "segment": labels}
        if called := batch.columns.get(fields.SUBSCRIBER):
            recorded[fields.SUBSCRIBER] = [
                fields.called(name or None if batch.is_text else name, self._key, row)
                for row, name in enumerate(called, 1)
            ]
        answer = {"segment": labels, "name": [segmenter.names[label] for label in labels]}
        return made, answer, self._journal.begin_batch(made, recorded)

    async def subscriber(self, request: Request) -> Response:
        """The segment of one subscriber of the current run, and what decided it."""
        return reply(await asyncio.to_thread(subscriber, self._workspace, request.path_params["id"]))


def _form(query: bytes) -> str:
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("inputs", [])
    if len(given) == 1 and given[0] in FORMS:
        return given[0]
    raise RefusedError(
        422,
        "the parameter inputs is missing" if not given else "the parameter inputs is unknown",
        found=shown(", ".join(given)) if given else None,
        expected="raw or standardised, once",
        do="ask /segments/predict?inputs=raw, or inputs=standardised where values are z-scores already",
        field="inputs",
    )


def _check_names(names: Mapping[str, int | None], segmenter: Segmenter) -> None:
    known = [one.name for one in segmenter.inputs]
    for name, row in names.items():
        if name not in known and name != fields.SUBSCRIBER:
            at = f" of row {row}" if row else ""
            what = f"the field {shown(name)}{at} cannot be used: the segmentation does not take it"
            raise RefusedError(422, what, expected=", ".join(known), field=name[:100], row=row)
    for name in known:
        if name not in names:
            raise RefusedError(
                422, f"the field {name} is missing", expected=f"{', '.join(known)} together", field=name
            )


def takes_number(one: Input, form: str) -> bool:
    """Whether an input is sent as a number: a text is, standardised, where its levels are numbers."""
    return one.is_number or (form == "standardised" and one.numeric is not None)


def bounds(one: Input, form: str) -> tuple[float, float]:
    """The least and the largest number that an input may be. Only regions and z-scores go below 0."""
    if form == "standardised":
        return -fields.LARGEST, fields.LARGEST
    return (-fields.LARGEST if one.name == "region" else 0.0), fields.largest(one.name)


def _column(one: Input, values: Sequence[Any], form: str, *, is_one: bool = False) -> Any:
    if takes_number(one, form):
        return numbers(one, values, form, is_one=is_one)
    for row, value in enumerate(values, 1):
        is_known = type(value) is str and (
            value in one.levels or (one.is_open and len(value) <= fields.LONGEST)
        )
        if not is_known:
            expected = f"one of the texts {', '.join(map(repr, one.levels))}"
            raise fields.unusable(one.name, value, expected, None if is_one else row)
    return list(values)


def numbers(one: Input, values: Sequence[Any], form: str, *, is_one: bool = False) -> NDArray[np.float64]:
    """A column of numbers within their bounds.

    Raises:
        RefusedError: 422, a value is no number, not finite, or out of range.
    """
    import numpy as np

    low, high = bounds(one, form)
    if set(map(type, values)) <= {int, float}:
        try:
            array = np.array(values, dtype=np.float64)
        except OverflowError:
            array = np.array([np.nan])
        # Neither NaN nor an infinity passes.
        if bool(((array >= low) & (array <= high)).all()):
            return array
    for row, value in enumerate(values, 1):
        if type(value) not in (int, float) or not low <= value <= high:
            raise fields.unusable(
                one.name, value, f"a number from {low:g} to {high:g}", None if is_one else row
            )
    return np.array(values, dtype=np.float64)


def placed(segmenter: Segmenter, columns: Mapping[str, Any], rows: int, form: str) -> NDArray[np.int64]:
    """The segment of each row.

    Raises:
        RefusedError: 422, the values of a row have none.
    """
    try:
        return segmenter.many(columns, rows, standardised=form == "standardised")
    except UnplacedError as error:
        row = error.row if rows > 1 else None
        raise RefusedError(
            422, error.what, found=error.found, expected=error.expected, field=error.field, row=row
        ) from error
