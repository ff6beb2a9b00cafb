"""The knobs of a synthetic operator, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from subsight.contracts import Application
from subsight.errors import ConfigurationError

__all__ = [
    "APPLICATIONS",
    "FAULTS",
    "TABLE_FAULTS",
    "FileFormat",
    "FlowNetwork",
    "OfferMarket",
    "Operator",
    "SimulatedFlows",
    "SimulatedOffers",
    "SimulatedResponses",
    "Simulation",
    "SubscriberBase",
    "SubscriberTable",
    "checked",
    "checked_base",
    "checked_market",
    "checked_network",
    "checked_responses",
]

FileFormat = Literal["parquet", "csv"]

APPLICATIONS: Final = (
    Application("social_media", "Social media"),
    Application("web", "Web"),
    Application("email", "Email"),
    Application("video", "Video"),
    Application("streaming", "Streaming"),
    Application("gaming", "Gaming"),
    Application("messaging", "Messaging"),
    Application("other", "Other"),
)

FAULTS: Final = ("without_msisdn", "duplicate", "negative_volume", "end_before_start")

TABLE_FAULTS: Final = ("without_identifier", "lost_digits", "negative_tenure", "unreadable_volume",
                       "endless_volume", "unreadable_flag", "repeated", "disputed")  # fmt: skip

# 36 bits of milliseconds and 27 bits of subscriber share one sortable number (see sessions.schedule).
_MOST_DAYS: Final = 366
_MOST_SEGMENTS: Final = 8
_MOST_SUBSCRIBERS: Final = 100_000_000
_MOST_SESSIONS: Final = 2_000_000_000
# Popular, expired, upcoming and restricted offers, and one that each type prefers beside them.
_LEAST_OFFERS: Final = 12
_MOST_OFFERS: Final = 100


@dataclass(frozen=True)
class Operator:
    """What is planted. An effect of 1 is clear to see, 0 removes it and -1 reverses it.

    `sessions` come in `days` from `starts_on` (UTC), two periods of equal length; each subscriber has
    at least one, and whoever has two is seen in both. Bad handsets have less throughput and more
    retransmission; bad cells longer round trips and more retransmission; `segment_effect` sets the
    distance between light, regular and heavy users; `experience_effect` what experienced quality
    does to survey answers and churn. `missing` is the share of round-trip and retransmission values
    left out. `faults` adds FAULTS, one row in a thousand each, never two of them in one row.
    """

    subscribers: int = 5_000
    sessions: int = 40_000
    seed: int = 7
    starts_on: date = date(2026, 3, 2)
    days: int = 28
    handset_effect: float = 1.0
    cell_effect: float = 1.0
    segment_effect: float = 1.0
    experience_effect: float = 1.0
    missing: float = 0.2
    faults: bool = False


@dataclass(frozen=True)
class Simulation:
    """The files of a simulated operator.

    `sessions` is the xDR extract, which mapping `subsight` describes. In the folder `truth`:
    `subscribers` (one row each: segment, favourite application, home cell, handset, experience as
    a z-score where more is better, churn), `cells` and `handsets` (which are bad), `feedback` (survey
    answers after the second period, satisfaction 1 to 5) and `operator` (the knobs, the number of
    rows and of planted faults).
    """

    sessions: Path
    truth: Path

    @property
    def subscribers(self) -> Path:
        """Parquet: what is true of each subscriber."""
        return self.truth / "subscribers.parquet"

    @property
    def cells(self) -> Path:
        """Parquet: `cell_id, is_bad`."""
        return self.truth / "cells.parquet"

    @property
    def handsets(self) -> Path:
        """Parquet: `tac, handset_manufacturer, handset, is_bad`; no names where the TAC is unknown."""
        return self.truth / "handsets.parquet"

    @property
    def feedback(self) -> Path:
        """CSV: `subscriber_id` (the MSISDN), `answered_at`, `csat` from 1 to 5."""
        return self.truth / "feedback.csv"

    @property
    def operator(self) -> Path:
        """JSON: the knobs, `row_count` and `fault_counts`."""
        return self.truth / "operator.json"


@dataclass(frozen=True)
class SubscriberBase:
    """What is planted in a table of subscribers.

    `separation` is the distance of neighbouring segments in tenure and volume, in standard deviations
    within a segment: 6 is clear to see, 0 removes it. `churn_effect` makes churn fall from the last
    segment to the first by 30 points; 0 removes it and -1 reverses it. `missing` is the share of
    regions, tenures, volumes and plans left out. `faults` plants TABLE_FAULTS, one row in a thousand each.
    """

    rows: int
    seed: int = 7
    segments: int = 4
    separation: float = 6.0
    churn_effect: float = 1.0
    missing: float = 0.0
    faults: bool = False


@dataclass(frozen=True)
class SubscriberTable:
    """The files of a simulated subscriber table.

    `table` is a CSV that mapping `acumos` describes. `segments` is Parquet, one row a subscriber:
    `subscriber_id` (as in the table), `segment` (0 has the longest tenure and the largest volume
    together), `churn_probability`. `facts` is JSON: the knobs, `row_count` and `fault_counts`.
    """

    table: Path
    segments: Path
    facts: Path


@dataclass(frozen=True)
class FlowNetwork:
    """What is planted in flows.

    `flows` come in `days` from `first_day` in `time_zone`, of `subscribers`, and peak at 21:00. In the last
    seven days one in ten subscribers watches three times as much video, one in ten uses nothing, one in ten
    moves to the night. `labelled_share` of the flows has a label of inspection. With `leases` addresses
    change hands every night, and a table tells whose they were.
    """

    subscribers: int = 2_000
    flows: int = 200_000
    days: int = 28
    seed: int = 7
    first_day: str = "2026-03-02"
    time_zone: str = "UTC"
    labelled_share: float = 0.6
    leases: bool = True


@dataclass(frozen=True)
class SimulatedFlows:
    """The files of simulated flows.

    `flows` is Parquet by canonical names. `leases` is a CSV of who had which address when; header only
    without leases. `truths` is JSON: the knobs, `busy_hour`, and by what they do in the last week the
    numbers of the subscribers (`kinds`).
    """

    flows: Path
    leases: Path
    truths: Path


@dataclass(frozen=True)
class OfferMarket:
    """What is planted in usage, offers and purchases.

    `subscribers` are of five types with usage of their own: `type_effect` 1 is clear to see, 0 removes it.
    Three of the `offers` are popular with everybody; each other one is preferred by one type, whose
    members buy it e^(2 x `response_effect`) times as often as the others: 0 leaves popularity alone, -1
    reverses it. Two offers are over before the history of `days` from `starts_on` (UTC) is, one begins
    after it, and one asks for a downlink volume. `missing` is the share of values of usage left out.
    """

    subscribers: int = 5_000
    offers: int = 12
    days: int = 90
    seed: int = 7
    starts_on: date = date(2026, 3, 2)
    type_effect: float = 1.0
    response_effect: float = 1.0
    missing: float = 0.0


@dataclass(frozen=True)
class SimulatedOffers:
    """The files of a simulated market.

    `usage` is Parquet with the headers that offer systems exchange, one row a subscriber; `offers` is CSV;
    `purchases` is Parquet in the order of their times, each offer at most once a subscriber. `types` is
    Parquet: `subscriber_id` (as in the usage), `type`. `truths` is JSON: the knobs; `types` with their
    shares; by offer its `popularity`; `preferred` offers by type; `probability`, by type and offer, that
    an eligible subscriber buys it while it is valid; `expired` and `upcoming` offers; `purchase_count`.
    """

    usage: Path
    offers: Path
    purchases: Path
    types: Path
    truths: Path


@dataclass(frozen=True)
class SimulatedResponses:
    """The files of what was bought after offers were recommended.

    `purchases` is Parquet like those of the market, by clear identifiers, in the order of their times.
    `truths` is JSON: the knobs; `probability`, by type and offer, that one who is shown it buys; of
    `shown` and of `not_shown` pairs of a subscriber and an offer, how many there are, the purchases that
    are to be expected of them and those that came.
    """

    purchases: Path
    truths: Path


def checked_market(market: OfferMarket) -> None:
    """Refuse knobs that no market can have."""
    if not 10 <= market.subscribers <= _MOST_SUBSCRIBERS:
        _refuse("subscribers", market.subscribers, f"10 to {_MOST_SUBSCRIBERS:,}", "choose another number")
    if not _LEAST_OFFERS <= market.offers <= _MOST_OFFERS:
        _refuse("offers", market.offers, f"{_LEAST_OFFERS} to {_MOST_OFFERS}", "choose another number")
    if not 2 <= market.days <= _MOST_DAYS:
        _refuse("days", market.days, f"2 to {_MOST_DAYS}", "choose another number")
    if market.seed < 0:
        _refuse("seed", market.seed, "0 or more", "choose another seed")
    if not 0 <= market.type_effect <= 1:
        _refuse("type_effect", market.type_effect, "0 to 1", "1 is the usual effect, 0 removes it")
    if not -1 <= market.response_effect <= 1:
        _refuse("response_effect", market.response_effect, "-1 to 1", "1 is the usual effect, 0 removes it")
    if not 0 <= market.missing <= 1:
        _refuse("missing", market.missing, "a share from 0 to 1", "write 20 percent as 0.2")


def checked_responses(starts_at: datetime, days: int, organic: float, seed: int) -> None:
    """Refuse knobs that no responses can have."""
    if starts_at.tzinfo is None:
        _refuse("starts_at", starts_at.isoformat(), "a time with its zone", "add tzinfo, such as UTC")
    if not 1 <= days <= _MOST_DAYS:
        _refuse("days", days, f"1 to {_MOST_DAYS}", "choose another number")
    if not 0 <= organic <= 1:
        _refuse("organic", organic, "a share from 0 to 1", "write 30 percent as 0.3")
    if seed < 0:
        _refuse("seed", seed, "0 or more", "choose another seed")


def checked_network(network: FlowNetwork) -> None:
    """Refuse knobs that no network can have."""
    if not 10 <= network.subscribers <= 10_000_000:
        _refuse("subscribers", network.subscribers, "10 to 10,000,000", "choose another number")
    if not network.days <= network.flows <= _MOST_SESSIONS:
        _refuse("flows", network.flows, f"{network.days} (one a day) or more", "ask for more flows")
    if not 1 <= network.days <= _MOST_DAYS:
        _refuse("days", network.days, f"1 to {_MOST_DAYS}", "choose another number")
    if not 0 <= network.labelled_share <= 1:
        _refuse("labelled_share", network.labelled_share, "a share from 0 to 1", "write 60 percent as 0.6")


def checked_base(base: SubscriberBase) -> None:
    """Refuse knobs that no table can have."""
    if not 10 <= base.rows <= _MOST_SUBSCRIBERS:
        _refuse("subscribers", base.rows, f"10 to {_MOST_SUBSCRIBERS:,}", "choose another number")
    if base.seed < 0:
        _refuse("seed", base.seed, "0 or more", "choose another seed")
    if not 1 <= base.segments <= _MOST_SEGMENTS:
        _refuse("segments", base.segments, f"1 to {_MOST_SEGMENTS}", "choose another number")
    if not 0 <= base.separation <= 100:
        _refuse("separation", base.separation, "0 to 100", "6 is clear to see, 0 removes it")
    if not -1 <= base.churn_effect <= 1:
        _refuse("churn_effect", base.churn_effect, "-1 to 1", "1 is the usual effect, 0 removes it")
    if not 0 <= base.missing <= 1:
        _refuse("missing", base.missing, "a share from 0 to 1", "write 20 percent as 0.2")


def _refuse(knob: str, found: object, expected: str, do: str) -> None:
    raise ConfigurationError(
        f"the simulated operator's {knob} is out of range", found=str(found), expected=expected, do=do
    )


def checked(operator: Operator, file_format: str) -> None:
    """Refuse knobs that no operator can have."""
    if not 10 <= operator.subscribers <= _MOST_SUBSCRIBERS:
        _refuse("subscribers", operator.subscribers, f"10 to {_MOST_SUBSCRIBERS:,}", "choose another number")
    if not operator.subscribers <= operator.sessions <= _MOST_SESSIONS:
        _refuse(
            "sessions", operator.sessions,
            f"{operator.subscribers:,} (one a subscriber) to {_MOST_SESSIONS:,}",
            "ask for more sessions or fewer subscribers",
        )  # fmt: skip
    if operator.seed < 0:
        _refuse("seed", operator.seed, "0 or more", "choose another seed")
    if operator.days % 2 or not 2 <= operator.days <= _MOST_DAYS:
        _refuse("days", operator.days, f"an even number from 2 to {_MOST_DAYS}", "choose two equal periods")
    for knob in ("handset_effect", "cell_effect", "segment_effect", "experience_effect"):
        if not -3 <= getattr(operator, knob) <= 3:
            _refuse(knob, getattr(operator, knob), "-3 to 3", "1 is the usual effect, 0 removes it")
    if not 0 <= operator.missing <= 1:
        _refuse("missing", operator.missing, "a share from 0 to 1", "write 20 percent as 0.2")
    if file_format not in get_args(FileFormat):
        raise ConfigurationError(
            "the simulator does not write this file format", found=file_format,
            expected=" or ".join(get_args(FileFormat)), do="choose one of them",
        )  # fmt: skip
