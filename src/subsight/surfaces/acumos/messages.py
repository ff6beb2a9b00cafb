"""Messages in and out: protobuf or JSON to columns of a segmentation, labels to protobuf or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from subsight.lifecycle.segmentation import Segmenter
from subsight.surfaces.acumos.schema import FIELDS, JSON, PROTOBUF, frame, predictions
from subsight.surfaces.api.refusals import RefusedError, shown
from subsight.surfaces.api.segments import bounds, takes_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["columns", "read", "written"]

_FIELD_OF: Final = {name: field for field, name in FIELDS.items()}


def read(body: bytes, kind: str) -> Any:
    """The request's message.

    Raises:
        RefusedError: 400, the body is no such message.
    """
    return _of_json(body) if kind == JSON else _of_protobuf(body)


def _of_protobuf(body: bytes) -> Any:
    from google.protobuf.message import DecodeError

    message = frame()
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise RefusedError(
            400,
            "the body is no DataFrame",
            found=f"{len(body)} bytes that cannot be decoded",
            expected="a message as in /model/artifacts/protobuf",
        ) from None
    return message


def _of_json(body: bytes) -> Any:
    from google.protobuf import json_format

    message = frame()
    try:
        value = json.loads(body.decode(), object_pairs_hook=_once)
        _check(value, message.DESCRIPTOR)
        json_format.ParseDict(value, message)
    except (ValueError, TypeError, RecursionError, json_format.ParseError) as error:
        # A parser's message may go on with a list of all that it knows.
        found = str(error).partition("\n")[0]
        raise RefusedError(
            400, "the body is no DataFrame in JSON", found=shown(found), expected=f"arrays of {_names()}"
        ) from None
    return message


def _names() -> str:
    return ", ".join(FIELDS)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field twice")
    return found


def _check(value: Any, descriptor: Any) -> None:
    """What the parser takes and should not: no object, a field in both spellings, truths for numbers."""
    if type(value) is not dict:
        raise ValueError(f"{shown(value)} instead of an object")
    for field in descriptor.fields:
        given = [name for name in {field.name, field.json_name} if name in value]
        if len(given) > 1:
            raise ValueError(f"{field.name} in both spellings")
        for name in given:
            # Null is proto3's other word for an empty column.
            for position, one in enumerate(value[name] or () if type(value[name]) is list else ()):
                if type(one) is bool or (type(one) is str and (one != one.strip() or "_" in one)):
                    raise ValueError(f"{shown(one)} in row {position + 1} of {field.name} is no number")


def columns(message: Any, segmenter: Segmenter, given: str, most: int) -> tuple[dict[str, Any], int]:
    """The columns that the segmentation takes, and the number of rows.

    Raises:
        RefusedError: 400, columns differ in length, or a needed value cannot be used; 413, too many rows.
    """
    needed = {_FIELD_OF[one.name] for one in segmenter.inputs}
    lengths = {field: len(getattr(message, field)) for field in FIELDS}
    rows = max(lengths[field] for field in needed)
    for field, length in lengths.items():
        # Who knows that a field is ignored may leave it out.
        if length != rows and (field in needed or length):
            raise RefusedError(
                400,
                f"the column {field} does not fit",
                found=", ".join(f"{name} {count}" for name, count in lengths.items()),
                expected="columns of equal length",
            )
    if rows > most:
        raise RefusedError(
            413, "the message has too many rows", found=f"{rows:,}", expected=f"at most {most:,}"
        )
    return {
        one.name: _column(one, getattr(message, _FIELD_OF[one.name]), given) for one in segmenter.inputs
    }, rows


def _column(one: Any, values: Any, given: str) -> Any:
    import numpy as np

    array: NDArray[np.float64] = np.array(values, dtype=np.float64)
    low, high = bounds(one, given)
    if not one.is_number and given == "raw":
        low = -high
    usable = (array >= low) & (array <= high)
    if not bool(usable.all()):
        row = int(np.flatnonzero(~usable)[0])
        raise _unusable(one, row, f"{array[row]:g}", f"a finite number from {low:g} to {high:g}")
    if takes_number(one, given):
        return array
    levels = {float(level): level for level in one.levels}
    found = [levels.get(value, f"{value:g}" if one.is_open else None) for value in array.tolist()]
    if None in found:
        row = found.index(None)
        raise _unusable(one, row, f"{array[row]:g}", f"one of {', '.join(one.levels)}")
    return found


def _unusable(one: Any, row: int, found: str, expected: str) -> RefusedError:
    field = _FIELD_OF[one.name]
    return RefusedError(
        400, f"the column {field} cannot be used in row {row + 1}", found=found, expected=expected
    )


def written(labels: list[int], kind: str) -> bytes:
    """The answer's bytes."""
    message = predictions(labels)
    if kind == PROTOBUF:
        found: bytes = message.SerializeToString()
        return found
    from google.protobuf import json_format

    text: str = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )
    return text.encode()
