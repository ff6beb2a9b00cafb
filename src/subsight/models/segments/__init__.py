"""Segments: k-means on standardised inputs, numbered by a rule, named from a list, matched when refitted.

A record is JSON. Each number becomes (x - mean) / population deviation, each text one 0/1 column per
level, weighted as a group; centroids are in those units and row i is segment i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from subsight.errors import ConfigurationError
from subsight.models import clusters, shown
from subsight.models.segments import features, numbering, placing
from subsight.models.segments.features import matrix
from subsight.models.segments.numbering import match
from subsight.models.segments.placing import explain, place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["NAMES", "explain", "fit", "match", "matrix", "place"]

NAMES: Final = ("Platinum", "Gold", "Silver", "Diamond")
_ROWS_A_SEGMENT: Final = 10
_RESAMPLES: Final = 20
_RESAMPLED: Final = 20_000


def fit(
    columns: Mapping[str, Any],
    *,
    inputs: Sequence[str] | None = None,
    region: Literal["one-hot", "numeric"] = "one-hot",
    descriptors: Sequence[str] = (),
    group_weight: float = 1.0,
    k: int | None = None,
    names: Sequence[str] = NAMES,
    previous: Mapping[str, Any] | None = None,
    from_run: str | None = None,
    seed: int,
    starts: int,
    source: Literal["subscribers", "profiles"] = "subscribers",
) -> dict[str, Any]:
    """The record of a segmentation of subscribers who have every input; nothing is filled in.

    Args:
        columns: per subscriber in hash order: floats (NaN unknown) or texts (None unknown).
        inputs: columns to cluster on; by default all that are not `descriptors`.
        group_weight: how many standardised numbers the columns of one text weigh as.
        k: by default that of `previous` where it has the same inputs, else the elbow's.
        previous: the record before (of the run `from_run`), whose numbers and names are kept.

    Raises:
        ConfigurationError: inputs, k, weight or names cannot be used, too few subscribers have the
            inputs, or they do not differ.
    """
    began = datetime.now(UTC)
    _check(k, names, group_weight)
    asked = features.asked(columns, inputs, descriptors)
    chosen, values, facts = _whole({name: _read(name, columns[name], region) for name in asked})
    described = [features.described(name, values[name]) for name in chosen]
    titles, raw = features.raw(described, values)
    mean, deviation = features.standardise(described, raw, group_weight)
    record: dict[str, Any] = {
        "name": "segments",
        "source": source,
        "inputs": described,
        "features": titles,
        "region": region if "region" in chosen else None,
        "parameters": {"mean": mean.tolist(), "deviation": deviation.tolist()},
        "fit": facts | {"descriptors": list(descriptors), "group_weight": group_weight},
    }
    before = previous if previous and numbering.is_same_kind(record, previous) else None
    scaled = (raw - mean) / deviation
    elbow = _elbow(scaled, seed, starts)
    k, why = _choose(k, before, elbow)
    _enough(scaled, k)
    centroids, fitted = _centroids(titles, scaled, k, seed, starts)
    record["parameters"]["centroids"] = centroids
    record["fit"] |= fitted | {"chosen": why, "elbow": elbow, "names_asked": list(names)}
    labels = _number(record, scaled, values, names, before, from_run)
    sampled = clusters.silhouettes(
        scaled[: clusters.SILHOUETTE_SAMPLE], [labels[: clusters.SILHOUETTE_SAMPLE]]
    )
    record["fit"] |= {
        "silhouette": sampled[0],
        "stability": _stability(scaled, labels, k, seed, starts),
        "began_at": began.isoformat(timespec="milliseconds"),
        "ended_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    said = [record["names"][label] for label in labels[: shown.SAMPLE]]
    return record | {
        "sample": shown.sample(titles, raw, segment=labels, segment_name=said),
        "card": _card(record),
    }


def _check(k: int | None, names: Sequence[str], group_weight: float) -> None:
    if k is not None and k < 2:
        raise ConfigurationError(
            "subscribers cannot be divided into so few segments", found=str(k), expected="2 or more"
        )
    if not group_weight > 0:
        raise ConfigurationError(
            "the weight of a group of texts is out of range", found=f"{group_weight:g}", expected="above 0"
        )
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ConfigurationError(
            "the names of the segments cannot be told apart",
            found=", ".join(names),
            expected="names that differ, none of them empty",
            do="set segment_names to such a list",
        )


def _read(name: str, column: Any, region: str) -> Any:
    """A column as it is used: region is a category unless it is to be a number."""
    if name != "region":
        return features.read(column, features.kind_of(column))
    if region == "one-hot":
        return features.read(column, "text")
    texts = features.read(column, "text")
    wrong = sorted(
        {text for text in texts if text is not None and features.number(text) != features.number(text)}
    )
    if wrong:
        raise ConfigurationError(
            "region cannot be used as a number",
            found=", ".join(wrong[:5]),
            expected="numbers only",
            do='set segment_region = "one-hot"',
        )
    return features.read(texts, "number")


def _whole(columns: Mapping[str, Any]) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """The inputs that vary, their values where none is lacking, and what was left out."""
    import numpy as np

    constant: dict[str, Any] = {}
    while True:
        chosen = [name for name in columns if name not in constant]
        masks = {name: features.known(columns[name]) for name in chosen}
        rows = np.logical_and.reduce(list(masks.values()))
        values = {name: _where(columns[name], rows) for name in chosen}
        if not rows.any():
            raise ConfigurationError(
                "no subscriber has every input of the segments",
                found=", ".join(f"{int((~mask).sum()):,} lack {name}" for name, mask in masks.items()),
                expected="subscribers with all of them",
                do="leave out the inputs that few have",
            )
        flat = {name: _plain(column[0]) for name, column in values.items() if _is_flat(column)}
        constant |= flat
        if len(flat) == len(chosen):
            raise ConfigurationError(
                "subscribers cannot be divided: no input varies",
                found=", ".join(f"{name} = {value}" for name, value in constant.items()),
                expected="an input in which subscribers differ",
                do="name other inputs",
            )
        if not flat:
            break
    lacking = {name: int((~mask).sum()) for name, mask in masks.items()}
    facts = {"lacking": lacking, "lacking_rows": int((~rows).sum()), "constant": constant}
    return chosen, values, facts


def _where(column: Any, rows: Any) -> Any:
    if isinstance(column, list):
        return [value for value, whole in zip(column, rows.tolist(), strict=True) if whole]
    return column[rows]


def _is_flat(column: Any) -> bool:
    return len(set(column)) < 2 if isinstance(column, list) else bool(column.max() == column.min())


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


def _elbow(scaled: Matrix, seed: int, starts: int) -> dict[str, Any]:
    _enough(scaled, 2)
    return clusters.elbow(scaled, seed=seed, starts=starts, standardise=False)


def _choose(
    k: int | None, before: Mapping[str, Any] | None, elbow: Mapping[str, Any]
) -> tuple[int, Literal["asked", "previous", "elbow", "least"]]:
    """How many segments, and what said so: names must survive a refit, so it keeps their number."""
    if k is not None:
        return k, "asked"
    if before is not None:
        return len(before["names"]), "previous"
    return (elbow["elbow_k"], "elbow") if elbow["elbow_k"] > 1 else (2, "least")


def _enough(scaled: Matrix, k: int) -> None:
    if len(scaled) < _ROWS_A_SEGMENT * k:
        raise ConfigurationError(
            f"too few subscribers for {k} segments",
            found=f"{len(scaled)} with every input",
            expected=f"{_ROWS_A_SEGMENT * k} or more",
            do="bring more subscribers, or ask for fewer segments",
        )
    if not _differ(scaled, k):
        raise ConfigurationError(
            f"too few subscribers differ for {k} segments",
            expected=f"{k} or more different ones",
            do="name inputs in which they differ, or ask for fewer segments",
        )


def _differ(scaled: Matrix, k: int) -> bool:
    import numpy as np

    return any(len(np.unique(some, axis=0)) >= k for some in (scaled[:1000], scaled))


def _centroids(
    titles: Sequence[str], scaled: Matrix, k: int, seed: int, starts: int
) -> tuple[list[list[float]], dict[str, Any]]:
    """k-means on values that are standardised already; the numbers come later."""
    import numpy as np

    found = clusters.fit(
        "segments", titles, scaled, k,
        badness=lambda centroids: np.zeros(len(centroids)), seed=seed, starts=starts, standardise=False,
    )  # fmt: skip
    return found["parameters"]["centroids"], found["fit"]


def _number(
    record: dict[str, Any],
    scaled: Matrix,
    values: Mapping[str, Any],
    names: Sequence[str],
    before: Mapping[str, Any] | None,
    from_run: str | None,
) -> Matrix:
    """Puts the segments in order, names them in the record, and tells each row's number."""
    import numpy as np

    centroids = np.asarray(record["parameters"]["centroids"])
    k = len(centroids)
    labels = placing.labels_of(placing.squared(scaled, centroids))
    order_by, value = numbering.ordered(values, labels, k)
    order = sorted(range(k), key=lambda i: (-value[i], i))
    matched, given = None, [numbering.title(i, names) for i in range(k)]
    if before is not None:
        record["parameters"]["centroids"] = centroids[order].tolist()
        numbers, moved = numbering.match(record, before)
        after, given = numbering.kept(numbers, before, names)
        order = [order[i] for i in after]
        matched = {
            "from_run": from_run,
            "k_before": len(before["names"]),
            "numbers": [numbers[i] for i in after],
            "distances": [moved[i] for i in after],
        }
    record["parameters"]["centroids"] = centroids[order].tolist()
    labels = np.asarray(np.argsort(order)[labels])
    record |= {"names": given, "order": order_by, "matched": matched}
    record["fit"] |= {
        "order_values": [value[i] for i in order],
        "sizes": np.bincount(labels, minlength=k).tolist(),
    }
    return labels


