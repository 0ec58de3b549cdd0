"""Reference detectors on sessions: learn some, score others (higher = stranger). All but Drain3 see masked lines."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from drain3 import TemplateMiner
from drain3.template_miner_config import TemplateMinerConfig
from river.anomaly import HalfSpaceTrees

from bench.quality.references import DICTIONARY_BYTES, TREE_HEIGHT, TREE_KINDS, TREE_WINDOWS, TREES, zlib_ratio

VECTOR_KINDS = 256
ZLIB_DRAWS = 5


@dataclass(frozen=True, slots=True)
class Session:
    """Lines that belong together, in order: as they came, and masked; where its first and last line stand in the stream."""

    lines: tuple[bytes, ...]
    forms: tuple[bytes, ...]
    label: int
    first: int
    last: int


class Reference(Protocol):
    """A detector on sessions."""

    def learn(self, session: Session) -> None:
        """Take one session as usual."""
        ...

    def score(self, session: Session) -> float:
        """How strange it is."""
        ...


class NewEvent:
    """Lines whose masked form was never learned (Landauer, Skopik & Wurzenberger 2024 call it new event)."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def learn(self, session: Session) -> None:
        """See `Reference`."""
        self._known.update(session.forms)

    def score(self, session: Session) -> float:
        """See `Reference`."""
        return float(sum(form not in self._known for form in session.forms))


class Bigram:
    """Share of pairs of neighbouring forms that were never learned; the session's start and end count as forms."""

    def __init__(self) -> None:
        self._known: set[tuple[bytes, bytes]] = set()

    def _pairs(self, session: Session) -> list[tuple[bytes, bytes]]:
        return list(zip((b"", *session.forms), (*session.forms, b""), strict=True))

    def learn(self, session: Session) -> None:
        """See `Reference`."""
        self._known.update(self._pairs(session))

    def score(self, session: Session) -> float:
        """See `Reference`."""
        return sum(pair not in self._known for pair in self._pairs(session)) / (len(session.forms) + 1)


class CountVectors:
    """Least L1 distance, relative to both lengths, of the counts of forms to any learned session's."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._seen: dict[tuple[tuple[int, int], ...], None] = {}
        self._matrix: Any = np.zeros((0, VECTOR_KINDS), dtype=np.int32)
        self._fresh: list[Any] = []

    def _counts(self, session: Session) -> Counter[int]:
        number = self._number
        return Counter(number.setdefault(form, min(len(number), VECTOR_KINDS - 1)) for form in session.forms)

    def learn(self, session: Session) -> None:
        """See `Reference`."""
        counts = self._counts(session)
        key = tuple(sorted(counts.items()))
        if key not in self._seen:
            self._seen[key] = None
            self._fresh.append(self._vector(counts))

    def _vector(self, counts: Counter[int]) -> Any:
        vector = np.zeros(VECTOR_KINDS, dtype=np.int32)
        vector[list(counts)] = list(counts.values())
        return vector

    def score(self, session: Session) -> float:
        """See `Reference`."""
        counts = self._counts(session)
        if tuple(sorted(counts.items())) in self._seen:
            return 0.0
        if self._fresh:
            self._matrix, self._fresh = np.vstack((self._matrix, *self._fresh)), []
        vector = self._vector(counts)
        distances = np.abs(self._matrix - vector).sum(axis=1) / (self._matrix.sum(axis=1) + vector.sum())
        return float(distances.min(initial=1.0))


class Zlib:
    """Bytes out over bytes in, zlib level 9, given 32 KB of learned sessions: a random choice, or the newest ones."""

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._learned: list[bytes] = []
        self._dictionary: bytes | None = None
        self._scores: dict[bytes, float] = {}

    def learn(self, session: Session) -> None:
        """See `Reference`; the newest sessions are taken into the dictionary 100 at a time."""
        self._learned.append(b"\n".join(session.forms))
        if self._seed is not None or len(self._learned) % 100 == 0:
            self._dictionary = None

    def _prepare(self) -> bytes:
        learned = self._learned
        if self._seed is not None:
            learned = random.Random(self._seed).sample(learned, len(learned))
        parts, size = [], 0
        for text in reversed(learned):
            parts.append(text)
            size += len(text) + 1
            if size > DICTIONARY_BYTES:
                break
        return (b"\n".join(reversed(parts)) or b"\n")[-DICTIONARY_BYTES:]

    def score(self, session: Session) -> float:
        """See `Reference`."""
        if self._dictionary is None:
            self._dictionary, self._scores = self._prepare(), {}
        text = b"\n".join(session.forms)
        if text not in self._scores:
            self._scores[text] = zlib_ratio(text, self._dictionary)
        return self._scores[text]


class Drain:
    """Lines that match no cluster of Drain3."""

    def __init__(self) -> None:
        self._miner = TemplateMiner(config=TemplateMinerConfig())

    def learn(self, session: Session) -> None:
        """See `Reference`."""
        for line in session.lines:
            self._miner.add_log_message(line.decode("utf-8", "replace"))

    def score(self, session: Session) -> float:
        """See `Reference`."""
        return float(sum(self._miner.match(line.decode("utf-8", "replace")) is None for line in session.lines))


class Trees:
    """River's half-space trees on the shares of the 32 forms first learned and of all others."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._trees: Any = HalfSpaceTrees(n_trees=TREES, height=TREE_HEIGHT, window_size=TREE_WINDOWS, seed=1)

    def _shares(self, session: Session) -> dict[str, float]:
        counts = Counter(self._number.get(form, TREE_KINDS) for form in session.forms)
        return {str(kind): counts[kind] / len(session.forms) for kind in range(TREE_KINDS + 1)}

    def learn(self, session: Session) -> None:
        """See `Reference`."""
        for form in session.forms:
            if len(self._number) < TREE_KINDS:
                self._number.setdefault(form, len(self._number))
        self._trees.learn_one(self._shares(session))

    def score(self, session: Session) -> float:
        """See `Reference`."""
        return float(self._trees.score_one(self._shares(session)))


def session_references(*, streaming: bool) -> dict[str, Sequence[Callable[[], Reference]]]:
    """Makers by name; several where a reference depends on chance, which then is part of its interval."""
    draws: Sequence[Callable[[], Reference]] = [partial(Zlib, seed) for seed in range(ZLIB_DRAWS)]
    return {
        "new event": [NewEvent],
        "2-gram": [Bigram],
        "count vectors": [CountVectors],
        "zlib 32 KB, newest": [partial(Zlib, None)],
        **({} if streaming else {"zlib 32 KB, random": draws}),
        "Drain3 novelty": [Drain],
        "half-space trees": [Trees],
    }
