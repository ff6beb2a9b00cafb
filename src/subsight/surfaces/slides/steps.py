"""The steps that a chart's spec takes over its rows, taken here: what it leaves out and what it folds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

__all__ = ["FOLDED", "Rows", "UnreadError", "taken"]

Rows = list[dict[str, Any]]

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "===": lambda a, b: a == b, "==": lambda a, b: a == b, "!==": lambda a, b: a != b,
    "<=": lambda a, b: a is not None and a <= b, ">=": lambda a, b: a is not None and a >= b,
    "<": lambda a, b: a is not None and a < b, ">": lambda a, b: a is not None and a > b,
}  # fmt: skip
_FIELD: Final = r"""datum(?:\.(\w+)|\["([^"]+)"\])"""
_VALID: Final = re.compile(rf"isValid\({_FIELD}\)")
_CLAUSE: Final = re.compile(rf"{_FIELD} (===|==|!==|<=|>=|<|>) ('[^']*'|-?[\d.]+|true|false)")
_REPLACED: Final = re.compile(rf"replace\({_FIELD}, '([^']*)', '([^']*)'\)")


class UnreadError(Exception):
    """A spec says something that is not read here: its chart has no native form."""


FOLDED: Final = "column that was folded"


def taken(spec: Mapping[str, Any], rows: Rows) -> Rows:
    """The rows after the spec's own steps: what it leaves out, and what it makes rows of."""
    for step in spec.get("transform", []):
        if "filter" in step:
            rows = list(_kept(step["filter"], rows))
        elif "fold" in step:
            key, value = step.get("as", ["key", "value"])
            rows = [
                {**row, key: column, value: row.get(column), FOLDED: column}
                for row in rows for column in step["fold"]
            ]  # fmt: skip
        elif match := _REPLACED.fullmatch(str(step.get("calculate"))):
            name = match[1] or match[2]
            rows = [{**row, step["as"]: str(row.get(name)).replace(match[3], match[4], 1)} for row in rows]
        else:
            raise UnreadError
    return rows


def _kept(condition: Any, rows: Rows) -> Iterator[dict[str, Any]]:
    if isinstance(condition, Mapping):
        if set(condition) != {"field", "oneOf"}:
            raise UnreadError
        yield from (row for row in rows if row.get(condition["field"]) in condition["oneOf"])
        return
    tests = [_test(clause.strip()) for clause in str(condition).split("&&")]
    yield from (row for row in rows if all(test(row) for test in tests))


def _test(clause: str) -> Callable[[Mapping[str, Any]], bool]:
    if match := _VALID.fullmatch(clause):
        name = match[1] or match[2]
        return lambda row: row.get(name) is not None
    if (match := _CLAUSE.fullmatch(clause)) is None:
        raise UnreadError
    name, compare, text = match[1] or match[2], _COMPARE[match[3]], match[4]
    literal: Any = text[1:-1] if text.startswith("'") else text == "true"
    if text[-1].isdigit():
        literal = float(text)
    return lambda row: compare(row.get(name), literal)
