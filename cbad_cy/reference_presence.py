"""Oracle of the silences of a stream and of its usual lines in plain Python: lists that are counted anew; slow and readable.

Tests compare; nothing else imports this. Every line has room here, as soon as it came in three minutes.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_SECOND: Final = 10**9
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 3600 * _SECOND
_DAY: Final = 24 * _HOUR
_PERIOD: Final = 14 * _DAY
_BINS: Final = 72
_LOCAL: Final = 30


@dataclass
class Tail:
    """Silences by half octave; the longest ones of this period and of the one before."""

    count: Counter[int] = field(default_factory=Counter)
    longest: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, length: int) -> None:
        """Count a silence."""
        half = length * length if length else 1
        self.count[min(half.bit_length() - 1, _BINS - 1)] += 1
        self.longest[0] = max(self.longest[0], length)

    def rotate(self, both: bool) -> None:
        """A period ends, or more than one."""
        self.longest = [0, 0 if both else self.longest[0]]

    @property
    def total(self) -> int:
        """Silences."""
        return sum(self.count.values())

    def excess(self) -> float:
        """Mean excess of the longest ones over where they begin, in octaves, on the safe side."""
        for edge in range(_BINS - 1, -1, -1):
            above = [half for half, n in self.count.items() for _ in range(n) if half >= edge]
            if len(above) >= _LOCAL:
                mean = sum(half / 2 + 0.25 for half in above) / len(above) - edge / 2
                return min(max(1.5 * mean, 0.36), 1.44)
        return 0.72

    def edges(self) -> list[tuple[float, float, float]]:
        """(log2 of an edge, bits of the share beyond it, mean excess there in nats) of the edges that count."""
        found = []
        for half in range(max(self.count, default=0), -1, -1):
            above = [other for other, n in self.count.items() for _ in range(n) if other > half]
            if len(above) >= _LOCAL:
                break
            edge, share = (half + 1) / 2, (len(above) + 1) / (self.total + 2)
            over = sum(other / 2 + 0.25 - edge for other in above)
            found.append((edge, -math.log2(share), math.log(2) * (8 * self.excess() + over) / (8 + len(above))))
        return found

    def bits(self, length: int) -> float:
        """Of the share of silences that last so long."""
        at = math.log2(max(length, 1))
        return min(share + max(0.0, at - edge) / excess for edge, share, excess in self.edges())

    def reach(self, bits: float) -> float:
        """The length whose share has so many bits."""
        return float(2 ** max([0.0, *(edge + excess * (bits - share) for edge, share, excess in self.edges() if bits > share)]))

    def beyond(self, length: int) -> bool:
        """Whether it is half as long again as the longest one."""
        return length >= max(self.longest) + max(self.longest) // 2


@dataclass
class Week:
    """Events of each hour of the week, by closed hour; `closed` are (slot, events) of whole hours."""

    slots: dict[int, float] = field(default_factory=dict)
    weeks: Counter[int] = field(default_factory=Counter)
    mean: float = 0.0
    hours: int = 0
    level: list[float] = field(default_factory=lambda: [0.0, 0.0])
    end_ns: int = 0
    whole: bool = False
    count: float = 0.0

    def rate(self, slot: int, mean: float) -> float:
        """Events an hour."""
        same = [self.slots[other] for other in range(slot % 24, 168, 24) if other in self.slots]
        return self.slots.get(slot, sum(same) / len(same) if same else mean)

    def reach(self, at: int, mean: float) -> None:
        """Close hours."""
        if not self.end_ns:
            self.end_ns, self.whole = (at // _HOUR + 1) * _HOUR, at % _HOUR == 0
        for _ in range(169):
            if self.end_ns > at:
                return
            slot = (self.end_ns // _HOUR - 1) % 168
            if self.whole:
                if self.hours:
                    self.level = [self.level[0] / 2 + self.count, self.level[1] / 2 + self.rate(slot, mean)]
                self.hours += 1
                self.mean += (self.count - self.mean) / min(self.hours, 168)
                self.weeks[slot] = min(self.weeks[slot] + 1, 4)
                old = self.slots.get(slot, 0.0)
                self.slots[slot] = old + (self.count - old) / self.weeks[slot]
            self.whole, self.count, self.end_ns = True, 0.0, self.end_ns + _HOUR
        if self.end_ns <= at:
            self.end_ns, self.whole = (at // _HOUR + 1) * _HOUR, False

    def expected(self, since: int, until: int, mean: float) -> float:
        """Events from one time to another."""
        until, total, at = min(until, since + 336 * _HOUR), 0.0, since
        while at < until:
            stop = min(until, (at // _HOUR + 1) * _HOUR)
            total += self.rate(at // _HOUR % 168, mean) * (stop - at) / _HOUR
            at = stop
        return total * min(1.0, self.level[0] / self.level[1] if self.level[1] else 1.0)


@dataclass
class Line:
    """A usual line; times of activity in ms."""

    last_ns: int
    last_event: int
    active: int
    entry: int
    first: int
    seen: int = 0
    longest_ns: int = 0
    told: bool = False
    time: Tail = field(default_factory=Tail)
    events: Tail = field(default_factory=Tail)

    def came(self, at: int, active: int, event: int) -> None:
        """It comes again."""
        if active - self.entry >= 1000:
            self.seen += 1
            self.time.add(active - self.active)
            self.events.add(event - self.last_event)
            self.entry = active
        self.longest_ns = max(self.longest_ns, at - self.last_ns)
        self.last_ns, self.active, self.last_event, self.told = at, active, event, False

    def judged(self, active: int, event: int) -> tuple[float, float]:
        """(bits against its silence, bits that it takes to tell it); no bits: it can not be judged."""
        since, events = active - self.active, event - self.last_event
        if self.told or self.seen < 100 or since < 120_000 or self.active - self.first < 7_200_000:
            return 0.0, math.inf
        if not (self.time.beyond(since) and self.events.beyond(events)):
            return 0.0, math.inf
        share = min(1.0, (self.active - self.first) * 10**6 / _DAY / self.seen)
        return min(self.time.bits(since), self.events.bits(events)), -math.log2(0.0005 * share)


class ReferenceArrivals:
    """What `cbad_cy.presence.Arrivals` says of a replayed stream: minutes as (end, events), pauses, and silences of lines."""

    def __init__(self) -> None:
        self.minutes: list[tuple[int, int]] = []
        self.pauses: list[tuple[int, int, float]] = []
        self.silences: list[tuple[int, int, int, float]] = []
        self.lines: dict[int, Line] = {}
        self._waiting: dict[int, set[int]] = {}
        self._week = Week()
        self._gaps = Tail()
        self._first = self._mark = self._entry = self._end = self._period = 0
        self._count = self._events = self._active = self._entries = self._odd = 0

    def take(self, at: int, template: int) -> None:
        """One record."""
        at = max(at, self._mark)
        if not self._events:
            self._first = self._entry = self._mark = at
            self._end, self._period = (at // _MINUTE + 1) * _MINUTE, at // _PERIOD
        self._close(at)
        passed = at - self._mark
        if passed and at - self._entry >= _SECOND:
            self._gap(at, passed)
            self._entry = at
        self._week.reach(at, self._mean())
        self._week.count += 1
        self._active += min(passed, _MINUTE)
        self._mark = at
        self._count += 1
        self._line(at, template)
        self._events += 1

    def _mean(self) -> float:
        if self._week.hours:
            return self._week.mean
        return self._events * _HOUR / max(self._mark - self._first, _MINUTE)

    def _close(self, at: int) -> None:
        closed = 0
        while self._end <= at and closed <= 720:
            if self._count:
                self._check()
            self.minutes.append((self._end, self._count))
            self._count, self._end, closed = 0, self._end + _MINUTE, closed + 1
        self._end = (at // _MINUTE + 1) * _MINUTE
        if at // _PERIOD != self._period:
            both = at // _PERIOD != self._period + 1
            tails = [self._gaps, *(tail for line in self.lines.values() for tail in (line.time, line.events))]
            for tail in tails:
                tail.rotate(both)
            self._period, self._odd = at // _PERIOD, 0

    def _check(self) -> None:
        judged = {name: line.judged(self._active // 10**6, self._events) for name, line in self.lines.items()}
        if any(bits >= need for bits, need in judged.values()):
            for name, (bits, need) in judged.items():
                if bits > 0 and bits >= need / 2:
                    self.lines[name].told = True
                    self.silences.append((self._end, name, self.lines[name].last_ns, bits))

    def _gap(self, at: int, passed: int) -> None:
        parts, span = int(256 * self._week.expected(self._mark, at, self._mean())), self._mark - self._first
        if passed >= 2 * _MINUTE and self._entries >= 30 and span >= 10 * _MINUTE and self._gaps.beyond(parts):
            need = -math.log2(0.005 * min(1.0, span / _DAY / self._entries))
            bits = self._gaps.bits(parts)
            if bits >= need:
                self.pauses.append((self._mark, at, bits))
                self._odd += 1
                if self._odd <= 2:
                    return
        self._gaps.add(parts)
        self._entries += 1

    def _line(self, at: int, template: int) -> None:
        active, line = self._active // 10**6, self.lines.get(template)
        if line is not None:
            line.came(at, active, self._events)
            return
        waiting = self._waiting.setdefault(template, set())
        waiting.add(at // _MINUTE)
        if len(waiting) == 3:
            self.lines[template] = Line(at, self._events, active, active, active)
