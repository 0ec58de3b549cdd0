"""One OTLP record to canonical text: log records, spans, metric data points. Pure; raises what concerns the record alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.protobuf.message import Message
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.otlp.limits import OtlpLimits
from collector.otlp.values import plain, plain_attributes
from driftlock.engine.canonical import Cuts, Value, cut_utf8, log_text, scalar_text, series_name, severity_name, span_text
from driftlock.errors import InvalidArgument

_KINDS = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("", "OK", "ERROR")
_NO_RECORDED_VALUE = 1  # DataPointFlags, bit 0
_SCALE_MAX = 64  # base 2**(2**-64) and 2**(2**64) are both beyond any double
_NAN = float("nan")


class Reason(StrEnum):
    """Why a record was rejected; labels of metrics and words of messages."""

    TOO_DEEP = "too_deep"
    TOO_MANY_ELEMENTS = "too_many_elements"
    BAD_ID = "bad_id"
    BAD_BUCKETS = "bad_buckets"
    TOO_MANY_STREAMS = "too_many_streams"


class BadRecord(InvalidArgument):
    """A record that says something impossible."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Point:
    """A metric data point: its series, its text and its number (NaN where it is not one number)."""

    series: str
    text: str
    time_ns: int
    value: float


def log_record(record: LogRecord, limits: OtlpLimits, cuts: Cuts) -> tuple[str, int, bytes, bytes]:
    """Text, time in ns (0 = none), trace id and span id; ids of a wrong length count as absent, as the protocol says."""
    depth_max = limits.text.depth_max
    text = log_text(
        record.body.string_value or plain(record.body, depth_max),
        severity=record.severity_text or severity_name(record.severity_number),
        event_name=record.event_name,
        attributes=_attributes(record, limits, cuts),
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


def _attributes(owner: Any, limits: OtlpLimits, cuts: Cuts) -> dict[str, Value]:
    return plain_attributes(owner.attributes, limits.text.attributes_max, limits.text.depth_max, cuts)


def span(record: Span, limits: OtlpLimits, cuts: Cuts) -> tuple[str, int, bytes, bytes]:
    """Text, start time in ns, trace id and span id; raises `BadRecord` for ids that are neither empty nor of their length."""
    trace_id, span_id = record.trace_id, record.span_id
    if len(trace_id) not in {0, 16} or len(span_id) not in {0, 8}:
        raise BadRecord(Reason.BAD_ID, "a trace id is 16 bytes and a span id 8")
    text = span_text(
        _named(_KINDS, record.kind),
        record.name,
        _status_text(record, limits, cuts),
        _attributes(record, limits, cuts),
        ((event.name, _attributes(event, limits, cuts)) for event in record.events),
        limits=limits.text,
        cuts=cuts,
    )
    return text, record.start_time_unix_nano, trace_id, span_id


def _named(names: Sequence[str], number: int) -> str:
    """The name of an enum value; one that this version does not know is its number."""
    return names[number] if 0 <= number < len(names) else str(number)


def _status_text(record: Span, limits: OtlpLimits, cuts: Cuts) -> str:
    code, message = _named(_STATUSES, record.status.code), record.status.message
    return " ".join(part for part in (code, cut_utf8(message, limits.text.value_bytes_max, cuts)) if part)


def data_point(point: Message, metric: str, limits: OtlpLimits, cuts: Cuts) -> Point:
    """Any kind of data point; raises `BadRecord` for impossible buckets."""
    return _POINTS[type(point)](point, metric, limits, cuts)


def _series(point: Any, metric: str, limits: OtlpLimits, cuts: Cuts) -> str:
    return series_name(metric, _attributes(point, limits, cuts), limits=limits.text, cuts=cuts)


def _number(point: NumberDataPoint, metric: str, limits: OtlpLimits, cuts: Cuts) -> Point:
    series = _series(point, metric, limits, cuts)
    which = point.WhichOneof("value")
    value = _NAN
    if which is not None and not point.flags & _NO_RECORDED_VALUE:
        value = float(point.as_double if which == "as_double" else point.as_int)
    return Point(series, series, point.time_unix_nano, value)


def _shaped(point: Any, metric: str, kind: str, parts: Iterable[str], limits: OtlpLimits, cuts: Cuts) -> Point:
    """A point that is more than a number: the series, the kind of point, and its parts as text."""
    series = _series(point, metric, limits, cuts)
    body = "no_recorded_value" if point.flags & _NO_RECORDED_VALUE else " ".join(parts)
    text = cut_utf8(f"{series} {kind} {body}", limits.text.body_bytes_max, cuts)
    return Point(series, text, point.time_unix_nano, _NAN)


def _histogram(point: HistogramDataPoint, metric: str, limits: OtlpLimits, cuts: Cuts) -> Point:
    counts, bounds = len(point.bucket_counts), len(point.explicit_bounds)
    _check_buckets(max(counts, bounds), limits)
    if counts != bounds + 1 and (counts or bounds):
        raise BadRecord(Reason.BAD_BUCKETS, f"a histogram with {bounds} bounds has {bounds + 1} buckets, not {counts}")
    parts = [f"count={point.count}", *_present(point, "sum", "min", "max")]
    parts += [f"bounds={_numbers(point.explicit_bounds)}", f"buckets={_numbers(point.bucket_counts)}"]
    return _shaped(point, metric, "histogram", parts, limits, cuts)


def _exponential(point: ExponentialHistogramDataPoint, metric: str, limits: OtlpLimits, cuts: Cuts) -> Point:
    _check_buckets(max(len(point.positive.bucket_counts), len(point.negative.bucket_counts)), limits)
    if abs(point.scale) > _SCALE_MAX:
        raise BadRecord(Reason.BAD_BUCKETS, f"the scale of an exponential histogram is at most {_SCALE_MAX} either way")
    parts = [f"count={point.count}", *_present(point, "sum", "min", "max")]
    parts += [f"scale={point.scale}", f"zero_count={point.zero_count}"]
    for name, buckets in (("positive", point.positive), ("negative", point.negative)):
        if buckets.bucket_counts:
            parts.append(f"{name}={buckets.offset}:{_numbers(buckets.bucket_counts)}")
    return _shaped(point, metric, "exponential_histogram", parts, limits, cuts)


def _summary(point: SummaryDataPoint, metric: str, limits: OtlpLimits, cuts: Cuts) -> Point:
    _check_buckets(len(point.quantile_values), limits)
    quantiles = ",".join(f"{scalar_text(entry.quantile)}:{scalar_text(entry.value)}" for entry in point.quantile_values)
    parts = [f"count={point.count}", f"sum={scalar_text(point.sum)}", f"quantiles=[{quantiles}]"]
    return _shaped(point, metric, "summary", parts, limits, cuts)


def _check_buckets(count: int, limits: OtlpLimits) -> None:
    if count > limits.buckets_max:
        raise BadRecord(Reason.BAD_BUCKETS, f"a data point has at most {limits.buckets_max} buckets or quantiles")


def _present(point: Message, *names: str) -> list[str]:
    return [f"{name}={scalar_text(getattr(point, name))}" for name in names if point.HasField(name)]


def _numbers(values: Iterable[int | float]) -> str:
    return f"[{','.join(map(scalar_text, values))}]"


_POINTS: dict[type[Message], Callable[[Any, str, OtlpLimits, Cuts], Point]] = {
    NumberDataPoint: _number,
    HistogramDataPoint: _histogram,
    ExponentialHistogramDataPoint: _exponential,
    SummaryDataPoint: _summary,
}
