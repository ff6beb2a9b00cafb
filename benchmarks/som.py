"""The self-organising map against MiniSom: training, and mapping a population.

Both begin on the plane of two principal components with a radius of a third of the longer side (our default)
and make the same number of epochs, each in a process of its own. Of MiniSom:
  offline   train_batch_offline, one update an epoch (Kohonen 2013), and its default decays
  offline1  the same with its radius falling to one and a learning rate of 1: its closest fit
  batch     train_batch, which despite its name updates after every row: rows x epochs of them, in order,
            its radius falling to one, with which it fits closest
Errors are MiniSom's quantization_error and topographic_error for all, and winners are compared one by one.

    uv run python benchmarks/som.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOPOLOGY = "rectangular"  # MiniSom's default, and the one in which both mean the same by neighbours.
MINISOM: dict[str, dict[str, Any]] = {
    "offline": {},
    "offline1": {"sigma_decay_function": "linear_decay_to_one", "learning_rate": 1.0},
    "batch": {"sigma_decay_function": "linear_decay_to_one"},
}


def subscribers(rows: int, features: int, seed: int = 5) -> np.ndarray[Any, Any]:
    """Six groups along three habits, each feature log-normal in them and in noise: z-scores."""
    random = np.random.default_rng(seed)
    groups = 1.5 * random.normal(size=(6, 3))
    habits = groups[random.integers(0, 6, rows)] + 0.6 * random.normal(size=(rows, 3))
    noise = 0.5 * random.normal(size=(rows, features))
    values = np.exp(0.4 * (habits @ random.normal(size=(3, features)) + noise))
    return (values - values.mean(axis=0)) / values.std(axis=0)


def minisom_of(columns: int, rows: int, weights: np.ndarray[Any, Any] | int, **settings: Any) -> Any:
    """A MiniSom, with weights of ours or of so many features."""
    from minisom import MiniSom

    features = weights if isinstance(weights, int) else weights.shape[1]
    som = MiniSom(columns, rows, features, topology=TOPOLOGY, random_seed=1, **settings)
    if not isinstance(weights, int):
        som._weights = weights.reshape(rows, columns, features).transpose(1, 0, 2).copy()
    return som


def train_ours(values: np.ndarray[Any, Any], columns: int, rows: int, epochs: int) -> np.ndarray[Any, Any]:
    from subsight.models.som import SelfOrganisingMap

    return SelfOrganisingMap(rows, columns, topology=TOPOLOGY, epochs=epochs).fit(values).weights_


def train_minisom(
    name: str, values: np.ndarray[Any, Any], columns: int, rows: int, epochs: int
) -> np.ndarray[Any, Any]:
    som = minisom_of(columns, rows, values.shape[1], sigma=max(columns, rows) / 3, **MINISOM[name])
    som.pca_weights_init(values)
    if name == "batch":
        som.train_batch(values, epochs * len(values))
    else:
        som.train_batch_offline(values, epochs)
    return som.get_weights().transpose(1, 0, 2).reshape(rows * columns, -1)


def map_ours(
    values: np.ndarray[Any, Any], columns: int, rows: int, weights: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    from subsight.models.som import SelfOrganisingMap

    som = SelfOrganisingMap(rows, columns, topology=TOPOLOGY)
    som.weights_, som.n_features_in_ = weights, weights.shape[1]
    return som.predict(values)


def map_minisom(
    values: np.ndarray[Any, Any], columns: int, rows: int, weights: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    som = minisom_of(columns, rows, weights)
    return np.array([row * columns + column for column, row in map(som.winner, values)])


def peak_memory() -> float:
    """Of this process, in GB; ru_maxrss would begin with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def work(asked: argparse.Namespace) -> None:
    """One measurement, in this process: its result as a file, its seconds and memory on stdout."""
    values = np.load(asked.folder / f"{asked.data}.npy")
    tasks: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "train ours": lambda: train_ours(values, asked.columns, asked.rows, asked.epochs),
        "map ours": lambda: map_ours(values, asked.columns, asked.rows, weights),
        "map minisom": lambda: map_minisom(values, asked.columns, asked.rows, weights),
        **{
            f"train {name}": lambda name=name: train_minisom(
                name, values, asked.columns, asked.rows, asked.epochs
            )
            for name in MINISOM
        },
    }
    if asked.only.startswith("map"):
        weights = np.load(asked.folder / "weights.npy")
    # What a first use loads is not what is compared.
    from minisom import MiniSom  # noqa: F401

    import subsight.models.som  # noqa: F401

    before = peak_memory()
    begin, cpu = time.perf_counter(), time.process_time()
    found = tasks[asked.only]()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    cost = {"seconds": seconds, "cpu": cpu, "peak": peak_memory(), "before": before}
    np.save(asked.folder / "found.npy", found)
    print(json.dumps(cost))


