"""Synthetic interactions for the tests, written for them: a few kinds, each with its lines and their usual delays."""

import random
from array import array
from collections.abc import Sequence

Event = tuple[bytes, bytes, int]  # key, line, time
BASE_NS = 10**15
MS = 10**6


def traffic(seed: int, keys: int, *, kinds: int = 4, lines: int = 12, odd: float = 0.0, keyless: float = 0.0) -> list[Event]:
    """`keys` interactions that start some 10 ms apart; a share `odd` of them has one more line, `keyless` events no key."""
    rng = random.Random(seed)
    plans = [
        [(b"line %d" % rng.randrange(lines), int(10 ** rng.uniform(6, 10))) for _ in range(rng.randrange(2, 7))]
        for _ in range(kinds)
    ]
    events: list[Event] = []
    start = BASE_NS
    for number in range(keys):
        start += int(rng.expovariate(1) * 10 * MS)
        key = b"key-%d" % number
        events.append((key, b"opened", start))
        at = start
        for line, delay in plans[min(int(rng.expovariate(0.8)), kinds - 1)]:
            at += int(delay * rng.uniform(0.7, 1.4))
            events.append((key, line, at))
        if rng.random() < odd:
            events.append((key, b"odd %d" % rng.randrange(30), at))
        if rng.random() < keyless:
            events.append((b"", b"nothing", start))
    return sorted(events, key=lambda event: event[2])


def columns(
    events: Sequence[Event],
) -> tuple[bytes, "array[int]", "array[int]", bytes, "array[int]", "array[int]"]:
    """As `Keyset.feed` takes them."""
    starts, at = array("I"), 0
    for key, _, _ in events:
        starts.append(at)
        at += len(key)
    sizes, lengths = array("I", [len(key) for key, _, _ in events]), array("I", [len(line) for _, line, _ in events])
    lines, times = b"".join(line for _, line, _ in events), array("Q", [time for _, _, time in events])
    return b"".join(key for key, _, _ in events), starts, sizes, lines, lengths, times
