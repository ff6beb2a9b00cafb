"""Engagement, experience and satisfaction as distances to the worst cluster.

A score is the Euclidean distance, in z units, to the centroid of the worst cluster; because someone
worse than the worst centroid is far from it too, each score has a direction-aware index beside it,
100 clip(((x - w).(b - w)) / |b - w|^2, 0, 1), with w the worst and b the best centroid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from subsight.models import clusters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = [
    "ENGAGEMENT",
    "EXPERIENCE",
    "SATISFACTION",
    "compare_observed",
    "fit_engagement",
    "fit_experience",
    "fit_satisfaction",
    "scores",
]

ENGAGEMENT: Final = ("session_count", "duration_s", "total_bytes")
EXPERIENCE: Final = ("tcp_retransmission_bytes", "rtt_ms", "throughput_kbps")
SATISFACTION: Final = ("engagement_score", "experience_score")


def fit_engagement(values: Matrix, *, seed: int, starts: int) -> dict[str, Any]:
    """k = 3 on sessions, duration and traffic; cluster 0 is the least engaged (lowest mean z)."""
    record = clusters.fit(
        "engagement", ENGAGEMENT, values, 3,
        badness=lambda z: -z.mean(axis=1), seed=seed, starts=starts,
    )  # fmt: skip
    return _scored(record, values) | {
        "card": {
            "purpose": "group subscribers by use, and score how far each is from the least engaged",
            "limits": "raw volumes: heavy users pull the groups; totals depend on the period's length",
        }
    }


def fit_experience(values: Matrix, *, seed: int, starts: int, name: str = "experience") -> dict[str, Any]:
    """k = 3 on retransmission, RTT and throughput; 0 has the highest z(TCP) + z(RTT) - z(throughput)."""
    record = clusters.fit(
        name, EXPERIENCE, values, 3,
        badness=lambda z: z[:, 0] + z[:, 1] - z[:, 2], seed=seed, starts=starts,
    )  # fmt: skip
    return _scored(record, values) | {
        "card": {
            "purpose": "group subscribers by network quality, and score the distance from the worst served",
            "limits": "treated means: where measurements are missing, much of a value is fill-in",
        }
    }


def fit_satisfaction(values: Matrix, *, seed: int, starts: int) -> dict[str, Any]:
    """k = 2 on the two scores as they are; cluster 0 is the less satisfied (lower mean of the two)."""
    record = clusters.fit(
        "satisfaction", SATISFACTION, values, 2,
        badness=lambda c: -c.mean(axis=1), seed=seed, starts=starts, standardise=False,
    )  # fmt: skip
    return record | {
        "card": {
            "purpose": "divide subscribers into the less and the more satisfied",
            "limits": "satisfaction is defined from use and network measurements; no subscriber was asked",
        }
    }


def compare_observed(everyone: dict[str, Any], observed: dict[str, Any], values: Matrix) -> dict[str, Any]:
    """How much changes when subscribers who were never fully observed are left out of the fit.

    Both models score the same observed subscribers; `values` are theirs.
    """
    import numpy as np

    first, second = (clusters.nearest(values, m["parameters"]) for m in (everyone, observed))
    one, other = (scores(values, m["parameters"])[0] for m in (everyone, observed))
    spread = one.std() > 0 and other.std() > 0
    return {
        "subscriber_count": len(values),
        "rand_index": clusters.adjusted_rand(first, second),
        "same_cluster_share": float((first == second).mean()),
        "score_correlation": float(np.corrcoef(one, other)[0, 1]) if spread else None,
    }


def _scored(record: dict[str, Any], values: Matrix) -> dict[str, Any]:
    """The record with the score and the index in its sample."""
    score, index = scores(values[: len(record["sample"])], record["parameters"])
    made = zip(record["sample"], score.tolist(), index.tolist(), strict=True)
    return record | {"sample": [{**row, "score": one, "index": other} for row, one, other in made]}


def scores(values: Matrix, parameters: dict[str, Any]) -> tuple[Matrix, Matrix]:
    """The score and the index of each row, as `in_engine` computes them."""
    import numpy as np

    scaled = (values - np.asarray(parameters["mean"])) / np.asarray(parameters["deviation"])
    worst = np.asarray(parameters["centroids"][parameters["worst"]])
    best = np.asarray(parameters["centroids"][parameters["best"]])
    distance = np.sqrt(((scaled - worst) ** 2).sum(axis=1))
    direction = best - worst
    reach = max(float(direction @ direction), 1e-300)
    index = 100 * np.clip(((scaled - worst) @ direction) / reach, 0, 1)
    return distance, index
