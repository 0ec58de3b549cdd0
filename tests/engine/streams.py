"""Synthetic normal streams for the engine's tests, written for them: seeded, endless, with nothing new in them."""

import random
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice

from driftlock.engine.event import RecordBatch, Signal, StreamKey

KEY = StreamKey(Signal.LOGS, "checkout", "shop", "prod")
SECOND_NS = 1_000_000_000
BASE_NS = 1_700_000_000 * SECOND_NS
FAR_NS = 4_000_000_000 * SECOND_NS

WORDS = ["order", "user", "cart", "payment", "session", "cache", "token", "item", "price", "stock"]
WORDS += ["queue", "worker", "shard", "lease", "page", "index", "retry", "quota"]
VERBS = ["accepted", "loaded", "stored", "expired", "refreshed", "created", "removed", "checked", "updated", "moved"]


def templates(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        f"{rng.choice(['INFO', 'INFO', 'DEBUG'])} {rng.choice(WORDS)}.{rng.choice(WORDS)}: {rng.choice(WORDS)} %d "
        f"{rng.choice(VERBS)} by {rng.choice(WORDS)} in %d ms"
        for _ in range(count)
    ]


def iid(seed: int, kinds: int = 30) -> Iterator[bytes]:
    """Lines drawn independently, with a few common and many rare kinds."""
    rng = random.Random(seed)
    forms = templates(kinds, seed)
    weights = [1 / (rank + 1) for rank in range(kinds)]
    while True:
        [form] = rng.choices(forms, weights)
        yield (form % (rng.randrange(10**6), rng.randrange(1000))).encode()


def bursty(seed: int, kinds: int = 30) -> Iterator[bytes]:
    """The same kinds, but each arrives in runs of very different lengths."""
    rng = random.Random(seed)
    forms = templates(kinds, seed)
    weights = [1 / (rank + 1) for rank in range(kinds)]
    while True:
        [form] = rng.choices(forms, weights)
        for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
            yield (form % (rng.randrange(10**6), rng.randrange(1000))).encode()


def take(lines: Iterator[bytes], count: int) -> list[bytes]:
    return list(islice(lines, count))


def batch(lines: Sequence[bytes], first: int = 0, *, historical: bool = False) -> RecordBatch:
    """Records one second apart; `first` is the index of the first in its stream."""
    times = array("Q", (BASE_NS + (first + number) * SECOND_NS for number in range(len(lines))))
    return RecordBatch(b"".join(lines), array("I", map(len, lines)), times, historical=historical)


def batches(lines: Sequence[bytes], size: int) -> list[RecordBatch]:
    return [batch(lines[start : start + size], start) for start in range(0, len(lines), size)]
