"""Files in the shape of a real operator's extract, with its faults and with known truths, and copies of
them that say the same in other words.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

APPS = ("social_media", "google", "email", "youtube", "netflix", "gaming", "other")
_TITLES = ("Social Media", "Google", "Email", "Youtube", "Netflix", "Gaming", "Other")
DL_SHARES = ("dl_below_50_kbps_share", "dl_50_to_250_kbps_share", "dl_250_to_1000_kbps_share",
             "dl_above_1000_kbps_share")  # fmt: skip
UL_SHARES = ("ul_below_10_kbps_share", "ul_10_to_50_kbps_share", "ul_50_to_300_kbps_share",
             "ul_above_300_kbps_share")  # fmt: skip
SECONDS = {
    "dl_volume_above_125000_s": "Nb of sec with 125000B < Vol DL",
    "ul_volume_1250_to_6250_s": "Nb of sec with 1250B < Vol UL < 6250B",
    "dl_volume_31250_to_125000_s": "Nb of sec with 31250B < Vol DL < 125000B",
    "ul_volume_above_37500_s": "Nb of sec with 37500B < Vol UL",
    "dl_volume_6250_to_31250_s": "Nb of sec with 6250B < Vol DL < 31250B",
    "ul_volume_6250_to_37500_s": "Nb of sec with 6250B < Vol UL < 37500B",
    "dl_volume_below_6250_s": "Nb of sec with Vol DL < 6250B",
    "ul_volume_below_1250_s": "Nb of sec with Vol UL < 1250B",
}

HEADERS: dict[str, str] = {
    "bearer_id": "Bearer Id", "start_at": "Start", "start_at:milliseconds": "Start ms", "end_at": "End",
    "end_at:milliseconds": "End ms", "duration_s": "Dur. (ms)", "imsi_id": "IMSI",
    "subscriber_id": "MSISDN/Number", "imei_id": "IMEI", "cell_id": "Last Location Name",
    "rtt_dl_ms": "Avg RTT DL (ms)", "rtt_ul_ms": "Avg RTT UL (ms)",
    "throughput_dl_kbps": "Avg Bearer TP DL (kbps)", "throughput_ul_kbps": "Avg Bearer TP UL (kbps)",
    "tcp_retransmission_dl_bytes": "TCP DL Retrans. Vol (Bytes)",
    "tcp_retransmission_ul_bytes": "TCP UL Retrans. Vol (Bytes)",
    **dict(zip(DL_SHARES, ("DL TP < 50 Kbps (%)", "50 Kbps < DL TP < 250 Kbps (%)",
                           "250 Kbps < DL TP < 1 Mbps (%)", "DL TP > 1 Mbps (%)"), strict=True)),
    **dict(zip(UL_SHARES, ("UL TP < 10 Kbps (%)", "10 Kbps < UL TP < 50 Kbps (%)",
                           "50 Kbps < UL TP < 300 Kbps (%)", "UL TP > 300 Kbps (%)"), strict=True)),
    "http_dl_bytes": "HTTP DL (Bytes)", "http_ul_bytes": "HTTP UL (Bytes)",
    "activity_dl_ms": "Activity Duration DL (ms)", "activity_ul_ms": "Activity Duration UL (ms)",
    "duration_ms": "Dur. (ms)", "handset_manufacturer": "Handset Manufacturer", "handset": "Handset Type",
    **SECONDS,
    **{f"app_{app}_{d.lower()}_bytes": f"{title} {d} (Bytes)"
       for app, title in zip(APPS, _TITLES, strict=True) for d in ("DL", "UL")},
    "ul_bytes": "Total UL (Bytes)", "dl_bytes": "Total DL (Bytes)",
}  # fmt: skip
"""The extract's header by what each column is, in the extract's order."""

_UNITS = {"bytes": "bytes", "ms": "ms", "kbps": "kbps", "s": "s", "share": "percent", "milliseconds": "ms"}


@dataclass(frozen=True)
class Column:
    """One source column: what it truly is, in which unit, and its texts."""

    role: str
    header: str
    unit: str | None
    values: list[str]


@dataclass(frozen=True, eq=False)
class Copy:
    """A file's columns; `corrected` are the roles whose header or total says what is not so."""

    columns: list[Column]
    corrected: frozenset[str]
    notes: dict[str, bool] = field(default_factory=dict)

    def __getitem__(self, role: str) -> Column:
        return next(column for column in self.columns if column.role == role)

    def write(self, path: Path) -> Path:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(column.header for column in self.columns)
            writer.writerows(zip(*(column.values for column in self.columns), strict=True))
        return path


