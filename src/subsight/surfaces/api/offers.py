"""Next-best offers over HTTP: of a subscriber of the current run, of usage that is sent, or of many."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from subsight.errors import NotFoundError
from subsight.lifecycle.following import Followed
from subsight.lifecycle.recommending import LONGEST, Offers, UnknownSubscriberError, UsageError
from subsight.results import pseudonym_of
from subsight.surfaces.api import bodies
from subsight.surfaces.api.bodies import SUBSCRIBER
from subsight.surfaces.api.gate import Asked, asked
from subsight.surfaces.api.journal import Journal, Prediction
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.refusals import RefusedError, reply, shown
from subsight.workspace import Workspace

__all__ = ["VISIBLE", "OfferAnswers", "card"]

VISIBLE: Final = r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff]"
"""What names have at least one of, the same in every dialect of patterns."""
_VISIBLE: Final = re.compile(VISIBLE)
_USAGE: Final = "usage"
_ROWS: Final = "rows"
_ONE: Final = "subscriber_id, usage, or both"
_SHARED: Final = ("as_of", "model", "version")
"""What all answers of a batch have in common."""


@dataclass(frozen=True)
class _Row:
    """For whom offers are sought: `usage` by canonical names, None where the run's is meant."""

    who: str | None
    usage: Mapping[str, Any] | None


class OfferAnswers:
    """The answers of a service about offers."""

    def __init__(
        self, workspace: Workspace, followed: Followed[Offers], journal: Journal, limits: Limits
    ) -> None:
        self._workspace, self._followed = workspace, followed
        self._journal, self._limits = journal, limits

    @cached_property
    def _key(self) -> bytes:
        return self._workspace.key()

    async def subscriber(self, request: Request) -> Response:
        """The offers of one subscriber of the current run, recorded before they are answered."""
        offers = self._offers()
        found = await asyncio.to_thread(offers.of, [request.path_params["id"]])
        return await self._told(asked(request.scope), offers, _Row(None, None), found[0])

    async def recommend(self, scope: Scope, receive: Receive) -> Response:
        """The offers of one or of many, recorded before they are answered."""
        request = asked(scope)
        bodies.media_type(request.headers, bodies.JSON)
        body = await bodies.read(receive, request.headers, self._limits, is_here=request.body_is_here)
        offers = self._offers()
        sent = bodies.row_of(body, do='send many as {"rows": [...]}')
        if _ROWS not in sent:
            row = _row(sent, offers, self._key)
            found = await asyncio.to_thread(_answered, [row], offers, is_batch=False)
            return await self._told(request, offers, row, found[0])

        def recommended() -> tuple[Prediction, int, bytes, Future[None]]:
            rows = self._rows(sent, offers)
            answers = _answered(rows, offers, is_batch=True)
            made = self._made(request, offers, answers[0]["as_of"])
            content = msgspec.json.encode({**_many(answers), "id": made.id})
            recorded = self._journal.begin_batch(made, _columns(rows, answers, self._key))
            return made, len(rows), content, recorded

        # Rows are looked up in files, and each takes far longer than a prediction: never on the event loop.
        made, count, content, recorded = await asyncio.to_thread(recommended)
        await self._journal.end_batch(made, count, recorded)
        return Response(content, media_type=bodies.JSON)

    def _offers(self) -> Offers:
        if found := self._followed.current():
            return found
        raise RefusedError(
            503,
            "there is no map of offers yet",
            found=self._followed.trouble,
            expected="a run with a map of offers",
            do="train it with: subsight offers train WS",
        )

    async def _told(self, request: Asked, offers: Offers, row: _Row, answer: Mapping[str, Any]) -> Response:
        made = self._made(request, offers, answer["as_of"])
        who = _pseudonym(answer, self._key)
        await self._journal.one(made, who, row.usage or {}, _output(answer))
        return reply({**answer, "id": made.id})

    def _made(self, request: Asked, offers: Offers, as_of: str) -> Prediction:
        told = {"as_of": as_of}
        return Prediction(os.urandom(12).hex(), request.caller, offers, request.latency_ms(), told)

    def _rows(self, sent: Mapping[str, Any], offers: Offers) -> list[_Row]:
        _check_names(sent, (_ROWS,), None)
        rows = sent[_ROWS]
        if type(rows) is not list:
            raise RefusedError(
                422, "the rows are no array", found=shown(rows), expected="an array of objects", field=_ROWS
            )
        bodies.check_count(len(rows), self._limits, _ROWS)
        found = []
        for place, row in enumerate(rows, 1):
            if type(row) is not dict:
                what = f"row {place} is no object"
                raise RefusedError(422, what, found=shown(row), expected=f"an object of {_ONE}", row=place)
            found.append(_row(row, offers, self._key, place))
        return found


