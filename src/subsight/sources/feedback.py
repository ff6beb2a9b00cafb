"""Survey answers: a file with the columns of the `feedback` contract becomes canonical rows and rejects."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.sources import xdr
from subsight.sources.files import InputFile
from subsight.store import Digits, Frame, Instant, Number, Pseudonym, Scalar, Store, Text
from subsight.tables import FEEDBACK

__all__ = ["read"]

_PSEUDONYM: Final = "^[0-9a-f]{32}$"
_ANSWERS: Final = ("csat", "nps")


def read(store: Store, file: InputFile, settings: Settings, key: bytes) -> xdr.Reading:
    """A file's answers. Headers are the contract's names in any case; columns beyond them are ignored.

    `subscriber_id` holds clear MSISDNs or pseudonyms. An answer that repeats an earlier one of the same
    file in every column is rejected.

    Raises:
        MappingError: the subscriber, the time, or both kinds of answer have no column.
    """
    places = _places(file)
    raw = xdr.records(store, file)
    texts = {f"{name}_text": nw.col(place).cast(nw.String) for name, place in places.items()}
    scalars: dict[str, Scalar] = {f"{name}_given": Text(f"{name}_text") for name in places}
    scalars["digits"] = Digits(places["subscriber_id"])
    # A time or number that is typed already needs no parsing.
    scalars["answered"] = Instant(places["answered_at"], "iso", settings.time_zone)
    scalars |= {name: Number(places[name]) for name in _ANSWERS if name in places}
    absent = {name: nw.lit(None).cast(nw.Float64) for name in _ANSWERS if name not in places}
    frame = store.derive(raw.with_columns(**texts, **absent), scalars)
    frame = frame.with_columns(digits=xdr.msisdn("digits"))
    frame = _named(store, frame, settings, key)
    judged = store.keep(frame.with_columns(fault=_fault(places)))
    rows = judged.filter(nw.col("fault").is_null())
    first = rows.group_by("subscriber_id", "answered", *_ANSWERS).agg(first=nw.col("record").min())
    kept = first.select(record=nw.col("first")).with_columns(is_first=nw.lit(value=True))
    rows = rows.join(kept, on="record", how="left")
    repeated = rows.filter(nw.col("is_first").is_null()).select(
        "record", fault=nw.lit("|identical to an earlier record"), found=nw.lit(None).cast(nw.String)
    )
    # What stands there is shown where it is a time or a number, never where it may be a person's.
    shown = [nw.when(nw.col("fault") == f"{name}|not readable").then(nw.col(f"{name}_given"))
             for name in places if name in ("answered_at", *_ANSWERS)]  # fmt: skip
    faulty = judged.filter(~nw.col("fault").is_null()).select("record", "fault", found=nw.coalesce(*shown))
    answers = rows.filter(~nw.col("is_first").is_null()).select(
        "subscriber_id",
        *(nw.col(name).cast(nw.Int64) for name in _ANSWERS),
        answered_at=nw.col("answered").cast(nw.Datetime("us", "UTC")),
        prediction_id=nw.col("prediction_id_given")
        if "prediction_id" in places
        else nw.lit(None).cast(nw.String),
    )
    names = [column.name for column in FEEDBACK]
    return xdr.Reading(answers.select(*names), store.keep(nw.concat([faulty, repeated])))


def _places(file: InputFile) -> dict[str, str]:
    header = [name.strip().lower() for name in file.header]
    places = {column.name: f"c{header.index(column.name)}" for column in FEEDBACK if column.name in header}
    missing = [column.name for column in FEEDBACK if column.required and column.name not in places]
    if not places.keys() & set(_ANSWERS):
        missing.append("csat or nps")
    if missing:
        raise MappingError(
            f"{file.path.name} lacks columns of survey answers",
            found=", ".join(file.header[:12]),
            expected=", ".join(missing),
            do="name the columns subscriber_id, answered_at, csat (1 to 5) or nps (0 to 10)",
        )
    return places


def _named(store: Store, frame: Frame, settings: Settings, key: bytes) -> Frame:
    """Adds `subscriber_id`: a pseudonym as it stands there, a clear number as ingest writes it."""
    given = nw.col("subscriber_id_given").str.to_lowercase()
    frame = frame.with_columns(pseudonym=nw.when(given.str.contains(_PSEUDONYM)).then(given))
    if settings.identifiers == "clear":
        return frame.with_columns(subscriber_id=nw.coalesce(nw.col("pseudonym"), nw.col("digits")))
    frame = store.derive(frame, {"keyed": Pseudonym("digits", key)})
    return frame.with_columns(subscriber_id=nw.coalesce(nw.col("pseudonym"), nw.col("keyed")))


def _fault(places: dict[str, str]) -> Any:
    """Why an answer is rejected, `column|reason`, or null; the first that holds."""
    reasons: list[tuple[str, str, Any]] = [
        ("subscriber_id", "missing or no identifier", nw.col("subscriber_id").is_null()),
        ("answered_at", "missing", nw.col("answered_at_given").is_null()),
        ("answered_at", "not readable", nw.col("answered").is_null()),
    ]
    for name in _ANSWERS:
        if name not in places:
            continue
        value, column = nw.col(name), FEEDBACK[name]
        reasons += [
            (name, "not readable", value.is_null() & ~nw.col(f"{name}_given").is_null()),
            (name, f"below {column.low:g}", value < column.low),
            (name, f"above {column.high:g}", value > column.high),
            (name, "not a whole number", (value - value.round(0)).abs() > 0),
        ]
    reasons.append(("", "no answer", nw.all_horizontal(
        *(nw.col(name).is_null() for name in _ANSWERS), ignore_nulls=True)))  # fmt: skip
    return nw.coalesce(*(nw.when(bad).then(nw.lit(f"{name}|{why}")) for name, why, bad in reasons))
