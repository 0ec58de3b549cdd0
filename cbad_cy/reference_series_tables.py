"""Of the oracle reference_series.py: what a series remembers, table by table."""

from array import array
from math import cos, log2, log10, sin, tau
from struct import pack, unpack

QUANTUM_LEAST, SHARE_LEAST = 1e-12, 1e-9
WINDOW, LEVELS, SHAPES, CELLS, UNIT = 52, 6, 32, 64, 65535


def short(x: float) -> float:
    """The nearest number with 8 bits of fraction."""
    (bits,) = unpack("<I", pack("<f", x))
    (found,) = unpack("<f", pack("<I", (bits + 0x4000) >> 15 << 15))
    return float(found)


class Calibrator:
    """-log10 of the share of past values at least as high, by a decaying histogram with an exponential tail."""

    def __init__(
        self, bins: int, width: float, share: float, prior: tuple[float, float], extreme: float = 0.25, memory: float = 0.9999
    ) -> None:
        self.width, self.share, self.extreme, self.memory = width, share, extreme, memory
        self.prior_excess, self.prior_weight = prior
        self.bins = array("f", [0.0] * bins)
        self.total, self.weight = 0.0, 1.0

    def rareness(self, value: float) -> float:
        """Of `value` >= 0, which is then learned."""
        rare, bins = 0.0, len(self.bins)
        k = min(int(value / self.width), bins - 1)
        if self.total >= 5 * self.weight:
            first, beyond = bins - 1, 0.0
            while first > 0 and beyond + self.bins[first] <= self.share * self.total:
                beyond += self.bins[first]
                first -= 1
            if k <= first:
                above = sum(self.bins[k + 1 :]) + 0.5 * self.bins[k]
                rare = -log10((above + 0.5 * self.weight) / (self.total + self.weight))
            else:
                border = (first + 1) * self.width
                excess = sum(self.bins[i] * ((i + 0.5) * self.width - border) for i in range(first + 1, bins)) / self.weight
                mean = (max(excess, 0.0) + self.prior_excess * self.prior_weight) / (beyond / self.weight + self.prior_weight)
                rare = (value - border) / mean * log10(2.718281828459045)
                rare -= log10((beyond + 0.5 * self.weight) / (self.total + self.weight))
            rare = min(max(rare, 0.0), 30.0)
        old = self.bins[k]
        self.bins[k] += self.weight * (1.0 if rare < 3.0 else self.extreme)
        self.total += self.bins[k] - old
        self.weight /= self.memory
        return rare


class Season:
    """Mean and mean deviation of each slot; values relative to the first one."""

    def __init__(self, slots: int, gain_least: float) -> None:
        self.mean, self.deviation = array("f", [0.0] * slots), [0.0] * slots
        self.counts, self.gain_least = [0] * slots, gain_least

    def learn(self, slot: int, value: float, change: float) -> None:
        """The first deviation of a slot is the mean step between values."""
        value = max(-1e38, min(1e38, value))
        error = abs(value - self.mean[slot]) if self.counts[slot] else change
        self.counts[slot] += 1
        gain = max(self.gain_least, 1 / self.counts[slot])
        if self.counts[slot] > 8:
            error = min(error, 3 * self.deviation[slot] + QUANTUM_LEAST)
        self.deviation[slot] = short(self.deviation[slot] + gain * (min(error, 1e38) - self.deviation[slot]))
        self.mean[slot] += gain * (value - self.mean[slot])


