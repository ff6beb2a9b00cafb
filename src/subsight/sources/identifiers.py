"""What a subscriber is called in a file, and under which name it is kept."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from subsight.privacy import LOST, PHONE, WHOLE
from subsight.settings import Settings
from subsight.sources import xdr
from subsight.store import Frame, OrderHash, Pseudonym, Scalar, Store

__all__ = ["as_text", "identifier", "named", "without_point"]

_PSEUDONYM: Final = "^[0-9a-f]{32}$"
_EXACT: Final = 2.0**53


def as_text(source: str, kind: Any, *, is_name: bool) -> Any:
    """A column as text; engines write a large float each in its own way, so a whole one as an integer.

    A name that is a number is a whole one or none.
    """
    value = nw.col(source)
    if not kind.is_float():
        return value.cast(nw.String)
    # Parquet's statistics pass over NaN, and DuckDB leaves out a comparison that they make needless.
    is_whole = value.is_finite() & (value.abs() < _EXACT) & (value == value.round(0))
    other = nw.lit(None).cast(nw.String) if is_name else value.cast(nw.String)
    return nw.when(is_whole).then(value.cast(nw.Int64).cast(nw.String)).otherwise(other)


def without_point(text: Any) -> Any:
    """A whole number without the `.0` that a data frame added; other texts as they are."""
    return nw.when(text.str.contains(WHOLE)).then(text.str.replace_all(r"\.0+$", "")).otherwise(text)


def identifier() -> Any:
    """What a subscriber is called before the name is keyed (see `privacy.subscriber`)."""
    text, digits = nw.col("subscriber_id_given"), xdr.msisdn("digits")
    length = digits.str.len_chars()
    is_phone = text.str.contains(PHONE) & (length >= 7) & (length <= 15)
    exact = nw.when(~text.str.contains(LOST)).then(without_point(text))
    lower = text.str.to_lowercase()
    other = nw.when(is_phone).then(digits).otherwise(exact)
    return nw.when(lower.str.contains(_PSEUDONYM)).then(lower).otherwise(other)


def named(store: Store, frame: Frame, settings: Settings, key: bytes) -> Frame:
    """Adds the order hash of the clear identifier, and the name under which the subscriber is kept."""
    keyed: dict[str, Scalar] = {"subscriber_hash": OrderHash("identifier")}
    if settings.identifiers == "clear":
        return store.derive(frame, keyed).with_columns(subscriber_id=nw.col("identifier"))
    frame = store.derive(frame, keyed | {"keyed": Pseudonym("identifier", key)})
    is_pseudonym = nw.col("identifier").str.contains(_PSEUDONYM)
    named = nw.when(is_pseudonym).then(nw.col("identifier")).otherwise(nw.col("keyed"))
    return frame.with_columns(subscriber_id=named)
