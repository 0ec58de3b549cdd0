"""What is found when something goes wrong in a shop: one finding a fault, that says where, how much, and who."""

import re
from functools import cache
from itertools import pairwise

import pytest

from driftlock.engine.limits import SECOND_NS
from driftlock.engine.verdict import Finding, Question
from tests.engine.traces.rows import CODEC, ERROR, SERVER, Span, batch_of, new_detector
from tests.engine.traces.shop import MAIL, PAST, PODS, STOCK, Visit, draw, findings, learned, start, visit, visits

ODD = 10  # one visit in so many is odd

JUST_ALARMS_BITS = 18.0
"""Fewer bits alarm nowhere; what lines and numbers say against a service stays below 24."""


def now_and_then(**how: object) -> Visit:
    return lambda trace: visit(trace, **how) if trace % ODD == 0 else visit(trace)  # type: ignore[arg-type]


def on_one_pod(**how: object) -> Visit:
    return lambda trace: visit(trace, **how) if trace % PODS == 3 else visit(trace)  # type: ignore[arg-type]


FAULTS: dict[str, tuple[Visit, int]] = {
    "slow by itself": (now_and_then(pay_ms=200.0), 600),
    "slow on the way": (now_and_then(way_ms=100.0), 600),
    "all a little slower": (lambda trace: visit(trace, pay_ms=4.0), 600),
    "slow on one pod": (on_one_pod(pay_ms=40.0), 600),
    "errors": (now_and_then(refused=True), 600),
    "repeats": (now_and_then(attempts=4), 400),
    "a new part": (now_and_then(extra=(STOCK, "PUT /level")), 600),
    "a missing part": (now_and_then(stock=False), 1500),
    "a new dependency": (now_and_then(extra=(MAIL, "PUT /mail")), 600),
    "a dependency that is gone": (lambda trace: visit(trace, stock=False), 1500),
    "a callee whose spans are lost": (lambda trace: visit(trace, answered=False), 4200),
}


@cache
def found(fault: str) -> list[Finding]:
    return findings(*FAULTS[fault])


def test_nothing_is_found_where_nothing_happens() -> None:
    assert findings(visit, 2000) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_once_and_says_so_of_whole_traces(fault: str) -> None:
    told = found(fault)
    assert len({it.question for it in told}) == len(told) <= 2
    for it in told:
        assert start(PAST) - 30 * SECOND_NS < it.start_ns <= it.end_ns
        assert it.surprise > JUST_ALARMS_BITS
        assert it.suspects[0].service == it.subject
        assert it.suspects[0].bits >= it.surprise
        assert sum(suspect.share for suspect in it.suspects) == pytest.approx(1.0)
        assert 0.5 <= it.ncd < 1.0
        assert 0.0 < it.p_value <= it.p_value_threshold
        assert it.examples
        for example in it.examples:
            assert int(example.trace_id, 16) > PAST
            assert start(int(example.trace_id, 16) - 1) == example.start_ns
            assert example.root == example.path[0] == "shop/cart GET /cart"
        assert Finding.from_json(it.to_json()) == it
        assert it.explanation.count(".") <= 6
        assert len(it.explanation) < 260


PAY, CAUSE = r"payment \(POST /pay/<num>\)", r"; payment is the most probable cause\."
WITHIN, INSTANCE, BEFORE = r"within \d+ s", r"(, most in [a-z]+(-\d)?)?", "(never|hardly ever) before"
CALLS, TRACES = rf"\d+ of \d+ calls {WITHIN}{INSTANCE}", rf"in \d+ of \d+ traces {WITHIN}{INSTANCE}"
TIME, SOME = r"\d+(\.\d+)? ms", "Traces of GET /cart"


