"""One OTLP metric data point to a series, canonical text and numbers. Pure; raises what concerns the point alone.

Exemplars are not read. A point without a recorded value, or with the NaN by which Prometheus marks the end of a series, is
`PointKind.STALE` and has no numbers.
"""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from google.protobuf.message import Message
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from collector.otlp.limits import OtlpLimits
from driftlock.engine.canonical import Cuts, cut_utf8, scalar_text, series_identity, series_name
from driftlock.engine.event import PointKind
from tests.collector.oracle.exponential import Buckets, explicit
from tests.collector.oracle.metrics import Metric
from tests.collector.oracle.records import BadRecord, Reason, attributes_of

_NO_RECORDED_VALUE = 1  # DataPointFlags, bit 0
_SCALE_MAX = 64  # base 2**(2**-64) and 2**(2**64) are both beyond any double
_NAN = float("nan")
# Prometheus, model/value, StaleNaN: a signalling NaN, which some processors make quiet on the way.
_STALE_BITS, _QUIET_BIT = 0x7FF0_0000_0000_0002, 0x0008_0000_0000_0000


class Shape(NamedTuple):
    """Upper bounds with the observations in each bucket, or quantiles with their values."""

    at: Sequence[float] = ()
    counts: Sequence[float] = ()


NO_SHAPE = Shape()


class Point(NamedTuple):
    """A metric data point: its series, its text, and the numbers of a `RecordBatch` (NaN = not given, 0 = no time).

    `series` is the name that is shown; `identity` follows it to tell the series from others of that name.
    """

    series: str
    text: str
    identity: str
    time_ns: int
    kind: PointKind
    start_ns: int = 0
    value: float = _NAN
    observations: float = _NAN
    total: float = _NAN
    shape: Shape = NO_SHAPE


class _Of(NamedTuple):
    """What a point is of, and how it is read."""

    series: str
    identity: str
    kind: PointKind
    limits: OtlpLimits
    cuts: Cuts


def data_point(point: Any, metric: Metric, limits: OtlpLimits, cuts: Cuts) -> Point:
    """A data point of `metric`; raises `BadRecord` for impossible buckets."""
    attributes = attributes_of(point, limits, cuts)
    series = series_name(metric.name, attributes, limits=limits.text, cuts=cuts)
    of = _Of(series, series_identity(metric.identity, attributes), metric.kind, limits, cuts)
    return _POINTS[type(point)](point, of)


def is_stale(value: float) -> bool:
    """Whether a number is the NaN by which Prometheus says that a series has ended."""
    if value == value:
        return False
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    return bool(bits & ~_QUIET_BIT == _STALE_BITS)


def _number(point: NumberDataPoint, of: _Of) -> Point:
    series = of.series
    which = point.WhichOneof("value")
    value = _NAN if which is None else float(point.as_double if which == "as_double" else point.as_int)
    if point.flags & _NO_RECORDED_VALUE or is_stale(value):
        return Point(series, series, of.identity, point.time_unix_nano, PointKind.STALE)
    return Point(series, series, of.identity, point.time_unix_nano, of.kind, point.start_time_unix_nano, value)


def _shaped(point: Any, of: _Of, what: str, parts: Iterable[str], shape: Shape) -> Point:
    """A point that is more than a number: the series, the kind of point, and its parts as text."""
    series = of.series
    unrecorded = point.flags & _NO_RECORDED_VALUE
    body = "no_recorded_value" if unrecorded else " ".join(parts)
    text = cut_utf8(f"{series} {what} {body}", of.limits.text.body_bytes_max, of.cuts)
    total = point.sum if of.kind is PointKind.SUMMARY or point.HasField("sum") else _NAN
    if unrecorded or is_stale(total):
        return Point(series, text, of.identity, point.time_unix_nano, PointKind.STALE)
    return Point(
        series,
        text,
        of.identity,
        point.time_unix_nano,
        of.kind,
        point.start_time_unix_nano,
        observations=float(point.count),
        total=total,
        shape=shape,
    )


