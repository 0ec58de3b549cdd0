"""Of the oracle reference_calls.py: how rare a duration or a failure is, and what monitors make of it."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack, unpack

BINS, CODES = 124, 320
SHARE = (0.95, 0.95, 0.4, 0.12, 0.04, 0.012, 0.004, 0.95)
TAIL = (0.5, 0.25, 0.15, 0.12, 0.1, 0.08, 0.06, 0.1)
FAILING = (0.002, 0.005, 0.015, 0.05, 0.15, 0.4, 0.9)
LEVEL, ERRORS_BITS, ALARMED_WEIGHT = 14.81, 1.585, 0.25
AGAIN_NS = 60 * 10**9
"""After so long what goes on is told again."""
LN_2 = 0.693147180559945309417


def log2_of(x: float) -> float:
    """As the kernel's, operation by operation."""
    (bits,) = unpack("<Q", pack("<d", x))
    exponent, upper = (bits >> 52) - 1023, (bits >> 51) & 1
    (m,) = unpack("<d", pack("<Q", bits & ((1 << 52) - 1) | (1023 - upper) << 52))
    z = (m - 1.0) / (m + 1.0)
    q = z * z
    q = 1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11)))))
    return float(exponent + upper + 2.885390081777926814719849362 * z * q)


def power_of_two(x: float) -> float:
    """As the kernel's."""
    whole = int(x + 1000.5) - 1000
    y, total = (x - whole) * LN_2, 1.0
    for k in range(13, 0, -1):
        total = 1.0 + y * total * (1.0 / k)
    return total * float(2.0**whole)


def decay(passed: float, half: float) -> float:
    """What is left after a time, when half is left after `half`."""
    halvings = passed / half
    return 1.0 if halvings <= 0 else power_of_two(-halvings) if halvings < 100 else 0.0


def doubt(bits: float) -> float:
    """Bits against somebody who was as likely as not."""
    return log2_of(0.5 + 0.5 * power_of_two(max(-64.0, min(64.0, bits))))


def position(duration_ns: int) -> float:
    """In quarter octaves from 2^-20 s on."""
    at = 4.0 * (log2_of(float(duration_ns) * 1e-9 + 1e-7) + 20)
    return max(0.0, min(BINS - 1.01, at))


def seconds_at(at: float) -> float:
    """The other way round."""
    return max(0.0, power_of_two(at * 0.25 - 20) - 1e-7)


def _gains(code: int) -> "array[float]":
    bits = (code + 0.5) / 8
    densities = (1.0 - e + e * k * power_of_two(bits * (1.0 - k)) for e, k in zip(SHARE, TAIL, strict=True))
    return array("f", [min(10.0, log2_of(density)) for density in densities])


def _local(code: int) -> float:
    return max(-2.0, min(12.0, log2_of(0.5 + 0.5 * 0.15 * power_of_two((code + 0.5) / 8 * 0.85))))


def _hits(code: int) -> list[bool]:
    bits = (code + 0.5) / 8
    return [bits > 2 and e * k * power_of_two(bits * (1.0 - k)) > 1.0 - e for e, k in zip(SHARE, TAIL, strict=True)]


GAINS, HITS = tuple(map(_gains, range(CODES))), tuple(map(_hits, range(CODES)))
ALL, NONE = [True] * 8, [False] * 8
LOCAL = array("f", map(_local, range(CODES)))


@dataclass
class Rule:
    """What all monitors share: the time, how many they are, calls of all operations and how many failed."""

    now_ns: int = 0
    now_s: float = 0.0
    monitors: list[float] = field(default_factory=lambda: [0.0, 0.0])
    calls: float = 0.0
    failed: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0


@dataclass(frozen=True)
class Seen:
    """A trace that shows what is odd; times in ns."""

    trace_id: bytes
    start_ns: int
    duration_ns: int
    spans: int
    root: int
    path: tuple[int, ...]
    error: bool
    instance: int
    called: int
    at: float
    bits: float
    seen_ns: int

    def row(self) -> tuple[bytes, int, int, int, int, tuple[int, ...], bool]:
        """As judgements have it."""
        return self.trace_id, self.start_ns, self.duration_ns, self.spans, self.root, self.path, self.error


