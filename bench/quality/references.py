"""Reference detectors on windows: what simple, well-known methods do with the same masked lines and the same windows.

All see every event once, score a window given everything before it, and learn all of it. None has a decision of its own: a
threshold is taken from its scores on normal history. Only Drain3 and half-space trees are other people's code.
"""

import pickle
import zlib
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from math import log, nan
from typing import Any, Self

import numpy as np
from drain3 import TemplateMiner
from drain3.template_miner_config import TemplateMinerConfig
from river.anomaly import HalfSpaceTrees

from bench.quality.streams import masked
from bench.quality.windows import BALANCED, Judged

DICTIONARY_BYTES = 32 * 1024
DICTIONARY_EVERY = BALANCED.baseline_size // 4
VECTOR_KINDS = 512
VECTOR_WINDOWS = 400
TREE_KINDS = 32
TREES, TREE_HEIGHT, TREE_WINDOWS = 10, 8, 250


class Reference(ABC):
    """Window bookkeeping: the same 50 / 10 windows from the same event on as our balanced profile."""

    name: str

    def __init__(self) -> None:
        self.names = (self.name,)
        self.position = 0

    def feed(self, lines: Sequence[bytes]) -> list[Judged]:
        """See `Run`."""
        judged = []
        for line, form in zip(lines, masked(lines), strict=True):
            self.take(line, form)
            self.position += 1
            after = self.position - BALANCED.baseline_size - BALANCED.window_size
            if after >= 0 and after % BALANCED.hop_size == 0:
                judged.append(Judged(self.position, (self.score(),)))
        return judged

    def branches(self) -> Callable[[], Self]:
        """See `Run`."""
        body = pickle.dumps(self)
        return lambda: pickle.loads(body)  # noqa: S301 - our own bytes

    @abstractmethod
    def take(self, line: bytes, form: bytes) -> None:
        """The next event."""

    @abstractmethod
    def score(self) -> float:
        """How strange the window is that ends with the event just taken."""


class Novelty(Reference):
    """Window lines whose token was never seen before the window: how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[object, int] = {}
        self._window: deque[object] = deque(maxlen=BALANCED.window_size)

    @abstractmethod
    def token(self, line: bytes, form: bytes) -> object:
        """What has to be known already."""

    def take(self, line: bytes, form: bytes) -> None:
        """See `Reference`."""
        token = self.token(line, form)
        self._first.setdefault(token, self.position)
        self._window.append(token)

    def score(self) -> float:
        """See `Reference`."""
        start = self.position - BALANCED.window_size
        return float(sum(self._first[token] >= start for token in self._window))


class NewEvent(Novelty):
    """Masked lines that were never seen."""

    name = "new event"

    def token(self, line: bytes, form: bytes) -> object:  # noqa: ARG002
        """See `Novelty`."""
        return form


class Bigram(Novelty):
    """Pairs of neighbouring masked lines that were never seen."""

    name = "2-gram"

    def __init__(self) -> None:
        super().__init__()
        self._last = b""

    def token(self, line: bytes, form: bytes) -> object:  # noqa: ARG002
        """See `Novelty`."""
        pair, self._last = (self._last, form), form
        return pair


class DrainNovelty(Novelty):
    """Lines of Drain3 clusters that did not exist before the window; Drain3 as its users run it, on raw lines."""

    name = "Drain3 novelty"

    def __init__(self) -> None:
        super().__init__()
        self._miner = TemplateMiner(config=TemplateMinerConfig())

    def token(self, line: bytes, form: bytes) -> object:  # noqa: ARG002
        """See `Novelty`."""
        return self._miner.add_log_message(line.decode("utf-8", "replace"))["cluster_id"]

    def branches(self) -> Callable[[], Self]:
        """See `Run`: the parser's profiler holds what can not be pickled, and has nothing to tell."""
        self._miner.profiler = self._miner.drain.profiler = _NoProfiler()
        return super().branches()


class _NoProfiler:
    def start_section(self, section_name: str) -> None:
        """Nothing."""

    def end_section(self, section_name: str = "") -> None:
        """Nothing."""

    def report(self, period_sec: int = 30) -> None:
        """Nothing."""


class Zlib(Reference):
    """Bytes out over bytes in of the window's masked text, zlib level 9, dictionary = the newest 32 KB before the window."""

    name = "zlib 32 KB"

    def __init__(self) -> None:
        super().__init__()
        self._window: deque[bytes] = deque(maxlen=BALANCED.window_size)
        self._past: deque[bytes] = deque()
        self._past_bytes = 0
        self._dictionary = b"\n"

    def take(self, line: bytes, form: bytes) -> None:  # noqa: ARG002
        """See `Reference`."""
        if len(self._window) == BALANCED.window_size:
            self._past.append(self._window[0])
            self._past_bytes += len(self._window[0]) + 1
            while self._past_bytes - len(self._past[0]) > DICTIONARY_BYTES:
                self._past_bytes -= len(self._past.popleft()) + 1
        self._window.append(form)
        if self.position % DICTIONARY_EVERY == 0:
            self._dictionary = (b"\n".join(self._past) or b"\n")[-DICTIONARY_BYTES:]

    def score(self) -> float:
        """See `Reference`."""
        return zlib_ratio(b"\n".join(self._window), self._dictionary)


