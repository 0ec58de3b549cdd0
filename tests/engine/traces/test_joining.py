"""One fault is one finding."""

from collections import defaultdict
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.limits import SECOND_NS
from driftlock.engine.traces.joining import JOINED_NS, STRONGER, Joining, ToldOf


class Alarm(NamedTuple):
    question: str = "latency"
    time_ns: int = 1000 * SECOND_NS
    surprise: float = 30.0
    measure: str = "self_time"
    caller: int = 0
    operation: int = 1
    since_ns: int = 0
    p_value: float = 0.01
    score: float = 0.6
    calls: int = 9
    affected: int = 9
    value: float = 1.0
    usual: float = 0.1
    instance: int = 0
    suspects: tuple[tuple[int, float], ...] = ()
    calls_more: tuple[Any, ...] = ()
    examples: tuple[Any, ...] = ()
    subtree: tuple[Any, ...] = ()
    pool: int = 0


def told(*those: tuple[Alarm, int]) -> list[bool]:
    joining = Joining()
    return [joining.tells(it, service) for it, service in those]


def later(ns: int, **fields: Any) -> Alarm:
    return Alarm(time_ns=Alarm().time_ns + ns, **fields)


def test_the_same_of_the_same_service_joins_for_a_minute() -> None:
    assert told((Alarm(), 1), (later(0), 1), (later(JOINED_NS - 1), 1), (later(JOINED_NS), 1)) == [True, False, False, True]


def test_what_joined_does_not_lengthen_the_minute() -> None:
    assert told((Alarm(), 1), (later(JOINED_NS // 2), 1), (later(JOINED_NS), 1)) == [True, False, True]


def test_another_question_or_service_is_another_finding() -> None:
    assert told((Alarm(), 1), (Alarm(), 2), (Alarm(question="errors"), 1)) == [True, True, True]


def test_what_nobody_is_suspected_of_is_not_told() -> None:
    assert told((Alarm(), 0), (later(9), 1)) == [False, True]


def test_how_a_call_was_seen_to_be_slow_does_not_matter() -> None:
    assert told((Alarm(), 1), (later(9, measure="gap", caller=3, operation=4, instance=7), 1)) == [True, False]


def test_parts_that_are_new_missing_and_repeated_are_three_things() -> None:
    new = Alarm(question="shape", measure="calls", subtree=((0, 1, 0, 1), (1, 2, 1, 1)))
    missing = new._replace(subtree=((0, 1, 0, 1), (1, 2, -1, 1)))
    repeated = new._replace(measure="repeats")
    assert told((new, 1), (missing, 1), (repeated, 1)) == [True, True, True]
    assert told((new, 1), (new._replace(caller=9), 1)) == [True, False]


def test_what_is_far_stronger_is_told_and_joined_from_then_on() -> None:
    strong = STRONGER * 30.0
    assert told((Alarm(), 1), (later(9, surprise=strong - 0.1), 1), (later(9, surprise=strong), 1)) == [True, False, True]
    assert told((Alarm(), 1), (later(9, surprise=strong), 1), (later(10, surprise=strong), 1)) == [True, True, False]


alarms = st.tuples(
    st.sampled_from(["latency", "shape"]),
    st.integers(0, 300).map(lambda seconds: seconds * SECOND_NS),
    st.floats(20.0, 200.0),
).map(lambda fields: Alarm(*fields))


@given(st.lists(st.tuples(alarms, st.integers(1, 3)), max_size=40), st.integers(0, 40))
def test_it_continues_from_what_is_stored_and_forgets_what_is_over(those: list[tuple[Alarm, int]], cut: int) -> None:
    those = sorted(those, key=lambda it: it[0].time_ns)
    whole, first, then = Joining(), Joining(), Joining()
    expected = [whole.tells(it, service) for it, service in those]
    found = [first.tells(it, service) for it, service in those[:cut]]
    then.restore(first.told)
    assert [*found, *(then.tells(it, service) for it, service in those[cut:])] == expected
    assert then.told == whole.told
    assert len(whole.told) <= 6


@given(st.lists(st.tuples(alarms, st.integers(1, 3)), max_size=40))
def test_there_is_one_a_minute_unless_it_is_far_stronger(those: list[tuple[Alarm, int]]) -> None:
    by_fault: dict[tuple[str, int], list[ToldOf]] = defaultdict(list)
    joining = Joining()
    for it, service in sorted(those, key=lambda pair: pair[0].time_ns):
        if joining.tells(it, service):
            by_fault[it.question, service].append(ToldOf(it.question, service, it.time_ns, it.surprise))
    for some in by_fault.values():
        for one, other in pairwise(some):
            assert other.time_ns - one.time_ns >= JOINED_NS or other.bits >= STRONGER * one.bits
    assert set(by_fault) == {(it.question, service) for it, service in those}