def _original(values: dict[str, list[str]]) -> Copy:
    columns = []
    for role, header in HEADERS.items():
        unit = _UNITS.get(role.replace(":", "_").rpartition("_")[2])
        columns.append(Column(role, header, unit, values[role]))
    return Copy(columns, frozenset({"duration_s", "dl_bytes"}))


def read_original(path: Path, rows: int) -> Copy:
    """The first rows of the real extract."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        assert header == list(HEADERS.values())
        table = [row for row, _ in zip(reader, range(rows), strict=False)]
    return _original({role: [row[i] for row in table] for i, role in enumerate(HEADERS)})


def generate(rows: int = 3000, seed: int = 7) -> Copy:
    """An extract of that many sessions and a last row that holds nothing but column means."""
    draw = random.Random(seed)
    table = [dict.fromkeys(HEADERS, "") | dict(_session(draw, i, rows)) for i in range(rows)]
    means = dict.fromkeys(HEADERS, "")
    for role in (r for r in HEADERS if r.startswith("app_")):
        means[role] = repr(sum(int(row[role]) for row in table) / rows + 0.123)
    table.append(means)
    return _original({role: [row[role] for row in table] for role in HEADERS})


_MODELS = (
    ("Huawei", "B528S-23A"), ("Apple", "iPhone 6S (A1688)"), ("Apple", "iPhone X"), ("Samsung", "Galaxy S8"),
    ("Samsung", "Galaxy A5"), ("undefined", ""),
)  # fmt: skip


def _clock(moment: datetime) -> str:
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour}:{moment.minute:02d}"


def _session(draw: random.Random, number: int, rows: int) -> Iterator[tuple[str, str]]:
    start = datetime(2019, 4, 2) + timedelta(milliseconds=draw.randrange(20 * 86_400_000))
    length_ms = int(draw.lognormvariate(10.5, 1.2) * 1000)
    end = start + timedelta(milliseconds=length_ms)
    yield from (("start_at", _clock(start)), ("end_at", _clock(end)))
    yield "start_at:milliseconds", str(start.microsecond // 1000)
    yield "end_at:milliseconds", str(end.microsecond // 1000)
    yield from (("duration_s", str(length_ms // 1000)), ("duration_ms", str(length_ms)))
    yield "bearer_id", f"{draw.randrange(10**14, 2 * 10**14) / 10**14:.14f}E+019"
    person = draw.randrange(2 * rows)
    if draw.random() > 0.007:
        # One number in the file has another length than all others.
        yield "subscriber_id", "3197020111111" if number == 17 else f"336{10_000_000 + person}"
    yield "imsi_id", f"2082{person:011d}"
    yield "imei_id", f"35{draw.randrange(10**12):012d}"
    is_damaged = draw.random() < 0.01
    yield (
        "cell_id",
        "1.53279754934046E+17" if is_damaged else f"{draw.choice('DLTE')}{draw.randrange(99999):05d}A",
    )
    maker, model = draw.choice(_MODELS)
    yield "handset_manufacturer", maker
    yield "handset", f"{maker} {model}".strip()
    volumes = {"dl": (8e5, 3e6, 9e5, 6e6, 6e6, 2e8, 3e8), "ul": (2e4, 1e6, 3e5, 6e6, 6e6, 6e6, 6e6)}
    for direction, means in volumes.items():
        parts = [int(draw.uniform(0.001, 2) * mean) for mean in means]
        for app, volume in zip(APPS, parts, strict=True):
            yield f"app_{app}_{direction}_bytes", str(volume)
        total = sum(parts) - (parts[-1] if direction == "dl" else 0)
        yield f"{direction}_bytes", str(total)
        rate = total * 8 / length_ms
        yield f"throughput_{direction}_kbps", str(int(rate * draw.lognormvariate(1.5, 1)) + 1)
        if draw.random() < 0.8:
            yield f"rtt_{direction}_ms", str(int(draw.lognormvariate(4, 0.8)))
        if draw.random() < 0.5:
            yield f"tcp_retransmission_{direction}_bytes", str(int(draw.lognormvariate(12, 2)) + 1)
        if draw.random() < 0.6:
            yield f"http_{direction}_bytes", str(int(draw.lognormvariate(13, 2)) + 40)
        yield f"activity_{direction}_ms", str(int(length_ms * draw.uniform(0.01, 0.2)))
    for names in (DL_SHARES, UL_SHARES):
        if draw.random() < 0.99:
            first, second, third = draw.randrange(60, 101), draw.randrange(30), draw.randrange(10)
            second = min(second, 100 - first)
            third = min(third, 100 - first - second)
            for name, share in zip(names, (first, second, third, 100 - first - second - third), strict=True):
                yield name, str(share)
    for role in SECONDS:
        if draw.random() < 0.4:
            yield role, str(draw.randrange(1, 500))


# The truth, worked out here from the texts of the original


def truth(original: Copy) -> list[dict[str, float | str | datetime | None]]:
    """What each session of an original is in canonical terms; rows that are no session are left out."""
    columns = {column.role: column.values for column in original.columns}
    found = []
    for i in range(len(columns["start_at"])):
        texts = {role: values[i] for role, values in columns.items()}
        if texts["start_at"]:
            found.append(_canonical(texts))
    return found


def _canonical(texts: dict[str, str]) -> dict[str, float | str | datetime | None]:
    row: dict[str, float | str | datetime | None] = {}
    for role, text in texts.items():
        if role in ("start_at", "end_at"):
            moment = datetime.strptime(text, "%m/%d/%Y %H:%M").replace(tzinfo=UTC)
            row[role] = moment + timedelta(milliseconds=int(texts[f"{role}:milliseconds"]))
        elif role in ("subscriber_id", "imsi_id", "imei_id"):
            row[role] = text or None
        elif role in ("cell_id", "bearer_id"):
            # A spreadsheet keeps 15 digits; it writes zeros or an exponent for the others.
            is_damaged = re.fullmatch(r"[0-9.]+[eE]\+[0-9]+|[1-9][0-9]{14}0+", text)
            row[role] = None if not text or is_damaged else text
        elif role.startswith("handset"):
            row[role] = None if text in ("", "undefined") else text
        elif not role.endswith(":milliseconds"):
            row[role] = (float(text) / (100 if role.endswith("_share") else 1)) if text else None
    # The reported total leaves the last application out.
    row["dl_bytes"] = sum(float(texts[f"app_{app}_dl_bytes"]) for app in APPS)
    return row


# Copies that say the same in other words


Mutation = Callable[[Copy], Copy]


def _changed(
    copy: Copy,
    change: Callable[[Column], Column | None],
    add: Iterable[str] = (),
    drop: Iterable[str] = (),
) -> Copy:
    columns = [new for column in copy.columns if (new := change(column))]
    return replace(copy, columns=columns, corrected=(copy.corrected | {*add}) - {*drop})


def duration_in_ms(copy: Copy) -> Copy:
    """The first duration really is in milliseconds, as its header says."""

    def change(column: Column) -> Column:
        if column.role != "duration_s":
            return column
        return replace(column, unit="ms", values=[f"{v}000" if v else "" for v in column.values])

    return _changed(copy, change, drop={"duration_s"})


def consistent_total(copy: Copy) -> Copy:
    """The downlink total holds every application."""
    parts = [copy[f"app_{app}_dl_bytes"].values for app in APPS]

    def change(column: Column) -> Column:
        if column.role != "dl_bytes":
            return column
        rows = zip(column.values, *parts, strict=True)
        sums = [str(sum(map(int, row))) if total else "" for total, *row in rows]
        return replace(column, values=sums)

    return _changed(copy, change, drop={"dl_bytes"})


def shuffled(copy: Copy) -> Copy:
    """The columns in another order."""
    columns = list(copy.columns)
    random.Random(3).shuffle(columns)
    return replace(copy, columns=columns)


def renamed(copy: Copy) -> Copy:
    """Another vendor's names in lower case."""
    return _changed(copy, lambda column: replace(column, header=_SNAKE[column.role].format(_suffix(column))))


