"""OTLP requests for tests, in few words."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

T0 = 1_780_000_000_000_000_000


def any_value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case Mapping():
            result = AnyValue()
            result.kvlist_value.SetInParent()
            result.kvlist_value.values.extend(pairs(value))
            return result
        case Sequence():
            result = AnyValue()
            result.array_value.SetInParent()
            result.array_value.values.extend(any_value(element) for element in value)
            return result
    raise TypeError(type(value))


def pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def log(body: Any = "hello", time_ns: int = T0, attributes: Mapping[str, Any] | None = None, **fields: Any) -> LogRecord:
    return LogRecord(time_unix_nano=time_ns, body=any_value(body), attributes=pairs(attributes or {}), **fields)


def logs(*records: LogRecord, resource: Mapping[str, Any] | None = None) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    add_logs(request, *records, resource=resource)
    return request


def add_logs(request: ExportLogsServiceRequest, *records: LogRecord, resource: Mapping[str, Any] | None = None) -> None:
    group = request.resource_logs.add()
    group.resource.attributes.extend(pairs({"service.name": "shop"} if resource is None else resource))
    group.scope_logs.add().log_records.extend(records)


def spans(*records: Span, resource: Mapping[str, Any] | None = None) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(pairs({"service.name": "shop"} if resource is None else resource))
    group.scope_spans.add().spans.extend(records)
    return request


def metrics(*records: Metric, resource: Mapping[str, Any] | None = None) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(pairs({"service.name": "shop"} if resource is None else resource))
    group.scope_metrics.add().metrics.extend(records)
    return request


def nested(levels: int) -> bytes:
    """Wire bytes of an AnyValue of so many levels, the innermost a string; the stock parser need not like it."""
    value = b"\x0a\x01x"  # string_value = "x"
    for _ in range(levels - 1):
        array = b"\x0a" + length(value) + value  # ArrayValue.values
        value = b"\x2a" + length(array) + array  # AnyValue.array_value
    return value


def length(data: bytes) -> bytes:
    size, out = len(data), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size])


def message(number: int, data: bytes) -> bytes:
    """A length-delimited field (number below 16)."""
    return bytes([number << 3 | 2]) + length(data) + data


def raw_logs(*records: bytes, resource: bytes | None = None) -> bytes:
    """An Export request around log records given as wire bytes."""
    if resource is None:
        resource = message(1, KeyValue(key="service.name", value=AnyValue(string_value="shop")).SerializeToString())
    scope = b"".join(message(2, record) for record in records)
    return message(1, message(1, resource) + message(2, scope))


def timed(record: bytes) -> bytes:
    """The record's bytes with a time in front."""
    return LogRecord(time_unix_nano=T0).SerializeToString() + record
