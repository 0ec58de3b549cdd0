"""Traces of a made-up shop, with faults put in at known times: what is usual, and which traces a fault touched.

Equal seeds give equal spans. The traffic has what makes traces hard to judge: optional branches and caches whose shares
drift, loops, a base error rate that comes in waves, queues whose consumers outlive the root, self times with a log-normal
body and a Pareto tail, services that slow down with the day's load, stop-the-world pauses of single instances. Spans are
drawn a block of traffic at a time in numpy, call by call of the shop's plan, callers before callees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.traces.shop import (
    CLIENT,
    CONSUMER,
    INSTANCES,
    INSTANCES_USUAL,
    INTERNAL,
    NETWORK_MS,
    NETWORK_SPREAD,
    PASS_ON,
    PRODUCER,
    QUEUE_MS,
    QUEUE_SPREAD,
    ROOTS,
    SERVER,
    SHOP,
    STORE_MS,
    TAIL_INDEX,
    TAIL_SHARE,
    Operation,
    Step,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Ids = NDArray[np.uint64]
Mask = NDArray[np.bool_]

DAY_S = 86_400.0
BLOCK_S = 60.0
FIRST_NS = 1_700_000_000 * 10**9
REPEATS_MAX = 16
ATTEMPTS_MAX = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong from `start_s` to `end_s` in a `share` of all traces.

    kind and place: "delay" an operation or service ("catalog/get", "catalog"), `size` ms more self time; "edge" a call
    ("cart>catalog/get"), `size` ms more between caller and callee; "error" an operation or service fails; "retry" an operation
    or service fails `size` times in a row and is called again; "missing" and "repeats" a call ("cart/add>catalog/get") that is
    not made, or made `size` times more; "dependency" an operation that also calls `extra`; "version" instance 0 of a service
    is `size` ms slower and fails in three of ten calls.
    """

    kind: str
    place: str
    start_s: float
    end_s: float
    share: float = 0.01
    size: float = 200.0
    extra: str = ""


class Spans(NamedTuple):
    """Columns of spans, by start; `operation` and `instance` index the shop's tables; parent 0 is none."""

    trace: Ids
    span: Ids
    parent: Ids
    operation: Integers
    error: Mask
    start_ns: Integers
    duration_ns: Integers
    instance: Integers


class Block(NamedTuple):
    """Spans of the traces that began in one block of time; of each trace its id, root operation and the fault touching it."""

    spans: Spans
    traces: Ids
    roots: Integers
    faults: Integers  # index of the fault, -1 none


class Span(NamedTuple):
    """One span, as an object."""

    trace: int
    span: int
    parent: int
    service: str
    operation: str
    kind: int
    error: bool
    start_ns: int
    duration_ns: int
    instance: str


def _mixed(numbers: Ids) -> Ids:
    """Numbers turned into ids that look random and never meet (the finaliser of SplitMix64, a bijection)."""
    found = numbers * np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