def _histogram(point: HistogramDataPoint, of: _Of) -> Point:
    bounds, counts = point.explicit_bounds, point.bucket_counts
    _check_buckets(max(len(counts), len(bounds)), of.limits)
    if len(counts) != len(bounds) + 1 and (counts or bounds):
        raise BadRecord(
            Reason.BAD_BUCKETS, f"a histogram with {len(bounds)} bounds has {len(bounds) + 1} buckets, not {len(counts)}"
        )
    parts = [f"count={point.count}", *_present(point, "sum", "min", "max")]
    parts += [f"bounds={_numbers(bounds)}", f"buckets={_numbers(counts)}"]
    return _shaped(point, of, "histogram", parts, _explicit_shape(bounds, counts))


def _explicit_shape(bounds: Sequence[float], counts: Sequence[int]) -> Shape:
    """Bounds with +inf at their end, for some senders write it out; raises `BadRecord` where they do not ascend."""
    if not counts:
        return NO_SHAPE
    at = [*bounds, math.inf]
    numbers = list(map(float, counts))
    if len(at) > 1 and at[-2] == math.inf:
        at.pop()
        numbers[-2:] = [numbers[-2] + numbers[-1]]
    if at[0] == -math.inf or not all(low < high for low, high in pairwise(at)):
        raise BadRecord(Reason.BAD_BUCKETS, "the bounds of a histogram are finite numbers that ascend")
    return Shape(at, numbers)


def _exponential(point: ExponentialHistogramDataPoint, of: _Of) -> Point:
    _check_buckets(max(len(point.positive.bucket_counts), len(point.negative.bucket_counts)), of.limits)
    if abs(point.scale) > _SCALE_MAX:
        raise BadRecord(Reason.BAD_BUCKETS, f"the scale of an exponential histogram is at most {_SCALE_MAX} either way")
    if not 0 <= point.zero_threshold < math.inf:
        raise BadRecord(Reason.BAD_BUCKETS, "the zero threshold of an exponential histogram is a finite number from 0 on")
    parts = [f"count={point.count}", *_present(point, "sum", "min", "max")]
    parts += [f"scale={point.scale}", f"zero_count={point.zero_count}"]
    for name, buckets in (("positive", point.positive), ("negative", point.negative)):
        if buckets.bucket_counts:
            parts.append(f"{name}={buckets.offset}:{_numbers(buckets.bucket_counts)}")
    at, counts = explicit(
        Buckets(point.scale, point.positive.offset, point.positive.bucket_counts),
        Buckets(point.scale, point.negative.offset, point.negative.bucket_counts),
        point.zero_count,
        point.zero_threshold,
        of.limits.exponential_bounds_max,
    )
    return _shaped(point, of, "exponential_histogram", parts, Shape(at, counts))


def _summary(point: SummaryDataPoint, of: _Of) -> Point:
    _check_buckets(len(point.quantile_values), of.limits)
    entries = point.quantile_values
    quantiles = ",".join(f"{scalar_text(entry.quantile)}:{scalar_text(entry.value)}" for entry in entries)
    parts = [f"count={point.count}", f"sum={scalar_text(point.sum)}", f"quantiles=[{quantiles}]"]
    shape = Shape([entry.quantile for entry in entries], [entry.value for entry in entries])
    return _shaped(point, of, "summary", parts, shape)


def _check_buckets(count: int, limits: OtlpLimits) -> None:
    if count > limits.buckets_max:
        raise BadRecord(Reason.BAD_BUCKETS, f"a data point has at most {limits.buckets_max} buckets or quantiles")


def _present(point: Message, *names: str) -> list[str]:
    return [f"{name}={scalar_text(getattr(point, name))}" for name in names if point.HasField(name)]


def _numbers(values: Iterable[int | float]) -> str:
    return f"[{','.join(map(scalar_text, values))}]"


_POINTS: dict[type[Message], Callable[[Any, _Of], Point]] = {
    NumberDataPoint: _number,
    HistogramDataPoint: _histogram,
    ExponentialHistogramDataPoint: _exponential,
    SummaryDataPoint: _summary,
}
