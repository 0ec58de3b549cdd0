"""One OTLP record to canonical text: log records and spans. Pure; raises what concerns the record alone."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.otlp.limits import OtlpLimits
from collector.otlp.values import plain, plain_attributes
from driftlock.engine.canonical import Cuts, Value, cut_utf8, log_text, severity_name, span_text
from driftlock.errors import InvalidArgument
from tests.collector.oracle.exceptions import EXCEPTION, exception_text

_KINDS = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("", "OK", "ERROR")


class Reason(StrEnum):
    """Why a record was rejected; labels of metrics and words of messages."""

    TOO_DEEP = "too_deep"
    TOO_MANY_ELEMENTS = "too_many_elements"
    BAD_ID = "bad_id"
    BAD_BUCKETS = "bad_buckets"
    TOO_MANY_STREAMS = "too_many_streams"
    TOO_MUCH_TEXT = "too_much_text"


class BadRecord(InvalidArgument):
    """A record that says something impossible."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def log_record(record: LogRecord, limits: OtlpLimits, cuts: Cuts) -> tuple[str, int, bytes, bytes]:
    """Text, time in ns (0 = none), trace id and span id; ids of a wrong length count as absent, as the protocol says."""
    depth_max = limits.text.depth_max
    text = log_text(
        record.body.string_value or plain(record.body, depth_max),
        severity=record.severity_text or severity_name(record.severity_number),
        event_name=record.event_name,
        attributes=attributes_of(record, limits, cuts),
        limits=limits.text,
        cuts=cuts,
    )
    trace_id, span_id = record.trace_id, record.span_id
    return (
        text,
        record.time_unix_nano or record.observed_time_unix_nano,
        trace_id if len(trace_id) == 16 else b"",
        span_id if len(span_id) == 8 else b"",
    )


def attributes_of(owner: Any, limits: OtlpLimits, cuts: Cuts) -> dict[str, Value]:
    """The attributes of a record, a span event or a data point; raises `TooDeep`."""
    return plain_attributes(owner.attributes, limits.text.attributes_max, limits.text.depth_max, cuts)


def span(record: Span, limits: OtlpLimits, cuts: Cuts) -> tuple[str, int, bytes, bytes]:
    """Text, start time in ns, trace id and span id; raises `BadRecord` for ids that are neither empty nor of their length.

    Exceptions come before the attributes: whatever of a long record may be cut off later, it is not them.
    """
    trace_id, span_id = record.trace_id, record.span_id
    if len(trace_id) not in {0, 16} or len(span_id) not in {0, 8} or len(record.parent_span_id) not in {0, 8}:
        raise BadRecord(Reason.BAD_ID, "a trace id is 16 bytes and a span id 8")
    events = record.events
    exceptions = [event for event in events if event.name == EXCEPTION] if events else []
    text = span_text(
        _named(_KINDS, record.kind),
        record.name,
        _status_text(record, exceptions, limits, cuts),
        attributes_of(record, limits, cuts),
        ((event.name, attributes_of(event, limits, cuts)) for event in events if event.name != EXCEPTION),
        limits=limits.text,
        cuts=cuts,
    )
    return text, record.start_time_unix_nano, trace_id, span_id


def _named(names: Sequence[str], number: int) -> str:
    """The name of an enum value; one that this version does not know is its number."""
    return names[number] if 0 <= number < len(names) else str(number)


def _status_text(record: Span, exceptions: Sequence[Span.Event], limits: OtlpLimits, cuts: Cuts) -> str:
    """How the work ended: the status and its message, then exceptions, as many as fit into a value."""
    code, message = _named(_STATUSES, record.status.code), record.status.message
    bytes_max = limits.text.value_bytes_max
    parts = [part for part in (code, cut_utf8(message, bytes_max, cuts)) if part]
    room = bytes_max
    for event in exceptions:
        text = cut_utf8(exception_text(attributes_of(event, limits, cuts), limits, cuts), bytes_max, cuts)
        room -= len(text)
        if room < 0:
            cuts.truncated += 1
            break
        parts.append(text)
    return " ".join(parts)
