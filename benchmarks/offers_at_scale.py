"""Offers for a whole population: ingest, training, and `recommend --all`, each in a process of its own.

The baselines are what one would write without Subsight: MiniSom's `winner` for one subscriber after another
on the same encoded usage and the same nodes, then the first valid offer of the node that the subscriber does
not have, in a Python loop (over a sample, scaled up); and, as a floor, DuckDB copying the usage file.

    uv run python benchmarks/offers_at_scale.py --subscribers 1000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DAY = "2026-06-01"
SAMPLE = 20_000
STEPS = ("ingest", "train", "recommend")


def insight(folder: Path) -> Any:
    from subsight import Insight

    return Insight.open(folder / "ws", as_of=DAY)


def ingest(folder: Path) -> None:
    for kind, name in (
        ("usage", "dpi_usage.parquet"),
        ("offers", "offers.csv"),
        ("purchases", "purchases.parquet"),
    ):
        insight(folder).ingest(folder / "made" / name, kind=kind)


def train(folder: Path) -> None:
    insight(folder).train_offers()


def recommend(folder: Path) -> None:
    insight(folder).recommend_all()


def loop(folder: Path) -> float:
    """Seconds of the loop over a sample."""
    import pyarrow.parquet as pq
    from minisom import MiniSom

    from subsight.models.offers.recommender import Recommender

    opened = insight(folder)
    results = opened.results
    recommender = Recommender(results.models()["offers"])
    (batch,) = opened.workspace.batches("dpi_usage")
    table = pq.ParquetFile(batch.rows).read_row_group(0).slice(0, SAMPLE)
    z = recommender.scaled(table)
    grid = recommender.grid
    som = MiniSom(grid.columns, grid.rows, z.shape[1], topology="rectangular", random_seed=1)
    som._weights = recommender._map.weights_.reshape(grid.rows, grid.columns, -1).transpose(1, 0, 2).copy()
    order, offers = recommender.order, recommender.offered.offers
    valid = {
        o for o, s in zip(offers, recommender.catalogue.states(recommender.at), strict=True) if s == "valid"
    }
    held: dict[str, set[str]] = {}
    for row in results.table("offer_holdings").to_pylist():
        held.setdefault(row["subscriber_id"], set()).add(row["offer_id"])
    names = table["subscriber_id"].to_pylist()
    began = time.perf_counter()
    made = []
    for name, values in zip(names, z, strict=True):
        x, y = som.winner(values)
        has = held.get(name, set())
        usable = [
            offers[i] for i in order[y * grid.columns + x] if offers[i] in valid and offers[i] not in has
        ]
        made.append((name, usable[:3]))
    return time.perf_counter() - began


def floor(folder: Path) -> None:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    source, target = folder / "made" / "dpi_usage.parquet", folder / "copy.parquet"
    connection.execute(f"COPY (FROM '{source}') TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


def measured(step: str, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of a step in a process of its own."""
    code = (
        f"import sys, json, resource, time; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import offers_at_scale as b; from pathlib import Path; t = time.perf_counter(); "
        f"found = b.{step}(Path({str(folder)!r})); "
        "print(json.dumps({'s': found or time.perf_counter() - t, "
        "'mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**told, "wall_s": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subscribers", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    from subsight.simulate import OfferMarket, simulate_offers

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        simulate_offers(OfferMarket(subscribers=asked.subscribers), folder / "made")
        for step in STEPS[:2]:
            found = measured(step, folder)
            print(f"{step}: {found['wall_s']:.1f} s, {found['mb']:,.0f} MB")
        for _ in range(asked.rounds):
            ours, by_loop, copy = (measured(step, folder) for step in ("recommend", "loop", "floor"))
            scaled = by_loop["s"] * asked.subscribers / SAMPLE
            print(f"recommend --all: {ours['wall_s']:.1f} s, {ours['mb']:,.0f} MB")
            print(f"loop over winner: {by_loop['s']:.2f} s for {SAMPLE:,}, scaled {scaled:,.0f} s")
            print(f"loop / ours: {scaled / ours['wall_s']:.1f}; floor, DuckDB copies it: {copy['s']:.1f} s")


if __name__ == "__main__":
    main()
