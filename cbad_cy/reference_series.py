"""The judgement of cbad_cy.series, formula by formula, in plain Python: slow, for tests.

Tables are of single precision, as there: what is learned must be the same number before it can be compared.
"""

from itertools import pairwise
from math import inf, log2, log10
from typing import NamedTuple

from cbad_cy.reference_series_tables import (
    QUANTUM_LEAST,
    SHARE_LEAST,
    WINDOW,
    Calibrator,
    Cells,
    Flatline,
    Past,
    Season,
    Shapes,
)

LAST, FAST, LEVEL, SLOW, TREND, DAY, WEEK, DAY_CHANGE, MOMENTUM, RANGE = range(10)


class Judgement(NamedTuple):
    """Of one point: see `Feed` and `Alarm` of cbad_cy.series; `tail` is -log10 p, `evidence` in powers of ten.

    `told` is the same two of what raised the level.
    """

    bits: float
    rank: float
    tail: float
    evidence: float
    told: tuple[float, float]
    level: float
    expected: float
    low: float
    high: float
    cause: str
    expert: int
    alarms: bool
    score: float


class Series:
    """One series; `take` its points in order of time, each later than the one before."""

    def __init__(self, alarm_level: float = 2.85) -> None:
        self.alarm_level = alarm_level
        self.values: list[float] = []
        self.times_ns: list[int] = []
        self.weights, self.scales, self.scale_counts = [0.1] * 10, [0.0] * 9, [0] * 9
        self.day, self.week = Season(96, 0.02), Season(168, 0.04)
        self.point, self.window = Calibrator(160, 0.2, 0.1, (0.5, 200.0)), Calibrator(160, 0.5, 0.1, (1.5, 200.0))
        self.all = Calibrator(160, 0.08, 0.05, (0.2, 30.0), 0.5)
        self.spike, self.shift = Calibrator(80, 0.5, 0.1, (0.6, 30.0)), Calibrator(80, 0.2, 0.1, (0.3, 200.0), memory=0.9995)
        self.few = self.many = self.widest = 0.0
        self.side = 0
        self.flat = Flatline()
        self.cells: Cells | None = None
        self.change = self.least = self.step_s = self.trend = self.smooth = 0.0
        self.band, self.quiet_until, self.alarmed = 6.5, 0, -10
        self.over, self.earned = 0, 0

    def predict(self, value: float, day: int, week: int) -> tuple[float, list[float], list[float], list[float]]:
        """-> quantum, and of each expert value, scale, weight (0: has no say)."""
        usual, prev = max(self.change, QUANTUM_LEAST), self.values[-1]
        before = self.values[-2] if len(self.values) > 1 else prev
        quantum = max(self.least, 1e-3 * usual, abs(value) * SHARE_LEAST, QUANTUM_LEAST)
        first, change = self.values[0], self.day.mean[day] - self.day.mean[self.day_slot]
        means = [prev, self.fast, self.level, self.slow, self.trend_level + self.trend]
        means += [first + self.day.mean[day], first + self.week.mean[week], prev + change, 2 * prev - before]
        scales, weights = list(self.scales), list(self.weights)
        scales[DAY] = 0.5 * scales[DAY] + 0.5 * self.day.deviation[day]
        scales[WEEK] = 0.5 * scales[WEEK] + 0.5 * self.week.deviation[week]
        scales = [max(scale, 0.02 * usual, 0.3 * quantum) for scale in scales]
        if len(self.values) < 10:
            scales = [2 * max(scale, 0.1 * abs(prev)) for scale in scales]
        if not self.day.counts[day]:
            weights[DAY] = weights[DAY_CHANGE] = 0.0
        if not self.week.counts[week]:
            weights[WEEK] = 0.0
        if len(self.values) < 3:
            weights[MOMENTUM] = 0.0
        if self.cells is None:
            weights[RANGE] = 0.0
        return quantum, means, scales, weights

    def price(self, value: float, quantum: float, means: list[float], scales: list[float]) -> list[float]:
        """Mass of the bin around `value` under each expert."""
        masses = []
        for mean, scale in zip(means, scales, strict=True):
            z, half = abs(value - mean) / scale, 0.5 * quantum / scale
            near, far = (power(1 + (z + side * half) / 3) for side in (-1, 1))
            masses.append(1 - power(1 + half / 3) if z < half else 0.5 * (near - far))
        masses.append(self.cells.mass(value, quantum) if self.cells else 0.0)
        return [max(mass, 1e-15) for mass in masses]

    def reward(self, value: float, means: list[float], weights: list[float], masses: list[float], mass: float) -> None:
        """Weights and scales after the value is known."""
        for k in range(10):
            if weights[k] > 0:
                self.weights[k] *= masses[k] / mass
        total = sum(self.weights)
        self.weights = [0.99 * weight / total + 0.001 for weight in self.weights]
        for k in range(9):
            if weights[k] > 0:
                error = abs(value - means[k])
                if self.scale_counts[k] > 20:
                    error = min(error, 3 * max(self.scales[k], 0.02 * max(self.change, QUANTUM_LEAST)))
                self.scale_counts[k] += 1
                self.scales[k] += max(0.003, 1 / (self.scale_counts[k] + 1)) * (error - self.scales[k])

    def expect(self, means: list[float], scales: list[float], weights: list[float]) -> tuple[float, float, float]:
        """Mean and range of the mixture."""
        total, floor = sum(weights[:9]), 0.0 if self.shapes.low >= 0 else -inf
        mean = sum(w * m for w, m in zip(weights[:9], means, strict=True)) / total
        scale = sum(w * (s + abs(m - mean)) for w, s, m in zip(weights[:9], scales, means, strict=True)) / total * self.band
        return max(mean, floor), max(mean - scale, floor), max(mean + scale, floor)

    def learn_step(self, value: float) -> None:
        """How far apart neighbouring values are."""
        n, step = len(self.values), abs(value - self.values[-1])
        if step > 0:
            self.least = min(self.least or inf, step)
        self.change += max(0.005, 1 / (n + 1)) * ((min(step, 10 * self.change) if n > 20 else step) - self.change)

    def learn(self, value: float, day: int, week: int) -> None:
        """Levels, trend and seasons."""
        n = len(self.values)
        if n == 0:
            self.fast = self.level = self.slow = self.trend_level = value
        self.fast += 0.3 * (value - self.fast)
        self.level += max(0.05, 1 / (n + 1)) * (value - self.level)
        self.slow += max(0.005, 1 / (n + 1)) * (value - self.slow)
        old = self.trend_level
        self.trend_level = self.trend_level + self.trend + 0.2 * (value - self.trend_level - self.trend)
        self.trend += 0.05 * (self.trend_level - old - self.trend)
        first = self.values[0] if self.values else value
        self.day.learn(day, value - first, self.change)
        self.week.learn(week, value - first, self.change)
        self.day_slot = day

    def deviate(self, value: float, second: int) -> float:
        """From what the long past expects, in scales."""
        n, week = len(self.values), (second + 259200) % 604800 // 3600
        floor = 0.3 * max(self.least, 1e-3 * self.change, abs(value) * SHARE_LEAST + QUANTUM_LEAST)
        if n < 10:
            floor = max(floor, 0.1 * abs(self.values[-1]))
        return self.past.deviation(value, second, n, floor, min(self.week.counts[week], 255))

    def pace(self, time_ns: int) -> None:
        """The usual distance in time."""
        gap, gain = (time_ns - self.times_ns[-1]) * 1e-9, max(0.02, 1 / (len(self.values) + 1))
        if self.step_s == 0:
            self.step_s = gap
        elif gap > self.step_s * 1.001:
            self.step_s *= 1 + gain
        elif gap < self.step_s * 0.999:
            self.step_s /= 1 + gain

    def take(self, value: float, time_ns: int) -> Judgement:
        """Judge a finite value, then learn it."""
        n, value = len(self.values), max(-1e300, min(1e300, value))
        second = time_ns // 10**9
        day, week = second % 86400 // 900, (second + 259200) % 604800 // 3600
        bits, flat, expert, band = 0.0, 0.0, 0, (value, value, value)
        if n == 0:
            self.shapes, self.past = Shapes(value), Past(value)
        else:
            self.pace(time_ns)
            quantum, means, scales, weights = self.predict(value, day, week)
            masses = self.price(value, quantum, means, scales)
            mass = sum(w * m for w, m in zip(weights, masses, strict=True)) / sum(weights)
            bits, expert, band = max(-log2(mass), 0.0), weights.index(max(weights)), self.expect(means, scales, weights)
            self.reward(value, means, weights, masses, mass)
            gain = 0.1 if n >= 300 else 0.3
            missed = not band[1] <= value <= band[2]
            self.band = min(self.band * (1 + gain), 100.0) if missed else max(self.band / (1 + gain / 99), 1.0)
            flat = self.flat.level(value == self.values[-1])
        if n > 0:
            self.learn_step(value)
        deviation = self.deviate(value, second) if n else 0.0
        self.learn(value, day, week)
        beyond = self.shapes.slide(value, n)
        self.values.append(value)
        self.times_ns.append(time_ns)
        if n == 20:
            self.cells = Cells(self.values)
        elif self.cells is not None:
            self.cells.learn(value)
        return self.decide(n, bits, beyond, deviation, flat, expert, band)

    def decide(
        self, n: int, bits: float, beyond: float, deviation: float, flat: float, expert: int, band: tuple[float, float, float]
    ) -> Judgement:
        """Evidence, its own rareness, level, alarm."""
        self.smooth += max(0.25, 1 / (n + 1)) * (bits - self.smooth)
        point, size = self.point.rareness(self.smooth), abs(deviation)
        pattern = self.window.rareness(self.shapes.bits() if n >= WINDOW - 1 else 0.0)
        pattern *= min(1.0, self.step_s / 300) if self.step_s else 1.0
        record = log10((n + 1) / 2 + 1) + 2 * log10(1 + 10 * beyond) if beyond > 0 else 0.0
        record *= beyond / (beyond + 0.01) * size / (size + 4)
        evidence = max(point, record) + 0.75 * min(point, record) + pattern
        tail = self.all.rareness(evidence)
        above = self.few > 0
        self.few += max(0.5, 1 / (n + 1)) * (deviation - self.few)
        if (self.few > 0) != above:
            self.side = n
        self.many += max(0.05, 1 / (n + 1)) * (max(-6.0, min(6.0, deviation)) - self.many)
        spike, shift = self.spike.rareness(size), self.shift.rareness(log2(1 + 4 * abs(self.many)))
        fresh = size > 1.3 * self.widest and n >= 100
        if n >= 20:
            self.widest = max(0.9995 * self.widest, size)
        rate = log10(300 / self.step_s) if self.step_s else 0.0
        level = (0.5 * tail + 0.35 * evidence) * (n + 1) / (n + 101) - 0.5 * rate if n >= 300 else 0.0
        cause = "range" if record > max(point, pattern) else "pattern" if pattern > point else "value"
        raised = [(level, cause, tail, evidence)]
        if fresh:
            raised.append((2.85 + spike - 4 - 0.75 * rate, "value", spike, max(evidence, spike)))
        if n >= 100 and self.alarmed < self.side:
            raised.append((2.85 + shift - 2.75 - 0.75 * rate, "shift", shift, max(evidence, shift)))
        raised.append((flat, "flatline", flat, max(evidence, flat)))
        level, cause, *told = max(raised, key=lambda term: term[0])
        by_past = cause == "shift" or (fresh and level == raised[1][0])
        alarms = level >= self.alarm_level and n >= self.quiet_until
        if fresh and raised[1][0] >= self.alarm_level and n >= self.alarmed + 10:
            alarms = True
        if alarms:
            self.quiet_until, self.alarmed = n + int(min(max(0.05 * n, 30), 150)), n
            self.flat.told |= cause == "flatline"
        rank = log2(1 + (size + abs(self.few)) / 2) + 0.5 * point - rate
        if self.single(n, rank):
            alarms = by_past = True
            cause, told = "point", [max(spike, point), max(evidence, spike, point)]
        if alarms and by_past:
            (mean, reach), floor = self.past.told, 0.0 if self.shapes.low >= 0 else -inf
            band = max(mean, floor), max(mean - reach, floor), max(mean + reach, floor)
        shown = (max(level, 0.0), *band, cause, expert, alarms, self.score(rank, alarms))
        return Judgement(bits, rank, tail, evidence, (told[0], told[1]), *shown)

    def score(self, rank: float, alarms: bool) -> float:
        """By rank, in the half of the decision."""
        over = rank - (5.4 + self.alarm_level - 2.85)
        return 0.25 * (1 + over / (abs(over) + 3)) + 0.5 * alarms

    def single(self, n: int, rank: float) -> bool:
        """Whether the rank of a point alarms: once in 20 days, three times at once, not beside the level's own alarms."""
        if n < 300 or rank < 5.4 + self.alarm_level - 2.85:
            return False
        over, self.over, minute = self.over, n, self.times_ns[-1] // (60 * 10**9)
        if n - over <= 10 or self.earned - minute > 2 * 28800:
            return False
        self.earned = max(self.earned, minute) + 28800
        return n - self.alarmed > 10


