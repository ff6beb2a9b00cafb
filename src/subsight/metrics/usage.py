"""How much a subscriber uses: sessions, time and volume."""

from __future__ import annotations

import narwhals as nw

from subsight.metrics import Expression, mean, metric, total


@metric("session_count", whole=True)
def session_count() -> Expression:
    """Data sessions (bearers) of the subscriber."""
    return nw.len()


@metric("duration_s")
def duration_s() -> Expression:
    """Total length of the subscriber's sessions."""
    return total("duration_s")


@metric("dl_bytes", whole=True)
def dl_bytes() -> Expression:
    """Total downlink volume."""
    return total("dl_bytes")


@metric("ul_bytes", whole=True)
def ul_bytes() -> Expression:
    """Total uplink volume."""
    return total("ul_bytes")


@metric("total_bytes", whole=True)
def total_bytes() -> Expression:
    """Total volume: downlink and uplink."""
    return total("dl_bytes") + total("ul_bytes")


@metric("http_dl_bytes", whole=True)
def http_dl_bytes() -> Expression:
    """Total HTTP downlink volume."""
    return total("http_dl_bytes")


@metric("http_ul_bytes", whole=True)
def http_ul_bytes() -> Expression:
    """Total HTTP uplink volume."""
    return total("http_ul_bytes")


@metric("activity_dl_ms")
def activity_dl_ms() -> Expression:
    """Mean downlink activity of a session, idle periods above 500 ms left out."""
    return mean(nw.col("activity_dl_ms"))


@metric("activity_ul_ms")
def activity_ul_ms() -> Expression:
    """Mean uplink activity of a session, idle periods above 500 ms left out."""
    return mean(nw.col("activity_ul_ms"))
