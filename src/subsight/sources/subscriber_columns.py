"""Which column of a subscriber table is which, where nobody gave a mapping.

A shipped mapping that the header fits, else the canonical names and what the words of other headers
say. What was read by words is told in the run; what the words leave open is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from subsight.errors import MappingError
from subsight.sources.files import InputFile
from subsight.sources.findings import Finding
from subsight.sources.headers import Header
from subsight.sources.inspection import Choice, require_header
from subsight.sources.mapping import MappedColumn, Mapping, plain, shipped
from subsight.tables import SUBSCRIBERS
from subsight.units import FACTORS

__all__ = ["choose"]

_KNOWN: Final = 0.8
"""Share of a shipped mapping's columns that a header must hold to be that table's."""
_CORE: Final = ("subscriber_id", "region", "tenure_days", "ul_kilobytes", "dl_kilobytes")
"""What segments are made of: where the words leave one of these in doubt, the file is refused."""

_PERSON: Final = frozenset(("subscriber", "customer", "client", "user", "account", "member"))
_NUMBER: Final = frozenset(("id", "identifier", "number", "no", "nr", "num", "key"))
_RELATION: Final = frozenset(("subscription", "network", "account", "service", "membership", "line"))
_NO_STAY: Final = frozenset(
    ("contract", "remaining", "handset", "device", "group", "band", "bucket", "class")
)
_TIMES: Final = {
    **dict.fromkeys(("day", "days"), "days"), **dict.fromkeys(("week", "weeks"), "weeks"),
    **dict.fromkeys(("month", "months"), "months"), **dict.fromkeys(("hour", "hours"), "hours"),
    **dict.fromkeys(("year", "years", "yrs"), "years"),
}  # fmt: skip
_WHOLES: Final = frozenset(
    ("total", "tot", "overall", "sum", "all", "avg", "average", "mean", "monthly", "l4")
)
_RATES: Final = frozenset(("throughput", "tput", "tp", "rate", "speed", "bitrate"))
_PLACES: Final = frozenset(("region", "province", "governorate", "county"))
_CHURNED: Final = frozenset(("churn", "churned", "churner"))
_WORDS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "region": (_PLACES, frozenset(("name", "code", "id", "home", "recharge", "subscriber", "customer"))),
    "bearer_type": (frozenset(("bearer", "rat")), frozenset(("type", "name"))),
    "browser": (frozenset(("browser",)), frozenset(("name", "type", "main"))),
    "browsing_category": (frozenset(("browsing",)), frozenset(("category", "type", "main"))),
    "plan": (frozenset(("plan", "tariff")), frozenset(("name", "type", "code", "rate", "id"))),
    "is_churned": (_CHURNED, frozenset(("is", "has", "flag", "customer", "subscriber"))),
}  # fmt: skip
"""Of columns that a name alone tells: words of which one must stand there, and what may stand beside."""


_ASKED: Final = dict.fromkeys(("tenure_days", "ul_kilobytes", "dl_kilobytes"), "?")
"""What a draft says where a unit is to be filled in: no unit, so that nobody forgets it."""


@dataclass(frozen=True)
class _Guess:
    """What a source column may be: `rank` orders rivals; `doubt` says what its name leaves open."""

    name: str
    position: int
    unit: str | None = None
    doubt: str | None = None
    rank: int = 0


def choose(file: InputFile) -> Choice:
    """The mapping for a subscriber table, and what a reader of its numbers must know of it.

    Raises:
        MappingError: nothing names the subscriber, nothing else is recognised, or a column that
            segments are made of is in doubt; the error holds the mapping to complete.
    """
    fitting = [(_share(mapping, file), mapping) for mapping in (_completed(m, file) for m in _shipped())]
    share, known = max(fitting, key=lambda pair: pair[0])
    if share >= _KNOWN:
        return Choice(known)
    require_header(file)
    named = _by_name(file)
    taken = {plain(column.source) for column in named}
    others = [i for i, text in enumerate(file.header) if plain(text) not in taken]
    guesses = [g for i in others for g in _guesses(i, Header(file.header[i]))]
    guesses = [g for g in guesses if g.name not in {column.name for column in named}]
    chosen, doubts = _settled(guesses, file)
    columns = [*named, *(_column(guess, file) for guess in chosen)]
    _refuse(file, columns, [doubt for doubt in doubts if doubt.name in _CORE])
    findings = _told(file, chosen, doubts, columns)
    name = "proposed" if chosen else "subscribers"
    return Choice(_mapping(name, f"{name} for {file.path.name}", columns), tuple(findings))


# A table that is known, and columns of canonical names


def _shipped() -> list[Mapping]:
    return shipped("subscribers")


def _share(mapping: Mapping, file: InputFile) -> float:
    """The share of a shipped mapping's columns in the header; 0 without the identifier."""
    places = mapping.positions(file.header)
    return len(places) / len(mapping.columns) if "subscriber_id" in places else 0.0


