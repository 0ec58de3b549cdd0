"""Numbers, times and spans of time as people say them."""

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.numbers import wording
from driftlock.engine.numbers.wording import moment, number, numbers, span

DAY_NS = 86_400 * 10**9


def test_the_examples_are_true() -> None:
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.31000000000000005, "2.31"),
        (0.000123456, "0.0001235"),
        (0.0000123456, "1.235e-05"),
        (99999.0, "100,000"),
        (-1234567.0, "-1,235,000"),
        (1e15, "1e+15"),
        (999.96, "1,000"),
        (5e-324, "4.941e-324"),
    ],
)
def test_a_number_has_four_digits_and_no_noise(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_shown_number_is_near_the_number(value: float) -> None:
    shown = float(number(value).replace(",", ""))
    assert math.isfinite(shown) or abs(value) > 1.7e308
    assert math.isclose(shown, value, rel_tol=6e-4, abs_tol=0.0) or not math.isfinite(shown)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=4))
def test_different_numbers_look_different(values: list[float]) -> None:
    texts = numbers(*values)
    for one, first in zip(values, texts, strict=True):
        for other, second in zip(values, texts, strict=True):
            assert (first == second) == (one == other)


@given(st.integers(0, 100 * DAY_NS))
def test_a_span_never_says_more_than_it_lasted_beyond_a_few_minutes(span_ns: int) -> None:
    value, unit = span(span_ns).split(" ")
    size = {"s": 10**9, "minutes": 60 * 10**9, "hours": 3600 * 10**9, "days": DAY_NS}[unit]
    assert float(value) * size <= span_ns * 1.06 + 1
    assert float(value) * size >= span_ns * 0.5 - 1


def test_a_moment_of_another_day_has_its_date() -> None:
    assert moment(DAY_NS - 1, DAY_NS) == "1970-01-01 23:59 UTC"
    assert moment(DAY_NS, DAY_NS + 1) == "00:00 UTC"
