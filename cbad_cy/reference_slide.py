"""Oracle of the window kernels in plain Python: pool, ranks and slide as their docstrings state them; slow and readable.

Tests compare; nothing else imports this. Sizes come from a function, so that the rules are tested apart from compressors.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Size = Callable[[bytes], int]
SizeGiven = Callable[[bytes, bytes], int]


class Pool:
    """The last `lines_max` lines, and recurring forms of the last `memory_lines`; at most `bytes_max` bytes of forms."""

    def __init__(self, lines_max: int, memory_lines: int, bytes_max: int) -> None:
        self.lines_max, self.memory_lines, self.bytes_max = lines_max, memory_lines, bytes_max
        self.lines: deque[bytes] = deque()
        self.forms: dict[bytes, int] = {}  # in order of creation -> times seen
        self.last: dict[bytes, int] = {}
        self.ever = 0

    def accept(self, line: bytes) -> None:
        """Remember a line; what matters least makes room."""
        fresh = line not in self.forms
        self.lines.append(line)
        if len(self.lines) > self.lines_max:
            self._drop(line)
        while fresh and self._bytes(line) > self.bytes_max and self._forget(line):
            pass
        self.forms[line] = self.forms.get(line, 0) + 1
        self.last[line] = self.ever
        self.ever += 1
        for form in [form for form in self.forms if form not in self.lines and self.last[form] + self.memory_lines < self.ever]:
            del self.forms[form]

    def _bytes(self, line: bytes) -> int:
        return sum(len(form) + 1 for form in {*self.forms, line})

    def _drop(self, newest: bytes) -> None:
        gone = self.lines.popleft()
        if gone not in self.lines and gone != newest and self.forms[gone] < 2:
            del self.forms[gone]

    def _forget(self, newest: bytes) -> bool:
        idle = [form for form in self.forms if form not in self.lines]
        if idle:
            del self.forms[min(idle, key=self.last.__getitem__)]
        elif len(self.lines) > 1:
            self._drop(newest)
        else:
            return False
        return True

    def distinct(self) -> list[tuple[bytes, int]]:
        """Forms with counts among the last lines."""
        counts = Counter(self.lines)
        return [(form, counts[form]) for form in self.forms]

    def dictionary(self, room: int) -> bytes:
        """Most frequent first, of equals the one seen last, until 95 % are covered; forms of 1 % and recurring ones always."""
        counts = Counter(self.lines)
        chosen, covered, used = set(), 0, 0
        for form in sorted(self.forms, key=lambda form: (-counts[form], -self.last[form])):
            rare = 100 * counts[form] < len(self.lines) and self.forms[form] < 2
            if rare and 100 * covered >= 95 * len(self.lines):
                continue
            if used + len(form) <= room:
                chosen.add(form)
                covered += counts[form]
                used += len(form) + 1
        return b"\n".join(form for form in self.forms if form in chosen)


class Reference:
    """Past window statistics, the newest `lag` left out, and maxima of blocks of `block`."""

    def __init__(self, size: int, block: int, lag: int) -> None:
        self.block, self.lag = block, lag
        self.waiting: deque[float] = deque()
        self.values: deque[float] = deque(maxlen=size)
        self.opened: list[float] = []
        self.maxima: deque[float] = deque(maxlen=size // block)

    def add(self, value: float) -> None:
        """Remember a statistic; it counts `lag` windows later."""
        self.waiting.append(value)
        if len(self.waiting) <= self.lag:
            return
        entered = self.waiting.popleft()
        self.values.append(entered)
        self.opened.append(entered)
        if len(self.opened) == self.block:
            self.maxima.append(max(self.opened))
            self.opened = []

    def surprise(self, value: float) -> tuple[float, float]:
        """(p, confidence) by rank, block maxima and exponential tail."""
        under = sum(past < value for past in self.values)
        confidence = under / len(self.values) if self.values else 0.0
        if len(self.maxima) < 10:
            return 1.0, confidence
        blocks, maxima = len(self.maxima), sorted(self.maxima)
        p_rank = (1 + len(self.values) - under) / (1 + len(self.values))
        p_block = (1 + sum(past >= value for past in maxima)) / (1 + blocks)
        median, high = maxima[blocks // 2], maxima[min(blocks - 1, blocks * 9 // 10)]
        scale = max((high - median) / math.log(5), 0.02 * median, 1e-9)
        p_tail = 0.1 * math.exp(-min(700.0, (value - high) / scale)) if value > high else 0.0
        return max(p_rank, p_block, p_tail), confidence


@dataclass
class Slide:
    """The whole fold of masked lines, window by window; `flagged` are the numbers of flagged windows."""

    baseline: int
    window: int
    hop: int
    memory: int
    bytes_max: int
    lengths: Reference
    shares: Reference
    size: Size
    size_given: SizeGiven
    distance_threshold: float
    p_value_threshold: float
    normals: int
    flagged: list[int] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)  # (given, p) of each window

    def fold(self, lines: Sequence[bytes]) -> None:
        """Take all lines of a stream, once."""
        pool, dictionary, accepted = Pool(self.baseline, self.memory, self.bytes_max), b"", 0
        ratios: deque[float] = deque(maxlen=self.normals)
        marked: set[int] = set()
        for line in lines[: self.baseline]:
            pool.accept(line)
        dictionary = pool.dictionary(self.bytes_max)
        begin = self.baseline
        for number, end in enumerate(range(begin + self.window, len(lines) + 1, self.hop)):
            start = end - self.window
            for index in range(begin, start):
                if index not in marked:
                    pool.accept(lines[index])
                    accepted += 1
            begin = max(begin, start)
            text = b"\n".join(lines[start:end])
            given, plain = self.size_given(text, dictionary), self.size(text)
            share = 65536 * given // plain
            p_value = min(1.0, 2 * min(self.lengths.surprise(given)[0], self.shares.surprise(share)[0]))
            self.lengths.add(given)
            self.shares.add(share)
            self.scores.append((given, p_value))
            usual = sorted(ratios)[len(ratios) // 2] if ratios else given / plain
            distance = min(1.0, max(0.0, (given / plain - usual) / (1 - usual))) if usual < 1 else 0.0
            if distance >= self.distance_threshold and p_value <= self.p_value_threshold:
                self.flagged.append(number)
                marked.update(range(start, end))
            elif number % -(-self.window // self.hop) == 0:
                ratios.append(given / plain)
            if accepted >= max(1, self.baseline // 4):
                dictionary, accepted = pool.dictionary(self.bytes_max), 0
