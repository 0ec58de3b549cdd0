"""How the numbers of metric data points are told: kinds, starts, counts, sums, shapes."""

import math
import struct
from array import array
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
    Summary,
    SummaryDataPoint,
)

from cbad_cy.points import BUCKETS_KEPT
from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import Reason
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine import records
from driftlock.engine.event import PointKind, RecordBatch, Signal
from tests.collector.oracle.points import is_stale
from tests.collector.otlp_requests import T0, logs, message, metrics, pairs

UNSET, DELTA, CUMULATIVE = AggregationTemporality.values()
STALE_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF0_0000_0000_0002))[0]
QUIET_STALE_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0002))[0]
INF = math.inf


def batch(*found: Metric | bytes, limits: OtlpLimits | None = None) -> RecordBatch:
    """The one batch of metrics; it also survives the journal."""
    body = metrics(*(metric for metric in found if isinstance(metric, Metric))).SerializeToString()
    if found and isinstance(found[0], bytes):
        body = message(1, message(2, b"".join(message(2, metric) for metric in found if isinstance(metric, bytes))))
    (part,) = decode(body, Signal.METRICS, limits or OtlpLimits(), ResourceRouter(), NoRedaction()).batches
    assert repr(records.decode(records.encode(part.batch))) == repr(part.batch)  # NaN is not equal to itself
    return part.batch


def kinds(*found: Metric | bytes) -> list[PointKind]:
    one = batch(*found)
    return [PointKind(kind) for kind in one.point_kinds or bytes(len(one))]


def number(**fields: Any) -> NumberDataPoint:
    return NumberDataPoint(**{"time_unix_nano": T0, "as_double": 1.5} | fields)


def histogram(temporality: int = CUMULATIVE, **fields: Any) -> Metric:
    point = HistogramDataPoint(**{"time_unix_nano": T0, "count": 3} | fields)
    return Metric(name="h", histogram=Histogram(data_points=[point], aggregation_temporality=temporality))  # type: ignore[arg-type]


def exponential(temporality: int = CUMULATIVE, **fields: Any) -> Metric:
    point = ExponentialHistogramDataPoint(**{"time_unix_nano": T0, "count": 3} | fields)
    return Metric(
        name="e",
        exponential_histogram=ExponentialHistogram(data_points=[point], aggregation_temporality=temporality),  # type: ignore[arg-type]
    )


def summary(**fields: Any) -> Metric:
    return Metric(
        name="s", summary=Summary(data_points=[SummaryDataPoint(**{"time_unix_nano": T0, "count": 2, "sum": 3.0} | fields)])
    )


@pytest.mark.parametrize(
    ("temporality", "monotonic", "kind"),
    [
        (DELTA, True, PointKind.DELTA),
        (DELTA, False, PointKind.CHANGE),
        (CUMULATIVE, True, PointKind.CUMULATIVE),
        (CUMULATIVE, False, PointKind.GAUGE),
        (UNSET, True, PointKind.CUMULATIVE),
        (UNSET, False, PointKind.GAUGE),
        (77, True, PointKind.CUMULATIVE),
    ],
)
def test_sums(temporality: int, monotonic: bool, kind: PointKind) -> None:
    points = Sum(data_points=[number()], aggregation_temporality=temporality, is_monotonic=monotonic)  # type: ignore[arg-type]
    assert kinds(Metric(name="m", sum=points)) == [kind]


@pytest.mark.parametrize("make", [histogram, exponential])
@pytest.mark.parametrize(
    ("temporality", "kind"),
    [
        (DELTA, PointKind.HISTOGRAM_DELTA),
        (CUMULATIVE, PointKind.HISTOGRAM_CUMULATIVE),
        (UNSET, PointKind.HISTOGRAM_CUMULATIVE),
    ],
)
def test_histograms(make: Any, temporality: int, kind: PointKind) -> None:
    assert kinds(make(temporality)) == [kind]


def test_gauges_and_summaries() -> None:
    assert kinds(Metric(name="g", gauge=Gauge(data_points=[number()])), summary()) == [PointKind.GAUGE, PointKind.SUMMARY]


def test_what_says_nothing_is_left_out() -> None:
    one = batch(Metric(name="g", gauge=Gauge(data_points=[number()])))
    assert (one.point_kinds, one.starts_ns, one.counts, one.sums) == (b"", array("Q"), array("d"), array("d"))
    assert (one.shape_sizes, one.shape_at, one.shape) == (array("I"), array("d"), array("d"))
    (part,) = decode(logs().SerializeToString(), Signal.LOGS, OtlpLimits(), ResourceRouter(), NoRedaction()).batches or (None,)
    assert part is None


def test_temporality_is_read_wherever_it_stands() -> None:
    """Fields of a message come in any order, in pieces, and of a repeated one the last counts."""
    point = message(1, number().SerializeToString())
    delta, cumulative, monotonic, level = b"\x10\x01", b"\x10\x02", b"\x18\x01", b"\x18\x00"
    for data in (
        message(7, delta + monotonic + point),
        message(7, point + monotonic + delta),
        message(7, cumulative + point + delta + level + monotonic),
        message(7, point) + message(7, delta) + message(1, b"late name") + message(7, monotonic),
        message(7, message(2, b"not a varint") + point + monotonic + delta),
    ):
        assert kinds(message(1, b"m") + data) == [PointKind.DELTA]
    # another kind of data replaces the one before with all that it said
    assert kinds(message(7, delta + monotonic + point) + message(9, message(1, b""))) == [PointKind.HISTOGRAM_CUMULATIVE]
    assert kinds(message(9, delta) + message(7, point)) == [PointKind.GAUGE]


