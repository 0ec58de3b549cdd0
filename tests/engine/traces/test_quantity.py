"""Durations, shares and counts as people say them."""

import doctest

import pytest

from driftlock.engine.traces import quantity as module
from driftlock.engine.traces.quantity import beside, quantity


def test_the_examples_are_true() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1.2, "s", "1.2 s"),
        (0.99951, "s", "1 s"),
        (0.0009996, "s", "1 ms"),
        (5e-10, "s", "0.5 ns"),
        (7200.0, "s", "120 minutes"),
        (1.0, "1", "100 %"),
        (0.00012, "1", "0.012 %"),
        (40000.0, "calls", "40,000"),
        (0.0, "1", "0 %"),
    ],
)
def test_numbers_have_sensible_units(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


def test_equal_numbers_may_look_equal() -> None:
    assert beside(0.5, 0.5, "s") == ("500 ms", "500 ms")
