"""Ranks, blocks and tails."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.calibration import Median, Reference, events_until_calibrated, events_until_first_alarm, exp_negative
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES


@given(st.floats(0, 700))
def test_exp_negative_is_the_exponential(x: float) -> None:
    assert exp_negative(x) == pytest.approx(math.exp(-x), rel=1e-13)


def test_exp_negative_never_reaches_zero() -> None:
    assert exp_negative(1e300) > 0


def filled(values: list[int]) -> Reference:
    reference = Reference(Limits())
    for value in values:
        reference.add(value)
    return reference


def test_p_value_is_never_zero_and_at_most_one() -> None:
    reference = filled([random.Random(1).randrange(100, 200) for _ in range(900)])
    assert 0 < reference.surprise(10**9).p_value < 0.01
    assert reference.surprise(0).p_value == 1.0
    assert reference.surprise(10**9).confidence == 1.0


@given(st.lists(st.integers(0, 1000), min_size=60, max_size=300), st.integers(0, 1000), st.integers(0, 1000))
def test_larger_statistics_are_never_less_surprising(values: list[int], one: int, other: int) -> None:
    reference = filled(values)
    low, high = sorted((one, other))
    assert reference.surprise(high).p_value <= reference.surprise(low).p_value


def test_too_few_blocks_say_nothing() -> None:
    assert filled([5] * 54).surprise(10**6).p_value == 1.0
    assert filled([5] * 55).surprise(10**6).p_value < 1.0


def test_the_newest_windows_are_left_out() -> None:
    assert filled([1] * 100 + [999] * 5).surprise(500).confidence == 1.0
    assert filled([1] * 100 + [999] * 6).surprise(500).confidence < 1.0


@given(st.lists(st.integers(0, 50), max_size=1300), st.integers(0, 60))
def test_restored_references_agree(values: list[int], probe: int) -> None:
    one, other = filled(values), Reference(Limits())
    other.restore(one.waiting, one.values, one.block_open, one.block_maxima)
    assert len(one.values) <= Limits().reference_windows_max
    assert len(one.block_maxima) <= Limits().reference_windows_max // Limits().block_windows
    for value in (3, 60, 7):
        one.add(value)
        other.add(value)
    assert one.surprise(probe) == other.surprise(probe)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=80))
def test_median_is_the_median_of_the_last(values: list[float]) -> None:
    median = Median(30)
    for value in values:
        median.add(value)
    last = sorted(values[-30:])
    assert median.value(-1) == last[len(last) // 2]
    assert Median(30).value(-1) == -1


def test_stated_events() -> None:
    limits = Limits()
    assert {name: events_until_first_alarm(profile, limits) for name, profile in PROFILES.items()} == {
        "sensitive": 780,
        "balanced": 1450,
        "strict": 10900,
    }
    assert events_until_calibrated(PROFILES["balanced"], limits) == 5000
    assert events_until_calibrated(PROFILES["strict"], limits) == 10900
