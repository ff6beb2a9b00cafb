"""Sessions: who showed a key at the login page is known by a cookie, for as long as the key is."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from threading import Lock
from typing import Final

__all__ = ["COOKIE", "LASTS_S", "Sessions"]

COOKIE: Final = "subsight_session"
LASTS_S: Final = 12 * 3600
_MOST: Final = 10_000


class Sessions:
    """The sessions of one process: a random token each, of which only the digest is kept, and its key's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = Lock()

    def begin(self, key_digest: str) -> str:
        """A new session's token, shown this once."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._held[_digest(token)] = key_digest, self._clock() + LASTS_S
            while len(self._held) > _MOST:
                self._held.popitem(last=False)
        return token

    def key_of(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The digest of the key that began the session of a request's cookie; None without a session."""
        token = _token(headers)
        found = self._held.get(_digest(token)) if token else None
        return found[0] if found and self._clock() < found[1] else None

    def end(self, headers: Mapping[bytes, bytes]) -> None:
        """Forgets the session of a request's cookie."""
        if token := _token(headers):
            with self._lock:
                self._held.pop(_digest(token), None)


def _token(headers: Mapping[bytes, bytes]) -> str | None:
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return None
    return cookies[COOKIE].value if COOKIE in cookies else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
