"""What real exporters sent, replayed to a collector that is killed: the totals are those of the captures."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

from test_collect import CLEAR, Collector, _free_port, rows_of, spooled

from subsight.live import status as live
from subsight.live.collector import drain
from subsight.sources.netflow import Datagram, Decoder
from subsight.sources.netflow.packets import payloads
from subsight.workspace import Workspace


def captured(folder: Path) -> list[Datagram]:
    """Datagrams of captures and payload files in order, each device at a loopback address of its own."""
    devices: dict[str, list[bytes]] = {}
    for path in sorted(folder.glob("logstash/*.dat"), key=lambda p: ("tpl" not in p.name, p.name)):
        device = re.split(r"_(?:tpl)?data|_tpl", path.stem)[0]
        devices.setdefault(device, []).append(path.read_bytes())
    for path in sorted(folder.glob("pmacct/**/*.pcap")):
        for payload in payloads(path):
            devices.setdefault(f"{path} {payload.src_address}", []).append(payload.data)
    return [
        Datagram(f"127.1.{i // 250}.{i % 250 + 1}", 0, data)
        for i, every in enumerate(devices.values())
        for data in dict.fromkeys(every)
    ]


def test_captures_count_once_whatever_is_killed(netflow_data: Path, tmp_path: Path) -> None:
    datagrams = [one for one in captured(netflow_data) if 0 < len(one.payload) < 60_000]
    assert len({one.exporter for one in datagrams}) > 50
    undisturbed = Workspace.create(tmp_path / "undisturbed")
    spooled(undisturbed, datagrams)
    drain(undisturbed, CLEAR, print)
    folder, port, chance = tmp_path / "killed", _free_port(), random.Random(11)
    for _ in range(int(os.environ.get("SUBSIGHT_COLLECTOR_KILLS", "3"))):
        collector = Collector(folder, port)
        collector.send(datagrams[: chance.randrange(len(datagrams))])
        time.sleep(chance.random() * 1.5)
        collector.end(signal.SIGKILL)
    collector = Collector(folder, port)
    # Twice: what is sent again counts no more.
    for _ in range(2):
        collector.send(datagrams)
    until = time.monotonic() + 60
    while collector.told()["datagrams"] < 2 * len(datagrams):
        assert time.monotonic() < until
        time.sleep(0.1)
    collector.end(signal.SIGTERM)
    killed = Workspace.open(folder)
    assert rows_of(killed) == rows_of(undisturbed)
    counts = [live.status(one)["collect"] for one in (killed, undisturbed)]
    # All that the decoder finds in one go is accepted or rejected, once.
    decoded = Decoder().decode(datagrams).table.num_rows
    assert decoded > 500
    for one in counts:
        assert one["accepted"] + one["rejected"] == decoded
        assert one["backlog"] == {"segments": 0, "bytes": 0}
    assert counts[0]["rejects"] == counts[1]["rejects"]
