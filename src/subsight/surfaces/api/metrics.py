"""What the service counts, in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

__all__ = ["Metrics"]

_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counters of one process, from its start. Only the event loop's thread changes them."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._predictions: Counter[tuple[str, int | str]] = Counter()
        self._records: Counter[str] = Counter()

    def answered(self, route: str, status: int, latency_s: float) -> None:
        """Counts a request; `route` is a template such as `/subscribers/{id}`, never what was sent."""
        self._requests[route, status] += 1
        counts = self._buckets.get(route)
        if counts is None:
            counts = self._buckets[route] = [0] * (len(_BOUNDS_S) + 1)
            self._seconds[route] = 0.0
        counts[bisect_left(_BOUNDS_S, latency_s)] += 1
        self._seconds[route] += latency_s

    def predicted(self, model: str, version: int | str, rows: int = 1) -> None:
        """Counts predictions."""
        self._predictions[model, version] += rows

    def recorded(self, kind: str) -> None:
        """Counts a record of the audit log: `prediction`, `batch` or `event`."""
        self._records[kind] += 1

    def text(self) -> str:
        """All counters, as a scraper reads them."""
        lines = [
            "# HELP subsight_requests_total Requests answered.",
            "# TYPE subsight_requests_total counter",
        ]
        for (route, status), count in sorted(self._requests.items()):
            lines.append(f'subsight_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += self._histogram()
        lines += ["# HELP subsight_predictions_total Predictions, rows of batches each counted."]
        lines += ["# TYPE subsight_predictions_total counter"]
        for (model, version), count in sorted(self._predictions.items(), key=str):
            lines.append(f'subsight_predictions_total{{model="{model}",version="{version}"}} {count}')
        lines += ["# HELP subsight_audit_records_total Records handed to the audit log."]
        lines += ["# TYPE subsight_audit_records_total counter"]
        lines += [f'subsight_audit_records_total{{kind="{k}"}} {n}' for k, n in sorted(self._records.items())]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "subsight_request_seconds"
        lines = [
            f"# HELP {name} Time from a request's head to its answer's last byte.",
            f"# TYPE {name} histogram",
        ]
        for route, counts in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{route="{route}",le="{bound}"}} {total}')
            lines.append(f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}')
            lines.append(f'{name}_count{{route="{route}"}} {total}')
        return lines
