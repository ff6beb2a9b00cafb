"""What linear models share: columns become features, subscribers are held out, predictions are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.intp]
    Mask = NDArray[np.bool_]
    Column = Floats | Sequence[str | None]

__all__ = ["LEAST_ROWS", "Design", "check_lengths", "design_of", "floats", "judged", "split"]

TEST_SHARE: Final = 0.25
LEAST_ROWS: Final = 40
LEVELS: Final = 5
"""Commonest values of a text feature that get a column of their own; the others are the reference."""


@dataclass(frozen=True)
class Design:
    """Features as arrays in the order of the subscribers with a target.

    `filled` counts the unknown values that got the training mean, `constant` names what did not vary.
    """

    columns: dict[str, Floats]
    filled: dict[str, int]
    constant: list[str]


def design_of(columns: Mapping[str, Column], known: NDArray[np.bool_], train: Rows) -> Design:
    """Numbers as they are, NaN replaced by the mean of `train`; the commonest texts as 0/1 columns."""
    import numpy as np

    design = Design({}, {}, [])
    for name, column in columns.items():
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            candidates = {name: floats(column)[known]}
        else:
            texts = [text for text, keep in zip(column, known, strict=True) if keep]
            candidates = _one_hot(name, texts, train)
        for feature, values in candidates.items():
            unknown = ~np.isfinite(values)
            seen = values[train][~unknown[train]]
            if not len(seen) or seen.min() == seen.max():
                design.constant.append(feature)
                continue
            if unknown.any():
                design.filled[feature] = int(unknown.sum())
                values = np.where(unknown, seen.mean(), values)
            design.columns[feature] = values
    return design


def _one_hot(name: str, texts: Sequence[Any], train: Rows) -> dict[str, Floats]:
    import numpy as np

    counts = Counter(texts[i] for i in train if texts[i] is not None)
    commonest = sorted(counts, key=lambda text: (-counts[text], text))[:LEVELS]
    values = np.array(texts, dtype=object)
    return {f"{name}={level}": (values == level).astype(np.float64) for level in commonest}


def floats(values: Any) -> Floats:
    """Values as an array of doubles."""
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def check_lengths(columns: Mapping[str, Column], rows: int) -> None:
    """Raises ConfigurationError where a feature has not one value a subscriber."""
    for name, column in columns.items():
        if len(column) != rows:
            raise ConfigurationError(
                f"the feature {name} and the target differ in length",
                found=f"{len(column)} and {rows}",
                expected="one value per subscriber in each",
            )


def split(rows: int, seed: int, held_out: Mask | None) -> tuple[Rows, Rows]:
    """Rows to train on and rows to test on: as the caller holds out, else a quarter by chance."""
    import numpy as np

    if rows < LEAST_ROWS:
        raise ConfigurationError(
            "satisfaction cannot be regressed on so few subscribers",
            found=str(rows),
            expected=f"at least {LEAST_ROWS} subscribers with a score",
            do="ingest more sessions",
        )
    if held_out is not None:
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)
    order = np.random.default_rng(seed).permutation(rows)
    tested = int(np.ceil(TEST_SHARE * rows))
    return np.sort(order[tested:]), np.sort(order[:tested])


def judged(train: Floats, test: Floats, predicted: Floats) -> dict[str, Any]:
    """How well `test` was predicted, beside the mean of `train`; `r2` is None where nothing varies."""
    import numpy as np

    residuals = test - predicted
    spread = float(((test - test.mean()) ** 2).sum())
    return {
        "rows_train": len(train),
        "rows_test": len(test),
        "r2": 1 - float(residuals @ residuals) / spread if spread > 0 else None,
        "mae": float(np.abs(residuals).mean()),
        "mae_deviation": float(np.abs(residuals).std()),
        "baseline_mae": float(np.abs(test - train.mean()).mean()),
        "residual_deciles": [float(v) for v in np.quantile(residuals, np.linspace(0, 1, 11))],
    }
