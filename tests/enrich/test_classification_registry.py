from __future__ import annotations

import csv
import os
from importlib.resources import files
from pathlib import Path

import pytest

from subsight.enrich.classification import registry
from subsight.enrich.classification.registry import Registration
from subsight.errors import ConfigurationError

SHARED = Path(os.environ.get("SUBSIGHT_SHARED", Path(__file__).parents[3] / "shared"))
IANA = SHARED / "data" / "iana" / "service-names-port-numbers.csv"

# The shape of IANA's file: twelve columns, quoted line breaks, blank names, ranges, and names alone.
HEADER = (
    "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration Date,"
    "Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n"
)
ROWS = """\
,0,tcp,Reserved,,,,2024-12-20,[RFC6335],,,
domain,53,udp,Domain Name Server,[P],[P],,,,,,
shell,514,tcp,"cmd
like exec, but automatic",,,,,,,,
syslog,514,udp,,,,,,,,,
x11,6000-6063,tcp,X Window System,,,2020-01-02,2023-04-05,,,,
,4-5,tcp,Unassigned,,,,,,,,
7ksonar,,tcp,A name alone,,,2023-10-03,,,,,
swx,7300-7359,,The Swiss Exchange,,,,,,,,
odd,80x,tcp,No number,,,,,,,,
high,70000,udp,Too high,,,,,,,,
back,20-10,udp,Backwards,,,,,,,,
"""


def write(folder: Path, text: str) -> str:
    path = folder / "ports.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_rows_that_register_a_port_are_read_and_the_others_counted(tmp_path: Path) -> None:
    found = registry.read(write(tmp_path, HEADER + ROWS))
    assert found.registrations == (
        Registration("domain", 53, 53, 17, "Domain Name Server"),
        Registration("shell", 514, 514, 6, "cmd\nlike exec, but automatic"),
        Registration("syslog", 514, 514, 17, ""),
        Registration("x11", 6000, 6063, 6, "X Window System"),
    )
    assert found.skipped == {
        "no service name (reserved, unassigned or removed)": 2,
        "no port (the name alone is registered)": 1,
        "no protocol with ports": 1,
        "the port is no number": 1,
        "the port is out of range": 2,
    }
    assert found.date == "2024-12-20", "the latest registration or change"


def test_a_compact_registry_reads_as_the_same_services(tmp_path: Path) -> None:
    found = registry.read(write(tmp_path, HEADER + ROWS))
    again = registry.read(write(tmp_path, registry.compact(found)))
    assert again.date == found.date
    assert again.skipped == {}
    assert [(r.name, r.first, r.last, r.protocol) for r in again.registrations] == [
        (r.name, r.first, r.last, r.protocol) for r in found.registrations
    ]
    assert again.registrations[1].description == "cmd like exec, but automatic"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"name,port\nhttp,80\n", "no column Service Name, Port Number, Transport Protocol, Description"),
        (b"", "no column Service Name"),
        (HEADER.encode() + b",0,tcp,Reserved,,,,,,,,\n", "no registered port among 1 rows"),
        (HEADER.encode() + b"caf\xe9,80,tcp,,,,,,,,,\n", "is not UTF-8"),
        (None, "No such file"),
    ],
)
def test_what_is_no_registry_is_refused(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "mine.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"mine\.csv cannot be used") as refused:
        registry.read(str(path))
    assert found in (refused.value.found or "")


def test_the_registry_that_ships_is_iana_s() -> None:
    if not IANA.exists():
        pytest.skip("the shared data are not here")
    with IANA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shipped = registry.read()
    named = [
        (row["Service Name"], row["Port Number"], row["Transport Protocol"])
        for row in rows
        if row["Service Name"] and row["Port Number"] and row["Transport Protocol"]
    ]
    numbers = {number: name for name, number in registry.PROTOCOLS.items()}
    assert named == [
        (r.name, str(r.first) if r.first == r.last else f"{r.first}-{r.last}", numbers[r.protocol])
        for r in shipped.registrations
    ]
    read = registry.read(str(IANA))
    assert len(read.registrations) + sum(read.skipped.values()) == len(rows) == 14_474
    text = files("subsight.enrich.classification").joinpath("registry.csv").read_text(encoding="utf-8")
    assert text == registry.compact(read)


@pytest.mark.parametrize(
    ("port", "protocol", "name"),
    [(53, 17, "domain"), (443, 6, "https"), (443, 17, "https"), (514, 6, "shell"), (514, 17, "syslog"),
     (5060, 132, "sip"), (5004, 33, "avt-profile-1"), (6010, 6, "x11")],
)  # fmt: skip
def test_known_ports_are_in_the_registry_that_ships(port: int, protocol: int, name: str) -> None:
    found = [
        r.name for r in registry.read().registrations if r.protocol == protocol and r.first <= port <= r.last
    ]
    assert name in found
