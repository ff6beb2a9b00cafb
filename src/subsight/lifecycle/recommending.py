"""Offers for one subscriber or a few, at once: by the map of the current run, as the nightly job would.

Of a subscriber it knows what the run published; a usage row that is sent takes the place of the usage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import InputError, NotFoundError, WorkspaceError
from subsight.lifecycle.following import Followed, of_file
from subsight.results import Results, pseudonym_of
from subsight.settings import Settings, beginning
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from subsight.models.offers.recommender import Recommended, Recommender

__all__ = ["Offers", "current", "followed", "usage_row"]

NAME: Final = "offers"
_RECORD: Final = Path("models", "offers.json")
_MEMBERS, _HOLDINGS = "offer_profiles", "offer_holdings"
_NAMES: Final = {
    "dpipolicy": "policies", "contenttype": "contents", "ipprotocol": "protocols", "appname": "applications",
    "bytesfromclient": "ul_bytes", "bytesfromserver": "dl_bytes", "sessions_count": "session_count",
    "transactionduration": "duration_s", "transationduration": "duration_s",
}  # fmt: skip
"""Headers that offer systems exchange, in lower case."""
_LARGEST: Final = 2.0**53
_LONGEST: Final = 200
_MOST_TEXTS: Final = 1_000


class Offers:
    """The recommendations of one run; `version` names it."""

    name = NAME

    def __init__(self, results: Results, settings: Settings, key: bytes) -> None:
        """Raises:
        WorkspaceError: the run's map is broken, or not what was trained.
        """
        from subsight.models.offers.recommender import Recommender

        self.version = str(results.manifest["run"])
        self._results, self._settings, self._key = results, settings, key
        try:
            record = json.loads((results.folder / _RECORD).read_text(encoding="utf-8"))
            self.recommender: Recommender = Recommender(record)
            self._schema = _schema(results.path(_MEMBERS))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{results.folder / _RECORD} is no map of offers",
                found=str(error) if isinstance(error, ValueError) else type(error).__name__,
                expected="the record that training wrote",
                do="train it again: subsight offers train WS",
            ) from error

    @property
    def number(self) -> str:
        """What counters call the version."""
        return self.version

    @property
    def columns(self) -> tuple[str, ...]:
        """What a usage row may hold, by canonical name."""
        learned = self.recommender.record["encoding"]
        return (*learned["lists"], *learned["numbers"])

    def of(self, identifiers: Sequence[str]) -> list[dict[str, Any]]:
        """The offers of subscribers of the run, by clear number, customer number or pseudonym, in order.

        Raises:
            NotFoundError: nobody is called so.
        """
        rows = self._members([self._pseudonym(one) for one in identifiers])
        for place, (name, row) in enumerate(zip(identifiers, rows, strict=True), 1):
            if row is None:
                raise NotFoundError(
                    f"the run {self.version} has no such subscriber",
                    found=f"identifier {place} of {len(identifiers)}, which none of its records carries",
                    expected="a clear number with its country code, or a pseudonym of this workspace",
                    do="check the number, or ask with a row of usage",
                )
            del name
        known = [row for row in rows if row is not None]
        return self._answers(self._table(known), is_certain=False)

    def by_usage(
        self, rows: Sequence[Mapping[str, Any]], identifiers: Sequence[str | None]
    ) -> list[dict[str, Any]]:
        """The offers of usage rows (see `usage_row`), in order.

        What the run knows of a subscriber who is named counts beside the row: what they have, their
        experience, and what the catalogue asks for. Of one who is not, or whom the run does not know,
        nothing else is known, and nothing is left to chance.
        """
        import pyarrow as pa

        names = [None if one is None else self._pseudonym(one) for one in identifiers]
        known = self._members([name or "" for name in names])
        placed = self.recommender.place(pa.Table.from_pylist(list(rows), self._usage_schema())).to_pylist()
        answers: list[dict[str, Any]] = [{}] * len(rows)
        for is_known in (True, False):
            some = [i for i, row in enumerate(known) if (row is not None) == is_known]
            members = [
                {**(known[i] or {"subscriber_id": names[i], "subscriber_hash": 0}), **placed[i]} for i in some
            ]
            # Rows of nobody are told apart by their place alone.
            called = [one["subscriber_id"] for one in members]
            for place, member in enumerate(members):
                member["subscriber_id"] = f"{place}"
            found = self._answers(self._table(members), is_certain=not is_known, held_by=called)
            for i, answer, name in zip(some, found, called, strict=True):
                answers[i] = {**answer, "subscriber_id": name}
        return answers

    def _pseudonym(self, identifier: str) -> str:
        clear = self._settings.identifiers == "clear"
        return (identifier if clear else pseudonym_of(identifier, self._key)) or ""

    def _members(self, names: Sequence[str]) -> list[dict[str, Any] | None]:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        wanted = pc.field("subscriber_id").isin(list(dict.fromkeys(names)))
        found = pq.read_table(self._results.path(_MEMBERS), filters=wanted).to_pylist() if any(names) else []
        by_name = {row["subscriber_id"]: row for row in found}
        return [by_name.get(name) for name in names]

    def _holdings(self, names: Sequence[str | None]) -> pa.Table:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        wanted = pc.field("subscriber_id").isin([name for name in names if name])
        return pq.read_table(
            self._results.path(_HOLDINGS), filters=wanted, columns=["subscriber_id", "offer_id"]
        )

    def _table(self, members: Sequence[Mapping[str, Any]]) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_pylist(list(members), self._schema)

    def _usage_schema(self) -> pa.Schema:
        import pyarrow as pa

        lists = self.recommender.record["encoding"]["lists"]
        return pa.schema([(n, pa.list_(pa.string()) if n in lists else pa.float64()) for n in self.columns])

    def _answers(
        self, members: pa.Table, *, is_certain: bool, held_by: Sequence[str | None] | None = None
    ) -> list[dict[str, Any]]:
        """The answers of rows; `held_by` names who they are where their ids are not those of the run."""
        if not members.num_rows:
            return []
        ids = members["subscriber_id"].to_pylist()
        holdings = self._holdings(ids if held_by is None else held_by)
        if held_by is not None:
            holdings = _renamed(holdings, held_by, ids)
        at = beginning(self._settings)
        found = self.recommender.recommend(members, holdings, at, is_certain=is_certain)
        return _answered(members, found, at, self)


def _renamed(holdings: pa.Table, held_by: Sequence[str | None], ids: Sequence[str]) -> pa.Table:
    """Holdings under the ids of the rows; several rows may be of one subscriber."""
    import pyarrow as pa

    has: dict[str, list[str]] = {}
    for row in holdings.to_pylist():
        has.setdefault(row["subscriber_id"], []).append(row["offer_id"])
    pairs = [
        (one, offer) for one, name in zip(ids, held_by, strict=True) for offer in has.get(name or "", [])
    ]
    return pa.table({
        "subscriber_id": pa.array([one for one, _ in pairs], pa.string()),
        "offer_id": pa.array([offer for _, offer in pairs], pa.string()),
    })  # fmt: skip


def _answered(members: pa.Table, found: Recommended, at: datetime, by: Offers) -> list[dict[str, Any]]:
    given: dict[str, list[dict[str, Any]]] = {}
    for row in found.table.to_pylist():
        given.setdefault(row.pop("subscriber_id"), []).append(row)
    outcomes = found.outcomes["outcome"].to_pylist()
    rows = zip(members["subscriber_id"].to_pylist(), members["node"].to_pylist(), outcomes, strict=True)
    return [
        {
            "subscriber_id": name,
            "outcome": outcome,
            "node": node,
            "offers": given.get(name, []),
            "as_of": at.date().isoformat(),
            "model": by.name,
            "version": by.version,
        }
        for name, node, outcome in rows
    ]


def _schema(path: Path) -> pa.Schema:
    import pyarrow.parquet as pq

    return pq.read_schema(path)


def usage_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A usage row by canonical names: lists of texts without nulls, numbers from 0; null is unknown.

    Raises:
        InputError: a name is unknown or there twice, or a value is none of these.
    """
    from subsight.tables import DPI_USAGE

    kinds = {column.name: column.kind for column in DPI_USAGE if not column.derived}
    found: dict[str, Any] = {}
    for given, value in row.items():
        name = _NAMES.get(given.lower(), given)
        if name not in kinds or name == "subscriber_id" or name in found:
            known = ", ".join(n for n in kinds if n != "subscriber_id")
            what = "is there twice" if name in found else "is unknown"
            raise InputError(f"the field {given[:100]!r} of the usage {what}", expected=known)
        found[name] = _texts(given, value) if kinds[name] == "texts" else _number(given, value)
    return found


def _texts(name: str, value: Any) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MOST_TEXTS:
        raise InputError(f"{name} cannot be used", expected=f"a list of at most {_MOST_TEXTS} texts, or null")
    texts = [str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in value]
    if not all(one is None or (isinstance(one, str) and len(one) <= _LONGEST) for one in texts):
        raise InputError(f"{name} holds what is no text", expected=f"texts of at most {_LONGEST} characters")
    return [one.strip() for one in texts if one and one.strip()]


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise InputError(f"{name} cannot be used", found=str(value)[:80], expected="a number from 0, or null")
    return float(value)


def current(workspace: Workspace, settings: Settings) -> Offers | None:
    """The offers of the current run; None where it has none.

    Raises:
        WorkspaceError: its map is broken.
    """
    try:
        results = Results(workspace.run())
    except NotFoundError:
        return None
    if not (results.folder / _RECORD).exists():
        return None
    return Offers(results, settings, workspace.key())


def followed(workspace: Workspace, settings: Settings) -> Followed[Offers]:
    """The offers of a running service: a new run's are taken up, a broken map never is."""

    def stamp() -> tuple[object, ...]:
        return of_file(workspace.path / "current" / _RECORD)

    return Followed(NAME, lambda: current(workspace, settings), stamp)
