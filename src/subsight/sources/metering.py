"""Metering: the packets of a capture become flows, which NFStream makes and nDPI labels."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ACTIVE_S", "IDLE_S", "flows"]

IDLE_S: Final = 120
"""Without a packet for so long a flow has ended."""
ACTIVE_S: Final = 1_800
"""After so long a flow is told, and what follows is another."""
_ROWS: Final = 50_000
_ICMP: Final = (1, 58)
_METHODS: Final = {
    1: "Match by port", 2: "nBPF", 3: "DPI (partial)", 4: "DPI (partial cache)", 5: "DPI (cache)", 6: "DPI",
    7: "Match by IP", 8: "DPI (aggressive)", 9: "Match by custom rule",
}  # fmt: skip
"""nDPI's `ndpi_confidence_t`, which NFStream passes on as a number."""
_LATEST_MS: Final = 253_402_300_799_000
"""The end of 9999: a damaged clock of a capture can tell times that no calendar has."""


def flows(path: Path) -> Iterator[pa.Table]:
    """The flows of a capture with their labels, some at a time, by canonical names.

    Volumes are those of IP packets, inside tunnels of the inner ones. Ports of ICMP are null: NFStream tells
    neither type nor code. A packet that is no first fragment is in no flow.

    Raises:
        InputError: NFStream is not installed, cannot read the capture, or dies of it.
    """
    rows: list[dict[str, Any]] = []
    for flow in _metered(path):
        rows.append(_row(flow))
        if len(rows) == _ROWS:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def _metered(path: Path) -> Iterator[Any]:
    try:
        from nfstream import NFStreamer
    except ImportError as error:
        raise InputError(
            f"{path.name} is a packet capture, which NFStream reads",
            found=str(error),
            do="install the extra: pip install 'subsight[pcap]'",
        ) from error
    meters = None
    try:
        with _undisturbed():
            streamer = NFStreamer(
                source=str(path), statistical_analysis=False, n_dissections=20, accounting_mode=1, n_meters=1,
                idle_timeout=IDLE_S, active_timeout=ACTIVE_S,
            )  # fmt: skip
            streamer._mp_context = meters = _Meters(streamer._mp_context)
            given = iter(streamer)
            first = next(given, None)
        if first is not None:
            yield first
            yield from given
    except ValueError as error:
        raise InputError(
            f"{path.name} cannot be read by NFStream",
            found=str(error),
            expected="a whole capture, pcap or pcapng",
            do="check that the file arrived complete",
        ) from error
    finally:
        if meters:
            meters.end()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Undoes what NFStream does to its process: it prints, and binds it to two processors."""
    own = os.getpid()
    processors = os.sched_getaffinity(own) if hasattr(os, "sched_getaffinity") else None
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # It forks, which Python warns of where there are threads; its meters use none of what they hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield
        finally:
            if processors:
                os.sched_setaffinity(own, processors)


class _Meters:
    """NFStream's context of processes, but that nobody waits for ever for one that died.

    nDPI looks into packets of strangers; where it crashes, NFStream does not notice.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._started: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def Process(self, *args: Any, **more: Any) -> Any:  # noqa: N802 - as multiprocessing names it
        process = self._context.Process(*args, **more)
        self._started.append(process)
        return process

    def Queue(self, maxsize: int = 0) -> Any:  # noqa: N802
        channel = self._context.Queue(maxsize)
        channel.get = self._watching(channel.get)
        return channel

    def _watching(self, get: Callable[..., Any]) -> Callable[[], Any]:
        def patient() -> Any:
            while True:
                is_alive = any(process.is_alive() for process in self._started)
                try:
                    return get(timeout=1)
                except queue.Empty:
                    if not is_alive:
                        codes = ", ".join(str(process.exitcode) for process in self._started)
                        raise ValueError(f"its meter ended with exit code {codes}") from None

        return patient

    def end(self) -> None:
        for process in self._started:
            if process.is_alive():
                process.terminate()


def _row(flow: Any) -> dict[str, Any]:
    is_known = flow.application_name not in ("", "Unknown")
    has_ports = flow.protocol not in _ICMP
    return {
        "first_seen_at": min(flow.bidirectional_first_seen_ms, _LATEST_MS),
        "last_seen_at": min(flow.bidirectional_last_seen_ms, _LATEST_MS),
        "src_address": flow.src_ip, "dst_address": flow.dst_ip,
        "src_port": flow.src_port if has_ports else None, "dst_port": flow.dst_port if has_ports else None,
        "protocol": flow.protocol,
        "src_to_dst_bytes": flow.src2dst_bytes, "dst_to_src_bytes": flow.dst2src_bytes,
        "src_to_dst_packets": flow.src2dst_packets, "dst_to_src_packets": flow.dst2src_packets,
        "application": flow.application_name if is_known else None,
        "application_category": flow.application_category_name if is_known else None,
        "application_method": _method(flow) if is_known else None,
    }  # fmt: skip


def _method(flow: Any) -> str:
    """How a label was found; a number that is not known counts as a guess of inspection."""
    number = flow.application_confidence
    if not number and flow.application_is_guessed:
        number = 1
    return _METHODS.get(number, f"nDPI confidence {number}")


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    types = {
        "first_seen_at": pa.timestamp("ms", "UTC"), "last_seen_at": pa.timestamp("ms", "UTC"),
        **dict.fromkeys(("src_address", "dst_address"), pa.string()),
        **dict.fromkeys(("application", "application_category", "application_method"), pa.string()),
    }  # fmt: skip
    return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, pa.int64())) for name in rows[0]]))
