"""The closed table of recommendations: which change of one subscriber calls for which offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

__all__ = [
    "DAY_PARTS",
    "FALL_SHARE",
    "GROWTH_SHARE",
    "LEAST_DAILY_BYTES",
    "NIGHT_RISE_SHARE",
    "NONE",
    "RULES",
    "Rule",
    "with_recommendation",
]

DAY_PARTS: Final = {"night": (0, 5), "morning": (6, 11), "afternoon": (12, 17), "evening": (18, 23)}
"""The first and the last local hour of each part of the day."""
LEAST_DAILY_BYTES: Final = 1_000_000
"""Volume per day of the period below which one subscriber's change is no matter."""
GROWTH_SHARE: Final = 0.5
"""What a category, or all use, has to grow by over the period before to be growing for one subscriber."""
FALL_SHARE: Final = 0.5
"""What all use of a subscriber has to fall by to be falling."""
NIGHT_RISE_SHARE: Final = 0.2
"""What the share of the night in a subscriber's volume has to rise by to be a move to the night."""
NONE: Final = "none"


@dataclass(frozen=True)
class Rule:
    """A recommendation and what calls for it; of several that hold, the first in `RULES` is given.

    A category rule holds where the category that grew most is one of `categories`, by at least
    `daily_bytes` for each day of the period, and is `share` of the subscriber's volume now.
    """

    recommendation: str
    reason: str
    categories: tuple[str, ...] = ()
    daily_bytes: int = LEAST_DAILY_BYTES
    share: float = 0.0


RULES: Final = (
    Rule("retention contact", "all use is falling"),
    Rule("video pass or larger allowance", "video is growing and large", ("Video",), 20_000_000, 0.2),
    Rule("music pass", "music is growing", ("Music",)),
    Rule("low-latency option", "gaming is growing", ("Gaming",)),
    Rule(
        "calls and messages bundle", "calls, messages or social media are growing",
        ("Calls", "Messaging", "Social media"),
    ),
    Rule(
        "faster uplink or cloud storage", "cloud or file transfer is growing and large",
        ("Cloud", "File transfer"), 20_000_000, 0.2,
    ),
    Rule("home office option", "tunnels or remote access are growing", ("VPN and tunnels", "Remote access")),
    Rule("night allowance", "the main part of the day moved to the night"),
    Rule("larger allowance", "all use is growing and large", (), 20_000_000),
)  # fmt: skip


def with_recommendation(people: Any, days: int) -> Any:
    """The subscribers with `recommendation` and `evidence`: which rule holds, and the numbers behind it.

    `people` has the volumes of both periods, the growing category, the day parts and the night shares;
    `days` is the length of a period. Where no rule holds it is `none`, and the evidence says why.
    """
    is_new = nw.col("previous_bytes") == 0
    name: Any = nw.lit(NONE)
    told: Any = nw.when(is_new).then(nw.lit("no use in the period before")).otherwise(
        nw.lit("no change that a rule asks for")
    )  # fmt: skip
    for rule in reversed(RULES):
        holds = (~is_new & _holds(rule, days)).fill_null(False)
        name = nw.when(holds).then(nw.lit(rule.recommendation)).otherwise(name)
        told = nw.when(holds).then(_evidence(rule)).otherwise(told)
    return people.with_columns(recommendation=name, evidence=told)


def _holds(rule: Rule, days: int) -> Any:
    before, now = nw.col("previous_bytes"), nw.col("present_bytes")
    least = float(rule.daily_bytes * days)
    if rule.categories:
        present = nw.col("growing_category_present_bytes")
        grown = present - nw.col("growing_category_previous_bytes")
        is_one = nw.col("growing_category").is_in(list(rule.categories))
        return is_one & (grown >= least) & (present >= rule.share * now)
    if rule.recommendation == "retention contact":
        return (before >= least) & (now <= (1 - FALL_SHARE) * before)
    if rule.recommendation == "night allowance":
        rise = nw.col("night_share") - nw.col("previous_night_share")
        moved = (nw.col("day_part") == "night") & (nw.col("previous_day_part") != "night")
        return moved & (rise >= NIGHT_RISE_SHARE) & (before >= least) & (now >= least)
    return (now - before >= least) & (now >= (1 + GROWTH_SHARE) * before)


def _evidence(rule: Rule) -> Any:
    if rule.categories:
        volumes = [_megabytes(f"growing_category_{period}_bytes") for period in ("previous", "present")]
        return nw.concat_str(
            [nw.col("growing_category"), nw.lit(": "), volumes[0], nw.lit(" to "), volumes[1]]
        )
    if rule.recommendation == "night allowance":
        shares = [_percent("previous_night_share"), _percent("night_share")]
        return nw.concat_str(
            [nw.lit("night: "), shares[0], nw.lit(" to "), shares[1], nw.lit(" of the volume")]
        )
    volumes = [_megabytes("previous_bytes"), _megabytes("present_bytes")]
    return nw.concat_str([nw.lit("all use: "), volumes[0], nw.lit(" to "), volumes[1]])


def _megabytes(name: str) -> Any:
    # Whole numbers only: engines write fractions differently.
    return nw.concat_str([_whole(nw.col(name) / 1e6), nw.lit(" MB")])


def _percent(name: str) -> Any:
    return nw.concat_str([_whole(nw.col(name) * 100), nw.lit(" %")])


def _whole(value: Any) -> Any:
    return (value + 0.5).floor().cast(nw.Int64).cast(nw.String)
