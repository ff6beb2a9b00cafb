"""Drift: whether a model is asked about other subscribers than it was trained on.

Numbers are compared by the two-sample Kolmogorov-Smirnov distance, texts by the population stability index.
A feature has drifted where its distance exceeds both a floor that matters and what chance alone would reach,
so that neither a hundred rows nor ten million cry wolf.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Drift", "Thresholds", "compare", "false_alarms", "from_bytes", "known", "sample", "to_bytes"]

Sample = Mapping[str, Any]
"""By feature: an array of numbers, NaN where unknown, or an array of texts, empty where unknown."""

KEPT: Final = 5000
"""Values of each feature that a version keeps of its training: their distance to the rest is under 0.03."""
SMALL_GROUP: Final = 15
_RARE: Final = 0.01
_OTHER: Final = "(other)"


@dataclass(frozen=True)
class Thresholds:
    """What counts as drift.

    `ks` and `psi` are the floors below which a distance does not matter; 0.1 is where a PSI is commonly
    called moderate. `alarm_rate` is how often one look at unchanged data may find any drift, over all
    features together (each gets its equal part: Bonferroni).
    """

    ks: float = 0.1
    psi: float = 0.1
    alarm_rate: float = 0.01


@dataclass(frozen=True)
class Drift:
    """One feature's distance from training.

    `threshold` is the larger of the floor and what chance would exceed at the alarm rate with these rows.
    `before` and `now` are medians, or for texts and for unknown values the share of the value that `what`
    names: the level that moved most, or `unknown`.
    """

    feature: str
    measure: Literal["KS", "PSI"]
    distance: float
    threshold: float
    rows_before: int
    rows_now: int
    what: str
    before: float | None
    now: float | None

    @property
    def has_drifted(self) -> bool:
        """Whether the distance exceeds the threshold."""
        return self.distance > self.threshold

    def to_json(self) -> dict[str, Any]:
        """The fields and `has_drifted`."""
        return {**asdict(self), "has_drifted": self.has_drifted}


def sample(columns: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """At most `KEPT` values of each column, in an order of its own: no row can be put together again.

    Texts of fewer than 15 rows become `(other)`: a sample leaves the workspace with its model.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    kept: dict[str, Any] = {}
    for name, column in columns.items():
        values = _values(column)
        values = values[random.permutation(len(values))[:KEPT]]
        if values.dtype.kind == "U":
            levels, counts = np.unique(values, return_counts=True)
            values = np.where(np.isin(values, levels[counts < SMALL_GROUP]), _OTHER, values)
        kept[name] = values
    return kept


def to_bytes(kept: Sample) -> bytes:
    """A sample as an uncompressed `npz`; the same sample gives the same bytes."""
    import numpy as np

    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: np.asarray(values) for name, values in kept.items()})
    return file.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """A sample back from its bytes; nothing is unpickled."""
    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def compare(before: Sample, now: Mapping[str, Any], thresholds: Thresholds | None = None) -> list[Drift]:
    """Every feature of `before` that `now` has, the farthest beyond its threshold first.

    A feature with unknown values on either side is compared twice: its known values, and how many are
    unknown (as `NAME is unknown`). Features without a value on a side are left out.
    """
    limits = thresholds or Thresholds()
    pairs = [(name, _values(before[name]), _values(now[name])) for name in before if name in now]
    tests: list[tuple[str, Any, Any]] = []
    for name, old, new in pairs:
        if not (len(old) and len(new)):
            continue
        if old.dtype.kind == "f":
            gaps = _is_unknown(old), _is_unknown(new)
            if gaps[0].any() or gaps[1].any():
                tests.append((f"{name} is unknown", *(_spelled(gap) for gap in gaps)))
            old, new = old[~gaps[0]], new[~gaps[1]]
        if len(old) and len(new):
            tests.append((name, old, new))
    alpha = limits.alarm_rate / max(1, len(tests))
    found = [
        _numbers(name, old, new, limits.ks, alpha)
        if old.dtype.kind == "f"
        else _texts(name, old, new, limits.psi, alpha)
        for name, old, new in tests
    ]
    return sorted(found, key=lambda drift: (-drift.distance / drift.threshold, drift.feature))


