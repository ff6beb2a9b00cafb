"""Sums by hour of a filtered answer, and the least that is known of how many subscribers they are of."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from subsight.studies.groups import total

__all__ = ["LEAST", "least_note", "least_of", "whole"]

LEAST: Final = "least_subscriber_count"
"""The column that stands in for `subscriber_count` where rows of several hours or cells are summed."""


def least_note(of: str = "hour and place") -> str:
    """What `LEAST` means where each of the sums is of one hour and place, or of something else."""
    return (
        f"{LEAST}: subscribers of the {of} with most of them; together there are at least so many, and a "
        "group is hidden where these are too few."
    )


def whole(column: str) -> Any:
    """The sum of a count or volume over hours and cells, as a float."""
    return total(nw.col(column))


def least_of(column: str = "subscriber_count") -> Any:
    """How many subscribers there are at least, where those of several hours and cells are not told apart."""
    return nw.col(column).max()
