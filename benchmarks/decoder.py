"""The decoder's rate on one core: fixed-length records of v5, v9 and IPFIX, beside the package `netflow`.

    uv run python benchmarks/decoder.py --rounds 5

Exporters send datagrams of about 1,400 bytes in turn; templates come first and again with every 500th
datagram of an exporter. Both decode the same payloads, in turns, in one process that may use one core. Ours
ends with the Arrow table that `collect` takes (addresses, instants and sampling worked out), the baseline
with objects of its own, those of one datagram at a time. Fields of all records of both are compared first.
Timed apart is `collect` from a closed segment of its spool to a canonical batch on disk: checksums, datagrams
that came twice, decoding, pseudonyms, the checks of the contract, Parquet.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from netflow import parse_packet

from subsight.sources.netflow import Datagram, Decoder

BEGIN_S = 1_714_557_600
UPTIME_MS = 86_400_000
AGAIN = 500
SIZE = 1_400
"""Bytes of the records of a datagram at most, of v9 and IPFIX; one of v5 has 30 of them, which are 1,440."""
REST = ((7, 2), (11, 2), (4, 1), (6, 1), (5, 1), (9, 1), (13, 1), (16, 4), (17, 4), (10, 2), (14, 2))
FIELDS = {
    5: ((8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (0, 1),
        (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (0, 2)),
    9: ((8, 4), (12, 4), (15, 4), (1, 4), (2, 4), (22, 4), (21, 4), *REST),
    10: ((8, 4), (12, 4), (15, 4), (1, 8), (2, 8), (152, 8), (153, 8), *REST),
}  # fmt: skip
"""By version what a router tells of IPv4, by element and length: of v5 and v9 uptimes, of IPFIX instants."""
NAMES = {5: "v5", 9: "v9", 10: "IPFIX"}
COMPARED = ("place", "src", "dst", "src_port", "dst_port", "protocol", "bytes", "packets", "first", "last")
THEIRS = {
    5: ("IPV4_SRC_ADDR", "IPV4_DST_ADDR", "SRC_PORT", "DST_PORT", "PROTO", "IN_OCTETS", "IN_PACKETS",
        "FIRST_SWITCHED", "LAST_SWITCHED"),
    9: ("IPV4_SRC_ADDR", "IPV4_DST_ADDR", "L4_SRC_PORT", "L4_DST_PORT", "PROTOCOL", "IN_BYTES", "IN_PKTS",
        "FIRST_SWITCHED", "LAST_SWITCHED"),
    10: ("sourceIPv4Address", "destinationIPv4Address", "sourceTransportPort", "destinationTransportPort",
         "protocolIdentifier", "octetDeltaCount", "packetDeltaCount", "flowStartMilliseconds",
         "flowEndMilliseconds"),
}  # fmt: skip


# What exporters send


def packed(version: int, count: int) -> np.ndarray[Any, Any]:
    """Records as exporters pack them, of flows that are drawn; elements that are not drawn are zero."""
    codes = {1: "u1", 2: ">u2", 4: ">u4", 8: ">u8"}
    names = [f"{place} {number}" for place, (number, _) in enumerate(FIELDS[version])]
    made = np.zeros(
        count, [(name, codes[length]) for name, (_, length) in zip(names, FIELDS[version], strict=True)]
    )
    draw = np.random.default_rng(version)
    ago, packets = draw.integers(1, 60_000, count), draw.integers(1, 4_000, count)
    lasted = draw.integers(0, 120_000, count)
    values = {
        8: 10 << 24 | draw.integers(0, 50_000, count), 12: 0xCB007100 - draw.integers(0, 100_000, count),
        15: 0xC6336401, 1: packets * draw.integers(40, 1_500, count), 2: packets,
        7: draw.integers(1_024, 65_536, count), 11: draw.choice([443, 443, 443, 80, 53, 8080], count),
        4: draw.choice([6, 6, 17], count), 6: 0x1B, 22: UPTIME_MS - ago - lasted, 21: UPTIME_MS - ago,
        152: BEGIN_S * 1000 - ago - lasted, 153: BEGIN_S * 1000 - ago,
    }  # fmt: skip
    for name in names:
        made[name] = values.get(int(name.split()[1]), 0)
    return made


def template(version: int) -> bytes:
    """The set that tells the template 256."""
    fields = FIELDS[version]
    head = struct.pack(">HHHH", 0 if version == 9 else 2, 8 + 4 * len(fields), 256, len(fields))
    return head + b"".join(struct.pack(">HH", *field) for field in fields)


def sent(version: int, count: int, exporters: int) -> list[Datagram]:
    """The datagrams of `count` records, which exporters send in turn."""
    records = packed(version, count)
    together = 30 if version == 5 else SIZE // records.dtype.itemsize
    sequences = [0] * exporters
    found = []
    for place, at in enumerate(range(0, count, together)):
        turn, exporter = divmod(place, exporters)
        some = records[at : at + together]
        body = some.tobytes()
        sequence = sequences[exporter]
        if version == 5:
            head = struct.pack(">HHIIIIBBH", 5, len(some), UPTIME_MS, BEGIN_S, 0, sequence, 0, 0, 0)
        else:
            body += bytes(-len(body) % 4)
            body = struct.pack(">HH", 256, 4 + len(body)) + body
            body = (b"" if turn % AGAIN else template(version)) + body
            told = len(some) + (turn % AGAIN == 0)
            head = (
                struct.pack(">HHIIII", 9, told, UPTIME_MS, BEGIN_S, sequence, 0)
                if version == 9
                else struct.pack(">HHIII", 10, 16 + len(body), BEGIN_S, sequence, 0)
            )
        sequences[exporter] += 1 if version == 9 else len(some)
        found.append(Datagram(f"192.0.{2 + exporter // 250}.{1 + exporter % 250}", place, head + body))
    return found


# Who decodes it


def ours(datagrams: list[Datagram]) -> Any:
    """The flows as the Arrow table that `collect` takes."""
    decoded = Decoder().decode(datagrams)
    assert not decoded.dropped, decoded.dropped
    return decoded.table


def theirs(datagrams: list[Datagram]) -> int:
    """How many flows: templates are known by their number alone, so that each exporter has its own."""
    templates: dict[str, dict[str, Any]] = {}
    count = 0
    for one in datagrams:
        known = templates.setdefault(one.exporter, {"netflow": {}, "ipfix": {}})
        count += len(parse_packet(one.payload, known).flows)
    return count


def collected(datagrams: list[Datagram], folder: Path) -> Callable[[], int]:
    """A spool of datagrams in a workspace, and what makes a batch of it and tells how many flows it holds."""
    from subsight.live.collector import drain
    from subsight.live.spool import Record, Spool
    from subsight.live.status import spool_of
    from subsight.settings import Settings
    from subsight.workspace import Workspace

    workspace = Workspace.create(folder)
    spool = Spool(spool_of(workspace), 0, 64_000_000)
    for place, one in enumerate(datagrams):
        spool.append(Record(one.exporter, one.arrived_us, place, one.payload))
    spool.close()

    def drained() -> int:
        drain(workspace, Settings())
        return sum(batch.manifest["accepted"] for batch in workspace.batches("flows"))

    return drained


# That they agree


def of_ours(datagrams: list[Datagram]) -> np.ndarray[Any, Any]:
    """The compared fields of our table, in order."""
    table = ours(datagrams)
    columns = [table["datagram"].to_numpy()]
    columns += [[int(a[-8:], 16) for a in table[f"{side}_address"].to_pylist()] for side in ("src", "dst")]
    columns += [
        table[name].to_numpy()
        for name in ("src_port", "dst_port", "protocol", "src_to_dst_bytes", "src_to_dst_packets")
    ]
    columns += [table[f"{end}_seen_at"].to_numpy().astype("M8[ms]") for end in ("first", "last")]
    return ordered(np.column_stack([np.asarray(column).astype(np.int64) for column in columns]))


def of_theirs(datagrams: list[Datagram], version: int) -> np.ndarray[Any, Any]:
    """The same fields of the baseline's objects, uptimes made instants by their header."""
    templates: dict[str, dict[str, Any]] = {}
    rows = []
    for place, one in enumerate(datagrams):
        known = templates.setdefault(one.exporter, {"netflow": {}, "ipfix": {}})
        packet = parse_packet(one.payload, known)
        ahead = 0 if version == 10 else packet.header.timestamp * 1000 - packet.header.uptime
        for flow in packet.flows:
            values = [flow.data[name] for name in THEIRS[version]]
            ends = [int(ipaddress.ip_address(value)) for value in values[:2]]
            rows.append((place, *ends, *values[2:7], values[7] + ahead, values[8] + ahead))
    return ordered(np.array(rows, np.int64))


