"""The dashboard's pages over HTTP, unfiltered and filtered, beside DuckDB by hand and a static file.

    uv run python benchmarks/dashboard.py --subscribers 1000000
    uv run python benchmarks/dashboard.py --workspace WS --views 60
    uv run python benchmarks/dashboard.py --workspace WS --times 10 --views 0

A simulated operator (two sessions a subscriber) becomes a run, which `subsight serve` serves on this
machine. Filters are drawn from what the run has; no view is asked for twice, as a second time it would be
kept. Beside wall time stands the processor time of the server and its children, which a busy machine
changes less. `--times` repeats the rows of the run's tables under other ids: answers stay as published.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import pyarrow.parquet as pq
from chromium import browser

from subsight import pipeline
from subsight.results import Results
from subsight.settings import Settings
from subsight.simulate import Operator, simulate
from subsight.surfaces.dashboard.addresses import KINDS
from subsight.workspace import Workspace

UNFILTERED_MS, FILTERED_MS = 300, 1_000
WAITING = b'<meta http-equiv="refresh"'
"""In a page that is not whole yet."""
MEASURES = ("session_count", "duration_s", "dl_bytes", "ul_bytes", "total_bytes")


@dataclass(frozen=True)
class Asked:
    """One request: milliseconds to the first byte and to the last, and of processors; bytes of the body."""

    first_ms: float
    whole_ms: float
    cpu_ms: float
    size: int
    status: int
    body: bytes


# A run of any size


def made(workspace: Path, subscribers: int) -> None:
    """A run of a simulated operator."""
    operator = Operator(subscribers=subscribers, sessions=2 * subscribers)
    opened = Workspace.create(workspace)  # before anything else is in its folder
    sessions = simulate(operator, workspace / "simulated").sessions
    pipeline.run(opened, [sessions], Settings(segment_source="profiles"))


def repeated(workspace: Path, target: Path, times: int) -> None:
    """A copy of a workspace whose current run has the rows of each subscriber so many times, by other ids."""
    ignored = shutil.ignore_patterns("batches", "simulated", "rejects")
    shutil.copytree(workspace, target, symlinks=True, ignore=ignored)
    run = (target / "current").resolve()
    manifest = json.loads((run / "manifest.json").read_text())
    for told in manifest["tables"].values():
        path = run / "tables" / Path(told["file"]).name
        if "subscriber_id" not in pq.read_schema(path).names:
            continue
        parts = (
            f"SELECT printf('%04x', {i}) || left(subscriber_id, 28) AS subscriber_id, "
            f"* EXCLUDE (subscriber_id) FROM '{path}'"
            for i in range(times)
        )
        new = path.with_suffix(".new")
        form = "FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1"
        duckdb.connect().execute(f"COPY ({' UNION ALL '.join(parts)}) TO '{new}' ({form})")
        new.replace(path)
        told["rows"] *= times
    (run / "manifest.json").write_text(json.dumps(manifest))


# The server, and what is asked of it


class Server:
    """A server of the dashboard, and what its processes cost."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self._pid = port, pid
        self.address = f"http://127.0.0.1:{port}"

    def cpu_ms(self) -> float:
        return 1000 * sum(_cpu_s(pid) for pid in _family(self._pid))

    def get(self, path: str) -> Asked:
        before, began = self.cpu_ms(), time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        start = answer.read(1)
        first = time.perf_counter()
        body = start + answer.read()
        end = time.perf_counter()
        connection.close()
        used = self.cpu_ms() - before
        return Asked(1000 * (first - began), 1000 * (end - began), used, len(body), answer.status, body)