def power(x: float) -> float:
    """x to the power -4."""
    return 1 / (x * x) / (x * x)


def octaves_of(gaps: dict[int, float], weight: float, p: float) -> float:
    """Of the pause that is longer than all but a share `p` of these, which are counted by half octaves."""
    total, beyond, k = sum(gaps.values()), 0.0, max(gaps, default=0)
    while k > 0 and beyond + gaps.get(k, 0.0) <= 0.02 * total:
        beyond += gaps.get(k, 0.0)
        k -= 1
    border = (k + 1) / 2
    excess = sum(count * ((i + 0.5) / 2 - border) for i, count in gaps.items() if i > k) / weight
    mean = (excess + 12 / 6) / (beyond / weight + 12)
    return border + max(log2((beyond + 0.5 * weight) / (total + weight) / p), 0.0) * mean


def due_ns(times_ns: list[int], steps_s: list[float], p_day: float) -> int:
    """See `SeriesTable.due_ns`; `steps_s`: the usual pause after each point but the first."""
    weights = [0.9995**-i for i in range(len(steps_s) + 1)]
    gaps: dict[int, float] = {}
    for (before, after), step, weight in zip(pairwise(times_ns), steps_s, weights, strict=False):
        bin_ = int(min(max(2 * log2((after - before) * 1e-9 / step), 0.0), 19.0))
        gaps[bin_] = gaps.get(bin_, 0.0) + weight
    weight, p = weights[-1], p_day * min(steps_s[-1] / 86400, 1.0)
    allowed = [octaves_of(gaps, weight, p)]
    for k in sorted(gaps, reverse=True):
        lone = sum(count for i, count in gaps.items() if i >= k)
        rest = octaves_of({i: count for i, count in gaps.items() if i < k}, weight, p)
        if k and (lone <= weight or (lone <= 8 * weight and rest <= k / 2)):
            allowed.append(max(rest, (max(gaps) + 1) / 2))
    return times_ns[-1] + round(steps_s[-1] * 2 ** max(min(allowed), 1.0) * 1e9)