def code_of(share: float) -> int:
    """Eighths of bits."""
    return max(0, min(CODES - 1, int(-log2_of(share + 1e-12) * 8)))


class Voice:
    """Who has a majority of votes."""

    def __init__(self) -> None:
        self.who, self.votes, self.heard, self.heard_ns = 0, 0, 0, 0

    def hear(self, who: int, now_ns: int) -> None:
        """One more vote."""
        if now_ns - self.heard_ns > 180 * 10**9:
            self.votes = self.heard = 0
        self.heard_ns, self.heard = now_ns, min(32, self.heard + 1)
        if not self.votes:
            self.who, self.votes = who, 1
        elif self.who == who:
            self.votes = min(32, self.votes + 1)
        else:
            self.votes -= 1


class Monitor:
    """Sums of bits for eight alternatives, and how high they went before."""

    def __init__(self, of: int = 0) -> None:
        self.of = of  # 0 = durations, 1 = failures
        self.sums, self.reserves, self.peaks = [0.0] * 8, [12.0] * 8, [0.0] * 8
        self.ended, self.heights, self.records = [0.0] * 8, [0.0] * 8, [0.0] * 8
        self.since_ns, self.began, self.affected = [0] * 8, [0] * 8, [0] * 8
        self.calls, self.alarmed, self.alternative, self.told_ns, self.anew = 0, False, 0, 0, [0.0] * 8
        self.first_s = self.filled_s = self.alarm_s = self.evidence_s = self.bar = self.reached = self.hot = 0.0

    def since(self, k: int) -> tuple[int, int]:
        """Calls and affected calls of this excursion."""
        return self.calls - self.began[k], self.affected[k]

    def end(self, k: int, weight: float) -> None:
        """An excursion is over."""
        if self.peaks[k] > 4.0:
            self.ended[k] += weight
            self.heights[k] += weight * min(self.peaks[k] - 4.0, 40.0 if weight == 1 else 10.0)
            if weight == 1:
                self.records[k] = max(self.records[k], self.peaks[k])
            if self.ended[k] > 4000:
                self.ended[k], self.heights[k], self.records[k] = self.ended[k] / 2, self.heights[k] / 2, self.records[k] * 0.9
        self.peaks[k] = 0.0

    def reset(self) -> None:
        """All begins anew."""
        for k in range(8):
            self.end(k, ALARMED_WEIGHT)
        self.sums, self.alarmed = [0.0] * 8, False

    def slope(self, k: int) -> float:
        """Bits that a bit of height is worth."""
        return min(1.0, 1.4427 * (6.0 + self.ended[k]) / (6.0 * 2.4 + self.heights[k]))

    def pace(self, k: int, rule: Rule) -> float:
        """log2 of excursions a second."""
        return log2_of((self.ended[k] + 1.0) / (rule.now_s - self.first_s + 600.0) * rule.monitors[self.of] * 8)

    def level(self, k: int, total: float, rule: Rule) -> float:
        """The level at which a sum would just alarm."""
        return (total - 4.0) * self.slope(k) - self.pace(k, rule)

    @property
    def top(self) -> int:
        """The alternative of the highest sum."""
        return max(range(8), key=self.sums.__getitem__)

    def most(self, k: int) -> bool:
        """Whether five in eight calls are affected, in an alternative of most calls."""
        calls, affected = self.since(k)
        return SHARE[k] > 0.5 and 8 * affected > 5 * calls

    @property
    def told(self) -> int:
        """The alternative whose calls are told."""
        few = [k for k in range(8) if SHARE[k] <= 0.5 and self.sums[k] > 0]
        if self.of or SHARE[self.top] <= 0.5 or self.most(self.top) or not few:
            return self.top
        return max(few, key=self.sums.__getitem__)

    def hot_lately(self, now_s: float) -> float:
        """The highest sum; 0 where nothing came for long."""
        return self.hot if now_s - self.filled_s <= 180 else 0.0

    def watch(self, gains: Sequence[float], hits: Sequence[bool], rule: Rule, level: float) -> int:
        """1 = a new alarm, 2 = it goes on and is told again, -1 = what alarmed for half an hour is adopted, 0."""
        if not self.calls:
            rule.monitors[self.of] += 1
            self.first_s = self.filled_s = rule.now_s
        self.calls += 1
        if max(gains) <= 0 and self.hot == 0:
            return 0
        fill, self.filled_s, outcome = (rule.now_s - self.filled_s) * 1.5, rule.now_s, 0
        if self.alarmed and rule.now_s - self.evidence_s > 180:
            self.reset()
        hot = []
        for k in range(8):
            old, left = self.sums[k], min(12.0, self.reserves[k] + fill)
            if old > 0 or self.alarmed:
                self.affected[k] += hits[k]
            gain = min(left, gains[k]) if gains[k] > 0 else gains[k]
            self.reserves[k] = left - gain if gain > 0 else min(12.0, left + min(-gain, old))
            self.sums[k] = max(0.0, old + gain)
            if self.alarmed:
                self.anew[k] = max(0.0, self.anew[k] + gain)
            hot.append(self.sums[k])
            if gain > 0:
                outcome |= self.grow(k, old, hits[k], rule, level)
            elif self.sums[k] == 0 and self.peaks[k] > 0:
                self.end(k, ALARMED_WEIGHT if self.alarmed else 1.0)
                if not self.alarmed:
                    self.since_ns[k] = self.began[k] = self.affected[k] = 0
        self.hot = max(hot)
        self.alarmed = self.alarmed and self.hot >= 4
        if self.alarmed and rule.now_s - self.alarm_s > 1800:
            self.reset()
            self.hot, outcome = 0.0, -1
        return outcome

    def grow(self, k: int, old: float, hit: bool, rule: Rule, level: float) -> int:
        """What it leads to that a sum grew; 1 = a new alarm, 2 = it goes on and was not told for a minute."""
        total, new = self.sums[k], 0
        if old == 0:
            self.since_ns[k], self.began[k], self.affected[k] = rule.now_ns, self.calls - 1, int(hit)
        self.peaks[k] = max(self.peaks[k], total)
        if total > 12:
            bits = max(0.0, self.pace(k, rule) + level)
            bar = max(4.0 + bits / self.slope(k), self.records[k] * 1.1 + 2.0)
            if total > bar:
                if not self.alarmed:
                    new, self.alarm_s = 1, rule.now_s
                elif rule.now_ns - self.told_ns >= AGAIN_NS and self.anew[k] >= 12:
                    new = 2
                if new:
                    self.told_ns, self.anew = rule.now_ns, [0.0] * 8
                    self.alternative, self.bar, self.reached = k, bar, total
                self.alarmed, self.evidence_s = True, rule.now_s
                self.sums[k] = min(total, bar + 10.0)
        return new


