"""Says what a file is: columns, units, problems; and chooses the mapping by which it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import narwhals as nw

from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.sources import mapping as mappings
from subsight.sources import xdr
from subsight.sources.checks import Decisions, Finding
from subsight.sources.files import InputFile
from subsight.sources.mapping import Mapping
from subsight.sources.proposal import Certainty, Guess, Proposal, propose
from subsight.sources.xdr import Parsed, Reading
from subsight.store import Instant, Scalar, Store, Text
from subsight.tables import SESSIONS

__all__ = ["Choice", "InspectedColumn", "Inspection", "choose", "inspect", "require_header"]

_TIMES: Final = 20_000
_UNPROVABLE: Final = re.compile(r"(bearer|cell)_id|(rtt|throughput|tcp|http|activity)_.*|.*_volume_.*")
"""Columns that nothing else in a file can confirm."""
_VALUE: Final = re.compile(r"[+-]?[\d.,:/ TZ+-]*\d[\d.,:/ TZ+-]*(E\+\d+)?")
"""What a first line of values holds where a header would hold names."""
_KNOWN: Final = 0.8
"""Share of a shipped mapping's columns that a header must hold to be that vendor's."""


@dataclass(frozen=True)
class InspectedColumn:
    """What one source column is: `column` is null where it is not used.

    `unit_certainty` is `checked` (the data confirm or correct the unit), `declared` (the source says
    so) or `assumed` (nobody does). `certainty` is `sure`, `likely` or `guess`; a guess is never used.
    """

    source: str
    column: str | None
    certainty: Certainty | None
    unit: str | None
    unit_certainty: str | None
    evidence: str


@dataclass(frozen=True)
class Inspection:
    """Everything that a file shows of itself, without a workspace.

    Attributes:
        file: name, kind, delimiter, encoding, records (readable lines), columns.
        mapping: the mapping by which it was read: given, shipped or proposed.
        origin: which of these.
        columns: one entry for each source column, in the file's order.
        rejects: records that ingest would refuse, by column and reason.
        coverage: first and last instant (UTC) and accepted sessions by local date.
    """

    file: dict[str, Any]
    mapping: Mapping
    origin: str
    columns: tuple[InspectedColumn, ...]
    findings: tuple[Finding, ...]
    rejects: tuple[dict[str, Any], ...]
    coverage: dict[str, Any]
    lacking: MappingError | None = None

    def to_json(self) -> dict[str, Any]:
        """The inspection as JSON values."""
        return {
            "file": self.file,
            "mapping": self.mapping.name,
            "origin": self.origin,
            "columns": [asdict(column) for column in self.columns],
            "findings": [finding.to_json() for finding in self.findings],
            "rejects": list(self.rejects),
            "coverage": self.coverage,
        }


@dataclass(frozen=True)
class Choice:
    """A mapping that nobody gave, and what a reader of its numbers must know of it."""

    mapping: Mapping
    findings: tuple[Finding, ...] = ()


def choose(store: Store, file: InputFile, settings: Settings) -> Choice:
    """The mapping for a file: a shipped one that its header fits, else what is sure and likely of it.

    Raises:
        MappingError: columns without which no session can be read are not recognised.
    """
    known = _shipped(file)
    if known and _reads_times(store, file, known, settings):
        return Choice(known)
    proposal = propose(store, file, settings)
    if known:
        used = _with_formats(known, proposal)
        return Choice(used, tuple(_other_formats(known, used)))
    if lacking := _lacking(proposal, file):
        raise lacking
    return Choice(proposal.mapping, tuple(_doubts(proposal, file)))


def _other_formats(known: Mapping, used: Mapping) -> Iterator[Finding]:
    for before, after in zip(known.columns, used.columns, strict=True):
        if before.format != after.format:
            text = f"not {before.format or 'iso'}, as the mapping {known.name} says: read as {after.format}"
            yield Finding(after.name, "format", "corrected", 0, text)


def _doubts(proposal: Proposal, file: InputFile) -> Iterator[Finding]:
    """What a proposed mapping rests on, and each column that is left aside though its name says something."""
    used = [g for g in proposal.guesses.values() if g.certainty != "guess"]
    likely = [g.name for g in used if g.certainty == "likely"]
    text = f"no mapping describes this file: {len(used)} of its {len(file.header)} columns are recognised"
    if likely:
        text += f", {len(likely)} of them by name alone, such as {', '.join(likely[:3])}"
    unknown = [repr(name) for place, name in enumerate(file.header) if place not in proposal.guesses]
    if unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        text += f"; left aside as not recognised: {', '.join(unknown[:8])}{more}"
    yield Finding("columns", "mapping", "warning", 0, f"{text}; `subsight inspect` shows each")
    for position, guess in proposal.guesses.items():
        if guess.certainty == "guess":
            text = f"{file.header[position]!r} is left out: {guess.evidence}"
            yield Finding(guess.name, "mapping", "warning", 0, text)


def inspect(store: Store, file: InputFile, settings: Settings, mapping: Mapping | None = None) -> Inspection:
    """What a file is, by a given mapping, a shipped one, or a proposed one.

    Units that contradict the data are findings here, where ingest refuses them. Where a required column
    is not recognised, `lacking` says so, and what was recognised stands in `columns` and `mapping`.

    Raises:
        MappingError: the given mapping's required columns are missing, or the file has no header.
        InputError: the file cannot be read.
    """
    proposal = propose(store, file, settings)
    used = mapping or _shipped(file)
    origin = "given" if mapping else "shipped" if used else "proposed"
    if used and not mapping and not _reads_times(store, file, used, settings):
        used = _with_formats(used, proposal)
    if used is None:
        used = proposal.mapping
        if lacking := _lacking(proposal, file):
            count = int(store.row(xdr.records(store, file).select(count=nw.len()))["count"])
            count += len(store.ragged_lines())
            columns = _columns(file, used, origin, proposal, Decisions())
            nothing: dict[str, Any] = {"first_at": None, "last_at": None, "days": []}
            return Inspection(_facts(file, count), used, origin, tuple(columns), (), (), nothing, lacking)
    parsed = xdr.parse_leniently(store, file, used, settings)
    # Nothing that a key touches leaves this function: any will do.
    reading = xdr.read(store, parsed, used, settings, os.urandom(32))
    refusals = tuple(
        Finding("", "unit", "refused", 0, f"{error.what}: {error.found}; {error.do}")
        for error in parsed.decisions.refusals
    )
    return Inspection(
        _facts(file, _count(store, parsed)),
        used,
        origin,
        tuple(_columns(file, used, origin, proposal, parsed.decisions)),
        (*refusals, *parsed.decisions.findings),
        tuple(xdr.reject_reasons(store, reading.rejects, parsed.ragged)),
        _coverage(store, reading),
    )


def _shipped(file: InputFile) -> Mapping | None:
    """The shipped mapping of sessions most of whose columns, and all required ones, are in the header."""
    fitting = []
    for mapping in mappings.shipped("sessions"):
        places = mapping.positions(file.header)
        found = sum(column.name in places for column in mapping.columns)
        required = {column.name for column in mapping.contract if column.required}
        if required <= set(places) and found >= _KNOWN * len(mapping.columns):
            fitting.append((found, mapping))
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _reads_times(store: Store, file: InputFile, mapping: Mapping, settings: Settings) -> bool:
    """Whether the mapping's formats read the times of the first records."""
    places = mapping.positions(file.header)
    times: dict[str, Scalar] = {}
    for column in mapping.columns:
        if column.name in places and mapping.contract[column.name].kind == "instant":
            source = f"c{places[column.name]}"
            times[column.name] = Instant(source, column.format or "iso", settings.time_zone)
            times[f"{column.name}_text"] = Text(source)
    sample = store.derive(xdr.records(store, file).head(_TIMES), times)
    counts = store.row(sample.select(*(nw.col(name).count() for name in times)))
    store.ragged_lines()
    return all(counts[n] >= 0.99 * counts[f"{n}_text"] for n in times if not n.endswith("_text"))


