"""Synthetic normal streams for the engine's tests, written for them: seeded, endless, with nothing new in them."""

import random
from array import array
from collections.abc import Iterator, Sequence
from itertools import count, islice

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


def drifting(seed: int) -> Iterator[bytes]:
    """The rates of sixty kinds wander all the time; a tenth of them comes into use one by one, and others fall out of use."""
    rng = random.Random(seed)
    forms = templates(66, seed)
    weights = [1 / (rank % 30 + 1) for rank in range(66)]
    known = 60
    for number in count():
        if number % 50 == 0:
            at = rng.randrange(known)
            weights[at] = min(1.0, max(0.01, weights[at] * rng.choice([0.5, 0.8, 1.25, 2.0])))
        if number % 2000 == 1999 and known < len(forms):
            known += 1
        [form] = rng.choices(forms[:known], weights[:known])
        yield (form % (rng.randrange(10**6), rng.randrange(1000))).encode()


def take(lines: Iterator[bytes], count: int) -> list[bytes]:
    return list(islice(lines, count))


def batch(lines: Sequence[bytes], first: int = 0, *, historical: bool = False, instances: int = 0) -> RecordBatch:
    """Records one second apart, `first` is the index of the first in its stream; of so many instances in no order."""
    numbers = range(first, first + len(lines))
    times = array("Q", (BASE_NS + number * SECOND_NS for number in numbers))
    found = RecordBatch(b"".join(lines), array("I", map(len, lines)), times, historical=historical)
    if instances:
        found.instances = tuple(f"pod-{number}" for number in range(instances))
        found.instance_index = array("I", (1 + number * number % 1009 % instances for number in numbers))
    return found


def batches(lines: Sequence[bytes], size: int, *, instances: int = 0) -> list[RecordBatch]:
    return [batch(lines[start : start + size], start, instances=instances) for start in range(0, len(lines), size)]
