"""Oracle of the mix kernel in plain Python: every answer anew from the lines, as its docstring states it; slow and readable.

Tests compare; nothing else imports this. It holds for streams of few templates, of which no table is ever full.
"""

import math
import struct
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

RATES, ROWS = 3, 7
SERIES = ROWS + 2 + 2 + 2
WORD = (1 << 64) - 1


class Answer(NamedTuple):
    """What a series says: nats of surprise, and what they are about."""

    nats: float = 0.0
    observed: float = 0.0
    expected: float = 0.0
    horizon: int = 0
    template: int = 0


class Judged(NamedTuple):
    """See `cbad_cy.mix.Judged`; `question` is 0 to 3."""

    p_value: float
    confidence: float
    surprise: float
    distance: float
    question: int
    template: int
    observed: float
    expected: float
    horizon: int


def single(x: float) -> float:
    """The nearest number of 32 bits."""
    return float(struct.unpack("f", struct.pack("f", x))[0])


def eighths(x: float) -> int:
    """In steps of 1/8, halves away from zero, at most 127 of them."""
    return int(math.copysign(min(127.0, math.floor(abs(8.0 * x) + 0.5)), x))


def log2(x: float) -> float:
    """The kernel's own logarithm, because what it stores is rounded."""
    m, e = math.frexp(x)
    if m < 0.75:
        m, e = 2.0 * m, e - 1
    z = (m - 1.0) / (m + 1.0)
    q = z * z
    q = 1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11)))))
    return e + 2.885390081777926814719849362 * z * q


def stirred(h: int) -> int:
    """As in hash.pxi."""
    for _ in range(2):
        h = (h ^ h >> 32) * 0xD6E8FEB86659FD93 & WORD
    return h ^ h >> 32


def deviance(observed: float, expected: float, evidence: float) -> float:
    """Of a negative binomial count, in nats."""
    found = -(observed + evidence) * math.log((observed + evidence) / (expected + evidence))
    return max(0.0, found + (observed * math.log(observed / expected) if observed else 0.0))


@dataclass
class Levels:
    """Half nats that a template's episodes reached: the three highest ones, the open one, the one counted last."""

    three: list[int] = field(default_factory=lambda: [0, 0, 0])
    open: int = 0
    counted: int = 0

    def usual(self) -> float:
        """What surprises are divided by."""
        return max(1.0, min(self.three) / 8.0)

    def close(self) -> None:
        """A neighbour of a counted stretch belongs to its episode."""
        reached, self.open = self.open, 0
        counted, self.counted = self.counted, 0
        if reached > counted > 0 and counted in self.three:
            self.three[self.three.index(counted)] = self.counted = reached
        elif not counted and reached > min(self.three):
            self.three[self.three.index(min(self.three))] = self.counted = reached


