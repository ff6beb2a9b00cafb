"""Options records: sampling rates, names of applications, when an exporter started."""

from __future__ import annotations

from typing import Any, Final

from subsight.sources.netflow.fields import role
from subsight.sources.netflow.templates import Template

__all__ = ["learn"]

_MOST: Final = 16_384
_RATES: Final = ("samplingInterval", "samplerRandomInterval")


def learn(source: Any, template: Template, data: bytes, count: int) -> None:
    """Takes what options records say of a source.

    Its tables are replaced, never changed: records that came before keep the ones that held for them.
    """
    at = 0
    for _ in range(count):
        values, at = template.walk(data, at)
        told: dict[str, bytes] = {}
        for field, value in zip(template.fields, values, strict=True):
            name = role(field.number, field.enterprise)
            if name and value:
                told.setdefault(name, value)
        _sampling(source, told)
        _application(source, told)
        if "systemInitTimeMilliseconds" in told:
            source.system_init_ms = int.from_bytes(told["systemInitTimeMilliseconds"])


def _sampling(source: Any, told: dict[str, bytes]) -> None:
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
    if source.samplers.get(sampler) != round(rate) and len(source.samplers) < _MOST:
        source.samplers = {**source.samplers, sampler: round(rate)}


def _application(source: Any, told: dict[str, bytes]) -> None:
    if "applicationId" not in told or "applicationName" not in told or len(told["applicationId"]) > 8:
        return
    number = int.from_bytes(told["applicationId"])
    name = told["applicationName"].split(b"\0")[0].decode("utf-8", "replace").strip()
    if name and source.applications.get(number) != name and len(source.applications) < _MOST:
        source.applications = {**source.applications, number: name}
