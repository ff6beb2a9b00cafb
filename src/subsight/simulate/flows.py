"""Flows of a synthetic operator with known truths: who grows, leaves or moves to the night, and the peak."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from subsight.simulate.operator import FlowNetwork, SimulatedFlows
from subsight.simulate.population import Integers, numbers
from subsight.simulate.writing import staged

__all__ = ["write_flows"]

_CHUNK: Final = 500_000
_SERVERS: Final = 200

# Label and category of inspection, protocol, port, share of flows, median bytes down; 0 is a random port.
_SERVICES: Final = (
    ("YouTube", "Video", 17, 443, 0.12, 9_000_000.0),
    ("Netflix", "Video", 6, 443, 0.05, 15_000_000.0),
    ("TLS", "Web", 6, 443, 0.34, 60_000.0),
    ("HTTP", "Web", 6, 80, 0.08, 30_000.0),
    ("Instagram", "SocialNetwork", 6, 443, 0.12, 150_000.0),
    ("WhatsApp", "Chat", 6, 5222, 0.08, 20_000.0),
    ("Steam", "Game", 17, 27015, 0.05, 200_000.0),
    ("DNS", "Network", 17, 53, 0.10, 300.0),
    ("OpenVPN", "VPN", 17, 1194, 0.02, 100_000.0),
    ("IMAPS", "Email", 6, 993, 0.02, 40_000.0),
    (None, None, 17, 0, 0.02, 50_000.0),
)  # fmt: skip
_VIDEO: Final = (0, 1)
_GROWTH: Final = 3.0  # of a grower's video flows in the last week
_HOURS: Final = np.array(
    [18, 10, 6, 4, 3, 4, 8, 15, 22, 26, 28, 30, 34, 32, 30, 30, 34, 40, 50, 62, 75, 90, 70, 40], np.float64
)
"""Flows by local hour; the evening peaks at 21."""


def write_flows(network: FlowNetwork, output: Path) -> SimulatedFlows:
    """Flows in the order of their times, leases and truths, in the folder `output`."""
    rng = np.random.default_rng(network.seed)
    kinds = _kinds(network, rng)
    with staged(output) as folder:
        names = SimulatedFlows(*(output / n for n in ("flows.parquet", "leases.csv", "flow_truths.json")))
        writer = None
        for day in range(network.days):
            for table in _day(network, kinds, day, rng):
                target = folder / names.flows.name
                writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
                writer.write_table(table)
        if writer:
            writer.close()
        _write_leases(network, folder / names.leases.name)
        truths = {**asdict(network), "busy_hour": int(_HOURS.argmax()), "kinds": _told(network, kinds)}
        (folder / names.truths.name).write_text(json.dumps(truths, indent=1), encoding="utf-8")
    return names


def _kinds(network: FlowNetwork, rng: np.random.Generator) -> Integers:
    """What each subscriber does: 0 as always, 1 grows in video, 2 leaves, 3 moves to the night."""
    return rng.choice(4, network.subscribers, p=[0.7, 0.1, 0.1, 0.1])


def _identifiers(network: FlowNetwork) -> list[str]:
    """The numbers of a simulated operator's subscribers."""
    found: list[str] = numbers(999, 9, 611_953_061, network.subscribers).to_pylist()
    return found


_KINDS: Final = ("usual", "grows in video", "leaves", "moves to the night")


def _told(network: FlowNetwork, kinds: Integers) -> dict[str, list[str]]:
    identifiers = _identifiers(network)
    return {
        name: [str(identifiers[i]) for i in np.flatnonzero(kinds == kind)]
        for kind, name in enumerate(_KINDS)
        if kind
    }


def _day(network: FlowNetwork, kinds: Integers, day: int, rng: np.random.Generator) -> Any:
    """The tables of one day's flows, in the order of their times."""
    count = network.flows // network.days + (day < network.flows % network.days)
    is_last_week = day >= network.days - 7
    activity = np.random.default_rng(network.seed + 1).gamma(2.0, 1.0, network.subscribers)
    activity[(kinds == 2) & is_last_week] = 0.0
    who = rng.choice(network.subscribers, count, p=activity / activity.sum())
    kind = kinds[who]
    shares = np.array([row[4] for row in _SERVICES])
    service = rng.choice(len(_SERVICES), count, p=shares / shares.sum())
    if is_last_week:
        grows = (kind == 1) & (rng.random(count) < 1 - 1 / _GROWTH)
        service[grows] = rng.choice(_VIDEO, int(grows.sum()))
    hour = rng.choice(24, count, p=_HOURS / _HOURS.sum())
    if is_last_week:
        moved = kind == 3
        hour[moved] = rng.integers(0, 6, int(moved.sum()))
    begin = datetime.fromisoformat(network.first_day) + timedelta(days=day)
    starts = np.array([_instant(begin, h, network.time_zone) for h in range(24)])
    at = starts[hour] + rng.integers(0, 3_600_000_000, count)
    order = np.argsort(at, kind="stable")
    for low in range(0, count, _CHUNK):
        some = order[low : low + _CHUNK]
        yield _table(network, day, who[some], service[some], at[some], rng)


