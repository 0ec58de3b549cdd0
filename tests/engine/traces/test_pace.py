"""What time it is for a stream whose spans stay away."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.traces.pace import Bounds, Pace, Timed, timed
from driftlock.engine.window import EventClock

LIMITS = Limits()
NOW_NS = 10**7 * SECOND_NS
PATIENCE_NS = LIMITS.lateness_ns + LIMITS.trace_idle_ns
times = st.integers(1, 10**6)


def times_of(spans: list[tuple[int, int]], *, historical: bool = False, mark_ns: int = NOW_NS) -> Timed:
    """Spans by start and duration, received at `NOW_NS`, in a live stream unless they are replayed."""
    clock = EventClock(LIMITS)
    clock.watermark_ns = mark_ns
    starts, durations = (array("Q", column) for column in zip(*spans, strict=True))
    batch = RecordBatch(
        lengths=array("I", bytes(4 * len(spans))), times_ns=starts, durations_ns=durations, historical=historical
    )
    return timed(batch, clock.place(batch, NOW_NS), mark_ns, Bounds.of(LIMITS, NOW_NS, live=not historical))


@given(times, times, times, st.integers(0, 1000))
def test_when_the_wall_clock_says_so_the_event_time_has_come(received: int, watermark: int, wait: int, grace: int) -> None:
    pace = Pace(grace)
    pace.took(received, historical=False)
    due_ns = watermark + wait
    wall_ns = pace.wall_ns(due_ns, watermark)
    assert pace.event_ns(wall_ns, watermark) == due_ns
    assert pace.event_ns(wall_ns - 1, watermark) == due_ns - 1


def test_the_watermark_never_goes_back() -> None:
    pace = Pace(5)
    pace.took(100, historical=False)
    assert [pace.event_ns(now_ns, 1000) for now_ns in (0, 100, 105, 106, 115)] == [1000, 1000, 1000, 1001, 1010]


def test_what_is_due_already_is_due_after_the_grace() -> None:
    pace = Pace(5)
    pace.took(100, historical=False)
    assert pace.wall_ns(900, 1000) == 105


def test_a_replay_knows_no_wall_clock() -> None:
    pace = Pace(5)
    pace.took(10**6, historical=True)
    assert (pace.event_ns(10**9, 1000), pace.wall_ns(2000, 1000), pace.received_ns) == (1000, 0, 0)


def test_a_replay_into_a_live_stream_stops_no_clock() -> None:
    pace, calm = Pace(5), Pace(5)
    for each in (pace, calm):
        each.took(100, historical=False)
    pace.took(10**6, historical=True)
    assert pace == calm


def test_a_span_takes_the_time_of_a_live_stream_only_so_far_ahead() -> None:
    cap_ns = NOW_NS + LIMITS.trace_ahead_ns
    starts = [NOW_NS - SECOND_NS, cap_ns - 1, cap_ns + 1, NOW_NS + LIMITS.future_ns, NOW_NS]
    told = times_of([(start, 1) for start in starts], mark_ns=1)
    assert list(told.starts_ns) == starts
    assert list(told.marks_ns) == [NOW_NS - SECOND_NS, cap_ns - 1, cap_ns, cap_ns, cap_ns]
    replayed = times_of([(start, 1) for start in starts], mark_ns=1, historical=True)
    assert list(replayed.marks_ns) == [*starts[:4], starts[3]]


def test_the_time_of_a_stream_goes_on_with_its_own_spans_after_one_from_the_future() -> None:
    clock = EventClock(LIMITS)
    batches = [
        RecordBatch(lengths=array("I", [0]), times_ns=array("Q", [start]), durations_ns=array("Q", [1]))
        for start in (NOW_NS + LIMITS.future_ns, NOW_NS + 20 * SECOND_NS)
    ]
    mark_ns = NOW_NS
    for batch, received_ns in zip(batches, (NOW_NS, NOW_NS + 21 * SECOND_NS), strict=True):
        placed = clock.place(batch, received_ns)
        starts, [mark_ns] = timed(batch, placed, mark_ns, Bounds.of(LIMITS, received_ns, live=True))
        assert starts == batch.times_ns
    assert placed.late
    assert mark_ns == NOW_NS + 20 * SECOND_NS


@pytest.mark.parametrize(
    ("start_ns", "duration_ns", "believed"),
    [
        (NOW_NS - PATIENCE_NS, 0, True),
        (NOW_NS - PATIENCE_NS - 1, 0, False),
        (NOW_NS - PATIENCE_NS - 1, 1, True),
        (NOW_NS - 24 * 60 * MINUTE_NS, 24 * 60 * MINUTE_NS, True),
        (1, SECOND_NS, False),
        (1, (1 << 64) - 1, True),
        (NOW_NS + LIMITS.future_ns, 0, True),
        (NOW_NS + LIMITS.future_ns + 1, 0, False),
        ((1 << 64) - 1, (1 << 64) - 1, False),
    ],
)
@pytest.mark.parametrize("historical", [False, True])
def test_an_old_start_is_believed_of_a_span_that_ended_not_long_ago(
    start_ns: int, duration_ns: int, believed: bool, historical: bool
) -> None:
    [start], _ = times_of([(start_ns, duration_ns)], historical=historical)
    assert start == (start_ns if believed else NOW_NS)


def test_a_span_without_a_start_stands_where_it_came() -> None:
    assert times_of([(0, 5)], mark_ns=NOW_NS - MINUTE_NS) == (array("Q", [NOW_NS]), array("Q", [NOW_NS]))
    far_ns = NOW_NS + LIMITS.future_ns
    capped_ns = NOW_NS + LIMITS.trace_ahead_ns
    assert times_of([(0, 5)], mark_ns=far_ns).starts_ns == array("Q", [capped_ns])
    assert times_of([(0, 5)], mark_ns=7, historical=True) == (array("Q", [7]), array("Q", [7]))


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, -500, -100, -3, 0, 4, 8, 500, 700]), st.sampled_from([0, 400])), min_size=1),
    st.booleans(),
    st.integers(1, 5),
)
def test_cuts_change_no_time(spans: list[tuple[int, int]], historical: bool, size: int) -> None:
    def told(step: int) -> list[tuple[int, int]]:
        clock, mark_ns, bounds = EventClock(LIMITS), 0, Bounds.of(LIMITS, NOW_NS, live=True)
        rows = []
        for first in range(0, len(spans), step):
            of = spans[first : first + step]
            batch = RecordBatch(
                lengths=array("I", bytes(4 * len(of))),
                times_ns=array("Q", [start if start in {0, 1} else NOW_NS + start * SECOND_NS for start, _ in of]),
                durations_ns=array("Q", [duration * SECOND_NS for _, duration in of]),
                historical=historical,
            )
            starts, marks = timed(batch, clock.place(batch, NOW_NS), mark_ns, bounds)
            mark_ns = marks[-1]
            rows += list(zip(starts, marks, strict=True))
        return rows

    whole = told(len(spans))
    assert told(size) == whole
    assert [mark for _, mark in whole] == sorted(mark for _, mark in whole)


def test_where_nothing_is_open_nothing_is_due() -> None:
    pace = Pace(5)
    pace.took(100, historical=False)
    assert pace.wall_ns(0, 1000) == 0
