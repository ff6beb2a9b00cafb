"""IP addresses in Spark's words."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 (Spark's own convention)

from subsight.store import DOTTED, GROUPS, MAPPED

__all__ = ["address"]


def address(trimmed: Column) -> Column:
    """The column of `store.Address` over a trimmed text."""
    return _let(F.lower(trimmed), lambda text: _let(F.regexp_replace(text, "%.*$", ""), _either(text)))


def _either(text: Column) -> Callable[[Column], Column]:
    def read(bare: Column) -> Column:
        return (
            F.when(text.rlike(f"^{DOTTED}$"), F.concat(F.lit(MAPPED), _hexed(text)))
            .when(text.rlike("^[0-9a-f]{32}$"), text)
            .when(bare.rlike(f"^{GROUPS}$"), _let(_groups(bare), _six))
        )

    return read


def _hexed(dotted: Column) -> Column:
    """Four octets as eight hex digits."""
    octets = F.transform(F.split(dotted, "[.]"), lambda o: F.lpad(F.hex(o.try_cast("int")), 2, "0"))
    return F.lower(F.array_join(octets, ""))


def _groups(bare: Column) -> Column:
    """An IPv6 address whose IPv4 ending, if it has one, is written as two groups."""
    dotted = F.regexp_extract(bare, f"({DOTTED})$", 1)
    stem = F.substring(bare, F.lit(1), F.length(bare) - F.length(dotted))
    tail = _let(_hexed(dotted), lambda h: F.concat(F.substring(h, 1, 4), F.lit(":"), F.substring(h, 5, 4)))
    return F.when(F.contains(bare, F.lit(".")), F.concat(stem, tail)).otherwise(bare)


def _six(groups: Column) -> Column:
    """The 32 digits of an IPv6 address of groups alone; null where they are too many."""

    def half(place: int) -> Column:
        parts = F.split(F.split_part(groups, F.lit("::"), F.lit(place)), ":")
        return F.transform(F.filter(parts, lambda p: p != ""), lambda p: F.lpad(p, 4, "0"))

    def joined(halves: Column) -> Column:
        left, right = halves[0], halves[1]
        count = F.size(left) + F.size(right)
        filled = F.concat(
            F.array_join(left, ""), F.repeat(F.lit("0"), 32 - 4 * count), F.array_join(right, "")
        )
        return F.when(F.contains(groups, F.lit("::")) == (count < 8), filled)

    return _let(F.array(half(1), half(2)), joined)


def _let(value: Column, body: Callable[[Column], Column]) -> Column:
    """A value that an expression uses several times, written and planned once."""
    return F.element_at(F.transform(F.array(value), body), 1)
