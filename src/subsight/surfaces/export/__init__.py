"""One published table to a file or a database: staged, verified, then swapped in at once.

    rows in batches -> staging -> totals compared -> swap -> a SELECT as evidence

Whatever fails before the swap leaves the target as it was. Every target holds the same values:
a float that is no finite number becomes null and is counted in `Evidence.notes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from subsight.errors import ExportError
from subsight.surfaces.export.address import Address
from subsight.surfaces.export.evidence import ColumnCheck, Evidence

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ColumnCheck", "Evidence", "export"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def export(
    table: pa.Table | Path,
    target: str,
    *,
    name: str,
    if_exists: Literal["replace", "append", "fail"] = "replace",
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Write a table to a target, check what the target holds, and show it.

    `table` is in memory or a Parquet file, read in batches of 65,536 rows. `target` is a path
    (.csv, .csv.gz, .parquet, .db, .sqlite, .sqlite3) or a URL (mysql, mariadb, postgresql,
    postgres, sqlite). `progress` is told the rows sent and the rows in all. A column
    `subscriber_id` gets an index. In CSV, text that a spreadsheet would take for a formula
    (it begins with = + - @, a tab or a carriage return) gets a leading apostrophe, counted in
    the notes.

    Raises:
        ExportError: the target cannot be reached, refuses, or does not hold what was sent.
    """
    if not _NAME.fullmatch(name):
        raise ExportError(
            f"{name!r} cannot be a table's name",
            expected="a letter or underscore, then letters, digits or underscores, 63 at most",
            do="name another table",
        )
    address = Address.parse(target)
    from subsight.surfaces.export.rows import Rows

    rows = Rows(table, progress)
    return _writer(address)(address, rows, name, if_exists)


def _writer(address: Address) -> Callable[[Address, Any, str, str], Evidence]:
    """The target's module, imported only when it is the target."""
    if address.kind == "mysql":
        from subsight.surfaces.export.mysql import write
    elif address.kind == "postgresql":
        from subsight.surfaces.export.postgresql import write
    elif address.kind == "sqlite":
        from subsight.surfaces.export.sqlite import write
    else:
        from subsight.surfaces.export.files import write
    return write