@pytest.mark.parametrize(
    ("fault", "question", "said", "culprit"),
    [
        ("slow by itself", Question.LATENCY, rf"{PAY} takes {TIME} by itself, usually 4\.\d+ ms: {CALLS}{CAUSE}", "payment"),
        (
            "slow on the way",
            Question.LATENCY,
            rf"Calls from cart to {PAY} spend {TIME} on the way, usually \d+ us: {CALLS}{CAUSE}",
            "payment",
        ),
        (
            "all a little slower",
            Question.LATENCY,
            rf"{PAY} takes [89]\.\d+ ms by itself, usually 4\.\d+ ms: {CALLS}{CAUSE}",
            "payment",
        ),
        ("slow on one pod", Question.LATENCY, rf"{PAY} takes {TIME} by itself.*, most in pod-3{CAUSE}", "payment"),
        ("errors", Question.ERRORS, rf"10 % of the calls of {PAY} fail, {BEFORE}: {CALLS}{CAUSE}", "payment"),
        (
            "repeats",
            Question.SHAPE,
            rf"{SOME} repeat a part: cart calls {PAY} 4 times or more, {TRACES}, {BEFORE}; cart is the most probable cause\.",
            "cart",
        ),
        (
            "a new part",
            Question.SHAPE,
            rf"{SOME} have a new part: cart calls stock \(PUT /level\), {TRACES}, {BEFORE}; cart is the most probable cause\.",
            "cart",
        ),
        (
            "a missing part",
            Question.SHAPE,
            rf"{SOME} lack a part: cart calls stock \(GET /level\), missing {TRACES}, {BEFORE}; cart is the most.*\.",
            "cart",
        ),
        (
            "a new dependency",
            Question.DEPENDENCY,
            rf"cart calls mail \(PUT /mail\) for the first time: in \d+ traces {WITHIN}\.",
            "cart",
        ),
        (
            "a dependency that is gone",
            Question.DEPENDENCY,
            rf"cart no longer calls stock \(GET /level\): missing {TRACES}, {BEFORE}\.",
            "cart",
        ),
        (
            "a callee whose spans are lost",
            Question.DEPENDENCY,
            r"Calls from cart to stock \(GET /level\) leave no spans of stock: [\d,]+ of [\d,]+ since .*; stock is the .*\.",
            "stock",
        ),
    ],
)
def test_it_says_what_is_wrong(fault: str, question: Question, said: str, culprit: str) -> None:
    finding = found(fault)[0]
    assert finding.question is question
    assert re.fullmatch(said, finding.explanation), finding.explanation
    assert finding.subject == f"shop/{culprit}@prod"


@pytest.mark.parametrize(
    ("fault", "lines"),
    [
        ("repeats", ("+ shop/cart POST x4", "+   shop/payment POST /pay/<num>", "+     shop/payment INSERT")),
        ("a new part", ("+ shop/cart PUT", "+   shop/stock PUT /level")),
        ("a missing part", ("- shop/cart GET", "-   shop/stock GET /level")),
        ("a new dependency", ("+ shop/cart PUT", "+   shop/mail PUT /mail")),
        ("a dependency that is gone", ("- shop/cart GET", "-   shop/stock GET /level")),
        ("errors", ()),
    ],
)
def test_it_shows_the_part_that_is_new_or_missing(fault: str, lines: tuple[str, ...]) -> None:
    assert found(fault)[0].subtree == lines


@pytest.mark.parametrize("fault", ["slow by itself", "slow on the way", "errors"])
def test_examples_lead_to_the_place_and_are_odd_ones(fault: str) -> None:
    finding = found(fault)[0]
    place = ("shop/cart GET /cart", "shop/cart POST", "shop/payment POST /pay/<num>")
    for example in finding.examples:
        assert example.path == place[: 2 if fault == "slow on the way" else 3]
        assert (int(example.trace_id, 16) - 1) % ODD == 0


