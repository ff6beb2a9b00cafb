"""The first records of a file, column by column: what a proposal judges a column by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import narwhals as nw

from subsight.settings import Settings
from subsight.sources.files import InputFile
from subsight.sources.headers import Header
from subsight.sources.xdr import records
from subsight.store import Instant, Number, Scalar, Store, Text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

__all__ = ["SIZE", "Sample"]

SIZE: Final = 20_000
"""Records that are looked at."""


class Sample:
    """The first records of a file, column by column."""

    def __init__(self, store: Store, file: InputFile, settings: Settings) -> None:
        self._store, self._zone = store, settings.time_zone
        self.headers = [Header(text) for text in file.header]
        self._columns = [f"c{i}" for i in range(len(file.header))]
        self._raw = store.keep(records(store, file).select("record", *self._columns).head(SIZE))
        store.ragged_lines()
        self.types = self._raw.collect_schema()
        texts: dict[str, Scalar] = {f"t{i}": Text(c) for i, c in enumerate(self._columns)}
        texts |= {f"n{i}": Number(c) for i, c in enumerate(self._columns) if not self.is_instant(i)}
        derived = store.derive(self._raw, texts).select(*texts)
        self._values = store.arrow(derived)

    def is_instant(self, position: int) -> bool:
        """Whether the file itself types the column as a moment."""
        kind = self.types[f"c{position}"]
        return isinstance(kind, nw.Datetime) or kind == nw.Date

    def numbers(self, position: int) -> Numbers:
        """Values as numbers, NaN where there is none."""
        import numpy as np

        if self.is_instant(position):
            return np.full(self._values.num_rows, np.nan)
        values: Numbers = self._values[f"n{position}"].to_numpy(zero_copy_only=False).astype(np.float64)
        return values

    def numeric_share(self, position: int) -> float:
        """Share of the values present that are numbers; 0 for an empty column."""
        import numpy as np

        present = self._values.num_rows - self._values[f"t{position}"].null_count
        return float((~np.isnan(self.numbers(position))).sum()) / present if present else 0.0

    def texts(self, position: int) -> list[str]:
        """The values present, as text."""
        return [str(value) for value in self._values[f"t{position}"].drop_null().to_pylist()]

    def derived(self, scalars: dict[str, Scalar]) -> dict[str, list[Any]]:
        """Values of scalars over the sample, in order."""
        frame = self._store.derive(self._raw, scalars).sort("record").select(*scalars)
        columns: dict[str, list[Any]] = self._store.arrow(frame).to_pydict()
        return columns

    def seconds(self, position: int, pattern: str, milliseconds: int | None = None) -> Numbers:
        """Instants read by a pattern, in seconds since 1970, NaN where unreadable."""
        import numpy as np

        extra = None if milliseconds is None else f"c{milliseconds}"
        scalar = Instant(f"c{position}", pattern, self._zone, extra)
        values = self.derived({"value": scalar})["value"]
        return np.array([np.nan if value is None else value.timestamp() for value in values])
