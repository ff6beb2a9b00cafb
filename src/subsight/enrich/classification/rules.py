"""The operator's own rules: what a port, a protocol or a host is, before IANA is asked."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from subsight.enrich.classification.categories import shipped
from subsight.enrich.classification.registry import PROTOCOLS
from subsight.errors import ConfigurationError

__all__ = ["Rule", "parse", "read"]

_KEYS: Final = ("name", "category", "port", "protocol", "host", "confidence")
_CONFIDENCES: Final = ("sure", "likely", "guess")


@dataclass(frozen=True)
class Rule:
    """A service by ports, protocols and hosts; what is empty asks for nothing.

    `ports` are ranges of the service's port, `protocols` IANA numbers, `hosts` ranges of addresses as 32 hex
    digits. All ranges hold both their ends.
    """

    name: str
    category: str
    confidence: str
    ports: tuple[tuple[int, int], ...] = ()
    protocols: tuple[int, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()


def read(path: str) -> tuple[Rule, ...]:
    """The rules of a TOML file in their order; of no path, none. See `parse`.

    Raises:
        ConfigurationError: the file is missing, is no TOML, or a rule in it is not understood.
    """
    if not path:
        return ()
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    return parse(text, path)


def parse(text: str, path: str = "of services") -> tuple[Rule, ...]:
    """The rules of a TOML text: tables `[[rules]]` with `name`, `category` and at least one condition.

    Conditions, of which all that are given must hold: `port` (a number, a range as text, or a list of them),
    `protocol` (a name, an IANA number, or a list), `host` (an address or CIDR block, IPv4 or IPv6, or a
    list). `confidence` may be given: likely where it is not.

    Raises:
        ConfigurationError: naming the rule by its number, what was found and what is expected.

    >>> from subsight.enrich.classification import rules
    >>> text = '[[rules]]\\nname = "Till"\\ncategory = "Web"\\nport = "8000-8010"\\nprotocol = "tcp"'
    >>> rules.parse(text)[0].ports, rules.parse(text)[0].protocols
    (((8000, 8010),), (6,))
    """
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(path, str(error)) from error
    if unknown := sorted(set(told) - {"rules"}):
        raise _unreadable(path, f"the key {unknown[0]}")
    rules = told.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise _unreadable(path, f"rules = {rules!r}")
    return tuple(_rule(_Place(path, number), rule) for number, rule in enumerate(rules, start=1))


@dataclass(frozen=True)
class _Place:
    """Where a rule stands, for what is said of it."""

    path: str
    number: int

    def error(self, key: str, found: object, expected: str) -> ConfigurationError:
        return ConfigurationError(
            f"{key} of rule {self.number} in the rules {self.path} is not understood",
            found=repr(found),
            expected=expected,
            do="correct the rule; docs/classification.md shows each kind",
        )


def _unreadable(path: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"the rules {path} cannot be read",
        found=found,
        expected="a TOML file of [[rules]], each with a name, a category and a port, protocol or host",
        do="correct the file, or leave the setting out",
    )


def _rule(place: _Place, told: Mapping[str, Any]) -> Rule:
    if unknown := sorted(set(told) - set(_KEYS)):
        raise place.error("a key", unknown[0], ", ".join(_KEYS))
    name, category = told.get("name"), told.get("category")
    if not isinstance(name, str) or not name.strip():
        raise place.error("name", name, "the name of a service, such as Billing")
    if not isinstance(category, str) or category not in shipped().applications:
        raise place.error("category", category, f"one of {', '.join(shipped().applications)}")
    confidence = told.get("confidence", "likely")
    if confidence not in _CONFIDENCES:
        raise place.error("confidence", confidence, " or ".join(_CONFIDENCES))
    rule = Rule(
        name.strip(),
        category,
        confidence,
        tuple(_ports(place, port) for port in _list(place, "port", told)),
        tuple(_protocol(place, protocol) for protocol in _list(place, "protocol", told)),
        tuple(_host(place, host) for host in _list(place, "host", told)),
    )
    if not (rule.ports or rule.protocols or rule.hosts):
        raise place.error("a condition", dict(told), "a port, a protocol or a host")
    if rule.ports and (bad := [p for p in rule.protocols if p not in PROTOCOLS.values()]):
        raise place.error("port", f"protocol {bad[0]}", f"ports of {', '.join(PROTOCOLS)} only")
    return rule


def _list(place: _Place, key: str, told: Mapping[str, Any]) -> list[Any]:
    value = told.get(key)
    if value == []:
        raise place.error(key, value, f"at least one {key}, or no such key")
    return value if isinstance(value, list) else [] if value is None else [value]


def _ports(place: _Place, port: object) -> tuple[int, int]:
    low, dash, high = str(port).partition("-")
    ends = [end.strip() for end in ((low, high) if dash else (low, low))]
    if not isinstance(port, int | str) or not all(end.isascii() and end.isdigit() for end in ends):
        raise place.error("port", port, 'a number such as 8080, or a range such as "8000-8100"')
    first, last = (int(end) for end in ends)
    if not 0 < first <= last <= 65_535:
        raise place.error("port", port, "ports from 1 to 65535, the lower first")
    return first, last


def _protocol(place: _Place, protocol: object) -> int:
    names = {name.lower(): number for number, (name, _) in shipped().protocols.items()} | PROTOCOLS
    if isinstance(protocol, str) and protocol.lower() in names:
        return names[protocol.lower()]
    if isinstance(protocol, int) and not isinstance(protocol, bool) and 0 <= protocol <= 255:
        return protocol
    raise place.error("protocol", protocol, "tcp, udp, sctp, dccp, icmp, gre, esp, ..., or an IANA number")


def _host(place: _Place, host: object) -> tuple[str, str]:
    if not isinstance(host, str):
        raise place.error("host", host, 'an address or block as text, such as "203.0.113.0/24"')
    try:
        block = ipaddress.ip_network(host.strip())
    except ValueError as error:
        raise place.error("host", host, f"an address or CIDR block ({error})") from error
    return _hex(block.network_address), _hex(block.broadcast_address)


def _hex(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = 0xFFFF_0000_0000 if address.version == 4 else 0
    return f"{mapped | int(address):032x}"
