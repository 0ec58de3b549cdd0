"""The trees that traces are told as: order of siblings, orphans, circles, self times, and clocks that disagree."""

from dataclasses import replace

import pytest

from cbad_cy.traces import NO_ROOT, SKEW_REPAIRED, TIME_MOST_NS, VIRTUAL_ROOT
from tests.cbad_cy.trace_spans import CLIENT, CONSUMER, MS, shape, span, told

# ---- trees ---------------------------------------------------------------------------------------------------------


def test_children_stand_in_the_order_of_their_starts_whatever_order_they_came_in() -> None:
    spans = [span(5, 3, 6, 1), span(3, 1, 5, 4), span(1, 0, 0, 10), span(2, 1, 1, 2), span(4, 3, 5, 1)]
    for order in (spans, spans[::-1], spans[2:] + spans[:2]):
        trace = told(order)
        assert shape(trace) == [(1, -1), (2, 0), (3, 0), (4, 2), (5, 2)]
        assert (trace.marks, trace.start_ns, trace.end_ns) == (0, 0, 10 * MS)


def test_siblings_that_start_together_stand_by_operation_and_then_by_id() -> None:
    spans = [span(0x0100, 1, 2, 1, operation=7), span(0x00FF, 1, 2, 1, operation=7), span(9, 1, 2, 1, operation=3)]
    trace = told([span(1, 0, 0, 10), *spans])
    assert [int.from_bytes(row.id, "big") for row in trace.spans] == [1, 9, 0xFF, 0x100]


def test_orphans_stand_behind_roots_though_they_start_before() -> None:
    trace = told([span(7, 6, 1, 1), span(8, 7, 1, 1), span(1, 0, 5, 2), span(2, 1, 5, 1), span(5, 4, 0, 1)])
    assert shape(trace) == [(1, -1), (2, 0), (5, -1), (7, -1), (8, 3)]
    assert (trace.marks, trace.start_ns, trace.end_ns) == (VIRTUAL_ROOT, 0, 7 * MS)


def test_several_roots_stand_by_their_starts() -> None:
    trace = told([span(2, 0, 9, 1), span(1, 0, 5, 2), span(3, 2, 9, 1)])
    assert (shape(trace), trace.marks) == ([(1, -1), (2, -1), (3, 1)], 0)


def test_a_span_that_is_its_own_parent_is_an_orphan() -> None:
    trace = told([span(2, 2, 1, 9), span(3, 2, 1, 1)])
    assert (shape(trace), trace.marks) == ([(2, -1), (3, 0)], NO_ROOT | VIRTUAL_ROOT)


def test_circles_are_broken_at_the_span_that_starts_first() -> None:
    circle = [span(4, 3, 5, 2), span(2, 4, 1, 9), span(3, 2, 3, 5)]
    beside = [span(1, 0, 0, 1), span(5, 3, 3, 1), span(7, 6, 8, 1), span(6, 7, 7, 5)]
    for spans in (circle + beside, beside + circle[::-1]):
        trace = told(spans)
        assert shape(trace) == [(1, -1), (2, -1), (3, 1), (5, 2), (4, 2), (6, -1), (7, 5)]
        assert trace.marks == VIRTUAL_ROOT


def test_self_time_is_what_no_child_covers() -> None:
    root = span(1, 0, 0, 100)
    inside = [span(2, 1, 10, 10), span(3, 1, 15, 20), span(4, 1, 16, 2), span(5, 1, 50, 10), span(6, 5, 51, 4)]
    trace = told([root, *inside])
    assert [(row.operation, row.self_ns) for row in trace.spans] == [
        (name, it * MS) for name, it in ((1, 65), (2, 10), (3, 20), (4, 2), (5, 6), (6, 4))
    ]


def test_self_time_is_within_the_span_even_if_children_run_on() -> None:
    trace = told([span(1, 0, 0, 100), span(2, 1, 60, 500), span(3, 1, 90, 300, kind=CONSUMER)])
    assert [row.self_ns for row in trace.spans] == [60 * MS, 500 * MS, 300 * MS]
    assert (trace.marks, trace.end_ns) == (0, 560 * MS)


# ---- clock skew ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "duration", "moved"), [(-400, 20, 0), (90, 20, 80), (900, 20, 80), (-1, 150, 0), (101, 150, 0), (1, 100, 0)]
)
def test_a_child_outside_of_its_parent_is_moved_into_it(start: int, duration: int, moved: int) -> None:
    spans = [span(1, 0, 500, 100), span(2, 1, 500 + start, duration), span(3, 2, 500 + start, duration, kind=CLIENT)]
    trace = told(spans)
    assert trace.marks == SKEW_REPAIRED
    assert [row.start_ns // MS for row in trace.spans] == [500, 500 + start, 500 + start]
    assert [row.duration_ns // MS for row in trace.spans] == [100, duration, duration]
    assert [row.self_ns // MS for row in trace.spans] == [max(0, 100 - duration), 0, duration]
    assert (trace.start_ns, trace.end_ns) == (500 * MS, (500 + max(duration, 100)) * MS)
    # a sibling where it now is covers nothing more of the parent, and one before it stands before it
    assert told([*spans, span(4, 1, 500 + moved, min(duration, 100 - moved))]).spans[0].self_ns == trace.spans[0].self_ns
    operations = [row.operation for row in told([*spans, span(4, 1, 500 + moved - 0.001, 0, kind=CONSUMER)]).spans]
    assert operations == [1, 4, 2, 3]


def test_what_is_below_a_moved_span_moves_with_it() -> None:
    right = [span(1, 0, 500, 100, instance=1), span(2, 1, 510, 80), span(3, 2, 520, 10), span(4, 2, 540, 30)]
    wrong = [right[0], *(replace(it, start_ns=it.start_ns + 10**6 * MS) for it in right[1:])]
    one, two = told(right), told(wrong)
    assert [(row.operation, row.parent, row.self_ns) for row in one.spans] == [
        (row.operation, row.parent, row.self_ns) for row in two.spans
    ]
    assert (one.marks, two.marks) == (0, SKEW_REPAIRED)


def test_consumers_start_when_they_start() -> None:
    trace = told([span(1, 0, 500, 10), span(2, 1, 5000, 10, kind=CONSUMER), span(3, 1, 400, 10, kind=CONSUMER)])
    assert (shape(trace), trace.marks) == ([(1, -1), (3, 0), (2, 0)], 0)
    assert (trace.start_ns, trace.end_ns) == (400 * MS, 5010 * MS)


def test_a_longer_child_that_starts_inside_runs_on() -> None:
    trace = told([span(1, 0, 500, 10), span(2, 1, 510, 1000)])
    assert (trace.marks, trace.end_ns) == (0, 1510 * MS)


def test_times_beyond_what_can_be_counted_are_cut() -> None:
    trace = told([replace(span(1), start_ns=2**64 - 1, duration_ns=2**63), replace(span(2, 1), duration_ns=2**64 - 1)])
    assert [(row.start_ns, row.duration_ns) for row in trace.spans] == [(TIME_MOST_NS, TIME_MOST_NS), (0, TIME_MOST_NS)]
    assert (trace.end_ns, trace.spans[0].self_ns) == (2 * TIME_MOST_NS, 0)
