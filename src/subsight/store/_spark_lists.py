"""Lists of texts in Spark's words: read in Python, as Spark's JSON reader passes over what follows a list."""

from __future__ import annotations

import json
from typing import NoReturn

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 (Spark's own convention)

__all__ = ["listed"]

_LISTS = tuple(f"array<{kind}>" for kind in ("string", "tinyint", "smallint", "int", "bigint"))


def listed(value: Column, kind: str) -> Column:
    """A column's list, elements as text with nulls; null where it holds none."""
    if kind in _LISTS:
        return value.cast("array<string>")
    if kind != "string":
        return F.lit(None).cast("array<string>")
    return F.udf(_read, "array<string>", useArrow=False)(value)


def _read(text: str | None) -> list[str | None] | None:
    if text is None:
        return None
    try:
        found = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
        if not isinstance(found, list):
            return None
        elements = [None if element is None else _element(element) for element in found]
        "".join(element or "" for element in elements).encode()  # half a pair of surrogates is no text
    except (ValueError, RecursionError):
        return None
    return elements


def _element(value: object) -> str:
    if isinstance(value, str):
        return value
    # Whole numbers as wide as DuckDB's; True is an int to Python alone.
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return str(value)
    raise ValueError(value)


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)
