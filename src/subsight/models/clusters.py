"""k-means on z-scores, with the elbow and the silhouette beside it.

Clusters are numbered by their centroids, never by chance: an ordering says which is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from subsight.models import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = [
    "ELBOW_K",
    "SILHOUETTE_SAMPLE",
    "adjusted_rand",
    "elbow",
    "fit",
    "k_means",
    "nearest",
    "silhouettes",
]

ELBOW_K: Final = tuple(range(1, 11))
SILHOUETTE_SAMPLE: Final = 10_000
_FOLLOWED: Final = 3
_SLICE: Final = 250


def fit(
    name: str,
    features: Sequence[str],
    values: Matrix,
    k: int,
    *,
    badness: Callable[[Matrix], Matrix],
    seed: int,
    starts: int,
    standardise: bool = True,
) -> dict[str, Any]:
    """A k-means fit record; cluster 0 has the highest `badness` of its centroid.

    Args:
        values: one row per subscriber, one column per feature, no missing values.
        badness: from centroids (k x features, in z units) to one number each.
        standardise: whether features become z-scores (population standard deviation) first.
    """
    import numpy as np

    began = datetime.now(UTC)
    mean = values.mean(axis=0) if standardise else np.zeros(values.shape[1])
    deviation = values.std(axis=0) if standardise else np.ones(values.shape[1])
    deviation = np.where(deviation > 0, deviation, 1.0)
    scaled = (values - mean) / deviation
    first, model = k_means(scaled, k, seed, starts)
    order = np.argsort(-badness(model.cluster_centers_), kind="stable")
    centroids, rank = model.cluster_centers_[order], np.argsort(order)
    badly = badness(centroids)
    return {
        "name": name,
        "features": list(features),
        "parameters": {
            "mean": mean.tolist(),
            "deviation": deviation.tolist(),
            "centroids": centroids.tolist(),
            "worst": 0,
            "best": int(np.argmin(badly)),
        },
        "sample": shown.sample(features, values, cluster=rank[model.labels_[: shown.SAMPLE]]),
        "fit": {
            "rows": len(values),
            "inertia": float(model.inertia_),
            "iterations": int(model.n_iter_),
            "convergence": _convergence(scaled, first, int(model.n_iter_)),
            "starts": starts,
            "seed": seed,
            "began_at": began.isoformat(timespec="milliseconds"),
            "ended_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        },
    }


def elbow(values: Matrix, *, seed: int, starts: int, standardise: bool = True) -> dict[str, Any]:
    """Inertia for k = 1 to 10 on z-scores, the elbow's k, and the silhouette on a stated sample.

    Without `standardise` the values are used as they are, centred and weighted already.

    The elbow is the point farthest from the chord between the first and the last (Satopaa et al.
    2011, Kneedle, on the normalised curve). Each k grows from the one before (see `_growing`). The
    rows are expected in hash order, so the sample is their beginning.
    """
    import numpy as np

    deviation = values.std(axis=0) if standardise else np.ones(values.shape[1])
    scaled = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    sample = scaled[:SILHOUETTE_SAMPLE]
    ks = [k for k in ELBOW_K if k <= len(np.unique(sample, axis=0))]
    several = [k for k in ks if k > 1]
    inertia, labels = [float((scaled**2).sum())], []
    for model in _growing(scaled, several, seed, starts):
        inertia.append(float(model.inertia_))
        labels.append(model.labels_[: len(sample)])
    measured = silhouettes(sample, labels)
    return {
        "k": ks,
        "inertia": inertia,
        "elbow_k": ks[_knee(inertia)],
        "silhouette_k": several,
        "silhouette": measured,
        "silhouette_best_k": several[measured.index(max(measured))] if measured else 1,
        "silhouette_sample": len(sample),
    }


def silhouettes(sample: Matrix, labellings: Sequence[Matrix]) -> list[float]:
    """The mean silhouette of several clusterings of one sample (Rousseeuw 1987).

    The same numbers as scikit-learn's, from one pass over the distances instead of one per
    clustering, and never more than a slice of them in memory.
    """
    import numpy as np
    from scipy.spatial.distance import cdist

    if not labellings:
        return []
    belongs = [np.eye(labels.max() + 1)[labels] for labels in labellings]
    edges = np.cumsum([0, *(one.shape[1] for one in belongs)])
    together = np.hstack(belongs)
    sizes = together.sum(axis=0)
    totals = np.zeros(len(labellings))
    for begin in range(0, len(sample), _SLICE):
        rows = slice(begin, begin + _SLICE)
        sums = cdist(sample[rows], sample) @ together
        for i, one in enumerate(belongs):
            mine, part = one[rows].astype(bool), slice(edges[i], edges[i + 1])
            own = sizes[part][mine.argmax(axis=1)]
            inside = sums[:, part][mine] / np.maximum(own - 1, 1)
            outside = np.where(mine | (sizes[part] == 0), np.inf, sums[:, part] / np.maximum(sizes[part], 1))
            nearest_other, alone = outside.min(axis=1), own == 1
            largest = np.maximum(inside, nearest_other)
            width = np.where(largest > 0, (nearest_other - inside) / np.where(largest > 0, largest, 1), 0)
            totals[i] += width[~alone & np.isfinite(nearest_other)].sum()
    return [float(total) / len(sample) for total in totals]


def k_means(scaled: Matrix, k: int, seed: int, starts: int) -> tuple[Matrix, Any]:
    """The best of several k-means++ starts (Arthur and Vassilvitskii 2007): where it began, and its fit."""
    import numpy as np
    from sklearn.cluster import KMeans, kmeans_plusplus
    from threadpoolctl import threadpool_limits

    random = np.random.RandomState(seed)
    with threadpool_limits(1):
        firsts = [kmeans_plusplus(scaled, k, random_state=random)[0] for _ in range(starts)]
        models = [KMeans(k, init=first, n_init=1).fit(scaled) for first in firsts]
    best = min(range(starts), key=lambda start: models[start].inertia_)
    return firsts[best], models[best]


def _convergence(scaled: Matrix, centroids: Matrix, iterations: int) -> list[float]:
    """Inertia at the beginning of each iteration of Lloyd's algorithm, and at its end."""
    import numpy as np
    from scipy.spatial.distance import cdist

    inertia = []
    for _ in range(iterations + 1):
        distances = cdist(scaled, centroids, "sqeuclidean")
        labels = distances.argmin(axis=1)
        inertia.append(float(distances[np.arange(len(scaled)), labels].sum()))
        sizes = np.bincount(labels, minlength=len(centroids))
        sums = [np.bincount(labels, weights, len(centroids)) for weights in scaled.T]
        means = np.column_stack(sums) / np.maximum(sizes, 1)[:, None]
        centroids = np.where(sizes[:, None] > 0, means, centroids)
    return inertia