def zlib_ratio(text: bytes, dictionary: bytes) -> float:
    """Bytes out over bytes in of `text` given at most 32 KB; raw deflate, as header bytes alone would flag short sessions."""
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return (len(coder.compress(text)) + len(coder.flush())) / max(1, len(text))


class CountVectors(Reference):
    """Least share of lines by which the window's counts of kinds differ from those of any of 400 earlier windows."""

    name = "count vectors"

    def __init__(self) -> None:
        super().__init__()
        self._number: dict[bytes, int] = {}
        self._window: deque[int] = deque(maxlen=BALANCED.window_size)
        self._counts = np.zeros(VECTOR_KINDS, dtype=np.int16)
        self._waiting: deque[Any] = deque()
        self._past = np.zeros((0, VECTOR_KINDS), dtype=np.int16)

    def take(self, line: bytes, form: bytes) -> None:  # noqa: ARG002
        """See `Reference`."""
        kind = self._number.setdefault(form, min(len(self._number), VECTOR_KINDS - 1))
        if len(self._window) == BALANCED.window_size:
            self._counts[self._window[0]] -= 1
        self._window.append(kind)
        self._counts[kind] += 1

    def score(self) -> float:
        """See `Reference`; windows that overlap this one do not count as earlier."""
        if len(self._waiting) == BALANCED.window_size // BALANCED.hop_size:
            self._past = np.vstack((self._past, self._waiting.popleft()))[-VECTOR_WINDOWS:]
        nearest = np.abs(self._past - self._counts).sum(axis=1).min(initial=2 * BALANCED.window_size)
        self._waiting.append(self._counts.copy())
        return float(nearest) / (2 * BALANCED.window_size)


class Counts(Reference):
    """G statistic: bits of the window's counts of kinds given their smoothed shares before the window."""

    name = "counts, G"

    def __init__(self) -> None:
        super().__init__()
        self._past: Counter[bytes] = Counter()
        self._events = 0
        self._window: deque[bytes] = deque(maxlen=BALANCED.window_size)

    def take(self, line: bytes, form: bytes) -> None:  # noqa: ARG002
        """See `Reference`."""
        if len(self._window) == BALANCED.window_size:
            self._past[self._window[0]] += 1
            self._events += 1
        self._window.append(form)

    def score(self) -> float:
        """See `Reference`."""
        total = self._events + 0.5 * (len(self._past) + 1)
        size = BALANCED.window_size
        return sum(n * log(n / size * total / (self._past.get(form, 0) + 0.5)) for form, n in Counter(self._window).items())


class Trees(Reference):
    """River's half-space trees (Tan, Ting & Liu 2011) on the shares of the 32 kinds first seen and of all others.

    The first 250 windows have no score. Trees are too big to copy for every branch: branches use those of their run, do not
    learn, and are to be finished before the run goes on. What a tree learned counts from the next 250 windows on, and a
    branch has at most 54.
    """

    name = "half-space trees"

    def __init__(self) -> None:
        super().__init__()
        self._number: dict[bytes, int] = {}
        self._window: deque[int] = deque(maxlen=BALANCED.window_size)
        self._learns = True
        self._trees: Any = HalfSpaceTrees(n_trees=TREES, height=TREE_HEIGHT, window_size=TREE_WINDOWS, seed=1)

    def take(self, line: bytes, form: bytes) -> None:  # noqa: ARG002
        """See `Reference`."""
        kind = self._number.get(form, TREE_KINDS)
        if kind == TREE_KINDS and len(self._number) < TREE_KINDS:
            kind = self._number[form] = len(self._number)
        self._window.append(kind)

    def score(self) -> float:
        """See `Reference`."""
        counts = Counter(self._window)
        shares = {str(kind): counts[kind] / BALANCED.window_size for kind in range(TREE_KINDS + 1)}
        ready = self.position >= BALANCED.baseline_size + BALANCED.window_size + TREE_WINDOWS * BALANCED.hop_size
        score = float(self._trees.score_one(shares)) if ready else nan
        if self._learns:
            self._trees.learn_one(shares)
        return score

    def branches(self) -> Callable[[], Self]:
        """See `Run`."""
        trees = self._trees
        self._trees = None
        body = pickle.dumps(self)
        self._trees = trees

        def branch() -> Self:
            run: Self = pickle.loads(body)  # noqa: S301 - our own bytes
            run.borrow(trees)
            return run

        return branch

    def borrow(self, trees: Any) -> None:
        """Score by another run's trees, without teaching them."""
        self._trees, self._learns = trees, False


WINDOW_REFERENCES: tuple[type[Reference], ...] = (NewEvent, Bigram, CountVectors, Counts, Zlib, DrainNovelty, Trees)
