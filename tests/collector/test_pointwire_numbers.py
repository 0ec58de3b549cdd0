"""Numbers of data points read from the wire: of gauges and sums, histograms and summaries, and exponential histograms."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from collector.otlp.limits import OtlpLimits
from collector.otlp.pointwire import read_metrics, read_points
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import PointKind
from tests.collector.oracle.exponential import bound
from tests.collector.otlp_requests import message
from tests.collector.point_wire import (
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    INF,
    LIMITS,
    STALE_NAN,
    SUM,
    SUMMARY,
    columns,
    counts,
    doubles,
    fixed,
    metric,
    number,
    one,
    request,
    shape,
    values,
)
from tests.collector.points_both_ways import assert_same


# ---- numbers ----
@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (fixed(4, 1.5), 1.5),
        (fixed(6, -7), -7.0),
        (fixed(4, 1.5) + fixed(6, 7), 7.0),
        (fixed(6, 7) + fixed(4, 1.5), 1.5),
        (fixed(6, 2**63 - 1), 9.223372036854775807e18),
        (fixed(4, 1.5) + number(9, 4), 1.5),  # of another wire type: unknown
        (fixed(4, 1.5) + message(6, bytes(8)), 1.5),
        (fixed(4, 1.0) + fixed(4, 2.0), 2.0),
        (fixed(4, INF), INF),
    ],
)
def test_of_a_number_that_is_there_twice_the_last_counts(point: bytes, expected: float) -> None:
    assert values(one(GAUGE, point)) == [expected]


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        (fixed(4, 1.0) + number(1, 8), PointKind.STALE),
        (fixed(4, 1.0) + number(2, 8), PointKind.GAUGE),
        (fixed(4, 1.0) + number(2**32, 8), PointKind.GAUGE),
        (fixed(4, STALE_NAN), PointKind.STALE),
        (fixed(4, math.nan), PointKind.GAUGE),
        (b"", PointKind.GAUGE),
    ],
)
def test_stale_points_have_no_number(point: bytes, kind: PointKind) -> None:
    told = one(GAUGE, fixed(2, 5) + point)
    assert told.streams[0]["point_kinds"] == (bytes([kind]) if kind else b"")
    assert (told.streams[0]["starts_ns"] == b"") is (kind is PointKind.STALE)


@pytest.mark.parametrize("data", [SUM, HISTOGRAM, EXPONENTIAL])
@pytest.mark.parametrize("temporality", [0, 1, 2, 3, 2**32, 2**32 + 1, 2**64 - 1])
@pytest.mark.parametrize("monotonic", [0, 1, 2**40])
def test_kinds(data: int, temporality: int, monotonic: int) -> None:
    fields = number(2, 2) + number(temporality, 2) + number(monotonic, 3)
    delta = temporality & 0xFFFF_FFFF == 1
    kinds = {
        SUM: ((PointKind.CUMULATIVE, PointKind.DELTA) if monotonic else (PointKind.GAUGE, PointKind.CHANGE)),
        HISTOGRAM: (PointKind.HISTOGRAM_CUMULATIVE, PointKind.HISTOGRAM_DELTA),
        EXPONENTIAL: (PointKind.HISTOGRAM_CUMULATIVE, PointKind.HISTOGRAM_DELTA),
    }
    told = assert_same(request(metric(data, fixed(3, 1), fields=fields)))
    kind = kinds[data][delta]
    assert told.streams[0]["point_kinds"] == (bytes([kind]) if kind else b"")


def test_columns_that_say_nothing_are_empty() -> None:
    found = columns(request(metric(GAUGE, fixed(4, 1.0), fixed(4, 2.0))))
    empty = (found.starts_ns, found.counts, found.sums, found.shape_sizes, found.shape_at, found.shape)
    assert (found.point_kinds, *map(len, empty)) == (b"", 0, 0, 0, 0, 0, 0)
    assert (list(found.values), list(found.series_index), list(found.instance_index)) == ([1.0, 2.0], [1, 1], [3, 3])


def test_points_of_several_streams_keep_their_order_and_those_left_out_are_not_looked_at() -> None:
    bad = message(1, b"\xff")
    whole = b"".join(
        request(metric(GAUGE, point))
        for point in (fixed(4, 1.0), fixed(4, 2.0), bad, fixed(4, 3.0), fixed(3, 1) + fixed(4, 4.0), fixed(4, 5.0))
    )
    envelope = read_metrics(whole, records_max=6, containers_max=6, limits=LIMITS)
    found = read_points(whole, envelope, array("i", [1, 0, -1, 1, 0, 1]), array("I", [1, 2, 0, 4, 5, 6]), 3, LIMITS)
    assert [list(each.values) for each in found.columns] == [[2.0, 4.0], [1.0, 3.0, 5.0], []]
    assert [list(each.instance_index) for each in found.columns] == [[2, 5], [1, 4, 6], []]
    assert [list(each.times_ns) for each in found.columns] == [[0, 1], [0, 0, 0], []]
    assert [each.series for each in found.columns] == [["x\x1f\x1fg"], ["x\x1f\x1fg"], []]
    assert found.timed is False


# ---- histograms ----
@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (b"", []),
        (counts(6, 4), [(INF, 4.0)]),
        (doubles(7, 1.0, 2.0) + counts(6, 1, 2, 3), [(1.0, 1.0), (2.0, 2.0), (INF, 3.0)]),
        (counts(6, 1, 2) + doubles(7, 1.0) + counts(6, 3) + doubles(7, 2.0), [(1.0, 1.0), (2.0, 2.0), (INF, 3.0)]),
        (fixed(7, 1.0) + fixed(6, 1) + counts(6, 2) + fixed(6, 3) + doubles(7, 2.0), [(1.0, 1.0), (2.0, 2.0), (INF, 3.0)]),
        (doubles(7, 1.0, INF) + counts(6, 1, 2, 3), [(1.0, 1.0), (INF, 5.0)]),
        (doubles(7, INF) + counts(6, 1, 2), [(INF, 3.0)]),
        (counts(6, 2**64 - 1), [(INF, 2.0**64)]),
        (counts(6, 2**53 + 1), [(INF, 2.0**53)]),
    ],
)
def test_histogram_shapes(point: bytes, expected: list[tuple[float, float]]) -> None:
    assert shape(one(HISTOGRAM, point)) == expected


@pytest.mark.parametrize(
    ("data", "point", "words"),
    [
        (HISTOGRAM, doubles(7, 1.0), "a histogram with 1 bounds has 2 buckets, not 0"),
        (HISTOGRAM, doubles(7, 1.0) + counts(6, 1), "a histogram with 1 bounds has 2 buckets, not 1"),
        (HISTOGRAM, counts(6, 1, 2), "a histogram with 0 bounds has 1 buckets, not 2"),
        (HISTOGRAM, doubles(7, 2.0, 1.0) + counts(6, 1, 2, 3), "finite numbers that ascend"),
        (HISTOGRAM, doubles(7, 1.0, 1.0) + counts(6, 1, 2, 3), "finite numbers that ascend"),
        (HISTOGRAM, doubles(7, math.nan) + counts(6, 1, 2), "finite numbers that ascend"),
        (HISTOGRAM, doubles(7, -INF, 1.0) + counts(6, 1, 2, 3), "finite numbers that ascend"),
        (HISTOGRAM, counts(6, *[0] * 5), "at most 4 buckets or quantiles"),
        (HISTOGRAM, doubles(7, *map(float, range(5))), "at most 4 buckets or quantiles"),
        (EXPONENTIAL, message(8, message(2, bytes(5))), "at most 4 buckets or quantiles"),
        (EXPONENTIAL, message(9, number(1, 2) * 5), "at most 4 buckets or quantiles"),
        (EXPONENTIAL, number(2 * 65, 6), "at most 64 either way"),
        (EXPONENTIAL, number(2 * 65 - 1, 6), "at most 64 either way"),
        (EXPONENTIAL, number(2**32 - 1, 6), "at most 64 either way"),
        (EXPONENTIAL, fixed(14, -1.0), "the zero threshold"),
        (EXPONENTIAL, fixed(14, INF), "the zero threshold"),
        (EXPONENTIAL, fixed(14, math.nan), "the zero threshold"),
        (SUMMARY, message(6, b"") * 5, "at most 4 buckets or quantiles"),
    ],
)
def test_impossible_buckets(data: int, point: bytes, words: str) -> None:
    good = fixed(3, 1)
    told = assert_same(request(metric(data, good, point, good)), OtlpLimits(buckets_max=4))
    assert told.rejected == {"bad_buckets": 1}
    assert words in told.messages[0]
    assert len(told.streams[0]["lines"]) == 2


@pytest.mark.parametrize(
    ("data", "point"),
    [
        (HISTOGRAM, counts(6, 0, 0, 0, 0) + doubles(7, 1.0, 2.0, 3.0)),
        (EXPONENTIAL, message(8, message(2, bytes(4))) + number(2 * 64, 6)),
        (EXPONENTIAL, number(2 * 64 - 1, 6) + fixed(14, -0.0)),
        (SUMMARY, message(6, b"") * 4),
    ],
)
def test_buckets_at_their_limits(data: int, point: bytes) -> None:
    assert one(data, point, buckets_max=4).rejected == {}


@pytest.mark.parametrize("data", [HISTOGRAM, EXPONENTIAL, SUMMARY])
@pytest.mark.parametrize("body_bytes_max", [1, 9, 12, 20, 40, 60])
def test_long_texts_are_cut(data: int, body_bytes_max: int) -> None:
    at = 9 if data == HISTOGRAM else 1 if data == EXPONENTIAL else 7
    pair = KeyValue(key="é", value=AnyValue(string_value="ü" * 9)).SerializeToString()
    shapes = {
        HISTOGRAM: counts(6, *range(9)) + doubles(7, *map(float, range(8))),
        EXPONENTIAL: message(8, message(2, bytes(range(20)))),
        SUMMARY: message(6, fixed(1, 0.5) + fixed(2, 0.1)) * 5,
    }
    told = one(data, message(at, pair) + shapes[data], text=CanonicalLimits(body_bytes_max=body_bytes_max))
    assert told.cuts[0] == 1
    assert 0 < len(told.streams[0]["lines"][0]) <= body_bytes_max or body_bytes_max < 2


@pytest.mark.parametrize("data", [HISTOGRAM, EXPONENTIAL, SUMMARY])
def test_points_without_a_recorded_value_and_stale_sums(data: int) -> None:
    point = fixed(2, 5) + fixed(4, 3) + fixed(5, 2.0)
    assert one(data, point + number(1, 10) + number(1, 8)).streams[0]["point_kinds"] == bytes([PointKind.STALE])
    assert one(data, point + fixed(5, STALE_NAN)).streams[0]["point_kinds"] == bytes([PointKind.STALE])
    told = one(data, point)
    assert list(array("d", told.streams[0]["counts"])) == [3.0]
    assert list(array("d", told.streams[0]["sums"])) == [2.0]


# ---- exponential histograms ----
def exponential(scale: int, positive: Sequence[int] = (), offset: int = 0, **fields: Any) -> bytes:
    side = m.ExponentialHistogramDataPoint.Buckets(offset=offset, bucket_counts=positive)
    return m.ExponentialHistogramDataPoint(scale=scale, positive=side, **fields).SerializeToString()


def test_sides_in_pieces_are_merged() -> None:
    whole = message(8, number(2 * 3, 1) + message(2, b"\x01\x02\x03"))
    pieces = message(8, number(2 * 9, 1) + number(1, 2)) + fixed(3, 0) + message(8, message(2, b"\x02") + number(2 * 3, 1))
    pieces += message(8, number(3, 2))
    assert shape(one(EXPONENTIAL, pieces)) == shape(one(EXPONENTIAL, whole)) != []


@pytest.mark.parametrize("offset", [2**32 + 6, 2**64 - 1, 5])
def test_offsets_have_32_bits(offset: int) -> None:
    one(EXPONENTIAL, message(8, number(offset, 1) + message(2, b"\x01")))


@pytest.mark.parametrize("scale", [3, 2, 1, 0, -1, -2, -3, -4, -8, -10, -11, -12, -64])
def test_bounds_of_all_exponents(scale: int) -> None:
    """A bucket at indices all over what a double holds, and beyond: each bound has the bits of the oracle's."""
    last = int(1110 * 2.0**scale) + 2
    step = max(1, last // 90)
    indices = [*range(-last, last, step), *range(-3, 4), -(2**31), 2**31 - 1]
    told = assert_same(request(metric(EXPONENTIAL, *[exponential(scale, [1], index) for index in indices])))
    at = array("d", told.streams[0]["shape_at"])
    assert {bound(index, scale) for index in indices} - {0.0} <= set(at)
    assert max(at) == INF


def test_counts_are_summed_without_overflow() -> None:
    told = one(EXPONENTIAL, exponential(20, [2**64 - 1] * 1000, 1, zero_count=2**64 - 1, zero_threshold=4.0))
    assert shape(told) == [(4.0, 1001 * 2.0**64), (INF, 0.0)]
    told = one(EXPONENTIAL, exponential(20, [2**64 - 1, 2**53 + 1, 2], 0))
    assert shape(told)[1][1] == float(2**64 + 2**53 + 2)


@pytest.mark.parametrize("bounds_max", [16, 17, 31, 128, 1000])
@pytest.mark.parametrize("sides", [(300, 0), (0, 300), (150, 150), (5, 300)])
def test_exponential_bounds_max(bounds_max: int, sides: tuple[int, int]) -> None:
    positive, negative = ([index % 7 for index in range(count)] for count in sides)
    side = m.ExponentialHistogramDataPoint.Buckets(offset=-20, bucket_counts=negative)
    told = one(EXPONENTIAL, exponential(4, positive, 9, negative=side), exponential_bounds_max=bounds_max)
    at = [bounds for bounds, _ in shape(told)]
    assert bounds_max // 4 < len(at) <= bounds_max or bounds_max == 1000
    assert at == sorted(set(at))
