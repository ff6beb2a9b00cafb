"""Options records: sampling rates, names of applications, when an exporter started."""

from __future__ import annotations

from typing import Any, Final

from subsight.sources.netflow.fields import role
from subsight.sources.netflow.templates import Template

__all__ = ["learn"]

_MOST: Final = 16_384
_LONGEST: Final = 256
"""Characters: what is longer is no name."""
_RATES: Final = ("samplingInterval", "samplerRandomInterval")


def learn(source: Any, template: Template, data: bytes, count: int) -> None:
    """Takes what options records say of a source.

    Its tables are replaced, never changed: records that came before keep the ones that held for them.
    """
    at, samplers, applications = 0, dict(source.samplers), dict(source.applications)
    for _ in range(count):
        values, at = template.walk(data, at)
        told: dict[str, bytes] = {}
        for field, value in zip(template.fields, values, strict=True):
            name = role(field.number, field.enterprise)
            if name and value:
                told.setdefault(name, value)
        _sampling(samplers, told)
        _application(applications, told)
        started = told.get("systemInitTimeMilliseconds", b"")
        if started and len(started) <= 8:
            source.system_init_ms = int.from_bytes(started)
    if samplers != source.samplers:
        source.samplers = samplers
    if applications != source.applications:
        source.applications = applications


def _sampling(samplers: dict[int | None, int], told: dict[str, bytes]) -> None:
    numbers = {name: int.from_bytes(value) for name, value in told.items() if len(value) <= 8}
    rate: float | None = next((numbers[name] for name in _RATES if numbers.get(name)), None)
    taken, left = (numbers.get(f"samplingPacket{name}") for name in ("Interval", "Space"))
    if rate is None and numbers.get("samplingSize") and numbers.get("samplingPopulation"):
        rate = numbers["samplingPopulation"] / numbers["samplingSize"]
    if rate is None and taken and left is not None:
        rate = (taken + left) / taken
    # Alone it is what many exporters mean by one of so many packets, not how many are taken in a row.
    rate = taken if rate is None else rate
    if rate is None or not 1 <= rate < 2**32:
        return
    sampler = numbers.get("samplerId", numbers.get("selectorId"))
    if sampler in samplers or len(samplers) < _MOST:
        samplers[sampler] = round(rate)


def _application(applications: dict[int, str], told: dict[str, bytes]) -> None:
    if "applicationId" not in told or "applicationName" not in told:
        return
    # Of long ones (RFC 6759: engine, enterprise and number) the lowest eight bytes are distinct enough.
    number = int.from_bytes(told["applicationId"][-8:])
    name = told["applicationName"].split(b"\0")[0].decode("utf-8", "replace").strip()
    if 0 < len(name) <= _LONGEST and (number in applications or len(applications) < _MOST):
        applications[number] = name
