"""IP addresses in DuckDB's words: the extension that knows them would have to be fetched."""

from __future__ import annotations

from subsight.store import DOTTED, GROUPS, MAPPED

__all__ = ["address"]


def address(column: str) -> str:
    """The SQL of `store.Address` over a quoted column."""
    text = f"lower(trim(CAST({column} AS VARCHAR)))"
    octets = ", ".join(f"CAST(split_part(d, '.', {i}) AS UTINYINT)" for i in (1, 2, 3, 4))
    hexed = f"printf('%02x%02x%02x%02x', {octets})"
    tail = _let("d", "g.tail", f"{hexed}[1:4] || ':' || {hexed}[5:8]")
    # An IPv6 address may end in an IPv4 one, which stands for two groups.
    groups = f"CASE WHEN g.tail = '' THEN g.bare ELSE g.bare[:-len(g.tail) - 1] || {tail} END"
    halves = ", ".join(
        f"list_filter(string_split(split_part(w, '::', {i}), ':'), lambda p: p <> '')" for i in (1, 2)
    )
    left, right = (f"array_to_string(list_transform(h[{i}], lambda p: lpad(p, 4, '0')), '')" for i in (1, 2))
    filled = f"{left} || repeat('0', (32 - 4 * (len(h[1]) + len(h[2])))::INTEGER) || {right}"
    whole = f"CASE WHEN contains(w, '::') = (len(h[1]) + len(h[2]) < 8) THEN {filled} END"
    six = _let("w", groups, _let("h", f"[{halves}]", whole))
    bare = "regexp_replace(t, '%.*$', '')"
    parts = f"{{'bare': {bare}, 'tail': regexp_extract({bare}, '{DOTTED}$')}}"
    return _let(
        "t",
        text,
        f"CASE WHEN regexp_full_match(t, '{DOTTED}') THEN '{MAPPED}' || {_let('d', 't', hexed)} "
        "WHEN regexp_full_match(t, '[0-9a-f]{32}') THEN t "
        f"WHEN regexp_full_match({bare}, '{GROUPS}') THEN {_let('g', parts, six)} END",
    )


def _let(name: str, value: str, body: str) -> str:
    """A value under a name inside an expression, so that it is written, and planned, once."""
    return f"list_transform([{value}], lambda {name}: {body})[1]"
