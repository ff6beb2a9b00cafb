"""Which segment is which: ordered at a first fit, matched to the segments before at a later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["is_same_kind", "kept", "match", "ordered", "title"]


def title(number: int, names: Sequence[str]) -> str:
    """The name of a segment from the list, or a plain one beyond it.

    >>> title(0, ["Platinum"]), title(4, ["Platinum"])
    ('Platinum', 'Segment 5')
    """
    return names[number] if number < len(names) else f"Segment {number + 1}"


def ordered(values: Mapping[str, Any], labels: Matrix, k: int) -> tuple[list[str], list[float]]:
    """What segments are ordered by, and its value for each: highest first at a first fit.

    Mean z(tenure) + mean z(total volume) of the members as far as they are inputs, else the mean of
    the z of all numbers, else the share of subscribers.
    """
    import numpy as np

    sizes = np.bincount(labels, minlength=k)
    numbers = {name: column for name, column in values.items() if not isinstance(column, list)}
    measures = {"tenure_days": numbers["tenure_days"]} if "tenure_days" in numbers else {}
    volumes = [numbers[name] for name in ("ul_kilobytes", "dl_kilobytes") if name in numbers]
    if not volumes and "total_bytes" in numbers:
        volumes = [numbers["total_bytes"]]
    if volumes:
        measures["total volume"] = np.sum(volumes, axis=0)
    value = np.zeros(k)
    for column in (measures or numbers).values():
        scaled = (column - column.mean()) / (column.std() or 1.0)
        value += np.bincount(labels, scaled, k) / np.maximum(sizes, 1)
    if measures:
        return list(measures), value.tolist()
    if numbers:
        return list(numbers), (value / len(numbers)).tolist()
    return ["share of subscribers"], (sizes / sizes.sum()).tolist()


def is_same_kind(record: Mapping[str, Any], previous: Mapping[str, Any]) -> bool:
    """Whether both divide by the same inputs, used in the same way.

    An input that does not vary in one of them divides nobody there: it may be there or not.
    """
    now, before = _varying(record), _varying(previous)
    return (
        record["source"] == previous["source"]
        and now <= before | _constant(previous)
        and before <= now | _constant(record)
    )


def _varying(record: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(one["name"], one["kind"]) for one in record["inputs"]}


def _constant(record: Mapping[str, Any]) -> set[tuple[str, str]]:
    constant = record["fit"]["constant"]
    return {(name, "text" if isinstance(value, str) else "number") for name, value in constant.items()}


def match(
    record: Mapping[str, Any], previous: Mapping[str, Any]
) -> tuple[list[int | None], list[float | None]]:
    """The number that each segment had before, and how far its centroid moved; None where it is new.

    One to one with the least total distance (Kuhn 1955), between raw centroids in the previous
    standardisation.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    distances = cdist(_seen_from(previous, record), previous["parameters"]["centroids"])
    rows, columns = (found.tolist() for found in linear_sum_assignment(distances))
    numbers: list[int | None] = [None] * len(distances)
    moved: list[float | None] = [None] * len(distances)
    for row, column in zip(rows, columns, strict=True):
        numbers[row], moved[row] = column, float(distances[row, column])
    return numbers, moved


def _seen_from(previous: Mapping[str, Any], record: Mapping[str, Any]) -> Matrix:
    """A record's centroids in the features and the standardisation of the previous one."""
    import numpy as np

    p, q = record["parameters"], previous["parameters"]
    raw = np.asarray(p["centroids"]) * np.asarray(p["deviation"]) + np.asarray(p["mean"])
    here = {name: raw[:, i] for i, name in enumerate(record["features"])}
    constant = record["fit"]["constant"]
    for name, value in constant.items():
        here[f"{name}={value}" if isinstance(value, str) else name] = np.full(
            len(raw), 1.0 if isinstance(value, str) else value
        )
    # A level that nobody has any more is nobody's.
    columns = [here.get(name, np.zeros(len(raw))) for name in previous["features"]]
    seen: Matrix = (np.column_stack(columns) - np.asarray(q["mean"])) / np.asarray(q["deviation"])
    return seen


def kept(
    numbers: Sequence[int | None], previous: Mapping[str, Any], names: Sequence[str]
) -> tuple[list[int], list[str]]:
    """The new order of the segments (indices) and their names, when they were matched.

    Matched ones come first, by their number before, and keep their names unless the list of names
    was changed; a new one gets the first name that is free.
    """
    order = sorted(range(len(numbers)), key=lambda i: (numbers[i] is None, numbers[i] or 0, i))
    if list(names) != previous["fit"]["names_asked"]:
        return order, [title(place, names) for place in range(len(order))]
    found: list[str] = []
    taken = [previous["names"][number] for number in numbers if number is not None]
    free = (title(i, names) for i in range(len(names) + len(previous["names"]) + len(order)))
    for i in order:
        number = numbers[i]
        if number is None:
            found.append(next(name for name in free if name not in taken))
        else:
            found.append(previous["names"][number])
    return order, found
