"""The messages of the contract, as `model.proto`, as classes and as `metadata.json`, from one description."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from subsight.lifecycle.segmentation import Segmenter

__all__ = ["FIELDS", "JSON", "METHOD", "PROTOBUF", "frame", "metadata", "predictions", "proto"]

PROTOBUF: Final = "application/vnd.google.protobuf"
JSON: Final = "application/json"
METHOD: Final = "classify"
FIELDS: Final[Mapping[str, str]] = {
    "Region": "region",
    "TENURE_Days": "tenure_days",
    "l4_ul_throughput": "ul_kilobytes",
    "l4_dl_throughput": "dl_kilobytes",
}
"""The fields of a request, by position, and the input that each is: despite their names volumes in kB."""

_PACKAGE: Final = "segments"
_IN: Final = "DataFrame"
_OUT: Final = "Predictions"
_MESSAGES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    _IN: tuple((name, "double") for name in FIELDS),
    _OUT: (("predictions", "int64"),),
}


def proto() -> str:
    """`model.proto`, as a client's protoc compiles it."""
    lines = ['syntax = "proto3";', f"package {_PACKAGE};", "", "service Model {"]
    lines += [f"  rpc {METHOD} ({_IN}) returns ({_OUT});", "}"]
    for message, fields in _MESSAGES.items():
        lines += ["", f"message {message} {{"]
        lines += [f"  repeated {kind} {name} = {i};" for i, (name, kind) in enumerate(fields, 1)]
        lines += ["}"]
    return "\n".join(lines) + "\n"


@cache
def _classes() -> dict[str, Any]:
    """The message classes, made now from the same description as `proto`: no generated code is kept."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"double": field.TYPE_DOUBLE, "int64": field.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name="model.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for number, (name, kind) in enumerate(fields, 1):
            made.field.add(name=name, number=number, type=kinds[kind], label=field.LABEL_REPEATED)
    # A pool of its own: in the common one another file of that name would be in the way.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def frame() -> Any:
    """An empty request."""
    return _classes()[_IN]()


def predictions(labels: list[int]) -> Any:
    """An answer."""
    return _classes()[_OUT](predictions=labels)


def metadata(segmenter: Segmenter, given: str) -> dict[str, Any]:
    """`metadata.json` of one segmentation, in the form of acumos.schema.model:0.6.0.

    `given` says whether inputs come raw or standardised.
    """
    names = ", ".join(f"{number} {name}" for number, name in enumerate(segmenter.names))
    trained = {one.name for one in segmenter.inputs}
    ignored = [field for field, name in FIELDS.items() if name not in trained]
    about = "Columns of equal length, a row a subscriber; throughputs are volumes in kB."
    form = "Standardised: z-scores by the means of the subscribers that it was fitted on."
    raw = "Raw: a region's number, days, kB."
    unused = f" Not trained on, accepted and ignored: {', '.join(ignored)}." if ignored else ""
    requirements = [{"name": name, "version": version(name)} for name in ("subsight", "numpy", "protobuf")]
    return {
        "schema": "acumos.schema.model:0.6.0",
        "runtime": {
            "name": "python",
            "version": ".".join(map(str, sys.version_info[:3])),
            "dependencies": {
                "pip": {"indexes": [], "requirements": requirements},
                "conda": {"channels": [], "requirements": []},
            },
        },
        "name": _PACKAGE,
        "methods": {
            METHOD: {
                "description": f"The segment of each subscriber, by the segmentation of {segmenter.version}.",
                "input": _described(_IN, f"{about} {form if given == 'standardised' else raw}{unused}"),
                "output": _described(_OUT, f"Segments by number: {names}."),
            }
        },
    }


def _described(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "media_type": [PROTOBUF, JSON], "metadata": {}, "description": description}
