"""Metrics on the wire: their scopes and names, how their numbers are to be read, and where their points lie, unparsed."""

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
from collector.otlp.wire import LEN, VARINT, Field, next_field, varint
from driftlock.engine.canonical import Cuts, bounded_identity, scope_identity
from driftlock.engine.event import PointKind
from tests.collector.oracle.wire import RECORDS, RESOURCE, SCOPES, Span, Tally, joined, split

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
_SCOPE, _SCOPE_NAME = 1, 1  # of what holds the metrics, and of the scope itself
_LETTERS: Mapping[tuple[int, PointKind], str] = {
    (_GAUGE, PointKind.GAUGE): "g",
    (_SUM, PointKind.CUMULATIVE): "c",
    (_SUM, PointKind.DELTA): "d",
    (_SUM, PointKind.GAUGE): "l",
    (_SUM, PointKind.CHANGE): "n",
    (_HISTOGRAM, PointKind.HISTOGRAM_CUMULATIVE): "h",
    (_HISTOGRAM, PointKind.HISTOGRAM_DELTA): "H",
    (_EXPONENTIAL, PointKind.HISTOGRAM_CUMULATIVE): "e",
    (_EXPONENTIAL, PointKind.HISTOGRAM_DELTA): "E",
    (_SUMMARY, PointKind.SUMMARY): "s",
}
"""The type of a metric, which is part of what a series is: metrics of one name may be of several."""


@dataclass(frozen=True, slots=True)
class ScopeSpan:
    """The metrics of one instrumentation scope: what tells the scope from others, and where they lie, in order."""

    identity: str
    metrics: list[Span]


@dataclass(frozen=True, slots=True)
class ResourceMetrics:
    """One resource: its own bytes, and its scopes."""

    resource: bytes
    scopes: list[ScopeSpan]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and its data points. `identity` tells it from others of its name (`canonical.series_identity`)."""

    name: str
    message: type[Message]
    kind: PointKind
    points: list[Span]
    identity: str


def resource_metrics(request: bytes, limits: OtlpLimits, cuts: Cuts) -> list[ResourceMetrics]:
    """The resources of a request with the places of their metrics; raises `Malformed`, or `InvalidArgument` over a limit."""
    tops: list[Span] = []
    split(request, (0, len(request)), 1, tops, Tally("resources", limits.containers_max))
    scope_tally, tally = Tally("scopes", limits.containers_max), Tally("metrics", limits.containers_max)
    found: list[ResourceMetrics] = []
    for top in tops:
        places: list[Span] = []
        others = split(request, top, SCOPES, places, scope_tally)
        scopes: list[ScopeSpan] = []
        for place in places:
            metrics: list[Span] = []
            scope = joined(request, split(request, place, RECORDS, metrics, tally), _SCOPE)
            scopes.append(ScopeSpan(_scope_identity(scope, cuts), metrics))
        found.append(ResourceMetrics(joined(request, others, RESOURCE), scopes))
    return found


def _scope_identity(scope: bytes, cuts: Cuts) -> str:
    """That of an InstrumentationScope message; of a name that is there twice the last one counts."""
    name, position, end = b"", 0, len(scope)
    while position < end:
        number, wire_type, start, position = next_field(scope, position, end)
        if number == _SCOPE_NAME and wire_type == LEN:
            name = scope[start:position]
    return scope_identity(_text(name, cuts))


def _text(raw: bytes, cuts: Cuts) -> str:
    """The text of a string field; what is no UTF-8 is replaced and counted."""
    text = raw.decode(errors="replace")
    if "�" in text and text.encode() != raw:
        cuts.replaced += 1
    return text


def metric(request: bytes, place: Span, scope: str, limits: OtlpLimits, tally: Tally, cuts: Cuts) -> Metric:
    """The metric at `place`, of the scope of that identity; of several kinds of data, which is forbidden, the last counts.

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
    kind = _kind(number, dict(_varints(request, others)) if others else {})
    return Metric(
        name=_text(raw[: limits.text.value_bytes_max + 4], cuts),
        message=_MESSAGES.get(number, NumberDataPoint),
        kind=kind,
        points=points,
        identity=bounded_identity(scope, _LETTERS.get((number, kind), "")),
    )


def _varints(request: bytes, fields: list[Field]) -> Iterator[tuple[int, int]]:
    for number, wire_type, start, _ in fields:
        if wire_type == VARINT:
            yield number, varint(request, start)[0]


def _kind(number: int, fields: Mapping[int, int]) -> PointKind:
    """How to read the numbers of the data in field `number` of a metric; of a repeated field the last value counts."""
    delta = fields.get(_TEMPORALITY, 0) & 0xFFFF_FFFF == AGGREGATION_TEMPORALITY_DELTA  # an enumeration has 32 bits
    if number == _SUM:
        if fields.get(_MONOTONIC):
            return PointKind.DELTA if delta else PointKind.CUMULATIVE
        return PointKind.CHANGE if delta else PointKind.GAUGE
    if number in {_HISTOGRAM, _EXPONENTIAL}:
        return PointKind.HISTOGRAM_DELTA if delta else PointKind.HISTOGRAM_CUMULATIVE
    return PointKind.SUMMARY if number == _SUMMARY else PointKind.GAUGE
