"""Who may ask: which role each address needs, and the headers every answer carries."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal

from subsight.errors import ConfigurationError, WorkspaceError
from subsight.surfaces.api.keys import ROLES, ApiKeys
from subsight.surfaces.api.refusals import RefusedError
from subsight.surfaces.api.sessions import Sessions
from subsight.surfaces.dashboard.addresses import PAGES

__all__ = ["HEADERS", "Caller", "Guard", "is_loopback"]

HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    # The docs page is the only one with a look of its own: a style sheet in the page, and no script.
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
)

_NEEDS: Final = {
    "/predict": "predict",
    "/predict/batch": "predict",
    "/segments/predict": "predict",
    "/offers/recommend": "predict",
    "/feedback": "feedback",
    "/monitoring": "read",
    "/subscribers/{id}": "read",
    "/subscribers/{id}/segment": "read",
    "/subscribers/{id}/offers": "read",
    "/model": "read",
    "/metrics": "read",
    **dict.fromkeys((route for route in PAGES if route not in ("/login", "/logout")), "read"),
}
_OPEN: Final = frozenset({
    "/health", "/ready", "/docs", "/openapi.json", "/login", "/logout", "/static/{name}",
})  # fmt: skip
_LOOK_EVERY_S: Final = 0.1
_LOCAL: Final = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Caller:
    """Who asks, as the audit log names it, and what it may do."""

    name: str
    roles: frozenset[str]


_ANONYMOUS: Final = Caller("anonymous", frozenset(ROLES))
_ON_THIS_MACHINE: Final = Caller("local", frozenset(ROLES))


class Guard:
    """Says who asks and whether they may.

    Without keys everybody may, on this machine only; once a key was made, only its bearers, also after
    the last one is revoked. `auth="off"` lets everybody in.
    """

    def __init__(
        self,
        keys: ApiKeys,
        auth: Literal["keys", "off"],
        host: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._auth, self._is_local = keys, auth, is_loopback(host)
        self._clock = clock
        self._known: list[tuple[str, Caller]] | None = None
        self._stamp: tuple[int, int] | None = None
        self._look_at = 0.0
        self.sessions = Sessions(clock)

    def check_start(self) -> None:
        """Looks at the keys before the service begins.

        Raises:
            ConfigurationError: it would be open to other machines, or `auth` is unknown.
            WorkspaceError: the keys cannot be read.
        """
        if self._auth not in ("keys", "off"):
            raise ConfigurationError("auth is unknown", found=str(self._auth), expected="keys or off")
        if self._auth == "keys" and not self._is_local and self._keys.entries() is None:
            raise ConfigurationError(
                "without a key the service listens on this machine only",
                found="an address that others reach, and no key",
                expected="a key, or a loopback address such as 127.0.0.1",
                do="make a key, or choose --generate-key, or --auth off, which the audit log records",
            )

    @property
    def wants_keys(self) -> bool:
        """Whether a key must be shown now."""
        return self._auth == "keys" and (self._callers() is not None or not self._is_local)

    def caller(self, headers: Mapping[bytes, bytes], *, by_cookie: bool = False) -> Caller | None:
        """Who asks; None without a key that is known. A session's cookie counts where pages are asked for.

        Raises:
            RefusedError: 421, a page of another site asks a service that is open on this machine.
        """
        if self._auth == "off":
            return _ANONYMOUS
        known = self._callers()
        if known is None and self._is_local:
            # A site may point its own name to 127.0.0.1 and have a browser here read for it.
            if not _LOCAL.fullmatch(headers.get(b"host", b"localhost").lower()):
                raise RefusedError(
                    421, "without keys the service answers to local names only", expected="localhost"
                )
            return _ON_THIS_MACHINE
        given = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given = token.strip()
        digest = hashlib.sha256(given).hexdigest()
        if by_cookie and not given:
            digest = self.sessions.key_of(headers) or digest
        return self._known_as(digest, known)

    def admit(self, key: str) -> str | None:
        """The token of a new session of a key's bearer; None of a key that is not known, or opens no page."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        found = self._known_as(digest, self._callers())
        may = found is not None and found.roles & {"read", "admin"}
        return self.sessions.begin(digest) if may else None

    def _known_as(self, digest: str, known: list[tuple[str, Caller]] | None) -> Caller | None:
        found = None
        for stored, caller in known or ():
            # Every key is compared, in constant time: how long it takes tells nothing.
            if hmac.compare_digest(stored, digest):
                found = caller
        return found

    def check(self, caller: Caller | None, route: str) -> None:
        """Whether the caller may use the route.

        Raises:
            RefusedError: 401 without a known key, 403 without the role.
        """
        if route in _OPEN:
            return
        if caller is None:
            raise RefusedError(
                401,
                "an API key is needed",
                found="none, or one that is not known (any more)",
                expected="the header Authorization: Bearer KEY, or X-API-Key: KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
        role = _NEEDS.get(route)
        if role and not caller.roles & {role, "admin"}:
            found = ", ".join(sorted(caller.roles))
            raise RefusedError(403, "the key may not do this", found=found, expected=f"the role {role}")

    def _callers(self) -> list[tuple[str, Caller]] | None:
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            stamp = self._keys.stamp()
            if stamp != self._stamp:
                self._stamp, self._known = stamp, self._read()
        return self._known

    def _read(self) -> list[tuple[str, Caller]] | None:
        try:
            entries = self._keys.entries()
        except WorkspaceError:
            return []  # damaged keys open nothing
        if entries is None:
            # Keys that were there and went with their file do not open the service.
            return None if self._known is None else []
        return [(e["digest"], Caller(f"key {e['id']}", frozenset(e["roles"]))) for e in entries]
