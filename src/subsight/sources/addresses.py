"""Addresses of records: each distinct one is read, judged and keyed once, whatever the number of records."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

import narwhals as nw

from subsight.errors import ConfigurationError
from subsight.settings import Settings
from subsight.store import Address, Frame, OrderHash, Pseudonym, Scalar, Store, Text

__all__ = ["known", "ranges"]

_MAPPED: Final = 0xFFFF << 32


def known(store: Store, frame: Frame, columns: Sequence[str], settings: Settings, key: bytes) -> Frame:
    """The distinct texts of some columns, as they stand there, and what each is as an address.

    Returns:
        `text`; `is_missing`, whether it is empty or a word for that; `address`, the 128 bits in hex, null
        where it is none; `is_customer`, whether it lies in one of `customer_networks`; `address_key`, its
        pseudonym, which is the address itself where `identifiers` is `clear`; `address_hash`, which breaks
        ties.

    Raises:
        ConfigurationError: a network is none.
    """
    inside = _within(settings.customer_networks)
    texts = [frame.select(text=nw.col(name)).filter(~nw.col("text").is_null()) for name in columns]
    distinct = nw.concat(texts).group_by("text").agg(count=nw.len()).select("text")
    # Few texts: a look at each of them costs less than at each record.
    found = store.derive(store.keep(distinct), {"given": Text("text"), "address": Address("text")})
    keyed = nw.concat_str(nw.lit("address:"), nw.col("address"))
    found = found.with_columns(is_missing=nw.col("given").is_null(), is_customer=inside, keyed=keyed)
    found = store.keep(found.drop("given"))
    scalars: dict[str, Scalar] = {"address_hash": OrderHash("keyed")}
    if settings.identifiers == "pseudonymous":
        scalars["address_key"] = Pseudonym("keyed", key)
        return store.keep(store.derive(found, scalars).drop("keyed"))
    found = store.derive(found, scalars).with_columns(address_key=nw.col("address"))
    return store.keep(found.drop("keyed"))


def _within(networks: Sequence[str]) -> Any:
    """Whether `address` lies in one of the networks: texts of one width compare as numbers do."""
    address = nw.col("address")
    parts = [(address >= nw.lit(low)) & (address <= nw.lit(high)) for low, high in ranges(networks)]
    return nw.any_horizontal(*parts, ignore_nulls=True) if parts else nw.lit(value=False)


def ranges(networks: Sequence[str]) -> list[tuple[str, str]]:
    """First and last address of networks in CIDR form, as hex text; IPv4 mapped.

    Raises:
        ConfigurationError: one is no network.

    >>> ranges(["10.1.0.0/16"])
    [('00000000000000000000ffff0a010000', '00000000000000000000ffff0a01ffff')]
    """
    found = []
    for text in networks:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise ConfigurationError(
                "a customer network is none", found=text, expected="CIDR such as 10.0.0.0/8", do=str(error)
            ) from error
        base = _MAPPED if network.version == 4 else 0
        ends = (int(network.network_address), int(network.broadcast_address))
        found.append((f"{base + ends[0]:032x}", f"{base + ends[1]:032x}"))
    return found
