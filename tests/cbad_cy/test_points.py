"""What each kind of metric point tells."""

import math
import pickle
from array import array
from dataclasses import replace

import pytest

from cbad_cy.points import (
    BUCKETS_KEPT,
    HISTOGRAM_BYTES,
    NUMBER_BYTES,
    ROLES,
    SERIES_MAX_MOST,
    SHAPE_POINTS_MIN,
    SUMMARY_QUANTILES_MAX,
    Points,
    derived_number,
)
from cbad_cy.reference_points import Buckets, RawPoint
from driftlock.engine.event import PointKind
from tests.cbad_cy.metric_points import INF, NO_D, NO_I, NO_Q, S, columns, counter, histogram, numbers, only, take, told

NAN = math.nan
GAUGE, DELTA, CUMULATIVE, CHANGE, HISTOGRAM_DELTA, HISTOGRAM_CUMULATIVE, SUMMARY, STALE = map(int, PointKind)


def test_sizes() -> None:
    assert NUMBER_BYTES <= 64
    assert NUMBER_BYTES + HISTOGRAM_BYTES <= 4096


@pytest.mark.parametrize("kind", [GAUGE, CHANGE])
def test_levels_are_told_as_they_are(kind: int) -> None:
    points = [RawPoint(1, t * S, kind, 0, value) for t, value in ((1, 5.0), (2, -3.0), (9, 1e300))]
    assert numbers(points) == ([(0, "", 5.0), (1, "", -3.0), (2, "", 1e300)], [0, 0, 0])


def test_columns_may_be_left_out() -> None:
    taken = Points(series_max=1).take(
        array("Q", [7]), array("Q", [9]), NO_Q, b"", array("d", [2.5]), NO_D, NO_D, NO_I, NO_D, NO_D
    )
    assert told(taken) == [(0, "", 2.5)]
    assert (list(taken.times_ns), list(taken.series)) == ([9], [derived_number(7, 0)])


def test_nothing_tells_nothing() -> None:
    taken = take(Points(series_max=1), [])
    assert (told(taken), taken.status) == ([], b"")


def test_a_delta_is_a_rate_of_its_interval() -> None:
    points = [
        RawPoint(1, 10 * S, DELTA, 5 * S, 20.0),
        RawPoint(1, 20 * S, DELTA, 0, 30.0),
        RawPoint(1, 21 * S, DELTA, 99 * S, 0.0),
    ]
    assert numbers(points) == ([(0, "rate", 4.0), (1, "rate", 3.0), (2, "rate", 0.0)], [0, 0, 0])


def test_a_first_delta_without_start_has_no_rate() -> None:
    assert numbers(counter((10, 20), (20, 20), kind=DELTA)) == ([(1, "rate", 2.0)], [1, 0])


def test_a_monotonic_delta_is_never_negative() -> None:
    assert numbers(counter((10, 1), (20, -1), (30, 40), kind=DELTA)) == ([(2, "rate", 2.0)], [1, 4, 0])


def test_a_counter_is_its_increase_by_time() -> None:
    assert numbers(counter((10, 100), (20, 150), (40, 150))) == ([(1, "rate", 5.0), (2, "rate", 0.0)], [1, 0, 0])


def test_a_reset_with_a_new_start_is_measured_from_there() -> None:
    points = [*counter((10, 1000), (20, 1010), start=1), *counter((30, 6), (40, 16), start=24)]
    assert numbers(points) == ([(1, "rate", 1.0), (2, "rate", 1.0), (3, "rate", 1.0)], [1, 0, 0, 0])


def test_a_reset_just_before_its_point_is_only_a_base() -> None:
    """Ten requests in a tenth of a second after a restart would look like a spike."""
    points = [*counter((10, 1000), (20, 1010), start=1), *counter((30, 10), (40, 20), start=29.9)]
    assert numbers(points) == ([(1, "rate", 1.0), (3, "rate", 1.0)], [1, 0, 1, 0])


