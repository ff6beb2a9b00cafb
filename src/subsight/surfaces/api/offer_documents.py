"""What the service says of offers: their addresses, bodies and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from subsight.lifecycle.recommending import LARGEST, LONGEST, MOST_TEXTS, NAMES, NUMBERS, Offers
from subsight.surfaces.api.bodies import SUBSCRIBER
from subsight.surfaces.api.offers import VISIBLE
from subsight.surfaces.api.shapes import (
    BODY_ERRORS,
    SUBSCRIBER_ID,
    Schema,
    answered,
    errors,
    in_json,
    object_of,
    ref,
)

__all__ = ["OFFERS_DESCRIBED", "show_offers"]

_LISTS: Final = ("policies", "contents", "protocols", "applications")
_HEADERS: Final = (
    "DpiPolicy", "contentType", "IpProtocol", "appName", "bytesFromClient", "bytesFromServer",
    "sessions_count", "transationDuration",
)  # fmt: skip
"""As offer systems write them; any case will do, and the last one also spelled right."""
_EXAMPLE: Final = {
    "usage": {"contents": ["Video"], "applications": ["YouTube", "Netflix"], "ul_bytes": 2e7, "dl_bytes": 9e8}
}
_PROFILE: Final = {"usage": {"ul_bytes": 2e7, "dl_bytes": 9e8, "session_count": 40}}

OFFERS_DESCRIBED: Final[Mapping[str, Schema]] = {
    "/offers/recommend": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("OffersAsked"), "example": _EXAMPLE}},
        },
        "responses": answered("The offers of one, or of all rows in their order.", in_json(ref("OffersMade")))
        | errors("404", *BODY_ERRORS),
    },
    "/subscribers/{id}/offers": {
        "parameters": [SUBSCRIBER_ID],
        "responses": answered("The offers of one subscriber.", in_json(ref("SubscriberOffers")))
        | errors("404"),
    },
}


def show_offers(document: dict[str, Any], offers: Offers | None) -> None:
    """Adds what the present map of offers takes and answers to an OpenAPI document."""
    found = document["components"]["schemas"]
    usage = _usage(offers)
    who: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": VISIBLE}
    who["description"] = "A clear number, a customer number or a pseudonym; kept as a pseudonym only."
    by_name = object_of({SUBSCRIBER: who})
    by_usage = object_of({"usage": ref("Usage")})
    by_usage["properties"] |= {SUBSCRIBER: {**who, "type": ["string", "null"]}}
    row = {
        "anyOf": [by_name, by_usage],
        "description": "With usage, what the run knows of the subscriber counts beside it; null is nobody.",
    }
    rows = object_of({"rows": {"type": "array", "minItems": 1, "items": ref("OfferRow")}})
    one = _answer()
    shared = {name: one["properties"].pop(name) for name in ("as_of", "model", "version")}
    shared["id"] = {"type": "string", "description": "Of the record in the audit log."}
    own = one["properties"]
    single = object_of(own | shared)
    many = object_of({"rows": {"type": "array", "items": object_of(own)}, **shared})
    found |= {
        "Usage": usage,
        "OfferRow": row,
        "OffersAsked": {"anyOf": [by_name, by_usage, rows]},
        "SubscriberOffers": single,
        "OffersMade": {"anyOf": [ref("SubscriberOffers"), many]},
    }
    if offers and not offers.takes_lists:
        content = document["paths"]["/offers/recommend"]["post"]["requestBody"]["content"]
        content["application/json"] = {**content["application/json"], "example": _PROFILE}


def _usage(offers: Offers | None) -> Schema:
    texts: Schema = {
        "type": ["array", "null"],
        "maxItems": MOST_TEXTS,
        "items": {
            "type": ["string", "integer"],
            "maxLength": LONGEST,
            "minimum": -LARGEST,
            "maximum": LARGEST,
        },
    }
    number: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": LARGEST}
    canonical = offers.fields if offers else (*_LISTS, *NUMBERS)
    headers = [name for name in _HEADERS if NAMES[name.lower()] in canonical]
    forms = []
    for names in (canonical, headers):
        kinds = {name: texts if NAMES.get(name.lower(), name) in _LISTS else number for name in names}
        forms.append({
            "type": "object", "properties": kinds, "minProperties": 1, "additionalProperties": False,
        })  # fmt: skip
    return {
        "anyOf": forms,
        "description": "Canonical names, or the headers that offer systems exchange. Null is unknown, as is "
        "what is left out. Volumes in bytes, durations in seconds.",
    }


def _answer() -> Schema:
    maybe: Schema = {"type": ["number", "null"]}
    offer = object_of(
        {
            "rank": {"type": "integer", "minimum": 1},
            "offer_id": {"type": "string"},
            "score": {
                **maybe,
                "description": "Of purchases the expected share of buyers; null for a default.",
            },
            "reason": {"type": "string"},
            "is_fallback": {"type": "boolean"},
            "probability": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "The chance with which this offer was given at this rank.",
            },
        }
    )
    return object_of(
        {
            SUBSCRIBER: {"type": ["string", "null"], "description": "A pseudonym; null for nobody."},
            "outcome": {
                "type": "string",
                "description": "recommended, or why there are defaults or no offer.",
            },
            "node": {"type": ["integer", "null"], "description": "Null where too little is known."},
            "offers": {"type": "array", "items": offer, "description": "The best first."},
            "filtered": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
                "description": "By filter, in their order, the offers of the catalogue that it took away.",
            },
            "as_of": {
                "type": "string",
                "format": "date",
                "description": "The day on which the offers are valid.",
            },
            "model": {"type": "string"},
            "version": {"type": "string", "description": "The run that the map comes from."},
        }
    )
