"""Which columns of a file of usage, offers or purchases are which, by their names."""

from __future__ import annotations

from collections.abc import Mapping as Map
from typing import Final

from subsight.sources.files import InputFile
from subsight.sources.flow_columns import by_names
from subsight.sources.inspection import Choice
from subsight.tables import CONTRACTS

__all__ = ["choose"]

_NAMES: Final[Map[str, str]] = {
    "subscriber_id": "subscriberid subscriber msisdn customer_id",
    "policies": "dpipolicy",
    "contents": "contenttype",
    "protocols": "ipprotocol",
    "applications": "appname",
    "ul_bytes": "bytesfromclient",
    "dl_bytes": "bytesfromserver",
    "session_count": "sessions_count",
    "duration_s": "transactionduration transationduration",
    "offer_id": "offerid",
}
"""Headers of the usage table that offer systems exchange; one is misspelt there."""


def choose(file: InputFile, table: str) -> Choice:
    """The mapping of a file of the table `dpi_usage`, `offers` or `purchases` by the names of its columns.

    Raises:
        MappingError: a required column has no name that is known; the error holds a mapping to complete.
    """
    return by_names(file, CONTRACTS[table], _NAMES)
