"""Export requests made once and sent many times: only the name of the service and the times of the records are written anew.

So a client costs next to nothing, and no two requests are the same bytes, which the server would take for a resend.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

SERVICE = b"bench-service-00000"
TIME_BASE = 0x7EAD_BEEF_0000_0000  # found again in the bytes; no text holds them
SPACING_NS = 1000
TEMPLATES, TEMPLATE_RECORDS = 16, 8_000
BODY_BYTES = 120
WORDS = ("request", "served", "cache", "order", "payment", "session", "upstream", "retry", "batch", "worker", "index", "queue")


@dataclass(frozen=True, slots=True)
class Template:
    """The bytes of a request, and where its services and its times stand.

    `times` is a view of the latter where they are evenly spaced. Records of a request are made equally long for that: writing a
    thousand times costs microseconds then.
    """

    request: bytearray
    services_at: tuple[int, ...]
    times_at: NDArray[np.int64]
    times: NDArray[np.uint8] | None
    records: int

    def stamped(self, services: Sequence[int], time_ns: int) -> bytes:
        """The request of some services, by number, whose records end at `time_ns`, a microsecond after each other."""
        for place, service in zip(self.services_at, services, strict=True):
            self.request[place + len(SERVICE) - 5 : place + len(SERVICE)] = b"%05d" % service
        times = np.arange(time_ns - SPACING_NS * (self.records - 1), time_ns + 1, SPACING_NS, dtype="<u8")
        raw = times.view(np.uint8).reshape(-1, 8)
        if self.times is not None:
            self.times[:] = raw
        else:
            np.frombuffer(self.request, np.uint8)[self.times_at] = raw
        return bytes(self.request)


def templates(shape: str, records: int, resources: int = 1) -> list[Template]:
    """Requests of one shape, each of its own lines, of so many services; the same ones in every process."""
    made = []
    for number in range(max(1, min(TEMPLATES, TEMPLATE_RECORDS // records))):
        source = random.Random(f"{shape} {records} {number}")
        made.append(_template(Shape(source, records, resources), shape))
    return made


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request is made of: records in all, in equal parts of so many resources."""

    source: random.Random
    records: int
    resources: int

    def parts(self) -> list[range]:
        """The numbers of the records of each resource."""
        size = self.records // self.resources
        return [range(start, start + size) for start in range(0, size * self.resources, size)]


def _template(shape: Shape, name: str) -> Template:
    own = bytearray(SHAPES[name](shape))
    records = shape.records // shape.resources * shape.resources
    marks = [own.index((TIME_BASE + record).to_bytes(8, "little")) for record in range(records)]
    services = tuple(match.start() for match in re.finditer(re.escape(SERVICE), own))
    strides = set(np.diff(marks).tolist())
    times = None
    if len(strides) <= 1:
        flat = np.frombuffer(own, np.uint8)[marks[0] :]
        times = np.lib.stride_tricks.as_strided(flat, (records, 8), (strides.pop() if strides else 8, 1))
    return Template(own, services, np.array(marks, dtype=np.int64)[:, None] + np.arange(8), times, records)


def line(source: random.Random, size: int = BODY_BYTES) -> str:
    """A log line of a service: one of some dozens of kinds, with numbers and names that change."""
    kind = source.randrange(40)
    words = " ".join(WORDS[(kind * 7 + step * (1 + kind % 5)) % len(WORDS)] for step in range(6))
    text = f"{words} id={source.getrandbits(40):010x} took={source.randrange(2000)}ms user=u{source.randrange(10**6):06d} "
    return (text + f"path=/api/v{kind % 3}/{WORDS[kind % len(WORDS)]}/{source.randrange(10**5)} " + "done " * 8)[:size]


def _attributes(source: random.Random) -> list[KeyValue]:
    texts = {
        "http.method": source.choice(("GET", "PUT")),
        "peer.address": f"10.0.{source.randrange(10, 99)}.{source.randrange(100, 256)}",
        "pool": f"work-{source.randrange(100, 999)}",
        "function": source.choice(("Handler.run", "Storage.get")),
    }
    made = [KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in texts.items()]
    return [*made, KeyValue(key="status", value=AnyValue(int_value=source.choice((200, 200, 200, 204, 404))))]


def _name(resource: Resource) -> None:
    resource.attributes.add(key="service.name").value.string_value = SERVICE.decode()
    resource.attributes.add(key="host.name").value.string_value = "host-1"


def _logs(shape: Shape, *, attributes: bool) -> bytes:
    request = ExportLogsServiceRequest()
    for part in shape.parts():
        group = request.resource_logs.add()
        _name(group.resource)
        scope = group.scope_logs.add()
        for number in part:
            record = scope.log_records.add(time_unix_nano=TIME_BASE + number, severity_number=9)
            record.body.string_value = line(shape.source)
            if attributes:
                record.severity_text = "INFO"
                record.attributes.extend(_attributes(shape.source))
    return request.SerializeToString()


def _points(shape: Shape) -> bytes:
    request = ExportMetricsServiceRequest()
    for part in shape.parts():
        group = request.resource_metrics.add()
        _name(group.resource)
        scope = group.scope_metrics.add()
        for number in part:
            if number % 10 == 0:
                gauge = scope.metrics.add(name=f"http.server.load.{number // 10 % 50}", unit="1").gauge
            point = gauge.data_points.add(time_unix_nano=TIME_BASE + number, as_double=shape.source.gauss(100, 10))
            point.attributes.extend(_attributes(shape.source))
    return request.SerializeToString()


def _spans(shape: Shape) -> bytes:
    request = ExportTraceServiceRequest()
    source = shape.source
    for part in shape.parts():
        group = request.resource_spans.add()
        _name(group.resource)
        scope = group.scope_spans.add()
        for number in part:
            span = scope.spans.add(name=f"GET /api/{WORDS[number % len(WORDS)]}", kind=2)
            span.start_time_unix_nano, span.end_time_unix_nano = TIME_BASE + number, 2**63 - 1
            span.trace_id, span.span_id, span.parent_span_id = source.randbytes(16), source.randbytes(8), source.randbytes(8)
            span.attributes.extend(_attributes(source))
    return request.SerializeToString()


SHAPES: dict[str, Callable[[Shape], bytes]] = {
    "logs": lambda shape: _logs(shape, attributes=True),
    "plain logs": lambda shape: _logs(shape, attributes=False),
    "points": _points,
    "spans": _spans,
}
"""Shapes by name: logs of 120 bytes with 5 attributes, the same without any, gauge points, spans (5 attributes each)."""