def _by_name(file: InputFile) -> list[MappedColumn]:
    """Columns that have a canonical name, which says the unit too."""
    header = {plain(text): text for text in reversed(file.header)}
    return [
        MappedColumn(column.name, header[column.name], unit=column.unit if column.unit in FACTORS else None)
        for column in SUBSCRIBERS
        if not column.derived and column.name in header
    ]


def _completed(mapping: Mapping, file: InputFile) -> Mapping:
    """The mapping, with canonical names for what it leaves out and for sources that the file lacks."""
    places = mapping.positions(file.header)
    used = {plain(column.source) for column in mapping.columns if column.name in places}
    own = {c.name: c for c in _by_name(file) if c.name not in places and plain(c.source) not in used}
    columns = [own.pop(column.name, column) for column in mapping.columns]
    return replace(mapping, columns=(*columns, *own.values()))


# Columns that words tell


def _guesses(position: int, header: Header) -> Iterator[_Guess]:
    """What a header may be by its words."""
    words = frozenset(header.words)
    if (rank := _rank(header, words)) is not None:
        yield _Guess("subscriber_id", position, rank=rank)
    elif _is_stay(words):
        units = {_TIMES[word] for word in words if word in _TIMES}
        doubt = None if len(units) == 1 else "in which unit is not said"
        yield _Guess("tenure_days", position, min(units, default=None), doubt)
    elif header.direction and (header.unit is None or header.unit in FACTORS["bytes"]):
        yield _volume(position, header, words)
    for name, (telling, beside) in _WORDS.items():
        if words & telling and words <= telling | beside:
            yield _Guess(name, position)


def _rank(header: Header, words: frozenset[str]) -> int | None:
    """How plainly a header names the subscriber: an MSISDN first, a number of the table's own last."""
    if header.concept == "subscriber_id":
        return 0 if "msisdn" in words else 1
    if words & _PERSON and words <= _PERSON | _NUMBER:
        return 1
    return 2 if words == {"id"} else None


def _is_stay(words: frozenset[str]) -> bool:
    if words & _NO_STAY:
        return False
    return bool(
        words & {"tenure", "aon"}
        or ("age" in words and words & _RELATION)
        or ("length" in words and words & (_RELATION - {"network"}))
        or {"on", "network"} <= words
    )


def _volume(position: int, header: Header, words: frozenset[str]) -> _Guess:
    name = f"{header.direction}_kilobytes"
    part = [word for word in header.label.lower().split() if word not in _WHOLES]
    if words & _RATES:
        return _Guess(
            name, position, header.unit, "a throughput is a rate: is it a volume, and in which unit"
        )
    if part:
        return _Guess(name, position, header.unit, f"it may be the whole or a part ({' '.join(part)})", 1)
    if not header.is_direction_plain:
        return _Guess(name, position, header.unit, "uplink or downlink depends on who speaks")
    return _Guess(name, position, header.unit, None if header.unit else "in which unit is not said")