@pytest.mark.parametrize("start", [0, 1])
def test_a_fall_without_a_new_start_is_only_a_base(start: int) -> None:
    points = counter((10, 1000), (20, 1010), (30, 5), (40, 15), start=start)
    assert numbers(points) == ([(1, "rate", 1.0), (3, "rate", 1.0)], [1, 0, 1, 0])


def test_a_new_start_resets_also_without_a_fall() -> None:
    points = [*counter((10, 5), (20, 15), start=1), *counter((30, 100), start=15), *counter((40, 110), start=15)]
    assert numbers(points) == ([(1, "rate", 1.0), (3, "rate", 1.0)], [1, 0, 1, 0])
    points = [*counter((10, 5), (20, 15)), *counter((30, 100), start=20.0000001)]
    assert numbers(points) == ([(1, "rate", 1.0), (2, "rate", 100 / 9.9999999)], [1, 0, 0])


def test_a_counter_that_begins_anew_with_each_point_is_measured_from_its_starts() -> None:
    points = [point for t in (20, 30, 40) for point in counter((t, 50), start=t - 10)]
    assert numbers(points) == ([(1, "rate", 5.0), (2, "rate", 5.0)], [1, 0, 0])


def test_a_start_that_trembles_is_no_reset() -> None:
    points = [*counter((10, 5), start=1), *counter((20, 15), start=1.9), *counter((30, 25), start=1.1)]
    assert only("rate", points) == [1.0, 1.0]


def test_an_unknown_start_is_a_base() -> None:
    """The specification's way to say so: a point that starts at its own time."""
    points = [*counter((10, 5), (20, 15), start=1), *counter((30, 70), start=30), *counter((40, 80), start=30)]
    assert numbers(points) == ([(1, "rate", 1.0), (3, "rate", 1.0)], [1, 0, 1, 0])


def test_starts_that_always_equal_the_time_say_nothing() -> None:
    points = [point for t in (10, 20, 30, 40) for point in counter((t, t), start=t)]
    assert numbers(points)[1] == [1, 0, 0, 0]
    assert only("rate", points) == [1.0, 1.0, 1.0]


def test_stale_says_that_the_series_ends_and_a_return_is_no_jump() -> None:
    points = [*counter((10, 5), (20, 15)), RawPoint(1, 30 * S, STALE), *counter((1000, 4000), (1010, 4010))]
    assert numbers(points) == ([(1, "rate", 1.0), (4, "rate", 1.0)], [1, 0, 5, 1, 0])
    late = [*counter((10, 5), (20, 15)), RawPoint(1, 5 * S, STALE), *counter((30, 25))]
    assert numbers(late)[1] == [1, 0, 3, 0]
    deltas = [*counter((10, 5), kind=DELTA), RawPoint(1, 20 * S, STALE), *counter((1000, 5), (1010, 10), kind=DELTA)]
    assert numbers(deltas) == ([(3, "rate", 1.0)], [1, 5, 1, 0])


def test_time_goes_forward() -> None:
    points = counter((10, 5), (20, 15), (20, 16), (15, 3), (30, 25))
    assert numbers(points) == ([(1, "rate", 1.0), (4, "rate", 1.0)], [1, 0, 2, 3, 0])


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", [GAUGE, DELTA, CUMULATIVE, CHANGE])
def test_no_number_is_not_learned(kind: int, value: float) -> None:
    before, after = counter((10, 5), kind=kind), counter((20, 15), (30, 25), kind=kind)
    with_it = numbers([*before, *counter((15, value), kind=kind), *after])
    without = numbers([*before, *after])
    assert with_it[1] == [without[1][0], 4, *without[1][1:]]
    assert [number[1:] for number in with_it[0]] == [number[1:] for number in without[0]]


def test_an_increase_beyond_all_numbers_is_a_base() -> None:
    assert numbers(counter((1, -1.7e308), (2, 1.7e308), (3, 1.7e308))) == ([(2, "rate", 0.0)], [1, 1, 0])


def test_a_series_that_changes_its_kind_begins_anew() -> None:
    points = [*counter((10, 5), (20, 15)), *counter((30, 7), kind=GAUGE), *counter((40, 100), (50, 110))]
    assert numbers(points) == ([(1, "rate", 1.0), (2, "", 7.0), (4, "rate", 1.0)], [1, 0, 0, 1, 0])


