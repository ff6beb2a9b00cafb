"""What the service says of itself: the OpenAPI document, and a page of it that needs no other site."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.lifecycle.segmentation import Input, Segmenter
from subsight.surfaces.api.fields import IDENTIFIER, LONGEST, PROFILE_MODELS, SUBSCRIBER, largest
from subsight.surfaces.api.live import IDENTITY, Champion, Champions
from subsight.surfaces.api.segments import FORMS, bounds, takes_number
from subsight.surfaces.api.survey import INSTANT, PREDICTION

__all__ = ["DESCRIBED", "page", "schemas", "show_segments"]

_Schema = dict[str, Any]

_WHO: Final = {
    "type": ["string", "null"],
    "pattern": f"^{IDENTIFIER}$",
    "description": "A pseudonym, or a clear MSISDN, which becomes its pseudonym before anything is kept.",
}
_TEXT: Final = {"type": ["string", "null"], "maxLength": LONGEST}
_WORD: Final = {"type": ["string", "null"]}
_MEANINGS: Final = {
    "behaviour": "The prediction is a satisfaction score.",
    "feedback": "The prediction is the expected survey answer as a share of its scale, 0 to 1.",
}
_SCORE: Final = {
    "type": "number",
    "description": "Of identity and behaviour a satisfaction score; of feedback the expected answer, 0 to 1.",
}
_PREDICTED: Final = {"model": {"type": "string"}, "version": {"type": "integer"}, "id": {"type": "string"}}


def _object(properties: Mapping[str, _Schema], *, more: bool = False) -> _Schema:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: _Schema) -> _Schema:
    return {"application/json": {"schema": schema}}


def _ok(description: str, content: _Schema) -> _Schema:
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


def _errors(*statuses: str) -> _Schema:
    common = ("401", "403", "421", "429", "503")
    return {
        status: {"description": _ERRORS[status], "content": _json(_ref("Error"))}
        for status in sorted({*common, *statuses})
    }


_BODY_ERRORS: Final = ("400", "408", "413", "415", "422")
_EXAMPLE: Final = {"engagement_score": 0.8, "experience_score": 0.7}

_ANSWER: Final = {
    SUBSCRIBER: "+33 6 31 49 24 74",
    "answered_at": "2026-04-01T12:00:00Z",
    "csat": 4,
}

_SUBSCRIBER_ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "A clear MSISDN, or a pseudonym.",
}
_FORM: Final = {
    "name": "inputs",
    "in": "query",
    "required": True,
    "schema": {"type": "string", "enum": list(FORMS)},
    "description": "raw: values as they were recorded; standardised: z-scores by the model's own means.",
    "example": "raw",
}

# By address: what FastAPI cannot read from endpoints that take the request as it is.
DESCRIBED: Final[Mapping[str, _Schema]] = {
    "/predict": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("Row"), "example": _EXAMPLE}},
        },
        "responses": _ok("The predicted satisfaction.", _json(_ref("Prediction"))) | _errors(*_BODY_ERRORS),
    },
    "/predict/batch": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("Batch"), "example": [_EXAMPLE]},
                "text/csv": {
                    "schema": {"type": "string", "description": "A header of fields, then rows."},
                    "example": "engagement_score,experience_score\n0.8,0.7\n",
                },
            },
        },
        "responses": _ok("Predictions in the order of the rows.", _json(_ref("Predictions")))
        | _errors(*_BODY_ERRORS),
    },
    "/segments/predict": {
        "parameters": [_FORM],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("Segmented")},
                "text/csv": {
                    "schema": {"type": "string", "description": "A header of fields, then rows."},
                },
            },
        },
        "responses": _ok("The segment, or those of all rows in their order.", _json(_ref("Segment")))
        | _errors(*_BODY_ERRORS),
    },
    "/feedback": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("Answer"), "example": _ANSWER}},
        },
        "responses": {
            "201": {
                "description": "The answer is kept.",
                "content": _json(_object({"status": {"type": "string"}})),
            }
        }
        | _errors(*_BODY_ERRORS),
    },
    "/monitoring": {
        "responses": _ok("What the last look saw.", _json(_object({"at": {"type": "string"}}, more=True)))
        | _errors("404")
    },
    "/subscribers/{id}": {
        "parameters": [_SUBSCRIBER_ID],
        "responses": _ok("Profile and scores in the current run.", _json(_ref("Subscriber")))
        | _errors("404"),
    },
    "/subscribers/{id}/segment": {
        "parameters": [_SUBSCRIBER_ID],
        "responses": _ok("The segment in the current run.", _json(_ref("SubscriberSegment")))
        | _errors("404"),
    },
    "/health": {"responses": _ok("The process answers.", _json(_object({"status": {"type": "string"}})))},
    "/ready": {
        "responses": _ok("Predictions can be made.", _json(_ref("Ready")))
        | {"503": {"description": "Not yet, and why.", "content": _json(_ref("Error"))}}
    },
    "/metrics": {
        "responses": _ok("Prometheus's text format.", {"text/plain": {"schema": {"type": "string"}}})
        | _errors()
    },
    "/model": {"responses": _ok("The champions and their cards.", _json(_ref("Models"))) | _errors()},
}


def schemas(champions: Champions) -> dict[str, _Schema]:
    """The schemas of requests, as the present champions take them, and of answers."""
    rows = {"Identity": _identity()}
    for model in PROFILE_MODELS:
        if champion := champions.by_model.get(model):
            rows[model.capitalize()] = _profile(champion)
    names = list(rows)
    error = dict.fromkeys(("what", "found", "expected", "do", "field"), _WORD)
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        **rows,
        "Row": {"anyOf": [_ref(name) for name in names]},
        "Batch": {
            "anyOf": [
                *({"type": "array", "minItems": 1, "items": _ref(name)} for name in names),
                *(_columns(rows[name]) for name in names),
            ],
            "description": "Rows, or columns of equal length.",
        },
        "Prediction": _object({"satisfaction_score": _SCORE, **_PREDICTED}),
        "Predictions": _object({"satisfaction_score": {"type": "array", "items": _SCORE}, **_PREDICTED}),
        "Subscriber": _object({SUBSCRIBER: {"type": "string"}}, more=True),
        "Answer": _answer(),
        "Ready": _object({"status": {"type": "string"}, "models": {"type": "object"}, "troubles": texts}),
        "Models": _object({"models": {"type": "object"}, "troubles": texts}),
        "Error": _object({"error": _object({**error, "row": {"type": ["integer", "null"]}})}),
    }


def _profile(champion: Champion) -> _Schema:
    known = champion.predictor.fields
    properties = {name: _nullable(name) if name in champion.numbers else _TEXT for name in known}
    return {
        "type": "object",
        "properties": {**properties, SUBSCRIBER: _WHO},
        "anyOf": [{"required": [name]} for name in known],
        "additionalProperties": False,
        "description": "Some fields of a profile; a number that is null or absent counts as the mean. "
        f"{_MEANINGS[champion.name]}",
    }


def show_segments(document: dict[str, Any], segmenter: Segmenter | None) -> None:
    """Adds what the present segmentation takes and answers to an OpenAPI document."""
    found = document["components"]["schemas"]
    inputs = segmenter.inputs if segmenter else ()
    rows = {f"Segmented{form.capitalize()}": _segmented(inputs, form) for form in FORMS}
    every = [*map(_ref, rows), *({"type": "array", "minItems": 1, "items": _ref(name)} for name in rows)]
    described = "As the parameter inputs says: one object, an array of them, or columns of equal length."
    columns = [_columns(row) for row in rows.values()]
    found |= rows | {"Segmented": {"anyOf": [*every, *columns], "description": described}}
    number: _Schema = {"type": "integer", "minimum": 0}
    name: _Schema = {"type": "string", **({"enum": list(segmenter.names)} if segmenter else {})}
    model = {**_PREDICTED, "version": {"type": "string", "description": "The run that it comes from."}}
    many = {"segment": {"type": "array", "items": number}, "name": {"type": "array", "items": name}}
    found["Segment"] = {"anyOf": [_object({"segment": number, "name": name, **model}), _object(many | model)]}
    maybe = {"type": ["number", "null"]}
    found["SubscriberSegment"] = _object(
        {
            SUBSCRIBER: {"type": "string"},
            "segment": {
                "type": ["integer", "null"],
                "description": "Null where the subscriber lacks an input.",
            },
            "segment_name": _WORD,
            "distance": maybe,
            "runner_up_name": _WORD,
            "runner_up_distance": maybe,
            "lacking": _WORD,
            "distances": {"type": ["object", "null"], "description": "By segment, in z units."},
            "deciding": {
                "type": ["array", "null"],
                "description": "Each input's part of what the runner-up is farther away, in squared z units.",
            },
            "inputs": {"type": "object"},
            "model": {"type": "string"},
            "version": {"type": "string"},
        }
    )
    content = document["paths"]["/segments/predict"]["post"]["requestBody"]["content"]
    example = {one.name: _usual(one, segmenter) for one in inputs} if segmenter else {}
    csv = f"{','.join(example)}\n{','.join(map(str, example.values()))}\n"
    # Copied: the description is shared by all documents of the process.
    for kind, shown in (("application/json", example), ("text/csv", csv)):
        content[kind] = {**content[kind], "example": shown}


def _segmented(inputs: Sequence[Input], form: str) -> _Schema:
    properties: dict[str, _Schema] = {}
    for one in inputs:
        if takes_number(one, form):
            low, high = bounds(one, form)
            properties[one.name] = {"type": "number", "minimum": low, "maximum": high}
        else:
            known: _Schema = {"maxLength": LONGEST} if one.is_open else {"enum": list(one.levels)}
            properties[one.name] = {"type": "string", **known}
    return {**_object(properties), "properties": {**properties, SUBSCRIBER: _WHO}}


def _usual(one: Input, segmenter: Segmenter) -> float | str:
    """The mean of a number, some level of a text."""
    if not one.is_number:
        return one.levels[0]
    mean = segmenter.record["parameters"]["mean"][segmenter.record["features"].index(one.name)]
    return round(max(float(mean), 0.0), 3)


def _answer() -> _Schema:
    """One scale and not the other; null is as good as absent."""
    scales = {"csat": (1, 5), "nps": (0, 10)}
    whole = {
        name: {"type": "integer", "minimum": low, "maximum": high} for name, (low, high) in scales.items()
    }
    shared = {
        SUBSCRIBER: {**_WHO, "type": "string"},
        "answered_at": {"type": "string", "format": "date-time", "pattern": f"^{INSTANT}$"},
        "prediction_id": {"type": ["string", "null"], "pattern": f"^{PREDICTION}$"},
    }
    return {
        "type": "object",
        "oneOf": [
            {
                "properties": {**shared, name: whole[name]},
                "required": [SUBSCRIBER, "answered_at", name],
                "additionalProperties": False,
            }
            for name in whole
        ],
    }


def _identity() -> _Schema:
    scores = {name: _number(name) for name in IDENTITY}
    return {**_object(scores), "properties": {**scores, SUBSCRIBER: _WHO}}


def _number(name: str) -> _Schema:
    return {"type": "number", "minimum": 0, "maximum": largest(name)}


def _nullable(name: str) -> _Schema:
    return {**_number(name), "type": ["number", "null"]}


def _columns(row: _Schema) -> _Schema:
    properties = {
        name: {"type": "array", "minItems": 1, "items": schema} for name, schema in row["properties"].items()
    }
    return {**row, "properties": properties}


def page(document: Mapping[str, Any]) -> str:
    """The document as a page: addresses, examples, schemas; no script, no other site."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("subsight.surfaces.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
    return environment.get_template("docs.html.jinja").render(document=document)
