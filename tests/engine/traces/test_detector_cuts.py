"""How spans are cut into rows, and restarts, change nothing that is found."""

import random
from functools import cache

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from driftlock.engine.limits import SECOND_NS, Limits
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.state import trace_state
from driftlock.engine.verdict import TRACED, Finding, StreamEvent
from tests.engine.traces.rows import CODEC, Interrupted, Span, batch_of, second
from tests.engine.traces.shop import MAIL, PAST, STOCK, learned, start, visit, visits

FAR_NS = second(10**5)
# Each example folds thousands of spans: a failing one is not made smaller.
GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)
SMALL = Limits(traces_open_max=330, operations_max=32, trace_instances_max=3)


@cache
def eventful() -> tuple[Span, ...]:
    """Some of everything: slow calls, errors, new and missing parts, late spans, lost parents, names with identifiers."""

    def of(trace: int) -> list[Span]:
        match (trace - PAST) // 400, trace % 6:
            case 0, 0:
                return visit(trace, pay_ms=150.0)
            case 1, 0:
                return visit(trace, extra=(MAIL, "PUT /mail"), stock=False)
            case 2, 0 | 3:
                return visit(trace, refused=True, attempts=2)
            case _, 1:
                return visit(trace)[trace // 6 % 2 :]
            case _:
                return visit(trace)

    spans = visits(range(PAST, PAST + 1600), of)
    odd = [
        Span(10**6 + k, 1, 0, f"job-{k % 40}", f"run {chr(97 + k % 26)}", 1, start(PAST + 8 * k), 10**6, 0, f"node-{k % 7}")
        for k in range(200)
    ]
    late = [spans[k] for k in range(0, len(spans), 97)]
    return tuple(sorted([*spans, *odd], key=lambda it: (it.start_ns + it.duration_ns, it.span)) + late)


Outcome = tuple[tuple[bytes, ...], tuple[StreamEvent, ...], bytes]


def outcome(findings: list[Finding], events: tuple[StreamEvent, ...], detector: TraceDetector) -> Outcome:
    findings = [*findings, *detector.flush()]
    return tuple(it.to_json() for it in findings), (*events, *detector.take_events()), trace_state(detector)


@cache
def undisturbed(limits: Limits, historical: bool) -> Outcome:
    detector = learned(limits)
    found = detector.fold(batch_of(eventful(), historical=historical), FAR_NS, CODEC)
    return outcome(found, detector.take_events(), detector)


def test_the_example_has_something_of_everything() -> None:
    findings = [Finding.from_json(body) for body in undisturbed(Limits(), False)[0]]
    assert {it.question for it in findings} == set(TRACED)
    closing = [it.end_ns for it in findings]
    assert closing == sorted(closing)
    assert undisturbed(SMALL, False)[1]


@pytest.mark.parametrize("limits", [Limits(), SMALL], ids=["usual", "small"])
@pytest.mark.parametrize("historical", [False, True])
@settings(max_examples=3, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_cuts_and_restarts_change_nothing(limits: Limits, historical: bool, data: st.DataObject) -> None:
    spans = eventful()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(spans) - 1), max_size=25)))
    fold = Interrupted(learned(limits))
    found: list[Finding] = []
    events: tuple[StreamEvent, ...] = ()
    for first, last in zip((0, *cuts), (*cuts, len(spans)), strict=True):
        if data.draw(st.booleans()):
            fold.restart()
        found += fold.detector.fold(batch_of(spans[first:last], historical=historical), FAR_NS, CODEC)
        if data.draw(st.booleans()):
            events += fold.detector.take_events()
    assert outcome(found, events, fold.detector) == undisturbed(limits, historical)


@settings(max_examples=3, deadline=None, phases=GENERATE)
@given(order=st.randoms(use_true_random=False))
def test_the_order_of_spans_that_come_together_changes_nothing_of_what_is_found(order: random.Random) -> None:
    spans = visits(range(PAST, PAST + 200), lambda trace: visit(trace, extra=None if trace % 5 else (STOCK, "PUT /level")))
    told = []
    for shuffle in (False, True):
        detector, found = learned(), []
        for first in range(0, len(spans), 90):
            row = list(spans[first : first + 90])
            if shuffle:
                order.shuffle(row)
            found += detector.fold(batch_of(row), FAR_NS, CODEC)
        found += detector.flush()
        told.append(sorted((it.question, it.subject, it.calls[0].operation, it.subtree) for it in found))
    assert told[0] == told[1]
    assert told[0]


@settings(max_examples=3, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_cuts_and_restarts_change_nothing_while_time_passes(data: st.DataObject) -> None:
    spans = eventful()
    size = data.draw(st.integers(800, 2500))
    calm, fold = learned(SMALL), Interrupted(learned(SMALL))
    told: list[Finding] = []
    for first in range(0, len(spans), size):
        row = spans[first : first + size]
        received_ns = max(it.start_ns for it in row) + second(3) - second(0)
        cut = data.draw(st.integers(1, len(row)))
        times = [received_ns + pause * SECOND_NS for pause in sorted(data.draw(st.lists(st.integers(0, 200), max_size=3)))]
        undisturbed = calm.fold(batch_of(row), received_ns, CODEC)
        for now_ns in times:
            undisturbed += calm.pass_time(now_ns)
        found = []
        for part in filter(None, (row[:cut], row[cut:])):
            if data.draw(st.booleans()):
                fold.restart()
            found += fold.detector.fold(batch_of(part), received_ns, CODEC)
        for now_ns in times:
            if data.draw(st.booleans()):
                fold.restart()
            found += fold.detector.pass_time(now_ns)
        assert [it.to_json() for it in found] == [it.to_json() for it in undisturbed]
        assert calm.closes_ns == fold.detector.closes_ns
        told += found
    assert told
    assert trace_state(calm) == trace_state(fold.detector)