def test_a_histogram_of_an_interval() -> None:
    point = histogram(10, [10, 20, 10, 0], start=5, kind=HISTOGRAM_DELTA, total=80.0)
    found, status = numbers([point])
    assert status == [0]
    assert found == [(0, "rate", 8.0), (0, "mean", 2.0), (0, "p50", 1.5), (0, "p99", pytest.approx(3.92))]


def test_a_cumulative_histogram_is_told_by_its_increase() -> None:
    points = [histogram(10, [100, 0, 0, 7], total=9.0), histogram(20, [110, 20, 10, 7], total=89.0)]
    found, status = numbers(points)
    assert status == [1, 0]
    assert found == [(1, "rate", 4.0), (1, "mean", 2.0), (1, "p50", 1.5), (1, "p99", pytest.approx(3.92))]


@pytest.mark.parametrize("kind", [HISTOGRAM_DELTA, HISTOGRAM_CUMULATIVE])
def test_an_interval_without_observations_is_only_a_rate(kind: int) -> None:
    held = [0, 0, 0, 0] if kind == HISTOGRAM_DELTA else [1, 2, 3, 4]
    points = [histogram(10, [1, 2, 3, 4], kind=kind, total=5.0), histogram(20, held, kind=kind, total=5.0)]
    assert [number for number in numbers(points)[0] if number[0] == 1] == [(1, "rate", 0.0)]


def test_a_reset_histogram() -> None:
    points = [
        histogram(10, [90, 5, 5, 0], start=1),
        histogram(20, [3, 0, 0, 0], start=1),
        histogram(30, [13, 0, 0, 0], start=1),
    ]
    assert numbers(points)[1] == [1, 1, 0]
    assert only("rate", points) == [1.0]
    points[1:] = [histogram(20, [8, 0, 0, 0], start=12, total=4.0)]
    assert numbers(points) == ([(1, "rate", 1.0), (1, "mean", 0.5), (1, "p50", 0.5), (1, "p99", 0.99)], [1, 0])


def test_a_bucket_that_falls_is_a_reset() -> None:
    assert numbers([histogram(10, [9, 5, 5, 0]), histogram(20, [8, 50, 5, 0]), histogram(30, [18, 50, 5, 0])])[1] == [1, 1, 0]


def test_a_histogram_without_buckets_has_rate_and_mean() -> None:
    points = [RawPoint(1, t * S, HISTOGRAM_DELTA, 0, NAN, 20.0, 60.0) for t in (10, 20)]
    assert numbers(points) == ([(0, "mean", 3.0), (1, "rate", 2.0), (1, "mean", 3.0)], [1, 0])
    one = [histogram(10, [5], [INF], kind=HISTOGRAM_DELTA, start=5)]
    assert numbers(one) == ([(0, "rate", 1.0), (0, "mean", 0.0)], [0])


def test_a_histogram_without_sum_has_no_mean_and_one_without_count_counts_its_buckets() -> None:
    point = histogram(10, [10, 0, 0, 0], start=5, kind=HISTOGRAM_DELTA)
    assert only("mean", [replace(point, sum=NAN)]) == []
    assert only("rate", [replace(point, count=NAN)]) == [2.0]
    assert numbers([replace(point, count=NAN, buckets=Buckets())])[1] == [4]


@pytest.mark.parametrize(
    ("held", "at", "p50", "p99"),
    [
        ([0, 0, 0, 9], (1.0, 2.0, 4.0, INF), 4.0, 4.0),  # above all bounds: the last one
        ([9, 0, 0, 0], (-3.0, 2.0, 4.0, INF), -3.0, -3.0),  # below a first bound that is not positive: that one
        ([0, 8, 0], (-4.0, -2.0, INF), -3.0, -4 * 0.01 + -2 * 0.99),
        ([0, 8], (-1.7e308, 1.7e308), 0.0, 1.7e308 * 0.99 - 1.7e308 * 0.01),
        ([8, 8], (1.0, 2.0), 1.0, 1.98),
    ],
)
def test_quantiles_stay_within_the_bounds(held: list[float], at: tuple[float, ...], p50: float, p99: float) -> None:
    found = {role: value for _, role, value in numbers([histogram(10, held, at, start=5, kind=HISTOGRAM_DELTA)])[0]}
    assert found["p50"] == pytest.approx(p50, abs=1e290 if abs(at[0]) > 1e9 else 0)
    assert found["p99"] == pytest.approx(p99)


