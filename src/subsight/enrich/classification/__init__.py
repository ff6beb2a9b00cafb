"""What a flow is: its service and category, how that is known, and how surely.

The order is decided on purpose: a label of deep packet inspection, the operator's own rules, what a probe
guessed, IANA's registry by port and protocol, unknown. `docs/classification.md` tells the whole of it.
"""

from __future__ import annotations

from subsight.enrich.classification.services import UNKNOWN_CODE, coded, with_services
from subsight.enrich.classification.tables import Tables, tables

__all__ = ["UNKNOWN_CODE", "Tables", "coded", "tables", "with_services"]
