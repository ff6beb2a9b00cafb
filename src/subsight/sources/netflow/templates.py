"""Templates: what the records of a data set hold, compiled to how NumPy reads them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from subsight.sources.netflow.fields import role

__all__ = ["MOST_FIELDS", "Field", "Malformed", "Template", "parse"]

MOST_FIELDS: Final = 512
_VARIABLE: Final = 0xFFFF
_LONGEST: Final = 65_535
_NATIVE: Final = {1: "u1", 2: ">u2", 4: ">u4", 8: ">u8"}


class Malformed(Exception):  # noqa: N818 (a reason, caught where it is raised)
    """Why bytes are no template or record."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a template; `length` is 65535 where each record tells it."""

    number: int
    length: int
    enterprise: int = 0


@dataclass(frozen=True)
class Template:
    """The fields of the records of one set, or of what options say; those of no length are left out."""

    number: int
    fields: tuple[Field, ...]
    is_options: bool = False

    @cached_property
    def is_fixed(self) -> bool:
        """Whether every record has the same length."""
        return all(field.length != _VARIABLE for field in self.fields)

    @cached_property
    def length(self) -> int:
        """The length of a record, or the least it can have, in bytes."""
        return sum(1 if field.length == _VARIABLE else field.length for field in self.fields)

    @cached_property
    def _kept(self) -> list[tuple[str, int]]:
        """The first field of each role by place and, where it is there again, the last one as `inner NAME`.

        Of a packet in a tunnel the outer header comes first (RFC 7011, 8).
        """
        found: dict[str, int] = {}
        for place, field in enumerate(self.fields):
            name = role(field.number, field.enterprise)
            if name and field.length < _VARIABLE:
                found[name if name not in found else f"inner {name}"] = place
        return sorted(found.items(), key=lambda item: item[1])

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """How a record is read: of variable ones, the record that `squeezed` makes."""
        names, formats, offsets, at = [], [], [], 0
        begins = []
        for field in self.fields:
            begins.append(at)
            at += 0 if field.length == _VARIABLE else field.length
        packed = 0
        for name, place in self._kept:
            width = self.fields[place].length
            names.append(name)
            formats.append(_NATIVE.get(width, f"({width},)u1"))
            offsets.append(begins[place] if self.is_fixed else packed)
            packed += width
        size = self.length if self.is_fixed else packed
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": max(size, 1)})

    def whole(self, data: bytes) -> tuple[bytes, int, int]:
        """The records of a set as bytes of `dtype`, how many they are, and how many bytes are left over."""
        if self.is_fixed:
            count = len(data) // self.length
            return data[: count * self.length], count, len(data) - count * self.length
        records, at = [], 0
        places = [place for _, place in self._kept]
        while len(data) - at >= self.length:
            values, end = self.walk(data, at)
            if end > len(data):
                break
            records.append(b"".join(values[place] for place in places) or b"\0")
            at = end
        return b"".join(records), len(records), len(data) - at

    def walk(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        """The fields of the record at a place, and where it ends: past the data if it is cut short."""
        values = []
        for field in self.fields:
            length = field.length
            if length == _VARIABLE:
                length, at = _told_length(data, at)
            values.append(data[at : at + length])
            at += length
        return values, at

    def to_json(self) -> list[Any]:
        """The template as JSON values."""
        fields = [[field.number, field.length, field.enterprise] for field in self.fields]
        return [self.number, fields, self.is_options]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Template:
        """The template that `to_json` told."""
        number, fields, is_options = value
        return cls(number, tuple(Field(*field) for field in fields), is_options)


def _told_length(data: bytes, at: int) -> tuple[int, int]:
    """A length that stands before its field (RFC 7011, 7), and where the field begins."""
    if at >= len(data):
        return _LONGEST, at
    if data[at] < 255:
        return data[at], at + 1
    return int.from_bytes(data[at + 1 : at + 3]) if at + 3 <= len(data) else _LONGEST, at + 3


def parse(data: bytes, version: int, *, is_options: bool) -> Iterator[Template | int]:
    """The templates of a template set; a number alone is a template that is withdrawn (RFC 7011, 8.1).

    Raises:
        Malformed: the bytes end inside a template, or one is too large or empty. Those before it count.
    """
    at = 0
    while len(data) - at >= 4:
        number, count = struct.unpack_from(">HH", data, at)
        if number == 0 and not any(data[at:]):
            return  # padding
        at += 4
        if version == 10 and count == 0 and (number >= 256 or number == (3 if is_options else 2)):
            yield number
            continue
        scopes = 0
        if is_options and version == 9:
            at, scopes, count = _lengths(data, at, count)
        elif is_options:
            if at + 2 > len(data):
                raise Malformed("template cut short")
            at += 2  # how many of the fields are the scope, which does not matter here
        if not 0 < count <= MOST_FIELDS or number < 256:
            raise Malformed(
                "template with an impossible number of fields" if number >= 256 else "template below 256"
            )
        fields = []
        for _ in range(count):
            field, at = _field(data, at, version)
            fields.append(field)
        if is_options and version == 9:  # its scopes are numbers of their own (RFC 3954, 6.1), no elements
            fields[:scopes] = [Field(field.number, field.length, -1) for field in fields[:scopes]]
        # Those of no length would cost time in each record, and tell nothing.
        template = Template(number, tuple(field for field in fields if field.length), is_options)
        if template.length == 0:
            raise Malformed("template of no length")
        if template.length > _LONGEST:
            raise Malformed("template longer than a datagram")
        yield template


def _lengths(data: bytes, at: int, scope_bytes: int) -> tuple[int, int, int]:
    """Of an options template of v9: where its fields begin, its scope fields, and all its fields."""
    if at + 2 > len(data):
        raise Malformed("template cut short")
    (option_bytes,) = struct.unpack_from(">H", data, at)
    return at + 2, scope_bytes // 4, (scope_bytes + option_bytes) // 4


def _field(data: bytes, at: int, version: int) -> tuple[Field, int]:
    if at + 4 > len(data):
        raise Malformed("template cut short")
    number, length = struct.unpack_from(">HH", data, at)
    at += 4
    if version == 10 and number & 0x8000:
        if at + 4 > len(data):
            raise Malformed("template cut short")
        (enterprise,) = struct.unpack_from(">I", data, at)
        return Field(number & 0x7FFF, length, enterprise), at + 4
    return Field(number, length), at
