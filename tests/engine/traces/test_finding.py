"""From an alarm in numbers to a finding."""

from array import array
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from cbad_cy.judgement import POOL_CALLED, POOL_MADE
from cbad_cy.shapes import ALARM_LEVEL as SHAPES_LEVEL
from driftlock.engine.evidence import CallEvidence, Suspect, TraceExample
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES
from driftlock.engine.traces.directory import Directory
from driftlock.engine.traces.finding import (
    CALLS_MAX,
    EXAMPLES_MAX,
    PATH_MAX,
    SUBTREE_LINES_MAX,
    SUSPECTS_MAX,
    UNITS,
    TraceContext,
    Words,
    suspected,
    trace_finding,
    trace_finding_id,
)
from driftlock.engine.traces.instances import Instances, span_instance_number
from driftlock.engine.verdict import Calibration, Finding, Question

STREAM = UUID(int=7)
CONTEXT = TraceContext("traces:_traces@prod", PROFILES["balanced"], 0.05, 7, 3, 99, False, Calibration.OK, "said")


class Alarm(NamedTuple):
    question: str = "latency"
    measure: str = "duration"
    caller: int = 1
    operation: int = 2
    since_ns: int = 10
    time_ns: int = 20
    p_value: float = 1e-9
    score: float = 0.7
    surprise: float = 30.0
    calls: int = 15
    affected: int = 14
    value: float = 1.2
    usual: float = 0.003
    instance: int = span_instance_number("pod-3")
    suspects: tuple[tuple[int, float], ...] = ((1, 10.0), (2, 30.0))
    calls_more: tuple[Any, ...] = ()
    examples: tuple[Any, ...] = ()
    subtree: tuple[Any, ...] = ()
    pool: int = 0


def words(environment: str = "prod") -> Words:
    directory, instances = Directory(Limits()), Instances(9)
    series = ("shop/cart\x1fGET /cart\x1f2", "shop/payment\x1fPOST /pay\x1f2", "shop/cart\x1fPOST\x1f3")
    directory.numbers(series, array("I", [1, 2, 3]))
    instances.numbers(("pod-3",), array("I", [1]), 1)
    return Words(directory, instances, environment)


def small_words() -> Words:
    """Of operations of which the fourth and the last are what is not told apart."""
    directory = Directory(Limits(operations_max=24))
    directory.numbers([f"shop/cart\x1fGET /{'abcdefghij'[k]}\x1f2" for k in range(10)], array("I", range(1, 11)))
    return Words(directory, Instances(9), "prod")


@pytest.mark.parametrize("question", ["shape", "dependency"])
def test_of_parts_of_what_is_not_told_apart_nobody_is_suspected(question: str) -> None:
    names = small_words()
    assert [names.operation(number) for number in range(1, 5)] == ["GET /a", "GET /b", "GET /c", "other"]
    for fields in ({"caller": 4}, {"operation": 4}, {"subtree": ((0, 4, -1, 1), (1, 1, -1, 1))}):
        assert suspected(Alarm(question=question, suspects=((1, 30.0),))._replace(**fields), names) == [(0, 30.0)]
        assert suspected(Alarm(suspects=((1, 30.0),))._replace(**fields), names) == [(1, 30.0)]
    below = Alarm(question=question, suspects=((1, 30.0),), subtree=((0, 2, -1, 1), (1, 4, -1, 1)))
    assert suspected(below, names) == [(1, 30.0)]


def test_what_is_not_told_apart_is_left_out_of_a_part() -> None:
    part = ((0, 2, 1, 1), (1, 4, 1, 1), (2, 1, 1, 1), (1, 3, 1, 2))
    found = trace_finding(Alarm(question="shape", measure="calls", suspects=((1, 30.0),), subtree=part), small_words(), CONTEXT)
    assert found.subtree == ("+ shop/cart GET /b", "+   shop/cart GET /c x2")


def found(**fields: Any) -> Finding:
    return trace_finding(Alarm(**fields), words(), CONTEXT)