def _settled(guesses: list[_Guess], file: InputFile) -> tuple[list[_Guess], list[_Guess]]:
    """For each canonical column the one source that is plainly it; and those that are in doubt."""
    chosen: list[_Guess] = []
    doubts: list[_Guess] = []
    for name in dict.fromkeys(guess.name for guess in guesses):
        rivals = [guess for guess in guesses if guess.name == name]
        best = min(guess.rank for guess in rivals)
        leaders = [guess for guess in rivals if guess.rank == best]
        if len(leaders) == 1 and not leaders[0].doubt:
            chosen.append(leaders[0])
            continue
        among = " and ".join(repr(file.header[guess.position]) for guess in leaders[:4])
        which = f"{among} may each be it" if len(leaders) > 1 else None
        doubts += [replace(guess, doubt=guess.doubt or which) for guess in leaders]
    return chosen, doubts


def _column(guess: _Guess, file: InputFile) -> MappedColumn:
    """The guess as an entry of a mapping; columns of one header are told apart by their order."""
    before = Counter(plain(text) for text in file.header[: guess.position + 1])
    source = file.header[guess.position]
    return MappedColumn(guess.name, source, before[plain(source)], guess.unit)


def _mapping(name: str, description: str, columns: list[MappedColumn]) -> Mapping:
    order = [column.name for column in SUBSCRIBERS]
    return Mapping(
        name, "subscribers", tuple(sorted(columns, key=lambda c: order.index(c.name))), (), description
    )


# What a person is told


def _refuse(file: InputFile, columns: list[MappedColumn], doubts: list[_Guess]) -> None:
    names = {column.name for column in columns}
    if "subscriber_id" in names and len(names) > 1 and not doubts:
        return
    if doubts:
        what = f"{file.path.name} has columns whose meaning is in doubt"
        found = "; ".join(f"{file.header[d.position]!r} as {d.name}: {d.doubt}" for d in doubts)
    else:
        lacking = "anything else" if "subscriber_id" in names else "the subscriber's identifier"
        what = f"{file.path.name} has no column that is plainly {lacking}"
        found = f"the columns {', '.join(file.header[:20])}"
    begun = {doubt.name: replace(_column(doubt, file), unit=_ASKED.get(doubt.name)) for doubt in doubts}
    draft = _mapping(file.path.name.partition(".")[0], "", [*columns, *begun.values()])
    raise MappingError(
        what, found=found,
        expected="one column for each, with its unit (" + "; ".join(
            f"{name}: {', '.join(FACTORS[SUBSCRIBERS[name].unit or ''])}" for name in _ASKED if name in begun
        ) + ")" if begun.keys() & _ASKED.keys() else "a header that names it",
        do="write a mapping, which may begin with the lines below (see docs/mappings.md), and pass it with "
        "--mapping\n\n" + draft.to_toml(),
    )  # fmt: skip


def _told(
    file: InputFile, chosen: list[_Guess], doubts: list[_Guess], columns: list[MappedColumn]
) -> Iterator[Finding]:
    used = {plain(column.source) for column in columns}
    aside = [repr(text) for text in file.header if plain(text) not in used]
    left = ", ".join(aside[:8]) + (f" and {len(aside) - 8} more" if len(aside) > 8 else "")
    if chosen:
        said = [
            f"{file.header[g.position]!r} as {g.name}" + (f" in {g.unit}" if g.unit else "") for g in chosen
        ]
        text = f"no mapping describes this file: read by their names alone are {', '.join(said)}"
        text += f"; left aside: {left}" if left else ""
        yield Finding("columns", "mapping", "warning", 0, text)
    elif left:
        yield Finding("columns", "mapping", "note", 0, f"left aside: {left}")
    for doubt in doubts:
        text = f"{file.header[doubt.position]!r} is left out: {doubt.doubt}"
        yield Finding(doubt.name, "mapping", "warning", 0, text)
