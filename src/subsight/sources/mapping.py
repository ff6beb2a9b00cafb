"""A mapping describes a vendor's file: for each canonical column its source column, unit and format."""

from __future__ import annotations

import hashlib
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
from subsight.store import EPOCHS
from subsight.tables import CONTRACTS
from subsight.units import FACTORS

__all__ = ["MappedColumn", "Mapping", "read", "shipped"]

_NUMBERED: Final = re.compile(r"(.+)[._]\d+")
"""What readers that want each header once make of a repeated one: `Dur. (ms).1`, `Dur. (ms)_1`."""
_KEYS: Final = {"source": str, "occurrence": int, "unit": str, "format": str, "milliseconds": str}


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

    def require(self, table: str) -> None:
        """Refuses to read a file as rows of another table.

        Raises:
            MappingError: the mapping is one of another table.
        """
        if self.table != table:
            raise MappingError(
                f"the mapping {self.name} describes other records",
                found=f'table = "{self.table}"',
                expected=f'table = "{table}"',
                do="name a mapping of that table, or ingest the file as what it is",
            )

    @property
    def digest(self) -> str:
        """Eight hex digits that differ wherever what is mapped, and how, does."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()[:8]

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


def shipped(table: str | None = None) -> list[Mapping]:
    """The mappings that come with Subsight: all, or those of one table."""
    folder = resources.files("subsight.sources") / "mappings"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    found = [_parse(file.read_text(encoding="utf-8"), file.name) for file in files]
    return [mapping for mapping in found if table in (None, mapping.table)]


def read(path: Path | str) -> Mapping:
    """A mapping from a TOML file, or a shipped one by its name.

    Raises:
        MappingError: no such mapping, no TOML, or an entry that names nothing canonical.
    """
    by_name = {mapping.name: mapping for mapping in shipped()}
    if str(path) in by_name:
        return by_name[str(path)]
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MappingError(f"{path} is not TOML", found=str(error), do="save it as UTF-8") from error
    except OSError as error:
        raise MappingError(
            f"there is no mapping {path}",
            found=str(error),
            expected=f"a TOML file or one of {', '.join(by_name)}",
            do="let `subsight inspect FILE --write-mapping MAPPING.toml` propose one",
        ) from error
    return _parse(text, str(path))


def _parse(text: str, origin: str) -> Mapping:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{origin} is not TOML", found=str(error), do="mend the file") from error
    table = str(raw.get("table", "sessions"))
    if table not in CONTRACTS:
        raise MappingError(f"{origin} maps an unknown table", found=table, expected=", ".join(CONTRACTS))
    described = _tables(raw, "applications", origin)
    applications = tuple(Application(slug, str(entry.get("name", slug))) for slug, entry in described.items())
    columns = [_column(name, entry, origin) for name, entry in _tables(raw, "columns", origin).items()]
    for slug, entry in described.items():
        columns += _application(slug, entry, origin)
    mapping = Mapping(
        str(raw.get("name", origin)), table, tuple(columns), applications, str(raw.get("description", ""))
    )
    for column in mapping.columns:
        _check(column, mapping, origin)
    return mapping


def _tables(raw: Map[str, Any], name: str, origin: str) -> Map[str, Map[str, Any]]:
    """The tables under a name; an entry that is none counts as described wrongly."""
    found = raw.get(name, {})
    if not isinstance(found, dict):
        raise MappingError(f"{origin} is no mapping", found=f"{name} = {found!r}", expected=f"[{name}.NAME]")
    for key, entry in found.items():
        if not isinstance(entry, dict):
            raise MappingError(
                f"{origin} describes {key} wrongly", found=f"{key} = {entry!r}", expected=f"[{name}.{key}]"
            )
    return found


def _application(slug: str, entry: Map[str, Any], origin: str) -> list[MappedColumn]:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise MappingError(
            f"{origin} names an application {slug!r}", expected="a name of a-z, 0-9 and underscores"
        )
    if unknown := set(entry) - {"name", "dl", "ul", "unit"}:
        raise MappingError(
            f"{origin} describes the application {slug} wrongly",
            found=", ".join(sorted(unknown)),
            expected="name, dl, ul, unit",
        )
    unit = {"unit": entry["unit"]} if "unit" in entry else {}
    return [
        _column(f"app_{slug}_{direction}_bytes", {"source": entry[direction], **unit}, origin)
        for direction in ("dl", "ul")
        if direction in entry
    ]


def _column(name: str, entry: Map[str, Any], origin: str) -> MappedColumn:
    unknown = set(entry) - set(_KEYS)
    wrong = {key: value for key, value in entry.items() if key in _KEYS and type(value) is not _KEYS[key]}
    if unknown or wrong or "source" not in entry:
        raise MappingError(
            f"{origin} describes {name} wrongly",
            found=", ".join([*sorted(unknown), *(f"{key} = {value!r}" for key, value in wrong.items())])
            or "no source",
            expected=f"source and, where they apply, {', '.join(sorted(set(_KEYS) - {'source'}))}",
        )
    return MappedColumn(name, **entry)


def _check(column: MappedColumn, mapping: Mapping, origin: str) -> None:
    """Raises where a column is not canonical, or its unit or format is none."""
    contract = mapping.contract
    if column.name not in contract or contract[column.name].derived:
        known = ", ".join(c.name for c in contract if not c.derived)
        raise MappingError(
            f"{origin} maps {column.name}, which is no column of {mapping.table}", expected=known
        )
    units = FACTORS.get(contract[column.name].unit or "", {})
    if column.unit and column.unit not in units:
        raise MappingError(
            f"{origin} gives {column.name} a unit that it cannot have",
            found=column.unit,
            expected=", ".join(units) or "no unit",
        )
    is_pattern = column.format in (None, "iso", *EPOCHS) or "%" in (column.format or "")
    if not is_pattern:
        raise MappingError(
            f"{origin} gives {column.name} a format that reads nothing",
            found=str(column.format),
            expected=f"iso, {', '.join(EPOCHS)} or a strptime pattern such as %m/%d/%Y %H:%M",
        )


def _quoted(text: str) -> str:
    import json

    # A JSON string is a TOML basic string.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
