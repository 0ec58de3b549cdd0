"""What OTLP/JSON calls the fields of OTLP's messages, and how each is written: tables made of the protobuf descriptors.

Names are lowerCamelCase, enums are integers, ids are hexadecimal (OTLP specification, "JSON Protobuf Encoding"); all else is as
in the JSON mapping of protobuf (Protocol Buffers documentation, "ProtoJSON Format").
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from driftlock.engine.event import Signal

VALUE = "opentelemetry.proto.common.v1.AnyValue"
"""The only message of OTLP that may hold itself; its levels are what depth is counted in."""
HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
FIELDS_MAX = 32
"""Of one message."""


class Kind(IntEnum):
    """How a field is written in JSON and on the wire; numbers are those of protobuf's field types, but for `HEX`."""

    DOUBLE = FieldDescriptor.TYPE_DOUBLE
    INT64 = FieldDescriptor.TYPE_INT64
    UINT64 = FieldDescriptor.TYPE_UINT64
    INT32 = FieldDescriptor.TYPE_INT32
    FIXED64 = FieldDescriptor.TYPE_FIXED64
    FIXED32 = FieldDescriptor.TYPE_FIXED32
    BOOL = FieldDescriptor.TYPE_BOOL
    STRING = FieldDescriptor.TYPE_STRING
    MESSAGE = FieldDescriptor.TYPE_MESSAGE
    BYTES = FieldDescriptor.TYPE_BYTES
    UINT32 = FieldDescriptor.TYPE_UINT32
    ENUM = FieldDescriptor.TYPE_ENUM
    SFIXED64 = FieldDescriptor.TYPE_SFIXED64
    SINT32 = FieldDescriptor.TYPE_SINT32
    HEX = 100


_NEVER_REPEATED = frozenset({Kind.BOOL, Kind.BYTES, Kind.HEX})


class JsonField(NamedTuple):
    """A field of a message: `message` is the number of its type in the schema, -1 for scalars."""

    name: bytes
    number: int
    kind: Kind
    repeated: bool
    message: int


class JsonMessage(NamedTuple):
    """A type of message: its fields, and whether it is `VALUE`."""

    fields: tuple[JsonField, ...]
    is_value: bool


JsonSchema = tuple[JsonMessage, ...]
"""All types that a request can hold, the request itself first."""

REQUESTS: Mapping[Signal, Descriptor] = {
    Signal.LOGS: ExportLogsServiceRequest.DESCRIPTOR,
    Signal.METRICS: ExportMetricsServiceRequest.DESCRIPTOR,
    Signal.TRACES: ExportTraceServiceRequest.DESCRIPTOR,
}


def json_schema(request: Descriptor) -> JsonSchema:
    """The schema of a request; raises `ValueError` for a kind of field that OTLP has not had so far."""
    numbers = {request.full_name: 0}
    types = [request]
    messages = []
    for descriptor in types:  # grows on the way
        fields = []
        for field in descriptor.fields:
            child = -1
            if field.message_type is not None:
                child = numbers.setdefault(field.message_type.full_name, len(types))
                if child == len(types):
                    types.append(field.message_type)
            kind = Kind.HEX if field.name in HEX_FIELDS else Kind(field.type)
            if field.is_repeated and kind in _NEVER_REPEATED:
                raise ValueError(f"{field.full_name} is a list of a kind that OTLP had no lists of")
            fields.append(JsonField(field.json_name.encode(), field.number, kind, field.is_repeated, child))
        if len(fields) > FIELDS_MAX:
            raise ValueError(f"{descriptor.full_name} has more than {FIELDS_MAX} fields")
        messages.append(JsonMessage(tuple(fields), descriptor.full_name == VALUE))
    return tuple(messages)
