"""An OTLP request's bytes to columns, stream by stream. Pure: no clock, no I/O, no tenant.

Records keep their order within a stream, whatever resources and scopes they came in. One bad record is rejected alone;
only bytes that are not protobuf, or more of something than its limit, refuse the request.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.otlp.limits import OtlpLimits
from collector.otlp.sanitize import TooManyElements
from collector.otlp.values import plain_attributes
from collector.redact import StreamRules
from collector.routing import Route, Router
from driftlock.engine.canonical import Cuts, TooDeep, utf8
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import StreamBatch
from driftlock.errors import DriftlockError, PayloadTooLarge
from tests.collector.oracle.columns import StreamColumns
from tests.collector.oracle.metrics import Metric, ResourceMetrics, metric, resource_metrics
from tests.collector.oracle.points import data_point
from tests.collector.oracle.records import BadRecord, Reason, log_record, span
from tests.collector.oracle.traces import TraceColumns, has_place
from tests.collector.oracle.values import parse
from tests.collector.oracle.wire import ResourceSpan, Tally, resources
from tests.collector.oracle.wire import Span as Place
from tests.collector.replacing import Replacing

_NAMES = {Signal.LOGS: "log records", Signal.METRICS: "data points", Signal.TRACES: "spans"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request says. `rejected` counts records by reason, `message` (English, bounded) tells the sender why.

    `accepted` counts a span once, though it is in the batch of its service and, if it has a place in a trace, in that of its
    environment's traces too, which come last.
    `timed` is true when every accepted record carries a time: only then can equal bytes be taken for a resend.
    """

    batches: tuple[StreamBatch, ...] = ()
    accepted: int = 0
    rejected: Mapping[Reason, int] = field(default_factory=dict)
    message: str = ""
    cuts: Cuts = field(default_factory=Cuts)
    timed: bool = True


def decode(request: bytes, signal: Signal, limits: OtlpLimits, router: Router, rules: StreamRules | None) -> Decoded:
    """Decode an Export request of `signal`, already decompressed.

    Raises `PayloadTooLarge` over `request_bytes_max`, `InvalidArgument` over a limit that is counted on the wire, and
    `Malformed` for bytes that are not protobuf.
    """
    if len(request) > limits.request_bytes_max:
        raise PayloadTooLarge(f"the request is larger than {limits.request_bytes_max} bytes; send smaller batches")
    if signal is Signal.METRICS:
        return _Decoding(request, limits, router, rules).metrics()
    spans = resources(request, limits, Tally(_NAMES[signal], limits.records_max))
    return _Decoding(request, limits, router, rules).records(signal, spans)


