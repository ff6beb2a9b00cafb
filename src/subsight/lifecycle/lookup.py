"""Rows of a few subscribers out of a published table, without reading all of it for each question."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Lookup"]

_NAME: Final = "subscriber_id"
_FEW: Final = 32
"""Names up to which each is sought by halving, which looks at no other row."""


class Lookup:
    """A Parquet file in order of `subscriber_id`, as runs publish tables, asked by names; in any thread.

    Only row groups that may hold a name are read, and those that were asked last stay in memory.

    Args:
        columns: what is wanted beside the names, as far as the file has it; all of it by default.
        kept_bytes: what may stay in memory.
    """

    def __init__(
        self, path: Path, columns: Collection[str] | None = None, kept_bytes: int = 100_000_000
    ) -> None:
        """Raises:
        OSError, ValueError: it is no Parquet file.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path, self._kept_bytes = path, kept_bytes
        self._metadata = pq.read_metadata(path)
        whole = self._metadata.schema.to_arrow_schema()
        wanted = [name for name in whole.names if columns is None or name in (_NAME, *columns)]
        self._columns = wanted
        self.schema = pa.schema([whole.field(name) for name in wanted])
        self._bounds = [_bounds(self._metadata.row_group(n)) for n in range(self._metadata.num_row_groups)]
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = Lock()

    def rows(self, names: Collection[str]) -> pa.Table:
        """The rows of subscribers of these names, in the file's order.

        Raises:
            StorageError: the file cannot be read (any more).
        """
        import pyarrow as pa

        sought = sorted(set(names))
        found = [part for n in self._groups(sought) for part in _among(self._group(n), sought)]
        return pa.concat_tables(found) if found else self.schema.empty_table()

    def _groups(self, sought: Sequence[str]) -> Iterator[int]:
        """The row groups that may hold any of the names, which are in their order."""
        for n, bounds in enumerate(self._bounds):
            if bounds is None or bisect_left(sought, bounds[0]) < bisect_right(sought, bounds[1]):
                yield n

    def _group(self, n: int) -> pa.Table:
        with self._lock:
            if (known := self._kept.get(n)) is not None:
                self._kept.move_to_end(n)
                return known
        # Read without the lock: two who ask for the same at once read it twice, and nobody waits.
        with _readable(self._path):
            import pyarrow.parquet as pq

            with pq.ParquetFile(self._path, metadata=self._metadata) as file:
                read = file.read_row_group(n, columns=self._columns).combine_chunks()
        with self._lock:
            self._kept[n] = read
            while len(self._kept) > 1 and sum(t.nbytes for t in self._kept.values()) > self._kept_bytes:
                self._kept.popitem(last=False)
        return read


def _bounds(group: Any) -> tuple[str, str] | None:
    """The first and the last name of a row group, None where the file does not say."""
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == _NAME:
            told = column.statistics
            return (told.min, told.max) if told is not None and told.has_min_max else None
    return None


def _among(group: pa.Table, sought: Sequence[str]) -> list[pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(sought) > _FEW:
        found = group.filter(pc.is_in(group[_NAME], value_set=pa.array(sought, pa.string())))
        return [found] if found.num_rows else []
    names, places = group[_NAME], range(group.num_rows)

    def name_at(place: int) -> str:
        name: str = names[place].as_py()
        return name

    parts = []
    for one in sought:
        first = bisect_left(places, one, key=name_at)
        last = bisect_right(places, one, lo=first, key=name_at)
        if last > first:
            parts.append(group.slice(first, last - first))
    return parts


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be read", found=str(error), do="check the disk, or publish the run again"
        ) from error
