"""What subscribers do: when they go online, and the record of each session."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from subsight.simulate.operator import APPLICATIONS, Operator
from subsight.simulate.population import Booleans, Floats, Integers, Population
from subsight.tables import SESSIONS, THROUGHPUT_SHARES

__all__ = ["CHUNK", "column_names", "draw_chunk", "period_starts", "schedule", "split"]

# Sessions of one seeded stream, and rows of one row group. A constant, so that what is simulated does
# not depend on the machine.
CHUNK: Final = 250_000

_HOUR_MS: Final = 3_600_000
_OWNER_BITS: Final = 27
# How often sessions start in each hour (UTC): the busy hour is 20, weekends are busier and later.
_WEEKDAY: Final = (18, 11, 7, 5, 5, 8, 18, 34, 46, 50, 52, 55,
                   58, 56, 54, 55, 60, 68, 78, 90, 100, 92, 66, 38)  # fmt: skip
_WEEKEND: Final = (36, 24, 16, 10, 7, 7, 11, 19, 34, 50, 65, 74,
                   82, 82, 79, 79, 84, 91, 101, 113, 125, 118, 94, 62)  # fmt: skip
_LOAD: Final = np.array(_WEEKDAY) / max(_WEEKDAY)

# Of a subscriber without a favourite, in the order of APPLICATIONS.
_USUAL_MIX: Final = np.array((0.12, 0.10, 0.02, 0.35, 0.25, 0.08, 0.03, 0.05))
_FAVOURITE_MIX: Final = 0.45 * np.eye(len(APPLICATIONS)) + 0.55 * _USUAL_MIX  # [favourite, application]
_UL_PER_DL: Final = np.array((0.15, 0.08, 0.30, 0.03, 0.02, 0.12, 0.45, 0.10))
_AT_HOME: Final = 0.7

_MEDIAN_DURATION_S: Final = 1_200
_LONGEST_S: Final = 24 * 3_600
_MEDIAN_DL_BYTES: Final = 30e6
_MEDIANS: Final = {"dl": (4_000.0, 45.0, 0.008), "ul": (600.0, 12.0, 0.006)}  # kbps, ms, share of volume
_EDGES_KBPS: Final = {"dl": (50, 250, 1_000), "ul": (10, 50, 300)}

_SHARES: Final = dict(zip(("dl", "ul"), THROUGHPUT_SHARES, strict=True))
_VOLUMES: Final = {
    direction: tuple(column.name for column in SESSIONS if column.name.startswith(f"{direction}_volume_"))
    for direction in ("dl", "ul")
}


def period_starts(operator: Operator) -> tuple[datetime, datetime, datetime]:
    """The start of the first period, of the second, and the end of the second."""
    first = datetime.combine(operator.starts_on, time(), UTC)
    return first, first + timedelta(days=operator.days // 2), first + timedelta(days=operator.days)


def schedule(operator: Operator, session_count: Integers, rng: np.random.Generator) -> Integers:
    """Every session in start order: the start (ms since the first day) times 2^27, plus its subscriber.

    One number for both sorts in place and takes 8 bytes a session.
    """
    days = [operator.starts_on + timedelta(days=day) for day in range(operator.days)]
    weights = np.concatenate([_WEEKEND if day.weekday() >= 5 else _WEEKDAY for day in days]).astype(float)
    until = np.cumsum(weights) / weights.sum()
    middle = until[len(until) // 2 - 1]
    owners = np.repeat(np.arange(len(session_count), dtype=np.int32), session_count)
    first = np.cumsum(session_count) - session_count
    keys = np.empty(len(owners), np.int64)
    for low in range(0, len(keys), CHUNK):
        owner = owners[low : low + CHUNK].astype(np.int64)
        rank = np.arange(low, low + len(owner)) - first[owner]
        when = rng.random(len(owner))
        # A subscriber's first two sessions fall in different periods, so that most are seen in both.
        is_late = (rank + owner) % 2 == 1
        in_period = np.where(is_late, middle + when * (1 - middle), when * middle)
        slot = np.searchsorted(until, np.where(rank < 2, in_period, when), side="right")
        slot = np.minimum(slot, len(until) - 1)
        start_ms = slot * _HOUR_MS + rng.integers(0, _HOUR_MS, len(owner))
        keys[low : low + len(owner)] = (start_ms << _OWNER_BITS) | owner
    keys.sort()
    return keys


def split(keys: Integers) -> tuple[Integers, Integers]:
    """The start of each session, in ms since the first day, and its subscriber."""
    return keys >> _OWNER_BITS, keys & ((1 << _OWNER_BITS) - 1)


def _draw_volumes(
    population: Population, owner: Integers, stretch: Floats, rng: np.random.Generator
) -> dict[str, Integers]:
    """Bytes per application, and totals that are exactly their sums. Longer sessions carry more."""
    shape = (len(APPLICATIONS), len(owner))
    volume = population.appetite[owner] + 0.5 * stretch + 0.6 * rng.standard_normal(len(owner))
    mix = np.exp(0.8 * rng.standard_normal(shape))
    mix *= _FAVOURITE_MIX.T[:, population.favourite[owner]]
    mix *= _MEDIAN_DL_BYTES * np.exp(volume) / mix.sum(axis=0)
    dl = np.rint(mix).astype(np.int64)
    mix *= np.exp(0.4 * rng.standard_normal(shape))
    mix *= _UL_PER_DL[:, None]
    ul = np.rint(mix).astype(np.int64)
    columns = {}
    for direction, volumes in (("dl", dl), ("ul", ul)):
        total = volumes.sum(axis=0)
        columns[f"{direction}_bytes"] = total
        for app, values in zip(APPLICATIONS, volumes, strict=True):
            columns[f"app_{app.slug}_{direction}_bytes"] = values
        columns[f"http_{direction}_bytes"] = (total * rng.uniform(0.02, 0.3, len(total))).astype(np.int64)
    return columns


def _time_in_bands(
    direction: str, log_kbps: Floats, active_s: Floats, columns: dict[str, NDArray[Any]]
) -> None:
    """Shares (whole percents that sum to 1) and seconds in each band, as throughput varies in a session."""
    percents, seconds = [np.zeros(len(log_kbps), np.int64)], [np.zeros(len(log_kbps))]
    for edge in _EDGES_KBPS[direction]:
        below = 1 / (1 + np.exp((log_kbps - np.log(edge)) / 0.8))
        percents.append(np.rint(100 * below).astype(np.int64))
        seconds.append(np.rint(active_s * below))
    percents.append(np.full(len(log_kbps), 100))
    seconds.append(np.rint(active_s))
    for band, (share, volume) in enumerate(zip(_SHARES[direction], _VOLUMES[direction], strict=True)):
        columns[share] = (percents[band + 1] - percents[band]) / 100
        columns[volume] = seconds[band + 1] - seconds[band]


def _draw_quality(
    operator: Operator,
    population: Population,
    owner: Integers,
    cell: Integers,
    start_ms: Integers,
    columns: dict[str, NDArray[Any]],
    rng: np.random.Generator,
) -> None:
    """Throughput, round-trip time, retransmission, activity and time in bands, both directions."""
    link = population.link[owner]
    load = _LOAD[start_ms // _HOUR_MS % 24]
    bad_handset = operator.handset_effect * population.handsets.is_bad[population.handset[owner]]
    bad_cell = operator.cell_effect * population.cells.is_bad[cell]
    duration_ms = columns["duration_ms"].astype(np.float64)
    for direction, (kbps, rtt_ms, retransmitted) in _MEDIANS.items():
        noise = rng.standard_normal((3, len(owner)))
        log_kbps = np.log(kbps) + 0.35 * link - 0.25 * load - 0.9 * bad_handset + 0.5 * noise[0]
        log_rtt = np.log(rtt_ms) - 0.2 * link + 0.2 * load + 0.9 * bad_cell + 0.35 * noise[1]
        log_rate = np.log(retransmitted) - 0.3 * link + 0.8 * (bad_handset + bad_cell) + 0.6 * noise[2]
        throughput = np.exp(log_kbps)
        volume = columns[f"{direction}_bytes"].astype(np.float64)
        lost = np.minimum(np.exp(log_rate), 0.5) * volume
        columns[f"rtt_{direction}_ms"] = np.rint(10 * np.exp(log_rtt)) / 10
        columns[f"throughput_{direction}_kbps"] = np.rint(throughput)
        columns[f"tcp_retransmission_{direction}_bytes"] = lost.astype(np.int64)
        activity_ms = np.minimum(np.rint(8 * volume / throughput), duration_ms)
        columns[f"activity_{direction}_ms"] = activity_ms
        _time_in_bands(direction, log_kbps, activity_ms / 1000, columns)


def _missing(operator: Operator, count: int, rng: np.random.Generator) -> dict[str, Booleans]:
    names = [f"{name}_{way}" for name in ("rtt", "tcp_retransmission") for way in ("dl", "ul")]
    columns = [f"{name}_{'ms' if name.startswith('rtt') else 'bytes'}" for name in names]
    return {column: rng.random(count) < operator.missing for column in columns}


def _instants(operator: Operator, since_ms: Integers) -> pa.Array:
    origin_us = int(period_starts(operator)[0].timestamp()) * 1_000_000
    return pa.array(origin_us + 1000 * since_ms).cast(pa.timestamp("us", "UTC"))


def column_names() -> tuple[str, ...]:
    """The extract's columns: the canonical ones that are not derived, with identifiers in clear."""
    return tuple(
        column.identifier or column.name for column in SESSIONS.expand(APPLICATIONS) if not column.derived
    )