def _with_formats(mapping: Mapping, proposal: Proposal) -> Mapping:
    """The mapping with the formats of times that the data themselves prove."""
    proven = {g.name: g.format for g in proposal.guesses.values() if g.certainty == "sure" and g.format}
    columns = tuple(
        replace(column, format=proven.get(column.name, column.format)) for column in mapping.columns
    )
    return replace(mapping, columns=columns)


def require_header(file: InputFile) -> None:
    """Raises a `MappingError` where the first line holds values; nothing of it is shown, as what stands
    there may be somebody's number."""
    if sum(_VALUE.fullmatch(name.strip()) is not None for name in file.header) > len(file.header) / 3:
        raise MappingError(
            f"{file.path.name} seems to have no header",
            found="numbers and times in the first line",
            expected="the columns' names in the first line",
            do="add a header line",
        )


def _lacking(proposal: Proposal, file: InputFile) -> MappingError | None:
    """What a reader must be told where a session's columns are not recognised."""
    require_header(file)
    used = {column.name for column in proposal.mapping.columns}
    required = [column for column in SESSIONS if column.required and column.name not in used]
    summed = {name.rpartition("_bytes")[0][-2:] + "_bytes" for name in used if name.startswith("app_")}
    missing = [column for column in required if column.name not in summed]
    if not missing:
        return None
    doubts = [
        f"{file.header[position]!r} as {guess.name} ({guess.evidence})"
        for position, guess in proposal.guesses.items()
        if guess.certainty == "guess" and guess.name in {column.name for column in missing}
    ]
    return MappingError(
        f"{file.path.name} has no column that is surely or likely {' or '.join(c.name for c in missing)}",
        found="; ".join(doubts) if doubts else f"the columns {', '.join(file.header[:20])}",
        expected="; ".join(f"{column.name}: {column.meaning}" for column in missing),
        do="run `subsight inspect FILE --write-mapping MAPPING.toml`, complete it (see docs/mappings.md) "
        "and pass it with --mapping",
    )


