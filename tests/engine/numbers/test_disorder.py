"""How disordered the records of a replay are, and what that does to who is missing."""

import random
from array import array
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.event import PointKind
from driftlock.engine.limits import MINUTE_NS, SECOND_NS
from driftlock.engine.numbers.columns import watermarks
from driftlock.engine.numbers.disorder import BEHIND_MAX_MINUTES, SPAN_MINUTES, Disorder
from driftlock.engine.verdict import Question
from tests.engine.numbers.rows import CODEC, NAN, Interrupted, Point, batch_of, minute, new_detector, steady

BASE = 100 * SPAN_MINUTES


def opened(disorder: Disorder, minutes: list[int], before: int = 0, *, historical: bool = True) -> list[int]:
    times_ns = array("Q", [number * MINUTE_NS for number in minutes])
    marks = watermarks(times_ns, before * MINUTE_NS)
    return list(disorder.opened(marks, times_ns, before * MINUTE_NS, historical=historical))


def test_in_order_the_open_minute_is_that_of_the_watermark() -> None:
    assert opened(Disorder(), [BASE, BASE + 1, BASE + 1, BASE + 7]) == [BASE, BASE + 1, BASE + 1, BASE + 7]


def test_it_stays_as_far_behind_as_records_were_and_never_goes_back() -> None:
    disorder = Disorder()
    assert opened(disorder, [BASE, BASE + 4, BASE + 1, BASE + 8]) == [BASE, BASE + 4, BASE + 4, BASE + 5]
    assert opened(disorder, [BASE + 9, BASE + 2, BASE + 20], BASE + 8) == [BASE + 6, BASE + 6, BASE + 13]


def test_live_it_is_that_of_the_watermark_at_once() -> None:
    disorder = Disorder()
    opened(disorder, [BASE, BASE + 9, BASE])
    assert opened(disorder, [BASE + 12, BASE + 2, BASE + 13], BASE + 9, historical=False) == [BASE + 12, BASE + 12, BASE + 13]


def test_disorder_is_forgotten_after_two_spans() -> None:
    disorder = Disorder()
    opened(disorder, [BASE + 10, BASE])
    after = BASE + SPAN_MINUTES
    assert opened(disorder, [after, after + SPAN_MINUTES], BASE + 10) == [after - 10, after + SPAN_MINUTES]


def test_strays_are_not_waited_for() -> None:
    disorder = Disorder()
    assert opened(disorder, [BASE + 500, BASE + 500 - BEHIND_MAX_MINUTES - 1, BASE + 501])[-1] == BASE + 501
    assert opened(disorder, [BASE + 502, BASE + 502 - BEHIND_MAX_MINUTES, BASE + 1000], BASE + 501)[-1] == BASE + 640


@given(st.lists(st.tuples(st.integers(0, 900), st.booleans()), min_size=1, max_size=40), st.data())
def test_cuts_do_not_move_it(steps: list[tuple[int, bool]], data: st.DataObject) -> None:
    minutes = [BASE + step for step, _ in steps]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(minutes)), max_size=5)) - {0, len(minutes)})
    whole, part = Disorder(), Disorder()
    one_by_one, before = [], 0
    for number in minutes:
        one_by_one += opened(whole, [number], before)
        before = max(before, number)
    pieces, before = [], 0
    for first, last in zip((0, *cuts), (*cuts, len(minutes)), strict=True):
        found = opened(part, minutes[first:last], before)
        pieces += found * (last - first) if len(found) == 1 else found
        before = max(before, *minutes[first:last])
    assert pieces == one_by_one == sorted(pieces)
    assert vars(whole) == vars(part)


@cache
def replay(size: int, minutes: int = 320, gone: int = 240) -> tuple[Point, ...]:
    """Requests of so many minutes, each series by series as OTLP groups them; two of pod-2 stop, `f` says that it ends."""
    found: list[Point] = []
    for first in range(0, minutes, size):
        for pod in ("pod-0", "pod-1", "pod-2"):
            for name in ("a", "b", "c", "d", "e", "f"):
                last = first + size
                stops = (pod == "pod-2" and name in "ad") or name == "f"
                alive = range(first, min(last, gone) if stops else last)
                found += steady(name, alive, instance=pod)
                if name == "f" and first <= gone < last:
                    found.append(Point(minute(gone), name, NAN, pod, PointKind.STALE))
    return tuple(found)


def missing(points: tuple[Point, ...], cuts: Sequence[int] = ()) -> list[tuple[str, str, int, int]]:
    fold, told = Interrupted(new_detector()), []
    for first, last in zip((0, *cuts), (*cuts, len(points)), strict=True):
        if cuts:
            fold.restart()
        told += fold.fold(batch_of(points[first:last], historical=True), minute(10_000))
    return [(it.subject, it.series[0].series, it.start_ns, it.end_ns) for it in told if it.question is Question.MISSING]


@pytest.mark.parametrize("size", [1, 5, 20])
def test_requests_of_several_minutes_tell_who_is_missing_and_nobody_else(size: int) -> None:
    found = missing(replay(size))
    assert [it[:3] for it in found] == [("pod-2", name, minute(239)) for name in "ad"]
    assert found == missing(replay(1))


@settings(max_examples=5, deadline=None)
@given(order=st.randoms(use_true_random=False))
def test_how_such_requests_are_cut_changes_nothing(order: random.Random) -> None:
    points = replay(20)
    cuts = sorted(order.sample(range(1, len(points)), 12))
    assert missing(points, cuts) == missing(replay(1))


def test_a_stream_that_goes_live_after_a_replay_waits_for_nobody() -> None:
    detector = new_detector()
    detector.fold(batch_of(replay(20, 220), historical=True), minute(220), CODEC)
    told = []
    for number in range(220, 232):
        row = [point for name in "abcdef" for point in steady(name, [number], instance="pod-0")]
        told += detector.fold(batch_of(row), minute(number) + 2 * SECOND_NS, CODEC)
    assert {it.subject for it in told if it.question is Question.MISSING} == {"pod-1", "pod-2"}