def _values(column: Any) -> Any:
    import numpy as np

    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        return column.astype(np.float64)
    if isinstance(column, np.ndarray) and column.dtype.kind == "U":
        return column
    texts = [value for value in column if value is not None]
    if texts and not isinstance(texts[0], str):
        return np.array([np.nan if value is None else value for value in column], dtype=np.float64)
    return np.array([value or "" for value in column], dtype=str)


def known(kept: Sample) -> dict[str, Any]:
    """A sample without its unknown values: beside values that were sent, what was left out is no drift."""
    found = {}
    for name, column in kept.items():
        values = _values(column)
        found[name] = values[values != ""] if values.dtype.kind == "U" else values[~_is_unknown(values)]
    return found


def _is_unknown(values: Floats) -> NDArray[np.bool_]:
    import numpy as np

    return ~np.isfinite(values)


def _spelled(flags: NDArray[np.bool_]) -> Any:
    import numpy as np

    return np.where(flags, "unknown", "known")


def _numbers(name: str, old: Floats, new: Floats, floor: float, alpha: float) -> Drift:
    import numpy as np
    from scipy.special import kolmogi
    from scipy.stats import ks_2samp

    n, m = len(old), len(new)
    # The limiting distribution (Kolmogorov 1933, Smirnov 1939) errs to the safe side in small samples.
    chance = float(kolmogi(alpha)) * np.sqrt((n + m) / (n * m))
    distance = float(ks_2samp(old, new, method="asymp").statistic)
    medians = (float(np.median(values)) for values in (old, new))
    return Drift(name, "KS", distance, max(floor, float(chance)), n, m, "median", *medians)


def _texts(name: str, old: Any, new: Any, floor: float, alpha: float) -> Drift:
    import numpy as np
    from scipy.stats import chi2

    n, m = len(old), len(new)
    counts = Counter(old.tolist()), Counter(new.tolist())
    # Rare levels stand together: alone, each would be noise that the index divides by.
    named = [
        level
        for level in sorted(counts[0] | counts[1])
        if level != _OTHER and (counts[0][level] + counts[1][level]) / (n + m) >= _RARE
    ]
    shares = []
    for count, rows in zip(counts, (n, m), strict=True):
        numbers = [count[level] for level in named]
        numbers.append(rows - sum(numbers))
        # Half a row each, so that a level that is new or gone is no infinity.
        shares.append((np.array(numbers) + 0.5) / (rows + 0.5 * len(numbers)))
    parts = (shares[1] - shares[0]) * np.log(shares[1] / shares[0])
    moved = int(np.argmax(parts))
    # Without drift the index is about a chi-squared (Yurdakul 2018) times what the sample sizes make of it.
    chance = float(chi2.isf(alpha, len(named))) * (1 / n + 1 / m)
    level = [*named, _OTHER][moved] or "(unknown)"
    return Drift(
        name, "PSI", float(parts.sum()), max(floor, chance), n, m, level,
        float(shares[0][moved]), float(shares[1][moved]),
    )  # fmt: skip


def false_alarms(
    before: Sample, rows: int, looks: int, seed: int, thresholds: Thresholds | None = None
) -> int:
    """How many of so many looks at data that did not change would find drift.

    Each look divides the training sample by chance into two parts and compares them, one of at most
    `rows`: what is called drift there is a false alarm.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    values = {name: _values(column) for name, column in before.items()}
    alarms = 0
    for _ in range(looks):
        parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for name, column in values.items():
            order = random.permutation(len(column))
            cut = min(rows, len(column) // 2)
            parts[0][name], parts[1][name] = column[order[cut:]], column[order[:cut]]
        alarms += any(drift.has_drifted for drift in compare(*parts, thresholds))
    return alarms
