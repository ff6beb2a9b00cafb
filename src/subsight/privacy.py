"""Respect for the people in the data: normalised identifiers, keyed pseudonyms, small groups suppressed."""

from __future__ import annotations

import csv
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "LOST",
    "PHONE",
    "PSEUDONYM_LENGTH",
    "WHOLE",
    "hmac_pads",
    "msisdn",
    "normalise",
    "pseudonym",
    "reveal",
    "subscriber",
    "suppress",
]

PSEUDONYM_LENGTH: Final = 32
PHONE: Final = r"^[+(]?[0-9][0-9 ()./-]*$"
"""How a number to call is written; one of 7 to 15 digits (ITU-T E.164) is an MSISDN."""
LOST: Final = r"^[+-]?[0-9]+[.,][0-9]*[eE][+-]?[0-9]+$|^[+-]?[0-9]+[eE][+-][0-9]+$"
"""Scientific notation; a point or a sign tells it from a customer number such as 4E21."""
WHOLE: Final = r"^[+-]?[0-9]+\.0+$"
"""A whole number as a data frame writes it where other values of its column are missing."""
_BLOCK: Final = 64


def normalise(identifier: str) -> str | None:
    """An identifier in the form that is hashed, or None where it is empty or lost digits.

    A trailing `.0` that a spreadsheet or data frame added goes; all but digits goes. A number in
    scientific notation has lost digits and is no identifier.

    >>> normalise("+33 6 64 96 22 39"), normalise("33664962239.0"), normalise("3.3664E+10")
    ('33664962239', '33664962239', None)
    """
    text = identifier.strip()
    head, dot, tail = text.partition(".")
    if dot and tail and not tail.strip("0"):
        text = head
    if "e" in text.lower():
        return None
    return "".join(c for c in text if "0" <= c <= "9") or None


def msisdn(identifier: str) -> str | None:
    """A phone number in the form that is hashed: normalised, without the prefix 00 to dial abroad.

    >>> msisdn("0033 6 64 96 22 39"), msisdn("+33664962239"), msisdn("06 64 96 22 39")
    ('33664962239', '33664962239', '0664962239')
    """
    digits = normalise(identifier)
    return (digits.removeprefix("00") or None) if digits else None


def subscriber(identifier: str) -> str | None:
    """What a subscriber is called in the form that is hashed; None where digits were lost.

    A phone number of 7 to 15 digits is an MSISDN; anything else is exact text.

    >>> subscriber("+33 6 64 96 22 39"), subscriber(" CUST-7"), subscriber("15.0"), subscriber("1.3E+19")
    ('33664962239', 'CUST-7', '15', None)
    """
    text = identifier.strip()
    digits = (msisdn(text) or "") if re.match(PHONE, text) else ""
    if 7 <= len(digits) <= 15:
        return digits
    if re.match(LOST, text):
        return None
    return (text.partition(".")[0] if re.match(WHOLE, text) else text) or None


def pseudonym(identifier: str, key: bytes) -> str:
    """The keyed pseudonym of a normalised identifier: HMAC-SHA256 (RFC 2104), 32 hex digits.

    >>> pseudonym("33664962239", b"k" * 32)[:8]
    'c655c9ef'
    """
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:PSEUDONYM_LENGTH]


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """The inner and outer padded keys of HMAC-SHA256, for engines that only have SHA-256."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    padded = key.ljust(_BLOCK, b"\0")
    return bytes(b ^ 0x36 for b in padded), bytes(b ^ 0x5C for b in padded)


def reveal(table: pa.Table, clear_ids: Path, key: bytes) -> tuple[pa.Table, int]:
    """The table with a column `msisdn` after `subscriber_id`, and how many rows it is known for.

    `clear_ids` is a CSV file of one column of clear MSISDNs, with or without a header; each is
    normalised and hashed with `key`, as at ingest. A row of any other subscriber has null.

    Raises:
        InputError: the file cannot be read or holds no such column, or the table has no
            `subscriber_id` or an `msisdn` already.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = table.column_names
    if "subscriber_id" not in names or "msisdn" in names:
        raise InputError(
            "the table cannot be joined with clear identifiers",
            found=f"columns {', '.join(names)}",
            expected="a column subscriber_id and none called msisdn",
            do="name another table",
        )
    clear = _clear_ids(clear_ids)
    pseudonyms = pa.array([pseudonym(number, key) for number in clear], pa.string())
    at = pc.index_in(table["subscriber_id"].cast(pa.string()), value_set=pseudonyms)
    revealed = pa.array(clear, pa.string()).take(at.combine_chunks())
    joined = table.add_column(names.index("subscriber_id") + 1, "msisdn", revealed)
    return joined, len(revealed) - revealed.null_count


