"""Numbers, times and spans of time as people say them."""

from datetime import UTC, datetime

DIGITS = (4, 6, 9, 12, 17)
"""Significant digits: the first is what is shown, the others where two numbers that differ would look equal."""
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


def numbers(*values: float) -> tuple[str, ...]:
    """The values with as many digits as it takes that different ones look different.

    >>> numbers(0.42, 0.420001), numbers(1.0, 1.0, 2.0)
    (('0.42', '0.420001'), ('1', '1', '2'))
    """
    for digits in DIGITS:
        texts = tuple(number(value, digits) for value in values)
        if len(set(texts)) >= len({value + 0.0 for value in values}):
            break
    return texts


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
