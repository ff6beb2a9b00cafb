"""Offers for one subscriber or a few, at once: by the map of the current run, as the nightly job would.

Of a subscriber it knows what the run published; a usage row that is sent takes the place of the usage.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import InputError, NotFoundError, WorkspaceError
from subsight.lifecycle.following import Followed, of_file
from subsight.lifecycle.lookup import Lookup
from subsight.results import Results, pseudonym_of, spellings
from subsight.settings import Settings, beginning
from subsight.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from subsight.models.offers.recommender import Recommended, Recommender

__all__ = [
    "LARGEST",
    "LONGEST",
    "MOST_TEXTS",
    "NAMES",
    "NUMBERS",
    "Offers",
    "UnknownSubscriberError",
    "UsageError",
    "current",
    "followed",
    "usage_row",
]

NAME: Final = "offers"
_RECORD: Final = Path("models", "offers.json")
_MEMBERS, _HOLDINGS = "offer_profiles", "offer_holdings"
_FACTS: Final = ("draw_number", "node", "shared_traits", "experience_index", "contact_count")
"""What offers follow from, beside what the catalogue asks for."""
NAMES: Final = {
    "dpipolicy": "policies", "contenttype": "contents", "ipprotocol": "protocols", "appname": "applications",
    "bytesfromclient": "ul_bytes", "bytesfromserver": "dl_bytes", "sessions_count": "session_count",
    "transactionduration": "duration_s", "transationduration": "duration_s",
}  # fmt: skip
"""Headers that offer systems exchange, in lower case."""
NUMBERS: Final = ("ul_bytes", "dl_bytes", "session_count", "duration_s")
"""Numbers of a usage row; a map of profiles may take others beside them, and no lists."""
LARGEST: Final = 2**53
LONGEST: Final = 200
MOST_TEXTS: Final = 1_000


class UnknownSubscriberError(NotFoundError):
    """Subscribers that a run does not know; `places` are theirs among those asked for, the first being 1."""

    def __init__(self, version: str, places: Sequence[int], of: int) -> None:
        some = ", ".join(map(str, places[:10])) + (" and more" if len(places) > 10 else "")
        super().__init__(
            f"the run {version} has no such subscriber",
            found=f"{len(places):,} of {of:,} that none of its records carries: {some}" if of > 1 else None,
            expected="a clear number with its country code, a customer number, or a pseudonym",
            do="check the number, or ask with a row of usage",
        )
        self.places = places


class UsageError(InputError):
    """A usage row that cannot be used; `field` is the name that was given."""

    def __init__(self, what: str, field: str, *, found: str | None = None, expected: str) -> None:
        super().__init__(what, found=found, expected=expected)
        self.field = field


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
            self._check()
            asked = (*_FACTS, *self.recommender.catalogue.asked)
            self._members = Lookup(results.path(_MEMBERS), asked)
            self._holdings = Lookup(results.path(_HOLDINGS), ("offer_id",))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, NotFoundError) as error:
            raise WorkspaceError(
                f"{results.folder / _RECORD} is no map of offers",
                found=str(error) if isinstance(error, ValueError | NotFoundError) else type(error).__name__,
                expected="the record that training wrote",
                do="train it again: subsight offers train WS",
            ) from error

    @property
    def number(self) -> str:
        """What counters call the version."""
        return self.version

    def _check(self) -> None:
        """Reads all of the record: what is broken is found before anybody asks, and the first waits less."""
        recommender = self.recommender
        lists = recommender.record["encoding"]["lists"]
        rows: list[dict[str, Any]] = [{name: [] if name in lists else 1.0 for name in self.columns}]
        placed = recommender.place(self._usage(rows)).append_column("subscriber_id", [["0"]])
        recommender.recommend(placed.append_column("draw_number", [[0]]), is_certain=True)

    @property
    def at(self) -> datetime:
        """When offers have to be valid: as the day `as_of` begins, or today."""
        return beginning(self._settings)

    @property
    def columns(self) -> tuple[str, ...]:
        """What a usage row may hold, by canonical name."""
        learned = self.recommender.record["encoding"]
        return (*learned["lists"], *learned["numbers"])

    def usage_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As the function of that name; of a map of profiles by the columns that it takes.

        Raises:
            UsageError: as there.
        """
        return usage_row(row, None if self.takes_lists else self.fields)

    @property
    def takes_lists(self) -> bool:
        """Whether usage rows may hold lists: a map of profiles knows none."""
        return bool(self.recommender.record["source"] != "profiles")

    @property
    def fields(self) -> tuple[str, ...]:
        """What may be sent, by canonical name: also what told nobody apart when the map was trained."""
        return tuple(_kinds()) if self.takes_lists else tuple(dict.fromkeys((*NUMBERS, *self.columns)))

    def of(self, identifiers: Sequence[str]) -> list[dict[str, Any]]:
        """The offers of subscribers of the run, by clear number, customer number or pseudonym, in order.

        Raises:
            UnknownSubscriberError: somebody is not of the run.
        """
        rows = self._known(identifiers)
        if unknown := [place for place, row in enumerate(rows, 1) if row is None]:
            raise UnknownSubscriberError(self.version, unknown, len(rows))
        # Who is asked for twice is answered once.
        known = {row["subscriber_id"]: row for row in rows if row is not None}
        found = dict(zip(known, self._answers(self._table([*known.values()]), is_certain=False), strict=True))
        return [dict(found[row["subscriber_id"]]) for row in rows if row is not None]

    def by_usage(
        self, rows: Sequence[Mapping[str, Any]], identifiers: Sequence[str | None]
    ) -> list[dict[str, Any]]:
        """The offers of usage rows (see `usage_row`), in order.

        What the run knows of a subscriber who is named counts beside the row: what they have, their
        experience, and what the catalogue asks for. Of one who is not, or whom the run does not know,
        nothing else is known, and nothing is left to chance.
        """
        known = self._known(identifiers)
        names = [
            one and (row["subscriber_id"] if row else pseudonym_of(one, self._key))
            for one, row in zip(identifiers, known, strict=True)
        ]
        placed = self.recommender.place(self._usage(rows)).to_pylist()
        answers: list[dict[str, Any]] = [{}] * len(rows)
        for is_known in (True, False):
            some = [i for i, row in enumerate(known) if (row is not None) == is_known]
            members = [
                {**(known[i] or {"subscriber_id": names[i], "draw_number": 0}), **placed[i]} for i in some
            ]
            # Rows of nobody are told apart by their place alone.
            called = [one["subscriber_id"] for one in members]
            for place, member in enumerate(members):
                member["subscriber_id"] = f"{place}"
            found = self._answers(self._table(members), is_certain=not is_known, held_by=called)
            for i, answer, name in zip(some, found, called, strict=True):
                answers[i] = {**answer, "subscriber_id": name}
        return answers

    def _known(self, identifiers: Sequence[str | None]) -> list[dict[str, Any] | None]:
        """What the run knows of each, None of who is not of it."""
        # The exact text first: 00123 may be a customer's number, and 123 another's.
        spelled = [[] if one is None else spellings(one, self._key)[::-1] for one in identifiers]
        found = self._members.rows({name for names in spelled for name in names}).to_pylist()
        by_name = {row["subscriber_id"]: row for row in found}
        return [next((by_name[name] for name in names if name in by_name), None) for names in spelled]

    def _table(self, members: Sequence[Mapping[str, Any]]) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_pylist(list(members), self._members.schema)

    def _usage(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        import pyarrow as pa

        lists = self.recommender.record["encoding"]["lists"]
        kinds = [(n, pa.list_(pa.string()) if n in lists else pa.float64()) for n in self.columns]
        return pa.Table.from_pylist(list(rows), pa.schema(kinds))

    def _answers(
        self, members: pa.Table, *, is_certain: bool, held_by: Sequence[str | None] | None = None
    ) -> list[dict[str, Any]]:
        """The answers of rows; `held_by` names who they are where their ids are not those of the run."""
        if not members.num_rows:
            return []
        ids = members["subscriber_id"].to_pylist()
        holdings = self._holdings.rows([name for name in held_by or ids if name])
        if held_by is not None:
            holdings = _renamed(holdings, held_by, ids)
        at = self.at
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
    filtered = [_filtered(by.recommender.catalogue.offers, row) for row in found.taken.tolist()]
    names, nodes = members["subscriber_id"].to_pylist(), members["node"].to_pylist()
    return [
        {
            "subscriber_id": name,
            "outcome": outcome,
            "node": node,
            "offers": given.get(name, []),
            "filtered": taken,
            "as_of": at.date().isoformat(),
            "model": by.name,
            "version": by.version,
        }
        for name, node, outcome, taken in zip(names, nodes, outcomes, filtered, strict=True)
    ]


def _filtered(offers: Sequence[str], taken: Sequence[int]) -> dict[str, list[str]]:
    """By filter the offers that it took from a subscriber, in the order of the filters."""
    from subsight.models.offers.choice import STEPS

    found: dict[str, list[str]] = {}
    for step in sorted(set(taken) - {0}):
        found[STEPS[step]] = [offer for offer, by in zip(offers, taken, strict=True) if by == step]
    return found


def usage_row(row: Mapping[str, Any], numbers: Collection[str] | None = None) -> dict[str, Any]:
    """A usage row by canonical names: lists of texts, and numbers from 0; null is unknown.

    Args:
        numbers: what may be there where those of the table `dpi_usage` are not meant.

    Raises:
        UsageError: nothing is there, a name is unknown or there twice, or a value is none of these.
    """
    kinds = _kinds() if numbers is None else dict.fromkeys(numbers, "float")
    found: dict[str, Any] = {}
    for given, value in row.items():
        name = NAMES.get(given.lower(), given)
        if name not in kinds or name in found:
            what = "is there twice" if name in found else "is unknown"
            raise UsageError(
                f"the field {given[:100]!r} of the usage {what}", given[:100], expected=", ".join(kinds)
            )
        found[name] = _texts(given, value) if kinds[name] == "texts" else _number(given, value)
    if not found:
        raise UsageError("the usage is empty", "usage", expected="some fields, or null for what is unknown")
    return found


@cache
def _kinds() -> Mapping[str, str]:
    from subsight.tables import DPI_USAGE

    told = [column for column in DPI_USAGE if not column.derived and column.name != "subscriber_id"]
    return {column.name: column.kind for column in told}


def _texts(name: str, value: Any) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MOST_TEXTS:
        raise UsageError(
            f"the field {name!r} of the usage is no such list",
            name,
            expected=f"a list of at most {MOST_TEXTS:,} texts, or null",
        )
    texts = [str(int(one)) if _is_whole(one) else one for one in value]
    for place, one in enumerate(texts, 1):
        if type(one) is not str or len(one) > LONGEST:
            raise UsageError(
                f"the field {name!r} of the usage holds what is no text",
                name,
                found=f"{'null' if one is None else type(one).__name__} at place {place}",
                expected=f"texts of at most {LONGEST} characters",
            )
    return [one.strip() for one in texts if one.strip()]


def _is_whole(value: Any) -> bool:
    """Whether it is a whole number, as protocols may be told: to JSON 6.0 is one."""
    return type(value) in (int, float) and abs(value) <= LARGEST and value == int(value)


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= LARGEST:
        raise UsageError(
            f"the field {name!r} of the usage cannot be used",
            name,
            found=str(value)[:80] if type(value) in (int, float) else type(value).__name__,
            expected=f"a number from 0 to {LARGEST:g}, or null",
        )
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
        try:
            run = str((workspace.path / "current").readlink())
        except OSError:
            run = ""
        # A run that carries the map over has the same file: its other tables are new.
        return run, of_file(workspace.path / "current" / _RECORD)

    return Followed(NAME, lambda: current(workspace, settings), stamp)
