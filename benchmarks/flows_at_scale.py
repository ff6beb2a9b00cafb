"""Flows at scale: ingest, classification and a published run against DuckDB copying the same file.

The baseline is one hand-written statement: it reads the same Parquet file and writes the same columns as
zstd Parquet, with addresses as 128 bits in hex, the customer's side by the same networks and the pseudonym
by HMAC-SHA256. It classifies and publishes nothing. Both have two threads and 3 GB, each its own process.

    uv run python benchmarks/flows_at_scale.py --flows 10000000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEY = "k" * 32
NAMES = ("ours", "baseline")


def octets(column: str) -> str:
    parts = ", ".join(f"CAST(split_part({column}, '.', {i}) AS UTINYINT)" for i in (1, 2, 3, 4))
    return f"'00000000000000000000ffff' || printf('%02x%02x%02x%02x', {parts})"


def baseline(flows: Path, folder: Path) -> None:
    """The hand-written copy."""
    import duckdb

    from subsight.privacy import hmac_pads
    from subsight.settings import Settings
    from subsight.sources.addresses import ranges

    inside = " OR ".join(
        f"{{0}} BETWEEN '{low}' AND '{high}'" for low, high in ranges(Settings().customer_networks)
    )
    inner, outer = hmac_pads(KEY.encode())
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET memory_limit = '3GB'; SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET VARIABLE i = ?", [inner])
    connection.execute("SET VARIABLE o = ?", [outer])
    hashed = (
        "left(sha256(getvariable('o')::BLOB || unhex(sha256(getvariable('i')::BLOB || "
        "encode('address:' || {0})))), 32)"
    )
    one = f"CASE WHEN is_src THEN {hashed.format('src')} WHEN is_dst THEN {hashed.format('dst')} END"
    rest = (
        "src_port::BIGINT, dst_port::BIGINT, protocol::BIGINT, src_to_dst_bytes::BIGINT, "
        "dst_to_src_bytes::BIGINT, src_to_dst_packets::BIGINT, dst_to_src_packets::BIGINT, exporter, "
        "NULL::BIGINT AS sampling_rate, application, application_category, application_method"
    )
    connection.execute(
        f"""
        COPY (
          WITH a AS (SELECT *, {octets("src_address")} AS src, {octets("dst_address")} AS dst FROM '{flows}'),
          b AS (SELECT *, {inside.format("src")} AS is_src, {inside.format("dst")} AS is_dst FROM a),
          c AS (SELECT *, {one} AS name FROM b)
          SELECT name AS subscriber_id, CASE WHEN is_src AND is_dst THEN 'both' WHEN is_src THEN 'src'
                 WHEN is_dst THEN 'dst' END AS customer_side, first_seen_at, last_seen_at,
                 CASE WHEN is_src THEN name ELSE src END AS src_address,
                 CASE WHEN is_dst THEN name ELSE dst END AS dst_address, {rest},
                 CAST('0x' || left(sha256(CASE WHEN is_src THEN src WHEN is_dst THEN dst END), 13) AS BIGINT)
                 AS subscriber_hash, file_row_number + 1 AS record
          FROM c
        ) TO '{folder / "copy.parquet"}'
        (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1)
        """.replace(f"FROM '{flows}'", f"FROM read_parquet('{flows}', file_row_number = true)")
    ).fetchall()


def ours(flows: Path, folder: Path) -> None:
    """Ingest, classify, study and publish with the report."""
    from subsight.surfaces.library import Insight

    insight = Insight.open(folder / "ws", create=True)
    insight.ingest(flows, kind="flows")
    ingested = time.perf_counter()
    run = insight.run(studies=["traffic", "rfm", "trends", "peaks"])
    print(json.dumps({"ingested": ingested, "stages": run.manifest["timings"]}), file=sys.stderr)


def measured(name: str, flows: Path) -> tuple[float, float, str]:
    """Seconds, peak memory in GB, and what a process of its own said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--only", name, "--input", str(flows), "--folder", folder]
        begin = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return time.perf_counter() - begin, float(done.stdout), done.stderr.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--flows", type=int, default=10_000_000)
    parser.add_argument("--subscribers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--input", type=Path)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.only:
        import os

        os.environ["SUBSIGHT_KEY"] = KEY
        (ours if asked.only == "ours" else baseline)(asked.input, asked.folder)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
        return
    from subsight.simulate import FlowNetwork, simulate_flows

    with tempfile.TemporaryDirectory() as folder:
        network = FlowNetwork(subscribers=asked.subscribers, flows=asked.flows, leases=False)
        made = simulate_flows(network, Path(folder))
        size = made.flows.stat().st_size / 1e6
        print(f"{asked.flows:,} flows of {asked.subscribers:,} subscribers, {size:.0f} MB")
        for _ in range(asked.rounds):
            times = {}
            for name in NAMES:
                seconds, memory, said = measured(name, made.flows)
                times[name] = seconds
                rate = asked.flows / seconds
                print(
                    f"{name:9} {seconds:7.1f} s  {rate:12,.0f} flows/s  peak {memory:.2f} GB  {said}",
                    flush=True,
                )
            print(f"rate of ours to the baseline's: {times['baseline'] / times['ours']:.2f} (asked: 0.5)")


if __name__ == "__main__":
    main()
