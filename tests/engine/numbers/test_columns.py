"""Columns of a batch of metric points."""

from array import array
from collections import Counter
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.numbers.columns import (
    PointColumns,
    crossings,
    layers,
    own_times,
    series_named,
    series_number,
    series_numbers,
    watermarks,
)
from driftlock.engine.window import EventClock
from tests.engine.numbers.rows import Point, batch_of, minute

TIMES = st.lists(st.integers(1, 30 * MINUTE_NS), min_size=1, max_size=40)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("", "pod-1", "pod-2"))), min_size=1))
def test_a_number_for_each_instance_and_name(pairs: list[tuple[str, str]]) -> None:
    batch = batch_of([Point(1, name, 1.0, instance) for name, instance in pairs])
    known: dict[tuple[str, str], int] = {}
    numbers = series_numbers(batch, known)
    assert list(numbers) == [series_number(instance, name) for name, instance in pairs]
    assert [series_named(batch, record) for record in range(len(batch))] == [(instance, name) for name, instance in pairs]
    assert series_numbers(batch, known) == numbers
    assert len(known) == len(set(pairs))


def test_records_without_a_series_have_a_number_too() -> None:
    batch = RecordBatch(lengths=array("I", [0, 0]), times_ns=array("Q", [1, 2]), values=array("d", [1.0, 2.0]))
    assert list(series_numbers(batch, {})) == [series_number("", "")] * 2
    assert series_named(batch, 1) == ("", "")


def test_instance_and_name_are_not_mixed_up() -> None:
    assert len({series_number("a", "b"), series_number("ab", ""), series_number("", "ab"), series_number("b", "a")}) == 4


def test_late_points_keep_their_own_time_but_not_one_of_the_future() -> None:
    clock = EventClock(Limits())
    points = [Point(minute(100), "a"), Point(minute(20), "b"), Point(minute(4000), "c"), Point(0, "d")]
    batch = batch_of(points)
    placed = clock.place(batch, minute(100))
    assert list(own_times(batch, placed, minute(110))) == [minute(100), minute(20), minute(100), minute(100)]


@given(TIMES, st.sampled_from((0, 1, 7 * MINUTE_NS + 3)))
def test_watermarks_and_minutes_that_end(times: list[int], before_ns: int) -> None:
    marks = watermarks(array("Q", times), before_ns)
    every = list(accumulate(times, max, initial=before_ns))
    assert marks in (every[1:], (every[-1],))
    if len(marks) < len(times):
        assert {mark // MINUTE_NS for mark in every} == {marks[0] // MINUTE_NS}
    expected = [
        (index, (old // MINUTE_NS + 1) * MINUTE_NS, old, new)
        for index, (old, new) in enumerate(pairwise(every))
        if old and new // MINUTE_NS > old // MINUTE_NS
    ]
    found = crossings(marks, [mark // MINUTE_NS for mark in marks], before_ns, before_ns // MINUTE_NS)
    assert [(it.index, it.closed_ns, it.from_ns, it.to_ns) for it in found] == expected


@given(st.lists(st.integers(1, 4), max_size=80), st.integers(1, 5))
def test_layers_keep_the_order_of_each_series_and_hold_few_of_each(series: list[int], most: int) -> None:
    numbers = array("Q", series)
    groups = [array("I", range(len(series))) if places is None else places for places in layers(numbers, most)]
    assert sorted(place for places in groups for place in places) == list(range(len(series)))
    for places in groups:
        assert max(Counter(series[place] for place in places).values(), default=0) <= most
    for number in set(series):
        told = [place for places in groups for place in places if series[place] == number]
        assert told == sorted(told)


@given(st.data())
def test_parts_of_columns_are_the_columns_of_parts(data: st.DataObject) -> None:
    points = [
        Point(minute(k), f"m{k % 3}", float(k), "pod-1", start_ns=k, count=1.0, sum=2.0, buckets=(1.0, 2.0, 3.0)[: k % 4])
        for k in range(12)
    ]
    batch = batch_of(points)
    first = data.draw(st.integers(0, 11))
    last = data.draw(st.integers(first + 1, 12))
    whole = PointColumns.of(batch, series_numbers(batch, {}), batch.times_ns)
    part = batch_of(points[first:last])
    expected = PointColumns.of(part, series_numbers(part, {}), part.times_ns)
    assert whole.between(first, last, sum(len(it.buckets) for it in points[:first])) == expected
