"""From raw columns to the features that are clustered on: z-scores of numbers, 0/1 columns of texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = [
    "LEVELS",
    "NUMBER",
    "asked",
    "described",
    "kind_of",
    "known",
    "matrix",
    "number",
    "raw",
    "read",
    "standardise",
]

NUMBER: Final = r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?"
"""A number as a category may be written, the same for every engine."""
LEVELS: Final = 20
"""Levels of a text that get a column, the commonest; a rarer one is 0 in each of them."""
_NEAR: Final = 0.25
"""How far from a level, in the least gap of two levels, a standardised region may lie."""

Columns = Mapping[str, Any]
Input = Mapping[str, Any]


def number(value: Any) -> float:
    """A plain number, or a text that holds one, as a float; else NaN."""
    if isinstance(value, str):
        return float(value) if re.fullmatch(NUMBER, value) else float("nan")
    return float("nan") if value is None or abs(value) == float("inf") else float(value)


def kind_of(column: Any) -> str:
    """Whether a column holds numbers or texts; one that holds nothing is a number."""
    import numpy as np

    listed = column.to_pylist() if hasattr(column, "to_pylist") else column
    if np.asarray(listed).dtype.kind in "fiub":
        return "number"
    return "text" if any(isinstance(value, str) for value in listed) else "number"


def level(value: Any) -> str | None:
    """A category as text: 3.0 is "3", NaN is unknown."""
    if value is None or isinstance(value, str):
        return value
    value = float(value)
    if value != value or abs(value) == float("inf"):
        return None
    return str(int(value)) if value == int(value) else repr(value)


def read(column: Any, kind: str) -> Any:
    """A column as floats (NaN unknown) or as a list of texts (None unknown)."""
    import numpy as np

    listed = column.to_pylist() if hasattr(column, "to_pylist") else column
    array = np.asarray(listed)
    numeric = array.dtype.kind in "fiub"
    if kind == "number":
        if not numeric:
            return np.fromiter((number(value) for value in listed), np.float64, len(listed))
        values = array.astype(np.float64)
        return np.where(np.isfinite(values), values, np.nan)
    return [level(value) for value in listed]


def known(values: Any) -> Any:
    """Which rows of a column that was read are known."""
    import numpy as np

    if isinstance(values, list):
        return np.fromiter((value is not None for value in values), bool, len(values))
    return np.isfinite(values)


def described(name: str, values: Any) -> dict[str, Any]:
    """A raw column as the record keeps it: its kind, and of a text its levels and their numeric scale."""
    import numpy as np

    if not isinstance(values, list):
        return {"name": name, "kind": "number"}
    counts = Counter(values)
    numbers = {text: number(text) for text in counts}
    scale = None
    if all(np.isfinite(list(numbers.values()))):
        each = np.fromiter((numbers[text] for text in values), np.float64, len(values))
        scale = {"mean": float(each.mean()), "deviation": float(each.std())}
    commonest = sorted(counts, key=lambda text: (-counts[text], text))[:LEVELS]
    levels = sorted(commonest, key=lambda text: (numbers[text] if scale else 0.0, text))
    return {"name": name, "kind": "text", "levels": levels, "numeric": scale}


def raw(inputs: Sequence[Input], values: Mapping[str, Any]) -> tuple[list[str], Matrix]:
    """The features' names and their raw values, NaN in every column of an input that is unknown."""
    import numpy as np

    names: list[str] = []
    columns: list[Matrix] = []
    for one in inputs:
        name = one["name"]
        if one["kind"] == "number":
            names.append(name)
            columns.append(values[name])
            continue
        codes = {text: i for i, text in enumerate(one["levels"])}
        code = np.fromiter((codes.get(text, -1) for text in values[name]), np.int64, len(values[name]))
        unknown = ~known(values[name])
        for text, i in codes.items():
            names.append(f"{name}={text}")
            columns.append(np.where(unknown, np.nan, (code == i).astype(np.float64)))
    return names, np.column_stack(columns)


