"""What a file is before anything is believed of it: its format, delimiter, encoding and header."""

from __future__ import annotations

import glob
import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from subsight.errors import InputError
from subsight.store import CsvFormat

__all__ = ["InputFile", "expand", "opened", "recognise"]

_CAPTURES: Final = tuple(f"{kind}{packed}" for kind in (".pcap", ".pcapng") for packed in ("", ".gz", ".zst"))
_SUFFIXES: Final = (".csv", ".csv.gz", ".csv.zst", ".txt", ".tsv", ".parquet", *_CAPTURES)
_DELIMITERS: Final = ",;\t|"
_HEAD: Final = 1 << 18
_DECLARED: Final = re.compile(r"\s*sep=([,;\t|])\s*", re.IGNORECASE)


@dataclass(frozen=True)
class InputFile:
    """A readable input: where it is, its header, and (for text) how it is delimited."""

    path: Path
    header: tuple[str, ...]
    csv: CsvFormat | None

    @property
    def kind(self) -> Literal["csv", "parquet"]:
        """The format of the file."""
        return "parquet" if self.csv is None else "csv"


def expand(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that paths, folders and globs name, in order, each once.

    Raises:
        InputError: an input names nothing.
    """
    found: dict[Path, None] = {}
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if _is_input(p.name.lower()))
        elif path.exists():
            files = [path]
        else:
            files = sorted(Path(name) for name in glob.glob(str(given)))  # noqa: PTH207 - takes absolute patterns
        if not files:
            raise InputError(
                f"there is no input at {given}",
                expected=f"a file, a folder or a glob of {', '.join(_SUFFIXES)} files",
                do="check the path",
            )
        found.update(dict.fromkeys(files))
    return list(found)


def _is_input(name: str) -> bool:
    """Whether a file of a folder is taken by its name; nfcapd's have the time for a suffix."""
    return name.endswith(_SUFFIXES) or (name.startswith("nfcapd.") and "current" not in name)


def recognise(path: Path, least_columns: int = 2) -> InputFile:
    """Reads enough of a file to say what it is, and all of a compressed one to see that it is whole.

    A text with fewer than `least_columns` in its first line is no table.

    Raises:
        InputError: unreadable, empty, header only, truncated, no text, or no table.
    """
    if path.is_dir() or not path.exists():
        raise InputError(
            f"{path} cannot be read",
            found="a folder" if path.is_dir() else "no such file",
            expected="one CSV (plain, gz or zst) or Parquet file",
            do="name one of its files" if path.is_dir() else "check the path",
        )
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path.name} is empty", expected="a header and at least one record")
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return _parquet(path)
        head = b"".join(_head(path))
    except (OSError, EOFError) as error:
        raise InputError(
            f"{path.name} cannot be read",
            found=str(error) or type(error).__name__,
            expected="a whole, readable CSV (plain, gz or zst) or Parquet file",
            do="check the permissions and that the file arrived complete",
        ) from error
    return _csv(path, head, least_columns)


def _parquet(path: Path) -> InputFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names, rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path.name} is a damaged Parquet file", found=str(error)[:200], do="fetch the file again"
        ) from error
    if rows == 0:
        raise InputError(f"{path.name} has columns but no records", expected="at least one record")
    return InputFile(path, names, None)


def opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    """A file's bytes, of a compressed one those inside, by its suffix.

    Reading raises OSError, EOFError or zlib.error where the compression is damaged.
    """
    name = path.name.lower()
    if name.endswith(".gz"):
        return gzip.open(path, "rb")
    if name.endswith(".zst"):
        import pyarrow as pa

        stream: IO[bytes] = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        return stream
    return path.open("rb")


def _head(path: Path) -> Iterator[bytes]:
    """The first bytes of the text. A compressed file is read to its end: engines stop in silence
    where a stream was cut short, and half of an extract would pass for the whole."""
    with opened(path) as file:
        yield file.read(_HEAD)
        if path.name.lower().endswith((".gz", ".zst")):
            while file.read(1 << 22):
                pass


def _csv(path: Path, head: bytes, least_columns: int) -> InputFile:
    text, encoding = _decode(path, head)
    lines = [line for line in text.splitlines() if line.strip()]
    # What spreadsheets write for themselves: the delimiter, in a line above the header.
    declared = _DECLARED.fullmatch(lines[0]) if lines else None
    lines = lines[1:] if declared else lines
    if not lines:
        raise InputError(f"{path.name} is empty", expected="a header and at least one record")
    if len(lines) == 1 and len(head) < _HEAD:
        raise InputError(
            f"{path.name} holds one line", found="a header only", expected="a header and at least one record"
        )
    delimiter = declared[1] if declared else max(_DELIMITERS, key=lambda d: len(_fields(lines[0], d)))
    header = _fields(lines[0], delimiter)
    if len(header) < least_columns:
        raise InputError(
            f"{path.name} is no delimited table",
            found=f"a first line without any of the delimiters {_DELIMITERS!r}: {lines[0][:60]!r}",
            expected="a header of at least two columns",
            do="remove what stands above the header or, if it is no extract, leave it out",
        )
    body = lines[1:-1] or lines[1:]
    fitting = sum(len(_fields(line, delimiter)) == len(header) for line in body)
    if fitting * 2 < len(body):
        raise InputError(
            f"{path.name} does not have one table's shape",
            found=f"{len(header)} columns in the header; {fitting} of the first {len(body)} lines match",
            expected="lines with as many fields as the header",
            do="check the delimiter and the quoting",
        )
    return InputFile(path, tuple(header), CsvFormat(delimiter, encoding, 1 if declared else 0))


def _decode(path: Path, head: bytes) -> tuple[str, Literal["utf-8", "utf-16", "cp1252"]]:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and head[2:4] != b"\0\0":
        return head[: len(head) // 2 * 2].decode("utf-16", errors="replace"), "utf-16"
    try:
        text, encoding = head.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        # The head may end inside a character.
        if error.start > len(head) - 4 and len(head) == _HEAD:
            text, encoding = head[: error.start].decode("utf-8-sig"), "utf-8"
        else:
            # Whatever its writer calls it: Latin-1 is the same but for characters that no text uses.
            text, encoding = head.decode("cp1252", errors="replace"), "cp1252"
    # A stray control character is one of a record; many are UTF-16 without its mark, or no text at all.
    if sum(b < 32 and b not in b"\t\r\n" for b in head) > max(4, len(head) / 1000):
        raise InputError(
            f"{path.name} is not text",
            found="bytes that no known text encoding uses",
            expected="UTF-8, UTF-16 with a byte-order mark, or Windows-1252",
            do="export it as UTF-8 CSV",
        )
    return text, "utf-8" if encoding == "utf-8" else "cp1252"


def _fields(line: str, delimiter: str) -> list[str]:
    import csv

    try:
        row = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a field longer than any: no line of a table
        return [line]
    return [name.strip().strip("\ufeff") for name in row]