def ordered(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return rows[np.lexsort(rows.T)]


def compare(datagrams: list[Datagram], version: int, count: int) -> None:
    """Ends the program where a field of a record differs."""
    mine, other = of_ours(datagrams), of_theirs(datagrams, version)
    if mine.shape != other.shape or len(mine) != count or not (mine == other).all():
        same = mine.shape == other.shape
        where = [n for n, a, b in zip(COMPARED, mine.T, other.T, strict=True) if not same or (a != b).any()]
        sys.exit(f"{NAMES[version]}: {len(mine):,} and {len(other):,} of {count:,} records; differ: {where}")
    told = ", ".join(COMPARED)
    print(f"{NAMES[version]}: {count:,} records in {len(datagrams):,} datagrams, alike in both: {told}")


# How fast


def rates(work: Callable[[], Any], count: int) -> tuple[float, float]:
    """Records a second of processor time, which others on the machine do not take, and by the clock."""
    gc.collect()
    clock, processor = time.perf_counter(), time.process_time()
    found = work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    done = found if isinstance(found, int) else found.num_rows
    if done != count:
        sys.exit(f"{done:,} of {count:,} records came out")
    return count / processor, count / clock


def in_turn(datagrams: list[Datagram], count: int) -> dict[str, tuple[float, float]]:
    """One round of each."""
    with tempfile.TemporaryDirectory() as folder:
        collecting = collected(datagrams, Path(folder) / "workspace")
        return {
            "decoded": rates(partial(ours, datagrams), count),
            "baseline": rates(partial(theirs, datagrams), count),
            "collected": rates(collecting, count),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=600_000)
    parser.add_argument("--exporters", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["SUBSIGHT_KEY"] = "k" * 32
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for version, name in NAMES.items():
        datagrams = sent(version, asked.records, asked.exporters)
        compare(datagrams, version, asked.records)
        for _ in range(asked.rounds):
            for who, pair in in_turn(datagrams, asked.records).items():
                found.setdefault((name, who), []).append(pair)
    print(
        f"\nrecords/s of one core, {asked.exporters} exporters, {asked.rounds} rounds in turns: "
        f"median (min to max); load average {os.getloadavg()[1]:.0f}"
    )
    print(f"{'':18}{'by processor time':>36}{'by the clock':>36}{'times':>8}")
    for (name, who), values in found.items():
        processor, clock = ([pair[which] for pair in values] for which in (0, 1))
        base = [pair[0] for pair in found[name, "baseline"]]
        times = statistics.median(a / b for a, b in zip(processor, base, strict=True))
        print(f"{name:8}{who:10}{shown(processor):>36}{shown(clock):>36}{times:8.1f}")


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    main()