def test_a_finding_says_what_the_kernel_says() -> None:
    finding = found()
    assert finding.calls == (
        CallEvidence("shop/cart@prod", "shop/payment@prod", "POST /pay", "duration", 15, 14, 1.2, 0.003, "s", 30.0, "pod-3"),
    )
    assert finding.suspects == (Suspect("shop/payment@prod", 30.0, 0.75), Suspect("shop/cart@prod", 10.0, 0.25))
    assert finding.subject == "shop/payment@prod"
    assert (finding.ncd, finding.ncd_threshold, finding.p_value, finding.surprise) == (0.7, 0.5, 1e-9, 30.0)
    assert (finding.start_ns, finding.end_ns, finding.window, finding.last_event) == (10, 20, 3, 99)
    assert (finding.codec, finding.question, finding.calibration_reason) == ("traces", Question.LATENCY, "said")
    assert finding.explanation.startswith("Calls from cart to payment (POST /pay) take 1.2 s, usually 3 ms: 14 of 15 calls")
    assert Finding.from_json(finding.to_json()) == finding


def test_a_finding_that_began_after_it_was_found_began_then() -> None:
    assert (found(since_ns=30).start_ns, found(since_ns=30).end_ns) == (20, 20)


def test_other_odd_calls_come_by_their_bits() -> None:
    more = (("gap", 1, 2, 9, 8, 0.5, 0.1, 3.0), ("self_time", 0, 1, 9, 8, 0.5, 0.1, 5.0))
    assert [(it.measure, it.caller, it.bits) for it in found(calls_more=more).calls] == [
        ("duration", "shop/cart@prod", 30.0),
        ("self_time", "", 5.0),
        ("gap", "shop/cart@prod", 3.0),
    ]


def test_where_the_kernel_suspects_nobody_the_operation_is_the_cause() -> None:
    assert found(suspects=()).suspects == found(suspects=((0, 5.0), (1, 0.0))).suspects
    assert found(suspects=()).suspects == (Suspect("shop/payment@prod", 30.0, 1.0),)


def test_some_service_is_to_blame_for_all_that_alarmed() -> None:
    weak = found(surprise=30.0, suspects=((1, 6.0), (2, 12.0)))
    assert weak.suspects == (Suspect("shop/payment@prod", 30.0, 0.666666667), Suspect("shop/cart@prod", 15.0, 0.333333333))
    strong = found(surprise=30.0, suspects=((1, 60.0),))
    assert strong.suspects == (Suspect("shop/cart@prod", 60.0, 1.0),)


OWN: tuple[Any, ...] = ("gap", 1, 2, 9, 2, 0.5, 0.1, 3.0)


@pytest.mark.parametrize(
    ("pool", "caller", "callee", "text"),
    [
        (POOL_CALLED, 1, "payment", "Calls of payment spend longer on the way than usual, most in pod-3, above all POST /pay;"),
        (POOL_MADE, 1, "cart", "Calls of cart take longer than usual, most in pod-3, above all POST /pay;"),
        (POOL_MADE, 0, "payment", "Calls of payment take longer than usual, most in pod-3, above all POST /pay;"),
    ],
)
def test_what_a_whole_service_shows_is_not_told_of_one_operation(pool: int, caller: int, callee: str, text: str) -> None:
    finding = found(pool=pool, caller=caller, measure="gap", calls_more=(OWN, ("gap", 3, 2, 9, 8, 0.5, 0.1, 5.0)))
    assert finding.explanation.startswith(text)
    first, own, other = finding.calls
    assert first == CallEvidence("", f"shop/{callee}@prod", "", "gap", 15, 14, 1.2, 0.003, "s", 30.0, "pod-3")
    assert (own.operation, own.calls, own.affected, own.bits) == ("POST /pay", 9, 2, 3.0)
    assert other.bits == 5.0


def test_findings_about_services_as_a_whole_have_ids_by_the_operation_that_shows_most() -> None:
    one, same = (found(pool=POOL_MADE, calls_more=(OWN,), value=value) for value in (1.0, 2.0))
    other = found(pool=POOL_MADE, calls_more=(("gap", 3, 2, 9, 2, 0.5, 0.1, 3.0), OWN))
    third = found(pool=POOL_MADE, calls_more=(("gap", 1, 1, 9, 2, 0.5, 0.1, 3.0), OWN))
    assert trace_finding_id(STREAM, one) == trace_finding_id(STREAM, same) == trace_finding_id(STREAM, other)
    assert trace_finding_id(STREAM, one) != trace_finding_id(STREAM, third)


