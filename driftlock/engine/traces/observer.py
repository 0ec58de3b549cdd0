"""Whole traces for those who want to see each of them, as offline runs do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cbad_cy.traces import CLOSED_EARLY, DUPLICATES, NO_ROOT, SKEW_REPAIRED, SPANS_CUT, VIRTUAL_ROOT, Closed
from driftlock.engine.event import SpanMark
from driftlock.engine.traces.directory import Directory

MARKS = (
    (NO_ROOT, "no root"),
    (SPANS_CUT, "too many spans"),
    (DUPLICATES, "duplicates"),
    (SKEW_REPAIRED, "clock skew"),
    (VIRTUAL_ROOT, "orphans"),
    (CLOSED_EARLY, "closed early"),
)
"""What is said of a trace, by the bits of its mark."""


@dataclass(frozen=True, slots=True)
class SeenTrace:
    """A trace that was closed. Times are event times in ns.

    `root` is the operation at its root and `service` that operation's service; `services` are those of its spans, sorted.
    `errors` counts spans with an error. `marks` are among the words of `MARKS`.
    """

    trace_id: str
    service: str
    root: str
    services: tuple[str, ...]
    spans: int
    errors: int
    start_ns: int
    duration_ns: int
    closed_ns: int
    marks: tuple[str, ...]


class TraceObserver(Protocol):
    """Who wants to see every trace. Watching changes no verdict."""

    def trace(self, seen: SeenTrace) -> None:
        """A trace was closed; findings that it brings come after it."""
        ...


def seen_traces(closed: Closed, directory: Directory) -> Iterator[SeenTrace]:
    """The traces of these columns, in their order."""
    first = 0
    for place, size in enumerate(closed.sizes):
        operations = [directory.operations[number] for number in closed.operations[first : first + size]]
        yield SeenTrace(
            trace_id=closed.trace_ids[16 * place : 16 * place + 16].hex(),
            service=directory.services[operations[0].service],
            root=operations[0].name,
            services=tuple(sorted({directory.services[operation.service] for operation in operations})),
            spans=size,
            errors=sum(bool(mark & SpanMark.ERROR) for mark in closed.span_marks[first : first + size]),
            start_ns=closed.starts_ns[place],
            duration_ns=closed.ends_ns[place] - closed.starts_ns[place],
            closed_ns=closed.closed_ns[place],
            marks=tuple(word for mark, word in MARKS if closed.marks[place] & mark),
        )
        first += size
