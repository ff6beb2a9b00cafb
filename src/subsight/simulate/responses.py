"""Purchases after offers were shown: as planted for those who were, less often for those who were not."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from subsight.eligibility import conditions
from subsight.errors import ConfigurationError, InputError
from subsight.privacy import pseudonym, subscriber
from subsight.simulate.operator import OfferMarket, SimulatedOffers, SimulatedResponses
from subsight.simulate.population import Floats, Integers
from subsight.simulate.writing import staged

__all__ = ["Window", "write_responses"]

_HEADERS: Final = {"dl_bytes": "bytesFromServer", "ul_bytes": "bytesFromClient"}
"""By canonical name what a condition on a volume looks at in the usage."""


@dataclass(frozen=True)
class Window:
    """When responses come, how often without being shown an offer, and the seed of their draws."""

    starts_at: datetime
    days: int
    organic: float
    seed: int

    @property
    def ends_at(self) -> datetime:
        """The first moment after the window."""
        return self.starts_at + timedelta(days=self.days)


@dataclass(frozen=True)
class _Market:
    """One row a subscriber, one column an offer; `begins` and `ends` in seconds, an end no longer part."""

    identifiers: list[str]
    offers: list[str]
    kinds: Integers
    probability: Floats  # types x offers
    begins: list[float]
    ends: list[float]
    may_have: list[Any]  # by offer which subscribers


def write_responses(
    market: OfferMarket,
    simulated: SimulatedOffers,
    recommendations: pa.Table,
    output: Path,
    window: Window,
    key: bytes | None,
) -> SimulatedResponses:
    """Draws the responses and writes their files: complete or not there."""
    truths = json.loads(simulated.truths.read_text(encoding="utf-8"))
    knobs = {**asdict(market), "starts_on": market.starts_on.isoformat()}
    differ = [name for name, value in knobs.items() if truths.get(name) != value]
    if differ:
        raise ConfigurationError(
            f"{simulated.truths} is of another market",
            found=", ".join(f"{name} of {truths.get(name)}" for name in differ),
            expected=", ".join(f"{name} of {knobs[name]}" for name in differ),
            do="give the market that the files were simulated with",
        )
    known = _read(simulated, truths)
    shown = _shown(recommendations, known, key)
    purchases, counts = _purchases(known, shown, window)
    told = {
        "market": knobs,
        "starts_at": window.starts_at.isoformat(), "days": window.days, "organic": window.organic,
        "seed": window.seed, "probability": truths["probability"], **counts,
    }  # fmt: skip
    files = SimulatedResponses(Path("responses.parquet"), Path("truth/responses.json"))
    with staged(output) as stage:
        pq.write_table(purchases, stage / files.purchases, compression="zstd")
        (stage / files.truths).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return SimulatedResponses(output / files.purchases, output / files.truths)


def _read(simulated: SimulatedOffers, truths: dict[str, Any]) -> _Market:
    """The market as its files have it."""
    types = pq.read_table(simulated.types)
    planted = truths["probability"]
    kinds = pc.index_in(types["type"], value_set=pa.array(list(planted))).to_numpy()
    usage = pq.read_table(simulated.usage, columns=[*_HEADERS.values()])
    with simulated.offers.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["offer_id"] for row in rows]
    day = timedelta(days=1)
    return _Market(
        types["subscriber_id"].to_pylist(), names, kinds,
        np.array([[of[name] for name in names] for of in planted.values()]),
        [_seconds(row["valid_from"], timedelta()) for row in rows],
        [_seconds(row["valid_to"], day) for row in rows],
        [_may_have(usage, row["eligibility"]) for row in rows],
    )  # fmt: skip


def _seconds(day: str, later: timedelta) -> float:
    return (datetime.combine(datetime.fromisoformat(day).date(), time(), UTC) + later).timestamp()


def _may_have(usage: pa.Table, text: str) -> Any:
    """Which subscribers meet the conditions of an offer; one whose value is missing does not."""
    meets = np.ones(usage.num_rows, np.bool_)
    for condition in conditions(text):
        values = usage[_HEADERS[condition.column]].cast(pa.float64()).to_numpy()
        meets &= values >= (-np.inf if condition.low is None else condition.low)
        meets &= values <= (np.inf if condition.high is None else condition.high)
    return meets


def _shown(recommendations: pa.Table, known: _Market, key: bytes | None) -> list[Integers]:
    """By offer the rows of the subscribers who are shown it.

    Raises:
        InputError: a column is lacking, or a subscriber or offer is unknown.
    """
    lacking = {"subscriber_id", "offer_id"} - set(recommendations.column_names)
    if lacking:
        raise InputError(
            "recommendations lack a column", found=", ".join(recommendations.column_names),
            expected="subscriber_id and offer_id",
        )  # fmt: skip
    names = known.identifiers
    if key is not None:
        names = [pseudonym(subscriber(name) or name, key) for name in names]
    rows = _places(recommendations["subscriber_id"], names, "subscribers")
    offers = _places(recommendations["offer_id"], known.offers, "offers")
    return [np.unique(rows[offers == offer]) for offer in range(len(known.offers))]


def _places(column: pa.ChunkedArray, names: list[str], what: str) -> Integers:
    found = pc.index_in(column.cast(pa.string()), value_set=pa.array(names, pa.string()))
    if found.null_count:
        raise InputError(
            f"recommendations name {what} that the market does not have",
            found=f"{found.null_count:,} of {len(found):,} rows",
            expected=f"{what} as the files of the market name them",
            do="check the market, and the key where subscribers are pseudonyms",
        )
    return np.asarray(found.to_numpy(), np.int64)


def _purchases(known: _Market, shown: list[Integers], window: Window) -> tuple[pa.Table, dict[str, Any]]:
    """Who buys what and when, and the counts of pairs and purchases, expected and come."""
    rng = np.random.default_rng(np.random.SeedSequence([window.seed, 1]))
    start, end = window.starts_at.timestamp(), window.ends_at.timestamp()
    size = len(known.kinds)
    who, what, when = [], [], []
    totals = np.zeros((2, 3))  # not shown and shown: pairs, purchases to be expected, purchases that came
    for offer, rows in enumerate(shown):
        is_shown = np.zeros(size, np.bool_)
        is_shown[rows] = True
        # As many draws whoever buys: what others are shown changes no draw.
        chance, moment = rng.random(size), rng.random(size)
        low, high = max(start, known.begins[offer]), min(end, known.ends[offer])
        likely = known.probability[known.kinds, offer] * np.where(is_shown, 1.0, window.organic)
        likely = np.where(known.may_have[offer] & (low < high), likely, 0.0)
        buys = chance < likely
        for pick in (0, 1):
            of = is_shown == pick
            totals[pick] += of.sum(), likely[of].sum(), buys[of].sum()
        buyers = np.flatnonzero(buys)
        who.append(buyers)
        what.append(np.full(len(buyers), offer))
        when.append(_times(moment[buyers], low, high))
    at = np.concatenate(when)
    order = np.argsort(at, kind="stable")
    table = pa.table({
        "subscriber_id": pa.array(known.identifiers).take(pa.array(np.concatenate(who)[order])),
        "offer_id": pa.array(known.offers).take(pa.array(np.concatenate(what)[order])),
        "purchased_at": pa.array(at[order]).cast(pa.timestamp("us", "UTC")),
    })  # fmt: skip
    counts: dict[str, Any] = {}
    for name, (pairs, expected, came) in zip(("not_shown", "shown"), totals.tolist(), strict=True):
        counts[f"{name}_pair_count"] = int(pairs)
        counts[f"expected_{name}_purchase_count"] = expected
        counts[f"{name}_purchase_count"] = int(came)
    return table, counts


def _times(moments: Floats, low: float, high: float) -> Integers:
    """Microseconds since 1970, from the first to before the last of two times in seconds."""
    first, span = round(low * 1e6), round((high - low) * 1e6)
    return first + np.minimum(moments * span, max(span - 1, 0)).astype(np.int64)