def _family(pid: int) -> list[int]:
    """A process and its descendants; children are listed by the thread that began them."""
    children: list[str] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += task.read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(workspace: Path) -> Iterator[Server]:
    """`subsight serve` over a workspace; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "subsight", "serve", str(workspace), "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(1_200):
                with socket.socket() as probe:
                    if process.poll() is not None or probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            if process.poll() is not None:
                log.seek(0)
                sys.exit(f"the server ended:\n{log.read().decode()[-3000:]}")
            yield Server(port, process.pid)
        finally:
            process.terminate()
            process.wait(60)


def settled(server: Server) -> None:
    """Waits until charts are drawn ahead, so that what follows is measured alone."""
    for _ in range(120):
        before = server.cpu_ms()
        time.sleep(1)
        if server.cpu_ms() - before < 30:
            return


# Unfiltered pages


def pages(results: Results) -> list[str]:
    """Every page without filters; one subscriber and one question for all."""
    ids = pq.ParquetFile(results.path("profiles"))
    middle = ids.read_row_group(ids.num_row_groups // 2, columns=["subscriber_id"])["subscriber_id"]
    studies = [f"/studies/{study}" for study in results.studies()]
    person = f"/people/{middle[len(middle) // 2].as_py()}"
    return ["/", *studies, "/studies/overview/subscribers", person, "/models", "/runs", "/glossary"]


def unfiltered(server: Server, results: Results, rounds: int) -> None:
    addresses = pages(results)
    cold = {}
    for page in addresses:
        one = server.get(page)
        cold[page] = one.whole_ms, one.whole_ms + filled_ms(server, page, one)
    settled(server)
    warm = {page: [server.get(page) for _ in range(rounds)] for page in addresses}
    head = ("kB", "cold, ms", "with charts", "first byte", "whole, ms", "worst", "cpu, ms")
    print(f"\n{'page, unfiltered':34}" + "".join(f"{word:>12}" for word in head))
    for page, some in warm.items():
        name = "/people/…" if page.startswith("/people/") else page
        first, whole = (statistics.median(getattr(one, n) for one in some) for n in ("first_ms", "whole_ms"))
        cpu, worst = statistics.mean(one.cpu_ms for one in some), max(one.whole_ms for one in some)
        told = (some[0].size / 1000, *cold[page], first, whole, worst, cpu)
        print(f"{name:34}" + "".join(f"{value:12.0f}" for value in told))
    middle = max(statistics.median(one.whole_ms for one in some) for some in warm.values())
    cpu = max(statistics.mean(one.cpu_ms for one in some) for some in warm.values())
    verdict(middle, UNFILTERED_MS, f"slowest unfiltered page, warm, median (cpu {cpu:.0f} ms)")


def verdict(found_ms: float, aim_ms: float, what: str) -> None:
    print(f"{'reached' if found_ms < aim_ms else 'MISSED'}: under {aim_ms:,} ms: {what}: {found_ms:,.0f} ms")


# Filtered pages


def views(results: Results, count: int, seed: int) -> list[tuple[str, str]]:
    """Filtered pages, each once: kind of page and address. Of three views, one has two kinds of filter."""
    draw = random.Random(seed)
    held = pipeline.choices(results.folder)
    ids = [answer.id for study in results.studies() for answer in results.answers(study)]
    takes = {id: pipeline.filterable(id) for id in ids if pipeline.filterable(id)}
    found: dict[str, str] = {}
    while len(found) < count:
        id = draw.choice(sorted(takes))
        kinds = sorted(takes[id] & set(held))
        chosen = draw.sample(kinds, 2 if len(kinds) > 1 and draw.random() < 1 / 3 else 1)
        # The larger groups: two small ones together leave too few to be shown.
        pairs = [_pair(kind, draw.choice(held[kind][:5]).value) for kind in chosen]
        query = urlencode([pair for some in pairs for pair in some])
        study, _, name = id.partition(".")
        # Every other view is that of a whole study.
        if draw.random() < 0.5:
            found[f"/studies/{study}?{query}"] = "a study"
        else:
            found[f"/studies/{study}/{name}?{query}"] = "a question"
    return [(kind, address) for address, kind in found.items()]


def _pair(kind: str, value: str) -> list[tuple[str, str]]:
    if kind == "period":
        return [("from", value), ("to", value)]
    return [(KINDS[kind], value)]


def filtered(server: Server, asked: Sequence[tuple[str, str]]) -> None:
    found: dict[str, list[tuple[str, Asked]]] = {}
    complete: list[float] = []
    for kind, address in asked:
        one = server.get(address)
        if one.status == 200:  # the others have too few subscribers to be shown
            found.setdefault(kind, []).append((address, one))
            complete.append(one.whole_ms + filled_ms(server, address, one))
    found["all filtered pages"] = [one for some in list(found.values()) for one in some]
    kept = sum(
        one.whole_ms for address, _ in found["all filtered pages"][:20] for one in [server.get(address)]
    )
    print(f"\n{'filtered, each view once':28}{'views':>6}{'p50, ms':>9}{'p95, ms':>9}", end="")
    print(f"{'cpu p50':>9}{'cpu p95':>9}  slowest")
    for kind, some in found.items():
        wall, cpu = ([getattr(one, n) for _, one in some] for n in ("whole_ms", "cpu_ms"))
        slowest = max(some, key=lambda pair: pair[1].whole_ms)[0]
        line = f"{kind:28}{len(some):6}{at(wall, 50):9.0f}{at(wall, 95):9.0f}{at(cpu, 50):9.0f}"
        print(f"{line}{at(cpu, 95):9.0f}  {slowest}")
    print(f"seen again, kept: {kept / min(20, len(found['all filtered pages'])):.0f} ms a page")
    half, most = at(complete, 50), at(complete, 95)
    print(f"until every answer of a page is there: p50 {half:,.0f} ms, p95 {most:,.0f} ms")
    wall = [one.whole_ms for _, one in found["all filtered pages"]]
    cpu = [one.cpu_ms for _, one in found["all filtered pages"]]
    verdict(at(wall, 95), FILTERED_MS, f"95th percentile of filtered pages (cpu {at(cpu, 95):,.0f} ms)")


def filled_ms(server: Server, address: str, page: Asked) -> float:
    """Milliseconds until what was not there in time is, asked for as the page's script does."""
    began = time.perf_counter()
    while WAITING in page.body:
        time.sleep(0.15)
        page = server.get(address)
    return 1000 * (time.perf_counter() - began)


