"""Ingest: files of one kind become a workspace's batches, each with its rejects and what was found.

A kind is a reader in `sources`; what all kinds share (content counts once, rejects are counted, a file of
mostly rejects is refused, the manifest is written last) stands here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from subsight.errors import ConfigurationError, InputError
from subsight.settings import Settings
from subsight.sources import (
    captures,
    dpi_usage,
    feedback,
    files,
    flow_columns,
    flows,
    inspection,
    leases,
    mapping,
    offer_columns,
    offers,
    purchases,
    subscriber_columns,
    subscribers,
    xdr,
)
from subsight.sources.checks import Decisions
from subsight.store import Frame, Store, open_store
from subsight.workspace import Batch, Workspace, content_hash

__all__ = ["KINDS", "Ingested", "add", "ingest", "into"]

_DECIMAL_COMMA: Final = re.compile(r"[a-z_0-9]+: [+-]?[0-9]+,[0-9]+")

_SHOWN: Final = 5
"""Refused inputs that an error names."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Ingested:
    """What one input became; `is_new` is false where the same content was there already.

    It then stays as it was read; `ignored` says which of the present options it was not read with.
    """

    name: str
    batch: Batch
    is_new: bool
    ignored: str = ""


@dataclass(frozen=True)
class _Input:
    """A file to read, and all that reading it depends on."""

    store: Store
    workspace: Workspace
    file: files.InputFile
    settings: Settings
    chosen: mapping.Mapping | None


@dataclass(frozen=True)
class _Read:
    """A file read: rows and rejects, lines that are in neither, and what the manifest says of it.

    `noted` says more of the rows once they are written, where saying it before would compute them twice.
    """

    reading: xdr.Reading
    ragged: list[tuple[int, str]]
    facts: Mapping[str, Any]
    noted: Callable[[Store, Frame], dict[str, Any]] | None = None


def _sessions(given: _Input) -> _Read:
    store, workspace, settings = given.store, given.workspace, given.settings
    choice = given.chosen and inspection.Choice(given.chosen)
    choice = choice or inspection.choose(store, given.file, settings)
    vendor = choice.mapping
    parsed = xdr.parse(store, given.file, vendor, settings)
    earlier = [batch.rows for batch in workspace.batches("sessions")]
    reading = xdr.read(store, parsed, vendor, settings, workspace.key(), earlier)
    applications = [{"slug": app.slug, "name": app.name} for app in vendor.applications]
    facts = _facts(choice, parsed.decisions) | {"applications": applications}
    return _Read(reading, parsed.ragged, facts)


def _facts(choice: inspection.Choice, decisions: Decisions) -> dict[str, Any]:
    """What a manifest says of how a file was read."""
    return {
        "mapping": choice.mapping.name,
        "mapping_digest": choice.mapping.digest,
        "units": decisions.units,
        "certainty": decisions.certainty,
        "findings": [finding.to_json() for finding in (*choice.findings, *decisions.findings)],
    }


def _feedback(given: _Input) -> _Read:
    reading = feedback.read(given.store, given.file, given.settings, given.workspace.key())
    return _Read(reading, given.store.ragged_lines() if given.file.csv else [], {"findings": []})


def _subscribers(given: _Input) -> _Read:
    store, settings = given.store, given.settings
    choice = given.chosen and inspection.Choice(given.chosen)
    choice = choice or subscriber_columns.choose(given.file)
    vendor = choice.mapping
    found = subscribers.read(
        store, given.file, vendor, settings, given.workspace.key(), is_given=given.chosen is not None
    )
    return _Read(found.reading, found.ragged, _facts(choice, found.decisions))


def _flows(given: _Input) -> _Read:
    choice = given.chosen and inspection.Choice(given.chosen)
    choice = choice or flow_columns.choose(given.file, "flows")
    found = flows.read(given.store, given.file, choice.mapping, given.settings, given.workspace.key())
    return _Read(found.reading, found.ragged, _facts(choice, found.decisions), flows.noted)


def _leases(given: _Input) -> _Read:
    choice = given.chosen and inspection.Choice(given.chosen)
    choice = choice or flow_columns.choose(given.file, "leases")
    found = leases.read(given.store, given.file, choice.mapping, given.settings, given.workspace.key())
    return _Read(found.reading, found.ragged, _facts(choice, found.decisions), leases.noted)


