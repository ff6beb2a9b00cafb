"""A subscriber table with planted segments, by the published names; the truth stands beside it."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from subsight.simulate.operator import TABLE_FAULTS, SubscriberBase, SubscriberTable
from subsight.simulate.population import Floats, Integers, numbers
from subsight.simulate.writing import staged

__all__ = ["write_table"]

Texts = NDArray[np.object_]
Columns = dict[str, Texts]

_HEADER: Final = ("Subscriber", "Region", "TENURE_Days", "l4_ul_throughput", "l4_dl_throughput",
                  "bearer_type", "browser", "browsing_category", "plan", "is_churned")  # fmt: skip
_HOLED: Final = ("Region", "TENURE_Days", "l4_ul_throughput", "l4_dl_throughput", "plan")
_PLANS: Final = ("Max", "Plus", "Basic", "Prepaid", "Youth", "Senior", "Family", "Business")
_OTHERS: Final = {
    "bearer_type": ("4G", "5G", "3G"), "browser": ("Chrome", "Safari", "Firefox", "Opera"),
    "browsing_category": ("News", "Video", "Shopping", "Social", "Games"),
}  # fmt: skip
_REGIONS: Final = 4
_LOYALTY: Final = 0.7  # of a segment to its own plan; and half of it to its own region
_TURN: Final = 0.5  # of the ring of segments, in radians: so that no two rank alike
_DAYS: Final = (1_800.0, 1_500.0)
_KILOBYTES: Final = (120e6, 100e6)
_UPLINK_SHARE: Final = 0.12
_CHURN: Final = (0.20, 0.15)
_ONE_FAULT_IN: Final = 1_000


def _ring(base: SubscriberBase) -> Floats:
    """Segments' centres as (tenure, volume) in deviations within a segment, highest sum first."""
    angles = 2 * np.pi * np.arange(base.segments) / base.segments + _TURN
    radius = base.separation / (2 * np.sin(np.pi / base.segments)) if base.segments > 1 else 0.0
    centres = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    return centres[np.argsort(-centres.sum(axis=1), kind="stable")]


def _scaled(deviations: Floats, radius: float, scale: tuple[float, float]) -> Integers:
    """Deviations as positive numbers about a mean: four of them beyond the ring stay above zero."""
    mean, spread = scale
    return np.maximum(1, np.rint(mean + spread / (radius + 4) * deviations)).astype(np.int64)


def _own_or_any(own: Integers, count: int, loyalty: float, rng: np.random.Generator) -> Integers:
    return np.where(rng.random(len(own)) < loyalty, own % count, rng.integers(0, count, len(own)))


def _texts(values: Integers, words: tuple[str, ...]) -> Texts:
    return np.array(words, object)[values]


def _draw(base: SubscriberBase, rng: np.random.Generator) -> tuple[Columns, Integers, Floats]:
    """The columns as text, each subscriber's segment and churn probability."""
    count = base.rows
    centres = _ring(base)
    segment = rng.integers(0, base.segments, count)
    noise = rng.standard_normal((count, 2))
    radius = float(np.hypot(*centres[0]))
    tenure = _scaled(centres[segment, 0] + noise[:, 0], radius, _DAYS)
    volume = _scaled(centres[segment, 1] + noise[:, 1], radius, _KILOBYTES)
    uplink = np.rint(volume * _UPLINK_SHARE * np.exp(0.1 * rng.standard_normal(count))).astype(np.int64)
    rank = segment / max(1, base.segments - 1)
    churn_probability = _CHURN[0] + _CHURN[1] * base.churn_effect * (2 * rank - 1)
    region = 1 + _own_or_any(segment, _REGIONS, _LOYALTY / 2, rng)
    plan = _own_or_any(segment, base.segments, _LOYALTY, rng)
    columns: Columns = {
        "Subscriber": np.array(numbers(999, 9, 611_953_061, count).to_pylist(), object),
        "Region": region.astype(str).astype(object),
        "TENURE_Days": tenure.astype(str).astype(object),
        "l4_ul_throughput": uplink.astype(str).astype(object),
        "l4_dl_throughput": (volume - uplink).astype(str).astype(object),
        **{name: _texts(rng.integers(0, len(w), count), w) for name, w in _OTHERS.items()},
        "plan": _texts(plan, _PLANS),
        "is_churned": (rng.random(count) < churn_probability).astype(int).astype(str).astype(object),
    }
    for name in _HOLED:
        columns[name][rng.random(count) < base.missing] = ""
    return columns, segment, churn_probability


def _spoil(columns: Columns, base: SubscriberBase, rng: np.random.Generator) -> dict[str, int]:
    """Plants the faults, each in rows of its own; further rows stand at the end. How many of each."""
    each = max(1, base.rows // _ONE_FAULT_IN) if base.faults else 0
    # Rows without a hole, so that each fault is the one that is planted.
    whole = np.flatnonzero(np.all([columns[name] != "" for name in _HOLED], axis=0))
    each = min(each, len(whole) // len(TABLE_FAULTS))
    drawn = rng.choice(whole, len(TABLE_FAULTS) * each, replace=False)
    at = {kind: drawn[i * each : (i + 1) * each] for i, kind in enumerate(TABLE_FAULTS)}
    columns["Subscriber"][at["without_identifier"]] = ""
    columns["Subscriber"][at["lost_digits"]] = "9.99E+011"
    columns["TENURE_Days"][at["negative_tenure"]] = "-5"
    columns["l4_ul_throughput"][at["unreadable_volume"]] = "12;5"
    columns["l4_dl_throughput"][at["endless_volume"]] = "inf"
    columns["is_churned"][at["unreadable_flag"]] = "perhaps"
    for name in _HEADER:
        disputed = columns[name][at["disputed"]]
        if name == "TENURE_Days":
            disputed = np.array([str(int(days) + 1) for days in disputed], object)
        columns[name] = np.concatenate([columns[name], columns[name][at["repeated"]], disputed])
    return dict.fromkeys(TABLE_FAULTS, each)


def write_table(base: SubscriberBase, output: Path) -> SubscriberTable:
    """Draws the table and writes its files: complete or not there."""
    table_seed, fault_seed = np.random.SeedSequence(base.seed).spawn(2)
    columns, segment, churn_probability = _draw(base, np.random.default_rng(table_seed))
    truth = pa.table({
        "subscriber_id": pa.array(columns["Subscriber"], pa.string()), "segment": segment,
        "churn_probability": churn_probability,
    })  # fmt: skip
    counts = _spoil(columns, base, np.random.default_rng(fault_seed))
    files = SubscriberTable(
        Path("customers.csv"), Path("truth/planted_segments.parquet"), Path("truth/customers.json")
    )
    with staged(output) as stage:
        with (stage / files.table).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_HEADER)
            writer.writerows(zip(*(columns[name] for name in _HEADER), strict=True))
        pq.write_table(truth, stage / files.segments)
        facts = {**asdict(base), "row_count": len(columns["Subscriber"]), "fault_counts": counts}
        (stage / files.facts).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return SubscriberTable(output / files.table, output / files.segments, output / files.facts)
