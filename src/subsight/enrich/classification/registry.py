"""IANA's registry of service names and port numbers (RFC 6335), as it ships and as a user updates it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from subsight.errors import ConfigurationError

__all__ = ["PROTOCOLS", "Registration", "Registry", "compact", "read"]

PROTOCOLS: Final = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132}
"""IANA numbers of the protocols that have ports in the registry."""

_COLUMNS: Final = ("Service Name", "Port Number", "Transport Protocol", "Description")
_DATES: Final = ("Registration Date", "Modification Date")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_SOURCE: Final = "https://www.iana.org/assignments/service-names-port-numbers"
_DESCRIPTION_LENGTH: Final = 40


@dataclass(frozen=True)
class Registration:
    """A service that IANA assigned ports of one protocol, from `first` to `last`, both part of it."""

    name: str
    first: int
    last: int
    protocol: int
    description: str


@dataclass(frozen=True)
class Registry:
    """The registered services in the registry's order, and how many rows were left out, by reason.

    `date` is the latest date of a registration or change in it, as `YYYY-MM-DD`; empty where it tells none.
    """

    date: str
    registrations: tuple[Registration, ...]
    skipped: Mapping[str, int]


def read(path: str = "") -> Registry:
    """The registry of a CSV file as IANA publishes it; of no path, the one that ships with Subsight.

    Rows that name no service (reserved, unassigned), no port, or no protocol are left out and counted.

    Raises:
        ConfigurationError: the file is missing or unreadable, lacks a column, or registers no port.

    >>> from subsight.enrich.classification import registry
    >>> shipped = registry.read()
    >>> shipped.date, shipped.registrations[0].name, shipped.registrations[0].first
    ('2025-03-28', 'tcpmux', 1)
    """
    text = _text(path)
    first, _, rest = text.partition("\n")
    noted = _DATE.search(first) if first.startswith("#") else None
    lines = csv.DictReader(io.StringIO(rest if first.startswith("#") else text, newline=""))
    _check_columns(path, lines.fieldnames or ())
    skipped: Counter[str] = Counter()
    dates = [noted.group()] if noted else []
    registrations = []
    try:
        for row in lines:
            dates += [row[name] for name in _DATES if _DATE.fullmatch(row.get(name) or "")]
            reason, found = _registration(row)
            if found is None:
                skipped[reason] += 1
            else:
                registrations.append(found)
    except csv.Error as error:
        raise _unreadable(path, f"line {lines.line_num}: {error}") from error
    if not registrations:
        raise _unreadable(path, f"no registered port among {sum(skipped.values())} rows")
    return Registry(max(dates, default=""), tuple(registrations), dict(sorted(skipped.items())))


def compact(registry: Registry) -> str:
    """The registry as the CSV that ships: four of IANA's columns, short descriptions, its date on top."""
    names = {number: name for name, number in PROTOCOLS.items()}
    text = io.StringIO()
    text.write(f"# Service Name and Transport Protocol Port Number Registry, {registry.date}, {_SOURCE}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for r in registry.registrations:
        ports = str(r.first) if r.first == r.last else f"{r.first}-{r.last}"
        description = " ".join(r.description.split())[:_DESCRIPTION_LENGTH].strip()
        writer.writerow((r.name, ports, names[r.protocol], description))
    return text.getvalue()


def _text(path: str) -> str:
    if not path:
        return files(__package__).joinpath("registry.csv").read_text(encoding="utf-8")
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"byte {error.start} is not UTF-8") from error


def _unreadable(path: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"the port registry {path or 'that ships'} cannot be used",
        found=found,
        expected=f"IANA's CSV file of service names and ports, from {_SOURCE}",
        do="set port_registry to such a file, or leave it out for the registry that ships",
    )


def _check_columns(path: str, names: Iterable[str]) -> None:
    there = list(names)
    if missing := [name for name in _COLUMNS if name not in there]:
        raise _unreadable(path, f"no column {', '.join(missing)}")


def _registration(row: Mapping[str, str | None]) -> tuple[str, Registration | None]:
    """What a row registers, or why it registers nothing."""
    name, port, protocol, description = ((row.get(column) or "").strip() for column in _COLUMNS)
    if not name:
        return "no service name (reserved, unassigned or removed)", None
    if not port:
        return "no port (the name alone is registered)", None
    if protocol.lower() not in PROTOCOLS:
        return "no protocol with ports", None
    low, _, high = port.partition("-")
    if not (low.isascii() and low.isdigit() and (not high or (high.isascii() and high.isdigit()))):
        return "the port is no number", None
    first, last = int(low), int(high or low)
    if not 0 < first <= last <= 65_535:
        return "the port is out of range", None
    return "", Registration(name, first, last, PROTOCOLS[protocol.lower()], description)