def test_p_values_of_all_questions_are_thresholds() -> None:
    assert found(p_value=0.02).p_value == 0.02
    for question in ("shape", "dependency"):
        just = found(question=question, measure="calls", surprise=SHAPES_LEVEL, p_value=1e-10)
        assert just.p_value == PROFILES["balanced"].p_value_threshold
        assert found(question=question, measure="calls", surprise=SHAPES_LEVEL + 10, p_value=1e-13).p_value < 1e-4


def test_suspects_of_equal_bits_stand_in_one_order() -> None:
    both = [found(suspects=pair).suspects for pair in (((1, 5.0), (2, 5.0)), ((2, 5.0), (1, 5.0)))]
    assert both[0] == both[1]


def test_examples_and_subtrees_have_names() -> None:
    finding = found(
        question="shape",
        measure="calls",
        usual=0.0,
        examples=((bytes(15) + b"\x07", 10, 5, 3, 1, (1, 3, 2), True),),
        subtree=((0, 1, 0, 1), (1, 3, 1, 1), (2, 2, 1, 4)),
    )
    path = ("shop/cart GET /cart", "shop/cart POST", "shop/payment POST /pay")
    assert finding.examples == (TraceExample(f"{7:032x}", 10, 5, 3, "shop/cart GET /cart", path, error=True),)
    assert finding.subtree == ("  shop/cart GET /cart", "+   shop/cart POST", "+     shop/payment POST /pay x4")
    assert "Traces of GET /cart have a new part" in finding.explanation


def test_a_missing_subtree_is_told_as_missing() -> None:
    finding = found(question="shape", measure="calls", subtree=((0, 1, 0, 1), (1, 2, -1, 1)))
    assert "lack a part" in finding.explanation
    assert finding.subtree[1] == "-   shop/payment POST /pay"


def test_what_a_finding_shows_is_bounded() -> None:
    example = (bytes(16), 10, 5, 3, 1, (1, *(3,) * 100, 2), False)
    finding = found(
        calls_more=(("gap", 1, 2, 9, 8, 0.5, 0.1, 3.0),) * 100,
        examples=(example,) * 50,
        subtree=((0, 1, 1, 1),) * 500,
        suspects=((1, 1.0),) * 100,
    )
    assert len(finding.calls) == CALLS_MAX
    assert len(finding.examples) == EXAMPLES_MAX
    assert len(finding.subtree) == SUBTREE_LINES_MAX
    assert len(finding.suspects) <= SUSPECTS_MAX
    [path] = {it.path for it in finding.examples}
    assert len(path) == PATH_MAX
    assert (path[0], path[-1]) == ("shop/cart GET /cart", "shop/payment POST /pay")


@pytest.mark.parametrize("measure", UNITS)
def test_every_measure_has_a_unit_and_a_sentence_for_every_question(measure: str) -> None:
    for question in ("latency", "errors", "shape", "dependency"):
        finding = found(question=question, measure=measure)
        assert finding.calls[0].unit == UNITS[measure]
        assert finding.explanation.endswith(".")


def test_without_an_environment_services_are_named_without_one() -> None:
    assert trace_finding(Alarm(), words(""), CONTEXT).subject == "shop/payment"


def test_ids_tell_findings_apart_and_do_not_depend_on_strength() -> None:
    assert trace_finding_id(STREAM, found()) == trace_finding_id(STREAM, found(surprise=50.0, value=9.0))
    others = [
        found(question="errors", measure="errors"),
        found(operation=1),
        found(caller=0),
        found(measure="gap"),
        found(time_ns=21),
        found(suspects=((1, 1.0),)),
    ]
    ids = {trace_finding_id(STREAM, it) for it in (found(), *others)} | {trace_finding_id(UUID(int=8), found())}
    assert len(ids) == len(others) + 2
