"""The read side of a run: its manifest, answers, quality, models and tables, with small groups suppressed.

Every surface reads through here, so no chart, table or export of an answer sees a small group.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

from subsight.answers import Answer
from subsight.contracts import Contract
from subsight.errors import NotFoundError, WorkspaceError
from subsight.privacy import PSEUDONYM_LENGTH, msisdn, pseudonym, subscriber, suppress
from subsight.privacy import reveal as join_clear
from subsight.showing import html
from subsight.tables import (
    DPI_USAGE,
    FEEDBACK,
    FLOWS,
    LEASES,
    OFFERS,
    PURCHASES,
    SESSIONS,
    SUBSCRIBERS,
    USAGE,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FEEDBACK", "Answer", "Results", "Study", "pseudonym_of", "spellings"]

_READ: Final[Mapping[str, tuple[Contract, ...]]] = {
    "sessions": (SESSIONS,), "subscribers": (SUBSCRIBERS,), "flows": (FLOWS, USAGE), "leases": (LEASES,),
    "dpi_usage": (DPI_USAGE,), "offers": (OFFERS,), "purchases": (PURCHASES,),
}  # fmt: skip
"""By kind of records, the tables whose columns explain what a run says of them."""
_RANKED: Final = "Rows are single pseudonymous subscribers, ranked: no group is small, none is suppressed."
_SEVERAL: Final = ("recommendations", "offer_holdings")
"""Tables that may have several rows a subscriber."""
_BEGINNING: Final = re.compile(rf"([0-9a-f]{{8,{PSEUDONYM_LENGTH}}})(?:…|\.\.\.)")
_LETTER: Final = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Study(Sequence[Answer]):
    """A study of a run: a sequence of its answers, in which small groups are suppressed.

    Attributes:
        name: the study's name.
        answers: its answers in order.
        from_run: the run that it was carried forward from, or None.
        is_stale: its inputs have changed since that run.
    """

    name: str
    answers: tuple[Answer, ...]
    from_run: str | None = None
    is_stale: bool = False

    @overload
    def __getitem__(self, place: int) -> Answer: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Answer, ...]: ...
    def __getitem__(self, place: int | slice) -> Answer | tuple[Answer, ...]:
        return self.answers[place]

    def __len__(self) -> int:
        return len(self.answers)

    def _repr_html_(self) -> str | None:
        """The study as a notebook shows it: each answer in turn, and whether it is of an earlier run."""
        return html(self)


class Results:
    """A run's folder, read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What was read and published: inputs, settings, versions, tables, studies, timings.

        Raises:
            NotFoundError: the folder holds no run.
            WorkspaceError: the manifest cannot be read.
        """
        if not (self.folder / "manifest.json").exists():
            raise NotFoundError(
                f"{self.folder} holds no run",
                expected="a folder with a manifest.json",
                do="name a run's folder",
            )
        manifest: Mapping[str, Any] = self._read("manifest.json")
        return manifest

    @cached_property
    def quality(self) -> Mapping[str, Any]:
        """What ingest found; days with few subscribers are suppressed in `coverage`."""
        quality: dict[str, Any] = dict(self._read("quality.json"))
        quality.pop("areas", None)  # the same once more, for the next run
        coverage = quality.get("coverage") or []
        if not coverage:
            return quality
        rows, count = suppress(coverage, "subscriber_count", self.minimum_group)
        return {**quality, "coverage": rows, "suppressed_day_count": count}

    @property
    def minimum_group(self) -> int:
        """Subscribers that a group needs to be shown, as the run was set."""
        minimum = self.manifest.get("settings", {}).get("minimum_group")
        if not isinstance(minimum, int):
            raise WorkspaceError(
                f"{self.folder / 'manifest.json'} does not say which groups are small",
                found=f"settings.minimum_group = {minimum!r}",
                expected="a whole number",
                do="publish the run again",
            )
        return minimum

    def studies(self) -> list[str]:
        """The studies that the run holds, in the order in which they were published."""
        return list(self.manifest["studies"])

    def answers(self, study: str) -> list[Answer]:
        """A study's answers; the numbers of small groups are null and a note says how many groups.

        Raises:
            NotFoundError: the run has no such study.
        """
        self._known(study, self.studies(), "study")
        found = self._read(f"answers/{study}.json")
        return [respectful(Answer.from_json(value), self.minimum_group) for value in found]

    def study(self, name: str) -> Study:
        """A study: its answers, and the run that they were carried forward from, if they were.

        Raises:
            NotFoundError: the run has no such study.
        """
        answers, about = self.answers(name), self.manifest["studies"][name]
        return Study(name, tuple(answers), about.get("from_run"), bool(about.get("stale")))

    def _repr_html_(self) -> str | None:
        """The run as a notebook shows it: headline numbers, studies, tables, what was found in the data."""
        return html(self)

    def answer(self, id: str) -> Answer:
        """One answer by its id, `study.question`.

        Raises:
            NotFoundError: the run has no such study or answer.
        """
        answers = {answer.id: answer for answer in self.answers(id.partition(".")[0])}
        self._known(id, answers, "answer")
        return answers[id]

    def tables(self) -> list[str]:
        """The names of the published tables."""
        return list(self.manifest["tables"])

    def path(self, table: str) -> Path:
        """A published table's Parquet file.

        Raises:
            NotFoundError: the run has no such table.
        """
        self._known(table, self.tables(), "table")
        return self.folder / "tables" / Path(str(self.manifest["tables"][table]["file"])).name

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A published table, or an answer's by its id; all columns or some.

        A table has one row per subscriber, or sums by hour, and is not suppressed; an answer's small groups
        are.

        Raises:
            NotFoundError: the run has no such table or answer, or that no such column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if "." in name:
            table = pa.Table.from_pylist([dict(row) for row in self.answer(name).rows])
            names = table.column_names
        else:
            names = pq.read_schema(self.path(name)).names
        for column in columns or ():
            self._known(column, names, f"column of {name}")
        if "." in name:
            return table.select(columns) if columns else table
        return pq.read_table(self.path(name), columns=columns)

    def subscriber(self, identifier: str, key: bytes, only: str | None = None) -> dict[str, Any]:
        """All that the run's tables, or one of them, hold of one subscriber.

        What stands in several tables is of the first; of one with several rows, its name has the rows.
        `identifier` is a clear MSISDN in any spelling, a customer number, a pseudonym, or the beginning of
        one: at least 8 hex digits and an ellipsis, as the terminal shows it. `key` is the workspace's.

        Raises:
            NotFoundError: nobody is called so, or more than one.
        """
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        known = pc.field("subscriber_id").isin(spellings(identifier, key))
        if start := _BEGINNING.fullmatch(identifier.strip().lower()):
            known |= pc.starts_with(pc.field("subscriber_id"), start[1])
        found: dict[str, Any] = {}
        for name in [only] if only else self.tables():
            if "subscriber_id" not in pq.read_schema(self.path(name)).names:
                continue  # sums of many, such as those by hour
            rows = pq.read_table(self.path(name), filters=known).to_pylist()
            called = {row["subscriber_id"] for row in rows}
            if len(called) > 1:
                raise NotFoundError(
                    "more than one subscriber is called so",
                    found=f"{len(called)} pseudonyms that begin with {start[1] if start else identifier}",
                    do="give the whole pseudonym: show --format json prints it",
                )
            if name in _SEVERAL and rows:
                told: dict[str, Any] = {"subscriber_id": rows[0]["subscriber_id"]}
                rows = [{**told, name: [{n: v for n, v in row.items() if n not in told} for row in rows]}]
            found |= {n: value for n, value in (rows[0] if rows else {}).items() if n not in found}
        if not found:
            raise NotFoundError(
                f"the run {self.manifest['run']} has no such subscriber",
                found="an identifier that none of its records carries",
                expected="a clear MSISDN with its country code, or a pseudonym of this workspace",
                do="check the number and, where SUBSIGHT_KEY gives the key, that it is the same",
            )
        return found

    def reveal(self, table: pa.Table, clear_ids: Path, key: bytes) -> pa.Table:
        """The table with a column `msisdn` for those whose clear numbers are given (see `privacy.reveal`)."""
        return join_clear(table, clear_ids, key)[0]

    def models(self) -> dict[str, Mapping[str, Any]]:
        """The fit records of the run's models by name: features, parameters, fit, card."""
        files = sorted((self.folder / "models").glob("*.json"))
        return {path.stem: self._read(f"models/{path.name}") for path in files}

    def artifacts(self, model: str) -> dict[str, str]:
        """What a model of the run is looked at by, by file name: card, plots, a sample as CSV."""
        files = sorted((self.folder / "models" / model).glob("[!.]*"))
        return {path.name: path.read_text(encoding="utf-8") for path in files}

    def definitions(self, study: str | None = None) -> list[Contract]:
        """The tables that the run, or a study of it, was made from, with their published columns.

        A family of columns stands once.
        """
        areas = self.manifest.get("areas", {}).values()
        of = [area for area in areas if study is None or study in area.get("studies", ())]
        read = {kind for area in of for kind in area.get("of", ())}
        made = [one for kind in _READ if kind in read for one in _READ[kind]] or [SESSIONS]
        return [replace(one, columns=tuple(c for c in one if not c.internal)) for one in made]

    def _known(self, name: str, names: Iterable[str], kind: str) -> None:
        known = sorted(names)
        if name not in known:
            raise NotFoundError(
                f"the run {self.manifest.get('run', self.folder.name)} has no {kind} {name!r}",
                expected=", ".join(known) or f"no {kind} was published",
                do=f"name one of these, or run again to publish the {kind}" if known else "run again",
            )

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WorkspaceError(
                f"{path} cannot be read",
                found=str(error),
                expected="JSON as a run publishes it",
                do="publish the run again",
            ) from error


