"""Requests to begin with: small ones in which every message and every field of the protocol that is read has its place."""

from __future__ import annotations

import math
import struct

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from driftlock.engine.event import Signal
from tests.collector.otlp_requests import T0, add_logs, log, logs, metrics, pairs, spans
from tests.fuzz.cases import LIMITS, REDACTED, SIGNALS

REQUESTS: dict[Signal, type[Message]] = {
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}
_TRACE, _SPAN, _PARENT = bytes(range(1, 17)), bytes(range(17, 25)), bytes(range(25, 33))
_VALUES = {
    "s": "text, with = and {braces}",
    "i": -12,
    "big": 2**63 - 1,
    "d": 0.1,
    "whole": 1e16,
    "nan": math.nan,
    "inf": -math.inf,
    "b": True,
    "bytes": b"\x00\xfe",
    "none": None,
    "list": ["a", 1, [2.5, {"k": False}], b"\x01"],
    "map": {"b": {"c": "d"}, "a": 1, "e": {}, "f": []},
    "übung": "日本語 🎉",
}
_STACK = "\n".join(
    ["E: first line", *(f"  at frame {i} of many (file.py:{i})" for i in range(20)), "Caused by: F: other", "  at end"]
)
_STALE_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF0_0000_0000_0002))[0]


def _logs() -> list[Message]:
    instance = {"service.name": "cart", "service.namespace": "shop", "deployment.environment.name": "prod", "host.name": "a1"}
    several = logs(log("one"), log("two", time_ns=0, observed_time_unix_nano=T0), resource=instance)
    add_logs(several, log("three"), resource=instance | {"host.name": "a2"})
    add_logs(several, log("old"), resource={"driftlock.stream_id": "own", "driftlock.historical": "true"})
    several.resource_logs[0].scope_logs.add().log_records.append(log("of another scope"))
    several.resource_logs[0].scope_logs[0].scope.name = "lib"
    return [
        logs(log("user 42 logged in from 10.0.0.1", severity_number=9, attributes={"http.method": "GET", "code": 200})),
        logs(log({"event": "login", "n": [1, 2]}, severity_text="WARN", event_name="e", trace_id=_TRACE, span_id=_SPAN)),
        logs(log(_VALUES), log(_VALUES["list"]), log(None), log(2.5), log(b"\xff\x00"), log(True)),
        logs(log("x", attributes=_VALUES, dropped_attributes_count=3, flags=1)),
        several,
    ]


def _metrics() -> list[Message]:
    attributes = pairs({"route": "/a", "code": 200, "ok": True, "ratio": 0.5})
    number = NumberDataPoint(time_unix_nano=T0, start_time_unix_nano=T0 - 60, as_double=1.5, attributes=attributes)
    exemplar = Exemplar(time_unix_nano=T0, as_double=1.0, filtered_attributes=attributes, trace_id=_TRACE, span_id=_SPAN)
    histogram = HistogramDataPoint(
        time_unix_nano=T0, count=6, sum=9.5, bucket_counts=[1, 2, 3], explicit_bounds=[1.0, 2.5], min=0.1, max=7.0,
        attributes=attributes, exemplars=[exemplar],
    )  # fmt: skip
    buckets = ExponentialHistogramDataPoint.Buckets
    exponential = ExponentialHistogramDataPoint(
        time_unix_nano=T0, count=21, sum=3.0, scale=5, zero_count=2, zero_threshold=0.01, attributes=attributes,
        positive=buckets(offset=-3, bucket_counts=[1, 2, 3, 4]), negative=buckets(offset=2, bucket_counts=[4, 5]),
    )  # fmt: skip
    quantiles = [SummaryDataPoint.ValueAtQuantile(quantile=q, value=10 * q) for q in (0.0, 0.5, 0.99, 1.0)]
    summary = SummaryDataPoint(time_unix_nano=T0, count=9, sum=4.5, quantile_values=quantiles, attributes=attributes)
    special = [NumberDataPoint(time_unix_nano=T0, as_double=each) for each in (_STALE_NAN, math.nan, math.inf, -0.0)]
    numbers = [number, NumberDataPoint(time_unix_nano=T0, as_int=-7), NumberDataPoint(flags=1), *special]
    scoped = metrics(Metric(name="s", sum=Sum(data_points=numbers, aggregation_temporality=2, is_monotonic=True)))  # type: ignore[arg-type]
    scoped.resource_metrics[0].scope_metrics[0].scope.name = "lib"
    scoped.resource_metrics[0].scope_metrics[0].scope.attributes.extend(attributes)
    return [
        metrics(Metric(name="g", unit="s", description="d", gauge=Gauge(data_points=numbers))),
        metrics(Metric(name="h", histogram=Histogram(data_points=[histogram], aggregation_temporality=1))),  # type: ignore[arg-type]
        metrics(
            Metric(
                name="e",
                exponential_histogram=ExponentialHistogram(data_points=[exponential], aggregation_temporality=2),  # type: ignore[arg-type]
            )
        ),
        metrics(Metric(name="q{}", summary=Summary(data_points=[summary, summary])), Metric(name="nothing")),
        scoped,
    ]


def _spans() -> list[Message]:
    span = Span(
        trace_id=_TRACE, span_id=_SPAN, parent_span_id=_PARENT, name="GET /a", kind=2, trace_state="ot=th:8,x=y",  # type: ignore[arg-type]
        start_time_unix_nano=T0, end_time_unix_nano=T0 + 5_000_000, attributes=pairs({"http.method": "GET", "n": 1}),
        status=Status(code=2, message="no"), flags=0x101,  # type: ignore[arg-type]
    )  # fmt: skip
    thrown = {"exception.type": "E", "exception.message": "boom", "exception.stacktrace": _STACK, "exception.escaped": True}
    failed = Span(trace_id=_TRACE, span_id=_PARENT, name="work", start_time_unix_nano=T0, end_time_unix_nano=T0 - 1)
    failed.events.add(name="exception", time_unix_nano=T0, attributes=pairs(thrown))
    failed.events.add(name="retry", attributes=pairs({"n": 2}))
    linked = Span(trace_id=_TRACE, span_id=b"\x01" * 8, name="ü" * 200, kind=9)  # type: ignore[arg-type]
    linked.links.add(trace_id=_TRACE, span_id=_SPAN, attributes=pairs({"a": 1}))
    linked.attributes.extend(pairs(_VALUES))
    return [
        spans(span),
        spans(failed, span),
        spans(linked, Span(name="no ids"), Span(trace_id=b"short", span_id=b"short", name="bad ids")),
        spans(span, resource={"service.name": "cart", "deployment.environment": "test", "k8s.pod.name": "p1"}),
    ]


def seeds() -> list[bytes]:
    """Files of the fuzzer: every request under the first limits, and the largest under each of the others too."""
    found: list[bytes] = []
    for number, requests in enumerate((_logs(), _metrics(), _spans())):
        bodies = [request.SerializeToString(deterministic=True) for request in requests]
        found += [bytes([number, 0]) + body for body in bodies]
        found += [bytes([number, limits]) + body for limits in range(1, len(LIMITS)) for body in bodies[-2:]]
        found.append(bytes([number | REDACTED, 0]) + bodies[0])
    return found


def signal_of(data: bytes) -> Signal:
    """Of which signal a file is."""
    return SIGNALS[data[0] % 4 % 3] if data else SIGNALS[0]