class Histogram:
    """Quarter octaves of durations: those of the past, as the weight from each bin on, and those that are set aside."""

    def __init__(self) -> None:
        self.tail, self.fresh = array("f", [0.0] * (BINS + 1)), array("f", [0.0] * BINS)
        self.total = self.waiting = self.merged_s = self.top = 0.0

    def beyond(self, at: float) -> float:
        """The weight of what is longer."""
        k = int(at)
        return self.tail[k + 1] + (1.0 - (at - k)) * (self.tail[k] - self.tail[k + 1])

    def rareness(self, population: "Histogram", at: float) -> float:
        """The share of calls that take as long."""
        shifted, rest = max(0.0, at), 1.0
        if self.total < 0.5:
            return 1.0
        if shifted > self.top:
            others = (population.beyond(shifted) + 0.5) / (population.total + 1.0)
            rest = max(others, power_of_two(-0.25 * (shifted - self.top)))
        return min(1.0, (self.beyond(shifted) + rest) / (self.total + 1.0))

    def merge(self, kept: float, weight: float, now_s: float) -> None:
        """What was set aside becomes part of the past."""
        total = 0.0
        for k in reversed(range(BINS)):
            total += self.fresh[k] * weight
            self.tail[k] = self.tail[k] * kept + total
        self.fresh = array("f", [0.0] * BINS)
        self.total, self.waiting, self.merged_s = self.tail[0], 0.0, now_s
        self.top = float(max((k + 1 for k in range(BINS) if self.tail[k] > 0.25), default=0))

    def forget_fresh(self) -> None:
        """Hardly learn what was set aside."""
        self.fresh = array("f", [it * 0.03125 for it in self.fresh])

    def learn(
        self, population: "Histogram", at: float, weight: float, alarmed: bool, adopt: bool, monitor: Monitor, rule: Rule
    ) -> None:
        """Set a call aside; merge when it is time."""
        passed = rule.now_s - self.merged_s
        self.fresh[int(at)] += weight
        self.waiting += 1
        if adopt:
            self.merge(decay(self.waiting, min(self.waiting, 32.0) / 6.0), 8.0, rule.now_s)
        elif (self.waiting >= min(256.0, 2.0 + self.total / 4) or passed > 60) and (monitor.hot < 6 or alarmed or passed > 600):
            self.merge(max(decay(passed, 1200.0), decay(self.waiting, 500.0)), 1.0, rule.now_s)
        if monitor.hot < 6 and not alarmed:
            population.fresh[int(at)] += 1
            population.waiting += 1
            if population.waiting >= max(50.0, population.total * 0.1):
                population.merge(1.0 if population.total < 50000 else 0.5, 1.0, 0.0)

    def median(self) -> float:
        """In s."""
        wanted, above = 0.5 * self.total, 0.0
        for k in reversed(range(BINS)):
            held = self.tail[k] - self.tail[k + 1]
            if held > 0 and above + held >= wanted:
                return seconds_at(k + 1.0 - (wanted - above) / held)
            above += held
        return 0.0


