"""The inputs of docs/threat-model.md that a test can send, by the numbers that they have there."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import zstandard
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from driftlock.engine.event import Signal
from tests.collector.otlp_requests import T0, log, logs, message, metrics, nested, raw_logs, spans, timed
from tests.threats.senders import JSON, Answer, Senders, gzipped

MIB = 1024 * 1024
GOOD = logs(log("order placed")).SerializeToString()
TOO_LARGE = logs(log("x" * (16 * MIB + 1))).SerializeToString()
TRACE_ID, SPAN_ID = b"t" * 16, b"s" * 8
Send = Callable[[Senders], Awaitable[Answer]]


@dataclass(frozen=True)
class Row:
    """What is sent, what is answered (`status`, `rejected`), and which counter moves: (name, its label's value).

    `counted` None: it is taken as it is, and counted as accepted. Refused and rejected ones also leave a line in the log.
    `count` is by how much the counter moves, where that is not 1. `journaled` are the records that are in the journal then;
    None: one, if the answer is a success that rejects nothing.
    """

    number: int
    name: str
    send: Send
    status: str
    counted: tuple[str, str] | None = None
    rejected: int = 0
    retryable: bool = False
    count: int = 0
    journaled: int | None = None

    @property
    def kept(self) -> int:
        """Records in the journal afterwards."""
        return int(self.status in ("OK", "200") and not self.rejected) if self.journaled is None else self.journaled

    def __str__(self) -> str:
        return f"{self.number}-{self.name}"


def refused(reason: str) -> tuple[str, str]:
    return "refused_requests", reason


def rejected(reason: str) -> tuple[str, str]:
    return "rejected_records", reason


def altered(what: str) -> tuple[str, str]:
    return "altered", what


def record(**fields: object) -> bytes:
    """A good log record with `fields` beside it."""
    return LogRecord(time_unix_nano=T0, body=AnyValue(string_value="x"), **fields).SerializeToString()  # type: ignore[arg-type]


def http_json(text: str | bytes, **changes: object) -> Send:
    body = text.encode() if isinstance(text, str) else text
    return lambda to: to.http(body, media=JSON, **changes)  # type: ignore[arg-type]


def json_logs(**fields: object) -> str:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(T0), **fields}]}]}]})


def detect(*events: object) -> bytes:
    return json.dumps({"stream_id": "shop", "events": list(events)}).encode()


def gauge(value: float) -> bytes:
    point = NumberDataPoint(time_unix_nano=T0, as_double=value)
    return metrics(Metric(name="m", gauge=Gauge(data_points=[point]))).SerializeToString()


def histogram(**fields: object) -> bytes:
    point = HistogramDataPoint(time_unix_nano=T0, count=1, **fields)  # type: ignore[arg-type]
    return metrics(Metric(name="m", histogram=Histogram(data_points=[point]))).SerializeToString()


def exponential(scale: int) -> bytes:
    point = ExponentialHistogramDataPoint(time_unix_nano=T0, count=1, scale=scale, zero_count=1)
    made = ExponentialHistogram(data_points=[point], aggregation_temporality=1)
    return metrics(Metric(name="m", exponential_histogram=made)).SerializeToString()


def span(**changes: object) -> bytes:
    fields = {"trace_id": TRACE_ID, "span_id": SPAN_ID, "name": "s", "start_time_unix_nano": T0, "end_time_unix_nano": T0 + 9}
    return spans(Span(**fields | changes)).SerializeToString()  # type: ignore[arg-type]


def named(service: str) -> bytes:
    return logs(log("x"), resource={"service.name": service}).SerializeToString()


def raw_http(*lines: str, body: bytes = b"") -> Send:
    async def send(to: Senders) -> Answer:
        head = "\r\n".join(["POST /v1/logs HTTP/1.1", "host: x", f"x-api-key: {to.key}", *lines, "", ""])
        return await asyncio.to_thread(to.tcp, head.encode("latin-1") + body)

    return send


def zstd(data: bytes, *, declared: bool) -> bytes:
    if declared:
        return zstandard.ZstdCompressor().compress(data)
    maker = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return maker.compress(data) + maker.flush()


def coded(body: bytes, coding: str) -> Send:
    return lambda to: to.http(body, headers={"content-encoding": coding})


TRANSPORT = (
    Row(1, "grpc", lambda to: to.grpc(TOO_LARGE), "RESOURCE_EXHAUSTED", refused("transport")),
    Row(1, "http", lambda to: to.http(TOO_LARGE), "413", refused("too_large")),
    Row(1, "rest", lambda to: to.rest(detect("x" * (16 * MIB))), "413", refused("too_large")),
    Row(2, "grpc", lambda to: to.grpc(TOO_LARGE, gzipped=True), "RESOURCE_EXHAUSTED", refused("transport")),
    Row(2, "http", coded(gzipped(TOO_LARGE), "gzip"), "413", refused("bomb")),
    Row(3, "declared", coded(zstd(TOO_LARGE, declared=True), "zstd"), "413", refused("bomb")),
    Row(3, "undeclared", coded(zstd(TOO_LARGE, declared=False), "zstd"), "413", refused("bomb")),
    Row(4, "members", coded(gzipped(GOOD[:9]) + gzipped(GOOD[9:]), "gzip"), "200"),
    Row(4, "hidden-bomb", coded(gzipped(GOOD) + gzipped(TOO_LARGE), "gzip"), "413", refused("bomb")),
    Row(5, "twice", coded(gzipped(gzipped(GOOD)), "gzip, gzip"), "415", refused("unsupported_coding")),
    Row(5, "once-named", coded(gzipped(gzipped(GOOD)), "gzip"), "400", refused("malformed")),
    Row(6, "truncated", coded(gzipped(GOOD)[:-5], "gzip"), "400", refused("damaged")),
    Row(6, "garbage", coded(gzipped(GOOD) + b"garbage", "gzip"), "400", refused("damaged")),
    Row(6, "wrong-sum", coded(gzip.compress(GOOD, mtime=0)[:-8] + b"\0" * 8, "gzip"), "400", refused("damaged")),
    Row(7, "http", coded(zlib.compress(GOOD), "deflate"), "415", refused("unsupported_coding")),
    Row(8, "two-lengths", raw_http("content-length: 5", "content-length: 6", "connection: close", body=b"x" * 6), "400"),
    Row(8, "both", raw_http("content-length: 5", "transfer-encoding: chunked", body=b"0\r\n\r\n"), "400"),
    Row(
        8,
        "huge-extension",
        raw_http("transfer-encoding: chunked", "content-type: application/x-protobuf", body=b"1;" + b"e" * 200_000),
        "closed",
    ),
    Row(
        11,
        "junk",
        lambda to: to.grpc(GOOD, metadata=(("x-api-key", "junk junk"),)),
        "UNAUTHENTICATED",
        refused("unauthenticated"),
    ),
    Row(
        11,
        "wrong",
        lambda to: to.grpc(GOOD, metadata=(("x-api-key", "dl_live_x"),)),
        "UNAUTHENTICATED",
        refused("unauthenticated"),
    ),
    Row(
        11,
        "two-keys",
        lambda to: to.grpc(GOOD, metadata=(("x-api-key", to.key), ("authorization", "Bearer dl_live_y"))),
        "UNAUTHENTICATED",
        refused("unauthenticated"),
    ),
    Row(11, "http", lambda to: to.http(GOOD, headers={"x-api-key": "dl_live_x"}), "401", refused("unauthenticated")),
    Row(12, "type", lambda to: to.http(GOOD, media="text/plain"), "415", refused("unsupported_type")),
    Row(12, "get", lambda to: to.http(b"", method="GET"), "405", refused("wrong_method")),
    Row(12, "path", lambda to: to.http(GOOD, path="/v1/nothing"), "404", refused("unknown_path")),
    Row(12, "service", lambda to: to.grpc(GOOD, path="/nothing.Service/Export"), "UNIMPLEMENTED"),
)

PAYLOAD = (
    *(
        Row(
            15,
            f"{levels}-levels",
            lambda to, levels=levels: to.grpc(raw_logs(timed(b"\x0a\x01x"), timed(message(5, nested(levels))))),  # type: ignore[misc]
            "OK",
            rejected("too_deep"),
            rejected=1,
            journaled=1,
        )
        for levels in (49, 1000, 20_000)
    ),
    Row(
        16,
        "flood",
        lambda to: to.grpc(message(1, message(2, message(2, b"") * 2_000_000))),
        "INVALID_ARGUMENT",
        refused("too_many_records"),
    ),
    Row(
        17,
        "attributes",
        lambda to: to.grpc(
            raw_logs(record(attributes=[KeyValue(key=f"k{n}", value=AnyValue(int_value=n)) for n in range(200)]))
        ),
        "OK",
        altered("attributes_dropped"),
        count=200 - 128,
    ),
    Row(17, "long", lambda to: to.grpc(logs(log("x" * MIB)).SerializeToString()), "OK", altered("truncated")),
    Row(
        17,
        "elements",
        lambda to: to.grpc(raw_logs(timed(message(5, message(5, message(1, b"") * 1_000_000))))),
        "OK",
        rejected("too_many_elements"),
        rejected=1,
    ),
    Row(
        18,
        "bytes",
        lambda to: to.grpc(raw_logs(timed(message(5, message(1, b"a \xff\xc0\xaf\xed\xa0\x80 b"))))),
        "OK",
        altered("replaced"),
    ),
    Row(19, "body", lambda to: to.grpc(logs(log("a\0b", attributes={"k\0": "v\0"})).SerializeToString()), "OK"),
    Row(19, "service", lambda to: to.grpc(named("a\0b")), "OK"),
    Row(20, "otlp-json", http_json(json_logs(body={"stringValue": "\ud800"})), "200", altered("replaced")),
    Row(20, "rest", lambda to: to.rest(b'{"events": ["\\ud800"]}'), "200", altered("replaced")),
    *(Row(21, f"{value}", lambda to, value=value: to.grpc(gauge(value), Signal.METRICS), "OK") for value in (-0.0, 5e-324)),  # type: ignore[misc]
    Row(21, "rest-nan", lambda to: to.rest(b'{"events": [{"text": "x", "n": NaN}]}'), "400", refused("malformed")),
    Row(21, "rest-1e400", lambda to: to.rest(b'{"events": [{"text": "x", "n": 1e400}]}'), "400", refused("malformed")),
    Row(22, "depth", lambda to: to.rest(b'{"events": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "400", refused("malformed")),
    Row(
        22, "digits", lambda to: to.rest(b'{"events": [{"text": "x", "n": ' + b"9" * 5000 + b"}]}"), "400", refused("malformed")
    ),
    Row(22, "twice", lambda to: to.rest(b'{"events": ["a"], "events": ["b"]}'), "400", refused("malformed")),
    Row(22, "bom", lambda to: to.rest(b"\xef\xbb\xbf" + detect("x")), "400", refused("malformed")),
    Row(22, "utf-16", lambda to: to.rest(detect("x").decode().encode("utf-16")), "400", refused("malformed")),
    Row(22, "otlp-depth", http_json('{"resourceLogs": ' + "[" * 100_000), "400", refused("malformed")),
    *(
        Row(23, f"{time_ns}", lambda to, time_ns=time_ns: to.grpc(logs(log("x", time_ns)).SerializeToString()), "OK")  # type: ignore[misc]
        for time_ns in (0, 1, T0 + 10 * 365 * 86400 * 10**9, 2**64 - 1)
    ),
    Row(25, "no-value", lambda to: to.grpc(raw_logs(timed(message(5, b"")), resource=b"")), "OK"),
    Row(25, "no-resource", lambda to: to.grpc(message(1, message(2, message(2, record())))), "OK", altered("nameless")),
    Row(
        26,
        "bounds",
        lambda to: to.grpc(histogram(bucket_counts=[1, 0], explicit_bounds=[1, 2, 3]), Signal.METRICS),
        "OK",
        rejected("bad_buckets"),
        rejected=1,
    ),
    *(
        Row(
            26,
            f"scale{scale}",
            lambda to, scale=scale: to.grpc(exponential(scale), Signal.METRICS),
            "OK",
            rejected("bad_buckets"),
            rejected=1,
        )
        for scale in (-(2**31), 2**31 - 1)
    ),  # type: ignore[misc]
    Row(27, "ends-first", lambda to: to.grpc(span(end_time_unix_nano=T0 - 9), Signal.TRACES), "OK"),
    Row(27, "own-parent", lambda to: to.grpc(span(parent_span_id=SPAN_ID), Signal.TRACES), "OK"),
    Row(27, "17-bytes", lambda to: to.grpc(span(trace_id=b"t" * 17), Signal.TRACES), "OK", rejected("bad_id"), rejected=1),
    Row(27, "zeros", lambda to: to.grpc(span(trace_id=b"\0" * 16), Signal.TRACES), "OK"),
    Row(28, "unknown-field", lambda to: to.grpc(GOOD + message(15, b"new")), "OK"),
    Row(28, "field-0", lambda to: to.grpc(b"\x02\x00" + GOOD), "INVALID_ARGUMENT", refused("malformed")),
    Row(28, "long-varint", lambda to: to.grpc(GOOD + b"\x78" + b"\xff" * 11), "INVALID_ARGUMENT", refused("malformed")),
    Row(28, "past-the-end", lambda to: to.grpc(GOOD + b"\x0a\x7f"), "INVALID_ARGUMENT", refused("malformed")),
    Row(28, "open-group", lambda to: to.grpc(GOOD + b"\x7b"), "INVALID_ARGUMENT", refused("malformed")),
    Row(29, "base64-id", http_json(json_logs(traceId="dHR0dHR0dHR0dHR0dHR0dA==")), "400", refused("malformed")),
    Row(29, "enum-name", http_json(json_logs(severityNumber="SEVERITY_NUMBER_INFO")), "400", refused("malformed")),
    Row(30, "profiles", lambda to: to.http(GOOD, path="/v1development/profiles"), "404", refused("unknown_path")),
    Row(
        30,
        "grpc",
        lambda to: to.grpc(GOOD, path="/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"),
        "UNIMPLEMENTED",
    ),
)

IDENTITY = (
    Row(33, "long", lambda to: to.grpc(named("s" * 60_000)), "OK"),
    Row(
        33,
        "longer-than-resources-may-be",
        lambda to: to.grpc(named("s" * MIB)),
        "OK",
        rejected("too_many_elements"),
        rejected=1,
    ),
    Row(33, "path", lambda to: to.grpc(named("../../etc/passwd")), "OK"),
    Row(33, "right-to-left", lambda to: to.grpc(named("shop\u202egpj.exe\r\n\U0001f600")), "OK"),
    Row(38, "record", lambda to: to.grpc(logs(log("word " * 40_000)).SerializeToString()), "OK"),
    Row(45, "limit", lambda to: to.rest_get("/v1/streams?limit=1000000000"), "400"),
    Row(45, "cursor", lambda to: to.rest_get("/v1/anomalies?cursor=AAAA"), "400"),
    Row(46, "quote", lambda to: to.rest_get("/v1/anomalies?stream=';drop table driftlock.tenants;--"), "404"),
    Row(46, "order", lambda to: to.rest_get("/v1/anomalies?sort=id;drop"), "400"),
)

ROWS = (*TRANSPORT, *PAYLOAD, *IDENTITY)
