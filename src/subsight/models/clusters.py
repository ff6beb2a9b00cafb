"""k-means on z-scores, with the elbow and the silhouette beside it.

Clusters are numbered by their centroids, never by chance: an ordering says which is 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["ELBOW_K", "adjusted_rand", "elbow", "fit", "nearest"]

ELBOW_K: Final = tuple(range(1, 11))
_SILHOUETTE_SAMPLE: Final = 10_000
_THREADS: Final = 2


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

    began = time.perf_counter()
    mean = values.mean(axis=0) if standardise else np.zeros(values.shape[1])
    deviation = values.std(axis=0) if standardise else np.ones(values.shape[1])
    deviation = np.where(deviation > 0, deviation, 1.0)
    model = _k_means((values - mean) / deviation, k, seed, starts)
    order = np.argsort(-badness(model.cluster_centers_), kind="stable")
    centroids = model.cluster_centers_[order]
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
        "fit": {
            "rows": len(values),
            "inertia": float(model.inertia_),
            "iterations": int(model.n_iter_),
            "starts": starts,
            "seed": seed,
            "seconds": round(time.perf_counter() - began, 3),
        },
    }


def elbow(values: Matrix, *, seed: int, starts: int) -> dict[str, Any]:
    """Inertia for k = 1 to 10 on z-scores, the elbow's k, and the silhouette on a stated sample.

    The elbow is the point farthest from the chord between the first and the last (Satopaa et al.
    2011, Kneedle, on the normalised curve). The rows are expected in hash order, so the sample is
    their beginning.
    """
    import numpy as np
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    deviation = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    ks = [k for k in ELBOW_K if k <= len(np.unique(scaled[:_SILHOUETTE_SAMPLE], axis=0))]
    # The largest k first: it takes longest, and two threads then end together.
    with threadpool_limits(1), ThreadPoolExecutor(_THREADS) as pool:
        models = dict(
            zip(
                reversed(ks), pool.map(lambda k: _k_means(scaled, k, seed, starts), reversed(ks)), strict=True
            )
        )
        sample = scaled[:_SILHOUETTE_SAMPLE]

        def silhouette(k: int) -> float:
            labels = models[k].predict(sample)
            return float(silhouette_score(sample, labels)) if len(set(labels)) > 1 else 0.0

        silhouettes = list(pool.map(silhouette, [k for k in ks if k > 1]))
    inertia = [float(models[k].inertia_) for k in ks]
    best = int(np.argmax(silhouettes)) if silhouettes else 0
    return {
        "k": ks,
        "inertia": inertia,
        "elbow_k": ks[_knee(inertia)],
        "silhouette_k": [k for k in ks if k > 1],
        "silhouette": silhouettes,
        "silhouette_best_k": [k for k in ks if k > 1][best] if silhouettes else 1,
        "silhouette_sample": len(sample),
    }


def _k_means(scaled: Matrix, k: int, seed: int, starts: int) -> Any:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return KMeans(n_clusters=k, n_init=starts, random_state=seed).fit(scaled)


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