def _draw_measures(
    operator: Operator, population: Population, keys: Integers, rng: np.random.Generator
) -> tuple[Integers, dict[str, NDArray[Any]]]:
    """The cell of each session, as an index, and every column that is a number."""
    start_ms, owner = split(keys)
    stretch = rng.standard_normal(len(keys))
    duration_s = np.clip(_MEDIAN_DURATION_S * np.exp(stretch), 1, _LONGEST_S)
    duration_ms = np.rint(1000 * duration_s)
    # Away from home is where others are at home: popular cells are visited more.
    others = population.home_cell[rng.integers(0, len(population.home_cell), len(keys))]
    cell = np.where(rng.random(len(keys)) < _AT_HOME, population.home_cell[owner], others)
    columns: dict[str, NDArray[Any]] = {"duration_s": duration_ms / 1000, "duration_ms": duration_ms}
    columns |= _draw_volumes(population, owner, stretch, rng)
    _draw_quality(operator, population, owner, cell, start_ms, columns, rng)
    return cell, columns


def draw_chunk(
    operator: Operator,
    population: Population,
    keys: Integers,
    first: int,
    faults: dict[str, Integers],
    rng: np.random.Generator,
) -> pa.Table:
    """The records of the sessions that `keys` (see `schedule`) list, of which the first is number `first`.

    `faults` gives the positions in this chunk to spoil, by kind.
    """
    start_ms, owner = split(keys)
    cell, columns = _draw_measures(operator, population, keys, rng)
    hidden = _missing(operator, len(keys), rng)
    end_ms = start_ms + columns["duration_ms"].astype(np.int64)
    early, negative = faults["end_before_start"], faults["negative_volume"]
    end_ms[early] = 2 * start_ms[early] - end_ms[early]
    for name in ("dl_bytes", *(f"app_{app.slug}_dl_bytes" for app in APPLICATIONS)):
        columns[name][negative] *= -1
    nameless = np.isin(np.arange(len(keys)), faults["without_msisdn"])

    handset = pa.array(population.handset[owner])
    arrays = {
        "msisdn": population.msisdn.take(pa.array(owner, mask=nameless)),
        "imsi": population.imsi.take(pa.array(owner)),
        "imei": population.imei.take(pa.array(owner)),
        "bearer_id": pa.array(10**18 + (first + np.arange(len(keys))) * 611_953_061).cast(pa.string()),
        "cell_id": population.cells.cell_id.take(pa.array(cell)),
        "start_at": _instants(operator, start_ms),
        "end_at": _instants(operator, end_ms),
        "handset_manufacturer": population.handsets.manufacturer.take(handset),
        "handset": population.handsets.name.take(handset),
        **{name: pa.array(values, mask=hidden.get(name)) for name, values in columns.items()},
    }
    table = pa.table({name: arrays[name] for name in column_names()})
    if len(faults["duplicate"]) == 0:
        return table
    return table.take(pa.array(np.sort(np.concatenate([np.arange(len(keys)), faults["duplicate"]]))))
