"""The slow path for one message that the protobuf parser refuses, or that is too large to be parsed on trust.

The stock parser fails a whole message for one string that is not UTF-8, and for values nested about fifty deep. Here the
wire is walked along the message's own descriptor, without recursion: strings are repaired with U+FFFD, too deep values
and too many elements are named as such, everything else is copied as it is.
"""

from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from collector.otlp.limits import OtlpLimits
from collector.otlp.wire import LEN, next_field
from driftlock.engine.canonical import Cuts, TooDeep
from driftlock.errors import InvalidArgument

_ANY_VALUE = "opentelemetry.proto.common.v1.AnyValue"
_UNPACKED = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE})


class TooManyElements(InvalidArgument):
    """A record has more fields and array elements than `record_elements_max`; its neighbours are not affected."""


@dataclass(slots=True)
class _Frame:
    """A message under way: what it is, where it ends, which tag leads to it, how deep in values it lies."""

    descriptor: Descriptor
    end: int
    tag: bytes
    depth: int
    chunks: list[bytes] = field(default_factory=list)


def sanitize(descriptor: Descriptor, data: bytes, limits: OtlpLimits, cuts: Cuts) -> bytes:
    """Equal to `data` where that is parseable; raises `TooDeep` or `TooManyElements` for the record, `Malformed` for all."""
    depth_max = limits.text.depth_max
    stack = [_Frame(descriptor, len(data), b"", 0)]
    position = elements = 0
    while True:
        frame = stack[-1]
        if position >= frame.end:
            stack.pop()
            body = b"".join(frame.chunks)
            if not stack:
                return body
            stack[-1].chunks += (frame.tag, encode_varint(len(body)), body)
            continue
        begin = position
        number, wire_type, start, end = next_field(data, position, frame.end)
        known = frame.descriptor.fields_by_number.get(number)
        elements += 1 + _packed_elements(known, wire_type, end - start)
        if elements > limits.record_elements_max:
            raise TooManyElements(f"a record has more than {limits.record_elements_max} fields and elements")
        position = end
        if known is None or wire_type != LEN:
            frame.chunks.append(data[begin:end])
        elif known.type == FieldDescriptor.TYPE_STRING:
            text = _repaired(data[start:end], cuts)
            frame.chunks += (encode_varint(number << 3 | LEN), encode_varint(len(text)), text)
        elif known.type == FieldDescriptor.TYPE_MESSAGE and known.message_type is not None:
            depth = frame.depth + (known.message_type.full_name == _ANY_VALUE)
            if depth > depth_max:
                raise TooDeep(f"a value is nested deeper than {depth_max} levels")
            stack.append(_Frame(known.message_type, end, encode_varint(number << 3 | LEN), depth))
            position = start
        else:
            frame.chunks.append(data[begin:end])


def encode_varint(value: int) -> bytes:
    """Wire form of a non-negative integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _repaired(raw: bytes, cuts: Cuts) -> bytes:
    try:
        raw.decode()
    except UnicodeDecodeError:
        cuts.replaced += 1
        return raw.decode(errors="replace").encode()
    return raw


def _packed_elements(known: FieldDescriptor | None, wire_type: int, size: int) -> int:
    """Numbers in a packed field: an item is 8 bytes in memory, and may be one on the wire, so count by the lower bound."""
    if known is None or wire_type != LEN or known.type in _UNPACKED:
        return 0
    return size // 8
