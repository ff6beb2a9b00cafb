"""A published run whose truth is known: satisfaction follows from one habit only."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from subsight.workspace import Workspace

BANDS = [
    *(
        f"dl_{band}_share"
        for band in ("below_50_kbps", "50_to_250_kbps", "250_to_1000_kbps", "above_1000_kbps")
    ),
    *(f"ul_{band}_share" for band in ("below_10_kbps", "10_to_50_kbps", "50_to_300_kbps", "above_300_kbps")),
]


def publish(
    workspace: Workspace,
    *,
    effect: float,
    noise: float = 0.5,
    rows: int = 4000,
    seed: int = 1,
    nights: tuple[float, float] = (0.0, 1.0),
) -> None:
    """A run in which satisfaction is 2 + effect * night share + noise, and nothing else matters.

    Night shares are uniform between `nights`.
    """
    rng = np.random.default_rng(seed)
    ids = sorted(hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(rows))
    night = rng.uniform(*nights, rows)
    satisfaction = 2 + effect * night + noise * rng.normal(size=rows)
    profiles = {
        "subscriber_id": ids,
        "total_bytes": np.full(rows, 100.0),
        "app_web_bytes": rng.uniform(0, 100, rows),
        "night_share": night,
        **{
            name: rng.uniform(0, 1, rows)
            for name in ("morning_share", "afternoon_share", "evening_share", *BANDS)
        },
        "activity_dl_ms": rng.uniform(0, 1e6, rows),
        "activity_ul_ms": rng.uniform(0, 1e6, rows),
        "handset_manufacturer": rng.choice(["Apple", "Nokia"], rows).tolist(),
    }
    scores = {
        "subscriber_id": ids,
        "engagement_score": satisfaction + 1,
        "experience_score": satisfaction - 1,
        "satisfaction_score": satisfaction,
    }
    with workspace.staged_run() as folder:
        (folder / "tables").mkdir()
        for name, columns in (("profiles", profiles), ("satisfaction", scores)):
            pq.write_table(pa.table(columns), folder / "tables" / f"{name}.parquet")
        manifest = {
            "run": folder.name.removeprefix(".staged-"),
            "inputs": [{"content": "0123456789abcdef"}],
            "applications": [{"slug": "web", "name": "Web"}],
            "tables": {name: {"file": f"tables/{name}.parquet"} for name in ("profiles", "satisfaction")},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
