"""What the service says of itself: the OpenAPI document, and a page of it that needs no other site."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.lifecycle.segmentation import Input, Segmenter
from subsight.surfaces.api.fields import IDENTIFIER, LONGEST, PROFILE_MODELS, SUBSCRIBER, largest
from subsight.surfaces.api.live import IDENTITY, Champion, Champions
from subsight.surfaces.api.segments import FORMS, bounds, takes_number
from subsight.surfaces.api.shapes import (
    BODY_ERRORS,
    PREDICTED,
    SUBSCRIBER_ID,
    WORD,
    Schema,
    answered,
    errors,
    in_json,
    object_of,
    ref,
)
from subsight.surfaces.api.survey import INSTANT, PREDICTION

__all__ = ["DESCRIBED", "page", "schemas", "show_segments"]

_WHO: Final = {
    "type": ["string", "null"],
    "pattern": f"^{IDENTIFIER}$",
    "description": "A pseudonym, or a clear MSISDN, which becomes its pseudonym before anything is kept.",
}
_TEXT: Final = {"type": ["string", "null"], "maxLength": LONGEST}
_SAID: Final = {"type": "string"}
_MEANINGS: Final = {
    "behaviour": "The prediction is a satisfaction score.",
    "feedback": "The prediction is the expected survey answer as a share of its scale, 0 to 1.",
}
_SCORE: Final = {
    "type": "number",
    "description": "Of identity and behaviour a satisfaction score; of feedback the expected answer, 0 to 1.",
}
_EXAMPLE: Final = {"engagement_score": 0.8, "experience_score": 0.7}

_ANSWER: Final = {
    SUBSCRIBER: "+33 6 31 49 24 74",
    "answered_at": "2026-04-01T12:00:00Z",
    "csat": 4,
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
DESCRIBED: Final[Mapping[str, Schema]] = {
    "/predict": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("Row"), "example": _EXAMPLE}},
        },
        "responses": answered("The predicted satisfaction.", in_json(ref("Prediction")))
        | errors(*BODY_ERRORS),
    },
    "/predict/batch": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ref("Batch"), "example": [_EXAMPLE]},
                "text/csv": {
                    "schema": {"type": "string", "description": "A header of fields, then rows."},
                    "example": "engagement_score,experience_score\n0.8,0.7\n",
                },
            },
        },
        "responses": answered("Predictions in the order of the rows.", in_json(ref("Predictions")))
        | errors(*BODY_ERRORS),
    },
    "/segments/predict": {
        "parameters": [_FORM],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ref("Segmented")},
                "text/csv": {
                    "schema": {"type": "string", "description": "A header of fields, then rows."},
                },
            },
        },
        "responses": answered("The segment, or those of all rows in their order.", in_json(ref("Segment")))
        | errors(*BODY_ERRORS),
    },
    "/feedback": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("Answer"), "example": _ANSWER}},
        },
        "responses": {
            "201": {
                "description": "The answer is kept.",
                "content": in_json(object_of({"status": _SAID})),
            }
        }
        | errors(*BODY_ERRORS),
    },
    "/monitoring": {
        "responses": answered("What the last look saw.", in_json(object_of({"at": _SAID}, more=True)))
        | errors("404")
    },
    "/subscribers/{id}": {
        "parameters": [SUBSCRIBER_ID],
        "responses": answered("Profile and scores in the current run.", in_json(ref("Subscriber")))
        | errors("404"),
    },
    "/subscribers/{id}/segment": {
        "parameters": [SUBSCRIBER_ID],
        "responses": answered("The segment in the current run.", in_json(ref("SubscriberSegment")))
        | errors("404"),
    },
    "/health": {"responses": answered("The process answers.", in_json(object_of({"status": _SAID})))},
    "/ready": {
        "responses": answered("Predictions can be made.", in_json(ref("Ready")))
        | {"503": {"description": "Not yet, and why.", "content": in_json(ref("Error"))}}
    },
    "/metrics": {
        "responses": answered("Prometheus's text format.", {"text/plain": {"schema": {"type": "string"}}})
        | errors()
    },
    "/model": {"responses": answered("The champions and their cards.", in_json(ref("Models"))) | errors()},
}


def schemas(champions: Champions) -> dict[str, Schema]:
    """The schemas of requests, as the present champions take them, and of answers."""
    rows = {"Identity": _identity()}
    for model in PROFILE_MODELS:
        if champion := champions.by_model.get(model):
            rows[model.capitalize()] = _profile(champion)
    names = list(rows)
    error = dict.fromkeys(("what", "found", "expected", "do", "field"), WORD)
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        **rows,
        "Row": {"anyOf": [ref(name) for name in names]},
        "Batch": {
            "anyOf": [
                *({"type": "array", "minItems": 1, "items": ref(name)} for name in names),
                *(_columns(rows[name]) for name in names),
            ],
            "description": "Rows, or columns of equal length.",
        },
        "Prediction": object_of({"satisfaction_score": _SCORE, **PREDICTED}),
        "Predictions": object_of({"satisfaction_score": {"type": "array", "items": _SCORE}, **PREDICTED}),
        "Subscriber": object_of({SUBSCRIBER: {"type": "string"}}, more=True),
        "Answer": _answer(),
        "Ready": object_of({"status": {"type": "string"}, "models": {"type": "object"}, "troubles": texts}),
        "Models": object_of({"models": {"type": "object"}, "troubles": texts}),
        "Error": object_of({"error": object_of({**error, "row": {"type": ["integer", "null"]}})}),
    }


def _profile(champion: Champion) -> Schema:
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
    every = [*map(ref, rows), *({"type": "array", "minItems": 1, "items": ref(name)} for name in rows)]
    described = "As the parameter inputs says: one object, an array of them, or columns of equal length."
    columns = [_columns(row) for row in rows.values()]
    found |= rows | {"Segmented": {"anyOf": [*every, *columns], "description": described}}
    number: Schema = {"type": "integer", "minimum": 0}
    name: Schema = {"type": "string", **({"enum": list(segmenter.names)} if segmenter else {})}
    model = {**PREDICTED, "version": {"type": "string", "description": "The run that it comes from."}}
    many = {"segment": {"type": "array", "items": number}, "name": {"type": "array", "items": name}}
    found["Segment"] = {
        "anyOf": [object_of({"segment": number, "name": name, **model}), object_of(many | model)]
    }
    maybe = {"type": ["number", "null"]}
    found["SubscriberSegment"] = object_of(
        {
            SUBSCRIBER: {"type": "string"},
            "segment": {
                "type": ["integer", "null"],
                "description": "Null where the subscriber lacks an input.",
            },
            "segment_name": WORD,
            "distance": maybe,
            "runner_up_name": WORD,
            "runner_up_distance": maybe,
            "lacking": WORD,
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


def _segmented(inputs: Sequence[Input], form: str) -> Schema:
    properties: dict[str, Schema] = {}
    for one in inputs:
        if takes_number(one, form):
            low, high = bounds(one, form)
            properties[one.name] = {"type": "number", "minimum": low, "maximum": high}
        else:
            known: Schema = {"maxLength": LONGEST} if one.is_open else {"enum": list(one.levels)}
            properties[one.name] = {"type": "string", **known}
    return {**object_of(properties), "properties": {**properties, SUBSCRIBER: _WHO}}


def _usual(one: Input, segmenter: Segmenter) -> float | str:
    """The mean of a number, some level of a text."""
    if not one.is_number:
        return one.levels[0]
    mean = segmenter.record["parameters"]["mean"][segmenter.record["features"].index(one.name)]
    return round(max(float(mean), 0.0), 3)


def _answer() -> Schema:
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


def _identity() -> Schema:
    scores = {name: _number(name) for name in IDENTITY}
    return {**object_of(scores), "properties": {**scores, SUBSCRIBER: _WHO}}


def _number(name: str) -> Schema:
    return {"type": "number", "minimum": 0, "maximum": largest(name)}


def _nullable(name: str) -> Schema:
    return {**_number(name), "type": ["number", "null"]}


def _columns(row: Schema) -> Schema:
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
