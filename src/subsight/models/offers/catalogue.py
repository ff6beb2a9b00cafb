"""The catalogue: which offers there are, which may be given now, and to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from subsight.eligibility import Condition, conditions

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["Catalogue", "State"]

State = Literal["valid", "over", "yet to begin"]
_INSTANTS: Final = ("valid_from", "valid_to")


@dataclass(frozen=True)
class Catalogue:
    """Offers in the order of their names, a row each with the columns of the table `offers`."""

    rows: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Catalogue:
        """The catalogue of rows of the table `offers`, or of those that `to_json` gave."""
        read = [
            {**row, **{n: datetime.fromisoformat(row[n]) for n in _INSTANTS if isinstance(row.get(n), str)}}
            for row in rows
        ]
        return cls(sorted(read, key=lambda row: row["offer_id"]))

    def to_json(self) -> list[dict[str, Any]]:
        """Rows of plain JSON, instants in ISO 8601."""
        return [
            {name: v.isoformat() if isinstance(v, datetime) else v for name, v in row.items()}
            for row in self.rows
        ]

    @cached_property
    def offers(self) -> tuple[str, ...]:
        """Offer ids."""
        return tuple(row["offer_id"] for row in self.rows)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each offer by its id."""
        return {offer: place for place, offer in enumerate(self.offers)}

    def numbers(self, column: str) -> Floats:
        """A column of numbers, NaN where an offer has none."""
        return np.array([np.nan if row[column] is None else row[column] for row in self.rows], np.float64)

    def states(self, at: datetime) -> list[State]:
        """Whether each offer may be given at an instant: an end is no longer part of it."""
        return [_state(row, at) for row in self.rows]

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The columns that the conditions of any offer ask for, in order of their names."""
        return tuple(sorted({one.column for found in self._conditions for one in found}))

    @cached_property
    def _conditions(self) -> tuple[tuple[Condition, ...], ...]:
        return tuple(conditions(row["eligibility"]) for row in self.rows)

    def eligible(self, table: pa.Table) -> Flags:
        """Who may have which offer, rows x offers; a column that the table lacks is unknown of everybody."""
        found = np.ones((table.num_rows, len(self.rows)), np.bool_)
        known: dict[Condition, Flags] = {}
        for place, asked in enumerate(self._conditions):
            for one in asked:
                if one not in known:
                    known[one] = _admitted(one, table)
                found[:, place] &= known[one]
        return found


def _state(row: Mapping[str, Any], at: datetime) -> State:
    if row["valid_to"] is not None and row["valid_to"] <= at:
        return "over"
    return "yet to begin" if row["valid_from"] is not None and at < row["valid_from"] else "valid"


def _admitted(one: Condition, table: pa.Table) -> Flags:
    """Whether each row meets a condition: a text is judged once, however many rows have it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if one.column not in table.column_names:
        return np.zeros(table.num_rows, np.bool_)
    column = table[one.column].combine_chunks()
    if not one.values:
        return _within(one, column)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
        flags = np.zeros(table.num_rows, np.bool_)
        flags[rows[_admitted_texts(one, pc.list_flatten(column))]] = True
        return flags
    return _admitted_texts(one, column)


def _within(one: Condition, column: pa.Array) -> Flags:
    """Whether each number lies within the bounds; what is no number does not."""
    import pyarrow as pa

    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.zeros(len(column), np.bool_)
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    low = -np.inf if one.low is None else one.low
    flags: Flags = (values >= low) & (values <= (np.inf if one.high is None else one.high))
    return flags


def _admitted_texts(one: Condition, values: pa.Array) -> Flags:
    encoded = values.dictionary_encode()
    admits = [one.admits(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(len(admits)).to_numpy(zero_copy_only=False)
    flags: Flags = np.array([*admits, False], np.bool_)[codes]
    return flags