@pytest.mark.parametrize(
    ("at", "held"),
    [
        ((1.0, 1.0, INF), (1, 1, 1)),
        ((2.0, 1.0, INF), (1, 1, 1)),
        ((NAN, 1.0, INF), (1, 1, 1)),
        ((1.0, NAN, INF), (1, 1, 1)),
        ((-INF, 1.0, INF), (1, 1, 1)),
        ((1.0, INF, INF), (1, 1, 1)),
        ((1.0, 2.0, INF), (1, -1, 1)),
        ((1.0, 2.0, INF), (1, NAN, 1)),
        ((1.0, 2.0, INF), (1, INF, 1)),
        ((1.0, 2.0, INF), (1, 2.0**65, 1)),
    ],
)
def test_impossible_buckets_are_not_learned(at: tuple[float, ...], held: tuple[float, ...]) -> None:
    good = [histogram(10, [1, 2, 3], (1.0, 2.0, INF)), histogram(20, [11, 2, 3], (1.0, 2.0, INF))]
    bad = replace(histogram(15, held, at), count=3.0)
    found, status = numbers([good[0], bad, good[1]])
    assert status == [1, 4, 0]
    assert [number[1:] for number in found] == [number[1:] for number in numbers(good)[0]]


@pytest.mark.parametrize("count", [-1.0, INF, 2.0**65])
def test_impossible_counts_are_not_learned(count: float) -> None:
    assert numbers([replace(histogram(10, [1, 2, 3, 4]), count=count)]) == ([], [4])
    assert numbers([RawPoint(1, S, SUMMARY, count=count)]) == ([], [4])


def test_a_change_of_shape_costs_bits_and_the_usual_shape_does_not() -> None:
    usual = [histogram(t, [10, 20, 5, 0], start=t - 1, kind=HISTOGRAM_DELTA) for t in range(2, 41)]
    assert numbers(usual[: SHAPE_POINTS_MIN - 1])[0][-1][1] == "p99"
    bits = only("shape", [*usual, histogram(41, [5, 10, 20, 0], start=40, kind=HISTOGRAM_DELTA)])
    assert len(bits) == 40 - SHAPE_POINTS_MIN + 1
    assert max(bits[:-1]) < 0.5
    # 35 KL((1, 2, 4) / 7 || (2, 4, 1) / 7) = 5 (-1 - 2 + 8) bits, a little less for the half observations
    assert bits[-1] == pytest.approx(25, abs=0.5)


def test_the_past_of_a_shape_fades() -> None:
    before = [histogram(t, [100, 0, 0, 0], start=t - 1, kind=HISTOGRAM_DELTA) for t in range(2, 102)]
    after = [histogram(t, [0, 100, 0, 0], start=t - 1, kind=HISTOGRAM_DELTA) for t in range(102, 602)]
    bits = only("shape", [*before, *after])
    assert bits[100 - SHAPE_POINTS_MIN + 1] > 1000
    assert 0 < bits[-1] < 2


def test_buckets_that_appear_are_compared_with_the_empty_room_before() -> None:
    """As an exponential histogram grows: bounds within what was empty tell no reset and keep the past."""
    narrow = [histogram(t, [0, 5 * t, 0], (1.0, 2.0, INF)) for t in range(1, 21)]
    wide = histogram(21, [0, 3, 0, 105, 0, 2, 0], (0.25, 0.5, 1.0, 2.0, 8.0, 16.0, INF))
    found, status = numbers([*narrow, wide])
    assert status == [1] + [0] * 20
    last = {role: value for record, role, value in found if record == 20}
    assert last["rate"] == 10.0
    assert last["p50"] == pytest.approx(1.4)
    assert last["p99"] == pytest.approx(8 + 8 * 0.95)
    assert last["shape"] > 20