def test_starts_are_told() -> None:
    one = batch(
        Metric(name="g", gauge=Gauge(data_points=[number(start_time_unix_nano=5), number()])), histogram(start_time_unix_nano=7)
    )
    assert one.starts_ns == array("Q", [5, 0, 7])


@pytest.mark.parametrize(
    "metric",
    [
        Metric(name="g", gauge=Gauge(data_points=[number(flags=1)])),
        Metric(name="g", gauge=Gauge(data_points=[number(as_double=STALE_NAN)])),
        Metric(name="g", gauge=Gauge(data_points=[number(as_double=QUIET_STALE_NAN)])),
        Metric(name="c", sum=Sum(data_points=[number(as_double=STALE_NAN)], is_monotonic=True)),
        histogram(flags=1, bucket_counts=[3], sum=1.0),
        histogram(sum=STALE_NAN),
        exponential(flags=1, positive={"bucket_counts": [3]}),
        exponential(sum=STALE_NAN),
        summary(flags=1),
        summary(sum=STALE_NAN, quantile_values=[{"quantile": 0.5, "value": STALE_NAN}]),
    ],
)
def test_the_end_of_a_series_has_no_numbers(metric: Metric) -> None:
    one = batch(metric)
    assert one.point_kinds == bytes([PointKind.STALE])
    assert all(map(math.isnan, (*one.values, *one.counts, *one.sums)))
    assert (one.shape_at, one.starts_ns) == (array("d"), array("Q"))


@pytest.mark.parametrize(
    "value", [math.nan, -math.nan, INF, 0.0, 1.5, struct.unpack("<d", struct.pack("<Q", 0x7FF0_0000_0000_0003))[0]]
)
def test_other_numbers_are_not_the_end(value: float) -> None:
    assert not is_stale(value)
    assert kinds(Metric(name="g", gauge=Gauge(data_points=[number(as_double=value)]))) == [PointKind.GAUGE]


def test_histogram_numbers() -> None:
    one = batch(
        histogram(count=6, sum=9.5, bucket_counts=[1, 2, 3], explicit_bounds=[0.5, 2]),
        histogram(count=3),
        histogram(count=3, bucket_counts=[3]),
        histogram(count=6, bucket_counts=[1, 2, 3], explicit_bounds=[0.5, INF]),
    )
    assert list(one.counts) == [6, 3, 3, 6]
    assert repr(list(one.sums)) == "[9.5, nan, nan, nan]"
    assert one.shape_sizes == array("I", [3, 0, 1, 2])
    assert list(one.shape_at) == [0.5, 2, INF, INF, 0.5, INF]
    assert list(one.shape) == [1, 2, 3, 3, 1, 5]


@pytest.mark.parametrize("bounds", [[1, 1], [2, 1], [math.nan, 1], [1, math.nan], [-INF, 1], [INF, 1], [INF, INF]])
def test_bounds_that_do_not_ascend_are_rejected_alone(bounds: list[float]) -> None:
    request = metrics(histogram(bucket_counts=[1, 1, 1], explicit_bounds=bounds), summary()).SerializeToString()
    decoded = decode(request, Signal.METRICS, OtlpLimits(), ResourceRouter(), NoRedaction())
    assert (decoded.accepted, decoded.rejected) == (1, {Reason.BAD_BUCKETS: 1})


@pytest.mark.parametrize("threshold", [-1.0, math.nan, INF])
def test_zero_thresholds_are_finite_numbers(threshold: float) -> None:
    request = metrics(exponential(zero_threshold=threshold)).SerializeToString()
    assert decode(request, Signal.METRICS, OtlpLimits(), ResourceRouter(), NoRedaction()).rejected == {Reason.BAD_BUCKETS: 1}


def test_exponential_numbers() -> None:
    one = batch(exponential(count=10, sum=2.5, scale=1, zero_count=3, positive={"offset": 2, "bucket_counts": [5, 0, 2]}))
    assert (list(one.counts), list(one.sums)) == ([10], [2.5])
    assert list(one.shape_at) == [0, 2, 2 * math.sqrt(2), 4, 4 * math.sqrt(2), INF]
    assert list(one.shape) == [3, 0, 5, 0, 2, 0]


def test_exponential_bounds_are_limited() -> None:
    wide = exponential(scale=3, positive={"offset": -500, "bucket_counts": [1] * 1000})
    for most in (16, 100):
        one = batch(wide, limits=OtlpLimits(exponential_bounds_max=most))
        assert most / 2 - 4 <= one.shape_sizes[0] <= most
        assert sum(one.shape) == 1000
    with pytest.raises(ValueError, match="exponential_bounds_max must be at least 16"):
        OtlpLimits(exponential_bounds_max=15)
    assert OtlpLimits().exponential_bounds_max <= BUCKETS_KEPT  # what is kept of a series


def test_summary_numbers() -> None:
    one = batch(summary(quantile_values=[{"quantile": 0.5, "value": 1.0}, {"quantile": 0.99, "value": math.nan}]), summary())
    assert (list(one.counts), list(one.sums)) == ([2, 2], [3, 3])
    assert (one.shape_sizes, list(one.shape_at)) == (array("I", [2, 0]), [0.5, 0.99])
    assert one.shape[0] == 1.0
    assert math.isnan(one.shape[1])


def test_exemplars_are_not_read() -> None:
    plain, with_one = (
        number(),
        number(exemplars=[Exemplar(as_double=99.0, time_unix_nano=T0, filtered_attributes=pairs({"a": 1}))]),
    )
    found = [batch(Metric(name="g", gauge=Gauge(data_points=[point]))) for point in (plain, with_one)]
    assert found[0] == found[1]
