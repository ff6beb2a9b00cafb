"""A mapping describes a vendor's file: for each canonical column its source column, unit and format."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from subsight.contracts import Application, Contract
from subsight.errors import MappingError
from subsight.tables import CONTRACTS
from subsight.units import FACTORS

__all__ = ["MappedColumn", "Mapping", "read", "shipped"]

_NUMBERED: Final = re.compile(r"(.+)[._]\d+")
"""What readers that want each header once make of a repeated one: `Dur. (ms).1`, `Dur. (ms)_1`."""
_KEYS: Final = {"source", "occurrence", "unit", "format", "milliseconds"}


@dataclass(frozen=True)
class MappedColumn:
    """Where one canonical column comes from.

    `occurrence` tells columns apart whose headers are the same. `unit` is what the source declares;
    None where it declares nothing. `milliseconds` names a column to add to an instant.
    """

    name: str
    source: str
    occurrence: int = 1
    unit: str | None = None
    format: str | None = None
    milliseconds: str | None = None


@dataclass(frozen=True)
class Mapping:
    """A vendor's file in canonical terms."""

    name: str
    table: str
    columns: tuple[MappedColumn, ...]
    applications: tuple[Application, ...] = ()
    description: str = ""

    @property
    def contract(self) -> Contract:
        """The canonical table with the vendor's applications in place of the families."""
        return CONTRACTS[self.table].expand(self.applications)

    def __getitem__(self, name: str) -> MappedColumn | None:
        return next((column for column in self.columns if column.name == name), None)

    def positions(self, header: Sequence[str]) -> dict[str, int]:
        """Where each mapped column stands in a header; those that are missing are left out."""
        places: dict[tuple[str, int], int] = {}
        names = {plain(name) for name in header}
        for position, name in enumerate(header):
            key = plain(name)
            numbered = _NUMBERED.fullmatch(key)
            if numbered and numbered[1] in names:
                key = numbered[1]
            occurrence = 1
            while (key, occurrence) in places:
                occurrence += 1
            places[key, occurrence] = position
        found = {}
        for column in self.columns:
            position = places.get((plain(column.source), column.occurrence), -1)
            if position >= 0:
                found[column.name] = position
            if column.milliseconds and (plain(column.milliseconds), 1) in places:
                found[f"{column.name}:milliseconds"] = places[plain(column.milliseconds), 1]
        return found

    def to_toml(self) -> str:
        """The mapping as the text of a mapping file."""
        lines = [f"name = {_quoted(self.name)}", f'table = "{self.table}"']
        lines += [f"description = {_quoted(self.description)}"] if self.description else []
        lines.append("")
        paired = {app.slug: self._pair(app.slug) for app in self.applications}
        short = {column.name for pair in paired.values() for column in pair.values()}
        for column in self.columns:
            if column.name in short:
                continue
            lines += [f"[columns.{column.name}]", f"source = {_quoted(column.source)}"]
            lines += [f"occurrence = {column.occurrence}"] if column.occurrence > 1 else []
            for key in ("unit", "format", "milliseconds"):
                value = getattr(column, key)
                lines += [f"{key} = {_quoted(value)}"] if value else []
            lines.append("")
        for app in self.applications:
            pair = paired[app.slug]
            lines += [f"[applications.{app.slug}]", f"name = {_quoted(app.name)}"]
            lines += [f"{direction} = {_quoted(column.source)}" for direction, column in pair.items()]
            lines += [f"unit = {_quoted(unit)}" for unit in {c.unit for c in pair.values()} if unit]
            lines.append("")
        return "\n".join(lines)

    def _pair(self, app: str) -> dict[str, MappedColumn]:
        """An application's columns by direction, none where one entry cannot describe them all."""
        mapped = {direction: self[f"app_{app}_{direction}_bytes"] for direction in ("dl", "ul")}
        pair = {direction: column for direction, column in mapped.items() if column}
        is_simple = all(c.occurrence == 1 and not c.format and not c.milliseconds for c in pair.values())
        return pair if is_simple and len({column.unit for column in pair.values()}) <= 1 else {}


def plain(header: str) -> str:
    """A header as it is compared: without differences of case and spacing."""
    return re.sub(r"\s+", " ", header).strip().lower()


def shipped() -> list[Mapping]:
    """The mappings that come with Subsight."""
    folder = resources.files("subsight.sources") / "mappings"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return [_parse(file.read_text(encoding="utf-8"), file.name) for file in files]


def read(path: Path | str) -> Mapping:
    """A mapping from a TOML file, or a shipped one by its name.

    Raises:
        MappingError: no such mapping, no TOML, or an entry that names nothing canonical.
    """
    by_name = {mapping.name: mapping for mapping in shipped()}
    if str(path) in by_name:
        return by_name[str(path)]
    try:
        return _parse(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise MappingError(
            f"there is no mapping {path}",
            found=str(error),
            expected=f"a TOML file or one of {', '.join(by_name)}",
            do="let `subsight inspect FILE --write-mapping MAPPING.toml` propose one",
        ) from error


def _parse(text: str, origin: str) -> Mapping:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{origin} is not TOML", found=str(error), do="mend the file") from error
    table = raw.get("table", "sessions")
    if table not in CONTRACTS:
        raise MappingError(f"{origin} maps an unknown table", found=str(table), expected=", ".join(CONTRACTS))
    applications = tuple(
        Application(slug, str(entry.get("name", slug))) for slug, entry in raw.get("applications", {}).items()
    )
    columns = [_column(name, entry, origin) for name, entry in raw.get("columns", {}).items()]
    for slug, entry in raw.get("applications", {}).items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
            raise MappingError(
                f"{origin} names an application {slug!r}", expected="a name of a-z, 0-9 and underscores"
            )
        for direction in ("dl", "ul"):
            if direction in entry:
                mapped = {"source": entry[direction], "unit": entry.get("unit")}
                columns.append(_column(f"app_{slug}_{direction}_bytes", mapped, origin))
    mapping = Mapping(
        str(raw.get("name", origin)), table, tuple(columns), applications, str(raw.get("description", ""))
    )
    contract = mapping.contract
    for column in mapping.columns:
        if column.name not in contract or contract[column.name].derived:
            known = ", ".join(c.name for c in contract if not c.derived)
            raise MappingError(f"{origin} maps {column.name}, which is no column of {table}", expected=known)
        unit = contract[column.name].unit
        if column.unit and (unit not in FACTORS or column.unit not in FACTORS[unit]):
            raise MappingError(
                f"{origin} gives {column.name} a unit that it cannot have",
                found=column.unit,
                expected=", ".join(FACTORS.get(unit or "", ())) or "no unit",
            )
    return mapping


def _column(name: str, entry: Map[str, Any], origin: str) -> MappedColumn:
    unknown = set(entry) - _KEYS
    if unknown or "source" not in entry:
        raise MappingError(
            f"{origin} describes {name} wrongly",
            found=", ".join(sorted(unknown)) or "no source",
            expected=f"source and, where they apply, {', '.join(sorted(_KEYS - {'source'}))}",
        )
    return MappedColumn(
        name,
        str(entry["source"]),
        int(entry.get("occurrence", 1)),
        entry.get("unit"),
        entry.get("format"),
        entry.get("milliseconds"),
    )


def _quoted(text: str) -> str:
    import json

    # A JSON string is a TOML basic string.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