def camel(copy: Copy) -> Copy:
    """A third vendor's names in camel case, bands apart."""

    def change(column: Column) -> Column:
        name = _SNAKE[column.role].format(_suffix(column))
        first, *rest = name.split("_")
        is_band = any(c.isdigit() for c in name)
        return column if is_band else replace(column, header=first + "".join(w.capitalize() for w in rest))

    return _changed(copy, change)


def _suffix(column: Column) -> str:
    written = column.header.rpartition("(")[2].rstrip(")")
    return {"Bytes": "bytes", "kB": "kB", "KiB": "KiB"}.get(written, "")


_BRANDS = ("facebook", "search", "mail", "video", "movies", "games", "rest")
_SNAKE: dict[str, str] = {
    "bearer_id": "session_id", "start_at": "session_start_time", "start_at:milliseconds": "session_start_ms",
    "end_at": "session_end_time", "end_at:milliseconds": "session_end_ms", "duration_s": "duration_ms",
    "duration_ms": "duration_total_ms", "imsi_id": "imsi", "subscriber_id": "served_msisdn",
    "imei_id": "imei",
    "cell_id": "cell_name", "handset_manufacturer": "device_brand", "handset": "device_model",
    **{f"rtt_{d}_ms": f"latency_{w}_ms" for d, w in (("dl", "downlink"), ("ul", "uplink"))},
    **{f"throughput_{d}_kbps": f"{w}_tput_kbps" for d, w in (("dl", "downlink"), ("ul", "uplink"))},
    **{f"tcp_retransmission_{d}_bytes": f"tcp_retransmitted_{w}_{{}}"
       for d, w in (("dl", "downlink"), ("ul", "uplink"))},
    **{f"http_{d}_bytes": f"http_{w}_{{}}" for d, w in (("dl", "downlink"), ("ul", "uplink"))},
    **{f"activity_{d}_ms": f"active_time_{w}_ms" for d, w in (("dl", "downlink"), ("ul", "uplink"))},
    "dl_below_50_kbps_share": "dl_rate_below_50_kbps_pct",
    "dl_50_to_250_kbps_share": "dl_rate_50_250_kbps_pct",
    "dl_250_to_1000_kbps_share": "dl_rate_250_1000_kbps_pct",
    "dl_above_1000_kbps_share": "dl_rate_above_1_mbps_pct",
    "ul_below_10_kbps_share": "ul_rate_below_10_kbps_pct", "ul_10_to_50_kbps_share": "ul_rate_10_50_kbps_pct",
    "ul_50_to_300_kbps_share": "ul_rate_50_300_kbps_pct",
    "ul_above_300_kbps_share": "ul_rate_above_300_kbps_pct",
    "dl_volume_above_125000_s": "sec_dl_vol_gt_125000_bytes",
    "dl_volume_31250_to_125000_s": "sec_dl_vol_31250_125000_bytes",
    "dl_volume_6250_to_31250_s": "sec_dl_vol_6250_31250_bytes",
    "dl_volume_below_6250_s": "sec_dl_vol_lt_6250_bytes",
    "ul_volume_above_37500_s": "sec_ul_vol_gt_37500_bytes",
    "ul_volume_6250_to_37500_s": "sec_ul_vol_6250_37500_bytes",
    "ul_volume_1250_to_6250_s": "sec_ul_vol_1250_6250_bytes",
    "ul_volume_below_1250_s": "sec_ul_vol_lt_1250_bytes",
    **{f"app_{app}_{d}_bytes": f"{name}_{w}_{{}}"
       for app, name in zip(APPS, _BRANDS, strict=True)
       for d, w in (("dl", "downlink"), ("ul", "uplink"))},
    "dl_bytes": "total_downlink_{}", "ul_bytes": "total_uplink_{}",
}  # fmt: skip


