"""What a column's header says by itself: words, direction, unit, and which quantity they name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from subsight.tables import SESSIONS, THROUGHPUT_SHARES

__all__ = ["Header", "slug"]

Direction = Literal["dl", "ul"]

_DIRECTIONS: Final[dict[str, Direction]] = {
    **dict.fromkeys(("dl", "down", "downlink", "download", "downloaded", "downstream", "dnlink"), "dl"),
    **dict.fromkeys(("ul", "up", "uplink", "upload", "uploaded", "upstream"), "ul"),
}
_VIEWPOINTS: Final[dict[str, Direction]] = {
    **dict.fromkeys(("rx", "received", "in", "incoming", "ingress"), "dl"),
    **dict.fromkeys(("tx", "sent", "transmitted", "out", "outgoing", "egress"), "ul"),
}
"""Directions that depend on who speaks: the handset receives what the network sends."""

_UNITS: Final = {
    "b": "bytes", "byte": "bytes", "bytes": "bytes", "octet": "bytes", "octets": "bytes",
    "kb": "kB", "kbyte": "kB", "kbytes": "kB", "kilobytes": "kB", "kib": "KiB",
    "mb": "MB", "mbyte": "MB", "mbytes": "MB", "megabytes": "MB", "mib": "MiB",
    "gb": "GB", "gbyte": "GB", "gbytes": "GB", "gigabytes": "GB", "gib": "GiB",
    "bit": "bit", "bits": "bit", "kbit": "kbit", "kbits": "kbit", "mbit": "Mbit", "mbits": "Mbit",
    "ms": "ms", "msec": "ms", "msecs": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "min", "mins": "min", "minute": "min", "minutes": "min", "us": "us", "usec": "us",
    "kbps": "kbps", "kbit/s": "kbps", "kbits/s": "kbps", "kb/s": "kbps",
    "bps": "bps", "bit/s": "bps", "bits/s": "bps",
    "mbps": "Mbps", "mbit/s": "Mbps", "mbits/s": "Mbps",
    "%": "percent", "pct": "percent", "percent": "percent", "percentage": "percent",
    "permille": "permille", "‰": "permille", "share": "share", "fraction": "share",
}  # fmt: skip
_VOLUME_UNITS: Final = frozenset(("bytes", "kB", "KiB", "MB", "MiB", "GB", "GiB", "bit", "kbit", "Mbit"))
_TIME_UNITS: Final = frozenset(("ms", "s", "min", "us"))
_RATE_UNITS: Final = frozenset(("kbps", "bps", "Mbps"))
_SHARE_UNITS: Final = frozenset(("percent", "permille", "share"))

_VOLUME_WORDS: Final = frozenset(
    ("volume", "vol", "volumes", "bytes", "byte", "octets", "octet", "traffic", "data", "usage", "payload")
)
_TOTAL_WORDS: Final = frozenset(("total", "tot", "overall", "sum", "all", "session", "grand", "ip"))
_THROUGHPUT: Final = frozenset(("tp", "tput", "thp", "thput", "throughput", "rate", "speed", "bitrate"))
_OTHER_PARTY: Final = frozenset(("called", "other", "dialled", "dialed", "peer", "destination", "b", "to"))
_STATISTICS: Final = frozenset(("max", "maximum", "min", "minimum", "peak", "p95", "p99", "std", "stddev"))
_BELOW: Final = frozenset(("lt", "le", "below", "under", "less", "upto", "beneath", "lower"))
_ABOVE: Final = frozenset(("gt", "ge", "above", "over", "more", "beyond", "greater", "higher"))
_NUMBER: Final = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)[\s_]*([kmg]?(?:bps|bit/s|b/s|bytes|b)(?![a-z]))?")


def slug(label: str) -> str:
    """A label as the name of an application in column names.

    >>> slug("Social Media"), slug("3GPP Mail")
    ('social_media', 'app_3gpp_mail')
    """
    plain = "_".join(re.findall(r"[a-z0-9]+", label.lower()))
    return plain if plain[:1].isalpha() else f"app_{plain}"


def _broken(text: str) -> str:
    """Words parted where the case changes; a prefix stays with its unit: kB, KBytes, MBps."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return re.sub(r"(?<![A-Za-z])([kKMG]i?) (?=[Bb])", r"\1", text.replace("e Node B", "enodeb"))


