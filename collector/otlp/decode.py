"""An OTLP request's bytes to columns, stream by stream. Pure: no clock, no I/O, no tenant.

request ── envelope: resources, places of their records ──> routes: resource -> stream ──> native reader ──> columns

Records keep their order within a stream, whatever resources and scopes they came in. One bad record is rejected alone;
only bytes that are not protobuf, or more of something than its limit, refuse the request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from collector.otlp.envelope import Envelope, read_envelope
from collector.otlp.limits import OtlpLimits
from collector.otlp.logwire import LogColumns, read_logs
from collector.otlp.pointwire import PointColumns, read_metrics, read_points
from collector.otlp.reasons import READ, Reason, explanation
from collector.otlp.redaction import redacted_series
from collector.otlp.spanwire import SpanTexts, read_spans
from collector.otlp.targets import Target, Targets
from collector.otlp.traces import trace_batches
from collector.otlp.wire import Malformed, next_field
from collector.redact import Lines, Redactor, StreamRules, Texts
from collector.routing import Router, Routes
from driftlock.engine.canonical import Cuts
from driftlock.engine.event import RecordBatch, Signal
from driftlock.engine.ports import StreamBatch
from driftlock.errors import PayloadTooLarge

_NAMES = {Signal.LOGS: "log records", Signal.METRICS: "data points", Signal.TRACES: "spans"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request says. `rejected` counts records by reason, `message` (English, bounded) tells the sender why.

    `accepted` counts a span once, though it is in the batch of its service and, if it has a place in a trace, in that of its
    environment's traces too, which come last. `nameless` are those of them in streams of resources without a service's name.
    `timed` is true when every accepted record carries a time: only then can equal bytes be taken for a resend. `read` counts
    the log records and spans on the wire, before any of them is looked at, or the points that were read: what is neither
    accepted nor rejected was lost on the way. Of `redacted` accepted records a rule took something out of the text.
    """

    batches: tuple[StreamBatch, ...] = ()
    accepted: int = 0
    rejected: Mapping[Reason, int] = field(default_factory=dict)
    message: str = ""
    cuts: Cuts = field(default_factory=Cuts)
    timed: bool = True
    nameless: int = 0
    read: int = 0
    redacted: int = 0


class Decoder:
    """Decodes requests, from any number of threads; it remembers the routes of resources that come again and again."""

    def __init__(self, limits: OtlpLimits, router: Router, rules: StreamRules | None = None) -> None:
        """`rules` hold for requests that come without rules of their own."""
        self._limits = limits
        self._routes = Routes(router)
        self._rules = rules

    def is_quick(self, request: bytes) -> bool:
        """Whether to decode a request takes less than to hand it to a thread, or some milliseconds at most."""
        if len(request) > self._limits.inline_bytes_max:
            return False
        position = 0
        try:
            for _ in range(self._limits.inline_resources_max + 1):
                if position >= len(request):
                    return True
                position = next_field(request, position, len(request))[3]
        except Malformed:
            return True  # what is damaged at its beginning is soon refused
        return False

    def decode(self, request: bytes, signal: Signal, bound: str | None = None, rules: StreamRules | None = None) -> Decoded:
        """Decode an Export request of `signal`, already decompressed. `bound` names the only stream that may be written to.

        `rules` are those of the sender's tenant: what they find is in nothing that is returned.

        Raises `PayloadTooLarge` over `request_bytes_max`, `InvalidArgument` over a limit that is counted on the wire, and
        `Malformed` for bytes that are not protobuf.
        """
        if len(request) > self._limits.request_bytes_max:
            raise PayloadTooLarge(f"the request is larger than {self._limits.request_bytes_max} bytes; send smaller batches")
        decoding = _Decoding(request, signal, self._limits, self._routes, rules or self._rules, bound)
        return {Signal.LOGS: decoding.logs, Signal.METRICS: decoding.metrics, Signal.TRACES: decoding.spans}[signal]()


def decode(
    request: bytes,
    signal: Signal,
    limits: OtlpLimits,
    router: Router,
    rules: StreamRules | None = None,
    bound: str | None = None,
) -> Decoded:
    """Decode one request and remember nothing; see `Decoder.decode`."""
    return Decoder(limits, router, rules).decode(request, signal, bound)


