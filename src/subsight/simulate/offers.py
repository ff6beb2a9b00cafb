"""Usage of subscribers of known types, a catalogue, and purchases that answer both as planted."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from subsight.simulate.operator import OfferMarket, SimulatedOffers
from subsight.simulate.population import Floats, Integers, numbers
from subsight.simulate.writing import staged

__all__ = ["write_offers"]

# Share of subscribers; median downlink bytes, uplink as a share of it, sessions, seconds a session.
_TYPES: Final = {
    "streamer": (0.22, 12e9, 0.03, 90, 1_500),
    "gamer": (0.13, 3e9, 0.15, 150, 900),
    "social": (0.30, 1.5e9, 0.20, 600, 120),
    "office": (0.15, 800e6, 0.35, 250, 400),
    "light": (0.20, 60e6, 0.12, 40, 60),
}
_SPREAD: Final = 0.5  # of the logarithm of a volume or count within a type
# By column of the usage what may stand in its lists; after a colon the types that favour it.
_WORDS: Final = {
    "DpiPolicy": "Encrypted:all ClearText:light",
    "contentType": "Web:all Network:all Video:streamer Streaming:streamer Music:streamer,social Game:gamer "
    "SocialNetwork:social Chat:social,gamer VoIP:office,gamer Email:office Cloud:office Collaborative:office "
    "Download:gamer VPN:office SoftwareUpdate:light",
    "IpProtocol": "TCP:all UDP:streamer,gamer,social ICMP:office",
    "appName": "DNS:all TLS:all QUIC:streamer,social HTTP:light YouTube:streamer Netflix:streamer "
    "Twitch:streamer,gamer Spotify:streamer Steam:gamer Xbox:gamer Discord:gamer Facebook:social "
    "Instagram:social WhatsApp:social,light Telegram:social Microsoft365:office Teams:office Zoom:office "
    "Dropbox:office OpenVPN:office Unknown:light",
}
_EVERYBODY, _FAVOURED, _OTHER = 0.9, 0.75, 0.06
"""How often a word stands in the list of one whose type, as all types, favours it; and of any other."""

# Price, megabytes; the identifiers say both. The first three are popular with everybody.
_CATALOGUE: Final = (
    (3000, 100), (1200, 50), (3000, 200), (9900, 10_000), (4500, 500), (5000, 1_000), (2500, 300),
    (1000, 20), (12_000, 20_000), (6000, 2_000), (4000, 400), (1500, 80),
)  # fmt: skip
_POPULAR: Final = 3
_RESTRICTED: Final = 3  # the offer that asks for a downlink volume
_LEAST_BYTES: Final = 2e9
_POPULARITY: Final = (0.10, 0.14)
_RARITY: Final = (0.03, 0.05)
_RESPONSE: Final = (1.5, -0.5)  # added to the logarithm of the popularity: who prefers an offer, who does not
_EXPIRED: Final = 2
_EXPIRY: Final = 0.6  # of the history


@dataclass(frozen=True)
class _Catalogue:
    """One element an offer; `begins` and `ends` in days of the history, an end no longer part of it."""

    names: list[str]
    prices: list[int]
    megabytes: list[int]
    margins: list[float]
    begins: list[int]
    ends: list[int]
    eligibility: list[str]
    popularity: Floats
    preferred_by: Integers  # -1: by nobody


def write_offers(market: OfferMarket, output: Path) -> SimulatedOffers:
    """Draws a market and writes its files: complete or not there."""
    usage_seed, catalogue_seed, purchase_seed = np.random.SeedSequence(market.seed).spawn(3)
    rng = np.random.default_rng(usage_seed)
    shares = np.array([kind[0] for kind in _TYPES.values()])
    kinds = rng.choice(len(_TYPES), market.subscribers, p=shares / shares.sum())
    identifiers = numbers(999, 9, 611_953_061, market.subscribers)
    volumes = _volumes(market, kinds, rng)
    catalogue = _catalogue(market, np.random.default_rng(catalogue_seed))
    probability = _probability(market, catalogue)
    files = SimulatedOffers(
        *map(Path, ("dpi_usage.parquet", "offers.csv", "purchases.parquet", "truth/offer_types.parquet",
                    "truth/offers.json"))
    )  # fmt: skip
    with staged(output) as stage:
        usage = _usage(market, kinds, identifiers, volumes, rng)
        pq.write_table(usage, stage / files.usage, compression="zstd")
        _write_catalogue(market, catalogue, stage / files.offers)
        draw = np.random.default_rng(purchase_seed)
        bought = _purchases(market, catalogue, probability, kinds, identifiers, volumes, draw)
        pq.write_table(bought, stage / files.purchases, compression="zstd")
        types = pa.array(list(_TYPES)).take(pa.array(kinds))
        pq.write_table(pa.table({"subscriber_id": identifiers, "type": types}), stage / files.types)
        truths = _truths(market, catalogue, probability) | {"purchase_count": bought.num_rows}
        (stage / files.truths).write_text(json.dumps(truths, indent=1) + "\n", encoding="utf-8")
    return SimulatedOffers(*(output / getattr(files, name) for name in asdict(files)))


# Usage


def _softened(values: Floats, effect: float) -> Floats:
    """Rows of types drawn towards their mean: at an effect of 0 all types are alike."""
    shares = np.array([kind[0] for kind in _TYPES.values()])
    mean = np.average(values, axis=0, weights=shares)
    return np.asarray(mean + effect * (values - mean))


def _volumes(market: OfferMarket, kinds: Integers, rng: np.random.Generator) -> dict[str, Any]:
    """Bytes, sessions and seconds of each subscriber, log-normal within a type."""
    medians = _softened(np.log([kind[1:] for kind in _TYPES.values()]), market.type_effect)
    drawn = np.exp(medians[kinds] + _SPREAD * rng.standard_normal((len(kinds), 4)))
    down = np.rint(drawn[:, 0])
    sessions = np.maximum(1, np.rint(drawn[:, 2]))
    return {
        "bytesFromClient": np.rint(down * np.minimum(drawn[:, 1], 2)).astype(np.int64),
        "bytesFromServer": down.astype(np.int64),
        "sessions_count": sessions.astype(np.int64),
        "transationDuration": np.round(sessions * drawn[:, 3], 2),
    }


def _usage(
    market: OfferMarket,
    kinds: Integers,
    identifiers: pa.Array,
    volumes: dict[str, Any],
    rng: np.random.Generator,
) -> pa.Table:
    columns: dict[str, pa.Array] = {"SubscriberID": identifiers}
    for name, told in _WORDS.items():
        columns[name] = _lists(market, kinds, told, rng)
    for name, values in volumes.items():
        columns[name] = pa.array(values, mask=rng.random(len(kinds)) < market.missing)
    return pa.table(columns)


def _lists(market: OfferMarket, kinds: Integers, told: str, rng: np.random.Generator) -> pa.Array:
    """A list of words a subscriber, in the order of the vocabulary; null where it is missing."""
    words, favours = zip(*(word.split(":") for word in told.split()), strict=True)
    often = np.array([[_often(kind, by) for by in favours] for kind in _TYPES])
    often = _softened(often, market.type_effect).astype(np.float32)
    held = rng.random((len(kinds), len(words)), dtype=np.float32) < often[kinds]
    missing = rng.random(len(kinds)) < market.missing
    held[missing] = False
    offsets = np.concatenate([[0], np.cumsum(held.sum(axis=1))]).astype(np.int32)
    values = pa.array(words).take(pa.array(np.nonzero(held)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(missing))


def _often(kind: str, by: str) -> float:
    return _EVERYBODY if by == "all" else _FAVOURED if kind in by.split(",") else _OTHER


# Offers


def _catalogue(market: OfferMarket, rng: np.random.Generator) -> _Catalogue:
    """Popular offers, then those of one type after another; the last two are over, one is yet to begin."""
    count = market.offers
    more = ((5_000 + 100 * i, 100 * i + 10) for i in range(len(_CATALOGUE), count))
    prices, megabytes = map(list, zip(*(*_CATALOGUE, *more), strict=True))
    places = np.arange(count)
    is_popular = places < _POPULAR
    popularity = np.where(is_popular, rng.uniform(*_POPULARITY, count), rng.uniform(*_RARITY, count))
    margins = np.round(np.array(prices) * rng.uniform(0.1, 0.4, count), 2)
    margins[_POPULAR + 1] *= -1  # one that the operator loses by
    begins, ends = [-30] * count, [market.days + 180] * count
    begins[-_EXPIRED - 1] = market.days + 7
    ends[-_EXPIRED:] = [max(1, round(_EXPIRY * market.days))] * _EXPIRED
    eligibility = [""] * count
    eligibility[_RESTRICTED] = f"min_dl_bytes={_LEAST_BYTES:.0f}"
    return _Catalogue(
        [f"F{price}G{size}M" for price, size in zip(prices, megabytes, strict=True)],
        prices, megabytes, margins.tolist(), begins, ends, eligibility, popularity,
        np.where(is_popular, -1, (places - _POPULAR) % len(_TYPES)),
    )  # fmt: skip


def _probability(market: OfferMarket, catalogue: _Catalogue) -> Floats:
    """How likely one of a type (row) buys an offer (column) while it is valid."""
    prefers = catalogue.preferred_by[None, :] == np.arange(len(_TYPES))[:, None]
    response = np.where(prefers, *_RESPONSE) * (catalogue.preferred_by >= 0)
    return np.asarray(catalogue.popularity * np.exp(market.response_effect * response))


def _write_catalogue(market: OfferMarket, catalogue: _Catalogue, path: Path) -> None:
    """The offers as CSV; an end is the last day of the offer."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["offer_id", "price", "data_bytes", "valid_from", "valid_to", "eligibility", "margin"]
        )
        for i, name in enumerate(catalogue.names):
            first = market.starts_on + timedelta(days=catalogue.begins[i])
            last = market.starts_on + timedelta(days=catalogue.ends[i] - 1)
            size = catalogue.megabytes[i] * 1_000_000
            writer.writerow([name, catalogue.prices[i], size, first, last, catalogue.eligibility[i],
                             catalogue.margins[i]])  # fmt: skip


