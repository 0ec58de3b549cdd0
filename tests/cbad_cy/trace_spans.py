"""Spans for the tests of `cbad_cy.traces`, as rows and as columns, and closed traces as rows."""

import itertools
from array import array
from collections.abc import Sequence

from cbad_cy.reference_traces import ClosedTrace, RawSpan, SpanRow
from cbad_cy.traces import Closed, TraceTable

MS = 10**6
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


def table(**changes: int) -> TraceTable:
    """A table with room, in which traces idle for 1000 ms and linger for 100 ms."""
    settings = {"traces_max": 1000, "bytes_max": 1 << 24, "idle_ns": 1000 * MS, "linger_ns": 100 * MS} | changes
    return TraceTable(**settings)


def span(
    name: int,
    parent: int = 0,
    start: float = 0,
    duration: float = 0,
    *,
    trace: int = 1,
    operation: int = 0,
    kind: int = SERVER,
    instance: int = 0,
) -> RawSpan:
    """A span with small numbers for ids and times in ms; its operation is its name unless another is given."""
    return RawSpan(
        trace.to_bytes(16, "big"),
        name.to_bytes(8, "big"),
        parent.to_bytes(8, "big"),
        operation or name,
        kind,
        round(start * MS),
        round(duration * MS),
        instance,
    )


def feed(into: TraceTable, spans: Sequence[RawSpan], now: Sequence[int] | int) -> list[ClosedTrace]:
    """Give spans to a table; -> what closed."""
    return rows(
        into.feed(
            b"".join(it.trace for it in spans),
            b"".join(it.id for it in spans),
            b"".join(it.parent for it in spans),
            array("I", [it.operation for it in spans]),
            bytes(it.mark for it in spans),
            array("Q", [it.start_ns for it in spans]),
            array("Q", [it.duration_ns for it in spans]),
            array("I", [it.instance for it in spans]),
            now if isinstance(now, int) else array("Q", now),
        )
    )


def rows(closed: Closed) -> list[ClosedTrace]:
    """Columns as rows."""
    ends = list(itertools.accumulate(closed.sizes))
    assert (ends[-1] if ends else 0) == len(closed.operations)
    return [
        ClosedTrace(
            closed.trace_ids[16 * number : 16 * number + 16],
            closed.marks[number],
            closed.starts_ns[number],
            closed.ends_ns[number],
            closed.closed_ns[number],
            tuple(span_row(closed, at) for at in range(end - closed.sizes[number], end)),
        )
        for number, end in enumerate(ends)
    ]


def span_row(closed: Closed, at: int) -> SpanRow:
    return SpanRow(
        closed.operations[at],
        closed.parents[at],
        closed.span_ids[8 * at : 8 * at + 8],
        closed.span_marks[at],
        closed.span_starts_ns[at],
        closed.durations_ns[at],
        closed.self_ns[at],
        closed.instances[at],
    )


def told(spans: Sequence[RawSpan], **changes: int) -> ClosedTrace:
    """The one trace that spans make."""
    into = table(**changes)
    assert feed(into, spans, 0) == []
    (trace,) = rows(into.flush())
    return trace


def shape(trace: ClosedTrace) -> list[tuple[int, int]]:
    """Operation and place of the parent of each span."""
    return [(row.operation, row.parent) for row in trace.spans]


def counts(of: TraceTable) -> dict[str, int]:
    return {
        "open": len(of),
        "spans": of.spans,
        "duplicates": of.duplicates,
        "late": of.late,
        "cut": of.cut,
        "without_trace": of.without_trace,
        "overflowed": of.overflowed,
        "fed": of.fed,
        "closed": of.closed,
        "next_due_ns": of.next_due_ns,
        "bytes": of.bytes,
    }
