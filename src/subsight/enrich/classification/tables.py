"""The small tables that flows are joined with: ports, rules and labels, made once from their sources."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from subsight.enrich.classification import registry as registries
from subsight.enrich.classification import rules as operator
from subsight.enrich.classification.categories import OTHER_REGISTERED, Categories, shipped
from subsight.enrich.classification.registry import PROTOCOLS, Registration, Registry
from subsight.enrich.classification.rules import Rule

__all__ = ["PORT_KEY", "Tables", "tables"]

PORT_KEY: Final = 65_536
"""A port's key is its protocol times this, plus the port; of a protocol without ports plus 0."""

_LISTED_PORTS: Final = 4_096
"""Rules of more ports than these are compared, not listed port by port."""


@dataclass(frozen=True, repr=False)
class Tables:
    """What classification asks, in this order: labels, rules, ports.

    Attributes:
        ports: per `key` (see `PORT_KEY`) what IANA registered or a rule says, with `rule` the position of
            that rule; null where IANA's.
        compared: the positions of rules that are compared row by row: of hosts, or of many ports.
        rules: the operator's rules in their order.
        registry: the registry, with its date and what was left out of it.
        digest: a text that changes when any rule, registration or category does.
    """

    ports: tuple[Mapping[str, Any], ...]
    compared: tuple[int, ...]
    rules: tuple[Rule, ...]
    registry: Registry
    digest: str


def tables(rules_file: str = "", registry_file: str = "") -> Tables:
    """The tables of an operator's rules and of a port registry; of no file, no rules and the one that ships.

    Raises:
        ConfigurationError: a file is missing or not understood.

    >>> from subsight.enrich.classification import tables
    >>> [row["service"] for row in tables().ports if row["key"] == 17 * 65536 + 514]
    ['syslog']
    """
    rules, registry, categories = operator.read(rules_file), registries.read(registry_file), shipped()
    rows = {row["key"]: row for row in _registered(registry, categories)}
    rows |= {
        PORT_KEY * number: _row(PORT_KEY * number, name, category, "port", "sure")
        for number, (name, category) in categories.protocols.items()
    }
    compared = tuple(position for position, rule in enumerate(rules) if _is_compared(rule))
    # The first rule wins: it is written last.
    for position in reversed(range(len(rules))):
        if position not in compared:
            rows |= {row["key"]: row for row in _ruled(position, rules[position])}
    ports = tuple(rows[key] for key in sorted(rows))
    told = repr((ports, rules, registry.date, registry.registrations, _plain(categories)))
    return Tables(ports, compared, rules, registry, hashlib.sha256(told.encode()).hexdigest()[:16])


def _row(
    key: int, service: str, category: str, method: str, confidence: str, rule: int | None = None
) -> dict[str, Any]:
    return {
        "key": key,
        "service": service,
        "category": category,
        "application_group": shipped().applications[category],
        "method": method,
        "confidence": confidence,
        "rule": rule,
    }


def _registered(registry: Registry, categories: Categories) -> Iterator[dict[str, Any]]:
    """One row a port and protocol; of several names the first that has a category, else the first."""
    found: dict[int, Registration] = {}
    for registration in registry.registrations:
        is_known = registration.name.lower() in categories.services
        for port in range(registration.first, registration.last + 1):
            key = PORT_KEY * registration.protocol + port
            held = found.get(key)
            if held is None or (is_known and held.name.lower() not in categories.services):
                found[key] = registration
    for key, registration in found.items():
        category = categories.services.get(registration.name.lower(), OTHER_REGISTERED)
        confidence = _confidence(key % PORT_KEY, registration.name, categories)
        yield _row(key, registration.name, category, "port", confidence)


def _confidence(port: int, name: str, categories: Categories) -> str:
    if port in categories.lying:
        return "guess"
    return "likely" if port < 1024 or name.lower() in categories.reliable else "guess"


def _is_compared(rule: Rule) -> bool:
    has_ports = any(protocol in PROTOCOLS.values() for protocol in rule.protocols)
    many = sum(last - first + 1 for first, last in rule.ports) > _LISTED_PORTS
    return bool(rule.hosts) or many or (has_ports and not rule.ports)


def _ruled(position: int, rule: Rule) -> Iterator[dict[str, Any]]:
    protocols = rule.protocols or tuple(PROTOCOLS.values())
    for protocol in protocols:
        for first, last in rule.ports or ((0, 0),):
            for port in range(first, last + 1):
                key = PORT_KEY * protocol + port
                yield _row(key, rule.name, rule.category, "rule", rule.confidence, position)


def _plain(categories: Categories) -> list[tuple[str, Any]]:
    """The same text for the same categories, whatever order sets are kept in."""
    return [
        (name, sorted(value) if isinstance(value, frozenset) else sorted(value.items()))
        for name, value in sorted(vars(categories).items())
    ]
