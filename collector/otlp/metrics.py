"""A metric on the wire: its name, how its numbers are to be read, and where its points lie, without parsing them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.message import Message
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from collector.otlp.limits import OtlpLimits
from collector.otlp.wire import LEN, VARINT, Field, Span, Tally, next_field, split, varint
from driftlock.engine.canonical import Cuts
from driftlock.engine.event import PointKind

_NAME = 1
_GAUGE, _SUM, _HISTOGRAM, _EXPONENTIAL, _SUMMARY = 5, 7, 9, 10, 11
_MESSAGES: Mapping[int, type[Message]] = {
    _GAUGE: NumberDataPoint,
    _SUM: NumberDataPoint,
    _HISTOGRAM: HistogramDataPoint,
    _EXPONENTIAL: ExponentialHistogramDataPoint,
    _SUMMARY: SummaryDataPoint,
}
_DATA_POINTS, _TEMPORALITY, _MONOTONIC = 1, 2, 3  # fields of what holds the points


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and its data points."""

    name: str
    message: type[Message]
    kind: PointKind
    points: list[Span]


def metric(request: bytes, place: Span, limits: OtlpLimits, tally: Tally, cuts: Cuts) -> Metric:
    """The metric at `place`; of several kinds of data, which the protocol forbids, the last counts.

    An unset or unknown temporality, which the protocol forbids too, is read as cumulative: SDKs send that unless told
    otherwise. Raises `Malformed`, or `InvalidArgument` when the tally of points is over.
    """
    raw = b""
    number = 0
    points: list[Span] = []
    others: list[Field] = []
    position, end = place
    while position < end:
        field_number, wire_type, start, position = next_field(request, position, end)
        if wire_type != LEN:
            continue
        if field_number == _NAME:
            raw = request[start:position]
        elif field_number in _MESSAGES:
            if field_number != number:
                number, points, others = field_number, [], []
            others += split(request, (start, position), _DATA_POINTS, points, tally)
    raw = raw[: limits.text.value_bytes_max + 4]
    name = raw.decode(errors="replace")
    if "�" in name and name.encode() != raw:
        cuts.replaced += 1
    return Metric(
        name, _MESSAGES.get(number, NumberDataPoint), _kind(number, dict(_varints(request, others)) if others else {}), points
    )


def _varints(request: bytes, fields: list[Field]) -> Iterator[tuple[int, int]]:
    for number, wire_type, start, _ in fields:
        if wire_type == VARINT:
            yield number, varint(request, start)[0]


def _kind(number: int, fields: Mapping[int, int]) -> PointKind:
    """How to read the numbers of the data in field `number` of a metric; of a repeated field the last value counts."""
    delta = fields.get(_TEMPORALITY) == AGGREGATION_TEMPORALITY_DELTA
    if number == _SUM:
        if fields.get(_MONOTONIC):
            return PointKind.DELTA if delta else PointKind.CUMULATIVE
        return PointKind.CHANGE if delta else PointKind.GAUGE
    if number in {_HISTOGRAM, _EXPONENTIAL}:
        return PointKind.HISTOGRAM_DELTA if delta else PointKind.HISTOGRAM_CUMULATIVE
    return PointKind.SUMMARY if number == _SUMMARY else PointKind.GAUGE
