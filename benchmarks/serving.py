"""Predictions over HTTP: `subsight serve` beside Flask with scikit-learn, and `mlflow models serve`.

    uv run --group benchmark python benchmarks/serving.py --rounds 5 --seconds 5

Each side is a server of its own with one worker. All are up from the start, asked the same first (0.8 and
0.7 are 0.75) and then loaded in turns by `wrk`, so that a machine that slows down slows all. One answer
other than 2xx ends it. Printed: requests per second and latency, rows per second of batches, memory, and
which aims are reached.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from compare import resident
from serving_baseline import FIELDS, fitted

HERE = Path(__file__).parent
CLIENTS, BATCH_CLIENTS, ROWS = 50, 4, 1_000
OURS, BASELINE = "subsight", "Flask, row as an array"

DIFFERENCES = (
    "checks: Subsight checks every field, who asks and how often; Flask takes what comes",
    "record: Subsight writes every answer to its hash-chained audit log; the others keep none",
    "connections: gunicorn's sync worker closes each after its answer, the others keep them; in the line "
    "'connections closed' Subsight has the same handicap",
    "prediction: Subsight's model is two weights read from the registry; the others call scikit-learn",
    "mlflow models serve: its scoring server (FastAPI and uvicorn, as here) makes a frame of every body",
)

# wrk learns from it what to send, and tells what it measured.
SCRIPT = """
init = function(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method, wrk.body = "POST", file:read("*a")
  wrk.headers["Content-Type"], wrk.headers["Connection"] = args[2], args[3]
  file:close()
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), e.status,
    e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """A body that is sent again and again, and the predictions that come back."""

    path: str
    body: bytes
    expected: np.ndarray[Any, np.dtype[np.float64]]
    kind: str = "application/json"
    connection: str = "keep-alive"


@dataclass
class Server:
    """A process that answers on a port; `memory_mb` is that of all its processes, as last seen."""

    command: list[str]
    answer: str = "satisfaction_score"
    port: int = 0
    memory_mb: float = 0.0

    def check(self, load: Load) -> None:
        """Whether it answers rightly; if not, there is nothing to time."""
        url, headers = f"http://127.0.0.1:{self.port}{load.path}", {"Content-Type": load.kind}
        with urllib.request.urlopen(urllib.request.Request(url, load.body, headers), timeout=60) as response:
            found = np.atleast_1d(json.load(response)[self.answer])
        if found.shape != load.expected.shape or not np.allclose(found, load.expected, rtol=0, atol=1e-9):
            sys.exit(f"{url} answers {found[:3]}, expected {load.expected[:3]}")


@contextmanager
def running(server: Server, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, once it listens; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.port = free.getsockname()[1]
    command = [part.replace("PORT", str(server.port)) for part in server.command]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if process.poll() is not None or probe.connect_ex(("127.0.0.1", server.port)) == 0:
                    break
            time.sleep(0.1)
        if process.poll() is not None:
            sys.exit(f"{' '.join(command)} ended:\n{log.read_text()[-3000:]}")
        yield process
    finally:
        process.terminate()
        process.wait(30)


def measured(server: Server, load: Load, seconds: int, scratch: Path) -> dict[str, float]:
    """Rows per second and latency (ms), as wrk saw them."""
    body, script = scratch / "body", scratch / "load.lua"
    body.write_bytes(load.body)
    script.write_text(SCRIPT)
    rows = len(load.expected)
    clients = CLIENTS if rows == 1 else BATCH_CLIENTS
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    command += [f"http://127.0.0.1:{server.port}{load.path}", "--", str(body), load.kind, load.connection]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, int] = json.loads(output.splitlines()[-1])
    if found["refused"] or found["broken"] or not found["requests"]:
        sys.exit(f"{' '.join(command)}: not every request was answered with 2xx:\n{output}")
    rate = rows * found["requests"] / found["us"] * 1e6
    return {"rate": rate, "p50": found["p50"] / 1000, "p99": found["p99"] / 1000}


def loads() -> dict[str, Load]:
    """One row, and the same 1,000 rows in each form; scores have all their digits, as a run computes them."""
    rows = np.random.default_rng(11).uniform(0, 5, (ROWS, 2))
    single, many, means = np.array([[0.8, 0.7]]), "/predict/batch", rows.mean(axis=1)
    text = io.StringIO()
    csv.writer(text).writerows([FIELDS, *rows.tolist()])
    one = json.dumps(dict(zip(FIELDS, single[0], strict=True))).encode()

    def split(values: np.ndarray[Any, Any]) -> bytes:
        return json.dumps({"dataframe_split": {"columns": FIELDS, "data": values.tolist()}}).encode()

    return {
        "one": Load("/predict", one, np.array([0.75])),
        "closed": Load("/predict", one, np.array([0.75]), connection="close"),
        "frame": Load("/predict/frame", one, np.array([0.75])),
        "split": Load("/invocations", split(single), np.array([0.75])),
        "rows": Load(
            many, json.dumps([dict(zip(FIELDS, r, strict=True)) for r in rows.tolist()]).encode(), means
        ),
        "columns": Load(many, json.dumps(dict(zip(FIELDS, rows.T.tolist(), strict=True))).encode(), means),
        "csv": Load(many, text.getvalue().encode(), means, "text/csv"),
        "split rows": Load("/invocations", split(rows), means),
    }


def subsight(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "subsight", *map(str, arguments)]


