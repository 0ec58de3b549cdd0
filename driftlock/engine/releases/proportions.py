"""Whether a line is more frequent in one set of lines than in another: an exact test, and a correction for many of them.

Sources: Fisher, "Statistical Methods for Research Workers" (1934), the exact test of a 2 x 2 table; Tarone, "A modified
Bonferroni method for discrete data", Biometrics 46 (1990).
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import exp, lgamma

P_MIN = 1e-300
"""Smaller p-values are told as this one: none is 0."""
_NEGLIGIBLE = 1e-18


def two_sided_p(first: int, first_total: int, second: int, second_total: int) -> float:
    """How probable it is that the shares first / first_total and second / second_total differ so much by chance alone.

    Fisher's exact test, given how many there are of both together; two-sided by doubling the smaller tail. Raises ValueError
    for counts above their totals.

    >>> round(two_sided_p(8, 10, 1, 10), 6), two_sided_p(5, 100, 5, 100)
    (0.005477, 1.0)
    """
    if not (0 <= first <= first_total and 0 <= second <= second_total):
        raise ValueError("a count is from 0 to its total")
    both, total = first + second, first_total + second_total
    rest = total - both - first_total
    term = tail = _exactly(first, both, first_total, total)
    at = first
    if first * second_total >= second * first_total:
        while term > _NEGLIGIBLE * tail and at < min(both, first_total):
            term *= (both - at) * (first_total - at) / ((at + 1) * (rest + at + 1))
            tail, at = tail + term, at + 1
    else:
        while term > _NEGLIGIBLE * tail and at > max(0, -rest):
            term *= at * (rest + at) / ((both - at + 1) * (first_total - at + 1))
            tail, at = tail + term, at - 1
    return float(f"{min(1.0, max(P_MIN, 2 * tail)):.6g}")


def least_p(both: int, first_total: int, second_total: int) -> float:
    """The smallest value that `two_sided_p` can have where `both` are counted together: all on one side."""
    total = first_total + second_total
    ends = (min(both, first_total), max(0, both - second_total))
    return min(1.0, 2 * min(_exactly(end, both, first_total, total) for end in ends))


def tests_counted(least: Sequence[float], alpha: float) -> int:
    """By how many tests to multiply p-values so that one false one among all is as improbable as `alpha`.

    `least` are what the tests can say at best: those that can not become significant whatever they find do not count.

    >>> tests_counted([1e-9, 1e-9, 1.0, 1.0, 1.0], 0.01), tests_counted([], 0.01)
    (2, 1)
    """
    ordered = sorted(least)
    low, high = 1, max(1, len(ordered))
    while low < high:  # the count falls as `middle` grows, so there is one place where it passes below
        middle = (low + high) // 2
        if bisect_right(ordered, alpha / middle) <= middle:
            high = middle
        else:
            low = middle + 1
    return low


def _exactly(hits: int, both: int, drawn: int, total: int) -> float:
    """The hypergeometric probability of `hits` of `both` among `drawn` of `total`."""
    return exp(_choices(both, hits) + _choices(total - both, drawn - hits) - _choices(total, drawn))


def _choices(items: int, chosen: int) -> float:
    return lgamma(items + 1) - lgamma(chosen + 1) - lgamma(items - chosen + 1)