def _count(store: Store, parsed: Parsed) -> int:
    return int(store.row(parsed.records.select(count=nw.len()))["count"]) + len(parsed.ragged)


def _facts(file: InputFile, records: int) -> dict[str, Any]:
    return {
        "name": file.path.name,
        "kind": file.kind,
        "delimiter": file.csv.delimiter if file.csv else None,
        "encoding": file.csv.encoding if file.csv else None,
        "records": records,
        "columns": len(file.header),
    }


def _columns(
    file: InputFile, used: Mapping, origin: str, proposal: Proposal, decisions: Decisions
) -> list[InspectedColumn]:
    swapped = {"duration_s": "duration_ms", "duration_ms": "duration_s"} if decisions.swapped else {}
    by_position = {
        position: swapped.get(name, name) for name, position in used.positions(file.header).items()
    }
    found = []
    for position, header in enumerate(file.header):
        guess, name = proposal.guesses.get(position), by_position.get(position)
        if name is None:
            evidence = f"perhaps {guess.name}: {guess.evidence}" if guess else "not recognised"
            certainty: Certainty | None = "guess" if guess else None
            found.append(InspectedColumn(header, None, certainty, None, None, evidence))
            continue
        certainty, evidence = _judged(name, guess, used, origin)
        unit = decisions.units.get(name) or ("ms" if name.endswith(":milliseconds") else None)
        how = decisions.certainty.get(name) or ("declared" if unit else None)
        found.append(InspectedColumn(header, name, certainty, unit, how, evidence))
    return found


def _judged(name: str, guess: Guess | None, used: Mapping, origin: str) -> tuple[Certainty, str]:
    """How sure a mapped column is: the mapping names it, the data may agree, be silent or object."""
    if origin == "proposed" and guess:
        return guess.certainty, guess.evidence
    named = f"named as the mapping {used.name} says"
    if guess is None:
        return "likely", named
    if _same(name, guess.name):
        # A whole header of a known vendor's names is more than one name alone, but not more than data
        # that could have proven the column and did not.
        is_known = origin == "shipped" and guess.certainty == "likely" and _UNPROVABLE.fullmatch(name)
        return ("sure" if is_known else guess.certainty), f"{named}; {guess.evidence}"
    return "likely", f"{named}; the data suggest {guess.name}: {guess.evidence}"


def _same(name: str, other: str) -> bool:
    """Whether two canonical names are one; applications may be named differently."""
    if name.startswith("app_") and other.startswith("app_"):
        return name.rpartition("_")[0][-3:] == other.rpartition("_")[0][-3:]
    return name == other


def _coverage(store: Store, reading: Reading) -> dict[str, Any]:
    sessions = reading.rows.select("local_date", "start_at", "end_at")
    days = store.rows(
        sessions.group_by("local_date")
        .agg(session_count=nw.len(), first=nw.col("start_at").min(), start=nw.col("start_at").max(),
             end=nw.col("end_at").max())
        .sort("local_date")
    )  # fmt: skip
    if not days:
        return {"first_at": None, "last_at": None, "days": []}
    last = max(moment for day in days for moment in (day["start"], day["end"]) if moment is not None)
    return {
        "first_at": min(day["first"] for day in days).isoformat(),
        "last_at": last.isoformat(),
        "days": [
            {"local_date": day["local_date"].isoformat(), "session_count": day["session_count"]}
            for day in days
        ],
    }
