"""Numbers, times and spans of time as people say them."""

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.numbers import wording
from driftlock.engine.numbers.wording import NOISE_SHARE, beside, moment, number, span

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


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((9.0, 4.9999999981999999, 5.0000000018000001, 5.0), ("9", "5", "5", "5")),
        ((5.00000001, 4.9999999981999999, 5.0000000018000001, 5.0), ("5", "5", "5", "5")),
        ((9.0, 4.9996, 5.0004, 5.0), ("9", "5", "5", "5")),
        ((9.0, 4.9994, 5.0006, 5.0), ("9", "4.999", "5.001", "5")),
        ((0.2, -1e-12, 1e-12, 3e-13), ("0.2", "0", "0", "0")),
        ((0.42000001, 0.18, 0.42, 0.31), ("0.42", "0.18", "0.42", "0.31")),
        ((1234.5678, 1000.123, 1234.52, 1100.0), ("1,234.6", "1,000.1", "1,234.5", "1,100")),
        ((4.16666666, 4.0, 5.0, 4.16), ("4.167", "4", "5", "4.16")),
        ((1.7e308, -1.7e308, 1.6e308, 1.0), ("1.7e+308", "-1.7e+308", "1.6e+308", "0")),
        ((1.7e308, 0.0, 8e290, 1e6), ("1.7e+308", "1,000,000", "1,000,000", "1,000,000")),
        ((4e10, 4.0, 6.0, 5.0), ("40,000,000,000", "5", "5", "5")),
        ((1e-12, 4.0, 6.0, 5.0), ("0", "4", "6", "5")),
        ((3e-12, 1e-12, 2e-12, 1.5e-12), ("3e-12", "1e-12", "2e-12", "1.5e-12")),
        ((0.0, 0.0, 0.0, 0.0), ("0", "0", "0", "0")),
    ],
    ids=range(14),
)
def test_a_number_beside_its_range(given: tuple[float, float, float, float], shown: tuple[str, str, str, str]) -> None:
    assert beside(*given) == shown


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_what_is_shown_has_at_most_six_digits_and_is_in_order(values: list[float]) -> None:
    value, (low, expected, high) = values[0], sorted(values[1:])
    shown = beside(value, low, high, expected)
    numbers = [float(text.replace(",", "")) for text in shown]
    for number_, text in zip(numbers, shown, strict=True):
        assert not math.isfinite(number_) or float(f"{number_:.6g}") == number_, text
    assert numbers[1] <= numbers[2]
    assert shown.low != shown.high or high - low <= 1e-4 * max(map(abs, values)) or abs(high) + abs(low) < 1e-300


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_what_differs_by_more_than_two_parts_in_ten_thousand_looks_different(value: float, low: float, width: float) -> None:
    shown = beside(value, low, low + width, low)
    for bound, text in ((low, shown.low), (low + width, shown.high)):
        most = max(abs(value), abs(low), abs(low + width))
        if abs(value - bound) > 2e-4 * most + 2 * NOISE_SHARE:
            assert shown.value != text


@given(st.integers(0, 100 * DAY_NS))
def test_a_span_never_says_more_than_it_lasted_beyond_a_few_minutes(span_ns: int) -> None:
    value, unit = span(span_ns).split(" ")
    size = {"s": 10**9, "minutes": 60 * 10**9, "hours": 3600 * 10**9, "days": DAY_NS}[unit]
    assert float(value) * size <= span_ns * 1.06 + 1
    assert float(value) * size >= span_ns * 0.5 - 1


def test_a_moment_of_another_day_has_its_date() -> None:
    assert moment(DAY_NS - 1, DAY_NS) == "1970-01-01 23:59 UTC"
    assert moment(DAY_NS, DAY_NS + 1) == "00:00 UTC"
