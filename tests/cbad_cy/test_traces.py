"""Traces put together from spans: when they close, what is left out, and what bounds them."""

import ctypes
import pickle
from array import array
from dataclasses import replace

import pytest

from cbad_cy.reference_traces import RawSpan
from cbad_cy.traces import (
    BYTES_MAX_MOST,
    CLOSED_EARLY,
    CLOSED_MAX_MOST,
    DUPLICATES,
    NO_ROOT,
    SPANS_CUT,
    TIME_MOST_NS,
    TRACE_SPANS_MAX,
    TRACE_SPANS_MAX_MOST,
    TRACES_MAX_MOST,
    VIRTUAL_ROOT,
    WAIT_NS_MOST,
    trace_bytes,
)
from tests.cbad_cy.trace_spans import MS, counts, feed, rows, shape, span, table, told

# ---- closing -------------------------------------------------------------------------------------------------------


def test_a_trace_closes_some_time_after_its_root_was_over() -> None:
    into = table()
    assert feed(into, [span(1, 0, 0, 300)], 200 * MS) == []
    assert into.next_due_ns == 400 * MS
    assert rows(into.pass_time(399 * MS)) == []
    assert [trace.closed_ns for trace in rows(into.pass_time(700 * MS))] == [400 * MS]
    assert (len(into), into.next_due_ns, into.now_ns) == (0, 0, 700 * MS)


def test_a_root_that_comes_late_still_lingers() -> None:
    into = table()
    feed(into, [span(2, 1, 0, 10), span(1, 0, 0, 20)], 500 * MS)
    assert into.next_due_ns == 600 * MS


def test_spans_after_the_root_do_not_put_it_off() -> None:
    into = table()
    feed(into, [span(1, 0, 0, 20), span(2, 1, 0, 10), span(3, 1, 0, 10)], [500 * MS, 550 * MS, 599 * MS])
    assert into.next_due_ns == 600 * MS


def test_of_several_roots_the_last_counts() -> None:
    into = table()
    feed(into, [span(1, 0, 0, 20), span(2, 0, 0, 700), span(3, 0, 0, 10)], 500 * MS)
    assert into.next_due_ns == 800 * MS


def test_a_trace_without_root_closes_when_it_is_idle() -> None:
    into = table()
    feed(into, [span(2, 1), span(3, 1)], [0, 900 * MS])
    assert into.next_due_ns == 1900 * MS
    (trace,) = rows(into.pass_time(1900 * MS))
    assert (trace.closed_ns, trace.marks) == (1900 * MS, NO_ROOT | VIRTUAL_ROOT)


def test_a_root_that_ends_in_a_far_future_keeps_nothing_open() -> None:
    into = table()
    feed(into, [span(1, 0, 10**9, 10)], 0)
    assert into.next_due_ns == 1000 * MS
    feed(into, [replace(span(2), start_ns=2**64 - 1, duration_ns=2**64 - 1)], 100 * MS)
    assert into.next_due_ns == 1100 * MS


def test_what_is_left_out_keeps_no_trace_open() -> None:
    into = table(trace_spans_max=3)
    feed(into, [span(2, 1), span(3, 1), span(2, 1), span(4, 1)], [0, 0, 500 * MS, 600 * MS])
    assert (into.duplicates, into.cut, into.next_due_ns) == (1, 1, 1000 * MS)


def test_traces_close_in_the_order_in_which_they_are_due() -> None:
    into = table()
    spans = [span(1, 0, 0, 80, trace=1), span(1, 0, 0, 20, trace=2), span(1, 9, trace=3), span(1, 0, 0, 80, trace=4)]
    feed(into, spans, 0)
    assert [trace.trace[-1] for trace in rows(into.pass_time(5000 * MS))] == [2, 1, 4, 3]


def test_time_does_not_go_back() -> None:
    into = table()
    feed(into, [span(1, 0, 0, 20)], 500 * MS)
    feed(into, [span(2, 1, 0, 20)], 100 * MS)
    assert (into.now_ns, into.next_due_ns) == (500 * MS, 600 * MS)
    assert rows(into.pass_time(0)) == []
    into.pass_time(2**64 - 1)
    assert into.now_ns == TIME_MOST_NS


