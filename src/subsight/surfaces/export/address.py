"""Where an export goes, and how to speak of it without its password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlsplit

from subsight.errors import ExportError

__all__ = ["Address", "Kind"]

Kind = Literal["csv", "parquet", "sqlite", "mysql", "postgresql"]

_SUFFIXES: Final[Mapping[str, Kind]] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}
_SCHEMES: Final[Mapping[str, Kind]] = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "sqlite": "sqlite",
}


@dataclass(frozen=True)
class Address:
    """A target. `shown` is the only form of it that is ever printed."""

    kind: Kind
    shown: str
    path: Path | None = None
    url: str = field(default="", repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    database: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, target: str) -> Address:
        """The target that a path or a URL names.

        Raises:
            ExportError: no target of that form exists.
        """
        if "://" not in target:
            return _file(target)
        scheme = target.partition("://")[0].lower()
        if scheme not in _SCHEMES:
            raise ExportError(
                f"no export to {scheme}:// URLs",
                expected=f"one of {', '.join(f'{known}://' for known in _SCHEMES)}, or a path",
                do="name another target",
            )
        if scheme == "sqlite":
            path = target[len("sqlite://") :]
            if not path.startswith("/") or len(path) == 1:
                raise ExportError(
                    f"{target} names no file", expected="sqlite:///relative or sqlite:////absolute"
                )
            return cls("sqlite", target, Path(unquote(path[1:])))
        return _server(target, _SCHEMES[scheme])

    def conceal(self, text: str) -> str:
        """A driver's message without the password or the options, in any encoding."""
        hidden = [self.url, self.password or "", *self.options.values()]
        forms = {form for value in hidden for form in (value, quote(value, safe=""), quote_plus(value))}
        forms.add(urlsplit(self.url).password or "")
        for form in sorted(forms - {""}, key=len, reverse=True):
            text = text.replace(form, "***")
        return " ".join(text.split())


def _file(target: str) -> Address:
    path = Path(target)
    name = path.name.lower()
    suffix = ".csv.gz" if name.endswith(".csv.gz") else path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ExportError(
            f"{target} says no format that can be written",
            found=f"the suffix {suffix}" if suffix else "no suffix",
            expected=f"{', '.join(_SUFFIXES)}, or a database URL",
            do="give the file one of these suffixes",
        )
    return Address(_SUFFIXES[suffix], str(path), path)


def _server(target: str, kind: Kind) -> Address:
    parts, port = _split(target)
    database = unquote(parts.path.strip("/"))
    host = parts.hostname or "127.0.0.1"
    user = unquote(parts.username) if parts.username else None
    at = f"{quote(user)}@" if user else ""
    bracketed = f"[{host}]" if ":" in host else host
    shown = f"{parts.scheme}://{at}{bracketed}{f':{port}' if port else ''}/{quote(database)}"
    if not database:
        raise ExportError(
            f"{shown} names no database",
            expected=f"{parts.scheme}://USER@HOST/DATABASE",
            do="add the database's name",
        )
    return Address(
        kind,
        shown,
        url=target,
        user=user,
        password=unquote(parts.password) if parts.password else None,
        host=host,
        port=port,
        database=database,
        options=dict(parse_qsl(parts.query, keep_blank_values=True)),
    )


def _split(target: str) -> tuple[SplitResult, int | None]:
    """The URL's parts; nothing of one that cannot be read is shown, for it may be its password."""
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        parts, port = None, None
    # A bare / ? or # inside a password ends the host part early: what follows then holds the @.
    if parts is None or "#" in target or "@" in parts.path or "@" in parts.query:
        raise ExportError(
            "the database URL cannot be read",
            expected="SCHEME://USER:PASSWORD@HOST:PORT/DATABASE",
            do="percent-encode special characters of user and password (# is %23, / is %2F, ? is %3F)",
        ) from None
    return parts, port
