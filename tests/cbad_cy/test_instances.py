"""Instances against the oracle; who is found, who is not, bounds and restarts."""

from __future__ import annotations

import pickle
import random
from array import array
from collections.abc import Callable
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference_instances
from cbad_cy.instances import (
    COST_MAX,
    EPISODES_MAX,
    INSTANCES_MAX,
    INSTANCES_MOST,
    TEMPLATES_MAX,
    TEMPLATES_MOST,
    WINDOW_MAX,
    Instances,
    Question,
    Verdict,
)

Line = tuple[int, int, int]  # who, template, cost in 1/1024 bit
LEVEL = 0.0125
WINDOW = 50
BIT = 1024
FOREIGN = 10**6
RING_LINES = 3 * WINDOW


def told(instances: Instances, lines: list[Line]) -> list[Verdict]:
    who, what, costs = zip(*lines, strict=True) if lines else ((), (), ())
    return instances.take_lines(array("Q", who), array("Q", what), array("I", costs))


def fleet(seed: int, count: int, instances: int = 50, kinds: int = 30, burst: float = 0.0) -> list[Line]:
    """Normal lines: everyone draws from the same kinds, and may repeat what it said before."""
    rng = random.Random(seed)
    weights = list(accumulate(1 / (rank + 1) for rank in range(kinds)))
    last: dict[int, int] = {}
    lines = []
    for who in rng.choices(range(1, instances + 1), k=count):
        if who not in last or rng.random() >= burst:
            [last[who]] = rng.choices(range(1, kinds + 1), cum_weights=weights)
        lines.append((who, last[who], rng.randrange(8 * BIT)))
    return lines


def alarms(verdicts: list[Verdict], after: int = 0) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.p_value <= LEVEL and verdict.line >= after]


