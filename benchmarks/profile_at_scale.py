"""Profiles at scale: Subsight's fused aggregate beside a hand-written DuckDB query for the same columns.

    uv run python benchmarks/profile_at_scale.py --sessions 20000000 --subscribers 2000000

Sessions are simulated (they need no ingest here: the columns that ingest derives are added), then each
side reads the same Parquet file and writes one row per subscriber, in a process of its own, in turns.
The two outputs are compared column by column before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

QUALITY = {
    "rtt": ("rtt_dl_ms", "rtt_ul_ms", "rtt_ms"),
    "tcp_retransmission": (
        "tcp_retransmission_dl_bytes", "tcp_retransmission_ul_bytes", "tcp_retransmission_bytes",
    ),
    "throughput": ("throughput_dl_kbps", "throughput_ul_kbps", "throughput_kbps"),
}  # fmt: skip


def prepare(folder: Path, sessions: int, subscribers: int) -> Path:
    """Simulated sessions with the columns that ingest would derive, as one Parquet file."""
    import duckdb

    from subsight.simulate import Operator, simulate

    target = folder / f"sessions-{sessions}-{subscribers}.parquet"
    if target.exists():
        return target
    made = simulate(Operator(subscribers=subscribers, sessions=sessions), folder / "simulated")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false; SET memory_limit = '6GB'")
    connection.execute(
        f"""COPY (SELECT * EXCLUDE (msisdn, imsi, imei), sha256(msisdn)[:32] AS subscriber_id,
            CAST('0x' || sha256(msisdn)[:13] AS BIGINT) AS subscriber_hash,
            CAST(start_at AS DATE) AS local_date, CAST(hour(start_at) AS BIGINT) AS local_hour,
            dl_bytes AS reported_dl_bytes, ul_bytes AS reported_ul_bytes
            FROM read_parquet('{made.sessions}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"""
    )
    made.sessions.unlink()
    return target


def fitted(source: Path, store: object) -> dict[str, dict[str, float | str]]:
    """Fences and fills of the quality columns: fixed parameters that both sides are given."""
    import narwhals as nw

    frame = store.read([source])  # type: ignore[attr-defined]
    names = [name for dl, ul, _ in QUALITY.values() for name in (dl, ul)]
    row = store.row(  # type: ignore[attr-defined]
        frame.select(*(nw.col(n).cast(nw.Float64).mean().alias(n) for n in names))
    )
    return {n: {"lower": 0.0, "upper": 3 * row[n], "fill": row[n], "policy": "mean"} for n in names}


def ours(source: Path, target: Path, parameters: Path) -> None:
    from subsight.enrich import treatment
    from subsight.metrics import profile
    from subsight.simulate import APPLICATIONS
    from subsight.store import open_store
    from subsight.tables import SESSIONS

    contract = SESSIONS.expand(APPLICATIONS)
    with open_store("duckdb", memory="3GB", scratch=target.parent / "spill") as store:
        frame = treatment.apply(store.read([source]), contract, json.loads(parameters.read_text()))
        store.write(profile(store, frame, contract).drop("subscriber_hash"), target)


def by_hand(source: Path, target: Path, parameters: Path) -> None:
    """The query a DuckDB user would write for these columns, doubles summed for speed."""
    import duckdb

    from subsight.simulate import APPLICATIONS
    from subsight.tables import THROUGHPUT_SHARES

    given = json.loads(parameters.read_text())

    def treated(name: str) -> str:
        t = given[name]
        return (
            f"CASE WHEN {name} BETWEEN {t['lower']!r} AND {t['upper']!r} THEN {name} ELSE {t['fill']!r} END"
        )

    def total(expression: str, name: str) -> str:
        return f"CAST(sum(CAST({expression} AS DOUBLE)) AS BIGINT) AS {name}"

    lines = [
        "count(*) AS session_count", "sum(duration_s) AS duration_s",
        *(total(n, n) for n in ("dl_bytes", "ul_bytes", "http_dl_bytes", "http_ul_bytes")),
        total("dl_bytes + ul_bytes", "total_bytes"),
        "avg(activity_dl_ms) AS activity_dl_ms", "avg(activity_ul_ms) AS activity_ul_ms",
    ]  # fmt: skip
    for app in APPLICATIONS:
        dl, ul = f"app_{app.slug}_dl_bytes", f"app_{app.slug}_ul_bytes"
        lines += [total(dl, dl), total(ul, ul), total(f"{dl} + {ul}", f"app_{app.slug}_bytes")]
    for stem, (dl, ul, name) in QUALITY.items():
        lines += [
            f"avg({treated(dl)} + {treated(ul)}) AS {name}", f"avg({dl} + {ul}) AS {name}_raw",
            f"avg(CASE WHEN {dl} IS NULL OR {ul} IS NULL THEN 1.0 ELSE 0.0 END) AS {stem}_filled_share",
        ]  # fmt: skip
    lines += [f"avg({name}) AS {name}" for names in THROUGHPUT_SHARES for name in names]
    for name, first, last in (
        ("night", 0, 5),
        ("morning", 6, 11),
        ("afternoon", 12, 17),
        ("evening", 18, 23),
    ):
        lines.append(
            f"avg(CASE WHEN local_hour BETWEEN {first} AND {last} THEN 1.0 ELSE 0.0 END) AS {name}_share"
        )
    lines += [
        "count(DISTINCT local_date) AS active_day_count", "min(local_date) AS first_date",
        "max(local_date) AS last_date", "mode(handset) AS handset",
        "mode(handset_manufacturer) AS handset_manufacturer",
    ]  # fmt: skip
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '3GB'; SET temp_directory = '{target.parent / 'spill'}'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(
        f"COPY (SELECT subscriber_id, {', '.join(lines)} FROM read_parquet('{source}') "
        f"GROUP BY subscriber_id) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
    )


def differing(one: Path, other: Path) -> dict[str, int]:
    """Per column how many subscribers differ by more than 1e-9; handsets may differ where modes tie."""
    import duckdb

    connection = duckdb.connect()
    names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM '{other}'").fetchall()]
    checks = [
        f"count(*) FILTER (WHERE a.{n} IS DISTINCT FROM b.{n}"
        + ("" if "handset" in n or "date" in n else f" AND NOT abs(a.{n} - b.{n}) <= 1e-9 * abs(b.{n})")
        + f") AS {n}"
        for n in names
        if n != "subscriber_id"
    ]
    found = connection.execute(
        f"SELECT count(*) AS both_sides, {', '.join(checks)} "
        f"FROM '{one}' a FULL JOIN '{other}' b USING (subscriber_id)"
    )
    row = dict(zip((d[0] for d in found.description or ()), found.fetchall()[0], strict=True))
    return {name: count for name, count in row.items() if count}


def measured(side: str, source: Path, target: Path, parameters: Path) -> tuple[float, float]:
    began = time.perf_counter()
    command = [sys.executable, __file__, "--side", side, str(source), str(target), str(parameters)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{side} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", choices=["ours", "by_hand"])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--sessions", type=int, default=20_000_000)
    parser.add_argument("--subscribers", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    arguments = parser.parse_args()
    if arguments.side:
        {"ours": ours, "by_hand": by_hand}[arguments.side](*arguments.paths)
        return
    from subsight.store import open_store

    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    source = prepare(folder, arguments.sessions, arguments.subscribers)
    parameters = folder / "parameters.json"
    with open_store("duckdb") as store:
        parameters.write_text(json.dumps(fitted(source, store)))
    results: dict[str, list[tuple[float, float]]] = {"ours": [], "by_hand": []}
    for i in range(arguments.rounds):
        for side in results:
            results[side].append(measured(side, source, folder / f"{side}.parquet", parameters))
        if i == 0:
            print(
                "rows and differing values:", differing(folder / "ours.parquet", folder / "by_hand.parquet")
            )
        a, b = results["ours"][-1], results["by_hand"][-1]
        print(
            f"round {i + 1}: subsight {a[0]:.1f} s, by hand {b[0]:.1f} s, ratio {a[0] / b[0]:.2f}", flush=True
        )
    for side, values in results.items():
        print(
            f"{side:8} median {statistics.median(v[0] for v in values):7.1f} s, "
            f"peak {max(v[1] for v in values):7.0f} MB"
        )
    ratios = [a[0] / b[0] for a, b in zip(results["ours"], results["by_hand"], strict=True)]
    print(f"subsight / by hand: median {statistics.median(ratios):.2f}, worst {max(ratios):.2f}")


if __name__ == "__main__":
    main()
