"""`python -m bench.codelength`: the statistical coder: events/s on one core, bytes of state, and power beside zstd.

Power: on HDFS lines of normal blocks, windows of 50 lines every 10; the threshold of each statistic is the value that one in
1,000 of the stream's own normal windows exceeds. At positions spread over the stream k lines of a window are replaced by
lines of other systems, or by lines that HDFS writes in anomalous blocks only; recall is the share of windows above the
threshold. S: sum of bits; M3: sum of the three dearest events; zstd: C(W given B) of the window kernel; zstd share: that by
C(W). `lasting` puts the same foreign lines into twenty windows that share no line; recall is the share of the twenty.

Policies of learning: `at once`; `leaving`: an event is learned when it leaves the window; `waiting`: likewise, but events of
windows above the threshold `ADOPTED_EVENTS` later; `unflagged`: likewise, but those never. The row without foreign lines is
the share of all normal windows above the threshold when the policy has acted on it: one in 1,000 if it does no harm.
"""

import random
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from statistics import fmean

from bench.data import loaders
from bench.report import report
from cbad_cy.codec import Codec, Prepared
from cbad_cy.codelength import BIT, BYTES_MAX, Coder
from cbad_cy.tokenize import mask, mask_with_slots
from driftlock.engine.fresh import new_slide
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES, custom

BATCH_EVENTS = 1000
ROUNDS = 5
SPEED_EVENTS = 100_000
WINDOW, HOP = 50, 10
SETTLED_EVENTS = 5000
ALARMS_PER_WINDOW = 1 / 1000
POSITIONS = 150
FOREIGN = (1, 2, 5, 10)
LASTING_WINDOWS, LASTING_LINES = 20, 3
SYSTEMS = ("BGL", "OpenSSH", "Apache", "Linux", "Thunderbird")
POLICIES = ("at once", "leaving", "waiting", "unflagged")
ADOPTED_EVENTS = 1000
SEED = 2026

Event = tuple[bytes, list[int]]
Columns = tuple[bytes, "array[int]", "array[int]", "array[int]"]


def columns(events: Sequence[Event]) -> Columns:
    """Events as the coder takes them."""
    return (
        b"".join(line for line, _ in events),
        array("I", (len(line) for line, _ in events)),
        array("Q", (slot for _, slots in events for slot in slots)),
        array("B", (len(slots) for _, slots in events)),
    )


def masked(lines: Sequence[bytes]) -> list[Event]:
    """Masked lines with their slots."""
    text, lengths, slots, counts = mask_with_slots(b"".join(lines), array("I", map(len, lines)), line_bytes_max=4096)
    ends, lasts = list(accumulate(lengths)), list(accumulate(counts))
    return [
        (text[end - length : end], list(slots[last - count : last]))
        for end, length, last, count in zip(ends, lengths, lasts, counts, strict=True)
    ]


