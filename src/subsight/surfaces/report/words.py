"""Words for names and values: a column's name as a person says it, its unit, a cell as a person reads it."""

from __future__ import annotations

import datetime
import re
from typing import Any, Final

from subsight.units import format_value, unit_of

__all__ = [
    "cell_text",
    "column_unit",
    "dated",
    "day",
    "is_name",
    "named",
    "phrase",
    "sentence",
    "spelled",
    "unit_label",
    "unit_text",
]

_ABBREVIATIONS: Final = {
    "dl": "downlink", "ul": "uplink", "rtt": "RTT", "tcp": "TCP", "http": "HTTP", "msisdn": "MSISDN",
    "imsi": "IMSI", "imei": "IMEI", "tac": "TAC", "pca": "PCA", "iqr": "IQR", "r2": "R²", "mae": "MAE",
    "rfm": "RFM", "p95": "95th percentile", "icmp": "ICMP", "ndcg": "NDCG",
    "app": "", "id": "", "at": "", "google": "Google", "youtube": "YouTube", "netflix": "Netflix",
}  # fmt: skip
_SUFFIXES: Final = frozenset({"bytes", "kilobytes", "days", "ms", "s", "kbps", "bps", "at"})
_STATISTICS: Final = frozenset({
    "mean", "median", "mode", "min", "max", "minimum", "maximum", "total", "sum", "raw", "treated",
    "observed", "deviation", "iqr", "range", "lower", "upper", "fill", "first", "second", "decile",
    "quartile", "mae",
})  # fmt: skip
_LABELS: Final = {
    "share": "%", "UTC instant": "UTC", "identifier": None, "date": None, "hour": None, "count": None,
    "kilobytes": "kB",
}  # fmt: skip
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:(?:_[a-z0-9]+)+(?:=.+)?|=.+)")
_DATE: Final = re.compile(r"\b\d{4}-\d\d-\d\d\b(?!T)")
_BAND: Final = re.compile(r"(dl|ul)_(volume_)?(?:(above|below)_)?(\d+)(?:_to_(\d+))?_(?:kbps_share|s)")
_CALLED: Final = {
    "bytes": "volume", "total_bytes": "total_volume", "mean_bytes": "mean_volume",
    "src_to_dst_bytes": "source to destination", "dst_to_src_bytes": "destination to source",
    "active_days": "active days", "recency_days": "days since the last use",
}  # fmt: skip
_IN_TABLES: Final = {"share": "%", "share points": "points", "R2": "R²"}


def column_unit(name: str) -> str | None:
    """The unit of a column, also where a statistic follows it (`rtt_ms_median`)."""
    if name == "bytes":
        return name
    parts = name.split("_")
    while len(parts) > 1 and parts[-1] in _STATISTICS:
        parts.pop()
    return unit_of(name) or unit_of("_".join(parts))


def unit_label(name: str) -> str | None:
    """What a table's header says beside the words of a column."""
    unit = column_unit(name)
    return _LABELS.get(unit, unit) if unit else None


def is_name(text: str) -> bool:
    """Whether a text has the form of a column's name rather than of a value.

    >>> is_name("rtt_ms"), is_name("handset_manufacturer=Apple"), is_name("tac"), is_name("known")
    (True, True, True, False)
    """
    return _NAME.fullmatch(text) is not None or bool(_ABBREVIATIONS.get(text))


def phrase(name: str) -> str:
    """A column's name in words, without its unit; `name=value` is a feature for one value.

    >>> phrase("app_social_media_dl_bytes"), phrase("rtt_ms_raw"), phrase("mean_total_bytes")
    ('social media downlink', 'RTT raw', 'mean volume')
    >>> phrase("handset_manufacturer=Apple"), phrase("dl_50_to_250_kbps_share"), phrase("is_used")
    ('handsets by Apple', 'downlink of 50 to 250 kbps', 'used')
    """
    if name.startswith("first_") and (_BAND.fullmatch(name[6:]) or "=" in name):
        return f"first {phrase(name[6:])}"
    column, equals, value = name.partition("=")
    if equals:
        return f"handsets by {value}" if column == "handset_manufacturer" else f"{phrase(column)}: {value}"
    if band := _BAND.fullmatch(name):
        return _band(*band.groups())
    plain = _CALLED.get(name, name.replace("_total_bytes", "_volume")).removeprefix("is_")
    parts = plain.split("_")
    words = [_ABBREVIATIONS.get(part, part) for part in parts if len(parts) == 1 or part not in _SUFFIXES]
    return " ".join(word for word in words if word) or name


def _band(side: str, volume: str | None, bound: str | None, low: str, high: str | None) -> str:
    # Volumes in kB: their bounds are longer than a label has room for.
    edges = [f"{int(edge) / 1000:g}" if volume else f"{int(edge):,}" for edge in (low, high) if edge]
    return f"{_ABBREVIATIONS[side]} {bound or 'of'} {' to '.join(edges)} {'kB' if volume else 'kbps'}"


def named(name: str) -> str:
    """A column's name in words with its unit.

    >>> named("dl_bytes"), named("night_share"), named("social_media")
    ('downlink (bytes)', 'night share', 'social media')
    """
    unit = unit_label(name)
    return f"{phrase(name)} ({unit})" if unit and unit != "%" and "=" not in name else phrase(name)


def spelled(title: str) -> str:
    """A title with its abbreviations spelled out.

    >>> spelled("rtt dl (ms)")
    'RTT downlink (ms)'
    """
    return " ".join(_ABBREVIATIONS.get(word) or word for word in title.split(" "))


def dated(text: str) -> str:
    """A text whose dates are said as people say them.

    >>> dated("2026-03-02 to 2026-03-29")
    '2 March 2026 to 29 March 2026'
    """
    return _DATE.sub(lambda match: day(match[0]) or match[0], text)


def day(text: str) -> str | None:
    """A date in words; None where it is none."""
    try:
        date = datetime.date.fromisoformat(text)
    except ValueError:
        return None
    return f"{date.day} {date:%B %Y}"


def sentence(text: str) -> str:
    """A phrase with its first letter large, the rest as it is; the k of k-means stays small.

    >>> sentence("RTT raw"), sentence("social media"), sentence("k")
    ('RTT raw', 'Social media', 'k')
    """
    return text if re.match(r"k\b", text) else text[:1].upper() + text[1:]


def unit_text(unit: str) -> str:
    """A unit in a cell as the numbers beside it say it.

    >>> unit_text("share"), unit_text("bytes")
    ('%', 'bytes')
    """
    return _IN_TABLES.get(unit, unit)


def cell_text(value: Any, unit: str | None) -> str:
    """A value as a person reads it: an en dash for none, yes and no, numbers with their unit."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{100 * value:.1f} points" if unit == "share points" else format_value(value, unit)
    text = str(value) or "–"
    if unit == "UTC instant":
        return text.replace("T", " ").removesuffix("+00:00").removesuffix("Z")
    return phrase(text) if is_name(text) else text