def _volumes(size: int, unit: str, is_said: bool) -> Mutation:
    def change(column: Column) -> Column:
        if column.unit != "bytes":
            return column
        values = [f"{float(v) / size:.3f}" if v else "" for v in column.values]
        header = column.header.replace("(Bytes)", f"({unit})") if is_said else column.header
        return replace(column, unit=unit, values=values, header=header)

    def mutate(copy: Copy) -> Copy:
        roles = {column.role for column in copy.columns if column.unit == "bytes"}
        return replace(
            _changed(copy, change, add=() if is_said else roles), notes={**copy.notes, "scaled": True}
        )

    return mutate


kb_silent, kb_said = _volumes(1000, "kB", is_said=False), _volumes(1000, "kB", is_said=True)
kib_silent, kib_said = _volumes(1024, "KiB", is_said=False), _volumes(1024, "KiB", is_said=True)
mb_silent = _volumes(1_000_000, "MB", is_said=False)


def shares_of_one(copy: Copy) -> Copy:
    """Shares from 0 to 1 under a header that says percent."""

    def change(column: Column) -> Column:
        if column.unit != "percent":
            return column
        return replace(
            column, unit="share", values=[f"{int(v) / 100:.2f}" if v else "" for v in column.values]
        )

    return _changed(copy, change, add={*DL_SHARES, *UL_SHARES})