def standardise(inputs: Sequence[Input], values: Matrix, weight: float) -> tuple[Matrix, Matrix]:
    """The mean and the deviation of each feature.

    The columns of one text share a deviation, so that together they vary as `weight` standardised
    numbers do: their variances p (1 - p), each divided by its square, add up to `weight`.
    """
    import numpy as np

    mean, deviation = values.mean(axis=0), values.std(axis=0)
    begin = 0
    for one in inputs:
        end = begin + (1 if one["kind"] == "number" else len(one["levels"]))
        if one["kind"] == "text":
            share = mean[begin:end]
            deviation[begin:end] = np.sqrt((share * (1 - share)).sum() / weight)
        begin = end
    return mean, deviation


def matrix(record: Mapping[str, Any], columns: Columns, standardised: bool = False) -> Matrix:
    """Raw values as the matrix that is compared with centroids: one row a subscriber, in z units.

    A row that lacks an input has NaN in its columns; a level that the fit did not know is 0 in all.

    Args:
        standardised: numbers are z already, and a text is the z of its level's number.

    Raises:
        InputError: an input is missing, columns differ in length, or a standardised text has no
            numeric scale or lies near no level.
    """
    import numpy as np

    inputs = record["inputs"]
    _complete(inputs, columns)
    values = {one["name"]: _given(one, columns[one["name"]], standardised) for one in inputs}
    made = raw(inputs, values)[1]
    mean, deviation = (np.array(record["parameters"][name]) for name in ("mean", "deviation"))
    if standardised:
        numbers = [name in values for name in record["features"]]
        mean, deviation = np.where(numbers, 0.0, mean), np.where(numbers, 1.0, deviation)
    scaled: Matrix = (made - mean) / deviation
    return scaled


def _complete(inputs: Sequence[Input], columns: Columns) -> None:
    for one in inputs:
        if one["name"] not in columns:
            raise InputError(
                f"the segments need the input {one['name']}",
                found=f"columns {', '.join(columns) or 'none'}",
                expected=", ".join(one["name"] for one in inputs),
                do="give every input, null where it is not known",
            )
    lengths = {one["name"]: len(columns[one["name"]]) for one in inputs}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "the inputs differ in length",
            found=", ".join(f"{name}: {length}" for name, length in lengths.items()),
            expected="one value a subscriber in each",
            do="give as many values of each input",
        )


def _given(one: Input, column: Any, standardised: bool) -> Any:
    if one["kind"] == "number" or not standardised:
        return read(column, one["kind"])
    if one["numeric"] is None:
        raise InputError(
            f"{one['name']} cannot be given standardised",
            found=f"the levels {', '.join(one['levels'])}",
            expected="levels that are numbers",
            do="give the inputs raw",
        )
    return [_level_of(one, value) for value in read(column, "number").tolist()]


def _level_of(one: Input, value: float) -> str | None:
    """The level whose number a standardised value stands for; None for NaN."""
    if value != value:
        return None
    meant = one["numeric"]["mean"] + one["numeric"]["deviation"] * value
    numbers = {text: float(text) for text in one["levels"]}
    nearest: str = min(numbers, key=lambda text: abs(numbers[text] - meant))
    ordered = sorted(set(numbers.values()))
    gap = min((high - low for low, high in pairwise(ordered)), default=1.0)
    if abs(numbers[nearest] - meant) > _NEAR * gap:
        raise InputError(
            f"the standardised {one['name']} {value:g} stands for no level",
            found=f"{meant:.6g} in its own numbers",
            expected=f"within {_NEAR * gap:g} of {', '.join(one['levels'])}",
            do="standardise it with the mean and deviation of the fit, or give the inputs raw",
        )
    return nearest


def asked(columns: Columns, inputs: Sequence[str] | None, descriptors: Sequence[str]) -> list[str]:
    """The inputs to cluster on: those named, or every column that anybody has and that only describes not.

    Raises:
        ConfigurationError: an input is not a column, is named twice, or only describes.
    """
    if inputs is None:
        return [name for name in columns if name not in descriptors]
    wrong = [name for name in inputs if name not in columns or name in descriptors]
    twice = [name for name, count in Counter(inputs).items() if count > 1]
    if wrong or twice or not inputs:
        raise ConfigurationError(
            "the inputs of the segments cannot be used",
            found=", ".join(inputs) or "none",
            expected=f"each once, of {', '.join(name for name in columns if name not in descriptors)}",
            do=f"name others than {', '.join(wrong or twice)}" if wrong or twice else "name at least one",
        )
    return list(inputs)
