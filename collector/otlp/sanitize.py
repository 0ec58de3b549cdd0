"""What is done to a message before the protobuf parser gets it.

The stock parser fails a whole message for one string that is not UTF-8, and for values nested about fifty deep. Here the
wire is walked along the message's own descriptor, without recursion: strings are repaired with U+FFFD, too deep values
and too many elements are named as such, fields that are not known are left out, everything else is copied as it is.
"""

from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from collector.otlp.limits import OtlpLimits
from collector.otlp.wire import LEN, START_GROUP, Malformed, next_field, varint
from driftlock.engine.canonical import Cuts, TooDeep
from driftlock.errors import InvalidArgument

_ANY_VALUE = "opentelemetry.proto.common.v1.AnyValue"
_KEY_VALUE = "opentelemetry.proto.common.v1.KeyValue"
_FIXED = frozenset({FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_DOUBLE})


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
        elements += 1
        packed = known is not None and wire_type == LEN and known.is_packed
        if packed:  # an item is 8 bytes in memory, and may be one on the wire, so count by the lower bound
            elements += (end - start) // 8
        if elements > limits.record_elements_max:
            raise TooManyElements(f"a record has more than {limits.record_elements_max} fields and elements")
        position = end
        if known is None or wire_type == START_GROUP:
            continue
        if packed:
            _check_packed(known, data, start, end)
        if wire_type != LEN:
            frame.chunks.append(data[begin:end])
        elif known.type == FieldDescriptor.TYPE_STRING:
            text = _repaired(data[start:end], cuts)
            frame.chunks += (encode_varint(number << 3 | LEN), encode_varint(len(text)), text)
        elif known.type == FieldDescriptor.TYPE_MESSAGE and known.message_type is not None:
            depth = frame.depth + (known.message_type.full_name == _ANY_VALUE)
            # What a map holds is a level deeper, also where nothing is sent of it.
            if depth + (known.message_type.full_name == _KEY_VALUE) > depth_max:
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


def _check_packed(known: FieldDescriptor, data: bytes, position: int, end: int) -> None:
    """Raises `Malformed` unless whole numbers fill a packed field."""
    if known.type in _FIXED:
        if (end - position) % 8:
            raise Malformed(position)
        return
    while position < end:
        position = varint(data, position)[1]
    if position > end:
        raise Malformed(end)