def _row(sent: Mapping[str, Any], offers: Offers, key: bytes, place: int | None = None) -> _Row:
    """What is asked of one.

    Raises:
        RefusedError: 422, it names a field that there is not, neither of the two, or what cannot be used.
    """
    _check_names(sent, (SUBSCRIBER, _USAGE), place)
    at = f" of row {place}" if place else ""
    who, usage = sent.get(SUBSCRIBER), None
    # Neither message repeats the identifier: it may be a person's number.
    if who is None and _USAGE not in sent:
        raise RefusedError(
            422, f"nobody is asked for{at and f' in row {place}'}", expected=_ONE, field=SUBSCRIBER, row=place
        )
    if who is not None and not _is_name(who, key):
        raise RefusedError(
            422,
            f"the field {SUBSCRIBER}{at} names no subscriber",
            found=f"{type(who).__name__} of another form",
            expected="a clear number, a customer number or a pseudonym, as a text",
            field=SUBSCRIBER,
            row=place,
        )
    if _USAGE in sent:
        if type(sent[_USAGE]) is not dict:
            what, found = f"the field {_USAGE}{at} is no object", shown(sent[_USAGE])
            raise RefusedError(
                422, what, found=found, expected="an object of fields", field=_USAGE, row=place
            )
        try:
            usage = offers.usage_row(sent[_USAGE])
        except UsageError as error:
            what = f"{error.what} (row {place})" if place else error.what
            raise RefusedError(
                422, what, found=error.found, expected=error.expected, field=error.field, row=place
            ) from None
    return _Row(who, usage)


def _is_name(who: Any, key: bytes) -> bool:
    """Whether it may be somebody's: not where a spreadsheet took digits, as in 1.31E+19."""
    if type(who) is not str or len(who) > LONGEST or not _VISIBLE.search(who):
        return False
    return pseudonym_of(who, key) is not None


def _check_names(sent: Mapping[str, Any], known: Sequence[str], place: int | None) -> None:
    for name in sent:
        if name not in known:
            at = f" of row {place}" if place else ""
            what = f"the field {shown(name)}{at} cannot be used"
            raise RefusedError(422, what, expected=", ".join(known), field=name[:100], row=place)


def _answered(rows: Sequence[_Row], offers: Offers, *, is_batch: bool) -> list[dict[str, Any]]:
    """The answers of rows of either kind, in their order.

    Raises:
        RefusedError: 404 with the first row whose subscriber the run does not know.
    """
    answers: list[dict[str, Any]] = [{}] * len(rows)
    by_usage = [i for i, row in enumerate(rows) if row.usage is not None]
    by_name = [i for i, row in enumerate(rows) if row.usage is None]
    try:
        found = offers.of([rows[i].who or "" for i in by_name])
    except UnknownSubscriberError as error:
        places = [by_name[place - 1] + 1 for place in error.places]
        raise _unknown(error, places if is_batch else None) from None
    for i, answer in zip(by_name, found, strict=True):
        answers[i] = answer
    if by_usage:
        usages = [rows[i].usage or {} for i in by_usage]
        found = offers.by_usage(usages, [rows[i].who for i in by_usage])
        for i, answer in zip(by_usage, found, strict=True):
            answers[i] = answer
    return answers


def _unknown(error: NotFoundError, places: Sequence[int] | None) -> RefusedError:
    """The refusal of a batch says which rows, as far as it is readable: they can be left out at once."""
    found = None
    if places:
        more = f" and {len(places) - 20:,} more" if len(places) > 20 else ""
        found = f"{'row' if len(places) == 1 else 'rows'} {', '.join(map(str, places[:20]))}{more}"
    row = places[0] if places else None
    return RefusedError(
        404,
        error.what,
        found=found,
        expected=error.expected,
        do=error.do,
        field=SUBSCRIBER,
        row=row,
    )


def _many(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [{name: value for name, value in one.items() if name not in _SHARED} for one in answers]
    return {_ROWS: rows, **{name: answers[0][name] for name in _SHARED}}


# What is recorded


def _output(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Which offers, best first, each with the chance that it was given with: policies are judged by it."""
    return {
        "outcome": answer["outcome"],
        "offers": [[one["offer_id"], one["probability"]] for one in answer["offers"]],
    }


def _pseudonym(answer: Mapping[str, Any], key: bytes) -> str | None:
    """Who is recorded: a pseudonym also where the workspace keeps clear names."""
    name: str | None = answer[SUBSCRIBER]
    return None if name is None else pseudonym_of(name, key)


def _columns(
    rows: Sequence[_Row], answers: Sequence[Mapping[str, Any]], key: bytes
) -> dict[str, Sequence[Any]]:
    """A batch as columns: of usage those that any row has, null in rows without."""
    usages = [row.usage or {} for row in rows]
    outputs = [_output(answer) for answer in answers]
    sent = dict.fromkeys(name for usage in usages for name in usage)
    return {
        SUBSCRIBER: [_pseudonym(answer, key) for answer in answers],
        "has_usage": [row.usage is not None for row in rows],
        **{name: [usage.get(name) for usage in usages] for name in sent},
        **{name: [output[name] for output in outputs] for name in ("outcome", "offers")},
    }


def card(offers: Offers) -> dict[str, Any]:
    """What /model says of a map of offers."""
    recommender = offers.recommender
    record, policy = recommender.record, recommender.policy
    return {
        "version": offers.version,
        "digest": record["digest"],
        "fields": list(offers.fields),
        "source": record["source"],
        "quantisation_error": record["fit"]["quantisation_error"],
        "topographic_error": record["fit"]["topographic_error"],
        "k": policy.count,
        "exploration_share": policy.exploration_share,
        "holdout_share": policy.holdout_share,
        "as_of": offers.at.date().isoformat(),
        "valid_offers": recommender.catalogue.states(offers.at).count("valid"),
        "card": record["card"],
    }
