"""A synthetic operator of any size with known truths, for the demo, tests and benchmarks.

Everything follows from the knobs and the seed, whatever the number of cores. The draws do not depend on
the quality effects: operators that differ in `handset_effect` alone differ in what it planted alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from subsight.simulate.operator import (
    APPLICATIONS,
    FAULTS,
    TABLE_FAULTS,
    FileFormat,
    FlowNetwork,
    OfferMarket,
    Operator,
    SimulatedFlows,
    SimulatedOffers,
    SimulatedResponses,
    Simulation,
    SubscriberBase,
    SubscriberTable,
    checked,
    checked_base,
    checked_market,
    checked_network,
    checked_responses,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "APPLICATIONS",
    "FAULTS",
    "TABLE_FAULTS",
    "FlowNetwork",
    "OfferMarket",
    "Operator",
    "SimulatedFlows",
    "SimulatedOffers",
    "SimulatedResponses",
    "Simulation",
    "SubscriberTable",
    "simulate",
    "simulate_flows",
    "simulate_offers",
    "simulate_responses",
    "simulate_subscribers",
]


def simulate(
    operator: Operator,
    output: Path,
    *,
    file_format: FileFormat = "parquet",
    progress: Callable[[float], None] | None = None,
) -> Simulation:
    """Sessions in start order and the truths behind them, in the folder `output`.

    Files appear when all of them are complete and replace those of an earlier simulation.
    `progress` is given the share that is done, from 0 to 1. Memory: 12 bytes a session and about
    200 a subscriber, beside a few chunks of 250,000 sessions.

    Raises:
        ConfigurationError: a knob is out of range.
        StorageError: the folder cannot be written.
    """
    checked(operator, file_format)
    # NumPy and Arrow wait until there is something to simulate.
    from subsight.simulate.writing import write

    return write(operator, output, file_format, progress)


def simulate_subscribers(
    rows: int,
    output: Path,
    seed: int = 7,
    segments: int = 4,
    separation: float = 6.0,
    *,
    churn_effect: float = 1.0,
    missing: float = 0.0,
    faults: bool = False,
) -> SubscriberTable:
    """A table of `rows` subscribers with planted segments, and the truth, in the folder `output`.

    The plan follows the segment; browser, bearer and browsing category do not. The identifiers are
    those of a simulated operator of that size. The knobs are told in `SubscriberBase`.

    Raises:
        ConfigurationError: a knob is out of range.
        StorageError: the folder cannot be written.
    """
    base = SubscriberBase(rows, seed, segments, separation, churn_effect, missing, faults)
    checked_base(base)
    from subsight.simulate.subscriber_table import write_table

    return write_table(base, output)


def simulate_flows(network: FlowNetwork, output: Path) -> SimulatedFlows:
    """Flows with planted habits, the leases of their addresses and the truths, in the folder `output`.

    The subscribers are those of a simulated operator of that size. Memory: one day's flows.

    Raises:
        ConfigurationError: a knob is out of range.
        StorageError: the folder cannot be written.
    """
    checked_network(network)
    from subsight.simulate.flows import write_flows

    return write_flows(network, output)


def simulate_offers(market: OfferMarket, output: Path) -> SimulatedOffers:
    """Usage, a catalogue, purchases with a planted response and the truths, in the folder `output`.

    The subscribers are those of a simulated operator of that size. Memory: about 400 bytes a subscriber.

    Raises:
        ConfigurationError: a knob is out of range.
        StorageError: the folder cannot be written.
    """
    checked_market(market)
    from subsight.simulate.offers import write_offers

    return write_offers(market, output)


def simulate_responses(
    market: OfferMarket,
    simulated: SimulatedOffers,
    recommendations: pa.Table,
    output: Path,
    *,
    starts_at: datetime,
    days: int = 14,
    organic: float = 0.3,
    seed: int,
    key: bytes | None = None,
) -> SimulatedResponses:
    """What the subscribers of a market buy in `days` after they were shown offers, in the folder `output`.

    One who is shown an offer buys it with the planted probability of type and offer, one who is not with
    `organic` times that: at most once, at even chance within the part of the window in which it is valid.
    Nobody buys what is not valid in the window or not for them, shown or not; whose volume the usage leaves
    out does not meet a condition on it. Rank and history change nothing. The draws do not depend on what is
    shown: recommendations that differ for one subscriber differ in the purchases of that one alone.

    Args:
        market, simulated: what `simulate_offers` was given and wrote.
        recommendations: `subscriber_id` (as in the usage; with `key` its pseudonym under that key) and
            `offer_id`; a pair that is there twice is shown once, other columns are ignored.
        starts_at: when the offers are shown.

    Raises:
        ConfigurationError: a knob is out of range, or the files are of another market.
        InputError: recommendations lack a column, or name subscribers or offers of no market.
        StorageError: the folder cannot be written.
    """
    checked_responses(starts_at, days, organic, seed)
    from subsight.simulate.responses import Window, write_responses

    window = Window(starts_at, days, organic, seed)
    return write_responses(market, simulated, recommendations, output, window, key)