def _times(pattern: str) -> Mutation:
    def change(column: Column) -> Column:
        if column.role not in ("start_at", "end_at"):
            return column
        moments = [datetime.strptime(v, "%m/%d/%Y %H:%M") if v else None for v in column.values]
        return replace(column, values=[m.strftime(pattern) if m else "" for m in moments])

    return lambda copy: _changed(copy, change)


iso_minutes, day_first = _times("%Y-%m-%d %H:%M:%S"), _times("%d/%m/%Y %H:%M")
day_first_dots = _times("%d.%m.%Y %H:%M:%S")


def iso_whole(copy: Copy) -> Copy:
    """Times as ISO 8601 to the millisecond, without columns of their own for these."""
    extras = {role: copy[f"{role}:milliseconds"].values for role in ("start_at", "end_at")}

    def change(column: Column) -> Column | None:
        if column.role.endswith(":milliseconds"):
            return None
        if column.role not in extras:
            return column
        values = [
            datetime.strptime(v, "%m/%d/%Y %H:%M").strftime(f"%Y-%m-%dT%H:%M:00.{int(ms):03d}Z") if v else ""
            for v, ms in zip(column.values, extras[column.role], strict=True)
        ]
        return replace(column, values=values)

    return _changed(copy, change)


VOLUMES = {"kb_silent": kb_silent, "kb_said": kb_said, "kib_silent": kib_silent, "kib_said": kib_said}
TIMES = {
    "iso_minutes": iso_minutes, "iso_whole": iso_whole, "day_first": day_first,
    "day_first_dots": day_first_dots,
}  # fmt: skip
# In an order in which they may follow each other: units before the names that say them.
MUTATIONS: dict[str, Mutation] = {
    "consistent_total": consistent_total, "duration_in_ms": duration_in_ms, **VOLUMES,
    "shares_of_one": shares_of_one, **TIMES, "renamed": renamed, "camel": camel, "shuffled": shuffled,
}  # fmt: skip
