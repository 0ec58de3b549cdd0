"""Spans as compact columns, in the stream where the traces of an environment are put together.

A span goes there beside its text, which stays with its service. Columns are what is needed to tell how a trace hangs together,
what was called and how long it took; nothing in them is free text but the names of operations.
"""

import re
from array import array
from collections.abc import Callable, Iterable

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.otlp.limits import OtlpLimits
from collector.otlp.senders import Names
from driftlock.engine.canonical import IDENTITY_SEPARATOR, Cuts, cut_utf8
from driftlock.engine.event import RecordBatch, SpanMark, trace_stream_key
from driftlock.engine.ports import StreamBatch

_ESCAPED_SEPARATOR = r"\x1f"


class TraceColumns:
    """Collects the spans of one environment from all resources of a request; `batch()` hands them over in that order."""

    __slots__ = (
        "_durations",
        "_environment",
        "_historical",
        "_instance_index",
        "_instances",
        "_limits",
        "_marks",
        "_operations",
        "_operations_room",
        "_parents",
        "_redact",
        "_series_index",
        "_spans",
        "_times",
        "_traces",
    )

    def __init__(self, environment: str, historical: bool, limits: OtlpLimits, redact: Callable[[str], str]) -> None:
        self._environment = environment
        self._historical = historical
        self._limits = limits
        self._redact = redact
        self._instances = Names(limits.instances_max)
        self._operations: dict[str, int] = {}
        self._operations_room = limits.operations_bytes_max
        self._traces: list[bytes] = []
        self._spans: list[bytes] = []
        self._parents: list[bytes] = []
        self._marks: list[bytes] = []
        self._times = array("Q")
        self._durations = array("Q")
        self._series_index = array("I")
        self._instance_index = array("I")

    def add(self, service: str, instance: str, spans: Iterable[Span]) -> None:
        """Append those of a resource's spans that have a place in a trace; `instance` is as it may be stored."""
        for span in spans:
            self._series_index.append(self._operation(service, span.name, _kind(span)))
            self._instance_index.append(self._instances.number(instance))
            self._traces.append(span.trace_id)
            self._spans.append(span.span_id)
            self._parents.append(span.parent_span_id or bytes(8))
            self._times.append(span.start_time_unix_nano)
            mark = _mark(span)
            self._durations.append(0 if mark & SpanMark.BACKWARDS else span.end_time_unix_nano - span.start_time_unix_nano)
            self._marks.append(bytes([mark]))

    def _operation(self, service: str, sent: str, kind: int) -> int:
        """The number of an operation; those over `operations_bytes_max` share one without a name for each service and kind."""
        identity = f"{service}{IDENTITY_SEPARATOR}{self._name(sent)}{IDENTITY_SEPARATOR}{kind}"
        number = self._operations.get(identity)
        if number is None:
            size = len(identity.encode())
            if size > self._operations_room:
                identity = f"{service}{IDENTITY_SEPARATOR * 2}{kind}"
            else:
                self._operations_room -= size
            number = self._operations.setdefault(identity, len(self._operations) + 1)
        return number

    def _name(self, sent: str) -> str:
        """What is kept of a span's name. The text of the span has it whole, and counts what had to be repaired in it."""
        bytes_max = self._limits.operation_bytes_max
        name = cut_utf8(sent, bytes_max, Cuts())
        return cut_utf8(self._redact(name).replace(IDENTITY_SEPARATOR, _ESCAPED_SEPARATOR), bytes_max, Cuts())

    def batch(self) -> StreamBatch:
        """The spans, without text."""
        instances = self._instances.names()
        return StreamBatch(
            trace_stream_key(self._environment),
            RecordBatch(
                lengths=array("I", bytes(4 * len(self._times))),
                times_ns=self._times,
                historical=self._historical,
                instances=instances,
                instance_index=self._instance_index if instances else array("I"),
                trace_ids=b"".join(self._traces),
                span_ids=b"".join(self._spans),
                series=tuple(self._operations),
                series_index=self._series_index,
                parent_ids=b"".join(self._parents),
                durations_ns=self._durations,
                span_marks=b"".join(self._marks),
            ),
        )


def has_place(span: Span) -> bool:
    """Whether a span has ids that are not all zeros, and no parent or one with an id."""
    trace_id, span_id = span.trace_id, span.span_id
    return len(trace_id) == 16 and len(span_id) == 8 and any(trace_id) and any(span_id) and len(span.parent_span_id) in {0, 8}


def is_sampled(trace_state: str) -> bool:
    """Whether the entry `ot` says that only a share of all traces is sent."""
    for entry in trace_state.split(","):
        key, _, value = entry.strip(" \t").partition("=")
        for part in value.split(";") if key == "ot" else ():
            if (found := re.fullmatch("th:([0-9a-fA-F]{1,14})", part)) and int(found[1], 16) > 0:
                return True
            if (found := re.fullmatch("p:([0-9]{1,2})", part)) and 0 < int(found[1]) < 64:
                return True
    return False


def _kind(span: Span) -> int:
    return span.kind if 0 <= span.kind <= 5 else 0


def _mark(span: Span) -> int:
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    mark = _kind(span)
    if span.status.code == Status.STATUS_CODE_ERROR:
        mark |= SpanMark.ERROR
    if start == 0 or end < start:
        mark |= SpanMark.BACKWARDS
    if is_sampled(span.trace_state):
        mark |= SpanMark.SAMPLED
    return mark