class _Decoding:
    """One request under way."""

    def __init__(
        self,
        request: bytes,
        signal: Signal,
        limits: OtlpLimits,
        routes: Routes,
        rules: StreamRules | None,
        bound: str | None,
    ) -> None:
        self._request, self._signal, self._limits, self._bound = request, signal, limits, bound
        self._cuts = Cuts()
        self._to = Targets(routes, limits, rules, self._cuts, bound)
        self._batches: list[StreamBatch] = []
        self._accepted = self._nameless = self._read = self._redacted = 0

    def logs(self) -> Decoded:
        """Log records."""
        envelope = self._envelope()
        to = self._to
        read = read_logs(self._request, envelope, to.streams, to.senders, len(to.targets), self._limits)
        for target, columns in zip(to.targets, read.columns, strict=True):
            self._lines(target, columns)
        return self._decoded(read.rejected, (), read.cuts, read.timed)

    def spans(self) -> Decoded:
        """Spans: their texts by service, their columns by environment. A bound sender's are put together to no traces."""
        envelope = self._envelope()
        to = self._to
        read = read_spans(
            self._request,
            envelope,
            to.streams,
            to.senders,
            len(to.targets),
            to.environments,
            to.services,
            len(to.places),
            self._limits,
        )
        for target, columns in zip(to.targets, read.columns, strict=True):
            self._lines(target, columns)
        if self._bound is None:
            places, services = list(to.places), list(to.service_names)
            self._batches += trace_batches(read.traces, places, services, to.names, self._limits, to.name_redactor)
        return self._decoded(read.rejected, (), read.cuts, read.timed)

    def metrics(self) -> Decoded:
        """Data points."""
        limits, to = self._limits, self._to
        envelope = read_metrics(
            self._request, records_max=limits.records_max, containers_max=limits.containers_max, limits=limits
        )
        to.add(self._signal, envelope.resources, envelope.counts)
        if to.redacts:  # before the identities of series are made of them
            envelope = envelope._replace(scopes=to.redacted_scopes(envelope.scopes, envelope.metrics))
        read = read_points(self._request, envelope, to.streams, to.senders, len(to.targets), limits)
        # Not the points on the wire: of a metric whose data came twice the last ones count (protobuf, "oneof").
        self._read = sum(len(each.times_ns) for each in read.columns) + sum(read.rejected) + to.rejected.total()
        for target, columns in zip(to.targets, read.columns, strict=True):
            self._points(target, columns)
        return self._decoded(read.rejected, read.messages, read.cuts, read.timed)

    def _envelope(self) -> Envelope:
        """Resources and places of log records or spans, and where they go."""
        limits = self._limits
        envelope = read_envelope(
            self._request, records_max=limits.records_max, containers_max=limits.containers_max, what=_NAMES[self._signal]
        )
        self._read = sum(envelope.counts)
        self._to.add(self._signal, envelope.resources, envelope.counts)
        return envelope

    def _lines(self, target: Target, columns: LogColumns | SpanTexts) -> None:
        lines = self._kept(target.redactor, columns)
        sent = target.senders.sent(columns.instance_index)
        batch = RecordBatch(
            text=lines.text,
            lengths=lines.lengths,
            times_ns=columns.times_ns,
            historical=target.route.historical,
            instances=sent.instances,
            instance_index=sent.instance_index,
            versions=sent.versions,
            version_index=sent.version_index,
            trace_ids=columns.trace_ids,
            span_ids=columns.span_ids,
        )
        self._add(target, batch)

    def _points(self, target: Target, columns: PointColumns) -> None:
        lines = self._kept(target.redactor, columns)
        series, index = tuple(columns.series), columns.series_index
        if target.redactor is not None:
            series, index = redacted_series(columns.series, columns.shown, index, target.redactor)
        sent = target.senders.sent(columns.instance_index)
        batch = RecordBatch(
            text=lines.text,
            lengths=lines.lengths,
            times_ns=columns.times_ns,
            historical=target.route.historical,
            instances=sent.instances,
            instance_index=sent.instance_index,
            versions=sent.versions,
            version_index=sent.version_index,
            series=series,
            series_index=index,
            values=columns.values,
            point_kinds=columns.point_kinds,
            starts_ns=columns.starts_ns,
            counts=columns.counts,
            sums=columns.sums,
            shape_sizes=columns.shape_sizes,
            shape_at=columns.shape_at,
            shape=columns.shape,
        )
        self._add(target, batch)

    def _kept(self, redactor: Redactor | None, columns: LogColumns | SpanTexts | PointColumns) -> Lines:
        """The texts of a stream as they may be kept."""
        if redactor is None:
            return Texts(columns.text, columns.lengths)
        lines = redactor.columns(columns.text, columns.lengths)
        self._redacted += lines.records
        self._cuts.truncated += lines.cut
        return lines

    def _add(self, target: Target, batch: RecordBatch) -> None:
        if not len(batch):
            return
        self._batches.append(StreamBatch(target.route.key, batch))
        self._accepted += len(batch)
        self._nameless += len(batch) if target.nameless else 0

    def _decoded(self, rejected: Sequence[int], messages: Sequence[str], cuts: tuple[int, int, int], timed: bool) -> Decoded:
        told = self._to.rejected
        for number, count in enumerate(rejected):
            if count:
                reason = READ[number]
                told[reason] += count
                message = messages[number] if messages else ""
                self._to.messages.setdefault(reason, message or explanation(reason, self._limits))
        self._cuts.add(Cuts(*cuts))
        message = ""
        if told:
            reasons = "; ".join(f"{count} {reason}: {self._to.messages[reason]}" for reason, count in told.items())
            message = f"{told.total()} {_NAMES[self._signal]} rejected: {reasons}"
        batches = tuple(self._batches)
        nameless, read, redacted = self._nameless, self._read, self._redacted
        return Decoded(batches, self._accepted, dict(told), message, self._cuts, timed, nameless, read, redacted)
