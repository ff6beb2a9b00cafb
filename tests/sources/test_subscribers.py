"""Subscriber tables: canonical values by hand, rejects with their reasons, which column is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from subsight.privacy import pseudonym
from subsight.settings import load
from subsight.sources import files, subscriber_columns, subscribers, xdr
from subsight.store import Store

KEY = b"k" * 32
CLEAR = load(identifiers="clear")
NAMES = "subscriber_id,region,tenure_days,ul_kilobytes,dl_kilobytes,plan,is_churned"


def _file(folder: Path, header: str, *rows: str) -> Path:
    path = folder / "customers.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def _read(store: Store, path: Path, settings: Any = CLEAR) -> tuple[list[dict[str, Any]], subscribers.Read]:
    file = files.recognise(path)
    choice = subscriber_columns.choose(file)
    found = subscribers.read(store, file, choice.mapping, settings, KEY, is_given=False)
    return sorted(store.rows(found.reading.rows), key=lambda row: row["subscriber_id"]), found


def _reasons(store: Store, found: subscribers.Read) -> dict[tuple[str, str], int]:
    reasons = xdr.reject_reasons(store, found.reading.rejects, found.ragged)
    return {(r["column"], r["reason"]): r["count"] for r in reasons}


def test_canonical_names_are_read_as_they_are(store: Store, tmp_path: Path) -> None:
    path = _file(
        tmp_path, NAMES,
        "+33 6 64 96 22 39,3.0,1235,16534022,237360574,gold,0",
        "15,North,12.5,0,1e3,NA,true",
        "CUST-7 ,unknown,,,,,No",
        f"{'0A' * 16},2,0,1,2,basic,",
    )  # fmt: skip
    rows, found = _read(store, path)
    assert _reasons(store, found) == {}
    known = {name: [row[name] for row in rows] for name in rows[0] if name != "subscriber_hash"}
    assert known == {
        "subscriber_id": ["0a" * 16, "15", "33664962239", "CUST-7"],
        "region": ["2", "North", "3", None],
        "tenure_days": [0, 12.5, 1235, None],
        "ul_kilobytes": [1, 0, 16534022, None],
        "dl_kilobytes": [2, 1000, 237360574, None],
        "bearer_type": [None] * 4,
        "browser": [None] * 4,
        "browsing_category": [None] * 4,
        "plan": ["basic", None, "gold", None],
        "is_churned": [None, True, False, False],
    }
    keyed, _ = _read(store, path, load())
    assert {row["subscriber_id"] for row in keyed} == {
        "0a" * 16, *(pseudonym(name, KEY) for name in ("15", "33664962239", "CUST-7")),
    }  # fmt: skip
    assert {r["subscriber_hash"] for r in keyed} == {r["subscriber_hash"] for r in rows}
