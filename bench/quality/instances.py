"""Protocol 4: a merged stream of fifty instances of which one goes bad, judged by windows of each instance's own.

Faults begin at known positions after the stream settled and last three windows of the bad instance (150 lines of its own, some
7,500 of the stream); found is an alarm on that instance before they are over, by the same p-values whose share of alarms on
the stream without faults is told beside. The reference looks at the same lines: the G-test of an instance's newest 150 lines
against those of all others, alarmed above the threshold that as many of its windows in the clean stream exceed as the level
says, which it therefore knows in advance.
"""

import random
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import log
from statistics import median
from types import ModuleType

from bench.quality.figures import Figure
from bench.quality.instance_faults import Merged, Said, faults, streams
from bench.quality.measures import alarm_bound, empirical_threshold, incident_sizes, wilson
from cbad_cy.codelength import Coder
from cbad_cy.instances import Instances
from cbad_cy.tokenize import mask_with_slots
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES

PROTOCOL = "4 one instance of 50"
WINDOW = PROFILES["balanced"].window_size
OWN_LINES = 3 * WINDOW
EVENTS = 60_000
SETTLED_EVENTS = 5000  # false alarms count from here
FIRST_FAULT = 16_000
ROOM_EVENTS = 9000  # for a fault at the end
POSITIONS = 60  # of every stream
LEVELS = (0.05, 0.0125, 0.0025)
GAP = 3  # windows of an instance: they share lines
LEVEL = 0.0125
BOUND_DRAWS = 2000


class Coded:
    """Lines to templates and bits, as a stream's own coder sees them."""

    def __init__(self, parts: bytes = b"", context: int = 0) -> None:
        self.coder, self.context = Coder(), context
        if parts:
            self.coder.restore(parts)

    def code(self, lines: Sequence[bytes]) -> "tuple[array[int], array[int]]":
        """(templates, costs)."""
        text, lengths = b"".join(lines), array("I", map(len, lines))
        masked = mask_with_slots(text, lengths, line_bytes_max=Limits().event_bytes_max)
        costs, found = self.coder.code(*masked, context=self.context, learn=True)
        self.context = found[-1] if found else self.context
        return found, costs


@dataclass(slots=True)
class GTest:
    """The reference: how far the templates of an instance's newest lines are from those of all others, in nats."""

    newest: dict[int, deque[int]] = field(default_factory=dict)
    taken: Counter[int] = field(default_factory=Counter)
    every: Counter[int] = field(default_factory=Counter)

    def take(self, who: int, form: int) -> float | None:
        """A score, higher = stranger, when the instance has said another window."""
        mine = self.newest.setdefault(who, deque())
        if len(mine) == OWN_LINES:
            self.every[mine.popleft()] -= 1
        mine.append(form)
        self.every[form] += 1
        self.taken[who] += 1
        if self.taken[who] % WINDOW or len(mine) < OWN_LINES:
            return None
        total = sum(map(len, self.newest.values()))
        return sum(n * log(n * total / (OWN_LINES * self.every[form])) for form, n in Counter(mine).items())

    def branch(self) -> "GTest":
        """One that goes on from here and leaves this one as it is."""
        newest = {who: deque(lines) for who, lines in self.newest.items()}
        return GTest(newest, Counter(self.taken), Counter(self.every))


OURS = "driftlock, bits of the coder"
OURS_PLAIN = "driftlock, no costs"
REFERENCE = "G-test, threshold known"
Scores = list[tuple[int, int, float]]
"""(line, instance, p-value, or minus the score of the reference) of every window."""


@dataclass(slots=True)
class Watch:
    """All detectors on one stream."""

    coded: Coded = field(default_factory=Coded)
    ours: dict[str, Instances] = field(default_factory=lambda: {it: Instances(window=WINDOW) for it in (OURS, OURS_PLAIN)})
    reference: GTest = field(default_factory=GTest)

    def feed(self, said: Sequence[Said]) -> tuple[dict[str, Scores], "array[int]"]:
        """What each detector says of the windows that these lines complete; and their templates."""
        who = array("Q", (instance for instance, _ in said))
        forms, costs = self.coded.code([line for _, line in said])
        found: dict[str, Scores] = {}
        for name, instances in self.ours.items():
            verdicts = instances.take_lines(who, forms, costs if name == OURS else array("I", bytes(4 * len(said))))
            found[name] = [(verdict.line, verdict.instance, verdict.p_value) for verdict in verdicts]
        scores = ((line, it, self.reference.take(it, form)) for line, (it, form) in enumerate(zip(who, forms, strict=True)))
        found[REFERENCE] = [(line, it, -score) for line, it, score in scores if score is not None]
        return found, forms

    def branches(self) -> Callable[[], "Watch"]:
        """What gives any number of watches that go on from here."""
        coder, context, reference = self.coded.coder.parts(), self.coded.context, self.reference.branch()
        parts = {name: instances.parts() for name, instances in self.ours.items()}

        def branch() -> Watch:
            watch = Watch(Coded(coder, context), reference=reference.branch())
            for name, instances in watch.ours.items():
                instances.restore(parts[name])
            return watch

        return branch


