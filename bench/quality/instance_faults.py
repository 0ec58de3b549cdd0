"""Merged streams of fifty instances, normal ones, and what may happen to one of the fifty."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from bench.quality.streams import SYSTEMS, hdfs_normal, system
from tests.engine.streams import templates

INSTANCES = 50
PIECE_LINES = 100
KINDS = 30
ROLES = 10
ALIENS = 150  # of each other system
PAST_EVENTS = 20_000  # from which a fault takes its lines
USUAL_SHARES = (0.05, 0.5)
RARE_SHARES = ((0.001, 0.005), (0.005, 0.02))
RARE_FACTOR = 10
BLOCK = re.compile(rb"blk_-?(\d+)")
Said = tuple[int, bytes]
"""Who (from 1), and the line."""
Fault = Callable[[bytes], bytes]
"""What becomes of a line of the bad instance."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A normal stream of fifty instances, and lines that are foreign to it."""

    name: str
    said: list[Said]
    aliens: list[bytes]


def pieces(lines: Sequence[bytes], rng: random.Random) -> Iterator[bytes]:
    """A log read on for ever, a piece of neighbouring lines at a time: what one instance of many says."""
    while True:
        start = rng.randrange(len(lines) - PIECE_LINES)
        yield from lines[start : start + PIECE_LINES]


def voice(rng: random.Random, *, runs: Sequence[int] = (1,), role: bool = False) -> Iterator[bytes]:
    """Synthetic lines of kinds that all instances share; in runs of the lengths given, and with a role in other shares."""
    forms, weights = templates(KINDS, seed=1), [1 / (rank + 1) for rank in range(KINDS)]
    if role:
        rng.shuffle(weights)
    while True:
        [form] = rng.choices(forms, weights)
        for _ in range(rng.choice(runs)):
            yield (form % (rng.randrange(10**6), rng.randrange(1000))).encode()


def merged(voices: Sequence[Iterator[bytes]], count: int, rng: random.Random) -> list[Said]:
    """Lines of independent instances, about as many of each."""
    return [(1 + who, next(voices[who])) for who in rng.choices(range(len(voices)), k=count)]


def by_block(line: bytes) -> int:
    """Who says a line of HDFS if every block belongs to one instance."""
    found = BLOCK.search(line)
    return 1 + int(found[1]) % INSTANCES if found else 1


def streams(data: ModuleType, count: int) -> Iterator[Merged]:
    """Real lines and synthetic ones, of fifty instances each.

    HDFS comes in its own order, all lines of a block from one instance; each system is read by fifty instances on their own;
    in the last of the synthetic streams ten instances of fifty have a role of their own.
    """
    raw = {"HDFS": hdfs_normal(data, count)} | {name: system(data, name) for name in SYSTEMS}
    foreign = {name: [line for other in raw if other != name for line in raw[other][:ALIENS]] for name in raw}
    rng = random.Random(4)
    yield Merged("HDFS by block", [(by_block(line), line) for line in raw["HDFS"]], foreign["HDFS"])
    for name in SYSTEMS:
        voices = [pieces(raw[name], random.Random(f"{name}:{who}")) for who in range(INSTANCES)]
        yield Merged(name, merged(voices, count, rng), foreign[name])
    made = {
        "independent lines": [voice(random.Random(who)) for who in range(INSTANCES)],
        "bursty lines": [voice(random.Random(who), runs=(1, 1, 1, 2, 5, 20)) for who in range(INSTANCES)],
        "10 of 50 with roles": [voice(random.Random(who), role=who < ROLES) for who in range(INSTANCES)],
    }
    for name, voices in made.items():
        yield Merged(name, merged(voices, count, rng), foreign["HDFS"])


def faults(stream: Merged, forms: Sequence[int], position: int) -> dict[str, Fault]:
    """What becomes of the lines of the bad instance from a position on. Lines come from the stream's own past."""
    rng = random.Random(f"{stream.name}:{position}")
    past: dict[int, list[bytes]] = {}
    for number in range(max(0, position - PAST_EVENTS), position):
        past.setdefault(forms[number], []).append(stream.said[number][1])
    total = sum(map(len, past.values()))
    found: dict[str, Fault] = {"nothing": lambda line: line, "different foreign lines": lambda _: rng.choice(stream.aliens)}
    alien = rng.choice(stream.aliens)
    found["one foreign line"] = lambda _: alien
    usual = [lines for lines in past.values() if USUAL_SHARES[0] <= len(lines) / total <= USUAL_SHARES[1]]
    if usual:
        frozen = rng.choice(rng.choice(usual))
        found["frozen on a usual line"] = lambda _: frozen
    for low, high in RARE_SHARES:
        rare = [lines for lines in past.values() if low <= len(lines) / total < high]
        if rare:
            found[f"line of {low:.1%} to {high:.1%} x10"] = more_of(rng.choice(rare), total, rng)
    kinds, weights = list(past.values()), [len(lines) for lines in past.values()]
    rng.shuffle(weights)
    found["usual lines in other shares"] = lambda _: rng.choice(rng.choices(kinds, weights)[0])
    return found


def more_of(lines: Sequence[bytes], total: int, rng: random.Random) -> Fault:
    """A line of these instead, ten times as often as they came."""
    share = RARE_FACTOR * len(lines) / total
    return lambda line: rng.choice(lines) if rng.random() < share else line
