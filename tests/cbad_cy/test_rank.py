"""Ranks, blocks and tails against the oracle and against their definitions."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference_slide
from cbad_cy.rank import BLOCKS_MIN, SAMPLE_MAX, Reference, Sample


def filled(values: Sequence[float], size: int = 1000, block: int = 5, lag: int = 5) -> Reference:
    reference = Reference(size=size, block=block, lag=lag)
    for value in values:
        reference.add(value)
    return reference


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=400), st.integers(0, 80), st.integers(20, 120), st.integers(1, 6), st.integers(0, 7)
)
def test_it_is_what_the_oracle_says(values: list[int], probe: int, size: int, block: int, lag: int) -> None:
    reference, oracle = filled(values, size, block, lag), reference_slide.Reference(size, block, lag)
    for value in values:
        oracle.add(value)
    assert reference.surprise(probe) == pytest.approx(oracle.surprise(probe), rel=1e-13)
    assert reference.bits(probe) == pytest.approx(oracle.bits(probe), rel=1e-12)
    assert reference.parts() == (list(oracle.waiting), list(oracle.values), oracle.opened, list(oracle.maxima))


NUMBERS = st.one_of(
    st.integers(0, 60), st.sampled_from([0.5, 2**31 - 1, 2**31, 1e300, -3, math.inf, -math.inf]), st.floats(allow_nan=False)
)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), max_size=150), st.lists(NUMBERS, max_size=20), NUMBERS)
def test_numbers_of_any_kind_are_counted_and_kept(before: list[int], numbers: list[float], probe: float) -> None:
    """Fractions and numbers of more than 31 bits come late, among whole ones, and before and after the sample is full."""
    values = [*before, *numbers, *before]
    reference = filled(values, size=120, block=120, lag=0)
    last = [float(value) for value in values[-120:]]
    assert reference.parts()[1] == last
    assert reference.surprise(probe)[1] == (sum(value < probe for value in last) / len(last) if last else 0.0)
    other = Reference(size=120, block=120, lag=0)
    other.restore(*reference.parts())
    assert other.parts() == reference.parts()


@pytest.mark.parametrize("count", [15, 16, 17, 999, 1000, 1001, 5000])
def test_samples_take_memory_as_numbers_come_and_keep_the_newest(count: int) -> None:
    values = [number * 7919 % 1000 for number in range(count)]
    reference, sample = filled(values, size=1000, block=1, lag=0), Sample(1000)
    for value in values:
        sample.add(value)
    assert reference.parts() == ([], values[-1000:], [], values[-1000:])
    assert sample.values() == values[-1000:]
    assert sample.median(0.0) == sorted(values[-1000:])[min(count, 1000) // 2]


def test_p_value_is_never_zero_and_at_most_one() -> None:
    reference = filled([random.Random(1).randrange(100, 200) for _ in range(900)])
    assert 0 < reference.surprise(1e18)[0] < 0.01
    assert reference.surprise(0) == (1.0, 0.0)
    assert reference.surprise(1e18)[1] == 1.0


@given(st.lists(st.integers(0, 1000), min_size=100, max_size=300), st.integers(0, 1000), st.integers(0, 1000))
def test_larger_statistics_are_never_less_surprising(values: list[int], one: int, other: int) -> None:
    reference = filled(values)
    low, high = sorted((one, other))
    assert reference.surprise(high)[0] <= reference.surprise(low)[0]
    assert reference.bits(high) >= reference.bits(low)
    assert reference.surprise(high)[0] <= 1.0


def test_too_few_blocks_say_nothing() -> None:
    enough = 5 * BLOCKS_MIN + 5
    assert filled([5] * (enough - 1)).surprise(10**6)[0] == 1.0
    assert filled([5] * (enough - 1)).bits(10**6) == 0.0
    assert filled([5] * enough).surprise(10**6)[0] < 1.0
    assert filled([5] * enough).bits(10**6) > 100


def test_above_every_block_the_tail_takes_the_place_of_the_blocks_and_the_rank_is_the_floor() -> None:
    """Block maxima 100 to 119: their share stops at 1/21, the tail goes on, and no p-value is below 1/101."""
    reference = filled([100 + number // 5 for number in range(100)] + [0] * 5)
    high, median = 118, 110
    scale = (high - median) / math.log(5)
    assert reference.surprise(119)[0] == pytest.approx(2 / 21)
    assert reference.surprise(119.5)[0] == pytest.approx(0.1 * math.exp(-1.5 / scale))
    assert reference.surprise(10**6) == (1 / 101, 1.0)
    assert reference.bits(118 + 3 * scale) - reference.bits(118 + scale) == pytest.approx(2 / math.log(2))


def test_the_newest_windows_are_left_out() -> None:
    assert filled([1] * 100 + [999] * 5).surprise(500)[1] == 1.0
    assert filled([1] * 100 + [999] * 6).surprise(500)[1] < 1.0


@given(st.lists(st.integers(0, 50), max_size=700), st.integers(0, 60))
def test_restored_references_agree(values: list[int], probe: int) -> None:
    one, other = filled(values, 300), Reference(size=300, block=5, lag=5)
    other.restore(*one.parts())
    for value in (3, 60, 7, 9, 9, 9):
        one.add(value)
        other.add(value)
    assert one.surprise(probe) == other.surprise(probe)
    assert one.parts() == other.parts()


@given(st.lists(st.floats(0, 10), min_size=1, max_size=80))
def test_median_is_the_median_of_the_last(values: list[float]) -> None:
    sample = Sample(30)
    for value in values:
        sample.add(value)
    last = sorted(values[-30:])
    assert sample.median(-1) == last[len(last) // 2]
    assert sample.values() == values[-30:]
    assert len(sample) == len(last)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(-5, 25))
def test_two_sided_p_is_twice_the_nearer_rank(values: list[int], probe: int) -> None:
    sample = Sample(100)
    for value in values:
        sample.add(value)
    nearer = min(1 + sum(value >= probe for value in values), 1 + sum(value <= probe for value in values))
    assert sample.two_sided(probe) == min(1.0, 2 * nearer / (1 + len(values)))


def test_before_the_first_number_nothing_is_known() -> None:
    assert Sample(30).median(-1.0) == -1.0
    assert Sample(30).two_sided(5.0) == 1.0
    assert filled([]).surprise(7) == (1.0, 0.0)


def test_limits_are_named() -> None:
    for size in (0, SAMPLE_MAX + 1):
        with pytest.raises(ValueError, match="choose 1 to SAMPLE_MAX = 100000"):
            Sample(size)
    for sizes in ({"size": 3, "block": 4, "lag": 0}, {"size": 3, "block": 1, "lag": 4}, {"size": 3, "block": 0, "lag": 0}):
        with pytest.raises(ValueError, match="keep both within it"):
            Reference(**sizes)
    with pytest.raises(ValueError, match="other sizes"):
        Reference(size=10, block=2, lag=1).restore([1, 2], [], [], [])


@pytest.mark.parametrize("thing", [Sample(3), Reference(size=10, block=2, lag=1)])
def test_nan_and_pickles_are_refused(thing: Sample | Reference) -> None:
    with pytest.raises(ValueError, match=r"(?i)nan has no rank"):
        thing.add(float("nan"))
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(thing)
