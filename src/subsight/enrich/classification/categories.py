"""The closed list of categories, and what services, labels and protocols are: read from one shipped file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["OTHER", "OTHER_REGISTERED", "UNKNOWN", "Categories", "Label", "shipped"]

UNKNOWN = "Unknown"
OTHER = "Other"
OTHER_REGISTERED = "Other registered"


@dataclass(frozen=True)
class Label:
    """What one part of an inspection label is.

    `service` is null where the part itself names it, `category` null where only the inspection tells it.
    """

    service: str | None = None
    category: str | None = None
    is_decided: bool = False
    is_lookup: bool = False


@dataclass(frozen=True)
class Categories:
    """The shipped table, its names in lower case.

    Attributes:
        applications: per category of the closed list, the application of the xDR studies.
        methods: per way in which a label was found, method and confidence.
        unlabelled: labels that say that nothing was recognised.
        inspection: category per category name of deep packet inspection.
        labels: what the parts of inspection labels are.
        services: category per service name of IANA's registry.
        lying: ports that carry much else than what they are registered for.
        reliable: registered services whose user port carries what it is registered for.
        protocols: name and category per number of a protocol without ports.
    """

    applications: Mapping[str, str]
    methods: Mapping[str, tuple[str, str]]
    unlabelled: frozenset[str]
    inspection: Mapping[str, str]
    labels: Mapping[str, Label]
    services: Mapping[str, str]
    lying: frozenset[int]
    reliable: frozenset[str]
    protocols: Mapping[int, tuple[str, str]]


@cache
def shipped() -> Categories:
    """The table that ships with Subsight.

    >>> from subsight.enrich.classification.categories import shipped
    >>> shipped().services["domain"], shipped().applications["Music"], shipped().protocols[47]
    ('Network services', 'Streaming', ('GRE', 'VPN and tunnels'))
    """
    text = files(__package__).joinpath("categories.toml").read_text(encoding="utf-8")
    told = tomllib.loads(text)
    return Categories(
        applications=told["categories"],
        methods={name.lower(): (method, surely) for name, (method, surely) in told["methods"].items()},
        unlabelled=frozenset(name.lower() for name in told["unlabelled"]["labels"]),
        inspection=_turned(told["inspection_categories"]),
        labels=_labels(told),
        services=_turned(told["services"]),
        lying=frozenset(told["lying"]["ports"]),
        reliable=frozenset(name.lower() for name in told["reliable"]["services"]),
        protocols={
            int(number): (name, category)
            for category, numbers in told["protocols"].items()
            for number, name in numbers.items()
        },
    )


def _turned(lists: Mapping[str, list[str]]) -> dict[str, str]:
    return {name.lower(): key for key, names in lists.items() for name in names}


def _labels(told: Mapping[str, Any]) -> dict[str, Label]:
    categories, decided = _turned(told["labels"]), _turned(told["decided"])
    services = _turned(told["same_service"])
    lookups = {name.lower() for name in told["lookups"]["labels"]}
    return {
        name: Label(
            services.get(name), decided.get(name, categories.get(name)), name in decided, name in lookups
        )
        for name in sorted({*categories, *decided, *services, *lookups})
    }
