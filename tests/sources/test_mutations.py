"""Copies of one extract that say the same in other words are read as the same sessions.

What is called sure or checked must be so, what was right must not be corrected, and the canonical values
must be the original's, which the tests work out from its texts.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest
from tellco_shape import (
    DL_SHARES,
    MUTATIONS,
    TIMES,
    UL_SHARES,
    VOLUMES,
    Copy,
    generate,
    mb_silent,
    read_original,
    truth,
)

from subsight.settings import Settings
from subsight.sources import files, inspection, xdr
from subsight.sources.mapping import Mapping
from subsight.store import Store

SETTINGS = Settings(identifiers="clear")
KEY = b"k" * 32


@cache
def generated() -> Copy:
    return generate(rows=1000)


def mutate(copy: Copy, *names: str) -> Copy:
    for name, mutation in MUTATIONS.items():
        if name in names:
            copy = mutation(copy)
    return copy


def read(store: Store, path: Path, mapping: Mapping) -> pa.Table:
    file = files.recognise(path)
    parsed = xdr.parse(store, file, mapping, SETTINGS)
    return store.arrow(xdr.read(store, parsed, mapping, SETTINGS, KEY).rows)


def assert_honest(found: inspection.Inspection, copy: Copy) -> None:
    """Nothing called sure or checked is wrong; nothing right is corrected."""
    applications: dict[str, str] = {}
    for column, entry in zip(copy.columns, found.columns, strict=True):
        assert entry.source == column.header
        if entry.certainty == "sure":
            assert entry.column is not None
            if column.role.startswith("app_"):
                stem, _, unit = entry.column.rpartition("_")
                name, _, direction = stem.rpartition("_")
                assert (direction, unit) == tuple(column.role.split("_")[-2:]), entry
                # Each application has one name, in both directions.
                role = column.role.rpartition("_")[0].rpartition("_")[0]
                assert applications.setdefault(role, name) == name
            else:
                assert entry.column == column.role, entry
        if entry.unit_certainty == "checked":
            assert entry.unit == column.unit, entry
    assert len(set(applications.values())) == len(applications)
    corrected = {finding.column for finding in found.findings if finding.severity == "corrected"}
    roles = {e.column: c.role for c, e in zip(copy.columns, found.columns, strict=True)}
    assert {roles.get(column, column) for column in corrected} <= copy.corrected


@cache
def truth_in_order(original: Copy) -> list[dict[str, object]]:
    known = [row for row in truth(original) if row["imei_id"]]
    return sorted(known, key=lambda row: (str(row["imei_id"]), str(row["start_at"])))


def assert_same(sessions: pa.Table, found: inspection.Inspection, original: Copy, copy: Copy) -> None:
    """The canonical values are those of the original, in every column that is in use."""
    rows = truth_in_order(original)
    table = sessions.filter(sessions["imei_id"].is_valid()).sort_by(
        [("imei_id", "ascending"), ("start_at", "ascending")]
    )
    assert table.num_rows == len(rows)
    for column, entry in zip(copy.columns, found.columns, strict=True):
        if entry.column is None or entry.column.endswith(":milliseconds"):
            continue
        expected = [row[column.role] for row in rows]
        assert_values(column.role, table[entry.column].to_pylist(), expected, copy)


def assert_values(role: str, actual: list[object], expected: list[object], copy: Copy) -> None:
    # Three digits of a KiB are half a byte short of one; of two durations either may be the rounded one.
    slack = 1.0 if any(c.role == role and c.unit == "KiB" for c in copy.columns) else 0.0
    if role == "dl_bytes" and slack:
        slack = 2.0
    for one, other in zip(actual, expected, strict=True):
        if isinstance(other, float):
            assert isinstance(one, float | int), (role, one, other)
            assert abs(one - other) <= slack + 1e-9 * abs(other), (role, one, other)
        elif isinstance(other, datetime):
            assert one == other, role
        else:
            assert one == other, role


def check(store: Store, copy: Copy, original: Copy, path: Path) -> inspection.Inspection:
    copy.write(path)
    found = inspection.inspect(store, files.recognise(path), SETTINGS)
    assert_honest(found, copy)
    assert not [finding for finding in found.findings if finding.severity == "refused"]
    assert_same(read(store, path, found.mapping), found, original, copy)
    return found


def combinations() -> list[tuple[str, ...]]:
    """Every mutation alone, and a drawn set of those that go together."""
    alone = [(), *((name,) for name in MUTATIONS)]
    draw = random.Random(11)
    together = set()
    while len(together) < 8:
        parts = [
            draw.choice([*VOLUMES, ""]),
            draw.choice([*TIMES, ""]),
            draw.choice(["renamed", "camel", ""]),
        ]
        rest = ("consistent_total", "duration_in_ms", "shares_of_one", "shuffled")
        parts += [name for name in rest if draw.random() < 0.5]
        together.add(tuple(sorted(name for name in parts if name)))
    return alone + sorted(together)


@pytest.mark.parametrize("names", combinations(), ids=lambda names: "+".join(names) or "original")
def test_generated_copies(duck: Store, tmp_path: Path, names: tuple[str, ...]) -> None:
    check(duck, mutate(generated(), *names), generated(), tmp_path / "copy.csv")


@pytest.mark.tellco
@pytest.mark.parametrize(
    "names",
    [(), ("duration_in_ms", "consistent_total", "kb_silent"), ("kib_silent", "renamed", "shuffled"),
     ("iso_whole", "shares_of_one", "kb_said", "camel"), ("day_first", "renamed", "kib_said")],
    ids=lambda names: "+".join(names) or "original",
)  # fmt: skip
def test_real_copies(duck: Store, tmp_path: Path, tellco_csv: Path, names: tuple[str, ...]) -> None:
    original = real(tellco_csv)
    check(duck, mutate(original, *names), original, tmp_path / "copy.csv")


@cache
def real(path: Path) -> Copy:
    return read_original(path, 5_000)


def test_original_is_read_as_its_dictionary_says(duck: Store, tmp_path: Path) -> None:
    found = check(duck, generated(), generated(), tmp_path / "copy.csv")
    assert found.mapping.name == "tellco"
    assert inspection.choose(duck, files.recognise(tmp_path / "copy.csv"), SETTINGS).mapping == found.mapping
    assert {entry.certainty for entry in found.columns} == {"sure"}
    units = {entry.column: (entry.unit, entry.unit_certainty) for entry in found.columns}
    assert units["duration_s"] == ("s", "checked")
    assert units["duration_ms"] == ("ms", "checked")
    assert {units[name] for name in (*DL_SHARES, *UL_SHARES)} == {("percent", "checked")}
    corrected = {finding.column for finding in found.findings if finding.severity == "corrected"}
    assert corrected == {"duration_s", "dl_bytes"}
    assert list(found.rejects) == [
        {"column": "", "reason": "no identifier and no time: not a session", "count": 1, "example": None}
    ]
    assert found.file["records"] == 1001


def test_renamed_columns_are_found_and_most_are_proven(duck: Store, tmp_path: Path) -> None:
    copy = mutate(generated(), "renamed", "shuffled")
    found = check(duck, copy, generated(), tmp_path / "copy.csv")
    assert found.origin == "proposed"
    assert inspection.choose(duck, files.recognise(tmp_path / "copy.csv"), SETTINGS).mapping == found.mapping
    assert all(entry.column for entry in found.columns)
    sure = {c.role for c, e in zip(copy.columns, found.columns, strict=True) if e.certainty == "sure"}
    assert sure >= {
        "subscriber_id", "imsi_id", "imei_id", "start_at", "end_at", "duration_s", "duration_ms", "handset",
        "handset_manufacturer", "dl_bytes", "ul_bytes", *DL_SHARES, *UL_SHARES,
        *(column.role for column in copy.columns if column.role.startswith("app_")),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["kb_silent", "kib_silent"])
def test_volumes_in_thousands_are_checked(duck: Store, tmp_path: Path, name: str) -> None:
    copy = mutate(generated(), name)
    found = check(duck, copy, generated(), tmp_path / "copy.csv")
    unit = {"kb_silent": "kB", "kib_silent": "KiB"}[name]
    volumes = [e for c, e in zip(copy.columns, found.columns, strict=True) if c.unit == unit]
    assert {(entry.unit, entry.unit_certainty) for entry in volumes} == {(unit, "checked")}


@pytest.mark.parametrize("names", [(), ("renamed",)])
def test_a_unit_that_nothing_proves_is_refused(duck: Store, tmp_path: Path, names: tuple[str, ...]) -> None:
    copy = mutate(mb_silent(generated()), *names)
    path = copy.write(tmp_path / "copy.csv")
    found = inspection.inspect(duck, files.recognise(path), SETTINGS)
    assert_honest(found, copy)
    refused = [finding.text for finding in found.findings if finding.severity == "refused"]
    assert any("dl_bytes contradicts the data" in text for text in refused)


def test_a_known_header_over_other_data_is_not_sure(duck: Store, tmp_path: Path) -> None:
    """The extract's header, with the values of both totals and of two identifiers exchanged."""
    original = generated()
    pairs = (("dl_bytes", "ul_bytes"), ("subscriber_id", "imsi_id"))
    other = {**dict(pairs), **{two: one for one, two in pairs}}
    values = {column.role: column.values for column in original.columns}
    columns = [replace(c, values=values[other.get(c.role, c.role)]) for c in original.columns]
    path = replace(original, columns=columns).write(tmp_path / "copy.csv")
    found = inspection.inspect(duck, files.recognise(path), SETTINGS)
    certainty = {entry.column: entry.certainty for entry in found.columns}
    assert found.origin == "shipped"
    assert "sure" not in {certainty[name] for name in other}
