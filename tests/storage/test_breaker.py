"""Closed, open, half-open: nothing but failures in a row opens it, nothing but a success closes it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.storage.breaker import Breaker, State


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def opened(clock: Clock, seen: list[State] | None = None, **limits: int) -> Breaker:
    breaker = Breaker(clock, failures_max=3, on_change=(seen if seen is not None else []).append, **limits)
    for _ in range(3):
        assert breaker.closed
        breaker.failed()
    assert breaker.state is State.OPEN
    return breaker


def test_failures_max_in_a_row_open_it() -> None:
    breaker = Breaker(Clock(), failures_max=3)
    for _ in range(100):  # never three in a row
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.closed
    for _ in range(2):
        breaker.failed()
        assert breaker.closed
    breaker.failed()
    assert breaker.state is State.OPEN


def test_it_goes_round() -> None:
    clock, seen = Clock(), list[State]()
    breaker = opened(clock, seen)
    assert breaker.begin_probe()
    assert not breaker.closed  # a probe under way is no reason to let callers pass
    breaker.end_probe(well=False)
    clock.now_s += 0.2
    assert breaker.begin_probe()
    breaker.end_probe(well=True)
    assert seen == [State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_it_counts_from_the_start_after_it_closed() -> None:
    breaker = opened(Clock())
    assert breaker.begin_probe()
    breaker.end_probe(well=True)
    breaker.failed()
    breaker.failed()
    assert breaker.closed


def test_probe_ms() -> None:
    clock = Clock()
    breaker = opened(clock, probe_ms=250)
    assert breaker.begin_probe()  # the first one at once
    assert not breaker.begin_probe()
    clock.now_s += 0.24
    assert not breaker.begin_probe()
    clock.now_s += 0.011
    assert breaker.begin_probe()


def test_probes_max() -> None:
    clock = Clock()
    breaker = opened(clock, probes_max=2)
    begun = 0
    for _ in range(10):
        begun += breaker.begin_probe()
        clock.now_s += 1
    assert begun == 2
    breaker.end_probe(well=False)
    assert breaker.state is State.HALF_OPEN  # the other one still runs
    assert breaker.begin_probe()


def test_a_late_success_of_a_caller_closes_it() -> None:
    breaker = opened(Clock())
    breaker.succeeded()
    assert breaker.closed


def test_a_probe_that_fails_late_does_not_open_it_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert breaker.begin_probe()
    clock.now_s += 1
    assert breaker.begin_probe()
    breaker.end_probe(well=True)
    breaker.end_probe(well=False)
    assert breaker.closed


@pytest.mark.parametrize("name", ["failures_max", "probe_ms", "probes_max"])
def test_limits_allow_something(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Breaker(Clock(), **{name: 0})  # type: ignore[arg-type]  # a limit's name


@given(st.lists(st.sampled_from(["failed", "succeeded", "probe", "well", "ill", "wait"]), max_size=200))
def test_whatever_happens_it_opens_by_failures_in_a_row_only(events: list[str]) -> None:
    clock, seen = Clock(), list[State]()
    breaker = Breaker(clock, failures_max=4, probe_ms=200, probes_max=3, on_change=seen.append)
    in_a_row, under_way = 0, 0
    for event in events:
        before = breaker.state
        if event == "failed":
            in_a_row += 1
            breaker.failed()
        elif event == "succeeded":
            in_a_row = 0
            breaker.succeeded()
        elif event == "probe":
            began = breaker.begin_probe()
            under_way += began
            assert not (began and before is State.CLOSED)
        elif event in {"well", "ill"} and under_way:
            under_way -= 1
            in_a_row = 0 if event == "well" else in_a_row
            breaker.end_probe(well=event == "well")
        else:
            clock.now_s += 0.15
        assert under_way <= 3
        if before is State.CLOSED and not breaker.closed:
            assert in_a_row >= 4
        if breaker.closed:
            assert in_a_row < 4
        if breaker.state is State.HALF_OPEN:
            assert under_way > 0
    assert all(one is not other for one, other in itertools.pairwise(seen))