class Cells:
    """The long-run distribution: 64 cells whose range doubles when a value falls outside."""

    def __init__(self, first: list[float]) -> None:
        span = max(max(first) - min(first), 1e-9 + 1e-6 * abs(max(first)))
        self.width, self.low = 2 * span / CELLS, min(first) - 0.5 * span
        self.counts, self.total, self.weight = array("f", [0.0] * CELLS), 0.0, 1.0
        for value in first:
            self.count(value)

    def count(self, value: float) -> None:
        """Without forgetting."""
        self.counts[int(min(max((value - self.low) / self.width, 0.0), CELLS - 1.0))] += self.weight
        self.total += self.weight

    def learn(self, value: float) -> None:
        """Widen by 60 doublings at most."""
        for _ in range(60):
            up = value >= self.low + CELLS * self.width
            if not up and value >= self.low:
                break
            wide = array("f", [0.0] * CELLS)
            for k in range(CELLS):
                wide[k // 2 if up else (k + CELLS) // 2] += self.counts[k]
            self.low, self.width, self.counts = self.low if up else self.low - CELLS * self.width, 2 * self.width, wide
        self.weight /= 0.9997
        self.count(value)

    def mass(self, value: float, quantum: float) -> float:
        """Of a bin around `value`."""
        j, total = (value - self.low) / self.width, self.total / self.weight + 0.05 * CELLS
        if 0 <= j < CELLS:
            return (self.counts[int(j)] / self.weight + 0.05) / total * min(1.0, quantum / self.width)
        beyond = 1 + 4 * (-j if j < 0 else j - CELLS) / CELLS
        return min(0.5 / total / beyond / beyond * quantum / self.width / CELLS, 1.0)


class Shapes:
    """The window code: bits of the newest points under the nearest of the shapes that earlier ones had."""

    def __init__(self, low: float) -> None:
        self.low = self.high = low
        self.newest: list[float] = []
        self.shares: list[list[int]] = []
        self.uses: list[int] = []

    def level(self, value: float) -> int:
        """Of the range seen so far."""
        return min(int((value - self.low) / (self.high - self.low) * LEVELS), LEVELS - 1) if self.high > self.low else 0

    def slide(self, value: float, points: int) -> float:
        """Take a value; -> share of the range by which it lies beyond."""
        self.newest = [*self.newest, value][-WINDOW:]
        low, high, beyond = self.low, self.high, 0.0
        if low <= value <= high:
            return beyond
        if points > 150 and high > low:
            beyond = min(max(value - high, low - value) / (high - low), 1e30)
        self.low, self.high = min(low, value), max(high, value)
        for i, shares in enumerate(list(self.shares)):
            self.shares[i] = [0] * LEVELS
            for k in range(LEVELS):
                self.shares[i][self.level(low + (k + 0.5) / LEVELS * (high - low))] += shares[k]
        return beyond

    def code(self, shape: int, level: int) -> float:
        """Bits of a level under a shape, as they are stored."""
        seen = self.uses[shape] * WINDOW
        share = (self.shares[shape][level] / UNIT * seen + 0.05) / (seen + 0.05 * LEVELS)
        return int(0.5 - log2(share) * 1024) / 1024

    def bits(self) -> float:
        """Of the window; then it is learned."""
        counts = [0] * LEVELS
        for value in self.newest:
            counts[self.level(value)] += 1
        costs = [sum(counts[k] * self.code(i, k) for k in range(LEVELS) if counts[k]) for i in range(len(self.uses))]
        own = -sum(n * log2(n / WINDOW) for n in counts if n)
        bits = max(min(costs) - own, 0.0) if costs else 0.0
        shape, gain = (costs.index(min(costs)), 1.0) if costs else (0, 1.0)
        if costs and bits < 10:
            self.uses[shape] += 1
            gain = max(1 / self.uses[shape], 0.01)
        elif len(costs) < SHAPES:
            shape = len(costs)
            self.uses.append(1)
            self.shares.append([0] * LEVELS)
        else:
            shape = self.uses.index(min(self.uses))
            self.uses[shape] = 1
        for k in range(LEVELS):
            self.shares[shape][k] = int(
                self.shares[shape][k] + gain * (counts[k] * UNIT / WINDOW - self.shares[shape][k]) + 0.5
            )
        return bits


class Flatline:
    """The code of repeats."""

    def __init__(self) -> None:
        self.run, self.bits, self.told = 0, 0.0, False
        self.seen, self.equal = [0.0] * 3, [0.0] * 3

    def level(self, repeats: bool) -> float:
        """Of the run that the newest point continues or ends; 0 when it was told."""
        context = 0 if self.run == 0 else 1 if self.run <= 4 else 2
        share = (sum(self.equal) + 0.5) / (sum(self.seen) + 1)
        if repeats:
            self.run += 1
            self.bits -= log2((self.equal[context] + share) / (self.seen[context] + 1))
            self.equal[context] += 1
        else:
            self.run, self.bits, self.told = 0, 0.0, False
        self.seen[context] += 1
        if self.run < 6 or self.told:
            return 0.0
        return max(min(log10(2) * self.bits - 4, 12.0), 0.0)


class Past:
    """What the long past expects: a level, the time of day by recursive least squares, the hour of the week."""

    def __init__(self, first: float) -> None:
        self.first = self.level = first
        self.week = array("f", [0.0] * 168)
        self.errors, self.rough = [0.0] * 3, [0.0] * 3
        self.begin()

    def begin(self) -> None:
        """Nothing is known of the time of day."""
        self.coefficients = [0.0] * 7
        self.covariance = [[0.0] * 7 for _ in range(7)]
        for i, variance in enumerate([100, 10, 10, 5, 5, 10 / 3, 10 / 3]):
            self.covariance[i][i] = float(variance)

    def regress(self, features: list[float], error: float) -> None:
        """One step of recursive least squares; forgetting stops where too little is known."""
        g = [sum(c * f for c, f in zip(row, features, strict=True)) for row in self.covariance]
        total = 0.9998 + sum(a * f for a, f in zip(g, features, strict=True))
        for i in range(7):
            self.coefficients[i] += g[i] / total * error
            for k in range(7):
                self.covariance[i][k] -= g[i] * g[k] / total
        if sum(self.covariance[i][i] for i in range(7)) < 100:
            self.covariance = [[c / 0.9998 for c in row] for row in self.covariance]

    def deviation(self, value: float, second: int, points: int, floor: float, visits: int) -> float:
        """Of `value` from the best expectation, in scales; then it is learned. `told`: that expectation and 3.5 scales."""
        turns, hour = second % 86400 / 86400 * tau, (second + 259200) % 604800 // 3600
        features = [1.0, *(wave(k * turns) for k in (1, 2, 3) for wave in (sin, cos))]
        daily = self.first + sum(c * f for c, f in zip(self.coefficients, features, strict=True))
        if not abs(daily) < 1e302:
            self.begin()
            daily = value
        means = [self.level, daily, daily + self.week[hour] * visits / (visits + 1)]
        best, gain, found = self.errors.index(min(self.errors)), max(0.002, 1 / (points + 1)), 0.0
        for k, mean in enumerate(means):
            scale, error = max(self.errors[k], 0.2 * self.rough[k], floor), max(-4e300, min(4e300, value - mean))
            if k == best:
                found, self.told = max(-1e9, min(1e9, error / scale)), (mean, 3.5 * scale)
            clipped = max(-2 * scale, min(2 * scale, error)) if points > 20 else error
            self.errors[k] += gain * (abs(clipped) - self.errors[k])
            self.rough[k] += gain * (abs(error) - self.rough[k])
            if k == 0:
                self.level += gain * clipped
            elif k == 1:
                self.regress(features, clipped)
            else:
                self.week[hour] = max(-1e38, min(1e38, self.week[hour] + max(0.05, 1 / (visits + 2)) * clipped))
        return found
