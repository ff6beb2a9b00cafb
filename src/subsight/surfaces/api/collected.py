"""What live inputs say of themselves, in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["lines"]

_Told = Mapping[str, Any]

_COLLECT: Final = (
    ("datagrams_total", "counter", "Datagrams received.", ("received", "datagrams")),
    ("received_bytes_total", "counter", "Bytes of datagrams received.", ("received", "bytes")),
    ("kernel_dropped_total", "counter", "Datagrams that the kernel dropped.", ("kernel_dropped",)),
    ("backlog_segments", "gauge", "Segments of the spool that wait to be decoded.", ("backlog", "segments")),
    ("backlog_bytes", "gauge", "Bytes of the spool that wait to be decoded.", ("backlog", "bytes")),
    ("lag_seconds", "gauge", "Age of the oldest datagram that waits to be decoded.", ("lag_s",)),
    ("held_sets", "gauge", "Sets of data whose template did not come yet.", ("held",)),
    ("duplicates_total", "counter", "Datagrams that had come before.", ("duplicates",)),
    ("accepted_total", "counter", "Flows accepted.", ("accepted",)),
    ("rejected_total", "counter", "Flows rejected.", ("rejected",)),
)
_WATCH: Final = (
    ("files_total", "counter", "Files taken since the command began.", ("files",)),
    ("accepted_total", "counter", "Records accepted since the command began.", ("accepted",)),
    ("rejected_total", "counter", "Records rejected since the command began.", ("rejected",)),
    ("waiting_files", "gauge", "Files that are still written or wait for another command.", ("waiting",)),
)


def lines(status: Mapping[str, _Told]) -> str:
    """What `subsight.live.status.status` told, empty where nothing was collected or watched."""
    found: list[str] = []
    for command, measures in (("collect", _COLLECT), ("watch", _WATCH)):
        told = status.get(command)
        if told is None:
            continue
        found += _one(f"{command}_running", "gauge", "Whether the command runs.", [("", told["is_running"])])
        for name, kind, text, path in measures:
            found += _one(f"{command}_{name}", kind, text, [("", _at(told, path))])
    if collected := status.get("collect"):
        found += _by_label("collect_dropped_total", "What was dropped.", "reason", collected["dropped"])
        found += _by_label("collect_rejects_total", "Flows rejected.", "reason", collected["rejects"])
        lost = [
            (f'{{exporter="{_escaped(exporter)}",unit="{unit}"}}', count)
            for exporter, units in sorted(collected["lost_estimate"].items())
            for unit, count in sorted(units.items())
        ]
        text = "Lost before they came, estimated from gaps of sequence numbers."
        found += _one("collect_lost_estimate", "gauge", text, lost)
    if watched := status.get("watch"):
        found += _one("watch_refused_files", "gauge", "Files refused.", [("", len(watched["refused"]))])
    return "".join(f"{line}\n" for line in found)


def _at(told: _Told, path: tuple[str, ...]) -> Any:
    value: Any = told
    for name in path:
        value = value[name]
    return value


def _by_label(name: str, text: str, label: str, counts: Mapping[str, int]) -> Iterator[str]:
    found = [(f'{{{label}="{_escaped(key)}"}}', count) for key, count in sorted(counts.items())]
    return _one(name, "counter", text, found)


def _one(name: str, kind: str, text: str, values: list[tuple[str, Any]]) -> Iterator[str]:
    """A measure with its values by labels; what is not known is left out."""
    known = [(labels, value) for labels, value in values if value is not None]
    if known:
        yield f"# HELP subsight_{name} {text}"
        yield f"# TYPE subsight_{name} {kind}"
        yield from (f"subsight_{name}{labels} {float(value):.10g}" for labels, value in known)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
