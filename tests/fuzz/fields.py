"""Messages as trees of their fields as they are on the wire, read along the descriptors of the protocol."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor

VARINT, FIXED64, LEN, START_GROUP, END_GROUP, FIXED32 = range(6)
DEPTH_MAX = 60
"""Messages in messages that are read."""


@dataclass
class Field:
    """A field as it is on the wire: `value` is a number of a varint, the bytes, or the fields of a message.

    `padding` are so many bytes that say nothing at the end of each varint of its head.
    """

    number: int
    wire: int
    value: int | bytes | list[Field]
    message: Descriptor | None = None
    padding: int = 0


def read(data: bytes, message: Descriptor | None, depth: int = 0) -> list[Field]:
    """The fields of a message. What can not be read further is its last one, with a wire type that is none."""
    found: list[Field] = []
    at = 0
    while at < len(data):
        begin = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        size = {VARINT: 0, FIXED64: 8, FIXED32: 4, LEN: 0, START_GROUP: 0, END_GROUP: 0}.get(wire, -1)
        value: int | bytes | list[Field] = b""
        if wire in (VARINT, LEN):
            value, at = _varint(data, at)
            size = value if wire == LEN else 0
        if at < 0 or size < 0 or len(data) - at < size:
            return [*found, Field(0, -1, data[begin:])]
        if wire in (LEN, FIXED64, FIXED32):
            value, at = data[at : at + size], at + size
        kind = message.fields_by_number.get(number) if message is not None and wire == LEN else None
        inner = kind.message_type if kind is not None else None
        if inner is not None and depth < DEPTH_MAX:
            assert isinstance(value, bytes)
            value = read(value, inner, depth + 1)
        found.append(Field(number, wire, value, inner))
    return found


def write(fields: int | bytes | list[Field]) -> bytes:
    """The bytes of fields."""
    if not isinstance(fields, list):
        return _encoded(fields) if isinstance(fields, int) else fields
    out = bytearray()
    for field in fields:
        body = write(field.value)
        if field.wire != -1:
            out += _encoded(field.number << 3 | field.wire, field.padding)
        if field.wire == LEN:
            out += _encoded(len(body), field.padding)
        out += body
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends, -1 = nowhere."""
    value = 0
    for i in range(10):
        if at + i >= len(data) or at < 0:
            break
        value |= (data[at + i] & 0x7F) << 7 * i
        if data[at + i] < 0x80:
            return value, at + i + 1
    return 0, -1


def _encoded(value: int, padding: int = 0) -> bytes:
    out = bytearray()
    while value > 0x7F or padding > 0:
        padding -= value <= 0x7F
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def owners(field: Field) -> list[Field]:
    """Every message within, itself included."""
    found = [field]
    for owner in found:
        assert isinstance(owner.value, list)
        found += [inner for inner in owner.value if isinstance(inner.value, list)]
    return found
