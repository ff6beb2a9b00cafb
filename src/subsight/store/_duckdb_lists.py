"""Lists of texts in DuckDB's words: its JSON lets more pass than JSON is."""

from __future__ import annotations

__all__ = ["listed"]

_LISTS = ("VARCHAR[]", "TINYINT[]", "SMALLINT[]", "INTEGER[]", "BIGINT[]")
_DANGLING = r",\s*\]\s*$"


def listed(column: str, kind: str) -> str:
    """The SQL of a quoted column's list, elements as text with nulls; null where it holds none."""
    if kind in _LISTS:
        return f"CAST({column} AS VARCHAR[])"
    if kind != "VARCHAR":
        return "CAST(NULL AS VARCHAR[])"
    json = f"TRY_CAST({column} AS JSON)"
    elements = f"TRY_CAST({json} AS JSON[])"
    # Fractions and what is no number are DOUBLE; an element that is null has no type.
    others = f"list_filter({elements}, lambda e: json_type(e) NOT IN ('VARCHAR', 'BIGINT', 'UBIGINT'))"
    is_list = f"json_type({json}) = 'ARRAY' AND NOT regexp_matches({column}, '{_DANGLING}')"
    return f"CASE WHEN {is_list} AND len({others}) = 0 THEN TRY_CAST({json} AS VARCHAR[]) END"