def test_what_is_due_closes_before_the_next_span_is_taken() -> None:
    into = table()
    closed = feed(into, [span(1, 0, 0, 20), span(2, 1, 0, 20)], [0, 120 * MS])
    assert [len(trace.spans) for trace in closed] == [1]
    assert (into.late, len(into)) == (1, 0)


def test_flush_closes_in_the_order_of_first_spans() -> None:
    into = table()
    feed(into, [span(1, 9, trace=5), span(1, 0, trace=3), span(2, 9, trace=5), span(1, 9, trace=4)], 7 * MS)
    assert [(trace.trace[-1], trace.closed_ns) for trace in rows(into.flush())] == [(k, 7 * MS) for k in (5, 3, 4)]
    assert rows(into.flush()) == []


# ---- spans that are left out ---------------------------------------------------------------------------------------


def test_of_each_trace_it_is_told_how_many_spans_were_late_when_it_closed() -> None:
    into = table()
    assert list(into.late_by) == []
    spans = [span(1, 0, 0, 20, trace=1), span(2, 1, 0, 10, trace=1), span(1, 0, 0, 20, trace=2), span(3, 1, 0, 10, trace=1)]
    feed(into, [*spans, span(1, 0, 0, 20, trace=3), span(9, 0, 0, 20, trace=9)], [0, 500 * MS, 510 * MS, 520 * MS, 530 * MS, 0])
    assert list(into.late_by) == [0]
    into.pass_time(625 * MS)
    assert list(into.late_by) == [2]
    into.flush()
    assert list(into.late_by) == [2, 2]


def test_late_spans_are_counted_and_open_no_trace_for_some_time() -> None:
    into = table(late_ns=50 * MS)
    feed(into, [span(1)], 0)
    into.pass_time(100 * MS)
    feed(into, [span(2, 1)], 149 * MS)
    assert (into.late, len(into)) == (1, 0)
    feed(into, [span(2, 1)], 150 * MS)
    assert (into.late, len(into)) == (1, 1)


def test_so_many_closed_traces_are_remembered() -> None:
    into = table(closed_max=3)
    feed(into, [span(1, trace=trace) for trace in range(1, 6)], 0)
    into.pass_time(100 * MS)
    feed(into, [span(2, 1, trace=trace) for trace in range(1, 6)], 100 * MS)
    assert (into.late, len(into)) == (3, 2)


def test_of_spans_with_one_id_the_first_stays() -> None:
    trace = told([span(1, 0, 0, 10), span(2, 1, 1, 5, operation=20), span(2, 1, 2, 4, operation=30)])
    assert (shape(trace), trace.marks) == ([(1, -1), (20, 0)], DUPLICATES)


def test_spans_without_id_are_never_the_same() -> None:
    trace = told([span(1, 0, 0, 10), span(0, 1, 1, 5, operation=2), span(0, 1, 1, 5, operation=2)])
    assert (shape(trace), trace.marks) == ([(1, -1), (2, 0), (2, 0)], 0)


def test_spans_without_trace_are_counted() -> None:
    into = table()
    feed(into, [span(1, trace=0), span(2, trace=0)], 0)
    assert (into.without_trace, into.fed, len(into)) == (2, 2, 0)


def test_the_last_place_of_a_trace_is_kept_for_its_root() -> None:
    names = list(range(2, 9))
    trace = told([span(name, 1, name, 1) for name in names] + [span(1, 0, 0, 100), span(10, 0, 0, 100)], trace_spans_max=5)
    assert (shape(trace), trace.marks) == ([(1, -1), (2, 0), (3, 0), (4, 0), (5, 0)], SPANS_CUT)
    trace = told([span(1, 0, 0, 100)] + [span(name, 1, name, 1) for name in names], trace_spans_max=5)
    assert (shape(trace), trace.marks) == ([(1, -1), (2, 0), (3, 0), (4, 0), (5, 0)], SPANS_CUT)


# ---- bounds --------------------------------------------------------------------------------------------------------


def test_a_full_table_closes_what_was_idle_for_longest() -> None:
    into = table(traces_max=3)
    spans = [span(1, 9, trace=1), span(1, 9, trace=2), span(1, 9, trace=3), span(2, 9, trace=1), span(1, 9, trace=4)]
    closed = feed(into, spans, [1, 2, 3, 4, 5])
    assert [(trace.trace[-1], trace.marks, trace.closed_ns) for trace in closed] == [
        (2, CLOSED_EARLY | NO_ROOT | VIRTUAL_ROOT, 5)
    ]
    assert (len(into), into.overflowed, into.spans) == (3, 1, 4)
    feed(into, [span(2, 1, trace=2)], 6)
    assert into.late == 1