@dataclass(frozen=True)
class Header:
    """A header taken apart."""

    text: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Lower-case words: broken at punctuation and where the case changes."""
        text = _broken(self.text).lower()
        return tuple(re.findall(r"[^\W\d_]+[0-9]*(?:/s\b)?|\d+(?:\.\d+)?|[%‰<>]", text))

    def has(self, words: Iterable[str]) -> bool:
        """Whether one of the words stands in the header."""
        return not frozenset(words).isdisjoint(self.words)

    @cached_property
    def direction(self) -> Direction | None:
        """Downlink or uplink; None where the header says neither or both."""
        plain = {_DIRECTIONS[word] for word in self.words if word in _DIRECTIONS}
        found = plain or {_VIEWPOINTS[word] for word in self.words if word in _VIEWPOINTS}
        return found.pop() if len(found) == 1 else None

    @property
    def is_direction_plain(self) -> bool:
        """Whether the direction does not depend on who speaks."""
        return self.has(_DIRECTIONS)

    @cached_property
    def unit(self) -> str | None:
        """The unit in brackets or at the end, in the words of `subsight.units`."""
        brackets = re.findall(r"[(\[]\s*([^)\]]+?)\s*[)\]]", self.text)
        for text in reversed(brackets):
            if text.lower() in _UNITS:
                return _UNITS[text.lower()]
        shares = [word for word in self.words if _UNITS.get(word) in _SHARE_UNITS]
        spelled = [word for word in self.words if word in _UNITS and len(word) > 1]
        last = [word for word in self.words[-1:] if word in _UNITS and word != "b"]
        for found in (shares, last, spelled):
            if found:
                return _UNITS[found[-1]]
        return None

    @cached_property
    def label(self) -> str:
        """What is left without direction, unit, and words for volume: the name of an application."""
        text = re.sub(r"[(\[][^)\]]*[)\]]", " ", self.text).strip()
        # YouTube is one word where the header has other ways to part them.
        text = text if re.search(r"[\W_]", text) else _broken(text)
        dropped = {*_DIRECTIONS, *_VIEWPOINTS, *_VOLUME_WORDS, *_UNITS, "app", "application", "service"}
        words = [word for word in re.findall(r"[^\W_]+", text) if word.lower() not in dropped]
        return " ".join(words)

    @cached_property
    def band(self) -> tuple[float | None, float | None] | None:
        """The range that the header names, in kbps or bytes, None at an open end, or None."""
        text = self.text.lower().replace(",", "")
        found = [(m.start(), float(m[1]), m[2] or "") for m in _NUMBER.finditer(text)]
        units = [unit for _, _, unit in found if unit]
        numbers = [
            value * {"m": 1e3, "g": 1e6, "k": 1.0}.get((unit or units[0])[:1] if units else "", 1.0)
            for _, value, unit in found
        ]
        if len(numbers) == 2:
            return min(numbers), max(numbers)
        if len(numbers) != 1:
            return None
        (number,), place = numbers, found[0][0]
        for sign, is_below in (("<", True), (">", False)):
            if sign in text:
                return (None, number) if (text.index(sign) < place) is is_below else (number, None)
        if self.has(_BELOW) is self.has(_ABOVE):
            return None
        return (None, number) if self.has(_BELOW) else (number, None)

    @cached_property
    def concept(self) -> str | None:
        """The quantity that the words name: a canonical column, or `rtt`, `volume`, ... with a direction."""
        return self._identity() or self._time() or self._measure()

    def _identity(self) -> str | None:
        words, has = self.words, self.has
        if has(("imsi",)):
            return "imsi_id"
        if has(("imei", "imeisv")):
            return "imei_id"
        if has(("msisdn", "msisdns")):
            return None if has(_OTHER_PARTY) else "subscriber_id"
        if has(("manufacturer", "brand", "maker", "oem", "make")) or (
            has(("vendor",)) and has(("handset", "device", "terminal", "phone", "ue"))
        ):
            return "handset_manufacturer"
        is_number = has(("number", "no", "num", "id", "nr"))
        if has(("phone", "subscriber", "customer", "mobile", "calling")) and is_number:
            return None if has(_OTHER_PARTY) else "subscriber_id"
        if has(("handset", "device", "terminal")) or (has(("model",)) and has(("phone", "ue", "mobile"))):
            return "handset" if has(("type", "model", "name")) or len(words) == 1 else None
        if has(("bearer", "xdr", "session", "charging", "cdr", "record")) and has(("id", "identifier")):
            return "bearer_id"
        if has(("cell", "location", "site", "sector", "ecgi", "cgi", "enodeb", "enb")):
            return None if self.unit or has(("first", "lat", "lon", "latitude", "longitude")) else "cell_id"
        return None

    def _time(self) -> str | None:
        has, is_moment = self.has, self.has(("time", "date", "at", "ts", "timestamp", "datetime"))
        if has(("duration", "dur", "elapsed", "length")) or self.direction:
            return None
        starts = has(("start", "begin", "began", "started", "begins")) or (has(("first",)) and is_moment)
        ends = has(("end", "stop", "finish", "ended", "finished", "stopped")) or (
            has(("last",)) and is_moment
        )
        if starts is ends:
            return None
        edge = "start" if starts else "end"
        return f"{edge}_at:milliseconds" if self.unit == "ms" else f"{edge}_at"

    def _measure(self) -> str | None:
        has, unit = self.has, self.unit
        if has(_STATISTICS) and not (has(_BELOW) or has(_ABOVE) or "<" in self.words or ">" in self.words):
            return None
        if self.band is not None:
            return self._banded()
        if has(("retrans", "retransmission", "retransmissions", "retransmitted", "retx", "rexmit")):
            return "retransmission" if unit in _VOLUME_UNITS or unit is None else None
        if has(("rtt", "latency")) or ({"round", "trip"} <= set(self.words)):
            return "rtt" if unit in _TIME_UNITS or unit is None else None
        if has(("activity", "active")) and (has(("duration", "dur", "time")) or unit in _TIME_UNITS):
            return "activity"
        if has(("duration", "dur", "elapsed")) and not self.direction:
            return "duration"
        if has(_THROUGHPUT) or unit in _RATE_UNITS:
            return "throughput" if unit in _RATE_UNITS or unit is None else None
        if has(("http",)):
            return "http"
        if self.direction and (unit in _VOLUME_UNITS or unit is None):
            return "volume"
        return None

    def _banded(self) -> str | None:
        direction = self.direction
        if direction is None:
            return None
        if self.unit in _SHARE_UNITS or (self.has(_THROUGHPUT) and self.unit not in _TIME_UNITS):
            return _BANDS.get((direction, "share", self.band))
        return _BANDS.get((direction, "volume", self.band)) if self.has(_VOLUME_WORDS) else None

    @property
    def is_total(self) -> bool:
        """Whether the words name a whole and no application."""
        return all(word.lower() in _TOTAL_WORDS for word in self.label.split())


def _bands() -> dict[tuple[str, str, tuple[float | None, float | None] | None], str]:
    """Canonical columns by direction, kind and range."""
    shares = {name for names in THROUGHPUT_SHARES for name in names}
    found: dict[tuple[str, str, tuple[float | None, float | None] | None], str] = {}
    for column in SESSIONS:
        match = re.fullmatch(r"(dl|ul)_(?:volume_)?(?:(below|above)_(\d+)|(\d+)_to_(\d+))_.*", column.name)
        if match is None:
            continue
        direction, side, edge, low, high = match.groups()
        band = (
            float(low) if low else None if side == "below" else float(edge),
            float(high) if high else float(edge) if side == "below" else None,
        )
        found[direction, "share" if column.name in shares else "volume", band] = column.name
    return found


_BANDS: Final = _bands()
