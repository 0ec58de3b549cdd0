"""Closed traces for the tests of `cbad_cy.calls`."""

import random
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cbad_cy.calls import CallTable
from cbad_cy.judgement import Judgement
from cbad_cy.traces import Closed

MS, S = 10**6, 10**9
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
ERROR = 8


class Call(NamedTuple):
    """A span of a trace that is over; `parent` is the place of another, -1 = none; times in ns."""

    operation: int
    parent: int = -1
    mark: int = SERVER
    start_ns: int = 0
    duration_ns: int = MS
    self_ns: int = MS
    instance: int = 0


class Over(NamedTuple):
    """A trace that is over."""

    number: int
    closed_ns: int
    calls: Sequence[Call]
    mark: int = 0


def closed_of(traces: Sequence[Over]) -> Closed:
    """Their columns."""
    calls = [call for trace in traces for call in trace.calls]
    return Closed(
        b"".join(trace.number.to_bytes(16, "big") for trace in traces),
        array("I", [len(trace.calls) for trace in traces]),
        bytes(trace.mark for trace in traces),
        array("Q", [min(call.start_ns for call in trace.calls) for trace in traces]),
        array("Q", [max(call.start_ns + call.duration_ns for call in trace.calls) for trace in traces]),
        array("Q", [trace.closed_ns for trace in traces]),
        array("I", [call.operation for call in calls]),
        array("i", [call.parent for call in calls]),
        b"".join(number.to_bytes(8, "big") for number in range(1, len(calls) + 1)),
        bytes(call.mark for call in calls),
        array("Q", [call.start_ns for call in calls]),
        array("Q", [call.duration_ns for call in calls]),
        array("Q", [call.self_ns for call in calls]),
        array("I", [call.instance for call in calls]),
    )


def fed(table: CallTable, traces: Sequence[Over], services: Sequence[int], *, batch: int = 1000) -> list[Judgement]:
    """Give traces to a table, so many at once."""
    judgements: list[Judgement] = []
    for at in range(0, len(traces), batch):
        judgements += table.feed(closed_of(traces[at : at + batch]), array("I", services))
    return judgements


# A gateway (1) calls a shop (2), which calls a store (3); there are others.
SERVICES = (0, 1, 1, 2, 2, 3, 4, 5, 6)
OPERATIONS = len(SERVICES) - 1
GATEWAY, GATEWAY_CALL, SHOP, SHOP_CALL, STORE = 1, 2, 3, 4, 5


def shop_trace(number: int, source: random.Random, *, slow: int = 0, way: int = 0, failing: int = 0) -> Over:
    """A request, one each 0.1 s: `slow` ns more in the store, `way` ns more on the way to it; `failing` is an operation."""
    at = 10**18 + number * S // 10

    def usual(scale: float) -> int:
        return round(scale * MS * source.lognormvariate(0.0, 0.4))

    store = usual(2) + slow
    gap = usual(0.5) + way
    shop, outer, front = usual(3), usual(0.5), usual(1)
    pod = 30 + source.randrange(4)
    whole = (front + outer + shop + gap + store, outer + shop + gap + store, shop + gap + store, gap + store, store)
    own = (front, outer, shop, gap, store)
    marks = [SERVER, CLIENT, SERVER, CLIENT, SERVER]
    for place in range(failing):
        marks[place] |= ERROR
    calls = [
        Call(operation, operation - 2, marks[operation - 1], at + operation, whole[operation - 1], own[operation - 1], pod)
        for operation in range(1, 6)
    ]
    return Over(number, at + whole[0] + S, calls)


def usual_traces(count: int, *, seed: int = 1) -> list[Over]:
    source = random.Random(seed)
    return [shop_trace(number, source) for number in range(count)]


def asked(judgements: Iterable[Judgement]) -> list[tuple[str, str, int, int]]:
    """What they are about."""
    return [(it.question, it.measure, it.caller, it.operation) for it in judgements]


# A gateway (1) with a client (2) calls a service of forty operations (3..42), which runs on three instances.
KINDS = 40
JOBS = (0, 1, 1, *[2] * KINDS)
PODS = (61, 62, 63)


def job_trace(
    number: int, source: random.Random, *, slow: float = 1.0, way: int = 0, failing: bool = False, pod: int = 0
) -> Over:
    """One of the forty, a request each 0.1 s: `slow` times as long, `way` ns more on the way, or `failing`, on a `pod` only."""
    at, on, operation = 10**18 + number * S // 10, PODS[source.randrange(3)], 3 + source.randrange(KINDS)
    took, gap = (round(MS * source.lognormvariate(0.0, 0.4)) for _ in range(2))
    mark = SERVER
    if on == pod or not pod:
        took, gap, mark = round(slow * took), gap + way, mark | (ERROR if failing else 0)
    calls = [
        Call(1, -1, SERVER, at, gap + took + MS, MS, 9),
        Call(2, 0, CLIENT, at, gap + took, gap, 9),
        Call(operation, 1, mark, at + gap, took, took, on),
    ]
    return Over(number, at + S, calls)