def at(values: Sequence[float], percentile: int) -> float:
    """A percentile by the nearest rank: one of the values."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percentile // 100) - 1)]


# The baselines


def baselines(server: Server, results: Results) -> None:
    """Two filtered questions by hand for three manufacturers, values compared; and a static file."""
    profiles, scores = (results.path(name) for name in ("profiles", "satisfaction"))
    names = [*MEASURES, *(f"app_{app['slug']}_bytes" for app in results.manifest["applications"])]
    parts = ", ".join(
        f"count({n}), sum({n}::DOUBLE), min({n}), max({n}), stddev_pop({n}), "
        f"quantile_cont({n}, [.25, .5, .75])"
        for n in names
    )
    use = f"SELECT {parts} FROM '{profiles}' WHERE handset_manufacturer = ?"
    means = ", ".join(f"avg({n}), stddev_pop({n})" for n in (*MEASURES, "engagement_score"))
    groups = (
        f"SELECT engagement_cluster, count(*), {means} "
        f"FROM '{profiles}' JOIN '{scores}' USING (subscriber_id) "
        "WHERE handset_manufacturer = ? GROUP BY engagement_cluster ORDER BY engagement_cluster"
    )
    makers = [choice.value for choice in pipeline.choices(results.folder)["manufacturer"][:3]]
    print(f"\n{'one question, median of three filters, ms':42}{'by hand':>9}{'cpu':>6}{'page':>8}", end="")
    print(f"{'cpu':>6}{'times':>7}{'by cpu':>8}")
    for id, statement in (("overview/subscribers", use), ("engagement/clusters", groups)):
        hand = [by_hand(statement, maker) for maker in makers]
        paths = [f"/studies/{id}?{urlencode({'manufacturer': maker})}" for maker in makers]
        some = [server.get(path) for path in paths]
        if statement is use:
            compared(server.get(paths[0].replace("?", ".csv?", 1)).body, hand[0][2][0])
        left = [statistics.median(wall for wall, _, _ in hand), statistics.median(cpu for _, cpu, _ in hand)]
        right = [statistics.median(getattr(one, n) for one in some) for n in ("whole_ms", "cpu_ms")]
        line = f"{id:42}{left[0]:9.0f}{left[1]:6.0f}{right[0]:8.0f}{right[1]:6.0f}"
        print(f"{line}{right[0] / left[0]:7.1f}{right[1] / left[1]:8.1f}")
    static = server.get("/").body.decode().split('href="/static/dashboard-')[1].split('"')[0]
    some = [server.get(f"/static/dashboard-{static}") for _ in range(20)]
    middle = statistics.median(one.whole_ms for one in some)
    print(f"{f'a static file of {some[0].size / 1000:.0f} kB, same server':42}{middle:23.1f}")


def by_hand(statement: str, maker: str) -> tuple[float, float, list[Any]]:
    """Milliseconds, of them of processors, and rows of a statement on a connection of its own."""
    began, before = time.perf_counter(), time.process_time()
    with duckdb.connect() as connection:
        rows = connection.execute(statement, [maker]).fetchall()
    return 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - before), rows


def compared(body: bytes, found: Sequence[Any]) -> None:
    """Ends where the answer's total data are not those found by hand."""
    lines = [line for line in body.decode("utf-8-sig").splitlines() if not line.startswith("#")]
    (row,) = (row for row in csv.DictReader(lines) if row["quantity"] == "total data")
    place = 6 * MEASURES.index("total_bytes")
    count, total, _, _, _, quartiles = found[place : place + 6]
    ours = [float(row[name]) for name in ("subscriber_count", "total", "median")]
    if any(abs(a - b) > 1e-9 * abs(b) for a, b in zip(ours, (count, total, quartiles[1]), strict=True)):
        sys.exit(f"the page says {ours}, by hand it is {count, total, quartiles[1]}")


