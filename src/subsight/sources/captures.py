"""Files of flows that are no table: what nfcapd wrote, and packet captures; each becomes one Parquet file."""

from __future__ import annotations

import shutil
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from subsight.errors import InputError
from subsight.sources import files, metering, netflow, nfcapd
from subsight.sources.findings import Finding

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Unpacked", "kind_of", "unpack"]

_NAMED: Final = (".pcap", ".pcapng")
_LOOKED_AT: Final = 1_000
_MOST: Final = 0.5
"""A capture of whose first packets more are exports of flows is one of an exporter."""
_DATAGRAMS: Final = 20_000
"""That are decoded at once: a capture may be larger than memory."""


@dataclass(frozen=True)
class Unpacked:
    """A Parquet file with the canonical names of flows, and what was dropped or assumed on the way."""

    path: Path
    findings: list[Finding] = field(default_factory=list)


def kind_of(path: Path) -> Literal["nfcapd", "capture"] | None:
    """What a file, plain, gz or zst, is by its first bytes; None where it is neither.

    Raises:
        InputError: it is named as a capture and is none.
    """
    inner = _inner(path.name)
    is_named = inner.endswith(_NAMED)
    try:
        with files.opened(path) as file:
            magic = file.read(4)
    except (OSError, EOFError, zlib.error):
        return "capture" if is_named and inner != path.name.lower() else None
    if magic[:2] in nfcapd.MAGIC:
        return "nfcapd"
    if netflow.is_capture(magic):
        return "capture"
    if magic and is_named:
        raise InputError(
            f"{path.name} is no packet capture",
            found=f"a file that begins with the bytes {magic.hex(' ')}",
            expected="pcap or pcapng",
            do="fetch the file again, or name it by what it is",
        )
    return None


def _inner(name: str) -> str:
    """The name of a file without the suffix of its compression."""
    return name.lower().removesuffix(".gz").removesuffix(".zst")


def unpack(path: Path, scratch: Path) -> Unpacked:
    """The flows in a file of nfcapd or in a capture, of exports or of the traffic itself.

    Raises:
        InputError: it holds no flows, or what reads it (nfdump, NFStream) is not installed or fails.
    """
    plain = _plain(path, scratch)
    target = scratch / f"{path.name}.flows.parquet"
    found: list[Finding] = []
    try:
        if kind_of(plain) == "nfcapd":
            rows = _write(nfcapd.flows(plain, found), target)
        elif _is_export(plain):
            rows = _write(_exported(plain, found), target)
        else:
            rows = _write(_metered(plain, found), target)
    finally:
        if plain != path:
            plain.unlink()
    if not rows:
        raise InputError(
            f"{path.name} holds no flows",
            found="; ".join(f"{f.text} ({f.count:,})" if f.count else f.text for f in found) or None,
            expected="at least one flow",
        )
    return Unpacked(target, found)


def _plain(path: Path, scratch: Path) -> Path:
    """The file itself, or what a compressed one holds."""
    if _inner(path.name) == path.name.lower():
        return path
    target = scratch / path.stem
    try:
        with files.opened(path) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path.name} cannot be unpacked",
            found=str(error) or type(error).__name__,
            expected="a whole compressed file",
            do="check that the file arrived complete, and the free space",
        ) from error
    return target


def _write(tables: Iterator[pa.Table], target: Path) -> int:
    """Writes tables as one Parquet file; how many rows."""
    import pyarrow.parquet as pq

    writer, rows = None, 0
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(target, table.schema)
            writer.write_table(table)
            rows += table.num_rows
    finally:
        if writer:
            writer.close()
    return rows


# Captures of exporters


def _is_export(path: Path) -> bool:
    """Whether most packets of a capture are exports of flows, by the first thousand."""
    passed: Counter[str] = Counter()
    looks = [
        netflow.looks_like_export(p.data) for p in netflow.payloads(path, passed, most=_LOOKED_AT)
    ]  # fmt: skip
    return sum(looks) > _MOST * (len(looks) + passed["no UDP datagram"])


def _exported(path: Path, found: list[Finding]) -> Iterator[pa.Table]:
    """The flows that the datagrams in a capture tell."""
    passed, dropped, noted = Counter[str](), Counter[str](), Counter[str]()
    decoder = netflow.Decoder()
    given = (netflow.Datagram(p.src_address, p.at_us, p.data) for p in netflow.payloads(path, passed))
    is_last = False
    while not is_last:
        some = list(islice(given, _DATAGRAMS))
        is_last = len(some) < _DATAGRAMS
        decoded = decoder.decode(some, is_last=is_last)
        for drop in decoded.dropped:
            dropped[drop.reason] += drop.count
        noted.update(decoded.noted)
        yield decoded.table.drop_columns(["datagram"])
    found += _passed_over(passed)
    found += [Finding("file", f"dropped: {why}", "warning", count, why) for why, count in dropped.items()]
    found += [Finding("first_seen_at", "export time", "warning", n, why) for why, n in noted.items()]
    for exporter, units in decoder.lost.items():
        for unit, count in units.items():
            if count:
                text = f"{unit} missing of {exporter}, by its sequence numbers"
                found.append(Finding("file", f"lost: {exporter}", "warning", count, text))


# Captures of traffic


def _metered(path: Path, found: list[Finding]) -> Iterator[pa.Table]:
    """The flows that NFStream makes of packets; how many of them it made none of is found."""
    import pyarrow.compute as pc

    rows = inside = 0
    for table in metering.flows(path):
        rows += table.num_rows
        for name in ("src_to_dst_packets", "dst_to_src_packets"):
            inside += pc.sum(table[name]).as_py()
        yield table
    passed: Counter[str] = Counter()
    packets = sum(1 for _ in netflow.packets(path, passed))
    # Some of what is none to our reader, such as PPPoE, NFStream reads.
    passed["no IP packet"] -= max(0, inside - packets)
    if rows:
        text = (
            f"NFStream ends a flow after {metering.IDLE_S} s without a packet, and one that goes on after "
            f"{metering.ACTIVE_S:,} s"
        )
        found.append(Finding("last_seen_at", "nfstream", "note", rows, text))
    if packets > inside:
        text = "IP packets are in no flow: later fragments, or damaged"
        found.append(Finding("src_to_dst_bytes", "packets", "warning", packets - inside, text))
    found += _passed_over(passed)


def _passed_over(passed: Counter[str]) -> list[Finding]:
    found = [
        Finding("file", f"packet: {why}", "note", count, f"packets passed over: {why}")
        for why, count in passed.items()
        if why != netflow.CUT_SHORT and count > 0
    ]
    if passed[netflow.CUT_SHORT]:
        text = "the capture is cut short or damaged: what follows was not read"
        found.append(Finding("file", "cut short", "warning", 0, text))
    return found
