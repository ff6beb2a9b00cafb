"""The login page's work: a key for a session, where it is asked for from a page of our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from subsight.surfaces.api.sessions import COOKIE, LASTS_S

__all__ = ["cleared", "cookie", "is_own", "target"]

_FIELDS: Final = f"{COOKIE}={{}}; Path=/; HttpOnly; SameSite=Strict; Max-Age={{}}"


def is_own(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a form was sent by a page of this service; a program that names no origin is none."""
    origin, host = headers.get(b"origin", b"").decode("latin-1"), headers.get(b"host", b"").decode("latin-1")
    return bool(host) and urlsplit(origin).netloc.lower() == host.lower()


def target(text: str) -> str:
    """Where to go after the login: an address of this service, never of another."""
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_path and not text.startswith(("/login", "/logout")) else "/"


def cookie(token: str, headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The header that begins a session in a browser; one that came by TLS sends it by nothing else."""
    secure = "; Secure" if headers.get(b"origin", b"").lower().startswith(b"https:") else ""
    return {"Set-Cookie": _FIELDS.format(token, LASTS_S) + secure}


def cleared() -> dict[str, str]:
    """The header that ends it."""
    return {"Set-Cookie": _FIELDS.format("", 0)}
