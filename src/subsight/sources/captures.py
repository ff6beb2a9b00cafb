"""Files of flows that are no table: what nfcapd wrote, and packet captures; each becomes one Parquet file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from subsight.errors import InputError
from subsight.sources import netflow
from subsight.sources.findings import Finding

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Unpacked", "kind_of", "unpack"]

_NFCAPD: Final = (b"\x0c\xa5", b"\xa5\x0c")
_FIELDS: Final = {
    "first_seen_at": "%ts", "last_seen_at": "%te", "src_address": "%sa", "dst_address": "%da",
    "src_port": "%sp", "dst_port": "%dp", "protocol": "%pr", "src_to_dst_bytes": "%ibyt",
    "src_to_dst_packets": "%ipkt", "dst_to_src_bytes": "%obyt", "dst_to_src_packets": "%opkt",
    "exporter": "%ra",
}  # fmt: skip
_TOO_FEW: Final = 0.5
"""A capture of which at least so many UDP payloads look like exports is one of an exporter."""
_ROWS: Final = 200_000
_CONFIDENCES: Final = {
    1: "Match by port", 3: "DPI (partial)", 4: "DPI (partial cache)", 5: "DPI (cache)", 6: "DPI",
}  # fmt: skip
"""nDPI's `ndpi_confidence_t`, which NFStream passes on as a number."""


@dataclass(frozen=True)
class Unpacked:
    """A Parquet file with the canonical names of flows, and what was dropped or assumed on the way."""

    path: Path
    findings: list[Finding] = field(default_factory=list)


def kind_of(path: Path) -> Literal["nfcapd", "capture"] | None:
    """What a file is by its first bytes; None where it is neither."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] in _NFCAPD:
        return "nfcapd"
    return "capture" if netflow.is_capture(magic) else None


def unpack(path: Path, scratch: Path) -> Unpacked:
    """The flows in a file of nfcapd or in a capture, of exports or of the traffic itself.

    Raises:
        InputError: it holds no flows, or what reads it (nfdump, NFStream) is not installed or fails.
    """
    target = scratch / f"{path.name}.flows.parquet"
    if kind_of(path) == "nfcapd":
        rows = _write(_nfdump(path), target)
        found = [Finding("src_to_dst_bytes", "nfdump", "note", rows, "volumes as nfcapd stored them")]
    elif _is_export(path):
        rows, found = _exports(path, target)
    else:
        rows = _write(_nfstream(path), target)
        found = [Finding("last_seen_at", "nfstream", "note", rows,
                         "flows end after 120 s without a packet, or 1,800 s")]  # fmt: skip
    if not rows:
        raise InputError(
            f"{path.name} holds no flows",
            found="; ".join(f"{f.count:,} x {f.text}" for f in found if f.severity == "warning") or None,
            expected="at least one flow",
        )
    return Unpacked(target, found)


def _write(tables: Iterator[pa.Table], target: Path) -> int:
    """Writes tables as one Parquet file; how many rows."""
    import pyarrow.parquet as pq

    writer, rows = None, 0
    for table in tables:
        writer = writer or pq.ParquetWriter(target, table.schema)
        writer.write_table(table)
        rows += table.num_rows
    if writer:
        writer.close()
    return rows


# nfcapd


def _nfdump(path: Path) -> Iterator[pa.Table]:
    """What nfdump prints of a file, table by table."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    program = shutil.which("nfdump")
    if program is None:
        raise InputError(
            f"{path.name} is a file of nfcapd, which nfdump reads",
            found="no nfdump on this machine",
            do="install it: apt install nfdump",
        )
    command = [program, "-r", str(path), "-q", "-N", "-6", "-o", "fmt:" + ",".join(_FIELDS.values())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TZ": "UTC"}
    ) as process:
        assert process.stdout is not None
        try:
            reader = arrow_csv.open_csv(
                process.stdout,
                arrow_csv.ReadOptions(column_names=list(_FIELDS)),
                convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(_FIELDS, pa.string())),
            )
            for batch in reader:
                yield _of_nfdump(pa.Table.from_batches([batch]))
        except pa.ArrowInvalid as error:
            if "Empty CSV" not in str(error):
                raise InputError(f"{path.name}: nfdump prints what is no table", found=str(error)) from error
        _, said = process.communicate()
    if process.returncode:
        raise InputError(
            f"{path.name} cannot be read by nfdump",
            found=said.decode(errors="replace").strip()[:200] or f"exit code {process.returncode}",
            do="check that the file arrived complete, and the version of nfdump",
        )


