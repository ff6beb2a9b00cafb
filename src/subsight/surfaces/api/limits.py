"""How much one caller, and all of them together, may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Buckets", "Limits"]

_CALLERS: Final = 10_000


@dataclass(frozen=True)
class Limits:
    """What the service accepts.

    Attributes:
        body_bytes: largest body; a larger one is a 413.
        body_s: how long a body may take to arrive; then 408.
        batch_rows: most rows of a batch; more are a 413.
        rate: requests per second and caller in the long run; 0 is no limit. Beyond it: 429.
        burst: requests that a caller may send at once.
        concurrency: requests that are worked on at once; beyond it: 503.
    """

    body_bytes: int = 10_000_000
    body_s: float = 30.0
    batch_rows: int = 200_000
    rate: float = 20_000.0
    burst: int = 40_000
    concurrency: int = 512


class Buckets:
    """A token bucket for each caller: `burst` tokens, filled again with `rate` tokens a second."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, now_s: float) -> float:
        """Takes a token; the seconds to wait where there is none, else 0."""
        if not self._rate:
            return 0.0
        tokens, since = self._held.pop(caller, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - since) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        # Taken out and put in again: the first of the dict is the caller who was silent longest.
        self._held[caller] = (tokens if wait else tokens - 1, now_s)
        if len(self._held) > _CALLERS:
            del self._held[next(iter(self._held))]
        return wait