# ---- what it says --------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([1, 2, 3, 5, 12]), st.sampled_from([2, 3, 5, 12]), st.sampled_from([1, 2, 6, 60]),
    st.sampled_from([0.0, 0.4, 0.9]), st.booleans(),
)  # fmt: skip
def test_it_is_what_the_oracle_says(seed: int, window: int, count: int, kinds: int, burst: float, faulty: bool) -> None:
    rng = random.Random(seed)
    lines = [(who if rng.random() < 0.99 else 0, what, cost) for who, what, cost in fleet(seed, 2500, count, kinds, burst)]
    if faulty:
        lines[1500:] = [(who, FOREIGN if who == 1 else what, cost) for who, what, cost in lines[1500:]]
        lines[1800:] = [line for line in lines[1800:] if line[0] != 2]
    oracle = reference_instances.Instances(window)
    expected = [verdict for number, line in enumerate(lines) if (verdict := oracle.take(number, *line)) is not None]
    found = told(Instances(window=window, templates_max=TEMPLATES_MOST), lines)
    assert [verdict[:2] for verdict in found] == [verdict[:2] for verdict in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[2:] == pytest.approx(other[2:], rel=1e-12, abs=1e-12)


def test_a_verdict_comes_after_three_windows_and_then_after_each() -> None:
    lines = [(1 + number % 4, 1, 0) for number in range(4 * 5 * WINDOW)]
    mine = [verdict.line for verdict in told(Instances(window=WINDOW), lines) if verdict.instance == 1]
    assert mine == [4 * WINDOW * windows - 4 for windows in (3, 4, 5)]


def test_an_instance_among_two_is_not_judged() -> None:
    """Which of two is the strange one nobody can say."""
    assert {verdict.p_value for verdict in told(Instances(window=5), fleet(1, 3000, instances=2))} == {1.0}


def test_lines_of_nobody_are_not_taken() -> None:
    instances = Instances(window=5)
    assert told(instances, [(0, what, cost) for _, what, cost in fleet(1, 3000)]) == []
    assert (instances.count, instances.size) == (0, 0)


# ---- who is found --------------------------------------------------------------------------------------------------

BEGIN = 20_000
BAD = 7


def strange(seed: int) -> dict[str, tuple[Callable[[int, int], tuple[int, int]], set[Question]]]:
    """(template, cost) of the bad instance's lines, and what may be said of it."""
    rng = random.Random(seed)
    one_more = iter(range(FOREIGN, 2 * FOREIGN))
    return {
        "different foreign lines": (lambda _what, _cost: (next(one_more), 90 * BIT), {Question.NOVEL}),
        "different foreign lines, no costs": (lambda _what, cost: (next(one_more), cost), {Question.NOVEL}),
        "one foreign line": (lambda _what, cost: (FOREIGN, cost), {Question.NOVEL, Question.MIX, Question.FROZEN}),
        "frozen on a usual line": (lambda _what, cost: (2, cost), {Question.MIX, Question.FROZEN}),
        "another mix": (lambda what, cost: (31 - what, cost), {Question.MIX}),
        "a line of 1 % ten times as often": (lambda what, cost: (25 if rng.random() < 0.1 else what, cost), {Question.MIX}),
    }


@pytest.mark.parametrize("fault", strange(0))
def test_one_bad_instance_of_fifty_is_found_within_three_windows_of_its_own(fault: str) -> None:
    change, questions = strange(3)[fault]
    lines = fleet(3, 36_000)
    changed = [(who, *change(what, cost)) if who == BAD else (who, what, cost) for who, what, cost in lines[BEGIN:]]
    if fault.endswith("no costs"):
        lines, changed = ([(who, what, 0) for who, what, _ in part] for part in (lines, changed))
    instances = Instances(window=WINDOW)
    told(instances, lines[:BEGIN])
    found = alarms([verdict for verdict in told(instances, changed) if verdict.instance == BAD])
    assert found
    assert sum(who == BAD for who, _, _ in changed[: found[0].line + 1]) <= RING_LINES
    assert found[0].question in questions
    assert found[0].distance >= 0.3
    if "foreign" not in fault or fault.startswith("one"):
        assert found[0].template in {FOREIGN, 2, *range(20, 31)}


def test_the_others_are_not_blamed() -> None:
    lines = [(who, FOREIGN if who == BAD else what, cost) for who, what, cost in fleet(4, 40_000)]
    lines[:BEGIN] = fleet(4, BEGIN)
    assert {verdict.instance for verdict in alarms(told(Instances(window=WINDOW), lines), BEGIN)} == {BAD}


def test_what_happens_to_everybody_is_nobodys_fault() -> None:
    """A new release: from one line on all instances say other things, twice as dear."""
    lines = fleet(5, 40_000)
    lines[BEGIN:] = [(who, what + 100, cost * 2) for who, what, cost in lines[BEGIN:]]
    verdicts = [verdict for verdict in told(Instances(window=WINDOW), lines) if verdict.line >= BEGIN]
    assert len(alarms(verdicts)) <= LEVEL * len(verdicts)


def test_one_long_fault_does_not_hide_the_next() -> None:
    lines = fleet(6, 60_000)
    for bad, begin in ((BAD, BEGIN), (BAD + 1, 30_000), (BAD + 2, 40_000)):
        lines[begin:] = [(who, FOREIGN + bad if who == bad else what, cost) for who, what, cost in lines[begin:]]
    found = alarms(told(Instances(window=WINDOW), lines), BEGIN)
    assert {BAD, BAD + 1, BAD + 2} == {verdict.instance for verdict in found}


def test_a_role_of_its_own_is_usual_after_a_while() -> None:
    """A leader among followers, there from the beginning or from some line on."""
    for begin in (0, BEGIN):
        lines = fleet(7, 120_000)
        lines[begin:] = [(who, what + 100 if who == BAD else what, cost) for who, what, cost in lines[begin:]]
        verdicts = [verdict for verdict in told(Instances(window=WINDOW), lines) if verdict.instance == BAD]
        settled = [verdict for verdict in verdicts if verdict.line >= begin + 20 * WINDOW * 50]
        assert len(settled) > 10
        assert alarms(settled) == []


def test_a_new_instance_needs_no_past() -> None:
    lines = fleet(8, 40_000, instances=51)
    normal = [line for number, line in enumerate(lines) if line[0] != 51 or number >= BEGIN]
    bad = [(who, FOREIGN if who == 51 else what, cost) for who, what, cost in normal]
    first = [next(v for v in told(Instances(window=WINDOW), part) if v.instance == 51) for part in (normal, bad)]
    assert first[0].p_value > LEVEL >= first[1].p_value


@pytest.mark.parametrize("burst", [0.0, 0.8])
def test_normal_instances_alarm_less_often_than_said(burst: float) -> None:
    verdicts = [v for seed in range(4) for v in told(Instances(window=20), fleet(seed, 40_000, burst=burst)) if v.line >= 5000]
    for level in (0.05, 0.0125, 0.0025):
        assert sum(verdict.p_value <= level for verdict in verdicts) <= level * len(verdicts)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_a_verdict_is_in_its_bounds(seed: int) -> None:
    for verdict in told(Instances(window=3), fleet(seed, 2000, instances=5, kinds=4, burst=0.5)):
        assert 0 < verdict.p_value <= 1
        assert 0 <= verdict.confidence <= 1
        assert 0 <= verdict.distance <= 1
        assert verdict.surprise >= 0


def test_nothing_varies_and_nothing_is_said() -> None:
    verdicts = told(Instances(window=5), [(1 + number % 10, 1, BIT) for number in range(20_000)])
    assert {verdict.p_value for verdict in verdicts} == {1.0}


# ---- bounds --------------------------------------------------------------------------------------------------------


def test_limits_are_named() -> None:
    for window in (0, WINDOW_MAX + 1):
        with pytest.raises(ValueError, match="choose 1 to WINDOW_MAX = 400"):
            Instances(window=window)
    for instances_max in (2, INSTANCES_MOST + 1):
        with pytest.raises(ValueError, match="instances are not possible; choose 3 to 4096"):
            Instances(window=5, instances_max=instances_max)
    for templates_max in (1, TEMPLATES_MOST + 1):
        with pytest.raises(ValueError, match="templates are not possible; choose 2 to 4096"):
            Instances(window=5, templates_max=templates_max)
    with pytest.raises(ValueError, match="give one of each a line"):
        Instances(window=5).take_lines(array("Q", [1]), array("Q"), array("I"))


def test_fifty_instances_fit_48_kib_whatever_they_say() -> None:
    for kinds in (30, 5000):
        instances = Instances(window=WINDOW)
        told(instances, fleet(1, 60_000, kinds=kinds))
        assert instances.size <= 48 * 1024
    assert Instances(window=WINDOW).size == 0


def test_the_number_of_instances_is_bounded_and_some_are_watched() -> None:
    instances = Instances(window=5)
    verdicts = told(instances, [(1 + number % 300, number % 7, 0) for number in range(30_000)])
    assert instances.count == INSTANCES_MAX
    assert {verdict.instance for verdict in verdicts} == set(range(1, INSTANCES_MAX + 1))


def test_who_is_silent_makes_room() -> None:
    instances = Instances(window=5, instances_max=10)
    told(instances, fleet(1, 5000, instances=10))
    verdicts = told(instances, [(who + 10, what, cost) for who, what, cost in fleet(2, 5000, instances=10)])
    assert {verdict.instance for verdict in verdicts} == set(range(11, 21))
    assert instances.count == 10


def test_who_has_left_is_forgotten() -> None:
    instances = Instances(window=5)
    told(instances, fleet(1, 5000, instances=20))
    told(instances, fleet(2, 20 * 15 * 2 + 2048, instances=5))
    assert instances.count == 5


def test_templates_without_room_count_as_one() -> None:
    """Everybody says new things all the time; one says the same again and again, and is found."""
    lines = fleet(9, 40_000, kinds=10**5)
    instances = Instances(window=WINDOW)
    told(instances, lines[:BEGIN])
    found = told(instances, [(who, FOREIGN if who == BAD else what, cost) for who, what, cost in lines[BEGIN:]])
    assert {verdict.instance for verdict in alarms(found)} == {BAD}
    assert instances.size <= 48 * 1024
    assert len({what for _, what, _ in lines}) > TEMPLATES_MAX


def test_a_cost_counts_up_to_its_bound() -> None:
    ends = []
    for cost in (COST_MAX, 2**32 - 1):
        lines = fleet(1, 30_000, instances=10)
        lines[20_000:] = [(who, what, cost if who == BAD else usual) for who, what, usual in lines[20_000:]]
        ends.append(told(Instances(window=20), lines)[-50:])
    assert ends[0] == ends[1]


# ---- restarts ------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6000), st.sampled_from([3, 8, 40]), st.sampled_from([4, 40]))
def test_restored_instances_go_on_alike(seed: int, cut: int, instances_max: int, templates_max: int) -> None:
    lines = [(who, what if who > 2 else what * 100 + who, cost) for who, what, cost in fleet(seed, 6000, 12, 60, 0.3)]
    one = Instances(window=4, instances_max=instances_max, templates_max=templates_max)
    told(one, lines[:cut])
    other = Instances(window=4, instances_max=instances_max, templates_max=templates_max)
    told(other, lines[:500])
    parts = one.parts()
    other.restore(parts)
    assert other.parts() == parts
    assert told(one, lines[cut:]) == told(other, lines[cut:])
    assert one.parts() == other.parts()


def test_damaged_parts_are_refused_and_change_nothing() -> None:
    instances = Instances(window=5)
    told(instances, fleet(1, 3000, instances=10))
    parts = instances.parts()
    rng = random.Random(1)
    for _ in range(300):
        damaged = bytearray(parts)
        damaged[rng.randrange(len(parts))] ^= 1 << rng.randrange(8)
        other = Instances(window=5)
        try:
            other.restore(bytes(damaged))
        except ValueError:
            assert (other.count, other.size) == (0, 0)
        else:
            told(other, fleet(2, 500, instances=12))  # wrong, but sound
    for size in (0, 10, len(parts) - 1):
        with pytest.raises(ValueError, match="damaged"):
            instances.restore(parts[:size])
    with pytest.raises(ValueError, match="damaged"):
        instances.restore(parts + b"\0")
    assert instances.parts() == parts
    with pytest.raises(ValueError, match="other limits"):
        Instances(window=6).restore(parts)


def test_pickles_are_refused() -> None:
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(Instances(window=5))


def test_at_most_so_many_episodes_are_compared_with() -> None:
    verdicts = told(Instances(window=5), fleet(1, 40_000, instances=10))
    assert min(verdict.p_value for verdict in verdicts if verdict.confidence < 1.0) >= 2 / (EPISODES_MAX + 1)