def _clear_ids(path: Path) -> list[str]:
    """The distinct normalised identifiers of a CSV file; a first line without digits is its header."""
    found: dict[str, None] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for line, cells in enumerate(csv.reader(lines), 1):
                number = msisdn(cells[0]) if cells else None
                # Other separators would run two columns' digits into one identifier.
                if len(cells) > 1 or (number and set(cells[0]) & set(";|\t")):
                    raise InputError(
                        f"{path} is no list of identifiers",
                        found=f"more than one column in line {line}",
                        expected="one column of clear MSISDNs",
                        do="keep that column alone",
                    )
                if number:
                    found[number] = None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read", found=str(error), expected="a CSV file in UTF-8"
        ) from error
    if not found:
        raise InputError(
            f"{path} holds no identifier",
            expected="one column of clear MSISDNs; a number such as 3.36E+10 lost its digits",
            do="export the list again, the column as text",
        )
    return list(found)


def suppress(
    rows: Sequence[Mapping[str, Any]], group_size: str, minimum: int
) -> tuple[list[dict[str, Any]], int]:
    """Rows with the numbers of small groups blanked, and how many rows that were.

    A row with fewer than `minimum` subscribers keeps its labels (text, flags, cluster, hour,
    decile and rank numbers, where a node lies) and loses its other numbers. Where only one row is
    blanked, of the table or of those that share a label (an application, a cluster, an hour), the next
    smallest of them is blanked too: a total would reveal it.
    """
    sizes = [row[group_size] for row in rows]
    small = {i for i, size in enumerate(sizes) if size is not None and 0 < size < minimum}
    families = _families(rows) if small else []
    while True:
        alone = (family - small for family in families if len(family & small) == 1)
        others = next((found for rest in alone if (found := [i for i in rest if sizes[i]])), None)
        if others is None:
            break
        small.add(min(others, key=lambda i: (sizes[i], i)))
    return [_blank(row) if i in small else dict(row) for i, row in enumerate(rows)], len(small)


_MARGINS: Final = ("cluster", "hour", "decile")


def _families(rows: Sequence[Mapping[str, Any]]) -> list[set[int]]:
    """Rows of which a total may be known: the table, and the rows that share a label, where several do."""
    families = [set(range(len(rows)))]
    for name in rows[0] if rows else ():
        if not all(isinstance(row[name], str) or name.endswith(_MARGINS) for row in rows):
            continue
        shared: dict[Any, set[int]] = {}
        for i, row in enumerate(rows):
            shared.setdefault(row[name], set()).add(i)
        families += [family for family in shared.values() if 1 < len(family) < len(rows)]
    return families


_TELLING: Final = ("busy_hour", "top_hour", "peak_hour")
"""Texts that say when something was used: of a small group that is about a person."""
_LABELS: Final = (
    "cluster", "hour", "decile", "rank", "bin_low", "bin_high", "node", "node_x", "node_y",
)  # fmt: skip


def _blank(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its labels only: text, flags, and the numbers that name a row."""
    kept = {k for k, v in row.items() if isinstance(v, str | bool) or k.endswith(_LABELS)}
    return {k: v if k in kept and k not in _TELLING else None for k, v in row.items()}
