"""Oracle of traces put together from spans: dictionaries and lists, one span after another.

Tests compare; nothing else imports this. It looks for what is due among all open traces, tells ids apart by their bytes, and
has no parts.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cbad_cy.traces import (
    CLOSED_EARLY,
    CLOSED_MAX,
    DUPLICATES,
    LATE_NS,
    NO_ROOT,
    SKEW_REPAIRED,
    SPANS_CUT,
    TIME_MOST_NS,
    TRACE_SPANS_MAX,
    VIRTUAL_ROOT,
    trace_bytes,
)

CONSUMER = 5
NO_SPAN = bytes(8)


@dataclass(frozen=True)
class RawSpan:
    """A span as it comes; `parent` is zeros for a root."""

    trace: bytes
    id: bytes
    parent: bytes = NO_SPAN
    operation: int = 1
    mark: int = 1
    start_ns: int = 0
    duration_ns: int = 0
    instance: int = 0


@dataclass(frozen=True)
class SpanRow:
    """A span of a closed trace, as the columns tell it; `parent` is the place of another in the trace, or -1."""

    operation: int
    parent: int
    id: bytes
    mark: int
    start_ns: int
    duration_ns: int
    self_ns: int
    instance: int


@dataclass(frozen=True)
class ClosedTrace:
    """A closed trace, as the columns tell it."""

    trace: bytes
    marks: int
    start_ns: int
    end_ns: int
    closed_ns: int
    spans: tuple[SpanRow, ...]


def cut_times(span: RawSpan) -> RawSpan:
    """The span with its times cut at TIME_MOST_NS."""
    return RawSpan(
        span.trace,
        span.id,
        span.parent,
        span.operation,
        span.mark,
        min(span.start_ns, TIME_MOST_NS),
        min(span.duration_ns, TIME_MOST_NS),
        span.instance,
    )


class Tree:
    """The spans of a trace, each known by its place in the order of arrival."""

    def __init__(self, spans: list[RawSpan]) -> None:
        self.spans = spans
        self.at = [span.start_ns for span in spans]
        known = {span.id: place for place, span in enumerate(spans) if span.id != NO_SPAN}
        self.parents: list[int | None] = [
            None if known.get(span.parent, place) == place else known[span.parent] for place, span in enumerate(spans)
        ]
        for circle in self.circles():
            self.parents[min(circle, key=self.rank)] = None
        self.skewed = False
        for place in self.below(None, self.rank):
            self.repair(place)

    def rank(self, place: int) -> tuple[int, int, bytes, int, bytes, int, int, int]:
        """What siblings are ordered by."""
        span = self.spans[place]
        return (
            self.at[place],
            span.operation,
            span.id,
            span.duration_ns,
            span.parent,
            span.instance,
            span.mark,
            span.start_ns,
        )

    def circles(self) -> list[list[int]]:
        """Places of spans that are their own ancestors, circle by circle."""
        found: list[list[int]] = []
        for place in range(len(self.spans)):
            path: list[int] = []
            at: int | None = place
            while at is not None and at not in path and not any(at in circle for circle in found):
                path.append(at)
                at = self.parents[at]
            if at is not None and at in path:
                found.append(path[path.index(at) :])
        return found

    def children(self, place: int | None, rank: Callable[[int], object]) -> list[int]:
        """Children in order; of None the roots, true ones first."""
        found = [child for child, parent in enumerate(self.parents) if parent == place]
        return sorted(found, key=lambda child: (place is None and self.spans[child].parent != NO_SPAN, rank(child)))

    def below(self, place: int | None, rank: Callable[[int], object]) -> Iterable[int]:
        """All that is below a span, in preorder."""
        waiting = self.children(place, rank)[::-1]
        while waiting:
            yield (child := waiting.pop())
            waiting += self.children(child, rank)[::-1]

    def repair(self, place: int) -> None:
        """Move a span into its parent, which has its final place already."""
        parent, span = self.parents[place], self.spans[place]
        if parent is None:
            return
        begin, around = self.at[parent], self.spans[parent]
        end = begin + around.duration_ns
        asked = at = span.start_ns + begin - around.start_ns
        if span.mark & 7 != CONSUMER:
            if span.duration_ns <= around.duration_ns:
                at = max(begin, min(at, end - span.duration_ns))
            elif not begin <= at <= end:
                at = begin
        self.skewed |= at != asked
        self.at[place] = max(0, min(at, TIME_MOST_NS))

    def self_ns(self, place: int) -> int:
        """The duration without what children cover: between each two neighbouring edges, whether any child is there."""
        begin, end = self.at[place], self.at[place] + self.spans[place].duration_ns
        inner = [(self.at[child], self.at[child] + self.spans[child].duration_ns) for child in self.children(place, self.rank)]
        edges = sorted({begin, end, *(edge for pair in inner for edge in pair if begin < edge < end)})
        covered = (b - a for a, b in itertools.pairwise(edges) if any(s <= a and b <= e for s, e in inner))
        return end - begin - sum(covered)

    def told(self, trace: bytes, marks: int, closed_ns: int) -> ClosedTrace:
        """What is told of it."""
        order = list(self.below(None, self.rank))
        new = {place: number for number, place in enumerate(order)}
        rows = []
        for place in order:
            span, parent = self.spans[place], self.parents[place]
            rows.append(
                SpanRow(
                    span.operation,
                    -1 if parent is None else new[parent],
                    span.id,
                    span.mark,
                    span.start_ns,
                    span.duration_ns,
                    self.self_ns(place),
                    span.instance,
                )
            )
        if all(span.parent != NO_SPAN for span in self.spans):
            marks |= NO_ROOT
        if any(parent is None and span.parent != NO_SPAN for parent, span in zip(self.parents, self.spans, strict=True)):
            marks |= VIRTUAL_ROOT
        if self.skewed:
            marks |= SKEW_REPAIRED
        ends = [at + span.duration_ns for at, span in zip(self.at, self.spans, strict=True)]
        return ClosedTrace(trace, marks, min(self.at), max(ends), closed_ns, tuple(rows))


@dataclass
class OpenTrace:
    """Spans of a trace in the order of arrival."""

    number: int
    last_ns: int
    changed: int = 0
    root_ns: int | None = None
    marks: int = 0
    spans: list[RawSpan] = field(default_factory=list)


@dataclass
class ReferenceTraces:
    """What `cbad_cy.traces.TraceTable` does."""

    traces_max: int
    bytes_max: int
    idle_ns: int
    linger_ns: int
    trace_spans_max: int = TRACE_SPANS_MAX
    late_ns: int = LATE_NS
    closed_max: int = CLOSED_MAX
    now_ns: int = field(default=0, init=False)
    duplicates: int = field(default=0, init=False)
    late: int = field(default=0, init=False)
    cut: int = field(default=0, init=False)
    without_trace: int = field(default=0, init=False)
    overflowed: int = field(default=0, init=False)
    fed: int = field(default=0, init=False)
    opened: int = field(default=0, init=False)
    traces: dict[bytes, OpenTrace] = field(default_factory=dict, init=False)
    gone: dict[bytes, int] = field(default_factory=dict, init=False)

    def due_ns(self, trace: bytes) -> int:
        """When it closes, if no further span comes."""
        it = self.traces[trace]
        idle = it.last_ns + self.idle_ns
        return idle if it.root_ns is None else min(idle, it.root_ns + self.linger_ns)

    def next_due_ns(self) -> int:
        """When the next one closes; 0 = none is open."""
        return min(map(self.due_ns, self.traces), default=0)

    def close(self, trace: bytes, closed_ns: int, marks: int = 0) -> ClosedTrace:
        """Forget an open trace, remember that it closed; -> what it was."""
        it = self.traces.pop(trace)
        if len(self.gone) == self.closed_max:
            del self.gone[next(iter(self.gone))]
        self.gone[trace] = closed_ns
        self.overflowed += marks == CLOSED_EARLY
        return Tree(it.spans).told(trace, it.marks | marks, closed_ns)

    def pass_time(self, now_ns: int) -> list[ClosedTrace]:
        """Close what is due."""
        self.now_ns = max(self.now_ns, min(now_ns, TIME_MOST_NS))
        due = sorted((self.due_ns(trace), it.number, trace) for trace, it in self.traces.items())
        found = [self.close(trace, due_ns) for due_ns, _, trace in due if due_ns <= self.now_ns]
        self.forget()
        return found

    def forget(self) -> None:
        """Forget what closed long ago."""
        self.gone = {trace: closed_ns for trace, closed_ns in self.gone.items() if closed_ns + self.late_ns > self.now_ns}

    def flush(self) -> list[ClosedTrace]:
        """Close all in the order of their first spans."""
        found = [self.close(trace, self.now_ns) for trace in list(self.traces)]
        self.forget()
        return found

    def bytes(self) -> int:
        """What open traces count."""
        return sum(trace_bytes(len(it.spans)) for it in self.traces.values())

    def room(self, bytes_more: int, traces_more: int, kept: int) -> list[ClosedTrace]:
        """Close what changed least lately, but not what changed as the `kept`-th, until there is room."""
        found = []
        while self.bytes() + bytes_more > self.bytes_max or len(self.traces) + traces_more > self.traces_max:
            waiting = [(it.changed, trace) for trace, it in self.traces.items() if it.changed != kept]
            if not waiting:
                break
            found.append(self.close(min(waiting)[1], self.now_ns, CLOSED_EARLY))
        return found

    def take(self, raw: RawSpan, now_ns: int) -> list[ClosedTrace]:
        """Take a span; -> what closed before and because of it."""
        span = cut_times(raw)
        found = self.pass_time(now_ns)
        self.fed += 1
        if span.trace == bytes(16):
            self.without_trace += 1
            return found
        if span.trace not in self.traces:
            if span.trace in self.gone:
                self.late += 1
                return found
            found += self.room(trace_bytes(1), 1, -1)
            self.traces[span.trace] = OpenTrace(self.opened, self.now_ns)
            self.opened += 1
        it = self.traces[span.trace]
        if span.id != NO_SPAN and any(other.id == span.id for other in it.spans):
            self.duplicates += 1
            it.marks |= DUPLICATES
            return found
        kept_for_root = span.parent != NO_SPAN and it.root_ns is None
        if len(it.spans) + kept_for_root >= self.trace_spans_max:
            self.cut += 1
            it.marks |= SPANS_CUT
            return found
        it.changed, it.last_ns = self.fed, self.now_ns
        if it.spans:
            found += self.room(trace_bytes(len(it.spans) + 1) - trace_bytes(len(it.spans)), 0, it.changed)
        it.spans.append(span)
        if span.parent == NO_SPAN:
            seen_ns = max(min(span.start_ns + span.duration_ns, TIME_MOST_NS), self.now_ns)
            it.root_ns = max(it.root_ns or 0, seen_ns)
        return found