def _growing(scaled: Matrix, ks: Sequence[int], seed: int, starts: int) -> Iterator[Any]:
    """A k-means model for each k from 2 on: the centroids of k - 1 and one point more.

    As in global k-means (Likas, Vlassis and Verbeek 2003), so that inertia never rises with k. Of
    `starts` points drawn as k-means++ draws them, those three that lower the inertia most are
    followed to the end: within 3.1% of the inertia of ten random starts for each k of the real
    extract (four seeds), in a third of their time.
    """
    import numpy as np
    from scipy.spatial.distance import cdist
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(seed)
    centroids = scaled.mean(axis=0, keepdims=True)
    for k in ks:
        away = cdist(scaled, centroids, "sqeuclidean").min(axis=1, keepdims=True)
        drawn = scaled[random.choice(len(scaled), starts, p=away[:, 0] / away.sum())]
        left = np.minimum(away, cdist(scaled, drawn, "sqeuclidean")).sum(axis=0)
        best = drawn[np.argsort(left, kind="stable")[:_FOLLOWED]]
        with threadpool_limits(1):
            models = [KMeans(k, init=np.vstack([centroids, one]), n_init=1).fit(scaled) for one in best]
        model = min(models, key=lambda one: one.inertia_)
        centroids = model.cluster_centers_
        yield model


def _knee(inertia: Sequence[float]) -> int:
    """The index whose point lies farthest below the chord of the normalised curve."""
    last, drop = len(inertia) - 1, inertia[0] - inertia[-1]
    if last < 2 or drop <= 0:
        return 0
    gaps = [1 - i / last - (value - inertia[-1]) / drop for i, value in enumerate(inertia)]
    return gaps.index(max(gaps))


def nearest(values: Matrix, parameters: dict[str, Any]) -> Matrix:
    """The cluster number of each row: the same rule as the engine's, ties to the lower number."""
    import numpy as np

    scaled = (values - np.asarray(parameters["mean"])) / np.asarray(parameters["deviation"])
    centroids = np.asarray(parameters["centroids"])
    distances = ((scaled[:, None, :] - centroids[None, :, :]) ** 2).sum(axis=2)
    labels: Matrix = distances.argmin(axis=1)
    return labels


def adjusted_rand(a: Matrix, b: Matrix) -> float:
    """Agreement of two clusterings: 1 for the same, about 0 for chance (Hubert and Arabie 1985)."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(a, b))
