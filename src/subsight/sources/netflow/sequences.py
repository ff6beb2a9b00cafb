"""What gaps of sequence numbers say was lost on the way, of each exporter."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["Sequences"]

_WRAP: Final = 1 << 32
_LATE: Final = 1_000
"""Numbers that lie this far behind are datagrams that overtook each other; further ones a new beginning."""
_MOST: Final = 16_384
"""Sources, and exporters, that are remembered; of more the first are forgotten."""
_FAR: Final = 10_000_000
"""A gap larger than this is a new beginning too."""


class Sequences:
    """The number that each source's next datagram should have, and what is missing so far."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int, int], tuple[int | None, int]] = {}
        self.lost: dict[str, dict[str, int]] = {}

    def arrived(
        self, key: tuple[str, int, int], sequence: int, count: int | None, unit: str, uptime: int
    ) -> None:
        """A datagram with `sequence` came, after which the next should be `count` further.

        A count of None is not known: the next datagram begins anew. So does one of an exporter whose uptime
        went back.
        """
        expected, before = self._next.get(key, (None, 0))
        is_new = expected is None or uptime < before - _LATE * 1000
        if expected is not None and not is_new:
            ahead = (sequence - expected) % _WRAP
            behind = _WRAP - ahead
            if 0 < ahead <= _FAR:
                self._missed(key[0], unit, ahead)
            elif behind <= _LATE:
                self._missed(key[0], unit, -(count or 0))  # one that was taken for lost came late
                return
        following = None if count is None else (sequence + count) % _WRAP
        self._next[key] = following, max(uptime, 0 if is_new else before)
        if len(self._next) > _MOST:
            del self._next[next(iter(self._next))]

    def _missed(self, exporter: str, unit: str, count: int) -> None:
        if exporter not in self.lost and len(self.lost) >= _MOST:
            del self.lost[next(iter(self.lost))]
        units = self.lost.setdefault(exporter, {})
        units[unit] = max(0, units.get(unit, 0) + count)

    def to_json(self) -> dict[str, Any]:
        """What is remembered, as JSON values."""
        return {"next": [[*key, *value] for key, value in self._next.items()], "lost": self.lost}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Sequences:
        """What `to_json` told."""
        made = cls()
        made._next = {(e, v, d): (n, uptime) for e, v, d, n, uptime in value["next"]}
        made.lost = {exporter: dict(units) for exporter, units in value["lost"].items()}
        return made
