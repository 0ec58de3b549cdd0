"""How strict a profile is, as a level of evidence in bits."""

import doctest

import pytest

from driftlock.engine.profile import OVERRIDE_RANGES, PROFILES
from driftlock.engine.traces import level
from driftlock.engine.traces.level import p_value_at, trace_level


def test_the_examples_are_true() -> None:
    assert doctest.testmod(level).failed == 0


def test_profiles_stand_in_their_order_and_balanced_is_the_kernels_own() -> None:
    sensitive, balanced, strict = (
        trace_level(20.0, PROFILES[name].p_value_threshold) for name in ("sensitive", "balanced", "strict")
    )
    assert sensitive < balanced == 20.0 < strict


def test_no_allowed_threshold_gives_a_level_that_is_none() -> None:
    assert all(trace_level(20.0, threshold) > 10 for threshold in OVERRIDE_RANGES["p_value_threshold"])


def test_bits_that_just_alarm_have_the_threshold_as_their_p_value() -> None:
    for threshold in (0.1, 0.05, 0.01):
        assert p_value_at(34.0, trace_level(34.0, threshold)) == pytest.approx(threshold, rel=1e-3)
