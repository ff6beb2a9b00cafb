"""A segmentation made by hand, with answers that can be computed by hand, and a run that holds it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from subsight.workspace import Workspace

NAMES = ["Platinum", "Gold", "Silver", "Diamond"]
INPUTS = ("region", "tenure_days", "ul_kilobytes", "dl_kilobytes")
MEAN = [2.0, 1500.0, 20_000_000.0, 200_000_000.0]
DEVIATION = [0.5, 1000.0, 10_000_000.0, 100_000_000.0]
# In z units: far tenure and much volume, much volume, far tenure, and the rest. Numbers are exact in binary.
CENTROIDS = [[0.0, 0.5, -0.25, -0.25], [0.0, 0.0, 3.0, 3.0], [0.0, 3.0, 0.0, 0.0], [-1.5, -0.5, -0.5, -0.5]]

RECORD: dict[str, Any] = {
    "name": "segments",
    "source": "subscribers",
    "inputs": [{"name": name, "kind": "number"} for name in INPUTS],
    "features": list(INPUTS),
    "region": "numeric",
    "parameters": {"mean": MEAN, "deviation": DEVIATION, "centroids": CENTROIDS},
    "names": NAMES,
    "order": ["tenure_days", "total volume"],
    "matched": None,
    "sample": [],
    "fit": {"rows": 10},
    "card": {"purpose": "made by hand"},
}
LEVELS = ["1", "2", "3"]
# One column a region: shares 0.25, 0.5, 0.25, one common deviation.
ONE_HOT: dict[str, Any] = {
    **copy.deepcopy(RECORD),
    "inputs": [
        {"name": "region", "kind": "text", "levels": LEVELS, "numeric": {"mean": 2.0, "deviation": 0.5}},
        {"name": "tenure_days", "kind": "number"},
    ],
    "features": ["region=1", "region=2", "region=3", "tenure_days"],
    "region": "one-hot",
    "parameters": {
        "mean": [0.25, 0.5, 0.25, 1500.0],
        "deviation": [0.5, 0.5, 0.5, 1000.0],
        "centroids": [[-0.5, -1.0, 1.5, 0.0], [1.5, -1.0, -0.5, 0.0], [-0.5, 1.0, -0.5, 2.0]],
    },
    "names": NAMES[:3],
}
# The published sample, standardised: with the centroids above rows 0, 2, 8 and 19 lie near a tenure of 3,
# row 14 near none but the first.
PUBLISHED = [
    [-0.620809153, 3.00400887, -0.459748222, -0.536581812],
    [0.383167807, 2.750716471, 0.761938785, 1.025837336],
    [0.383167807, 2.929115104, -0.02383975, -0.389644752],
    [0.383167807, -0.076733565, 0.179874477, 0.657641188],
    [0.383167807, 2.239924158, 0.108788231, 0.152037032],
]
SEGMENTS = [2, 2, 2, 0, 2]

PSEUDONYMS = ["0" * 31 + str(i) for i in range(3)]
ROWS = [
    # (2 - 2) / 0.5, (2000 - 1500) / 1000, ...: exactly the first centroid.
    {"region": 2.0, "tenure_days": 2000.0, "ul_kilobytes": 17_500_000.0, "dl_kilobytes": 175_000_000.0},
    {"region": 2.0, "tenure_days": 4500.0, "ul_kilobytes": 20_000_000.0, "dl_kilobytes": 200_000_000.0},
    {"region": 2.0, "tenure_days": None, "ul_kilobytes": 20_000_000.0, "dl_kilobytes": 200_000_000.0},
]
TABLE: list[dict[str, Any]] = [
    {
        "subscriber_id": PSEUDONYMS[0], "segment": 0, "segment_name": "Platinum", "distance": 0.0,
        "runner_up_name": "Diamond", "runner_up_distance": 1.8371173070873836, "lacking": None,
    },
    {
        "subscriber_id": PSEUDONYMS[1], "segment": 2, "segment_name": "Silver", "distance": 0.0,
        "runner_up_name": "Platinum", "runner_up_distance": 2.5248762345905196, "lacking": None,
    },
    {
        "subscriber_id": PSEUDONYMS[2], "segment": None, "segment_name": None, "distance": None,
        "runner_up_name": None, "runner_up_distance": None, "lacking": "tenure_days",
    },
]  # fmt: skip


def published(workspace: Workspace, record: dict[str, Any] = RECORD) -> Path:
    """Publishes a run that holds nothing but a segmentation and three subscribers."""
    with workspace.staged_run() as folder:
        for name in ("tables", "models"):
            (folder / name).mkdir()
        manifest = {"run": "by hand", "settings": {"minimum_group": 15}, "studies": {}, "tables": {}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        add(folder, record)
    return workspace.run()


def add(folder: Path, record: dict[str, Any] = RECORD, first: str = PSEUDONYMS[0]) -> None:
    """Writes a segmentation into a run; `first` is the pseudonym of its first subscriber."""
    rows = [told | row for told, row in zip(TABLE, ROWS, strict=True)]
    rows[0]["subscriber_id"] = first
    pq.write_table(pa.Table.from_pylist(rows), folder / "tables" / "segments.parquet")
    (folder / "models" / "segments.json").write_text(json.dumps(record))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tables"]["segments"] = {"rows": 3, "file": "segments.parquet"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
