"""Volume per application; the list of applications comes from the vendor's mapping."""

from __future__ import annotations

from subsight.metrics import Expression, metric, total


@metric("app_{slug}_dl_bytes", whole=True)
def application_dl_bytes(slug: str) -> Expression:
    """{name} downlink volume."""
    return total(f"app_{slug}_dl_bytes")


@metric("app_{slug}_ul_bytes", whole=True)
def application_ul_bytes(slug: str) -> Expression:
    """{name} uplink volume."""
    return total(f"app_{slug}_ul_bytes")


@metric("app_{slug}_bytes", whole=True)
def application_bytes(slug: str) -> Expression:
    """{name} volume: downlink and uplink."""
    return total(f"app_{slug}_dl_bytes") + total(f"app_{slug}_ul_bytes")