class Mix:
    """See `cbad_cy.mix.Mix`."""

    def __init__(self, window: int, hop: int) -> None:
        self.window, self.hop, self.long = window, hop, min(10 * window, 1000)
        self.lines: list[int] = []  # numbers of templates, in order of their first line
        self.numbers: dict[int, int] = {}
        self.ids = [0]
        self.lost: list[int] = []
        self.saved: list[int] = []
        self.usual: list[int] = []
        self.suit: list[int] = []
        self.pairs: dict[int, dict[int, int]] = defaultdict(dict)
        self.arrived: Counter[int] = Counter()
        self.gain: dict[int, tuple[float, float, int]] = {}
        self.follower: dict[int, int] = {}
        self.plain: dict[int, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        self.idle: Counter[int] = Counter()
        self.level: defaultdict[tuple[int, int], Levels] = defaultdict(Levels)
        self.due = [2 * self.long] * 2
        self.fold_due = [2 * self.long + 2 * window, 4 * self.long]
        self.block_due, self.lap_due = 3 * self.long, 0
        self.found = [Answer()] * SERIES
        self.moments = [(0.0, 0.0)] * 4
        self.open = [0.0] * SERIES
        self.maxima: list[list[float]] = []
        self.strangest: list[float] = []
        self.lap = [0.0, 0.0, 0.0]

    # ---- lines

    def take(self, template: int) -> None:
        """One line."""
        place = len(self.lines)
        if place > self.long:
            self._learn(self.lines[place - self.long - 1], self.lines[place - self.long])
        number = self.numbers.setdefault(template, len(self.ids))
        if number == len(self.ids):
            self.ids.append(template)
        lost = saved = usual = suit = 0
        if place >= self.long and self.arrived[number]:
            lost, saved, usual = self._weigh(self.lines[-1], number)
        if place >= 2:
            two = stirred(self.lines[-2] << 8 | self.lines[-1]) & 511
            suit = int(self.follower.get(two, 0) == number)
            self.follower[two] = number
        for column, value in ((self.lost, lost), (self.saved, saved), (self.usual, usual), (self.suit, suit)):
            column.append(value)
        self.lines.append(number)

    def _learn(self, context: int, number: int) -> None:
        after = self.pairs[context]
        after[number] = after.get(number, 0) + 8
        if sum(after.values()) > 8192:
            self.pairs[context] = {key: count // 2 for key, count in after.items() if count // 2}
        if context != number:
            self.arrived[number] += 8
            if self.arrived.total() > 65536:
                self.arrived = Counter({key: count // 2 for key, count in self.arrived.items()})

    def _weigh(self, context: int, number: int) -> tuple[int, int, int]:
        after = self.pairs[context]
        share = (self.lines[1 - self.long :].count(number) + 0.5) / self.long
        escape = 8 * (len(after) + 1.0)
        bits = log2((after.get(number, 0) + escape * share) / (sum(after.values()) + escape) / share)
        usual, variance, seen = self.gain.get(context, (0.0, 4.0, 0))
        lost = eighths(2.0 * (usual - bits) / max(2.0, math.sqrt(variance)))
        seen = min(seen + 1, 512)
        rate, apart = 1.0 / (seen + 1), usual - bits
        self.gain[context] = (
            single(usual + rate * (bits - usual)),
            single((1.0 - rate) * variance + rate * apart * apart),
            seen,
        )
        return lost, eighths(bits), eighths(usual)

    # ---- questions

    def _arrivals(self, length: int) -> Counter[int]:
        first = len(self.lines) - length
        return Counter(b for a, b in zip(self.lines[first - 1 : -1], self.lines[first:], strict=True) if a != b)

    def _rates(self, h: int) -> None:
        length = (self.window, self.long)[h]
        counts, arrivals = Counter(self.lines[-length:]), self._arrivals(length)
        slack, total = 0.25 * length / self.long, self.arrived.total() + 8.0
        share, escaped = {}, {}
        for a, count in counts.items():
            after = self.pairs[a]
            share[a] = count / (sum(after.values()) + 8 * len(after)) if after else 0.0
            escaped[a] = share[a] * 8 * len(after) if after else float(count)
        escapes, squared = sum(escaped.values()), sum(value**2 for value in escaped.values())
        self.found[h] = self.found[RATES + h] = Answer()
        for b in range(1, len(self.ids)):
            known = [(share[a], self.pairs[a].get(b, 0)) for a in counts if a != b]
            part, own = self.arrived[b] / total, escaped.get(b, 0.0)
            mean = sum(s * n for s, n in known) + part * (escapes - own) + slack
            if 0.0 <= mean - arrivals[b] < 0.5:
                continue
            variance = 8 * sum(s * n * s for s, n in known) + part * part * (squared - own * own) + 2.0 * slack * slack
            evidence = min(mean * mean / variance, self.arrived[b] / 8 + 0.5)
            self._answer(h, b, arrivals[b], mean, evidence, fresh=8 * arrivals[b] > self.arrived[b])

    def _counts(self) -> None:
        counts, arrivals = Counter(self.lines[-self.long :]), self._arrivals(self.long)
        self.found[2] = self.found[5] = self.found[6] = Answer()
        for b in range(1, len(self.ids)):
            mean, variance = self.plain[b]
            if len(self.maxima) < 3 or mean < 0.25 or 8 * arrivals[b] > self.arrived[b]:
                continue
            evidence = mean * mean / max(variance - mean, 0.01 * mean)
            self._answer(2, b, counts[b], mean, evidence, fresh=False)
            if self.idle[b] and not counts[b]:
                self._answer(RATES, b, 0, self.idle[b] * mean, self.idle[b] * evidence, fresh=False)

    def _answer(self, row: int, b: int, observed: int, mean: float, evidence: float, *, fresh: bool) -> None:
        row += RATES * (observed <= mean)
        nats, level, news = deviance(observed, mean, evidence), self.level[row, b], self.level[row, 0]
        level.open = max(level.open, int(2.0 * nats) if nats < 127.0 else 255)
        usual = level.usual()
        if fresh:
            news.open = max(news.open, level.open)
            usual = max(usual, news.usual())
        if nats / usual > self.found[row].nats:
            horizon = self.long * self.idle[b] if row == 6 else self.window if row % RATES == 0 else self.long
            self.found[row] = Answer(nats / usual, observed, mean, horizon, self.ids[b])

    def _order(self, h: int) -> None:
        length = (self.window, self.long)[h]
        lost = sum(self.lost[-length:]) / 16
        nats = lost * lost / (2 * length) if lost > 0 else 0.0
        self.found[ROWS + h] = Answer(nats, sum(self.saved[-length:]) / 8, sum(self.usual[-length:]) / 8, length)

    def _repetition(self, h: int) -> None:
        length = (self.window, self.long)[h]
        counts = Counter(self.lines[-length:])
        followers, distinct = sum(self.suit[-length:]), length**2 / sum(n * n for n in counts.values())
        common = self.ids[min(counts, key=lambda b: (-counts[b], b))]
        mean, nats = self._against_own(h, followers / length)
        self.found[ROWS + 2 + h] = Answer(nats, followers, mean * length, length, common)
        mean, nats = self._against_own(2 + h, -log2(distinct))
        self.found[ROWS + 4 + h] = Answer(nats, distinct, 2.0**-mean, length, common)

    def _against_own(self, which: int, value: float) -> tuple[float, float]:
        mean, learned = self.moments[which]
        judged = (len(self.lines) - 2 * self.long) // self.hop + 1
        rate, apart, variance = 1.0 / min(judged, 10 * self.long // self.hop), value - mean, max(learned, 0.05**2)
        taught = apart * apart if judged == 1 else min(apart * apart, 16.0 * variance)
        self.moments[which] = mean + rate * apart, learned + rate * (taught - learned)
        return mean, apart * apart / (2.0 * variance) if apart > 0.0 and judged > 1 else 0.0

    # ---- the answer

    def judge(self) -> Judged:
        """After every `hop` lines."""
        now = len(self.lines)
        if now < 2 * self.long:
            return Judged(1.0, 0.0, 0.0, 0.0, 0, 0, 0.0, 0.0, self.window)
        for h, length in enumerate((self.window, self.long)):
            if now < self.due[h]:
                continue
            self.due[h] = now + length // 10
            if now >= self.fold_due[h]:
                self.fold_due[h] = now + 2 * length
                for (row, _), level in self.level.items():
                    if (row in {0, RATES}) == (h == 0):
                        level.close()
            self._rates(h)
            self._order(h)
            if h:
                self._counts()
        self._repetition(0)
        self._repetition(1)
        self.open = [max(was, answer.nats) for was, answer in zip(self.open, self.found, strict=True)]
        quotients = [answer.nats / scale for answer, scale in zip(self.found, self._scales(), strict=True)]
        most = max(quotients)
        best = self._reason(quotients.index(most), quotients)
        judged = self._fill_in(best, most)
        if now >= self.lap_due:
            self.lap_due = now + self.window
            self.lap = [0.0, self.lap[0], max(self.lap[1:])]
        self.lap[0] = max(self.lap[0], most)
        if now >= self.block_due:
            self._close_block(now)
        return judged

    def _counted(self, most: int) -> int:
        blocks = len(self.strangest)
        return min(max((2 * blocks + 2) // 3, 12), blocks, most)

    def _scales(self) -> list[float]:
        kept = self._counted(32)
        recent = [sorted(row[j] for row in self.maxima[len(self.maxima) - kept :]) for j in range(SERIES)]
        return [max(1.0, own[kept // 2] / 4.0, own[-3] / 6.5 if kept >= 3 else 0.0) if own else 1.0 for own in recent]

    def _high(self) -> tuple[float, float]:
        """The 90 % quantile of past blocks, and the scale of what lies beyond."""
        kept = self._counted(128)
        past = sorted(self.strangest[len(self.strangest) - kept :])
        if not past:
            return 0.0, 1.0
        high = past[kept * 9 // 10]
        return high, max(1.0, (high - past[kept // 2]) / math.log(5))

    def _reason(self, best: int, quotients: list[float]) -> int:
        high = self._high()[0]
        repeat = max(range(ROWS + 2, SERIES), key=lambda j: (quotients[j], -j))
        if len(self.strangest) < 6:
            return best
        if quotients[repeat] > high and self._distance(repeat) >= 0.5:
            return repeat
        gone = [j for j in range(RATES, ROWS) if self.found[j].observed == 0 and quotients[j] > high]
        return max(gone, key=lambda j: (quotients[j], -j)) if gone and ROWS <= best < ROWS + 2 else best

    def _distance(self, series: int) -> float:
        what = self.found[series]
        part, whole = what.expected - what.observed, what.expected
        if series < RATES:
            part, whole = -part, what.observed
        elif ROWS + 2 <= series < ROWS + 4:
            part, whole = -part, what.horizon - what.expected
        return max(0.0, min(1.0, part / whole)) if whole > 0 else 0.0

    def _fill_in(self, best: int, most: float) -> Judged:
        what = self.found[best]
        kept = self._counted(128)
        past = sorted(self.strangest[len(self.strangest) - kept :])
        above = sum(value >= single(most) for value in past) + (self.lap[2] >= most)
        p_value = 1.0
        if kept >= 6:
            p_value = min(1.0, (1 + above) / (1 + kept))
            if not above:
                high, spread = self._high()
                tail = (0.1 if kept >= 9 else p_value) / (1.0 + (most - high) / (2.0 * spread)) ** 2
                p_value = min(p_value, max(tail, p_value / 16))
        question = 3 if best >= ROWS + 2 else 2 if best >= ROWS else int(best >= RATES)
        return Judged(
            p_value,
            max(0, kept - above) / kept if kept else 0.0,
            most / math.log(2),
            self._distance(best),
            question,
            what.template,
            what.observed,
            what.expected,
            what.horizon,
        )

    def _close_block(self, now: int) -> None:
        counts, rate = Counter(self.lines[-self.long :]), 1.0 / min(len(self.maxima) + 1, 32)
        for b in range(1, len(self.ids)):
            self.idle[b] = 0 if counts[b] else min(255, self.idle[b] + 1)
            mean, variance = self.plain[b]
            apart = counts[b] - mean
            self.plain[b] = single(mean + single(rate * apart)), single(variance + single(rate * (apart * apart - variance)))
        self.maxima.append([single(value) for value in self.open])
        self.strangest.append(single(max(self.lap)))
        self.open, self.lap = [0.0] * SERIES, [0.0, 0.0, 0.0]
        self.block_due = now + self.long
