"""Oracle of the comparison of instances in plain Python: lists and dictionaries that are counted anew; slow and readable.

Tests compare; nothing else imports this. Every instance and every template has room here.
"""

import math
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from cbad_cy.instances import COST_MAX, EPISODES_MAX, RARE, Question, Verdict

_BIT: Final = 1024
_WINDOWS: Final = 3
_KEPT: Final = 24
_SPREADS: Final = 96
_EARLY: Final = 60
_SETTLED: Final = 40
_QUESTIONS: Final = (Question.NOVEL, Question.MIX, Question.MIX, Question.FROZEN)


@dataclass
class Kept:
    """What an instance said of one template before its newest lines."""

    template: int
    lines: int = 0
    runs: int = 0


@dataclass
class Instance:
    """One instance: newest lines as (template, begins a run, cost), what it did before, and its open episode."""

    newest: list[tuple[int, bool, int]] = field(default_factory=list)
    taken: int = 0
    seen: int = 0
    kept: list[Kept] = field(default_factory=list)
    kept_lines: int = 0
    kept_runs: int = 0
    usual: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))
    episode: list[tuple[list[int], float]] = field(default_factory=list)
    episode_windows: int = 1
    was_rare: bool = False
    left_out: int = 0

    def counts(self, *, runs: bool) -> Counter[int]:
        """Lines, or runs, of each template in the newest lines."""
        return Counter(template for template, begins, _ in self.newest if begins or not runs)


@dataclass
class Excess:
    """The template that stands out most."""

    bits: int = 0
    template: int = 0
    observed: int = 0
    expected: float = 0.0


def _deviance(seen: int, expected: float) -> float:
    return seen * math.log2(seen / expected) - (seen - expected) / math.log(2) if seen > expected else 0.0


