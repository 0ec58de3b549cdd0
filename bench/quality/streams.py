"""The normal streams of the quality benchmark: public logs without their anomalies, and synthetic ones."""

import random
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, pairwise
from types import ModuleType

from cbad_cy.tokenize import mask
from driftlock.engine.limits import Limits
from tests.engine.streams import WORDS, bursty, iid, templates

SYSTEMS = ("Apache", "BGL", "Linux", "OpenSSH", "Thunderbird")
PIECE_LINES = 500  # longer than a baseline, so that most windows are judged by the past that they really had
DRIFT_EVENTS = 1000


def masked(lines: Sequence[bytes]) -> list[bytes]:
    """Lines as the references see them: identifiers, numbers and paths masked by our tokenizer, so masking is no difference.

    Our detector keeps paths. With paths kept, the references take every new job's directory for an anomaly, and lose most.
    """
    every = array("I", map(len, lines))
    text, lengths = mask(b"".join(lines), every, line_bytes_max=Limits().event_bytes_max, paths_as_slots=True)
    return [text[start:stop] for start, stop in pairwise([0, *accumulate(lengths)])]


def drifting(seed: int, kinds: int = 30, drift_events: int = DRIFT_EVENTS) -> Iterator[bytes]:
    """Independent lines whose kinds are slowly replaced: every `drift_events` events one kind leaves and a new one comes."""
    rng = random.Random(seed)
    forms = templates(kinds, seed)
    weights = [1 / (rank + 1) for rank in range(kinds)]
    number = 0
    while True:
        number += 1
        if number % drift_events == 0:
            [form] = templates(1, (seed + 1) * 1_000_003 + number)
            forms[rng.randrange(kinds)] = f"{form} via {rng.choice(WORDS)}"
        [form] = rng.choices(forms, weights)
        yield (form % (rng.randrange(10**6), rng.randrange(1000))).encode()


def prolonged(lines: Sequence[bytes], count: int, seed: int, piece: int = PIECE_LINES) -> list[bytes]:
    """A short log made long: its pieces of consecutive lines in a new random order, again and again, up to `count` lines.

    Bursts and phases inside a piece survive. After the first pass nothing is ever new: easier than a real stream for who
    never forgets, harder for who does, as phases return after a while.
    """
    rng = random.Random(seed)
    pieces = [lines[start : start + piece] for start in range(0, len(lines), piece)]
    out: list[bytes] = []
    while len(out) < count:
        for part in rng.sample(pieces, len(pieces)):
            out += part
    return out[:count]


def hdfs_normal(data: ModuleType, count: int) -> list[bytes]:
    """The first `count` lines of the public HDFS sample, in time order, without its anomalous blocks."""
    return [text.encode() for _, text, label, _ in islice((row for row in data.hdfs_lines() if not row[2]), count)]


def system(data: ModuleType, name: str) -> list[bytes]:
    """The 2,000 lines of one system without those labelled as alerts."""
    return [text.encode() for _, text, label, _ in data.loghub(name) if not label]


def synthetic(count: int, seeds: Sequence[int]) -> dict[str, list[list[bytes]]]:
    """Each kind of synthetic stream, once for every seed."""
    makers = {"independent lines": iid, "bursty lines": bursty, "drifting lines": drifting}
    return {name: [list(islice(make(seed), count)) for seed in seeds] for name, make in makers.items()}
