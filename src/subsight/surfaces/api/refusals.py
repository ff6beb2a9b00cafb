"""What the service says when it does not do what was asked: one shape for every status."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from subsight.errors import NotFoundError, SubsightError
from subsight.lifecycle.audit import AuditBusyError

__all__ = ["RefusedError", "explain", "reply", "shown"]

_log = logging.getLogger("subsight.api")

_SHOWN: Final = 80
_HUGE: Final = 10**_SHOWN
_ENCODE: Final = msgspec.json.Encoder().encode


class RefusedError(Exception):
    """A request that is not answered as asked.

    Args:
        status: the HTTP status.
        what: the thing and what is wrong with it.
        field: the field it is about; `row` the row of a batch, the first being 1.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        what: str,
        *,
        found: str | None = None,
        expected: str | None = None,
        do: str | None = None,
        field: str | None = None,
        row: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        said = {"what": what, "found": found, "expected": expected, "do": do}
        self.error: Mapping[str, str | int | None] = {**said, "field": field, "row": row}
        super().__init__(what)


def shown(value: Any) -> str:
    """A value that was sent, short enough to be sent back."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not -_HUGE < value < _HUGE:
        return "a huge whole number"
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return f"{text}…" if isinstance(value, str) and len(value) > _SHOWN else text


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(_ENCODE(value), status, headers, "application/json")


def explain(error: Exception) -> Response:
    """The answer to a request that failed with that error; never a trace of the code."""
    if isinstance(error, RefusedError):
        return reply({"error": error.error}, error.status, error.headers)
    if isinstance(error, NotFoundError):
        refused = RefusedError(404, error.what, found=error.found, expected=error.expected, do=error.do)
    elif isinstance(error, AuditBusyError):
        after = {"Retry-After": "1"}
        refused = RefusedError(503, "too many records wait for the disk", do="ask again", headers=after)
    elif isinstance(error, SubsightError):
        # What it says of the disk is for who runs the service, not for who asks it.
        _log.error("%s", error)
        refused = RefusedError(503, "the service cannot do this now", do="look into its log")
    elif isinstance(error, HTTPException):
        refused = _routing(error)
    else:
        refused = RefusedError(
            500,
            "the service failed where it should not",
            do="look into its log, and report what stands there",
        )
    return reply({"error": refused.error}, refused.status, refused.headers)


def _routing(error: HTTPException) -> RefusedError:
    if error.status_code == 404:
        return RefusedError(404, "there is nothing at this address", do="GET /docs lists what there is")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow")
        what = "this address does not take this method"
        return RefusedError(405, what, expected=allowed, do="GET /docs shows examples", headers=error.headers)
    return RefusedError(error.status_code, str(error.detail), headers=error.headers)