def test_a_table_without_bytes_closes_what_was_idle_for_longest() -> None:
    bound = trace_bytes(100) + trace_bytes(10)
    into = table(bytes_max=bound, trace_spans_max=100)
    feed(into, [span(name, 1, trace=1) for name in range(2, 12)], 1)
    feed(into, [span(name, 1, trace=2) for name in range(2, 12)], 2)
    feed(into, [span(12, 1, trace=1)], 3)
    closed = feed(into, [span(name, 1, trace=1) for name in range(13, 101)], 4)
    assert closed == []
    assert into.bytes == trace_bytes(99) + trace_bytes(10) <= bound
    closed = feed(into, [span(1, trace=3), *(span(name, 1, trace=3) for name in range(2, 12))], 5)
    assert [(trace.trace[-1], len(trace.spans)) for trace in closed] == [(2, 10)]
    assert into.bytes <= bound


def test_one_trace_always_has_room() -> None:
    into = table(bytes_max=trace_bytes(500), trace_spans_max=500)
    for trace in range(1, 4):
        feed(into, [span(name, 1, trace=trace) for name in range(2, 700)] + [span(1, trace=trace)], trace)
        assert into.bytes == trace_bytes(500) == into.bytes_max
    assert (into.overflowed, into.cut) == (2, 3 * 199)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traces_max", 0),
        ("traces_max", TRACES_MAX_MOST + 1),
        ("trace_spans_max", 1),
        ("trace_spans_max", TRACE_SPANS_MAX_MOST + 1),
        ("bytes_max", trace_bytes(TRACE_SPANS_MAX) - 1),
        ("bytes_max", BYTES_MAX_MOST + 1),
        ("closed_max", 0),
        ("closed_max", CLOSED_MAX_MOST + 1),
        ("idle_ns", 0),
        ("idle_ns", WAIT_NS_MOST + 1),
        ("linger_ns", -1),
        ("linger_ns", WAIT_NS_MOST + 1),
        ("late_ns", -1),
        ("late_ns", WAIT_NS_MOST + 1),
    ],
)
def test_bounds_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; choose"):
        table(**{name: value})


def test_bounds_are_told() -> None:
    into = table(closed_max=7, late_ns=9, trace_spans_max=50)
    assert (into.traces_max, into.bytes_max, into.trace_spans_max, into.closed_max) == (1000, 1 << 24, 50, 7)
    assert (into.idle_ns, into.linger_ns, into.late_ns) == (1000 * MS, 100 * MS, 9)


