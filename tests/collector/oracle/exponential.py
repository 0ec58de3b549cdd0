"""Exponential histograms as explicit ones, on one grid of bounds for all scales, so that points can be compared.

A scale above `SCALE` is first brought down to it, and further while there are too many bounds: a bucket i of a scale is part of
bucket i >> 1 of the next lower one (OpenTelemetry specification, "Metrics Data Model", ExponentialHistogram).
"""

import math
import sys
from collections.abc import Iterable

SCALE = 3
"""Finest scale: bounds are at most 2^(1/8), 9 %, apart."""

_EIGHTHS = (  # 2^(k/8), correctly rounded: written down, for powers differ between machines
    1.0,
    1.0905077326652577,
    1.189207115002721,
    1.2968395546510096,
    1.4142135623730951,
    1.5422108254079407,
    1.681792830507429,
    1.8340080864093424,
)
_LEAST = math.ulp(0.0)
_EXPONENT_MAX = 1100  # beyond any double either way


class Buckets:
    """Counts by index at one scale."""

    __slots__ = ("counts", "scale")

    def __init__(self, scale: int, offset: int, counts: Iterable[int]) -> None:
        shift = max(scale - SCALE, 0)
        self.scale = scale - shift
        self.counts: dict[int, int] = {}
        for index, count in enumerate(counts, offset):
            if count:
                self.counts[index >> shift] = self.counts.get(index >> shift, 0) + count

    def coarsen(self) -> None:
        """Half as many bounds: one scale down."""
        counts: dict[int, int] = {}
        for index, count in self.counts.items():
            counts[index >> 1] = counts.get(index >> 1, 0) + count
        self.scale, self.counts = self.scale - 1, counts


def bound(index: int, scale: int) -> float:
    """2^(index / 2^scale): where bucket `index` begins; inf or 0.0 beyond what a double holds. `scale` is at most `SCALE`.

    >>> bound(8, 3), bound(1, 1), bound(3, -1), bound(5, -64)
    (2.0, 1.4142135623730951, 64.0, inf)
    """
    exponent, eighth = divmod(index << SCALE - scale, 8)
    if exponent > _EXPONENT_MAX:
        return math.inf
    try:
        return math.ldexp(_EIGHTHS[eighth], max(exponent, -_EXPONENT_MAX))
    except OverflowError:
        return math.inf


def explicit(
    positive: Buckets, negative: Buckets, zero_count: int, zero_threshold: float, bounds_max: int
) -> tuple[list[float], list[int]]:
    """Upper bounds, ascending, +inf last, and counts. At most `bounds_max` (at least 8) of them.

    Both sides are of one scale. Empty buckets are left out, but every bucket with a count has its lower bound before it. What
    is below or above all doubles counts as zero or as infinite. Negative buckets have negative bounds, zeros those of the
    threshold.
    """
    while True:
        at, counts = _explicit(positive, negative, zero_count, zero_threshold)
        if len(at) <= bounds_max:
            return at, counts
        positive.coarsen()
        negative.coarsen()


def _explicit(positive: Buckets, negative: Buckets, zero_count: int, zero_threshold: float) -> tuple[list[float], list[int]]:
    at: list[float] = []
    counts: list[int] = []

    def put(low: float, high: float, count: int) -> None:
        if at and high <= at[-1]:  # within the one before: around zero, or beyond what a double can tell apart
            counts[-1] += count
            return
        if -math.inf < low < high and (not at or low > at[-1]):
            at.append(low)
            counts.append(0)
        at.append(high)
        counts.append(count)

    scale = negative.scale
    for index in sorted(negative.counts, reverse=True):
        high = -bound(index, scale) or -_LEAST
        put(-bound(index + 1, scale), max(high, -sys.float_info.max), negative.counts[index])
    if at or zero_count:
        put((-zero_threshold or -_LEAST) if at else -math.inf, zero_threshold, zero_count)
    scale, high, after = positive.scale, math.inf, None
    for index in sorted(positive.counts):
        low = high if index == after else bound(index, scale)
        after = index + 1
        high = bound(after, scale)
        put(low, high, positive.counts[index])
    if not at or at[-1] < math.inf:
        at.append(math.inf)
        counts.append(0)
    return at, counts