class Instances:
    """As `cbad_cy.instances.Instances` with room for everything."""

    def __init__(self, window: int) -> None:
        self.window, self.horizon = window, _WINDOWS * window
        self.known: dict[int, Instance] = {}
        self.clock = 0
        self.learned = 0
        self.sums: dict[bool, Counter[int]] = {False: Counter(), True: Counter()}
        self.squares: dict[bool, Counter[int]] = {False: Counter(), True: Counter()}
        self.episodes: list[deque[int]] = [deque(maxlen=size) for size in (*4 * [_SPREADS], EPISODES_MAX)]
        self.alone = [0, 0]
        self.has_costs = False
        self.episodes_seen = 0
        self.recent: deque[tuple[int, int, int]] = deque(maxlen=15)

    def take(self, line: int, name: int, template: int, cost: int) -> Verdict | None:
        """One line; the verdict if it completes a window."""
        if name == 0:
            return None
        self.clock += 1
        if self.clock % 1024 == 0:
            patience = 2 * self.horizon * len(self.known)
            self.known = {it: one for it, one in self.known.items() if self.clock - one.seen <= patience}
        one = self.known.setdefault(name, Instance())
        one.seen = self.clock
        self.has_costs |= cost > 0
        begins = not one.newest or one.newest[-1][0] != template
        if len(one.newest) == self.horizon:
            self._keep(one, *one.newest.pop(0)[:2])
        one.newest.append((template, begins, min(cost, COST_MAX)))
        one.taken += 1
        if one.taken % self.window or one.taken < self.horizon:
            return None
        return self._judge(line, name, one)

    def _keep(self, one: Instance, template: int, begins: bool) -> None:
        one.kept_lines += 1
        one.kept_runs += begins
        kept = next((it for it in one.kept if it.template == template), None)
        if kept is None:
            kept = Kept(template)
            if len(one.kept) < _KEPT:
                one.kept.append(kept)
            else:
                kept = min(one.kept, key=lambda it: it.lines)
                kept.template = template
        kept.lines += 1
        kept.runs += begins
        if one.kept_lines >= 16 * self.window:
            one.kept_lines //= 2
            one.kept_runs //= 2
            one.kept = [Kept(it.template, it.lines // 2, it.runs // 2) for it in one.kept if it.lines > 1]

    def _excess(self, one: Instance, *, runs: bool) -> Excess:
        here, total = one.counts(runs=runs), Counter[int]()
        for other in self.known.values():
            total += other.counts(runs=runs)
        before = {it.template: it.runs if runs else it.lines for it in one.kept}
        least = min(one.kept, key=lambda it: it.lines) if len(one.kept) == _KEPT else Kept(0)
        rest, before_total = (least.runs // 2, one.kept_runs) if runs else (least.lines // 2, one.kept_lines)
        has_past = one.kept_lines >= 2 * self.window and before_total > 0
        found = Excess()
        order = dict.fromkeys(template for template, _, _ in one.newest)
        for template in (it for it in order if here[it]):
            share = total[template] / total.total()
            if has_past:
                share = max(share, before.get(template, rest) / before_total)
            seen, expected = here[template], here.total() * share
            dispersion = self._dispersion(self.sums[runs][template], self.squares[runs][template])
            bits = math.floor(_BIT * _deviance(seen, expected) / dispersion + 0.5)
            if bits > found.bits:
                found = Excess(bits, template, seen, expected)
        return found

    def _alone(self, one: Instance) -> Excess:
        """Lines of templates that no other has and that this one did not have before; and the most common of them."""
        others = {it[0] for other in self.known.values() if other is not one for it in other.newest}
        if one.kept_lines >= 2 * self.window:
            others |= {it.template for it in one.kept}
        mine = Counter(it[0] for it in one.newest if it[0] not in others)
        expected = (self.alone[0] + 0.5) / (self.learned + 1)
        if len(one.usual) >= 3:
            expected = max(expected, sorted(it[2] for it in one.usual)[len(one.usual) // 2])
        bits = _deviance(mine.total(), expected) / self._dispersion(*self.alone)
        return Excess(math.floor(_BIT * bits + 0.5), max(mine, key=mine.__getitem__, default=0), mine.total(), expected)

    def _dispersion(self, total: int, squares: int) -> float:
        if self.learned == 0:
            return 1.0
        return max(1.0, (4.0 + (squares - total * total / self.learned)) / (4.0 + total))

    def _usual(self, one: Instance, name: int) -> tuple[int, int]:
        """Cost and variety that are usual; nothing is above the one and below the other when there are no others."""
        others = [(cost, variety) for other, cost, variety in self.recent if other != name]
        if not others:
            return 2**32 - 1, 0
        cost, variety = (sorted(column)[len(others) // 2] for column in zip(*others, strict=True))
        if len(one.usual) >= 3:
            own_cost, own_variety, _ = (sorted(column)[len(one.usual) // 2] for column in zip(*one.usual, strict=True))
            cost, variety = max(cost, own_cost), min(variety, own_variety)
        return cost, variety

    def _judge(self, line: int, name: int, one: Instance) -> Verdict:
        alone, lines, runs = self._alone(one), self._excess(one, runs=False), self._excess(one, runs=True)
        counts = one.counts(runs=False)
        cost = sum(it[2] for it in one.newest)
        spread = self.horizon * math.log2(self.horizon) - sum(n * math.log2(n) for n in counts.values())
        variety = math.floor(_BIT * max(0.0, spread) + 0.5)
        usual_cost, usual_variety = self._usual(one, name)
        self.recent.append((name, cost, variety))
        if len(self.known) < 3 or sum(len(it.newest) for it in self.known.values()) < 3 * self.horizon:
            return Verdict(line, name, 1.0, 0.0, 0.0, 0.0, Question.NOVEL, 0, 0.0, 0.0)
        novel = alone.bits
        if self.has_costs:
            novel = max(0, cost - usual_cost)
        frozen = max(0, usual_variety - variety)
        answers = [novel, lines.bits, runs.bits, frozen]
        question, whole = self._spreads(answers)
        p_value, confidence = self._rank(whole)
        if question == 0 and self.has_costs:
            told = lines.template, cost / _BIT, usual_cost / _BIT
        elif question == 3:
            common = counts.most_common(1)[0][0]  # of equal ones the first that came
            total = sum((other.counts(runs=False) for other in self.known.values()), Counter[int]())
            told = common, float(counts[common]), self.horizon * total[common] / total.total()
        else:
            which = (alone, lines, runs)[question]
            told = which.template, float(which.observed), which.expected
        distance = max(0.0, told[1] - told[2]) / max(told[1], told[2]) if max(told[1:]) > 0 else 0.0
        if question == 3:
            distance = 1.0 - variety / usual_variety
        one.episode.append(([*answers, whole], p_value))
        if len(one.episode) == one.episode_windows:
            self._end_episode(one, cost, variety, alone.observed)
        return Verdict(line, name, p_value, confidence, whole / _BIT, distance, _QUESTIONS[question], *told)

    def _spreads(self, answers: list[int]) -> tuple[int, int]:
        """Which question stands out most, and by how many spreads, in 1/1024."""
        question, whole = 1, 0
        for number, (answer, past) in enumerate(zip(answers, self.episodes, strict=False)):
            if past:
                ordered = sorted(past)
                middle, high = ordered[len(past) // 2], ordered[len(past) * 15 // 16]
                spreads = (answer - middle) * _BIT // max(_BIT, high - middle)
                if spreads > whole:
                    question, whole = number, spreads
        return question, whole

    def _rank(self, whole: int) -> tuple[float, float]:
        ordered = sorted(self.episodes[4])
        n = len(ordered)
        if n < 10:
            return 1.0, 0.0
        above, middle = n - bisect_left(ordered, whole), ordered[n // 2]
        p_value = (1 + above) / (1 + n)
        farthest = max(_BIT, ordered[-1] - middle)
        if above == 0 and farthest < whole - middle:
            p_value *= farthest / (whole - middle)
        return p_value, (n - above) / n

    def _end_episode(self, one: Instance, cost: int, variety: int, alone: int) -> None:
        rare = any(p_value <= RARE for _, p_value in one.episode)
        again = one.was_rare and one.left_out < 8
        one.left_out = one.left_out + 1 if again else 0
        one.was_rare = rare
        if not again:
            largest = [max(column) for column in zip(*(answers for answers, _ in one.episode), strict=True)]
            for past, value in zip(self.episodes[:4], largest, strict=False):
                past.append(value)
            if len(self.episodes[0]) > 10:
                self.episodes[4].append(largest[4])
            self.episodes_seen += 1
            if self.episodes_seen == _EARLY + _SETTLED:
                self.episodes = [deque(list(past)[-_SETTLED:], past.maxlen) for past in self.episodes]
        if not rare:
            self._learn(one, alone)
        one.usual.append((cost, variety, alone))
        one.episode, one.episode_windows = [], _WINDOWS

    def _learn(self, one: Instance, alone: int) -> None:
        if self.learned == 512:
            self.learned //= 2
            self.alone = [value // 2 for value in self.alone]
            for columns in (self.sums, self.squares):
                for runs, column in columns.items():
                    columns[runs] = Counter({template: value // 2 for template, value in column.items()})
        self.learned += 1
        self.alone = [self.alone[0] + alone, self.alone[1] + alone * alone]
        for runs in (False, True):
            for template, count in one.counts(runs=runs).items():
                self.sums[runs][template] += count
                self.squares[runs][template] += count * count