def _usage(given: _Input) -> _Read:
    choice = given.chosen and inspection.Choice(given.chosen)
    choice = choice or offer_columns.choose(given.file, "dpi_usage")
    found = dpi_usage.read(given.store, given.file, choice.mapping, given.settings, given.workspace.key())
    return _Read(found.reading, found.ragged, _facts(choice, found.decisions))


def _offers(given: _Input) -> _Read:
    choice = given.chosen and inspection.Choice(given.chosen)
    choice = choice or offer_columns.choose(given.file, "offers")
    found = offers.read(given.store, given.file, choice.mapping, given.settings)
    return _Read(found.reading, found.ragged, _facts(choice, found.decisions))


def _purchases(given: _Input) -> _Read:
    choice = given.chosen and inspection.Choice(given.chosen)
    choice = choice or offer_columns.choose(given.file, "purchases")
    found = purchases.read(given.store, given.file, choice.mapping, given.settings, given.workspace.key())
    return _Read(found.reading, found.ragged, _facts(choice, found.decisions), purchases.noted)


KINDS: Final[Mapping[str, tuple[str, Callable[[_Input], _Read]]]] = {
    "xdr": ("sessions", _sessions),
    "feedback": ("feedback", _feedback),
    "subscribers": ("subscribers", _subscribers),
    "flows": ("flows", _flows),
    "leases": ("leases", _leases),
    "usage": ("dpi_usage", _usage),
    "offers": ("offers", _offers),
    "purchases": ("purchases", _purchases),
}
"""By the name that `ingest` takes: the table that the rows go to, and the reader."""


def ingest(
    workspace: Workspace,
    inputs: Sequence[str | Path],
    settings: Settings,
    *,
    kind: str = "xdr",
    mapping_file: str | None = None,
    progress: Progress | None = None,
) -> list[Ingested]:
    """Reads files, folders or globs into the workspace; the same content counts once.

    Raises:
        ConfigurationError: there is no such kind of records.
        InputError: an input is missing, unreadable or mostly rejected; the others are ingested.
        MappingError: the columns cannot be matched.
        WorkspaceBusyError: another process is writing.
    """
    with (
        workspace.writing() as scratch,
        open_store(settings.engine, memory=settings.memory, scratch=scratch) as store,
    ):
        return into(
            store, workspace, inputs, settings, kind=kind, mapping_file=mapping_file, progress=progress
        )


def into(
    store: Store,
    workspace: Workspace,
    inputs: Sequence[str | Path],
    settings: Settings,
    *,
    kind: str = "xdr",
    mapping_file: str | None = None,
    progress: Progress | None = None,
) -> list[Ingested]:
    """As `ingest`, by a store of the caller's, who has the sole right to write."""
    if kind not in KINDS:
        raise ConfigurationError("the kind of records is unknown", found=kind, expected=", ".join(KINDS))
    chosen = mapping.read(mapping_file) if mapping_file else None
    found, refused = [], []
    paths = files.expand(inputs)
    for path in paths:
        if progress:
            progress(f"ingest {path.name}")
        try:
            found.append(_ingest_file(store, workspace, path, settings, kind, chosen))
        except InputError as error:  # which says nothing of the other files
            refused.append(error)
        store.forget()  # or each further file would add to what is held
    if refused:
        raise _refusal(refused, len(paths))
    return found


def _refusal(refused: Sequence[InputError], count: int) -> InputError:
    """Why some of several inputs were not ingested; of a single one, its own error."""
    if count == 1:
        return refused[0]
    said = [f"{error.what}: {error.found}" if error.found else error.what for error in refused]
    more = f"; and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    remedies = {error.do for error in refused}
    return InputError(
        f"{len(refused)} of {count} inputs {'was' if len(refused) == 1 else 'were'} not ingested"
        + ("; the others were" if len(refused) < count else ""),
        found="; ".join(said[:_SHOWN]) + more,
        expected=refused[0].expected if len({error.expected for error in refused}) == 1 else None,
        do=refused[0].do if len(remedies) == 1 else "ingest each of these alone to see what to do",
    )


def add(
    store: Store,
    workspace: Workspace,
    path: Path,
    settings: Settings,
    *,
    kind: str,
    name: str,
    content: str,
) -> Ingested:
    """As `into`, for a file made of something else: that is named, and its `content` counts once.

    Even one of rejects alone is accepted: what it was made of is gone by then.
    """
    return _ingest_file(store, workspace, path, settings, kind, None, (name, content))


