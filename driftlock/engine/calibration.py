"""From a window's code length to a p-value: conformal rank among the stream's own past windows, in blocks against bursts.

Lines of a bursty log are not exchangeable, so a permutation of lines rejects far too often on perfectly normal streams.
Windows of the same size keep the burstiness inside; the maximum over blocks of neighbouring windows keeps what bursts
longer than a window do. Rank: conformal prediction (Vovk, Gammerman and Shafer, 2005); beyond the largest block maximum
an exponential tail through the 50 % and 90 % quantiles of the block maxima.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import ldexp

from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile

BLOCKS_MIN = 10
LN_5 = 1.6094379124341003
LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
EXPONENT_MAX = 700.0


def exp_negative(x: float) -> float:
    """e to the power -x for x >= 0, by correctly rounded operations only, so that it is the same bytes on every machine.

    >>> exp_negative(0.0)
    1.0
    """
    scaled = min(x, EXPONENT_MAX) * LOG2_E
    whole = int(scaled)
    rest = (scaled - whole) * LN_2
    term = total = 1.0
    for n in range(1, 20):
        term *= -rest / n
        total += term
    return ldexp(total, -whole)


@dataclass(frozen=True, slots=True)
class Surprise:
    """How unusual a window is: `p_value` in (0, 1], lower = rarer; `confidence` = share of the past below it."""

    p_value: float
    confidence: float


class Reference:
    """The stream's past window statistics (higher = less explained), flagged ones included, the newest few left out.

    Leaving flagged windows out would make the rate of alarms creep up; leaving the newest in would compare a window with
    ones that share its events.
    """

    def __init__(self, limits: Limits) -> None:
        self._block_windows = limits.block_windows
        self._lag = limits.lag_windows
        self._values_max = limits.reference_windows_max
        self._blocks_max = limits.reference_windows_max // limits.block_windows
        self.waiting: deque[int] = deque()
        self.values: deque[int] = deque()
        self.block_open: list[int] = []
        self.block_maxima: deque[int] = deque()
        self._sorted_values: list[int] = []
        self._sorted_maxima: list[int] = []

    def restore(self, waiting: Iterable[int], values: Iterable[int], open_: Iterable[int], maxima: Iterable[int]) -> None:
        """Put back what `waiting`, `values`, `block_open` and `block_maxima` held."""
        self.waiting, self.values = deque(waiting), deque(values)
        self.block_open, self.block_maxima = list(open_), deque(maxima)
        self._sorted_values, self._sorted_maxima = sorted(self.values), sorted(self.block_maxima)

    def surprise(self, statistic: int) -> Surprise:
        """The largest of the rank, block and tail p-values: a window is rare only if it is rare in each sense."""
        count, blocks = len(self._sorted_values), len(self._sorted_maxima)
        below = bisect_left(self._sorted_values, statistic)
        if blocks < BLOCKS_MIN:
            return Surprise(1.0, below / count if count else 0.0)
        p_rank = (1 + count - below) / (1 + count)
        p_block = (1 + blocks - bisect_left(self._sorted_maxima, statistic)) / (1 + blocks)
        return Surprise(max(p_rank, p_block, self._tail(statistic)), below / count)

    def _tail(self, statistic: int) -> float:
        blocks = len(self._sorted_maxima)
        median = self._sorted_maxima[blocks // 2]
        high = self._sorted_maxima[min(blocks - 1, blocks * 9 // 10)]
        if statistic <= high:
            return 0.0  # inside the data: rank and block say all there is to say
        scale = max((high - median) / LN_5, 0.02 * median, 1e-9)
        return 0.1 * exp_negative((statistic - high) / scale)

    def add(self, statistic: int) -> None:
        """Remember the statistic of an evaluated window; it enters the reference `lag_windows` windows later."""
        self.waiting.append(statistic)
        if len(self.waiting) <= self._lag:
            return
        value = self.waiting.popleft()
        self.values.append(value)
        insort(self._sorted_values, value)
        if len(self.values) > self._values_max:
            del self._sorted_values[bisect_left(self._sorted_values, self.values.popleft())]
        self.block_open.append(value)
        if len(self.block_open) == self._block_windows:
            self._close_block()

    def _close_block(self) -> None:
        maximum = max(self.block_open)
        self.block_open.clear()
        self.block_maxima.append(maximum)
        insort(self._sorted_maxima, maximum)
        if len(self.block_maxima) > self._blocks_max:
            del self._sorted_maxima[bisect_left(self._sorted_maxima, self.block_maxima.popleft())]


class Median:
    """Median of the last `size` values: what is usual for the stream. Slow on purpose, and deaf to single outliers."""

    def __init__(self, size: int, values: Iterable[float] = ()) -> None:
        self._size = size
        self.values = deque(values)
        self._sorted = sorted(self.values)

    def add(self, value: float) -> None:
        """Push one value, forget the oldest."""
        self.values.append(value)
        insort(self._sorted, value)
        if len(self.values) > self._size:
            del self._sorted[bisect_left(self._sorted, self.values.popleft())]

    def value(self, default: float) -> float:
        """The median, or `default` before the first value."""
        return self._sorted[len(self._sorted) // 2] if self._sorted else default


def events_until_first_alarm(profile: Profile, limits: Limits) -> int:
    """Events a stream must have before this profile can alarm at all: p can not be below 1/(blocks + 1).

    >>> from driftlock.engine.profile import PROFILES
    >>> events_until_first_alarm(PROFILES["balanced"], Limits())
    1450
    """
    blocks = BLOCKS_MIN
    while 1 / (blocks + 1) > profile.p_value_threshold:
        blocks += 1
    windows = blocks * limits.block_windows + limits.lag_windows
    return profile.baseline_size + profile.window_size + windows * profile.hop_size


def events_until_calibrated(profile: Profile, limits: Limits) -> int:
    """Events after which verdicts are no longer provisional."""
    return max(limits.calibrated_events_min, events_until_first_alarm(profile, limits))
