"""Exponential histograms on one grid of bounds."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collector.oracle.exponential import SCALE, Buckets, bound, explicit

INF = math.inf
NONE = Buckets(0, 0, ())


def side(scale: int, offset: int, *counts: int) -> Buckets:
    return Buckets(scale, offset, counts)


@pytest.mark.parametrize(
    ("index", "scale", "expected"),
    [
        (0, 3, 1.0),
        (8, 3, 2.0),
        (-8, 3, 0.5),
        (4, 3, math.sqrt(2)),
        (3, 0, 8.0),
        (3, -2, 2.0**12),
        (8192, 3, INF),
        (8191, 3, 2.0**1023.875),
        (2**31, -64, INF),
        (-(2**31), -64, 0.0),
        (-(2**31), 3, 0.0),
    ],
)
def test_bounds(index: int, scale: int, expected: float) -> None:
    assert bound(index, scale) == pytest.approx(expected, rel=1e-15)


def test_bounds_of_all_scales_are_those_of_one_grid() -> None:
    assert all(
        bound(index << SCALE - scale, SCALE) == bound(index, scale) for scale in range(-3, SCALE) for index in range(-40, 40)
    )


def test_finer_scales_are_brought_down() -> None:
    fine = side(5, -3, 1, 2, 3, 4, 5, 6)  # indexes -3..2 of 32 a doubling: -1, -1, -1, 0, 0, 0 of 8
    assert explicit(fine, side(5, 0), 0, 0.0, 99) == ([bound(-1, 3), 1.0, bound(1, 3), INF], [0, 6, 15, 0])


def test_gaps_stay_empty() -> None:
    at, counts = explicit(side(0, 0, 1, 0, 0, 2), side(0, 0), 0, 0.0, 99)
    assert (at, counts) == ([1, 2, 8, 16, INF], [0, 1, 0, 2, 0])


def test_negative_buckets_have_negative_bounds() -> None:
    at, counts = explicit(side(0, 0, 3), side(0, 1, 1, 2), 5, 0.5, 99)
    assert (at, counts) == ([-8, -4, -2, -0.5, 0.5, 1, 2, INF], [0, 2, 1, 0, 5, 0, 3, 0])
    at, counts = explicit(NONE, side(0, 0, 1), 5, 0.0, 99)
    assert (at, counts) == ([-2, -1, -5e-324, 0, INF], [0, 1, 0, 5, 0])


def test_zeros_alone() -> None:
    assert explicit(NONE, NONE, 5, 0.0, 99) == ([0.0, INF], [5, 0])
    assert explicit(NONE, NONE, 0, 0.0, 99) == ([INF], [0])


def test_what_no_double_holds_is_zero_or_infinite() -> None:
    at, counts = explicit(side(-10, -2, 1, 1, 1, 1), side(-10, -2), 4, 0.0, 99)
    assert (at[-1], sum(counts)) == (INF, 8)
    at, counts = explicit(side(-64, -1, 7, 9), side(-64, -1, 1, 2), 0, 0.0, 99)
    assert at[0] > -INF
    assert sum(counts) == 19


def test_buckets_within_the_zero_threshold_count_as_zeros() -> None:
    at, counts = explicit(side(0, 0, 1, 2, 4), side(0, 0), 8, 3.0, 99)
    assert (at, counts) == ([3.0, 4.0, 8.0, INF], [9, 2, 4, 0])


@settings(max_examples=50, deadline=None)
@given(
    st.integers(-64, 64),
    st.integers(-(2**31), 2**31 - 1),
    st.lists(st.integers(0, 2**64 - 1), max_size=60),
    st.integers(-(2**31), 2**31 - 1),
    st.lists(st.integers(0, 9), max_size=60),
    st.integers(0, 9),
    st.sampled_from((0.0, 1e-9, 2.0, 1e300)),
    st.integers(16, 140),
)
def test_any_histogram_has_ascending_bounds_and_all_its_counts(
    scale: int, offset: int, up: list[int], other: int, down: list[int], zeros: int, threshold: float, most: int
) -> None:
    at, counts = explicit(Buckets(scale, offset, up), Buckets(scale, other, down), zeros, threshold, most)
    assert len(at) == len(counts) <= most
    assert at[0] > -INF
    assert at[-1] == INF
    assert all(low < high for low, high in pairwise(at))
    assert sum(counts) == sum(up) + sum(down) + zeros


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=50), st.integers(-4, 12))
def test_values_stay_within_the_bounds_of_their_buckets(values: list[float], scale: int) -> None:
    indexes = [math.ceil(math.log2(value) * 2.0**scale) - 1 for value in values]
    low = min(indexes)
    made = [0] * (max(indexes) - low + 1)
    for index in indexes:
        made[index - low] += 1
    at, counts = explicit(Buckets(scale, low, made), Buckets(scale, 0, ()), 0, 0.0, 128)
    below = 0
    for upper, count in zip(at, counts, strict=True):
        below += count
        # what lies on a bound may be on either side of it by the rounding of a logarithm
        assert (
            sum(value < upper * (1 - 1e-9) for value in values) <= below <= sum(value <= upper * (1 + 1e-9) for value in values)
        )
