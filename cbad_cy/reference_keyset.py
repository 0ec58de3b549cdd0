"""Oracle of the set code of interactions in plain Python: dictionaries and lists, one judgement after another.

Tests compare; nothing else imports this. Memory bounds of open keys are not in it, their number is.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cbad_cy.keyset import (
    ALARM_BITS,
    CAP_BITS,
    DETAILS_MAX,
    KEY_BYTES_KEPT,
    KEY_TEMPLATES_MAX,
    NEIGHBOUR_KEYS,
    NOT_LEARNED_BITS,
    PAST_KEYS,
    RUNG_AGES_NS,
    RUNG_TEMPLATES_MAX,
    SETS_MAX,
    TEXT_BYTES_KEPT,
    WARM_KEYS,
    Judgement,
    Surprise,
)

UNIT: Final = 64
ONE_KEY: Final = 1024
FOR: Final = round(1024 * math.log2(0.10 / 0.03))
AGAINST: Final = round(1024 * math.log2(0.97 / 0.90)), round(1024 * math.log2(0.985 / 0.95))
ENOUGH: Final = 6 * 1024, 12 * 1024
ODDS: Final = 16
USUAL: Final = 127
RUNGS: Final = len(RUNG_AGES_NS)


def units(p: float) -> int:
    """-log2 p in 1/64 bit, at most the cap."""
    if p <= 1e-120:
        return CAP_BITS * UNIT
    m, e = math.frexp(p)
    if m < 0.75:
        m, e = 2 * m, e - 1
    z, total = (m - 1) / (m + 1), 0.0
    for k in range(21, 0, -2):
        total = total * (z * z) + 1.0 / k
    bits = max(0.0, -e - 2.885390081777926814719849362 * z * total)
    return int(bits * UNIT + 0.5) if bits < CAP_BITS else CAP_BITS * UNIT


@dataclass
class Odds:
    """Evidence, fast and slow, that an odd set has become common; and how often it was seen and not learned."""

    evidence: list[int] = field(default_factory=lambda: [0, 0])
    seen: int = 0

    @property
    def enough(self) -> bool:
        """Whether it is usual now."""
        return any(value >= enough for value, enough in zip(self.evidence, ENOUGH, strict=True))


@dataclass
class Rung:
    """What is usual at one age; `slots` keeps the order in which templates are multiplied, None where one was forgotten."""

    sets: dict[frozenset[bytes], int] = field(default_factory=dict)
    known: dict[frozenset[bytes], set[bytes]] = field(default_factory=dict)  # of each set, the templates that still count
    slots: list[bytes | None] = field(default_factory=list)
    counts: dict[bytes, int] = field(default_factory=dict)
    odds: dict[frozenset[bytes], Odds] = field(default_factory=dict)
    past: list[int] = field(default_factory=list)
    usual: deque[int] = field(default_factory=lambda: deque(maxlen=USUAL))
    total: int = 0
    learned: int = 0
    judged: int = 0
    alarm_share: int = 0

    def share(self, template: bytes, there: bool) -> float:
        """How likely a key has a known template, or has it not."""
        total, n = self.total / ONE_KEY, self.counts[template] / ONE_KEY
        return ((n if there else total - n) + 0.5) / (total + 1.0)

    def unseen(self) -> float:
        """How likely it has one that was never seen."""
        return 0.5 / (self.total / ONE_KEY + 1.0) * 2.0**-20

    def code(self, templates: Sequence[bytes]) -> int:
        """Code length of a set."""
        p = 1.0
        for template in templates:
            if template not in self.counts:
                p *= self.unseen()
        for slot in self.slots:
            if slot is not None:
                p *= self.share(slot, slot in templates)
        if self.sets:
            p = (self.sets.get(frozenset(templates), 0) / ONE_KEY + len(self.sets) * p) / (
                self.total / ONE_KEY + len(self.sets)
            )
        return units(p)

    def _count(self, template: bytes, weight: int) -> None:
        if template in self.counts:
            self.counts[template] += weight
            return
        if None in self.slots:
            at = self.slots.index(None)
        elif len(self.slots) < RUNG_TEMPLATES_MAX:
            at = len(self.slots)
            self.slots.append(None)
        else:
            at = min(range(len(self.slots)), key=lambda i: self.counts[self.slots[i] or b""])
            self._forget(at)
        self.slots[at] = template
        self.counts[template] = weight

    def _forget(self, at: int) -> None:
        gone = self.slots[at] or b""
        self.slots[at] = None
        del self.counts[gone]
        for known in self.known.values():
            known.discard(gone)

    def learn(self, templates: Sequence[bytes], keys: int) -> None:
        """Count a set as that of so many keys."""
        weight, whole = keys * ONE_KEY, frozenset(templates)
        for template in templates:
            self._count(template, weight)
        if whole not in self.sets:
            if len(self.sets) == SETS_MAX:
                least = min(self.sets, key=self.sets.__getitem__)
                del self.sets[least], self.known[least]
            self.sets[whole], self.known[whole] = 0, {template for template in templates if template in self.counts}
        self.sets[whole] += weight
        self.total += weight
        self.learned += 1
        if self.learned % 64 == 0:
            self._fade()

    def _fade(self) -> None:
        self.total -= self.total >> 5
        for whole in list(self.sets):
            self.sets[whole] -= self.sets[whole] >> 5
            if self.sets[whole] < 64:
                del self.sets[whole], self.known[whole]
        for at, template in enumerate(self.slots):
            if template is not None:
                self.counts[template] -= self.counts[template] >> 5
                if self.counts[template] < 64:
                    self._forget(at)

    def prune(self) -> None:
        """Forget what is rare when the rung has warmed up."""
        kept = {whole: count for whole, count in self.sets.items() if 50 * count >= self.total}
        if 2 * sum(kept.values()) < self.total:
            return
        self.sets, self.known, self.total = kept, {whole: self.known[whole] for whole in kept}, sum(kept.values())
        for at, template in enumerate(self.slots):
            if template is not None:
                self.counts[template] = sum(count for whole, count in kept.items() if template in self.known[whole])
                if not self.counts[template]:
                    self._forget(at)

    def adopted(self, whole: frozenset[bytes], odd: bool) -> int:
        """As how many keys an odd set is to be learned; 0: it is still odd."""
        for other, odds in list(self.odds.items()):
            if other != whole:
                odds.evidence = [max(0, value - against) for value, against in zip(odds.evidence, AGAINST, strict=True)]
                if not any(odds.evidence):
                    del self.odds[other]
        if not odd:
            return 0
        if whole not in self.odds and len(self.odds) == ODDS:
            del self.odds[min(self.odds, key=lambda other: self.odds[other].evidence[1])]
        mine = self.odds.setdefault(whole, Odds())
        mine.evidence = [min(value + FOR, 2 * enough) for value, enough in zip(mine.evidence, ENOUGH, strict=True)]
        mine.seen = min(mine.seen + 1, WARM_KEYS)
        if not mine.enough:
            return 0
        keys, mine.seen = mine.seen, 0
        return keys

    def rarity(self, score: int) -> tuple[float, float]:
        """p-value and confidence."""
        first = max(0, len(self.past) - PAST_KEYS)
        counted = self.past[first : max(first, len(self.past) - NEIGHBOUR_KEYS)]
        above = sum(value >= score for value in counted)
        lead = -first % NEIGHBOUR_KEYS
        whole = counted[lead : lead + (len(counted) - lead) // NEIGHBOUR_KEYS * NEIGHBOUR_KEYS] if len(counted) > lead else []
        maxima = [max(whole[i : i + NEIGHBOUR_KEYS]) for i in range(0, len(whole), NEIGHBOUR_KEYS)]
        allowed, high = len(counted) // 20, sum(value >= score for value in maxima)
        p = max((1 + max(0, above - allowed)) / (1 + len(counted)), (1 + max(0, high - allowed)) / (1 + len(maxima)))
        return p, (len(counted) - above) / len(counted) if counted else 0.0


@dataclass
class Key:
    """One open interaction."""

    name: bytes
    number: int
    first_ns: int
    first_event: int
    last_ns: int = 0
    last_event: int = 0
    events: int = 0
    templates: list[bytes] = field(default_factory=list)
    before: list[bytes] | None = None
    worst: int = 0
    bad: bool = False
    alarmed: bool = False
    rung: int = 0  # the next one


def _due(key: Key) -> tuple[int, int]:
    return key.first_ns + RUNG_AGES_NS[key.rung], key.number


class Keyset:
    """As `cbad_cy.keyset.Keyset` that watches."""

    def __init__(self, keys_max: int, threshold: float) -> None:
        self.keys_max, self.threshold = keys_max, threshold
        self.rungs = [Rung() for _ in range(RUNGS)]
        self.keys: dict[bytes, Key] = {}
        self.delays = [0] * RUNGS
        self.start, self.end = 0, -1
        self.now_ns = self.born_ns = self.opened = self.evicted = self.closed = self.cut = 0
        self.at_event: int | None = None
        self.gone: set[bytes] = set()
        self.late = 0
        self.found: list[Judgement] = []

    def feed(self, events: Iterable[tuple[bytes, bytes, int]], first_event: int) -> list[Judgement]:
        """Events (key, masked line, time)."""
        self.found = []
        for number, (name, line, time_ns) in enumerate(events, first_event):
            self.at_event = number
            self.pass_time(time_ns)
            if name:
                self._take(name, line, number)
        self.at_event = None
        return self.found

    def pass_time(self, time_ns: int) -> None:
        """Keys reach rungs, oldest time first."""
        self.now_ns = max(self.now_ns, time_ns)
        while True:
            due = [
                (key.first_ns + RUNG_AGES_NS[key.rung], key.number, key.rung, key)
                for key in self.keys.values()
                if key.rung < RUNGS
            ]
            if not due or min(due)[0] >= self.now_ns:
                break
            key = min(due)[3]
            rung = key.rung
            key.rung += 1
            if self.start - 1 <= rung <= self.end + 1:
                self._judge(key, rung, final=False)
            key.before = list(key.templates)
        if 0 <= self.end < RUNGS - 2 and self.now_ns - self.born_ns >= 4 * RUNG_AGES_NS[self.end + 2]:
            while self.keys and self.now_ns - self._oldest().first_ns > RUNG_AGES_NS[self.end + 2]:
                self._close(judged=False)
                self.closed += 1

    def flush(self) -> list[Judgement]:
        """Close everything."""
        self.found = []
        while self.keys:
            self._close(judged=True)
            self.closed += 1
        return self.found

    def _oldest(self) -> Key:
        return min(self.keys.values(), key=lambda key: key.number)

    def _close(self, *, judged: bool) -> None:
        key = self._oldest()
        rung = min(key.rung - 1, self.end + 1)
        if judged and rung >= self.start:
            self._judge(key, rung, final=True)
        del self.keys[key.name]

    def _take(self, name: bytes, line: bytes, number: int) -> None:
        key = self.keys.get(name)
        if key is None and name in self.gone:
            self.late += 1
            return
        if key is None:
            if len(self.keys) >= self.keys_max:
                self.gone.add(self._oldest().name)
                self._close(judged=True)
                self.evicted += 1
            key = self.keys[name] = Key(name, self.opened, self.now_ns, number)
            self.opened += 1
            self.born_ns = self.born_ns or self.now_ns
        key.events, key.last_ns, key.last_event = key.events + 1, self.now_ns, number
        if line in key.templates:
            return
        if len(key.templates) == KEY_TEMPLATES_MAX:
            self.cut += 1
            return
        key.templates.append(line)
        if self.now_ns > key.first_ns:
            delay = self.now_ns - key.first_ns
            self.delays[min(RUNGS - 1, sum(age < delay for age in RUNG_AGES_NS))] += 1
            self._measure()

    def _measure(self) -> None:
        if sum(self.delays) > 8192:
            self.delays = [count // 2 for count in self.delays]
        half = sum(self.delays) / 2
        self.start = next(i for i in range(RUNGS) if sum(self.delays[: i + 1]) >= half)
        self.end = max((i for i in range(RUNGS) if self.delays[i]), default=-1)

    def _judge(self, key: Key, at: int, *, final: bool) -> None:
        rung, whole = self.rungs[at], frozenset(key.templates)
        code = rung.code(key.templates)
        usual = sorted(rung.usual)[len(rung.usual) // 2] if rung.usual else code
        score, keys, known = max(0, code - usual), 1, False
        rung.judged = min(rung.judged + 1, WARM_KEYS + 1)
        warm, odd = rung.judged <= WARM_KEYS, score >= NOT_LEARNED_BITS * UNIT
        if not warm:
            keys = rung.adopted(whole, odd)
            known = keys > 0
        p, confidence, decided = 1.0, 0.0, not warm and not known and at >= self.start
        alarm = False
        if decided:
            key.worst = max(key.worst, score)
            if not key.alarmed:
                p, confidence = rung.rarity(key.worst)
                alarm = score >= ALARM_BITS * UNIT and p <= self.threshold
        self.found.append(self._told(key, at, (score, code, usual), (p, confidence), (decided, alarm, final)))
        key.alarmed |= alarm
        key.bad |= odd and not warm and not known
        if final:
            key.before = None  # at this rung, and not at the one before
        self._learn(key, at, (score, code), keys=keys or 1, known=known)

    def _learn(self, key: Key, at: int, bits: tuple[int, int], *, keys: int, known: bool) -> None:
        rung, (score, code) = self.rungs[at], bits
        if rung.judged > WARM_KEYS:
            rung.alarm_share += (key.alarmed << 16) - (rung.alarm_share >> 8)
            rung.past.append(key.worst)
        elif 2 * rung.judged > WARM_KEYS:
            rung.past.append(score)
        if known or not key.bad:
            rung.usual.append(code)
            for lower in self.rungs[max(0, self.start - 1) : at + 1]:
                lower.learn(key.templates, keys)
            if key.before is not None:
                rung.learn(key.before, 1)
        if rung.judged == WARM_KEYS:
            rung.prune()

    def _told(
        self, key: Key, at: int, bits: tuple[int, int, int], rank: tuple[float, float], marks: tuple[bool, bool, bool]
    ) -> Judgement:
        rung, (score, code, usual) = self.rungs[at], bits
        costs = [(units(rung.unseen()), template, True) for template in key.templates if template not in rung.counts]
        for slot in rung.slots:
            if slot is not None:
                costs.append((units(rung.share(slot, slot in key.templates)), slot, slot in key.templates))
        dear = sorted((cost for cost in costs if cost[0] >= UNIT), key=lambda cost: -cost[0])[:DETAILS_MAX]
        surprises = tuple(Surprise(text[:TEXT_BYTES_KEPT], cost / UNIT, there) for cost, text, there in dear)
        name = key.name[:KEY_BYTES_KEPT], len(key.name) > KEY_BYTES_KEPT
        events = key.events, key.first_event, key.last_event, key.first_ns, key.last_ns
        return Judgement(
            *name,
            0,
            score / UNIT,
            code / UNIT,
            usual / UNIT,
            *rank,
            RUNG_AGES_NS[at],
            *events,
            *marks,
            surprises,
            key.last_event if self.at_event is None else self.at_event,
            self.now_ns,
        )
