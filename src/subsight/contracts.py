"""A contract says what each column of a canonical table is, once; everything else is derived from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from subsight.units import unit_of

__all__ = ["Application", "Column", "Contract", "Kind"]

Kind = Literal["text", "texts", "float", "integer", "instant", "date", "boolean"]
"""`texts` is a list of texts."""


@dataclass(frozen=True)
class Application:
    """A traffic category that a vendor reports: `slug` in column names, `name` for people."""

    slug: str
    name: str


@dataclass(frozen=True)
class Column:
    """One column: what it means, its type, and the range outside which a value is refused.

    The unit is in the name (see `units`). `identifier` names the kind of identifier that a pseudonym
    replaces at ingest; a `subscriber` is an MSISDN or a number of the operator's own. A name that holds
    `{slug}` is a family: one column an application. `derived` columns are computed at ingest and never
    mapped. `internal` ones are never published.
    """

    name: str
    kind: Kind
    meaning: str
    low: float | None = None
    high: float | None = None
    required: bool = False
    identifier: Literal["msisdn", "imsi", "imei", "subscriber", "address"] | None = None
    derived: bool = False
    internal: bool = False

    @property
    def unit(self) -> str | None:
        """The unit that the name ends in."""
        return unit_of(self.name)

    @property
    def is_family(self) -> bool:
        """Whether the column stands for one column per application."""
        return "{slug}" in self.name


@dataclass(frozen=True)
class Contract:
    """A canonical table: its name, what one row is, and its columns in order."""

    name: str
    row: str
    columns: tuple[Column, ...]
    applications: tuple[Application, ...] = field(default=())

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __contains__(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def expand(self, applications: tuple[Application, ...]) -> Contract:
        """The contract with each family replaced by one column an application, in that order."""
        columns: list[Column] = []
        for column in self.columns:
            if not column.is_family:
                columns.append(column)
                continue
            for app in applications:
                values: Mapping[str, str] = {"slug": app.slug, "name": app.name}
                columns.append(
                    replace(
                        column,
                        name=column.name.format(**values),
                        meaning=column.meaning.format(**values),
                    )
                )
        return replace(self, columns=tuple(columns), applications=applications)
