"""Times in Spark's words: its own patterns read other texts than DuckDB's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 (Spark's own convention)

from subsight.errors import ConfigurationError

__all__ = ["in_zone", "parsed"]


class _Grammar(NamedTuple):
    """How a text becomes `year-month-day hour:minute:second.fraction offset`, which Spark reads."""

    regex: str
    template: str
    groups: Mapping[str, int]


_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_FIELDS = {
    "Y": r"[1-9]\d{3}",
    "y": r"\d{1,2}+",
    "m": r"\d{1,2}+",
    "d": r"\d{1,2}+",
    "H": r"\d{1,2}+",
    "I": r"1[0-2]|0?[1-9]",
    "M": r"\d{1,2}+",
    "S": r"\d{1,2}+",
    "f": r"\d{1,6}+",
    "p": "(?i:am|pm)",
    "b": f"(?i:{'|'.join(name[:3] for name in _MONTHS)})",
    "B": f"(?i:{'|'.join(_MONTHS)})",
    "z": r"[+-]\d{2}(?::?\d{2})?",
}
_ISO = _Grammar(
    r"^\s*([1-9]\d{3})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:(?:T| +)((?:[01]?\d|2[0-3]):\d{1,2}(?::\d{1,2}(?:\.\d+)?)?)( ?UTC|Z|[+-]\d{2}(?::?\d{2})?)?)?\s*$",
    "$1-$2-$3 $4$5",
    {"z": 5},
)


@cache
def _grammar(pattern: str) -> _Grammar:
    """Reads a strptime pattern.

    Not as a Java pattern: Java wants padded numbers, knows months by one spelling, and raises where
    Spark's former parser would have read a text.
    """
    if pattern == "iso":
        return _ISO
    groups: dict[str, int] = {}
    regex = ""
    for token in re.findall(r"%-?.|\s+|.", pattern, re.DOTALL):
        code = token[-1]
        if not token.startswith("%") or code == "%":
            regex += r"\s+" if token.isspace() else re.escape(code)
            continue
        if code not in _FIELDS or code in groups:
            raise ConfigurationError(
                "a time pattern cannot be read on Spark",
                found=f"{token} in {pattern}",
                expected=f"each of these at most once: {', '.join('%' + c for c in _FIELDS)}",
            )
        groups[code] = len(groups) + 1
        regex += f"({_FIELDS[code]})"

    def part(codes: str, otherwise: str) -> str:
        return next((f"${groups[c]}" for c in codes if c in groups), otherwise)

    year = "" if "y" in groups else part("Y", "1900")
    month = "@" if groups.keys() & {"b", "B"} else part("m", "1")
    template = (
        f"{year}-{month}-{part('d', '1')} "
        f"{part('HI', '0')}:{part('M', '0')}:{part('S', '0')}.{part('f', '0')}{part('z', '')}"
    )
    return _Grammar(rf"^\s*{regex}\s*$", template, groups)


def parsed(value: Column, pattern: str, zone: str) -> Column:
    """The column of `store.Instant` over a text."""
    grammar = _grammar(pattern)

    def part(code: str) -> Column:
        return F.lower(F.regexp_extract(value, grammar.regex, grammar.groups[code]))

    text = F.regexp_replace(value, grammar.regex, grammar.template)
    if grammar is _ISO:
        # Spark wants seconds before an offset.
        text = F.regexp_replace(text, r"( \d+:\d+)((?: ?UTC|Z|[+-][\d:]+)$)", "$1:00$2")
    if "y" in grammar.groups:
        year = F.lpad(part("y"), 2, "0")
        text = F.concat(F.when(year < "69", "20").otherwise("19"), year, text)
    for code in grammar.groups.keys() & {"b", "B"}:
        numbers = [F.lit(item) for i, name in enumerate(_MONTHS) for item in (name[:3], str(i + 1))]
        text = F.replace(text, F.lit("@"), F.create_map(*numbers)[F.substring(part(code), 1, 3)])
    moment = F.when(value.rlike(grammar.regex), text.try_cast("timestamp"))
    if "p" in grammar.groups:
        hour, half_day = F.hour(moment), F.expr("INTERVAL 12 HOURS")
        moment = (
            F.when((part("p") == "pm") & (hour < 12), moment + half_day)
            .when((part("p") == "am") & (hour == 12), moment - half_day)
            .when(hour <= 12, moment)
        )
    if "z" not in grammar.groups:
        return in_zone(moment, zone)
    return F.when(part("z") == "", in_zone(moment, zone)).otherwise(moment)


def in_zone(moment: Column, zone: str) -> Column:
    """The instant of a wall-clock time; where a clock shows it twice the later, as DuckDB has it."""
    if zone == "UTC":
        return moment
    first = F.to_utc_timestamp(moment, zone)
    day = F.expr("INTERVAL 24 HOURS")
    next_day = first + day
    offset = F.unix_micros(F.from_utc_timestamp(next_day, zone)) - F.unix_micros(next_day)
    second = F.timestamp_micros(F.unix_micros(moment) - offset)
    twice = (second > first) & (F.from_utc_timestamp(second, zone) == moment)
    return F.when(twice, second).otherwise(first)
