"""Usage rows as numbers that distances can be taken of: multi-hot lists, and volumes on a log scale.

What the fit learned (vocabularies, medians) is plain JSON and travels with the map that was trained on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subsight.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["LISTS", "Encoded", "bitmaps", "deviations", "encode", "features", "fit"]

LISTS: Final = {"policies": 8, "contents": 24, "protocols": 12, "applications": 64}
"""Columns that hold lists of texts, and how many of their texts become features: the commonest."""
_SKEWED: Final = 1.0
"""Skewness from which a number is taken on a log scale."""


@dataclass(frozen=True)
class Encoded:
    """Rows as numbers, and what had to be left out or filled in.

    Attributes:
        values: rows x features: 0 or 1 for a text that a list holds, numbers in their unit or as
            log(1 + number).
        is_known: whether a row has any text of the vocabularies, or any number above 0.
        unseen: by list, how many entries of each row the vocabulary does not hold; they are ignored.
        filled: by number, which rows had none (or a negative one) and got the median of the fit.
    """

    values: Matrix
    is_known: Flags
    unseen: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    filled: Mapping[str, Flags] = field(default_factory=dict)


def fit(table: pa.Table, caps: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Learns from a sample of usage rows how to encode any: a record of plain JSON.

    A list's vocabulary is its commonest texts, of equally common ones the first by name; a text that every
    row has, or one row alone, tells nobody apart and is left out. A number is taken as log(1 + number)
    where its skewness exceeds 1.

    Args:
        table: any of the columns of `LISTS` (lists of texts), and numbers; any value may be null.
        caps: the longest vocabulary of a list, where it is not that of `LISTS`.

    Raises:
        InputError: there are no rows, or nothing in them differs.
    """
    if not table.num_rows:
        raise InputError(
            "no usage to learn from", expected="at least one row", do="subsight ingest usage FILE"
        )
    caps = {**LISTS, **(caps or {})}
    lists = {name: _vocabulary(table[name], caps[name]) for name in LISTS if name in table.column_names}
    numbers = {name: _scale(_floats(table[name])) for name in table.column_names if name not in LISTS}
    record: dict[str, Any] = {
        "lists": lists,
        "numbers": {name: scale for name, scale in numbers.items() if scale is not None},
    }
    if not features(record):
        raise InputError(
            "usage rows cannot be told apart",
            found=f"{table.num_rows:,} rows that are the same in every column",
            expected="lists or volumes that differ between subscribers",
        )
    return record


def features(record: Mapping[str, Any]) -> list[str]:
    """The names of the columns of `Encoded.values`: `applications=YouTube`, or the number's own."""
    texts = [f"{name}={text}" for name, found in record["lists"].items() for text in found]
    return [*texts, *record["numbers"]]


def encode(record: Mapping[str, Any], table: pa.Table) -> Encoded:
    """Usage rows as `record` says, the same for a row whatever rows stand beside it.

    Args:
        table: the columns that `fit` saw; null lists are empty ones, a column that is not there is null.
    """
    parts: list[Any] = []
    unseen, filled = {}, {}
    is_known = np.zeros(table.num_rows, np.bool_)
    for name, vocabulary in record["lists"].items():
        flags, unseen[name] = _multi_hot(_column(table, name), vocabulary)
        is_known |= flags.any(axis=1)
        parts.append(flags.astype(np.float64))
    for name, scale in record["numbers"].items():
        values = _floats(_column(table, name))
        is_known |= values > 0
        filled[name] = np.isnan(values)
        values = np.where(filled[name], scale["median"], values)
        parts.append((np.log1p(values) if scale["is_log"] else values)[:, None])
    values = np.hstack(parts) if parts else np.empty((table.num_rows, 0))
    return Encoded(values, is_known, unseen, filled)


def bitmaps(record: Mapping[str, Any], table: pa.Table) -> list[str]:
    """The texts of each row's lists as bits in hex, first feature first: a form to store, not to compare."""
    flags = [_multi_hot(_column(table, name), found)[0] for name, found in record["lists"].items()]
    packed = np.packbits(np.hstack(flags), axis=1) if flags else np.empty((table.num_rows, 0), np.uint8)
    return [row.tobytes().hex() for row in packed]


def deviations(record: Mapping[str, Any], values: Matrix, weight: float = 1.0) -> Matrix:
    """What to divide each feature by, so that each list varies as `weight` standardised numbers do together.

    Many texts of one list would outweigh all volumes otherwise. The features of a list share a deviation:
    their variances, each divided by its square, add up to `weight`.
    """
    deviation: Matrix = values.std(axis=0)
    begin = 0
    for vocabulary in record["lists"].values():
        end = begin + len(vocabulary)
        deviation[begin:end] = np.sqrt((deviation[begin:end] ** 2).sum() / weight)
        begin = end
    return np.where(deviation > 0, deviation, 1.0)


def _vocabulary(column: pa.ChunkedArray, cap: int) -> list[str]:
    """The commonest texts of a list column by rows that have them, in order of their names."""
    rows, codes, texts = _entries(column)
    # A row that names a text twice has it once.
    pairs = np.unique(rows.astype(np.int64) * max(len(texts), 1) + codes)
    counts = np.bincount(pairs % max(len(texts), 1), minlength=len(texts)) if len(pairs) else np.zeros(0)
    told = [(-int(count), text) for text, count in zip(texts, counts, strict=True) if 1 < count < len(column)]
    return sorted(text for _, text in sorted(told)[:cap])


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    import pyarrow as pa

    if name in table.column_names:
        return table[name]
    kind = pa.list_(pa.string()) if name in LISTS else pa.float64()
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])


def _multi_hot(column: pa.ChunkedArray, vocabulary: list[str]) -> tuple[Flags, NDArray[np.int64]]:
    """Rows x vocabulary, and how many entries of each row are in none."""
    rows, codes, texts = _entries(column)
    places = {text: i for i, text in enumerate(vocabulary)}
    place = np.array([places.get(text, -1) for text in texts], np.int64)
    flags = np.zeros((len(column), len(vocabulary)), np.bool_)
    found = place[codes] if len(rows) else codes
    is_known = found >= 0
    flags[rows[is_known], found[is_known]] = True
    return flags, np.bincount(rows[~is_known], minlength=len(column))


def _entries(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """The entries of all lists: the row of each, the number of its text, and the texts; null is no entry."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = column.combine_chunks()
    rows = pc.list_parent_indices(flat).to_numpy(zero_copy_only=False)
    encoded = pc.list_flatten(flat).cast(pa.string()).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    is_text = ~np.isnan(codes) if codes.dtype.kind == "f" else np.ones(len(codes), np.bool_)
    return rows[is_text].astype(np.int64), codes[is_text].astype(np.int64), encoded.dictionary.to_pylist()


def _floats(column: pa.ChunkedArray) -> Matrix:
    """A number's values, NaN where there is none or it is negative."""
    import pyarrow as pa

    values: Matrix = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return np.where(values >= 0, values, np.nan)


def _scale(values: Matrix) -> dict[str, Any] | None:
    """The median, and whether the log is taken; None where nothing differs."""
    known = values[~np.isnan(values)]
    if not len(known) or known.min() == known.max():
        return None
    centred = known - known.mean()
    skewness = float((centred**3).mean() / known.std() ** 3)
    return {"median": float(np.median(known)), "is_log": skewness > _SKEWED}
