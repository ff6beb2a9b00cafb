"""Principal components of application volumes, from their correlation matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from subsight.models import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["fit"]


def fit(features: Sequence[str], values: NDArray[np.float64]) -> dict[str, Any]:
    """A fit record of PCA on z-scores (Jolliffe 2002, section 2.3: the correlation matrix's eigenvectors).

    Components are rows, by explained share; each one's sign makes its largest loading positive.
    A feature that never varies is left out.
    """
    import numpy as np

    kept = [i for i, spread in enumerate(values.std(axis=0)) if spread > 0]
    matrix = np.atleast_2d(np.corrcoef(values[:, kept], rowvar=False))
    shares, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-shares, kind="stable")
    components = vectors[:, order].T
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    mean, deviation = values[:, kept].mean(axis=0), values[:, kept].std(axis=0)
    made = (values[: shown.SAMPLE, kept] - mean) / deviation @ components.T
    return {
        "name": "components",
        "features": [features[i] for i in kept],
        "parameters": {
            "mean": mean.tolist(),
            "deviation": deviation.tolist(),
            "components": components.tolist(),
        },
        "sample": shown.sample(
            [features[i] for i in kept],
            values[:, kept],
            **{f"component_{i}": column for i, column in enumerate(made.T, 1)},
        ),
        "fit": {"rows": len(values), "explained_share": (shares[order] / shares.sum()).tolist()},
        "card": {
            "purpose": "how many independent habits the application volumes really hold",
            "limits": "linear; of volumes per subscriber, so overall use weighs on every application",
        },
    }
