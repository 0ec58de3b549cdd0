"""Numbers, times and spans of time as people say them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

DIGITS = (4, 5, 6)
"""Significant digits: the first is what is shown, the others where two numbers that differ would look equal."""
NOISE_SHARE = 1e-9
"""What is so small beside the other numbers of a sentence is the noise of floating point: it is shown as 0. A range is measured
by itself, and beside 1 at most: what is usual may be so much smaller than a number that is not."""
ALIKE_SHARE = 1e-4
"""The ends of a range that are so near to each other, beside the number that is looked at, are one number."""
_PLAIN_MIN, _PLAIN_MAX = 1e-4, 1e15
_SPANS_NS = ((2 * 86_400 * 10**9, 86_400 * 10**9, "days"), (2 * 3600 * 10**9, 3600 * 10**9, "hours"))
_MINUTES_NS = 60 * 10**9


def number(value: float, digits: int = DIGITS[0]) -> str:
    """A finite value with so many significant digits, without the noise of floating point.

    >>> [number(value) for value in (0.1 + 0.2, 12345.678, 60.0, -0.0, 2.5e-9, 1e300)]
    ['0.3', '12,350', '60', '0', '2.5e-09', '1e+300']
    """
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    if not _PLAIN_MIN <= abs(rounded) < _PLAIN_MAX:
        return f"{rounded:.{digits}g}"
    if rounded == int(rounded):
        return f"{int(rounded):,}"
    whole, _, fraction = f"{rounded:,.{digits + 4}f}".partition(".")
    return f"{whole}.{fraction.rstrip('0')}"


def _without_noise(value: float, *usual: float) -> list[float]:
    most = max(map(abs, usual))
    least, noise = NOISE_SHARE * max(most, abs(value)), NOISE_SHARE * max(most, min(abs(value), 1.0))
    return [value if abs(value) > least else 0.0, *(each if abs(each) > noise else 0.0 for each in usual)]


def _digits(values: Sequence[float]) -> int:
    """With which most of them look different; the fewest of those."""
    return max(DIGITS, key=lambda digits: (len({number(value, digits) for value in values}), -digits))


class Shown(NamedTuple):
    """A number, the range in which it usually is (`low` = `high`: one number) and what was expected, as they are shown."""

    value: str
    low: str
    high: str
    expected: str


def beside(value: float, low: float, high: float, expected: float) -> Shown:
    """A number beside its range, all with as many digits, four to six, as it takes that they look different if that can be.

    A range that is hardly one, measured by the numbers, becomes what was expected.

    >>> beside(0.420001, 0.18, 0.42, 0.31), beside(7.0, -1e-12, 6.0, 3.0).low
    (Shown(value='0.420001', low='0.18', high='0.42', expected='0.31'), '0')
    >>> beside(9.0, 4.9999999981999999, 5.0000000018000001, 5.0), beside(2.31, 0.18, 0.42, 0.31)[:3]
    (Shown(value='9', low='5', high='5', expected='5'), ('2.31', '0.18', '0.42'))
    """
    if high / 2 - low / 2 <= ALIKE_SHARE / 2 * max(abs(value), abs(expected)):
        low = high = expected
    clear = _without_noise(value, low, high, expected)
    digits = _digits([clear[0], clear[3]] if low <= value <= high else clear[:3])
    return Shown(*(number(each, digits) for each in clear))


def span(span_ns: int) -> str:
    """A span of time, to two or three digits.

    >>> [span(seconds * 10**9) for seconds in (0, 15, 90, 750, 86400, 9 * 86400)]
    ['0 s', '15 s', '90 s', '12 minutes', '24 hours', '9 days']
    >>> span(250_000_000), span(59_980_000_000)
    ('0.25 s', '60 s')
    """
    for least_ns, unit_ns, name in _SPANS_NS:
        if span_ns >= least_ns:
            return f"{span_ns // unit_ns} {name}"
    if span_ns >= 2 * _MINUTES_NS:
        return f"{span_ns // _MINUTES_NS} minutes"
    return f"{number(span_ns / 1e9, 2 if span_ns < 10**11 else 3)} s"


def moment(time_ns: int, beside_ns: int) -> str:
    """A time of event time; with its date where that differs from the date of `beside_ns`.

    >>> moment(1_700_000_000 * 10**9, 1_700_000_060 * 10**9), moment(1_700_000_000 * 10**9, 1_700_100_000 * 10**9)
    ('22:13 UTC', '2023-11-14 22:13 UTC')
    """
    then, beside = (datetime.fromtimestamp(ns // 10**9, UTC) for ns in (time_ns, beside_ns))
    return f"{then:%H:%M} UTC" if then.date() == beside.date() else f"{then:%Y-%m-%d %H:%M} UTC"
