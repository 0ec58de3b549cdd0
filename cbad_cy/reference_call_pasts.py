"""Of the oracle reference_calls.py: traces, and what is known of calls, by names instead of places."""

from array import array
from dataclasses import dataclass, field
from itertools import accumulate

from cbad_cy.calls import PATH_MAX
from cbad_cy.reference_call_rule import BINS, Histogram, Monitor, Rates, Rule, Seen, Voice, seconds_at
from cbad_cy.traces import Closed

CLIENT, PRODUCER, ERROR = 3, 4, 8
LAPSE_NS = 180 * 10**9
"""After so long what was odd is forgotten."""

OddCall = tuple[str, int, int, int, int, float, float, float]
SeenRow = tuple[bytes, int, int, int, int, tuple[int, ...], bool]


class Past:
    """How long an operation takes by itself, or a call on its way."""

    def __init__(self, operation: int, callee: int, service: int, callee_service: int) -> None:
        self.operation, self.callee, self.service, self.callee_service = operation, callee, service, callee_service
        self.histogram, self.monitor, self.sender = Histogram(), Monitor(), Voice()
        self.local, self.local_s, self.took = 0.0, 0.0, [0.0] * 8
        self.told_ns = 0
        self.examples: list[Seen] = []

    def count(self, at: float, hits: list[bool]) -> None:
        """A call: where its duration is among the bins."""
        monitor = self.monitor
        for k in (k for k in range(8) if hits[k] and (monitor.sums[k] > 0 or (monitor.alarmed and monitor.hot > 0))):
            self.took[k] = seconds_at(at) + (self.took[k] if monitor.affected[k] > 1 else 0.0)

    def numbers(self, now_ns: int) -> "Odd":
        """Since it began."""
        k, counts = self.monitor.told, counts_of(self.monitor, now_ns)
        usual, since = self.histogram.median(), self.monitor.since_ns[k]
        at = sorted(it.at for it in self.examples if it.seen_ns >= since and now_ns - it.seen_ns <= LAPSE_NS)
        if self.monitor.sums[k] > 0 and self.monitor.affected[k]:
            value = self.took[k] / self.monitor.affected[k]
        else:
            value = seconds_at(at[(len(at) - 1) // 2]) if at else usual
        names = (self.operation, self.callee) if self.callee else (0, self.operation)
        return Odd(("gap" if self.callee else "self_time"), *names, *counts, value, usual, max(self.monitor.sums))


class Failures:
    """How often an operation fails without anything that it called failing."""

    def __init__(self, operation: int, service: int, rule: Rule) -> None:
        self.operation, self.service = operation, service
        self.rates, self.monitor, self.sender, self.callee = Rates(rule), Monitor(1), Voice(), Voice()
        self.told_ns = 0
        self.examples: list[Seen] = []

    def numbers(self, now_ns: int) -> "Odd":
        """Since it began."""
        since, calls, affected = counts_of(self.monitor, now_ns)
        share, usual = affected / calls if calls else 0.0, self.rates.usual
        return Odd("errors", 0, self.operation, since, calls, affected, share, usual, max(self.monitor.sums))


def counts_of(monitor: Monitor, now_ns: int) -> tuple[int, int, int]:
    """Since when, calls and affected calls; none where nothing is odd."""
    k = monitor.told
    return (monitor.since_ns[k], *monitor.since(k)) if monitor.sums[k] > 0 else (now_ns, 0, 0)


@dataclass(frozen=True)
class Odd:
    """Numbers of an odd call, as `Judgement.calls_more` has them."""

    measure: str
    caller: int
    operation: int
    since_ns: int
    calls: int
    affected: int
    value: float
    usual: float
    bits: float

    def row(self) -> OddCall:
        """As judgements have it."""
        return self.measure, self.caller, self.operation, self.calls, self.affected, self.value, self.usual, self.bits


@dataclass
class Pools:
    """Monitors of all calls of a service, or of an instance of it."""

    own: Monitor = field(default_factory=Monitor)
    called: Monitor = field(default_factory=Monitor)
    failing: Monitor = field(default_factory=lambda: Monitor(1))
    past: list[int] = field(default_factory=lambda: [0, 0])
    fresh: list[int] = field(default_factory=lambda: [0, 0])
    weight: float = 0.0
    shares: float = 0.0
    shares_s: float = 0.0

    def count(self, failed: bool) -> None:
        """A call; while failures are being looked at it is set aside."""
        self.fresh = [self.fresh[0] + 1, self.fresh[1] + failed]
        if self.failing.hot == 0:
            self.past, self.fresh = [self.past[0] + self.fresh[0], self.past[1] + self.fresh[1]], [0, 0]
            if self.past[0] > 16384:
                raise NotImplementedError

    @property
    def usual(self) -> float:
        """The share of calls that failed before."""
        return self.past[1] / self.past[0] if self.past[0] else 0.0


@dataclass
class Edge:
    """Calls from one service to another."""

    first_ns: int
    last_ns: int = 0
    calls: int = 0
    errors: int = 0
    bins: "array[float]" = field(default_factory=lambda: array("f", [0.0] * BINS))
    weight: float = 0.0

    def quantile(self, share: float) -> float:
        """The duration in s that so much of the newest calls does not reach."""
        wanted, above = (1.0 - share) * self.weight, 0.0
        for place in reversed(range(BINS)):
            if self.bins[place] > 0 and above + self.bins[place] >= wanted:
                return seconds_at(place + 1.0 - (wanted - above) / self.bins[place])
            above += self.bins[place]
        return 0.0


@dataclass(frozen=True)
class Span:
    """A span of a closed trace; times in ns; `service` is that of its operation."""

    operation: int
    service: int
    parent: int
    kind: int
    error: bool
    start: int
    duration: int
    self_ns: int
    instance: int


@dataclass
class Trace:
    """A closed trace."""

    id: bytes
    marks: int
    start: int
    end: int
    closed: int
    spans: list[Span]

    def below(self, place: int) -> list[int]:
        """Its children."""
        return [number for number, span in enumerate(self.spans) if span.parent == place]

    def foreign(self, place: int) -> int:
        """The first child in another service, -1 = none."""
        return next((k for k in self.below(place) if self.spans[k].service != self.spans[place].service), -1)

    def path(self, place: int) -> tuple[int, ...]:
        """Operations from a root to a span, without the middle of many."""
        found: list[int] = []
        while place >= 0:
            found.insert(0, self.spans[place].operation)
            place = self.spans[place].parent
        return tuple(found if len(found) <= PATH_MAX else found[: PATH_MAX // 2] + found[-PATH_MAX // 2 :])

    def own_ns(self, place: int) -> int:
        """What a span took by itself; a leaf that is no call: without what siblings after it cover of it."""
        span = self.spans[place]
        if span.parent < 0 or self.below(place) or span.kind in {CLIENT, PRODUCER}:
            return span.self_ns
        reached, until, covered = span.start, span.start + span.duration, 0
        for k in [k for k in self.below(span.parent) if k > place][:8]:
            other = self.spans[k]
            if other.start >= until:
                break
            end = min(other.start + other.duration, until)
            if end > reached:
                covered += end - max(reached, other.start)
                reached = end
        return max(0, span.self_ns - covered)


def traces_of(closed: Closed, services: "array[int]") -> list[Trace]:
    """The columns as traces."""
    spans = [
        Span(it[0], services[it[0]], it[1], it[2] & 7, bool(it[2] & ERROR), *it[3:])
        for it in zip(
            closed.operations,
            closed.parents,
            closed.span_marks,
            closed.span_starts_ns,
            closed.durations_ns,
            closed.self_ns,
            closed.instances,
            strict=True,
        )
    ]
    ends = list(accumulate(closed.sizes))
    return [
        Trace(
            closed.trace_ids[16 * k : 16 * k + 16],
            closed.marks[k],
            closed.starts_ns[k],
            closed.ends_ns[k],
            closed.closed_ns[k],
            spans[end - closed.sizes[k] : end],
        )
        for k, end in enumerate(ends)
    ]