def _ingest_file(
    store: Store,
    workspace: Workspace,
    path: Path,
    settings: Settings,
    kind: str,
    chosen: mapping.Mapping | None,
    known_as: tuple[str, str] | None = None,
) -> Ingested:
    table, read = KINDS[kind]
    is_packed = table == "flows" and captures.kind_of(path) is not None
    # An offer needs no more than its name.
    file = None if is_packed else files.recognise(path, 1 if kind == "offers" else 2)
    name, content = known_as or (path.name, content_hash(path))
    if existing := workspace.batch(table, content):
        asked = {"identifiers": settings.identifiers, "time_zone": settings.time_zone}
        asked |= {"mapping": chosen.name, "mapping_digest": chosen.digest} if chosen else {}
        if kind == "offers":  # the catalogue that was read last is the one that holds
            existing = workspace.add(existing, {**existing.manifest, "ingested_at": _now()})
        return Ingested(name, existing, is_new=False, ignored=existing.ignores(asked))
    unpacked = None if file else captures.unpack(path, workspace.scratch)
    if unpacked:
        file = files.recognise(unpacked.path)
    assert file is not None
    found = read(_Input(store, workspace, file, settings, chosen))
    batch = workspace.new_batch(table, content)
    accepted = store.write(found.reading.rows, batch.rows)
    rejects = _rejects(store, found.reading, accepted)
    rejected = store.write(rejects, batch.rejects, order_by=["record"]) + len(found.ragged)
    reasons = xdr.reject_reasons(store, rejects, found.ragged)
    if not known_as:
        _refuse_if_mostly_rejected(path, accepted, rejected, reasons, settings, batch, is_table=not unpacked)
    rows = store.read([batch.rows])
    noted = found.noted(store, rows) if found.noted else {"findings": []}
    told = [finding.to_json() for finding in unpacked.findings] if unpacked else []
    findings = [*told, *found.facts["findings"], *noted.pop("findings")]
    manifest = {
        "name": name,
        "content": content,
        "ingested_at": _now(),
        **found.facts,
        **noted,
        "findings": findings,
        "records": accepted + rejected,
        "accepted": accepted,
        "rejected": rejected,
        "without_subscriber_count": _without_subscriber(store, rows),
        "identifiers": settings.identifiers,
        "time_zone": settings.time_zone,
        "rejects": reasons,
        "ragged": [{"line": line, "reason": reason} for line, reason in found.ragged[:1000]],
    }
    return Ingested(name, workspace.add(batch, manifest), is_new=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _without_subscriber(store: Store, rows: Frame) -> int:
    if "subscriber_id" not in rows.collect_schema().names():
        return 0
    return int(store.row(rows.filter(nw.col("subscriber_id").is_null()).select(count=nw.len()))["count"])


def _rejects(store: Store, reading: xdr.Reading, accepted: int) -> Frame:
    """The rejected records, computed; looking for them costs as much as reading the file again."""
    if reading.count is None:
        return reading.rejects
    return store.keep(reading.rejects.head(0) if accepted == reading.count else reading.rejects)


def _refuse_if_mostly_rejected(
    path: Path,
    accepted: int,
    rejected: int,
    reasons: list[dict[str, Any]],
    settings: Settings,
    batch: Batch,
    *,
    is_table: bool,
) -> None:
    # A record that came before was read well: only what is wrong in itself counts.
    repeated = sum(r["count"] for r in reasons if r["reason"].startswith("identical to "))
    faulty = rejected - repeated
    if accepted + repeated and faulty <= settings.reject_limit_share * (accepted + rejected):
        return
    batch.rows.unlink(missing_ok=True)
    batch.rejects.unlink(missing_ok=True)
    worst = sorted(reasons, key=lambda r: -r["count"])[:3]
    such = {r["example"]: f", such as {r['example']!r}" if r["example"] else "" for r in worst}
    said = (f"{r['column']} {r['reason']} ({r['count']:,}){such[r['example']]}".strip() for r in worst)
    raise InputError(
        f"{path.name} was not ingested: {rejected:,} of {accepted + rejected:,} records are rejected",
        found="; ".join(said),
        expected=f"at most {settings.reject_limit_share:.0%} (setting reject_limit_share)",
        do=_remedy(worst) if is_table else "check the clock and the state of what captured or exported it",
    )


def _remedy(worst: Sequence[Mapping[str, Any]]) -> str:
    if any(_DECIMAL_COMMA.fullmatch(r["example"] or "") for r in worst):
        return "export it with decimal points instead of commas"
    return "check the delimiter, the units and the mapping with `subsight inspect`"
