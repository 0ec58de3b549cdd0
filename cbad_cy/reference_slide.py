"""Oracle of the window kernels in plain Python: pool, ranks and slide as their docstrings state them; slow and readable.

Tests compare; nothing else imports this. Sizes are those of the codecs, and bits those of the coder's own oracle, which never
gives up a cell.
"""

import math
from array import array
from collections import Counter, deque
from collections.abc import Sequence

from cbad_cy.codec import CODECS, Codec
from cbad_cy.codelength import BIT, template
from cbad_cy.instances import Instances, Verdict
from cbad_cy.mix import Mix
from cbad_cy.rank import BLOCKS_MIN
from cbad_cy.reference import entropy
from cbad_cy.reference_codelength import Coder
from cbad_cy.slide import QUESTIONS, SHARES, Said, Suspect, Window

Line = tuple[bytes, Sequence[int], int]  # masked, its slots, its instance


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

    def soften(self) -> None:
        """The newest one counts as no more than where the tail begins."""
        if self.waiting and len(self.maxima) >= BLOCKS_MIN:
            self.waiting[-1] = min(self.waiting[-1], self._tail()[0])

    def surprise(self, value: float) -> tuple[float, float]:
        """(p, confidence) by rank, by block maxima unless it is above all of them, and by exponential tail."""
        under = sum(past < value for past in self.values)
        confidence = under / len(self.values) if self.values else 0.0
        if len(self.maxima) < BLOCKS_MIN:
            return 1.0, confidence
        above = sum(past >= value for past in self.maxima)
        high, scale = self._tail()
        p_block = (1 + above) / (1 + len(self.maxima)) if above else 0.0
        p_tail = 0.1 * math.exp(-min(700.0, (value - high) / scale)) if value > high else 0.0
        return max(self._rank(value), p_block, p_tail), confidence

    def bits(self, value: float) -> float:
        """-log2 of the rank, beyond the 90 % quantile of the maxima times the exponential tail; no floor."""
        if len(self.maxima) < BLOCKS_MIN:
            return 0.0
        high, scale = self._tail()
        return -math.log2(self._rank(min(value, high))) + max(0.0, value - high) / scale / math.log(2)

    def _rank(self, value: float) -> float:
        return (1 + sum(past >= value for past in self.values)) / (1 + len(self.values))

    def _tail(self) -> tuple[float, float]:
        """Where the tail begins, and its scale."""
        maxima = sorted(self.maxima)
        median, high = maxima[len(maxima) // 2], maxima[len(maxima) * 9 // 10]
        return high, max((high - median) / math.log(5), 0.02 * median, 1e-9)


class Content:
    """Is the window new? Two statistics of it, ranked among those of calm or of restless times, and a calibrated distance."""

    def __init__(self, window: int, reference: tuple[int, int, int], normals: int, codec: Codec, statistical: bool) -> None:
        self.window, self.codec = window, codec
        self.coder = Coder() if statistical else None
        self.context: bytes | None = None
        self.flagged_share = 0.0
        self.lengths = Reference(*reference), Reference(*reference)
        self.accents = Reference(*reference), Reference(*reference)
        self.ratios: deque[float] = deque(maxlen=normals)
        self.dear_ratios: deque[float] = deque(maxlen=normals)

    def take(self, line: bytes, slots: Sequence[int]) -> tuple[int, int, bool, list[tuple[int, int, int, int]]]:
        """Code a line and learn it; -> cost, cost of template and tokens, whether it is new, dear parts."""
        told: tuple[int, int, bool, list[tuple[int, int, int, int]]] = 0, 0, False, []
        if self.coder is not None:
            template, tokens, _ = self.coder.parts(line, slots, self.context)
            cost = self.coder.cost(line, slots, self.context)
            marks = self.coder.marks(line, slots) if cost >= 20 * BIT else []
            told = cost, min(cost, template + tokens), tokens > 0, marks
            self.coder.learn(line, slots, self.context)
        self.context = line
        return told

    def sizes(self, lines: Sequence[bytes], words: Sequence[int], past: bytes) -> tuple[int, int, float]:
        """C(W), C(W given B), and the share of its dearest line that is unexplained."""
        plain = self.codec.size(b"\n".join(lines))
        if self.coder is None:
            return plain, self.codec.size_given(b"\n".join(lines), self.codec.prepare(past)), 0.0
        dearest = max(range(len(lines)), key=words.__getitem__)
        ratio = words[dearest] / (8 * BIT * self.codec.size(lines[dearest]))
        return plain, 1 + math.ceil(sum(words) / (8 * BIT)), min(1.0, ratio)

    def answer(
        self, costs: Sequence[int], sizes: tuple[int, int, float], restless: bool, bar: float
    ) -> tuple[Said, float, float]:
        """-> what is said, the usual ratio, and the bits of the window; both statistics are remembered."""
        plain, given, dear_ratio = sizes
        if self.coder is None:
            bits, whole, accent = 8 * BIT * given, given, 65536 * given // plain
        else:
            bits = whole = sum(costs)
            accent = sum(sorted(costs)[-3:])
        pairs = [(self.lengths[restless], whole), (self.accents[restless], accent)]
        (p_whole, sure_whole), (p_accent, sure_accent) = (past.surprise(value) for past, value in pairs)
        surprise = max(past.bits(value) for past, value in pairs)
        for past, value in pairs:
            past.add(value)
        p_value = min(1.0, 2 * min(p_whole, p_accent))
        usual, distance = self._distance(self.ratios, given / plain)
        if self.coder is not None and p_accent <= bar / 2:
            _, other = self._distance(self.dear_ratios, dear_ratio)
            distance = other if p_whole > bar / 2 else max(other, distance)
        return Said("novelty", p_value, distance, surprise, max(sure_whole, sure_accent)), usual, bits / BIT

    def settle(self, flagged: bool, restless: bool, p_value_threshold: float) -> None:
        """Flagged windows count less while they are few."""
        if flagged and 2 * self.flagged_share < p_value_threshold:
            self.lengths[restless].soften()
            self.accents[restless].soften()
        self.flagged_share += (flagged - self.flagged_share) / 1024

    def _distance(self, normals: Sequence[float], ratio: float) -> tuple[float, float]:
        usual = sorted(normals)[len(normals) // 2] if normals else ratio
        return usual, min(1.0, max(0.0, (ratio - usual) / (1 - usual))) if usual < 1 else 0.0


class Slide:
    """The whole fold of a stream, window by window.

    Patterns and instances are answered by the kernels, which have oracles of their own; what is new, and who decides, is said
    here once more.
    """

    def __init__(
        self,
        *,
        baseline: int,
        window: int,
        hop: int,
        memory: int,
        past_bytes_max: int,
        reference: int,
        block: int,
        lag: int,
        normals: int,
        codec: Codec,
        distance_threshold: float,
        p_value_threshold: float,
    ) -> None:
        self.baseline, self.window, self.hop = baseline, window, hop
        self.reach = min(past_bytes_max, CODECS[codec.name].look_back_bytes_max or past_bytes_max)
        self.distance_threshold, self.p_value_threshold = distance_threshold, p_value_threshold
        self.statistical = codec.name == "statistical"
        self.content = Content(window, (reference, block, lag), normals, codec, self.statistical)
        self.pool = Pool(baseline, memory, past_bytes_max)
        self.mix, self.instances = Mix(window=window, hop=hop), Instances(window=window)
        self.dictionary = b""
        self.accepted = 0
        self.lines: list[bytes] = []
        self.told: list[tuple[int, int, bool, list[tuple[int, int, int, int]]]] = []
        self.flagged: set[int] = set()  # numbers of lines
        self.odd: Verdict | None = None
        self.windows: list[Window] = []

    def fold(self, lines: Sequence[Line]) -> list[Window]:
        """Take lines; -> the windows that they completed."""
        before = len(self.windows)
        for line, slots, instance in lines:
            self._arrive(line, slots, instance)
            count, filled = len(self.lines), self.baseline + self.window
            if count <= self.baseline:
                self._leave(count - 1)
            elif count > filled:
                self._leave(count - 1 - self.window)
            if count == self.baseline:
                self._choose_dictionary()
            if count >= filled and (count - filled) % self.hop == 0:
                self._evaluate()
        return self.windows[before:]

    def _arrive(self, line: bytes, slots: Sequence[int], instance: int) -> None:
        self.lines.append(line)
        self.told.append(self.content.take(line, slots))
        number = array("Q", [template(line)])
        self.mix.take_lines(number)
        for verdict in self.instances.take_lines(array("Q", [instance]), number, array("I", [self.told[-1][0]])):
            if verdict.p_value < (1.0 if self.odd is None else self.odd.p_value):
                self.odd = verdict

    def _leave(self, index: int) -> None:
        if index not in self.flagged:
            self.pool.accept(self.lines[index])
            self.accepted += not self.statistical

    def _choose_dictionary(self) -> None:
        if not self.statistical:
            self.dictionary, self.accepted = self.pool.dictionary(self.reach), 0

    def _restless(self, first: int) -> bool:
        """Whether three of the lines of ten windows before this line were new when they came."""
        return sum(new for _, _, new, _ in self.told[max(0, first - 10 * self.window) : first]) >= 3

    def _evaluate(self) -> None:
        end = len(self.lines)
        first = end - self.window
        lines, told = self.lines[first:], self.told[first:]
        sizes = self.content.sizes(lines, [words for _, words, _, _ in told], self.dictionary)
        novelty, usual, bits = self.content.answer(
            [cost for cost, _, _, _ in told], sizes, self._restless(first), self.p_value_threshold * SHARES["novelty"]
        )
        answers = [(novelty, SHARES["novelty"], Suspect(0, 0, 0.0, 0.0, 0)), self._pattern(), self._instance()]
        self.odd = None
        offers = [
            (self._passes(said, share), min(1.0, said.p_value / share), said, suspect) for said, share, suspect in answers
        ]
        flagged, p_value, said, suspect = min(offers, key=lambda offer: (not offer[0], offer[1]))
        self.content.settle(flagged, self._restless(first), self.p_value_threshold)
        if flagged:
            self.flagged.update(range(first, end))
        text = b"\n".join(lines)
        self.windows.append(
            Window(
                len(self.windows),
                end,
                len(text),
                sizes[0],
                sizes[1],
                bits,
                said.distance,
                usual,
                p_value,
                said.confidence,
                entropy(text),
                flagged,
                said.question,
                said.surprise,
                tuple(answer for answer, _, _ in answers if answer.p_value < 1),
                suspect,
            )
        )
        self._learn_normal(sizes)
        if self.accepted >= max(1, self.baseline // 4):
            self._choose_dictionary()

    def _learn_normal(self, sizes: tuple[int, int, float]) -> None:
        """Windows that share no line say what is normal; under the coder all of them until 20 did, then every fourth one."""
        newest, apart = self.windows[-1], -(-self.window // self.hop)
        if self.statistical and len(self.content.ratios) >= 20:
            apart *= 4
        if newest.number % apart == 0 and not newest.flagged:
            self.content.ratios.append(sizes[1] / sizes[0])
            self.content.dear_ratios.append(sizes[2])

    def _passes(self, said: Said, share: float) -> bool:
        return said.p_value / share <= self.p_value_threshold and said.distance >= self.distance_threshold

    def _pattern(self) -> tuple[Said, float, Suspect]:
        it = self.mix.judged()
        said = Said(QUESTIONS[1 + it.question], it.p_value, it.distance, it.surprise, it.confidence)
        return said, SHARES["pattern"], Suspect(it.template, 0, it.observed, it.expected, it.horizon)

    def _instance(self) -> tuple[Said, float, Suspect]:
        it = self.odd
        if it is None:
            return Said("instance", 1.0, 0.0, 0.0, 0.0), SHARES["instance"], Suspect(0, 0, 0.0, 0.0, self.window)
        said = Said("instance", it.p_value, it.distance, it.surprise, it.confidence)
        return said, SHARES["instance"], Suspect(it.template, it.instance, it.observed, it.expected, self.window)