def best_us(work: Callable[[], object], events: int) -> float:
    """Microseconds an event, best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return 1e6 * best / events


def speed_row(lines: Sequence[bytes]) -> dict[str, object]:
    """What masking, slots, cost and learning take, and what the coder then keeps."""
    parts = [lines[start : start + BATCH_EVENTS] for start in range(0, len(lines), BATCH_EVENTS)]
    batches = [(b"".join(part), array("I", map(len, part))) for part in parts]
    kept = [mask_with_slots(*batch, line_bytes_max=4096) for batch in batches]

    def code(learn: bool) -> Coder:
        coder, context = Coder(), 0
        for part in kept:
            _, templates = coder.code(*part, context=context, learn=learn)
            context = templates[-1]
        return coder

    def whole() -> None:
        coder, context = Coder(), 0
        for batch in batches:
            _, templates = coder.code(*mask_with_slots(*batch, line_bytes_max=4096), context=context, learn=True)
            context = templates[-1]

    after = code(True)
    return {
        "bytes a line": fmean(map(len, lines)),
        "mask us": best_us(lambda: [mask(*batch, line_bytes_max=4096) for batch in batches], len(lines)),
        "mask, slots us": best_us(lambda: [mask_with_slots(*batch, line_bytes_max=4096) for batch in batches], len(lines)),
        "cost, learn us": best_us(lambda: code(True), len(lines)),
        "all /s": 1e6 / best_us(whole, len(lines)),
        "table bytes": after.size,
        "state bytes": len(after.parts()),
        "bound": BYTES_MAX,
    }


@dataclass
class Held:
    """An event in the window, or waiting to be learned: the template before it, its cost, whether a window with it alarmed."""

    event: Event
    context: int
    cost: int
    flagged: bool = False


@dataclass
class Fold:
    """A stream's coder and the window, hop by hop. `limit`: (S, M3) above which a window alarms."""

    policy: str
    limit: tuple[float, float] = (float("inf"), float("inf"))
    coder: Coder = field(default_factory=Coder)
    context: int = 0
    events: int = 0
    window: deque[Held] = field(default_factory=deque)
    waiting: deque[tuple[int, Held]] = field(default_factory=deque)  # when to learn it, in events

    def copy(self) -> "Fold":
        """The same state, to try something else on."""
        window = deque(replace(held) for held in self.window)
        other = Fold(self.policy, self.limit, Coder(), self.context, self.events, window, deque(self.waiting))
        other.coder.restore(self.coder.parts())
        return other

    def take(self, events: Sequence[Event]) -> tuple[float, float]:
        """Take a hop in; -> S and M3 of the window, bits."""
        costs, templates = self.coder.code(*columns(events), context=self.context, learn=self.policy == "at once")
        for event, cost, template in zip(events, costs, templates, strict=True):
            self.window.append(Held(event, self.context, cost))
            self.context = template
        self.events += len(events)
        self.let_go([self.window.popleft() for _ in range(len(self.window) - WINDOW)])
        bits = sorted(held.cost for held in self.window)
        found = sum(bits) / BIT, sum(bits[-3:]) / BIT
        if found[0] > self.limit[0] or found[1] > self.limit[1]:
            for held in self.window:
                held.flagged = True
        return found

    def let_go(self, leaving: Sequence[Held]) -> None:
        """Learn what the policy lets learn."""
        if self.policy == "at once":
            return
        learned = [held for held in leaving if not held.flagged or self.policy == "leaving"]
        if self.policy == "waiting":
            self.waiting.extend((self.events + ADOPTED_EVENTS, held) for held in leaving if held.flagged)
            while self.waiting and self.waiting[0][0] <= self.events:
                learned.append(self.waiting.popleft()[1])
        self.coder.learn_lines(*columns([held.event for held in learned]), array("Q", (held.context for held in learned)))


def dictionaries(events: Sequence[Event], positions: Sequence[int]) -> tuple[list[tuple[int, float]], dict[int, Prepared]]:
    """C(W given B), also by C(W), of the normal windows, and the dictionary in force at each position."""
    slide = new_slide(custom(PROFILES["balanced"], {"codec": "zstd"}), Limits())
    codec, sizes, found = Codec("zstd"), [], {}
    wanted = set(positions)
    lines = [line for line, _ in events]
    slide.feed(b"".join(lines), array("I", map(len, lines)))
    while (window := slide.advance(codec, distance_threshold=2.0, p_value_threshold=0.0, watch=True)) is not None:
        if window.end > SETTLED_EVENTS:
            sizes.append((window.given, window.given / window.plain))
        if window.end in wanted:
            found[window.end] = slide.prepared
    return sizes, found


def exceeded(values: Sequence[float]) -> float:
    """The value that one in 1,000 exceeds."""
    return sorted(values)[-1 - int(len(values) * ALARMS_PER_WINDOW)]


def replaced(window: Sequence[Event], foreign: Sequence[Event], rng: random.Random) -> list[Event]:
    """The window with foreign lines at random places."""
    changed = list(window)
    for place, event in zip(rng.sample(range(len(window)), len(foreign)), foreign, strict=True):
        changed[place] = event
    return changed


@dataclass(frozen=True, slots=True)
class Trial:
    """One window with foreign lines, the position behind which it stands, and what it is an example of."""

    position: int
    source: str
    kind: str
    foreign: int
    window: list[Event]


NOBODY = Trial(0, "none", "", 0, [])


def trials(events: Sequence[Event], positions: Sequence[int], sources: dict[str, list[list[Event]]]) -> list[Trial]:
    """For each position, source and k: identical and different foreign lines; `lasting` uses identical ones."""
    rng, found = random.Random(SEED), []
    for position in positions:
        window = events[position : position + WINDOW]
        for source, systems in sources.items():
            system = rng.choice(systems)
            one = rng.choice(system)
            for k in FOREIGN:
                found.append(Trial(position, source, "identical", k, replaced(window, [one] * k, rng)))
                several = rng.choices(system, k=k)
                found.append(Trial(position, source, "different", k, replaced(window, several, rng)))
            lasting = list(events[position : position + LASTING_WINDOWS * WINDOW])
            for start in range(0, len(lasting), WINDOW):
                lasting[start : start + WINDOW] = replaced(lasting[start : start + WINDOW], [one] * LASTING_LINES, rng)
            found.append(Trial(position, source, "lasting", LASTING_LINES, lasting))
    return found


