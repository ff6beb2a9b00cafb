"""How well the network served a subscriber: round-trip time, retransmission, throughput.

Each is the mean over sessions of downlink plus uplink, each direction treated first. The `_raw` twin
takes only sessions in which both directions were observed. `_filled_share` says how much of a mean
is fill-in: the share of sessions in which a direction was missing.
"""

from __future__ import annotations

import narwhals as nw

from subsight.metrics import Expression, mean, metric, share
from subsight.tables import THROUGHPUT_SHARES


def _treated(dl: str, ul: str) -> Expression:
    return mean(nw.col(f"{dl}_treated") + nw.col(f"{ul}_treated"))


def _raw(dl: str, ul: str) -> Expression:
    return mean(nw.col(dl).cast(nw.Float64) + nw.col(ul).cast(nw.Float64))


def _filled(dl: str, ul: str) -> Expression:
    return share(nw.col(dl).is_null() | nw.col(ul).is_null())


@metric("rtt_ms")
def rtt_ms() -> Expression:
    """Mean round-trip time of a session, downlink plus uplink, each treated."""
    return _treated("rtt_dl_ms", "rtt_ul_ms")


@metric("rtt_ms_raw")
def rtt_ms_raw() -> Expression:
    """Mean round-trip time over the sessions in which both directions were observed."""
    return _raw("rtt_dl_ms", "rtt_ul_ms")


@metric("rtt_filled_share")
def rtt_filled_share() -> Expression:
    """Share of sessions in which a direction's round-trip time was missing."""
    return _filled("rtt_dl_ms", "rtt_ul_ms")


_RETRANSMISSION = ("tcp_retransmission_dl_bytes", "tcp_retransmission_ul_bytes")


@metric("tcp_retransmission_bytes")
def tcp_retransmission_bytes() -> Expression:
    """Mean TCP volume retransmitted in a session, downlink plus uplink, each treated."""
    return _treated(*_RETRANSMISSION)


@metric("tcp_retransmission_bytes_raw")
def tcp_retransmission_bytes_raw() -> Expression:
    """Mean TCP volume retransmitted over the sessions in which both directions were observed."""
    return _raw(*_RETRANSMISSION)


@metric("tcp_retransmission_filled_share")
def tcp_retransmission_filled_share() -> Expression:
    """Share of sessions in which a direction's retransmitted volume was missing."""
    return _filled(*_RETRANSMISSION)


@metric("throughput_kbps")
def throughput_kbps() -> Expression:
    """Mean bearer throughput of a session, downlink plus uplink, each treated."""
    return _treated("throughput_dl_kbps", "throughput_ul_kbps")


@metric("throughput_kbps_raw")
def throughput_kbps_raw() -> Expression:
    """Mean bearer throughput over the sessions in which both directions were observed."""
    return _raw("throughput_dl_kbps", "throughput_ul_kbps")


@metric("throughput_filled_share")
def throughput_filled_share() -> Expression:
    """Share of sessions in which a direction's throughput was missing."""
    return _filled("throughput_dl_kbps", "throughput_ul_kbps")


def _band(name: str) -> None:
    def band() -> Expression:
        return mean(nw.col(name))

    direction, _, text = name.removesuffix("_kbps_share").partition("_")
    band.__doc__ = f"Mean share of session time with {direction} throughput {text.replace('_', ' ')} kbps."
    metric(name)(band)


for _names in THROUGHPUT_SHARES:
    for _name in _names:
        _band(_name)