class _Decoding:
    """One request under way."""

    def __init__(self, request: bytes, limits: OtlpLimits, router: Router, rules: StreamRules | None) -> None:
        self._request = request
        self._limits = limits
        self._router = router
        self._redact: Callable[[str], str] | None = rules.text if isinstance(rules, Replacing) else None
        self._cuts = Cuts()
        self._streams: dict[tuple[StreamKey, bool], StreamColumns] = {}
        self._traces: dict[tuple[str, bool], TraceColumns] = {}
        self._rejected: Counter[Reason] = Counter()
        self._messages: dict[Reason, str] = {}
        self._timed = True
        self._text_bytes = 0

    def records(self, signal: Signal, groups: list[ResourceSpan]) -> Decoded:
        """Log records or spans."""
        for group in groups:
            if group.records and (target := self._target(signal, group.resource, len(group.records))):
                columns, route, instance = target
                if signal is Signal.LOGS:
                    self._logs(columns, group.records)
                else:
                    self._trace(route, instance, self._spans(columns, group.records))
                columns.mark_instance(instance)
        return self._decoded(signal)

    def _logs(self, columns: StreamColumns, places: list[Place]) -> None:
        request, limits, cuts, redact = self._request, self._limits, self._cuts, self._redact
        for start, end in places:
            try:
                record = parse(LogRecord, request[start:end], limits, cuts)
                text, time_ns, trace_id, span_id = log_record(record, limits, cuts)
                self._count_text(text)
            except (TooDeep, TooManyElements, BadRecord) as error:
                self._reject(error, 1)
                continue
            if redact is not None:
                text = redact(text)
            if not time_ns:
                self._timed = False
            columns.add(utf8(text, cuts), time_ns, trace_id, span_id)

    def _spans(self, columns: StreamColumns, places: list[Place]) -> list[Span]:
        """Texts of spans; -> those that are accepted and have a place in a trace."""
        placed: list[Span] = []
        for start, end in places:
            try:
                record = parse(Span, self._request[start:end], self._limits, self._cuts)
                text, time_ns, trace_id, span_id = span(record, self._limits, self._cuts)
                self._count_text(text)
            except (TooDeep, TooManyElements, BadRecord) as error:
                self._reject(error, 1)
                continue
            if not time_ns:
                self._timed = False
            columns.add(utf8(self._redacted(text), self._cuts), time_ns, trace_id, span_id)
            if has_place(record):
                placed.append(record)
        return placed

    def _trace(self, route: Route, instance: str, spans: list[Span]) -> None:
        """Columns of the spans of a resource, in the traces of its environment."""
        if not spans:
            return
        key = (route.environment, route.historical)
        traces = self._traces.get(key)
        if traces is None:
            traces = self._traces[key] = TraceColumns(*key, self._limits, self._redacted)
        traces.add(route.service, instance, spans)

    def metrics(self) -> Decoded:
        """Data points: counted first over the whole request, then decoded metric by metric."""
        tally = Tally(_NAMES[Signal.METRICS], self._limits.records_max)
        plan: list[tuple[ResourceMetrics, list[Metric]]] = []
        for group in resource_metrics(self._request, self._limits, self._cuts):
            found: list[Metric] = []
            for scope in group.scopes:
                identity = self._redacted(scope.identity)
                found += [metric(self._request, place, identity, self._limits, tally, self._cuts) for place in scope.metrics]
            plan.append((group, found))
        for group, found in plan:
            count = sum(len(each.points) for each in found)
            if count and (target := self._target(Signal.METRICS, group.resource, count)):
                columns, _, instance = target
                for each in found:
                    self._points(columns, each)
                columns.mark_instance(instance)
        return self._decoded(Signal.METRICS)

    def _points(self, columns: StreamColumns, metric: Metric) -> None:
        for start, end in metric.points:
            try:
                record = parse(metric.message, self._request[start:end], self._limits, self._cuts)
                point = data_point(record, metric, self._limits, self._cuts)
                self._count_text(max(point.text, point.series, key=len))  # one begins with the other
            except (TooDeep, TooManyElements, BadRecord) as error:
                self._reject(error, 1)
                continue
            if not point.time_ns:
                self._timed = False
            series = self._redacted(point.series)
            text = series if point.text is point.series else self._redacted(point.text)
            columns.add_point(utf8(text, self._cuts), series + point.identity, point)

    def _target(self, signal: Signal, resource: bytes, records: int) -> tuple[StreamColumns, Route, str] | None:
        """Columns for the records of a resource, its route, and its instance's name; None when all of them were rejected."""
        try:
            message = parse(Resource, resource, self._limits, self._cuts)
            route = self._router.route(
                signal,
                plain_attributes(
                    message.attributes, self._limits.resource_attributes_max, self._limits.text.depth_max, self._cuts
                ),
            )
        except (TooDeep, TooManyElements) as error:
            self._reject(error, records)
            return None
        key = (route.key, route.historical)
        columns = self._streams.get(key)
        further = (columns is None) + (signal is Signal.TRACES and (route.environment, route.historical) not in self._traces)
        if further and len(self._streams) + len(self._traces) + further > self._limits.streams_max:
            text = f"a request has at most {self._limits.streams_max} streams; send smaller batches"
            self._reject(BadRecord(Reason.TOO_MANY_STREAMS, text), records)
            return None
        if columns is None:
            columns = self._streams[key] = StreamColumns(route, self._limits.instances_max)
        return columns, route, self._redacted(route.instance) if route.instance else ""

    def _count_text(self, text: str) -> None:
        """Raises `BadRecord` for the text with which those of the request would be over their limit."""
        size = len(text.encode())
        if self._text_bytes + size > self._limits.text_bytes_max:
            text = f"the texts of a request have at most {self._limits.text_bytes_max} bytes; send smaller batches"
            raise BadRecord(Reason.TOO_MUCH_TEXT, text)
        self._text_bytes += size

    def _redacted(self, text: str) -> str:
        return text if self._redact is None else self._redact(text)

    def _reject(self, error: DriftlockError, records: int) -> None:
        reason = _reason(error)
        self._rejected[reason] += records
        self._messages.setdefault(reason, error.message)

    def _decoded(self, signal: Signal) -> Decoded:
        batches = [columns.batch() for columns in self._streams.values() if len(columns)]
        accepted = sum(len(part.batch) for part in batches)
        batches += [traces.batch() for traces in self._traces.values()]
        message = ""
        if self._rejected:
            reasons = "; ".join(f"{count} {reason}: {self._messages[reason]}" for reason, count in self._rejected.items())
            message = f"{self._rejected.total()} {_NAMES[signal]} rejected: {reasons}"
        return Decoded(tuple(batches), accepted, dict(self._rejected), message, self._cuts, self._timed)


def _reason(error: DriftlockError) -> Reason:
    if isinstance(error, BadRecord):
        return error.reason
    return Reason.TOO_DEEP if isinstance(error, TooDeep) else Reason.TOO_MANY_ELEMENTS