def test_a_histogram_that_gets_coarser_is_compared_on_coarse_buckets() -> None:
    fine = [histogram(t, [0, 5 * t, 5 * t, 0], (1.0, 1.5, 2.0, INF)) for t in range(1, 21)]
    coarse = [histogram(21, [0, 210, 0], (1.0, 2.0, INF)), histogram(22, [0, 220, 0], (1.0, 2.0, INF))]
    found, status = numbers([*fine, *coarse])
    assert status == [1] + [0] * 21
    assert [(role, value) for record, role, value in found if record == 21 and role != "shape"] == [
        ("rate", 10.0),
        ("mean", 0.0),
        ("p50", 1.5),
        ("p99", 1.99),
    ]
    assert [value for record, role, value in found if record >= 20 and role == "shape"] == pytest.approx([0, 0], abs=0.2)


def test_other_bounds_begin_another_past() -> None:
    old = [histogram(t, [3, 3, 3, 3], start=t - 1, kind=HISTOGRAM_DELTA) for t in range(2, 22)]
    new = [histogram(t, [3, 3, 3, 3, 3], (0.1, 1.3, 2.3, 5.0, INF), start=t - 1, kind=HISTOGRAM_DELTA) for t in range(22, 42)]
    found = [record for record, role, _ in numbers([*old, *new])[0] if role == "shape"]
    assert found == [*range(SHAPE_POINTS_MIN - 1, 20), *range(20 + SHAPE_POINTS_MIN - 1, 40)]


def test_many_buckets_are_merged_by_neighbours() -> None:
    many = 2 * BUCKETS_KEPT + 1
    at = [*map(float, range(1, many)), INF]
    point = histogram(10, [1] * many, at, start=5, kind=HISTOGRAM_DELTA)
    found = {role: value for _, role, value in numbers([point])[0]}
    assert found["p50"] == pytest.approx(many / 2)  # in pairs of pairs
    assert found["p99"] == pytest.approx(0.99 * many, rel=0.01)


def test_a_past_of_many_bounds_keeps_those_that_tell_most() -> None:
    table = Points(series_max=1)
    for t in range(1, 30):
        at = [*(k + t / 64 for k in range(100)), INF]
        taken = take(table, [histogram(t, [0] * 50 + [10] * 10 + [0] * 41, at, start=t - 0.5, kind=HISTOGRAM_DELTA)])
    shape = [value for _, role, value in told(taken) if role == "shape"]
    assert shape
    assert shape[0] >= 0
    assert len(table.parts(1)) <= NUMBER_BYTES + HISTOGRAM_BYTES


def test_a_summary_has_rate_mean_and_its_own_quantiles() -> None:
    at = (0.5, 0.9, 0.99, 0.123, NAN, 1.0)
    points = [
        RawPoint(1, t * S, SUMMARY, 0, NAN, 10.0 * t, 30.0 * t, Buckets(at, (1.0, 2.0, NAN, 4.0, 5.0, 6.0))) for t in (1, 2)
    ]
    quantiles = [("p50", 1.0), ("p90", 2.0), ("q4", 4.0)]
    found, status = numbers(points)
    assert status == [1, 0]
    assert found == [(0, *each) for each in quantiles] + [(1, "rate", 10.0), (1, "mean", 3.0)] + [
        (1, *each) for each in quantiles
    ]
    assert len(at) > SUMMARY_QUANTILES_MAX


def test_a_summary_without_observations_is_only_a_rate() -> None:
    points = [RawPoint(1, t * S, SUMMARY, 0, NAN, 10.0, 30.0, Buckets((0.5,), (1.0,))) for t in (1, 2)]
    assert numbers(points) == ([(0, "p50", 1.0), (1, "rate", 0.0)], [1, 0])


