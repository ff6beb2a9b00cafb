"""Lists of texts on every engine: by hand, and as Python reads JSON where a text is nearly a list."""

from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest

from subsight.store import ListLength, RecordHash, Scalar, Store, Texts

NBSP = "\u00a0"


def derived(store: Store, scalars: dict[str, Scalar], column: list[Any] | pa.Array) -> list[tuple[Any, ...]]:
    """The scalars' values over the column `c`, in the order of the rows given."""
    table = pa.table({"c": column, "i": range(len(column))})
    frame = store.derive(store.from_arrow(table), scalars)
    return [tuple(row[name] for name in scalars) for row in store.rows(frame.select("i", *scalars).sort("i"))]


BOTH = {"texts": Texts("c", missing=("Undefined",)), "length": ListLength("c")}

# As it stands in a file: its texts, and how many elements stand there.
JSON = {
    '["YouTube", "Netflix"]': (["YouTube", "Netflix"], 2),
    ' [ " YouTube " ,\n"b" ] ': (["YouTube", "b"], 2),
    '["a", null, "", "  ", "NA", "none", "undefined", "Unknown"]': (["a", "Unknown"], 8),
    "[null]": ([], 1),
    "[]": ([], 0),
    " [ ] ": ([], 0),
    '["a, b", "[x]", "c,]", "é", "\\u00e9", "q\\"q"]': (["a, b", "[x]", "c,]", "é", "é", 'q"q'], 6),
    '["a", "a"]': (["a", "a"], 2),
    "[6, 17, -1, 18446744073709551615]": (["6", "17", "-1", "18446744073709551615"], 4),
    f'["{NBSP}x{NBSP}"]': (["x"], 1),
    '["\\ud83d\\ude00"]': (["\U0001f600"], 1),
    # What is no list of texts.
    '["a",]': (None, None),
    "[,]": (None, None),
    '["a"': (None, None),
    '["a"] ["b"]': (None, None),
    '["a"], ["b"]': (None, None),
    '["a" "b"]': (None, None),
    "['a']": (None, None),
    "[a]": (None, None),
    '[["a"]]': (None, None),
    '[{"a": 1}]': (None, None),
    '{"a": 1}': (None, None),
    '"a"': (None, None),
    "a": (None, None),
    "a,b": (None, None),
    "null": (None, None),
    "NA": (None, None),
    "": (None, None),
    "6": (None, None),
    "[1.5]": (None, None),
    "[1e3]": (None, None),
    "[NaN]": (None, None),
    "[Infinity]": (None, None),
    "[true]": (None, None),
    "[18446744073709551616]": (None, None),
    "[01]": (None, None),
    '["\\ud800"]': (None, None),
    '["\\x"]': (None, None),
    '["a\tb"]': (None, None),
    "[" * 5000 + "]" * 5000: (None, None),
}


def test_texts_that_hold_json_lists(store: Store) -> None:
    assert derived(store, BOTH, [*JSON, None]) == [*JSON.values(), (None, None)]


def test_list_columns(store: Store) -> None:
    given = [["a", " b ", None, "", "null", "Undefined"], [], [None], None, ["a, b", "[c]"]]
    expected = [(["a", "b"], 6), ([], 0), ([], 1), (None, None), (["a, b", "[c]"], 2)]
    assert derived(store, BOTH, given) == expected
    assert derived(store, BOTH, pa.array(given, pa.large_list(pa.large_string()))) == expected


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64()], ids=str)
def test_lists_of_whole_numbers_are_texts(store: Store, kind: pa.DataType) -> None:
    given = pa.array([[6, 17, None], [], None], pa.list_(kind))
    assert derived(store, BOTH, given) == [(["6", "17"], 3), ([], 0), (None, None)]


@pytest.mark.parametrize(
    "given",
    [
        pa.array([1, None]),
        pa.array([1.5, None]),
        pa.array([True, None]),
        pa.array([[1.5], None]),
        pa.array([[["a"]], None]),
        pa.array([[{"a": 1}], None]),
    ],
    ids=lambda array: str(array.type),
)
def test_other_columns_hold_no_list(store: Store, given: pa.Array) -> None:
    assert derived(store, BOTH, given) == [(None, None)] * 2


def test_a_column_of_nothing_but_nulls(store: Store) -> None:
    assert derived(store, BOTH, pa.array([None, None], pa.list_(pa.string()))) == [(None, None)] * 2


def _strict(text: str) -> int | None:
    """How many elements Python's reader finds in a list of texts and nulls."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    is_list = isinstance(found, list) and all(item is None or isinstance(item, str) for item in found)
    return len(found) if is_list else None


def test_texts_that_are_nearly_lists_are_read_as_python_reads_them(store: Store) -> None:
    draw = random.Random(7)
    parts = ['"', '"', "[", "]", ",", ",", " ", "null", "a", "\\", "é", "{", "}", ":", '"b"', '"c",', "\n"]
    given = []
    for _ in range(3000):
        text = '["a", null, "b c"]'
        for _ in range(draw.randrange(4)):
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice(["", draw.choice(parts)]) + text[at + draw.randrange(2) :]
        given.append(text)
    expected = [(_strict(text),) for text in given]
    assert 100 < sum(length is not None for (length,) in expected) < 2500
    assert derived(store, {"length": ListLength("c")}, given) == expected


def test_record_hash_tells_lists_apart(store: Store) -> None:
    given = [["a", "b"], ["a, b"], ["b", "a"], [], None, ["a", "b"]]
    hashes = [value for (value,) in derived(store, {"hash": RecordHash(("c", "c"))}, given)]
    assert hashes[0] == hashes[5]
    assert len(set(hashes)) == 5
