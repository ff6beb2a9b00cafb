"""Files of nfcapd, as nfdump prints them: flows that a collector of NetFlow or IPFIX stored."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from subsight.errors import InputError
from subsight.sources.findings import Finding

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAGIC", "flows"]

MAGIC: Final = (b"\x0c\xa5", b"\xa5\x0c")
"""How a file begins, by the byte order of who wrote it."""
_FIELDS: Final = {
    "first_seen_at": "%ts", "last_seen_at": "%te", "src_address": "%sa", "dst_address": "%da",
    "src_port": "%sp", "dst_port": "%dp", "protocol": "%pr", "src_to_dst_bytes": "%ibyt",
    "src_to_dst_packets": "%ipkt", "dst_to_src_bytes": "%obyt", "dst_to_src_packets": "%opkt",
    "exporter": "%ra",
}  # fmt: skip
_NONE: Final = "No matching flows"
"""What nfdump prints in place of a table that is empty."""


def flows(path: Path, found: list[Finding]) -> Iterator[pa.Table]:
    """The flows in a file, some at a time, by canonical names; all columns are text.

    Volumes are those that nfcapd stored, which has multiplied them by a sampling rate that it knew. What
    nfdump complains of is added to `found`.

    Raises:
        InputError: nfdump is not installed, or cannot read the file.
    """
    program = shutil.which("nfdump")
    if program is None:
        raise InputError(
            f"{path.name} is a file of nfcapd, which nfdump reads",
            found="no nfdump on this machine",
            do="install it: apt install nfdump",
        )
    command = [program, "-r", str(path), "-q", "-N", "-6", "-o", "fmt:" + ",".join(_FIELDS.values())]
    rows = 0
    # What it says goes to a file: a pipe that nobody reads in the meantime would stop it once it is full.
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, env={**os.environ, "TZ": "UTC"}
        ) as process:
            assert process.stdout is not None
            for table in _tables(path, process.stdout):
                rows += table.num_rows
                yield table
        _complain(path, process.returncode, said, rows, found)


def _tables(path: Path, printed: IO[bytes]) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    def judge(row: Any) -> str:
        return "skip" if row.text.strip() == _NONE else "error"

    try:
        reader = arrow_csv.open_csv(
            printed,
            arrow_csv.ReadOptions(column_names=list(_FIELDS)),
            arrow_csv.ParseOptions(invalid_row_handler=judge),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(_FIELDS, pa.string())),
        )
        for batch in reader:
            if batch.num_rows:
                yield _columns(pa.Table.from_batches([batch]))
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):
            raise InputError(f"{path.name}: nfdump prints what is no table", found=str(error)) from error


def _complain(path: Path, code: int, said: IO[bytes], rows: int, found: list[Finding]) -> None:
    """Raises what kept nfdump from reading; its exit code is 0 for damaged files too."""
    said.seek(0)
    lines = [line.decode(errors="replace").strip() for line in said.readlines(100_000)]
    text = "; ".join(dict.fromkeys(line for line in lines if line))[:200]
    if code or (text and not rows):
        raise InputError(
            f"{path.name} cannot be read by nfdump",
            found=text or f"exit code {code}",
            do="check that the file arrived complete, and the version of nfdump",
        )
    if text:
        found.append(Finding("file", "nfdump", "warning", 0, f"nfdump says of the file: {text}"))
    if rows:
        found.append(Finding("src_to_dst_bytes", "nfdump", "note", rows, "volumes as nfcapd stored them"))


def _columns(texts: pa.Table) -> pa.Table:
    """nfdump's words as columns: ICMP's type and code apart, a way back of nothing as none told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {name: pc.utf8_trim_whitespace(texts[name]) for name in _FIELDS}
    nothing = pa.scalar(None, pa.string())
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
        columns[name] = pc.if_else(is_one_way, nothing, columns[name])
    is_nobody = pc.is_in(columns["exporter"], value_set=pa.array(["0.0.0.0", "::"]))
    columns["exporter"] = pc.if_else(is_nobody, nothing, columns["exporter"])
    return pa.table(columns)