class _Table:
    """Names to numbers, in order of first use."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str, int]] = []
        self._numbers: dict[tuple[str, str, int], int] = {}

    def number(self, service: str, name: str, kind: int) -> int:
        key = (service, name, kind)
        if key not in self._numbers:
            self._numbers[key] = len(self.names)
            self.names.append(key)
        return self._numbers[key]


def _wander(rng: np.random.Generator, minutes: int, columns: int, sigma: float) -> Floats:
    """Logarithms of factors that wander by the minute, with a memory of about half an hour."""
    steps = rng.standard_normal((minutes, columns))
    for minute in range(1, minutes):
        steps[minute] = 0.97 * steps[minute - 1] + np.sqrt(1 - 0.97**2) * steps[minute]
    return sigma * steps


class Shop:
    """The shop's traffic for at most `hours`; `blocks` draws it. Tables of operations grow with what was drawn."""

    def __init__(
        self, seed: int, *, traces_per_second: float = 100.0, faults: Sequence[Fault] = (), hours: float = 24.0
    ) -> None:
        self.seed, self.rate, self.faults = seed, traces_per_second, tuple(faults)
        self.operations: list[tuple[str, str, int]] = []  # service, name, kind
        self._numbers: dict[tuple[str, str, int], int] = {}
        self.services = sorted({name.split("/")[0] for name in SHOP})
        self.counts = [INSTANCES.get(service, INSTANCES_USUAL) for service in self.services]
        self.instances = [f"{s}-{n}" for s, count in zip(self.services, self.counts, strict=True) for n in range(count)]
        self.firsts = np.cumsum([0, *self.counts[:-1]]).tolist()
        rng = np.random.default_rng((seed, 1))
        minutes = int(hours * 60) + 3
        self.load = _wander(rng, minutes, len(self.services), 0.12)
        self.trouble = _wander(rng, minutes, len(self.services), 0.4)
        self.shares = _wander(rng, minutes, len(SHOP), 0.35)
        self.pause_every = rng.uniform(40e3, 120e3, len(self.instances))
        self.pause_at = rng.uniform(0, 1, len(self.instances)) * self.pause_every
        self.pause_ms = rng.lognormal(np.log(40), 0.8, len(self.instances))

    def number(self, service: str, name: str, kind: int) -> int:
        """Number of an operation, given out at first use."""
        key = (service, name, kind)
        if key not in self._numbers:
            self._numbers[key] = len(self.operations)
            self.operations.append(key)
        return self._numbers[key]

    def wave(self, start_s: float) -> float:
        """The day's load: from .5 to 1.5 of the mean, the most in the afternoon."""
        return float(1.0 + 0.5 * np.sin(2 * np.pi * (start_s / DAY_S - 0.4)))

    def block(self, number: int, *, seconds: float = BLOCK_S) -> Block:
        """Traces that begin in the block `number` of `seconds`; each block can be drawn alone."""
        rng = np.random.default_rng((self.seed, 2, number))
        drawing = _Drawing(self, rng, number * seconds)
        names = list(ROOTS)
        counts = rng.poisson(np.array(list(ROOTS.values())) * self.rate * self.wave(number * seconds) * seconds)
        roots = rng.permutation(np.repeat(np.arange(len(names)), counts))
        starts = np.sort(rng.uniform(number * seconds, (number + 1) * seconds, len(roots))) * 1e3
        traces = _mixed(np.uint64((number + 1) << 32) + np.arange(len(roots), dtype=np.uint64))
        drawing.begin(traces, starts)
        numbers = np.zeros(len(names), np.int64)
        for root, name in enumerate(names):
            rows = np.flatnonzero(roots == root)
            service, short = name.split("/", 1)
            kind = SERVER if service == "gateway" else INTERNAL
            numbers[root] = self.number(service, short, kind)
            drawing.serve(name, kind, rows, np.zeros(len(rows), np.uint64), starts[rows])
        return Block(drawing.spans(), traces, numbers[roots], drawing.touched)

    def blocks(self, seconds: float, *, block_s: float = BLOCK_S) -> Iterator[Block]:
        """Blocks of traffic, one after the other from the start."""
        for number in range(round(seconds / block_s)):
            yield self.block(number, seconds=block_s)

    def objects(self, spans: Spans) -> Iterator[Span]:
        """The columns' spans one by one."""
        for trace, span, parent, operation, error, start, duration, instance in zip(*(c.tolist() for c in spans), strict=True):
            service, name, kind = self.operations[operation]
            yield Span(trace, span, parent, service, name, kind, error, start, duration, self.instances[instance])