# Purchases


def _purchases(
    market: OfferMarket,
    catalogue: _Catalogue,
    probability: Floats,
    kinds: Integers,
    identifiers: pa.Array,
    volumes: dict[str, Any],
    rng: np.random.Generator,
) -> pa.Table:
    """Who bought what and when, at even chance within an offer's days of the history."""
    start = int(datetime.combine(market.starts_on, time(), UTC).timestamp())
    who, what, when = [], [], []
    for offer in range(market.offers):
        last = min(catalogue.ends[offer], market.days) * 86_400
        buys = rng.random(len(kinds)) < probability[kinds, offer]
        if catalogue.begins[offer] >= market.days:
            continue
        if catalogue.eligibility[offer]:
            buys &= volumes["bytesFromServer"] >= _LEAST_BYTES
        buyers = np.flatnonzero(buys)
        who.append(buyers)
        what.append(np.full(len(buyers), offer))
        when.append(start + rng.integers(0, last, len(buyers)))
    at = np.concatenate(when)
    order = np.argsort(at, kind="stable")
    return pa.table({
        "subscriber_id": identifiers.take(pa.array(np.concatenate(who)[order])),
        "offer_id": pa.array(catalogue.names).take(pa.array(np.concatenate(what)[order])),
        "purchased_at": pa.array(at[order] * 1_000_000).cast(pa.timestamp("us", "UTC")),
    })  # fmt: skip


def _truths(market: OfferMarket, catalogue: _Catalogue, probability: Floats) -> dict[str, Any]:
    names = catalogue.names
    return {
        **asdict(market),
        "starts_on": market.starts_on.isoformat(),
        "types": {kind: told[0] for kind, told in _TYPES.items()},
        "popularity": dict(zip(names, catalogue.popularity.tolist(), strict=True)),
        "preferred": {
            kind: [n for n, by in zip(names, catalogue.preferred_by, strict=True) if by == number]
            for number, kind in enumerate(_TYPES)
        },
        "probability": {
            kind: dict(zip(names, row.tolist(), strict=True))
            for kind, row in zip(_TYPES, probability, strict=True)
        },
        "expired": [n for n, end in zip(names, catalogue.ends, strict=True) if end < market.days],
        "upcoming": [n for n, begin in zip(names, catalogue.begins, strict=True) if begin >= market.days],
        "eligibility": {n: text for n, text in zip(names, catalogue.eligibility, strict=True) if text},
    }  # fmt: skip
