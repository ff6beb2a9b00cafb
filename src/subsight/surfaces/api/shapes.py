"""The pieces that the descriptions of the service are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "BODY_ERRORS",
    "PREDICTED",
    "SUBSCRIBER_ID",
    "WORD",
    "Schema",
    "answered",
    "errors",
    "in_json",
    "object_of",
    "ref",
]

Schema = dict[str, Any]

WORD: Final = {"type": ["string", "null"]}
PREDICTED: Final = {"model": {"type": "string"}, "version": {"type": "integer"}, "id": {"type": "string"}}


SUBSCRIBER_ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "A clear MSISDN, or a pseudonym.",
}


def object_of(properties: Mapping[str, Schema], *, more: bool = False) -> Schema:
    """An object of exactly these fields, or, with `more`, of at least these."""
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def ref(name: str) -> Schema:
    """A schema of the document by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def in_json(schema: Schema) -> Schema:
    """The content of a body in JSON."""
    return {"application/json": {"schema": schema}}


def answered(description: str, content: Schema) -> Schema:
    """The responses of an answer with status 200."""
    return {"200": {"description": description, "content": content}}


_ERRORS: Final = {
    "400": "the body is no JSON or CSV",
    "401": "no key, or one that is not known",
    "403": "the key has not the role",
    "404": "there is no such subscriber",
    "408": "the body did not arrive in time",
    "413": "the body is too large",
    "415": "the body is of another media type",
    "421": "without keys: the request was for another host name",
    "422": "a field is missing, unknown, of the wrong type or out of range",
    "429": "too many requests; Retry-After says when to ask again",
    "503": "no such model answers yet, too many requests at the same time, or the audit log is behind",
}


def errors(*statuses: str) -> Schema:
    """The responses of refusals: those that any address gives, and these."""
    common = ("401", "403", "421", "429", "503")
    return {
        status: {"description": _ERRORS[status], "content": in_json(ref("Error"))}
        for status in sorted({*common, *statuses})
    }


BODY_ERRORS: Final = ("400", "408", "413", "415", "422")