def judged(fold: Fold, trial: Trial) -> tuple[float, float]:
    """Shares of the trial's windows, taken one after another, whose S and M3 are above the limits."""
    other = fold.copy()
    hits = []
    for start in range(0, len(trial.window), HOP):
        bits, dearest = other.take(trial.window[start : start + HOP])
        if (start + HOP) % WINDOW == 0:
            hits.append((bits > fold.limit[0], dearest > fold.limit[1]))
    return fmean(hit for hit, _ in hits), fmean(hit for _, hit in hits)


def coder_hits(events: Sequence[Event], tried: Sequence[Trial], policy: str) -> Iterator[tuple[Trial, float, float]]:
    """Two passes: the first for the limits, the second, with them in force, for the trials."""
    fold, seen = Fold(policy), []  # without flags
    for start in range(0, len(events) - HOP + 1, HOP):
        found = fold.take(events[start : start + HOP])
        if start >= SETTLED_EVENTS:
            seen.append(found)
    fold, normal = Fold(policy, (exceeded([bits for bits, _ in seen]), exceeded([dearest for _, dearest in seen]))), []
    by_position: dict[int, list[Trial]] = {}
    for trial in tried:
        by_position.setdefault(trial.position, []).append(trial)
    for start in range(0, len(events) - HOP + 1, HOP):
        for trial in by_position.get(start, ()):
            yield trial, *judged(fold, trial)
        bits, dearest = fold.take(events[start : start + HOP])
        if start >= SETTLED_EVENTS:
            normal.append((bits > fold.limit[0], dearest > fold.limit[1]))
    yield NOBODY, fmean(hit for hit, _ in normal), fmean(hit for _, hit in normal)


def zstd_hits(
    events: Sequence[Event], tried: Sequence[Trial], positions: Sequence[int]
) -> Iterator[tuple[Trial, float, float]]:
    """The same by C(W given B) and by its share in C(W); a lasting trial is judged by its first dictionary."""
    sizes, known = dictionaries(events, positions)
    codec = Codec("zstd")
    limit = exceeded([given for given, _ in sizes]), exceeded([share for _, share in sizes])
    for trial in tried:
        found = []
        for start in range(0, len(trial.window), WINDOW):
            text = b"\n".join(line for line, _ in trial.window[start : start + WINDOW])
            given = codec.size_given(text, known[trial.position])
            found.append((given > limit[0], given / codec.size(text) > limit[1]))
        yield trial, fmean(size for size, _ in found), fmean(share for _, share in found)
    yield NOBODY, fmean(given > limit[0] for given, _ in sizes), fmean(share > limit[1] for _, share in sizes)


def power_rows(events: Sequence[Event], sources: dict[str, list[list[Event]]]) -> list[dict[str, object]]:
    """Recall by source, kind and k."""
    step = (len(events) - 2 * SETTLED_EVENTS - LASTING_WINDOWS * WINDOW) // POSITIONS // HOP * HOP
    positions = range(2 * SETTLED_EVENTS, 2 * SETTLED_EVENTS + POSITIONS * step, step)
    tried = trials(events, positions, sources)
    hits: dict[tuple[str, str, int], dict[str, list[float]]] = {}

    def note(trial: Trial, name: str, share: float) -> None:
        hits.setdefault((trial.source, trial.kind, trial.foreign), {}).setdefault(name, []).append(share)

    for policy in POLICIES:
        for trial, bits, dearest in coder_hits(events, tried, policy):
            note(trial, f"S {policy}", bits)
            note(trial, f"M3 {policy}", dearest)
    for trial, size, share in zstd_hits(events, tried, positions):
        note(trial, "zstd", size)
        note(trial, "zstd share", share)
    return [
        {"foreign lines": source, "kind": kind, "k": k} | {name: fmean(shares) for name, shares in found.items()}
        for (source, kind, k), found in hits.items()
    ]


def main() -> None:
    """Run and report."""
    data = loaders()
    lines = [(text.encode(), label) for _, text, label, _ in data.hdfs_lines()]
    report("codelength", "statistical coder, HDFS lines, one core", [speed_row([text for text, _ in lines[:SPEED_EVENTS]])])
    normal = masked([text for text, label in lines if not label])
    forms = {line for line, _ in normal}
    rare = [event for event in masked([text for text, label in lines if label]) if event[0] not in forms]
    sources = {
        "other systems": [masked([text.encode() for _, text, _, _ in data.loghub(system)]) for system in SYSTEMS],
        "HDFS, anomalous blocks": [rare],
    }
    report("codelength-power", f"recall at one alarm in 1,000 windows, {POSITIONS} windows", power_rows(normal, sources))


if __name__ == "__main__":
    main()
