"""Words for numbers: what is a clear difference, what is a correlation, how a list reads.

A claim needs an effect of some size and more data than chance would need: both thresholds are here,
so that a reversed effect turns the words and a removed one leaves "no clear difference".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from subsight.contracts import Application
from subsight.units import format_value, unit_of

__all__ = [
    "LEAST_EFFECT",
    "LEAST_ERRORS",
    "Group",
    "compare",
    "correlation",
    "least_gap",
    "listing",
    "named",
    "plural",
    "say",
    "spread",
]

LEAST_EFFECT: Final = 0.2
"""Smallest difference of means, in pooled standard deviations, that is called clear (Cohen 1988: small)."""
LEAST_ERRORS: Final = 3.0
"""Smallest difference of means, in its standard errors, that is called clear."""


@dataclass(frozen=True)
class Group:
    """One side of a comparison: mean, population standard deviation, and number of subscribers."""

    mean: float
    deviation: float
    count: int


def compare(a: Group, b: Group) -> Literal["higher", "lower", "no clear difference"]:
    """Whether a's mean is clearly higher or lower than b's.

    >>> compare(Group(10, 2, 500), Group(8, 2, 500)), compare(Group(8, 2, 9), Group(8.1, 2, 9))
    ('higher', 'no clear difference')
    """
    if min(a.count, b.count) < 2:
        return "no clear difference"
    difference = a.mean - b.mean
    if difference == 0 or abs(difference) < least_gap(a, b):
        return "no clear difference"
    return "higher" if difference > 0 else "lower"


def least_gap(a: Group, b: Group) -> float:
    """The smallest difference of these two means that `compare` calls clear."""
    pooled = math.sqrt((a.count * a.deviation**2 + b.count * b.deviation**2) / (a.count + b.count))
    error = math.sqrt(a.deviation**2 / a.count + b.deviation**2 / b.count)
    return max(LEAST_EFFECT * pooled, LEAST_ERRORS * error)


def correlation(r: float | None, count: int) -> str:
    """A Pearson correlation in words (Cohen 1988: 0.1 weak, 0.3 moderate, 0.5 strong; 0.9 near-exact).

    >>> correlation(-0.62, 1000), correlation(0.02, 1000), correlation(0.4, 10)
    ('a strong negative correlation', 'no clear correlation', 'no clear correlation')
    """
    if r is None or count < 3 or abs(r) < max(0.1, LEAST_ERRORS / math.sqrt(count)):
        return "no clear correlation"
    size = abs(r)
    word = "near-exact" if size >= 0.9 else "strong" if size >= 0.5 else "moderate" if size >= 0.3 else "weak"
    return f"a {word} {'positive' if r > 0 else 'negative'} correlation"


def say(value: float | None, name: str) -> str:
    """A value as a person reads it, with the unit that the column's name ends in.

    >>> say(454_500_600, "dl_bytes"), say(0.25, "filled_share"), say(106856, "subscriber_count")
    ('455 MB', '25.0 %', '106,856')
    """
    return format_value(value, unit_of(name))


def listing(names: Sequence[str]) -> str:
    """Names as a person lists them.

    >>> listing(["gaming", "video", "web"]), listing([])
    ('gaming, video and web', 'none')
    """
    if len(names) < 2:
        return names[0] if names else "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def spread(texts: Mapping[float, str]) -> str:
    """What several numbers run from and to, or the one thing that all of them read as.

    >>> spread({0.526: "52.6 %", 0.533: "53.3 %", 0.53: "53.0 %"}), spread({0.5301: "53.0 %", 0.53: "53.0 %"})
    ('52.6 % to 53.3 %', '53.0 %')
    """
    low, high = texts[min(texts)], texts[max(texts)]
    return low if low == high else f"{low} to {high}"


def plural(count: float, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "session"), plural(1200, "session")
    ('1 session', '1,200 sessions')
    """
    return f"{count:,.0f} {one if count == 1 else many or one + 's'}"


_SIDES: Final = {"dl": "downlink", "ul": "uplink"}
_MEASURES: Final = {
    "tcp_retransmission": "retransmission", "rtt": "round-trip time", "throughput": "throughput",
    "activity": "activity",
}  # fmt: skip
_WHOLE: Final = {
    "session_count": "sessions", "duration_s": "duration", "duration_ms": "duration in milliseconds",
    "total_bytes": "total volume", "total_kilobytes": "total volume", "ul_kilobytes": "uplink volume",
    "dl_kilobytes": "downlink volume", "tenure_days": "tenure",
    "dl_bytes": "downlink volume", "ul_bytes": "uplink volume",
    "reported_dl_bytes": "reported downlink volume", "reported_ul_bytes": "reported uplink volume",
    "http_dl_bytes": "HTTP downlink volume", "http_ul_bytes": "HTTP uplink volume",
    "tac": "handset type code", "bearer_id": "bearer", "cell_id": "cell", "imsi_id": "IMSI",
    "imei_id": "IMEI",
}  # fmt: skip
_SESSIONS_AT: Final = ("night", "morning", "afternoon", "evening")


def named(name: str, applications: Sequence[Application] = ()) -> str:
    """A column's name as a person says it in a sentence, without its unit.

    `name=value` is a feature for one value; `first_` marks the first of two periods.

    >>> named("app_google_ul_bytes", [Application("google", "Google")]), named("rtt_dl_ms")
    ('Google uplink volume', 'downlink round-trip time')
    >>> named("dl_50_to_250_kbps_share"), named("handset_manufacturer=Apple")
    ('time with downlink throughput of 50 to 250 kbps', 'handsets by Apple')
    """
    if name.startswith("first_") and "date" not in name:
        return f"{named(name.removeprefix('first_'), applications)} in the first period"
    column, equals, value = name.partition("=")
    if equals:
        return f"handsets by {value}" if column == "handset_manufacturer" else f"{named(column)} {value}"
    if name in _WHOLE:
        return _WHOLE[name]
    stem, _, unit = name.rpartition("_")
    if name.startswith("app_"):
        return _application(stem.removeprefix("app_"), unit, applications)
    band = re.fullmatch(r"(dl|ul)_(volume_)?(above|below)?_?(\d+)(?:_to_(\d+))?_(kbps_share|s)", name)
    if band:
        side, volume, bound, low, high, _ = band.groups()
        edges = f"{bound} {int(low):,}" if bound else f"of {int(low):,} to {int(high):,}"
        what = "volume" if volume else "throughput"
        return f"time with {_SIDES[side]} {what} {edges} {'bytes' if volume else 'kbps'}"
    if unit == "share" and stem in _SESSIONS_AT:
        return "sessions at night (share)" if stem == "night" else f"sessions in the {stem} (share)"
    for start, word in _MEASURES.items():
        if stem == start:
            return word
        if stem in (f"{start}_dl", f"{start}_ul"):
            return f"{_SIDES[stem[-2:]]} {word}"
    return name.replace("_", " ")


def _application(stem: str, unit: str, applications: Sequence[Application]) -> str:
    slug, _, side = stem.rpartition("_")
    names = {app.slug: app.name for app in applications}
    if side in _SIDES:
        return f"{names.get(slug, slug.replace('_', ' '))} {_SIDES[side]} volume"
    said = names.get(stem, stem.replace("_", " "))
    return f"{said} (share of the volume)" if unit == "share" else f"{said} volume"