class Allocated(ctypes.Structure):
    """`struct mallinfo2` of glibc: what a process has from malloc, in bytes."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "mapped", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("used", "free", "keep")),
    ]

    @classmethod
    def bytes(cls) -> int:
        asked = ctypes.CDLL(None).mallinfo2
        asked.restype = cls
        now = asked()
        return int(now.mapped + now.used)


def test_a_hundred_thousand_open_traces_of_twenty_spans_take_less_than_100_mib() -> None:
    """Counted, and really: a tenth of them by what malloc says (which says nothing under sanitizers)."""
    assert 100_000 * trace_bytes(20) < 100 << 20
    into, count = table(traces_max=10_000), 10_000
    ids = b"".join(trace.to_bytes(16, "big") for trace in range(1, count + 1))
    before = Allocated.bytes()
    for name in range(2, 22):
        numbers, times = array("I", [name]) * count, array("Q", [name]) * count
        into.feed(ids, name.to_bytes(8, "big") * count, b"parent-1" * count, numbers, bytes(count), times, times, numbers, 0)
    del numbers, times
    assert (len(into), into.spans, into.overflowed) == (count, 20 * count, 0)
    assert Allocated.bytes() - before < 11 << 20


@pytest.mark.parametrize("deep", [False, True])
def test_ten_thousand_spans_make_one_trace(deep: bool) -> None:
    count = TRACE_SPANS_MAX
    spans = [span(name, name - 1 if deep else 1, name / 1000, 30 - name / 1000) for name in range(2, count + 1)]
    trace = told([*spans[::-1], span(count + 1, 2), span(1, 0, 0, 30)])
    assert trace.marks == SPANS_CUT
    assert shape(trace) == [(1, -1)] + [(name, name - 2 if deep else 0) for name in range(2, count + 1)]
    inner = [1000] * (count - 2) + [20 * MS] if deep else [30 * MS - 1000 * name for name in range(2, count + 1)]
    assert [row.self_ns for row in trace.spans] == [2000, *inner]


# ---- stored --------------------------------------------------------------------------------------------------------


def test_parts_go_only_into_a_new_table() -> None:
    into = table()
    feed(into, [span(1)], 5)
    with pytest.raises(ValueError, match="in use"):
        into.restore(table().parts())
    with pytest.raises(ValueError, match="are no traces"):
        table().restore(b"abc")
    with pytest.raises(TypeError, match="parts"):
        pickle.dumps(into)
    other = table()
    other.restore(into.parts())
    assert counts(other) == counts(into)


def test_an_empty_table_is_stored_in_few_bytes() -> None:
    into = table()
    feed(into, [span(1)], 5)
    assert len(into.parts()) == len(table().parts()) + 45 + 41
    other = table()
    other.restore(table().parts())
    assert other.parts() == table().parts()


def test_lower_bounds_close_what_was_idle_for_longest_when_room_is_needed() -> None:
    into, other = table(), table(traces_max=2, trace_spans_max=3, closed_max=1, idle_ns=10 * MS)
    closed = [span(1, trace=k) for k in (100, 101)]
    feed(into, closed, 0)
    into.pass_time(100 * MS)
    feed(into, [span(name, 1, trace=trace) for trace in range(1, 6) for name in range(2, 12)], 100 * MS)
    other.restore(into.parts())
    assert (len(other), other.spans, other.overflowed, other.next_due_ns) == (5, 50, 0, 110 * MS)
    early = feed(other, [span(12, 1, trace=3), span(2, 1, trace=101), span(2, 1, trace=100)], 101 * MS)
    assert [(trace.trace[-1], len(trace.spans)) for trace in early] == [(1, 10), (2, 10), (3, 10), (4, 10)]
    assert (other.cut, other.late, other.overflowed, len(other)) == (1, 1, 4, 2)


def test_shorter_waits_close_at_once_what_was_due_before() -> None:
    into, other = table(), table(idle_ns=10 * MS)
    feed(into, [span(2, 1)], 100 * MS)
    into.pass_time(500 * MS)
    other.restore(into.parts())
    assert [trace.closed_ns for trace in rows(other.pass_time(500 * MS))] == [500 * MS]


# ---- border --------------------------------------------------------------------------------------------------------


def test_columns_that_do_not_fit_are_refused() -> None:
    into, i, q = table(), array("I", [1, 1]), array("Q", [1, 1])
    right: tuple[object, ...] = (bytes(32), bytes(16), bytes(16), i, bytes(2), q, q, i, q)
    for place, column in enumerate(right):
        wrong = list(right)
        wrong[place] = column[:-1]  # type: ignore[index]
        with pytest.raises(ValueError, match="give"):
            into.feed(*wrong)  # type: ignore[arg-type]
    assert into.fed == 0
    into.feed(*right)  # type: ignore[arg-type]
    assert into.fed == into.without_trace == 2
    for now in (-1, 2**64):
        with pytest.raises(OverflowError):
            into.pass_time(now)
        with pytest.raises(OverflowError):
            into.feed(*right[:-1], now)  # type: ignore[call-arg,arg-type]


def test_nothing_makes_nothing() -> None:
    into = table()
    assert feed(into, [], []) == feed(into, [], 10**9) == rows(into.flush()) == []
    assert (into.now_ns, into.next_due_ns, len(into)) == (0, 0, 0)


def test_all_that_a_span_says_is_told() -> None:
    raw = RawSpan(bytes(range(16)), b"spanspan", bytes(8), 2**32 - 1, 0xFF, 17, 29, 2**32 - 2)
    (row,) = (trace := told([raw])).spans
    assert (row.id, row.operation, row.mark, row.start_ns, row.duration_ns, row.instance) == (
        raw.id,
        raw.operation,
        raw.mark,
        raw.start_ns,
        raw.duration_ns,
        raw.instance,
    )
    assert (trace.trace, trace.start_ns, trace.end_ns) == (raw.trace, 17, 46)
