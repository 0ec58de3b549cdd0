"""What the tests of the statistical coder share: events, the kernel and the oracle over them."""

from __future__ import annotations

import random
from array import array

from hypothesis import strategies as st

from cbad_cy import reference_codelength
from cbad_cy.codelength import (
    BYTES_MAX_MOST,
    HALVING_EVENTS,
    Coder,
)
from cbad_cy.tokenize import mask_with_slots
from tests.cbad_cy.lines import joined

Event = tuple[bytes, list[int]]
ROOMY = BYTES_MAX_MOST // 16
WORDS = [b"stored", b"loaded", b"order", b"cart", b"<IP>", b"#", b"in", b"for", b"<U>", b"(", b"=", b"timeout", b"refused"]
TEMPLATES = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=5).map(b" ".join),
    st.sampled_from([b"", b"ok", b"took # ms", b"<IP>:<X> <IPA> < IP>"]),
)
SLOTS = st.lists(st.integers(0, 40).map(lambda value: (value % 7) << 56 | value), max_size=18)
EVENTS = st.lists(st.tuples(TEMPLATES, SLOTS), max_size=60)


def columns(events: list[Event]) -> tuple[bytes, array[int], array[int], array[int]]:
    text, lengths = joined([line for line, _ in events])
    return text, lengths, array("Q", [slot for _, slots in events for slot in slots]), array("B", [len(s) for _, s in events])


def code(coder: Coder, events: list[Event], context: int = 0, learn: bool = True) -> tuple[list[int], int]:
    costs, templates = coder.code(*columns(events), context=context, learn=learn)
    return list(costs), templates[-1] if templates else context


def oracle(events: list[Event], halving_events: int = HALVING_EVENTS) -> list[int]:
    coder, before, costs = reference_codelength.Coder(halving_events), None, []
    for line, slots in events:
        costs.append(coder.cost(line, slots, before))
        coder.learn(line, slots, before)
        before = line
    return costs


def stream(seed: int, count: int, novel: float = 0.02) -> list[Event]:
    """Events of a few kinds with numbers, hosts and identifiers, and now and then a line that nobody has seen."""
    rng = random.Random(seed)
    kinds = [
        b"stored order %d for 10.0.0.%d in %d ms",
        b"loaded cart %d from 10.0.1.%d with %d items",
        b"worker w%d of pool%d took %d.5 s",
    ]
    lines = []
    for _ in range(count):
        if rng.random() < novel:
            lines.append(b" ".join(b"%c%c%c" % tuple(rng.choices(range(97, 123), k=3)) for _ in range(rng.randrange(1, 9))))
        kind = rng.choice(kinds)
        lines.append(kind % (rng.randrange(10**9), rng.randrange(6), rng.randrange(1, 900)))
    return masked(lines[:count])


def masked(lines: list[bytes]) -> list[Event]:
    text, lengths, slots, counts = mask_with_slots(*joined(lines), line_bytes_max=4096)
    events, at, first = [], 0, 0
    for length, count in zip(lengths, counts, strict=True):
        events.append((text[at : at + length], list(slots[first : first + count])))
        at, first = at + length, first + count
    return events