@pytest.mark.parametrize(
    ("fault", "measure", "ends", "value", "usual"),
    [
        ("slow by itself", "self_time", ("", "shop/payment@prod"), (0.02, 0.3), (0.004, 0.006)),
        ("slow on the way", "gap", ("shop/cart@prod", "shop/payment@prod"), (0.001, 0.12), (0.0004, 0.0008)),
        ("errors", "errors", ("", "shop/payment@prod"), (0.05, 0.15), (0.0, 1e-4)),
        ("repeats", "repeats", ("shop/cart@prod", "shop/payment@prod"), (0.08, 0.15), (0.0, 1e-3)),
        ("a missing part", "calls", ("shop/cart@prod", "shop/stock@prod"), (0.08, 0.15), (0.0, 1e-3)),
    ],
)
def test_its_numbers_are_those_of_the_traffic(
    fault: str, measure: str, ends: tuple[str, str], value: tuple[float, float], usual: tuple[float, float]
) -> None:
    call = found(fault)[0].calls[0]
    assert (call.measure, (call.caller, call.callee)) == (measure, ends)
    assert value[0] < call.value < value[1]
    assert usual[0] <= call.usual < usual[1]
    assert 0 < call.affected <= call.calls


@pytest.mark.parametrize("fault", ["slow by itself", "errors", "repeats", "a dependency that is gone"])
def test_what_goes_on_is_told_once_a_minute_and_no_longer(fault: str) -> None:
    """So that its incident stays open; a minute after its end nothing is told any more."""
    until, detector = PAST + 6000, learned()
    spans = [*visits(range(PAST, until), FAULTS[fault][0]), *visits(range(until, until + 4000))]
    found = detector.fold(batch_of(spans), start(until + 4000) + SECOND_NS, CODEC)
    told = [it for it in found if it.question is FAULT_OF[fault]]
    times = [it.end_ns for it in told]
    assert 4 <= len(told) <= 6
    assert all(60 * SECOND_NS <= later - earlier <= 90 * SECOND_NS for earlier, later in pairwise(times))
    assert start(until) - 60 * SECOND_NS < times[-1] < start(until) + 60 * SECOND_NS
    assert len({it.subject for it in told}) == 1
    assert told[0].start_ns == told[-1].start_ns
    assert told[0].calls[0].affected < told[-1].calls[0].affected


FAULT_OF = {
    "slow by itself": Question.LATENCY,
    "errors": Question.ERRORS,
    "repeats": Question.SHAPE,
    "a dependency that is gone": Question.DEPENDENCY,
}


def job(trace: int, *, failed: bool = False) -> Span:
    """One of eighty operations of a service: none comes often enough to show anything by itself."""
    name = f"run {'abcdefgh'[trace % 8]}{'klmnopqrst'[trace // 8 * 7 % 10]}"
    marks = ERROR if failed else 0
    return Span(
        trace + 1, trace + 1, 0, "shop/jobs", name, SERVER, start(trace), draw(trace, 1, 5.0), marks, f"pod-{trace % 3}"
    )


def test_a_bad_instance_of_a_service_of_many_operations_is_found() -> None:
    detector = new_detector()
    assert detector.fold(batch_of([job(trace) for trace in range(PAST)]), start(PAST), CODEC) == []
    bad = [job(trace, failed=trace % 12 == 2) for trace in range(PAST, PAST + 1000)]
    found = detector.fold(batch_of(bad), start(PAST + 1000), CODEC)
    assert {it.question for it in found} == {Question.ERRORS}
    assert {it.subject for it in found} == {"shop/jobs@prod"}
    together, own, *_ = found[0].calls
    assert (together.callee, together.operation, together.instance, together.usual) == ("shop/jobs@prod", "", "pod-2", 0.0)
    assert 10 < together.affected < 40
    assert together.value == pytest.approx(together.affected / together.calls)
    assert 0.2 < together.value < 0.3
    assert own.operation.startswith("run ")
    assert own.affected < 4
    assert len(found[0].examples) == 3
    assert found[0].explanation == (
        f"Calls of jobs fail more often than usual, most in pod-2, above all {own.operation}; jobs is the most probable cause."
    )
