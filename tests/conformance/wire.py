"""Parcels as bytes: OTLP protobuf, OTLP/JSON, and events of REST. Equal parcels give equal bytes."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from driftlock.engine.event import Signal
from tests.collector.otlp_requests import any_value, logs, message, metrics, nested, pairs, raw_logs, spans
from tests.conformance.contract import INVALID, RECORDS_MAX, REQUEST_BYTES_MAX, Item, Parcel, Shape, levels

NAMES = {Signal.LOGS: ("Logs", "logRecords"), Signal.METRICS: ("Metrics", "metrics"), Signal.TRACES: ("Spans", "spans")}
_RAW = (b"\xff\xfe\xc0\xaf\xed\xa0\x80" * len(INVALID))[: len(INVALID)]


def protobuf(parcel: Parcel) -> bytes:
    """The Export request, before compression."""
    match parcel.shape:
        case Shape.NO_RESOURCES:
            return b""
        case Shape.NO_SCOPES | Shape.NO_RECORDS:
            scopes = message(2, b"") if parcel.shape is Shape.NO_RECORDS else b""
            return message(1, message(1, b"") + scopes)
        case Shape.FLOOD:
            return message(1, message(2, message(2, b"") * (RECORDS_MAX + 1)))
        case Shape.OVERSIZE | Shape.BOMB:
            body = logs(LogRecord(body=any_value("x" * (REQUEST_BYTES_MAX + 1))))
            return body.SerializeToString()
    data = _request(parcel).replace(INVALID.encode(), _RAW)
    return data[: len(data) - 3] if parcel.shape is Shape.MALFORMED else data


def _request(parcel: Parcel) -> bytes:
    resource = {"service.name": parcel.service}
    match parcel.signal:
        case Signal.LOGS:
            named = b"".join(message(1, pair.SerializeToString()) for pair in pairs(resource))
            return raw_logs(*map(_log, parcel.items), resource=named)
        case Signal.TRACES:
            return spans(*map(_span, parcel.items), resource=resource).SerializeToString()
        case Signal.METRICS:
            return metrics(*map(_metric, parcel.items), resource=resource).SerializeToString()


def _log(item: Item) -> bytes:
    """Wire bytes, as the protobuf library can not build what it would not parse."""
    record = LogRecord(time_unix_nano=item.time_ns, body=any_value(item.body), trace_id=item.trace_id, span_id=item.span_id)
    written = record.SerializeToString()
    for key, value in item.attributes.items():
        raw = nested(levels(value)) if isinstance(value, list) else any_value(value).SerializeToString()
        written += message(6, message(1, key.encode()) + message(2, raw))
    return written


def _span(item: Item) -> Span:
    end_ns = min(item.time_ns + 1000, 2**64 - 1)
    return Span(
        name=item.body,
        start_time_unix_nano=item.time_ns,
        end_time_unix_nano=end_ns,
        attributes=pairs(item.attributes),
        trace_id=item.trace_id,
        span_id=item.span_id,
    )


def _metric(item: Item) -> Metric:
    point = NumberDataPoint(time_unix_nano=item.time_ns, as_double=1.5, attributes=pairs(item.attributes))
    return Metric(name=item.body, gauge=Gauge(data_points=[point]))


def otlp_json(parcel: Parcel) -> bytes:
    """The same request in OTLP/JSON, written by hand: another writer than the reader under test."""
    kind, records = NAMES[parcel.signal]
    match parcel.shape:
        case Shape.NO_RESOURCES:
            return b"{}"
        case Shape.NO_SCOPES:
            return json.dumps({f"resource{kind}": [{"resource": {}}]}).encode()
        case Shape.NO_RECORDS:
            return json.dumps({f"resource{kind}": [{"resource": {}, f"scope{kind}": [{}]}]}).encode()
        case Shape.FLOOD:
            listed = ",".join(["{}"] * (RECORDS_MAX + 1))
            return f'{{"resource{kind}":[{{"scope{kind}":[{{"{records}":[{listed}]}}]}}]}}'.encode()
        case Shape.OVERSIZE | Shape.BOMB:
            body = [{"body": {"stringValue": "x" * (REQUEST_BYTES_MAX + 1)}}]
            return json.dumps({f"resource{kind}": [{f"scope{kind}": [{records: body}]}]}).encode()
    write = {Signal.LOGS: _json_log, Signal.TRACES: _json_span, Signal.METRICS: _json_metric}[parcel.signal]
    resource = {"attributes": _json_pairs({"service.name": parcel.service})}
    scopes = [{records: [write(item) for item in parcel.items]}]
    data = json.dumps({f"resource{kind}": [{"resource": resource, f"scope{kind}": scopes}]}).encode()
    data = data.replace(INVALID.encode(), _RAW)
    return data[: len(data) - 3] if parcel.shape is Shape.MALFORMED else data


def _json_value(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_json_value(element) for element in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _json_pairs(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _json_value(value)} for key, value in attributes.items()]


def _json_ids(item: Item) -> dict[str, str]:
    return {"traceId": item.trace_id.hex(), "spanId": item.span_id.hex()}


def _json_log(item: Item) -> dict[str, Any]:
    body = {"timeUnixNano": str(item.time_ns), "body": _json_value(item.body)}
    return body | {"attributes": _json_pairs(item.attributes)} | _json_ids(item)


def _json_span(item: Item) -> dict[str, Any]:
    times = {"startTimeUnixNano": str(item.time_ns), "endTimeUnixNano": str(min(item.time_ns + 1000, 2**64 - 1))}
    return {"name": item.body, "attributes": _json_pairs(item.attributes)} | times | _json_ids(item)


def _json_metric(item: Item) -> dict[str, Any]:
    point = {"timeUnixNano": str(item.time_ns), "asDouble": 1.5, "attributes": _json_pairs(item.attributes)}
    return {"name": item.body, "gauge": {"dataPoints": [point]}}


def rest_events(parcel: Parcel) -> bytes:
    """The body of `POST /v1/detect`. Times are Unix seconds, which hold them to the second."""
    match parcel.shape:
        case Shape.NO_RESOURCES | Shape.NO_SCOPES | Shape.NO_RECORDS:
            return b'{"events": []}'
        case Shape.FLOOD:
            return json.dumps({"events": ["x"] * (RECORDS_MAX + 1)}).encode()
        case Shape.OVERSIZE | Shape.BOMB:
            return json.dumps({"events": ["x" * (REQUEST_BYTES_MAX + 1)]}).encode()
    events = [{"text": item.body, "time": item.time_ns // 10**9, **item.attributes} for item in parcel.items]
    data = json.dumps({"stream_id": parcel.service, "events": events}).encode().replace(INVALID.encode(), _RAW)
    return data[: len(data) - 3] if parcel.shape is Shape.MALFORMED else data


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)