def _instant(day: datetime, hour: int, zone: str) -> int:
    """When a local hour of a day begins, in microseconds since 1970."""
    local = day.replace(hour=hour, tzinfo=ZoneInfo(zone))
    return int(local.astimezone(UTC).timestamp() * 1e6)


def _address(network: FlowNetwork, who: Integers, day: int) -> Integers:
    """Addresses of subscribers on a day: with leases they change hands every night."""
    place = (who + day * 7_919) % network.subscribers if network.leases else who
    return np.asarray(10 * 2**24 + 1 + place)


def _table(
    network: FlowNetwork, day: int, who: Integers, service: Integers, at: Integers, rng: np.random.Generator
) -> pa.Table:
    count = len(who)
    protocol, port = (np.array([row[i] for row in _SERVICES])[service] for i in (2, 3))
    port = np.where(port == 0, rng.integers(20_000, 49_000, count), port)
    median = np.array([row[5] for row in _SERVICES])[service]
    down = np.rint(median * rng.lognormal(0.0, 1.0, count)).astype(np.int64)
    up = np.rint(down * rng.uniform(0.02, 0.2, count)).astype(np.int64) + 60
    labelled = rng.random(count) < network.labelled_share
    last = at + rng.integers(1_000, 60_000_000, count)
    server = 185 * 2**24 + service * 65_536 + rng.integers(1, _SERVERS, count)
    # Of ten a flow is told by the server's side: exporters see both.
    turned = rng.random(count) < 0.1
    customer, remote = _dotted(_address(network, who, day)), _dotted(server)
    own = rng.integers(49_152, 65_536, count)
    stamp = pa.timestamp("us", "UTC")
    return pa.table({
        "first_seen_at": pa.array(at, pa.int64()).cast(stamp),
        "last_seen_at": pa.array(last, pa.int64()).cast(stamp),
        "src_address": np.where(turned, remote, customer),
        "dst_address": np.where(turned, customer, remote),
        "src_port": np.where(turned, port, own), "dst_port": np.where(turned, own, port),
        "protocol": protocol,
        "src_to_dst_bytes": np.where(turned, down, up), "dst_to_src_bytes": np.where(turned, up, down),
        "src_to_dst_packets": np.where(turned, down, up) // 800 + 1,
        "dst_to_src_packets": np.where(turned, up, down) // 800 + 1,
        "exporter": _words(["bras-1", "bras-2", "bras-3"], who % 3),
        "application": _words([row[0] for row in _SERVICES], service, labelled),
        "application_category": _words([row[1] for row in _SERVICES], service, labelled),
        "application_method": _words(["DPI"], np.zeros(count, np.int64), labelled),
    })  # fmt: skip


def _words(words: list[str | None], places: Integers, known: NDArray[np.bool_] | None = None) -> pa.Array:
    """Words by place, null where not known."""
    chosen = pa.array(places, pa.int32(), mask=None if known is None else ~known)
    return pa.DictionaryArray.from_arrays(chosen, pa.array(words, pa.string())).cast(pa.string())


def _dotted(values: Integers) -> NDArray[np.object_]:
    """IPv4 addresses as text: each distinct one is written once."""
    distinct, places = np.unique(values, return_inverse=True)
    parts = ((v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255) for v in distinct.tolist())
    return np.array([".".join(map(str, octets)) for octets in parts], object)[places]


def _write_leases(network: FlowNetwork, path: Path) -> None:
    """A lease a subscriber and local day, or none."""
    identifiers = _identifiers(network)
    everybody = np.arange(network.subscribers)
    with path.open("w", encoding="utf-8") as file:
        file.write("address,subscriber_id,from_at,to_at\n")
        for day in range(network.days if network.leases else 0):
            begin = datetime.fromisoformat(network.first_day) + timedelta(days=day)
            ends = [_instant(begin + timedelta(days=d), 0, network.time_zone) / 1e6 for d in (0, 1)]
            first, last = (datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for end in ends)
            addresses = _dotted(_address(network, everybody, day))
            file.writelines(
                f"{address},{identifier},{first},{last}\n"
                for address, identifier in zip(addresses, identifiers, strict=True)
            )
