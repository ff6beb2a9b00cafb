"""End to end on one xDR extract: `subsight run` beside the notebook-style baseline, in one session.

    uv run --group benchmark python benchmarks/compare.py telcom_data.csv --rounds 3

The two take turns, each in a process and a workspace of its own, so that a machine that slows down
slows both. Printed: wall time and peak memory of each, their ratio pair by pair, where Subsight's time
goes beside the floor (DuckDB reading that CSV), and every setting in which the two differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DIFFERENCES = (
    "answers: Subsight also writes a decision memo, data quality, definitions and Parquet tables",
    "identifiers: Subsight replaces MSISDN, IMSI and IMEI by HMAC-SHA256 pseudonyms; the baseline keeps them",
    "silhouette: the same 10,000-subscriber sample size; Subsight computes all k in one pass over distances",
    "k-means: the groups by the same scikit-learn KMeans with ten starts; for the elbow Subsight grows each "
    "k from the one before (the best 3 of 10 drawn points are followed), the baseline starts each ten times",
    "charts: Vega-Lite to SVG against matplotlib and seaborn to SVG",
    "durability: Subsight hashes the input, fsyncs and publishes atomically; the baseline writes files",
)

FLOOR = (
    "import duckdb, sys, time; t = time.perf_counter(); "
    'duckdb.connect().execute("CREATE TABLE t AS SELECT * FROM read_csv(?, all_varchar = true)", '
    "[sys.argv[1]]); print(time.perf_counter() - t)"
)


def measured(command: list[str], log: Path) -> tuple[float, float]:
    """Wall seconds of a command, and the peak resident memory (MB) of all its processes together."""
    peak = 0.0
    with log.open("w") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{command[0]} failed:\n{log.read_text()[-3000:]}")
    return seconds, peak


def resident(pid: int, parent: bytes = b"") -> float:
    """Resident megabytes of a process and its descendants at this moment; 0 where it has ended.

    A child that is not yet another program (vfork) is left out: its memory is its parent's.
    """
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if command == parent:
            return 0.0
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(resident(child, command) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    here = Path(__file__).parent
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    stages: list[dict[str, float]] = []
    floors: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(arguments.rounds):
            workspace, log = Path(scratch) / f"ws{i}", Path(scratch) / "log"
            run = ["-m", "subsight", "run", str(arguments.csv), "--workspace", str(workspace)]
            ours.append(measured([sys.executable, *run], log))
            stages.append(json.loads((workspace / "current" / "manifest.json").read_text())["timings"])
            baseline = [str(here / "notebook_baseline.py"), str(arguments.csv), str(Path(scratch) / "out")]
            theirs.append(measured([sys.executable, *baseline], log))
            floor = subprocess.run(
                [sys.executable, "-c", FLOOR, str(arguments.csv)], capture_output=True, text=True, check=True
            )
            floors.append(float(floor.stdout))
            print(
                f"round {i + 1}: subsight {ours[-1][0]:.1f} s, baseline {theirs[-1][0]:.1f} s, "
                f"ratio {theirs[-1][0] / ours[-1][0]:.2f}",
                flush=True,
            )
    print(f"\n{'':24}{'min':>8}{'median':>8}{'max':>8}")
    for name, values in (
        ("subsight run, s", [s for s, _ in ours]),
        ("baseline, s", [s for s, _ in theirs]),
        ("baseline / subsight", [b[0] / a[0] for a, b in zip(ours, theirs, strict=True)]),
        ("subsight peak, MB", [m for _, m in ours]),
        ("baseline peak, MB", [m for _, m in theirs]),
        ("floor: DuckDB reads, s", floors),
    ):
        print(f"{name:24}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")
    print("\nwhere Subsight's time goes (median seconds; the rest is start-up and imports)")
    for stage in stages[0]:
        print(f"  {stage:22}{statistics.median(s[stage] for s in stages):8.2f}")
    print("\nin what the two differ")
    for line in DIFFERENCES:
        print(f"  {line}")


if __name__ == "__main__":
    main()
