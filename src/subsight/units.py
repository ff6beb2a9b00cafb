"""Units: the suffix of a name says its unit, and inputs are converted to it once, at ingest.

Names end in `_bytes _kilobytes _ms _s _days _kbps _bps _count _share _at _date _hour _id`. A share runs
from 0 to 1; an instant is UTC. kB is 1000 bytes and KiB is 1024 (IEC 80000-13). A year has 365.25 days,
a month a twelfth of it.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["FACTORS", "factor", "format_value", "unit_of"]

_BYTES: Final[dict[str, float]] = {
    "bytes": 1, "B": 1, "octets": 1, "bit": 0.125, "kbit": 125, "Mbit": 125e3,
    "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3,
}  # fmt: skip

# canonical unit -> unit a source may declare -> multiply by this.
FACTORS: Final[dict[str, dict[str, float]]] = {
    "bytes": _BYTES,
    "kilobytes": {"kilobytes": 1, **{unit: bytes / 1000 for unit, bytes in _BYTES.items()}},
    "days": {
        "days": 1, "day": 1, "weeks": 7, "months": 30.4375, "years": 365.25, "hours": 1 / 24,
    },
    "ms": {"ms": 1, "s": 1e3, "min": 60e3, "us": 1e-3},
    "s": {"s": 1, "ms": 1e-3, "min": 60, "h": 3600, "us": 1e-6},
    "kbps": {"kbps": 1, "bps": 1e-3, "Mbps": 1e3, "kB/s": 8},
    "bps": {"bps": 1, "kbps": 1e3, "Mbps": 1e6},
    "share": {"share": 1, "percent": 0.01, "permille": 0.001},
    "count": {"count": 1},
}  # fmt: skip

_SUFFIXES: Final = {
    "bytes": "bytes", "kilobytes": "kilobytes", "ms": "ms", "s": "s", "days": "days", "kbps": "kbps",
    "bps": "bps", "count": "count", "share": "share", "at": "UTC instant", "date": "date",
    "hour": "hour", "id": "identifier",
}  # fmt: skip


def unit_of(name: str) -> str | None:
    """The unit that a column's name ends in, or None where it has none (an index, a name, a score).

    >>> unit_of("app_gaming_dl_bytes"), unit_of("rtt_ms_raw"), unit_of("handset")
    ('bytes', 'ms', None)
    """
    stem = name.removesuffix("_raw").removesuffix("_treated")
    return _SUFFIXES.get(stem.rpartition("_")[2]) if "_" in stem else None


def factor(source_unit: str, canonical_unit: str) -> float:
    """What a value in `source_unit` is multiplied by to be in `canonical_unit`.

    Raises:
        KeyError: the two are not units of one quantity.

    >>> factor("KiB", "bytes"), factor("percent", "share")
    (1024, 0.01)
    """
    return FACTORS[canonical_unit][source_unit]


def _scaled(value: float, base: float, steps: tuple[str, ...]) -> str:
    size, step = abs(value), 0
    while size >= base and step < len(steps) - 1:
        size, step = size / base, step + 1
    digits = 0 if step == 0 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{'-' if value < 0 else ''}{size:,.{digits}f} {steps[step]}"


def format_value(value: float | None, unit: str | None) -> str:
    """A number as a person reads it: scaled, with its unit, thousands apart; an en dash for none.

    >>> format_value(454_500_600, "bytes"), format_value(0.4517, "share"), format_value(86400, "s")
    ('455 MB', '45.2 %', '24.0 h')
    >>> format_value(24e6, "kilobytes"), format_value(1235, "days"), format_value(0.5, "days")
    ('24.0 GB', '1,235 days', '0.5 days')
    >>> format_value(0.000225, "share"), format_value(0, "share"), format_value(1_849_770, "bps")
    ('0.02 %', '0 %', '1.85 Mbps')
    >>> format_value(4498.422, "share"), format_value(4e-7, "share"), format_value(-4e-7, "share")
    ('449,842.2 %', '0.00004 %', '-0.00004 %')
    """
    if value is None or value != value:
        return "–"
    if unit == "bytes":
        return _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))
    if unit == "kilobytes":
        return format_value(value * 1000, "bytes")
    if unit == "days":
        return f"{value:,.0f} days" if abs(value) >= 10 or value == int(value) else f"{value:.1f} days"
    if unit == "share":
        # A tenth of a percent is enough, but few is not none.
        digits = 1 if abs(value) >= 0.0005 or not value else -math.floor(math.log10(abs(value))) - 2
        return f"{100 * value:,.{digits}f} %" if value else "0 %"
    if unit in ("s", "ms"):
        seconds = value if unit == "s" else value / 1000
        if unit == "ms" and abs(seconds) < 10:
            return f"{value:,.0f} ms" if abs(value) >= 10 else f"{value:.2g} ms"
        if abs(seconds) >= 3600:
            hours = seconds / 3600
            return f"{hours:,.0f} h" if abs(hours) >= 100 else f"{hours:.1f} h"
        return f"{seconds / 60:.1f} min" if abs(seconds) >= 120 else f"{seconds:.3g} s"
    if unit in ("kbps", "bps"):
        return _scaled(value * FACTORS["bps"][unit], 1000, ("bps", "kbps", "Mbps", "Gbps"))
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
