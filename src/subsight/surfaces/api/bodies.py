"""Bodies: read within limits, then JSON or CSV as a row or as columns."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.refusals import RefusedError, shown

__all__ = [
    "CSV",
    "JSON",
    "SUBSCRIBER",
    "Batch",
    "batch_of_csv",
    "batch_of_json",
    "check_count",
    "media_type",
    "read",
    "row_of",
    "row_or_batch",
]

JSON: Final = "application/json"
CSV: Final = "text/csv"
SUBSCRIBER: Final = "subscriber_id"

_DRAINED_BYTES: Final = 64_000_000
_DRAINED_S: Final = 5.0
_DIGITS: Final = 400
_DECODE: Final = msgspec.json.Decoder().decode


def media_type(headers: dict[bytes, bytes], *expected: str) -> str:
    """The body's media type.

    Raises:
        RefusedError: 415, it is another, is compressed, or not in UTF-8.
    """
    given = headers.get(b"content-type", b"").decode("latin-1")
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    charset = parameters.lower().replace('"', "").replace(" ", "")
    is_utf8 = "charset=" not in charset or "charset=utf-8" in charset
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if kind in expected and is_utf8 and coding == "identity":
        return kind
    raise RefusedError(
        415,
        "the body is of another kind",
        found=shown(given if coding == "identity" else f"{given}, Content-Encoding {coding}"),
        expected=f"{' or '.join(expected)} in UTF-8, not compressed",
        do=f"send the header Content-Type: {expected[0]}",
    )


async def read(
    receive: Receive, headers: dict[bytes, bytes], limits: Limits, *, is_here: bool = False
) -> bytes:
    """The whole body; where it is here already no clock has to run, which would cost as much as a prediction.

    Raises:
        RefusedError: 413 where it is too large, 408 where it takes too long.
    """
    if int(headers.get(b"content-length", b"0")) > limits.body_bytes:
        # Who asks before sending (Expect: 100-continue) is answered before sending.
        if b"expect" not in headers:
            await _drain(receive)
        raise _too_large(limits)
    parts: list[bytes] = []
    left, more = limits.body_bytes, True
    try:
        async with nullcontext() if is_here else asyncio.timeout(limits.body_s):
            while more and left >= 0:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                parts.append(message.get("body", b""))
                left -= len(parts[-1])
                more = message.get("more_body", False)
    except TimeoutError:
        raise RefusedError(
            408,
            "the body did not arrive in time",
            expected=f"{limits.body_s:g} s",
            headers={"Connection": "close"},
        ) from None
    if left < 0:
        if more:
            await _drain(receive)
        raise _too_large(limits)
    return b"".join(parts)


async def _drain(receive: Receive) -> None:
    """Takes what is still coming and keeps none of it: a client that is sending does not read the answer."""
    left = _DRAINED_BYTES
    try:
        async with asyncio.timeout(_DRAINED_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(
        413,
        "the body is too large",
        expected=f"at most {limits.body_bytes:,} bytes",
        do="send smaller batches",
        headers={"Connection": "close"},
    )


def _decoded(body: bytes) -> Any:
    try:
        return _DECODE(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = str(error)
    try:
        # NaN, Infinity and 1e999 are no JSON, but some write them: they are refused by name of the field.
        value = json.loads(body.decode(), parse_int=_whole)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise RefusedError(
            400, "the body is no JSON", found=shown(found), expected="JSON in UTF-8", do="check the body"
        ) from None
    return value


def _whole(digits: str) -> float:
    # Python refuses to read thousands of digits; as an infinity the number is refused by name.
    return int(digits) if len(digits) < _DIGITS else math.inf


def row_of(body: bytes, do: str = "send many rows to /predict/batch") -> dict[str, Any]:
    """The one object of a body.

    `do` says how many are sent.

    Raises:
        RefusedError: 400 where the body is no JSON, 422 where it is no object.
    """
    value = _decoded(body)
    if type(value) is dict:
        return value
    expected = "one object of fields"
    raise RefusedError(422, "the body is no object", found=shown(value), expected=expected, do=do)


@dataclass(frozen=True)
class Batch:
    """Rows by column; `names` are the fields, each with the first row that has it."""

    names: dict[str, int | None]
    columns: dict[str, Sequence[Any]]
    rows: int
    is_text: bool = False


def batch_of_json(body: bytes, limits: Limits) -> Batch:
    """An array of objects, or an object of columns.

    Raises:
        RefusedError: 400 where the body is no JSON, 422 where it is neither or has no row, 413 for too many.
    """
    return _batch_of(_decoded(body), limits)


def row_or_batch(body: bytes, limits: Limits) -> dict[str, Any] | Batch:
    """One object of values, or what `batch_of_json` takes.

    Raises:
        RefusedError: as `batch_of_json`.
    """
    value = _decoded(body)
    if type(value) is dict and not any(type(field) is list for field in value.values()):
        return value
    return _batch_of(value, limits)


def _batch_of(value: Any, limits: Limits) -> Batch:
    if type(value) is list:
        return _of_rows(value, limits)
    if type(value) is dict:
        return _of_columns(value, limits)
    expected = "an array of objects, or an object of arrays"
    raise RefusedError(422, "the body is no batch", found=shown(value), expected=expected)


def _of_rows(rows: list[Any], limits: Limits) -> Batch:
    check_count(len(rows), limits)
    for position, row in enumerate(rows, 1):
        if type(row) is not dict:
            raise RefusedError(
                422,
                f"row {position} is no object",
                found=shown(row),
                expected="an object of fields",
                row=position,
            )
    first = rows[0].keys()
    if all(row.keys() == first for row in rows):
        names = dict.fromkeys(first, 1)
    else:
        names = {}
        for position, row in enumerate(rows, 1):
            if row.keys() <= {SUBSCRIBER}:
                what = f"row {position} has no field to predict from"
                raise RefusedError(
                    422, what, expected="some fields, or null for what is unknown", row=position
                )
            for name in row.keys() - names.keys():
                names[name] = position
    return Batch({**names}, {name: [row.get(name) for row in rows] for name in names}, len(rows))


def _of_columns(columns: dict[str, Any], limits: Limits) -> Batch:
    rows = 0
    for position, (name, column) in enumerate(columns.items()):
        if type(column) is not list or (position and len(column) != rows):
            found = f"{len(column)} values" if type(column) is list else shown(column)
            expected = f"an array of {rows} values" if position else "an array"
            raise RefusedError(
                422,
                f"the column {shown(name)} does not fit",
                found=found,
                expected=expected,
                do="send one object of single values, or all columns with as many values",
                field=name[:100],
            )
        rows = len(column)
    check_count(rows, limits)
    return Batch(dict.fromkeys(columns), columns, rows)


def batch_of_csv(body: bytes, limits: Limits) -> Batch:
    """A table with a header; a cell without text is null.

    Raises:
        RefusedError: 400 where it is no CSV in UTF-8, 422 where it is uneven or has no row, 413 for too many.
    """
    try:
        text = body.decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefusedError(
            400, "the body is no CSV", found=shown(str(error)), expected="CSV in UTF-8"
        ) from None
    while lines and not lines[-1]:
        lines.pop()
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    if len(header) == 1:
        # Among single cells an empty line is a null, not the end.
        rows = [row or [""] for row in rows]
    check_count(len(rows), limits)
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise RefusedError(
            422, f"the header has {shown(twice)} twice", expected="each field once", field=twice[:100]
        )
    for position, row in enumerate(rows, 1):
        if len(row) != len(header):
            what = f"row {position} has not as many cells as the header"
            raise RefusedError(422, what, found=str(len(row)), expected=str(len(header)), row=position)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    return Batch(dict.fromkeys(header), {**columns}, len(rows), is_text=True)


def check_count(rows: int, limits: Limits, field: str | None = None) -> None:
    """Whether a batch may have so many rows.

    Raises:
        RefusedError: 422 for none, 413 for too many.
    """
    if not rows:
        raise RefusedError(422, "the batch has no row", expected="at least one", field=field)
    if rows > limits.batch_rows:
        expected = f"at most {limits.batch_rows:,}"
        found = f"{rows:,}"
        raise RefusedError(413, "the batch has too many rows", found=found, expected=expected, field=field)