class Rates:
    """How often an operation usually fails, and what a call says about each alternative."""

    def __init__(self, rule: Rule) -> None:
        self.total = self.failed = self.waiting = self.waiting_failed = self.merged_s = self.usual = 0.0
        self.bad, self.good = array("f", [0.0] * 8), array("f", [0.0] * 8)
        self.settle(rule, 0.0)

    def settle(self, rule: Rule, hot: float) -> None:
        """What calls say from now on."""
        others = (rule.failed + 0.5) / (rule.calls + 100.0)
        share = (self.failed + 20.0 * others) / (self.total + 20.0)
        if hot == 0:
            self.usual = min(1.0, self.failed / self.total) if self.total > 0 else 0.0
        usual = min(0.5, 2.0 * share + 1.0 / (self.total + 100.0))
        for k in range(8):
            rate = usual + (1.0 - usual) * FAILING[k] if k < 7 else min(0.9, 4.0 * usual)
            self.bad[k] = min(10.0, log2_of(rate / usual))
            self.good[k] = log2_of((1.0 - rate) / (1.0 - usual))

    def learn(self, failed: bool, alarmed: bool, adopt: bool, monitor: Monitor, rule: Rule) -> None:
        """Count a call; merge when it is time."""
        passed = rule.now_s - self.merged_s
        self.waiting += 1
        self.waiting_failed += (0.125 if alarmed else 1.0) * failed
        if not alarmed:
            rule.calls, rule.failed = rule.calls + 1, rule.failed + failed
            if rule.calls > 1e6:
                rule.calls, rule.failed = rule.calls / 2, rule.failed / 2
        if adopt:
            calls, odd = monitor.since(monitor.alternative)
            self.total = min(500.0, float(calls))
            self.failed = self.total * (odd / max(1.0, float(calls)))
        elif self.waiting >= max(32.0, min(1000.0, self.total * 0.1)) or passed > 60:
            if monitor.hot >= 12 and not alarmed and passed <= 600:
                return
            kept = max(decay(passed, 3600.0), decay(self.waiting, 2000.0))
            self.total = self.total * kept + self.waiting
            self.failed = self.failed * kept + self.waiting_failed
        else:
            return
        self.waiting = self.waiting_failed = 0.0
        self.merged_s = rule.now_s
        self.settle(rule, monitor.hot)