def servers(scratch: Path) -> dict[str, Server]:
    """All sides by name; Subsight's model is trained on a simulated operator."""
    plain, challenged = scratch / "plain", scratch / "challenged"
    commands = [
        subsight("demo", "--subscribers", "2000", "--workspace", plain),
        subsight("models", "train", plain),
        subsight("models", "train", plain),
        ["cp", "-a", str(plain), str(challenged)],
        subsight("models", "challenge", challenged, "2", "--model", "identity"),
    ]
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    gunicorn = ["-m", "gunicorn", "--workers", "1", "--bind", "127.0.0.1:PORT", "--chdir", str(HERE)]
    made = {
        OURS: Server(subsight("serve", plain, "--port", "PORT")),
        "strict": Server(subsight("serve", plain, "--port", "PORT", "--audit", "strict")),
        "shadow": Server(subsight("serve", challenged, "--port", "PORT")),
        "Flask": Server([sys.executable, *gunicorn, "serving_baseline:app"]),
    }
    if shutil.which("mlflow"):
        made["mlflow"] = mlflow(scratch / "model")
    else:
        print("mlflow models serve is left out: there is no command mlflow")
    return made


def mlflow(folder: Path) -> Server:
    from mlflow.sklearn import save_model

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # MLflow's usual format; what is loaded was written here a moment ago.
    save_model(fitted(on_frame=True), folder, serialization_format="cloudpickle", pip_requirements=[])
    command = ["mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    return Server([*command, "--host", "127.0.0.1", "--port", "PORT", "--workers", "1"], "predictions")


# Each figure: its name, the server, what it is asked.
ONE_ROW = (
    (OURS, OURS, "one"),
    (BASELINE, "Flask", "one"),
    ("Flask, row as a frame", "Flask", "frame"),
    ("mlflow models serve", "mlflow", "split"),
    ("subsight, connections closed", OURS, "closed"),
    ("subsight, --audit strict", "strict", "one"),
    ("subsight, challenger in shadow", "shadow", "one"),
)
BATCHES = (
    ("subsight, JSON rows", OURS, "rows"),
    ("subsight, JSON columns", OURS, "columns"),
    ("subsight, CSV", OURS, "csv"),
    ("Flask, JSON rows", "Flask", "rows"),
    ("mlflow models serve, split", "mlflow", "split rows"),
    ("subsight, JSON columns, strict", "strict", "columns"),
)

Found = dict[str, list[dict[str, float]]]


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(title: str, unit: str, found: Found, names: list[str], baseline: str) -> None:
    print(f"\n{title:32}{unit:>30}{'p50, ms':>24}{'p99, ms':>24}{f'times {baseline}':>32}")
    for name in names:
        rates = [one["rate"] for one in found[name]]
        times = [one["rate"] / other["rate"] for one, other in zip(found[name], found[baseline], strict=True)]
        p50, p99 = (spread([one[part] for one in found[name]], 1) for part in ("p50", "p99"))
        print(f"{name:32}{spread(rates):>30}{p50:>24}{p99:>24}{spread(times, 2):>32}")


def judged(found: Found) -> None:
    """What is within its aim, by medians."""

    def middle(name: str, part: str) -> float:
        return statistics.median(one[part] for one in found[name])

    pairs = zip(found[OURS], found[BASELINE], strict=True)
    times = statistics.median(ours["rate"] / theirs["rate"] for ours, theirs in pairs)
    p99 = middle(OURS, "p99")
    print()
    print(f"{'reached' if times >= 8 else 'MISSED'}: 8 times the baseline's requests/s: {times:.1f}")
    print(f"{'reached' if p99 < 20 else 'MISSED'}: p99 under 20 ms at {CLIENTS} clients: {p99:.1f} ms")
    for name in ("subsight, JSON rows", "subsight, JSON columns", "subsight, CSV"):
        rate = middle(name, "rate")
        print(f"{'reached' if rate >= 300_000 else 'MISSED'}: 300,000 rows/s, {name}: {rate:,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: the load comes from it. On Debian: apt install wrk")
    bodies = loads()
    # Told to stop it leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        scratch = Path(name)
        sides = servers(scratch)
        asked = [figure for figure in (*ONE_ROW, *BATCHES) if figure[1] in sides]
        found: Found = {name: [] for name, _, _ in asked}
        pids = {name: stack.enter_context(running(side, scratch / name)).pid for name, side in sides.items()}
        for _, side, load in asked:
            sides[side].check(bodies[load])
            measured(sides[side], bodies[load], 1, scratch)
        for i in range(arguments.rounds):
            for name, side, load in asked:
                found[name].append(measured(sides[side], bodies[load], arguments.seconds, scratch))
                sides[side].memory_mb = resident(pids[side])
            ours, theirs = found[OURS][-1]["rate"], found[BASELINE][-1]["rate"]
            print(f"round {i + 1}: subsight {ours:,.0f}, Flask {theirs:,.0f} requests/s", flush=True)
    one, many = ([name for name, _, _ in figures if name in found] for figures in (ONE_ROW, BATCHES))
    print(f"\n{arguments.rounds} rounds of {arguments.seconds} s, in turns: median (min to max)")
    table(f"one row, {CLIENTS} clients", "requests/s", found, one, BASELINE)
    table(f"{ROWS:,} rows, {BATCH_CLIENTS} clients", "rows/s", found, many, "Flask, JSON rows")
    print("\nmemory of all processes of a server after its loads")
    for name, side in sides.items():
        print(f"  {name:12}{side.memory_mb:8.0f} MB")
    judged(found)
    print("\nin what they differ")
    for line in DIFFERENCES:
        print(f"  {line}")


if __name__ == "__main__":
    main()
