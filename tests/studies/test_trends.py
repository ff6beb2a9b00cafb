"""What changed for subscribers written by hand: planted effects, the same reversed, and none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from test_rfm import DAY, inputs_of, used

from subsight.store import Store, open_store
from subsight.studies.trends import changes
from subsight.studies.trends.table import COLUMNS, prepare

MB = 1_000_000


@pytest.fixture(scope="module")
def duckdb_store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def week(who: str, megabytes: int, *, ago: int = 0, hour: int = 19, **more: Any) -> list[dict[str, Any]]:
    """Seven days of use, a seventh of the volume each, that ended so long ago; now or 7 days before."""
    return [used(who, ago + day, hour, dl=megabytes * MB // 7, **more) for day in range(7)]


VIDEO = {"service": "netflix", "category": "Video"}
GAME = {"service": "steam", "category": "Gaming"}
PLANTED = [
    *week("doubles", 700, ago=7, **VIDEO), *week("doubles", 1400, **VIDEO),
    *week("plays", 70, ago=7), *week("plays", 70), *week("plays", 35, **GAME),
    *week("nights", 140, ago=7), *week("nights", 140, hour=2),
    *week("same", 140, ago=7), *week("same", 140),
    *week("falls", 700, ago=7), *week("falls", 70),
    *week("comes", 700, **VIDEO),
]  # fmt: skip


def rows_of(store: Store, rows: Sequence[dict[str, Any]], **settings: Any) -> dict[str, tuple[Any, ...]]:
    frame = changes(inputs_of(store, rows, **settings))
    assert frame is not None
    assert frame.collect_schema().names() == list(COLUMNS)
    return {row["subscriber_id"]: tuple(row.values())[1:] for row in store.rows(frame)}


def test_planted_changes_by_hand(store: Store) -> None:
    assert rows_of(store, PLANTED) == {
        "doubles": (700 * MB, 1400 * MB, 1.0, "Video", 700 * MB, 1400 * MB, 0, "evening", "evening",
                    "video pass or larger allowance", "Video: 700 MB to 1400 MB"),
        "plays": (70 * MB, 105 * MB, 0.5, "Gaming", 0, 35 * MB, 1, "evening", "evening",
                  "low-latency option", "Gaming: 0 MB to 35 MB"),
        "nights": (140 * MB, 140 * MB, 0.0, None, None, None, 0, "night", "evening",
                   "night allowance", "night: 0 % to 100 % of the volume"),
        "same": (140 * MB, 140 * MB, 0.0, None, None, None, 0, "evening", "evening",
                 "none", "no change that a rule asks for"),
        "falls": (700 * MB, 70 * MB, -0.9, None, None, None, 0, "evening", "evening",
                  "retention contact", "all use: 700 MB to 70 MB"),
        "comes": (0, 700 * MB, None, None, None, None, 0, "evening", None,
                  "none", "no use in the period before"),
    }  # fmt: skip


def test_reversed_changes_turn_and_removed_ones_end(duckdb_store: Store) -> None:
    def turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        moved = []
        for row in rows:
            days = (DAY - row["local_date"]).days
            by = timedelta(days=-7 if days < 7 else 7)
            moved.append({**row, "local_date": row["local_date"] + by, "hour_at": row["hour_at"] + by})
        return moved

    found = {who: row[-2] for who, row in rows_of(duckdb_store, turned(PLANTED)).items()}
    assert found == {
        "doubles": "retention contact", "plays": "none", "nights": "none", "same": "none",
        "falls": "larger allowance", "comes": "retention contact",
    }  # fmt: skip
    still = [row for row in PLANTED if (DAY - row["local_date"]).days >= 7]
    assert {row[-2] for row in rows_of(duckdb_store, still + turned(still)).values()} == {"none"}


@pytest.mark.parametrize("more", [{"confidence": "guess"}, {"confidence": None}, {"category": "Unknown"}])
def test_nothing_is_recommended_on_a_guess(duckdb_store: Store, more: dict[str, Any]) -> None:
    rows = [*week("g", 70, ago=7), *week("g", 70), *week("g", 35, **{**GAME, **more})]
    assert rows_of(duckdb_store, rows)["g"] == (
        70 * MB, 105 * MB, 0.5, None, None, None, 0, "evening", "evening", "none",
        "no change that a rule asks for",
    )  # fmt: skip
    made = prepare(inputs_of(duckdb_store, rows))
    assert made is not None
    assert made.guess_bytes == 35 * MB


def test_a_service_is_new_once(duckdb_store: Store) -> None:
    # Used by a guess before, or long before the period before: not new. Of someone new, nothing is.
    rows = [
        *week("a", 70, ago=7), *week("a", 70), used("a", 30, **GAME), used("a", 1, **GAME),
        used("a", 8, service="dns", confidence="guess"), used("a", 1, service="dns"),
        used("a", 1, service="imaps", category="Email"), used("b", 1, service="imaps", category="Email"),
    ]  # fmt: skip
    found = rows_of(duckdb_store, rows)
    assert (found["a"][6], found["b"][6]) == (1, 0)


def test_ties_go_to_the_first_by_name(store: Store) -> None:
    rows = [*week("a", 70, ago=7), *week("a", 70), *week("a", 35, **GAME),
            *week("a", 35, service="spotify", category="Music")]  # fmt: skip
    assert rows_of(store, rows)["a"][3] == "Gaming"
    rows = [used("a", ago, hour, dl=10) for ago in (1, 8) for hour in (2, 8, 14, 20)]
    rows += [*week("b", 7, ago=7), *week("b", 7)]
    assert rows_of(store, rows)["a"][7:9] == ("night", "night")


def test_without_the_period_before_nothing_is_compared(duckdb_store: Store) -> None:
    assert changes(inputs_of(duckdb_store, week("a", 70))) is None
    assert changes(inputs_of(duckdb_store, [])) is None


def test_what_is_left_out_is_counted(duckdb_store: Store) -> None:
    rows = [*PLANTED, used(None, 3, dl=5), used("same", -1, dl=7), used("same", 0, dl=3, local_date=None)]
    rows = [row for row in rows if row["local_date"] != DAY - timedelta(days=10)]
    made = prepare(inputs_of(duckdb_store, rows))
    assert made is not None
    assert made.left_out == [
        ("of nobody who could be named", 5), ("without a date", 3), ("after 2026-03-10", 7),
    ]  # fmt: skip
    assert made.silent == [DAY - timedelta(days=10)]