def test_a_quantile_that_is_there_twice_is_told_once() -> None:
    point = RawPoint(1, S, SUMMARY, 0, NAN, 10.0, 30.0, Buckets((0.5, 0.5, 0.0, 1.0), (1.0, 2.0, 3.0, 4.0)))
    assert numbers([point])[0] == [(0, "p50", 1.0), (0, "p0", 3.0), (0, "p100", 4.0)]


def test_derived_numbers() -> None:
    assert derived_number(0x9E3779B97F4A7C15, 0) == 1  # the one that would be 0
    # the second number of splitmix64 seeded with 0 is the finalizer of 2 * 0x9E37...
    assert derived_number(0, 1) == 0x6E789E6AA1B965F4
    assert len({derived_number(series, role) for series in range(1, 100) for role in range(len(ROLES))}) == 99 * len(ROLES)
    for role in (-1, len(ROLES)):
        with pytest.raises(IndexError):
            derived_number(1, role)


def test_what_a_series_has_told_is_known() -> None:
    table = Points(series_max=3)
    taken = take(table, [histogram(10, [1, 0, 0, 0], start=5, kind=HISTOGRAM_DELTA), RawPoint(2, S, GAUGE, 0, 1.0)])
    assert table.roles(1) == tuple(map(ROLES.index, ("rate", "mean", "p50", "p99")))
    assert table.derived(1) == tuple(taken.series[:4]) == tuple(derived_number(1, role) for role in table.roles(1))
    assert table.derived(2) == (derived_number(2, 0),)
    assert (table.last_ns(1), len(table), 1 in table, 3 in table, 0 in table, -1 in table) == (
        10 * S,
        2,
        True,
        False,
        False,
        False,
    )


def test_series_are_bounded_and_a_refused_batch_changes_nothing() -> None:
    table = Points(series_max=2)
    take(table, [RawPoint(1, 10 * S, CUMULATIVE, 0, 5.0)])
    before = table.parts(1)
    with pytest.raises(ValueError, match="2 series already"):
        take(table, [RawPoint(series, 20 * S, CUMULATIVE, 0, 6.0) for series in (1, 2, 3)])
    assert (len(table), 2 in table, table.parts(1)) == (1, False, before)
    table.drop(1)
    take(table, [RawPoint(series, 20 * S, CUMULATIVE, 0, 6.0) for series in (2, 3)])
    with pytest.raises(ValueError, match="2 series already"):
        table.restore(1, before)
    for series_max in (0, -1, SERIES_MAX_MOST + 1):
        with pytest.raises(ValueError, match="choose one from 1 to"):
            Points(series_max=series_max)


def test_dropped_series_are_forgotten_and_others_are_found() -> None:
    table = Points(series_max=1000)
    take(table, [RawPoint(series, S, GAUGE, 0, 1.0) for series in range(1, 1001)])
    for series in range(1, 1001, 3):
        table.drop(series)
    assert [series for series in range(1, 1001) if series in table] == [series for series in range(1, 1001) if series % 3 != 1]
    for call in (table.drop, table.parts, table.derived, table.roles, table.last_ns):
        with pytest.raises(KeyError):
            call(1)


@pytest.mark.parametrize(
    ("place", "column"),
    [
        (0, array("Q", [0])),
        (0, array("Q", [1, 2])),
        (1, array("Q")),
        (2, array("Q", [1, 2])),
        (3, b"\x08"),
        (3, b"\0\0"),
        (4, array("d")),
        (5, array("d", [1, 2])),
        (6, array("d", [1, 2])),
        (7, array("I", [1])),
        (7, array("I", [3])),
        (8, array("d", [1])),
        (9, array("d")),
    ],
)
def test_columns_that_do_not_fit_are_refused(place: int, column: object) -> None:
    table = Points(series_max=5)
    good = list(columns([RawPoint(1, S, HISTOGRAM_DELTA, 0, 1.0, 2.0, 3.0, Buckets((1.0, INF), (1.0, 1.0)))]))
    good[place] = column
    with pytest.raises(ValueError, match=r"series|time|entries|kind|places"):
        table.take(*good)  # type: ignore[arg-type]
    assert len(table) == 0


def test_points_are_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Points(series_max=1))