def _stability(scaled: Matrix, labels: Matrix, k: int, seed: int, starts: int) -> dict[str, Any]:
    """How well fits to bootstrap resamples (Efron 1979) agree with this one on the same subscribers.

    The adjusted Rand index of both, over the first subscribers by hash.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    judged, agreed = slice(0, _RESAMPLED), []
    for turn in range(_RESAMPLES):
        rows = scaled[random.integers(0, len(scaled), min(len(scaled), _RESAMPLED))]
        if not _differ(rows, k):
            continue
        centroids = clusters.k_means(rows, k, seed + turn, starts)[1].cluster_centers_
        again = placing.labels_of(placing.squared(scaled[judged], centroids))
        agreed.append(clusters.adjusted_rand(labels[judged], again))
    low, high = np.quantile(agreed, [0.025, 0.975]).tolist() if agreed else (None, None)
    return {
        "mean": float(np.mean(agreed)) if agreed else None,
        "low": low,
        "high": high,
        "resamples": len(agreed),
        "rows": min(len(scaled), _RESAMPLED),
    }


def _card(record: Mapping[str, Any]) -> dict[str, str]:
    asked = ", ".join(one["name"] for one in record["inputs"])
    return {
        "purpose": f"divide subscribers into {len(record['names'])} groups that are alike in {asked}",
        "limits": "groups describe and do not explain; who lacks an input is in none, and a group's edge is "
        "no break in the data: look at the silhouette and the stability before acting on it",
    }
