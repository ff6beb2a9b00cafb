"""Small files written by hand: a vendor's header, its mapping, and rows that differ from a plain one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subsight.contracts import Application
from subsight.settings import Settings
from subsight.sources import files, xdr
from subsight.sources.mapping import MappedColumn, Mapping
from subsight.store import Store

CLEAR = Settings(identifiers="clear")
KEY = b"k" * 32
BANDS = ("dl_below_50_kbps_share", "dl_50_to_250_kbps_share", "dl_250_to_1000_kbps_share",
         "dl_above_1000_kbps_share")  # fmt: skip

COLUMNS = (
    MappedColumn("subscriber_id", "Phone"),
    MappedColumn("imei_id", "IMEI"),
    MappedColumn("bearer_id", "Bearer"),
    MappedColumn("cell_id", "Cell"),
    MappedColumn("start_at", "Start", format="%m/%d/%Y %H:%M", milliseconds="Start ms"),
    MappedColumn("end_at", "End", format="%m/%d/%Y %H:%M", milliseconds="End ms"),
    MappedColumn("duration_s", "Dur", 1, "ms"),
    MappedColumn("duration_ms", "Dur", 2, "ms"),
    MappedColumn("handset", "Device"),
    *(MappedColumn(name, name, unit="percent") for name in BANDS),
    MappedColumn("rtt_dl_ms", "RTT", unit="ms"),
    MappedColumn("dl_bytes", "Total DL", unit="bytes"),
    MappedColumn("ul_bytes", "Total UL", unit="bytes"),
    *(
        MappedColumn(f"app_{app}_{direction}_bytes", f"{app} {direction}", unit="bytes")
        for app in ("web", "mail", "rest")
        for direction in ("dl", "ul")
    ),
)
APPLICATIONS = tuple(Application(slug, slug.capitalize()) for slug in ("web", "mail", "rest"))
VENDOR = Mapping("hand", "sessions", COLUMNS, APPLICATIONS)

PLAIN = {
    "Phone": "33610000001", "IMEI": "35038728607171", "Bearer": "7301", "Cell": "G00619B",
    "Start": "5/1/2024 10:00", "Start ms": "250", "End": "5/1/2024 11:00", "End ms": "750", "Dur": "3600",
    "Dur.2": "3600500", "Device": "Huawei B528S",
    BANDS[0]: "70", BANDS[1]: "20", BANDS[2]: "10", BANDS[3]: "0",
    "RTT": "60", "Total DL": "4000", "Total UL": "600", "web dl": "3000", "mail dl": "1000", "rest dl": "500",
    "web ul": "300", "mail ul": "200", "rest ul": "100",
}  # fmt: skip
"""A session of one hour: durations in s and in ms under one header, a downlink total without the rest."""


def rows(count: int, **changes: str) -> list[dict[str, str]]:
    """Plain rows of as many subscribers, each with changes."""
    return [PLAIN | {"Phone": f"336{10_000_001 + i}"} | changes for i in range(count)]


def changed(row: dict[str, str], **changes: str) -> dict[str, str]:
    """A row with changes; underscores stand for spaces in headers."""
    return row | {
        header.replace("_", " ") if header not in row else header: v for header, v in changes.items()
    }


def write(path: Path, table: list[dict[str, str]], header: dict[str, str] | None = None) -> Path:
    names = header or {name: name.removesuffix(".2") for name in table[0]}
    lines = [",".join(names.values()), *(",".join(row[name] for name in names) for row in table)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@dataclass
class Outcome:
    """What became of a file."""

    parsed: xdr.Parsed
    sessions: list[dict[str, Any]]
    rejects: list[tuple[int, str, str | None]]

    def notes(self, column: str) -> list[tuple[str, str, int]]:
        return [(f.check, f.severity, f.count) for f in self.parsed.decisions.findings if f.column == column]


def ingest(
    store: Store,
    path: Path,
    mapping: Mapping = VENDOR,
    settings: Settings = CLEAR,
    earlier: tuple[Path, ...] = (),
) -> Outcome:
    parsed = xdr.parse(store, files.recognise(path), mapping, settings)
    reading = xdr.read(store, parsed, mapping, settings, KEY, earlier)
    rejects = store.rows(reading.rejects.sort("record"))
    sessions = store.rows(reading.rows.sort("start_at", "subscriber_id", "dl_bytes", nulls_last=True))
    return Outcome(parsed, sessions, [(r["record"], r["fault"], r["found"]) for r in rejects])