def pseudonym_of(identifier: str, key: bytes) -> str | None:
    """The pseudonym of whom a pseudonym, a clear MSISDN or a customer number names; None for none of them."""
    if re.fullmatch(rf"[0-9a-fA-F]{{{PSEUDONYM_LENGTH}}}", identifier):
        return identifier.lower()
    clear = _clear_names(identifier)
    return pseudonym(clear[0], key) if clear else None


def spellings(identifier: str, key: bytes) -> list[str]:
    """What a subscriber of that name may be called in a table: pseudonymous, or clear by choice.

    `key` is the workspace's.
    """
    known = [called for name in _clear_names(identifier) for called in (name, pseudonym(name, key))]
    return [identifier.strip().lower(), *known]


def _clear_names(identifier: str) -> list[str]:
    """A number as sessions have it, then what a table of subscribers has: letters are only there."""
    number = None if _LETTER.search(identifier) else msisdn(identifier)
    return list(dict.fromkeys(name for name in (number, subscriber(identifier)) if name))


def respectful(answer: Answer, minimum_group: int) -> Answer:
    """The answer as it may be shown: groups of fewer subscribers than that are suppressed, and said so."""
    if answer.ranks_subscribers:
        return replace(answer, notes=(*answer.notes, _RANKED))
    if answer.group_size is None or not answer.rows:
        return answer
    if answer.group_size not in answer.columns:
        raise WorkspaceError(
            f"the answer {answer.id} does not say how large its groups are",
            found=f"columns {', '.join(answer.columns)}",
            expected=f"a column {answer.group_size}",
            do="publish the run again",
        )
    rows, count = suppress(answer.rows, answer.group_size, minimum_group)
    if not count:
        return answer
    note = (
        f"{count} of {len(rows)} groups are not shown: fewer than {minimum_group} subscribers, "
        "or the next smallest where a total would reveal one."
    )
    return replace(answer, rows=rows, notes=(*answer.notes, note))