def measured(
    folder: Path, only: str, data: str, columns: int, rows: int, epochs: int
) -> tuple[dict[str, float], np.ndarray[Any, Any]]:
    command = [sys.executable, __file__, "--only", only, "--folder", str(folder), "--data", data]
    command += ["--columns", str(columns), "--rows", str(rows), "--epochs", str(epochs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout), np.load(folder / "found.npy")


def told(what: str, cost: dict[str, float], more: str = "") -> None:
    print(
        f"{what:24} {cost['seconds']:8.2f} s  CPU {cost['cpu']:8.2f} s  peak {cost['peak']:.2f} GB "
        f"({cost['before']:.2f} before)  {more}",
        flush=True,
    )


def training(folder: Path, epochs: int) -> None:
    values = np.load(folder / "training.npy")
    print(f"training {len(values):,} x {values.shape[1]} on 20 x 20, {epochs} epochs")
    costs, errors = {}, {}
    for name in ("ours", *MINISOM):
        costs[name], weights = measured(folder, f"train {name}", "training", 20, 20, epochs)
        som = minisom_of(20, 20, weights)
        errors[name] = som.quantization_error(values), som.topographic_error(values)
        more = "quantisation error {:.4f}, topographic error {:.4f}".format(*errors[name])
        told(f"  {name}", costs[name], more)
    for name in MINISOM:
        faster = costs[name]["seconds"] / costs["ours"]["seconds"]
        closer, order = (errors["ours"][i] - errors[name][i] for i in (0, 1))
        print(
            f"  to {name}: {faster:.0f} times as fast (asked: 20), quantisation error {closer:+.4f} "
            f"(asked: at most 0), topographic error {order:+.4f} (asked: at most +0.05)"
        )


def population(folder: Path, epochs: int) -> None:
    values = np.load(folder / "population.npy", mmap_mode="r")
    print(f"{len(values):,} x {values.shape[1]} on 25 x 15, {epochs} epochs (asked: 60 s, 2 GB)")
    cost, weights = measured(folder, "train ours", "population", 25, 15, epochs)
    told("  ours", cost)
    np.save(folder / "weights.npy", weights)
    print(f"mapping {len(values):,} on that map")
    ours, own = measured(folder, "map ours", "population", 25, 15, epochs)
    told("  ours, predict", ours)
    theirs, other = measured(folder, "map minisom", "population", 25, 15, epochs)
    told("  minisom, winner", theirs)
    faster = theirs["seconds"] / ours["seconds"]
    print(f"  {faster:.0f} times as fast (asked: 5); {(own != other).sum()} subscribers differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--values", type=Path, help="z-scores (.npy) to train on instead")
    parser.add_argument("--training-rows", type=int, default=100_000)
    parser.add_argument("--population-rows", type=int, default=1_000_000)
    for name in ("--only", "--data"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--columns", "--rows"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        work(asked)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = np.load(asked.values) if asked.values else subscribers(asked.training_rows, 12)
        np.save(folder / "training.npy", given)
        np.save(folder / "population.npy", subscribers(asked.population_rows, 20))
        training(folder, asked.epochs)
        population(folder, asked.epochs)


if __name__ == "__main__":
    main()