def walk(stream: Merged, positions: Sequence[int]) -> tuple[dict[str, Scores], dict[tuple[str, str], list[Scores]]]:
    """The windows of the stream without faults; and of the bad instance at each position, lines counted in its own."""
    watch, at, forms = Watch(), 0, array("Q")
    clean: dict[str, Scores] = {}
    bad: dict[tuple[str, str], list[Scores]] = {}
    for position in [*positions, len(stream.said)]:
        found, more = watch.feed(stream.said[at:position])
        for name, scores in found.items():
            clean.setdefault(name, []).extend((at + line, who, score) for line, who, score in scores)
        forms, at = forms + more, position
        if position == len(stream.said):
            break
        who = stream.said[position][0]
        own = [number for number in range(position, len(stream.said)) if stream.said[number][0] == who][:OWN_LINES]
        ahead, branches = stream.said[position : own[-1] + 1], watch.branches()
        for fault, change in faults(stream, forms, position).items():
            changed = [(it, change(line) if it == who else line) for it, line in ahead]
            for name, scores in branches().feed(changed)[0].items():
                mine = [(sum(number <= position + line for number in own), it, p) for line, it, p in scores if it == who]
                bad.setdefault((fault, name), []).append(mine)
    return clean, bad


def alarmed(scores: Scores, limit: float) -> list[list[bool]]:
    """Whether each window after the stream settled has an alarm, by instance."""
    windows: dict[int, list[bool]] = {}
    for line, who, score in scores:
        if line >= SETTLED_EVENTS:
            windows.setdefault(who, []).append(score <= limit)
    return list(windows.values())


def figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """Alarms on the streams as they are, and how many of the bad instances are found how soon."""
    alarms: dict[tuple[str, float], list[list[bool]]] = {}
    for stream in streams(data, EVENTS):
        rng = random.Random(stream.name)
        count = POSITIONS // 5 if quick else POSITIONS
        clean, bad = walk(stream, sorted(rng.sample(range(FIRST_FAULT, EVENTS - ROOM_EVENTS), count)))
        for name, level in product((OURS, OURS_PLAIN), LEVELS):
            parts = alarmed(clean[name], level)
            yield false_alarms(stream.name, name, level, parts)
            alarms.setdefault((name, level), []).extend(parts)
        settled = [-score for line, _, score in clean[REFERENCE] if line >= SETTLED_EVENTS]
        limits = {OURS: LEVEL, OURS_PLAIN: LEVEL, REFERENCE: -empirical_threshold(settled, LEVEL) - 1e-9}
        for (fault, name), sites in bad.items():
            first = [min((own for own, _, score in site if score <= limits[name]), default=0) for site in sites]
            share = sum(map(bool, first)) / len(first)
            about = (PROTOCOL, f"{fault}: found in {OWN_LINES} lines of its own at {LEVEL}", stream.name, name)
            yield Figure(*about, "found", share, *wilson(share, len(first)), len(first))
            yield Figure(*about, "own lines", median(filter(None, first)) if any(first) else float("nan"), count=len(first))
    for (name, level), parts in alarms.items():
        yield false_alarms("all of them", name, level, parts)


def false_alarms(data: str, name: str, level: float, parts: Sequence[Sequence[bool]]) -> Figure:
    """The share of windows alarmed, from the alarms of each instance."""
    windows, sizes = sum(map(len, parts)), [size for part in parts for size in incident_sizes(part, GAP)]
    bound = alarm_bound(sizes, windows, GAP, BOUND_DRAWS, seed=1)
    about = (PROTOCOL, "windows of an instance alarmed, with a 95 % upper bound", data, name)
    return Figure(*about, f"at {level}", sum(sizes) / windows, None, bound, windows)
