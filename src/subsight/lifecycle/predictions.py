"""Predictions as the audit log has them: what was asked, what was answered, by which version."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from subsight.lifecycle.chains import UNREADABLE, Line, chains
from subsight.lifecycle.registry import Version

__all__ = ["ANSWER", "Ab", "Record", "Shadow", "asked", "columns_of", "records"]

ANSWER: Final = "satisfaction_score"
"""The column of a batch that holds what was answered."""


class Shadow(msgspec.Struct):
    """What a challenger predicted beside the answer; null where it failed."""

    version: str
    output: float | None = None


class Ab(msgspec.Struct):
    """Who challenged, which arm a subscriber is in, and how large the challenger's is."""

    challenger: str
    arm: Literal["champion", "challenger"]
    share: float


class Record(msgspec.Struct):
    """A prediction or a batch; a batch's values stand in its `columns` (see `columns_of`)."""

    kind: str
    at: datetime
    model: str
    version: str
    subscriber_id: str | None = None
    inputs: Mapping[str, Any] = {}
    output: Any = None
    columns: str = ""
    shadow: Shadow | None = None
    ab: Ab | None = None


def records(folder: Path, name: str, since: datetime) -> Iterator[Record]:
    """The records of a model's predictions since an instant, file by file."""
    line_of, record_of = msgspec.json.Decoder(Line), msgspec.json.Decoder(Record)
    for path in (path for files in chains(folder).values() for path in files):
        try:
            if path.stat().st_mtime < since.timestamp():
                continue
            with path.open("rb") as lines:
                for line in lines:
                    try:
                        if line_of.decode(line).kind not in ("prediction", "batch"):
                            continue
                        record = record_of.decode(line)
                    except UNREADABLE:
                        # The end of what a killed process wrote; `audit verify` says where more is wrong.
                        continue
                    if record.model == name and record.at >= since:
                        yield record
        except FileNotFoundError:
            # Retired by rule while this read.
            continue


def columns_of(record: Record) -> dict[str, list[Any]]:
    """A batch's inputs and answers by column."""
    columns: dict[str, list[Any]] = msgspec.json.decode(zlib.decompress(base64.b64decode(record.columns)))
    return columns


def asked(folder: Path, version: Version, since: datetime, most: int) -> tuple[int, dict[str, list[Any]]]:
    """How many rows a version answered since an instant, and the values that were sent, by field.

    `prediction` holds the answers of rows in which no field was left out: where one is, the mean stands in
    for it, and so for the answer. At most about `most` rows are read, the oldest first.
    """
    rows = 0
    values: dict[str, list[Any]] = {}
    fields = {feature.partition("=")[0] for feature in version.record["features"]}
    for record in records(folder, version.name, since):
        if record.version != str(version.number):
            continue
        if record.kind == "batch":
            columns = columns_of(record)
        else:
            columns = {name: [value] for name, value in record.inputs.items()} | {ANSWER: [record.output]}
        answers = columns[ANSWER]
        rows += len(answers)
        sent = {name: columns[name] for name in fields if name in columns}
        for name, column in sent.items():
            values.setdefault(name, []).extend(value for value in column if value is not None)
        if len(sent) == len(fields):
            whole = [all(value is not None for value in row) for row in zip(*sent.values(), strict=True)]
            values.setdefault("prediction", []).extend(
                answer for answer, is_whole in zip(answers, whole, strict=True) if is_whole
            )
        if rows >= most:
            break
    return rows, values