def _of_nfdump(texts: pa.Table) -> pa.Table:
    """nfdump's words as columns: ICMP's type and code apart, a way back of nothing as none told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {name: pc.utf8_trim_whitespace(texts[name]) for name in _FIELDS}
    is_icmp = pc.is_in(columns["protocol"], value_set=pa.array(["1", "58", "ICMP", "ICMP6"]))
    parts = pc.split_pattern(columns["dst_port"], ".")
    has_code = pc.and_(is_icmp, pc.equal(pc.list_value_length(parts), 2))
    whole = pc.if_else(has_code, parts, pa.scalar(["0", "0"]))
    columns["src_port"] = pc.if_else(has_code, pc.list_element(whole, 0), columns["src_port"])
    columns["dst_port"] = pc.if_else(has_code, pc.list_element(whole, 1), columns["dst_port"])
    is_one_way = pc.and_(
        pc.equal(columns["dst_to_src_bytes"], "0"), pc.equal(columns["dst_to_src_packets"], "0")
    )
    for name in ("dst_to_src_bytes", "dst_to_src_packets"):
        columns[name] = pc.if_else(is_one_way, pa.scalar(None, pa.string()), columns[name])
    return pa.table(columns)


# Captures


def _is_export(path: Path) -> bool:
    """Whether most UDP payloads of a capture are exports of flows, by the first thousand."""
    seen = exports = 0
    for payload in netflow.payloads(path):
        seen += 1
        exports += netflow.looks_like_export(payload.data)
        if seen == 1_000:
            break
    return bool(seen) and exports > _TOO_FEW * seen


def _exports(path: Path, target: Path) -> tuple[int, list[Finding]]:
    """The flows that the datagrams in a capture tell."""
    passed: Counter[str] = Counter()
    decoder = netflow.Decoder()
    given = (netflow.Datagram(p.src_address, p.at_us, p.data) for p in netflow.payloads(path, passed))
    decoded = decoder.decode(given, is_last=True)
    rows = _write(iter([decoded.table]), target)
    found = [
        Finding("", f"packet: {why}", "note", count, f"passed over: {why}") for why, count in passed.items()
    ]
    dropped: Counter[str] = Counter()
    for drop in decoded.dropped:
        dropped[drop.reason] += drop.count
    found += [Finding("", f"dropped: {why}", "warning", count, why) for why, count in dropped.items()]
    found += [Finding("first_seen_at", "export time", "warning", n, why) for why, n in decoded.noted.items()]
    for exporter, units in decoder.lost.items():
        for unit, count in units.items():
            if count:
                text = f"{unit} missing of {exporter}, by its sequence numbers"
                found.append(Finding("", f"lost: {exporter}", "warning", count, text))
    return rows, found


def _nfstream(path: Path) -> Iterator[pa.Table]:
    """The flows that NFStream makes of packets, with nDPI's labels, table by table."""
    try:
        from nfstream import NFStreamer
    except ImportError as error:
        raise InputError(
            f"{path.name} is a packet capture, which NFStream reads",
            found=str(error),
            do="install the extra: pip install 'subsight[pcap]'",
        ) from error
    streamer = NFStreamer(
        source=str(path), statistical_analysis=False, n_dissections=20, accounting_mode=1, n_meters=1,
        idle_timeout=120, active_timeout=1800,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for flow in streamer:
        rows.append(_of_nfstream(flow))
        if len(rows) == _ROWS:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def _of_nfstream(flow: Any) -> dict[str, Any]:
    is_known = flow.application_name not in ("", "Unknown")
    return {
        "first_seen_ms": flow.bidirectional_first_seen_ms,
        "last_seen_ms": flow.bidirectional_last_seen_ms,
        "src_address": flow.src_ip, "dst_address": flow.dst_ip,
        "src_port": flow.src_port, "dst_port": flow.dst_port, "protocol": flow.protocol,
        "src_to_dst_bytes": flow.src2dst_bytes, "dst_to_src_bytes": flow.dst2src_bytes,
        "src_to_dst_packets": flow.src2dst_packets, "dst_to_src_packets": flow.dst2src_packets,
        "application": flow.application_name if is_known else None,
        "application_category": flow.application_category_name if is_known else None,
        "application_method": _method(flow) if is_known else None,
    }  # fmt: skip


def _method(flow: Any) -> str:
    """How a label was found; a number that is not known counts as a guess of inspection."""
    if flow.application_is_guessed:
        return _CONFIDENCES[1]
    return _CONFIDENCES.get(flow.application_confidence, f"nDPI confidence {flow.application_confidence}")


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    texts = ("src_address", "dst_address", "application", "application_category", "application_method")
    schema = pa.schema([(name, pa.string() if name in texts else pa.int64()) for name in rows[0]])
    return pa.Table.from_pylist(rows, schema=schema)
