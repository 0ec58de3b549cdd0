"""Oracle of metric points as plain numbers: dictionaries and lists, one point after another.

Tests compare; nothing else imports this. There are no bytes and no bound on the number of series in it.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cbad_cy.points import (
    BUCKETS_KEPT,
    ROLES,
    SHAPE_DECAY,
    SHAPE_POINTS_MIN,
    START_SLACK_NS,
    SUMMARY_QUANTILES_MAX,
    derived_number,
)

GAUGE, DELTA, CUMULATIVE, CHANGE, HISTOGRAM_DELTA, HISTOGRAM_CUMULATIVE, SUMMARY, STALE = range(8)
COUNT_MAX: Final = 2.0**64
QUANTILES: Final = {
    0.0: "p0",
    0.25: "p25",
    0.5: "p50",
    0.75: "p75",
    0.9: "p90",
    0.95: "p95",
    0.99: "p99",
    0.999: "p99.9",
    1.0: "p100",
}


@dataclass(frozen=True)
class Buckets:
    """Upper bounds, ascending, and what each bucket holds."""

    at: tuple[float, ...] = ()
    held: tuple[float, ...] = ()

    def __len__(self) -> int:
        """Number of buckets."""
        return len(self.at)

    def known(self, bound: float) -> bool:
        """Whether it says how much lies below the bound: it is one of its own, or stands in an empty bucket or above all."""
        place = bisect_left(self.at, bound)
        return place == len(self.at) or self.at[place] == bound or self.held[place] == 0.0

    def on(self, bounds: Sequence[float]) -> tuple[float, ...]:
        """What lies between known bounds, the first bucket having no lower one."""
        found = [0.0] * len(bounds)
        for bound, held in zip(self.at, self.held, strict=True):
            if held:
                found[bisect_left(bounds, bound)] += held
        return tuple(found)

    def possible(self) -> bool:
        """Whether such a vector can be."""
        ascend = all(low < high for low, high in zip(self.at, self.at[1:], strict=False))
        return (
            ascend
            and self.at[0] > -math.inf
            and self.at[-1] == self.at[-1]
            and all(0 <= held <= COUNT_MAX for held in self.held)
        )

    def few(self) -> "Buckets":
        """At most BUCKETS_KEPT, by joining 2, 4, 8 ... neighbours."""
        width = 1
        while -(-len(self) // width) > BUCKETS_KEPT:
            width *= 2
        ends = [min(start + width, len(self)) for start in range(0, len(self), width)]
        starts = range(0, len(self), width)
        return Buckets(
            tuple(self.at[end - 1] for end in ends),
            tuple(_sum(self.held[start:end]) for start, end in zip(starts, ends, strict=True)),
        )


def _sum(numbers: Sequence[float]) -> float:
    """From left to right, one addition after another (the built-in one compensates in later versions of Python)."""
    total = 0.0
    for number in numbers:
        total += number
    return total


def common(a: Buckets, b: Buckets) -> tuple[float, ...]:
    """Bounds below which both say how much they hold."""
    return tuple(bound for bound in sorted({*a.at, *b.at}) if a.known(bound) and b.known(bound))


def quantile(buckets: Buckets, q: float) -> float:
    """Linear within the bucket that holds it."""
    target, below = q * _sum(buckets.held), 0.0
    filled = [place for place, held in enumerate(buckets.held) if held > 0]
    for place in filled:
        held, high = buckets.held[place], buckets.at[place]
        if below + held >= target or place == filled[-1]:
            low = buckets.at[place - 1] if place else min(0.0, high)
            if high == math.inf:
                return low if place else math.nan
            if place == 0 and high <= 0:
                return high
            share = (target - below) / held
            return min(max(low * (1.0 - share) + high * share, low), high)
        below += held
    return math.nan


@dataclass
class Raw:
    """What is known of one raw series."""

    kind: int = -1
    last_ns: int = -1
    start_ns: int = 0
    before: tuple[float, float, Buckets] | None = None  # value or count, sum and buckets of the point before
    past: Buckets = field(default_factory=Buckets)
    learned: int = 0

    def seconds(self, time_ns: int, start_ns: int) -> float:
        """Length of the interval of a delta point; NaN when it is unknown."""
        if 0 < start_ns < time_ns:
            return (time_ns - start_ns) / 1e9
        return math.nan if self.before is None else (time_ns - self.last_ns) / 1e9

    def origin(self, time_ns: int, start_ns: int, value: float) -> tuple[str, float]:
        """What a cumulative point is measured from, and the seconds since then."""
        if self.before is None:
            return "nowhere", math.nan
        gap = time_ns - self.last_ns
        moved = start_ns > self.last_ns or (start_ns and self.start_ns and abs(start_ns - self.start_ns) >= START_SLACK_NS)
        if start_ns == time_ns and self.start_ns == self.last_ns:
            moved = False
        if not moved and value >= self.before[0]:
            return "before", gap / 1e9
        if moved and self.last_ns <= start_ns < time_ns and time_ns - start_ns >= gap // 4 and value >= 0:
            return "start", (time_ns - start_ns) / 1e9
        return "nowhere", math.nan

    def shape_bits(self, interval: Buckets) -> float:
        """Compare with the past, then learn; NaN while too little is known."""
        bounds = common(interval, self.past)
        if self.past and (len(bounds) < 2 or 2 * len(bounds) < len(interval)):
            self.past, self.learned = Buckets(), 0
            bounds = interval.at
        now, past = interval.on(bounds), self.past.on(bounds)
        bits = math.nan
        if self.learned + 1 >= SHAPE_POINTS_MIN:
            n, all_past = sum(now), sum(past) + 0.5 * len(bounds)
            bits = sum(c * math.log2(c / n * all_past / (f + 0.5)) for c, f in zip(now, past, strict=True) if c)
        self.learned = min(self.learned + 1, SHAPE_POINTS_MIN - 1)
        at, held = list(bounds), [SHAPE_DECAY * f + c for c, f in zip(now, past, strict=True)]
        while len(at) > BUCKETS_KEPT:
            place = min(range(len(at) - 1), key=lambda k: held[k] + held[k + 1])
            held[place + 1] += held[place]
            del at[place], held[place]
        self.past = Buckets(tuple(at), tuple(array("f", held)))
        return max(bits, 0.0) if bits == bits else bits


@dataclass(frozen=True)
class RawPoint:
    """One point as it stands in the columns of a batch."""

    series: int
    time_ns: int
    kind: int = GAUGE
    start_ns: int = 0
    value: float = math.nan
    count: float = math.nan
    sum: float = math.nan
    buckets: Buckets = Buckets()


class ReferencePoints:
    """Takes points one by one."""

    def __init__(self) -> None:
        self.raw: dict[int, Raw] = {}

    def take(self, point: RawPoint) -> tuple[int, list[tuple[str, int, float]]]:
        """Status, and role, derived series and value of each number told."""
        raw = self.raw.setdefault(point.series, Raw())
        told: list[tuple[str, float]] = []
        status = self._take(raw, point, told)
        numbers = [
            (role, derived_number(point.series, ROLES.index(role)), value) for role, value in told if math.isfinite(value)
        ]
        return status, numbers

    def _take(self, raw: Raw, point: RawPoint, told: list[tuple[str, float]]) -> int:
        if point.time_ns < raw.last_ns:
            return 3
        if point.kind == STALE:
            raw.last_ns, raw.before, raw.start_ns = point.time_ns, None, 0
            return 5
        if point.time_ns == raw.last_ns:
            return 2
        value = point.value
        if point.kind >= HISTOGRAM_DELTA:
            value = point.count
            if point.kind != SUMMARY and point.buckets:
                if not point.buckets.possible():
                    return 4
                value = _sum(point.buckets.held) if math.isnan(value) else value
            if not 0 <= value <= COUNT_MAX:
                return 4
        elif not math.isfinite(value) or (point.kind == DELTA and value < 0):
            return 4
        if point.kind != raw.kind:
            self.raw[point.series] = raw = Raw(point.kind, raw.last_ns)
        start_ns = 0 if point.start_ns > point.time_ns else point.start_ns
        buckets = point.buckets.few() if point.kind in {HISTOGRAM_DELTA, HISTOGRAM_CUMULATIVE} else Buckets()
        rate, interval = self._measure(raw, point, start_ns, value, buckets)
        raw.last_ns, raw.before, raw.start_ns = point.time_ns, (value, point.sum, buckets), start_ns or raw.start_ns
        if point.kind in {GAUGE, CHANGE}:
            told.append(("", value))
            return 0
        told.append(("rate", rate))
        if point.kind >= HISTOGRAM_DELTA:
            self._observations(raw, point, interval, told)
        return 0 if math.isfinite(rate) else 1

    def _measure(
        self, raw: Raw, point: RawPoint, start_ns: int, value: float, buckets: Buckets
    ) -> tuple[float, tuple[float, float, Buckets] | None]:
        """Rate, and the interval: count, sum and buckets; None where nothing is known of it."""
        if point.kind in {DELTA, HISTOGRAM_DELTA}:
            return _by(value, raw.seconds(point.time_ns, start_ns)), (value, point.sum, buckets)
        origin, seconds = raw.origin(point.time_ns, start_ns, value)
        if origin == "start":
            return _by(value, seconds), (value, point.sum, buckets)
        if origin == "nowhere" or raw.before is None:
            return math.nan, None
        count, total, old = raw.before
        interval = Buckets()
        if old and buckets:
            bounds = common(buckets, old)
            held = tuple(new - gone for new, gone in zip(buckets.on(bounds), old.on(bounds), strict=True))
            if any(number < 0 for number in held):
                return math.nan, None
            interval = Buckets(bounds, held)
        return _by(value - count, seconds), (value - count, point.sum - total, interval)

    @staticmethod
    def _observations(
        raw: Raw,
        point: RawPoint,
        interval: tuple[float, float, Buckets] | None,
        told: list[tuple[str, float]],
    ) -> None:
        if interval is not None and interval[0] > 0:
            told.append(("mean", interval[1] / interval[0]))
        if point.kind == SUMMARY:
            if interval is None or interval[0] > 0:
                roles: set[str] = set()
                entries = zip(point.buckets.at, point.buckets.held, strict=True)
                for place, (q, value) in enumerate(list(entries)[:SUMMARY_QUANTILES_MAX]):
                    role = QUANTILES.get(q, f"q{place + 1}")
                    if 0 <= q <= 1 and role not in roles:
                        roles.add(role)
                        told.append((role, value))
        elif interval is not None and interval[0] > 0:
            buckets = interval[2]
            if len(buckets) >= 2 and any(buckets.held):
                told += [("p50", quantile(buckets, 0.5)), ("p99", quantile(buckets, 0.99)), ("shape", raw.shape_bits(buckets))]


def _by(number: float, seconds: float) -> float:
    return number / seconds