class _Drawing:
    """One block while it is drawn. Times are ms from the shop's start; `rows` number the block's traces."""

    def __init__(self, shop: Shop, rng: np.random.Generator, start_s: float) -> None:
        self.shop, self.rng = shop, rng
        self.minute = int(start_s // 60)
        self.rush = 0.25 * (shop.wave(start_s) - 1.0)
        self.made = 0
        self.parts: list[tuple[NDArray[np.generic], ...]] = []

    def begin(self, traces: Ids, starts: Floats) -> None:
        """Take the block's traces and choose those that each fault may touch."""
        self.traces = traces
        self.touched = np.full(len(traces), -1)
        self.chosen = [
            (self.rng.random(len(traces)) < f.share) & (starts >= f.start_s * 1e3) & (starts < f.end_s * 1e3)
            for f in self.shop.faults
        ]

    def spans(self) -> Spans:
        """All spans drawn, by start."""
        trace, span, parent, operation, error, start, end, instance = (np.concatenate(c) for c in zip(*self.parts, strict=True))
        order = np.argsort(start, kind="stable")
        start_ns = (start[order] * 1e6).astype(np.int64)
        duration_ns = np.maximum((end[order] * 1e6).astype(np.int64) - start_ns, 1000)
        ids = (trace[order], span[order], parent[order])
        return Spans(*ids, operation[order], error[order], start_ns + FIRST_NS, duration_ns, instance[order])

    def serve(
        self, name: str, kind: int, rows: Integers, parents: Ids, starts: Floats, inside: Integers | None = None
    ) -> tuple[Floats, Mask]:
        """Runs of an operation, one a row, on `inside` or any instances: own time, calls, failure. Returns ends, failures."""
        if not len(rows):
            return starts, np.zeros(0, bool)
        service, short = name.split("/", 1)
        operation, place = SHOP[name], self.shop.services.index(service)
        instance = inside
        if instance is None:
            instance = self.shop.firsts[place] + self.rng.integers(0, self.shop.counts[place], len(rows))
        spans = self._ids(len(rows))
        own, failed = self._own(name, operation, place, rows, instance, starts)
        now, alive = starts + 0.3 * own, ~failed
        for index, step in enumerate(self._steps(name, operation)):
            share = self._share(name, index, step)
            going = np.flatnonzero(alive & (self.rng.random(len(rows)) < share) & self._made(name, step, rows))
            now[going], lost = self._repeat(name, step, rows[going], spans[going], now[going], instance[going])
            lost &= self.rng.random(len(going)) < PASS_ON
            failed[going[lost]] = True
            alive[going[lost]] = False
        ends = now + 0.7 * own
        self._keep(rows, spans, parents, self.shop.number(service, short, kind), failed, starts, ends, instance)
        return ends, failed

    def _ids(self, count: int) -> Ids:
        first = (self.minute + 1) * (1 << 34) + self.made
        self.made += count
        return _mixed(np.uint64(first) + np.arange(count, dtype=np.uint64))

    def _keep(
        self,
        rows: Integers,
        spans: Ids,
        parents: Ids,
        number: int,
        failed: Mask,
        starts: Floats,
        ends: Floats,
        instance: Integers,
    ) -> None:
        self.parts.append(
            (self.traces[rows], spans, parents, np.full(len(rows), number), failed.copy(), starts, ends, instance)
        )

    def _hit(self, kinds: Sequence[str], name: str, rows: Integers) -> Iterator[tuple[int, Fault, Mask]]:
        """Faults of these kinds at this place (an operation, its service, or a call) with the rows that each touches."""
        for index, fault in enumerate(self.shop.faults):
            if fault.kind in kinds and fault.place in (name, name.split("/")[0]):
                mask = self.chosen[index][rows]
                if mask.any():
                    yield index, fault, mask

    def _own(
        self, name: str, operation: Operation, place: int, rows: Integers, instance: Integers, starts: Floats
    ) -> tuple[Floats, Mask]:
        """Self times and own failures of an operation's runs."""
        factor = np.exp(self.shop.load[self.minute, place] + self.rush)
        own = self._times(operation.self_ms * factor, operation.spread, len(rows))
        since = (starts - self.shop.pause_at[instance]) % self.shop.pause_every[instance]
        own += np.maximum(self.shop.pause_ms[instance] - since, 0.0)
        rate = operation.error_rate * np.exp(self.shop.trouble[self.minute, place])
        failed = self.rng.random(len(rows)) < rate
        for index, fault, mask in self._hit(("delay", "error", "version"), name, rows):
            if fault.kind == "version":
                mask &= instance == self.shop.firsts[place]
            if fault.kind != "error":
                own[mask] += fault.size * self.rng.lognormal(0.0, 0.2, int(mask.sum()))
            if fault.kind != "delay":
                failed |= mask & (self.rng.random(len(rows)) < (1.0 if fault.kind == "error" else 0.3))
            self.touched[rows[mask]] = index
        return own, failed

    def _times(self, median: float, spread: float, count: int) -> Floats:
        times = median * self.rng.lognormal(0.0, spread, count)
        late = self.rng.random(count) < TAIL_SHARE
        times[late] = 3.0 * median * (1.0 + self.rng.pareto(TAIL_INDEX, int(late.sum())))
        return np.minimum(times, 3e4)

    def _steps(self, name: str, operation: Operation) -> tuple[Step, ...]:
        extra = [Step(f.extra) for f in self.shop.faults if f.kind == "dependency" and f.place == name]
        return (*operation.steps, *extra)

    def _share(self, name: str, index: int, step: Step) -> float:
        if not step.drifts:
            return step.share
        column = (list(SHOP).index(name) + index) % self.shop.shares.shape[1]
        odds = step.share / (1.0 - step.share) * np.exp(self.shop.shares[self.minute, column] + self.rush)
        return float(odds / (1.0 + odds))

    def _made(self, name: str, step: Step, rows: Integers) -> Mask:
        """Rows whose call is made as far as faults go: a missing one is not, an extra one only where its fault is."""
        made = np.ones(len(rows), bool)
        for index, _, mask in self._hit(("missing",), f"{name}>{step.callee}", rows):
            made &= ~mask
            self.touched[rows[mask]] = index
        for index, fault in enumerate(self.shop.faults):
            if fault.kind == "dependency" and fault.place == name and fault.extra == step.callee:
                made &= self.chosen[index][rows]
                self.touched[rows[made]] = index
        return made

    def _repeat(
        self, name: str, step: Step, rows: Integers, parents: Ids, starts: Floats, instance: Integers
    ) -> tuple[Floats, Mask]:
        """A step's calls, as often as it repeats, in turn or at once. Returns when the last ended and whether any failed."""
        times = np.ones(len(rows), np.int64)
        if step.repeats > 1:
            times = np.minimum(1 + self.rng.poisson(step.repeats - 1, len(rows)), REPEATS_MAX)
        for index, fault, mask in self._hit(("repeats",), f"{name}>{step.callee}", rows):
            times[mask] += int(fault.size)
            self.touched[rows[mask]] = index
        ends, failed = starts.copy(), np.zeros(len(rows), bool)
        for turn in range(int(times.max(initial=0))):
            going = np.flatnonzero((times > turn) & ~failed)
            begin = (starts if step.parallel else ends)[going]
            done, lost = self._call(name, step.callee, rows[going], parents[going], begin + 0.02 * turn, instance[going])
            ends[going] = np.maximum(ends[going], done)
            failed[going] = lost
        return ends, failed

    def _call(
        self, name: str, callee: str, rows: Integers, parents: Ids, starts: Floats, instance: Integers
    ) -> tuple[Floats, Mask]:
        """One call with its attempts. Returns when the last attempt ended, and whether it failed."""
        attempts = np.ones(len(rows), np.int64)
        for index, fault, mask in self._hit(("retry",), callee.split(">")[-1], rows):
            attempts[mask] += int(fault.size)
            self.touched[rows[mask]] = index
        ends, failed = starts.copy(), np.zeros(len(rows), bool)
        for turn in range(min(int(attempts.max(initial=0)), ATTEMPTS_MAX)):
            going = np.flatnonzero(attempts > turn)
            refused = attempts[going] > turn + 1
            parts = (rows[going], parents[going], ends[going] + 0.5 * turn, instance[going])
            ends[going], failed[going] = self._attempt(name, callee, parts, refused)
        return ends, failed

    def _attempt(
        self, name: str, callee: str, parts: tuple[Integers, Ids, Floats, Integers], refused: Mask
    ) -> tuple[Floats, Mask]:
        rows, parents, starts, instance = parts
        service = name.split("/")[0]
        way, _, target = callee.rpartition(">")
        if way == "internal":
            return self.serve(target, INTERNAL, rows, parents, starts, instance)
        spans = self._ids(len(rows))
        head, tail = target.split("/", 1)
        number = self.shop.number(service, target, PRODUCER if way else CLIENT)
        failed = refused.copy()
        if way == "queue":
            ends = starts + self._times(NETWORK_MS, NETWORK_SPREAD, len(rows))
            self._keep(rows, spans, parents, number, failed, starts, ends, instance)
            self.serve(target, CONSUMER, rows, spans, ends + self._times(QUEUE_MS, QUEUE_SPREAD, len(rows)))
            return ends, failed
        if head in STORE_MS:
            median, spread = STORE_MS[head]
            ends = starts + self._times(median, spread, len(rows))
            number = self.shop.number(service, f"{head} {tail}", CLIENT)
        else:
            away = self._times(NETWORK_MS, NETWORK_SPREAD, len(rows))
            for index, fault, mask in self._hit(("edge",), f"{name}>{callee}", rows):
                away[mask] += fault.size * self.rng.lognormal(0.0, 0.2, int(mask.sum()))
                self.touched[rows[mask]] = index
            back, lost = self.serve(target, SERVER, rows, spans, starts + 0.5 * away)
            ends, failed = back + 0.5 * away, failed | lost
        self._keep(rows, spans, parents, number, failed, starts, ends, instance)
        return ends, failed
