"""OTLP/JSON for tests: random requests, and how the protobuf library itself would write them, with OTLP's deviations."""

import base64
import json
import math
import random
import struct
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from collector.otlp.jsonschema import REQUESTS, json_schema
from collector.otlp.jsonwire import Transcoder
from driftlock.engine.event import Signal

IDS = frozenset({"traceId", "spanId", "parentSpanId"})
TRANSCODERS = {
    signal: Transcoder(json_schema(request), bytes_max=1024 * 1024, depth_max=16) for signal, request in REQUESTS.items()
}
CLASSES = {signal: GetMessageClass(request) for signal, request in REQUESTS.items()}
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_ENUM: (0, 4),
}
_TEXTS = ("", "x", "service.name", 'quote " and \\ and /', "\n\t\b\f\r\x00\x1f", "é", "€", "😀 and 𝕏", "\u2028", "a" * 200)
_DOUBLES = (
    0.0,
    -0.0,
    1.0,
    637.704,
    1e23,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
)


def transcode(signal: Signal, text: "bytes | str | Any") -> Message:
    """What a request in OTLP/JSON says."""
    return CLASSES[signal].FromString(TRANSCODERS[signal](as_bytes(text)))


def as_bytes(text: "bytes | str | Any") -> bytes:
    if isinstance(text, bytes):
        return text
    return (text if isinstance(text, str) else json.dumps(text)).encode()


def random_message(descriptor: Descriptor, source: random.Random, levels: int = 14) -> Message:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if source.random() < 0.3:
            continue
        for _ in range(source.choice((0, 1, 1, 2)) if field.is_repeated else 1):
            _fill(message, field, source, levels)
    return message


def _fill(message: Message, field: FieldDescriptor, source: random.Random, levels: int) -> None:
    if field.message_type is not None:
        if levels:
            child = random_message(field.message_type, source, levels - 1)
            place = getattr(message, field.name)
            place.append(child) if field.is_repeated else place.CopyFrom(child)
        return
    value = _scalar(field, source)
    getattr(message, field.name).append(value) if field.is_repeated else setattr(message, field.name, value)


def _scalar(field: FieldDescriptor, source: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return source.choice(_TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return source.randbytes(source.choice((0, 1, 2, 3, 8, 16, 33)))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return source.random() < 0.5
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        some = struct.unpack("<d", source.randbytes(8))[0]
        return source.choice((*_DOUBLES, some if math.isfinite(some) else 0.5, round(source.uniform(-1e6, 1e6), 3)))
    low, high = _INTEGERS[field.type]
    return source.choice((low, high, 0, 1, source.randint(low, high)))


def as_json(message: Message, source: random.Random) -> bytes:
    """The message as some sender might write it: any order of names, unknown names, numbers as numbers or strings."""
    plain = _varied(MessageToDict(message, use_integers_for_enums=True), source)
    indent = source.choice((None, 1, "\t"))
    return json.dumps(plain, ensure_ascii=source.random() < 0.5, indent=indent).encode()


def _varied(value: Any, source: random.Random, name: str = "") -> Any:
    if isinstance(value, dict):
        pairs = [(key, _varied(inner, source, key)) for key, inner in value.items()]
        if source.random() < 0.2:
            pairs.append(("somethingNew", {"a": [1, {"b": None}], "key": "x\\"}))
        if source.random() < 0.1:
            pairs.append(("dropped_attributes_count", "no number"))
        source.shuffle(pairs)
        return dict(pairs)
    if isinstance(value, list):
        return [_varied(element, source, name) for element in value]
    if name in IDS:
        return getattr(base64.b64decode(value).hex(), source.choice(("upper", "lower")))()
    if isinstance(value, str) and name not in {"stringValue", "key", "bytesValue"} and source.random() < 0.5:
        return _number(value)
    return value


def _number(text: str) -> Any:
    """A number that may stand in a string: as a number."""
    try:
        return int(text) if str(int(text)) == text else text
    except ValueError:
        return text
