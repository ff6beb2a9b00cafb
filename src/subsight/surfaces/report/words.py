"""Words for names and values: a column's name as a person says it, its unit, a cell as a person reads it."""

from __future__ import annotations

import re
from typing import Any, Final

from subsight.units import format_value, unit_of

__all__ = ["cell_text", "column_unit", "is_name", "named", "phrase", "sentence", "spelled", "unit_label"]

_ABBREVIATIONS: Final = {
    "dl": "downlink", "ul": "uplink", "rtt": "RTT", "tcp": "TCP", "http": "HTTP", "msisdn": "MSISDN",
    "imsi": "IMSI", "imei": "IMEI", "tac": "TAC", "pca": "PCA", "iqr": "IQR", "r2": "R²", "mae": "MAE",
    "app": "", "id": "", "at": "",
}  # fmt: skip
_SUFFIXES: Final = frozenset({"bytes", "ms", "s", "kbps", "bps", "at"})
_STATISTICS: Final = frozenset({
    "mean", "median", "mode", "min", "max", "minimum", "maximum", "total", "sum", "raw", "treated",
    "observed", "deviation", "iqr", "range", "lower", "upper", "fill", "first", "second", "decile",
    "quartile", "mae",
})  # fmt: skip
_LABELS: Final = {
    "share": "%", "UTC instant": "UTC", "identifier": None, "date": None, "hour": None, "count": None,
}  # fmt: skip
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")


def column_unit(name: str) -> str | None:
    """The unit of a column, also where a statistic follows it (`rtt_ms_median`)."""
    parts = name.split("_")
    while len(parts) > 1 and parts[-1] in _STATISTICS:
        parts.pop()
    return unit_of(name) or unit_of("_".join(parts))


def unit_label(name: str) -> str | None:
    """What a table's header says beside the words of a column."""
    unit = column_unit(name)
    return _LABELS.get(unit, unit) if unit else None


def is_name(text: str) -> bool:
    """Whether a text has the form of a column's name rather than of a value."""
    return _NAME.fullmatch(text) is not None


def phrase(name: str) -> str:
    """A column's name in words, without its unit.

    >>> phrase("app_social_media_dl_bytes"), phrase("rtt_ms_raw"), phrase("subscriber_id")
    ('social media downlink', 'RTT raw', 'subscriber')
    """
    parts = name.split("_")
    words = [_ABBREVIATIONS.get(part, part) for part in parts if len(parts) == 1 or part not in _SUFFIXES]
    return " ".join(word for word in words if word) or name


def named(name: str) -> str:
    """A column's name in words with its unit.

    >>> named("dl_bytes"), named("night_share"), named("social_media")
    ('downlink (bytes)', 'night share', 'social media')
    """
    unit = unit_label(name)
    return f"{phrase(name)} ({unit})" if unit and unit != "%" else phrase(name)


def spelled(title: str) -> str:
    """A title with its abbreviations spelled out.

    >>> spelled("rtt dl (ms)")
    'RTT downlink (ms)'
    """
    return " ".join(_ABBREVIATIONS.get(word) or word for word in title.split(" "))


def sentence(text: str) -> str:
    """A phrase with its first letter large, the rest as it is.

    >>> sentence("RTT raw"), sentence("social media")
    ('RTT raw', 'Social media')
    """
    return text[:1].upper() + text[1:]


def cell_text(value: Any, unit: str | None) -> str:
    """A value as a person reads it: an en dash for none, yes and no, numbers with their unit."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_value(value, unit)
    text = str(value)
    if unit == "UTC instant":
        return text.replace("T", " ").removesuffix("+00:00").removesuffix("Z")
    return phrase(text) if is_name(text) else text