def painted(server: Server, results: Results, fresh: Sequence[str]) -> None:
    """First paint in a browser that keeps nothing; of filtered views, each once."""
    if not shutil.which("chromium"):
        print("\nfirst paint is left out: there is no command chromium")
        return
    with browser() as page:
        page.first_paint_ms(server.address + "/glossary")
        print(f"\n{'first contentful paint, median of three':46}{'ms':>6}{'worst':>7}")
        for path in pages(results):
            some = [page.first_paint_ms(server.address + path) for _ in range(3)]
            print(f"{path[:45]:46}{statistics.median(some):6.0f}{max(some):7.0f}")
        if fresh:
            some = [page.first_paint_ms(server.address + path) for path in fresh]
            said = f"filtered, {len(some)} views once"
            print(f"{said:46}{statistics.median(some):6.0f}{max(some):7.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1_000_000)
    parser.add_argument("--workspace", type=Path, help="one that has a run, instead of a simulated one")
    parser.add_argument("--times", type=int, default=1, help="repeat the rows of the run's tables")
    parser.add_argument("--views", type=int, default=60, help="filtered views; 0 leaves out all that filters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        workspace = arguments.workspace or Path(name) / "made"
        if not arguments.workspace:
            made(workspace, arguments.subscribers)
        if arguments.times > 1:
            repeated(workspace, Path(name) / "repeated", arguments.times)
            workspace = Path(name) / "repeated"
        measure(workspace, arguments)


def measure(workspace: Path, arguments: argparse.Namespace) -> None:
    results = Results((workspace / "current").resolve())
    rows = results.manifest["tables"]["profiles"]["rows"]
    print(f"{rows:,} subscribers; {os.cpu_count()} cores, load {said_load()} before", flush=True)
    with served(workspace) as server:
        unfiltered(server, results, arguments.rounds)
    mixed = views(results, arguments.views + 12 * bool(arguments.views), arguments.seed)
    with served(workspace) as server:
        settled(server)
        if arguments.views:
            filtered(server, mixed[: arguments.views])
        painted(server, results, [address for _, address in mixed[arguments.views :]])
    if arguments.views:
        with served(workspace) as server:
            settled(server)
            baselines(server, results)
    print(f"\nload {said_load()} after")


def said_load() -> str:
    return " ".join(f"{one:.1f}" for one in os.getloadavg())


if __name__ == "__main__":
    main()
